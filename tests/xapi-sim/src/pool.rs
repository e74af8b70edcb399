//! The pool class: its coordinator, high availability, membership.

use std::sync::Arc;
use std::time::Duration;

use crate::dispatch::Args;
use crate::error::{ApiError, ApiResult};
use crate::restart;
use crate::sim::{Call, World};
use crate::value::Value;
use crate::vm::memory;

pub(crate) fn call(call: &Call, message: &str, args: &Args) -> ApiResult<Option<Value>> {
    match message {
        "designate_new_master" => {
            call.write(|w| w.store.row("host", args.text(0)).map(|_| ()))?;
            transfer_soon(call, Arc::from(args.text(0)), None);
            Ok(Some(Value::Void))
        }
        "emergency_transition_to_master" => {
            let old = call.sim.read(|w| Duration::from_secs(w.knobs.crash_loses_seconds));
            transfer_soon(call, call.endpoint.clone(), Some(old));
            Ok(Some(Value::Void))
        }
        _ => call.write(|w| immediate(w, message, args)),
    }
}

/// Makes a host the coordinator once the call is answered. `lost` is how old its copy of the database is.
fn transfer_soon(call: &Call, host: Arc<str>, lost: Option<Duration>) {
    let sim = call.sim.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        // A host that died meanwhile becomes nothing.
        let _ = sim.write(|w| restart::transfer(w, &host, lost));
        sim.wake();
    });
}

fn immediate(world: &mut World, message: &str, args: &Args) -> ApiResult<Option<Value>> {
    let pool = world.pool();
    let done = match message {
        "sync_database" => {
            world.store.flush();
            Value::Void
        }
        "recover_slaves" => Value::strings(world.store.refs("host")),
        "enable_ha" => {
            if args.value(0).as_set().is_empty() {
                return Err(ApiError::bare("CANNOT_CREATE_STATE_FILE"));
            }
            world.store.set("pool", &pool, "ha_enabled", true)?;
            plan(world, &pool)?;
            Value::Void
        }
        "disable_ha" => {
            world.store.set("pool", &pool, "ha_enabled", false)?;
            world.store.set("pool", &pool, "ha_plan_exists_for", 0)?;
            Value::Void
        }
        "set_ha_host_failures_to_tolerate" => {
            let wanted = args.int(1);
            if wanted > tolerable(world) {
                return Err(ApiError::bare("HA_NO_PLAN"));
            }
            world.store.set("pool", &pool, "ha_host_failures_to_tolerate", wanted)?;
            plan(world, &pool)?;
            Value::Void
        }
        "ha_failover_plan_exists" => Value::Bool(args.int(0) <= tolerable(world)),
        "ha_compute_max_host_failures_to_tolerate" | "ha_compute_hypothetical_max_host_failures_to_tolerate" => {
            Value::Int(tolerable(world))
        }
        "eject" => {
            eject(world, args.text(0))?;
            Value::Void
        }
        "get_license_state" => Value::dict([("edition", "xcp-ng"), ("expiry", "never")]),
        _ => return Ok(None),
    };
    Ok(Some(done))
}

fn plan(world: &mut World, pool: &str) -> ApiResult<()> {
    let tolerable = tolerable(world);
    let wanted = world.store.int("pool", pool, "ha_host_failures_to_tolerate");
    world.store.set("pool", pool, "ha_plan_exists_for", tolerable)?;
    world.store.set("pool", pool, "ha_overcommitted", wanted > tolerable)
}

/// How many of the largest hosts may fail so that the rest still holds all protected VMs, by memory in total.
fn tolerable(world: &World) -> i64 {
    let protected: i64 = world
        .store
        .rows("VM")
        .filter(|(_, row)| row.get("ha_restart_priority").as_str() == "restart")
        .map(|(vm, _)| memory::need(world, vm))
        .sum();
    let mut sizes: Vec<i64> = world
        .store
        .rows("host_metrics")
        .filter(|(_, r)| r.get("live").as_bool())
        .map(|(_, r)| r.get("memory_total").as_int())
        .collect();
    sizes.sort_unstable();
    let mut failures = 0;
    while sizes.len() > 1 {
        sizes.pop();
        if sizes.iter().sum::<i64>() < protected {
            break;
        }
        failures += 1;
    }
    failures
}

fn eject(world: &mut World, host: &str) -> ApiResult<()> {
    world.store.row("host", host)?;
    if *world.coordinator() == *host {
        return Err(ApiError::bare("HOST_CANNOT_EJECT_MASTER"));
    }
    let guests = world.store.refs_in("host", host, "resident_VMs");
    if guests.iter().any(|vm| !world.store.flag("VM", vm, "is_control_domain")) {
        return Err(ApiError::new("HOST_HAS_RESIDENT_VMS", [host]));
    }
    for vm in guests {
        world.store.remove("VM", &vm)?;
    }
    for (class, field) in [("PBD", "PBDs"), ("PIF", "PIFs"), ("host_cpu", "host_CPUs")] {
        for object in world.store.refs_in("host", host, field) {
            world.store.remove(class, &object)?;
        }
    }
    let metrics = world.store.text("host", host, "metrics").to_owned();
    if world.store.exists("host_metrics", &metrics) {
        world.store.remove("host_metrics", &metrics)?;
    }
    world.down.insert(Arc::from(host));
    world.store.remove("host", host)
}
