//! The mended moto (`tests/moto`) as a child process on a free port of loopback.

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde::Deserialize;

pub const REGION: &str = "eu-west-1";
pub const IMAGE: &str = "ami-0123456789abcdef0";
pub const ACCESS_KEY: &str = "AKIDOFTHETESTS";
pub const SECRET_KEY: &str = "the-right-key-of-the-tests";
pub const WRONG_KEY: &str = "a-wrong-key-of-the-tests";

/// A launch that moto has carried out.
#[derive(Debug, Deserialize)]
pub struct Launch {
    pub token: String,
    pub instances: Vec<String>,
}

pub struct Moto {
    child: Child,
    pub url: String,
}

/// The interpreter of the environment that `make test` prepares, or one that the developer names.
fn python() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let cache = || {
        let user = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
        set("INNKEEPER_CACHE").or_else(|| user.map(|user| user.join("innkeeper")))
    };
    set("INNKEEPER_MOTO_PYTHON")
        .or_else(|| cache().map(|cache| cache.join("venv/bin/python")))
        .expect("HOME or INNKEEPER_MOTO_PYTHON is set")
}

impl Moto {
    /// Starts it and waits until it answers.
    pub fn start() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/moto/moto_ec2.py");
        let python = python();
        let log = std::fs::File::create(concat!(env!("CARGO_TARGET_TMPDIR"), "/moto.log")).unwrap();
        let mut child = Command::new(&python)
            .arg(script)
            .args(["--region", REGION, "--image", IMAGE, "--delay", "0.1"])
            .args(["--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY])
            .args(["--exit-with-pid", &std::process::id().to_string()])
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}. `make test` prepares it", python.display()));
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = lines.map_while(Result::ok).find_map(|line| line.strip_prefix("ec2: ready on ").map(str::to_owned));
        let url = url.unwrap_or_else(|| panic!("moto does not start; see moto.log in {}", env!("CARGO_TARGET_TMPDIR")));
        Self { child, url }
    }

    async fn admin(&self, method: reqwest::Method, path: &str, body: String) -> String {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(20)).build().unwrap();
        let request = client.request(method, format!("{}/innkeeper/{path}", self.url)).body(body);
        let reply = request.send().await.unwrap().error_for_status().unwrap();
        reply.text().await.unwrap()
    }

    /// Empties the account.
    pub async fn reset(&self) {
        self.admin(reqwest::Method::POST, "reset", String::new()).await;
        self.set("hide", Duration::ZERO).await;
        // Six hours at Amazon.
        self.set("cooldown", Duration::ZERO).await;
    }

    /// Posts to one of the routes of `tests/moto/mended/admin.py`.
    pub async fn post(&self, path: &str, body: serde_json::Value) {
        self.admin(reqwest::Method::POST, path, body.to_string()).await;
    }

    /// Changes a setting.
    pub async fn set(&self, name: &str, time: Duration) {
        let body = serde_json::json!({ name: time.as_secs_f64() }).to_string();
        self.admin(reqwest::Method::POST, "settings", body).await;
    }

    /// Lets the next launch find no capacity, after its token was bound.
    pub async fn no_capacity_once(&self) {
        let body = serde_json::json!({ "action": "RunInstances", "error": "InsufficientInstanceCapacity" });
        self.admin(reqwest::Method::POST, "faults", body.to_string()).await;
    }

    /// All launches since the last reset, repeated ones included.
    pub async fn launches(&self) -> Vec<Launch> {
        let text = self.admin(reqwest::Method::GET, "history?kind=RunInstances", String::new()).await;
        serde_json::from_str(&text).unwrap()
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
