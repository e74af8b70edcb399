//! A provider as controllers see it: each call is measured, and what has effects is only done while the mandate lasts.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use futures::{StreamExt as _, stream::BoxStream};
use tracing::Instrument as _;

use super::{
    Amendment, Change, Deletion, ErrorKind, Freshness, GuestWish, Inventory, Key, ObservedGuest, OfferingAside,
    Provider, ProviderError, Result, StopMode,
};
use crate::runtime::{
    lease::{Mandate, NotLeading},
    metrics::Metrics,
    trace,
};

/// Every operation, as it is named in metrics.
pub const OPERATIONS: [&str; 13] = [
    "inventory",
    "list",
    "find",
    "create",
    "start",
    "stop",
    "amend",
    "suspend",
    "migrate",
    "adopt",
    "release",
    "delete",
    "connect",
];

/// Who looks on.
#[derive(Clone)]
pub struct Observer {
    /// Where calls are counted.
    pub metrics: Arc<Metrics>,
    /// The right to act.
    pub mandate: Mandate,
}

/// What we did to guests and have not heard of from the provider yet.
type Unheard = Mutex<HashMap<(String, String), Instant>>;

/// A longer silence is not a slow event: the provider tells nothing of what changed nothing.
const FORGOTTEN: Duration = Duration::from_mins(5);

/// A provider that is looked on.
pub struct Observed {
    inner: Arc<dyn Provider>,
    pool: String,
    observer: Observer,
    unheard: Arc<Unheard>,
}

impl From<NotLeading> for ProviderError {
    fn from(not_leading: NotLeading) -> Self {
        let kind = if not_leading.begun { ErrorKind::UnknownOutcome } else { ErrorKind::Unavailable };
        Self::new(kind, "ask the pool", not_leading.to_string())
    }
}

impl Observed {
    /// Looks on at the provider of a pool.
    #[must_use]
    pub fn new(inner: Arc<dyn Provider>, pool: &str, observer: Observer) -> Self {
        Self { inner, pool: pool.to_owned(), observer, unheard: Arc::default() }
    }

    async fn measured<T>(&self, operation: &'static str, call: impl Future<Output = Result<T>>) -> Result<T> {
        let (began, span) = (Instant::now(), trace::provider_call(operation, &self.pool));
        let answer = call.instrument(span.clone()).await;
        let outcome = answer.as_ref().map_or_else(|error| error.kind.reason(), |_| "ok");
        self.observer.metrics.called(&self.pool, operation, outcome, began.elapsed());
        trace::ends(&span, outcome);
        answer
    }

    async fn acting<T>(&self, operation: &'static str, key: &Key, call: impl Future<Output = Result<T>>) -> Result<T> {
        let answer = self.measured(operation, self.observer.mandate.guard(call)).await;
        if answer.is_ok() {
            let mut unheard = self.unheard.lock().unwrap_or_else(PoisonError::into_inner);
            unheard.retain(|_, since| since.elapsed() < FORGOTTEN);
            unheard.insert((key.namespace.clone(), key.name.clone()), Instant::now());
        }
        answer
    }
}

/// How long the provider took to tell of what we did to this guest, where we did something.
fn heard(unheard: &Unheard, change: &Change) -> Option<Duration> {
    let Change::Guest { namespace, name } = change else { return None };
    let mut unheard = unheard.lock().unwrap_or_else(PoisonError::into_inner);
    unheard.remove(&(namespace.clone(), name.clone())).map(|since| since.elapsed()).filter(|lag| *lag < FORGOTTEN)
}

// Every method of the trait stands here, also those that it has a body for: a test counts them.
#[async_trait]
impl Provider for Observed {
    async fn inventory(&self) -> Result<Inventory> {
        self.measured("inventory", self.inner.inventory()).await
    }

    async fn list(&self, freshness: Freshness) -> Result<Vec<ObservedGuest>> {
        self.measured("list", self.inner.list(freshness)).await
    }

    async fn find(&self, key: &Key, freshness: Freshness) -> Result<Option<ObservedGuest>> {
        self.measured("find", self.inner.find(key, freshness)).await
    }

    async fn create(&self, wish: &GuestWish) -> Result<ObservedGuest> {
        self.acting("create", &wish.key, self.inner.create(wish)).await
    }

    async fn start(&self, wish: &GuestWish) -> Result<ObservedGuest> {
        self.acting("start", &wish.key, self.inner.start(wish)).await
    }

    async fn stop(&self, key: &Key, mode: StopMode) -> Result<ObservedGuest> {
        self.acting("stop", key, self.inner.stop(key, mode)).await
    }

    async fn amend(&self, wish: &GuestWish) -> Result<Amendment> {
        self.acting("amend", &wish.key, self.inner.amend(wish)).await
    }

    async fn suspend(&self, key: &Key) -> Result<ObservedGuest> {
        self.acting("suspend", key, self.inner.suspend(key)).await
    }

    async fn migrate(&self, key: &Key, host: &str) -> Result<ObservedGuest> {
        self.acting("migrate", key, self.inner.migrate(key, host)).await
    }

    async fn adopt(&self, key: &Key, provider_id: &str) -> Result<ObservedGuest> {
        self.acting("adopt", key, self.inner.adopt(key, provider_id)).await
    }

    async fn release(&self, key: &Key) -> Result<()> {
        self.acting("release", key, self.inner.release(key)).await
    }

    async fn delete(&self, key: &Key) -> Result<Deletion> {
        self.acting("delete", key, self.inner.delete(key)).await
    }

    fn changes(&self) -> BoxStream<'static, Change> {
        let (unheard, metrics, pool) =
            (Arc::clone(&self.unheard), Arc::clone(&self.observer.metrics), self.pool.clone());
        let tell = move |change: &Change| {
            if let Some(lag) = heard(&unheard, change) {
                metrics.heard_from(&pool, lag);
            }
        };
        self.inner.changes().inspect(tell).boxed()
    }

    fn settling_time(&self) -> Duration {
        self.inner.settling_time()
    }

    fn set_aside(&self) -> Vec<OfferingAside> {
        self.inner.set_aside()
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

#[cfg(test)]
mod tests {
    /// A method with a body in the trait would silently be that body here.
    #[test]
    fn every_method_is_passed_on() {
        let methods = |source: &str| -> Vec<String> {
            let lines =
                source.lines().filter_map(|line| line.strip_prefix("    ")).filter(|line| !line.starts_with(' '));
            lines
                .filter_map(|line| line.strip_prefix("async fn ").or_else(|| line.strip_prefix("fn ")))
                .filter_map(|line| line.split(['(', '<']).next().map(str::to_owned))
                .collect()
        };
        let part =
            |source: &str, from: &str| source.split(from).nth(1).unwrap().split("\n}").next().unwrap().to_owned();
        let wanted = methods(&part(include_str!("mod.rs"), "pub trait Provider"));
        assert!(wanted.len() > 10, "{wanted:?}");
        assert_eq!(methods(&part(include_str!("observe.rs"), "impl Provider for Observed")), wanted);
    }
}
