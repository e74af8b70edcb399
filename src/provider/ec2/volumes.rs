//! What is known of the owner's volumes. Pure: time is passed in.
//!
//! EC2's list of instances names their volumes and not their sizes, so volumes are read too, by their tags and all at
//! once: when an instance shows one that is not known yet, and else seldom, as hardly anybody changes them behind our
//! back.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use aws_sdk_ec2::types::Volume;
use tokio::time::Instant;

use super::{
    config::Refresh,
    convert::{self, Attached, Seen},
};
use crate::{api::quantity::Bytes, provider::ObservedDisk};

#[derive(Clone, Debug)]
struct Fact {
    gib: i32,
    /// What its own tag calls it.
    name: Option<String>,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Volumes {
    facts: BTreeMap<String, Fact>,
    /// Attached to instances of ours, and not ours.
    foreign: BTreeSet<String>,
    /// Sizes in GiB that EC2 has accepted and does not show yet.
    grown: BTreeMap<String, i32>,
    /// When the last read of all began.
    read: Option<Instant>,
}

impl Volumes {
    /// Takes in a complete read of the owner's volumes. `attached` are those that instances of ours show.
    pub(super) fn merge(&mut self, volumes: &[Volume], attached: BTreeSet<String>, began: Instant) {
        self.facts = volumes.iter().filter_map(fact).collect();
        self.foreign = attached.into_iter().filter(|id| !self.facts.contains_key(id)).collect();
        self.read = Some(began);
        self.forget_shown();
    }

    /// Takes in what was read of some volumes.
    pub(super) fn learn(&mut self, volumes: &[Volume]) {
        self.facts.extend(volumes.iter().filter_map(fact));
        self.forget_shown();
    }

    fn forget_shown(&mut self) {
        let facts = &self.facts;
        self.grown.retain(|id, gib| facts.get(id).is_some_and(|fact| fact.gib < *gib));
    }

    /// EC2 has accepted a new size. It shows it a little later.
    pub(super) fn grown(&mut self, id: &str, gib: i32) {
        self.grown.insert(id.to_owned(), gib);
    }

    /// What EC2 has accepted and does not show yet.
    pub(super) const fn accepted(&self) -> &BTreeMap<String, i32> {
        &self.grown
    }

    /// Whether all of them should be read again.
    pub(super) fn is_due(&self, live: &[Seen], refresh: &Refresh, now: Instant) -> bool {
        let Some(read) = self.read else { return true };
        let since = now.saturating_duration_since(read);
        since >= refresh.volumes || (since >= refresh.moving && live.iter().any(|seen| self.lacks(seen)))
    }

    /// Whether it carries our tags.
    pub(super) fn is_ours(&self, id: &str) -> bool {
        self.facts.contains_key(id)
    }

    fn is_known(&self, id: &str) -> bool {
        self.facts.contains_key(id) || self.foreign.contains(id)
    }

    fn lacks(&self, seen: &Seen) -> bool {
        seen.volumes.iter().any(|attached| !self.is_known(&attached.volume))
    }

    /// The disks of an instance, by device; none where not all of them are known.
    pub(super) fn disks(&self, seen: &Seen) -> Vec<ObservedDisk> {
        if self.lacks(seen) {
            return Vec::new();
        }
        let disk = |attached: &Attached| {
            let fact = self.facts.get(&attached.volume)?;
            let name = fact.name.clone().or_else(|| seen.disk_at(&attached.device).map(str::to_owned));
            let gib = self.grown.get(&attached.volume).map_or(fact.gib, |grown| fact.gib.max(*grown));
            Some((attached.device.clone(), ObservedDisk { name, size: Bytes::gib(gib.unsigned_abs().into()) }))
        };
        let mut disks: Vec<_> = seen.volumes.iter().filter_map(disk).collect();
        disks.sort_by(|(one, _), (other, _)| one.cmp(other));
        disks.into_iter().map(|(_, disk)| disk).collect()
    }
}

fn fact(volume: &Volume) -> Option<(String, Fact)> {
    let name = convert::tag(volume.tags(), convert::DISK).map(str::to_owned);
    Some((volume.volume_id()?.to_owned(), Fact { gib: volume.size()?, name }))
}

/// Time between two reads of all volumes at rest.
pub(super) const SELDOM: Duration = Duration::from_mins(5);

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::types::Tag;

