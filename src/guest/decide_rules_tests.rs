//! What no combination of circumstances may lead to.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::*;
use crate::{
    api::{
        Guest,
        condition::{Kind, Status},
        guest::Creation,
    },
    guest::{
        facts::Subject,
        testing::{SETTLING, at, creation, deleted, guest, key, open, trouble, vm, wanting, with},
    },
};

fn name(step: &Step) -> &'static str {
    match step {
        Step::Rest => "Rest",
        Step::Create(_) => "Create",
        Step::Start(_) => "Start",
        Step::Stop(_) => "Stop",
        Step::Erase(_) => "Erase",
        Step::Renew => "Renew",
        Step::LetGo => "LetGo",
    }
}

/// Everything that can be known of a VM.
fn sights() -> Vec<Sight> {
    let powers = [
        Power::Starting,
        Power::Running,
        Power::Stopping,
        Power::Stopped,
        Power::Suspended,
        Power::Paused,
        Power::Terminating,
        Power::Terminated,
        Power::Unknown,
    ];
    let mut all = vec![Sight::NotAsked, Sight::Absent];
    all.extend([ErrorKind::Unavailable, ErrorKind::Auth].map(|kind| Sight::Unknown(trouble(kind))));
    for power in powers {
        for stage in [Stage::Complete, Stage::Incomplete] {
            for incarnation in [1, 2, 3] {
                all.push(Sight::Known(ObservedGuest { key: key(incarnation), stage, ..vm(power) }));
            }
        }
    }
    all
}

/// No creation was recorded, and every record that there can be.
fn creations() -> Vec<Option<Creation>> {
    let mut all = vec![None];
    for bits in 0..8 {
        for asked in [-10, -3600] {
            for missing in [None, Some(-10), Some(-3600)] {
                all.push(Some(Creation {
                    seen: bits & 1 != 0,
                    started: bits & 2 != 0,
                    refused: (bits & 4 != 0).then(|| "no room".to_owned()),
                    asked_at: Time(at(asked)),
                    missing_since: missing.map(|second| Time(at(second))),
                    ..creation()
                }));
            }
        }
    }
    all
}

fn guests() -> Vec<Guest> {
    let mut all = Vec::new();
    for bits in 0..8 {
        let mut guest = if bits & 1 == 0 { guest() } else { deleted(guest()) };
        guest = wanting(guest, if bits & 2 == 0 { PowerState::Running } else { PowerState::Stopped });
        guest.spec.binding.as_mut().unwrap().instance_type = (bits & 4 != 0).then(|| "t3.small".to_owned());
        all.push(guest);
    }
    let mut unbound = guest();
    unbound.spec.binding = None;
    let mut let_go = deleted(guest());
    let_go.metadata.finalizers = None;
    all.extend([deleted(unbound.clone()), unbound, let_go]);
    all
}

/// Every combination of what can be known.
fn everything(mut check: impl FnMut(&Facts, &Verdict)) {
    let missing = || Place::Missing { pool: "xen".into() };
    let down = || Place::Unreachable { pool: "xen".into(), why: "no route".into() };
    let hopeless = || Place::Open { pool: "xen".into(), wish: Err("no such image".into()), settling: SETTLING };
    for creation in creations() {
        for guest in guests() {
            let subject = Subject::new(&with(guest, creation.clone()));
            for place in [Place::Unbound, missing(), down(), open(), hopeless()] {
                for sight in sights() {
                    let mut facts = Facts {
                        subject: subject.clone(),
                        place: place.clone(),
                        vm: sight,
                        erased: false,
                        met: false,
                        answered: false,
                        now: at(0),
                    };
                    for bits in 0..8 {
                        (facts.erased, facts.met, facts.answered) = (bits & 1 != 0, bits & 2 != 0, bits & 4 != 0);
                        check(&facts, &decide(&facts));
                    }
                }
            }
        }
    }
}

#[test]
fn nothing_is_ever_made_twice_given_up_or_lost() {
    let mut counted = std::collections::BTreeMap::new();
    everything(|facts, verdict| {
        *counted.entry(name(&verdict.step)).or_insert(0u64) += 1;
        if let Some(broken) = broken_rule(facts, &verdict.step) {
            panic!("{broken}: {:?} of {facts:#?}", verdict.step);
        }
        let last = verdict.say.claims.last().unwrap();
        let ready = verdict.say.claims[0].status == Status::True;
        assert!(ready == (last.kind == Kind::Ready), "either ready, or the reason why not, and whose turn it is");
        assert!(verdict.again.is_none_or(|again| again > Duration::ZERO), "a hot loop: {facts:#?}");
    });
    assert_eq!(counted.len(), 7, "every step is met: {counted:?}");
}

/// The rules that no combination may break.
fn broken_rule(facts: &Facts, step: &Step) -> Option<&'static str> {
    let creation = facts.subject.creation.as_ref();
    let is = |flag: fn(&Creation) -> bool| creation.is_some_and(flag);
    let open = matches!(facts.place, Place::Open { .. });
    let blind = matches!(facts.vm, Sight::Unknown(_) | Sight::NotAsked);
    let known = match &facts.vm {
        Sight::Known(vm) => Some(vm),
        _ => None,
    };
    let power = known.map(|vm| vm.power);
    let never_asked = creation.is_none() && (facts.subject.binding.is_none() || !open);
    let settled = facts.met || facts.answered || creation.is_none_or(|c| c.asked_at.0 < at(-60));
    let deleting = facts.subject.deleting;
    let fine = match step {
        Step::Rest => true,
        _ if blind || !open => *step == Step::LetGo && deleting && never_asked,
        Step::Create(_) if deleting => false,
        Step::Create(_) => match known {
            Some(vm) => vm.stage == Stage::Incomplete && vm.key.incarnation >= 2,
            None => !is(|c| c.seen),
        },
        Step::Start(_) => {
            !deleting
                && known.is_some_and(|vm| vm.stage == Stage::Complete && vm.key.incarnation >= 2)
                && matches!(power, Some(Power::Stopped | Power::Suspended))
        }
        Step::Stop(_) => !deleting && facts.subject.wanted == PowerState::Stopped && known.is_some(),
        Step::Erase(_) if deleting => true,
        Step::Erase(key) => {
            let older = known.is_some_and(|vm| vm.key.incarnation < 2) && key.incarnation == 1;
            let may_have_run = known.is_some_and(|vm| facts.subject.may_have_run(vm)) || is(|c| c.started);
            older || (is(|c| c.refused.is_some()) && !may_have_run)
        }
        Step::Renew => {
            !deleting
                && match known {
                    Some(_) => power == Some(Power::Terminated),
                    None if is(|c| c.refused.is_some() && !c.started) => facts.erased && settled,
                    None => is(|c| c.seen && c.missing_since.as_ref().is_some_and(|since| since.0 < at(-60))),
                }
        }
        Step::LetGo => deleting && facts.subject.held && (never_asked || (known.is_none() && facts.erased && settled)),
    };
    let fresh = !matches!(step, Step::Create(_) | Step::Renew | Step::LetGo) || step.needs_fresh_sight();
    match (fine, fresh) {
        (false, _) => Some("this step must not be taken here"),
        (_, false) => Some("this step must not be taken on what was seen some time ago"),
        _ => None,
    }
}
