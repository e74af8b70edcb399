//! A pool's status. Pure; written only when it differs.

use std::collections::{BTreeMap, HashSet};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::{
    api::{
        CloudPool, CloudPoolStatus,
        condition::{self, Claim, Kind},
        money::Money,
        pool_status::{HostStatus, OfferingStatus, OverheadStatus, PricesStatus, ProviderStatus, SetAside},
        quantity::Bytes,
    },
    provider::{ErrorKind, HostInventory, Inventory, Missing, OfferingAside, OfferingFact, PricesFact},
    runtime::events::News,
};

use super::{
    facts::{Facts, Trouble},
    orphans,
};

/// What the status should be.
#[must_use]
pub fn status(pool: &CloudPool, facts: &Facts) -> CloudPoolStatus {
    let old = pool.status.clone().unwrap_or_default();
    let (old_orphans, old_aside) = (old.orphans.clone(), old.set_aside.clone());
    let guests = u32::try_from(facts.bound.len()).unwrap_or(u32::MAX);
    let mut claims = claims(pool, facts);
    match &facts.orphans {
        Some(found) if found.is_empty() => {}
        Some(found) => claims.push(Claim::yes(Kind::OrphansFound, "NoGuest", orphans::summary(found))),
        None => claims.extend(condition::find(&old.conditions, Kind::OrphansFound).map(as_before)),
    }
    match &facts.inventory {
        Ok(inventory) if inventory.missing.is_empty() => {}
        Ok(inventory) => claims.push(permissions(&inventory.missing)),
        Err(_) => {
            let old = condition::find(&old.conditions, Kind::PermissionsComplete);
            claims.extend(old.map(|old| Claim::no(Kind::PermissionsComplete, &*old.reason, &*old.message)));
        }
    }
    claims.extend(quota(&facts.set_aside));
    let conditions = condition::merge(&old.conditions, &claims, pool.metadata.generation, facts.now);
    let mut status = match &facts.inventory {
        Ok(inventory) => known(pool, inventory, &facts.bound),
        // What was last known of a pool that does not answer is still the best there is.
        Err(_) => old,
    };
    status.provider.get_or_insert_with(|| ProviderStatus { kind: kind(pool), id: None, version: None });
    status.observed_generation = pool.metadata.generation;
    status.guests = guests;
    status.conditions = conditions;
    if let Ok(inventory) = &facts.inventory {
        status.offerings = offerings(pool, inventory);
        status.prices = inventory.prices.as_ref().map(prices);
    }
    status.set_aside = set_aside(&old_aside, facts);
    status.orphans = match &facts.orphans {
        Some(found) => orphans::listed(found),
        None => old_orphans,
    };
    status
}

/// Whether a status is to be written at once, if it is: because of anything but the number of guests and the free memory.
#[must_use]
pub fn is_turn(old: Option<&CloudPoolStatus>, new: &CloudPoolStatus) -> bool {
    let Some(old) = old else { return true };
    old == new || *old != CloudPoolStatus { guests: old.guests, summary: old.summary.clone(), ..new.clone() }
}

/// Types that are set aside. A time that was told before is kept while it is about the same: the provider counts in time
/// that is left, and a status that changes with every look would be written with every look.
fn set_aside(old: &[SetAside], facts: &Facts) -> Vec<SetAside> {
    const SAME: SignedDuration = SignedDuration::from_secs(5);
    let entry = |aside: &OfferingAside| {
        let until = facts.now.checked_add(aside.remaining).unwrap_or(facts.now);
        let known = old.iter().find(|known| {
            (&known.instance_type, &known.zone, known.spot) == (&aside.instance_type, &aside.zone, aside.spot)
                && known.until.0.duration_since(until).abs() < SAME
        });
        SetAside {
            instance_type: aside.instance_type.clone(),
            zone: aside.zone.clone(),
            spot: aside.spot,
            until: known.map_or_else(|| Time(until), |known| known.until.clone()),
            code: aside.code.clone(),
        }
    };
    facts.set_aside.iter().map(entry).collect()
}

/// What is not permitted, each with what cannot be done without it.
fn permissions(missing: &[Missing]) -> Claim {
    let each: Vec<String> = missing.iter().map(|one| format!("{}: {}", one.what, one.why)).collect();
    Claim::no(Kind::PermissionsComplete, "PermissionsMissing", each.join(". "))
}

/// The provider's codes for something of which the account may have no more.
const QUOTAS: [(&str, &str); 6] = [
    ("VcpuLimitExceeded", "vCPUs of this kind of type"),
    ("InstanceLimitExceeded", "instances"),
    ("MaxSpotInstanceCountExceeded", "spot instances"),
    ("NetworkInterfaceLimitExceeded", "network interfaces"),
    ("VolumeLimitExceeded", "volumes"),
    ("QuotaExceeded", "what such a server needs"),
];

