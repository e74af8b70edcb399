//! The connections to the pools: opened when a pool is first seen, opened anew when its spec or its credentials change,
//! and each with a task that passes on what changes at the provider.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::StreamExt as _;
use kube::{ResourceExt as _, runtime::reflector::ObjectRef};
use tokio::{sync::Mutex, task::JoinHandle};
use tracing::{Instrument as _, info};

use super::{
    connect::{self, Catalogue, Connection, Secrets},
    facts::Trouble,
};
use crate::{
    api::{CloudPool, Guest, cloud_pool::ProviderSpec},
    provider::{Change, Entry, ErrorKind, Observed, Observer, Owner, Provider, Registry},
    runtime::{queue::Nudge, trace},
};

/// Told of a pool when its connection opened or everything there may have changed.
pub type OnPool = Box<dyn Fn(&str) + Send + Sync>;

/// The connections.
pub struct Links {
    registry: Arc<Registry>,
    open: Mutex<HashMap<String, Link>>,
    guests: Nudge<Guest>,
    pools: Nudge<CloudPool>,
    on_pool: Arc<OnPool>,
    observer: Observer,
    refused: Mutex<HashMap<String, Refused>>,
}

/// What a connection was made from: another one means another connection.
type MadeFrom = (ProviderSpec, Secrets, Option<Catalogue>, Vec<String>);

/// Connecting failed: with the same credentials it is not tried again at once, whatever asks for a look at the pool.
struct Refused {
    made_from: MadeFrom,
    trouble: Trouble,
    until: Instant,
}

/// How long after an attempt the next one with the same credentials and settings is made.
fn pause(trouble: &Trouble) -> Duration {
    match trouble.kind {
        ErrorKind::Auth => Duration::from_secs(30),
        _ => Duration::from_secs(4),
    }
}

struct Link {
    made_from: MadeFrom,
    provider: Arc<dyn Provider>,
    forwarding: JoinHandle<()>,
}

impl Links {
    /// No connections yet. `guests` and `pools` are told what changes at the providers; `on_pool` when all guests of a
    /// pool need a look; `observer` looks on at every call.
    #[must_use]
    pub fn new(
        registry: Arc<Registry>,
        guests: Nudge<Guest>,
        pools: Nudge<CloudPool>,
        on_pool: OnPool,
        observer: Observer,
    ) -> Self {
        Self {
            registry,
            open: Mutex::default(),
            guests,
            pools,
            on_pool: Arc::new(on_pool),
            observer,
            refused: Mutex::default(),
        }
    }

