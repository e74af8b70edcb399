use aws_sdk_ec2::types::{Tag, VolumeAttachment};

use super::*;
use crate::provider::{Key, ObservedGuest, Stage};

fn wish(disks: &[(&str, u64)]) -> GuestWish {
    let key = Key { guest: "uid".into(), incarnation: 1, namespace: "shop".into(), name: "web-0".into() };
    let disk = |(name, size): &(&str, u64)| Disk { name: (*name).into(), size: Bytes::gib(*size), storage: None };
    GuestWish {
        disks: disks.iter().map(disk).collect(),
        instance_type: Some("m7i.large".into()),
        ..GuestWish::new(key, "ami-1", 2, Bytes::gib(8))
    }
}

fn seen(power: Power) -> Seen {
    let mut guest = ObservedGuest::new(wish(&[]).key, "i-1", Stage::Complete, power);
    guest.instance_type = Some("m7i.large".into());
    let mut seen = Seen::new(guest, 0);
    seen.root_device = Some("/dev/xvda".into());
    seen.disk_names.insert("/dev/sdf".into(), "data".into());
    seen
}

/// A volume: where it is attached, what its own tag says, its size.
fn volume(id: &str, device: Option<&str>, tag: Option<&str>, size: i32, state: VolumeState) -> Volume {
    let attachment = device.map(|device| vec![VolumeAttachment::builder().instance_id("i-1").device(device).build()]);
    let tags = tag.map(|name| vec![Tag::builder().key(convert::DISK).value(name).build()]);
    let volume = Volume::builder().volume_id(id).size(size).state(state);
    volume.set_attachments(attachment).set_tags(tags).build()
}

/// The instance as it shows these volumes; `false`: attached, and to stay behind.
fn showing(volumes: &[(&str, &str, bool)]) -> Seen {
    let mut seen = seen(Power::Running);
    let attached = |(volume, device, goes_along): &(&str, &str, bool)| convert::Attached {
        volume: (*volume).into(),
        device: (*device).into(),
        goes_along: *goes_along,
    };
    seen.volumes = volumes.iter().map(attached).collect();
    seen
}

fn usual() -> Vec<Volume> {
    vec![
        volume("vol-root", Some("/dev/xvda"), None, 8, VolumeState::InUse),
        volume("vol-data", Some("/dev/sdf"), None, 10, VolumeState::InUse),
    ]
}

fn steps(wish: &GuestWish, seen: &Seen, volumes: &[Volume]) -> Vec<Step> {
    outlook(wish, seen, volumes, &BTreeMap::new()).now
}

#[test]
fn as_wished_needs_nothing() {
    let running = seen(Power::Running);
    assert_eq!(outlook(&wish(&[("data", 10)]), &running, &usual(), &BTreeMap::new()), Outlook::default());
    // Nothing is taken away, and nothing shrinks.
    let smaller = GuestWish { root_disk: Some(Bytes::gib(1)), ..wish(&[("data", 5)]) };
    assert_eq!(steps(&smaller, &running, &usual()), []);
    assert_eq!(steps(&wish(&[]), &running, &usual()), []);
}

#[test]
fn disks_grow_once() {
    let wish = GuestWish { root_disk: Some(Bytes(8 * (1 << 30) + 1)), ..wish(&[("data", 20)]) };
    let grow = |volume: &str, disk: &str, gib| Step::Grow { volume: volume.into(), disk: disk.into(), gib };
    let running = seen(Power::Running);
    assert_eq!(steps(&wish, &running, &usual()), [grow("vol-root", "root", 9), grow("vol-data", "data", 20)]);
    let accepted = BTreeMap::from([("vol-root".to_owned(), 9), ("vol-data".to_owned(), 20)]);
    assert_eq!(outlook(&wish, &running, &usual(), &accepted).now, []);
}

