use super::*;
use crate::{
    api::{
        Guest,
        care::{Hold, Mobility},
        condition::Status,
        guest::Creation,
        span::Span,
        template::{Shutdown, ShutdownMode},
    },
    guest::{
        decide::{after_failure, decide},
        testing::{at, deleted, facts, guest, later, seen, trouble, vm, with},
    },
    provider::{ErrorKind, Stage, StopMode},
};

fn going(kind: Move) -> Guest {
    let mut guest = with(guest(), Some(Creation { started: true, ..seen() }));
    let host = (kind == Move::Live).then(|| "host-b".to_owned());
    let decided_at = Time(at(-30));
    guest.spec.relocation = Some(Relocation {
        incarnation: 2,
        kind,
        pool: None,
        host,
        instance_type: None,
        reason: "drain".into(),
        decided_at,
    });
    guest.spec.mobility = Some(Mobility { allow: vec![Move::Live, Move::Recreate] });
    guest
}

fn on(guest: &Guest, power: Power) -> Facts {
    Facts { target: Some("xen2".into()), ..facts(guest, Sight::Known(vm(power))) }
}

fn outcome(say: &Say) -> Option<RelocationOutcome> {
    match &say.notes.relocation {
        Note::Set(status) => Some(status.outcome),
        Note::Keep | Note::Clear => None,
    }
}

#[test]
fn a_running_guest_goes_live_once_for_each_decision() {
    let mut guest = going(Move::Live);
    let verdict = decide(&on(&guest, Power::Running));
    assert!(matches!(&verdict.step, Step::Migrate(key, host) if key.incarnation == 2 && host == "host-b"));
    assert!(verdict.say.is_ready(), "it runs all the while");
    // It is there already: a move that was cut off after it was made, or somebody else's.
    let there = Facts { target: Some("xen1".into()), ..on(&guest, Power::Running) };
    let verdict = decide(&there);
    assert_eq!((verdict.step, outcome(&verdict.say)), (Step::Rest, Some(RelocationOutcome::Done)));
    // Done is done, wherever somebody else moves it afterwards.
    guest.status.as_mut().unwrap().relocation = moved(&there);
    assert_eq!(decide(&on(&guest, Power::Running)).step, Step::Rest);
    let mut fixed = guest.clone();
    fixed.spec.mobility = Some(Mobility::default());
    let say = decide(&on(&fixed, Power::Running)).say;
    assert_eq!(outcome(&say), None, "what is not allowed any more does not undo it");
    assert!(say.claims.iter().all(|claim| claim.kind != Kind::Relocated));
    guest.spec.relocation.as_mut().unwrap().decided_at = Time(at(-10));
    assert!(matches!(decide(&on(&guest, Power::Running)).step, Step::Migrate(..)), "another decision");
    guest.spec.relocation.as_mut().unwrap().incarnation = 1;
    assert_eq!(decide(&on(&guest, Power::Running)).step, Step::Rest, "that was about an earlier VM");
}

#[test]
fn a_failed_move_is_said_and_the_guest_runs_on() {
    let mut guest = going(Move::Live);
    let facts = on(&guest, Power::Running);
    let say = after_failure(&facts, &decide(&facts).step, &trouble(ErrorKind::UnknownOutcome));
    assert!(say.is_ready() && outcome(&say).is_none(), "a move that takes long has not failed: {say:?}");
    let say = after_failure(&facts, &decide(&facts).step, &trouble(ErrorKind::Capacity));
    assert!(say.is_ready() && outcome(&say) == Some(RelocationOutcome::Failed), "{say:?}");
    let Note::Set(status) = say.notes.relocation else { panic!("nothing is remembered") };
    guest.status.as_mut().unwrap().relocation = Some(status);
    let verdict = decide(&on(&guest, Power::Running));
    assert!(matches!(verdict.step, Step::Migrate(..)), "it is tried again: {verdict:?}");
    let waiting = decide(&on(&guest, Power::Starting)).say;
    let claim = waiting.claims.iter().find(|claim| claim.kind == Kind::Relocated).unwrap();
    assert_eq!((claim.status, claim.reason.as_str()), (Status::False, "MigrationFailed"));
}

#[test]
fn what_is_off_starts_on_the_host_it_is_to_go_to() {
    let step = decide(&on(&going(Move::Live), Power::Stopped)).step;
    assert!(matches!(&step, Step::Start(wish) if wish.host.as_deref() == Some("host-b")), "{step:?}");
}

#[test]
fn a_guest_that_keeps_nothing_is_removed_and_placed_anew() {
    let guest = going(Move::Recreate);
    assert!(matches!(decide(&on(&guest, Power::Running)).step, Step::Erase(key) if key.incarnation == 2));
    let absent = |erased, met| Facts { erased, met, ..facts(&guest, Sight::Absent) };
    assert!(matches!(decide(&absent(false, false)).step, Step::Erase(_)), "what a removal that was cut off left");
    assert_eq!(decide(&absent(true, true)).step, Step::Renew);
    assert_eq!(decide(&absent(true, false)).step, Step::Rest, "it may still turn up");
    assert_eq!(decide(&later(absent(true, false), 60)).step, Step::Renew);
    for power in [Power::Unknown, Power::Terminating] {
        assert_eq!(decide(&on(&guest, power)).step, Step::Rest, "{power}");
    }
    let incomplete = Facts {
        vm: Sight::Known(ObservedGuest { stage: Stage::Incomplete, ..vm(Power::Stopped) }),
        ..on(&guest, Power::Stopped)
    };
    assert!(matches!(decide(&incomplete).step, Step::Erase(_)));
    assert!(matches!(decide(&facts(&deleted(guest), Sight::Known(vm(Power::Running)))).step, Step::Erase(_)));
}

#[test]
fn its_system_is_asked_first_where_shutdown_is_written() {
    let mut guest = going(Move::Recreate);
    let minute = Some(Span(std::time::Duration::from_mins(1)));
    guest.spec.template.shutdown = Some(Shutdown { mode: ShutdownMode::Soft, deadline: minute });
    let facts = on(&guest, Power::Running);
    let step = decide(&facts).step;
    assert!(matches!(step, Step::Stop(_, StopMode::TrySoft(rest)) if rest.as_secs() == 30), "{step:?}");
    assert!(matches!(decide(&later(facts, 30)).step, Step::Erase(_)), "that ends");
}

#[test]
fn what_forbids_a_move_beats_it_and_is_said() {
    let hold = || vec![Hold { name: "case-42".into(), reason: None }];
    for kind in [Move::Live, Move::Recreate] {
        let mut guest = going(kind);
        guest.spec.mobility = Some(Mobility::default());
        let verdict = decide(&on(&guest, Power::Running));
        assert_eq!((&verdict.step, outcome(&verdict.say)), (&Step::Rest, Some(RelocationOutcome::Refused)));
        assert!(verdict.say.is_ready() && verdict.say.claims.iter().any(|claim| claim.kind == Kind::Relocated));
    }
    let mut guest = going(Move::Recreate);
    guest.spec.holds = hold();
    assert_eq!(decide(&on(&guest, Power::Running)).step, Step::Rest);
    let mut guest = going(Move::Live);
    guest.spec.holds = hold();
    assert!(matches!(decide(&on(&guest, Power::Running)).step, Step::Migrate(..)), "a hold keeps the VM, not its host");
}
