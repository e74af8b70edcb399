//! From objects to the world that the placement engine decides on. Pure.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt as _;
use rust_decimal::Decimal;

use super::Assumed;
use crate::{
    api::{
        CloudPool, Guest,
        cloud_pool::{CloudPoolSpec, CloudPoolStatus, HostStatus},
        condition::{self, Kind},
        guest::Binding,
        money::{Currency, Money},
        virtual_workload::{BurstPolicy, Placement, PowerState},
    },
    plan::{self, World},
};

/// The world, and what its names stand for.
pub struct Picture<'g> {
    /// What is decided on.
    pub world: World,
    /// Guests by UID.
    pub guests: HashMap<String, &'g Arc<Guest>>,
    /// Ids of hosts by pool and by the name that the engine knows them by.
    pub host_ids: HashMap<(String, String), String>,
}

/// Hosts by the names that the engine knows them by, and back.
struct Hosts {
    /// Ids by pool and name.
    ids: HashMap<(String, String), String>,
    /// Names by pool and id.
    names: HashMap<(String, String), String>,
}

impl Hosts {
    fn of(pools: &[&Arc<CloudPool>]) -> Self {
        let mut hosts = Self { ids: HashMap::new(), names: HashMap::new() };
        for pool in pools {
            for (name, host) in named_hosts(pool) {
                hosts.ids.insert((pool.name_any(), name.clone()), host.id.clone());
                hosts.names.insert((pool.name_any(), host.id.clone()), name);
            }
        }
        hosts
    }
}

/// How long a guest waits for room on owned hardware when its workload does not say.
const DEFAULT_BURST: SignedDuration = SignedDuration::from_mins(2);
/// Virtual processors for each physical one when a pool does not say.
const DEFAULT_OVERCOMMIT: Decimal = Decimal::from_parts(4, 0, 0, false, 0);

/// Draws the picture. `None`: there is nothing to decide.
#[must_use]
pub fn picture<'g>(
    guests: &'g [Arc<Guest>],
    pools: &[Arc<CloudPool>],
    assumed: &mut Assumed,
    now: Timestamp,
) -> Option<Picture<'g>> {
    forget_what_is_seen(assumed, guests);
    if guests.is_empty() {
        return None;
    }
    let mut pools: Vec<&Arc<CloudPool>> = pools.iter().collect();
    pools.sort_by_key(|pool| pool.name_any());
    let hosts = Hosts::of(&pools);
    let mut policies: Vec<(Option<&Placement>, Arc<plan::Policy>)> = Vec::new();
    let states = guests
        .iter()
        .map(|guest| {
            let placement = guest.spec.placement.as_ref();
            let known = policies.iter().rev().take(8).find(|(known, _)| *known == placement);
            let policy = if let Some((_, policy)) = known {
                Arc::clone(policy)
            } else {
                let policy = Arc::new(policy(placement));
                policies.push((placement, Arc::clone(&policy)));
                policy
            };
            guest_state(guest, policy, assumed, &hosts)
        })
        .collect();
    let world = World {
        now,
        currency: currency(&pools)?,
        rates: BTreeMap::new(),
        pools: pools.iter().map(|pool| plan_pool(pool)).collect(),
        guests: states,
    };
    let guests = guests.iter().map(|guest| (guest.uid().unwrap_or_default(), guest)).collect();
    Some(Picture { world, guests, host_ids: hosts.ids })
}

/// Drops assumed bindings that the watch has brought by now, or whose guests are gone.
fn forget_what_is_seen(assumed: &mut Assumed, guests: &[Arc<Guest>]) {
    if assumed.is_empty() {
        return;
    }
    let seen: HashMap<String, u32> = guests
        .iter()
        .map(|guest| {
            let incarnation = guest.spec.binding.as_ref().map_or(0, |binding| binding.incarnation);
            (guest.uid().unwrap_or_default(), incarnation)
        })
        .collect();
    assumed.retain(|uid, binding| seen.get(uid).is_some_and(|incarnation| *incarnation < binding.incarnation));
}

