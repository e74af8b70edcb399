//! What may happen to a guest during its life.

use std::time::Duration;

use innkeeper::{
    api::quantity::Bytes,
    provider::{ErrorKind, Freshness, GuestWish, Network, Power, Provider, Stage, StopMode, xapi::XapiProvider},
};
use serde_json::json;

use crate::{
    lifecycle::number,
    pool::{self, create, delete, start, until},
};

/// A guest sleeps and wakes, where it was put.
#[tokio::test]
async fn a_guest_sleeps_and_wakes() {
    let Some(pool) = pool::sim(&["--knob", "tools_ms=10"]).await else { return };
    let provider = pool.connect().await;
    let wish = pool.wired_wish("sleeper").await;
    create(&*provider, &wish).await;
    assert_eq!(provider.suspend(&wish.key).await.unwrap_err().kind, ErrorKind::Unavailable);
    start(&*provider, &wish).await;
    until("its tools are up", async || {
        let guest = provider.find(&wish.key, Freshness::Live).await.unwrap().unwrap();
        (!guest.addresses.is_empty()).then_some(())
    })
    .await;
    assert_eq!(provider.suspend(&wish.key).await.unwrap().power, Power::Suspended);
    assert_eq!(provider.suspend(&wish.key).await.unwrap().power, Power::Suspended);
    assert_eq!(provider.start(&wish).await.unwrap().power, Power::Running);
    delete(&*provider, &wish.key).await;
    provider.close().await;
}

/// A guest moves to another host while it runs; a host without room refuses with the reasons. Pitfalls 36, 51.
#[tokio::test]
async fn a_guest_moves_while_it_runs() {
    let Some(pool) = pool::sim(&["--host-memory", "8GiB", "--knob", "tools_ms=10"]).await else { return };
    let provider = pool.connect().await;
    let hosts = provider.inventory().await.unwrap().hosts;
    let mut wish = pool.wish("mover");
    wish.host = Some(hosts[0].id.clone());
    create(&*provider, &wish).await;
    assert_eq!(provider.migrate(&wish.key, &hosts[1].id).await.unwrap_err().kind, ErrorKind::Unavailable);
    start(&*provider, &wish).await;
    for target in [1, 2, 2, 0] {
        let moved = provider.migrate(&wish.key, &hosts[target].id).await.unwrap();
        assert_eq!((moved.power, moved.host.as_ref()), (Power::Running, Some(&hosts[target].name)));
    }
    assert_eq!(pool.calls("Async.VM.pool_migrate").await, 3);
    let mut giant = pool.wish("giant");
    giant.memory = Bytes::gib(5);
    giant.host = Some(hosts[1].id.clone());
    create(&*provider, &giant).await;
    start(&*provider, &giant).await;
    let mut second = giant.clone();
    second.key.guest = "second".into();
    second.host = Some(hosts[0].id.clone());
    create(&*provider, &second).await;
    start(&*provider, &second).await;
    let error = provider.migrate(&second.key, &hosts[1].id).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Capacity, "{error}");
    assert_eq!(provider.migrate(&wish.key, "no-such-host").await.unwrap_err().kind, ErrorKind::NotFound);
    for key in [&wish.key, &giant.key, &second.key] {
        delete(&*provider, key).await;
    }
    provider.close().await;
}

