//! What there is: pools with their hosts or offerings, as one immutable value. Everything here has been gathered and
//! validated before; a fact that is not known is `None` or absent from its list, and then counts against the pool.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::Deserialize;

use super::request::GuestState;
use crate::api::{
    money::{Currency, Money},
    quantity::Bytes,
};

/// Everything a decision is made from. The same world and options always give the same plan.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct World {
    /// The time of the decision.
    pub now: Timestamp,
    /// The currency in which places are compared and plans are priced.
    pub currency: Currency,
    /// What one unit of another currency is worth in `currency`. A place priced in a currency without a rate ranks
    /// after every place whose price is known, and counts as over every budget and spending limit.
    #[serde(default)]
    pub rates: BTreeMap<Currency, Decimal>,
    /// Where guests can live.
    pub pools: Vec<Pool>,
    /// Every guest, bound or not. Bound ones are subtracted from their host whether or not the provider shows them yet.
    #[serde(default)]
    pub guests: Vec<GuestState>,
}

/// A place where guests can live.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pool {
    /// The pool's name, unique in the world.
    pub name: String,
    /// The pool's labels, for selectors and topology.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Takes no new guests; those that are there stay.
    #[serde(default)]
    pub cordoned: bool,
    /// Takes no new guests, and those that are there are to leave.
    #[serde(default)]
    pub drain: bool,
    /// Whether the pool can be worked with now.
    #[serde(default)]
    pub health: Health,
    /// ISO 3166 code of the country whose law applies. Unknown is not allowed for a guest that is restricted.
    #[serde(default)]
    pub jurisdiction: Option<String>,
    /// Classes of data that may be kept here.
    #[serde(default)]
    pub data_classes: BTreeSet<String>,
    /// Certificates the pool holds.
    #[serde(default)]
    pub certifications: BTreeSet<String>,
    /// Logical names of the images that can be booted here.
    #[serde(default)]
    pub images: BTreeSet<String>,
    /// Logical names of the networks that guests can be attached to here.
    #[serde(default)]
    pub networks: BTreeSet<String>,
    /// Logical names of the storage that disks can be put on here.
    #[serde(default)]
    pub storages: BTreeSet<String>,
    /// Who may place guests here.
    #[serde(default)]
    pub tenancy: Tenancy,
    /// What keeps guests away that do not tolerate it.
    #[serde(default)]
    pub taints: Vec<Taint>,
    /// How much of the pool may be used.
    #[serde(default)]
    pub limits: Limits,
    /// How many vCPUs may be promised for each one there is.
    #[serde(default = "one")]
    pub cpu_overcommit: Decimal,
    /// What it costs.
    #[serde(default)]
    pub pricing: Pricing,
    /// What it consists of.
    pub capacity: Capacity,
}

fn one() -> Decimal {
    Decimal::ONE
}

/// Whether a pool can be worked with.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Health {
    /// It answers and its inventory is current.
    #[default]
    Ready,
    /// It answers but must not be given guests, for this reason.
    NotReady(String),
    /// It does not answer, for this reason. What it lodges is unknown, so nothing on it is moved or started anew.
    Unreachable(String),
}

/// Who may place guests on a pool.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Tenancy {
    /// Every namespace.
    #[default]
    Anyone,
    /// These namespaces, as resolved from the pool's selector.
    Namespaces(BTreeSet<String>),
}

/// Keeps guests away that do not tolerate it, as with Kubernetes nodes.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Taint {
    /// What it is about.
    pub key: String,
    /// A value, often empty.
    #[serde(default)]
    pub value: String,
    /// What it does.
    pub effect: Effect,
    /// Since when; `NoExecute` tolerations with a time count from here.
    #[serde(default)]
    pub since: Option<Timestamp>,
}

/// What a taint does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub enum Effect {
    /// New guests stay away.
    NoSchedule,
    /// New guests stay away where they can.
    PreferNoSchedule,
    /// New guests stay away and those that are there leave.
    NoExecute,
}

/// How much of a pool may be used. `None` is no limit.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// Guests, also those that are stopped.
    #[serde(default)]
    pub guests: Option<u32>,
    /// vCPUs of guests that run; on offerings, of their instance types.
    #[serde(default)]
    pub vcpus: Option<u64>,
    /// Memory of guests that run, without overhead; on offerings, of their instance types.
    #[serde(default)]
    pub memory: Option<Bytes>,
    /// What the pay-per-use instances of this pool may cost in a month of 730 hours.
    #[serde(default)]
    pub monthly_spend: Option<Money>,
}

