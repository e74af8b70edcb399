use jiff::SignedDuration;

use super::*;
use crate::{
    api::{Guest, condition::Claim},
    guest::{
        decide::decide,
        testing::{at, creation, earlier, facts, guest, incomplete, later, seen, trouble, vm, with},
    },
    provider::{ErrorKind, Power},
};

/// The status as the API server then holds it.
fn stored(own: &OwnStatus, before: &GuestStatus) -> GuestStatus {
    serde_json::from_value(serde_json::to_value(own.clone().onto(before)).unwrap()).unwrap()
}

fn running() -> ObservedGuest {
    let addresses = vec!["192.0.2.7".parse().unwrap()];
    ObservedGuest { addresses, zone: Some("zone-1".into()), ..vm(Power::Running) }
}

/// A guest whose VM runs, with all of its status written.
fn settled_guest() -> Guest {
    let mut guest = with(guest(), Some(seen()));
    let facts = facts(&guest, Sight::Known(running()));
    let own = after(&facts, &decide(&facts).say, Some(3));
    guest.status = Some(stored(&own, &GuestStatus::default()));
    guest
}

fn written(facts: &Facts) -> OwnStatus {
    after(facts, &decide(facts).say, Some(3))
}

#[test]
fn what_is_seen_is_written_once() {
    let guest = settled_guest();
    let status = guest.status.clone().unwrap();
    assert_eq!((status.provider_id.as_deref(), status.host.as_deref()), (Some("vm-2"), Some("xen1")));
    assert_eq!((status.addresses, status.phase), (vec!["192.0.2.7".to_owned()], Some(Phase::Running)));
    let described = VmStatus { zone: Some("zone-1".into()), vcpus: Some(2), ..VmStatus::default() };
    assert_eq!(status.vm, Some(described), "what the provider does not tell is left out");
    let creation = status.creation.unwrap();
    assert!(creation.seen && creation.started && creation.refused.is_none());
    for seconds in [0, 1, 3600] {
        let again = later(facts(&guest, Sight::Known(running())), seconds);
        assert_eq!(written(&again), OwnStatus::of(&again.subject.status), "nothing new after {seconds} s");
    }
}

#[test]
fn waiting_writes_nothing_new() {
    let mut guest = settled_guest();
    for sight in [Sight::Absent, Sight::NotAsked, Sight::Unknown(trouble(ErrorKind::Unavailable))] {
        let first = facts(&guest, sight.clone());
        let before = guest.status.clone().unwrap();
        guest.status = Some(stored(&written(&first), &before));
        let second = later(facts(&guest, sight), 20);
        assert_eq!(written(&second), OwnStatus::of(&second.subject.status));
    }
}

#[test]
fn what_cannot_be_seen_is_left_as_it_was() {
    let guest = settled_guest();
    for sight in [Sight::NotAsked, Sight::Unknown(trouble(ErrorKind::Unavailable))] {
        let own = written(&facts(&guest, sight));
        assert_eq!((own.host.as_deref(), own.addresses.len(), own.phase), (Some("xen1"), 1, Some(Phase::Unknown)));
        assert!(own.vm.is_some());
        assert_eq!(own.creation.unwrap().missing_since, None);
    }
}

#[test]
fn a_missing_vm_is_missing_since_the_first_look() {
    let mut guest = settled_guest();
    let own = written(&facts(&guest, Sight::Absent));
    assert_eq!((own.host.as_deref(), own.addresses.len(), own.provider_id.as_deref()), (None, 0, Some("vm-2")));
    assert_eq!(own.vm, None);
    guest.status = Some(stored(&own, &GuestStatus::default()));
    let own = written(&later(facts(&guest, Sight::Absent), 30));
    assert_eq!(own.creation.clone().unwrap().missing_since, Some(Time(at(0))));
    guest.status = Some(stored(&own, &GuestStatus::default()));
    let own = written(&later(facts(&guest, Sight::Known(running())), 40));
    assert_eq!(own.creation.unwrap().missing_since, None, "it is back");
}

#[test]
fn an_earlier_vm_is_not_taken_for_the_guests() {
    let guest = with(guest(), None);
    let own = written(&facts(&guest, Sight::Known(earlier(Power::Running))));
    assert_eq!((own.provider_id, own.host, own.creation), (None, None, None));
}

#[test]
fn a_vm_that_never_ran_is_not_said_to_have_run() {
    let ran = |facts: &Facts| written(facts).creation.unwrap().started;
    let on = |sight| facts(&with(guest(), Some(seen())), Sight::Known(sight));
    assert!(!ran(&on(vm(Power::Stopped))) && !ran(&on(incomplete())));
    for power in [Power::Starting, Power::Running, Power::Stopping, Power::Suspended, Power::Paused, Power::Unknown] {
        assert!(ran(&on(vm(power))), "{power}");
    }
    let mut rented = on(vm(Power::Stopped));
    rented.subject.binding.as_mut().unwrap().instance_type = Some("t3.small".into());
    assert!(ran(&rented), "what is rented runs from the call that makes it");
}

