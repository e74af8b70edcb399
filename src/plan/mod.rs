//! The placement engine: where each guest should live, what it costs, and why.
//!
//! Pure: it knows neither Kubernetes nor a socket, the time is passed in, and nothing is left to chance: the same world
//! and options always give the same plan. What it is asked with is in [`inventory`] and [`request`], what it answers in [`outcome`].
//!
//! # Rules of the house
//! - A fact that is not known counts as not allowed.
//! - Home (owned hosts, and what a subscription includes) goes before paid capacity. [`Burst::WhenFull`] waits for its
//!   delay and then takes the best paid place; it does not wait where no home pool could ever lodge the guest.
//!   [`Burst::Never`] pays only where the guest's selector names no home pool at all.
//! - A wish of weight w makes a place without it count as w percent dearer; among places that cost nothing more, wishes
//!   decide by themselves. A broken wish is reported, never made hard.
//! - A stopped guest holds no memory, vCPU or money, but counts as a guest of its pool.
//! - A bound guest stays where it is unless a [`Move`] says otherwise.

mod candidate;
pub mod check;
mod check_neighbours;
mod check_static;
mod class;
mod consolidate;
mod cost;
mod discord;
pub mod explain;
mod explain_moves;
mod fill;
pub mod inventory;
mod ledger;
mod model;
mod need;
mod order;
pub mod outcome;
pub mod rehearsal;
mod repair;
pub mod request;
pub mod retype;
pub mod review;
pub mod rule;
mod search;
mod shortage;
mod solver;
mod topology;
mod transit;

pub use inventory::{
    Capacity, Effect, Health, Host, Limits, Offering, Overhead, Owned, Pool, Pricing, Subscription, Taint, Tenancy,
    World,
};
pub use outcome::{
    Binding, Cause, Costs, Explanation, How, Lane, Move, Plan, Reason, Rejected, Repair, RunnerUp, Term, Unplaced,
};
pub use request::{
    Affinity, Bound, Burst, Excluded, Expression, GuestState, Isolation, Objective, Operator, Policy, Preference,
    Selector, Side, Size, Spread, Toleration, Topology, WhenUnsatisfiable,
};
pub use rule::{Failure, Rule};

use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp};
use ledger::{Ledger, Place};
use model::{Model, NONE};

use crate::api::money::Money;

/// How a decision is made.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many steps the search may take beyond the first answer. A step is about a microsecond.
    pub steps: u64,
    /// Which moves are worth while.
    pub moves: MoveOptions,
}

impl Default for Options {
    fn default() -> Self {
        Self { steps: 200_000, moves: MoveOptions::default() }
    }
}

/// Which moves are worth while.
#[derive(Clone, Debug)]
pub struct MoveOptions {
    /// Most moves of one plan; 0 plans none.
    pub most: usize,
    /// How many steps may be taken to find them. A step is about a microsecond; what was found until then is the plan.
    pub steps: u64,
    /// How much cheaper a paid place must be, in percent, to be worth a move.
    pub saving_percent: u32,
    /// How many moves may be spent on emptying hosts of guests that go by density.
    pub density: usize,
    /// With how many moves in hand for each occupied host it is reckoned at most, when it is asked whether emptying one
    /// pays: the more, the sooner it does.
    pub in_hand: u32,
    /// How long a guest that was moved is not moved again to save money, to return home or to empty a host.
    pub cool_down: SignedDuration,
}

impl Default for MoveOptions {
    fn default() -> Self {
        Self {
            most: 100,
            steps: 2_000_000,
            saving_percent: 20,
            density: 0,
            in_hand: 1,
            cool_down: SignedDuration::from_mins(30),
        }
    }
}

/// Decides where each guest without a place should live, and who should move.
#[must_use]
pub fn decide(world: &World, options: &Options) -> Plan {
    let model = Model::new(world);
    let mut ledger = Ledger::new(&model);
    let cost_before = cost::costs(&model, &ledger);
    let queue = solver::queue(&model);
    let mut decided = solver::greedy(&mut ledger, &queue);
    let (proven, score, bound_score) = search::improve(&mut ledger, &mut decided, options.steps);
    let mut explainer = explain::Explainer::new(&ledger);
    let mut plan = Plan {
        bindings: Vec::with_capacity(decided.len()),
        unplaced: Vec::new(),
        moves: Vec::new(),
        explanations: decided.iter().map(|one| explainer.explain(one)).collect(),
        home_room: Vec::new(),
        wake_at: None,
        cost_before,
        cost_after: Costs::default(),
        proven,
        gap: (!proven).then(|| search::gap(&model, &score, &bound_score)),
        repair: Repair::default(),
    };
    for (at, one) in decided.iter().enumerate() {
        enter_decision(&model, one, at, &mut plan);
    }
    if options.moves.most > 0 {
        plan_moves(&mut ledger, &options.moves, &mut plan);
    }
    plan.wake_for_refusals(world);
    plan.cost_after = cost::costs(&model, &ledger);
    debug_assert_eq!(check::check(world, &plan), [], "the plan breaks a rule");
    plan
}

