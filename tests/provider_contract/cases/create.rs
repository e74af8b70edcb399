//! Create is idempotent, whatever gets lost.

use std::time::Duration;

use futures::future::join_all;
use innkeeper::provider::{ErrorKind, Freshness, Key, Power, Stage};

use crate::harness::{
    Connect, OWNER, Request, Trouble, World, clear, eventually, failed, is_gone, key, lodge, only_one, patient,
    until_power,
};

pub async fn makes_one_vm(world: &dyn World) {
    let provider = world.connect(Connect::default()).await.unwrap();
    let guest = lodge(&*provider, &world.wish(key(1))).await;
    assert_eq!(guest.key, key(1));
    assert_eq!(guest.stage, Stage::Complete);
    assert_eq!(guest.power, Power::Running);
    assert!(!guest.busy);
    assert_eq!(only_one(world, &key(1)).await, guest.provider_id);
}

pub async fn again_is_the_same_vm(world: &dyn World) {
    let provider = world.connect(Connect::default()).await.unwrap();
    let wish = world.wish(key(1));
    let first = provider.create(&wish).await.unwrap();
    let second = provider.create(&wish).await.unwrap();
    lodge(&*provider, &wish).await;
    let third = provider.create(&wish).await.unwrap();
    assert_eq!(first.provider_id, second.provider_id);
    assert_eq!(first.provider_id, third.provider_id);
    assert_eq!(only_one(world, &key(1)).await, first.provider_id);
}

pub async fn after_a_crash_is_the_same_vm(world: &dyn World) {
    let wish = world.wish(key(1));
    let before = world.connect(Connect::default()).await.unwrap().create(&wish).await.unwrap();
    let after = world.connect(Connect::default()).await.unwrap().create(&wish).await.unwrap();
    assert_eq!(before.provider_id, after.provider_id);
    only_one(world, &key(1)).await;
}

pub async fn at_the_same_time_is_one_vm(world: &dyn World) {
    let provider = world.connect(Connect::default()).await.unwrap();
    let wish = world.wish(key(1));
    for created in join_all((0..6).map(|_| provider.create(&wish))).await {
        if let Some(guest) = patient(created) {
            assert_eq!(guest.provider_id, only_one(world, &key(1)).await);
        }
    }
    lodge(&*provider, &wish).await;
    only_one(world, &key(1)).await;
}

/// Two operators at once: an old leader that does not know yet that it is none. Whatever they are told, one VM runs.
pub async fn from_two_sides_is_one_vm(world: &dyn World) {
    let sides = [world.connect(Connect::default()).await.unwrap(), world.connect(Connect::default()).await.unwrap()];
    let wish = world.wish(key(1));
    for created in join_all((0..6).map(|n| sides[n % 2].create(&wish))).await {
        if let Err(error) = created {
            assert!(!matches!(error.kind, ErrorKind::Auth | ErrorKind::NotFound), "{}: {error}", error.kind);
        }
    }
    lodge(&*sides[0], &wish).await;
    only_one(world, &key(1)).await;
    clear(&*sides[1], &wish.key).await;
    assert_eq!(world.left(OWNER).await, Vec::<String>::new());
}

/// The reply to the creation is lost in some way, and then everything works.
async fn survives(world: &dyn World, trouble: Trouble) {
    let provider = world.connect(Connect::default()).await.unwrap();
    let wish = world.wish(key(1));
    world.trouble(Request::Create, trouble, Some(1)).await;
    match provider.create(&wish).await {
        Ok(guest) => assert_eq!(guest.key, wish.key),
        Err(error) => assert_eq!(error.kind, ErrorKind::UnknownOutcome, "{error}"),
    }
    let found = eventually("the VM shows", || async { provider.find(&wish.key, Freshness::Live).await.unwrap() }).await;
    let guest = lodge(&*provider, &wish).await;
    assert_eq!(guest.provider_id, found.provider_id);
    only_one(world, &key(1)).await;
}

