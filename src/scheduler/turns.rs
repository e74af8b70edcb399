//! Guests of a workload take their turns in the order of their numbers, however they come into being. Pure.
//!
//! They are made side by side, so which of them is there first is chance; and the one that is decided on first gets the
//! better place.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;

use super::gather::{Assumed, valid_binding};
use crate::{api::Guest, plan, workload::decide::ordinal};

/// How long a new guest waits for those of lower numbers to be made. Something may keep them from it, a quota or somebody
/// else's webhook: then it goes without them.
const PATIENCE: SignedDuration = SignedDuration::from_secs(10);

/// The guests whose turn it is, and when the first of the others has waited long enough.
#[must_use]
pub fn due(guests: Vec<Arc<Guest>>, assumed: &Assumed, now: Timestamp) -> (Vec<Arc<Guest>>, Option<Timestamp>) {
    let waits: Vec<Option<Timestamp>> = guests.iter().map(|guest| may_wait_until(guest, assumed, now)).collect();
    if waits.iter().all(Option::is_none) {
        return (guests, None);
    }
    let holes = first_holes(guests.iter().zip(&waits).filter_map(|(guest, wait)| wait.map(|_| &**guest)), &guests);
    let early = |guest: &Guest| {
        let number = ordinal(&guest.spec.workload, &guest.name_any());
        number.zip(holes.get(&workload_of(guest))).is_some_and(|(number, hole)| number > *hole)
    };
    let mut until: Option<Timestamp> = None;
    let mut due = Vec::with_capacity(guests.len());
    for (guest, wait) in guests.iter().zip(waits) {
        match wait.filter(|_| early(guest)) {
            Some(end) => until = Some(until.map_or(end, |first| first.min(end))),
            None => due.push(Arc::clone(guest)),
        }
    }
    (due, until)
}

/// Until when a guest can wait for others: one that has no place yet, needs one, and was made just now. A clock that is
/// behind must not make it wait for hours.
fn may_wait_until(guest: &Guest, assumed: &Assumed, now: Timestamp) -> Option<Timestamp> {
    let is_new = valid_binding(guest, assumed).is_none()
        && guest.spec.binding.is_none()
        && guest.spec.adopt.is_none()
        && guest.metadata.deletion_timestamp.is_none();
    let made = guest.creation_timestamp().filter(|_| is_new)?.0;
    (now.duration_since(made).abs() < PATIENCE).then(|| made.checked_add(PATIENCE).ok())?
}

/// The namespace and the name of a guest's workload.
fn workload_of(guest: &Guest) -> (&str, &str) {
    (guest.metadata.namespace.as_deref().unwrap_or_default(), &guest.spec.workload)
}

/// The lowest number that no guest has, for the workloads of the `waiting`. A guest counts by its name: one that somebody
/// else made keeps the workload from making its own.
fn first_holes<'g>(
    waiting: impl Iterator<Item = &'g Guest>,
    guests: &'g [Arc<Guest>],
) -> HashMap<(&'g str, &'g str), u32> {
    let of_interest: HashSet<_> = waiting.map(workload_of).collect();
    let names: HashSet<(&str, &str)> = guests
        .iter()
        .filter_map(|guest| Some((guest.metadata.namespace.as_deref()?, guest.metadata.name.as_deref()?)))
        .collect();
    let is_there = |namespace: &str, workload: &str, number: u32| {
        let name = format!("{workload}-{number}");
        names.contains(&(namespace, name.as_str()))
    };
    let hole = |(namespace, workload)| {
        let free = (0..u32::MAX).find(|number| !is_there(namespace, workload, *number));
        ((namespace, workload), free.unwrap_or(u32::MAX))
    };
    of_interest.into_iter().map(hole).collect()
}

