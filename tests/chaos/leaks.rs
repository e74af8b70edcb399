//! That operators leave no more in the memory of a Xen pool than they were kept from taking along.
//!
//! A pool tells nobody of the sessions of others, so the next operator cannot end that of one that was killed: xapi does after a
//! day, and forgets a finished task after 65 minutes. What may be left is counted from the kills and the faults of a run.

use std::{collections::BTreeSet, time::Duration};

use fault_proxy::{Entry, Outcome};

use crate::world::{Way, World, until};

/// Tasks that one operator has under way at most in a scenario: one for each guest, and one to spare.
const UNDER_WAY: usize = 4;
/// Sessions that an operator has at most: the one in use, and one that it is ending.
const SESSIONS: usize = 2;
const SOON: Duration = Duration::from_secs(20);

/// What there was before a run.
pub struct Before {
    sessions: BTreeSet<String>,
    tasks: BTreeSet<String>,
    operators: usize,
    entry: u64,
}

/// What is left of a run, and how much of it may be.
#[derive(Debug)]
struct Left {
    pending: usize,
    finished: usize,
    finished_may: usize,
    sessions: usize,
    sessions_may: usize,
}

impl Before {
    pub fn of(world: &World) -> Self {
        Self {
            sessions: world.truth.sessions(),
            tasks: world.truth.tasks().into_keys().collect(),
            operators: world.operators(),
            entry: world.proxy(Way::Xen).log(0).last().map_or(0, |entry| entry.number),
        }
    }

    /// Looks while the run's last operator is still there.
    pub fn is_all_that_is_left(&self, world: &World) -> Result<(), String> {
        let mut left = self.left(world);
        let explained = || {
            left = self.left(world);
            left.is_explained().then_some(())
        };
        let waited = until("the Xen pool has no task and no session too many", SOON, explained);
        waited.map_err(|late| format!("{late}: {left:?}"))
    }

    fn left(&self, world: &World) -> Left {
        let killed = world.operators() - self.operators - 1;
        let log = world.proxy(Way::Xen).log(self.entry);
        let failed = |of: &[&str]| {
            let is_meant = |entry: &&Entry| of.iter().any(|prefix| entry.action.starts_with(prefix));
            log.iter().filter(is_meant).filter(|entry| entry.outcome != Outcome::Passed).count()
        };
        let sessions = world.truth.sessions();
        let tasks = world.truth.tasks();
        let (finished, pending): (Vec<_>, Vec<_>) = tasks
            .iter()
            .filter(|(reference, _)| !self.tasks.contains(*reference))
            .partition(|(_, task)| !["pending", "cancelling"].contains(&task["status"].as_str().unwrap()));
        Left {
            pending: pending.len(),
            finished: finished.len(),
            finished_may: killed * UNDER_WAY + failed(&["Async.", "task."]),
            sessions: sessions.difference(&self.sessions).count(),
            sessions_may: killed * SESSIONS + 1 + failed(&["session."]),
        }
    }
}

impl Left {
    fn is_explained(&self) -> bool {
        self.pending == 0 && self.finished <= self.finished_may && self.sessions <= self.sessions_may
    }
}
