//! Changed-block tracking.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::set_used;
use crate::disk::{BLOCK, Disk};
use crate::error::{ApiError, ApiResult};
use crate::sim::World;
use crate::value::Value;

/// Keeps of a snapshot only what tells which blocks changed.
pub(crate) fn data_destroy(world: &mut World, vdi: &str) -> ApiResult<()> {
    if !world.store.get("VDI", vdi, "is_a_snapshot")?.as_bool() {
        return Err(ApiError::new("OPERATION_NOT_ALLOWED", ["VDI is not a snapshot"]));
    }
    if !world.store.flag("VDI", vdi, "cbt_enabled") {
        return Err(ApiError::new("VDI_NO_CBT_METADATA", [vdi]));
    }
    world.store.set("VDI", vdi, "type", "cbt_metadata")?;
    set_used(world, vdi, 0);
    Ok(())
}

/// A bitmap with a bit for each 64 KiB block, the first block in the highest bit, in base64.
pub(crate) fn list_changed_blocks(world: &World, from: &str, to: &str) -> ApiResult<Value> {
    for vdi in [from, to] {
        if !world.store.get("VDI", vdi, "cbt_enabled")?.as_bool() {
            return Err(ApiError::new("VDI_NO_CBT_METADATA", [vdi]));
        }
    }
    let empty = Disk::default();
    let older = world.disks.get(from).unwrap_or(&empty);
    let newer = world.disks.get(to).unwrap_or(&empty);
    let size = u64::try_from(world.store.int("VDI", to, "virtual_size")).unwrap_or(0);
    let blocks = size.div_ceil(BLOCK);
    let mut bitmap = vec![0_u8; usize::try_from(blocks.div_ceil(8)).unwrap_or(0)];
    for number in newer.changed_since(older) {
        if let Some(byte) = usize::try_from(number / 8).ok().and_then(|i| bitmap.get_mut(i)) {
            *byte |= 0x80 >> (number % 8);
        }
    }
    Ok(Value::str(STANDARD.encode(bitmap)))
}
