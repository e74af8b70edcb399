//! Removing a guest removes what is its own, and nothing else.

use innkeeper::provider::{Deletion, ErrorKind, Freshness, Power, Provider};
use serde_json::json;

use crate::pool::{self, create, delete, until};

/// The disks in a VM's drives.
async fn disks(pool: &pool::Pool, vm: &str) -> Vec<String> {
    let vbds = pool.rpc.all("VBD").await;
    vbds.values().filter(|vbd| vbd["VM"] == vm).map(|vbd| vbd["VDI"].as_str().unwrap().to_owned()).collect()
}

fn drive(vm: &str, vdi: &str, device: &str) -> serde_json::Value {
    json!({
        "VM": vm, "VDI": vdi, "userdevice": device, "bootable": false, "mode": "RW", "type": "Disk", "empty": false,
        "other_config": {}, "qos_algorithm_type": "", "qos_algorithm_params": {},
    })
}

/// A disk that another VM has too stays; a disk that was added by hand goes with the VM. Pitfall 33.
#[tokio::test]
async fn a_disk_attached_elsewhere_stays() {
    let pool = pool::any().await;
    let provider = pool.connect().await;
    let before = pool.count().await;
    let (one, other) = (pool.wish("one"), pool.wish("other"));
    let (first, second) = (provider.create(&one).await.unwrap(), provider.create(&other).await.unwrap());
    let (vm, neighbour) =
        (pool.rpc.by_uuid("VM", &first.provider_id).await, pool.rpc.by_uuid("VM", &second.provider_id).await);
    let shared = disks(&pool, &vm).await.remove(0);
    pool.rpc.call("VBD.create", json!([drive(&neighbour, &shared, "1")])).await;
    delete(&*provider, &one.key).await;
    assert!(pool.rpc.all("VDI").await.contains_key(&shared));
    assert_eq!(disks(&pool, &neighbour).await.len(), 2);
    delete(&*provider, &other.key).await;
    assert_eq!(pool.count().await, before);
    pool.finish(&provider).await;
}

/// A VM's snapshots and their disks go with it. Pitfalls 33, 44.
#[tokio::test]
async fn snapshots_go_with_their_vm() {
    let pool = pool::any().await;
    let provider = pool.connect().await;
    let before = pool.count().await;
    let wish = pool.wish("snapped");
    let guest = provider.create(&wish).await.unwrap();
    let vm = pool.rpc.by_uuid("VM", &guest.provider_id).await;
    for name in ["first", "second"] {
        pool.rpc.call("VM.snapshot", json!([vm, name])).await;
    }
    assert_eq!(provider.list(Freshness::Live).await.unwrap().len(), 1);
    delete(&*provider, &wish.key).await;
    assert_eq!(pool.count().await, before);
    pool.finish(&provider).await;
}

/// A suspended guest goes with its memory image. Pitfall 32.
#[tokio::test]
async fn a_suspended_guest_goes_with_its_memory_image() {
    let Some(pool) = pool::sim(&["--knob", "tools_ms=10"]).await else { return };
    let provider = pool.connect().await;
    let before = pool.count().await;
    let wish = pool.wish("asleep");
    let guest = provider.create(&wish).await.unwrap();
    provider.start(&wish).await.unwrap();
    let vm = pool.rpc.by_uuid("VM", &guest.provider_id).await;
    until("it sleeps", async || pool.rpc.try_call("VM.suspend", json!([vm])).await.ok()).await;
    assert_eq!(provider.find(&wish.key, Freshness::Live).await.unwrap().unwrap().power, Power::Suspended);
    assert_eq!(provider.start(&wish).await.unwrap().power, Power::Running);
    until("it sleeps", async || pool.rpc.try_call("VM.suspend", json!([vm])).await.ok()).await;
    delete(&*provider, &wish.key).await;
    assert_eq!(pool.count().await, before);
}

/// A blocked destruction (a legal hold) protects the disks too, and its reason is told. Pitfall 34.
#[tokio::test]
async fn a_hold_protects_vm_and_disks() {
    let pool = pool::any().await;
    let provider = pool.connect().await;
    let wish = pool.wish("held");
    let guest = provider.create(&wish).await.unwrap();
    provider.start(&wish).await.unwrap();
    let vm = pool.rpc.by_uuid("VM", &guest.provider_id).await;
    pool.rpc.call("VM.add_to_blocked_operations", json!([vm, "destroy", "legal hold 42"])).await;
    let error = provider.delete(&wish.key).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(error.to_string().contains("legal hold 42"), "{error}");
    assert_eq!(provider.find(&wish.key, Freshness::Live).await.unwrap().unwrap().power, Power::Running);
    assert_eq!(disks(&pool, &vm).await.len(), 1);
    pool.rpc.call("VM.remove_from_blocked_operations", json!([vm, "destroy"])).await;
    delete(&*provider, &wish.key).await;
    pool.finish(&provider).await;
}

