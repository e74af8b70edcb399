//! The pool under test: a simulator for one case, or the real pool that the environment names.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use innkeeper::{
    api::quantity::Bytes,
    provider::{
        GuestWish, Key, Network, ObservedGuest, Owner, Power, Provider,
        xapi::{Fingerprint, Timing, TlsTrust, XapiConfig, XapiProvider},
    },
};
use reqwest::Url;
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};

use crate::rpc::Rpc;

/// A pool, and a look at it from outside.
pub(crate) struct Pool {
    pub(crate) urls: Vec<Url>,
    /// Whoever looks from outside, and may do all.
    pub(crate) user: String,
    pub(crate) password: String,
    /// Whom the driver logs in as: in a simulated pool somebody with the least role that suffices.
    pub(crate) keeper: (String, String),
    pub(crate) fingerprints: Vec<Fingerprint>,
    pub(crate) rpc: Rpc,
    pub(crate) owner: Owner,
    template: String,
    sim: Option<Sim>,
    turn: Option<MutexGuard<'static, ()>>,
}

/// Cases count what is in the pool: on a real one, which they share, one runs at a time.
static REAL_POOL: Mutex<()> = Mutex::const_new(());

/// A running simulator; stopped when the case is over.
pub(crate) struct Sim {
    child: Child,
    admin: Url,
    _dir: tempfile::TempDir,
}

impl Drop for Sim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The pool that any case may use; `None` never.
pub(crate) async fn any() -> Pool {
    match std::env::var("INNKEEPER_XAPI_URL") {
        Ok(url) => real(&url).await,
        Err(_) => simulated(&[]).await,
    }
}

/// A simulated pool; `None`, with a message, where the environment names a real one.
pub(crate) async fn sim(arguments: &[&str]) -> Option<Pool> {
    if std::env::var_os("INNKEEPER_XAPI_URL").is_some() {
        eprintln!("skipped: this case needs trouble that only the simulator makes");
        return None;
    }
    Some(simulated(arguments).await)
}

async fn real(url: &str) -> Pool {
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("set {name}"));
    let url: Url = url.parse().expect("INNKEEPER_XAPI_URL is a URL");
    let (user, password) = (variable("INNKEEPER_XAPI_USER"), variable("INNKEEPER_XAPI_PASSWORD"));
    let fingerprints = if url.scheme() == "https" { vec![crate::connection::fingerprint_of(&url)] } else { Vec::new() };
    let turn = REAL_POOL.lock().await;
    let keeper = (user.clone(), password.clone());
    let mut pool = Pool::new(vec![url], (user, password), keeper, fingerprints, None).await;
    pool.turn = Some(turn);
    pool
}

fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("INNKEEPER_XAPI_SIM") {
        return path.into();
    }
    let test = std::env::current_exe().expect("the test's own path");
    let beside = test.ancestors().nth(2).expect("a target directory").join("xapi-sim");
    assert!(beside.exists(), "build the simulator first: cargo build -p xapi-sim (looked for {})", beside.display());
    beside
}

async fn simulated(arguments: &[&str]) -> Pool {
    let dir = tempfile::tempdir().expect("a directory");
    let state = dir.path().join("state.json");
    let child = Command::new(binary())
        .arg("--state-file")
        .arg(&state)
        .args(["--add-user", "keeper:the least role:vm-power-admin"])
        .args(arguments)
        .stdout(Stdio::null())
        .spawn()
        .expect("the simulator starts");
    let mut sim = Sim { child, admin: "http://127.0.0.1".parse().unwrap(), _dir: dir };
    let told = until("the simulator answers", async || std::fs::read_to_string(&state).ok()).await;
    let told: Value = serde_json::from_str(&told).expect("its state");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    sim.admin = text(&told["admin_url"]).parse().unwrap();
    let hosts = told["hosts"].as_array().unwrap();
    let urls = hosts.iter().map(|host| text(&host["url"]).parse().unwrap()).collect();
    let fingerprints = hosts.iter().map(|host| text(&host["fingerprint"]).parse().unwrap()).collect();
    let keeper = ("keeper".to_owned(), "the least role".to_owned());
    Pool::new(urls, (text(&told["user"]), text(&told["password"])), keeper, fingerprints, Some(sim)).await
}

impl Pool {
    async fn new(
        urls: Vec<Url>,
        (user, password): (String, String),
        keeper: (String, String),
        fingerprints: Vec<Fingerprint>,
        sim: Option<Sim>,
    ) -> Self {
        let rpc = Rpc::log_in(&urls[0], &user, &password).await;
        let owner = Owner(format!("contract-{}", uuid::Uuid::new_v4()));
        let template = make_template(&rpc).await;
        Self { urls, user, password, keeper, fingerprints, rpc, owner, template, sim, turn: None }
    }

