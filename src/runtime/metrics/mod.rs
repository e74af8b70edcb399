//! What the operator counts and measures. Labels have few values each: kinds of things, never objects; only pools have
//! their names in them. `docs/metrics.md` says what each is for; a test compares it with this.

mod process;
mod tally;

pub use tally::World;

use std::{
    sync::{Mutex, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::{Registry, Unit},
};
use strum::IntoEnumIterator as _;

use crate::provider::{ErrorKind, OPERATIONS};

/// Which controller.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Controller {
    controller: &'static str,
}

/// How a run of a controller ended: `done`, `failed`, or `abandoned` where it was cut off.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Run {
    controller: &'static str,
    outcome: &'static str,
}

/// A call to a provider. `outcome` is `ok` or the kind of the error.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProviderCall {
    pool: String,
    operation: &'static str,
    outcome: &'static str,
}

/// A request to the API server. `code` is the HTTP status, or `none` where there was no answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ApiRequest {
    verb: &'static str,
    resource: String,
    code: String,
}

/// What came of something.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    result: &'static str,
}

/// Where a change was heard of: `watch` or a provider's pool.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Source {
    source: &'static str,
    pool: String,
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;
type Amounts<L> = Family<L, Gauge<f64, AtomicU64>>;

/// All families.
pub struct Metrics {
    registry: Registry,
    runs: Histograms<Run>,
    running: Family<Controller, Gauge>,
    waiting: Family<Controller, Gauge>,
    waits: Histograms<Controller>,
    provider_calls: Histograms<ProviderCall>,
    requests: Histograms<ApiRequest>,
    refused_writes: Counter,
    lags: Histograms<Source>,
    rounds: Histograms<Outcome>,
    placements: Family<Outcome, Counter>,
    placement_waits: Histogram,
    leader: Gauge,
    epoch: Gauge,
    world: Mutex<tally::Gauges>,
}

/// From a quick run to one that waits for a VM to be made: measured from 2 ms to minutes.
fn run_buckets() -> Histogram {
    Histogram::new([0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 600.0])
}

/// Requests to the API server: usually 1 to 100 ms, at most 15 s.
fn request_buckets() -> Histogram {
    Histogram::new([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 15.0])
}

