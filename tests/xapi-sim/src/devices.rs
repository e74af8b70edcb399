//! A VM's devices: VBDs (disks and drives) and VIFs (network interfaces).

use std::collections::BTreeSet;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::allowed;
use crate::dispatch::Args;
use crate::error::{ApiError, ApiResult};
use crate::generic;
use crate::model::Class;
use crate::sim::{Call, World};
use crate::value::{Value, is_null};
use crate::vm::domain::device_name;

pub(crate) fn call(call: &Call, class: &Class, message: &str, args: &Args) -> ApiResult<Option<Value>> {
    call.write(
        |w| if &*class.name == "VBD" { of_vbd(w, class, message, args) } else { of_vif(w, class, message, args) },
    )
}

/// The device positions that are free on a VM.
pub(crate) fn free_positions(world: &World, vm: &str, field: &str, count: u32) -> ApiResult<Value> {
    world.store.row("VM", vm)?;
    let taken = positions(world, vm, field);
    Ok(Value::strings((0..count).map(|n| n.to_string()).filter(|n| !taken.contains(n))))
}

fn positions(world: &World, vm: &str, field: &str) -> BTreeSet<String> {
    let (class, position) = if field == "VBDs" { ("VBD", "userdevice") } else { ("VIF", "device") };
    let devices = world.store.refs_in("VM", vm, field).into_iter();
    devices.map(|d| world.store.text(class, &d, position).to_owned()).collect()
}

fn of_vbd(world: &mut World, class: &Class, message: &str, args: &Args) -> ApiResult<Option<Value>> {
    let this = args.text(0);
    match message {
        "create" => return create_vbd(world, class, &args.value(0)).map(Some),
        "destroy" => {
            if world.store.get("VBD", this, "currently_attached")?.as_bool() {
                let (vbd, vm) = (world.uuid("VBD", this), world.store.text("VBD", this, "VM").to_owned());
                let text = format!("VBD '{vbd}' still attached to '{}'", world.uuid("VM", &vm));
                return Err(ApiError::new("OPERATION_NOT_ALLOWED", [text]));
            }
            return Ok(None);
        }
        "plug" => plug_vbd(world, this)?,
        "unplug" | "unplug_force" => unplug(world, "VBD", this)?,
        "eject" => {
            if world.store.get("VBD", this, "empty")?.as_bool() {
                return Err(ApiError::new("VBD_IS_EMPTY", [this]));
            }
            world.store.set("VBD", this, "VDI", Value::null_ref())?;
            world.store.set("VBD", this, "empty", true)?;
            world.store.set("VBD", this, "currently_attached", false)?;
        }
        "insert" => {
            if !world.store.get("VBD", this, "empty")?.as_bool() {
                return Err(ApiError::new("VBD_NOT_EMPTY", [this]));
            }
            world.store.row("VDI", args.text(1))?;
            world.store.set("VBD", this, "VDI", args.value(1))?;
            world.store.set("VBD", this, "empty", false)?;
            let running = is_running(world, "VBD", this);
            world.store.set("VBD", this, "currently_attached", running)?;
        }
        "assert_attachable" => check_attachable(world, this)?,
        "set_mode" => {
            if is_running(world, "VBD", this) {
                let vm = world.store.text("VBD", this, "VM").to_owned();
                return Err(allowed::bad_power_state(&vm, "halted", "running"));
            }
            world.store.set("VBD", this, "mode", args.value(1))?;
        }
        _ => return Ok(None),
    }
    Ok(Some(Value::Void))
}

fn is_running(world: &World, class: &str, device: &str) -> bool {
    let vm = world.store.text(class, device, "VM");
    world.store.text("VM", vm, "power_state") == "Running"
}

