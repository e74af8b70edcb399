//! OpenStack: the driver before the fault proxy before a real control plane, whose hypervisors pretend.

mod own;
pub mod plane;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use base64::Engine as _;
use fault_proxy::{Fault, Matching, Options, Proxy, Rule, Seed};
use innkeeper::{
    api::quantity::Bytes,
    provider::{
        GuestWish, Key, Provider, ProviderError,
        openstack::{Credentials, OpenstackConfig, OpenstackProvider, Refresh},
    },
};
use reqwest::Method;
use serde_json::{Value, json};

use self::plane::Plane;
use crate::harness::{Connect, Driver, Made, OWNER, Request, Trouble, World, eventually, patience};

const PAGE: usize = 2;

#[derive(Default)]
pub struct OpenstackDriver {
    plane: tokio::sync::Mutex<Option<Arc<Plane>>>,
}

impl OpenstackDriver {
    /// `None` where the control plane was not prepared: `make test` does without.
    pub fn prepared() -> Option<Self> {
        plane::prepared().map(|_| Self::default())
    }

    async fn empty(&self) -> OpenstackWorld {
        let plane = {
            let mut plane = self.plane.lock().await;
            if plane.is_none() {
                *plane = Some(Arc::new(Plane::start().await));
            }
            Arc::clone(plane.as_ref().unwrap())
        };
        plane.reset().await;
        OpenstackWorld::before(plane).await
    }
}

#[async_trait]
impl Driver for OpenstackDriver {
    fn name(&self) -> &'static str {
        "openstack"
    }

    async fn world(&self) -> Arc<dyn World> {
        Arc::new(self.empty().await)
    }

    fn own_cases(&self) -> &'static [&'static str] {
        own::NAMES
    }

    async fn run_own(&self, name: &str) {
        own::run(name, &self.empty().await).await;
    }

    fn without(&self) -> &'static [(&'static str, &'static str)] {
        const DISKS: &str = "its driver makes no further disks yet";
        &[
            ("life::delete_takes_disks_that_stayed", "its servers have no disk that can outlive them"),
            ("amend::disks_are_made_with_the_vm", DISKS),
            ("amend::disks_grow_and_are_added_while_it_runs", DISKS),
            ("amend::a_disk_is_added_once", DISKS),
            ("amend::disks_go_with_the_vm", DISKS),
        ]
    }

    fn end(&self, _all: bool) -> Result<String, String> {
        self.plane.try_lock().map_err(|_| "a case still runs".to_owned())?.take();
        Ok(String::new())
    }
}

struct OpenstackWorld {
    plane: Arc<Plane>,
    identity: Proxy,
    compute: Proxy,
    /// Servers of earlier cases, which Nova remembers.
    before: BTreeSet<String>,
}

/// A refusal in Nova's form.
fn refusal(status: u16, name: &str, words: &str) -> Fault {
    let body = json!({ name: { "code": status, "message": words } }).to_string();
    Fault::Answer { status, body, content_type: "application/json".into() }
}

/// The requests of this kind: method and path.
const fn requests(request: Request) -> &'static [(Option<&'static str>, &'static str)] {
    match request {
        Request::Create => &[(Some("POST"), "/v2.1/servers")],
        // What else is asked for by way of an action is answered at once and repeated without harm.
        Request::Delete => &[(Some("POST"), "/v2.1/servers/*/action"), (Some("DELETE"), "/v2.1/servers/*")],
        Request::Read => &[(Some("GET"), "/v2.1/servers/*")],
        Request::Change => &[(Some("POST"), "/v2.1/servers/*/metadata"), (Some("PUT"), "/v2.1/servers/*")],
        Request::Any => &[(None, "*")],
    }
}

fn rules(request: Request, trouble: Trouble) -> impl Iterator<Item = Rule> {
    let fault = match trouble {
        Trouble::LostRequest => Fault::ResetBefore,
        Trouble::LostReply => Fault::DropAfter,
        Trouble::HalfReply => Fault::Truncate,
        Trouble::Silence => Fault::Hang,
        Trouble::NoRoom => refusal(403, "forbidden", "Quota exceeded for instances: Requested 1, but already used 10"),
        Trouble::Throttled => refusal(429, "overLimit", "This request was rate-limited."),
        Trouble::Broken => refusal(500, "computeFault", "Unexpected API Error."),
    };
    requests(request).iter().map(move |(method, path)| {
        let matching =
            Matching { method: method.map(str::to_owned), path: Some((*path).to_owned()), ..Matching::default() };
        Rule { name: format!("{path} {trouble:?}"), matching, ..Rule::on("*", fault.clone()) }
    })
}

