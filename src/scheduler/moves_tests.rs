use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    super::{
        gather::picture,
        pools::Namespaces,
        testing::{condition, guest, merge, now, pool, rented},
    },
    *,
};
use crate::{api::CloudPool, plan};

fn lodged(pool: &str, place: &Value, more: &Value) -> Value {
    let mut object = json!({
        "spec": { "binding": { "pool": pool, "incarnation": 1 } },
        "status": { "phase": "Running", "incarnation": 1, "conditions": [condition("Ready", "True", "Running")] },
    });
    merge(&mut object, &json!({ "spec": { "binding": place } }));
    merge(&mut object, more);
    object
}

fn at_home(host: &str, more: &Value) -> Value {
    let mut object = lodged("xen", &json!({ "host": host }), more);
    let name = if host == "a" { "xen1" } else { "xen2" };
    merge(&mut object, &json!({ "status": { "host": name } }));
    object
}

fn rents(more: &Value) -> Value {
    lodged("ec2", &json!({ "instanceType": "t3.small" }), more)
}

/// What is chosen for guests web-0, web-1 and so on, when the reasons have been there since `since` seconds ago.
fn chosen_with(objects: &[Value], pools: &[Arc<CloudPool>], since: i64) -> Chosen {
    let guests: Vec<_> = (0..).zip(objects).map(|(n, object)| guest(&format!("web-{n}"), object)).collect();
    let mut assumed = Assumed::default();
    let picture = picture(&guests, pools, &Namespaces::new(), &mut assumed, now()).unwrap();
    let plan = plan::decide(&picture.world, &super::super::OPTIONS);
    let before = now() - SignedDuration::from_secs(since);
    let mut reasons: Reasons = plan.moves.iter().map(|m| ((m.guest.clone(), m.cause), before)).collect();
    choose(&plan, &picture, &assumed, (&mut reasons, true))
}

fn begun(chosen: &Chosen) -> Vec<(&str, Move, Option<&str>)> {
    chosen.begin.iter().map(|(guest, to)| (guest.as_str(), to.kind, to.host.as_deref())).collect()
}

fn draining() -> Arc<CloudPool> {
    pool("xen", &json!({ "spec": { "drainHosts": ["xen1"] } }))
}

fn recreatable() -> Value {
    json!({ "spec": { "mobility": { "allow": ["Live", "Recreate"] } } })
}

#[test]
fn a_host_is_emptied_live_two_at_a_time() {
    let objects = vec![at_home("a", &json!({})); 3];
    let chosen = chosen_with(&objects, &[draining()], 0);
    assert_eq!(begun(&chosen), [("web-0", Move::Live, Some("b")), ("web-1", Move::Live, Some("b"))]);
    assert!(chosen.begin.iter().all(|(_, to)| to.incarnation == 1 && to.pool.as_deref() == Some("xen")));
    assert!(chosen.proposals.is_empty() && chosen.withdraw.is_empty(), "who waits for others is not spoken of");
    let mut one = (*draining()).clone();
    one.spec.max_concurrent_moves = Some(1);
    assert_eq!(chosen_with(&objects, &[Arc::new(one.clone())], 0).begin.len(), 1);
    one.spec.max_concurrent_moves = Some(0);
    assert_eq!(chosen_with(&objects, &[Arc::new(one)], 0), Chosen::default());
}

#[test]
fn who_is_on_the_move_counts_and_is_not_moved_again() {
    let relocation = json!({ "spec": { "relocation": {
        "incarnation": 1, "kind": "Live", "pool": "xen", "host": "b", "reason": "drain", "decidedAt": "2027-01-15T07:59:50Z",
    }}});
    let objects = [at_home("a", &relocation), at_home("a", &json!({})), at_home("a", &json!({}))];
    assert_eq!(begun(&chosen_with(&objects, &[draining()], 0)), [("web-1", Move::Live, Some("b"))]);
}

