//! From objects to the world that the placement engine decides on. Pure.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;

use super::{
    adoption,
    policy::policy,
    pools::{self, Namespaces, named_hosts},
};
use crate::{
    api::{
        CloudPool, Guest,
        condition::{self, Kind},
        guest::Binding,
        money::Currency,
        template::PowerState,
        virtual_workload::Placement,
    },
    plan::{self, World},
};

/// Bindings that were written and are not yet in the watch, by the guest's UID.
pub type Assumed = HashMap<String, Binding>;

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
        pools: pools.iter().map(|pool| pools::pool(pool, namespaces)).collect(),
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
        zone: binding.zone.clone(),
        spot: binding.spot,
    });
    // What adopts a VM is where that is, and is not placed.
    let bound = bound.or_else(|| adoption::named(guest));
    plan::GuestState {
        uid: guest.uid().unwrap_or_default(),
        namespace: guest.namespace().unwrap_or_default(),
        name: guest.name_any(),
        workload: guest.spec.workload.clone(),
        created_at: guest.creation_timestamp().map_or(Timestamp::UNIX_EPOCH, |time| time.0),
        waiting_since: placed.filter(|placed| placed.status == "False").map(|placed| placed.last_transition_time.0),
        size: plan::Size { vcpus: template.size.vcpus, memory: template.size.memory, resources: BTreeMap::new() },
        // One that is still to be switched off takes its room until then. One that adopts a VM is given no host: that is
        // its VM's, or its pool's choice.
        powered_on: status.host.is_some()
            || (guest.spec.adopt.is_none() && template.power_state.unwrap_or_default() == PowerState::Running),
        image: Some(template.image.name.clone()),
        networks: template.networks.iter().map(|network| network.name.clone()).collect(),
        storages: template.disks.iter().filter_map(|disk| disk.storage.clone()).collect(),
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

#[cfg(test)]
#[path = "gather_tests.rs"]
mod tests;
