//! Places that a guest could go to now, and how good each is.

use super::{
    class::{Choice, Class},
    inventory::Capacity,
    ledger::{Ledger, Place},
    model::NONE,
    outcome::Lane,
    request::Objective,
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
    /// By objective: running cost, wishes, fit (Cost) or wishes, fit, running cost (Performance and Density).
    pub terms: [i64; 3],
}

/// A place that a guest could go to now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub key: Key,
    pub place: Place,
    /// Weight of the wishes that it leaves unfulfilled.
    pub wishes: i64,
    pub running: i64,
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

/// Most guests that a place may hold so that one more keeps each spread.
struct Room(Vec<u32>);

impl Ledger<'_, '_> {
    /// The best place, and the best one in another pool.
    pub(super) fn best(&self, ask: Ask) -> (Option<Candidate>, Option<Candidate>) {
        let (mut best, mut second): (Option<Candidate>, Option<Candidate>) = (None, None);
        let class = self.model.class(ask.guest);
        let room = self.room(class);
        for choice in class.choices(self.model) {
            if ask.pool.is_some_and(|pool| pool != choice.pool) {
                continue;
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
        let class = self.model.class(ask.guest);
        let room = self.room(class);
        let mut all = Vec::new();
        for choice in class.choices(self.model) {
            if ask.pool.is_none_or(|pool| pool == choice.pool) {
                self.in_pool(ask, class, choice, &room, &mut |found| all.push(found));
            }
        }
        all
    }

    fn room(&self, class: &Class<'_>) -> Room {
        Room(class.spreads.iter().map(|s| self.tracker(s.tracker).least().saturating_add(s.max_skew)).collect())
    }

    fn in_pool(&self, ask: Ask, class: &Class<'_>, choice: &Choice, room: &Room, visit: &mut impl FnMut(Candidate)) {
        let Some((lane, offer, price)) = self.lane(ask, choice) else { return };
        let place = Place { pool: choice.pool, host: NONE, offer, lane };
        if !self.within_limits(ask.guest, place) || !self.affordable(class, place, price) {
            return;
        }
        if matches!(self.model.world_pool(choice.pool).capacity, Capacity::Offerings(_)) {
            if let Some(broken) = self.neighbours_agree(ask.guest, class, place, room) {
                visit(self.candidate(class, choice, place, price, broken, 0));
            }
            return;
        }
        if !class.guest.powered_on {
            // Without memory to find there is no host to choose; it is given one when it is started.
            if let Some(broken) = self.neighbours_agree(ask.guest, class, place, room) {
                visit(self.candidate(class, choice, place, price, broken, 0));
            }
            return;
        }
        let plain = class.is_plain();
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
                let leftover = self.leftover(host, choice.memory, &class.need);
                visit(self.candidate(class, choice, place, price, broken, leftover));
            }
        }
    }

    /// The lane, offering and price of an hour for a guest in a pool.
    pub(super) fn lane(&self, ask: Ask, choice: &Choice) -> Option<(Lane, u32, Option<i64>)> {
        let offer = choice.offer.map_or(NONE, |(offer, _)| offer);
        let rented = matches!(self.model.world_pool(choice.pool).capacity, Capacity::Offerings(_));
        if rented && choice.offer.is_none() {
            return None;
        }
        match self.home_lane(ask.guest, choice.pool, offer) {
            Some(Lane::Included) => Some((Lane::Included, offer, Some(0))),
            Some(lane) => Some((lane, offer, choice.running)),
            None if rented && ask.paid => Some((Lane::Paid, offer, choice.offer.and_then(|(_, price)| price))),
            None => None,
        }
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
    fn neighbours_agree(&self, guest: u32, class: &Class<'_>, place: Place, room: &Room) -> Option<u32> {
        let mut broken = 0;
        for (spread, most) in class.spreads.iter().zip(&room.0) {
            let domain = self.domain(self.model.trackers[spread.tracker as usize].topology, guest, place);
            if domain == NONE || self.tracker(spread.tracker).count(domain) >= *most {
                if spread.hard {
                    return None;
                }
                broken += 1;
            }
        }
        for near in &class.near {
            if !self.is_near(guest, near, place) {
                return None;
            }
        }
        for &(topology, tracker) in &class.apart {
            let domain = self.domain(topology, guest, place);
            if domain != NONE && self.tracker(tracker).count(domain) > 0 {
                return None;
            }
        }
        Some(broken)
    }

    pub(super) fn is_near(&self, guest: u32, near: &super::class::NearRule, place: Place) -> bool {
        let domain = self.domain(near.topology, guest, place);
        let first = near.own && near.trackers.iter().all(|t| self.tracker(*t).total() == 0);
        domain != NONE && (first || near.trackers.iter().any(|t| self.tracker(*t).count(domain) > 0))
    }

    fn candidate(
        &self,
        class: &Class<'_>,
        choice: &Choice,
        place: Place,
        price: Option<i64>,
        broken: u32,
        leftover: i64,
    ) -> Candidate {
        let wishes = choice.wishes + BROKEN_SPREAD * i64::from(broken);
        let weighed = |n: i64| n.saturating_add(n / 100 * wishes + n % 100 * wishes / 100);
        let price_or_zero = price.unwrap_or(0);
        let (paid, running) = match place.lane {
            Lane::Paid => (weighed(price_or_zero), 0),
            Lane::Owned => (0, weighed(price_or_zero)),
            Lane::Included => (0, 0),
        };
        let terms = match class.guest.policy.objective {
            Objective::Cost => [running, wishes, leftover],
            Objective::Performance => [wishes, -leftover, running],
            Objective::Density => [wishes, leftover, running],
        };
        let key = Key { unpriced: price.is_none(), paid, lane: place.lane, terms };
        Candidate { key, place, wishes, running: price_or_zero }
    }
}
