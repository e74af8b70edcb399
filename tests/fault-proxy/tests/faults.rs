//! Each fault as a client meets it, over HTTP and HTTPS, before a server that counts what it did.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{Router, extract::State, routing::any};
use fault_proxy::{Fault, Matching, Options, Outcome, Proxy, Rule, Seed};

const REPLY: &str = "the whole of the server's reply, long enough to be cut in two";

/// A server that counts its effects, and a proxy before it.
async fn world(tls: bool) -> (Proxy, Arc<AtomicU64>, reqwest::Client) {
    let effects = Arc::new(AtomicU64::new(0));
    let serve = |State(effects): State<Arc<AtomicU64>>| async move {
        effects.fetch_add(1, Ordering::SeqCst);
        REPLY
    };
    let routes = Router::new().fallback(any(serve)).with_state(Arc::clone(&effects));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    let any = Some("127.0.0.1:0".parse().unwrap());
    let proxy = Proxy::start(Options { tls, admin: any, ..Options::to(&url) }).await.unwrap();
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut client = reqwest::Client::builder().timeout(Duration::from_secs(20));
    if let Some(identity) = proxy.identity() {
        let authority = reqwest::Certificate::from_pem(identity.authority_pem.as_bytes()).unwrap();
        client = client.tls_certs_only([authority]);
    }
    (proxy, effects, client.build().unwrap())
}

fn form(action: &str) -> String {
    format!("Action={action}&Version=2016-11-15")
}

async fn send(client: &reqwest::Client, url: &str, action: &str) -> Result<(u16, String), reqwest::Error> {
    let request = client.post(url).header("content-type", "application/x-www-form-urlencoded").body(form(action));
    let reply = request.send().await?;
    Ok((reply.status().as_u16(), reply.text().await?))
}

#[tokio::test]
async fn faults_happen_before_or_after_the_effect() {
    for tls in [false, true] {
        let (proxy, effects, client) = world(tls).await;
        for (fault, answered, effect, outcome) in [
            (Fault::ResetBefore, false, 0, Outcome::NotSent),
            (Fault::DropAfter, false, 1, Outcome::ReplyLost),
            (Fault::Truncate, false, 1, Outcome::ReplyLost),
            (Fault::Delay { milliseconds: 20 }, true, 1, Outcome::Passed),
            (Fault::Drip { milliseconds: 5 }, true, 1, Outcome::Passed),
        ] {
            proxy.reset(Seed(0));
            proxy.add(Rule::on("Run*", fault.clone()).times(1));
            let before = effects.load(Ordering::SeqCst);
            let reply = send(&client, &proxy.url(), "RunInstances").await;
            assert_eq!(reply.is_ok(), answered, "{fault:?} over tls {tls}: {reply:?}");
            assert_eq!(effects.load(Ordering::SeqCst) - before, effect, "{fault:?}");
            assert_eq!(proxy.log(0).last().unwrap().outcome, outcome, "{fault:?}");
            // The next request passes, on the same client.
            assert_eq!(send(&client, &proxy.url(), "RunInstances").await.unwrap(), (200, REPLY.to_owned()));
        }
    }
}

#[tokio::test]
async fn answers_in_the_servers_place() {
    let (proxy, effects, client) = world(false).await;
    let body = "<Response/>".to_owned();
    let fault = Fault::Answer { status: 503, body: body.clone(), content_type: "text/xml".into() };
    proxy.add(Rule::on("RunInstances", fault).times(2));
    for _ in 0..2 {
        assert_eq!(send(&client, &proxy.url(), "RunInstances").await.unwrap(), (503, body.clone()));
    }
    assert_eq!(send(&client, &proxy.url(), "StopInstances").await.unwrap().0, 200);
    assert_eq!(effects.load(Ordering::SeqCst), 1);
    assert_eq!(proxy.fired()["RunInstances"], 2);
}

