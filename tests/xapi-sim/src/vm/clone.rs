//! Copies of VMs: clone, copy, snapshot, checkpoint, revert.

use std::sync::Arc;

use super::operation::{Pace, during};
use super::{create, domain, memory, power};
use crate::devices;
use crate::error::{ApiError, ApiResult};
use crate::sim::{Call, World};
use crate::storage;
use crate::value::{Map, Value, is_null, new_uuid};

const GIB: i64 = 1 << 30;

/// What kind of copy is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Disks share their data with the source's.
    Clone,
    /// Disks are full copies on this repository, or on their own when it is null.
    Copy(Arc<str>),
    /// A snapshot, with the guest's memory when it is a checkpoint.
    Snapshot { checkpoint: bool },
}

impl Kind {
    fn operation(&self) -> &'static str {
        match self {
            Self::Clone => "clone",
            Self::Copy(_) => "copy",
            Self::Snapshot { checkpoint: false } => "snapshot",
            Self::Snapshot { checkpoint: true } => "checkpoint",
        }
    }
}

pub(crate) async fn make(call: &Call, vm: &str, name: &str, kind: Kind) -> ApiResult<Value> {
    let knobs = call.knobs();
    let pace = match &kind {
        Kind::Clone => Pace::cancellable(knobs.clone_ms),
        Kind::Copy(_) => {
            let bytes = call.sim.read(|w| {
                domain::disks(w, vm).iter().map(|(_, vdi)| w.store.int("VDI", vdi, "virtual_size")).sum::<i64>()
            });
            Pace::cancellable(knobs.copy_ms_per_gib * u64::try_from(bytes / GIB).unwrap_or(0) + knobs.clone_ms)
        }
        Kind::Snapshot { .. } => Pace::fixed(knobs.snapshot_ms),
    };
    let target = match &kind {
        Kind::Copy(sr) => Some(sr.clone()),
        _ => None,
    };
    during(
        call,
        vm,
        kind.operation(),
        pace,
        |w| target.as_deref().filter(|sr| !is_null(sr)).map_or(Ok(()), |sr| w.store.row("SR", sr).map(|_| ())),
        |w, ()| duplicate(w, vm, name, &kind).map(Value::Str),
    )
    .await
}

/// Makes the copy: record, disks, network interfaces.
pub(crate) fn duplicate(world: &mut World, vm: &str, name: &str, kind: &Kind) -> ApiResult<Arc<str>> {
    let source = world.store.row("VM", vm)?.clone();
    let mut fields = copied_fields(&source.fields);
    fields.insert(Arc::from("name_label"), Value::str(name));
    fields.insert(Arc::from("other_config"), Value::Map(copied_config(&source.fields, kind)));
    if let Kind::Snapshot { checkpoint } = kind {
        let state = source.get("power_state").as_str();
        fields.insert(Arc::from("is_a_snapshot"), Value::Bool(true));
        fields.insert(Arc::from("is_a_template"), Value::Bool(true));
        fields.insert(Arc::from("snapshot_of"), Value::str(vm));
        fields.insert(Arc::from("snapshot_time"), Value::Time(world.clock().text()));
        let kept = if *checkpoint || state == "Suspended" { "Suspended" } else { "Halted" };
        fields.insert(Arc::from("power_state"), Value::str(kept));
        let info = [("power-state-at-snapshot", state), ("disk-snapshot-type", "crash_consistent")];
        fields.insert(Arc::from("snapshot_info"), Value::dict(info));
    }
    let copy = create::insert(world, fields)?;
    let done = copy_devices(world, vm, &copy, kind).and_then(|()| copy_image(world, vm, &copy));
    if let Err(error) = done {
        // A copy without all its disks is none.
        for (vbd, vdi) in domain::disks(world, &copy) {
            if world.store.text("VBD", &vbd, "type") == "Disk" {
                let _ = storage::remove(world, &vdi);
            }
        }
        let _ = create::remove(world, &copy);
        return Err(error);
    }
    Ok(copy)
}

/// Gives a suspended copy a memory image of its own: its source's, or a new one of a guest that runs.
fn copy_image(world: &mut World, vm: &str, copy: &str) -> ApiResult<()> {
    if world.store.text("VM", copy, "power_state") != "Suspended" {
        return Ok(());
    }
    let image = world.store.text("VM", vm, "suspend_VDI").to_owned();
    let own = if world.store.exists("VDI", &image) {
        storage::duplicate(world, &image, None)?
    } else {
        let size = world.store.int("VM", vm, "memory_dynamic_max");
        let sr = power::suspend_sr(world, vm)?;
        storage::make(world, &sr, "Suspend image", size, "suspend")?
    };
    world.store.set("VM", copy, "suspend_VDI", &*own)
}

fn copied_fields(source: &Map) -> Map {
    /// What belongs to the source alone.
    const OWN: &[&str] = &[
        "uuid",
        "allowed_operations",
        "current_operations",
        "power_state",
        "suspend_VDI",
        "resident_on",
        "scheduled_to_be_resident_on",
        "memory_target",
        "consoles",
        "VIFs",
        "VBDs",
        "VUSBs",
        "crash_dumps",
        "VTPMs",
        "VGPUs",
        "attached_PCIs",
        "domid",
        "domarch",
        "metrics",
        "guest_metrics",
        "snapshot_of",
        "snapshots",
        "snapshot_time",
        "snapshot_info",
        "snapshot_metadata",
        "transportable_snapshot_id",
        "is_a_snapshot",
        "parent",
        "children",
        "appliance",
        "groups",
        "is_default_template",
        "last_booted_record",
        "blobs",
        "requires_reboot",
        "protection_policy",
        "snapshot_schedule",
    ];
    source.iter().filter(|(k, _)| !OWN.contains(&&***k)).map(|(k, v)| (k.clone(), v.clone())).collect()
}

