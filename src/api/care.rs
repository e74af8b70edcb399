//! How a workload's VMs are cared for: moved, managed, adopted, removed, held.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// How guests may be moved.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Mobility {
    /// The ways that are allowed. Empty: none, a guest stays where it was made.
    #[serde(default)]
    #[schemars(length(max = 4))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub allow: Vec<Move>,
}

/// A way to move a guest.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, schemars::JsonSchema)]
pub enum Move {
    /// While it runs, to another host of its pool.
    Live,
    /// Its VM is removed with its disks, and a new one is made elsewhere from the image: for guests that keep nothing.
    Recreate,
}

/// What the operator may do with VMs.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, schemars::JsonSchema)]
pub enum ManagementPolicy {
    /// Everything.
    #[serde(rename = "*")]
    All,
    /// Look at them and report; needed by all others, and implied by them.
    Observe,
    /// Make them where they are not there.
    Create,
    /// Start, stop, resize and move them.
    Update,
    /// Remove them.
    Delete,
}

/// A VM that is there already and becomes a guest.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Adoption {
    /// Which guest it becomes: 0 is NAME-0.
    #[schemars(schema_with = "super::schema::count")]
    pub ordinal: u32,
    /// The pool it is in.
    #[schemars(length(min = 1, max = 253))]
    pub pool: String,
    /// The provider's own id of it: a XAPI VM's uuid, an EC2 instance id.
    #[schemars(length(min = 1, max = 256))]
    pub provider_id: String,
}

/// What becomes of a VM when its guest is deleted. Left out: `Delete`, and `Retain` for a VM that was adopted.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, schemars::JsonSchema)]
pub enum DeletionPolicy {
    /// It is removed, with its disks and snapshots.
    Delete,
    /// It stays as it is and belongs to nobody.
    Retain,
}

/// A reason why VMs may not be removed.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Hold {
    /// What it is called, such as the number of a case.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub reason: Option<String>,
}
