//! The middle of a guest's life against the same small model: its owner stops, restarts, resizes, holds, moves, releases
//! and deletes it, pools fall silent and are fenced, and operators are killed all the while.
//!
//! What must hold whatever happens: never two VMs running, none removed or replaced under a hold, none restarted again and
//! again. What must hold when the faults end: it is as wished.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::prelude::*;

use super::{
    model_faults::Faults,
    model_tests::{Run, delete_object, one_round},
    model_world::{Made, POOLS, World},
    testing::at,
};
use crate::{
    api::{
        Guest,
        care::{DeletionPolicy, Hold, Mobility, Move},
        guest::Relocation,
        span::Span,
        template::PowerState,
        virtual_workload::{OnPoolLost, Placement, PoolLostAction},
    },
    provider::{Power, Stage},
};

/// What a guest's owner or a pool's administrator does.
#[derive(Clone, Copy, Debug)]
enum Act {
    Stop,
    Run,
    Restart,
    Resize,
    Hold,
    Unhold,
    Move,
    /// The pool's hosts go off, and its administrator vouches for that.
    Fence,
    /// They are on again.
    Unfence,
}

const ACTS: [Act; 9] =
    [Act::Stop, Act::Run, Act::Restart, Act::Resize, Act::Hold, Act::Unhold, Act::Move, Act::Fence, Act::Unfence];

/// Somebody edits the guest.
fn edit(world: &mut World, change: impl FnOnce(&mut Guest)) {
    let Some(mut guest) = world.object().cloned() else { return };
    change(&mut guest);
    world.objects.push(Some(guest));
}

fn act(world: &mut World, act: Act) {
    let now = world.now;
    match act {
        Act::Stop => edit(world, |guest| guest.spec.template.power_state = Some(PowerState::Stopped)),
        Act::Run => edit(world, |guest| guest.spec.template.power_state = Some(PowerState::Running)),
        Act::Restart => {
            world.restarts += 1;
            edit(world, |guest| guest.spec.template.restart_at = Some(Time(at(now))));
        }
        Act::Resize => world.vcpus += 1,
        Act::Hold => {
            edit(world, |guest| guest.spec.holds = vec![Hold { name: "case-42".into(), reason: None }]);
        }
        Act::Unhold => edit(world, |guest| guest.spec.holds.clear()),
        Act::Move => edit(world, |guest| {
            let (incarnation, decided_at) = (guest.incarnation(), Time(at(now)));
            let reason = "drain".to_owned();
            guest.spec.relocation = Some(Relocation {
                incarnation,
                kind: Move::Recreate,
                pool: None,
                host: None,
                instance_type: None,
                reason,
                decided_at,
            });
        }),
        Act::Fence => {
            let pool = world.object().and_then(|guest| guest.spec.binding.clone()).map(|binding| binding.pool);
            let pool = POOLS.iter().position(|name| Some(*name) == pool.as_deref()).unwrap_or(0);
            world.fence(pool);
        }
        Act::Unfence => world.unfence(),
    }
}

fn cared_for(faults: Vec<u8>, liked: usize, retain: bool) -> World {
    let mut world = World::new(Faults::Bytes(faults), liked);
    edit(&mut world, |guest| {
        let on_pool_lost = OnPoolLost {
            action: PoolLostAction::RecreateIfFenced,
            after: Some(Span(std::time::Duration::from_secs(20))),
        };
        guest.spec.placement = Some(Placement { on_pool_lost: Some(on_pool_lost), ..Placement::default() });
        guest.spec.mobility = Some(Mobility { allow: vec![Move::Live, Move::Recreate] });
        guest.spec.deletion_policy = retain.then_some(DeletionPolicy::Retain);
    });
    world.objects.remove(0);
    world
}

fn calm(world: &mut World, rounds: usize) {
    world.calm = true;
    for _ in 0..rounds {
        one_round(world);
        world.pass(10);
    }
}

