//! The admin endpoint: what a test reads of the simulator and does to it. Plain HTTP on a loopback port of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value as AnyJson, json};

use crate::faults::Fault;
use crate::knobs::Knobs;
use crate::sim::{Sim, World};
use crate::value::Value;
use crate::wire::{self, Ints};
use crate::{host, preset, restart};

type Shared = State<Arc<Sim>>;

/// The routes, as the README describes them.
pub(crate) fn router(sim: Arc<Sim>) -> Router {
    Router::new()
        .route("/", get(|| async { "xapi-sim admin endpoint: see its README" }))
        .route("/state", get(all_records))
        .route("/state/{class}", get(class_records))
        .route("/history", get(history).delete(forget_history))
        .route("/domains", get(domains))
        .route("/callers", get(callers))
        .route("/calls", get(calls).delete(forget_calls))
        .route("/faults", get(faults).post(add_fault).delete(clear_faults))
        .route("/faults/{id}", delete(remove_fault))
        .route("/knobs", get(knobs).put(set_knobs).patch(set_knobs))
        .route("/session", post(session))
        .route("/restart", post(restart_coordinator))
        .route("/crash", post(crash_coordinator))
        .route("/flush", post(flush))
        .route("/coordinator", post(change_coordinator))
        .route("/hosts/{host}/kill", post(kill))
        .route("/hosts/{host}/isolate", post(isolate))
        .route("/hosts/{host}/revive", post(revive))
        .route("/hosts/{host}/emergency", post(emergency))
        .route("/records/{class}/{reference}/{field}", put(set_field))
        .with_state(sim)
}

/// A refusal of the admin endpoint itself.
fn refuse(status: StatusCode, text: impl Into<String>) -> Response {
    (status, Json(json!({ "error": text.into() }))).into_response()
}

fn done() -> Response {
    Json(json!({ "ok": true })).into_response()
}

fn as_json(value: &Value) -> Response {
    let mut text = String::new();
    wire::json::write(value, Ints::AsNumbers, &mut text);
    ([(CONTENT_TYPE, "application/json")], text).into_response()
}

fn records(world: &World, class: &str) -> Value {
    Value::map(world.store.rows(class).map(|(r, row)| (r, Value::Record(row.fields.clone()))))
}

async fn all_records(State(sim): Shared) -> Response {
    let value = sim.read(|w| Value::map(w.store.tables.keys().map(|class| (class, records(w, class)))));
    as_json(&value)
}

async fn class_records(State(sim): Shared, Path(class): Path<String>) -> Response {
    as_json(&sim.read(|w| records(w, &class)))
}

async fn history(State(sim): Shared) -> Response {
    Json(sim.read(|w| w.history.entries.clone())).into_response()
}

async fn forget_history(State(sim): Shared) -> Response {
    sim.write(|w| w.history.entries.clear());
    done()
}

async fn domains(State(sim): Shared) -> Response {
    let list = sim.read(|w| {
        let domains = w.history.domains.iter();
        domains
            .map(|d| {
                let host = w.uuid("host", &d.host);
                json!({ "vm_uuid": d.vm_uuid, "host": host, "disks": d.disks, "known": w.store.exists("VM", &d.vm) })
            })
            .collect::<Vec<_>>()
    });
    Json(list).into_response()
}

async fn calls(State(sim): Shared) -> Response {
    Json(sim.read(|w| w.calls.clone())).into_response()
}

/// Calls with effects of clients that name themselves, in order.
async fn callers(State(sim): Shared) -> Response {
    Json(sim.read(|w| w.callers.clone())).into_response()
}

async fn forget_calls(State(sim): Shared) -> Response {
    sim.write(|w| w.calls.clear());
    done()
}

async fn faults(State(sim): Shared) -> Response {
    Json(sim.read(|w| w.faults.list.clone())).into_response()
}

async fn add_fault(State(sim): Shared, Json(fault): Json<Fault>) -> Response {
    let id = sim.write(|w| w.faults.add(fault));
    Json(json!({ "id": id })).into_response()
}

async fn clear_faults(State(sim): Shared) -> Response {
    sim.write(|w| w.faults.list.clear());
    done()
}

async fn remove_fault(State(sim): Shared, Path(id): Path<u64>) -> Response {
    sim.write(|w| w.faults.list.retain(|f| f.id != id));
    done()
}

async fn knobs(State(sim): Shared) -> Response {
    Json(sim.read(|w| w.knobs.clone())).into_response()
}

/// Sets the knobs that are given and leaves the others.
async fn set_knobs(State(sim): Shared, Json(given): Json<BTreeMap<String, AnyJson>>) -> Response {
    let merged = sim.read(|w| serde_json::to_value(&w.knobs)).and_then(|mut all| {
        for (name, value) in given {
            all[name] = value;
        }
        serde_json::from_value::<Knobs>(all)
    });
    match merged {
        Ok(knobs) => {
            sim.write(|w| w.knobs = knobs);
            done()
        }
        Err(error) => refuse(StatusCode::BAD_REQUEST, error.to_string()),
    }
}

