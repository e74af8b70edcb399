//! What is found out about guests that have a place: moves that need a person, room at home, what they cost now, and
//! rules that their place no longer keeps. Pure.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;

use super::{
    gather::Picture,
    moves::Chosen,
    status::{self, Remarks},
};
use crate::plan::{Plan, review::Standing};

/// What is found out about all of them.
#[derive(Debug, Default)]
pub struct All(HashMap<String, Remarks>);

impl All {
    /// Puts together what is known of each guest that has a place. `review`: prices and rules, where they were looked at.
    #[must_use]
    pub fn new(picture: &Picture<'_>, plan: &Plan, chosen: &Chosen, review: Option<&[Standing]>) -> Self {
        let world = &picture.world;
        let moving: HashSet<&str> = picture.flights.iter().map(|flight| flight.guest.as_str()).collect();
        let begun: HashSet<&str> = chosen.begin.iter().map(|(guest, _)| guest.as_str()).collect();
        let busy_pools: HashSet<&str> = picture.flights.iter().map(|flight| flight.pool.as_str()).collect();
        let home_room: HashSet<&str> = plan.home_room.iter().map(String::as_str).collect();
        let mut all: HashMap<String, Remarks> = HashMap::new();
        for state in &world.guests {
            let (Some(bound), true) = (&state.bound, picture.guests.contains_key(&state.uid)) else { continue };
            let uid = state.uid.as_str();
            let remarks = all.entry(state.uid.clone()).or_default();
            remarks.place =
                Some(bound.host.as_ref().map_or(bound.pool.clone(), |host| format!("{}/{host}", bound.pool)));
            if state.leaving && !moving.contains(uid) {
                continue;
            }
            if moving.contains(uid) || begun.contains(uid) {
                remarks.proposal = Some(None);
                continue;
            }
            remarks.home_room = Some(home_room.contains(uid));
            let proposal = chosen.proposals.get(uid).cloned();
            // While others of the pool move, who can go nowhere may soon be able to.
            if proposal.is_some() || !busy_pools.contains(bound.pool.as_str()) {
                remarks.proposal = Some(proposal);
            }
        }
        for standing in review.into_iter().flatten() {
            let Some(state) = world.guests.get(standing.guest) else { continue };
            let Some(remarks) = all.get_mut(&state.uid) else { continue };
            // What one costs is what it costs while it runs.
            remarks.hourly = state.powered_on.then_some(standing.hourly);
            remarks.broken = Some(broken(standing, state, chosen));
        }
        Self(all)
    }

    /// Those of whom something new is known, without guests that are written of anyway; in the order of their UIDs.
    #[must_use]
    pub fn news(&self, picture: &Picture<'_>, now: Timestamp, busy: &HashSet<String>) -> Vec<(String, Remarks)> {
        let is_new = |(uid, remarks): &(&String, &Remarks)| {
            let old = picture.guests.get(*uid).and_then(|guest| guest.status.as_ref());
            !busy.contains(*uid) && old.is_some_and(|old| status::remarked(old, remarks, now).is_some())
        };
        let mut news: Vec<_> =
            self.0.iter().filter(is_new).map(|(uid, remarks)| (uid.clone(), remarks.clone())).collect();
        news.sort_by(|a, b| a.0.cmp(&b.0));
        news
    }
}

/// Which rules a guest is there against, and what becomes of it.
fn broken(standing: &Standing, state: &crate::plan::GuestState, chosen: &Chosen) -> Option<String> {
    let pool = &state.bound.as_ref()?.pool;
    let rules: Vec<String> =
        (standing.broken.iter()).map(|failure| format!("{:?}: {pool} is {}", failure.rule, failure.short)).collect();
    if rules.is_empty() {
        return None;
    }
    let then = if state.recreate {
        "it is made anew elsewhere as soon as there is room and its turn comes"
    } else if chosen.proposals.contains_key(&state.uid) {
        "it stays, see status.placement.proposal; allow Recreate in mobility, change the rule, or move it by hand"
    } else {
        "it stays: change the rule, or move it by hand"
    };
    Some(format!("{}; {then}", rules.join("; ")))
}

#[cfg(test)]
#[path = "remarks_tests.rs"]
mod tests;
