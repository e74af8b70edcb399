//! From Nova's servers to guests, and from keys to marks. Pure.

use std::{collections::BTreeMap, net::IpAddr};

use jiff::Timestamp;
use uuid::Uuid;

use super::wire::{Server, ServerFault};
use crate::{
    api::quantity::Bytes,
    provider::{Key, ObservedDisk, ObservedGuest, Owner, Power, Stage, rented::snapshot::Rented},
};

/// The metadata that say whose a server is. Nova sets them in the call that creates it.
pub(super) const OWNER: &str = "innkeeper.owner";
const GUEST: &str = "innkeeper.guest";
const INCARNATION: &str = "innkeeper.incarnation";
const NAMESPACE: &str = "innkeeper.namespace";
const NAME: &str = "innkeeper.name";
/// The server's own id, which a copy of it, metadata and all, does not have. Written when the server is there.
pub(super) const SELF: &str = "innkeeper.server";

/// All metadata of ours.
pub(super) const MARKS: [&str; 6] = [OWNER, GUEST, INCARNATION, NAMESPACE, NAME, SELF];

/// Why a server is locked, where it was us who did it.
pub(super) const HELD: &str = "innkeeper: the guest is held";

/// Characters of Nova's `hostId` that stand for a host.
const HOST_LEN: usize = 12;

/// A name space of our own for names made from other names.
const SPACE: Uuid = Uuid::from_u128(0x8f0c_3e5a_6b1d_4c8e_9a27_51d3_7be0_4f16);

/// A server of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// What it shows.
    pub guest: ObservedGuest,
    /// Nova's own name of its state.
    pub status: String,
    /// When it was made, in milliseconds since 1970.
    pub created: i64,
    /// What went wrong with it, where something did.
    pub fault: Option<ServerFault>,
    /// It has failed before it ever ran.
    pub stillborn: bool,
    /// It was locked by us.
    pub held: bool,
    /// It carries its own id.
    pub marked: bool,
    /// Size of the disk of its flavour in GiB.
    pub disk: Option<u64>,
}

impl Rented for Seen {
    fn guest(&self) -> &ObservedGuest {
        &self.guest
    }

    fn made(&self) -> i64 {
        // Of two, one that can run is the guest's VM, whichever was made first.
        if self.stillborn { i64::MAX } else { self.created }
    }
}

impl Seen {
    /// What is known of a server that was just asked for.
    pub(super) fn asked_for(key: Key, id: &str) -> Self {
        let mut guest = ObservedGuest::new(key, id, Stage::Complete, Power::Starting);
        guest.busy = true;
        Self {
            guest,
            status: "BUILD".into(),
            created: i64::MAX - 1,
            fault: None,
            stillborn: false,
            held: false,
            marked: false,
            disk: None,
        }
    }

    /// The same server after a call that was taken.
    pub(super) fn with_power(&self, power: Power) -> Self {
        let mut seen = self.clone();
        seen.guest.power = power;
        seen.guest.busy = true;
        seen
    }
}

/// The metadata of a guest's server.
pub(super) fn marks(owner: &Owner, key: &Key) -> BTreeMap<String, String> {
    let incarnation = key.incarnation.to_string();
    let marks = [
        (OWNER, &owner.0),
        (GUEST, &key.guest),
        (INCARNATION, &incarnation),
        (NAMESPACE, &key.namespace),
        (NAME, &key.name),
    ];
    marks.into_iter().map(|(name, value)| (name.to_owned(), value.clone())).collect()
}

/// The tag of everything of this owner. Nova filters by tags, not by metadata; a tag has 60 characters at most.
pub(super) fn owner_tag(owner: &Owner) -> String {
    format!("innkeeper-{}", plain(&owner.0))
}

/// The tag of everything of one guest of this owner.
pub(super) fn guest_tag(guest: &str) -> String {
    format!("innkeeper-guest-{}", plain(guest))
}

/// The name of the key pair that stands for the turn to create the guest's server.
pub(super) fn lease_name(owner: &Owner, guest: &str) -> String {
    // The lengths keep ("ab", "c") and ("a", "bc") apart.
    let both = format!("{};{};{guest}", owner.0.len(), owner.0);
    format!("innkeeper-{}", Uuid::new_v5(&SPACE, both.as_bytes()))
}

/// What the names of all server groups of this owner begin with.
pub(super) fn fence_prefix(owner: &Owner) -> String {
    format!("{}-", owner_tag(owner))
}

/// The name of the server groups that stand for creations of the guest's server.
pub(super) fn fence_name(owner: &Owner, guest: &str) -> String {
    format!("{}{}", fence_prefix(owner), plain(guest))
}

/// A UID as it is; anything else through a hash, never cut.
fn plain(name: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if name.len() <= 40 && !name.is_empty() && name.chars().all(fits) {
        return name.to_owned();
    }
    Uuid::new_v5(&SPACE, name.as_bytes()).to_string()
}

