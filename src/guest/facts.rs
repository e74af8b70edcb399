//! What a decision about a guest is made from: one immutable value.

use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt as _;

use super::{decide::remaining, mandate::Mandate};
use crate::{
    api::{
        Guest, GuestSpec, GuestStatus,
        guest::{Abandoned, Binding, Creation, Relocation},
        names::GUEST_FINALIZER,
        template::{PowerState, Size},
    },
    defect::Defect,
    provider::{ErrorKind, FirstBoot, GuestWish, Key, ObservedGuest, Power, ProviderError, Stage},
};

/// What the API server says of a guest.
#[derive(Clone, Debug)]
pub struct Subject {
    /// What its VM is found by, for the current incarnation.
    pub key: Key,
    /// Somebody deleted it.
    pub deleting: bool,
    /// When, by the API server's clock.
    pub deleted_at: Option<Timestamp>,
    /// Our finalizer is on it.
    pub held: bool,
    /// Should it run.
    pub wanted: PowerState,
    /// Where it is bound to, if the binding is for the current incarnation.
    pub binding: Option<Binding>,
    /// What was asked for in the current incarnation.
    pub creation: Option<Creation>,
    /// What the operator may do with its VM.
    pub mandate: Mandate,
    /// Its spec as it was read.
    pub spec: GuestSpec,
    /// Its status as it was read.
    pub status: GuestStatus,
}

impl Subject {
    /// Reads a guest.
    #[must_use]
    pub fn new(guest: &Guest) -> Self {
        let status = guest.status.clone().unwrap_or_default();
        let incarnation = guest.incarnation();
        Self {
            key: Key {
                guest: guest.identity().unwrap_or_default().to_owned(),
                incarnation,
                namespace: guest.namespace().unwrap_or_default(),
                name: guest.name_any(),
            },
            deleting: guest.metadata.deletion_timestamp.is_some(),
            deleted_at: guest.metadata.deletion_timestamp.as_ref().map(|time| time.0),
            held: guest.finalizers().iter().any(|entry| entry == GUEST_FINALIZER),
            wanted: guest.spec.template.power_state.unwrap_or_default(),
            binding: guest.binding().cloned(),
            creation: status.creation.clone().filter(|creation| creation.incarnation == incarnation),
            mandate: Mandate::new(&guest.spec, &status),
            spec: guest.spec.clone(),
            status,
        }
    }

    /// The decision to move its current VM, if there is one.
    #[must_use]
    pub fn relocation(&self) -> Option<&Relocation> {
        self.spec.relocation.as_ref().filter(|relocation| relocation.incarnation == self.key.incarnation)
    }

    /// The pool where its VM is or may be.
    #[must_use]
    pub fn pool(&self) -> Option<&str> {
        let creation = self.creation.as_ref().map(|creation| creation.pool.as_str());
        creation.or_else(|| self.binding.as_ref().map(|binding| binding.pool.as_str()))
    }

    /// Whether its VM has run, or may have: from then on its disks hold somebody's work. What is rented runs from the
    /// call that makes it; other VMs run when they are started, by us (which is noted before, in the guest's status or on
    /// the VM itself) or by somebody else.
    #[must_use]
    pub fn may_have_run(&self, vm: &ObservedGuest) -> bool {
        let started = self.creation.as_ref().is_some_and(|creation| creation.started);
        let rented = self.binding.as_ref().is_some_and(|binding| binding.instance_type.is_some());
        let shows = match vm.power {
            Power::Starting | Power::Running | Power::Stopping | Power::Suspended | Power::Paused | Power::Unknown => {
                true
            }
            Power::Stopped | Power::Terminating | Power::Terminated => false,
        };
        started || shows || vm.ever_started == Some(true) || (rented && vm.stage == Stage::Complete)
    }
}

