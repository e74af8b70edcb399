//! Google Compute Engine: the driver before the fault proxy before the simulator.

mod own;
mod role;
mod sim;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use fault_proxy::{Fault, Options, Proxy, Rule, Seed};
use innkeeper::{
    api::quantity::Bytes,
    provider::{
        GuestWish, Key, Provider, ProviderError,
        gce::{Credentials, GceConfig, GceProvider, Refresh, ServiceAccountKey},
    },
};
use serde_json::{Value, json};
use sim::{IMAGE, PROJECT, Sim, ZONE, ZONES};

use crate::harness::{Connect, Driver, Made, Request, Trouble, World, eventually};

const PAGE: u32 = 5;

#[derive(Default)]
pub struct GceDriver {
    sim: tokio::sync::Mutex<Option<Arc<Sim>>>,
    /// Methods of the API that were called.
    used: Mutex<BTreeSet<String>>,
}

impl GceDriver {
    async fn empty(&self) -> GceWorld {
        let mut held = self.sim.lock().await;
        if held.is_none() {
            *held = Some(Arc::new(Sim::start().await));
        }
        let sim = Arc::clone(held.as_ref().unwrap());
        self.remember(&sim).await;
        sim.reset().await;
        GceWorld::before(sim).await
    }

    async fn remember(&self, sim: &Sim) {
        let calls = sim.get("calls").await;
        let names = calls.as_object().into_iter().flatten().map(|(name, _)| name.clone());
        self.used.lock().unwrap_or_else(PoisonError::into_inner).extend(names);
    }
}

#[async_trait]
impl Driver for GceDriver {
    fn name(&self) -> &'static str {
        "gce"
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

    fn end(&self, all: bool) -> Result<String, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            if let Some(sim) = self.sim.lock().await.take() {
                self.remember(&sim).await;
            }
        });
        if !all {
            return Ok(String::new());
        }
        let used = self.used.lock().unwrap();
        let needed: BTreeSet<String> = used.iter().flat_map(|method| role::needed(method)).collect();
        let granted = role::permissions();
        if needed == granted {
            return Ok(format!("gce: examples/gce/role.json has the {} permissions that are used", needed.len()));
        }
        let lacks: Vec<_> = needed.difference(&granted).collect();
        let spare: Vec<_> = granted.difference(&needed).collect();
        Err(format!("examples/gce/role.json lacks {lacks:?} and has {spare:?} that the cases did not use"))
    }
}

pub struct GceWorld {
    sim: Arc<Sim>,
    proxy: Proxy,
}

/// A reply in Google's form.
fn refusal(status: u16, reason: &str) -> Fault {
    let words = "refused by the test";
    let item = json!({ "message": words, "domain": "global", "reason": reason });
    let body = json!({ "error": { "code": status, "message": words, "errors": [item] } });
    Fault::Answer { status, body: body.to_string(), content_type: "application/json; charset=UTF-8".into() }
}

/// The requests of this kind, by method and path.
const fn requests(request: Request) -> &'static [&'static str] {
    match request {
        Request::Create => &["POST */instances"],
        Request::Delete => &["DELETE */instances/*"],
        Request::Read => &["GET *"],
        Request::Change => &["POST */setLabels", "POST */disks", "POST */attachDisk", "POST */resize"],
        Request::Any => &["*"],
    }
}

fn rules(request: Request, trouble: Trouble) -> impl Iterator<Item = Rule> {
    requests(request).iter().map(move |action| {
        let fault = match trouble {
            Trouble::LostRequest => Fault::ResetBefore,
            Trouble::LostReply => Fault::DropAfter,
            Trouble::HalfReply => Fault::Truncate,
            Trouble::Silence => Fault::Hang,
            Trouble::NoRoom => refusal(403, "quotaExceeded"),
            Trouble::Throttled => refusal(403, "rateLimitExceeded"),
            Trouble::Broken => refusal(503, "backendError"),
        };
        Rule { name: format!("{action} {trouble:?}"), ..Rule::on(action, fault) }
    })
}

/// The labels of the first incarnation of a guest.
fn labels(key: &Key, owner: &str, zone: &str) -> Value {
    json!({
        "innkeeper-owner": owner, "innkeeper-guest": key.guest, "innkeeper-incarnation": "1",
        "innkeeper-namespace": key.namespace, "innkeeper-name": key.name, "innkeeper-zone": zone,
    })
}

fn id_of(instance: &Value) -> String {
    let zone = instance["zone"].as_str().unwrap_or_default();
    format!("{}/{}", zone.rsplit('/').next().unwrap(), instance["name"].as_str().unwrap())
}

