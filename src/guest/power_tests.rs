use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::*;
use crate::{
    api::{
        Guest, GuestStatus,
        care::{Adoption, ManagementPolicy},
        guest::Creation,
        span::Span,
        template::{Shutdown, ShutdownMode},
    },
    guest::{
        decide::{after_failure, decide},
        facts::Sight,
        status::{OwnStatus, after, before_start},
        testing::{at, creation, deleted, facts, guest, later, seen, trouble, vm, wanting, with},
    },
    provider::ErrorKind,
};

/// A guest that runs, last started a hundred seconds ago, and is to be restarted at this second.
fn restarting(at_second: i64) -> Guest {
    let creation = Creation { started: true, started_at: Some(Time(at(-100))), asked_at: Time(at(-200)), ..seen() };
    let mut guest = with(guest(), Some(creation));
    guest.spec.template.restart_at = Some(Time(at(at_second)));
    guest
}

fn on(guest: &Guest, power: Power) -> Facts {
    facts(guest, Sight::Known(vm(power)))
}

fn store(guest: &mut Guest, own: &OwnStatus) {
    let whole = own.clone().onto(&GuestStatus::default());
    guest.status = Some(serde_json::from_value(serde_json::to_value(whole).unwrap()).unwrap());
}

#[test]
fn a_restart_is_remembered_before_the_stop_and_ends_with_the_start() {
    let mut guest = restarting(-5);
    let facts = on(&guest, Power::Running);
    let verdict = decide(&facts);
    assert!(matches!(verdict.step, Step::Stop(..)), "{verdict:?}");
    store(&mut guest, &after(&facts, &verdict.say, None));
    assert_eq!(guest.status.as_ref().unwrap().restart.as_ref().unwrap().at.0, at(-5));
    // We were cut off before the stop, or it is under way.
    assert!(matches!(decide(&on(&guest, Power::Running)).step, Step::Stop(..)));
    seen_through(&on(&guest, Power::Stopping));
    let off = on(&guest, Power::Stopped);
    let verdict = decide(&off);
    assert!(matches!(verdict.step, Step::Start(_)));
    store(&mut guest, &before_start(&off, &verdict.say, None));
    assert_eq!(guest.status.as_ref().unwrap().restart, None);
    assert_eq!(decide(&on(&guest, Power::Running)).step, Step::Rest, "once");
    assert!(matches!(decide(&on(&guest, Power::Stopped)).step, Step::Start(_)), "we were cut off before the start");
}

#[test]
fn a_restart_is_due_once_for_guests_that_were_started_before_it() {
    let due = |guest: &Guest| restart_due(&on(guest, Power::Running).subject, at(0)).is_some();
    assert!(due(&restarting(-5)) && due(&restarting(0)) && due(&restarting(-99)));
    assert!(!due(&restarting(1)), "later");
    assert!(!due(&restarting(-100)) && !due(&restarting(-101)), "it was started since");
    let mut new = restarting(-5);
    new.status.as_mut().unwrap().creation = Some(Creation { asked_at: Time(at(-4)), ..seen() });
    assert!(!due(&new), "it was made since");
    let soon = decide(&on(&restarting(7), Power::Running));
    assert_eq!((soon.step, soon.again), (Step::Rest, Some(Duration::from_secs(7))));
}

#[test]
fn a_start_by_somebody_else_ends_a_restart_by_the_providers_clock_alone() {
    let mut guest = restarting(-5);
    guest.status.as_mut().unwrap().restart =
        Some(RestartStatus { at: Time(at(-5)), was_started_at: Some(Time(at(-90_000))) });
    let started = |second| Sight::Known(ObservedGuest { started_at: Some(at(second)), ..vm(Power::Running) });
    assert!(matches!(decide(&facts(&guest, started(-90_000))).step, Step::Stop(..)), "it is still the same run");
    // The provider's clock is a day behind; what counts is that it shows another start.
    let facts = facts(&guest, started(-89_990));
    let verdict = decide(&facts);
    assert!(verdict.step == Step::Rest && verdict.say.is_ready());
    store(&mut guest, &after(&facts, &verdict.say, None));
    assert_eq!(guest.status.as_ref().unwrap().restart, None);
    assert_eq!(decide(&on(&guest, Power::Running)).step, Step::Rest);
}

#[test]
fn a_restart_that_is_taken_back_is_forgotten() {
    let mut guest = restarting(-5);
    guest.status.as_mut().unwrap().restart = Some(RestartStatus { at: Time(at(-5)), was_started_at: None });
    guest.spec.template.restart_at = None;
    let facts = on(&guest, Power::Running);
    let verdict = decide(&facts);
    assert_eq!(verdict.step, Step::Rest);
    store(&mut guest, &after(&facts, &verdict.say, None));
    assert_eq!(guest.status.unwrap().restart, None);
}

#[test]
fn what_is_off_or_asleep_is_not_restarted() {
    let wanted = |state, power| decide(&on(&wanting(restarting(-5), state), power)).step;
    assert_eq!(wanted(PowerState::Stopped, Power::Stopped), Step::Rest);
    assert_eq!(wanted(PowerState::Suspended, Power::Suspended), Step::Rest);
    assert!(matches!(wanted(PowerState::Stopped, Power::Running), Step::Stop(..)));
}

