//! Writes bindings, moves, and the reasons for them.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use futures::{FutureExt as _, StreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use kube::{Api, Resource as _, ResourceExt as _};
use serde_json::json;
use tracing::info;

use super::{
    Scheduler, State,
    gather::{Picture, incarnation, valid_binding},
    moves::Chosen,
    remarks,
    retype::{KEEPS, Retyped},
    status::{self, OwnStatus, Remarks},
};
use crate::{
    api::{
        Guest,
        care::Move,
        condition::{self, Kind},
        guest::{Binding, Relocation},
        names::manager,
    },
    plan::{self, Explanation, Plan, Reason},
    runtime::{ApiError, apply, events::News},
};

/// How many objects are written at once: more only makes the API server slower.
const AT_ONCE: usize = 8;
/// How many guests with a place are written of in one round, that nothing else is to be done about: a changed price must
/// not keep the API server from its other work.
const REMARKS: usize = 100;
/// How soon the reasons of a guest without a place are written again where only their words and numbers changed.
const REFRESH: SignedDuration = SignedDuration::from_secs(30);

/// What was written about a guest.
enum Written {
    Nothing,
    Reasons,
    Binding(Binding),
    Relocation(Relocation),
    /// Another type, after these versions of the guest.
    Type(Vec<String>, Binding),
}

/// Writes what was decided. A guest that changed meanwhile is left for the next round, which its change rings in. Returns
/// when to look again though nothing changes.
pub(super) async fn carry_out(
    scheduler: &Scheduler,
    picture: &Picture<'_>,
    plan: &Plan,
    (chosen, retyped): (&Chosen, &Retyped),
    remarks: &remarks::All,
    state: &mut State,
) -> Result<Option<Timestamp>, ApiError> {
    let now = picture.world.now;
    let (mut writes, wake_at) = decisions(scheduler, picture, plan, state);
    writes.extend(chosen.begin.iter().filter_map(|(uid, relocation)| {
        let guest = *picture.guests.get(uid)?;
        Some((uid.clone(), relocate(scheduler, guest, Some(relocation)).boxed()))
    }));
    writes.extend(chosen.withdraw.iter().filter_map(|uid| {
        let guest = *picture.guests.get(uid)?;
        Some((uid.clone(), relocate(scheduler, guest, None).boxed()))
    }));
    writes.extend(retyped.bindings.iter().filter_map(|(uid, binding)| {
        let guest = *picture.guests.get(uid)?;
        Some((uid.clone(), retype(scheduler, guest, binding, now).boxed()))
    }));
    // What is handed over is written by the guest controller, and then seen here.
    let pending = scheduler.handover.pending(|uid| picture.guests.contains_key(uid));
    let busy: HashSet<String> = writes.iter().map(|(uid, _)| uid.clone()).chain(pending).collect();
    let news = remarks.news(picture, now, &busy);
    let more = news.len() > REMARKS;
    writes.extend(news.into_iter().take(REMARKS).filter_map(|(uid, remarks)| {
        let guest = *picture.guests.get(&uid)?;
        Some((uid, remark(scheduler, guest, remarks, now).boxed()))
    }));
    let (names, writes): (Vec<String>, Vec<_>) = writes.into_iter().unzip();
    let written: Vec<_> = stream::iter(writes).buffered(AT_ONCE).collect().await;
    let mut failed = None;
    for (uid, result) in names.into_iter().zip(written) {
        match result {
            Ok(Written::Nothing) => {}
            Ok(Written::Reasons) => drop(state.told.insert(uid, now)),
            Ok(Written::Binding(binding)) => drop(state.assumed.bindings.insert(uid, binding)),
            Ok(Written::Type(before, binding)) => drop(state.assumed.types.insert(uid, (before, binding))),
            Ok(Written::Relocation(relocation)) => drop(state.assumed.relocations.insert(uid, relocation)),
            Err(error) if error.is_conflict() || error.is_not_found() => {}
            Err(error) => failed = Some(error),
        }
    }
    failed.map_or(Ok(()), Err)?;
    Ok(wake_at.into_iter().chain(more.then_some(now)).min())
}

type Write<'a> = (String, futures::future::BoxFuture<'a, Result<Written, ApiError>>);

