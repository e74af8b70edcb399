//! The operator: all controllers side by side, on shared watches.

use std::{net::SocketAddr, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, ResourceExt as _,
    api::ListParams,
    core::PartialObjectMeta,
    runtime::reflector::{self, ObjectRef, Store, store::Writer},
};
use snafu::{OptionExt, ResultExt, Snafu};
use tokio::{sync::Notify, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::{
    api::{CloudPool, Guest, VirtualWorkload},
    guest, pool,
    provider::{Owner, Registry},
    runtime::{
        ApiError,
        backoff::Patience,
        call,
        controller::{self, Nudge, Queue, queue},
        events::Herald,
        watch::{self, Filled, Listener, all_filled, follow},
    },
    scheduler::Scheduler,
    serve::{self, Readiness, ServeError},
    workload,
};

/// How the operator is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where `/livez` and `/readyz` are served.
    pub listen: SocketAddr,
    /// How many guests are worked on at once.
    pub guests_at_once: u16,
}

/// Why the operator cannot run.
#[derive(Debug, Snafu)]
pub enum OperatorError {
    /// The API server did not do what it was asked.
    #[snafu(transparent)]
    Api {
        /// Why.
        source: ApiError,
    },
    /// Nothing can be served.
    #[snafu(transparent)]
    Serve {
        /// Why.
        source: ServeError,
    },
    /// A kind is not installed.
    #[snafu(display(
        "cannot work without the kind {kind}: install the definitions with `innkeeper crds | kubectl apply --server-side -f -`"
    ))]
    KindMissing {
        /// Which.
        kind: &'static str,
        /// What the API server said.
        source: ApiError,
    },
    /// A part of the operator ended by itself.
    #[snafu(display("{part} ended by itself: this is a fault in innkeeper, the log says more; start it again"))]
    Ended {
        /// Which.
        part: &'static str,
    },
    /// The cluster cannot be told from others.
    #[snafu(display("cannot tell this cluster from others: its namespace kube-system has no UID"))]
    NoClusterUid,
}

/// How many pools and workloads are worked on at once.
const FEW: u16 = 8;

/// What the controllers read.
#[derive(Clone)]
struct Stores {
    pools: Store<CloudPool>,
    workloads: Store<VirtualWorkload>,
    guests: Store<Guest>,
    namespaces: Store<PartialObjectMeta<Namespace>>,
    filled: [Filled; 4],
}

/// What keeps it up to date.
struct Writers {
    pools: Writer<CloudPool>,
    workloads: Writer<VirtualWorkload>,
    guests: Writer<Guest>,
    namespaces: Writer<PartialObjectMeta<Namespace>>,
}

/// What names objects that need a look.
#[derive(Clone)]
struct Nudges {
    pools: Nudge<CloudPool>,
    workloads: Nudge<VirtualWorkload>,
    guests: Nudge<Guest>,
    /// Rung for the scheduler.
    bell: Arc<Notify>,
}

/// What the controllers take objects from.
struct Queues {
    pools: Queue<CloudPool>,
    workloads: Queue<VirtualWorkload>,
    guests: Queue<Guest>,
}

/// What every controller is made with.
struct Common {
    client: Client,
    stores: Stores,
    shutdown: CancellationToken,
    owner: Owner,
}

