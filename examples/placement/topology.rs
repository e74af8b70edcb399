//! Requests one after the other onto hosts with two NUMA nodes in racks. A guest with one node fits into one of them, a
//! guest with two takes half of itself from each. Guests of an `affinity` group share a rack, those of an
//! `anti-affinity` group are in racks of their own, and different domains of a `fault_domain` group share no rack.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use innkeeper::{
    api::quantity::Bytes,
    plan::{
        Affinity, Binding, Burst, Capacity, GuestState, Objective, Overhead, Plan, Policy, Pricing, Reason, Side,
        Topology, Unplaced, World, check::check, rehearsal::rehearse,
    },
};
use jiff::SignedDuration;
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;

use crate::{
    Failure,
    input::{Table, read},
    mixed::{guest, host, pool, world},
};

/// The NUMA nodes as counted things of a host.
const NODES: [[&str; 2]; 2] = [["cpu-0", "ram-0"], ["cpu-1", "ram-1"]];

/// A request and the guests that stand for it: one for each node that it may live on.
struct Request {
    variants: Vec<usize>,
}

fn hosts(hosts: &str, racks: &str) -> Result<Capacity, Failure> {
    let racks = Table::new(racks)?;
    let mut rack_of: HashMap<&str, &str> = HashMap::new();
    for row in &racks.rows {
        rack_of.insert(racks.cell(row, "host_id")?, racks.cell(row, "rack_id")?);
    }
    let table = Table::new(hosts)?;
    let mut list = Vec::new();
    for (number, row) in table.rows.iter().enumerate() {
        let name = format!("host-{number}");
        let mut sum = [0, 0];
        let mut resources = BTreeMap::new();
        for (node, columns) in [["CPU1", "RAM1"], ["CPU2", "RAM2"]].iter().enumerate() {
            for (kind, column) in columns.iter().enumerate() {
                let amount = whole(table.number(row, column)?);
                sum[kind] += amount;
                resources.insert(NODES[node][kind].to_owned(), amount);
            }
        }
        let mut host = host(name.clone(), Bytes::gib(sum[1]), u32::try_from(sum[0])?);
        host.resources = resources;
        let rack = rack_of.get(name.as_str()).ok_or_else(|| format!("{name} is in no rack"))?;
        host.labels.insert("rack".to_owned(), (*rack).to_owned());
        list.push(host);
    }
    Ok(Capacity::Hosts { hosts: list, overhead: Overhead::default() })
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "sizes are small whole numbers")]
fn whole(n: f64) -> u64 {
    n.round().max(0.0) as u64
}

/// The domains of each fault domain group, so that each can be told to keep away from the others.
fn domains<'a>(table: &Table<'a>) -> Result<HashMap<&'a str, BTreeSet<&'a str>>, Failure> {
    let mut domains: HashMap<&str, BTreeSet<&str>> = HashMap::new();
    for row in &table.rows {
        if table.cell(row, "strategy")? == "fault_domain" {
            domains.entry(table.cell(row, "group")?).or_default().insert(table.cell(row, "domain")?);
        }
    }
    Ok(domains)
}

fn guests(text: &str) -> Result<(Vec<GuestState>, Vec<Request>), Failure> {
    let table = Table::new(text)?;
    let domains = domains(&table)?;
    let mut policies: HashMap<String, Arc<Policy>> = HashMap::new();
    let (mut guests, mut requests) = (Vec::new(), Vec::new());
    for (number, row) in table.rows.iter().enumerate() {
        let (group, domain) = (table.cell(row, "group")?, table.cell(row, "domain")?);
        let rack = || Topology::Label("rack".to_owned());
        let (workload, term) = match table.cell(row, "strategy")? {
            "affinity" => (format!("near-{group}"), Some((Side::Near, vec![format!("near-{group}")]))),
            "anti-affinity" => (format!("apart-{group}"), Some((Side::Apart, vec![format!("apart-{group}")]))),
            "fault_domain" => {
                let others = domains.get(group).into_iter().flatten().filter(|other| **other != domain);
                let names: Vec<String> = others.map(|other| format!("fault-{group}-{other}")).collect();
                (format!("fault-{group}-{domain}"), Some((Side::Apart, names)))
            }
            _ => ("plain".to_owned(), None),
        };
        let policy = policies.entry(workload.clone()).or_insert_with(|| {
            let affinity =
                term.map(|(kind, names)| Affinity { kind, workloads: names.into_iter().collect(), topology: rack() });
            Arc::new(Policy {
                affinity: affinity.into_iter().filter(|term| !term.workloads.is_empty()).collect(),
                objective: Objective::Density,
                burst: Burst::WhenFull { after: SignedDuration::ZERO, return_home: None },
                ..Policy::default()
            })
        });
        let size = [whole(table.number(row, "flavor_vcpus")?), whole(table.number(row, "flavor_ram")?)];
        let both = whole(table.number(row, "numa")?) == 2;
        let shapes: Vec<Vec<usize>> = if both { vec![vec![0, 1]] } else { vec![vec![0], vec![1]] };
        let mut variants = Vec::new();
        for nodes in shapes {
            let number = number * 2 + variants.len();
            let mut one = guest(number, workload.clone(), u32::try_from(size[0])?, Bytes::gib(size[1]), policy);
            for node in &nodes {
                for kind in 0..2 {
                    one.size.resources.insert(NODES[*node][kind].to_owned(), size[kind].div_ceil(nodes.len() as u64));
                }
            }
            variants.push(guests.len());
            guests.push(one);
        }
        // Both nodes of the hosts fill evenly when the first choice alternates.
        if number % 2 == 1 {
            variants.reverse();
        }
        requests.push(Request { variants });
    }
    Ok((guests, requests))
}

