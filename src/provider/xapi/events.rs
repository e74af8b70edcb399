//! Following the pool's events, so that answers come from memory and changes are told at once.
//!
//! To begin: mark a place in the stream (`event.inject`), read all records, then follow from the mark. What cannot be
//! followed without a gap (a new session, a lost deletion, an error) begins anew: a new coordinator may count its events
//! from further back.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{StreamExt, stream, stream::BoxStream};
use tokio::{
    sync::{Notify, broadcast, watch},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    cache::{Batch, CLASSES, Effect, changes},
    call_error::CallError,
    client::{Client, args},
    reads::Reads,
    records::{Pool, Task},
    session::Link,
    value::Ref,
    view::View,
};
use crate::provider::{Change, Owner};

/// How long events are gathered before the next ask, unless somebody waits for them.
const GATHER: Duration = Duration::from_millis(100);
/// How long a reader waits for the stream to pass its mark before it reads by itself.
const BARRIER: Duration = Duration::from_secs(3);
/// How much longer than the wait itself an answer may take.
const SLACK: Duration = Duration::from_secs(10);
/// So many ended tasks that nobody waits for are remembered, others' among them; each is needed for some milliseconds.
const REMEMBERED: usize = 256;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

#[derive(Clone, Default)]
struct State {
    /// `None` while the pool is not followed.
    followed: Option<Followed>,
}

#[derive(Clone)]
struct Followed {
    /// The session whose events these are: those of another coordinator are counted differently.
    link: Arc<Link>,
    /// The pool as of `token`.
    view: Arc<View>,
    token: String,
}

/// A place in the stream of one session.
struct Mark {
    epoch: u64,
    token: String,
}

/// What the follower tells and is told.
pub(super) struct Events {
    state: watch::Sender<State>,
    changes: broadcast::Sender<Change>,
    tasks: Mutex<Tasks>,
    marks: Reads<Mark>,
    wanted: Notify,
    pub(super) stop: CancellationToken,
}

/// Tasks that are waited for, and the latest that ended when nobody waited for them: the event may come before the answer to
/// the call that began the task.
#[derive(Default)]
struct Tasks {
    awaited: HashMap<Ref<Task>, watch::Sender<Option<Task>>>,
    /// `None` of one that is gone.
    ended: VecDeque<(Ref<Task>, Option<Task>)>,
}

impl Tasks {
    fn subscribe(&mut self, task: &Ref<Task>) -> watch::Receiver<Option<Task>> {
        let mut news = self.awaited.entry(task.clone()).or_insert_with(|| watch::Sender::new(None)).subscribe();
        if let Some(index) = self.ended.iter().rposition(|(ended, _)| ended == task)
            && let Some((_, record)) = self.ended.remove(index)
            && let Some(awaited) = self.awaited.get(task)
        {
            awaited.send_replace(record);
            news.mark_changed();
        }
        news
    }

    fn tell(&mut self, task: Ref<Task>, record: Option<Task>) {
        if let Some(awaited) = self.awaited.get(&task) {
            awaited.send_replace(record);
        } else if record.as_ref().is_none_or(Task::has_ended) {
            if self.ended.len() == REMEMBERED {
                self.ended.pop_front();
            }
            self.ended.push_back((task, record));
        }
    }
}

