//! A client for the tests: calls over the real wires, and the admin endpoint.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code, unreachable_pub)]

use std::time::{Duration, Instant};

use reqwest::{Client as Http, Method, Response};
use serde_json::{Value as Json, json};
use xapi_sim::{Config, Knobs, Preset, Running, start};

/// A XAPI error: code and parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub code: String,
    pub params: Vec<String>,
}

pub fn fault(code: &str, params: &[&str]) -> Fault {
    Fault { code: code.to_owned(), params: params.iter().map(|p| (*p).to_owned()).collect() }
}

/// A simulator with a logged-in client.
pub struct Lab {
    pub running: Running,
    pub http: Http,
    pub session: String,
}

pub fn http() -> Http {
    // A second test of the same process finds it installed.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Http::builder()
        .tls_danger_accept_invalid_certs(true)
        .timeout(Duration::from_mins(1))
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap()
}

/// Quick life cycles: what a test waits for is what it tests.
pub fn quick() -> Knobs {
    Knobs {
        clone_ms: 5,
        start_ms: 20,
        clean_shutdown_ms: 10,
        hard_shutdown_ms: 5,
        tools_ms: 50,
        migrate_ms: 20,
        login_failure_ms: 50,
        restart_ms: 50,
        ..Knobs::default()
    }
}

impl Lab {
    pub async fn start() -> Self {
        Self::with(Config { knobs: quick(), ..Config::default() }).await
    }

    pub async fn of(preset: Preset) -> Self {
        Self::with(Config { knobs: quick(), preset, ..Config::default() }).await
    }

    pub async fn with(config: Config) -> Self {
        let running = start(config).await.unwrap();
        let mut lab = Self { running, http: http(), session: String::new() };
        lab.session = lab.log_in().await;
        lab
    }

    pub async fn log_in(&self) -> String {
        let login = json!([self.running.user, self.running.password, "1.0", "test"]);
        let result = self.raw(&self.running.url, "session.login_with_password", login).await.unwrap();
        result.as_str().unwrap().to_owned()
    }

    /// A call without a session of its own, JSON-RPC 2.0.
    pub async fn raw(&self, url: &str, method: &str, params: Json) -> Result<Json, Fault> {
        self.attempt(url, method, params).await.unwrap()
    }

    /// The same, for calls whose connection may break.
    pub async fn attempt(&self, url: &str, method: &str, params: Json) -> reqwest::Result<Result<Json, Fault>> {
        let body = json!({ "jsonrpc": "2.0", "method": method, "params": params, "id": 7 });
        let answer = self.post(url, "/jsonrpc", body.to_string()).await?;
        assert_eq!(answer.headers()["content-type"], "application/json");
        let answer: Json = serde_json::from_slice(&answer.bytes().await?).unwrap();
        assert_eq!(answer["id"], 7);
        Ok(match answer.get("error") {
            None => Ok(answer["result"].clone()),
            Some(error) => {
                assert_eq!(error["code"], 1);
                let params = error["data"].as_array().unwrap().iter().map(|p| p.as_str().unwrap().to_owned());
                Err(Fault { code: error["message"].as_str().unwrap().to_owned(), params: params.collect() })
            }
        })
    }

    pub async fn post(&self, url: &str, path: &str, body: String) -> reqwest::Result<Response> {
        self.http.post(format!("{url}{path}")).body(body).send().await
    }

    pub async fn attempt_call(&self, method: &str, params: Json) -> reqwest::Result<Result<Json, Fault>> {
        let mut all = vec![json!(self.session)];
        all.extend(params.as_array().unwrap().iter().cloned());
        self.attempt(&self.running.url, method, Json::Array(all)).await
    }

    /// A call with the session in front of its parameters.
    pub async fn call(&self, method: &str, params: Json) -> Result<Json, Fault> {
        self.attempt_call(method, params).await.unwrap()
    }

    /// A call that must succeed.
    pub async fn ok(&self, method: &str, params: Json) -> Json {
        self.call(method, params).await.unwrap_or_else(|e| panic!("{method}: {e:?}"))
    }

    /// A call that must answer with a text.
    pub async fn text(&self, method: &str, params: Json) -> String {
        self.ok(method, params).await.as_str().unwrap().to_owned()
    }

    /// A call that must fail.
    pub async fn err(&self, method: &str, params: Json) -> Fault {
        match self.call(method, params).await {
            Err(fault) => fault,
            Ok(value) => panic!("{method} succeeded: {value}"),
        }
    }

    pub async fn by_name(&self, class: &str, name: &str) -> String {
        let found = self.ok(&format!("{class}.get_by_name_label"), json!([name])).await;
        found[0].as_str().unwrap_or_else(|| panic!("no {class} {name}")).to_owned()
    }

    pub async fn record(&self, class: &str, reference: &str) -> Json {
        self.ok(&format!("{class}.get_record"), json!([reference])).await
    }

    /// A VM ready to start: a provisioned clone of a template.
    pub async fn vm(&self, template: &str, name: &str) -> String {
        let template = self.by_name("VM", template).await;
        let vm = self.text("VM.clone", json!([template, name])).await;
        self.ok("VM.provision", json!([vm])).await;
        vm
    }

    /// A running VM whose tools have reported.
    pub async fn running_vm(&self, name: &str) -> String {
        let vm = self.vm("debian-12", name).await;
        self.ok("VM.start", json!([vm, false, false])).await;
        self.until("the tools report", async || {
            let metrics = self.record("VM", &vm).await["guest_metrics"].as_str().unwrap().to_owned();
            self.record("VM_guest_metrics", &metrics).await["PV_drivers_detected"] == true
        })
        .await;
        vm
    }

    /// Polls until something holds.
    pub async fn until(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !holds().await {
            assert!(Instant::now() < deadline, "not in time: {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits for a task's end; its record.
    pub async fn task(&self, task: &str) -> Json {
        self.until("the task ends", async || {
            !["pending", "cancelling"].contains(&self.record("task", task).await["status"].as_str().unwrap())
        })
        .await;
        self.record("task", task).await
    }

    pub async fn admin(&self, method: Method, path: &str, body: Json) -> Json {
        let request = self.http.request(method, format!("{}{path}", self.running.admin_url));
        let request = request.header("content-type", "application/json").body(body.to_string());
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
    }

    pub async fn admin_post(&self, path: &str, body: Json) -> Json {
        self.admin(Method::POST, path, body).await
    }

    pub async fn admin_get(&self, path: &str) -> Json {
        self.admin(Method::GET, path, Json::Null).await
    }

    pub async fn knob(&self, name: &str, value: Json) {
        self.admin(Method::PUT, "/knobs", json!({ name: value })).await;
    }

    /// Events since a token, with the next one.
    pub async fn events(&self, classes: Json, token: &str, seconds: f64) -> (Vec<Json>, String) {
        let batch = self.ok("event.from", json!([classes, token, seconds])).await;
        (batch["events"].as_array().unwrap().clone(), batch["token"].as_str().unwrap().to_owned())
    }
}
