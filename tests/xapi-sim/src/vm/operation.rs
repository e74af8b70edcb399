//! A VM's operations over time: admission, waiting for others, and the moment of effect.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::allowed;
use crate::error::{ApiError, ApiResult};
use crate::sim::{Call, World};
use crate::tasks;
use crate::value::{Value, is_null};

/// How an operation takes its time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) duration: Duration,
    /// Whether `task.cancel` ends it early.
    pub(crate) cancellable: bool,
}

impl Pace {
    pub(crate) fn fixed(milliseconds: u64) -> Self {
        Self { duration: Duration::from_millis(milliseconds), cancellable: false }
    }

    pub(crate) fn cancellable(milliseconds: u64) -> Self {
        Self { cancellable: true, ..Self::fixed(milliseconds) }
    }
}

/// Runs an operation: `prepare` with its admission, `finish` at its end, each atomic. In between the object says in
/// `current_operations` what is going on.
pub(crate) async fn during<P, T>(
    call: &Call,
    vm: &str,
    op: &str,
    pace: Pace,
    mut prepare: impl FnMut(&mut World) -> ApiResult<P>,
    finish: impl FnOnce(&mut World, P) -> ApiResult<T>,
) -> ApiResult<T> {
    let prepared = admit(call, vm, op, pace, &mut prepare).await?;
    let worked = tasks::work(&call.sim, &call.task, &call.cancel, pace.duration).await;
    call.write(|w| {
        let was_registered = leave(w, vm, &call.task);
        let result = worked.and_then(|()| {
            if was_registered {
                finish(w, prepared)
            } else {
                // Someone forced the VM into another state meanwhile.
                let actual = w.store.get("VM", vm, "power_state")?.as_str().to_owned();
                Err(allowed::bad_power_state(vm, "running", &actual))
            }
        });
        if result.is_err() && !is_null(w.store.text("VM", vm, "scheduled_to_be_resident_on")) {
            w.store.set("VM", vm, "scheduled_to_be_resident_on", Value::null_ref())?;
        }
        result
    })
}

async fn admit<P>(
    call: &Call,
    vm: &str,
    op: &str,
    pace: Pace,
    prepare: &mut impl FnMut(&mut World) -> ApiResult<P>,
) -> ApiResult<P> {
    let mut changes = call.sim.changes();
    let mut waiting = Waiting { call, counted: false };
    let deadline = Instant::now() + Duration::from_secs(call.sim.read(|w| w.knobs.queue_seconds));
    loop {
        changes.mark_unchanged();
        let admitted = call.write(|w| {
            allowed::check_vm(w, vm, op)?;
            let prepared = prepare(w)?;
            w.store.set_entry("VM", vm, "current_operations", &call.task, Value::str(op))?;
            if pace.cancellable {
                tasks::allow_cancel(w, &call.task, &call.cancel);
            }
            Ok(prepared)
        });
        match admitted {
            Err(e) if e.code == "OTHER_OPERATION_IN_PROGRESS" => waiting.begin()?,
            other => return other,
        }
        // Woken by any change; a wait without an end would outlive the client's patience and the real xapi's.
        match timeout_at(deadline, changes.changed()).await {
            Ok(Ok(())) => {}
            _ => return call.write(|w| allowed::check_vm(w, vm, op).and_then(|()| prepare(w))),
        }
    }
}

/// Counts a call among those that wait, for as long as it does.
struct Waiting<'a> {
    call: &'a Call,
    counted: bool,
}

impl Waiting<'_> {
    fn begin(&mut self) -> ApiResult<()> {
        if self.counted {
            return Ok(());
        }
        self.call.sim.write(|w| {
            if w.queued >= w.knobs.max_queued {
                return Err(ApiError::bare("TOO_MANY_PENDING_TASKS"));
            }
            w.queued += 1;
            Ok(())
        })?;
        self.counted = true;
        Ok(())
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.counted {
            self.call.sim.write(|w| w.queued = w.queued.saturating_sub(1));
        }
    }
}

/// Takes the operation off the VM; false when it was not there any more.
fn leave(world: &mut World, vm: &str, task: &str) -> bool {
    let there = world.store.get("VM", vm, "current_operations").is_ok_and(|ops| ops.entry(task).is_some());
    if there {
        // It is there: a line above says so.
        let _ = world.store.remove_entry("VM", vm, "current_operations", task);
    }
    there
}
