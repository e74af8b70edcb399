//! The closed vocabulary of what can go wrong at a provider.

use std::{error::Error as StdError, fmt, time::Duration};

/// What a provider's operation answers.
pub type Result<T, E = ProviderError> = std::result::Result<T, E>;

/// What kind of failure it is, and so what the caller may do about it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, strum::EnumIter, strum::IntoStaticStr, strum::Display,
)]
pub enum ErrorKind {
    /// No room for this guest here now, or a quota is used up. Certainly nothing was started. Another pool may do.
    Capacity,
    /// Something that was named does not exist: an image, a network, a host.
    NotFound,
    /// The credentials are wrong, or they do not permit this. No retry helps until somebody changes them.
    Auth,
    /// Too many calls. Certainly nothing was done. Try again later.
    Throttled,
    /// The provider refuses the request as it stands.
    Invalid,
    /// The provider cannot be reached or cannot answer now, or the object is busy. Certainly nothing was changed, or it
    /// was a read.
    Unavailable,
    /// A request with effects was sent and its answer is not known. Look before trying again.
    UnknownOutcome,
}

impl ErrorKind {
    /// The kind as a reason in conditions, events and metric labels.
    #[must_use]
    pub fn reason(self) -> &'static str {
        self.into()
    }
}

/// A failed operation at a provider. Its text never holds credentials.
#[derive(Debug)]
pub struct ProviderError {
    /// What kind of failure it is.
    pub kind: ErrorKind,
    /// What was being done, such as `start the VM`.
    pub act: String,
    /// The provider's own code, such as `HOST_NOT_ENOUGH_FREE_MEMORY`, where it gave one.
    pub code: Option<String>,
    /// What the provider said, for people.
    pub message: String,
    /// When the provider asked to be called again.
    pub retry_after: Option<Duration>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl ProviderError {
    /// A failure of this kind while doing `act`.
    pub fn new(kind: ErrorKind, act: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind, act: act.into(), code: None, message: message.into(), retry_after: None, source: None }
    }

    /// With the provider's own code.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// With the time after which the provider wants to be called again.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// With what it came from. The source's own text must be free of credentials.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl fmt::Display for ProviderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.act, self.message)?;
        match &self.code {
            Some(code) if !self.message.contains(code.as_str()) => write!(f, " ({code})"),
            _ => Ok(()),
        }
    }
}

impl StdError for ProviderError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_ref().map(|source| source.as_ref() as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_said_once() {
        let error = ProviderError::new(ErrorKind::Capacity, "start the VM", "no host has room").with_code("NO_HOSTS");
        assert_eq!(error.to_string(), "cannot start the VM: no host has room (NO_HOSTS)");
        let error = ProviderError::new(ErrorKind::Invalid, "start the VM", "NO_HOSTS: none").with_code("NO_HOSTS");
        assert_eq!(error.to_string(), "cannot start the VM: NO_HOSTS: none");
    }
}
