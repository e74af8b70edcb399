//! Storage repositories (SR) and their connections to hosts (PBD).

use std::sync::Arc;

use super::or_default;
use crate::allowed;
use crate::dispatch::Args;
use crate::error::{ApiError, ApiResult};
use crate::model::Class;
use crate::sim::World;
use crate::value::Value;

/// What a repository permits; it does not depend on anything that the simulator changes.
pub(crate) const SR_OPERATIONS: &[&str] = &[
    "vdi_introduce",
    "unplug",
    "plug",
    "pbd_create",
    "update",
    "pbd_destroy",
    "vdi_resize",
    "vdi_clone",
    "scan",
    "vdi_snapshot",
    "vdi_mirror",
    "vdi_create",
    "vdi_destroy",
    "vdi_set_on_boot",
];

pub(crate) fn call(world: &mut World, class: &Class, message: &str, args: &Args) -> ApiResult<Option<Value>> {
    if &*class.name == "PBD" { of_pbd(world, message, args) } else { of_sr(world, message, args) }
}

fn of_sr(world: &mut World, message: &str, args: &Args) -> ApiResult<Option<Value>> {
    let sr = args.text(0);
    match message {
        "create" => return create(world, args).map(Some),
        "introduce" => {
            let fields = [
                ("uuid", args.value(0)),
                ("name_label", args.value(1)),
                ("name_description", args.value(2)),
                ("type", args.value(3)),
                ("content_type", args.value(4)),
                ("shared", args.value(5)),
                ("sm_config", args.value(6)),
                ("allowed_operations", Value::strings(SR_OPERATIONS)),
            ];
            let fields = fields.into_iter().map(|(k, v)| (Arc::from(k), v)).collect();
            return Ok(Some(Value::Str(world.store.insert("SR", fields))));
        }
        "destroy" | "forget" => forget(world, sr, message == "destroy")?,
        "scan" | "update" | "assert_can_host_ha_statefile" => {
            super::check_plugged(world, sr)?;
        }
        "get_supported_types" => {
            let types = world.store.rows("SM").map(|(_, row)| row.get("type").clone());
            return Ok(Some(Value::Set(types.collect())));
        }
        "probe" => return Ok(Some(Value::str("<SRlist></SRlist>"))),
        "probe_ext" => return Ok(Some(Value::Set(Vec::new()))),
        _ => return Ok(None),
    }
    Ok(Some(Value::Void))
}

fn create(world: &mut World, args: &Args) -> ApiResult<Value> {
    let (host, shared) = (args.text(0).to_owned(), args.flag(7));
    world.store.row("host", &host)?;
    let fields = [
        ("name_label", args.value(3)),
        ("name_description", args.value(4)),
        ("physical_size", args.value(2)),
        ("type", args.value(5)),
        ("content_type", args.value(6)),
        ("shared", args.value(7)),
        ("sm_config", args.value(8)),
        ("allowed_operations", Value::strings(SR_OPERATIONS)),
    ];
    let sr = world.store.insert("SR", fields.into_iter().map(|(k, v)| (Arc::from(k), v)).collect());
    let hosts = if shared { world.store.refs("host") } else { vec![Arc::from(host)] };
    for host in hosts {
        plug_new(world, &host, &sr, args.value(1));
    }
    Ok(Value::Str(sr))
}

/// Connects a host to a repository.
fn plug_new(world: &mut World, host: &Arc<str>, sr: &Arc<str>, device_config: Value) {
    let fields = [
        ("host", Value::Str(host.clone())),
        ("SR", Value::Str(sr.clone())),
        ("device_config", device_config),
        ("currently_attached", Value::Bool(true)),
    ];
    world.store.insert("PBD", fields.into_iter().map(|(k, v)| (Arc::from(k), v)).collect());
}

fn forget(world: &mut World, sr: &str, with_data: bool) -> ApiResult<()> {
    world.store.row("SR", sr)?;
    let pbds = world.store.refs_in("SR", sr, "PBDs");
    if pbds.iter().any(|p| world.store.flag("PBD", p, "currently_attached")) {
        return Err(ApiError::new("SR_HAS_PBD", [sr]));
    }
    let vdis = world.store.refs_in("SR", sr, "VDIs");
    if with_data && !vdis.is_empty() {
        return Err(ApiError::bare("SR_NOT_EMPTY"));
    }
    for vdi in vdis {
        world.store.remove("VDI", &vdi)?;
    }
    for pbd in pbds {
        world.store.remove("PBD", &pbd)?;
    }
    world.store.remove("SR", sr)
}

fn of_pbd(world: &mut World, message: &str, args: &Args) -> ApiResult<Option<Value>> {
    let pbd = args.text(0);
    match message {
        "plug" => {
            world.store.set("PBD", pbd, "currently_attached", true)?;
        }
        "unplug" => {
            let host = world.store.get("PBD", pbd, "host")?.as_str().to_owned();
            let sr = world.store.text("PBD", pbd, "SR").to_owned();
            or_default(world, &sr)?;
            let busy = world.store.refs_in("SR", &sr, "VDIs").into_iter().find(|vdi| {
                allowed::attached_vbd(world, vdi).is_some_and(|vbd| {
                    let vm = world.store.text("VBD", &vbd, "VM");
                    world.store.text("VM", vm, "resident_on") == host
                })
            });
            if let Some(vdi) = busy {
                return Err(ApiError::new("VDI_IN_USE", [&*vdi, "detach"]));
            }
            world.store.set("PBD", pbd, "currently_attached", false)?;
        }
        "destroy" => {
            if world.store.get("PBD", pbd, "currently_attached")?.as_bool() {
                return Err(ApiError::new("OPERATION_NOT_ALLOWED", ["PBD is currently attached"]));
            }
            return Ok(None);
        }
        _ => return Ok(None),
    }
    Ok(Some(Value::Void))
}
