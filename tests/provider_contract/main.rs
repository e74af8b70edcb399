//! The contract of `trait Provider`: one suite of cases, each written once, run for every driver against a server that
//! speaks its protocol. A new driver is done when it passes.
//!
//! To add a driver, write a [`harness::World`] for it and add it to [`drivers`]. `cargo test --test provider_contract`
//! runs everything and prints a table of cases and drivers; `-- ec2` or `-- lost_reply` runs a part.

#![allow(unreachable_pub, reason = "nobody imports a test")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic says what does not hold")]

mod cases;
#[cfg(feature = "ec2")]
mod ec2;
#[cfg(feature = "gce")]
mod gce;
mod harness;
#[cfg(feature = "openstack")]
mod openstack;
mod storm;
mod table;
mod xapi;

use std::{
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use libtest_mimic::{Arguments, Trial};

use crate::{
    cases::{CASES, Case},
    harness::{Driver, NotHere},
    table::Table,
};

fn drivers() -> Vec<Arc<dyn Driver>> {
    let mut drivers: Vec<Arc<dyn Driver>> = vec![
        #[cfg(feature = "ec2")]
        Arc::new(ec2::Ec2Driver::default()),
        #[cfg(feature = "gce")]
        Arc::new(gce::GceDriver::default()),
        Arc::new(xapi::XapiDriver),
    ];
    #[cfg(feature = "openstack")]
    match openstack::OpenstackDriver::prepared() {
        Some(driver) => drivers.push(Arc::new(driver)),
        None => println!("openstack is left out: make test-openstack prepares its control plane and runs it"),
    }
    drivers
}

/// A driver's server is shared by its cases, one after the other, each in an empty world.
struct Lane {
    driver: Arc<dyn Driver>,
    turn: Mutex<()>,
}

impl Lane {
    fn run(&self, job: &Job, table: &Table) -> Result<(), libtest_mimic::Failed> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let began = Instant::now();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            runtime.block_on(async {
                match job {
                    Job::Shared(case) => (case.run)(self.driver.world().await).await,
                    Job::Own(name) => self.driver.run_own(name).await,
                }
            });
        }));
        runtime.shutdown_background();
        if let Some(NotHere(why)) = result.as_ref().err().and_then(|panic| panic.downcast_ref()) {
            table.without(job.name(), self.driver.name(), why);
            return Ok(());
        }
        table.note(job.name(), self.driver.name(), result.is_ok(), began.elapsed());
        result.map_err(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default().into()
        })
    }
}

/// A case of the contract, or one that only one driver has.
#[derive(Clone, Copy)]
enum Job {
    Shared(&'static Case),
    Own(&'static str),
}

impl Job {
    const fn name(&self) -> &'static str {
        match self {
            Self::Shared(case) => case.name,
            Self::Own(name) => name,
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let table = Arc::new(Table::default());
    let lanes: Vec<_> = drivers().into_iter().map(|driver| Arc::new(Lane { driver, turn: Mutex::default() })).collect();
    let trial = |lane: &Arc<Lane>, job: Job| {
        let (lane, table) = (Arc::clone(lane), Arc::clone(&table));
        Trial::test(format!("{}::{}", lane.driver.name(), job.name()), move || lane.run(&job, &table))
    };
    let jobs = |lane: &Lane| {
        let without = lane.driver.without();
        let fits = |case: &&Case| !without.iter().any(|(name, _)| *name == case.name);
        let own = lane.driver.own_cases().iter().copied().map(Job::Own);
        CASES.iter().filter(fits).map(Job::Shared).chain(own).collect::<Vec<_>>()
    };
    // In turns, so that the lanes run beside each other.
    let mut turns: Vec<(usize, Trial)> = Vec::new();
    for lane in &lanes {
        turns.extend(jobs(lane).into_iter().map(|job| trial(lane, job)).enumerate());
    }
    turns.sort_by_key(|(turn, _)| *turn);
    let trials = turns.into_iter().map(|(_, trial)| trial).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    if !arguments.list {
        println!("{table}");
        for lane in &lanes {
            for (case, why) in lane.driver.without() {
                println!("{case} is not for {}: {why}", lane.driver.name());
            }
        }
    }
    let whole = arguments.filter.is_none() && arguments.skip.is_empty() && !arguments.list && !conclusion.has_failed();
    let mut code = conclusion.exit_code();
    for lane in &lanes {
        match lane.driver.end(whole) {
            Ok(words) => println!("{words}"),
            Err(words) => {
                println!("FAILED {}: {words}", lane.driver.name());
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}
