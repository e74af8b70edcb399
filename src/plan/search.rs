//! Looks for the best choice of places for a few guests together: depth first, cutting off what cannot beat the best so
//! far. For many guests the first answer is improved by making room one guest at a time. Always has an answer.

use std::collections::HashSet;

use super::{
    candidate::{Ask, Candidate},
    class::Class,
    cost::decimal,
    inventory::Capacity,
    ledger::Ledger,
    model::{Model, NONE},
    outcome::Lane,
    request::Objective,
    solver::{Decided, ask, runner_up_of},
};
use crate::api::money::Money;

/// Most guests that are searched exhaustively.
const TOGETHER: usize = 12;

/// How good a choice of places is; smaller is better, the first difference decides: guests without a place (by
/// priority), places without a known price, money paid by the hour, running cost of guests that go by cost, wishes,
/// running cost of the others.
pub(super) type Score = [i64; 6];

/// Improves on the first answer. Returns whether nothing better exists, and the best conceivable score.
pub(super) fn improve(ledger: &mut Ledger<'_, '_>, decided: &mut [Decided], steps: u64) -> (bool, Score, Score) {
    let penalties = Penalties::new(ledger.model, decided);
    let bounds: Vec<Score> = decided.iter().zip(&penalties.0).map(|(one, p)| optimum(ledger, one, *p)).collect();
    let bound = bounds.iter().fold([0; 6], |sum, one| plus(&sum, one));
    let so_far = total(decided, ledger.model, &penalties);
    if so_far <= bound {
        return (true, so_far, bound);
    }
    if decided.len() <= TOGETHER {
        let before: Vec<_> = decided.iter().map(|one| ledger.take_out(one.guest)).collect();
        let mut search = Search { ledger, decided, penalties, bounds, best: so_far, chosen: None, left: steps };
        let mut trail = Vec::with_capacity(search.decided.len());
        let finished = search.descend(&mut trail, [0; 6]);
        let (best, chosen) = (search.best, search.chosen.take());
        settle(ledger, decided, &before, chosen);
        return (finished, best, bound);
    }
    make_room(ledger, decided, &penalties, steps);
    let score = total(decided, ledger.model, &penalties);
    (score <= bound, score, bound)
}

/// How much money an hour a score is above a bound.
pub(super) fn gap(model: &Model<'_>, score: &Score, bound: &Score) -> Money {
    let money = |of: &Score| of[2].saturating_add(of[3]).saturating_add(of[5]);
    Money::new(decimal((money(score) - money(bound)).max(0)), model.rates.currency())
}

/// What a guest without a place weighs: one of a higher priority more than all of the lower ones together.
struct Penalties(Vec<i64>);

impl Penalties {
    fn new(model: &Model<'_>, decided: &[Decided]) -> Self {
        // Who has a place kept goes before everybody.
        let rank = |guest: &super::GuestState| if guest.reserved.is_some() { i32::MAX } else { guest.policy.priority };
        let mut ranks: Vec<i32> = decided.iter().map(|one| rank(model.guest(one.guest))).collect();
        let priorities = ranks.clone();
        ranks.sort_unstable();
        ranks.dedup();
        // With many ranks the weights would leave the range; then the lowest ranks weigh alike.
        let base = i64::try_from(decided.len()).unwrap_or(i64::MAX).saturating_add(1);
        let mut weights = vec![1i64; ranks.len()];
        for rank in 1..ranks.len() {
            weights[rank] = weights[rank - 1].saturating_mul(base).min(1 << 40);
        }
        Self(priorities.iter().map(|p| weights[ranks.binary_search(p).unwrap_or(0)]).collect())
    }
}

fn plus(a: &Score, b: &Score) -> Score {
    std::array::from_fn(|i| a[i].saturating_add(b[i]))
}

fn score(class: &Class<'_>, candidate: Option<&Candidate>, penalty: i64) -> Score {
    let Some(one) = candidate else { return [penalty, 0, 0, 0, 0, 0] };
    let running = if one.place.lane == Lane::Owned { one.running } else { 0 };
    let weighed = running.saturating_add(running / 100 * one.wishes + running % 100 * one.wishes / 100);
    let by_cost = class.guest.policy.objective == Objective::Cost;
    let (first, last) = if by_cost { (weighed, 0) } else { (0, weighed) };
    [0, i64::from(one.key.unpriced), one.key.paid, first, one.wishes, last]
}

fn total(decided: &[Decided], model: &Model<'_>, penalties: &Penalties) -> Score {
    decided
        .iter()
        .zip(&penalties.0)
        .fold([0; 6], |sum, (one, p)| plus(&sum, &score(model.class(one.guest), one.best.as_ref(), *p)))
}

