//! Places that a guest could go to now, and how good each is.

use std::collections::HashMap;

use super::{
    class::{Choice, Class, NearRule},
    inventory::Capacity,
    ledger::{Ledger, Place},
    model::NONE,
    outcome::Lane,
    request::{Objective, Topology},
    rule::{Failure, Rule},
};

/// What a broken `ScheduleAnyway` spread weighs, in percent of the price.
pub(super) const BROKEN_SPREAD: i64 = 100;

/// How good a place is: smaller is better, the first difference decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    /// The price is not known.
    pub unpriced: bool,
    /// Nano-units an hour of paid capacity, raised by unfulfilled wishes.
    pub paid: i64,
    /// Paid capacity comes after one's own also where it is free of charge.
    pub lane: Lane,
    /// By objective. Cost: running cost, wishes, leftover. Performance: wishes, load, running cost. Density: wishes, what
    /// guests of the usual shape lose, how much memory is free and how long the host has been occupied.
    pub terms: [i64; 3],
}

impl Key {
    /// Nothing is better.
    pub(super) const BEST: Self = Self { unpriced: false, paid: 0, lane: Lane::Owned, terms: [i64::MIN; 3] };
}

/// A place that a guest could go to now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub key: Key,
    pub place: Place,
    /// Weight of the wishes that it leaves unfulfilled.
    pub wishes: i64,
    pub running: i64,
    /// What the host has left with the guest, in 2^-30ths of its memory and of its vCPUs, added up.
    pub leftover: i64,
}

/// Who asks for a place, and what is settled already.
#[derive(Clone, Copy)]
pub(super) struct Ask {
    pub guest: u32,
    /// Whether paid capacity may be used.
    pub paid: bool,
    /// The pool that the guest is bound to, if it is.
    pub pool: Option<u32>,
    /// A host that it must not go to: the one that it is to leave.
    pub not_host: u32,
}

/// How well a guest fits on a host.
#[derive(Clone, Copy, Default)]
struct Fit {
    leftover: i64,
    /// Among hosts that are as good for others: only counted where it matters.
    order: i64,
    /// What guests of the usual shape lose; only counted where it matters.
    lost: i64,
    /// Free memory around it, where others will have to find room near to it.
    beside: Option<i64>,
}

/// What the neighbours allow.
pub(super) struct Room {
    /// Most guests that a place may hold so that one more keeps each spread.
    most: Vec<u32>,
    /// Whether nearness is asked for.
    near: bool,
    /// Whether those count as beside it of whom it is not known where they are, or of whom it is not known where it is.
    perhaps: bool,
    /// For the first of guests that must be near to each other: the topology, and the free memory in each place of it.
    /// The others will need room beside it.
    beside: Option<(u32, HashMap<u32, i64>)>,
}

impl Ledger<'_, '_> {
    /// The best place, and the best one in another pool.
    pub(super) fn best(&self, ask: Ask) -> (Option<Candidate>, Option<Candidate>) {
        let (mut best, mut second): (Option<Candidate>, Option<Candidate>) = (None, None);
        let class = self.model.class(ask.guest);
        let room = self.room(class);
        let own;
        let choices = match ask.pool {
            None => class.choices(self.model),
            Some(pool) => {
                own = self.in_own_pool(class, pool);
                own.as_slice()
            }
        };
        for choice in choices {
            // Pools come in the order of the best that they could be: nobody better, or second best, is to come.
            if second.is_some_and(|second| second.key < choice.floor) {
                break;
            }
            let mut of_pool: Option<Candidate> = None;
            self.in_pool(ask, class, choice, &room, &mut |found| {
                if of_pool.is_none_or(|so_far| found.key < so_far.key) {
                    of_pool = Some(found);
                }
            });
            let Some(found) = of_pool else { continue };
            match best {
                Some(so_far) if found.key >= so_far.key => {
                    if second.is_none_or(|so_far| found.key < so_far.key) {
                        second = Some(found);
                    }
                }
                _ => second = best.replace(found),
            }
        }
        (best, second)
    }