/// What a pool costs. A pool of hosts without any pricing counts as owned at no running cost.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pricing {
    /// Bought: the capital is sunk and only running it costs.
    #[serde(default)]
    pub owned: Option<Owned>,
    /// Paid for already up to an included size.
    #[serde(default)]
    pub subscription: Option<Subscription>,
}

/// A pool that was bought.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Owned {
    /// What it cost. Never part of a decision, only of the amortised report.
    pub capital: Money,
    /// Over how many months that is written off.
    pub depreciation_months: u32,
    /// Power, cooling, housing, licences of the whole pool in a month. A guest bears its share of the pool.
    pub monthly_running: Money,
}

/// A pool that is paid for up to a size, used or not.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Subscription {
    /// The fee of a month. Never part of a decision, only of the amortised report.
    pub monthly_fee: Money,
    /// vCPUs that are included.
    pub included_vcpus: u64,
    /// Memory that is included.
    pub included_memory: Bytes,
    /// When it ends; from then on nothing is included.
    #[serde(default)]
    pub term_ends: Option<Timestamp>,
}

/// What a pool consists of.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Capacity {
    /// Hosts that guests share.
    Hosts {
        /// The hosts.
        hosts: Vec<Host>,
        /// Memory that a guest takes on top of its own.
        #[serde(default)]
        overhead: Overhead,
    },
    /// Instance types that can be rented, as many as wanted up to the pool's limits.
    Offerings(Vec<Offering>),
}

/// A machine that lodges guests.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Host {
    /// The host's name, unique in its pool.
    pub name: String,
    /// Memory for guests: all of it, less what the hypervisor takes and less everything that is not one of our bound
    /// guests. Bound guests are subtracted by the engine.
    pub memory: Bytes,
    /// Physical threads that guests may run on.
    pub vcpus: u32,
    /// Other things that are counted, such as virtual GPUs, by name.
    #[serde(default)]
    pub resources: BTreeMap<String, u64>,
    /// Takes new guests.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Those that are there are to leave.
    #[serde(default)]
    pub evacuate: bool,
    /// Virtual machines there that are not ours. Unknown keeps guests away that want a host for themselves.
    #[serde(default)]
    pub foreign_guests: Option<u32>,
    /// Labels, for topology (a rack, a row); they go before the pool's.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

pub(super) fn yes() -> bool {
    true
}

/// Memory that a hypervisor takes for a guest on top of the guest's own: fixed + per vCPU + a fraction of its memory.
/// For hardware-assisted guests of xapi 26 that is 12 MiB + 1 MiB per vCPU + 1/128.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Overhead {
    /// For every guest.
    #[serde(default)]
    pub fixed: Bytes,
    /// For each of its vCPUs.
    #[serde(default)]
    pub per_vcpu: Bytes,
    /// One part in this many of its memory, rounded up; 0 is none.
    #[serde(default)]
    pub one_in: u64,
}

impl Overhead {
    /// The overhead of a guest of this size.
    #[must_use]
    pub fn of(&self, vcpus: u32, memory: Bytes) -> Bytes {
        let fraction = if self.one_in == 0 { 0 } else { memory.0.div_ceil(self.one_in) };
        let per_vcpu = self.per_vcpu.0.saturating_mul(u64::from(vcpus));
        Bytes(self.fixed.0.saturating_add(per_vcpu).saturating_add(fraction))
    }
}

/// An instance type that can be rented in a place.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Offering {
    /// The provider's name of the type.
    pub instance_type: String,
    /// The provider's zone, where it has zones.
    #[serde(default)]
    pub zone: Option<String>,
    /// vCPUs.
    pub vcpus: u32,
    /// Memory.
    pub memory: Bytes,
    /// Price of an hour.
    pub hourly: Money,
    /// Whether the provider sells it now.
    #[serde(default = "yes")]
    pub available: bool,
    /// Not to be tried before this time, because the provider refused it for want of capacity.
    #[serde(default)]
    pub backed_off_until: Option<Timestamp>,
    /// Whether the machine below is the tenant's alone.
    #[serde(default)]
    pub dedicated: bool,
    /// Whether the provider may take the capacity back at any time. Only for guests that allow it.
    #[serde(default)]
    pub spot: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As measured on xapi 26: a guest of 1 GiB and one vCPU takes 1095761920 bytes of its host.
    #[test]
    fn overhead_is_that_of_xapi() {
        let overhead = Overhead { fixed: Bytes::mib(12), per_vcpu: Bytes::mib(1), one_in: 128 };
        assert_eq!(overhead.of(1, Bytes::gib(1)).0 + Bytes::gib(1).0, 1_095_761_920);
        assert_eq!(Overhead::default().of(64, Bytes::gib(64)), Bytes(0));
    }
}
