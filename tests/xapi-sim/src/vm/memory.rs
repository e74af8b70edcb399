//! A VM's memory: limits, overhead, and how much of a host is left (xapi `memory.ml`, `memory_check.ml`).

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::{ApiError, ApiResult};
use crate::sim::World;
use crate::store::Row;
use crate::value::{Map, Value};

const MIB: i64 = 1 << 20;

/// What a domain needs beyond its own memory, in bytes: Xen's and the toolstack's share, and the shadow pages, one MiB
/// for each vCPU and two pages for each MiB of guest memory.
pub(crate) fn overhead(fields: &Map) -> i64 {
    let int = |name: &str| fields.get(name).map_or(0, Value::as_int);
    let pv = fields.get("domain_type").map_or("", Value::as_str) == "pv"
        || (fields.get("domain_type").map_or("", Value::as_str) != "hvm"
            && fields.get("HVM_boot_policy").map_or("", Value::as_str).is_empty());
    let fixed_mib = if pv { 2 } else { 3 };
    let pages = 256 * int("VCPUs_max") + 2 * (int("memory_static_max") / MIB);
    (fixed_mib + (pages + 255) / 256) * MIB
}

/// Writes the overhead that follows from the VM's fields.
pub(crate) fn update_overhead(world: &mut World, vm: &str) -> ApiResult<()> {
    let overhead = overhead(&world.store.row("VM", vm)?.fields);
    world.store.set("VM", vm, "memory_overhead", overhead)
}

/// What a VM takes on its host at least, in bytes.
pub(crate) fn need(world: &World, vm: &str) -> i64 {
    world.store.row("VM", vm).map_or(0, |row| taken(row))
}

/// By the overhead in the record, which follows every change of what it depends on.
fn taken(row: &Row) -> i64 {
    row.get("memory_dynamic_min").as_int() + row.get("memory_overhead").as_int()
}

/// The free memory of a host, in bytes: total less overhead less what its VMs and those on their way to it take.
pub(crate) fn free_on(world: &World, host: &str) -> i64 {
    let Ok(row) = world.store.row("host", host) else { return 0 };
    let total = world.store.int("host_metrics", row.get("metrics").as_str(), "memory_total");
    let resident = world.store.texts("host", host, "resident_VMs").filter_map(|vm| world.store.row("VM", vm).ok());
    let here: i64 = resident.map(|vm| taken(vm)).sum();
    let coming: i64 = world.store.booked(host).map(|vm| taken(vm)).sum();
    total - row.get("memory_overhead").as_int() - here - coming
}

/// The same of every host.
pub(crate) fn free_by_host(world: &World) -> HashMap<Arc<str>, i64> {
    world.store.rows("host").map(|(host, _)| (host.clone(), free_on(world, host))).collect()
}

/// A VM's four limits, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) static_min: i64,
    pub(crate) static_max: i64,
    pub(crate) dynamic_min: i64,
    pub(crate) dynamic_max: i64,
}

impl Limits {
    pub(crate) fn of(world: &World, vm: &str) -> ApiResult<Self> {
        let row = world.store.row("VM", vm)?;
        let int = |name: &str| row.get(name).as_int();
        Ok(Self {
            static_min: int("memory_static_min"),
            static_max: int("memory_static_max"),
            dynamic_min: int("memory_dynamic_min"),
            dynamic_max: int("memory_dynamic_max"),
        })
    }

    /// The order that XAPI demands.
    pub(crate) fn check(self) -> ApiResult<()> {
        let ordered = self.static_min <= self.dynamic_min
            && self.dynamic_min <= self.dynamic_max
            && self.dynamic_max <= self.static_max;
        if ordered {
            return Ok(());
        }
        let rule = "Memory limits must satisfy: static_min <= dynamic_min <= dynamic_max <= static_max";
        Err(ApiError::new("MEMORY_CONSTRAINT_VIOLATION", [rule]))
    }

    pub(crate) fn write(self, world: &mut World, vm: &str) -> ApiResult<()> {
        self.check()?;
        world.store.set("VM", vm, "memory_static_min", self.static_min)?;
        world.store.set("VM", vm, "memory_static_max", self.static_max)?;
        world.store.set("VM", vm, "memory_dynamic_min", self.dynamic_min)?;
        world.store.set("VM", vm, "memory_dynamic_max", self.dynamic_max)?;
        if world.store.text("VM", vm, "power_state") == "Running" {
            world.store.set("VM", vm, "memory_target", self.dynamic_max)?;
        }
        update_overhead(world, vm)
    }
}
