//! Pools, API server and operator as processes, and what is read from them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use innkeeper::api::{Guest, VirtualWorkload};
use kube::{
    Api, Client, Config,
    api::{ListParams, Patch, PatchParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::stack::{self, Process, fetch, until};

const PASSWORD: &str = "the-password-of-the-pools";
const START: Duration = Duration::from_mins(3);

pub struct World {
    pub client: Client,
    runtime: tokio::runtime::Runtime,
    folder: TempDir,
    pools: Vec<Value>,
    _servers: Vec<Process>,
}

/// Requests to the API server so far, by verb and resource.
#[derive(Clone, Default)]
pub struct Writes {
    pub by_kind: BTreeMap<String, f64>,
    pub reads: BTreeMap<String, f64>,
}

impl Writes {
    pub fn sum(counts: &BTreeMap<String, f64>) -> f64 {
        counts.values().sum()
    }

    pub fn total(&self) -> f64 {
        Self::sum(&self.by_kind)
    }

    /// Guests that are made and bound.
    pub fn specs(&self) -> f64 {
        self.by_kind.get("patch guests").copied().unwrap_or_default()
    }

    pub fn since(&self, before: &Self) -> Self {
        let less = |now: &BTreeMap<String, f64>, then: &BTreeMap<String, f64>| {
            now.iter().map(|(kind, count)| (kind.clone(), count - then.get(kind).unwrap_or(&0.0))).collect()
        };
        Self { by_kind: less(&self.by_kind, &before.by_kind), reads: less(&self.reads, &before.reads) }
    }
}

impl World {
    /// Starts the API server and so many pools, each with room for its share of the guests and a half more.
    pub fn start(pools: usize, hosts: usize, guests: usize) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = tempfile::Builder::new().prefix("innkeeper-scale-").tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        let (cluster, kubeconfig, me) = (at("cp"), at("kubeconfig"), std::process::id().to_string());
        let controlplane = stack::cache().join("bin/controlplane");
        let mut servers = vec![stack::launch(
            folder.path(),
            &controlplane,
            &["--data-dir", &cluster, "--kubeconfig", &kubeconfig, "--port", "0", "--exit-with-pid", &me],
            &[],
        )];
        let memory = format!("{}GiB", guests.div_ceil(pools * hosts) * 2 + 8);
        let simulator = program().with_file_name("xapi-sim");
        let states: Vec<String> = (0..pools).map(|pool| at(&format!("pool-{pool}.json"))).collect();
        for state in &states {
            servers.push(stack::launch(
                folder.path(),
                &simulator,
                &["--port", "0", "--state-file", state, "--hosts", &hosts.to_string(), "--host-memory", &memory],
                &["--host-cpus", "64", "--shared-sr-size", "1024TiB", "--password", PASSWORD],
            ));
        }
        let read = |path: &String| until(path, START, || serde_json::from_slice(&std::fs::read(path).ok()?).ok());
        let pools = states.iter().map(read).collect();
        until("the API server", START, || std::fs::exists(at("cp/ready")).unwrap().then_some(()));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let client = runtime.block_on(async {
            let file = Kubeconfig::read_from(&kubeconfig).unwrap();
            let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap();
            Client::try_from(config).unwrap()
        });
        let world = Self { client, runtime, folder, pools, _servers: servers };
        world.kubectl(&["apply", "--server-side", "-f", concat!(env!("CARGO_MANIFEST_DIR"), "/crds")]);
        world.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"]);
        let secret = ["create", "secret", "generic", "-n", "default", "pools", "--from-literal=username=root"];
        world.kubectl(&[&secret[..], &[&format!("--from-literal=password={PASSWORD}")]].concat());
        world
    }

    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    fn kubeconfig(&self) -> String {
        self.folder.path().join("kubeconfig").to_string_lossy().into_owned()
    }

    fn kubectl(&self, arguments: &[&str]) {
        let kubectl = stack::cache().join("bin/kubectl");
        let output =
            std::process::Command::new(kubectl).env("KUBECONFIG", self.kubeconfig()).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn apply(&self, manifests: &[String]) {
        let path = self.folder.path().join("manifest.yaml");
        std::fs::write(&path, manifests.join("---\n")).unwrap();
        self.kubectl(&["apply", "--server-side", "-f", &path.to_string_lossy()]);
    }

    pub fn apply_pools(&self) {
        let manifest = |(index, state): (usize, &Value)| {
            let (url, print) = (state["url"].as_str().unwrap(), state["fingerprint"].as_str().unwrap());
            format!(
                "apiVersion: innkeeper.dev/v1alpha1\nkind: CloudPool\nmetadata: {{ name: pool-{index} }}\nspec:\n  \
                 provider:\n    xapi:\n      endpoints: [\"{url}\"]\n      \
                 credentialsSecretRef: {{ namespace: default, name: pools }}\n      \
                 tls: {{ certificateFingerprints: [\"{print}\"] }}\n  location: {{ jurisdiction: GB }}\n  \
                 images: [{{ name: debian-12, providerId: debian-12 }}]\n  \
                 pricing: {{ owned: {{ currency: EUR, monthlyRunningCost: \"60\" }} }}\n"
            )
        };
        self.apply(&self.pools.iter().enumerate().map(manifest).collect::<Vec<_>>());
        self.kubectl(&["wait", "cloudpools", "--all", "--for=condition=Ready", "--timeout=120s"]);
    }

    /// Applies them as `kubectl apply --server-side` does, without the time that a kubectl takes to start.
    pub fn apply_workloads(&self, guests: usize, together: usize) {
        let api: Api<VirtualWorkload> = Api::namespaced(self.client.clone(), "default");
        let params = PatchParams::apply("kubectl");
        for index in 0..guests.div_ceil(together) {
            let name = format!("scale-{index}");
            let workload = json!({
                "apiVersion": "innkeeper.dev/v1alpha1", "kind": "VirtualWorkload", "metadata": { "name": name },
                "spec": {
                    "replicas": together.min(guests - index * together),
                    "template": { "image": { "name": "debian-12" }, "size": { "vcpus": 1, "memory": "1Gi" } },
                },
            });
            self.block_on(api.patch(&name, &params, &Patch::Apply(workload))).unwrap();
        }
    }

    pub fn operator(&self) -> Operator {
        let address = stack::free_address();
        let arguments = ["run", "--kubeconfig", &self.kubeconfig(), "--listen", &address];
        let began = Instant::now();
        let process = stack::launch(self.folder.path(), &program(), &arguments, &[]);
        let log = self.folder.path().join("innkeeper.log");
        let mut operator = Operator { process, address, began, log };
        until("the operator leads", START, || {
            operator.check();
            (operator.value("innkeeper_leader ") > 0.5).then_some(())
        });
        operator
    }

    /// What the API server says: so many guests, all running, each with a VM of its own.
    pub fn check(&self, guests: usize) {
        let api: Api<Guest> = Api::all(self.client.clone());
        let all = self.block_on(api.list(&ListParams::default())).unwrap().items;
        let ids: std::collections::BTreeSet<_> =
            all.iter().filter_map(|guest| guest.status.as_ref()?.provider_id.clone()).collect();
        assert_eq!((all.len(), ids.len()), (guests, guests));
    }

    /// Stops the operator, starts it anew with everything there, waits until it has looked at all of it, and ends it.
    pub fn restart(&self, mut operator: Operator, guests: usize) -> Restart {
        let peak = operator.peak_rss_mb();
        operator.process.terminate(Duration::from_mins(1));
        operator = self.operator();
        let looked = |operator: &Operator| {
            operator.value("innkeeper_reconcile_duration_seconds_count{controller=\"guest\",outcome=\"done\"}")
        };
        // Before its pool is connected to, a guest is only told to come again, every second. So the looks are over when
        // there was none for longer than that.
        let (mut last, mut since) = (0.0, Instant::now());
        until("all guests are looked at", START, || {
            operator.check();
            let now = looked(&operator);
            if now > last {
                (last, since) = (now, Instant::now());
            }
            (now >= guests as f64 && since.elapsed() > Duration::from_secs(4)).then_some(())
        });
        let seconds = since.duration_since(operator.began).as_secs_f64();
        let lease = |kind: &&String| !kind.contains("leases");
        let counts = operator.counts().by_kind;
        // Not `sum`: of nothing it is minus zero.
        let writes = counts.keys().filter(lease).fold(0.0, |sum, kind| sum + counts[kind]);
        let (peak_rss_mb, rss_mb) = (peak.max(operator.peak_rss_mb()), operator.rss_mb());
        operator.process.terminate(Duration::from_mins(1));
        Restart { seconds, writes, peak_rss_mb, rss_mb }
    }
}

pub struct Restart {
    pub seconds: f64,
    pub writes: f64,
    pub peak_rss_mb: u64,
    /// Some seconds after the last look.
    pub rss_mb: u64,
}

/// The operator to measure.
fn program() -> PathBuf {
    std::env::var_os("SCALE_PROGRAM").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_innkeeper")), PathBuf::from)
}

pub struct Operator {
    process: Process,
    address: String,
    began: Instant,
    log: PathBuf,
}

impl Operator {
    /// On a machine that is too busy it may lose its lease, and ends.
    fn check(&mut self) {
        if self.process.has_ended() {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            panic!("the operator ended by itself: {}", log.lines().last().unwrap_or_default());
        }
    }

    fn text(&self) -> String {
        fetch(&self.address, "/metrics").map(|(_, text)| text).unwrap_or_default()
    }

    /// The sum of all series that begin so.
    fn value(&self, series: &str) -> f64 {
        let text = self.text();
        let value = |line: &str| line.strip_prefix(series)?.rsplit(' ').next()?.parse::<f64>().ok();
        text.lines().filter_map(value).sum()
    }

    pub fn wait_until_running(&mut self, guests: usize, began: Instant, within: Duration) -> Duration {
        let mut told = Instant::now();
        loop {
            self.check();
            let text = self.text();
            let count = |phase: &str| -> f64 {
                let of_phase = |line: &&str| line.starts_with("innkeeper_guests{") && line.contains(phase);
                text.lines().filter(of_phase).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
            };
            let running = count("phase=\"Running\"");
            if running >= guests as f64 {
                return began.elapsed();
            }
            assert!(began.elapsed() < within, "only {running} of {guests} run after {} s", within.as_secs());
            if told.elapsed() > Duration::from_secs(5) {
                eprintln!("scale: {running} of {guests} run after {} s", began.elapsed().as_secs());
                told = Instant::now();
            }
            std::thread::park_timeout(Duration::from_millis(100));
        }
    }

    /// Waits until five seconds pass without a write but the Lease's.
    pub fn wait_until_quiet(&mut self) {
        let mut writes = || {
            self.check();
            let counts = self.counts().by_kind;
            counts.iter().filter(|(kind, _)| !kind.contains("leases")).map(|(_, count)| count).sum::<f64>()
        };
        let (mut last, mut since) = (writes(), Instant::now());
        while since.elapsed() < Duration::from_secs(5) {
            std::thread::park_timeout(Duration::from_millis(500));
            let now = writes();
            if now > last {
                (last, since) = (now, Instant::now());
            }
        }
    }

    pub fn counts(&self) -> Writes {
        let mut counts = Writes::default();
        for line in self.text().lines() {
            let Some(rest) = line.strip_prefix("innkeeper_api_request_duration_seconds_count{") else { continue };
            let label = |name: &str| {
                rest.split(name).nth(1).and_then(|rest| rest.split('"').nth(1)).unwrap_or_default().to_owned()
            };
            let (verb, kind) = (label("verb="), format!("{} {}", label("verb="), label("resource=")));
            let count: f64 = rest.rsplit(' ').next().unwrap().parse().unwrap();
            let side = if verb == "get" || verb == "watch" { &mut counts.reads } else { &mut counts.by_kind };
            *side.entry(kind).or_default() += count;
        }
        counts
    }

    /// Processor time so far: user and system, in clock ticks of 10 ms.
    pub fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.pid())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks = |index: usize| fields[index].parse::<f64>().unwrap();
        (ticks(11) + ticks(12)) / 100.0
    }

    fn memory_mb(&self, which: &str) -> u64 {
        let path = Path::new("/proc").join(self.process.pid().to_string()).join("status");
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find(|line| line.starts_with(which)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
    }

    fn peak_rss_mb(&self) -> u64 {
        self.memory_mb("VmHWM:")
    }

    /// What it holds now.
    pub fn rss_mb(&self) -> u64 {
        self.memory_mb("VmRSS:")
    }
}
