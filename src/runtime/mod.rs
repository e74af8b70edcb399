//! What all controllers share: watching, queues with backoff, writing status, deadlines.

pub mod apply;
pub mod backoff;
pub mod client;
pub mod controller;
pub mod events;
pub mod gate;
pub mod kinds;
pub mod lease;
pub mod metrics;
pub mod pace;
pub mod queue;
mod spacing;
pub mod trace;
pub mod watch;
pub mod watchdog;

use std::{error::Error, fmt::Write as _, future::Future, time::Duration};

use snafu::{ResultExt, Snafu};

/// How long a call to the API server may take.
pub const API_DEADLINE: Duration = Duration::from_secs(15);

/// How soon to decide anew on an object that turned out to be older than the API server's. The newer one comes by the watch and
/// is decided on at once; this is for one that does not come. Sooner, an API server whose watches lag would be asked ever more.
pub const OUTDATED: Duration = Duration::from_secs(5);

/// A call to the API server that failed.
#[derive(Debug, Snafu)]
pub enum ApiError {
    /// The API server refused, or was not reached.
    #[snafu(display("cannot {act}"))]
    Call {
        /// What was being done.
        act: String,
        /// What the API server or the connection said.
        source: kube::Error,
    },
    /// The API server did not answer in time.
    #[snafu(display("cannot {act}: the API server did not answer within {} ms", limit.as_millis()))]
    Deadline {
        /// What was being done.
        act: String,
        /// How long it was waited for.
        limit: Duration,
    },
}

impl ApiError {
    /// The object changed since it was read: what was decided about it is out of date.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Call { source: kube::Error::Api(status), .. } if status.is_conflict())
    }

    /// The operator has no right to do that.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        matches!(self, Self::Call { source: kube::Error::Api(status), .. } if status.is_forbidden())
    }

    /// There is no such object.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Call { source: kube::Error::Api(status), .. } if status.is_not_found())
    }
}

/// A call to the API server within the deadline.
pub async fn call<T>(
    act: impl Into<String> + Send,
    request: impl Future<Output = kube::Result<T>> + Send,
) -> Result<T, ApiError> {
    call_within(act, API_DEADLINE, request).await
}

/// A call to the API server within a deadline of its own.
pub async fn call_within<T>(
    act: impl Into<String> + Send,
    limit: Duration,
    request: impl Future<Output = kube::Result<T>> + Send,
) -> Result<T, ApiError> {
    match tokio::time::timeout(limit, request).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(source)) => Err(source).context(CallSnafu { act }),
        Err(_) => DeadlineSnafu { act, limit }.fail(),
    }
}

/// An error with all it came from, in one line. A source that its parent's text already holds is not said again.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = plain(error);
    let mut source = error.source();
    while let Some(error) = source {
        let part = plain(error);
        if !text.contains(&part) {
            // Writing to a String cannot fail.
            let _ = write!(text, ": {part}");
        }
        // The API server's answer says it all; what kube wraps it in says it again in Rust's words.
        source = error.source().filter(|_| !error.is::<kube::Error>());
    }
    text
}

fn plain(error: &(dyn Error + 'static)) -> String {
    match error.downcast_ref() {
        Some(kube::Error::Api(status)) => status.message.clone(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn the_api_servers_answer_stands_in_its_own_words() {
        let status = Status::failure("guests \"web-9\" not found", "NotFound").with_code(404).boxed();
        let error = ApiError::Call { act: "read Guest web-9".into(), source: kube::Error::Api(status) };
        assert_eq!(chain(&error), "cannot read Guest web-9: guests \"web-9\" not found");
        assert!(error.is_not_found() && !error.is_conflict());
    }
}
