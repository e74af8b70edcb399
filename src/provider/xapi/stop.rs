//! Switching guests off, softly within their time or hard.
//!
//! A soft stop is a task of xapi's that goes on without us. Nobody waits for it longer than a moment: it is found again in
//! what the VM says it is doing, and its time counts from when xapi began it, by xapi's own clock. So a restart of the
//! operator neither asks a guest twice nor gives it its time anew.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::time::Instant;

use super::{
    call_error::{CallError, During},
    client::{Nature, args},
    driver::XapiProvider,
    identity::is_halted,
    power::not_busy,
    records::{Task, Vm},
    task::{Progress, outcome},
    value::{Ref, time},
    view::View,
};
use crate::provider::{ErrorKind, Key, ObservedGuest, Power, ProviderError, Result, StopMode};

const STOP: &str = "stop the VM";

/// A guest's system was asked to switch itself off.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    task: Ref<Task>,
    since: Instant,
    /// Whether this process asked, so that the task is ours to tidy away.
    ours: bool,
    /// How it is looked at again when its time is over, if somebody of this process will.
    watched: Option<StopMode>,
}

/// The guests whose systems were asked and whose answers have not been looked at.
#[derive(Default)]
pub(super) struct Requests(Mutex<HashMap<String, Asked>>);

impl Requests {
    fn all(&self) -> MutexGuard<'_, HashMap<String, Asked>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, key: &Key) -> Option<Asked> {
        self.all().get(&key.guest).cloned()
    }

    fn remember(&self, key: &Key, asked: Asked) {
        self.all().insert(key.guest.clone(), asked);
    }

    /// Whatever was asked is of no interest any more.
    pub(super) fn forget(&self, key: &Key) {
        self.all().remove(&key.guest);
    }

    /// Says who looks at it again.
    fn watch(&self, key: &Key, task: &Ref<Task>, mode: StopMode) {
        if let Some(asked) = self.all().get_mut(&key.guest).filter(|asked| asked.task == *task) {
            asked.watched = Some(mode);
        }
    }

    /// The request that is to be looked at now, unless somebody was quicker, wants the guest to run after all, or has
    /// since said how it is to stop otherwise.
    fn due(&self, key: &Key, task: &Ref<Task>, mode: StopMode) -> Option<Asked> {
        let mut all = self.all();
        let asked = all.get_mut(&key.guest).filter(|asked| asked.task == *task && asked.watched == Some(mode))?;
        asked.watched = None;
        Some(asked.clone())
    }
}

/// What comes after a look at the request.
#[derive(Debug)]
enum Next {
    /// The guest has switched itself off.
    Done,
    /// It still has time.
    Wait,
    /// It cannot be asked, or had its time.
    GiveUp(String),
    /// Neither a refusal nor a lost answer may end in a cut.
    Fail(CallError),
}

fn next(progress: Result<Progress, CallError>, time_is_over: bool) -> Next {
    const CANNOT_BE_ASKED: [&str; 3] = ["VM_LACKS_FEATURE", "VM_LACKS_FEATURE_SHUTDOWN", "VM_MISSING_PV_DRIVERS"];
    const DOES_NOT_ANSWER: [&str; 2] = ["VM_SHUTDOWN_TIMEOUT", "VM_FAILED_SHUTDOWN_ACKNOWLEDGMENT"];
    let error = match progress {
        Ok(Progress::Pending) if time_is_over => return Next::GiveUp("it did not switch itself off in time".into()),
        Ok(Progress::Pending) => return Next::Wait,
        Ok(ended) => match outcome(ended) {
            Ok(_) => return Next::Done,
            Err(error) => error,
        },
        Err(error) => error,
    };
    match &error {
        CallError::Refused { fault } => match fault.code.as_str() {
            // It was off before: the fresh record tells.
            "VM_BAD_POWER_STATE" => Next::Done,
            code if CANNOT_BE_ASKED.contains(&code) => Next::GiveUp(format!("its system cannot be asked ({fault})")),
            code if DOES_NOT_ANSWER.contains(&code) => Next::GiveUp(format!("its system did not answer ({fault})")),
            "TASK_CANCELLED" if time_is_over => Next::GiveUp("it did not switch itself off in time".into()),
            _ => Next::Fail(error),
        },
        CallError::Unknown { .. } if time_is_over => Next::GiveUp("it did not switch itself off in time".into()),
        _ => Next::Fail(error),
    }
}

/// The task of a soft shutdown that is under way, whoever began it.
fn under_way(vm: &Vm) -> Option<Ref<Task>> {
    let soft = |operation: &str| matches!(operation, "clean_shutdown" | "shutdown");
    vm.current_operations.iter().find(|(_, op)| soft(op)).map(|(task, _)| Ref::new(task.as_str()))
}

