//! The control plane of `tests/openstack` as a child process, and an administrator's view of it past the driver.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use reqwest::{Client, Method};
use serde::Deserialize;
use serde_json::{Value, json};

/// What `control_plane.py` writes when all answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    pub identity: String,
    pub compute: String,
    pub region: String,
    pub project: String,
    pub user: String,
    pub password: String,
    pub application_credential: Application,
    admin: Admin,
    pub network: String,
    pub image: String,
    pub zones: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Application {
    pub id: String,
    pub secret: String,
}

#[derive(Clone, Debug, Deserialize)]
struct Admin {
    user: String,
    password: String,
    project: String,
}

pub struct Plane {
    _child: Ended,
    pub python: PathBuf,
    pub state: State,
    pub admin: Nova,
    /// As the driver's own user.
    pub member: Nova,
}

/// A user of Nova.
pub struct Nova {
    http: Client,
    url: String,
    token: String,
}

/// The environment that `make test-openstack` prepares, and its template.
pub fn prepared() -> Option<(PathBuf, PathBuf)> {
    let folder = PathBuf::from(std::env::var_os("INNKEEPER_OPENSTACK")?);
    Some((folder.join("bin/python"), folder.join("template.tgz")))
}

impl Plane {
    /// Starts it and waits until it answers; or takes one that runs already, whose state file `INNKEEPER_OPENSTACK_STATE` names.
    pub async fn start() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let (python, template) = prepared().expect("INNKEEPER_OPENSTACK is set");
        let (child, file) = if let Some(file) = std::env::var_os("INNKEEPER_OPENSTACK_STATE") {
            (None, PathBuf::from(file))
        } else {
            let file = std::env::temp_dir().join(format!("openstack-{}.json", std::process::id()));
            (Some(spawn(&python, &template, &file)), file)
        };
        let mut child = Ended(child);
        let began = Instant::now();
        let state = loop {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            if let Ok(state) = serde_json::from_str::<State>(&text) {
                break state;
            }
            let ended = child.0.as_mut().is_none_or(|child| child.try_wait().unwrap().is_some());
            assert!(!ended, "OpenStack does not start; see target/tmp/openstack.log");
            assert!(began.elapsed() < Duration::from_mins(6), "OpenStack is not ready; see target/tmp/openstack.log");
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        let admin = json!({ "name": state.admin.project, "domain": { "id": "default" } });
        let admin = Nova::login(&state, &state.admin.user, &state.admin.password, admin).await;
        let member = json!({ "id": state.project });
        let member = Nova::login(&state, &state.user, &state.password, member).await;
        Self { _child: child, python, state, admin, member }
    }

    /// Every server of the project that exists.
    pub async fn servers(&self) -> Vec<Value> {
        let path = format!("/servers/detail?all_tenants=true&project_id={}", self.state.project);
        self.admin.get(&path).await["servers"].as_array().unwrap().clone()
    }

    /// Every server that was ever made, those first that are gone.
    pub async fn ever(&self) -> Vec<Value> {
        // Whoever goes in between is then among the second.
        let there = self.servers().await;
        let path = format!("/servers/detail?all_tenants=true&deleted=true&project_id={}", self.state.project);
        let mut gone = self.admin.get(&path).await["servers"].as_array().unwrap().clone();
        let is_gone = |one: &Value| gone.iter().any(|other| other["id"] == one["id"]);
        let there: Vec<Value> = there.into_iter().filter(|one| !is_gone(one)).collect();
        gone.extend(there);
        gone
    }

    /// Removes all servers, leases and groups.
    pub async fn reset(&self) {
        let began = Instant::now();
        loop {
            let servers = self.servers().await;
            if servers.is_empty() {
                break;
            }
            for one in &servers {
                let id = one["id"].as_str().unwrap();
                self.admin.send(Method::DELETE, &format!("/servers/{id}"), None).await;
            }
            assert!(began.elapsed() < Duration::from_mins(2), "servers are not removed: {servers:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        for name in self.leases().await {
            self.member.send(Method::DELETE, &format!("/os-keypairs/{name}"), None).await;
        }
        for group in self.groups().await {
            self.member.send(Method::DELETE, &format!("/os-server-groups/{group}"), None).await;
        }
    }

    /// The server groups that stand for creations.
    pub async fn groups(&self) -> Vec<String> {
        let groups = self.member.get("/os-server-groups").await;
        groups["server_groups"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
    }

    /// The key pairs that stand for creations under way.
    pub async fn leases(&self) -> Vec<String> {
        let pairs = self.member.get("/os-keypairs").await;
        let names = pairs["keypairs"].as_array().unwrap().iter();
        names.map(|pair| pair["keypair"]["name"].as_str().unwrap().to_owned()).collect()
    }
}

fn spawn(python: &Path, template: &Path, state: &Path) -> Child {
    let log = std::fs::File::create(concat!(env!("CARGO_TARGET_TMPDIR"), "/openstack.log")).unwrap();
    Command::new(python)
        .args(["-B", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/openstack/control_plane.py"), "run"])
        .arg("--template")
        .arg(template)
        .arg("--state-file")
        .arg(state)
        .args(["--exit-with-pid", &std::process::id().to_string()])
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}. `make test-openstack` prepares it", python.display()))
}

/// A child that ends with us.
struct Ended(Option<Child>);

impl Drop for Ended {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            // It ends what it has started, which takes it a moment.
            let _ = Command::new("kill").arg(child.id().to_string()).status();
            let _ = child.wait();
        }
    }
}

impl Nova {
    async fn login(state: &State, user: &str, password: &str, project: Value) -> Self {
        let http = Client::builder().timeout(Duration::from_mins(1)).no_proxy();
        // Each case has a runtime of its own, and connections die with theirs.
        let http = http.pool_max_idle_per_host(0).build().unwrap();
        let user = json!({ "name": user, "domain": { "id": "default" }, "password": password });
        let body = json!({ "auth": {
            "identity": { "methods": ["password"], "password": { "user": user } },
            "scope": { "project": project },
        } });
        let request = http.post(format!("{}/auth/tokens", state.identity)).header("content-type", "application/json");
        let reply = request.body(body.to_string()).send().await.unwrap().error_for_status().unwrap();
        let token = reply.headers()["x-subject-token"].to_str().unwrap().to_owned();
        Self { http, url: state.compute.clone(), token }
    }

    /// Sends a request, and answers the status and the body.
    pub async fn send(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let request = self.http.request(method, format!("{}{path}", self.url)).header("x-auth-token", &self.token);
        let request =
            request.header("openstack-api-version", "compute 2.93").header("content-type", "application/json");
        let request = match body {
            Some(body) => request.body(body.to_string()),
            None => request,
        };
        let reply = request.send().await.unwrap();
        let status = reply.status().as_u16();
        let text = reply.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    pub async fn get(&self, path: &str) -> Value {
        let (status, body) = self.send(Method::GET, path, None).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// What Nova must take.
    pub async fn done(&self, method: Method, path: &str, body: Value) -> Value {
        let (status, answer) = self.send(method, path, Some(body)).await;
        assert!((200..300).contains(&status), "{path}: {status} {answer}");
        answer
    }
}
