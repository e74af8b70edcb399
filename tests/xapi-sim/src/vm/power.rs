//! A VM's power: start, stop, reboot, suspend, resume, pause.

use std::sync::Arc;

use super::domain;
use super::operation::{Pace, during};
use super::placement::{self, Count};
use crate::allowed;
use crate::error::{ApiError, ApiResult};
use crate::knobs::ms;
use crate::sim::{Call, World};
use crate::storage;
use crate::value::{Value, is_null};

/// Nobody reaches the toolstack of the host a VM is on.
pub(crate) fn check_online(world: &World, vm: &str) -> ApiResult<()> {
    let host = world.store.get("VM", vm, "resident_on")?.as_str();
    if world.down.contains(host) { Err(ApiError::new("HOST_OFFLINE", [host])) } else { Ok(()) }
}

/// Picks a host, or takes the one asked for, and books the VM's memory there.
fn book(world: &mut World, vm: &str, asked: Option<&str>) -> ApiResult<Arc<str>> {
    domain::check_disks(world, vm)?;
    let host = match asked {
        Some(host) => {
            placement::check(world, vm, host, Count::Memory)?;
            Arc::from(host)
        }
        None => placement::choose(world, vm)?,
    };
    world.store.set("VM", vm, "scheduled_to_be_resident_on", &*host)?;
    Ok(host)
}

/// Starts or resumes a VM on the host that `prepare` booked.
async fn bring_up(call: &Call, vm: &str, op: &str, asked: Option<&str>, paused: bool) -> ApiResult<Value> {
    let knobs = call.knobs();
    let resuming = op.starts_with("resume");
    let (event, pace) = if resuming { ("resume", knobs.resume_ms) } else { ("start", knobs.start_ms) };
    let mut booked = None;
    let started = during(
        call,
        vm,
        op,
        Pace::fixed(pace),
        |w| book(w, vm, asked).inspect(|host| booked = Some(host.clone())),
        |w, host| {
            // It may have come up by itself meanwhile: see `come_up_regardless`.
            allowed::check_power_state(vm, w.store.row("VM", vm)?, op)?;
            if w.down.contains(&host) {
                return Err(ApiError::new("HOST_OFFLINE", [&*host]));
            }
            let image = w.store.text("VM", vm, "suspend_VDI").to_owned();
            if resuming {
                // Nothing keeps a client from destroying it.
                w.store.row("VDI", &image)?;
            }
            let domid = domain::begin(w, vm, &host, event)?;
            if resuming {
                w.store.set("VM", vm, "suspend_VDI", Value::null_ref())?;
                storage::remove(w, &image)?;
            }
            if paused {
                w.store.set("VM", vm, "power_state", "Paused")?;
            }
            let words = domain::host_words(w, &host);
            let (message, text) = if resuming { ("VM_RESUMED", "resumed") } else { ("VM_STARTED", "started") };
            domain::post(w, vm, message, &format!("{text} on {words}"));
            Ok(domid)
        },
    )
    .await;
    if let (Some(host), false) = (booked, resuming) {
        match &started {
            Ok(domid) => domain::await_tools(call, vm, *domid),
            Err(_) => come_up_regardless(call, vm, &host).await,
        }
    }
    started.map(|_| Value::Void)
}

/// A domain that was being made when the toolstack restarted is made all the same: another process makes it, and the
/// toolstack finds the VM running once it is back.
async fn come_up_regardless(call: &Call, vm: &str, host: &str) {
    if call.sim.read(|w| w.epoch == call.epoch) {
        return;
    }
    tokio::time::sleep(ms(call.knobs().restart_ms)).await;
    let (epoch, domid) = call.sim.write(|w| {
        let halted = w.store.text("VM", vm, "power_state") == "Halted";
        let makes = halted && !w.down.contains(host) && domain::check_disks(w, vm).is_ok();
        (w.epoch, if makes { domain::begin(w, vm, host, "start").ok() } else { None })
    });
    if let Some(domid) = domid {
        domain::await_tools(&Call { epoch, ..call.clone() }, vm, domid);
    }
}

pub(crate) async fn start(call: &Call, vm: &str, host: Option<&str>, paused: bool) -> ApiResult<Value> {
    bring_up(call, vm, if host.is_some() { "start_on" } else { "start" }, host, paused).await
}

pub(crate) async fn resume(call: &Call, vm: &str, host: Option<&str>, paused: bool) -> ApiResult<Value> {
    bring_up(call, vm, if host.is_some() { "resume_on" } else { "resume" }, host, paused).await
}

