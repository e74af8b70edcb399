//! The methods of the API that this driver uses: all of them, and nothing else is ever called.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use crate::provider::rented::{bucket::Rate, retry::Effect};

/// A method of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, strum::IntoStaticStr, strum::VariantArray)]
#[allow(missing_docs, reason = "the names are Google's own")]
pub enum Action {
    #[strum(serialize = "disks.aggregatedList")]
    ListDisks,
    #[strum(serialize = "disks.delete")]
    DeleteDisk,
    #[strum(serialize = "disks.insert")]
    InsertDisk,
    #[strum(serialize = "disks.resize")]
    ResizeDisk,
    #[strum(serialize = "disks.setLabels")]
    LabelDisk,
    #[strum(serialize = "images.get")]
    GetImage,
    #[strum(serialize = "images.getFromFamily")]
    GetImageFromFamily,
    #[strum(serialize = "instances.aggregatedList")]
    ListInstances,
    #[strum(serialize = "instances.attachDisk")]
    AttachDisk,
    #[strum(serialize = "instances.delete")]
    DeleteInstance,
    #[strum(serialize = "instances.get")]
    GetInstance,
    #[strum(serialize = "instances.insert")]
    InsertInstance,
    #[strum(serialize = "instances.resume")]
    ResumeInstance,
    #[strum(serialize = "instances.setDeletionProtection")]
    ProtectInstance,
    #[strum(serialize = "instances.setLabels")]
    LabelInstance,
    #[strum(serialize = "instances.setMachineType")]
    SetMachineType,
    #[strum(serialize = "instances.start")]
    StartInstance,
    #[strum(serialize = "instances.stop")]
    StopInstance,
    #[strum(serialize = "instances.suspend")]
    SuspendInstance,
    #[strum(serialize = "instances.testIamPermissions")]
    TestPermissions,
    #[strum(serialize = "machineTypes.aggregatedList")]
    ListMachineTypes,
    #[strum(serialize = "zoneOperations.get")]
    GetOperation,
}

/// Which bucket a call draws from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Read,
    Operation,
    Change,
}

impl Class {
    pub(super) const ALL: [Self; 3] = [Self::Read, Self::Operation, Self::Change];

    /// Two thirds of what Google allows a project in each of these groups by default, 1500 calls a minute; others share it.
    pub(super) const fn rate(self) -> Rate {
        match self {
            Self::Read | Self::Operation => Rate { per_second: 16.0, burst: 100.0 },
            Self::Change => Rate { per_second: 16.0, burst: 50.0 },
        }
    }
}

impl Action {
    /// Google's name of it.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    pub(super) const fn class(self) -> Class {
        match self {
            Self::GetOperation => Class::Operation,
            Self::ListDisks
            | Self::GetImage
            | Self::GetImageFromFamily
            | Self::ListInstances
            | Self::GetInstance
            | Self::TestPermissions
            | Self::ListMachineTypes => Class::Read,
            _ => Class::Change,
        }
    }

    pub(super) const fn effect(self) -> Effect {
        match self.class() {
            Class::Change => Effect::Write,
            Class::Read | Class::Operation => Effect::Read,
        }
    }
}

/// How often each method was called.
#[derive(Debug, Default)]
pub struct Calls(Mutex<BTreeMap<Action, u64>>);

impl Calls {
    pub(super) fn count(&self, action: Action) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(action).or_default() += 1;
    }

    /// The counts so far.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<Action, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
