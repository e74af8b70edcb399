//! The world in dense form: names become numbers, guests that are alike become one class, and what depends on manifests
//! alone is worked out once for each class. Nothing here changes while a plan is made.

use std::{collections::HashMap, hash::Hash, ops::Range, sync::Arc};

use super::{
    class::{Class, Statics},
    cost::Rates,
    inventory::{Capacity, Host, Overhead, Pool, World},
    request::{Affinity, GuestState, Policy, Side, Topology},
};

/// No host, no offering, no domain.
pub(super) const NONE: u32 = u32::MAX;

/// The world in dense form.
pub(super) struct Model<'w> {
    pub world: &'w World,
    pub rates: Rates<'w>,
    pub pools: Vec<PoolModel>,
    pub hosts: Vec<HostModel>,
    /// Names of the counted things; number 0 and 1 of a host's capacity are memory and vCPUs, these follow.
    pub resources: Vec<&'w str>,
    pub topologies: Vec<&'w Topology>,
    pub domains: Vec<Domains>,
    pub trackers: Vec<TrackerDef>,
    /// For each workload, who counts its guests.
    pub trackers_of: Vec<Vec<u32>>,
    pub statics: Vec<Statics>,
    pub classes: Vec<Class<'w>>,
    /// For each guest, its class.
    pub class_of: Vec<u32>,
    pub workloads: usize,
    /// For each workload, whether guests must be near to it.
    pub needed: Vec<bool>,
    pool_index: HashMap<&'w str, u32>,
    host_index: HashMap<(u32, &'w str), u32>,
}

/// A pool in dense form.
pub(super) struct PoolModel {
    /// Its hosts; empty for offerings.
    pub hosts: Range<u32>,
    pub overhead: Overhead,
    /// Indices of its offerings, cheapest first.
    pub offers: Vec<u32>,
    /// Memory and vCPUs of all its hosts, that running cost is shared out by.
    pub total: [i64; 2],
    /// Running cost of an hour of the whole pool, in nano-units; `None` where the currency has no rate.
    pub running: Option<i64>,
    pub subscribed: bool,
}

/// A host in dense form.
pub(super) struct HostModel {
    pub pool: u32,
    /// Its number in the pool.
    pub number: u32,
    pub enabled: bool,
    /// Memory, vCPUs with overcommit, then the counted things.
    pub capacity: Vec<i64>,
    /// What one unit of memory (MiB), or of a vCPU, is of the whole host, in 2^-30ths: leftovers become comparable.
    pub weight: [i64; 2],
}

/// What belongs to which place of a topology.
pub(super) struct Domains {
    pub of_host: Vec<u32>,
    pub of_pool: Vec<u32>,
}

/// Counts the guests of a workload by place.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct TrackerDef {
    pub workload: u32,
    pub topology: u32,
    /// Whose permitted pools are the places that a spread is measured over; `NONE` where none is.
    pub statics: u32,
}

/// Gives numbers to names.
pub(super) struct Interner<K>(HashMap<K, u32>);

impl<K: Hash + Eq> Interner<K> {
    pub(super) fn new() -> Self {
        Self(HashMap::new())
    }

    /// The number of a name, and whether it is a new one.
    pub(super) fn number(&mut self, key: K) -> (u32, bool) {
        let next = index(self.0.len());
        let number = *self.0.entry(key).or_insert(next);
        (number, number == next)
    }