/// A clean or hard shutdown.
pub(crate) async fn shutdown(call: &Call, vm: &str, op: &str) -> ApiResult<Value> {
    let knobs = call.knobs();
    let pace = if op == "hard_shutdown" { knobs.hard_shutdown_ms } else { knobs.clean_shutdown_ms };
    during(
        call,
        vm,
        op,
        Pace::fixed(pace),
        |w| check_online(w, vm),
        |w, ()| {
            // The host may have died while the guest was on its way down.
            check_online(w, vm)?;
            let host = w.store.text("VM", vm, "resident_on").to_owned();
            domain::end(w, vm, "Halted")?;
            // A hard shutdown ends whatever else was going on.
            w.store.set("VM", vm, "current_operations", Value::dict(Vec::<(&str, &str)>::new()))?;
            w.log("halt", "VM", vm, &host);
            domain::post(w, vm, "VM_SHUTDOWN", "shutdown");
            Ok(Value::Void)
        },
    )
    .await
}

/// A clean or hard reboot: a new domain on the same host.
pub(crate) async fn reboot(call: &Call, vm: &str, op: &str) -> ApiResult<Value> {
    let knobs = call.knobs();
    let stop = if op == "hard_reboot" { knobs.hard_shutdown_ms } else { knobs.clean_shutdown_ms };
    let domid = during(
        call,
        vm,
        op,
        Pace::fixed(stop + knobs.start_ms),
        |w| check_online(w, vm),
        |w, ()| {
            // A forced reboot waits for nobody: the guest may have been suspended meanwhile.
            allowed::check_power_state(vm, w.store.row("VM", vm)?, op)?;
            check_online(w, vm)?;
            let host = w.store.text("VM", vm, "resident_on").to_owned();
            w.history.domain_ends(vm, Some(&host));
            let domid = domain::begin(w, vm, &host, "reboot")?;
            domain::post(
                w,
                vm,
                "VM_REBOOTED",
                if op == "hard_reboot" { "rebooted forcibly" } else { "rebooted cleanly" },
            );
            Ok(domid)
        },
    )
    .await?;
    domain::await_tools(call, vm, domid);
    Ok(Value::Void)
}

/// Saves the guest's memory in a new VDI and ends its domain.
pub(crate) async fn suspend(call: &Call, vm: &str) -> ApiResult<Value> {
    let pace = Pace::fixed(call.knobs().suspend_ms);
    during(
        call,
        vm,
        "suspend",
        pace,
        |w| {
            check_online(w, vm)?;
            suspend_sr(w, vm)
        },
        |w, sr| {
            check_online(w, vm)?;
            let host = w.store.text("VM", vm, "resident_on").to_owned();
            let size = w.store.int("VM", vm, "memory_dynamic_max");
            let image = storage::make(w, &sr, "Suspend image", size, "suspend")?;
            domain::end(w, vm, "Suspended")?;
            w.store.set("VM", vm, "suspend_VDI", &*image)?;
            w.log("suspend", "VM", vm, &host);
            domain::post(w, vm, "VM_SUSPENDED", "suspended");
            Ok(Value::Void)
        },
    )
    .await
}

/// The VM's own choice, its host's, the pool's, then the default repository.
pub(crate) fn suspend_sr(world: &World, vm: &str) -> ApiResult<Arc<str>> {
    let pool = world.pool();
    let host = world.store.text("VM", vm, "resident_on");
    let choices = [
        world.store.text("VM", vm, "suspend_SR"),
        world.store.text("host", host, "suspend_image_sr"),
        world.store.text("pool", &pool, "suspend_image_SR"),
        world.store.text("pool", &pool, "default_SR"),
    ];
    let usable = choices.into_iter().find(|sr| !is_null(sr) && world.store.exists("SR", sr));
    usable.map(Arc::from).ok_or_else(|| ApiError::new("VM_NO_SUSPEND_SR", [vm]))
}

/// Pause and unpause: the domain stays, only its state changes.
pub(crate) async fn set_paused(call: &Call, vm: &str, paused: bool) -> ApiResult<Value> {
    let (op, state) = if paused { ("pause", "Paused") } else { ("unpause", "Running") };
    during(
        call,
        vm,
        op,
        Pace::fixed(0),
        |w| check_online(w, vm),
        |w, ()| {
            let host = w.store.text("VM", vm, "resident_on").to_owned();
            w.store.set("VM", vm, "power_state", state)?;
            w.log(op_event(paused), "VM", vm, &host);
            Ok(Value::Void)
        },
    )
    .await
}

fn op_event(paused: bool) -> &'static str {
    if paused { "pause" } else { "unpause" }
}

/// Declares a VM halted without looking: the caller vouches that its domain is gone. If it is not, it runs on and the
/// history keeps it.
pub(crate) fn reset(world: &mut World, vm: &str) -> ApiResult<Value> {
    allowed::check_vm(world, vm, "power_state_reset")?;
    let host = world.store.text("VM", vm, "resident_on").to_owned();
    let still_runs: Vec<_> = world.history.domains.iter().filter(|d| *d.vm == *vm).cloned().collect();
    domain::end(world, vm, "Halted")?;
    if world.down.contains(host.as_str()) {
        world.history.domains.extend(still_runs);
    }
    world.store.set("VM", vm, "current_operations", Value::dict(Vec::<(&str, &str)>::new()))?;
    world.log("power_state_reset", "VM", vm, &host);
    Ok(Value::Void)
}
