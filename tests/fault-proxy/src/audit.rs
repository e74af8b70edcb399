//! What came through the proxy and what became of it.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::Serialize;

/// Entries kept. Older ones go.
const KEPT: usize = 100_000;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Still with the server, or waiting.
    Pending,
    /// The client was given the server's reply.
    Passed,
    /// The client was given a reply of the proxy's own. The server did not see the request.
    Answered,
    /// The server did not see the request, and the client got no reply.
    NotSent,
    /// The server replied, and the client did not get the reply whole.
    ReplyLost,
    /// The server could not be reached.
    Unreachable,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Counts up from 1.
    pub number: u64,
    /// HTTP method.
    pub method: String,
    /// Path without its query.
    pub path: String,
    /// The action that it asks for.
    pub action: String,
    /// The rule that it met.
    pub rule: Option<String>,
    /// The status that the server replied.
    pub status: Option<u16>,
    /// What became of it.
    pub outcome: Outcome,
}

#[derive(Debug, Default)]
pub(crate) struct Audit {
    numbers: AtomicU64,
    entries: Mutex<VecDeque<Entry>>,
}

impl Audit {
    fn entries(&self) -> MutexGuard<'_, VecDeque<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a request and answers its number.
    pub(crate) fn came(&self, method: &str, path: &str, action: &str, rule: Option<&str>) -> u64 {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed) + 1;
        let mut entries = self.entries();
        if entries.len() == KEPT {
            entries.pop_front();
        }
        entries.push_back(Entry {
            number,
            method: method.to_owned(),
            path: path.to_owned(),
            action: action.to_owned(),
            rule: rule.map(str::to_owned),
            status: None,
            outcome: Outcome::Pending,
        });
        number
    }

    pub(crate) fn became(&self, number: u64, status: Option<u16>, outcome: Outcome) {
        if let Some(entry) = self.entries().iter_mut().rev().find(|entry| entry.number == number) {
            (entry.status, entry.outcome) = (status, outcome);
        }
    }

    /// Entries with a higher number than this.
    pub(crate) fn since(&self, number: u64) -> Vec<Entry> {
        self.entries().iter().filter(|entry| entry.number > number).cloned().collect()
    }
}
