//! Removing a guest: its instances of this and all earlier incarnations, and disks that outlive them. A late removal of an old
//! incarnation does not touch the new one.

use reqwest::Method;
use tokio::time::Instant;

use super::{
    action::Action,
    client::Request,
    convert::Seen,
    core::Core,
    identity,
    wire::{Disk, last},
};
use crate::provider::{
    Deletion, ErrorKind, Key, Result,
    rented::{follow::Region as _, snapshot::Rented as _},
};

const ACT: &str = "remove the instance";

/// One step of the removal. Deleting twice is harmless, so each step looks anew and does what is left.
pub(super) async fn delete(core: &Core, key: &Key) -> Result<Deletion> {
    core.look(ACT, &key.guest).await?;
    let earlier = |seen: &&Seen| seen.guest.key.incarnation <= key.incarnation;
    let all: Vec<Seen> = core.view.snapshot().of_guest(&key.guest).filter(earlier).cloned().collect();
    for seen in &all {
        let under_way = core.standing(ACT, &seen.guest.provider_id).await?;
        // Asked anew it would begin anew, and how the first one ends would be lost.
        if seen.is_live() && !under_way.is_some_and(|following| following.removes) {
            remove(core, seen).await?;
        }
    }
    if !all.is_empty() || core.view.snapshot().may_turn_up(&key.guest, Instant::now()) {
        return Ok(Deletion::InProgress);
    }
    let deletion = disks(core, key).await?;
    if deletion == Deletion::Gone {
        core.forget_attempts(&key.guest);
    }
    Ok(deletion)
}

async fn remove(core: &Core, seen: &Seen) -> Result<()> {
    match core.delete(ACT, seen).await {
        // Too new to be known everywhere, or gone in this moment. The next look tells.
        Err(error) if error.kind == ErrorKind::NotFound => {
            let mut snapshot = core.view.snapshot();
            if !snapshot.is_settling(&seen.guest.provider_id, Instant::now()) {
                snapshot.forget(&seen.guest.provider_id);
            }
            Ok(())
        }
        result => result,
    }
}

/// What to do with a disk that carries the guest's labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leftover {
    /// Nothing: somebody has attached it to an instance that is not ours.
    Leave,
    /// It is about to change.
    Wait,
    /// Nobody uses it.
    Delete,
}

fn judge(disk: &Disk) -> Leftover {
    match disk.status.as_str() {
        _ if !disk.users.is_empty() => Leftover::Leave,
        "CREATING" | "DELETING" | "RESTORING" => Leftover::Wait,
        _ => Leftover::Delete,
    }
}

/// All our disks go with their instance. One stays where somebody has switched that off, or detached it, or where it was never
/// attached. The guest has no instance any more, so whoever uses one is somebody else.
async fn disks(core: &Core, key: &Key) -> Result<Deletion> {
    let mut left = false;
    let disks = core.disks(ACT, &key.guest).await?;
    let earlier = |disk: &&Disk| identity::incarnation(&disk.labels).is_some_and(|own| own <= key.incarnation);
    for disk in disks.iter().filter(earlier) {
        match judge(disk) {
            Leftover::Leave => {
                tracing::warn!(guest = %key, disk = disk.name, "a disk of the guest is in others' use: left");
            }
            Leftover::Wait => left = true,
            Leftover::Delete => {
                left = true;
                let zone = last(&disk.zone);
                let request = Request::new(Method::DELETE, format!("zones/{zone}/disks/{}", disk.name));
                match core.api.send_change(ACT, Action::DeleteDisk, request).await {
                    Ok(operation) => core.api.ended(ACT, zone, &operation).await?,
                    Err(error) if error.kind == ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
    Ok(if left { Deletion::InProgress } else { Deletion::Gone })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_uses_is_deleted() {
        for (status, users, expected) in [
            ("READY", 0, Leftover::Delete),
            ("FAILED", 0, Leftover::Delete),
            ("CREATING", 0, Leftover::Wait),
            ("DELETING", 0, Leftover::Wait),
            ("READY", 1, Leftover::Leave),
        ] {
            let disk = Disk { status: status.into(), users: vec!["x".into(); users], ..Disk::default() };
            assert_eq!(judge(&disk), expected, "{status} {users}");
        }
    }
}
