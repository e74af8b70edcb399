//! A VM that is there and complete: should it run, and does it. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    amend,
    decide::{OUT_OF_OUR_HANDS, Step, UNDER_WAY, Verdict},
    facts::{Facts, Subject},
    lodge::Lodging,
    lost,
    mandate::stop_mode,
    relocate,
    say::{self, Note},
};
use crate::{
    api::{care::Move, guest::RestartStatus, template::PowerState},
    provider::{GuestWish, ObservedGuest, Power, StopMode},
};

pub(super) fn run(facts: &Facts, here: &Lodging<'_>, vm: &ObservedGuest) -> Verdict {
    let (subject, pool) = (&facts.subject, here.pool);
    match vm.power {
        Power::Terminated => return lost::gone(facts, pool),
        Power::Terminating => {
            let what = "somebody is removing its VM; when it is gone another is made";
            return Verdict::rest_for(say::under_way(subject.wanted, pool, what), UNDER_WAY);
        }
        Power::Unknown => {
            let why = "its host does not answer; it may be running";
            return Verdict::rest_for(say::unreachable(subject, pool, why), UNDER_WAY);
        }
        _ => {}
    }
    // To start what was just made belongs to making it.
    if !subject.mandate.update && subject.may_have_run(vm) {
        return amend::report(facts, here, vm);
    }
    // A move that fails again and again must not keep a restart waiting.
    let moving = if restart_due(subject, facts.now).is_none() { relocate::live(facts, here, vm) } else { None };
    let verdict = moving.unwrap_or_else(|| power(facts, here, vm));
    let verdict = amend::consider(facts, here, vm, verdict);
    // A restart that is wished for later is not slept through.
    verdict.by(subject.spec.template.restart_at.as_ref().map(|time| time.0), facts.now)
}

/// Whether it runs as it should.
fn power(facts: &Facts, here: &Lodging<'_>, vm: &ObservedGuest) -> Verdict {
    let (subject, pool) = (&facts.subject, here.pool);
    let under_way = |what: &str| Verdict::rest_for(say::under_way(subject.wanted, pool, what), UNDER_WAY);
    if let Some(at) = restart_due(subject, facts.now) {
        if let Some(verdict) = restart(facts, here, vm, at) {
            return verdict;
        }
    } else if subject.mandate.power_as_it_is && matches!(vm.power, Power::Stopped | Power::Suspended) {
        return Verdict::rest(say::left_off(pool));
    }
    match (subject.wanted, vm.power) {
        (PowerState::Running, Power::Running) => Verdict::rest(say::running(pool, vm)),
        (PowerState::Stopped | PowerState::Suspended, Power::Stopped) => {
            // Who wished it off while it was restarted has what he wished: whatever starts it later ends the restart.
            Verdict::rest(say::stopped(pool).noting(|notes| notes.restart = Note::Clear))
        }
        (PowerState::Suspended, Power::Suspended) => Verdict::rest(say::asleep(pool)),
        (PowerState::Running, Power::Starting) => under_way("its VM is starting"),
        // Whoever had it shut down may have died: its time ends all the same, and only its provider knows when.
        (PowerState::Stopped, Power::Stopping) if !facts.asked_to_stop => stop(facts, here),
        (_, Power::Starting | Power::Stopping | Power::Terminating | Power::Terminated | Power::Unknown) => {
            under_way("its VM is between two states")
        }
        (PowerState::Running | PowerState::Suspended, Power::Paused) => {
            Verdict::rest_for(say::waiting(pool, "its VM is paused; unpause or stop it there"), OUT_OF_OUR_HANDS)
        }
        _ if vm.busy => under_way("another operation is under way on its VM"),
        (PowerState::Running, Power::Stopped | Power::Suspended) => start(facts, here, vm),
        (PowerState::Suspended, Power::Running) => {
            let say = say::under_way(PowerState::Suspended, pool, "its VM is being put to sleep");
            Verdict::go(Step::Suspend(subject.key.clone()), say)
        }
        // Asleep it cannot be asked, and cutting its power would lose what it has in memory.
        (PowerState::Stopped, Power::Suspended) if matches!(stop_mode(&subject.spec), StopMode::Soft(_)) => {
            start(facts, here, vm)
        }
        (PowerState::Stopped, Power::Running | Power::Suspended | Power::Paused) => stop(facts, here),
    }
}