    pub(crate) fn config(&self) -> XapiConfig {
        let timing = Timing { grace: Duration::from_millis(200), ..Timing::default() };
        XapiConfig {
            endpoints: vec![self.urls[0].clone()],
            user: self.keeper.0.clone(),
            password: self.keeper.1.clone().into(),
            tls: match self.fingerprints.as_slice() {
                [] => TlsTrust::SystemRoots,
                pinned => TlsTrust::Fingerprints(pinned.to_vec()),
            },
            owner: self.owner.clone(),
            caller: None,
            expected_pool: None,
            default_storage: None,
            timing,
        }
    }

    pub(crate) async fn connect(&self) -> Arc<XapiProvider> {
        XapiProvider::connect(self.config()).await.expect("the driver connects")
    }

    /// A wish for a guest of 256 MiB and one processor.
    pub(crate) fn wish(&self, name: &str) -> GuestWish {
        let key = Key {
            guest: uuid::Uuid::new_v4().to_string(),
            incarnation: 0,
            namespace: "contract".into(),
            name: name.into(),
        };
        GuestWish::new(key, &self.template, 1, Bytes::mib(256))
    }

    /// The same with one network card.
    pub(crate) async fn wired_wish(&self, name: &str) -> GuestWish {
        let networks = self.rpc.all("network").await;
        let uuid = |n: &Value| n["uuid"].as_str().unwrap().to_owned();
        let of_hosts = networks.values().find(|n| !n["PIFs"].as_array().unwrap().is_empty()).expect("a network");
        let network = Network { name: "lan".into(), provider_id: uuid(of_hosts) };
        GuestWish { networks: vec![network], ..self.wish(name) }
    }

    /// Sends a request to the simulator's admin endpoint.
    pub(crate) async fn admin(&self, method: reqwest::Method, path: &str, body: Value) -> Value {
        let sim = self.sim.as_ref().expect("only with the simulator");
        let url = sim.admin.join(path).unwrap();
        let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).no_proxy().build().unwrap();
        let request = http.request(method, url);
        let request = request.header("content-type", "application/json").body(body.to_string());
        let answer = request.send().await.expect("the admin endpoint answers");
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
    }

    /// Makes something go wrong.
    pub(crate) async fn fault(&self, fault: Value) -> u64 {
        self.admin(reqwest::Method::POST, "/faults", fault).await["id"].as_u64().unwrap()
    }

    pub(crate) async fn knobs(&self, knobs: Value) {
        self.admin(reqwest::Method::PATCH, "/knobs", knobs).await;
    }

    /// How often the simulator was called so, by anyone.
    pub(crate) async fn calls(&self, method: &str) -> usize {
        let calls = self.admin(reqwest::Method::GET, "/calls", json!({})).await;
        calls.get(method).and_then(Value::as_u64).unwrap_or(0).try_into().unwrap()
    }

    /// Everything in the pool that this case can have made: VMs (templates and snapshots too), disks, and what it made
    /// them of.
    pub(crate) async fn count(&self) -> (usize, usize) {
        (self.rpc.all("VM").await.len(), self.rpc.all("VDI").await.len())
    }

    /// uuid of the pool's default SR.
    pub(crate) async fn default_storage(&self) -> Option<String> {
        default_of(&self.rpc).await
    }

    /// uuids of the hosts that the template's storage is plugged in on: guests of it can start there.
    pub(crate) async fn hosts_with_storage(&self) -> Vec<String> {
        let Some(sr) = storage(&self.rpc).await else { return Vec::new() };
        let (hosts, pbds) = (self.rpc.all("host").await, self.rpc.all("PBD").await);
        let sr = self.rpc.by_uuid("SR", &sr).await;
        let plugged = pbds.values().filter(|pbd| pbd["SR"] == *sr && pbd["currently_attached"] == true);
        let uuid = |pbd: &Value| hosts.get(pbd["host"].as_str()?)?["uuid"].as_str().map(str::to_owned);
        plugged.filter_map(uuid).collect()
    }

    /// Ends the case: removes the template; the guests must be gone already.
    pub(crate) async fn finish(self, provider: &XapiProvider) {
        provider.close().await;
        self.discard().await;
    }

    /// Removes the template where no driver was connected.
    pub(crate) async fn discard(self) {
        let _turn = &self.turn;
        let template = self.rpc.by_uuid("VM", &self.template).await;
        self.rpc.call("VM.destroy", json!([template])).await;
        self.rpc.log_out().await;
    }
}

