//! The values that go to and come from providers.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use jiff::Timestamp;
use secrecy::SecretString;

use crate::api::quantity::Bytes;

/// Who a VM belongs to: one Innkeeper in one Kubernetes cluster (the UID of its `kube-system` namespace). Two clusters
/// may share a pool and never touch each other's guests.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owner(pub String);

/// What a guest's VM is found again by. Fixed before the first call to a provider.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The UID of the Guest object: unique in space and time, the idempotency key of everything made for it.
    pub guest: String,
    /// Counts this guest's VMs: up when one is certainly gone, so that no late answer is taken for the new one.
    pub incarnation: u32,
    /// Namespace of the Guest, for people and to find the object from its VM.
    pub namespace: String,
    /// Name of the Guest: the VM's name for people.
    pub name: String,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A network card of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// The pool's logical name of the network.
    pub name: String,
    /// The provider's own id: a XAPI network's uuid, an EC2 subnet.
    pub provider_id: String,
}

/// A further disk of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// What the guest calls it; unique within the guest, never `root`.
    pub name: String,
    /// How large it is at least.
    pub size: Bytes,
    /// The provider's own id of the storage: a XAPI SR's uuid or unique name, an EC2 volume type. `None`: the default.
    pub storage: Option<String>,
}

/// What cloud-init is told at a guest's first start. It may hold secrets, so it is never printed.
#[derive(Clone, Debug, Default)]
pub struct FirstBoot {
    /// The user data, such as a `#cloud-config` document.
    pub user_data: Option<Arc<SecretString>>,
    /// The network configuration, for providers that do not configure networks themselves.
    pub network_data: Option<Arc<SecretString>>,
}

impl PartialEq for FirstBoot {
    fn eq(&self, other: &Self) -> bool {
        use secrecy::ExposeSecret as _;
        let text = |data: &Option<Arc<SecretString>>| data.as_ref().map(|data| data.expose_secret().to_owned());
        text(&self.user_data) == text(&other.user_data) && text(&self.network_data) == text(&other.network_data)
    }
}

impl Eq for FirstBoot {}

/// What a guest's VM should be. No meaningful choice is left in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestWish {
    /// Which guest.
    pub key: Key,
    /// The provider's own id of what it boots from: a XAPI template's uuid or unique name, an EC2 image.
    pub image: String,
    /// Virtual processors.
    pub vcpus: u32,
    /// Memory the guest sees.
    pub memory: Bytes,
    /// How large the disk that it boots from is at least. `None`: as the image makes it.
    pub root_disk: Option<Bytes>,
    /// Further disks.
    pub disks: Vec<Disk>,
    /// Network cards in order. Empty: what the provider gives by default.
    pub networks: Vec<Network>,
    /// What cloud-init is told at the first start.
    pub first_boot: FirstBoot,
    /// The provider is to refuse the VM's removal, where it can.
    pub protected: bool,
    /// The type to rent, where the pool has offerings.
    pub instance_type: Option<String>,
    /// Rent it at the price of capacity that the provider can take back.
    pub spot: bool,
    /// The zone to rent in, where the placement chose one.
    pub zone: Option<String>,
    /// The host (its uuid) to start on, where the pool has hosts.
    pub host: Option<String>,
}

impl GuestWish {
    /// A guest of this size, and nothing else that is particular about it.
    #[must_use]
    pub fn new(key: Key, image: impl Into<String>, vcpus: u32, memory: Bytes) -> Self {
        Self {
            key,
            image: image.into(),
            vcpus,
            memory,
            root_disk: None,
            disks: Vec::new(),
            networks: Vec::new(),
            first_boot: FirstBoot::default(),
            protected: false,
            instance_type: None,
            spot: false,
            zone: None,
            host: None,
        }
    }
}

/// How a VM is switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopMode {
    /// Ask its system, for so long at most; where it does not comply, fail with [`super::ErrorKind::Unavailable`].
    Soft(Duration),
    /// Ask the guest's system, for so long at most; where it cannot be asked or does not comply, cut the power.
    TrySoft(Duration),
    /// Cut the power.
    Hard,
}

