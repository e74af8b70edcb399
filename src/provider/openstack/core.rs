//! The shared inside of a connection: the client, what is known, who wants to hear of changes.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    sync::{Notify, Semaphore, broadcast},
    time::Instant,
};
use uuid::Uuid;

use super::{
    client::{Api, Request},
    config::OpenstackConfig,
    convert::{self, Seen},
    flavors::{Catalogue, Found},
    lease::Lease,
    wire::Flavor,
};
use crate::provider::{
    Change, ErrorKind, Key, ProviderError, Result,
    rented::{
        aside::Aside,
        snapshot::{Read, Rented as _, Snapshot},
    },
};

/// Changes that a slow listener may lag behind before it is told to read everything anew.
const CHANGES: usize = 1024;

/// Creations that are under way at a time.
const CREATIONS: usize = 4;

/// How the last read of everything went.
#[derive(Debug)]
struct LastRead {
    began: Instant,
    failed: Option<ProviderError>,
}

/// One lock for each guest that something is done with.
type Turns = BTreeMap<String, Arc<tokio::sync::Mutex<()>>>;

#[derive(Debug)]
pub(super) struct Core {
    pub(super) config: OpenstackConfig,
    pub(super) api: Api,
    pub(super) changes: broadcast::Sender<Change>,
    /// Wakes the poller: something was written.
    pub(super) nudge: Notify,
    /// Creations under way: each needs a server group, of which a project may have ten where nobody says otherwise.
    pub(super) creations: Semaphore,
    /// The name of this connection among all that there ever were.
    pub(super) me: String,
    snapshot: Mutex<Snapshot<Seen>>,
    touched: Mutex<Option<Instant>>,
    aside: Mutex<Aside>,
    flavors: tokio::sync::Mutex<Catalogue>,
    turns: Mutex<Turns>,
    reading: tokio::sync::Mutex<Option<LastRead>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What these guard is replaced whole, so a panic elsewhere cannot have left it half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Core {
    pub(super) fn new(config: OpenstackConfig) -> Result<Self> {
        Ok(Self {
            api: Api::new(&config)?,
            changes: broadcast::channel(CHANGES).0,
            nudge: Notify::new(),
            creations: Semaphore::new(CREATIONS),
            me: Uuid::new_v4().to_string(),
            snapshot: Mutex::new(Snapshot::new(config.settling)),
            touched: Mutex::default(),
            aside: Mutex::default(),
            flavors: tokio::sync::Mutex::default(),
            turns: Mutex::default(),
            reading: tokio::sync::Mutex::default(),
            config,
        })
    }

    pub(super) fn snapshot(&self) -> MutexGuard<'_, Snapshot<Seen>> {
        locked(&self.snapshot)
    }

    /// When we last wrote, or last saw a change.
    pub(super) fn touched(&self) -> Option<Instant> {
        *locked(&self.touched)
    }

    /// The next reads should come quickly.
    pub(super) fn touch(&self) {
        *locked(&self.touched) = Some(Instant::now());
        self.nudge.notify_one();
    }

