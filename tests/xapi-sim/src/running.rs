//! Starting a simulator: the pool, its endpoints, and what a client needs to know to reach them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use snafu::{OptionExt, ResultExt, Snafu};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::admin;
use crate::error::ApiError;
use crate::http::Endpoint;
use crate::http::server::{self, ListenError};
use crate::knobs::Knobs;
use crate::load::{self, LoadError};
use crate::model::{Model, ModelError};
use crate::preset::{self, Preset};
use crate::rbac::Role;
use crate::sim::{Sim, User, World};
use crate::store::Store;
use crate::tls::{self, TlsError};
use crate::value::Value;
use crate::wire::Ints;

/// Someone who may log in.
#[derive(Debug, Clone)]
pub struct Login {
    /// The user's name.
    pub name: String,
    /// The password.
    pub password: String,
    /// One of XAPI's six roles, e.g. `vm-power-admin`.
    pub role: String,
}

/// Everything that is decided before the start.
#[derive(Debug, Clone)]
pub struct Config {
    /// The HTTPS port, the same on every host's address; 0 is any.
    pub port: u16,
    /// The plain HTTP port; `None` is no plain HTTP, 0 is any.
    pub http_port: Option<u16>,
    /// The admin endpoint's port on 127.0.0.1; 0 is any.
    pub admin_port: u16,
    /// Who may log in. The first is shown in the state file.
    pub logins: Vec<Login>,
    /// The made-up pool, unless `load` is given.
    pub preset: Preset,
    /// A pool's records to load instead.
    pub load: Option<PathBuf>,
    /// Write integers in JSON as strings, as older xapi does.
    pub ints_as_strings: bool,
    /// Times and limits.
    pub knobs: Knobs,
}

impl Default for Config {
    fn default() -> Self {
        let root = Login { name: "root".to_owned(), password: "sesame".to_owned(), role: "pool-admin".to_owned() };
        Self {
            port: 0,
            http_port: None,
            admin_port: 0,
            logins: vec![root],
            preset: Preset::default(),
            load: None,
            ints_as_strings: false,
            knobs: Knobs::default(),
        }
    }
}

/// Why a simulator did not start.
#[derive(Debug, Snafu)]
pub enum StartError {
    /// The embedded data model is broken.
    #[snafu(display("cannot read the data model"))]
    ReadModel {
        /// Where it is broken.
        source: ModelError,
    },
    /// The pool database could not be loaded.
    #[snafu(display("cannot load the pool"))]
    LoadPool {
        /// Why not.
        source: LoadError,
    },
    /// The made-up pool could not be built.
    #[snafu(display("cannot build the pool: {description}"))]
    BuildPool {
        /// The XAPI error that building met.
        description: String,
    },
    /// A role is not one of XAPI's.
    #[snafu(display("cannot give the user {user} the role {role}: there is no such role"))]
    GiveRole {
        /// Who.
        user: String,
        /// What was asked.
        role: String,
    },
    /// Nobody may log in.
    #[snafu(display("cannot start without a user"))]
    NoUser,
    /// An endpoint could not be opened.
    #[snafu(display("cannot open the endpoints"))]
    Open {
        /// Which and why.
        source: ListenError,
    },
    /// A certificate could not be made.
    #[snafu(display("cannot make the hosts' certificates"))]
    Certify {
        /// Whose and why.
        source: TlsError,
    },
}

/// Where one host of the pool answers.
#[derive(Debug, Clone, Serialize)]
pub struct HostEndpoint {
    /// `host.name_label`.
    pub name: String,
    /// `host.uuid`.
    pub uuid: String,
    /// `host.address`: all hosts share one port.
    pub address: String,
    /// The HTTPS endpoint.
    pub url: String,
    /// SHA-256 of the certificate, hex with colons.
    pub fingerprint: String,
}

/// A simulator under way. Its endpoints close when it is dropped.
#[derive(Debug, Serialize)]
pub struct Running {
    /// The coordinator's HTTPS endpoint.
    pub url: String,
    /// SHA-256 of the coordinator's certificate, hex with colons.
    pub fingerprint: String,
    /// The coordinator's plain HTTP endpoint, if there is one.
    pub http_url: Option<String>,
    /// The admin endpoint.
    pub admin_url: String,
    /// The process.
    pub pid: u32,
    /// The first user.
    pub user: String,
    /// The first user's password.
    pub password: String,
    /// All hosts, the coordinator among them.
    pub hosts: Vec<HostEndpoint>,
    #[serde(skip)]
    servers: Vec<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        for server in &self.servers {
            server.abort();
        }
    }
}

