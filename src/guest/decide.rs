//! What to do next for a guest. Pure.
//!
//! A VM is made only where it is certainly not there, given up only where it certainly never ran, and a guest is let go
//! only when nothing of it is left. Where the provider does not answer, nothing is done.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{
    amend,
    facts::{Facts, Sight, Trouble},
    leave, lodge, lost, relocate,
    say::{self, Say},
};
use crate::provider::{ErrorKind, GuestWish, Key, ObservedGuest, StopMode};

/// The next step.
#[derive(Clone, Debug, PartialEq, Eq, strum::IntoStaticStr)]
pub enum Step {
    /// Nothing: all is well, or something else must change first.
    Rest,
    /// Read what cloud-init is to be told.
    ReadFirstBoot,
    /// Make the VM, or finish making it.
    Create(Box<GuestWish>),
    /// Make this VM, that is there already, the guest's.
    Adopt(Key, String),
    /// Start it.
    Start(Box<GuestWish>),
    /// Stop it.
    Stop(Key, StopMode),
    /// Put it to sleep.
    Suspend(Key),
    /// Bring its size, disks and protection to what is wished.
    Amend(Box<GuestWish>),
    /// Move it to this host while it runs.
    Migrate(Key, String),
    /// Remove it and all that belongs to it.
    Erase(Key),
    /// Leave it as it is, and nobody's.
    Release(Key),
    /// Remove a VM that was given up, from this pool.
    Clear(Key, String),
    /// It is certainly gone: count up, so that it is placed and made anew.
    Renew,
    /// Its pool is silent and an administrator vouches that it is off: give the VM up and count up.
    Abandon,
    /// Nothing of it is left: let the object go.
    LetGo,
}

impl Step {
    /// Whether the step must not be taken on what was seen some time ago.
    #[must_use]
    pub fn needs_fresh_sight(&self) -> bool {
        matches!(self, Self::Create(_) | Self::Adopt(..) | Self::Renew | Self::Abandon | Self::LetGo)
    }

    /// Whether the step has somebody else do something that may fail.
    #[must_use]
    pub fn asks_somebody(&self) -> bool {
        !matches!(self, Self::Rest | Self::Renew | Self::Abandon | Self::LetGo)
    }
}

/// What was decided: the next step, what to say about it, and when to look again if nothing happens before.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The next step.
    pub step: Step,
    /// What to say.
    pub say: Say,
    /// When to look again. `None`: changes at the provider or in the API server wake us.
    pub again: Option<Duration>,
}

impl Verdict {
    pub(super) fn rest(say: Say) -> Self {
        Self { step: Step::Rest, say, again: None }
    }

    pub(super) fn rest_for(say: Say, again: Duration) -> Self {
        Self { step: Step::Rest, say, again: Some(again) }
    }

    pub(super) fn go(step: Step, say: Say) -> Self {
        Self { step, say, again: None }
    }

    /// The same, but looking again at this time at the latest.
    pub(super) fn by(self, at: Option<Timestamp>, now: Timestamp) -> Self {
        let rest = at.filter(|at| *at > now).and_then(|at| Duration::try_from(at.duration_since(now)).ok());
        Self { again: self.again.into_iter().chain(rest).min(), ..self }
    }
}

/// How soon to look again at something that is under way, should no event tell of its end.
pub(super) const UNDER_WAY: Duration = Duration::from_secs(5);
/// How soon to look again where a provider or a person has to act first, should no event tell of it.
pub(super) const OUT_OF_OUR_HANDS: Duration = Duration::from_mins(1);

/// Decides.
#[must_use]
pub fn decide(facts: &Facts) -> Verdict {
    if facts.subject.deleting {
        return lost::sparing(facts, leave::leave(facts));
    }
    let verdict = lost::sparing(facts, lodge::lodge(facts));
    if verdict.step == Step::Rest { lost::clear(facts, &verdict.say).unwrap_or(verdict) } else { verdict }
}

/// How much of `wait` after `since` is left. `None`: it is over.
pub(super) fn remaining(since: Timestamp, wait: Duration, now: Timestamp) -> Option<Duration> {
    let passed = Duration::try_from(now.duration_since(since).max(SignedDuration::ZERO)).unwrap_or_default();
    wait.checked_sub(passed).filter(|rest| !rest.is_zero())
}

