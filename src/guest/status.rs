//! The guest controller's part of a guest's status. Pure; written only when it differs.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::{
    decide::remaining,
    facts::{Facts, Place, Sight, Subject, Trace},
    power::restart_due,
    say::Say,
};
use crate::{
    api::{
        GuestStatus,
        condition::{self, Kind},
        guest::{Abandoned, Creation, Phase, Refusal, RelocationStatus, ResizeStatus, RestartStatus, VmStatus},
    },
    provider::{ErrorKind, ObservedGuest, Power, Stage},
};

/// The fields that this controller owns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OwnStatus {
    observed_generation: Option<i64>,
    phase: Option<Phase>,
    incarnation: Option<u32>,
    creation: Option<Creation>,
    provider_id: Option<String>,
    host: Option<String>,
    vm: Option<VmStatus>,
    addresses: Vec<String>,
    restart: Option<RestartStatus>,
    resize: Option<ResizeStatus>,
    relocation: Option<RelocationStatus>,
    protected: bool,
    silent_since: Option<Time>,
    abandoned: Vec<Abandoned>,
    refusals: Vec<Refusal>,
    conditions: Vec<Condition>,
}

/// The conditions that this controller owns.
const OWN: [Kind; 7] =
    [Kind::Ready, Kind::Reconciling, Kind::Stalled, Kind::Resized, Kind::Relocated, Kind::Interrupted, Kind::InSync];

/// How long a pool that rents out types and had no room is not asked again by the same guest: until the pool's status says
/// which of them is set aside. Then another type, or zone, is tried there.
const REFUSAL_OF_TYPES: jiff::SignedDuration = jiff::SignedDuration::from_secs(10);
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
            vm: status.vm.clone(),
            addresses: status.addresses.clone(),
            restart: status.restart.clone(),
            resize: status.resize.clone(),
            relocation: status.relocation.clone(),
            protected: status.protected,
            silent_since: status.silent_since.clone(),
            abandoned: status.abandoned.clone(),
            refusals: status.refusals.clone(),
            conditions: condition::in_order(status.conditions.iter().filter(own).cloned()),
        }
    }

    /// The whole status that has this as our part, and all else as it stands.
    #[must_use]
    pub fn onto(self, status: &GuestStatus) -> GuestStatus {
        let own = |c: &&Condition| OWN.iter().any(|kind| kind.to_string() == c.type_);
        let others = status.conditions.iter().filter(|condition| !own(condition)).cloned();
        GuestStatus {
            conditions: condition::in_order(others.chain(self.conditions)),
            observed_generation: self.observed_generation,
            phase: self.phase,
            incarnation: self.incarnation,
            creation: self.creation,
            provider_id: self.provider_id,
            host: self.host,
            vm: self.vm,
            addresses: self.addresses,
            restart: self.restart,
            resize: self.resize,
            relocation: self.relocation,
            protected: self.protected,
            silent_since: self.silent_since,
            abandoned: self.abandoned,
            refusals: self.refusals,
            hourly_cost: status.hourly_cost,
            placement: status.placement.clone(),
        }
    }

    fn saying(mut self, facts: &Facts, say: &Say, generation: Option<i64>) -> Self {
        let (subject, now) = (&facts.subject, facts.now);
        say.notes.restart.apply(&mut self.restart);
        say.notes.resize.apply(&mut self.resize);
        say.notes.relocation.apply(&mut self.relocation);
        let due = restart_due(subject, now);
        self.restart = self.restart.filter(|restart| !say.notes.started && Some(restart.at.0) == due);
        self.silent_since = self.silent_since.filter(|_| is_silent(facts)).or_else(|| {
            let since = subject.creation.as_ref().filter(|_| is_silent(facts));
            since.map(|_| Time(now))
        });
        self.abandoned.retain(|left| !facts.abandoned.iter().any(|(of, trace)| of == left && *trace == Trace::Gone));
        self.observed_generation = generation;
        self.phase = Some(say.phase);
        let conditions = condition::merge(&self.conditions, &say.claims, generation, now);
        self.conditions = condition::in_order(conditions.into_iter());
        self
    }
}