/// What is known of the pool it is bound to.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "each run has one")]
pub enum Place {
    /// It is bound to none.
    Unbound,
    /// There is no such `CloudPool`.
    Missing {
        /// Its name.
        pool: String,
    },
    /// There is no connection to it.
    Unreachable {
        /// Its name.
        pool: String,
        /// Why, for people.
        why: String,
    },
    /// It can be asked.
    Open {
        /// Its name.
        pool: String,
        /// What the VM should be, or why that cannot be said.
        wish: Result<GuestWish, String>,
        /// How long after a lost answer a VM may still turn up.
        settling: Duration,
    },
}

/// What is known of its VM.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "each run has one")]
pub enum Sight {
    /// The provider was not asked, because there is none to ask.
    NotAsked,
    /// It is certainly not there.
    Absent,
    /// The provider did not say. It may be there.
    Unknown(Trouble),
    /// It is there.
    Known(ObservedGuest),
}

impl Sight {
    /// What a provider's answer means: a read that failed says nothing.
    #[must_use]
    pub fn of(answer: Result<Option<ObservedGuest>, Trouble>) -> Self {
        match answer {
            Ok(Some(vm)) => Self::Known(vm),
            Ok(None) => Self::Absent,
            Err(_) if Defect::FailedReadIsAbsent.is_planted() => Self::Absent,
            Err(trouble) => Self::Unknown(trouble),
        }
    }
}

/// What is known of what cloud-init is to be told.
#[derive(Clone, Debug)]
pub enum FirstBootSight {
    /// It was not read in this run.
    NotRead,
    /// It was read.
    Known(FirstBoot),
}

/// What is known of a VM that was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trace {
    /// It is there.
    Seen,
    /// It is certainly not there, or its `CloudPool` is gone.
    Gone,
    /// Its pool does not say, or what it says may be older than the VM.
    Silent,
}

impl Trace {
    /// What a read says of a VM that was given up. Nothing was asked of it since then, and reads lag behind for as long as the
    /// settling time: until that is over, one that is not seen may still be there.
    #[must_use]
    pub fn of(left: &Abandoned, found: Option<&ObservedGuest>, settling: Duration, now: Timestamp) -> Self {
        match found {
            Some(vm) if vm.key.incarnation == left.incarnation => Self::Seen,
            _ if remaining(left.at.0, settling, now).is_some() => Self::Silent,
            _ => Self::Gone,
        }
    }
}

/// A provider's failure, as far as decisions need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What kind it is.
    pub kind: ErrorKind,
    /// For people.
    pub message: String,
    /// When the provider wants to be asked again.
    pub retry_after: Option<Duration>,
}

impl From<&ProviderError> for Trouble {
    fn from(error: &ProviderError) -> Self {
        Self { kind: error.kind, message: error.to_string(), retry_after: error.retry_after }
    }
}

/// All of it.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Facts {
    /// The guest.
    pub subject: Subject,
    /// Its pool.
    pub place: Place,
    /// Its VM.
    pub vm: Sight,
    /// What cloud-init is to be told.
    pub first_boot: FirstBootSight,
    /// The size of the type that it is bound to, where the pool rents out types and knows it.
    pub type_size: Option<Size>,
    /// An administrator vouches that nothing runs in its pool.
    pub fenced: bool,
    /// Name of the host that it is to move to, where it is known and only one has it.
    pub target: Option<String>,
    /// VMs that were given up.
    pub abandoned: Vec<(Abandoned, Trace)>,
    /// The provider said in this run that nothing of it is left.
    pub erased: bool,
    /// The provider said in this run that it is nobody's now.
    pub released: bool,
    /// Its VM was seen in this run before it was erased.
    pub met: bool,
    /// This incarnation was asked for once, in this run, and the provider said that it was not made.
    pub answered: bool,
    /// The provider was asked in this run to stop it.
    pub asked_to_stop: bool,
    /// The time.
    pub now: Timestamp,
}

impl Facts {
    /// The same run with what is seen now.
    #[must_use]
    pub fn seen_anew(&self, now: Self) -> Self {
        let Self { erased, released, met, answered, asked_to_stop, .. } = *self;
        Self { first_boot: self.first_boot.clone(), erased, released, met, answered, asked_to_stop, ..now }
    }
}
