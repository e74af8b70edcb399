//! What a guest is: image, size, disks, networks, first configuration, and whether it runs.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{quantity::Bytes, span::Span};

/// What a guest is.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.image == oldSelf.image")
        .message("the image of running guests cannot be changed; make a new VirtualWorkload with the new image"),
    validation = Rule::new("has(self.networks) == has(oldSelf.networks) && (!has(self.networks) || self.networks == oldSelf.networks)")
        .message("the networks of running guests cannot be changed; make a new VirtualWorkload with the new networks"),
    validation = Rule::new("has(self.cloudInit) == has(oldSelf.cloudInit) && (!has(self.cloudInit) || self.cloudInit == oldSelf.cloudInit)")
        .message("cloudInit is read at a guest's first start only and cannot be changed; make a new VirtualWorkload with the new one"),
    validation = Rule::new("!has(oldSelf.rootDisk) || (has(self.rootDisk) && quantity(self.rootDisk.size).compareTo(quantity(oldSelf.rootDisk.size)) >= 0)")
        .message("the root disk of running guests can only grow"),
    validation = Rule::new("!has(oldSelf.disks) || (has(self.disks) && oldSelf.disks.all(old, self.disks.exists(disk, disk.name == old.name)))")
        .message("a disk of running guests cannot be taken away, its data would be lost; make a new VirtualWorkload without it"),
    validation = Rule::new("!has(oldSelf.disks) || !has(self.disks) || oldSelf.disks.all(old, self.disks.all(disk, disk.name != old.name || (quantity(disk.size).compareTo(quantity(old.size)) >= 0 && has(disk.storage) == has(old.storage) && (!has(disk.storage) || disk.storage == old.storage))))")
        .message("a disk of running guests can only grow, and stays on its storage")
)]
pub struct GuestTemplate {
    /// What it boots from.
    pub image: ImageReference,
    /// How large it is. A change reaches guests at once where the provider can do that, else when they are next stopped or
    /// restarted. For a guest that is rented another type is chosen, in the same pool and zone, within limits and budget.
    pub size: Size,
    /// The disk that it boots from. Left out: as large as the image makes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_disk: Option<RootDisk>,
    /// Further disks, empty at first. They can be added and grown while guests run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 12))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    pub disks: Vec<Disk>,
    /// The networks it is attached to, in the order of its cards. Left out: what the provider gives by default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 7))]
    pub networks: Vec<NetworkReference>,
    /// What cloud-init is told at the first start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud_init: Option<CloudInit>,
    /// Whether it should run. Left out: `Running`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power_state: Option<PowerState>,
    /// How it is switched off. Left out: `TrySoft` with five minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shutdown: Option<Shutdown>,
    /// A guest that was started before this time is restarted once after it. Write the present time to restart
    /// guests. Left out: none is restarted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_at: Option<Time>,
}

/// An image by its logical name.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ImageReference {
    /// A name of the `images` of `CloudPools`. A pool without it is not eligible.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
}

/// A network by its logical name.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct NetworkReference {
    /// A name of the `networks` of `CloudPools`. A pool without it is not eligible.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
}

/// How large a guest is.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Size {
    /// Virtual processors.
    #[schemars(schema_with = "super::schema::vcpus")]
    pub vcpus: u32,
    /// Memory that the guest sees.
    #[x_kube(
        validation = Rule::new("!isQuantity(self) || quantity(self).compareTo(quantity('128Mi')) >= 0")
            .message("memory is too small for a guest; write it with a unit, at least 128Mi, for example 4Gi")
    )]
    pub memory: Bytes,
}

/// The disk that a guest boots from.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RootDisk {
    /// How large it is at least. An image's disk that is larger stays as it is.
    #[x_kube(
        validation = Rule::new("!isQuantity(self) || quantity(self).compareTo(quantity('1Gi')) >= 0")
            .message("the root disk is too small; write its size with a unit, at least 1Gi, for example 20Gi")
    )]
    pub size: Bytes,
}

/// A further disk.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Disk {
    /// What it is called. `root` is the disk that the guest boots from.
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(
        validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$') && self != 'root'")
            .message("name the disk with small letters, digits and dashes, for example data; \"root\" is taken")
    )]
    pub name: String,
    /// How large it is.
    #[x_kube(
        validation = Rule::new("!isQuantity(self) || quantity(self).compareTo(quantity('1Gi')) >= 0")
            .message("the disk is too small; write its size with a unit, at least 1Gi, for example 20Gi")
    )]
    pub size: Bytes,
    /// A name of the `storage` of `CloudPools`; a pool without it is not eligible. Left out: the pool's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub storage: Option<String>,
}

/// What cloud-init is told at a guest's first start.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CloudInit {
    /// The key of a Secret with the user data, such as a `#cloud-config` document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data_secret_ref: Option<SecretKeyReference>,
    /// The key of a Secret with the network configuration. Providers that configure networks themselves ignore it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_data_secret_ref: Option<SecretKeyReference>,
}

/// A key of a Secret in the guest's own namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyReference {
    /// The Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key in it.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// Whether a guest should run. Left out: `Running`; an adopted VM stays as it is.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, schemars::JsonSchema)]
pub enum PowerState {
    /// It should run.
    #[default]
    Running,
    /// It should be off, with its disks kept.
    Stopped,
    /// It should sleep, its memory kept on disk. Only Xen pools can do that.
    Suspended,
}

/// How a guest is switched off.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Shutdown {
    /// Whether its system is asked first.
    pub mode: ShutdownMode,
    /// How long its system may take. Left out: five minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Span>,
}

/// Whether a guest's system is asked before it is switched off.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, schemars::JsonSchema)]
pub enum ShutdownMode {
    /// It is asked, and stays on where it does not comply; a condition says so.
    Soft,
    /// It is asked, and loses its power where it does not comply in time.
    TrySoft,
    /// It loses its power.
    Hard,
}
