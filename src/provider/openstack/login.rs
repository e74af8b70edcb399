//! Tokens of Keystone: one login at a time for all callers, again shortly before the token ends, and none where the
//! credentials were just refused.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::Url;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    config::{Credentials, Domain, Named, OpenstackConfig},
    wire::Token,
};
use crate::provider::{ErrorKind, ProviderError};

/// What a login came to.
#[derive(Clone)]
pub(super) struct Session {
    /// Counts logins, so that who finds the token refused knows whether somebody has already logged in again.
    pub number: u64,
    /// The token.
    pub token: SecretString,
    /// Where Nova is.
    pub compute: Url,
    /// The pool: the project and the region.
    pub pool: String,
    /// Until when the token is used.
    pub until: Timestamp,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Session({}, {})", self.number, self.pool)
    }
}

/// Credentials that were refused, and are not shown again for a while. Clouds lock users out that try again and again.
#[derive(Clone, Debug)]
struct Refusal {
    until: Instant,
    wait: Duration,
    message: String,
    code: Option<String>,
}

/// The first pause after a refusal, and the longest.
const FIRST: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_mins(10);

/// How long before its end a token is not used any more.
const MARGIN: Duration = Duration::from_mins(2);

/// What is known of logins. Pure: time is passed in.
#[derive(Debug, Default)]
pub(super) struct Logins {
    session: Option<Session>,
    refusal: Option<Refusal>,
    count: u64,
}

impl Logins {
    /// A token that can be used. `spent`: the number of a session that Nova has refused.
    pub(super) fn current(&self, spent: Option<u64>, now: Timestamp) -> Option<Session> {
        let session = self.session.as_ref()?;
        (Some(session.number) != spent && session.until > now).then(|| session.clone())
    }

    /// Whether the credentials were refused so lately that they are not shown again.
    pub(super) fn refused(&self, act: &str, now: Instant) -> Option<ProviderError> {
        let refusal = self.refusal.as_ref().filter(|refusal| refusal.until > now)?;
        let mut error = ProviderError::new(ErrorKind::Auth, act, refusal.message.clone());
        error.code.clone_from(&refusal.code);
        Some(error.with_retry_after(refusal.until - now))
    }

    /// Keystone has refused them.
    pub(super) fn note_refusal(&mut self, error: &ProviderError, now: Instant) {
        let wait = self.refusal.as_ref().map_or(FIRST, |before| (before.wait * 2).min(LONGEST));
        let (message, code) = (error.message.clone(), error.code.clone());
        (self.session, self.refusal) = (None, Some(Refusal { until: now + wait, wait, message, code }));
    }

    /// The number of the next session.
    pub(super) const fn next(&self) -> u64 {
        self.count + 1
    }

    /// Keystone has given out a token.
    pub(super) fn note(&mut self, session: Session) {
        self.count = session.number;
        (self.session, self.refusal) = (Some(session), None);
    }
}

/// What a token is asked for with.
pub(super) fn request(credentials: &Credentials) -> Value {
    match credentials {
        Credentials::Application { id, secret } => json!({ "auth": { "identity": {
            "methods": ["application_credential"],
            "application_credential": { "id": id, "secret": secret.expose_secret() },
        } } }),
        Credentials::Password { user, password, project } => {
            let mut who = named(user);
            who["password"] = password.expose_secret().into();
            json!({ "auth": {
                "identity": { "methods": ["password"], "password": { "user": who } },
                "scope": { "project": named(project) },
            } })
        }
    }
}

fn named(named: &Named) -> Value {
    match named {
        Named::Id(id) => json!({ "id": id }),
        Named::Name { name, domain: Domain::Id(id) } => json!({ "name": name, "domain": { "id": id } }),
        Named::Name { name, domain: Domain::Name(domain) } => json!({ "name": name, "domain": { "name": domain } }),
    }
}

/// Where tokens are had.
pub(super) fn address(auth_url: &Url) -> Url {
    let mut url = auth_url.clone();
    let path = url.path().trim_end_matches('/').to_owned();
    let path = if path.ends_with("/v3") { path } else { format!("{path}/v3") };
    url.set_path(&format!("{path}/auth/tokens"));
    url
}

/// What an answer to a login means, or a sentence about what is wrong.
pub(super) fn session(
    config: &OpenstackConfig,
    number: u64,
    header: SecretString,
    token: &Token,
) -> Result<Session, String> {
    let project =
        token.project.as_ref().map(|project| project.id.clone()).ok_or(
            "the token is bound to no project: name the project in clouds.yaml, or use an application credential",
        )?;
    let pool = format!("{project}@{}", config.region);
    if let Some(expected) = config.expected.as_ref().filter(|expected| **expected != pool) {
        return Err(format!(
            "the credentials lead to project {pool}, and this pool is {expected}: its guests are not there; put the \
             credentials of the old project back, or make a new CloudPool"
        ));
    }
    let compute = match &config.compute {
        Some(url) => url.clone(),
        None => compute(config, token)?,
    };
    let ends: Timestamp =
        token.expires_at.parse().map_err(|_| "Keystone does not say when the token ends".to_owned())?;
    let until = ends.checked_sub(MARGIN).unwrap_or(ends);
    Ok(Session { number, token: header, compute, pool, until })
}

