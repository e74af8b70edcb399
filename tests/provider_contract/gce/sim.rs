//! The simulator of Compute Engine (`tests/gce-sim`) as a child process on a free port of loopback.

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

pub const PROJECT: &str = "acme-test";
pub const ZONE: &str = "europe-west1-b";
pub const ZONES: [&str; 3] = [ZONE, "europe-west1-c", "europe-west1-d"];
pub const IMAGE: &str = "golden-7";

pub struct Sim {
    child: Child,
    pub url: String,
    /// Key files of the service account: one that is good, one that is not.
    pub key: String,
    pub wrong_key: String,
}

/// The interpreter of the environment that `make test` prepares, or one that the developer names.
pub fn python() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let cache = || {
        let user = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
        set("INNKEEPER_CACHE").or_else(|| user.map(|user| user.join("innkeeper")))
    };
    set("INNKEEPER_GCE_PYTHON")
        .or_else(|| cache().map(|cache| cache.join("venv/bin/python")))
        .expect("HOME or INNKEEPER_GCE_PYTHON is set")
}

impl Sim {
    /// Starts it and waits until it answers.
    pub async fn start() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/gce-sim/gce_sim.py");
        let python = python();
        let log = std::fs::File::create(concat!(env!("CARGO_TARGET_TMPDIR"), "/gce-sim.log")).unwrap();
        let mut child = Command::new(&python)
            .arg(script)
            .args(["--step", "0.1", "--exit-with-pid", &std::process::id().to_string()])
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}. `make test` prepares it", python.display()));
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = lines.map_while(Result::ok).find_map(|line| line.strip_prefix("gce: ready on ").map(str::to_owned));
        let url = url.unwrap_or_else(|| {
            panic!("the simulator does not start; see gce-sim.log in {}", env!("CARGO_TARGET_TMPDIR"))
        });
        let mut sim = Self { child, url, key: String::new(), wrong_key: String::new() };
        sim.key = sim.get("key").await.to_string();
        sim.wrong_key = sim.get("key?wrong=1").await.to_string();
        sim
    }

    async fn admin(&self, method: reqwest::Method, path: &str, body: String) -> Value {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(20)).build().unwrap();
        let request = client.request(method, format!("{}/innkeeper/{path}", self.url)).body(body);
        let reply = request.send().await.unwrap().error_for_status().unwrap();
        serde_json::from_str(&reply.text().await.unwrap()).unwrap()
    }

    /// One of the admin routes of `tests/gce-sim/gcesim/admin.py`.
    pub async fn get(&self, path: &str) -> Value {
        self.admin(reqwest::Method::GET, path, String::new()).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Value {
        self.admin(reqwest::Method::POST, path, body.to_string()).await
    }

    pub async fn forget_faults(&self) {
        self.admin(reqwest::Method::DELETE, "faults", String::new()).await;
    }

    /// Empties the projects.
    pub async fn reset(&self) {
        self.post("reset", Value::Null).await;
        self.post("settings", json!({ "hide": 0 })).await;
    }

    /// What somebody does by hand. It must work.
    pub async fn by_hand(&self, verb: &str, path: &str, body: Value) -> Value {
        let path = format!("projects/{PROJECT}/{path}");
        let reply = self.post("api", json!({ "verb": verb, "path": path, "body": body })).await;
        assert_eq!(reply["status"], 200, "{verb} {path}: {reply}");
        reply["value"].clone()
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
