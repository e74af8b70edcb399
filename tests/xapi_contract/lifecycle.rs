//! A guest's life, on any pool.

use innkeeper::{
    api::quantity::Bytes,
    provider::{Deletion, ErrorKind, Freshness, GuestWish, Network, Power, Provider, Stage, StopMode},
};
use serde_json::{Value, json};

use crate::pool::{self, delete, until};

/// Create, start, observe, stop, delete; each twice. Pitfalls 14 (long work through tasks), 22 (power states), 24, 33
/// (disks), 35 (templates).
#[tokio::test]
async fn a_guest_lives_and_leaves_no_trace() {
    let pool = pool::any().await;
    let provider = pool.connect().await;
    let before = pool.count().await;
    let wish = pool.wish("web-0");
    assert_eq!(provider.find(&wish.key, Freshness::Live).await.unwrap(), None);

    let made = provider.create(&wish).await.unwrap();
    assert_eq!((made.stage, made.power, made.vcpus), (Stage::Complete, Power::Stopped, Some(1)));
    assert_eq!(made.memory, Some(Bytes::mib(256)));
    assert_eq!(made.key, wish.key);
    assert_eq!(made.ever_started, Some(false));
    let again = provider.create(&wish).await.unwrap();
    assert_eq!(again.provider_id, made.provider_id);
    assert_eq!(pool.rpc.vms(|name| name == "web-0").await.len(), 1);
    assert_eq!(pool.count().await, (before.0 + 1, before.1 + 1));

    let started = provider.start(&wish).await.unwrap();
    assert_eq!(started.power, Power::Running);
    assert!(started.host.is_some());
    assert_eq!(provider.start(&wish).await.unwrap().power, Power::Running);
    assert_eq!(provider.list(Freshness::Live).await.unwrap().len(), 1);

    let stopped = provider.stop(&wish.key, StopMode::Hard).await.unwrap();
    assert_eq!((stopped.power, stopped.ever_started), (Power::Stopped, Some(true)));
    assert_eq!(provider.stop(&wish.key, StopMode::USUAL).await.unwrap().power, Power::Stopped);

    provider.start(&wish).await.unwrap();
    delete(&*provider, &wish.key).await;
    assert_eq!(provider.delete(&wish.key).await.unwrap(), Deletion::Gone);
    assert_eq!(provider.find(&wish.key, Freshness::Live).await.unwrap(), None);
    assert_eq!(pool.count().await, before);
    pool.finish(&provider).await;
}

/// The size is what was wished for: all four memory limits alike, no ballooning; processors and their maximum alike.
#[tokio::test]
async fn the_size_is_as_wished() {
    let pool = pool::any().await;
    let provider = pool.connect().await;
    for (vcpus, mib) in [(1, 192), (4, 512)] {
        let wish = GuestWish { vcpus, memory: Bytes::mib(mib), ..pool.wish("sized") };
        let made = provider.create(&wish).await.unwrap();
        let vm = pool.rpc.by_uuid("VM", &made.provider_id).await;
        let record = pool.rpc.call("VM.get_record", json!([vm])).await;
        for field in ["memory_static_max", "memory_dynamic_max", "memory_dynamic_min"] {
            assert_eq!(number(&record[field]), mib << 20, "{field}");
        }
        assert!(number(&record["memory_static_min"]) <= mib << 20);
        for field in ["VCPUs_max", "VCPUs_at_startup"] {
            assert_eq!(number(&record[field]), u64::from(vcpus), "{field}");
        }
        assert_eq!(record["is_a_template"], false);
        delete(&*provider, &wish.key).await;
    }
    pool.finish(&provider).await;
}

pub(crate) fn number(value: &Value) -> u64 {
    value.as_u64().or_else(|| value.as_str()?.parse().ok()).unwrap()
}

