use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::*;
use crate::{
    api::{
        condition::{Kind, Status},
        guest::{Creation, Phase},
        template::PowerState,
    },
    guest::{
        facts::{Place, Subject},
        testing::{
            SETTLING, at, binding, creation, deleted, earlier, facts, guest, incomplete, key, later, seen, trouble, vm,
            wish, with,
        },
    },
    provider::Power,
};

fn started() -> Creation {
    Creation { started: true, ..seen() }
}

fn refused() -> Creation {
    Creation { refused: Some("no host has room".into()), ..creation() }
}

/// What is known of the VM, and the state that is wished, of a guest in the middle of its life.
fn living(creation: Option<Creation>, sight: Sight) -> Facts {
    facts(&with(guest(), creation), sight)
}

fn leaving(creation: Option<Creation>, sight: Sight) -> Facts {
    facts(&with(deleted(guest()), creation), sight)
}

fn stopped(facts: Facts) -> Facts {
    let mut facts = facts;
    facts.subject.wanted = PowerState::Stopped;
    facts
}

fn name(step: &Step) -> &'static str {
    step.into()
}

#[track_caller]
fn expect(facts: &Facts, step: &str, phase: Phase, reason: &str) {
    let verdict = decide(facts);
    let first = &verdict.say.claims[0];
    let got = (name(&verdict.step), verdict.say.phase, first.reason.as_str());
    assert_eq!(got, (step, phase, reason), "{facts:#?}");
    assert_eq!(first.kind, Kind::Ready, "what is said of a guest begins with whether it is ready");
}

#[test]
fn a_guest_that_lives() {
    use Phase::{Creating, Pending, Running, Stopped, Stopping, Unknown, Waiting};
    let on = |power| Sight::Known(vm(power));
    let table: Vec<(Facts, &str, Phase, &str)> = vec![
        (living(None, Sight::Absent), "Create", Creating, "Creating"),
        (living(Some(creation()), Sight::Absent), "Create", Creating, "Creating"),
        (living(Some(creation()), Sight::Known(incomplete())), "Create", Creating, "Creating"),
        (living(Some(seen()), on(Power::Stopped)), "Start", Creating, "Starting"),
        (living(Some(seen()), on(Power::Suspended)), "Start", Creating, "Starting"),
        (living(Some(seen()), on(Power::Starting)), "Rest", Creating, "Starting"),
        (living(Some(seen()), on(Power::Running)), "Rest", Running, "Running"),
        (living(Some(seen()), on(Power::Stopping)), "Rest", Creating, "Starting"),
        (living(Some(seen()), on(Power::Paused)), "Rest", Waiting, "WaitingForSomebody"),
        (living(Some(seen()), on(Power::Unknown)), "Rest", Unknown, "PoolDoesNotAnswer"),
        (living(Some(seen()), on(Power::Terminating)), "Rest", Creating, "Starting"),
        (living(Some(seen()), on(Power::Terminated)), "Renew", Pending, "VmLost"),
        (living(Some(seen()), Sight::Absent), "Rest", Unknown, "VmMissing"),
        (living(Some(seen()), Sight::Unknown(trouble(ErrorKind::Unavailable))), "Rest", Unknown, "PoolDoesNotAnswer"),
        (living(None, Sight::Unknown(trouble(ErrorKind::Auth))), "Rest", Creating, "PoolDoesNotAnswer"),
        (living(None, Sight::NotAsked), "Rest", Creating, "PoolDoesNotAnswer"),
        (living(None, Sight::Known(earlier(Power::Running))), "Erase", Creating, "Creating"),
        (stopped(living(Some(seen()), on(Power::Stopped))), "Rest", Stopped, "Stopped"),
        (stopped(living(Some(seen()), on(Power::Running))), "Stop", Stopping, "Stopping"),
        (stopped(living(Some(seen()), on(Power::Suspended))), "Stop", Stopping, "Stopping"),
        (stopped(living(Some(seen()), on(Power::Paused))), "Stop", Stopping, "Stopping"),
        (stopped(living(Some(seen()), on(Power::Starting))), "Rest", Stopping, "Stopping"),
        (stopped(living(Some(seen()), on(Power::Stopping))), "Stop", Stopping, "Stopping"),
        (stopped(living(None, Sight::Absent)), "Create", Creating, "Creating"),
    ];
    for (facts, step, phase, reason) in table {
        expect(&facts, step, phase, reason);
    }
}

