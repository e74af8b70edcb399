//! The one interface to everything that can run a guest, and the words it may answer with.
//!
//! A driver keeps five promises (they are checked by the contract tests):
//!
//! 1. **Identity first.** A guest's [`Key`] is in the very call that creates its VM, so that a run after a crash finds
//!    what the last one made. Every operation here may be repeated.
//! 2. **Absent is a fact.** [`Provider::find`] answers `Ok(None)` only where the provider said so after a complete read.
//!    Everything else is an error, and an error is never taken for absence.
//! 3. **Nothing foreign is touched.** A VM without our owner's mark, or whose mark was copied along with a clone, is not
//!    ours, whatever it is named.
//! 4. **Every call ends.** Each request has a deadline. Where a request with effects ran into it, the error's kind is
//!    [`ErrorKind::UnknownOutcome`].
//! 5. **No secrets in words.** Credentials appear in no error, log line or debug print.

#[cfg(feature = "ec2")]
pub mod ec2;
mod error;
#[cfg(feature = "gce")]
pub mod gce;
mod inventory;
mod model;
mod observe;
#[cfg(feature = "openstack")]
pub mod openstack;
mod prices;
mod registry;
#[cfg(any(feature = "ec2", feature = "gce", feature = "openstack"))]
mod rented;
pub mod xapi;

pub use error::{ErrorKind, ProviderError, Result};
pub use inventory::{
    GuestUse, HostInventory, ImageFact, Inventory, MemoryOverhead, Missing, OfferingAside, OfferingFact,
};
pub use model::{
    Amendment, Change, Deletion, Disk, FirstBoot, Freshness, GuestWish, Key, Network, ObservedDisk, ObservedGuest,
    Owner, Power, Stage, StopMode,
};

pub use observe::{OPERATIONS, Observed, Observer};
pub use prices::{PriceOrigin, PricesFact};
pub use registry::{Entry, Registry};

use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;

/// A connection to one pool of hosts or one region of a public provider.
#[async_trait]
pub trait Provider: Send + Sync + 'static {
    /// What the pool has: hosts, sizes, what is used by others, images. Live unless the driver follows the pool's events.
    async fn inventory(&self) -> Result<Inventory>;

    /// Every VM of this owner, from a complete read.
    async fn list(&self, freshness: Freshness) -> Result<Vec<ObservedGuest>>;

    /// The VM of one guest. `Ok(None)`: it is certainly not there.
    async fn find(&self, key: &Key, freshness: Freshness) -> Result<Option<ObservedGuest>>;

    /// Makes the guest's VM, or finishes making it where an earlier call was cut off ([`Stage::Incomplete`]), and
    /// returns it. A VM that is complete already is returned as it is. Whether the new VM runs afterwards is the
    /// provider's nature: [`Provider::start`] and [`Provider::stop`] bring it where it should be.
    async fn create(&self, wish: &GuestWish) -> Result<ObservedGuest>;

    /// Starts the VM, on the wished host where the pool has hosts. Running already is success. A driver that tells
    /// [`ObservedGuest::ever_started`] notes that on the VM before, and takes it back where the VM certainly did not start.
    async fn start(&self, wish: &GuestWish) -> Result<ObservedGuest>;

    /// Stops the VM and keeps it. Stopped already is success.
    async fn stop(&self, key: &Key, mode: StopMode) -> Result<ObservedGuest>;

    /// Brings size, disks and protection of a complete VM to what is wished: at once what can be done as it is, the rest
    /// when it is called while the VM is off. It never stops or starts the VM itself, takes no disk away, and shrinks
    /// none. As wished already is success.
    async fn amend(&self, _wish: &GuestWish) -> Result<Amendment> {
        Err(unsupported("change the VM"))
    }

    /// Puts the VM to sleep, its memory on disk. Asleep already is success; [`Provider::start`] wakes it.
    async fn suspend(&self, _key: &Key) -> Result<ObservedGuest> {
        Err(unsupported("suspend the VM"))
    }

    /// Moves the running VM to another host of its pool without stopping it. There already is success.
    async fn migrate(&self, _key: &Key, _host: &str) -> Result<ObservedGuest> {
        Err(unsupported("migrate the VM"))
    }

    /// Makes a VM that is there already the guest's, as it is and without touching it otherwise. The guest's already is
    /// success; another guest's, or a second one for this guest, is refused.
    async fn adopt(&self, _key: &Key, _provider_id: &str) -> Result<ObservedGuest> {
        Err(unsupported("adopt the VM"))
    }

    /// Gives the guest's VM up, as it is: from then on it is nobody's. Not there is success.
    async fn release(&self, _key: &Key) -> Result<()> {
        Err(unsupported("release the VM"))
    }

    /// Removes everything that was made for the guest: the VM in whatever state, its disks, what half-done or repeated
    /// creations left. Call it until it answers [`Deletion::Gone`].
    async fn delete(&self, key: &Key) -> Result<Deletion>;

    /// What changed at the provider, as it is noticed. Ends when the provider is closed.
    fn changes(&self) -> BoxStream<'static, Change>;

    /// How long after a creation's unknown outcome the VM may still turn up. Only after that is `Ok(None)` from
    /// [`Provider::find`] taken as the end of it.
    fn settling_time(&self) -> Duration;

    /// Rented types that are put aside because they had no room lately. Known without asking the provider.
    fn set_aside(&self) -> Vec<OfferingAside> {
        Vec::new()
    }

    /// Ends sessions and background work. Operations after it fail with [`ErrorKind::Unavailable`].
    async fn close(&self);
}

fn unsupported(act: &str) -> ProviderError {
    ProviderError::new(ErrorKind::Invalid, act, "this provider cannot do that")
}
