//! Small worlds, and worlds that are lived in, at random.

use std::{collections::BTreeMap, sync::Arc};

use innkeeper::{
    api::{money::Money, quantity::Bytes},
    plan::{
        Affinity, Bound, Burst, Capacity, GuestState, Host, Isolation, Limits, Objective, Offering, Overhead, Owned,
        Policy, Pool, Pricing, Side, Size, Spread, Subscription, Topology, WhenUnsatisfiable, World,
    },
};
use jiff::{SignedDuration, Timestamp};
use proptest::{collection::vec, option, prelude::*, sample::select};
use rust_decimal::Decimal;

use crate::brute_force::everywhere;

pub fn eur(milli: i64) -> Money {
    Money::new(Decimal::new(milli, 3), "EUR".parse().expect("a currency"))
}

pub fn hosts() -> impl Strategy<Value = Capacity> {
    vec((2u64..8, 2u32..5, select(vec!["r1", "r2"]), any::<bool>()), 1..3).prop_map(|hosts| {
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
    })
}

/// Up to two types, the first in two zones at two prices; some cannot be had now, some are dedicated or spot.
pub fn offerings() -> impl Strategy<Value = Capacity> {
    let now: Timestamp = "2026-11-23T09:00:00Z".parse().expect("a time");
    let row = (1u32..5, 1u64..8, 10i64..200, prop::bool::weighted(0.3), 0u8..10);
    vec(row, 1..4).prop_map(move |rows| {
        let offering = |(at, (_, _, price, spot, state)): (usize, &(u32, u64, i64, bool, u8))| Offering {
            instance_type: format!("t{}", at / 2),
            zone: (at < 2).then(|| ["a", "b"][at].to_owned()),
            vcpus: rows[at / 2 * 2].0,
            memory: Bytes::gib(rows[at / 2 * 2].1),
            hourly: eur(*price),
            available: *state != 0,
            backed_off_until: match state {
                1 => Some(now + SignedDuration::from_mins(5)),
                2 => Some(now - SignedDuration::from_mins(5)),
                _ => None,
            },
            dedicated: *state > 7,
            spot: *spot,
        };
        Capacity::Offerings(rows.iter().enumerate().map(offering).collect())
    })
}

pub fn pool() -> impl Strategy<Value = Pool> {
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
    (prop_oneof![2 => hosts(), 1 => offerings()], pricing, limits, country, prop::bool::weighted(0.1)).prop_map(
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

pub fn topology() -> impl Strategy<Value = Topology> {
    select(vec![Topology::Host, Topology::Pool, Topology::Jurisdiction, Topology::Label("rack".into())])
}

pub fn policy() -> impl Strategy<Value = Policy> {
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
    let risky = (prop::bool::weighted(0.15), prop::bool::weighted(0.5));
    (spread, affinity, burst, law, 0i32..2, risky, option::weighted(0.2, 20_000i64..200_000)).prop_map(
        |(spread, affinity, burst, jurisdictions, priority, (dedicated, spot), budget)| Policy {
            spot,
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
        },
    )
}

pub fn world() -> impl Strategy<Value = World> {
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
            recreate: false,
            reserved: None,
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

/// A world whose guests live somewhere, sensibly or not, in pools of which some are being emptied.
pub fn lived_in() -> impl Strategy<Value = World> {
    (world(), vec((0usize..16, any::<bool>()), 4..5), vec(prop::bool::weighted(0.2), 12..13)).prop_map(
        |(mut world, homes, flags)| {
            let mut flags = flags.into_iter();
            for pool in &mut world.pools {
                pool.drain = flags.next().unwrap_or(false);
                if let Capacity::Hosts { hosts, .. } = &mut pool.capacity {
                    for host in hosts {
                        host.evacuate = flags.next().unwrap_or(false);
                    }
                }
            }
            for (at, (choice, bound)) in homes.into_iter().enumerate().take(world.guests.len()) {
                let all = everywhere(&world, &world.guests[at]);
                let mut place = all[choice % all.len()].place.clone();
                // Now and then what it was bound to is no longer known.
                match choice {
                    13 => place.pool = "gone".into(),
                    14 => place.host = place.host.map(|_| "gone".into()),
                    15 => place.instance_type = place.instance_type.map(|_| "gone".into()),
                    _ => {}
                }
                world.guests[at].bound = bound.then_some(place);
            }
            world
        },
    )
}

/// Many guests, half of them bound and crowding some hosts, on pools of a few hosts of which some are being emptied.
pub fn crowd() -> impl Strategy<Value = World> {
    let host = (8u64..32, 4u32..16, prop::bool::weighted(0.15));
    let guest = (0usize..2, 1u32..4, 1u64..8, option::of((0usize..3, 0usize..6)));
    let objective = select(vec![Objective::Cost, Objective::Performance, Objective::Density]);
    (vec(vec(host, 2..6), 1..4), vec(guest, 14..48), [policy(), policy()], objective, world()).prop_map(
        |(pools, guests, policies, objective, base)| {
            let policies = policies.map(|policy| Arc::new(Policy { objective, ..policy }));
            let mut world = base;
            let (pool, guest) = (world.pools[0].clone(), world.guests[0].clone());
            world.pools.retain(|pool| matches!(pool.capacity, Capacity::Offerings(_)));
            for (at, hosts) in pools.iter().enumerate() {
                let made = hosts.iter().enumerate().map(|(number, (memory, vcpus, evacuate))| Host {
                    name: format!("host-{number}"),
                    memory: Bytes::gib(*memory),
                    vcpus: *vcpus,
                    resources: BTreeMap::new(),
                    enabled: true,
                    evacuate: *evacuate,
                    foreign_guests: Some(0),
                    labels: BTreeMap::new(),
                });
                let capacity = Capacity::Hosts { hosts: made.collect(), overhead: Overhead::default() };
                let (pricing, limits) = (Pricing::default(), Limits::default());
                world.pools.push(Pool { name: format!("xen-{at}"), pricing, limits, capacity, ..pool.clone() });
            }
            let home = |(pool, host): (usize, usize)| {
                let pool = pool % pools.len();
                let host = Some(format!("host-{}", host % pools[pool].len()));
                Bound { pool: format!("xen-{pool}"), host, instance_type: None, zone: None, spot: false }
            };
            world.guests = (guests.into_iter().enumerate())
                .map(|(at, (workload, vcpus, memory, at_home))| GuestState {
                    uid: format!("g{at}"),
                    name: format!("g{at}"),
                    workload: format!("w{workload}"),
                    size: Size { vcpus, memory: Bytes::gib(memory), resources: BTreeMap::new() },
                    policy: Arc::clone(&policies[workload]),
                    bound: at_home.map(home),
                    ..guest.clone()
                })
                .collect();
            world
        },
    )
}
