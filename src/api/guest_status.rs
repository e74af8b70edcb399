//! What is so of a guest.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{money::Money, quantity::Bytes};

/// The life of a guest in one word, for people. Programs look at conditions.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, schemars::JsonSchema, strum::Display)]
pub enum Phase {
    /// No pool was found yet.
    Pending,
    /// A pool was chosen, the VM is being made or started.
    Creating,
    /// The VM runs.
    Running,
    /// The VM is being switched off.
    Stopping,
    /// The VM is off and its disks are kept.
    Stopped,
    /// The VM is in a state that its provider has to leave first (suspended, paused).
    Waiting,
    /// The VM and its disks are being removed.
    Deleting,
    /// The provider does not answer; the VM may be running.
    Unknown,
    /// Nothing happens until somebody acts.
    Failed,
}

/// What is so.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct GuestStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Its life in one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Counts the VMs of this guest: it goes up when a VM is certainly gone and another is to be made. A binding for an
    /// earlier one is void.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schema::count")]
    pub incarnation: Option<u32>,
    /// Written before the provider is first asked to make the VM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creation: Option<Creation>,
    /// The provider's own id of the VM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<String>,
    /// Name of the host it is on, where the provider tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// What the VM is, as far as the provider tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm: Option<VmStatus>,
    /// Addresses as the provider tells them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// What it costs in an hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hourly_cost: Option<Money>,
    /// Why it is where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<PlacementStatus>,
    /// A restart that is being carried out (`template.restartAt`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<RestartStatus>,
    /// A change of size or disks that could not be made at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resize: Option<ResizeStatus>,
    /// What became of the last decision to move it (`spec.relocation`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relocation: Option<RelocationStatus>,
    /// The operator has told the provider to refuse the VM's removal.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub protected: bool,
    /// Since when its pool does not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent_since: Option<Time>,
    /// VMs that were given up because an administrator vouched that their pool was off. They are removed when the pool
    /// answers again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["incarnation".to_string()]))]
    pub abandoned: Vec<Abandoned>,
    /// Pools that had no room when the VM was to be made; they are not asked again for some minutes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["pool".to_string()]))]
    pub refusals: Vec<Refusal>,
    /// Conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_string()]))]
    pub conditions: Vec<Condition>,
}

/// What a VM is, as its provider tells: not what was asked for. What a provider does not tell with its VMs is left out.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct VmStatus {
    /// The zone it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// The type that it is rented as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_type: Option<String>,
    /// Virtual processors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schema::count")]
    pub vcpus: Option<u32>,
    /// Memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
}

/// An attempt at making a VM.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Creation {
    /// For which incarnation.
    #[schemars(schema_with = "super::schema::count")]
    pub incarnation: u32,
    /// In which pool.
    pub pool: String,
    /// When the provider was last asked.
    pub asked_at: Time,
    /// Whether the VM has been seen.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub seen: bool,
    /// Whether the VM has ever run, or may have. From then on its disks are never given up for want of room.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub started: bool,
    /// The VM was there before and was adopted: it is never replaced, and kept when the guest is deleted unless
    /// `deletionPolicy` says otherwise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopted: bool,
    /// When the operator last started it, by the operator's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// The pool had no room: what was made is removed again and another place is looked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// Since when a VM that had been seen is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_since: Option<Time>,
}

/// A restart that is being carried out. Written before the VM is stopped.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RestartStatus {
    /// Which one: the `restartAt` it answers.
    pub at: Time,
    /// When the VM that is to be restarted had been started, by the provider's clock. It is only ever compared with
    /// itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was_started_at: Option<Time>,
}

/// A change of size or disks that could not be made at once.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ResizeStatus {
    /// What was asked for.
    pub asked: String,
    /// Why it is not so yet.
    pub message: String,
    /// The provider refused it. Otherwise it is done when the VM is next off.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub refused: bool,
    /// When it was asked for.
    pub asked_at: Time,
}

/// What became of a decision to move a guest.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RelocationStatus {
    /// Which decision: its `decidedAt`.
    pub decided_at: Time,
    /// What became of it.
    pub outcome: RelocationOutcome,
    /// In a sentence.
    pub message: String,
}

/// What became of a decision to move a guest.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, schemars::JsonSchema, strum::Display)]
pub enum RelocationOutcome {
    /// The guest is there.
    Done,
    /// An attempt failed; it is tried again while the decision stands.
    Failed,
    /// It is not carried out, because something that was written for the guest forbids it.
    Refused,
}

/// A VM that was given up because an administrator vouched that its pool was off.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Abandoned {
    /// Which VM of the guest it was.
    #[schemars(schema_with = "super::schema::count")]
    pub incarnation: u32,
    /// The pool it was in.
    pub pool: String,
    /// The provider's own id of it, where it was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<String>,
    /// When it was given up.
    pub at: Time,
}

/// Why a guest is where it is.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PlacementStatus {
    /// In a sentence.
    pub message: String,
    /// What spoke for and against the place, term by term; lower is better.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub score: Vec<ScoreTerm>,
    /// The next best place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner_up: Option<NextBest>,
    /// Wishes that could not be fulfilled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub broken_wishes: Vec<String>,
    /// Pools that were not chosen, the first few.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rejected: Vec<Rejection>,
    /// How many more pools were not chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schema::count")]
    pub rejected_more: Option<u32>,
    /// The least that would have to change for it to fit somewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smallest_change: Option<String>,
    /// Where it would be better, or must go, and why it is not moved there by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proposal: Option<String>,
    /// Since when there has been room at home for a guest that overflowed and is to return.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home_room_since: Option<Time>,
}

/// A term of a score.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ScoreTerm {
    /// Its name.
    pub name: String,
    /// Its value, with a unit.
    pub value: String,
}

/// The next best place.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct NextBest {
    /// Its pool.
    pub pool: String,
    /// Its host, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The type that would be rented.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_type: Option<String>,
    /// The first term in which it is worse.
    pub worse_in: String,
    /// By how much.
    pub by: String,
}

/// A pool that was not chosen.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Rejection {
    /// The pool.
    pub pool: String,
    /// Why not.
    pub why: String,
    /// The rules that fail there, the first few.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<FailedRule>,
}

/// A rule that fails in a pool.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct FailedRule {
    /// Its name.
    pub rule: String,
    /// What was wanted.
    pub wanted: String,
    /// What there is.
    pub free: String,
}

/// A pool that had no room when it was asked.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// The pool.
    pub pool: String,
    /// The type that was asked for, where the pool rents out types.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_type: Option<String>,
    /// What the provider said.
    pub message: String,
    /// Not asked again before.
    pub until: Time,
}
