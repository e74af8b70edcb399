//! Which VMs become guests again, and which are left. Pure.

use std::{collections::BTreeMap, fmt};

use kube::ResourceExt as _;
use serde::Serialize;

use crate::{
    api::{Guest, VirtualWorkload, guest::Binding},
    provider::{ObservedGuest, Power, Stage},
    workload::decide,
};

/// A VM that was found, and where.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) pool: String,
    /// Id of the host that it is on.
    pub(super) host: Option<String>,
    pub(super) vm: ObservedGuest,
}

/// A VM that becomes a guest again.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Claim {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) workload: String,
    pub(super) ordinal: u32,
    /// What its VM is marked with.
    pub(super) identity: String,
    pub(super) provider_id: String,
    pub(super) binding: Binding,
    /// There is no Guest of it yet.
    pub(super) is_new: bool,
}

/// A VM that is left as it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Left {
    pub(super) guest: String,
    pub(super) pool: String,
    pub(super) provider_id: String,
    pub(super) why: Why,
}

/// Why a VM is left as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// It was never finished, so never started.
    Unfinished,
    /// No workload would have a guest of its name.
    NoWorkload,
    /// The workload has fewer replicas.
    BeyondReplicas { workload: String, needed: u32 },
    /// Its guest had a later VM, which is there too.
    Older,
    /// Another VM is marked as the same guest by name, and was made for another Guest.
    Ambiguous { other: String },
    /// There is a Guest of its name that has another VM.
    NameTaken,
    /// Its Guest is bound elsewhere by now.
    MovedOn,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unfinished => f.write_str("it was never finished nor started; the operator removes it"),
            Self::NoWorkload => {
                f.write_str("no VirtualWorkload would have a guest of this name: apply it and run this again")
            }
            Self::BeyondReplicas { workload, needed } => {
                write!(f, "VirtualWorkload {workload} has fewer replicas: write {needed} or more and run this again")
            }
            Self::Older => f.write_str("its guest had a later VM, which is there too"),
            Self::Ambiguous { other } => {
                write!(
                    f,
                    "VM {other} has the same guest's name: look which holds the data, remove the other, run this again"
                )
            }
            Self::NameTaken => f.write_str("a Guest of this name is there and has another VM"),
            Self::MovedOn => f.write_str("its Guest is bound elsewhere by now"),
        }
    }
}

impl Serialize for Why {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Plan {
    pub(super) claims: Vec<Claim>,
    pub(super) left: Vec<Left>,
}

/// Decides, by the name of the guest that each VM is marked with.
pub(super) fn decide(found: Vec<Found>, workloads: &[VirtualWorkload], guests: &[Guest]) -> Plan {
    let mut by_name: BTreeMap<(String, String), Vec<Found>> = BTreeMap::new();
    for each in found.into_iter().filter(|each| !matches!(each.vm.power, Power::Terminating | Power::Terminated)) {
        by_name.entry((each.vm.key.namespace.clone(), each.vm.key.name.clone())).or_default().push(each);
    }
    let mut plan = Plan::default();
    for ((namespace, name), mut vms) in by_name {
        vms.sort_by(|a, b| (b.vm.key.incarnation, &a.vm.provider_id).cmp(&(a.vm.key.incarnation, &b.vm.provider_id)));
        let (whole, unfinished): (Vec<_>, Vec<_>) = vms.into_iter().partition(|each| each.vm.stage == Stage::Complete);
        plan.left.extend(unfinished.iter().map(|each| left(each, Why::Unfinished)));
        let guest =
            guests.iter().find(|guest| guest.namespace() == Some(namespace.clone()) && guest.name_any() == name);
        match one(&whole).and_then(|each| claim(each, &namespace, &name, workloads, guest)) {
            Ok(claim) => {
                plan.claims.push(claim);
                plan.left.extend(whole.iter().skip(1).map(|each| left(each, Why::Older)));
            }
            Err(Some(why)) => plan.left.extend(whole.iter().map(|each| left(each, why.clone()))),
            Err(None) => {}
        }
    }
    plan
}

fn left(found: &Found, why: Why) -> Left {
    Left { guest: found.vm.key.to_string(), pool: found.pool.clone(), provider_id: found.vm.provider_id.clone(), why }
}

/// The VM that counts: the latest one, where all were made for one Guest. Two of one incarnation are one too many.
fn one(vms: &[Found]) -> Result<&Found, Option<Why>> {
    let Some((first, rest)) = vms.split_first() else { return Err(None) };
    let key = &first.vm.key;
    match rest.iter().find(|each| each.vm.key.guest != key.guest || each.vm.key.incarnation == key.incarnation) {
        Some(other) => {
            Err(Some(Why::Ambiguous { other: format!("{} or {}", first.vm.provider_id, other.vm.provider_id) }))
        }
        None => Ok(first),
    }
}

fn claim(
    found: &Found,
    namespace: &str,
    name: &str,
    workloads: &[VirtualWorkload],
    guest: Option<&Guest>,
) -> Result<Claim, Option<Why>> {
    let (workload, ordinal) = workloads
        .iter()
        .filter(|workload| workload.namespace().as_deref() == Some(namespace))
        .find_map(|workload| Some((workload, decide::ordinal(&workload.name_any(), name)?)))
        .ok_or(Some(Why::NoWorkload))?;
    // The operator would delete what is beyond the replicas.
    if ordinal >= workload.spec.replicas {
        let needed = ordinal.saturating_add(1);
        return Err(Some(Why::BeyondReplicas { workload: workload.name_any(), needed }));
    }
    let key = &found.vm.key;
    let binding = Binding {
        pool: found.pool.clone(),
        incarnation: key.incarnation,
        host: found.host.clone(),
        instance_type: found.vm.instance_type.clone(),
        size: None,
        zone: None,
        spot: false,
    };
    if let Some(guest) = guest {
        if guest.identity() != Some(key.guest.as_str()) {
            return Err(Some(Why::NameTaken));
        }
        let bound = guest.spec.binding.as_ref();
        if bound.is_some_and(|bound| bound.pool != binding.pool || bound.incarnation != binding.incarnation) {
            return Err(Some(Why::MovedOn));
        }
    }
    Ok(Claim {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        workload: workload.name_any(),
        ordinal,
        identity: key.guest.clone(),
        provider_id: found.vm.provider_id.clone(),
        // One that was written before stays as it is: its host may have changed since.
        binding: guest.and_then(|guest| guest.spec.binding.clone()).unwrap_or(binding),
        is_new: guest.is_none(),
    })
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
