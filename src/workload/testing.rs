//! Workloads and their guests for tests.

use std::sync::Arc;

use serde_json::json;

use crate::api::{Guest, VirtualWorkload};

pub const UID: &str = "workload-uid";

pub fn workload(replicas: u32) -> VirtualWorkload {
    serde_json::from_value(json!({
        "apiVersion": "innkeeper.dev/v1alpha1", "kind": "VirtualWorkload",
        "metadata": { "name": "web", "namespace": "shop", "uid": UID, "generation": 4 },
        "spec": {
            "replicas": replicas,
            "template": { "image": { "name": "debian-12" }, "size": { "vcpus": 1, "memory": "1Gi" } },
        },
    }))
    .unwrap()
}

/// A guest as the workload makes it.
pub fn guest(name: &str) -> Guest {
    serde_json::from_value(json!({
        "apiVersion": "innkeeper.dev/v1alpha1", "kind": "Guest",
        "metadata": {
            "name": name, "namespace": "shop", "uid": format!("uid-of-{name}"), "generation": 1,
            "ownerReferences": [{
                "apiVersion": "innkeeper.dev/v1alpha1", "kind": "VirtualWorkload", "name": "web", "uid": UID,
                "controller": true,
            }],
        },
        "spec": {
            "workload": "web",
            "template": { "image": { "name": "debian-12" }, "size": { "vcpus": 1, "memory": "1Gi" } },
        },
    }))
    .unwrap()
}

/// The first so many guests.
pub fn guests(count: u32) -> Vec<Arc<Guest>> {
    (0..count).map(|number| Arc::new(guest(&format!("web-{number}")))).collect()
}
