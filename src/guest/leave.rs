//! A guest that somebody deleted: what keeps it, and what becomes of its VM. Pure.

use super::{
    decide::{OUT_OF_OUR_HANDS, Step, UNDER_WAY, Verdict, key_of, patience, remaining, unsettled},
    facts::{Facts, Place, Sight, Trace},
    lost,
    mandate::farewell,
    say::{self, Say},
};
use crate::provider::{GuestWish, ObservedGuest, Power, Stage, StopMode};

pub(super) fn leave(facts: &Facts) -> Verdict {
    let subject = &facts.subject;
    if !subject.held {
        return Verdict::rest(say::leaving("its last traces are being removed"));
    }
    // Where nothing was asked for and nothing is seen, there is nothing to hold.
    let left_behind = facts.abandoned.iter().any(|(_, trace)| *trace != Trace::Gone);
    let may_be_there = subject.creation.is_some() || matches!(facts.vm, Sight::Known(_)) || left_behind;
    if may_be_there && subject.mandate.is_held() {
        return Verdict::rest_for(say::held(subject), OUT_OF_OUR_HANDS);
    }
    if subject.creation.is_none() && subject.binding.is_none() {
        // No provider was ever asked for this incarnation, and the ones before are gone or were given up.
        return go(facts, "it was never made");
    }
    match (&facts.place, &facts.vm) {
        // A record names its pool, so this is not met; should it be, nothing is known of the VM.
        (Place::Unbound, _) => {
            Verdict::rest_for(say::leaving_blocked("a pool", "it is not recorded in which"), OUT_OF_OUR_HANDS)
        }
        (Place::Missing { pool }, _) if subject.creation.is_none() => {
            go(facts, &format!("it was never made in {pool}"))
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
        (Place::Open { .. }, Sight::Known(vm)) if is_kept(facts, Some(vm)) => {
            Verdict::go(Step::Release(key_of(facts, vm)), say::leaving("its VM is being given up as it is"))
        }
        (Place::Open { wish, .. }, Sight::Known(vm)) => part(facts, wish, vm),
        (Place::Open { .. }, Sight::Absent) if is_kept(facts, None) && !facts.released => {
            Verdict::go(Step::Release(subject.key.clone()), say::leaving("its VM is being given up as it is"))
        }
        // Also where no VM is seen: a removal that was cut off may have left disks.
        (Place::Open { .. }, Sight::Absent) if !facts.erased && !is_kept(facts, None) => {
            Verdict::go(Step::Erase(subject.key.clone()), say::leaving("its last traces are being removed"))
        }
        (Place::Open { settling, .. }, Sight::Absent) => match unsettled(facts, *settling) {
            Some(rest) => Verdict::rest_for(
                say::leaving("its VM may still turn up after an answer was lost; waiting for that"),
                rest,
            ),
            None => go(facts, "nothing of it is left"),
        },
    }
}

/// Whether what there is of it stays. What was never finished holds nobody's work, unless it was there before.
fn is_kept(facts: &Facts, vm: Option<&ObservedGuest>) -> bool {
    let mandate = &facts.subject.mandate;
    let unfinished = vm.is_some_and(|vm| vm.stage == Stage::Incomplete);
    mandate.retain && (mandate.adopted || !unfinished)
}

/// Its VM goes: after its system was asked, where that is wished.
fn part(facts: &Facts, wish: &Result<GuestWish, String>, vm: &ObservedGuest) -> Verdict {
    let subject = &facts.subject;
    if subject.status.protected && vm.protected == Some(true) {
        // We had the provider refuse its removal; nothing holds it any more.
        return match wish {
            Ok(wish) => Verdict::go(
                Step::Amend(Box::new(GuestWish { protected: false, ..wish.clone() })),
                say::leaving("its protection against removal is being taken off"),
            ),
            Err(why) => Verdict::rest(say::stalled(subject, "WishNotPossible", why)),
        };
    }
    let say = || say::leaving("its system is asked to shut down first");
    if let Some(verdict) = last_words(facts, vm, subject.deleted_at.unwrap_or(facts.now), say) {
        return verdict;
    }
    Verdict::go(Step::Erase(key_of(facts, vm)), say::leaving("its VM is being removed"))
}

/// Has its system shut down before its VM is removed. `None`: it is off, is not to be asked, or had its time, which is over
/// so long after `since` whatever comes of it.
pub(super) fn last_words(
    facts: &Facts,
    vm: &ObservedGuest,
    since: jiff::Timestamp,
    say: impl FnOnce() -> Say,
) -> Option<Verdict> {
    let deadline = farewell(&facts.subject.spec).filter(|_| vm.stage == Stage::Complete)?;
    let rest = remaining(since, deadline, facts.now)?;
    let ask = |time| Step::Stop(key_of(facts, vm), StopMode::TrySoft(time));
    match vm.power {
        Power::Running => Some(Verdict::go(ask(rest), say())),
        Power::Stopping if facts.asked_to_stop => Some(Verdict::rest_for(say(), UNDER_WAY.min(rest))),
        // It is shutting down, and its time counts from when it was asked.
        Power::Stopping => Some(Verdict::go(ask(deadline), say())),
        _ => None,
    }
}

/// Lets it go, when also of the VMs that were given up nothing is left.
fn go(facts: &Facts, why: &str) -> Verdict {
    // What was given up and is to be kept stays where it is, and the pool names it among its orphans.
    if facts.subject.mandate.retain {
        return Verdict::go(Step::LetGo, say::leaving(why));
    }
    if let Some(verdict) = lost::clear(facts, &say::leaving("a VM that was given up is being removed")) {
        return verdict;
    }
    match facts.abandoned.iter().find(|(_, trace)| *trace == Trace::Silent) {
        Some((left, _)) => Verdict::rest_for(
            say::leaving_blocked(&left.pool, "a VM that was given up may still be there"),
            OUT_OF_OUR_HANDS,
        ),
        None => Verdict::go(Step::LetGo, say::leaving(why)),
    }
}
