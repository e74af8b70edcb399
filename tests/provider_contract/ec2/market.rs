//! What is for sale, what may be bought, and what reading it costs.

use std::time::{Duration, Instant};

use aws_sdk_ec2::types::InstanceLifecycleType;
use futures::StreamExt;
use innkeeper::{
    api::quantity::Bytes,
    provider::{
        Change, Disk, ErrorKind, Freshness, GuestWish, Key, Power, Provider,
        ec2::{Ec2Config, Ec2Provider, Refresh, Wanted},
    },
};
use serde_json::json;

use super::{Ec2World, own::count};
use crate::harness::{Connect, Trouble, World, amended, clear, eventually, failed, key, lodge, only_one, until_power};

pub async fn run(name: &str, world: &Ec2World) {
    match name {
        "market::catalogue_is_priced_and_read_seldom" => catalogue_is_priced_and_read_seldom(world).await,
        "market::full_type_in_one_zone_only" => full_type_in_one_zone_only(world).await,
        "market::quota_puts_the_type_aside" => quota_puts_the_type_aside(world).await,
        "market::spot_is_taken_back" => spot_is_taken_back(world).await,
        "market::volumes_cool_down" => volumes_cool_down(world).await,
        "market::missing_permissions_are_named" => missing_permissions_are_named(world).await,
        "market::a_thousand_instances_at_rest" => a_thousand_instances_at_rest(world).await,
        _ => panic!("there is no case {name}"),
    }
}

async fn catalogue_is_priced_and_read_seldom(world: &Ec2World) {
    let wanted = Wanted { families: vec!["t3".into(), "m6i".into()], subnets: Vec::new() };
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

/// A pool of a thousand guests that nobody touches: what the operator asks of EC2 in a minute, and how soon it hears of a
/// change made behind its back.
async fn a_thousand_instances_at_rest(world: &Ec2World) {
    let wish = world.wish(key(1));
    world.launch_many(&wish, 1000, &super::marks(&wish.key, crate::harness::OWNER)).await;
    let usual = Ec2Config::new("", super::Credentials::DefaultChain, Connect::default().owner).refresh;
    // Nothing is changed here first, so there is nothing to wait for.
    let refresh = Refresh { lively: Duration::from_secs(1), ..usual };
    // The emulator takes seconds to list a thousand instances, and more on a busy machine.
    let deadline = Duration::from_mins(4);
    let config = Ec2Config { page_size: 1000, refresh, deadline, ..world.config(Connect::default()) };
    let provider = Ec2Provider::connect(config).await.unwrap();
    let calls = |named: &str| -> u64 {
        let all = provider.calls().into_iter();
        all.filter(|(action, _)| named.is_empty() || action.name() == named).map(|(_, count)| count).sum()
    };
    provider.inventory().await.unwrap();
    let (asked, began) = (calls(""), Instant::now());
    provider.inventory().await.unwrap();
    let (look, read) = (calls("") - asked, began.elapsed());
    let permissions = asked - look;
    let mut changes = provider.changes();
    eventually_slowly("all volumes were read, and it has come to rest", || async {
        (calls("DescribeVolumes") > 0 && provider.is_at_rest()).then_some(())
    })
    .await;
    let volumes = calls("DescribeVolumes");
    // Looks of the poller, of the pool's controller, of all volumes, and at the permissions.
    let share = |calls: u64, every: Duration| f64::from(u32::try_from(calls).unwrap()) * 60.0 / every.as_secs_f64();
    let a_minute = share(look, usual.slow)
        + share(look, Duration::from_secs(30))
        + share(volumes, usual.volumes)
        + share(permissions, Duration::from_hours(1));
    let kept = provider.find(&wish.key, Freshness::Cached).await.unwrap().unwrap();
    while futures::FutureExt::now_or_never(changes.next()).flatten().is_some() {}
    let (before, since) = (calls(""), Instant::now());
    world.meddle(&kept.provider_id, false).await;
    loop {
        let change = tokio::time::timeout(Duration::from_mins(3), changes.next()).await.unwrap().unwrap();
        if matches!(change, Change::Guest { .. }) {
            break;
        }
    }
    let news = since.elapsed();
    println!(
        "1000 instances: {a_minute:.1} calls a minute at rest; a change behind our back is told after {news:.1?}, of which \
         the emulator's list takes {read:.1?}"
    );
    assert!(a_minute <= 12.0, "{:?}", provider.calls());
    assert!(calls("") - before <= 3, "it was at rest: {:?}", provider.calls());
    assert!(news.saturating_sub(read) <= Duration::from_secs(30), "{news:?}");
}

/// As [`eventually`], for what takes longer.
async fn eventually_slowly<T, Fut: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> Fut) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(began.elapsed() < Duration::from_mins(4), "{what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
