use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::provider::{ErrorKind, Power, Stage};

const SECOND: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Debug)]
struct Seen(ObservedGuest);

impl Rented for Seen {
    fn guest(&self) -> &ObservedGuest {
        &self.0
    }

    fn made(&self) -> i64 {
        0
    }
}

fn key() -> Key {
    Key { guest: "uid".into(), incarnation: 1, namespace: "shop".into(), name: "web-0".into() }
}

/// A region with one instance, whose reads wait until they are let through, and can fail.
struct Fake {
    view: View<Seen>,
    closed: CancellationToken,
    gate: tokio::sync::Semaphore,
    broken: std::sync::atomic::AtomicBool,
    begun: AtomicU32,
    tidied: AtomicU32,
}

impl Fake {
    fn new(open: bool) -> Arc<Self> {
        Arc::new(Self {
            view: View::new(SECOND),
            closed: CancellationToken::new(),
            gate: tokio::sync::Semaphore::new(if open { 1000 } else { 0 }),
            broken: false.into(),
            begun: AtomicU32::new(0),
            tidied: AtomicU32::new(0),
        })
    }

    fn begun(&self) -> u32 {
        self.begun.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Region for Fake {
    type Seen = Seen;

    const NAME: &'static str = "the fake";

    fn view(&self) -> &View<Seen> {
        &self.view
    }

    fn pace(&self) -> Pace {
        let quick = Duration::from_millis(10);
        Pace { quick, moving: quick, slow: quick, lively: SECOND }
    }

    fn closed(&self) -> &CancellationToken {
        &self.closed
    }

    async fn read(&self, act: &str, _guest: Option<&str>) -> Result<Vec<Seen>> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        self.gate.acquire().await.unwrap().forget();
        if self.broken.load(Ordering::SeqCst) {
            return Err(ProviderError::new(ErrorKind::Unavailable, act, "dark").with_code("Dark"));
        }
        Ok(vec![Seen(ObservedGuest::new(key(), "i-1", Stage::Complete, Power::Running))])
    }

    async fn tidy(&self) {
        self.tidied.fetch_add(1, Ordering::SeqCst);
    }
}

async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let waiting = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{what}: not in time"));
}

#[test]
fn quick_after_changes_and_slow_at_rest() {
    let pace = Pace { quick: SECOND * 2, moving: SECOND * 5, slow: SECOND * 15, lively: SECOND * 20 };
    for (since, moving, expected) in [
        (None, false, 15),
        (None, true, 5),
        (Some(Duration::ZERO), false, 2),
        (Some(SECOND * 19), true, 2),
        (Some(SECOND * 20), true, 5),
        (Some(SECOND * 20), false, 15),
    ] {
        assert_eq!(pace.until_next(since, moving), SECOND * expected, "{since:?} {moving}");
    }
}

#[tokio::test]
async fn who_waits_while_a_read_begins_shares_it_and_its_failure() {
    let region = Fake::new(false);
    region.broken.store(true, Ordering::SeqCst);
    let asked = Arc::new(AtomicU32::new(0));
    let ask = || {
        let (region, asked) = (Arc::clone(&region), Arc::clone(&asked));
        tokio::spawn(async move {
            asked.fetch_add(1, Ordering::SeqCst);
            region.refresh("ask").await
        })
    };
    let first = ask();
    until("the first read begins", || region.begun() == 1).await;
    // All of these ask while it is under way: what it shows may be older than their question.
    let others: Vec<_> = (0..5).map(|_| ask()).collect();
    until("all have asked", || asked.load(Ordering::SeqCst) == 6).await;
    region.gate.add_permits(1);
    assert!(first.await.unwrap().is_err());
    until("the second read begins", || region.begun() == 2).await;
    region.gate.add_permits(1);
    for other in others {
        let error = other.await.unwrap().unwrap_err();
        assert_eq!((error.kind, error.code.as_deref()), (ErrorKind::Unavailable, Some("Dark")));
    }
    assert_eq!(region.begun(), 2, "five callers shared one read");
}

#[tokio::test]
async fn a_region_that_goes_dark_says_so_once_and_everything_when_it_is_back() {
    let region = Fake::new(true);
    let mut heard = changes(&region);
    let mut next = async || tokio::time::timeout(PATIENCE, heard.next()).await.unwrap();
    assert_eq!(next().await, Some(Change::Everything), "nothing was known before");
    region.broken.store(true, Ordering::SeqCst);
    assert_eq!(next().await, Some(Change::Pool));
    let tidied = region.tidied.load(Ordering::SeqCst);
    let begun = region.begun();
    until("it is read on", || region.begun() > begun + 2).await;
    assert_eq!(region.tidied.load(Ordering::SeqCst), tidied, "after a read that failed nothing is removed");
    region.broken.store(false, Ordering::SeqCst);
    assert_eq!(next().await, Some(Change::Everything), "and not once more that it is dark");
    region.closed.cancel();
    assert_eq!(next().await, None);
}

#[tokio::test]
async fn what_is_old_is_read_anew() {
    let region = Fake::new(true);
    assert!(!region.is_fresh() && !region.is_at_rest(), "nothing is known");
    let found = find(&region, &key(), Freshness::Live).await.unwrap().unwrap();
    assert_eq!((found.provider_id.as_str(), region.begun()), ("i-1", 1));
    assert_eq!(list(&region, Freshness::Live).await.unwrap().len(), 1);
    assert!(region.is_fresh());
    region.broken.store(true, Ordering::SeqCst);
    find(&region, &key(), Freshness::Live).await.unwrap_err();
    until("it is too old", || !region.is_fresh()).await;
    find(&region, &key(), Freshness::Cached).await.unwrap_err();
    region.closed.cancel();
}