/// Guests of a workload that wait for a place count as made together: which of them is a second older is chance.
pub(super) fn count_as_made_together(states: &mut [plan::GuestState]) {
    let mut first: HashMap<(String, String), Timestamp> = HashMap::new();
    for state in states.iter().filter(|state| state.bound.is_none()) {
        let made = first.entry((state.namespace.clone(), state.workload.clone())).or_insert(state.created_at);
        *made = state.created_at.min(*made);
    }
    for state in states.iter_mut().filter(|state| state.bound.is_none()) {
        if let Some(made) = first.get(&(state.namespace.clone(), state.workload.clone())) {
            state.created_at = *made;
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::{Value, json};

    use super::{
        super::{
            gather::picture,
            pools::Namespaces,
            testing::{guest, now, pool},
        },
        *,
    };

    /// A guest that was made so many seconds ago.
    fn made(name: &str, seconds: i64, more: &Value) -> Arc<Guest> {
        let mut guest = (*guest(name, more)).clone();
        guest.metadata.creation_timestamp = Some(Time(now() - SignedDuration::from_secs(seconds)));
        Arc::new(guest)
    }

    fn new(name: &str) -> Arc<Guest> {
        made(name, 1, &json!({}))
    }

    /// Whose turn it is, and in how many seconds that of another comes at the latest.
    fn turns(guests: Vec<Arc<Guest>>, assumed: &Assumed) -> (Vec<String>, Option<i64>) {
        let (due, until) = due(guests, assumed, now());
        (due.iter().map(|guest| guest.name_any()).collect(), until.map(|until| until.duration_since(now()).as_secs()))
    }

    #[test]
    fn a_new_guest_waits_for_those_of_lower_numbers_and_not_for_ever() {
        let bound = json!({ "spec": { "binding": { "pool": "xen", "incarnation": 1 } } });
        let gone = json!({ "spec": bound["spec"], "status": { "incarnation": 2 } });
        let adopts = json!({ "spec": { "adopt": { "ordinal": 1, "pool": "xen", "providerId": "vm" } } });
        let leaves = json!({ "metadata": { "deletionTimestamp": "2027-01-15T08:00:00Z" } });
        let other = json!({ "spec": { "workload": "mail" } });
        let elsewhere = json!({ "metadata": { "namespace": "bank", "uid": "bank" } });
        for (why, guests, due, until) in [
            ("nobody is missing", vec![new("web-1"), new("web-0")], vec!["web-1", "web-0"], None),
            (
                "two and three are still to come",
                vec![new("web-0"), new("web-1"), made("web-4", 3, &json!({})), new("web-5")],
                vec!["web-0", "web-1"],
                Some(7),
            ),
            ("none of those before it is there", vec![new("web-10")], vec![], Some(9)),
            ("it has waited long enough", vec![made("web-1", 10, &json!({}))], vec!["web-1"], None),
            ("a clock is an hour behind", vec![made("web-1", -3600, &json!({}))], vec!["web-1"], None),
            ("a clock is a second behind", vec![made("web-1", -1, &json!({}))], vec![], Some(11)),
            ("it has its place", vec![made("web-1", 1, &bound)], vec!["web-1"], None),
            ("its VM is gone", vec![made("web-1", 1, &gone)], vec!["web-1"], None),
            ("it goes to the VM that it adopts", vec![made("web-1", 1, &adopts)], vec!["web-1"], None),
            ("it leaves", vec![made("web-1", 1, &leaves)], vec!["web-1"], None),
            (
                "the one before it has a place",
                vec![made("web-0", 90, &bound), new("web-1")],
                vec!["web-0", "web-1"],
                None,
            ),
            ("the one before it leaves", vec![made("web-0", 90, &leaves), new("web-1")], vec!["web-0", "web-1"], None),
            ("the name is somebody else's", vec![made("web-0", 1, &other), new("web-1")], vec!["web-0", "web-1"], None),
            (
                "that one is in another namespace",
                vec![made("web-0", 1, &elsewhere), new("web-1")],
                vec!["web-0"],
                Some(9),
            ),
            ("it has no number of its workload", vec![new("mail-1")], vec!["mail-1"], None),
        ] {
            let due: Vec<String> = due.into_iter().map(str::to_owned).collect();
            assert_eq!(turns(guests, &Assumed::default()), (due, until), "{why}");
        }
    }

    #[test]
    fn one_that_was_bound_just_now_waits_for_nobody() {
        let binding = serde_json::from_value(json!({ "pool": "xen", "incarnation": 1 })).unwrap();
        let assumed = Assumed { bindings: HashMap::from([("web-1".to_owned(), binding)]), ..Assumed::default() };
        assert_eq!(turns(vec![new("web-1"), new("web-2")], &assumed), (vec!["web-1".to_owned()], Some(9)));
    }

    #[test]
    fn guests_of_a_workload_that_wait_count_as_made_together() {
        let bound = json!({ "spec": { "binding": { "pool": "xen", "incarnation": 1, "host": "a" } } });
        let guests = [made("web-3", 1, &json!({})), made("web-4", 2, &json!({})), made("web-9", 90, &bound)];
        let picture =
            picture(&guests, &[pool("xen", &json!({}))], &Namespaces::new(), &mut Assumed::default(), now()).unwrap();
        let at = |guest: usize| now().duration_since(picture.world.guests[guest].created_at).as_secs();
        assert_eq!([at(0), at(1), at(2)], [2, 2, 90]);
    }
}
