//! Reaching the pool, and reaching no other.

use std::{
    net::TcpStream,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use innkeeper::provider::{
    ErrorKind, Freshness, Power, Provider,
    xapi::{Fingerprint, TlsTrust, XapiProvider},
};
use reqwest::Url;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use serde_json::json;

use crate::pool::{self, create, delete, start, until};

/// Takes any certificate and keeps its fingerprint: trust on first use, for tests only.
#[derive(Debug)]
struct Look(Mutex<Option<Fingerprint>>);

impl ServerCertVerifier for Look {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.0.lock().unwrap() = Some(Fingerprint::of(end_entity));
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// The fingerprint of the certificate that this endpoint shows now.
pub(crate) fn fingerprint_of(url: &Url) -> Fingerprint {
    let look = Arc::new(Look(Mutex::new(None)));
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(look.clone())
        .with_no_client_auth();
    let host = url.host_str().unwrap().trim_matches(['[', ']']).to_owned();
    let mut stream =
        TcpStream::connect((host.as_str(), url.port_or_known_default().unwrap())).expect("the pool answers");
    let mut tls = ClientConnection::new(Arc::new(config), ServerName::try_from(host).unwrap()).unwrap();
    while tls.is_handshaking() {
        tls.complete_io(&mut stream).expect("a TLS handshake");
    }
    look.0.lock().unwrap().expect("a certificate")
}

async fn refused(config: innkeeper::provider::xapi::XapiConfig) -> innkeeper::provider::ProviderError {
    match XapiProvider::connect(config).await {
        Ok(_) => panic!("the connection was accepted"),
        Err(error) => error,
    }
}

/// A host whose certificate is not the pinned one gets no password. Pitfall 11.
#[tokio::test]
async fn an_unknown_certificate_is_refused() {
    let Some(pool) = pool::sim(&[]).await else { return };
    assert_eq!(fingerprint_of(&pool.urls[0]), pool.fingerprints[0]);
    let mut config = pool.config();
    config.tls = TlsTrust::Fingerprints(vec!["ab".repeat(32).parse().unwrap()]);
    let logins = pool.calls("session.login_with_password").await;
    let error = refused(config.clone()).await;
    assert_eq!(error.kind, ErrorKind::Auth, "{error}");
    assert!(error.to_string().contains(&pool.fingerprints[0].to_string()), "{error}");
    config.tls = TlsTrust::SystemRoots;
    assert_eq!(refused(config).await.kind, ErrorKind::Auth);
    assert_eq!(pool.calls("session.login_with_password").await, logins);
}

/// Another pool than the expected one is not driven. Pitfall 2.
#[tokio::test]
async fn another_pool_is_refused() {
    let pool = pool::any().await;
    let mut config = pool.config();
    config.expected_pool = Some("00000000-0000-0000-0000-000000000000".into());
    let error = refused(config).await;
    assert_eq!(error.kind, ErrorKind::Auth, "{error}");
    pool.discard().await;
}

/// A wrong password is tried once, not again and again; a corrected one at once. Pitfalls 3, 10.
#[tokio::test]
async fn a_wrong_password_is_not_repeated() {
    let Some(pool) = pool::sim(&["--knob", "login_failure_ms=10"]).await else { return };
    let mut config = pool.config();
    config.endpoints = pool.urls.clone();
    config.password = "wrong".to_owned().into();
    let before = pool.calls("session.login_with_password").await;
    let error = refused(config.clone()).await;
    assert_eq!(error.kind, ErrorKind::Auth);
    assert!(!error.to_string().contains("wrong"), "{error}");
    let asked = pool.calls("session.login_with_password").await;
    for _ in 0..5 {
        let error = refused(config.clone()).await;
        assert_eq!(error.kind, ErrorKind::Auth);
        assert!(error.retry_after.is_some());
    }
    assert_eq!(pool.calls("session.login_with_password").await, asked);
    assert!(asked - before <= pool.urls.len(), "each host is asked once");
    pool.connect().await.close().await;
}

/// A member leads to its coordinator. Pitfalls 1, 4.
#[tokio::test]
async fn a_member_leads_to_the_coordinator() {
    let Some(pool) = pool::sim(&[]).await else { return };
    let mut config = pool.config();
    config.endpoints = vec![pool.urls[2].clone()];
    let provider = XapiProvider::connect(config).await.unwrap();
    assert_eq!(provider.inventory().await.unwrap().hosts.len(), 3);
    provider.close().await;
    assert_eq!(provider.inventory().await.unwrap_err().kind, ErrorKind::Unavailable);
}

/// Nobody there: the connection ends in time, with an error that says so.
#[tokio::test]
async fn a_dead_address_ends_in_time() {
    let Some(pool) = pool::sim(&[]).await else { return };
    let mut config = pool.config();
    config.endpoints = vec!["https://127.0.0.1:9".parse().unwrap()];
    let begun = Instant::now();
    assert_eq!(refused(config).await.kind, ErrorKind::Unavailable);
    assert!(begun.elapsed() < Duration::from_secs(10));
}

/// The coordinator dies, a member takes over: the driver follows, and no guest is touched. Pitfalls 1, 2, 5, 6.
#[tokio::test]
async fn a_lost_coordinator_is_followed() {
    let Some(pool) = pool::sim(&[]).await else { return };
    let provider = pool.connect().await;
    let hosts = provider.inventory().await.unwrap().hosts;
    let mut wish = pool.wish("survivor");
    wish.host = Some(hosts.iter().find(|host| host.name == "xcp-h2").unwrap().id.clone());
    let guest = create(&*provider, &wish).await;
    provider.start(&wish).await.unwrap();
    pool.admin(reqwest::Method::POST, "/hosts/xcp-h1/kill", json!({ "notice_ms": 0 })).await;
    pool.admin(reqwest::Method::POST, "/coordinator", json!({ "host": "xcp-h3" })).await;
    let found = until("the driver has followed", async || provider.find(&wish.key, Freshness::Live).await.ok()).await;
    let found = found.expect("the guest is not lost");
    assert_eq!((found.provider_id, found.power), (guest.provider_id, Power::Running));
    assert_eq!(provider.create(&wish).await.unwrap().power, Power::Running);
    delete(&*provider, &wish.key).await;
}

/// A restarted toolstack forgets sessions: one new login, however many calls are under way. Pitfalls 8, 9.
#[tokio::test]
async fn a_restart_costs_one_login() {
    let Some(pool) = pool::sim(&["--knob", "restart_ms=100"]).await else { return };
    let provider = pool.connect().await;
    let before = pool.calls("session.login_with_password").await;
    pool.admin(reqwest::Method::POST, "/restart", json!({})).await;
    let reads = futures::future::join_all((0..30).map(|_| provider.list(Freshness::Live))).await;
    for read in reads {
        read.unwrap();
    }
    assert!(pool.calls("session.login_with_password").await - before <= 3);
    provider.close().await;
}

/// The session is ended when the connection is. Pitfall 9.
#[tokio::test]
async fn close_logs_out() {
    let Some(pool) = pool::sim(&[]).await else { return };
    let provider = pool.connect().await;
    let before = pool.calls("session.logout").await;
    provider.close().await;
    assert_eq!(pool.calls("session.logout").await, before + 1);
    provider.close().await;
    assert_eq!(pool.calls("session.logout").await, before + 1);
    drop(pool.connect().await);
    until("a dropped connection logs out too", async || {
        (pool.calls("session.logout").await == before + 2).then_some(())
    })
    .await;
}

/// A pool that writes integers as strings is read alike.
#[tokio::test]
async fn integers_as_strings_are_read() {
    let Some(pool) = pool::sim(&["--ints-as-strings", "--vms", "4"]).await else { return };
    let provider = pool.connect().await;
    let inventory = provider.inventory().await.unwrap();
    assert!(inventory.hosts.iter().all(|host| host.memory_total.0 > 1 << 30));
    let wish = pool.wish("old");
    create(&*provider, &wish).await;
    provider.start(&wish).await.unwrap();
    delete(&*provider, &wish.key).await;
    provider.close().await;
}

/// The role `vm-power-admin` is enough for a guest's whole life (in a simulated pool all cases have it and no more); one that
/// may only read is told so at the first change.
#[tokio::test]
async fn the_least_role_is_enough() {
    let users = ["--add-user", "reader:pw:read-only", "--knob", "tools_ms=10"];
    let Some(pool) = pool::sim(&users).await else { return };
    let provider = pool.connect().await;
    let before = pool.count().await;
    let wish = pool.wired_wish("least").await;
    create(&*provider, &wish).await;
    start(&*provider, &wish).await;
    let hosts = provider.inventory().await.unwrap().hosts;
    provider.migrate(&wish.key, &hosts[1].id).await.unwrap();
    provider.stop(&wish.key, innkeeper::provider::StopMode::USUAL).await.unwrap();
    delete(&*provider, &wish.key).await;
    assert_eq!(pool.count().await, before);
    provider.close().await;
    let mut config = pool.config();
    (config.user, config.password) = ("reader".to_owned(), "pw".to_owned().into());
    let reader = XapiProvider::connect(config).await.unwrap();
    assert_eq!(reader.inventory().await.unwrap().hosts.len(), 3);
    let error = reader.create(&wish).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Auth, "{error}");
    assert!(error.to_string().contains("VM.clone") && error.to_string().contains("vm-admin"), "{error}");
    reader.close().await;
}

/// An old pool knows no originator: the login goes without. Pitfall 24.
#[tokio::test]
async fn an_old_pool_is_logged_in_to_with_fewer_words() {
    let Some(pool) = pool::sim(&[]).await else { return };
    let params = ["session.login_with_password", "2", "4"];
    pool.fault(json!({
        "method": params[0], "kind": "error", "code": "MESSAGE_PARAMETER_COUNT_MISMATCH", "params": params, "count": 1,
    }))
    .await;
    pool.connect().await.close().await;
}

/// A session that was given up, because the coordinator seemed to be none, is ended when a new one is there. Pitfall 9.
#[tokio::test]
async fn abandoned_sessions_are_ended() {
    let Some(pool) = pool::sim(&[]).await else { return };
    let provider = pool.connect().await;
    let wish = pool.wish("x");
    let before = open_sessions(&pool).await;
    let logins = pool.calls("session.login_with_password").await;
    for _ in 0..3 {
        let fault = json!({ "method": "event.inject", "kind": "error", "code": "HOST_STILL_BOOTING", "count": 1 });
        pool.fault(fault).await;
        until("a new session is needed", async || {
            provider.find(&wish.key, Freshness::Live).await.unwrap();
            let faults = pool.admin(reqwest::Method::GET, "/faults", json!({})).await;
            faults.as_array().unwrap().iter().all(|fault| fault["count"] == 0).then_some(())
        })
        .await;
    }
    assert!(pool.calls("session.login_with_password").await > logins);
    until("no session is left over", async || (open_sessions(&pool).await <= before).then_some(())).await;
    provider.close().await;
}

/// Sessions that the simulator holds.
async fn open_sessions(pool: &pool::Pool) -> usize {
    pool.admin(reqwest::Method::GET, "/state/session", json!({})).await.as_object().unwrap().len()
}