fn stop(facts: &Facts, here: &Lodging<'_>) -> Verdict {
    let subject = &facts.subject;
    let say = say::under_way(PowerState::Stopped, here.pool, "its VM is being stopped");
    Verdict::go(Step::Stop(subject.key.clone(), stop_mode(&subject.spec)), say)
}

fn start(facts: &Facts, here: &Lodging<'_>, vm: &ObservedGuest) -> Verdict {
    let subject = &facts.subject;
    match here.wish {
        Ok(wish) => {
            // The host of the binding is where there was room when it was placed. Later the pool knows better.
            let host = if subject.may_have_run(vm) { None } else { wish.host.clone() };
            let moving = subject.relocation().filter(|relocation| relocation.kind == Move::Live);
            let host = moving.and_then(|relocation| relocation.host.clone()).or(host);
            let say = say::under_way(PowerState::Running, here.pool, "its VM is being started");
            Verdict::go(Step::Start(Box::new(GuestWish { host, ..wish.clone() })), say)
        }
        Err(why) => Verdict::rest(say::stalled(subject, "WishNotPossible", why)),
    }
}

/// The restart that is still to be carried out. What counts is when the operator itself last started the VM, by its own
/// clock: a guest that was started after `restartAt` needs no restart, whatever the provider's clock says.
#[must_use]
pub fn restart_due(subject: &Subject, now: Timestamp) -> Option<Timestamp> {
    let at = subject.spec.template.restart_at.as_ref()?.0;
    let creation = subject.creation.as_ref()?;
    let last = creation.started_at.as_ref().map_or(creation.asked_at.0, |time| time.0.max(creation.asked_at.0));
    // Times in objects are whole seconds.
    (at <= now && last.as_second() < at.as_second()).then_some(at)
}

/// The next step of a restart. `None`: it is off already, and whatever starts it ends the restart.
fn restart(facts: &Facts, here: &Lodging<'_>, vm: &ObservedGuest, at: Timestamp) -> Option<Verdict> {
    let (subject, pool) = (&facts.subject, here.pool);
    let begun = subject.status.restart.as_ref().filter(|restart| restart.at.0 == at);
    let may_begin = subject.wanted == PowerState::Running && vm.power == Power::Running && !vm.busy;
    // As with any other stop, its end must not depend on who began it.
    let see_through = subject.wanted == PowerState::Running && vm.power == Power::Stopping && !facts.asked_to_stop;
    if vm.power == Power::Stopped && subject.mandate.power_as_it_is {
        return begun.map_or_else(|| Some(Verdict::rest(say::left_off(pool))), |_| Some(start(facts, here, vm)));
    }
    if !(may_begin || (see_through && begun.is_some())) {
        return None;
    }
    if let Some(begun) = begun
        && let (Some(was), Some(is)) = (&begun.was_started_at, vm.started_at)
        && was.0.as_second() != is.as_second()
    {
        // Somebody started it again meanwhile, or we were cut off before we could note that we did.
        let say = say::running(pool, vm).noting(|notes| notes.started = true);
        return Some(Verdict::rest(say));
    }
    let restart =
        begun.cloned().unwrap_or_else(|| RestartStatus { at: Time(at), was_started_at: vm.started_at.map(Time) });
    let say = say::under_way(PowerState::Stopped, pool, "its VM is being restarted, as restartAt wishes");
    let say = say.noting(|notes| notes.restart = Note::Set(restart));
    Some(Verdict::go(Step::Stop(subject.key.clone(), stop_mode(&subject.spec)), say))
}

#[cfg(test)]
#[path = "power_tests.rs"]
mod tests;
