use std::sync::Arc;

use futures::future::BoxFuture;
use http::{Request, Response};
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams},
    client::Body,
};
use serde_json::{Value, json};
use tower_service::Service;

use super::*;
use crate::{
    api::{CloudPool, Guest, crds},
    runtime::{gate::guarded, lease::Mandate},
};

const GUESTS: &str = "guests.innkeeper.dev";

fn definition(name: &str) -> Value {
    let all = crds();
    let definition = all.iter().find(|definition| definition.metadata.name.as_deref() == Some(name)).unwrap();
    serde_json::to_value(definition).unwrap()
}

/// Where a property stands in a definition: by the names above it.
fn properties<'v>(definition: &'v mut Value, path: &[&str]) -> &'v mut serde_json::Map<String, Value> {
    let mut schema = &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    for name in path {
        schema = match *name {
            "[]" => &mut schema["items"],
            name => &mut schema["properties"][name],
        };
    }
    schema["properties"].as_object_mut().unwrap()
}

fn lacking(theirs: Value) -> Vec<String> {
    let kinds = Kinds::new(crds());
    let number = kinds.0.iter().position(|kind| kind.name == GUESTS).unwrap();
    let theirs = serde_json::from_value(theirs).unwrap();
    kinds.0[number].compared(&theirs).map(|outdated| outdated.missing).unwrap_or_default()
}

#[test]
fn each_field_that_is_dropped_is_found_wherever_it_is() {
    assert_eq!(lacking(definition(GUESTS)), [""; 0]);
    for (above, field, said) in [
        (&["spec"][..], "holds", "spec.holds"),
        (&["spec", "holds", "[]"], "name", "spec.holds[].name"),
        (&["status"], "creation", "status.creation"),
        (&["spec", "binding"], "incarnation", "spec.binding.incarnation"),
        (&[], "status", "status"),
    ] {
        let mut theirs = definition(GUESTS);
        assert!(properties(&mut theirs, above).remove(field).is_some(), "{said}");
        assert_eq!(lacking(theirs), [said]);
    }
}

#[test]
fn newer_definitions_and_those_that_keep_everything_lack_nothing() {
    let mut theirs = definition(GUESTS);
    properties(&mut theirs, &["spec"]).insert("later".into(), json!({ "type": "string" }));
    assert_eq!(lacking(theirs), [""; 0]);
    let mut theirs = definition(GUESTS);
    properties(&mut theirs, &[])
        .insert("status".into(), json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true }));
    assert_eq!(lacking(theirs), [""; 0]);
}

#[test]
fn a_version_that_is_not_served_is_missing() {
    let mut theirs = definition(GUESTS);
    theirs["spec"]["versions"][0]["served"] = json!(false);
    assert_eq!(lacking(theirs), ["the version v1alpha1"]);
}

#[test]
fn of_many_fields_three_are_named() {
    let missing = ["a", "b", "c", "d", "e"].map(str::to_owned).to_vec();
    let text = Outdated { name: GUESTS.into(), missing }.to_string();
    assert!(
        text.contains("guests.innkeeper.dev is older than this operator and does not know a, b, c and 2 more: "),
        "{text}"
    );
}

#[test]
fn lists_and_watches_of_the_kinds_are_told_from_all_else() {
    let kinds = Kinds::new(crds());
    for (path, listed, ours) in [
        ("/apis/innkeeper.dev/v1alpha1/guests", true, true),
        ("/apis/innkeeper.dev/v1alpha1/namespaces/a/guests", true, true),
        ("/apis/innkeeper.dev/v1alpha1/namespaces/guests/guests", true, true),
        ("/apis/innkeeper.dev/v1alpha1/cloudpools", true, true),
        ("/apis/innkeeper.dev/v1alpha1/namespaces/a/guests/web-0", false, true),
        ("/apis/innkeeper.dev/v1alpha1/namespaces/a/guests/web-0/status", false, true),
        ("/apis/innkeeper.dev/v1alpha1/cloudpools/guests", false, true),
        ("/apis/coordination.k8s.io/v1/namespaces/a/leases/b", false, false),
        ("/api/v1/namespaces/guests", false, false),
        ("/api/v1/namespaces", false, false),
    ] {
        assert_eq!((kinds.listed_at(path).is_some(), kinds.are_at(path)), (listed, ours), "{path}");
    }
}

