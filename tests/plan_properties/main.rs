//! The engine against a brute force that tries every choice of places, judged by the independent checker.
#![expect(clippy::expect_used, unreachable_pub, reason = "tests")]

mod brute_force;
mod gathering;
mod worlds;

use brute_force::{brute_force, worth};
use innkeeper::{
    api::quantity::Bytes,
    plan::{Capacity, MoveOptions, Offering, Options, World, check::check, decide},
};
use proptest::prelude::*;
use rust_decimal::Decimal;
use worlds::{crowd, lived_in, world};

/// Prices inside the engine are whole nano-units: each guest may be off by one.
fn close(a: Decimal, b: Decimal) -> bool {
    (a - b).abs() <= Decimal::new(50, 9)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn places_as_many_at_the_same_cost_as_brute_force(world in world()) {
        let plan = decide(&world, &Options::default());
        let broken = check(&world, &plan);
        prop_assert!(broken.is_empty(), "{broken:?} in {plan:#?}");
        let (ours, best) = (worth(&world, &plan), brute_force(&world));
        prop_assert_eq!((ours.0, ours.1), (best.0, best.1), "{:#?}", plan.bindings);
        prop_assert!(close(ours.2, best.2), "paid {} instead of {}: {:#?}", ours.2, best.2, plan.bindings);
        prop_assert!(close(ours.3, best.3), "running {} instead of {}: {:#?}", ours.3, best.3, plan.bindings);
        prop_assert!(plan.proven, "a small world was not searched to the end");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    /// Moves break no rule and overload nothing on the way, and carried out they soon leave nothing to do.
    #[test]
    fn moves_are_safe_and_come_to_an_end(world in lived_in()) {
        let mut world = world;
        for round in 0..4 {
            let plan = decide(&world, &Options::default());
            let broken = check(&world, &plan);
            prop_assert!(broken.is_empty(), "{broken:?} in {plan:#?}");
            if plan.moves.is_empty() {
                break;
            }
            prop_assert!(round < 3, "still moving: {:#?}", plan.moves);
            for guest in &mut world.guests {
                let bindings = plan.bindings.iter().filter(|b| b.guest == guest.uid).map(|b| &b.place);
                let moves = plan.moves.iter().filter(|m| m.guest == guest.uid).map(|m| &m.to);
                guest.bound = bindings.chain(moves).last().or(guest.bound.as_ref()).cloned();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn a_crowd_is_placed_and_moved_without_breaking_a_rule(world in crowd()) {
        let options = Options { moves: MoveOptions { density: 10, ..MoveOptions::default() }, ..Options::default() };
        let plan = decide(&world, &options);
        let broken = check(&world, &plan);
        prop_assert!(broken.is_empty(), "{broken:?} in {:#?} {:#?}", plan.bindings, plan.moves);
        prop_assert_eq!(&plan, &decide(&world, &options));
        for one in &plan.explanations {
            prop_assert!(one.message.len() <= 1024 && one.rejected.len() <= 8);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn the_same_world_gives_the_same_plan(world in world()) {
        prop_assert_eq!(decide(&world, &Options::default()), decide(&world.clone(), &Options::default()));
    }

    /// What was decided stays: a world in which every binding has been written asks for nothing more.
    #[test]
    fn a_decision_once_written_is_kept(world in world()) {
        let plan = decide(&world, &Options::default());
        let mut next = world.clone();
        for guest in &mut next.guests {
            guest.bound = plan.bindings.iter().find(|b| b.guest == guest.uid).map(|b| b.place.clone());
        }
        let again = decide(&next, &Options::default());
        prop_assert!(again.bindings.is_empty(), "{:?}", again.bindings);
        prop_assert!(again.moves.is_empty(), "{:?}", again.moves);
    }

    /// More room is never to the harm of a guest: as many are placed, and who is alone in asking keeps its place.
    #[test]
    fn more_capacity_makes_nobody_unplaceable(world in world(), more in 1u64..8) {
        let mut larger = world.clone();
        for pool in &mut larger.pools {
            if let Capacity::Hosts { hosts, .. } = &mut pool.capacity {
                for host in hosts {
                    host.memory = Bytes(host.memory.0 + Bytes::gib(more).0);
                    host.vcpus += 2;
                }
            }
            if let Capacity::Offerings(list) = &mut pool.capacity {
                let larger = |o: &Offering| Offering { instance_type: "larger".into(), vcpus: o.vcpus + 2, ..o.clone() };
                let more = list.first().map(larger);
                list.extend(more);
            }
        }
        let (before, after) = (decide(&world, &Options::default()), decide(&larger, &Options::default()));
        let (before, after) = (worth(&world, &before), worth(&larger, &after));
        prop_assert!((after.0, after.1) <= (before.0, before.1));
        for guest in &world.guests {
            let alone = |world: &World| {
                decide(&World { guests: vec![guest.clone()], ..world.clone() }, &Options::default()).bindings.len()
            };
            prop_assert!(alone(&larger) >= alone(&world));
        }
    }
}
