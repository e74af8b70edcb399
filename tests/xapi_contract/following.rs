//! Following the pool: what changes is known at once, and costs next to nothing.

use std::time::{Duration, Instant};

use futures::StreamExt;
use innkeeper::provider::{Change, Freshness, Power, Provider, StopMode};
use serde_json::json;
use tokio::time::timeout;

use crate::pool::{self, create, delete, start, until};

fn of(wish: &innkeeper::provider::GuestWish) -> Change {
    Change::Guest { namespace: wish.key.namespace.clone(), name: wish.key.name.clone() }
}

/// A change that somebody else makes to a guest is told in under a second, and the cache shows it. (A machine that is busy
/// with other things may take longer now and then.) Pitfalls 20, 21.
#[tokio::test]
async fn a_change_is_told_in_under_a_second() {
    let pool = pool::any().await;
    let provider = pool.connect().await;
    let wish = pool.wish("watched");
    let guest = create(&*provider, &wish).await;
    let mut changes = provider.changes();
    let vm = pool.rpc.by_uuid("VM", &guest.provider_id).await;
    let mut took = Vec::new();
    while took.last().is_none_or(|last| *last >= Duration::from_secs(1)) {
        assert!(took.len() < 5, "{took:?}");
        start(&*provider, &wish).await;
        let begun = Instant::now();
        pool.rpc.call("VM.hard_shutdown", json!([vm])).await;
        let told = async {
            loop {
                let change = changes.next().await.expect("the stream goes on");
                let found = provider.find(&wish.key, Freshness::Cached).await.unwrap().unwrap();
                if change == of(&wish) && found.power == Power::Stopped {
                    return;
                }
            }
        };
        timeout(Duration::from_mins(1), told).await.expect("the change is told");
        took.push(begun.elapsed());
    }
    delete(&*provider, &wish.key).await;
    pool.finish(&provider).await;
    let rest = async { while changes.next().await.is_some() {} };
    timeout(Duration::from_mins(1), rest).await.expect("the stream ends with the connection");
}

/// While the pool is followed, cached reads make no call, and live ones no listing.
#[tokio::test]
async fn a_followed_pool_is_not_listed_again() {
    let Some(pool) = pool::sim(&["--vms", "50"]).await else { return };
    let provider = pool.connect().await;
    let wish = pool.wish("quiet");
    create(&*provider, &wish).await;
    until("the pool is followed", async || {
        let before = pool.calls("VM.get_all_records").await;
        provider.list(Freshness::Live).await.unwrap();
        (pool.calls("VM.get_all_records").await == before).then_some(())
    })
    .await;
    let (listings, marks) = (pool.calls("VM.get_all_records").await, pool.calls("event.inject").await);
    for _ in 0..20 {
        assert!(provider.find(&wish.key, Freshness::Cached).await.unwrap().is_some());
        provider.inventory().await.unwrap();
    }
    assert_eq!(pool.calls("event.inject").await, marks);
    for _ in 0..5 {
        assert!(provider.find(&wish.key, Freshness::Live).await.unwrap().is_some());
    }
    assert_eq!(pool.calls("event.inject").await, marks + 5);
    assert_eq!(pool.calls("VM.get_all_records").await, listings);
    provider.close().await;
}

/// xapi loses old deletions without a word: the number of objects tells. Pitfall 19.
#[tokio::test]
async fn a_lost_deletion_is_noticed() {
    let Some(pool) = pool::sim(&[]).await else { return };
    let provider = pool.connect().await;
    let wish = pool.wish("ghost");
    let guest = create(&*provider, &wish).await;
    provider.find(&wish.key, Freshness::Live).await.unwrap();
    pool.fault(json!({ "method": "event.from", "kind": "drop_deletion", "class": "vm" })).await;
    let vm = pool.rpc.by_uuid("VM", &guest.provider_id).await;
    pool.rpc.call("VM.destroy", json!([vm])).await;
    assert_eq!(provider.find(&wish.key, Freshness::Live).await.unwrap(), None);
    until("the cache agrees", async || {
        provider.find(&wish.key, Freshness::Cached).await.unwrap().is_none().then_some(())
    })
    .await;
    delete(&*provider, &wish.key).await;
    provider.close().await;
}