#[test]
fn where_there_is_no_place_to_ask() {
    let place = |place| Facts { place, ..living(None, Sight::NotAsked) };
    expect(&place(Place::Unbound), "Rest", Phase::Pending, "NotPlaced");
    expect(&place(Place::Missing { pool: "xen".into() }), "Rest", Phase::Creating, "PoolDoesNotAnswer");
    let down = || Place::Unreachable { pool: "xen".into(), why: "no route".into() };
    expect(&place(down()), "Rest", Phase::Creating, "PoolDoesNotAnswer");
    expect(
        &Facts { place: down(), ..living(Some(seen()), Sight::NotAsked) },
        "Rest",
        Phase::Unknown,
        "PoolDoesNotAnswer",
    );
    let wish = Err("CloudPool xen has no entry".to_owned());
    let place = Place::Open { pool: "xen".into(), wish, settling: SETTLING };
    let verdict = decide(&Facts { place: place.clone(), ..living(None, Sight::Absent) });
    assert_eq!((verdict.step, verdict.say.phase), (Step::Rest, Phase::Failed));
    assert_eq!(verdict.say.claims[1].kind, Kind::Stalled);
    // What runs goes on running, whatever became of the image's name.
    expect(
        &Facts { place, ..living(Some(seen()), Sight::Known(vm(Power::Running))) },
        "Rest",
        Phase::Running,
        "Running",
    );
}

#[test]
fn a_guest_that_leaves() {
    let say = |facts: &Facts, step: &str, reason: &str| expect(facts, step, Phase::Deleting, reason);
    let erased = |facts: Facts| Facts { erased: true, ..facts };
    say(&leaving(None, Sight::Absent), "Erase", "Deleting");
    say(&erased(leaving(None, Sight::Absent)), "LetGo", "Deleting");
    say(&leaving(Some(seen()), Sight::Known(vm(Power::Running))), "Erase", "Deleting");
    say(&leaving(Some(seen()), Sight::Known(earlier(Power::Running))), "Erase", "Deleting");
    let met = |facts: Facts| Facts { met: true, ..erased(facts) };
    say(&met(leaving(Some(seen()), Sight::Absent)), "LetGo", "Deleting");
    say(&met(leaving(Some(creation()), Sight::Absent)), "LetGo", "Deleting");
    // Seen by an earlier run, and so new that reads may lack it.
    say(&erased(leaving(Some(seen()), Sight::Absent)), "Rest", "Deleting");
    say(&later(erased(leaving(Some(seen()), Sight::Absent)), 50), "LetGo", "Deleting");
    say(&leaving(Some(seen()), Sight::Unknown(trouble(ErrorKind::Unavailable))), "Rest", "PoolDoesNotAnswer");
    say(&leaving(Some(seen()), Sight::NotAsked), "Rest", "PoolDoesNotAnswer");
    // Asked for, never seen: it may still turn up.
    let unseen = erased(leaving(Some(creation()), Sight::Absent));
    let verdict = decide(&unseen);
    assert_eq!((name(&verdict.step), verdict.again), ("Rest", Some(Duration::from_secs(50))));
    say(&later(unseen, 50), "LetGo", "Deleting");
    let place = |place| Facts { place, ..leaving(Some(seen()), Sight::NotAsked) };
    say(&place(Place::Missing { pool: "xen".into() }), "Rest", "PoolDoesNotAnswer");
    say(&place(Place::Unreachable { pool: "xen".into(), why: "no route".into() }), "Rest", "PoolDoesNotAnswer");
    let never = |place| Facts { place, ..leaving(None, Sight::NotAsked) };
    say(&never(Place::Missing { pool: "xen".into() }), "LetGo", "Deleting");
    say(&never(Place::Unreachable { pool: "xen".into(), why: "no route".into() }), "Rest", "PoolDoesNotAnswer");
    let mut unbound = leaving(None, Sight::NotAsked);
    (unbound.subject.binding, unbound.place) = (None, Place::Unbound);
    say(&unbound, "LetGo", "Deleting");
    unbound.subject.held = false;
    say(&unbound, "Rest", "Deleting");
}

#[test]
fn a_guest_without_a_workload_lives_and_leaves_like_any_other() {
    let mut orphan = with(guest(), Some(started()));
    orphan.metadata.owner_references = None;
    expect(&facts(&orphan, Sight::Known(vm(Power::Running))), "Rest", Phase::Running, "Running");
    let orphan = deleted(orphan);
    expect(&facts(&orphan, Sight::Known(vm(Power::Running))), "Erase", Phase::Deleting, "Deleting");
    let gone = Facts { erased: true, met: true, ..facts(&orphan, Sight::Absent) };
    expect(&gone, "LetGo", Phase::Deleting, "Deleting");
}

#[test]
fn a_pool_that_refused_is_left_when_nothing_of_the_guest_can_be_there() {
    let given_up = |facts: &Facts, step| expect(facts, step, Phase::Pending, "PoolRefused");
    given_up(&living(Some(refused()), Sight::Absent), "Erase");
    given_up(&living(Some(refused()), Sight::Known(incomplete())), "Erase");
    given_up(&living(Some(Creation { seen: true, ..refused() }), Sight::Known(vm(Power::Stopped))), "Erase");
    given_up(&living(Some(refused()), Sight::Unknown(trouble(ErrorKind::Unavailable))), "Rest");
    let erased = |creation| Facts { erased: true, ..living(Some(creation), Sight::Absent) };
    // Another request may have been sent before, by a run that was cut off.
    given_up(&erased(refused()), "Rest");
    given_up(&later(erased(refused()), 50), "Renew");
    given_up(&Facts { answered: true, ..erased(refused()) }, "Renew");
    given_up(&Facts { met: true, ..erased(Creation { seen: true, ..refused() }) }, "Renew");
}

