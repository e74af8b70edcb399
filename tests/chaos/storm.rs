//! Bad networks on all three ways at once, with kills at random, all from one seed.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use fault_proxy::{Fault, Matching, Rule};

use crate::{
    check,
    leaks::Before,
    scenario::Scenario,
    world::{Way, World},
};

/// A generator that is the same everywhere: splitmix64.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.roll() % limit
    }
}

/// What can happen to a request on this way, and how often in a hundred.
fn weather(way: Way) -> Vec<(&'static str, f64, Matching, Fault)> {
    let busy = |status| Fault::Answer { status, body: String::new(), content_type: "text/plain".into() };
    let of_any = |(kind, chance, fault)| (kind, chance, Matching::default(), fault);
    let of_changes =
        |(kind, chance, fault)| (kind, chance, Matching { changes: Some(true), ..Matching::default() }, fault);
    let any = [
        ("reset-before", 0.02, Fault::ResetBefore),
        ("reply-lost", 0.03, Fault::DropAfter),
        ("truncated", 0.01, Fault::Truncate),
        ("slow", 0.05, Fault::Delay { milliseconds: 400 }),
        ("503", 0.02, busy(503)),
        ("429", 0.01, busy(429)),
    ];
    // A watch that is held or comes in pieces would only be a watch of which nothing is heard. So is one that loses half of what
    // it tells, which is known when it ends: that happens by "truncated".
    let changes = [("half-open", 0.004, Fault::HangAfter), ("slow bytes", 0.02, Fault::Drip { milliseconds: 25 })];
    let mut all: Vec<_> = any.into_iter().map(of_any).chain(changes.into_iter().map(of_changes)).collect();
    if way == Way::Api {
        // What an API server says of a list or watch whose place in history it has forgotten.
        let gone = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","code":410,"reason":"Expired","message":"too old resource version"}"#;
        let gone = Fault::Answer { status: 410, body: gone.into(), content_type: "application/json".into() };
        let reads = Matching { method: Some("GET".into()), ..Matching::default() };
        all.push(("410", 0.02, reads.clone(), gone));
        // As one that lags behind the others would have it.
        all.push(("stale", 0.03, reads, Fault::Stale));
    }
    all
}

/// Plays the scenario in a storm that calms down after a while; the checks of rest hold all through, as the operator
/// must come to rest between the faults.
pub fn play(world: &World, scenario: &Scenario, name: &str, seed: u64) -> (BTreeMap<String, u64>, Result<(), String>) {
    world.calm(seed);
    let before = Before::of(world);
    for way in Way::ALL {
        for (kind, chance, matching, fault) in weather(way) {
            world.proxy(way).add(Rule { name: kind.into(), matching, ..Rule::on("*", fault).chance(chance) });
        }
    }
    let mut dice = Dice(seed);
    let kills = 1 + dice.below(2);
    world.start_operator();
    let over = AtomicBool::new(false);
    let result = std::thread::scope(|scope| {
        let over = &over;
        scope.spawn(move || {
            for _ in 0..kills {
                let wait = Duration::from_millis(200 + dice.below(6_000));
                let until = std::time::Instant::now() + wait;
                while std::time::Instant::now() < until {
                    if over.load(Ordering::Acquire) {
                        return;
                    }
                    std::thread::park_timeout(Duration::from_millis(10));
                }
                world.kill_operator();
                world.start_operator();
            }
        });
        let result = (scenario.run)(world, name);
        over.store(true, Ordering::Release);
        result
    });
    let result = result.and_then(|()| check::never_twice(world)).and_then(|()| before.is_all_that_is_left(world));
    let mut fired = BTreeMap::new();
    for way in Way::ALL {
        for (kind, times) in world.proxy(way).fired() {
            *fired.entry(kind).or_default() += times;
        }
    }
    *fired.entry("kill -9".to_owned()).or_default() += kills;
    world.kill_operator();
    world.calm(0);
    (fired, result)
}
