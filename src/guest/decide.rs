//! What to do next for a guest. Pure.
//!
//! A VM is made only where it is certainly not there, given up only where it certainly never ran, and a guest is let go
//! only when nothing of it is left. Where the provider does not answer, nothing is done.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{
    facts::{Facts, Place, Sight, Trouble},
    say::{self, Say},
};
use crate::{
    api::template::PowerState,
    provider::{ErrorKind, GuestWish, Key, ObservedGuest, Power, Stage},
};

/// The next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: all is well, or something else must change first.
    Rest,
    /// Make the VM, or finish making it.
    Create(Box<GuestWish>),
    /// Start it.
    Start(Box<GuestWish>),
    /// Stop it.
    Stop(Key),
    /// Remove it and all that belongs to it.
    Erase(Key),
    /// It is certainly gone: count up, so that it is placed and made anew.
    Renew,
    /// Nothing of it is left: let the object go.
    LetGo,
}

impl Step {
    /// Whether the step must not be taken on what was seen some time ago.
    #[must_use]
    pub fn needs_fresh_sight(&self) -> bool {
        matches!(self, Self::Create(_) | Self::Renew | Self::LetGo)
    }

    /// Whether the step has the provider do something.
    #[must_use]
    pub fn asks_the_provider(&self) -> bool {
        matches!(self, Self::Create(_) | Self::Start(_) | Self::Stop(_) | Self::Erase(_))
    }
}

/// What was decided: the next step, what to say about it, and when to look again if nothing happens before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The next step.
    pub step: Step,
    /// What to say.
    pub say: Say,
    /// When to look again. `None`: changes at the provider or in the API server wake us.
    pub again: Option<Duration>,
}

impl Verdict {
    fn rest(say: Say) -> Self {
        Self { step: Step::Rest, say, again: None }
    }

    fn rest_for(say: Say, again: Duration) -> Self {
        Self { step: Step::Rest, say, again: Some(again) }
    }

    fn go(step: Step, say: Say) -> Self {
        Self { step, say, again: None }
    }
}

/// How soon to look again at something that is under way, should no event tell of its end.
const UNDER_WAY: Duration = Duration::from_secs(5);
/// How soon to look again where a provider or a person has to act first, should no event tell of it.
const OUT_OF_OUR_HANDS: Duration = Duration::from_mins(1);

/// Decides.
#[must_use]
pub fn decide(facts: &Facts) -> Verdict {
    if facts.subject.deleting { leave(facts) } else { lodge(facts) }
}

/// A guest that somebody deleted.
fn leave(facts: &Facts) -> Verdict {
    let subject = &facts.subject;
    if !subject.held {
        return Verdict::rest(say::leaving("its last traces are being removed"));
    }
    if subject.creation.is_none() && subject.binding.is_none() {
        // No provider was ever asked for this incarnation, and the ones before are certainly gone.
        return Verdict::go(Step::LetGo, say::leaving("it was never made"));
    }
    match (&facts.place, &facts.vm) {
        // A record names its pool, so this is not met; should it be, nothing is known of the VM.
        (Place::Unbound, _) => {
            Verdict::rest_for(say::leaving_blocked("a pool", "it is not recorded in which"), OUT_OF_OUR_HANDS)
        }
        (Place::Missing { pool }, _) if subject.creation.is_none() => {
            Verdict::go(Step::LetGo, say::leaving(&format!("it was never made in {pool}")))
        }
        (Place::Missing { pool }, _) => {
            Verdict::rest_for(say::leaving_blocked(pool, "there is no such CloudPool"), OUT_OF_OUR_HANDS)
        }
        (Place::Unreachable { pool, why }, _) => Verdict::rest_for(say::leaving_blocked(pool, why), OUT_OF_OUR_HANDS),
        (Place::Open { pool, .. }, Sight::NotAsked) => {
            Verdict::rest_for(say::leaving_blocked(pool, "it was not asked"), UNDER_WAY)
        }
        (Place::Open { pool, .. }, Sight::Unknown(trouble)) => {
            Verdict::rest_for(say::leaving_blocked(pool, &trouble.message), patience(trouble))
        }
        (Place::Open { .. }, Sight::Known(vm)) => {
            Verdict::go(Step::Erase(key_of(facts, vm)), say::leaving("its VM is being removed"))
        }
        // Also where no VM is seen: a removal that was cut off may have left disks.
        (Place::Open { .. }, Sight::Absent) if !facts.erased => {
            Verdict::go(Step::Erase(subject.key.clone()), say::leaving("its last traces are being removed"))
        }
        (Place::Open { settling, .. }, Sight::Absent) => match unsettled(facts, *settling) {
            Some(rest) => Verdict::rest_for(
                say::leaving("its VM may still turn up after an answer was lost; waiting for that"),
                rest,
            ),
            None => Verdict::go(Step::LetGo, say::leaving("nothing of it is left")),
        },
    }
}

