//! The guest controller's part of a guest's status. Pure; written only when it differs.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use serde::Serialize;

use super::{
    facts::{Facts, Place, Sight, Subject},
    say::Say,
};
use crate::{
    api::{
        GuestStatus,
        condition::{self, Kind},
        guest::{Creation, Phase, Refusal},
    },
    provider::{ObservedGuest, Stage},
};

/// The fields that this controller owns.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnStatus {
    #[serde(skip_serializing_if = "Option::is_none")]
    observed_generation: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    phase: Option<Phase>,
    #[serde(skip_serializing_if = "Option::is_none")]
    incarnation: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    creation: Option<Creation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    addresses: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    refusals: Vec<Refusal>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    conditions: Vec<Condition>,
}

/// The conditions that this controller owns.
const OWN: [Kind; 3] = [Kind::Ready, Kind::Reconciling, Kind::Stalled];

/// How long a pool that rents out types and had no room is not asked again by the same guest.
const REFUSAL_OF_TYPES: jiff::SignedDuration = jiff::SignedDuration::from_mins(5);
/// The same for a pool of hosts: its inventory soon shows the scheduler what the refusal was about.
const REFUSAL_OF_HOSTS: jiff::SignedDuration = jiff::SignedDuration::from_secs(30);

impl OwnStatus {
    /// Our part of a status as it stands.
    #[must_use]
    pub fn of(status: &GuestStatus) -> Self {
        let own = |c: &&Condition| OWN.iter().any(|kind| kind.to_string() == c.type_);
        Self {
            observed_generation: status.observed_generation,
            phase: status.phase,
            incarnation: status.incarnation,
            creation: status.creation.clone(),
            provider_id: status.provider_id.clone(),
            host: status.host.clone(),
            addresses: status.addresses.clone(),
            refusals: status.refusals.clone(),
            conditions: status.conditions.iter().filter(own).cloned().collect(),
        }
    }

    fn saying(mut self, say: &Say, generation: Option<i64>, now: Timestamp) -> Self {
        self.observed_generation = generation;
        self.phase = Some(say.phase);
        self.conditions = condition::merge(&self.conditions, &say.claims, generation, now);
        self
    }
}

/// What to write after a decision.
#[must_use]
pub fn after(facts: &Facts, say: &Say, generation: Option<i64>) -> OwnStatus {
    let subject = &facts.subject;
    let mut own = OwnStatus::of(&subject.status);
    own.incarnation = Some(subject.key.incarnation);
    own.creation.clone_from(&subject.creation);
    own.refusals.retain(|refusal| refusal.until.0 > facts.now);
    match &facts.vm {
        Sight::Known(vm) if vm.key.incarnation == subject.key.incarnation => {
            own.provider_id = Some(vm.provider_id.clone());
            own.host.clone_from(&vm.host);
            own.addresses = vm.addresses.iter().map(ToString::to_string).collect();
            own.creation = Some(seen(facts, vm));
        }
        // What cannot be seen now is left as it was last known.
        Sight::Unknown(_) | Sight::NotAsked => {}
        Sight::Known(_) | Sight::Absent => {
            own.host = None;
            own.addresses.clear();
            if let Some(creation) = own.creation.as_mut().filter(|creation| creation.seen) {
                creation.missing_since.get_or_insert(Time(facts.now));
            }
        }
    }
    own.saying(say, generation, facts.now)
}

fn seen(facts: &Facts, vm: &ObservedGuest) -> Creation {
    let subject = &facts.subject;
    let mut creation = subject.creation.clone().unwrap_or_else(|| attempt(subject, &facts.place, facts.now));
    // What was never finished never ran: should it be gone, it is made again at once, and not missed first.
    creation.seen |= vm.stage == Stage::Complete;
    creation.missing_since = None;
    if subject.may_have_run(vm) {
        creation.started = true;
        // It turned up after all, and is kept.
        creation.refused = None;
    }
    creation
}

/// The record of an attempt, written before the provider is asked.
#[must_use]
pub fn attempt(subject: &Subject, place: &Place, now: Timestamp) -> Creation {
    let pool = match place {
        Place::Open { pool, .. } | Place::Missing { pool } | Place::Unreachable { pool, .. } => pool.clone(),
        Place::Unbound => String::new(),
    };
    let last = subject.creation.clone();
    Creation {
        incarnation: subject.key.incarnation,
        pool,
        asked_at: Time(now),
        seen: last.as_ref().is_some_and(|creation| creation.seen),
        started: last.as_ref().is_some_and(|creation| creation.started),
        refused: None,
        missing_since: None,
    }
}

/// What to write before a VM is asked for.
#[must_use]
pub fn before_creation(facts: &Facts, say: &Say, generation: Option<i64>) -> OwnStatus {
    let mut own = OwnStatus::of(&facts.subject.status);
    own.incarnation = Some(facts.subject.key.incarnation);
    own.creation = Some(attempt(&facts.subject, &facts.place, facts.now));
    own.refusals.retain(|refusal| refusal.until.0 > facts.now);
    own.saying(say, generation, facts.now)
}

/// What to write when the pool had no room.
#[must_use]
pub fn refusing(facts: &Facts, message: &str, say: &Say, generation: Option<i64>) -> OwnStatus {
    let mut own = after(facts, say, generation);
    if let Some(creation) = &mut own.creation {
        creation.refused = Some(condition::cut(message.to_owned(), 512));
    }
    own
}

/// What to write when the answer to a creation was lost: from now on its VM may turn up for the settling time.
#[must_use]
pub fn unanswered(mut own: OwnStatus, now: Timestamp) -> OwnStatus {
    if let Some(creation) = &mut own.creation {
        creation.asked_at = Time(now);
    }
    own
}

/// What to write before a VM is started: should we be cut off, it may have run.
#[must_use]
pub fn before_start(facts: &Facts, say: &Say, generation: Option<i64>) -> OwnStatus {
    let mut own = after(facts, say, generation);
    if let Some(creation) = &mut own.creation {
        creation.started = true;
    }
    own
}

/// What to write when the VM is certainly gone and another is to be made.
#[must_use]
pub fn renewed(facts: &Facts, say: &Say, generation: Option<i64>) -> OwnStatus {
    let subject = &facts.subject;
    let mut own = OwnStatus::of(&subject.status);
    own.incarnation = Some(subject.key.incarnation + 1);
    own.refusals.retain(|refusal| refusal.until.0 > facts.now);
    let on_host = subject.binding.as_ref().is_some_and(|binding| binding.host.is_some());
    let refusal = if on_host { REFUSAL_OF_HOSTS } else { REFUSAL_OF_TYPES };
    if let Some(creation) = own.creation.take()
        && let Some(message) = creation.refused
    {
        own.refusals.retain(|refusal| refusal.pool != creation.pool);
        own.refusals.push(Refusal {
            pool: creation.pool,
            instance_type: subject.binding.as_ref().and_then(|binding| binding.instance_type.clone()),
            message,
            until: Time(facts.now + refusal),
        });
    }
    (own.provider_id, own.host) = (None, None);
    own.addresses.clear();
    own.saying(say, generation, facts.now)
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
