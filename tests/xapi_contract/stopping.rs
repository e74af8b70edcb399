//! A guest is switched off as it was said: softly within its time, or hard.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use innkeeper::provider::{ErrorKind, Freshness, GuestWish, Power, Provider, StopMode, xapi::XapiProvider};
use serde_json::json;

use crate::pool::{self, Pool, create, delete, start, until};

/// Connected by somebody who stays with a guest that is shutting down for no longer than this.
async fn connect(pool: &Pool, patience: Duration) -> Arc<XapiProvider> {
    let mut config = pool.config();
    config.timing.patience = patience;
    XapiProvider::connect(config).await.unwrap()
}

/// Makes and starts a guest, and waits for its tools.
async fn running(pool: &Pool, provider: &XapiProvider, name: &str) -> GuestWish {
    let wish = pool.wired_wish(name).await;
    create(provider, &wish).await;
    start(provider, &wish).await;
    until("its tools are up", async || {
        let guest = provider.find(&wish.key, Freshness::Live).await.unwrap().unwrap();
        (!guest.addresses.is_empty()).then_some(())
    })
    .await;
    wish
}

async fn is_off(provider: &XapiProvider, wish: &GuestWish) -> Option<()> {
    let guest = provider.find(&wish.key, Freshness::Live).await.unwrap().unwrap();
    (guest.power == Power::Stopped).then_some(())
}

/// A guest is asked to shut down; without tools that can be asked its power is cut. Pitfall 32.
#[tokio::test]
async fn a_soft_stop_asks_first() {
    let Some(pool) = pool::sim(&["--knob", "tools_ms=50"]).await else { return };
    let provider = pool.connect().await;
    let wish = running(&pool, &provider, "soft").await;
    assert_eq!(provider.stop(&wish.key, StopMode::USUAL).await.unwrap().power, Power::Stopped);
    assert_eq!(pool.calls("Async.VM.hard_shutdown").await, 0);
    pool.knobs(json!({ "tools": false })).await;
    provider.start(&wish).await.unwrap();
    assert_eq!(provider.stop(&wish.key, StopMode::USUAL).await.unwrap().power, Power::Stopped);
    assert_eq!(pool.calls("Async.VM.hard_shutdown").await, 1);
    delete(&*provider, &wish.key).await;
    provider.close().await;
}

/// A soft stop whose answer is lost does not cut the power of a guest that is shutting down. Pitfall 32.
#[tokio::test]
async fn a_lost_answer_cuts_no_power() {
    let Some(pool) = pool::sim(&["--knob", "tools_ms=10", "--knob", "clean_shutdown_ms=700"]).await else { return };
    let provider = connect(&pool, Duration::from_millis(50)).await;
    let wish = running(&pool, &provider, "slow").await;
    pool.fault(json!({ "method": "Async.VM.clean_shutdown", "kind": "reset_after", "count": 1 })).await;
    assert_eq!(provider.stop(&wish.key, StopMode::USUAL).await.unwrap_err().kind, ErrorKind::UnknownOutcome);
    assert_eq!(provider.stop(&wish.key, StopMode::USUAL).await.unwrap().power, Power::Stopping);
    until("it has shut down", async || is_off(&provider, &wish).await).await;
    assert_eq!(pool.calls("Async.VM.hard_shutdown").await, 0);
    assert_eq!(pool.calls("Async.VM.clean_shutdown").await, 1, "it was asked once");
    delete(&*provider, &wish.key).await;
    provider.close().await;
}

/// A guest whose tools do not heed the request loses its power when its time is over, and nobody waits for that with it.
/// Pitfall 32.
#[tokio::test]
async fn a_deaf_guest_loses_its_power_in_the_end() {
    let Some(pool) = pool::sim(&["--knob", "tools_ms=10", "--knob", "clean_shutdown_ms=60000"]).await else { return };
    let mode = StopMode::TrySoft(Duration::from_millis(1500));
    for (patience, answer) in [(Duration::from_secs(9), Power::Stopped), (Duration::from_millis(50), Power::Stopping)] {
        let provider = connect(&pool, patience).await;
        let wish = running(&pool, &provider, "deaf").await;
        let begun = Instant::now();
        assert_eq!(provider.stop(&wish.key, mode).await.unwrap().power, answer);
        assert!(answer == Power::Stopped || begun.elapsed() < Duration::from_millis(1500));
        assert!(answer == Power::Stopping || begun.elapsed() >= Duration::from_millis(1500));
        until("it is off", async || is_off(&provider, &wish).await).await;
        delete(&*provider, &wish.key).await;
        provider.close().await;
    }
    assert_eq!(pool.calls("Async.VM.hard_shutdown").await, 2);
    assert_eq!(pool.calls("Async.VM.clean_shutdown").await, 2);
}

