//! Failures are told apart, end in time, and keep secrets.

use std::{
    error::Error,
    time::{Duration, Instant},
};

use innkeeper::provider::{Deletion, ErrorKind, Freshness, Provider, ProviderError, StopMode};

use crate::harness::{Connect, Request, Trouble, World, clear, failed, key, lodge, only_one};

/// All that an error says, in every way in which it can be written down.
fn words(error: &ProviderError) -> String {
    let mut words = format!("{error} {error:?} {error:#?}");
    let mut source = error.source();
    while let Some(error) = source {
        words.extend([error.to_string(), format!("{error:?}")]);
        source = error.source();
    }
    words
}

fn keeps_secrets(world: &dyn World, error: &ProviderError) {
    let words = words(error);
    for secret in world.secrets() {
        assert!(!words.contains(&secret), "a secret stands in: {error}");
    }
}

/// Every operation that reads first fails with one of these kinds, and none says that the guest is not there.
async fn all_fail(world: &dyn World, provider: &dyn Provider, kinds: &[ErrorKind]) {
    let wish = world.wish(key(1));
    let errors = [
        failed(provider.find(&wish.key, Freshness::Live).await, kinds),
        failed(provider.list(Freshness::Live).await, kinds),
        failed(provider.inventory().await, kinds),
        failed(provider.create(&wish).await, kinds),
        failed(provider.start(&wish).await, kinds),
        failed(provider.stop(&wish.key, StopMode::Hard).await, kinds),
        failed(provider.delete(&wish.key).await, kinds),
    ];
    for error in &errors {
        keeps_secrets(world, error);
    }
}

pub async fn unreachable_is_not_absent(world: &dyn World) {
    let connect = Connect { deadline: Duration::from_secs(1), ..Connect::default() };
    let provider = world.connect(connect.clone()).await;
    lodge(&*provider, &world.wish(key(1))).await;
    world.trouble(Request::Any, Trouble::LostRequest, None);
    all_fail(world, &*provider, &[ErrorKind::Unavailable]).await;
    // A connection that has never seen anything knows nothing either.
    let fresh = world.connect(connect).await;
    all_fail(world, &*fresh, &[ErrorKind::Unavailable]).await;
    failed(fresh.find(&key(1), Freshness::Cached).await, &[ErrorKind::Unavailable]);
    failed(fresh.list(Freshness::Cached).await, &[ErrorKind::Unavailable]);
    world.heal();
    assert!(fresh.find(&key(1), Freshness::Live).await.unwrap().is_some());
    only_one(world, &key(1)).await;
}

pub async fn half_a_list_is_not_absent(world: &dyn World) {
    let provider = world.connect(Connect { deadline: Duration::from_secs(1), ..Connect::default() }).await;
    lodge(&*provider, &world.wish(key(1))).await;
    world.trouble(Request::Read, Trouble::HalfReply, None);
    failed(provider.find(&key(1), Freshness::Live).await, &[ErrorKind::Unavailable]);
    failed(provider.list(Freshness::Live).await, &[ErrorKind::Unavailable]);
    failed(provider.delete(&key(1)).await, &[ErrorKind::Unavailable]);
    failed(provider.create(&world.wish(key(2))).await, &[ErrorKind::Unavailable]);
    world.heal();
    assert!(world.made_for(&key(2).guest).await.is_empty(), "nothing is made before the look succeeds");
}

pub async fn a_broken_server_is_not_absent(world: &dyn World) {
    let provider = world.connect(Connect { deadline: Duration::from_secs(1), ..Connect::default() }).await;
    lodge(&*provider, &world.wish(key(1))).await;
    world.trouble(Request::Any, Trouble::Broken, None);
    all_fail(world, &*provider, &[ErrorKind::Unavailable]).await;
    world.heal();
    // One failed read is made good without anybody noticing.
    world.trouble(Request::Read, Trouble::Broken, Some(1));
    let patient = world.connect(Connect::default()).await;
    assert!(patient.find(&key(1), Freshness::Live).await.unwrap().is_some());
}

