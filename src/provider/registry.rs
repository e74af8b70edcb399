//! Which provider stands behind which pool right now.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use super::Provider;

/// The open connections by pool. The pool controller opens and closes them; others only look.
#[derive(Default)]
pub struct Registry(RwLock<HashMap<String, Entry>>);

/// What is known of a pool's connection.
#[derive(Clone)]
pub enum Entry {
    /// It is open.
    Open(Arc<dyn Provider>),
    /// There is none, for this reason.
    Closed(String),
}

impl Registry {
    /// The connection to a pool. `None`: the pool controller has not come to it yet.
    #[must_use]
    pub fn get(&self, pool: &str) -> Option<Entry> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(pool).cloned()
    }

    /// Notes what is known now, and returns the connection that was open before.
    pub fn set(&self, pool: &str, entry: Entry) -> Option<Arc<dyn Provider>> {
        let before = self.0.write().unwrap_or_else(PoisonError::into_inner).insert(pool.to_owned(), entry);
        before.and_then(Entry::open)
    }

    /// Forgets a pool, and returns the connection that was open.
    pub fn remove(&self, pool: &str) -> Option<Arc<dyn Provider>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(pool).and_then(Entry::open)
    }

    /// Takes all connections out, to close them.
    pub fn drain(&self) -> Vec<Arc<dyn Provider>> {
        let all = std::mem::take(&mut *self.0.write().unwrap_or_else(PoisonError::into_inner));
        all.into_values().filter_map(Entry::open).collect()
    }
}

impl Entry {
    fn open(self) -> Option<Arc<dyn Provider>> {
        match self {
            Self::Open(provider) => Some(provider),
            Self::Closed(_) => None,
        }
    }
}
