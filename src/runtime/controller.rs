//! The loop around a controller: a queue without duplicates, one run at a time for each object, a bound on how many run
//! at once, and backoff for each object that fails.

use std::{convert::Infallible, error::Error, fmt::Debug, future::Future, hash::Hash, sync::Arc};

use futures::{FutureExt as _, Stream, StreamExt as _, future::BoxFuture, stream};
use kube::{
    Resource,
    runtime::{
        controller::{Action, Config, applier},
        reflector::{ObjectRef, Store},
    },
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{
    backoff::{Failures, delay},
    chain,
};

/// The writing end of a controller's queue: names objects that need a look.
pub struct Nudge<K: Resource<DynamicType = ()>>(mpsc::UnboundedSender<ObjectRef<K>>);

impl<K: Resource<DynamicType = ()>> Clone for Nudge<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Resource<DynamicType = ()>> Nudge<K> {
    /// Asks for a look at this object. Does nothing after the controller has ended.
    pub fn look_at(&self, object: ObjectRef<K>) {
        let _ = self.0.send(object);
    }
}

/// The reading end of a controller's queue.
pub struct Queue<K: Resource<DynamicType = ()>>(mpsc::UnboundedReceiver<ObjectRef<K>>);

/// A queue. It never holds an object twice for long: the controller's loop folds repeated names into one run.
#[must_use]
pub fn queue<K: Resource<DynamicType = ()>>() -> (Nudge<K>, Queue<K>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Nudge(sender), Queue(receiver))
}

/// Runs a controller until `shutdown`, and lets the runs that are under way end.
pub async fn run<K, C, F, E>(
    name: &'static str,
    store: Store<K>,
    queue: Queue<K>,
    concurrency: u16,
    context: Arc<C>,
    shutdown: CancellationToken,
    reconcile: impl Fn(Arc<K>, Arc<C>) -> F + Send + Sync + 'static,
) where
    K: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static,
    C: Send + Sync + 'static,
    F: Future<Output = Result<Action, E>> + Send + 'static,
    E: Error + Send + Sync + 'static,
    ObjectRef<K>: Hash + Eq,
{
    let failures = Arc::new(Failures::default());
    let seen = Arc::clone(&failures);
    let run_one = move |object: Arc<K>, context: Arc<C>| -> BoxFuture<'static, Result<Action, E>> {
        let (key, failures) = (ObjectRef::from_obj(&*object), Arc::clone(&seen));
        let run = reconcile(object, context);
        async move { run.await.inspect(|_| failures.succeeded(&key)) }.boxed()
    };
    let retry = move |object: Arc<K>, error: &E, _: Arc<C>| {
        let key = ObjectRef::from_obj(&*object);
        let wait = delay(failures.failed(key.clone()), rand::random());
        warn!(controller = name, object = %key, error = chain(error), retry_ms = wait.as_millis(), "a run failed");
        Action::requeue(wait)
    };
    let config = Config::default().concurrency(concurrency);
    applier(run_one, retry, context, store, ended_by(queue, shutdown), config)
        .for_each(|result| {
            if let Err(error) = result {
                // Failed runs are warned of above; what else comes here is an object that is gone by now.
                debug!(controller = name, error = chain(&error), "not run");
            }
            futures::future::ready(())
        })
        .await;
}

fn ended_by<K: Resource<DynamicType = ()> + 'static>(
    queue: Queue<K>,
    shutdown: CancellationToken,
) -> impl Stream<Item = Result<ObjectRef<K>, Infallible>> {
    stream::unfold(queue.0, |mut receiver| async move { receiver.recv().await.map(|object| (Ok(object), receiver)) })
        .take_until(shutdown.cancelled_owned())
}
