//! A thousand guests through what happens to pools: decisions follow, and only those guests move that must.
#![expect(clippy::expect_used, reason = "tests")]

use std::{collections::BTreeMap, fmt::Write as _};

use innkeeper::plan::{Capacity, MoveOptions, Options, Plan, World, check::check, decide};

fn world() -> World {
    let mut text = String::from("now: 2026-11-23T09:00:00Z\ncurrency: EUR\npools:\n");
    for pool in 0..10 {
        let _ = writeln!(text, "  - name: xen-{pool}\n    capacity:\n      hosts:\n        hosts:");
        for host in 0..10 {
            let _ = writeln!(text, "          - {{ name: host-{host}, memory: 32Gi, vcpus: 64 }}");
        }
    }
    for (name, price) in [("dear", "0.10"), ("cheap", "0.08")] {
        let _ = writeln!(
            text,
            "  - name: {name}\n    capacity:\n      offerings:\n        - {{ instanceType: small, vcpus: 2, memory: 4Gi, \
             hourly: {{ amount: \"{price}\", currency: EUR }} }}"
        );
    }
    text.push_str("guests:\n");
    for guest in 0..1000 {
        let _ = writeln!(
            text,
            "  - {{ uid: g{guest}, namespace: shop, name: web-{guest}, workload: w{}, createdAt: 2026-11-23T08:00:00Z, \
             size: {{ vcpus: 1, memory: 4Gi }}, policy: {{ burst: {{ whenFull: {{}} }} }} }}",
            guest % 20
        );
    }
    serde_saphyr::from_str(&text).expect("a world")
}

fn decided(world: &World) -> Plan {
    let plan = decide(world, &Options::default());
    assert_eq!(check(world, &plan), []);
    plan
}

/// Carries the plan out.
fn carry_out(world: &mut World, plan: &Plan) {
    let mut places: BTreeMap<&str, _> = plan.bindings.iter().map(|b| (b.guest.as_str(), &b.place)).collect();
    places.extend(plan.moves.iter().map(|step| (step.guest.as_str(), &step.to)));
    for guest in &mut world.guests {
        if let Some(place) = places.get(guest.uid.as_str()) {
            guest.bound = Some((*place).clone());
        }
    }
}

fn lodged() -> World {
    let mut world = world();
    let plan = decided(&world);
    assert_eq!(plan.bindings.len(), 1000);
    carry_out(&mut world, &plan);
    world
}

fn in_pool(world: &World, pool: &str) -> usize {
    world.guests.iter().filter(|g| g.bound.as_ref().is_some_and(|b| b.pool == pool)).count()
}

#[test]
fn nothing_happens_where_nothing_has_changed() {
    let world = lodged();
    // Home is full with eight guests of 4 GiB on each of its hundred hosts; the rest pays the lower price.
    assert_eq!((in_pool(&world, "cheap"), in_pool(&world, "dear")), (200, 0));
    let plan = decided(&world);
    assert!(plan.bindings.is_empty() && plan.moves.is_empty() && plan.unplaced.is_empty());
}

#[test]
fn a_cordon_moves_nobody() {
    let mut world = lodged();
    world.pools[3].cordoned = true;
    assert!(decided(&world).moves.is_empty());
}

#[test]
fn a_new_pool_moves_nobody_who_did_not_ask_to_return() {
    let mut world = lodged();
    let mut new = world.pools[0].clone();
    new.name = "xen-new".into();
    world.pools.push(new);
    assert!(decided(&world).moves.is_empty());
}

#[test]
fn a_small_change_of_price_moves_nobody_and_a_large_one_a_few_at_a_time() {
    let mut world = lodged();
    let reprice = |world: &mut World, amount: &str| {
        for pool in &mut world.pools {
            if let (Capacity::Offerings(list), "dear") = (&mut pool.capacity, pool.name.as_str()) {
                list[0].hourly.amount = amount.parse().expect("an amount");
            }
        }
    };
    reprice(&mut world, "0.07");
    assert!(decided(&world).moves.is_empty(), "an eighth less is not worth a move");
    reprice(&mut world, "0.04");
    let plan = decided(&world);
    assert_eq!(plan.moves.len(), MoveOptions::default().most);
    carry_out(&mut world, &plan);
    let plan = decided(&world);
    carry_out(&mut world, &plan);
    assert_eq!((in_pool(&world, "cheap"), in_pool(&world, "dear")), (0, 200));
    assert!(decided(&world).moves.is_empty());
}

#[test]
fn a_drained_host_moves_its_own_guests_only() {
    let mut world = lodged();
    if let Capacity::Hosts { hosts, .. } = &mut world.pools[0].capacity {
        hosts[0].evacuate = true;
    }
    let plan = decided(&world);
    assert_eq!(plan.moves.len(), 8);
    assert!(plan.moves.iter().all(|step| step.from.pool == "xen-0" && step.from.host.as_deref() == Some("host-0")));
}

#[test]
fn few_steps_give_a_part_of_the_moves_and_many_the_least_there_can_be() {
    let mut world = lodged();
    for pool in &mut world.pools {
        if let Capacity::Hosts { hosts, .. } = &mut pool.capacity {
            hosts[0].evacuate = true;
        }
    }
    // Room for all who leave.
    world.guests.retain(|guest| !guest.uid.ends_with('7'));
    let mut before = 0;
    for steps in [0, 500, 2_000, 1_000_000] {
        let moves = MoveOptions { most: 1000, steps, ..MoveOptions::default() };
        let plan = decide(&world, &Options { moves, ..Options::default() });
        assert_eq!(check(&world, &plan), []);
        let repair = plan.repair;
        assert!(repair.at_least > 40, "{repair:?}");
        assert_eq!(repair.finished, steps == 1_000_000, "{repair:?} with {steps} steps");
        assert!(repair.moves >= before, "{repair:?} with {steps} steps, {before} before");
        before = repair.moves;
    }
    assert_eq!(before, decide(&world, &Options::default()).repair.at_least, "more moves than needed");
}
