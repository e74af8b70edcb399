//! What only EC2 has: tokens, offerings, instances that are remembered after their end.

use std::time::Duration;

use aws_sdk_ec2::types::{HttpTokensState, InstanceStateName};
use fault_proxy::{Fault, Rule};
use innkeeper::provider::{ErrorKind, Freshness, GuestWish, Key, Power};

use super::{Ec2World, market, refusal, state};
use crate::harness::{Connect, Request, Trouble, World, clear, eventually, failed, key, lodge, only_one, until_power};

pub const NAMES: &[&str] = &[
    "own::full_zone_is_asked_once",
    "own::next_offering_after_a_full_zone",
    "own::used_up_token_makes_nothing",
    "own::second_instance_is_terminated",
    "own::launches_are_safe_by_default",
    "own::encoded_messages_are_hidden",
    "market::catalogue_is_priced_and_read_seldom",
    "market::prices_of_the_list_where_it_answers",
    "market::full_type_in_one_zone_only",
    "market::quota_puts_the_type_aside",
    "market::spot_is_taken_back",
    "market::volumes_cool_down",
    "market::missing_permissions_are_named",
];

pub async fn run(name: &str, world: &Ec2World) {
    match name {
        "own::full_zone_is_asked_once" => full_zone_is_asked_once(world).await,
        "own::next_offering_after_a_full_zone" => next_offering_after_a_full_zone(world).await,
        "own::used_up_token_makes_nothing" => used_up_token_makes_nothing(world).await,
        "own::second_instance_is_terminated" => second_instance_is_terminated(world).await,
        "own::launches_are_safe_by_default" => launches_are_safe_by_default(world).await,
        "own::encoded_messages_are_hidden" => encoded_messages_are_hidden(world).await,
        _ => market::run(name, world).await,
    }
}

pub fn count(world: &Ec2World, action: &str) -> usize {
    world.proxy.log(0).iter().filter(|entry| entry.action == action).count()
}

/// `InsufficientInstanceCapacity` is an HTTP 500, and yet it is an answer and no failure to repeat.
async fn full_zone_is_asked_once(world: &Ec2World) {
    let provider = world.connect(Connect::default()).await.unwrap();
    world.trouble(Request::Create, Trouble::NoRoom, None).await;
    let error = failed(provider.create(&world.wish(key(1))).await, &[ErrorKind::Capacity]);
    assert_eq!(error.code.as_deref(), Some("InsufficientInstanceCapacity"));
    assert_eq!(count(world, "RunInstances"), 1);
    let [aside] = &provider.set_aside()[..] else { panic!("{:?}", provider.set_aside()) };
    assert_eq!((aside.instance_type.as_str(), aside.code.as_str()), ("t3.small", "InsufficientInstanceCapacity"));
    world.heal().await;
    lodge(&*provider, &world.wish(key(1))).await;
    assert_eq!(provider.set_aside(), [], "there is room again");
}

async fn next_offering_after_a_full_zone(world: &Ec2World) {
    let provider = world.connect(Connect::default()).await.unwrap();
    let first = GuestWish { zone: Some("eu-west-1a".into()), ..world.wish(key(1)) };
    let others = [
        first.clone(),
        GuestWish { zone: Some("eu-west-1b".into()), ..first.clone() },
        GuestWish { instance_type: Some("t3.medium".into()), ..first.clone() },
    ];
    for (n, other) in others.into_iter().enumerate() {
        // EC2 has bound the first token to the first request, although it found no room.
        world.moto.no_capacity_once().await;
        let key = key(n);
        failed(provider.create(&GuestWish { key: key.clone(), ..first.clone() }).await, &[ErrorKind::Capacity]);
        let other = GuestWish { key: key.clone(), ..other };
        let guest = lodge(&*provider, &other).await;
        assert_eq!(guest.instance_type, other.instance_type);
        only_one(world, &key).await;
    }
}