pub async fn silence_ends_at_the_deadline(world: &dyn World) {
    let deadline = Duration::from_secs(1);
    let provider = world.connect(Connect { deadline, ..Connect::default() }).await;
    lodge(&*provider, &world.wish(key(1))).await;
    world.trouble(Request::Any, Trouble::Silence, None);
    let began = Instant::now();
    failed(provider.find(&key(1), Freshness::Live).await, &[ErrorKind::Unavailable]);
    assert!(began.elapsed() < deadline * 2, "it took {:?}", began.elapsed());
    let began = Instant::now();
    failed(provider.list(Freshness::Live).await, &[ErrorKind::Unavailable]);
    assert!(began.elapsed() < deadline * 2, "it took {:?}", began.elapsed());
}

pub async fn an_unanswered_create_is_unknown(world: &dyn World) {
    let deadline = Duration::from_secs(1);
    let provider = world.connect(Connect { deadline, ..Connect::default() }).await;
    let wish = world.wish(key(1));
    world.trouble(Request::Create, Trouble::Silence, Some(1));
    let began = Instant::now();
    failed(provider.create(&wish).await, &[ErrorKind::UnknownOutcome]);
    assert!(began.elapsed() < deadline + Duration::from_secs(8), "it took {:?}", began.elapsed());
    lodge(&*provider, &wish).await;
    only_one(world, &key(1)).await;
}

pub async fn no_room_is_capacity(world: &dyn World) {
    let provider = world.connect(Connect::default()).await;
    let wish = world.wish(key(1));
    world.trouble(Request::Create, Trouble::NoRoom, Some(1));
    let error = failed(create_and_start(&*provider, &wish).await, &[ErrorKind::Capacity]);
    assert!(error.code.is_some(), "the provider's own code helps people: {error}");
    lodge(&*provider, &wish).await;
    only_one(world, &key(1)).await;
    clear(&*provider, &key(1)).await;
}

/// A provider finds out that it has no room when it makes the VM or when it starts it.
async fn create_and_start(
    provider: &dyn Provider,
    wish: &innkeeper::provider::GuestWish,
) -> innkeeper::provider::Result<()> {
    provider.create(wish).await?;
    provider.start(wish).await?;
    Ok(())
}

pub async fn throttling_is_borne(world: &dyn World) {
    let provider = world.connect(Connect::default()).await;
    let wish = world.wish(key(1));
    world.trouble(Request::Any, Trouble::Throttled, Some(2));
    lodge(&*provider, &wish).await;
    only_one(world, &key(1)).await;
    world.trouble(Request::Any, Trouble::Throttled, None);
    let hasty = world.connect(Connect { deadline: Duration::from_secs(1), ..Connect::default() }).await;
    let began = Instant::now();
    all_fail(world, &*hasty, &[ErrorKind::Throttled]).await;
    assert!(began.elapsed() < Duration::from_secs(15), "it took {:?}", began.elapsed());
}

pub async fn wrong_credentials_are_auth(world: &dyn World) {
    let provider = world.connect(Connect { wrong_credentials: true, ..Connect::default() }).await;
    all_fail(world, &*provider, &[ErrorKind::Auth]).await;
    assert!(world.made_for(&key(1).guest).await.is_empty());
}

pub async fn a_missing_image_is_not_found(world: &dyn World) {
    let provider = world.connect(Connect::default()).await;
    let wish = world.wish_without_image(key(1));
    let error = failed(provider.create(&wish).await, &[ErrorKind::NotFound]);
    assert!(error.to_string().contains(&wish.image), "it says which: {error}");
    assert_eq!(provider.delete(&wish.key).await.unwrap(), Deletion::Gone);
    assert!(world.made_for(&key(1).guest).await.is_empty());
}

pub async fn nonsense_is_invalid(world: &dyn World) {
    let provider = world.connect(Connect::default()).await;
    let wish = world.wish_invalid(key(1));
    failed(provider.create(&wish).await, &[ErrorKind::Invalid]);
    clear(&*provider, &wish.key).await;
    assert_eq!(world.left(crate::harness::OWNER).await, Vec::<String>::new());
}

pub async fn closed_is_unavailable(world: &dyn World) {
    let provider = world.connect(Connect::default()).await;
    lodge(&*provider, &world.wish(key(1))).await;
    provider.close().await;
    all_fail(world, &*provider, &[ErrorKind::Unavailable]).await;
    provider.close().await;
}
