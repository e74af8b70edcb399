//! Following a region: one read of everything for all guests, quickly after changes and slowly at rest; and what is known of
//! it, which the operations, the reads in the background and whoever listens for changes share.

use std::{
    sync::{Arc, Mutex, MutexGuard, Once, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures::{StreamExt as _, stream, stream::BoxStream};
use tokio::{
    sync::{
        Notify,
        broadcast::{self, error::RecvError},
    },
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::snapshot::{Read, Rented, Snapshot};
use crate::provider::{Change, Freshness, Key, ObservedGuest, ProviderError, Result};

/// Changes that a slow listener may lag behind before it is told to read everything anew.
const CHANGES: usize = 1024;
/// How many reads at rest may fail or be missed before what is known is too old to answer from.
const MISSED: u32 = 4;

/// How often everything is read in the background.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::provider) struct Pace {
    /// After a change of ours or a change seen.
    pub quick: Duration,
    /// While instances are between two states for longer.
    pub moving: Duration,
    /// At rest.
    pub slow: Duration,
    /// How long after a change more of them are expected.
    pub lively: Duration,
}

impl Pace {
    /// Time from the start of one read to the start of the next. `since_touch`: since our last write or the last change seen.
    /// `moving`: an instance is on its way from one state to another.
    fn until_next(&self, since_touch: Option<Duration>, moving: bool) -> Duration {
        match since_touch {
            Some(since) if since < self.lively => self.quick,
            _ if moving => self.moving,
            _ => self.slow,
        }
    }
}

/// How the last read of everything went.
#[derive(Debug)]
struct LastRead {
    began: Instant,
    failed: Option<ProviderError>,
}

/// What is known of a region.
#[derive(Debug)]
pub(in crate::provider) struct View<S> {
    snapshot: Mutex<Snapshot<S>>,
    touched: Mutex<Option<Instant>>,
    /// Wakes the reads in the background: something was written.
    nudge: Notify,
    changes: broadcast::Sender<Change>,
    reading: tokio::sync::Mutex<Option<LastRead>>,
    following: Once,
}

/// A lock whose value is replaced whole, so that a panic elsewhere cannot have left it half done.
pub(in crate::provider) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S: Rented> View<S> {
    /// Nothing is known yet.
    pub(in crate::provider) fn new(settling: Duration) -> Self {
        Self {
            snapshot: Mutex::new(Snapshot::new(settling)),
            touched: Mutex::default(),
            nudge: Notify::new(),
            changes: broadcast::channel(CHANGES).0,
            reading: tokio::sync::Mutex::default(),
            following: Once::new(),
        }
    }

    pub(in crate::provider) fn snapshot(&self) -> MutexGuard<'_, Snapshot<S>> {
        locked(&self.snapshot)
    }

    /// The next reads should come quickly.
    pub(in crate::provider) fn touch(&self) {
        *locked(&self.touched) = Some(Instant::now());
        self.nudge.notify_one();
    }

    /// Passes changes on. Nobody listening is no failure.
    pub(in crate::provider) fn tell(&self, changes: impl IntoIterator<Item = Change>) {
        for change in changes {
            let _ = self.changes.send(change);
        }
    }

    /// What is known of the guest's VM.
    pub(in crate::provider) fn known(&self, key: &Key) -> Option<S> {
        self.snapshot().find(key)
    }

    /// Notes what a write was answered with.
    pub(in crate::provider) fn wrote(&self, seen: S) {
        self.snapshot().write(seen, Instant::now());
        self.touch();
    }

    fn merge(&self, read: Read<S>) {
        let changed = self.snapshot().merge(read, Instant::now());
        if !changed.is_empty() {
            self.touch();
        }
        self.tell(changed);
    }
}

/// A connection to a region that can be followed.
#[async_trait]
pub(in crate::provider) trait Region: Send + Sync + 'static {
    /// An instance of ours here.
    type Seen: Rented + Send;

    /// What cannot be followed, in a line of the log.
    const NAME: &'static str;

    fn view(&self) -> &View<Self::Seen>;

    fn pace(&self) -> Pace;

    /// Cancelled when the connection is closed.
    fn closed(&self) -> &CancellationToken;

    /// Every instance of ours, or of one guest, from a complete read.
    async fn read(&self, act: &str, guest: Option<&str>) -> Result<Vec<Self::Seen>>;

    /// What is done after each read in the background.
    async fn tidy(&self);

    /// Reads everything of this owner. Callers that wait while a read begins share it and its failure.
    async fn refresh(&self, act: &str) -> Result<()> {
        let asked = Instant::now();
        let mut last = self.view().reading.lock().await;
        if let Some(LastRead { failed, .. }) = last.as_ref().filter(|last| last.began > asked) {
            return failed.as_ref().map_or(Ok(()), |error| Err(again(act, error)));
        }
        let began = Instant::now();
        let result = self.read(act, None).await.map(|seen| self.view().merge(Read { began, guest: None, seen }));
        let failed = result.as_ref().err().map(|error| again(act, error));
        *last = Some(LastRead { began, failed });
        result
    }

    /// Reads everything of one guest. Afterwards the snapshot knows at least what the provider showed.
    async fn look(&self, act: &str, guest: &str) -> Result<()> {
        let began = Instant::now();
        let seen = self.read(act, Some(guest)).await?;
        self.view().merge(Read { began, guest: Some(guest.to_owned()), seen });
        Ok(())
    }

    /// Whether what was last read is recent enough to answer from.
    fn is_fresh(&self) -> bool {
        let oldest = self.pace().slow * MISSED;
        self.view().snapshot().read_at().is_some_and(|read| read.elapsed() < oldest)
    }

    /// Time from the start of one read to the start of the next, as things are now.
    fn until_next(&self) -> Duration {
        let now = Instant::now();
        let since = locked(&self.view().touched).map(|touched| now.saturating_duration_since(touched));
        self.pace().until_next(since, self.view().snapshot().is_moving(now))
    }

    /// Whether nothing has changed for a while and nothing is about to, so that reads come slowly.
    fn is_at_rest(&self) -> bool {
        self.view().snapshot().read_at().is_some() && self.until_next() == self.pace().slow
    }
}

