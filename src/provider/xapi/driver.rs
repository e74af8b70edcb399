//! The XAPI driver behind the provider interface.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::{StreamExt, stream::BoxStream};

use super::{
    call_error::{CallError, During},
    client::Client,
    config::XapiConfig,
    flights::{Flights, Turns},
    inventory,
    records::Vm,
    value::Ref,
    view::View,
};
use crate::provider::{
    Change, Deletion, ErrorKind, Freshness, GuestWish, Inventory, Key, ObservedGuest, Owner, Provider, ProviderError,
    Result, StopMode,
};

/// A connection to one XAPI pool.
pub struct XapiProvider {
    pub(super) client: Arc<Client>,
    pub(super) owner: Owner,
    pub(super) default_storage: Option<String>,
    pub(super) flights: Flights,
    pub(super) turns: Turns,
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
        Ok(Arc::new(Self {
            client: Arc::new(client),
            owner: config.owner,
            default_storage: config.default_storage,
            flights: Flights::new(),
            turns: Turns::default(),
        }))
    }

    /// The pool as it is now.
    pub(super) async fn live(&self) -> Result<View, CallError> {
        let client = &self.client;
        let (pools, hosts, host_metrics, vms, guest_metrics) =
            tokio::try_join!(client.all(), client.all(), client.all(), client.all(), client.all())?;
        Ok(View { pools, hosts, host_metrics, vms, guest_metrics })
    }

    async fn view(&self, _freshness: Freshness, act: &str) -> Result<View> {
        self.live().await.during(act)
    }

    /// The view with this VM read anew.
    pub(super) async fn refresh(&self, view: &mut View, vm: &Ref<Vm>) -> Result<(), CallError> {
        match self.client.get(vm).await? {
            Some(record) => view.vms.insert(vm.clone(), record),
            None => view.vms.remove(vm),
        };
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
        view.find(&self.owner, key)
            .ok_or_else(|| ProviderError::new(ErrorKind::NotFound, act, "the VM disappeared while it was acted upon"))
    }
}

#[async_trait]
impl Provider for XapiProvider {
    async fn inventory(&self) -> Result<Inventory> {
        inventory::inventory(&self.view(Freshness::Cached, "read the pool").await?, &self.owner)
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

    async fn delete(&self, key: &Key) -> Result<Deletion> {
        self.remove(key).await
    }

    fn changes(&self) -> BoxStream<'static, Change> {
        futures::stream::pending().boxed()
    }

    fn settling_time(&self) -> Duration {
        self.client.timing.settling
    }

    async fn close(&self) {
        self.client.sessions.close().await;
    }
}