/// The currency in which places are compared: that of the first pool of one's own, else of the first pool.
fn currency(pools: &[&Arc<CloudPool>]) -> Option<Currency> {
    let owned = pools.iter().find_map(|pool| pool.spec.pricing.owned.as_ref().map(|owned| owned.currency));
    let paid = || pools.iter().find_map(|pool| pool.spec.pricing.pay_per_use.as_ref().map(|paid| paid.currency));
    // Without a single pool the guests still get their explanation; the currency then stands for nothing.
    owned.or_else(paid).or_else(|| "EUR".parse().ok())
}

/// The binding of a guest that counts: not one for a VM that is gone.
#[must_use]
pub fn valid_binding<'a>(guest: &'a Guest, assumed: &'a Assumed) -> Option<&'a Binding> {
    let incarnation = incarnation(guest);
    let assumed = guest.metadata.uid.as_ref().and_then(|uid| assumed.get(uid));
    assumed.or(guest.spec.binding.as_ref()).filter(|binding| binding.incarnation >= incarnation)
}

/// The incarnation that a new binding is for.
#[must_use]
pub fn incarnation(guest: &Guest) -> u32 {
    guest.status.as_ref().and_then(|status| status.incarnation).unwrap_or(1)
}

fn guest_state(
    guest: &Guest,
    policy: Arc<plan::Policy>,
    assumed: &Assumed,
    Hosts { ids: host_ids, names: host_names }: &Hosts,
) -> plan::GuestState {
    let status = guest.status.clone().unwrap_or_default();
    let template = &guest.spec.template;
    let placed = condition::find(&status.conditions, Kind::Placed);
    let bound = valid_binding(guest, assumed).map(|binding| plan::Bound {
        pool: binding.pool.clone(),
        // Where it is counts more than where it was to start, as long as the name says which host that is.
        host: status
            .host
            .clone()
            .filter(|host| host_ids.contains_key(&(binding.pool.clone(), host.clone())))
            .or_else(|| host_names.get(&(binding.pool.clone(), binding.host.clone()?)).cloned()),
        instance_type: binding.instance_type.clone(),
        zone: None,
    });
    plan::GuestState {
        uid: guest.uid().unwrap_or_default(),
        namespace: guest.namespace().unwrap_or_default(),
        name: guest.name_any(),
        workload: guest.spec.workload.clone(),
        created_at: guest.creation_timestamp().map_or(Timestamp::UNIX_EPOCH, |time| time.0),
        waiting_since: placed.filter(|placed| placed.status == "False").map(|placed| placed.last_transition_time.0),
        size: plan::Size { vcpus: template.size.vcpus, memory: template.size.memory, resources: BTreeMap::new() },
        // One that is still to be switched off takes its room until then.
        powered_on: template.power_state.unwrap_or_default() == PowerState::Running || status.host.is_some(),
        image: Some(template.image.name.clone()),
        networks: template.networks.iter().map(|network| network.name.clone()).collect(),
        storages: BTreeSet::new(),
        policy,
        bound,
        excluded: status
            .refusals
            .into_iter()
            .map(|refusal| plan::Excluded { pool: refusal.pool, until: refusal.until.0 })
            .collect(),
        home_room_since: None,
        moved_at: None,
        // Moving guests is not carried out yet, so none is planned.
        movable: false,
        leaving: guest.metadata.deletion_timestamp.is_some(),
    }
}

