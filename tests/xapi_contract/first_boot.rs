//! What cloud-init is told is on a disk of the guest before it first starts.

use std::{
    io::{Cursor, Read},
    sync::Arc,
};

use innkeeper::provider::{FirstBoot, GuestWish, Provider};
use serde_json::{Value, json};

use crate::{
    disks::{drives, told},
    pool::{self, Pool, create, delete, start, until},
};

fn first_boot(user: &str) -> FirstBoot {
    let secret = |text: &str| Some(Arc::new(secrecy::SecretString::from(text.to_owned())));
    FirstBoot { user_data: secret(user), network_data: secret("version: 2\n") }
}

/// The files on the guest's second disk.
async fn files(pool: &Pool, vm: &str) -> Vec<(String, String)> {
    let drives = drives(pool, vm).await;
    let [_, (drive, disk)] = drives.as_slice() else { panic!("{drives:?}") };
    assert_eq!(drive["mode"], "RO");
    let image =
        until("the disk can be read", async || pool.rpc.export(disk["uuid"].as_str().unwrap()).await.ok()).await;
    let volume = fatfs::FileSystem::new(Cursor::new(image), fatfs::FsOptions::new()).expect("a FAT volume");
    assert_eq!(volume.volume_label(), "cidata");
    let mut files: Vec<(String, String)> = volume
        .root_dir()
        .iter()
        .map(|entry| {
            let entry = entry.unwrap();
            let mut content = String::new();
            entry.to_file().read_to_string(&mut content).unwrap();
            (entry.file_name(), content)
        })
        .collect();
    files.sort();
    files
}

fn expected(wish: &GuestWish, user: &str) -> Vec<(String, String)> {
    let meta = format!("instance-id: \"{}-0\"\nlocal-hostname: \"{}\"\n", wish.key.guest, wish.key.name);
    let files = [("meta-data", meta), ("network-config", "version: 2\n".into()), ("user-data", user.to_owned())];
    files.map(|(name, content)| (name.to_owned(), content)).to_vec()
}

/// The disk is read-only, holds what was said, is no disk that the guest's owner sees, and goes with the guest. Pitfall 42.
#[tokio::test]
async fn cloud_init_is_told() {
    let pool = pool::any().await;
    let provider = pool.connect().await;
    let before = pool.count().await;
    let user = "#cloud-config\nruncmd: [\"true\"]\n";
    let wish = GuestWish { first_boot: first_boot(user), ..pool.wish("told") };
    let made = create(&*provider, &wish).await;
    assert_eq!(told(&made), [("root", 64)]);
    assert_eq!(files(&pool, &made.provider_id).await, expected(&wish, user));
    let changed = GuestWish { first_boot: first_boot("#!/bin/false\n"), ..wish.clone() };
    create(&*provider, &changed).await;
    assert_eq!(files(&pool, &made.provider_id).await, expected(&wish, user), "what was told is not told anew");
    start(&*provider, &wish).await;
    delete(&*provider, &wish.key).await;
    assert_eq!(pool.count().await, before);
    pool.finish(&provider).await;
}

