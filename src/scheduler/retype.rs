//! Guests in rented types whose size was changed: which other type each is to have. Pure.
//!
//! The decision is written into the binding of the VM that there is. The guest controller carries it out when the VM is off;
//! until then the VM keeps its type, and the new one is what limits and budgets count.

use std::collections::{HashMap, HashSet};

use super::{
    gather::{Assumed, Picture, valid_binding},
    moves::Chosen,
};
use crate::{
    api::{
        Guest,
        guest::{Binding, Phase},
        template::Size,
    },
    guest::mandate::Mandate,
    plan::{self, Capacity, World},
};

/// How the reasons begin why a guest has no other type.
pub(super) const KEEPS: &str = "it keeps its type";

/// What is to be done about types.
#[derive(Debug, Default, PartialEq)]
pub struct Retyped {
    /// Bindings to write, by the guest's UID.
    pub bindings: Vec<(String, Binding)>,
    /// Why there is no other type, by the guest's UID.
    pub kept: HashMap<String, String>,
}

/// What a guest's size asks of its type.
enum Wish {
    Another,
    /// It would have to be larger, and cannot be.
    Never(&'static str),
}

/// Chooses. What is decided in the same round counts against limits and budgets; while moves begin, types wait.
#[must_use]
pub fn choose(picture: &Picture<'_>, plan: &plan::Plan, chosen: &Chosen, assumed: &Assumed) -> Retyped {
    let mut retyped = Retyped::default();
    if !chosen.begin.is_empty() {
        return retyped;
    }
    let mut wanting: HashSet<&str> = HashSet::new();
    for state in picture.world.guests.iter().filter(|state| !state.leaving) {
        let Some(guest) = picture.guests.get(&state.uid) else { continue };
        match wish(guest, &picture.world, assumed) {
            Some(Wish::Another) => drop(wanting.insert(&state.uid)),
            Some(Wish::Never(why)) => drop(retyped.kept.insert(state.uid.clone(), why.to_owned())),
            None => {}
        }
    }
    for one in plan::retype::retype(&picture.world, &plan.bindings, |uid| wanting.contains(uid)) {
        let Some(guest) = picture.guests.get(&one.guest) else { continue };
        let Some(binding) = valid_binding(guest, assumed) else { continue };
        let (size, words) = (guest.spec.template.size, binding.instance_type.as_deref().unwrap_or_default());
        match one.chosen {
            Ok(name) => {
                let binding = Binding { instance_type: Some(name), size: Some(size), ..binding.clone() };
                retyped.bindings.push((one.guest, binding));
            }
            Err(why) => {
                let why = format!("{KEEPS} {words} in {}: {why}", binding.pool);
                retyped.kept.insert(one.guest, why);
            }
        }
    }
    retyped
}

fn wish(guest: &Guest, world: &World, assumed: &Assumed) -> Option<Wish> {
    let binding = valid_binding(guest, assumed)?;
    let name = binding.instance_type.as_ref()?;
    let status = guest.status.as_ref()?;
    let size = guest.spec.template.size;
    if binding.size == Some(size) {
        return None;
    }
    // What has never been seen may still turn up with the type that it was asked for with.
    let seen = status.creation.as_ref().is_some_and(|made| made.seen && made.incarnation == binding.incarnation);
    let stands = matches!(status.phase, Some(Phase::Running | Phase::Stopped));
    if !seen || !stands || !Mandate::new(&guest.spec, status).update {
        return None;
    }
    let too_small = is_too_small(world, binding, name, size);
    // Of a binding that does not say what its type was chosen for, only this is certain.
    if binding.size.is_none() && too_small != Some(true) {
        return None;
    }
    if binding.spot {
        let never = "it keeps its type, as spot capacity cannot be switched off to have another: delete this Guest to have it \
                     made anew, with new disks";
        return (too_small == Some(true)).then_some(Wish::Never(never));
    }
    Some(Wish::Another)
}

/// Whether the type is smaller than the guest is to be. `None`: its size is not known.
fn is_too_small(world: &World, binding: &Binding, name: &str, size: Size) -> Option<bool> {
    let pool = world.pools.iter().find(|pool| pool.name == binding.pool)?;
    let Capacity::Offerings(list) = &pool.capacity else { return None };
    let offer = list.iter().find(|offer| offer.instance_type == name)?;
    Some(offer.vcpus < size.vcpus || offer.memory < size.memory)
}

#[cfg(test)]
#[path = "retype_tests.rs"]
mod tests;
