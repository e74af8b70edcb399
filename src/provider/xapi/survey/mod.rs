//! Everything in a pool that somebody needs to know before guests are placed in it: read once, with nothing kept open.

mod build;
mod links;
mod records;

use std::time::Duration;

use serde::Serialize;

use self::records::{Attachment, Card, Image, PoolName, Port, Repository, Slot, Wire};
use super::{
    call_error::{CallError, During as _},
    client::Client,
    config::XapiConfig,
    presented,
    records::Record,
    view::{Table, View, table},
};
use crate::provider::{ErrorKind, ProviderError, Result, xapi::Fingerprint};

/// What a pool has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Survey {
    /// The pool itself.
    pub pool: PoolFact,
    /// Its hosts by name.
    pub hosts: Vec<HostFact>,
    /// Its storage repositories by name.
    pub storage: Vec<StorageFact>,
    /// Its networks by name.
    pub networks: Vec<NetworkFact>,
    /// Its templates by name.
    pub templates: Vec<TemplateFact>,
    /// Its VMs by name, without templates, snapshots and control domains.
    pub guests: Vec<GuestFact>,
    /// References to objects that are not there.
    pub dangling: Vec<Dangling>,
}

/// The pool itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolFact {
    /// Its uuid.
    pub uuid: String,
    /// Its name; empty where it has none.
    pub name: String,
    /// Product and version of the coordinator.
    pub version: String,
    /// Name of the coordinator, where it is known.
    pub coordinator: Option<String>,
    /// uuid of the storage for disks that name none, where it is set and there.
    pub default_storage: Option<String>,
}

/// A host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HostFact {
    /// Its uuid.
    pub uuid: String,
    /// Its name.
    pub name: String,
    /// Its address in the pool.
    pub address: String,
    /// May guests start here.
    pub schedulable: bool,
    /// Why not.
    pub reason: Option<String>,
    /// Physical processors (threads).
    pub cpus: u32,
    /// Virtual processors of the VMs that run here.
    pub vcpus_used: u32,
    /// Physical memory.
    pub memory_bytes: u64,
    /// What the hypervisor, its control domain and the VMs leave of it, as XAPI counts.
    pub memory_free_bytes: u64,
    /// VMs that take memory here, without the control domain.
    pub guests: u32,
}

/// A storage repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StorageFact {
    /// Its uuid.
    pub uuid: String,
    /// Its name.
    pub name: String,
    /// Such as `lvmoiscsi`, `nfs`, `iso`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether disks of guests can be kept here: neither a library of ISO images nor a drive of a host.
    pub disks: bool,
    /// Its size; 0 where it has none.
    pub size_bytes: u64,
    /// What is free of it.
    pub free_bytes: u64,
    /// Whether more than one host can see it.
    pub shared: bool,
    /// Whether it takes the disks that name no storage.
    pub default: bool,
    /// Names of the hosts that it is attached to.
    pub hosts: Vec<String>,
    /// Names of the hosts that could see it and do not.
    pub detached_hosts: Vec<String>,
}

/// A network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkFact {
    /// Its uuid.
    pub uuid: String,
    /// Its name.
    pub name: String,
    /// The hosts' bridge.
    pub bridge: String,
    /// Names of the hosts that have an interface to it. None: it ends within each host.
    pub hosts: Vec<String>,
    /// It connects guests with the host's management and is not for guests of ours.
    pub management: bool,
}

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DiskFact {
    /// Its place in the VM.
    pub device: String,
    /// Its uuid.
    pub uuid: String,
    /// How large the guest sees it.
    pub size_bytes: u64,
    /// Name of the storage it is in, where that is there.
    pub storage: Option<String>,
}

/// A template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TemplateFact {
    /// Its uuid.
    pub uuid: String,
    /// Its name.
    pub name: String,
    /// How many templates of the pool have this name. More than one: only the uuid tells it from the others.
    pub named_so: usize,
    /// Whether it has a disk, which guests get a copy of. The product's own templates have none: they are for installing
    /// a system by hand.
    pub has_disk: bool,
    /// Virtual processors, unless a guest says otherwise.
    pub vcpus: u32,
    /// Memory, unless a guest says otherwise.
    pub memory_bytes: u64,
    /// Its disks.
    pub disks: Vec<DiskFact>,
}

