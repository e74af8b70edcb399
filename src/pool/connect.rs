//! From a pool's spec and Secrets to a connection.

#[cfg(feature = "ec2")]
mod ec2;
#[cfg(not(feature = "ec2"))]
#[path = "connect/without_ec2.rs"]
mod ec2;
#[cfg(feature = "gce")]
mod gce;
#[cfg(not(feature = "gce"))]
#[path = "connect/without_gce.rs"]
mod gce;
#[cfg(feature = "openstack")]
mod openstack;
#[cfg(not(feature = "openstack"))]
#[path = "connect/without_openstack.rs"]
mod openstack;
mod xapi;

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::timeout;

use super::facts::Trouble;
use crate::{
    api::{
        cloud_pool::{CloudPoolSpec, ProviderSpec, SecretReference, XapiSpec},
        pricing::OnDemandPrices,
    },
    provider::{ErrorKind, Owner, Provider, ProviderError, xapi::XapiConfig},
    runtime::{call, chain},
};

/// How long connecting may take.
const CONNECTING: Duration = Duration::from_secs(30);

/// The values of a pool's Secrets. Never printed.
#[derive(Clone, Default)]
pub(crate) struct Secrets(BTreeMap<(SecretReference, String), SecretString>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} secret values", self.0.len())
    }
}

impl PartialEq for Secrets {
    fn eq(&self, other: &Self) -> bool {
        let plain = |secrets: &Self| -> Vec<_> {
            secrets.0.iter().map(|(key, value)| (key.clone(), value.expose_secret().to_owned())).collect()
        };
        plain(self) == plain(other)
    }
}

impl Secrets {
    /// A value, or a sentence that says what to add.
    fn value(&self, secret: &SecretReference, key: &str) -> Result<SecretString, Trouble> {
        self.0.get(&(secret.clone(), key.to_owned())).cloned().ok_or_else(|| Trouble {
            kind: ErrorKind::Invalid,
            message: format!("Secret {}/{} has no key \"{key}\": add it", secret.namespace, secret.name),
        })
    }

    /// A value that may be shown.
    fn text(&self, secret: &SecretReference, key: &str) -> Result<String, Trouble> {
        Ok(self.value(secret, key)?.expose_secret().to_owned())
    }
}

/// The Secrets that a provider's spec names.
pub(super) fn references(spec: &ProviderSpec) -> Vec<&SecretReference> {
    let xapi = spec.xapi.iter().flat_map(|xapi| {
        let authority = xapi.tls.as_ref().and_then(|tls| tls.ca_secret_ref.as_ref());
        std::iter::once(&xapi.credentials_secret_ref).chain(authority)
    });
    let ec2 = spec.ec2.iter().filter_map(|ec2| ec2.credentials_secret_ref.as_ref());
    let gce = spec.gce.iter().filter_map(|gce| gce.credentials_secret_ref.as_ref());
    let openstack = spec.openstack.iter().map(|openstack| &openstack.clouds_yaml_secret_ref);
    xapi.chain(ec2).chain(gce).chain(openstack).collect()
}

/// Reads the Secrets that a provider's spec names.
pub(crate) async fn secrets(client: &Client, spec: &ProviderSpec) -> Result<Secrets, Trouble> {
    let mut secrets = Secrets::default();
    for reference in references(spec) {
        let api: Api<Secret> = Api::namespaced(client.clone(), &reference.namespace);
        let act = format!("read Secret {}/{}", reference.namespace, reference.name);
        let secret = call(act, api.get(&reference.name)).await.map_err(|error| {
            let missing = error.is_not_found();
            Trouble {
                kind: if missing { ErrorKind::NotFound } else { ErrorKind::Unavailable },
                message: if missing {
                    format!("there is no Secret {}/{}: create it", reference.namespace, reference.name)
                } else {
                    chain(&error)
                },
            }
        })?;
        for (key, value) in secret.data.unwrap_or_default() {
            // Passwords typed into `kubectl create secret --from-file` end in a line feed that nobody means.
            let text = String::from_utf8_lossy(&value.0).trim_end_matches(['\r', '\n']).to_owned();
            secrets.0.insert((reference.clone(), key), text.into());
        }
    }
    Ok(secrets)
}

/// An open connection.
type Opened = Arc<dyn Provider>;

