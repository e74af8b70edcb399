//! Guests that live beside whom they must not: a rule was written, or somebody moved in behind the operator's back.

use super::{
    ledger::{Ledger, Place},
    model::NONE,
    need::QUESTION,
    outcome::Cause,
    repair::{Change, Changes, is_free_to_move, is_reachable, way_out},
    request::Isolation,
};

/// Finds other places for guests that break distance, a spread or a host of one's own where they are, and enters them
/// there. The least important and youngest go, one of each pair. A spread alone moves nobody out of its pool: guests
/// come and go, and an uneven spread harms nobody who keeps the others' distance.
pub(super) fn part(ledger: &mut Ledger<'_, '_>, changes: &mut Changes) {
    let model = ledger.model;
    let concerned = |guest: u32, place: Place| {
        let class = model.class(guest);
        let rules = !class.spreads.is_empty() || !class.apart.is_empty();
        let shares = place.host != NONE && class.guest.policy.isolation == Isolation::DedicatedHost;
        (rules || shares) && model.guest(guest).powered_on && is_free_to_move(model, guest)
    };
    let mut placed: Vec<(u32, Place)> = ledger
        .placed()
        .filter(|(guest, place)| concerned(*guest, *place) && is_reachable(model, place.pool))
        .filter(|(guest, _)| changes.list.iter().all(|change| change.guest != *guest))
        .collect();
    placed.sort_by_key(|(guest, _)| {
        let state = model.guest(*guest);
        (state.policy.priority, std::cmp::Reverse((state.created_at, state.uid.as_str())))
    });
    for (guest, from) in placed {
        ledger.take_out(guest);
        if ledger.may_stay(guest, from, false) {
            ledger.enter(guest, from);
            continue;
        }
        let uneven = ledger.may_stay(guest, from, true);
        if !changes.steps.take(QUESTION) {
            ledger.enter(guest, from);
            return;
        }
        let to = way_out(ledger, guest, from, Cause::Neighbours);
        let to = to.filter(|to| !uneven || (model.guest(guest).movable && to.place.pool == from.pool));
        ledger.enter(guest, to.map_or(from, |to| to.place));
        match to {
            Some(to) => changes.list.push(Change { guest, from, to, cause: Cause::Neighbours }),
            None if uneven => {}
            None => changes.stuck.push((guest, Cause::Neighbours)),
        }
    }
}
