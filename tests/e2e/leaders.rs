//! Two replicas of which one is killed again and again, while guests are made and removed: one acts at a time, no guest has
//! two VMs, nothing is left behind.

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, resume_unwind},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    stack::{Process, Stack, fetch},
    truth::Truth,
};

/// The term of the Lease: short, and long enough for a machine that others use.
const TERM: Duration = Duration::from_secs(6);
const SOON: Duration = Duration::from_mins(3);
/// How often a guest is asked for, and how many there are at once.
const EVERY: Duration = Duration::from_secs(1);
const AT_ONCE: usize = 32;

struct Replica {
    process: Process,
    address: String,
}

impl Replica {
    fn start(stack: &Stack) -> Self {
        let (process, address) = stack.replica(&["--lease-seconds", "6"]);
        Self { process, address }
    }

    /// In which epoch it leads, if it does.
    fn epoch(&self) -> Option<u32> {
        let (_, text) = fetch(&self.address, "/readyz?verbose")?;
        text.split(" leads, epoch ").nth(1)?.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    }

    fn leads(&self) -> bool {
        self.epoch().is_some()
    }

    /// Starts it again where it ended by itself, as a cluster does: on a busy machine a leader may fail to renew in time.
    fn revive(&mut self, stack: &Stack) {
        if self.process.has_ended() {
            println!("a replica lost the lease by itself");
            *self = Self::start(stack);
        }
    }
}

/// `INNKEEPER_KILLS` sets the number; `make test-leaders` takes thirty, six are enough for every day.
fn kills() -> u32 {
    std::env::var("INNKEEPER_KILLS").ok().map_or(6, |number| number.parse().expect("INNKEEPER_KILLS is a number"))
}

/// Stops the leader and waits for the other to lead. Says how long nobody led.
fn change(stack: &Stack, leader: Replica, other: &mut Replica, gently: bool) -> Duration {
    let Replica { mut process, .. } = leader;
    let began = Instant::now();
    if gently {
        let status = process.terminate(Duration::from_secs(20));
        assert!(status.success(), "on SIGTERM it ended with {status}");
    } else {
        process.kill();
    }
    stack.until("the other replica leads", SOON, || {
        other.revive(stack);
        other.leads().then_some(())
    });
    began.elapsed()
}

/// A guest of its own name each time, so that every VM there ever was can be told: at home and rented by turns.
fn workload(number: usize) -> String {
    let country = if number.is_multiple_of(2) { "GB" } else { "IE" };
    format!(
        "{{apiVersion: innkeeper.dev/v1alpha1, kind: VirtualWorkload, metadata: {{name: g{number}, namespace: default}}, \
         spec: {{replicas: 1, template: {{image: {{name: debian-12}}, size: {{vcpus: 1, memory: 2Gi}}}}, \
         placement: {{jurisdictions: {{allow: [{country}]}}}}}}}}"
    )
}

/// Asks for one more guest again and again until it is told to stop, and has the oldest removed when there are many. Says
/// when each was asked for.
fn make_guests(stack: &Stack, stop: &AtomicBool) -> Vec<Instant> {
    let mut asked = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        stack.apply(&workload(asked.len()));
        asked.push(Instant::now());
        if let Some(oldest) = asked.len().checked_sub(AT_ONCE + 1) {
            stack.kubectl(&["delete", "vw", &format!("g{oldest}")]);
        }
        std::thread::park_timeout(EVERY);
    }
    asked
}

/// One kill: what was done, when, and for how long nobody led.
struct Kill {
    gently: bool,
    at: Instant,
    gap: Duration,
}

