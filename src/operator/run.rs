//! How the operator begins, leads, and ends.

use std::{sync::Arc, time::Duration};

use kube::{
    Client, Resource,
    runtime::reflector::{ObjectRef, Store},
};
use tokio::{task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    Common, EndedSnafu, LeadershipLostSnafu, Nudges, OperatorError, Options, Stores, check_kinds, links, owner, queues,
    spawn_controllers, spawn_watches, stores,
};
use crate::{
    api::crds,
    pool,
    provider::{Observer, Registry},
    runtime::{
        gate,
        kinds::Kinds,
        lease::{Candidate, Loss, Mandate, identity},
        metrics::{Metrics, World},
        watch::{Filled, all_filled},
        watchdog::Watchdog,
    },
    serve::{self, Health, ServeError},
};

/// How long runs that are under way may go on after SIGTERM where another operator waits to take over. What is cut off is
/// in the same state as after a crash, and is finished by the next leader.
const HAND_OVER: Duration = Duration::from_millis(800);
/// The same where nobody waits.
const WIND_UP: Duration = Duration::from_secs(20);
/// How long logging out of the pools may take.
const LOG_OUT: Duration = Duration::from_secs(5);

/// Runs until `shutdown`, then ends what is under way and closes the connections to the pools.
pub async fn run(client: Client, options: Options, shutdown: CancellationToken) -> Result<(), OperatorError> {
    let listener = serve::listen(options.listen).await?;
    let mandate = if options.election.is_some() { Mandate::none(identity()) } else { Mandate::unlimited(identity()) };
    let (metrics, watchdog, installed) = (Arc::<Metrics>::default(), Watchdog::default(), Filled::default());
    let kinds = Arc::new(Kinds::new(crds()));
    let (stores, writers) = stores();
    let health = health(&stores, (&installed, &kinds), &mandate, &metrics, &watchdog);
    let mut parts = Parts { serving: JoinSet::new(), watches: JoinSet::new(), controllers: JoinSet::new() };
    parts.serving.spawn(serve::serve(listener, health, shutdown.clone()));
    let guarded = gate::guarded(client.clone(), mandate.clone(), kinds, Arc::clone(&metrics));
    let owner = owner(&guarded, options.cluster_id.clone()).await?;
    check_kinds(&guarded).await?;
    // Nobody else sets it.
    let _ = installed.set(());

    let (nudges, queues) = queues();
    let registry = Arc::new(Registry::default());
    let observer = Observer { metrics: Arc::clone(&metrics), mandate: mandate.clone() };
    let links = Arc::new(links(&registry, &nudges, &stores, observer));
    let common =
        Common { client: guarded, stores, shutdown: shutdown.clone(), owner, metrics: Arc::clone(&metrics), watchdog };
    parts.watches = spawn_watches(&common, &nudges, writers);
    let lease_client = gate::measured(client, metrics);
    let mut candidate = options
        .election
        .as_ref()
        .map(|election| Candidate::new(lease_client, &election.lease, election.timing, mandate.clone()));

    let ended_early = tokio::select! {
        () = stand_by(&common, candidate.as_mut()) => None,
        ended = parts.ended() => Some(ended),
        () = shutdown.cancelled() => Some(End::AskedFor),
    };
    let end = if let Some(end) = ended_early {
        end
    } else {
        common.metrics.leads(true, mandate.epoch());
        parts.controllers = spawn_controllers(&common, &options, queues, nudges.clone(), registry, Arc::clone(&links));
        open(&nudges, &common.stores);
        lead(candidate.as_mut(), &mut parts, &shutdown).await
    };
    // Everything ends when it is asked to: what was seen to end first does not matter then.
    let end = if shutdown.is_cancelled() { End::AskedFor } else { end };
    wind_up(end, &common, candidate, &links, parts).await
}

/// What runs beside each other.
struct Parts {
    serving: JoinSet<Result<(), ServeError>>,
    watches: JoinSet<()>,
    controllers: JoinSet<()>,
}

