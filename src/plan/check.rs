//! An independent checker: reads the world and a plan by their names, shares no code with the engine beyond the values,
//! and says which hard rules the plan breaks. Slow and plain on purpose.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
};

use rust_decimal::Decimal;

use super::{
    check_neighbours::{Asked, neighbours},
    check_static::{CLOSED, burst_allows, pool_allows},
    inventory::{Capacity, Host, Offering, Pool, World},
    outcome::{Cause, Lane, Plan},
    request::{Bound, GuestState, Isolation},
};
use crate::api::money::{HOURS_PER_MONTH, Money};

/// A hard rule that a plan breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The uid of the guest, or the name of the host, pool or workload that it is about.
    pub of: String,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.of, self.what)
    }
}

/// The world by names, and where every guest is.
pub(super) struct Situation<'a> {
    pub world: &'a World,
    pub pools: HashMap<&'a str, &'a Pool>,
    pub hosts: HashMap<(&'a str, &'a str), &'a Host>,
    /// For each guest of the world, where it is after the plan.
    pub places: Vec<Option<&'a Bound>>,
    /// Whether the plan gave it that place.
    pub fresh: Vec<bool>,
    pub found: Vec<Violation>,
}

/// Every hard rule that the plan breaks. Rules that were broken before, and that the plan does not touch, are not named.
#[must_use]
pub fn check(world: &World, plan: &Plan) -> Vec<Violation> {
    let by_uid: HashMap<&str, usize> = world.guests.iter().enumerate().map(|(i, g)| (g.uid.as_str(), i)).collect();
    let pools: HashMap<&str, &Pool> = world.pools.iter().map(|p| (p.name.as_str(), p)).collect();
    let mut hosts = HashMap::new();
    for pool in &world.pools {
        if let Capacity::Hosts { hosts: list, .. } = &pool.capacity {
            hosts.extend(list.iter().map(|host| ((pool.name.as_str(), host.name.as_str()), host)));
        }
    }
    let places: Vec<_> =
        world.guests.iter().map(|g| g.bound.as_ref().filter(|b| pools.contains_key(b.pool.as_str()))).collect();
    let fresh = vec![false; places.len()];
    let mut situation = Situation { world, pools, hosts, places, fresh, found: Vec::new() };
    situation.complete(plan);
    situation.bind(plan, &by_uid);
    neighbours(&mut situation, &Asked::ALL);
    let newly_bound = std::mem::replace(&mut situation.fresh, vec![false; world.guests.len()]);
    situation.follow_moves(plan, &by_uid);
    // Who must leave goes although that upsets a spread or those left behind; who need not, does not.
    neighbours(&mut situation, &Asked::APART);
    let forced = plan.moves.iter().filter(|m| !matches!(m.cause, Cause::ReturnHome | Cause::Saving | Cause::Density));
    let forced: HashSet<usize> = forced.filter_map(|m| by_uid.get(m.guest.as_str()).copied()).collect();
    let moved = situation.fresh.clone();
    for at in forced {
        situation.fresh[at] = false;
    }
    neighbours(&mut situation, &Asked::ALL);
    situation.fresh = moved.iter().zip(newly_bound).map(|(moved, bound)| *moved || bound).collect();
    situation.statics(plan, &by_uid);
    situation.capacity();
    situation.limits(plan);
    situation.found.dedup();
    situation.found
}

impl<'a> Situation<'a> {
    pub(super) fn say(&mut self, of: impl Into<String>, what: impl Into<String>) {
        self.found.push(Violation { of: of.into(), what: what.into() });
    }

    /// Every guest that wants a place is spoken of once, and no other.
    fn complete(&mut self, plan: &Plan) {
        let mut spoken = HashSet::new();
        for uid in plan.bindings.iter().map(|b| &b.guest).chain(plan.unplaced.iter().map(|u| &u.guest)) {
            if !spoken.insert(uid.as_str()) {
                self.say(uid, "decided on twice");
            }
        }
        for guest in self.world.guests.iter().filter(|g| g.bound.is_none() && !g.leaving) {
            if !spoken.contains(guest.uid.as_str()) {
                self.say(&guest.uid, "not decided on");
            }
        }
    }

