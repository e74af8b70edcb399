//! The checker's own reading of the rules about other guests: spread, affinity, dedicated hosts.

use std::collections::{HashMap, HashSet};

use super::{
    check::Situation,
    check_static::pool_allows,
    inventory::Capacity,
    request::{Isolation, Side, Topology, WhenUnsatisfiable},
};

/// A place of a topology by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Domain<'a> {
    Host(&'a str, &'a str),
    Named(&'a str),
    /// A machine of its own.
    Alone(usize),
}

/// Who is where: guests of a workload by place.
type Counts<'a> = HashMap<Domain<'a>, Vec<usize>>;

/// Which rules are asked for.
pub(super) struct Asked {
    /// Spread and nearness: judged when a guest is placed or moved at will.
    all: bool,
}

impl Asked {
    pub(super) const ALL: Self = Self { all: true };
    pub(super) const APART: Self = Self { all: false };
}

/// Judges the fresh guests of the situation by those around them.
pub(super) fn neighbours(situation: &mut Situation<'_>, asked: &Asked) {
    if asked.all {
        spreads(situation);
    }
    affinities(situation, asked);
    dedicated(situation);
}

fn domain<'a>(situation: &Situation<'a>, topology: &Topology, at: usize) -> Option<Domain<'a>> {
    let place = situation.places[at]?;
    let pool = situation.pools.get(place.pool.as_str())?;
    let host = place.host.as_ref().and_then(|host| situation.hosts.get(&(place.pool.as_str(), host.as_str())));
    match topology {
        Topology::Host => Some(match host {
            Some(host) => Domain::Host(&pool.name, &host.name),
            None => Domain::Alone(at),
        }),
        Topology::Pool => Some(Domain::Named(&pool.name)),
        Topology::Jurisdiction => pool.jurisdiction.as_deref().map(Domain::Named),
        Topology::Label(key) => {
            host.and_then(|h| h.labels.get(key)).or_else(|| pool.labels.get(key)).map(|value| Domain::Named(value))
        }
    }
}

/// Every place that a guest could go to were there room.
fn eligible<'a>(situation: &Situation<'a>, topology: &Topology, at: usize) -> HashSet<Domain<'a>> {
    let guest = &situation.world.guests[at];
    let mut places = HashSet::new();
    for pool in situation.world.pools.iter().filter(|p| pool_allows(p, guest, situation.world.now).is_empty()) {
        let of_pool = match topology {
            Topology::Host => None,
            Topology::Pool => Some(pool.name.as_str()),
            Topology::Jurisdiction => pool.jurisdiction.as_deref(),
            Topology::Label(key) => pool.labels.get(key).map(String::as_str),
        };
        match &pool.capacity {
            Capacity::Hosts { hosts, .. } if !hosts.is_empty() => {
                for host in hosts.iter().filter(|h| h.enabled && !h.evacuate) {
                    match topology {
                        Topology::Host => places.insert(Domain::Host(&pool.name, &host.name)),
                        Topology::Label(key) => match host.labels.get(key).map(String::as_str).or(of_pool) {
                            Some(value) => places.insert(Domain::Named(value)),
                            None => false,
                        },
                        _ => of_pool.is_some_and(|name| places.insert(Domain::Named(name))),
                    };
                }
            }
            _ => {
                places.extend(of_pool.map(Domain::Named));
            }
        }
    }
    places
}

fn by_workload<'a>(situation: &Situation<'a>) -> HashMap<(&'a str, &'a str), Vec<usize>> {
    let mut all: HashMap<_, Vec<usize>> = HashMap::new();
    for (at, guest) in situation.world.guests.iter().enumerate() {
        if situation.places[at].is_some() {
            all.entry((guest.namespace.as_str(), guest.workload.as_str())).or_default().push(at);
        }
    }
    all
}

fn counts<'a>(situation: &Situation<'a>, topology: &Topology, guests: &[usize]) -> Counts<'a> {
    let mut counts = Counts::new();
    for &at in guests {
        if let Some(domain) = domain(situation, topology, at) {
            counts.entry(domain).or_default().push(at);
        }
    }
    counts
}

