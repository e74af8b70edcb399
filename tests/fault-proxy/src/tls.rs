//! HTTPS towards the client: a certificate authority made at the start, and a certificate for loopback from it.

use std::{path::Path, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use snafu::{ResultExt, Snafu};
use tokio_rustls::TlsAcceptor;

/// Why there is no certificate.
#[derive(Debug, Snafu)]
pub enum TlsError {
    /// The certificates could not be made.
    #[snafu(display("cannot make the proxy's certificates"))]
    Certificate {
        /// What it came from.
        source: rcgen::Error,
    },
    /// They were not accepted.
    #[snafu(display("cannot serve with the proxy's certificates"))]
    Serve {
        /// What it came from.
        source: rustls::Error,
    },
    /// The authority's certificate could not be written.
    #[snafu(display("cannot write the authority's certificate to {path}"))]
    Write {
        /// Where to.
        path: String,
        /// What it came from.
        source: std::io::Error,
    },
}

/// Who the proxy is towards its clients.
#[derive(Clone)]
pub struct Identity {
    /// The certificate authority, for clients to trust.
    pub authority_pem: String,
    /// The certificate itself in DER, for clients that trust a fingerprint.
    pub certificate_der: Vec<u8>,
    pub(crate) acceptor: TlsAcceptor,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

impl Identity {
    /// A new authority and a certificate for `localhost`, `127.0.0.1` and `::1`.
    pub fn new() -> Result<Self, TlsError> {
        let authority_key = KeyPair::generate().context(CertificateSnafu)?;
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.distinguished_name.push(DnType::CommonName, "fault-proxy authority");
        let authority_pem = authority.self_signed(&authority_key).context(CertificateSnafu)?.pem();
        let issuer = Issuer::new(authority, authority_key);
        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let mut params = CertificateParams::new(names).context(CertificateSnafu)?;
        params.distinguished_name.push(DnType::CommonName, "fault-proxy");
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        let key = KeyPair::generate().context(CertificateSnafu)?;
        let certificate = params.signed_by(&key, &issuer).context(CertificateSnafu)?;
        let secret = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], secret))
            .context(ServeSnafu)?;
        Ok(Self {
            authority_pem,
            certificate_der: certificate.der().to_vec(),
            acceptor: TlsAcceptor::from(Arc::new(config)),
        })
    }

    /// Writes the authority's certificate to a file.
    pub fn write_authority(&self, path: &Path) -> Result<(), TlsError> {
        std::fs::write(path, &self.authority_pem).context(WriteSnafu { path: path.display().to_string() })
    }
}
