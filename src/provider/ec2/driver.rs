//! The operations of [`Provider`] on EC2.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::stream::BoxStream;
use tokio::time::{Instant, sleep};

use super::{
    Ec2Config,
    action::Action,
    adopt, amend,
    convert::{self, Seen},
    core::Core,
    launch, permissions, removal,
};
use crate::provider::{
    Amendment, Change, Deletion, ErrorKind, Freshness, GuestWish, Inventory, Key, ObservedGuest, OfferingAside, Power,
    Provider, ProviderError, Result, StopMode,
    rented::{
        aside::Offering,
        follow::{self, Region as _},
        snapshot::Launch,
    },
};

/// Version of the API that the SDK speaks. EC2 has had no other since.
const API_VERSION: &str = "EC2 2016-11-15";

/// When to look for an instance whose launch was not answered, in parts of the settling time: now and, since most reads
/// follow their writes soon, twice more. Who calls has more patience.
const LOOKS: [f64; 3] = [0.0, 1.0 / 40.0, 1.0 / 20.0];

/// When to come back to an instance that is between two states.
pub(super) const MOVING: Duration = Duration::from_secs(3);

/// One region of EC2, for one owner.
#[derive(Debug)]
pub struct Ec2Provider {
    core: Arc<Core>,
}

impl Ec2Provider {
    /// Prepares a connection. Nothing is asked of EC2 yet.
    pub async fn connect(config: Ec2Config) -> Result<Arc<Self>> {
        let refuse = |message: &str| Err(ProviderError::new(ErrorKind::Invalid, "connect to EC2", message));
        if config.region.is_empty() {
            return refuse("the region is empty");
        }
        if config.owner.0.is_empty() {
            return refuse("the owner is empty");
        }
        if config.endpoint.as_ref().is_some_and(|url| !matches!(url.scheme(), "http" | "https")) {
            return refuse("the endpoint is neither an http nor an https URL");
        }
        Ok(Arc::new(Self { core: Arc::new(Core::new(config).await?) }))
    }

    /// How often each operation of the API was called so far.
    #[must_use]
    pub fn calls(&self) -> BTreeMap<Action, u64> {
        self.core.api.calls.counts()
    }

    /// Whether nothing has changed for a while and nothing is about to, so that reads come slowly.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        self.core.is_at_rest()
    }

    /// `NotFound` for an instance that we have just launched means that EC2's parts do not all know it yet.
    fn settling(&self, seen: &Seen, error: ProviderError) -> ProviderError {
        let id = &seen.guest.provider_id;
        if error.kind == ErrorKind::NotFound && self.core.view.snapshot().is_settling(id, Instant::now()) {
            let message = format!("instance {id} is so new that EC2 does not know it everywhere yet");
            return ProviderError::new(ErrorKind::Unavailable, error.act, message).with_retry_after(MOVING);
        }
        error
    }

    /// EC2 says that what this launch would make was made and terminated. It may not show it any more.
    async fn terminated_before(&self, act: &str, wish: &GuestWish, error: &ProviderError) -> Result<ObservedGuest> {
        self.core.look(act, &wish.key.guest).await?;
        let known = self.core.view.known(&wish.key).map(|seen| seen.guest);
        Ok(known.unwrap_or_else(|| convert::terminated(wish.key.clone(), &error.message)))
    }

    /// A launch was not answered, or its token is taken: look before anything else.
    async fn after_launch(&self, act: &str, wish: &GuestWish, mut error: ProviderError) -> Result<ObservedGuest> {
        for part in LOOKS {
            sleep(self.core.config.settling.mul_f64(part)).await;
            // A failed look tells nothing: the launch's own outcome stays unknown.
            if self.core.look(act, &wish.key.guest).await.is_ok()
                && let Some(seen) = self.core.view.known(&wish.key)
            {
                return Ok(seen.guest);
            }
        }
        error.kind = ErrorKind::UnknownOutcome;
        Err(error)
    }
}

impl Drop for Ec2Provider {
    fn drop(&mut self) {
        self.core.api.closed.cancel();
    }
}

