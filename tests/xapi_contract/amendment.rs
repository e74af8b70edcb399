//! A changed wish reaches the VM: at once what can be done while it runs, the rest when it is off.

use innkeeper::{
    api::quantity::Bytes,
    provider::{Amendment, ErrorKind, Freshness, GuestWish, Power, Provider, StopMode, xapi::XapiProvider},
};
use serde_json::json;

use crate::{
    disks::{disk, drives, told},
    pool::{self, Pool, create, delete, start, until},
};

async fn running(pool: &Pool, provider: &XapiProvider, wish: &GuestWish) {
    create(provider, wish).await;
    start(provider, wish).await;
    until("its tools are up", async || {
        let guest = provider.find(&wish.key, Freshness::Live).await.unwrap().unwrap();
        (!guest.addresses.is_empty()).then_some(())
    })
    .await;
    let _ = pool;
}

fn done(amendment: Amendment) -> innkeeper::provider::ObservedGuest {
    match amendment {
        Amendment::Done(guest) => guest,
        Amendment::WhenOff(_, why) => panic!("{why}"),
    }
}

fn when_off(amendment: Amendment) -> (innkeeper::provider::ObservedGuest, String) {
    match amendment {
        Amendment::WhenOff(guest, why) => (guest, why),
        Amendment::Done(guest) => panic!("{guest:?}"),
    }
}

/// Memory and processors within what the guest was started with, and new disks, are changed while it runs. Pitfall 40.
#[tokio::test]
async fn a_running_guest_is_changed_in_place() {
    let Some(pool) = pool::sim(&["--knob", "tools_ms=10", "--knob", "online_resize=true"]).await else { return };
    let provider = pool.connect().await;
    let before = pool.count().await;
    let mut wish = GuestWish { vcpus: 4, memory: Bytes::mib(512), ..pool.wired_wish("changed").await };
    running(&pool, &provider, &wish).await;
    let started = provider.find(&wish.key, Freshness::Live).await.unwrap().unwrap().started_at;
    assert!(started.is_some());
    wish = GuestWish {
        vcpus: 2,
        memory: Bytes::mib(256),
        disks: vec![disk("data", 32)],
        root_disk: Some(Bytes::mib(128)),
        ..wish
    };
    for _ in 0..2 {
        let guest = done(provider.amend(&wish).await.unwrap());
        assert_eq!((guest.vcpus, guest.memory, guest.power), (Some(2), Some(Bytes::mib(256)), Power::Running));
        assert_eq!(told(&guest), [("root", 128), ("data", 32)]);
        assert_eq!(guest.started_at, started);
        let drives = drives(&pool, &guest.provider_id).await;
        assert!(drives.iter().all(|(vbd, _)| vbd["currently_attached"] == true));
    }
    wish = GuestWish { vcpus: 3, memory: Bytes::mib(512), disks: vec![disk("data", 64)], ..wish };
    let guest = done(provider.amend(&wish).await.unwrap());
    assert_eq!((guest.vcpus, guest.memory, told(&guest)[1]), (Some(3), Some(Bytes::mib(512)), ("data", 64)));
    assert_eq!(pool.calls("Async.VM.hard_shutdown").await, 0);
    delete(&*provider, &wish.key).await;
    assert_eq!(pool.count().await, before);
    provider.close().await;
}

/// What cannot be done while it runs is named, waits, and is done when it is off; meanwhile nothing is stopped. Pitfalls 40, 55.
#[tokio::test]
async fn the_rest_is_done_when_it_is_off() {
    let Some(pool) = pool::sim(&["--knob", "tools_ms=10"]).await else { return };
    let provider = pool.connect().await;
    let mut wish = pool.wired_wish("waiting").await;
    running(&pool, &provider, &wish).await;
    wish = GuestWish {
        vcpus: 3,
        memory: Bytes::mib(384),
        disks: vec![disk("data", 32)],
        root_disk: Some(Bytes::mib(128)),
        ..wish
    };
    for _ in 0..2 {
        let (guest, why) = when_off(provider.amend(&wish).await.unwrap());
        for said in ["at most 256Mi", "at most 1 processors", "its disk root cannot grow"] {
            assert!(why.contains(said), "{why}");
        }
        assert_eq!((guest.vcpus, guest.memory, guest.power), (Some(1), Some(Bytes::mib(256)), Power::Running));
        assert_eq!(told(&guest), [("root", 64), ("data", 32)]);
    }
    provider.stop(&wish.key, StopMode::Hard).await.unwrap();
    let guest = done(provider.amend(&wish).await.unwrap());
    assert_eq!((guest.vcpus, guest.memory, guest.power), (Some(3), Some(Bytes::mib(384)), Power::Stopped));
    assert_eq!(told(&guest), [("root", 128), ("data", 32)]);
    start(&*provider, &wish).await;
    delete(&*provider, &wish.key).await;
    provider.close().await;
}

