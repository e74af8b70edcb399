//! A small cluster for tests of what is shown of it.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::api::{CloudPool, Guest, VirtualWorkload};

pub(super) struct Objects {
    pub(super) pools: Vec<CloudPool>,
    pub(super) workloads: Vec<VirtualWorkload>,
    pub(super) guests: Vec<Guest>,
}

/// The objects of `testdata/cluster.yaml`.
pub(super) fn cluster() -> Objects {
    let documents: Vec<Value> = serde_saphyr::from_multiple(include_str!("testdata/cluster.yaml")).unwrap();
    Objects {
        pools: of_kind(&documents, "CloudPool"),
        workloads: of_kind(&documents, "VirtualWorkload"),
        guests: of_kind(&documents, "Guest"),
    }
}

/// Noon of the day on which they were made.
pub(super) fn now() -> jiff::Timestamp {
    "2026-11-25T12:00:00Z".parse().unwrap()
}

fn of_kind<K: DeserializeOwned>(documents: &[Value], kind: &str) -> Vec<K> {
    let those = documents.iter().filter(|document| document["kind"] == kind);
    those.map(|document| serde_json::from_value(document.clone()).unwrap()).collect()
}
