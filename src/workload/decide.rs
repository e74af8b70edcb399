//! Which guests a workload should have. Pure.

use std::{collections::BTreeMap, sync::Arc};

use kube::ResourceExt as _;

use crate::api::{Guest, GuestSpec, VirtualWorkload, VirtualWorkloadSpec};

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Guests to make, by ordinal.
    pub make: Vec<u32>,
    /// Guests to bring to what the workload now says, with their ordinals.
    pub update: Vec<(u32, Arc<Guest>)>,
    /// Names and UIDs of guests to delete, the highest ordinal first.
    pub delete: Vec<(String, String)>,
    /// Names that the workload needs and that somebody else's Guest has.
    pub taken: Vec<String>,
}

/// Decides. `guests` are those of the namespace whose names begin like the workload's.
#[must_use]
pub fn decide(workload: &VirtualWorkload, guests: &[Arc<Guest>]) -> Plan {
    let by_ordinal: BTreeMap<u32, &Arc<Guest>> =
        guests.iter().filter_map(|guest| Some((ordinal(&workload.name_any(), &guest.name_any())?, guest))).collect();
    let mut plan = Plan::default();
    for number in 0..workload.spec.replicas {
        match by_ordinal.get(&number) {
            None => plan.make.push(number),
            Some(guest) if !owned(workload, guest) => plan.taken.push(guest.name_any()),
            // The name is free when the old guest's VM is gone.
            Some(guest) if guest.metadata.deletion_timestamp.is_some() => {}
            Some(guest) if !up_to_date(workload, number, guest) => plan.update.push((number, Arc::clone(guest))),
            Some(_) => {}
        }
    }
    let surplus = by_ordinal.range(workload.spec.replicas..).rev();
    plan.delete = surplus
        .filter(|(_, guest)| owned(workload, guest) && guest.metadata.deletion_timestamp.is_none())
        .map(|(_, guest)| (guest.name_any(), guest.uid().unwrap_or_default()))
        .collect();
    plan
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

fn up_to_date(workload: &VirtualWorkload, ordinal: u32, guest: &Guest) -> bool {
    let GuestSpec { relocation, binding, .. } = guest.spec.clone();
    guest.spec == GuestSpec { relocation, binding, ..wished(workload, ordinal) }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
