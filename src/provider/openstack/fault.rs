//! From what Keystone and Nova answer, or do not, to the closed vocabulary of [`ErrorKind`]. Pure.

use std::time::Duration;

use serde_json::Value;

use crate::provider::{ErrorKind, ProviderError, rented::retry::Effect};

/// How far a failed call got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Nova or Keystone answered with an error, or something on the way answered for it (then there are no words).
    Refused {
        /// The HTTP status.
        status: u16,
        /// The name of the error in the answer, such as `badRequest`.
        code: Option<String>,
        /// The answer's own words.
        message: Option<String>,
        /// When to come back.
        retry_after: Option<Duration>,
    },
    /// The request certainly did not reach the cloud.
    NotSent(String),
    /// The request may have reached the cloud, and no usable answer came back.
    Lost(String),
}

impl Failure {
    /// Reads an answer that is no success.
    pub(super) fn answered(status: u16, body: &[u8], retry_after: Option<Duration>) -> Self {
        let said = said(body);
        let retry_after = retry_after.filter(|after| *after <= LONGEST_WAIT);
        let (code, message) = said.map_or((None, None), |(code, message)| (Some(code), Some(message)));
        Self::Refused { status, code, message, retry_after }
    }

    /// The kind of failure, given whether the call changes anything.
    pub(super) fn kind(&self, effect: Effect) -> ErrorKind {
        let in_doubt = match effect {
            Effect::Read => ErrorKind::Unavailable,
            Effect::Write => ErrorKind::UnknownOutcome,
        };
        match self {
            Self::NotSent(_) => ErrorKind::Unavailable,
            Self::Lost(_) => in_doubt,
            Self::Refused { status, message, .. } => {
                let words = message.as_deref().unwrap_or_default();
                match status {
                    401 => ErrorKind::Auth,
                    429 => ErrorKind::Throttled,
                    // A refusal that is not in OpenStack's form comes from something on the way, such as a gateway.
                    400..500 if message.is_none() => ErrorKind::Unavailable,
                    403 | 413 if is_quota(words) => ErrorKind::Capacity,
                    403 => ErrorKind::Auth,
                    413 => ErrorKind::Throttled,
                    404 => ErrorKind::NotFound,
                    400 if is_missing(words) => ErrorKind::NotFound,
                    // Locked by somebody: that does not pass by itself.
                    409 if words.contains("is locked") => ErrorKind::Invalid,
                    409 => ErrorKind::Unavailable,
                    400..500 => ErrorKind::Invalid,
                    _ => in_doubt,
                }
            }
        }
    }

    /// The failure as the caller sees it.
    pub(super) fn into_error(self, act: &str, effect: Effect) -> ProviderError {
        let kind = self.kind(effect);
        match self {
            Self::Refused { status, code, message, retry_after } => {
                let mut words = message.unwrap_or_else(|| format!("the cloud answered HTTP {status}"));
                // It does not know the version of its API that is asked for.
                if status == 406 {
                    words.push_str(" Innkeeper needs OpenStack Zed (2022) or later.");
                }
                let code = if kind == ErrorKind::Capacity { Some(QUOTA.to_owned()) } else { code };
                let mut error = ProviderError::new(kind, act, redact(&words));
                error.code = code.map(|code| redact(&code));
                error.retry_after = retry_after;
                error
            }
            Self::NotSent(words) | Self::Lost(words) => ProviderError::new(kind, act, redact(&words)),
        }
    }
}

/// What a used-up quota is called where types are put aside. Nova's own name of that error is `forbidden`.
pub(super) const QUOTA: &str = "QuotaExceeded";
/// What it is called that no host has room.
pub(super) const NO_VALID_HOST: &str = "NoValidHost";

/// A cloud that wants to be left alone for longer is asked again all the same.
const LONGEST_WAIT: Duration = Duration::from_mins(5);