/// Terminated so long ago that reads do not show it any more, and the incarnation is still used up.
async fn used_up_token_makes_nothing(world: &Ec2World) {
    world.moto.set("forget", Duration::ZERO).await;
    let wish = world.wish(key(1));
    let before = world.connect(Connect::default()).await.unwrap();
    let guest = lodge(&*before, &wish).await;
    world.meddle(&guest.provider_id, true).await;
    let provider = world.connect(Connect::default()).await.unwrap();
    eventually("EC2 has forgotten it", || async {
        provider.find(&wish.key, Freshness::Live).await.unwrap().is_none().then_some(())
    })
    .await;
    assert_eq!(provider.create(&wish).await.unwrap().power, Power::Terminated);
    only_one(world, &wish.key).await;
    let next = world.wish(Key { incarnation: 2, ..key(1) });
    lodge(&*provider, &next).await;
    world.moto.set("forget", Duration::from_hours(1)).await;
}

async fn second_instance_is_terminated(world: &Ec2World) {
    let wish = world.wish(key(1));
    let mut ids = Vec::new();
    for suffix in ["0000000000000001", "0000000000000002"] {
        let token = format!("{}-1-{suffix}", wish.key.guest);
        ids.push(world.launch(&wish, &token, &super::marks(&wish.key, crate::harness::OWNER)).await);
    }
    let provider = world.connect(Connect::default()).await.unwrap();
    let kept = provider.find(&wish.key, Freshness::Live).await.unwrap().unwrap().provider_id;
    assert_eq!(provider.list(Freshness::Live).await.unwrap().len(), 1, "one VM for one guest");
    // Following the pool is enough, nobody has to ask for it.
    let _changes = provider.changes();
    let surplus: Vec<_> = ids.into_iter().filter(|id| *id != kept).collect();
    eventually("the second one is terminated", || async {
        let left = world.by_ids(&surplus).await;
        left.iter().all(|one| state(one) == Some(&InstanceStateName::Terminated)).then_some(())
    })
    .await;
    assert_eq!(until_power(&*provider, &wish.key, Power::Running).await.provider_id, kept);
    clear(&*provider, &wish.key).await;
}

async fn launches_are_safe_by_default(world: &Ec2World) {
    let provider = world.connect(Connect::default()).await.unwrap();
    let id = lodge(&*provider, &world.wish(key(1))).await.provider_id;
    let [instance] = &world.by_ids(&[id]).await[..] else { panic!("one instance") };
    assert_eq!(instance.metadata_options().unwrap().http_tokens(), Some(&HttpTokensState::Required));
    let tags = instance.tags().iter().map(|tag| (tag.key().unwrap(), tag.value().unwrap()));
    let mut tags: Vec<_> = tags.collect();
    tags.sort_unstable();
    let key = key(1);
    let mut marks = super::marks(&key, crate::harness::OWNER).to_vec();
    marks.sort_unstable();
    assert_eq!(tags, marks);
    let disk = instance.block_device_mappings()[0].ebs().unwrap();
    assert_eq!(disk.delete_on_termination(), Some(true));
    let volumes = world.direct.describe_volumes().volume_ids(disk.volume_id().unwrap()).send().await.unwrap();
    assert_eq!(volumes.volumes()[0].encrypted(), Some(true));
    assert!(volumes.volumes()[0].tags().iter().any(|tag| tag.key() == Some("innkeeper.dev/guest")));
}

/// EC2 encodes the whole refused request and who sent it into its message.
async fn encoded_messages_are_hidden(world: &Ec2World) {
    let provider = world.connect(Connect::default()).await.unwrap();
    let Fault::Answer { status, body, content_type } = refusal(403, "UnauthorizedOperation") else { panic!() };
    let said = "You are not authorized. Encoded authorization failure message: c2VjcmV0LXJlcXVlc3Q";
    let body = body.replace("refused by the test", said);
    world.proxy.add(Rule::on("RunInstances", Fault::Answer { status, body, content_type }));
    let error = failed(provider.create(&world.wish(key(1))).await, &[ErrorKind::Auth]);
    assert!(error.to_string().contains("You are not authorized"), "{error}");
    assert!(!format!("{error} {error:?}").contains("c2VjcmV0"), "{error:?}");
}
