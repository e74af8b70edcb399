//! From what Google answers, or does not, to the closed vocabulary of [`ErrorKind`].

use super::wire::{ErrorItem, Refusal};
use crate::provider::{ErrorKind, ProviderError, rented::retry::Effect};

/// How far a failed call got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Google answered with an error, or something on the way answered for it (then there is no reason).
    Refused {
        /// The HTTP status.
        status: u16,
        /// Google's reason.
        reason: Option<String>,
        /// Google's words.
        message: Option<String>,
    },
    /// The request certainly did not reach Google.
    NotSent(String),
    /// The request may have reached Google, and no usable answer came back.
    Lost(String),
}

impl Failure {
    /// A refusal by its body.
    pub(super) fn refused(status: u16, body: &str) -> Self {
        let error = serde_json::from_str::<Refusal>(body).ok().map(|refusal| refusal.error);
        let first = error.as_ref().and_then(|error| error.errors.first());
        let reason = first.map(|item| item.reason.clone()).filter(|reason| !reason.is_empty());
        let message = error.map(|error| error.message).filter(|message| !message.is_empty());
        Self::Refused { status, reason, message }
    }

    /// The kind of failure, given whether the call changes anything.
    fn kind(&self, effect: Effect) -> ErrorKind {
        let in_doubt = match effect {
            Effect::Read => ErrorKind::Unavailable,
            Effect::Write => ErrorKind::UnknownOutcome,
        };
        match self {
            Self::NotSent(_) => ErrorKind::Unavailable,
            Self::Lost(_) => in_doubt,
            Self::Refused { status, reason, .. } => match (status, reason.as_deref()) {
                (_, Some("quotaExceeded" | "limitExceeded" | "dailyLimitExceeded")) => ErrorKind::Capacity,
                (429, _)
                | (
                    _,
                    Some(
                        "rateLimitExceeded" | "userRateLimitExceeded" | "operationRateExceeded" | "RATE_LIMIT_EXCEEDED",
                    ),
                ) => ErrorKind::Throttled,
                (401 | 403, _) => ErrorKind::Auth,
                // A refusal without Google's reason comes from something on the way, such as a gateway. Else it is between two
                // states, in use, or was changed meanwhile: nothing was done, and it passes.
                (400..500, None)
                | (412, _)
                | (_, Some("resourceNotReady" | "resourceInUseByAnotherResource" | "conditionNotMet")) => {
                    ErrorKind::Unavailable
                }
                (404, _) => ErrorKind::NotFound,
                (400..500, _) => ErrorKind::Invalid,
                _ => in_doubt,
            },
        }
    }

    /// The failure as the caller sees it.
    pub(super) fn into_error(self, act: &str, effect: Effect) -> ProviderError {
        let kind = self.kind(effect);
        match self {
            Self::Refused { status, reason, message } => {
                let words = message.unwrap_or_else(|| format!("the endpoint answered HTTP {status}"));
                let error = ProviderError::new(kind, act, redact(&words));
                match reason {
                    Some(reason) => error.with_code(redact(&reason)),
                    None => error,
                }
            }
            Self::NotSent(words) | Self::Lost(words) => ProviderError::new(kind, act, redact(&words)),
        }
    }
}

/// Why an operation failed. It has ended, and Google has taken back what it had done.
pub(super) fn of_operation(act: &str, item: &ErrorItem) -> ProviderError {
    let words = if item.message.is_empty() { "the operation failed" } else { &item.message };
    ProviderError::new(kind_of(&item.code), act, redact(words)).with_code(redact(&item.code))
}

fn kind_of(code: &str) -> ErrorKind {
    // There are forms with `_WITH_DETAILS` at their end.
    if code.starts_with("ZONE_RESOURCE_POOL_EXHAUSTED") || code.starts_with("IP_SPACE_EXHAUSTED") {
        return ErrorKind::Capacity;
    }
    match code {
        "QUOTA_EXCEEDED"
        | "LIMIT_EXCEEDED"
        | "RESOURCE_POOL_EXHAUSTED"
        | "STOCKOUT"
        | "RESERVATION_CAPACITY_EXCEEDED" => ErrorKind::Capacity,
        "RATE_LIMIT_EXCEEDED" | "OPERATION_RATE_EXCEEDED" | "RESOURCE_OPERATION_RATE_EXCEEDED" => ErrorKind::Throttled,
        "PERMISSIONS_ERROR" | "PERMISSION_DENIED" | "FORBIDDEN" => ErrorKind::Auth,
        "RESOURCE_NOT_FOUND" | "NOT_FOUND" => ErrorKind::NotFound,
        "RESOURCE_NOT_READY"
        | "RESOURCE_IN_USE_BY_ANOTHER_RESOURCE"
        | "CONDITION_NOT_MET"
        | "INTERNAL_ERROR"
        | "BACKEND_ERROR"
        | "OPERATION_CANCELED_BY_USER"
        | "TIMEOUT" => ErrorKind::Unavailable,
        _ => ErrorKind::Invalid,
    }
}

