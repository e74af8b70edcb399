//! The host class: memory, maintenance, power, and what happens to a host that dies.

use std::sync::Arc;
use std::time::Duration;

use crate::dispatch::Args;
use crate::error::{ApiError, ApiResult};
use crate::knobs::ms;
use crate::restart;
use crate::sim::{Call, Sim, World};
use crate::value::{Value, is_null};
use crate::vm::{domain, memory, migrate, placement};

pub(crate) async fn call(call: &Call, message: &str, args: &Args) -> ApiResult<Option<Value>> {
    let host = args.text(0);
    match message {
        "evacuate" => evacuate(call, host).await.map(Some),
        "shutdown" | "reboot" => leave(call, host, message == "reboot").map(Some),
        "power_on" => power_on(call, host).await.map(Some),
        "restart_agent" => {
            let coordinator = call.write(|w| w.store.row("host", host).map(|_| *w.coordinator() == *host))?;
            if coordinator {
                tokio::spawn(restart::restart(call.sim.clone(), None));
            }
            Ok(Some(Value::Void))
        }
        _ => call.write(|w| immediate(w, call, message, args)),
    }
}

fn immediate(world: &mut World, call: &Call, message: &str, args: &Args) -> ApiResult<Option<Value>> {
    let host = args.text(0);
    let done = match message {
        "compute_free_memory" => {
            world.store.row("host", host)?;
            Value::Int(memory::free_on(world, host))
        }
        "compute_memory_overhead" => Value::Int(world.store.get("host", host, "memory_overhead")?.as_int()),
        "disable" | "enable" => {
            world.store.set("host", host, "enabled", message == "enable")?;
            refresh(world, host)?;
            Value::Void
        }
        "get_servertime" | "get_server_localtime" => {
            world.store.row("host", host)?;
            Value::Time(world.clock().text())
        }
        "list_methods" => Value::strings(crate::generic::all_methods(&call.sim.model)),
        "get_management_interface" => {
            let pifs = world.store.refs_in("host", host, "PIFs");
            let management = pifs.into_iter().find(|p| world.store.flag("PIF", p, "management"));
            management.map_or_else(Value::null_ref, Value::Str)
        }
        "assert_can_evacuate" => {
            let blockers = blockers(world, host)?;
            match blockers.into_iter().next() {
                Some((_, error)) => return Err(error),
                None => Value::Void,
            }
        }
        "get_vms_which_prevent_evacuation" => {
            let blockers = blockers(world, host)?;
            Value::map(blockers.into_iter().map(|(vm, error)| (vm, Value::strings(error.description()))))
        }
        "get_uncooperative_resident_VMs" => Value::Set(Vec::new()),
        "migrate_receive" => receive(world, call, host)?,
        "set_power_on_mode" => {
            world.store.set("host", host, "power_on_mode", args.value(1))?;
            world.store.set("host", host, "power_on_config", args.value(2))?;
            Value::Void
        }
        "declare_dead" => {
            declare_dead(world, host)?;
            Value::Void
        }
        "get_server_certificate" => {
            world.store.row("host", host)?;
            let certificates = world.store.rows("Certificate");
            let own = certificates.map(|(_, row)| row).find(|row| row.get("host").as_str() == host);
            Value::str(own.map_or("", |row| row.get("fingerprint").as_str()))
        }
        _ => return Ok(None),
    };
    Ok(Some(done))
}

/// What a host permits follows from whether it is enabled.
pub(crate) fn refresh(world: &mut World, host: &str) -> ApiResult<()> {
    let operations: &[&str] = if world.store.flag("host", host, "enabled") {
        &["vm_migrate", "provision", "vm_resume", "enable", "evacuate", "vm_start"]
    } else {
        &["enable", "evacuate", "reboot", "shutdown", "power_on"]
    };
    world.store.set("host", host, "allowed_operations", Value::strings(operations))
}

/// The guests on a host.
fn guests(world: &World, host: &str) -> ApiResult<Vec<Arc<str>>> {
    world.store.row("host", host)?;
    let resident = world.store.refs_in("host", host, "resident_VMs").into_iter();
    Ok(resident.filter(|vm| !world.store.flag("VM", vm, "is_control_domain")).collect())
}

/// Guests that cannot leave a host, with the reason.
fn blockers(world: &World, host: &str) -> ApiResult<Vec<(Arc<str>, ApiError)>> {
    let mut blockers = Vec::new();
    let ha = world.store.flag("pool", &world.pool(), "ha_enabled");
    for vm in guests(world, host)? {
        if ha && world.store.text("VM", &vm, "ha_restart_priority") != "restart" {
            blockers.push((vm.clone(), ApiError::new("HOST_EVACUATE_VM_NOT_HA_PROTECTED", [&*vm])));
        } else if let Err(error) = crate::allowed::check_vm(world, &vm, "pool_migrate") {
            blockers.push((vm, error));
        } else if refuge(world, &vm, host).is_none() {
            let error = migrate::assert_agile(world, &vm)
                .err()
                .map_or_else(|| ApiError::bare("HOST_NOT_ENOUGH_FREE_MEMORY"), |_| sr_error(world, &vm));
            blockers.push((vm, error));
        }
    }
    Ok(blockers)
}

fn sr_error(world: &World, vm: &str) -> ApiError {
    let local = placement::storage(world, vm).into_iter().find(|sr| !world.store.flag("SR", sr, "shared"));
    ApiError::new("VM_REQUIRES_SR", [vm, local.as_deref().unwrap_or_default()])
}

