//! What has to be done so that an instance is as it is wished. Pure.

use super::{
    convert::Seen,
    identity, launch,
    wire::{Disk, last},
};
use crate::provider::{GuestWish, Owner, Power};

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Make a disk larger.
    Grow { disk: String, gib: u64 },
    /// Make a disk for a wish that has none. It is attached when it is there.
    Make { name: String, gib: u64, kind: String },
    /// Attach a disk of the guest's.
    Attach { disk: String, device: String },
    /// A disk is between two states.
    Wait { disk: String, state: String },
    /// Change the type. Only while the instance is off.
    Resize { to: String },
    /// Have Google refuse its deletion.
    Protect,
    /// Have Google refuse it no longer.
    Unprotect,
}

/// What has to be done, and what cannot be done as the instance is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Outlook {
    pub now: Vec<Step>,
    /// Why it has to be off.
    pub later: Option<String>,
}

/// Compares an instance and the guest's disks, whether attached or not, with what is wished.
pub(super) fn outlook(owner: &Owner, wish: &GuestWish, seen: &Seen, disks: &[Disk]) -> Outlook {
    let mut outlook = Outlook::default();
    match (wish.protected, seen.is_protected) {
        // What somebody else switched on carries no label of ours, and stays.
        (true, false) => outlook.now.push(Step::Protect),
        (false, _) if seen.protected_by_us() => outlook.now.push(Step::Unprotect),
        _ => {}
    }
    root(wish, seen, &mut outlook);
    for disk in &wish.disks {
        further(owner, wish, seen, disks, disk, &mut outlook);
    }
    match wish.instance_type.as_ref().filter(|wished| seen.guest.instance_type.as_ref() != Some(wished)) {
        Some(wished) if seen.guest.power == Power::Stopped => outlook.now.push(Step::Resize { to: wished.clone() }),
        Some(wished) => {
            outlook.later =
                Some(format!("Google changes the type of an instance, here to {wished}, only while it is off"));
        }
        None => {}
    }
    outlook
}

fn root(wish: &GuestWish, seen: &Seen, outlook: &mut Outlook) {
    let Some(wished) = wish.root_disk.map(launch::gib) else { return };
    let Some(boot) = seen.disks.iter().find(|disk| disk.boot) else { return };
    if boot.disk_size_gb.parse().is_ok_and(|size: u64| size < wished) {
        outlook.now.push(Step::Grow { disk: last(&boot.source).to_owned(), gib: wished });
    }
}