/// Network cards replace the template's, in order, with addresses made by xapi. Pitfalls 28 (MACs), 39 (device numbers).
#[tokio::test]
async fn cards_are_on_the_wished_networks() {
    let pool = pool::any().await;
    let provider = pool.connect().await;
    let networks: Vec<(String, Value)> = pool.rpc.all("network").await.into_iter().collect();
    let named = |index: usize| Network {
        name: format!("n{index}"),
        provider_id: networks[index % networks.len()].1["uuid"].as_str().unwrap().to_owned(),
    };
    let wish = GuestWish { networks: vec![named(1), named(0), named(1)], ..pool.wish("wired") };
    let made = provider.create(&wish).await.unwrap();
    let vm = pool.rpc.by_uuid("VM", &made.provider_id).await;
    let vifs = pool.rpc.all("VIF").await;
    let mut cards: Vec<(String, String, String)> = vifs
        .values()
        .filter(|vif| vif["VM"] == vm.as_str())
        .map(|vif| ["device", "network", "MAC"].map(|field| vif[field].as_str().unwrap().to_owned()).into())
        .collect();
    cards.sort();
    let on = |index: usize| networks[index % networks.len()].0.clone();
    let places: Vec<_> = cards.iter().map(|(device, network, _)| (device.as_str(), network.clone())).collect();
    assert_eq!(places, [("0", on(1)), ("1", on(0)), ("2", on(1))]);
    assert!(cards.iter().all(|(_, _, mac)| !mac.is_empty()));

    let wish =
        GuestWish { networks: vec![Network { name: "n".into(), provider_id: "no-such".into() }], ..pool.wish("w") };
    assert_eq!(provider.create(&wish).await.unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(
        provider.find(&wish.key, Freshness::Live).await.unwrap(),
        None,
        "nothing is made for a name that is wrong"
    );
    delete(&*provider, &made.key).await;
    pool.finish(&provider).await;
}

/// The guest starts on the host that the placement chose, and says where it is.
#[tokio::test]
async fn it_starts_on_the_chosen_host() {
    let pool = pool::any().await;
    let provider = pool.connect().await;
    let hosts = provider.inventory().await.unwrap().hosts;
    let reached = pool.hosts_with_storage().await;
    for host in hosts.iter().filter(|host| host.schedulable && reached.contains(&host.id)).take(2) {
        let wish = GuestWish { host: Some(host.id.clone()), ..pool.wish("placed") };
        provider.create(&wish).await.unwrap();
        assert_eq!(provider.start(&wish).await.unwrap().host.as_ref(), Some(&host.name));
        delete(&*provider, &wish.key).await;
    }
    let wish = GuestWish { host: Some("no-such-host".into()), ..pool.wish("lost") };
    provider.create(&wish).await.unwrap();
    assert_eq!(provider.start(&wish).await.unwrap_err().kind, ErrorKind::NotFound);
    delete(&*provider, &wish.key).await;
    pool.finish(&provider).await;
}

/// No room is said as such, with each host's own reason. Pitfalls 29 (`NO_HOSTS_AVAILABLE` says nothing) and 31.
#[tokio::test]
async fn no_room_is_a_matter_of_capacity() {
    let pool = pool::any().await;
    let provider = pool.connect().await;
    let hosts = provider.inventory().await.unwrap().hosts;
    let most = hosts.iter().map(|host| host.memory_total).max().unwrap();
    for host in [None, hosts.first().map(|host| host.id.clone())] {
        let wish = GuestWish { memory: most, host, ..pool.wish("giant") };
        provider.create(&wish).await.unwrap();
        let error = provider.start(&wish).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Capacity, "{error}");
        for host in &hosts {
            assert!(error.message.contains(&host.name), "{error}");
        }
        let there = provider.find(&wish.key, Freshness::Live).await.unwrap().unwrap();
        assert_eq!((there.power, there.ever_started), (Power::Stopped, Some(false)), "it certainly never ran");
        delete(&*provider, &wish.key).await;
    }
    pool.finish(&provider).await;
}

