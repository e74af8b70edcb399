//! A guest has the disks that were wished for: each once, of its size, on its storage.

use std::time::Duration;

use innkeeper::{
    api::quantity::Bytes,
    provider::{Deletion, Disk, ErrorKind, Freshness, GuestWish, ObservedGuest, Provider, xapi::XapiProvider},
};
use serde_json::{Value, json};

use crate::{
    lifecycle::number,
    pool::{self, Pool, create, delete, start, until},
};

pub(crate) fn disk(name: &str, mib: u64) -> Disk {
    Disk { name: name.into(), size: Bytes::mib(mib), storage: None }
}

/// What the driver tells of a guest's disks: names and MiB.
pub(crate) fn told(guest: &ObservedGuest) -> Vec<(&str, u64)> {
    guest.disks.iter().map(|disk| (disk.name.as_deref().unwrap_or("?"), disk.size.0 >> 20)).collect()
}

/// The drives with disks of a VM: position and disk.
pub(crate) async fn drives(pool: &Pool, uuid: &str) -> Vec<(Value, Value)> {
    let vm = pool.rpc.by_uuid("VM", uuid).await;
    let (vbds, vdis) = (pool.rpc.all("VBD").await, pool.rpc.all("VDI").await);
    let mut drives: Vec<(Value, Value)> = vbds
        .into_iter()
        .filter(|(_, vbd)| vbd["VM"] == vm.as_str() && vbd["type"] == "Disk")
        .map(|(_, vbd)| (vbd.clone(), vdis[vbd["VDI"].as_str().unwrap()].clone()))
        .collect();
    drives.sort_by_key(|(vbd, _)| number(&vbd["userdevice"]));
    drives
}

/// Disks are made with the guest, beside the one it boots from, which grows; their names say whose they are; they go with it.
/// Pitfalls 39 (the fourth position), 55 (disks only grow).
#[tokio::test]
async fn disks_are_made_with_the_guest() {
    let pool = pool::any().await;
    let provider = pool.connect().await;
    let before = pool.count().await;
    let disks = ["a", "b", "c", "d"].map(|name| disk(name, 32)).to_vec();
    let wish = GuestWish { root_disk: Some(Bytes::mib(128)), disks, ..pool.wish("furnished") };
    let made = create(&*provider, &wish).await;
    assert_eq!(told(&made), [("root", 128), ("a", 32), ("b", 32), ("c", 32), ("d", 32)]);
    let drives = drives(&pool, &made.provider_id).await;
    let positions: Vec<u64> = drives.iter().map(|(vbd, _)| number(&vbd["userdevice"])).collect();
    assert_eq!(positions, [0, 1, 2, 4, 5]);
    assert_eq!(drives[4].1["name_label"], "furnished d");
    assert_eq!(provider.create(&wish).await.unwrap().provider_id, made.provider_id);
    assert_eq!(pool.count().await, (before.0 + 1, before.1 + 5));
    let listed = provider.list(Freshness::Live).await.unwrap();
    assert_eq!(told(&listed[0]), told(&made));
    let small = GuestWish { root_disk: Some(Bytes::mib(1)), disks: vec![disk("a", 1)], ..wish.clone() };
    assert_eq!(told(&provider.create(&small).await.unwrap()), told(&made), "nothing shrinks or goes");
    delete(&*provider, &wish.key).await;
    assert_eq!(pool.count().await, before);
    pool.finish(&provider).await;
}

/// Whatever call of making a disk is cut off: in the end the guest has it once, and nothing else is left. Pitfalls 8, 15.
#[tokio::test]
async fn a_disk_is_neither_lost_nor_doubled() {
    let Some(pool) = pool::sim(&[]).await else { return };
    let provider = pool.connect().await;
    let before = pool.count().await;
    for method in
        ["Async.VDI.create", "VBD.create", "VM.get_allowed_VBD_devices", "VDI.set_name_label", "Async.VDI.resize"]
    {
        for kind in ["reset_after", "reset_before", "session_invalid", "lose_task"] {
            let disks = vec![disk("data", 32), disk("more", 64)];
            let wish = GuestWish { root_disk: Some(Bytes::mib(96)), disks, ..pool.wish("cut") };
            pool.fault(json!({ "method": method, "kind": kind, "count": 1 })).await;
            let made = create(&*provider, &wish).await;
            pool.admin(reqwest::Method::DELETE, "/faults", json!({})).await;
            assert_eq!(told(&made), [("root", 96), ("data", 32), ("more", 64)], "{method} {kind}");
            assert_eq!(pool.count().await, (before.0 + 1, before.1 + 3), "{method} {kind}");
            delete(&*provider, &wish.key).await;
            assert_eq!(pool.count().await, before, "{method} {kind}");
        }
    }
    provider.close().await;
}