/// A guest's time counts from when it was asked, whoever asked it: a new run of the operator neither asks again nor gives it
/// its time anew. Pitfalls 12 (the pool's own clock), 32.
#[tokio::test]
async fn a_restart_gives_no_time_anew() {
    let arguments =
        ["--knob", "tools_ms=10", "--knob", "clean_shutdown_ms=60000", "--knob", "clock_skew_seconds=-3600"];
    let Some(pool) = pool::sim(&arguments).await else { return };
    let first = connect(&pool, Duration::from_millis(50)).await;
    let wish = running(&pool, &first, "asked").await;
    let mode = StopMode::TrySoft(Duration::from_secs(2));
    assert_eq!(first.stop(&wish.key, mode).await.unwrap().power, Power::Stopping);
    let begun = Instant::now();
    first.close().await;
    drop(first);
    let second = connect(&pool, Duration::from_millis(50)).await;
    until("its time is over", async || {
        let guest = second.stop(&wish.key, StopMode::TrySoft(Duration::from_secs(3))).await.unwrap();
        (guest.power == Power::Stopped).then_some(())
    })
    .await;
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert_eq!(pool.calls("Async.VM.clean_shutdown").await, 1);
    delete(&*second, &wish.key).await;
    second.close().await;
}

/// The operator asks again while a guest shuts down, at each look: that neither asks the guest again nor waits with it, and a
/// mind that was changed counts at once. A single look by a new run is enough for the power to be cut in time. Pitfall 32.
#[tokio::test]
async fn a_stop_is_seen_to_its_end() {
    let Some(pool) = pool::sim(&["--knob", "tools_ms=10", "--knob", "clean_shutdown_ms=600000"]).await else { return };
    let (calm, hours) = (Duration::from_millis(50), StopMode::TrySoft(Duration::from_hours(1)));
    let provider = connect(&pool, calm).await;
    let wish = running(&pool, &provider, "slow").await;
    for _ in 0..5 {
        assert_eq!(provider.stop(&wish.key, hours).await.unwrap().power, Power::Stopping);
    }
    assert_eq!(pool.calls("Async.VM.clean_shutdown").await, 1, "it was asked once");
    assert_eq!(provider.stop(&wish.key, StopMode::Hard).await.unwrap().power, Power::Stopped);
    start(&*provider, &wish).await;
    until("its tools are up", async || {
        let guest = provider.find(&wish.key, Freshness::Live).await.unwrap().unwrap();
        (!guest.addresses.is_empty()).then_some(())
    })
    .await;
    assert_eq!(provider.stop(&wish.key, hours).await.unwrap().power, Power::Stopping);
    provider.close().await;
    drop(provider);
    let second = connect(&pool, calm).await;
    let soon = StopMode::TrySoft(Duration::from_secs(1));
    assert!(matches!(second.stop(&wish.key, soon).await.unwrap().power, Power::Stopping | Power::Stopped));
    until("its time is over", async || is_off(&second, &wish).await).await;
    assert_eq!(pool.calls("Async.VM.clean_shutdown").await, 2);
    delete(&*second, &wish.key).await;
    second.close().await;
}

/// A soft stop never cuts the power: not of a guest that is deaf, nor of one that cannot be asked. Pitfall 32.
#[tokio::test]
async fn a_soft_stop_never_cuts() {
    let Some(pool) = pool::sim(&["--knob", "tools_ms=10", "--knob", "clean_shutdown_ms=1500"]).await else { return };
    let provider = pool.connect().await;
    let wish = running(&pool, &provider, "precious").await;
    let soft = |ms| StopMode::Soft(Duration::from_millis(ms));
    let error = provider.stop(&wish.key, soft(100)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    assert!(error.message.contains("must not be cut"), "{error}");
    until("it is off after all", async || is_off(&provider, &wish).await).await;
    pool.knobs(json!({ "tools": false })).await;
    start(&*provider, &wish).await;
    let error = provider.stop(&wish.key, soft(60_000)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    assert!(error.message.contains("cannot be asked"), "{error}");
    let vm = pool.rpc.call("VM.get_by_name_label", json!(["precious"])).await[0].clone();
    pool.rpc.call("VM.pause", json!([vm])).await;
    let error = provider.stop(&wish.key, soft(60_000)).await.unwrap_err();
    assert!(error.message.contains("it is paused"), "{error}");
    assert_eq!(pool.calls("Async.VM.hard_shutdown").await, 0);
    delete(&*provider, &wish.key).await;
    provider.close().await;
}

/// Whoever starts a guest after all does not see it cut off by an earlier stop.
#[tokio::test]
async fn a_start_takes_a_stop_back() {
    let Some(pool) = pool::sim(&["--knob", "tools_ms=10", "--knob", "clean_shutdown_ms=2500"]).await else { return };
    let provider = connect(&pool, Duration::from_millis(50)).await;
    let wish = running(&pool, &provider, "wavering").await;
    let mode = StopMode::TrySoft(Duration::from_millis(600));
    assert_eq!(provider.stop(&wish.key, mode).await.unwrap().power, Power::Stopping);
    assert_eq!(provider.start(&wish).await.unwrap_err().kind, ErrorKind::Unavailable, "it is shutting down");
    until("it is off", async || is_off(&provider, &wish).await).await;
    assert_eq!(pool.calls("Async.VM.hard_shutdown").await, 0);
    start(&*provider, &wish).await;
    delete(&*provider, &wish.key).await;
    provider.close().await;
}