async fn session(State(sim): Shared) -> Response {
    let session = sim.write(preset::session);
    Json(json!({ "session": &*session })).into_response()
}

async fn restart_coordinator(State(sim): Shared) -> Response {
    restart::restart(sim, None).await;
    done()
}

/// Nothing that was written before this can be lost any more.
async fn flush(State(sim): Shared) -> Response {
    sim.write(|w| w.store.flush());
    done()
}

#[derive(Debug, Default, Deserialize)]
struct Crash {
    lose_seconds: Option<f64>,
}

async fn crash_coordinator(State(sim): Shared, body: Option<Json<Crash>>) -> Response {
    let asked = body.map(|b| b.0).unwrap_or_default().lose_seconds;
    restart::restart(sim.clone(), Some(lost(&sim, asked))).await;
    done()
}

fn lost(sim: &Sim, asked: Option<f64>) -> Duration {
    let known = asked.and_then(|s| Duration::try_from_secs_f64(s).ok());
    known.unwrap_or_else(|| Duration::from_secs(sim.read(|w| w.knobs.crash_loses_seconds)))
}

#[derive(Debug, Deserialize)]
struct NewCoordinator {
    host: String,
    /// Seconds that the new coordinator's copy of the database is old; absent is a transfer without loss.
    lose_seconds: Option<f64>,
}

async fn change_coordinator(State(sim): Shared, Json(new): Json<NewCoordinator>) -> Response {
    let Some(host) = find_host(&sim, &new.host) else { return refuse(StatusCode::NOT_FOUND, "no such host") };
    let lost = new.lose_seconds.and_then(|s| Duration::try_from_secs_f64(s).ok());
    let result = sim.write(|w| restart::transfer(w, &host, lost));
    sim.wake();
    match result {
        Ok(()) => done(),
        Err(error) => refuse(StatusCode::CONFLICT, error.code),
    }
}

/// A host by uuid, name, address or reference.
fn find_host(sim: &Sim, name: &str) -> Option<Arc<str>> {
    sim.read(|w| {
        let mut hosts = w.store.rows("host");
        let found = hosts.find(|(r, row)| {
            &***r == name || ["uuid", "name_label", "address"].iter().any(|f| row.get(f).as_str() == name)
        });
        found.map(|(r, _)| r.clone())
    })
}

/// How long the pool takes to notice; absent is the knob's time.
#[derive(Debug, Default, Deserialize)]
struct Notice {
    notice_ms: Option<u64>,
}

async fn go(sim: Arc<Sim>, name: &str, body: Option<Json<Notice>>, power: bool) -> Response {
    let Some(host) = find_host(&sim, name) else { return refuse(StatusCode::NOT_FOUND, "no such host") };
    let notice = body.map(|b| b.0).unwrap_or_default().notice_ms;
    let notice = notice.unwrap_or_else(|| sim.read(|w| w.knobs.host_assumed_dead_ms));
    host::take_down(&sim, &host, power);
    let noticed = tokio::spawn(host::notice(sim, host, Duration::from_millis(notice)));
    if notice == 0 {
        // The caller wants to see it noticed; the task cannot fail.
        let _ = noticed.await;
    }
    done()
}

async fn kill(State(sim): Shared, Path(name): Path<String>, body: Option<Json<Notice>>) -> Response {
    go(sim, &name, body, true).await
}

async fn isolate(State(sim): Shared, Path(name): Path<String>, body: Option<Json<Notice>>) -> Response {
    go(sim, &name, body, false).await
}

async fn revive(State(sim): Shared, Path(name): Path<String>) -> Response {
    let Some(host) = find_host(&sim, &name) else { return refuse(StatusCode::NOT_FOUND, "no such host") };
    host::revive(&sim, &host);
    done()
}

async fn emergency(State(sim): Shared, Path(name): Path<String>) -> Response {
    let Some(host) = find_host(&sim, &name) else { return refuse(StatusCode::NOT_FOUND, "no such host") };
    sim.write(|w| w.emergency.insert(host));
    done()
}

/// Writes any field, also those no client may: for states that the simulator does not reach by itself.
async fn set_field(
    State(sim): Shared,
    Path((class, reference, field)): Path<(String, String, String)>,
    Json(value): Json<AnyJson>,
) -> Response {
    let ty = sim.model.class(&class).and_then(|c| c.field(&field)).map(|f| f.ty.clone());
    let Some(ty) = ty else { return refuse(StatusCode::NOT_FOUND, "no such field") };
    let written = ty.coerce(&field, wire::json::to_value(&value)).and_then(|v| {
        sim.write(|w| {
            let by_uuid = w.store.by_uuid(&class, &reference);
            w.store.set(&class, by_uuid.as_deref().unwrap_or(&reference), &field, v)
        })
    });
    match written {
        Ok(()) => done(),
        Err(error) => refuse(StatusCode::BAD_REQUEST, error.description().join(" ")),
    }
}
