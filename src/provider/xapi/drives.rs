//! A VM's drives with the disks in them, and which of a guest's disks is which. Pure.

use super::{
    identity::drive_key,
    records::{Vbd, Vdi},
    value::Ref,
};
use crate::{api::quantity::Bytes, provider::ObservedDisk};

/// What guests call the disk that they boot from.
pub(super) const ROOT: &str = "root";
/// The name of the disk with what cloud-init is told. No disk of a guest can be called so.
pub(super) const FIRST_BOOT: &str = "/first-boot";

/// A drive with a disk.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Drive {
    pub(super) vbd: Ref<Vbd>,
    pub(super) record: Vbd,
    pub(super) disk: Vdi,
    /// What we called the disk when we made it.
    pub(super) name: Option<String>,
}

impl Drive {
    pub(super) fn vdi(&self) -> &Ref<Vdi> {
        &self.record.vdi
    }

    fn position(&self) -> u32 {
        self.record.userdevice.parse().unwrap_or(u32::MAX)
    }
}

/// A VM's drives by position. CDs are none.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Drives(Vec<Drive>);

impl Drives {
    pub(super) fn new(vm_uuid: &str, drives: impl IntoIterator<Item = (Ref<Vbd>, Vbd, Vdi)>) -> Self {
        let key = drive_key(vm_uuid);
        let mut all: Vec<Drive> = drives
            .into_iter()
            .filter(|(_, record, _)| record.kind.eq_ignore_ascii_case("disk"))
            .map(|(vbd, record, disk)| Drive { name: record.other_config.get(&key).cloned(), vbd, record, disk })
            .collect();
        all.sort_by_key(|drive| (drive.position(), drive.vbd.clone()));
        Self(all)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Drive> {
        self.0.iter()
    }

    /// The disk that we made under this name.
    pub(super) fn named(&self, name: &str) -> Option<&Drive> {
        self.0.iter().find(|drive| drive.name.as_deref() == Some(name))
    }

    /// The disk that the VM boots from: of those that came with it, the first that is marked as such, else the first.
    pub(super) fn root(&self) -> Option<&Drive> {
        let came = || self.0.iter().filter(|drive| drive.name.is_none());
        came().find(|drive| drive.record.bootable).or_else(|| came().next())
    }

    /// The disks as guests know them.
    pub(super) fn observed(&self) -> Vec<ObservedDisk> {
        let root = self.root().map(|root| &root.vbd);
        let shown = self.0.iter().filter(|drive| drive.name.as_deref() != Some(FIRST_BOOT));
        shown
            .map(|drive| ObservedDisk {
                name: if Some(&drive.vbd) == root { Some(ROOT.into()) } else { drive.name.clone() },
                size: Bytes(drive.disk.virtual_size),
            })
            .collect()
    }
}

/// The position for a further disk, from those that are free. The fourth is where guests look for a CD.
pub(super) fn position(free: &[String]) -> Option<&String> {
    free.iter().filter(|position| *position != "3").min_by_key(|position| position.parse::<u32>().unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::xapi::records::Map;

    fn drive(position: &str, bootable: bool, mark: Option<(&str, &str)>) -> (Ref<Vbd>, Vbd, Vdi) {
        let other_config: Map = mark.into_iter().map(|(vm, name)| (drive_key(vm), name.to_owned())).collect();
        let vbd = Vbd {
            vm: Ref::new("vm"),
            vdi: Ref::new(format!("vdi{position}")),
            kind: "Disk".into(),
            userdevice: position.into(),
            bootable,
            currently_attached: false,
            other_config,
        };
        let size = 1 << position.parse::<u32>().unwrap_or(0);
        let disk = serde_json::json!({ "uuid": position, "virtual_size": size });
        (Ref::new(format!("vbd{position}")), vbd, serde_json::from_value(disk).unwrap())
    }

    fn names(drives: Vec<(Ref<Vbd>, Vbd, Vdi)>) -> Vec<(Option<String>, u64)> {
        Drives::new("u", drives).observed().into_iter().map(|disk| (disk.name, disk.size.0)).collect()
    }

    #[test]
    fn disks_are_told_apart() {
        let some = |name: &str| Some(name.to_owned());
        let all = vec![
            drive("10", false, Some(("u", "data"))),
            drive("2", false, Some(("u", FIRST_BOOT))),
            drive("1", false, None),
            drive("0", true, None),
            (Ref::new("cd"), Vbd { kind: "CD".into(), ..drive("3", false, None).1 }, drive("3", false, None).2),
        ];
        assert_eq!(names(all), [(some("root"), 1), (None, 2), (some("data"), 1024)]);
        // Nothing says what is booted from: the first.
        assert_eq!(names(vec![drive("5", false, None), drive("0", false, None)]), [(some("root"), 1), (None, 32)]);
        // A later one says so.
        assert_eq!(names(vec![drive("5", true, None), drive("0", false, None)]), [(None, 1), (some("root"), 32)]);
        // The mark of the VM that this one was cloned from.
        assert_eq!(names(vec![drive("0", true, None), drive("1", false, Some(("other", "data")))])[1], (None, 2));
        assert_eq!(names(vec![]), []);
    }

    #[test]
    fn the_place_of_the_cd_stays_free() {
        let free = |list: &[&str]| list.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>();
        assert_eq!(position(&free(&["10", "3", "4", "2"])).map(String::as_str), Some("2"));
        assert_eq!(position(&free(&["3", "4"])).map(String::as_str), Some("4"));
        assert_eq!(position(&free(&["3"])), None);
    }
}
