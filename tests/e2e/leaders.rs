//! Two replicas of which one is killed again and again, while guests are made: one acts at a time, no guest is made twice.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use crate::{
    stack::{Process, Stack, fetch},
    truth::Truth,
};

/// The term of the Lease: short, and long enough for a machine that others use.
const TERM: Duration = Duration::from_secs(6);
const SOON: Duration = Duration::from_mins(3);

struct Replica {
    process: Process,
    address: String,
}

impl Replica {
    fn start(stack: &Stack) -> Self {
        let (process, address) = stack.replica(&["--lease-seconds", "6"]);
        Self { process, address }
    }

    fn leads(&self) -> bool {
        fetch(&self.address, "/readyz?verbose").is_some_and(|(_, text)| text.contains(" leads, epoch "))
    }
}

/// `INNKEEPER_KILLS` sets the number; six are enough for every day.
fn kills() -> u32 {
    std::env::var("INNKEEPER_KILLS").ok().map_or(6, |number| number.parse().expect("INNKEEPER_KILLS is a number"))
}

/// Stops the leader and waits for the other to lead. Says how long nobody led.
fn change(stack: &Stack, leader: Replica, other: &Replica, gently: bool) -> Duration {
    let Replica { mut process, .. } = leader;
    let began = Instant::now();
    if gently {
        let status = process.terminate(Duration::from_secs(20));
        assert!(status.success(), "on SIGTERM it ended with {status}");
    } else {
        process.kill();
    }
    stack.until("the other replica leads", TERM * 5, || other.leads().then_some(()));
    began.elapsed()
}

/// At one provider, a call of an earlier leader that came after one of a later leader; and all leaders there were.
fn out_of_order(callers: &[(u32, String)]) -> (Vec<String>, BTreeSet<(u32, String)>) {
    let mut newest = 0;
    let mut late = Vec::new();
    for (epoch, name) in callers {
        if *epoch < newest {
            late.push(format!("{name} of epoch {epoch} after epoch {newest}"));
        }
        newest = newest.max(*epoch);
    }
    (late, callers.iter().cloned().collect())
}

#[test]
fn one_leads_at_a_time_whoever_is_killed() {
    let stack = Stack::start();
    let truth = Truth::of(&stack);
    let (mut leader, mut other) = (Replica::start(&stack), Replica::start(&stack));
    stack.until("one leads", TERM * 5, || (leader.leads() || other.leads()).then_some(()));
    if other.leads() {
        std::mem::swap(&mut leader, &mut other);
    }
    stack.apply_examples();
    stack.wait_for_guests(6, SOON);
    let (mut guests, mut gaps) = (6, [Duration::ZERO; 2]);
    for kill in 0..kills() {
        guests += 1;
        stack.kubectl(&["scale", "vw/web", &format!("--replicas={guests}")]);
        let gently = kill % 2 == 0;
        let gap = change(&stack, leader, &other, gently);
        println!(
            "{} of {}: the other leads after {} ms",
            if gently { "TERM" } else { "KILL" },
            kill + 1,
            gap.as_millis()
        );
        gaps[usize::from(gently)] = gaps[usize::from(gently)].max(gap);
        (leader, other) = (other, Replica::start(&stack));
    }
    stack.wait_for_guests(guests, SOON);
    println!("longest gap: {} ms after SIGKILL, {} ms after SIGTERM", gaps[0].as_millis(), gaps[1].as_millis());
    assert!(gaps[1] < TERM, "a leader that ends by itself gives its lease back: {gaps:?}");

    let (ran, twice) = truth.ever_ran();
    assert_eq!(twice, Vec::<String>::new());
    assert!(ran.len() == guests && ran.values().all(|vms| vms.len() == 1), "{ran:#?}");
    assert_eq!(truth.xen_vms().len() + truth.instances().len(), guests);
    let mut epochs = BTreeSet::new();
    for callers in truth.callers() {
        let (late, leaders) = out_of_order(&callers);
        assert_eq!(late, Vec::<String>::new(), "two acted at once");
        epochs.extend(leaders);
    }
    let numbers: BTreeSet<u32> = epochs.iter().map(|(epoch, _)| *epoch).collect();
    assert_eq!(numbers.len(), epochs.len(), "two leaders in one epoch: {epochs:?}");
    assert!(numbers.len() > 1, "only one leader ever acted: {epochs:?}");
}

#[test]
fn a_leader_that_stood_still_does_nothing_when_it_goes_on() {
    let stack = Stack::start();
    let truth = Truth::of(&stack);
    let first = Replica::start(&stack);
    stack.until("the first leads", TERM * 5, || first.leads().then_some(()));
    let second = Replica::start(&stack);
    stack.apply_examples();
    let signal = |name: &str| {
        let pid = first.process.pid().to_string();
        assert!(std::process::Command::new("kill").args([name, &pid]).status().unwrap().success());
    };
    stack.until("the first acts", SOON, || (!truth.callers()[0].is_empty()).then_some(()));
    signal("-STOP");
    stack.until("the second leads", TERM * 5, || second.leads().then_some(()));
    stack.wait_for_guests(6, SOON);
    signal("-CONT");
    let Replica { mut process, .. } = first;
    let status = process.wait(SOON);
    assert!(!status.success(), "a leader that lost its lease ends with an error");
    assert!(stack.operator_log().contains("does not lead any more"));
    let (ran, twice) = truth.ever_ran();
    assert_eq!(twice, Vec::<String>::new());
    assert!(ran.len() == 6 && ran.values().all(|vms| vms.len() == 1), "{ran:#?}");
    for callers in truth.callers() {
        assert_eq!(out_of_order(&callers).0, Vec::<String>::new());
    }
}