/// How long a VM that was asked for and is not seen may still turn up; `None` where it cannot. That it was seen by an
/// earlier run is not enough: a provider's reads may lag behind what it has answered then.
///
/// A second clone beside one that was met and removed is not waited for: it lands unfinished, is never started, and is
/// removed by its driver or by the pool's controller.
fn unsettled(facts: &Facts, settling: Duration) -> Option<Duration> {
    let creation = facts.subject.creation.as_ref()?;
    if facts.met || facts.answered { None } else { remaining(creation.asked_at.0, settling, facts.now) }
}

fn remaining(since: Timestamp, wait: Duration, now: Timestamp) -> Option<Duration> {
    let passed = Duration::try_from(now.duration_since(since).max(SignedDuration::ZERO)).unwrap_or_default();
    wait.checked_sub(passed).filter(|rest| !rest.is_zero())
}

/// The key of what is there: an earlier incarnation's VM is addressed as what it is.
fn key_of(facts: &Facts, vm: &ObservedGuest) -> Key {
    let incarnation = vm.key.incarnation.max(facts.subject.key.incarnation);
    Key { incarnation, ..facts.subject.key.clone() }
}

/// A guest that should live.
fn lodge(facts: &Facts) -> Verdict {
    let subject = &facts.subject;
    let (pool, wish, settling) = match &facts.place {
        Place::Unbound => return Verdict::rest(say::pending()),
        Place::Missing { pool } => {
            let say = say::unreachable(subject, pool, "there is no such CloudPool; apply it again");
            return Verdict::rest_for(say, OUT_OF_OUR_HANDS);
        }
        Place::Unreachable { pool, why } => {
            return Verdict::rest_for(say::unreachable(subject, pool, why), OUT_OF_OUR_HANDS);
        }
        Place::Open { pool, wish, settling } => (pool, wish, *settling),
    };
    if is_refused(facts) {
        return give_up(facts, settling);
    }
    match &facts.vm {
        Sight::NotAsked => Verdict::rest_for(say::unreachable(subject, pool, "it was not asked"), UNDER_WAY),
        Sight::Unknown(trouble) => trouble_seeing(facts, pool, trouble),
        Sight::Known(vm) if vm.key.incarnation < subject.key.incarnation => {
            let old = Key { incarnation: vm.key.incarnation, ..subject.key.clone() };
            Verdict::go(Step::Erase(old), say::creating(pool, "an earlier VM of this guest is being removed first"))
        }
        Sight::Known(vm) if vm.stage == Stage::Incomplete => create(facts, pool, wish),
        Sight::Known(vm) => run(facts, pool, wish, vm),
        Sight::Absent => missing(facts, pool, wish, settling),
    }
}

/// The provider does not say whether the VM is there.
fn trouble_seeing(facts: &Facts, pool: &str, trouble: &Trouble) -> Verdict {
    Verdict::rest_for(say::unreachable(&facts.subject, pool, &trouble.message), patience(trouble))
}

/// When to ask again a provider that did not say.
fn patience(trouble: &Trouble) -> Duration {
    trouble.retry_after.unwrap_or(match trouble.kind {
        ErrorKind::Auth | ErrorKind::Invalid | ErrorKind::NotFound => OUT_OF_OUR_HANDS,
        _ => UNDER_WAY,
    })
}

/// Whether the pool had no room and the guest is to be placed anew. Not where a VM turned up after all that has run or
/// may have: an earlier request, whose answer was lost, was heard before the one that was refused.
fn is_refused(facts: &Facts) -> bool {
    let Some(creation) = facts.subject.creation.as_ref() else { return false };
    let has_run = match &facts.vm {
        Sight::Known(vm) => facts.subject.may_have_run(vm),
        Sight::NotAsked | Sight::Absent | Sight::Unknown(_) => creation.started,
    };
    creation.refused.is_some() && !has_run
}

/// The pool had no room: what was made goes, and the guest is placed anew. A VM that may still turn up is waited for, or
/// it would run beside the new one.
fn give_up(facts: &Facts, settling: Duration) -> Verdict {
    let say = say::refused(&facts.subject);
    match &facts.vm {
        Sight::Known(vm) => Verdict::go(Step::Erase(key_of(facts, vm)), say),
        Sight::Absent if !facts.erased => Verdict::go(Step::Erase(facts.subject.key.clone()), say),
        Sight::Absent => match unsettled(facts, settling) {
            Some(rest) => Verdict::rest_for(say, rest),
            None => Verdict::go(Step::Renew, say),
        },
        Sight::Unknown(trouble) => Verdict::rest_for(say, patience(trouble)),
        Sight::NotAsked => Verdict::rest_for(say, UNDER_WAY),
    }
}

