//! Guests are found by who they are, and nothing foreign is taken for one.

use innkeeper::provider::{Deletion, Freshness, Key, Owner};

use crate::harness::{Connect, OWNER, World, clear, is_gone, key, lodge};

pub async fn finds_each_guest(world: &dyn World) {
    let provider = world.connect(Connect::default()).await.unwrap();
    for n in 0..3 {
        lodge(&*provider, &world.wish(key(n))).await;
    }
    let other = world.connect(Connect::default()).await.unwrap();
    for n in 0..3 {
        let here = provider.find(&key(n), Freshness::Cached).await.unwrap().unwrap();
        let there = other.find(&key(n), Freshness::Live).await.unwrap().unwrap();
        assert_eq!((&here.key, &here.provider_id), (&key(n), &there.provider_id));
    }
    // The marks count, not the name for people.
    let renamed = Key { name: "renamed".into(), ..key(0) };
    assert!(provider.find(&renamed, Freshness::Live).await.unwrap().is_some());
}

pub async fn absent_is_a_fact(world: &dyn World) {
    let provider = world.connect(Connect::default()).await.unwrap();
    lodge(&*provider, &world.wish(key(1))).await;
    for freshness in [Freshness::Live, Freshness::Cached] {
        assert_eq!(provider.find(&key(2), freshness).await.unwrap(), None);
        assert_eq!(provider.find(&Key { incarnation: 2, ..key(1) }, freshness).await.unwrap(), None);
    }
    assert_eq!(provider.delete(&key(2)).await.unwrap(), Deletion::Gone);
    assert!(provider.find(&key(1), Freshness::Live).await.unwrap().is_some());
}

pub async fn lists_all_pages(world: &dyn World) {
    let provider = world.connect(Connect::default()).await.unwrap();
    let count = world.more_than_a_page();
    for n in 0..count {
        provider.create(&world.wish(key(n))).await.unwrap();
    }
    let fresh = world.connect(Connect::default()).await.unwrap();
    for freshness in [Freshness::Live, Freshness::Cached] {
        let mut guests: Vec<_> =
            fresh.list(freshness).await.unwrap().into_iter().map(|guest| guest.key.guest).collect();
        guests.sort();
        assert_eq!(guests, (0..count).map(|n| key(n).guest).collect::<Vec<_>>(), "{freshness:?}");
    }
}

pub async fn foreign_vms_are_untouched(world: &dyn World) {
    let provider = world.connect(Connect::default()).await.unwrap();
    let wish = world.wish(key(1));
    let foreign = world.plant_foreign(&wish).await;
    assert_eq!(provider.list(Freshness::Live).await.unwrap(), []);
    assert_eq!(provider.find(&wish.key, Freshness::Live).await.unwrap(), None);
    assert_eq!(provider.delete(&wish.key).await.unwrap(), Deletion::Gone);
    assert!(world.are_untouched(&foreign).await, "deleting a guest that is not there");
    let ours = lodge(&*provider, &wish).await;
    assert!(!foreign.contains(&ours.provider_id));
    assert_eq!(provider.list(Freshness::Live).await.unwrap().len(), 1);
    clear(&*provider, &wish.key).await;
    assert!(world.are_untouched(&foreign).await, "deleting a guest that looks alike");
}

pub async fn two_owners_do_not_meet(world: &dyn World) {
    let other = Connect { owner: Owner("another-cluster".into()), ..Connect::default() };
    let (mine, theirs) = (world.connect(Connect::default()).await.unwrap(), world.connect(other).await.unwrap());
    let (my_guest, their_guest) =
        (lodge(&*mine, &world.wish(key(1))).await, lodge(&*theirs, &world.wish(key(1))).await);
    assert_ne!(my_guest.provider_id, their_guest.provider_id, "the same key, and each has a VM of its own");
    assert_eq!(mine.list(Freshness::Live).await.unwrap().len(), 1);
    clear(&*mine, &key(1)).await;
    assert!(is_gone(mine.find(&key(1), Freshness::Live).await.unwrap().as_ref()));
    assert!(world.are_untouched(&[their_guest.provider_id]).await);
    assert_eq!(world.left(OWNER).await, Vec::<String>::new());
    clear(&*theirs, &key(1)).await;
}