#[test]
fn who_must_not_be_moved_stays_and_it_is_said_why() {
    let none = json!({ "spec": { "mobility": { "allow": [] } } });
    let chosen = chosen_with(&[at_home("a", &none)], &[draining()], 0);
    assert!(chosen.begin.is_empty());
    assert_eq!(
        chosen.proposals["web-0"],
        "Proposed to be moved from xen/xen1 to xen/xen2: its host or pool is being emptied; it is not moved by itself: \
         mobility.allow lacks Recreate"
    );
    let full = pool(
        "xen",
        &json!({ "spec": { "drainHosts": ["a"] }, "status": { "hosts": [
            super::super::testing::host("a", "xen1"),
            { "id": "b", "name": "xen2", "schedulable": false, "cpus": 8, "memory": "32Gi", "allocatableMemory": "30Gi",
              "vcpusOthers": 0, "guestsOthers": 0 },
        ]}}),
    );
    let chosen = chosen_with(&[at_home("a", &json!({}))], &[full], 0);
    assert!(chosen.begin.is_empty() && chosen.proposals["web-0"].starts_with("Has to stay"), "{chosen:?}");
}

#[test]
fn a_pool_is_emptied_one_guest_of_a_workload_at_a_time_and_only_of_those_that_allow_it() {
    let drained = pool("xen", &json!({ "spec": { "drain": true } }));
    let pools = [drained, rented("ec2", "EUR")];
    let chosen = chosen_with(&vec![at_home("a", &recreatable()); 3], &pools, 0);
    assert_eq!(begun(&chosen), [("web-0", Move::Recreate, None)]);
    let to = &chosen.begin[0].1;
    assert_eq!((to.pool.as_deref(), to.instance_type.as_deref()), (Some("ec2"), Some("t3.small")));
    // One that does not work already is one too many.
    let broken = json!({ "status": { "phase": "Failed", "conditions": [condition("Ready", "False", "Failed")] } });
    let objects = [at_home("a", &broken), at_home("a", &recreatable())];
    assert!(chosen_with(&objects, &pools, 0).begin.is_empty());
    // Held, adopted or live only: proposed.
    for (more, why) in [
        (json!({ "spec": { "holds": [{ "name": "case-42" }] } }), "it is held by case-42"),
        (json!({ "spec": { "adopt": { "ordinal": 0, "pool": "xen", "providerId": "vm" } } }), "to be kept"),
        (json!({ "spec": { "mobility": { "allow": ["Live"] } } }), "mobility.allow lacks Recreate"),
        (json!({ "spec": { "managementPolicies": ["Observe"] } }), "managementPolicies lacks Update"),
    ] {
        let mut object = at_home("a", &recreatable());
        merge(&mut object, &more);
        let chosen = chosen_with(&[object], &pools, 0);
        assert!(chosen.begin.is_empty() && chosen.proposals["web-0"].contains(why), "{chosen:?}");
    }
}

#[test]
fn guests_come_home_when_there_has_been_room_for_long_enough() {
    let home = |since: Option<&str>| {
        let mut object = rents(&recreatable());
        merge(
            &mut object,
            &json!({
                "spec": { "placement": { "burst": { "policy": "WhenFull", "after": "0s", "returnHome": { "after": "1m" } } } },
                "status": { "placement": { "message": "Placed", "homeRoomSince": since } },
            }),
        );
        object
    };
    let pools = [pool("xen", &json!({})), rented("ec2", "EUR")];
    assert!(chosen_with(&[home(None)], &pools, 0).begin.is_empty());
    assert!(chosen_with(&[home(Some("2027-01-15T07:59:30Z"))], &pools, 0).begin.is_empty());
    let objects = vec![home(Some("2027-01-15T07:58:59Z")); 2];
    let chosen = chosen_with(&objects, &pools, 0);
    assert_eq!(chosen.begin.len(), 1, "{chosen:?}");
    assert_eq!((chosen.begin[0].1.kind, chosen.begin[0].1.pool.as_deref()), (Move::Recreate, Some("xen")));
}

