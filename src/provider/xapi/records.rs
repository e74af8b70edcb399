//! The classes and fields of XAPI's data model that this driver reads.
//!
//! Unknown fields, unknown enum values (kept as text) and missing fields are fine: every version of xapi has others. Two
//! records are equal when they say the same in what is used here, which is what makes a change worth noticing.

use std::ops::{Deref, DerefMut};

use litemap::LiteMap;
use serde::{Deserialize, Serialize, Serializer, de::DeserializeOwned};

use super::value::{Ref, float, int, natural};

/// A class of XAPI's data model.
pub(super) trait Record: DeserializeOwned + Clone + PartialEq + Send + Sync + 'static {
    /// Its name in calls.
    const CLASS: &'static str;
}

/// String to string, as `other_config` and its like are. Pools of thousands of VMs have ten for each, with a few entries at
/// most; a node of a B-tree has room for eleven, and takes half a kilobyte even for one.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(transparent)]
pub(super) struct Map(LiteMap<String, String>);

impl Map {
    pub(super) fn new() -> Self {
        Self::default()
    }
}

/// As a map though it is empty, which the library writes as a list: xapi refuses that.
impl Serialize for Map {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter())
    }
}

impl FromIterator<(String, String)> for Map {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(entries: I) -> Self {
        Self(entries.into_iter().collect())
    }
}

impl<'a> IntoIterator for &'a Map {
    type Item = (&'a String, &'a String);
    type IntoIter = <&'a LiteMap<String, String> as IntoIterator>::IntoIter;

    fn into_iter(self) -> Self::IntoIter {
        (&self.0).into_iter()
    }
}