/// Why the operator ends.
enum End {
    AskedFor,
    Lost(Loss),
    /// Half an operator looks alive and does not do its work: better to end, and to be started anew.
    Part(&'static str),
}

impl Parts {
    /// Waits until one of them ends by itself.
    async fn ended(&mut self) -> End {
        tokio::select! {
            Some(_) = self.controllers.join_next() => End::Part("a controller"),
            Some(_) = self.watches.join_next() => End::Part("a watch"),
            Some(_) = self.serving.join_next() => End::Part("the HTTP server"),
        }
    }
}

/// Waits until the stores are filled and it is our turn.
async fn stand_by(common: &Common, candidate: Option<&mut Candidate>) {
    let filled = all_filled(&common.stores.filled);
    match candidate {
        None => filled.await,
        Some(candidate) => {
            // Only who could act at once stands for leader.
            filled.await;
            candidate.acquire().await;
        }
    }
    info!(owner = common.owner.0, "ready");
}

/// Leads until something ends that.
async fn lead(candidate: Option<&mut Candidate>, parts: &mut Parts, shutdown: &CancellationToken) -> End {
    tokio::select! {
        loss = keep(candidate) => End::Lost(loss),
        ended = parts.ended() => ended,
        () = shutdown.cancelled() => End::AskedFor,
    }
}

async fn keep(candidate: Option<&mut Candidate>) -> Loss {
    match candidate {
        Some(candidate) => candidate.keep().await,
        None => std::future::pending().await,
    }
}

/// From now on changes count; everything that is there needs a first look.
fn open(nudges: &Nudges, stores: &Stores) {
    nudges.pools.open(all(&stores.pools));
    nudges.workloads.open(all(&stores.workloads));
    nudges.guests.open(all(&stores.guests));
    nudges.bell.anything();
}

fn all<K: Resource<DynamicType = ()> + Clone + 'static>(store: &Store<K>) -> Vec<ObjectRef<K>> {
    store.state().iter().map(|object| ObjectRef::from_obj(&**object)).collect()
}

/// Ends in the order that leaves nothing behind: no more runs, then the lease for whoever waits, then the rest.
async fn wind_up(
    end: End,
    common: &Common,
    mut candidate: Option<Candidate>,
    links: &pool::Links,
    mut parts: Parts,
) -> Result<(), OperatorError> {
    info!("shutting down");
    common.shutdown.cancel();
    let grace = if candidate.is_some() { HAND_OVER } else { WIND_UP };
    if !matches!(end, End::Lost(_)) {
        let ending = async { while parts.controllers.join_next().await.is_some() {} };
        if timeout(grace, ending).await.is_err() {
            warn!("runs under way are cut off; the next operator finishes what they began");
        }
    }
    parts.controllers.shutdown().await;
    common.metrics.leads(false, 0);
    if let Some(candidate) = &mut candidate {
        candidate.release().await;
    }
    if timeout(LOG_OUT, links.cut_all()).await.is_err() {
        warn!("not all sessions at the pools were ended");
    }
    parts.watches.shutdown().await;
    while let Some(served) = parts.serving.join_next().await {
        if let Ok(served) = served {
            served?;
        }
    }
    match end {
        End::AskedFor => Ok(()),
        End::Lost(loss) => LeadershipLostSnafu { loss }.fail(),
        End::Part(part) => EndedSnafu { part }.fail(),
    }
}

fn health(
    stores: &Stores,
    (installed, kinds): (&Filled, &Arc<Kinds>),
    mandate: &Mandate,
    metrics: &Arc<Metrics>,
    watchdog: &Watchdog,
) -> Arc<Health> {
    let [pools, workloads, guests, namespaces] = stores.filled.clone();
    let needed = vec![
        ("kinds installed", Arc::clone(installed)),
        ("pools read", pools),
        ("workloads read", workloads),
        ("guests read", guests),
        ("namespaces read", namespaces),
    ];
    let (asked, told) = (mandate.clone(), mandate.clone());
    let leader = move || match asked.check() {
        Ok(()) => format!("{} leads, epoch {}", asked.holder(), asked.epoch()),
        Err(_) => format!("{} is standing by", asked.holder()),
    };
    let (metrics, guests, pools) = (Arc::clone(metrics), stores.guests.clone(), stores.pools.clone());
    // Of what there is only the leader tells: sums over all replicas would count it twice.
    let text = move || match told.check() {
        Ok(()) => metrics.text(Some(&World { pools: &pools.state(), guests: &guests.state() })),
        Err(_) => metrics.text(None),
    };
    let kinds = Arc::clone(kinds);
    let outdated = move || kinds.outdated().map(|outdated| outdated.to_string());
    Arc::new(Health {
        needed,
        outdated: Box::new(outdated),
        leader: Box::new(leader),
        watchdog: watchdog.clone(),
        metrics: Box::new(text),
    })
}
