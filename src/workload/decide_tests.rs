use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::prelude::*;

use super::*;
use crate::{
    api::{
        care::Hold,
        template::PowerState,
        virtual_workload::{Burst, BurstPolicy, Placement},
    },
    workload::testing::{guest, guests, workload},
};

fn deleting(name: &str) -> Arc<Guest> {
    let mut guest = guest(name);
    guest.metadata.deletion_timestamp = Some(Time(jiff::Timestamp::UNIX_EPOCH));
    Arc::new(guest)
}

fn names(plan: &Plan) -> Vec<&str> {
    plan.delete.iter().map(|(name, _)| name.as_str()).collect()
}

#[test]
fn guests_are_made_from_zero_on_and_go_from_the_highest() {
    assert_eq!(decide(&workload(3), &[]).make, [0, 1, 2]);
    assert_eq!(decide(&workload(4), &guests(2)).make, [2, 3]);
    let plan = decide(&workload(9), &guests(12));
    assert_eq!((names(&plan), plan.make.len()), (vec!["web-11", "web-10", "web-9"], 0));
    assert_eq!(plan.delete[0].1, "uid-of-web-11", "a later guest of the name is not meant");
    assert_eq!(decide(&workload(2), &guests(2)), Plan::default());
}

#[test]
fn a_hole_is_filled_and_a_leaving_guest_is_waited_for() {
    let some = [Arc::new(guest("web-0")), Arc::new(guest("web-2"))];
    assert_eq!(decide(&workload(3), &some).make, [1]);
    assert_eq!(decide(&workload(1), &[deleting("web-0")]), Plan::default());
    assert_eq!(decide(&workload(0), &[deleting("web-0")]), Plan::default());
}

#[test]
fn names_that_a_workload_would_not_give_are_not_its_own() {
    for (name, number) in [
        ("web-0", Some(0)),
        ("web-17", Some(17)),
        ("web-00", None),
        ("web-+1", None),
        ("web--1", None),
        ("web-", None),
        ("web", None),
        ("web-a-0", None),
        ("web-4294967296", None),
        ("webber-0", None),
    ] {
        assert_eq!(ordinal("web", name), number, "{name}");
    }
    let strange = ["web-00", "web-a-0"].map(|name| Arc::new(guest(name)));
    assert_eq!(decide(&workload(0), &strange), Plan::default());
}

#[test]
fn what_belongs_to_somebody_else_is_neither_changed_nor_deleted() {
    let mut theirs = guest("web-0");
    theirs.owner_references_mut()[0].uid = "a workload of the same name before this one".into();
    let mut orphan = guest("web-1");
    orphan.metadata.owner_references = None;
    let mut owned_only = guest("web-2");
    owned_only.owner_references_mut()[0].controller = None;
    let all = [theirs, orphan, owned_only].map(Arc::new);
    let plan = decide(&workload(3), &all);
    assert_eq!((plan.taken.len(), plan.make.len(), plan.update.len()), (3, 0, 0));
    assert_eq!(decide(&workload(0), &all), Plan::default());
}

#[test]
fn a_guest_follows_its_workload_and_keeps_its_binding() {
    let mut bound = guest("web-0");
    bound.spec.binding = serde_json::from_value(serde_json::json!({ "pool": "xen", "incarnation": 1 })).unwrap();
    let bound = [Arc::new(bound)];
    assert_eq!(decide(&workload(1), &bound), Plan::default(), "a binding is no difference");
    let mut changed = workload(1);
    changed.spec.template.power_state = Some(PowerState::Stopped);
    assert_eq!(decide(&changed, &bound).update.len(), 1);
    let mut changed = workload(1);
    let burst = Some(Burst { policy: BurstPolicy::Never, after: None, return_home: None });
    changed.spec.placement = Some(Placement { burst, ..Placement::default() });
    let update = decide(&changed, &bound).update;
    assert!(Arc::ptr_eq(&update[0].0, &bound[0]) && update[0].1.placement == changed.spec.placement);
    assert_eq!(update[0].1.binding, bound[0].spec.binding);
    assert_eq!(decide(&changed, &[deleting("web-0")]), Plan::default(), "what leaves is left alone");
    assert_eq!(wished(&changed, 0).binding, None);
}

