//! Size, disks and protection of a VM: does it have what is wished, and what is to be done if not. Pure.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    decide::{OUT_OF_OUR_HANDS, Step, Verdict, current, remaining},
    facts::{Facts, Trouble},
    lodge::Lodging,
    relocate,
    say::{self, Note, Say},
};
use crate::{
    api::{
        condition::{Claim, Kind},
        guest::ResizeStatus,
        template::PowerState,
    },
    provider::{GuestWish, ObservedDisk, ObservedGuest, Power},
};

/// How soon a change that the provider refused is asked for again.
const REFUSED: Duration = Duration::from_mins(5);

/// What differs between a VM and what is wished, in words. What the provider does not tell does not differ.
#[must_use]
pub fn drift(wish: &GuestWish, vm: &ObservedGuest) -> Vec<String> {
    let mut all = Vec::new();
    match (&wish.instance_type, &vm.instance_type) {
        (Some(wished), Some(is)) if wished != is => all.push(format!("its type is {is}, not {wished}")),
        (Some(_), _) => {}
        (None, _) => {
            if let Some(is) = vm.vcpus.filter(|is| *is != wish.vcpus) {
                all.push(format!("it has {is} vCPU, not {}", wish.vcpus));
            }
            if let Some(is) = vm.memory.filter(|is| *is != wish.memory) {
                all.push(format!("it has {is} memory, not {}", wish.memory));
            }
        }
    }
    if vm.disks.is_empty() {
        return all;
    }
    let named = |name: &str| vm.disks.iter().find(|disk: &&ObservedDisk| disk.name.as_deref() == Some(name));
    if let (Some(size), Some(root)) = (wish.root_disk, named("root"))
        && root.size < size
    {
        all.push(format!("its root disk has {}, not {size}", root.size));
    }
    for disk in &wish.disks {
        match named(&disk.name) {
            None => all.push(format!("it has no disk {}", disk.name)),
            Some(is) if is.size < disk.size => {
                all.push(format!("its disk {} has {}, not {}", disk.name, is.size, disk.size));
            }
            Some(_) => {}
        }
    }
    all
}

/// What is wished, in a word that changes whenever it does.
#[must_use]
pub fn description(wish: &GuestWish) -> String {
    let mut text = format!("{} vCPU, {}", wish.vcpus, wish.memory);
    text.extend(wish.instance_type.iter().map(|name| format!(", {name}")));
    text.extend(wish.root_disk.iter().map(|size| format!(", root {size}")));
    text.extend(wish.disks.iter().map(|disk| format!(", {} {}", disk.name, disk.size)));
    text
}

/// Whether the provider is to be told to refuse the VM's removal, or to allow it again. Protection that somebody else
/// switched on stays.
fn protection(facts: &Facts, vm: &ObservedGuest) -> bool {
    let held = facts.subject.mandate.is_held();
    held || (vm.protected == Some(true) && !facts.subject.status.protected)
}

/// What was decided about a VM, with what there is to say and do about its size beside it.
pub(super) fn consider(facts: &Facts, here: &Lodging<'_>, vm: &ObservedGuest, verdict: Verdict) -> Verdict {
    let (relocated, note) = relocate::claims(facts);
    let mut verdict = verdict;
    if matches!(verdict.say.notes.relocation, Note::Keep) {
        verdict.say.notes.relocation = note;
    }
    verdict.say.claims.extend(relocated);
    let Ok(wish) = here.wish else { return verdict };
    let wish = GuestWish { protected: protection(facts, vm), ..wish.clone() };
    let unprotected = vm.protected.is_some_and(|is| is != wish.protected);
    let drift = drift(&wish, vm);
    if drift.is_empty() && !unprotected {
        verdict.say.notes.resize = Note::Clear;
        verdict.say.claims.extend(type_too_small(facts));
        return verdict;
    }
    let off = vm.power == Power::Stopped;
    // Running guests are changed while nothing else is to be done with them, the others before they are started.
    let free = match &verdict.step {
        Step::Rest => verdict.say.is_ready() && !vm.busy,
        Step::Start(_) => off,
        _ => false,
    };
    let asked = facts.subject.status.resize.as_ref().filter(|resize| resize.asked == description(&wish));
    let waits = asked.is_some_and(|resize| match (resize.refused, off) {
        (true, _) => remaining(resize.asked_at.0, REFUSED, facts.now).is_some(),
        (false, off) => !off,
    });
    if free && (unprotected || !waits) {
        let wish = GuestWish { host: None, ..wish };
        let say = verdict.say.with(Claim::no(Kind::Resized, "Resizing", drift.join("; ")));
        return Verdict::go(Step::Amend(Box::new(wish)), say);
    }
    if let Some(resize) = asked {
        verdict.say.claims.push(claim(resize));
        if resize.refused {
            verdict.again = verdict.again.into_iter().chain(remaining(resize.asked_at.0, REFUSED, facts.now)).min();
        }
    } else if !drift.is_empty() {
        verdict.say.claims.push(Claim::no(Kind::Resized, "Resizing", drift.join("; ")));
    }
    verdict
}

