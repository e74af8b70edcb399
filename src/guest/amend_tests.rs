use super::*;
use crate::{
    api::{
        Guest,
        care::{Hold, ManagementPolicy},
        condition::Status,
        guest::Creation,
        quantity::Bytes,
    },
    guest::{
        decide::{after_failure, decide},
        facts::{Place, Sight},
        testing::{SETTLING, deleted, facts, guest, later, seen, trouble, vm, wanting, wish, with},
    },
    provider::{Disk, ErrorKind},
};

const GIB: u64 = 1 << 30;

fn settled() -> Guest {
    with(guest(), Some(Creation { started: true, ..seen() }))
}

/// The guest is to have four processors; its VM has two.
fn grown(guest: &Guest, power: Power) -> Facts {
    let wish = Ok(GuestWish { vcpus: 4, ..wish(2) });
    let place = Place::Open { pool: "xen".into(), wish, settling: SETTLING };
    Facts { place, ..facts(guest, Sight::Known(vm(power))) }
}

fn resized(say: &Say) -> Option<(Status, &str)> {
    let claim = say.claims.iter().find(|claim| claim.kind == Kind::Resized)?;
    Some((claim.status, claim.reason.as_str()))
}

fn disk(name: &str, gib: u64) -> ObservedDisk {
    ObservedDisk { name: Some(name.into()), size: Bytes(gib * GIB) }
}

#[test]
fn what_differs_is_said_and_what_is_not_told_does_not_differ() {
    let disks = vec![Disk { name: "data".into(), size: Bytes(20 * GIB), storage: None }];
    let wish = GuestWish { root_disk: Some(Bytes(10 * GIB)), disks, ..wish(2) };
    let blind = ObservedGuest { vcpus: None, memory: None, ..vm(Power::Running) };
    assert_eq!(drift(&wish, &blind), Vec::<String>::new());
    let seen = |disks| ObservedGuest { vcpus: Some(2), memory: Some(Bytes(4 * GIB)), disks, ..vm(Power::Running) };
    assert!(drift(&wish, &seen(vec![disk("root", 10), disk("data", 20)])).is_empty());
    assert!(drift(&wish, &seen(vec![disk("root", 11), disk("data", 21)])).is_empty(), "nothing shrinks");
    let all = drift(&wish, &ObservedGuest { vcpus: Some(1), memory: Some(Bytes(GIB)), ..seen(vec![disk("root", 5)]) });
    assert_eq!(all.len(), 4, "{all:?}");
    // What is rented has the size of its type.
    let rented = GuestWish { instance_type: Some("t3.large".into()), ..wish };
    let small = ObservedGuest { instance_type: Some("t3.small".into()), vcpus: Some(9), ..blind };
    assert_eq!(drift(&rented, &small), ["its type is t3.small, not t3.large"]);
}

#[test]
fn a_running_guest_is_changed_and_what_cannot_be_done_waits_for_the_next_stop() {
    let mut guest = settled();
    let facts = grown(&guest, Power::Running);
    let verdict = decide(&facts);
    let Step::Amend(wish) = &verdict.step else { panic!("{verdict:?}") };
    assert_eq!((wish.vcpus, resized(&verdict.say)), (4, Some((Status::False, "Resizing"))));
    guest.status.as_mut().unwrap().resize = Some(when_off(&facts, wish, "xapi adds no processors to a running VM"));
    let verdict = decide(&grown(&guest, Power::Running));
    assert_eq!((&verdict.step, resized(&verdict.say)), (&Step::Rest, Some((Status::False, "RestartNeeded"))));
    assert!(verdict.say.is_ready());
    // Another wish is another matter, and so is a VM that is off.
    guest.status.as_mut().unwrap().resize.as_mut().unwrap().asked = "3 vCPU, 4Gi".into();
    assert!(matches!(decide(&grown(&guest, Power::Running)).step, Step::Amend(_)));
    assert!(matches!(decide(&grown(&guest, Power::Stopped)).step, Step::Amend(_)), "before it is started");
    let stopped = wanting(guest, PowerState::Stopped);
    assert!(matches!(decide(&grown(&stopped, Power::Running)).step, Step::Stop(..)), "off first");
    assert!(matches!(decide(&grown(&stopped, Power::Stopped)).step, Step::Amend(_)));
}

