//! N guests over 50 Xen pools of 40 hosts and 3 public pools of 400 types: a fifth each without constraints, spread over
//! zones, spread over hosts, near to their like in a zone, and each on a host of its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use innkeeper::{
    api::{money::Money, quantity::Bytes},
    plan::{
        Affinity, Burst, Capacity, GuestState, Health, Host, Limits, Offering, Options, Overhead, Owned, Policy, Pool,
        Pricing, Reason, Side, Size, Spread, Tenancy, Topology, WhenUnsatisfiable, World, check::check, decide,
    },
};
use jiff::{SignedDuration, Timestamp};
use rust_decimal::{Decimal, prelude::ToPrimitive};
use serde_json::json;

use crate::{Failure, input::Numbers};

/// What all pools have in common.
pub(crate) fn pool(name: String, zone: usize, pricing: Pricing, capacity: Capacity) -> Pool {
    Pool {
        name,
        labels: [("zone".to_owned(), format!("zone-{zone}"))].into(),
        cordoned: false,
        drain: false,
        health: Health::Ready,
        jurisdiction: Some("IE".to_owned()),
        data_classes: BTreeSet::new(),
        certifications: BTreeSet::new(),
        images: BTreeSet::new(),
        networks: BTreeSet::new(),
        storages: BTreeSet::new(),
        tenancy: Tenancy::Anyone,
        taints: Vec::new(),
        limits: Limits::default(),
        cpu_overcommit: Decimal::from(4),
        pricing,
        capacity,
    }
}

/// A host without anything special.
pub(crate) fn host(name: String, memory: Bytes, vcpus: u32) -> Host {
    Host {
        name,
        memory,
        vcpus,
        resources: BTreeMap::new(),
        enabled: true,
        evacuate: false,
        foreign_guests: Some(0),
        labels: BTreeMap::new(),
    }
}

/// A guest without anything special.
pub(crate) fn guest(number: usize, workload: String, vcpus: u32, memory: Bytes, policy: &Arc<Policy>) -> GuestState {
    GuestState {
        uid: format!("guest-{number}"),
        namespace: "bench".to_owned(),
        name: format!("guest-{number}"),
        workload,
        created_at: Timestamp::UNIX_EPOCH,
        waiting_since: None,
        size: Size { vcpus, memory, resources: BTreeMap::new() },
        powered_on: true,
        image: None,
        networks: BTreeSet::new(),
        storages: BTreeSet::new(),
        policy: Arc::clone(policy),
        bound: None,
        excluded: Vec::new(),
        home_room_since: None,
        moved_at: None,
        movable: true,
        recreate: false,
        reserved: None,
        leaving: false,
    }
}

/// A world of these pools and guests in euros.
pub(crate) fn world(pools: Vec<Pool>, guests: Vec<GuestState>) -> Result<World, Failure> {
    Ok(World { now: "2026-01-01T00:00:00Z".parse()?, currency: "EUR".parse()?, rates: BTreeMap::new(), pools, guests })
}

pub(crate) fn pools(numbers: &mut Numbers) -> Result<Vec<Pool>, Failure> {
    let currency = "EUR".parse()?;
    let mut pools = Vec::new();
    for p in 0..50 {
        let hosts = (0..40).map(|h| host(format!("host-{h}"), Bytes::gib(256), 64)).collect();
        let owned = Owned {
            capital: Money::new(Decimal::from(400_000), currency),
            depreciation_months: 60,
            monthly_running: Money::new(Decimal::from(4_000 + 100 * numbers.below(8)), currency),
        };
        let pricing = Pricing { owned: Some(owned), subscription: None };
        let overhead = Overhead { fixed: Bytes::mib(12), per_vcpu: Bytes::mib(1), one_in: 128 };
        pools.push(pool(format!("xen-{p}"), p % 7, pricing, Capacity::Hosts { hosts, overhead }));
    }
    for p in 0..3 {
        let mut offerings = Vec::new();
        for t in 0..400usize {
            let vcpus = [1, 2, 4, 8, 16, 32, 64, 96][t % 8];
            let memory = u64::from(vcpus) * [1, 2, 4, 8][t / 8 % 4];
            // Between three and five hundredths for a vCPU and about half of one for a GiB.
            let price = i64::from(vcpus) * (300 + i64::try_from(numbers.below(200))?) + i64::try_from(memory)? * 45;
            offerings.push(Offering {
                instance_type: format!("t{t}"),
                zone: None,
                vcpus,
                memory: Bytes::gib(memory),
                hourly: Money::new(Decimal::new(price, 4), currency),
                available: true,
                backed_off_until: None,
                dedicated: false,
                spot: false,
            });
        }
        pools.push(pool(format!("public-{p}"), p, Pricing::default(), Capacity::Offerings(offerings)));
    }
    Ok(pools)
}

