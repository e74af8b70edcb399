//! Random faults with seeds, random crashes, and a caller who keeps the rules of `trait Provider`: afterwards no guest
//! had two VMs and nothing is left.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use innkeeper::provider::{Deletion, ErrorKind, Freshness, Power, Provider};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::harness::{Connect, OWNER, Request, Trouble, World, key};

const SEEDS: u64 = 20;
const GUESTS: usize = 3;

/// How likely which trouble is.
const TROUBLES: [(Request, Trouble, f64); 7] = [
    (Request::Create, Trouble::LostReply, 0.3),
    (Request::Create, Trouble::NoRoom, 0.1),
    (Request::Any, Trouble::LostRequest, 0.08),
    (Request::Any, Trouble::LostReply, 0.08),
    (Request::Any, Trouble::HalfReply, 0.05),
    (Request::Any, Trouble::Throttled, 0.05),
    (Request::Any, Trouble::Broken, 0.05),
];

/// A caller of a provider that now and then loses its memory of it, as a restarted operator does.
struct Caller<'a> {
    world: &'a dyn World,
    provider: Arc<dyn Provider>,
    dice: StdRng,
    crashes: u32,
}

impl Caller<'_> {
    async fn maybe_crash(&mut self) {
        if self.dice.random_bool(0.1) {
            self.provider = self.world.connect(connect()).await;
            self.crashes += 1;
        }
    }

    /// Brings the guest to running, or gives up half-way at random. Answers when the last creation was tried.
    async fn lodge(&mut self, n: usize) -> Option<Instant> {
        let wish = self.world.wish(key(n));
        let mut tried = None;
        for _ in 0..400 {
            self.maybe_crash().await;
            if self.dice.random_bool(0.03) {
                return tried;
            }
            let step = match self.provider.find(&wish.key, Freshness::Live).await {
                Ok(Some(guest)) if guest.power == Power::Running => return tried,
                Ok(Some(guest)) if guest.busy => Ok(guest),
                Ok(Some(_)) => self.provider.start(&wish).await,
                Ok(None) => {
                    tried = Some(Instant::now());
                    self.provider.create(&wish).await
                }
                Err(error) => Err(error),
            };
            if let Err(error) = step {
                assert!(!matches!(error.kind, ErrorKind::Auth | ErrorKind::Invalid), "{}: {error}", error.kind);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("guest {n} does not come to run");
    }

    /// Deletes the guest. Only after the settling time is the end of an unanswered creation certain.
    async fn clear(&mut self, n: usize, tried: Option<Instant>) {
        for _ in 0..400 {
            self.maybe_crash().await;
            let settled = tried.is_none_or(|tried| tried.elapsed() > self.provider.settling_time());
            if matches!(self.provider.delete(&key(n)).await, Ok(Deletion::Gone)) && settled {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("guest {n} does not go");
    }
}

fn connect() -> Connect {
    Connect { deadline: Duration::from_secs(2), ..Connect::default() }
}

async fn one(world: &dyn World, seed: u64) -> u64 {
    world.hide_new(Duration::from_millis(if seed.is_multiple_of(2) { 0 } else { 150 })).await;
    world.storm(seed, &TROUBLES);
    let provider = world.connect(connect()).await;
    let mut caller = Caller { world, provider, dice: StdRng::seed_from_u64(seed), crashes: 0 };
    let first = usize::try_from(seed).unwrap() * GUESTS;
    let mut tried = Vec::new();
    for n in first..first + GUESTS {
        tried.push((n, caller.lodge(n).await));
    }
    for (n, tried) in tried {
        caller.clear(n, tried).await;
    }
    let struck = world.heal();
    let mut vms = 0;
    for n in first..first + GUESTS {
        let made = world.made_for(&key(n).guest).await;
        assert!(made.len() <= 1, "seed {seed}: guest {n} had {made:?}");
        vms += made.len();
    }
    assert_eq!(world.left(OWNER).await, Vec::<String>::new(), "seed {seed}");
    println!(
        "seed {seed:2}: {struck:3} faults, {} crashes; {vms} VMs for {GUESTS} guests, none twice, none left",
        caller.crashes
    );
    struck
}

pub async fn twenty_seeds(world: &dyn World) {
    let mut struck = 0;
    for seed in 0..SEEDS {
        struck += one(world, seed).await;
    }
    assert!(struck > SEEDS, "only {struck} faults: this was no storm");
}