    pub(super) fn find(&self, key: &K) -> Option<u32> {
        self.0.get(key).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// An index in 32 bits. Worlds with four thousand million guests do not fit in memory.
pub(super) fn index(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(NONE)
}

/// The most that is counted of anything: no host has a PiB, and sums over the guests of a host stay within range.
const MOST: u64 = 1 << 50;

/// What a host has, in signed 64 bits so that what is left can be below zero.
pub(super) fn capacity(n: u64) -> i64 {
    n.min(MOST).cast_signed()
}

/// What a guest needs: more than the most is more than any host has.
pub(super) fn need(n: u64) -> i64 {
    if n > MOST { (2 * MOST).cast_signed() } else { n.cast_signed() }
}

impl<'w> Model<'w> {
    pub(super) fn new(world: &'w World) -> Self {
        let rates = Rates::new(world);
        let resources = resource_names(world);
        let (pools, hosts) = places(world, &rates, &resources);
        let mut model = Self {
            world,
            rates,
            pool_index: world.pools.iter().enumerate().map(|(i, p)| (p.name.as_str(), index(i))).collect(),
            host_index: HashMap::with_capacity(hosts.len()),
            pools,
            hosts,
            resources,
            topologies: Vec::new(),
            domains: Vec::new(),
            trackers: Vec::new(),
            trackers_of: Vec::new(),
            statics: Vec::new(),
            classes: Vec::new(),
            class_of: Vec::with_capacity(world.guests.len()),
            workloads: 0,
            needed: Vec::new(),
        };
        for (h, host) in model.hosts.iter().enumerate() {
            if let Capacity::Hosts { hosts, .. } = &world.pools[host.pool as usize].capacity {
                model.host_index.insert((host.pool, hosts[host.number as usize].name.as_str()), index(h));
            }
        }
        model.sort_guests();
        model
    }

    /// The number of a pool by its name.
    pub(super) fn pool(&self, name: &str) -> Option<u32> {
        self.pool_index.get(name).copied()
    }

    /// The number of a host by its pool and name.
    pub(super) fn host(&self, pool: u32, name: &str) -> Option<u32> {
        self.host_index.get(&(pool, name)).copied()
    }

    pub(super) fn world_pool(&self, pool: u32) -> &'w Pool {
        &self.world.pools[pool as usize]
    }

    pub(super) fn class(&self, guest: u32) -> &Class<'w> {
        &self.classes[self.class_of[guest as usize] as usize]
    }

