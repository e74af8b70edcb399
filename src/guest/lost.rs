//! VMs that are not there, or of which nobody can say whether they are. Pure.

use std::time::Duration;

use super::{
    decide::{OUT_OF_OUR_HANDS, Step, UNDER_WAY, Verdict, key_of, patience, remaining, unsettled},
    facts::{Facts, Sight, Trace},
    lodge::{Lodging, make},
    say::{self, Say},
};
use crate::{
    api::virtual_workload::{OnPoolLost, PoolLostAction},
    provider::Key,
};

/// How long a pool must have been silent where nothing is written.
const SILENCE: Duration = Duration::from_mins(10);

/// The pool does not say whether the VM is there: wait. It is given up only where the workload allows that, the pool has
/// been silent for long enough, and an administrator vouches that nothing runs there.
pub(super) fn silent(facts: &Facts, pool: &str, why: &str, again: Duration) -> Verdict {
    let subject = &facts.subject;
    let wait = || Verdict::rest_for(say::unreachable(subject, pool, why), again);
    let Some(OnPoolLost { action: PoolLostAction::RecreateIfFenced, after }) =
        subject.spec.placement.as_ref().and_then(|placement| placement.on_pool_lost.clone())
    else {
        return wait();
    };
    let Some(since) = subject.status.silent_since.as_ref().filter(|_| subject.creation.is_some()) else {
        return wait();
    };
    if let Some(against) = subject.mandate.no_replacement() {
        return Verdict::rest_for(say::unreachable(subject, pool, &format!("{why}; {against}")), again);
    }
    if !facts.fenced {
        let why = format!(
            "{why}; once its hosts are certainly off, write fenced: true on the CloudPool, and it is made anew elsewhere"
        );
        return Verdict::rest_for(say::unreachable(subject, pool, &why), again);
    }
    match remaining(since.0, after.map_or(SILENCE, |span| span.0), facts.now) {
        Some(rest) => Verdict::rest_for(say::unreachable(subject, pool, why), rest),
        None => Verdict::go(Step::Abandon, say::abandoned(pool)),
    }
}

/// Whether the pool had no room and the guest is to be placed anew. Not where a VM turned up after all that has run or
/// may have: an earlier request, whose answer was lost, was heard before the one that was refused.
pub(super) fn is_refused(facts: &Facts) -> bool {
    let Some(creation) = facts.subject.creation.as_ref() else { return false };
    let has_run = match &facts.vm {
        Sight::Known(vm) => facts.subject.may_have_run(vm),
        Sight::NotAsked | Sight::Absent | Sight::Unknown(_) => creation.started,
    };
    creation.refused.is_some() && !has_run
}

/// What was made goes, and the guest is placed anew. A VM that may still turn up is waited for, or it would run beside
/// the new one.
pub(super) fn give_up(facts: &Facts, settling: Duration, say: Say) -> Verdict {
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
pub(super) fn missing(facts: &Facts, here: &Lodging<'_>) -> Verdict {
    let Some(creation) = facts.subject.creation.as_ref().filter(|creation| creation.seen) else {
        return make(facts, here);
    };
    let since = creation.missing_since.as_ref().map_or(facts.now, |time| time.0);
    match remaining(since, here.settling, facts.now) {
        Some(rest) => Verdict::rest_for(say::vanished(here.pool, facts.now + rest), rest),
        None => gone(facts, here.pool),
    }
}

/// Its VM was removed for ever: another is made, where that is allowed.
pub(super) fn gone(facts: &Facts, pool: &str) -> Verdict {
    match facts.subject.mandate.no_replacement() {
        None => Verdict::go(Step::Renew, say::lost(pool)),
        Some(against) => {
            let why = format!("its VM was removed from {pool} by somebody else, and no other is made: {against}");
            Verdict::rest_for(say::stalled(&facts.subject, "VmLost", &why), OUT_OF_OUR_HANDS)
        }
    }
}

/// A removal takes earlier VMs of the guest in that pool along. One that was given up and is to be kept must not go so.
pub(super) fn sparing(facts: &Facts, verdict: Verdict) -> Verdict {
    let (subject, mandate) = (&facts.subject, &facts.subject.mandate);
    let pool = subject.pool().unwrap_or_default();
    let kept = facts.abandoned.iter().any(|(left, trace)| left.pool == pool && *trace != Trace::Gone);
    if matches!(verdict.step, Step::Erase(_)) && kept && (mandate.retain || mandate.is_held()) {
        return Verdict::rest_for(say::earlier_kept(subject, pool), OUT_OF_OUR_HANDS);
    }
    verdict
}

/// A VM that was given up is there again: it goes, or it would run beside the guest's present one.
pub(super) fn clear(facts: &Facts, say: &Say) -> Option<Verdict> {
    let mandate = &facts.subject.mandate;
    if mandate.retain || mandate.is_held() {
        return None;
    }
    let (left, _) = facts.abandoned.iter().find(|(_, trace)| *trace == Trace::Seen)?;
    let key = Key { incarnation: left.incarnation, ..facts.subject.key.clone() };
    Some(Verdict::go(Step::Clear(key, left.pool.clone()), say.clone()))
}
