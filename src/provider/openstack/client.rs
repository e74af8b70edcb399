//! One call to the cloud: its token, its deadline, its repetition where that is harmless.

use std::{error::Error as StdError, time::Duration};

use jiff::{Timestamp, fmt::rfc2822};
use reqwest::{Certificate, Client, Method, Url, header, redirect};
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::{
    sync::{Mutex, Semaphore},
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    config::OpenstackConfig,
    fault::Failure,
    login::{self, Logins, Session},
    wire::{MICROVERSION, TokenReply},
};
use crate::provider::{
    ErrorKind, ProviderError, Result,
    rented::retry::{self, Effect},
};

/// How long making a connection may take: a host that is down should not use up the whole deadline.
const CONNECT: Duration = Duration::from_secs(5);

/// Calls that are under way at a time: clouds limit how many one user may have.
const AT_ONCE: usize = 16;

/// A request to Nova.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub method: Method,
    /// Below Nova's address, with its query.
    pub path: String,
    pub body: Option<Value>,
}

impl Request {
    pub(super) fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), body: None }
    }

    pub(super) fn post(path: impl Into<String>, body: Value) -> Self {
        Self { method: Method::POST, path: path.into(), body: Some(body) }
    }

    /// A tag is put without a body, and Nova refuses an empty one.
    pub(super) fn put(path: impl Into<String>, body: Option<Value>) -> Self {
        Self { method: Method::PUT, path: path.into(), body }
    }

    pub(super) fn delete(path: impl Into<String>) -> Self {
        Self { method: Method::DELETE, path: path.into(), body: None }
    }

    fn effect(&self) -> Effect {
        if self.method == Method::GET { Effect::Read } else { Effect::Write }
    }
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub body: Vec<u8>,
    /// The server's own time.
    pub date: Option<Timestamp>,
    token: Option<SecretString>,
}

/// A client of the cloud with our manners.
#[derive(Debug)]
pub(super) struct Api {
    http: Client,
    config: OpenstackConfig,
    logins: Mutex<Logins>,
    slots: Semaphore,
    pub(super) closed: CancellationToken,
}

impl Api {
    /// Makes the client. Nothing is sent yet.
    pub(super) fn new(config: &OpenstackConfig) -> Result<Self> {
        let refuse = |why: String| ProviderError::new(ErrorKind::Invalid, "connect to OpenStack", why);
        let name = concat!("innkeeper/", env!("CARGO_PKG_VERSION"));
        let caller = config.caller.as_ref().map_or_else(|| name.to_owned(), |caller| format!("{name} ({caller})"));
        let mut http = Client::builder()
            .user_agent(header::HeaderValue::try_from(caller).unwrap_or(header::HeaderValue::from_static(name)))
            .connect_timeout(CONNECT.min(config.deadline))
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            // The cloud is named, not looked up: a proxy from the environment would see the token's way.
            .no_proxy();
        if let Some(pem) = &config.authorities {
            let read = Certificate::from_pem_bundle(pem.as_bytes());
            let authorities = read.map_err(|_| refuse("ca.crt holds no certificates in PEM".to_owned()))?;
            http = http.tls_certs_merge(authorities);
        }
        Ok(Self {
            http: http.build().map_err(|error| refuse(format!("the HTTP client cannot be made: {error}")))?,
            config: config.clone(),
            logins: Mutex::default(),
            slots: Semaphore::new(AT_ONCE),
            closed: CancellationToken::new(),
        })
    }

    /// Sends a request and reads the answer.
    pub(super) async fn ask<T: DeserializeOwned>(&self, act: &str, request: Request) -> Result<T> {
        let effect = request.effect();
        let answer = self.call(act, request).await?;
        serde_json::from_slice(&answer.body).map_err(|error| {
            let words = format!("the answer cannot be read: it fails at line {}", error.line());
            Failure::Lost(words).into_error(act, effect)
        })
    }

