use serde_json::{Value, json};

use super::*;

fn owner() -> Owner {
    Owner("cluster-1".into())
}

fn key_of(guest: &str) -> Key {
    Key { guest: guest.into(), incarnation: 3, namespace: "shop".into(), name: "web-0".into() }
}

fn server(status: &str, more: &Value) -> Server {
    let mut server = json!({
        "id": "s-1", "status": status, "metadata": marks(&owner(), &key_of("uid-1")),
        "created": "2026-11-25T17:00:00Z", "hostId": "7498aec9efd5cd26f71503eefffb7a4eca0b910d95d4433eb136512f", "locked": false, "locked_reason": null,
        "flavor": { "original_name": "m1.small", "vcpus": 1, "ram": 2048, "disk": 20 },
        "addresses": { "frontend": [{ "addr": "10.20.0.5" }, { "addr": "fd00::5" }], "back": [{ "addr": "10.30.0.5" }] },
        "OS-EXT-STS:task_state": null, "OS-EXT-STS:power_state": 1, "OS-EXT-AZ:availability_zone": "zone-1",
        "OS-SRV-USG:launched_at": "2026-11-25T17:00:03.000000",
    });
    for (name, value) in more.as_object().unwrap() {
        server[name] = value.clone();
    }
    serde_json::from_value(server).unwrap()
}

#[test]
fn a_server_shows_what_the_guest_is() {
    let seen = ours(&owner(), &server("ACTIVE", &json!({}))).unwrap();
    let guest = &seen.guest;
    assert_eq!((&guest.key, guest.provider_id.as_str()), (&key_of("uid-1"), "s-1"));
    assert_eq!((guest.power, guest.stage, guest.busy), (Power::Running, Stage::Complete, false));
    assert_eq!((guest.vcpus, guest.memory), (Some(1), Some(Bytes::gib(2))));
    assert_eq!((guest.instance_type.as_deref(), guest.host.as_deref()), (Some("m1.small"), Some("7498aec9efd5")));
    assert_eq!(guest.disks, [ObservedDisk { name: Some("root".into()), size: Bytes::gib(20) }]);
    assert_eq!(guest.started_at, Some("2026-11-25T17:00:03Z".parse().unwrap()));
    let addresses: Vec<_> = guest.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["10.30.0.5", "10.20.0.5", "fd00::5"]);
    assert_eq!(seen.guest.zone.as_deref(), Some("zone-1"));
}

#[test]
fn only_what_carries_all_marks_and_is_no_copy_is_ours() {
    let all = marks(&owner(), &key_of("uid-1"));
    assert!(ours(&Owner("cluster-2".into()), &server("ACTIVE", &json!({}))).is_none());
    for mark in all.keys() {
        let mut fewer = all.clone();
        fewer.remove(mark);
        assert!(ours(&owner(), &server("ACTIVE", &json!({ "metadata": fewer }))).is_none(), "{mark}");
    }
    for (own, expected) in [("s-1", true), ("s-2", false)] {
        let mut marked = all.clone();
        marked.insert(SELF.into(), own.into());
        let seen = ours(&owner(), &server("ACTIVE", &json!({ "metadata": marked })));
        assert_eq!(seen.map(|seen| seen.marked), expected.then_some(true), "{own}");
    }
}

#[test]
fn states_of_nova() {
    let states: [(&str, Option<&str>, u32, Power, bool); 19] = [
        ("BUILD", Some("scheduling"), 0, Power::Starting, true),
        ("BUILD", None, 0, Power::Starting, true),
        ("ACTIVE", None, 1, Power::Running, false),
        ("ACTIVE", Some("powering-off"), 1, Power::Stopping, true),
        ("ACTIVE", Some("deleting"), 1, Power::Terminating, true),
        ("ACTIVE", Some("image_snapshot"), 1, Power::Running, true),
        ("SHUTOFF", None, 4, Power::Stopped, false),
        ("SHUTOFF", Some("powering-on"), 4, Power::Starting, true),
        ("SUSPENDED", None, 4, Power::Suspended, false),
        ("SUSPENDED", Some("resuming"), 4, Power::Starting, true),
        ("PAUSED", None, 3, Power::Paused, false),
        ("SHELVED_OFFLOADED", None, 4, Power::Stopped, false),
        ("RESIZE", Some("resize_prep"), 4, Power::Stopped, true),
        ("VERIFY_RESIZE", None, 1, Power::Running, false),
        ("VERIFY_RESIZE", None, 4, Power::Stopped, false),
        ("MIGRATING", Some("migrating"), 1, Power::Running, true),
        ("SOFT_DELETED", None, 4, Power::Terminated, false),
        ("ERROR", None, 1, Power::Unknown, false),
        ("UNKNOWN", None, 0, Power::Unknown, false),
    ];
    for (status, task, hypervisor, power, busy) in states {
        let more = json!({ "OS-EXT-STS:task_state": task, "OS-EXT-STS:power_state": hypervisor });
        let seen = ours(&owner(), &server(status, &more)).unwrap();
        assert_eq!((seen.guest.power, seen.guest.busy), (power, busy), "{status} {task:?}");
        assert_eq!((seen.guest.stage, seen.stillborn), (Stage::Complete, false), "{status}");
    }
}

#[test]
fn what_failed_before_it_ran_is_no_vm_yet() {
    let fault = json!({ "code": 500, "message": "No valid host was found." });
    let seen = ours(&owner(), &server("ERROR", &json!({ "OS-SRV-USG:launched_at": null, "fault": fault }))).unwrap();
    assert_eq!((seen.guest.stage, seen.guest.power), (Stage::Incomplete, Power::Stopped));
    assert!(seen.stillborn && seen.fault.is_some());
    let whole = ours(&owner(), &server("ACTIVE", &json!({}))).unwrap();
    assert!(seen.made() > whole.made(), "the one that can run is the guest's VM");
}

#[test]
fn a_lock_is_ours_by_its_reason() {
    for (locked, reason, held) in [(true, Some(HELD), true), (true, Some("by hand"), false), (false, None, false)] {
        let seen = ours(&owner(), &server("ACTIVE", &json!({ "locked": locked, "locked_reason": reason }))).unwrap();
        assert_eq!((seen.held, seen.guest.protected), (held, Some(held)));
    }
}

#[test]
fn names_fit_whatever_they_are_made_of() {
    let uid = "0f0b2ee8-9a3c-4a4d-8c1e-3f6f0d3b7a11";
    assert_eq!(guest_tag(uid), format!("innkeeper-guest-{uid}"));
    for odd in ["", "a/b,c", &"x".repeat(200)] {
        for name in [guest_tag(odd), owner_tag(&Owner(odd.into())), lease_name(&Owner(odd.into()), odd)] {
            assert!(name.len() <= 60 && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'), "{name}");
        }
    }
    assert_ne!(guest_tag("a/b"), guest_tag("a/c"));
    assert_ne!(lease_name(&owner(), uid), lease_name(&Owner("cluster-2".into()), uid));
    assert_ne!(lease_name(&Owner("ab".into()), "c"), lease_name(&Owner("a".into()), "bc"));
}
