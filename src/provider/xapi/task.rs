//! Long work: calls that xapi carries out in the background, followed by their task.
//!
//! Nothing long is called directly: a call that meets another operation is queued inside xapi for up to two hours. As a
//! task it has our own deadline, after which it is cancelled.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{
    call_error::CallError,
    client::{Client, Nature, args},
    fault::Fault,
    records::Task,
    value::{Ref, task_result},
};

/// How far a task has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Pending,
    Succeeded(String),
    Failed(Fault),
}

/// Waits start short, as most work is done in well under a second, and grow.
const FIRST_WAIT: Duration = Duration::from_millis(40);
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// While the task's events arrive it is asked for only to be sure.
const FOLLOWED_WAIT: Duration = Duration::from_secs(5);
/// How long a task that we cancelled may take to say so.
const CANCELLING: Duration = Duration::from_secs(5);

impl Client {
    /// Runs `Async.<method>` to its end and gives its result (a reference, or nothing). `begun` is told the task as soon
    /// as it is known.
    pub(super) async fn task(
        &self,
        method: &str,
        params: Vec<Value>,
        nature: Nature,
        limit: Duration,
        begun: impl FnOnce(&Ref<Task>) + Send,
    ) -> Result<String, CallError> {
        let until = Instant::now() + limit;
        let task = self.begin(method, params, nature).await?;
        begun(&task);
        let ended = match self.follow_begun(&task, until).await {
            Ok(Progress::Pending) => self.cancel(method, &task).await,
            other => other.and_then(outcome),
        };
        if !matches!(ended, Err(CallError::Unknown { .. })) {
            self.forget_task(&task).await;
        }
        ended
    }

    /// The same for work whose result and task nobody asks for.
    pub(super) async fn run(&self, method: &str, params: Vec<Value>, limit: Duration) -> Result<(), CallError> {
        self.task(method, params, Nature::Repeatable, limit, |_| {}).await.map(|_| ())
    }

    /// Has xapi begin `Async.<method>`.
    pub(super) async fn begin(&self, method: &str, params: Vec<Value>, nature: Nature) -> Result<Ref<Task>, CallError> {
        self.call(&format!("Async.{method}"), params, nature, self.timing.call).await
    }

    /// Waits for the task's end; [`Progress::Pending`] where it has not ended by then.
    pub(super) async fn follow(&self, task: &Ref<Task>, until: Instant) -> Result<Progress, CallError> {
        self.await_end(task, until, false).await
    }

    /// The same for a task that was begun just now: where events arrive they have told its end, or will.
    pub(super) async fn follow_begun(&self, task: &Ref<Task>, until: Instant) -> Result<Progress, CallError> {
        self.await_end(task, until, true).await
    }

    async fn await_end(&self, task: &Ref<Task>, until: Instant, is_new: bool) -> Result<Progress, CallError> {
        let mut news = self.events.watch_task(task);
        let mut is_told = is_new && news.are_flowing();
        let mut wait = FIRST_WAIT;
        loop {
            if !std::mem::take(&mut is_told) {
                match self.progress(task).await? {
                    Progress::Pending if Instant::now() >= until => return Ok(Progress::Pending),
                    Progress::Pending => {}
                    ended => return Ok(ended),
                }
            }
            let patience = if news.are_flowing() { FOLLOWED_WAIT } else { wait };
            wait = (wait * 2).min(LONGEST_WAIT);
            let again = (Instant::now() + patience).min(until);
            while let Some(record) = news.next(again.saturating_duration_since(Instant::now())).await {
                match progress(record) {
                    Progress::Pending => {}
                    ended => return Ok(ended),
                }
            }
        }
    }

    /// How far the task is. That nothing is known of it any more is an unknown outcome: xapi keeps tasks in memory only,
    /// and others may destroy them.
    async fn progress(&self, task: &Ref<Task>) -> Result<Progress, CallError> {
        match self.get::<Task>(task).await {
            Ok(Some(record)) => Ok(progress(record)),
            Ok(None) => Err(CallError::Unknown { why: "its task is gone".into() }),
            Err(error @ CallError::Closed) => Err(error),
            Err(error) => Err(CallError::Unknown { why: format!("its task cannot be read: {error}") }),
        }
    }

