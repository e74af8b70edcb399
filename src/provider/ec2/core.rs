//! The shared inside of a connection: the client, what is known, who wants to hear of changes.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use aws_sdk_ec2::types::{Image, InstanceStateChange, Volume};
use jiff::Timestamp;
use tokio::{
    sync::{Notify, broadcast},
    time::Instant,
};

use super::{
    Ec2Config,
    action::Action,
    catalogue::{self, Catalogue, Wanted},
    client::Api,
    convert::{self, Seen},
    permissions::Permissions,
    spot::{self, Marks},
    volumes::Volumes,
};
use crate::provider::{
    Change, ErrorKind, Key, OfferingFact, PricesFact, ProviderError, Result,
    rented::{
        aside::{Aside, Offering},
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

/// An instance was asked to stop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stopping {
    pub(super) since: Instant,
    pub(super) by_force: bool,
}

impl Stopping {
    fn now() -> Self {
        Self { since: Instant::now(), by_force: false }
    }
}

#[derive(Debug)]
pub(super) struct Core {
    pub(super) config: Ec2Config,
    pub(super) api: Api,
    pub(super) changes: broadcast::Sender<Change>,
    /// Wakes the poller: something was written.
    pub(super) nudge: Notify,
    snapshot: Mutex<Snapshot<Seen>>,
    touched: Mutex<Option<Instant>>,
    images: Mutex<HashMap<String, Image>>,
    aside: Mutex<Aside>,
    marks: Mutex<Marks>,
    volumes: Mutex<Volumes>,
    permissions: Mutex<Permissions>,
    catalogue: tokio::sync::Mutex<Catalogue>,
    /// When we asked instances to stop, for as long as they have not.
    stops: Mutex<BTreeMap<String, Stopping>>,
    reading: tokio::sync::Mutex<Option<LastRead>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What these guard is replaced whole, so a panic elsewhere cannot have left it half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Core {
    pub(super) async fn new(config: Ec2Config) -> Result<Self> {
        Ok(Self {
            api: Api::new(&config).await?,
            changes: broadcast::channel(CHANGES).0,
            nudge: Notify::new(),
            snapshot: Mutex::new(Snapshot::new(config.settling)),
            touched: Mutex::default(),
            images: Mutex::default(),
            aside: Mutex::default(),
            marks: Mutex::default(),
            volumes: Mutex::default(),
            permissions: Mutex::default(),
            catalogue: tokio::sync::Mutex::default(),
            stops: Mutex::default(),
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

    /// Reads everything of one guest. Afterwards the snapshot knows at least what EC2 showed.
    pub(super) async fn look(&self, act: &str, guest: &str) -> Result<()> {
        self.read(act, Instant::now(), Some(guest)).await
    }

    async fn read(&self, act: &str, began: Instant, guest: Option<&str>) -> Result<()> {
        let owner = &self.config.owner;
        let filters = match guest {
            Some(guest) => convert::filter_guest(owner, guest),
            None => convert::filter_owner(owner),
        };
        let instances = self.api.instances(act, filters).await?;
        let seen = instances.iter().filter_map(|instance| convert::ours(owner, instance));
        let seen = seen.map(|seen| self.in_full(seen)).collect();
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

    /// With what a list of instances does not tell.
    fn in_full(&self, mut seen: Seen) -> Seen {
        seen.guest.disks = self.volumes().disks(&seen);
        locked(&self.marks).show(&mut seen);
        seen
    }

    /// Asks which instances are about to be taken back, where there are any that can be. A read that fails says nothing new.
    pub(super) async fn refresh_marks(&self, act: &str) -> Result<()> {
        let spot: Vec<Seen> = self.snapshot().all().filter(|seen| seen.spot && seen.is_live()).cloned().collect();
        if spot.is_empty() {
            return Ok(());
        }
        let marks = Marks::of(&self.api.marked_spot(act).await?, Timestamp::now());
        let before = std::mem::replace(&mut *locked(&self.marks), marks.clone());
        let changed = self.snapshot().revise(|seen| marks.show(seen));
        let is_new = |seen: &&Seen| marks.has(&seen.guest.provider_id) && !before.has(&seen.guest.provider_id);
        for seen in spot.iter().filter(is_new) {
            // Whoever is made anew would be put into the same stock, which is being emptied.
            let Some(instance_type) = seen.guest.instance_type.clone() else { continue };
            let zone = seen.guest.zone.clone().filter(|_| self.config.catalogue.is_some());
            self.aside().refused(&Offering { instance_type, zone, spot: true }, spot::MARKED, Instant::now());
            self.tell([Change::Pool]);
        }
        if !changed.is_empty() {
            self.touch();
        }
        self.tell(changed);
        Ok(())
    }

    /// What is known of the volumes.
    pub(super) fn volumes(&self) -> MutexGuard<'_, Volumes> {
        locked(&self.volumes)
    }

    /// Reads all volumes of this owner where that is due.
    pub(super) async fn refresh_volumes(&self, act: &str) -> Result<()> {
        let began = Instant::now();
        let live: Vec<Seen> = self.snapshot().all().filter(|seen| seen.is_live()).cloned().collect();
        if live.is_empty() || !self.volumes().is_due(&live, &self.config.refresh, began) {
            return Ok(());
        }
        let volumes = self.api.volumes(act, convert::filter_owner(&self.config.owner)).await?;
        let attached = live.iter().flat_map(|seen| seen.volumes.iter().map(|one| one.volume.clone())).collect();
        self.volumes().merge(&volumes, attached, began);
        self.show_disks();
        Ok(())
    }

    /// Takes in what was read of some volumes.
    pub(super) fn learn(&self, volumes: &[Volume]) {
        self.volumes().learn(volumes);
        self.show_disks();
    }

    /// EC2 has accepted a volume's new size.
    pub(super) fn grown(&self, volume: &str, gib: i32) {
        self.volumes().grown(volume, gib);
        self.show_disks();
    }

    /// Sizes that EC2 has accepted and does not show yet.
    pub(super) fn accepted(&self) -> BTreeMap<String, i32> {
        self.volumes().accepted().clone()
    }

    /// Lets the instances show the disks that are known now.
    fn show_disks(&self) {
        let volumes = self.volumes().clone();
        let changed = self.snapshot().revise(|seen| seen.guest.disks = volumes.disks(seen));
        self.tell(changed);
    }

    /// What is known of the permissions.
    pub(super) fn permissions(&self) -> MutexGuard<'_, Permissions> {
        locked(&self.permissions)
    }

    /// What can be rented. What was once read is answered also where reading it again fails.
    pub(super) async fn offerings(&self, act: &str) -> Result<(Vec<OfferingFact>, Option<PricesFact>)> {
        let Some(wanted) = &self.config.catalogue else { return Ok((Vec::new(), None)) };
        let mut catalogue = self.catalogue.lock().await;
        if let Err(error) = self.read_catalogue(act, wanted, &mut catalogue).await {
            tracing::warn!(kind = %error.kind, "the catalogue cannot be read: {error}");
            catalogue.failed(Instant::now());
            if !catalogue.is_known() {
                return Err(error);
            }
        }
        self.read_price_list(&mut catalogue).await;
        let region = &self.config.region;
        Ok((catalogue.offerings(region), Some(catalogue.prices(region))))
    }

    async fn read_catalogue(&self, act: &str, wanted: &Wanted, catalogue: &mut Catalogue) -> Result<()> {
        let families = catalogue::patterns(wanted);
        let now = Instant::now();
        if catalogue.are_types_due(now) {
            let types = self.api.instance_types(act, &families).await?;
            let offered = self.api.type_zones(act, &families).await?;
            let named: Vec<String> = self.config.default_subnet.iter().chain(&wanted.subnets).cloned().collect();
            let subnets = self.api.subnets(act, &named).await?;
            let zones = catalogue::zones(&self.config, wanted, &subnets);
            catalogue.learn_types(&types, &offered, zones.as_ref(), now);
        }
        if catalogue.is_spot_due(now) {
            catalogue.learn_spot(&self.api.spot_prices(act, &families).await?, now);
        }
        Ok(())
    }

    /// Without the list, what it said before counts, or the table that comes with the operator.
    async fn read_price_list(&self, catalogue: &mut Catalogue) {
        let Some(list) = self.api.price_list.as_ref().filter(|_| catalogue.is_list_due(Instant::now())) else { return };
        match list.read(&self.api.calls, "read the price list").await {
            Ok(list) => catalogue.learn_list(list, Timestamp::now(), Instant::now()),
            Err(error) => {
                tracing::warn!(kind = %error.kind, "the price list cannot be read: {error}");
                catalogue.no_list(&error, Instant::now());
            }
        }
    }

    /// How an instance that is stopping was asked to. What an earlier run asked began now.
    pub(super) fn stopping(&self, id: &str) -> Stopping {
        *locked(&self.stops).entry(id.to_owned()).or_insert_with(Stopping::now)
    }

    /// An instance was asked to stop: anew, or by force what was asked before.
    pub(super) fn asked_to_stop(&self, id: &str, anew: bool, by_force: bool) {
        let mut stops = locked(&self.stops);
        let stopping = stops.entry(id.to_owned()).or_insert_with(Stopping::now);
        if anew {
            *stopping = Stopping::now();
        }
        stopping.by_force |= by_force;
    }

    /// An instance has stopped, or runs again.
    pub(super) fn stopped(&self, id: &str) {
        locked(&self.stops).remove(id);
    }

    /// The guest's VM for an operation that needs one.
    pub(super) async fn existing(&self, act: &str, key: &Key) -> Result<Seen> {
        self.look(act, &key.guest).await?;
        let not_found = |message: &str| Err(ProviderError::new(ErrorKind::NotFound, act, message));
        match self.known(key) {
            Some(seen) if seen.is_live() => Ok(seen),
            Some(seen) => not_found(&format!("instance {} was terminated", seen.guest.provider_id)),
            None => not_found("the guest has no instance"),
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

    /// Notes the new states that a call answered.
    pub(super) fn wrote_states(&self, before: &[Seen], changes: &[InstanceStateChange]) {
        for change in changes {
            let same = |seen: &&Seen| change.instance_id() == Some(seen.guest.provider_id.as_str());
            if let Some(seen) = before.iter().find(same) {
                let power = convert::power(change.current_state().and_then(|state| state.name()));
                self.wrote(seen.with_power(power));
            }
        }
    }

    /// An image. What an image is made of never changes, so it is read once.
    pub(super) async fn image(&self, act: &str, id: &str) -> Result<Image> {
        if let Some(image) = locked(&self.images).get(id) {
            return Ok(image.clone());
        }
        let image = self.api.image(act, id).await?;
        locked(&self.images).insert(id.to_owned(), image.clone());
        Ok(image)
    }

    /// What is put aside for want of room.
    pub(super) fn aside(&self) -> MutexGuard<'_, Aside> {
        locked(&self.aside)
    }

    /// Terminates instances.
    pub(super) async fn terminate(&self, act: &str, instances: &[Seen]) -> Result<()> {
        let ids: Vec<_> = instances.iter().map(|seen| seen.guest.provider_id.clone()).collect();
        let send = || self.api.ec2().terminate_instances().set_instance_ids(Some(ids.clone())).send();
        let reply = self.api.call(act, Action::TerminateInstances, send).await?;
        self.wrote_states(instances, reply.terminating_instances());
        Ok(())
    }

    /// Terminates live instances beyond the first of one key. There is one only where a launch whose answer was lost
    /// turned up after another launch with another type: it costs money and does the guest's work twice.
    pub(super) async fn retire_surplus(&self) {
        let surplus = self.snapshot().surplus();
        if surplus.is_empty() {
            return;
        }
        for seen in &surplus {
            let (guest, id) = (&seen.guest.key, &seen.guest.provider_id);
            tracing::warn!(%guest, instance = %id, "a guest has a second instance: the younger is terminated");
        }
        if let Err(error) = self.terminate("terminate a guest's second instance", &surplus).await {
            tracing::warn!(kind = %error.kind, "{error}");
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