/// A quota that a launch met. Types that met it are put aside until one is launched again, or for a time.
fn quota(set_aside: &[OfferingAside]) -> Option<Claim> {
    let (code, of_what) = QUOTAS.iter().find(|(code, _)| set_aside.iter().any(|aside| aside.code == *code))?;
    let mut types: Vec<&str> =
        set_aside.iter().filter(|aside| aside.code == *code).map(|aside| aside.instance_type.as_str()).collect();
    types.sort_unstable();
    types.dedup();
    let message = format!(
        "the account may have no more {of_what} ({code}, met with {}): ask the provider for a higher quota, or remove \
         something; other types are tried meanwhile",
        types.join(", ")
    );
    Some(Claim::yes(Kind::QuotaExceeded, *code, message))
}

/// How many offerings a status holds. A choice needs few, and an object must stay small.
const OFFERINGS: usize = 512;

/// What can be rented, where that comes from the provider's catalogue: its types, those that the pool itself lists in
/// place of or beside them, without those of which no price is known; the cheapest.
fn offerings(pool: &CloudPool, inventory: &Inventory) -> Vec<OfferingStatus> {
    let paid = pool.spec.pricing.pay_per_use.as_ref().filter(|paid| paid.from_catalogue());
    let Some(paid) = paid else { return Vec::new() };
    let in_currency =
        |price: Option<Money>| price.filter(|money| money.currency == paid.currency).map(|one| one.amount);
    let fact = |fact: &OfferingFact| {
        let row = OfferingStatus {
            instance_type: fact.instance_type.clone(),
            vcpus: fact.vcpus,
            memory: fact.memory,
            zones: fact.zones.clone(),
            hourly: in_currency(fact.hourly)?,
            spot_hourly: in_currency(fact.spot_hourly),
        };
        Some((row.instance_type.clone(), row))
    };
    let mut rows: BTreeMap<String, OfferingStatus> = inventory.offerings.iter().filter_map(fact).collect();
    for own in &paid.instance_types {
        let known = inventory.offerings.iter().find(|fact| fact.instance_type == own.name);
        let row = OfferingStatus {
            instance_type: own.name.clone(),
            vcpus: own.vcpus,
            memory: own.memory,
            zones: known.map(|fact| fact.zones.clone()).unwrap_or_default(),
            hourly: own.hourly,
            spot_hourly: own.spot_hourly.or_else(|| in_currency(known?.spot_hourly)),
        };
        rows.insert(own.name.clone(), row);
    }
    let mut rows: Vec<OfferingStatus> = rows.into_values().collect();
    // By name among equals, as they come from the map.
    rows.sort_by_key(|row| row.hourly);
    rows.truncate(OFFERINGS);
    rows
}

fn prices(fact: &PricesFact) -> PricesStatus {
    // The API server keeps whole seconds.
    let as_of = Timestamp::from_second(fact.as_of.as_second()).unwrap_or(fact.as_of);
    let trouble = fact.trouble.clone().map(|words| condition::cut(words, 512));
    PricesStatus { source: fact.source.to_string(), as_of: Time(as_of), trouble }
}

fn kind(pool: &CloudPool) -> String {
    let provider = &pool.spec.provider;
    match (&provider.xapi, &provider.gce, &provider.openstack) {
        (Some(_), _, _) => "xapi",
        (None, Some(_), _) => "gce",
        (None, None, Some(_)) => "openstack",
        (None, None, None) => "ec2",
    }
    .to_owned()
}

/// What was last known of the orphans, where they cannot be looked for now.
fn as_before(old: &Condition) -> Claim {
    Claim::yes(Kind::OrphansFound, old.reason.clone(), old.message.clone())
}

fn known(pool: &CloudPool, inventory: &Inventory, bound: &HashSet<String>) -> CloudPoolStatus {
    let hosts: Vec<HostStatus> = inventory.hosts.iter().map(|host| host_status(host, bound)).collect();
    let overhead = inventory.overhead;
    CloudPoolStatus {
        provider: Some(ProviderStatus {
            kind: kind(pool),
            id: Some(inventory.id.clone()),
            version: Some(inventory.version.clone()),
        }),
        guest_overhead: (!hosts.is_empty()).then(|| OverheadStatus {
            fixed: overhead.fixed,
            per_vcpu: overhead.per_vcpu,
            memory_divisor: u32::try_from(overhead.memory_divisor).unwrap_or(u32::MAX),
        }),
        summary: summary(inventory),
        hosts,
        ..CloudPoolStatus::default()
    }
}

/// Memory that is free right now, guests that run deducted.
fn summary(inventory: &Inventory) -> Option<String> {
    if inventory.hosts.is_empty() {
        return None;
    }
    let schedulable = inventory.hosts.iter().filter(|host| host.schedulable);
    let free = schedulable.clone().fold(Bytes(0), |sum, host| {
        let used = host.guests.iter().fold(host.memory_others, |sum, guest| sum.saturating_add(guest.memory));
        sum.saturating_add(memory(host).saturating_sub(used))
    });
    Some(format!("{} on {} of {} hosts", free.human(), schedulable.count(), inventory.hosts.len()))
}