/// A disk is busy for a while after its VM stops: the deletion goes on when asked again. Pitfall 46.
#[tokio::test]
async fn a_busy_disk_is_waited_for() {
    let Some(pool) = pool::sim(&["--knob", "vdi_release_ms=600"]).await else { return };
    let provider = pool.connect().await;
    let before = pool.count().await;
    let wish = pool.wish("busy");
    provider.create(&wish).await.unwrap();
    provider.start(&wish).await.unwrap();
    assert_eq!(provider.delete(&wish.key).await.unwrap(), Deletion::InProgress);
    delete(&*provider, &wish.key).await;
    assert_eq!(pool.count().await, before);
}

/// Every call of a deletion cut off: the next run removes the rest, and nothing is left. Pitfalls 8, 33.
#[tokio::test]
async fn a_deletion_goes_on_after_any_lost_answer() {
    let Some(pool) = pool::sim(&[]).await else { return };
    let provider = pool.connect().await;
    let before = pool.count().await;
    for method in ["Async.VM.hard_shutdown", "Async.VDI.destroy", "Async.VM.destroy", "event.inject"] {
        for kind in ["reset_after", "reset_before", "session_invalid", "lose_task"] {
            let wish = pool.wish("cut");
            provider.create(&wish).await.unwrap();
            provider.start(&wish).await.unwrap();
            pool.fault(json!({ "method": method, "kind": kind, "count": 1 })).await;
            delete(&*provider, &wish.key).await;
            pool.admin(reqwest::Method::DELETE, "/faults", json!({})).await;
            assert_eq!(pool.count().await, before, "{method} {kind}");
        }
    }
}

/// A clone that is under way when its guest is deleted leaves nothing behind, be it this process's or a former one's.
#[tokio::test]
async fn a_clone_under_way_does_not_outlive_its_guest() {
    let Some(pool) = pool::sim(&["--knob", "clone_ms=2500"]).await else { return };
    let before = pool.count().await;
    for same_process in [true, false] {
        let mut provider = pool.connect().await;
        let wish = pool.wish("late");
        let earlier = pool.calls("Async.VM.clone").await;
        let under_way =
            until("the clone is under way", async || (pool.calls("Async.VM.clone").await > earlier).then_some(()));
        tokio::select! {
            made = provider.create(&wish) => panic!("the clone takes longer: {made:?}"),
            () = under_way => {}
        }
        if !same_process {
            provider = pool.connect().await;
        }
        delete(&*provider, &wish.key).await;
        let tasks = pool.rpc.all("task").await;
        let pending = |task: &serde_json::Value| task["name_label"] == "Async.VM.clone" && task["status"] == "pending";
        assert!(!tasks.values().any(pending), "none can land any more");
        assert_eq!(pool.count().await, before, "same process: {same_process}");
        provider.close().await;
    }
}

/// A guest on a dead host is neither there nor gone: it is not started again, nor removed, until somebody who knows says
/// that it is off. Pitfalls 5, 60.
#[tokio::test]
async fn a_guest_on_a_dead_host_is_unknown() {
    let Some(pool) = pool::sim(&[]).await else { return };
    let provider = pool.connect().await;
    let hosts = provider.inventory().await.unwrap().hosts;
    let victim = hosts.iter().find(|host| host.name == "xcp-h2").unwrap();
    let mut wish = pool.wish("stranded");
    wish.host = Some(victim.id.clone());
    let guest = create(&*provider, &wish).await;
    provider.start(&wish).await.unwrap();
    pool.admin(reqwest::Method::POST, "/hosts/xcp-h2/kill", json!({ "notice_ms": 0 })).await;
    let found = provider.find(&wish.key, Freshness::Live).await.unwrap().unwrap();
    assert_eq!(found.power, Power::Unknown);
    let inventory = provider.inventory().await.unwrap();
    let dead = inventory.hosts.iter().find(|host| host.name == "xcp-h2").unwrap();
    assert!(!dead.schedulable && dead.reason.is_some());
    wish.host = None;
    assert_eq!(provider.start(&wish).await.unwrap_err().kind, ErrorKind::Unavailable);
    assert_eq!(provider.delete(&wish.key).await.unwrap_err().kind, ErrorKind::Unavailable);
    assert_eq!(provider.create(&wish).await.unwrap().provider_id, guest.provider_id);
    // The administrator has fenced the host.
    let vm = pool.rpc.by_uuid("VM", &guest.provider_id).await;
    pool.rpc.call("VM.power_state_reset", json!([vm])).await;
    assert_eq!(provider.start(&wish).await.unwrap().power, Power::Running);
    delete(&*provider, &wish.key).await;
}
