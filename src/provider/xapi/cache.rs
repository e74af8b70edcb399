//! Keeping a view of the pool up to date from its events. Pure.
//!
//! xapi folds changes: each object is in a batch once, with its newest record. Of deletions it remembers only the last few
//! hundred, and loses older ones without a word; but each batch says how many objects there are.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::value::RawValue;

use super::{
    identity,
    records::{GuestMetrics, Host, Record, Task, Vbd, Vdi, Vm, VmMetrics},
    value::Ref,
    view::{Table, View, kept},
    vms::Vms,
};
use crate::provider::{Change, Key, Owner};

/// The classes that are followed, as `event.from` wants and names them. Only what is used: others are chatty.
pub(super) const CLASSES: [&str; 9] =
    ["pool", "host", "host_metrics", "vm", "vm_metrics", "vm_guest_metrics", "vbd", "vdi", "task"];

/// The records of a class, as an event changes them.
trait Records<T> {
    fn insert(&mut self, reference: Ref<T>, record: Arc<T>) -> Option<Arc<T>>;
    fn remove(&mut self, reference: &Ref<T>) -> Option<Arc<T>>;
}

impl<T> Records<T> for Table<T> {
    fn insert(&mut self, reference: Ref<T>, record: Arc<T>) -> Option<Arc<T>> {
        let old = self.get(&reference).cloned();
        self.insert_mut(reference, record);
        old
    }

    fn remove(&mut self, reference: &Ref<T>) -> Option<Arc<T>> {
        let old = self.get(reference).cloned()?;
        self.remove_mut(reference);
        Some(old)
    }
}

impl Records<Vm> for Vms {
    fn insert(&mut self, reference: Ref<Vm>, vm: Arc<Vm>) -> Option<Arc<Vm>> {
        Self::insert(self, reference, vm)
    }

    fn remove(&mut self, reference: &Ref<Vm>) -> Option<Arc<Vm>> {
        Self::remove(self, reference)
    }
}

/// What `event.from` answers.
#[derive(Debug, Deserialize)]
pub(super) struct Batch {
    #[serde(default)]
    pub(super) events: Vec<Event>,
    #[serde(default, deserialize_with = "counts")]
    valid_ref_counts: BTreeMap<String, u64>,
    pub(super) token: String,
}

/// A change of one object.
#[derive(Debug, Deserialize)]
pub(super) struct Event {
    pub(super) class: String,
    operation: String,
    #[serde(rename = "ref")]
    pub(super) reference: String,
    /// Read when it is known of which class it is: most of a record is of no use here, and never becomes a value.
    #[serde(default)]
    snapshot: Option<Box<RawValue>>,
}

