//! Removing a guest: its instances of this and all earlier incarnations, and disks that outlive them. A late removal of
//! an old incarnation does not touch the new one.

use aws_sdk_ec2::types::{Volume, VolumeState};
use tokio::time::Instant;

use super::{
    action::Action,
    amend,
    convert::{self, Seen},
    core::Core,
};
use crate::provider::{
    Deletion, ErrorKind, Key, Power, Result,
    rented::{follow::Region as _, snapshot::Rented as _},
};

const ACT: &str = "remove the instance";

/// One step of the removal. Terminating twice is harmless, so each step looks anew and does what is left.
pub(super) async fn delete(core: &Core, key: &Key) -> Result<Deletion> {
    core.look(ACT, &key.guest).await?;
    let now = Instant::now();
    let earlier = |seen: &&Seen| seen.guest.key.incarnation <= key.incarnation;
    let all: Vec<Seen> = core.view.snapshot().of_guest(&key.guest).filter(earlier).cloned().collect();
    let live: Vec<Seen> = all.iter().filter(|seen| seen.is_live()).cloned().collect();
    if !live.is_empty() {
        return terminate(core, &live).await;
    }
    let going = all.iter().any(|seen| seen.guest.power == Power::Terminating);
    if going || core.view.snapshot().may_turn_up(&key.guest, now) {
        return Ok(Deletion::InProgress);
    }
    volumes(core, key, &all).await
}

async fn terminate(core: &Core, live: &[Seen]) -> Result<Deletion> {
    // Only what we forbade ourselves: the hold is over, or nobody would delete the guest. What somebody else forbade, EC2
    // refuses, and says how to permit it.
    for seen in live.iter().filter(|seen| seen.protection.is_some()) {
        amend::unprotect(core, seen).await?;
    }
    match core.terminate(ACT, live).await {
        Ok(()) => Ok(Deletion::InProgress),
        // Too new to be known everywhere, or gone in this moment. The next look tells.
        Err(error) if error.kind == ErrorKind::NotFound => {
            let mut snapshot = core.view.snapshot();
            for seen in live {
                let id = &seen.guest.provider_id;
                if !snapshot.is_settling(id, Instant::now()) {
                    snapshot.forget(id);
                }
            }
            Ok(Deletion::InProgress)
        }
        Err(error) => Err(error),
    }
}

/// What to do with a volume that carries the guest's tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leftover {
    /// Nothing: it is gone, or somebody has attached it to an instance that is not ours.
    Leave,
    /// It is about to change.
    Wait,
    /// Nobody uses it.
    Delete,
}

fn judge(volume: &Volume, ours: &[Seen]) -> Leftover {
    let is_ours = |id: &str| ours.iter().any(|seen| seen.guest.provider_id == id);
    match volume.state() {
        Some(VolumeState::Deleted) => Leftover::Leave,
        Some(VolumeState::Available | VolumeState::Error) => Leftover::Delete,
        Some(VolumeState::InUse) => {
            let foreign = volume.attachments().iter().filter_map(|attachment| attachment.instance_id());
            if foreign.clone().next().is_some() && !foreign.clone().any(is_ours) {
                return Leftover::Leave;
            }
            Leftover::Wait
        }
        _ => Leftover::Wait,
    }
}

/// All our disks go with their instance. One stays where somebody has switched that off, or detached it.
async fn volumes(core: &Core, key: &Key, ours: &[Seen]) -> Result<Deletion> {
    let volumes = core.api.volumes(ACT, convert::filter_guest(&core.config.owner, &key.guest)).await?;
    let mut left = false;
    let earlier = |volume: &&Volume| convert::incarnation(volume.tags()).is_some_and(|own| own <= key.incarnation);
    for volume in volumes.iter().filter(earlier) {
        let Some(id) = volume.volume_id() else { continue };
        match judge(volume, ours) {
            Leftover::Leave => tracing::warn!(guest = %key, volume = id, "a disk of the guest is in others' use: left"),
            Leftover::Wait => left = true,
            Leftover::Delete => {
                left = true;
                let send = || core.api.ec2().delete_volume().volume_id(id).send();
                match core.api.call(ACT, Action::DeleteVolume, send).await {
                    Err(error) if error.kind != ErrorKind::NotFound => return Err(error),
                    _ => core.view.touch(),
                }
            }
        }
    }
    Ok(if left { Deletion::InProgress } else { Deletion::Gone })
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::types::VolumeAttachment;

    use super::*;

    fn volume(state: VolumeState, attached: Option<&str>) -> Volume {
        let attachment = attached.map(|id| VolumeAttachment::builder().instance_id(id).build());
        Volume::builder().volume_id("vol-1").state(state).set_attachments(attachment.map(|one| vec![one])).build()
    }

    #[test]
    fn only_what_nobody_uses_is_deleted() {
        let key = Key { guest: "uid".into(), incarnation: 1, namespace: "shop".into(), name: "web-0".into() };
        let ours = [Seen::new(convert::terminated(key, "i-0a"), 0)];
        for (state, attached, expected) in [
            (VolumeState::Available, None, Leftover::Delete),
            (VolumeState::Error, None, Leftover::Delete),
            (VolumeState::Creating, None, Leftover::Wait),
            (VolumeState::Deleting, None, Leftover::Wait),
            (VolumeState::Deleted, None, Leftover::Leave),
            (VolumeState::InUse, Some("i-0a"), Leftover::Wait),
            (VolumeState::InUse, Some("i-0b"), Leftover::Leave),
            (VolumeState::InUse, None, Leftover::Wait),
        ] {
            assert_eq!(judge(&volume(state.clone(), attached), &ours), expected, "{state} {attached:?}");
        }
    }
}