/// Kills whoever leads, again and again, each time after it has called a provider.
fn kill_leaders(stack: &Stack, truth: &Truth) -> (Vec<Kill>, [Replica; 2]) {
    let (mut leader, mut other) = (Replica::start(stack), Replica::start(stack));
    let mut done = Vec::new();
    for number in 1..=kills() {
        stack.until("the leader acts", SOON, || {
            leader.revive(stack);
            other.revive(stack);
            if other.leads() {
                std::mem::swap(&mut leader, &mut other);
            }
            let epoch = leader.epoch()?;
            std::thread::park_timeout(Duration::from_millis(200));
            truth.callers().iter().flatten().any(|(acted, _)| *acted == epoch).then_some(())
        });
        let (gently, at) = (number % 2 == 1, Instant::now());
        let gap = change(stack, leader, &mut other, gently);
        let signal = if gently { "TERM" } else { "KILL" };
        println!("{signal} {number} of {}: the other leads after {} ms", kills(), gap.as_millis());
        done.push(Kill { gently, at, gap });
        (leader, other) = (other, Replica::start(stack));
    }
    (done, [leader, other])
}

/// The longest gap after one signal, and the middle one.
fn gaps(kills: &[Kill], gently: bool) -> (Duration, Duration) {
    let mut gaps: Vec<Duration> = kills.iter().filter(|kill| kill.gently == gently).map(|kill| kill.gap).collect();
    gaps.sort();
    (gaps.last().copied().unwrap_or_default(), gaps.get(gaps.len() / 2).copied().unwrap_or_default())
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
    let stack = Stack::start_with(&["--hosts", "2", "--host-memory", "32GiB"]);
    let truth = Truth::of(&stack);
    stack.apply_pools();
    let stop = AtomicBool::new(false);
    let ((kills, mut left), asked) = std::thread::scope(|scope| {
        let maker = scope.spawn(|| make_guests(&stack, &stop));
        let killed = std::panic::catch_unwind(AssertUnwindSafe(|| kill_leaders(&stack, &truth)));
        stop.store(true, Ordering::Relaxed);
        let asked = maker.join();
        (killed.unwrap_or_else(|panic| resume_unwind(panic)), asked.unwrap())
    });
    for kill in &kills {
        let during = asked.iter().any(|at| *at + EVERY * 4 > kill.at && *at < kill.at + kill.gap + EVERY * 4);
        assert!(during, "no guest was asked for near a kill");
    }
    let alive = asked.len().min(AT_ONCE);
    stack.until("whoever is left finishes what was asked for", SOON, || {
        for replica in &mut left {
            replica.revive(&stack);
        }
        let guests = stack.guests();
        let running = |guest: &&Value| guest["status"]["phase"] == "Running";
        (guests.len() == alive && guests.iter().filter(running).count() == alive).then_some(())
    });
    let [(killed, _), (ended, usual)] = [false, true].map(|gently| {
        let (longest, middle) = gaps(&kills, gently);
        let signal = if gently { "SIGTERM" } else { "SIGKILL" };
        println!("{signal}: longest gap {} ms, median {} ms", longest.as_millis(), middle.as_millis());
        (longest, middle)
    });
    assert!(usual < TERM, "a leader that is asked to end gives its lease back");
    // Twice a term, and some: the next one may itself fail to renew on a busy machine.
    assert!(killed.max(ended) < TERM * 5, "a leader that is gone is replaced when its term is over");

    let (ran, twice) = truth.ever_ran();
    assert_eq!(twice, Vec::<String>::new());
    assert!(ran.len() >= alive && ran.values().all(|vms| vms.len() == 1), "{ran:#?}");
    assert_eq!(truth.xen_vms().len() + truth.instances().len(), alive);
    let mut epochs = BTreeSet::new();
    for callers in truth.callers() {
        let (late, leaders) = out_of_order(&callers);
        assert_eq!(late, Vec::<String>::new(), "two acted at once");
        epochs.extend(leaders);
    }
    let numbers: BTreeSet<u32> = epochs.iter().map(|(epoch, _)| *epoch).collect();
    assert_eq!(numbers.len(), epochs.len(), "two leaders in one epoch: {epochs:?}");
    assert!(numbers.len() > kills.len(), "not every leader acted: {epochs:?}");
    println!(
        "{} kills, {} guests asked for, {} ran, none twice; {} leaders acted at the providers, no two at a time",
        kills.len(),
        asked.len(),
        ran.len(),
        numbers.len()
    );

    stack.kubectl(&["delete", "vw", "--all"]);
    stack.wait_for_guests(0, SOON);
    assert_eq!(truth.left(), Vec::<String>::new());
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
