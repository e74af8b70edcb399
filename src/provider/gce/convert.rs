//! From Google's instances to guests. Pure.

use std::net::IpAddr;

use jiff::Timestamp;

use super::{
    identity::{self, ROOT},
    wire::{AttachedDisk, Instance, Labels, last},
};
use crate::{
    api::quantity::Bytes,
    provider::{Key, ObservedDisk, ObservedGuest, Owner, Power, Stage, rented::snapshot::Rented},
};

/// An instance of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// What it shows.
    pub guest: ObservedGuest,
    /// When it was made, in milliseconds since 1970.
    pub made: i64,
    pub zone: String,
    pub name: String,
    pub labels: Labels,
    pub label_fingerprint: String,
    pub disks: Vec<AttachedDisk>,
    /// Google refuses to delete it, whoever asked for that.
    pub is_protected: bool,
}

impl Rented for Seen {
    fn guest(&self) -> &ObservedGuest {
        &self.guest
    }

    fn made(&self) -> i64 {
        self.made
    }
}

impl Seen {
    /// The same instance in another state.
    pub(super) fn with_power(&self, power: Power) -> Self {
        let mut seen = self.clone();
        seen.guest.power = power;
        seen.guest.busy = is_moving(power);
        seen
    }

    /// Its protection is ours: we switched it on, or were about to.
    pub(super) fn protected_by_us(&self) -> bool {
        self.labels.contains_key(identity::PROTECTED)
    }

    /// Its path below the project.
    pub(super) fn path(&self) -> String {
        format!("zones/{}/instances/{}", self.zone, self.name)
    }
}

/// The id of an instance: unique in the project, and what `gcloud` wants to know.
pub(super) fn provider_id(zone: &str, name: &str) -> String {
    format!("{zone}/{name}")
}

/// The instance as one of ours. `None` where it is foreign: labels missing, or copied along.
pub(super) fn ours(owner: &Owner, instance: &Instance) -> Option<Seen> {
    let key = identity::key(owner, &instance.labels)?;
    let zone = last(&instance.zone);
    if !identity::is_itself(owner, &key, &instance.labels, zone, &instance.name, &instance.id) {
        tracing::warn!(instance = instance.name, zone, guest = %key, "an instance carries our labels and is a copy: ignored");
        return None;
    }
    Some(seen(key, instance))
}

/// The instance as the VM of this guest.
pub(super) fn seen(key: Key, instance: &Instance) -> Seen {
    let (zone, power) = (last(&instance.zone).to_owned(), power(&instance.status));
    let guest = ObservedGuest {
        zone: Some(zone.clone()).filter(|zone| !zone.is_empty()),
        instance_type: Some(last(&instance.machine_type).to_owned()).filter(|kind| !kind.is_empty()),
        disks: disks(instance),
        protected: Some(instance.deletion_protection),
        started_at: instance.last_start_timestamp.as_deref().and_then(|text| text.parse().ok()),
        addresses: addresses(instance),
        busy: is_moving(power),
        // An insertion makes all of it or nothing.
        ..ObservedGuest::new(key, provider_id(&zone, &instance.name), Stage::Complete, power)
    };
    let made = instance.creation_timestamp.parse::<Timestamp>();
    Seen {
        guest,
        made: made.map_or(i64::MAX, Timestamp::as_millisecond),
        zone,
        name: instance.name.clone(),
        labels: instance.labels.clone(),
        label_fingerprint: instance.label_fingerprint.clone(),
        disks: instance.disks.clone(),
        is_protected: instance.deletion_protection,
    }
}

/// What a status of Google's means. `TERMINATED` is stopped: what is deleted is not shown any more.
pub(super) fn power(status: &str) -> Power {
    match status {
        "PENDING" | "PROVISIONING" | "STAGING" => Power::Starting,
        "RUNNING" => Power::Running,
        "PENDING_STOP" | "STOPPING" | "SUSPENDING" => Power::Stopping,
        "TERMINATED" | "STOPPED" => Power::Stopped,
        "SUSPENDED" => Power::Suspended,
        "DEPROVISIONING" => Power::Terminating,
        // REPAIRING: its host failed, and Google starts it elsewhere.
        _ => Power::Unknown,
    }
}

