//! The engine against a brute force that tries every choice of places, judged by the independent checker.
#![expect(clippy::expect_used, reason = "tests")]

use std::{collections::BTreeMap, sync::Arc};

use innkeeper::{
    api::{money::Money, quantity::Bytes},
    plan::{
        Affinity, Binding, Bound, Burst, Capacity, Costs, GuestState, Host, Isolation, Lane, Limits, Offering, Options,
        Overhead, Owned, Plan, Policy, Pool, Pricing, Side, Size, Spread, Subscription, Topology, Unplaced,
        WhenUnsatisfiable, World, check::check, decide,
    },
};
use jiff::{SignedDuration, Timestamp};
use proptest::{collection::vec, option, prelude::*, sample::select};
use rust_decimal::Decimal;

fn eur(milli: i64) -> Money {
    Money::new(Decimal::new(milli, 3), "EUR".parse().expect("a currency"))
}

fn pool() -> impl Strategy<Value = Pool> {
    let hosts = vec((2u64..8, 2u32..5, select(vec!["r1", "r2"]), any::<bool>()), 1..3).prop_map(|hosts| {
        let host = |(at, (memory, vcpus, rack, foreign)): (usize, (u64, u32, &str, bool))| Host {
            name: format!("host-{at}"),
            memory: Bytes::gib(memory),
            vcpus,
            resources: BTreeMap::new(),
            enabled: true,
            evacuate: false,
            foreign_guests: Some(u32::from(foreign)),
            labels: [("rack".to_owned(), rack.to_owned())].into(),
        };
        let overhead = Overhead { fixed: Bytes::mib(12), per_vcpu: Bytes::mib(1), one_in: 128 };
        Capacity::Hosts { hosts: hosts.into_iter().enumerate().map(host).collect(), overhead }
    });
    let offerings = vec((1u32..5, 1u64..8, 10i64..200), 1..3).prop_map(|types| {
        let offering = |(at, (vcpus, memory, price)): (usize, (u32, u64, i64))| Offering {
            instance_type: format!("t{at}"),
            zone: None,
            vcpus,
            memory: Bytes::gib(memory),
            hourly: eur(price),
            available: true,
            backed_off_until: None,
            dedicated: false,
        };
        Capacity::Offerings(types.into_iter().enumerate().map(offering).collect())
    });
    let pricing =
        (option::of(0i64..50_000), option::weighted(0.3, (1u64..6, 1u64..8))).prop_map(|(running, included)| Pricing {
            owned: running.map(|r| Owned { capital: eur(1), depreciation_months: 1, monthly_running: eur(r) }),
            subscription: included.map(|(vcpus, memory)| Subscription {
                monthly_fee: eur(1000),
                included_vcpus: vcpus,
                included_memory: Bytes::gib(memory),
                term_ends: None,
            }),
        });
    let limits =
        (option::weighted(0.2, 1u32..3), option::weighted(0.2, 4u64..8), option::weighted(0.2, 50_000i64..200_000));
    let country = select(vec![Some("GB"), Some("FR"), None]);
    (prop_oneof![2 => hosts, 1 => offerings], pricing, limits, country, prop::bool::weighted(0.1)).prop_map(
        |(capacity, pricing, (guests, vcpus, spend), country, cordoned)| Pool {
            name: String::new(),
            labels: BTreeMap::new(),
            cordoned,
            drain: false,
            health: innkeeper::plan::Health::Ready,
            jurisdiction: country.map(Into::into),
            data_classes: [].into(),
            certifications: [].into(),
            images: [].into(),
            networks: [].into(),
            storages: [].into(),
            tenancy: innkeeper::plan::Tenancy::Anyone,
            taints: Vec::new(),
            limits: Limits { guests, vcpus, memory: None, monthly_spend: spend.map(eur) },
            cpu_overcommit: Decimal::ONE,
            pricing,
            capacity,
        },
    )
}

fn topology() -> impl Strategy<Value = Topology> {
    select(vec![Topology::Host, Topology::Pool, Topology::Jurisdiction, Topology::Label("rack".into())])
}