    /// Every place, pool by pool.
    pub(super) fn every(&self, ask: Ask) -> Vec<Candidate> {
        let room = self.room(self.model.class(ask.guest));
        self.every_with(ask, &room)
    }

    /// Every place that is allowed if so many guests of the same workload are placed after this one, as they would have
    /// to be: whether spread and nearness hold is to be asked in the end.
    pub(super) fn every_loosely(&self, ask: Ask, to_come: u32) -> Vec<Candidate> {
        let mut room = self.room(self.model.class(ask.guest));
        room.near = false;
        room.most.iter_mut().for_each(|most| *most = most.saturating_add(to_come));
        self.every_with(ask, &room)
    }

    fn every_with(&self, ask: Ask, room: &Room) -> Vec<Candidate> {
        let class = self.model.class(ask.guest);
        let mut all = Vec::new();
        match ask.pool {
            None => {
                for choice in class.choices(self.model) {
                    self.in_pool(ask, class, choice, room, &mut |found| all.push(found));
                }
            }
            Some(pool) => {
                if let Some(choice) = self.in_own_pool(class, pool) {
                    self.in_pool(ask, class, &choice, room, &mut |found| all.push(found));
                }
            }
        }
        all
    }

    /// The pool that a guest is bound to, as long as nothing but new guests is kept out there.
    fn in_own_pool(&self, class: &Class<'_>, pool: u32) -> Option<Choice> {
        let statics = &self.model.statics[class.statics as usize];
        let rejected = statics.rejected.iter().find(|(p, _)| *p == pool);
        let only_closed = |f: &Failure| matches!(f.rule, Rule::Cordoned | Rule::Refused);
        if rejected.is_some_and(|(_, failures)| !failures.iter().all(only_closed)) {
            return None;
        }
        let wishes = statics.allowed.iter().find(|(p, _)| *p == pool).map_or(0, |(_, weight)| *weight);
        Some(class.choice(self.model, pool, wishes))
    }

    pub(super) fn room(&self, class: &Class<'_>) -> Room {
        let most = class.spreads.iter().map(|s| self.tracker(s.tracker).least().saturating_add(s.max_skew)).collect();
        Room { most, near: true, perhaps: true, beside: self.room_beside(class) }
    }

    fn room_beside(&self, class: &Class<'_>) -> Option<(u32, HashMap<u32, i64>)> {
        let first = |near: &&NearRule| {
            near.own
                && !matches!(self.model.topologies[near.topology as usize], Topology::Host)
                && near.trackers.iter().all(|t| self.tracker(*t).total() == 0)
        };
        let topology = class.near.iter().find(first)?.topology;
        let mut free: HashMap<u32, i64> = HashMap::new();
        let domains = &self.model.domains[topology as usize].of_host;
        for ((host, domain), memory) in self.model.hosts.iter().zip(domains).zip(&self.free_memory) {
            if host.enabled {
                *free.entry(*domain).or_default() += (*memory).max(0);
            }
        }
        Some((topology, free))
    }

    fn in_pool(&self, ask: Ask, class: &Class<'_>, choice: &Choice, room: &Room, visit: &mut impl FnMut(Candidate)) {
        for (lane, offer, price) in self.lanes(ask, choice) {
            let place = Place { pool: choice.pool, host: NONE, offer, lane };
            // Who stays in its pool counts there already.
            let stays = ask.pool == Some(choice.pool);
            let allowed = stays || (self.within_limits(ask.guest, place) && self.affordable(class, place, price));
            if !allowed {
                continue;
            }
            // A stopped guest has no memory to find and so no host to choose; it is given one when it is started.
            if offer != NONE || !class.guest.powered_on {
                if let Some(broken) = self.neighbours_agree(ask.guest, class, place, room) {
                    visit(candidate(class, choice, place, price, broken, Fit::default()));
                }
            } else {
                self.on_hosts(ask, class, choice, room, (place, price), visit);
            }
        }
    }

