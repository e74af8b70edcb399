//! Which guests a workload should have. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use kube::ResourceExt as _;

use super::status;
use crate::api::{Guest, GuestSpec, VirtualWorkload, VirtualWorkloadSpec};

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Guests to make, by ordinal.
    pub make: Vec<u32>,
    /// Guests to bring to what the workload now says, and what they should say.
    pub update: Vec<(Arc<Guest>, GuestSpec)>,
    /// Names and UIDs of guests to delete, the highest ordinal first.
    pub delete: Vec<(String, String)>,
    /// How many guests are too many and stay, because the workload is held.
    pub kept: usize,
    /// Names that the workload needs and that somebody else's Guest has.
    pub taken: Vec<String>,
}

/// Decides. `guests` are those of the namespace whose names begin like the workload's.
#[must_use]
pub fn decide(workload: &VirtualWorkload, guests: &[Arc<Guest>]) -> Plan {
    let by_ordinal: BTreeMap<u32, &Arc<Guest>> =
        guests.iter().filter_map(|guest| Some((ordinal(&workload.name_any(), &guest.name_any())?, guest))).collect();
    let mut plan = Plan::default();
    let restarting = restarting(workload, &by_ordinal);
    for number in 0..workload.spec.replicas {
        match by_ordinal.get(&number) {
            None => plan.make.push(number),
            Some(guest) if !owned(workload, guest) => plan.taken.push(guest.name_any()),
            // The name is free when the old guest's VM is gone. Until then a hold that is new, or taken away, counts.
            Some(guest) if is_leaving(guest) => plan.update_care(workload, number, guest),
            Some(guest) => {
                let wished = wished_of(workload, number, guest, restarting.contains(&number));
                if guest.spec != wished {
                    plan.update.push((Arc::clone(guest), wished));
                }
            }
        }
    }
    let mut surplus = Vec::new();
    for (number, guest) in by_ordinal.range(workload.spec.replicas..).rev().filter(|(_, guest)| owned(workload, guest))
    {
        plan.update_care(workload, *number, guest);
        if !is_leaving(guest) {
            surplus.push((guest.name_any(), guest.uid().unwrap_or_default()));
        }
    }
    // A deletion cannot be taken back: while there is a hold, none is begun.
    if workload.spec.holds.is_empty() {
        plan.delete = surplus;
    } else {
        plan.kept = surplus.len();
    }
    plan
}

impl Plan {
    /// Brings a guest that leaves, or is to, up to date in what decides on its end.
    fn update_care(&mut self, workload: &VirtualWorkload, ordinal: u32, guest: &Arc<Guest>) {
        let now = wished(workload, ordinal);
        let mut spec = guest.spec.clone();
        (spec.management_policies, spec.deletion_policy) = (now.management_policies, now.deletion_policy);
        (spec.holds, spec.template.shutdown) = (now.holds, now.template.shutdown);
        if spec != guest.spec {
            self.update.push((Arc::clone(guest), spec));
        }
    }
}

fn is_leaving(guest: &Guest) -> bool {
    guest.metadata.deletion_timestamp.is_some()
}

/// Which guests are told of a new `restartAt` now: those that are not ready anyhow, and of the others one at a time, while
/// no other is missing.
fn restarting(workload: &VirtualWorkload, by_ordinal: &BTreeMap<u32, &Arc<Guest>>) -> BTreeSet<u32> {
    let wished = &workload.spec.template.restart_at;
    let own =
        || (0..workload.spec.replicas).map(|number| (number, by_ordinal.get(&number).filter(|g| owned(workload, g))));
    let all_ready = own().all(|(_, guest)| guest.is_some_and(|guest| status::is_ready(guest)));
    let behind = || {
        own().filter_map(|(number, guest)| guest.filter(|g| g.spec.template.restart_at != *wished).map(|g| (number, g)))
    };
    if all_ready {
        return behind().map(|(number, _)| number).take(1).collect();
    }
    behind().filter(|(_, guest)| !status::is_ready(guest)).map(|(number, _)| number).collect()
}

/// What a guest that is there should say now.
fn wished_of(workload: &VirtualWorkload, ordinal: u32, guest: &Guest, restarts: bool) -> GuestSpec {
    let GuestSpec { identity, relocation, binding, .. } = guest.spec.clone();
    let mut wished = GuestSpec { identity, relocation, binding, ..wished(workload, ordinal) };
    if !restarts {
        wished.template.restart_at.clone_from(&guest.spec.template.restart_at);
    }
    wished
}

/// The ordinal in a guest's name, if it is one that this workload would give: `web-0`, not `web-00` or `web-a-0`.
#[must_use]
pub fn ordinal(workload: &str, guest: &str) -> Option<u32> {
    let digits = guest.strip_prefix(workload)?.strip_prefix('-')?;
    let number = digits.parse().ok()?;
    (digits == format!("{number}")).then_some(number)
}

/// Whether a guest belongs to this very workload, not to one of the same name before it.
#[must_use]
pub fn owned(workload: &VirtualWorkload, guest: &Guest) -> bool {
    let uid = workload.uid();
    guest.owner_references().iter().any(|owner| owner.controller == Some(true) && Some(&owner.uid) == uid.as_ref())
}

/// The part of a guest's spec that the workload decides.
#[must_use]
pub fn wished(workload: &VirtualWorkload, ordinal: u32) -> GuestSpec {
    let VirtualWorkloadSpec {
        replicas: _,
        template,
        placement,
        mobility,
        management_policies,
        adopt,
        deletion_policy,
        holds,
    } = workload.spec.clone();
    GuestSpec {
        workload: workload.name_any(),
        identity: None,
        template,
        placement,
        mobility,
        management_policies,
        adopt: adopt.into_iter().find(|adoption| adoption.ordinal == ordinal),
        deletion_policy,
        holds,
        relocation: None,
        binding: None,
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