/// A disk that is on its way when the operator dies and its guest is deleted leaves nothing behind.
#[tokio::test]
async fn a_disk_under_way_does_not_outlive_its_guest() {
    let Some(pool) = pool::sim(&["--knob", "vdi_ms=1200"]).await else { return };
    let before = pool.count().await;
    let wish = GuestWish { disks: vec![disk("late", 32)], ..pool.wish("late") };
    let first = pool.connect().await;
    let under_way = async {
        until("the disk is on its way", async || (pool.calls("Async.VDI.create").await > 0).then_some(())).await;
    };
    tokio::select! {
        made = first.create(&wish) => panic!("the disk takes longer: {made:?}"),
        () = under_way => {}
    }
    first.close().await;
    drop(first);
    let second = pool.connect().await;
    delete(&*second, &wish.key).await;
    let tasks = pool.rpc.all("task").await;
    assert!(!tasks.values().any(|task| task["name_label"] == "Async.VDI.create" && task["status"] == "pending"));
    assert_eq!(pool.count().await, before);
    second.close().await;
}

/// Storage is named by uuid or unique name. What is not there, or not in reach of the chosen host, is said before anything is
/// made, with what to do. Pitfall 53.
#[tokio::test]
async fn storage_out_of_reach_is_named() {
    let Some(pool) = pool::sim(&[]).await else { return };
    let provider = pool.connect().await;
    let before = pool.count().await;
    let hosts = provider.inventory().await.unwrap().hosts;
    let on = |storage: &str, host: usize| GuestWish {
        disks: vec![Disk { storage: Some(storage.into()), ..disk("data", 32) }],
        host: Some(hosts[host].id.clone()),
        ..pool.wish("local")
    };
    for (storage, host, kind, said) in [
        ("Local storage 2", 0, ErrorKind::Invalid, "plug its connection"),
        ("no such storage", 0, ErrorKind::NotFound, "spec.storage"),
    ] {
        let error = provider.create(&on(storage, host)).await.unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.message.contains(said), "{error}");
    }
    assert_eq!(pool.count().await, before, "nothing was made");
    let wish = on("Local storage 2", 1);
    let made = create(&*provider, &wish).await;
    let local = pool.rpc.call("SR.get_by_name_label", json!(["Local storage 2"])).await[0].clone();
    assert_eq!(drives(&pool, &made.provider_id).await[1].1["SR"], local);
    assert_eq!(start(&*provider, &wish).await.host.as_ref(), Some(&hosts[1].name));
    delete(&*provider, &wish.key).await;
    assert_eq!(pool.count().await, before);
    provider.close().await;
}

/// Storage that only a template's description names is looked at alike: it must be there, and in reach. Pitfall 53.
#[tokio::test]
async fn storage_that_a_template_names_is_looked_at() {
    let Some(pool) = pool::sim(&[]).await else { return };
    let provider = pool.connect().await;
    let before = pool.count().await;
    let hosts = provider.inventory().await.unwrap().hosts;
    let template = pool.rpc.by_uuid("VM", &pool.wish("x").image).await;
    let local = pool.rpc.call("SR.get_by_name_label", json!(["Local storage 2"])).await[0].clone();
    let local = pool.rpc.call("SR.get_uuid", json!([local])).await.as_str().unwrap().to_owned();
    for (sr, host, said) in [
        ("00000000-0000-0000-0000-000000000000", 1, Some("not in the pool")),
        (local.as_str(), 0, Some("plug its connection")),
        (local.as_str(), 1, None),
    ] {
        let disks = format!(r#"<provision><disk device="0" size="67108864" sr="{sr}" bootable="true"/></provision>"#);
        pool.rpc.call("VM.set_other_config", json!([template, { "disks": disks }])).await;
        let wish = GuestWish { host: Some(hosts[host].id.clone()), ..pool.wish("named") };
        match (provider.create(&wish).await, said) {
            (Err(error), Some(said)) => {
                assert!(error.kind == ErrorKind::Invalid && error.message.contains(said), "{error}");
                assert_eq!(pool.count().await, before, "nothing was made");
            }
            (Ok(made), None) => assert_eq!(told(&made), [("root", 64)]),
            (answer, said) => panic!("{answer:?} instead of {said:?}"),
        }
        delete(&*provider, &wish.key).await;
    }
    assert_eq!(pool.count().await, before);
    provider.close().await;
}

/// Storage without room is named before anything is made, with what to do; where it does not say how full it is, xapi's own
/// refusal is passed on, and nothing is left over. Pitfall 48.
#[tokio::test]
async fn full_storage_is_named() {
    // The disks of its templates take thirty of them.
    let Some(pool) = pool::sim(&["--shared-sr-size", "31GiB", "--shared-sr-type", "lvmoiscsi"]).await else { return };
    let provider = pool.connect().await;
    let before = pool.count().await;
    let large = GuestWish { disks: vec![disk("a", 600), disk("b", 600)], ..pool.wish("large") };
    let clones = pool.calls("Async.VM.clone").await;
    let error = provider.create(&large).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Capacity, "{error}");
    assert!(error.message.contains("Shared storage") && error.message.contains("free or add space"), "{error}");
    assert_eq!((pool.calls("Async.VM.clone").await, pool.count().await), (clones, before), "nothing was made");
    let wish = GuestWish { disks: vec![disk("a", 600)], ..pool.wish("fits") };
    create(&*provider, &wish).await;
    let error = provider.amend(&GuestWish { disks: large.disks.clone(), ..wish.clone() }).await.unwrap_err();
    assert!(error.kind == ErrorKind::Capacity && error.message.contains("free or add space"), "{error}");
    let sr = pool.rpc.call("SR.get_by_name_label", json!(["Shared storage"])).await[0].clone();
    let path = format!("/records/SR/{}/physical_size", sr.as_str().unwrap());
    pool.admin(reqwest::Method::PUT, &path, json!("-1")).await;
    let error = provider.create(&large).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Capacity, "{error}");
    assert!(!error.message.contains("free or add space there"), "xapi was asked: {error}");
    for key in [&large.key, &wish.key] {
        delete(&*provider, key).await;
    }
    assert_eq!(pool.count().await, before);
    provider.close().await;
}