    fn on_hosts(
        &self,
        ask: Ask,
        class: &Class<'_>,
        choice: &Choice,
        room: &Room,
        (place, price): (Place, Option<i64>),
        visit: &mut impl FnMut(Candidate),
    ) {
        let plain = class.is_plain();
        let dense = class.guest.policy.objective == Objective::Density;
        let loss = dense.then(|| self.shapes.loss(choice.memory, class.need[0]));
        for host in self.model.pools[choice.pool as usize].hosts.clone() {
            if !self.has_room(host, choice.memory, &class.need)
                || !self.model.hosts[host as usize].enabled
                || host == ask.not_host
                || !self.tenants_agree(host, class)
            {
                continue;
            }
            let place = Place { host, ..place };
            let broken = if plain { Some(0) } else { self.neighbours_agree(ask.guest, class, place, room) };
            if let Some(broken) = broken {
                let fit = Fit {
                    leftover: self.leftover(host, choice.memory, &class.need),
                    order: if dense { self.order(host) } else { 0 },
                    lost: loss.as_ref().map_or(0, |loss| self.lost(host, loss)),
                    beside: room.beside.as_ref().map(|(topology, free)| {
                        let domain = self.model.domains[*topology as usize].of_host[host as usize];
                        free.get(&domain).copied().unwrap_or(0)
                    }),
                };
                visit(candidate(class, choice, place, price, broken, fit));
            }
        }
    }

    /// The lanes open to a guest in a pool, with the offering and the price of an hour.
    pub(super) fn lanes<'c>(
        &'c self,
        ask: Ask,
        choice: &'c Choice,
    ) -> impl Iterator<Item = (Lane, u32, Option<i64>)> + 'c {
        let rented = matches!(self.model.world_pool(choice.pool).capacity, Capacity::Offerings(_));
        let home = (!rented).then(|| self.home_lane(ask.guest, choice.pool, NONE)).flatten();
        let stays = (!rented && ask.pool == Some(choice.pool)).then_some(Lane::Owned);
        let on_hosts = home.or(stays).map(|lane| {
            let price = if lane == Lane::Included { Some(0) } else { choice.running };
            (lane, NONE, price)
        });
        let of_offers = choice.offers.iter().flat_map(move |&(offer, price)| {
            let home = self.home_lane(ask.guest, choice.pool, offer).map(|lane| (lane, offer, Some(0)));
            let paid = ask.paid.then_some((Lane::Paid, offer, price));
            home.into_iter().chain(paid)
        });
        on_hosts.into_iter().chain(of_offers)
    }

    /// Whether the pool may spend, and the workload may cost, this much more an hour.
    pub(super) fn affordable(&self, class: &Class<'_>, place: Place, price: Option<i64>) -> bool {
        if !class.guest.powered_on {
            return true;
        }
        let within = |left: Option<i64>| left.is_none_or(|left| price.is_some_and(|price| price == 0 || price <= left));
        (place.lane != Lane::Paid || within(self.spend_left(place.pool))) && within(self.budget_left(class))
    }

    /// How many soft spreads are broken by going there; `None` where a hard rule about other guests is.
    pub(super) fn neighbours_agree(&self, guest: u32, class: &Class<'_>, place: Place, room: &Room) -> Option<u32> {
        let mut broken = 0;
        for (spread, most) in class.spreads.iter().zip(&room.most) {
            let domain = self.domain(self.model.trackers[spread.tracker as usize].topology, guest, place);
            if domain == NONE || self.tracker(spread.tracker).count(domain) >= *most {
                if spread.hard {
                    return None;
                }
                broken += 1;
            }
        }
        for near in class.near.iter().filter(|_| room.near) {
            if !self.is_near(guest, near, place) {
                return None;
            }
        }
        for &(topology, tracker) in &class.apart {
            let domain = self.domain(topology, guest, place);
            let tracker = self.tracker(tracker);
            let known = domain != NONE && tracker.count(domain) > 0;
            if known || (room.perhaps && tracker.perhaps(domain) > 0) {
                return None;
            }
        }
        Some(broken)
    }

    /// Whether those around it would let a guest, that is not in the ledger, go where it was: spread, distance and hosts
    /// of one's own. Nearness keeps nobody away who is there, nor does what is not known.
    pub(super) fn may_stay(&self, guest: u32, place: Place, soft_spread: bool) -> bool {
        let class = self.model.class(guest);
        let mut room = Room { near: false, perhaps: false, ..self.room(class) };
        if soft_spread {
            room.most.iter_mut().for_each(|most| *most = u32::MAX);
        }
        self.neighbours_agree(guest, class, place, &room).is_some()
            && (place.host == NONE || self.tenants_agree(place.host, class))
    }

    pub(super) fn is_near(&self, guest: u32, near: &NearRule, place: Place) -> bool {
        let domain = self.domain(near.topology, guest, place);
        let first = near.own && near.trackers.iter().all(|t| self.tracker(*t).total() == 0);
        domain != NONE && (first || near.trackers.iter().any(|t| self.tracker(*t).count(domain) > 0))
    }

    /// Whether spread and nearness hold for a guest that is in its place.
    pub(super) fn keeps_neighbours(&self, guest: u32, place: Place) -> bool {
        let class = self.model.class(guest);
        let spread = class.spreads.iter().filter(|s| s.hard).all(|s| {
            let (tracker, topology) = (self.tracker(s.tracker), self.model.trackers[s.tracker as usize].topology);
            let domain = self.domain(topology, guest, place);
            domain != NONE && tracker.count(domain) <= tracker.least().saturating_add(s.max_skew)
        });
        spread
            && class.near.iter().all(|near| {
                let domain = self.domain(near.topology, guest, place);
                let own = u32::from(near.own);
                let there: u32 = near.trackers.iter().map(|t| self.tracker(*t).count(domain)).sum();
                let all: u32 = near.trackers.iter().map(|t| self.tracker(*t).total()).sum();
                domain != NONE && (there > own || (near.own && all == own))
            })
    }

    /// Whether somebody's spread or affinity counts this guest.
    pub(super) fn is_counted(&self, guest: u32) -> bool {
        !self.model.trackers_of[self.model.class(guest).workload as usize].is_empty()
    }
}