/// A guest without drivers gets its new disk at its next start, and one without room on its host its memory. Pitfall 40.
#[tokio::test]
async fn what_the_guest_or_its_host_cannot_do_waits() {
    let Some(pool) = pool::sim(&["--hosts", "1", "--host-memory", "8GiB", "--knob", "tools_ms=10"]).await else {
        return;
    };
    let provider = pool.connect().await;
    let mut wish = GuestWish { memory: Bytes::gib(4), ..pool.wired_wish("cramped").await };
    running(&pool, &provider, &wish).await;
    wish.memory = Bytes::gib(1);
    done(provider.amend(&wish).await.unwrap());
    let mut filler = pool.wish("filler");
    filler.memory = Bytes::gib(4);
    create(&*provider, &filler).await;
    start(&*provider, &filler).await;
    wish.memory = Bytes::gib(4);
    let (guest, why) = when_off(provider.amend(&wish).await.unwrap());
    assert!(why.contains("HOST_NOT_ENOUGH_FREE_MEMORY"), "{why}");
    assert_eq!(guest.memory, Some(Bytes::gib(1)));

    filler.disks = vec![disk("data", 32)];
    pool.knobs(json!({ "tools": false })).await;
    provider.stop(&filler.key, StopMode::Hard).await.unwrap();
    start(&*provider, &filler).await;
    filler.disks.push(disk("more", 32));
    let (guest, why) = when_off(provider.amend(&filler).await.unwrap());
    assert!(why.contains("attached at the next start"), "{why}");
    assert_eq!(told(&guest), [("root", 64), ("data", 32), ("more", 32)]);
    provider.stop(&filler.key, StopMode::Hard).await.unwrap();
    start(&*provider, &filler).await;
    let drives = drives(&pool, &guest.provider_id).await;
    assert!(drives.len() == 3 && drives.iter().all(|(vbd, _)| vbd["currently_attached"] == true));
    for key in [&wish.key, &filler.key] {
        delete(&*provider, key).await;
    }
    provider.close().await;
}

/// Whatever call of an amendment is cut off: asked again, it is done, and every disk is there once. Pitfalls 8, 15.
#[tokio::test]
async fn an_amendment_goes_on_after_any_lost_answer() {
    let Some(pool) = pool::sim(&["--knob", "tools_ms=10", "--knob", "online_resize=true"]).await else { return };
    let provider = pool.connect().await;
    let before = pool.count().await;
    let methods = [
        "VM.add_to_other_config",
        "Async.VDI.create",
        "VBD.create",
        "Async.VBD.plug",
        "Async.VDI.resize_online",
        "Async.VM.set_memory_dynamic_range",
        "Async.VM.set_VCPUs_number_live",
        "VM.remove_from_other_config",
    ];
    for method in methods {
        for kind in ["reset_after", "reset_before", "session_invalid", "lose_task"] {
            let mut wish = GuestWish { vcpus: 2, memory: Bytes::mib(512), ..pool.wired_wish("cut").await };
            running(&pool, &provider, &wish).await;
            wish = GuestWish {
                vcpus: 1,
                memory: Bytes::mib(256),
                disks: vec![disk("data", 32)],
                root_disk: Some(Bytes::mib(96)),
                ..wish
            };
            pool.fault(json!({ "method": method, "kind": kind, "count": 1 })).await;
            let guest = until("it is amended", async || match provider.amend(&wish).await {
                Ok(amendment) => Some(done(amendment)),
                Err(error) if matches!(error.kind, ErrorKind::UnknownOutcome | ErrorKind::Unavailable) => None,
                Err(error) => panic!("{method} {kind}: {error}"),
            })
            .await;
            pool.admin(reqwest::Method::DELETE, "/faults", json!({})).await;
            assert_eq!((guest.vcpus, guest.memory), (Some(1), Some(Bytes::mib(256))), "{method} {kind}");
            assert_eq!(told(&guest), [("root", 96), ("data", 32)], "{method} {kind}");
            assert_eq!(pool.count().await, (before.0 + 1, before.1 + 2), "{method} {kind}");
            delete(&*provider, &wish.key).await;
            assert_eq!(pool.count().await, before, "{method} {kind}");
        }
    }
    provider.close().await;
}

/// A sleeping guest is not changed, and says so only where something is to be changed.
#[tokio::test]
async fn a_sleeping_guest_waits() {
    let Some(pool) = pool::sim(&["--knob", "tools_ms=10"]).await else { return };
    let provider = pool.connect().await;
    let mut wish = pool.wired_wish("asleep").await;
    running(&pool, &provider, &wish).await;
    provider.suspend(&wish.key).await.unwrap();
    assert_eq!(done(provider.amend(&wish).await.unwrap()).power, Power::Suspended);
    wish.disks = vec![disk("data", 32)];
    let (_, why) = when_off(provider.amend(&wish).await.unwrap());
    assert!(why.contains("suspended"), "{why}");
    delete(&*provider, &wish.key).await;
    provider.close().await;
}

/// A guest is protected, and free again; a block that somebody else set stays; ours does not hold up a
/// removal that is wished for. Pitfall 34.
#[tokio::test]
async fn protection_comes_and_goes() {
    let pool = pool::any().await;
    let provider = pool.connect().await;
    let mut wish = GuestWish { protected: true, ..pool.wish("protected") };
    let made = create(&*provider, &wish).await;
    assert_eq!(made.protected, Some(true));
    let vm = pool.rpc.by_uuid("VM", &made.provider_id).await;
    assert!(pool.rpc.try_call("VM.destroy", json!([vm])).await.is_err(), "nobody removes it by mistake");
    wish.protected = false;
    assert_eq!(done(provider.amend(&wish).await.unwrap()).protected, Some(false));
    pool.rpc.call("VM.add_to_blocked_operations", json!([vm, "destroy", "legal hold"])).await;
    for protected in [false, true, false] {
        wish.protected = protected;
        assert_eq!(done(provider.amend(&wish).await.unwrap()).protected, Some(true), "it is not ours to lift");
    }
    assert_eq!(provider.delete(&wish.key).await.unwrap_err().code.as_deref(), Some("OPERATION_BLOCKED"));
    pool.rpc.call("VM.remove_from_blocked_operations", json!([vm, "destroy"])).await;
    wish.protected = true;
    assert_eq!(done(provider.amend(&wish).await.unwrap()).protected, Some(true));
    delete(&*provider, &wish.key).await;
    pool.finish(&provider).await;
}