/// `CARE_CASES=30000` looks longer.
fn cases() -> u32 {
    std::env::var("CARE_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(600)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn a_guest_is_cared_for_whatever_happens(
        faults in prop::collection::vec(any::<u8>(), 0..250),
        liked in 0usize..2,
        retain in prop::bool::weighted(0.2),
        pauses in prop::collection::vec(0i64..25, 30),
        acts in prop::collection::vec((0usize..30, prop::sample::select(ACTS.to_vec())), 0..8),
        deleted_at in prop::option::weighted(0.4, 0usize..30),
    ) {
        let mut world = cared_for(faults, liked, retain);
        for (round, pause) in pauses.into_iter().enumerate() {
            acts.iter().filter(|(when, _)| *when == round).for_each(|(_, what)| act(&mut world, *what));
            if deleted_at == Some(round) {
                delete_object(&mut world);
            }
            one_round(&mut world);
            world.pass(pause);
        }
        act(&mut world, Act::Unfence);
        let held = world.object().is_some_and(|guest| !guest.spec.holds.is_empty());
        let before = world.made.clone();
        calm(&mut world, 60);
        if held && deleted_at.is_some() {
            let ran = || before.iter().filter(|made| made.ran && !made.released);
            prop_assert!(ran().next().is_none() || world.object().is_some(), "a held guest went: {:#?}", world);
            prop_assert!(ran().all(|made| world.is_there(made)), "what was held is gone: {:#?}", world);
        }
        act(&mut world, Act::Unhold);
        calm(&mut world, 60);
        prop_assert!(world.violated.is_none(), "{}", world.violated.unwrap());
        prop_assert!(world.stops <= world.may_stop(), "restarted again and again: {:#?}", world);
        // What was given up and is to be kept stands in the way of another VM in its pool: a person is told what to do.
        let said = |guest: &Guest| {
            let conditions = guest.status.iter().flat_map(|status| &status.conditions);
            conditions.into_iter().any(|condition| condition.reason == "EarlierVmKept")
        };
        if retain && world.object().is_some_and(said) {
            return Ok(());
        }
        if deleted_at.is_some() {
            // What was given up in a fenced pool and is to be kept becomes an orphan that the pool names, whether it ever
            // ran or not: nobody could ask.
            let kept = |made: &Made| made.released || (retain && world.was_given_up(made));
            // A clone that lands unfinished beside what was given up is not waited for: whoever made it removes it later.
            let given_up = retain && world.made.iter().any(|made| world.was_given_up(made));
            let clutter = |made: &Made| given_up && made.stage == Stage::Incomplete && !made.ran;
            let left = |made: &&Made| !kept(made) && !clutter(made);
            let ours = world.made.iter().filter(left).count();
            prop_assert!(world.object().is_none() && ours == 0, "something is left: {:#?}", world);
            let kept = world.made.iter().filter(|made| made.released).count();
            prop_assert!(kept == 0 || retain, "what was to go was kept: {:#?}", world);
        } else {
            let guest = world.object().unwrap();
            let wanted = guest.spec.template.power_state.unwrap_or_default();
            let on = world.made.iter().filter(|made| made.power == Power::Running).count();
            prop_assert!(on == usize::from(wanted == PowerState::Running), "{:#?}", world);
            let status = guest.status.clone().unwrap();
            prop_assert!(status.restart.is_none() && status.silent_since.is_none(), "{:#?}", world);
            prop_assert!(retain || status.abandoned.is_empty(), "{:#?}", world);
            if wanted == PowerState::Stopped {
                let now = status.incarnation.unwrap();
                let size = world.made.iter().find(|made| made.incarnation == now).map(|made| made.vcpus);
                prop_assert_eq!(size, Some(world.vcpus), "what is off has the size that is wished");
            }
        }
    }
}

/// A run that nothing disturbs.
#[test]
fn a_restart_and_another_size_come_together() {
    let mut world = cared_for(Vec::new(), 0, false);
    calm(&mut world, 3);
    act(&mut world, Act::Resize);
    calm(&mut world, 3);
    assert_eq!(world.made[0].vcpus + 1, world.vcpus, "it waits for the VM to be off");
    act(&mut world, Act::Restart);
    calm(&mut world, 3);
    assert_eq!((world.made[0].vcpus, world.stops, world.made[0].power), (world.vcpus, 1, Power::Running));
    assert!(Run::new(&mut world).is_some());
}

/// Found by chance once: what a call that was given up on brings forth late is the guest's one VM.
#[test]
fn a_late_effect_makes_no_second_vm() {
    let faults = vec![
        131, 0, 0, 0, 0, 162, 0, 0, 0, 0, 0, 0, 0, 0, 133, 0, 0, 0, 0, 129, 0, 0, 0, 0, 145, 0, 0, 194, 0, 0, 142, 0,
        0, 131, 0, 0, 0, 189, 0, 0, 129,
    ];
    let mut world = cared_for(faults, 0, false);
    for _ in 0..30 {
        one_round(&mut world);
    }
    calm(&mut world, 60);
    assert!(world.violated.is_none(), "{}", world.violated.unwrap());
}

/// Found by chance once: a rented VM that was given up a moment after it was made, and is not shown yet to the operator that looks
/// for it, was taken for gone. It was there beside the next one, and nobody knew of it.
#[test]
fn what_was_given_up_is_not_gone_before_reads_are_up_to_date() {
    let mut faults = vec![0; 103];
    for (place, fault) in [
        (0, 139),
        (8, 128),
        (14, 129),
        (17, 187),
        (20, 129),
        (23, 187),
        (25, 130),
        (30, 148),
        (36, 155),
        (39, 129),
        (46, 128),
        (51, 171),
        (99, 133),
    ] {
        faults[place] = fault;
    }
    let mut world = cared_for(faults, 1, false);
    for round in 0..30 {
        if round == 2 {
            act(&mut world, Act::Fence);
        }
        one_round(&mut world);
        world.pass([(25, 1), (27, 14), (28, 6)].into_iter().find(|(at, _)| *at == round).map_or(0, |(_, pause)| pause));
    }
    act(&mut world, Act::Unfence);
    calm(&mut world, 60);
    assert!(world.violated.is_none(), "{}", world.violated.unwrap());
    assert!(world.object().unwrap().status.as_ref().unwrap().abandoned.is_empty());
    assert_eq!(world.made.len(), 1, "{:#?}", world.made);
}