/// Longest text taken over from a reply.
const MAX_WORDS: usize = 500;

/// A provider's words without what must not be repeated: access tokens and what looks like one, and parts of keys.
pub(super) fn redact(words: &str) -> String {
    let line = words.lines().next().unwrap_or_default();
    let safe = line.split(' ').map(|word| if is_secret(word) { "[hidden]" } else { word });
    let mut text = safe.collect::<Vec<_>>().join(" ").trim().to_owned();
    if let Some((end, _)) = text.char_indices().nth(MAX_WORDS) {
        text.truncate(end);
    }
    text
}

/// Tokens are long words of letters and digits without the slashes and hyphens of names.
fn is_secret(word: &str) -> bool {
    let long = |piece: &str| piece.len() >= 40 && piece.chars().any(|c| c.is_ascii_digit());
    word.contains("ya29.")
        || word.contains("-----BEGIN")
        || word.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(long)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(reason: &str) -> String {
        format!(
            r#"{{"error":{{"code":400,"message":"no","errors":[{{"reason":"{reason}","message":"no","domain":"global"}}]}}}}"#
        )
    }

    #[test]
    fn refusals_are_sorted() {
        use ErrorKind::{Auth, Capacity, Invalid, NotFound, Throttled, Unavailable, UnknownOutcome};
        for (status, reason, expected) in [
            (400, "invalid", Invalid),
            (400, "required", Invalid),
            (400, "resourceNotReady", Unavailable),
            (400, "resourceInUseByAnotherResource", Unavailable),
            (401, "authError", Auth),
            (403, "forbidden", Auth),
            (403, "accessNotConfigured", Auth),
            (403, "quotaExceeded", Capacity),
            (403, "rateLimitExceeded", Throttled),
            (429, "tooMany", Throttled),
            (404, "notFound", NotFound),
            (409, "alreadyExists", Invalid),
            (412, "conditionNotMet", Unavailable),
            (500, "backendError", UnknownOutcome),
            (503, "backendError", UnknownOutcome),
        ] {
            assert_eq!(Failure::refused(status, &body(reason)).kind(Effect::Write), expected, "{status} {reason}");
        }
        for status in [400, 404, 409] {
            assert_eq!(Failure::refused(status, "<html>").kind(Effect::Write), Unavailable, "{status}");
        }
        assert_eq!(Failure::refused(503, "").kind(Effect::Read), Unavailable);
        for (failure, write) in
            [(Failure::NotSent("x".into()), Unavailable), (Failure::Lost("x".into()), UnknownOutcome)]
        {
            assert_eq!(failure.kind(Effect::Write), write);
            assert_eq!(failure.kind(Effect::Read), Unavailable);
        }
    }

    #[test]
    fn failed_operations_are_sorted() {
        for (code, expected) in [
            ("ZONE_RESOURCE_POOL_EXHAUSTED", ErrorKind::Capacity),
            ("ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS", ErrorKind::Capacity),
            ("QUOTA_EXCEEDED", ErrorKind::Capacity),
            ("RATE_LIMIT_EXCEEDED", ErrorKind::Throttled),
            ("PERMISSIONS_ERROR", ErrorKind::Auth),
            ("RESOURCE_NOT_FOUND", ErrorKind::NotFound),
            ("INTERNAL_ERROR", ErrorKind::Unavailable),
            ("INVALID_USAGE", ErrorKind::Invalid),
        ] {
            let item = ErrorItem { code: code.into(), message: "no".into(), ..ErrorItem::default() };
            let error = of_operation("make it", &item);
            assert_eq!((error.kind, error.code.as_deref()), (expected, Some(code)));
        }
    }

    #[test]
    fn tokens_are_hidden_and_names_are_not() {
        let token = format!("ya29.{}", "a1".repeat(40));
        for secret in [token.clone(), format!("Bearer {token}"), "x9".repeat(25)] {
            assert!(redact(&format!("refused {secret} here")).contains("[hidden]"), "{secret}");
        }
        let name = "The resource 'projects/acme-prod/zones/europe-west1-b/instances/web-1-0a1b2c3d4e5f' was not found";
        assert_eq!(redact(name), name);
    }
}