#[test]
fn a_guest_sleeps_where_its_provider_can_and_says_so_where_not() {
    let guest = wanting(with(guest(), Some(seen())), PowerState::Suspended);
    let facts = on(&guest, Power::Running);
    let step = decide(&facts).step;
    assert!(matches!(step, Step::Suspend(_)));
    assert_eq!(decide(&on(&guest, Power::Suspended)).step, Step::Rest);
    assert_eq!(decide(&on(&guest, Power::Stopped)).step, Step::Rest);
    let say = after_failure(&facts, &step, &trouble(ErrorKind::Invalid));
    assert_eq!(say.claims[0].reason, "SuspendNotPossible");
    let awake = wanting(guest, PowerState::Running);
    assert!(matches!(decide(&on(&awake, Power::Suspended)).step, Step::Start(_)));
}

fn soft(mut guest: Guest) -> Guest {
    let deadline = Some(Span(Duration::from_mins(1)));
    guest.spec.template.shutdown = Some(Shutdown { mode: ShutdownMode::Soft, deadline });
    guest
}

/// A stop that is under way is seen to its end by whoever runs then, once in a run.
fn seen_through(stopping: &Facts) -> StopMode {
    let Step::Stop(_, mode) = decide(stopping).step else { panic!("{:?}", decide(stopping)) };
    let asked = Facts { asked_to_stop: true, ..stopping.clone() };
    let verdict = decide(&asked);
    assert_eq!(verdict.step, Step::Rest);
    assert!(verdict.again.is_some_and(|again| again <= Duration::from_secs(5)), "{verdict:?}");
    mode
}

#[test]
fn a_stop_that_began_before_a_crash_is_seen_to_its_end() {
    let minute = Duration::from_mins(1);
    let guest = soft(wanting(with(guest(), Some(seen())), PowerState::Stopped));
    assert_eq!(seen_through(&on(&guest, Power::Stopping)), StopMode::Soft(minute));
    // Also before it is removed: it has its whole time, and no more.
    let leaving = on(&deleted(guest.clone()), Power::Stopping);
    assert_eq!(seen_through(&leaving), StopMode::TrySoft(minute));
    assert!(matches!(decide(&later(leaving, 59)).step, Step::Erase(_)));
    // What somebody shuts down that is wished to run is not ours to hurry.
    let running = on(&wanting(guest, PowerState::Running), Power::Stopping);
    assert_eq!(decide(&running).step, Step::Rest);
}

#[test]
fn a_soft_shutdown_that_is_refused_leaves_it_on_and_says_so() {
    let guest = soft(wanting(with(guest(), Some(seen())), PowerState::Stopped));
    let facts = on(&guest, Power::Running);
    let step = decide(&facts).step;
    assert!(matches!(step, Step::Stop(_, StopMode::Soft(deadline)) if deadline.as_secs() == 60), "{step:?}");
    let say = after_failure(&facts, &step, &trouble(ErrorKind::Unavailable));
    assert_eq!((say.phase.to_string().as_str(), say.claims[0].reason.as_str()), ("Running", "ShutdownRefused"));
    assert!(matches!(decide(&on(&guest, Power::Suspended)).step, Step::Start(_)), "asleep it cannot be asked");
}

#[test]
fn a_deleted_guest_is_asked_to_shut_down_where_that_is_written_and_not_for_ever() {
    let plain = deleted(with(guest(), Some(seen())));
    assert!(matches!(decide(&on(&plain, Power::Running)).step, Step::Erase(_)));
    let guest = soft(plain);
    let facts = on(&guest, Power::Running);
    // Deleted a second ago.
    let step = decide(&facts).step;
    assert!(matches!(step, Step::Stop(_, StopMode::TrySoft(rest)) if rest.as_secs() == 59), "{step:?}");
    assert!(matches!(decide(&later(facts, 59)).step, Step::Erase(_)));
    assert!(matches!(decide(&on(&guest, Power::Stopped)).step, Step::Erase(_)));
}

#[test]
fn an_adopted_vm_stays_as_it_is_where_nothing_else_is_written() {
    let mut guest = with(guest(), Some(Creation { adopted: true, started: true, ..seen() }));
    guest.spec.adopt = Some(Adoption { ordinal: 0, pool: "xen".into(), provider_id: "vm-2".into() });
    for power in [Power::Running, Power::Stopped, Power::Suspended] {
        let verdict = decide(&on(&guest, power));
        assert!(verdict.step == Step::Rest && verdict.say.is_ready(), "{power}: {verdict:?}");
    }
    let wanted = wanting(guest.clone(), PowerState::Running);
    assert!(matches!(decide(&on(&wanted, Power::Stopped)).step, Step::Start(_)));
    // A restart starts again what it stopped, and nothing else.
    guest.spec.template.restart_at = Some(Time(at(-5)));
    assert_eq!(decide(&on(&guest, Power::Stopped)).step, Step::Rest);
    assert!(matches!(decide(&on(&guest, Power::Running)).step, Step::Stop(..)));
    guest.status.as_mut().unwrap().restart = Some(RestartStatus { at: Time(at(-5)), was_started_at: None });
    assert!(matches!(decide(&on(&guest, Power::Stopped)).step, Step::Start(_)));
}

#[test]
fn without_update_only_what_was_just_made_is_started() {
    let policies = |policies: &[ManagementPolicy]| {
        let mut guest = with(guest(), Some(seen()));
        guest.spec.management_policies = policies.to_vec();
        guest
    };
    let guest = policies(&[ManagementPolicy::Create]);
    assert!(matches!(decide(&on(&guest, Power::Stopped)).step, Step::Start(_)));
    let ran = with(guest, Some(Creation { started: true, ..creation() }));
    let verdict = decide(&on(&ran, Power::Stopped));
    assert_eq!((verdict.step, verdict.say.claims[0].reason.as_str()), (Step::Rest, "Drifted"));
    let verdict = decide(&on(&ran, Power::Running));
    assert!(verdict.step == Step::Rest && verdict.say.is_ready());
}
