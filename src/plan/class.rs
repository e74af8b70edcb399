//! Guests that are alike: what manifests alone say about where they may live and what that costs.

use std::sync::OnceLock;

use super::{
    candidate::{Key, floor},
    inventory::{Capacity, Effect, Offering, Pool, Taint},
    model::{Model, index, need},
    request::{Affinity, GuestState, Policy, Side, Spread, WhenUnsatisfiable},
    rule::{Failure, Rule, static_failures},
};

/// What an untolerated `PreferNoSchedule` taint weighs, in percent of the price.
const AVOIDED_TAINT: i64 = 50;

/// What policy, image, networks, storage and refusals say about each pool.
pub(super) struct Statics {
    /// Pools that fail none of the rules about the pool alone, with the weight of the wishes they do not fulfil.
    pub allowed: Vec<(u32, i64)>,
    /// The others, with what they fail.
    pub rejected: Vec<(u32, Vec<Failure>)>,
    /// The selector names a pool that is owned or paid for already.
    pub selected_home: bool,
    /// One of those fails no rule but about room.
    pub allowed_home: bool,
}

impl Statics {
    pub(super) fn new(model: &Model<'_>, guest: &GuestState) -> Self {
        let (mut allowed, mut rejected) = (Vec::new(), Vec::new());
        let (mut selected_home, mut allowed_home) = (false, false);
        for (p, pool) in model.world.pools.iter().enumerate() {
            let failures = static_failures(pool, guest, model.world.now);
            // Also where no host is known yet: what has not been looked at may have room.
            let home = matches!(pool.capacity, Capacity::Hosts { .. }) || model.pools[p].subscribed;
            selected_home |= home && failures.iter().all(|f| f.rule != Rule::PoolSelector);
            allowed_home |= home && failures.iter().all(|f| f.rule.is_about_room());
            if failures.is_empty() {
                let policy = &guest.policy;
                let unmet = policy.preferred.iter().filter(|wish| !wish.selector.matches(&pool.labels));
                let weight = unmet.map(|wish| i64::from(wish.weight)).sum::<i64>()
                    + avoided(pool, policy).map(|_| AVOIDED_TAINT).sum::<i64>();
                allowed.push((index(p), weight));
            } else {
                rejected.push((index(p), failures));
            }
        }
        Self { allowed, rejected, selected_home, allowed_home }
    }
}

/// Taints of a pool that guests of this policy would rather not meet.
pub(super) fn avoided<'p>(pool: &'p Pool, policy: &Policy) -> impl Iterator<Item = &'p Taint> {
    let taints = pool.taints.iter().filter(|taint| taint.effect == Effect::PreferNoSchedule);
    taints.filter(|taint| !policy.tolerations.iter().any(|toleration| toleration.matches(taint)))
}

/// Guests of one workload that are alike.
pub(super) struct Class<'w> {
    /// The guest that stands for all.
    pub guest: &'w GuestState,
    pub statics: u32,
    pub workload: u32,
    pub namespace: u32,
    /// vCPUs, then the counted things, that it takes on a host; zeros when it is stopped.
    pub need: Vec<i64>,
    pub spreads: Vec<SpreadRule>,
    pub near: Vec<NearRule>,
    pub apart: Vec<(u32, u32)>,
    options: OnceLock<Vec<Choice>>,
}

/// A spread with its counter.
pub(super) struct SpreadRule {
    pub tracker: u32,
    pub max_skew: u32,
    pub hard: bool,
}

/// A nearness with its counters.
pub(super) struct NearRule {
    pub topology: u32,
    pub trackers: Vec<u32>,
    /// It names the guest's own workload.
    pub own: bool,
}

/// A pool that is allowed for a class, with what it costs there.
pub(super) struct Choice {
    pub pool: u32,
    /// Memory that it takes on a host, with overhead; zero when it is stopped.
    pub memory: i64,
    /// Running cost of an hour at home, in nano-units; `None` where no rate is known.
    pub running: Option<i64>,
    /// Offerings that are large enough, cheapest first, with prices in nano-units where those are known. A dearer one
    /// is only among them where it is smaller and the pool counts sizes.
    pub offers: Vec<(u32, Option<i64>)>,
    /// Weight of the wishes that the pool does not fulfil, in percent.
    pub wishes: i64,
    /// The best that a place there could be.
    pub floor: Key,
}

impl<'w> Class<'w> {
    pub(super) fn new(guest: &'w GuestState, statics: u32, workload: u32, namespace: u32, resources: &[&str]) -> Self {
        let mut needs = vec![0; resources.len() + 1];
        if guest.powered_on {
            needs[0] = i64::from(guest.size.vcpus);
            for (at, name) in resources.iter().enumerate() {
                needs[at + 1] = need(guest.size.resources.get(*name).copied().unwrap_or(0));
            }
        }
        Self {
            guest,
            statics,
            workload,
            namespace,
            need: needs,
            spreads: Vec::new(),
            near: Vec::new(),
            apart: Vec::new(),
            options: OnceLock::new(),
        }
    }

