//! What the API server can do: the operator's own writes once more, made by the same client, with nobody else about.

use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use innkeeper::api::{Guest, names::manager};
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::world::{World, Writes};

/// As many as the operator has under way.
const AT_ONCE: usize = 16;
/// What a guest's status has only when there is a VM.
const OF_A_VM: [&str; 4] = ["providerId", "host", "addresses", "vm"];

/// Operations in a second.
pub struct Rates {
    /// A guest is made.
    pub creates: f64,
    /// It is bound.
    pub bindings: f64,
    /// Its status is written.
    pub statuses: f64,
}

impl Rates {
    /// How long these writes alone would take, of so many guests.
    pub fn time_for(&self, writes: &Writes, guests: usize) -> f64 {
        let specs = writes.specs();
        let made = specs.min(guests as f64);
        made / self.creates + (specs - made) / self.bindings + (writes.total() - specs) / self.statuses
    }
}

/// A guest as the operator has left it, to be written once more under another name.
struct Copy {
    name: String,
    /// What came back from the last write.
    last: Option<Guest>,
    of: Value,
}

impl Copy {
    fn of(index: usize, guest: &Guest) -> Self {
        Self { name: format!("raw-{index}"), last: None, of: serde_json::to_value(guest).unwrap() }
    }

    fn created(&self) -> Value {
        let mut spec = self.of["spec"].clone();
        spec.as_object_mut().unwrap().remove("binding");
        let metadata =
            ["labels", "ownerReferences", "finalizers"].map(|name| (name, self.of["metadata"][name].clone()));
        self.manifest(&metadata, ("spec", spec))
    }

    fn bound(&self) -> Value {
        self.manifest(&[], ("spec", json!({ "binding": self.of["spec"]["binding"] })))
    }

    fn begun(&self) -> Value {
        let mut status = self.of["status"].clone();
        status["phase"] = json!("Creating");
        status.as_object_mut().unwrap().retain(|name, _| !OF_A_VM.contains(&name.as_str()));
        self.manifest(&[], ("status", status))
    }

    fn running(&self) -> Value {
        self.manifest(&[], ("status", self.of["status"].clone()))
    }

    /// On the condition that it is still the one that was written last.
    fn manifest(&self, metadata: &[(&str, Value)], (part, fields): (&str, Value)) -> Value {
        let mut manifest = json!({
            "apiVersion": "innkeeper.dev/v1alpha1", "kind": "Guest", "metadata": { "name": self.name }, part: fields,
        });
        for (name, value) in metadata {
            manifest["metadata"][name] = value.clone();
        }
        if let Some(last) = &self.last {
            manifest["metadata"]["uid"] = json!(last.uid());
            manifest["metadata"]["resourceVersion"] = json!(last.resource_version());
        }
        manifest
    }
}

/// Measures with copies of at most so many of the guests that are there, when the operator has ended.
pub fn measure(world: &World, number: usize) -> Rates {
    world.block_on(async {
        let api: Api<Guest> = Api::namespaced(world.client.clone(), "default");
        let guests = api.list(&ListParams::default().limit(number.try_into().unwrap())).await.unwrap().items;
        let copies = guests.iter().enumerate().map(|(index, guest)| Copy::of(index, guest)).collect();
        let (copies, creates) = written(&api, copies, Copy::created, manager::WORKLOAD).await;
        let (copies, bindings) = written(&api, copies, Copy::bound, manager::SCHEDULER).await;
        let (copies, first) = written(&api, copies, Copy::begun, manager::GUEST).await;
        let (copies, second) = written(&api, copies, Copy::running, manager::GUEST).await;
        let rate = |writes: usize, took: Duration| writes as f64 / took.as_secs_f64();
        let number = copies.len();
        Rates {
            creates: rate(number, creates),
            bindings: rate(number, bindings),
            statuses: rate(2 * number, first + second),
        }
    })
}

/// Writes the same of all, and how long that took.
async fn written(
    api: &Api<Guest>,
    copies: Vec<Copy>,
    manifest: fn(&Copy) -> Value,
    manager: &str,
) -> (Vec<Copy>, Duration) {
    let params = PatchParams::apply(manager).force();
    let write = async |copy: Copy| -> Result<Copy, kube::Error> {
        let fields = manifest(&copy);
        let written = if fields.get("status").is_some() {
            api.patch_status(&copy.name, &params, &Patch::Apply(fields)).await?
        } else {
            api.patch(&copy.name, &params, &Patch::Apply(fields)).await?
        };
        Ok(Copy { last: Some(written), ..copy })
    };
    let began = Instant::now();
    let copies = stream::iter(copies).map(write).buffer_unordered(AT_ONCE).try_collect().await.unwrap();
    (copies, began.elapsed())
}
