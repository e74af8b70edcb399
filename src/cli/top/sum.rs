//! Sums over pools and guests, from what their objects say. Pure.

use std::collections::BTreeMap;

use kube::{Resource as _, ResourceExt as _};
use rust_decimal::{Decimal, prelude::ToPrimitive as _};
use serde::Serialize;

use super::money::{self, Hourly};
use crate::{
    api::{
        CloudPool, Guest,
        condition::{self, Kind},
        money::Currency,
        pool_status::HostStatus,
        quantity::Bytes,
    },
    scheduler::pools,
};

/// What is used and what it costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    pub pools: Vec<PoolTop>,
    pub workloads: Vec<WorkloadTop>,
    /// The costs of all pools in an hour, by currency.
    pub total_hourly: BTreeMap<String, Hourly>,
    /// Guests that are bound to no pool.
    pub unplaced: u32,
}

/// A pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PoolTop {
    pub name: String,
    pub ready: bool,
    /// Hosts, where the pool has hosts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hosts: Option<Hosts>,
    pub guests: u32,
    /// What guests that run take: of the hosts where there are some, else of the types that are rented.
    pub used_memory_bytes: u64,
    pub used_vcpus: u64,
    pub currency: Option<Currency>,
    pub hourly: Hourly,
    /// Guests whose price is not known; they are in none of the sums.
    pub unpriced: u32,
}

/// The hosts of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Hosts {
    pub total: u32,
    /// On how many of them guests may start.
    pub schedulable: u32,
    /// Memory of all of them without the hypervisor's.
    pub memory_bytes: u64,
    /// What VMs that are no guests take of it.
    pub others_memory_bytes: u64,
    pub free_memory_bytes: u64,
    /// Virtual processors of all of them, with overcommit.
    pub vcpus: u64,
    pub others_vcpus: u64,
    pub free_vcpus: u64,
}

/// A workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WorkloadTop {
    pub namespace: String,
    pub name: String,
    pub guests: u32,
    pub memory_bytes: u64,
    pub vcpus: u64,
    /// Its costs in an hour, by currency.
    pub hourly: BTreeMap<String, Hourly>,
    pub unpriced: u32,
}

/// What the hosts of a pool have.
pub(super) struct Room<'a> {
    pool: &'a CloudPool,
    pub memory: u64,
    pub vcpus: u64,
    /// Those of hosts that may be started on.
    open_vcpus: u64,
}

impl<'a> Room<'a> {
    fn new(pool: &'a CloudPool) -> Self {
        let hosts = pool.status.as_ref().map_or(&[][..], |status| &status.hosts);
        let memory = hosts.iter().map(|host| host.memory.0).sum();
        let overcommit = pools::overcommit(&pool.spec);
        let vcpus = |host: &HostStatus| (overcommit * Decimal::from(host.cpus)).floor().to_u64().unwrap_or(0);
        let open_vcpus = hosts.iter().filter(|host| host.schedulable).map(vcpus).sum();
        Self { pool, memory, vcpus: hosts.iter().map(vcpus).sum(), open_vcpus }
    }

    /// Whether the guest is on a host that may not be started on.
    fn is_on_closed_host(&self, guest: &Guest) -> bool {
        let hosts = self.pool.status.as_ref().map_or(&[][..], |status| &status.hosts);
        let seen = guest.status.as_ref().and_then(|status| status.host.as_deref());
        let bound = guest.binding().and_then(|binding| binding.host.as_deref());
        let host = hosts.iter().find(|host| match seen {
            Some(name) => host.name == name,
            None => Some(host.id.as_str()) == bound,
        });
        host.is_some_and(|host| !host.schedulable)
    }

    /// Memory and processors that a guest takes here.
    pub(super) fn taken(&self, guest: &Guest) -> [u64; 2] {
        let size = &guest.spec.template.size;
        let memory = size.memory.0.saturating_add(money::overhead(self.pool, size.memory, size.vcpus));
        [memory, u64::from(size.vcpus)]
    }
}

/// Sums up.
pub(super) fn report(pools: &[CloudPool], guests: &[Guest]) -> Report {
    let mut bound: BTreeMap<&str, Vec<&Guest>> = BTreeMap::new();
    let mut unplaced = 0;
    for guest in guests {
        match guest.binding() {
            Some(binding) => bound.entry(&binding.pool).or_default().push(guest),
            None => unplaced += 1,
        }
    }
    let mut report = Report { pools: Vec::new(), workloads: Vec::new(), total_hourly: BTreeMap::new(), unplaced };
    let mut workloads: BTreeMap<(String, String), WorkloadTop> = BTreeMap::new();
    for guest in guests {
        count(&mut workloads, guest);
    }
    for pool in pools {
        let here = bound.remove(pool.name_any().as_str()).unwrap_or_default();
        let top = pool_top(pool, &here, &mut workloads);
        if let Some(currency) = top.currency {
            let total = report.total_hourly.entry(currency.to_string()).or_default();
            *total = total.plus(top.hourly).rounded();
        }
        report.pools.push(top);
    }
    report.pools.sort_by(|a, b| a.name.cmp(&b.name));
    report.workloads = workloads.into_values().collect();
    for workload in &mut report.workloads {
        workload.hourly.values_mut().for_each(|hourly| *hourly = hourly.rounded());
    }
    report
}