/// The guest that the metadata name. `None` where a mark is missing: then it is not ours.
pub(super) fn key(owner: &Owner, metadata: &BTreeMap<String, String>) -> Option<Key> {
    (*metadata.get(OWNER)? == owner.0).then_some(())?;
    Some(Key {
        guest: metadata.get(GUEST)?.clone(),
        incarnation: metadata.get(INCARNATION)?.parse().ok()?,
        namespace: metadata.get(NAMESPACE)?.clone(),
        name: metadata.get(NAME)?.clone(),
    })
}

/// The server as one of ours. `None` where it is foreign: marks missing, or copied along from another server.
pub(super) fn ours(owner: &Owner, server: &Server) -> Option<Seen> {
    let metadata = server.metadata.as_ref()?;
    let key = key(owner, metadata)?;
    if metadata.get(SELF).is_some_and(|own| *own != server.id) {
        tracing::warn!(server = server.id, guest = %key, "a server carries our marks and is a copy: ignored");
        return None;
    }
    Some(seen(key, server))
}

/// The server as the VM of this guest.
pub(super) fn seen(key: Key, server: &Server) -> Seen {
    let task = server.task_state.as_deref();
    let power = power(&server.status, task, server.power_state);
    let stillborn = server.status == "ERROR" && server.launched_at.is_none() && power != Power::Terminating;
    let (stage, power) = if stillborn { (Stage::Incomplete, Power::Stopped) } else { (Stage::Complete, power) };
    let held = server.locked && server.locked_reason.as_deref() == Some(HELD);
    let flavor = server.flavor.as_ref();
    let started = server.launched_at.as_ref().and_then(|at| format!("{at}Z").parse().ok());
    let root = |gib: u64| ObservedDisk { name: Some("root".to_owned()), size: Bytes::gib(gib) };
    let guest = ObservedGuest {
        // The name of the host is its owner's secret; this stands for it, and changes when the server is moved. Its beginning
        // tells hosts apart, and fits where people look.
        host: (!server.host_id.is_empty()).then(|| server.host_id.chars().take(HOST_LEN).collect()),
        zone: server.zone.clone().filter(|zone| !zone.is_empty()),
        instance_type: flavor.map(|flavor| flavor.original_name.clone()),
        vcpus: flavor.map(|flavor| flavor.vcpus),
        memory: flavor.map(|flavor| Bytes::mib(flavor.ram)),
        disks: flavor.map(|flavor| flavor.disk).filter(|gib| *gib > 0).map(root).into_iter().collect(),
        protected: Some(held),
        started_at: started,
        addresses: addresses(server),
        busy: task.is_some() || is_moving(&server.status),
        ..ObservedGuest::new(key, &server.id, stage, power)
    };
    Seen {
        guest,
        status: server.status.clone(),
        created: server.created.parse().map_or(i64::MAX - 1, |at: Timestamp| at.as_millisecond()),
        fault: server.fault.clone(),
        stillborn,
        held,
        marked: server.metadata.as_ref().is_some_and(|metadata| metadata.get(SELF) == Some(&server.id)),
        disk: flavor.map(|flavor| flavor.disk),
    }
}

/// Nova's number for a VM that its hypervisor shows as running.
const RUNNING: u32 = 1;

/// What a status, the task under way and the hypervisor's word mean.
fn power(status: &str, task: Option<&str>, hypervisor: u32) -> Power {
    match task {
        Some("deleting" | "soft-deleting" | "force-deleting") => return Power::Terminating,
        Some("powering-off" | "suspending" | "pausing" | "shelving" | "shelving_image_uploading") => {
            return Power::Stopping;
        }
        Some("powering-on" | "resuming" | "unpausing" | "unshelving" | "spawning") => return Power::Starting,
        _ => {}
    }
    match status {
        "BUILD" => Power::Starting,
        "ACTIVE" | "REBOOT" | "HARD_REBOOT" | "PASSWORD" | "MIGRATING" | "RESCUE" | "REBUILD" => Power::Running,
        "PAUSED" => Power::Paused,
        "SUSPENDED" => Power::Suspended,
        "DELETED" | "SOFT_DELETED" => Power::Terminated,
        "RESIZE" | "VERIFY_RESIZE" | "REVERT_RESIZE" if hypervisor == RUNNING => Power::Running,
        "SHUTOFF" | "SHELVED" | "SHELVED_OFFLOADED" | "RESIZE" | "VERIFY_RESIZE" | "REVERT_RESIZE" => Power::Stopped,
        // ERROR after it has run: whether it still does, nobody knows before somebody has looked.
        _ => Power::Unknown,
    }
}

fn is_moving(status: &str) -> bool {
    matches!(status, "BUILD" | "RESIZE" | "REVERT_RESIZE" | "REBOOT" | "HARD_REBOOT" | "MIGRATING" | "REBUILD")
}

/// In the order of the networks' names, each once.
fn addresses(server: &Server) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in server.addresses.values().flatten().filter_map(|one| one.addr.parse().ok()) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

#[cfg(test)]
#[path = "convert_tests.rs"]
mod tests;
