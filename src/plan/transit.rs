//! The room that hosts have while guests move.

use super::{
    inventory::Capacity,
    ledger::{Ledger, Place},
    model::NONE,
    order::Ground,
    repair::Change,
};

/// The room that hosts have while guests move, with a moving guest counted at both ends.
pub(super) struct Transit<'l, 'm, 'w> {
    ledger: &'l Ledger<'m, 'w>,
    memory: Vec<i64>,
    rest: Vec<i64>,
}

impl<'l, 'm, 'w> Transit<'l, 'm, 'w> {
    /// As it is before the moves that were entered into the ledger.
    pub(super) fn before(ledger: &'l Ledger<'m, 'w>, changes: &[Change]) -> Self {
        let mut transit = Self { ledger, memory: ledger.free_memory.clone(), rest: ledger.all_free_rest().to_vec() };
        for change in changes {
            transit.count(change.guest, change.to.place, false);
            transit.count(change.guest, change.from, true);
        }
        transit
    }

    fn need(&self, guest: u32, at: Place) -> (i64, &'l [i64]) {
        let class = self.ledger.model.class(guest);
        (class.memory(self.ledger.model, at.pool), &class.need)
    }
}

impl Ground for Transit<'_, '_, '_> {
    type Place = Place;

    fn has_room(&self, guest: u32, at: Place) -> bool {
        let (memory, need) = self.need(guest, at);
        let width = self.ledger.free_rest_width();
        at.host == NONE
            || (memory == 0 || self.memory[at.host as usize] >= memory)
                && (self.rest[at.host as usize * width..].iter().zip(need))
                    .all(|(free, need)| *need == 0 || free >= need)
    }

    fn count(&mut self, guest: u32, at: Place, present: bool) {
        if at.host == NONE {
            return;
        }
        let sign = if present { -1 } else { 1 };
        let (memory, need) = self.need(guest, at);
        let from = at.host as usize * self.ledger.free_rest_width();
        self.memory[at.host as usize] += sign * memory;
        for (free, need) in self.rest[from..].iter_mut().zip(need) {
            *free += sign * need;
        }
    }

    fn aside(&self, guest: u32, from: Place, to: Place) -> Option<Place> {
        let model = self.ledger.model;
        let live = from.pool == to.pool && matches!(model.world_pool(to.pool).capacity, Capacity::Hosts { .. });
        let class = model.class(guest);
        let hosts = if live { model.pools[to.pool as usize].hosts.clone() } else { 0..0 };
        hosts.map(|host| Place { host, ..to }).find(|place| {
            place.host != from.host
                && place.host != to.host
                && model.hosts[place.host as usize].enabled
                && self.has_room(guest, *place)
                && self.ledger.tenants_agree(place.host, class)
                && class.apart.iter().all(|(topology, tracker)| {
                    self.ledger.tracker(*tracker).perhaps(self.ledger.domain(*topology, guest, *place)) == 0
                })
        })
    }
}