/// How long a VM that was asked for and is not seen may still turn up; `None` where it cannot. That it was seen by an
/// earlier run is not enough: a provider's reads may lag behind what it has answered then.
///
/// A second clone beside one that was met and removed is not waited for: it lands unfinished, is never started, and is
/// removed by its driver or by the pool's controller.
pub(super) fn unsettled(facts: &Facts, settling: Duration) -> Option<Duration> {
    let creation = facts.subject.creation.as_ref()?;
    if facts.met || facts.answered { None } else { remaining(creation.asked_at.0, settling, facts.now) }
}

/// The key of what is there: an earlier incarnation's VM is addressed as what it is.
pub(super) fn key_of(facts: &Facts, vm: &ObservedGuest) -> Key {
    let incarnation = vm.key.incarnation.max(facts.subject.key.incarnation);
    Key { incarnation, ..facts.subject.key.clone() }
}

/// When to ask again a provider that did not say.
pub(super) fn patience(trouble: &Trouble) -> Duration {
    trouble.retry_after.unwrap_or(match trouble.kind {
        ErrorKind::Auth | ErrorKind::Invalid | ErrorKind::NotFound => OUT_OF_OUR_HANDS,
        _ => UNDER_WAY,
    })
}

/// What to say of a step that failed. It is tried again with backoff.
#[must_use]
pub fn after_failure(facts: &Facts, step: &Step, trouble: &Trouble) -> Say {
    let (subject, pool) = (&facts.subject, facts.subject.pool().unwrap_or_default());
    match (step, trouble.kind) {
        (Step::ReadFirstBoot, ErrorKind::NotFound) => say::stalled(subject, "SecretMissing", &trouble.message),
        (Step::Adopt(_, id), ErrorKind::NotFound) => {
            let why = format!(
                "the VM {id} is not in {pool}: bring it back, or correct spec.adopt of the VirtualWorkload {} and \
                 delete this Guest",
                subject.spec.workload
            );
            say::stalled(subject, "VmNotFound", &why)
        }
        (Step::Adopt(..), ErrorKind::Invalid) => say::stalled(subject, "AdoptionNotPossible", &trouble.message),
        (Step::Suspend(_), ErrorKind::Invalid) => {
            let why = format!("{}; write powerState Running or Stopped", trouble.message);
            say::awake(pool, "SuspendNotPossible", &why)
        }
        (Step::Stop(_, StopMode::Soft(_)), ErrorKind::Unavailable) if !subject.deleting => {
            let why = format!(
                "{}; it stays on, as shutdown.mode is Soft, and is asked again; write TrySoft or Hard to cut its power",
                trouble.message
            );
            say::refusing_to_stop(pool, &why)
        }
        (Step::Migrate(..), _) => relocate::failed(facts, trouble),
        (Step::Amend(wish), ErrorKind::Auth | ErrorKind::Invalid | ErrorKind::NotFound | ErrorKind::Capacity)
            if !subject.deleting =>
        {
            amend::refused(facts, wish, trouble)
        }
        (_, ErrorKind::Capacity) => say::no_room(subject, pool, trouble),
        (_, ErrorKind::Auth | ErrorKind::Invalid | ErrorKind::NotFound) => {
            say::stalled(subject, trouble.kind.reason(), &trouble.message)
        }
        (_, ErrorKind::Throttled | ErrorKind::Unavailable | ErrorKind::UnknownOutcome) => {
            say::retrying(subject, pool, step, trouble)
        }
    }
}

/// Whether a start that failed so leaves the VM certainly as it was. (`Unavailable` is also said of one that stopped
/// again at once.)
#[must_use]
pub fn means_untouched(kind: ErrorKind) -> bool {
    match kind {
        ErrorKind::Capacity | ErrorKind::NotFound | ErrorKind::Auth | ErrorKind::Throttled | ErrorKind::Invalid => true,
        ErrorKind::Unavailable | ErrorKind::UnknownOutcome => false,
    }
}

/// Whether a step that failed means that another place is to be looked for: there was no room for a VM that certainly
/// never ran.
#[must_use]
pub fn is_refusal(facts: &Facts, step: &Step, trouble: &Trouble) -> bool {
    let untouched = facts.subject.creation.as_ref().is_some_and(|creation| !creation.started);
    trouble.kind == ErrorKind::Capacity && untouched && matches!(step, Step::Create(_) | Step::Start(_))
}

/// The VM of the current incarnation, if it is seen.
pub(super) fn current(facts: &Facts) -> Option<&ObservedGuest> {
    match &facts.vm {
        Sight::Known(vm) if vm.key.incarnation == facts.subject.key.incarnation => Some(vm),
        _ => None,
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "decide_rules_tests.rs"]
mod rules_tests;
