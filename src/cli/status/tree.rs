//! What belongs to what, and how far it is. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{Resource, ResourceExt as _};
use serde::Serialize;

use crate::api::{
    Guest, VirtualWorkload,
    condition::{self, Kind},
    guest::Creation,
};

/// How something is, after kstatus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, strum::Display)]
pub(super) enum State {
    /// As it should be.
    Ready,
    /// On its way there by itself.
    InProgress,
    /// Somebody has to act.
    Stalled,
    /// On its way out.
    Terminating,
}

/// A workload and its guests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WorkloadNode {
    pub namespace: String,
    pub name: String,
    pub state: State,
    /// Why, as one word; empty where nothing was said yet.
    pub reason: String,
    /// Why it is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    pub wanted: u32,
    pub ready: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monthly_cost: Option<String>,
    pub age_seconds: i64,
    pub guests: Vec<GuestNode>,
}

/// A guest and its VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GuestNode {
    pub name: String,
    pub state: State,
    pub phase: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What else is so, besides being ready or not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    pub addresses: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hourly_cost: Option<String>,
    pub age_seconds: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vm: Option<VmNode>,
}

/// A VM, or the attempt at making one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct VmNode {
    /// The provider's own id. Left out: it has not been seen yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Counts the VMs of the guest.
    pub incarnation: u32,
    /// The host it is on, or the type that is rented.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// How far its making is.
    pub progress: String,
}

/// The workloads by namespace and name, each with its guests in order. Guests whose workload is not there (it was deleted
/// without them) come under its name.
pub(super) fn tree(workloads: &[VirtualWorkload], guests: &[Guest], now: Timestamp) -> Vec<WorkloadNode> {
    let mut by_workload: BTreeMap<(String, String), Vec<&Guest>> = BTreeMap::new();
    for guest in guests {
        by_workload.entry((namespace(guest), guest.spec.workload.clone())).or_default().push(guest);
    }
    let mut nodes: Vec<WorkloadNode> = workloads
        .iter()
        .map(|workload| {
            let own = by_workload.remove(&(namespace(workload), workload.name_any())).unwrap_or_default();
            workload_node(workload, &own, now)
        })
        .collect();
    nodes.extend(by_workload.iter().map(|((namespace, name), own)| WorkloadNode {
        namespace: namespace.clone(),
        name: name.clone(),
        state: State::Stalled,
        reason: "NoWorkload".to_owned(),
        message: Some(
            "there is no VirtualWorkload of this name (any more); its guests stay until they are deleted".into(),
        ),
        wanted: 0,
        ready: count(own.iter().filter(|guest| guest_state(guest) == State::Ready)),
        monthly_cost: None,
        age_seconds: own.iter().map(|guest| age(*guest, now)).max().unwrap_or(0),
        guests: guest_nodes(own, now),
    }));
    nodes.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    nodes
}

fn namespace(object: &impl Resource) -> String {
    object.meta().namespace.clone().unwrap_or_default()
}

fn age(object: &impl Resource, now: Timestamp) -> i64 {
    object.meta().creation_timestamp.as_ref().map_or(0, |made| (now.as_second() - made.0.as_second()).max(0))
}

fn count<T>(items: impl Iterator<Item = T>) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}

fn workload_node(workload: &VirtualWorkload, own: &[&Guest], now: Timestamp) -> WorkloadNode {
    let status = workload.status.clone().unwrap_or_default();
    let state = state(workload, &status.conditions, status.observed_generation);
    let ready = condition::find(&status.conditions, Kind::Ready);
    let message = match ready {
        Some(ready) => Some(ready.message.clone()),
        None => Some("the operator has not looked at it yet: does it run?".to_owned()),
    };
    WorkloadNode {
        namespace: namespace(workload),
        name: workload.name_any(),
        state,
        reason: ready.map(|ready| ready.reason.clone()).unwrap_or_default(),
        message: message.filter(|_| state != State::Ready),
        wanted: workload.spec.replicas,
        ready: status.ready_replicas,
        monthly_cost: status.monthly_cost,
        age_seconds: age(workload, now),
        guests: guest_nodes(own, now),
    }
}

