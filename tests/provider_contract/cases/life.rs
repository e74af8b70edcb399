//! States, deletion, and what others do to our VMs.

use std::time::Duration;

use futures::StreamExt;
use innkeeper::provider::{Change, Deletion, ErrorKind, Freshness, Power, StopMode};

use crate::harness::{
    Connect, OWNER, Request, Trouble, World, clear, eventually, failed, is_gone, key, lodge, needed, not_here,
    only_one, patient, soon, until_power,
};

pub async fn stops_and_starts(world: &dyn World) {
    let provider = world.connect(Connect::default()).await.unwrap();
    let wish = world.wish(key(1));
    let id = lodge(&*provider, &wish).await.provider_id;
    for mode in [StopMode::USUAL, StopMode::Hard] {
        provider.stop(&wish.key, mode).await.unwrap();
        provider.stop(&wish.key, mode).await.unwrap();
        let stopped = until_power(&*provider, &wish.key, Power::Stopped).await;
        assert!(!stopped.busy);
        assert_eq!(provider.stop(&wish.key, mode).await.unwrap().power, Power::Stopped);
        provider.start(&wish).await.unwrap();
        provider.start(&wish).await.unwrap();
        assert_eq!(until_power(&*provider, &wish.key, Power::Running).await.provider_id, id);
        assert_eq!(provider.start(&wish).await.unwrap().power, Power::Running);
    }
    only_one(world, &wish.key).await;
    let nobody = world.wish(key(2));
    failed(provider.start(&nobody).await, &[ErrorKind::NotFound]);
    failed(provider.stop(&nobody.key, StopMode::USUAL).await, &[ErrorKind::NotFound]);
}

pub async fn delete_is_complete_and_repeatable(world: &dyn World) {
    let provider = world.connect(Connect::default()).await.unwrap();
    let (wish, neighbour) = (world.wish(key(1)), world.wish(key(2)));
    lodge(&*provider, &wish).await;
    let stays = lodge(&*provider, &neighbour).await;
    clear(&*provider, &wish.key).await;
    assert!(is_gone(provider.find(&wish.key, Freshness::Live).await.unwrap().as_ref()));
    for _ in 0..2 {
        assert_eq!(provider.delete(&wish.key).await.unwrap(), Deletion::Gone);
    }
    assert!(world.are_untouched(&[stays.provider_id]).await);
    clear(&*provider, &neighbour.key).await;
    assert_eq!(world.left(OWNER).await, Vec::<String>::new());
}

pub async fn delete_takes_disks_that_stayed(world: &dyn World) {
    let provider = world.connect(Connect::default()).await.unwrap();
    let wish = world.wish(key(1));
    let guest = lodge(&*provider, &wish).await;
    world.keep_disks(&guest.provider_id).await;
    world.meddle(&guest.provider_id, true).await;
    eventually("the VM is gone", || async {
        is_gone(provider.find(&wish.key, Freshness::Live).await.unwrap().as_ref()).then_some(())
    })
    .await;
    assert!(!world.left(OWNER).await.is_empty(), "a disk is left");
    clear(&*provider, &wish.key).await;
    assert_eq!(world.left(OWNER).await, Vec::<String>::new());
}

pub async fn delete_in_any_state(world: &dyn World) {
    let provider = world.connect(Connect::default()).await.unwrap();
    let [new, stopping, stopped] = [1, 2, 3].map(|n| world.wish(key(n)));
    for wish in [&stopping, &stopped] {
        lodge(&*provider, wish).await;
        provider.stop(&wish.key, StopMode::Hard).await.unwrap();
    }
    until_power(&*provider, &stopped.key, Power::Stopped).await;
    provider.start(&stopping).await.ok();
    provider.stop(&stopping.key, StopMode::Hard).await.ok();
    provider.create(&new).await.unwrap();
    for wish in [&new, &stopping, &stopped] {
        clear(&*provider, &wish.key).await;
    }
    assert_eq!(world.left(OWNER).await, Vec::<String>::new());
}

pub async fn delete_with_lost_replies(world: &dyn World) {
    let provider = world.connect(Connect::default()).await.unwrap();
    for (n, trouble) in [Trouble::LostReply, Trouble::LostRequest, Trouble::HalfReply].into_iter().enumerate() {
        let wish = world.wish(key(n));
        lodge(&*provider, &wish).await;
        world.trouble(Request::Delete, trouble, Some(1)).await;
        eventually("it is gone", || async {
            match provider.delete(&wish.key).await {
                Ok(deletion) => (deletion == Deletion::Gone).then_some(()),
                Err(error) => {
                    let known = [ErrorKind::UnknownOutcome, ErrorKind::Unavailable];
                    assert!(known.contains(&error.kind), "{}: {error}", error.kind);
                    None
                }
            }
        })
        .await;
        assert_eq!(world.left(OWNER).await, Vec::<String>::new(), "{trouble:?}");
    }
}

