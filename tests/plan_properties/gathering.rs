//! Gathering guests on fewer hosts, carried out move by move.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use innkeeper::plan::{Capacity, Cause, MoveOptions, Objective, Options, Policy, World, check::check, decide};
use jiff::SignedDuration;
use proptest::prelude::*;

use super::worlds::crowd;

/// How many hosts have a guest.
fn hosts_in_use(world: &World) -> usize {
    let bound = world.guests.iter().filter_map(|guest| guest.bound.as_ref());
    bound.filter_map(|bound| Some((&bound.pool, bound.host.as_ref()?))).collect::<BTreeSet<_>>().len()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    /// Guests are gathered one by one, each step planned anew. That ends, no host is begun for it, and then a day may pass.
    #[test]
    fn gathering_ends_with_no_more_hosts_in_use_than_before(mut world in crowd()) {
        let cool_down = SignedDuration::from_mins(30);
        let options = Options { moves: MoveOptions { density: 1000, cool_down, ..MoveOptions::default() }, ..Options::default() };
        let policy = Arc::new(Policy { objective: Objective::Density, ..Policy::default() });
        for pool in &mut world.pools {
            if let Capacity::Hosts { hosts, .. } = &mut pool.capacity {
                for host in hosts {
                    host.evacuate = false;
                }
            }
        }
        world.pools.retain(|pool| matches!(pool.capacity, Capacity::Hosts { .. }));
        world.guests.iter_mut().for_each(|guest| guest.policy = Arc::clone(&policy));
        let (guests, mut gathered, mut quiet) = (world.guests.len(), 0, 0);
        let mut in_use = None;
        while quiet < 24 {
            let plan = decide(&world, &options);
            prop_assert_eq!(check(&world, &plan), []);
            let gathers = plan.moves.iter().any(|step| step.cause == Cause::Density);
            let first = if gathers { 1 } else { plan.moves.len() };
            let steps: BTreeMap<&str, _> = plan.bindings.iter().map(|one| (one.guest.as_str(), &one.place))
                .chain(plan.moves.iter().take(first).map(|step| (step.guest.as_str(), &step.to)))
                .collect();
            quiet = if steps.is_empty() { quiet + 1 } else { 0 };
            world.now += SignedDuration::from_mins(if steps.is_empty() { 60 } else { 2 });
            for guest in &mut world.guests {
                let Some(place) = steps.get(guest.uid.as_str()) else { continue };
                (guest.bound, guest.moved_at) = (Some((*place).clone()), Some(world.now));
            }
            if gathers {
                gathered += 1;
                prop_assert!(gathered <= guests, "no end in sight");
                prop_assert!(in_use.is_none_or(|before| hosts_in_use(&world) <= before), "a host was begun");
                in_use = Some(hosts_in_use(&world));
            }
        }
    }
}