fn copied_config(source: &Map, kind: &Kind) -> Map {
    let mut config = source.get("other_config").and_then(Value::as_map).cloned().unwrap_or_default();
    if matches!(kind, Kind::Snapshot { .. }) {
        return config;
    }
    config.insert(Arc::from("mac_seed"), Value::Str(new_uuid()));
    config.remove("default_template");
    if source.get("is_a_template").is_some_and(Value::as_bool) {
        config.insert(Arc::from("base_template_name"), source.get("name_label").cloned().unwrap_or(Value::Void));
    }
    config
}

fn copy_devices(world: &mut World, vm: &str, copy: &Arc<str>, kind: &Kind) -> ApiResult<()> {
    for vbd in world.store.refs_in("VM", vm, "VBDs") {
        let mut fields = Map::clone(&world.store.row("VBD", &vbd)?.fields);
        let vdi = fields.get("VDI").map_or("", Value::as_str).to_owned();
        let is_disk = fields.get("type").is_some_and(|t| t.as_str() == "Disk");
        for own in ["uuid", "allowed_operations", "current_operations", "currently_attached", "metrics"] {
            fields.remove(own);
        }
        fields.insert(Arc::from("VM"), Value::Str(copy.clone()));
        if is_disk && world.store.exists("VDI", &vdi) {
            let new = match kind {
                Kind::Clone => storage::duplicate(world, &vdi, None)?,
                Kind::Copy(sr) => storage::duplicate(world, &vdi, Some(&**sr).filter(|sr| !is_null(sr)))?,
                Kind::Snapshot { .. } => storage::snapshot(world, &vdi)?,
            };
            fields.insert(Arc::from("VDI"), Value::Str(new));
        }
        world.store.insert("VBD", fields);
    }
    for vif in world.store.refs_in("VM", vm, "VIFs") {
        let mut fields = Map::clone(&world.store.row("VIF", &vif)?.fields);
        for own in ["uuid", "allowed_operations", "current_operations", "currently_attached", "metrics"] {
            fields.remove(own);
        }
        let made_up = fields.get("MAC_autogenerated").is_some_and(Value::as_bool);
        if made_up && !matches!(kind, Kind::Snapshot { .. }) {
            let device = fields.get("device").map_or("0", Value::as_str).to_owned();
            fields.insert(Arc::from("MAC"), Value::str(devices::mac_from_seed(world, copy, &device)));
        }
        fields.insert(Arc::from("VM"), Value::Str(copy.clone()));
        world.store.insert("VIF", fields);
    }
    Ok(())
}

/// `VM.revert`: the snapshot's VM takes its disks and settings back.
pub(crate) fn revert(world: &mut World, snapshot: &str) -> ApiResult<Value> {
    crate::allowed::check_vm(world, snapshot, "revert")?;
    let vm = world.store.text("VM", snapshot, "snapshot_of").to_owned();
    if !world.store.exists("VM", &vm) {
        return Err(ApiError::new("VM_REVERT_FAILED", [snapshot, "the VM of the snapshot is gone"]));
    }
    if world.store.text("VM", &vm, "power_state") != "Halted" {
        let host = world.store.text("VM", &vm, "resident_on").to_owned();
        domain::end(world, &vm, "Halted")?;
        world.log("halt", "VM", &vm, &host);
    }
    for (vbd, vdi) in domain::disks(world, &vm) {
        if world.store.text("VBD", &vbd, "type") == "Disk" {
            world.store.remove("VBD", &vbd)?;
            storage::remove(world, &vdi)?;
        }
    }
    for (vbd, vdi) in domain::disks(world, snapshot) {
        if world.store.text("VBD", &vbd, "type") == "Disk" {
            let new = storage::duplicate(world, &vdi, None)?;
            let mut fields = Map::clone(&world.store.row("VBD", &vbd)?.fields);
            fields.remove("uuid");
            fields.insert(Arc::from("VM"), Value::str(&vm));
            fields.insert(Arc::from("VDI"), Value::Str(new));
            world.store.insert("VBD", fields);
        }
    }
    let settings = world.store.row("VM", snapshot)?.clone();
    for field in [
        "memory_static_min",
        "memory_static_max",
        "memory_dynamic_min",
        "memory_dynamic_max",
        "VCPUs_max",
        "VCPUs_at_startup",
    ] {
        world.store.set("VM", &vm, field, settings.get(field).clone())?;
    }
    memory::update_overhead(world, &vm)?;
    // A checkpoint is gone back to with the memory that it holds.
    let image = settings.get("suspend_VDI").as_str();
    if settings.get("power_state").as_str() == "Suspended" && world.store.exists("VDI", image) {
        let own = storage::duplicate(world, image, None)?;
        world.store.set("VM", &vm, "suspend_VDI", &*own)?;
        world.store.set("VM", &vm, "power_state", "Suspended")?;
    }
    Ok(Value::Void)
}