pub async fn a_vm_removed_by_hand_is_not_made_again(world: &dyn World) {
    let provider = world.connect(Connect::default()).await.unwrap();
    let wish = world.wish(key(1));
    let guest = lodge(&*provider, &wish).await;
    world.meddle(&guest.provider_id, true).await;
    eventually("the removal shows", || async {
        let found = provider.find(&wish.key, Freshness::Live).await.unwrap();
        is_gone(found.as_ref()).then_some(())
    })
    .await;
    // Where the provider remembers the VM, the same incarnation is used up: a new one is the caller's decision.
    if let Ok(again) = provider.create(&wish).await
        && is_gone(Some(&again))
    {
        only_one(world, &wish.key).await;
    }
    failed(provider.stop(&key(2), StopMode::Hard).await, &[ErrorKind::NotFound]);
    clear(&*provider, &wish.key).await;
    assert_eq!(world.left(OWNER).await, Vec::<String>::new());
}

pub async fn changes_by_hand_are_noticed(world: &dyn World) {
    let provider = world.connect(Connect::default()).await.unwrap();
    let wish = world.wish(key(1));
    let guest = lodge(&*provider, &wish).await;
    let mut changes = provider.changes();
    let cached = async || provider.find(&wish.key, Freshness::Cached).await.unwrap().map(|guest| guest.power);
    assert_eq!(cached().await, Some(Power::Running));
    world.meddle(&guest.provider_id, false).await;
    eventually("the stop is seen", || async { (cached().await == Some(Power::Stopped)).then_some(()) }).await;
    let told = tokio::time::timeout(soon(), async {
        while let Some(change) = changes.next().await {
            match change {
                Change::Guest { namespace, name } if namespace == wish.key.namespace => return name == wish.key.name,
                Change::Everything => return true,
                _ => {}
            }
        }
        false
    });
    assert!(told.await.unwrap(), "a change of this guest is told");
    provider.close().await;
    let ended = tokio::time::timeout(Duration::from_secs(2), async { while changes.next().await.is_some() {} }).await;
    assert!(ended.is_ok(), "the changes end when the connection is closed");
}

pub async fn cached_follows_own_writes(world: &dyn World) {
    let provider = world.connect(Connect::default()).await.unwrap();
    assert_eq!(provider.list(Freshness::Cached).await.unwrap(), []);
    let wish = world.wish(key(1));
    let id = provider.create(&wish).await.unwrap().provider_id;
    let ids = async || {
        let all = provider.list(Freshness::Cached).await.unwrap();
        all.into_iter().filter(|guest| !is_gone(Some(guest))).map(|guest| guest.provider_id).collect::<Vec<_>>()
    };
    eventually("the list shows it", || async { (ids().await == [id.clone()]).then_some(()) }).await;
    clear(&*provider, &wish.key).await;
    eventually("the list lacks it", || async { ids().await.is_empty().then_some(()) }).await;
}

pub async fn a_system_that_does_not_stop_loses_its_power(world: &dyn World) {
    let provider = world.connect(Connect::default()).await.unwrap();
    let wish = world.wish(key(1));
    let guest = lodge(&*provider, &wish).await;
    if !world.deafen(&guest.provider_id).await {
        not_here("its server cannot let a system ignore a shutdown");
    }
    let patience = Duration::from_secs(1);
    let began = std::time::Instant::now();
    eventually("it is off", || async {
        let stopped = patient(provider.stop(&wish.key, StopMode::TrySoft(patience)).await)?;
        (stopped.power == Power::Stopped).then_some(())
    })
    .await;
    assert!(began.elapsed() >= patience, "its system had its time");
    assert_eq!(until_power(&*provider, &wish.key, Power::Stopped).await.provider_id, guest.provider_id);
}

pub async fn a_soft_stop_cuts_no_power(world: &dyn World) {
    let provider = world.connect(Connect::default()).await.unwrap();
    let wish = world.wish(key(1));
    let guest = lodge(&*provider, &wish).await;
    needed(world.deafen(&guest.provider_id).await.then_some(()), "its server cannot let a system ignore a shutdown");
    let mode = StopMode::Soft(Duration::from_millis(300));
    // A provider that would cut the power in the end refuses at once.
    failed(provider.stop(&wish.key, mode).await, &[ErrorKind::Unavailable, ErrorKind::Invalid]);
    assert!(world.are_untouched(&[guest.provider_id]).await, "it runs on");
}
