//! Whose turn it is to create a guest's server.
//!
//! Nova creates as many servers as it is asked for, whatever they are called. What it makes only once is a key pair of a
//! name. So who is about to create a guest's server makes the guest's key pair first, and takes it away when the creation was
//! answered. Two operators at once thus meet here. No server is ever given this key, and nobody has its private part.
//!
//! A lease whose holder died is taken over when it is old; its holder's creation may still be on its way, and is kept from
//! coming true by the [`super::fence`]. Where there is no fence a lease is old when no creation can be on its way any more.
//! Both times are the cloud's.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use super::{
    client::{Api, Request},
    wire::{KeyPair, OneKeyPair},
};
use crate::provider::{ErrorKind, ProviderError, Result};

/// A public key without a private one: a hash of a sentence in the place of a point.
const NOBODYS: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICJNpMCYTozD5JtnYqfpeNScEjhISYSLe5/8aJFWZ5iE";

/// A guest's lease, as one connection sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease<'a> {
    pub api: &'a Api,
    pub act: &'a str,
    /// Its name, the same for everybody.
    pub name: &'a str,
    /// Who we are; no other connection is called so.
    pub me: &'a str,
    /// When somebody else's is old.
    pub patience: Duration,
    /// When our own is: a creation that was not answered in time may still come true, and would be stopped by the next. Not given
    /// where no fence can stop it: then our own lease tells as little as anybody's whether what it was taken for is over.
    pub own: Option<Duration>,
}

/// Who holds a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// Nobody does.
    Nobody,
    /// We do. What we asked for before is over, or was not answered.
    Me,
    /// Somebody does, and may be about to create the server.
    Other,
}

/// What the key pair says: who holds the lease, and whether it is old.
fn judge(
    pair: &KeyPair,
    now: Option<Timestamp>,
    me: &str,
    patience: Duration,
    own: Option<Duration>,
) -> (Holder, bool) {
    let (holder, patience) = match own {
        Some(own) if pair.public_key == key(me) => (Holder::Me, own),
        _ => (Holder::Other, patience),
    };
    let made: Option<Timestamp> =
        pair.created_at.as_ref().and_then(|at| format!("{}Z", at.trim_end_matches('Z')).parse().ok());
    let age = made.zip(now).map(|(made, now)| now.duration_since(made));
    // Nova tells whole seconds.
    let end = jiff::SignedDuration::try_from(patience + Duration::from_secs(1)).unwrap_or(jiff::SignedDuration::MAX);
    (holder, age.is_some_and(|age| age > end))
}

/// The holder's name is the key's comment.
fn key(me: &str) -> String {
    format!("{NOBODYS} {me}")
}

impl Lease<'_> {
    /// Takes the lease. `false`: somebody else holds it.
    pub(super) async fn take(&self) -> Result<bool> {
        for _ in 0..2 {
            let body = json!({ "keypair": { "name": self.name, "public_key": key(self.me) } });
            match self.api.call(self.act, Request::post("/os-keypairs", body)).await {
                Ok(_) => return Ok(true),
                Err(error) if error.kind == ErrorKind::Unavailable && error.code.as_deref() == Some(EXISTS) => {}
                Err(error) => return Err(explained(error, self.act)),
            }
            match self.holder().await? {
                (Holder::Me | Holder::Other, false) => return Ok(false),
                // Our own too: the next creation is waited for from now on.
                (Holder::Me | Holder::Other, true) => self.give_back().await?,
                (Holder::Nobody, _) => {}
            }
        }
        Ok(false)
    }

    /// Who holds the lease, and whether it is old.
    pub(super) async fn holder(&self) -> Result<(Holder, bool)> {
        let answer = match self.api.call(self.act, Request::get(format!("/os-keypairs/{}", self.name))).await {
            Ok(answer) => answer,
            Err(error) if error.kind == ErrorKind::NotFound => return Ok((Holder::Nobody, false)),
            Err(error) => return Err(error),
        };
        let reply: OneKeyPair = serde_json::from_slice(&answer.body).map_err(|_| {
            ProviderError::new(ErrorKind::Unavailable, self.act, "Nova's answer about a key pair cannot be read")
        })?;
        Ok(judge(&reply.keypair, answer.date, self.me, self.patience, self.own))
    }

    /// Gives the lease back, or takes it away. Not there is success.
    pub(super) async fn give_back(&self) -> Result<()> {
        match self.api.call(self.act, Request::delete(format!("/os-keypairs/{}", self.name))).await {
            Ok(_) => Ok(()),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(explained(error, self.act)),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_of_somebody_else_gets_old() {
        let patience = Duration::from_secs(10);
        let now = |second: u32| Some(format!("2026-11-25T17:00:{second:02}Z").parse().unwrap());
        let pair = |made: Option<u32>, who: &str| KeyPair {
            public_key: key(who),
            created_at: made.map(|second| format!("2026-11-25T17:00:{second:02}.000000")),
        };
        for (made, now, old) in [
            (Some(0), now(5), false),
            (Some(0), now(11), false),
            (Some(0), now(12), true),
            // Whose age is not known is waited for.
            (None, now(12), false),
            (Some(0), None, false),
            (Some(9), now(0), false),
        ] {
            let (them, me) = (pair(made, "them"), pair(made, "me"));
            let own = Some(Duration::from_secs(3));
            assert_eq!(judge(&them, now, "me", patience, own), (Holder::Other, old), "{made:?} {now:?}");
            assert_eq!(judge(&me, now, "me", patience, None), (Holder::Other, old), "{made:?} {now:?}");
            assert_eq!(judge(&me, now, "me", patience, own).0, Holder::Me, "{made:?} {now:?}");
        }
        let own = Some(Duration::from_secs(3));
        assert!(!judge(&pair(Some(0), "me"), now(4), "me", patience, own).1);
        assert!(judge(&pair(Some(0), "me"), now(5), "me", patience, own).1);
    }
}
