//! What no combination of circumstances may lead to.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::*;
use crate::{
    api::{
        Guest,
        care::{Adoption, DeletionPolicy, Hold, ManagementPolicy, Mobility, Move},
        condition::{Kind, Status},
        guest::{Abandoned, Creation, Relocation},
        template::{CloudInit, PowerState, Shutdown, ShutdownMode},
        virtual_workload::{OnPoolLost, Placement, PoolLostAction},
    },
    guest::{
        facts::{FirstBootSight, Place, Subject, Trace},
        mandate::farewell,
        power::restart_due,
        testing::{SETTLING, at, creation, deleted, guest, key, open, trouble, vm, wanting, with},
    },
    provider::{Power, Stage},
};

fn name(step: &Step) -> &'static str {
    step.into()
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
        all.push(Sight::Known(ObservedGuest { vcpus: Some(4), ..vm(power) }));
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

/// Each guest with every record of a creation that matters for it: all for plain ones, the telling ones for the others.
fn subjects() -> Vec<Subject> {
    let each = |guest: &Guest, creations: &[Option<Creation>]| {
        creations.iter().map(|creation| Subject::new(&with(guest.clone(), creation.clone()))).collect::<Vec<_>>()
    };
    let all = creations();
    let telling: Vec<_> = all
        .iter()
        .filter(|creation| creation.as_ref().is_none_or(|c| c.refused.is_none() && (c.seen || !c.started)))
        .filter(|creation| {
            creation.as_ref().is_none_or(|c| c.asked_at.0 < at(-60) && c.missing_since != Some(Time(at(-10))))
        })
        .cloned()
        .collect();
    let mut subjects: Vec<Subject> = guests().iter().flat_map(|guest| each(guest, &all)).collect();
    for one in particular() {
        subjects.extend(each(&deleted(one.clone()), &telling));
        subjects.extend(each(&one, &telling));
    }
    subjects
}

/// Guests about which something particular is written.
fn particular() -> Vec<Guest> {
    let with = |change: fn(&mut Guest)| {
        let mut one = guest();
        change(&mut one);
        one
    };
    let hold = || vec![Hold { name: "case-42".into(), reason: None }];
    let relocation = |kind| {
        let host = (kind == Move::Live).then(|| "host-b".to_owned());
        Some(Relocation { incarnation: 2, kind, host, reason: "drain".into(), decided_at: Time(at(-30)) })
    };
    let mut all = vec![
        with(|guest| guest.spec.template.power_state = Some(PowerState::Suspended)),
        with(|guest| {
            guest.spec.template.cloud_init =
                Some(CloudInit { user_data_secret_ref: None, network_data_secret_ref: None });
        }),
        with(|guest| {
            guest.spec.adopt = Some(Adoption { ordinal: 0, pool: "xen".into(), provider_id: "vm-2".into() });
        }),
        with(|guest| guest.spec.deletion_policy = Some(DeletionPolicy::Retain)),
        with(|guest| guest.spec.management_policies = vec![ManagementPolicy::Observe]),
        with(|guest| guest.spec.template.restart_at = Some(Time(at(-5)))),
        with(|guest| guest.spec.template.shutdown = Some(Shutdown { mode: ShutdownMode::Soft, deadline: None })),
        with(|guest| {
            let on_pool_lost = Some(OnPoolLost { action: PoolLostAction::RecreateIfFenced, after: None });
            guest.spec.placement = Some(Placement { on_pool_lost, ..Placement::default() });
            guest.status.as_mut().unwrap().silent_since = Some(Time(at(-3600)));
        }),
        with(|guest| {
            let left = Abandoned { incarnation: 1, pool: "burnt".into(), provider_id: None, at: Time(at(-60)) };
            guest.status.as_mut().unwrap().abandoned = vec![left];
        }),
    ];
    for kind in [Move::Live, Move::Recreate] {
        let mut one = guest();
        one.spec.relocation = relocation(kind);
        one.spec.mobility = Some(Mobility { allow: vec![Move::Live, Move::Recreate] });
        all.push(one);
    }
    // Each of them, and a hold that beats it.
    let held = all.clone().into_iter().map(|mut one| {
        one.spec.holds = hold();
        one
    });
    all.extend(held.collect::<Vec<_>>());
    all
}

