//! How a region of Google Compute Engine is reached.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::cloud_pool::SecretReference;

/// How a region of Google Compute Engine is reached.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct GceSpec {
    /// The id of the project, such as `acme-production`; not its number.
    #[schemars(length(min = 6, max = 63))]
    #[x_kube(
        validation = Rule::new("self.matches('^([a-z0-9.-]+:)?[a-z][a-z0-9-]*[a-z0-9]$')")
            .message("write the project's id, such as acme-production, not its number or its name for people")
    )]
    pub project: String,
    /// The zones that guests may live in, all of one region, such as `europe-west1-b`.
    #[schemars(length(min = 1, max = 8))]
    #[x_kube(
        validation = Rule::new("self.all(zone, zone.matches('^[a-z]+-[a-z]+[0-9]+-[a-z]$'))")
            .message("write each zone as Google does, such as europe-west1-b"),
        validation = Rule::new("self.all(zone, zone.size() > 2 && zone.substring(0, zone.size() - 2) == self[0].substring(0, self[0].size() - 2))")
            .message("the zones of a pool are of one region, its law and its prices are the region's: make a CloudPool for each region"),
        merge_strategy = ListMerge::Set
    )]
    pub zones: Vec<Zone>,
    /// Address in place of Google's own: a private endpoint. `http` only on this machine's loopback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    #[x_kube(
        validation = Rule::new("self.matches('^https://[^/?#@]+/?$') || self.matches('^http://(127[.][0-9.]+|localhost|\\\\[::1\\\\])(:[0-9]+)?/?$')")
            .message("write the endpoint as https://HOST, without a path or a user")
    )]
    pub endpoint: Option<String>,
    /// Secret with `key.json`, the key of a service account. Left out: the operator's own identity (workload identity or
    /// the machine's service account, asked of the metadata server).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<SecretReference>,
    /// Subnetwork of guests that name no network: its name in the pool's region, or its path
    /// `projects/PROJECT/regions/REGION/subnetworks/NAME` (a shared VPC). Left out: the project's network `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub subnetwork: Option<String>,
    /// Network tags of all guests: what the project's firewall rules apply to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(
        validation = Rule::new("self.all(tag, tag.matches('^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$'))")
            .message("write each network tag in small letters, digits and hyphens, a letter first"),
        merge_strategy = ListMerge::Set
    )]
    pub network_tags: Vec<NetworkTag>,
    /// E-mail address of the service account that guests run as. Left out: none, so that nothing in a guest can call
    /// Google with rights of yours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 256))]
    #[x_kube(
        validation = Rule::new("self.matches('^[^@ ]+@[^@ ]+$')").message("write the service account's e-mail address")
    )]
    pub service_account: Option<String>,
}

impl GceSpec {
    /// The region that the zones are of.
    #[must_use]
    pub fn region(&self) -> &str {
        let zone = self.zones.first().map_or("", |zone| zone.0.as_str());
        zone.rsplit_once('-').map_or(zone, |(region, _)| region)
    }
}

/// A zone by its name.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, schemars::JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct Zone(#[schemars(length(min = 3, max = 32))] pub String);

/// A network tag.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, schemars::JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct NetworkTag(#[schemars(length(min = 1, max = 63))] pub String);
