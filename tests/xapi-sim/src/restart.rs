//! The coordinator's restarts: graceful, by a crash that loses the newest writes, and its change.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{ApiError, ApiResult};
use crate::history::Domain;
use crate::knobs::ms;
use crate::sim::{Sim, World};
use crate::tasks;
use crate::value::Value;

/// Restarts the coordinator's toolstack. With `lost`, what was written in that time before is gone.
pub(crate) async fn restart(sim: Arc<Sim>, lost: Option<Duration>) {
    let (coordinator, away) = sim.write(|w| {
        let coordinator = w.coordinator();
        w.down.insert(coordinator.clone());
        w.epoch += 1;
        if let Some(span) = lost {
            w.store.lose(span);
        }
        forget(w);
        (coordinator, ms(w.knobs.restart_ms))
    });
    sim.wake();
    tokio::time::sleep(away).await;
    sim.write(|w| {
        w.down.remove(&coordinator);
        reconcile(w);
        w.store.flush();
        note_agent_start(w, &coordinator);
    });
    sim.wake();
}

/// What lives in the coordinator's memory only: sessions, tasks, running operations.
fn forget(world: &mut World) {
    for session in world.store.refs("session") {
        let _ = world.store.remove("session", &session);
    }
    world.session_roles.clear();
    tasks::forget_all(world);
    for vm in world.store.refs("VM") {
        // Every VM in the list is there.
        let _ = world.store.set("VM", &vm, "current_operations", Value::dict(Vec::<(&str, &str)>::new()));
        let _ = world.store.set("VM", &vm, "scheduled_to_be_resident_on", Value::null_ref());
    }
    world.storage_migrations.clear();
    world.queued = 0;
}

/// The database meets the domains again: domains of VMs it does not know are destroyed, VMs without a domain halted,
/// VMs whose start it forgot run.
fn reconcile(world: &mut World) {
    let domains: Vec<Domain> = std::mem::take(&mut world.history.domains);
    let (known, unknown): (Vec<_>, Vec<_>) = domains.into_iter().partition(|d| world.store.exists("VM", &d.vm));
    for domain in unknown {
        let host = world.uuid("host", &domain.host);
        world.history.log("destroy", "domain", &domain.vm_uuid, "", &host);
    }
    for domain in &known {
        // Known: it was partitioned by that a few lines above.
        let _ = world.store.set("VM", &domain.vm, "resident_on", &*domain.host);
        if world.store.text("VM", &domain.vm, "power_state") == "Halted" {
            let _ = world.store.set("VM", &domain.vm, "power_state", "Running");
        }
    }
    let halted: Vec<Arc<str>> = world
        .store
        .rows("VM")
        .filter(|(vm, row)| {
            matches!(row.get("power_state").as_str(), "Running" | "Paused")
                && !row.get("is_control_domain").as_bool()
                && !known.iter().any(|d| d.vm == **vm)
        })
        .map(|(vm, _)| vm.clone())
        .filter(|vm| !world.down.contains(world.store.text("VM", vm, "resident_on")))
        .collect();
    world.history.domains = known;
    for vm in halted {
        let _ = crate::vm::domain::end(world, &vm, "Halted");
    }
    let live: Vec<Arc<str>> = world.disks.keys().filter(|vdi| world.store.exists("VDI", vdi)).cloned().collect();
    world.disks.retain(|vdi, _| live.contains(vdi));
}

/// Writes the time at which a host's toolstack started, as clients look for it.
pub(crate) fn note_agent_start(world: &mut World, host: &str) {
    let before = world.store.get("host", host, "other_config").ok().and_then(|c| c.entry("agent_start_time"));
    let before: i64 = before.and_then(|t| t.trim_end_matches('.').parse().ok()).unwrap_or(0);
    // The time grows even where a crash has made the database forget the last one.
    let now = world.clock().now().max(before + 1).max(world.last_agent_start + 1);
    world.last_agent_start = now;
    let _ = world.store.set_entry("host", host, "other_config", "agent_start_time", Value::str(format!("{now}.")));
}

/// Makes another host the coordinator. `lost` is how old its copy of the database is.
pub(crate) fn transfer(world: &mut World, host: &str, lost: Option<Duration>) -> ApiResult<()> {
    world.store.row("host", host)?;
    if world.down.contains(host) {
        return Err(ApiError::new("HOST_OFFLINE", [host]));
    }
    world.epoch += 1;
    if let Some(span) = lost {
        world.store.lose(span);
    }
    forget(world);
    world.emergency.clear();
    reconcile(world);
    world.store.flush();
    let pool = world.pool();
    world.store.set("pool", &pool, "master", host)?;
    note_agent_start(world, host);
    Ok(())
}