/// What became of the requests, and how long the slowest took: by the clock, and of the processor. Where other programs
/// run, the clock tells how long one of them was let in.
#[derive(Default)]
struct Placed {
    bindings: Vec<Binding>,
    left: Vec<usize>,
    slowest: Duration,
    slowest_of_processor: Duration,
}

/// The processor time that this thread has had.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

fn place(world: &World, requests: &[Request]) -> Placed {
    let mut placed = Placed::default();
    rehearse(world, |rehearsal| {
        for request in requests {
            let (start, had) = (Instant::now(), processor_time());
            let found = request.variants.iter().find_map(|guest| rehearsal.place(*guest));
            placed.slowest_of_processor = placed.slowest_of_processor.max(processor_time().saturating_sub(had));
            placed.slowest = placed.slowest.max(start.elapsed());
            match found {
                Some(binding) => placed.bindings.push(binding),
                None => placed.left.push(request.variants[0]),
            }
        }
    });
    placed
}

pub(crate) fn run(host_file: &str, rack_file: &str, request_file: &str) -> Result<serde_json::Value, Failure> {
    let capacity = hosts(&read(host_file)?, &read(rack_file)?)?;
    let (guests, requests) = guests(&read(request_file)?)?;
    let world = world(vec![pool("hall".to_owned(), 0, Pricing::default(), capacity)], guests)?;
    let mut world = world;
    world.pools[0].cpu_overcommit = 1.into();
    let start = Instant::now();
    let Placed { bindings, left, slowest, slowest_of_processor } = place(&world, &requests);
    let seconds = start.elapsed().as_secs_f64();
    let mut refused: BTreeMap<&str, usize> = BTreeMap::new();
    for guest in &left {
        *refused.entry(world.guests[*guest].workload.split('-').next().unwrap_or_default()).or_default() += 1;
    }
    let placed: BTreeSet<&str> = bindings.iter().map(|b| b.guest.as_str()).collect();
    let mut judged = world.clone();
    judged.guests = (world.guests.iter().enumerate())
        .filter(|(at, g)| placed.contains(g.uid.as_str()) || left.contains(at))
        .map(|(_, g)| g.clone())
        .collect();
    let placements = bindings.len();
    let unplaced = left.iter().map(|at| Unplaced { guest: world.guests[*at].uid.clone(), reason: Reason::NoPoolFits });
    let plan = Plan { bindings, unplaced: unplaced.collect(), ..Plan::default() };
    let broken = check(&judged, &plan);
    for violation in broken.iter().take(10) {
        println!("{violation}");
    }
    Ok(json!({
        "work": "topology",
        "seconds": seconds,
        "placements": placements,
        "unplaced": left.len(),
        "unplaced_by_kind": refused,
        "quality": f64::from(u32::try_from(placements)?) / f64::from(u32::try_from(requests.len().max(1))?),
        "quality_is": "part of the requests that got a place, one at a time and never moved",
        "slowest_request_seconds": slowest.as_secs_f64(),
        "slowest_request_processor_seconds": slowest_of_processor.as_secs_f64(),
        "broken_rules": broken.len(),
        "moves": 0,
    }))
}