/// What a connection is made from, besides the provider's own spec.
#[cfg_attr(
    not(any(feature = "ec2", feature = "gce")),
    expect(dead_code, reason = "some of it is for clouds with a catalogue")
)]
pub(crate) struct Connection<'a> {
    /// The values of the Secrets that the spec names.
    pub secrets: &'a Secrets,
    /// Whose guests these are.
    pub owner: &'a Owner,
    /// Which of several operators this is.
    pub caller: &'a str,
    /// The provider's own id of the pool as it was last seen. Another pool behind the same address is not driven.
    pub expected_id: Option<&'a str>,
    /// What is wanted of the provider's catalogue of types, where it has one and it is to be used.
    pub catalogue: Option<&'a Catalogue>,
    /// An image of the pool, for asking whether it may be used.
    pub image: Option<&'a str>,
    /// Types that the pool lists, for asking whether there are such.
    pub types: &'a [String],
}

/// What is wanted of a provider's catalogue of types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Catalogue {
    /// Families of types. Empty: the usual ones.
    pub families: Vec<String>,
    /// The provider's ids of the networks that guests can be in.
    pub networks: Vec<String>,
    /// On-demand prices come from the provider's price list.
    pub price_list: bool,
}

impl Catalogue {
    /// What a pool wants; `None` where its types are written down.
    pub(crate) fn of(spec: &CloudPoolSpec) -> Option<Self> {
        let paid = spec.pricing.pay_per_use.as_ref().filter(|paid| paid.from_catalogue())?;
        Some(Self {
            families: paid.families.iter().map(|name| name.0.clone()).collect(),
            networks: spec.networks.iter().map(|network| network.provider_id.clone()).collect(),
            price_list: paid.on_demand == Some(OnDemandPrices::PriceList),
        })
    }
}

/// The types that a pool lists, where they must be there before they can be rented.
pub(crate) fn types(spec: &CloudPoolSpec) -> Vec<String> {
    let listed = spec
        .pricing
        .pay_per_use
        .iter()
        .filter(|_| spec.provider.openstack.is_some())
        .flat_map(|paid| &paid.instance_types);
    listed.map(|kind| kind.name.clone()).collect()
}

/// Opens the connection.
pub(crate) async fn connect(spec: &ProviderSpec, made: &Connection<'_>) -> Result<Opened, Trouble> {
    let connecting = async {
        match (&spec.xapi, &spec.ec2, &spec.gce, &spec.openstack) {
            (Some(xapi), None, None, None) => xapi::connect(xapi, made).await,
            (None, Some(ec2), None, None) => ec2::connect(ec2, made).await,
            (None, None, Some(gce), None) => gce::connect(gce, made).await,
            (None, None, None, Some(cloud)) => openstack::connect(cloud, made),
            _ => Err(invalid("spec.provider must have exactly one of xapi, ec2, gce and openstack")),
        }
    };
    timeout(CONNECTING, connecting).await.unwrap_or_else(|_| {
        let message = format!("the provider did not answer within {} s", CONNECTING.as_secs());
        Err(Trouble { kind: ErrorKind::Unavailable, message })
    })
}

/// What a connection to a Xen pool would be made from.
pub(crate) fn xapi_config(spec: &XapiSpec, made: &Connection<'_>) -> Result<XapiConfig, Trouble> {
    xapi::config(spec, made)
}

fn invalid(message: impl Into<String>) -> Trouble {
    Trouble { kind: ErrorKind::Invalid, message: message.into() }
}

fn failed(error: &ProviderError) -> Trouble {
    Trouble { kind: error.kind, message: chain(error) }
}

/// The same, and which Secret to correct. Without a code it is not the provider that refused us.
fn refused(error: &ProviderError, secret: Option<&SecretReference>) -> Trouble {
    let mut trouble = failed(error);
    if let (ErrorKind::Auth, Some(_), Some(secret)) = (error.kind, &error.code, secret) {
        trouble.message +=
            &format!("; correct the credentials in Secret {}/{}, or their rights", secret.namespace, secret.name);
    }
    trouble
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_refused_is_told_which_secret_to_correct() {
        let secret = SecretReference { namespace: "pools".to_owned(), name: "xen".to_owned() };
        let error = ProviderError::new(ErrorKind::Auth, "connect to the pool", "refused");
        assert_eq!(refused(&error, Some(&secret)), failed(&error), "it is the host that is not trusted");
        let error = error.with_code("SESSION_AUTHENTICATION_FAILED");
        assert!(refused(&error, Some(&secret)).message.ends_with("in Secret pools/xen, or their rights"));
        assert_eq!(refused(&error, None), failed(&error));
    }
}
