//! Repairs an overload given as a `BtrPlace` instance (JSON): hosts that promise more than they have, hosts that must go
//! off, machines that must run. Constraints that the engine has no rule for are named, not passed over.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Instant,
};

use innkeeper::{
    api::quantity::Bytes,
    plan::{
        Affinity, Bound, Capacity, GuestState, Host, MoveOptions, Options, Overhead, Policy, Pricing, Side, Topology,
        World, check::check, decide,
    },
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    Failure,
    input::read,
    mixed::{guest, host, pool, world},
};

#[derive(Deserialize)]
struct Instance {
    model: Model,
    constraints: Vec<Constraint>,
}

#[derive(Deserialize)]
struct Model {
    mapping: Mapping,
    views: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mapping {
    #[serde(rename = "readyVMs")]
    ready: Vec<u64>,
    online_nodes: BTreeMap<String, Node>,
    offline_nodes: Vec<u64>,
}

#[derive(Deserialize)]
struct Node {
    #[serde(rename = "runningVMs")]
    running: Vec<u64>,
    #[serde(rename = "sleepingVMs")]
    sleeping: Vec<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Resource {
    rc_id: String,
    #[serde(default)]
    def_consumption: u64,
    #[serde(default)]
    def_capacity: u64,
    nodes: HashMap<String, u64>,
    vms: HashMap<String, u64>,
}

#[derive(Deserialize)]
struct Constraint {
    id: String,
    rc: Option<String>,
    amount: Option<u64>,
    vm: Option<u64>,
    vms: Option<Vec<u64>>,
    node: Option<u64>,
    nodes: Option<Vec<u64>>,
}

/// What the constraints ask for, in the engine's terms.
#[derive(Default)]
struct Wanted {
    off: HashSet<u64>,
    run: HashSet<u64>,
    /// At least so much of a resource for a machine.
    preserve: HashMap<(u64, String), u64>,
    /// At most so much of a resource used on a host.
    most: HashMap<(u64, String), u64>,
    apart: HashMap<u64, BTreeSet<u64>>,
    near: HashMap<u64, BTreeSet<u64>>,
    unsupported: BTreeMap<String, usize>,
}

fn wanted(constraints: &[Constraint]) -> Wanted {
    let mut wanted = Wanted::default();
    for one in constraints {
        match (one.id.as_str(), one) {
            ("online" | "ready", _) => {}
            ("offline", Constraint { node: Some(node), .. }) => drop(wanted.off.insert(*node)),
            ("running", Constraint { vm: Some(vm), .. }) => drop(wanted.run.insert(*vm)),
            ("preserve", Constraint { vm: Some(vm), rc: Some(rc), amount: Some(amount), .. }) => {
                let so_far = wanted.preserve.entry((*vm, rc.clone())).or_default();
                *so_far = (*so_far).max(*amount);
            }
            ("resourceCapacity", Constraint { nodes: Some(nodes), rc: Some(rc), amount: Some(amount), .. })
                if nodes.len() == 1 =>
            {
                let so_far = wanted.most.entry((nodes[0], rc.clone())).or_insert(u64::MAX);
                *so_far = (*so_far).min(*amount);
            }
            ("spread" | "gather", Constraint { vms: Some(vms), .. }) => {
                let sets = if one.id == "spread" { &mut wanted.apart } else { &mut wanted.near };
                for vm in vms {
                    sets.entry(*vm).or_default().extend(vms.iter().filter(|other| *other != vm));
                }
            }
            (other, _) => *wanted.unsupported.entry(other.to_owned()).or_default() += 1,
        }
    }
    wanted
}

fn is_memory(resource: &str) -> bool {
    matches!(resource, "memory" | "mem")
}

fn is_cpu(resource: &str) -> bool {
    matches!(resource, "uCpu" | "ucpu" | "cpu")
}

fn make_host(node: u64, resources: &[Resource], wanted: &Wanted, online: bool) -> Result<Host, Failure> {
    let mut host = host(format!("n{node}"), Bytes::gib(1 << 20), 1 << 20);
    for resource in resources {
        let capacity = resource.nodes.get(&node.to_string()).copied().unwrap_or(resource.def_capacity);
        let most = wanted.most.get(&(node, resource.rc_id.clone())).copied().unwrap_or(u64::MAX);
        let capacity = capacity.min(most);
        match resource.rc_id.as_str() {
            rc if is_memory(rc) => host.memory = Bytes::mib(capacity),
            rc if is_cpu(rc) => host.vcpus = u32::try_from(capacity)?,
            rc => drop(host.resources.insert(rc.to_owned(), capacity)),
        }
    }
    host.enabled = online && !wanted.off.contains(&node);
    host.evacuate = !host.enabled;
    Ok(host)
}

fn make_guest(vm: u64, resources: &[Resource], wanted: &Wanted, policy: &Arc<Policy>) -> Result<GuestState, Failure> {
    let mut guest = guest(usize::try_from(vm)?, format!("vm-{vm}"), 0, Bytes(0), policy);
    for resource in resources {
        let takes = resource.vms.get(&vm.to_string()).copied().unwrap_or(resource.def_consumption);
        let least = wanted.preserve.get(&(vm, resource.rc_id.clone())).copied().unwrap_or(0);
        let takes = takes.max(least);
        match resource.rc_id.as_str() {
            rc if is_memory(rc) => guest.size.memory = Bytes::mib(takes),
            rc if is_cpu(rc) => guest.size.vcpus = u32::try_from(takes)?,
            rc => drop(guest.size.resources.insert(rc.to_owned(), takes)),
        }
    }
    let sets = [(Side::Apart, &wanted.apart), (Side::Near, &wanted.near)];
    let terms: Vec<Affinity> = sets
        .into_iter()
        .filter_map(|(kind, sets)| sets.get(&vm).filter(|others| !others.is_empty()).map(|others| (kind, others)))
        .map(|(kind, others)| Affinity {
            kind,
            workloads: others.iter().map(|other| format!("vm-{other}")).collect(),
            topology: Topology::Host,
        })
        .collect();
    if !terms.is_empty() {
        guest.policy = Arc::new(Policy { affinity: terms, ..Policy::default() });
    }
    Ok(guest)
}

fn build(text: &str) -> Result<(World, Wanted), Failure> {
    let instance: Instance = serde_json::from_str(text)?;
    let views = instance.model.views.into_iter().filter(|view| view["id"] == "shareableResource");
    let resources = views.map(serde_json::from_value::<Resource>).collect::<Result<Vec<_>, _>>()?;
    let mut wanted = wanted(&instance.constraints);
    let mapping = &instance.model.mapping;
    let policy = Arc::new(Policy::default());
    let (mut hosts, mut guests) = (Vec::new(), Vec::new());
    for (node, state) in &mapping.online_nodes {
        let number: u64 = node.parse()?;
        hosts.push(make_host(number, &resources, &wanted, true)?);
        for vm in &state.running {
            let mut guest = make_guest(*vm, &resources, &wanted, &policy)?;
            let host = Some(format!("n{number}"));
            guest.bound =
                Some(Bound { pool: "cluster".to_owned(), host, instance_type: None, zone: None, spot: false });
            guests.push(guest);
        }
        if !state.sleeping.is_empty() {
            *wanted.unsupported.entry("sleeping machines".to_owned()).or_default() += state.sleeping.len();
        }
    }
    for node in &mapping.offline_nodes {
        hosts.push(make_host(*node, &resources, &wanted, false)?);
    }
    for vm in mapping.ready.iter().filter(|vm| wanted.run.contains(vm)) {
        guests.push(make_guest(*vm, &resources, &wanted, &policy)?);
    }
    let capacity = Capacity::Hosts { hosts, overhead: Overhead::default() };
    let mut pool = pool("cluster".to_owned(), 0, Pricing::default(), capacity);
    pool.cpu_overcommit = 1.into();
    Ok((world(vec![pool], guests)?, wanted))
}

/// Hosts that promise more than they have, or that are to be emptied and are not.
fn in_need(world: &World, places: &HashMap<&str, &Bound>) -> usize {
    let Capacity::Hosts { hosts, .. } = &world.pools[0].capacity else { return 0 };
    let mut used: HashMap<&str, (u64, u64, BTreeMap<&str, u64>)> = HashMap::new();
    for guest in &world.guests {
        let Some(host) = places.get(guest.uid.as_str()).and_then(|place| place.host.as_deref()) else { continue };
        let sum = used.entry(host).or_default();
        sum.0 += guest.size.memory.0;
        sum.1 += u64::from(guest.size.vcpus);
        for (name, n) in &guest.size.resources {
            *sum.2.entry(name).or_default() += n;
        }
    }
    let needy = |host: &&Host| {
        used.get(host.name.as_str()).is_some_and(|(memory, vcpus, rest)| {
            host.evacuate
                || *memory > host.memory.0
                || *vcpus > u64::from(host.vcpus)
                || rest.iter().any(|(name, n)| *n > host.resources.get(*name).copied().unwrap_or(0))
        })
    };
    hosts.iter().filter(needy).count()
}

pub(crate) fn run(file: &str) -> Result<Value, Failure> {
    let (world, wanted) = build(&read(file)?)?;
    let moves = MoveOptions { most: usize::MAX, ..MoveOptions::default() };
    let start = Instant::now();
    let plan = decide(&world, &Options { moves, ..Options::default() });
    let seconds = start.elapsed().as_secs_f64();
    let broken = check(&world, &plan);
    for violation in broken.iter().take(10) {
        println!("{violation}");
    }
    let mut places: HashMap<&str, &Bound> =
        world.guests.iter().filter_map(|g| g.bound.as_ref().map(|b| (g.uid.as_str(), b))).collect();
    let before = in_need(&world, &places);
    places.extend(plan.bindings.iter().map(|b| (b.guest.as_str(), &b.place)));
    places.extend(plan.moves.iter().map(|step| (step.guest.as_str(), &step.to)));
    let after = in_need(&world, &places);
    let waves = plan.moves.iter().map(|step| step.wave + 1).max().unwrap_or(0);
    Ok(json!({
        "work": "btrplace",
        "seconds": seconds,
        "placements": plan.bindings.len(),
        "unplaced": plan.unplaced.len(),
        "quality": after,
        "quality_is": format!("hosts that are still overloaded or not emptied; {before} were before"),
        "broken_rules": broken.len(),
        "moves": plan.moves.len(),
        "moves_at_least": plan.repair.at_least,
        "gap": plan.repair.gap(),
        "finished": plan.repair.finished,
        "waves": waves,
        "unsupported_constraints": wanted.unsupported,
    }))
}
