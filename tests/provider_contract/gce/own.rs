//! What only Compute Engine has: operations that fail late, zones, request ids, spot, and Google's own client.

use std::time::Duration;

use innkeeper::provider::{ErrorKind, Freshness, GuestWish, Key, Power, Provider, StopMode, gce::GceConfig};
use serde_json::{Value, json};

use super::{GceWorld, labels, sim};
use crate::harness::{Connect, OWNER, World, clear, eventually, failed, key, lodge, only_one, patient, until_power};

pub const NAMES: &[&str] = &[
    "own::the_next_zone_after_a_full_one",
    "own::a_failed_start_is_capacity",
    "own::a_failed_operation_of_a_former_life_is_stepped_over",
    "own::an_unreachable_zone_is_not_absent",
    "own::a_used_up_request_makes_nothing",
    "own::a_second_instance_is_deleted",
    "own::a_taken_name_is_said",
    "own::a_failed_removal_is_told",
    "own::launches_are_safe_by_default",
    "own::guests_sleep_and_wake",
    "own::spot_is_taken_back",
    "own::the_catalogue_is_priced",
    "own::missing_permissions_are_named",
    "own::googles_own_client_agrees",
];

pub async fn run(name: &str, world: &GceWorld) {
    match name {
        "own::the_next_zone_after_a_full_one" => the_next_zone_after_a_full_one(world).await,
        "own::a_failed_start_is_capacity" => a_failed_start_is_capacity(world).await,
        "own::a_failed_operation_of_a_former_life_is_stepped_over" => a_former_life(world).await,
        "own::an_unreachable_zone_is_not_absent" => an_unreachable_zone_is_not_absent(world).await,
        "own::a_used_up_request_makes_nothing" => a_used_up_request_makes_nothing(world).await,
        "own::a_second_instance_is_deleted" => a_second_instance_is_deleted(world).await,
        "own::a_taken_name_is_said" => a_taken_name_is_said(world).await,
        "own::a_failed_removal_is_told" => a_failed_removal_is_told(world).await,
        "own::launches_are_safe_by_default" => launches_are_safe_by_default(world).await,
        "own::guests_sleep_and_wake" => guests_sleep_and_wake(world).await,
        "own::spot_is_taken_back" => spot_is_taken_back(world).await,
        "own::the_catalogue_is_priced" => the_catalogue_is_priced(world).await,
        "own::missing_permissions_are_named" => missing_permissions_are_named(world).await,
        "own::googles_own_client_agrees" => googles_own_client_agrees(world).await,
        _ => panic!("there is no case {name}"),
    }
}

async fn fault(world: &GceWorld, method: &str, code: &str, count: u32) {
    let fault = json!({ "method": format!("compute.{method}"), "code": code, "count": count });
    world.sim.post("faults", fault).await;
}

async fn the_next_zone_after_a_full_one(world: &GceWorld) {
    let provider = world.provider();
    let wish = GuestWish { zone: None, ..world.wish(key(1)) };
    fault(world, "instances.insert", "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS", 2).await;
    let guest = lodge(&*provider, &wish).await;
    let aside = provider.set_aside();
    assert_eq!(aside.len(), 2, "{aside:?}");
    let (zone, _) = guest.provider_id.split_once('/').unwrap();
    assert!(aside.iter().all(|one| one.zone.as_deref() != Some(zone) && one.code.starts_with("ZONE_RESOURCE_POOL")));
    // A quota counts as no room too.
    fault(world, "instances.insert", "QUOTA_EXCEEDED", 1).await;
    failed(provider.create(&world.wish(key(2))).await, &[ErrorKind::Capacity]);
    assert!(provider.set_aside().iter().any(|one| one.code == "QUOTA_EXCEEDED"));
    only_one(world, &wish.key).await;
}

