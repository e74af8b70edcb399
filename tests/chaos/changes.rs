//! Guests that are changed while they live.

use std::collections::BTreeSet;

use innkeeper::api::Guest;
use serde_json::{Value, json};

use crate::{
    check::{self, REST},
    scenario::{at_home, create, delete, merge, patch},
    world::{World, until},
};

/// The same guest has more processors after a restart, in the same VM.
pub fn resize(world: &World, name: &str) -> Result<(), String> {
    create(world, name, 1, &at_home())?;
    check::at_rest(world, name, 1)?;
    let before = vms(world);
    restart_with(world, name, &json!({ "size": { "vcpus": 2, "memory": "1Gi" } }))?;
    let resized = || {
        world.revive_operator();
        let all = world.truth.xen_vms();
        all.values().all(|vm| vm["VCPUs_at_startup"] == 2 && vm["power_state"] == "Running").then_some(())
    };
    until("the VM has its new size", REST, resized)?;
    check::at_rest(world, name, 1)?;
    same(world, &before)?;
    delete(world, name)?;
    check::gone(world, name)
}

/// A disk grows and another is added; each of them is there once, and in the end none.
pub fn disks(world: &World, name: &str) -> Result<(), String> {
    let mut spec = at_home();
    merge(&mut spec, &json!({ "template": { "disks": [{ "name": "data", "size": "1Gi" }] } }));
    create(world, name, 1, &spec)?;
    check::at_rest(world, name, 1)?;
    let before = vms(world);
    has_disks(world, 2)?;
    restart_with(
        world,
        name,
        &json!({ "disks": [{ "name": "data", "size": "2Gi" }, { "name": "logs", "size": "1Gi" }] }),
    )?;
    has_disks(world, 3)?;
    check::at_rest(world, name, 1)?;
    same(world, &before)?;
    delete(world, name)?;
    check::gone(world, name)
}

/// The guest's host is emptied: it moves live, in the same VM.
pub fn drain(world: &World, name: &str) -> Result<(), String> {
    create(world, name, 1, &at_home())?;
    check::at_rest(world, name, 1)?;
    let before = vms(world);
    let host = |guest: &Guest| guest.status.as_ref().and_then(|status| status.host.clone());
    let first = world.guests().first().and_then(host).ok_or("the guest says no host")?;
    world.patch_pool("home", &json!({ "drainHosts": [first] }));
    let moved = || {
        world.revive_operator();
        world.guests().first().and_then(host).filter(|now| *now != first)
    };
    let result = until("the guest moves", REST, moved);
    world.patch_pool("home", &json!({ "drainHosts": null }));
    result?;
    check::at_rest(world, name, 1)?;
    same(world, &before)?;
    delete(world, name)?;
    check::gone(world, name)
}

/// A VM that was there becomes the guest's as it is, and is given back.
pub fn adopt(world: &World, name: &str) -> Result<(), String> {
    let xapi = |method: &str, parameters: &[Value]| world.truth.xapi(&world.stack, method, parameters);
    let templates = xapi("VM.get_by_name_label", &["debian-12".into()]);
    let vm = xapi("VM.clone", &[templates[0].clone(), format!("old-{name}").into()]);
    xapi("VM.provision", std::slice::from_ref(&vm));
    xapi("VM.start", &[vm.clone(), false.into(), false.into()]);
    let uuid = xapi("VM.get_uuid", std::slice::from_ref(&vm)).as_str().unwrap_or_default().to_owned();
    let mut spec = at_home();
    let adopt = json!([{ "ordinal": 0, "pool": "home", "providerId": uuid }]);
    merge(&mut spec, &json!({ "adopt": adopt, "managementPolicies": ["Observe", "Update"] }));
    create(world, name, 1, &spec)?;
    check::at_rest(world, name, 1)?;
    same(world, &BTreeSet::from([uuid.clone()]))?;
    delete(world, name)?;
    check::all_gone(world, name)?;
    let given_back = || {
        let vm = world.truth.xen_vms().remove(&uuid)?;
        (vm["power_state"] == "Running" && !vm["other_config"].to_string().contains("innkeeper")).then_some(())
    };
    until("the VM is given back as it was", REST, given_back)?;
    // Its owner removes it, with its disks.
    xapi("VM.hard_shutdown", std::slice::from_ref(&vm));
    let drives = xapi("VM.get_VBDs", std::slice::from_ref(&vm));
    for drive in drives.as_array().into_iter().flatten() {
        let disk = xapi("VBD.get_VDI", std::slice::from_ref(drive));
        if disk.as_str().is_some_and(|disk| disk != "OpaqueRef:NULL") {
            xapi("VDI.destroy", &[disk]);
        }
    }
    xapi("VM.destroy", &[vm]);
    check::gone(world, name)
}

/// Changes the template and has the guests restarted for it.
fn restart_with(world: &World, name: &str, template: &Value) -> Result<(), String> {
    // Whole seconds count, and it must be after the start.
    let at = world.now() + jiff::SignedDuration::from_secs(1);
    let mut template = template.clone();
    template["restartAt"] = at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into();
    patch(world, name, &json!({ "template": template }))
}

fn has_disks(world: &World, number: usize) -> Result<(), String> {
    let there = || {
        world.revive_operator();
        (world.truth.disks() == number).then_some(())
    };
    until(&format!("there are {number} disks"), REST, there).map_err(|late| format!("{late}: {}", world.truth.disks()))
}

/// The VMs that the guests name.
pub fn vms(world: &World) -> BTreeSet<String> {
    world.guests().iter().filter_map(|guest| guest.status.as_ref()?.provider_id.clone()).collect()
}

/// Nobody asked for other VMs.
pub fn same(world: &World, before: &BTreeSet<String>) -> Result<(), String> {
    let now = vms(world);
    if now == *before { Ok(()) } else { Err(format!("the VMs were {before:?} and are {now:?}")) }
}
