//! `VirtualWorkload`: what the user wants to run.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::{money::Money, quantity::Bytes, span::Span};

/// A number of like guests, and the rules for where they may live.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "innkeeper.dev",
    version = "v1alpha1",
    kind = "VirtualWorkload",
    plural = "virtualworkloads",
    shortname = "vw",
    category = "innkeeper",
    namespaced,
    status = "VirtualWorkloadStatus",
    derive = "PartialEq",
    doc = "A number of like guests, and the rules for where they may live.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    validation = Rule::new("size(self.metadata.name) <= 52 && !self.metadata.name.contains('.')")
        .message("the name must have at most 52 characters and no dot: guests are named NAME-0, NAME-1 and so on"),
    printcolumn(name = "Wanted", type_ = "integer", json_path = ".spec.replicas"),
    printcolumn(name = "Ready", type_ = "integer", json_path = ".status.readyReplicas"),
    printcolumn(name = "Where", type_ = "string", json_path = ".status.summary"),
    printcolumn(name = "Monthly", type_ = "string", json_path = ".status.monthlyCost"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct VirtualWorkloadSpec {
    /// How many guests.
    #[schemars(schema_with = "super::schema::replicas")]
    pub replicas: u32,
    /// What each guest is.
    pub template: GuestTemplate,
    /// Where guests may live. Left out: in any pool, owned hardware first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,
}

/// What a guest is.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.image == oldSelf.image")
        .message("the image of running guests cannot be changed; make a new VirtualWorkload with the new image"),
    validation = Rule::new("self.size == oldSelf.size")
        .message("the size of running guests cannot be changed; make a new VirtualWorkload with the new size"),
    validation = Rule::new("has(self.networks) == has(oldSelf.networks) && (!has(self.networks) || self.networks == oldSelf.networks)")
        .message("the networks of running guests cannot be changed; make a new VirtualWorkload with the new networks")
)]
pub struct GuestTemplate {
    /// What it boots from.
    pub image: ImageReference,
    /// How large it is.
    pub size: Size,
    /// The networks it is attached to, in the order of its cards. Left out: what the provider gives by default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 7))]
    pub networks: Vec<NetworkReference>,
    /// Whether it should run. Left out: `Running`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power_state: Option<PowerState>,
}

/// An image by its logical name.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ImageReference {
    /// A name of the `images` of CloudPools. A pool without it is not eligible.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
}

/// A network by its logical name.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct NetworkReference {
    /// A name of the `networks` of CloudPools. A pool without it is not eligible.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
}

/// How large a guest is.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Size {
    /// Virtual processors.
    #[schemars(schema_with = "super::schema::vcpus")]
    pub vcpus: u32,
    /// Memory that the guest sees.
    #[x_kube(
        validation = Rule::new("!self.matches('^[0-9]{1,17}k?$') && !self.matches('^[0-9]{1,5}Ki$')")
            .message("memory is too small for a guest; write it with a unit, at least 128Mi, for example 4Gi")
    )]
    pub memory: Bytes,
}

/// Whether a guest should run.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, schemars::JsonSchema)]
pub enum PowerState {
    /// It should run.
    #[default]
    Running,
    /// It should be off, with its disks kept.
    Stopped,
}

/// Where guests may live.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Placement {
    /// Only in pools with these labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool_selector: Option<LabelSelector>,
    /// Only under these laws.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jurisdictions: Option<Jurisdictions>,
    /// When owned hardware is full. Left out: overflow to the cheapest pool after two minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<Burst>,
}

/// The laws that guests may live under.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Jurisdictions {
    /// Countries as codes of ISO 3166-1, such as `GB`.
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(
        validation = Rule::new("self.all(code, code.matches('^[A-Z]{2}$'))")
            .message("write each country as its two-letter ISO 3166 code in capitals, for example GB"),
        merge_strategy = ListMerge::Set
    )]
    pub allow: Vec<CountryCode>,
}

/// A country.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, schemars::JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct CountryCode(#[schemars(length(max = 16))] pub String);

/// What happens when owned hardware is full.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.policy == 'WhenFull' || !has(self.after)")
        .message("burst.after has no meaning with policy Never; leave it out or write policy: WhenFull")
)]
pub struct Burst {
    /// Whether guests may go to pools that are paid by use.
    pub policy: BurstPolicy,
    /// How long a guest waits for room on owned hardware first. Left out: two minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Span>,
}

/// Whether guests may go to pools that are paid by use.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, schemars::JsonSchema)]
pub enum BurstPolicy {
    /// Guests wait for room on owned hardware for as long as it takes.
    Never,
    /// When owned hardware has been full for a while.
    WhenFull,
}

/// What is so.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct VirtualWorkloadStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Guests that exist.
    #[serde(default)]
    #[schemars(schema_with = "super::schema::count")]
    pub replicas: u32,
    /// Guests that are as they should be.
    #[serde(default)]
    #[schemars(schema_with = "super::schema::count")]
    pub ready_replicas: u32,
    /// Label selector of the guests, for autoscalers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Guests by pool.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["pool".to_string()]))]
    pub placements: Vec<PoolShare>,
    /// Guests by pool, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// What the guests cost in a month of 730 hours, in words: an amount for each currency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monthly_cost: Option<String>,
    /// Conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_string()]))]
    pub conditions: Vec<Condition>,
}

/// Guests in one pool.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PoolShare {
    /// The pool.
    pub pool: String,
    /// How many guests are placed there.
    #[schemars(schema_with = "super::schema::count")]
    pub guests: u32,
    /// What they cost in an hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hourly_cost: Option<Money>,
}
