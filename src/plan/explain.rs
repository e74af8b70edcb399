//! Puts a decision into words for status, conditions, events and the command line; bounded in size whatever the world.

use std::{collections::HashMap, fmt::Write as _, rc::Rc};

use super::{
    candidate::Candidate,
    class::{Choice, Class, avoided},
    cost::decimal,
    ledger::Ledger,
    model::NONE,
    outcome::{Explanation, Lane, Reason, Rejected, RunnerUp, Term},
    request::Objective,
    rule::{Failure, PaidFrom, Rule},
    shortage::effort,
    solver::{Decided, ask},
};

/// Most bytes of a message.
pub const MESSAGE_LIMIT: usize = 1024;
/// Most pools that are listed as out of the question.
pub const REJECTED_LIMIT: usize = 8;

/// Every pool that is out of the question for guests that are alike.
struct Verdict {
    /// Nearest to fitting first.
    rejected: Vec<Rejected>,
}

/// Explains the guests of one plan; what is the same for guests that are alike is worked out once.
pub(super) struct Explainer<'l, 'm, 'w> {
    ledger: &'l Ledger<'m, 'w>,
    verdicts: HashMap<(u32, bool, Option<u32>), Rc<Verdict>>,
}

impl<'l, 'm, 'w> Explainer<'l, 'm, 'w> {
    /// Explains by the ledger as it is after the plan.
    pub(super) fn new(ledger: &'l Ledger<'m, 'w>) -> Self {
        Self { ledger, verdicts: HashMap::new() }
    }

    pub(super) fn explain(&mut self, one: &Decided) -> Explanation {
        let verdict = self.verdict(one);
        let class = self.ledger.model.class(one.guest);
        let at = one.best.map(|best| &*self.ledger.model.world_pool(best.place.pool).name);
        // A place that had room when it was second best may have been given away since.
        let next = one.runner_up.map(|next| &*self.ledger.model.world_pool(next.place.pool).name);
        let rejected = verdict.rejected.iter().filter(|r| Some(&*r.pool) != at && Some(&*r.pool) != next);
        let listed: Vec<_> = rejected.clone().take(REJECTED_LIMIT).cloned().collect();
        let rejected_more = rejected.count() - listed.len();
        let (reason, message, smallest_change) = match &one.best {
            Some(best) => (Reason::Placed, self.placed(best, one.runner_up.as_ref()), None),
            None => {
                (why_not(&verdict, one.paid_from), not_placed(&verdict.rejected), smallest_change(&verdict.rejected))
            }
        };
        Explanation {
            guest: class_guest(self.ledger, one.guest),
            reason,
            message: bounded(message),
            score: one.best.map(|best| self.score(&best)).unwrap_or_default(),
            runner_up: one.best.zip(one.runner_up).map(|(best, next)| RunnerUp {
                place: super::bound(self.ledger.model, next.place),
                margin: self.margin(class, &best, &next),
            }),
            broken_wishes: one.best.map(|best| self.broken_wishes(class, &best)).unwrap_or_default(),
            rejected: listed,
            rejected_more,
            smallest_change,
        }
    }

    fn verdict(&mut self, one: &Decided) -> Rc<Verdict> {
        let model = self.ledger.model;
        let ask = ask(model, one.guest);
        let key = (model.class_of[one.guest as usize], ask.paid, ask.pool);
        if let Some(known) = self.verdicts.get(&key) {
            return Rc::clone(known);
        }
        let class = model.class(one.guest);
        let statics = &model.statics[class.statics as usize];
        let mut rejected: Vec<Rejected> = Vec::new();
        let mut judge = |choice: &Choice, mut failures: Vec<Failure>| {
            let name = &model.world_pool(choice.pool).name;
            if let Some(bound) = ask.pool.filter(|bound| *bound != choice.pool) {
                let home = &model.world_pool(bound).name;
                let short = format!("not where it is bound to ({home})");
                failures.push(Failure::new(Rule::Bound, home, name, short));
            }
            failures.extend(self.ledger.shortages(ask, class, choice, one.paid_from));
            if !failures.is_empty() {
                rejected.push(Rejected { pool: name.clone(), failures });
            }
        };
        for choice in class.choices(model) {
            judge(choice, Vec::new());
        }
        for (pool, failures) in &statics.rejected {
            judge(&class.choice(model, *pool, 0), failures.clone());
        }
        rejected.sort_by(|a, b| (effort(&a.failures), &a.pool).cmp(&(effort(&b.failures), &b.pool)));
        let verdict = Rc::new(Verdict { rejected });
        self.verdicts.insert(key, Rc::clone(&verdict));
        verdict
    }

