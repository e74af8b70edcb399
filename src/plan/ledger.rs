//! Who uses what: the changing side of a decision. Guests are entered and taken out again; every question about room,
//! neighbours and limits is answered from here.

use super::{
    class::Class,
    cost::marginal,
    fill::{Loss, Shapes},
    inventory::{Capacity, Limits, Offering},
    model::{Model, NONE, index},
    outcome::Lane,
    request::{Bound, Isolation, Topology},
    topology::Tracker,
};

/// A place in dense form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    pub pool: u32,
    pub host: u32,
    pub offer: u32,
    pub lane: Lane,
}

/// What is used of a pool.
#[derive(Clone, Copy, Default)]
pub(super) struct PoolUse {
    pub guests: u32,
    pub vcpus: u64,
    pub memory: u64,
    /// Nano-units an hour, pay-per-use only.
    pub spend: i64,
    pub included_vcpus: u64,
    pub included_memory: u64,
}

/// The guests of a namespace on a host.
struct Tenant {
    namespace: u32,
    guests: u32,
    /// Those that want the host for their namespace.
    dedicated: u32,
}

/// Who uses what.
pub(super) struct Ledger<'m, 'w> {
    pub model: &'m Model<'w>,
    /// Memory left on each host; below zero where more is promised than there is.
    pub free_memory: Vec<i64>,
    /// vCPUs and counted things left on each host, host after host.
    free_rest: Vec<i64>,
    rest: usize,
    tenants: Vec<Vec<Tenant>>,
    any_dedicated: bool,
    pub pools: Vec<PoolUse>,
    trackers: Vec<Tracker>,
    /// Nano-units an hour of each workload.
    spent: Vec<i64>,
    places: Vec<Option<Place>>,
    pub residents: Vec<Vec<u32>>,
    /// For each host, the how-manieth it was to be occupied; empty ones come after all others.
    occupied: Vec<i64>,
    occupations: i64,
    pub shapes: Shapes,
}

impl<'m, 'w> Ledger<'m, 'w> {
    /// A ledger with every bound guest entered.
    pub(super) fn new(model: &'m Model<'w>) -> Self {
        let rest = model.resources.len() + 1;
        let mut ledger = Self {
            model,
            free_memory: model.hosts.iter().map(|h| h.capacity[0]).collect(),
            free_rest: model.hosts.iter().flat_map(|h| h.capacity[1..].iter().copied()).collect(),
            rest,
            tenants: (0..model.hosts.len()).map(|_| Vec::new()).collect(),
            any_dedicated: model.classes.iter().any(|c| c.guest.policy.isolation == Isolation::DedicatedHost),
            pools: vec![PoolUse::default(); model.pools.len()],
            trackers: model.trackers.iter().map(|def| Tracker::new(model, *def)).collect(),
            spent: vec![0; model.workloads],
            places: vec![None; model.world.guests.len()],
            residents: vec![Vec::new(); model.hosts.len()],
            occupied: vec![i64::MAX; model.hosts.len()],
            occupations: 0,
            shapes: Shapes::new(model),
        };
        // Who came first fills what is included in a subscription.
        let mut bound: Vec<u32> =
            (0..index(model.world.guests.len())).filter(|g| model.guest(*g).bound.is_some()).collect();
        bound.sort_by_key(|g| (model.guest(*g).created_at, &model.guest(*g).uid));
        for guest in bound {
            if let Some(place) = model.guest(guest).bound.as_ref().and_then(|b| ledger.resolve(guest, b)) {
                ledger.enter(guest, place);
            }
        }
        ledger
    }

