//! Which certificate a host shows, so that somebody can compare it with the host's own and pin it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use reqwest::{Client, Url, redirect};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error as TlsError, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use super::tls::Fingerprint;

/// The fingerprint of the certificate that is shown at this address. The handshake is broken off there: nothing is sent.
pub(super) async fn fingerprint(endpoint: &Url, limit: Duration) -> Option<Fingerprint> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let seen = Arc::new(Seen { print: Mutex::new(None), provider: Arc::clone(&provider) });
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().ok()?;
    let config = config.dangerous().with_custom_certificate_verifier(seen.clone()).with_no_client_auth();
    let client = Client::builder()
        .tls_backend_preconfigured(config)
        .redirect(redirect::Policy::none())
        .no_proxy()
        .timeout(limit)
        .build()
        .ok()?;
    // It fails in any case: the certificate is never accepted.
    let _ = client.get(endpoint.clone()).send().await;
    *seen.print.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes the certificate and accepts none.
#[derive(Debug)]
struct Seen {
    print: Mutex<Option<Fingerprint>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Seen {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        *self.print.lock().unwrap_or_else(PoisonError::into_inner) = Some(Fingerprint::of(end_entity));
        Err(TlsError::General("the certificate was only looked at".into()))
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Err(TlsError::General("the certificate was only looked at".into()))
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Err(TlsError::General("the certificate was only looked at".into()))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