fn path_of(id: &str) -> String {
    let (zone, name) = id.split_once('/').unwrap();
    format!("zones/{zone}/instances/{name}")
}

impl GceWorld {
    async fn before(sim: Arc<Sim>) -> Self {
        let proxy = Proxy::start(Options::to(&sim.url)).await.unwrap();
        Self { sim, proxy }
    }

    fn config(&self, connect: Connect) -> GceConfig {
        let key = if connect.wrong_credentials { &self.sim.wrong_key } else { &self.sim.key };
        let key = ServiceAccountKey::parse(&key.clone().into()).unwrap();
        let zones = ZONES.map(str::to_owned).to_vec();
        GceConfig {
            endpoint: Some(self.proxy.url().parse().unwrap()),
            deadline: connect.deadline,
            settling: Duration::from_secs(1),
            refresh: Refresh {
                quick: Duration::from_millis(200),
                moving: Duration::from_millis(200),
                slow: Duration::from_millis(500),
                lively: Duration::from_secs(20),
            },
            page_size: PAGE,
            ..GceConfig::new(PROJECT, zones, Credentials::Key(Box::new(key)), connect.owner)
        }
    }

    fn provider(&self) -> Arc<GceProvider> {
        GceProvider::connect(self.config(Connect::default())).unwrap()
    }

    /// All that there is, past the proxy.
    async fn state(&self, what: &str) -> Vec<Value> {
        self.sim.get("state").await[what].as_array().unwrap().clone()
    }

    async fn instance(&self, id: &str) -> Option<Value> {
        self.state("instances").await.into_iter().find(|one| id_of(one) == id)
    }

    /// Makes an instance by hand, and waits until it runs.
    async fn launch(&self, name: &str, zone: &str, labels: Value) -> String {
        let disk = json!({
            "boot": true, "autoDelete": true,
            "initializeParams": { "sourceImage": format!("projects/{PROJECT}/global/images/{IMAGE}") },
        });
        let body = json!({
            "name": name, "labels": labels, "disks": [disk], "machineType": format!("zones/{zone}/machineTypes/e2-small"),
            "networkInterfaces": [{ "network": "global/networks/default" }],
        });
        self.sim.by_hand("POST", &format!("zones/{zone}/instances"), body).await;
        let id = format!("{zone}/{name}");
        eventually("it runs", || async {
            self.instance(&id).await.is_some_and(|one| one["status"] == "RUNNING").then_some(())
        })
        .await;
        id
    }
}

#[async_trait]
impl World for GceWorld {
    async fn connect(&self, connect: Connect) -> Result<Arc<dyn Provider>, ProviderError> {
        Ok(GceProvider::connect(self.config(connect))?)
    }

    async fn beside(&self) -> Arc<dyn World> {
        Arc::new(Self::before(Arc::clone(&self.sim)).await)
    }

    fn wish(&self, key: Key) -> GuestWish {
        GuestWish {
            instance_type: Some("e2-small".into()),
            zone: Some(ZONE.into()),
            ..GuestWish::new(key, IMAGE, 2, Bytes::gib(2))
        }
    }

    fn wish_without_image(&self, key: Key) -> GuestWish {
        GuestWish { image: "golden-0".into(), ..self.wish(key) }
    }

    fn wish_invalid(&self, key: Key) -> GuestWish {
        GuestWish { instance_type: Some("e2-nonsense".into()), ..self.wish(key) }
    }

    async fn trouble(&self, request: Request, trouble: Trouble, times: Option<u64>) {
        if trouble == Trouble::NoRoom {
            // It is not the request that is refused: the operation fails later.
            let fault = json!({
                "method": "compute.instances.insert", "code": "ZONE_RESOURCE_POOL_EXHAUSTED", "count": times.unwrap_or(9999),
            });
            self.sim.post("faults", fault).await;
            return;
        }
        for rule in rules(request, trouble) {
            self.proxy.add(Rule { times, ..rule });
        }
    }

    async fn storm(&self, seed: u64, troubles: &[(Request, Trouble, f64)]) {
        self.proxy.reset(Seed(seed));
        for (request, trouble, chance) in troubles {
            rules(*request, *trouble).for_each(|rule| self.proxy.add(rule.chance(*chance)));
        }
    }

    async fn heal(&self) -> u64 {
        let struck = self.proxy.fired().values().sum();
        self.proxy.reset(Seed(0));
        self.sim.forget_faults().await;
        struck
    }

