//! The XAPI driver behind the provider interface.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use async_trait::async_trait;
use futures::{StreamExt, stream::BoxStream};
use tokio::sync::Semaphore;
use tokio_util::sync::DropGuard;

use super::{
    call_error::{CallError, During},
    client::Client,
    config::XapiConfig,
    events,
    flights::{Flights, Turns},
    inventory,
    reads::Reads,
    records::Vm,
    stop::Requests,
    storage::Storage,
    value::Ref,
    view::View,
};
use crate::provider::{
    Amendment, Change, Deletion, ErrorKind, Freshness, GuestWish, Inventory, Key, ObservedGuest, Owner, Provider,
    ProviderError, Result, StopMode,
};

/// As many guests are moved at a time as other managers of such pools allow themselves.
pub(super) const MOVES_AT_ONCE: usize = 3;

/// A connection to one XAPI pool.
pub struct XapiProvider {
    pub(super) client: Arc<Client>,
    pub(super) owner: Owner,
    pub(super) default_storage: Option<String>,
    pub(super) flights: Flights,
    reads: Reads<View>,
    pub(super) storage_reads: Reads<Storage>,
    pub(super) turns: Turns,
    /// Soft shutdowns that were asked for.
    pub(super) requests: Requests,
    /// Itself, for what is looked at later.
    pub(super) me: Weak<Self>,
    /// Places for live migrations.
    pub(super) moves: Semaphore,
    /// Ends the background work where the connection is dropped without being closed.
    _following: DropGuard,
}

impl XapiProvider {
    /// Logs in to the pool. Ends in any case, with an error where no coordinator answers within a few login attempts.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a configuration that cannot be used, [`ErrorKind::Auth`] for refused credentials, an
    /// untrusted host or another pool than the expected one, [`ErrorKind::Unavailable`] where nobody answers.
    pub async fn connect(config: XapiConfig) -> Result<Arc<Self>> {
        let act = "connect to the pool";
        config.validate().map_err(|error| ProviderError::new(ErrorKind::Invalid, act, error.to_string()))?;
        let client = Client::new(&config).map_err(|error| {
            let why = match std::error::Error::source(&error) {
                Some(source) => format!("{error}: {source}"),
                None => error.to_string(),
            };
            ProviderError::new(ErrorKind::Invalid, act, why)
        })?;
        client.link().await.during(act)?;
        let client = Arc::new(client);
        tokio::spawn(events::follow(Arc::clone(&client), Arc::clone(&client.events), config.owner.clone()));
        let provider = Arc::new_cyclic(|me| Self {
            me: me.clone(),
            requests: Requests::default(),
            _following: client.events.stop.clone().drop_guard(),
            client,
            owner: config.owner,
            default_storage: config.default_storage,
            flights: Flights::new(),
            reads: Reads::new(),
            storage_reads: Reads::new(),
            turns: Turns::default(),
            moves: Semaphore::new(MOVES_AT_ONCE),
        });
        tokio::spawn(tidy(Arc::downgrade(&provider), provider.changes()));
        Ok(provider)
    }

    /// The pool with everything in it that has happened by now: from the followed events where they get there soon, else
    /// read.
    pub(super) async fn live(&self) -> Result<View, CallError> {
        match self.client.events.barrier(&self.client).await {
            Some(view) => Ok(Arc::unwrap_or_clone(view)),
            None => self.reads.read(async || self.client.read_all().await).await.map(Arc::unwrap_or_clone),
        }
    }

    async fn view(&self, freshness: Freshness, act: &str) -> Result<Arc<View>> {
        let followed = match freshness {
            Freshness::Cached => self.client.events.cached(),
            Freshness::Live => None,
        };
        match followed {
            Some(view) => {
                self.reads.forget();
                Ok(view)
            }
            None => self.live().await.map(Arc::new).during(act),
        }
    }

