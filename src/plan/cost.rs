//! What places cost. The marginal view decides: sunk capital and fees cost nothing more. The amortised view reports.
//!
//! Inside a decision, prices are whole nano-units of the world's currency in an hour, so that sums are exact and
//! comparisons quick; a price with more than nine digits after the point is rounded to the nearest. What is reported is
//! worked out in decimals.

use std::collections::BTreeMap;

use rust_decimal::{Decimal, prelude::ToPrimitive};

use super::{
    inventory::{Capacity, World},
    ledger::{Ledger, Place},
    model::{Model, NONE},
    outcome::{Costs, Lane},
};
use crate::api::money::{Currency, HOURS_PER_MONTH, Money};

/// Converts into the world's currency.
pub(super) struct Rates<'w> {
    world: &'w World,
}

impl<'w> Rates<'w> {
    pub(super) fn new(world: &'w World) -> Self {
        Self { world }
    }

    /// The amount in the world's currency; `None` where there is no rate.
    pub(super) fn convert(&self, money: &Money) -> Option<Decimal> {
        if money.currency == self.world.currency || money.amount.0.is_zero() {
            return Some(money.amount.0);
        }
        self.world.rates.get(&money.currency).and_then(|rate| money.amount.0.checked_mul(*rate))
    }

    /// A price of an hour in nano-units of the world's currency; `None` where there is no rate, or where it is so high
    /// that it can only be a mistake.
    pub(super) fn hourly(&self, price: &Money) -> Option<i64> {
        nanos(self.convert(price)?).filter(|nanos| (0..=MOST).contains(nanos))
    }

    /// An amount for a month as nano-units for an hour; `None` where there is no rate. What is beyond all prices is cut.
    pub(super) fn monthly(&self, amount: &Money) -> Option<i64> {
        let hourly = self.convert(amount)? / HOURS_PER_MONTH;
        Some(nanos(hourly).unwrap_or(MOST).clamp(0, MOST))
    }

    pub(super) fn currency(&self) -> Currency {
        self.world.currency
    }
}

/// Nine million an hour: far above every price, and so far below the range that sums over many guests stay within.
const MOST: i64 = 1 << 53;

fn nanos(amount: Decimal) -> Option<i64> {
    amount.checked_mul(Decimal::from(1_000_000_000))?.round().to_i64()
}

/// Nano-units as a decimal amount.
pub(super) fn decimal(nanos: i64) -> Decimal {
    Decimal::new(nanos, 9).normalize()
}

/// What one hour of a guest in a place costs more than without it, in nano-units; `None` where no price is known.
pub(super) fn marginal(model: &Model<'_>, guest: u32, place: Place) -> Option<i64> {
    if !model.guest(guest).powered_on {
        return Some(0);
    }
    match place.lane {
        Lane::Included => Some(0),
        Lane::Owned => model.class(guest).running(model, place.pool),
        Lane::Paid => match &model.world_pool(place.pool).capacity {
            Capacity::Offerings(list) if place.offer != NONE => model.rates.hourly(&list[place.offer as usize].hourly),
            // An instance type that is no longer in the catalogue: it costs something, and nobody knows how much.
            Capacity::Offerings(_) => None,
            Capacity::Hosts { .. } => Some(0),
        },
    }
}

