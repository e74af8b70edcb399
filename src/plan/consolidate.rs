//! Empties hosts whose guests fit elsewhere, so that fewer hosts are occupied: for guests that go by density.

use super::{
    candidate::{Ask, Candidate},
    ledger::{Ledger, Place},
    model::{NONE, index},
    outcome::{Cause, Lane},
    repair::Change,
    request::Objective,
};

/// Hosts with more guests than this are left to empty themselves first: what a move frees shrinks with their number.
const MOST_GUESTS: usize = 16;

/// Empties hosts for as long as the moves last, the most worth-while first, and enters the guests where they go to.
/// `now` is a time in seconds. A host is worth more the fewer guests must move and the longer they have lived: those
/// will stay, while young ones often leave by themselves.
pub(super) fn empty_hosts(ledger: &mut Ledger<'_, '_>, now: i64, mut moves: usize) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut tried = vec![false; ledger.residents.len()];
    while moves > 0 {
        let hosts = 0..index(ledger.residents.len());
        let next = hosts
            .filter(|host| !tried[*host as usize])
            .filter_map(|host| worth(ledger, host, now, moves).map(|worth| (worth, std::cmp::Reverse(host))))
            .max();
        let Some((_, std::cmp::Reverse(host))) = next else { break };
        tried[host as usize] = true;
        if let Some(emptied) = empty(ledger, host) {
            moves -= emptied.len();
            changes.extend(emptied);
        }
    }
    changes
}

/// What it is worth to empty a host; `None` where it cannot or should not be.
fn worth(ledger: &Ledger<'_, '_>, host: u32, now: i64, moves: usize) -> Option<i64> {
    /// A host of guests that have just come may be kept alive by more of them: count half an hour for that.
    const GRACE: i64 = 1800;
    let guests = &ledger.residents[host as usize];
    if guests.is_empty() || guests.len() > moves.min(MOST_GUESTS) {
        return None;
    }
    let model = ledger.model;
    let may_go = |guest: &u32| {
        let state = model.guest(*guest);
        state.movable && !state.leaving && state.policy.objective == Objective::Density && !ledger.is_counted(*guest)
    };
    if !guests.iter().all(may_go) {
        return None;
    }
    let oldest = guests.iter().map(|g| now - model.guest(*g).created_at.as_second()).max().unwrap_or(0);
    let count = i64::try_from(guests.len()).unwrap_or(i64::MAX);
    Some(oldest.max(0).saturating_add(GRACE).saturating_mul(1 << 16) / (count * count * count))
}

/// Finds a place on another occupied host of the pool for every guest of a host, or changes nothing.
fn empty(ledger: &mut Ledger<'_, '_>, host: u32) -> Option<Vec<Change>> {
    let model = ledger.model;
    let mut guests = ledger.residents[host as usize].clone();
    guests.sort_by_key(|g| (std::cmp::Reverse((model.guest(*g).size.memory, model.guest(*g).size.vcpus)), *g));
    let mut done: Vec<(u32, Place, Candidate)> = Vec::with_capacity(guests.len());
    for guest in guests {
        let from = ledger.take_out(guest)?;
        let ask = Ask { guest, paid: false, pool: Some(from.pool), not_host: host };
        let to = ledger.best(ask).0.filter(|to| {
            to.place.lane != Lane::Paid && to.place.host != NONE && !ledger.residents[to.place.host as usize].is_empty()
        });
        let Some(to) = to else {
            ledger.enter(guest, from);
            for (guest, from, _) in done {
                ledger.take_out(guest);
                ledger.enter(guest, from);
            }
            return None;
        };
        ledger.enter(guest, to.place);
        done.push((guest, from, to));
    }
    Some(done.into_iter().map(|(guest, from, to)| Change { guest, from, to, cause: Cause::Density }).collect())
}
