//! Empties hosts whose guests fit elsewhere, so that fewer hosts are occupied: for guests that go by density.
//!
//! A move is worth most where it frees a host for a long time. Hosts with few guests go first, and nothing is moved while
//! the room on occupied hosts is little: guests that come will take it soon, and the freed host would be begun again. A
//! guest that fits nowhere as it is has room made for it by moving a few smaller ones on.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashSet},
};

use super::{
    candidate::{Ask, Candidate},
    ledger::{Ledger, Place},
    model::{NONE, index},
    outcome::{Cause, Lane},
    repair::Change,
    request::Objective,
};

/// Hosts with more guests than this are left to empty themselves first: what a move frees shrinks with their number.
const MOST_GUESTS: usize = 64;
/// How much room, in thousandths of the occupied hosts, is left for guests to come.
const KEPT_FREE: i64 = 13;
/// How many guests may be moved on to make room for one.
const MOVED_ON: usize = 4;
/// For how many seconds a host must stay free for each move, where as many moves are left as there are hosts.
const SECONDS: i64 = 100;
/// Guests that have just come may be followed by more: count five minutes for that.
const GRACE: i64 = 300;
/// More moves for each host than this make no difference.
const LAVISH: i64 = 64;
/// How many hosts are tried for that.
const TRIED_HOSTS: usize = 8;
/// How many hosts of a pool may turn out not to be emptied before the others are left alone too.
const MOST_FAILURES: u32 = 32;

/// Empties hosts for as long as the moves last and enters the guests where they go to. `now` is a time in seconds.
pub(super) fn empty_hosts(ledger: &mut Ledger<'_, '_>, now: i64, mut budget: usize) -> Vec<Change> {
    if budget == 0 {
        return Vec::new();
    }
    let mut moved = HashSet::new();
    let mut changes = Vec::new();
    let mut failures = vec![0; ledger.pools.len()];
    let mut roomy: Vec<Option<bool>> = vec![None; ledger.pools.len()];
    let hosts = 0..index(ledger.residents.len());
    let prices: Vec<Price> = (0..ledger.pools.len()).map(|pool| Price::new(ledger, pool, now, budget)).collect();
    let mut queue: BinaryHeap<(i64, Reverse<u32>)> =
        hosts.filter_map(|host| worth(ledger, host, now, &moved).map(|worth| (worth, Reverse(host)))).collect();
    while let Some((then, Reverse(host))) = queue.pop().filter(|_| budget > 0) {
        let pool = ledger.model.hosts[host as usize].pool as usize;
        if failures[pool] >= MOST_FAILURES || !*roomy[pool].get_or_insert_with(|| has_room(ledger, pool)) {
            continue;
        }
        // Guests have come to some hosts meanwhile.
        let Some(worth) = worth(ledger, host, now, &moved) else { continue };
        if worth < then {
            queue.push((worth, Reverse(host)));
            continue;
        }
        if !prices[pool].is_paid_by(ledger.residents[host as usize].len()) {
            continue;
        }
        match empty(ledger, host, budget, &moved) {
            Some(emptied) => {
                budget -= emptied.len();
                roomy[pool] = None;
                moved.extend(emptied.iter().map(|change| change.guest));
                changes.extend(emptied);
            }
            None => failures[pool] += 1,
        }
    }
    changes
}

/// What a move must bring. How long a freed host stays free is not known; a pool in which hosts were begun a moment ago
/// will begin another soon, one where the last was begun hours ago has more than it needs for hours. A move is worth the
/// more the fewer of them are left for each host.
struct Price {
    /// Seconds since a host was last begun.
    since: i64,
    budget: i64,
    occupied: i64,
}

impl Price {
    fn new(ledger: &Ledger<'_, '_>, pool: usize, now: i64, budget: usize) -> Self {
        let hosts = ledger.model.pools[pool].hosts.clone();
        let occupied = hosts.filter(|host| !ledger.residents[*host as usize].is_empty());
        let (since, occupied) = occupied.fold((i64::MAX, 0), |(since, count), host| {
            (since.min(oldest(ledger, &ledger.residents[host as usize], now)), count + 1)
        });
        Self { since, occupied, budget: i64::try_from(budget).unwrap_or(i64::MAX).min(occupied * LAVISH) }
    }

    /// Whether so many moves are worth a host.
    fn is_paid_by(&self, moves: usize) -> bool {
        let seconds = self.since.clamp(0, 24 * 3600) + GRACE;
        let moves = i64::try_from(moves).unwrap_or(i64::MAX >> 32).saturating_mul(SECONDS);
        // Seconds for each move against the root of the hosts for each move that is left.
        (seconds * seconds).saturating_mul(self.budget) >= moves.saturating_mul(moves).saturating_mul(self.occupied)
    }
}

fn oldest(ledger: &Ledger<'_, '_>, guests: &[u32], now: i64) -> i64 {
    let age = |guest: &u32| now.saturating_sub(ledger.model.guest(*guest).created_at.as_second());
    guests.iter().map(age).max().unwrap_or(0)
}