/// The best key that a place in a pool could have.
pub(super) fn floor(class: &Class<'_>, choice: &Choice, rented: bool, subscribed: bool) -> Key {
    let price = match (rented, subscribed) {
        (_, true) => Some(0),
        (true, false) => choice.offers.first().and_then(|(_, price)| *price),
        (false, false) => choice.running,
    };
    let lane = match (rented, subscribed) {
        (true, false) => Lane::Paid,
        (_, true) => Lane::Included,
        (false, false) => Lane::Owned,
    };
    let place = Place { pool: choice.pool, host: NONE, offer: NONE, lane };
    let mut key = candidate(class, choice, place, price, 0, Fit::default()).key;
    let least = i64::MIN;
    match class.guest.policy.objective {
        Objective::Cost => key.terms[2] = least,
        Objective::Performance | Objective::Density => (key.terms[1], key.terms[2]) = (least, least),
    }
    // A used up subscription falls back on what is never better than this.
    key.unpriced &= !subscribed;
    key
}

fn candidate(class: &Class<'_>, choice: &Choice, place: Place, price: Option<i64>, broken: u32, fit: Fit) -> Candidate {
    let wishes = choice.wishes + BROKEN_SPREAD * i64::from(broken);
    let weighed = |n: i64| n.saturating_add(n / 100 * wishes + n % 100 * wishes / 100);
    let price_or_zero = price.unwrap_or(0);
    let (paid, running) = match place.lane {
        Lane::Paid => (weighed(price_or_zero), 0),
        Lane::Owned => (0, weighed(price_or_zero)),
        Lane::Included => (0, 0),
    };
    let Fit { leftover, order, lost, beside } = fit;
    let roomy = beside.map_or(leftover, |free| -free);
    let terms = match class.guest.policy.objective {
        Objective::Cost => [running, wishes, roomy],
        Objective::Performance => [wishes, beside.map_or(-leftover, |free| -free), running],
        Objective::Density if beside.is_some() => [wishes, roomy, order],
        Objective::Density => [wishes, lost, order],
    };
    let key = Key { unpriced: price.is_none(), paid, lane: place.lane, terms };
    Candidate { key, place, wishes, running: price_or_zero, leftover }
}