impl Deref for Map {
    type Target = LiteMap<String, String>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Map {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

macro_rules! record {
    ($name:ident, $class:literal) => {
        impl Record for $name {
            const CLASS: &'static str = $class;
        }
    };
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct Pool {
    pub(super) uuid: String,
    #[serde(default)]
    pub(super) master: Ref<Host>,
    #[serde(default, rename = "default_SR")]
    pub(super) default_sr: Ref<Sr>,
}
record!(Pool, "pool");

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct Host {
    pub(super) uuid: String,
    #[serde(default)]
    pub(super) name_label: String,
    #[serde(default)]
    pub(super) address: String,
    #[serde(default)]
    pub(super) enabled: bool,
    #[serde(default, deserialize_with = "natural")]
    pub(super) memory_overhead: u64,
    #[serde(default)]
    pub(super) metrics: Ref<HostMetrics>,
    #[serde(default)]
    pub(super) cpu_info: Map,
    #[serde(default, rename = "host_CPUs")]
    pub(super) cpus: Vec<Ref<HostCpu>>,
    #[serde(default)]
    pub(super) software_version: Map,
    #[serde(default)]
    pub(super) current_operations: Map,
}
record!(Host, "host");

/// Only counted, never read.
pub(super) enum HostCpu {}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct HostMetrics {
    #[serde(default, deserialize_with = "natural")]
    pub(super) memory_total: u64,
    #[serde(default)]
    pub(super) live: bool,
}
record!(HostMetrics, "host_metrics");

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct Vm {
    pub(super) uuid: String,
    #[serde(default)]
    pub(super) name_label: String,
    #[serde(default)]
    pub(super) power_state: String,
    #[serde(default)]
    pub(super) current_operations: Map,
    #[serde(default)]
    pub(super) blocked_operations: Map,
    #[serde(default)]
    pub(super) is_a_template: bool,
    #[serde(default)]
    pub(super) is_a_snapshot: bool,
    #[serde(default)]
    pub(super) is_control_domain: bool,
    #[serde(default)]
    pub(super) resident_on: Ref<Host>,
    #[serde(default)]
    pub(super) scheduled_to_be_resident_on: Ref<Host>,
    #[serde(default, deserialize_with = "natural")]
    pub(super) memory_overhead: u64,
    #[serde(default, deserialize_with = "natural")]
    pub(super) memory_target: u64,
    #[serde(default, deserialize_with = "natural")]
    pub(super) memory_static_max: u64,
    #[serde(default, deserialize_with = "natural")]
    pub(super) memory_static_min: u64,
    #[serde(default, deserialize_with = "natural")]
    pub(super) memory_dynamic_max: u64,
    #[serde(default, deserialize_with = "natural")]
    pub(super) memory_dynamic_min: u64,
    #[serde(default, rename = "VCPUs_max", deserialize_with = "int")]
    pub(super) vcpus_max: i64,
    #[serde(default, rename = "VCPUs_at_startup", deserialize_with = "int")]
    pub(super) vcpus_at_startup: i64,
    #[serde(default, rename = "VIFs")]
    pub(super) vifs: Vec<Ref<Vif>>,
    #[serde(default, rename = "VBDs")]
    pub(super) vbds: Vec<Ref<Vbd>>,
    #[serde(default)]
    pub(super) snapshots: Vec<Ref<Vm>>,
    #[serde(default, rename = "suspend_VDI")]
    pub(super) suspend_vdi: Ref<Vdi>,
    #[serde(default)]
    pub(super) platform: Map,
    #[serde(default)]
    pub(super) other_config: Map,
    #[serde(default)]
    pub(super) guest_metrics: Ref<GuestMetrics>,
    #[serde(default)]
    pub(super) metrics: Ref<VmMetrics>,
    #[serde(default)]
    pub(super) ha_restart_priority: String,
}
record!(Vm, "VM");

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct VmMetrics {
    /// By the host's clock; 1970 where it never ran.
    #[serde(default)]
    pub(super) start_time: String,
}
record!(VmMetrics, "VM_metrics");

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct GuestMetrics {
    /// What the guest's tools can do, such as `feature-balloon`.
    #[serde(default)]
    pub(super) other: Map,
    /// `0/ip`, `0/ipv4/0`, `0/ipv6/0` and so on, by the number of the VIF.
    #[serde(default)]
    pub(super) networks: Map,
}
record!(GuestMetrics, "VM_guest_metrics");

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct Vif {
    #[serde(default)]
    pub(super) device: String,
    #[serde(default)]
    pub(super) network: Ref<Network>,
}
record!(Vif, "VIF");

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct Vbd {
    #[serde(default, rename = "VM")]
    pub(super) vm: Ref<Vm>,
    #[serde(default, rename = "VDI")]
    pub(super) vdi: Ref<Vdi>,
    #[serde(default, rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) userdevice: String,
    #[serde(default)]
    pub(super) bootable: bool,
    #[serde(default)]
    pub(super) currently_attached: bool,
    #[serde(default)]
    pub(super) other_config: Map,
}
record!(Vbd, "VBD");

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct Vdi {
    pub(super) uuid: String,
    #[serde(default, rename = "VBDs")]
    pub(super) vbds: Vec<Ref<Vbd>>,
    #[serde(default)]
    pub(super) sm_config: Map,
    #[serde(default)]
    pub(super) name_label: String,
    #[serde(default, deserialize_with = "natural")]
    pub(super) virtual_size: u64,
    #[serde(default, rename = "SR")]
    pub(super) sr: Ref<Sr>,
    #[serde(default)]
    pub(super) other_config: Map,
}
record!(Vdi, "VDI");

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct Sr {
    pub(super) uuid: String,
    #[serde(default)]
    pub(super) name_label: String,
    /// `iso` for a library of images, which takes no disks.
    #[serde(default)]
    pub(super) content_type: String,
    #[serde(default, rename = "type")]
    pub(super) kind: String,
    /// 0 where it is not known.
    #[serde(default, deserialize_with = "natural")]
    pub(super) physical_size: u64,
    #[serde(default, deserialize_with = "natural")]
    pub(super) physical_utilisation: u64,
}
record!(Sr, "SR");

/// The connection of a host to a storage repository.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct Pbd {
    #[serde(default)]
    pub(super) host: Ref<Host>,
    #[serde(default, rename = "SR")]
    pub(super) sr: Ref<Sr>,
    #[serde(default)]
    pub(super) currently_attached: bool,
}
record!(Pbd, "PBD");

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct Network {
    pub(super) uuid: String,
    #[serde(default)]
    pub(super) name_label: String,
}
record!(Network, "network");

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct Task {
    #[serde(default)]
    pub(super) name_label: String,
    /// pending, success, failure, cancelling or cancelled.
    #[serde(default)]
    pub(super) status: String,
    #[serde(default, deserialize_with = "float")]
    pub(super) progress: f64,
    /// By the coordinator's clock.
    #[serde(default)]
    pub(super) created: String,
    #[serde(default)]
    pub(super) other_config: Map,
    /// XML, even over JSON.
    #[serde(default)]
    pub(super) result: String,
    #[serde(default)]
    pub(super) error_info: Vec<String>,
}
record!(Task, "task");

#[cfg(test)]
pub(super) mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::provider::xapi::wire;

    /// The records of a class as a real xapi 26.17 gave them.
    pub(in crate::provider::xapi) fn recorded<T: Record>() -> HashMap<Ref<T>, T> {
        let body: &[u8] = match T::CLASS {
            "VM" => include_bytes!("testdata/VM.get_all_records.json"),
            "host" => include_bytes!("testdata/host.get_all_records.json"),
            "host_metrics" => include_bytes!("testdata/host_metrics.get_all_records.json"),
            "VM_metrics" => include_bytes!("testdata/VM_metrics.get_all_records.json"),
            "PBD" => include_bytes!("testdata/PBD.get_all_records.json"),
            "VM_guest_metrics" => include_bytes!("testdata/VM_guest_metrics.get_all_records.json"),
            "pool" => include_bytes!("testdata/pool.get_all_records.json"),
            "VBD" => include_bytes!("testdata/VBD.get_all_records.json"),
            "VDI" => include_bytes!("testdata/VDI.get_all_records.json"),
            "VIF" => include_bytes!("testdata/VIF.get_all_records.json"),
            "task" => include_bytes!("testdata/task.get_all_records.json"),
            "SR" => include_bytes!("testdata/SR.get_all_records.json"),
            "network" => include_bytes!("testdata/network.get_all_records.json"),
            other => panic!("no records of {other}"),
        };
        wire::decode(body).unwrap()
    }

    #[test]
    fn recorded_answers_are_read() {
        assert_eq!(recorded::<Pool>().len(), 1);
        assert_eq!(recorded::<Host>().len(), 3);
        assert!(recorded::<Host>().values().all(|host| host.cpus.len() == 16 && host.enabled));
        assert!(
            recorded::<HostMetrics>().values().all(|metrics| metrics.live && metrics.memory_total == 68_719_476_736)
        );
        let vms = recorded::<Vm>();
        assert_eq!(vms.len(), 6);
        assert_eq!(vms.values().filter(|vm| vm.is_control_domain).count(), 3);
        assert_eq!(vms.values().filter(|vm| vm.is_a_template).count(), 1);
        assert!(vms.values().all(|vm| vm.memory_static_max >= vm.memory_static_min));
        assert_eq!(recorded::<GuestMetrics>().len(), 1);
        assert!(recorded::<Vbd>().values().all(|vbd| vbd.kind == "Disk"));
        assert_eq!(recorded::<Vdi>().len(), 2);
        assert!(recorded::<Task>().values().all(|task| task.status == "success" && task.progress > 0.99));
        assert_eq!((recorded::<Vif>().len(), recorded::<Sr>().len(), recorded::<Network>().len()), (1, 1, 3));
    }

    #[test]
    fn maps_are_written_as_maps() {
        for text in ["{}", r#"{"a":"1","b":"2"}"#] {
            assert_eq!(serde_json::to_string(&serde_json::from_str::<Map>(text).unwrap()).unwrap(), text);
        }
    }

    #[test]
    fn integers_of_old_pools_are_strings() {
        let vm: Vm = serde_json::from_str(r#"{"uuid":"u","memory_static_max":"1073741824","VCPUs_max":"2"}"#).unwrap();
        assert_eq!((vm.memory_static_max, vm.vcpus_max), (1 << 30, 2));
    }
}
