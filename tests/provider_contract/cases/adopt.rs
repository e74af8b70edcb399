//! VMs that were there before, and VMs that are given up.

use innkeeper::provider::{ErrorKind, Freshness, Owner, Power};

use crate::harness::{
    Connect, OWNER, Request, Trouble, World, clear, eventually, failed, key, lodge, needed, patient, supported,
    until_power,
};

const NONE: &str = "the test cannot make a VM by hand there";

pub async fn a_vm_becomes_the_guests(world: &dyn World) {
    let provider = world.connect(Connect::default()).await.unwrap();
    let wish = world.wish(key(1));
    let id = needed(world.plain(&wish).await, NONE);
    let adopted = supported(provider.adopt(&wish.key, &id).await).unwrap();
    assert_eq!((adopted.key.guest.as_str(), adopted.provider_id.as_str()), (wish.key.guest.as_str(), id.as_str()));
    assert!(world.are_untouched(std::slice::from_ref(&id)).await, "it runs on");
    // Again, after a restart too, is success, and nothing is made beside it.
    let restarted = world.connect(Connect::default()).await.unwrap();
    assert_eq!(restarted.adopt(&wish.key, &id).await.unwrap().provider_id, id);
    assert_eq!(restarted.find(&wish.key, Freshness::Live).await.unwrap().unwrap().provider_id, id);
    assert_eq!(restarted.create(&wish).await.unwrap().provider_id, id);
    assert_eq!(restarted.list(Freshness::Live).await.unwrap().len(), 1);
    until_power(&*restarted, &wish.key, Power::Running).await;
    clear(&*restarted, &wish.key).await;
    assert_eq!(world.left(OWNER).await, Vec::<String>::new());
}

pub async fn only_what_is_free_is_adopted(world: &dyn World) {
    let provider = world.connect(Connect::default()).await.unwrap();
    let other = Connect { owner: Owner("another-owner".into()), ..Connect::default() };
    let others = world.connect(other).await.unwrap();
    let (first, second) = (world.wish(key(1)), world.wish(key(2)));
    let id = needed(world.plain(&first).await, NONE);
    supported(provider.adopt(&first.key, &id).await).unwrap();
    failed(provider.adopt(&second.key, &id).await, &[ErrorKind::Invalid]);
    failed(others.adopt(&second.key, &id).await, &[ErrorKind::Invalid]);
    let another = world.plain(&first).await.unwrap();
    failed(provider.adopt(&first.key, &another).await, &[ErrorKind::Invalid]);
    let made = lodge(&*provider, &second).await;
    failed(provider.adopt(&key(3), &made.provider_id).await, &[ErrorKind::Invalid]);
    let nowhere = another.replace(|c: char| c.is_ascii_digit(), "0");
    failed(provider.adopt(&key(3), &nowhere).await, &[ErrorKind::NotFound]);
    assert_eq!(provider.find(&key(3), Freshness::Live).await.unwrap(), None);
    assert!(world.are_untouched(&[id, another, made.provider_id]).await);
}

pub async fn a_released_vm_is_nobodys(world: &dyn World) {
    let provider = world.connect(Connect::default()).await.unwrap();
    let (wish, other) = (world.wish(key(1)), world.wish(key(2)));
    let id = lodge(&*provider, &wish).await.provider_id;
    supported(provider.release(&wish.key).await).unwrap();
    provider.release(&wish.key).await.unwrap();
    assert_eq!(provider.find(&wish.key, Freshness::Live).await.unwrap(), None);
    assert_eq!(world.left(OWNER).await, Vec::<String>::new(), "it carries no mark");
    clear(&*provider, &wish.key).await;
    assert!(world.are_untouched(std::slice::from_ref(&id)).await);
    // Somebody else may have it now.
    assert_eq!(provider.adopt(&other.key, &id).await.unwrap().provider_id, id);
    clear(&*provider, &other.key).await;
    assert!(!world.are_untouched(&[id]).await);
}

pub async fn lost_replies_adopt_and_release(world: &dyn World) {
    let provider = world.connect(Connect::default()).await.unwrap();
    for (n, trouble) in [Trouble::LostReply, Trouble::LostRequest, Trouble::HalfReply].into_iter().enumerate() {
        let wish = world.wish(key(n));
        let id = needed(world.plain(&wish).await, NONE);
        world.trouble(Request::Change, trouble, Some(1)).await;
        eventually("it is adopted", || async { patient(supported(provider.adopt(&wish.key, &id).await)) }).await;
        world.trouble(Request::Change, trouble, Some(1)).await;
        eventually("it is released", || async { patient(provider.release(&wish.key).await) }).await;
        world.heal().await;
        assert_eq!(provider.find(&wish.key, Freshness::Live).await.unwrap(), None, "{trouble:?}");
        assert!(world.are_untouched(&[id]).await);
        assert_eq!(world.left(OWNER).await, Vec::<String>::new(), "{trouble:?}");
    }
}