pub(super) const fn is_moving(power: Power) -> bool {
    matches!(power, Power::Starting | Power::Stopping | Power::Terminating)
}

fn disks(instance: &Instance) -> Vec<ObservedDisk> {
    let disk = |disk: &AttachedDisk| {
        let name = if disk.boot { Some(ROOT) } else { identity::disk_at(&disk.device_name) };
        Some(ObservedDisk { name: name.map(str::to_owned), size: Bytes::gib(disk.disk_size_gb.parse().ok()?) })
    };
    instance.disks.iter().filter_map(disk).collect()
}

/// Private addresses first, in the order of the cards, then public ones; each once.
fn addresses(instance: &Instance) -> Vec<IpAddr> {
    let cards = &instance.network_interfaces;
    let private = cards.iter().flat_map(|card| [card.network_ip.as_deref(), card.ipv6_address.as_deref()]).flatten();
    let public = cards.iter().flat_map(|card| &card.access_configs).filter_map(|config| config.nat_ip.as_deref());
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in private.chain(public).filter_map(|text| text.parse().ok()) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

/// A VM that was made and is not there any more.
pub(super) fn terminated(key: Key, zone: &str, name: &str) -> ObservedGuest {
    ObservedGuest::new(key, provider_id(zone, name), Stage::Complete, Power::Terminated)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_mean() {
        for (status, expected) in [
            ("PROVISIONING", Power::Starting),
            ("STAGING", Power::Starting),
            ("RUNNING", Power::Running),
            ("STOPPING", Power::Stopping),
            ("TERMINATED", Power::Stopped),
            ("SUSPENDED", Power::Suspended),
            ("REPAIRING", Power::Unknown),
            ("SOMETHING_NEW", Power::Unknown),
        ] {
            assert_eq!(power(status), expected, "{status}");
        }
    }

    #[test]
    fn an_instance_is_read() {
        let owner = Owner("own".into());
        let key = Key { guest: "uid".into(), incarnation: 1, namespace: "shop".into(), name: "web-0".into() };
        let name = identity::instance_name(&owner, &key);
        let text = serde_json::json!({
            "id": "77", "name": name, "zone": "https://x/projects/p/zones/europe-west1-b", "status": "RUNNING",
            "machineType": "https://x/machineTypes/e2-small", "creationTimestamp": "2026-11-25T05:00:00.000-08:00",
            "lastStartTimestamp": "2026-11-25T05:00:03.000-08:00", "labelFingerprint": "f=",
            "labels": identity::labels(&owner, &key, "europe-west1-b"),
            "disks": [
                { "boot": true, "deviceName": "whatever", "diskSizeGb": "10" },
                { "deviceName": "innkeeper-data", "diskSizeGb": "2" },
                { "deviceName": "theirs", "diskSizeGb": "3" },
            ],
            "networkInterfaces": [{ "networkIP": "10.0.0.2", "accessConfigs": [{ "natIP": "192.0.2.9" }] }],
        });
        let instance: Instance = serde_json::from_value(text).unwrap();
        let seen = ours(&owner, &instance).unwrap();
        assert_eq!(seen.guest.provider_id, format!("europe-west1-b/{name}"));
        assert_eq!((seen.guest.power, seen.guest.instance_type.as_deref()), (Power::Running, Some("e2-small")));
        assert_eq!(seen.guest.zone.as_deref(), Some("europe-west1-b"));
        let disks: Vec<_> = seen.guest.disks.iter().map(|disk| (disk.name.as_deref(), disk.size.0 >> 30)).collect();
        assert_eq!(disks, [(Some("root"), 10), (Some("data"), 2), (None, 3)]);
        assert_eq!(seen.guest.addresses.len(), 2);
        assert_eq!(seen.guest.started_at.unwrap().to_string(), "2026-11-25T13:00:03Z");
        assert!(ours(&owner, &Instance { name: "copy".into(), ..instance }).is_none());
    }
}