/// The name and the words of an error in OpenStack's forms: `{"badRequest": {"code": 400, "message": "…"}}`, Keystone's
/// `{"error": {…}}`.
fn said(body: &[u8]) -> Option<(String, String)> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let (name, inner) = value.as_object()?.iter().find(|(_, inner)| inner.get("message").is_some())?;
    Some((name.clone(), inner.get("message")?.as_str()?.to_owned()))
}

fn is_quota(words: &str) -> bool {
    let words = words.to_lowercase();
    words.contains("quota")
}

/// Nova refuses a creation that names what does not exist as a bad request.
fn is_missing(words: &str) -> bool {
    let words = words.to_lowercase();
    words.contains("could not be found") || words.contains("can not find requested image")
}

/// Longest text taken over from an answer.
const MAX_WORDS: usize = 500;

/// A cloud's words without what looks like a token or a secret: long words that people would not write.
pub(super) fn redact(words: &str) -> String {
    let line = words.lines().next().unwrap_or_default();
    let long = |piece: &str| piece.len() >= 40 && piece.chars().any(|c| c.is_ascii_digit());
    let is_secret = |word: &str| {
        word.starts_with("gAAAA") || word.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(long)
    };
    let safe = line.split(' ').map(|word| if is_secret(word) { "[hidden]" } else { word });
    let mut text = safe.collect::<Vec<_>>().join(" ").trim().to_owned();
    if let Some((end, _)) = text.char_indices().nth(MAX_WORDS) {
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_sorted() {
        use ErrorKind::{Auth, Capacity, Invalid, NotFound, Throttled, Unavailable, UnknownOutcome};
        let nova = |status: u16, name: &str, words: &str| {
            let body = serde_json::json!({ name: { "code": status, "message": words } }).to_string();
            Failure::answered(status, body.as_bytes(), None)
        };
        for (failure, read, write) in [
            (nova(401, "error", "The request you have made requires authentication."), Auth, Auth),
            (nova(403, "forbidden", "Policy doesn't allow os_compute_api:servers:create"), Auth, Auth),
            (nova(403, "forbidden", "Quota exceeded for cores: Requested 4, but already used 40"), Capacity, Capacity),
            (nova(413, "overLimit", "This request was rate-limited."), Throttled, Throttled),
            (nova(429, "overLimit", "slow down"), Throttled, Throttled),
            (nova(404, "itemNotFound", "Instance could not be found."), NotFound, NotFound),
            (nova(400, "badRequest", "Can not find requested image"), NotFound, NotFound),
            (nova(400, "badRequest", "Network 1 could not be found."), NotFound, NotFound),
            (nova(400, "badRequest", "The requested availability zone is not available"), Invalid, Invalid),
            (
                nova(409, "conflictingRequest", "Cannot 'stop' while in task_state powering-off"),
                Unavailable,
                Unavailable,
            ),
            (nova(409, "conflictingRequest", "Instance 1 is locked"), Invalid, Invalid),
            (nova(500, "computeFault", "Unexpected API Error."), Unavailable, UnknownOutcome),
            (Failure::answered(404, b"<html>no such page</html>", None), Unavailable, Unavailable),
            (Failure::answered(503, b"", None), Unavailable, UnknownOutcome),
            (Failure::NotSent("refused".into()), Unavailable, Unavailable),
            (Failure::Lost("reset".into()), Unavailable, UnknownOutcome),
        ] {
            assert_eq!((failure.kind(Effect::Read), failure.kind(Effect::Write)), (read, write), "{failure:?}");
        }
        let error = nova(403, "forbidden", "Quota exceeded for cores").into_error("create", Effect::Write);
        assert_eq!(error.code.as_deref(), Some(QUOTA));
    }

    #[test]
    fn what_looks_secret_is_hidden() {
        let said = "token gAAAAABmX-1234 and 0123456789abcdef0123456789abcdef0123456789 are wrong\nsecond line";
        assert_eq!(redact(said), "token [hidden] and [hidden] are wrong");
        assert_eq!(redact("No valid host was found."), "No valid host was found.");
    }
}