fn enter_decision(model: &Model<'_>, one: &solver::Decided, at: usize, plan: &mut Plan) {
    let (guest, reason) = (plan.explanations[at].guest.clone(), plan.explanations[at].reason);
    if let Some(best) = one.best {
        plan.bindings.push(binding(model, one.guest, &best));
        return;
    }
    if let rule::PaidFrom::At(at) = one.paid_from {
        plan.wake_no_later_than(at);
    }
    plan.unplaced.push(Unplaced { guest, reason });
}

/// Finds moves, puts them in order, and takes back those for which there is no order.
fn plan_moves(ledger: &mut Ledger<'_, '_>, options: &MoveOptions, plan: &mut Plan) {
    let model = ledger.model;
    let at_least = need::fewest(ledger);
    let (found, all_kept) = repair::changes(ledger, options);
    plan.repair = need::report(&found, at_least, all_kept);
    plan.home_room = found.home_room.iter().map(|g| model.guest(*g).uid.clone()).collect();
    found.wake_at.into_iter().for_each(|at| plan.wake_no_later_than(at));
    let moves = found.list.iter().map(|change| (change.guest, change.from, change.to.place)).collect();
    let (steps, stay) = order::ordered(&mut transit::Transit::before(ledger, &found.list), moves);
    for step in &steps {
        let cause = found.list.iter().find(|change| change.guest == step.guest).map_or(Cause::MakeRoom, |c| c.cause);
        let hosts = step.from.host != NONE && step.to.host != NONE;
        let first = found.list.iter().any(|change| change.guest == step.guest && change.from == step.from);
        let original = model.guest(step.guest).bound.clone();
        plan.moves.push(Move {
            guest: model.guest(step.guest).uid.clone(),
            // In the words of the guest, also where its host or instance type is no longer known.
            from: original.filter(|_| first).unwrap_or_else(|| bound(model, step.from)),
            to: bound(model, step.to),
            cause: if step.detour { Cause::MakeRoom } else { cause },
            wave: step.wave,
            how: how(model.guest(step.guest), hosts && step.from.pool == step.to.pool),
        });
    }
    for guest in stay {
        let last = steps.iter().rev().find(|step| step.guest == guest).map(|step| step.to);
        let first = found.list.iter().find(|change| change.guest == guest).map(|change| change.from);
        if let Some(place) = last.or(first) {
            ledger.take_out(guest);
            ledger.enter(guest, place);
        }
    }
    plan.explanations.extend(explain_moves::moves(ledger, &found, &plan.moves));
}

/// How a guest can change places, inside its pool or out of it.
fn how(guest: &GuestState, inside: bool) -> How {
    match (inside && guest.movable, guest.recreate) {
        (true, _) => How::Live,
        (false, true) => How::Recreate,
        (false, false) => How::Proposed,
    }
}

impl Plan {
    /// Places that are not tried for a while may end the wait of a guest without one.
    fn wake_for_refusals(&mut self, world: &World) {
        if self.unplaced.is_empty() {
            return;
        }
        let unplaced: HashSet<&str> = self.unplaced.iter().map(|u| u.guest.as_str()).collect();
        let waiting = world.guests.iter().filter(|g| unplaced.contains(g.uid.as_str()));
        let refused = waiting.flat_map(|g| &g.excluded).map(|e| e.until);
        let offerings = world.pools.iter().flat_map(|pool| match &pool.capacity {
            Capacity::Offerings(list) => list.as_slice(),
            Capacity::Hosts { .. } => &[],
        });
        let times = refused.chain(offerings.filter_map(|o| o.backed_off_until)).filter(|at| *at > world.now);
        if let Some(at) = times.min() {
            self.wake_no_later_than(at);
        }
    }

    fn wake_no_later_than(&mut self, at: Timestamp) {
        self.wake_at = Some(self.wake_at.map_or(at, |so_far| so_far.min(at)));
    }
}

/// A place for a guest, in the words of the outcome.
fn binding(model: &Model<'_>, guest: u32, best: &candidate::Candidate) -> Binding {
    let price = if best.key.unpriced { None } else { cost::marginal(model, guest, best.place) };
    Binding {
        guest: model.guest(guest).uid.clone(),
        place: bound(model, best.place),
        lane: best.place.lane,
        hourly: price.map(|nanos| Money::new(cost::decimal(nanos), model.rates.currency())),
    }
}

/// A place by its names.
fn bound(model: &Model<'_>, place: Place) -> Bound {
    let pool = model.world_pool(place.pool);
    let offer = match &pool.capacity {
        Capacity::Offerings(list) if place.offer != NONE => Some(&list[place.offer as usize]),
        _ => None,
    };
    Bound {
        pool: pool.name.clone(),
        host: (place.host != NONE).then(|| model.host_name(place.host).to_owned()),
        instance_type: offer.map(|o| o.instance_type.clone()),
        zone: offer.and_then(|o| o.zone.clone()),
        spot: offer.is_some_and(|o| o.spot),
    }
}