fn ready(name: &str) -> Guest {
    let mut guest = guest(name);
    guest.status = serde_json::from_value(serde_json::json!({
        "observedGeneration": 1,
        "conditions": [{ "type": "Ready", "status": "True", "reason": "Running", "message": "it runs",
                         "lastTransitionTime": "2027-01-01T00:00:00Z" }],
    }))
    .unwrap();
    guest
}

#[test]
fn a_held_workload_begins_no_deletion_and_a_hold_reaches_what_leaves() {
    let mut held = workload(1);
    held.spec.holds = vec![Hold { name: "case-42".into(), reason: None }];
    let plan = decide(&held, &guests(3));
    assert_eq!((plan.delete.len(), plan.kept, plan.update.len()), (0, 2, 3), "also those that are to go are held");
    let plan = decide(&held, &[deleting("web-0"), deleting("web-1")]);
    assert!(plan.update.len() == 2 && plan.update.iter().all(|(_, spec)| spec.holds == held.spec.holds));
    // Taken out again, it is taken out of what leaves, too.
    let mut leaving = (*deleting("web-1")).clone();
    leaving.spec.holds.clone_from(&held.spec.holds);
    let plan = decide(&workload(1), &[Arc::new(leaving)]);
    assert!(plan.update.len() == 1 && plan.update[0].1.holds.is_empty());
}

#[test]
fn guests_are_restarted_one_after_the_other_and_those_that_are_not_ready_at_once() {
    let at = Some(Time(jiff::Timestamp::from_second(1_800_000_000).unwrap()));
    let mut restart = workload(3);
    restart.spec.template.restart_at.clone_from(&at);
    let told = |all: &[Guest]| {
        let all: Vec<_> = all.iter().cloned().map(Arc::new).collect();
        let plan = decide(&restart, &all);
        plan.update.iter().map(|(guest, _)| guest.name_any()).collect::<Vec<_>>()
    };
    let mut three = ["web-0", "web-1", "web-2"].map(ready);
    assert_eq!(told(&three), ["web-0"]);
    three[0].spec.template.restart_at.clone_from(&at);
    three[0].metadata.generation = Some(2);
    assert_eq!(told(&three), Vec::<String>::new(), "the first is on its way");
    three[0].status.as_mut().unwrap().observed_generation = Some(2);
    assert_eq!(told(&three), ["web-1"]);
    three[2].status = None;
    assert_eq!(told(&three), ["web-2"], "it is not ready anyhow");
    assert_eq!(told(&three[..2]), Vec::<String>::new(), "one is missing");
    assert_eq!(decide(&restart, &[]).make.len(), 3);
    assert_eq!(wished(&restart, 0).template.restart_at, at, "new guests know it from the start");
}

proptest! {
    /// Whatever guests there are: carrying the plan out makes each wished ordinal once, and a second plan is empty.
    #[test]
    fn a_plan_that_was_carried_out_needs_no_other(
        replicas in 0u32..8,
        present in prop::collection::btree_map(0u32..12, 0u8..3, 0..12),
    ) {
        let all: Vec<Arc<Guest>> = present.iter().map(|(number, kind)| {
            let name = format!("web-{number}");
            let mut one = guest(&name);
            match kind {
                0 => one.metadata.owner_references = None,
                1 => return deleting(&name),
                _ => {}
            }
            Arc::new(one)
        }).collect();
        let plan = decide(&workload(replicas), &all);
        prop_assert!(plan.make.iter().all(|number| *number < replicas && !present.contains_key(number)));
        let numbers: Vec<u32> = plan.delete.iter().map(|(name, _)| ordinal("web", name).unwrap()).collect();
        prop_assert!(numbers.iter().all(|number| *number >= replicas && present[number] == 2));
        prop_assert!(numbers.is_sorted_by(|a, b| a > b));
        let mut after: Vec<Arc<Guest>> =
            all.into_iter().filter(|guest| !plan.delete.iter().any(|(name, _)| *name == guest.name_any())).collect();
        after.extend(plan.make.iter().map(|number| Arc::new(guest(&format!("web-{number}")))));
        let second = decide(&workload(replicas), &after);
        prop_assert!(second.make.is_empty() && second.update.is_empty() && second.delete.is_empty());
    }
}
