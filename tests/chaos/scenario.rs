//! What users do while things go wrong. Each scenario begins and ends with nothing.

use std::time::Duration;

use innkeeper::api::VirtualWorkload;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::{
    check,
    world::{World, until},
};

/// A scenario: from nothing to nothing, with the checks between.
pub struct Scenario {
    pub name: &'static str,
    pub run: fn(&World, &str) -> Result<(), String>,
    /// After a kill it often waits for what a Xen pool may still bring forth.
    pub waits_on_xen: bool,
}

pub const ALL: [Scenario; 2] = [
    Scenario { name: "overflow", run: create_scale_delete, waits_on_xen: false },
    Scenario { name: "regret", run: delete_during_creation, waits_on_xen: true },
];

/// Two guests fit at home, the third is rented; then one goes, then all.
fn create_scale_delete(world: &World, name: &str) -> Result<(), String> {
    create(world, name, 3)?;
    check::at_rest(world, name, 3)?;
    patch(world, name, &json!({ "spec": { "replicas": 1 } }))?;
    check::at_rest(world, name, 1)?;
    delete(world, name)?;
    check::gone(world, name)
}

/// The user thinks better of it as soon as the first VM is being made.
fn delete_during_creation(world: &World, name: &str) -> Result<(), String> {
    create(world, name, 3)?;
    let begun = || {
        world.revive_operator();
        (!world.truth.left().is_empty()).then_some(())
    };
    until("a VM is being made", Duration::from_mins(2), begun)?;
    delete(world, name)?;
    check::gone(world, name)
}

fn create(world: &World, name: &str, replicas: u32) -> Result<(), String> {
    let manifest: VirtualWorkload = serde_json::from_value(json!({
        "apiVersion": "innkeeper.dev/v1alpha1", "kind": "VirtualWorkload", "metadata": { "name": name },
        "spec": {
            "replicas": replicas,
            "template": { "image": { "name": "debian-12" }, "size": { "vcpus": 1, "memory": "4Gi" } },
            "placement": {
                "jurisdictions": { "allow": ["GB", "IE"] },
                "burst": { "policy": "WhenFull", "after": "1s" },
            },
        },
    }))
    .map_err(|error| error.to_string())?;
    let made = world.block_on(world.workloads().create(&PostParams::default(), &manifest));
    made.map(drop).map_err(|error| format!("the user cannot create {name}: {error}"))
}

fn patch(world: &World, name: &str, change: &Value) -> Result<(), String> {
    let patched = world.block_on(world.workloads().patch(name, &PatchParams::default(), &Patch::Merge(change)));
    patched.map(drop).map_err(|error| format!("the user cannot change {name}: {error}"))
}

fn delete(world: &World, name: &str) -> Result<(), String> {
    let deleted = world.block_on(world.workloads().delete(name, &DeleteParams::background()));
    deleted.map(drop).map_err(|error| format!("the user cannot delete {name}: {error}"))
}