/// Runs until `shutdown`, then lets what is under way end and closes the connections to the pools.
pub async fn run(client: Client, options: Options, shutdown: CancellationToken) -> Result<(), OperatorError> {
    let listener = serve::listen(options.listen).await?;
    let readiness = Readiness::default();
    let mut serving = JoinSet::new();
    serving.spawn(serve::serve(listener, readiness.clone(), shutdown.clone()));
    let owner = owner(&client).await?;
    check_kinds(&client).await?;

    let (stores, writers) = stores();
    let (nudges, queues) = queues();
    let registry = Arc::new(Registry::default());
    let links = Arc::new(links(&registry, &nudges, &stores));
    let common = Common { client, stores, shutdown: shutdown.clone(), owner };
    let mut watches = spawn_watches(&common, &nudges, writers);
    let mut controllers = spawn_controllers(&common, &options, queues, nudges, registry, Arc::clone(&links));

    let filled = async {
        all_filled(&common.stores.filled).await;
        readiness.set_ready();
        info!(owner = common.owner.0, "ready");
        std::future::pending::<()>().await;
    };
    let ended = tokio::select! {
        () = filled => None,
        () = shutdown.cancelled() => None,
        _ = controllers.join_next() => Some("a controller"),
        _ = watches.join_next() => Some("a watch"),
        _ = serving.join_next() => Some("the HTTP server"),
    };
    let asked_for = shutdown.is_cancelled();
    info!("shutting down");
    shutdown.cancel();
    while controllers.join_next().await.is_some() {}
    links.cut_all().await;
    watches.shutdown().await;
    while let Some(served) = serving.join_next().await {
        if let Ok(served) = served {
            served?;
        }
    }
    // Half an operator looks alive and does not do its work: better to end, and to be started anew.
    match ended.filter(|_| !asked_for) {
        Some(part) => EndedSnafu { part }.fail(),
        None => Ok(()),
    }
}

fn stores() -> (Stores, Writers) {
    let (pools, workloads, guests) = (reflector::store(), reflector::store(), reflector::store());
    let namespaces = reflector::store();
    let stores = Stores {
        pools: pools.0,
        workloads: workloads.0,
        guests: guests.0,
        namespaces: namespaces.0,
        filled: Default::default(),
    };
    (stores, Writers { pools: pools.1, workloads: workloads.1, guests: guests.1, namespaces: namespaces.1 })
}

fn queues() -> (Nudges, Queues) {
    let (pools, workloads, guests) = (queue(), queue(), queue());
    let bell = Arc::new(Notify::new());
    let nudges = Nudges { pools: pools.0, workloads: workloads.0, guests: guests.0, bell };
    (nudges, Queues { pools: pools.1, workloads: workloads.1, guests: guests.1 })
}

/// When a pool's connection opens, or all there may have changed, every guest that is bound to it needs a look.
fn links(registry: &Arc<Registry>, nudges: &Nudges, stores: &Stores) -> pool::Links {
    let (guests, nudge) = (stores.guests.clone(), nudges.guests.clone());
    let all_guests = move |pool: &str| {
        let here = |guest: &Guest| guest.spec.binding.as_ref().is_some_and(|binding| binding.pool == pool);
        guests.state_filter(here).iter().for_each(|guest| nudge.look_at(ObjectRef::from_obj(&**guest)));
    };
    pool::Links::new(Arc::clone(registry), nudges.guests.clone(), nudges.pools.clone(), Box::new(all_guests))
}

/// One watch for each kind, and who is told of a change: the object's own controller, and those that it matters to.
fn spawn_watches(common: &Common, nudges: &Nudges, writers: Writers) -> JoinSet<()> {
    let mut watches = JoinSet::new();
    let to = nudges.clone();
    let on_pool: Listener<CloudPool> = Box::new(move |pool| {
        to.pools.look_at(ObjectRef::from_obj(pool));
        to.bell.notify_one();
    });
    let to = nudges.clone();
    let on_workload: Listener<VirtualWorkload> = Box::new(move |workload| {
        to.workloads.look_at(ObjectRef::from_obj(workload));
    });
    let to = nudges.clone();
    let on_guest: Listener<Guest> = Box::new(move |guest| {
        // Also when only its status changed: the last write of an operator that was killed may land after our first look.
        to.guests.look_at(ObjectRef::from_obj(guest));
        to.workloads.look_at(ObjectRef::new(&guest.spec.workload).within(&guest.namespace().unwrap_or_default()));
        if let Some(binding) = &guest.spec.binding {
            to.pools.look_at(ObjectRef::new(&binding.pool));
        }
        to.bell.notify_one();
    });
    let to = nudges.clone();
    // Its labels say which pools its guests may use.
    let on_namespace: Listener<PartialObjectMeta<Namespace>> = Box::new(move |_| to.bell.notify_one());
    let [pools, workloads, guests, namespaces] = common.stores.filled.clone();
    watches.spawn(follow(Api::all(common.client.clone()), writers.namespaces, namespaces, on_namespace));
    watches.spawn(follow(Api::all(common.client.clone()), writers.pools, pools, on_pool));
    watches.spawn(follow(Api::all(common.client.clone()), writers.workloads, workloads, on_workload));
    watches.spawn(follow(Api::all(common.client.clone()), writers.guests, guests, on_guest));
    watches
}