    /// The place that a binding names; `None` where its pool is gone.
    pub(super) fn resolve(&self, guest: u32, bound: &Bound) -> Option<Place> {
        let pool = self.model.pool(&bound.pool)?;
        let host = bound.host.as_ref().and_then(|name| self.model.host(pool, name)).unwrap_or(NONE);
        let offer = match &self.model.world_pool(pool).capacity {
            Capacity::Hosts { .. } => NONE,
            Capacity::Offerings(list) => {
                let same =
                    |o: &Offering| Some(&o.instance_type) == bound.instance_type.as_ref() && o.spot == bound.spot;
                let exact = list.iter().position(|o| same(o) && o.zone == bound.zone);
                exact.or_else(|| list.iter().position(same)).map_or(NONE, index)
            }
        };
        let lane = self.home_lane(guest, pool, offer).unwrap_or(match self.model.world_pool(pool).capacity {
            Capacity::Hosts { .. } => Lane::Owned,
            Capacity::Offerings(_) => Lane::Paid,
        });
        Some(Place { pool, host, offer, lane })
    }

    /// The lane in which a guest costs nothing by the hour there; `None` where there is none, or no more of it.
    pub(super) fn home_lane(&self, guest: u32, pool: u32, offer: u32) -> Option<Lane> {
        let of_pool = &self.model.pools[pool as usize];
        if !of_pool.subscribed {
            return matches!(self.model.world_pool(pool).capacity, Capacity::Hosts { .. }).then_some(Lane::Owned);
        }
        let subscription = self.model.world_pool(pool).pricing.subscription.as_ref()?;
        let used = &self.pools[pool as usize];
        let (vcpus, memory) = self.counted(guest, pool, offer);
        let fits = used.included_vcpus.saturating_add(vcpus) <= subscription.included_vcpus
            && used.included_memory.saturating_add(memory) <= subscription.included_memory.0;
        fits.then_some(Lane::Included)
    }

    /// vCPUs and memory that count against limits and subscriptions: those of the instance type, where there is one.
    pub(super) fn counted(&self, guest: u32, pool: u32, offer: u32) -> (u64, u64) {
        let state = self.model.guest(guest);
        if !state.powered_on {
            return (0, 0);
        }
        match &self.model.world_pool(pool).capacity {
            Capacity::Offerings(list) if offer != NONE => {
                (u64::from(list[offer as usize].vcpus), list[offer as usize].memory.0)
            }
            _ => (u64::from(state.size.vcpus), state.size.memory.0),
        }
    }

    pub(super) fn place_of(&self, guest: u32) -> Option<Place> {
        self.places[guest as usize]
    }

