//! All of it as the operator meets it: API server and both providers, each behind a proxy that can make go wrong what
//! goes wrong in networks, and the operator's own binary, which can be killed and started again.

use std::{
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use fault_proxy::{Options, Proxy, Seed};
use innkeeper::api::{CloudPool, Guest, VirtualWorkload};
use kube::{Api, Client, Config, api::ListParams, config::KubeConfigOptions};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    clock::Fast,
    stack::{Process, Stack},
    truth::Truth,
};

/// One of the three ways out of the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    Api,
    Xen,
    Ec2,
}

impl Way {
    pub const ALL: [Self; 3] = [Self::Api, Self::Xen, Self::Ec2];

    pub fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Xen => "xen",
            Self::Ec2 => "ec2",
        }
    }
}

pub struct World {
    pub stack: Stack,
    pub truth: Truth,
    runtime: tokio::runtime::Runtime,
    client: Client,
    proxies: [Proxy; 3],
    operator: Mutex<Option<Process>>,
    /// How many were started.
    operators: AtomicUsize,
    /// The operator's clock, where it is not the machine's.
    clock: Mutex<Option<Fast>>,
    pub program: PathBuf,
}

impl World {
    /// Starts everything but the operator, and applies the two pools.
    pub fn start(program: PathBuf) -> Self {
        let stack = Stack::start();
        let truth = Truth::of(&stack);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let direct = stack.folder.path().join("kubeconfig");
        let kubeconfig = kube::config::Kubeconfig::read_from(&direct).unwrap();
        let api_url = kubeconfig.clusters[0].cluster.as_ref().unwrap().server.clone().unwrap();
        let (client, proxies) = runtime.block_on(async {
            let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
            let before = async |url: &str, tls| Proxy::start(Options { tls, ..Options::to(url) }).await.unwrap();
            let url = |state: &Value| state["url"].as_str().unwrap().to_owned();
            let (xapi, ec2) = (url(&stack.xapi), url(&stack.ec2));
            let proxies = [before(&api_url, true).await, before(&xapi, true).await, before(&ec2, false).await];
            (Client::try_from(config).unwrap(), proxies)
        });
        let world = Self {
            stack,
            truth,
            runtime,
            client,
            proxies,
            operator: Mutex::new(None),
            operators: AtomicUsize::new(0),
            clock: Mutex::new(None),
            program,
        };
        world.write_kubeconfig();
        world.apply_pools();
        world
    }

    pub fn proxy(&self, way: Way) -> &Proxy {
        &self.proxies[way as usize]
    }

    /// Ends all faults and sets the dice of those to come.
    pub fn calm(&self, seed: u64) {
        self.proxies.iter().for_each(|proxy| proxy.reset(Seed(seed)));
    }

