//! What the operator tells over HTTP: `/livez` (no run is stuck), `/readyz` (kinds installed and as new as the operator, stores
//! filled) and `/metrics`.

use std::{fmt::Write as _, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::{RawQuery, State},
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use snafu::{ResultExt, Snafu};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::runtime::{watch::Filled, watchdog::Watchdog};

/// What is told.
pub struct Health {
    /// What must be there before the operator is ready, and what each is called.
    pub needed: Vec<(&'static str, Filled)>,
    /// What is wrong with the definitions of the kinds.
    pub outdated: Box<dyn Fn() -> Option<String> + Send + Sync>,
    /// Who leads, in words.
    pub leader: Box<dyn Fn() -> String + Send + Sync>,
    /// Who notices runs that do not end.
    pub watchdog: Watchdog,
    /// The metrics as text.
    pub metrics: Box<dyn Fn() -> String + Send + Sync>,
}

/// One check and what it found.
struct Check {
    name: String,
    failed: Option<String>,
}

impl Health {
    fn live(&self) -> Vec<Check> {
        let stuck = self.watchdog.stuck();
        let failed = (!stuck.is_empty()).then(|| stuck.join(", "));
        vec![Check { name: "runs end".to_owned(), failed }]
    }

    /// A follower is ready too: it can take over at any moment.
    fn ready(&self) -> Vec<Check> {
        let check = |(name, filled): &(&'static str, Filled)| Check {
            name: (*name).to_owned(),
            failed: filled.get().is_none().then(|| "not yet".to_owned()),
        };
        let kinds = Check { name: "kinds as new as the operator".to_owned(), failed: (self.outdated)() };
        let leader = Check { name: format!("leader: {}", (self.leader)()), failed: None };
        self.needed.iter().map(check).chain([kinds, leader]).collect()
    }
}

/// Why nothing is served.
#[derive(Debug, Snafu)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[snafu(display("cannot listen on {address}"))]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The server ended.
    #[snafu(display("cannot serve on {address}"))]
    Serve {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// Binds the address, so that a wrong one is told at once.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.context(ListenSnafu { address })
}

/// Serves until `shutdown`.
pub async fn serve(listener: TcpListener, health: Arc<Health>, shutdown: CancellationToken) -> Result<(), ServeError> {
    let address = listener.local_addr().unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)));
    let router = Router::new()
        .route("/livez", get(async |State(health): State<Arc<Health>>, query| answer(&health.live(), &query)))
        .route("/readyz", get(async |State(health): State<Arc<Health>>, query| answer(&health.ready(), &query)))
        .route("/metrics", get(metrics))
        .with_state(health);
    let ended = shutdown.cancelled_owned();
    axum::serve(listener, router).with_graceful_shutdown(ended).await.context(ServeSnafu { address })
}

/// All checks with `?verbose` or where one failed, else `ok`, as Kubernetes' own servers answer.
fn answer(checks: &[Check], RawQuery(query): &RawQuery) -> (StatusCode, String) {
    let failed = checks.iter().any(|check| check.failed.is_some());
    let verbose =
        query.as_ref().is_some_and(|query| query.split('&').any(|part| part.split('=').next() == Some("verbose")));
    let status = if failed { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    if !failed && !verbose {
        return (status, "ok\n".to_owned());
    }
    let mut text = String::new();
    for Check { name, failed } in checks {
        // Writing to a String cannot fail.
        let _ = match failed {
            None => writeln!(text, "[+] {name}"),
            Some(why) => writeln!(text, "[-] {name}: {why}"),
        };
    }
    (status, text)
}

async fn metrics(State(health): State<Arc<Health>>) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], (health.metrics)())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::runtime::watchdog::Limit;

    fn health() -> Health {
        let needed = vec![("kinds", Filled::default()), ("guests", Filled::default())];
        let leader = Box::new(|| "standing by".to_owned());
        let outdated = Box::new(|| None);
        Health { needed, outdated, leader, watchdog: Watchdog::default(), metrics: Box::new(String::new) }
    }

    fn verbose() -> RawQuery {
        RawQuery(Some("verbose".to_owned()))
    }

    #[test]
    fn ready_says_what_is_missing() {
        let health = health();
        health.needed[0].1.set(()).unwrap();
        let text =
            "[+] kinds\n[-] guests: not yet\n[+] kinds as new as the operator\n[+] leader: standing by\n".to_owned();
        assert_eq!(answer(&health.ready(), &RawQuery(None)), (StatusCode::SERVICE_UNAVAILABLE, text));
        health.needed[1].1.set(()).unwrap();
        assert_eq!(answer(&health.ready(), &RawQuery(None)), (StatusCode::OK, "ok\n".to_owned()));
        assert!(answer(&health.ready(), &verbose()).1.contains("[+] guests\n"));
        let health = Health { outdated: Box::new(|| Some("too old".to_owned())), ..health };
        let (status, text) = answer(&health.ready(), &RawQuery(None));
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(text.contains("[-] kinds as new as the operator: too old\n"), "{text}");
    }

    #[test]
    fn live_fails_for_a_run_that_does_not_end() {
        let health = health();
        assert_eq!(answer(&health.live(), &verbose()), (StatusCode::OK, "[+] runs end\n".to_owned()));
        let _run = health.watchdog.watch("guest a", Limit(Duration::ZERO));
        let (status, text) = answer(&health.live(), &RawQuery(None));
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(text.starts_with("[-] runs end: guest a for "), "{text}");
    }
}
