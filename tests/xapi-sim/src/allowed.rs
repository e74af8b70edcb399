//! Which operations an object permits now, and with which error it refuses the others
//! (xapi 26.x `xapi_vm_lifecycle.ml`, `xapi_vbd_helpers.ml`).

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::error::{ApiError, ApiResult};
use crate::sim::World;
use crate::store::Row;
use crate::value::{Value, is_null};

const H: &str = "Halted";
const P: &str = "Paused";
const S: &str = "Suspended";
const R: &str = "Running";

/// The power states in which a VM permits each operation, in the order in which errors list them.
const VM_STATES: &[(&str, &[&str])] = &[
    ("snapshot", &[H, P, S, R]),
    ("clone", &[H]),
    ("copy", &[H]),
    ("create_template", &[H, S]),
    ("revert", &[H, P, S, R]),
    ("checkpoint", &[P, S, R]),
    ("snapshot_with_quiesce", &[R]),
    ("provision", &[H]),
    ("start", &[H]),
    ("start_on", &[H]),
    ("pause", &[R]),
    ("unpause", &[P]),
    ("clean_shutdown", &[R]),
    ("clean_reboot", &[R]),
    ("hard_shutdown", &[P, S, R]),
    ("power_state_reset", &[H, P, S, R]),
    ("hard_reboot", &[P, R]),
    ("suspend", &[R]),
    ("csvm", &[S]),
    ("resume", &[S]),
    ("resume_on", &[S]),
    ("pool_migrate", &[R]),
    ("migrate_send", &[H, S, R]),
    ("get_boot_record", &[P, S, R]),
    ("send_sysrq", &[R]),
    ("send_trigger", &[R]),
    ("query_services", &[H, P, S, R]),
    ("shutdown", &[P, S, R]),
    ("call_plugin", &[R]),
    ("changing_memory_live", &[R]),
    ("awaiting_memory_live", &[R]),
    ("changing_dynamic_range", &[H, R]),
    ("changing_static_range", &[H]),
    ("changing_memory_limits", &[H]),
    ("changing_shadow_memory", &[H]),
    ("changing_shadow_memory_live", &[R]),
    ("changing_VCPUs", &[H]),
    ("changing_VCPUs_live", &[R]),
    ("changing_NVRAM", &[H]),
    ("assert_operation_valid", &[H, P, S, R]),
    ("data_source_op", &[R]),
    ("update_allowed_operations", &[H, P, S, R]),
    ("make_into_template", &[H]),
    ("export", &[H, S]),
    ("metadata_export", &[H, P, S, R]),
    ("reverting", &[H, P, S, R]),
    ("destroy", &[H, S]),
    ("create_vtpm", &[H]),
    ("sysprep", &[R]),
];
/// Operations that are never listed, because no client asks for them.
const UNLISTED: &[&str] = &["assert_operation_valid", "update_allowed_operations", "get_boot_record", "query_services"];
const TEMPLATE_ALLOWS: &[&str] = &[
    "changing_dynamic_range",
    "changing_static_range",
    "changing_memory_limits",
    "changing_shadow_memory",
    "changing_VCPUs",
    "changing_NVRAM",
    "clone",
    "copy",
    "export",
    "metadata_export",
    "provision",
];
const SNAPSHOT_ALLOWS: &[&str] = &["revert", "clone", "copy", "export", "destroy", "hard_shutdown", "metadata_export"];
/// Operations of one group may run at the same time.
const CONCURRENT: &[&[&str]] = &[&["clone", "copy", "export"], &["get_boot_record"], &["snapshot", "checkpoint"]];
const CONCURRENT_PAIRS: &[(&str, &str)] = &[
    ("snapshot_with_quiesce", "snapshot"),
    ("migrate_send", "metadata_export"),
    ("migrate_send", "clean_shutdown"),
    ("migrate_send", "clean_reboot"),
];

/// The error that keeps a VM from an operation now, in xapi's order of checks.
pub(crate) fn check_vm(world: &World, vm: &str, op: &str) -> ApiResult<()> {
    let row = world.store.row("VM", vm)?;
    if let Some(reason) = row.get("blocked_operations").entry(op) {
        return Err(ApiError::new("OPERATION_BLOCKED", [vm, reason]));
    }
    check_power_state(vm, row, op)?;
    check_concurrent(vm, row, op)?;
    check_kind(vm, row, op)?;
    check_feature(world, vm, row, op)
}

