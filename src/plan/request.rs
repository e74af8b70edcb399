//! What is wanted: guests with their size and rules, bound or not.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Deserializer, Serialize};

use super::inventory::{Effect, Taint, yes};
use crate::api::{money::Money, quantity::Bytes};

/// A guest as the engine sees it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct GuestState {
    /// The guest's identity, unique in the world.
    pub uid: String,
    /// Its namespace: the tenant.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The workload in the same namespace that it belongs to. Spread, affinity and budgets count by workload.
    pub workload: String,
    /// When it was made; older ones go first among equals.
    pub created_at: Timestamp,
    /// Since when it could not be placed. The delay before paid capacity is used counts from here.
    #[serde(default)]
    pub waiting_since: Option<Timestamp>,
    /// How large it is.
    pub size: Size,
    /// Whether it is to run. A stopped guest holds no memory and no vCPU, but counts as a guest of its pool.
    #[serde(default = "yes")]
    pub powered_on: bool,
    /// Logical name of its image; `None` where any pool can make it.
    #[serde(default)]
    pub image: Option<String>,
    /// Logical names of its networks.
    #[serde(default)]
    pub networks: BTreeSet<String>,
    /// Logical names of the storage its disks are on.
    #[serde(default)]
    pub storages: BTreeSet<String>,
    /// Its rules and wishes, shared between the guests of a workload.
    #[serde(default, deserialize_with = "shared")]
    pub policy: Arc<Policy>,
    /// Where it is, or was decided to be: a claim that holds until it is withdrawn, seen by the provider or not.
    #[serde(default)]
    pub bound: Option<Bound>,
    /// Places that refused it, and until when they are not tried again.
    #[serde(default)]
    pub excluded: Vec<Excluded>,
    /// Since when there has been room at home for a guest that lives in paid capacity (see [`super::Plan::home_room`]).
    #[serde(default)]
    pub home_room_since: Option<Timestamp>,
    /// When it was last moved; it is left alone for a while after.
    #[serde(default)]
    pub moved_at: Option<Timestamp>,
    /// Whether it may be moved while it runs (live, within its pool).
    #[serde(default = "yes")]
    pub movable: bool,
    /// Whether its VM may be removed and another one made elsewhere: for guests that keep nothing.
    #[serde(default)]
    pub recreate: bool,
    /// The place that is kept for a guest whose VM was removed so that it is made anew there. It is placed before all
    /// others, and need not wait where that is paid capacity.
    #[serde(default)]
    pub reserved: Option<Bound>,
    /// It is being deleted, or is between two states: it still holds its place but is neither placed nor moved.
    #[serde(default)]
    pub leaving: bool,
}

fn shared<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<Policy>, D::Error> {
    Policy::deserialize(deserializer).map(Arc::new)
}

/// How large a guest is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Size {
    /// vCPUs.
    pub vcpus: u32,
    /// Memory, without the hypervisor's overhead.
    pub memory: Bytes,
    /// Other things that are counted, by name. Offerings have none.
    #[serde(default)]
    pub resources: BTreeMap<String, u64>,
}

/// Where a guest is bound to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bound {
    /// The pool.
    pub pool: String,
    /// The host, in a pool of hosts. Without one, a guest that is to run is given one in the same pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The instance type, in a pool of offerings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_type: Option<String>,
    /// The zone, where the provider has zones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// At the price of capacity that the provider can take back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub spot: bool,
}

/// A place that refused a guest.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Excluded {
    /// The pool.
    pub pool: String,
    /// Until when it is not tried again.
    pub until: Timestamp,
}

/// Rules and wishes of a guest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Policy {
    /// Pools that may be used at all. Empty selects every pool.
    pub pool_selector: Selector,
    /// Pools that are wished for. A wish of weight w makes every other place count as w percent dearer.
    pub preferred: Vec<Preference>,
    /// Countries whose law is acceptable; `None` is all, also unknown ones.
    pub jurisdictions: Option<BTreeSet<String>>,
    /// The class of its data; `None` is not restricted.
    pub data_class: Option<String>,
    /// Certificates that the pool must hold.
    pub certifications: BTreeSet<String>,
    /// How the guests of the workload are spread.
    pub spread: Vec<Spread>,
    /// Whether other tenants may be on the same host.
    pub isolation: Isolation,
    /// Whether capacity may be used that the provider can take back.
    pub spot: bool,
    /// Nearness to, or distance from, the guests of workloads in the same namespace.
    pub affinity: Vec<Affinity>,
    /// Whether and when paid capacity is used.
    pub burst: Burst,
    /// What is best among the places that are allowed.
    pub objective: Objective,
    /// Taints that do not keep it away.
    pub tolerations: Vec<Toleration>,
    /// Higher goes first. Nobody is put out for it.
    pub priority: i32,
    /// What all guests of the workload together may cost in a month of 730 hours, counted marginally.
    pub budget: Option<Money>,
}

/// Which labels are wanted, with the meaning of Kubernetes' label selectors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Selector {
    /// Labels with exactly these values.
    pub match_labels: BTreeMap<String, String>,
    /// More conditions; all must hold.
    pub match_expressions: Vec<Expression>,
}

/// A condition on a label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Expression {
    /// The label.
    pub key: String,
    /// What must hold.
    pub operator: Operator,
    /// For `In` and `NotIn`.
    #[serde(default)]
    pub values: BTreeSet<String>,
}

