//! What is for sale, what may be bought, and what reading it costs.

use std::time::Duration;

use aws_sdk_ec2::types::InstanceLifecycleType;
use fault_proxy::Rule;
use futures::StreamExt;
use innkeeper::{
    api::quantity::Bytes,
    provider::{
        Change, Disk, ErrorKind, Freshness, GuestWish, Inventory, Key, Power, PriceOrigin, Provider,
        ec2::{Ec2Config, Ec2Provider, Wanted},
    },
};
use serde_json::json;

use super::{Ec2World, own::count};
use crate::harness::{Connect, Trouble, World, amended, clear, eventually, failed, key, lodge, only_one, until_power};

pub async fn run(name: &str, world: &Ec2World) {
    match name {
        "market::catalogue_is_priced_and_read_seldom" => catalogue_is_priced_and_read_seldom(world).await,
        "market::prices_of_the_list_where_it_answers" => prices_of_the_list_where_it_answers(world).await,
        "market::full_type_in_one_zone_only" => full_type_in_one_zone_only(world).await,
        "market::quota_puts_the_type_aside" => quota_puts_the_type_aside(world).await,
        "market::spot_is_taken_back" => spot_is_taken_back(world).await,
        "market::volumes_cool_down" => volumes_cool_down(world).await,
        "market::missing_permissions_are_named" => missing_permissions_are_named(world).await,
        _ => panic!("there is no case {name}"),
    }
}

async fn catalogue_is_priced_and_read_seldom(world: &Ec2World) {
    let wanted = Wanted { families: vec!["t3".into(), "m6i".into()], ..Wanted::default() };
    let deadline = Duration::from_secs(30);
    let config = Ec2Config { catalogue: Some(wanted), deadline, ..world.config(Connect::default()) };
    let provider = Ec2Provider::connect(config.clone()).await.unwrap();
    world.proxy.add(super::rule("DescribeInstanceTypes", Trouble::Broken));
    failed(provider.inventory().await, &[ErrorKind::Unavailable]);
    world.heal().await;
    let provider = Ec2Provider::connect(config).await.unwrap();
    let offerings = provider.inventory().await.unwrap().offerings;
    let one = offerings.iter().find(|one| one.instance_type == "t3.small").expect("t3.small is on sale");
    assert_eq!((one.vcpus, one.memory), (2, Bytes::gib(2)));
    assert_eq!(one.zones, ["eu-west-1a", "eu-west-1b", "eu-west-1c"]);
    assert_eq!(one.hourly.unwrap().amount.to_string(), "0.0228", "as Amazon lists it");
    assert!(one.spot_hourly.is_some());
    assert!(offerings.iter().all(|one| ["t3", "m6i"].contains(&one.instance_type.split('.').next().unwrap())));
    assert!(!offerings.iter().any(|one| one.instance_type.contains("metal")));
    let calls = provider.calls();
    for _ in 0..3 {
        assert_eq!(provider.inventory().await.unwrap().offerings, offerings);
    }
    let others = |calls: std::collections::BTreeMap<innkeeper::provider::ec2::Action, u64>| {
        calls.into_iter().filter(|(action, _)| action.name() != "DescribeInstances").collect::<Vec<_>>()
    };
    assert_eq!(others(provider.calls()), others(calls), "types, zones, prices and subnets are remembered");
}

