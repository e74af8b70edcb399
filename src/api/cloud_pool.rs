//! `CloudPool`: somewhere guests can live.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::{
    gce::GceSpec, money::Amount, openstack::OpenstackSpec, pool_status::CloudPoolStatus, pricing::Pricing,
    quantity::Bytes, selector::Selector,
};

/// A place where guests can live: a Xen pool on your own premises, or a region of a public provider.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "innkeeper.dev",
    version = "v1alpha1",
    kind = "CloudPool",
    plural = "cloudpools",
    shortname = "cp",
    category = "innkeeper",
    status = "CloudPoolStatus",
    derive = "PartialEq",
    doc = "A place where guests can live: a Xen pool on your own premises, or a region of a public provider.",
    printcolumn(name = "Provider", type_ = "string", json_path = ".status.provider.kind"),
    printcolumn(name = "Law", type_ = "string", json_path = ".spec.location.jurisdiction"),
    printcolumn(name = "Guests", type_ = "integer", json_path = ".status.guests"),
    printcolumn(name = "Free", type_ = "string", json_path = ".status.summary"),
    printcolumn(name = "Cordoned", type_ = "boolean", json_path = ".spec.cordoned"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Orphans", type_ = "string", json_path = ".status.orphans[*].providerId", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.provider.ec2) || has(self.pricing.payPerUse)")
        .message("an EC2 pool needs pricing.payPerUse: list the types that may be rented in instanceTypes, with vcpus, memory and hourly price, or write source: Catalogue"),
    validation = Rule::new("!has(self.provider.gce) || has(self.pricing.payPerUse)")
        .message("a Google pool needs pricing.payPerUse: list the types that may be rented in instanceTypes, with vcpus, memory and hourly price, or write source: Catalogue"),
    validation = Rule::new("has(self.provider.ec2) || has(self.provider.gce) || !has(self.pricing.payPerUse) || !has(self.pricing.payPerUse.source) || self.pricing.payPerUse.source != 'Catalogue'")
        .message("only EC2 and Google pools have a catalogue: list the types in pricing.payPerUse.instanceTypes"),
    validation = Rule::new("!has(self.provider.openstack) || has(self.pricing.payPerUse)")
        .message("an OpenStack pool needs pricing.payPerUse: list the flavours that may be used in instanceTypes, with vcpus, memory and hourly price (\"0\" if you do not count it)"),
    validation = Rule::new("!has(self.provider.openstack) || !has(self.storage) || size(self.storage) == 0")
        .message("guests have no further disks in OpenStack pools yet: leave storage out"),
    validation = Rule::new("!has(self.provider.xapi) || has(self.pricing.owned)")
        .message("a Xen pool needs pricing.owned: write its currency and monthlyRunningCost (\"0\" if you do not count it)")
)]
pub struct CloudPoolSpec {
    /// How the pool is reached. Exactly one provider; it cannot be changed to another later.
    pub provider: ProviderSpec,
    /// Where the pool is before the law.
    pub location: Location,
    /// What guests can boot from here: the logical names that workloads use, and what they are called at the provider.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    pub images: Vec<NamedResource>,
    /// Networks that guests can be attached to here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    pub networks: Vec<NamedResource>,
    /// The pool's storage by logical name: a XAPI SR's uuid or unique name, an EC2 volume type such as `gp3`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    pub storage: Vec<NamedResource>,
    /// What data may be kept here. A workload that asks for a class or a certificate goes only where it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_protection: Option<DataProtection>,
    /// Who may place guests here. Left out: every namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenancy: Option<Tenancy>,
    /// Keep guests away that do not tolerate them, as with Kubernetes nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub taints: Vec<Taint>,
    /// How much of the pool may be used. Left out: all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<Capacity>,
    /// What guests cost here. Exactly one model.
    pub pricing: Pricing,
    /// No new guests; those that are here stay.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cordoned: bool,
    /// Its guests are to go elsewhere, as their `mobility` allows; no new ones come.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub drain: bool,
    /// Names or ids of hosts that are to be emptied: their guests go to other hosts of the pool, as their `mobility`
    /// allows; no new ones come.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub drain_hosts: Vec<HostName>,
    /// How many guests of the pool may be on the move at a time. Left out: 2. Zero: none is moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100), schema_with = "super::schema::limit")]
    pub max_concurrent_moves: Option<u32>,
    /// An administrator's word that nothing runs in the pool any more and that nothing will start there by itself: the
    /// hosts are off or cut off from storage and network. Guests with `onPoolLost: RecreateIfFenced` are then made
    /// anew elsewhere.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fenced: bool,
}

