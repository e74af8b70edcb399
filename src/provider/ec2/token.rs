//! The client token: what makes EC2 itself refuse to launch a guest twice.
//!
//! EC2 binds a token to the parameters of the first request that carries it, even where that request finds no capacity.
//! The same token with the same parameters answers the first instance; with other parameters
//! `IdempotentParameterMismatch`; after the instance was terminated `IdempotentInstanceTerminated`. So the token holds
//! the incarnation and a hash of all that is asked for: the next offering, tried after one without capacity, has a token
//! of its own. That a first launch is not forgotten when a second asks for something else is the business of the look by
//! tag and of [`super::snapshot`], not of the token.
//!
//! It also tells our instances from copies: "launch more like this" in the console copies an instance's tags and not
//! its token.

use sha2::{Digest, Sha256};

use crate::provider::Key;

/// Characters of the guest's UID and of the hash of what else went in.
const GUEST_LEN: usize = 36;
const HASH_LEN: usize = 16;

/// Counts up when this driver begins to send other parameters for the same wish.
const FORMAT: u32 = 2;

/// The start of every token of this incarnation of the guest.
#[must_use]
pub(super) fn prefix(key: &Key) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    // A UID of Kubernetes fits as it is. Anything else is put through the hash, never cut.
    let guest = if key.guest.len() <= GUEST_LEN && !key.guest.is_empty() && key.guest.chars().all(plain) {
        key.guest.clone()
    } else {
        hex(key.guest.as_bytes(), 32)
    };
    format!("{guest}-{}-", key.incarnation)
}

/// The token for launching this incarnation of the guest with these parameters. EC2 takes 64 ASCII characters at most.
#[must_use]
pub(super) fn client_token(key: &Key, asked: &[&str]) -> String {
    let prefix = prefix(key);
    // The lengths keep ["ab", "c"] and ["a", "bc"] apart.
    let mut whole = format!("{FORMAT};{prefix}");
    for part in asked {
        whole.extend([&part.len().to_string(), ":", part, ";"]);
    }
    let hash = hex(whole.as_bytes(), HASH_LEN);
    format!("{prefix}{hash}")
}

/// Whether an instance that carries this token was launched by us for this incarnation of the guest. A cloud that does
/// not report tokens leaves the tags as the only witness.
#[must_use]
pub(super) fn belongs(key: &Key, token: Option<&str>) -> bool {
    token.is_none_or(|token| token.is_empty() || token.starts_with(&prefix(key)))
}

fn hex(bytes: &[u8], len: usize) -> String {
    let digest = Sha256::digest(bytes);
    let digits = digest.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).take(len).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(guest: &str, incarnation: u32) -> Key {
        Key { guest: guest.into(), incarnation, namespace: "shop".into(), name: "web-0".into() }
    }

    /// Longest token that EC2 accepts.
    const MAX_LEN: usize = 64;

    const UID: &str = "0f0b2ee8-9a3c-4a4d-8c1e-3f6f0d3b7a11";

    #[test]
    fn one_launch_has_one_token() {
        let token = client_token(&key(UID, 1), &["m7i.large"]);
        assert_eq!(token, client_token(&key(UID, 1), &["m7i.large"]));
        for other in [
            client_token(&key(UID, 2), &["m7i.large"]),
            client_token(&key(UID, 1), &["m7i.xlarge"]),
            client_token(&key(UID, 1), &["m7i", ".large"]),
            client_token(&key("0f0b2ee8-9a3c-4a4d-8c1e-3f6f0d3b7a12", 1), &["m7i.large"]),
        ] {
            assert_ne!(token, other);
        }
    }

    #[test]
    fn knows_its_own_from_a_copy() {
        let first = key(UID, 1);
        assert!(belongs(&first, Some(&client_token(&first, &["m7i.large"]))));
        assert!(belongs(&first, Some(&client_token(&first, &["c7i.large"]))));
        assert!(belongs(&first, None));
        assert!(!belongs(&first, Some(&client_token(&key(UID, 11), &["m7i.large"]))));
        assert!(!belongs(&first, Some("6b1f8a9e-console")));
    }

    proptest! {
        #[test]
        fn always_fits(guest in ".{0,80}", incarnation in any::<u32>(), kind in "[a-z0-9.-]{0,80}") {
            let token = client_token(&key(&guest, incarnation), &[&kind]);
            prop_assert!(token.len() <= MAX_LEN && token.is_ascii());
            prop_assert!(belongs(&key(&guest, incarnation), Some(&token)));
        }
    }
}