async fn prices_of_the_list_where_it_answers(world: &Ec2World) {
    let open = async || {
        let wanted = Wanted { families: vec!["t3".into()], price_list: true, ..Wanted::default() };
        let deadline = Duration::from_secs(30);
        let config = Ec2Config { catalogue: Some(wanted), deadline, ..world.config(Connect::default()) };
        Ec2Provider::connect(config).await.unwrap()
    };
    let small = |inventory: &Inventory| {
        let one = inventory.offerings.iter().find(|one| one.instance_type == "t3.small").unwrap();
        one.hourly.unwrap().amount.to_string()
    };
    // Not permitted: the table that comes with the operator, and it is said why.
    world.moto.post("denied", json!(["GetProducts"])).await;
    let provider = open().await;
    let inventory = provider.inventory().await.unwrap();
    assert_eq!(small(&inventory), "0.0228");
    let prices = inventory.prices.unwrap();
    assert_eq!(prices.source, PriceOrigin::Shipped);
    assert!(prices.trouble.unwrap().contains("cannot read the price list"));
    let asked = count(world, "GetProducts");
    provider.inventory().await.unwrap();
    assert_eq!(count(world, "GetProducts"), asked, "it is not asked again at once");
    // Two vCPU and 2 GiB at the prices of the emulator.
    world.moto.post("denied", json!([])).await;
    let provider = open().await;
    let inventory = provider.inventory().await.unwrap();
    assert_eq!(small(&inventory), "0.022");
    let prices = inventory.prices.unwrap();
    assert_eq!((prices.source, prices.trouble), (PriceOrigin::PriceList, None));
    assert!(count(world, "GetProducts") - asked > 1, "in pages");
    let asked = count(world, "GetProducts");
    assert_eq!(small(&provider.inventory().await.unwrap()), "0.022");
    assert_eq!(count(world, "GetProducts"), asked, "it is remembered");
    // Half of a list is none.
    world.proxy.add(Rule { skip: 1, ..super::rule("GetProducts", Trouble::Broken) });
    let inventory = open().await.inventory().await.unwrap();
    assert_eq!((small(&inventory).as_str(), inventory.prices.unwrap().source), ("0.0228", PriceOrigin::Shipped));
}

async fn full_type_in_one_zone_only(world: &Ec2World) {
    let provider = world.connect(Connect::default()).await.unwrap();
    let mut changes = provider.changes();
    let here = json!({ "InstanceType": "t3.small", "Placement.AvailabilityZone": "eu-west-1a" });
    let full =
        json!({ "action": "RunInstances", "error": "InsufficientInstanceCapacity", "count": 100, "where": here });
    world.moto.post("faults", full).await;
    let first = GuestWish { zone: Some("eu-west-1a".into()), ..world.wish(key(1)) };
    failed(provider.create(&first).await, &[ErrorKind::Capacity]);
    let [aside] = &provider.set_aside()[..] else { panic!("{:?}", provider.set_aside()) };
    assert_eq!(
        (aside.instance_type.as_str(), aside.zone.as_deref(), aside.spot),
        ("t3.small", Some("eu-west-1a"), false)
    );
    let told = tokio::time::timeout(Duration::from_secs(5), async {
        while let Some(change) = changes.next().await {
            if change == Change::Pool {
                return true;
            }
        }
        false
    });
    assert!(told.await.unwrap(), "the pool's status is to say so at once");
    for (n, other) in [
        GuestWish { zone: Some("eu-west-1b".into()), ..world.wish(key(1)) },
        GuestWish { instance_type: Some("t3.medium".into()), ..GuestWish { key: key(2), ..first.clone() } },
    ]
    .into_iter()
    .enumerate()
    {
        lodge(&*provider, &other).await;
        only_one(world, &key(n + 1)).await;
    }
    assert_eq!(provider.set_aside().len(), 1, "others are not touched");
}

async fn quota_puts_the_type_aside(world: &Ec2World) {
    let provider = world.connect(Connect::default()).await.unwrap();
    for (n, code) in
        ["VcpuLimitExceeded", "InstanceLimitExceeded", "MaxSpotInstanceCountExceeded"].into_iter().enumerate()
    {
        world.moto.post("faults", json!({ "action": "RunInstances", "error": code })).await;
        let wish = GuestWish { spot: n == 2, ..world.wish(key(n)) };
        let error = failed(provider.create(&wish).await, &[ErrorKind::Capacity]);
        assert_eq!(error.code.as_deref(), Some(code));
        assert!(provider.set_aside().iter().any(|aside| aside.code == code && aside.spot == wish.spot));
        lodge(&*provider, &wish).await;
        assert_eq!(provider.set_aside(), [], "it is allowed again");
    }
}

