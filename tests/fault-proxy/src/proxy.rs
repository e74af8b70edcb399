//! A running proxy.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use snafu::{ResultExt, Snafu};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    admin,
    audit::{Audit, Entry},
    memory::Memory,
    rule::{self, Fault, Rule, Rules, Seed},
    serve,
    tls::{Identity, TlsError},
    upstream::{self, Upstream},
};

/// Why a proxy does not start.
#[derive(Debug, Snafu)]
#[snafu(visibility(pub(crate)))]
pub enum StartError {
    /// A port cannot be had.
    #[snafu(display("cannot listen on {address}"))]
    Listen {
        /// Which one.
        address: SocketAddr,
        /// What it came from.
        source: std::io::Error,
    },
    /// No certificate.
    #[snafu(display("cannot serve HTTPS"))]
    Tls {
        /// What it came from.
        source: TlsError,
    },
    /// No client towards the server.
    #[snafu(display("cannot make the client towards the server"))]
    Client {
        /// What it came from.
        source: rustls::Error,
    },
}

/// How to start.
#[derive(Clone, Debug)]
pub struct Options {
    /// The server's URL without a path, such as `http://127.0.0.1:5000`.
    pub upstream: String,
    /// Where clients connect to. Port 0 picks a free one.
    pub listen: SocketAddr,
    /// Where rules are changed over HTTP. Not given: only in code.
    pub admin: Option<SocketAddr>,
    /// HTTPS towards clients.
    pub tls: bool,
}

impl Options {
    /// HTTP on a free port of loopback, without rules over HTTP.
    #[must_use]
    pub fn to(upstream: &str) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Self { upstream: upstream.trim_end_matches('/').to_owned(), listen: any, admin: None, tls: false }
    }
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) upstream_url: String,
    pub(crate) upstream: Upstream,
    pub(crate) identity: Option<Identity>,
    pub(crate) audit: Audit,
    pub(crate) memory: Memory,
    rules: Mutex<Rules>,
}

impl Shared {
    pub(crate) fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether some read may be answered with old news.
    pub(crate) fn remembers(&self) -> bool {
        self.rules().have(&Fault::Stale)
    }

    pub(crate) fn judge(&self, request: &rule::Request<'_>, now: Instant) -> Option<Rule> {
        self.rules().judge(request, now)
    }
}

/// A running proxy. It ends when this is dropped.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    admin: Option<SocketAddr>,
    _running: DropGuard,
}

impl Proxy {
    /// Starts a proxy. Connections are accepted when this returns.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let identity = options.tls.then(Identity::new).transpose().context(TlsSnafu)?;
        let upstream = upstream::client().context(ClientSnafu)?;
        let (listener, address) = listen(options.listen).await?;
        let shared = Arc::new(Shared {
            upstream_url: options.upstream,
            upstream,
            identity,
            audit: Audit::default(),
            memory: Memory::default(),
            rules: Mutex::default(),
        });
        let running = CancellationToken::new();
        let admin = match options.admin {
            Some(wanted) => {
                let (listener, address) = listen(wanted).await?;
                tokio::spawn(running.clone().run_until_cancelled_owned(admin::serve(listener, Arc::clone(&shared))));
                Some(address)
            }
            None => None,
        };
        tokio::spawn(accept(listener, Arc::clone(&shared), running.clone()));
        Ok(Self { shared, address, admin, _running: running.drop_guard() })
    }

    /// Where clients connect to, such as `http://127.0.0.1:41234`.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.shared.identity.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Where rules are changed over HTTP.
    #[must_use]
    pub fn admin_url(&self) -> Option<String> {
        self.admin.map(|address| format!("http://{address}"))
    }

    /// The certificates, where clients connect over HTTPS.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        self.shared.identity.as_ref()
    }

    /// Adds a rule after those in force.
    pub fn add(&self, rule: Rule) {
        self.shared.rules().add(rule);
    }

    /// Ends all rules and sets the seed of those to come.
    pub fn reset(&self, seed: Seed) {
        self.shared.rules().reset(seed);
        self.shared.memory.forget();
    }

    /// How often each rule in force has fired.
    #[must_use]
    pub fn fired(&self) -> BTreeMap<String, u64> {
        self.shared.rules().fired()
    }

    /// What came through since this entry's number. Zero: all that is kept.
    #[must_use]
    pub fn log(&self, since: u64) -> Vec<Entry> {
        self.shared.audit.since(since)
    }
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let listener = TcpListener::bind(address).await.context(ListenSnafu { address })?;
    let bound = listener.local_addr().context(ListenSnafu { address })?;
    Ok((listener, bound))
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, running: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            () = running.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let serving = serve::connection(Arc::clone(&shared), stream);
                tokio::spawn(running.clone().run_until_cancelled_owned(serving));
            }
            // Out of file descriptors: the next attempt waits until some are free again.
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
        }
    }
}
