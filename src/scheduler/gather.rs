//! From objects to the world that the placement engine decides on. Pure.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;

use super::{
    adoption,
    flights::{self, Flight},
    policy::policy,
    pools::{self, Namespaces, named_hosts},
};
use crate::{
    api::{
        CloudPool, Guest, GuestStatus,
        care::Move,
        condition::{self, Kind},
        guest::{Binding, Phase, Relocation},
        money::Currency,
        template::PowerState,
        virtual_workload::Placement,
    },
    guest::mandate::Mandate,
    plan::{self, World},
};

/// What was written and is not yet in the watch, by the guest's UID.
#[derive(Debug, Default)]
pub struct Assumed {
    /// Bindings.
    pub bindings: HashMap<String, Binding>,
    /// Decisions to move.
    pub relocations: HashMap<String, Relocation>,
    /// Bindings that were changed for another type, each with the versions of the guest before it: when the watch shows another
    /// one, it has brought the decision.
    pub types: HashMap<String, (Vec<String>, Binding)>,
}

/// How many guests of a pool may be on the move at a time when the pool does not say.
const DEFAULT_MOVES: u32 = 2;

/// The world, and what its names stand for.
pub struct Picture<'g> {
    /// What is decided on.
    pub world: World,
    /// Guests by UID.
    pub guests: HashMap<String, &'g Arc<Guest>>,
    /// Ids of hosts by pool and by the name that the engine knows them by.
    pub host_ids: HashMap<(String, String), String>,
    /// Guests that are on the move.
    pub flights: Vec<Flight>,
    /// How many guests of each pool may be on the move at a time.
    pub most_moves: HashMap<String, u32>,
}

/// Hosts by the names that the engine knows them by, and back.
pub(super) struct Hosts {
    /// Ids by pool and name.
    pub ids: HashMap<(String, String), String>,
    /// Names by pool and id.
    pub names: HashMap<(String, String), String>,
}

impl Hosts {
    pub(super) fn of(pools: &[&Arc<CloudPool>]) -> Self {
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

/// How long new pools are waited for: pools that are applied together should be decided on together, and guests should
/// not be told that nothing fits because nobody has looked yet.
const FIRST_LOOK: SignedDuration = SignedDuration::from_secs(5);

/// Until when to wait for the first look at a new pool. `None`: decide.
#[must_use]
pub fn first_look(pools: &[Arc<CloudPool>], now: Timestamp) -> Option<Timestamp> {
    let unseen = pools.iter().filter(|pool| {
        let conditions = pool.status.as_ref().map_or(&[][..], |status| &status.conditions);
        condition::find(conditions, Kind::Ready).is_none() && pool.metadata.deletion_timestamp.is_none()
    });
    let until = unseen.filter_map(|pool| pool.creation_timestamp()?.0.checked_add(FIRST_LOOK).ok()).max()?;
    (until > now).then_some(until)
}

/// Guests of a workload that wait for a place count as made together, so that they go in the order of their numbers: in which
/// second each was made is chance.
fn in_order(states: &mut [plan::GuestState]) {
    let mut first: HashMap<(String, String), Timestamp> = HashMap::new();
    for state in states.iter().filter(|state| state.bound.is_none()) {
        let made = first.entry((state.namespace.clone(), state.workload.clone())).or_insert(state.created_at);
        *made = state.created_at.min(*made);
    }
    for state in states.iter_mut().filter(|state| state.bound.is_none()) {
        if let Some(made) = first.get(&(state.namespace.clone(), state.workload.clone())) {
            state.created_at = *made;
        }
    }
}

/// Draws the picture. `None`: there is nothing to decide.
#[must_use]
pub fn picture<'g>(
    guests: &'g [Arc<Guest>],
    pools: &[Arc<CloudPool>],
    namespaces: &Namespaces,
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
    let mut flights = Vec::new();
    let mut states: Vec<plan::GuestState> = guests
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
            guest_state(guest, policy, assumed, &hosts, now)
        })
        .collect();
    in_order(&mut states);
    for at in 0..guests.len() {
        let relocation = flights::last(&guests[at], &assumed.relocations);
        let (Some(relocation), Some(bound)) = (relocation, states[at].bound.clone()) else { continue };
        if flights::standing(&guests[at], Some(relocation), now) != flights::Standing::UnderWay {
            continue;
        }
        let (guest, kind) = (states[at].uid.clone(), relocation.kind);
        flights.push(Flight { guest, pool: bound.pool, host: bound.host, kind });
        states.extend(flights::target(relocation, &hosts).map(|target| flights::shadow(&states[at], target)));
    }
    let world = World {
        now,
        currency: currency(&pools)?,
        rates: BTreeMap::new(),
        pools: pools.iter().map(|pool| pools::pool(pool, namespaces)).collect(),
        guests: states,
    };
    let guests = guests.iter().map(|guest| (guest.uid().unwrap_or_default(), guest)).collect();
    let limit = |pool: &&Arc<CloudPool>| pool.spec.max_concurrent_moves.unwrap_or(DEFAULT_MOVES);
    let most_moves = pools.iter().map(|pool| (pool.name_any(), limit(pool))).collect();
    Some(Picture { world, guests, host_ids: hosts.ids, flights, most_moves })
}