/// What all placed guests cost in an hour.
pub(super) fn costs(model: &Model<'_>, ledger: &Ledger<'_, '_>) -> Costs {
    let mut sums: Vec<i64> = vec![0; model.pools.len()];
    let (mut unpriced, mut capital, mut operational) = (0, Decimal::ZERO, Decimal::ZERO);
    let shares: Vec<_> = (0..model.pools.len()).map(|p| Shares::new(model, p)).collect();
    for (guest, place, count) in alike(model, ledger) {
        match marginal(model, guest, place) {
            Some(nanos) => {
                let all = nanos.saturating_mul(i64::try_from(count).unwrap_or(i64::MAX));
                sums[place.pool as usize] = sums[place.pool as usize].saturating_add(all);
            }
            None => unpriced += count,
        }
        let share = &shares[place.pool as usize];
        capital += share.capital(model, guest, place) * Decimal::from(count);
        operational += share.operational(model, guest, place) * Decimal::from(count);
    }
    let currency = model.rates.currency();
    let money = |amount: Decimal| Money::new(amount.round_dp(9).normalize(), currency);
    let by_pool: BTreeMap<_, _> = (sums.iter().zip(&model.world.pools))
        .filter(|(sum, _)| **sum != 0)
        .map(|(sum, pool)| (pool.name.clone(), money(decimal(*sum))))
        .collect();
    Costs {
        marginal: Some(money(decimal(sums.iter().sum()))),
        amortised_capital: Some(money(capital)),
        amortised_operational: Some(money(operational)),
        unpriced,
        by_pool,
    }
}

/// Guests that cost alike: one that stands for them, in its place, and how many they are.
fn alike(model: &Model<'_>, ledger: &Ledger<'_, '_>) -> Vec<(u32, Place, usize)> {
    let mut of_class: Vec<Vec<(u32, Place, usize)>> = vec![Vec::new(); model.classes.len()];
    for (guest, place) in ledger.placed() {
        let list = &mut of_class[model.class_of[guest as usize] as usize];
        let same = |one: &&mut (u32, Place, usize)| Place { host: NONE, ..one.1 } == Place { host: NONE, ..place };
        match list.iter_mut().rev().find(same) {
            Some(known) => known.2 += 1,
            None => list.push((guest, place, 1)),
        }
    }
    of_class.into_iter().flatten().collect()
}

/// What a whole pool costs in an hour, to be shared out.
struct Shares {
    capital: Decimal,
    fee: Decimal,
    running: Decimal,
}

impl Shares {
    fn new(model: &Model<'_>, pool: usize) -> Self {
        let pricing = &model.world.pools[pool].pricing;
        let hourly = |money: &Money| model.rates.convert(money).unwrap_or_default() / HOURS_PER_MONTH;
        let owned = pricing.owned.as_ref();
        let months = |n: u32| Decimal::from(n.max(1));
        Self {
            capital: owned.map(|o| hourly(&o.capital) / months(o.depreciation_months)).unwrap_or_default(),
            running: owned.map(|o| hourly(&o.monthly_running)).unwrap_or_default(),
            fee: pricing.subscription.as_ref().map(|s| hourly(&s.monthly_fee)).unwrap_or_default(),
        }
    }

    fn capital(&self, model: &Model<'_>, guest: u32, place: Place) -> Decimal {
        if self.capital.is_zero() { self.capital } else { self.capital * share(model, guest, place) }
    }

    fn operational(&self, model: &Model<'_>, guest: u32, place: Place) -> Decimal {
        match place.lane {
            Lane::Owned if self.running.is_zero() => Decimal::ZERO,
            Lane::Owned => self.running * share(model, guest, place),
            Lane::Included => self.fee * share(model, guest, place),
            Lane::Paid => marginal(model, guest, place).map(decimal).unwrap_or_default(),
        }
    }
}

/// The larger of a guest's shares in the memory and the vCPUs of what it lives on.
fn share(model: &Model<'_>, guest: u32, place: Place) -> Decimal {
    let state = model.guest(guest);
    if !state.powered_on {
        return Decimal::ZERO;
    }
    let size = &state.size;
    let subscription = model.world_pool(place.pool).pricing.subscription.as_ref();
    let (memory, total) = if let (Some(s), Lane::Included) = (subscription, place.lane) {
        (size.memory.0, [s.included_memory.0, s.included_vcpus])
    } else {
        let total = model.pools[place.pool as usize].total;
        (model.class(guest).memory(model, place.pool).unsigned_abs(), total.map(i64::unsigned_abs))
    };
    let part = |of: u64, total: u64| if total == 0 { Decimal::ZERO } else { Decimal::from(of) / Decimal::from(total) };
    part(memory, total[0]).max(part(u64::from(size.vcpus), total[1]))
}
