//! From what EC2 answers, or does not, to the closed vocabulary of [`ErrorKind`].

use std::{error::Error as StdError, io};

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::provider::{ErrorKind, ProviderError, rented::retry::Effect};

/// How far a failed call got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// EC2 answered with an error, or something on the way answered for it (then there is no code).
    Refused {
        /// The HTTP status.
        status: u16,
        /// EC2's code.
        code: Option<String>,
        /// EC2's words.
        message: Option<String>,
    },
    /// No credentials could be had: `true` where that may pass by itself.
    NoCredentials(bool, String),
    /// The request certainly did not reach EC2.
    NotSent(String),
    /// The request may have reached EC2, and no usable answer came back.
    Lost(String),
}

impl Failure {
    /// Sorts an error of the SDK.
    pub(super) fn of<E: ProvideErrorMetadata + StdError + 'static>(error: &SdkError<E, HttpResponse>) -> Self {
        match error {
            SdkError::ServiceError(inner) => Self::Refused {
                status: inner.raw().status().as_u16(),
                code: inner.err().code().map(str::to_owned),
                message: inner.err().message().map(str::to_owned),
            },
            SdkError::ConstructionFailure(_) => Self::before_sending(error),
            SdkError::DispatchFailure(inner) => {
                let words = chain(error);
                match inner.as_connector_error() {
                    Some(connector) if never_connected(connector) => Self::NotSent(words),
                    Some(connector) if find::<CredentialsError>(connector).is_some() => Self::before_sending(error),
                    _ => Self::Lost(words),
                }
            }
            _ => Self::Lost(chain(error)),
        }
    }

    fn before_sending(error: &(dyn StdError + 'static)) -> Self {
        match find::<CredentialsError>(error) {
            Some(CredentialsError::ProviderTimedOut(_) | CredentialsError::ProviderError(_)) => {
                Self::NoCredentials(true, chain(error))
            }
            Some(_) => Self::NoCredentials(false, chain(error)),
            None => Self::NotSent(chain(error)),
        }
    }

    /// The kind of failure, given whether the call changes anything.
    pub(super) fn kind(&self, effect: Effect) -> ErrorKind {
        let in_doubt = match effect {
            Effect::Read => ErrorKind::Unavailable,
            Effect::Write => ErrorKind::UnknownOutcome,
        };
        match self {
            Self::NotSent(_) | Self::NoCredentials(true, _) => ErrorKind::Unavailable,
            Self::NoCredentials(false, _) => ErrorKind::Auth,
            Self::Lost(_) => in_doubt,
            Self::Refused { status, code, .. } => match code.as_deref().and_then(of_code) {
                Some(kind) => kind,
                None => match status {
                    401 | 403 => ErrorKind::Auth,
                    429 => ErrorKind::Throttled,
                    // A refusal without EC2's code comes from something on the way, such as a gateway.
                    400..500 if code.is_none() => ErrorKind::Unavailable,
                    400..500 => ErrorKind::Invalid,
                    _ => in_doubt,
                },
            },
        }
    }

    /// The failure as the caller sees it.
    pub(super) fn into_error(self, act: &str, effect: Effect) -> ProviderError {
        let kind = self.kind(effect);
        match self {
            Self::Refused { status, code, message } => {
                let words = message.unwrap_or_else(|| format!("the endpoint answered HTTP {status}"));
                let error = ProviderError::new(kind, act, redact(&words));
                match code {
                    Some(code) => error.with_code(redact(&code)),
                    None => error,
                }
            }
            Self::NoCredentials(_, words) | Self::NotSent(words) | Self::Lost(words) => {
                ProviderError::new(kind, act, redact(&words))
            }
        }
    }
}

