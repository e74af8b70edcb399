//! The shared inside of a connection: the client, what is known, who wants to hear of changes.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use reqwest::Method;
use tokio::{
    sync::{Notify, broadcast},
    time::Instant,
};

use super::{
    GceConfig,
    action::Action,
    amend,
    catalogue::Catalogue,
    client::{Api, Request},
    convert::{self, Seen},
    identity, launch,
    operation::{Ended, Following},
    permissions::Permissions,
    wire::Disk,
};
use crate::provider::{
    Change, ErrorKind, Key, OfferingFact, Power, ProviderError, Result,
    rented::{
        aside::Aside,
        snapshot::{Read, Rented as _, Snapshot},
    },
};

/// Changes that a slow listener may lag behind before it is told to read everything anew.
const CHANGES: usize = 1024;

/// How the last read of everything went.
#[derive(Debug)]
struct LastRead {
    began: Instant,
    failed: Option<ProviderError>,
}

#[derive(Debug)]
pub(super) struct Core {
    pub(super) config: GceConfig,
    pub(super) api: Api,
    pub(super) changes: broadcast::Sender<Change>,
    /// Wakes the poller: something was written.
    pub(super) nudge: Notify,
    snapshot: Mutex<Snapshot<Seen>>,
    touched: Mutex<Option<Instant>>,
    /// Sizes of images in GB, by path.
    images: Mutex<HashMap<String, u64>>,
    aside: Mutex<Aside>,
    /// How often the same request for the same guest has failed, by guest and content.
    attempts: Mutex<BTreeMap<(String, String), u32>>,
    /// Stops and removals under way, by instance.
    following: Mutex<BTreeMap<String, Following>>,
    permissions: Mutex<Permissions>,
    catalogue: tokio::sync::Mutex<Catalogue>,
    reading: tokio::sync::Mutex<Option<LastRead>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What these guard is replaced whole, so a panic elsewhere cannot have left it half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Core {
    pub(super) fn new(config: GceConfig) -> Result<Self> {
        Ok(Self {
            api: Api::new(&config)?,
            changes: broadcast::channel(CHANGES).0,
            nudge: Notify::new(),
            snapshot: Mutex::new(Snapshot::new(config.settling)),
            touched: Mutex::default(),
            images: Mutex::default(),
            aside: Mutex::default(),
            attempts: Mutex::default(),
            following: Mutex::default(),
            permissions: Mutex::default(),
            catalogue: tokio::sync::Mutex::default(),
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

    /// Reads everything of one guest. Afterwards the snapshot knows at least what Google showed.
    pub(super) async fn look(&self, act: &str, guest: &str) -> Result<()> {
        self.read(act, Instant::now(), Some(guest)).await
    }

    async fn read(&self, act: &str, began: Instant, guest: Option<&str>) -> Result<()> {
        let owner = &self.config.owner;
        let filter = identity::filter(owner, guest);
        let instances = self.api.instances(act, &filter, self.config.region()).await?;
        let seen = instances.iter().filter_map(|instance| convert::ours(owner, instance)).collect();
        let read = Read { began, guest: guest.map(str::to_owned), seen };
        let changed = self.snapshot().merge(read, Instant::now());
        if !changed.is_empty() {
            self.touch();
        }
        self.tell(changed);
        Ok(())
    }

    /// All disks that carry the guest's labels.
    pub(super) async fn disks(&self, act: &str, guest: &str) -> Result<Vec<Disk>> {
        self.api.disks(act, &identity::filter(&self.config.owner, Some(guest)), self.config.region()).await
    }

    /// Passes changes on. Nobody listening is no failure.
    pub(super) fn tell(&self, changes: impl IntoIterator<Item = Change>) {
        for change in changes {
            let _ = self.changes.send(change);
        }
    }

    /// What is known of the permissions.
    pub(super) fn permissions(&self) -> MutexGuard<'_, Permissions> {
        locked(&self.permissions)
    }

    /// What can be rented. What was once read is answered also where reading it again fails.
    pub(super) async fn offerings(&self, act: &str) -> Result<Vec<OfferingFact>> {
        let Some(families) = &self.config.families else { return Ok(Vec::new()) };
        let mut catalogue = self.catalogue.lock().await;
        if catalogue.is_due(Instant::now()) {
            match self.api.machine_types(act, self.config.region()).await {
                Ok(types) => catalogue.learn(&types, &self.config.zones, families, Instant::now()),
                Err(error) => {
                    tracing::warn!(kind = %error.kind, "the machine types cannot be read: {error}");
                    catalogue.failed(Instant::now());
                    if !catalogue.is_known() {
                        return Err(error);
                    }
                }
            }
        }
        Ok(catalogue.offerings(self.config.region()))
    }

    /// The guest's VM for an operation that needs one.
    pub(super) async fn existing(&self, act: &str, key: &Key) -> Result<Seen> {
        self.look(act, &key.guest).await?;
        match self.known(key).filter(Seen::is_live) {
            Some(seen) => Ok(seen),
            None => Err(ProviderError::new(ErrorKind::NotFound, act, "the guest has no instance")),
        }
    }

    /// What is known of the guest's VM.
    pub(super) fn known(&self, key: &Key) -> Option<Seen> {
        self.snapshot().find(key)
    }

    /// Notes what a write answered.
    pub(super) fn wrote(&self, seen: Seen) {
        self.snapshot().write(seen, Instant::now());
        self.touch();
    }

    /// How large an image is, in GB. What a path leads to may change; that its size does is not worth a read each time.
    pub(super) async fn image_size(&self, act: &str, image: &str) -> Result<u64> {
        let path = launch::image_path(&self.config, image);
        if let Some(size) = locked(&self.images).get(&path) {
            return Ok(*size);
        }
        let found = self.api.image(act, &path).await.map_err(|mut error| {
            if error.kind == ErrorKind::NotFound {
                error.message = format!("there is no image {image}: {}", error.message);
            }
            error
        })?;
        let size = found.disk_size_gb.parse().unwrap_or(0);
        locked(&self.images).insert(path, size);
        Ok(size)
    }

    /// What is put aside for want of room.
    pub(super) fn aside(&self) -> MutexGuard<'_, Aside> {
        locked(&self.aside)
    }

    /// How often this request for this guest has failed, and is to be asked anew.
    pub(super) fn attempt(&self, guest: &str, content: &str) -> u32 {
        locked(&self.attempts).get(&(guest.to_owned(), content.to_owned())).copied().unwrap_or(0)
    }

    /// This request failed: the next one is another.
    pub(super) fn failed_attempt(&self, guest: &str, content: &str, attempt: u32) {
        let mut attempts = locked(&self.attempts);
        let next = attempts.entry((guest.to_owned(), content.to_owned())).or_default();
        *next = (*next).max(attempt + 1);
    }

    /// The guest is gone: what was counted for it too.
    pub(super) fn forget_attempts(&self, guest: &str) {
        locked(&self.attempts).retain(|(of, _), _| of != guest);
    }

    /// A stop or removal has begun: from now on the instance is on its way to that state.
    pub(super) fn begun(&self, seen: &Seen, operation: String, power: Power) {
        let removes = power == Power::Terminating;
        let following = Following { zone: seen.zone.clone(), name: operation, removes };
        locked(&self.following).insert(seen.guest.provider_id.clone(), following);
        // Not as something written, which would be kept through reads that lack it: it is to go.
        let changed = self.snapshot().revise(|known| {
            if known.guest.provider_id == seen.guest.provider_id {
                *known = known.with_power(power);
            }
        });
        self.tell(changed);
        self.touch();
    }

    /// The stop or removal of an instance that this process began and that goes on. Its error is told once.
    pub(super) async fn standing(&self, act: &str, provider_id: &str) -> Result<Option<Following>> {
        let Some(following) = locked(&self.following).get(provider_id).cloned() else { return Ok(None) };
        let ended = self.api.ask(act, &following.zone, &following.name).await;
        let forget = || locked(&self.following).remove(provider_id);
        match ended {
            Ended::NotYet => Ok(Some(following)),
            Ended::Well => {
                forget();
                if following.removes {
                    self.snapshot().forget(provider_id);
                }
                Ok(None)
            }
            // Google forgets operations after a while.
            Ended::Unknown(error) if error.kind == ErrorKind::NotFound => {
                forget();
                Ok(None)
            }
            Ended::Failed(error) => {
                forget();
                Err(error)
            }
            Ended::Unknown(error) => Err(error),
        }
    }

    /// Begins to delete an instance.
    pub(super) async fn delete(&self, act: &str, seen: &Seen) -> Result<()> {
        // Only what we forbade ourselves: the hold is over, or nobody would delete the guest. What somebody else forbade,
        // Google refuses, and says how to permit it.
        if seen.is_protected && seen.protected_by_us() {
            amend::unprotect(self, seen).await?;
        }
        let request = Request::new(Method::DELETE, seen.path());
        let operation = self.api.send_change(act, Action::DeleteInstance, request).await?;
        self.begun(seen, operation.name, Power::Terminating);
        Ok(())
    }

    /// Deletes live instances beyond the first of one key. There is one only where a request whose answer was lost turned up
    /// after another in another zone: it costs money and does the guest's work twice.
    pub(super) async fn retire_surplus(&self) {
        let surplus = self.snapshot().surplus();
        for seen in &surplus {
            let (guest, id) = (&seen.guest.key, &seen.guest.provider_id);
            tracing::warn!(%guest, instance = %id, "a guest has a second instance: the younger is deleted");
            if let Err(error) = self.delete("delete a guest's second instance", seen).await {
                tracing::warn!(kind = %error.kind, "{error}");
            }
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
