//! Notices a run that never ends.
//!
//! Every call has a deadline, so a run ends by itself also where nobody answers; one that goes on far beyond the sum of
//! its deadlines is a fault in this program, and a restart is the cure. That an API server or a provider is down makes
//! runs fail, not last: it must not restart anything.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// How long one run may last.
#[derive(Clone, Copy, Debug)]
pub struct Limit(pub Duration);

/// The runs under way.
#[derive(Clone, Default)]
pub struct Watchdog(Arc<Inner>);

#[derive(Default)]
struct Inner {
    next: AtomicU64,
    runs: Mutex<BTreeMap<u64, Run>>,
}

struct Run {
    what: String,
    since: Instant,
    limit: Duration,
}

/// A run under way; it ends when this is dropped.
#[must_use]
pub struct Watched {
    dog: Watchdog,
    id: u64,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.dog.0.runs.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

impl Watchdog {
    /// A run begins.
    pub fn watch(&self, what: impl Into<String>, limit: Limit) -> Watched {
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        let run = Run { what: what.into(), since: Instant::now(), limit: limit.0 };
        self.0.runs.lock().unwrap_or_else(PoisonError::into_inner).insert(id, run);
        Watched { dog: self.clone(), id }
    }

    /// The runs that should have ended long ago.
    #[must_use]
    pub fn stuck(&self) -> Vec<String> {
        let runs = self.0.runs.lock().unwrap_or_else(PoisonError::into_inner);
        let stuck = |run: &&Run| run.since.elapsed() > run.limit;
        let say = |run: &Run| format!("{} for {} s", run.what, run.since.elapsed().as_secs());
        runs.values().filter(stuck).map(say).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_run_that_does_not_end_is_stuck() {
        let dog = Watchdog::default();
        let (quick, slow) = (dog.watch("a", Limit(Duration::from_hours(1))), dog.watch("b", Limit(Duration::ZERO)));
        tokio::task::yield_now().await;
        assert_eq!(dog.stuck(), ["b for 0 s"]);
        drop((quick, slow));
        assert!(dog.stuck().is_empty());
    }
}