    pub(super) fn guest(&self, guest: u32) -> &'w GuestState {
        &self.world.guests[guest as usize]
    }

    /// The name of a host.
    pub(super) fn host_name(&self, host: u32) -> &'w str {
        self.world_host(host).map_or("", |h| &h.name)
    }

    fn world_host(&self, host: u32) -> Option<&'w Host> {
        let at = &self.hosts[host as usize];
        match &self.world_pool(at.pool).capacity {
            Capacity::Hosts { hosts, .. } => hosts.get(at.number as usize),
            Capacity::Offerings(_) => None,
        }
    }

    /// Whether the guests of a host are to leave.
    pub(super) fn evacuates(&self, host: u32) -> bool {
        self.world_host(host).is_some_and(|h| h.evacuate)
    }

    /// Whether a host differs from others of its pool by its labels.
    pub(super) fn has_labels(&self, host: u32) -> bool {
        self.world_host(host).is_some_and(|h| !h.labels.is_empty())
    }

    /// Virtual machines on a host that are not ours, where that is known.
    pub(super) fn foreign_guests(&self, host: u32) -> Option<u32> {
        self.world_host(host).and_then(|h| h.foreign_guests)
    }

    /// Puts every guest into a class and finds who must count whom.
    fn sort_guests(&mut self) {
        let world = self.world;
        let tenancy_matters = world.pools.iter().any(|p| !matches!(p.tenancy, super::inventory::Tenancy::Anyone));
        let mut by_pointer: HashMap<*const Policy, u32> = HashMap::new();
        let (mut policies, mut statics) = (Interner::new(), Interner::new());
        let (mut workloads, mut namespaces) = (Interner::new(), Interner::new());
        let mut classes = Interner::new();
        for guest in &world.guests {
            let policy =
                *by_pointer.entry(Arc::as_ptr(&guest.policy)).or_insert_with(|| policies.number(&*guest.policy).0);
            let namespace = namespaces.number(guest.namespace.as_str()).0;
            let workload = workloads.number((namespace, guest.workload.as_str())).0;
            let refused: Vec<_> = guest.excluded.iter().filter(|e| e.until > world.now).collect();
            let key = (
                policy,
                if tenancy_matters { namespace } else { NONE },
                guest.image.as_deref(),
                &guest.networks,
                &guest.storages,
                refused,
            );
            let (of_statics, new) = statics.number(key);
            if new {
                self.statics.push(Statics::new(self, guest));
            }
            let (class, new) = classes.number((of_statics, workload, &guest.size, guest.powered_on));
            if new {
                self.classes.push(Class::new(guest, of_statics, workload, namespace, &self.resources));
            }
            self.class_of.push(class);
        }
        self.workloads = workloads.len();
        self.trackers_of = vec![Vec::new(); workloads.len()];
        self.needed = vec![false; workloads.len()];
        self.connect(&workloads, &namespaces);
    }

    /// Gives each class the counters that its spread and affinity are judged by.
    fn connect(&mut self, workloads: &Interner<(u32, &'w str)>, namespaces: &Interner<&'w str>) {
        let (mut topologies, mut trackers) = (Interner::new(), Interner::new());
        let mut apart_from: Vec<(u32, u32, u32)> = Vec::new();
        for c in 0..self.classes.len() {
            let (guest, workload, of_statics) =
                (self.classes[c].guest, self.classes[c].workload, self.classes[c].statics);
            for spread in &guest.policy.spread {
                let topology = self.topology(&mut topologies, &spread.topology);
                let tracker = self.tracker(&mut trackers, TrackerDef { workload, topology, statics: of_statics });
                self.classes[c].add_spread(tracker, spread);
            }
            for term in &guest.policy.affinity {
                let topology = self.topology(&mut topologies, &term.topology);
                let others = named(term, guest, workloads, namespaces);
                let counters: Vec<u32> = others
                    .iter()
                    .map(|&workload| self.tracker(&mut trackers, TrackerDef { workload, topology, statics: NONE }))
                    .collect();
                if term.kind == Side::Near {
                    for other in &others {
                        self.needed[*other as usize] = true;
                    }
                } else {
                    apart_from.extend(others.iter().map(|&other| (workload, topology, other)));
                }
                let own = term.workloads.contains(&guest.workload);
                self.classes[c].add_affinity(term, topology, counters, own);
            }
        }
        // Distance holds both ways: who is shunned keeps away as well.
        apart_from.sort_unstable();
        apart_from.dedup();
        let mut of_workload: HashMap<u32, Vec<(u32, u32)>> = HashMap::new();
        for (workload, topology, other) in apart_from {
            let tracker = self.tracker(&mut trackers, TrackerDef { workload, topology, statics: NONE });
            of_workload.entry(other).or_default().push((topology, tracker));
        }
        for class in &mut self.classes {
            for &(topology, tracker) in of_workload.get(&class.workload).into_iter().flatten() {
                class.keep_apart(topology, tracker);
            }
        }
    }

    fn tracker(&mut self, interner: &mut Interner<TrackerDef>, def: TrackerDef) -> u32 {
        let (number, new) = interner.number(def);
        if new {
            self.trackers.push(def);
            self.trackers_of[def.workload as usize].push(number);
        }
        number
    }

    fn topology(&mut self, interner: &mut Interner<&'w Topology>, topology: &'w Topology) -> u32 {
        let (number, new) = interner.number(topology);
        if new {
            self.topologies.push(topology);
            self.domains.push(Domains::new(self, topology));
        }
        number
    }
}

/// The workloads that an affinity names; those that have no guests at all count for nothing.
fn named(
    term: &Affinity,
    guest: &GuestState,
    workloads: &Interner<(u32, &str)>,
    namespaces: &Interner<&str>,
) -> Vec<u32> {
    let Some(namespace) = namespaces.find(&guest.namespace.as_str()) else { return Vec::new() };
    term.workloads.iter().filter_map(|name| workloads.find(&(namespace, name.as_str()))).collect()
}