    pub(super) fn placed(&self) -> impl Iterator<Item = (u32, Place)> + '_ {
        self.places.iter().enumerate().filter_map(|(g, place)| place.map(|place| (index(g), place)))
    }

    pub(super) fn tracker(&self, tracker: u32) -> &Tracker {
        &self.trackers[tracker as usize]
    }

    /// The place of a topology that a place belongs to. A rented instance, and a stopped guest, is a host of its own.
    pub(super) fn domain(&self, topology: u32, guest: u32, place: Place) -> u32 {
        let domains = &self.model.domains[topology as usize];
        if place.host != NONE {
            domains.of_host[place.host as usize]
        } else if matches!(self.model.topologies[topology as usize], Topology::Host) {
            index(self.model.hosts.len()) + guest
        } else {
            domains.of_pool[place.pool as usize]
        }
    }

    /// Enters a guest that is not in the ledger.
    pub(super) fn enter(&mut self, guest: u32, place: Place) {
        self.count(guest, place, 1);
        self.places[guest as usize] = Some(place);
        let model = self.model;
        for &tracker in &model.trackers_of[model.class(guest).workload as usize] {
            let domain = self.domain(model.trackers[tracker as usize].topology, guest, place);
            self.trackers[tracker as usize].add(domain);
        }
    }

    /// Takes a guest out, and says where it was.
    pub(super) fn take_out(&mut self, guest: u32) -> Option<Place> {
        let place = self.places[guest as usize].take()?;
        self.count(guest, place, -1);
        let model = self.model;
        for &tracker in &model.trackers_of[model.class(guest).workload as usize] {
            let domain = self.domain(model.trackers[tracker as usize].topology, guest, place);
            self.trackers[tracker as usize].remove(domain);
        }
        Some(place)
    }

    fn count(&mut self, guest: u32, place: Place, sign: i64) {
        let model = self.model;
        let class = model.class(guest);
        let (vcpus, memory) = self.counted(guest, place.pool, place.offer);
        let price = marginal(model, guest, place).unwrap_or(0);
        let add = |n: &mut u64, by: u64| *n = if sign > 0 { n.saturating_add(by) } else { n.saturating_sub(by) };
        let used = &mut self.pools[place.pool as usize];
        used.guests = if sign > 0 { used.guests + 1 } else { used.guests.saturating_sub(1) };
        add(&mut used.vcpus, vcpus);
        add(&mut used.memory, memory);
        match place.lane {
            Lane::Paid => used.spend += sign * price,
            Lane::Included => {
                add(&mut used.included_vcpus, vcpus);
                add(&mut used.included_memory, memory);
            }
            Lane::Owned => {}
        }
        self.spent[class.workload as usize] += sign * price;
        if place.host != NONE {
            self.count_on_host(guest, place.host, class, sign);
        }
    }

    fn count_on_host(&mut self, guest: u32, host: u32, class: &Class<'_>, sign: i64) {
        let h = host as usize;
        self.free_memory[h] -= sign * class.memory(self.model, self.model.hosts[h].pool);
        for (d, need) in class.need.iter().enumerate() {
            self.free_rest[h * self.rest + d] -= sign * need;
        }
        self.shapes.count(self.model.class_of[guest as usize], class.need[0], sign);
        if sign > 0 {
            if self.residents[h].is_empty() {
                self.occupied[h] = self.occupations;
                self.occupations += 1;
            }
            self.residents[h].push(guest);
        } else if let Some(at) = self.residents[h].iter().position(|g| *g == guest) {
            self.residents[h].swap_remove(at);
            if self.residents[h].is_empty() {
                self.occupied[h] = i64::MAX;
            }
        }
        if !self.any_dedicated {
            return;
        }
        let tenants = &mut self.tenants[h];
        let dedicated = u32::from(class.guest.policy.isolation == Isolation::DedicatedHost);
        match tenants.iter_mut().find(|t| t.namespace == class.namespace) {
            Some(t) if sign > 0 => (t.guests, t.dedicated) = (t.guests + 1, t.dedicated + dedicated),
            Some(t) => (t.guests, t.dedicated) = (t.guests - 1, t.dedicated - dedicated),
            None => tenants.push(Tenant { namespace: class.namespace, guests: 1, dedicated }),
        }
        tenants.retain(|t| t.guests > 0);
    }

    /// What is left of the vCPUs and counted things of a host.
    pub(super) fn free_rest(&self, host: u32) -> &[i64] {
        &self.free_rest[host as usize * self.rest..][..self.rest]
    }

    /// What is left of those on all hosts, host after host.
    pub(super) fn all_free_rest(&self) -> &[i64] {
        &self.free_rest
    }

    /// How many numbers there are for a host.
    pub(super) fn free_rest_width(&self) -> usize {
        self.rest
    }

    /// Whether a host has room; nothing else is asked.
    pub(super) fn has_room(&self, host: u32, memory: i64, need: &[i64]) -> bool {
        (memory == 0 || self.free_memory[host as usize] >= memory)
            && self.free_rest(host).iter().zip(need).all(|(free, need)| *need == 0 || free >= need)
    }

    /// Whether more is promised on a host than there is.
    pub(super) fn is_overloaded(&self, host: u32) -> bool {
        self.free_memory[host as usize] < 0 || self.free_rest(host).iter().any(|free| *free < 0)
    }

    /// Whether the tenants of a host, and this class, want to live together.
    pub(super) fn tenants_agree(&self, host: u32, class: &Class<'_>) -> bool {
        if !self.any_dedicated {
            return true;
        }
        let mut others = self.tenants[host as usize].iter().filter(|t| t.namespace != class.namespace);
        if class.guest.policy.isolation == Isolation::DedicatedHost {
            others.next().is_none() && self.model.foreign_guests(host) == Some(0)
        } else {
            others.all(|t| t.dedicated == 0)
        }
    }

    pub(super) fn limits(&self, pool: u32) -> &'w Limits {
        &self.model.world_pool(pool).limits
    }

    /// Nano-units an hour that the pool may still spend; `None` is no limit. A limit in a currency without a rate is
    /// not known to allow anything.
    pub(super) fn spend_left(&self, pool: u32) -> Option<i64> {
        let limit = self.limits(pool).monthly_spend.as_ref()?;
        let limit = self.model.rates.monthly(limit).unwrap_or(0);
        Some(limit - self.pools[pool as usize].spend)
    }

    /// Nano-units an hour that the guest's workload may still cost; `None` is no limit.
    pub(super) fn budget_left(&self, class: &Class<'_>) -> Option<i64> {
        let budget = class.guest.policy.budget.as_ref()?;
        let budget = self.model.rates.monthly(budget).unwrap_or(0);
        Some(budget - self.spent[class.workload as usize])
    }

    /// The how-manieth host this was to be occupied.
    pub(super) fn occupied(&self, host: u32) -> i64 {
        self.occupied[host as usize]
    }

    /// Which of several hosts to fill first: those with little memory left, so that what is left elsewhere stays together
    /// for guests with much of it, and of those the ones that were occupied first.
    pub(super) fn order(&self, host: u32) -> i64 {
        const FIRST: u32 = 30;
        let h = host as usize;
        if self.occupied[h] == i64::MAX {
            return i64::MAX;
        }
        let free = (self.free_memory[h] >> 20).saturating_mul(self.model.hosts[h].weight[0]);
        // Eighths of the host's memory: its weight makes 2^30 of the whole.
        ((free >> 27) << FIRST).saturating_add(self.occupied[h])
    }

    /// Says when a host was occupied: for one that was emptied in vain.
    pub(super) fn set_occupied(&mut self, host: u32, number: i64) {
        self.occupied[host as usize] = number;
    }

    /// Leftover of a host after the class has moved in, summed over memory and vCPUs as parts of the host.
    pub(super) fn leftover(&self, host: u32, memory: i64, need: &[i64]) -> i64 {
        let weight = self.model.hosts[host as usize].weight;
        let parts = |left: i64, weight: i64| left.saturating_mul(weight);
        parts((self.free_memory[host as usize] - memory) >> 20, weight[0])
            .saturating_add(parts(self.free_rest(host)[0] - need[0], weight[1]))
    }

    /// The room of a host, in 1024ths of a vCPU of guests of the usual shape.
    pub(super) fn room_left(&self, host: u32) -> i64 {
        self.shapes.fill(self.free_memory[host as usize], self.free_rest(host)[0]).max(0)
    }

    /// The room that a host has when nobody is there.
    pub(super) fn room_of(&self, host: u32) -> i64 {
        let capacity = &self.model.hosts[host as usize].capacity;
        self.shapes.fill(capacity[0], capacity[1]).max(0)
    }

    /// What a guest would take away from others on a host; an empty one is not to be begun for it.
    pub(super) fn lost(&self, host: u32, loss: &Loss) -> i64 {
        if self.occupied(host) == i64::MAX {
            return i64::MAX;
        }
        self.shapes.lost(loss, self.free_memory[host as usize], self.free_rest(host)[0])
    }

    /// vCPUs and memory that are left of a pool's limits.
    pub(super) fn within_limits(&self, guest: u32, place: Place) -> bool {
        let (limits, used) = (self.limits(place.pool), &self.pools[place.pool as usize]);
        if limits.guests.is_none() && limits.vcpus.is_none() && limits.memory.is_none() {
            return true;
        }
        let (vcpus, memory) = self.counted(guest, place.pool, place.offer);
        limits.guests.is_none_or(|most| used.guests < most)
            && limits.vcpus.is_none_or(|most| vcpus == 0 || used.vcpus.saturating_add(vcpus) <= most)
            && limits.memory.is_none_or(|most| memory == 0 || used.memory.saturating_add(memory) <= most.0)
    }
}