fn create_vbd(world: &mut World, class: &Class, given: &Value) -> ApiResult<Value> {
    let mut fields = generic::constructor_fields(class, Some(given))?;
    let text = |name: &str| fields.get(name).map_or("", Value::as_str).to_owned();
    let (vm, vdi, mode, kind) = (text("VM"), text("VDI"), text("mode"), text("type"));
    world.store.row("VM", &vm)?;
    let empty = fields.get("empty").is_some_and(Value::as_bool);
    if !empty {
        world.store.row("VDI", &vdi)?;
        if mode == "RW" && world.store.flag("VDI", &vdi, "read_only") {
            return Err(ApiError::new("VDI_READONLY", [vdi]));
        }
    }
    if empty && kind != "CD" {
        return Err(ApiError::new("VM_REQUIRES_VDI", [vm, vdi]));
    }
    if kind == "CD" && mode != "RO" {
        return Err(ApiError::bare("VBD_CDS_MUST_BE_READONLY"));
    }
    let taken = positions(world, &vm, "VBDs");
    let asked = text("userdevice");
    let position = match asked.as_str() {
        "autodetect" => (0..255_u32).find(|n| *n != 3 && !taken.contains(&n.to_string())).unwrap_or(0),
        name => position(name).ok_or_else(|| ApiError::new("INVALID_DEVICE", [name]))?,
    };
    if taken.contains(&position.to_string()) {
        return Err(ApiError::new("DEVICE_ALREADY_EXISTS", [position.to_string()]));
    }
    fields.insert(Arc::from("userdevice"), Value::str(position.to_string()));
    fields.insert(Arc::from("currently_attached"), Value::Bool(false));
    if empty {
        fields.insert(Arc::from("VDI"), Value::null_ref());
    }
    Ok(Value::Str(world.store.insert("VBD", fields)))
}

/// A position by number or by a device's name.
fn position(name: &str) -> Option<u32> {
    if let Ok(number) = name.parse::<u32>() {
        return (number < 255).then_some(number);
    }
    (0..255).find(|n| device_name(*n) == name || device_name(*n).replacen("xv", "h", 1) == name)
}

fn check_attachable(world: &World, vbd: &str) -> ApiResult<()> {
    let vdi = world.store.get("VBD", vbd, "VDI")?.as_str();
    if is_null(vdi) || world.store.flag("VDI", vdi, "sharable") || world.store.text("VBD", vbd, "mode") == "RO" {
        return Ok(());
    }
    if allowed::attached_vbd(world, vdi).is_some_and(|other| *other != *vbd) || world.is_busy(vdi) {
        return Err(ApiError::new("VDI_IN_USE", [vdi, "attach"]));
    }
    Ok(())
}

fn plug_vbd(world: &mut World, vbd: &str) -> ApiResult<()> {
    let vm = world.store.get("VBD", vbd, "VM")?.as_str().to_owned();
    let state = world.store.get("VM", &vm, "power_state")?.as_str().to_owned();
    if state != "Running" {
        return Err(allowed::bad_power_state(&vm, "running", &state));
    }
    if world.store.flag("VBD", vbd, "currently_attached") {
        return Err(ApiError::new("DEVICE_ALREADY_ATTACHED", [vbd]));
    }
    if !allowed::has_drivers(world, &vm) {
        return Err(ApiError::new("VM_MISSING_PV_DRIVERS", [vm]));
    }
    check_attachable(world, vbd)?;
    let number = world.store.text("VBD", vbd, "userdevice").parse().unwrap_or(0);
    world.store.set("VBD", vbd, "device", device_name(number).as_str())?;
    world.store.set("VBD", vbd, "currently_attached", true)
}

fn unplug(world: &mut World, class: &str, device: &str) -> ApiResult<()> {
    let vm = world.store.get(class, device, "VM")?.as_str().to_owned();
    let state = world.store.get("VM", &vm, "power_state")?.as_str().to_owned();
    if state != "Running" {
        return Err(allowed::bad_power_state(&vm, "running", &state));
    }
    if !world.store.flag(class, device, "currently_attached") {
        return Err(ApiError::new("DEVICE_ALREADY_DETACHED", [device]));
    }
    world.store.set(class, device, "currently_attached", false)
}

