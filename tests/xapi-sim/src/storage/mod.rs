//! Storage: virtual disks and the room they take. Repositories have their own file.

mod cbt;
mod repository;
pub(crate) use repository::SR_OPERATIONS;
mod vdi;

use std::sync::Arc;

use crate::allowed;
use crate::dispatch::Args;
use crate::error::{ApiError, ApiResult};
use crate::model::Class;
use crate::sim::{Call, World};
use crate::value::{Map, Value, is_null, new_uuid};

/// Repository types whose disks take their whole size at once.
const THICK: &[&str] = &["lvm", "lvmoiscsi", "lvmohba", "lvmofcoe"];

pub(crate) async fn call(call: &Call, class: &Class, message: &str, args: &Args) -> ApiResult<Option<Value>> {
    match &*class.name {
        "VDI" => vdi::call(call, class, message, args).await,
        _ => call.write(|w| repository::call(w, class, message, args)),
    }
}

/// An error of the storage backend: code, nothing, message, details.
pub(crate) fn backend_failure(number: u16, message: &str, details: &str) -> ApiError {
    ApiError::new(&format!("SR_BACKEND_FAILURE_{number}"), ["", message, details])
}

/// What a disk takes on its repository at first, in bytes.
fn initial_use(world: &World, sr: &str, size: i64, data: i64) -> i64 {
    if THICK.contains(&world.store.text("SR", sr, "type")) { size } else { data }
}

/// Whether a repository can take a disk of this size.
pub(crate) fn check_space(world: &World, sr: &str, size: i64) -> ApiResult<()> {
    check_plugged(world, sr)?;
    let row = world.store.row("SR", sr)?;
    let free = row.get("physical_size").as_int() - row.get("physical_utilisation").as_int();
    let takes = initial_use(world, sr, size, 0);
    // A thin repository promises more than it has, but no disk larger than what is left.
    if takes > free || size > free {
        return Err(backend_failure(44, "There is insufficient space", ""));
    }
    Ok(())
}

fn check_plugged(world: &World, sr: &str) -> ApiResult<()> {
    world.store.row("SR", sr)?;
    let pbds = world.store.refs_in("SR", sr, "PBDs");
    if pbds.iter().any(|p| world.store.flag("PBD", p, "currently_attached")) {
        return Ok(());
    }
    Err(ApiError::new("SR_HAS_NO_PBDS", [sr]))
}

/// Books what disks take: the change in bytes taken and in bytes promised.
fn account(world: &mut World, sr: &str, taken: i64, promised: i64) {
    let now = |world: &World, field: &str| world.store.int("SR", sr, field);
    let (used, allocated) = (now(world, "physical_utilisation"), now(world, "virtual_allocation"));
    // A repository that vanished meanwhile has no books.
    let _ = world.store.set("SR", sr, "physical_utilisation", (used + taken).max(0));
    let _ = world.store.set("SR", sr, "virtual_allocation", (allocated + promised).max(0));
}

/// Makes an empty disk.
pub(crate) fn make(world: &mut World, sr: &str, name: &str, size: i64, kind: &str) -> ApiResult<Arc<str>> {
    let fields = [("name_label", Value::str(name)), ("type", Value::str(kind))];
    insert(world, sr, size, fields.into_iter().map(|(k, v)| (Arc::from(k), v)).collect())
}

/// Puts a disk's record in and books its room.
pub(crate) fn insert(world: &mut World, sr: &str, size: i64, mut fields: Map) -> ApiResult<Arc<str>> {
    check_space(world, sr, size)?;
    let uuid = new_uuid();
    let takes = initial_use(world, sr, size, 0);
    fields.insert(Arc::from("uuid"), Value::Str(uuid.clone()));
    fields.insert(Arc::from("location"), Value::Str(uuid));
    fields.insert(Arc::from("SR"), Value::str(sr));
    fields.insert(Arc::from("virtual_size"), Value::Int(size));
    fields.insert(Arc::from("physical_utilisation"), Value::Int(takes));
    fields.insert(Arc::from("managed"), Value::Bool(true));
    let vdi = world.store.insert("VDI", fields);
    account(world, sr, takes, size);
    world.log("create", "VDI", &vdi, "");
    Ok(vdi)
}

/// A clone on the same repository, or a full copy on another.
pub(crate) fn duplicate(world: &mut World, vdi: &str, sr: Option<&str>) -> ApiResult<Arc<str>> {
    let source = world.store.row("VDI", vdi)?.clone();
    let home = source.get("SR").as_str().to_owned();
    let sr = sr.unwrap_or(&home).to_owned();
    let mut fields = Map::clone(&source.fields);
    for own in [
        "VBDs",
        "allowed_operations",
        "current_operations",
        "crash_dumps",
        "snapshots",
        "snapshot_of",
        "is_a_snapshot",
        "snapshot_time",
        "cbt_enabled",
    ] {
        fields.remove(own);
    }
    fields.insert(Arc::from("sm_config"), Value::dict(Vec::<(&str, &str)>::new()));
    let copy = insert(world, &sr, source.get("virtual_size").as_int(), fields)?;
    share_data(world, vdi, &copy);
    Ok(copy)
}