/// The power states that an operation needs.
pub(crate) fn check_power_state(vm: &str, row: &Row, op: &str) -> ApiResult<()> {
    let actual = row.get("power_state").as_str();
    let states = VM_STATES.iter().find(|(name, _)| *name == op).map_or(&[][..], |(_, states)| *states);
    let snapshot_clone = row.get("is_a_snapshot").as_bool() && matches!(op, "clone" | "copy") && actual == S;
    if states.contains(&actual) || snapshot_clone {
        return Ok(());
    }
    let expected: Vec<String> = states.iter().map(|s| s.to_lowercase()).collect();
    Err(bad_power_state(vm, &expected.join(", "), actual))
}

/// `VM_BAD_POWER_STATE`: the states are in lower case here, capitalised in records.
pub(crate) fn bad_power_state(vm: &str, expected: &str, actual: &str) -> ApiError {
    ApiError::new("VM_BAD_POWER_STATE", [vm.to_owned(), expected.to_lowercase(), actual.to_lowercase()])
}

fn check_concurrent(vm: &str, row: &Row, op: &str) -> ApiResult<()> {
    let Some(current) = row.get("current_operations").as_map().filter(|m| !m.is_empty()) else { return Ok(()) };
    let running: BTreeSet<&str> = current.values().map(Value::as_str).collect();
    let allowed = match op {
        "hard_shutdown" => !running.contains("hard_shutdown"),
        "hard_reboot" => !running.contains("hard_shutdown") && !running.contains("hard_reboot"),
        _ => {
            let same_group = |other: &str| CONCURRENT.iter().any(|g| g.contains(&op) && g.contains(&other));
            let pair = |other: &str| CONCURRENT_PAIRS.contains(&(other, op));
            running.iter().all(|other| same_group(other) || pair(other))
        }
    };
    if allowed {
        return Ok(());
    }
    let ops: Vec<&str> = current.values().map(Value::as_str).collect();
    let tasks: Vec<&str> = current.keys().map(|k| &**k).collect();
    Err(ApiError::new("OTHER_OPERATION_IN_PROGRESS", ["VM", vm, &ops.join("; "), &tasks.join("; ")]))
}

fn check_kind(vm: &str, row: &Row, op: &str) -> ApiResult<()> {
    let is = |field: &str| row.get(field).as_bool();
    if is("is_a_snapshot") {
        if !SNAPSHOT_ALLOWS.contains(&op) {
            return Err(ApiError::new("VM_IS_SNAPSHOT", [vm, op]));
        }
    } else if is("is_a_template") {
        let default = is("is_default_template") || row.get("other_config").entry("default_template") == Some("true");
        let more = !default && matches!(op, "destroy" | "migrate_send");
        if !TEMPLATE_ALLOWS.contains(&op) && !more {
            return Err(ApiError::new("VM_IS_TEMPLATE", [vm, op]));
        }
    }
    if op == "provision" && !is("is_a_template") {
        return Err(ApiError::bare("ONLY_PROVISION_TEMPLATE"));
    }
    if op == "revert" && !is("is_a_snapshot") {
        return Err(ApiError::bare("ONLY_REVERT_SNAPSHOT"));
    }
    let immobile = row.get("platform").entry("nomigrate") == Some("true");
    if immobile && matches!(op, "suspend" | "checkpoint" | "pool_migrate" | "migrate_send") {
        return Err(ApiError::new("VM_IS_IMMOBILE", [vm]));
    }
    let for_dom0 = ["changing_dynamic_range", "changing_static_range", "changing_memory_limits", "metadata_export"];
    if is("is_control_domain") && !for_dom0.contains(&op) {
        return Err(ApiError::new("OPERATION_NOT_ALLOWED", ["Operations on domain 0 are not allowed"]));
    }
    Ok(())
}

fn check_feature(world: &World, vm: &str, row: &Row, op: &str) -> ApiResult<()> {
    let feature = match op {
        "clean_shutdown" | "clean_reboot" => "feature-shutdown",
        "suspend" | "checkpoint" => "feature-suspend",
        "changing_VCPUs_live" => "feature-vcpu-hotplug",
        _ => return Ok(()),
    };
    let metrics = row.get("guest_metrics").as_str();
    let has = world.store.get("VM_guest_metrics", metrics, "other").is_ok_and(|o| o.entry(feature) == Some("1"));
    // A paused or suspended domain is checkpointed without its help.
    if has || (op == "checkpoint" && row.get("power_state").as_str() != R) {
        return Ok(());
    }
    Err(ApiError::new("VM_LACKS_FEATURE", [vm]))
}

