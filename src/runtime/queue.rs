//! A controller's queue: names of objects that need a look, and since when each waits.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use kube::{Resource, api::DynamicObject, runtime::reflector::ObjectRef};
use tokio::sync::mpsc;

/// Since when objects wait for a run.
pub(super) struct Waiting<K: Resource<DynamicType = ()>>(Mutex<HashMap<ObjectRef<K>, Instant>>);

impl<K: Resource<DynamicType = ()>> Waiting<K>
where
    ObjectRef<K>: Hash + Eq,
{
    fn map(&self) -> MutexGuard<'_, HashMap<ObjectRef<K>, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its run begins. Returns since when it waited, where somebody had asked for the run.
    pub(super) fn begins(&self, object: &ObjectRef<K>) -> Option<Instant> {
        self.map().remove(object)
    }

    /// It is not there any more.
    pub(super) fn forget(&self, object: &ObjectRef<DynamicObject>) {
        let mut gone = ObjectRef::new(&object.name);
        gone.namespace.clone_from(&object.namespace);
        self.map().remove(&gone);
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.map().len()
    }
}

/// The writing end: names objects that need a look.
pub struct Nudge<K: Resource<DynamicType = ()>> {
    sender: mpsc::UnboundedSender<ObjectRef<K>>,
    waiting: Arc<Waiting<K>>,
    is_open: Arc<AtomicBool>,
}

impl<K: Resource<DynamicType = ()>> Clone for Nudge<K> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), waiting: Arc::clone(&self.waiting), is_open: Arc::clone(&self.is_open) }
    }
}

impl<K: Resource<DynamicType = ()>> Nudge<K>
where
    ObjectRef<K>: Hash + Eq,
{
    /// Asks for a look at this object. Does nothing while nobody reads the queue.
    pub fn look_at(&self, object: ObjectRef<K>) {
        if self.is_open.load(Ordering::Acquire) {
            self.waiting.map().entry(object.clone()).or_insert_with(Instant::now);
            let _ = self.sender.send(object);
        }
    }

    /// From now on the queue is read: all objects that there are need a look first. Before, names would only pile up.
    pub fn open(&self, all: impl IntoIterator<Item = ObjectRef<K>>) {
        self.is_open.store(true, Ordering::Release);
        all.into_iter().for_each(|object| self.look_at(object));
    }
}

/// The reading end.
pub struct Queue<K: Resource<DynamicType = ()>> {
    receiver: mpsc::UnboundedReceiver<ObjectRef<K>>,
    waiting: Arc<Waiting<K>>,
}

impl<K: Resource<DynamicType = ()>> Queue<K> {
    pub(super) fn waiting(&self) -> Arc<Waiting<K>> {
        Arc::clone(&self.waiting)
    }

    pub(super) fn into_receiver(self) -> mpsc::UnboundedReceiver<ObjectRef<K>> {
        self.receiver
    }
}

/// A closed queue. It never holds an object twice for long: the controller's loop folds repeated names into one run.
#[must_use]
pub fn queue<K: Resource<DynamicType = ()>>() -> (Nudge<K>, Queue<K>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let waiting = Arc::new(Waiting(Mutex::default()));
    let nudge = Nudge { sender, waiting: Arc::clone(&waiting), is_open: Arc::default() };
    (nudge, Queue { receiver, waiting })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::CloudPool;

    #[test]
    fn names_are_kept_from_the_opening_on() {
        let (nudge, mut queue) = queue::<CloudPool>();
        nudge.look_at(ObjectRef::new("early"));
        nudge.open([ObjectRef::new("a"), ObjectRef::new("b")]);
        nudge.look_at(ObjectRef::new("a"));
        let mut names = Vec::new();
        while let Ok(object) = queue.receiver.try_recv() {
            names.push(object.name);
        }
        assert_eq!(names, ["a", "b", "a"]);
        assert_eq!(queue.waiting.len(), 2);
        assert!(queue.waiting.begins(&ObjectRef::new("a")).is_some());
        assert!(queue.waiting.begins(&ObjectRef::new("a")).is_none());
        queue.waiting.forget(&ObjectRef::<CloudPool>::new("b").erase());
        assert_eq!(queue.waiting.len(), 0);
    }
}
