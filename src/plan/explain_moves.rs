//! Puts moves into words, and why a guest that ought to leave has to stay.

use super::{
    candidate::Ask,
    class::Choice,
    explain::{REJECTED_LIMIT, bounded, class_guest, not_placed, smallest_change},
    ledger::{Ledger, Place},
    model::Model,
    outcome::{Cause, Explanation, How, Move, Reason, Rejected},
    repair::{Change, Changes, may_pay},
    request::Bound,
    rule::{Failure, PaidFrom, Rule},
    shortage::effort,
    solver::paid_from_of,
};

/// Explains the guests that are to move, and those that ought to and cannot.
pub(super) fn moves(ledger: &Ledger<'_, '_>, changes: &Changes, moves: &[Move]) -> Vec<Explanation> {
    let model = ledger.model;
    let going = moves.iter().map(|step| {
        let how = match step.how {
            How::Live => "To be moved live",
            How::Recreate => "To be removed and made anew, going",
            How::Proposed => "Proposed to be moved",
        };
        let of_guest = |change: &&Change| model.guest(change.guest).uid == step.guest;
        let why = match changes.list.iter().find(of_guest) {
            Some(change) => why(model, step.cause, change.guest, change.from.pool),
            None => step.cause.to_string(),
        };
        let text = format!("{how} from {} to {}: {why}", name(&step.from), name(&step.to));
        told(step.guest.clone(), Reason::ToBeMoved, text)
    });
    let stuck = changes.stuck.iter().filter_map(|&(guest, cause)| {
        let from = ledger.place_of(guest)?;
        let rejected = nowhere(ledger, guest, from, cause);
        let why = why(model, cause, guest, from.pool);
        let nowhere = if rejected.is_empty() { "no other place fits".into() } else { not_placed(&rejected) };
        let text = format!("Has to stay although {why}; {nowhere}");
        let mut told = told(class_guest(ledger, guest), Reason::CannotLeave, text);
        told.smallest_change = smallest_change(&rejected);
        told.rejected_more = rejected.len().saturating_sub(REJECTED_LIMIT);
        told.rejected = rejected.into_iter().take(REJECTED_LIMIT).collect();
        Some(told)
    });
    going.chain(stuck).collect()
}

fn told(guest: String, reason: Reason, message: String) -> Explanation {
    Explanation {
        guest,
        reason,
        message: bounded(message),
        score: Vec::new(),
        runner_up: None,
        broken_wishes: Vec::new(),
        rejected: Vec::new(),
        rejected_more: 0,
        smallest_change: None,
    }
}

fn name(place: &Bound) -> String {
    let rest = place.host.iter().chain(&place.instance_type).map(|part| format!("/{part}"));
    format!("{}{}", place.pool, rest.collect::<String>())
}

/// The cause in words; where a rule is broken, which.
fn why(model: &Model<'_>, cause: Cause, guest: u32, pool: u32) -> String {
    let statics = &model.statics[model.class(guest).statics as usize];
    let failures = statics.rejected.iter().filter(|(p, _)| *p == pool).flat_map(|(_, failures)| failures);
    let broken: Vec<&str> =
        failures.filter(|f| f.rule.binds_residents() || f.rule == Rule::Taint).map(|f| f.short.as_str()).collect();
    if cause == Cause::BrokenRule && !broken.is_empty() {
        return format!("{cause} ({})", broken.join(", "));
    }
    cause.to_string()
}

/// Why there is no other place for a guest, pool by pool, nearest to fitting first.
fn nowhere(ledger: &Ledger<'_, '_>, guest: u32, from: Place, cause: Cause) -> Vec<Rejected> {
    let model = ledger.model;
    let class = model.class(guest);
    let paid = if may_pay(model, guest, from, cause) { PaidFrom::Now } else { paid_from_of(model, guest) };
    let judge = |choice: &Choice, known: &[Failure]| {
        let own = (choice.pool == from.pool).then_some(from.pool);
        let question = Ask { guest, paid: paid == PaidFrom::Now, pool: own, not_host: from.host };
        let mut failures = known.to_vec();
        // What is wrong with its own pool is known; of room there nothing more need be said.
        if own.is_none() || known.is_empty() {
            failures.extend(ledger.shortages(question, class, choice, paid));
        }
        if failures.is_empty() && own.is_some() && !model.guest(guest).movable {
            let short = "it cannot be moved while it runs".to_owned();
            failures.push(Failure::new(Rule::Bound, "movable", "not movable", short));
        }
        let pool = model.world_pool(choice.pool).name.clone();
        (!failures.is_empty()).then_some(Rejected { pool, failures })
    };
    let statics = &model.statics[class.statics as usize];
    let allowed = class.choices(model).iter().filter_map(|choice| judge(choice, &[]));
    let others = statics.rejected.iter().filter_map(|(pool, failures)| judge(&class.choice(model, *pool, 0), failures));
    let mut rejected: Vec<Rejected> = allowed.chain(others).collect();
    rejected.sort_by(|a, b| (effort(&a.failures), &a.pool).cmp(&(effort(&b.failures), &b.pool)));
    rejected
}
