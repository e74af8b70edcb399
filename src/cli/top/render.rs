//! The sums for people.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use super::{
    money::Hourly,
    sum::{PoolTop, Report, WorkloadTop},
};
use crate::{
    api::{money::HOURS_PER_MONTH, quantity::Bytes},
    cli::table,
};

/// Three tables: room, costs of pools, costs of workloads.
pub(super) fn render(report: &Report) -> String {
    let mut text = room(&report.pools) + "\n" + &costs(report);
    if !report.workloads.is_empty() {
        text += &format!("\n{}", workloads(&report.workloads));
    }
    let unpriced: u32 = report.pools.iter().map(|pool| pool.unpriced).sum();
    for (number, what) in [
        (report.unplaced, "bound to no pool and in no sum of a pool"),
        (unpriced, "without a known price and in no sum of money"),
    ] {
        match number {
            0 => {}
            1 => text += &format!("1 guest is {what}\n"),
            number => text += &format!("{number} guests are {what}\n"),
        }
    }
    text
}

fn room(pools: &[PoolTop]) -> String {
    let head =
        ["POOL", "READY", "HOSTS", "GUESTS", "MEMORY", "USED", "OTHERS", "FREE", "VCPUS", "USED", "OTHERS", "FREE"];
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(pools.iter().map(|pool| {
        let dash = || "-".to_owned();
        let hosts = pool.hosts.as_ref();
        [
            pool.name.clone(),
            if pool.ready { "yes" } else { "no" }.to_owned(),
            hosts.map_or_else(dash, |h| format!("{}/{}", h.schedulable, h.total)),
            pool.guests.to_string(),
            hosts.map_or_else(dash, |h| human(h.memory_bytes)),
            human(pool.used_memory_bytes),
            hosts.map_or_else(dash, |h| human(h.others_memory_bytes)),
            hosts.map_or_else(dash, |h| human(h.free_memory_bytes)),
            hosts.map_or_else(dash, |h| h.vcpus.to_string()),
            pool.used_vcpus.to_string(),
            hosts.map_or_else(dash, |h| h.others_vcpus.to_string()),
            hosts.map_or_else(dash, |h| h.free_vcpus.to_string()),
        ]
    }));
    table::render(&rows)
}

/// Amounts for a month, but for those that say otherwise. `MARGINAL`: what it costs more than without the guests.
const MONEY: [&str; 8] = ["CAPITAL", "RUNNING", "FEES", "RENTED", "ALL", "ALL/HOUR", "MARGINAL", "MARGINAL/HOUR"];

/// Nothing of a size has no unit.
fn human(bytes: u64) -> String {
    if bytes == 0 { "0".to_owned() } else { Bytes(bytes).human() }
}

fn costs(report: &Report) -> String {
    let mut rows = vec![with_head(&["POOL", "CUR"])];
    rows.extend(report.pools.iter().map(|pool| {
        let currency = pool.currency.map_or_else(|| "-".to_owned(), |currency| currency.to_string());
        row([pool.name.clone(), currency], &pool.hourly)
    }));
    if report.pools.len() > 1 {
        rows.extend(
            report.total_hourly.iter().map(|(currency, sum)| row(["all pools".to_owned(), currency.clone()], sum)),
        );
    }
    table::render(&rows)
}

fn workloads(workloads: &[WorkloadTop]) -> String {
    let mut rows = vec![with_head(&["WORKLOAD", "GUESTS", "MEMORY", "VCPUS", "CUR"])];
    for workload in workloads {
        let none = BTreeMap::from([("-".to_owned(), Hourly::default())]);
        let costs = if workload.hourly.is_empty() { &none } else { &workload.hourly };
        rows.extend(costs.iter().map(|(currency, hourly)| {
            let first = [
                format!("{}/{}", workload.namespace, workload.name),
                workload.guests.to_string(),
                human(workload.memory_bytes),
                workload.vcpus.to_string(),
                currency.clone(),
            ];
            row(first, hourly)
        }));
    }
    table::render(&rows)
}

fn with_head(first: &[&str]) -> Vec<String> {
    first.iter().chain(&MONEY).map(|&cell| cell.to_owned()).collect()
}

fn row<const N: usize>(first: [String; N], hourly: &Hourly) -> Vec<String> {
    let month = |amount: Decimal| format!("{:.2}", (amount * HOURS_PER_MONTH).round_dp(2));
    let hour = |amount: Decimal| format!("{:.4}", amount.round_dp(4));
    let money = [
        month(hourly.capital),
        month(hourly.running),
        month(hourly.subscription),
        month(hourly.pay_per_use),
        month(hourly.amortised),
        hour(hourly.amortised),
        month(hourly.marginal),
        hour(hourly.marginal),
    ];
    first.into_iter().chain(money).collect()
}