    /// The view with what has become of this VM: as of now where the pool is followed, else with the VM and its disks read
    /// anew.
    pub(super) async fn refresh(&self, view: &mut View, vm: &Ref<Vm>) -> Result<(), CallError> {
        if let Some(now) = self.client.events.barrier(&self.client).await {
            *view = Arc::unwrap_or_clone(now);
            return Ok(());
        }
        let Some(record) = self.client.get(vm).await? else {
            view.vms.remove(vm);
            return Ok(());
        };
        if let Some(metrics) = self.client.get(&record.metrics).await? {
            view.vm_metrics.insert_mut(record.metrics.clone(), Arc::new(metrics));
        }
        for (reference, vbd, vdi) in self.read_drives(&record).await? {
            view.vdis.insert_mut(vbd.vdi.clone(), Arc::new(vdi));
            view.vbds.insert_mut(reference, Arc::new(vbd));
        }
        view.vms.insert(vm.clone(), Arc::new(record));
        Ok(())
    }

    /// The guest after something was done to it.
    pub(super) async fn observe_anew(
        &self,
        mut view: View,
        vm: &Ref<Vm>,
        key: &Key,
        act: &str,
    ) -> Result<ObservedGuest> {
        self.refresh(&mut view, vm).await.during(act)?;
        self.shown(&view, key, act)
    }

    /// The guest in a view that was read after something was done to it.
    pub(super) fn shown(&self, view: &View, key: &Key, act: &str) -> Result<ObservedGuest> {
        view.find(&self.owner, key)
            .ok_or_else(|| ProviderError::new(ErrorKind::NotFound, act, "the VM disappeared while it was acted upon"))
    }
}

/// Removes clones that land late, beside a guest's finished VM: nobody else would look at them before the guest goes.
async fn tidy(provider: Weak<XapiProvider>, mut changes: BoxStream<'static, Change>) {
    while let Some(change) = changes.next().await {
        let Some(provider) = provider.upgrade() else { return };
        if change == Change::Pool {
            continue;
        }
        let Some(view) = provider.client.events.cached() else { continue };
        for key in view.crowded(&provider.owner) {
            let _turn = provider.turns.take(&key.guest).await;
            match provider.live().await {
                Ok(view) => provider.sweep(&view, &key).await,
                Err(error) => tracing::debug!(%error, "surplus clones are looked for again later"),
            }
        }
    }
}

#[async_trait]
impl Provider for XapiProvider {
    async fn inventory(&self) -> Result<Inventory> {
        let act = "read the pool";
        self.client.sessions.not_closed().during(act)?;
        let view = self.view(Freshness::Cached, act).await?;
        inventory::inventory(&view, &self.owner)
    }

    async fn list(&self, freshness: Freshness) -> Result<Vec<ObservedGuest>> {
        Ok(self.view(freshness, "list the VMs").await?.list(&self.owner))
    }

    async fn find(&self, key: &Key, freshness: Freshness) -> Result<Option<ObservedGuest>> {
        Ok(self.view(freshness, "find the VM").await?.find(&self.owner, key))
    }

    async fn create(&self, wish: &GuestWish) -> Result<ObservedGuest> {
        self.make(wish).await
    }

    async fn start(&self, wish: &GuestWish) -> Result<ObservedGuest> {
        self.power_on(wish).await
    }

    async fn stop(&self, key: &Key, mode: StopMode) -> Result<ObservedGuest> {
        self.power_off(key, mode).await
    }

    async fn amend(&self, wish: &GuestWish) -> Result<Amendment> {
        self.change(wish).await
    }

    async fn suspend(&self, key: &Key) -> Result<ObservedGuest> {
        self.put_to_sleep(key).await
    }

    async fn migrate(&self, key: &Key, host: &str) -> Result<ObservedGuest> {
        self.move_to(key, host).await
    }

    async fn adopt(&self, key: &Key, provider_id: &str) -> Result<ObservedGuest> {
        self.take_over(key, provider_id).await
    }

    async fn release(&self, key: &Key) -> Result<()> {
        self.let_loose(key).await
    }

    async fn delete(&self, key: &Key) -> Result<Deletion> {
        self.remove(key).await
    }

    fn changes(&self) -> BoxStream<'static, Change> {
        self.client.events.changes()
    }

    fn settling_time(&self) -> Duration {
        self.client.timing.settling
    }

    async fn close(&self) {
        self.client.sessions.close().await;
        self.client.events.stop.cancel();
    }
}