/// A host by its name or the provider's id.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, schemars::JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct HostName(#[schemars(length(min = 1, max = 253))] pub String);

/// The provider. Exactly one field is set.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(has(self.xapi) ? 1 : 0) + (has(self.ec2) ? 1 : 0) + (has(self.gce) ? 1 : 0) + (has(self.openstack) ? 1 : 0) == 1")
        .message("write exactly one provider: xapi, ec2, gce or openstack"),
    validation = Rule::new("has(self.xapi) == has(oldSelf.xapi) && has(self.ec2) == has(oldSelf.ec2) && has(self.gce) == has(oldSelf.gce) && has(self.openstack) == has(oldSelf.openstack)")
        .message("the provider of a pool cannot be changed; make a new CloudPool and let guests be placed there"),
    validation = Rule::new("!has(self.ec2) || !has(oldSelf.ec2) || self.ec2.region == oldSelf.ec2.region")
        .message("the region of a pool cannot be changed, its guests would be lost; make a new CloudPool"),
    validation = Rule::new("!has(self.gce) || !has(oldSelf.gce) || (self.gce.project == oldSelf.gce.project && self.gce.zones[0].substring(0, self.gce.zones[0].size() - 2) == oldSelf.gce.zones[0].substring(0, oldSelf.gce.zones[0].size() - 2))")
        .message("the project and the region of a pool cannot be changed, its guests would be lost; make a new CloudPool"),
    validation = Rule::new("!has(self.openstack) || !has(oldSelf.openstack) || self.openstack.region == oldSelf.openstack.region")
        .message("the region of a pool cannot be changed, its guests would be lost; make a new CloudPool")
)]
pub struct ProviderSpec {
    /// A pool of Xen hosts (XCP-ng, `XenServer`), driven through XAPI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xapi: Option<XapiSpec>,
    /// A region of Amazon EC2, or of a cloud that speaks its protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ec2: Option<Ec2Spec>,
    /// A region of Google Compute Engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gce: Option<GceSpec>,
    /// A project in a region of an OpenStack cloud.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub openstack: Option<OpenstackSpec>,
}

/// How a Xen pool is reached.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct XapiSpec {
    /// Addresses of the pool's hosts, such as `https://192.0.2.10`; the coordinator is found from any of them.
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(
        validation = Rule::new("self.all(url, url.matches('^https://[^/?#@]+/?$'))")
            .message("write each endpoint as https://HOST or https://HOST:PORT, without a path or a user"),
        merge_strategy = ListMerge::Set
    )]
    pub endpoints: Vec<Endpoint>,
    /// Secret with `username` and `password`.
    pub credentials_secret_ref: SecretReference,
    /// How the hosts prove who they are. Left out: by a certificate that a public authority signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSpec>,
    /// uuid of the storage repository for disks of templates that name none. Left out: the pool's own default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub default_storage: Option<String>,
}

/// An address of a host.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, schemars::JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct Endpoint(#[schemars(length(max = 256))] pub String);

/// How a Xen host proves who it is. Exactly one field is set.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(has(self.certificateFingerprints) && size(self.certificateFingerprints) > 0) != has(self.caSecretRef)")
        .message("write exactly one of certificateFingerprints and caSecretRef")
)]
pub struct TlsSpec {
    /// SHA-256 of the hosts' own certificates, one for each host: 64 hexadecimal digits, colons between the bytes allowed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(
        validation = Rule::new("self.all(print, print.replace(':', '').matches('^[0-9a-fA-F]{64}$'))")
            .message("write each SHA-256 fingerprint as 64 hexadecimal digits; `openssl x509 -noout -fingerprint -sha256` prints it"),
        merge_strategy = ListMerge::Set
    )]
    pub certificate_fingerprints: Vec<CertificateFingerprint>,
    /// Secret with `ca.crt`: the authority that signed the hosts' certificates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<SecretReference>,
}

