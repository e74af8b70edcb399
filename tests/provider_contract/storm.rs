//! Random faults with seeds, random crashes, and a caller who keeps the rules of `trait Provider`: afterwards no guest
//! had two VMs and nothing is left.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use innkeeper::provider::{Deletion, ErrorKind, Freshness, Owner, Power, Provider};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::harness::{Connect, Request, Trouble, World, eventually, key};

const SEEDS: u64 = 20;
const GUESTS: usize = 3;
const AT_ONCE: usize = 5;

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
    seed: u64,
    dice: StdRng,
    crashes: u32,
}

impl Caller<'_> {
    async fn maybe_crash(&mut self) {
        if self.dice.random_bool(0.1) {
            self.provider = reach(self.world, self.seed).await;
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

/// Each seed has guests of an owner of its own, so that seeds do not see each other.
fn connect(seed: u64) -> Connect {
    let owner = Owner(format!("storm-{seed}"));
    Connect { owner, deadline: Duration::from_secs(2), ..Connect::default() }
}

/// Connects through the storm.
async fn reach(world: &dyn World, seed: u64) -> Arc<dyn Provider> {
    eventually("a connection", || async { world.connect(connect(seed)).await.ok() }).await
}

/// What one seed came to.
struct Weather {
    seed: u64,
    struck: u64,
    crashes: u32,
    vms: usize,
}

async fn one(world: Arc<dyn World>, seed: u64) -> Weather {
    world.storm(seed, &TROUBLES).await;
    let provider = reach(&*world, seed).await;
    let mut caller = Caller { world: &*world, provider, seed, dice: StdRng::seed_from_u64(seed), crashes: 0 };
    let first = usize::try_from(seed).unwrap() * GUESTS;
    let mut tried = Vec::new();
    for n in first..first + GUESTS {
        tried.push((n, caller.lodge(n).await));
    }
    for (n, tried) in tried {
        caller.clear(n, tried).await;
    }
    let (crashes, struck) = (caller.crashes, world.heal().await);
    let mut vms = 0;
    for n in first..first + GUESTS {
        let made = world.made_for(&key(n).guest).await;
        let ran = made.iter().filter(|made| made.ran).count();
        assert!(ran <= 1, "seed {seed}: guest {n} had {made:?}");
        vms += ran;
    }
    assert_eq!(world.left(&connect(seed).owner.0).await, Vec::<String>::new(), "seed {seed}");
    Weather { seed, struck, crashes, vms }
}

pub async fn twenty_seeds(world: &dyn World) {
    world.hide_new(Duration::from_millis(100)).await;
    let seeds = stream::iter(0..SEEDS).map(async |seed| one(world.beside().await, seed).await);
    let weather: Vec<Weather> = seeds.buffered(AT_ONCE).collect().await;
    for Weather { seed, struck, crashes, vms } in &weather {
        println!(
            "seed {seed:2}: {struck:3} faults, {crashes} crashes; {vms} VMs for {GUESTS} guests, none twice, none left"
        );
    }
    assert!(weather.iter().all(|seed| seed.struck > 0), "a seed without a fault was no storm");
}
