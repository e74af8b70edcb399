//! The operations of [`Provider`] on Compute Engine.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::stream::BoxStream;
use tokio::time::Instant;

use super::{
    GceConfig, action::Action, adopt, amend, client::Request, convert::Seen, core::Core, create, operation::Ended,
    permissions, removal,
};
use crate::provider::{
    Amendment, Change, Deletion, ErrorKind, Freshness, GuestWish, Inventory, Key, ObservedGuest, OfferingAside, Power,
    Provider, ProviderError, Result, StopMode,
    rented::follow::{self, Region as _},
};

/// The version of the API.
const API_VERSION: &str = "Compute Engine v1";

/// When to come back to an instance that is between two states.
pub(super) const MOVING: Duration = Duration::from_secs(3);

/// One region of a project, for one owner.
#[derive(Debug)]
pub struct GceProvider {
    core: Arc<Core>,
}

impl GceProvider {
    /// Prepares a connection. Nothing is asked of Google yet.
    pub fn connect(config: GceConfig) -> Result<Arc<Self>> {
        let refuse = |message: &str| Err(ProviderError::new(ErrorKind::Invalid, "connect to Compute Engine", message));
        if config.project.is_empty() || config.owner.0.is_empty() {
            return refuse("the project or the owner is empty");
        }
        let region = config.region();
        let of_region = |zone: &String| zone.rsplit_once('-').is_some_and(|(of, _)| of == region);
        if config.zones.is_empty() || !config.zones.iter().all(of_region) {
            return refuse("the zones are not zones of one region, such as europe-west1-b and europe-west1-c");
        }
        if config.endpoint.as_ref().is_some_and(|url| !is_safe(url)) {
            return refuse("the endpoint is neither an https URL nor an http URL of this machine's loopback");
        }
        Ok(Arc::new(Self { core: Arc::new(Core::new(config)?) }))
    }

    /// How often each method of the API was called so far.
    #[must_use]
    pub fn calls(&self) -> BTreeMap<Action, u64> {
        self.core.api.calls.counts()
    }

    /// Begins a change of state, and answers the instance on its way to it.
    async fn begin(
        &self,
        act: &str,
        seen: &Seen,
        action: Action,
        request: Request,
        to: Power,
    ) -> Result<ObservedGuest> {
        let sent = self.core.api.send_change(act, action, request).await;
        let operation = sent.map_err(|error| settling(&self.core, seen, error))?;
        self.core.begun(seen, operation.name, to);
        Ok(seen.with_power(to).guest)
    }
}

/// A token is worth as much as a password: it goes over TLS, or stays on the machine.
fn is_safe(url: &reqwest::Url) -> bool {
    let loopback = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    url.scheme() == "https" || (url.scheme() == "http" && loopback)
}

/// `NotFound` for an instance that we have just made means that Google's parts do not all know it yet.
pub(super) fn settling(core: &Core, seen: &Seen, error: ProviderError) -> ProviderError {
    let id = &seen.guest.provider_id;
    if error.kind == ErrorKind::NotFound && core.view.snapshot().is_settling(id, Instant::now()) {
        let message = format!("instance {id} is so new that Google does not know it everywhere yet");
        return ProviderError::new(ErrorKind::Unavailable, error.act, message).with_retry_after(MOVING);
    }
    error
}

impl Drop for GceProvider {
    fn drop(&mut self) {
        self.core.api.closed.cancel();
    }
}

#[async_trait]
impl Provider for GceProvider {
    async fn inventory(&self) -> Result<Inventory> {
        // Shows that the endpoint answers and takes the credentials, and is needed anyhow.
        const ACT: &str = "read the inventory";
        self.core.refresh(ACT).await?;
        Ok(Inventory {
            id: format!("{}/{}", self.core.config.project, self.core.config.region()),
            version: API_VERSION.to_owned(),
            offerings: self.core.offerings(ACT).await?,
            missing: permissions::missing_now(&self.core).await,
            ..Inventory::default()
        })
    }

    async fn list(&self, freshness: Freshness) -> Result<Vec<ObservedGuest>> {
        follow::list(&self.core, freshness).await
    }

    async fn find(&self, key: &Key, freshness: Freshness) -> Result<Option<ObservedGuest>> {
        follow::find(&self.core, key, freshness).await
    }

    async fn create(&self, wish: &GuestWish) -> Result<ObservedGuest> {
        create::create(&self.core, wish).await
    }