    /// `Placed on london/host-2: owned, 0.012 EUR/h marginal; next best aws-eu-west-1 (t3.medium, 0.0456 EUR/h)`.
    fn placed(&self, best: &Candidate, runner_up: Option<&Candidate>) -> String {
        let model = self.ledger.model;
        let place = super::bound(model, best.place);
        let mut text = format!("Placed on {}", place.pool);
        if let Some(host) = &place.host {
            let _ = write!(text, "/{host}");
        }
        if let Some(instance_type) = &place.instance_type {
            let spot = if place.spot { ", spot" } else { "" };
            let _ = write!(text, " ({instance_type}{spot})");
        }
        let _ = write!(text, ": {}, {}", best.place.lane, self.price(best));
        if best.place.lane != Lane::Paid {
            text.push_str(" marginal");
        }
        match runner_up {
            Some(next) => {
                let at = super::bound(model, next.place);
                let what = at.instance_type.map(|t| format!("{t}, ")).unwrap_or_default();
                let _ = write!(text, "; next best {} ({what}{})", at.pool, self.price(next));
            }
            None => text.push_str("; no other pool fits"),
        }
        text
    }

    fn price(&self, of: &Candidate) -> String {
        if of.key.unpriced {
            return "price unknown".into();
        }
        // A millionth is enough for people.
        format!("{} {}/h", decimal(of.running).round_dp(6).normalize(), self.ledger.model.rates.currency())
    }

    fn score(&self, best: &Candidate) -> Vec<Term> {
        let price = if best.key.unpriced { "unknown".into() } else { self.price(best) };
        let mut terms = vec![Term { name: "price", value: price }];
        if best.wishes > 0 {
            terms.push(Term { name: "unfulfilled wishes", value: format!("{} %", best.wishes) });
        }
        if best.place.host != NONE {
            terms.push(Term { name: "left over", value: permille(best.leftover) });
        }
        terms
    }

    /// The first term that decides between the two.
    fn margin(&self, class: &Class<'_>, best: &Candidate, next: &Candidate) -> Term {
        let currency = self.ledger.model.rates.currency();
        let money = |nanos: i64| format!("{} {currency}/h", decimal(nanos));
        if best.key.unpriced != next.key.unpriced {
            return Term { name: "price", value: "unknown".into() };
        }
        if best.key.paid != next.key.paid {
            return Term { name: "paid by the hour", value: money(next.key.paid - best.key.paid) };
        }
        if best.place.lane != next.place.lane {
            return Term { name: "lane", value: next.place.lane.to_string() };
        }
        let names = match class.guest.policy.objective {
            Objective::Cost => ["running cost with wishes", "wishes", "left over"],
            Objective::Performance => ["wishes", "left over", "running cost"],
            Objective::Density if class.near.is_empty() => ["wishes", "room for others", "emptier"],
            Objective::Density => ["wishes", "left over", "emptier"],
        };
        let at = (0..3).find(|t| best.key.terms[*t] != next.key.terms[*t]);
        let Some(at) = at else { return Term { name: "order", value: "equal; the first in order".into() } };
        let by = next.key.terms[at] - best.key.terms[at];
        let value = match names[at] {
            "running cost" | "running cost with wishes" => money(by),
            "wishes" => format!("{by} %"),
            "room for others" => "it takes more room from guests of the usual shape, or begins an empty host".into(),
            "emptier" => "a host with more memory left, or occupied later, or empty".into(),
            "left over" if !class.near.is_empty() => "room beside it, or a looser fit".into(),
            _ => permille(by),
        };
        Term { name: names[at], value }
    }

    fn broken_wishes(&self, class: &Class<'_>, best: &Candidate) -> Vec<String> {
        let policy = &class.guest.policy;
        let pool = self.ledger.model.world_pool(best.place.pool);
        let unmet = policy.preferred.iter().filter(|wish| !wish.selector.matches(&pool.labels));
        let mut broken: Vec<String> = unmet.map(|wish| format!("preferred pool (weight {})", wish.weight)).collect();
        broken.extend(avoided(pool, policy).map(|taint| format!("taint {} (PreferNoSchedule)", taint.key)));
        let known = self.ledger.model.statics[class.statics as usize].allowed.iter();
        let of_pool = known.clone().find(|(p, _)| *p == best.place.pool).map_or(0, |(_, weight)| *weight);
        if best.wishes > of_pool {
            broken.push("spread (ScheduleAnyway)".into());
        }
        broken
    }
}