fn share_data(world: &mut World, from: &str, to: &Arc<str>) {
    if let Some(disk) = world.disks.get(from).cloned() {
        let used = disk.used();
        world.disks.insert(to.clone(), disk);
        let takes = world.store.int("VDI", to, "physical_utilisation").max(used);
        set_used(world, to, takes);
    }
}

/// Writes what a disk takes now, in its record and in its repository's books.
pub(crate) fn set_used(world: &mut World, vdi: &str, used: i64) {
    let before = world.store.int("VDI", vdi, "physical_utilisation");
    let sr = world.store.text("VDI", vdi, "SR").to_owned();
    if used != before && world.store.set("VDI", vdi, "physical_utilisation", used).is_ok() {
        account(world, &sr, used - before, 0);
    }
}

/// A snapshot of a disk; a chain that is too long refuses more.
pub(crate) fn snapshot(world: &mut World, vdi: &str) -> ApiResult<Arc<str>> {
    let taken = world.store.refs_in("VDI", vdi, "snapshots").len();
    if taken >= world.knobs.max_chain {
        return Err(backend_failure(109, "The snapshot chain is too long", ""));
    }
    let now = Value::Time(world.clock().text());
    let tracked = world.store.flag("VDI", vdi, "cbt_enabled");
    let copy = duplicate(world, vdi, None)?;
    world.store.set("VDI", &copy, "is_a_snapshot", true)?;
    world.store.set("VDI", &copy, "snapshot_of", vdi)?;
    world.store.set("VDI", &copy, "snapshot_time", now)?;
    world.store.set("VDI", &copy, "cbt_enabled", tracked)?;
    Ok(copy)
}

/// Destroys a disk and the devices that held it.
pub(crate) fn remove(world: &mut World, vdi: &str) -> ApiResult<()> {
    let row = world.store.row("VDI", vdi)?.clone();
    if allowed::attached_vbd(world, vdi).is_some() || world.is_busy(vdi) {
        return Err(ApiError::new("VDI_IN_USE", [vdi, "destroy"]));
    }
    for vbd in world.store.refs_in("VDI", vdi, "VBDs") {
        if world.store.text("VBD", &vbd, "type") == "CD" {
            world.store.set("VBD", &vbd, "VDI", Value::null_ref())?;
            world.store.set("VBD", &vbd, "empty", true)?;
        } else {
            world.store.remove("VBD", &vbd)?;
        }
    }
    world.log("destroy", "VDI", vdi, "");
    world.disks.remove(vdi);
    let sr = row.get("SR").as_str().to_owned();
    world.store.remove("VDI", vdi)?;
    account(world, &sr, -row.get("physical_utilisation").as_int(), -row.get("virtual_size").as_int());
    Ok(())
}

/// Moves a disk to another repository: a new object with a new uuid, without tags and `other_config`.
pub(crate) fn relocate(world: &mut World, vdi: &str, sr: &str) -> ApiResult<Arc<str>> {
    let copy = duplicate(world, vdi, Some(sr))?;
    world.store.set("VDI", &copy, "tags", Value::Set(Vec::new()))?;
    let kept =
        world.store.get("VDI", vdi, "other_config")?.entry("config-drive").map(|v| ("config-drive", v.to_owned()));
    world.store.set("VDI", &copy, "other_config", Value::dict(kept))?;
    for vbd in world.store.refs_in("VDI", vdi, "VBDs") {
        world.store.set("VBD", &vbd, "VDI", &*copy)?;
    }
    let new_uuid = world.uuid("VDI", &copy);
    let old_uuid = world.uuid("VDI", vdi);
    for domain in &mut world.history.domains {
        for disk in domain.disks.iter_mut().filter(|d| **d == old_uuid) {
            disk.clone_from(&new_uuid);
        }
    }
    remove(world, vdi)?;
    Ok(copy)
}

/// The repository that a client means: the one it names, or the pool's default.
pub(crate) fn or_default(world: &World, sr: &str) -> ApiResult<Arc<str>> {
    if !is_null(sr) {
        return world.store.row("SR", sr).map(|_| Arc::from(sr));
    }
    let default = world.store.text("pool", &world.pool(), "default_SR");
    if is_null(default) { Err(ApiError::bare("DEFAULT_SR_NOT_FOUND")) } else { Ok(Arc::from(default)) }
}