async fn a_failed_start_is_capacity(world: &GceWorld) {
    let provider = world.provider();
    let wish = world.wish(key(1));
    lodge(&*provider, &wish).await;
    provider.stop(&wish.key, StopMode::Hard).await.unwrap();
    until_power(&*provider, &wish.key, Power::Stopped).await;
    fault(world, "instances.start", "ZONE_RESOURCE_POOL_EXHAUSTED", 1).await;
    failed(provider.start(&wish).await, &[ErrorKind::Capacity]);
    assert_eq!(provider.set_aside().len(), 1);
    provider.start(&wish).await.unwrap();
    until_power(&*provider, &wish.key, Power::Running).await;
}

/// A request id is answered with its first operation for ever, also where that failed.
async fn a_former_life(world: &GceWorld) {
    let wish = world.wish(key(1));
    for _ in 0..2 {
        fault(world, "instances.insert", "ZONE_RESOURCE_POOL_EXHAUSTED", 1).await;
        failed(world.provider().create(&wish).await, &[ErrorKind::Capacity]);
        world.sim.forget_faults().await;
    }
    // Each new life is told of the failure once, as it was lately, and then asks anew.
    let provider = world.provider();
    let made = eventually("it is made", || async {
        match provider.create(&wish).await {
            Err(error) if error.kind == ErrorKind::Capacity => None,
            other => patient(other),
        }
    })
    .await;
    assert_eq!(until_power(&*provider, &wish.key, Power::Running).await.provider_id, made.provider_id);
    only_one(world, &wish.key).await;
}

async fn an_unreachable_zone_is_not_absent(world: &GceWorld) {
    let provider = world.provider();
    let wish = world.wish(key(1));
    world.sim.post("unreachable", json!(["europe-west1-d"])).await;
    failed(provider.find(&wish.key, Freshness::Live).await, &[ErrorKind::Unavailable]);
    failed(provider.list(Freshness::Live).await, &[ErrorKind::Unavailable]);
    let error = failed(provider.create(&wish).await, &[ErrorKind::Unavailable]);
    assert!(error.message.contains("europe-west1-d"), "{error}");
    assert_eq!(world.made_for(&wish.key.guest).await, []);
    // Guests of the pool cannot be in another region.
    world.sim.post("unreachable", json!(["us-central1-f"])).await;
    assert_eq!(provider.find(&wish.key, Freshness::Live).await.unwrap(), None);
    lodge(&*provider, &wish).await;
}

/// Removed so long ago that reads do not show it any more, and the incarnation is still used up.
async fn a_used_up_request_makes_nothing(world: &GceWorld) {
    let wish = world.wish(key(1));
    let guest = lodge(&*world.provider(), &wish).await;
    world.meddle(&guest.provider_id, true).await;
    let provider = world.provider();
    eventually("it is gone", || async {
        provider.find(&wish.key, Freshness::Live).await.unwrap().is_none().then_some(())
    })
    .await;
    let again = eventually("that it was made is settled", || async { patient(provider.create(&wish).await) }).await;
    assert_eq!(again.power, Power::Terminated);
    only_one(world, &wish.key).await;
    lodge(&*provider, &world.wish(Key { incarnation: 2, ..key(1) })).await;
}

async fn a_second_instance_is_deleted(world: &GceWorld) {
    let provider = world.provider();
    let wish = world.wish(key(1));
    let kept = lodge(&*provider, &wish).await.provider_id;
    // As it would be if a request whose answer was lost had gone to another zone.
    let (_, name) = kept.split_once('/').unwrap();
    let other = sim::ZONES[1];
    let second = world.launch(name, other, labels(&wish.key, OWNER, other)).await;
    assert_eq!(provider.list(Freshness::Live).await.unwrap().len(), 1, "one VM for one guest");
    let _changes = provider.changes();
    eventually("the second is deleted", || async { world.instance(&second).await.is_none().then_some(()) }).await;
    assert_eq!(until_power(&*provider, &wish.key, Power::Running).await.provider_id, kept);
}

async fn a_taken_name_is_said(world: &GceWorld) {
    let provider = world.provider();
    let wish = world.wish(key(1));
    let id = lodge(&*provider, &wish).await.provider_id;
    clear(&*provider, &wish.key).await;
    let (zone, name) = id.split_once('/').unwrap();
    world.launch(name, zone, json!({})).await;
    let next = GuestWish { instance_type: Some("e2-medium".into()), ..wish };
    let error = failed(provider.create(&next).await, &[ErrorKind::Invalid]);
    assert!(error.message.contains(name) && error.message.contains("labels"), "{error}");
    assert!(world.are_untouched(&[id]).await);
}