fn counts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, u64>, D::Error> {
    #[derive(Deserialize)]
    struct Count(#[serde(deserialize_with = "super::value::natural")] u64);
    let counts = BTreeMap::<String, Count>::deserialize(deserializer).map_err(D::Error::custom)?;
    Ok(counts.into_iter().map(|(class, Count(n))| (class.to_ascii_lowercase(), n)).collect())
}

/// What an event did to the view.
#[derive(Debug, PartialEq)]
pub(super) enum Effect {
    /// Nothing that is used here changed.
    None,
    /// A VM changed from this to that.
    Vm(Option<Arc<Vm>>, Option<Arc<Vm>>),
    /// A guest's tools told something new.
    GuestMetrics(Ref<GuestMetrics>),
    /// A VM was started.
    VmMetrics(Ref<VmMetrics>),
    /// A VM's drive came, went or changed.
    Drive(Option<Arc<Vbd>>, Option<Arc<Vbd>>),
    /// A disk grew, or changed in another way.
    Disk(Arc<Vdi>),
    /// Whether a host is alive, or what it has, changed.
    Host(Ref<Host>),
    /// The pool changed.
    Pool,
    /// A task went on; `None`: it is gone.
    Task(Ref<Task>, Option<Task>),
}

impl Event {
    /// Puts the event into the view. An object's record that cannot be read is an error: it must not look absent.
    pub(super) fn apply(self, view: &mut View) -> Result<Effect, serde_json::Error> {
        Ok(match self.class.to_ascii_lowercase().as_str() {
            "vm" => match self.put(&mut view.vms)? {
                Some((_, old, new)) => Effect::Vm(old, new),
                None => Effect::None,
            },
            "vm_guest_metrics" => {
                self.put(&mut view.guest_metrics)?.map_or(Effect::None, |(r, ..)| Effect::GuestMetrics(r))
            }
            "vm_metrics" => self.put(&mut view.vm_metrics)?.map_or(Effect::None, |(r, ..)| Effect::VmMetrics(r)),
            "vbd" => self.put(&mut view.vbds)?.map_or(Effect::None, |(_, old, new)| Effect::Drive(old, new)),
            "vdi" => self.put(&mut view.vdis)?.and_then(|(_, old, new)| new.or(old)).map_or(Effect::None, Effect::Disk),
            "host" => self.put(&mut view.hosts)?.map_or(Effect::None, |(r, ..)| Effect::Host(r)),
            "host_metrics" => {
                let changed = self.put(&mut view.host_metrics)?.map(|(r, ..)| r);
                let host = changed.and_then(|metrics| view.hosts.iter().find(|(_, host)| host.metrics == metrics));
                host.map_or(Effect::None, |(r, _)| Effect::Host(r.clone()))
            }
            "pool" => self.put(&mut view.pools)?.map_or(Effect::None, |_| Effect::Pool),
            "task" => match self.record::<Task>()? {
                Some(task) => Effect::Task(Ref::new(self.reference), Some(task)),
                None if self.is_deletion() => Effect::Task(Ref::new(self.reference), None),
                None => Effect::None,
            },
            _ => Effect::None,
        })
    }

    fn is_deletion(&self) -> bool {
        self.operation.eq_ignore_ascii_case("del")
    }

    fn record<T: Record>(&self) -> Result<Option<T>, serde_json::Error> {
        if self.is_deletion() {
            return Ok(None);
        }
        self.snapshot.as_deref().map(|record| serde_json::from_str(record.get())).transpose()
    }

    /// Replaces or removes the object; what it was and is, where that differs.
    #[allow(clippy::type_complexity)] // The pair of what was and what is needs no name.
    fn put<T: Record>(
        self,
        table: &mut impl Records<T>,
    ) -> Result<Option<(Ref<T>, Option<Arc<T>>, Option<Arc<T>>)>, serde_json::Error> {
        let new = self.record::<T>()?.as_ref().map(kept);
        let deletion = self.is_deletion();
        let reference = Ref::<T>::new(self.reference);
        let old = match &new {
            Some(record) => table.insert(reference.clone(), Arc::clone(record)),
            None if deletion => table.remove(&reference),
            // A change without a record: the object ended in between, and its deletion follows.
            None => return Ok(None),
        };
        Ok((old != new).then_some((reference, old, new)))
    }
}

impl Batch {
    /// Whether the view holds as many objects as the pool: where it does not, a deletion was lost.
    pub(super) fn agrees_with(counts: &BTreeMap<String, u64>, view: &View) -> bool {
        let held = [
            ("pool", view.pools.size()),
            ("host", view.hosts.size()),
            ("host_metrics", view.host_metrics.size()),
            ("vm", view.vms.size()),
            ("vm_guest_metrics", view.guest_metrics.size()),
            ("vm_metrics", view.vm_metrics.size()),
            ("vbd", view.vbds.size()),
            ("vdi", view.vdis.size()),
        ];
        held.iter().all(|(class, n)| counts.get(*class).is_none_or(|count| usize::try_from(*count) == Ok(*n)))
    }

    /// Puts all events into the view.
    pub(super) fn apply(self, view: &mut View) -> Result<Applied, serde_json::Error> {
        let effects = self.events.into_iter().map(|event| event.apply(view)).collect::<Result<Vec<_>, _>>()?;
        Ok(Applied { agrees: Self::agrees_with(&self.valid_ref_counts, view), effects, token: self.token })
    }
}

/// What a batch did.
#[derive(Debug)]
pub(super) struct Applied {
    pub(super) effects: Vec<Effect>,
    pub(super) token: String,
    /// Whether the view then holds as many objects as the pool.
    pub(super) agrees: bool,
}

/// What the rest of the operator is told of these effects, each thing once.
pub(super) fn changes(effects: &[Effect], view: &View, owner: &Owner) -> Vec<Change> {
    let mut told: HashSet<Option<(String, String)>> = HashSet::new();
    let mut changes = Vec::new();
    let mut tell = |key: Option<&Key>| {
        let name = key.map(|key| (key.namespace.clone(), key.name.clone()));
        if told.insert(name.clone()) {
            changes.push(match name {
                Some((namespace, name)) => Change::Guest { namespace, name },
                None => Change::Pool,
            });
        }
    };
    let tell_of = |vm: &Vm, tell: &mut dyn FnMut(Option<&Key>)| {
        if let Some(key) = identity::claim(owner, vm).key() {
            tell(Some(key));
        }
    };
    for effect in effects {
        match effect {
            Effect::Vm(old, new) => {
                for vm in [old, new].into_iter().flatten() {
                    tell(identity::claim(owner, vm).key());
                }
                // Our guests take room too.
                if moves_memory(old.as_deref(), new.as_deref()) {
                    tell(None);
                }
            }
            Effect::GuestMetrics(metrics) => {
                view.vms.with_guest_metrics(metrics).for_each(|vm| tell_of(vm, &mut tell));
            }
            Effect::VmMetrics(metrics) => {
                view.vms.with_metrics(metrics).for_each(|vm| tell_of(vm, &mut tell));
            }
            Effect::Drive(old, new) => {
                let vms = [old, new].into_iter().flatten().filter_map(|vbd| view.vms.get(&vbd.vm));
                vms.for_each(|vm| tell_of(vm, &mut tell));
            }
            Effect::Disk(disk) => {
                let vbds = disk.vbds.iter().filter_map(|vbd| view.vbds.get(vbd));
                vbds.filter_map(|vbd| view.vms.get(&vbd.vm)).for_each(|vm| tell_of(vm, &mut tell));
            }
            Effect::Host(host) => {
                tell(None);
                view.vms.values().filter(|vm| vm.resident_on == *host).for_each(|vm| tell_of(vm, &mut tell));
            }
            Effect::Pool => tell(None),
            Effect::None | Effect::Task(..) => {}
        }
    }
    changes
}

fn moves_memory(old: Option<&Vm>, new: Option<&Vm>) -> bool {
    let place = |vm: Option<&Vm>| {
        vm.filter(|vm| !(vm.resident_on.is_null() && vm.scheduled_to_be_resident_on.is_null())).map(|vm| {
            let size = vm.memory_dynamic_min + vm.memory_overhead;
            (vm.resident_on.clone(), vm.scheduled_to_be_resident_on.clone(), size)
        })
    };
    place(old) != place(new)
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
