//! Guests placed and taken out one at a time: what a simulation, or a what-if about single guests, needs.

use jiff::Timestamp;

use super::{
    Binding, MoveOptions,
    inventory::World,
    ledger::Ledger,
    model::{Model, NONE, index},
    solver::ask,
};

/// Moves that were saved up count up to so many for each host: more make no difference.
const LAVISH: u32 = 64;

/// A world in which guests come and go one at a time. Bound guests of the world are in it from the start, the others
/// when they are placed. Each placement is the best there is at its moment and is not thought over again.
pub struct Rehearsal<'m, 'w> {
    ledger: Ledger<'m, 'w>,
}

/// Makes a rehearsal of the world and hands it to `act`.
pub fn rehearse<R>(world: &World, act: impl FnOnce(&mut Rehearsal<'_, '_>) -> R) -> R {
    let model = Model::new(world);
    act(&mut Rehearsal { ledger: Ledger::new(&model) })
}

impl Rehearsal<'_, '_> {
    /// Gives a guest, by its index in the world, the best place there is; `None` where none fits. A guest that has a
    /// place already is left in it.
    pub fn place(&mut self, guest: usize) -> Option<Binding> {
        let number = index(guest);
        let model = self.ledger.model;
        if guest >= model.world.guests.len() || self.ledger.place_of(number).is_some() {
            return None;
        }
        let best = self.ledger.best(ask(model, number)).0?;
        self.ledger.enter(number, best.place);
        Some(super::binding(model, number, &best))
    }

    /// Empties hosts of guests that go by density, with at most so many moves at this time; who moved, by index.
    pub fn consolidate(&mut self, now: Timestamp, moves: usize) -> Vec<usize> {
        let options = MoveOptions { density: moves, in_hand: LAVISH, steps: u64::MAX, ..MoveOptions::default() };
        let gathered = super::consolidate::empty_hosts(&mut self.ledger, now, &options);
        gathered.changes.iter().map(|change| change.guest as usize).collect()
    }

    /// How many guests there are on each host, pool after pool in the order of the world.
    pub fn guests_on_hosts(&self) -> impl Iterator<Item = usize> + '_ {
        self.ledger.residents.iter().map(Vec::len)
    }

    /// Where a guest is, as the number of its host in that order.
    #[must_use]
    pub fn host_of(&self, guest: usize) -> Option<usize> {
        let place = self.ledger.place_of(index(guest))?;
        (place.host != NONE).then_some(place.host as usize)
    }

    /// Takes a guest out; whether it was there.
    pub fn release(&mut self, guest: usize) -> bool {
        guest < self.ledger.model.world.guests.len() && self.ledger.take_out(index(guest)).is_some()
    }
}