/// How long a guest of which nobody has said anything yet is left to the scheduler. When that has spoken, whichever way, its
/// word brings the guest back here; this is for a scheduler that does not come to it. While it speaks of others it is about
/// to, and a word of ours would only make what it decided on older than what there is.
const UNSAID: Duration = Duration::from_secs(30);
/// How long, though it speaks of others all the time.
const UNSAID_AT_MOST: Duration = Duration::from_mins(5);
/// How long an address is waited for before a VM that was just started is told to run: often it is known a moment later.
const ADDRESS: Duration = Duration::from_secs(2);

/// For how much longer the status is better not written: another word about the guest is a moment away, and each costs the
/// API server as much as the guest itself. Only for what nobody needs to know for the next step. `spoke`: when the scheduler
/// last wrote of any guest where it is to be, or why nowhere.
#[must_use]
pub fn is_early(facts: &Facts, made_at: Option<Timestamp>, spoke: Option<Timestamp>) -> Option<Duration> {
    let subject = &facts.subject;
    if subject.deleting {
        return None;
    }
    let is_unsaid =
        subject.status.phase.is_none() && condition::find(&subject.status.conditions, Kind::Placed).is_none();
    match (&facts.place, &facts.vm) {
        (Place::Unbound, _) if is_unsaid => {
            let made_at = made_at?;
            let last = spoke.map_or(made_at, |spoke| spoke.max(made_at));
            Some(remaining(last, UNSAID, facts.now)?.min(remaining(made_at, UNSAID_AT_MOST, facts.now)?))
        }
        (Place::Open { .. }, Sight::Known(vm)) => {
            let just_started = vm.power == Power::Running && subject.status.phase == Some(Phase::Creating);
            let rest = remaining(vm.started_at?, ADDRESS, facts.now);
            // The provider's clock may be ahead of ours.
            rest.filter(|rest| just_started && vm.addresses.is_empty() && *rest < ADDRESS)
        }
        _ => None,
    }
}

/// Whether the pool of a guest that may have a VM there does not answer.
fn is_silent(facts: &Facts) -> bool {
    match (&facts.place, &facts.vm) {
        (Place::Missing { .. } | Place::Unreachable { .. }, _) => true,
        (Place::Open { .. }, Sight::Unknown(trouble)) => {
            matches!(trouble.kind, ErrorKind::Unavailable | ErrorKind::UnknownOutcome)
        }
        (Place::Unbound | Place::Open { .. }, _) => false,
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
            own.vm = described(vm);
            own.addresses = vm.addresses.iter().map(ToString::to_string).collect();
            own.creation = Some(seen(facts, vm, say));
        }
        // What cannot be seen now is left as it was last known.
        Sight::Unknown(_) | Sight::NotAsked => {}
        Sight::Known(_) | Sight::Absent => {
            (own.host, own.vm) = (None, None);
            own.addresses.clear();
            if let Some(creation) = own.creation.as_mut().filter(|creation| creation.seen) {
                creation.missing_since.get_or_insert(Time(facts.now));
            }
        }
    }
    own.saying(facts, say, generation)
}

/// What the VM is. `None` where the provider tells nothing of it.
fn described(vm: &ObservedGuest) -> Option<VmStatus> {
    let described =
        VmStatus { zone: vm.zone.clone(), instance_type: vm.instance_type.clone(), vcpus: vm.vcpus, memory: vm.memory };
    (described != VmStatus::default()).then_some(described)
}

fn seen(facts: &Facts, vm: &ObservedGuest, say: &Say) -> Creation {
    let subject = &facts.subject;
    let mut creation = subject.creation.clone().unwrap_or_else(|| attempt(subject, &facts.place, facts.now));
    // What was never finished never ran: should it be gone, it is made again at once, and not missed first.
    creation.seen |= vm.stage == Stage::Complete;
    creation.missing_since = None;
    if say.notes.started {
        creation.started_at = Some(Time(facts.now));
    }
    if subject.may_have_run(vm) {
        let noted_there = vm.ever_started.is_some() && !creation.started;
        if noted_there && creation.started_at.is_none() {
            creation.started_at = Some(Time(started(vm, creation.asked_at.0, facts.now)));
        }
        creation.started = true;
        // It turned up after all, and is kept.
        creation.refused = None;
    }
    creation
}