fn policy() -> impl Strategy<Value = Policy> {
    let spread = option::weighted(0.3, (topology(), 1u32..3)).prop_map(|spread| {
        let spread = spread.map(|(topology, max_skew)| Spread {
            topology,
            max_skew,
            when_unsatisfiable: WhenUnsatisfiable::DoNotSchedule,
        });
        spread.into_iter().collect()
    });
    let affinity = option::weighted(0.3, (select(vec![Side::Near, Side::Apart]), select(vec!["w0", "w1"]), topology()));
    let burst = prop_oneof![
        1 => Just(Burst::Never),
        1 => Just(Burst::WhenFull { after: SignedDuration::from_hours(1), return_home: None }),
        3 => Just(Burst::WhenFull { after: SignedDuration::ZERO, return_home: None }),
    ];
    let law = option::weighted(0.2, Just(["GB".to_owned()].into()));
    (spread, affinity, burst, law, 0i32..2, prop::bool::weighted(0.15), option::weighted(0.2, 20_000i64..200_000))
        .prop_map(|(spread, affinity, burst, jurisdictions, priority, dedicated, budget)| Policy {
            spread,
            affinity: affinity
                .into_iter()
                .map(|(kind, other, topology)| Affinity { kind, workloads: [other.to_owned()].into(), topology })
                .collect(),
            burst,
            jurisdictions,
            priority,
            isolation: if dedicated { Isolation::DedicatedHost } else { Isolation::Shared },
            budget: budget.map(eur),
            ..Policy::default()
        })
}

fn world() -> impl Strategy<Value = World> {
    let guest = (0usize..2, 1u32..4, 1u64..5, any::<bool>(), any::<bool>());
    (vec(pool(), 1..4), [policy(), policy()], vec(guest, 1..5)).prop_map(|(pools, policies, guests)| {
        let policies = policies.map(Arc::new);
        let now: Timestamp = "2026-11-23T09:00:00Z".parse().expect("a time");
        let pools = pools.into_iter().enumerate().map(|(at, pool)| Pool { name: format!("pool-{at}"), ..pool });
        let guests = guests.into_iter().enumerate().map(|(at, (workload, vcpus, memory, waited, tenant))| GuestState {
            uid: format!("g{at}"),
            namespace: if tenant { "shop" } else { "bank" }.into(),
            name: format!("g{at}"),
            workload: format!("w{workload}"),
            created_at: now,
            waiting_since: waited.then(|| now - SignedDuration::from_hours(2)),
            size: Size { vcpus, memory: Bytes::gib(memory), resources: BTreeMap::new() },
            powered_on: true,
            image: None,
            networks: [].into(),
            storages: [].into(),
            policy: Arc::clone(&policies[workload]),
            bound: None,
            excluded: Vec::new(),
            home_room_since: None,
            moved_at: None,
            movable: true,
            leaving: false,
        });
        World {
            now,
            currency: "EUR".parse().expect("a currency"),
            rates: BTreeMap::new(),
            pools: pools.collect(),
            guests: guests.collect(),
        }
    })
}

fn running(pool: &Pool, guest: &GuestState) -> Decimal {
    let (Capacity::Hosts { hosts, overhead }, Some(owned)) = (&pool.capacity, &pool.pricing.owned) else {
        return Decimal::ZERO;
    };
    let need = guest.size.memory.0 + overhead.of(guest.size.vcpus, guest.size.memory).0;
    let memory: u64 = hosts.iter().map(|h| h.memory.0).sum();
    let vcpus: u32 = hosts.iter().map(|h| h.vcpus).sum();
    let share =
        (Decimal::from(need) / Decimal::from(memory)).max(Decimal::from(guest.size.vcpus) / Decimal::from(vcpus));
    owned.monthly_running.amount.0 / Decimal::from(730) * share
}

/// Every place that a guest could be given, allowed or not.
fn everywhere(world: &World, guest: &GuestState) -> Vec<Binding> {
    let mut all = Vec::new();
    for pool in &world.pools {
        let mut add = |host: Option<&String>, instance_type: Option<&String>, lane, hourly: Money| {
            let (host, instance_type) = (host.cloned(), instance_type.cloned());
            let place = Bound { pool: pool.name.clone(), host, instance_type, zone: None };
            all.push(Binding { guest: guest.uid.clone(), place, lane, hourly: Some(hourly) });
        };
        match &pool.capacity {
            Capacity::Hosts { hosts, .. } if pool.pricing.subscription.is_some() => {
                hosts.iter().for_each(|h| add(Some(&h.name), None, Lane::Included, eur(0)));
            }
            Capacity::Hosts { hosts, .. } => {
                let price = Money::new(running(pool, guest), world.currency);
                hosts.iter().for_each(|h| add(Some(&h.name), None, Lane::Owned, price));
            }
            Capacity::Offerings(list) => {
                for offering in list {
                    if pool.pricing.subscription.is_some() {
                        add(None, Some(&offering.instance_type), Lane::Included, eur(0));
                    }
                    add(None, Some(&offering.instance_type), Lane::Paid, offering.hourly);
                }
            }
        }
    }
    all
}

