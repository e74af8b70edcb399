//! The workload controller: how many guests there are, and what each is.

mod act;
pub mod decide;
pub mod status;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::{
    Client, ResourceExt as _,
    runtime::{controller::Action, reflector::Store},
};

use crate::{
    api::{Guest, VirtualWorkload},
    runtime::{ApiError, events::Herald},
};

/// What every run needs.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// The guests as last seen.
    pub guests: Store<Guest>,
    /// Who writes Events.
    pub herald: Herald,
    /// The clock.
    pub now: fn() -> Timestamp,
}

/// How soon to decide anew when the object was changed by somebody in between.
const CHANGED_MEANWHILE: Duration = Duration::from_millis(100);

/// One run for one workload: makes, changes and deletes Guest objects, and sums them up in the status.
pub async fn reconcile(workload: Arc<VirtualWorkload>, context: Arc<Context>) -> Result<Action, ApiError> {
    if workload.metadata.deletion_timestamp.is_some() {
        // Its guests have owner references: Kubernetes deletes them, and their finalizers wait for their VMs.
        return Ok(Action::await_change());
    }
    let namespace = workload.namespace();
    let prefix = format!("{}-", workload.name_any());
    let guests =
        context.guests.state_filter(|guest| guest.namespace() == namespace && guest.name_any().starts_with(&prefix));
    let plan = decide::decide(&workload, &guests);
    act::carry_out(&context, &workload, &plan).await?;
    let own = status::status(&workload, &guests, &plan, (context.now)());
    match act::write(&context, &workload, own).await {
        Err(error) if error.is_conflict() => Ok(Action::requeue(CHANGED_MEANWHILE)),
        Err(error) if error.is_not_found() => Ok(Action::await_change()),
        Err(error) => Err(error),
        Ok(()) => Ok(Action::await_change()),
    }
}
