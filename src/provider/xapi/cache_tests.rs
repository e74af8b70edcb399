use super::super::{
    identity::tests::{complete, key, owner},
    view::tests::view,
};
use super::*;
use serde_json::{Value, json};

fn batch(events: &Value, counts: &Value) -> Batch {
    serde_json::from_value(json!({ "events": events, "valid_ref_counts": counts, "token": "00000000000000000007,0" }))
        .unwrap()
}

fn vm_record(vm: &Vm, power: &str) -> Value {
    json!({
        "uuid": vm.uuid, "name_label": vm.name_label, "power_state": power, "other_config": vm.other_config,
        "memory_dynamic_min": "1073741824", "resident_on": "OpaqueRef:h",
    })
}

#[test]
fn events_change_the_view() {
    let mut pool = view([]);
    let count = pool.vms.size() as u64;
    let vm = complete("u1");
    let add = json!([{ "id": "1", "class": "vm", "operation": "add", "ref": "OpaqueRef:u1", "snapshot": vm_record(&vm, "Running") }]);
    let applied = batch(&add, &json!({ "vm": count + 1 })).apply(&mut pool).unwrap();
    assert!(applied.agrees);
    assert_eq!(pool.vms[&Ref::new("OpaqueRef:u1")].power_state, "Running");
    let guest = Change::Guest { namespace: key().namespace, name: key().name };
    assert_eq!(changes(&applied.effects, &pool, &owner()), [guest.clone(), Change::Pool]);

    let del = json!([{ "id": 2, "class": "VM", "operation": "del", "ref": "OpaqueRef:u1" }]);
    let applied = batch(&del, &json!({ "VM": count.to_string() })).apply(&mut pool).unwrap();
    assert!(applied.agrees && !pool.vms.contains_key(&Ref::new("OpaqueRef:u1")));
    assert_eq!(changes(&applied.effects, &pool, &owner()), [guest, Change::Pool]);
}

#[test]
fn a_lost_deletion_is_noticed() {
    let mut pool = view([complete("u1")]);
    let fewer = pool.vms.size() as u64 - 1;
    assert!(!batch(&json!([]), &json!({ "vm": fewer })).apply(&mut pool).unwrap().agrees);
    assert!(batch(&json!([]), &json!({ "vm": fewer + 1, "role": 2291 })).apply(&mut pool).unwrap().agrees);
}

#[test]
fn what_is_not_used_is_no_change() {
    let mut pool = view([]);
    let (metrics, record) = pool.host_metrics.iter().next().map(|(r, m)| (r.clone(), m.clone())).unwrap();
    let event = |live: bool| {
        json!([{ "class": "host_metrics", "operation": "mod", "ref": metrics, "snapshot":
            { "live": live, "memory_total": record.memory_total, "last_updated": "20261122T12:06:05Z" } }])
    };
    let applied = batch(&event(true), &json!({})).apply(&mut pool).unwrap();
    assert_eq!(applied.effects, [Effect::None]);
    assert!(changes(&applied.effects, &pool, &owner()).is_empty());
    let applied = batch(&event(false), &json!({})).apply(&mut pool).unwrap();
    assert_eq!(changes(&applied.effects, &pool, &owner()), [Change::Pool]);
}

#[test]
fn a_dying_host_concerns_its_guests() {
    let host = view([])
        .hosts
        .iter()
        .find(|(_, h)| h.name_label == "xcp-h1")
        .map(|(r, h)| (r.clone(), h.metrics.clone()))
        .unwrap();
    let guest = Vm { resident_on: host.0, power_state: "Running".into(), ..complete("u1") };
    let mut pool = view([guest]);
    let event = json!([{ "class": "host_metrics", "operation": "mod", "ref": host.1, "snapshot": { "live": false } }]);
    let applied = batch(&event, &json!({})).apply(&mut pool).unwrap();
    let told = changes(&applied.effects, &pool, &owner());
    assert_eq!(told, [Change::Pool, Change::Guest { namespace: key().namespace, name: key().name }]);
}

#[test]
fn tools_reports_concern_their_guest() {
    let guest = Vm { guest_metrics: Ref::new("OpaqueRef:gm"), ..complete("u1") };
    let mut pool = view([guest]);
    let event = json!([{ "class": "vm_guest_metrics", "operation": "add", "ref": "OpaqueRef:gm", "snapshot":
        { "networks": { "0/ip": "10.0.0.7" } } }]);
    let applied = batch(&event, &json!({})).apply(&mut pool).unwrap();
    assert_eq!(changes(&applied.effects, &pool, &owner()).len(), 1);
}

#[test]
fn tasks_are_told_and_not_kept() {
    let mut pool = view([]);
    let before = pool.clone();
    let events = json!([
        { "class": "task", "operation": "mod", "ref": "OpaqueRef:t1", "snapshot": { "status": "success", "progress": 1 } },
        { "class": "task", "operation": "del", "ref": "OpaqueRef:t2" },
        { "class": "task", "operation": "mod", "ref": "OpaqueRef:t3" },
    ]);
    let effects = batch(&events, &json!({})).apply(&mut pool).unwrap().effects;
    assert!(matches!(&effects[0], Effect::Task(r, Some(task)) if r.is("OpaqueRef:t1") && task.status == "success"));
    assert!(matches!(&effects[1], Effect::Task(r, None) if r.is("OpaqueRef:t2")));
    assert_eq!(effects[2], Effect::None);
    assert_eq!(pool, before);
}

#[test]
fn an_unreadable_record_is_not_an_absent_one() {
    let mut pool = view([]);
    let event = json!([{ "class": "vm", "operation": "mod", "ref": "OpaqueRef:u1", "snapshot": { "uuid": 5 } }]);
    assert!(batch(&event, &json!({})).apply(&mut pool).is_err());
}
