//! Why a call to the pool failed, and what that means to the caller of the driver.

use std::time::Duration;

use snafu::Snafu;

use super::fault::Fault;
use crate::provider::{ErrorKind, ProviderError};

/// Why a call gave no result.
#[derive(Clone, Debug, Snafu)]
#[snafu(visibility(pub(super)))]
pub(super) enum CallError {
    /// XAPI refused or failed it.
    #[snafu(display("{fault}"))]
    Refused { fault: Fault },
    /// It was certainly not carried out, or it was a read: the pool does not answer.
    #[snafu(display("the pool cannot be reached: {why}"))]
    Unreachable { why: String },
    /// It has effects, was sent, and its outcome is not known.
    #[snafu(display("the outcome is not known: {why}"))]
    Unknown { why: String },
    /// The other end is not whom we trust, or not the pool we know.
    #[snafu(display("{why}"))]
    Distrusted { why: String },
    /// The credentials were refused a short time ago: they were not tried again.
    #[snafu(display("the credentials were refused ({said}); they are tried again at the earliest in {} s", wait.as_secs()))]
    StillRefused { said: String, wait: Duration },
    /// The answer makes no sense.
    #[snafu(display("{why}"))]
    Nonsense { why: String },
    /// The connection was closed by us.
    #[snafu(display("the connection to the pool is closed"))]
    Closed,
}

impl CallError {
    /// The fault, where XAPI gave one.
    pub(super) fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Refused { fault } => Some(fault),
            _ => None,
        }
    }

    /// The object is certainly not there.
    pub(super) fn is_gone(&self) -> bool {
        self.fault().is_some_and(Fault::is_gone)
    }

    /// XAPI answered with this code.
    pub(super) fn is(&self, code: &str) -> bool {
        self.fault().is_some_and(|fault| fault.is(code))
    }

    pub(super) fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused { fault } => fault.kind(),
            Self::Unreachable { .. } | Self::Closed | Self::Nonsense { .. } => ErrorKind::Unavailable,
            Self::Unknown { .. } => ErrorKind::UnknownOutcome,
            Self::Distrusted { .. } | Self::StillRefused { .. } => ErrorKind::Auth,
        }
    }

    /// In the words of the provider interface: what was being done, and why it failed.
    pub(super) fn during(self, act: impl Into<String>) -> ProviderError {
        let error = ProviderError::new(self.kind(), act, self.to_string());
        let error = match &self {
            Self::Refused { fault } => error.with_code(fault.code.clone()),
            _ => error,
        };
        match &self {
            Self::StillRefused { wait, .. } => error.with_retry_after(*wait),
            Self::Refused { fault } if fault.kind() == ErrorKind::Throttled => {
                // As other clients of XAPI do on TOO_MANY_PENDING_TASKS.
                error.with_retry_after(Duration::from_secs(5))
            }
            _ => error,
        }
    }
}

/// Adds to a call's error what was being done.
pub(super) trait During<T> {
    /// Turns the error into the provider's vocabulary.
    fn during(self, act: &str) -> Result<T, ProviderError>;
}

impl<T> During<T> for Result<T, CallError> {
    fn during(self, act: &str) -> Result<T, ProviderError> {
        self.map_err(|error| error.during(act))
    }
}

/// Treats "the object is not there" as done.
pub(super) trait GoneIsFine {
    /// `Ok` where the object is gone already.
    fn gone_is_fine(self) -> Self;
}

impl GoneIsFine for Result<(), CallError> {
    fn gone_is_fine(self) -> Self {
        match self {
            Err(error) if error.is_gone() => Ok(()),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_become_the_closed_vocabulary() {
        let refused = |code: &str| CallError::Refused { fault: Fault::new(code, vec![]) };
        for (error, kind) in [
            (refused("SR_FULL"), ErrorKind::Capacity),
            (CallError::Unreachable { why: "x".into() }, ErrorKind::Unavailable),
            (CallError::Unknown { why: "x".into() }, ErrorKind::UnknownOutcome),
            (CallError::Distrusted { why: "x".into() }, ErrorKind::Auth),
            (CallError::StillRefused { said: "x".into(), wait: Duration::from_secs(9) }, ErrorKind::Auth),
            (CallError::Closed, ErrorKind::Unavailable),
        ] {
            assert_eq!(error.during("act").kind, kind);
        }
        let error = refused("TOO_MANY_PENDING_TASKS").during("start the VM");
        assert_eq!(error.retry_after, Some(Duration::from_secs(5)));
        assert_eq!(error.to_string(), "cannot start the VM: TOO_MANY_PENDING_TASKS");
    }
}
