use serde_json::{Value, json};

use super::{
    super::{
        pools::{DEFAULT_OVERCOMMIT, overcommit, plan_host},
        testing::*,
    },
    *,
};
use crate::api::pool_status::HostStatus;
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use rust_decimal::Decimal;

fn bound(host: Option<&str>, incarnation: u32) -> Value {
    json!({ "spec": { "binding": { "pool": "xen", "incarnation": incarnation, "host": host } } })
}

/// The first guest of a picture as the engine sees it.
fn state(guest: &Arc<Guest>, pools: &[Arc<CloudPool>], assumed: &mut Assumed) -> plan::GuestState {
    let guests = [Arc::clone(guest)];
    picture(&guests, pools, &Namespaces::new(), assumed, now()).unwrap().world.guests.remove(0)
}

fn host_of(guest: &Arc<Guest>, pools: &[Arc<CloudPool>]) -> Option<String> {
    state(guest, pools, &mut Assumed::default()).bound.unwrap().host
}

#[test]
fn without_guests_there_is_nothing_to_decide() {
    let mut assumed = assumed_bindings(&[("gone", 1)]);
    assert!(picture(&[], &[pool("xen", &json!({}))], &Namespaces::new(), &mut assumed, now()).is_none());
    assert!(assumed.bindings.is_empty());
}

fn assumed_bindings(of: &[(&str, u32)]) -> Assumed {
    let bindings = of.iter().map(|(uid, incarnation)| ((*uid).to_owned(), binding(*incarnation))).collect();
    Assumed { bindings, ..Assumed::default() }
}

fn binding(incarnation: u32) -> Binding {
    Binding {
        pool: "xen".into(),
        incarnation,
        host: Some("b".into()),
        instance_type: None,
        size: None,
        zone: None,
        spot: false,
    }
}

#[test]
fn a_binding_for_a_vm_that_is_gone_is_void() {
    let mut guest = (*guest("web-0", &bound(Some("a"), 1))).clone();
    assert!(valid_binding(&guest, &Assumed::default()).is_some());
    guest.status = Some(serde_json::from_value(json!({ "incarnation": 2 })).unwrap());
    assert!(valid_binding(&guest, &Assumed::default()).is_none());
    assert_eq!(incarnation(&guest), 2);
    let unplaced = state(&Arc::new(guest), &[pool("xen", &json!({}))], &mut Assumed::default());
    assert_eq!(unplaced.bound, None);
}

#[test]
fn what_was_bound_counts_until_the_watch_brings_it() {
    let pools = [pool("xen", &json!({}))];
    let unseen = guest("web-0", &json!({}));
    let mut assumed = assumed_bindings(&[("web-0", 1), ("gone", 1)]);
    let bound_there = state(&unseen, &pools, &mut assumed).bound.unwrap();
    assert_eq!((bound_there.pool.as_str(), bound_there.host.as_deref()), ("xen", Some("xen2")));
    assert_eq!(assumed.bindings.len(), 1, "a guest that is gone holds nothing");
    let seen = guest("web-0", &bound(Some("a"), 1));
    assert_eq!(state(&seen, &pools, &mut assumed).bound.unwrap().host.as_deref(), Some("xen1"));
    assert!(assumed.bindings.is_empty());
    // One that was bound for its next VM while the watch still shows the last binding.
    let mut renewed = (*seen).clone();
    renewed.status = Some(serde_json::from_value(json!({ "incarnation": 2 })).unwrap());
    let mut assumed = assumed_bindings(&[("web-0", 2)]);
    assert_eq!(state(&Arc::new(renewed), &pools, &mut assumed).bound.unwrap().host.as_deref(), Some("xen2"));
}

#[test]
fn guests_of_a_workload_that_wait_count_as_made_together() {
    let made = |name: &str, second: i64| {
        let mut guest = (*guest(name, &json!({}))).clone();
        guest.metadata.creation_timestamp = Some(Time(now() - SignedDuration::from_secs(second)));
        Arc::new(guest)
    };
    let mut bound_already = (*guest("web-9", &bound(Some("a"), 1))).clone();
    bound_already.metadata.creation_timestamp = Some(Time(now() - SignedDuration::from_secs(90)));
    let guests = [made("web-3", 1), made("web-4", 2), Arc::new(bound_already)];
    let picture =
        picture(&guests, &[pool("xen", &json!({}))], &Namespaces::new(), &mut Assumed::default(), now()).unwrap();
    let at = |guest: usize| now().duration_since(picture.world.guests[guest].created_at).as_secs();
    assert_eq!([at(0), at(1), at(2)], [2, 2, 90]);
}

#[test]
fn where_a_guest_is_counts_more_than_where_it_was_to_start() {
    let pools = [pool("xen", &json!({}))];
    assert_eq!(host_of(&guest("web-0", &bound(Some("a"), 1)), &pools).as_deref(), Some("xen1"));
    let mut moved = bound(Some("a"), 1);
    merge(&mut moved, &json!({ "status": { "host": "xen2" } }));
    assert_eq!(host_of(&guest("web-0", &moved), &pools).as_deref(), Some("xen2"));
    assert_eq!(host_of(&guest("web-0", &bound(Some("gone"), 1)), &pools), None);
}

