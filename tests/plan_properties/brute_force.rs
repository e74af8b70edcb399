//! Every choice of places there is, judged by the independent checker.

use innkeeper::{
    api::money::Money,
    plan::{
        Binding, Bound, Capacity, Costs, GuestState, Lane, Offering, Plan, Pool, Reason, Repair, Unplaced, World,
        check::check,
    },
};
use rust_decimal::Decimal;

use crate::worlds::eur;

pub fn running(pool: &Pool, guest: &GuestState) -> Decimal {
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
pub fn everywhere(world: &World, guest: &GuestState) -> Vec<Binding> {
    let mut all = Vec::new();
    for pool in &world.pools {
        let mut add = |host: Option<&String>, offer: Option<&Offering>, lane, hourly: Money| {
            let (host, instance_type) = (host.cloned(), offer.map(|offer| offer.instance_type.clone()));
            let (spot, zone) = (offer.is_some_and(|o| o.spot), offer.and_then(|o| o.zone.clone()));
            let place = Bound { pool: pool.name.clone(), host, instance_type, zone, spot };
            all.push(Binding { guest: guest.uid.clone(), place, lane, hourly: Some(hourly) });
        };
        match &pool.capacity {
            Capacity::Hosts { hosts, .. } if pool.pricing.subscription.is_some() => {
                for h in hosts {
                    add(Some(&h.name), None, Lane::Included, eur(0));
                }
            }
            Capacity::Hosts { hosts, .. } => {
                let price = Money::new(running(pool, guest), world.currency);
                for h in hosts {
                    add(Some(&h.name), None, Lane::Owned, price);
                }
            }
            Capacity::Offerings(list) => {
                for offering in list {
                    if pool.pricing.subscription.is_some() {
                        add(None, Some(offering), Lane::Included, eur(0));
                    }
                    add(None, Some(offering), Lane::Paid, offering.hourly);
                }
            }
        }
    }
    all
}

pub fn plan_of(world: &World, bindings: Vec<Binding>) -> Plan {
    let bound = |uid: &str| bindings.iter().any(|b| b.guest == uid);
    let unplaced = world
        .guests
        .iter()
        .filter(|g| !bound(&g.uid))
        .map(|g| Unplaced { guest: g.uid.clone(), reason: Reason::NoPoolFits });
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
        repair: Repair::default(),
    }
}

/// Guests without a place of priority 1 and 0, paid and running cost of an hour.
pub fn worth(world: &World, plan: &Plan) -> (usize, usize, Decimal, Decimal) {
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

pub fn brute_force(world: &World) -> (usize, usize, Decimal, Decimal) {
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

pub fn try_all(
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