#[test]
fn what_is_seen_for_a_moment_only_moves_nobody_and_who_moved_is_left_alone() {
    let apart =
        json!({ "spec": { "placement": { "antiAffinity": [{ "workloads": ["web"], "topologyKey": "host" }] } } });
    let pools = [pool("xen", &json!({}))];
    let objects = [at_home("a", &apart), at_home("a", &apart)];
    let chosen = chosen_with(&objects, &pools, 4);
    assert!(chosen.begin.is_empty() && chosen.wake_at == Some(now() + SignedDuration::from_secs(1)), "{chosen:?}");
    let chosen = chosen_with(&objects, &pools, 5);
    assert_eq!(begun(&chosen), [("web-1", Move::Live, Some("b"))], "one of the pair goes");
    let mut moved = apart.clone();
    let decided_at = "2027-01-15T07:58:00Z";
    merge(
        &mut moved,
        &json!({
            "spec": { "relocation": { "incarnation": 1, "kind": "Live", "reason": "x", "decidedAt": decided_at } },
            "status": { "relocation": { "decidedAt": decided_at, "outcome": "Done", "message": "moved" } },
        }),
    );
    let chosen = chosen_with(&[at_home("a", &apart), at_home("a", &moved)], &pools, 5);
    assert!(chosen.begin.is_empty() && chosen.wake_at.is_some(), "{chosen:?}");
}

#[test]
fn a_vm_is_not_removed_to_save_money() {
    let dear = json!({ "payPerUse": { "currency": "EUR", "instanceTypes": [
        { "name": "t3.small", "vcpus": 2, "memory": "2Gi", "hourly": "0.5" },
    ]}});
    let mut pool = (*rented("ec2", "EUR")).clone();
    pool.spec.pricing = serde_json::from_value(dear).unwrap();
    let pools = [Arc::new(pool), rented("other", "EUR")];
    let chosen = chosen_with(&[rents(&recreatable())], &pools, 100);
    assert!(
        chosen.begin.is_empty() && chosen.proposals["web-0"].contains("no VM is removed for that alone"),
        "{chosen:?}"
    );
}

/// Two hosts without VMs of others, and guests on them that go by density.
fn half_empty() -> (Arc<CloudPool>, Vec<Value>) {
    let host = |id: &str, name: &str| {
        let mut host = super::super::testing::host(id, name);
        merge(&mut host, &json!({ "vcpusOthers": 0, "guestsOthers": 0 }));
        host
    };
    let pool = pool("xen", &json!({ "status": { "hosts": [host("a", "xen1"), host("b", "xen2")] } }));
    let dense = json!({ "metadata": { "creationTimestamp": "2027-01-14T08:00:00Z" },
        "spec": { "placement": { "objective": "Density" } } });
    (
        pool,
        vec![
            at_home("a", &dense),
            at_home("a", &dense),
            at_home("b", &dense),
            at_home("b", &dense),
            at_home("b", &dense),
        ],
    )
}

fn plus(mut object: Value, more: &Value) -> Value {
    merge(&mut object, more);
    object
}

#[test]
fn guests_by_density_are_gathered_one_at_a_time_once_fewer_hosts_have_been_enough_for_a_while() {
    let (pool, mut objects) = half_empty();
    let pools = [pool];
    let chosen = chosen_with(&objects, &pools, 299);
    assert!(chosen.begin.is_empty() && chosen.wake_at == Some(now() + SignedDuration::from_secs(1)), "{chosen:?}");
    let chosen = chosen_with(&objects, &pools, 300);
    assert_eq!(begun(&chosen), [("web-0", Move::Live, Some("b"))]);
    assert_eq!(chosen.begin[0].1.reason, "fewer hosts are then in use");
    // While it is on its way nobody follows it, nor is anybody sent to where it came from.
    let relocation = |decided_at: &str| {
        json!({ "spec": { "relocation": {
            "incarnation": 1, "kind": "Live", "pool": "xen", "host": "b", "reason": "x", "decidedAt": decided_at,
        }}})
    };
    let first = objects[0].clone();
    objects[0] = plus(first.clone(), &relocation("2027-01-15T07:59:50Z"));
    assert_eq!(chosen_with(&objects, &pools, 300), Chosen::default());
    // Once it is there the next one goes.
    let done = |decided_at: &str| {
        json!({ "status": {
            "host": "xen2", "relocation": { "decidedAt": decided_at, "outcome": "Done", "message": "moved" },
        }})
    };
    objects[0] = plus(objects[0].clone(), &done("2027-01-15T07:59:50Z"));
    assert_eq!(begun(&chosen_with(&objects, &pools, 300)), [("web-1", Move::Live, Some("b"))]);
    // Who was moved for whatever reason is not gathered within half an hour, and neither is its host emptied.
    let (_, mut objects) = half_empty();
    let back = relocation("2027-01-15T07:40:00Z");
    objects[0] = plus(plus(objects[0].clone(), &back), &done("2027-01-15T07:40:00Z"));
    objects[0]["status"]["host"] = json!("xen1");
    let plan = chosen_with(&objects, &pools, 300);
    assert!(plan.begin.iter().all(|(guest, _)| guest != "web-0" && guest != "web-1"), "{plan:?}");
}