impl StopMode {
    /// What is done where nothing else is said.
    pub const USUAL: Self = Self::TrySoft(Duration::from_mins(5));
}

/// How far an amendment has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Amendment {
    /// The VM is as wished.
    Done(ObservedGuest),
    /// What could be done while it runs is done. The rest needs it to be off: call again when it is.
    WhenOff(ObservedGuest, String),
}

/// A disk as the provider shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedDisk {
    /// What the guest calls it; `root` for the one that it boots from. `None`: not ours.
    pub name: Option<String>,
    /// How large it is.
    pub size: Bytes,
}

/// What state a VM is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::Display)]
pub enum Power {
    /// On its way to running.
    Starting,
    /// Running, as far as the provider can tell.
    Running,
    /// On its way to stopped.
    Stopping,
    /// Off, its disks kept.
    Stopped,
    /// Asleep, its memory on disk.
    Suspended,
    /// Halted in the hypervisor, in memory.
    Paused,
    /// Being removed for ever.
    Terminating,
    /// Removed for ever; the provider still remembers it.
    Terminated,
    /// The provider cannot tell, such as when the host does not answer. The VM may be running.
    Unknown,
}

/// Whether everything that belongs to a VM has been made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Its creation was begun and not finished; it must not be started.
    Incomplete,
    /// All of it is there.
    Complete,
}

/// A VM of ours as the provider shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedGuest {
    /// Which guest it was made for, from the marks on it.
    pub key: Key,
    /// The provider's own id: a XAPI VM's uuid, an EC2 instance id.
    pub provider_id: String,
    /// Whether its creation was finished.
    pub stage: Stage,
    /// What state it is in.
    pub power: Power,
    /// Name of the host it is on, where the provider tells.
    pub host: Option<String>,
    /// The zone it is in, where the provider tells.
    pub zone: Option<String>,
    /// The rented type, where there is one.
    pub instance_type: Option<String>,
    /// Virtual processors, where the provider tells.
    pub vcpus: Option<u32>,
    /// Memory, where the provider tells.
    pub memory: Option<Bytes>,
    /// Its disks, where the provider tells with the VM, in a stable order.
    pub disks: Vec<ObservedDisk>,
    /// Whether the provider refuses its removal, where it tells.
    pub protected: Option<bool>,
    /// When it was last started, by the provider's clock, where it tells.
    pub started_at: Option<Timestamp>,
    /// Whether it was ever started, where the driver notes that on the VM itself before it starts it.
    pub ever_started: Option<bool>,
    /// The provider has said that it will take the VM back, and when.
    pub interrupted_at: Option<Timestamp>,
    /// Addresses as far as they are known, in a stable order.
    pub addresses: Vec<IpAddr>,
    /// An operation is under way on it (ours or somebody else's): wait, do not act.
    pub busy: bool,
}

impl ObservedGuest {
    /// A VM of which nothing else is known.
    #[must_use]
    pub fn new(key: Key, provider_id: impl Into<String>, stage: Stage, power: Power) -> Self {
        Self {
            key,
            provider_id: provider_id.into(),
            stage,
            power,
            host: None,
            zone: None,
            instance_type: None,
            vcpus: None,
            memory: None,
            disks: Vec::new(),
            protected: None,
            started_at: None,
            ever_started: None,
            interrupted_at: None,
            addresses: Vec::new(),
            busy: false,
        }
    }
}

/// How fresh an answer must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// What the driver last saw, where it follows the provider; else a read.
    Cached,
    /// Read from the provider now. Required before anything is made or given up.
    Live,
}

/// How far a deletion has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// Nothing is left.
    Gone,
    /// Under way; ask again.
    InProgress,
}

/// Something changed at the provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The VM of this guest.
    Guest {
        /// Namespace of the Guest.
        namespace: String,
        /// Name of the Guest.
        name: String,
    },
    /// The pool itself: a host, storage, an image, a foreign VM.
    Pool,
    /// Perhaps anything: the driver lost track and has read everything anew.
    Everything,
}