/// What was decided about guests without a place.
fn decisions<'a>(
    scheduler: &'a Scheduler,
    picture: &'a Picture<'_>,
    plan: &'a Plan,
    state: &mut State,
) -> (Vec<Write<'a>>, Option<Timestamp>) {
    let now = picture.world.now;
    state.told.retain(|uid, at| picture.guests.contains_key(uid) && now.duration_since(*at) < REFRESH);
    let bindings: HashMap<&str, &plan::Binding> =
        plan.bindings.iter().map(|binding| (binding.guest.as_str(), binding)).collect();
    let mut wake_at: Option<Timestamp> = None;
    let mut writes = Vec::new();
    for explanation in &plan.explanations {
        let about_a_place = matches!(explanation.reason, Reason::Placed | Reason::NoPoolFits | Reason::WaitingForRoom);
        let Some(guest) = picture.guests.get(&explanation.guest).copied().filter(|_| about_a_place) else { continue };
        // Its host is gone from the pool: its binding is what it is.
        if valid_binding(guest, &state.assumed).is_some() {
            continue;
        }
        let binding = bindings.get(explanation.guest.as_str()).copied();
        let old = guest.status.clone().unwrap_or_default();
        let own = status::after(&old, explanation, binding.and_then(|binding| binding.hourly), now);
        if binding.is_none()
            && own != OwnStatus::of(&old)
            && status::same_outcome(&old, &own)
            && let Some(told) = state.told.get(&explanation.guest)
        {
            let again = told.checked_add(REFRESH).unwrap_or(now);
            wake_at = Some(wake_at.map_or(again, |so_far| so_far.min(again)));
            continue;
        }
        let write = one(scheduler, picture, guest, explanation, binding, own);
        writes.push((explanation.guest.clone(), write.boxed()));
    }
    (writes, wake_at)
}

async fn one(
    scheduler: &Scheduler,
    picture: &Picture<'_>,
    guest: &Arc<Guest>,
    explanation: &Explanation,
    binding: Option<&plan::Binding>,
    own: OwnStatus,
) -> Result<Written, ApiError> {
    let api = api(scheduler, guest);
    let Some(binding) = binding else {
        let old = guest.status.clone().unwrap_or_default();
        if own == OwnStatus::of(&old) {
            return Ok(Written::Nothing);
        }
        apply::status(&api, &**guest, manager::GUEST, &own.onto(&old)).await?;
        scheduler.handover.speaks((scheduler.now)());
        announce(scheduler, guest, explanation).await;
        return Ok(Written::Reasons);
    };
    let binding = api_binding(picture, guest, binding);
    // Left before the binding is there: the guest controller may see that sooner than we hear that it was written.
    scheduler.handover.leave(guest.uid().unwrap_or_default(), binding.clone(), own);
    bind(&api, guest, &binding).await.inspect_err(|_| scheduler.handover.written(guest))?;
    scheduler.handover.speaks((scheduler.now)());
    announce(scheduler, guest, explanation).await;
    if let Some(made) = &guest.metadata.creation_timestamp {
        let waited = (scheduler.now)().duration_since(made.0);
        scheduler.metrics.bound_after(waited.try_into().unwrap_or_default());
    }
    let name = guest.name_any();
    info!(guest = name, pool = binding.pool, host = binding.host, instance_type = binding.instance_type, "bound");
    Ok(Written::Binding(binding))
}

fn api(scheduler: &Scheduler, guest: &Guest) -> Api<Guest> {
    Api::namespaced(scheduler.client.clone(), &guest.namespace().unwrap_or_default())
}

/// Writes the binding, on the condition that it is still the guest that was decided on. The last move stays: it tells
/// when that was.
async fn bind(api: &Api<Guest>, guest: &Guest, binding: &Binding) -> Result<(), ApiError> {
    let mut spec = json!({ "binding": binding });
    if let Some(relocation) = &guest.spec.relocation {
        spec["relocation"] = json!(relocation);
    }
    write_spec(api, guest, &spec).await
}

async fn write_spec(api: &Api<Guest>, guest: &Guest, spec: &serde_json::Value) -> Result<(), ApiError> {
    let name = guest.name_any();
    let manifest = json!({
        "apiVersion": Guest::api_version(&()),
        "kind": Guest::kind(&()),
        "metadata": { "name": name, "uid": guest.uid(), "resourceVersion": guest.resource_version() },
        "spec": spec,
    });
    apply::object(api, &name, manager::SCHEDULER, &manifest).await.map(drop)
}