fn spawn_controllers(
    common: &Common,
    options: &Options,
    queues: Queues,
    nudges: Nudges,
    registry: Arc<Registry>,
    links: Arc<pool::Links>,
) -> JoinSet<()> {
    let (stores, shutdown) = (&common.stores, &common.shutdown);
    let mut set = JoinSet::new();
    let (context, stop) = (Arc::new(common.for_workloads()), shutdown.clone());
    let (store, queue) = (stores.workloads.clone(), queues.workloads);
    let run = controller::run("workload", store, queue, FEW, context, stop, workload::reconcile);
    set.spawn(common.when_filled(run));
    let (context, stop) = (Arc::new(common.for_pools(links)), shutdown.clone());
    let (store, queue) = (stores.pools.clone(), queues.pools);
    let run = controller::run("pool", store, queue, FEW, context, stop, pool::reconcile);
    set.spawn(common.when_filled(run));
    let (context, stop) = (Arc::new(common.for_guests(registry)), shutdown.clone());
    let (store, queue, at_once) = (stores.guests.clone(), queues.guests, options.guests_at_once);
    let run = controller::run("guest", store, queue, at_once, context, stop, guest::reconcile);
    set.spawn(common.when_filled(run));
    set.spawn(common.when_filled(common.scheduler(nudges.bell).run(shutdown.clone())));
    set
}

impl Common {
    fn when_filled(
        &self,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        watch::when_filled(self.stores.filled.clone(), self.shutdown.clone(), work)
    }

    fn herald(&self, controller: &str) -> Herald {
        Herald::new(self.client.clone(), controller)
    }

    fn for_workloads(&self) -> workload::Context {
        workload::Context {
            client: self.client.clone(),
            guests: self.stores.guests.clone(),
            herald: self.herald("innkeeper-workload"),
            now: Timestamp::now,
        }
    }

    fn for_pools(&self, links: Arc<pool::Links>) -> pool::Context {
        pool::Context {
            client: self.client.clone(),
            guests: self.stores.guests.clone(),
            links,
            owner: self.owner.clone(),
            herald: self.herald("innkeeper-pool"),
            now: Timestamp::now,
        }
    }

    fn for_guests(&self, registry: Arc<Registry>) -> guest::Context {
        guest::Context {
            client: self.client.clone(),
            pools: self.stores.pools.clone(),
            registry,
            herald: self.herald("innkeeper-guest"),
            patience: Patience::default(),
            now: Timestamp::now,
        }
    }

    fn scheduler(&self, bell: Arc<Notify>) -> Scheduler {
        Scheduler {
            client: self.client.clone(),
            guests: self.stores.guests.clone(),
            pools: self.stores.pools.clone(),
            namespaces: self.stores.namespaces.clone(),
            herald: self.herald("innkeeper-scheduler"),
            now: Timestamp::now,
            bell,
        }
    }
}

/// Whose VMs ours are: the cluster's own identity, that of its oldest namespace.
async fn owner(client: &Client) -> Result<Owner, OperatorError> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let system = call("read namespace kube-system", namespaces.get("kube-system")).await?;
    system.uid().map(Owner).context(NoClusterUidSnafu)
}

/// Whether the kinds are installed: a watch on a missing one would only fail again and again.
async fn check_kinds(client: &Client) -> Result<(), OperatorError> {
    let one = ListParams::default().limit(1);
    call("list CloudPools", Api::<CloudPool>::all(client.clone()).list_metadata(&one))
        .await
        .context(KindMissingSnafu { kind: "CloudPool" })?;
    call("list VirtualWorkloads", Api::<VirtualWorkload>::all(client.clone()).list_metadata(&one))
        .await
        .context(KindMissingSnafu { kind: "VirtualWorkload" })?;
    call("list Guests", Api::<Guest>::all(client.clone()).list_metadata(&one))
        .await
        .context(KindMissingSnafu { kind: "Guest" })?;
    Ok(())
}