/// Seconds to hours.
fn wait_buckets() -> Histogram {
    Histogram::new([0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0])
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            runs: Family::new_with_constructor(run_buckets),
            running: Family::default(),
            waiting: Family::default(),
            waits: Family::new_with_constructor(run_buckets),
            provider_calls: Family::new_with_constructor(run_buckets),
            requests: Family::new_with_constructor(request_buckets),
            refused_writes: Counter::default(),
            lags: Family::new_with_constructor(run_buckets),
            rounds: Family::new_with_constructor(request_buckets),
            placements: Family::default(),
            placement_waits: wait_buckets(),
            leader: Gauge::default(),
            epoch: Gauge::default(),
            world: Mutex::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(process::Process));
        let ours = registry.sub_registry_with_prefix("innkeeper");
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        ours.register("build", "The version that runs", build);
        let seconds = || Unit::Seconds;
        ours.register_with_unit("reconcile_duration", "Runs of controllers by outcome", seconds(), self.runs.clone());
        ours.register("reconciles_running", "Runs under way", self.running.clone());
        ours.register("queue_depth", "Objects that wait for a run", self.waiting.clone());
        ours.register_with_unit("queue_wait", "How long objects waited for a run", seconds(), self.waits.clone());
        let calls = self.provider_calls.clone();
        ours.register_with_unit("provider_call_duration", "Calls to providers by outcome", seconds(), calls);
        let requests = self.requests.clone();
        ours.register_with_unit("api_request_duration", "Requests to the API server by code", seconds(), requests);
        let refused = self.refused_writes.clone();
        ours.register("refused_writes", "Writes and calls not sent for want of leadership", refused);
        ours.register_with_unit("event_lag", "From a change to our hearing of it", seconds(), self.lags.clone());
        ours.register_with_unit("placement_round_duration", "Rounds of placement", seconds(), self.rounds.clone());
        ours.register("placements", "Guests decided on, by result", self.placements.clone());
        let waits = self.placement_waits.clone();
        ours.register_with_unit("placement_wait", "From a guest's creation to its binding", seconds(), waits);
        ours.register("leader", "1 where this process leads, else 0", self.leader.clone());
        ours.register("leader_epoch", "Counts the changes of leadership", self.epoch.clone());
        self.world.get_mut().unwrap_or_else(PoisonError::into_inner).register(ours);
        self.registry = registry;
    }

    /// A run ended.
    pub fn ran(&self, controller: &'static str, outcome: &'static str, took: Duration) {
        self.runs.get_or_create(&Run { controller, outcome }).observe(took.as_secs_f64());
    }

    /// So many objects wait, and so many runs are under way.
    pub fn queue(&self, controller: &'static str, waiting: usize, running: usize) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.waiting.get_or_create(&Controller { controller }).set(number(waiting));
        self.running.get_or_create(&Controller { controller }).set(number(running));
    }

    /// An object had to wait for its run.
    pub fn waited(&self, controller: &'static str, wait: Duration) {
        self.waits.get_or_create(&Controller { controller }).observe(wait.as_secs_f64());
    }

    /// A call to a provider ended.
    pub fn called(&self, pool: &str, operation: &'static str, outcome: &'static str, took: Duration) {
        let labels = ProviderCall { pool: pool.to_owned(), operation, outcome };
        self.provider_calls.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// A request to the API server ended.
    pub fn requested(&self, verb: &'static str, resource: String, code: Option<u16>, took: Duration) {
        let code = code.map_or_else(|| "none".to_owned(), |code| code.to_string());
        self.requests.get_or_create(&ApiRequest { verb, resource, code }).observe(took.as_secs_f64());
    }

    /// Something was not sent, as this process does not lead.
    pub fn refused(&self) {
        self.refused_writes.inc();
    }

    /// The API server told of a change.
    pub fn heard_by_watch(&self, lag: Duration) {
        let labels = Source { source: "watch", pool: String::new() };
        self.lags.get_or_create(&labels).observe(lag.as_secs_f64());
    }

    /// A provider told of what we had done there.
    pub fn heard_from(&self, pool: &str, lag: Duration) {
        let labels = Source { source: "provider", pool: pool.to_owned() };
        self.lags.get_or_create(&labels).observe(lag.as_secs_f64());
    }

    /// A round of placement ended.
    pub fn placed(&self, bound: usize, unplaced: usize, succeeded: bool, took: Duration) {
        let result = if succeeded { "done" } else { "failed" };
        self.rounds.get_or_create(&Outcome { result }).observe(took.as_secs_f64());
        let count = |result, number: usize| {
            self.placements.get_or_create(&Outcome { result }).inc_by(u64::try_from(number).unwrap_or_default())
        };
        count("bound", bound);
        count("unplaced", unplaced);
    }

    /// A guest was bound so long after it was made.
    pub fn bound_after(&self, wait: Duration) {
        self.placement_waits.observe(wait.as_secs_f64());
    }

    /// Whether this process leads, and in which epoch.
    pub fn leads(&self, leads: bool, epoch: u32) {
        self.leader.set(i64::from(leads));
        self.epoch.set(i64::from(epoch));
    }

    /// A pool is gone: nothing more is said of it.
    pub fn forget_pool(&self, pool: &str) {
        for operation in OPERATIONS {
            for outcome in ErrorKind::iter().map(ErrorKind::reason).chain(["ok"]) {
                self.provider_calls.remove(&ProviderCall { pool: pool.to_owned(), operation, outcome });
            }
        }
        self.lags.remove(&Source { source: "provider", pool: pool.to_owned() });
    }

    /// All of it as text, with the world as it is now. `None`: this process does not lead, and another speaks of the world.
    #[must_use]
    pub fn text(&self, world: Option<&World<'_>>) -> String {
        let gauges = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        gauges.set(world);
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
