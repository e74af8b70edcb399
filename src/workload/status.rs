//! A workload's status: the sum of its guests. Pure; written only when it differs.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;
use rust_decimal::Decimal;

use super::decide::{Plan, owned};
use crate::api::{
    Guest, VirtualWorkload, VirtualWorkloadStatus,
    condition::{self, Claim, Kind, Status},
    money::{Currency, HOURS_PER_MONTH, Money},
    names::WORKLOAD_LABEL,
    virtual_workload::PoolShare,
};

/// What the status should be. `failed`: why the plan could not be carried out.
#[must_use]
pub fn status(
    workload: &VirtualWorkload,
    guests: &[Arc<Guest>],
    plan: &Plan,
    failed: Option<&str>,
    now: Timestamp,
) -> VirtualWorkloadStatus {
    let own: Vec<&Guest> = guests.iter().map(|guest| &**guest).filter(|guest| owned(workload, guest)).collect();
    let old = workload.status.as_ref().map_or(&[][..], |status| &status.conditions);
    let placements = placements(&own);
    VirtualWorkloadStatus {
        observed_generation: workload.metadata.generation,
        replicas: count(own.len()),
        ready_replicas: count(ready(&own, plan)),
        selector: Some(format!("{WORKLOAD_LABEL}={}", workload.name_any())),
        summary: summary(&own, &placements),
        monthly_cost: monthly(&placements),
        conditions: condition::merge(old, &claims(workload, &own, plan, failed), workload.metadata.generation, now),
        placements,
    }
}