#[test]
fn hosts_of_the_same_name_are_told_apart() {
    let twins = json!({ "status": { "hosts": [host("a", "xen"), host("b", "xen"), host("c", "xen3")] } });
    let pools = [pool("xen", &twins)];
    let mut running = bound(Some("b"), 1);
    merge(&mut running, &json!({ "status": { "host": "xen" } }));
    let guest = guest("web-0", &running);
    assert_eq!(host_of(&guest, &pools).as_deref(), Some("xen (b)"), "the name alone does not tell");
    let guests = [guest];
    let picture = picture(&guests, &pools, &Namespaces::new(), &mut Assumed::default(), now()).unwrap();
    let id = |name: &str| picture.host_ids.get(&("xen".to_owned(), name.to_owned())).map(String::as_str);
    assert_eq!((id("xen (a)"), id("xen (b)"), id("xen3"), id("xen")), (Some("a"), Some("b"), Some("c"), None));
    let plan::Capacity::Hosts { hosts, .. } = &picture.world.pools[0].capacity else { panic!("no hosts") };
    let names: Vec<_> = hosts.iter().map(|host| host.name.as_str()).collect();
    assert_eq!(names, ["xen (a)", "xen (b)", "xen3"]);
}

#[test]
fn a_guest_that_is_being_switched_off_still_takes_its_room() {
    let pools = [pool("xen", &json!({}))];
    let off = json!({ "spec": { "template": { "powerState": "Stopped" } } });
    assert!(!state(&guest("web-0", &off), &pools, &mut Assumed::default()).powered_on);
    let mut stopping = off.clone();
    merge(&mut stopping, &json!({ "status": { "host": "xen1" } }));
    assert!(state(&guest("web-0", &stopping), &pools, &mut Assumed::default()).powered_on);
    assert!(state(&guest("web-0", &json!({})), &pools, &mut Assumed::default()).powered_on);
}

#[test]
fn pools_that_refused_are_excluded_and_waiting_counts_from_the_first_time() {
    let status = json!({ "status": {
        "refusals": [{ "pool": "xen", "message": "full", "until": "2027-01-15T08:05:00Z" }],
        "conditions": [condition("Placed", "False", "NoPoolFits")],
    }});
    let state = state(&guest("web-0", &status), &[pool("xen", &json!({}))], &mut Assumed::default());
    assert_eq!((state.excluded.len(), state.excluded[0].pool.as_str()), (1, "xen"));
    assert_eq!(state.excluded[0].until, "2027-01-15T08:05:00Z".parse().unwrap());
    assert_eq!(state.waiting_since, Some("2027-01-15T07:59:00Z".parse().unwrap()));
}

#[test]
fn overflow_waits_two_minutes_unless_the_workload_says_otherwise() {
    let burst = |placement: Value| {
        let guest = guest("web-0", &json!({ "spec": { "placement": placement } }));
        state(&guest, &[pool("xen", &json!({}))], &mut Assumed::default()).policy.burst.clone()
    };
    let after = |seconds| plan::Burst::WhenFull { after: SignedDuration::from_secs(seconds), return_home: None };
    assert_eq!(burst(Value::Null), after(120));
    assert_eq!(burst(json!({})), after(120));
    assert_eq!(burst(json!({ "burst": { "policy": "WhenFull" } })), after(120));
    assert_eq!(burst(json!({ "burst": { "policy": "WhenFull", "after": "0s" } })), after(0));
    assert_eq!(burst(json!({ "burst": { "policy": "Never" } })), plan::Burst::Never);
}

#[test]
fn selectors_and_laws_are_handed_on() {
    let placement = json!({ "spec": { "placement": {
        "poolSelector": {
            "matchLabels": { "tier": "gold" },
            "matchExpressions": [
                { "key": "site", "operator": "NotIn", "values": ["x"] },
                { "key": "old", "operator": "DoesNotExist" },
            ],
        },
        "jurisdictions": { "allow": ["GB", "IE"] },
    }}});
    let state = state(&guest("web-0", &placement), &[pool("xen", &json!({}))], &mut Assumed::default());
    let selector = &state.policy.pool_selector;
    assert_eq!(selector.match_labels["tier"], "gold");
    let operators: Vec<_> = selector.match_expressions.iter().map(|expression| expression.operator).collect();
    assert_eq!(operators, [plan::Operator::NotIn, plan::Operator::DoesNotExist]);
    assert_eq!(state.policy.jurisdictions, Some(["GB".to_owned(), "IE".to_owned()].into()));
}