#[test]
fn who_could_not_be_gathered_is_not_tried_again_within_half_an_hour() {
    let (pool, objects) = half_empty();
    let pools = [pool];
    let refused = |ago: i64| {
        let decided_at = (now() - SignedDuration::from_secs(ago)).to_string();
        let more = json!({
            "spec": { "relocation": {
                "incarnation": 1, "kind": "Live", "pool": "xen", "host": "b", "reason": Cause::Density.to_string(), "decidedAt": decided_at,
            }},
            "status": { "relocation": { "decidedAt": decided_at, "outcome": "Refused", "message": "no" } },
        });
        let mut objects = objects.clone();
        objects[0] = plus(objects[0].clone(), &more);
        chosen_with(&objects, &pools, 300)
    };
    let chosen = refused(1799);
    assert!(chosen.withdraw.is_empty() && chosen.begin.iter().all(|(guest, _)| guest != "web-0"), "{chosen:?}");
    assert_eq!(begun(&refused(1800)), [("web-0", Move::Live, Some("b"))]);
}

#[test]
fn nobody_is_gathered_who_does_not_go_by_density_must_not_be_moved_or_lives_beside_others() {
    let (pool, objects) = half_empty();
    assert_eq!(chosen_with(&objects, &[Arc::clone(&pool)], 300).begin.len(), 1);
    let all = |more: &Value| objects.iter().map(|object| plus(object.clone(), more)).collect::<Vec<_>>();
    for more in [
        json!({ "spec": { "placement": { "objective": "Cost" } } }),
        json!({ "spec": { "mobility": { "allow": ["Recreate"] } } }),
        json!({ "spec": { "managementPolicies": ["Observe"] } }),
        json!({ "status": { "phase": "Unknown" } }),
        json!({ "spec": { "template": { "size": { "memory": "9Gi" } } } }),
    ] {
        assert_eq!(begun(&chosen_with(&all(&more), &[Arc::clone(&pool)], 300)), [], "{more}");
    }
    let mut none = (*pool).clone();
    none.spec.max_concurrent_moves = Some(0);
    assert_eq!(chosen_with(&objects, &[Arc::new(none)], 300).begin, []);
    // With VMs of others on both hosts.
    assert_eq!(chosen_with(&objects, &[super::super::testing::pool("xen", &json!({}))], 300), Chosen::default());
    // A drain goes first, in the whole world.
    let mut drained = (*pool).clone();
    drained.spec.drain_hosts = vec![crate::api::cloud_pool::HostName("xen2".into())];
    let chosen = chosen_with(&objects, &[Arc::new(drained)], 0);
    assert!(
        chosen.begin.len() == 2 && chosen.begin.iter().all(|(_, to)| to.host.as_deref() == Some("a")),
        "{chosen:?}"
    );
}