/// The VM is certainly not there now.
///
/// One that was seen before was removed by somebody, or its provider has forgotten it for a moment: reads may lag behind
/// writes for as long as the settling time, so for so long nothing is made. That does not help against a provider that
/// forgets for good and remembers later (a pool's database restored from an old backup). Then a second VM is made, and
/// what holds is this: the old one is of an earlier incarnation, so it is never taken for the guest's; the pool's
/// controller reports it as an orphan as soon as the pool shows it again; nothing removes it by itself, as it has run,
/// until the guest is deleted in that pool.
fn missing(facts: &Facts, pool: &str, wish: &Result<GuestWish, String>, settling: Duration) -> Verdict {
    let Some(creation) = facts.subject.creation.as_ref().filter(|creation| creation.seen) else {
        return create(facts, pool, wish);
    };
    let since = creation.missing_since.as_ref().map_or(facts.now, |time| time.0);
    match remaining(since, settling, facts.now) {
        Some(rest) => Verdict::rest_for(say::vanished(pool, facts.now + rest), rest),
        None => Verdict::go(Step::Renew, say::lost(pool)),
    }
}

fn create(facts: &Facts, pool: &str, wish: &Result<GuestWish, String>) -> Verdict {
    match wish {
        Ok(wish) => Verdict::go(Step::Create(Box::new(wish.clone())), say::creating(pool, "its VM is being made")),
        Err(why) => Verdict::rest(say::stalled(&facts.subject, "WishNotPossible", why)),
    }
}

/// The VM is there and complete: should it run, and does it.
fn run(facts: &Facts, pool: &str, wish: &Result<GuestWish, String>, vm: &ObservedGuest) -> Verdict {
    let under_way = |what: &str| Verdict::rest_for(say::under_way(facts.subject.wanted, pool, what), UNDER_WAY);
    match (facts.subject.wanted, vm.power) {
        (_, Power::Terminated) => Verdict::go(Step::Renew, say::lost(pool)),
        (_, Power::Terminating) => under_way("somebody is removing its VM; when it is gone another is made"),
        (_, Power::Unknown) => Verdict::rest_for(
            say::unreachable(&facts.subject, pool, "its host does not answer; it may be running"),
            UNDER_WAY,
        ),
        (PowerState::Running, Power::Running) => Verdict::rest(say::running(pool, vm)),
        (PowerState::Stopped, Power::Stopped) => Verdict::rest(say::stopped(pool)),
        (PowerState::Running, Power::Starting) => under_way("its VM is starting"),
        (_, Power::Starting | Power::Stopping) => under_way("its VM is between two states"),
        (PowerState::Running, Power::Paused) => {
            Verdict::rest_for(say::waiting(pool, "its VM is paused; unpause or stop it there"), OUT_OF_OUR_HANDS)
        }
        _ if vm.busy => under_way("another operation is under way on its VM"),
        (PowerState::Running, Power::Stopped | Power::Suspended) => match wish {
            Ok(wish) => {
                // The host of the binding is where there was room when it was placed. Later the pool knows better.
                let host = if facts.subject.may_have_run(vm) { None } else { wish.host.clone() };
                let say = say::under_way(PowerState::Running, pool, "its VM is being started");
                Verdict::go(Step::Start(Box::new(GuestWish { host, ..wish.clone() })), say)
            }
            Err(why) => Verdict::rest(say::stalled(&facts.subject, "WishNotPossible", why)),
        },
        (PowerState::Suspended, Power::Suspended | Power::Stopped) => Verdict::rest(say::stopped(pool)),
        (PowerState::Suspended, Power::Running | Power::Paused) => {
            Verdict::rest(say::stalled(&facts.subject, "WishNotPossible", "this version cannot put guests to sleep"))
        }
        (PowerState::Stopped, Power::Running | Power::Suspended | Power::Paused) => Verdict::go(
            Step::Stop(facts.subject.key.clone()),
            say::under_way(PowerState::Stopped, pool, "its VM is being stopped"),
        ),
    }
}

/// What to say of a step that failed. It is tried again with backoff.
#[must_use]
pub fn after_failure(facts: &Facts, step: &Step, trouble: &Trouble) -> Say {
    let pool = facts.subject.pool().unwrap_or_default();
    match trouble.kind {
        ErrorKind::Capacity => say::no_room(&facts.subject, pool, trouble),
        ErrorKind::Auth | ErrorKind::Invalid | ErrorKind::NotFound => {
            say::stalled(&facts.subject, trouble.kind.reason(), &trouble.message)
        }
        ErrorKind::Throttled | ErrorKind::Unavailable | ErrorKind::UnknownOutcome => {
            say::retrying(&facts.subject, pool, step, trouble)
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

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "decide_rules_tests.rs"]
mod rules_tests;