/// A part of a host, memory and vCPUs averaged.
fn permille(part: i64) -> String {
    format!("{}.{} % of the host", part * 500 / (1 << 30) / 10, (part * 500 / (1 << 30) % 10).abs())
}

pub(super) fn class_guest(ledger: &Ledger<'_, '_>, guest: u32) -> String {
    ledger.model.guest(guest).uid.clone()
}

fn why_not(verdict: &Verdict, paid: PaidFrom) -> Reason {
    let only_burst = |r: &Rejected| r.failures.iter().all(|f| f.rule == Rule::Burst);
    if matches!(paid, PaidFrom::At(_)) && verdict.rejected.iter().any(only_burst) {
        Reason::WaitingForRoom
    } else {
        Reason::NoPoolFits
    }
}

/// `3 pools: 2 not in GB or IE; london: short of 6 GiB memory`.
pub(super) fn not_placed(rejected: &[Rejected]) -> String {
    let mut groups: Vec<(String, Vec<&str>)> = Vec::new();
    for one in rejected {
        let phrases: Vec<&str> = one.failures.iter().map(|f| f.short.as_str()).collect();
        let phrase = phrases.join(", ");
        match groups.iter_mut().find(|(known, _)| *known == phrase) {
            Some((_, pools)) => pools.push(&one.pool),
            None => groups.push((phrase, vec![&one.pool])),
        }
    }
    groups.sort_by_key(|(_, pools)| std::cmp::Reverse(pools.len()));
    let parts: Vec<String> = groups
        .iter()
        .map(|(phrase, pools)| match &pools[..] {
            [pool] => format!("{pool}: {phrase}"),
            pools => format!("{} {phrase}", pools.len()),
        })
        .collect();
    match rejected.len() {
        0 => "There are no pools".into(),
        1 => format!("1 pool: {}", parts.join("; ")),
        n => format!("{n} pools: {}", parts.join("; ")),
    }
}

/// What would have to change where the least is missing.
pub(super) fn smallest_change(rejected: &[Rejected]) -> Option<String> {
    let nearest = rejected.first()?;
    let changes: Vec<String> = nearest.failures.iter().map(change).collect();
    Some(bounded(format!("{}: {}", nearest.pool, changes.join(", and "))))
}

/// What to change so that a rule no longer fails.
fn change(failure: &Failure) -> String {
    let (wanted, free, short) = (&failure.wanted, &failure.free, &failure.short);
    match failure.rule {
        Rule::PoolSelector => "let the selector name it".into(),
        Rule::Jurisdiction if free == "unknown" => "state the pool's jurisdiction".into(),
        Rule::Jurisdiction => format!("allow the jurisdiction {free}"),
        Rule::DataClass => format!("permit {wanted} data there"),
        Rule::Certification => format!("certify it ({short})"),
        Rule::Tenancy => format!("open it to namespace {wanted}"),
        Rule::Taint => format!("tolerate the taint {free}"),
        Rule::Image | Rule::Network | Rule::Storage => format!("provide what it lacks ({short})"),
        Rule::Burst => "allow paid capacity, or wait until it is used".into(),
        Rule::Cordoned => "open it again".into(),
        Rule::Health => format!("make it work ({short})"),
        Rule::Refused => "wait until it is tried again".into(),
        Rule::Bound => "bind the guest anew".into(),
        Rule::Offering => format!("offer an instance type with {wanted}"),
        Rule::Spot => "allow spot capacity, or offer on-demand prices".into(),
        Rule::GuestLimit => "raise the limit of guests by 1".into(),
        Rule::Vcpus | Rule::Memory | Rule::Resource => format!("make room ({short})"),
        Rule::MonthlySpend => format!("raise the spending limit ({short})"),
        Rule::Budget => format!("raise the budget ({short})"),
        Rule::DedicatedHost => "free a host of other tenants".into(),
        Rule::Spread => format!("make room in the emptiest places, or allow more skew ({short})"),
        Rule::Near | Rule::Apart => format!("relax the affinity ({short})"),
    }
}

pub(super) fn bounded(text: String) -> String {
    cut(text, MESSAGE_LIMIT)
}

/// The text, cut to so many bytes between two characters.
pub(super) fn cut(text: String, limit: usize) -> String {
    if text.len() <= limit {
        return text;
    }
    let end = (0..=limit.saturating_sub(3)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}...", &text[..end])
}
