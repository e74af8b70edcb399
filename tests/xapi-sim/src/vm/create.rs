//! Making and destroying VMs without disks of their own.

use std::sync::Arc;

use super::operation::{Pace, during};
use super::{domain, memory};
use crate::error::ApiResult;
use crate::generic;
use crate::model::Class;
use crate::sim::{Call, World};
use crate::storage;
use crate::value::{Map, Value, new_uuid};

/// `VM.create`: one record; what is not in it takes the model's defaults.
pub(crate) fn create(world: &mut World, class: &Class, given: &Value) -> ApiResult<Value> {
    let mut fields = generic::constructor_fields(class, Some(given))?;
    // A client cannot make a VM that runs: only a suspended one may be told so.
    if fields.get("power_state").is_none_or(|p| p.as_str() != "Suspended") {
        fields.insert(Arc::from("power_state"), Value::str("Halted"));
    }
    fields.remove("suspend_VDI");
    let vm = insert(world, fields)?;
    memory::Limits::of(world, &vm)?.check().inspect_err(|_| {
        // Nothing of the refused VM may stay.
        let _ = remove_records(world, &vm);
    })?;
    Ok(Value::Str(vm))
}

/// Puts a VM's record in, with its metrics, overhead and the seed of its MAC addresses.
pub(crate) fn insert(world: &mut World, mut fields: Map) -> ApiResult<Arc<str>> {
    let installed = [(Arc::from("install_time"), Value::Time(world.clock().text()))];
    let metrics = world.store.insert("VM_metrics", installed.into_iter().collect());
    let mut config = fields.get("other_config").and_then(Value::as_map).cloned().unwrap_or_default();
    config.entry(Arc::from("mac_seed")).or_insert_with(|| Value::Str(new_uuid()));
    fields.insert(Arc::from("other_config"), Value::Map(config));
    fields.insert(Arc::from("metrics"), Value::Str(metrics));
    fields.insert(Arc::from("domid"), Value::Int(-1));
    let domain_type = fields.get("domain_type").map_or("", Value::as_str);
    if matches!(domain_type, "" | "unspecified") {
        let hvm = fields.get("HVM_boot_policy").is_some_and(|p| !p.as_str().is_empty());
        fields.insert(Arc::from("domain_type"), Value::str(if hvm { "hvm" } else { "pv" }));
    }
    let vm = world.store.insert("VM", fields);
    memory::update_overhead(world, &vm)?;
    world.log("create", "VM", &vm, "");
    Ok(vm)
}

/// `VM.destroy`: the VM and its devices go, its disks stay.
pub(crate) async fn destroy(call: &Call, vm: &str) -> ApiResult<Value> {
    let pace = Pace::fixed(call.knobs().destroy_ms);
    during(call, vm, "destroy", pace, |_| Ok(()), |w, ()| remove(w, vm)).await
}

pub(crate) fn remove(world: &mut World, vm: &str) -> ApiResult<Value> {
    world.log("destroy", "VM", vm, "");
    let image = world.store.text("VM", vm, "suspend_VDI").to_owned();
    if world.store.exists("VDI", &image) {
        storage::remove(world, &image)?;
    }
    remove_records(world, vm)?;
    Ok(Value::Void)
}

fn remove_records(world: &mut World, vm: &str) -> ApiResult<()> {
    for (class, field) in [("VBD", "VBDs"), ("VIF", "VIFs"), ("console", "consoles"), ("VTPM", "VTPMs")] {
        for device in world.store.refs_in("VM", vm, field) {
            world.store.remove(class, &device)?;
        }
    }
    domain::forget_tools(world, vm)?;
    let metrics = world.store.text("VM", vm, "metrics").to_owned();
    if world.store.exists("VM_metrics", &metrics) {
        world.store.remove("VM_metrics", &metrics)?;
    }
    world.store.remove("VM", vm)
}