    /// Cancelling is a request that xapi may not heed: only the task's own word counts.
    pub(super) async fn cancel(&self, method: &str, task: &Ref<Task>) -> Result<String, CallError> {
        if let Err(error) = self.set("task.cancel", args![task]).await {
            tracing::debug!(method, %task, %error, "the task cannot be cancelled");
        }
        let until = Instant::now() + CANCELLING;
        while Instant::now() < until {
            match self.progress(task).await? {
                Progress::Pending => sleep(Duration::from_millis(200)).await,
                ended => return outcome(ended),
            }
        }
        Err(CallError::Unknown { why: format!("{method} did not end in time and was not cancelled") })
    }

    /// The tasks of our own calls are ours to destroy.
    pub(super) async fn forget_task(&self, task: &Ref<Task>) {
        if let Err(error) = self.set("task.destroy", args![task]).await
            && !error.is_gone()
        {
            tracing::debug!(%task, %error, "the task is left to xapi's own clean-up");
        }
    }
}

/// What the task came to, as a call's result.
pub(super) fn outcome(ended: Progress) -> Result<String, CallError> {
    match ended {
        Progress::Succeeded(result) => Ok(result),
        Progress::Failed(fault) => Err(CallError::Refused { fault }),
        Progress::Pending => Err(CallError::Unknown { why: "its task has not ended".into() }),
    }
}

impl Task {
    /// Whether it has come to its end.
    pub(super) fn has_ended(&self) -> bool {
        let ends = ["success", "failure", "cancelled"];
        ends.iter().any(|end| self.status.eq_ignore_ascii_case(end))
    }
}

/// What a task's record says.
pub(super) fn progress(task: Task) -> Progress {
    match task.status.to_ascii_lowercase().as_str() {
        "success" => Progress::Succeeded(task_result(&task.result).to_owned()),
        "failure" => {
            let mut info = task.error_info.into_iter();
            Progress::Failed(Fault::new(info.next().unwrap_or_else(|| "INTERNAL_ERROR".into()), info.collect()))
        }
        "cancelled" => Progress::Failed(Fault::new("TASK_CANCELLED", Vec::new())),
        // pending, cancelling, and whatever a later version may add: not ended.
        _ => Progress::Pending,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::{
        ErrorKind,
        xapi::records::{Map, tests::recorded},
    };

    fn task(status: &str, result: &str, error: &[&str]) -> Task {
        Task {
            name_label: String::new(),
            status: status.into(),
            progress: 0.0,
            created: String::new(),
            other_config: Map::default(),
            result: result.into(),
            error_info: error.iter().map(|e| (*e).to_owned()).collect(),
        }
    }

    #[test]
    fn tasks_end_in_three_ways() {
        assert_eq!(progress(task("pending", "", &[])), Progress::Pending);
        assert_eq!(progress(task("cancelling", "", &[])), Progress::Pending);
        for (status, ended) in
            [("pending", false), ("cancelling", false), ("Success", true), ("failure", true), ("cancelled", true)]
        {
            let task = task(status, "", &[]);
            assert_eq!((task.has_ended(), progress(task) != Progress::Pending), (ended, ended), "{status}");
        }
        assert_eq!(
            progress(task("success", "<value>OpaqueRef:1</value>", &[])),
            Progress::Succeeded("OpaqueRef:1".into())
        );
        let failed = progress(task("failure", "", &["HOST_NOT_ENOUGH_FREE_MEMORY", "2", "1"]));
        assert_eq!(outcome(failed).unwrap_err().kind(), ErrorKind::Capacity);
        assert_eq!(outcome(progress(task("cancelled", "", &[]))).unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(outcome(progress(task("failure", "", &[]))).unwrap_err().kind(), ErrorKind::Unavailable);
    }

    #[test]
    fn recorded_tasks_succeeded_with_nothing() {
        for record in recorded::<Task>().into_values() {
            assert_eq!(progress(record), Progress::Succeeded(String::new()));
        }
    }
}