/// A restart, a crash that loses recent objects, a new coordinator with an older database: everything is read anew, and
/// what is there is taken as it is. Pitfalls 6, 8, 15.
#[tokio::test]
async fn a_forgetful_coordinator_is_believed_and_nothing_is_made_twice() {
    let Some(pool) = pool::sim(&["--knob", "restart_ms=100"]).await else { return };
    let provider = pool.connect().await;
    let (old, new) = (pool.wish("old"), pool.wish("new"));
    create(&*provider, &old).await;
    pool.admin(reqwest::Method::POST, "/flush", json!({})).await;
    create(&*provider, &new).await;
    let mut changes = provider.changes();
    pool.admin(reqwest::Method::POST, "/crash", json!({ "lose_seconds": 300 })).await;
    let everything = async { while changes.next().await != Some(Change::Everything) {} };
    timeout(Duration::from_mins(1), everything).await.expect("the loss of track is told");
    let there = |wish: innkeeper::provider::GuestWish| {
        let provider = &provider;
        async move {
            until("the pool answers", async || provider.find(&wish.key, Freshness::Live).await.ok()).await.is_some()
        }
    };
    assert!(there(old.clone()).await);
    assert!(!there(new.clone()).await);
    // Made anew, as the operator would, under the next incarnation.
    let mut again = new.clone();
    again.key.incarnation += 1;
    create(&*provider, &again).await;
    start(&*provider, &again).await;
    assert_eq!(provider.list(Freshness::Live).await.unwrap().len(), 2);
    delete(&*provider, &old.key).await;
    delete(&*provider, &again.key).await;
    assert!(provider.list(Freshness::Live).await.unwrap().is_empty());
    provider.close().await;
}

/// Tasks are watched by event: long work is not asked for. Pitfall 14.
#[tokio::test]
async fn long_work_is_not_polled() {
    let Some(pool) = pool::sim(&["--knob", "start_ms=2000"]).await else { return };
    let provider = pool.connect().await;
    let wish = pool.wish("slow");
    create(&*provider, &wish).await;
    provider.list(Freshness::Live).await.unwrap();
    let before = pool.calls("task.get_record").await;
    let begun = Instant::now();
    start(&*provider, &wish).await;
    assert!(begun.elapsed() < Duration::from_secs(4));
    assert_eq!(pool.calls("task.get_record").await, before);
    provider.stop(&wish.key, StopMode::Hard).await.unwrap();
    delete(&*provider, &wish.key).await;
    assert_eq!(
        pool.rpc.all("task").await.values().filter(|t| t["name_label"].as_str().unwrap().starts_with("Async.")).count(),
        0
    );
    provider.close().await;
}

/// A new coordinator counts its events from further back: what the old one's events said does not answer for it.
/// Pitfalls 6, 7.
#[tokio::test]
async fn an_older_database_is_not_answered_for_from_memory() {
    let Some(pool) = pool::sim(&[]).await else { return };
    let provider = pool.connect().await;
    let (old, new) = (pool.wish("old"), pool.wish("new"));
    create(&*provider, &old).await;
    pool.admin(reqwest::Method::POST, "/flush", json!({})).await;
    create(&*provider, &new).await;
    provider.find(&new.key, Freshness::Live).await.unwrap().expect("it is there");
    let to = json!({ "host": "xcp-h2", "lose_seconds": 300 });
    pool.admin(reqwest::Method::POST, "/coordinator", to).await;
    let found = until("the pool answers", async || provider.find(&new.key, Freshness::Live).await.ok()).await;
    assert_eq!(found, None, "the new coordinator has never heard of it");
    let found = until("the pool answers", async || provider.find(&old.key, Freshness::Live).await.ok()).await;
    assert!(found.is_some());
    provider.close().await;
}
