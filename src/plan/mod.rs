//! The placement engine: where each guest should live, what it costs, and why.
//!
//! Pure: it knows neither Kubernetes nor a socket, and the time and the seed are passed in. The same world and options
//! always give the same plan. What it is asked with is in [`inventory`] and [`request`], what it answers in [`outcome`].
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
mod cost;
pub mod explain;
pub mod inventory;
mod ledger;
mod model;
pub mod outcome;
pub mod request;
pub mod rule;
mod search;
mod shortage;
mod solver;
mod topology;

pub use inventory::{
    Capacity, Effect, Health, Host, Limits, Offering, Overhead, Owned, Pool, Pricing, Subscription, Taint, Tenancy,
    World,
};
pub use outcome::{
    Binding, Cause, Costs, Explanation, How, Lane, Move, Plan, Reason, Rejected, RunnerUp, Term, Unplaced,
};
pub use request::{
    Affinity, Bound, Burst, Excluded, Expression, GuestState, Isolation, Objective, Operator, Policy, Preference,
    Selector, Side, Size, Spread, Toleration, Topology, WhenUnsatisfiable,
};
pub use rule::{Failure, Rule};

use ledger::{Ledger, Place};
use model::{Model, NONE};

use crate::api::money::Money;

/// How a decision is made.
#[derive(Clone, Debug)]
pub struct Options {
    /// Seed of whatever is chosen at random.
    pub seed: u64,
    /// How many steps the search may take beyond the first answer. A step is about a microsecond.
    pub steps: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { seed: 0, steps: 200_000 }
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
    let mut plan = Plan {
        bindings: Vec::with_capacity(decided.len()),
        unplaced: Vec::new(),
        moves: Vec::new(),
        explanations: Vec::with_capacity(decided.len()),
        home_room: Vec::new(),
        wake_at: None,
        cost_before,
        cost_after: cost::costs(&model, &ledger),
        proven,
        gap: (!proven).then(|| search::gap(&model, &score, &bound_score)),
    };
    let mut explainer = explain::Explainer::new(&ledger);
    for one in &decided {
        let explanation = explainer.explain(one);
        let guest = explanation.guest.clone();
        match one.best {
            Some(best) => plan.bindings.push(Binding {
                guest,
                place: bound(&model, best.place),
                lane: best.place.lane,
                hourly: (!best.key.unpriced).then(|| {
                    let price = cost::marginal(&model, one.guest, best.place).unwrap_or(0);
                    Money::new(cost::decimal(price), world.currency)
                }),
            }),
            None => {
                if let rule::PaidFrom::At(at) = one.paid_from {
                    plan.wake_at = Some(plan.wake_at.map_or(at, |so_far| so_far.min(at)));
                }
                plan.unplaced.push(Unplaced { guest, reason: explanation.reason });
            }
        }
        plan.explanations.push(explanation);
    }
    plan
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
    }
}
