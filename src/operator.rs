//! The operator: all controllers side by side, on shared watches.

mod run;

pub use run::run;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, ResourceExt as _,
    api::ListParams,
    core::PartialObjectMeta,
    runtime::reflector::{self, ObjectRef, Store, store::Writer},
};
use snafu::{OptionExt, ResultExt, Snafu};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    api::{CloudPool, Guest, GuestStatus, VirtualWorkload},
    guest, pool,
    provider::{Observer, Owner, Registry},
    runtime::{
        ApiError,
        backoff::Patience,
        call,
        controller::{self, Loop},
        events::Herald,
        lease::{LeaseName, Loss, decide::Timing},
        metrics::Metrics,
        pace::Pace,
        queue::{Nudge, Queue, queue},
        watch::{Filled, Listener, follow},
        watchdog::{Limit, Watchdog},
    },
    scheduler::{Scheduler, bell::Bell, handover::Handover},
    serve::ServeError,
    workload,
};

/// How the operator is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where `/livez`, `/readyz` and `/metrics` are served.
    pub listen: SocketAddr,
    /// How many guests are worked on at once.
    pub guests_at_once: u16,
    /// How it is agreed which of several operators acts. `None`: this one does, and it is the only one.
    pub election: Option<Election>,
    /// What this cluster's VMs are marked with. `None`: the UID of its namespace `kube-system`.
    pub cluster_id: Option<String>,
}

/// How it is agreed which of several operators acts.
#[derive(Clone, Debug)]
pub struct Election {
    /// What they agree by.
    pub lease: LeaseName,
    /// How long things last.
    pub timing: Timing,
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
    /// Another operator leads, or may by now.
    #[snafu(display(
        "this operator does not lead any more ({}): it ends, so that it is started anew and stands by",
        match loss { Loss::NotRenewed => "its lease could not be renewed in time", Loss::Taken => "its lease was taken" }
    ))]
    LeadershipLost {
        /// How that came.
        loss: Loss,
    },
    /// The cluster cannot be told from others.
    #[snafu(display("cannot tell this cluster from others: its namespace kube-system has no UID"))]
    NoClusterUid,
}

/// How many pools and workloads are worked on at once.
const FEW: u16 = 8;
/// How far apart looks at one pool or one workload are: each of its guests tells of itself several times while it is made.
const APART: Duration = Duration::from_millis(500);
/// The same for pools: a look goes over all VMs of it, and while guests are made there is always something new.
const POOLS_APART: Duration = Duration::from_secs(1);

/// How long a run may last before it counts as stuck: far more than the deadlines of all calls in it together.
const WORKLOAD: Limit = Limit(Duration::from_mins(30));
const POOL: Limit = Limit(Duration::from_hours(2));
/// A run makes up to eight steps, and a provider has minutes for each part of one.
const GUEST: Limit = Limit(Duration::from_hours(4));

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
    bell: Arc<Bell>,
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
    metrics: Arc<Metrics>,
    watchdog: Watchdog,
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
    let bell = Arc::new(Bell::default());
    let nudges = Nudges { pools: pools.0, workloads: workloads.0, guests: guests.0, bell };
    (nudges, Queues { pools: pools.1, workloads: workloads.1, guests: guests.1 })
}

/// When a pool's connection opens, or all there may have changed, every guest that is bound to it needs a look, and every
/// one that left a VM there when the pool was given up.
fn links(registry: &Arc<Registry>, nudges: &Nudges, stores: &Stores, observer: Observer) -> pool::Links {
    let (guests, nudge) = (stores.guests.clone(), nudges.guests.clone());
    let all_guests = move |pool: &str| {
        let here = |guest: &Guest| {
            let left = |status: &GuestStatus| status.abandoned.iter().any(|left| left.pool == pool);
            guest.spec.binding.as_ref().is_some_and(|binding| binding.pool == pool)
                || guest.status.as_ref().is_some_and(left)
        };
        guests.state_filter(here).iter().for_each(|guest| nudge.look_at(ObjectRef::from_obj(&**guest)));
    };
    pool::Links::new(Arc::clone(registry), nudges.guests.clone(), nudges.pools.clone(), Box::new(all_guests), observer)
}

