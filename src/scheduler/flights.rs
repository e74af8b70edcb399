//! Guests that are on the move, and the room that is kept for them. Pure.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

use super::gather::{Hosts, incarnation};
use crate::{
    api::{
        Guest,
        care::Move,
        guest::{Relocation, RelocationOutcome},
        template::PowerState,
    },
    plan,
};

/// How long a move that fails again and again is kept up.
pub(super) const GIVE_UP: SignedDuration = SignedDuration::from_mins(10);

/// A guest on the move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flight {
    /// Its UID.
    pub guest: String,
    /// The pool that it leaves.
    pub pool: String,
    /// The host that it leaves, where that is known.
    pub host: Option<String>,
    /// How.
    pub kind: Move,
}

/// What became of the last decision to move a guest's present VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// There was none, or it was for an earlier VM.
    None,
    /// It is being carried out, as far as anybody knows.
    UnderWay,
    /// The guest is there.
    Done,
    /// It was refused, failed for too long, or has become void.
    Over,
}

/// The last decision to move a guest, for whichever of its VMs: the watch may not have brought it yet.
pub(super) fn last<'a>(guest: &'a Guest, assumed: &'a HashMap<String, Relocation>) -> Option<&'a Relocation> {
    let assumed = guest.metadata.uid.as_ref().and_then(|uid| assumed.get(uid));
    assumed.or(guest.spec.relocation.as_ref())
}

/// What became of it. A move whose outcome has not been seen is under way: a second one is never begun beside it.
pub(super) fn standing(guest: &Guest, relocation: Option<&Relocation>, now: Timestamp) -> Standing {
    let Some(relocation) = relocation.filter(|relocation| relocation.incarnation == incarnation(guest)) else {
        return Standing::None;
    };
    let status = guest.status.as_ref().and_then(|status| status.relocation.as_ref());
    let outcome = status.filter(|status| status.decided_at == relocation.decided_at).map(|status| status.outcome);
    let is_off = guest.spec.template.power_state.unwrap_or_default() != PowerState::Running;
    match outcome {
        Some(RelocationOutcome::Done) => Standing::Done,
        Some(RelocationOutcome::Refused) => Standing::Over,
        Some(RelocationOutcome::Failed) if now.duration_since(relocation.decided_at.0) >= GIVE_UP => Standing::Over,
        // Who is to be off by now is not moved while it runs.
        _ if relocation.kind == Move::Live && is_off => Standing::Over,
        Some(RelocationOutcome::Failed) | None => Standing::UnderWay,
    }
}

/// Where room is kept for a guest on the move, in the engine's words.
pub(super) fn target(relocation: &Relocation, hosts: &Hosts) -> Option<plan::Bound> {
    let pool = relocation.pool.clone()?;
    let name = |id: &String| hosts.names.get(&(pool.clone(), id.clone())).cloned();
    Some(plan::Bound {
        host: relocation.host.as_ref().and_then(name),
        instance_type: relocation.instance_type.clone(),
        zone: None,
        spot: false,
        pool,
    })
}

/// The place that is kept for a guest whose VM was removed so that it is made anew there.
pub(super) fn reserved(guest: &Guest, relocation: Option<&Relocation>, hosts: &Hosts) -> Option<plan::Bound> {
    let next = |one: &&Relocation| one.kind == Move::Recreate && one.incarnation + 1 == incarnation(guest);
    target(relocation.filter(next)?, hosts)
}

/// Stands for a guest where it is going to, so that it counts at both ends.
pub(super) fn shadow(guest: &plan::GuestState, at: plan::Bound) -> plan::GuestState {
    plan::GuestState {
        uid: format!("{} on its way", guest.uid),
        powered_on: guest.powered_on && (at.host.is_some() || at.instance_type.is_some()),
        bound: Some(at),
        leaving: true,
        ..guest.clone()
    }
}

#[cfg(test)]
#[path = "flights_tests.rs"]
mod tests;
