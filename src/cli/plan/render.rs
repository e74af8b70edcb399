//! A plan for people. Pure.

use std::collections::HashMap;

use crate::{
    api::money::{HOURS_PER_MONTH, Money},
    cli::table,
    plan::{Binding, Bound, Plan, Reason},
};

/// The plan with guests by NAMESPACE/NAME in place of their UIDs, which nobody knows by heart.
pub(super) fn named(mut plan: Plan, names: &HashMap<String, String>) -> Plan {
    let rename = |uid: &mut String| {
        if let Some(name) = names.get(uid) {
            uid.clone_from(name);
        }
    };
    plan.bindings.iter_mut().for_each(|binding| rename(&mut binding.guest));
    plan.unplaced.iter_mut().for_each(|unplaced| rename(&mut unplaced.guest));
    plan.moves.iter_mut().for_each(|step| rename(&mut step.guest));
    plan.explanations.iter_mut().for_each(|explanation| rename(&mut explanation.guest));
    plan.home_room.iter_mut().for_each(rename);
    plan
}

/// What would be decided, in lines.
pub(super) fn render(plan: &Plan, guests: usize) -> String {
    if guests == 0 {
        return "There are no guests to place.\n".to_owned();
    }
    let mut text = table(plan) + &moves(plan);
    if plan.explanations.is_empty() && plan.moves.is_empty() {
        text += "Every guest has a place, and none would be better elsewhere.\n";
    }
    let money = |money: Option<Money>| {
        money.map_or_else(
            || "unknown".to_owned(),
            |Money { amount, currency }| {
                let month = (amount.0 * HOURS_PER_MONTH).round_dp(2);
                format!("{} {currency} an hour ({month:.2} a month)", amount.0.round_dp(6).normalize())
            },
        )
    };
    text += &format!(
        "{} placed now, {} without a place, {} to be moved, of {guests} guests\n",
        plan.bindings.len(),
        plan.unplaced.len(),
        plan.moves.len(),
    );
    let [before, after] = [&plan.cost_before, &plan.cost_after].map(|costs| money(costs.marginal));
    text += &if before == after {
        format!("the guests cost {before}\n")
    } else {
        format!("the guests cost {before} now, {after} then\n")
    };
    text
}

fn table(plan: &Plan) -> String {
    let bindings: HashMap<&str, &Binding> =
        plan.bindings.iter().map(|binding| (binding.guest.as_str(), binding)).collect();
    let mut rows = vec![["GUEST", "POOL", "HOST OR TYPE", "HOURLY", "WHY"].map(str::to_owned)];
    let mut changes = String::new();
    for explanation in &plan.explanations {
        let dash = || "-".to_owned();
        let binding = bindings.get(explanation.guest.as_str());
        let place = binding.map(|binding| &binding.place);
        rows.push([
            explanation.guest.clone(),
            place.map_or_else(dash, |place| place.pool.clone()),
            place.and_then(|place| place.host.clone().or(place.instance_type.clone())).unwrap_or_else(dash),
            binding.and_then(|binding| binding.hourly).map_or_else(dash, |hourly| hourly.to_string()),
            explanation.message.clone(),
        ]);
        let stuck = matches!(explanation.reason, Reason::NoPoolFits | Reason::WaitingForRoom | Reason::CannotLeave);
        if let Some(change) = explanation.smallest_change.as_ref().filter(|_| stuck) {
            changes += &format!("{} would fit with the least change so: {}\n", explanation.guest, table::plain(change));
        }
    }
    if rows.len() == 1 { changes } else { table::render(&rows) + &changes }
}

fn moves(plan: &Plan) -> String {
    let place = |bound: &Bound| match bound.host.as_ref().or(bound.instance_type.as_ref()) {
        Some(within) => format!("{}/{within}", bound.pool),
        None => bound.pool.clone(),
    };
    let line = |step: &crate::plan::Move| {
        let (guest, from, to) = (&step.guest, place(&step.from), place(&step.to));
        table::plain(&format!(
            "move {guest} from {from} to {to} ({:?}, {:?}, wave {})",
            step.cause, step.how, step.wave
        )) + "\n"
    };
    plan.moves.iter().map(line).collect()
}

#[cfg(test)]
#[path = "render_tests.rs"]
mod tests;
