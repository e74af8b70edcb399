//! The VMs of a pool, and which of them may be a guest's: asked for each guest at each step, in pools of thousands.

use std::{ops::Deref, sync::Arc};

use rpds::HashTrieMapSync;

use super::{
    identity,
    records::{GuestMetrics, Vm, VmMetrics},
    value::Ref,
    view::Table,
};

/// The VMs by reference, and by what they are asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Vms {
    all: Table<Vm>,
    /// Almost always one on each shelf, but for the unmarked.
    shelves: HashTrieMapSync<Shelf, Arc<[Ref<Vm>]>>,
}

/// What VMs are asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Shelf {
    /// The guest in the VM's own mark.
    Marked(String),
    /// No mark, and a name that is that of a clone under way: few.
    Unmarked,
    /// Of those, the guest in the name,
    Named(String),
    /// or a name of which it depends on who asks whose it is.
    Odd,
    /// What its guest's tools tell.
    GuestMetrics(Ref<GuestMetrics>),
    /// When it was started.
    Metrics(Ref<VmMetrics>),
}

impl Shelf {
    /// All that a VM is kept on.
    fn of(vm: &Vm) -> Vec<Self> {
        let (marked, unmarked) = match identity::marked_guest(vm) {
            Some(guest) => (Some(Self::Marked(guest)), None),
            None if identity::is_named_by_us(vm) => {
                let guest = identity::named_guest(&vm.name_label);
                (Some(Self::Unmarked), Some(guest.map_or(Self::Odd, |guest| Self::Named(guest.to_owned()))))
            }
            None => (None, None),
        };
        let told = (!vm.guest_metrics.is_null()).then(|| Self::GuestMetrics(vm.guest_metrics.clone()));
        let started = (!vm.metrics.is_null()).then(|| Self::Metrics(vm.metrics.clone()));
        [marked, unmarked, told, started].into_iter().flatten().collect()
    }
}

impl Vms {
    pub(super) fn insert(&mut self, reference: Ref<Vm>, vm: Arc<Vm>) -> Option<Arc<Vm>> {
        let new = Shelf::of(&vm);
        let old = self.all.get(&reference).cloned();
        let before = old.as_deref().map(Shelf::of).unwrap_or_default();
        before.iter().filter(|shelf| !new.contains(shelf)).for_each(|shelf| self.take(shelf, &reference));
        new.into_iter().filter(|shelf| !before.contains(shelf)).for_each(|shelf| self.put(shelf, &reference));
        self.all.insert_mut(reference, vm);
        old
    }

    pub(super) fn remove(&mut self, reference: &Ref<Vm>) -> Option<Arc<Vm>> {
        let old = self.all.get(reference).cloned()?;
        self.all.remove_mut(reference);
        for shelf in Shelf::of(&old) {
            self.take(&shelf, reference);
        }
        Some(old)
    }

    /// The VMs that may be this guest's; all that are, are among them.
    pub(super) fn perhaps_of(&self, guest: &str) -> impl Iterator<Item = (&Ref<Vm>, &Vm)> {
        let named = self.on(&Shelf::Named(guest.to_owned())).chain(self.on(&Shelf::Odd));
        self.on(&Shelf::Marked(guest.to_owned())).chain(named)
    }

    /// The VMs that may be clones under way; all that are, are among them.
    pub(super) fn perhaps_begun(&self) -> impl Iterator<Item = &Vm> {
        self.on(&Shelf::Unmarked).map(|(_, vm)| vm)
    }

    /// The VM of which this is told.
    pub(super) fn with_guest_metrics(&self, metrics: &Ref<GuestMetrics>) -> impl Iterator<Item = &Vm> {
        self.on(&Shelf::GuestMetrics(metrics.clone())).map(|(_, vm)| vm)
    }

    /// The VM of which this is measured.
    pub(super) fn with_metrics(&self, metrics: &Ref<VmMetrics>) -> impl Iterator<Item = &Vm> {
        self.on(&Shelf::Metrics(metrics.clone())).map(|(_, vm)| vm)
    }

    fn on(&self, kept: &Shelf) -> impl Iterator<Item = (&Ref<Vm>, &Vm)> + use<'_> {
        let references = self.shelves.get(kept).into_iter().flat_map(|all| all.iter());
        references.filter_map(|reference| Some((reference, &**self.all.get(reference)?)))
    }

    fn put(&mut self, kept: Shelf, reference: &Ref<Vm>) {
        let there = self.shelves.get(&kept).into_iter().flat_map(|all| all.iter());
        let all = there.chain([reference]).cloned().collect();
        self.shelves.insert_mut(kept, all);
    }

    fn take(&mut self, kept: &Shelf, reference: &Ref<Vm>) {
        let there = self.shelves.get(kept).into_iter().flat_map(|all| all.iter());
        let left: Arc<[_]> = there.filter(|one| *one != reference).cloned().collect();
        if left.is_empty() {
            self.shelves.remove_mut(kept);
        } else {
            self.shelves.insert_mut(kept.clone(), left);
        }
    }
}

impl From<Table<Vm>> for Vms {
    fn from(table: Table<Vm>) -> Self {
        let mut vms = Self::default();
        for (reference, vm) in &table {
            vms.insert(reference.clone(), Arc::clone(vm));
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
