//! Each guest's VM is made exactly once, whatever goes wrong on the way.

use innkeeper::{
    api::quantity::Bytes,
    provider::{ErrorKind, Freshness, GuestWish, Power, Provider, Stage, xapi::XapiProvider},
};
use serde_json::{Value, json};

use crate::pool::{self, Pool, create, delete, start, until};

/// The VMs of this case's owner, by whatever mark or name: (complete, all).
async fn made(pool: &Pool) -> (usize, usize) {
    let vms = pool.rpc.all("VM").await;
    let owner = pool.owner.0.as_str();
    let of_ours = |vm: &Value| {
        let marked = vm["other_config"].as_object().unwrap().values().any(|v| v.as_str().unwrap().contains(owner));
        marked || vm["name_label"].as_str().unwrap().contains(owner)
    };
    let ours: Vec<&Value> = vms.values().filter(|vm| of_ours(vm)).collect();
    let complete = ours.iter().filter(|vm| {
        let key = format!("innkeeper:{}:complete", vm["uuid"].as_str().unwrap());
        vm["other_config"].get(&key).is_some()
    });
    (complete.count(), ours.len())
}

async fn is_made_once(pool: &Pool, provider: &XapiProvider, name: &str) {
    let before = pool.count().await;
    // Of another size than the template, so that each setter is called.
    let wish = GuestWish { vcpus: 3, memory: Bytes::mib(512), ..pool.wish(name) };
    let guest = create(provider, &wish).await;
    assert_eq!(guest.stage, Stage::Complete);
    assert_eq!(start(provider, &wish).await.power, Power::Running);
    // A duplicate may land late; it is removed when the guest is next looked after.
    until("one VM is left", async || {
        start(provider, &wish).await;
        (made(pool).await == (1, 1)).then_some(())
    })
    .await;
    let found = provider.find(&wish.key, Freshness::Live).await.unwrap().unwrap();
    assert_eq!(found.provider_id, guest.provider_id);
    delete(provider, &wish.key).await;
    assert_eq!(pool.count().await, before, "{name}");
}

/// Every call of a creation, its answer cut off after it had its effect, or before. Pitfalls 8, 15.
#[tokio::test]
async fn a_lost_answer_makes_no_second_vm() {
    const STEPS: [&str; 10] = [
        "Async.VM.clone",
        "VM.add_to_other_config",
        "Async.VM.provision",
        "Async.VM.set_memory_limits",
        "VM.set_VCPUs_max",
        "VM.set_VCPUs_at_startup",
        "VM.set_name_label",
        "task.get_record",
        "task.destroy",
        "Async.VM.start",
    ];
    let Some(pool) = pool::sim(&[]).await else { return };
    let provider = pool.connect().await;
    for method in STEPS {
        for kind in ["reset_after", "reset_before", "session_invalid"] {
            if method == "task.get_record" {
                // Tasks are only asked for where no events come.
                pool.fault(json!({ "method": "event.from", "kind": "error", "code": "INTERNAL_ERROR" })).await;
            }
            let before = pool.calls(method).await;
            pool.fault(json!({ "method": method, "kind": kind, "count": 1 })).await;
            is_made_once(&pool, &provider, &format!("{method}-{kind}").to_lowercase().replace(['.', '_'], "-")).await;
            assert!(pool.calls(method).await > before, "{method} was not called");
            pool.admin(reqwest::Method::DELETE, "/faults", json!({})).await;
        }
    }
}

/// A task that disappears is an unknown outcome, not a failure. Pitfall 15.
#[tokio::test]
async fn a_lost_task_makes_no_second_vm() {
    let Some(pool) = pool::sim(&[]).await else { return };
    let provider = pool.connect().await;
    for method in ["VM.clone", "VM.provision", "VM.start"] {
        pool.fault(json!({ "method": method, "kind": "lose_task", "count": 1 })).await;
        is_made_once(&pool, &provider, &format!("lost-{}", method.to_lowercase().replace('.', "-"))).await;
    }
}

/// A run of the operator that ends at any call of a creation is followed by one that finishes it.
#[tokio::test]
async fn a_creation_goes_on_after_a_crash_at_any_call() {
    let Some(pool) = pool::sim(&[]).await else { return };
    let before = pool.count().await;
    for skip in 0.. {
        let wish = pool.wish("crashed");
        // The crash: from this call on nothing gets through, and the driver is dropped.
        let provider = pool.connect().await;
        let id =
            pool.fault(json!({ "method": "*", "kind": "error", "code": "HOST_STILL_BOOTING", "skip": skip })).await;
        let first = tokio::time::timeout(std::time::Duration::from_millis(400), provider.create(&wish)).await;
        pool.admin(reqwest::Method::DELETE, &format!("/faults/{id}"), json!({})).await;
        drop(provider);
        let provider = pool.connect().await;
        create(&*provider, &wish).await;
        until("one VM is left", async || {
            start(&*provider, &wish).await;
            (made(&pool).await == (1, 1)).then_some(())
        })
        .await;
        delete(&*provider, &wish.key).await;
        assert_eq!(pool.count().await, before, "after {skip} calls");
        provider.close().await;
        if matches!(first, Ok(Ok(_))) {
            assert!(skip > 10, "a creation takes more than {skip} calls");
            return;
        }
    }
}

