//! What Keystone and Nova write, as far as it is read here. Nova's at microversion 2.93.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The microversion of Nova's API that is asked for: OpenStack Zed (2022) has it. What is used of it is older (locks with a
/// reason, tags, flavours that are told with the server); but earlier releases do not build a server whose group is gone, which
/// the [`super::fence`] relies on.
pub(super) const MICROVERSION: &str = "compute 2.93";

#[derive(Deserialize)]
pub(super) struct TokenReply {
    pub token: Token,
}

#[derive(Deserialize)]
pub(super) struct Token {
    pub expires_at: String,
    pub project: Option<Project>,
    #[serde(default)]
    pub catalog: Vec<CatalogService>,
}

#[derive(Deserialize)]
pub(super) struct Project {
    pub id: String,
}

#[derive(Deserialize)]
pub(super) struct CatalogService {
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default)]
    pub endpoints: Vec<CatalogEndpoint>,
}

#[derive(Deserialize)]
pub(super) struct CatalogEndpoint {
    pub interface: String,
    pub region_id: Option<String>,
    pub region: Option<String>,
    pub url: String,
}

#[derive(Deserialize)]
pub(super) struct Servers {
    pub servers: Vec<Server>,
    #[serde(default)]
    pub servers_links: Vec<Link>,
}

#[derive(Deserialize)]
pub(super) struct Link {
    pub rel: String,
}

#[derive(Deserialize)]
pub(super) struct OneServer {
    pub server: Server,
}

/// The reply to a creation names nothing but the id.
#[derive(Deserialize)]
pub(super) struct CreatedReply {
    pub server: Created,
}

#[derive(Deserialize)]
pub(super) struct Created {
    pub id: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Server {
    pub id: String,
    #[serde(default)]
    pub status: String,
    /// Missing where Nova cannot reach the part of the cloud that has the server.
    pub metadata: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub tags: Vec<String>,
    #[serde(default)]
    pub created: String,
    #[serde(default)]
    pub locked: bool,
    pub locked_reason: Option<String>,
    #[serde(rename = "hostId", default)]
    pub host_id: String,
    pub flavor: Option<ServerFlavor>,
    #[serde(default)]
    pub addresses: BTreeMap<String, Vec<Address>>,
    pub fault: Option<ServerFault>,
    #[serde(rename = "OS-EXT-STS:task_state")]
    pub task_state: Option<String>,
    #[serde(rename = "OS-EXT-STS:power_state", default)]
    pub power_state: u32,
    #[serde(rename = "OS-EXT-AZ:availability_zone")]
    pub zone: Option<String>,
    #[serde(rename = "OS-SRV-USG:launched_at")]
    pub launched_at: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct ServerFlavor {
    pub original_name: String,
    pub vcpus: u32,
    /// MiB.
    pub ram: u64,
    /// GiB.
    pub disk: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Address {
    pub addr: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct ServerFault {
    pub code: u32,
    #[serde(default)]
    pub message: String,
}

#[derive(Deserialize)]
pub(super) struct Flavors {
    pub flavors: Vec<Flavor>,
    #[serde(default)]
    pub flavors_links: Vec<Link>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Flavor {
    pub id: String,
    pub name: String,
    /// GiB.
    pub disk: u64,
}

#[derive(Deserialize)]
pub(super) struct OneKeyPair {
    pub keypair: KeyPair,
}

#[derive(Deserialize)]
pub(super) struct KeyPair {
    pub public_key: String,
    pub created_at: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Groups {
    pub server_groups: Vec<Group>,
}

#[derive(Deserialize)]
pub(super) struct OneGroup {
    pub server_group: Group,
}

#[derive(Deserialize)]
pub(super) struct Group {
    pub id: String,
    pub name: String,
}
