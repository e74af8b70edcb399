//! What there is: guests, pools and their cost, counted at each scrape.

use std::{collections::BTreeMap, sync::Arc};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};
use rust_decimal::{Decimal, prelude::ToPrimitive as _};

use super::Amounts;
use crate::api::{
    CloudPool, Guest,
    condition::{self, Kind},
    money::{Currency, HOURS_PER_MONTH},
};

/// The objects as last seen.
pub struct World<'a> {
    /// All pools.
    pub pools: &'a [Arc<CloudPool>],
    /// All guests.
    pub guests: &'a [Arc<Guest>],
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, EncodeLabelSet)]
struct GuestLabels {
    pool: String,
    phase: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, EncodeLabelSet)]
struct PoolLabels {
    pool: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, EncodeLabelSet)]
struct CostLabels {
    pool: String,
    kind: &'static str,
    currency: String,
}

/// The families.
#[derive(Default)]
pub(super) struct Gauges {
    guests: Family<GuestLabels, Gauge>,
    ready: Family<PoolLabels, Gauge>,
    orphans: Family<PoolLabels, Gauge>,
    costs: Amounts<CostLabels>,
}

impl Gauges {
    pub(super) fn register(&mut self, ours: &mut Registry) {
        ours.register("guests", "Guests by phase; those without a pool have an empty one", self.guests.clone());
        ours.register("pool_ready", "1 where the pool answers, else 0", self.ready.clone());
        let orphans = self.orphans.clone();
        ours.register("pool_orphans", "VMs with this cluster's mark that belong to no guest, at most 20", orphans);
        let costs = self.costs.clone();
        ours.register("cost_per_hour", "Money in an hour by kind, in the currency of the label", costs);
    }

    /// Sets them to what there is now; what is not there any more goes.
    pub(super) fn set(&self, world: Option<&World<'_>>) {
        self.guests.clear();
        self.ready.clear();
        self.orphans.clear();
        self.costs.clear();
        let Some(world) = world else { return };
        for (labels, count) in guests(world.guests) {
            self.guests.get_or_create(&labels).set(count);
        }
        for pool in world.pools {
            let labels = PoolLabels { pool: pool.metadata.name.clone().unwrap_or_default() };
            let status = pool.status.as_ref();
            let ready = status.and_then(|status| condition::find(&status.conditions, Kind::Ready));
            self.ready.get_or_create(&labels).set(i64::from(ready.is_some_and(|ready| ready.status == "True")));
            let orphans = status.map_or(0, |status| status.orphans.len());
            self.orphans.get_or_create(&labels).set(i64::try_from(orphans).unwrap_or(i64::MAX));
        }
        for (labels, amount) in costs(world) {
            self.costs.get_or_create(&labels).set(amount.to_f64().unwrap_or(f64::NAN));
        }
    }
}

fn pool_of(guest: &Guest) -> String {
    guest.binding().map(|binding| binding.pool.clone()).unwrap_or_default()
}

fn guests(guests: &[Arc<Guest>]) -> BTreeMap<GuestLabels, i64> {
    let mut counts = BTreeMap::new();
    for guest in guests {
        let phase = guest.status.as_ref().and_then(|status| status.phase).unwrap_or(crate::api::guest::Phase::Pending);
        *counts.entry(GuestLabels { pool: pool_of(guest), phase: phase.to_string() }).or_insert(0) += 1;
    }
    counts
}

/// What each pool costs in an hour, whether or not anybody lives there, and what its guests cost where they are paid for.
fn costs(world: &World<'_>) -> BTreeMap<CostLabels, Decimal> {
    let mut costs = BTreeMap::new();
    let mut paid = BTreeMap::<(String, Currency), Decimal>::new();
    for guest in world.guests {
        if let Some(cost) = guest.status.as_ref().and_then(|status| status.hourly_cost) {
            *paid.entry((pool_of(guest), cost.currency)).or_default() += cost.amount.0;
        }
    }
    for pool in world.pools {
        let name = pool.metadata.name.clone().unwrap_or_default();
        let pricing = &pool.spec.pricing;
        let mut add = |kind, currency: Currency, amount: Decimal| {
            costs.insert(CostLabels { pool: name.clone(), kind, currency: currency.to_string() }, amount);
        };
        if let Some(owned) = &pricing.owned {
            let months = Decimal::from(owned.depreciation_months.unwrap_or(60).max(1));
            let capital = owned.capital_cost.map_or(Decimal::ZERO, |cost| cost.0);
            add("capital", owned.currency, capital / months / HOURS_PER_MONTH);
            add("running", owned.currency, owned.monthly_running_cost.0 / HOURS_PER_MONTH);
        }
        if let Some(subscription) = &pricing.subscription {
            add("subscription", subscription.currency, subscription.monthly_fee.0 / HOURS_PER_MONTH);
        }
        if let Some(pay) = &pricing.pay_per_use {
            add("pay_per_use", pay.currency, paid.remove(&(name.clone(), pay.currency)).unwrap_or_default());
        }
    }
    costs
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    pub(in super::super) fn pool(name: &str, pricing: &serde_json::Value) -> Arc<CloudPool> {
        let provider = json!({ "ec2": { "region": "eu-west-1" } });
        let spec = json!({ "provider": provider, "location": { "jurisdiction": "IE" }, "pricing": pricing });
        let manifest = json!({ "apiVersion": "innkeeper.dev/v1alpha1", "kind": "CloudPool",
            "metadata": { "name": name }, "spec": spec });
        Arc::new(serde_json::from_value(manifest).unwrap())
    }

    #[test]
    fn each_kind_of_cost_is_told_apart() {
        let owned = json!({ "owned": { "currency": "EUR", "capitalCost": "43800", "monthlyRunningCost": "730" } });
        let types = json!([{ "name": "t3.small", "vcpus": 2, "memory": "2Gi", "hourly": "0.02" }]);
        let paid = json!({ "payPerUse": { "currency": "EUR", "instanceTypes": types } });
        let pools = [pool("home", &owned), pool("cloud", &paid)];
        let costs = costs(&World { pools: &pools, guests: &[] });
        let told: Vec<_> = costs.iter().map(|(l, amount)| (&*l.pool, l.kind, amount.to_string())).collect();
        let of = |pool, kind, amount: &str| (pool, kind, amount.to_owned());
        assert_eq!(told, [of("cloud", "pay_per_use", "0"), of("home", "capital", "1"), of("home", "running", "1")]);
    }
}
