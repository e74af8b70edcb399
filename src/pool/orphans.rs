//! VMs with our mark that belong to no Guest: what a force-removed finalizer, a late clone, or a provider that forgot and
//! remembers leaves behind. Pure.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use crate::{
    api::{Guest, pool_status::OrphanStatus},
    provider::{Key, ObservedGuest, Power, Stage},
};

/// The most that a status lists.
pub const LISTED: usize = 20;

/// A VM that belongs to no Guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// The VM.
    pub vm: ObservedGuest,
    /// Why it belongs to none.
    pub why: Why,
}

/// Why a VM belongs to no Guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// There is no Guest of this identity.
    NoGuest,
    /// Its Guest has another VM by now.
    Replaced,
}

/// The VMs of a pool that belong to no Guest, in the order of their ids. `guests` are all there are, by all means more
/// than are bound to this pool.
#[must_use]
pub fn find(pool: &str, vms: &[ObservedGuest], guests: &[Arc<Guest>]) -> Vec<Orphan> {
    let by_identity: HashMap<&str, &Guest> =
        guests.iter().filter_map(|guest| Some((guest.identity()?, &**guest))).collect();
    let why = |vm: &ObservedGuest| match by_identity.get(vm.key.guest.as_str()) {
        None => Some(Why::NoGuest),
        Some(guest) => is_replaced(pool, vm, guest).then_some(Why::Replaced),
    };
    // What is being removed, or is and still shown, needs nobody.
    let there = vms.iter().filter(|vm| !matches!(vm.power, Power::Terminating | Power::Terminated));
    let mut orphans: Vec<Orphan> = there.filter_map(|vm| Some(Orphan { vm: vm.clone(), why: why(vm)? })).collect();
    orphans.sort_by(|a, b| a.vm.provider_id.cmp(&b.vm.provider_id));
    orphans
}

fn is_replaced(pool: &str, vm: &ObservedGuest, guest: &Guest) -> bool {
    let current = guest.incarnation();
    let elsewhere = guest.binding().is_some_and(|binding| binding.pool != pool);
    vm.key.incarnation < current || (vm.key.incarnation == current && elsewhere)
}

/// What may be removed without asking: creations that were never finished, so never started, of guests that are gone or
/// have a later VM by now. `alive` are the identities and the current incarnations of all Guests as the API server itself holds
/// them now, `vms` what the provider itself holds now. Removing takes a guest's earlier VMs along, and where a guest that is
/// gone has any finished VM, somebody must look at all of them.
#[must_use]
pub fn removable(vms: &[ObservedGuest], alive: &BTreeMap<String, u32>) -> Vec<Key> {
    let finished = |key: &Key, up_to: u32| {
        vms.iter().any(|vm| vm.stage == Stage::Complete && vm.key.guest == key.guest && vm.key.incarnation <= up_to)
    };
    let may_go = |vm: &&ObservedGuest| {
        let taken_along = match alive.get(&vm.key.guest) {
            None => u32::MAX,
            Some(current) if vm.key.incarnation < *current => vm.key.incarnation,
            Some(_) => return false,
        };
        vm.stage == Stage::Incomplete && vm.power == Power::Stopped && !finished(&vm.key, taken_along)
    };
    vms.iter().filter(may_go).map(|vm| vm.key.clone()).collect()
}

/// What a status lists.
#[must_use]
pub fn listed(orphans: &[Orphan]) -> Vec<OrphanStatus> {
    let entry = |orphan: &Orphan| OrphanStatus {
        provider_id: orphan.vm.provider_id.clone(),
        guest: orphan.vm.key.to_string(),
        why: match (orphan.why, orphan.vm.stage) {
            (Why::NoGuest, Stage::Incomplete) => {
                "its Guest is gone and it was never finished nor started; it is removed"
            }
            (Why::NoGuest, Stage::Complete) => {
                "its Guest is gone and it may hold data; save what is needed and remove it at the provider"
            }
            (Why::Replaced, Stage::Incomplete) => {
                "its Guest has another VM by now and it was never finished nor started; it is removed"
            }
            (Why::Replaced, Stage::Complete) => {
                "its Guest has another VM by now; save what is needed and remove it at the provider"
            }
        }
        .to_owned(),
    };
    orphans.iter().take(LISTED).map(entry).collect()
}

/// What to say of them, in a sentence.
#[must_use]
pub fn summary(orphans: &[Orphan]) -> String {
    let count = orphans.len();
    let vms = if count == 1 { "VM" } else { "VMs" };
    let first: Vec<String> =
        orphans.iter().take(3).map(|orphan| format!("{} ({})", orphan.vm.provider_id, orphan.vm.key)).collect();
    let more = count.saturating_sub(first.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!(
        "{count} {vms} here with this cluster's mark and without a Guest: {}{more}; status.orphans says what to do \
         about each",
        first.join(", ")
    )
}

#[cfg(test)]
#[path = "orphans_tests.rs"]
mod tests;