    /// Sends a request, again where that is harmless, until the deadline.
    pub(super) async fn call(&self, act: &str, request: Request) -> Result<Answer> {
        let effect = request.effect();
        let deadline = Instant::now() + self.config.deadline;
        let mut attempts = 0;
        let mut spent = None;
        loop {
            if self.closed.is_cancelled() {
                let message = "the connection to OpenStack was closed";
                return Err(ProviderError::new(ErrorKind::Unavailable, act, message));
            }
            let (session, result) = match self.session(act, spent, deadline).await {
                // No token, no request: whatever it was, nothing was done.
                Err(error) => (None, Err(error)),
                Ok(session) => {
                    let reply = self.send(&session, &request, patience(effect, deadline, self.config.deadline)).await;
                    (Some(session.number), reply.map_err(|failure| failure.into_error(act, effect)))
                }
            };
            let error = match result {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            // The token was taken back before its time. A refused request did nothing.
            if error.kind == ErrorKind::Auth
                && error.code.as_deref() == Some(TOKEN_REFUSED)
                && let Some(number) = session
                && spent.is_none()
            {
                spent = Some(number);
                continue;
            }
            attempts += 1;
            let effect = if session.is_none() { Effect::Read } else { effect };
            match pause(effect, &error, attempts, self.config.deadline, rand::random()) {
                Some(pause) if Instant::now() + pause < deadline => sleep(pause).await,
                Some(pause) => return Err(error.with_retry_after(pause)),
                None => return Err(error),
            }
        }
    }

    /// The pool: the project and the region.
    pub(super) async fn pool(&self, act: &str) -> Result<String> {
        Ok(self.session(act, None, Instant::now() + self.config.deadline).await?.pool)
    }

    /// A token. Who comes while somebody logs in waits for that.
    async fn session(&self, act: &str, spent: Option<u64>, deadline: Instant) -> Result<Session> {
        let late = || {
            let message = "another login does not come to its end";
            ProviderError::new(ErrorKind::Unavailable, act, message)
        };
        let mut logins = timeout_at(deadline, self.logins.lock()).await.map_err(|_| late())?;
        if let Some(session) = logins.current(spent, Timestamp::now()) {
            return Ok(session);
        }
        if let Some(error) = logins.refused(act, Instant::now()) {
            return Err(error);
        }
        let url = login::address(&self.config.auth_url);
        let body = login::request(&self.config.credentials);
        let request = self.http.post(url).header(header::ACCEPT, "application/json");
        let patience = patience(Effect::Read, deadline, self.config.deadline);
        let answer = match self.exchange(request, Some(&body), patience).await {
            Ok(answer) => answer,
            Err(failure) => {
                let error = failure.into_error(act, Effect::Read);
                if error.kind == ErrorKind::Auth {
                    logins.note_refusal(&error, Instant::now());
                }
                return Err(error);
            }
        };
        let refuse = |message: String| ProviderError::new(ErrorKind::Unavailable, act, message);
        let header = answer.token.ok_or_else(|| refuse("Keystone gave no token".to_owned()))?;
        let reply: TokenReply = serde_json::from_slice(&answer.body)
            .map_err(|_| refuse("Keystone's answer to the login cannot be read".to_owned()))?;
        let session = login::session(&self.config, logins.next(), header, &reply.token)
            .map_err(|words| ProviderError::new(ErrorKind::Invalid, act, words))?;
        logins.note(session.clone());
        Ok(session)
    }

    async fn send(&self, session: &Session, request: &Request, patience: Duration) -> Result<Answer, Failure> {
        let _slot = timeout(patience, self.slots.acquire())
            .await
            .map_err(|_| Failure::NotSent("too many calls are waiting for their turn".to_owned()))?;
        let base = session.compute.as_str().trim_end_matches('/');
        let url = Url::parse(&format!("{base}{}", request.path));
        let url = url.map_err(|error| Failure::NotSent(format!("{} is no address: {error}", request.path)))?;
        let mut token = header::HeaderValue::try_from(session.token.expose_secret())
            .map_err(|_| Failure::NotSent("the token is no header".to_owned()))?;
        token.set_sensitive(true);
        let sending = self.http.request(request.method.clone(), url).header(header::ACCEPT, "application/json");
        let sending = sending.header("x-auth-token", token).header("openstack-api-version", MICROVERSION);
        let answer = self.exchange(sending, request.body.as_ref(), patience).await;
        match answer {
            Err(Failure::Refused { status: 401, message, retry_after, .. }) => Err(Failure::Refused {
                status: 401,
                code: Some(TOKEN_REFUSED.to_owned()),
                message: Some(message.unwrap_or_else(|| "Nova refuses the token".to_owned())),
                retry_after,
            }),
            other => other,
        }
    }

    async fn exchange(
        &self,
        request: reqwest::RequestBuilder,
        body: Option<&Value>,
        patience: Duration,
    ) -> Result<Answer, Failure> {
        let request = match body {
            Some(body) => request.header(header::CONTENT_TYPE, "application/json").body(body.to_string()),
            None => request,
        };
        let exchange = async {
            let reply = request.send().await.map_err(failure)?;
            let status = reply.status().as_u16();
            let text = |name: &str| reply.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
            let date = text("date").and_then(|text| rfc2822::parse(&text).ok()).map(|date| date.timestamp());
            let after = text("retry-after").and_then(|text| text.parse().ok()).map(Duration::from_secs);
            let token = text("x-subject-token").map(SecretString::from);
            let body = reply.bytes().await.map_err(failure)?;
            if (200..300).contains(&status) {
                return Ok(Answer { body: body.into(), date, token });
            }
            Err(Failure::answered(status, &body, after))
        };
        timeout(patience, exchange)
            .await
            .unwrap_or_else(|_| Err(Failure::Lost(format!("no answer within {:.1} s", patience.as_secs_f64()))))
    }
}

/// The code of a refusal that a new token may mend.
const TOKEN_REFUSED: &str = "tokenRefused";

/// A read that hangs leaves time for another; a change gets all the time there is.
fn patience(effect: Effect, deadline: Instant, whole: Duration) -> Duration {
    let left = deadline.saturating_duration_since(Instant::now());
    if effect == Effect::Read { left.min(whole / 2) } else { left }
}

fn failure(error: reqwest::Error) -> Failure {
    let error = error.without_url();
    // The last cause is the most exact.
    let mut last: &dyn StdError = &error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    let words = last.to_string();
    if error.is_connect() || error.is_builder() { Failure::NotSent(words) } else { Failure::Lost(words) }
}

/// How long to wait before the same call is sent again: at least as long as the cloud asks. `None`: it is not sent again.
fn pause(effect: Effect, error: &ProviderError, attempts: u32, deadline: Duration, dice: f64) -> Option<Duration> {
    let own = retry::pause(effect, error.kind, attempts, deadline, dice)?;
    Some(error.retry_after.map_or(own, |asked| asked.max(own)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_as_long_as_the_cloud_asks() {
        let deadline = Duration::from_secs(30);
        let error = ProviderError::new(ErrorKind::Throttled, "act", "words");
        assert!(pause(Effect::Write, &error, 1, deadline, 1.0) < Some(Duration::from_secs(1)));
        let error = error.with_retry_after(Duration::from_secs(7));
        assert_eq!(pause(Effect::Write, &error, 1, deadline, 1.0), Some(Duration::from_secs(7)));
    }
}
