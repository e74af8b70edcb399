//! Removing a guest: its servers of this and all earlier incarnations, and its lease. A late removal of an old incarnation
//! does not touch the new one.

use serde_json::json;
use tokio::time::Instant;

use super::{
    client::Request,
    convert::{self, Seen},
    core::Core,
    fence,
    lease::Holder,
};
use crate::provider::{
    Deletion, ErrorKind, Key, Result,
    rented::{follow::Region as _, snapshot::Rented as _},
};

const ACT: &str = "remove the server";

/// One step of the removal. Removing twice is harmless, so each step looks anew and does what is left.
pub(super) async fn delete(core: &Core, key: &Key) -> Result<Deletion> {
    let turn = core.turn(&key.guest);
    let _turn = turn.lock().await;
    core.look(ACT, &key.guest).await?;
    let (all, later) = {
        let snapshot = core.view.snapshot();
        let (all, later): (Vec<Seen>, Vec<Seen>) =
            snapshot.of_guest(&key.guest).cloned().partition(|seen| seen.guest.key.incarnation <= key.incarnation);
        (all, !later.is_empty())
    };
    if !all.is_empty() {
        for seen in all.iter().filter(|seen| seen.is_live()) {
            remove(core, seen, ACT).await?;
        }
        return Ok(Deletion::InProgress);
    }
    // The lease is of a later incarnation's creation.
    if later {
        return Ok(Deletion::Gone);
    }
    if core.is_fenced() { fenced(core, &key.guest).await } else { waited(core, &key.guest).await }
}

/// Keeps all creations of the guest's servers that may be on their way from coming true.
async fn fenced(core: &Core, guest: &str) -> Result<Deletion> {
    let owner = &core.config.owner;
    let lease = convert::lease_name(owner, guest);
    core.lease(ACT, &lease).give_back().await?;
    fence::lower_all(&core.api, ACT, &convert::fence_name(owner, guest)).await?;
    core.look(ACT, guest).await?;
    let mut snapshot = core.view.snapshot();
    if snapshot.of_guest(guest).next().is_some() {
        return Ok(Deletion::InProgress);
    }
    snapshot.refused(guest, None);
    Ok(Deletion::Gone)
}

/// Waits until no creation of the guest's servers can be on its way any more.
async fn waited(core: &Core, guest: &str) -> Result<Deletion> {
    if core.view.snapshot().may_turn_up(guest, Instant::now()) {
        return Ok(Deletion::InProgress);
    }
    let name = convert::lease_name(&core.config.owner, guest);
    let lease = core.lease(ACT, &name);
    match lease.holder().await? {
        (Holder::Nobody, _) => Ok(Deletion::Gone),
        // Perhaps a creation is on its way whose sender was restarted.
        (_, false) => Ok(Deletion::InProgress),
        (_, true) => {
            lease.give_back().await?;
            Ok(Deletion::Gone)
        }
    }
}

/// Asks Nova to remove a server at once, also where the cloud would keep removed servers for a while: such a one could be
/// brought back, and run beside the guest's next.
pub(super) async fn remove(core: &Core, seen: &Seen, act: &str) -> Result<()> {
    if seen.held {
        core.act(act, seen, json!({ "unlock": null })).await?;
    }
    let id = &seen.guest.provider_id;
    let done = match core.act(act, seen, json!({ "forceDelete": null })).await {
        // Some clouds let nobody do that.
        Err(error) if error.kind == ErrorKind::Auth => {
            core.api.call(act, Request::delete(format!("/servers/{id}"))).await.map(drop)
        }
        other => other,
    };
    match done {
        Err(error) if error.kind != ErrorKind::NotFound => Err(error),
        _ => {
            // The next read tells how far it is.
            core.view.snapshot().forget(id);
            core.view.touch();
            Ok(())
        }
    }
}
