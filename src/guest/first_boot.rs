//! Reads what cloud-init is to be told from the Secrets that a guest names, and from no others.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use secrecy::SecretString;

use crate::{
    api::template::{CloudInit, SecretKeyReference},
    provider::{ErrorKind, FirstBoot, ProviderError},
    runtime::{call, chain},
};

/// Reads it. Nothing of it is ever logged or said.
pub(super) async fn read(client: &Client, namespace: &str, wish: &CloudInit) -> Result<FirstBoot, ProviderError> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    Ok(FirstBoot {
        user_data: text(&api, namespace, wish.user_data_secret_ref.as_ref()).await?,
        network_data: text(&api, namespace, wish.network_data_secret_ref.as_ref()).await?,
    })
}

async fn text(
    api: &Api<Secret>,
    namespace: &str,
    wish: Option<&SecretKeyReference>,
) -> Result<Option<Arc<SecretString>>, ProviderError> {
    let Some(SecretKeyReference { name, key }) = wish else { return Ok(None) };
    let act = format!("read what cloud-init is to be told from Secret {namespace}/{name}");
    let failed = |kind, why: String| Err(ProviderError::new(kind, act.clone(), why));
    match call("read it", api.get_opt(name)).await {
        Ok(secret) => match value(secret, key) {
            Ok(text) => Ok(Some(Arc::new(text))),
            Err((kind, why)) => failed(kind, why),
        },
        Err(error) if error.is_forbidden() => {
            let why = "the operator may not read it: give it the right to get secrets in this namespace";
            failed(ErrorKind::Auth, why.to_owned())
        }
        Err(error) => failed(ErrorKind::Unavailable, chain(&error)),
    }
}

/// The text under a key. Pure.
fn value(secret: Option<Secret>, key: &str) -> Result<SecretString, (ErrorKind, String)> {
    let Some(secret) = secret else {
        return Err((ErrorKind::NotFound, format!("there is none: make it, with the key {key}")));
    };
    let Some(bytes) = secret.data.and_then(|mut data| data.remove(key)) else {
        return Err((ErrorKind::NotFound, format!("it has no key {key}: add it")));
    };
    let text = String::from_utf8(bytes.0);
    // The error would hold the bytes.
    text.map(SecretString::from).map_err(|_| (ErrorKind::Invalid, format!("its key {key} is not text in UTF-8")))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;
    use secrecy::ExposeSecret as _;

    use super::*;

    fn secret(key: &str, bytes: &[u8]) -> Secret {
        let data = [(key.to_owned(), ByteString(bytes.to_vec()))].into();
        Secret { data: Some(data), ..Secret::default() }
    }

    #[test]
    fn a_secret_that_is_missing_and_a_key_that_is_missing_are_told_apart() {
        assert_eq!(value(Some(secret("a", b"#cloud-config")), "a").unwrap().expose_secret(), "#cloud-config");
        let (kind, why) = value(None, "a").unwrap_err();
        assert!(kind == ErrorKind::NotFound && why.contains("there is none"), "{why}");
        let (kind, why) = value(Some(secret("b", b"x")), "a").unwrap_err();
        assert!(kind == ErrorKind::NotFound && why.contains("no key a"), "{why}");
        let (kind, why) = value(Some(secret("a", &[0xff, b'p', b'w'])), "a").unwrap_err();
        assert!(kind == ErrorKind::Invalid && !why.contains("pw"), "{why}");
    }
}