#[test]
fn a_new_disk_is_made_then_attached_then_bound() {
    let wish = wish(&[("data", 10), ("logs", 5), ("more", 5)]);
    let running = seen(Power::Running);
    let make = |disk: &str| Step::Make { disk: disk.into(), gib: 5, kind: None };
    assert_eq!(steps(&wish, &running, &usual()), [make("logs"), make("more")]);
    let beside = |first: Volume, second: Volume| [usual(), vec![first, second]].concat();
    let volumes = beside(
        volume("vol-logs", None, Some("logs"), 5, VolumeState::Available),
        volume("vol-more", None, Some("more"), 5, VolumeState::Available),
    );
    let attach = |volume: &str, disk: &str, device: &str| Step::Attach {
        volume: volume.into(),
        disk: disk.into(),
        device: device.into(),
    };
    let expected = [attach("vol-logs", "logs", "/dev/sdg"), attach("vol-more", "more", "/dev/sdh")];
    assert_eq!(steps(&wish, &running, &volumes), expected);
    let volumes = beside(
        volume("vol-logs", Some("/dev/sdg"), Some("logs"), 5, VolumeState::InUse),
        volume("vol-more", None, Some("more"), 5, VolumeState::Creating),
    );
    let wait = |disk: &str, state: &str| Step::Wait { disk: disk.into(), state: state.into() };
    assert_eq!(steps(&wish, &running, &volumes), [wait("logs", "attaching"), wait("more", "creating")]);
    let attached = showing(&[("vol-logs", "/dev/sdg", false)]);
    let bind = Step::Bind { device: "/dev/sdg".into() };
    assert_eq!(steps(&wish, &attached, &volumes), [bind, wait("more", "creating")]);
    let bound = showing(&[("vol-logs", "/dev/sdg", true)]);
    assert_eq!(steps(&wish, &bound, &volumes), [wait("more", "creating")]);
}

#[test]
fn of_two_volumes_for_one_disk_the_attached_one_counts() {
    let mut volumes = usual();
    volumes.push(volume("vol-a", None, Some("logs"), 5, VolumeState::Available));
    volumes.push(volume("vol-b", Some("/dev/sdg"), Some("logs"), 7, VolumeState::InUse));
    let wish = wish(&[("logs", 7)]);
    assert_eq!(steps(&wish, &showing(&[("vol-b", "/dev/sdg", true)]), &volumes), []);
}

#[test]
fn the_type_changes_only_while_it_is_off() {
    let wish = GuestWish { instance_type: Some("m7i.xlarge".into()), ..wish(&[]) };
    let running = outlook(&wish, &seen(Power::Running), &usual(), &BTreeMap::new());
    assert_eq!(running.now, []);
    assert!(running.later.unwrap().contains("m7i.xlarge"));
    let off = outlook(&wish, &seen(Power::Stopped), &usual(), &BTreeMap::new());
    assert_eq!(off, Outlook { now: vec![Step::Resize { to: "m7i.xlarge".into() }], later: None });
}

#[test]
fn protection_follows_the_wish_and_leaves_what_others_set() {
    for (wished, tag, expected) in [
        (true, None, Some(Step::Protect)),
        (true, Some(convert::SETTING), Some(Step::Protect)),
        (true, Some(SET), None),
        (false, None, None),
        (false, Some(SET), Some(Step::Unprotect)),
        (false, Some(convert::SETTING), Some(Step::Unprotect)),
    ] {
        let wish = GuestWish { protected: wished, ..wish(&[]) };
        let mut seen = seen(Power::Running);
        seen.protection = tag.map(str::to_owned);
        assert_eq!(steps(&wish, &seen, &usual()), Vec::from_iter(expected), "{wished} {tag:?}");
    }
}

#[test]
fn devices_skip_what_the_image_has() {
    assert_eq!(devices(&["/dev/sda1", "/dev/xvdf"]).take(2).collect::<Vec<_>>(), ["/dev/sdg", "/dev/sdh"]);
    assert_eq!(devices(&[]).count(), 21, "more than the twelve disks that a guest may have");
}