    /// The connection to a pool, as its spec and its Secrets now say. Where the Secrets cannot be read, an open
    /// connection is kept: guests must be able to leave a pool whose Secret was deleted first.
    pub(super) async fn open(
        &self,
        wished: &CloudPool,
        secrets: Result<Secrets, Trouble>,
        owner: &Owner,
    ) -> Result<Arc<dyn Provider>, Trouble> {
        let (name, spec) = (wished.name_any(), &wished.spec.provider);
        let pool = name.as_str();
        // Not held while connecting: a pool that does not answer must not hold up the others. Each pool has one run at a
        // time, so nobody else opens or cuts this one meanwhile.
        let known = self.open.lock().await.get(pool).map(|link| (link.made_from.clone(), Arc::clone(&link.provider)));
        let secrets = match (secrets, &known) {
            (Ok(secrets), _) => secrets,
            (Err(_), Some((made_from, _))) if made_from.0 == *spec => made_from.1.clone(),
            (Err(trouble), _) => return Err(self.failed(pool, known.is_some(), trouble)),
        };
        let made_from = (spec.clone(), secrets, Catalogue::of(&wished.spec), connect::types(&wished.spec));
        if let Some((_, provider)) = known.as_ref().filter(|(old, _)| *old == made_from) {
            return Ok(Arc::clone(provider));
        }
        let caller = self.observer.mandate.signature();
        let connection = Connection {
            secrets: &made_from.1,
            owner,
            caller: &caller,
            expected_id: wished.status.as_ref().and_then(|status| status.provider.as_ref()?.id.as_deref()),
            catalogue: made_from.2.as_ref(),
            image: wished.spec.images.first().map(|image| image.provider_id.as_str()),
            types: &made_from.3,
        };
        if let Some(trouble) = self.recently_refused(pool, &made_from).await {
            return Err(self.failed(pool, known.is_some(), trouble));
        }
        let (began, span) = (Instant::now(), trace::provider_call("connect", pool));
        let connected = connect::connect(spec, &connection).instrument(span.clone()).await;
        let outcome = connected.as_ref().map_or_else(|trouble| trouble.kind.reason(), |_| "ok");
        self.observer.metrics.called(pool, "connect", outcome, began.elapsed());
        trace::ends(&span, outcome);
        let provider: Arc<dyn Provider> = match connected {
            Ok(provider) => Arc::new(Observed::new(provider, pool, self.observer.clone())),
            Err(trouble) => {
                let until = Instant::now() + pause(&trouble);
                let refused = Refused { made_from, trouble: trouble.clone(), until };
                self.refused.lock().await.insert(pool.to_owned(), refused);
                return Err(self.failed(pool, known.is_some(), trouble));
            }
        };
        self.refused.lock().await.remove(pool);
        info!(pool, "connected");
        let forwarding = tokio::spawn(self.forward(pool.to_owned(), Arc::clone(&provider)));
        let link = Link { made_from, provider: Arc::clone(&provider), forwarding };
        let before = self.open.lock().await.insert(pool.to_owned(), link);
        self.registry.set(pool, Entry::Open(Arc::clone(&provider)));
        if let Some(before) = before {
            close(before).await;
        }
        (self.on_pool)(pool);
        Ok(provider)
    }

    async fn recently_refused(&self, pool: &str, made_from: &MadeFrom) -> Option<Trouble> {
        let refused = self.refused.lock().await;
        let last = refused.get(pool).filter(|last| last.until > Instant::now() && last.made_from == *made_from)?;
        Some(last.trouble.clone())
    }

    /// A connection as wished could not be had. One that worked until now may still work: it is left until a better one
    /// is there.
    fn failed(&self, pool: &str, is_open: bool, trouble: Trouble) -> Trouble {
        if !is_open {
            self.registry.set(pool, Entry::Closed(trouble.message.clone()));
        }
        trouble
    }

    /// Closes the connection to a pool.
    pub(super) async fn cut(&self, pool: &str) {
        let link = self.open.lock().await.remove(pool);
        self.registry.remove(pool);
        self.refused.lock().await.remove(pool);
        self.observer.metrics.forget_pool(pool);
        if let Some(link) = link {
            close(link).await;
        }
    }

    /// Closes all connections: sessions are logged out.
    pub async fn cut_all(&self) {
        let links = std::mem::take(&mut *self.open.lock().await);
        self.registry.drain();
        futures::future::join_all(links.into_values().map(close)).await;
    }

    fn forward(&self, pool: String, provider: Arc<dyn Provider>) -> impl Future<Output = ()> + Send + 'static {
        let (guests, pools, on_pool) = (self.guests.clone(), self.pools.clone(), Arc::clone(&self.on_pool));
        let mut changes = provider.changes();
        // The stream must not keep the provider alive: it ends when the provider is closed.
        drop(provider);
        async move {
            while let Some(change) = changes.next().await {
                match change {
                    Change::Guest { namespace, name } => guests.look_at(ObjectRef::new(&name).within(&namespace)),
                    Change::Pool => pools.look_at(ObjectRef::new(&pool)),
                    Change::Everything => {
                        pools.look_at(ObjectRef::new(&pool));
                        on_pool(&pool);
                    }
                }
            }
        }
    }
}

async fn close(link: Link) {
    link.provider.close().await;
    link.forwarding.abort();
}