fn of_vif(world: &mut World, class: &Class, message: &str, args: &Args) -> ApiResult<Option<Value>> {
    let this = args.text(0);
    match message {
        "create" => return create_vif(world, class, &args.value(0)).map(Some),
        "destroy" => {
            if world.store.get("VIF", this, "currently_attached")?.as_bool() {
                return Err(ApiError::new("DEVICE_ALREADY_ATTACHED", [this]));
            }
            return Ok(None);
        }
        "plug" => {
            let vm = world.store.get("VIF", this, "VM")?.as_str().to_owned();
            let state = world.store.get("VM", &vm, "power_state")?.as_str().to_owned();
            if state != "Running" {
                return Err(allowed::bad_power_state(&vm, "running", &state));
            }
            if world.store.flag("VIF", this, "currently_attached") {
                return Err(ApiError::new("DEVICE_ALREADY_ATTACHED", [this]));
            }
            world.store.set("VIF", this, "currently_attached", true)?;
        }
        "unplug" | "unplug_force" => unplug(world, "VIF", this)?,
        "move" => {
            world.store.row("network", args.text(1))?;
            world.store.set("VIF", this, "network", args.value(1))?;
        }
        "configure_ipv4" => {
            world.store.set("VIF", this, "ipv4_configuration_mode", args.value(1))?;
            let address = Some(args.text(2)).filter(|a| !a.is_empty());
            world.store.set("VIF", this, "ipv4_addresses", Value::strings(address))?;
            world.store.set("VIF", this, "ipv4_gateway", args.value(3))?;
        }
        _ => return Ok(None),
    }
    Ok(Some(Value::Void))
}

fn create_vif(world: &mut World, class: &Class, given: &Value) -> ApiResult<Value> {
    let mut fields = generic::constructor_fields(class, Some(given))?;
    let text = |name: &str| fields.get(name).map_or("", Value::as_str).to_owned();
    let (vm, network, mac) = (text("VM"), text("network"), text("MAC"));
    world.store.row("VM", &vm)?;
    world.store.row("network", &network)?;
    let taken = positions(world, &vm, "VIFs");
    let asked = text("device");
    let device = match asked.as_str() {
        "autodetect" => (0..16_u32).map(|n| n.to_string()).find(|n| !taken.contains(n)).unwrap_or_default(),
        name if name.parse::<u32>().is_ok_and(|n| n < 16) => name.to_owned(),
        name => return Err(ApiError::new("INVALID_DEVICE", [name])),
    };
    if taken.contains(&device) {
        return Err(ApiError::new("DEVICE_ALREADY_EXISTS", [device]));
    }
    if mac.is_empty() {
        fields.insert(Arc::from("MAC"), Value::str(mac_from_seed(world, &vm, &device)));
        fields.insert(Arc::from("MAC_autogenerated"), Value::Bool(true));
    } else if !is_mac(&mac) {
        return Err(ApiError::new("MAC_INVALID", [mac]));
    }
    fields.insert(Arc::from("device"), Value::str(device));
    fields.insert(Arc::from("currently_attached"), Value::Bool(false));
    Ok(Value::Str(world.store.insert("VIF", fields)))
}

fn is_mac(text: &str) -> bool {
    let parts: Vec<&str> = text.split(':').collect();
    parts.len() == 6 && parts.iter().all(|p| p.len() == 2 && p.chars().all(|c| c.is_ascii_hexdigit()))
}

/// A MAC address that follows from the VM's `mac_seed` and the device: local, not a group's.
pub(crate) fn mac_from_seed(world: &World, vm: &str, device: &str) -> String {
    let seed = world.store.get("VM", vm, "other_config").ok().and_then(|c| c.entry("mac_seed")).unwrap_or(vm);
    let digest = Sha256::digest(format!("{seed}/{device}"));
    let bytes: Vec<String> = digest
        .iter()
        .take(6)
        .enumerate()
        .map(|(i, b)| if i == 0 { (b & 0xfe) | 0x02 } else { *b })
        .map(|b| format!("{b:02x}"))
        .collect();
    bytes.join(":")
}