/// SHA-256 of a certificate.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, schemars::JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct CertificateFingerprint(#[schemars(length(max = 95))] pub String);

/// How a region of EC2 is reached.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Ec2Spec {
    /// The region, such as `eu-west-1`.
    #[schemars(length(min = 1, max = 64))]
    pub region: String,
    /// Address of a cloud that speaks EC2's protocol. Left out: Amazon's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    #[x_kube(
        validation = Rule::new("self.matches('^https?://[^@]+$')").message("write the endpoint as https://HOST, without a user")
    )]
    pub endpoint: Option<String>,
    /// Secret with `accessKeyId` and `secretAccessKey`. Left out: the operator's own identity (environment, web
    /// identity, instance profile).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<SecretReference>,
    /// Subnet of guests that name no network. Left out: the account's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub subnet: Option<String>,
    /// Ids of the security groups of all guests. Left out: the default of the network.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub security_groups: Vec<String>,
}

/// A Secret by name and namespace (pools belong to no namespace).
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "camelCase")]
pub struct SecretReference {
    /// Its namespace.
    #[schemars(length(min = 1, max = 63))]
    pub namespace: String,
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Where a pool is before the law.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Location {
    /// The country whose law holds there: a code of ISO 3166-1, such as `GB`.
    #[schemars(length(max = 16))]
    #[x_kube(
        validation = Rule::new("self.matches('^[A-Z]{2}$')")
            .message("write the country as its two-letter ISO 3166 code in capitals, for example GB")
    )]
    pub jurisdiction: String,
}

/// A logical name, and what stands behind it at this provider.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct NamedResource {
    /// The name that workloads use, the same in every pool.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// The provider's own id: a XAPI uuid (or a name that only one has), an AMI, a subnet.
    #[schemars(length(min = 1, max = 256))]
    pub provider_id: String,
}

/// What data may be kept in a pool.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DataProtection {
    /// Classes of data that may be kept here, by the names that your house uses, such as `confidential`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub permitted_classes: Vec<Name>,
    /// Certificates that the pool holds, such as `iso-27001`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub certifications: Vec<Name>,
}

/// A name of at most 63 characters.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, schemars::JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct Name(#[schemars(length(min = 1, max = 63))] pub String);

/// Who may place guests in a pool.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Tenancy {
    /// Namespaces with these labels. An empty selector is every namespace.
    pub namespace_selector: Selector,
}

/// Keeps guests away that do not tolerate it.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Taint {
    /// What it is about.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
    /// More about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub value: Option<String>,
    /// What it does to guests that do not tolerate it.
    pub effect: TaintEffect,
}

/// What a taint does to guests that do not tolerate it.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, schemars::JsonSchema)]
pub enum TaintEffect {
    /// New ones stay away.
    NoSchedule,
    /// New ones stay away where they can.
    PreferNoSchedule,
}

/// How much of a pool may be used.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Capacity {
    /// The most that guests may take here in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// Virtual processors for each physical one of a host, as a decimal number; 4 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    #[x_kube(
        validation = Rule::new("self.matches('^[0-9]{1,3}([.][0-9]{1,2})?$') && double(self) >= 1.0")
            .message("write how many virtual processors share a physical one, for example \"4\"; at least \"1\"")
    )]
    pub cpu_overcommit: Option<String>,
}

/// The most that guests may take in a pool.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Guests, stopped ones included; zero lets nothing in. Left out: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000), schema_with = "super::schema::limit")]
    pub guests: Option<u32>,
    /// Virtual processors of all guests that run; in a rented pool those of their types. Left out: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schema::limit")]
    pub vcpus: Option<u32>,
    /// Memory of all guests that run; in a rented pool that of their types. Left out: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
    /// What rented types may cost in a month of 730 hours, in the pool's currency. Left out: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monthly_spend: Option<Amount>,
}
