//! Finds guests that ought to live elsewhere, and where: from hosts that are overloaded or being emptied, from places
//! where a rule is broken now, home from paid capacity, and from dear to cheap. Few moves, and the cheapest.

use jiff::{SignedDuration, Timestamp};

use super::{
    MoveOptions,
    candidate::{Ask, Candidate},
    inventory::{Effect, Health},
    ledger::{Ledger, Place},
    model::{Model, NONE, index},
    need::{QUESTION, Steps},
    outcome::{Cause, Lane},
    request::Burst,
    search::would_fit,
};

/// A guest that is to change places.
#[derive(Clone, Copy)]
pub(super) struct Change {
    pub guest: u32,
    pub from: Place,
    pub to: Candidate,
    pub cause: Cause,
}

/// What was found.
#[derive(Default)]
pub(super) struct Changes {
    pub list: Vec<Change>,
    /// Guests in paid capacity with room at home.
    pub home_room: Vec<u32>,
    /// When one of them may return, or a host may be worth emptying.
    pub wake_at: Option<Timestamp>,
    /// Guests that ought to leave and have nowhere to go.
    pub stuck: Vec<(u32, Cause)>,
    /// How much more may be looked for.
    pub steps: Steps,
}

/// Finds the moves and enters the guests where they go to; and whether all of them could be kept.
pub(super) fn changes(ledger: &mut Ledger<'_, '_>, options: &MoveOptions) -> (Changes, bool) {
    let mut changes = Changes { steps: Steps::new(options.steps), ..Changes::default() };
    let model = ledger.model;
    // Who leaves makes room for who could not: once more for as long as that helps.
    loop {
        let before = changes.list.len();
        changes.stuck.clear();
        forbidden(ledger, &mut changes);
        for host in 0..index(model.hosts.len()) {
            if !is_reachable(model, model.hosts[host as usize].pool) {
                continue;
            }
            if model.evacuates(host) {
                evacuate(ledger, host, &mut changes);
            } else if ledger.is_overloaded(host) {
                relieve(ledger, host, &mut changes);
            }
        }
        if changes.list.len() == before || changes.stuck.is_empty() {
            break;
        }
    }
    super::discord::part(ledger, &mut changes);
    return_home(ledger, options, &mut changes);
    save(ledger, options, &mut changes);
    // Whatever must be done comes first, and shows what room is left.
    if changes.list.is_empty() && changes.stuck.is_empty() {
        let options = MoveOptions { density: options.density.min(options.most), ..options.clone() };
        let gathered = super::consolidate::empty_hosts(ledger, model.world.now, &options);
        changes.list.extend(gathered.changes);
        changes.wake_at = changes.wake_at.into_iter().chain(gathered.wake_at).min();
    }
    let dropped = changes.list.split_off(options.most.min(changes.list.len()));
    for change in &dropped {
        ledger.take_out(change.guest);
        ledger.enter(change.guest, change.from);
    }
    (changes, dropped.is_empty())
}

/// What goes on in an unreachable pool is unknown: nothing there is moved.
pub(super) fn is_reachable(model: &Model<'_>, pool: u32) -> bool {
    !matches!(model.world_pool(pool).health, Health::Unreachable(_))
}

pub(super) fn is_free_to_move(model: &Model<'_>, guest: u32) -> bool {
    let state = model.guest(guest);
    !state.leaving && state.bound.as_ref().is_some_and(|b| b.host.is_some() || b.instance_type.is_some())
}

/// Moves a guest to the best place in its pool, or else in another one. It is put back where there is none.
fn move_away(ledger: &mut Ledger<'_, '_>, guest: u32, cause: Cause, within: bool) -> Option<Change> {
    let from = ledger.take_out(guest)?;
    let found = if within {
        way_out(ledger, guest, from, cause)
    } else {
        let question = Ask { guest, paid: may_pay(ledger.model, guest, from, cause), pool: None, not_host: from.host };
        ledger.best(question).0.filter(|to| to.place.pool != from.pool)
    };
    ledger.enter(guest, found.map_or(from, |to| to.place));
    found.map(|to| Change { guest, from, to, cause })
}

/// Whether a guest that must leave may use paid capacity: where it is in some already, where it need not wait, and where
/// waiting for room at home is of no use because somebody wants it empty, or it may not be there.
pub(super) fn may_pay(model: &Model<'_>, guest: u32, from: Place, cause: Cause) -> bool {
    let overflows = matches!(model.guest(guest).policy.burst, Burst::WhenFull { .. });
    from.lane == Lane::Paid
        || (overflows && matches!(cause, Cause::Drain | Cause::BrokenRule | Cause::Neighbours))
        || super::solver::paid_from_of(model, guest) == super::rule::PaidFrom::Now
}

