//! Which guest gets which place.

use super::{
    candidate::{Ask, Candidate},
    ledger::Ledger,
    model::{Model, NONE, index},
    rule::{PaidFrom, paid_from},
};

/// A guest that was decided on.
pub(super) struct Decided {
    pub guest: u32,
    /// Where it goes; `None` where nothing fits.
    pub best: Option<Candidate>,
    pub runner_up: Option<Candidate>,
    pub paid_from: PaidFrom,
}

/// The guests to be decided on, most important first: those whose place is kept for them, then by priority, then those that
/// must be near to others, for whom room elsewhere is of no use, then the largest, then the oldest.
pub(super) fn queue(model: &Model<'_>) -> Vec<u32> {
    let mut queue: Vec<u32> = (0..index(model.world.guests.len())).filter(|g| wants_place(model, *g)).collect();
    queue.sort_by_cached_key(|g| {
        let guest = model.guest(*g);
        let size = &guest.size;
        (
            guest.reserved.is_none(),
            std::cmp::Reverse(guest.policy.priority),
            model.class(*g).near.is_empty(),
            std::cmp::Reverse(size.memory.0.max(u64::from(size.vcpus) << 31)),
            guest.created_at,
            // Guests of one workload are made together: in the order that people count them.
            (guest.namespace.as_str(), guest.name.len(), guest.name.as_str(), guest.uid.as_str()),
        )
    });
    queue
}

fn wants_place(model: &Model<'_>, guest: u32) -> bool {
    let state = model.guest(guest);
    if state.leaving {
        return false;
    }
    state.bound.as_ref().is_none_or(|bound| {
        let on_hosts = model.pool(&bound.pool).is_some_and(|p| !model.pools[p as usize].hosts.is_empty());
        on_hosts && bound.host.is_none() && state.powered_on
    })
}

/// When a guest may use paid capacity.
pub(super) fn paid_from_of(model: &Model<'_>, guest: u32) -> PaidFrom {
    let state = model.guest(guest);
    if state.reserved.as_ref().is_some_and(|place| place.instance_type.is_some()) {
        return PaidFrom::Now;
    }
    let statics = &model.statics[model.class(guest).statics as usize];
    let since = state.waiting_since.unwrap_or(model.world.now);
    paid_from(&state.policy, statics.selected_home, statics.allowed_home, since, model.world.now)
}

/// The question that a guest asks.
pub(super) fn ask(model: &Model<'_>, guest: u32) -> Ask {
    let pool = model.guest(guest).bound.as_ref().and_then(|bound| model.pool(&bound.pool));
    Ask { guest, paid: paid_from_of(model, guest) == PaidFrom::Now, pool, not_host: NONE }
}

/// Gives each guest of the queue the best place there is, in the order of the queue. Guests that must be near to others
/// get another turn for as long as that places any.
pub(super) fn greedy(ledger: &mut Ledger<'_, '_>, queue: &[u32]) -> Vec<Decided> {
    let model = ledger.model;
    let mut decided: Vec<Decided> = queue
        .iter()
        .map(|&guest| Decided { guest, best: None, runner_up: None, paid_from: paid_from_of(model, guest) })
        .collect();
    loop {
        let (mut placed, mut open) = (false, false);
        for one in decided.iter_mut().filter(|one| one.best.is_none()) {
            // A bound guest without a host is in the ledger of its pool already.
            let before = ledger.take_out(one.guest);
            (one.best, one.runner_up) = ledger.best(ask(model, one.guest));
            match one.best.map(|best| best.place).or(before) {
                Some(place) => ledger.enter(one.guest, place),
                None => open |= !model.class(one.guest).is_plain(),
            }
            placed |= one.best.is_some();
        }
        if !placed || !open {
            return decided;
        }
    }
}

/// Looks again for the next best place of a guest whose place has changed.
pub(super) fn runner_up_of(ledger: &mut Ledger<'_, '_>, one: &mut Decided) {
    let (Some(best), Some(place)) = (one.best, ledger.take_out(one.guest)) else { return };
    let (first, second) = ledger.best(ask(ledger.model, one.guest));
    ledger.enter(one.guest, place);
    one.runner_up = first.filter(|c| c.place.pool != best.place.pool).or(second);
}
