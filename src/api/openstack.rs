//! How a region of an OpenStack cloud is reached.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::cloud_pool::{Name, SecretReference};

/// How a project in a region of an OpenStack cloud is reached.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct OpenstackSpec {
    /// Secret with `clouds.yaml`: where the cloud is, and an application credential or a password. With `ca.crt` in it, that
    /// authority is trusted too.
    pub clouds_yaml_secret_ref: SecretReference,
    /// Which cloud of `clouds.yaml`.
    #[schemars(length(min = 1, max = 63))]
    pub cloud: String,
    /// The region, such as `RegionOne`.
    #[schemars(length(min = 1, max = 255))]
    pub region: String,
    /// Availability zone of guests for which placement chose none. Left out: the cloud chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub availability_zone: Option<String>,
    /// Id of the network of guests that name none. Left out: the project's only network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub network: Option<String>,
    /// Names or ids of the security groups of all guests. Left out: the project's `default`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub security_groups: Vec<Name>,
    /// Name of the key pair that guests are given. Left out: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub key_pair: Option<String>,
    /// Id of the server group that all guests are made in, such as one with the policy `soft-anti-affinity`. Left out: none.
    /// A creation that is not answered is then waited for ten minutes, as nothing else can keep it from coming true late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub server_group: Option<String>,
    /// Guests read their user data from a disk, not from the network's metadata service. Left out: as the cloud and the
    /// image say.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub config_drive: bool,
}
