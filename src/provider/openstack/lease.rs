//! The right to create a guest's server.
//!
//! Nova creates as many servers as it is asked for, whatever they are called. What it makes only once is a key pair of a
//! name. So who is about to create a guest's server makes the guest's key pair first, then looks for the server once
//! more, and takes the key pair away when the creation was answered. Two operators at once, or one that was restarted
//! while a creation of its predecessor is still on its way, thus meet here. No server is ever given this key, and nobody
//! has its private part.
//!
//! A lease whose holder died is taken over when it is older than a creation may be on its way. Both times are the cloud's.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use super::{
    client::{Api, Request},
    wire::OneKeyPair,
};
use crate::provider::{ErrorKind, ProviderError, Result};

/// A public key without a private one: a hash of a sentence in the place of a point.
const NOBODYS: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICJNpMCYTozD5JtnYqfpeNScEjhISYSLe5/8aJFWZ5iE";

/// Whether somebody holds a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lease {
    /// Nobody does.
    Free,
    /// Somebody does, and a creation of theirs may be on its way.
    Held,
    /// Who held it can have no creation on its way any more.
    Stale,
}

/// Whether a lease made then is still to be waited for.
fn judge(made: Option<Timestamp>, now: Option<Timestamp>, settling: Duration) -> Lease {
    let age = made.zip(now).map(|(made, now)| now.duration_since(made));
    // Nova tells whole seconds.
    let end = jiff::SignedDuration::try_from(settling + Duration::from_secs(1)).unwrap_or(jiff::SignedDuration::MAX);
    if age.is_some_and(|age| age > end) { Lease::Stale } else { Lease::Held }
}

/// Takes the lease. `false`: somebody else holds it.
pub(super) async fn take(api: &Api, act: &str, name: &str, settling: Duration) -> Result<bool> {
    for _ in 0..2 {
        let body = json!({ "keypair": { "name": name, "public_key": NOBODYS } });
        match api.call(act, Request::post("/os-keypairs", body)).await {
            Ok(_) => return Ok(true),
            Err(error) if error.kind == ErrorKind::Unavailable && error.code.as_deref() == Some(EXISTS) => {}
            Err(error) => return Err(explained(error, act)),
        }
        match look(api, act, name, settling).await? {
            Lease::Held => return Ok(false),
            Lease::Stale => give_back(api, act, name).await?,
            Lease::Free => {}
        }
    }
    Ok(false)
}

/// Nova's name of a conflict.
const EXISTS: &str = "conflictingRequest";

fn explained(error: ProviderError, act: &str) -> ProviderError {
    match error.kind {
        ErrorKind::Capacity => ProviderError::new(
            ErrorKind::Unavailable,
            act,
            "the user has no key pair to spare, and Innkeeper needs one for each creation under way: remove some, or have \
             the quota raised",
        ),
        // It is known what an unanswered request here may have done: nothing but take the lease.
        ErrorKind::UnknownOutcome => ProviderError::new(ErrorKind::Unavailable, act, error.message),
        _ => error,
    }
}

/// Whether somebody holds the lease.
pub(super) async fn look(api: &Api, act: &str, name: &str, settling: Duration) -> Result<Lease> {
    let answer = match api.call(act, Request::get(format!("/os-keypairs/{name}"))).await {
        Ok(answer) => answer,
        Err(error) if error.kind == ErrorKind::NotFound => return Ok(Lease::Free),
        Err(error) => return Err(error),
    };
    let reply: OneKeyPair = serde_json::from_slice(&answer.body).map_err(|_| {
        ProviderError::new(ErrorKind::Unavailable, act, "Nova's answer about a key pair cannot be read")
    })?;
    let made = reply.keypair.created_at.and_then(|at| format!("{}Z", at.trim_end_matches('Z')).parse().ok());
    Ok(judge(made, answer.date, settling))
}

/// Gives the lease back. Not there is success.
pub(super) async fn give_back(api: &Api, act: &str, name: &str) -> Result<()> {
    match api.call(act, Request::delete(format!("/os-keypairs/{name}"))).await {
        Ok(_) => Ok(()),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(explained(error, act)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_ends_when_no_creation_can_be_on_its_way() {
        let at = |second: u32| Some(format!("2026-11-25T17:00:{second:02}Z").parse().unwrap());
        let settling = Duration::from_secs(10);
        assert_eq!(judge(at(0), at(5), settling), Lease::Held);
        assert_eq!(judge(at(0), at(11), settling), Lease::Held);
        assert_eq!(judge(at(0), at(12), settling), Lease::Stale);
        // Whose age is not known is waited for.
        assert_eq!(judge(None, at(12), settling), Lease::Held);
        assert_eq!(judge(at(0), None, settling), Lease::Held);
        assert_eq!(judge(at(9), at(0), settling), Lease::Held);
    }
}
