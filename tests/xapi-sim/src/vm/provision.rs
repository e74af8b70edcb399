//! `VM.provision`: the disks that a template's `other_config["disks"]` describes.

use std::sync::Arc;

use quick_xml::events::Event;
use quick_xml::reader::Reader;

use crate::error::{ApiError, ApiResult};
use crate::sim::World;
use crate::storage;
use crate::value::{Value, is_null};

/// One `<disk>` of a `<provision>` document.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) device: String,
    pub(crate) size: i64,
    /// The uuid of a storage repository; empty is the pool's default.
    pub(crate) sr: String,
    pub(crate) bootable: bool,
    pub(crate) kind: String,
}

pub(crate) fn parse(text: &str) -> ApiResult<Vec<Wanted>> {
    let bad = || ApiError::internal("Xml_parse_error: the provision document cannot be read");
    let mut reader = Reader::from_str(text);
    let mut disks = Vec::new();
    loop {
        match reader.read_event().map_err(|_| bad())? {
            Event::Eof => return Ok(disks),
            Event::Start(e) | Event::Empty(e) if e.name().as_ref() == "disk" => {
                let mut disk = Wanted { kind: "system".to_owned(), ..Wanted::default() };
                for attribute in e.attributes() {
                    let attribute = attribute.map_err(|_| bad())?;
                    let value = attribute.value.into_owned();
                    match attribute.key.as_ref() {
                        "device" => disk.device = value,
                        "size" => disk.size = value.parse().map_err(|_| bad())?,
                        "sr" => disk.sr = value,
                        "bootable" => disk.bootable = value == "true",
                        "type" => disk.kind = value,
                        _ => {}
                    }
                }
                disks.push(disk);
            }
            _ => {}
        }
    }
}

/// Makes a template a VM and gives it its disks; on an error the disks made so far are destroyed again.
pub(crate) fn provision(world: &mut World, vm: &str) -> ApiResult<Value> {
    let text = world.store.get("VM", vm, "other_config")?.entry("disks").unwrap_or_default().to_owned();
    let wanted = parse(&text)?;
    world.store.set("VM", vm, "is_a_template", false)?;
    let mut made = Vec::new();
    for disk in &wanted {
        match one(world, vm, disk) {
            Ok(vdi) => made.push(vdi),
            Err(error) => {
                for vdi in made {
                    // Made in this very call, so nobody else can hold it.
                    let _ = storage::remove(world, &vdi);
                }
                return Err(error);
            }
        }
    }
    world.store.remove_entry("VM", vm, "other_config", "disks")?;
    Ok(Value::Void)
}

fn one(world: &mut World, vm: &str, disk: &Wanted) -> ApiResult<Arc<str>> {
    let sr = if disk.sr.is_empty() {
        let default = world.store.text("pool", &world.pool(), "default_SR").to_owned();
        if is_null(&default) {
            return Err(ApiError::bare("DEFAULT_SR_NOT_FOUND"));
        }
        Arc::from(default)
    } else {
        let found = world.store.by_uuid("SR", &disk.sr);
        found.ok_or_else(|| ApiError::new("UUID_INVALID", ["SR", disk.sr.as_str()]))?
    };
    let vdi = storage::make(world, &sr, &disk.device, disk.size, &disk.kind)?;
    world.store.set("VDI", &vdi, "name_description", "Created by template provisioner")?;
    let hint = world.uuid("VM", vm);
    world.store.set_entry("VDI", &vdi, "sm_config", "vmhint", Value::str(hint))?;
    let fields = [
        ("VM", Value::str(vm)),
        ("VDI", Value::Str(vdi.clone())),
        ("userdevice", Value::str(&disk.device)),
        ("bootable", Value::Bool(disk.bootable)),
        ("mode", Value::str("RW")),
        ("type", Value::str("Disk")),
        ("unpluggable", Value::Bool(false)),
        ("other_config", Value::dict([("owner", "")])),
    ];
    world.store.insert("VBD", fields.into_iter().map(|(k, v)| (Arc::from(k), v)).collect());
    Ok(vdi)
}
