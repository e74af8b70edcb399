//! `kill -9` at ten moments of the demonstration: the end is the same, no VM runs twice, none is left.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    stack::{Process, Stack},
    truth::Truth,
};

const SOON: Duration = Duration::from_mins(2);

/// When calls of this kind have been made this often since the stage began, the operator is killed.
type Moment = (&'static str, u64);

/// A VM that may have been started already is started wherever its pool has room, with another call than the first time.
const START: &str = "VM.start_on|VM.start";

/// Where a guest goes after a kill may differ: a VM that was restarted elsewhere may have taken another's room.
const MAKE: &str = "RunInstances|VM.clone";
/// Likewise which provider has the last two.
const REMOVE: &str = "TerminateInstances|VM.destroy";

/// The stages: what the user does, how many guests that makes, and when the operator dies meanwhile.
const STAGES: [(&[&str], usize, &[Moment]); 4] = [
    (&[], 6, &[("VM.clone", 1), ("VM.provision", 1), (START, 1), (START, 3), ("RunInstances", 1)]),
    (&["scale", "vw/web", "--replicas=8"], 8, &[(MAKE, 1), (MAKE, 2)]),
    (&["scale", "vw/web", "--replicas=2"], 2, &[("TerminateInstances", 1), ("VM.hard_shutdown", 1)]),
    (&["delete", "vw/web", "--wait=false"], 0, &[(REMOVE, 1)]),
];

/// How often a call, or one of several, was made, synchronous or not.
fn count(calls: &BTreeMap<String, u64>, methods: &str) -> u64 {
    let number = |method: &str| calls.get(method).copied().unwrap_or_default();
    methods.split('|').map(|method| number(method) + number(&format!("Async.{method}"))).sum()
}

#[test]
fn killed_at_ten_moments_it_ends_the_same() {
    let stack = Stack::start();
    let truth = Truth::of(&stack);
    let (mut operator, _) = stack.operator();
    let mut kills = 0;
    for (command, guests, moments) in STAGES {
        let before = truth.calls();
        match command {
            [] => stack.apply_examples(),
            command => drop(stack.kubectl(command)),
        }
        for &(method, times) in moments {
            let wanted = count(&before, method) + times;
            stack.until(&format!("{method} is called {times} times"), SOON, || {
                (count(&truth.calls(), method) >= wanted).then_some(())
            });
            operator = killed_and_restarted(&stack, operator);
            kills += 1;
        }
        match guests {
            0 => stack.until("the guests are gone", SOON, || stack.guests().is_empty().then_some(())),
            guests => drop(stack.wait_for_guests(guests, SOON)),
        }
        let truly = truth.xen_vms().len() + truth.instances().len();
        assert_eq!(truly, guests, "after {command:?}");
    }
    assert_eq!(kills, 10);
    stack.kubectl(&["delete", "cloudpools", "--all", "--timeout=60s"]);
    assert_eq!(truth.left(), Vec::<String>::new());
    let (ran, twice) = truth.ever_ran();
    assert_eq!(twice, Vec::<String>::new());
    assert!(ran.len() == 8 && ran.values().all(|vms| vms.len() == 1), "{ran:#?}");
}

fn killed_and_restarted(stack: &Stack, mut operator: Process) -> Process {
    operator.kill();
    stack.operator().0
}