/// A VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GuestFact {
    /// Its uuid.
    pub uuid: String,
    /// Its name.
    pub name: String,
    /// Whether it runs: `Running`, `Stopped`, `Suspended`, `Paused`, or `Unknown` where its host does not answer.
    pub power: String,
    /// Name of the host it is on.
    pub host: Option<String>,
    /// Virtual processors.
    pub vcpus: u32,
    /// Memory.
    pub memory_bytes: u64,
    /// Its disks.
    pub disks: Vec<DiskFact>,
    /// Names of the networks of its cards, in their order.
    pub networks: Vec<String>,
    /// Addresses as its guest tools report them.
    pub addresses: Vec<String>,
    /// Snapshots that were taken of it; they go when a guest is deleted.
    pub snapshots: usize,
    /// Whose guest it is already. Nobody's: it can be adopted.
    pub guest_of: Option<GuestOf>,
}

/// A guest of an Innkeeper.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GuestOf {
    /// The UID of the namespace `kube-system` of its cluster.
    pub cluster: String,
    /// Its namespace there.
    pub namespace: String,
    /// Its name there.
    pub name: String,
}

/// A reference to an object that is not there. Old pools have some; a pool that changes while it is read may show some that
/// are gone the next time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Dangling {
    /// Class of the object that refers.
    pub class: String,
    /// Which of its fields.
    pub field: String,
    /// Name of the object, where it has one.
    pub name: String,
    /// uuid of the object.
    pub uuid: String,
    /// What it refers to.
    pub reference: String,
}

/// What a survey reads beside what the driver reads.
#[derive(Default)]
struct More {
    names: Table<PoolName>,
    repositories: Table<Repository>,
    attachments: Table<Attachment>,
    wires: Table<Wire>,
    ports: Table<Port>,
    slots: Table<Slot>,
    images: Table<Image>,
    cards: Table<Card>,
}

/// Logs in, reads the pool, and logs out. The owner in the configuration does not matter: whose guests there are is told of
/// all.
///
/// # Errors
/// As for [`super::XapiProvider::connect`].
pub async fn survey(config: &XapiConfig) -> Result<Survey> {
    let act = "connect to the pool";
    config.validate().map_err(|error| ProviderError::new(ErrorKind::Invalid, act, error.to_string()))?;
    let client = Client::new(config)
        .map_err(|error| ProviderError::new(ErrorKind::Invalid, act, crate::runtime::chain(&error)))?;
    client.link().await.during(act)?;
    let read = read(&client).await.during("read the pool");
    client.sessions.close().await;
    let (view, more) = read?;
    build::survey(&view, &more)
}

/// The fingerprint of the certificate that a host shows, without trusting it: nothing is sent to it. `None` where it shows
/// none in time.
pub async fn presented_fingerprint(endpoint: &reqwest::Url, limit: Duration) -> Option<Fingerprint> {
    presented::fingerprint(endpoint, limit).await
}

/// What refers is read before what it refers to, so that what is made meanwhile does not look like a reference to nothing.
async fn read(client: &Client) -> std::result::Result<(View, More), CallError> {
    async fn all<T: Record>(client: &Client) -> std::result::Result<Table<T>, CallError> {
        client.all().await.map(table)
    }
    let view = client.read_all().await?;
    let (names, wires, cards, slots) =
        tokio::try_join!(all::<PoolName>(client), all::<Wire>(client), all::<Card>(client), all::<Slot>(client))?;
    let (images, repositories, attachments, ports) = tokio::try_join!(
        all::<Image>(client),
        all::<Repository>(client),
        all::<Attachment>(client),
        all::<Port>(client)
    )?;
    Ok((view, More { names, repositories, attachments, wires, ports, slots, images, cards }))
}

#[cfg(test)]
mod tests;
