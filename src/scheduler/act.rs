//! Writes bindings and the reasons for them.

use std::{collections::HashMap, sync::Arc};

use futures::{FutureExt as _, StreamExt as _, stream};
use kube::{Api, Resource as _, ResourceExt as _};
use serde_json::json;
use tracing::info;

use super::{
    Scheduler,
    gather::{Assumed, Picture, incarnation},
    status::{self, OwnStatus},
};
use crate::{
    api::{
        Guest,
        condition::{self, Kind},
        guest::Binding,
        names::manager,
    },
    plan::{self, Explanation, Plan},
    runtime::{ApiError, apply, events::News},
};

/// How many objects are written at once: more only makes the API server slower.
const AT_ONCE: usize = 8;

/// Writes what was decided. A guest that changed meanwhile is left for the next round, which its change rings in.
pub(super) async fn carry_out(
    scheduler: &Scheduler,
    picture: &Picture<'_>,
    plan: &Plan,
    assumed: &mut Assumed,
) -> Result<(), ApiError> {
    let bindings: HashMap<&str, &plan::Binding> =
        plan.bindings.iter().map(|binding| (binding.guest.as_str(), binding)).collect();
    let writes: Vec<_> = plan
        .explanations
        .iter()
        .filter_map(|explanation| {
            let guest = *picture.guests.get(&explanation.guest)?;
            let binding = bindings.get(explanation.guest.as_str()).copied();
            Some(one(scheduler, picture, guest, explanation, binding).boxed())
        })
        .collect();
    let written: Vec<_> = stream::iter(writes).buffered(AT_ONCE).collect().await;
    let mut failed = None;
    for result in written {
        match result {
            Ok(Some((guest, binding))) => drop(assumed.insert(guest, binding)),
            Ok(None) => {}
            Err(error) if error.is_conflict() || error.is_not_found() => {}
            Err(error) => failed = Some(error),
        }
    }
    failed.map_or(Ok(()), Err)
}

async fn one(
    scheduler: &Scheduler,
    picture: &Picture<'_>,
    guest: &Arc<Guest>,
    explanation: &Explanation,
    binding: Option<&plan::Binding>,
) -> Result<Option<(String, Binding)>, ApiError> {
    let api: Api<Guest> = Api::namespaced(scheduler.client.clone(), &guest.namespace().unwrap_or_default());
    // The reasons first: should we be cut off, a guest without a binding is explained, and decided on again.
    let old = guest.status.clone().unwrap_or_default();
    let own = status::after(&old, explanation, binding.and_then(|binding| binding.hourly), picture.world.now);
    let mut current = Arc::clone(guest);
    if own != OwnStatus::of(&old) {
        current = Arc::new(apply::status(&api, &**guest, manager::SCHEDULER, &own).await?);
        announce(scheduler, guest, explanation).await;
    }
    let Some(binding) = binding else { return Ok(None) };
    let binding = api_binding(picture, guest, binding);
    let name = guest.name_any();
    let manifest = json!({
        "apiVersion": Guest::api_version(&()),
        "kind": Guest::kind(&()),
        // On the condition that it is still the guest that was decided on.
        "metadata": { "name": name, "uid": guest.uid(), "resourceVersion": current.resource_version() },
        "spec": { "binding": binding },
    });
    apply::object(&api, &name, manager::SCHEDULER, &manifest).await?;
    if let Some(made) = &guest.metadata.creation_timestamp {
        let waited = (scheduler.now)().duration_since(made.0);
        scheduler.metrics.bound_after(waited.try_into().unwrap_or_default());
    }
    info!(guest = name, pool = binding.pool, host = binding.host, instance_type = binding.instance_type, "bound");
    Ok(Some((explanation.guest.clone(), binding)))
}

fn api_binding(picture: &Picture<'_>, guest: &Guest, binding: &plan::Binding) -> Binding {
    let place = binding.place.clone();
    let host = place.host.and_then(|name| picture.host_ids.get(&(place.pool.clone(), name)).cloned());
    Binding {
        incarnation: incarnation(guest),
        host,
        instance_type: place.instance_type,
        pool: place.pool,
        zone: place.zone,
        spot: place.spot,
    }
}

/// One Event for each change of mind: not when only a number in the reasons changed.
async fn announce(scheduler: &Scheduler, guest: &Arc<Guest>, explanation: &Explanation) {
    let old = guest.status.as_ref().and_then(|status| condition::find(&status.conditions, Kind::Placed));
    let reason = explanation.reason.to_string();
    if old.is_some_and(|old| old.reason == reason) && reason != "Placed" {
        return;
    }
    let warning = explanation.reason == plan::Reason::NoPoolFits;
    let news = News { warning, reason, action: "Place", note: explanation.message.clone() };
    scheduler.herald.say(&**guest, news).await;
}
