//! The scheduler: which pool and host each guest goes to, who moves, and why. It only decides; the guest controller
//! realises.
//!
//! All guests are decided on together, from one picture of the world: two runs side by side would give the same room
//! away twice. What was bound in the last round and is not yet in the watch counts as bound.

mod act;
pub mod adoption;
pub mod bell;
pub mod flights;
pub mod gather;
pub mod handover;
pub mod moves;
mod policy;
pub mod pools;
pub mod remarks;
pub mod retype;
pub mod status;
#[cfg(test)]
mod testing;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bell::Bell;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Client, ResourceExt as _, core::PartialObjectMeta, runtime::reflector::Store};
use pools::Namespaces;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug, warn};

use crate::{
    api::{CloudPool, Guest},
    plan,
    runtime::{
        backoff, chain,
        events::Herald,
        metrics::Metrics,
        trace,
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
    pub bell: Arc<Bell>,
    /// Where rounds and placements are counted.
    pub metrics: Arc<Metrics>,
    /// Who notices that a round does not end.
    pub watchdog: Watchdog,
    /// Where the reasons for new bindings are left for the guest controller.
    pub handover: Arc<handover::Handover>,
}

/// How soon to decide again when only time has passed.
const SOONEST: Duration = Duration::from_millis(250);

/// How long a round may last: it writes a few objects for each guest that it decides on.
const ROUND: Limit = Limit(Duration::from_mins(30));

/// How soon prices and rules of guests that have a place are looked at again.
const REVIEW: SignedDuration = SignedDuration::from_secs(2);

/// How soon it is looked again for hosts that can be emptied of guests that go by density: it takes longer than all else, and
/// nothing is urgent about it.
const GATHER: SignedDuration = SignedDuration::from_secs(30);

/// All moves that are worth while are planned. How many are begun is another matter: those that need a person must not
/// crowd out the others.
pub const OPTIONS: plan::Options = plan::Options {
    steps: 200_000,
    moves: plan::MoveOptions {
        most: 100_000,
        steps: 2_000_000,
        saving_percent: 20,
        density: 1_000,
        // None are saved up: a move for each host is as many as there ever are.
        in_hand: 1,
        cool_down: SignedDuration::from_mins(30),
    },
};

/// The same without gathering.
const AS_THEY_ARE: plan::MoveOptions = plan::MoveOptions { density: 0, ..OPTIONS.moves };

/// What is kept from round to round. After a restart it begins empty: what must not be forgotten is in the guests.
#[derive(Debug, Default)]
struct State {
    assumed: gather::Assumed,
    reasons: moves::Reasons,
    /// When the reasons of guests without a place were last written.
    told: HashMap<String, Timestamp>,
    /// A guest had no place in the last round.
    waits: bool,
    /// How long the last round decided. Not how long it wrote: many guests may wait for their turn then.
    took: Duration,
    reviewed_at: Option<Timestamp>,
    gathered_at: Option<Timestamp>,
}

impl Scheduler {
    /// Decides whenever something changed, or when time alone may change a decision, until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut state = State::default();
        let mut failures = 0;
        loop {
            let watched = self.watchdog.watch("scheduler", ROUND);
            let span = trace::run("scheduler", &"all guests");
            let round = self.round(&mut state).instrument(span.clone()).await;
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
                    trace::failed(&span, chain(&error));
                    warn!(error = chain(&error), "a round of placement failed");
                    Some(backoff::delay(failures, rand::random()))
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.bell.rings(state.took, state.waits) => {}
                () = sleep(wake) => {}
            }
            tokio::time::sleep(bell::rest(state.took)).await;
        }
    }

    /// One round. Returns when to decide again though nothing changed.
    async fn round(&self, state: &mut State) -> Result<Option<Timestamp>, crate::runtime::ApiError> {
        let began = Instant::now();
        let (guests, pools, now) = (self.guests.state(), self.pools.state(), (self.now)());
        if let Some(wait_until) = gather::first_look(&pools, now) {
            return Ok(Some(wait_until));
        }
        let namespaces = self.namespaces();
        let picture = gather::picture(&guests, &pools, &namespaces, &mut state.assumed, now);
        let Some(picture) = picture else { return Ok(None) };
        let (gathers, gather_at) = state.gathers(&picture.world);
        let options = if gathers { OPTIONS } else { plan::Options { moves: AS_THEY_ARE, ..OPTIONS } };
        let plan = plan::decide(&picture.world, &options);
        let plan = adoption::added(plan, &guests, &pools, &namespaces, &state.assumed);
        let mut chosen = moves::choose(&plan, &picture, &state.assumed, (&mut state.reasons, gathers));
        let retyped = retype::choose(&picture, &plan, &chosen, &state.assumed);
        for (uid, why) in &retyped.kept {
            chosen.proposals.entry(uid.clone()).or_insert_with(|| why.clone());
        }
        let (review, review_at) = state.review(&picture.world);
        let remarks = remarks::All::new(&picture, &plan, &chosen, review.as_deref());
        debug!(
            bindings = plan.bindings.len(),
            unplaced = plan.unplaced.len(),
            moves = plan.moves.len(),
            begun = chosen.begin.len(),
            "decided"
        );
        (state.waits, state.took) = (!plan.unplaced.is_empty(), began.elapsed());
        let done = act::carry_out(self, &picture, &plan, (&chosen, &retyped), &remarks, state).await;
        self.metrics.placed(plan.bindings.len(), plan.unplaced.len(), done.is_ok(), began.elapsed());
        let again = done?;
        Ok([plan.wake_at, chosen.wake_at, review_at, gather_at, again].into_iter().flatten().min())
    }

    fn namespaces(&self) -> Namespaces {
        self.namespaces.state().iter().map(|namespace| (namespace.name_any(), namespace.labels().clone())).collect()
    }
}