#[test]
fn prices_are_compared_in_the_currency_of_owned_hardware() {
    let guests = [guest("web-0", &json!({}))];
    let of = |pools: &[Arc<CloudPool>]| {
        picture(&guests, pools, &Namespaces::new(), &mut Assumed::default(), now()).unwrap().world.currency.to_string()
    };
    assert_eq!(of(&[rented("a", "USD"), pool("xen", &json!({}))]), "EUR");
    assert_eq!(of(&[rented("b", "USD"), rented("c", "GBP")]), "USD");
    assert_eq!(of(&[]), "EUR");
}

#[test]
fn only_pools_that_are_ready_take_guests() {
    let health = |more: Value| {
        let pool = pool("xen", &more);
        pools::pool(&pool, &Namespaces::new()).health
    };
    assert!(matches!(health(json!({})), plan::Health::Ready));
    let with = |conditions: Vec<Value>| json!({ "status": { "conditions": conditions } });
    let down = vec![condition("Ready", "False", "Unavailable"), condition("Reachable", "False", "Unavailable")];
    assert!(matches!(health(with(down)), plan::Health::Unreachable(why) if why == "because of Unavailable"));
    let refused = vec![condition("Ready", "False", "CredentialsRefused"), condition("Reachable", "True", "Answers")];
    assert!(matches!(health(with(refused)), plan::Health::NotReady(_)));
    assert!(matches!(health(with(vec![])), plan::Health::NotReady(_)));
    let deleted = json!({ "metadata": { "deletionTimestamp": "2027-01-15T08:00:00Z" } });
    assert!(matches!(health(deleted), plan::Health::NotReady(_)));
}

#[test]
fn others_take_their_share_of_a_hosts_processors() {
    let host: HostStatus = serde_json::from_value(host("a", "xen1")).unwrap();
    // Six virtual processors of others at four to one are one and a half physical ones.
    assert_eq!(plan_host("xen1".into(), &host, DEFAULT_OVERCOMMIT).vcpus, 6);
    assert_eq!(plan_host("xen1".into(), &host, Decimal::ONE).vcpus, 2);
    let crowded = HostStatus { vcpus_others: 1000, ..host };
    assert_eq!(plan_host("xen1".into(), &crowded, DEFAULT_OVERCOMMIT).vcpus, 0);
    assert_eq!(overcommit(&pool("xen", &json!({})).spec), DEFAULT_OVERCOMMIT);
    let pool = pool("xen", &json!({ "spec": { "capacity": { "cpuOvercommit": "2.5" } } }));
    assert_eq!(overcommit(&pool.spec).to_string(), "2.5");
}

/// The offerings of a pool as the engine sees them: type, zone, spot, price, and whether it is set aside.
fn offered(pool: &Arc<CloudPool>) -> Vec<(String, Option<String>, bool, String, bool)> {
    let guests = [guest("web-0", &json!({}))];
    let picture = picture(&guests, std::slice::from_ref(pool), &Namespaces::new(), &mut Assumed::default(), now());
    let plan::Capacity::Offerings(rows) = picture.unwrap().world.pools.remove(0).capacity else {
        panic!("no offerings")
    };
    let row = |one: plan::Offering| {
        (one.instance_type, one.zone, one.spot, one.hourly.amount.0.to_string(), one.backed_off_until.is_some())
    };
    rows.into_iter().map(row).collect()
}

#[test]
fn a_catalogue_is_offered_by_zone_and_as_spot() {
    let status = json!({ "status": {
        "offerings": [
            { "type": "m7i.large", "vcpus": 2, "memory": "8Gi", "zones": ["a", "b"], "hourly": "0.1", "spotHourly": "0.04" },
            { "type": "x9.large", "vcpus": 2, "memory": "32Gi", "hourly": "0.3" },
        ],
        "setAside": [
            { "instanceType": "m7i.large", "zone": "b", "until": "2030-01-01T00:00:00Z", "code": "full" },
            { "instanceType": "x9.large", "until": "2030-01-01T00:00:00Z", "code": "full" },
        ],
    }});
    let mut pool = (*pool("rent", &status)).clone();
    let pricing = json!({ "payPerUse": { "currency": "USD", "source": "Catalogue" } });
    pool.spec.pricing = serde_json::from_value(pricing).unwrap();
    let rows = offered(&Arc::new(pool));
    let row = |kind: &str, zone: Option<&str>, spot, price: &str, aside| {
        (kind.to_owned(), zone.map(str::to_owned), spot, price.to_owned(), aside)
    };
    assert_eq!(
        rows,
        [
            row("m7i.large", Some("a"), false, "0.1", false),
            row("m7i.large", Some("a"), true, "0.04", false),
            row("m7i.large", Some("b"), false, "0.1", true),
            row("m7i.large", Some("b"), true, "0.04", false),
            row("x9.large", None, false, "0.3", true),
        ]
    );
}

#[test]
fn a_written_table_is_offered_as_it_is_written() {
    let rows = offered(&rented("rent", "EUR"));
    assert_eq!(rows, [("t3.small".to_owned(), None, false, "0.02".to_owned(), false)]);
}