/// A type that is smaller than the guest's size is what it has until the scheduler has chosen another.
fn type_too_small(facts: &Facts) -> Option<Claim> {
    let (wished, is) = (&facts.subject.spec.template.size, facts.type_size?);
    let name = facts.subject.binding.as_ref()?.instance_type.as_ref()?;
    let message = format!(
        "its type {name} has {} vCPU and {}, and {} vCPU and {} are wished; if no larger type is chosen for it soon, \
         status.placement.proposal says why",
        is.vcpus, is.memory, wished.vcpus, wished.memory
    );
    (is.vcpus < wished.vcpus || is.memory < wished.memory).then(|| Claim::no(Kind::Resized, "TypeTooSmall", message))
}

fn claim(resize: &ResizeStatus) -> Claim {
    let reason = if resize.refused { "ResizeRefused" } else { "RestartNeeded" };
    Claim::no(Kind::Resized, reason, resize.message.clone())
}

/// What to note of an amendment that has to wait until the VM is off.
#[must_use]
pub fn when_off(facts: &Facts, wish: &GuestWish, why: &str) -> ResizeStatus {
    let message = format!("{why}; it is done when the guest is next stopped or restarted (restartAt)");
    ResizeStatus { asked: description(wish), message, refused: false, asked_at: Time(facts.now) }
}

/// What to say of an amendment that the provider refused: the VM stays as it is, and may run so.
pub(super) fn refused(facts: &Facts, wish: &GuestWish, trouble: &Trouble) -> Say {
    let (subject, pool) = (&facts.subject, facts.subject.pool().unwrap_or_default());
    let message = format!("{}; it is tried again every five minutes and when the wish changes", trouble.message);
    let resize = ResizeStatus { asked: description(wish), message, refused: true, asked_at: Time(facts.now) };
    let say = match current(facts) {
        Some(vm) if vm.power == Power::Running => say::running(pool, vm),
        _ => say::under_way(subject.wanted, pool, "its size cannot be changed"),
    };
    let claim = claim(&resize);
    say.with(claim).noting(|notes| notes.resize = Note::Set(resize))
}

/// Says what is so where the operator may only look.
pub(super) fn report(facts: &Facts, here: &Lodging<'_>, vm: &ObservedGuest) -> Verdict {
    let (subject, pool) = (&facts.subject, here.pool);
    let wrong_power = match (subject.wanted, vm.power) {
        _ if subject.mandate.power_as_it_is => None,
        (PowerState::Running, Power::Running | Power::Starting)
        | (PowerState::Stopped, Power::Stopped | Power::Stopping)
        | (PowerState::Suspended, Power::Suspended | Power::Stopped) => None,
        (wanted, is) => Some(format!("it is {}, not {wanted:?}", is.to_string().to_lowercase())),
    };
    let say = match (&wrong_power, vm.power) {
        (Some(what), _) => {
            let why = format!("{what}, and managementPolicies lacks Update: change it in {pool}, or allow Update");
            say::drifted(vm, &why)
        }
        (None, Power::Running) => say::running(pool, vm),
        (None, Power::Suspended) => say::asleep(pool),
        (None, Power::Stopped) if subject.mandate.power_as_it_is => say::left_off(pool),
        (None, Power::Stopped) => say::stopped(pool),
        (None, Power::Paused) => say::waiting(pool, "its VM is paused; unpause or stop it there"),
        (None, _) => say::under_way(subject.wanted, pool, "its VM is between two states"),
    };
    let mut all: Vec<String> = wrong_power.into_iter().collect();
    match here.wish {
        Ok(wish) => all.extend(drift(wish, vm)),
        Err(why) => all.push(why.clone()),
    }
    let in_sync = if all.is_empty() {
        Claim::yes(Kind::InSync, "InSync", format!("its VM in {pool} is as wished"))
    } else {
        Claim::no(Kind::InSync, "Drifted", all.join("; "))
    };
    let (relocated, note) = relocate::claims(facts);
    let say = say.with(in_sync).noting(|notes| (notes.relocation, notes.resize) = (note, Note::Clear));
    let say = relocated.into_iter().fold(say, Say::with);
    Verdict::rest_for(say, OUT_OF_OUR_HANDS)
}

#[cfg(test)]
#[path = "amend_tests.rs"]
mod tests;