/// Of two clones for one guest one is finished; the other goes. It does not matter which came first.
#[tokio::test]
async fn a_second_clone_is_removed_and_never_started() {
    let pool = pool::any().await;
    let provider = pool.connect().await;
    let before = pool.count().await;
    let wish = pool.wish("twin");
    let name = format!("innkeeper/{}/{}/0 contract/twin", pool.owner.0, wish.key.guest);
    let template = pool.rpc.by_uuid("VM", &wish.image).await;
    for _ in 0..3 {
        pool.rpc.call("VM.clone", json!([template, name])).await;
    }
    let found = provider.find(&wish.key, Freshness::Live).await.unwrap().unwrap();
    assert_eq!(found.stage, Stage::Incomplete);
    assert_eq!(provider.start(&wish).await.unwrap_err().kind, ErrorKind::Unavailable);
    assert_eq!(provider.list(Freshness::Live).await.unwrap().len(), 1);
    let guest = provider.create(&wish).await.unwrap();
    assert_eq!(guest.provider_id, found.provider_id);
    assert_eq!(made(&pool).await, (1, 1));
    // A late one, after the guest is complete: removed without being asked.
    pool.rpc.call("VM.clone", json!([template, name])).await;
    until("the late one is removed", async || (made(&pool).await == (1, 1)).then_some(())).await;
    provider.start(&wish).await.unwrap();
    delete(&*provider, &wish.key).await;
    assert_eq!(pool.count().await, before);
    pool.finish(&provider).await;
}

/// A clone or snapshot that a user takes of a guest copies its mark and is not ours. Pitfalls 27, 35, 44.
#[tokio::test]
async fn a_users_clone_is_never_ours() {
    let pool = pool::any().await;
    let provider = pool.connect().await;
    let before = pool.count().await;
    let wish = pool.wish("original");
    let guest = provider.create(&wish).await.unwrap();
    let vm = pool.rpc.by_uuid("VM", &guest.provider_id).await;
    let clone = pool.rpc.call("VM.clone", json!([vm, "a user's clone"])).await;
    let named = format!("innkeeper/{}/{}/0 contract/original", pool.owner.0, wish.key.guest);
    let namesake = pool.rpc.call("VM.clone", json!([vm, named])).await;
    let listed = provider.list(Freshness::Live).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].provider_id, guest.provider_id);
    provider.start(&wish).await.unwrap();
    delete(&*provider, &wish.key).await;
    for theirs in [clone, namesake] {
        assert_eq!(pool.rpc.call("VM.get_is_a_template", json!([theirs])).await, json!(false));
        let disks = pool.rpc.all("VBD").await;
        let disk = disks.values().find(|vbd| vbd["VM"] == theirs).expect("its disk")["VDI"].clone();
        pool.rpc.call("VDI.destroy", json!([disk])).await;
        pool.rpc.call("VM.destroy", json!([theirs])).await;
    }
    assert_eq!(pool.count().await, before);
    pool.finish(&provider).await;
}

/// A provisioning that was cut off leaves no half-made guest: what is there is removed and made anew.
#[tokio::test]
async fn a_failed_provisioning_is_made_anew() {
    let Some(pool) = pool::sim(&[]).await else { return };
    let provider = pool.connect().await;
    let before = pool.count().await;
    let wish = pool.wish("full");
    let code =
        json!({ "method": "VM.provision", "kind": "error_after", "code": "SR_FULL", "params": ["1", "0"], "count": 1 });
    pool.fault(code).await;
    assert_eq!(provider.create(&wish).await.unwrap_err().kind, ErrorKind::Capacity);
    assert_eq!(create(&*provider, &wish).await.stage, Stage::Complete);
    assert_eq!(made(&pool).await, (1, 1));
    delete(&*provider, &wish.key).await;
    assert_eq!(pool.count().await, before);
}

/// Templates that come with a pool leave the SR of their disks open: the pool's default is filled in.
#[tokio::test]
async fn open_storage_is_the_pools_default() {
    let pool = pool::any().await;
    if pool.default_storage().await.is_none() {
        eprintln!("skipped: this pool has no default SR");
        return pool.discard().await;
    }
    let provider = pool.connect().await;
    let wish = pool.wish("open");
    let template = pool.rpc.by_uuid("VM", &wish.image).await;
    let mut config = pool.rpc.call("VM.get_other_config", json!([template])).await;
    let disks = config["disks"].as_str().unwrap().to_owned();
    let sr = disks.split("sr=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    config["disks"] = disks.replace(&sr, "").into();
    pool.rpc.call("VM.set_other_config", json!([template, config])).await;
    let guest = provider.create(&wish).await.unwrap();
    let vm = pool.rpc.by_uuid("VM", &guest.provider_id).await;
    let vbds = pool.rpc.all("VBD").await;
    let disk = vbds.values().find(|vbd| vbd["VM"] == vm.as_str()).expect("a drive")["VDI"].clone();
    let on = pool.rpc.call("VDI.get_SR", json!([disk])).await;
    assert_eq!(pool.rpc.call("SR.get_uuid", json!([on])).await, json!(sr));
    delete(&*provider, &wish.key).await;
    pool.finish(&provider).await;
}
