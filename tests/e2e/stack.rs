//! The servers and the operator as child processes. They end with the test, however it ends.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

pub const REGION: &str = "eu-west-1";
pub const ACCESS_KEY: &str = "AKIDOFTHETESTS";
pub const SECRET_KEY: &str = "the-secret-key-of-the-tests";
pub const PASSWORD: &str = "the-password-of-the-tests";
const IMAGE: &str = "ami-0d1f2e3a4b5c60001";
/// How long a server may take to start on a busy machine.
const START: Duration = Duration::from_secs(90);

/// A process that is killed when it is dropped.
pub struct Process(Child);

impl Process {
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    pub fn has_ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }

    /// Asks it to end, and waits for that.
    pub fn terminate(&mut self, within: Duration) -> std::process::ExitStatus {
        assert!(Command::new("kill").arg(self.pid().to_string()).status().unwrap().success());
        self.wait(within)
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self, within: Duration) -> std::process::ExitStatus {
        until("the process ends", within, || self.0.try_wait().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Tries until there is an answer.
#[track_caller]
pub fn until<T>(what: &str, within: Duration, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(Instant::now() < deadline, "{what}: not within {} s", within.as_secs());
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

pub fn cache() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let user = || set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    set("INNKEEPER_CACHE").or_else(|| user().map(|user| user.join("innkeeper"))).expect("HOME is set")
}

/// API server, Xen pool and EC2 endpoint.
pub struct Stack {
    pub folder: TempDir,
    pub xapi: Value,
    pub ec2: Value,
    api: Mutex<Process>,
    _servers: Vec<Process>,
}

impl Stack {
    /// Starts all three, installs the kinds, and makes the Secrets. The Xen pool has two hosts with room for two guests
    /// of 2 GiB each.
    pub fn start() -> Self {
        Self::start_with(&["--hosts", "2", "--host-memory", "8GiB"])
    }

    /// The same with another Xen pool.
    pub fn start_with(pool: &[&str]) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = tempfile::Builder::new().prefix("innkeeper-e2e-").tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        let me = std::process::id().to_string();
        let api = Mutex::new(launch_api(folder.path(), "0", &[]));
        let servers = vec![
            launch(
                folder.path(),
                &simulator(),
                &["--port", "0", "--state-file", &at("xapi.json"), "--password", PASSWORD],
                pool,
            ),
            launch(
                folder.path(),
                &cache().join("venv/bin/python"),
                &[
                    "-B",
                    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/moto/moto_ec2.py"),
                    "--state-file",
                    &at("ec2.json"),
                ],
                &[
                    "--region",
                    REGION,
                    "--image",
                    IMAGE,
                    "--delay",
                    "0.2",
                    "--access-key",
                    ACCESS_KEY,
                    "--secret-key",
                    SECRET_KEY,
                    "--exit-with-pid",
                    &me,
                ],
            ),
        ];
        let state = |name: &str| until(name, START, || serde_json::from_slice(&std::fs::read(at(name)).ok()?).ok());
        let (xapi, ec2) = (state("xapi.json"), state("ec2.json"));
        until("the API server", START, || std::fs::exists(at("cp/ready")).unwrap().then_some(()));
        let stack = Self { folder, xapi, ec2, api, _servers: servers };
        stack.kubectl(&["apply", "--server-side", "-f", concat!(env!("CARGO_MANIFEST_DIR"), "/crds")]);
        stack.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"]);
        stack.kubectl(&["create", "namespace", "innkeeper-system"]);
        stack.secret("xen-london", &[("username", "root"), ("password", PASSWORD)]);
        stack.secret("ec2-ireland", &[("accessKeyId", ACCESS_KEY), ("secretAccessKey", SECRET_KEY)]);
        stack
    }

    /// `kill -9` for the API server and its etcd, and both again on the same data. From then on etcd forgets what is older than
    /// a second or two.
    pub fn restart_api(&self) {
        let (folder, ready) = (self.folder.path(), self.folder.path().join("cp/ready"));
        let kubeconfig = std::fs::read_to_string(folder.join("kubeconfig")).unwrap();
        let (_, port) = kubeconfig.split_once("https://127.0.0.1:").unwrap();
        let port: String = port.chars().take_while(char::is_ascii_digit).collect();
        let mut api = self.api.lock().unwrap_or_else(PoisonError::into_inner);
        api.kill();
        std::fs::remove_file(&ready).unwrap();
        *api = launch_api(folder, &port, &["--apiserver-arg", "--etcd-compaction-interval=1s"]);
        until("the API server is back", START, || std::fs::exists(&ready).unwrap().then_some(()));
    }

    fn secret(&self, name: &str, values: &[(&str, &str)]) {
        let literals: Vec<String> = values.iter().map(|(key, value)| format!("--from-literal={key}={value}")).collect();
        let mut arguments = vec!["create", "secret", "generic", "-n", "innkeeper-system", name];
        arguments.extend(literals.iter().map(String::as_str));
        self.kubectl(&arguments);
    }

    /// Applies the files of `examples/`, with the addresses here.
    pub fn apply_examples(&self) {
        self.apply_pools();
        self.apply(&self.example("03-web"));
    }

    /// Applies the pools of `examples/`, with the addresses here.
    pub fn apply_pools(&self) {
        for file in ["01-xen-london", "02-ec2-ireland"] {
            self.apply(&self.example(file));
        }
    }

    /// A file of `examples/`, with the addresses here.
    pub fn example(&self, file: &str) -> String {
        let text = std::fs::read_to_string(format!("{}/examples/{file}.yaml", env!("CARGO_MANIFEST_DIR"))).unwrap();
        text.replace("https://xapi.example.internal", self.xapi["url"].as_str().unwrap())
            .replace(&["00"; 32].join(":"), &self.fingerprints())
            .replace("http://ec2.example.internal", self.ec2["url"].as_str().unwrap())
            // Who came home would be another VM: tests that count VMs have guests stay where they are.
            .replace(", returnHome: { after: 3s }", "")
            .replace("after: 5s", "after: 1s")
    }

    /// Those of all hosts of the Xen pool, as items of a list in YAML.
    fn fingerprints(&self) -> String {
        let hosts = self.xapi["hosts"].as_array().unwrap().iter();
        let all: Vec<&str> = hosts.map(|host| host["fingerprint"].as_str().unwrap()).collect();
        all.join("\"\n          - \"")
    }

    /// Applies a manifest.
    pub fn apply(&self, manifest: &str) {
        let path = self.folder.path().join("manifest.yaml");
        std::fs::write(&path, manifest).unwrap();
        self.kubectl(&["apply", "-f", &path.to_string_lossy()]);
    }

    /// Runs kubectl, which must succeed, and returns what it prints.
    #[track_caller]
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        let output = self.try_kubectl(arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "kubectl {}: {error}", arguments.join(" "));
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn try_kubectl(&self, arguments: &[&str]) -> Output {
        self.command().args(arguments).output().unwrap()
    }

    /// kubectl for this cluster.
    pub fn command(&self) -> Command {
        let mut kubectl = Command::new(cache().join("bin/kubectl"));
        kubectl.env("KUBECONFIG", self.folder.path().join("kubeconfig"));
        kubectl
    }

    /// An object or a list as JSON.
    #[track_caller]
    pub fn get(&self, arguments: &[&str]) -> Value {
        let arguments = [&["get", "-o", "json"], arguments].concat();
        serde_json::from_str(&self.kubectl(&arguments)).unwrap()
    }

    pub fn guests(&self) -> Vec<Value> {
        self.get(&["guests", "-A"])["items"].as_array().unwrap().clone()
    }

    /// Waits until exactly so many guests exist and all are ready, with addresses.
    #[track_caller]
    pub fn wait_for_guests(&self, number: usize, within: Duration) -> Vec<Value> {
        let mut last = Vec::new();
        let deadline = Instant::now() + within;
        while Instant::now() < deadline {
            last = self.guests();
            let ready = |guest: &Value| {
                guest["status"]["phase"] == "Running"
                    && guest["status"]["addresses"][0].is_string()
                    && leaves(guest) == Value::Null
            };
            if last.len() == number && last.iter().all(ready) {
                return last;
            }
            std::thread::park_timeout(Duration::from_millis(50));
        }
        let seen: Vec<_> =
            last.iter().map(|guest| format!("{} {}", guest["metadata"]["name"], guest["status"])).collect();
        panic!("expected {number} running guests within {} s; there are: {seen:#?}", within.as_secs());
    }

    /// Tries until there is an answer; a failure tells what the guests and the operator say.
    #[track_caller]
    pub fn until<T>(&self, what: &str, within: Duration, mut attempt: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + within;
        loop {
            if let Some(value) = attempt() {
                return value;
            }
            if Instant::now() >= deadline {
                let (guests, log) = (self.guests(), self.operator_log());
                let tail: Vec<&str> = log.lines().rev().take(60).collect();
                panic!("{what}: not within {} s; guests: {guests:#?}; log, newest first: {tail:#?}", within.as_secs());
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// Starts the operator alone, without an election, and waits until it is ready; says how long that took.
    pub fn operator(&self) -> (Process, Duration) {
        let kubeconfig = self.folder.path().join("kubeconfig").to_string_lossy().into_owned();
        self.operator_of(&program(), &kubeconfig)
    }

    /// The same with another program, and with another way to the API server.
    pub fn operator_of(&self, program: &Path, kubeconfig: &str) -> (Process, Duration) {
        let (began, address) = (Instant::now(), free_address());
        let operator = self.launch_operator_at(program, kubeconfig, &address, ALONE);
        wait_until_ready(&address);
        (operator, began.elapsed())
    }

    /// Starts one of several operators and waits until it is ready; says where it listens.
    pub fn replica(&self, arguments: &[&str]) -> (Process, String) {
        let kubeconfig = self.folder.path().join("kubeconfig").to_string_lossy().into_owned();
        let address = free_address();
        let operator = self.launch_operator_at(&program(), &kubeconfig, &address, arguments);
        wait_until_ready(&address);
        (operator, address)
    }

    /// The same without waiting for it to be ready.
    pub fn launch_operator(&self, program: &Path, kubeconfig: &str) -> Process {
        self.launch_operator_at(program, kubeconfig, &free_address(), ALONE)
    }

    fn launch_operator_at(&self, program: &Path, kubeconfig: &str, address: &str, more: &[&str]) -> Process {
        launch(self.folder.path(), program, &["run", "--kubeconfig", kubeconfig, "--listen", address], more)
    }

    /// The operator's log, for messages of failed tests and for what must not be in it.
    pub fn operator_log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("innkeeper.log")).unwrap_or_default()
    }
}

fn launch_api(folder: &Path, port: &str, more: &[&str]) -> Process {
    let at = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let me = std::process::id().to_string();
    let (data, kubeconfig) = (at("cp"), at("kubeconfig"));
    let first = ["--data-dir", &data, "--kubeconfig", &kubeconfig, "--port", port, "--unsafe-no-fsync"];
    launch(folder, &cache().join("bin/controlplane"), &[&first[..], &["--exit-with-pid", &me]].concat(), more)
}

fn leaves(guest: &Value) -> Value {
    guest["metadata"]["deletionTimestamp"].clone()
}

/// An operator that is killed would leave a Lease that the next one waits for.
const ALONE: &[&str] = &["--leader-elect=false"];

fn wait_until_ready(address: &str) {
    until("the operator is ready", START, || fetch(address, "/readyz").filter(|(ok, _)| *ok));
}

pub fn free_address() -> String {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    format!("127.0.0.1:{port}")
}

/// Whether an address answers with 200, and what it says.
pub fn fetch(address: &str, path: &str) -> Option<(bool, String)> {
    use std::io::{Read as _, Write as _};
    let mut socket = std::net::TcpStream::connect(address).ok()?;
    socket.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let mut answer = String::new();
    write!(socket, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    socket.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.starts_with("HTTP/1.1 200"), body.to_owned()))
}

/// The operator: as the tests were built, or an optimised one that `E2E_PROGRAM` names, for runs that take long.
fn program() -> PathBuf {
    std::env::var_os("E2E_PROGRAM").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_innkeeper")), PathBuf::from)
}

/// The simulator stands beside the operator: cargo builds both into one folder.
fn simulator() -> PathBuf {
    let path = program().with_file_name("xapi-sim");
    assert!(path.exists(), "{} is missing: `cargo build --workspace` makes it", path.display());
    path
}

pub fn launch(folder: &Path, program: &Path, first: &[&str], more: &[&str]) -> Process {
    let name = program.file_name().unwrap().to_string_lossy().into_owned();
    let log = File::options().create(true).append(true).open(folder.join(format!("{name}.log"))).unwrap();
    let child = Command::new(program)
        .args(first)
        .args(more)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}. `make test` prepares it", program.display()));
    Process(child)
}
