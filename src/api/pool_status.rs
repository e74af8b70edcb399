//! What is so of a pool.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{money::Amount, quantity::Bytes};

/// What is so.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CloudPoolStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderStatus>,
    /// The hosts, where the pool has hosts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["id".to_string()]))]
    pub hosts: Vec<HostStatus>,
    /// Memory that a guest takes on a host on top of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest_overhead: Option<OverheadStatus>,
    /// Guests placed here.
    #[serde(default)]
    #[schemars(schema_with = "super::schema::count")]
    pub guests: u32,
    /// What is free, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// VMs here that carry this cluster's mark and belong to no Guest, the first twenty of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["providerId".to_string()]))]
    pub orphans: Vec<OrphanStatus>,
    /// What can be rented, where the pool's prices come from the provider's catalogue: the cheapest 512 types.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub offerings: Vec<OfferingStatus>,
    /// Where the on-demand prices of the offerings come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prices: Option<PricesStatus>,
    /// Types that had no room lately; they are not rented again for some minutes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set_aside: Vec<SetAside>,
    /// Conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_string()]))]
    pub conditions: Vec<Condition>,
}

/// What answered.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ProviderStatus {
    /// `xapi`, `ec2`, `gce` or `openstack`.
    pub kind: String,
    /// The provider's own id of the pool: a XAPI pool's uuid, a region. Left out: it has never answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// One host.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct HostStatus {
    /// The provider's own id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// May guests start here.
    pub schedulable: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Physical processors (threads).
    #[schemars(schema_with = "super::schema::count")]
    pub cpus: u32,
    /// Memory without what the hypervisor takes.
    pub memory: Bytes,
    /// Memory for Innkeeper's guests, those here included: without what other VMs take.
    pub allocatable_memory: Bytes,
    /// Virtual processors of other VMs that run here.
    #[schemars(schema_with = "super::schema::count")]
    pub vcpus_others: u32,
    /// How many other VMs run here.
    #[schemars(schema_with = "super::schema::count")]
    pub guests_others: u32,
}

/// A VM of ours that belongs to no Guest.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct OrphanStatus {
    /// The provider's own id of the VM.
    pub provider_id: String,
    /// The guest that it was made for, as NAMESPACE/NAME.
    pub guest: String,
    /// Why it is here, and what becomes of it.
    pub why: String,
}

/// Memory that a guest takes on a host on top of its own.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct OverheadStatus {
    /// For each guest.
    pub fixed: Bytes,
    /// For each virtual processor.
    pub per_vcpu: Bytes,
    /// The guest's memory divided by this. Zero: nothing.
    #[schemars(schema_with = "super::schema::count")]
    pub memory_divisor: u32,
}

/// A type that can be rented. Prices are in the currency of the pool's `payPerUse`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct OfferingStatus {
    /// Its name.
    #[serde(rename = "type")]
    pub instance_type: String,
    /// Virtual processors.
    #[schemars(schema_with = "super::schema::count")]
    pub vcpus: u32,
    /// Memory.
    pub memory: Bytes,
    /// The zones it is on offer in. Left out: the provider chooses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub zones: Vec<String>,
    /// Price of an hour.
    pub hourly: Amount,
    /// Price of an hour of capacity that the provider can take back, in the dearest of the zones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spot_hourly: Option<Amount>,
}

/// Where prices come from.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PricesStatus {
    /// `PriceList`: the provider's own. `Shipped`: a table that came with the operator.
    pub source: String,
    /// Of when they are.
    pub as_of: Time,
    /// Why the provider's own list could not be read when that was last tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// A type that had no room lately.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SetAside {
    /// The type.
    pub instance_type: String,
    /// The zone it was asked for in. Left out: the provider was free to choose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// It was asked for as capacity that can be taken back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub spot: bool,
    /// Not rented again before.
    pub until: Time,
    /// The provider's own code, such as `InsufficientInstanceCapacity`.
    pub code: String,
}
