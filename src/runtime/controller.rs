//! The loop around a controller: a queue without duplicates, one run at a time for each object, a bound on how many run
//! at once, and backoff for each object that fails.

use std::{
    convert::Infallible,
    error::Error,
    fmt::Debug,
    future::Future,
    hash::Hash,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures::{FutureExt as _, Stream, StreamExt as _, future::BoxFuture, stream};
use kube::{
    Resource,
    runtime::{
        controller::{self, Action, Config, applier},
        reflector::{ObjectRef, Store},
    },
};
use tokio::task::JoinError;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::{Instrument as _, debug, warn};

use super::{
    backoff::{Failures, delay},
    chain,
    metrics::Metrics,
    queue::{Queue, Waiting},
    spacing::Spaced,
    trace,
    watchdog::{Limit, Watchdog, Watched},
};

/// What a controller is called and held to.
#[derive(Clone)]
pub struct Loop {
    /// Its name, in logs and metrics.
    pub name: &'static str,
    /// How many runs there are at once.
    pub concurrency: u16,
    /// How far apart two runs of one object are at least that changes ask for. Zero: as they come.
    pub apart: Duration,
    /// How long one may last.
    pub limit: Limit,
    /// Where they are counted.
    pub metrics: Arc<Metrics>,
    /// Who notices that one does not end.
    pub watchdog: Watchdog,
    /// Ends the loop; runs that are under way end first.
    pub shutdown: CancellationToken,
}

/// Runs a controller until its shutdown, and lets the runs that are under way end.
pub async fn run<K, C, F, E>(
    this: Loop,
    store: Store<K>,
    queue: Queue<K>,
    context: Arc<C>,
    reconcile: impl Fn(Arc<K>, Arc<C>) -> F + Send + Sync + 'static,
) where
    K: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static,
    C: Send + Sync + 'static,
    F: Future<Output = Result<Action, E>> + Send + 'static,
    E: Error + Send + Sync + 'static,
    ObjectRef<K>: Hash + Eq,
{
    let Loop { name, concurrency, apart, shutdown, .. } = this.clone();
    let failures = Arc::new(Failures::default());
    let (seen, waiting) = (Arc::clone(&failures), queue.waiting());
    let gone = Arc::clone(&waiting);
    let running = Arc::new(AtomicUsize::new(0));
    let run_one = move |object: Arc<K>, context: Arc<C>| -> BoxFuture<'static, Result<Action, E>> {
        let (key, failures) = (ObjectRef::from_obj(&*object), Arc::clone(&seen));
        let under_way = UnderWay::begin(&this, &key, &waiting, &running);
        // So that all that one run says can be told from the rest.
        let span = trace::run(name, &key);
        let this_run = span.clone();
        // A task of its own: the runs of a controller would share one processor otherwise. It ends with who waits for it.
        let run = AbortOnDropHandle::new(tokio::spawn(reconcile(object, context).instrument(span)));
        async move {
            let result = outcome(run.await).await;
            under_way.ends(if result.is_ok() { "done" } else { "failed" });
            if let Err(error) = &result {
                trace::failed(&this_run, chain(error));
            }
            result.inspect(|_| failures.succeeded(&key))
        }
        .boxed()
    };
    let retry = move |object: Arc<K>, error: &E, _: Arc<C>| {
        let key = ObjectRef::from_obj(&*object);
        let wait = delay(failures.failed(key.clone()), rand::random());
        warn!(controller = name, object = %key, error = chain(error), retry_ms = wait.as_millis(), "a run failed");
        Action::requeue(wait)
    };
    let config = Config::default().concurrency(concurrency);
    applier(run_one, retry, context, store, ended_by(queue, apart, shutdown), config)
        .for_each(|result| {
            match result {
                Err(controller::Error::ObjectNotFound(object)) => gone.forget(&object),
                // Failed runs are warned of above.
                Err(error) => debug!(controller = name, error = chain(&error), "not run"),
                Ok(_) => {}
            }
            futures::future::ready(())
        })
        .await;
}

/// What a task came to. One that panicked takes the controller with it; one is only cancelled when the program ends.
async fn outcome<T>(ended: Result<T, JoinError>) -> T {
    match ended {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => std::future::pending().await,
        },
    }
}

/// One run; counted when it ends, however it ends.
struct UnderWay {
    name: &'static str,
    metrics: Arc<Metrics>,
    count: Box<dyn Fn(bool) + Send>,
    began: Instant,
    outcome: &'static str,
    _watched: Watched,
}

impl UnderWay {
    fn begin<K>(this: &Loop, key: &ObjectRef<K>, waiting: &Arc<Waiting<K>>, running: &Arc<AtomicUsize>) -> Self
    where
        K: Resource<DynamicType = ()> + 'static,
        ObjectRef<K>: Hash + Eq,
    {
        let (name, metrics) = (this.name, Arc::clone(&this.metrics));
        if let Some(since) = waiting.begins(key) {
            metrics.waited(name, since.elapsed());
        }
        let (counted, waiting, running) = (Arc::clone(&metrics), Arc::clone(waiting), Arc::clone(running));
        let count = move |begins: bool| {
            let now = if begins {
                running.fetch_add(1, Ordering::Relaxed) + 1
            } else {
                running.fetch_sub(1, Ordering::Relaxed) - 1
            };
            counted.queue(name, waiting.len(), now);
        };
        count(true);
        let watched = this.watchdog.watch(format!("{name} {key}"), this.limit);
        Self { name, metrics, count: Box::new(count), began: Instant::now(), outcome: "abandoned", _watched: watched }
    }
}

impl UnderWay {
    /// It ended by itself. Dropped without this, it was cut off.
    fn ends(mut self, outcome: &'static str) {
        self.outcome = outcome;
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        (self.count)(false);
        self.metrics.ran(self.name, self.outcome, self.began.elapsed());
    }
}

fn ended_by<K: Resource<DynamicType = ()> + 'static>(
    queue: Queue<K>,
    apart: Duration,
    shutdown: CancellationToken,
) -> impl Stream<Item = Result<ObjectRef<K>, Infallible>>
where
    ObjectRef<K>: Hash + Eq,
{
    stream::unfold(Spaced::new(queue.into_receiver(), apart), |mut spaced| async move {
        spaced.next().await.map(|object| (Ok(object), spaced))
    })
    .take_until(shutdown.cancelled_owned())
}
