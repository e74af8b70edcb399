//! The guest controller: does this guest's VM exist and look as it should, exactly once.

mod act;
pub mod amend;
pub mod decide;
pub mod facts;
mod first_boot;
mod gather;
mod interruption;
mod leave;
mod lodge;
mod lost;
pub mod mandate;
pub mod power;
mod relocate;
mod say;
pub mod status;
mod steps;
pub mod wish;

#[cfg(test)]
mod care_model_tests;
#[cfg(test)]
mod model_explored_tests;
#[cfg(test)]
mod model_faults;
#[cfg(test)]
mod model_small;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod model_world;
#[cfg(test)]
mod testing;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::{
    Client,
    runtime::{controller::Action, reflector::Store},
};

use crate::{
    api::{CloudPool, Guest},
    provider::{Freshness, Registry},
    runtime::{ApiError, OUTDATED, backoff::Patience, events::Herald},
    scheduler::handover::Handover,
};
use act::{Progress, Run};

/// What every run needs.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// The pools as last seen.
    pub pools: Store<CloudPool>,
    /// The guests as last seen.
    pub guests: Store<Guest>,
    /// The connections to the pools.
    pub registry: Arc<Registry>,
    /// Who writes Events.
    pub herald: Herald,
    /// Guests whose last step failed, by UID.
    pub patience: Patience<String>,
    /// Reasons of the scheduler's that go into the next write.
    pub handover: Arc<Handover>,
    /// The clock.
    pub now: fn() -> Timestamp,
}

/// The most steps in one run; what is left over goes on in the next.
const STEPS: usize = 8;
/// How soon to go on with a guest that took this many steps at once.
const GO_ON: Duration = Duration::from_millis(100);
/// How soon to look again while nobody has tried to connect to the guest's pool since the operator began.
const CONNECTING: Duration = Duration::from_secs(1);

/// One run for one guest: look, decide, act, until there is nothing to do or something else must happen first.
pub async fn reconcile(guest: Arc<Guest>, context: Arc<Context>) -> Result<Action, ApiError> {
    if gather::is_untried(&context, &guest) {
        // At each start and change of leader: what would be written now, that the pool is silent, would be taken back at once.
        return Ok(Action::requeue(CONNECTING));
    }
    match Box::pin(steps(guest, &context)).await {
        Err(error) if error.is_conflict() => Ok(Action::requeue(OUTDATED)),
        Err(error) if error.is_not_found() => Ok(Action::await_change()),
        done => done,
    }
}

async fn steps(guest: Arc<Guest>, context: &Context) -> Result<Action, ApiError> {
    let facts = gather::gather(context, &guest, Freshness::Cached).await;
    let mut run = Run { context, guest, facts, fresh: false, written: None };
    for _ in 0..STEPS {
        let mut verdict = decide::decide(&run.facts);
        if verdict.step.needs_fresh_sight() && !run.fresh {
            let seen = gather::gather(context, &run.guest, Freshness::Live).await;
            run.facts = run.facts.seen_anew(seen);
            run.fresh = true;
            verdict = decide::decide(&run.facts);
        }
        if verdict.step.asks_somebody()
            && let Some(rest) = context.patience.remaining(&run.facts.subject.key.guest, run.wish(), run.facts.now)
        {
            return Ok(Action::requeue(rest));
        }
        if let Progress::Rest(action) = run.take(verdict).await? {
            return Ok(action);
        }
    }
    Ok(Action::requeue(GO_ON))
}
