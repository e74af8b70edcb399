//! One call to EC2: its turn at the limiter, its deadline, its repetition where that is harmless, its count.
//!
//! The SDK's own retries are off. They repeat every HTTP 500, and `InsufficientInstanceCapacity` is one: a full zone
//! would be asked three times before the next offering is tried. They also repeat calls whose answer was lost, and
//! here the rule is to look first.

use std::{error::Error as StdError, time::Duration};

use aws_config::{BehaviorVersion, Region, default_provider::credentials::DefaultCredentialsChain};
use aws_sdk_ec2::{
    Client,
    config::{AppName, Config, SharedCredentialsProvider, retry::RetryConfig, timeout::TimeoutConfig},
};
use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use secrecy::ExposeSecret;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    action::{Action, Calls},
    config::{Credentials, Ec2Config},
    fault::Failure,
    limiter::Limiter,
    price_list::PriceList,
};
use crate::provider::{
    ErrorKind, ProviderError, Result,
    rented::retry::{Effect, pause},
};

/// How long making a connection may take: a host that is down should not use up the whole deadline.
const CONNECT: Duration = Duration::from_secs(5);

/// A client of EC2's API with our manners.
#[derive(Debug)]
pub(super) struct Api {
    ec2: Client,
    deadline: Duration,
    limiter: Limiter,
    pub(super) page_size: i32,
    pub(super) calls: Calls,
    /// The price list, for pools that ask for it.
    pub(super) price_list: Option<PriceList>,
    pub(super) closed: CancellationToken,
}

impl Api {
    /// Makes the client. Nothing is sent yet, except where the chain of credentials looks for its source.
    pub(super) async fn new(config: &Ec2Config) -> Result<Self> {
        let region = Region::new(config.region.clone());
        let credentials = match &config.credentials {
            Credentials::Static { access_key_id, secret_access_key, session_token } => {
                SharedCredentialsProvider::new(aws_credential_types::Credentials::new(
                    access_key_id,
                    secret_access_key.expose_secret(),
                    session_token.as_ref().map(|token| token.expose_secret().to_owned()),
                    None,
                    "CloudPool",
                ))
            }
            Credentials::DefaultChain => {
                SharedCredentialsProvider::new(DefaultCredentialsChain::builder().region(region.clone()).build().await)
            }
        };
        // Not aws_config::load: a pool is what its CloudPool says, whatever ~/.aws or AWS_ENDPOINT_URL say here.
        let mut builder = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(region)
            .credentials_provider(credentials.clone())
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT.min(config.deadline)).build());
        // One that AWS would not take is left out: nothing depends on it.
        builder.set_app_name(config.caller.clone().and_then(|caller| AppName::new(caller).ok()));
        if let Some(endpoint) = &config.endpoint {
            builder = builder.endpoint_url(endpoint.as_str().trim_end_matches('/'));
        }
        let asked = config.catalogue.as_ref().is_some_and(|wanted| wanted.price_list);
        Ok(Self {
            ec2: Client::from_conf(builder.build()),
            price_list: asked.then(|| PriceList::new(config, credentials)).transpose()?,
            deadline: config.deadline,
            limiter: Limiter::new(Instant::now()),
            page_size: config.page_size.clamp(5, 1000),
            calls: Calls::default(),
            closed: CancellationToken::new(),
        })
    }

    /// The SDK's client, to build requests with. They are sent through [`Api::call`] only.
    pub(super) const fn ec2(&self) -> &Client {
        &self.ec2
    }

    /// Sends a request, at its turn and again where that is harmless, until the deadline.
    pub(super) async fn call<T, E, F, Fut>(&self, act: &str, action: Action, send: F) -> Result<T>
    where
        E: ProvideErrorMetadata + StdError + 'static,
        F: Fn() -> Fut,
        Fut: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    {
        let effect = action.effect();
        let deadline = Instant::now() + self.deadline;
        let mut attempts = 0;
        loop {
            self.turn(act, action, deadline).await?;
            self.calls.count(action);
            let left = deadline.saturating_duration_since(Instant::now());
            // A read that hangs leaves time for another; a change gets all the time there is.
            let patience = if effect == Effect::Read { left.min(self.deadline / 2) } else { left };
            let failure = match timeout(patience, send()).await {
                Ok(Ok(output)) => return Ok(output),
                Ok(Err(error)) => Failure::of(&error),
                Err(_) => Failure::Lost(format!("no answer within {:.1} s", patience.as_secs_f64())),
            };
            attempts += 1;
            let error = failure.into_error(act, effect);
            tracing::debug!(action = action.name(), attempts, kind = %error.kind, "call to EC2 failed: {error}");
            if error.kind == ErrorKind::Throttled {
                self.limiter.drain(action.class(), Instant::now());
            }
            match pause(effect, error.kind, attempts, self.deadline, rand::random()) {
                Some(pause) if Instant::now() + pause < deadline => sleep(pause).await,
                Some(pause) => return Err(error.with_retry_after(pause)),
                None => return Err(error),
            }
        }
    }

    /// Waits for a token of the limiter. A call that would miss its deadline in the line is not sent.
    async fn turn(&self, act: &str, action: Action, deadline: Instant) -> Result<()> {
        if self.closed.is_cancelled() {
            return Err(ProviderError::new(ErrorKind::Unavailable, act, "the connection to EC2 was closed"));
        }
        let now = Instant::now();
        match self.limiter.take(action.class(), now, deadline.saturating_duration_since(now)) {
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
}
