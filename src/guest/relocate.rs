//! Carries out the scheduler's decision to move a guest. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    decide::{Step, Verdict},
    facts::{Facts, Sight, Trouble},
    leave::last_words,
    lodge::Lodging,
    lost,
    say::{self, Note, Say},
};
use crate::{
    api::{
        care::Move,
        condition::{Claim, Kind},
        guest::{Relocation, RelocationOutcome, RelocationStatus},
        template::PowerState,
    },
    provider::{ErrorKind, ObservedGuest, Power},
};

/// The decision, unless it came to an end already.
fn open(facts: &Facts, kind: Move) -> Option<&Relocation> {
    let relocation = facts.subject.relocation().filter(|relocation| relocation.kind == kind)?;
    let ended =
        facts.subject.status.relocation.as_ref().is_some_and(|status| {
            status.decided_at == relocation.decided_at && status.outcome == RelocationOutcome::Done
        });
    (!ended).then_some(relocation)
}

fn record(relocation: &Relocation, outcome: RelocationOutcome, message: &str) -> Note<RelocationStatus> {
    let (decided_at, message) = (relocation.decided_at.clone(), message.to_owned());
    Note::Set(RelocationStatus { decided_at, outcome, message })
}

/// Moves it while it runs. `None`: there is nothing to move, or it may not be moved, which [`claims`] says.
pub(super) fn live(facts: &Facts, here: &Lodging<'_>, vm: &ObservedGuest) -> Option<Verdict> {
    let subject = &facts.subject;
    let relocation = open(facts, Move::Live)?;
    let host = relocation.host.clone()?;
    if subject.mandate.no_move(Move::Live).is_some() || subject.wanted != PowerState::Running {
        return None;
    }
    if vm.power != Power::Running || vm.busy {
        return None;
    }
    if facts.target.is_some() && vm.host == facts.target {
        let say = say::running(here.pool, vm);
        let done = record(relocation, RelocationOutcome::Done, "it is there");
        return Some(Verdict::rest(say.noting(|notes| notes.relocation = done)));
    }
    let say = say::moving(here.pool, vm, facts.target.as_deref().unwrap_or(&host), &relocation.reason);
    Some(Verdict::go(Step::Migrate(subject.key.clone(), host), say))
}

/// Removes the VM and has the guest placed and made anew. `None`: that was not decided, or is not allowed.
pub(super) fn recreate(facts: &Facts, here: &Lodging<'_>) -> Option<Verdict> {
    let subject = &facts.subject;
    let relocation = open(facts, Move::Recreate).filter(|_| subject.mandate.no_move(Move::Recreate).is_none())?;
    let say = || say::relocating(here.pool, &relocation.reason);
    if let Sight::Known(vm) = &facts.vm {
        match vm.power {
            // It may be running on a host that does not answer, or is on its way out by somebody else's hand.
            Power::Unknown | Power::Terminating => return None,
            Power::Terminated => return Some(Verdict::go(Step::Renew, say())),
            _ => {}
        }
        if let Some(verdict) = last_words(facts, vm, relocation.decided_at.0, say) {
            return Some(verdict);
        }
    }
    match &facts.vm {
        Sight::Known(_) | Sight::Absent => Some(lost::give_up(facts, here.settling, say())),
        Sight::NotAsked | Sight::Unknown(_) => None,
    }
}

/// What to say of a move that was decided and may not be carried out, or failed before.
pub(super) fn claims(facts: &Facts) -> (Option<Claim>, Note<RelocationStatus>) {
    let subject = &facts.subject;
    let Some(relocation) = subject.relocation() else { return (None, Note::Clear) };
    let last = subject.status.relocation.as_ref().filter(|status| status.decided_at == relocation.decided_at);
    if last.is_some_and(|last| last.outcome == RelocationOutcome::Done) {
        // Whatever is allowed by now: it is there.
        return (None, Note::Keep);
    }
    if let Some(against) = subject.mandate.no_move(relocation.kind) {
        let message = format!("it is not moved ({}): {against}", relocation.reason);
        let note = record(relocation, RelocationOutcome::Refused, &message);
        return (Some(Claim::no(Kind::Relocated, "NotAllowed", message)), note);
    }
    match last {
        Some(last) if last.outcome == RelocationOutcome::Failed => {
            (Some(Claim::no(Kind::Relocated, "MigrationFailed", last.message.clone())), Note::Keep)
        }
        Some(_) => (None, Note::Keep),
        None => (None, Note::Clear),
    }
}

/// What to say of a move that failed: the VM is where it was, or its provider says where.
pub(super) fn failed(facts: &Facts, trouble: &Trouble) -> Say {
    let (subject, pool) = (&facts.subject, facts.subject.pool().unwrap_or_default());
    if trouble.kind == ErrorKind::UnknownOutcome
        && let (Some(relocation), Sight::Known(vm)) = (subject.relocation(), &facts.vm)
    {
        // It goes on, or has ended without a word: the next look at the VM tells.
        let to = facts.target.as_deref().or(relocation.host.as_deref()).unwrap_or_default();
        return say::moving(pool, vm, to, &trouble.message);
    }
    let say = say::moving_failed(pool, &trouble.message);
    let Some(relocation) = subject.relocation() else { return say };
    let note = record(relocation, RelocationOutcome::Failed, &trouble.message);
    say.noting(|notes| notes.relocation = note)
}

/// The note that a migration ended well.
#[must_use]
pub fn moved(facts: &Facts) -> Option<RelocationStatus> {
    let relocation = facts.subject.relocation().filter(|relocation| relocation.kind == Move::Live)?;
    let (decided_at, message) = (Time(relocation.decided_at.0), "it was moved".to_owned());
    Some(RelocationStatus { decided_at, outcome: RelocationOutcome::Done, message })
}

#[cfg(test)]
#[path = "relocate_tests.rs"]
mod tests;
