use serde_json::json;

use super::*;
use crate::{api::quantity::Bytes, provider::Key};

fn vm(guest: &str, incarnation: u32, name: &str) -> Found {
    let key = Key { guest: guest.into(), incarnation, namespace: "shop".into(), name: name.into() };
    let mut vm = ObservedGuest::new(key, format!("vm-{guest}-{incarnation}"), Stage::Complete, Power::Running);
    vm.memory = Some(Bytes(1 << 30));
    Found { pool: "home".into(), host: Some("h1".into()), vm }
}

fn workload(name: &str, replicas: u32) -> VirtualWorkload {
    let template = json!({ "image": { "name": "debian" }, "size": { "vcpus": 1, "memory": "1Gi" } });
    serde_json::from_value(json!({ "apiVersion": "innkeeper.dev/v1alpha1", "kind": "VirtualWorkload",
        "metadata": { "name": name, "namespace": "shop", "uid": "w" },
        "spec": { "replicas": replicas, "template": template } }))
    .unwrap()
}

fn guest(name: &str, identity: Option<&str>, binding: Option<&Binding>) -> Guest {
    let template = json!({ "image": { "name": "debian" }, "size": { "vcpus": 1, "memory": "1Gi" } });
    serde_json::from_value(json!({ "apiVersion": "innkeeper.dev/v1alpha1", "kind": "Guest",
        "metadata": { "name": name, "namespace": "shop", "uid": "fresh" },
        "spec": { "workload": "web", "template": template, "identity": identity, "binding": binding } }))
    .unwrap()
}

fn whys(plan: &Plan) -> Vec<(&str, &Why)> {
    plan.left.iter().map(|left| (left.provider_id.as_str(), &left.why)).collect()
}

#[test]
fn each_vm_becomes_the_guest_that_it_is_marked_as() {
    let plan = decide(vec![vm("a", 1, "web-0"), vm("b", 3, "web-1")], &[workload("web", 2)], &[]);
    let claims: Vec<_> = plan
        .claims
        .iter()
        .map(|claim| (&*claim.name, &*claim.identity, claim.binding.incarnation, claim.is_new))
        .collect();
    assert_eq!(claims, [("web-0", "a", 1, true), ("web-1", "b", 3, true)]);
    assert_eq!(plan.claims[0].binding.host.as_deref(), Some("h1"));
    assert!(plan.left.is_empty());
}

#[test]
fn what_cannot_be_told_apart_is_left() {
    let cases: [(Vec<Found>, Vec<Why>); 4] = [
        (vec![vm("a", 1, "web-0"), vm("a", 2, "web-0")], vec![Why::Older]),
        (vec![vm("a", 1, "web-0"), vm("b", 1, "web-0")], vec![Why::Ambiguous { other: "vm-a-1 or vm-b-1".into() }; 2]),
        (vec![vm("a", 1, "db-0")], vec![Why::NoWorkload]),
        (vec![vm("a", 1, "web-4")], vec![Why::BeyondReplicas { workload: "web".into(), needed: 5 }]),
    ];
    for (found, expected) in cases {
        let plan = decide(found.clone(), &[workload("web", 2)], &[]);
        let whys: Vec<Why> = plan.left.iter().map(|left| left.why.clone()).collect();
        assert_eq!(whys, expected, "{found:?}");
        assert_eq!(plan.claims.len() + plan.left.len(), found.len());
    }
}

#[test]
fn two_vms_of_one_incarnation_are_one_too_many() {
    let mut second = vm("a", 1, "web-0");
    second.vm.provider_id = "vm-copy".into();
    second.pool = "cloud".into();
    let plan = decide(vec![vm("a", 1, "web-0"), second], &[workload("web", 2)], &[]);
    assert!(plan.claims.is_empty() && plan.left.len() == 2, "{plan:?}");
}

#[test]
fn what_never_started_or_is_gone_is_no_guest() {
    let mut unfinished = vm("a", 1, "web-0");
    unfinished.vm.stage = Stage::Incomplete;
    let mut gone = vm("b", 1, "web-1");
    gone.vm.power = Power::Terminated;
    let plan = decide(vec![unfinished, gone], &[workload("web", 2)], &[]);
    assert_eq!((plan.claims.len(), whys(&plan)), (0, vec![("vm-a-1", &Why::Unfinished)]));
}

#[test]
fn a_second_run_changes_nothing_and_takes_no_name() {
    let first = decide(vec![vm("a", 1, "web-0")], &[workload("web", 1)], &[]);
    let written = guest("web-0", Some("a"), Some(&first.claims[0].binding));
    let again = decide(vec![vm("a", 1, "web-0")], &[workload("web", 1)], &[written]);
    assert_eq!(again.claims, [Claim { is_new: false, ..first.claims[0].clone() }]);

    let other = guest("web-0", None, None);
    let plan = decide(vec![vm("a", 1, "web-0")], &[workload("web", 1)], &[other]);
    assert_eq!(whys(&plan), [("vm-a-1", &Why::NameTaken)]);

    let moved = Binding { incarnation: 2, ..first.claims[0].binding.clone() };
    let plan = decide(vec![vm("a", 1, "web-0")], &[workload("web", 1)], &[guest("web-0", Some("a"), Some(&moved))]);
    assert_eq!(whys(&plan), [("vm-a-1", &Why::MovedOn)]);
}
