//! What a pool costs, and what part of it a guest bears. Pure.

use rust_decimal::Decimal;
use serde::Serialize;

use super::sum::Room;
use crate::api::{
    CloudPool, Guest,
    money::{Currency, HOURS_PER_MONTH},
    pricing::Pricing,
    quantity::Bytes,
    template::PowerState,
};

/// Over how many months hardware is written off when a pool does not say.
const DEFAULT_DEPRECIATION: u32 = 60;

/// Costs of an hour, in one currency. The first four are what there is to pay; `marginal` is what of it would not be to pay
/// without the guests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Hourly {
    /// Hardware, written off.
    #[serde(with = "rust_decimal::serde::str")]
    pub capital: Decimal,
    /// Running owned hardware.
    #[serde(with = "rust_decimal::serde::str")]
    pub running: Decimal,
    /// Fees that are paid in advance.
    #[serde(with = "rust_decimal::serde::str")]
    pub subscription: Decimal,
    /// What is rented by the hour.
    #[serde(with = "rust_decimal::serde::str")]
    pub pay_per_use: Decimal,
    /// The sum of these.
    #[serde(with = "rust_decimal::serde::str")]
    pub amortised: Decimal,
    /// What the guests cost more than an empty pool.
    #[serde(with = "rust_decimal::serde::str")]
    pub marginal: Decimal,
}

impl Hourly {
    /// The sum of both.
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            capital: self.capital + other.capital,
            running: self.running + other.running,
            subscription: self.subscription + other.subscription,
            pay_per_use: self.pay_per_use + other.pay_per_use,
            amortised: self.amortised + other.amortised,
            marginal: self.marginal + other.marginal,
        }
    }

    /// In nano-units, as prices are decided on.
    pub(super) fn rounded(self) -> Self {
        let round = |amount: Decimal| amount.round_dp(9).normalize();
        let [capital, running, subscription] = [self.capital, self.running, self.subscription].map(round);
        let [pay_per_use, amortised, marginal] = [self.pay_per_use, self.amortised, self.marginal].map(round);
        Self { capital, running, subscription, pay_per_use, amortised, marginal }
    }

    fn summed(self) -> Self {
        Self { amortised: self.capital + self.running + self.subscription + self.pay_per_use, ..self }
    }
}

/// The currency of a pool's prices.
pub(super) fn currency(pricing: &Pricing) -> Option<Currency> {
    let owned = pricing.owned.as_ref().map(|owned| owned.currency);
    owned
        .or_else(|| pricing.pay_per_use.as_ref().map(|paid| paid.currency))
        .or_else(|| pricing.subscription.as_ref().map(|paid| paid.currency))
}

/// What a pool costs in an hour with nobody in it.
pub(super) fn standing(pricing: &Pricing) -> Hourly {
    let owned = pricing.owned.as_ref();
    let months = |n: u32| Decimal::from(n.max(1));
    let capital = owned.and_then(|owned| {
        let months = months(owned.depreciation_months.unwrap_or(DEFAULT_DEPRECIATION));
        owned.capital_cost.map(|cost| cost.0 / months / HOURS_PER_MONTH)
    });
    let running = owned.map(|owned| owned.monthly_running_cost.0 / HOURS_PER_MONTH);
    let fee = pricing.subscription.as_ref().map(|paid| paid.monthly_fee.0 / HOURS_PER_MONTH);
    let none = Decimal::ZERO;
    Hourly {
        capital: capital.unwrap_or(none),
        running: running.unwrap_or(none),
        subscription: fee.unwrap_or(none),
        ..Hourly::default()
    }
    .summed()
}

/// What one guest costs in an hour: its share of what the pool costs anyway, and what it costs more. `None`: its price is
/// not known. A guest that is off costs nothing, and has no share.
pub(super) fn of_guest(pool: &CloudPool, room: &Room<'_>, guest: &Guest) -> Option<Hourly> {
    if !runs(guest) {
        return Some(Hourly::default());
    }
    let pricing = &pool.spec.pricing;
    // Costs in another currency than the pool's were written before its prices changed.
    let status = guest.status.as_ref();
    let cost = status.and_then(|s| s.hourly_cost).filter(|cost| Some(cost.currency) == currency(pricing))?.amount.0;
    let standing = standing(pricing);
    let included = pricing.subscription.as_ref().filter(|_| cost.is_zero());
    let share = match (&pricing.owned, included) {
        (Some(_), _) => share(room.taken(guest), [room.memory, room.vcpus]),
        (None, Some(paid)) => {
            let size = &guest.spec.template.size;
            share([size.memory.0, u64::from(size.vcpus)], [paid.included_memory.0, u64::from(paid.included_vcpus)])
        }
        (None, None) => Decimal::ZERO,
    };
    let owned = pricing.owned.is_some();
    let hourly = Hourly {
        capital: standing.capital * share,
        running: standing.running * share,
        subscription: standing.subscription * share,
        pay_per_use: if owned { Decimal::ZERO } else { cost },
        marginal: cost,
        ..Hourly::default()
    };
    Some(hourly.summed())
}

/// Whether it takes processors and memory.
pub(super) fn runs(guest: &Guest) -> bool {
    guest.spec.template.power_state.unwrap_or_default() == PowerState::Running
}

/// The larger of the shares in memory and in processors, as in placement.
fn share(taken: [u64; 2], of: [u64; 2]) -> Decimal {
    let part = |(taken, of): (u64, u64)| {
        if of == 0 { Decimal::ZERO } else { Decimal::from(taken) / Decimal::from(of) }
    };
    part((taken[0], of[0])).max(part((taken[1], of[1])))
}

/// What a guest takes on a host beside its own memory.
pub(super) fn overhead(pool: &CloudPool, memory: Bytes, vcpus: u32) -> u64 {
    let Some(over) = pool.status.as_ref().and_then(|status| status.guest_overhead.as_ref()) else { return 0 };
    let parts = memory.0.checked_div(u64::from(over.memory_divisor)).unwrap_or(0);
    over.fixed.0.saturating_add(over.per_vcpu.0.saturating_mul(u64::from(vcpus))).saturating_add(parts)
}