fn memory(host: &HostInventory) -> Bytes {
    host.memory_total.saturating_sub(host.memory_overhead)
}

/// A host's room for guests: all that other VMs do not take. VMs with our mark but without a Guest here count as others:
/// they take memory, and nobody else deducts it.
fn host_status(host: &HostInventory, bound: &HashSet<String>) -> HostStatus {
    let orphans: Vec<_> = host.guests.iter().filter(|guest| !bound.contains(&guest.guest)).collect();
    let others = orphans.iter().fold(host.memory_others, |sum, guest| sum.saturating_add(guest.memory));
    HostStatus {
        id: host.id.clone(),
        name: host.name.clone(),
        schedulable: host.schedulable,
        reason: host.reason.clone(),
        cpus: host.cpus,
        memory: memory(host),
        allocatable_memory: memory(host).saturating_sub(others),
        guests_others: host.guests_others + u32::try_from(orphans.len()).unwrap_or(u32::MAX),
        vcpus_others: host.vcpus_others + orphans.iter().map(|guest| guest.vcpus).sum::<u32>(),
    }
}

fn claims(pool: &CloudPool, facts: &Facts) -> Vec<Claim> {
    let mut claims = match &facts.inventory {
        Ok(_) => vec![
            Claim::yes(Kind::Reachable, "Answers", "the provider answers"),
            Claim::yes(Kind::CredentialsValid, "Accepted", "the provider accepts the credentials"),
        ],
        Err(trouble) => trouble_claims(trouble),
    };
    if pool.metadata.deletion_timestamp.is_some() {
        let message = format!(
            "the pool goes when its guests are gone, {} for now: delete or scale in their workloads",
            facts.bound.len()
        );
        claims.push(Claim::no(Kind::Ready, "GuestsRemain", message.clone()));
        claims.push(Claim::yes(Kind::Reconciling, "GuestsRemain", message));
        return claims;
    }
    match &facts.inventory {
        Ok(_) => claims.push(Claim::yes(Kind::Ready, "InventoryCurrent", "its inventory is current")),
        Err(trouble) => {
            let reason = reason(trouble);
            let kind = match trouble.kind {
                ErrorKind::Auth | ErrorKind::NotFound | ErrorKind::Invalid => Kind::Stalled,
                _ => Kind::Reconciling,
            };
            claims.push(Claim::no(Kind::Ready, reason, trouble.message.clone()));
            claims.push(Claim::yes(kind, reason, trouble.message.clone()));
        }
    }
    claims
}

fn reason(trouble: &Trouble) -> &'static str {
    match trouble.kind {
        ErrorKind::Auth => "CredentialsRefused",
        ErrorKind::NotFound | ErrorKind::Invalid => "NotConnectable",
        kind => kind.reason(),
    }
}

fn trouble_claims(trouble: &Trouble) -> Vec<Claim> {
    let (reason, message) = (reason(trouble), trouble.message.clone());
    match trouble.kind {
        ErrorKind::Auth => vec![
            Claim::yes(Kind::Reachable, "Answers", "the provider answers"),
            Claim::no(Kind::CredentialsValid, reason, message),
        ],
        // Who asks for patience is there.
        ErrorKind::Throttled => vec![
            Claim::yes(Kind::Reachable, "Answers", "the provider answers"),
            Claim::new(Kind::CredentialsValid, condition::Status::Unknown, reason, message),
        ],
        _ => vec![
            Claim::no(Kind::Reachable, reason, message),
            Claim::new(Kind::CredentialsValid, condition::Status::Unknown, "NotAsked", "they were not tried"),
        ],
    }
}

/// What to announce: that the pool became ready or ceased to be, and VMs of nobody that were not there before.
#[must_use]
pub fn news(pool: &CloudPool, own: &CloudPoolStatus) -> Vec<News> {
    let old = pool.status.as_ref();
    readiness(old, own).into_iter().chain(new_orphans(old, own)).collect()
}

fn readiness(old: Option<&CloudPoolStatus>, own: &CloudPoolStatus) -> Option<News> {
    let ready = condition::find(&own.conditions, Kind::Ready)?;
    let old = old.and_then(|status| condition::find(&status.conditions, Kind::Ready));
    if old.is_some_and(|old| old.status == ready.status && old.reason == ready.reason) {
        return None;
    }
    let well = ready.status == "True";
    Some(News {
        warning: !well,
        reason: if well { "PoolReady" } else { "PoolNotReady" }.to_owned(),
        action: "Observe",
        note: ready.message.clone(),
    })
}

fn new_orphans(old: Option<&CloudPoolStatus>, own: &CloudPoolStatus) -> Option<News> {
    let known = |id: &str| old.is_some_and(|old| old.orphans.iter().any(|orphan| orphan.provider_id == id));
    let found = condition::find(&own.conditions, Kind::OrphansFound)?;
    own.orphans.iter().any(|orphan| !known(&orphan.provider_id)).then(|| News {
        warning: true,
        reason: "OrphansFound".to_owned(),
        action: "Observe",
        note: found.message.clone(),
    })
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