fn kinds() -> [Policy; 5] {
    let burst = || Burst::WhenFull { after: SignedDuration::ZERO, return_home: None };
    let spread = |topology| Policy {
        spread: vec![Spread { topology, max_skew: 1, when_unsatisfiable: WhenUnsatisfiable::DoNotSchedule }],
        burst: burst(),
        ..Policy::default()
    };
    [
        Policy { burst: burst(), ..Policy::default() },
        spread(Topology::Label("zone".to_owned())),
        spread(Topology::Host),
        Policy { burst: burst(), ..Policy::default() },
        Policy { burst: burst(), ..Policy::default() },
    ]
}

/// The guests: seven workloads of each kind, so that those of one workload are counted against each other.
pub(crate) fn guests(n: usize, numbers: &mut Numbers) -> Vec<GuestState> {
    let mut policies: Vec<Vec<Arc<Policy>>> = Vec::new();
    for (kind, policy) in kinds().into_iter().enumerate() {
        let of_kind = (0..7).map(|w| {
            let mut policy = policy.clone();
            let term = |kind, name: String, topology| Affinity { kind, workloads: [name].into(), topology };
            match kind {
                3 => policy.affinity = vec![term(Side::Near, format!("k3-w{w}"), Topology::Label("zone".to_owned()))],
                4 => policy.affinity = vec![term(Side::Apart, format!("k4-w{w}"), Topology::Host)],
                _ => {}
            }
            Arc::new(policy)
        });
        policies.push(of_kind.collect());
    }
    (0..n)
        .map(|number| {
            let kind = number * 5 / n.max(1);
            let workload = numbers.below(7);
            let vcpus = numbers.of(&[1, 1, 2, 2, 4]);
            let memory = Bytes::mib(numbers.of(&[512, 1024, 2048, 4096, 8192]));
            guest(number, format!("k{kind}-w{workload}"), vcpus, memory, &policies[kind][workload])
        })
        .collect()
}

pub(crate) fn run(n: &str) -> Result<serde_json::Value, Failure> {
    let n: usize = n.parse()?;
    let mut numbers = Numbers(42);
    let pools = pools(&mut numbers)?;
    let world = world(pools, guests(n, &mut numbers))?;
    let start = Instant::now();
    let plan = decide(&world, &Options::default());
    let seconds = start.elapsed().as_secs_f64();
    let broken = check(&world, &plan);
    for one in plan.explanations.iter().filter(|one| one.reason != Reason::Placed).take(3) {
        println!("{}: {}", one.guest, one.message);
    }
    for violation in broken.iter().take(10) {
        println!("{violation}");
    }
    let cost = plan.cost_after.marginal.map_or(Decimal::ZERO, |m| m.amount.0);
    let gap = plan.gap.map_or(Decimal::ZERO, |m| m.amount.0);
    Ok(json!({
        "work": "mixed",
        "seconds": seconds,
        "placements": plan.bindings.len(),
        "unplaced": plan.unplaced.len(),
        "quality": (cost / (cost - gap).max(Decimal::new(1, 9))).to_f64(),
        "quality_is": "cost of an hour over a bound: every guest alone at the cheapest place that is allowed",
        "broken_rules": broken.len(),
        "moves": plan.moves.len(),
        "placements_per_second": f64::from(u32::try_from(plan.bindings.len())?) / seconds,
    }))
}