#[tokio::test]
async fn a_request_that_hangs_ends_with_the_clients_patience() {
    let (proxy, effects, client) = world(false).await;
    for (fault, effect, outcome) in [(Fault::Hang, 0, Outcome::NotSent), (Fault::HangAfter, 1, Outcome::ReplyLost)] {
        proxy.reset(Seed(0));
        proxy.add(Rule::on("*", fault));
        let reply = client.get(proxy.url()).timeout(Duration::from_millis(500)).send().await;
        assert!(reply.unwrap_err().is_timeout());
        assert_eq!(effects.load(Ordering::SeqCst), effect);
        assert_eq!(proxy.log(0).last().unwrap().outcome, outcome);
    }
}

#[tokio::test]
async fn reads_are_answered_with_old_news() {
    let count = Arc::new(AtomicU64::new(0));
    let serve = |State(count): State<Arc<AtomicU64>>| async move { count.fetch_add(1, Ordering::SeqCst).to_string() };
    let routes = Router::new().fallback(any(serve)).with_state(Arc::clone(&count));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    let proxy = Proxy::start(Options::to(&url)).await.unwrap();
    let client = reqwest::Client::builder().timeout(Duration::from_secs(20)).build().unwrap();
    let get = |path: &str| {
        let request = client.get(format!("{}{path}", proxy.url()));
        async move { request.send().await.unwrap().text().await.unwrap() }
    };
    let stale = |skip| Rule { skip, ..Rule::on("*", Fault::Stale) };
    proxy.add(stale(2));
    assert_eq!((get("/a").await, get("/b").await), ("0".to_owned(), "1".to_owned()));
    assert_eq!((get("/a").await, get("/b").await, get("/b").await), ("0".into(), "1".into(), "1".into()));
    // Nothing is known of this one, nor of a watch; nor of any when the rules have ended.
    assert_eq!(
        (get("/c").await, get("/a?watch=true").await, get("/a?watch=true").await),
        ("2".into(), "3".into(), "4".into())
    );
    proxy.reset(Seed(0));
    proxy.add(stale(0));
    assert_eq!(get("/a").await, "5");
}

#[tokio::test]
async fn rules_change_over_http() {
    let (proxy, _, client) = world(false).await;
    let admin = proxy.admin_url().unwrap();
    let rule = Rule {
        matching: Matching { method: Some("GET".into()), path: Some("/api/*".into()), ..Matching::default() },
        ..Rule::on("pods", Fault::Answer { status: 409, body: String::new(), content_type: "text/plain".into() })
    };
    let json = |rule: &Rule| serde_json::to_string(rule).unwrap();
    let post =
        |body: String| client.post(format!("{admin}/rules")).header("content-type", "application/json").body(body);
    assert_eq!(post(json(&rule)).send().await.unwrap().status().as_u16(), 201);
    assert_eq!(post("{\"name\": 1}".into()).send().await.unwrap().status().as_u16(), 422);
    let listed = client.get(format!("{admin}/rules")).send().await.unwrap().text().await.unwrap();
    assert_eq!(serde_json::from_str::<Vec<Rule>>(&listed).unwrap(), [rule]);
    let status =
        async |path: &str| client.get(format!("{}{path}", proxy.url())).send().await.unwrap().status().as_u16();
    assert_eq!((status("/api/v1/pods").await, status("/healthz").await), (409, 200));
    let log = client.get(format!("{admin}/log?since=1")).send().await.unwrap().text().await.unwrap();
    assert!(log.contains("GET /healthz") && !log.contains("/api/v1/pods"), "{log}");
    assert_eq!(client.delete(format!("{admin}/rules?seed=7")).send().await.unwrap().status().as_u16(), 204);
    assert_eq!(status("/api/v1/pods").await, 200);
}

#[tokio::test]
async fn a_server_that_is_down_is_told_apart() {
    let unused = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", unused.local_addr().unwrap());
    drop(unused);
    let proxy = Proxy::start(Options::to(&url)).await.unwrap();
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = reqwest::Client::builder().timeout(Duration::from_secs(20)).build().unwrap();
    assert_eq!(client.get(proxy.url()).send().await.unwrap().status().as_u16(), 502);
    assert_eq!(proxy.log(0)[0].outcome, Outcome::Unreachable);
}
