//! `VirtualWorkload`: what the user wants to run.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::{
    care::{Adoption, DeletionPolicy, Hold, ManagementPolicy, Mobility},
    cloud_pool::{Name, TaintEffect},
    money::Money,
    selector::Selector,
    span::Span,
    template::GuestTemplate,
};

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
    /// How guests may be moved once they live somewhere. Left out: live, within their pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mobility: Option<Mobility>,
    /// What the operator may do with the VMs. Left out: everything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub management_policies: Vec<ManagementPolicy>,
    /// VMs that are there already and become guests as they are, without a restart.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["ordinal".to_string()]))]
    pub adopt: Vec<Adoption>,
    /// What becomes of a VM when its guest is deleted. Left out: `Delete`, and `Retain` for a VM that was adopted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
    /// Reasons why no VM of the workload may be removed, whatever else is written. While there is one, guests that are
    /// deleted wait, none is replaced, and providers that can protect a VM against removal do so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    pub holds: Vec<Hold>,
}

/// Where guests may live.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Placement {
    /// Only in pools with these labels. Left out: every pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool_selector: Option<Selector>,
    /// Only under these laws. Left out: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jurisdictions: Option<Jurisdictions>,
    /// Rather in pools with these labels. A wish costs no guest its place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub preferred: Vec<Preference>,
    /// Only where data of this class may be kept (`dataProtection.permittedClasses` of the pool). Left out: anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub data_class: Option<String>,
    /// Only where all of these certificates are held (`dataProtection.certifications` of the pool).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub certifications: Vec<Name>,
    /// How the guests of the workload are spread.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub spread: Vec<Spread>,
    /// Whether guests of other namespaces may be on the same host. Left out: they may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation: Option<Isolation>,
    /// Near to guests of these workloads of the same namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub affinity: Vec<AffinityTerm>,
    /// Apart from guests of these workloads of the same namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub anti_affinity: Vec<AffinityTerm>,
    /// When owned hardware is full. Left out: overflow to the cheapest pool after two minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<Burst>,
    /// Whether capacity may be rented that its provider can take back at short notice, at a lower price. Left out: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spot: Option<SpotPolicy>,
    /// What happens to guests whose pool does not answer any more. Left out: they wait for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_pool_lost: Option<OnPoolLost>,
    /// What is best among the places that are allowed. Left out: `Cost`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objective: Option<Objective>,
    /// Taints of pools that do not keep the guests away.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub tolerations: Vec<Toleration>,
    /// Who goes first when there is not room for all: higher before lower. Nobody is put out for it. Left out: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schema::priority")]
    pub priority: Option<i32>,
    /// What all guests of the workload together may cost in a month of 730 hours. Left out: any amount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monthly_budget: Option<Money>,
}

/// A wish for pools.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Preference {
    /// How much it is worth: any other place counts as so many percent dearer.
    #[schemars(schema_with = "super::schema::weight")]
    pub weight: u8,
    /// The pools that are wished for.
    pub pool_selector: Selector,
}

/// How guests are spread.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Spread {
    /// Over what: `host`, `pool`, `jurisdiction`, or a label of pools, each of whose values is one place.
    #[schemars(length(min = 1, max = 253))]
    pub topology_key: String,
    /// By how many guests the fullest place may exceed the emptiest one.
    #[schemars(schema_with = "super::schema::skew")]
    pub max_skew: u32,
    /// What to do where that is not possible. Left out: `DoNotSchedule`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when_unsatisfiable: Option<WhenUnsatisfiable>,
}

/// What to do where a spread is not possible. Left out: `DoNotSchedule`.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, schemars::JsonSchema)]
pub enum WhenUnsatisfiable {
    /// The guest waits.
    DoNotSchedule,
    /// It is placed all the same, and the reasons say so.
    ScheduleAnyway,
}

/// Whether guests of other namespaces may be on the same host. Left out: they may.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, schemars::JsonSchema)]
pub enum Isolation {
    /// They may.
    Shared,
    /// The host lodges guests of this namespace only.
    DedicatedHost,
}

/// Nearness to, or distance from, guests of other workloads.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AffinityTerm {
    /// The workloads, of the same namespace. It may be the workload itself.
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub workloads: Vec<Name>,
    /// What counts as one place: `host`, `pool`, `jurisdiction`, or a label of pools.
    #[schemars(length(min = 1, max = 253))]
    pub topology_key: String,
}

/// What is best among the places that are allowed. Left out: `Cost`.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, schemars::JsonSchema)]
pub enum Objective {
    /// The least that another guest costs, then the tightest fit.
    Cost,
    /// The least loaded host.
    Performance,
    /// The fewest hosts.
    Density,
}

/// A taint that does not keep guests away.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Toleration {
    /// The taint's key. Left out: every key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub key: Option<String>,
    /// The taint's value. Left out: every value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub value: Option<String>,
    /// The taint's effect. Left out: every effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<TaintEffect>,
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
    /// Whether guests that overflowed come home again. Left out: they stay. A guest comes home only as `mobility` allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub return_home: Option<ReturnHome>,
}

/// When guests that overflowed come home again.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ReturnHome {
    /// For how long there must have been room at home. Left out: one hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Span>,
}

/// Whether capacity may be rented that its provider can take back. Left out: never.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, schemars::JsonSchema)]
pub enum SpotPolicy {
    /// Never.
    Never,
    /// Where it is cheaper. A guest that is interrupted is made anew, with new disks.
    Allowed,
}

/// What happens to guests whose pool does not answer any more.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct OnPoolLost {
    /// What to do.
    pub action: PoolLostAction,
    /// For how long the pool must have been silent. Left out: ten minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Span>,
}

/// What to do with guests whose pool does not answer any more.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, schemars::JsonSchema)]
pub enum PoolLostAction {
    /// They wait until it answers.
    Wait,
    /// They are made anew elsewhere, with new disks, once an administrator has said with `fenced: true` on the pool that
    /// nothing runs there any more.
    RecreateIfFenced,
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
