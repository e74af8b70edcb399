//! `clouds.yaml`, the file that OpenStack's own tools read, as far as it says how to reach a cloud.

use reqwest::Url;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use snafu::Snafu;

use super::config::{Credentials, Domain, Named, OpenstackConfig};
use crate::provider::Owner;

/// Why a `clouds.yaml` is of no use. Says nothing of what is secret.
#[derive(Clone, Debug, PartialEq, Eq, Snafu)]
pub enum CloudsError {
    /// It is not YAML of this shape. The parser's own words may quote the file.
    #[snafu(display(
        "clouds.yaml is not readable (near line {line}): compare it with the one that your cloud's dashboard gives out"
    ))]
    Unreadable {
        /// Near which line.
        line: u64,
    },
    /// It lacks the cloud.
    #[snafu(display("clouds.yaml has no cloud \"{cloud}\": it has {has}"))]
    NoCloud {
        /// The cloud that was asked for.
        cloud: String,
        /// Those that it has.
        has: String,
    },
    /// Something is missing or cannot be had.
    #[snafu(display("cloud \"{cloud}\" of clouds.yaml: {why}"))]
    Unfit {
        /// The cloud.
        cloud: String,
        /// What is wrong, and what to do.
        why: String,
    },
}

#[derive(Deserialize)]
struct Clouds {
    #[serde(default)]
    clouds: std::collections::BTreeMap<String, Cloud>,
}

#[derive(Deserialize)]
struct Cloud {
    auth: Auth,
    interface: Option<String>,
    verify: Option<bool>,
    compute_endpoint_override: Option<String>,
}

#[derive(Deserialize)]
struct Auth {
    #[serde(rename = "auth_url")]
    url: String,
    username: Option<String>,
    user_id: Option<String>,
    password: Option<Secret>,
    project_id: Option<String>,
    project_name: Option<String>,
    user_domain_id: Option<String>,
    user_domain_name: Option<String>,
    project_domain_id: Option<String>,
    project_domain_name: Option<String>,
    domain_id: Option<String>,
    domain_name: Option<String>,
    application_credential_id: Option<String>,
    application_credential_secret: Option<Secret>,
}

/// Text that is never printed.
#[derive(Deserialize)]
#[serde(from = "String")]
struct Secret(SecretString);

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

/// The connection that a cloud of the file describes.
pub fn cloud(text: &SecretString, cloud: &str, region: &str, owner: Owner) -> Result<OpenstackConfig, CloudsError> {
    let file: Clouds = serde_saphyr::from_str(text.expose_secret())
        .map_err(|error| CloudsError::Unreadable { line: error.location().map_or(0, |at| at.line()) })?;
    let has = || {
        let names: Vec<&str> = file.clouds.keys().map(String::as_str).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    };
    let Some(found) = file.clouds.get(cloud) else {
        return Err(CloudsError::NoCloud { cloud: cloud.to_owned(), has: has() });
    };
    config(found, region, owner).map_err(|why| CloudsError::Unfit { cloud: cloud.to_owned(), why })
}

fn config(cloud: &Cloud, region: &str, owner: Owner) -> Result<OpenstackConfig, String> {
    if cloud.verify == Some(false) {
        return Err("verify: false would send the password to whoever answers: put the authority's certificate into \
                    the Secret as ca.crt, and leave verify out"
            .to_owned());
    }
    let auth_url = address("auth_url", &cloud.auth.url)?;
    let compute = cloud.compute_endpoint_override.as_deref();
    let compute = compute.map(|text| address("compute_endpoint_override", text)).transpose()?;
    let usual = OpenstackConfig::new(auth_url, region, credentials(&cloud.auth)?, owner);
    Ok(OpenstackConfig { interface: cloud.interface.clone().unwrap_or(usual.interface), compute, ..usual })
}

fn address(what: &str, text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("{what} is not an address: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.password().is_some() || !url.username().is_empty() {
        return Err(format!("{what} must be https://HOST/PATH, without a user"));
    }
    Ok(url)
}

fn credentials(auth: &Auth) -> Result<Credentials, String> {
    match (&auth.application_credential_id, &auth.application_credential_secret) {
        (Some(id), Some(secret)) => {
            return Ok(Credentials::Application { id: id.clone(), secret: secret.0.clone() });
        }
        (None, None) => {}
        _ => return Err("auth needs application_credential_id and application_credential_secret together".to_owned()),
    }
    let domain = |id: &Option<String>, name: &Option<String>| {
        let own = id.clone().map(Domain::Id).or_else(|| name.clone().map(Domain::Name));
        let shared = || auth.domain_id.clone().map(Domain::Id).or_else(|| auth.domain_name.clone().map(Domain::Name));
        own.or_else(shared).unwrap_or_else(|| Domain::Id("default".to_owned()))
    };
    let named = |id: &Option<String>, name: &Option<String>, domain: Domain| {
        let by_name = || name.clone().map(|name| Named::Name { name, domain });
        id.clone().map(Named::Id).or_else(by_name)
    };
    let user = named(&auth.user_id, &auth.username, domain(&auth.user_domain_id, &auth.user_domain_name));
    let project =
        named(&auth.project_id, &auth.project_name, domain(&auth.project_domain_id, &auth.project_domain_name));
    match (user, &auth.password, project) {
        (Some(user), Some(password), Some(project)) => {
            Ok(Credentials::Password { user, password: password.0.clone(), project })
        }
        _ => Err("auth needs application_credential_id and application_credential_secret, or username, password and \
                  project_name"
            .to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<OpenstackConfig, CloudsError> {
        cloud(&text.into(), "acme", "RegionOne", Owner("o".into()))
    }

    fn with(auth: &str) -> String {
        format!("clouds:\n  acme:\n    auth:\n      auth_url: https://keystone.example:5000\n{auth}")
    }

    #[test]
    fn application_credentials_and_passwords() {
        let config =
            read(&with("      application_credential_id: abc\n      application_credential_secret: hush\n")).unwrap();
        assert!(matches!(&config.credentials, Credentials::Application { id, .. } if id == "abc"));
        assert!(!format!("{config:?}").contains("hush"));
        let text = with("      username: u\n      password: hush\n      project_name: p\n      user_domain_name: D\n");
        let Credentials::Password { user, project, .. } = read(&text).unwrap().credentials else { panic!() };
        assert_eq!(user, Named::Name { name: "u".into(), domain: Domain::Name("D".into()) });
        assert_eq!(project, Named::Name { name: "p".into(), domain: Domain::Id("default".into()) });
    }

    #[test]
    fn refusals_say_what_is_wrong_and_nothing_secret() {
        for (text, words) in [
            (with("      username: u\n      password: hush\n"), "project_name"),
            (with("      application_credential_secret: hush\n"), "together"),
            (with("      username: u\n      password: hush\n      project_name: p\n    verify: false\n"), "ca.crt"),
            ("clouds: {other: {auth: {auth_url: 'https://k', password: hush}}}".into(), "it has other"),
            ("clouds:\n  acme:\n    auth: hush\n".into(), "not readable"),
            ("clouds: {}".into(), "it has none"),
            ("clouds: {acme: {auth: {auth_url: 'https://u:hush@k'}}}".into(), "without a user"),
        ] {
            let error = read(&text).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
            assert!(!error.contains("hush"), "{error}");
        }
    }
}