    /// What is put aside for want of room.
    pub(super) fn aside(&self) -> MutexGuard<'_, Aside> {
        locked(&self.aside)
    }

    /// The guest's turn: creations and removals of one guest come one after the other.
    pub(super) fn turn(&self, guest: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = locked(&self.turns);
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        Arc::clone(turns.entry(guest.to_owned()).or_default())
    }

    /// Whether creations that are on their way can be kept from coming true: see [`super::fence`].
    pub(super) const fn is_fenced(&self) -> bool {
        self.config.server_group.is_none()
    }

    /// The lease of this name.
    pub(super) fn lease<'a>(&'a self, act: &'a str, name: &'a str) -> Lease<'a> {
        let patience = self.config.settling;
        // As long as the call may have taken, and a while.
        let own = self.is_fenced().then(|| self.config.deadline + patience / 4);
        Lease { api: &self.api, act, name, me: &self.me, patience, own }
    }

    /// Reads everything of this owner. Callers that wait while a read begins share it and its failure.
    pub(super) async fn refresh(&self, act: &str) -> Result<()> {
        let asked = Instant::now();
        let mut last = self.reading.lock().await;
        if let Some(LastRead { failed, .. }) = last.as_ref().filter(|last| last.began > asked) {
            return failed.as_ref().map_or(Ok(()), |error| Err(again(act, error)));
        }
        let began = Instant::now();
        let result = self.read(act, began, None).await;
        let failed = result.as_ref().err().map(|error| again(act, error));
        *last = Some(LastRead { began, failed });
        result
    }

    /// Reads everything of one guest. Afterwards the snapshot knows at least what Nova showed.
    pub(super) async fn look(&self, act: &str, guest: &str) -> Result<()> {
        self.read(act, Instant::now(), Some(guest)).await
    }

    async fn read(&self, act: &str, began: Instant, guest: Option<&str>) -> Result<()> {
        let owner = &self.config.owner;
        let tags: Vec<String> =
            std::iter::once(convert::owner_tag(owner)).chain(guest.map(convert::guest_tag)).collect();
        let servers = self.api.servers(act, &tags, self.config.page_size).await?;
        let seen = servers.iter().filter_map(|server| convert::ours(owner, server)).collect();
        let read = Read { began, guest: guest.map(str::to_owned), seen };
        let changed = self.snapshot().merge(read, Instant::now());
        if !changed.is_empty() {
            self.touch();
        }
        self.tell(changed);
        Ok(())
    }

    /// Passes changes on. Nobody listening is no failure.
    pub(super) fn tell(&self, changes: impl IntoIterator<Item = Change>) {
        for change in changes {
            let _ = self.changes.send(change);
        }
    }

    /// What is known of the guest's VM.
    pub(super) fn known(&self, key: &Key) -> Option<Seen> {
        self.snapshot().find(key)
    }

    /// Notes what a write was answered with.
    pub(super) fn wrote(&self, seen: Seen) {
        self.snapshot().write(seen, Instant::now());
        self.touch();
    }

    /// The guest's VM for an operation that needs one.
    pub(super) async fn existing(&self, act: &str, key: &Key) -> Result<Seen> {
        self.look(act, &key.guest).await?;
        let not_found = |message: &str| Err(ProviderError::new(ErrorKind::NotFound, act, message));
        match self.known(key) {
            Some(seen) if seen.is_live() => Ok(seen),
            Some(seen) => not_found(&format!("server {} is being removed", seen.guest.provider_id)),
            None => not_found("the guest has no server"),
        }
    }

    /// One server of ours as it is now.
    pub(super) async fn again(&self, act: &str, seen: &Seen) -> Result<Seen> {
        let server = self.api.server(act, &seen.guest.provider_id).await?;
        let now = convert::seen(seen.guest.key.clone(), &server);
        self.wrote(now.clone());
        Ok(now)
    }

    /// Asks Nova to do something with a server.
    pub(super) async fn act(&self, act: &str, seen: &Seen, what: serde_json::Value) -> Result<()> {
        let path = format!("/servers/{}/action", seen.guest.provider_id);
        self.api.call(act, Request::post(path, what)).await?;
        self.touch();
        Ok(())
    }

    /// The flavour of this name.
    pub(super) async fn flavor(&self, act: &str, name: &str) -> Result<Flavor> {
        let mut flavors = self.flavors.lock().await;
        if flavors.is_due(name, Instant::now()) {
            flavors.learn(self.api.flavors(act).await?, Instant::now());
        }
        let refuse = |message: String| Err(ProviderError::new(ErrorKind::Invalid, act, message));
        match flavors.find(name) {
            Found::One(flavor) => Ok(flavor.clone()),
            Found::Several => refuse(format!("several flavours are called {name}: have all but one renamed")),
            Found::None => refuse(format!(
                "the cloud has no flavour {name} for this project: correct the pool's types, or have it given access"
            )),
        }
    }
}

/// The same failure for another caller.
fn again(act: &str, error: &ProviderError) -> ProviderError {
    let mut copy = ProviderError::new(error.kind, act, error.message.clone());
    copy.code.clone_from(&error.code);
    copy.retry_after = error.retry_after;
    copy
}
