//! Who is at the other end: TLS by pinned certificate, by authority or by the machine's roots.

use std::{fmt, str::FromStr, sync::Arc};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use sha2::{Digest, Sha256};
use snafu::{ResultExt, Snafu, ensure};

use super::config::TlsTrust;

/// Why no TLS configuration could be made, or a fingerprint is none.
#[derive(Debug, Snafu)]
pub enum TrustError {
    /// The text is not a SHA-256 fingerprint.
    #[snafu(display("\"{text}\" is not a SHA-256 fingerprint: write 64 hexadecimal digits, with or without colons"))]
    Fingerprint {
        /// The offending text.
        text: String,
    },
    /// The authorities' PEM cannot be read.
    #[snafu(display("the certificate authorities cannot be read as PEM"))]
    ReadAuthority {
        /// What the PEM reader said.
        source: rustls::pki_types::pem::Error,
    },
    /// The PEM holds no certificate.
    #[snafu(display("the PEM of the certificate authorities holds no certificate"))]
    NoAuthority,
    /// The name in the certificates is not one.
    #[snafu(display("\"{name}\" is not a server name"))]
    Name {
        /// The offending text.
        name: String,
        /// What the name parser said.
        source: rustls::pki_types::InvalidDnsNameError,
    },
    /// The verifier refused the authorities.
    #[snafu(display("the certificate authorities cannot be used"))]
    Authority {
        /// What the verifier said.
        source: rustls::client::VerifierBuilderError,
    },
    /// The TLS library refused the configuration.
    #[snafu(display("TLS cannot be configured"))]
    Configure {
        /// What the library said.
        source: TlsError,
    },
}

/// The SHA-256 digest of a certificate (DER), as `openssl x509 -fingerprint -sha256` prints it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of this certificate.
    #[must_use]
    pub fn of(certificate: &[u8]) -> Self {
        Self(Sha256::digest(certificate).into())
    }
}

impl FromStr for Fingerprint {
    type Err = TrustError;

    fn from_str(text: &str) -> Result<Self, TrustError> {
        let digits: Vec<u8> = text.bytes().filter(|b| !matches!(b, b':' | b' ')).collect();
        let mut bytes = [0_u8; 32];
        ensure!(digits.len() == 64, FingerprintSnafu { text });
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |d: u8| char::from(d).to_digit(16).and_then(|d| u8::try_from(d).ok());
            let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else {
                return FingerprintSnafu { text }.fail();
            };
            *byte = high << 4 | low;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            write!(f, "{}{byte:02X}", if i == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The TLS configuration for connections to hosts that are trusted in this way. The crypto provider is given, not taken
/// from the process: which other crates are linked in must not matter.
pub(in crate::provider) fn client_config(trust: &TlsTrust) -> Result<ClientConfig, TrustError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .context(ConfigureSnafu)?
        .dangerous();
    let verifier: Arc<dyn ServerCertVerifier> = match trust {
        TlsTrust::Fingerprints(pinned) => Arc::new(Pinned { pinned: pinned.clone(), provider }),
        TlsTrust::Authority { pem, server_name } => {
            let authority = authority(pem, provider)?;
            match server_name {
                None => authority,
                Some(name) => {
                    let name = ServerName::try_from(name.clone()).context(NameSnafu { name })?;
                    Arc::new(Named { name, authority })
                }
            }
        }
        TlsTrust::SystemRoots => Arc::new(rustls_platform_verifier::Verifier::new(provider).context(ConfigureSnafu)?),
    };
    Ok(builder.with_custom_certificate_verifier(verifier).with_no_client_auth())
}

fn authority(pem: &str, provider: Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>, TrustError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate.context(ReadAuthoritySnafu)?).context(ConfigureSnafu)?;
    }
    ensure!(!roots.is_empty(), NoAuthoritySnafu);
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().context(AuthoritySnafu)
}

/// Accepts the pinned certificates and no other. Names and dates in a pinned certificate say nothing more: whoever holds
/// its key is the host that was pinned, and the handshake's signature proves that.
#[derive(Debug)]
struct Pinned {
    pinned: Vec<Fingerprint>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let seen = Fingerprint::of(end_entity);
        if self.pinned.contains(&seen) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(TlsError::General(format!("the certificate's fingerprint {seen} is not the pinned one")))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Accepts what the authority signed for one given name, whatever address was dialled.
#[derive(Debug)]
struct Named {
    name: ServerName<'static>,
    authority: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        self.authority.verify_server_cert(end_entity, intermediates, &self.name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.authority.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.authority.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authority.supported_verify_schemes()
    }
}

/// Whether this error means that the other end is not whom we trust: no other attempt helps until somebody acts.
pub(super) fn is_distrust(error: &TlsError) -> bool {
    match error {
        TlsError::General(text) => text.contains("is not the pinned one"),
        TlsError::InvalidCertificate(reason) => !matches!(reason, CertificateError::Other(_)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_read_as_openssl_prints_them() {
        let plain = "a".repeat(64);
        let colons = vec!["AA"; 32].join(":");
        assert_eq!(plain.parse::<Fingerprint>().unwrap(), colons.parse::<Fingerprint>().unwrap());
        assert_eq!(plain.parse::<Fingerprint>().unwrap().to_string(), colons);
        for bad in ["", "aa", &"g".repeat(64), &"a".repeat(63), &"a".repeat(66)] {
            assert!(bad.parse::<Fingerprint>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_authority_needs_a_certificate() {
        let trust = TlsTrust::Authority { pem: "no certificate".into(), server_name: None };
        assert!(matches!(client_config(&trust), Err(TrustError::NoAuthority)));
    }

    #[test]
    fn only_the_pinned_certificate_passes() {
        let pinned =
            Pinned { pinned: vec![Fingerprint::of(b"mine")], provider: Arc::new(aws_lc_rs::default_provider()) };
        let name = ServerName::try_from("xen1").unwrap();
        let check = |certificate: &'static [u8]| {
            pinned.verify_server_cert(&CertificateDer::from(certificate), &[], &name, &[], UnixTime::now())
        };
        assert!(check(b"mine").is_ok());
        assert!(is_distrust(&check(b"another").unwrap_err()));
    }
}
