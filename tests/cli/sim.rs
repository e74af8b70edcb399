//! A simulated pool, and the binary run against it.

use std::{
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

pub const PASSWORD: &str = "the-password-of-the-tests";
/// How long a server may take to start on a busy machine.
const START: Duration = Duration::from_mins(1);

/// A running simulator; stopped when the case is over.
pub struct Sim {
    child: Child,
    state: Value,
}

impl Drop for Sim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Sim {
    pub fn start(arguments: &[&str]) -> Self {
        let program = Path::new(env!("CARGO_BIN_EXE_innkeeper")).with_file_name("xapi-sim");
        assert!(program.exists(), "{} is missing: `cargo build --workspace` makes it", program.display());
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.json");
        let child = Command::new(program)
            .arg("--state-file")
            .arg(&file)
            .args(["--password", PASSWORD])
            .args(arguments)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + START;
        let mut sim = Self { child, state: Value::Null };
        while sim.state.is_null() {
            assert!(Instant::now() < deadline, "the simulator does not start");
            std::thread::park_timeout(Duration::from_millis(20));
            sim.state = std::fs::read(&file).ok().and_then(|b| serde_json::from_slice(&b).ok()).unwrap_or_default();
        }
        sim
    }

    pub fn url(&self) -> &str {
        self.state["url"].as_str().unwrap()
    }

    /// The fingerprints of all hosts.
    pub fn fingerprints(&self) -> Vec<String> {
        let hosts = self.state["hosts"].as_array().unwrap();
        hosts.iter().map(|host| host["fingerprint"].as_str().unwrap().to_owned()).collect()
    }

    /// All records of a class, past the API.
    pub fn records(&self, class: &str) -> Vec<Value> {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let url = format!("{}/state/{class}", self.state["admin_url"].as_str().unwrap());
        let records: Value = runtime.block_on(async {
            let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().unwrap();
            let bytes = http.get(url).send().await.unwrap().error_for_status().unwrap().bytes().await.unwrap();
            serde_json::from_slice(&bytes).unwrap()
        });
        records.as_object().unwrap().values().cloned().collect()
    }

    /// `pool inspect` with the hosts' fingerprints.
    pub fn inspect(&self, more: &[&str]) -> Output {
        let prints = self.fingerprints();
        let pinned = prints.iter().flat_map(|print| ["--fingerprint", print]);
        let arguments: Vec<&str> = ["pool", "inspect", "--xapi", self.url()].into_iter().chain(pinned).collect();
        innkeeper(&[&arguments, more].concat())
    }
}

/// Runs the binary with the pool's password.
pub fn innkeeper(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_innkeeper"));
    command.env("INNKEEPER_XAPI_PASSWORD", PASSWORD).env_remove("KUBECONFIG").args(arguments).output().unwrap()
}

/// What it printed, where it succeeded.
#[track_caller]
pub fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{}", complained(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub fn complained(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