impl State {
    /// Whether it is looked for hosts to be emptied in this round; and when, if it was done just now.
    fn gathers(&mut self, world: &plan::World) -> (bool, Option<Timestamp>) {
        if world.guests.iter().all(|guest| guest.policy.objective != plan::Objective::Density) {
            return (false, None);
        }
        let next = self.gathered_at.and_then(|at| at.checked_add(GATHER).ok()).filter(|next| *next > world.now);
        if next.is_none() {
            self.gathered_at = Some(world.now);
        }
        (next.is_none(), next)
    }

    /// Looks at prices and rules, unless that was done just now; then it is said when it is to be done.
    fn review(&mut self, world: &plan::World) -> (Option<Vec<plan::review::Standing>>, Option<Timestamp>) {
        let next = self.reviewed_at.and_then(|at| at.checked_add(REVIEW).ok()).filter(|next| *next > world.now);
        if next.is_some() {
            return (None, next);
        }
        self.reviewed_at = Some(world.now);
        (Some(plan::review::review(world)), None)
    }
}

async fn sleep(duration: Option<Duration>) {
    match duration {
        Some(duration) => tokio::time::sleep(duration).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn hosts_to_be_emptied_are_looked_for_now_and_then_where_anybody_goes_by_density() {
        let world = |objective: &str, seconds: i64| {
            let more = json!({ "spec": { "placement": { "objective": objective } } });
            let (guests, pools) = ([testing::guest("web-0", &more)], [testing::pool("xen", &json!({}))]);
            let now = testing::now() + SignedDuration::from_secs(seconds);
            gather::picture(&guests, &pools, &Namespaces::new(), &mut gather::Assumed::default(), now).unwrap().world
        };
        let mut state = State::default();
        assert_eq!(state.gathers(&world("Cost", 0)), (false, None));
        assert_eq!(state.gathers(&world("Density", 0)), (true, None));
        let next = testing::now() + SignedDuration::from_secs(30);
        assert_eq!(state.gathers(&world("Density", 29)), (false, Some(next)));
        assert_eq!(state.gathers(&world("Density", 30)), (true, None));
    }
}