impl OpenstackWorld {
    async fn before(plane: Arc<Plane>) -> Self {
        let before = plane.ever().await.iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect();
        Self::beside_of(plane, before).await
    }

    async fn beside_of(plane: Arc<Plane>, before: BTreeSet<String>) -> Self {
        let origin = |url: &str| url.trim_end_matches("/v2.1").trim_end_matches("/v3").to_owned();
        let identity = Proxy::start(Options::to(&origin(&plane.state.identity))).await.unwrap();
        let compute = Proxy::start(Options::to(&origin(&plane.state.compute))).await.unwrap();
        Self { plane, identity, compute, before }
    }

    fn config(&self, connect: Connect) -> OpenstackConfig {
        let own = &self.plane.state.application_credential;
        let secret = if connect.wrong_credentials { WRONG } else { &own.secret };
        let credentials = Credentials::Application { id: own.id.clone(), secret: secret.into() };
        let auth_url = self.identity.url().parse().unwrap();
        OpenstackConfig {
            compute: Some(format!("{}/v2.1", self.compute.url()).parse().unwrap()),
            // A real control plane on a small machine answers in tenths of a second, not in thousandths.
            deadline: connect.deadline * patience().div_ceil(2),
            // Longer than Nova takes to answer a creation, or what it is still about to make is taken for lost.
            settling: Duration::from_secs(2) * patience(),
            refresh: Refresh {
                quick: Duration::from_millis(200),
                slow: Duration::from_millis(500),
                lively: Duration::from_secs(20),
            },
            network: Some(self.plane.state.network.clone()),
            page_size: PAGE,
            ..OpenstackConfig::new(auth_url, &self.plane.state.region, credentials, connect.owner)
        }
    }

    /// What a server is asked for with.
    async fn body(&self, wish: &GuestWish, marks: &[(&str, &str)], tags: &[&str]) -> Value {
        let flavors = self.plane.member.get("/flavors").await;
        let small =
            flavors["flavors"].as_array().unwrap().iter().find(|one| one["name"] == "m1.small").unwrap().clone();
        let marks: serde_json::Map<String, Value> =
            marks.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        json!({
            "name": wish.key.name, "imageRef": wish.image, "flavorRef": small["id"], "metadata": marks, "tags": tags,
            "networks": [{ "uuid": self.plane.state.network }],
        })
    }

    /// Makes a server by hand, and waits until it runs.
    async fn launch(&self, wish: &GuestWish, marks: &[(&str, &str)], tags: &[&str]) -> String {
        let body = json!({ "server": self.body(wish, marks, tags).await });
        let made = self.plane.member.done(Method::POST, "/servers", body).await;
        let id = made["server"]["id"].as_str().unwrap().to_owned();
        eventually("it runs", || async { (self.status(&id).await == "ACTIVE").then_some(()) }).await;
        id
    }

    async fn server(&self, id: &str) -> Option<Value> {
        let (status, body) = self.plane.member.send(Method::GET, &format!("/servers/{id}"), None).await;
        (status == 200).then(|| body["server"].clone())
    }

    async fn status(&self, id: &str) -> String {
        let server = self.server(id).await;
        server.map(|one| one["status"].as_str().unwrap().to_owned()).unwrap_or_default()
    }
}

const WRONG: &str = "a-wrong-secret-of-the-tests";

/// The marks of the first incarnation of a guest.
fn marks<'a>(key: &'a Key, owner: &'a str) -> Vec<(&'a str, &'a str)> {
    assert_eq!(key.incarnation, 1);
    vec![
        ("innkeeper.owner", owner),
        ("innkeeper.guest", &key.guest),
        ("innkeeper.incarnation", "1"),
        ("innkeeper.namespace", &key.namespace),
        ("innkeeper.name", &key.name),
    ]
}

#[async_trait]
impl World for OpenstackWorld {
    async fn connect(&self, connect: Connect) -> Result<Arc<dyn Provider>, ProviderError> {
        Ok(OpenstackProvider::connect(self.config(connect))?)
    }

    async fn beside(&self) -> Arc<dyn World> {
        Arc::new(Self::beside_of(Arc::clone(&self.plane), self.before.clone()).await)
    }

    fn wish(&self, key: Key) -> GuestWish {
        let image = &self.plane.state.image;
        GuestWish { instance_type: Some("m1.small".into()), ..GuestWish::new(key, image, 1, Bytes::gib(2)) }
    }

    fn wish_without_image(&self, key: Key) -> GuestWish {
        GuestWish { image: "0fedcba9-0000-4000-8000-876543210000".into(), ..self.wish(key) }
    }

    fn wish_invalid(&self, key: Key) -> GuestWish {
        GuestWish { instance_type: Some("m1.nonsense".into()), ..self.wish(key) }
    }

