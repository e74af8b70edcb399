//! What users do while things go wrong. Each scenario begins and ends with nothing.

use std::time::Duration;

use innkeeper::api::VirtualWorkload;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::{
    changes, check, definitions, disasters, neighbours,
    world::{World, until},
};

/// A scenario: from nothing to nothing, with the checks between.
pub struct Scenario {
    pub name: &'static str,
    pub run: fn(&World, &str) -> Result<(), String>,
    pub plays: Plays,
}

/// How a scenario is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plays {
    /// With kills and storms, a few of each in the short form.
    Always,
    /// The same, but after a kill it often waits for what a Xen pool may still bring forth: in the short form there are no
    /// kills at XAPI calls, and no storms.
    WaitsOnXen,
    /// With kills and storms; in the short form only once, with one kill that its name chooses.
    Once,
    /// By itself: what goes wrong is in the scenario. Where it takes minutes, not in the short form.
    Alone { minutes: bool },
}

pub const ALL: [Scenario; 15] = [
    Scenario { name: "overflow", run: create_scale_delete, plays: Plays::Always },
    Scenario { name: "regret", run: delete_during_creation, plays: Plays::WaitsOnXen },
    Scenario { name: "resize", run: changes::resize, plays: Plays::Once },
    Scenario { name: "disks", run: changes::disks, plays: Plays::Once },
    Scenario { name: "move", run: changes::drain, plays: Plays::Once },
    Scenario { name: "adopt", run: changes::adopt, plays: Plays::Once },
    Scenario { name: "neighbours", run: neighbours::meddle, plays: Plays::Alone { minutes: false } },
    Scenario { name: "removal", run: neighbours::move_and_remove, plays: Plays::Alone { minutes: true } },
    Scenario { name: "certificate", run: neighbours::certificate, plays: Plays::Alone { minutes: false } },
    Scenario { name: "full", run: neighbours::full, plays: Plays::Alone { minutes: true } },
    Scenario { name: "quota", run: neighbours::quota, plays: Plays::Alone { minutes: true } },
    Scenario { name: "definitions", run: definitions::downgrade, plays: Plays::Alone { minutes: false } },
    Scenario { name: "restarts", run: disasters::restarts, plays: Plays::Alone { minutes: true } },
    Scenario { name: "clock", run: disasters::clock, plays: Plays::Alone { minutes: true } },
    Scenario { name: "silence", run: neighbours::silence, plays: Plays::Alone { minutes: true } },
];

/// Two guests fit at home, the third is rented; then one goes, then all.
fn create_scale_delete(world: &World, name: &str) -> Result<(), String> {
    create(world, name, 3, &overflowing())?;
    check::at_rest(world, name, 3)?;
    patch(world, name, &json!({ "replicas": 1 }))?;
    check::at_rest(world, name, 1)?;
    delete(world, name)?;
    check::gone(world, name)
}

/// The user thinks better of it as soon as the first VM is being made.
fn delete_during_creation(world: &World, name: &str) -> Result<(), String> {
    create(world, name, 3, &overflowing())?;
    being_made(world)?;
    delete(world, name)?;
    check::gone(world, name)
}

/// Waits until there is something of a first VM.
pub fn being_made(world: &World) -> Result<(), String> {
    let begun = || {
        world.revive_operator();
        (!world.truth.left().is_empty()).then_some(())
    };
    until("a VM is being made", Duration::from_mins(2), begun)
}

/// Guests of which a Xen pool takes two, and that overflow after a second.
pub fn overflowing() -> Value {
    json!({
        "template": { "size": { "vcpus": 1, "memory": "4Gi" } },
        "placement": {
            "jurisdictions": { "allow": ["GB", "IE"] },
            "burst": { "policy": "WhenFull", "after": "1s" },
        },
    })
}

/// Small guests that stay at home.
pub fn at_home() -> Value {
    json!({
        "template": { "size": { "vcpus": 1, "memory": "1Gi" } },
        "placement": { "jurisdictions": { "allow": ["GB"] }, "burst": { "policy": "Never" } },
    })
}

pub fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            from.iter().for_each(|(key, value)| merge(into.entry(key).or_insert(Value::Null), value));
        }
        (into, from) => *into = from.clone(),
    }
}

pub fn create(world: &World, name: &str, replicas: u32, more: &Value) -> Result<(), String> {
    let mut manifest = json!({
        "apiVersion": "innkeeper.dev/v1alpha1", "kind": "VirtualWorkload", "metadata": { "name": name },
        "spec": { "replicas": replicas, "template": { "image": { "name": "debian-12" } } },
    });
    merge(&mut manifest["spec"], more);
    let manifest: VirtualWorkload = serde_json::from_value(manifest).map_err(|error| error.to_string())?;
    let made = world.block_on(world.workloads().create(&PostParams::default(), &manifest));
    made.map(drop).map_err(|error| format!("the user cannot create {name}: {error}"))
}

pub fn patch(world: &World, name: &str, spec: &Value) -> Result<(), String> {
    let change = Patch::Merge(json!({ "spec": spec }));
    let patched = world.block_on(world.workloads().patch(name, &PatchParams::default(), &change));
    patched.map(drop).map_err(|error| format!("the user cannot change {name}: {error}"))
}

pub fn delete(world: &World, name: &str) -> Result<(), String> {
    let deleted = world.block_on(world.workloads().delete(name, &DeleteParams::background()));
    deleted.map(drop).map_err(|error| format!("the user cannot delete {name}: {error}"))
}