fn spreads(situation: &mut Situation<'_>) {
    for (_, guests) in by_workload(situation) {
        // One of each policy: the places that a spread is measured over depend on it.
        let mut seen = HashSet::new();
        for &at in &guests {
            let guest = &situation.world.guests[at];
            if !situation.fresh[at] || !seen.insert((&guest.policy, &guest.excluded, &guest.image)) {
                continue;
            }
            for spread in &guest.policy.spread {
                if spread.when_unsatisfiable == WhenUnsatisfiable::ScheduleAnyway {
                    continue;
                }
                let counts = counts(situation, &spread.topology, &guests);
                let open = eligible(situation, &spread.topology, at);
                let least = open.iter().map(|d| counts.get(d).map_or(0, Vec::len)).min().unwrap_or(0);
                let most = least + spread.max_skew.max(1) as usize;
                let broken =
                    counts.values().any(|there| there.len() > most && there.iter().any(|at| situation.fresh[*at]));
                let nowhere =
                    guests.iter().any(|at| situation.fresh[*at] && domain(situation, &spread.topology, *at).is_none());
                if broken || nowhere {
                    situation.say(&guest.workload, format!("spread over {:?} broken", spread.topology));
                }
            }
        }
    }
}

fn affinities(situation: &mut Situation<'_>, asked: &Asked) {
    let workloads = by_workload(situation);
    let none = Vec::new();
    for ((namespace, _), guests) in &workloads {
        let mut seen = HashSet::new();
        for &at in guests {
            let guest = &situation.world.guests[at];
            for term in &guest.policy.affinity {
                if !seen.insert(term) || (term.kind == Side::Near && !asked.all) {
                    continue;
                }
                let holders: Vec<usize> = guests
                    .iter()
                    .copied()
                    .filter(|g| situation.world.guests[*g].policy.affinity.contains(term))
                    .collect();
                let targets: Vec<usize> = term
                    .workloads
                    .iter()
                    .flat_map(|name| workloads.get(&(*namespace, name.as_str())).unwrap_or(&none))
                    .copied()
                    .collect();
                let near = counts(situation, &term.topology, &targets);
                let what = match term.kind {
                    Side::Near => far_from(situation, &term.topology, &holders, &near, targets.len()),
                    Side::Apart => together(situation, &term.topology, &holders, &targets),
                };
                for at in what {
                    let uid = &situation.world.guests[at].uid;
                    situation.say(uid, format!("{:?} over {:?} broken", term.kind, term.topology));
                }
            }
        }
    }
}

/// Fresh holders that have none of the targets, other than themselves, in their place, though there are others.
fn far_from(
    situation: &Situation<'_>,
    topology: &Topology,
    holders: &[usize],
    near: &Counts<'_>,
    targets: usize,
) -> Vec<usize> {
    let is_far = |at: &usize| {
        let Some(domain) = domain(situation, topology, *at) else { return true };
        let there = near.get(&domain).map_or(&[][..], |g| &g[..]);
        let own = there.contains(at);
        let others = there.len() - usize::from(own);
        others == 0 && !(own && targets == 1)
    };
    holders.iter().copied().filter(|at| situation.fresh[*at] && is_far(at)).collect()
}

/// Pairs of a holder and a target in one place, or of whom that cannot be told, of which one is fresh.
fn together(situation: &Situation<'_>, topology: &Topology, holders: &[usize], targets: &[usize]) -> Vec<usize> {
    let places: Vec<_> = targets.iter().map(|at| (*at, domain(situation, topology, *at))).collect();
    let is_beside = |at: usize| {
        let own = domain(situation, topology, at);
        places.iter().any(|(other, place)| {
            let is_new = situation.fresh[at] || situation.fresh[*other];
            *other != at && is_new && (own.is_none() || place.is_none() || own == *place)
        })
    };
    holders.iter().copied().filter(|at| is_beside(*at)).collect()
}

fn dedicated(situation: &mut Situation<'_>) {
    let mut on_host: HashMap<(&str, &str), Vec<usize>> = HashMap::new();
    for (at, place) in situation.places.iter().enumerate() {
        if let Some((place, host)) = place.and_then(|p| p.host.as_ref().map(|host| (p, host))) {
            on_host.entry((&place.pool, host)).or_default().push(at);
        }
    }
    for (host, guests) in on_host {
        let of = |at: usize| &situation.world.guests[at];
        let wants = guests.iter().any(|at| of(*at).policy.isolation == Isolation::DedicatedHost);
        let wants_fresh =
            guests.iter().any(|at| situation.fresh[*at] && of(*at).policy.isolation == Isolation::DedicatedHost);
        let tenants: HashSet<_> = guests.iter().map(|at| &of(*at).namespace).collect();
        let fresh = guests.iter().any(|at| situation.fresh[*at]);
        let foreign = situation.hosts.get(&host).is_some_and(|h| h.foreign_guests != Some(0));
        if (wants && fresh && tenants.len() > 1) || (wants_fresh && foreign) {
            situation.say(host.1, "dedicated host shared");
        }
    }
}