    async fn trouble(&self, request: Request, trouble: Trouble, times: Option<u64>) {
        for rule in rules(request, trouble) {
            let rule = Rule { times, ..rule };
            if request == Request::Any {
                self.identity.add(rule.clone());
            }
            self.compute.add(rule);
        }
    }

    async fn storm(&self, seed: u64, troubles: &[(Request, Trouble, f64)]) {
        self.identity.reset(Seed(seed));
        self.compute.reset(Seed(seed));
        for (request, trouble, chance) in troubles {
            for rule in rules(*request, *trouble).map(|rule| rule.chance(*chance)) {
                if *request == Request::Any {
                    self.identity.add(rule.clone());
                }
                self.compute.add(rule);
            }
        }
    }

    async fn heal(&self) -> u64 {
        let struck = self.identity.fired().values().sum::<u64>() + self.compute.fired().values().sum::<u64>();
        self.identity.reset(Seed(0));
        self.compute.reset(Seed(0));
        struck
    }

    /// Nova's reads show what its writes were answered for.
    async fn hide_new(&self, _time: Duration) {}

    async fn made_for(&self, guest: &str) -> Vec<Made> {
        let ever = self.plane.ever().await;
        let ours = ever.iter().filter(|one| {
            let said = one["description"].as_str().is_some_and(|text| text.contains(guest));
            said && !self.before.contains(one["id"].as_str().unwrap())
        });
        let made = ours.map(|one| Made {
            id: one["id"].as_str().unwrap().to_owned(),
            alive: one["status"] != "DELETED",
            ran: one["OS-SRV-USG:launched_at"].is_string(),
        });
        made.collect()
    }

    async fn left(&self, owner: &str) -> Vec<String> {
        let servers = self.plane.servers().await;
        let ours = servers.iter().filter(|one| one["metadata"]["innkeeper.owner"] == owner);
        ours.map(|one| one["id"].as_str().unwrap().to_owned()).collect()
    }

    async fn plant_foreign(&self, wish: &GuestWish) -> Vec<String> {
        let guest = format!("innkeeper-guest-{}", wish.key.guest);
        let (own, other) = (format!("innkeeper-{OWNER}"), "innkeeper-another-owner");
        let mut copied = marks(&wish.key, OWNER);
        copied.push(("innkeeper.server", "00000000-0000-4000-8000-000000000001"));
        vec![
            self.launch(wish, &[], &[]).await,
            self.launch(wish, &marks(&wish.key, "another-owner"), &[other, &guest]).await,
            self.launch(wish, &copied, &[&own, &guest]).await,
        ]
    }

    async fn are_untouched(&self, ids: &[String]) -> bool {
        for id in ids {
            let server = self.server(id).await;
            if !server.is_some_and(|one| one["status"] == "ACTIVE" && one["OS-EXT-STS:task_state"].is_null()) {
                return false;
            }
        }
        true
    }

    async fn meddle(&self, id: &str, remove: bool) {
        if remove {
            self.plane.member.send(Method::DELETE, &format!("/servers/{id}"), None).await;
        } else {
            let path = format!("/servers/{id}/action");
            self.plane.member.done(Method::POST, &path, json!({ "os-stop": null })).await;
        }
    }

    async fn keep_disks(&self, _id: &str) {}

    fn larger(&self, wish: &GuestWish) -> Option<GuestWish> {
        let instance_type = Some("m1.large".to_owned());
        Some(GuestWish { instance_type, vcpus: 4, memory: Bytes::gib(8), ..wish.clone() })
    }

    async fn plain(&self, wish: &GuestWish) -> Option<String> {
        Some(self.launch(wish, &[], &[]).await)
    }

    async fn refuses_removal(&self, id: &str) -> Option<bool> {
        let server = self.server(id).await.unwrap();
        if server["locked"] != true {
            return Some(false);
        }
        // What it says is so, for its owner too.
        let (status, _) = self.plane.member.send(Method::DELETE, &format!("/servers/{id}"), None).await;
        Some(status == 409)
    }

    fn more_than_a_page(&self) -> usize {
        PAGE * 2 + 1
    }

    async fn first_boot(&self, id: &str) -> Option<String> {
        let (_, shown) = self.plane.admin.send(Method::GET, &format!("/servers/{id}"), None).await;
        let data = shown["server"]["OS-EXT-SRV-ATTR:user_data"].as_str()?.to_owned();
        let data = base64::engine::general_purpose::STANDARD.decode(data).unwrap();
        Some(String::from_utf8(data).unwrap())
    }

    fn secrets(&self) -> Vec<String> {
        let state = &self.plane.state;
        vec![state.application_credential.secret.clone(), WRONG.to_owned(), state.password.clone()]
    }
}