#[async_trait]
impl Provider for Ec2Provider {
    async fn inventory(&self) -> Result<Inventory> {
        // Shows that the endpoint answers and takes the credentials, and is needed anyhow.
        const ACT: &str = "read the inventory";
        self.core.refresh(ACT).await?;
        let (offerings, prices) = self.core.offerings(ACT).await?;
        Ok(Inventory {
            id: self.core.config.region.clone(),
            version: API_VERSION.to_owned(),
            offerings,
            prices,
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
        const ACT: &str = "launch the instance";
        let (core, guest) = (&self.core, &wish.key.guest);
        core.look(ACT, guest).await?;
        if let Some(seen) = core.view.known(&wish.key) {
            core.retire_surplus().await;
            return Ok(seen.guest);
        }
        let image = core.image(ACT, &wish.image).await?;
        let request = launch::request(&core.config, wish, &image)?;
        let kind = request.get_instance_type().as_ref().map(ToString::to_string).unwrap_or_default();
        let offering = Offering { instance_type: kind, zone: wish.zone.clone(), spot: wish.spot };
        let launch = Launch { token: request.get_client_token().clone().unwrap_or_default(), sent: Instant::now() };
        if core.view.snapshot().is_launched_otherwise(guest, &launch.token, launch.sent) {
            let message = "another launch of this guest was not answered and may still turn up";
            return Err(ProviderError::new(ErrorKind::UnknownOutcome, ACT, message));
        }
        let before = core.view.snapshot().launching(guest, launch);
        let error = match core.api.call(ACT, Action::RunInstances, || request.clone().send_with(core.api.ec2())).await {
            Ok(reply) => match reply.instances() {
                [instance, ..] if instance.instance_id().is_some() => {
                    let seen = convert::seen(wish.key.clone(), instance);
                    core.view.wrote(seen.clone());
                    if core.aside().launched(&offering) {
                        core.view.tell([Change::Pool]);
                    }
                    return Ok(seen.guest);
                }
                _ => ProviderError::new(ErrorKind::UnknownOutcome, ACT, "the reply names no instance"),
            },
            Err(error) => error,
        };
        core.view.touch();
        let said = error.code.as_deref();
        if error.kind == ErrorKind::UnknownOutcome || said == Some("IdempotentParameterMismatch") {
            return self.after_launch(ACT, wish, error).await;
        }
        core.view.snapshot().refused(guest, before);
        if error.kind == ErrorKind::Capacity {
            core.aside().refused(&offering, said.unwrap_or_default(), Instant::now());
            // The pool's status must say so before the guest is placed anew.
            core.view.tell([Change::Pool]);
        }
        if said == Some("IdempotentInstanceTerminated") {
            return self.terminated_before(ACT, wish, &error).await;
        }
        Err(error)
    }

    async fn start(&self, wish: &GuestWish) -> Result<ObservedGuest> {
        const ACT: &str = "start the instance";
        let seen = self.core.existing(ACT, &wish.key).await?;
        match seen.guest.power {
            Power::Running | Power::Starting => {
                self.core.stopped(&seen.guest.provider_id);
                return Ok(seen.guest);
            }
            Power::Stopping => return Err(still(ACT, &seen)),
            _ => {}
        }
        let api = &self.core.api;
        let send = || api.ec2().start_instances().instance_ids(&seen.guest.provider_id).send();
        let reply = api.call(ACT, Action::StartInstances, send).await.map_err(|error| self.settling(&seen, error))?;
        self.core.wrote_states(std::slice::from_ref(&seen), reply.starting_instances());
        Ok(self.core.view.known(&wish.key).unwrap_or(seen).guest)
    }

    async fn stop(&self, key: &Key, mode: StopMode) -> Result<ObservedGuest> {
        const ACT: &str = "stop the instance";
        let seen = self.core.existing(ACT, key).await?;
        let id = &seen.guest.provider_id;
        match seen.guest.power {
            Power::Stopped => {
                self.core.stopped(id);
                return Ok(seen.guest);
            }
            // EC2 cannot stop what has not started.
            Power::Starting => return Err(still(ACT, &seen)),
            _ => {}
        }
        let stopping = seen.guest.power == Power::Stopping;
        let force = match mode {
            StopMode::Hard => true,
            // Since when is only in our memory: after a restart the system has its time anew, and no more than that is lost.
            StopMode::TrySoft(patience) if stopping => self.core.stopping(id).since.elapsed() >= patience,
            StopMode::Soft(_) if !stopping => {
                let message = "EC2 cuts the power of a system that does not shut down within minutes, so Soft cannot be \
                               promised here: use TrySoft or Hard";
                return Err(ProviderError::new(ErrorKind::Invalid, ACT, message));
            }
            StopMode::TrySoft(_) | StopMode::Soft(_) => false,
        };
        if stopping && (!force || self.core.stopping(id).by_force) {
            return Ok(seen.guest);
        }
        let api = &self.core.api;
        let request = api.ec2().stop_instances().instance_ids(id).force(force);
        let send = || request.clone().send();
        let reply = api.call(ACT, Action::StopInstances, send).await.map_err(|error| self.settling(&seen, error))?;
        self.core.asked_to_stop(id, !stopping, force);
        self.core.wrote_states(std::slice::from_ref(&seen), reply.stopping_instances());
        Ok(self.core.view.known(key).unwrap_or(seen).guest)
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