fn further(
    owner: &Owner,
    wish: &GuestWish,
    seen: &Seen,
    disks: &[Disk],
    wished: &crate::provider::Disk,
    outlook: &mut Outlook,
) {
    let (name, gib) = (identity::disk_name(owner, &wish.key, &wished.name), launch::gib(wished.size));
    // The name is made from the guest and the disk: there cannot be two.
    let Some(disk) = disks.iter().find(|disk| disk.name == name && last(&disk.zone) == seen.zone) else {
        let usual = || launch::disk_type(seen.guest.instance_type.as_deref().unwrap_or_default()).to_owned();
        let kind = wished.storage.clone().unwrap_or_else(usual);
        outlook.now.push(Step::Make { name: wished.name.clone(), gib, kind });
        return;
    };
    if disk.status != "READY" {
        outlook.now.push(Step::Wait { disk: name, state: disk.status.to_lowercase() });
        return;
    }
    if disk.size_gb.parse().is_ok_and(|size: u64| size < gib) {
        outlook.now.push(Step::Grow { disk: name.clone(), gib });
    }
    let is_attached = seen.disks.iter().any(|attached| last(&attached.source) == name);
    if !is_attached && disk.users.is_empty() {
        outlook.now.push(Step::Attach { disk: name, device: identity::device_name(&wished.name) });
    } else if !is_attached {
        // To somebody else's, or to this one and its list does not show it yet.
        outlook.now.push(Step::Wait { disk: name, state: "in use".to_owned() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::quantity::Bytes,
        provider::{
            Key, ObservedGuest, Stage,
            gce::wire::{AttachedDisk, Labels},
        },
    };

    fn owner() -> Owner {
        Owner("own".into())
    }

    fn wish(disks: &[(&str, u64)]) -> GuestWish {
        let key = Key { guest: "uid".into(), incarnation: 1, namespace: "shop".into(), name: "web-0".into() };
        let disk = |(name, gib): &(&str, u64)| crate::provider::Disk {
            name: (*name).into(),
            size: Bytes::gib(*gib),
            storage: None,
        };
        GuestWish { disks: disks.iter().map(disk).collect(), ..GuestWish::new(key, "image", 2, Bytes::gib(2)) }
    }

    fn seen(power: Power, attached: &[&str]) -> Seen {
        let attach = |source: &&str| AttachedDisk { source: format!("x/disks/{source}"), ..AttachedDisk::default() };
        let boot = AttachedDisk {
            boot: true,
            disk_size_gb: "10".into(),
            source: "x/disks/boot".into(),
            ..AttachedDisk::default()
        };
        Seen {
            guest: ObservedGuest {
                instance_type: Some("e2-small".into()),
                ..ObservedGuest::new(wish(&[]).key, "z/n", Stage::Complete, power)
            },
            made: 0,
            zone: "z".into(),
            name: "n".into(),
            labels: Labels::new(),
            label_fingerprint: String::new(),
            disks: std::iter::once(boot).chain(attached.iter().map(attach)).collect(),
            is_protected: false,
        }
    }

    fn disk(name: &str, size: &str, status: &str, users: usize) -> Disk {
        Disk {
            name: name.into(),
            zone: "x/zones/z".into(),
            size_gb: size.into(),
            status: status.into(),
            users: vec!["u".into(); users],
            ..Disk::default()
        }
    }

    fn now(wish: &GuestWish, seen: &Seen, disks: &[Disk]) -> Vec<Step> {
        outlook(&owner(), wish, seen, disks).now
    }

    #[test]
    fn disks_are_made_attached_and_grown_one_after_the_other() {
        let (wished, running) = (wish(&[("data", 2)]), seen(Power::Running, &[]));
        let name = identity::disk_name(&owner(), &wished.key, "data");
        let make = Step::Make { name: "data".into(), gib: 2, kind: "pd-balanced".into() };
        assert_eq!(now(&wished, &running, &[]), [make]);
        assert!(matches!(now(&wished, &running, &[disk(&name, "2", "CREATING", 0)])[..], [Step::Wait { .. }]));
        let attach = Step::Attach { disk: name.clone(), device: "innkeeper-data".into() };
        assert_eq!(now(&wished, &running, &[disk(&name, "2", "READY", 0)]), [attach]);
        let attached = seen(Power::Running, &[&name]);
        assert_eq!(now(&wished, &attached, &[disk(&name, "2", "READY", 1)]), []);
        let grow = Step::Grow { disk: name.clone(), gib: 3 };
        assert_eq!(now(&wish(&[("data", 3)]), &attached, &[disk(&name, "2", "READY", 1)]), [grow]);
        assert_eq!(now(&wish(&[("data", 1)]), &attached, &[disk(&name, "2", "READY", 1)]), [], "none is shrunk");
    }

    #[test]
    fn the_root_grows_and_the_type_waits_until_it_is_off() {
        let wished =
            GuestWish { root_disk: Some(Bytes::gib(11)), instance_type: Some("e2-medium".into()), ..wish(&[]) };
        let found = outlook(&owner(), &wished, &seen(Power::Running, &[]), &[]);
        assert_eq!(found.now, [Step::Grow { disk: "boot".into(), gib: 11 }]);
        assert!(found.later.unwrap().contains("e2-medium"));
        let off = outlook(&owner(), &wished, &seen(Power::Stopped, &[]), &[]);
        assert_eq!((off.now.last(), off.later), (Some(&Step::Resize { to: "e2-medium".into() }), None));
    }

    #[test]
    fn only_our_own_protection_is_taken_back() {
        let held = GuestWish { protected: true, ..wish(&[]) };
        let plain = seen(Power::Running, &[]);
        let theirs = Seen { is_protected: true, ..plain.clone() };
        let ours = Seen { labels: Labels::from([(identity::PROTECTED.into(), "yes".into())]), ..theirs.clone() };
        assert_eq!(now(&held, &plain, &[]), [Step::Protect]);
        assert_eq!(now(&held, &theirs, &[]), []);
        assert_eq!(now(&wish(&[]), &theirs, &[]), []);
        assert_eq!(now(&wish(&[]), &ours, &[]), [Step::Unprotect]);
        // We were cut off between the label and the protection.
        assert_eq!(now(&wish(&[]), &Seen { is_protected: false, ..ours }, &[]), [Step::Unprotect]);
    }
}
