//! The workload controller: how many guests there are, and what each is.

pub(crate) mod act;
pub mod decide;
pub mod status;

#[cfg(test)]
mod testing;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::{
    Client, ResourceExt as _,
    runtime::{controller::Action, reflector::Store},
};

use crate::{
    api::{Guest, VirtualWorkload},
    runtime::{ApiError, OUTDATED, chain, events::Herald, pace::Pace},
};

/// What every run needs.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// The guests as last seen.
    pub guests: Store<Guest>,
    /// Who writes Events.
    pub herald: Herald,
    /// When each workload's status was last written, by UID.
    pub pace: Pace<String>,
    /// The clock.
    pub now: fn() -> Timestamp,
}

/// How far apart two writes of a status are at least, where only numbers and words changed.
const SUMS: Duration = Duration::from_secs(3);

/// One run for one workload: makes, changes and deletes Guest objects, and sums them up in the status.
pub async fn reconcile(workload: Arc<VirtualWorkload>, context: Arc<Context>) -> Result<Action, ApiError> {
    if workload.metadata.deletion_timestamp.is_some() {
        context.pace.forget(&workload.uid().unwrap_or_default());
        // Its guests have owner references: Kubernetes deletes them, and their finalizers wait for their VMs.
        return Ok(Action::await_change());
    }
    let prefix = format!("{}-", workload.name_any());
    // Of all guests there are: nothing may be copied to compare.
    let guests = context.guests.state_filter(|Guest { metadata, .. }| {
        metadata.namespace == workload.metadata.namespace
            && metadata.name.as_ref().is_some_and(|name| name.starts_with(&prefix))
    });
    let plan = decide::decide(&workload, &guests);
    let carried_out = act::carry_out(&context, &workload, &plan).await;
    // A refusal (a quota, an admission rule) is said where people look, and tried again with backoff.
    let failed = carried_out.as_ref().err().filter(|error| !is_passing(error)).map(|error| chain(error));
    let own = status::status(&workload, &guests, &plan, failed.as_deref(), (context.now)());
    let (pace, uid, now) = (&context.pace, workload.uid().unwrap_or_default(), (context.now)());
    if !status::is_turn(workload.status.as_ref(), &own) {
        // Only numbers and words: while many guests come or go, not with each of them.
        if let (Some(rest), true) = (pace.wait(uid, SUMS, now), carried_out.is_ok()) {
            return Ok(Action::requeue(rest));
        }
    } else if workload.status.as_ref() != Some(&own) {
        pace.wrote(uid, now);
    }
    match act::write(&context, &workload, own).await.and(carried_out) {
        Err(error) if error.is_conflict() => Ok(Action::requeue(OUTDATED)),
        Err(error) if error.is_not_found() => Ok(Action::await_change()),
        Err(error) => Err(error),
        Ok(()) => Ok(Action::await_change()),
    }
}

/// Something changed meanwhile: the next run decides anew.
fn is_passing(error: &ApiError) -> bool {
    error.is_conflict() || error.is_not_found()
}