fn policy(placement: Option<&Placement>) -> plan::Policy {
    let placement = placement.cloned().unwrap_or_default();
    let burst = placement.burst.as_ref();
    plan::Policy {
        pool_selector: placement.pool_selector.map(selector).unwrap_or_default(),
        jurisdictions: placement.jurisdictions.map(|law| law.allow.into_iter().map(|code| code.0).collect()),
        burst: match burst.map(|burst| burst.policy) {
            Some(BurstPolicy::Never) => plan::Burst::Never,
            Some(BurstPolicy::WhenFull) | None => plan::Burst::WhenFull {
                after: burst.and_then(|burst| burst.after).map_or(DEFAULT_BURST, |span| signed(span.0)),
                return_home: None,
            },
        },
        ..plan::Policy::default()
    }
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

fn selector(selector: LabelSelector) -> plan::Selector {
    let operator = |text: &str| match text {
        "In" => Some(plan::Operator::In),
        "NotIn" => Some(plan::Operator::NotIn),
        "Exists" => Some(plan::Operator::Exists),
        "DoesNotExist" => Some(plan::Operator::DoesNotExist),
        _ => None,
    };
    let expressions = selector.match_expressions.unwrap_or_default();
    plan::Selector {
        match_labels: selector.match_labels.unwrap_or_default(),
        match_expressions: expressions
            .into_iter()
            .map(|expression| plan::Expression {
                key: expression.key,
                // An operator that nobody knows selects nothing: better no place than a forbidden one.
                operator: operator(&expression.operator).unwrap_or(plan::Operator::In),
                values: expression.values.unwrap_or_default().into_iter().collect(),
            })
            .collect(),
    }
}

fn plan_pool(pool: &CloudPool) -> plan::Pool {
    let (spec, status) = (&pool.spec, pool.status.clone().unwrap_or_default());
    let limits = spec.capacity.as_ref().and_then(|capacity| capacity.limits.clone()).unwrap_or_default();
    plan::Pool {
        name: pool.name_any(),
        labels: pool.labels().clone(),
        cordoned: spec.cordoned,
        drain: false,
        health: health(pool, &status),
        jurisdiction: Some(spec.location.jurisdiction.clone()),
        data_classes: BTreeSet::new(),
        certifications: BTreeSet::new(),
        images: spec.images.iter().map(|image| image.name.clone()).collect(),
        networks: spec.networks.iter().map(|network| network.name.clone()).collect(),
        storages: BTreeSet::new(),
        tenancy: plan::Tenancy::Anyone,
        taints: Vec::new(),
        limits: plan::Limits {
            guests: limits.guests,
            vcpus: limits.vcpus.map(u64::from),
            memory: limits.memory,
            monthly_spend: None,
        },
        cpu_overcommit: overcommit(spec),
        pricing: plan::Pricing {
            owned: spec.pricing.owned.as_ref().map(|owned| plan::Owned {
                capital: Money::new(Decimal::ZERO, owned.currency),
                depreciation_months: 1,
                monthly_running: Money { amount: owned.monthly_running_cost, currency: owned.currency },
            }),
            subscription: None,
        },
        capacity: capacity(pool, spec, &status),
    }
}

fn overcommit(spec: &CloudPoolSpec) -> Decimal {
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
        let offering = |offer: &crate::api::cloud_pool::InstanceType| plan::Offering {
            instance_type: offer.name.clone(),
            zone: None,
            vcpus: offer.vcpus,
            memory: offer.memory,
            hourly: Money { amount: offer.hourly, currency: paid.currency },
            available: true,
            backed_off_until: None,
            dedicated: false,
        };
        return plan::Capacity::Offerings(paid.instance_types.iter().map(offering).collect());
    }
    let overhead = status.guest_overhead.as_ref().map_or_else(plan::Overhead::default, |overhead| plan::Overhead {
        fixed: overhead.fixed,
        per_vcpu: overhead.per_vcpu,
        one_in: u64::from(overhead.memory_divisor),
    });
    let hosts = named_hosts(pool).into_iter().map(|(name, host)| plan_host(name, host, overcommit(spec))).collect();
    plan::Capacity::Hosts { hosts, overhead }
}

fn plan_host(name: String, host: &HostStatus, overcommit: Decimal) -> plan::Host {
    // Others' virtual processors take their share of the physical ones at the same ratio.
    let others = (Decimal::from(host.vcpus_others) / overcommit.max(Decimal::ONE)).ceil();
    plan::Host {
        name,
        memory: host.allocatable_memory,
        vcpus: host.cpus.saturating_sub(u32::try_from(others).unwrap_or(u32::MAX)),
        resources: BTreeMap::new(),
        enabled: host.schedulable,
        evacuate: false,
        foreign_guests: None,
        labels: BTreeMap::new(),
    }
}

/// The hosts of a pool by a name that only one of them has.
fn named_hosts(pool: &CloudPool) -> Vec<(String, &HostStatus)> {
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

#[cfg(test)]
#[path = "gather_tests.rs"]
mod tests;