/// Whether the occupied hosts of a pool have more room than guests to come will soon take.
fn has_room(ledger: &Ledger<'_, '_>, pool: usize) -> bool {
    let (mut free, mut all) = (0i64, 0i64);
    for host in ledger.model.pools[pool].hosts.clone() {
        if ledger.model.hosts[host as usize].enabled && !ledger.residents[host as usize].is_empty() {
            free = free.saturating_add(ledger.room_left(host));
            all = all.saturating_add(ledger.room_of(host));
        }
    }
    free / KEPT_FREE >= all / 1000
}

fn may_go(ledger: &Ledger<'_, '_>, guest: u32, moved: &HashSet<u32>) -> bool {
    let state = ledger.model.guest(guest);
    state.movable
        && !state.leaving
        && state.policy.objective == Objective::Density
        && !moved.contains(&guest)
        && !ledger.is_counted(guest)
}

/// What it is worth to empty a host; `None` where it cannot or should not be. The fewer guests must move the better, and
/// the longer they have lived: those will stay, while young ones often leave by themselves.
fn worth(ledger: &Ledger<'_, '_>, host: u32, now: i64, moved: &HashSet<u32>) -> Option<i64> {
    /// Who has stayed for so long stays.
    const SETTLED: i64 = 4 * 3600;
    let guests = &ledger.residents[host as usize];
    if guests.is_empty() || guests.len() > MOST_GUESTS || !guests.iter().all(|g| may_go(ledger, *g, moved)) {
        return None;
    }
    let oldest = oldest(ledger, guests, now).clamp(0, SETTLED);
    let count = i64::try_from(guests.len()).unwrap_or(i64::MAX);
    Some((oldest + GRACE) * (1 << 32) / (count * count * count * count))
}

/// Moves that are entered into the ledger, and can be taken back.
type Trail = Vec<(u32, Place, Candidate)>;

/// Finds a place on another occupied host of the pool for every guest of a host, or changes nothing.
fn empty(ledger: &mut Ledger<'_, '_>, host: u32, budget: usize, moved: &HashSet<u32>) -> Option<Vec<Change>> {
    let model = ledger.model;
    let since = ledger.occupied(host);
    let mut guests = ledger.residents[host as usize].clone();
    guests.sort_by_key(|g| (Reverse((model.guest(*g).size.memory, model.guest(*g).size.vcpus)), *g));
    let mut trail = Trail::with_capacity(guests.len());
    for (at, guest) in guests.iter().enumerate() {
        let enough = trail.len() + (guests.len() - at) <= budget;
        if !(enough && (shift(ledger, *guest, host, &mut trail) || squeeze(ledger, *guest, host, moved, &mut trail))) {
            take_back(ledger, &mut trail, 0);
            ledger.set_occupied(host, since);
            return None;
        }
    }
    if trail.len() > budget {
        // The last guest needed more moves than were left.
        take_back(ledger, &mut trail, 0);
        ledger.set_occupied(host, since);
        return None;
    }
    Some(trail.into_iter().map(|(guest, from, to)| Change { guest, from, to, cause: Cause::Density }).collect())
}

fn take_back(ledger: &mut Ledger<'_, '_>, trail: &mut Trail, to: usize) {
    for (guest, from, _) in trail.drain(to..).rev() {
        ledger.take_out(guest);
        ledger.enter(guest, from);
    }
}

/// Moves a guest to another occupied host of its pool, not to the one that is being emptied.
fn shift(ledger: &mut Ledger<'_, '_>, guest: u32, emptied: u32, trail: &mut Trail) -> bool {
    let Some(from) = ledger.take_out(guest) else { return false };
    let to = ledger.best(Ask { guest, paid: false, pool: Some(from.pool), not_host: from.host }).0.filter(|to| {
        let host = to.place.host;
        to.place.lane != Lane::Paid && host != NONE && host != emptied && !ledger.residents[host as usize].is_empty()
    });
    ledger.enter(guest, to.map_or(from, |to| to.place));
    trail.extend(to.map(|to| (guest, from, to)));
    to.is_some()
}

/// Makes room for a guest on another occupied host by moving a few smaller ones on, and moves it there.
fn squeeze(ledger: &mut Ledger<'_, '_>, guest: u32, emptied: u32, moved: &HashSet<u32>, trail: &mut Trail) -> bool {
    let pool = ledger.model.hosts[emptied as usize].pool;
    let mut ways: Vec<(usize, i64, u32, Vec<u32>)> = (ledger.model.pools[pool as usize].hosts.clone())
        .filter(|host| *host != emptied && ledger.model.hosts[*host as usize].enabled)
        .filter_map(|host| {
            let (size, who) = in_the_way(ledger, guest, host, moved, trail)?;
            Some((who.len(), size, host, who))
        })
        .collect();
    ways.sort_unstable();
    let before = trail.len();
    for (.., who) in ways.into_iter().take(TRIED_HOSTS) {
        if who.into_iter().all(|other| shift(ledger, other, emptied, trail)) && shift(ledger, guest, emptied, trail) {
            return true;
        }
        take_back(ledger, trail, before);
    }
    false
}