    async fn start(&self, wish: &GuestWish) -> Result<ObservedGuest> {
        const ACT: &str = "start the instance";
        let seen = self.core.existing(ACT, &wish.key).await?;
        let (action, verb) = match seen.guest.power {
            Power::Running | Power::Starting => return Ok(seen.guest),
            Power::Stopped => (Action::StartInstance, "start"),
            Power::Suspended => (Action::ResumeInstance, "resume"),
            _ => return Err(still(ACT, &seen)),
        };
        let api = &self.core.api;
        let sent = api.change(ACT, action, &format!("{}/{verb}", seen.path()), None).await;
        let operation = sent.map_err(|error| settling(&self.core, &seen, error))?;
        self.core.view.wrote(seen.with_power(Power::Starting));
        // A zone may have no room for what was stopped in it. That is told by the operation, and not before its end.
        match api.follow(ACT, &seen.zone, &operation).await {
            Ended::Failed(error) => {
                self.core.view.wrote(seen.clone());
                create::put_aside(&self.core, wish, &seen.zone, &error);
                Err(error)
            }
            Ended::Unknown(mut error) => {
                error.kind = ErrorKind::UnknownOutcome;
                Err(error)
            }
            Ended::Well | Ended::NotYet => {
                self.core.look(ACT, &wish.key.guest).await?;
                Ok(self.core.view.known(&wish.key).unwrap_or(seen).guest)
            }
        }
    }

    async fn stop(&self, key: &Key, mode: StopMode) -> Result<ObservedGuest> {
        const ACT: &str = "stop the instance";
        let seen = self.core.existing(ACT, key).await?;
        match seen.guest.power {
            Power::Stopped => return Ok(seen.guest),
            Power::Starting | Power::Terminating | Power::Unknown => return Err(still(ACT, &seen)),
            Power::Stopping => {
                self.core.standing(ACT, &seen.guest.provider_id).await?;
                return Ok(seen.guest);
            }
            _ => {}
        }
        if matches!(mode, StopMode::Soft(_)) {
            let message = "Google cuts the power of a system that does not shut down within 90 seconds, so Soft cannot be \
                           promised here: use TrySoft or Hard";
            return Err(ProviderError::new(ErrorKind::Invalid, ACT, message));
        }
        let request = Request::new(reqwest::Method::POST, format!("{}/stop", seen.path()));
        let request = if mode == StopMode::Hard { request.with("noGracefulShutdown", "true") } else { request };
        self.begin(ACT, &seen, Action::StopInstance, request, Power::Stopping).await
    }

    async fn suspend(&self, key: &Key) -> Result<ObservedGuest> {
        const ACT: &str = "suspend the instance";
        let seen = self.core.existing(ACT, key).await?;
        match seen.guest.power {
            Power::Suspended => return Ok(seen.guest),
            Power::Running => {}
            Power::Stopping => {
                self.core.standing(ACT, &seen.guest.provider_id).await?;
                return Err(still(ACT, &seen));
            }
            _ => return Err(still(ACT, &seen)),
        }
        let request = Request::new(reqwest::Method::POST, format!("{}/suspend", seen.path()));
        self.begin(ACT, &seen, Action::SuspendInstance, request, Power::Stopping).await
    }

    async fn amend(&self, wish: &GuestWish) -> Result<Amendment> {
        amend::amend(&self.core, wish).await
    }

    async fn adopt(&self, key: &Key, provider_id: &str) -> Result<ObservedGuest> {
        adopt::adopt(&self.core, key, provider_id).await
    }

    async fn release(&self, key: &Key) -> Result<()> {
        adopt::release(&self.core, key).await
    }

    async fn delete(&self, key: &Key) -> Result<Deletion> {
        removal::delete(&self.core, key).await
    }

    fn changes(&self) -> BoxStream<'static, Change> {
        follow::changes(&self.core)
    }

    fn settling_time(&self) -> Duration {
        self.core.config.settling
    }

    fn set_aside(&self) -> Vec<OfferingAside> {
        self.core.aside().current(Instant::now())
    }

    async fn close(&self) {
        self.core.api.closed.cancel();
    }
}

fn still(act: &str, seen: &Seen) -> ProviderError {
    let message = format!("instance {} is still {}", seen.guest.provider_id, seen.guest.power);
    ProviderError::new(ErrorKind::Unavailable, act, message.to_lowercase()).with_retry_after(MOVING)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_go_over_tls_or_stay_on_the_machine() {
        for (url, expected) in [
            ("https://compute.example.com", true),
            ("http://127.0.0.1:8401", true),
            ("http://localhost:8401", true),
            ("http://[::1]:8401", true),
            ("http://192.0.2.1", false),
            ("http://localhost.example.com", false),
            ("ftp://127.0.0.1", false),
        ] {
            assert_eq!(is_safe(&url.parse().unwrap()), expected, "{url}");
        }
    }
}
