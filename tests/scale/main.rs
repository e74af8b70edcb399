//! How long it takes to lodge many guests, and what the operator takes when there is nothing to do.
//!
//! `make bench-scale N=1000` runs it; docs/PERFORMANCE.md says how to read it. Not a test: it is skipped without `SCALE_GUESTS`.
//! `SCALE_PROGRAM` is the operator, `SCALE_REST_SECONDS` how long it is watched at rest, `SCALE_ROUNDS` how often all is done.
//! The last line is a JSON object.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::cast_precision_loss, reason = "counts of a few thousands")]

mod raw;
#[path = "../e2e/stack.rs"]
#[allow(dead_code, reason = "shared with the end-to-end tests, of which a part is needed here")]
mod stack;
mod world;

use std::time::{Duration, Instant};

use serde_json::json;
use world::{Operator, Restart, World, Writes};

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
    // A machine is quicker at one time than at another, and a ratio of few seconds shows that more than anything else.
    let rounds = number("SCALE_ROUNDS", if guests > MEASURED { 1 } else { 3 }).max(1);
    let rest = Duration::from_secs(number("SCALE_REST_SECONDS", 60));
    let mut rounds: Vec<Round> = (0..rounds).map(|index| play(guests, (index == 0).then_some(rest))).collect();
    let ratios: Vec<f64> = rounds.iter().map(|one| round(one.ratio())).collect();
    let peak = rounds.iter().map(|one| one.restart.peak_rss_mb).max();
    let at_rest = rounds[0].rest.take().expect("the first round has a rest");
    rounds.sort_by(|a, b| a.ratio().total_cmp(&b.ratio()));
    let middle = &rounds[rounds.len() / 2];
    let figures = json!({
        "guests": guests,
        "seconds": round(middle.seconds),
        "writes": middle.writes.total(),
        "writes_per_guest": round(middle.writes.total() / guests as f64),
        "raw_seconds": round(middle.raw_seconds),
        "ratio": round(middle.ratio()),
        "ratios": ratios,
        "peak_rss_mb": peak,
        "cpu_seconds": round(middle.cpu_seconds),
        "rest_rss_mb": at_rest.rss_mb,
        "rest_cpu_percent": round(at_rest.cpu_percent),
        "rest_requests": at_rest.requests,
        "restart_seconds": round(middle.restart.seconds),
        "restart_writes": middle.restart.writes,
        "restart_rss_mb": middle.restart.rss_mb,
    });
    println!("{figures}");
}

/// From nothing to all running, a rest, a restart, and the same writes by themselves.
struct Round {
    seconds: f64,
    cpu_seconds: f64,
    writes: Writes,
    rest: Option<Rest>,
    restart: Restart,
    raw_seconds: f64,
}

impl Round {
    fn ratio(&self) -> f64 {
        self.seconds / self.raw_seconds
    }
}

/// What the operator takes while there is nothing to do.
struct Rest {
    cpu_percent: f64,
    requests: f64,
    rss_mb: u64,
}

fn play(guests: usize, rest: Option<Duration>) -> Round {
    let world = World::start(POOLS, HOSTS, guests);
    let mut operator = world.operator();
    world.apply_pools();
    let before = operator.counts();
    let (began, cpu_before) = (Instant::now(), operator.cpu_seconds());
    world.apply_workloads(guests, TOGETHER);
    let seconds = operator.wait_until_running(guests, began, Duration::from_hours(1)).as_secs_f64();
    let cpu_seconds = operator.cpu_seconds() - cpu_before;
    operator.wait_until_quiet();
    let writes = operator.counts().since(&before);
    world.check(guests);
    for (what, count) in writes.by_kind.iter().chain(&writes.reads) {
        eprintln!("scale: {:>9.0}  {:>5.2} a guest  {what}", count, count / guests as f64);
    }
    let rest = rest.map(|span| watch_at_rest(&operator, span));
    let restart = world.restart(operator, guests);
    let rates = raw::measure(&world, MEASURED);
    let raw_seconds = rates.time_for(&writes, guests);
    let raw::Rates { creates, bindings, statuses } = rates;
    eprintln!(
        "scale: raw rates: {creates:.0} guests made, {bindings:.0} bound and {statuses:.0} statuses written in a second: \
         {seconds:.2} s, raw {raw_seconds:.2} s"
    );
    Round { seconds, cpu_seconds, writes, rest, restart, raw_seconds }
}

fn watch_at_rest(operator: &Operator, span: Duration) -> Rest {
    let (counts, cpu, since) = (operator.counts(), operator.cpu_seconds(), Instant::now());
    std::thread::park_timeout(span);
    let cpu_percent = 100.0 * (operator.cpu_seconds() - cpu) / since.elapsed().as_secs_f64();
    let at_rest = operator.counts().since(&counts);
    for (what, count) in at_rest.by_kind.iter().chain(&at_rest.reads).filter(|(_, count)| **count > 0.0) {
        eprintln!("scale: at rest {count:>5.0}  {what}");
    }
    Rest { cpu_percent, requests: at_rest.total() + Writes::sum(&at_rest.reads), rss_mb: operator.rss_mb() }
}

fn round(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}