impl XapiProvider {
    pub(super) async fn power_off(&self, key: &Key, mode: StopMode) -> Result<ObservedGuest> {
        let _turn = self.turns.take(&key.guest).await;
        let view = self.live().await.during(STOP)?;
        let (vm, record, claim) = self.chosen(&view, key, STOP)?;
        let power = view.power(&record);
        let time = match (power, mode) {
            (Power::Stopped, _) => {
                self.requests.forget(key);
                return Ok(view.observe(&record, key, claim.stage()));
            }
            (Power::Unknown, _) => {
                return Err(ProviderError::new(ErrorKind::Unavailable, STOP, "its host does not answer"));
            }
            (Power::Running | Power::Starting | Power::Stopping, StopMode::Soft(time) | StopMode::TrySoft(time)) => {
                Some(time)
            }
            (_, StopMode::TrySoft(_) | StopMode::Hard) => None,
            (other, StopMode::Soft(_)) => {
                let message = format!(
                    "it is {} and cannot be asked, and its power must not be cut: start it, or allow the power to be cut",
                    other.to_string().to_lowercase()
                );
                return Err(ProviderError::new(ErrorKind::Unavailable, STOP, message));
            }
        };
        match time {
            // Its power is being cut already.
            None if power == Power::Stopping && under_way(&record).is_none() => {}
            None => {
                self.requests.forget(key);
                self.cut_power(&vm, &record).await.during(STOP)?;
            }
            Some(time) => {
                if let Some(asked) = self.asked(&view, &vm, &record, key).await? {
                    // Whoever asks again and again while a guest shuts down has nobody wait with it.
                    if asked.watched == Some(mode) && under_way(&record).is_some() {
                        return Ok(view.observe(&record, key, claim.stage()));
                    }
                    self.see_through(&vm, &record, key, mode, &asked, time).await?;
                }
            }
        }
        self.observe_anew(view, &vm, key, STOP).await
    }

    /// The request to the guest's system: the one under way, the one whose outcome was not looked at yet, or a new one.
    /// `None`: its power is being cut already.
    async fn asked(&self, view: &View, vm: &Ref<Vm>, record: &Vm, key: &Key) -> Result<Option<Asked>> {
        let known = self.requests.get(key);
        let asked = match (under_way(record), known) {
            (Some(task), Some(known)) if known.task == task => known,
            (Some(task), _) => {
                let age = self.age(view, &task).await.during(STOP)?;
                let now = Instant::now();
                Asked { task, since: now.checked_sub(age).unwrap_or(now), ours: false, watched: None }
            }
            (None, _) if view.power(record) == Power::Stopping => return Ok(None),
            (None, Some(known)) => known,
            (None, None) => {
                not_busy(record, STOP)?;
                self.let_go(vm, record).await.during(STOP)?;
                let task = self.client.begin("VM.clean_shutdown", args![vm], Nature::Repeatable).await.during(STOP)?;
                Asked { task, since: Instant::now(), ours: true, watched: None }
            }
        };
        self.requests.remember(key, asked.clone());
        Ok(Some(asked))
    }

    /// How long ago xapi began this, by its own clock. What nothing is known of began now.
    async fn age(&self, view: &View, task: &Ref<Task>) -> Result<Duration, CallError> {
        let Some(begun) = self.client.get(task).await?.and_then(|task| time(&task.created)) else {
            return Ok(Duration::ZERO);
        };
        let coordinator = view.pool().map(|(_, pool)| pool.master.clone()).unwrap_or_default();
        let now: String = self.client.read("host.get_servertime", args![coordinator]).await?;
        let age = time(&now).map(|now: Timestamp| now.duration_since(begun));
        Ok(age.and_then(|age| Duration::try_from(age).ok()).unwrap_or_default())
    }

    /// Waits for a moment, and draws the consequences of what has become of the request. What needs longer is left to a
    /// look at the end of its time.
    async fn see_through(
        &self,
        vm: &Ref<Vm>,
        record: &Vm,
        key: &Key,
        mode: StopMode,
        asked: &Asked,
        time: Duration,
    ) -> Result<()> {
        let left = time.saturating_sub(asked.since.elapsed());
        let patience = self.client.timing.patience;
        let progress = self.client.follow(&asked.task, Instant::now() + left.min(patience)).await;
        match next(progress, left <= patience) {
            Next::Wait => {
                self.look_again(key, mode, asked, left.saturating_sub(patience));
                return Ok(());
            }
            Next::Done => {}
            Next::Fail(error) => {
                self.requests.forget(key);
                return Err(error.during(STOP));
            }
            Next::GiveUp(why) => {
                self.requests.forget(key);
                self.give_up(vm, record, mode, asked, why).await?;
            }
        }
        self.requests.forget(key);
        if asked.ours {
            self.client.forget_task(&asked.task).await;
        }
        Ok(())
    }

