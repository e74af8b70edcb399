//! Many guests at once while things go wrong: in the end the pool holds exactly what it should.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, stream};
use innkeeper::{
    api::quantity::Bytes,
    provider::{Amendment, ErrorKind, FirstBoot, GuestWish, Power, Provider, Stage, StopMode, xapi::XapiProvider},
};
use serde_json::{Value, json};

use crate::{
    disks::disk,
    pool::{self, Pool, create, delete, start, until},
};

/// Seeds to try, and guests for each; more with `INNKEEPER_SOAK=seeds,guests`.
fn extent() -> (u64, usize) {
    let told = std::env::var("INNKEEPER_SOAK").ok();
    let told = told.as_deref().and_then(|t| t.split_once(',')).map(|(s, g)| (s.parse().unwrap(), g.parse().unwrap()));
    told.unwrap_or((2, 12))
}

async fn trouble(pool: &Pool, seed: u64) {
    for (n, (method, kind, likely)) in [
        ("*", json!({ "kind": "reset_after" }), 0.01),
        ("*", json!({ "kind": "reset_before" }), 0.01),
        ("*", json!({ "kind": "session_invalid" }), 0.003),
        ("VM.*", json!({ "kind": "lose_task" }), 0.02),
        ("VM.clone", json!({ "kind": "reset_after" }), 0.15),
        ("VM.clone", json!({ "kind": "latency", "ms": 400 }), 0.1),
        ("event.from", json!({ "kind": "drop_deletion" }), 0.05),
        ("VM.provision", json!({ "kind": "error_after", "code": "SR_FULL", "params": ["1", "0"] }), 0.05),
        ("VDI.create", json!({ "kind": "reset_after" }), 0.1),
        ("VDI.create", json!({ "kind": "lose_task" }), 0.05),
        ("VBD.create", json!({ "kind": "reset_after" }), 0.1),
        ("/import_raw_vdi", json!({ "kind": "reset_before" }), 0.1),
        ("VDI.destroy", json!({ "kind": "error", "code": "VDI_IN_USE", "params": [] }), 0.1),
    ]
    .into_iter()
    .enumerate()
    {
        let mut fault = kind;
        fault["method"] = method.into();
        fault["probability"] = json!(likely);
        fault["seed"] = json!(seed * 100 + n as u64);
        pool.fault(fault).await;
    }
}

/// A guest with a disk, and every third one with something to tell cloud-init.
fn wished(pool: &Pool, n: usize) -> GuestWish {
    let user_data = n.is_multiple_of(3).then(|| Arc::new("#cloud-config\n".into()));
    let first_boot = FirstBoot { user_data, network_data: None };
    GuestWish { disks: vec![disk("data", 16)], first_boot, ..pool.wish(&format!("g-{n}")) }
}

/// Larger in all respects.
fn changed(wish: &GuestWish) -> GuestWish {
    let disks = vec![disk("data", 32), disk("more", 16)];
    GuestWish { vcpus: 2, memory: Bytes::mib(320), root_disk: Some(Bytes::mib(96)), disks, ..wish.clone() }
}

/// One guest's life as the operator leads it: every step repeated until it is done.
async fn live(provider: &XapiProvider, wish: &GuestWish, keep: bool) {
    until("the guest is made in spite of all", async || match provider.create(wish).await {
        Ok(guest) => (guest.stage == Stage::Complete).then_some(()),
        Err(error) if error.kind == ErrorKind::Invalid => panic!("{error}"),
        Err(_) => None,
    })
    .await;
    let stopped = async || provider.stop(&wish.key, StopMode::Hard).await.is_ok_and(|g| g.power == Power::Stopped);
    let started = async || provider.start(wish).await.is_ok_and(|g| g.power == Power::Running);
    until("it runs", async || started().await.then_some(())).await;
    until("what can be changed while it runs is", async || provider.amend(&changed(wish)).await.ok()).await;
    until("it stops", async || stopped().await.then_some(())).await;
    until("the rest is changed", async || match provider.amend(&changed(wish)).await {
        Ok(Amendment::Done(_)) => Some(()),
        _ => None,
    })
    .await;
    let started = async || provider.start(&changed(wish)).await.is_ok_and(|g| g.power == Power::Running);
    until("it runs again", async || started().await.then_some(())).await;
    if !keep {
        delete_in_spite(provider, wish).await;
    }
}

async fn delete_in_spite(provider: &XapiProvider, wish: &GuestWish) {
    use innkeeper::provider::Deletion;
    until("it is gone", async || (provider.delete(&wish.key).await.ok()? == Deletion::Gone).then_some(())).await;
}

async fn once(seed: u64, guests: usize) {
    let Some(pool) = pool::sim(&["--host-memory", "64GiB", "--knob", "clone_ms=30"]).await else { return };
    let before = pool.count().await;
    let provider = pool.connect().await;
    trouble(&pool, seed).await;
    let wishes: Vec<GuestWish> = (0..guests).map(|n| wished(&pool, n)).collect();
    stream::iter(wishes.iter().enumerate())
        .for_each_concurrent(12, |(n, wish)| live(&provider, wish, n % 2 == 0))
        .await;
    pool.admin(reqwest::Method::DELETE, "/faults", json!({})).await;
    let kept: Vec<&GuestWish> = wishes.iter().step_by(2).collect();
    for wish in &kept {
        create(&*provider, wish).await;
        start(&*provider, &changed(wish)).await;
    }
    let told = (0..guests).step_by(2).filter(|n| n.is_multiple_of(3)).count();
    let expected = (before.0 + kept.len(), before.1 + 3 * kept.len() + told);
    until("exactly the kept guests are there", async || {
        let now = pool.count().await;
        (now == expected).then_some(())
    })
    .await;
    let domains = pool.admin(reqwest::Method::GET, "/domains", json!({})).await;
    let mut running: Vec<&Value> = domains.as_array().unwrap().iter().map(|d| &d["vm_uuid"]).collect();
    running.sort_by_key(ToString::to_string);
    running.dedup();
    assert_eq!(domains.as_array().unwrap().len(), running.len(), "no VM runs twice");
    for wish in kept {
        delete(&*provider, &wish.key).await;
    }
    assert_eq!(pool.count().await, before, "seed {seed}");
    provider.close().await;
    tokio::time::sleep(Duration::from_millis(10)).await;
}

/// Guests made, started, changed, stopped and deleted while answers are lost, sessions end, tasks vanish, storage is busy or full
/// and deletions go unheard. Pitfalls 8, 15, 18, 19, 46.
#[tokio::test]
async fn in_the_end_the_pool_holds_exactly_what_it_should() {
    let (seeds, guests) = extent();
    for seed in 1..=seeds {
        once(seed, guests).await;
    }
}