/// Whether a status is to be written at once, if it is: because of a new spec, or because the answer to a question changed.
#[must_use]
pub fn is_turn(old: Option<&VirtualWorkloadStatus>, new: &VirtualWorkloadStatus) -> bool {
    let Some(old) = old else { return true };
    let answers = |status: &VirtualWorkloadStatus| -> Vec<(String, String, String)> {
        let answer = |c: &Condition| (c.type_.clone(), c.status.clone(), c.reason.clone());
        status.conditions.iter().map(answer).collect()
    };
    old == new || old.observed_generation != new.observed_generation || answers(old) != answers(new)
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn conditions(guest: &Guest) -> &[Condition] {
    guest.status.as_ref().map_or(&[], |status| &status.conditions)
}

pub(super) fn is_ready(guest: &Guest) -> bool {
    let current = guest.status.as_ref().is_some_and(|status| status.observed_generation == guest.metadata.generation);
    current && guest.metadata.deletion_timestamp.is_none() && condition::is_true(conditions(guest), Kind::Ready)
}

/// How many guests are as they should be. One that was told something new in this run has not looked at it yet, whatever it
/// said before: what we hold of it is older than what we wrote.
fn ready(guests: &[&Guest], plan: &Plan) -> usize {
    let told: HashSet<&str> = plan.update.iter().filter_map(|(guest, _)| guest.metadata.uid.as_deref()).collect();
    let is_told = |guest: &Guest| guest.metadata.uid.as_deref().is_some_and(|uid| told.contains(uid));
    guests.iter().filter(|guest| is_ready(guest) && !is_told(guest)).count()
}

/// The pool a guest is bound to, if the binding is still valid.
fn pool(guest: &Guest) -> Option<&str> {
    guest.binding().map(|binding| binding.pool.as_str())
}

fn placements(guests: &[&Guest]) -> Vec<PoolShare> {
    let mut shares: BTreeMap<&str, PoolShare> = BTreeMap::new();
    for guest in guests {
        let Some(pool) = pool(guest) else { continue };
        let share =
            shares.entry(pool).or_insert_with(|| PoolShare { pool: pool.to_owned(), guests: 0, hourly_cost: None });
        share.guests += 1;
        let cost = guest.status.as_ref().and_then(|status| status.hourly_cost);
        share.hourly_cost = match (share.hourly_cost, cost) {
            // A pool has one currency.
            (Some(sum), Some(cost)) => Some(Money::new(sum.amount.0 + cost.amount.0, cost.currency)),
            (sum, cost) => cost.or(sum),
        };
    }
    shares.into_values().collect()
}

fn summary(guests: &[&Guest], placements: &[PoolShare]) -> Option<String> {
    let unplaced = guests.iter().filter(|guest| pool(guest).is_none()).count();
    let mut parts: Vec<String> = placements.iter().map(|share| format!("{} {}", share.pool, share.guests)).collect();
    if unplaced > 0 {
        parts.push(format!("unplaced {unplaced}"));
    }
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn monthly(placements: &[PoolShare]) -> Option<String> {
    let mut sums: BTreeMap<Currency, Decimal> = BTreeMap::new();
    for cost in placements.iter().filter_map(|share| share.hourly_cost) {
        *sums.entry(cost.currency).or_default() += cost.amount.0 * HOURS_PER_MONTH;
    }
    let parts: Vec<String> = sums.iter().map(|(currency, sum)| format!("{:.2} {currency}", sum.round_dp(2))).collect();
    (!parts.is_empty()).then(|| parts.join(" + "))
}

fn claims(workload: &VirtualWorkload, guests: &[&Guest], plan: &Plan, failed: Option<&str>) -> Vec<Claim> {
    let wanted = workload.spec.replicas as usize;
    let placed = guests.iter().filter(|guest| pool(guest).is_some()).count();
    let ready = ready(guests, plan);
    let mut claims = vec![placed_claim(guests, placed, wanted)];
    claims.extend(compliant(guests));
    claims.extend(within_budget(workload, guests));
    let blocked = match (plan.taken.first(), failed) {
        (Some(name), _) => Some(("NameTaken", Kind::Stalled, taken(name))),
        (None, Some(why)) => Some(("GuestsNotWritten", Kind::Reconciling, format!("{why}; it is tried again"))),
        (None, None) => None,
    };
    if let Some((reason, kind, message)) = blocked {
        claims.extend([Claim::no(Kind::Ready, reason, message.clone()), Claim::yes(kind, reason, message)]);
        return claims;
    }
    if plan.kept > 0 {
        let holds: Vec<&str> = workload.spec.holds.iter().map(|hold| hold.name.as_str()).collect();
        let message = format!(
            "{} guests are to go and stay, as spec.holds has {}: take the hold out to let them go, or set replicas to {}",
            plan.kept,
            holds.join(", "),
            guests.len()
        );
        claims.push(Claim::no(Kind::Ready, "ScaleInHeld", message.clone()));
        claims.push(Claim::yes(Kind::Stalled, "ScaleInHeld", message));
        return claims;
    }
    if ready == wanted && guests.len() == wanted {
        claims.push(Claim::yes(Kind::Ready, "AllReady", format!("all {wanted} guests are as they should be")));
        return claims;
    }
    let message = match guests.iter().find_map(|guest| trouble(guest)) {
        Some(trouble) => format!("{ready} of {wanted} guests are ready; {trouble}"),
        None if guests.len() > wanted => format!("{} guests are leaving", guests.len() - wanted),
        None => format!("{ready} of {wanted} guests are ready"),
    };
    let reason = if guests.len() > wanted { "ScalingIn" } else { "GuestsNotReady" };
    claims.push(Claim::no(Kind::Ready, reason, message.clone()));
    let stalled = guests.iter().any(|guest| condition::is_true(conditions(guest), Kind::Stalled));
    claims.push(Claim::yes(if stalled { Kind::Stalled } else { Kind::Reconciling }, reason, message));
    claims
}

fn taken(name: &str) -> String {
    format!(
        "a Guest {name} is there that is not of this VirtualWorkload (`kubectl get guest {name} -o yaml` tells whose): \
         delete that Guest and its VM, or give the workload another name"
    )
}

fn placed_claim(guests: &[&Guest], placed: usize, wanted: usize) -> Claim {
    if placed >= wanted {
        return Claim::yes(Kind::Placed, "Placed", format!("all {wanted} guests have a pool"));
    }
    let why = guests.iter().filter(|guest| pool(guest).is_none()).find_map(|guest| {
        let placed = condition::find(conditions(guest), Kind::Placed)?;
        Some((placed.reason.clone(), format!("{}: {}", guest.name_any(), placed.message)))
    });
    let (reason, first) = why.unwrap_or_else(|| ("NotPlacedYet".to_owned(), "they are being placed".to_owned()));
    Claim::no(Kind::Placed, reason, format!("{placed} of {wanted} guests have a pool; {first}"))
}

/// Guests that live where they may not.
fn compliant(guests: &[&Guest]) -> Option<Claim> {
    let mut all = guests.iter().filter_map(|guest| {
        let compliant = condition::find(conditions(guest), Kind::Compliant);
        Some((guest.name_any(), compliant.filter(|compliant| compliant.status == "False")?))
    });
    let (name, first) = all.next()?;
    let number = all.count() + 1;
    let message = format!("{number} of {} guests live where they may not; {name}: {}", guests.len(), first.message);
    Some(Claim::no(Kind::Compliant, first.reason.clone(), message))
}

/// What the guests cost, against what they may.
fn within_budget(workload: &VirtualWorkload, guests: &[&Guest]) -> Option<Claim> {
    let budget = workload.spec.placement.as_ref()?.monthly_budget?;
    let placed = guests.iter().filter(|guest| pool(guest).is_some());
    let costs: Vec<Option<Money>> =
        placed.map(|guest| guest.status.as_ref().and_then(|status| status.hourly_cost)).collect();
    let same = |cost: &Option<Money>| cost.filter(|cost| cost.currency == budget.currency);
    let known: Vec<Money> = costs.iter().filter_map(same).collect();
    if known.len() < costs.len() {
        let message =
            format!("what {} of the guests cost is not known in {}", costs.len() - known.len(), budget.currency);
        return Some(Claim::new(Kind::WithinBudget, Status::Unknown, "PriceUnknown", message));
    }
    let sum = known.iter().map(|cost| cost.amount.0 * HOURS_PER_MONTH).sum::<Decimal>();
    let message = format!("{:.2} of {} a month", sum.round_dp(2), budget);
    Some(if sum <= budget.amount.0 {
        Claim::yes(Kind::WithinBudget, "WithinBudget", message)
    } else {
        let then = "prices have risen: nobody is put out for that, raise the budget or scale in";
        Claim::no(Kind::WithinBudget, "OverBudget", format!("{message}; {then}"))
    })
}

/// What is wrong with a guest, in a sentence.
fn trouble(guest: &Guest) -> Option<String> {
    let ready = condition::find(conditions(guest), Kind::Ready).filter(|ready| ready.status != "True")?;
    Some(format!("{}: {}", guest.name_any(), ready.message))
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
