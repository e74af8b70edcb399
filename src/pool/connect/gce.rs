//! A region of Google Compute Engine.

use super::{Connection, Trouble, failed, invalid};
use crate::{
    api::gce::GceSpec,
    provider::gce::{Credentials, GceConfig, GceProvider, ServiceAccountKey},
};

#[expect(clippy::unused_async, reason = "as the others")]
pub(super) async fn connect(spec: &GceSpec, made: &Connection<'_>) -> Result<super::Opened, Trouble> {
    let credentials = match &spec.credentials_secret_ref {
        None => Credentials::of_the_machine(),
        Some(secret) => {
            let key = ServiceAccountKey::parse(&made.secrets.value(secret, "key.json")?);
            let bad = |error| invalid(format!("Secret {}/{}: key.json: {error}", secret.namespace, secret.name));
            Credentials::Key(Box::new(key.map_err(bad)?))
        }
    };
    let endpoint = spec
        .endpoint
        .as_deref()
        .map(|text| text.parse().map_err(|error| invalid(format!("endpoint \"{text}\" is not an address: {error}"))));
    let zones = spec.zones.iter().map(|zone| zone.0.clone()).collect();
    let config = GceConfig {
        endpoint: endpoint.transpose()?,
        caller: Some(made.caller.to_owned()),
        subnetwork: spec.subnetwork.clone(),
        network_tags: spec.network_tags.iter().map(|tag| tag.0.clone()).collect(),
        service_account: spec.service_account.clone(),
        families: made.catalogue.map(|wanted| wanted.families.clone()),
        ..GceConfig::new(&spec.project, zones, credentials, made.owner.clone())
    };
    let provider = GceProvider::connect(config).map_err(|error| failed(&error))?;
    Ok(provider)
}