/// The best that a guest could have were it alone in an empty world.
fn optimum(ledger: &Ledger<'_, '_>, one: &Decided, penalty: i64) -> Score {
    let model = ledger.model;
    let class = model.class(one.guest);
    let question = ask(model, one.guest);
    let mut best: Score = [penalty, 0, 0, 0, 0, 0];
    for choice in class.choices(model).iter().filter(|c| question.pool.is_none_or(|pool| pool == c.pool)) {
        let rented = matches!(model.world_pool(choice.pool).capacity, Capacity::Offerings(_));
        if rented && choice.offers.is_empty() {
            continue;
        }
        let home = model.pools[choice.pool as usize].subscribed || !rented;
        let lanes = [(home, Lane::Included), (rented && question.paid, Lane::Paid)];
        for (_, lane) in lanes.into_iter().filter(|(open, _)| *open) {
            let owned = lane == Lane::Included && !model.pools[choice.pool as usize].subscribed;
            let price = if owned { choice.running } else { choice.offers.first().and_then(|(_, price)| *price) };
            let weighed = |n: i64| n.saturating_add(n / 100 * choice.wishes + n % 100 * choice.wishes / 100);
            let by_cost = class.guest.policy.objective == Objective::Cost;
            let mut of_choice: Score = [0, 0, 0, 0, choice.wishes, 0];
            if lane == Lane::Paid || owned {
                of_choice[1] = i64::from(price.is_none());
                let at = if lane == Lane::Paid {
                    2
                } else if by_cost {
                    3
                } else {
                    5
                };
                of_choice[at] = weighed(price.unwrap_or(0));
            }
            best = best.min(of_choice);
        }
    }
    best
}

struct Search<'s, 'm, 'w> {
    ledger: &'s mut Ledger<'m, 'w>,
    decided: &'s [Decided],
    penalties: Penalties,
    bounds: Vec<Score>,
    best: Score,
    chosen: Option<Vec<Option<Candidate>>>,
    left: u64,
}

impl Search<'_, '_, '_> {
    /// Whether everything below was looked at, or need not be.
    fn descend(&mut self, trail: &mut Vec<Option<Candidate>>, so_far: Score) -> bool {
        let at = trail.len();
        if at == self.decided.len() {
            if so_far < self.best && self.holds(trail) {
                self.best = so_far;
                self.chosen = Some(trail.clone());
            }
            return true;
        }
        let rest = self.bounds[at + 1..].iter().fold(so_far, |sum, one| plus(&sum, one));
        let guest = self.decided[at].guest;
        let model = self.ledger.model;
        let class = model.class(guest);
        let mut finished = true;
        let candidates = self.candidates(at, trail);
        for candidate in candidates.into_iter().map(Some).chain([None]) {
            let of_guest = score(class, candidate.as_ref(), self.penalties.0[at]);
            if plus(&rest, &of_guest) >= self.best {
                continue;
            }
            if self.left == 0 {
                return false;
            }
            self.left -= 1;
            if let Some(candidate) = candidate {
                self.ledger.enter(guest, candidate.place);
            }
            trail.push(candidate);
            finished &= self.descend(trail, plus(&so_far, &of_guest));
            trail.pop();
            if candidate.is_some() {
                self.ledger.take_out(guest);
            }
        }
        finished
    }

    /// Places for the guest, best first, without those that are as good as another for reasons of symmetry.
    fn candidates(&mut self, at: usize, trail: &[Option<Candidate>]) -> Vec<Candidate> {
        let model = self.ledger.model;
        let guest = self.decided[at].guest;
        let class = model.class(guest);
        let slack = self.decided[at + 1..].iter().filter(|d| model.class(d.guest).workload == class.workload).count();
        let question: Ask = ask(model, guest);
        let mut all = self.ledger.every_loosely(question, u32::try_from(slack).unwrap_or(u32::MAX));
        self.left = self.left.saturating_sub(all.len() as u64 / 4);
        let mut alike = HashSet::new();
        all.retain(|one| {
            let host = one.place.host;
            if host == NONE || !self.ledger.residents[host as usize].is_empty() || model.has_labels(host) {
                return true;
            }
            let free = (self.ledger.free_memory[host as usize], self.ledger.free_rest(host).to_vec());
            alike.insert((one.place.pool, model.foreign_guests(host), free))
        });
        // Guests that are alike may be swapped: only one order of their places is looked at.
        if let Some(before) = at.checked_sub(1)
            && model.class_of[self.decided[before].guest as usize] == model.class_of[guest as usize]
            && self.decided[before].paid_from == self.decided[at].paid_from
            && question.pool == ask(model, self.decided[before].guest).pool
        {
            match &trail[before] {
                Some(of_twin) => all.retain(|one| one.place >= of_twin.place),
                None => all.clear(),
            }
        }
        all.sort_by_key(|one| one.key);
        all
    }

    /// Whether spread and nearness hold with every guest in its place.
    fn holds(&self, trail: &[Option<Candidate>]) -> bool {
        self.decided.iter().zip(trail).all(|(one, candidate)| {
            candidate.as_ref().is_none_or(|candidate| self.ledger.keeps_neighbours(one.guest, candidate.place))
        })
    }
}