/// What EC2's codes mean (Error codes for the Amazon EC2 API, EC2 developer guide). `None`: the status decides.
fn of_code(code: &str) -> Option<ErrorKind> {
    Some(match code {
        "InsufficientInstanceCapacity"
        | "InsufficientHostCapacity"
        | "InsufficientReservedInstanceCapacity"
        | "InsufficientCapacity"
        | "InsufficientVolumeCapacity"
        | "InsufficientAddressCapacity"
        | "InsufficientFreeAddressesInSubnet"
        | "UnfulfillableCapacity"
        | "InstanceLimitExceeded"
        | "VcpuLimitExceeded"
        | "VolumeLimitExceeded"
        | "MaxIOPSLimitExceeded"
        | "NetworkInterfaceLimitExceeded"
        | "MaxSpotInstanceCountExceeded"
        | "SpotMaxPriceTooLow"
        // This type is not sold in this zone: another offering or pool may do.
        | "Unsupported" => ErrorKind::Capacity,
        "AuthFailure"
        | "UnauthorizedOperation"
        | "AccessDenied"
        | "AccessDeniedException"
        | "Blocked"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "IncompleteSignature"
        | "InvalidAccessKeyId"
        | "InvalidClientTokenId"
        | "MissingAuthenticationToken"
        | "OptInRequired"
        | "PendingVerification"
        | "RequestExpired"
        | "SignatureDoesNotMatch"
        | "UnrecognizedClientException" => ErrorKind::Auth,
        "RequestLimitExceeded"
        | "BandwidthLimitExceeded"
        | "EC2ThrottledException"
        | "PriorRequestNotComplete"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "SlowDown"
        | "ThrottledException"
        | "Throttling"
        | "ThrottlingException"
        | "TooManyRequestsException" => ErrorKind::Throttled,
        "IncorrectInstanceState" | "IncorrectState" | "VolumeInUse" | "ConcurrentTagAccess" | "ResourceInUse" => {
            ErrorKind::Unavailable
        }
        "InvalidAMIID.Unavailable" => ErrorKind::NotFound,
        code if code.ends_with(".NotFound") || code.ends_with("NotFoundException") => ErrorKind::NotFound,
        _ => return None,
    })
}

/// Longest text taken over from a reply.
const MAX_WORDS: usize = 500;

/// A provider's words without what must not be repeated: access key ids, encoded authorization messages (they hold the
/// whole request and its principal), session tokens and signatures that an error quotes from the request.
pub(super) fn redact(words: &str) -> String {
    let line = words.lines().next().unwrap_or_default();
    let said = line.split("Encoded authorization failure message").next().unwrap_or_default();
    let safe = said.split(' ').map(|word| if is_secret(word) { "[hidden]" } else { word });
    let mut text = safe.collect::<Vec<_>>().join(" ").trim().to_owned();
    if let Some((end, _)) = text.char_indices().nth(MAX_WORDS) {
        text.truncate(end);
    }
    text
}

/// Access key ids start with four letters that name their sort, such as AKIA, and have 20 characters; tokens and
/// signatures are words far longer than people's.
fn is_secret(word: &str) -> bool {
    let pieces = || word.split(|c: char| !c.is_ascii_alphanumeric());
    let key_id = |piece: &str| {
        piece.len() >= 16
            && ["AKIA", "ASIA", "AIDA", "AROA", "ABIA", "ACCA"].iter().any(|sort| piece.starts_with(sort))
            && piece.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
    };
    let long = |piece: &str| piece.len() >= 40 && piece.chars().any(|c| c.is_ascii_digit());
    pieces().any(|piece| key_id(piece) || long(piece)) || word.len() > 300
}

fn never_connected(error: &(dyn StdError + 'static)) -> bool {
    let refused = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    find::<hyper_util::client::legacy::Error>(error).is_some_and(hyper_util::client::legacy::Error::is_connect)
        || find::<io::Error>(error).is_some_and(refused)
}

fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    causes(error).find_map(|error| error.downcast_ref())
}

/// The error and what it came from, outermost first.
fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn StdError + 'static)| (*error).source())
}

/// The words of an error and of what it came from, each once.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut words: Vec<String> = Vec::new();
    for error in causes(error) {
        let said = error.to_string();
        if !words.iter().any(|word| word.contains(&said)) {
            words.push(said);
        }
    }
    words.join(": ")
}

#[cfg(test)]
#[path = "fault_tests.rs"]
mod tests;