/// What the inventory counts for a guest is what was reckoned beforehand, or less.
#[tokio::test]
async fn a_guest_is_in_the_inventory() {
    let pool = pool::any().await;
    let provider = pool.connect().await;
    let before = provider.inventory().await.unwrap();
    assert!(!before.hosts.is_empty() && before.hosts.iter().any(|host| host.schedulable));
    assert!(before.images.iter().any(|image| image.name == "innkeeper contract template"));
    let wish = pool.wish("counted");
    provider.create(&wish).await.unwrap();
    let on = provider.start(&wish).await.unwrap().host.unwrap();
    let inventory = until("the guest is counted", async || {
        let inventory = provider.inventory().await.unwrap();
        inventory.hosts.iter().any(|host| !host.guests.is_empty()).then_some(inventory)
    })
    .await;
    let host = inventory.hosts.iter().find(|host| host.name == on).unwrap();
    let [used] = host.guests.as_slice() else { panic!("{:?}", host.guests) };
    assert_eq!((used.guest.as_str(), used.vcpus), (wish.key.guest.as_str(), 1));
    let overhead = inventory.overhead;
    let reckoned = wish.memory.0 + overhead.fixed.0 + overhead.per_vcpu.0 + wish.memory.0 / overhead.memory_divisor;
    assert!(used.memory >= wish.memory && used.memory.0 <= reckoned, "{used:?} {reckoned}");
    delete(&*provider, &wish.key).await;
    pool.finish(&provider).await;
}

/// Two owners share a pool and never see each other's guests.
#[tokio::test]
async fn owners_do_not_see_each_other() {
    let pool = pool::any().await;
    let provider = pool.connect().await;
    let mut config = pool.config();
    config.owner = innkeeper::provider::Owner("another".into());
    let another = innkeeper::provider::xapi::XapiProvider::connect(config).await.unwrap();
    let wish = pool.wish("mine");
    provider.create(&wish).await.unwrap();
    assert!(another.list(Freshness::Live).await.unwrap().is_empty());
    assert_eq!(another.find(&wish.key, Freshness::Live).await.unwrap(), None);
    delete(&*another, &wish.key).await;
    assert!(provider.find(&wish.key, Freshness::Live).await.unwrap().is_some());
    another.close().await;
    delete(&*provider, &wish.key).await;
    pool.finish(&provider).await;
}

/// A guest's addresses appear when its tools report them. Pitfall 41.
#[tokio::test]
async fn addresses_come_when_the_guest_reports_them() {
    let Some(pool) = pool::sim(&[]).await else { return };
    let provider = pool.connect().await;
    let wish = pool.wired_wish("addressed").await;
    provider.create(&wish).await.unwrap();
    assert!(provider.start(&wish).await.unwrap().addresses.is_empty());
    let addresses = until("it has an address", async || {
        let guest = provider.find(&wish.key, Freshness::Cached).await.unwrap().unwrap();
        (!guest.addresses.is_empty()).then_some(guest.addresses)
    })
    .await;
    assert!(addresses[0].is_ipv4());
    assert_eq!(provider.stop(&wish.key, StopMode::Hard).await.unwrap().addresses, Vec::<std::net::IpAddr>::new());
    delete(&*provider, &wish.key).await;
}

/// What a full host is taken for is never more than xapi says is free: the pool's own arithmetic. Pitfall 31.
#[tokio::test]
async fn free_memory_is_never_more_than_xapi_says() {
    let pool = pool::any().await;
    let provider = pool.connect().await;
    let wish = pool.wish("weighed");
    provider.create(&wish).await.unwrap();
    provider.start(&wish).await.unwrap();
    for host in provider.inventory().await.unwrap().hosts {
        let used = host.guests.iter().map(|guest| guest.memory.0).sum::<u64>();
        let free = host.memory_total.0.saturating_sub(host.memory_overhead.0 + host.memory_others.0 + used);
        let reference = pool.rpc.by_uuid("host", &host.id).await;
        let told = number(&pool.rpc.call("host.compute_free_memory", json!([reference])).await);
        assert!(free <= told, "{}: {free} > {told}", host.name);
        // We count what the control domain has been given, not what it could be ballooned to.
        let vms = pool.rpc.all("VM").await;
        let controls = vms.values().filter(|vm| vm["is_control_domain"] == true && vm["resident_on"] == *reference);
        let given: u64 = controls.map(|vm| number(&vm["memory_target"])).sum();
        assert!(told - free <= given.max(256 << 20), "{}: {free} is too careful against {told}", host.name);
    }
    delete(&*provider, &wish.key).await;
    pool.finish(&provider).await;
}
