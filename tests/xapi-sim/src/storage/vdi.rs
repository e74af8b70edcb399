//! The VDI class.

use std::sync::Arc;

use super::{cbt, duplicate, insert, relocate, remove, set_used, snapshot};
use crate::allowed;
use crate::dispatch::Args;
use crate::error::{ApiError, ApiResult};
use crate::generic;
use crate::knobs::ms;
use crate::model::Class;
use crate::sim::{Call, World};
use crate::tasks;
use crate::value::{Value, is_null};
use crate::vm::placement;

pub(crate) async fn call(call: &Call, class: &Class, message: &str, args: &Args) -> ApiResult<Option<Value>> {
    let vdi = args.text(0);
    let knobs = call.knobs();
    let done = match message {
        "create" => {
            wait(call, knobs.vdi_ms, false).await?;
            call.write(|w| create(w, class, &args.value(0)))?
        }
        "destroy" => {
            // Refused at once when it is in use; taken away after its time.
            call.write(|w| check_free(w, vdi, "destroy"))?;
            wait(call, knobs.vdi_ms, false).await?;
            call.write(|w| remove(w, vdi))?;
            Value::Void
        }
        "clone" => {
            call.write(|w| w.store.row("VDI", vdi).map(|_| ()))?;
            wait(call, knobs.clone_ms, true).await?;
            Value::Str(call.write(|w| duplicate(w, vdi, None))?)
        }
        "snapshot" => {
            call.write(|w| w.store.row("VDI", vdi).map(|_| ()))?;
            wait(call, knobs.snapshot_ms, false).await?;
            Value::Str(call.write(|w| snapshot(w, vdi))?)
        }
        "copy" => copy(call, args).await?,
        "pool_migrate" => pool_migrate(call, vdi, args.text(1)).await?,
        "resize" | "resize_online" => {
            call.write(|w| resize(w, vdi, args.int(1), message == "resize_online"))?;
            Value::Void
        }
        _ => return call.write(|w| rest(w, message, args)),
    };
    Ok(Some(done))
}

async fn wait(call: &Call, milliseconds: u64, cancellable: bool) -> ApiResult<()> {
    if cancellable {
        call.sim.write(|w| tasks::allow_cancel(w, &call.task, &call.cancel));
    }
    tasks::work(&call.sim, &call.task, &call.cancel, ms(milliseconds)).await
}

fn create(world: &mut World, class: &Class, given: &Value) -> ApiResult<Value> {
    let fields = generic::constructor_fields(class, Some(given))?;
    let sr = fields.get("SR").map_or("", Value::as_str).to_owned();
    let size = fields.get("virtual_size").map_or(0, Value::as_int);
    world.store.row("SR", &sr)?;
    if world.store.text("SR", &sr, "content_type") == "iso" {
        return Err(ApiError::new("SR_OPERATION_NOT_SUPPORTED", [sr]));
    }
    if size < 0 {
        return Err(ApiError::new("INVALID_VALUE", ["virtual_size".to_owned(), size.to_string()]));
    }
    insert(world, &sr, size, fields).map(Value::Str)
}

fn check_free(world: &World, vdi: &str, op: &str) -> ApiResult<()> {
    world.store.row("VDI", vdi)?;
    if allowed::attached_vbd(world, vdi).is_some() || world.is_busy(vdi) {
        return Err(ApiError::new("VDI_IN_USE", [vdi, op]));
    }
    Ok(())
}

async fn copy(call: &Call, args: &Args) -> ApiResult<Value> {
    let (vdi, sr, into) = (args.text(0), args.text(1), args.text(3));
    let size = call.write(|w| {
        check_free(w, vdi, "copy")?;
        if !is_null(sr) {
            w.store.row("SR", sr)?;
        }
        Ok(w.store.int("VDI", vdi, "virtual_size"))
    })?;
    wait(call, call.knobs().copy_ms_per_gib * u64::try_from(size >> 30).unwrap_or(0), true).await?;
    call.write(|w| {
        if is_null(into) {
            return duplicate(w, vdi, Some(sr).filter(|s| !is_null(s))).map(Value::Str);
        }
        w.store.row("VDI", into)?;
        if let Some(disk) = w.disks.get(vdi).cloned() {
            let used = disk.used();
            w.disks.insert(Arc::from(into), disk);
            set_used(w, into, used);
        }
        Ok(Value::str(into))
    })
}

