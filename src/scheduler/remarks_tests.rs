use serde_json::{Value, json};

use super::{
    super::{
        gather::{Assumed, picture},
        moves::{Reasons, choose},
        pools::Namespaces,
        testing::*,
    },
    *,
};
use crate::{api::GuestStatus, plan};

/// What is new about one guest.
fn news(object: &Value, pools: &[std::sync::Arc<crate::api::CloudPool>], review: bool) -> Option<Remarks> {
    let guests = [guest("web-0", object)];
    let mut assumed = Assumed::default();
    let picture = picture(&guests, pools, &Namespaces::new(), &mut assumed, now()).unwrap();
    let plan = plan::decide(&picture.world, &plan::Options::default());
    let chosen = choose(&plan, &picture, &assumed, (&mut Reasons::new(), true));
    let standings = plan::review::review(&picture.world);
    let all = All::new(&picture, &plan, &chosen, review.then_some(&standings[..]));
    let mut news = all.news(&picture, now(), &HashSet::new());
    assert!(news.len() <= 1);
    news.pop().map(|(_, remarks)| remarks)
}

fn away(more: &Value) -> Value {
    let mut object = json!({
        "spec": {
            "binding": { "pool": "ec2", "incarnation": 1, "instanceType": "t3.small" },
            "placement": { "burst": { "policy": "WhenFull", "returnHome": {} } },
        },
        "status": {
            "phase": "Running", "hourlyCost": { "amount": "0.02", "currency": "EUR" },
            "placement": { "message": "Placed", "homeRoomSince": "2027-01-15T07:59:30Z" },
        },
    });
    merge(&mut object, more);
    object
}

fn written(object: &Value, remarks: &Remarks) -> GuestStatus {
    let old: GuestStatus = serde_json::from_value(object["status"].clone()).unwrap();
    let own = status::remarked(&old, remarks, now()).unwrap();
    serde_json::from_value(serde_json::to_value(own.onto(&GuestStatus::default())).unwrap()).unwrap()
}

#[test]
fn nothing_is_written_where_nothing_is_new() {
    let pools = [pool("xen", &json!({})), rented("ec2", "EUR")];
    assert_eq!(news(&away(&json!({})), &pools, true), None);
}

#[test]
fn since_when_there_is_room_at_home_is_kept_in_the_guest_and_forgotten_when_there_is_none() {
    let pools = [pool("xen", &json!({})), rented("ec2", "EUR")];
    let new = away(&json!({ "status": { "placement": { "homeRoomSince": null } } }));
    let status = written(&new, &news(&new, &pools, false).unwrap());
    assert_eq!(status.placement.unwrap().home_room_since.unwrap().0, now());
    let status = written(&away(&json!({})), &news(&away(&json!({})), &pools[1..], false).unwrap());
    let placement = status.placement.unwrap();
    assert_eq!((placement.home_room_since, placement.message.as_str()), (None, "Placed"));
}

#[test]
fn a_changed_price_is_followed_when_it_is_looked_at() {
    let pools = [pool("xen", &json!({})), rented("ec2", "EUR")];
    let old = away(&json!({ "status": { "hourlyCost": { "amount": "0.05" } } }));
    assert_eq!(news(&old, &pools, false), None);
    let status = written(&old, &news(&old, &pools, true).unwrap());
    assert_eq!(status.hourly_cost.unwrap().to_string(), "0.02 EUR");
    let off = away(&json!({
        "spec": { "template": { "powerState": "Stopped" } },
        "status": { "phase": "Stopped", "hourlyCost": { "amount": "0.05" } , "placement": { "homeRoomSince": null } },
    }));
    assert_eq!(news(&off, &pools, true), None, "what it costs is what it costs while it runs");
}

#[test]
fn a_guest_that_is_not_where_it_may_be_says_so_until_it_is() {
    let pools = [pool("xen", &json!({})), rented("ec2", "EUR")];
    let law = away(&json!({ "spec": { "placement": { "jurisdictions": { "allow": ["FR"] } } },
        "status": { "placement": { "homeRoomSince": null } } }));
    let remarks = news(&law, &pools, true).unwrap();
    let message = remarks.broken.clone().unwrap().unwrap();
    assert!(message.starts_with("Jurisdiction: ec2 is not in FR; it stays"), "{message}");
    let status = written(&law, &remarks);
    assert_eq!((status.conditions[0].type_.as_str(), status.conditions[0].status.as_str()), ("Compliant", "False"));
    // Written, it is not news again; mended, the condition goes.
    let mut said = law.clone();
    merge(&mut said, &json!({ "status": serde_json::to_value(&status).unwrap() }));
    assert_eq!(news(&said, &pools, true), None);
    said["spec"]["placement"]["jurisdictions"]["allow"] = json!(["GB"]);
    let mended = news(&said, &pools, true).unwrap();
    assert!(written(&said, &mended).conditions.is_empty());
}
