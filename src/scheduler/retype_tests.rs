use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    super::{
        gather::{self, Assumed},
        pools::Namespaces,
        testing::{guest, merge, now, rented},
    },
    *,
};
use crate::api::{CloudPool, quantity::Bytes};

/// A pool with a type of 2 GiB and one of 8 GiB.
fn pool() -> Arc<CloudPool> {
    let mut pool = (*rented("ec2", "EUR")).clone();
    let paid = pool.spec.pricing.pay_per_use.as_mut().unwrap();
    let mut large = paid.instance_types[0].clone();
    (large.name, large.memory, large.hourly) = ("t3.large".into(), Bytes::gib(8), "0.08".parse().unwrap());
    large.spot_hourly = Some("0.03".parse().unwrap());
    paid.instance_types[0].spot_hourly = Some("0.01".parse().unwrap());
    paid.instance_types.push(large);
    Arc::new(pool)
}

/// A guest of 4 GiB in the type of 2 GiB, which was chosen for 1 GiB.
fn outgrown(more: &Value) -> Arc<Guest> {
    let mut object = json!({
        "metadata": { "resourceVersion": "7" },
        "spec": {
            "template": { "size": { "vcpus": 2, "memory": "4Gi" } },
            "binding": { "pool": "ec2", "incarnation": 1, "instanceType": "t3.small",
                         "size": { "vcpus": 1, "memory": "1Gi" } },
        },
        "status": {
            "phase": "Running", "incarnation": 1,
            "creation": { "incarnation": 1, "pool": "ec2", "askedAt": "2027-01-15T07:00:00Z", "seen": true },
        },
    });
    merge(&mut object, more);
    guest("web-0", &object)
}

fn decided(guest: &Arc<Guest>, assumed: &mut Assumed) -> Retyped {
    let guests = [Arc::clone(guest)];
    let picture = gather::picture(&guests, &[pool()], &Namespaces::new(), assumed, now()).unwrap();
    let plan = plan::decide(&picture.world, &super::super::OPTIONS);
    choose(&picture, &plan, &Chosen::default(), assumed)
}

fn of(more: &Value) -> Retyped {
    decided(&outgrown(more), &mut Assumed::default())
}

#[test]
fn who_outgrows_its_type_is_given_another_for_the_same_vm() {
    let [(uid, binding)] = &of(&json!({})).bindings[..] else { panic!("one") };
    assert_eq!((uid.as_str(), binding.instance_type.as_deref()), ("web-0", Some("t3.large")));
    assert_eq!((binding.incarnation, binding.size), (1, Some(Size { vcpus: 2, memory: Bytes::gib(4) })));
    // Bindings of earlier versions do not say what the type was chosen for.
    let old = json!({ "spec": { "binding": { "size": null } } });
    assert_eq!(of(&old).bindings[0].1.instance_type.as_deref(), Some("t3.large"));
}

#[test]
fn who_has_become_smaller_is_given_a_cheaper_one() {
    let small = json!({ "spec": {
        "template": { "size": { "vcpus": 1, "memory": "1Gi" } },
        "binding": { "instanceType": "t3.large", "size": { "vcpus": 2, "memory": "4Gi" } },
    }});
    assert_eq!(of(&small).bindings[0].1.instance_type.as_deref(), Some("t3.small"));
}

#[test]
fn who_is_left_alone() {
    for (why, more) in [
        ("nothing has changed", json!({ "spec": { "binding": { "size": { "vcpus": 2, "memory": "4Gi" } } } })),
        ("it is being made", json!({ "status": { "phase": "Creating" } })),
        ("it was never seen", json!({ "status": { "creation": { "seen": false } } })),
        ("its VM is gone", json!({ "status": { "incarnation": 2 } })),
        ("it may only be looked at", json!({ "spec": { "managementPolicies": ["Observe"] } })),
        ("it leaves", json!({ "metadata": { "deletionTimestamp": "2027-01-15T07:59:00Z" } })),
        (
            "nobody knows what its type was chosen for, and it fits",
            json!({ "spec": {
                "template": { "size": { "vcpus": 1, "memory": "1Gi" } },
                "binding": { "size": null },
            }}),
        ),
    ] {
        assert_eq!(of(&more), Retyped::default(), "{why}");
    }
}

#[test]
fn who_can_have_no_other_is_told_why() {
    let said = |more: Value| of(&more).kept.remove("web-0").unwrap();
    assert_eq!(
        said(json!({ "spec": { "template": { "size": { "vcpus": 64 } } } })),
        "it keeps its type t3.small in ec2: no type that can be had there has 64 vCPU and 4 GiB"
    );
    let spot = json!({ "spec": { "binding": { "spot": true }, "placement": { "spot": "Allowed" } } });
    assert!(said(spot).contains("spot capacity cannot be switched off"));
}

#[test]
fn what_was_decided_counts_until_the_watch_has_brought_it() {
    let guest = outgrown(&json!({}));
    let mut assumed = Assumed::default();
    let (uid, binding) = decided(&guest, &mut assumed).bindings.remove(0);
    assumed.types.insert(uid, (vec!["7".into(), "8".into()], binding));
    assert_eq!(decided(&guest, &mut assumed), Retyped::default(), "it is not decided twice");
    let written = outgrown(&json!({ "metadata": { "resourceVersion": "8" } }));
    assert_eq!(decided(&written, &mut assumed), Retyped::default(), "its status alone was brought");
    let later = outgrown(&json!({ "metadata": { "resourceVersion": "9" } }));
    assert_eq!(decided(&later, &mut assumed).bindings.len(), 1, "somebody has put it back");
    assert!(assumed.types.is_empty());
}
