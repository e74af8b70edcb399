//! Failures are told apart, end in time, and keep secrets.

use std::{
    error::Error,
    time::{Duration, Instant},
};

use innkeeper::provider::{ErrorKind, Freshness, Provider, ProviderError, StopMode};

use crate::harness::{Connect, Request, Trouble, World, clear, eventually, failed, key, lodge, only_one, patient};

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
        failed(provider.create(&wish).await, kinds),
        failed(provider.start(&wish).await, kinds),
        failed(provider.stop(&wish.key, StopMode::Hard).await, kinds),
        failed(provider.delete(&wish.key).await, kinds),
    ];
    for error in &errors {
        keeps_secrets(world, error);
    }
    // Who follows the pool's events may know its inventory without asking.
    if let Err(error) = provider.inventory().await {
        assert!(kinds.contains(&error.kind), "{}: {error}", error.kind);
        keeps_secrets(world, &error);
    }
}

pub async fn unreachable_is_not_absent(world: &dyn World) {
    let connect = Connect { deadline: Duration::from_secs(1), ..Connect::default() };
    let provider = world.connect(connect.clone()).await.unwrap();
    lodge(&*provider, &world.wish(key(1))).await;
    world.trouble(Request::Any, Trouble::LostRequest, None).await;
    all_fail(world, &*provider, &[ErrorKind::Unavailable]).await;
    // A connection that has never seen anything knows nothing either.
    match world.connect(connect).await {
        Ok(fresh) => {
            all_fail(world, &*fresh, &[ErrorKind::Unavailable]).await;
            failed(fresh.find(&key(1), Freshness::Cached).await, &[ErrorKind::Unavailable]);
            failed(fresh.list(Freshness::Cached).await, &[ErrorKind::Unavailable]);
        }
        Err(error) => assert_eq!(error.kind, ErrorKind::Unavailable, "{error}"),
    }
    world.heal().await;
    let healed = async || provider.find(&key(1), Freshness::Live).await.ok().flatten();
    eventually("it answers again", || async { healed().await }).await;
    only_one(world, &key(1)).await;
}

pub async fn half_a_list_is_not_absent(world: &dyn World) {
    let provider = world.connect(Connect { deadline: Duration::from_secs(1), ..Connect::default() }).await.unwrap();
    lodge(&*provider, &world.wish(key(1))).await;
    world.trouble(Request::Read, Trouble::HalfReply, None).await;
    failed(provider.find(&key(1), Freshness::Live).await, &[ErrorKind::Unavailable]);
    failed(provider.list(Freshness::Live).await, &[ErrorKind::Unavailable]);
    failed(provider.delete(&key(1)).await, &[ErrorKind::Unavailable]);
    failed(provider.create(&world.wish(key(2))).await, &[ErrorKind::Unavailable]);
    world.heal().await;
    assert!(world.made_for(&key(2).guest).await.is_empty(), "nothing is made before the look succeeds");
}

pub async fn a_broken_server_is_not_absent(world: &dyn World) {
    let provider = world.connect(Connect { deadline: Duration::from_secs(1), ..Connect::default() }).await.unwrap();
    lodge(&*provider, &world.wish(key(1))).await;
    world.trouble(Request::Any, Trouble::Broken, None).await;
    all_fail(world, &*provider, &[ErrorKind::Unavailable]).await;
    world.heal().await;
    // One failed answer passes.
    world.trouble(Request::Read, Trouble::Broken, Some(1)).await;
    let found = async || patient(provider.find(&key(1), Freshness::Live).await);
    assert!(eventually("it answers again", || async { found().await }).await.is_some());
}

pub async fn silence_ends_at_the_deadline(world: &dyn World) {
    let deadline = Duration::from_secs(1);
    let provider = world.connect(Connect { deadline, ..Connect::default() }).await.unwrap();
    lodge(&*provider, &world.wish(key(1))).await;
    world.trouble(Request::Any, Trouble::Silence, None).await;
    let began = Instant::now();
    failed(provider.find(&key(1), Freshness::Live).await, &[ErrorKind::Unavailable]);
    // An operation may be a few requests, a new login among them.
    assert!(began.elapsed() < deadline * 8, "it took {:?}", began.elapsed());
    let began = Instant::now();
    failed(provider.list(Freshness::Live).await, &[ErrorKind::Unavailable]);
    // An operation may be a few requests, a new login among them.
    assert!(began.elapsed() < deadline * 8, "it took {:?}", began.elapsed());
}

pub async fn an_unanswered_create_is_unknown(world: &dyn World) {
    let deadline = Duration::from_secs(1);
    let provider = world.connect(Connect { deadline, ..Connect::default() }).await.unwrap();
    let wish = world.wish(key(1));
    world.trouble(Request::Create, Trouble::Silence, Some(1)).await;
    let began = Instant::now();
    failed(provider.create(&wish).await, &[ErrorKind::UnknownOutcome]);
    assert!(began.elapsed() < deadline + Duration::from_secs(8), "it took {:?}", began.elapsed());
    lodge(&*provider, &wish).await;
    only_one(world, &key(1)).await;
}

pub async fn no_room_is_capacity(world: &dyn World) {
    let provider = world.connect(Connect::default()).await.unwrap();
    let wish = world.wish(key(1));
    world.trouble(Request::Create, Trouble::NoRoom, Some(1)).await;
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
    let provider = world.connect(Connect::default()).await.unwrap();
    let wish = world.wish(key(1));
    world.trouble(Request::Any, Trouble::Throttled, Some(2)).await;
    lodge(&*provider, &wish).await;
    only_one(world, &key(1)).await;
    world.trouble(Request::Any, Trouble::Throttled, None).await;
    let hasty = world.connect(Connect { deadline: Duration::from_secs(1), ..Connect::default() }).await.unwrap();
    let began = Instant::now();
    all_fail(world, &*hasty, &[ErrorKind::Throttled]).await;
    assert!(began.elapsed() < Duration::from_secs(15), "it took {:?}", began.elapsed());
}

pub async fn wrong_credentials_are_auth(world: &dyn World) {
    match world.connect(Connect { wrong_credentials: true, ..Connect::default() }).await {
        Ok(provider) => all_fail(world, &*provider, &[ErrorKind::Auth]).await,
        Err(error) => {
            assert_eq!(error.kind, ErrorKind::Auth, "{error}");
            keeps_secrets(world, &error);
        }
    }
    assert!(world.made_for(&key(1).guest).await.is_empty());
}

pub async fn a_missing_image_is_not_found(world: &dyn World) {
    let provider = world.connect(Connect::default()).await.unwrap();
    let wish = world.wish_without_image(key(1));
    let error = failed(provider.create(&wish).await, &[ErrorKind::NotFound]);
    assert!(error.to_string().contains(&wish.image), "it says which: {error}");
    clear(&*provider, &wish.key).await;
    assert!(world.made_for(&key(1).guest).await.is_empty());
}

pub async fn nonsense_is_invalid(world: &dyn World) {
    let provider = world.connect(Connect::default()).await.unwrap();
    let wish = world.wish_invalid(key(1));
    failed(provider.create(&wish).await, &[ErrorKind::Invalid]);
    clear(&*provider, &wish.key).await;
    assert_eq!(world.left(crate::harness::OWNER).await, Vec::<String>::new());
}

pub async fn closed_is_unavailable(world: &dyn World) {
    let provider = world.connect(Connect::default()).await.unwrap();
    lodge(&*provider, &world.wish(key(1))).await;
    provider.close().await;
    all_fail(world, &*provider, &[ErrorKind::Unavailable]).await;
    provider.close().await;
}
