//! Another type for guests that are rented and whose size was changed: in the same pool and zone, of the same stock, within
//! what the pool may lodge and spend and the workload may cost.
//!
//! Nothing is weighed against other pools: the VM stays, and with it its disks.

use super::{
    inventory::{Capacity, Offering, World},
    ledger::{Ledger, Place},
    model::{Model, NONE, index},
    outcome::{Binding, Lane},
    request::Bound,
};

/// What was found for a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retype {
    /// Its identity.
    pub guest: String,
    /// The type that it is to have, perhaps the one it has; or why there is none, as a phrase.
    pub chosen: Result<String, String>,
}

/// Chooses for the guests that `wants` names, one after the other. `placed`: decisions of the same round, which count already.
#[must_use]
pub fn retype(world: &World, placed: &[Binding], wants: impl Fn(&str) -> bool) -> Vec<Retype> {
    let wanted: Vec<u32> = (0..).zip(&world.guests).filter(|(_, guest)| wants(&guest.uid)).map(|(g, _)| g).collect();
    if wanted.is_empty() {
        return Vec::new();
    }
    let model = Model::new(world);
    let mut ledger = Ledger::new(&model);
    for binding in placed {
        let guest = world.guests.iter().position(|guest| guest.uid == binding.guest).map(index);
        let new = guest.filter(|guest| ledger.place_of(*guest).is_none());
        if let Some((guest, place)) = new.and_then(|guest| Some((guest, ledger.resolve(guest, &binding.place)?))) {
            ledger.enter(guest, place);
        }
    }
    wanted.into_iter().filter_map(|guest| one(&mut ledger, guest)).collect()
}

fn one(ledger: &mut Ledger<'_, '_>, guest: u32) -> Option<Retype> {
    let model = ledger.model;
    let state = model.guest(guest);
    let bound = state.bound.as_ref()?;
    let Capacity::Offerings(list) = &model.world_pool(model.pool(&bound.pool)?).capacity else { return None };
    let from = ledger.take_out(guest)?;
    let chosen = choose(ledger, guest, bound, from, list);
    ledger.enter(guest, *chosen.as_ref().unwrap_or(&from));
    let chosen = chosen.map(|place| list[place.offer as usize].instance_type.clone());
    Some(Retype { guest: state.uid.clone(), chosen })
}

fn choose(ledger: &Ledger<'_, '_>, guest: u32, bound: &Bound, from: Place, list: &[Offering]) -> Result<Place, String> {
    let (model, class) = (ledger.model, ledger.model.class(guest));
    // Where the provider chose the zone, every zone's row may be meant.
    let zone = |offer: &Offering| bound.zone.is_none() || offer.zone.is_none() || offer.zone == bound.zone;
    let fits = |offer: &Offering| offer.spot == bound.spot && zone(offer) && class.fits(model, offer);
    let price = |offer: u32| model.rates.hourly(&list[offer as usize].hourly);
    let mut fitting: Vec<u32> = model.pools[from.pool as usize].offers.clone();
    fitting.retain(|offer| fits(&list[*offer as usize]));
    // A change of type costs a restart: of equally cheap ones, the one that it has.
    if from.offer != NONE && fitting.first().is_some_and(|first| price(*first) == price(from.offer)) {
        fitting.sort_by_key(|offer| *offer != from.offer);
    }
    let place = |offer: u32| {
        let lane = ledger.home_lane(guest, from.pool, offer).unwrap_or(Lane::Paid);
        let price = if lane == Lane::Included { Some(0) } else { price(offer) };
        (Place { pool: from.pool, host: NONE, offer, lane }, price)
    };
    let Some(cheapest) = fitting.first().copied() else {
        let size = &class.guest.size;
        return Err(format!("no type that can be had there has {} vCPU and {}", size.vcpus, size.memory.human()));
    };
    let allowed = |(place, price): &(Place, Option<i64>)| {
        ledger.within_limits(guest, *place) && ledger.affordable(class, *place, *price)
    };
    if let Some((place, _)) = fitting.into_iter().map(place).find(allowed) {
        return Ok(place);
    }
    let ((place, price), mut failures) = (place(cheapest), Vec::new());
    ledger.limit_shortages(guest, place, &mut failures);
    ledger.money_shortages(class, place, price, &mut failures);
    let short: Vec<String> = failures.into_iter().map(|failure| failure.short).collect();
    Err(format!("with {} it would be {}", list[cheapest as usize].instance_type, short.join("; ")))
}

#[cfg(test)]
#[path = "retype_tests.rs"]
mod tests;
