//! What must hold whenever the operator is at rest, asked of the providers, and what must never have been.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use innkeeper::api::guest::Phase;
use kube::ResourceExt as _;

use crate::world::{World, until, until_rest};

/// How long the operator may take to come to rest after a fault. A VM that may still turn up after a lost answer is
/// waited for, up to two minutes on Xen.
pub const REST: Duration = Duration::from_mins(4);

/// The same, shorter where a defect that was planted is to be met soon.
fn rest() -> Duration {
    std::env::var("CHAOS_REST").ok().and_then(|text| text.parse().ok()).map_or(REST, Duration::from_secs)
}

/// Waits until the workload has so many guests and all of them run, then compares with what the providers say.
pub fn at_rest(world: &World, workload: &str, wanted: usize) -> Result<(), String> {
    let rests = || {
        world.revive_operator();
        let guests = world.guests();
        let runs = |guest: &innkeeper::api::Guest| {
            guest.metadata.deletion_timestamp.is_none()
                && guest.status.as_ref().is_some_and(|status| status.phase == Some(Phase::Running))
        };
        let counted = world.workload(workload).and_then(|workload| workload.status).map(|status| status.ready_replicas);
        let all = guests.len() == wanted && guests.iter().all(runs);
        (all && counted == u32::try_from(wanted).ok()).then_some(guests)
    };
    let guests = until_rest(&format!("{wanted} guests run"), rest(), rests).map_err(|late| explain(world, &late))?;
    let named: BTreeSet<String> =
        guests.iter().filter_map(|guest| guest.status.as_ref()?.provider_id.clone()).collect();
    let there: BTreeSet<String> = at_providers(world);
    if there == named { Ok(()) } else { Err(format!("guests name {named:?}, the providers have {there:?}")) }
}

/// Waits until the workload and its guests are gone, then looks for anything that is left.
pub fn gone(world: &World, workload: &str) -> Result<(), String> {
    all_gone(world, workload)?;
    // A terminated instance takes its volumes along a moment later.
    let nothing = || world.truth.left().is_empty().then_some(());
    until("nothing is left", Duration::from_secs(10), nothing).map_err(|_| format!("left: {:?}", world.truth.left()))
}

/// Waits until the workload and its guests are gone, whatever they leave.
pub fn all_gone(world: &World, workload: &str) -> Result<(), String> {
    let empty = || {
        world.revive_operator();
        (world.guests().is_empty() && world.workload(workload).is_none()).then_some(())
    };
    until_rest("the guests are gone", rest(), empty).map_err(|late| explain(world, &late))
}

/// That no guest ever had two VMs running at a time, at whichever providers.
pub fn never_twice(world: &World) -> Result<(), String> {
    let (_, twice) = world.truth.ever_ran();
    if !twice.is_empty() {
        return Err(format!("a VM ran twice at a time: {twice:?}"));
    }
    let mut of_guest: BTreeMap<String, Vec<Run>> = BTreeMap::new();
    for run in runs(world) {
        of_guest.entry(run.guest.clone()).or_default().push(run);
    }
    for (guest, runs) in of_guest {
        for (n, one) in runs.iter().enumerate() {
            let beside = runs[n + 1..].iter().find(|other| other.vm != one.vm && one.overlaps(other));
            if let Some(other) = beside {
                return Err(format!("{guest} ran as {one:?} and as {other:?} at a time"));
            }
        }
    }
    Ok(())
}

/// A time for which a VM ran, in seconds since 1970.
#[derive(Clone, Debug)]
pub struct Run {
    pub guest: String,
    pub vm: String,
    pub from: f64,
    pub until: f64,
}

impl Run {
    fn overlaps(&self, other: &Self) -> bool {
        self.from < other.until && other.from < self.until
    }
}

/// Every time for which a VM ran, at both providers.
fn runs(world: &World) -> Vec<Run> {
    let names = world.truth.instance_names();
    let on_xen = world.truth.xen_history().into_iter().filter(|entry| entry["class"] == "VM").filter_map(|entry| {
        let begins = match entry["event"].as_str()? {
            "start" | "resume" => true,
            "halt" | "suspend" | "destroy" | "power_state_reset" => false,
            _ => return None,
        };
        #[allow(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit a double exactly")]
        let at = entry["at_ms"].as_u64()? as f64 / 1000.0;
        Some((entry["uuid"].as_str()?.to_owned(), entry["name"].as_str()?.to_owned(), begins, at))
    });
    let at_ec2 = world.truth.ec2_states().into_iter().filter_map(|entry| {
        let begins = match entry["state"].as_str()? {
            "running" => true,
            "stopped" | "terminated" => false,
            _ => return None,
        };
        let id = entry["instance"].as_str()?.to_owned();
        let name = names.get(&id)?.clone();
        Some((id, name, begins, entry["time"].as_f64()?))
    });
    let mut runs: Vec<Run> = Vec::new();
    for (vm, guest, begins, at) in on_xen.chain(at_ec2) {
        match runs.iter_mut().rev().find(|run| run.vm == vm && run.until == f64::INFINITY) {
            Some(run) if !begins => run.until = at,
            None if begins => runs.push(Run { guest, vm, from: at, until: f64::INFINITY }),
            _ => {}
        }
    }
    runs
}

/// The VMs and instances that there are.
pub fn at_providers(world: &World) -> BTreeSet<String> {
    let instances = world.truth.instances();
    let instances = instances.iter().filter_map(|instance| instance.instance_id().map(str::to_owned));
    world.truth.xen_vms().into_keys().chain(instances).collect()
}

fn explain(world: &World, late: &str) -> String {
    let guests: Vec<String> = world
        .guests()
        .iter()
        .map(|guest| {
            let status = guest.status.clone().unwrap_or_default();
            let said: Vec<String> = status.conditions.iter().map(|c| format!("{}: {}", c.reason, c.message)).collect();
            format!("{} {:?} {said:?} {:?}", guest.name_any(), status.phase, status.creation)
        })
        .collect();
    let left = world.truth.left();
    let log = world.stack.operator_log();
    let tail: Vec<&str> = log.lines().rev().take(12).collect();
    format!("{late}; guests: {guests:#?}; at the providers: {left:?}; log, newest first: {tail:#?}")
}
