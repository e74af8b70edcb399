//! Each host's own self-signed certificate.

use std::sync::Arc;

use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};
use snafu::{ResultExt, Snafu};

/// Why a host has no certificate.
#[derive(Debug, Snafu)]
pub enum TlsError {
    /// The certificate could not be made.
    #[snafu(display("cannot make a certificate for {name}"))]
    Make {
        /// The host.
        name: String,
        /// What the library says.
        source: rcgen::Error,
    },
    /// The certificate could not be put to use.
    #[snafu(display("cannot serve TLS with the certificate of {name}"))]
    Serve {
        /// The host.
        name: String,
        /// What the library says.
        source: rustls::Error,
    },
}

/// A host's certificate, ready to serve.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) config: Arc<rustls::ServerConfig>,
    /// SHA-256 of the certificate's DER, in hex with colons.
    pub(crate) fingerprint: String,
    pub(crate) pem: String,
}

/// Makes a certificate for a host's name and address.
pub(crate) fn identity(name: &str, address: &str) -> Result<Identity, TlsError> {
    let make = || MakeSnafu { name };
    let key = KeyPair::generate().with_context(|_| make())?;
    let names = vec![address.to_owned(), name.to_owned(), "localhost".to_owned()];
    let mut params = CertificateParams::new(names).with_context(|_| make())?;
    params.distinguished_name.push(DnType::CommonName, name);
    let certificate = params.self_signed(&key).with_context(|_| make())?;
    let der: CertificateDer<'static> = certificate.der().clone();
    let fingerprint = Sha256::digest(&der).iter().map(|b| format!("{b:02X}")).collect::<Vec<_>>().join(":");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .with_context(|_| ServeSnafu { name })?
        .with_no_client_auth()
        .with_single_cert(vec![der], key)
        .with_context(|_| ServeSnafu { name })?;
    Ok(Identity { config: Arc::new(config), fingerprint, pem: certificate.pem() })
}