    pub(super) fn add_spread(&mut self, tracker: u32, spread: &Spread) {
        let hard = spread.when_unsatisfiable == WhenUnsatisfiable::DoNotSchedule;
        self.spreads.push(SpreadRule { tracker, max_skew: spread.max_skew.max(1), hard });
    }

    pub(super) fn add_affinity(&mut self, term: &Affinity, topology: u32, trackers: Vec<u32>, own: bool) {
        match term.kind {
            Side::Near => self.near.push(NearRule { topology, trackers, own }),
            Side::Apart => {
                for tracker in trackers {
                    self.keep_apart(topology, tracker);
                }
            }
        }
    }

    pub(super) fn keep_apart(&mut self, topology: u32, tracker: u32) {
        if !self.apart.contains(&(topology, tracker)) {
            self.apart.push((topology, tracker));
        }
    }

    /// Whether nothing but room decides between hosts.
    pub(super) fn is_plain(&self) -> bool {
        self.spreads.is_empty() && self.near.is_empty() && self.apart.is_empty()
    }

    /// The pools that are allowed, the most promising first.
    pub(super) fn choices(&self, model: &Model<'_>) -> &[Choice] {
        self.options.get_or_init(|| {
            let allowed = &model.statics[self.statics as usize].allowed;
            let mut choices: Vec<_> = allowed.iter().map(|&(pool, wishes)| self.choice(model, pool, wishes)).collect();
            choices.sort_by_key(|choice| choice.floor);
            choices
        })
    }

    pub(super) fn choice(&self, model: &Model<'_>, pool: u32, wishes: i64) -> Choice {
        let mut choice = Choice {
            pool,
            memory: self.memory(model, pool),
            running: self.running(model, pool),
            offers: self.offers(model, pool),
            wishes,
            floor: Key::BEST,
        };
        let rented = matches!(model.world_pool(pool).capacity, Capacity::Offerings(_));
        choice.floor = floor(self, &choice, rented, model.pools[pool as usize].subscribed);
        choice
    }

    /// Memory that it takes on a host of this pool, with overhead.
    pub(super) fn memory(&self, model: &Model<'_>, pool: u32) -> i64 {
        if !self.guest.powered_on {
            return 0;
        }
        let size = &self.guest.size;
        let overhead = model.pools[pool as usize].overhead.of(size.vcpus, size.memory);
        need(size.memory.saturating_add(overhead).0)
    }

    /// Its share of the running cost of the pool's hosts: the larger of its shares in memory and vCPUs.
    pub(super) fn running(&self, model: &Model<'_>, pool: u32) -> Option<i64> {
        let of_pool = &model.pools[pool as usize];
        let running = of_pool.running?;
        if running == 0 || !self.guest.powered_on {
            return Some(0);
        }
        let wants = [self.memory(model, pool), i64::from(self.guest.size.vcpus)];
        let shares = wants.iter().zip(of_pool.total).filter(|(_, total)| *total > 0);
        let parts = shares.map(|(&want, total)| i128::from(running) * i128::from(want) / i128::from(total));
        Some(i64::try_from(parts.max().unwrap_or(0)).unwrap_or(i64::MAX / 4))
    }

    /// Whether an offering is large enough, sold, and allowed.
    pub(super) fn fits(&self, model: &Model<'_>, offer: &Offering) -> bool {
        let dedicated = self.guest.policy.isolation == super::request::Isolation::DedicatedHost;
        let size = &self.guest.size;
        offer.vcpus >= size.vcpus
            && offer.memory >= size.memory
            && size.resources.values().all(|n| *n == 0)
            && offer.available
            && offer.backed_off_until.is_none_or(|until| until <= model.world.now)
            && (offer.dedicated || !dedicated)
            && (!offer.spot || self.guest.policy.spot)
    }

    fn offers(&self, model: &Model<'_>, pool: u32) -> Vec<(u32, Option<i64>)> {
        let of_pool = model.world_pool(pool);
        let Capacity::Offerings(list) = &of_pool.capacity else { return Vec::new() };
        let fits = |o: &&u32| self.fits(model, &list[**o as usize]);
        let sizes_count =
            of_pool.pricing.subscription.is_some() || of_pool.limits.vcpus.is_some() || of_pool.limits.memory.is_some();
        let mut offers: Vec<(u32, Option<i64>)> = Vec::new();
        for &o in model.pools[pool as usize].offers.iter().filter(fits) {
            let offer = &list[o as usize];
            let smaller = |(other, _): &(u32, _)| {
                let other = &list[*other as usize];
                offer.vcpus < other.vcpus || offer.memory < other.memory
            };
            if offers.is_empty() || (sizes_count && offers.iter().all(smaller)) {
                offers.push((o, model.rates.hourly(&offer.hourly)));
            }
            if !sizes_count {
                break;
            }
        }
        offers
    }
}
