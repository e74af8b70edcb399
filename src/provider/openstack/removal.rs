//! Removing a guest: its servers of this and all earlier incarnations, and its lease. A late removal of an old incarnation
//! does not touch the new one.

use serde_json::json;
use tokio::time::Instant;

use super::{
    client::Request,
    convert::{self, Seen},
    core::Core,
    lease::{self, Lease},
};
use crate::provider::{Deletion, ErrorKind, Key, Result, rented::snapshot::Rented as _};

const ACT: &str = "remove the server";

/// One step of the removal. Removing twice is harmless, so each step looks anew and does what is left.
pub(super) async fn delete(core: &Core, key: &Key) -> Result<Deletion> {
    let turn = core.turn(&key.guest);
    let _turn = turn.lock().await;
    core.look(ACT, &key.guest).await?;
    let (all, later) = {
        let snapshot = core.snapshot();
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
    if core.snapshot().may_turn_up(&key.guest, Instant::now()) {
        return Ok(Deletion::InProgress);
    }
    let name = convert::lease_name(&core.config.owner, &key.guest);
    match lease::look(&core.api, ACT, &name, core.config.settling).await? {
        Lease::Free => Ok(Deletion::Gone),
        // Perhaps a creation is on its way whose sender was restarted.
        Lease::Held => Ok(Deletion::InProgress),
        Lease::Stale => {
            lease::give_back(&core.api, ACT, &name).await?;
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
            core.snapshot().forget(id);
            core.touch();
            Ok(())
        }
    }
}