/// Writes another type into the binding of the VM that there is, and what it was chosen for.
async fn retype(
    scheduler: &Scheduler,
    guest: &Arc<Guest>,
    binding: &Binding,
    now: Timestamp,
) -> Result<Written, ApiError> {
    let api = api(scheduler, guest);
    let name = binding.instance_type.as_deref().unwrap_or_default();
    let size = guest.spec.template.size;
    let mut before: Vec<String> = guest.resource_version().into_iter().collect();
    if guest.spec.binding.as_ref().is_some_and(|old| old.instance_type == binding.instance_type) {
        bind(&api, guest, binding).await?;
        return Ok(Written::Type(before, binding.clone()));
    }
    let message =
        format!("On {}, its type is to be {name}, for {} vCPU and {}", binding.pool, size.vcpus, size.memory.human());
    let old = guest.status.clone().unwrap_or_default();
    let own = status::retyped(&old, &message, now);
    // The words first: should we be cut off, the type is chosen again.
    let current = apply::status(&api, &**guest, manager::GUEST, &own.onto(&old)).await?;
    scheduler.handover.written(guest);
    bind(&api, &current, binding).await?;
    before.extend(current.resource_version());
    info!(guest = guest.name_any(), pool = binding.pool, instance_type = name, "another type");
    let news = News { warning: false, reason: "TypeChosen".to_owned(), action: "Place", note: message };
    scheduler.herald.say(&**guest, news).await;
    Ok(Written::Type(before, binding.clone()))
}

/// Writes a decision to move, or takes it back.
async fn relocate(
    scheduler: &Scheduler,
    guest: &Arc<Guest>,
    relocation: Option<&Relocation>,
) -> Result<Written, ApiError> {
    let mut spec = json!({ "binding": guest.spec.binding });
    if let Some(relocation) = relocation {
        spec["relocation"] = json!(relocation);
    }
    write_spec(&api(scheduler, guest), guest, &spec).await?;
    let Some(relocation) = relocation else {
        info!(guest = guest.name_any(), "a decision to move was taken back");
        return Ok(Written::Nothing);
    };
    let to = relocation.host.as_ref().or(relocation.instance_type.as_ref());
    info!(guest = guest.name_any(), kind = ?relocation.kind, pool = relocation.pool, to, reason = relocation.reason, "moves");
    let note = format!(
        "{} to {}: {}",
        match relocation.kind {
            Move::Live => "moves live",
            Move::Recreate => "is made anew, if possible in",
        },
        [relocation.pool.as_deref(), to.map(String::as_str)].into_iter().flatten().collect::<Vec<_>>().join("/"),
        relocation.reason
    );
    let news = News { warning: false, reason: "Moving".to_owned(), action: "Move", note };
    scheduler.herald.say(&**guest, news).await;
    Ok(Written::Relocation(relocation.clone()))
}

/// Writes what was found out about a guest that has a place.
async fn remark(
    scheduler: &Scheduler,
    guest: &Arc<Guest>,
    remarks: Remarks,
    now: Timestamp,
) -> Result<Written, ApiError> {
    let old = guest.status.clone().unwrap_or_default();
    let Some(own) = status::remarked(&old, &remarks, now) else { return Ok(Written::Nothing) };
    apply::status(&api(scheduler, guest), &**guest, manager::GUEST, &own.onto(&old)).await?;
    let was_proposed = old.placement.as_ref().is_some_and(|placement| placement.proposal.is_some());
    if let (Some(Some(note)), false) = (remarks.proposal, was_proposed) {
        let reason = if note.starts_with(KEEPS) { "TypeKept" } else { "MoveProposed" };
        let news = News { warning: false, reason: reason.to_owned(), action: "Move", note };
        scheduler.herald.say(&**guest, news).await;
    }
    let was_compliant = condition::find(&old.conditions, Kind::Compliant).is_none();
    if let (Some(Some(note)), true) = (remarks.broken, was_compliant) {
        let news = News { warning: true, reason: "NotCompliant".to_owned(), action: "Place", note };
        scheduler.herald.say(&**guest, news).await;
    }
    Ok(Written::Nothing)
}

fn api_binding(picture: &Picture<'_>, guest: &Guest, binding: &plan::Binding) -> Binding {
    let place = binding.place.clone();
    let host = place.host.and_then(|name| picture.host_ids.get(&(place.pool.clone(), name)).cloned());
    Binding {
        incarnation: incarnation(guest),
        host,
        // A VM that is adopted has the type that it has.
        size: place.instance_type.is_some().then_some(guest.spec.template.size),
        instance_type: place.instance_type,
        pool: place.pool,
        zone: place.zone,
        spot: place.spot,
    }
}

/// One Event for each change of mind: not when only a number in the reasons changed, nor of a guest that found its place at
/// once, which its status says.
async fn announce(scheduler: &Scheduler, guest: &Arc<Guest>, explanation: &Explanation) {
    let old = guest.status.as_ref().and_then(|status| condition::find(&status.conditions, Kind::Placed));
    let reason = explanation.reason.to_string();
    let is_news = match explanation.reason {
        Reason::Placed => old.is_some(),
        _ => old.is_none_or(|old| old.reason != reason),
    };
    if !is_news {
        return;
    }
    let warning = explanation.reason == Reason::NoPoolFits;
    let news = News { warning, reason, action: "Place", note: explanation.message.clone() };
    scheduler.herald.say(&**guest, news).await;
}
