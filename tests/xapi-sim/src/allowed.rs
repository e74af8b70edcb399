//! Which operations an object permits now, and with which error it refuses the others
//! (xapi 26.x `xapi_vm_lifecycle.ml`, `xapi_vbd_helpers.ml`).

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::error::{ApiError, ApiResult};
use crate::sim::World;
use crate::store::Row;
use crate::value::{Map, Value, is_null};

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
    let standing = Standing::of(world, vm, world.store.row("VM", vm)?);
    standing.refusal(op).map_or(Ok(()), |why| Err(standing.error(op, why)))
}

/// The power states that an operation needs.
pub(crate) fn check_power_state(vm: &str, row: &Row, op: &str) -> ApiResult<()> {
    let (power, snapshot) = (row.get("power_state").as_str(), row.get("is_a_snapshot").as_bool());
    if suits(op, power, snapshot) { Ok(()) } else { Err(unsuited(vm, op, power)) }
}

fn states(op: &str) -> &'static [&'static str] {
    VM_STATES.iter().find(|(name, _)| *name == op).map_or(&[][..], |(_, states)| *states)
}

fn suits(op: &str, power: &str, snapshot: bool) -> bool {
    states(op).contains(&power) || (snapshot && matches!(op, "clone" | "copy") && power == S)
}

fn unsuited(vm: &str, op: &str, power: &str) -> ApiError {
    bad_power_state(vm, &states(op).join(", "), power)
}

/// `VM_BAD_POWER_STATE`: the states are in lower case here, capitalised in records.
pub(crate) fn bad_power_state(vm: &str, expected: &str, actual: &str) -> ApiError {
    ApiError::new("VM_BAD_POWER_STATE", [vm.to_owned(), expected.to_lowercase(), actual.to_lowercase()])
}

/// What decides which operations a VM permits, looked up once for all of them.
struct Standing<'a> {
    vm: &'a str,
    blocked: &'a Value,
    power: &'a str,
    /// Operations under way, by task.
    current: Option<&'a Map>,
    kind: Kind,
    immobile: bool,
    control_domain: bool,
    /// What the guest's tools say it can.
    features: &'a Value,
}

/// What a VM's record stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Vm,
    Template,
    /// One that came with the product.
    DefaultTemplate,
    Snapshot,
}

impl Kind {
    fn of(row: &Row) -> Self {
        let is = |field: &str| row.get(field).as_bool();
        let by_product = || row.get("other_config").entry("default_template") == Some("true");
        if is("is_a_snapshot") {
            Self::Snapshot
        } else if !is("is_a_template") {
            Self::Vm
        } else if is("is_default_template") || by_product() {
            Self::DefaultTemplate
        } else {
            Self::Template
        }
    }
}

/// Why a VM does not permit an operation.
#[derive(Clone, Copy)]
enum Why {
    Blocked,
    PowerState,
    Concurrent,
    Snapshot,
    Template,
    NoTemplate,
    NoSnapshot,
    Immobile,
    ControlDomain,
    Feature,
}

impl<'a> Standing<'a> {
    fn of(world: &'a World, vm: &'a str, row: &'a Row) -> Self {
        let metrics = row.get("guest_metrics").as_str();
        Self {
            vm,
            blocked: row.get("blocked_operations"),
            power: row.get("power_state").as_str(),
            current: row.get("current_operations").as_map().filter(|m| !m.is_empty()),
            kind: Kind::of(row),
            immobile: row.get("platform").entry("nomigrate") == Some("true"),
            control_domain: row.get("is_control_domain").as_bool(),
            features: world.store.get("VM_guest_metrics", metrics, "other").unwrap_or(&Value::Void),
        }
    }

    /// `None`: it is permitted.
    fn refusal(&self, op: &str) -> Option<Why> {
        if self.blocked.entry(op).is_some() {
            return Some(Why::Blocked);
        }
        if !suits(op, self.power, self.kind == Kind::Snapshot) {
            return Some(Why::PowerState);
        }
        if self.current.is_some_and(|current| !may_run_beside(current, op)) {
            return Some(Why::Concurrent);
        }
        self.unfit(op).or_else(|| (!self.has_feature(op)).then_some(Why::Feature))
    }