/// However the transfer goes wrong: the guest is complete only when the disk is, and no disk is left over.
#[tokio::test]
async fn a_half_written_disk_is_written_anew() {
    let Some(pool) = pool::sim(&[]).await else { return };
    let provider = pool.connect().await;
    let before = pool.count().await;
    for (method, kind) in [
        ("/import_raw_vdi", "reset_before"),
        ("task.create", "reset_after"),
        ("Async.VDI.create", "lose_task"),
        ("VBD.create", "reset_after"),
    ] {
        let mut config = pool.config();
        config.timing.task = std::time::Duration::from_secs(2);
        let impatient = innkeeper::provider::xapi::XapiProvider::connect(config).await.unwrap();
        let wish = GuestWish { first_boot: first_boot(kind), ..pool.wish("torn") };
        pool.fault(json!({ "method": method, "kind": kind, "count": 1 })).await;
        let made = create(&*impatient, &wish).await;
        pool.admin(reqwest::Method::DELETE, "/faults", json!({})).await;
        assert_eq!(files(&pool, &made.provider_id).await, expected(&wish, kind), "{method} {kind}");
        delete(&*impatient, &wish.key).await;
        assert_eq!(pool.count().await, before, "{method} {kind}");
        impatient.close().await;
    }
    // The operator dies in the middle of the transfer.
    pool.knobs(json!({ "import_bytes_per_second": 2_000_000 })).await;
    let wish = GuestWish { first_boot: first_boot("late"), ..pool.wish("torn") };
    let sending = async {
        until("the transfer goes on", async || (pool.calls("PUT /import_raw_vdi").await >= 5).then_some(())).await;
        let is_half =
            |task: &Value| task["status"] == "pending" && task["progress"].as_f64().is_some_and(|part| part > 0.0);
        until("a part of the data arrived", async || pool.rpc.all("task").await.values().any(is_half).then_some(()))
            .await;
    };
    tokio::select! {
        made = provider.create(&wish) => panic!("the transfer takes longer: {made:?}"),
        () = sending => {}
    }
    provider.close().await;
    drop(provider);
    pool.knobs(json!({ "import_bytes_per_second": 0 })).await;
    let second = pool.connect().await;
    let made = create(&*second, &wish).await;
    assert_eq!(files(&pool, &made.provider_id).await, expected(&wish, "late"));
    delete(&*second, &wish.key).await;
    assert_eq!(pool.count().await, before);
    second.close().await;
}

/// A host that lost sight of the storage a moment ago sends the data on to one that sees it, and they get there. Pitfall 42, and
/// the redirection of data.
#[tokio::test]
async fn data_follow_where_a_host_sends_them() {
    let Some(pool) = pool::sim(&[]).await else { return };
    let provider = pool.connect().await;
    let before = pool.count().await;
    let wish = GuestWish { first_boot: first_boot("sent on"), ..pool.wish("sent-on") };
    let coordinator = pool.rpc.all("pool").await.values().next().unwrap()["master"].clone();
    let shared = pool.rpc.call("SR.get_by_name_label", json!(["Shared storage"])).await[0].clone();
    let pbds = pool.rpc.all("PBD").await;
    let (pbd, _) = pbds.iter().find(|(_, pbd)| pbd["host"] == coordinator && pbd["SR"] == shared).unwrap();
    // Between our look at the storage and the data.
    pool.fault(json!({ "method": "task.create", "kind": "latency", "ms": 4_000, "count": 1 })).await;
    let unplug = async {
        until("the data are about to be sent", async || (pool.calls("task.create").await > 0).then_some(())).await;
        pool.rpc.call("PBD.unplug", json!([pbd])).await;
    };
    let (made, ()) = futures::join!(create(&*provider, &wish), unplug);
    // The first host may close the connection on the data that it does not want: then its answer is lost, and the next
    // attempt goes to the second.
    assert_eq!(pool.calls("PUT /import_raw_vdi").await, 2, "each of two hosts was asked once");
    pool.rpc.call("PBD.plug", json!([pbd])).await;
    assert_eq!(files(&pool, &made.provider_id).await, expected(&wish, "sent on"));
    delete(&*provider, &wish.key).await;
    assert_eq!(pool.count().await, before);
    provider.close().await;
}

/// The disk is written through a host that sees its storage. Pitfall 42, and the redirection of data to such hosts.
#[tokio::test]
async fn data_go_through_a_host_that_sees_the_storage() {
    let Some(pool) = pool::sim(&[]).await else { return };
    for coordinator_sees in [false, true] {
        let mut config = pool.config();
        let name = if coordinator_sees { "Shared storage" } else { "Local storage 2" };
        config.default_storage = Some(name.into());
        let provider = innkeeper::provider::xapi::XapiProvider::connect(config).await.unwrap();
        let hosts = provider.inventory().await.unwrap().hosts;
        let wish = GuestWish { first_boot: first_boot("far"), host: Some(hosts[1].id.clone()), ..pool.wish("far") };
        let made = create(&*provider, &wish).await;
        let sr = pool.rpc.call("SR.get_by_name_label", json!([name])).await[0].clone();
        assert_eq!(drives(&pool, &made.provider_id).await[1].1["SR"], sr);
        if coordinator_sees {
            assert_eq!(files(&pool, &made.provider_id).await, expected(&wish, "far"));
        }
        start(&*provider, &wish).await;
        delete(&*provider, &wish.key).await;
        provider.close().await;
    }
}