fn state(object: &impl Resource, conditions: &[Condition], observed: Option<i64>) -> State {
    let meta = object.meta();
    if meta.deletion_timestamp.is_some() {
        return State::Terminating;
    }
    let current = observed == meta.generation;
    match (condition::is_true(conditions, Kind::Stalled), condition::is_true(conditions, Kind::Ready)) {
        (true, _) if current => State::Stalled,
        (false, true) if current => State::Ready,
        _ => State::InProgress,
    }
}

fn guest_state(guest: &Guest) -> State {
    let status = guest.status.clone().unwrap_or_default();
    state(guest, &status.conditions, status.observed_generation)
}

fn guest_nodes(guests: &[&Guest], now: Timestamp) -> Vec<GuestNode> {
    let mut guests = guests.to_vec();
    // web-10 comes after web-9.
    guests.sort_by_key(|guest| {
        let ordinal = guest.name_any().rsplit_once('-').and_then(|(_, n)| n.parse::<u32>().ok());
        (ordinal.unwrap_or(u32::MAX), guest.name_any())
    });
    guests.into_iter().map(|guest| guest_node(guest, now)).collect()
}

fn guest_node(guest: &Guest, now: Timestamp) -> GuestNode {
    let status = guest.status.clone().unwrap_or_default();
    let state = guest_state(guest);
    let placed = condition::find(&status.conditions, Kind::Placed).filter(|placed| placed.status != "True");
    // Of a guest without a place, what it lacks says more than that it does not run.
    let message = placed.or_else(|| condition::find(&status.conditions, Kind::Ready)).map(|c| c.message.clone());
    let usual = [Kind::Ready, Kind::Placed, Kind::Reconciling, Kind::Stalled].map(|kind| kind.to_string());
    let others = status.conditions.iter().filter(|condition| !usual.contains(&condition.type_));
    let pool = guest.binding().map(|binding| binding.pool.clone());
    GuestNode {
        name: guest.name_any(),
        state,
        phase: status.phase.map_or_else(|| "Pending".to_owned(), |phase| phase.to_string()),
        message: message.filter(|_| state != State::Ready),
        notes: others.map(|c| format!("{} {}: {}", c.type_, c.status, c.message)).collect(),
        pool,
        addresses: status.addresses.clone(),
        hourly_cost: status.hourly_cost.map(|cost| cost.to_string()),
        age_seconds: age(guest, now),
        vm: vm_node(guest, now),
    }
}

fn vm_node(guest: &Guest, now: Timestamp) -> Option<VmNode> {
    let status = guest.status.as_ref()?;
    let creation = status.creation.as_ref().filter(|creation| creation.incarnation == guest.incarnation());
    let rented = guest.binding().and_then(|binding| {
        let zone = binding.zone.as_ref().map(|zone| format!(" in {zone}")).unwrap_or_default();
        let spot = if binding.spot { ", spot" } else { "" };
        binding.instance_type.as_ref().map(|rented| format!("{rented}{zone}{spot}"))
    });
    if creation.is_none() && status.provider_id.is_none() {
        return None;
    }
    Some(VmNode {
        id: status.provider_id.clone(),
        incarnation: guest.incarnation(),
        place: status.host.clone().or(rented),
        progress: creation.map_or_else(|| "there".to_owned(), |creation| progress(creation, now)),
    })
}

fn progress(creation: &Creation, now: Timestamp) -> String {
    let ago = |time: Timestamp| super::render::age(now.as_second() - time.as_second());
    match creation {
        Creation { refused: Some(_), .. } => "refused, being removed".to_owned(),
        Creation { missing_since: Some(since), .. } => format!("missing for {}", ago(since.0)),
        Creation { started: true, .. } => "made and started".to_owned(),
        Creation { seen: true, .. } => "made, not started yet".to_owned(),
        Creation { asked_at, .. } => format!("asked for {} ago", ago(asked_at.0)),
    }
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