#[test]
fn a_vm_that_turned_up_after_a_refusal_and_may_have_run_is_kept() {
    expect(&living(Some(refused()), Sight::Known(vm(Power::Running))), "Rest", Phase::Running, "Running");
    expect(&living(Some(refused()), Sight::Known(vm(Power::Starting))), "Rest", Phase::Creating, "Starting");
    let mut rented = living(Some(refused()), Sight::Known(vm(Power::Stopped)));
    rented.subject.binding.as_mut().unwrap().instance_type = Some("t3.small".into());
    expect(&rented, "Start", Phase::Creating, "Starting");
    expect(
        &living(Some(Creation { started: true, ..refused() }), Sight::Absent),
        "Create",
        Phase::Creating,
        "Creating",
    );
}

#[test]
fn a_vanished_vm_is_waited_for_before_another_is_made() {
    let missing = Creation { missing_since: Some(Time(at(0))), ..started() };
    let facts = living(Some(missing), Sight::Absent);
    assert_eq!(decide(&facts).again, Some(SETTLING));
    let said = &decide(&facts).say.claims[0].message;
    assert!(said.contains("08:01:00 UTC"), "{said}");
    assert_eq!(decide(&later(facts.clone(), 20)).say, decide(&facts).say, "waiting changes nothing that is written");
    expect(&later(facts.clone(), 59), "Rest", Phase::Unknown, "VmMissing");
    expect(&later(facts, 60), "Renew", Phase::Pending, "VmLost");
}

#[test]
fn the_first_start_is_on_the_bound_host_and_later_ones_where_the_pool_has_room() {
    let host = |facts: &Facts| match decide(facts).step {
        Step::Start(wish) => wish.host,
        other => panic!("{other:?}"),
    };
    assert_eq!(host(&living(Some(seen()), Sight::Known(vm(Power::Stopped)))).as_deref(), Some("host-a"));
    assert_eq!(host(&living(Some(started()), Sight::Known(vm(Power::Stopped)))), None);
}

#[test]
fn a_vm_that_others_are_busy_with_is_left_alone() {
    let busy = |power| Sight::Known(ObservedGuest { busy: true, ..vm(power) });
    expect(&living(Some(seen()), busy(Power::Stopped)), "Rest", Phase::Creating, "Starting");
    expect(&stopped(living(Some(seen()), busy(Power::Running))), "Rest", Phase::Stopping, "Stopping");
}

#[test]
fn only_want_of_room_for_a_vm_that_never_ran_is_a_refusal() {
    let (start, stop) = (Step::Start(Box::new(wish(2))), Step::Stop(key(2), StopMode::USUAL));
    let create = Step::Create(Box::new(wish(2)));
    let never = living(Some(seen()), Sight::Known(vm(Power::Stopped)));
    let ran = living(Some(started()), Sight::Known(vm(Power::Stopped)));
    let full = trouble(ErrorKind::Capacity);
    assert!(is_refusal(&never, &start, &full) && is_refusal(&never, &create, &full));
    assert!(!is_refusal(&ran, &start, &full) && !is_refusal(&never, &stop, &full));
    assert!(!is_refusal(&living(None, Sight::Absent), &create, &full), "nothing was recorded");
    for kind in [ErrorKind::Unavailable, ErrorKind::UnknownOutcome, ErrorKind::Throttled, ErrorKind::Invalid] {
        assert!(!is_refusal(&never, &start, &trouble(kind)), "{kind}");
    }
}

#[test]
fn what_is_said_of_a_failure_tells_whether_somebody_must_act() {
    let facts = living(Some(started()), Sight::Known(vm(Power::Stopped)));
    let start = Step::Start(Box::new(wish(2)));
    for (kind, condition, phase) in [
        (ErrorKind::Auth, Kind::Stalled, Phase::Failed),
        (ErrorKind::Invalid, Kind::Stalled, Phase::Failed),
        (ErrorKind::NotFound, Kind::Stalled, Phase::Failed),
        (ErrorKind::Throttled, Kind::Reconciling, Phase::Creating),
        (ErrorKind::Unavailable, Kind::Reconciling, Phase::Creating),
        (ErrorKind::UnknownOutcome, Kind::Reconciling, Phase::Creating),
        (ErrorKind::Capacity, Kind::Reconciling, Phase::Stopped),
    ] {
        let say = after_failure(&facts, &start, &trouble(kind));
        assert_eq!((say.claims[0].kind, say.claims[0].status), (Kind::Ready, Status::False));
        assert_eq!((say.claims[1].kind, say.phase), (condition, phase), "{kind}");
        assert!(say.claims[0].message.contains("nobody answers"), "{kind}");
    }
}

#[test]
fn bindings_of_these_tests_are_for_the_current_incarnation() {
    assert_eq!(Subject::new(&guest()).binding, Some(binding()));
}