    fn unfit(&self, op: &str) -> Option<Why> {
        const FOR_DOM0: [&str; 4] =
            ["changing_dynamic_range", "changing_static_range", "changing_memory_limits", "metadata_export"];
        let is_template = matches!(self.kind, Kind::Template | Kind::DefaultTemplate);
        if self.kind == Kind::Snapshot && !SNAPSHOT_ALLOWS.contains(&op) {
            return Some(Why::Snapshot);
        }
        let more = self.kind == Kind::Template && matches!(op, "destroy" | "migrate_send");
        if is_template && !TEMPLATE_ALLOWS.contains(&op) && !more {
            return Some(Why::Template);
        }
        if op == "provision" && !is_template {
            return Some(Why::NoTemplate);
        }
        if op == "revert" && self.kind != Kind::Snapshot {
            return Some(Why::NoSnapshot);
        }
        if self.immobile && matches!(op, "suspend" | "checkpoint" | "pool_migrate" | "migrate_send") {
            return Some(Why::Immobile);
        }
        (self.control_domain && !FOR_DOM0.contains(&op)).then_some(Why::ControlDomain)
    }

    fn has_feature(&self, op: &str) -> bool {
        let feature = match op {
            "clean_shutdown" | "clean_reboot" => "feature-shutdown",
            "suspend" | "checkpoint" => "feature-suspend",
            "changing_VCPUs_live" => "feature-vcpu-hotplug",
            _ => return true,
        };
        // A paused or suspended domain is checkpointed without its help.
        self.features.entry(feature) == Some("1") || (op == "checkpoint" && self.power != R)
    }

    fn error(&self, op: &str, why: Why) -> ApiError {
        let vm = self.vm;
        match why {
            Why::Blocked => ApiError::new("OPERATION_BLOCKED", [vm, self.blocked.entry(op).unwrap_or_default()]),
            Why::PowerState => unsuited(vm, op, self.power),
            Why::Concurrent => {
                let current = self.current.into_iter().flatten();
                let (tasks, ops): (Vec<&str>, Vec<&str>) = current.map(|(task, op)| (&**task, op.as_str())).unzip();
                ApiError::new("OTHER_OPERATION_IN_PROGRESS", ["VM", vm, &ops.join("; "), &tasks.join("; ")])
            }
            Why::Snapshot => ApiError::new("VM_IS_SNAPSHOT", [vm, op]),
            Why::Template => ApiError::new("VM_IS_TEMPLATE", [vm, op]),
            Why::NoTemplate => ApiError::bare("ONLY_PROVISION_TEMPLATE"),
            Why::NoSnapshot => ApiError::bare("ONLY_REVERT_SNAPSHOT"),
            Why::Immobile => ApiError::new("VM_IS_IMMOBILE", [vm]),
            Why::ControlDomain => ApiError::new("OPERATION_NOT_ALLOWED", ["Operations on domain 0 are not allowed"]),
            Why::Feature => ApiError::new("VM_LACKS_FEATURE", [vm]),
        }
    }
}

fn may_run_beside(current: &Map, op: &str) -> bool {
    let runs = |name: &str| current.values().any(|other| other.as_str() == name);
    match op {
        "hard_shutdown" => !runs("hard_shutdown"),
        "hard_reboot" => !runs("hard_shutdown") && !runs("hard_reboot"),
        _ => current.values().map(Value::as_str).all(|other| {
            let same_group = CONCURRENT.iter().any(|g| g.contains(&op) && g.contains(&other));
            same_group || CONCURRENT_PAIRS.contains(&(other, op))
        }),
    }
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
        let Ok(row) = world.store.row("VM", vm) else { continue };
        let standing = Standing::of(world, vm, row);
        let ops = VM_STATES.iter().map(|(op, _)| *op).filter(|op| !UNLISTED.contains(op));
        let ops: Vec<&str> = ops.filter(|op| standing.refusal(op).is_none()).collect();
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