fn compute(config: &OpenstackConfig, token: &Token) -> Result<Url, String> {
    let services = token.catalog.iter().filter(|service| service.kind == "compute");
    let mut endpoints = services.flat_map(|service| &service.endpoints);
    let region = Some(config.region.as_str());
    let fits = |one: &super::wire::CatalogEndpoint| {
        one.interface == config.interface && (one.region_id.as_deref() == region || one.region.as_deref() == region)
    };
    let found = endpoints.find(|one| fits(one)).ok_or_else(|| {
        let regions = token.catalog.iter().filter(|service| service.kind == "compute");
        let mut regions: Vec<&str> =
            regions.flat_map(|service| &service.endpoints).filter_map(|one| one.region_id.as_deref()).collect();
        regions.sort_unstable();
        regions.dedup();
        format!(
            "the cloud's catalogue has no {} address of Nova in region {}; its regions are {}",
            config.interface,
            config.region,
            regions.join(", ")
        )
    })?;
    Url::parse(&found.url).map_err(|error| format!("the catalogue's address of Nova is none: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::Owner;

    fn config() -> OpenstackConfig {
        let credentials = Credentials::Application { id: "a".into(), secret: "hush".into() };
        OpenstackConfig::new("https://k.example/identity".parse().unwrap(), "North", credentials, Owner("o".into()))
    }

    fn token() -> Token {
        serde_json::from_value(json!({
            "expires_at": "2026-11-25T18:00:00.000000Z",
            "project": { "id": "p1" },
            "catalog": [{ "type": "compute", "endpoints": [
                { "interface": "public", "region_id": "South", "url": "https://south.example/v2.1" },
                { "interface": "admin", "region_id": "North", "url": "https://admin.example/v2.1" },
                { "interface": "public", "region_id": "North", "url": "https://north.example/v2.1" },
            ] }],
        }))
        .unwrap()
    }

    #[test]
    fn the_region_and_the_interface_choose_the_address() {
        let found = session(&config(), 1, "t".into(), &token()).unwrap();
        assert_eq!((found.compute.as_str(), found.pool.as_str()), ("https://north.example/v2.1", "p1@North"));
        assert_eq!(found.until, "2026-11-25T17:58:00Z".parse().unwrap());
        let nowhere = OpenstackConfig { region: "East".into(), ..config() };
        let words = session(&nowhere, 1, "t".into(), &token()).unwrap_err();
        assert!(words.contains("its regions are North, South"), "{words}");
        let other = OpenstackConfig { expected: Some("p2@North".into()), ..config() };
        assert!(session(&other, 1, "t".into(), &token()).unwrap_err().contains("its guests are not there"));
    }

    #[test]
    fn refused_credentials_are_not_shown_again_at_once() {
        let now = Instant::now();
        let refusal = ProviderError::new(ErrorKind::Auth, "log in", "wrong");
        let mut logins = Logins::default();
        let mut waits = Vec::new();
        for _ in 0..7 {
            logins.note_refusal(&refusal, now);
            let error = logins.refused("list", now).unwrap();
            assert_eq!((error.kind, error.act.as_str()), (ErrorKind::Auth, "list"));
            waits.push(error.retry_after.unwrap().as_secs());
        }
        assert_eq!(waits, [30, 60, 120, 240, 480, 600, 600]);
        assert!(logins.refused("list", now + LONGEST).is_none());
    }

    #[test]
    fn a_token_is_used_until_shortly_before_its_end_and_not_once_refused() {
        let found = session(&config(), 1, "t".into(), &token()).unwrap();
        let mut logins = Logins::default();
        logins.note(found.clone());
        let at = |text: &str| -> Timestamp { text.parse().unwrap() };
        assert!(logins.current(None, at("2026-11-25T17:57:00Z")).is_some());
        assert!(logins.current(None, at("2026-11-25T17:59:00Z")).is_none());
        assert!(logins.current(Some(1), at("2026-11-25T17:00:00Z")).is_none());
        assert_eq!(logins.next(), 2);
    }

    #[test]
    fn addresses_with_and_without_version() {
        for (given, expected) in [
            ("https://k.example:5000", "https://k.example:5000/v3/auth/tokens"),
            ("https://k.example/identity/", "https://k.example/identity/v3/auth/tokens"),
            ("https://k.example/v3/", "https://k.example/v3/auth/tokens"),
        ] {
            assert_eq!(address(&given.parse().unwrap()).as_str(), expected);
        }
    }
}