/// Guests in pools where the law, their owner or the pool's no longer allows them to be.
fn forbidden(ledger: &mut Ledger<'_, '_>, changes: &mut Changes) {
    let model = ledger.model;
    // Also who is off, and so has no host. Who can be moved goes first: nobody waits for a person to make room.
    let may_go = |guest: u32| !model.guest(guest).leaving && model.guest(guest).bound.is_some();
    let mut placed: Vec<(u32, Place)> = ledger.placed().filter(|(guest, _)| may_go(*guest)).collect();
    placed.sort_by_key(|(guest, _)| !model.guest(*guest).recreate);
    for (guest, place) in placed {
        if !is_reachable(model, place.pool) {
            continue;
        }
        let cause = match leave_pool(model, guest, place.pool) {
            Leave::No => continue,
            Leave::Now(cause) => cause,
            Leave::At(at) => {
                changes.wake_at = Some(changes.wake_at.map_or(at, |so_far| so_far.min(at)));
                continue;
            }
        };
        if !changes.steps.take(QUESTION) {
            return;
        }
        match move_away(ledger, guest, cause, false) {
            Some(change) => changes.list.push(change),
            None => changes.stuck.push((guest, cause)),
        }
    }
}

pub(super) enum Leave {
    No,
    Now(Cause),
    At(Timestamp),
}

/// Whether a bound guest must leave its pool. A pool that lacks an image or is cordoned keeps the guests it has.
pub(super) fn leave_pool(model: &Model<'_>, guest: u32, pool: u32) -> Leave {
    let of_pool = model.world_pool(pool);
    if of_pool.drain {
        return Leave::Now(Cause::Drain);
    }
    let statics = &model.statics[model.class(guest).statics as usize];
    let mut broken = statics.rejected.iter().filter(|(p, _)| *p == pool).flat_map(|(_, failures)| failures);
    if broken.any(|f| f.rule.binds_residents()) {
        return Leave::Now(Cause::BrokenRule);
    }
    let tolerations = &model.guest(guest).policy.tolerations;
    let mut earliest = None;
    for taint in of_pool.taints.iter().filter(|t| t.effect == Effect::NoExecute) {
        let matching: Vec<_> = tolerations.iter().filter(|t| t.matches(taint)).collect();
        if matching.iter().any(|t| t.seconds.is_none()) {
            continue;
        }
        let seconds = matching.iter().filter_map(|t| t.seconds).max().unwrap_or(0).max(0);
        let since = taint.since.unwrap_or(model.world.now);
        let at = since.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX);
        if at <= model.world.now {
            return Leave::Now(Cause::BrokenRule);
        }
        earliest = Some(earliest.map_or(at, |so_far: Timestamp| so_far.min(at)));
    }
    earliest.map_or(Leave::No, Leave::At)
}

/// Empties a host. Those that can leave are taken out together, so that those that must be together can go together;
/// who cannot leave is back in its place while the others look for theirs.
fn evacuate(ledger: &mut Ledger<'_, '_>, host: u32, changes: &mut Changes) {
    let model = ledger.model;
    let mut guests: Vec<u32> =
        ledger.residents[host as usize].iter().copied().filter(|g| is_free_to_move(model, *g)).collect();
    guests.sort_by_key(|g| (std::cmp::Reverse((model.guest(*g).policy.priority, model.guest(*g).size.memory)), *g));
    loop {
        if guests.is_empty() || !changes.steps.take(QUESTION * guests.len() as u64) {
            return;
        }
        let before: Vec<Option<Place>> = guests.iter().map(|g| ledger.take_out(*g)).collect();
        let mut found = Vec::with_capacity(guests.len());
        for (&guest, from) in guests.iter().zip(&before) {
            let Some(from) = *from else { continue };
            let to = way_out(ledger, guest, from, Cause::Drain);
            if let Some(to) = to {
                ledger.enter(guest, to.place);
            }
            found.push((guest, from, to));
        }
        if found.iter().all(|(.., to)| to.is_some()) {
            let all = found.into_iter().filter_map(|(guest, from, to)| Some((guest, from, to?)));
            changes.list.extend(all.map(|(guest, from, to)| Change { guest, from, to, cause: Cause::Drain }));
            return;
        }
        for &(guest, from, to) in &found {
            if to.is_some() {
                ledger.take_out(guest);
            }
            ledger.enter(guest, from);
        }
        let stuck: Vec<u32> = found.iter().filter(|(.., to)| to.is_none()).map(|(guest, ..)| *guest).collect();
        for &guest in &stuck {
            if !make_room(ledger, guest, Cause::Drain, changes) {
                changes.stuck.push((guest, Cause::Drain));
            }
        }
        guests.retain(|guest| !stuck.contains(guest));
    }
}

