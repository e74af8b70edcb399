//! `kill -9` just before, and just after the effect of, the n-th call that changes something on one of the three ways
//! out; then a new operator.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use fault_proxy::{Fault, Matching, Outcome, Rule};

use crate::{
    check,
    leaks::Before,
    scenario::Scenario,
    world::{Way, World},
};

const RULE: &str = "kill";

/// Where the operator dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    pub way: Way,
    /// The first call is 1.
    pub number: u64,
    pub after_effect: bool,
}

impl std::fmt::Display for Point {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let side = if self.after_effect { "after" } else { "before" };
        write!(f, "{}:{}:{side}", self.way.name(), self.number)
    }
}

impl std::str::FromStr for Point {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text} is no kill point; write it like xen:3:after");
        let mut parts = text.split(':');
        let way =
            parts.next().and_then(|name| Way::ALL.into_iter().find(|way| way.name() == name)).ok_or_else(wrong)?;
        let number = parts.next().and_then(|number| number.parse().ok()).ok_or_else(wrong)?;
        let after_effect = match parts.next() {
            Some("after") => true,
            Some("before") => false,
            _ => return Err(wrong()),
        };
        Ok(Self { way, number, after_effect })
    }
}

/// How a run ended.
pub struct Done {
    /// The call that the operator died at. `None`: the scenario did not come as far.
    pub killed_at: Option<String>,
    pub result: Result<(), String>,
}

/// Plays the scenario with one kill.
pub fn play(world: &World, scenario: &Scenario, name: &str, point: Point) -> Done {
    world.calm(0);
    let before = Before::of(world);
    // The request is held on either side of its effect until its client is dead, so the reply never gets there.
    let fault = if point.after_effect { Fault::HangAfter } else { Fault::Hang };
    let matching = Matching { changes: Some(true), ..Matching::default() };
    let rule = Rule { name: RULE.into(), matching, skip: point.number - 1, times: Some(1), ..Rule::on("*", fault) };
    world.proxy(point.way).add(rule);
    world.start_operator();
    let over = AtomicBool::new(false);
    let (result, killed_at) = std::thread::scope(|scope| {
        let killer = scope.spawn(|| {
            while !over.load(Ordering::Acquire) {
                if world.proxy(point.way).fired().get(RULE).is_some_and(|fired| *fired > 0) {
                    let call = held_call(world, point);
                    world.kill_operator();
                    world.calm(0);
                    world.start_operator();
                    return Some(call);
                }
                std::thread::park_timeout(Duration::from_millis(3));
            }
            None
        });
        let result = (scenario.run)(world, name);
        over.store(true, Ordering::Release);
        (result, killer.join().unwrap())
    });
    let result = result.and_then(|()| check::never_twice(world)).and_then(|()| before.is_all_that_is_left(world));
    world.kill_operator();
    world.calm(0);
    Done { killed_at, result }
}

/// The call that is held, once the server has done what it was asked where the operator is to die after that.
fn held_call(world: &World, point: Point) -> String {
    for _ in 0..5_000 {
        let log = world.proxy(point.way).log(0);
        let held = log.iter().rev().find(|entry| entry.rule.as_deref() == Some(RULE));
        match held {
            Some(entry) if !point.after_effect || entry.outcome == Outcome::ReplyLost => return entry.action.clone(),
            _ => std::thread::park_timeout(Duration::from_millis(2)),
        }
    }
    "a call that was never answered".to_owned()
}
