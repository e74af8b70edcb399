//! Following operations to their end. An operation that failed is done like any other: its error must be looked at.

use std::time::Duration;

use reqwest::Method;
use serde_json::Value;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::{
    action::Action,
    client::{Api, Request},
    driver::MOVING,
    fault,
    wire::Operation,
};
use crate::provider::{ErrorKind, ProviderError, Result};

/// How an operation ended, as far as that is known.
#[derive(Debug)]
pub(super) enum Ended {
    /// It did what was asked for.
    Well,
    /// It did not. Nothing of it is left.
    Failed(ProviderError),
    /// It goes on.
    NotYet,
    /// It could not be asked about.
    Unknown(ProviderError),
}

/// A change that goes on after its call was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Following {
    pub zone: String,
    pub name: String,
    /// At its end the instance is gone.
    pub removes: bool,
}

/// How an operation stands.
fn judge(act: &str, operation: &Operation) -> Ended {
    match (operation.is_done(), operation.failure()) {
        (false, _) => Ended::NotYet,
        (true, Some(failure)) => Ended::Failed(fault::of_operation(act, failure)),
        (true, None) => Ended::Well,
    }
}

/// How long to wait before asking for the `n`th time, from a hundredth of the deadline to a fifteenth.
fn interval(deadline: Duration, n: u32) -> Duration {
    (deadline / 100 * (1 << n.min(4))).min(deadline / 15)
}

impl Api {
    /// Begins a change of something that is there. Doing it twice comes to the same as once, so the request id only has to be
    /// the same where this one request is sent again.
    pub(super) async fn change(&self, act: &str, action: Action, path: &str, body: Option<Value>) -> Result<Operation> {
        let request = Request::new(Method::POST, path);
        self.send_change(act, action, body.into_iter().fold(request, Request::body)).await
    }

    /// As [`Api::change`], for a request with parameters.
    pub(super) async fn send_change(&self, act: &str, action: Action, request: Request) -> Result<Operation> {
        self.call(act, action, &request.with("requestId", Uuid::new_v4().to_string())).await
    }

    /// Follows an operation until it has ended, at most for the deadline.
    pub(super) async fn follow(&self, act: &str, zone: &str, operation: &Operation) -> Ended {
        let until = Instant::now() + self.deadline;
        let mut ended = judge(act, operation);
        for n in 0.. {
            let wait = interval(self.deadline, n);
            if !matches!(ended, Ended::NotYet) || Instant::now() + wait >= until {
                break;
            }
            sleep(wait).await;
            ended = self.ask(act, zone, &operation.name).await;
        }
        ended
    }

    /// How an operation stands now.
    pub(super) async fn ask(&self, act: &str, zone: &str, name: &str) -> Ended {
        let request = Request::new(Method::GET, format!("zones/{zone}/operations/{name}"));
        match self.call(act, Action::GetOperation, &request.with("fields", "name,status,endTime,error")).await {
            Ok(operation) => judge(act, &operation),
            Err(error) => Ended::Unknown(error),
        }
    }

    /// Makes a change and waits for its end.
    pub(super) async fn changed(
        &self,
        act: &str,
        action: Action,
        zone: &str,
        path: &str,
        body: Option<Value>,
    ) -> Result<()> {
        let operation = self.change(act, action, path, body).await?;
        self.ended(act, zone, &operation).await
    }

    /// Waits for the end of a change; anything but a good end is an error.
    pub(super) async fn ended(&self, act: &str, zone: &str, operation: &Operation) -> Result<()> {
        match self.follow(act, zone, operation).await {
            Ended::Well => Ok(()),
            Ended::Failed(error) => Err(error),
            Ended::NotYet => {
                let message = format!("the operation {} goes on", operation.name);
                Err(ProviderError::new(ErrorKind::Unavailable, act, message).with_retry_after(MOVING))
            }
            Ended::Unknown(mut error) => {
                error.kind = ErrorKind::UnknownOutcome;
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_operation_is_not_a_success() {
        use serde_json::json;
        let operation = |text: serde_json::Value| serde_json::from_value::<Operation>(text).unwrap();
        assert!(matches!(judge("x", &operation(json!({ "status": "RUNNING" }))), Ended::NotYet));
        assert!(matches!(judge("x", &operation(json!({ "status": "DONE" }))), Ended::Well));
        let failed =
            json!({ "status": "DONE", "error": { "errors": [{ "code": "QUOTA_EXCEEDED", "message": "no" }] } });
        let Ended::Failed(error) = judge("x", &operation(failed)) else { panic!() };
        assert_eq!(error.kind, ErrorKind::Capacity);
    }

    #[test]
    fn waits_grow_to_a_bound() {
        let waits: Vec<_> = (0..6).map(|n| interval(Duration::from_secs(30), n).as_millis()).collect();
        assert_eq!(waits, [300, 600, 1200, 2000, 2000, 2000]);
    }
}
