//! What the API server can do: the same writes as the operator's, made by the same client, with nobody else about.

use std::time::{Duration, Instant};

use futures::{StreamExt as _, stream};
use innkeeper::api::Guest;
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::world::{World, Writes};

/// As many as the operator has under way.
const AT_ONCE: usize = 16;

/// Operations in a second.
pub struct Rates {
    pub creates: f64,
    pub patches: f64,
}

impl Rates {
    /// How long these writes alone would take.
    pub fn time_for(&self, writes: &Writes) -> f64 {
        writes.creates() / self.creates + (writes.total() - writes.creates()) / self.patches
    }
}

fn guest(name: &str) -> Value {
    json!({
        "apiVersion": "innkeeper.dev/v1alpha1", "kind": "Guest", "metadata": { "name": name },
        "spec": { "workload": "none", "template": { "image": { "name": "debian-12" }, "size": { "vcpus": 1, "memory": "1Gi" } } },
    })
}

fn status(name: &str) -> Value {
    let condition = |kind: &str| {
        json!({ "type": kind, "status": "True", "reason": "Running", "message": "a sentence of usual length stands here",
            "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 1 })
    };
    json!({
        "apiVersion": "innkeeper.dev/v1alpha1", "kind": "Guest", "metadata": { "name": name },
        "status": { "phase": "Running", "incarnation": 1, "host": "xen-1-h1", "addresses": ["10.0.0.1"],
            "conditions": [condition("Ready"), condition("Placed"), condition("Reconciling")] },
    })
}

/// Measures with so many guests, and removes them again.
pub fn measure(world: &World, number: usize) -> Rates {
    world.block_on(async {
        let api: Api<Guest> = Api::namespaced(world.client.clone(), "default");
        let names: Vec<String> = (0..number).map(|index| format!("raw-{index}")).collect();
        let params = PatchParams::apply("scale").force();
        let each = async |writes: Vec<futures::future::BoxFuture<'_, ()>>| -> Duration {
            let began = Instant::now();
            stream::iter(writes).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
            began.elapsed()
        };
        let create = |name: &String| -> futures::future::BoxFuture<'_, ()> {
            let (api, params, name) = (api.clone(), params.clone(), name.clone());
            Box::pin(async move { drop(api.patch(&name, &params, &Patch::Apply(guest(&name))).await.unwrap()) })
        };
        let patch = |name: &String| -> futures::future::BoxFuture<'_, ()> {
            let (api, params, name) = (api.clone(), params.clone(), name.clone());
            Box::pin(async move { drop(api.patch_status(&name, &params, &Patch::Apply(status(&name))).await.unwrap()) })
        };
        let creating = each(names.iter().map(create).collect()).await;
        let patching = each(names.iter().map(patch).collect()).await;
        api.delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
        let rate = |took: Duration| number as f64 / took.as_secs_f64();
        Rates { creates: rate(creating), patches: rate(patching) }
    })
}
