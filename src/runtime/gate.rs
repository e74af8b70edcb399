//! What every request to the API server goes through: writes need the mandate, objects of ours definitions that are not older
//! than the operator, and all are measured.

use std::{
    task::{Context, Poll},
    time::Instant,
};

use futures::{FutureExt as _, future::BoxFuture};
use http::{Method, Request, Response};
use kube::{Client, client::Body};
use std::sync::Arc;
use tower_service::Service;
use tracing::Instrument as _;

use super::{kinds::Kinds, lease::Mandate, metrics::Metrics, trace};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A client whose writes are only sent while the mandate lasts, and that works with these kinds only while the API server
/// knows all of their fields.
#[must_use]
pub fn guarded(client: Client, mandate: Mandate, kinds: Arc<Kinds>, metrics: Arc<Metrics>) -> Client {
    let namespace = client.default_namespace().to_owned();
    Client::new(Gate { inner: client, mandate: Some(mandate), kinds, metrics }, namespace)
}

/// A client that is only measured: for the Lease itself, and for the definitions.
#[must_use]
pub fn measured(client: Client, metrics: Arc<Metrics>) -> Client {
    let namespace = client.default_namespace().to_owned();
    Client::new(Gate { inner: client, mandate: None, kinds: Arc::default(), metrics }, namespace)
}

struct Gate {
    inner: Client,
    mandate: Option<Mandate>,
    kinds: Arc<Kinds>,
    metrics: Arc<Metrics>,
}

impl Gate {
    /// Whether a request may not be sent, and why.
    fn refusal(&self, request: &Request<Body>) -> Option<BoxError> {
        if request.method() == Method::GET {
            return None;
        }
        if let Some(Err(not_leading)) = self.mandate.as_ref().map(Mandate::check) {
            self.metrics.refused();
            return Some(not_leading.into());
        }
        let ours = self.kinds.are_at(request.uri().path());
        ours.then(|| self.kinds.outdated()).flatten().map(Into::into)
    }
}

impl Service<Request<Body>> for Gate {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if let Some(refusal) = self.refusal(&request) {
            return futures::future::ready(Err(refusal)).boxed();
        }
        let reads = request.method() == Method::GET;
        let listed = reads.then(|| self.kinds.listed_at(request.uri().path())).flatten();
        let (verb, resource) = (verb(&request), resource(request.uri().path()));
        let (metrics, began) = (Arc::clone(&self.metrics), Instant::now());
        let (client, kinds, span) = (self.inner.clone(), Arc::clone(&self.kinds), trace::api_request(verb, &resource));
        async move {
            let answer = client.send(request).instrument(span.clone()).await;
            let code = answer.as_ref().ok().map(|answer| answer.status().as_u16());
            trace::ends(&span, &outcome(code));
            metrics.requested(verb, resource, code, began.elapsed());
            let answer = answer?;
            // After the watch was opened: it ends when the definition changes after this look.
            if let Some(kind) = listed.filter(|_| answer.status().is_success()) {
                kinds.check(measured(client, metrics), kind).await?;
            }
            Ok(answer)
        }
        .boxed()
    }
}

/// The answer in a trace.
fn outcome(code: Option<u16>) -> String {
    match code {
        Some(..400) => "ok".to_owned(),
        Some(code) => code.to_string(),
        None => "no answer".to_owned(),
    }
}

fn verb<T>(request: &Request<T>) -> &'static str {
    let is = |parameter: &str| request.uri().query().is_some_and(|query| query.contains(parameter));
    match *request.method() {
        Method::GET if is("watch=true") => "watch",
        Method::GET => "get",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "other",
    }
}

/// The resource in a path such as `/apis/GROUP/VERSION/namespaces/NAMESPACE/RESOURCE/NAME/SUBRESOURCE`.
fn resource(path: &str) -> String {
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    match parts.next() {
        Some("api") => drop(parts.next()),
        Some("apis") => drop((parts.next(), parts.next())),
        _ => return "other".to_owned(),
    }
    let rest: Vec<&str> = parts.collect();
    let rest = match rest.as_slice() {
        ["namespaces", _, rest @ ..] if !rest.is_empty() => rest,
        rest => rest,
    };
    match rest {
        [] => "other".to_owned(),
        [resource] | [resource, _] => (*resource).to_owned(),
        [resource, _, subresource, ..] => format!("{resource}/{subresource}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_are_told_without_names() {
        for (path, expected) in [
            ("/apis/innkeeper.dev/v1alpha1/namespaces/a/guests/web-0/status", "guests/status"),
            ("/apis/innkeeper.dev/v1alpha1/namespaces/a/guests/web-0", "guests"),
            ("/apis/innkeeper.dev/v1alpha1/guests", "guests"),
            ("/apis/innkeeper.dev/v1alpha1/cloudpools/x/status", "cloudpools/status"),
            ("/api/v1/namespaces/kube-system", "namespaces"),
            ("/api/v1/namespaces", "namespaces"),
            ("/api/v1/namespaces/a/secrets/b", "secrets"),
            ("/version", "other"),
        ] {
            assert_eq!(resource(path), expected, "{path}");
        }
    }

    #[tokio::test]
    async fn writes_need_the_mandate_and_reads_do_not() {
        use k8s_openapi::api::core::v1::Namespace;
        use kube::{
            Api,
            api::{Patch, PatchParams},
        };
        let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        let server = move |request: Request<Body>| {
            log.lock().unwrap().push(request.method().clone());
            futures::future::ok::<_, BoxError>(Response::new(Body::from(
                br#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"a"}}"#.to_vec(),
            )))
        };
        let (mandate, metrics) = (Mandate::none("me"), Arc::<Metrics>::default());
        let client = guarded(Client::new(Fake(server), "default"), mandate.clone(), Arc::default(), metrics);
        let api: Api<Namespace> = Api::all(client);
        let patch = Patch::Merge(serde_json::json!({}));
        api.get("a").await.unwrap();
        let error = api.patch("a", &PatchParams::default(), &patch).await.unwrap_err();
        assert!(super::super::chain(&error).contains("does not lead"), "{error}");
        assert_eq!(*asked.lock().unwrap(), [Method::GET]);
        let leading = Mandate::unlimited("me");
        let server = move |_: Request<Body>| {
            futures::future::ok::<_, BoxError>(Response::new(Body::from(
                br#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"a"}}"#.to_vec(),
            )))
        };
        let client = guarded(Client::new(Fake(server), "default"), leading, Arc::default(), Arc::default());
        Api::<Namespace>::all(client).patch("a", &PatchParams::default(), &patch).await.unwrap();
    }

    struct Fake<F>(F);

    impl<F, T> Service<Request<Body>> for Fake<F>
    where
        F: FnMut(Request<Body>) -> T,
        T: Future<Output = Result<Response<Body>, BoxError>>,
    {
        type Response = Response<Body>;
        type Error = BoxError;
        type Future = T;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: Request<Body>) -> T {
            (self.0)(request)
        }
    }
}
