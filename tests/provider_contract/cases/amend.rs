//! Size, disks, protection and first boot: at the creation, and changed later.

use std::sync::Arc;

use innkeeper::{
    api::quantity::Bytes,
    provider::{Amendment, Disk, FirstBoot, Freshness, GuestWish, Power, StopMode},
};

use crate::harness::{
    Connect, OWNER, Request, Trouble, World, amended, clear, eventually, key, lodge, needed, only_one, patient,
    supported, until_power,
};

const UNSEEN: &str = "the test cannot see a VM's disks there";

fn disks(wish: GuestWish, disks: &[(&str, u64)]) -> GuestWish {
    let disk = |(name, gib): &(&str, u64)| Disk { name: (*name).into(), size: Bytes::gib(*gib), storage: None };
    GuestWish { disks: disks.iter().map(disk).collect(), ..wish }
}

/// Names and sizes in GiB.
fn named(guest: &innkeeper::provider::ObservedGuest) -> Vec<(&str, u64)> {
    let named = guest.disks.iter().filter_map(|disk| Some((disk.name.as_deref()?, disk.size.0 >> 30)));
    let mut named: Vec<_> = named.filter(|(name, _)| *name != "root").collect();
    named.sort_unstable();
    named
}

pub async fn disks_are_made_with_the_vm(world: &dyn World) {
    let provider = world.connect(Connect::default()).await.unwrap();
    let plain = lodge(&*provider, &world.wish(key(1))).await;
    amended(&*provider, &world.wish(key(1))).await;
    let before = needed(world.disks(&plain.provider_id).await, UNSEEN);
    let root = before.last().unwrap() + 4;
    let wish = disks(world.wish(key(2)), &[("logs", 1), ("data", 2)]);
    let wish = GuestWish { root_disk: Some(Bytes::gib(root)), ..wish };
    let guest = lodge(&*provider, &wish).await;
    let made = amended(&*provider, &wish).await;
    assert_eq!(world.disks(&guest.provider_id).await.unwrap(), [1, 2, root]);
    assert_eq!(named(&made), [("data", 2), ("logs", 1)]);
    only_one(world, &wish.key).await;
}

pub async fn disks_grow_and_are_added_while_it_runs(world: &dyn World) {
    let provider = world.connect(Connect::default()).await.unwrap();
    let wish = disks(world.wish(key(1)), &[("data", 1)]);
    let id = lodge(&*provider, &wish).await.provider_id;
    let before = needed(world.disks(&id).await, UNSEEN);
    amended(&*provider, &wish).await;
    let larger = disks(wish, &[("data", 2), ("logs", 1), ("more", 1)]);
    let guest = amended(&*provider, &larger).await;
    assert_eq!(guest.power, Power::Running);
    assert_eq!(named(&guest), [("data", 2), ("logs", 1), ("more", 1)]);
    let after = world.disks(&id).await.unwrap();
    assert_eq!(after.len(), before.len() + 2);
    assert_eq!(after.iter().sum::<u64>(), before.iter().sum::<u64>() + 3);
    eventually("what was last seen shows the disks", || async {
        let seen = provider.find(&larger.key, Freshness::Cached).await.unwrap()?;
        (named(&seen) == [("data", 2), ("logs", 1), ("more", 1)]).then_some(())
    })
    .await;
}

pub async fn a_disk_is_added_once(world: &dyn World) {
    let wish = world.wish(key(1));
    let provider = world.connect(Connect::default()).await.unwrap();
    let id = lodge(&*provider, &wish).await.provider_id;
    let before = needed(world.disks(&id).await, UNSEEN).len();
    amended(&*provider, &wish).await;
    let mut wished = Vec::new();
    for (trouble, name) in [(Trouble::LostReply, "one"), (Trouble::LostRequest, "two"), (Trouble::HalfReply, "three")] {
        for (skip, part) in ["a", "b", "c"].into_iter().enumerate() {
            let disk = format!("{name}-{part}");
            wished.push((disk, 1));
            let now: Vec<_> = wished.iter().map(|(name, size)| (name.as_str(), *size)).collect();
            let wish = disks(wish.clone(), &now);
            world.trouble(Request::Change, trouble, Some(1)).await;
            // The operator is killed and started anew somewhere on the way.
            for _ in 0..skip {
                let _ = provider.amend(&wish).await;
            }
            amended(&*world.connect(Connect::default()).await.unwrap(), &wish).await;
            world.heal().await;
            assert_eq!(world.disks(&id).await.unwrap().len(), before + wished.len(), "{trouble:?} {part}");
        }
    }
    only_one(world, &wish.key).await;
    clear(&*provider, &wish.key).await;
    assert_eq!(world.left(OWNER).await, Vec::<String>::new());
}

