//! Empties hosts whose guests fit elsewhere, so that fewer hosts are occupied: for guests that go by density.
//!
//! A move is worth most where it frees a host for a long time. Hosts with few guests go first, and nothing is moved while
//! the room on occupied hosts is little: guests that come will take it soon, and the freed host would be begun again. A
//! guest that fits nowhere as it is has room made for it by moving a few smaller ones on.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashSet},
};

use jiff::{SignedDuration, Timestamp};

use super::{
    MoveOptions,
    candidate::{Ask, Candidate},
    ledger::{Ledger, Place},
    model::{NONE, index},
    need::{QUESTION, Steps},
    outcome::{Cause, Lane},
    repair::{Change, is_cooling_down, is_reachable},
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
/// How many hosts are tried for that.
const TRIED_HOSTS: usize = 8;
/// How many hosts of a pool may turn out not to be emptied before the others are left alone too.
const MOST_FAILURES: u32 = 32;

/// What is done to have fewer hosts in use.
#[derive(Default)]
pub(super) struct Gathered {
    pub changes: Vec<Change>,
    /// When a move may pay that does not yet, or a guest may move again.
    pub wake_at: Option<Timestamp>,
}

impl Gathered {
    fn wake_in(&mut self, now: Timestamp, seconds: i64) {
        let at = now.checked_add(SignedDuration::from_secs(seconds)).ok();
        self.wake_at = self.wake_at.into_iter().chain(at).min();
    }
}

/// Empties hosts for as long as the moves last and enters the guests where they go to.
pub(super) fn empty_hosts(ledger: &mut Ledger<'_, '_>, time: Timestamp, options: &MoveOptions) -> Gathered {
    let (now, mut budget) = (time.as_second(), options.density);
    let mut gathered = Gathered::default();
    if budget == 0 {
        return gathered;
    }
    // It can wait, and must not keep what is urgent from being looked for in the next round.
    let mut steps = Steps::new(options.steps / 10);
    let mut moved = cooling_down(ledger, options, &mut gathered);
    let mut failures = vec![0; ledger.pools.len()];
    let mut roomy: Vec<Option<bool>> = vec![None; ledger.pools.len()];
    let hosts = 0..index(ledger.residents.len());
    let prices: Vec<Price> = (0..ledger.pools.len()).map(|pool| Price::new(ledger, pool, now, options)).collect();
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
        let guests = ledger.residents[host as usize].len();
        if let Some(seconds) = prices[pool].wait_for(guests) {
            gathered.wake_in(time, seconds);
            continue;
        }
        if !steps.take((QUESTION + ledger.model.pools[pool].hosts.len() as u64) * guests as u64) {
            break;
        }
        match empty(ledger, host, budget, &moved) {
            Some(emptied) => {
                budget -= emptied.len();
                roomy[pool] = None;
                moved.extend(emptied.iter().map(|change| change.guest));
                gathered.changes.extend(emptied);
            }
            None => failures[pool] += 1,
        }
    }
    gathered
}

/// Guests by density that moved a short time ago, and when the first of them may move again.
fn cooling_down(ledger: &Ledger<'_, '_>, options: &MoveOptions, gathered: &mut Gathered) -> HashSet<u32> {
    let model = ledger.model;
    let by_density = |guest: &u32| model.guest(*guest).policy.objective == Objective::Density;
    let moved = ledger.placed().map(|(guest, _)| guest).filter(by_density);
    let moved: HashSet<u32> = moved.filter(|guest| is_cooling_down(model, *guest, options)).collect();
    let again = |guest: &u32| model.guest(*guest).moved_at?.checked_add(options.cool_down).ok();
    gathered.wake_at = moved.iter().filter_map(again).min();
    moved
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
    fn new(ledger: &Ledger<'_, '_>, pool: usize, now: i64, options: &MoveOptions) -> Self {
        let hosts = ledger.model.pools[pool].hosts.clone();
        let occupied = hosts.filter(|host| !ledger.residents[*host as usize].is_empty());
        let (since, occupied) = occupied.fold((i64::MAX, 0i64), |(since, count), host| {
            (since.min(oldest(ledger, &ledger.residents[host as usize], now)), count + 1)
        });
        let most = occupied.saturating_mul(i64::from(options.in_hand));
        Self { since, occupied, budget: i64::try_from(options.density).unwrap_or(i64::MAX).min(most) }
    }

    /// In how many seconds so many moves will be worth a host, should none be begun; `None` where they are.
    fn wait_for(&self, moves: usize) -> Option<i64> {
        let moves = i64::try_from(moves).unwrap_or(i64::MAX >> 32).saturating_mul(SECONDS);
        // Seconds for each move against the root of the hosts for each move that is left.
        let square = moves.saturating_mul(moves).saturating_mul(self.occupied) / self.budget.max(1);
        let floor = square.isqrt();
        let needed = floor + i64::from(floor * floor < square);
        Some(needed - GRACE - self.since.clamp(0, 1 << 40)).filter(|wait| *wait > 0)
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
    let (model, guests) = (ledger.model, &ledger.residents[host as usize]);
    let at = &model.hosts[host as usize];
    // What is cordoned or does not answer is left alone. With VMs that are not ours, or that nobody knows of, a host is in
    // use whoever goes.
    let is_quiet = !model.world_pool(at.pool).cordoned && is_reachable(model, at.pool) && at.enabled;
    if guests.is_empty() || !is_quiet || model.foreign_guests(host) != Some(0) {
        return None;
    }
    if guests.len() > MOST_GUESTS || !guests.iter().all(|g| may_go(ledger, *g, moved)) {
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
#[path = "consolidate_tests.rs"]
mod tests;
