//! Somebody puts older definitions of the kinds in place of the ones that the operator knows.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    changes::{same, vms},
    check::{self, REST},
    scenario::{being_made, create, delete, overflowing, patch},
    world::{World, until},
};

const GUESTS: &str = "guests.innkeeper.dev";
/// What the older one does not know: fields of a user and fields of ours.
const NEWER: [(&str, &str); 3] = [("spec", "holds"), ("spec", "deletionPolicy"), ("status", "creation")];
/// How long it is looked that nothing becomes of anything.
const QUIET: Duration = Duration::from_secs(8);

/// First while guests are made. Then while all run: somebody writes to the guests, which drops what the older definition does not
/// know; the operator is started anew; and the workload is scaled. Nothing becomes of that until the right one is back, and
/// then the guests have the VMs that they had.
pub fn downgrade(world: &World, name: &str) -> Result<(), String> {
    create(world, name, 3, &overflowing())?;
    being_made(world)?;
    let right = put_older(world)?;
    put(world, &right)?;
    check::at_rest(world, name, 3)?;

    let before = vms(world);
    put_older(world)?;
    world.stack.kubectl(&["annotate", "guests", "--all", "--overwrite", "example.com/written=meanwhile"]);
    if world.guests().iter().any(|guest| guest.status.as_ref().is_some_and(|status| status.creation.is_some())) {
        return Err("the older definition has not dropped what it does not know".to_owned());
    }
    patch(world, name, &json!({ "replicas": 2 }))?;
    nothing_happens(world)?;
    world.kill_operator();
    world.start_operator();
    nothing_happens(world)?;
    same(world, &before)?;
    put(world, &right)?;
    check::at_rest(world, name, 2)?;
    if !vms(world).is_subset(&before) {
        return Err(format!("the guests have other VMs: {:?} before, {:?} now", before, vms(world)));
    }
    delete(world, name)?;
    check::gone(world, name)
}

/// What was there before.
fn put_older(world: &World) -> Result<Value, String> {
    let told = || world.stack.operator_log().matches("does not know spec.deletionPolicy").count();
    let before = told();
    let mut right = world.stack.get(&["crd", GUESTS]);
    right["metadata"] = json!({ "name": GUESTS });
    right.as_object_mut().ok_or("not a definition")?.remove("status");
    let mut older = right.clone();
    for (part, field) in NEWER {
        let schema = &mut older["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"][part]["properties"];
        schema.as_object_mut().and_then(|fields| fields.remove(field)).ok_or_else(|| format!("no {part}.{field}"))?;
    }
    put(world, &older)?;
    until("the operator says what the definition lacks", REST, || {
        world.revive_operator();
        (told() > before).then_some(())
    })?;
    Ok(right)
}

fn put(world: &World, definition: &Value) -> Result<(), String> {
    let path = world.stack.folder.path().join("definition.json");
    std::fs::write(&path, definition.to_string()).map_err(|error| format!("the definition cannot be kept: {error}"))?;
    world.stack.kubectl(&["replace", "-f", &path.to_string_lossy()]);
    Ok(())
}

fn nothing_happens(world: &World) -> Result<(), String> {
    let (before, until) = (check::at_providers(world), Instant::now() + QUIET);
    while Instant::now() < until {
        world.revive_operator();
        if check::at_providers(world) != before {
            return Err(format!("something became of {before:?}: {:?}", check::at_providers(world)));
        }
        std::thread::park_timeout(Duration::from_millis(250));
    }
    Ok(())
}
