//! Leader election on a Lease, so that one operator acts and the others stand by.
//!
//! What is decided is in `decide`; here are the calls. Each has a deadline and is tried once: what failed is tried again
//! after a pause, on what is then so.

pub mod decide;
mod mandate;
mod object;

pub use mandate::{Mandate, NotLeading};

use std::time::Duration;

use k8s_openapi::{api::coordination::v1::Lease, jiff::Timestamp};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use tokio::time::sleep;
use tracing::{debug, info, warn};

use super::{ApiError, call_within, chain};
use decide::{Decision, Moment, Sight, Timing};

/// How often giving the Lease back is tried.
const GIVING_BACK: u8 = 3;

/// Where the Lease is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// Why an operator leads no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// It could not renew in time.
    NotRenewed,
    /// The Lease is somebody else's, or was removed.
    Taken,
}

/// One who leads or wants to.
pub struct Candidate {
    api: Api<Lease>,
    name: String,
    timing: Timing,
    mandate: Mandate,
    /// The Lease as it was last read or written.
    lease: Option<Lease>,
    sight: Option<Sight>,
    valid_until: Option<Moment>,
}

impl Candidate {
    /// A candidate for this Lease. `client` must not be one whose writes need the mandate.
    #[must_use]
    pub fn new(client: Client, lease: &LeaseName, timing: Timing, mandate: Mandate) -> Self {
        Self {
            api: Api::namespaced(client, &lease.namespace),
            name: lease.name.clone(),
            timing,
            mandate,
            lease: None,
            sight: None,
            valid_until: None,
        }
    }

    /// Stands by until it leads.
    pub async fn acquire(&mut self) {
        let mut last_holder = None;
        loop {
            match self.try_to_acquire().await {
                Ok(()) if self.valid_until.is_some() => break,
                Ok(()) => {}
                Err(error) if error.is_conflict() => debug!("another candidate was quicker"),
                Err(error) => warn!(error = chain(&error), "cannot stand for leader, trying again"),
            }
            let holder = self.holder();
            if holder != last_holder {
                info!(leader = holder, lease = self.name, "standing by");
                last_holder = holder;
            }
            sleep(jittered(self.timing.retry)).await;
        }
        info!(holder = self.mandate.holder(), epoch = self.mandate.epoch(), "leading");
    }

    async fn try_to_acquire(&mut self) -> Result<(), ApiError> {
        let now = self.look().await?;
        match self.decide(now) {
            Decision::Acquire => self.write(true).await,
            Decision::Follow { .. } | Decision::Renew | Decision::Lost => Ok(()),
        }
    }

    /// Renews until that fails for too long or somebody else has the Lease.
    pub async fn keep(&mut self) -> Loss {
        let mut pause = self.timing.renew_every;
        loop {
            let left = self.valid_until.map_or(Duration::ZERO, |end| Moment::now().until(end));
            sleep(jittered(pause).min(left)).await;
            pause = self.timing.renew_every;
            if let Err(error) = self.write(false).await {
                pause = self.timing.retry;
                warn!(error = chain(&error), "the lease was not renewed, trying again");
                // Somebody wrote it, or an earlier renewal of ours has landed though its answer was lost.
                if error.is_conflict() || error.is_not_found() {
                    drop(self.look().await);
                }
            }
            let now = Moment::now();
            match self.decide(now) {
                Decision::Renew => {}
                _ if self.valid_until.is_none_or(|end| now >= end) => return self.lose(Loss::NotRenewed),
                _ => return self.lose(Loss::Taken),
            }
        }
    }

    fn lose(&mut self, loss: Loss) -> Loss {
        self.mandate.revoke();
        self.valid_until = None;
        loss
    }

    /// Gives the Lease back, so that the next leader need not wait for its end. What is under way must have ended.
    pub async fn release(&mut self) {
        self.mandate.revoke();
        if self.valid_until.take().is_none() {
            return;
        }
        for _ in 0..GIVING_BACK {
            let Some(mut lease) = self.lease.clone() else { return };
            object::give_back(&mut lease, Timestamp::now());
            match self.call("give the lease back", self.api.replace(&self.name, &PostParams::default(), &lease)).await {
                Ok(_) => {
                    info!("gave the lease back");
                    return;
                }
                Err(error) => warn!(error = chain(&error), "the lease was not given back"),
            }
            // A renewal that was cut off may have landed: then it is ours in another form than we know.
            if let Err(error) = self.look().await {
                warn!(error = chain(&error), "it is not known who holds the lease");
            }
            if self.holder().is_none_or(|holder| holder != self.mandate.holder()) {
                return;
            }
        }
        // The next leader waits for its end.
    }

    /// Who leads as far as is known.
    fn holder(&self) -> Option<String> {
        self.sight.as_ref()?.record.as_ref()?.holder.clone()
    }

    fn decide(&self, now: Moment) -> Decision {
        match &self.sight {
            Some(sight) => decide::decide(self.mandate.holder(), sight, self.valid_until, now),
            None => Decision::Lost,
        }
    }

    /// Reads the Lease. Returns when it was read.
    async fn look(&mut self) -> Result<Moment, ApiError> {
        let lease = self.call("read the lease", self.api.get_opt(&self.name)).await?;
        let now = Moment::now();
        self.saw(lease, now);
        Ok(now)
    }

    fn saw(&mut self, lease: Option<Lease>, now: Moment) {
        let record = lease.as_ref().map(object::record);
        self.sight = Some(Sight::after_look(self.sight.take(), record, now));
        self.lease = lease;
    }

    /// Writes ourselves into the Lease, on the condition that it is still the one that was seen.
    async fn write(&mut self, anew: bool) -> Result<(), ApiError> {
        let mut lease = self.lease.clone().unwrap_or_else(|| Lease {
            metadata: ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
            spec: None,
        });
        object::claim(&mut lease, self.mandate.holder(), self.timing.term, anew, Timestamp::now());
        let (sent, params) = (Moment::now(), PostParams::default());
        let written = if lease.metadata.resource_version.is_some() {
            self.call("write the lease", self.api.replace(&self.name, &params, &lease)).await?
        } else {
            self.call("make the lease", self.api.create(&params, &lease)).await?
        };
        let end = sent.after(self.timing.renew_within);
        let epoch = object::transitions(&written);
        self.saw(Some(written), Moment::now());
        self.valid_until = Some(end);
        self.mandate.extend(end, epoch);
        Ok(())
    }

    async fn call<T>(&self, act: &str, request: impl Future<Output = kube::Result<T>> + Send) -> Result<T, ApiError> {
        call_within(act, self.timing.call(), request).await
    }
}

/// Between four fifths and all of it, so that candidates do not come at the same moment again and again.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.8 + 0.2 * rand::random::<f64>())
}

/// Who we are: unlike every other process that ever was.
#[must_use]
pub fn identity() -> String {
    let pod = std::env::var("POD_NAME").or_else(|_| std::env::var("HOSTNAME")).ok().filter(|name| !name.is_empty());
    let host = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    let random = uuid::Uuid::new_v4().simple().to_string();
    format!("{}_{}", pod.unwrap_or_else(host), random.get(..8).unwrap_or_default())
}

#[cfg(test)]
mod tests;