    async fn hide_new(&self, time: Duration) {
        self.sim.post("settings", json!({ "hide": time.as_secs_f64() })).await;
    }

    async fn made_for(&self, guest: &str) -> Vec<Made> {
        let alive: BTreeSet<String> =
            self.state("instances").await.iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect();
        let history = self.sim.get("history").await;
        let inserts = history.as_array().unwrap().iter().filter(|event| event["kind"] == "insert");
        let ours = inserts.filter(|event| event["labels"]["innkeeper-guest"] == guest);
        ours.map(|event| Made {
            id: format!("{}/{}", event["zone"].as_str().unwrap(), event["name"].as_str().unwrap()),
            alive: alive.contains(event["id"].as_str().unwrap()),
            ran: event["ran"] == true,
        })
        .collect()
    }

    async fn left(&self, owner: &str) -> Vec<String> {
        let (instances, disks) = (self.state("instances").await, self.state("disks").await);
        let ours = instances.iter().chain(&disks).filter(|one| one["labels"]["innkeeper-owner"] == owner);
        ours.map(id_of).collect()
    }

    async fn plant_foreign(&self, wish: &GuestWish) -> Vec<String> {
        let key = &wish.key;
        vec![
            self.launch(&key.name, ZONE, json!({})).await,
            self.launch("of-another-owner", ZONE, labels(key, "another-owner", ZONE)).await,
            self.launch("more-like-this", ZONE, labels(key, crate::harness::OWNER, ZONE)).await,
        ]
    }

    async fn are_untouched(&self, ids: &[String]) -> bool {
        let instances = self.state("instances").await;
        let lives = |one: &Value| matches!(one["status"].as_str(), Some("PROVISIONING" | "STAGING" | "RUNNING"));
        ids.iter().all(|id| instances.iter().any(|one| id_of(one) == *id && lives(one)))
    }

    async fn meddle(&self, id: &str, remove: bool) {
        let path = path_of(id);
        if remove {
            self.sim.by_hand("DELETE", &path, Value::Null).await;
        } else {
            self.sim.by_hand("POST", &format!("{path}/stop"), Value::Null).await;
        }
    }

    async fn keep_disks(&self, id: &str) {
        let path = format!("{}/setDiskAutoDelete?autoDelete=false&deviceName=innkeeper-root", path_of(id));
        self.sim.by_hand("POST", &path, Value::Null).await;
    }

    async fn disks(&self, id: &str) -> Option<Vec<u64>> {
        let user = self.instance(id).await.unwrap()["selfLink"].clone();
        let disks = self.state("disks").await;
        let attached = disks.iter().filter(|disk| disk["users"].as_array().is_some_and(|users| users.contains(&user)));
        let mut sizes: Vec<u64> = attached.map(|disk| disk["sizeGb"].as_str().unwrap().parse().unwrap()).collect();
        sizes.sort_unstable();
        Some(sizes)
    }

    async fn first_boot(&self, id: &str) -> Option<String> {
        let instance = self.instance(id).await.unwrap();
        let items = instance["metadata"]["items"].as_array()?.clone();
        let told = items.into_iter().find(|item| item["key"] == "user-data").unwrap();
        Some(told["value"].as_str().unwrap().to_owned())
    }

    fn larger(&self, wish: &GuestWish) -> Option<GuestWish> {
        Some(GuestWish { instance_type: Some("e2-medium".into()), memory: Bytes::gib(4), ..wish.clone() })
    }

    async fn plain(&self, _wish: &GuestWish) -> Option<String> {
        Some(self.launch(&format!("by-hand-{:x}", rand::random::<u32>()), ZONE, json!({ "team": "web" })).await)
    }

    async fn deafen(&self, id: &str) -> bool {
        self.sim.post("deaf", json!(id)).await;
        true
    }

    async fn refuses_removal(&self, id: &str) -> Option<bool> {
        self.instance(id).await.unwrap()["deletionProtection"].as_bool()
    }

    fn more_than_a_page(&self) -> usize {
        usize::try_from(PAGE).unwrap() * 2 + 1
    }

    fn secrets(&self) -> Vec<String> {
        let keys = [&self.sim.key, &self.sim.wrong_key].map(|key| serde_json::from_str::<Value>(key).unwrap());
        let line = |key: &Value| key["private_key"].as_str().unwrap().lines().nth(3).unwrap().to_owned();
        vec![line(&keys[0]), line(&keys[1]), keys[0]["private_key_id"].as_str().unwrap().to_owned()]
    }
}
