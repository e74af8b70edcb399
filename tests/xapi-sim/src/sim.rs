//! The simulated pool as a whole: the database and everything that is not in it, behind one lock, and the signal that
//! wakes those who wait for a change.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::{Notify, watch};

use crate::allowed;
use crate::clock::Clock;
use crate::disk::Disk;
use crate::error::{ApiError, ApiResult};
use crate::faults::Faults;
use crate::history::History;
use crate::knobs::Knobs;
use crate::model::Model;
use crate::rbac::Role;
use crate::store::Store;
use crate::wire::Ints;

/// Someone who may log in.
#[derive(Debug, Clone)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) password: String,
    pub(crate) role: Role,
}

/// A call of a client that names itself.
#[derive(Debug, Clone, serde::Serialize)]
pub(crate) struct Named {
    pub(crate) method: String,
    pub(crate) caller: String,
}

/// What is true of the pool at a moment.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) knobs: Knobs,
    pub(crate) history: History,
    pub(crate) faults: Faults,
    /// Calls by method since the start.
    pub(crate) calls: BTreeMap<String, u64>,
    /// Calls of clients that name themselves, in order; reads are left out.
    pub(crate) callers: Vec<Named>,
    /// The data of disks that have any, by VDI.
    pub(crate) disks: HashMap<Arc<str>, Disk>,
    /// Disks that a backend still holds after their VM has stopped.
    pub(crate) busy_disks: HashMap<Arc<str>, Instant>,
    /// Hosts whose toolstack nobody reaches.
    pub(crate) down: BTreeSet<Arc<str>>,
    /// Hosts without a coordinator: they refuse all but emergency calls.
    pub(crate) emergency: BTreeSet<Arc<str>>,
    pub(crate) users: Vec<User>,
    /// The role of each live session.
    pub(crate) session_roles: HashMap<Arc<str>, Role>,
    /// Cancel signals of running tasks that heed them.
    pub(crate) cancels: HashMap<Arc<str>, Arc<Notify>>,
    /// Calls that wait for another operation to end.
    pub(crate) queued: usize,
    /// Storage migrations that run, by source host.
    pub(crate) storage_migrations: HashMap<Arc<str>, usize>,
    /// Counts the coordinator's restarts: what began before one must not take effect after it.
    pub(crate) epoch: u64,
    /// When a toolstack of the pool last started, in seconds since 1970.
    pub(crate) last_agent_start: i64,
    /// Numbers the domains and the guests' addresses.
    pub(crate) next_domid: i64,
    /// The generation up to which `allowed_operations` were brought up to date.
    refreshed: u64,
}

impl World {
    pub(crate) fn new(store: Store, knobs: Knobs, users: Vec<User>) -> Self {
        Self {
            store,
            knobs,
            users,
            history: History::default(),
            faults: Faults::default(),
            calls: BTreeMap::new(),
            callers: Vec::new(),
            disks: HashMap::new(),
            busy_disks: HashMap::new(),
            down: BTreeSet::new(),
            emergency: BTreeSet::new(),
            session_roles: HashMap::new(),
            cancels: HashMap::new(),
            queued: 0,
            storage_migrations: HashMap::new(),
            epoch: 0,
            last_agent_start: 0,
            next_domid: 1,
            refreshed: 0,
        }
    }

    pub(crate) fn clock(&self) -> Clock {
        Clock { skew_seconds: self.knobs.clock_skew_seconds }
    }

    /// Whether a backend still holds a disk.
    pub(crate) fn is_busy(&self, vdi: &str) -> bool {
        self.busy_disks.get(vdi).is_some_and(|until| *until > Instant::now())
    }

    /// The pool object; there is exactly one.
    pub(crate) fn pool(&self) -> Arc<str> {
        self.store.rows("pool").next().map_or_else(|| Arc::from(""), |(r, _)| r.clone())
    }

    pub(crate) fn coordinator(&self) -> Arc<str> {
        Arc::from(self.store.text("pool", &self.pool(), "master"))
    }

    pub(crate) fn uuid(&self, class: &str, reference: &str) -> String {
        self.store.text(class, reference, "uuid").to_owned()
    }

    pub(crate) fn log(&mut self, event: &'static str, class: &'static str, reference: &str, host: &str) {
        let uuid = self.uuid(class, reference);
        let name = self.store.text(class, reference, "name_label").to_owned();
        let host = self.uuid("host", host);
        self.history.log(event, class, &uuid, &name, &host);
    }
}

/// The simulator as its endpoints share it.
#[derive(Debug)]
pub(crate) struct Sim {
    world: Mutex<World>,
    changed: watch::Sender<u64>,
    /// Every connection waits for this, so it is not told of each change.
    lost: watch::Sender<()>,
    pub(crate) model: Arc<Model>,
    pub(crate) ints: Ints,
}

impl Sim {
    pub(crate) fn new(world: World, ints: Ints) -> Arc<Self> {
        let model = Arc::new(world.store.model.clone());
        let world = Mutex::new(world);
        let sim = Arc::new(Self { world, changed: watch::Sender::new(0), lost: watch::Sender::new(()), model, ints });
        sim.write(|_| ());
        sim
    }

    /// Looks at the world, and changes it. Never held across an await: the closure sees to that.
    pub(crate) fn write<T>(&self, act: impl FnOnce(&mut World) -> T) -> T {
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        let alive = (world.epoch, world.down.len());
        let result = act(&mut world);
        if alive != (world.epoch, world.down.len()) {
            self.lost.send_replace(());
        }
        if world.store.generation != world.refreshed {
            let since = world.refreshed.min(world.store.generation);
            allowed::refresh(&mut world, since);
            world.refreshed = world.store.generation;
            self.changed.send_replace(world.store.generation);
        }
        result
    }

    /// The same, for what only reads.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&World) -> T) -> T {
        look(&self.world.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Tells when something has changed.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Tells when a host, or its toolstack, may have gone.
    pub(crate) fn losses(&self) -> watch::Receiver<()> {
        self.lost.subscribe()
    }

    /// Wakes the waiters though nothing in the database has changed.
    pub(crate) fn wake(&self) {
        self.changed.send_modify(|_| ());
    }
}

/// One call under way: who makes it, under which task, and since which life of the coordinator.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) sim: Arc<Sim>,
    pub(crate) session: Arc<str>,
    /// In the database only when the call is asynchronous.
    pub(crate) task: Arc<str>,
    pub(crate) epoch: u64,
    pub(crate) cancel: Arc<Notify>,
    /// The host whose endpoint took the call.
    pub(crate) endpoint: Arc<str>,
}

impl Call {
    /// Changes the world, unless the coordinator that took the call is gone.
    pub(crate) fn write<T>(&self, act: impl FnOnce(&mut World) -> ApiResult<T>) -> ApiResult<T> {
        self.sim.write(|w| if w.epoch == self.epoch { act(w) } else { Err(Self::lost()) })
    }

    /// The failure that no client sees: its connection was cut.
    pub(crate) fn lost() -> ApiError {
        ApiError::internal("the coordinator restarted")
    }

    pub(crate) fn knobs(&self) -> Knobs {
        self.sim.read(|w| w.knobs.clone())
    }
}
