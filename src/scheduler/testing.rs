//! Guests and pools for tests.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api::{CloudPool, Guest};

pub(super) fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

pub(super) fn guest(name: &str, more: &Value) -> Arc<Guest> {
    let mut object = json!({
        "apiVersion": "innkeeper.dev/v1alpha1", "kind": "Guest",
        "metadata": { "name": name, "namespace": "shop", "uid": name },
        "spec": {
            "workload": "web",
            "template": { "image": { "name": "debian-12" }, "size": { "vcpus": 1, "memory": "1Gi" } },
        },
    });
    merge(&mut object, more);
    Arc::new(serde_json::from_value(object).unwrap())
}

pub(super) fn pool(name: &str, more: &Value) -> Arc<CloudPool> {
    let mut object = json!({
        "apiVersion": "innkeeper.dev/v1alpha1", "kind": "CloudPool", "metadata": { "name": name },
        "spec": {
            "provider": { "xapi": { "endpoints": [], "credentialsSecretRef": { "namespace": "a", "name": "b" } } },
            "location": { "jurisdiction": "GB" },
            "images": [{ "name": "debian-12", "providerId": "debian-12" }],
            "pricing": { "owned": { "currency": "EUR", "monthlyRunningCost": "100" } },
        },
        "status": {
            "hosts": [host("a", "xen1"), host("b", "xen2")],
            "conditions": [condition("Ready", "True", "InventoryCurrent"), condition("Reachable", "True", "Answers")],
        },
    });
    merge(&mut object, more);
    Arc::new(serde_json::from_value(object).unwrap())
}

pub(super) fn rented(name: &str, currency: &str) -> Arc<CloudPool> {
    let mut pool = (*pool(name, &json!({}))).clone();
    pool.spec.pricing = serde_json::from_value(json!({ "payPerUse": { "currency": currency, "instanceTypes": [
        { "name": "t3.small", "vcpus": 2, "memory": "2Gi", "hourly": "0.02" },
    ]}}))
    .unwrap();
    Arc::new(pool)
}

pub(super) fn host(id: &str, name: &str) -> Value {
    json!({
        "id": id, "name": name, "schedulable": true, "cpus": 8, "memory": "32Gi", "allocatableMemory": "30Gi",
        "vcpusOthers": 6, "guestsOthers": 2,
    })
}

pub(super) fn condition(kind: &str, status: &str, reason: &str) -> Value {
    json!({
        "type": kind, "status": status, "reason": reason, "message": format!("because of {reason}"),
        "lastTransitionTime": "2027-01-15T07:59:00Z",
    })
}

pub(super) fn merge(into: &mut Value, more: &Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more.clone(),
    }
}