    fn bind(&mut self, plan: &'a Plan, by_uid: &HashMap<&str, usize>) {
        for binding in &plan.bindings {
            let Some(&at) = by_uid.get(binding.guest.as_str()) else {
                self.say(&binding.guest, "bound, but there is no such guest");
                continue;
            };
            let guest = &self.world.guests[at];
            let stays = guest.bound.as_ref().is_none_or(|b| b.pool == binding.place.pool && b.host.is_none());
            if guest.leaving || !stays {
                self.say(&guest.uid, "bound although it has a place or is leaving");
            }
            self.places[at] = Some(&binding.place);
            self.fresh[at] = true;
        }
    }

    /// Walks through the moves wave by wave with moving guests counted at both ends: no host may be overloaded that was
    /// not before, and none that was may become more so.
    fn follow_moves(&mut self, plan: &'a Plan, by_uid: &HashMap<&str, usize>) {
        let mut waves: BTreeMap<u32, Vec<&super::outcome::Move>> = BTreeMap::new();
        for step in &plan.moves {
            waves.entry(step.wave).or_default().push(step);
        }
        let mut used = self.used();
        for steps in waves.into_values() {
            let before = used.clone();
            let mut arriving = HashSet::new();
            for step in &steps {
                let Some(&at) = by_uid.get(step.guest.as_str()) else {
                    self.say(&step.guest, "moved, but there is no such guest");
                    continue;
                };
                if self.places[at] != Some(&step.from) || self.world.guests[at].leaving {
                    self.say(&step.guest, "moved from where it is not");
                }
                if let Some(host) = host_of(&step.to) {
                    add(&mut used, host, &self.need(at, &step.to), 1);
                    arriving.insert(host);
                }
                self.places[at] = Some(&step.to);
                self.fresh[at] = true;
            }
            for host in arriving {
                if let Some(text) = self.overload(host, &used, before.get(&host)) {
                    self.say(host.1, format!("overloaded while guests move: {text}"));
                }
            }
            for step in &steps {
                if let (Some(host), Some(&at)) = (host_of(&step.from), by_uid.get(step.guest.as_str())) {
                    add(&mut used, host, &self.need(at, &step.from), -1);
                }
            }
        }
    }

    fn statics(&mut self, plan: &Plan, by_uid: &HashMap<&str, usize>) {
        for at in 0..self.places.len() {
            let (guest, Some(place)) = (&self.world.guests[at], self.places[at]) else { continue };
            if !self.fresh[at] {
                continue;
            }
            let Some(pool) = self.pools.get(place.pool.as_str()) else {
                self.say(&guest.uid, format!("given the unknown pool {}", place.pool));
                continue;
            };
            let broken = pool_allows(pool, guest, self.world.now);
            let was_there = guest.bound.as_ref().is_some_and(|b| b.pool == place.pool);
            for what in broken.into_iter().filter(|what| !was_there || !CLOSED.contains(what)) {
                self.say(&guest.uid, format!("in {}: {what}", place.pool));
            }
            if let Err(what) = self.fits_offer(guest, place) {
                self.say(&guest.uid, what);
            }
        }
        for binding in plan.bindings.iter().filter(|b| b.lane == Lane::Paid) {
            if let Some(&at) = by_uid.get(binding.guest.as_str())
                && !burst_allows(self.world, &self.world.guests[at])
            {
                self.say(&binding.guest, "pays by the hour against its burst rule");
            }
        }
    }

    fn fits_offer(&self, guest: &GuestState, place: &Bound) -> Result<(), String> {
        let Some(offer) = self.offer(place) else {
            let known = place.host.as_ref().map(|host| self.hosts.get(&(place.pool.as_str(), host.as_str())));
            return match known {
                Some(Some(host)) if host.enabled && !host.evacuate => Ok(()),
                Some(_) => Err("given a host that takes no guests".into()),
                None if guest.powered_on => Err("given neither a host nor an instance type".into()),
                None => Ok(()),
            };
        };
        let open = offer.available && offer.backed_off_until.is_none_or(|until| until <= self.world.now);
        let large = offer.vcpus >= guest.size.vcpus && offer.memory >= guest.size.memory;
        if guest.policy.isolation == Isolation::DedicatedHost && !offer.dedicated {
            return Err(format!(
                "given {}, which is on shared hosts, and wants a host of its own",
                offer.instance_type
            ));
        }
        match (open && large, offer.spot && !guest.policy.spot) {
            (true, false) => Ok(()),
            (true, true) => Err("given capacity that can be taken back, which it does not allow".into()),
            (false, _) => Err(format!("given {}, too small or not sold", offer.instance_type)),
        }
    }

