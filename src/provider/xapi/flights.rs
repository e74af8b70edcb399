//! Clones and disks on their way: begun, with an outcome that is not known yet.
//!
//! A clone that lands after its guest was deleted would be left for ever, so a deletion is done only when none can land
//! any more.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use tokio::{
    sync::{Mutex as AsyncMutex, OwnedMutexGuard},
    time::Instant,
};

use super::{
    call_error::CallError,
    client::Client,
    identity::TASK_KEY,
    records::Task,
    task::{Progress, progress},
    value::Ref,
};
use crate::provider::Key;

#[derive(Clone, Debug)]
struct Flight {
    since: Instant,
    task: Option<Ref<Task>>,
}

/// What is known of clones under way, by guest and incarnation.
pub(super) struct Flights {
    connected: Instant,
    known: Mutex<HashMap<(String, u32), Flight>>,
}

fn id(key: &Key) -> (String, u32) {
    (key.guest.clone(), key.incarnation)
}

impl Flights {
    pub(super) fn new() -> Self {
        Self { connected: Instant::now(), known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<(String, u32), Flight>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A clone is about to be asked for.
    pub(super) fn begin(&self, key: &Key) {
        self.known().insert(id(key), Flight { since: Instant::now(), task: None });
    }

    /// Its task is known.
    pub(super) fn task(&self, key: &Key, task: &Ref<Task>) {
        if let Some(flight) = self.known().get_mut(&id(key)) {
            flight.task = Some(task.clone());
        }
    }

    /// Its outcome is known.
    pub(super) fn end(&self, key: &Key) {
        self.known().remove(&id(key));
    }

    /// Whether a clone for this incarnation or an earlier one, asked for by this process, may yet land.
    pub(super) async fn may_land(&self, client: &Client, key: &Key) -> Result<bool, CallError> {
        let flights: Vec<_> = self
            .known()
            .iter()
            .filter(|((guest, incarnation), _)| *guest == key.guest && *incarnation <= key.incarnation)
            .map(|(id, flight)| (id.clone(), flight.clone()))
            .collect();
        let mut any = false;
        for (id, flight) in flights {
            if self.is_flying(client, &flight).await? {
                any = true;
            } else {
                self.known().remove(&id);
            }
        }
        Ok(any)
    }

    /// Whether work with this mark is under way, whichever run of the operator began it.
    pub(super) async fn is_marked_pending(&self, client: &Client, mark: &str) -> Result<bool, CallError> {
        let tasks = client.all::<Task>().await?;
        let marked = |task: &Task| task.other_config.get(TASK_KEY).is_some_and(|found| found == mark);
        Ok(tasks.into_values().any(|task| marked(&task) && progress(task) == Progress::Pending))
    }

    async fn is_flying(&self, client: &Client, flight: &Flight) -> Result<bool, CallError> {
        if let Some(task) = &flight.task
            && let Some(record) = client.get::<Task>(task).await?
        {
            return Ok(progress(record) == Progress::Pending);
        }
        // Its task was never known, or is forgotten: it is one of those under way, if any.
        self.unknown_may_land(client, flight.since).await
    }

    /// Whether a clone that an earlier run of the operator asked for may yet land. Only the time just after connecting
    /// matters: what was asked for before has ended or has a task.
    /// A copy takes longer, and carries the guest's mark.
    pub(super) async fn inherited_may_land(&self, client: &Client, mark: &str) -> Result<bool, CallError> {
        Ok(self.unknown_may_land(client, self.connected).await? || self.is_marked_pending(client, mark).await?)
    }

    /// Whether a clone that was asked for at this time, its task unknown, may yet land: while it may be on its way to xapi,
    /// and then as long as xapi has clones under way that could be it. Our own clones are cancelled after a time.
    async fn unknown_may_land(&self, client: &Client, asked: Instant) -> Result<bool, CallError> {
        let age = asked.elapsed();
        Ok(age < client.timing.grace || (age < client.timing.task && self.unknown_clones(client).await?))
    }

    /// Whether clones are under way that are not known to be this process's.
    async fn unknown_clones(&self, client: &Client) -> Result<bool, CallError> {
        let tasks = client.all::<Task>().await?;
        let known = self.known();
        let ours = |task: &Ref<Task>| known.values().any(|flight| flight.task.as_ref() == Some(task));
        Ok(tasks.iter().any(|(task, record)| is_pending_clone(record) && !ours(task)))
    }
}

fn is_pending_clone(task: &Task) -> bool {
    matches!(task.name_label.trim_start_matches("Async."), "VM.clone" | "VM.copy" | "VDI.create")
        && progress(task.clone()) == Progress::Pending
}

/// One operation on a guest at a time.
#[derive(Default)]
pub(super) struct Turns {
    locks: Mutex<HashMap<String, Weak<AsyncMutex<()>>>>,
}

impl Turns {
    /// Waits for the guest's other operations to end. The turn lasts as long as the answer is held.
    pub(super) async fn take(&self, guest: &str) -> OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
            let lock = locks.get(guest).and_then(Weak::upgrade).unwrap_or_default();
            locks.retain(|_, lock| lock.strong_count() > 0);
            locks.insert(guest.to_owned(), Arc::downgrade(&lock));
            lock
        };
        lock.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::xapi::records::Map;

    #[test]
    fn only_pending_clones_count() {
        let task = |label: &str, status: &str| Task {
            name_label: label.into(),
            status: status.into(),
            progress: 0.0,
            created: String::new(),
            other_config: Map::default(),
            result: String::new(),
            error_info: vec![],
        };
        assert!(is_pending_clone(&task("Async.VM.clone", "pending")));
        assert!(is_pending_clone(&task("VM.clone", "cancelling")));
        assert!(
            is_pending_clone(&task("Async.VM.copy", "pending")) && is_pending_clone(&task("VDI.create", "pending"))
        );
        assert!(!is_pending_clone(&task("Async.VM.clone", "success")));
        assert!(!is_pending_clone(&task("Async.VM.start", "pending")));
    }

    #[tokio::test]
    async fn turns_are_taken_one_after_the_other_per_guest() {
        let turns = Turns::default();
        let first = turns.take("a").await;
        drop(turns.take("b").await);
        {
            let mut second = Box::pin(turns.take("a"));
            assert!(futures::poll!(second.as_mut()).is_pending());
            drop(first);
            second.await;
        }
        let _again = turns.take("a").await;
        assert_eq!(turns.locks.lock().unwrap().len(), 1);
    }
}