/// Moves one guest of another host of the pool elsewhere in it, so that a guest that has to leave fits there.
fn make_room(ledger: &mut Ledger<'_, '_>, guest: u32, cause: Cause, changes: &mut Changes) -> bool {
    let model = ledger.model;
    let Some(from) = ledger.place_of(guest).filter(|from| from.host != NONE && model.guest(guest).movable) else {
        return false;
    };
    let memory = model.class(guest).memory(model, from.pool);
    for host in model.pools[from.pool as usize].hosts.clone() {
        if host == from.host || ledger.is_overloaded(host) {
            continue;
        }
        for other in ledger.residents[host as usize].clone() {
            let may_go = is_free_to_move(model, other)
                && model.guest(other).movable
                && !ledger.is_counted(other)
                && changes.list.iter().all(|change| change.guest != other);
            if !may_go || !would_fit(ledger, model.class(guest), memory, host, other) {
                continue;
            }
            if !changes.steps.take(2 * QUESTION) {
                return false;
            }
            ledger.take_out(guest);
            let Some(place) = ledger.take_out(other) else { continue };
            let ask = |guest, not_host| Ask { guest, paid: false, pool: Some(from.pool), not_host };
            let here = ledger.every(ask(guest, from.host)).into_iter().find(|to| to.place.host == host);
            if let Some(to) = here {
                ledger.enter(guest, to.place);
                if let Some(there) = ledger.best(ask(other, host)).0.filter(|there| there.place.host != from.host) {
                    ledger.enter(other, there.place);
                    changes.list.push(Change { guest: other, from: place, to: there, cause: Cause::MakeRoom });
                    changes.list.push(Change { guest, from, to, cause });
                    return true;
                }
                ledger.take_out(guest);
            }
            ledger.enter(other, place);
            ledger.enter(guest, from);
        }
    }
    false
}

/// The best place off its host for a guest that is not in the ledger: live in its pool, or else in another one.
pub(super) fn way_out(ledger: &Ledger<'_, '_>, guest: u32, from: Place, cause: Cause) -> Option<Candidate> {
    let model = ledger.model;
    let anywhere = Ask { guest, paid: may_pay(model, guest, from, cause), pool: None, not_host: from.host };
    let live = model.guest(guest).movable.then(|| ledger.best(Ask { pool: Some(from.pool), ..anywhere }).0).flatten();
    live.or_else(|| ledger.best(anywhere).0)
}

/// Moves guests off an overloaded host: the smallest that relieves it alone, or else the largest, until it is not.
fn relieve(ledger: &mut Ledger<'_, '_>, host: u32, changes: &mut Changes) {
    let model = ledger.model;
    let mut tried: Vec<u32> = Vec::new();
    while ledger.is_overloaded(host) {
        let over_memory = (-ledger.free_memory[host as usize]).max(0);
        let over_rest: Vec<i64> = ledger.free_rest(host).iter().map(|free| (-free).max(0)).collect();
        let choice = (ledger.residents[host as usize].iter().copied())
            .filter(|g| is_free_to_move(model, *g) && !tried.contains(g))
            .filter_map(|guest| {
                let class = model.class(guest);
                let memory = class.memory(model, model.hosts[host as usize].pool);
                let relieves = (over_memory > 0 && memory > 0)
                    || class.need.iter().zip(&over_rest).any(|(need, over)| *over > 0 && *need > 0);
                let enough =
                    memory >= over_memory && class.need.iter().zip(&over_rest).all(|(need, over)| need >= over);
                let size = if enough { memory } else { -memory };
                relieves.then_some((!enough, size, guest))
            })
            .min();
        let Some((_, _, guest)) = choice else { break };
        if !changes.steps.take(QUESTION) {
            break;
        }
        tried.push(guest);
        match move_away(ledger, guest, Cause::Overload, true) {
            Some(change) => changes.list.push(change),
            None if make_room(ledger, guest, Cause::Overload, changes) => {}
            None => changes.stuck.push((guest, Cause::Overload)),
        }
    }
}