#[test]
fn a_reason_to_gather_outlasts_the_move_of_another_guest_and_no_other_reason_does() {
    let (pool, objects) = half_empty();
    let guests: Vec<_> = (0..).zip(&objects).map(|(n, object)| guest(&format!("web-{n}"), object)).collect();
    let (mut assumed, pools) = (Assumed::default(), [pool]);
    let mut picture = picture(&guests, &pools, &Namespaces::new(), &mut assumed, now()).unwrap();
    let mut nothing = plan::decide(&picture.world, &plan::Options::default());
    nothing.moves.clear();
    let before = now() - SignedDuration::from_secs(7);
    let reasons =
        || -> Reasons { [Cause::Density, Cause::Overload].map(|cause| (("web-1".to_owned(), cause), before)).into() };
    let mut kept = reasons();
    note_reasons(&nothing, &picture, &mut kept, true);
    assert_eq!(kept, Reasons::new());
    // Nor is it gone where nobody has looked.
    let mut kept = reasons();
    note_reasons(&nothing, &picture, &mut kept, false);
    assert_eq!(kept, Reasons::from([(("web-1".to_owned(), Cause::Density), before)]));
    let flight = flights::Flight { guest: "web-0".into(), pool: "xen".into(), host: None, kind: Move::Live };
    picture.flights.push(flight);
    let mut kept = reasons();
    note_reasons(&nothing, &picture, &mut kept, true);
    assert_eq!(kept, Reasons::from([(("web-1".to_owned(), Cause::Density), before)]));
}

#[test]
fn a_decision_that_came_to_nothing_is_taken_back_when_nothing_asks_for_it() {
    let failed = |ago: i64| {
        let decided_at = (now() - SignedDuration::from_secs(ago)).to_string();
        at_home(
            "a",
            &json!({
                "spec": { "relocation": { "incarnation": 1, "kind": "Live", "host": "b", "reason": "x", "decidedAt": decided_at } },
                "status": { "relocation": { "decidedAt": decided_at, "outcome": "Failed", "message": "no" } },
            }),
        )
    };
    assert_eq!(chosen_with(&[failed(599)], &[pool("xen", &json!({}))], 0), Chosen::default());
    assert_eq!(chosen_with(&[failed(600)], &[pool("xen", &json!({}))], 0).withdraw, ["web-0"]);
    // Asked for again, it is decided anew: later than before, also within one second.
    let chosen = chosen_with(&[failed(600)], &[draining()], 0);
    assert!(chosen.withdraw.is_empty() && chosen.begin[0].1.decided_at.0 == now());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    /// Whatever the guests, the budgets are kept, and only what the guests allow is begun.
    #[test]
    fn budgets_are_kept_and_nobody_is_moved_who_must_not_be(
        guests in prop::collection::vec((prop::bool::ANY, 0..4_u8, prop::bool::ANY, prop::bool::ANY), 1..12),
        drain in prop::bool::ANY,
        most in 0..4_u32,
    ) {
        let objects: Vec<Value> = guests.iter().map(|(first, allow, held, ready)| {
            let allow: Vec<&str> =
                [("Live", 1), ("Recreate", 2)].iter().filter(|(_, bit)| allow & bit != 0).map(|(way, _)| *way).collect();
            let holds = if *held { json!([{ "name": "case" }]) } else { json!([]) };
            let ready = condition("Ready", if *ready { "True" } else { "False" }, "Running");
            at_home(if *first { "a" } else { "b" }, &json!({
                "spec": { "mobility": { "allow": allow }, "holds": holds },
                "status": { "conditions": [ready] },
            }))
        }).collect();
        let spec = json!({ "drain": drain, "drainHosts": ["xen1"], "maxConcurrentMoves": most });
        let pools = [pool("xen", &json!({ "spec": spec })), rented("ec2", "EUR")];
        let chosen = chosen_with(&objects, &pools, 100);
        prop_assert!(chosen.begin.len() <= most as usize);
        let anew: Vec<_> = chosen.begin.iter().filter(|(_, to)| to.kind == Move::Recreate).collect();
        prop_assert!(anew.len() <= (objects.len() / 4).max(1));
        for (uid, to) in &chosen.begin {
            let at: usize = uid.trim_start_matches("web-").parse().unwrap();
            let (_, allow, held, _) = guests[at];
            match to.kind {
                Move::Live => prop_assert!(allow & 1 != 0 && to.host.as_deref() == Some("b")),
                Move::Recreate => prop_assert!(allow & 2 != 0 && !held),
            }
        }
    }
}