/// Three moves are under way at a time, and no more, whoever began them; one whose task is gone takes nobody's place, and one
/// that takes long is not waited for. Pitfalls 15, 51.
#[tokio::test]
async fn moves_take_their_places_and_give_them_back() {
    let Some(pool) = pool::sim(&["--knob", "tools_ms=10"]).await else { return };
    let mut config = pool.config();
    config.timing.patience = Duration::from_millis(100);
    let provider = XapiProvider::connect(config).await.unwrap();
    let hosts = provider.inventory().await.unwrap().hosts;
    let on_first = |name: &str| GuestWish { host: Some(hosts[0].id.clone()), ..pool.wish(name) };
    let wishes = ["a", "b", "c", "d", "e"].map(on_first);
    for wish in &wishes {
        create(&*provider, wish).await;
        start(&*provider, wish).await;
    }
    pool.knobs(json!({ "migrate_ms": 6_000 })).await;
    pool.fault(json!({ "method": "VM.pool_migrate", "kind": "lose_task", "count": 1 })).await;
    for (n, wish) in wishes.iter().enumerate() {
        let error = provider.migrate(&wish.key, &hosts[1].id).await.unwrap_err();
        // The first one's task is gone, so the fourth is the third.
        let kind = if n < 4 { ErrorKind::UnknownOutcome } else { ErrorKind::Throttled };
        assert_eq!(error.kind, kind, "{n}: {error}");
    }
    for wish in &wishes {
        until("it is there", async || {
            let guest = provider.find(&wish.key, Freshness::Live).await.unwrap().unwrap();
            if guest.host.as_ref() == Some(&hosts[1].name) && !guest.busy {
                return Some(());
            }
            let _ = provider.migrate(&wish.key, &hosts[1].id).await;
            None
        })
        .await;
        delete(&*provider, &wish.key).await;
    }
    provider.close().await;
}

/// A changed size takes effect at the next start, not before.
#[tokio::test]
async fn a_new_size_comes_with_the_next_start() {
    let pool = pool::any().await;
    let provider = pool.connect().await;
    let mut wish = pool.wish("growing");
    create(&*provider, &wish).await;
    start(&*provider, &wish).await;
    wish.vcpus = 3;
    wish.memory = Bytes::mib(384);
    let running = provider.start(&wish).await.unwrap();
    assert_eq!((running.vcpus, running.memory), (Some(1), Some(Bytes::mib(256))));
    provider.stop(&wish.key, StopMode::Hard).await.unwrap();
    let grown = start(&*provider, &wish).await;
    assert_eq!((grown.vcpus, grown.memory), (Some(3), Some(Bytes::mib(384))));
    let vm = pool.rpc.by_uuid("VM", &grown.provider_id).await;
    assert_eq!(number(&pool.rpc.call("VM.get_memory_dynamic_min", json!([vm])).await), 384 << 20);
    delete(&*provider, &wish.key).await;
    pool.finish(&provider).await;
}

/// A VM that is there is adopted as it is, without a restart, and given up again as it is. Pitfall 27.
#[tokio::test]
async fn a_vm_changes_hands_as_it_is() {
    let pool = pool::any().await;
    let provider = pool.connect().await;
    let before = pool.count().await;
    let template = pool.rpc.by_uuid("VM", &pool.wish("x").image).await;
    let vm = pool.rpc.call("VM.clone", json!([template, "a user's VM"])).await;
    let uuid = pool.rpc.call("VM.get_uuid", json!([vm])).await.as_str().unwrap().to_owned();
    let wish = pool.wish("adopted");
    assert_eq!(provider.adopt(&wish.key, &uuid).await.unwrap_err().kind, ErrorKind::Invalid, "still a template");
    pool.rpc.call("VM.provision", json!([vm])).await;
    pool.rpc.call("VM.start", json!([vm, false, false])).await;
    let domid = pool.rpc.call("VM.get_domid", json!([vm])).await;
    for _ in 0..2 {
        let adopted = provider.adopt(&wish.key, &uuid).await.unwrap();
        assert_eq!((adopted.provider_id.as_str(), adopted.power), (uuid.as_str(), Power::Running));
    }
    assert_eq!(provider.create(&wish).await.unwrap().provider_id, uuid);
    assert_eq!(pool.rpc.call("VM.get_domid", json!([vm])).await, domid, "it was not restarted");
    let another = pool.wish("another");
    assert_eq!(provider.adopt(&another.key, &uuid).await.unwrap_err().kind, ErrorKind::Invalid, "it is taken");
    assert_eq!(provider.adopt(&another.key, "no-such").await.unwrap_err().kind, ErrorKind::NotFound);
    for _ in 0..2 {
        provider.release(&wish.key).await.unwrap();
    }
    assert_eq!(provider.find(&wish.key, Freshness::Live).await.unwrap(), None);
    assert_eq!(pool.rpc.call("VM.get_power_state", json!([vm])).await, json!("Running"));
    let config = pool.rpc.call("VM.get_other_config", json!([vm])).await;
    assert!(config.as_object().unwrap().keys().all(|key| !key.starts_with("innkeeper")), "{config}");
    provider.adopt(&wish.key, &uuid).await.unwrap();
    delete(&*provider, &wish.key).await;
    assert_eq!(pool.count().await, before);
    pool.finish(&provider).await;
}

