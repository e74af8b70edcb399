use serde_json::{Value, json};

use super::*;

/// A pool of rented types and guests web-0, web-1 and so on in it, one vCPU and 1 GiB each unless `more` says otherwise.
fn world(limits: &Value, guests: &[Value]) -> World {
    let offer = |name: &str, vcpus: u32, memory: &str, hourly: &str, zone: &str| {
        json!({ "instanceType": name, "zone": zone, "vcpus": vcpus, "memory": memory,
                "hourly": { "amount": hourly, "currency": "EUR" } })
    };
    let mut offerings = vec![
        offer("small", 2, "2Gi", "0.02", "a"),
        offer("large", 2, "8Gi", "0.08", "a"),
        offer("huge", 16, "64Gi", "0.60", "a"),
        offer("large-b", 2, "8Gi", "0.04", "b"),
        offer("taken", 2, "8Gi", "0.05", "a"),
        offer("spot", 2, "8Gi", "0.01", "a"),
        offer("alike", 2, "2Gi", "0.02", "a"),
    ];
    offerings[4]["backedOffUntil"] = json!("2027-01-15T09:00:00Z");
    offerings[5]["spot"] = json!(true);
    let guest = |(n, more): (usize, &Value)| {
        let mut state = json!({
            "uid": format!("web-{n}"), "namespace": "shop", "name": format!("web-{n}"), "workload": "web",
            "createdAt": "2027-01-15T07:00:00Z", "size": { "vcpus": 1, "memory": "1Gi" },
            "bound": { "pool": "ec2", "instanceType": "small", "zone": "a" },
        });
        more.as_object().unwrap().iter().for_each(|(key, value)| state[key] = value.clone());
        state
    };
    serde_json::from_value(json!({
        "now": "2027-01-15T08:00:00Z", "currency": "EUR",
        "pools": [{ "name": "ec2", "limits": limits, "capacity": { "offerings": offerings } }],
        "guests": guests.iter().enumerate().map(guest).collect::<Vec<_>>(),
    }))
    .unwrap()
}

fn sized(vcpus: u32, memory: &str) -> Value {
    json!({ "size": { "vcpus": vcpus, "memory": memory } })
}

fn chosen(world: &World) -> Vec<Result<String, String>> {
    retype(world, &[], |_| true).into_iter().map(|one| one.chosen).collect()
}

#[test]
fn the_cheapest_that_fits_in_the_same_zone_and_stock() {
    for (size, bound, expected) in [
        (sized(2, "4Gi"), "small", "large"),
        (sized(8, "4Gi"), "small", "huge"),
        (sized(1, "1Gi"), "huge", "alike"),
        // What it has is kept where it is as cheap.
        (sized(2, "2Gi"), "small", "small"),
        (sized(2, "2Gi"), "alike", "alike"),
        (sized(2, "4Gi"), "sold no more", "large"),
    ] {
        let mut guest = size;
        guest["bound"] = json!({ "pool": "ec2", "instanceType": bound, "zone": "a" });
        let world = world(&json!({}), &[guest.clone()]);
        assert_eq!(chosen(&world), [Ok(expected.to_owned())], "{guest}");
    }
}

#[test]
fn what_cannot_be_had_is_said() {
    let limits = |limits: Value, guests: &[Value]| chosen(&world(&limits, guests)).remove(0).unwrap_err();
    assert_eq!(limits(json!({}), &[sized(32, "4Gi")]), "no type that can be had there has 32 vCPU and 4 GiB");
    let spend = json!({ "monthlySpend": { "amount": "50", "currency": "EUR" } });
    assert_eq!(limits(spend, &[sized(2, "4Gi")]), "with large it would be 8.4 EUR a month over its spending limit");
    let memory = json!({ "memory": "6Gi" });
    assert_eq!(limits(memory, &[sized(2, "4Gi")]), "with large it would be 2 GiB memory over its limit of 6 GiB");
    let mut poor = sized(2, "4Gi");
    poor["policy"] = json!({ "budget": { "amount": "50", "currency": "EUR" } });
    assert_eq!(limits(json!({}), &[poor]), "with large it would be 8.4 EUR a month over the budget");
}

#[test]
fn one_after_the_other_counts_against_the_limits() {
    // 73 a month: one large (58.4) and one small (14.6).
    let spend = json!({ "monthlySpend": { "amount": "73", "currency": "EUR" } });
    let both = world(&spend, &[sized(2, "4Gi"), sized(2, "4Gi")]);
    let said = chosen(&both);
    assert_eq!(said[0], Ok("large".to_owned()));
    assert!(said[1].is_err(), "{said:?}");
    // Who is placed in the same round counts too.
    let mut new = sized(1, "1Gi");
    new["bound"] = Value::Null;
    let with_new = world(&spend, &[sized(2, "4Gi"), new]);
    let place = Bound {
        pool: "ec2".into(),
        host: None,
        instance_type: Some("large".into()),
        zone: Some("a".into()),
        spot: false,
    };
    let placed = Binding { guest: "web-1".into(), place, lane: Lane::Paid, hourly: None };
    let said = retype(&with_new, &[placed], |uid| uid == "web-0");
    assert!(said[0].chosen.is_err(), "{said:?}");
}
