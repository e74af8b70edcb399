//! What a pool's status is made from: one immutable value.

use std::{collections::HashSet, time::Duration};

use jiff::Timestamp;
use kube::runtime::reflector::Store;

use super::orphans::Orphan;
use crate::{
    api::Guest,
    provider::{ErrorKind, Inventory, OfferingAside},
};

/// What a look at a pool brought.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The time.
    pub now: Timestamp,
    /// What the VMs of the guests that are bound to it are marked with.
    pub bound: HashSet<String>,
    /// What it has, or why that is not known.
    pub inventory: Result<Inventory, Trouble>,
    /// VMs of ours there that belong to no Guest; `None` where that is not known.
    pub orphans: Option<Vec<Orphan>>,
    /// Types that had no room lately.
    pub set_aside: Vec<OfferingAside>,
}

/// Why a pool cannot be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What kind of failure it is. `NotFound` and `Invalid` are about the manifest: a Secret that is missing, an address
    /// that is none.
    pub kind: ErrorKind,
    /// For people.
    pub message: String,
}

/// How soon to look again at a pool that does not answer.
const SOON: Duration = Duration::from_secs(5);
/// How soon to look again where somebody has to change something first.
const LATER: Duration = Duration::from_secs(15);

impl Facts {
    /// How soon to look again; `None`: as usual.
    #[must_use]
    pub fn again(&self) -> Option<Duration> {
        match self.inventory.as_ref().err()?.kind {
            ErrorKind::Auth | ErrorKind::NotFound | ErrorKind::Invalid => Some(LATER),
            _ => Some(SOON),
        }
    }
}

/// What the VMs of the guests that are bound to a pool are marked with.
#[must_use]
pub fn bound_guests(guests: &Store<Guest>, pool: &str) -> HashSet<String> {
    let bound = guests.state_filter(|guest| is_bound(guest, pool));
    bound.iter().filter_map(|guest| guest.identity().map(str::to_owned)).collect()
}

/// How many guests are bound to a pool.
#[must_use]
pub fn count_guests(guests: &Store<Guest>, pool: &str) -> usize {
    guests.state_filter(|guest| is_bound(guest, pool)).len()
}

/// Whether a guest's VM is in this pool or may be. What is bound for an earlier VM has none here any more.
#[must_use]
pub fn is_bound(guest: &Guest, pool: &str) -> bool {
    guest.binding().is_some_and(|binding| binding.pool == pool)
}

#[cfg(test)]
mod tests {
    use kube::runtime::{reflector, watcher::Event};

    use super::*;

    fn guest(name: &str, pool: &str, binding: u32, incarnation: u32) -> Guest {
        serde_json::from_value(serde_json::json!({
            "apiVersion": "innkeeper.dev/v1alpha1", "kind": "Guest",
            "metadata": { "name": name, "namespace": "shop", "uid": format!("uid-of-{name}") },
            "spec": {
                "workload": "web",
                "template": { "image": { "name": "debian-12" }, "size": { "vcpus": 1, "memory": "1Gi" } },
                "binding": { "pool": pool, "incarnation": binding },
            },
            "status": { "incarnation": incarnation },
        }))
        .unwrap()
    }

    #[test]
    fn guests_of_a_pool_are_those_whose_current_vm_is_there() {
        let (store, mut writer) = reflector::store();
        let mut unbound = guest("web-3", "xen", 1, 1);
        unbound.spec.binding = None;
        let all = [guest("web-0", "xen", 1, 1), guest("web-1", "rent", 1, 1), guest("web-2", "xen", 1, 2), unbound];
        for guest in all {
            writer.apply_watcher_event(&Event::Apply(guest));
        }
        assert_eq!(bound_guests(&store, "xen"), ["uid-of-web-0".to_owned()].into());
        assert_eq!(
            (count_guests(&store, "xen"), count_guests(&store, "rent"), count_guests(&store, "none")),
            (1, 1, 0)
        );
        assert!(is_bound(&guest("web-4", "xen", 3, 2), "xen"), "a status that was lost does not void a binding");
    }
}