impl Events {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: watch::Sender::new(State::default()),
            changes: broadcast::Sender::new(1024),
            tasks: Mutex::default(),
            marks: Reads::new(),
            wanted: Notify::new(),
            stop: CancellationToken::new(),
        })
    }

    fn followed(&self) -> Option<Followed> {
        self.state.borrow().followed.clone()
    }

    /// The pool as last seen, where it is followed.
    pub(super) fn cached(&self) -> Option<Arc<View>> {
        self.followed().map(|followed| followed.view)
    }

    /// The pool with everything in it that had happened when this was asked; `None` where the stream does not get there.
    /// The mark is set in the very session that is followed: one set at another coordinator would compare as passed.
    /// Those who ask at one time share a mark.
    pub(super) async fn barrier(&self, client: &Client) -> Option<Arc<View>> {
        let Followed { link, view, .. } = self.followed()?;
        let pool = view.pool()?.0;
        let set = async || {
            let token = client.call_on(&link, "event.inject", args!["pool", pool], BARRIER).await?;
            Ok(Mark { epoch: link.epoch, token })
        };
        let mark = self.marks.read(set).await.ok()?;
        let mut state = self.state.subscribe();
        self.wanted.notify_one();
        let same = |followed: &Followed| followed.link.epoch == mark.epoch;
        let passed = |followed: &Followed| !same(followed) || followed.token > mark.token;
        let ended = state.wait_for(|state| state.followed.as_ref().is_none_or(passed));
        let reached = timeout(BARRIER, ended).await.ok()?.ok()?.followed.clone();
        reached.filter(same).map(|followed| followed.view)
    }

    /// What changes, as it is noticed. Ends with the connection.
    pub(super) fn changes(&self) -> BoxStream<'static, Change> {
        let receiver = self.changes.subscribe();
        let told = stream::unfold(receiver, |mut receiver| async move {
            match receiver.recv().await {
                Ok(change) => Some((change, receiver)),
                Err(broadcast::error::RecvError::Lagged(_)) => Some((Change::Everything, receiver)),
                Err(broadcast::error::RecvError::Closed) => None,
            }
        });
        told.take_until(self.stop.clone().cancelled_owned()).boxed()
    }

    fn tasks(&self) -> MutexGuard<'_, Tasks> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// News of a task. Hold the answer while it is waited for.
    pub(super) fn watch_task(self: &Arc<Self>, task: &Ref<Task>) -> TaskNews {
        let news = self.tasks().subscribe(task);
        TaskNews { task: task.clone(), news, events: Arc::clone(self) }
    }

    fn tell(&self, change: Change) {
        // Nobody listening is fine.
        let _ = self.changes.send(change);
    }

    fn forget(&self) {
        self.state.send_if_modified(|state| state.followed.take().is_some());
    }

    fn publish(&self, link: &Arc<Link>, view: &Arc<View>, token: &str) {
        let followed = Followed { link: Arc::clone(link), view: Arc::clone(view), token: token.to_owned() };
        self.state.send_replace(State { followed: Some(followed) });
    }
}

/// A subscription to one task.
pub(super) struct TaskNews {
    task: Ref<Task>,
    news: watch::Receiver<Option<Task>>,
    events: Arc<Events>,
}

impl TaskNews {
    /// The task's next record, or `None` after this time without one.
    pub(super) async fn next(&mut self, wait: Duration) -> Option<Task> {
        self.events.wanted.notify_one();
        timeout(wait, self.news.changed()).await.ok()?.ok()?;
        self.news.borrow_and_update().clone()
    }

    /// Whether events arrive at all, so that asking by oneself can be rare.
    pub(super) fn are_flowing(&self) -> bool {
        self.events.state.borrow().followed.is_some()
    }
}

impl Drop for TaskNews {
    fn drop(&mut self) {
        self.events.tasks().awaited.remove(&self.task);
    }
}

/// Follows the pool until told to stop, and then ends the session: also for a connection that was dropped unclosed.
pub(super) async fn follow(client: Arc<Client>, events: Arc<Events>, owner: Owner) {
    follow_until_stopped(&client, &events, &owner).await;
    client.sessions.close().await;
}

