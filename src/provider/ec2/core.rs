//! The shared inside of a connection: the client, what is known, who wants to hear of changes.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard},
};

use async_trait::async_trait;
use aws_sdk_ec2::types::{Image, InstanceStateChange, Volume};
use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    Ec2Config,
    action::Action,
    catalogue::{self, Catalogue, Wanted},
    client::Api,
    config::Refresh,
    convert::{self, Seen},
    permissions::Permissions,
    spot::{self, Marks},
    volumes::Volumes,
};
use crate::provider::{
    Change, ErrorKind, Key, OfferingFact, PricesFact, ProviderError, Result,
    rented::{
        aside::{Aside, Offering},
        follow::{Pace, Region, View, locked},
        snapshot::Rented as _,
    },
};

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
    /// What is known.
    pub(super) view: View<Seen>,
    images: Mutex<HashMap<String, Image>>,
    aside: Mutex<Aside>,
    marks: Mutex<Marks>,
    volumes: Mutex<Volumes>,
    permissions: Mutex<Permissions>,
    catalogue: tokio::sync::Mutex<Catalogue>,
    /// When we asked instances to stop, for as long as they have not.
    stops: Mutex<BTreeMap<String, Stopping>>,
}

impl Core {
    pub(super) async fn new(config: Ec2Config) -> Result<Self> {
        Ok(Self {
            api: Api::new(&config).await?,
            view: View::new(config.settling),
            images: Mutex::default(),
            aside: Mutex::default(),
            marks: Mutex::default(),
            volumes: Mutex::default(),
            permissions: Mutex::default(),
            catalogue: tokio::sync::Mutex::default(),
            stops: Mutex::default(),
            config,
        })
    }

    /// With what a list of instances does not tell.
    fn in_full(&self, mut seen: Seen) -> Seen {
        seen.guest.disks = self.volumes().disks(&seen);
        locked(&self.marks).show(&mut seen);
        seen
    }

    /// Asks which instances are about to be taken back, where there are any that can be. A read that fails says nothing new.
    async fn refresh_marks(&self, act: &str) -> Result<()> {
        let spot: Vec<Seen> = self.view.snapshot().all().filter(|seen| seen.spot && seen.is_live()).cloned().collect();
        if spot.is_empty() {
            return Ok(());
        }
        let marks = Marks::of(&self.api.marked_spot(act).await?, Timestamp::now());
        let before = std::mem::replace(&mut *locked(&self.marks), marks.clone());
        let changed = self.view.snapshot().revise(|seen| marks.show(seen));
        let is_new = |seen: &&Seen| marks.has(&seen.guest.provider_id) && !before.has(&seen.guest.provider_id);
        for seen in spot.iter().filter(is_new) {
            // Whoever is made anew would be put into the same stock, which is being emptied.
            let Some(instance_type) = seen.guest.instance_type.clone() else { continue };
            let zone = seen.guest.zone.clone().filter(|_| self.config.catalogue.is_some());
            self.aside().refused(&Offering { instance_type, zone, spot: true }, spot::MARKED, Instant::now());
            self.view.tell([Change::Pool]);
        }
        if !changed.is_empty() {
            self.view.touch();
        }
        self.view.tell(changed);
        Ok(())
    }

    /// What is known of the volumes.
    pub(super) fn volumes(&self) -> MutexGuard<'_, Volumes> {
        locked(&self.volumes)
    }

    /// Reads all volumes of this owner where that is due.
    async fn refresh_volumes(&self, act: &str) -> Result<()> {
        let began = Instant::now();
        let live: Vec<Seen> = self.view.snapshot().all().filter(|seen| seen.is_live()).cloned().collect();
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
        let changed = self.view.snapshot().revise(|seen| seen.guest.disks = volumes.disks(seen));
        self.view.tell(changed);
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
        match self.view.known(key) {
            Some(seen) if seen.is_live() => Ok(seen),
            Some(seen) => not_found(&format!("instance {} was terminated", seen.guest.provider_id)),
            None => not_found("the guest has no instance"),
        }
    }

    /// Notes the new states that a call answered.
    pub(super) fn wrote_states(&self, before: &[Seen], changes: &[InstanceStateChange]) {
        for change in changes {
            let same = |seen: &&Seen| change.instance_id() == Some(seen.guest.provider_id.as_str());
            if let Some(seen) = before.iter().find(same) {
                let power = convert::power(change.current_state().and_then(|state| state.name()));
                self.view.wrote(seen.with_power(power));
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
        let surplus = self.view.snapshot().surplus();
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

#[async_trait]
impl Region for Core {
    type Seen = Seen;

    const NAME: &'static str = "EC2";

    fn view(&self) -> &View<Seen> {
        &self.view
    }

    fn pace(&self) -> Pace {
        let Refresh { quick, moving, slow, lively, .. } = self.config.refresh;
        Pace { quick, moving, slow, lively }
    }

    fn closed(&self) -> &CancellationToken {
        &self.api.closed
    }

    async fn read(&self, act: &str, guest: Option<&str>) -> Result<Vec<Seen>> {
        let owner = &self.config.owner;
        let filters = match guest {
            Some(guest) => convert::filter_guest(owner, guest),
            None => convert::filter_owner(owner),
        };
        let instances = self.api.instances(act, filters).await?;
        let seen = instances.iter().filter_map(|instance| convert::ours(owner, instance));
        Ok(seen.map(|seen| self.in_full(seen)).collect())
    }

    async fn tidy(&self) {
        self.retire_surplus().await;
        if let Err(error) = self.refresh_marks("ask which spot instances are taken back").await {
            tracing::debug!(kind = %error.kind, "interruptions cannot be followed: {error}");
        }
        // Sizes of disks are for people; guests live without.
        if let Err(error) = self.refresh_volumes("list the volumes").await {
            tracing::debug!(kind = %error.kind, "the volumes cannot be followed: {error}");
        }
    }
}
