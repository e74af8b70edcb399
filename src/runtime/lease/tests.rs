use std::{
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use futures::future::{BoxFuture, FutureExt as _};
use http::{Method, Request, Response};
use kube::client::Body;
use serde_json::{Value, json};
use tower_service::Service;

use super::*;

/// An API server that holds one Lease.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<Option<Value>>>);

impl Server {
    fn holder(&self) -> Value {
        self.0.lock().unwrap().as_ref().unwrap()["spec"]["holderIdentity"].clone()
    }

    /// A write that landed and was never answered.
    fn changed(&self, holder: &str) {
        let mut stored = self.0.lock().unwrap();
        let lease = stored.as_mut().unwrap();
        lease["spec"]["holderIdentity"] = json!(holder);
        lease["metadata"]["resourceVersion"] = next(lease);
    }

    fn answer(&self, method: &Method, sent: &[u8]) -> (u16, Value) {
        let refused = |code: u16, reason: &str| (code, json!({ "kind": "Status", "code": code, "reason": reason }));
        let mut stored = self.0.lock().unwrap();
        let same =
            |lease: &Value, sent: &Value| lease["metadata"]["resourceVersion"] == sent["metadata"]["resourceVersion"];
        match (method, stored.as_ref()) {
            (&Method::GET, Some(lease)) => (200, lease.clone()),
            (&Method::GET, None) => refused(404, "NotFound"),
            (&Method::POST, Some(_)) => refused(409, "AlreadyExists"),
            (_, before) => {
                let mut lease: Value = serde_json::from_slice(sent).unwrap();
                if before.is_some_and(|before| !same(before, &lease)) {
                    return refused(409, "Conflict");
                }
                lease["metadata"]["resourceVersion"] = before.map_or(json!("1"), next);
                *stored = Some(lease.clone());
                (200, lease)
            }
        }
    }
}

fn next(lease: &Value) -> Value {
    let version: u64 = lease["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    json!((version + 1).to_string())
}

impl Service<Request<Body>> for Server {
    type Response = Response<Body>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let server = self.clone();
        async move {
            let (parts, body) = request.into_parts();
            let sent = body.collect_bytes().await?;
            let (code, answer) = server.answer(&parts.method, &sent);
            Ok(Response::builder().status(code).body(Body::from(serde_json::to_vec(&answer)?))?)
        }
        .boxed()
    }
}

fn candidate(server: &Server, name: &str) -> Candidate {
    let lease = LeaseName { namespace: "a".to_owned(), name: "b".to_owned() };
    let timing = Timing::of_term(Duration::from_secs(15));
    Candidate::new(Client::new(server.clone(), "a"), &lease, timing, Mandate::none(name))
}

#[tokio::test]
async fn a_lease_is_given_back_though_a_renewal_landed_unheard() {
    let server = Server::default();
    let mut leader = candidate(&server, "me");
    leader.acquire().await;
    server.changed("me");
    leader.release().await;
    assert!(server.holder().as_str().is_none_or(str::is_empty), "{}", server.holder());
}

#[tokio::test]
async fn a_lease_of_somebody_else_is_not_given_back() {
    let server = Server::default();
    let mut leader = candidate(&server, "me");
    leader.acquire().await;
    server.changed("another");
    leader.release().await;
    assert_eq!(server.holder(), "another");
}
