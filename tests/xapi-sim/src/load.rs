//! A real pool's records as a database: dangling references and all.

use std::fs;
use std::io::Read as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::read::GzDecoder;
use serde_json::Value as Json;
use snafu::{OptionExt, ResultExt, Snafu};

use crate::sim::World;
use crate::types::Type;
use crate::value::{Map, Value};
use crate::vm::domain;
use crate::wire::json;

/// Why a database could not be loaded.
#[derive(Debug, Snafu)]
pub enum LoadError {
    /// The file could not be read.
    #[snafu(display("cannot read {}", path.display()))]
    ReadFile {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It is not JSON.
    #[snafu(display("{} is not JSON", path.display()))]
    NotJson {
        /// Which.
        path: PathBuf,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// It has no `records` by class and reference.
    #[snafu(display("{} holds no records by class and reference", path.display()))]
    NoRecords {
        /// Which.
        path: PathBuf,
    },
}

/// Reads a file, compressed if its name says so, into an empty database.
pub(crate) fn load(world: &mut World, path: &Path) -> Result<(), LoadError> {
    let mut bytes = fs::read(path).context(ReadFileSnafu { path })?;
    if path.extension().is_some_and(|e| e == "gz") {
        let mut plain = Vec::new();
        GzDecoder::new(bytes.as_slice()).read_to_end(&mut plain).context(ReadFileSnafu { path })?;
        bytes = plain;
    }
    let json: Json = serde_json::from_slice(&bytes).context(NotJsonSnafu { path })?;
    let records = json.get("records").and_then(Json::as_object).context(NoRecordsSnafu { path })?;
    for (class, objects) in records {
        for (reference, record) in objects.as_object().context(NoRecordsSnafu { path })? {
            insert(world, class, reference, record.as_object().context(NoRecordsSnafu { path })?);
        }
    }
    give_addresses(world);
    give_metrics(world);
    note_domains(world);
    Ok(())
}

fn insert(world: &mut World, class: &str, reference: &str, record: &serde_json::Map<String, Json>) {
    let described = world.store.model.class(class).is_some_and(|c| !c.messages.is_empty() || !c.fields.is_empty());
    if !described {
        let fields: Vec<(Arc<str>, Type)> = record.iter().map(|(k, v)| (Arc::from(k.as_str()), guess(v))).collect();
        world.store.model.learn(class, &fields);
    }
    let mut fields = Map::new();
    if let Some(known) = world.store.model.class(class) {
        for field in &known.fields {
            let given = record.get(&*field.name).map(|v| field.ty.coerce(&field.name, json::to_value(v)));
            // A value that does not fit its type today is worth its type's default.
            let default = || field.default.clone().unwrap_or_else(|| field.ty.zero());
            fields.insert(field.name.clone(), given.and_then(Result::ok).unwrap_or_else(default));
        }
    }
    world.store.insert_raw(class, &Arc::from(reference), fields);
}

fn guess(value: &Json) -> Type {
    match value {
        Json::Bool(_) => Type::Bool,
        Json::Number(n) if n.is_f64() => Type::Float,
        Json::Number(_) => Type::Int,
        Json::Array(_) => Type::Set(Box::new(Type::String)),
        Json::Object(_) => Type::Map(Box::new(Type::String), Box::new(Type::String)),
        Json::String(_) | Json::Null => Type::String,
    }
}

/// The hosts answer on loopback addresses here, the coordinator first.
fn give_addresses(world: &mut World) {
    let coordinator = world.coordinator();
    let mut hosts = world.store.refs("host");
    hosts.sort_by_key(|h| (*h != coordinator, h.clone()));
    for (n, host) in hosts.iter().enumerate() {
        let last = u8::try_from(n + 1).unwrap_or(u8::MAX);
        let address = Ipv4Addr::new(127, 0, 0, last).to_string();
        // Each host was listed a few lines above.
        let _ = world.store.set("host", host, "address", address.as_str());
    }
}

/// Old databases do not keep the hosts' metrics: hosts without any are live and have what their VMs use and more.
fn give_metrics(world: &mut World) {
    const ASSUMED_MEMORY: i64 = 64 << 30;
    for host in world.store.refs("host") {
        let metrics = world.store.text("host", &host, "metrics").to_owned();
        if !world.store.exists("host_metrics", &metrics) {
            let fields = [("memory_total", Value::Int(ASSUMED_MEMORY)), ("live", Value::Bool(true))];
            let fields = fields.into_iter().map(|(k, v)| (Arc::from(k), v)).collect();
            let made = world.store.insert("host_metrics", fields);
            let _ = world.store.set("host", &host, "metrics", &*made);
        }
    }
}

/// VMs that the database says run, run.
fn note_domains(world: &mut World) {
    let running: Vec<(Arc<str>, String)> = world
        .store
        .rows("VM")
        .filter(|(_, row)| matches!(row.get("power_state").as_str(), "Running" | "Paused"))
        .filter(|(_, row)| !row.get("is_control_domain").as_bool())
        .map(|(vm, row)| (vm.clone(), row.get("resident_on").as_str().to_owned()))
        .collect();
    for (vm, host) in running {
        domain::register(world, &vm, &host);
    }
}