/// When a VM was started for the first time, of which we noted nothing here: as the provider has it, unless its clock says
/// what cannot be. Too early is better than too late, which would pass over a restart.
fn started(vm: &ObservedGuest, asked_at: Timestamp, now: Timestamp) -> Timestamp {
    let is_possible = |at: &Timestamp| asked_at.as_second() <= at.as_second() && *at <= now;
    vm.started_at.filter(is_possible).unwrap_or(asked_at)
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
        // What is adopted may hold somebody's work, whether it runs now or not.
        started: subject.mandate.adopted || last.as_ref().is_some_and(|creation| creation.started),
        adopted: subject.mandate.adopted,
        started_at: last.as_ref().and_then(|creation| creation.started_at.clone()),
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
    // A VM that is made for a guest with holds is protected from its first moment, where the provider can do that.
    own.protected |= facts.subject.mandate.is_held() && !facts.subject.mandate.adopted;
    own.refusals.retain(|refusal| refusal.until.0 > facts.now);
    own.saying(facts, say, generation)
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

/// Whether the first start of a VM that was just made need not be written here before: the creation is, and the driver notes
/// on the VM itself that it was started. That is seen wherever the VM is seen, and where it is not, nothing of it is left.
#[must_use]
pub fn start_is_noted_there(facts: &Facts) -> bool {
    let (subject, Sight::Known(vm)) = (&facts.subject, &facts.vm) else { return false };
    let is_new = |creation: &Creation| !creation.started && creation.refused.is_none() && creation.started_at.is_none();
    let no_restart = subject.status.restart.is_none() && subject.spec.template.restart_at.is_none();
    vm.ever_started == Some(false) && no_restart && subject.creation.as_ref().is_some_and(is_new)
}

/// What to write before a VM is started: should we be cut off, it may have run. That ends a restart, too.
#[must_use]
pub fn before_start(facts: &Facts, say: &Say, generation: Option<i64>) -> OwnStatus {
    let mut own = after(facts, say, generation);
    if let Some(creation) = &mut own.creation {
        creation.started = true;
        creation.started_at = Some(Time(facts.now));
    }
    own.restart = None;
    own
}

/// What to write before the provider is asked to refuse a VM's removal.
#[must_use]
pub fn before_amendment(facts: &Facts, say: &Say, protect: bool, generation: Option<i64>) -> OwnStatus {
    let mut own = after(facts, say, generation);
    own.protected |= protect && facts.subject.mandate.is_held();
    own
}

/// What to write when the VM is as wished, protection included.
#[must_use]
pub fn amended(facts: &Facts, say: &Say, protected: bool, generation: Option<i64>) -> OwnStatus {
    let mut own = after(facts, say, generation);
    own.protected &= protected;
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
    (own.provider_id, own.host, own.vm, own.resize, own.protected) = (None, None, None, None, false);
    own.addresses.clear();
    own.saying(facts, say, generation)
}

/// What to write when the VM is given up though its pool does not answer.
#[must_use]
pub fn abandoned(facts: &Facts, say: &Say, generation: Option<i64>) -> OwnStatus {
    let subject = &facts.subject;
    let mut own = renewed(facts, say, generation);
    own.silent_since = None;
    own.abandoned.push(Abandoned {
        incarnation: subject.key.incarnation,
        pool: subject.pool().unwrap_or_default().to_owned(),
        provider_id: subject.status.provider_id.clone(),
        at: Time(facts.now),
    });
    own
}

/// What to write when a VM that was given up is certainly gone.
#[must_use]
pub fn cleared(facts: &Facts, say: &Say, incarnation: u32, generation: Option<i64>) -> OwnStatus {
    let mut own = after(facts, say, generation);
    own.abandoned.retain(|left| left.incarnation != incarnation);
    own
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
