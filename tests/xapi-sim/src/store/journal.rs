//! What a crash of the coordinator undoes: the newest writes, which xapi keeps in memory for a while.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Row, Store};
use crate::value::Value;

/// xapi coalesces its writes to disk for five minutes: nothing older can be lost by a crash.
const JOURNAL_SPAN: Duration = Duration::from_mins(5);

/// The newest writes, the oldest first.
pub(super) type Journal = VecDeque<Change>;

/// One write and what was there before it.
#[derive(Debug)]
pub(super) struct Change {
    at: Instant,
    generation_before: u64,
    class: Arc<str>,
    reference: Arc<str>,
    before: Before,
}

/// What an object was before a write.
#[derive(Debug)]
pub(super) enum Before {
    /// It was not there.
    Nothing,
    /// It was there, and is no more.
    Row(Arc<Row>),
    /// One of its fields was another, and its newest change an older one.
    Field { name: Arc<str>, was: Option<Value>, modified: u64 },
}

impl Before {
    /// The row as it was, from the one that is there.
    fn row(self, current: Option<&Arc<Row>>) -> Option<Arc<Row>> {
        match self {
            Self::Nothing => None,
            Self::Row(row) => Some(row),
            Self::Field { name, was, modified } => current.map(|current| {
                let mut fields = (*current.fields).clone();
                match was {
                    Some(value) => fields.insert(name, value),
                    None => fields.remove(&name),
                };
                Arc::new(Row { fields: Arc::new(fields), created: current.created, modified })
            }),
        }
    }
}

impl Store {
    pub(super) fn remember(&mut self, class: &Arc<str>, reference: &Arc<str>, before: Before) {
        let now = Instant::now();
        while self.journal.front().is_some_and(|c| now.duration_since(c.at) > JOURNAL_SPAN) {
            self.journal.pop_front();
        }
        self.journal.push_back(Change {
            at: now,
            generation_before: self.generation,
            class: class.clone(),
            reference: reference.clone(),
            before,
        });
    }

    /// Undoes every write of the last `span`, as a coordinator that dies without flushing its database does.
    pub(crate) fn lose(&mut self, span: Duration) -> usize {
        let now = Instant::now();
        let mut undone = 0;
        while self.journal.back().is_some_and(|c| now.duration_since(c.at) <= span) {
            let Some(change) = self.journal.pop_back() else { break };
            self.restore(change);
            undone += 1;
        }
        undone
    }

    fn restore(&mut self, change: Change) {
        let Some(table) = self.tables.get_mut(&change.class) else { return };
        let current = table.rows.remove(&change.reference);
        let before = change.before.row(current.as_ref());
        if let Some(current) = current {
            table.by_modified.remove(&current.modified);
            table.by_uuid.remove(current.get("uuid").as_str());
        }
        if let Some(before) = &before {
            table.by_modified.insert(before.modified, change.reference.clone());
            table.by_uuid.insert(Arc::from(before.get("uuid").as_str()), change.reference.clone());
            table.rows.insert(change.reference.clone(), before.clone());
        }
        while table.deletions.back().is_some_and(|d| d.at > change.generation_before) {
            table.deletions.pop_back();
        }
        if let Some(before) = before {
            self.note_booking(&change.class, &change.reference, &before);
        }
        self.generation = change.generation_before;
    }

    /// Forgets what a crash could undo: everything is on disk now.
    pub(crate) fn flush(&mut self) {
        self.journal.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Model;
    use crate::value::{Map, Value};

    #[test]
    fn a_crash_brings_back_rows_relations_and_generation() {
        let mut store = Store::new(Model::load().unwrap());
        let vm = store.insert("VM", Map::new());
        store.flush();
        let before = store.generation;
        let vbd = store.insert("VBD", std::iter::once((Arc::from("VM"), Value::Str(vm.clone()))).collect::<Map>());
        store.set("VM", &vm, "name_label", "new").unwrap();
        let other = store.insert("VM", Map::new());
        store.remove("VM", &vm).unwrap();
        store.lose(JOURNAL_SPAN);
        assert_eq!(store.generation, before);
        assert_eq!(store.text("VM", &vm, "name_label"), "");
        assert!(store.refs_in("VM", &vm, "VBDs").is_empty());
        assert!(!store.exists("VBD", &vbd) && !store.exists("VM", &other));
        assert!(store.table("VM").unwrap().deletions.is_empty());
    }
}