    use super::*;
    use crate::provider::{Key, ObservedGuest, Power, Stage};

    fn refresh() -> Refresh {
        let second = Duration::from_secs(1);
        Refresh { quick: second * 2, moving: second * 5, slow: second * 15, volumes: SELDOM, lively: second * 20 }
    }

    fn instance(volumes: &[(&str, &str)]) -> Seen {
        let key = Key { guest: "uid".into(), incarnation: 1, namespace: "shop".into(), name: "web-0".into() };
        let mut seen = Seen::new(ObservedGuest::new(key, "i-1", Stage::Complete, Power::Running), 0);
        let attached = |(volume, device): &(&str, &str)| Attached {
            volume: (*volume).into(),
            device: (*device).into(),
            goes_along: true,
        };
        seen.volumes = volumes.iter().map(attached).collect();
        seen.root_device = Some("/dev/xvda".into());
        seen.disk_names.insert("/dev/sdf".into(), "data".into());
        seen
    }

    fn volume(id: &str, size: i32, name: Option<&str>) -> Volume {
        let tags = name.map(|name| vec![Tag::builder().key(convert::DISK).value(name).build()]);
        Volume::builder().volume_id(id).size(size).set_tags(tags).build()
    }

    fn shown(volumes: &Volumes, seen: &Seen) -> Vec<(Option<String>, u64)> {
        volumes.disks(seen).into_iter().map(|disk| (disk.name, disk.size.0 >> 30)).collect()
    }

    #[test]
    fn disks_are_told_when_all_of_them_are_known() {
        let now = Instant::now();
        let seen =
            instance(&[("vol-r", "/dev/xvda"), ("vol-d", "/dev/sdf"), ("vol-l", "/dev/sdg"), ("vol-x", "/dev/sdh")]);
        let mut volumes = Volumes::default();
        assert!(volumes.is_due(&[], &refresh(), now));
        volumes.learn(&[volume("vol-r", 8, None)]);
        assert_eq!(shown(&volumes, &seen), []);
        let all = [volume("vol-r", 8, None), volume("vol-d", 10, None), volume("vol-l", 5, Some("logs"))];
        volumes.merge(&all, ["vol-r", "vol-d", "vol-l", "vol-x"].map(str::to_owned).into(), now);
        let named = |name: &str, size| (Some(name.to_owned()), size);
        let expected = [named("data", 10), named("logs", 5), named("root", 8)];
        assert_eq!(shown(&volumes, &seen), expected, "somebody else's vol-x is left out");
        volumes.grown("vol-d", 20);
        volumes.learn(&[volume("vol-d", 10, None)]);
        assert!(shown(&volumes, &seen).contains(&named("data", 20)), "what was accepted is so, whatever reads show");
        volumes.learn(&[volume("vol-d", 20, None)]);
        assert_eq!(volumes.accepted().len(), 0);
    }

    #[test]
    fn volumes_are_read_seldom_and_soon_where_one_is_unknown() {
        let now = Instant::now();
        let mut volumes = Volumes::default();
        volumes.merge(&[volume("vol-r", 8, None)], ["vol-r".to_owned()].into(), now);
        let known = [instance(&[("vol-r", "/dev/xvda")])];
        assert!(!volumes.is_due(&known, &refresh(), now + Duration::from_secs(299)));
        assert!(volumes.is_due(&known, &refresh(), now + SELDOM));
        let unknown = [instance(&[("vol-new", "/dev/xvda")])];
        assert!(!volumes.is_due(&unknown, &refresh(), now + Duration::from_secs(4)));
        assert!(volumes.is_due(&unknown, &refresh(), now + Duration::from_secs(5)));
    }
}