impl Domains {
    fn new(model: &Model<'_>, topology: &Topology) -> Self {
        let pools = &model.world.pools;
        let mut names = Interner::new();
        let mut number = |name: Option<&String>| name.map_or(NONE, |name| names.number(name.clone()).0);
        let of_pool = match topology {
            // Each rented instance is a host of its own: who asks uses the guest's number.
            Topology::Host => vec![NONE; pools.len()],
            Topology::Pool => (0..index(pools.len())).collect(),
            Topology::Jurisdiction => pools.iter().map(|p| number(p.jurisdiction.as_ref())).collect(),
            Topology::Label(key) => pools.iter().map(|p| number(p.labels.get(key))).collect::<Vec<_>>(),
        };
        let of_host = match topology {
            Topology::Host => (0..index(model.hosts.len())).collect(),
            Topology::Pool | Topology::Jurisdiction => {
                model.hosts.iter().map(|host| of_pool[host.pool as usize]).collect()
            }
            Topology::Label(key) => model
                .hosts
                .iter()
                .map(|host| {
                    let pool = model.world_pool(host.pool);
                    let Capacity::Hosts { hosts, .. } = &pool.capacity else { return NONE };
                    number(hosts[host.number as usize].labels.get(key).or_else(|| pool.labels.get(key)))
                })
                .collect(),
        };
        Self { of_host, of_pool }
    }
}

fn resource_names(world: &World) -> Vec<&str> {
    let mut names: Vec<&str> = world.guests.iter().flat_map(|g| g.size.resources.keys().map(String::as_str)).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn places(world: &World, rates: &Rates<'_>, resources: &[&str]) -> (Vec<PoolModel>, Vec<HostModel>) {
    let (mut pools, mut all) = (Vec::with_capacity(world.pools.len()), Vec::new());
    for (p, pool) in world.pools.iter().enumerate() {
        let from = all.len();
        let (mut overhead, mut offers) = (Overhead::default(), Vec::new());
        match &pool.capacity {
            Capacity::Hosts { hosts, overhead: of_pool } => {
                overhead = *of_pool;
                for number in 0..hosts.len() {
                    all.push(HostModel::new(pool, index(p), index(number), resources));
                }
            }
            Capacity::Offerings(list) => {
                offers = (0..index(list.len())).collect();
                offers.sort_by_cached_key(|&o| {
                    let offer = &list[o as usize];
                    let price = rates.hourly(&offer.hourly);
                    let name = (offer.instance_type.clone(), offer.zone.clone());
                    (price.is_none(), price, offer.spot, offer.vcpus, offer.memory, name)
                });
            }
        }
        let total = [0, 1].map(|d| all[from..].iter().map(|h: &HostModel| h.capacity[d]).sum());
        let running = pool.pricing.owned.as_ref().map_or(Some(0), |owned| rates.monthly(&owned.monthly_running));
        let subscribed =
            pool.pricing.subscription.as_ref().is_some_and(|s| s.term_ends.is_none_or(|end| end > world.now));
        pools.push(PoolModel { hosts: index(from)..index(all.len()), overhead, offers, total, running, subscribed });
    }
    (pools, all)
}

impl HostModel {
    fn new(pool: &Pool, pool_number: u32, number: u32, resources: &[&str]) -> Self {
        let Capacity::Hosts { hosts, .. } = &pool.capacity else {
            return Self { pool: pool_number, number, enabled: false, capacity: vec![0; 2], weight: [0; 2] };
        };
        let host = &hosts[number as usize];
        let vcpus = pool.cpu_overcommit.saturating_mul(rust_decimal::Decimal::from(host.vcpus)).floor();
        let vcpus = u64::try_from(vcpus.max(rust_decimal::Decimal::ZERO)).unwrap_or(u64::MAX);
        let mut all = vec![capacity(host.memory.0), capacity(vcpus)];
        all.extend(resources.iter().map(|name| capacity(host.resources.get(*name).copied().unwrap_or(0))));
        let weight = [(1 << 30) / (all[0] >> 20).max(1), (1 << 30) / all[1].max(1)];
        Self { pool: pool_number, number, enabled: host.enabled && !host.evacuate, capacity: all, weight }
    }
}