/// Drops what the watch has brought by now, and what is about guests that are gone.
fn forget_what_is_seen(assumed: &mut Assumed, guests: &[Arc<Guest>]) {
    if assumed.bindings.is_empty() && assumed.relocations.is_empty() && assumed.types.is_empty() {
        return;
    }
    let seen: HashMap<String, &Guest> =
        guests.iter().map(|guest| (guest.uid().unwrap_or_default(), &**guest)).collect();
    assumed.bindings.retain(|uid, binding| {
        let incarnation = |guest: &&Guest| guest.spec.binding.as_ref().map_or(0, |binding| binding.incarnation);
        seen.get(uid).is_some_and(|guest| incarnation(guest) < binding.incarnation)
    });
    assumed.types.retain(|uid, (before, _)| {
        seen.get(uid).and_then(|guest| guest.resource_version()).is_some_and(|version| before.contains(&version))
    });
    assumed.relocations.retain(|uid, relocation| {
        let older = |guest: &&Guest| {
            guest.spec.relocation.as_ref().is_none_or(|seen| seen.decided_at.0 < relocation.decided_at.0)
                && incarnation(guest) == relocation.incarnation
        };
        seen.get(uid).is_some_and(older)
    });
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
    let assumed = guest
        .metadata
        .uid
        .as_ref()
        .and_then(|uid| assumed.types.get(uid).map(|(_, binding)| binding).or_else(|| assumed.bindings.get(uid)));
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
    hosts: &Hosts,
    now: Timestamp,
) -> plan::GuestState {
    let none = GuestStatus::default();
    let status = guest.status.as_ref().unwrap_or(&none);
    let template = &guest.spec.template;
    let placed = condition::find(&status.conditions, Kind::Placed);
    // One that is still to be switched off takes its room until then. One that adopts a VM is given no host: that is its
    // VM's, or its pool's choice.
    let powered_on = status.host.is_some()
        || (guest.spec.adopt.is_none() && template.power_state.unwrap_or_default() == PowerState::Running);
    let bound = valid_binding(guest, assumed).map(|binding| bound(guest, binding, powered_on, hosts));
    // What adopts a VM is where that is, and is not placed.
    let bound = bound.or_else(|| adoption::named(guest));
    let relocation = flights::last(guest, &assumed.relocations);
    let standing = flights::standing(guest, relocation, now);
    let mandate = Mandate::new(&guest.spec, status);
    // What is being made, stopped, or not seen is left alone until it is one or the other.
    let settled = matches!(status.phase, Some(Phase::Running | Phase::Stopped | Phase::Waiting | Phase::Failed));
    let rests = settled && standing != flights::Standing::UnderWay;
    plan::GuestState {
        uid: guest.uid().unwrap_or_default(),
        namespace: guest.namespace().unwrap_or_default(),
        name: guest.name_any(),
        workload: guest.spec.workload.clone(),
        created_at: guest.creation_timestamp().map_or(Timestamp::UNIX_EPOCH, |time| time.0),
        waiting_since: placed.filter(|placed| placed.status == "False").map(|placed| placed.last_transition_time.0),
        size: plan::Size { vcpus: template.size.vcpus, memory: template.size.memory, resources: BTreeMap::new() },
        powered_on,
        image: Some(template.image.name.clone()),
        networks: template.networks.iter().map(|network| network.name.clone()).collect(),
        storages: template.disks.iter().filter_map(|disk| disk.storage.clone()).collect(),
        policy,
        excluded: status
            .refusals
            .iter()
            .map(|refusal| plan::Excluded { pool: refusal.pool.clone(), until: refusal.until.0 })
            .collect(),
        home_room_since: status
            .placement
            .as_ref()
            .and_then(|placement| placement.home_room_since.as_ref())
            .map(|time| time.0),
        moved_at: relocation.map(|relocation| relocation.decided_at.0),
        movable: status.phase == Some(Phase::Running) && mandate.no_move(Move::Live).is_none(),
        recreate: mandate.no_move(Move::Recreate).is_none(),
        reserved: flights::reserved(guest, relocation, hosts).filter(|_| bound.is_none()),
        leaving: guest.metadata.deletion_timestamp.is_some() || (bound.is_some() && !rests),
        bound,
    }
}

/// Where a guest is, or is to be.
fn bound(guest: &Guest, binding: &Binding, powered_on: bool, hosts: &Hosts) -> plan::Bound {
    let pool = &binding.pool;
    let is_there = |host: &String| hosts.ids.contains_key(&(pool.clone(), host.clone()));
    // Where it is counts more than where it was to start, as long as the name says which host that is.
    let seen = guest.status.as_ref().and_then(|status| status.host.clone()).filter(is_there);
    let wished = || hosts.names.get(&(pool.clone(), binding.host.clone()?)).cloned();
    plan::Bound {
        pool: pool.clone(),
        // One that is off is on no host: it starts wherever there is room.
        host: if powered_on { seen.or_else(wished) } else { None },
        instance_type: binding.instance_type.clone(),
        zone: binding.zone.clone(),
        spot: binding.spot,
    }
}

#[cfg(test)]
#[path = "gather_tests.rs"]
mod tests;
