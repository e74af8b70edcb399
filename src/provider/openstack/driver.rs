//! The operations of [`Provider`] on OpenStack.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::stream::BoxStream;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{adopt, amend, config::OpenstackConfig, convert::Seen, core::Core, create, fault::redact, removal, wire};
use crate::provider::{
    Amendment, Change, Deletion, ErrorKind, Freshness, GuestWish, Inventory, Key, Missing, ObservedGuest,
    OfferingAside, Power, Provider, ProviderError, Result, StopMode,
    rented::follow::{self, Region as _},
};

/// When to come back to a server that is between two states.
pub(super) const MOVING: Duration = Duration::from_secs(3);

/// One project in one region of OpenStack, for one owner.
#[derive(Debug)]
pub struct OpenstackProvider {
    core: Arc<Core>,
}

impl OpenstackProvider {
    /// Prepares a connection. Nothing is asked of the cloud yet.
    pub fn connect(config: OpenstackConfig) -> Result<Arc<Self>> {
        let refuse = |message: &str| Err(ProviderError::new(ErrorKind::Invalid, "connect to OpenStack", message));
        if config.region.is_empty() {
            return refuse("the region is empty");
        }
        if config.owner.0.is_empty() {
            return refuse("the owner is empty");
        }
        Ok(Arc::new(Self { core: Arc::new(Core::new(config)?) }))
    }

    /// Asks Nova for a change of state, and notes what the server is then on its way to.
    async fn shift(&self, act: &str, seen: &Seen, what: Value, to: Power) -> Result<ObservedGuest> {
        unlocked(&self.core, act, seen, what).await?;
        let now = seen.with_power(to);
        self.core.view.wrote(now.clone());
        Ok(now.guest)
    }

    /// Types of the pool that the cloud does not have.
    async fn missing(&self, act: &str) -> Result<Vec<Missing>> {
        let mut missing = Vec::new();
        for name in &self.core.config.types {
            match self.core.flavor(act, name).await {
                Ok(_) => {}
                Err(error) if error.kind == ErrorKind::Invalid => {
                    missing.push(Missing { what: format!("flavour {name}"), why: error.message });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(missing)
    }
}

/// Does something with a server. A lock of ours is taken off for as long as that takes: it is there to keep the server from
/// being removed. Whoever dies here leaves it off until the next amendment.
pub(super) async fn unlocked(core: &Core, act: &str, seen: &Seen, what: Value) -> Result<()> {
    if !seen.held {
        return core.act(act, seen, what).await;
    }
    core.act(act, seen, json!({ "unlock": null })).await?;
    let done = core.act(act, seen, what).await;
    create::hold(core, seen, act).await?;
    done
}

impl Drop for OpenstackProvider {
    fn drop(&mut self) {
        self.core.api.closed.cancel();
    }
}

#[async_trait]
impl Provider for OpenstackProvider {
    async fn inventory(&self) -> Result<Inventory> {
        // Shows that Nova answers and takes the token, and is needed anyhow.
        const ACT: &str = "read the inventory";
        self.core.refresh(ACT).await?;
        Ok(Inventory {
            id: self.core.api.pool(ACT).await?,
            version: format!("Nova ({})", wire::MICROVERSION),
            missing: self.missing(ACT).await?,
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
        const ACT: &str = "start the server";
        let seen = self.core.existing(ACT, &wish.key).await?;
        let what = match (seen.guest.power, seen.status.as_str()) {
            (Power::Running | Power::Starting, _) => return Ok(seen.guest),
            _ if seen.guest.busy || seen.status == "VERIFY_RESIZE" => return Err(still(ACT, &seen)),
            (Power::Suspended, _) => json!({ "resume": null }),
            (Power::Paused, _) => json!({ "unpause": null }),
            (Power::Stopped, "SHELVED" | "SHELVED_OFFLOADED") => json!({ "unshelve": null }),
            (Power::Stopped, "SHUTOFF") => json!({ "os-start": null }),
            _ => return Err(still(ACT, &seen)),
        };
        self.shift(ACT, &seen, what, Power::Starting).await
    }

    async fn stop(&self, key: &Key, mode: StopMode) -> Result<ObservedGuest> {
        const ACT: &str = "stop the server";
        let seen = self.core.existing(ACT, key).await?;
        match (seen.guest.power, mode) {
            (Power::Stopped | Power::Stopping, _) => return Ok(seen.guest),
            (_, StopMode::Soft(_)) => {
                let message = "Nova cuts the power of a system that does not shut down within a minute or so, so Soft \
                               cannot be promised here: use TrySoft or Hard";
                return Err(ProviderError::new(ErrorKind::Invalid, ACT, message));
            }
            // Nova cannot stop what has not started, nor what sleeps.
            (Power::Running, _) if !seen.guest.busy => {}
            _ => return Err(still(ACT, &seen)),
        }
        self.shift(ACT, &seen, json!({ "os-stop": null }), Power::Stopping).await
    }

    async fn suspend(&self, key: &Key) -> Result<ObservedGuest> {
        const ACT: &str = "suspend the server";
        let seen = self.core.existing(ACT, key).await?;
        match seen.guest.power {
            Power::Suspended => Ok(seen.guest),
            Power::Running if !seen.guest.busy => {
                self.shift(ACT, &seen, json!({ "suspend": null }), Power::Stopping).await
            }
            _ => Err(still(ACT, &seen)),
        }
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

/// A server that cannot be acted upon now, with what is wrong with it where Nova says so.
pub(super) fn still(act: &str, seen: &Seen) -> ProviderError {
    let id = &seen.guest.provider_id;
    let message = match (&seen.fault, seen.status.as_str()) {
        (Some(fault), "ERROR") => {
            let words = redact(&fault.message);
            format!("server {id} is in error and needs an administrator of the cloud: {words}")
        }
        (_, "VERIFY_RESIZE") => format!("server {id} waits for its resize to be confirmed or reverted"),
        (_, status) => format!("server {id} is still {}", status.to_lowercase()),
    };
    ProviderError::new(ErrorKind::Unavailable, act, message).with_retry_after(MOVING)
}