    async fn give_up(&self, vm: &Ref<Vm>, record: &Vm, mode: StopMode, asked: &Asked, why: String) -> Result<()> {
        if let Err(error) = self.client.set("task.cancel", args![asked.task]).await {
            tracing::debug!(vm = record.uuid, %error, "the soft shutdown cannot be cancelled");
        }
        if matches!(mode, StopMode::Soft(_)) {
            if self.client.get(vm).await.during(STOP)?.is_none_or(|vm| is_halted(&vm)) {
                return Ok(());
            }
            let message = format!(
                "{why}, and its power must not be cut: stop it from inside, install the guest's tools, or allow the power \
                 to be cut"
            );
            return Err(ProviderError::new(ErrorKind::Unavailable, STOP, message));
        }
        tracing::info!(vm = record.uuid, why, "the guest did not switch itself off when asked: cutting its power");
        self.cut_power(vm, record).await.during(STOP)
    }

    /// Looks again when the guest's time is over, or its task has ended, should nobody have done so before.
    fn look_again(&self, key: &Key, mode: StopMode, asked: &Asked, after: Duration) {
        let (me, client, key, asked) = (self.me.clone(), self.client.clone(), key.clone(), asked.clone());
        self.requests.watch(&key, &asked.task, mode);
        tokio::spawn(async move {
            let stopped = client.events.stop.clone();
            tokio::select! {
                () = stopped.cancelled() => return,
                _ = client.follow(&asked.task, Instant::now() + after) => {}
            }
            let Some(me) = me.upgrade() else { return };
            if let Err(error) = me.conclude(&key, mode, &asked.task).await {
                tracing::warn!(guest = %key, %error, "the guest is not off yet");
            }
        });
    }

    async fn conclude(&self, key: &Key, mode: StopMode, task: &Ref<Task>) -> Result<()> {
        let _turn = self.turns.take(&key.guest).await;
        let Some(asked) = self.requests.due(key, task, mode) else { return Ok(()) };
        let view = self.live().await.during(STOP)?;
        let (vm, record, _) = self.chosen(&view, key, STOP)?;
        match (view.power(&record), mode) {
            (Power::Running | Power::Stopping, StopMode::Soft(time) | StopMode::TrySoft(time)) => {
                self.see_through(&vm, &record, key, mode, &asked, time).await
            }
            _ => Ok(()),
        }
    }

    pub(super) async fn cut_power(&self, vm: &Ref<Vm>, record: &Vm) -> Result<(), CallError> {
        self.let_go(vm, record).await?;
        match self.client.run("VM.hard_shutdown", args![vm], self.client.timing.task).await {
            Err(error) if error.is("VM_BAD_POWER_STATE") => Ok(()),
            other => other,
        }
    }

    /// High availability starts a protected VM again by itself: a VM that is to be off must not be protected.
    async fn let_go(&self, vm: &Ref<Vm>, record: &Vm) -> Result<(), CallError> {
        if record.ha_restart_priority.is_empty() {
            return Ok(());
        }
        self.client.set("VM.set_ha_restart_priority", args![vm, ""]).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::xapi::{fault::Fault, identity::tests::complete};

    fn failed(code: &str) -> Progress {
        Progress::Failed(Fault::new(code, vec![]))
    }

    #[test]
    fn only_a_guest_that_cannot_or_does_not_answer_loses_its_power() {
        let unknown = || Err(CallError::Unknown { why: "x".into() });
        for (progress, over, gives_up) in [
            (Ok(failed("VM_LACKS_FEATURE")), false, true),
            (Ok(failed("VM_SHUTDOWN_TIMEOUT")), false, true),
            (Ok(Progress::Pending), true, true),
            (Ok(Progress::Pending), false, false),
            (unknown(), true, true),
            (unknown(), false, false),
            (Ok(failed("TASK_CANCELLED")), true, true),
            (Ok(failed("TASK_CANCELLED")), false, false),
            (Ok(failed("OPERATION_BLOCKED")), true, false),
            (Ok(failed("RBAC_PERMISSION_DENIED")), true, false),
            (Ok(failed("VM_BAD_POWER_STATE")), true, false),
            (Ok(Progress::Succeeded(String::new())), true, false),
            (Err(CallError::Unreachable { why: "x".into() }), true, false),
        ] {
            let said = format!("{progress:?} {over}");
            assert_eq!(matches!(next(progress, over), Next::GiveUp(_)), gives_up, "{said}");
        }
    }

    #[test]
    fn a_soft_shutdown_of_anybody_is_found() {
        let mut vm = complete("u");
        assert_eq!(under_way(&vm), None);
        vm.current_operations.insert("OpaqueRef:m".into(), "hard_shutdown".into());
        assert_eq!(under_way(&vm), None);
        vm.current_operations.insert("OpaqueRef:t".into(), "clean_shutdown".into());
        assert_eq!(under_way(&vm), Some(Ref::new("OpaqueRef:t")));
    }
}
