//! One HTTP request to one host, and what is known when it fails.

use std::{error::Error as StdError, time::Duration};

use reqwest::{Client, Url, header, redirect, retry};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde_json::Value;
use snafu::{ResultExt, Snafu};
use tokio::time::{Instant, timeout_at};

use super::{
    config::XapiConfig,
    fault::Fault,
    tls::{self, TrustError},
    transfer::Taken,
    wire::{self, AnswerError},
};

/// Why a request gave no result.
#[derive(Debug, Snafu)]
pub(super) enum RequestError {
    /// No connection was made: the request certainly had no effect.
    #[snafu(display("{host} cannot be reached: {why}"))]
    Unreachable { host: String, why: String, distrust: bool },
    /// The connection broke, or time ran out, after the request may have been sent.
    #[snafu(display("no answer from {host}: {why}"))]
    Lost { host: String, why: String },
    /// Something that is not XAPI answered, or XAPI could not read the request.
    #[snafu(display("{host} gave no XAPI answer: {why}"))]
    NoAnswer { host: String, why: String },
    /// XAPI refused or failed the call.
    #[snafu(display("{fault}"))]
    Refused { fault: Fault },
}

/// Why there is no transport.
#[derive(Debug, Snafu)]
pub(super) enum TransportError {
    /// TLS cannot be configured.
    #[snafu(display("the trust in the pool's hosts cannot be set up"))]
    Trust { source: TrustError },
    /// The HTTP client cannot be made.
    #[snafu(display("the HTTP client cannot be made"))]
    Http { source: reqwest::Error },
}

/// Makes calls to any host of the pool.
#[derive(Clone, Debug)]
pub(super) struct Transport {
    http: Client,
    caller: Option<String>,
}

/// Idle connections are dropped before stunnel (in front of xapi) drops them, so that few requests meet a closed one.
const IDLE: Duration = Duration::from_secs(20);

/// The header that says which of several operators calls. (The User-Agent must stay the same.)
const CALLER: &str = "x-innkeeper-caller";

impl Transport {
    pub(super) fn new(config: &XapiConfig) -> Result<Self, TransportError> {
        let tls = tls::client_config(&config.tls).context(TrustSnafu)?;
        let http = Client::builder()
            // Newest xapi limits callers by User-Agent: a stable one. All headers together must stay under 1,024 bytes.
            .user_agent(concat!("innkeeper/", env!("CARGO_PKG_VERSION")))
            .tls_backend_preconfigured(tls)
            .http1_only()
            .connect_timeout(config.timing.connect)
            .pool_idle_timeout(IDLE)
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            // The pool is named, not looked up: a proxy from the environment would see the password's way.
            .no_proxy()
            .build()
            .context(HttpSnafu)?;
        Ok(Self { http, caller: config.caller.clone() })
    }

    /// Calls `method` at the host. Ends by `until`.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        endpoint: &Url,
        method: &str,
        params: &[Value],
        until: Instant,
    ) -> Result<T, RequestError> {
        let host = endpoint.host_str().unwrap_or_default();
        match timeout_at(until, self.post(endpoint, wire::encode(method, params))).await {
            Err(_) => LostSnafu { host, why: "time ran out" }.fail(),
            Ok(Err(error)) => Err(error),
            Ok(Ok(body)) => wire::decode(&body).map_err(|error| match error {
                AnswerError::Refused { fault } => RequestError::Refused { fault },
                AnswerError::Unreadable { source } => {
                    RequestError::NoAnswer { host: host.into(), why: source.to_string() }
                }
            }),
        }
    }

    /// Sends data to a handler. Whether they arrived well is not in the answer: it comes before they are read.
    pub(super) async fn put(
        &self,
        url: Url,
        session: &SecretString,
        data: Vec<u8>,
        until: Instant,
    ) -> Result<Taken, RequestError> {
        let host = url.host_str().unwrap_or_default().to_owned();
        let lost = |error: reqwest::Error| RequestError::Lost { host: host.clone(), why: said(&error.without_url()) };
        // Where no log of requests shows it.
        let cookie = header::HeaderValue::try_from(format!("session_id={}", session.expose_secret()));
        let mut cookie = cookie.unwrap_or(header::HeaderValue::from_static("session_id="));
        cookie.set_sensitive(true);
        let exchange = async {
            let request = self.http.put(url).header(header::COOKIE, cookie).body(data);
            let response = request.send().await.map_err(|error| request_error(&host, error))?;
            match response.status().as_u16() {
                302 => {
                    let location = response.headers().get(header::LOCATION).and_then(|l| l.to_str().ok());
                    let named = location.and_then(|l| Url::parse(l).ok()).and_then(|l| l.host_str().map(str::to_owned));
                    let nowhere = || RequestError::NoAnswer { host: host.clone(), why: "it sends us nowhere".into() };
                    named.map(Taken::Elsewhere).ok_or_else(nowhere)
                }
                401 => Ok(Taken::Unauthorized),
                // The end of the answer comes when the data are in.
                _ => response.bytes().await.map(|_| Taken::Here).map_err(lost),
            }
        };
        match timeout_at(until, exchange).await {
            Ok(taken) => taken,
            Err(_) => LostSnafu { host: &host, why: "time ran out" }.fail(),
        }
    }

    async fn post(&self, endpoint: &Url, body: Vec<u8>) -> Result<Vec<u8>, RequestError> {
        let mut url = endpoint.clone();
        url.set_path("/jsonrpc");
        let host = endpoint.host_str().unwrap_or_default();
        let mut request = self.http.post(url).header(header::CONTENT_TYPE, "application/json").body(body);
        if let Some(caller) = &self.caller {
            request = request.header(CALLER, caller);
        }
        let response = request.send().await.map_err(|error| request_error(host, error))?;
        let status = response.status();
        let body =
            response.bytes().await.map_err(|error| RequestError::Lost { host: host.into(), why: said(&error) })?;
        if status.is_success() {
            return Ok(body.into());
        }
        let why = format!("HTTP status {status}");
        // 502 to 504 come from something between us and xapi, which may have got the request.
        if matches!(status.as_u16(), 502..=504) {
            LostSnafu { host, why }.fail()
        } else {
            NoAnswerSnafu { host, why }.fail()
        }
    }
}

fn request_error(host: &str, error: reqwest::Error) -> RequestError {
    let error = error.without_url();
    let (host, why) = (host.to_owned(), said(&error));
    if error.is_connect() || error.is_builder() {
        RequestError::Unreachable { host, why, distrust: is_distrust(&error) }
    } else {
        RequestError::Lost { host, why }
    }
}

/// The last and so most exact cause. What is between it and the top is "error sending request" and the like.
fn said(error: Cause<'_>) -> String {
    chain(error).last().map(ToString::to_string).unwrap_or_default()
}

type Cause<'a> = &'a (dyn StdError + 'static);

/// An error and its causes. An I/O error hides the cause that was put into it.
fn chain(error: Cause<'_>) -> impl Iterator<Item = Cause<'_>> {
    fn next<'a>(error: &Cause<'a>) -> Option<Cause<'a>> {
        match error.downcast_ref::<std::io::Error>() {
            Some(io) => io.get_ref().map(|inner| inner as Cause<'a>),
            None => (*error).source(),
        }
    }
    std::iter::successors(Some(error), next)
}

fn is_distrust(error: Cause<'_>) -> bool {
    chain(error).any(|e| e.downcast_ref::<rustls::Error>().is_some_and(tls::is_distrust))
}
