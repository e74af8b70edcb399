//! What has to be done so that an instance is as it is wished. Pure.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::{Volume, VolumeState};

use super::convert::{self, ROOT, SET, Seen};
use crate::{
    api::quantity::Bytes,
    provider::{Disk, GuestWish, Power},
};

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Make a volume larger.
    Grow { volume: String, disk: String, gib: i32 },
    /// Make a volume for a disk that has none. It is attached when it is there.
    Make { disk: String, gib: i32, kind: Option<String> },
    /// Attach a volume of the guest's.
    Attach { volume: String, disk: String, device: String },
    /// Let a volume that was attached later go with the instance.
    Bind { device: String },
    /// A volume is between two states.
    Wait { disk: String, state: String },
    /// Change the type. Only while the instance is stopped.
    Resize { to: String },
    /// Have EC2 refuse its termination.
    Protect,
    /// Have EC2 refuse it no longer.
    Unprotect,
}

/// What has to be done, and what cannot be done as the instance is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Outlook {
    pub now: Vec<Step>,
    /// Why it has to be off.
    pub later: Option<String>,
}

/// EBS sizes are whole GiB.
pub(super) fn gib(size: Bytes) -> i32 {
    i32::try_from(size.0.div_ceil(1 << 30)).unwrap_or(i32::MAX)
}

/// Compares an instance and the guest's volumes, whether attached or not, with what is wished. `grown`: sizes that EC2 has
/// accepted and may not show yet.
pub(super) fn outlook(wish: &GuestWish, seen: &Seen, volumes: &[Volume], grown: &BTreeMap<String, i32>) -> Outlook {
    let mut outlook = Outlook::default();
    protection(wish, seen, &mut outlook);
    let disks = Disks::new(seen, volumes, grown);
    if let (Some(size), Some(root)) = (wish.root_disk, disks.of(ROOT)) {
        disks.grow(root, ROOT, size, &mut outlook);
    }
    for disk in &wish.disks {
        disks.bring(disk, &mut outlook);
    }
    match wish.instance_type.as_ref().filter(|wished| seen.guest.instance_type.as_ref() != Some(wished)) {
        Some(wished) if seen.guest.power == Power::Stopped => {
            outlook.now.push(Step::Resize { to: wished.clone() });
        }
        Some(wished) => {
            outlook.later =
                Some(format!("EC2 changes the type of an instance, here to {wished}, only while it is off"));
        }
        None => {}
    }
    outlook
}

fn protection(wish: &GuestWish, seen: &Seen, outlook: &mut Outlook) {
    match (wish.protected, seen.protection.as_deref()) {
        (true, Some(SET)) | (false, None) => {}
        (true, _) => outlook.now.push(Step::Protect),
        // What somebody else switched on carries no tag of ours, and stays.
        (false, Some(_)) => outlook.now.push(Step::Unprotect),
    }
}

/// The guest's volumes and where they are.
struct Disks<'a> {
    seen: &'a Seen,
    volumes: &'a [Volume],
    grown: &'a BTreeMap<String, i32>,
}

impl<'a> Disks<'a> {
    fn new(seen: &'a Seen, volumes: &'a [Volume], grown: &'a BTreeMap<String, i32>) -> Self {
        Self { seen, volumes, grown }
    }

    /// The device of this instance that a volume is attached to.
    fn device(&self, volume: &'a Volume) -> Option<&'a str> {
        let id = self.seen.guest.provider_id.as_str();
        volume.attachments().iter().find(|one| one.instance_id() == Some(id))?.device()
    }

    /// The volume of a disk: the attached one, else the one that was made first. There are two only where the size was
    /// changed between a creation whose answer was lost and the next.
    fn of(&self, disk: &str) -> Option<&'a Volume> {
        let named = self.volumes.iter().filter(|volume| name(self.seen, volume, self.device(volume)) == Some(disk));
        let exists = named.filter(|one| !matches!(one.state(), Some(VolumeState::Deleted | VolumeState::Deleting)));
        exists.min_by_key(|volume| {
            let made = volume.create_time().and_then(|time| time.to_millis().ok());
            (self.device(volume).is_none(), made, volume.volume_id())
        })
    }

