//! Tasks: the database's view of calls that run on their own.

use std::sync::Arc;

use tokio::sync::Notify;

use crate::clock;
use crate::error::{ApiError, ApiResult};
use crate::sim::{Sim, World};
use crate::value::Value;
use crate::wire::xml;

/// Makes a pending task.
pub(crate) fn create(world: &mut World, label: &str, description: &str) -> Arc<str> {
    let host = world.coordinator();
    let fields = [
        ("name_label", Value::str(label)),
        ("name_description", Value::str(description)),
        ("created", Value::Time(world.clock().text())),
        ("status", Value::str("pending")),
        ("resident_on", Value::Str(host)),
        ("type", Value::str("<none/>")),
    ];
    let fields = fields.into_iter().map(|(k, v)| (Arc::from(k), v)).collect();
    world.store.insert("task", fields)
}

fn set(world: &mut World, task: &str, field: &str, value: impl Into<Value>) {
    // Tasks of synchronous calls are in no table, and lost ones no longer are.
    let _ = world.store.set("task", task, field, value);
}

pub(crate) fn progress(world: &mut World, task: &str, share: f64) {
    set(world, task, "progress", Value::Float(share));
}

/// Writes a call's outcome into its task.
pub(crate) fn finish(world: &mut World, task: &str, result: &ApiResult<Value>) {
    world.cancels.remove(task);
    if !world.store.exists("task", task) {
        return;
    }
    set(world, task, "allowed_operations", Value::Set(Vec::new()));
    set(world, task, "current_operations", Value::dict(Vec::<(&str, &str)>::new()));
    set(world, task, "finished", Value::Time(world.clock().text()));
    set(world, task, "progress", Value::Float(1.0));
    match result {
        Ok(value) => {
            let mut text = String::new();
            xml::write(value, &mut text);
            set(world, task, "result", text.as_str());
            set(world, task, "status", "success");
        }
        Err(error) => {
            set(world, task, "error_info", Value::strings(error.description()));
            set(world, task, "status", if error.code == "TASK_CANCELLED" { "cancelled" } else { "failure" });
        }
    }
    collect(world);
}

/// Lets clients cancel a task, and says how its work is told.
pub(crate) fn allow_cancel(world: &mut World, task: &Arc<str>, signal: &Arc<Notify>) {
    set(world, task, "allowed_operations", Value::strings(["cancel"]));
    world.cancels.insert(task.clone(), signal.clone());
}

/// `task.cancel`: a wish. A task that does not allow it ends as if nobody had asked.
pub(crate) fn cancel(world: &mut World, task: &str) -> ApiResult<Value> {
    let status = world.store.get("task", task, "status")?.as_str().to_owned();
    if status != "pending" {
        return Err(ApiError::new("OPERATION_NOT_ALLOWED", [format!("the task is {status}")]));
    }
    if let Some(signal) = world.cancels.get(task).cloned() {
        set(world, task, "status", "cancelling");
        signal.notify_one();
    }
    Ok(Value::Void)
}

/// xapi's garbage collection: finished tasks go when they are old, or when there are too many.
pub(crate) fn collect(world: &mut World) {
    let mut finished: Vec<(i64, u64, Arc<str>)> = world
        .store
        .rows("task")
        .filter(|(_, row)| !matches!(row.get("status").as_str(), "pending" | "cancelling"))
        .map(|(r, row)| (clock::seconds(row.get("finished").as_str()).unwrap_or(0), row.created, r.clone()))
        .collect();
    finished.sort();
    let oldest = world.clock().now() - world.knobs.finished_task_seconds;
    let excess = finished.len().saturating_sub(world.knobs.max_finished_tasks);
    for (i, (at, _, task)) in finished.into_iter().enumerate() {
        if i < excess || at < oldest {
            let _ = world.store.remove("task", &task);
        }
    }
}

/// Removes the tasks of a coordinator that restarts: they live in its memory only.
pub(crate) fn forget_all(world: &mut World) {
    for task in world.store.refs("task") {
        let _ = world.store.remove("task", &task);
    }
    world.cancels.clear();
}

/// Waits on behalf of a call, counting its progress up; ends early when the call is cancelled.
pub(crate) async fn work(sim: &Arc<Sim>, task: &str, signal: &Notify, duration: std::time::Duration) -> ApiResult<()> {
    const STEPS: u32 = 4;
    if duration.is_zero() {
        return Ok(());
    }
    for step in 1..=STEPS {
        tokio::select! {
            () = tokio::time::sleep(duration / STEPS) => {}
            () = signal.notified() => return Err(ApiError::new("TASK_CANCELLED", [task])),
        }
        if step < STEPS && sim.read(|w| w.store.exists("task", task)) {
            sim.write(|w| progress(w, task, f64::from(step) / f64::from(STEPS)));
        }
    }
    Ok(())
}