async fn a_failed_removal_is_told(world: &GceWorld) {
    let provider = world.provider();
    let wish = world.wish(key(1));
    lodge(&*provider, &wish).await;
    fault(world, "instances.delete", "INTERNAL_ERROR", 1).await;
    let error = eventually("the failure is told", || async { provider.delete(&wish.key).await.err() }).await;
    assert_eq!((error.kind, error.code.as_deref()), (ErrorKind::Unavailable, Some("INTERNAL_ERROR")));
    clear(&*provider, &wish.key).await;
    assert_eq!(world.left(OWNER).await, Vec::<String>::new());
}

async fn launches_are_safe_by_default(world: &GceWorld) {
    let plain = lodge(&*world.provider(), &world.wish(key(1))).await;
    let instance = world.instance(&plain.provider_id).await.unwrap();
    assert_eq!(instance["shieldedInstanceConfig"]["enableVtpm"], true);
    assert_eq!(instance["shieldedInstanceConfig"]["enableIntegrityMonitoring"], true);
    assert_eq!((&instance["serviceAccounts"], &instance["canIpForward"]), (&Value::Null, &Value::Null));
    assert_eq!(instance["networkInterfaces"][0]["accessConfigs"], Value::Null, "no external address");
    assert_eq!(instance["disks"][0]["autoDelete"], true);
    assert_eq!(instance["labels"], labels(&key(1), OWNER, sim::ZONE));
    let config = GceConfig {
        network_tags: vec!["web".into()],
        service_account: Some("guest@acme-test.iam.gserviceaccount.com".into()),
        subnetwork: Some("front".into()),
        ..world.config(Connect::default())
    };
    let provider = innkeeper::provider::gce::GceProvider::connect(config).unwrap();
    let more = lodge(&*provider, &GuestWish { image: "debian-cloud/debian-12".into(), ..world.wish(key(2)) }).await;
    let instance = world.instance(&more.provider_id).await.unwrap();
    assert_eq!(instance["tags"]["items"], json!(["web"]));
    assert_eq!(instance["serviceAccounts"][0]["email"], "guest@acme-test.iam.gserviceaccount.com");
    assert_eq!(instance["networkInterfaces"][0]["subnetwork"], "regions/europe-west1/subnetworks/front");
}

async fn guests_sleep_and_wake(world: &GceWorld) {
    let provider = world.provider();
    let wish = world.wish(key(1));
    let id = lodge(&*provider, &wish).await.provider_id;
    provider.suspend(&wish.key).await.unwrap();
    until_power(&*provider, &wish.key, Power::Suspended).await;
    assert_eq!(provider.suspend(&wish.key).await.unwrap().power, Power::Suspended);
    provider.start(&wish).await.unwrap();
    assert_eq!(until_power(&*provider, &wish.key, Power::Running).await.provider_id, id);
}

async fn spot_is_taken_back(world: &GceWorld) {
    let provider = world.provider();
    let wish = GuestWish { spot: true, ..world.wish(key(1)) };
    let id = lodge(&*provider, &wish).await.provider_id;
    let instance = world.instance(&id).await.unwrap();
    assert_eq!(instance["scheduling"]["provisioningModel"], "SPOT");
    world.sim.post("preempt", json!(id)).await;
    until_power(&*provider, &wish.key, Power::Stopped).await;
    provider.start(&wish).await.unwrap();
    assert_eq!(until_power(&*provider, &wish.key, Power::Running).await.provider_id, id);
    only_one(world, &wish.key).await;
}

