//! From a pool's spec and Secrets to a connection.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::timeout;

use super::facts::Trouble;
use crate::{
    api::cloud_pool::{CloudPoolSpec, ProviderSpec, SecretReference, XapiSpec},
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
    let openstack = spec.openstack.iter().map(|openstack| &openstack.clouds_yaml_secret_ref);
    xapi.chain(ec2).chain(openstack).collect()
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
#[cfg_attr(not(feature = "ec2"), expect(dead_code, reason = "some of it is for clouds with a catalogue"))]
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
}

impl Catalogue {
    /// What a pool wants; `None` where its types are written down.
    pub(crate) fn of(spec: &CloudPoolSpec) -> Option<Self> {
        let paid = spec.pricing.pay_per_use.as_ref().filter(|paid| paid.from_catalogue())?;
        Some(Self {
            families: paid.families.iter().map(|name| name.0.clone()).collect(),
            networks: spec.networks.iter().map(|network| network.provider_id.clone()).collect(),
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
        match (&spec.xapi, &spec.ec2, &spec.openstack) {
            (Some(xapi), None, None) => xapi::connect(xapi, made).await,
            (None, Some(ec2), None) => ec2::connect(ec2, made).await,
            (None, None, Some(cloud)) => openstack::connect(cloud, made),
            _ => Err(invalid("spec.provider must have exactly one of xapi, ec2 and openstack")),
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

mod xapi {
    use super::{Connection, Secrets, Trouble, failed, invalid};
    use crate::{
        api::cloud_pool::{TlsSpec, XapiSpec},
        provider::xapi::{Fingerprint, Timing, TlsTrust, XapiConfig, XapiProvider},
    };

    pub(super) async fn connect(spec: &XapiSpec, made: &Connection<'_>) -> Result<super::Opened, Trouble> {
        let provider = XapiProvider::connect(config(spec, made)?).await.map_err(|error| failed(&error))?;
        Ok(provider)
    }

    pub(in crate::pool) fn config(spec: &XapiSpec, made: &Connection<'_>) -> Result<XapiConfig, Trouble> {
        let secrets = made.secrets;
        let secret = &spec.credentials_secret_ref;
        let endpoint = |text: &str| {
            reqwest::Url::parse(text)
                .map_err(|error| invalid(format!("endpoint \"{text}\" is not an address: {error}")))
        };
        Ok(XapiConfig {
            endpoints: spec.endpoints.iter().map(|url| endpoint(&url.0)).collect::<Result<_, _>>()?,
            user: secrets.text(secret, "username")?,
            password: secrets.value(secret, "password")?,
            tls: trust(spec.tls.as_ref(), secrets)?,
            owner: made.owner.clone(),
            caller: Some(made.caller.to_owned()),
            expected_pool: made.expected_id.map(str::to_owned),
            default_storage: spec.default_storage.clone(),
            timing: Timing::default(),
        })
    }

    fn trust(spec: Option<&TlsSpec>, secrets: &Secrets) -> Result<TlsTrust, Trouble> {
        let Some(spec) = spec else { return Ok(TlsTrust::SystemRoots) };
        if let Some(authority) = &spec.ca_secret_ref {
            return Ok(TlsTrust::Authority { pem: secrets.text(authority, "ca.crt")?, server_name: None });
        }
        let parse = |text: &String| {
            text.parse::<Fingerprint>()
                .map_err(|error| invalid(format!("spec.provider.xapi.tls.certificateFingerprints: {error}")))
        };
        Ok(TlsTrust::Fingerprints(
            spec.certificate_fingerprints.iter().map(|print| parse(&print.0)).collect::<Result<_, _>>()?,
        ))
    }
}

#[cfg(feature = "ec2")]
mod ec2 {
    use super::{Connection, Trouble, failed, invalid};
    use crate::{
        api::cloud_pool::Ec2Spec,
        provider::ec2::{Credentials, Ec2Config, Ec2Provider, Wanted},
    };

    pub(super) async fn connect(spec: &Ec2Spec, made: &Connection<'_>) -> Result<super::Opened, Trouble> {
        let credentials = match &spec.credentials_secret_ref {
            None => Credentials::DefaultChain,
            Some(secret) => Credentials::Static {
                access_key_id: made.secrets.text(secret, "accessKeyId")?,
                secret_access_key: made.secrets.value(secret, "secretAccessKey")?,
                session_token: None,
            },
        };
        let endpoint = spec.endpoint.as_deref().map(|text| {
            text.parse().map_err(|error| invalid(format!("endpoint \"{text}\" is not an address: {error}")))
        });
        let config = Ec2Config {
            endpoint: endpoint.transpose()?,
            caller: Some(made.caller.to_owned()),
            security_groups: spec.security_groups.clone(),
            default_subnet: spec.subnet.clone(),
            usual_image: made.image.map(str::to_owned),
            catalogue: made
                .catalogue
                .map(|wanted| Wanted { families: wanted.families.clone(), subnets: wanted.networks.clone() }),
            ..Ec2Config::new(&spec.region, credentials, made.owner.clone())
        };
        let provider = Ec2Provider::connect(config).await.map_err(|error| failed(&error))?;
        Ok(provider)
    }
}

#[cfg(not(feature = "ec2"))]
mod ec2 {
    use super::{Connection, Trouble, invalid};
    use crate::api::cloud_pool::Ec2Spec;

    #[expect(clippy::unused_async, reason = "it stands in for the one that connects")]
    pub(super) async fn connect(_: &Ec2Spec, _: &Connection<'_>) -> Result<super::Opened, Trouble> {
        Err(invalid("this innkeeper was built without EC2 (cargo feature ec2); install one that has it"))
    }
}

#[cfg(feature = "openstack")]
mod openstack {
    use super::{Connection, Trouble, failed, invalid};
    use crate::{
        api::openstack::OpenstackSpec,
        provider::openstack::{OpenstackConfig, OpenstackProvider, cloud},
    };

    pub(super) fn connect(spec: &OpenstackSpec, made: &Connection<'_>) -> Result<super::Opened, Trouble> {
        let secret = &spec.clouds_yaml_secret_ref;
        let text = made.secrets.value(secret, "clouds.yaml")?;
        let described = cloud(&text, &spec.cloud, &spec.region, made.owner.clone())
            .map_err(|error| invalid(format!("Secret {}/{}: {error}", secret.namespace, secret.name)))?;
        let config = OpenstackConfig {
            // One that is not there is not needed.
            authorities: made.secrets.text(secret, "ca.crt").ok(),
            caller: Some(made.caller.to_owned()),
            expected: made.expected_id.map(str::to_owned),
            types: made.types.to_vec(),
            zone: spec.availability_zone.clone(),
            network: spec.network.clone(),
            security_groups: spec.security_groups.iter().map(|name| name.0.clone()).collect(),
            key_pair: spec.key_pair.clone(),
            server_group: spec.server_group.clone(),
            config_drive: spec.config_drive,
            ..described
        };
        let provider = OpenstackProvider::connect(config).map_err(|error| failed(&error))?;
        Ok(provider)
    }
}

#[cfg(not(feature = "openstack"))]
mod openstack {
    use super::{Connection, Trouble, invalid};
    use crate::api::openstack::OpenstackSpec;

    pub(super) fn connect(_: &OpenstackSpec, _: &Connection<'_>) -> Result<super::Opened, Trouble> {
        Err(invalid("this innkeeper was built without OpenStack (cargo feature openstack); install one that has it"))
    }
}
