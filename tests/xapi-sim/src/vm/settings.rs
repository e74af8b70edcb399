//! A VM's settings that have rules: memory, vCPUs, groups, devices of the virtual board.

use super::memory::{self, Limits};
use crate::allowed;
use crate::dispatch::Args;
use crate::error::{ApiError, ApiResult};
use crate::sim::World;
use crate::value::Value;

pub(crate) fn call(world: &mut World, message: &str, args: &Args) -> ApiResult<Option<Value>> {
    let vm = args.text(0);
    match message {
        "set_VCPUs_max" | "set_VCPUs_at_startup" => vcpus(world, vm, &message["set_".len()..], args.int(1))?,
        "set_VCPUs_number_live" => {
            allowed::check_vm(world, vm, "changing_VCPUs_live")?;
            let most = world.store.int("VM", vm, "VCPUs_max");
            if args.int(1) < 1 || args.int(1) > most {
                return Err(ApiError::new("INVALID_VALUE", ["nvcpu".to_owned(), args.int(1).to_string()]));
            }
            world.store.set("VM", vm, "VCPUs_at_startup", args.int(1))?;
        }
        "compute_memory_overhead" => {
            return Ok(Some(Value::Int(memory::overhead(&world.store.row("VM", vm)?.fields))));
        }
        "maximise_memory" => return Ok(Some(Value::Int(maximise(world, vm, args.int(1))?))),
        "get_cooperative" => return Ok(Some(Value::Bool(true))),
        "wait_memory_target_live" => {}
        "set_ha_restart_priority" => {
            if !matches!(args.text(1), "restart" | "best-effort" | "") {
                return Err(ApiError::new("INVALID_VALUE", ["ha_restart_priority", args.text(1)]));
            }
            world.store.set("VM", vm, "ha_restart_priority", args.value(1))?;
        }
        "set_groups" => {
            if args.value(1).as_set().len() > 1 {
                return Err(ApiError::bare("TOO_MANY_GROUPS"));
            }
            world.store.set("VM", vm, "groups", args.value(1))?;
        }
        "set_domain_type" | "set_HVM_boot_policy" | "set_HVM_shadow_multiplier" => {
            let op =
                if message == "set_HVM_shadow_multiplier" { "changing_shadow_memory" } else { "changing_static_range" };
            allowed::check_vm(world, vm, op)?;
            world.store.set("VM", vm, &message["set_".len()..], args.value(1))?;
            memory::update_overhead(world, vm)?;
        }
        m if m.starts_with("set_memory") => set_memory(world, m, args)?,
        _ => return Ok(None),
    }
    Ok(Some(Value::Void))
}

fn vcpus(world: &mut World, vm: &str, field: &str, value: i64) -> ApiResult<()> {
    allowed::check_vm(world, vm, "changing_VCPUs")?;
    if value < 1 {
        return Err(ApiError::new("INVALID_VALUE", [field.to_owned(), value.to_string()]));
    }
    let (most, first) = if field == "VCPUs_max" {
        (value, world.store.int("VM", vm, "VCPUs_at_startup"))
    } else {
        (world.store.int("VM", vm, "VCPUs_max"), value)
    };
    if first > most {
        let reason = format!("VCPUs_at_startup ({first}) must not exceed VCPUs_max ({most})");
        return Err(ApiError::new("VALUE_NOT_SUPPORTED", [field.to_owned(), value.to_string(), reason]));
    }
    world.store.set("VM", vm, field, value)?;
    memory::update_overhead(world, vm)
}

fn set_memory(world: &mut World, message: &str, args: &Args) -> ApiResult<()> {
    let vm = args.text(0);
    let old = Limits::of(world, vm)?;
    let (a, b) = (args.int(1), args.int(2));
    let (op, new) = match message {
        "set_memory_limits" => {
            let new = Limits { static_min: a, static_max: b, dynamic_min: args.int(3), dynamic_max: args.int(4) };
            ("changing_memory_limits", new)
        }
        "set_memory_static_range" => ("changing_static_range", Limits { static_min: a, static_max: b, ..old }),
        "set_memory_static_min" => ("changing_static_range", Limits { static_min: a, ..old }),
        "set_memory_static_max" => ("changing_static_range", Limits { static_max: a, ..old }),
        "set_memory_dynamic_range" => ("changing_dynamic_range", Limits { dynamic_min: a, dynamic_max: b, ..old }),
        "set_memory_dynamic_min" => ("changing_dynamic_range", Limits { dynamic_min: a, ..old }),
        "set_memory_dynamic_max" => ("changing_dynamic_range", Limits { dynamic_max: a, ..old }),
        "set_memory" => {
            let static_min = old.static_min.min(a);
            ("changing_memory_limits", Limits { static_min, static_max: a, dynamic_min: a, dynamic_max: a })
        }
        "set_memory_target_live" => ("changing_memory_live", Limits { dynamic_min: a, dynamic_max: a, ..old }),
        _ => return Ok(()),
    };
    allowed::check_vm(world, vm, op)?;
    // A running VM is promised its new minimum only where its host still has that.
    let host = world.store.text("VM", vm, "resident_on").to_owned();
    let more = new.dynamic_min - old.dynamic_min;
    let free = memory::free_on(world, &host).max(0);
    if world.store.exists("host", &host) && more > free {
        return Err(ApiError::new("HOST_NOT_ENOUGH_FREE_MEMORY", [more.to_string(), free.to_string()]));
    }
    new.write(world, vm)
}

/// The largest memory, in bytes, that fits with its overhead into `total`.
fn maximise(world: &World, vm: &str, total: i64) -> ApiResult<i64> {
    const MIB: i64 = 1 << 20;
    let mut fields = crate::value::Map::clone(&world.store.row("VM", vm)?.fields);
    let (mut low, mut high) = (0, total / MIB);
    while low < high {
        let middle = (low + high + 1) / 2;
        fields.insert("memory_static_max".into(), Value::Int(middle * MIB));
        if middle * MIB + memory::overhead(&fields) <= total {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    Ok(low * MIB)
}