#[test]
fn the_record_is_written_before_the_provider_is_asked() {
    let guest = with(guest(), None);
    let facts = facts(&guest, Sight::Absent);
    let own = before_creation(&facts, &decide(&facts).say, Some(3));
    let record = own.creation.unwrap();
    assert_eq!((record.incarnation, record.pool.as_str(), record.asked_at), (2, "xen", Time(at(0))));
    assert!(!record.seen && !record.started && record.refused.is_none());
    let again = with(guest, Some(Creation { seen: true, started: true, ..creation() }));
    let facts = super::super::testing::facts(&again, Sight::Known(incomplete()));
    let record = before_creation(&facts, &decide(&facts).say, Some(3)).creation.unwrap();
    assert!(record.seen && record.started, "what was known stays known");
}

#[test]
fn a_start_is_noted_before_and_an_unanswered_creation_counts_from_its_end() {
    let facts = facts(&with(guest(), Some(seen())), Sight::Known(vm(Power::Stopped)));
    assert!(before_start(&facts, &decide(&facts).say, Some(3)).creation.unwrap().started);
    let own = unanswered(written(&facts), at(600));
    assert_eq!(own.creation.unwrap().asked_at, Time(at(600)));
}

#[test]
fn a_refusal_is_kept_for_a_while_and_excludes_the_pool() {
    let facts = facts(&with(guest(), Some(seen())), Sight::Known(vm(Power::Stopped)));
    let message = "ä".repeat(1000);
    let own = refusing(&facts, &message, &decide(&facts).say, Some(3));
    let refused = own.creation.clone().unwrap().refused.unwrap();
    assert!(refused.len() <= 512 && refused.starts_with("ää"));
    let mut guest = guest();
    guest.status = Some(stored(&own, &GuestStatus::default()));
    let now = super::super::testing::facts(&guest, Sight::Absent);
    // A pool of hosts shows soon enough by its inventory where there is room again.
    assert_eq!(renewed(&now, &decide(&now).say, Some(3)).refusals[0].until.0, at(30));
    guest.spec.binding.as_mut().unwrap().host = None;
    let now = super::super::testing::facts(&guest, Sight::Absent);
    let own = renewed(&now, &decide(&now).say, Some(3));
    assert_eq!((own.incarnation, own.creation.clone(), own.provider_id.clone()), (Some(3), None, None));
    assert_eq!(own.refusals.len(), 1);
    assert_eq!((own.refusals[0].pool.as_str(), own.refusals[0].until.0), ("xen", at(10)));
    // It is there once for each pool, and for no longer than it holds.
    guest.status = Some(stored(&own, &GuestStatus::default()));
    let kept = written(&later(super::super::testing::facts(&guest, Sight::Absent), 9));
    let gone = written(&later(super::super::testing::facts(&guest, Sight::Absent), 10));
    assert_eq!((kept.refusals.len(), gone.refusals.len()), (1, 0));
    guest.status.as_mut().unwrap().creation =
        Some(Creation { incarnation: 3, refused: Some("again".into()), ..creation() });
    let second = later(super::super::testing::facts(&guest, Sight::Absent), 100);
    let own = renewed(&second, &decide(&second).say, Some(3));
    assert_eq!((own.incarnation, own.refusals.len()), (Some(4), 1));
    assert_eq!(own.refusals[0].until.0, at(100) + SignedDuration::from_secs(10));
}

#[test]
fn a_lost_vm_refuses_no_pool() {
    let mut guest = settled_guest();
    guest.status.as_mut().unwrap().creation.as_mut().unwrap().missing_since = Some(Time(at(-300)));
    let facts = facts(&guest, Sight::Absent);
    let own = renewed(&facts, &decide(&facts).say, Some(3));
    assert_eq!((own.incarnation, own.refusals.len(), own.creation), (Some(3), 0, None));
    assert_eq!((own.provider_id, own.host, own.vm, own.addresses.len()), (None, None, None, 0));
}

#[test]
fn a_vm_that_turned_up_after_a_refusal_takes_it_back() {
    let refused = Creation { refused: Some("no room".into()), ..creation() };
    let own = written(&facts(&with(guest(), Some(refused)), Sight::Known(running())));
    assert_eq!(own.creation.unwrap().refused, None);
}

#[test]
fn conditions_of_other_controllers_are_not_ours() {
    let mut guest = settled_guest();
    let status = guest.status.as_mut().unwrap();
    let placed = condition::merge(&[], &[Claim::yes(Kind::Placed, "Placed", "cheapest")], None, at(0));
    status.conditions.extend(placed);
    assert!(OwnStatus::of(status).conditions.iter().all(|c| c.type_ != "Placed"));
    assert_eq!(written(&facts(&guest, Sight::Known(running()))), OwnStatus::of(guest.status.as_ref().unwrap()));
}

