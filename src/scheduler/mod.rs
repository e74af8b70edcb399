//! The scheduler: which pool and host each guest goes to, and why. It only binds; the guest controller realises.
//!
//! All guests are decided on together, from one picture of the world: two runs side by side would give the same room
//! away twice. What was bound in the last round and is not yet in the watch counts as bound.

mod act;
pub mod adoption;
pub mod gather;
mod policy;
pub mod pools;
pub mod status;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Client, ResourceExt as _, core::PartialObjectMeta, runtime::reflector::Store};
use pools::Namespaces;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::{
    api::{CloudPool, Guest},
    plan,
    runtime::{
        backoff, chain,
        events::Herald,
        metrics::Metrics,
        watchdog::{Limit, Watchdog},
    },
};

/// What the scheduler needs.
pub struct Scheduler {
    /// The API server.
    pub client: Client,
    /// The guests as last seen.
    pub guests: Store<Guest>,
    /// The pools as last seen.
    pub pools: Store<CloudPool>,
    /// The namespaces as last seen, for the pools' tenancy.
    pub namespaces: Store<PartialObjectMeta<Namespace>>,
    /// Who writes Events.
    pub herald: Herald,
    /// The clock.
    pub now: fn() -> Timestamp,
    /// Rung when a guest or a pool changed.
    pub bell: Arc<Notify>,
    /// Where rounds and placements are counted.
    pub metrics: Arc<Metrics>,
    /// Who notices that a round does not end.
    pub watchdog: Watchdog,
}

/// Changes come in bursts: so long is waited for more of them before deciding.
const GATHERING: Duration = Duration::from_millis(20);
/// How soon to decide again when only time has passed.
const SOONEST: Duration = Duration::from_millis(250);

/// How long a round may last: it writes a few objects for each guest that it decides on.
const ROUND: Limit = Limit(Duration::from_mins(30));

/// Only places for guests that have none: moves are not carried out.
const OPTIONS: plan::Options = plan::Options {
    steps: 200_000,
    moves: plan::MoveOptions { most: 0, saving_percent: 0, density: 0, cool_down: SignedDuration::ZERO },
};

impl Scheduler {
    /// Decides whenever something changed, or when time alone may change a decision, until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut assumed = gather::Assumed::new();
        let mut failures = 0;
        loop {
            let watched = self.watchdog.watch("scheduler", ROUND);
            let round = self.round(&mut assumed).await;
            drop(watched);
            let wake = match round {
                Ok(wake_at) => {
                    failures = 0;
                    let until = |at: Timestamp| Duration::try_from(at.duration_since((self.now)())).unwrap_or_default();
                    // Times in objects are whole seconds: a moment that has just passed must not be waited for again and
                    // again.
                    wake_at.map(|at| until(at).max(SOONEST))
                }
                Err(error) => {
                    failures += 1;
                    warn!(error = chain(&error), "a round of placement failed");
                    Some(backoff::delay(failures, rand::random()))
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.bell.notified() => {}
                () = sleep(wake) => {}
            }
            tokio::time::sleep(GATHERING).await;
        }
    }

    /// One round. Returns when to decide again though nothing changed.
    async fn round(&self, assumed: &mut gather::Assumed) -> Result<Option<Timestamp>, crate::runtime::ApiError> {
        let (guests, pools, now) = (self.guests.state(), self.pools.state(), (self.now)());
        if let Some(wait_until) = gather::first_look(&pools, now) {
            return Ok(Some(wait_until));
        }
        let namespaces = self.namespaces();
        let picture = gather::picture(&guests, &pools, &namespaces, assumed, now);
        let Some(picture) = picture else { return Ok(None) };
        let began = Instant::now();
        let plan = plan::decide(&picture.world, &OPTIONS);
        let plan = adoption::added(plan, &guests, &pools, &namespaces, assumed);
        debug!(bindings = plan.bindings.len(), unplaced = plan.unplaced.len(), "decided");
        let done = act::carry_out(self, &picture, &plan, assumed).await;
        self.metrics.placed(plan.bindings.len(), plan.unplaced.len(), done.is_ok(), began.elapsed());
        done?;
        Ok(plan.wake_at)
    }

    fn namespaces(&self) -> Namespaces {
        self.namespaces.state().iter().map(|namespace| (namespace.name_any(), namespace.labels().clone())).collect()
    }
}

async fn sleep(duration: Option<Duration>) {
    match duration {
        Some(duration) => tokio::time::sleep(duration).await,
        None => std::future::pending().await,
    }
}
