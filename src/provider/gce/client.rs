//! One call to the API: its turn, its token, its deadline, its repetition where that is harmless, its count.

use std::{
    error::Error as StdError,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use reqwest::{Client, Method, Url, redirect, retry};
use secrecy::ExposeSecret as _;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    action::{Action, Calls, Class},
    config::{ENDPOINT, GceConfig},
    fault::Failure,
    token::Tokens,
};
use crate::provider::{
    ErrorKind, ProviderError, Result,
    rented::{
        bucket::Bucket,
        retry::{Effect, pause},
    },
    xapi::{TlsTrust, client_config},
};

/// How long making a connection may take: a host that is down should not use up the whole deadline.
const CONNECT: Duration = Duration::from_secs(5);

/// Idle connections are dropped before Google drops them.
const IDLE: Duration = Duration::from_mins(1);

/// A request: what comes after `projects/PROJECT/`, and the rest of it.
#[derive(Clone, Debug)]
pub(super) struct Request {
    method: Method,
    path: String,
    query: Vec<(&'static str, String)>,
    body: Option<Value>,
}

impl Request {
    /// Below our own project.
    pub(super) fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), query: Vec::new(), body: None }
    }

    /// With a parameter.
    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    /// With a body.
    pub(super) fn body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }
}

/// A client of the API with our manners.
#[derive(Debug)]
pub(super) struct Api {
    http: Client,
    /// Ends in `/compute/v1/`.
    base: Url,
    project: String,
    tokens: Tokens,
    pub(super) deadline: Duration,
    buckets: Mutex<[Bucket; 3]>,
    pub(super) page_size: u32,
    pub(super) calls: Calls,
    pub(super) closed: CancellationToken,
}

impl Api {
    /// Makes the client. Nothing is sent yet.
    pub(super) fn new(config: &GceConfig) -> Result<Self> {
        const ACT: &str = "connect to Compute Engine";
        let invalid = |words: &str| ProviderError::new(ErrorKind::Invalid, ACT, words);
        let tls = client_config(&TlsTrust::SystemRoots)
            .map_err(|error| invalid("TLS cannot be set up").with_source(error))?;
        let agent = format!("innkeeper/{} {}", env!("CARGO_PKG_VERSION"), config.caller.as_deref().unwrap_or_default());
        let http = Client::builder()
            .user_agent(agent.trim().to_owned())
            .tls_backend_preconfigured(tls)
            .connect_timeout(CONNECT.min(config.deadline))
            .pool_idle_timeout(IDLE)
            .redirect(redirect::Policy::none())
            // The rule is to look before a change is sent again.
            .retry(retry::never())
            // Tokens go to the endpoint that the pool names, and to no proxy that the environment happens to name.
            .no_proxy()
            .build()
            .map_err(|error| invalid("no HTTP client can be made").with_source(error))?;
        let endpoint = config.endpoint.as_ref().map_or(ENDPOINT, Url::as_str);
        let base = format!("{}/compute/v1/", endpoint.trim_end_matches('/'));
        let now = Instant::now();
        Ok(Self {
            http,
            base: Url::parse(&base).map_err(|error| invalid("the endpoint is no address").with_source(error))?,
            project: config.project.clone(),
            tokens: Tokens::new(config.credentials.clone()),
            deadline: config.deadline,
            buckets: Mutex::new(Class::ALL.map(|class| Bucket::full(class.rate(), now))),
            page_size: config.page_size.clamp(1, 500),
            calls: Calls::default(),
            closed: CancellationToken::new(),
        })
    }

    /// Sends a request, at its turn and again where that is harmless, until the deadline.
    pub(super) async fn call<T: DeserializeOwned>(&self, act: &str, action: Action, request: &Request) -> Result<T> {
        let effect = action.effect();
        let deadline = Instant::now() + self.deadline;
        let mut attempts = 0;
        loop {
            self.turn(act, action, deadline).await?;
            self.calls.count(action);
            let left = deadline.saturating_duration_since(Instant::now());
            // A read that hangs leaves time for another; a change gets all the time there is.
            let patience = if effect == Effect::Read { left.min(self.deadline / 2) } else { left };
            let error = match timeout(patience, self.send(act, effect, request)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => error,
                Err(_) => {
                    let words = format!("no answer within {:.1} s", patience.as_secs_f64());
                    Failure::Lost(words).into_error(act, effect)
                }
            };
            attempts += 1;
            tracing::debug!(action = action.name(), attempts, kind = %error.kind, "call to Compute Engine failed: {error}");
            if error.kind == ErrorKind::Throttled {
                self.bucket(action, |bucket| bucket.drain(Instant::now()));
            }
            match pause(effect, error.kind, attempts, self.deadline, rand::random()) {
                Some(pause) if Instant::now() + pause < deadline => sleep(pause).await,
                Some(pause) => return Err(error.with_retry_after(pause)),
                None => return Err(error),
            }
        }
    }

    async fn send<T: DeserializeOwned>(&self, act: &str, effect: Effect, request: &Request) -> Result<T> {
        let token = self.tokens.get(act, &self.http).await?;
        let failed = |failure: Failure| failure.into_error(act, effect);
        let path = if request.path.starts_with("projects/") {
            request.path.clone()
        } else {
            format!("projects/{}/{}", self.project, request.path)
        };
        let mut url = self.base.join(&path).map_err(|error| failed(Failure::NotSent(error.to_string())))?;
        if !request.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&request.query);
        }
        let mut sending = self.http.request(request.method.clone(), url).bearer_auth(token.expose_secret());
        if let Some(body) = &request.body {
            sending = sending.header("content-type", "application/json").body(body.to_string());
        } else if request.method == Method::POST {
            sending = sending.header("content-length", "0");
        }
        let reply = sending.send().await.map_err(|error| failed(unanswered(error)))?;
        let status = reply.status();
        let text = reply.text().await.map_err(|error| failed(Failure::Lost(chain(&error.without_url()))))?;
        if status.as_u16() == 401 {
            self.tokens.forget(&token).await;
        }
        if !status.is_success() {
            return Err(failed(Failure::refused(status.as_u16(), &text)));
        }
        serde_json::from_str(&text)
            .map_err(|error| failed(Failure::Lost(format!("the answer cannot be read: {error}"))))
    }

    /// Waits for a token of the bucket. A call that would miss its deadline in the line is not sent.
    async fn turn(&self, act: &str, action: Action, deadline: Instant) -> Result<()> {
        if self.closed.is_cancelled() {
            return Err(ProviderError::new(ErrorKind::Unavailable, act, "the connection to Compute Engine was closed"));
        }
        let now = Instant::now();
        match self.bucket(action, |bucket| bucket.take(now, deadline.saturating_duration_since(now))) {
            Ok(wait) => {
                sleep(wait).await;
                Ok(())
            }
            Err(wait) => {
                let message = format!("too many {} calls are waiting for their turn", action.name());
                Err(ProviderError::new(ErrorKind::Throttled, act, message).with_retry_after(wait))
            }
        }
    }

    fn bucket<T>(&self, action: Action, act: impl FnOnce(&mut Bucket) -> T) -> T {
        // Nothing in here can stop half-way, so a poisoned lock still guards sound buckets.
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        act(&mut buckets[action.class() as usize])
    }
}

fn unanswered(error: reqwest::Error) -> Failure {
    let never_sent = error.is_connect() || error.is_builder();
    let words = chain(&error.without_url());
    if never_sent { Failure::NotSent(words) } else { Failure::Lost(words) }
}

fn chain(error: &dyn StdError) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        words += &format!(": {error}");
        source = error.source();
    }
    words
}