    pub(super) fn offer(&self, place: &Bound) -> Option<&'a Offering> {
        let Capacity::Offerings(list) = &self.pools.get(place.pool.as_str())?.capacity else { return None };
        let same = |o: &&Offering| Some(&o.instance_type) == place.instance_type.as_ref() && o.spot == place.spot;
        list.iter().find(|o| same(o) && o.zone == place.zone)
    }

    /// Memory with overhead, vCPUs and counted things that a guest takes on a host.
    fn need(&self, at: usize, place: &Bound) -> BTreeMap<&'a str, i128> {
        let guest = &self.world.guests[at];
        let mut need = BTreeMap::new();
        if !guest.powered_on {
            return need;
        }
        if let Some(Capacity::Hosts { overhead, .. }) = self.pools.get(place.pool.as_str()).map(|p| &p.capacity) {
            let extra = overhead.of(guest.size.vcpus, guest.size.memory);
            need.insert("memory", i128::from(guest.size.memory.0) + i128::from(extra.0));
        }
        need.insert("vcpus", i128::from(guest.size.vcpus));
        need.extend(guest.size.resources.iter().map(|(name, n)| (name.as_str(), i128::from(*n))));
        need
    }

    fn used(&self) -> Used<'a> {
        let mut used = Used::new();
        for (at, place) in self.places.iter().enumerate() {
            let Some(place) = place else { continue };
            if let Some(host) = host_of(place) {
                add(&mut used, host, &self.need(at, place), 1);
            }
        }
        used
    }

    /// What is promised beyond what there is, and beyond what was promised before.
    fn overload(
        &self,
        at: (&'a str, &'a str),
        used: &Used<'a>,
        before: Option<&BTreeMap<&'a str, i128>>,
    ) -> Option<String> {
        let (host, pool) = (self.hosts.get(&at)?, self.pools.get(at.0)?);
        used.get(&at)?.iter().find_map(|(name, n)| {
            let most = match *name {
                "memory" => i128::from(host.memory.0),
                "vcpus" => i128::try_from((pool.cpu_overcommit * Decimal::from(host.vcpus)).floor()).unwrap_or(0),
                other => i128::from(host.resources.get(other).copied().unwrap_or(0)),
            };
            let was = before.and_then(|b| b.get(name)).copied().unwrap_or(0);
            (*n > most && *n > was).then(|| format!("{name} {n} of {most} on {}/{}", at.0, at.1))
        })
    }

    fn capacity(&mut self) {
        let used = self.used();
        let given: HashSet<_> = (self.places.iter().zip(&self.fresh))
            .filter_map(|(place, fresh)| place.filter(|_| *fresh).and_then(host_of))
            .collect();
        for host in given {
            if let Some(text) = self.overload(host, &used, None) {
                self.say(host.1, format!("overloaded: {text}"));
            }
        }
    }

    fn limits(&mut self, plan: &Plan) {
        let lanes: HashMap<&str, Lane> = plan.bindings.iter().map(|b| (b.guest.as_str(), b.lane)).collect();
        for pool in &self.world.pools {
            let there: Vec<usize> =
                (0..self.places.len()).filter(|at| self.places[*at].is_some_and(|p| p.pool == pool.name)).collect();
            let came = |at: &usize| self.world.guests[*at].bound.as_ref().is_none_or(|b| b.pool != pool.name);
            if !there.iter().any(came) {
                continue;
            }
            let (mut vcpus, mut memory, mut spend, mut pays) = (0u128, 0u128, Some(Decimal::ZERO), false);
            let mut included = (0u128, 0u128);
            for &at in there.iter().filter(|at| self.world.guests[**at].powered_on) {
                let guest = &self.world.guests[at];
                let offer = self.places[at].and_then(|p| self.offer(p));
                let size = offer.map_or((u128::from(guest.size.vcpus), u128::from(guest.size.memory.0)), |o| {
                    (o.vcpus.into(), o.memory.0.into())
                });
                (vcpus, memory) = (vcpus + size.0, memory + size.1);
                match lanes.get(guest.uid.as_str()) {
                    Some(Lane::Included) => included = (included.0 + size.0, included.1 + size.1),
                    Some(Lane::Paid) => {
                        let price = offer.and_then(|o| self.convert(&o.hourly));
                        pays |= price.is_none_or(|price| !price.is_zero());
                        spend = spend.zip(price).map(|(sum, price)| sum.saturating_add(price));
                    }
                    Some(Lane::Owned) => {}
                    None => {
                        let price = self.paid(at);
                        pays |= self.fresh[at] && !price.is_zero();
                        spend = spend.map(|sum| sum.saturating_add(price));
                    }
                }
            }
            let limits = &pool.limits;
            let over = limits.guests.is_some_and(|most| there.len() > most as usize)
                || limits.vcpus.is_some_and(|most| vcpus > u128::from(most))
                || limits.memory.is_some_and(|most| memory > u128::from(most.0));
            let overspent = limits.monthly_spend.as_ref().is_some_and(|most| {
                spend.zip(self.convert(most)).is_none_or(|(sum, most)| sum.saturating_mul(HOURS_PER_MONTH) > most)
            });
            if over || (overspent && pays) {
                self.say(&pool.name, "over its limits");
            }
            if let Some(s) = &pool.pricing.subscription
                && (included.0 > s.included_vcpus.into() || included.1 > s.included_memory.0.into())
            {
                self.say(&pool.name, "more than its subscription includes");
            }
        }
        self.budgets(plan);
    }

    fn budgets(&mut self, plan: &Plan) {
        let mut sums: HashMap<(&str, &str), (Decimal, Option<&GuestState>)> = HashMap::new();
        let bindings: HashMap<&str, _> = plan.bindings.iter().map(|b| (b.guest.as_str(), b)).collect();
        for (at, guest) in self.world.guests.iter().enumerate() {
            let binding = bindings.get(guest.uid.as_str());
            if guest.policy.budget.is_some() && binding.is_some_and(|b| b.hourly.is_none()) && guest.powered_on {
                self.say(&guest.uid, "has a budget and an unknown price");
            }
            // Of those that were there only what is certain: the running cost of one's own hosts is not worked out anew.
            let price = binding.map_or_else(|| self.paid(at), |b| b.hourly.map_or(Decimal::ZERO, |m| m.amount.0));
            let sum = sums.entry((&guest.namespace, &guest.workload)).or_insert((Decimal::ZERO, None));
            sum.0 = sum.0.saturating_add(price);
            if self.fresh[at] && !price.is_zero() && guest.policy.budget.is_some() {
                sum.1 = Some(guest);
            }
        }
        for (sum, guest) in sums.into_values() {
            if let Some(guest) = guest
                && let Some(budget) = guest.policy.budget.as_ref().and_then(|b| self.convert(b))
                && sum.saturating_mul(HOURS_PER_MONTH) > budget
            {
                self.say(&guest.workload, "over its budget");
            }
        }
    }

    /// What a guest that the plan did not bind pays by the hour, as far as that is certain.
    fn paid(&self, at: usize) -> Decimal {
        let place = self.places[at].filter(|_| self.world.guests[at].powered_on);
        let pool = place.and_then(|place| self.pools.get(place.pool.as_str()));
        let offer = place.filter(|_| pool.is_some_and(|pool| pool.pricing.subscription.is_none()));
        offer.and_then(|place| self.offer(place)).and_then(|o| self.convert(&o.hourly)).unwrap_or_default()
    }

    fn convert(&self, money: &Money) -> Option<Decimal> {
        if money.currency == self.world.currency {
            return Some(money.amount.0);
        }
        self.world.rates.get(&money.currency).and_then(|rate| rate.checked_mul(money.amount.0))
    }
}

type Used<'a> = HashMap<(&'a str, &'a str), BTreeMap<&'a str, i128>>;

fn host_of(place: &Bound) -> Option<(&str, &str)> {
    place.host.as_ref().map(|host| (place.pool.as_str(), host.as_str()))
}

fn add<'a>(used: &mut Used<'a>, host: (&'a str, &'a str), need: &BTreeMap<&'a str, i128>, sign: i128) {
    let of_host = used.entry(host).or_default();
    for (name, n) in need {
        *of_host.entry(name).or_default() += sign * n;
    }
}