/// The guests of a host that would have to go, few and small, so that another one has room; `None` where too many would.
fn in_the_way(
    ledger: &Ledger<'_, '_>,
    guest: u32,
    host: u32,
    moved: &HashSet<u32>,
    trail: &Trail,
) -> Option<(i64, Vec<u32>)> {
    let model = ledger.model;
    let class = model.class(guest);
    let at = &model.hosts[host as usize];
    let residents = &ledger.residents[host as usize];
    // A host that has no room for it when empty is of no use; a host without guests has room or is not to be begun.
    let memory = class.memory(model, at.pool);
    if residents.is_empty() || memory > at.capacity[0] || class.need.iter().zip(&at.capacity[1..]).any(|(n, c)| n > c) {
        return None;
    }
    let free = || std::iter::once(ledger.free_memory[host as usize]).chain(ledger.free_rest(host).iter().copied());
    let wanted = || std::iter::once(memory).chain(class.need.iter().copied());
    // Where there is next to nothing, too many would have to go: not worth a closer look.
    if wanted().zip(free()).any(|(need, free)| free < need / 8) {
        return None;
    }
    let mut short: Vec<i64> = wanted().zip(free()).map(|(need, free)| need - free).collect();
    let needs = |other: u32| {
        let of_other = model.class(other);
        std::iter::once(of_other.memory(model, at.pool)).chain(of_other.need.iter().copied())
    };
    let size = |other: u32| needs(other).zip(at.weight).zip([20, 0]).map(|((n, w), by)| (n >> by) * w).sum::<i64>();
    let own = size(guest);
    let (mut who, mut total) = (Vec::new(), 0);
    while short.iter().any(|short| *short > 0) {
        if who.len() == MOVED_ON {
            return None;
        }
        let next = residents
            .iter()
            .copied()
            .filter(|other| !who.contains(other) && size(*other) < own && may_go(ledger, *other, moved))
            .filter(|other| trail.iter().all(|(gone, ..)| gone != other))
            .map(|other| {
                let enough = needs(other).zip(&short).all(|(need, short)| need >= *short);
                (!enough, if enough { size(other) } else { -size(other) }, other)
            })
            .min()?;
        needs(next.2).zip(&mut short).for_each(|(need, short)| *short -= need);
        total += size(next.2);
        who.push(next.2);
    }
    (!who.is_empty()).then_some((total, who))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{inventory::World, model::Model};

    #[test]
    fn a_move_pays_by_how_long_ago_a_host_was_begun_and_by_how_many_are_left() {
        for (since, budget, occupied, moves, is_paid) in [
            (9_700, 100, 100, 100, true),
            (9_699, 100, 100, 100, false),
            (19_700, 25, 100, 100, true),
            (19_699, 25, 100, 100, false),
            (0, 100, 100, 3, true),
            (0, 100, 100, 4, false),
            (0, 100, 1, 30, true),
            (i64::MAX, 1, 1_000_000, 0, true),
            (-5, 1, 1, 4, false),
        ] {
            let price = Price { since, budget, occupied };
            assert_eq!(price.is_paid_by(moves), is_paid, "{since} s, {budget} moves, {occupied} hosts, {moves} moves");
        }
    }

    /// Three hosts with room for four guests of one vCPU.
    fn world() -> World {
        let guest = |name: &str, host: &str, vcpus: u32| {
            format!(
                "
  - {{ uid: {name}, namespace: shop, name: {name}, workload: {name}, createdAt: 2026-11-20T08:00:00Z,
      size: {{ vcpus: {vcpus}, memory: {vcpus}Gi }}, policy: {{ objective: Density }}, bound: {{ pool: hall, host: {host} }} }}"
            )
        };
        let guests =
            [guest("moved", "a", 2), guest("large", "b", 2), guest("small", "b", 1), guest("beside", "c", 3)].concat();
        let host = |name: &str| format!("{{ name: {name}, memory: 64Gi, vcpus: 4 }}");
        let hosts = ["a", "b", "c"].map(host).join(", ");
        let text = format!(
            "
now: 2026-11-23T09:00:00Z
currency: EUR
pools:
  - {{ name: hall, capacity: {{ hosts: {{ hosts: [{hosts}] }} }} }}
guests:{guests}
"
        );
        serde_saphyr::from_str(&text).unwrap()
    }

    /// No host is emptied with one move: the guest to come fits only where another one moves on.
    #[test]
    fn no_more_moves_are_made_than_are_allowed() {
        let world = world();
        let now = world.now.as_second();
        let model = Model::new(&world);
        for (allowed, made) in [(0, 0), (1, 0), (2, 2), (9, 2)] {
            let changes = empty_hosts(&mut Ledger::new(&model), now, allowed);
            assert_eq!(changes.len(), made, "{allowed} allowed");
        }
    }
}
