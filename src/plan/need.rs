//! What has to be mended at least: how many guests must change places however the plan is made, and how much looking
//! around a plan may cost.

use std::collections::HashSet;

use super::{
    ledger::Ledger,
    outcome::{Cause, Repair},
    repair::{Changes, Leave, is_free_to_move, is_reachable, leave_pool},
};

/// What looking for a place costs, in steps.
pub(super) const QUESTION: u64 = 50;

/// How many more steps may be taken. Once it is used up nothing new is begun; what was found stands.
#[derive(Clone, Copy, Default)]
pub(super) struct Steps {
    left: u64,
    /// Whether something was not looked at for want of steps.
    pub short: bool,
}

impl Steps {
    pub(super) fn new(left: u64) -> Self {
        Self { left, short: false }
    }

    /// Takes so many steps, if there are any left.
    pub(super) fn take(&mut self, steps: u64) -> bool {
        self.short |= self.left == 0;
        let open = self.left > 0;
        self.left = self.left.saturating_sub(steps);
        open
    }
}

/// How many guests have to change places whatever else is done: all that may not be where they are, all on hosts that
/// are to be emptied, and of an overloaded host as many of the largest as what is too much amounts to. Who lives beside
/// whom it must not is not counted: often either of two may go.
pub(super) fn fewest(ledger: &Ledger<'_, '_>) -> usize {
    let model = ledger.model;
    let must_leave = |guest: u32, pool: u32| {
        let state = model.guest(guest);
        !state.leaving
            && state.bound.is_some()
            && is_reachable(model, pool)
            && matches!(leave_pool(model, guest, pool), Leave::Now(_))
    };
    let mut gone: HashSet<u32> =
        ledger.placed().filter(|(guest, place)| must_leave(*guest, place.pool)).map(|(guest, _)| guest).collect();
    let mut of_hosts = 0;
    for (host, residents) in (0u32..).zip(&ledger.residents) {
        if !is_reachable(model, model.hosts[host as usize].pool) {
            continue;
        }
        let free = || residents.iter().copied().filter(|guest| is_free_to_move(model, *guest));
        if model.evacuates(host) {
            gone.extend(free());
        } else if ledger.is_overloaded(host) {
            let staying: Vec<u32> = free().filter(|guest| !gone.contains(guest)).collect();
            let leaving: Vec<u32> = residents.iter().copied().filter(|guest| gone.contains(guest)).collect();
            of_hosts += fewest_of(ledger, host, &staying, &leaving);
        }
    }
    gone.len() + of_hosts
}

/// How many of the guests of an overloaded host must leave it at least, beside those that leave anyway.
fn fewest_of(ledger: &Ledger<'_, '_>, host: u32, staying: &[u32], leaving: &[u32]) -> usize {
    let model = ledger.model;
    let pool = model.hosts[host as usize].pool;
    let needs = |guest: u32| -> Vec<i64> {
        let class = model.class(guest);
        std::iter::once(class.memory(model, pool)).chain(class.need.iter().copied()).collect()
    };
    let mut free: Vec<i64> =
        std::iter::once(ledger.free_memory[host as usize]).chain(ledger.free_rest(host).iter().copied()).collect();
    for guest in leaving {
        needs(*guest).iter().zip(&mut free).for_each(|(need, free)| *free += need);
    }
    let all: Vec<Vec<i64>> = staying.iter().map(|guest| needs(*guest)).collect();
    let of_one = |part: usize| {
        let mut sizes: Vec<i64> = all.iter().map(|needs| needs[part]).collect();
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        let mut short = -free[part];
        sizes
            .iter()
            .take_while(|size| {
                let more = short > 0 && **size > 0;
                short -= **size;
                more
            })
            .count()
    };
    (0..free.len()).map(of_one).max().unwrap_or(0)
}

/// How what was found compares with what is needed at least.
pub(super) fn report(found: &Changes, at_least: usize, all_kept: bool) -> Repair {
    let mends = |cause: Cause| {
        matches!(cause, Cause::Overload | Cause::Drain | Cause::BrokenRule | Cause::Neighbours | Cause::MakeRoom)
    };
    Repair {
        moves: found.list.iter().filter(|change| mends(change.cause)).count(),
        stuck: found.stuck.len(),
        at_least,
        finished: all_kept && !found.steps.short,
    }
}
