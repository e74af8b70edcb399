//! `Guest`: one virtual machine, made by the operator for a workload.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

pub use super::guest_status::{
    Abandoned, Creation, FailedRule, GuestStatus, NextBest, Phase, PlacementStatus, Refusal, Rejection,
    RelocationOutcome, RelocationStatus, ResizeStatus, RestartStatus, ScoreTerm, VmStatus,
};
use super::{
    care::{Adoption, DeletionPolicy, Hold, ManagementPolicy, Mobility, Move},
    template::{GuestTemplate, Size},
    virtual_workload::Placement,
};

/// One virtual machine. Guests are made by the operator for a `VirtualWorkload`.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "innkeeper.dev",
    version = "v1alpha1",
    kind = "Guest",
    plural = "guests",
    shortname = "gst",
    category = "innkeeper",
    namespaced,
    status = "GuestStatus",
    derive = "PartialEq",
    doc = "One virtual machine. Guests are made by the operator for a VirtualWorkload; make one of those instead.",
    selectable = ".spec.workload",
    selectable = ".spec.binding.pool",
    printcolumn(name = "Pool", type_ = "string", json_path = ".spec.binding.pool"),
    printcolumn(name = "Host", type_ = "string", json_path = ".status.host"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Address", type_ = "string", json_path = ".status.addresses[0]"),
    printcolumn(name = "Hourly", type_ = "string", json_path = ".status.hourlyCost.amount"),
    printcolumn(name = "Cur", type_ = "string", json_path = ".status.hourlyCost.currency"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Type", type_ = "string", json_path = ".spec.binding.instanceType", priority = 1),
    printcolumn(name = "Id", type_ = "string", json_path = ".status.providerId", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = 1
    ),
    printcolumn(name = "Placement", type_ = "string", json_path = ".status.placement.message", priority = 1)
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(oldSelf.binding) || has(self.binding)")
        .message("a binding is not taken back while a VM may exist; delete the Guest instead"),
    validation = Rule::new("!has(oldSelf.binding) || !has(self.binding) || self.binding.incarnation > oldSelf.binding.incarnation || (self.binding.incarnation == oldSelf.binding.incarnation && self.binding.pool == oldSelf.binding.pool && has(self.binding.host) == has(oldSelf.binding.host) && (!has(self.binding.host) || self.binding.host == oldSelf.binding.host) && has(self.binding.zone) == has(oldSelf.binding.zone) && (!has(self.binding.zone) || self.binding.zone == oldSelf.binding.zone) && (has(self.binding.spot) && self.binding.spot) == (has(oldSelf.binding.spot) && oldSelf.binding.spot) && has(self.binding.instanceType) == has(oldSelf.binding.instanceType))")
        .message("a guest's place changes only together with a new incarnation, after its VM is gone; before, nothing but the type that it rents and the size that this was chosen for"),
    validation = Rule::new("has(self.identity) == has(oldSelf.identity) && (!has(self.identity) || self.identity == oldSelf.identity)")
        .message("what a guest's VM is marked with cannot be changed, the VM would be lost")
)]
pub struct GuestSpec {
    /// The workload it belongs to.
    #[schemars(length(min = 1, max = 52))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("a guest cannot be given to another workload"))]
    pub workload: String,
    /// What its VM is marked with, where that is not the Guest's own UID: written by `innkeeper restore` alone, for a VM
    /// whose Guest was lost with its cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub identity: Option<String>,
    /// What it is.
    pub template: GuestTemplate,
    /// Where it may live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,
    /// How it may be moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mobility: Option<Mobility>,
    /// What the operator may do with its VM.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub management_policies: Vec<ManagementPolicy>,
    /// The VM that it becomes as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopt: Option<Adoption>,
    /// What becomes of its VM when it is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
    /// Reasons why its VM may not be removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    pub holds: Vec<Hold>,
    /// Where it is to go from where it is bound to: the scheduler's decision, carried out by the guest controller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relocation: Option<Relocation>,
    /// Where it lives: the scheduler's decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<Binding>,
}

impl Guest {
    /// Which of its VMs is the current one. The binding is kept where a status can be lost (a restored backup): the
    /// higher one counts.
    #[must_use]
    pub fn incarnation(&self) -> u32 {
        let bound = self.spec.binding.as_ref().map_or(0, |binding| binding.incarnation);
        self.status.as_ref().and_then(|status| status.incarnation).unwrap_or(1).max(bound)
    }

    /// What its VMs are marked with: unique in space and time.
    #[must_use]
    pub fn identity(&self) -> Option<&str> {
        self.spec.identity.as_deref().or(self.metadata.uid.as_deref())
    }

    /// Where its current VM is to be. A binding for an earlier one is void.
    #[must_use]
    pub fn binding(&self) -> Option<&Binding> {
        let incarnation = self.incarnation();
        self.spec.binding.as_ref().filter(|binding| binding.incarnation == incarnation)
    }
}

/// Where a guest lives. So exact that nothing is left to choose when it is made.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Binding {
    /// The pool.
    #[schemars(length(min = 1, max = 253))]
    pub pool: String,
    /// Which VM of this guest the binding is for; see `status.incarnation`.
    #[schemars(schema_with = "super::schema::count")]
    pub incarnation: u32,
    /// Id of the host to start on, where the pool has hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The type to rent, where the pool rents out types. When the guest's size changes, another may be chosen for the VM that
    /// there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_type: Option<String>,
    /// The size that the type was chosen for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    /// The zone to rent in, where the placement chose one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// It is rented at the price of capacity that the provider can take back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub spot: bool,
}

/// Where a guest is to go. It counts for one incarnation only.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Relocation {
    /// Which VM of this guest is to go; see `status.incarnation`.
    #[schemars(schema_with = "super::schema::count")]
    pub incarnation: u32,
    /// How.
    pub kind: Move,
    /// The pool in which room is kept for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Id of the host to go to. Where a VM is made anew, room is kept there until the old one is gone; then the guest is
    /// placed, as a rule there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The type to be rented, where that pool rents out types.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_type: Option<String>,
    /// Why, for people.
    pub reason: String,
    /// When it was decided.
    pub decided_at: Time,
}