/// Wherever taking a VM over or giving it up is cut off, giving it up finds what is left, though no mark is on the VM; and
/// whoever took it over meanwhile keeps it.
#[tokio::test]
async fn a_change_of_hands_that_was_cut_off_leaves_nothing() {
    let Some(pool) = pool::sim(&[]).await else { return };
    let provider = pool.connect().await;
    let template = pool.rpc.by_uuid("VM", &pool.wish("x").image).await;
    let vm = pool.rpc.call("VM.clone", json!([template, "a user's VM"])).await;
    pool.rpc.call("VM.provision", json!([vm])).await;
    let uuid = pool.rpc.call("VM.get_uuid", json!([vm])).await.as_str().unwrap().to_owned();
    let ours = async || {
        let config = pool.rpc.call("VM.get_other_config", json!([vm])).await;
        config.as_object().unwrap().keys().filter(|key| key.starts_with("innkeeper")).count()
    };
    let cut_off = async |method: &str, skip: usize| {
        let fault = json!({ "kind": "error", "code": "INTERNAL_ERROR", "params": ["?"], "count": 1 });
        let mut fault = fault.as_object().unwrap().clone();
        fault.extend([("method".to_owned(), json!(method)), ("skip".to_owned(), json!(skip))]);
        pool.fault(json!(fault)).await;
    };
    let (first, second) = (pool.wish("first"), pool.wish("second"));
    for skip in 0..5 {
        cut_off("VM.add_to_other_config", skip).await;
        provider.adopt(&first.key, &uuid).await.unwrap_err();
        assert_eq!(ours().await, skip);
        provider.release(&first.key).await.unwrap();
        assert_eq!(ours().await, 0, "{skip}");
    }
    for skip in 0..6 {
        provider.adopt(&first.key, &uuid).await.unwrap();
        assert_eq!(ours().await, 4);
        cut_off("VM.remove_from_other_config", skip).await;
        provider.release(&first.key).await.unwrap_err();
        assert!(ours().await > 0, "{skip}");
        provider.release(&first.key).await.unwrap();
        assert_eq!(ours().await, 0, "{skip}");
    }
    provider.adopt(&first.key, &uuid).await.unwrap();
    cut_off("VM.remove_from_other_config", 1).await;
    provider.release(&first.key).await.unwrap_err();
    provider.adopt(&second.key, &uuid).await.unwrap();
    provider.release(&first.key).await.unwrap();
    assert_eq!(provider.find(&second.key, Freshness::Live).await.unwrap().map(|vm| vm.stage), Some(Stage::Complete));
    delete(&*provider, &second.key).await;
    pool.finish(&provider).await;
}

/// What others do to the pool while a guest is made: a network that goes away is said, and the guest is finished when it
/// is back under another id. Pitfall 65.
#[tokio::test]
async fn a_missing_network_is_named() {
    let pool = pool::any().await;
    let provider = pool.connect().await;
    let mut wish = pool.wish("unwired");
    wish.networks = vec![Network { name: "frontend".into(), provider_id: "gone".into() }];
    let error = provider.create(&wish).await.unwrap_err();
    assert!(error.kind == ErrorKind::NotFound && error.to_string().contains("frontend"), "{error}");
    wish.networks = pool.wired_wish("x").await.networks;
    create(&*provider, &wish).await;
    delete(&*provider, &wish.key).await;
    pool.finish(&provider).await;
}