/// A template that needs nothing of the pool but its default SR.
async fn make_template(rpc: &Rpc) -> String {
    let disks = match storage(rpc).await {
        Some(sr) => format!(
            r#"<provision><disk device="0" size="67108864" sr="{sr}" bootable="true" type="system"/></provision>"#
        ),
        None => "<provision></provision>".to_owned(),
    };
    let text = r#"{
        "name_label": "innkeeper contract template", "name_description": "", "user_version": "1", "is_a_template": true,
        "affinity": "OpaqueRef:NULL", "memory_static_max": "268435456", "memory_dynamic_max": "268435456",
        "memory_dynamic_min": "268435456", "memory_static_min": "134217728", "memory_target": "0",
        "VCPUs_params": {}, "VCPUs_max": "2", "VCPUs_at_startup": "2", "actions_after_shutdown": "destroy",
        "actions_after_reboot": "restart", "actions_after_crash": "destroy", "PV_bootloader": "", "PV_kernel": "",
        "PV_ramdisk": "", "PV_args": "", "PV_bootloader_args": "", "PV_legacy_args": "", "HVM_boot_policy": "BIOS order",
        "HVM_boot_params": {"order": "c"}, "HVM_shadow_multiplier": 1.0, "platform": {"acpi": "1", "apic": "true"},
        "PCI_bus": "", "recommendations": "", "xenstore_data": {}, "ha_always_run": false, "ha_restart_priority": "",
        "tags": [], "blocked_operations": {}, "protection_policy": "OpaqueRef:NULL", "is_snapshot_from_vmpp": false,
        "appliance": "OpaqueRef:NULL", "start_delay": "0", "shutdown_delay": "0", "order": "0",
        "suspend_SR": "OpaqueRef:NULL", "version": "0", "generation_id": "", "hardware_platform_version": "0",
        "has_vendor_device": false, "domain_type": "hvm"
    }"#;
    let mut record: Value = serde_json::from_str(text).unwrap();
    record["other_config"] = json!({ "disks": disks });
    let template = rpc.call("VM.create", json!([record])).await;
    let uuid = rpc.call("VM.get_uuid", json!([template])).await;
    uuid.as_str().unwrap().to_owned()
}

/// uuid of the pool's default SR, or of any that holds disks.
async fn storage(rpc: &Rpc) -> Option<String> {
    if let Some(default) = default_of(rpc).await {
        return Some(default);
    }
    let srs = rpc.all("SR").await;
    Some(srs.values().find(|sr| sr["content_type"] == "user")?["uuid"].as_str()?.to_owned())
}

async fn default_of(rpc: &Rpc) -> Option<String> {
    let (pools, srs) = (rpc.all("pool").await, rpc.all("SR").await);
    let default = pools.values().next()?["default_SR"].as_str()?;
    Some(srs.get(default)?["uuid"].as_str()?.to_owned())
}

/// Waits until there is something, for a minute at most: a busy machine takes its time.
pub(crate) async fn until<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Deletes as the operator does: again until it is done.
pub(crate) async fn delete(provider: &dyn Provider, key: &Key) {
    use innkeeper::provider::{Deletion, ErrorKind};
    until("the guest is gone", async || match provider.delete(key).await {
        Ok(Deletion::Gone) => Some(()),
        Ok(Deletion::InProgress) => None,
        Err(error) if matches!(error.kind, ErrorKind::UnknownOutcome | ErrorKind::Unavailable) => None,
        Err(error) => panic!("{error}"),
    })
    .await;
}

/// Creates as the operator does: again while it is not known what came of it.
pub(crate) async fn create(provider: &dyn Provider, wish: &GuestWish) -> ObservedGuest {
    again("the guest is made", async || provider.create(wish).await).await
}

/// Starts as the operator does, until the guest runs.
pub(crate) async fn start(provider: &dyn Provider, wish: &GuestWish) -> ObservedGuest {
    until("the guest runs", async || {
        let guest = again("it is started", async || provider.start(wish).await).await;
        (guest.power == Power::Running).then_some(guest)
    })
    .await
}

async fn again<T>(what: &str, mut act: impl AsyncFnMut() -> innkeeper::provider::Result<T>) -> T {
    use innkeeper::provider::ErrorKind;
    until(what, async || match act().await {
        Ok(done) => Some(done),
        Err(error) if matches!(error.kind, ErrorKind::UnknownOutcome | ErrorKind::Unavailable) => None,
        Err(error) => panic!("{error}"),
    })
    .await
}