async fn follow_until_stopped(client: &Client, events: &Events, owner: &Owner) {
    let following = Following { client, events, owner };
    let mut pause = FIRST_PAUSE;
    loop {
        let begun = Instant::now();
        let ended = tokio::select! {
            () = events.stop.cancelled() => return,
            ended = following.run() => ended,
        };
        events.forget();
        if begun.elapsed() > LONGEST_PAUSE {
            pause = FIRST_PAUSE;
        }
        match ended {
            Ok(why) => tracing::debug!(why, "reading the pool anew"),
            Err(error) => {
                tracing::warn!(%error, "the pool's events cannot be followed now");
                let wait = match error {
                    CallError::Closed => return,
                    CallError::StillRefused { wait, .. } => wait,
                    _ => pause,
                };
                tokio::select! {
                    () = events.stop.cancelled() => return,
                    () = sleep(wait) => {}
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

struct Following<'a> {
    client: &'a Client,
    events: &'a Events,
    owner: &'a Owner,
}

impl Following<'_> {
    /// Reads everything, then follows. Ends with the reason to begin anew.
    async fn run(&self) -> Result<&'static str, CallError> {
        let link = self.client.link().await?;
        let pools = self.client.all::<Pool>().await?;
        let Some(pool) = pools.into_keys().next() else {
            return Err(CallError::Nonsense { why: "the pool has no pool record".into() });
        };
        let mut token: String = self.client.call_on(&link, "event.inject", args!["pool", pool], SLACK).await?;
        let mut view = Arc::new(self.client.read_all().await?);
        if !self.client.sessions.is_current(&link) {
            return Ok("the session changed while all was read");
        }
        let listed = Instant::now();
        self.events.publish(&link, &view, &token);
        self.events.tell(Change::Everything);
        while listed.elapsed() < self.client.timing.relist {
            let batch = self.next(&link, &token).await?;
            let quiet = batch.events.is_empty();
            let applied = batch
                .apply(Arc::make_mut(&mut view))
                .map_err(|error| CallError::Nonsense { why: format!("an event cannot be read: {error}") })?;
            if !applied.agrees {
                return Ok("a deletion was lost");
            }
            token = applied.token;
            self.events.publish(&link, &view, &token);
            self.tell(applied.effects, &view);
            if !quiet {
                tokio::select! {
                    () = self.events.wanted.notified() => {}
                    () = sleep(GATHER) => {}
                }
            }
        }
        Ok("it is time to")
    }

    async fn next(&self, link: &Arc<Link>, token: &str) -> Result<Batch, CallError> {
        let wait = self.client.timing.event_wait;
        // Old JSON readers of xapi take no float without decimals.
        let seconds = wait.as_secs_f64() + 0.1;
        self.client.wait_on(link, "event.from", args![CLASSES, token, seconds], wait + SLACK).await
    }

    fn tell(&self, effects: Vec<Effect>, view: &View) {
        for change in changes(&effects, view, self.owner) {
            self.events.tell(change);
        }
        let mut tasks = self.events.tasks();
        for effect in effects {
            if let Effect::Task(task, record) = effect {
                tasks.tell(task, record);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::xapi::records::tests::recorded;

    fn record(status: &str) -> Task {
        let any = recorded::<Task>().into_values().next().unwrap();
        Task { status: status.to_owned(), ..any }
    }

    fn task(number: usize) -> Ref<Task> {
        Ref::new(format!("OpaqueRef:{number}"))
    }

    /// Whether a subscriber finds news at once, and which.
    fn found(tasks: &mut Tasks, number: usize) -> (bool, Option<Task>) {
        let mut news = tasks.subscribe(&task(number));
        (news.has_changed().unwrap(), news.borrow_and_update().clone())
    }

    #[test]
    fn an_end_that_comes_before_it_is_waited_for_is_found() {
        let mut tasks = Tasks::default();
        tasks.tell(task(1), Some(record("pending")));
        assert_eq!(found(&mut tasks, 1), (false, None), "it has not ended");
        tasks.tell(task(2), Some(record("pending")));
        tasks.tell(task(2), Some(record("success")));
        assert_eq!(found(&mut tasks, 2), (true, Some(record("success"))));
        tasks.tell(task(3), None);
        assert_eq!(found(&mut tasks, 3), (true, None), "it is gone, which has to be asked about");
        assert!(tasks.ended.is_empty());
    }

    #[test]
    fn an_end_is_told_to_who_waits_and_is_not_remembered() {
        let mut tasks = Tasks::default();
        let mut news = tasks.subscribe(&task(1));
        assert!(!news.has_changed().unwrap());
        tasks.tell(task(1), Some(record("failure")));
        assert_eq!(*news.borrow_and_update(), Some(record("failure")));
        assert!(tasks.ended.is_empty());
    }

    #[test]
    fn so_many_ends_are_remembered_and_the_latest_of_them() {
        let mut tasks = Tasks::default();
        (0..=REMEMBERED).for_each(|number| tasks.tell(task(number), Some(record("success"))));
        assert_eq!(tasks.ended.len(), REMEMBERED);
        assert_eq!(found(&mut tasks, 0), (false, None));
        assert!(found(&mut tasks, 1).0 && found(&mut tasks, REMEMBERED).0);
    }
}