/// A template's preferred host that has left the pool keeps no guest from starting. Pitfall 30.
#[tokio::test]
async fn a_preferred_host_that_left_is_no_hindrance() {
    let Some(pool) = pool::sim(&[]).await else { return };
    let provider = pool.connect().await;
    let wish = pool.wish("attached");
    let guest = create(&*provider, &wish).await;
    let path = format!("/records/VM/{}/affinity", guest.provider_id);
    pool.admin(reqwest::Method::PUT, &path, json!("OpaqueRef:11111111-2222-3333-4444-555555555555")).await;
    assert_eq!(provider.start(&wish).await.unwrap().power, Power::Running);
    assert_eq!(pool.calls("VM.set_affinity").await, 1);
    delete(&*provider, &wish.key).await;
    provider.close().await;
}

/// What others do to a guest is waited for, not fought. Pitfalls 18, 68.
#[tokio::test]
async fn others_work_is_waited_for() {
    let Some(pool) = pool::sim(&["--knob", "snapshot_ms=1500"]).await else { return };
    let provider = pool.connect().await;
    let before = pool.count().await;
    let wish = pool.wish("backed-up");
    let guest = create(&*provider, &wish).await;
    let vm = pool.rpc.by_uuid("VM", &guest.provider_id).await;
    pool.rpc.call("Async.VM.snapshot", json!([vm, "a backup"])).await;
    until("the backup is under way", async || {
        provider.find(&wish.key, Freshness::Live).await.unwrap().unwrap().busy.then_some(())
    })
    .await;
    let error = provider.start(&wish).await.unwrap_err();
    assert!(error.kind == ErrorKind::Unavailable && error.to_string().contains("snapshot"), "{error}");
    assert!(error.retry_after.is_some());
    assert_eq!(provider.delete(&wish.key).await.unwrap(), innkeeper::provider::Deletion::InProgress);
    start(&*provider, &wish).await;
    delete(&*provider, &wish.key).await;
    assert_eq!(pool.count().await, before);
    provider.close().await;
}

/// A guest that is to be off is taken out of high availability's hands first. That is the one call for which `vm-power-admin`
/// does not suffice: it is said, with the role, and the guest runs on. Pitfall 61.
#[tokio::test]
async fn high_availability_does_not_start_a_stopped_guest_again() {
    let Some(pool) = pool::sim(&[]).await else { return };
    let keeper = pool.connect().await;
    let mut config = pool.config();
    (config.user, config.password) = (pool.user.clone(), pool.password.clone().into());
    let provider = XapiProvider::connect(config).await.unwrap();
    let wish = pool.wish("protected");
    let guest = create(&*provider, &wish).await;
    start(&*provider, &wish).await;
    let vm = pool.rpc.by_uuid("VM", &guest.provider_id).await;
    let path = format!("/records/VM/{}/ha_restart_priority", guest.provider_id);
    pool.admin(reqwest::Method::PUT, &path, json!("restart")).await;
    let error = keeper.stop(&wish.key, StopMode::Hard).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Auth, "{error}");
    let said = error.to_string();
    assert!(said.contains("VM.set_ha_restart_priority") && said.contains("pool-operator"), "{said}");
    assert_eq!(keeper.find(&wish.key, Freshness::Live).await.unwrap().unwrap().power, Power::Running);
    keeper.close().await;
    assert_eq!(provider.stop(&wish.key, StopMode::Hard).await.unwrap().power, Power::Stopped);
    assert_eq!(pool.rpc.call("VM.get_ha_restart_priority", json!([vm])).await, json!(""));
    delete(&*provider, &wish.key).await;
    provider.close().await;
}
