//! How long it takes to lodge many guests, and what the operator takes when there is nothing to do.
//!
//! `make bench-scale N=1000` runs it; docs/PERFORMANCE.md says how to read it. Not a test: it is skipped without `SCALE_GUESTS`.
//! `SCALE_PROGRAM` is the operator, `SCALE_REST_SECONDS` how long it is watched at rest. The last line is a JSON object.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::cast_precision_loss, reason = "counts of a few thousands")]

mod raw;
#[path = "../e2e/stack.rs"]
#[allow(dead_code, reason = "shared with the end-to-end tests, of which a part is needed here")]
mod stack;
mod world;

use std::time::{Duration, Instant};

use serde_json::json;
use world::{World, Writes};

const POOLS: usize = 4;
const HOSTS: usize = 64;
/// Guests that are written once more for the raw rates.
const MEASURED: usize = 1000;
/// Guests of one workload.
const TOGETHER: usize = 250;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

fn main() {
    let Ok(guests) = std::env::var("SCALE_GUESTS") else {
        println!("scale: skipped, `make bench-scale N=1000` runs it");
        return;
    };
    let guests: usize = guests.parse().expect("SCALE_GUESTS is a number");
    let world = World::start(POOLS, HOSTS, guests);
    let mut operator = world.operator();
    world.apply_pools();
    let before = operator.counts();
    let (began, cpu_before) = (Instant::now(), operator.cpu_seconds());
    world.apply_workloads(guests, TOGETHER);
    let seconds = operator.wait_until_running(guests, began, Duration::from_hours(1));
    let cpu_seconds = operator.cpu_seconds() - cpu_before;
    operator.wait_until_quiet();
    let writes = operator.counts().since(&before);
    world.check(guests);
    for (what, count) in &writes.by_kind {
        eprintln!("scale: {:>9.0}  {:>5.2} a guest  {what}", count, count / guests as f64);
    }

    let rest = Duration::from_secs(number("SCALE_REST_SECONDS", 60));
    let (counts, cpu, since) = (operator.counts(), operator.cpu_seconds(), Instant::now());
    std::thread::park_timeout(rest);
    let share = 100.0 * (operator.cpu_seconds() - cpu) / since.elapsed().as_secs_f64();
    let at_rest = operator.counts().since(&counts);
    for (what, count) in at_rest.by_kind.iter().chain(&at_rest.reads).filter(|(_, count)| **count > 0.0) {
        eprintln!("scale: at rest {count:>5.0}  {what}");
    }
    let rest_rss = operator.rss_mb();
    let restart = world.restart(operator, guests);
    let rates = raw::measure(&world, MEASURED);
    let raw::Rates { creates, bindings, statuses } = rates;
    eprintln!(
        "scale: raw rates: {creates:.0} guests made, {bindings:.0} bound and {statuses:.0} statuses written in a second"
    );
    let raw_seconds = rates.time_for(&writes, guests);
    let figures = json!({
        "guests": guests,
        "seconds": round(seconds.as_secs_f64()),
        "writes": writes.total(),
        "writes_per_guest": round(writes.total() / guests as f64),
        "raw_seconds": round(raw_seconds),
        "ratio": round(seconds.as_secs_f64() / raw_seconds),
        "peak_rss_mb": restart.peak_rss_mb,
        "cpu_seconds": round(cpu_seconds),
        "rest_rss_mb": rest_rss,
        "rest_cpu_percent": round(share),
        "rest_requests": at_rest.total() + Writes::sum(&at_rest.reads),
        "restart_seconds": round(restart.seconds),
        "restart_writes": restart.writes,
        "restart_rss_mb": restart.rss_mb,
    });
    println!("{figures}");
}

fn round(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}