/// Makes a template with a disk of 1 GiB on the first host's own storage.
async fn local_template(pool: &Pool) -> String {
    let source = pool.rpc.by_uuid("VM", &pool.wish("x").image).await;
    let vm = pool.rpc.call("VM.clone", json!([source, "local template"])).await;
    let sr = pool.rpc.call("SR.get_by_name_label", json!(["Local storage 1"])).await[0].clone();
    let sr = pool.rpc.call("SR.get_uuid", json!([sr])).await;
    let disk =
        format!(r#"<disk device="0" size="1073741824" sr="{}" bootable="true" type="system"/>"#, sr.as_str().unwrap());
    let config = json!({ "disks": format!("<provision>{disk}</provision>") });
    pool.rpc.call("VM.set_other_config", json!([vm, config])).await;
    pool.rpc.call("VM.provision", json!([vm])).await;
    pool.rpc.call("VM.set_is_a_template", json!([vm, true])).await;
    pool.rpc.call("VM.get_uuid", json!([vm])).await.as_str().unwrap().to_owned()
}

async fn connect(pool: &Pool) -> std::sync::Arc<XapiProvider> {
    let mut config = pool.config();
    config.timing.patience = Duration::from_millis(100);
    XapiProvider::connect(config).await.unwrap()
}

/// A template on storage that the chosen host does not see is copied to storage that it sees: once, though it takes long and the
/// operator dies meanwhile. Where the host sees it, it is cloned. Pitfall 38.
#[tokio::test]
async fn a_template_on_other_storage_is_copied() {
    let Some(pool) = pool::sim(&["--knob", "copy_ms_per_gib=1500"]).await else { return };
    let template = local_template(&pool).await;
    let before = pool.count().await;
    let first = connect(&pool).await;
    let hosts = first.inventory().await.unwrap().hosts;
    let wish =
        |host: usize| GuestWish { image: template.clone(), host: Some(hosts[host].id.clone()), ..pool.wish("copied") };
    let near = wish(0);
    create(&*first, &near).await;
    assert_eq!(pool.calls("Async.VM.copy").await, 0);
    let far = wish(1);
    assert_eq!(first.create(&far).await.unwrap_err().kind, ErrorKind::UnknownOutcome);
    assert_eq!(first.create(&far).await.unwrap_err().kind, ErrorKind::UnknownOutcome);
    first.close().await;
    drop(first);
    let second = connect(&pool).await;
    assert_eq!(second.create(&far).await.unwrap_err().kind, ErrorKind::UnknownOutcome);
    let made = create(&*second, &far).await;
    assert_eq!(pool.calls("Async.VM.copy").await, 1);
    let shared = pool.rpc.call("SR.get_by_name_label", json!(["Shared storage"])).await[0].clone();
    assert_eq!(drives(&pool, &made.provider_id).await[0].1["SR"], shared);
    assert_eq!(start(&*second, &far).await.host.as_ref(), Some(&hosts[1].name));
    let gone = wish(1);
    assert_eq!(second.create(&gone).await.unwrap_err().kind, ErrorKind::UnknownOutcome);
    second.close().await;
    drop(second);
    let third = connect(&pool).await;
    assert_eq!(third.delete(&gone.key).await.unwrap(), Deletion::InProgress, "the copy is on its way");
    for key in [&gone.key, &near.key, &far.key] {
        delete(&*third, key).await;
    }
    assert_eq!(pool.count().await, before);
    third.close().await;
}

/// A template that must not be destroyed makes guests that can be. Pitfalls 27, 34.
#[tokio::test]
async fn a_blocked_template_makes_free_guests() {
    let pool = pool::any().await;
    let provider = pool.connect().await;
    let wish = pool.wish("free");
    let template = pool.rpc.by_uuid("VM", &wish.image).await;
    for operation in ["destroy", "start", "start_on"] {
        pool.rpc.call("VM.add_to_blocked_operations", json!([template, operation, "golden image"])).await;
    }
    let made = create(&*provider, &wish).await;
    assert_eq!(made.protected, Some(false));
    start(&*provider, &wish).await;
    delete(&*provider, &wish.key).await;
    pool.rpc.call("VM.set_blocked_operations", json!([template, {}])).await;
    pool.finish(&provider).await;
}
