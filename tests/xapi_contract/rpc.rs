//! A second, plain client to look at the pool from outside of the driver.

use std::time::Duration;

use reqwest::{Client, Url};
use serde_json::{Map, Value, json};

/// A session of its own with the pool.
#[derive(Clone)]
pub(crate) struct Rpc {
    http: Client,
    url: Url,
    session: String,
}

impl Rpc {
    pub(crate) async fn log_in(url: &Url, user: &str, password: &str) -> Self {
        // Whom the driver trusts is the driver's test; this client only looks.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let http = Client::builder()
            .tls_danger_accept_invalid_certs(true)
            .timeout(Duration::from_secs(30))
            .no_proxy()
            .build()
            .expect("an HTTP client");
        let mut rpc = Self { http, url: url.join("/jsonrpc").expect("a path"), session: String::new() };
        let params = json!([user, password, "2.0", "innkeeper contract test"]);
        let session = rpc.raw("session.login_with_password", params).await.expect("login");
        session.as_str().expect("a session").clone_into(&mut rpc.session);
        rpc
    }

    async fn raw(&self, method: &str, params: Value) -> Result<Value, String> {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
        let request = self.http.post(self.url.clone()).header("content-type", "application/json").body(body);
        let answer = request.send().await.map_err(|e| e.to_string())?.bytes().await.map_err(|e| e.to_string())?;
        let mut answer: Value = serde_json::from_slice(&answer).map_err(|e| e.to_string())?;
        match answer.get("error") {
            Some(error) if !error.is_null() => Err(error.to_string()),
            _ => Ok(answer["result"].take()),
        }
    }

    /// A call with our session; the pool's error as text.
    pub(crate) async fn try_call(&self, method: &str, params: Value) -> Result<Value, String> {
        let mut all = vec![Value::from(self.session.as_str())];
        all.extend(params.as_array().expect("parameters are an array").iter().cloned());
        self.raw(method, Value::Array(all)).await
    }

    /// A call that must succeed.
    pub(crate) async fn call(&self, method: &str, params: Value) -> Value {
        match self.try_call(method, params).await {
            Ok(value) => value,
            Err(error) => panic!("{method}: {error}"),
        }
    }

    /// All objects of a class by reference.
    pub(crate) async fn all(&self, class: &str) -> Map<String, Value> {
        match self.call(&format!("{class}.get_all_records"), json!([])).await {
            Value::Object(map) => map,
            other => panic!("{class}: {other}"),
        }
    }

    /// References of VMs (no snapshots, no control domains) with such a name.
    pub(crate) async fn vms(&self, name: impl Fn(&str) -> bool) -> Vec<String> {
        let vms = self.all("VM").await;
        vms.into_iter()
            .filter(|(_, vm)| vm["is_a_snapshot"] == false && vm["is_control_domain"] == false)
            .filter(|(_, vm)| name(vm["name_label"].as_str().unwrap_or_default()))
            .map(|(r, _)| r)
            .collect()
    }

    /// The reference of an object known by uuid.
    pub(crate) async fn by_uuid(&self, class: &str, uuid: &str) -> String {
        let found = self.call(&format!("{class}.get_by_uuid"), json!([uuid])).await;
        found.as_str().expect("a reference").to_owned()
    }

    /// A disk's data.
    pub(crate) async fn export(&self, disk: &str) -> Result<Vec<u8>, String> {
        let mut url = self.url.join("/export_raw_vdi").expect("a path");
        url.query_pairs_mut()
            .append_pair("vdi", disk)
            .append_pair("format", "raw")
            .append_pair("session_id", &self.session);
        let answer = self.http.get(url).send().await.map_err(|error| error.to_string())?;
        let answer = answer.error_for_status().map_err(|error| error.without_url().to_string())?;
        Ok(answer.bytes().await.map_err(|error| error.to_string())?.to_vec())
    }

    pub(crate) async fn log_out(&self) {
        let _ = self.try_call("session.logout", json!([])).await;
    }
}