/// `VDI.pool_migrate`: a live move of one disk of a running VM.
async fn pool_migrate(call: &Call, vdi: &str, sr: &str) -> ApiResult<Value> {
    let size = call.write(|w| {
        w.store.row("SR", sr)?;
        if w.store.get("VDI", vdi, "cbt_enabled")?.as_bool() {
            return Err(ApiError::new("VDI_CBT_ENABLED", [vdi]));
        }
        let vbd = allowed::attached_vbd(w, vdi).unwrap_or_default();
        let vm = w.store.text("VBD", &vbd, "VM").to_owned();
        let host = w.store.text("VM", &vm, "resident_on");
        if !is_null(host) && !placement::sees(w, host, sr) {
            return Err(ApiError::new("VM_REQUIRES_SR", [vm.as_str(), sr]));
        }
        Ok(w.store.int("VDI", vdi, "virtual_size"))
    })?;
    wait(call, call.knobs().storage_migrate_ms_per_gib * u64::try_from(size >> 30).unwrap_or(0), true).await?;
    call.write(|w| {
        // The devices stay attached to the disk that takes the old one's place.
        let attached: Vec<_> = w.store.refs_in("VDI", vdi, "VBDs");
        let attached: Vec<_> = attached.into_iter().filter(|v| w.store.flag("VBD", v, "currently_attached")).collect();
        let new = relocate(w, vdi, sr)?;
        for vbd in attached {
            w.store.set("VBD", &vbd, "currently_attached", true)?;
        }
        Ok(Value::Str(new))
    })
}

fn resize(world: &mut World, vdi: &str, size: i64, online: bool) -> ApiResult<()> {
    if !online {
        check_free(world, vdi, "resize")?;
    } else if !world.knobs.online_resize {
        let sr = world.store.get("VDI", vdi, "SR")?.as_str().to_owned();
        return Err(ApiError::new("SR_OPERATION_NOT_SUPPORTED", [sr]));
    }
    let before = world.store.get("VDI", vdi, "virtual_size")?.as_int();
    if size < before {
        return Err(super::backend_failure(79, "VDI Invalid size", "shrinking not allowed"));
    }
    let sr = world.store.text("VDI", vdi, "SR").to_owned();
    super::check_space(world, &sr, size - before)?;
    world.store.set("VDI", vdi, "virtual_size", size)?;
    super::account(world, &sr, 0, size - before);
    let used = world.store.int("VDI", vdi, "physical_utilisation");
    set_used(world, vdi, super::initial_use(world, &sr, size, used));
    Ok(())
}

fn rest(world: &mut World, message: &str, args: &Args) -> ApiResult<Option<Value>> {
    let vdi = args.text(0);
    match message {
        "update" | "set_allow_caching" => {
            world.store.row("VDI", vdi)?;
        }
        "forget" => {
            check_free(world, vdi, "forget")?;
            let row = world.store.row("VDI", vdi)?.clone();
            world.store.remove("VDI", vdi)?;
            // Its data stay where they are.
            super::account(world, row.get("SR").as_str(), 0, -row.get("virtual_size").as_int());
        }
        "enable_cbt" | "disable_cbt" => {
            world.store.set("VDI", vdi, "cbt_enabled", message == "enable_cbt")?;
        }
        "data_destroy" => {
            check_free(world, vdi, "data_destroy")?;
            cbt::data_destroy(world, vdi)?;
        }
        "list_changed_blocks" => return cbt::list_changed_blocks(world, vdi, args.text(1)).map(Some),
        // No network of the pool carries NBD.
        "get_nbd_info" => {
            world.store.row("VDI", vdi)?;
            return Ok(Some(Value::Set(Vec::new())));
        }
        _ => return Ok(None),
    }
    Ok(Some(Value::Void))
}