/// Guests in paid capacity for which there is room at home again.
fn return_home(ledger: &mut Ledger<'_, '_>, options: &MoveOptions, changes: &mut Changes) {
    let model = ledger.model;
    let now = model.world.now;
    let away: Vec<(u32, Place)> =
        ledger.placed().filter(|(g, p)| p.lane == Lane::Paid && is_settled(model, *g)).collect();
    let mut held = Vec::new();
    for (guest, from) in away {
        let state = model.guest(guest);
        let Burst::WhenFull { return_home: Some(after), .. } = &state.policy.burst else { continue };
        if is_cooling_down(model, guest, options)
            || !is_reachable(model, from.pool)
            || changes.list.iter().any(|change| change.guest == guest)
        {
            continue;
        }
        if would_upset(ledger, guest, changes) {
            // One after the other; who has to wait for that does not begin to wait anew.
            changes.home_room.extend(state.home_room_since.map(|_| guest));
            continue;
        }
        if !changes.steps.take(QUESTION) {
            break;
        }
        ledger.take_out(guest);
        let Some(to) = ledger.best(Ask { guest, paid: false, pool: None, not_host: NONE }).0 else {
            ledger.enter(guest, from);
            continue;
        };
        // Also who does not go yet holds the room, so that it is not promised twice.
        ledger.enter(guest, to.place);
        changes.home_room.push(guest);
        let at = state.home_room_since.unwrap_or(now).checked_add(*after).unwrap_or(Timestamp::MAX);
        if at <= now {
            changes.list.push(Change { guest, from, to, cause: Cause::ReturnHome });
        } else {
            changes.wake_at = Some(changes.wake_at.map_or(at, |so_far| so_far.min(at)));
            held.push((guest, from));
        }
    }
    for (guest, from) in held {
        ledger.take_out(guest);
        ledger.enter(guest, from);
    }
}

/// Guests in paid capacity that would be much cheaper elsewhere.
fn save(ledger: &mut Ledger<'_, '_>, options: &MoveOptions, changes: &mut Changes) {
    let model = ledger.model;
    let paid: Vec<(u32, Place)> =
        ledger.placed().filter(|(g, p)| p.lane == Lane::Paid && is_settled(model, *g)).collect();
    for (guest, from) in paid {
        if changes.list.len() >= options.most || !changes.steps.take(QUESTION) {
            return;
        }
        let moved = changes.list.iter().any(|change| change.guest == guest);
        let Some(price) = super::cost::marginal(model, guest, from).filter(|price| *price > 0) else { continue };
        let worth = price.saturating_mul(100 - i64::from(options.saving_percent.min(100))) / 100;
        let class = model.class(guest);
        let dear = |c: &super::class::Choice| c.offers.first().is_none_or(|(_, p)| p.is_none_or(|p| p > worth));
        if moved || is_cooling_down(model, guest, options) || !is_reachable(model, from.pool) {
            continue;
        }
        if class.choices(model).iter().all(dear) || would_upset(ledger, guest, changes) {
            continue;
        }
        ledger.take_out(guest);
        let all = ledger.every(Ask { guest, paid: true, pool: None, not_host: NONE });
        let best = all.into_iter().filter(|c| c.place.lane == Lane::Paid && !c.key.unpriced && c.key.paid <= worth);
        match best.min_by_key(|c| c.key) {
            Some(to) => {
                ledger.enter(guest, to.place);
                changes.list.push(Change { guest, from, to, cause: Cause::Saving });
            }
            None => ledger.enter(guest, from),
        }
    }
}

/// Bound for good and running, and nobody must be near to it.
fn is_settled(model: &Model<'_>, guest: u32) -> bool {
    is_free_to_move(model, guest)
        && model.guest(guest).powered_on
        && !model.needed[model.class(guest).workload as usize]
}

/// Whether a move at will could upset a spread that another move of this plan relies on: one at a time.
fn would_upset(ledger: &Ledger<'_, '_>, guest: u32, changes: &Changes) -> bool {
    ledger.is_counted(guest) && changes.list.iter().any(|change| ledger.is_counted(change.guest))
}

pub(super) fn is_cooling_down(model: &Model<'_>, guest: u32, options: &MoveOptions) -> bool {
    model.guest(guest).moved_at.is_some_and(|at| model.world.now.duration_since(at) < options.cool_down)
}
