use super::*;
use crate::cli::testing;

#[test]
fn what_belongs_to_what() {
    let objects = testing::cluster();
    insta::assert_yaml_snapshot!(tree(&objects.workloads, &objects.guests, testing::now()));
}

#[test]
fn guests_stand_in_the_order_of_their_numbers() {
    let mut objects = testing::cluster();
    let mut tenth = objects.guests[0].clone();
    tenth.metadata.name = Some("web-10".into());
    objects.guests.insert(0, tenth);
    let tree = tree(&objects.workloads, &objects.guests, testing::now());
    let names: Vec<_> = tree.iter().flat_map(|node| &node.guests).map(|guest| guest.name.as_str()).collect();
    assert_eq!(names, ["erp-0", "left-0", "web-0", "web-1", "web-2", "web-3", "web-10"]);
}

#[test]
fn what_was_said_of_another_generation_does_not_count() {
    let mut objects = testing::cluster();
    objects.guests[0].metadata.generation = Some(3);
    let node = |objects: &testing::Objects| {
        tree(&objects.workloads, &objects.guests, testing::now()).pop().unwrap().guests.remove(0).state
    };
    assert_eq!(node(&objects), State::InProgress);
    objects.guests[0].metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(testing::now()));
    assert_eq!(node(&objects), State::Terminating);
}

#[test]
fn the_making_of_a_vm_has_steps() {
    let creation = |change: &dyn Fn(&mut Creation)| {
        let objects = testing::cluster();
        let mut creation = objects.guests[3].status.clone().unwrap().creation.unwrap();
        change(&mut creation);
        progress(&creation, testing::now())
    };
    assert_eq!(creation(&|_| {}), "asked for 20s ago");
    assert_eq!(creation(&|c| c.seen = true), "made, not started yet");
    assert_eq!(creation(&|c| (c.seen, c.started) = (true, true)), "made and started");
    assert_eq!(creation(&|c| c.refused = Some("full".into())), "refused, being removed");
    let gone = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time("2026-11-25T11:57:00Z".parse().unwrap());
    assert_eq!(creation(&|c| c.missing_since = Some(gone.clone())), "missing for 3m");
}
