//! What Google answers, as far as it is read here.

use std::collections::BTreeMap;

use serde::Deserialize;

pub(super) type Labels = BTreeMap<String, String>;

/// An instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Instance {
    pub id: String,
    pub name: String,
    pub zone: String,
    pub status: String,
    pub machine_type: String,
    pub creation_timestamp: String,
    pub last_start_timestamp: Option<String>,
    pub labels: Labels,
    pub label_fingerprint: String,
    pub deletion_protection: bool,
    pub disks: Vec<AttachedDisk>,
    pub network_interfaces: Vec<NetworkInterface>,
}

/// The fields of [`Instance`]. The rest, user data in it, is not sent.
pub(super) const INSTANCE_FIELDS: &str = "id,name,zone,status,machineType,creationTimestamp,lastStartTimestamp,labels,\
     labelFingerprint,deletionProtection,disks(source,deviceName,boot,autoDelete,diskSizeGb),\
     networkInterfaces(networkIP,ipv6Address,accessConfigs/natIP)";

/// A disk as its instance shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct AttachedDisk {
    pub source: String,
    pub device_name: String,
    pub boot: bool,
    pub auto_delete: bool,
    pub disk_size_gb: String,
}

/// A network card.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct NetworkInterface {
    #[serde(rename = "networkIP")]
    pub network_ip: Option<String>,
    pub ipv6_address: Option<String>,
    pub access_configs: Vec<AccessConfig>,
}

/// An external address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct AccessConfig {
    #[serde(rename = "natIP")]
    pub nat_ip: Option<String>,
}

/// A disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Disk {
    pub name: String,
    pub zone: String,
    pub status: String,
    pub size_gb: String,
    pub self_link: String,
    pub labels: Labels,
    pub label_fingerprint: String,
    pub users: Vec<String>,
}

/// The fields of [`Disk`].
pub(super) const DISK_FIELDS: &str = "name,zone,status,sizeGb,selfLink,labels,labelFingerprint,users";

/// A machine type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct MachineType {
    pub name: String,
    pub zone: String,
    pub guest_cpus: u32,
    pub memory_mb: u64,
    pub architecture: Option<String>,
    pub deprecated: Option<serde_json::Value>,
}

/// The fields of [`MachineType`].
pub(super) const TYPE_FIELDS: &str = "name,zone,guestCpus,memoryMb,architecture,deprecated";

/// An image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Image {
    pub disk_size_gb: String,
}

/// A page of a list of all zones.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Aggregated<T> {
    #[serde(default = "BTreeMap::new")]
    pub items: BTreeMap<String, Scope<T>>,
    pub next_page_token: Option<String>,
    #[serde(default)]
    pub unreachables: Vec<String>,
    pub warning: Option<Warning>,
}

/// What one zone has.
#[derive(Debug, Deserialize)]
pub(super) struct Scope<T> {
    #[serde(alias = "instances", alias = "disks", alias = "machineTypes", default = "Vec::new")]
    pub things: Vec<T>,
    pub warning: Option<Warning>,
}

/// Why a list is shorter than one may think.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Warning {
    pub code: String,
    pub message: String,
}

/// A change under way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Operation {
    pub name: String,
    pub status: String,
    pub end_time: Option<String>,
    pub error: Option<Errors>,
}

impl Operation {
    pub(super) fn is_done(&self) -> bool {
        self.status == "DONE"
    }

    /// Why it failed. An operation that failed is done like any other.
    pub(super) fn failure(&self) -> Option<&ErrorItem> {
        self.error.as_ref().and_then(|error| error.errors.first())
    }
}

/// The failures of an operation, or of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Errors {
    pub errors: Vec<ErrorItem>,
    pub message: String,
}

/// One of them. Operations name a `code`, requests a `reason`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct ErrorItem {
    pub code: String,
    pub reason: String,
    pub message: String,
}

/// The body of a refusal.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Refusal {
    pub error: Errors,
}

/// What the caller may do.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Permitted {
    pub permissions: Vec<String>,
}

/// The last part of a path or URL: the name of what it leads to.
pub(super) fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}
