use serde_json::{Value, json};

use super::{
    super::{
        gather::{Assumed, picture},
        pools::Namespaces,
        testing::*,
    },
    *,
};

/// A guest on xen1 whose present VM was to move so many seconds ago.
fn moving(kind: &str, ago: i64, outcome: Option<&str>) -> Value {
    let decided_at = (now() - SignedDuration::from_secs(ago)).to_string();
    let outcome =
        outcome.map(|outcome| json!({ "decidedAt": decided_at, "outcome": outcome, "message": "so it went" }));
    json!({
        "spec": {
            "binding": { "pool": "xen", "incarnation": 1, "host": "a" },
            "relocation": {
                "incarnation": 1, "kind": kind, "pool": "xen", "host": "b", "reason": "drain", "decidedAt": decided_at,
            },
        },
        "status": { "phase": "Running", "host": "xen1", "relocation": outcome },
    })
}

fn stands(object: &Value) -> Standing {
    let guest = guest("web-0", object);
    standing(&guest, guest.spec.relocation.as_ref(), now())
}

#[test]
fn a_move_is_under_way_until_its_outcome_is_seen() {
    for (kind, ago, outcome, expected) in [
        ("Live", 1, None, Standing::UnderWay),
        ("Live", 100_000, None, Standing::UnderWay),
        ("Live", 30, Some("Done"), Standing::Done),
        ("Live", 30, Some("Failed"), Standing::UnderWay),
        ("Live", 600, Some("Failed"), Standing::Over),
        ("Live", 1, Some("Refused"), Standing::Over),
        ("Recreate", 100_000, None, Standing::UnderWay),
        ("Recreate", 1, Some("Refused"), Standing::Over),
    ] {
        assert_eq!(stands(&moving(kind, ago, outcome)), expected, "{kind} {ago} {outcome:?}");
    }
}

#[test]
fn the_outcome_of_another_decision_says_nothing_and_one_for_an_earlier_vm_is_void() {
    let mut other = moving("Live", 5, Some("Done"));
    other["status"]["relocation"]["decidedAt"] = json!("2027-01-15T07:00:00Z");
    assert_eq!(stands(&other), Standing::UnderWay);
    let mut renewed = moving("Live", 5, None);
    renewed["status"]["incarnation"] = json!(2);
    assert_eq!(stands(&renewed), Standing::None);
    let mut off = moving("Live", 5, None);
    merge(&mut off, &json!({ "spec": { "template": { "powerState": "Stopped" } } }));
    assert_eq!(stands(&off), Standing::Over);
    assert_eq!(stands(&json!({})), Standing::None);
}

fn world(objects: &[Value], assumed: &mut Assumed) -> (plan::World, Vec<Flight>) {
    let guests: Vec<_> = (0..).zip(objects).map(|(n, object)| guest(&format!("web-{n}"), object)).collect();
    let pools = [pool("xen", &json!({})), rented("ec2", "EUR")];
    let picture = picture(&guests, &pools, &Namespaces::new(), assumed, now()).unwrap();
    (picture.world, picture.flights)
}

#[test]
fn a_guest_on_the_move_counts_where_it_is_and_where_it_goes_and_is_left_alone() {
    let (world, flights) = world(&[moving("Live", 5, None)], &mut Assumed::default());
    let host = |at: usize| world.guests[at].bound.as_ref().unwrap().host.clone().unwrap();
    assert_eq!((world.guests.len(), host(0), host(1)), (2, "xen1".to_owned(), "xen2".to_owned()));
    assert!(world.guests.iter().all(|guest| guest.leaving && guest.powered_on));
    assert_ne!(world.guests[0].uid, world.guests[1].uid);
    let expected = Flight { guest: "web-0".into(), pool: "xen".into(), host: Some("xen1".into()), kind: Move::Live };
    assert_eq!(flights, [expected]);
    let (arrived, flights) = self::world(&[moving("Live", 5, Some("Done"))], &mut Assumed::default());
    assert!(arrived.guests.len() == 1 && !arrived.guests[0].leaving && flights.is_empty());
}

#[test]
fn what_was_decided_counts_before_the_watch_brings_it_and_not_after() {
    let mut still = moving("Live", 5, None);
    let relocation: Relocation = serde_json::from_value(still["spec"]["relocation"].take()).unwrap();
    let mut assumed = Assumed::default();
    assumed.relocations.insert("web-0".into(), relocation);
    assert_eq!(world(&[still], &mut assumed).0.guests.len(), 2);
    assert_eq!(world(&[moving("Live", 5, Some("Done"))], &mut assumed).0.guests.len(), 1);
    assert!(assumed.relocations.is_empty());
}

#[test]
fn a_guest_that_is_made_anew_has_its_place_kept() {
    let mut going = moving("Recreate", 5, None);
    merge(
        &mut going,
        &json!({ "spec": { "relocation": { "pool": "ec2", "host": null, "instanceType": "t3.small" } } }),
    );
    let (before, _) = world(std::slice::from_ref(&going), &mut Assumed::default());
    let shadow = before.guests[1].bound.as_ref().unwrap();
    assert_eq!((shadow.pool.as_str(), shadow.instance_type.as_deref()), ("ec2", Some("t3.small")));
    // Its VM is gone: it has no place, one is kept for it, and it need not wait for paid capacity.
    going["status"] = json!({ "incarnation": 2, "phase": "Pending" });
    let (after, flights) = world(std::slice::from_ref(&going), &mut Assumed::default());
    assert!(flights.is_empty() && after.guests.len() == 1 && after.guests[0].bound.is_none());
    assert_eq!(after.guests[0].reserved.as_ref(), Some(shadow));
    // Were its next VM refused, it would be placed like any other.
    going["status"]["incarnation"] = json!(3);
    assert_eq!(world(&[going], &mut Assumed::default()).0.guests[0].reserved, None);
}

#[test]
fn a_kept_place_goes_to_nobody_else() {
    let mut kept = moving("Recreate", 5, None);
    kept["status"] = json!({ "incarnation": 2, "phase": "Pending" });
    // Each of the two hosts has room for one guest of this size; the others come first by name, age and priority.
    let large = json!({ "spec": {
        "template": { "size": { "memory": "20Gi" } },
        "placement": { "priority": 5, "burst": { "policy": "Never" } },
    }});
    let mut objects = vec![large.clone(), large.clone()];
    merge(&mut kept, &json!({ "spec": { "template": { "size": { "memory": "20Gi" } } } }));
    objects.push(kept);
    let (world, _) = world(&objects, &mut Assumed::default());
    let plan = plan::decide(&world, &plan::Options::default());
    assert!(plan.bindings.iter().any(|binding| binding.guest == "web-2"), "{plan:?}");
    assert_eq!(plan.unplaced.len(), 1);
}
