//! The VMs of a pool, and which of them may be a guest's: asked for each guest at each step, in pools of thousands.

use std::{collections::HashMap, ops::Deref, sync::Arc};

use super::{identity, records::Vm, value::Ref, view::Table};

/// The VMs by reference, and by what they say of the guest that they were made for, whoever made them.
#[derive(Clone, Debug, Default)]
pub(super) struct Vms {
    all: Table<Vm>,
    /// By the guest in the VM's own mark. Almost always one. Shared, so that another view costs no copies.
    marked: HashMap<Arc<str>, Arc<[Ref<Vm>]>>,
    /// Those without a mark whose name is that of a clone under way: few, and whose they are depends on who asks.
    unmarked: Vec<Ref<Vm>>,
}

/// Under what a VM is kept.
#[derive(PartialEq)]
enum Shelf {
    Marked(String),
    Unmarked,
    None,
}

impl Shelf {
    fn of(vm: &Vm) -> Self {
        match identity::marked_guest(vm) {
            Some(guest) => Self::Marked(guest),
            None if identity::is_named_by_us(vm) => Self::Unmarked,
            None => Self::None,
        }
    }
}

impl Vms {
    pub(super) fn insert(&mut self, reference: Ref<Vm>, vm: Arc<Vm>) -> Option<Arc<Vm>> {
        let new = Shelf::of(&vm);
        let old = self.all.insert(reference.clone(), vm);
        let before = old.as_deref().map_or(Shelf::None, Shelf::of);
        if before != new {
            self.take(before, &reference);
            self.put(new, reference);
        }
        old
    }

    pub(super) fn remove(&mut self, reference: &Ref<Vm>) -> Option<Arc<Vm>> {
        let old = self.all.remove(reference)?;
        self.take(Shelf::of(&old), reference);
        Some(old)
    }

    /// The VMs that may be this guest's; all that are, are among them.
    pub(super) fn perhaps_of(&self, guest: &str) -> impl Iterator<Item = (&Ref<Vm>, &Vm)> {
        let marked = self.marked.get(guest).into_iter().flat_map(|references| references.iter());
        marked.chain(&self.unmarked).filter_map(|reference| Some((reference, &**self.all.get(reference)?)))
    }

    /// The VMs that may be clones under way; all that are, are among them.
    pub(super) fn perhaps_begun(&self) -> impl Iterator<Item = &Vm> {
        self.unmarked.iter().filter_map(|reference| Some(&**self.all.get(reference)?))
    }

    fn put(&mut self, kept: Shelf, reference: Ref<Vm>) {
        match kept {
            Shelf::Marked(guest) => {
                let there = self.marked.entry(guest.into()).or_insert_with(|| Arc::new([]));
                *there = there.iter().cloned().chain([reference]).collect();
            }
            Shelf::Unmarked => self.unmarked.push(reference),
            Shelf::None => {}
        }
    }

    fn take(&mut self, kept: Shelf, reference: &Ref<Vm>) {
        match kept {
            Shelf::Marked(guest) => {
                if let Some(there) = self.marked.get_mut(guest.as_str()) {
                    *there = there.iter().filter(|one| *one != reference).cloned().collect();
                    if there.is_empty() {
                        self.marked.remove(guest.as_str());
                    }
                }
            }
            Shelf::Unmarked => self.unmarked.retain(|one| one != reference),
            Shelf::None => {}
        }
    }
}

impl From<Table<Vm>> for Vms {
    fn from(table: Table<Vm>) -> Self {
        let mut vms = Self::default();
        for (reference, vm) in table {
            vms.insert(reference, vm);
        }
        vms
    }
}

impl Extend<(Ref<Vm>, Arc<Vm>)> for Vms {
    fn extend<I: IntoIterator<Item = (Ref<Vm>, Arc<Vm>)>>(&mut self, vms: I) {
        for (reference, vm) in vms {
            self.insert(reference, vm);
        }
    }
}

impl Deref for Vms {
    type Target = Table<Vm>;

    fn deref(&self) -> &Table<Vm> {
        &self.all
    }
}

impl PartialEq for Vms {
    fn eq(&self, other: &Self) -> bool {
        self.all == other.all
    }
}

#[cfg(test)]
#[path = "vms_tests.rs"]
mod tests;
