//! Ready within a second, and next to nothing when there is nothing to do.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use crate::stack::Stack;

/// CPU time of a process so far: user and system, in clock ticks of 10 ms (`proc(5)`, `sysconf(_SC_CLK_TCK)` is 100 on
/// every Linux that Rust runs on).
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// Resident memory in KiB.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn ready_within_a_second_and_quiet_at_rest() {
    let stack = Stack::start();
    // The quickest of three: other tests may have the processors at any one moment.
    let took = (0..2).map(|_| stack.operator().1).min().unwrap();
    let (operator, last) = stack.operator();
    let took = took.min(last);
    println!("ready after {} ms", took.as_millis());
    assert!(took < Duration::from_secs(1), "ready after {} ms", took.as_millis());
    stack.apply_examples();
    stack.wait_for_guests(6, Duration::from_secs(90));

    // The last changes settle: the EC2 driver reads quickly for some seconds after its own writes.
    std::thread::park_timeout(Duration::from_secs(15));
    let (before, began) = (ticks(operator.pid()), Instant::now());
    std::thread::park_timeout(Duration::from_secs(20));
    #[expect(clippy::cast_precision_loss, reason = "a few hundred ticks")]
    let share = (ticks(operator.pid()) - before) as f64 / 100.0 / began.elapsed().as_secs_f64();
    let memory = resident(operator.pid());
    println!("at rest: {:.2} % of a core, {} MiB resident", share * 100.0, memory / 1024);
    assert!(share < 0.01, "at rest it takes {:.2} % of a core", share * 100.0);
    // An unoptimised operator: its code alone is a third of that.
    assert!(memory < 90 * 1024, "it holds {} MiB", memory / 1024);
}