#[test]
fn a_vm_that_was_never_finished_is_not_missed() {
    let mut guest = with(guest(), Some(creation()));
    let met = facts(&guest, Sight::Known(incomplete()));
    let own = written(&met);
    assert!(own.creation.as_ref().is_some_and(|creation| !creation.seen && !creation.started), "{own:?}");
    guest.status = Some(stored(&own, &guest.status.clone().unwrap()));
    // Removed by the driver, because its making was cut off: it is made again, and nobody waits for it to come back.
    let gone = facts(&guest, Sight::Absent);
    assert!(matches!(decide(&gone).step, crate::guest::decide::Step::Create(_)));
    assert_eq!(written(&gone).creation.unwrap().missing_since, None);
}

#[test]
fn what_is_better_said_a_moment_later_is_not_written() {
    let mut new = guest();
    (new.spec.binding, new.status) = (None, None);
    let unbound = |second| Facts { place: Place::Unbound, ..later(facts(&new, Sight::NotAsked), second) };
    let waits =
        |second, spoke: Option<i64>| is_early(&unbound(second), Some(at(0)), spoke.map(at)).map(|wait| wait.as_secs());
    assert_eq!(waits(1, None), Some(29), "the scheduler is about to say it all");
    assert_eq!(waits(31, None), None, "and is not waited for for ever");
    assert_eq!(waits(31, Some(20)), Some(19), "it comes to this one too");
    assert_eq!(waits(31, Some(-20)), None, "what it said before says nothing");
    assert_eq!(
        (waits(290, Some(290)), waits(301, Some(300))),
        (Some(10), None),
        "though it speaks of others all the time"
    );

    let being_made = |power: Power, addresses: &[&str], second: i64| {
        let mut guest = with(guest(), Some(creation()));
        guest.status.as_mut().unwrap().phase = Some(Phase::Creating);
        let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        let vm = ObservedGuest { addresses, started_at: Some(at(0)), ..vm(power) };
        is_early(&later(facts(&guest, Sight::Known(vm)), second), Some(at(-60)), None)
    };
    assert_eq!(being_made(Power::Running, &[], 1), Some(Duration::from_secs(1)), "its address is known soon");
    assert_eq!(being_made(Power::Running, &["192.0.2.7"], 1), None);
    assert_eq!(being_made(Power::Running, &[], 2), None);
    assert_eq!(being_made(Power::Running, &[], -5), None, "a clock that is ahead keeps nobody waiting");
    assert_eq!(being_made(Power::Stopped, &[], 1), None);
    assert_eq!(
        is_early(&facts(&settled_guest(), Sight::Known(vm(Power::Running))), None, None),
        None,
        "it is told already"
    );
}

#[test]
fn the_first_start_is_noted_on_the_vm_or_here() {
    let noted = |ever_started, creation| {
        let vm = ObservedGuest { ever_started, ..vm(Power::Stopped) };
        start_is_noted_there(&facts(&with(guest(), creation), Sight::Known(vm)))
    };
    assert!(noted(Some(false), Some(creation())));
    assert!(!noted(None, Some(creation())), "the driver does not note it");
    assert!(!noted(Some(true), Some(creation())), "it is not the first");
    assert!(!noted(Some(false), None), "there is no record of its making");
    for known in [
        Creation { started: true, ..creation() },
        Creation { refused: Some("no room".into()), ..creation() },
        Creation { started_at: Some(Time(at(-5))), ..creation() },
    ] {
        assert!(!noted(Some(false), Some(known)));
    }
    // What is noted there counts, whatever is written here.
    let vm = |started_at, power| ObservedGuest { ever_started: Some(true), started_at, ..vm(power) };
    let seen = |vm| written(&facts(&with(guest(), Some(creation())), Sight::Known(vm))).creation.unwrap();
    assert!(seen(vm(None, Power::Stopped)).started);
    assert_eq!(seen(vm(Some(at(-4)), Power::Running)).started_at, Some(Time(at(-4))));
    assert_eq!(
        seen(vm(Some(at(-400)), Power::Running)).started_at,
        Some(creation().asked_at),
        "before it was asked for"
    );
    assert_eq!(seen(vm(Some(at(60)), Power::Running)).started_at, Some(creation().asked_at), "later than now");
}

#[test]
fn a_write_holds_the_whole_status() {
    let mut guest = settled_guest();
    let status = guest.status.as_mut().unwrap();
    status.conditions = condition::in_order(
        condition::merge(&status.conditions, &[Claim::yes(Kind::Placed, "Placed", "cheapest")], None, at(0))
            .into_iter()
            .chain(status.conditions.clone()),
    );
    status.hourly_cost = serde_json::from_value(serde_json::json!({ "amount": "0.04", "currency": "EUR" })).unwrap();
    let whole = OwnStatus::of(status).onto(status);
    assert_eq!(whole, *status, "what is not ours stays, and nothing moves");
}
