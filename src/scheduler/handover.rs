//! Reasons for bindings, on their way from the scheduler to the guest controller.
//!
//! A binding is written to the spec and the reasons for it to the status: two writes. The guest controller writes the
//! status a moment later anyway, before it asks the provider for the VM, and takes the reasons along. Should the operator
//! be cut off in between, the binding stands without them, and the scheduler writes what can still be said.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use kube::ResourceExt as _;

use super::status::OwnStatus;
use crate::api::{Guest, guest::Binding};

/// What the scheduler leaves to the guest controller.
#[derive(Debug, Default)]
pub struct Handover {
    /// Reasons that are not written yet, by the guest's UID.
    reasons: Mutex<HashMap<String, (Binding, OwnStatus)>>,
    /// When it last wrote where a guest is to be, or why nowhere.
    spoke: Mutex<Option<Timestamp>>,
}

impl Handover {
    fn map(&self) -> MutexGuard<'_, HashMap<String, (Binding, OwnStatus)>> {
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It was written of a guest where it is to be, or why nowhere.
    pub fn speaks(&self, now: Timestamp) {
        *self.spoke.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
    }

    /// When that was last written, of any guest.
    #[must_use]
    pub fn spoke(&self) -> Option<Timestamp> {
        *self.spoke.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves the reasons for a binding that was just written.
    pub fn leave(&self, uid: String, binding: Binding, reasons: OwnStatus) {
        self.map().insert(uid, (binding, reasons));
    }

    /// The reasons for the binding that this guest has.
    #[must_use]
    pub fn of(&self, guest: &Guest) -> Option<OwnStatus> {
        let (uid, binding) = (guest.uid()?, guest.spec.binding.as_ref()?);
        self.map().get(&uid).filter(|(of, _)| of == binding).map(|(_, reasons)| reasons.clone())
    }

    /// They are written.
    pub fn written(&self, guest: &Guest) {
        if let Some(uid) = guest.uid() {
            self.map().remove(&uid);
        }
    }

    /// The guests whose reasons are still to be written. Those of guests that are gone are dropped.
    #[must_use]
    pub fn pending(&self, is_there: impl Fn(&str) -> bool) -> Vec<String> {
        let mut map = self.map();
        map.retain(|uid, _| is_there(uid));
        map.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::testing::guest, *};

    #[test]
    fn reasons_are_for_one_binding_of_one_guest() {
        let bound = |pool: &str| guest("web-0", &json!({ "spec": { "binding": { "pool": pool, "incarnation": 1 } } }));
        let (here, there, handover) = (bound("home"), bound("rented"), Handover::default());
        handover.leave("web-0".into(), here.spec.binding.clone().unwrap(), OwnStatus::default());
        assert_eq!(handover.of(&here), Some(OwnStatus::default()));
        assert_eq!(handover.of(&there), None);
        assert_eq!(handover.pending(|_| true), ["web-0"]);
        handover.written(&here);
        assert_eq!((handover.of(&here), handover.pending(|_| true).len()), (None, 0));
    }

    #[test]
    fn guests_that_are_gone_are_dropped() {
        let (object, handover) =
            (guest("web-0", &json!({ "spec": { "binding": { "pool": "a", "incarnation": 1 } } })), Handover::default());
        handover.leave("web-0".into(), object.spec.binding.clone().unwrap(), OwnStatus::default());
        assert!(handover.pending(|_| false).is_empty());
        assert_eq!(handover.of(&object), None);
    }
}