/// One watch for each kind, and who is told of a change: the object's own controller, and those that it matters to.
fn spawn_watches(common: &Common, nudges: &Nudges, writers: Writers) -> JoinSet<()> {
    let mut watches = JoinSet::new();
    let to = nudges.clone();
    let on_pool: Listener<CloudPool> = Box::new(move |pool| {
        to.pools.look_at(ObjectRef::from_obj(pool));
        to.bell.world();
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
        to.bell.guest(guest);
    });
    let to = nudges.clone();
    // Its labels say which pools its guests may use.
    let on_namespace: Listener<PartialObjectMeta<Namespace>> = Box::new(move |_| to.bell.world());
    let [pools, workloads, guests, namespaces] = common.stores.filled.clone();
    let metrics = || Arc::clone(&common.metrics);
    let client = || common.client.clone();
    watches.spawn(follow(Api::all(client()), writers.namespaces, namespaces, metrics(), |_| {}, on_namespace));
    watches.spawn(follow(Api::all(client()), writers.pools, pools, metrics(), |_| {}, on_pool));
    watches.spawn(follow(Api::all(client()), writers.workloads, workloads, metrics(), |_| {}, on_workload));
    // There are thousands of guests, and nobody here reads their labels.
    let trim = |guest: &mut Guest| (guest.metadata.labels, guest.metadata.annotations) = (None, None);
    watches.spawn(follow(Api::all(client()), writers.guests, guests, metrics(), trim, on_guest));
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
    let stores = &common.stores;
    let handover = Arc::<Handover>::default();
    let mut set = JoinSet::new();
    let (this, context) = (common.looping("workload", FEW, APART, WORKLOAD), Arc::new(common.for_workloads()));
    let (store, queue) = (stores.workloads.clone(), queues.workloads);
    set.spawn(controller::run(this, store, queue, context, workload::reconcile));
    let (this, context) = (common.looping("pool", FEW, POOLS_APART, POOL), Arc::new(common.for_pools(links)));
    let (store, queue) = (stores.pools.clone(), queues.pools);
    set.spawn(controller::run(this, store, queue, context, pool::reconcile));
    let (this, context) = (
        common.looping("guest", options.guests_at_once, Duration::ZERO, GUEST),
        Arc::new(common.for_guests(registry, Arc::clone(&handover))),
    );
    let (store, queue) = (stores.guests.clone(), queues.guests);
    set.spawn(controller::run(this, store, queue, context, guest::reconcile));
    let (pools, nudge) = (stores.pools.clone(), nudges.pools);
    set.spawn(pool::rotation::follow(common.client.clone(), pools, nudge, common.shutdown.clone()));
    set.spawn(common.scheduler(nudges.bell, handover).run(common.shutdown.clone()));
    set
}

impl Common {
    fn looping(&self, name: &'static str, concurrency: u16, apart: Duration, limit: Limit) -> Loop {
        let (metrics, watchdog) = (Arc::clone(&self.metrics), self.watchdog.clone());
        Loop { name, concurrency, apart, limit, metrics, watchdog, shutdown: self.shutdown.clone() }
    }

    fn herald(&self, controller: &str) -> Herald {
        Herald::new(self.client.clone(), controller)
    }

    fn for_workloads(&self) -> workload::Context {
        workload::Context {
            client: self.client.clone(),
            guests: self.stores.guests.clone(),
            herald: self.herald("innkeeper-workload"),
            pace: Pace::default(),
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
            pace: Pace::default(),
            now: Timestamp::now,
        }
    }

    fn for_guests(&self, registry: Arc<Registry>, handover: Arc<Handover>) -> guest::Context {
        guest::Context {
            client: self.client.clone(),
            pools: self.stores.pools.clone(),
            guests: self.stores.guests.clone(),
            registry,
            herald: self.herald("innkeeper-guest"),
            patience: Patience::default(),
            handover,
            now: Timestamp::now,
        }
    }

    fn scheduler(&self, bell: Arc<Bell>, handover: Arc<Handover>) -> Scheduler {
        Scheduler {
            client: self.client.clone(),
            guests: self.stores.guests.clone(),
            pools: self.stores.pools.clone(),
            namespaces: self.stores.namespaces.clone(),
            herald: self.herald("innkeeper-scheduler"),
            now: Timestamp::now,
            bell,
            metrics: Arc::clone(&self.metrics),
            watchdog: self.watchdog.clone(),
            handover,
        }
    }
}

/// Whose VMs ours are: the cluster's own identity, that of its oldest namespace.
pub(crate) async fn owner(client: &Client, chosen: Option<String>) -> Result<Owner, OperatorError> {
    if let Some(id) = chosen {
        return Ok(Owner(id));
    }
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