/// Brings `allowed_operations` up to date for what changed since a generation, and for what depends on it.
pub(crate) fn refresh(world: &mut World, since: u64) {
    let changed = |world: &World, class: &str| -> BTreeSet<Arc<str>> {
        world
            .store
            .table(class)
            .into_iter()
            .flat_map(|t| t.by_modified.range(since + 1..).map(|(_, r)| r.clone()))
            .collect()
    };
    let vms = changed(world, "VM");
    let (mut vbds, mut vifs) = (changed(world, "VBD"), changed(world, "VIF"));
    for vm in &vms {
        vbds.extend(world.store.refs_in("VM", vm, "VBDs"));
        vifs.extend(world.store.refs_in("VM", vm, "VIFs"));
    }
    let mut vdis = changed(world, "VDI");
    vdis.extend(vbds.iter().map(|v| Arc::from(world.store.text("VBD", v, "VDI"))));
    for vm in &vms {
        let ops = VM_STATES.iter().map(|(op, _)| *op).filter(|op| !UNLISTED.contains(op));
        let ops: Vec<&str> = ops.filter(|op| check_vm(world, vm, op).is_ok()).collect();
        allow(world, "VM", vm, &ops);
    }
    for (class, refs) in [("VBD", vbds), ("VIF", vifs)] {
        for device in &refs {
            let ops = device_operations(world, class, device);
            allow(world, class, device, &ops);
        }
    }
    for vdi in vdis.iter().filter(|v| !is_null(v)) {
        let ops = vdi_operations(world, vdi);
        allow(world, "VDI", vdi, &ops);
    }
}

fn allow(world: &mut World, class: &str, reference: &str, ops: &[&str]) {
    let same = |row: &Arc<Row>| row.get("allowed_operations").texts().eq(ops.iter().copied());
    if world.store.row(class, reference).is_ok_and(same) {
        return;
    }
    // A dangling reference of a loaded database has no row to write to.
    let _ = world.store.set(class, reference, "allowed_operations", Value::strings(ops));
}

fn device_operations(world: &World, class: &str, device: &str) -> Vec<&'static str> {
    let vm = world.store.text(class, device, "VM");
    let running = world.store.text("VM", vm, "power_state") == R;
    let attached = world.store.flag(class, device, "currently_attached");
    let mut ops = vec!["attach"];
    if running && (class != "VBD" || has_drivers(world, vm)) {
        ops.push(if attached { "unplug" } else { "plug" });
    }
    if world.store.text(class, device, "type") == "CD" {
        ops.push(if world.store.flag(class, device, "empty") { "insert" } else { "eject" });
    }
    ops
}

/// Whether a guest's drivers were seen, without which no disk comes or goes while it runs.
pub(crate) fn has_drivers(world: &World, vm: &str) -> bool {
    let paravirtual = world.store.text("VM", vm, "domain_type") == "pv";
    paravirtual
        || world.store.flag("VM_guest_metrics", world.store.text("VM", vm, "guest_metrics"), "PV_drivers_detected")
}

fn vdi_operations(world: &World, vdi: &str) -> Vec<&'static str> {
    let attached = attached_vbd(world, vdi).is_some();
    let mut ops = vec!["generate_config", "update", "snapshot", "clone"];
    if !attached {
        ops.extend(["copy", "forget", "resize", "destroy", "mirror"]);
        ops.push(if world.store.flag("VDI", vdi, "cbt_enabled") { "disable_cbt" } else { "enable_cbt" });
    }
    if world.knobs.online_resize {
        ops.push("resize_online");
    }
    ops
}

/// A device through which a disk is in use.
pub(crate) fn attached_vbd(world: &World, vdi: &str) -> Option<Arc<str>> {
    let vbds = world.store.refs_in("VDI", vdi, "VBDs");
    vbds.into_iter().find(|v| world.store.flag("VBD", v, "currently_attached"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value as Json;

    use super::*;

    /// The table here says what the extract of xapi's own rules says.
    #[test]
    fn states_are_those_of_xapi() {
        let rules: Json = serde_json::from_str(include_str!("../model/vm_operation_rules.json")).unwrap();
        let listed = rules["allowed_power_states"].as_object().unwrap();
        for (op, states) in listed {
            let states: BTreeSet<&str> = states.as_array().unwrap().iter().filter_map(Json::as_str).collect();
            let expected: BTreeSet<&str> = states.into_iter().filter(|s| !s.starts_with('+')).collect();
            let here = VM_STATES.iter().find(|(name, _)| name == op).map_or(&[][..], |(_, s)| *s);
            assert_eq!(here.iter().copied().collect::<BTreeSet<_>>(), expected, "{op}");
        }
        assert_eq!(VM_STATES.iter().filter(|(op, _)| !listed.contains_key(*op)).count(), 0);
        let snapshot: Vec<&str> =
            rules["snapshot_allows"].as_array().unwrap().iter().filter_map(Json::as_str).collect();
        assert_eq!(snapshot, SNAPSHOT_ALLOWS);
    }
}
