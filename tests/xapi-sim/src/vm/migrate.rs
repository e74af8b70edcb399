//! Moving VMs: between hosts of the pool, and between storage repositories.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::operation::{Pace, during};
use super::placement::{self, Count};
use super::{domain, power};
use crate::dispatch::Args;
use crate::error::{ApiError, ApiResult};
use crate::sim::{Call, World};
use crate::storage;
use crate::value::{Value, is_null};

/// `VM.pool_migrate`: the storage stays where it is.
pub(crate) async fn pool_migrate(call: &Call, vm: &str, host: &str, options: &Value) -> ApiResult<Value> {
    let pace = Pace::cancellable(call.knobs().migrate_ms);
    let forced = options.entry("force") == Some("true");
    during(
        call,
        vm,
        "pool_migrate",
        pace,
        |w| {
            let source = Arc::<str>::from(w.store.text("VM", vm, "resident_on"));
            power::check_online(w, vm)?;
            if forced {
                placement::check_reach(w, vm, host)?;
            } else {
                placement::check(w, vm, host, Count::Memory)?;
            }
            if *source != *host {
                w.store.set("VM", vm, "scheduled_to_be_resident_on", host)?;
            }
            Ok(source)
        },
        |w, source| {
            arrive(w, vm, &source, host)?;
            Ok(Value::Void)
        },
    )
    .await
}

/// The moment at which a VM runs on its new host and no longer on the old one.
fn arrive(world: &mut World, vm: &str, source: &str, host: &str) -> ApiResult<()> {
    for end in [source, host] {
        if world.down.contains(end) {
            return Err(ApiError::new("HOST_OFFLINE", [end]));
        }
    }
    world.store.set("VM", vm, "scheduled_to_be_resident_on", Value::null_ref())?;
    world.store.set("VM", vm, "resident_on", host)?;
    world.history.domain_ends(vm, Some(source));
    world.log("migrate", "VM", vm, host);
    domain::register(world, vm, host);
    let words =
        |w: &World, h: &str| format!("host '{}' (uuid: {})", w.store.text("host", h, "name_label"), w.uuid("host", h));
    let text = format!("migrated from {} to {}", words(world, source), words(world, host));
    domain::post(world, vm, "VM_MIGRATED", &text);
    Ok(())
}

/// A storage migration that was found possible.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    source: Arc<str>,
    host: Arc<str>,
    /// Every disk that changes its repository.
    moves: BTreeMap<Arc<str>, Arc<str>>,
}

/// `VM.assert_can_migrate`: inside this pool only.
pub(crate) fn check_send(world: &World, vm: &str, args: &Args) -> ApiResult<Plan> {
    let (dest, vdi_map) = (args.value(1), args.value(3));
    let host = Arc::<str>::from(dest.entry("host").unwrap_or_default());
    if !world.store.exists("host", &host) {
        return Err(ApiError::new("VM_MIGRATE_FAILED", [vm, "", "", "the destination is not in this pool"]));
    }
    let running = world.store.get("VM", vm, "power_state")?.as_str() == "Running";
    let mut moves = BTreeMap::new();
    for (vbd, vdi) in domain::disks(world, vm) {
        if world.store.text("VBD", &vbd, "type") != "Disk" {
            continue;
        }
        if world.store.flag("VDI", &vdi, "cbt_enabled") {
            return Err(ApiError::new("VDI_CBT_ENABLED", [&*vdi]));
        }
        let here = world.store.text("VDI", &vdi, "SR");
        let there = vdi_map.entry(&vdi).unwrap_or(here);
        world.store.row("SR", there)?;
        if running && !placement::sees(world, &host, there) {
            return Err(ApiError::new("VM_REQUIRES_SR", [vm, there]));
        }
        if there != here {
            storage::check_space(world, there, world.store.int("VDI", &vdi, "virtual_size"))?;
            moves.insert(vdi.clone(), Arc::from(there));
        }
    }
    let source = Arc::<str>::from(world.store.text("VM", vm, "resident_on"));
    if running && source != host {
        match placement::check(world, vm, &host, Count::Memory) {
            Err(e) if e.code == "VM_REQUIRES_SR" => {}
            other => other?,
        }
    }
    Ok(Plan { source, host, moves })
}

/// `VM.migrate_send` inside the pool: disks that move become new VDIs, without tags and `other_config`.
pub(crate) async fn send(call: &Call, vm: &str, args: &Args) -> ApiResult<Value> {
    let knobs = call.knobs();
    let plan = call.write(|w| check_send(w, vm, args))?;
    let gib =
        call.sim.read(|w| plan.moves.keys().map(|vdi| w.store.int("VDI", vdi, "virtual_size") >> 30).sum::<i64>());
    let time = knobs.migrate_ms + knobs.storage_migrate_ms_per_gib * u64::try_from(gib).unwrap_or(0);
    let slot = Slot::take(call, &plan)?;
    let result = during(
        call,
        vm,
        "migrate_send",
        Pace::cancellable(time),
        |w| {
            let plan = check_send(w, vm, args)?;
            if !is_null(&plan.source) && plan.source != plan.host {
                w.store.set("VM", vm, "scheduled_to_be_resident_on", &*plan.host)?;
            }
            Ok(plan)
        },
        |w, plan| {
            for (vdi, sr) in &plan.moves {
                storage::relocate(w, vdi, sr)?;
            }
            if !is_null(&plan.source) {
                arrive(w, vm, &plan.source, &plan.host)?;
            }
            Ok(Value::str(vm))
        },
    )
    .await;
    drop(slot);
    result
}

/// One of the few storage migrations that a host runs at a time.
struct Slot {
    call: Call,
    host: Option<Arc<str>>,
}

impl Slot {
    fn take(call: &Call, plan: &Plan) -> ApiResult<Self> {
        if plan.moves.is_empty() {
            return Ok(Self { call: call.clone(), host: None });
        }
        call.sim.write(|w| {
            let most = w.knobs.max_storage_migrations;
            let running = w.storage_migrations.entry(plan.source.clone()).or_default();
            if *running >= most {
                return Err(ApiError::new("TOO_MANY_STORAGE_MIGRATES", [most.to_string()]));
            }
            *running += 1;
            Ok(Self { call: call.clone(), host: Some(plan.source.clone()) })
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(host) = &self.host {
            self.call.sim.write(|w| {
                if let Some(running) = w.storage_migrations.get_mut(host) {
                    *running = running.saturating_sub(1);
                }
            });
        }
    }
}

/// Whether a VM could run on any host: all its storage is shared.
pub(crate) fn assert_agile(world: &World, vm: &str) -> ApiResult<()> {
    world.store.row("VM", vm)?;
    match placement::storage(world, vm).into_iter().find(|sr| !world.store.flag("SR", sr, "shared")) {
        Some(sr) => Err(ApiError::new("HA_CONSTRAINT_VIOLATION_SR_NOT_SHARED", [&*sr])),
        None => Ok(()),
    }
}