/// Another host that can take a guest.
fn refuge(world: &World, vm: &str, not: &str) -> Option<Arc<str>> {
    let free = memory::free_by_host(world);
    let possible = placement::possible(world, vm).into_iter().filter(|h| **h != *not);
    possible.max_by_key(|h| free.get(h).copied().unwrap_or(0))
}

async fn evacuate(call: &Call, host: &str) -> ApiResult<Value> {
    let vms = call.write(|w| {
        if let Some((_, error)) = blockers(w, host)?.into_iter().next() {
            return Err(error);
        }
        w.store.set("host", host, "enabled", false)?;
        refresh(w, host)?;
        guests(w, host)
    })?;
    for vm in vms {
        let to = call.write(|w| refuge(w, &vm, host).ok_or_else(|| ApiError::bare("NO_HOSTS_AVAILABLE")))?;
        migrate::pool_migrate(call, &vm, &to, &Value::dict(Vec::<(&str, &str)>::new())).await?;
    }
    Ok(Value::Void)
}

/// `host.shutdown` and `host.reboot`: success comes at once, the host goes later.
fn leave(call: &Call, host: &str, comes_back: bool) -> ApiResult<Value> {
    let knobs = call.knobs();
    call.write(|w| {
        if w.store.get("host", host, "enabled")?.as_bool() {
            return Err(ApiError::bare("HOST_NOT_DISABLED"));
        }
        if guests(w, host)?.is_empty() { Ok(()) } else { Err(ApiError::new("HOST_HAS_RESIDENT_VMS", [host])) }
    })?;
    let (sim, host) = (call.sim.clone(), Arc::<str>::from(host));
    tokio::spawn(async move {
        tokio::time::sleep(ms(knobs.host_shutdown_delay_ms)).await;
        take_down(&sim, &host, true);
        notice(sim.clone(), host.clone(), Duration::ZERO).await;
        if comes_back {
            tokio::time::sleep(ms(knobs.host_reboot_ms)).await;
            revive(&sim, &host);
        }
    });
    Ok(Value::Void)
}

async fn power_on(call: &Call, host: &str) -> ApiResult<Value> {
    call.write(|w| {
        if w.store.get("host", host, "power_on_mode")?.as_str().is_empty() {
            return Err(ApiError::new("HOST_POWER_ON_MODE_DISABLED", [host]));
        }
        Ok(())
    })?;
    tokio::time::sleep(ms(call.knobs().host_reboot_ms)).await;
    revive(&call.sim, &Arc::from(host));
    Ok(Value::Void)
}

/// A host goes: without power its domains end, without network they run on.
pub(crate) fn take_down(sim: &Sim, host: &Arc<str>, power: bool) {
    sim.write(|w| {
        w.down.insert(host.clone());
        w.log(if power { "host_off" } else { "host_isolated" }, "host", host, host);
        if power {
            w.history.domains.retain(|d| d.host != *host);
        }
    });
    // Its connections end now.
    sim.wake();
}

/// The pool notices after a while that a host is gone.
pub(crate) async fn notice(sim: Arc<Sim>, host: Arc<str>, after: Duration) {
    tokio::time::sleep(after).await;
    sim.write(|w| {
        if w.down.contains(&host) {
            set_live(w, &host, false);
        }
    });
}

fn set_live(world: &mut World, host: &str, live: bool) {
    let metrics = world.store.text("host", host, "metrics").to_owned();
    // A loaded pool may have hosts without metrics.
    let _ = world.store.set("host_metrics", &metrics, "live", live);
}

/// A host comes back: with an empty Xen when it had lost its power.
pub(crate) fn revive(sim: &Arc<Sim>, host: &Arc<str>) {
    sim.write(|w| {
        w.down.remove(host);
        set_live(w, host, true);
        w.log("host_on", "host", host, host);
        let gone: Vec<Arc<str>> = w.store.refs_in("host", host, "resident_VMs");
        for vm in gone {
            let running = w.history.domains.iter().any(|d| d.vm == vm && d.host == *host);
            if !running && !w.store.flag("VM", &vm, "is_control_domain") {
                // The toolstack finds no domain when it starts.
                let _ = domain::end(w, &vm, "Halted");
                w.log("halt", "VM", &vm, host);
            }
        }
        // Domains that ran on while the host was cut off and that the pool has given up are destroyed.
        let store = &w.store;
        w.history.domains.retain(|d| d.host != *host || store.text("VM", &d.vm, "resident_on") == &**host);
        restart::note_agent_start(w, host);
        let _ = w.store.set("host", host, "enabled", true);
        let _ = refresh(w, host);
    });
}

fn declare_dead(world: &mut World, host: &str) -> ApiResult<()> {
    let vms = guests(world, host)?;
    set_live(world, host, false);
    for vm in vms {
        domain::end(world, &vm, "Halted")?;
        world.log("halt", "VM", &vm, host);
    }
    Ok(())
}

/// What the sender of a migration needs to know of the receiver.
fn receive(world: &World, call: &Call, host: &str) -> ApiResult<Value> {
    let address = world.store.get("host", host, "address")?.as_str();
    if is_null(address) {
        return Err(ApiError::new("HOST_OFFLINE", [host]));
    }
    let coordinator = world.store.text("host", &world.coordinator(), "address");
    Ok(Value::dict([
        ("host", host.to_owned()),
        ("master", format!("https://{coordinator}/")),
        ("session_id", call.session.to_string()),
        ("SM", format!("https://{address}/services/SM?session_id={}", call.session)),
        ("xenops", format!("https://{address}/services/xenops?session_id={}", call.session)),
    ]))
}