/// What must hold of a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
pub enum Operator {
    /// It has one of the values.
    In,
    /// It is absent or has none of the values.
    NotIn,
    /// It is there.
    Exists,
    /// It is not there.
    DoesNotExist,
}

impl Selector {
    /// Whether these labels are selected.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.match_expressions.iter().all(|e| match (e.operator, labels.get(&e.key)) {
                (Operator::In, Some(value)) => e.values.contains(value),
                (Operator::NotIn, Some(value)) => !e.values.contains(value),
                (Operator::Exists, found) => found.is_some(),
                (Operator::DoesNotExist, found) => found.is_none(),
                (Operator::In, None) => false,
                (Operator::NotIn, None) => true,
            })
    }
}

/// A wish for pools.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Preference {
    /// 1 to 100: percent of the price that it is worth.
    pub weight: u8,
    /// The pools that are wished for.
    #[serde(default)]
    pub selector: Selector,
}

/// What counts as one place for spread and affinity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Topology {
    /// A host; a rented instance is a host of its own.
    Host,
    /// A pool.
    Pool,
    /// A country.
    Jurisdiction,
    /// Hosts or pools with the same value of this label; the host's label goes before the pool's.
    Label(String),
}

/// How the guests of a workload are spread.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spread {
    /// Over what.
    pub topology: Topology,
    /// By how much the fullest place that receives a guest may exceed the emptiest one it could have gone to.
    pub max_skew: u32,
    /// What to do where that is not possible.
    #[serde(default)]
    pub when_unsatisfiable: WhenUnsatisfiable,
}

/// What to do where a spread is not possible.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
pub enum WhenUnsatisfiable {
    /// Do not place the guest.
    #[default]
    DoNotSchedule,
    /// Place it all the same, and say so.
    ScheduleAnyway,
}

/// Whether other tenants may be on the same host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
pub enum Isolation {
    /// They may.
    #[default]
    Shared,
    /// The host lodges guests of this namespace only.
    DedicatedHost,
}

/// Nearness to, or distance from, other guests. Distance holds both ways, as in Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Affinity {
    /// Near or far.
    pub kind: Side,
    /// The workloads in the same namespace that it is about; it may name the guest's own.
    pub workloads: BTreeSet<String>,
    /// What counts as one place.
    pub topology: Topology,
}

/// Near or far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
pub enum Side {
    /// In a place with at least one of them. The first guest of a workload that is near to itself may go anywhere.
    Near,
    /// In a place with none of them.
    Apart,
}

/// Whether and when paid capacity is used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Burst {
    /// Never, as long as the selector names a pool that is owned or paid for already.
    #[default]
    Never,
    /// When no pool that is owned or paid for has had room for a while.
    #[serde(rename_all = "camelCase")]
    WhenFull {
        /// For how long.
        #[serde(default)]
        after: SignedDuration,
        /// Back home once there has been room for this long; `None` stays away.
        #[serde(default)]
        return_home: Option<SignedDuration>,
    },
}

/// What is best among the places that are allowed. Home goes before paid whatever the objective.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
pub enum Objective {
    /// The least marginal cost, then the tightest fit.
    #[default]
    Cost,
    /// The least loaded host.
    Performance,
    /// The fewest hosts: where it takes the least room from guests of the usual shape, then the host with the
    /// least memory left, then the one that has been occupied longest. Young hosts get a chance to empty.
    Density,
}

/// A taint that does not keep a guest away.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Toleration {
    /// The taint's key; `None` is every key.
    #[serde(default)]
    pub key: Option<String>,
    /// The taint's value; `None` is every value.
    #[serde(default)]
    pub value: Option<String>,
    /// The taint's effect; `None` is every effect.
    #[serde(default)]
    pub effect: Option<Effect>,
    /// For `NoExecute`: how long a guest that is there may stay; `None` is for ever.
    #[serde(default)]
    pub seconds: Option<i64>,
}

impl Toleration {
    /// Whether it is about this taint.
    #[must_use]
    pub fn matches(&self, taint: &Taint) -> bool {
        self.key.as_ref().is_none_or(|key| *key == taint.key)
            && self.value.as_ref().is_none_or(|value| *value == taint.value)
            && self.effect.is_none_or(|effect| effect == taint.effect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_mean_what_they_mean_in_kubernetes() {
        let labels: BTreeMap<String, String> = [("site".to_owned(), "north".to_owned())].into();
        let on = |key: &str, operator, values: &[&str]| {
            let values = values.iter().map(|v| (*v).to_owned()).collect();
            let expression = Expression { key: key.to_owned(), operator, values };
            Selector { match_expressions: vec![expression], ..Selector::default() }.matches(&labels)
        };
        assert!(Selector::default().matches(&labels));
        assert!(on("site", Operator::In, &["north", "south"]) && !on("site", Operator::In, &["south"]));
        assert!(on("site", Operator::NotIn, &["south"]) && !on("site", Operator::NotIn, &["north"]));
        // A label that is absent has none of the values.
        assert!(on("rack", Operator::NotIn, &["r1"]) && !on("rack", Operator::In, &["r1"]));
        assert!(on("site", Operator::Exists, &[]) && !on("rack", Operator::Exists, &[]));
        assert!(on("rack", Operator::DoesNotExist, &[]) && !on("site", Operator::DoesNotExist, &[]));
    }
}