fn plan_of(world: &World, bindings: Vec<Binding>) -> Plan {
    let bound = |uid: &str| bindings.iter().any(|b| b.guest == uid);
    let unplaced = world
        .guests
        .iter()
        .filter(|g| !bound(&g.uid))
        .map(|g| Unplaced { guest: g.uid.clone(), reason: innkeeper::plan::Reason::NoPoolFits });
    Plan {
        unplaced: unplaced.collect(),
        bindings,
        moves: Vec::new(),
        explanations: Vec::new(),
        home_room: Vec::new(),
        wake_at: None,
        cost_before: Costs::default(),
        cost_after: Costs::default(),
        proven: true,
        gap: None,
    }
}

/// Guests without a place of priority 1 and 0, paid and running cost of an hour.
fn worth(world: &World, plan: &Plan) -> (usize, usize, Decimal, Decimal) {
    let without = |priority| {
        let left = |uid: &String| world.guests.iter().any(|g| g.uid == *uid && g.policy.priority == priority);
        plan.unplaced.iter().filter(|u| left(&u.guest)).count()
    };
    let sum = |paid: bool| {
        let of = plan.bindings.iter().filter(|b| (b.lane == Lane::Paid) == paid);
        of.filter_map(|b| b.hourly).map(|m| m.amount.0).sum::<Decimal>()
    };
    (without(1), without(0), sum(true), sum(false))
}

fn brute_force(world: &World) -> (usize, usize, Decimal, Decimal) {
    let options: Vec<Vec<Option<Binding>>> = world
        .guests
        .iter()
        .map(|guest| {
            let mut options = vec![None];
            options.extend(
                everywhere(world, guest)
                    .into_iter()
                    .filter(|b| {
                        let alone = check(world, &plan_of(world, vec![b.clone()]));
                        alone.iter().all(|v| v.what.contains("spread") || v.what.contains("Near"))
                    })
                    .map(Some),
            );
            options
        })
        .collect();
    let mut best = None;
    let mut chosen = Vec::new();
    try_all(world, &options, &mut chosen, &mut best);
    best.expect("leaving all without a place is always possible")
}

fn try_all(
    world: &World,
    options: &[Vec<Option<Binding>>],
    chosen: &mut Vec<Option<Binding>>,
    best: &mut Option<(usize, usize, Decimal, Decimal)>,
) {
    let Some(here) = options.get(chosen.len()) else {
        let plan = plan_of(world, chosen.iter().flatten().cloned().collect());
        let worth = worth(world, &plan);
        if best.is_none_or(|best| worth < best) && check(world, &plan).is_empty() {
            *best = Some(worth);
        }
        return;
    };
    for option in here {
        chosen.push(option.clone());
        try_all(world, options, chosen, best);
        chosen.pop();
    }
}

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

/// A world whose guests live somewhere, sensibly or not, in pools of which some are being emptied.
fn lived_in() -> impl Strategy<Value = World> {
    (world(), vec((0usize..16, any::<bool>()), 4..5), vec(prop::bool::weighted(0.2), 12..13)).prop_map(
        |(mut world, homes, flags)| {
            let mut flags = flags.into_iter();
            for pool in &mut world.pools {
                pool.drain = flags.next().unwrap_or(false);
                if let Capacity::Hosts { hosts, .. } = &mut pool.capacity {
                    hosts.iter_mut().for_each(|host| host.evacuate = flags.next().unwrap_or(false));
                }
            }
            for (at, (choice, bound)) in homes.into_iter().enumerate().take(world.guests.len()) {
                let all = everywhere(&world, &world.guests[at]);
                world.guests[at].bound = bound.then(|| all[choice % all.len()].place.clone());
            }
            world
        },
    )
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