pub async fn disks_go_with_the_vm(world: &dyn World) {
    let provider = world.connect(Connect::default()).await.unwrap();
    let wish = disks(world.wish(key(1)), &[("data", 1)]);
    let id = lodge(&*provider, &wish).await.provider_id;
    needed(world.disks(&id).await, UNSEEN);
    amended(&*provider, &disks(wish.clone(), &[("data", 1), ("logs", 1)])).await;
    clear(&*provider, &wish.key).await;
    assert_eq!(world.left(OWNER).await, Vec::<String>::new());
}

pub async fn the_size_changes_when_it_is_off(world: &dyn World) {
    let provider = world.connect(Connect::default()).await.unwrap();
    let wish = world.wish(key(1));
    let larger = needed(world.larger(&wish), "it has no sizes to choose from in this test");
    let id = lodge(&*provider, &wish).await.provider_id;
    let first = eventually("an answer", || async { patient(supported(provider.amend(&larger).await)) }).await;
    if let Amendment::WhenOff(guest, why) = first {
        assert_eq!(guest.power, Power::Running, "it is not stopped for it");
        assert!(!why.is_empty());
        provider.stop(&wish.key, StopMode::Hard).await.unwrap();
        until_power(&*provider, &wish.key, Power::Stopped).await;
        amended(&*provider, &larger).await;
        provider.start(&larger).await.unwrap();
    }
    let guest = until_power(&*provider, &wish.key, Power::Running).await;
    assert_eq!((&guest.provider_id, &guest.instance_type), (&id, &larger.instance_type));
    only_one(world, &wish.key).await;
}

pub async fn as_wished_is_left_alone(world: &dyn World) {
    let provider = world.connect(Connect::default()).await.unwrap();
    let wish = world.wish(key(1));
    let guest = lodge(&*provider, &wish).await;
    for _ in 0..2 {
        let seen = amended(&*provider, &wish).await;
        assert_eq!((seen.provider_id.as_str(), seen.power), (guest.provider_id.as_str(), Power::Running));
    }
    let nobody = provider.amend(&world.wish(key(2))).await;
    crate::harness::failed(nobody, &[innkeeper::provider::ErrorKind::NotFound]);
}

pub async fn protection_is_switched(world: &dyn World) {
    let provider = world.connect(Connect::default()).await.unwrap();
    let wish = world.wish(key(1));
    let id = lodge(&*provider, &wish).await.provider_id;
    let refuses = async || needed(world.refuses_removal(&id).await, "it cannot refuse a VM's removal");
    assert!(!refuses().await);
    let held = GuestWish { protected: true, ..wish.clone() };
    assert_eq!(amended(&*provider, &held).await.protected, Some(true));
    assert!(refuses().await);
    assert_eq!(amended(&*provider, &wish).await.protected, Some(false));
    assert!(!refuses().await);
    // From the first moment, and a removal that is wished for is not held up by our own protection.
    let held = GuestWish { protected: true, ..world.wish(key(2)) };
    let other = lodge(&*provider, &held).await;
    assert_eq!(world.refuses_removal(&other.provider_id).await, Some(true));
    for key in [&wish.key, &held.key] {
        clear(&*provider, key).await;
    }
    assert_eq!(world.left(OWNER).await, Vec::<String>::new());
}

pub async fn first_boot_is_told(world: &dyn World) {
    const TEXT: &str = "#cloud-config\nhostname: web-1\n";
    let provider = world.connect(Connect::default()).await.unwrap();
    let boot = FirstBoot { user_data: Some(Arc::new(TEXT.into())), network_data: None };
    let wish = GuestWish { first_boot: boot, ..world.wish(key(1)) };
    let guest = eventually("it is made", || async { patient(supported(provider.create(&wish).await)) }).await;
    let told = needed(world.first_boot(&guest.provider_id).await, "the test cannot see what cloud-init is told there");
    assert_eq!(told, TEXT);
}
