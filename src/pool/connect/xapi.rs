//! A Xen pool.

use super::{Connection, Secrets, Trouble, invalid, refused};
use crate::{
    api::cloud_pool::{TlsSpec, XapiSpec},
    provider::xapi::{Fingerprint, Timing, TlsTrust, XapiConfig, XapiProvider},
};

pub(super) async fn connect(spec: &XapiSpec, made: &Connection<'_>) -> Result<super::Opened, Trouble> {
    let secret = Some(&spec.credentials_secret_ref);
    let provider = XapiProvider::connect(config(spec, made)?).await.map_err(|error| refused(&error, secret))?;
    Ok(provider)
}

pub(in crate::pool) fn config(spec: &XapiSpec, made: &Connection<'_>) -> Result<XapiConfig, Trouble> {
    let secrets = made.secrets;
    let secret = &spec.credentials_secret_ref;
    let endpoint = |text: &str| {
        reqwest::Url::parse(text).map_err(|error| invalid(format!("endpoint \"{text}\" is not an address: {error}")))
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