async fn spot_is_taken_back(world: &Ec2World) {
    let provider = world.connect(Connect::default()).await.unwrap();
    let wish = GuestWish { spot: true, ..world.wish(key(1)) };
    let id = lodge(&*provider, &wish).await.provider_id;
    let [instance] = &world.by_ids(std::slice::from_ref(&id)).await[..] else { panic!("one instance") };
    assert_eq!(instance.instance_lifecycle(), Some(&InstanceLifecycleType::Spot));
    // Two minutes before, it is announced to who follows.
    let mut changes = provider.changes();
    world.moto.post("warn", json!(id)).await;
    let warned = eventually("the warning is seen", || async {
        let found = provider.find(&wish.key, Freshness::Cached).await.unwrap().unwrap();
        found.interrupted_at.map(|at| (found.power, at))
    })
    .await;
    let left = warned.1.duration_since(jiff::Timestamp::now()).as_secs();
    assert!(warned.0 == Power::Running && (60..=120).contains(&left), "{warned:?}");
    let [aside] = &provider.set_aside()[..] else { panic!("{:?}", provider.set_aside()) };
    assert_eq!((aside.instance_type.as_str(), aside.spot), ("t3.small", true), "who replaces it goes elsewhere");
    let told = futures::FutureExt::now_or_never(changes.next());
    assert!(told.is_some(), "it is told");
    world.moto.post("interrupt", json!(id)).await;
    let gone = until_power(&*provider, &wish.key, Power::Terminated).await;
    let at = gone.interrupted_at.expect("EC2 says that it took it back");
    assert!(jiff::Timestamp::now().duration_since(at).abs() < jiff::SignedDuration::from_secs(30), "{at}");
    assert_eq!(provider.create(&wish).await.unwrap().power, Power::Terminated, "this incarnation is used up");
    let next = GuestWish { key: Key { incarnation: 2, ..key(1) }, ..wish };
    assert_eq!(lodge(&*provider, &next).await.interrupted_at, None);
    clear(&*provider, &next.key).await;
}

async fn volumes_cool_down(world: &Ec2World) {
    let provider = world.connect(Connect::default()).await.unwrap();
    let disks = |sizes: &[(&str, u64)]| {
        let disk = |(name, gib): &(&str, u64)| Disk { name: (*name).into(), size: Bytes::gib(*gib), storage: None };
        GuestWish { disks: sizes.iter().map(disk).collect(), ..world.wish(key(1)) }
    };
    let id = lodge(&*provider, &disks(&[("data", 1)])).await.provider_id;
    world.moto.set("cooldown", Duration::from_hours(6)).await;
    amended(&*provider, &disks(&[("data", 2)])).await;
    let error = failed(provider.amend(&disks(&[("data", 3), ("logs", 1)])).await, &[ErrorKind::Unavailable]);
    assert_eq!(error.code.as_deref(), Some("VolumeModificationRateExceeded"));
    assert!(error.retry_after.unwrap() >= Duration::from_mins(10), "{error:?}");
    assert!(error.message.contains("disk data"), "{error}");
    // What else was wished for is not held up.
    eventually("the other disk is made", || async {
        let _ = provider.amend(&disks(&[("data", 3), ("logs", 1)])).await;
        (world.disks(&id).await.unwrap()[..2] == [1, 2]).then_some(())
    })
    .await;
    world.moto.set("cooldown", Duration::ZERO).await;
    amended(&*provider, &disks(&[("data", 3), ("logs", 1)])).await;
    assert_eq!(world.disks(&id).await.unwrap()[..2], [1, 3]);
}

async fn missing_permissions_are_named(world: &Ec2World) {
    let open = async || {
        let image = Some(super::moto::IMAGE.to_owned());
        let config = Ec2Config { usual_image: image, ..world.config(Connect::default()) };
        Ec2Provider::connect(config).await.unwrap()
    };
    let names = async |provider: &Ec2Provider| {
        provider.inventory().await.unwrap().missing.into_iter().map(|one| one.what).collect::<Vec<_>>()
    };
    let deny = async |actions: &[&str]| world.moto.post("denied", json!(actions)).await;
    deny(&["RunInstances", "StopInstances", "ModifyVolume"]).await;
    let provider = open().await;
    assert_eq!(names(&provider).await, ["ec2:RunInstances"], "there is nothing yet to ask about the others");
    let asked = count(world, "RunInstances");
    assert_eq!(names(&provider).await, ["ec2:RunInstances"]);
    assert_eq!(count(world, "RunInstances"), asked, "it is not asked with every read");
    deny(&["StopInstances", "ModifyVolume"]).await;
    let wish = world.wish(key(1));
    let id = lodge(&*provider, &wish).await.provider_id;
    amended(&*provider, &wish).await;
    assert_eq!(names(&provider).await, ["ec2:ModifyVolume", "ec2:StopInstances"]);
    deny(&[]).await;
    let provider = open().await;
    amended(&*provider, &wish).await;
    assert_eq!(names(&provider).await, Vec::<String>::new());
    assert!(world.are_untouched(&[id]).await, "it was only asked");
    only_one(world, &wish.key).await;
}