/// Builds the pool and opens its endpoints.
pub async fn start(config: Config) -> Result<Running, StartError> {
    let mut world = World::new(
        Store::new(Model::load().context(ReadModelSnafu)?),
        config.knobs.clone(),
        config.logins.iter().map(user).collect::<Result<_, _>>()?,
    );
    let first = config.logins.first().context(NoUserSnafu)?.clone();
    match &config.load {
        Some(path) => load::load(&mut world, path).context(LoadPoolSnafu)?,
        None => preset::build(&mut world, &config.preset).map_err(broken)?,
    }
    world.store.flush();
    world.history.entries.clear();
    let coordinator = world.coordinator();
    let sim = Sim::new(world, if config.ints_as_strings { Ints::AsStrings } else { Ints::AsNumbers });
    let mut servers = Vec::new();
    let hosts = open_hosts(&sim, config.port, &mut servers).await?;
    let http_port = match config.http_port {
        Some(port) => Some(open_plain(&sim, port, &coordinator, &mut servers).await?),
        None => None,
    };
    let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), config.admin_port);
    let listener = TcpListener::bind(address).await.map_err(|source| ListenError::Bind { address, source });
    let listener = listener.context(OpenSnafu)?;
    let admin_port = listener.local_addr().map_or(config.admin_port, |a| a.port());
    let routes = admin::router(sim.clone());
    servers.push(tokio::spawn(async move {
        // Ends with the process only.
        let _ = axum::serve(listener, routes).await;
    }));
    let own = sim.read(|w| w.uuid("host", &coordinator));
    let endpoint = hosts.iter().find(|h| h.uuid == own).or(hosts.first()).context(NoUserSnafu)?;
    Ok(Running {
        url: endpoint.url.clone(),
        fingerprint: endpoint.fingerprint.clone(),
        http_url: http_port.map(|port| format!("http://127.0.0.1:{port}")),
        admin_url: format!("http://127.0.0.1:{admin_port}"),
        pid: std::process::id(),
        user: first.name,
        password: first.password,
        hosts,
        servers,
    })
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn broken(error: ApiError) -> StartError {
    StartError::BuildPool { description: error.description().join(" ") }
}

fn user(login: &Login) -> Result<User, StartError> {
    let role: Role = login.role.parse().ok().with_context(|| GiveRoleSnafu { user: &login.name, role: &login.role })?;
    Ok(User { name: login.name.clone(), password: login.password.clone(), role })
}

/// Opens every host's endpoint: one loopback address each, one port for all.
async fn open_hosts(
    sim: &Arc<Sim>,
    port: u16,
    servers: &mut Vec<JoinHandle<()>>,
) -> Result<Vec<HostEndpoint>, StartError> {
    let mut hosts: Vec<(Arc<str>, String, String, IpAddr)> = sim.read(|w| {
        let rows = w.store.rows("host");
        rows.map(|(r, row)| {
            let address = row.get("address").as_str().parse().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
            (r.clone(), row.get("name_label").as_str().to_owned(), row.get("uuid").as_str().to_owned(), address)
        })
        .collect()
    });
    hosts.sort_by_key(|h| h.3);
    let addresses: Vec<IpAddr> = hosts.iter().map(|h| h.3).collect();
    let (listeners, port) = server::bind_all(&addresses, port).await.context(OpenSnafu)?;
    let mut endpoints = Vec::with_capacity(hosts.len());
    for ((reference, name, uuid, address), listener) in hosts.into_iter().zip(listeners) {
        let identity = tls::identity(&name, &address.to_string()).context(CertifySnafu)?;
        sim.write(|w| {
            let fields = [
                ("type", Value::str("host")),
                ("host", Value::Str(reference.clone())),
                ("fingerprint", Value::str(&identity.fingerprint)),
                ("fingerprint_sha256", Value::str(&identity.fingerprint)),
                ("name", Value::str(&identity.pem)),
            ];
            w.store.insert("Certificate", fields.into_iter().map(|(k, v)| (Arc::from(k), v)).collect());
        });
        let endpoint = Endpoint { sim: sim.clone(), host: reference, port };
        servers.push(tokio::spawn(server::serve(listener, Some(identity.config), endpoint)));
        let url = format!("https://{address}:{port}");
        endpoints.push(HostEndpoint {
            name,
            uuid,
            address: address.to_string(),
            url,
            fingerprint: identity.fingerprint,
        });
    }
    Ok(endpoints)
}

async fn open_plain(
    sim: &Arc<Sim>,
    port: u16,
    coordinator: &Arc<str>,
    servers: &mut Vec<JoinHandle<()>>,
) -> Result<u16, StartError> {
    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let (listeners, port) = server::bind_all(&[local], port).await.context(OpenSnafu)?;
    for listener in listeners {
        let endpoint = Endpoint { sim: sim.clone(), host: coordinator.clone(), port };
        servers.push(tokio::spawn(server::serve(listener, None, endpoint)));
    }
    Ok(port)
}