#[test]
fn a_change_that_is_refused_keeps_no_guest_from_running() {
    let mut guest = settled();
    for power in [Power::Running, Power::Stopped] {
        let facts = grown(&guest, power);
        let step = decide(&facts).step;
        let say = after_failure(&facts, &step, &trouble(ErrorKind::Capacity));
        assert_eq!((say.is_ready(), resized(&say)), (power == Power::Running, Some((Status::False, "ResizeRefused"))));
        let Note::Set(resize) = say.notes.resize else { panic!("nothing is remembered") };
        guest.status.as_mut().unwrap().resize = Some(resize);
        let next = grown(&guest, power);
        let verdict = decide(&next);
        assert!(matches!((power, &verdict.step), (Power::Running, Step::Rest) | (Power::Stopped, Step::Start(_))));
        assert!(matches!(decide(&later(next, 300)).step, Step::Amend(_)), "it is asked for again");
        guest.status.as_mut().unwrap().resize = None;
    }
}

#[test]
fn holds_switch_protection_on_and_only_ours_is_switched_off() {
    let mut guest = settled();
    let seen = |guest: &Guest, protected| {
        let vm = ObservedGuest { protected: Some(protected), ..vm(Power::Running) };
        decide(&facts(guest, Sight::Known(vm))).step
    };
    assert_eq!(seen(&guest, true), Step::Rest, "somebody else's protection stays");
    guest.status.as_mut().unwrap().protected = true;
    assert!(matches!(seen(&guest, true), Step::Amend(wish) if !wish.protected));
    guest.spec.holds = vec![Hold { name: "case-42".into(), reason: None }];
    assert_eq!(seen(&guest, true), Step::Rest);
    assert!(matches!(seen(&guest, false), Step::Amend(wish) if wish.protected));
    let mut leaving = deleted(guest);
    assert_eq!(seen(&leaving, true), Step::Rest, "held");
    leaving.spec.holds.clear();
    assert!(matches!(seen(&leaving, true), Step::Amend(wish) if !wish.protected));
    leaving.status.as_mut().unwrap().protected = false;
    assert!(matches!(seen(&leaving, true), Step::Erase(_)), "the provider refuses that, and says why");
}

#[test]
fn where_the_operator_may_only_look_it_says_what_differs() {
    let mut guest = settled();
    guest.spec.management_policies = vec![ManagementPolicy::Observe];
    let verdict = decide(&grown(&guest, Power::Running));
    assert!(verdict.step == Step::Rest && verdict.say.is_ready());
    let claim = verdict.say.claims.iter().find(|claim| claim.kind == Kind::InSync).unwrap();
    assert_eq!((claim.status, claim.reason.as_str()), (Status::False, "Drifted"));
    assert!(claim.message.contains("2 vCPU, not 4"), "{}", claim.message);
    let verdict = decide(&grown(&guest, Power::Stopped));
    assert!(verdict.step == Step::Rest && !verdict.say.is_ready());
}

#[test]
fn a_rented_guest_that_outgrows_its_type_says_so() {
    let mut guest = settled();
    guest.spec.binding.as_mut().unwrap().instance_type = Some("t3.small".into());
    let said = |vcpus| {
        let type_size = Some(crate::api::template::Size { vcpus, memory: Bytes(4 * GIB) });
        let facts = Facts { type_size, ..facts(&guest, Sight::Known(vm(Power::Running))) };
        let say = decide(&facts).say;
        (say.is_ready(), resized(&say).map(|(_, reason)| reason.to_owned()))
    };
    assert_eq!(said(2), (true, None));
    assert_eq!(said(1), (true, Some("TypeTooSmall".to_owned())));
}