pub async fn lost_reply_is_one_vm(world: &dyn World) {
    survives(world, Trouble::LostReply).await;
}

pub async fn half_reply_is_one_vm(world: &dyn World) {
    survives(world, Trouble::HalfReply).await;
}

pub async fn lost_reply_and_crash_is_one_vm(world: &dyn World) {
    let wish = world.wish(key(1));
    world.trouble(Request::Create, Trouble::LostReply, Some(1)).await;
    let before = world.connect(Connect { deadline: Duration::from_secs(2), ..Connect::default() }).await.unwrap();
    // A busy machine may not come as far as the request that makes it.
    eventually("the request is sent", || async {
        before.create(&wish).await.map_or_else(|error| error.kind != ErrorKind::Unavailable, |_| true).then_some(())
    })
    .await;
    drop(before);
    let after = world.connect(Connect::default()).await.unwrap();
    eventually("the VM shows", || async { after.find(&wish.key, Freshness::Live).await.unwrap() }).await;
    lodge(&*after, &wish).await;
    only_one(world, &key(1)).await;
}

pub async fn lost_request_makes_nothing_twice(world: &dyn World) {
    let provider = world.connect(Connect::default()).await.unwrap();
    let wish = world.wish(key(1));
    world.trouble(Request::Create, Trouble::LostRequest, Some(1)).await;
    failed(provider.create(&wish).await, &[ErrorKind::UnknownOutcome, ErrorKind::Unavailable]);
    lodge(&*provider, &wish).await;
    only_one(world, &key(1)).await;
}

pub async fn lost_reply_then_delete_leaves_nothing(world: &dyn World) {
    let provider = world.connect(Connect::default()).await.unwrap();
    let wish = world.wish(key(1));
    world.trouble(Request::Create, Trouble::LostReply, Some(1)).await;
    let _ = provider.create(&wish).await;
    clear(&*provider, &wish.key).await;
    assert_eq!(world.left(OWNER).await, Vec::<String>::new());
}

pub async fn a_new_vm_that_reads_lack_is_not_absent(world: &dyn World) {
    world.hide_new(Duration::from_millis(300)).await;
    let provider = world.connect(Connect::default()).await.unwrap();
    let wish = world.wish(key(1));
    let made = provider.create(&wish).await.unwrap();
    for freshness in [Freshness::Live, Freshness::Cached] {
        let found = provider.find(&wish.key, freshness).await.unwrap();
        assert_eq!(found.map(|guest| guest.provider_id).as_ref(), Some(&made.provider_id), "{freshness:?}");
    }
    assert_eq!(provider.create(&wish).await.unwrap().provider_id, made.provider_id);
    assert!(provider.list(Freshness::Live).await.unwrap().iter().any(|guest| guest.provider_id == made.provider_id));
    // Deleting it in that moment works too.
    clear(&*provider, &wish.key).await;
    eventually("nothing is left", || async { world.left(OWNER).await.is_empty().then_some(()) }).await;
}

pub async fn a_new_incarnation_is_another_vm(world: &dyn World) {
    let provider = world.connect(Connect::default()).await.unwrap();
    let first = world.wish(key(1));
    let old = lodge(&*provider, &first).await;
    clear(&*provider, &first.key).await;
    let second = world.wish(Key { incarnation: 2, ..key(1) });
    let new = lodge(&*provider, &second).await;
    assert_ne!(old.provider_id, new.provider_id);
    assert_eq!(new.key.incarnation, 2);
    assert!(is_gone(provider.find(&first.key, Freshness::Live).await.unwrap().as_ref()));
    until_power(&*provider, &second.key, Power::Running).await;
    // A late deletion of the old one does not touch the new one.
    clear(&*provider, &first.key).await;
    assert!(world.are_untouched(&[new.provider_id]).await);
    clear(&*provider, &second.key).await;
    assert!(is_gone(provider.find(&second.key, Freshness::Live).await.unwrap().as_ref()));
    assert_eq!(world.left(OWNER).await, Vec::<String>::new());
}