/// Puts the guests where they were chosen to be, or back to where they were.
fn settle(
    ledger: &mut Ledger<'_, '_>,
    decided: &mut [Decided],
    before: &[Option<super::ledger::Place>],
    chosen: Option<Vec<Option<Candidate>>>,
) {
    let Some(chosen) = chosen else {
        for (one, place) in decided.iter().zip(before) {
            if let Some(place) = place {
                ledger.enter(one.guest, *place);
            }
        }
        return;
    };
    for ((one, candidate), place) in decided.iter_mut().zip(chosen).zip(before) {
        one.best = candidate;
        // A bound guest for which no host was found stays counted in its pool.
        let bound = place.filter(|place| place.host == NONE && ledger.model.guest(one.guest).bound.is_some());
        if let Some(place) = candidate.map(|c| c.place).or(bound) {
            ledger.enter(one.guest, place);
        }
    }
    for one in decided.iter_mut().filter(|one| one.best.is_some()) {
        runner_up_of(ledger, one);
    }
}

/// For each guest without a place, or in a paid one, tries to move one new guest elsewhere so that it fits at home.
fn make_room(ledger: &mut Ledger<'_, '_>, decided: &mut [Decided], penalties: &Penalties, mut steps: u64) {
    let model = ledger.model;
    let mut at_of = vec![usize::MAX; model.world.guests.len()];
    for (at, one) in decided.iter().enumerate() {
        at_of[one.guest as usize] = at;
    }
    for at in 0..decided.len() {
        let paid = decided[at].best.map(|best| best.place.lane == Lane::Paid);
        // Who is counted by others cannot leave a place without looking at all of them.
        if paid == Some(false) || (paid == Some(true) && ledger.is_counted(decided[at].guest)) {
            continue;
        }
        let class = model.class(decided[at].guest);
        'choices: for choice in class.choices(model) {
            for host in model.pools[choice.pool as usize].hosts.clone() {
                for resident in ledger.residents[host as usize].clone() {
                    let other = at_of[resident as usize];
                    if other == usize::MAX
                        || ledger.is_counted(resident)
                        || !would_fit(ledger, class, choice.memory, host, resident)
                    {
                        continue;
                    }
                    if steps == 0 {
                        return;
                    }
                    steps = steps.saturating_sub(50);
                    if swap(ledger, decided, penalties, (at, other), host) {
                        break 'choices;
                    }
                }
            }
        }
    }
}

/// Whether a guest would have room on a host were another one gone.
pub(super) fn would_fit(ledger: &Ledger<'_, '_>, class: &Class<'_>, memory: i64, host: u32, resident: u32) -> bool {
    let of_resident = ledger.model.class(resident);
    let pool = ledger.model.hosts[host as usize].pool;
    let rest = ledger.free_rest(host).iter().zip(&class.need).zip(&of_resident.need);
    ledger.free_memory[host as usize] + of_resident.memory(ledger.model, pool) >= memory
        && rest.into_iter().all(|((free, need), freed)| *need == 0 || free + freed >= *need)
}

/// Gives one guest the other's host and the other the best place that is left, if that is better for both together.
fn swap(
    ledger: &mut Ledger<'_, '_>,
    decided: &mut [Decided],
    penalties: &Penalties,
    (at, other): (usize, usize),
    host: u32,
) -> bool {
    let model = ledger.model;
    let (one, two) = (decided[at].guest, decided[other].guest);
    let of = |guest: u32, best: Option<&Candidate>, at: usize| score(model.class(guest), best, penalties.0[at]);
    let before = plus(&of(one, decided[at].best.as_ref(), at), &of(two, decided[other].best.as_ref(), other));
    let (from_one, from_two) = (ledger.take_out(one), ledger.take_out(two));
    let new_one = ledger.every(ask(model, one)).into_iter().find(|c| c.place.host == host);
    if let Some(first) = &new_one {
        ledger.enter(one, first.place);
        let new_two = ledger.best(ask(model, two)).0;
        let after = plus(&of(one, new_one.as_ref(), at), &of(two, new_two.as_ref(), other));
        if let Some(second) = new_two.filter(|_| after < before) {
            ledger.enter(two, second.place);
            (decided[at].best, decided[other].best) = (new_one, new_two);
            runner_up_of(ledger, &mut decided[at]);
            runner_up_of(ledger, &mut decided[other]);
            return true;
        }
        ledger.take_out(one);
    }
    for (guest, place) in [(one, from_one), (two, from_two)] {
        if let Some(place) = place {
            ledger.enter(guest, place);
        }
    }
    false
}
