//! From a `CloudPool` to the engine's pool. Pure.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use kube::ResourceExt as _;
use rust_decimal::Decimal;

use super::policy::{effect, selector};
use crate::{
    api::{
        CloudPool, CloudPoolStatus,
        cloud_pool::{CloudPoolSpec, Taint},
        condition::{self, Kind},
        money::Money,
        pool_status::{HostStatus, OfferingStatus, SetAside},
        pricing::{InstanceType, PayPerUsePricing, Pricing},
    },
    plan,
};

/// All namespaces with their labels.
pub type Namespaces = BTreeMap<String, BTreeMap<String, String>>;

/// Virtual processors for each physical one when a pool does not say.
pub(super) const DEFAULT_OVERCOMMIT: Decimal = Decimal::from_parts(4, 0, 0, false, 0);
/// Over how many months hardware is written off when a pool does not say.
const DEFAULT_DEPRECIATION: u32 = 60;

/// The engine's view of a pool. `namespaces` are all there are, with their labels.
pub(super) fn pool(pool: &CloudPool, namespaces: &Namespaces) -> plan::Pool {
    let (spec, status) = (&pool.spec, pool.status.clone().unwrap_or_default());
    let protection = spec.data_protection.clone().unwrap_or_default();
    let limits = spec.capacity.as_ref().and_then(|capacity| capacity.limits.clone()).unwrap_or_default();
    plan::Pool {
        name: pool.name_any(),
        labels: pool.labels().clone(),
        cordoned: spec.cordoned || spec.drain || spec.fenced,
        drain: spec.drain,
        health: health(pool, &status),
        jurisdiction: Some(spec.location.jurisdiction.clone()),
        data_classes: protection.permitted_classes.into_iter().map(|name| name.0).collect(),
        certifications: protection.certifications.into_iter().map(|name| name.0).collect(),
        images: spec.images.iter().map(|image| image.name.clone()).collect(),
        networks: spec.networks.iter().map(|network| network.name.clone()).collect(),
        storages: spec.storage.iter().map(|storage| storage.name.clone()).collect(),
        tenancy: tenancy(spec, namespaces),
        taints: spec.taints.iter().map(taint).collect(),
        limits: plan::Limits {
            guests: limits.guests,
            vcpus: limits.vcpus.map(u64::from),
            memory: limits.memory,
            monthly_spend: limits.monthly_spend.and_then(|amount| {
                spec.pricing.pay_per_use.as_ref().map(|paid| Money { amount, currency: paid.currency })
            }),
        },
        cpu_overcommit: overcommit(spec),
        pricing: pricing(&spec.pricing),
        capacity: capacity(pool, spec, &status),
    }
}

fn tenancy(spec: &CloudPoolSpec, namespaces: &Namespaces) -> plan::Tenancy {
    match &spec.tenancy {
        None => plan::Tenancy::Anyone,
        Some(tenancy) => {
            let selector = selector(tenancy.namespace_selector.clone());
            let allowed = namespaces.iter().filter(|(_, labels)| selector.matches(labels));
            plan::Tenancy::Namespaces(allowed.map(|(name, _)| name.clone()).collect())
        }
    }
}

fn taint(taint: &Taint) -> plan::Taint {
    let value = taint.value.clone().unwrap_or_default();
    plan::Taint { key: taint.key.clone(), value, effect: effect(taint.effect), since: None }
}

fn pricing(pricing: &Pricing) -> plan::Pricing {
    plan::Pricing {
        owned: pricing.owned.as_ref().map(|owned| plan::Owned {
            capital: Money { amount: owned.capital_cost.unwrap_or_default(), currency: owned.currency },
            depreciation_months: owned.depreciation_months.unwrap_or(DEFAULT_DEPRECIATION),
            monthly_running: Money { amount: owned.monthly_running_cost, currency: owned.currency },
        }),
        subscription: pricing.subscription.as_ref().map(|paid| plan::Subscription {
            monthly_fee: Money { amount: paid.monthly_fee, currency: paid.currency },
            included_vcpus: u64::from(paid.included_vcpus),
            included_memory: paid.included_memory,
            term_ends: paid.term_ends.as_ref().map(|time| time.0),
        }),
    }
}

pub(crate) fn overcommit(spec: &CloudPoolSpec) -> Decimal {
    let wished = spec.capacity.as_ref().and_then(|capacity| capacity.cpu_overcommit.as_deref());
    wished.and_then(|text| Decimal::from_str_exact(text).ok()).unwrap_or(DEFAULT_OVERCOMMIT)
}