    /// A kubeconfig through the proxy. A client's certificate would end at the proxy, so it holds a token.
    fn write_kubeconfig(&self) {
        let stack = &self.stack;
        stack.kubectl(&["create", "serviceaccount", "operator", "-n", "innkeeper-system"]);
        let binding = ["create", "clusterrolebinding", "operator", "--clusterrole=cluster-admin"];
        stack.kubectl(&[&binding[..], &["--serviceaccount=innkeeper-system:operator"]].concat());
        let token = ["create", "token", "operator", "-n", "innkeeper-system", "--duration=24h"];
        let token = stack.kubectl(&token);
        let proxy = self.proxy(Way::Api);
        let authority = stack.folder.path().join("proxy-authority.pem");
        std::fs::write(&authority, &proxy.identity().unwrap().authority_pem).unwrap();
        let cluster = json!({ "server": proxy.url(), "certificate-authority": authority });
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "proxy",
            "clusters": [{ "name": "proxy", "cluster": cluster }],
            "users": [{ "name": "operator", "user": { "token": token.trim() } }],
            "contexts": [{ "name": "proxy", "context": { "cluster": "proxy", "user": "operator" } }],
        });
        std::fs::write(self.kubeconfig(), kubeconfig.to_string()).unwrap();
    }

    fn kubeconfig(&self) -> PathBuf {
        self.stack.folder.path().join("kubeconfig-proxied")
    }

    fn apply_pools(&self) {
        let secret = |name: &str| json!({ "namespace": "innkeeper-system", "name": name });
        let pool = |name: &str, spec: Value| {
            let kind = json!({ "apiVersion": "innkeeper.dev/v1alpha1", "kind": "CloudPool" });
            let mut pool = kind.as_object().unwrap().clone();
            pool.extend([("metadata".into(), json!({ "name": name })), ("spec".into(), spec)]);
            self.stack.apply(&Value::Object(pool).to_string());
        };
        let xapi = json!({
            "endpoints": [self.proxy(Way::Xen).url()], "credentialsSecretRef": secret("xen-london"),
            "tls": { "certificateFingerprints": [self.fingerprint()] },
        });
        let owned = json!({ "currency": "EUR", "monthlyRunningCost": "60" });
        let at_home = json!({
            "tenancy": { "namespaceSelector": {} },
            "provider": { "xapi": xapi }, "location": { "jurisdiction": "GB" },
            "images": [{ "name": "debian-12", "providerId": "debian-12" }], "pricing": { "owned": owned },
        });
        let ec2 = json!({
            "region": crate::stack::REGION, "endpoint": self.proxy(Way::Ec2).url(),
            "credentialsSecretRef": secret("ec2-ireland"),
        });
        let types = json!([{ "name": "t3.medium", "vcpus": 2, "memory": "4Gi", "hourly": "0.04" }]);
        let rented = json!({
            "provider": { "ec2": ec2 }, "location": { "jurisdiction": "IE" },
            "images": [{ "name": "debian-12", "providerId": "ami-0d1f2e3a4b5c60001" }],
            "pricing": { "payPerUse": { "currency": "EUR", "instanceTypes": types } },
        });
        pool("home", at_home);
        pool("rented", rented);
    }

    /// Of the certificate that the Xen pool shows.
    pub fn fingerprint(&self) -> String {
        let certificate = Sha256::digest(&self.proxy(Way::Xen).identity().unwrap().certificate_der);
        certificate.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
    }

    pub fn pool(&self, name: &str) -> Option<CloudPool> {
        let api: Api<CloudPool> = Api::all(self.client.clone());
        self.block_on(api.get_opt(name)).unwrap()
    }

    /// The pool's administrator changes it.
    pub fn patch_pool(&self, name: &str, spec: &Value) {
        let patch = json!({ "spec": spec }).to_string();
        self.stack.kubectl(&["patch", "cloudpool", name, "--type=merge", "-p", &patch]);
    }

    fn slot(&self) -> MutexGuard<'_, Option<Process>> {
        self.operator.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the operator. It need not become ready: faults may keep it from that for a while.
    pub fn start_operator(&self) {
        let clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        self.start_operator_of(clock.as_ref().map_or(&self.program, |clock| clock.program(&self.program)));
    }

    /// What time it is for the operator, and for a user whose clock agrees with it.
    pub fn now(&self) -> jiff::Timestamp {
        let clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        jiff::Timestamp::now() + clock.as_ref().map_or(Duration::ZERO, Fast::ahead)
    }

    /// From now on operators have a clock that runs so many times as fast.
    pub fn set_pace(&self, times: u32) {
        let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        if clock.as_ref().map_or(1, |clock| clock.times) != times {
            *clock = Fast::new(self.stack.folder.path(), times);
        }
    }

    /// The same with another program.
    pub fn start_operator_of(&self, program: &Path) {
        self.operators.fetch_add(1, Ordering::Relaxed);
        let kubeconfig = self.kubeconfig().to_string_lossy().into_owned();
        *self.slot() = Some(self.stack.launch_operator(program, &kubeconfig));
    }

    /// How many were started so far.
    pub fn operators(&self) -> usize {
        self.operators.load(Ordering::Relaxed)
    }

    /// `kill -9`.
    pub fn kill_operator(&self) {
        if let Some(mut operator) = self.slot().take() {
            operator.kill();
        }
    }

    /// Starts the operator again where it has ended by itself, as a kubelet would, and says so.
    pub fn revive_operator(&self) -> bool {
        let ended = self.slot().as_mut().is_some_and(Process::has_ended);
        if ended {
            self.start_operator();
        }
        ended
    }

    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    pub fn guests(&self) -> Vec<Guest> {
        let api: Api<Guest> = Api::all(self.client.clone());
        self.block_on(api.list(&ListParams::default())).unwrap().items
    }

    pub fn workload(&self, name: &str) -> Option<VirtualWorkload> {
        self.block_on(self.workloads().get_opt(name)).unwrap()
    }

    pub fn workloads(&self) -> Api<VirtualWorkload> {
        Api::namespaced(self.client.clone(), "default")
    }
}

/// Tries until there is an answer, or says what it waited for.
pub fn until<T>(what: &str, within: Duration, attempt: impl FnMut() -> Option<T>) -> Result<T, String> {
    every(Duration::from_millis(25), what, within, attempt)
}

/// The same for what is long to come, and takes the API server's time to look for.
pub fn until_rest<T>(what: &str, within: Duration, attempt: impl FnMut() -> Option<T>) -> Result<T, String> {
    every(Duration::from_millis(150), what, within, attempt)
}

fn every<T>(pace: Duration, what: &str, within: Duration, mut attempt: impl FnMut() -> Option<T>) -> Result<T, String> {
    let deadline = Instant::now() + within;
    loop {
        if let Some(value) = attempt() {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            return Err(format!("{what}: not within {} s", within.as_secs()));
        }
        std::thread::park_timeout(pace);
    }
}
