//! Access tokens: made with the account's key, or asked of the metadata server; kept until shortly before their end.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::{Client, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use tokio::{sync::Mutex, time::Instant};

use super::{account::LIFETIME, config::Credentials};
use crate::provider::{ErrorKind, ProviderError, Result};

/// So long before its end a token is not used any more.
const SPARE: Duration = Duration::from_mins(5);

/// How long the metadata server may take. It is on the same machine or network.
const ASKING: Duration = Duration::from_secs(5);

#[derive(Clone)]
struct Held {
    token: SecretString,
    until: Instant,
}

/// See the module.
pub(super) struct Tokens {
    credentials: Credentials,
    held: Mutex<Option<Held>>,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokens")
    }
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    expires_in: u64,
}

impl Tokens {
    pub(super) const fn new(credentials: Credentials) -> Self {
        Self { credentials, held: Mutex::const_new(None) }
    }

    /// A token that is good for a while.
    pub(super) async fn get(&self, act: &str, http: &Client) -> Result<SecretString> {
        let mut held = self.held.lock().await;
        if let Some(held) = held.as_ref().filter(|held| Instant::now() < held.until) {
            return Ok(held.token.clone());
        }
        let began = Instant::now();
        let (token, lifetime) = match &self.credentials {
            Credentials::Key(key) => {
                let token = key.token(Timestamp::now());
                let failed =
                    |error| ProviderError::new(ErrorKind::Auth, act, "no token can be made").with_source(error);
                (token.map_err(failed)?, LIFETIME)
            }
            Credentials::Metadata { host } => ask(act, http, host).await?,
        };
        let until = began + lifetime.saturating_sub(SPARE);
        *held = Some(Held { token: token.clone(), until });
        Ok(token)
    }

    /// The token is not taken any more: the next call has a new one.
    pub(super) async fn forget(&self, token: &SecretString) {
        let mut held = self.held.lock().await;
        if held.as_ref().is_some_and(|held| held.token.expose_secret() == token.expose_secret()) {
            *held = None;
        }
    }
}

async fn ask(act: &str, http: &Client, host: &str) -> Result<(SecretString, Duration)> {
    let failed = |kind, words: String| ProviderError::new(kind, act, format!("the metadata server {words}"));
    let address = format!("http://{host}/computeMetadata/v1/instance/service-accounts/default/token");
    let url = Url::parse(&address).map_err(|_| failed(ErrorKind::Invalid, "has no usable address".to_owned()))?;
    let asked = async {
        let reply = http.get(url).header("Metadata-Flavor", "Google").send().await?;
        Ok::<_, reqwest::Error>((reply.status(), reply.text().await?))
    };
    let (status, text) = match tokio::time::timeout(ASKING, asked).await {
        Err(_) => return Err(failed(ErrorKind::Unavailable, "does not answer".to_owned())),
        Ok(Err(error)) => {
            let words = "cannot be reached: is this a machine or pod at Google with a service account?".to_owned();
            return Err(failed(ErrorKind::Unavailable, words).with_source(error.without_url()));
        }
        Ok(Ok(answer)) => answer,
    };
    if !status.is_success() {
        let kind = if status.is_server_error() { ErrorKind::Unavailable } else { ErrorKind::Auth };
        return Err(failed(kind, format!("gives no token: HTTP {status}")));
    }
    let answer: Answer =
        serde_json::from_str(&text).map_err(|_| failed(ErrorKind::Unavailable, "gives no usable token".to_owned()))?;
    Ok((answer.access_token.into(), Duration::from_secs(answer.expires_in)))
}