fn health(pool: &CloudPool, status: &CloudPoolStatus) -> plan::Health {
    let ready = condition::find(&status.conditions, Kind::Ready);
    let reachable = condition::find(&status.conditions, Kind::Reachable);
    if pool.metadata.deletion_timestamp.is_some() {
        return plan::Health::NotReady("it is being deleted".to_owned());
    }
    match (ready, reachable) {
        (Some(ready), _) if ready.status == "True" => plan::Health::Ready,
        (_, Some(reachable)) if reachable.status != "True" => plan::Health::Unreachable(reachable.message.clone()),
        (Some(ready), _) => plan::Health::NotReady(ready.message.clone()),
        (None, _) => plan::Health::NotReady("it has not been looked at yet".to_owned()),
    }
}

fn capacity(pool: &CloudPool, spec: &CloudPoolSpec, status: &CloudPoolStatus) -> plan::Capacity {
    if let Some(paid) = &spec.pricing.pay_per_use {
        return plan::Capacity::Offerings(offerings(paid, status));
    }
    let overhead = status.guest_overhead.as_ref().map_or_else(plan::Overhead::default, |overhead| plan::Overhead {
        fixed: overhead.fixed,
        per_vcpu: overhead.per_vcpu,
        one_in: u64::from(overhead.memory_divisor),
    });
    let drains = |host: &HostStatus| spec.drain_hosts.iter().any(|name| name.0 == host.name || name.0 == host.id);
    let hosts = named_hosts(pool)
        .into_iter()
        .map(|(name, host)| plan::Host { evacuate: drains(host), ..plan_host(name, host, overcommit(spec)) })
        .map(|host| plan::Host { enabled: host.enabled && !host.evacuate, ..host })
        .collect();
    plan::Capacity::Hosts { hosts, overhead }
}

/// What can be rented: each type in each zone that has it, on demand and, where there is a price for it, as spot.
fn offerings(paid: &PayPerUsePricing, status: &CloudPoolStatus) -> Vec<plan::Offering> {
    let written = |one: &InstanceType| OfferingStatus {
        instance_type: one.name.clone(),
        vcpus: one.vcpus,
        memory: one.memory,
        zones: Vec::new(),
        hourly: one.hourly,
        spot_hourly: one.spot_hourly,
    };
    let all = if paid.from_catalogue() {
        status.offerings.clone()
    } else {
        paid.instance_types.iter().map(written).collect()
    };
    let mut rows = Vec::new();
    for one in &all {
        let zones = one.zones.iter().map(Some).chain(one.zones.is_empty().then_some(None));
        for zone in zones {
            let prices = [(false, Some(one.hourly)), (true, one.spot_hourly)];
            for (spot, amount) in prices.into_iter().filter_map(|(spot, amount)| Some((spot, amount?))) {
                rows.push(plan::Offering {
                    instance_type: one.instance_type.clone(),
                    zone: zone.cloned(),
                    vcpus: one.vcpus,
                    memory: one.memory,
                    hourly: Money { amount, currency: paid.currency },
                    available: true,
                    backed_off_until: backed_off_until(status, &one.instance_type, zone, spot),
                    dedicated: false,
                    spot,
                });
            }
        }
    }
    rows
}

/// What was refused without a zone was refused in all of them.
fn backed_off_until(
    status: &CloudPoolStatus,
    instance_type: &str,
    zone: Option<&String>,
    spot: bool,
) -> Option<Timestamp> {
    let same = |aside: &&SetAside| {
        let anywhere = aside.zone.is_none() || aside.zone.as_ref() == zone;
        aside.instance_type == instance_type && aside.spot == spot && anywhere
    };
    status.set_aside.iter().filter(same).map(|aside| aside.until.0).max()
}

pub(super) fn plan_host(name: String, host: &HostStatus, overcommit: Decimal) -> plan::Host {
    // Others' virtual processors take their share of the physical ones at the same ratio.
    let others = (Decimal::from(host.vcpus_others) / overcommit.max(Decimal::ONE)).ceil();
    plan::Host {
        name,
        memory: host.allocatable_memory,
        vcpus: host.cpus.saturating_sub(u32::try_from(others).unwrap_or(u32::MAX)),
        resources: BTreeMap::new(),
        enabled: host.schedulable,
        evacuate: false,
        foreign_guests: Some(host.guests_others),
        labels: BTreeMap::new(),
    }
}

/// The hosts of a pool by a name that only one of them has.
pub(super) fn named_hosts(pool: &CloudPool) -> Vec<(String, &HostStatus)> {
    let hosts = pool.status.as_ref().map_or(&[][..], |status| &status.hosts);
    let mut times: HashMap<&str, u32> = HashMap::new();
    for host in hosts {
        *times.entry(&host.name).or_default() += 1;
    }
    let name = |host: &HostStatus| match times.get(host.name.as_str()) {
        Some(1) => host.name.clone(),
        _ => format!("{} ({})", host.name, host.id),
    };
    hosts.iter().map(|host| (name(host), host)).collect()
}