/// An API server that has these definitions, and answers everything else with an empty list or an object.
#[derive(Clone, Default)]
struct Server {
    definitions: Arc<Mutex<BTreeMap<String, Value>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn has(&self, definition: Value) {
        let name = definition["metadata"]["name"].as_str().unwrap().to_owned();
        self.definitions.lock().unwrap().insert(name, definition);
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

impl Service<Request<Body>> for Server {
    type Response = Response<Body>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let path = request.uri().path();
        self.asked.lock().unwrap().push(format!("{} {}", request.method(), path.rsplit('/').next().unwrap()));
        let (code, body) = match path.strip_prefix("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/") {
            Some(name) => match self.definitions.lock().unwrap().get(name) {
                Some(definition) => (200, definition.clone()),
                None => {
                    (403, json!({ "kind": "Status", "code": 403, "reason": "Forbidden", "message": "may not be read" }))
                }
            },
            None if path.ends_with('s') => (200, json!({ "items": [], "metadata": {} })),
            None => (
                200,
                json!({ "metadata": { "name": "home" }, "spec": {
                "provider": { "xapi": { "endpoints": ["https://x"], "credentialsSecretRef": { "namespace": "a", "name": "b" } } },
                "location": { "jurisdiction": "GB" }, "pricing": {} } }),
            ),
        };
        let body = Body::from(serde_json::to_vec(&body).unwrap());
        Box::pin(async move { Ok(Response::builder().status(code).body(body).unwrap()) })
    }
}

#[tokio::test]
async fn nothing_is_read_or_written_while_a_definition_lacks_fields() {
    let (server, kinds) = (Server::default(), Arc::new(Kinds::new(crds())));
    for definition in crds() {
        server.has(serde_json::to_value(definition).unwrap());
    }
    let client = Client::new(server.clone(), "default");
    let client = guarded(client, Mandate::unlimited("me"), Arc::clone(&kinds), Arc::default());
    let (guests, pools): (Api<Guest>, Api<CloudPool>) = (Api::all(client.clone()), Api::all(client));
    let list = async || guests.list(&ListParams::default()).await.map(|all| all.items.len());
    let write = async || {
        let patch = Patch::Merge(json!({}));
        pools.patch("home", &PatchParams::default(), &patch).await.map(drop)
    };
    assert_eq!(list().await.unwrap(), 0);
    write().await.unwrap();
    // After the list, not before: it may change in between.
    assert_eq!(server.asked(), ["GET guests", "GET guests.innkeeper.dev", "PATCH home"]);

    let mut older = definition(GUESTS);
    properties(&mut older, &["spec"]).remove("holds");
    server.has(older);
    // Nobody can know yet.
    write().await.unwrap();
    let error = list().await.unwrap_err();
    assert!(chain(&error).contains("does not know spec.holds: apply those of this release"), "{}", chain(&error));
    server.asked();
    let error = write().await.unwrap_err();
    assert!(chain(&error).contains("guests.innkeeper.dev is older than this operator"), "{}", chain(&error));
    assert_eq!(server.asked(), [""; 0]);
    assert!(kinds.outdated().is_some());

    server.has(definition(GUESTS));
    assert_eq!(list().await.unwrap(), 0);
    write().await.unwrap();
    assert_eq!(kinds.outdated(), None);
}

#[tokio::test]
async fn a_definition_that_cannot_be_read_is_not_taken_for_complete_and_changes_nothing_known() {
    let (server, kinds) = (Server::default(), Arc::new(Kinds::new(crds())));
    let number = kinds.listed_at("/apis/innkeeper.dev/v1alpha1/guests").unwrap();
    let check = async || kinds.check(Client::new(server.clone(), "default"), number).await;
    let error = check().await.unwrap_err();
    assert!(
        chain(&error).ends_with("cannot read CustomResourceDefinition guests.innkeeper.dev: may not be read"),
        "{}",
        chain(&error)
    );
    assert_eq!(kinds.outdated(), None);
    let mut older = definition(GUESTS);
    properties(&mut older, &["status"]).remove("creation");
    server.has(older);
    check().await.unwrap_err();
    server.definitions.lock().unwrap().clear();
    check().await.unwrap_err();
    assert!(kinds.outdated().is_some());
}
