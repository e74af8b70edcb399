//! Remembers that credentials were refused, so that they are not tried again and again: each try costs xapi five seconds
//! and may lock an account of a directory.
//!
//! Kept for the whole process and by the credentials themselves: a pool that is connected anew with the same password is
//! still refused, with a corrected one it is tried at once.

use std::{
    collections::HashMap,
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_mins(10);

/// A set of credentials for a pool, as a digest with a secret of this process.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Id([u8; 32]);

struct Refusal {
    said: String,
    until: Instant,
    wait: Duration,
}

static REFUSED: LazyLock<Mutex<HashMap<Id, Refusal>>> = LazyLock::new(Mutex::default);
static SECRET: LazyLock<[u8; 32]> = LazyLock::new(rand::random);

impl Id {
    pub(super) fn of(endpoints: &[Url], user: &str, password: &SecretString) -> Self {
        let mut digest = Sha256::new().chain_update(*SECRET);
        for part in endpoints.iter().map(Url::as_str).chain([user, password.expose_secret()]) {
            digest.update(part.len().to_le_bytes());
            digest.update(part);
        }
        Self(digest.finalize().into())
    }
}

fn refused() -> MutexGuard<'static, HashMap<Id, Refusal>> {
    REFUSED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What was said and how long to wait, while these credentials are not to be tried.
pub(super) fn standing(id: &Id) -> Option<(String, Duration)> {
    let refused = refused();
    let refusal = refused.get(id)?;
    let wait = refusal.until.checked_duration_since(Instant::now())?;
    (!wait.is_zero()).then(|| (refusal.said.clone(), wait))
}

/// These credentials were refused (again): each time the wait doubles.
pub(super) fn remember(id: &Id, said: &str) {
    let mut refused = refused();
    let wait = refused.get(id).map_or(FIRST, |refusal| next_wait(refusal.wait));
    refused.insert(id.clone(), Refusal { said: said.to_owned(), until: Instant::now() + wait, wait });
}

/// These credentials work.
pub(super) fn lift(id: &Id) {
    refused().remove(id);
}

fn next_wait(last: Duration) -> Duration {
    (last * 2).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(password: &str) -> Id {
        Id::of(&["https://refusal.test".parse().unwrap()], "root", &password.to_owned().into())
    }

    #[test]
    fn a_refused_password_waits_and_another_does_not() {
        remember(&id("wrong"), "SESSION_AUTHENTICATION_FAILED");
        let (said, wait) = standing(&id("wrong")).unwrap();
        assert_eq!(said, "SESSION_AUTHENTICATION_FAILED");
        assert!(wait <= FIRST && wait > FIRST / 2);
        assert!(standing(&id("right")).is_none());
        remember(&id("wrong"), "SESSION_AUTHENTICATION_FAILED");
        assert!(standing(&id("wrong")).unwrap().1 > FIRST);
        lift(&id("wrong"));
        assert!(standing(&id("wrong")).is_none());
    }

    #[test]
    fn the_wait_grows_to_a_limit() {
        let waits: Vec<u64> =
            std::iter::successors(Some(FIRST), |w| Some(next_wait(*w))).take(9).map(|w| w.as_secs()).collect();
        assert_eq!(waits, [10, 20, 40, 80, 160, 320, 600, 600, 600]);
    }
}
