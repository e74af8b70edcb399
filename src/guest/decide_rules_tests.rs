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
    let case = || vec![Hold { name: "case-42".into(), reason: None }];
    let relocation = |kind| {
        let host = (kind == Move::Live).then(|| "host-b".to_owned());
        Some(Relocation {
            incarnation: 2,
            kind,
            pool: None,
            host,
            instance_type: None,
            reason: "drain".into(),
            decided_at: Time(at(-30)),
        })
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
        one.spec.holds = case();
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
                    type_size: None,
                    fenced: true,
                    target: Some("xen2".into()),
                    abandoned,
                    erased: false,
                    released: false,
                    met: false,
                    answered: false,
                    asked_to_stop: false,
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

/// What of the facts the rules speak of.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct Seen<'f> {
    facts: &'f Facts,
    vm: Option<&'f ObservedGuest>,
    power: Option<Power>,
    complete: bool,
    ran: bool,
    settled: bool,
    recreate: bool,
    /// A hold keeps what may be there.
    kept: bool,
}

impl<'f> Seen<'f> {
    fn new(facts: &'f Facts) -> Self {
        let (subject, mandate) = (&facts.subject, &facts.subject.mandate);
        let creation = subject.creation.as_ref();
        let vm = match &facts.vm {
            Sight::Known(vm) => Some(vm),
            _ => None,
        };
        let recreate = subject.relocation().is_some_and(|relocation| relocation.kind == Move::Recreate);
        Self {
            facts,
            vm,
            power: vm.map(|vm| vm.power),
            complete: vm.is_some_and(|vm| vm.stage == Stage::Complete && vm.key.incarnation >= 2),
            ran: vm.is_some_and(|vm| subject.may_have_run(vm)) || creation.is_some_and(|creation| creation.started),
            settled: facts.met || facts.answered || creation.is_none_or(|creation| creation.asked_at.0 < at(-60)),
            recreate: recreate && mandate.no_move(Move::Recreate).is_none(),
            kept: mandate.is_held() && (creation.is_some() || vm.is_some() || !facts.abandoned.is_empty()),
        }
    }

    fn record(&self, flag: fn(&Creation) -> bool) -> bool {
        self.facts.subject.creation.as_ref().is_some_and(flag)
    }
}

fn is_fine(facts: &Facts, step: &Step) -> bool {
    let (subject, seen) = (&facts.subject, Seen::new(facts));
    let open = matches!(facts.place, Place::Open { .. });
    let blind = matches!(facts.vm, Sight::Unknown(_) | Sight::NotAsked);
    let never_asked = subject.creation.is_none() && (subject.binding.is_none() || !open);
    match step {
        Step::Rest => true,
        Step::Clear(key, pool) => {
            let free = !subject.mandate.is_held() && !subject.mandate.retain;
            key.incarnation == 1 && pool == "burnt" && free
        }
        Step::Abandon => {
            let allowed = subject.spec.placement.as_ref().is_some_and(|placement| placement.on_pool_lost.is_some());
            let silent = (blind || !open) && subject.creation.is_some() && facts.fenced;
            !subject.deleting && allowed && silent && !subject.mandate.is_held()
        }
        Step::LetGo => {
            let nothing = seen.vm.is_none() && open && !blind && (facts.erased || facts.released) && seen.settled;
            subject.deleting && subject.held && !seen.kept && (never_asked || nothing)
        }
        _ if blind || !open => false,
        _ if subject.deleting => is_fine_of_a_deleted(&seen, step),
        _ => is_fine_of_a_living(&seen, step),
    }
}

fn is_fine_of_a_deleted(seen: &Seen<'_>, step: &Step) -> bool {
    let subject = &seen.facts.subject;
    match step {
        Step::Stop(..) => {
            let on = matches!(seen.power, Some(Power::Running | Power::Stopping));
            on && farewell(&subject.spec).is_some() && !seen.kept
        }
        Step::Release(_) => subject.mandate.retain && !seen.kept,
        Step::Erase(_) => {
            let half_made = !subject.mandate.adopted && seen.vm.is_some_and(|vm| vm.stage == Stage::Incomplete);
            !seen.kept && (!subject.mandate.retain || half_made)
        }
        _ => false,
    }
}

fn is_fine_of_a_living(seen: &Seen<'_>, step: &Step) -> bool {
    let (facts, subject, mandate) = (seen.facts, &seen.facts.subject, &seen.facts.subject.mandate);
    match step {
        Step::ReadFirstBoot => !seen.complete && subject.spec.template.cloud_init.is_some(),
        Step::Create(_) => {
            let waits = seen.vm.is_some_and(|vm| vm.stage == Stage::Incomplete && vm.key.incarnation >= 2);
            mandate.create && !mandate.adopted && (waits || (seen.vm.is_none() && !seen.record(|c| c.seen)))
        }
        Step::Adopt(..) => mandate.adopted && !seen.complete,
        Step::Start(_) => {
            let off = matches!(seen.power, Some(Power::Stopped | Power::Suspended));
            seen.complete && off && (mandate.update || !seen.ran)
        }
        Step::Stop(..) => {
            let on = matches!(seen.power, Some(Power::Running | Power::Stopping));
            let restart = restart_due(subject, facts.now).is_some() && on;
            let why = subject.wanted == PowerState::Stopped || restart || seen.recreate;
            mandate.update && seen.vm.is_some() && why
        }
        Step::Suspend(_) => {
            mandate.update && subject.wanted == PowerState::Suspended && seen.power == Some(Power::Running)
        }
        Step::Amend(_) => seen.complete && (mandate.update || !seen.ran),
        Step::Migrate(..) => seen.complete && mandate.update && mandate.live && seen.power == Some(Power::Running),
        Step::Erase(key) => {
            let older = seen.vm.is_some_and(|vm| vm.key.incarnation < 2) && key.incarnation == 1;
            let refused = seen.record(|c| c.refused.is_some()) && !seen.ran;
            (older && !mandate.is_held()) || refused || seen.recreate
        }
        Step::Renew => match seen.vm {
            Some(_) => seen.power == Some(Power::Terminated) && mandate.no_replacement().is_none(),
            None if seen.record(|c| c.refused.is_some() && !c.started) || seen.recreate => facts.erased && seen.settled,
            None => {
                let long = seen.record(|c| c.seen && c.missing_since.as_ref().is_some_and(|since| since.0 < at(-60)));
                long && mandate.no_replacement().is_none()
            }
        },
        _ => false,
    }
}