async fn the_catalogue_is_priced(world: &GceWorld) {
    let config = GceConfig { families: Some(Vec::new()), ..world.config(Connect::default()) };
    let provider = innkeeper::provider::gce::GceProvider::connect(config).unwrap();
    for _ in 0..2 {
        let inventory = provider.inventory().await.unwrap();
        assert_eq!(inventory.id, "acme-test/europe-west1");
        let found = inventory.offerings.iter().find(|one| one.instance_type == "c3-standard-4").unwrap();
        assert_eq!(found.zones, ["europe-west1-b", "europe-west1-c"], "zone d does not have it");
        assert!(found.hourly.unwrap().amount.0 > found.spot_hourly.unwrap().amount.0);
        assert!(!inventory.offerings.iter().any(|one| one.instance_type.starts_with("t2a")), "ARM");
    }
    let reads = provider.calls().into_iter().find(|(action, _)| action.name() == "machineTypes.aggregatedList");
    let pages = reads.unwrap().1;
    provider.inventory().await.unwrap();
    let again = provider.calls().into_iter().find(|(action, _)| action.name() == "machineTypes.aggregatedList");
    assert_eq!(again.unwrap().1, pages, "it is read seldom");
}

async fn missing_permissions_are_named(world: &GceWorld) {
    let provider = world.provider();
    world.sim.post("denied", json!(["compute.instances.stop", "compute.instances.setLabels"])).await;
    assert_eq!(provider.inventory().await.unwrap().missing, [], "there is nothing to ask about");
    let wish = world.wish(key(1));
    lodge(&*provider, &wish).await;
    let inventory = provider.inventory().await.unwrap();
    let missing: Vec<_> = inventory.missing.iter().map(|one| one.what.as_str()).collect();
    assert_eq!(missing, ["compute.instances.stop", "compute.instances.setLabels"]);
    let error = failed(provider.stop(&wish.key, StopMode::Hard).await, &[ErrorKind::Auth]);
    assert!(error.message.contains("compute.instances.stop"), "{error}");
}

/// Google's own client for Python lists our guests: it sees what the driver says.
async fn googles_own_client_agrees(world: &GceWorld) {
    let provider = world.provider();
    let sizes = [("e2-small", 2, 2048), ("e2-medium", 2, 4096), ("n2-standard-2", 2, 8192)];
    for n in 1..4 {
        let zone = Some(sim::ZONES[n - 1].to_owned());
        let kind = Some(sizes[n - 1].0.to_owned());
        lodge(&*provider, &GuestWish { zone, instance_type: kind, ..world.wish(key(n)) }).await;
    }
    provider.stop(&key(2), StopMode::Hard).await.unwrap();
    until_power(&*provider, &key(2), Power::Stopped).await;
    world.launch("of-somebody-else", sim::ZONE, json!({})).await;

    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/gce-sim/list_guests.py");
    let mut asking = tokio::process::Command::new(sim::python());
    asking.arg(script).args([&world.sim.url, sim::PROJECT, OWNER]).env("INNKEEPER_GCE_KEY", &world.sim.key);
    let output = tokio::time::timeout(Duration::from_mins(1), asking.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let seen: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let mut ours = provider.list(Freshness::Live).await.unwrap();
    ours.sort_by(|one, other| one.key.name.cmp(&other.key.name));
    assert_eq!(seen.len(), ours.len());
    for (theirs, ours) in seen.iter().zip(&ours) {
        let status = match ours.power {
            Power::Running => "RUNNING",
            Power::Stopped => "TERMINATED",
            other => panic!("{other}"),
        };
        let addresses: Vec<_> = ours.addresses.iter().map(ToString::to_string).collect();
        let disks: Vec<_> = ours.disks.iter().map(|disk| disk.size.0 >> 30).collect();
        let (kind, vcpus, memory) = sizes.iter().find(|size| ours.instance_type.as_deref() == Some(size.0)).unwrap();
        let expected = json!({
            "id": ours.provider_id, "type": kind, "status": status, "addresses": addresses, "disks": disks,
            "vcpus": vcpus, "memoryMb": memory, "zone": ours.zone,
            "guest": ours.key.guest, "namespace": ours.key.namespace, "name": ours.key.name, "incarnation": "1",
        });
        assert_eq!(*theirs, expected);
    }
}