/// Starts reading in the background. Only who asks for what was last seen needs it.
fn follow<R: Region>(region: &Arc<R>) {
    region.view().following.call_once(|| {
        tokio::spawn(run(Arc::clone(region)));
    });
}

/// Every VM of this owner.
pub(in crate::provider) async fn list<R: Region>(region: &Arc<R>, freshness: Freshness) -> Result<Vec<ObservedGuest>> {
    if freshness == Freshness::Cached {
        follow(region);
    }
    if freshness == Freshness::Live || !region.is_fresh() {
        region.refresh("list the instances").await?;
    }
    Ok(region.view().snapshot().list())
}

/// The VM of one guest.
pub(in crate::provider) async fn find<R: Region>(
    region: &Arc<R>,
    key: &Key,
    freshness: Freshness,
) -> Result<Option<ObservedGuest>> {
    const ACT: &str = "find the instance";
    match freshness {
        Freshness::Live => region.look(ACT, &key.guest).await?,
        Freshness::Cached => {
            follow(region);
            if !region.is_fresh() {
                region.refresh(ACT).await?;
            }
        }
    }
    Ok(region.view().known(key).map(|seen| seen.guest().clone()))
}

/// What changes, until the connection is closed.
pub(in crate::provider) fn changes<R: Region>(region: &Arc<R>) -> BoxStream<'static, Change> {
    follow(region);
    let (heard, closed) = (region.view().changes.subscribe(), region.closed().clone());
    let next = |mut heard: broadcast::Receiver<Change>| async move {
        match heard.recv().await {
            Ok(change) => Some((change, heard)),
            Err(RecvError::Lagged(_)) => Some((Change::Everything, heard)),
            Err(RecvError::Closed) => None,
        }
    };
    stream::unfold(heard, next).take_until(closed.cancelled_owned()).boxed()
}

/// Reads until the connection is closed.
async fn run<R: Region>(region: Arc<R>) {
    let view = region.view();
    let mut began = None;
    let mut reachable = true;
    loop {
        // The first read comes at once. Writes in quick succession bring a read forward and never push it back.
        let due = began.map_or_else(Instant::now, |began| began + region.until_next());
        tokio::select! {
            () = region.closed().cancelled() => return,
            () = view.nudge.notified() => continue,
            () = sleep_until(due) => {}
        }
        began = Some(Instant::now());
        let result = tokio::select! {
            () = region.closed().cancelled() => return,
            result = region.refresh("list the instances") => result,
        };
        match result {
            Ok(()) => {
                if !std::mem::replace(&mut reachable, true) {
                    view.tell([Change::Everything]);
                }
                region.tidy().await;
            }
            Err(error) => {
                if std::mem::replace(&mut reachable, false) {
                    tracing::warn!(kind = %error.kind, "{} cannot be followed: {error}", R::NAME);
                    view.tell([Change::Pool]);
                }
            }
        }
    }
}

/// The same failure for another caller.
fn again(act: &str, error: &ProviderError) -> ProviderError {
    let mut copy = ProviderError::new(error.kind, act, error.message.clone());
    copy.code.clone_from(&error.code);
    copy.retry_after = error.retry_after;
    copy
}

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;
