//! The shared inside of a connection: the client, what is known, who wants to hear of changes.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard},
};

use async_trait::async_trait;
use reqwest::Method;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    GceConfig,
    action::Action,
    amend,
    catalogue::Catalogue,
    client::{Api, Request},
    config::Refresh,
    convert::{self, Seen},
    identity, launch,
    operation::{Ended, Following},
    permissions::Permissions,
    wire::Disk,
};
use crate::provider::{
    ErrorKind, Key, OfferingFact, Power, ProviderError, Result,
    rented::{
        aside::Aside,
        follow::{Pace, Region, View, locked},
        snapshot::Rented as _,
    },
};

#[derive(Debug)]
pub(super) struct Core {
    pub(super) config: GceConfig,
    pub(super) api: Api,
    /// What is known.
    pub(super) view: View<Seen>,
    /// Sizes of images in GB, by path.
    images: Mutex<HashMap<String, u64>>,
    aside: Mutex<Aside>,
    /// How often the same request for the same guest has failed, by guest and content.
    attempts: Mutex<BTreeMap<(String, String), u32>>,
    /// Stops and removals under way, by instance.
    following: Mutex<BTreeMap<String, Following>>,
    permissions: Mutex<Permissions>,
    catalogue: tokio::sync::Mutex<Catalogue>,
}

impl Core {
    pub(super) fn new(config: GceConfig) -> Result<Self> {
        Ok(Self {
            api: Api::new(&config)?,
            view: View::new(config.settling),
            images: Mutex::default(),
            aside: Mutex::default(),
            attempts: Mutex::default(),
            following: Mutex::default(),
            permissions: Mutex::default(),
            catalogue: tokio::sync::Mutex::default(),
            config,
        })
    }

    /// All disks that carry the guest's labels.
    pub(super) async fn disks(&self, act: &str, guest: &str) -> Result<Vec<Disk>> {
        self.api.disks(act, &identity::filter(&self.config.owner, Some(guest)), self.config.region()).await
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
        match self.view.known(key).filter(Seen::is_live) {
            Some(seen) => Ok(seen),
            None => Err(ProviderError::new(ErrorKind::NotFound, act, "the guest has no instance")),
        }
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
        let changed = self.view.snapshot().revise(|known| {
            if known.guest.provider_id == seen.guest.provider_id {
                *known = known.with_power(power);
            }
        });
        self.view.tell(changed);
        self.view.touch();
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
                    self.view.snapshot().forget(provider_id);
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
        let surplus = self.view.snapshot().surplus();
        for seen in &surplus {
            let (guest, id) = (&seen.guest.key, &seen.guest.provider_id);
            tracing::warn!(%guest, instance = %id, "a guest has a second instance: the younger is deleted");
            if let Err(error) = self.delete("delete a guest's second instance", seen).await {
                tracing::warn!(kind = %error.kind, "{error}");
            }
        }
    }
}

#[async_trait]
impl Region for Core {
    type Seen = Seen;

    const NAME: &'static str = "Compute Engine";

    fn view(&self) -> &View<Seen> {
        &self.view
    }

    fn pace(&self) -> Pace {
        let Refresh { quick, moving, slow, lively } = self.config.refresh;
        Pace { quick, moving, slow, lively }
    }

    fn closed(&self) -> &CancellationToken {
        &self.api.closed
    }

    async fn read(&self, act: &str, guest: Option<&str>) -> Result<Vec<Seen>> {
        let owner = &self.config.owner;
        let filter = identity::filter(owner, guest);
        let instances = self.api.instances(act, &filter, self.config.region()).await?;
        Ok(instances.iter().filter_map(|instance| convert::ours(owner, instance)).collect())
    }

    async fn tidy(&self) {
        self.retire_surplus().await;
    }
}