/// Every combination of what can be known.
fn everything(mut check: impl FnMut(&Facts, &Verdict)) {
    let missing = || Place::Missing { pool: "xen".into() };
    let down = || Place::Unreachable { pool: "xen".into(), why: "no route".into() };
    let hopeless = || Place::Open { pool: "xen".into(), wish: Err("no such image".into()), settling: SETTLING };
    for subject in subjects() {
        for place in [Place::Unbound, missing(), down(), open(), hopeless()] {
            for sight in sights() {
                let abandoned = subject.status.abandoned.iter().map(|left| (left.clone(), Trace::Seen)).collect();
                let mut facts = Facts {
                    subject: subject.clone(),
                    place: place.clone(),
                    vm: sight,
                    first_boot: FirstBootSight::NotRead,
                    fenced: true,
                    target: Some("xen2".into()),
                    abandoned,
                    erased: false,
                    released: false,
                    met: false,
                    answered: false,
                    now: at(0),
                };
                for bits in 0..8 {
                    (facts.erased, facts.met, facts.answered) = (bits & 1 != 0, bits & 2 != 0, bits & 4 != 0);
                    facts.released = facts.erased;
                    check(&facts, &decide(&facts));
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
        let claims = &verdict.say.claims;
        let turn = claims.iter().filter(|claim| matches!(claim.kind, Kind::Reconciling | Kind::Stalled)).count();
        let ready = claims[0].kind == Kind::Ready && claims[0].status == Status::True;
        assert!(usize::from(!ready) == turn, "either ready, or whose turn it is: {claims:?}");
        let kinds: std::collections::BTreeSet<Kind> = claims.iter().map(|claim| claim.kind).collect();
        assert_eq!(kinds.len(), claims.len(), "each condition is said once: {claims:?}");
        assert!(verdict.again.is_none_or(|again| again > Duration::ZERO), "a hot loop: {facts:#?}");
    });
    assert_eq!(counted.len(), 15, "every step is met: {counted:?}");
}

/// The rules that no combination may break.
fn broken_rule(facts: &Facts, step: &Step) -> Option<&'static str> {
    let fresh = !matches!(step, Step::Create(_) | Step::Adopt(..) | Step::Renew | Step::Abandon | Step::LetGo)
        || step.needs_fresh_sight();
    match (is_fine(facts, step), fresh) {
        (false, _) => Some("this step must not be taken here"),
        (_, false) => Some("this step must not be taken on what was seen some time ago"),
        _ => None,
    }
}

fn is_fine(facts: &Facts, step: &Step) -> bool {
    let (subject, mandate) = (&facts.subject, &facts.subject.mandate);
    let creation = subject.creation.as_ref();
    let is = |flag: fn(&Creation) -> bool| creation.is_some_and(flag);
    let open = matches!(facts.place, Place::Open { .. });
    let blind = matches!(facts.vm, Sight::Unknown(_) | Sight::NotAsked);
    let known = match &facts.vm {
        Sight::Known(vm) => Some(vm),
        _ => None,
    };
    let power = known.map(|vm| vm.power);
    let complete = known.is_some_and(|vm| vm.stage == Stage::Complete && vm.key.incarnation >= 2);
    let ran = known.is_some_and(|vm| subject.may_have_run(vm)) || is(|c| c.started);
    let never_asked = creation.is_none() && (subject.binding.is_none() || !open);
    let settled = facts.met || facts.answered || creation.is_none_or(|c| c.asked_at.0 < at(-60));
    let (deleting, held) = (subject.deleting, mandate.is_held());
    let kept = held && (creation.is_some() || known.is_some());
    let recreate = subject.relocation().is_some_and(|r| r.kind == Move::Recreate);
    let recreate = recreate && mandate.no_move(Move::Recreate).is_none();
    match step {
        Step::Rest => true,
        Step::Clear(key, pool) => key.incarnation == 1 && pool == "burnt" && !held && !mandate.retain,
        Step::Abandon => {
            let allowed = subject.spec.placement.as_ref().is_some_and(|placement| placement.on_pool_lost.is_some());
            !deleting && allowed && !held && (blind || !open) && creation.is_some() && facts.fenced
        }
        _ if blind || !open => *step == Step::LetGo && deleting && never_asked,
        Step::ReadFirstBoot => !deleting && !complete && subject.spec.template.cloud_init.is_some(),
        Step::Create(_) | Step::Adopt(..) if deleting => false,
        Step::Create(_) => {
            let waits = known.is_some_and(|vm| vm.stage == Stage::Incomplete && vm.key.incarnation >= 2);
            mandate.create && !mandate.adopted && (waits || (known.is_none() && !is(|c| c.seen)))
        }
        Step::Adopt(..) => mandate.adopted && !complete,
        Step::Start(_) => {
            let off = matches!(power, Some(Power::Stopped | Power::Suspended));
            !deleting && complete && off && (mandate.update || !ran)
        }
        Step::Stop(..) if deleting => power == Some(Power::Running) && farewell(&subject.spec).is_some() && !held,
        Step::Stop(..) => {
            let restart = restart_due(subject, facts.now).is_some() && power == Some(Power::Running);
            mandate.update && known.is_some() && (subject.wanted == PowerState::Stopped || restart || recreate)
        }
        Step::Suspend(_) => {
            !deleting && mandate.update && subject.wanted == PowerState::Suspended && power == Some(Power::Running)
        }
        Step::Amend(_) => !deleting && complete && (mandate.update || !ran),
        Step::Migrate(..) => !deleting && complete && mandate.update && mandate.live && power == Some(Power::Running),
        Step::Release(_) => deleting && mandate.retain && !kept,
        Step::Erase(_) if deleting => {
            let made_by_us = !mandate.adopted && known.is_some_and(|vm| vm.stage == Stage::Incomplete);
            !kept && (!mandate.retain || made_by_us)
        }
        Step::Erase(key) => {
            let older = known.is_some_and(|vm| vm.key.incarnation < 2) && key.incarnation == 1 && !held;
            older || (is(|c| c.refused.is_some()) && !ran) || recreate
        }
        Step::Renew if deleting => false,
        Step::Renew => match known {
            Some(_) => power == Some(Power::Terminated) && mandate.no_replacement().is_none(),
            None if is(|c| c.refused.is_some() && !c.started) || recreate => facts.erased && settled,
            None => {
                let long = is(|c| c.seen && c.missing_since.as_ref().is_some_and(|since| since.0 < at(-60)));
                long && mandate.no_replacement().is_none()
            }
        },
        Step::LetGo => {
            let nothing = known.is_none() && (facts.erased || facts.released) && settled;
            deleting && subject.held && !kept && (never_asked || nothing)
        }
    }
}
