//! The shared inside of a connection: the client, what is known, who wants to hear of changes.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use async_trait::async_trait;
use tokio::{sync::Semaphore, time::Instant};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    client::{Api, Request},
    config::{OpenstackConfig, Refresh},
    convert::{self, Seen},
    flavors::{Catalogue, Found},
    lease::Lease,
    tidy::{self, Swept},
    wire::Flavor,
};
use crate::provider::{
    ErrorKind, Key, ProviderError, Result,
    rented::{
        aside::Aside,
        follow::{Pace, Region, View, locked},
        snapshot::Rented as _,
    },
};

/// Creations that are under way at a time.
const CREATIONS: usize = 4;

/// One lock for each guest that something is done with.
type Turns = BTreeMap<String, Arc<tokio::sync::Mutex<()>>>;

#[derive(Debug)]
pub(super) struct Core {
    pub(super) config: OpenstackConfig,
    pub(super) api: Api,
    /// What is known.
    pub(super) view: View<Seen>,
    /// Creations under way: each needs a server group, of which a project may have ten where nobody says otherwise.
    pub(super) creations: Semaphore,
    /// The name of this connection among all that there ever were.
    pub(super) me: String,
    aside: Mutex<Aside>,
    flavors: tokio::sync::Mutex<Catalogue>,
    turns: Mutex<Turns>,
    swept: Mutex<Swept>,
}

impl Core {
    pub(super) fn new(config: OpenstackConfig) -> Result<Self> {
        Ok(Self {
            api: Api::new(&config)?,
            view: View::new(config.settling),
            creations: Semaphore::new(CREATIONS),
            me: Uuid::new_v4().to_string(),
            aside: Mutex::default(),
            flavors: tokio::sync::Mutex::default(),
            turns: Mutex::default(),
            swept: Mutex::default(),
            config,
        })
    }

    /// What is put aside for want of room.
    pub(super) fn aside(&self) -> MutexGuard<'_, Aside> {
        locked(&self.aside)
    }

    /// The guest's turn: creations and removals of one guest come one after the other.
    pub(super) fn turn(&self, guest: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = locked(&self.turns);
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        Arc::clone(turns.entry(guest.to_owned()).or_default())
    }

    /// Whether creations that are on their way can be kept from coming true: see [`super::fence`].
    pub(super) const fn is_fenced(&self) -> bool {
        self.config.server_group.is_none()
    }

    /// The lease of this name.
    pub(super) fn lease<'a>(&'a self, act: &'a str, name: &'a str) -> Lease<'a> {
        let patience = self.config.settling;
        // As long as the call may have taken, and a while.
        let own = self.is_fenced().then(|| self.config.deadline + patience / 4);
        Lease { api: &self.api, act, name, me: &self.me, patience, own }
    }

    /// What is known of server groups of ours.
    pub(super) fn swept(&self) -> MutexGuard<'_, Swept> {
        locked(&self.swept)
    }

    /// The guest's VM for an operation that needs one.
    pub(super) async fn existing(&self, act: &str, key: &Key) -> Result<Seen> {
        self.look(act, &key.guest).await?;
        let not_found = |message: &str| Err(ProviderError::new(ErrorKind::NotFound, act, message));
        match self.view.known(key) {
            Some(seen) if seen.is_live() => Ok(seen),
            Some(seen) => not_found(&format!("server {} is being removed", seen.guest.provider_id)),
            None => not_found("the guest has no server"),
        }
    }

    /// One server of ours as it is now.
    pub(super) async fn again(&self, act: &str, seen: &Seen) -> Result<Seen> {
        let server = self.api.server(act, &seen.guest.provider_id).await?;
        let now = convert::seen(seen.guest.key.clone(), &server);
        self.view.wrote(now.clone());
        Ok(now)
    }

    /// Asks Nova to do something with a server.
    pub(super) async fn act(&self, act: &str, seen: &Seen, what: serde_json::Value) -> Result<()> {
        let path = format!("/servers/{}/action", seen.guest.provider_id);
        self.api.call(act, Request::post(path, what)).await?;
        self.view.touch();
        Ok(())
    }

    /// The flavour of this name.
    pub(super) async fn flavor(&self, act: &str, name: &str) -> Result<Flavor> {
        let mut flavors = self.flavors.lock().await;
        if flavors.is_due(name, Instant::now()) {
            flavors.learn(self.api.flavors(act).await?, Instant::now());
        }
        let refuse = |message: String| Err(ProviderError::new(ErrorKind::Invalid, act, message));
        match flavors.find(name) {
            Found::One(flavor) => Ok(flavor.clone()),
            Found::Several => refuse(format!("several flavours are called {name}: have all but one renamed")),
            Found::None => refuse(format!(
                "the cloud has no flavour {name} for this project: correct the pool's types, or have it given access"
            )),
        }
    }
}

#[async_trait]
impl Region for Core {
    type Seen = Seen;

    const NAME: &'static str = "OpenStack";

    fn view(&self) -> &View<Seen> {
        &self.view
    }

    fn pace(&self) -> Pace {
        let Refresh { quick, slow, lively } = self.config.refresh;
        Pace { quick, moving: quick, slow, lively }
    }

    fn closed(&self) -> &CancellationToken {
        &self.api.closed
    }

    async fn read(&self, act: &str, guest: Option<&str>) -> Result<Vec<Seen>> {
        let owner = &self.config.owner;
        let tags: Vec<String> =
            std::iter::once(convert::owner_tag(owner)).chain(guest.map(convert::guest_tag)).collect();
        let servers = self.api.servers(act, &tags, self.config.page_size).await?;
        Ok(servers.iter().filter_map(|server| convert::ours(owner, server)).collect())
    }

    async fn tidy(&self) {
        tidy::tidy(self).await;
    }
}
