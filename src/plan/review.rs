//! What is so of the guests that have a place: what each costs there now, and which rules the place no longer keeps.
//! Prices, laws and labels change while guests live somewhere.

use super::{
    cost::{decimal, marginal},
    inventory::World,
    ledger::Ledger,
    model::Model,
    rule::Failure,
};
use crate::api::money::Money;

/// What is so of a guest that has a place.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// Its number among the guests of the world.
    pub guest: usize,
    /// What one hour of it costs more than without it; `None` where no price is known.
    pub hourly: Option<Money>,
    /// The rules that it is there against.
    pub broken: Vec<Failure>,
}

/// Looks at every guest that has a place.
#[must_use]
pub fn review(world: &World) -> Vec<Standing> {
    let model = Model::new(world);
    let ledger = Ledger::new(&model);
    let standing = |(guest, place): (u32, super::ledger::Place)| {
        let statics = &model.statics[model.class(guest).statics as usize];
        let failures = statics.rejected.iter().filter(|(pool, _)| *pool == place.pool).flat_map(|(_, all)| all);
        Standing {
            guest: guest as usize,
            hourly: marginal(&model, guest, place).map(|nanos| Money::new(decimal(nanos), model.rates.currency())),
            broken: failures.filter(|failure| failure.rule.binds_residents()).cloned().collect(),
        }
    };
    ledger.placed().map(standing).collect()
}