fn key(guest: &Guest) -> (String, String) {
    (guest.meta().namespace.clone().unwrap_or_default(), guest.spec.workload.clone())
}

/// Counts a guest for its workload, wherever it is.
fn count(workloads: &mut BTreeMap<(String, String), WorkloadTop>, guest: &Guest) {
    let (namespace, name) = key(guest);
    let entry = workloads.entry((namespace.clone(), name.clone())).or_insert_with(|| WorkloadTop {
        namespace,
        name,
        guests: 0,
        memory_bytes: 0,
        vcpus: 0,
        hourly: BTreeMap::new(),
        unpriced: 0,
    });
    entry.guests += 1;
    if money::runs(guest) && guest.binding().is_some() {
        entry.memory_bytes = entry.memory_bytes.saturating_add(guest.spec.template.size.memory.0);
        entry.vcpus += u64::from(guest.spec.template.size.vcpus);
    }
}

fn pool_top(pool: &CloudPool, here: &[&Guest], workloads: &mut BTreeMap<(String, String), WorkloadTop>) -> PoolTop {
    let status = pool.status.clone().unwrap_or_default();
    let (room, currency) = (Room::new(pool), money::currency(&pool.spec.pricing));
    let (mut hourly, mut unpriced) = (money::standing(&pool.spec.pricing), 0);
    let (mut used, mut elsewhere) = ([0_u64; 2], [0_u64; 2]);
    for guest in here {
        if money::runs(guest) {
            let taken = if status.hosts.is_empty() { rented(pool, guest) } else { room.taken(guest) };
            used = plus(used, taken);
            if room.is_on_closed_host(guest) {
                elsewhere = plus(elsewhere, taken);
            }
        }
        let workload = workloads.get_mut(&key(guest));
        let (Some(cost), Some(currency)) = (money::of_guest(pool, &room, guest), currency) else {
            unpriced += 1;
            if let Some(workload) = workload {
                workload.unpriced += 1;
            }
            continue;
        };
        // What the pool costs anyway is in its sum already; what is rented comes on top of it.
        hourly.pay_per_use += cost.pay_per_use;
        hourly.amortised += cost.pay_per_use;
        hourly.marginal += cost.marginal;
        if let Some(workload) = workload {
            let sum = workload.hourly.entry(currency.to_string()).or_default();
            *sum = sum.plus(cost);
        }
    }
    PoolTop {
        name: pool.name_any(),
        ready: condition::is_true(&status.conditions, Kind::Ready),
        hosts: (!status.hosts.is_empty()).then(|| hosts(pool, &room, [used[0] - elsewhere[0], used[1] - elsewhere[1]])),
        guests: u32::try_from(here.len()).unwrap_or(u32::MAX),
        used_memory_bytes: used[0],
        used_vcpus: used[1],
        currency,
        hourly: hourly.rounded(),
        unpriced,
    }
}

/// Memory and processors of the type that a guest rents; its own where the type is not in any list.
fn rented(pool: &CloudPool, guest: &Guest) -> [u64; 2] {
    let name = guest.binding().and_then(|binding| binding.instance_type.as_deref());
    let paid = pool.spec.pricing.pay_per_use.as_ref().map_or(&[][..], |paid| &paid.instance_types);
    let listed = paid.iter().find(|one| Some(one.name.as_str()) == name).map(|one| (one.memory, one.vcpus));
    let offered = || {
        let offers = &pool.status.as_ref()?.offerings;
        offers.iter().find(|one| Some(one.instance_type.as_str()) == name).map(|one| (one.memory, one.vcpus))
    };
    let size = &guest.spec.template.size;
    let (memory, vcpus): (Bytes, u32) = listed.or_else(offered).unwrap_or((size.memory, size.vcpus));
    [memory.0, u64::from(vcpus)]
}

/// `open`: what guests take of the hosts that may be started on. What is free on other hosts is of no use to anybody.
fn hosts(pool: &CloudPool, room: &Room<'_>, open: [u64; 2]) -> Hosts {
    let hosts = pool.status.as_ref().map_or(&[][..], |status| &status.hosts);
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let schedulable = || hosts.iter().filter(|host| host.schedulable);
    let allocatable = |hosts: &mut dyn Iterator<Item = &HostStatus>| hosts.map(|host| host.allocatable_memory.0).sum();
    let others = |hosts: &mut dyn Iterator<Item = &HostStatus>| hosts.map(|host| u64::from(host.vcpus_others)).sum();
    let all: u64 = allocatable(&mut hosts.iter());
    let (free_memory, free_vcpus): (u64, u64) = (allocatable(&mut schedulable()), others(&mut schedulable()));
    Hosts {
        total: number(hosts.len()),
        schedulable: number(schedulable().count()),
        memory_bytes: room.memory,
        others_memory_bytes: room.memory.saturating_sub(all),
        free_memory_bytes: free_memory.saturating_sub(open[0]),
        vcpus: room.vcpus,
        others_vcpus: others(&mut hosts.iter()),
        free_vcpus: room.open_vcpus.saturating_sub(free_vcpus).saturating_sub(open[1]),
    }
}

fn plus(a: [u64; 2], b: [u64; 2]) -> [u64; 2] {
    [a[0].saturating_add(b[0]), a[1].saturating_add(b[1])]
}

#[cfg(test)]
#[path = "sum_tests.rs"]
mod tests;
