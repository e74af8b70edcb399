//! A service account's key, and tokens that it signs itself. Google takes those for its own APIs without another exchange.

use std::{fmt, time::Duration};

use aws_lc_rs::{rand::SystemRandom, rsa::KeyPair, signature::RSA_PKCS1_SHA256};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use jiff::Timestamp;
use rustls_pki_types::{PrivateKeyDer, pem::PemObject as _};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::json;
use snafu::{ResultExt as _, Snafu, ensure};

/// How long a token is good for. Google takes no longer ones.
pub(super) const LIFETIME: Duration = Duration::from_hours(1);

/// What the tokens are for.
const AUDIENCE: &str = "https://compute.googleapis.com/";

/// Why a key file cannot be used. Quotes nothing of it.
#[derive(Debug, Snafu)]
pub enum KeyError {
    /// It is no JSON with the fields of a key file.
    #[snafu(display(
        "it is not the key file of a service account: create one with `gcloud iam service-accounts keys create`"
    ))]
    NotAKeyFile,
    /// It is another kind of credentials.
    #[snafu(display(
        "it is of type \"{kind}\", and only keys of service accounts (type \"service_account\") are taken"
    ))]
    OtherKind {
        /// Which.
        kind: String,
    },
    /// The private key in it is none.
    #[snafu(display("its private_key is not an RSA key in PKCS#8 and PEM"))]
    BadKey,
    /// Signing failed.
    #[snafu(display("a token cannot be signed"))]
    Sign {
        /// What the library said.
        source: aws_lc_rs::error::Unspecified,
    },
}

#[derive(Deserialize)]
struct KeyFile {
    r#type: String,
    #[serde(default)]
    client_email: String,
    #[serde(default)]
    private_key_id: String,
    #[serde(default)]
    private_key: String,
}

/// The key of a service account. Never printed.
#[derive(Clone)]
pub struct ServiceAccountKey {
    email: String,
    id: String,
    pem: SecretString,
}

impl fmt::Debug for ServiceAccountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServiceAccountKey(..)")
    }
}

impl ServiceAccountKey {
    /// Reads a key file as Google gives it out.
    pub fn parse(json: &SecretString) -> Result<Self, KeyError> {
        // The reader's own words would quote what it stumbles over.
        let file: KeyFile = serde_json::from_str(json.expose_secret()).map_err(|_| KeyError::NotAKeyFile)?;
        ensure!(file.r#type == "service_account", OtherKindSnafu { kind: short(&file.r#type) });
        ensure!(!file.client_email.is_empty() && !file.private_key_id.is_empty(), NotAKeyFileSnafu);
        let key = Self { email: file.client_email, id: file.private_key_id, pem: file.private_key.into() };
        key.pair()?;
        Ok(key)
    }

    fn pair(&self) -> Result<KeyPair, KeyError> {
        let der = PrivateKeyDer::from_pem_slice(self.pem.expose_secret().as_bytes()).map_err(|_| KeyError::BadKey)?;
        let PrivateKeyDer::Pkcs8(der) = der else { return BadKeySnafu.fail() };
        KeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(|_| KeyError::BadKey)
    }

    /// A token from now on.
    pub(super) fn token(&self, now: Timestamp) -> Result<SecretString, KeyError> {
        let (begins, lifetime) = (now.as_second(), LIFETIME.as_secs().cast_signed());
        let head = json!({ "alg": "RS256", "typ": "JWT", "kid": self.id });
        let claims = json!({
            "iss": self.email, "sub": self.email, "aud": AUDIENCE, "iat": begins, "exp": begins + lifetime,
        });
        let said = format!("{}.{}", BASE64.encode(head.to_string()), BASE64.encode(claims.to_string()));
        let pair = self.pair()?;
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), said.as_bytes(), &mut signature).context(SignSnafu)?;
        Ok(format!("{said}.{}", BASE64.encode(signature)).into())
    }
}

fn short(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(40).collect()
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::{
        encoding::AsDer as _,
        rsa::KeySize,
        signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey},
    };

    use super::*;

    fn file(pair: &KeyPair) -> SecretString {
        let der: aws_lc_rs::encoding::Pkcs8V1Der<'_> = pair.as_der().unwrap();
        let body = base64::prelude::BASE64_STANDARD.encode(der.as_ref());
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n");
        json!({ "type": "service_account", "client_email": "a@b", "private_key_id": "k1", "private_key": pem })
            .to_string()
            .into()
    }

    #[test]
    fn tokens_are_signed_and_end() {
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let key = ServiceAccountKey::parse(&file(&pair)).unwrap();
        let token = key.token(Timestamp::from_second(1_000).unwrap()).unwrap();
        let (said, signature) = token.expose_secret().rsplit_once('.').unwrap();
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public_key().as_ref());
        public.verify(said.as_bytes(), &BASE64.decode(signature).unwrap()).unwrap();
        let claims = BASE64.decode(said.split_once('.').unwrap().1).unwrap();
        let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
        assert_eq!((&claims["iss"], &claims["iat"], &claims["exp"]), (&json!("a@b"), &json!(1_000), &json!(4_600)));
        assert_eq!(format!("{key:?}"), "ServiceAccountKey(..)");
    }

    #[test]
    fn what_is_no_key_is_refused_without_a_quote() {
        for (text, expected) in [
            ("hush-hush", "not the key file"),
            (r#"{"type":"authorized_user","refresh_token":"hush"}"#, "of type \"authorized_user\""),
            (r#"{"type":"service_account","private_key":"hush"}"#, "not the key file"),
            (
                r#"{"type":"service_account","client_email":"a@b","private_key_id":"k","private_key":"hush"}"#,
                "not an RSA key",
            ),
        ] {
            let error = ServiceAccountKey::parse(&text.to_owned().into()).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
            assert!(!format!("{error} {error:?}").contains("hush"), "{error:?}");
        }
    }
}
