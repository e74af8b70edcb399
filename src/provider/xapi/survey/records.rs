//! The records that only a survey reads.

use serde::Deserialize;

use super::super::{
    records::{Host, Map, Record},
    value::{Ref, natural},
};

macro_rules! record {
    ($name:ident, $class:literal) => {
        impl Record for $name {
            const CLASS: &'static str = $class;
        }
    };
}

/// The pool's own name; the driver knows it by its uuid.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct PoolName {
    #[serde(default)]
    pub(super) name_label: String,
}
record!(PoolName, "pool");

/// A storage repository.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct Repository {
    pub(super) uuid: String,
    #[serde(default)]
    pub(super) name_label: String,
    #[serde(default, rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) content_type: String,
    #[serde(default)]
    pub(super) shared: bool,
    #[serde(default, deserialize_with = "natural")]
    pub(super) physical_size: u64,
    #[serde(default, deserialize_with = "natural")]
    pub(super) physical_utilisation: u64,
    #[serde(default, rename = "PBDs")]
    pub(super) pbds: Vec<Ref<Attachment>>,
}
record!(Repository, "SR");

/// How a host sees a repository.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct Attachment {
    #[serde(default)]
    pub(super) uuid: String,
    #[serde(default)]
    pub(super) host: Ref<Host>,
    #[serde(default)]
    pub(super) currently_attached: bool,
}
record!(Attachment, "PBD");

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct Wire {
    pub(super) uuid: String,
    #[serde(default)]
    pub(super) name_label: String,
    #[serde(default)]
    pub(super) bridge: String,
    #[serde(default, rename = "PIFs")]
    pub(super) pifs: Vec<Ref<Port>>,
    #[serde(default)]
    pub(super) other_config: Map,
}
record!(Wire, "network");

/// A host's interface to a network.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct Port {
    #[serde(default)]
    pub(super) uuid: String,
    #[serde(default)]
    pub(super) host: Ref<Host>,
}
record!(Port, "PIF");

/// A VM's place for a disk.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct Slot {
    #[serde(default)]
    pub(super) uuid: String,
    #[serde(default, rename = "VDI")]
    pub(super) vdi: Ref<Image>,
    #[serde(default, rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) userdevice: String,
}
record!(Slot, "VBD");

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct Image {
    pub(super) uuid: String,
    #[serde(default)]
    pub(super) name_label: String,
    #[serde(default, deserialize_with = "natural")]
    pub(super) virtual_size: u64,
    #[serde(default, rename = "SR")]
    pub(super) sr: Ref<Repository>,
}
record!(Image, "VDI");

/// A VM's network card.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct Card {
    #[serde(default)]
    pub(super) uuid: String,
    #[serde(default)]
    pub(super) device: String,
    #[serde(default)]
    pub(super) network: Ref<Wire>,
}
record!(Card, "VIF");