    fn bring(&self, disk: &Disk, outlook: &mut Outlook) {
        let Some(volume) = self.of(&disk.name) else {
            let kind = disk.storage.clone();
            return outlook.now.push(Step::Make { disk: disk.name.clone(), gib: gib(disk.size), kind });
        };
        let id = volume.volume_id().unwrap_or_default().to_owned();
        match (volume.state(), self.device(volume)) {
            (Some(VolumeState::InUse), Some(device)) => {
                let shown = self.seen.volumes.iter().find(|one| one.volume == id);
                match shown.map(|one| one.goes_along) {
                    // Those that were made with the instance have no tag of their own, and go with it or as people decide.
                    _ if convert::tag(volume.tags(), convert::DISK).is_none() => {}
                    Some(true) => {}
                    Some(false) => outlook.now.push(Step::Bind { device: device.to_owned() }),
                    None => outlook.now.push(Step::Wait { disk: disk.name.clone(), state: "attaching".to_owned() }),
                }
                self.grow(volume, &disk.name, disk.size, outlook);
            }
            (Some(VolumeState::Available), _) => {
                let asked = outlook.now.iter().filter_map(|step| match step {
                    Step::Attach { device, .. } => Some(device.as_str()),
                    _ => None,
                });
                if let Some(device) = self.free(&asked.collect::<Vec<_>>()) {
                    outlook.now.push(Step::Attach { volume: id, disk: disk.name.clone(), device });
                }
            }
            (state, _) => {
                let state = state.map_or("unknown", VolumeState::as_str).to_owned();
                outlook.now.push(Step::Wait { disk: disk.name.clone(), state });
            }
        }
    }

    fn grow(&self, volume: &Volume, disk: &str, size: Bytes, outlook: &mut Outlook) {
        let id = volume.volume_id().unwrap_or_default();
        let is = volume.size().unwrap_or(i32::MAX).max(self.grown.get(id).copied().unwrap_or_default());
        if is < gib(size) {
            outlook.now.push(Step::Grow { volume: id.to_owned(), disk: disk.to_owned(), gib: gib(size) });
        }
    }

    /// The first device name that nothing has. EC2 takes `/dev/sdf` and `/dev/xvdf` for one.
    fn free(&self, asked: &[&str]) -> Option<String> {
        let shown = self.seen.volumes.iter().map(|one| one.device.as_str());
        let attached = self.volumes.iter().filter_map(|volume| self.device(volume));
        let taken: Vec<char> = shown.chain(attached).chain(asked.iter().copied()).filter_map(letter).collect();
        ('f'..='z').find(|letter| !taken.contains(letter)).map(device)
    }
}

/// The device names of disks that are made with an instance, in order.
pub(super) fn devices(taken: &[&str]) -> impl Iterator<Item = String> {
    let taken: Vec<char> = taken.iter().filter_map(|device| letter(device)).collect();
    ('f'..='z').filter(move |letter| !taken.contains(letter)).map(device)
}

fn device(letter: char) -> String {
    format!("/dev/sd{letter}")
}

/// The letter of `/dev/sdf`, `/dev/xvdf` or `/dev/sda1`.
fn letter(device: &str) -> Option<char> {
    let name = device.strip_prefix("/dev/sd").or_else(|| device.strip_prefix("/dev/xvd"))?;
    name.chars().next()
}

/// What the guest calls a volume. `None`: it is not the guest's.
pub(super) fn name<'a>(seen: &'a Seen, volume: &'a Volume, device: Option<&str>) -> Option<&'a str> {
    let own = convert::tag(volume.tags(), convert::DISK);
    own.or_else(|| device.and_then(|device| seen.disk_at(device)))
}

#[cfg(test)]
#[path = "alter_tests.rs"]
mod tests;
