//! Handlers outside of the calls: disk data and statistics.

mod pipe;
mod raw;
mod rrd;

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, COOKIE, LOCATION};
use hyper::{Method, Request, Response, StatusCode};

pub(crate) use pipe::trickle;

use crate::error::{ApiError, ApiResult};
use crate::faults::Kind;
use crate::http::{Body, Endpoint, Reset, error_page, plain};
use crate::rbac::Role;
use crate::sim::World;
use crate::value::{NULL_REF, Value, is_null};
use crate::vm::placement;
use crate::{session, tasks};

/// A request to a handler, with who sent it.
#[derive(Debug)]
struct Transfer {
    endpoint: Endpoint,
    query: BTreeMap<String, String>,
    /// Path and query as they came, for redirections.
    target: String,
    /// The task that tells the outcome; empty when the client gave none.
    task: Arc<str>,
}

impl Transfer {
    fn param(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }

    /// Ends the client's task, if it gave one.
    fn finish(&self, result: &ApiResult<Value>) {
        if !is_null(&self.task) {
            self.endpoint.sim.write(|w| tasks::finish(w, &self.task, result));
        }
    }

    fn fail(&self, status: StatusCode, error: ApiError) -> Response<Body> {
        self.finish(&Err(error));
        error_page(status)
    }
}

/// Takes a request to a handler: by method and the longest prefix of the path.
pub(crate) async fn handle(endpoint: Endpoint, request: Request<Incoming>) -> Result<Response<Body>, Reset> {
    let path = request.uri().path().to_owned();
    let is = |method: &Method, prefix: &str| request.method() == method && path.starts_with(prefix);
    let name = path.split('/').nth(1).unwrap_or_default().to_owned();
    let handler = if is(&Method::GET, "/export_raw_vdi") {
        Handler::Export
    } else if is(&Method::PUT, "/import_raw_vdi") {
        Handler::Import
    } else if is(&Method::GET, "/rrd_updates") {
        Handler::Statistics
    } else if path == "/" {
        return Ok(plain(StatusCode::OK, "text/html", "<html><body>A simulated host</body></html>"));
    } else {
        return Ok(error_page(StatusCode::NOT_FOUND));
    };
    let faults = endpoint.sim.write(|w| {
        *w.calls.entry(format!("{} /{name}", request.method())).or_default() += 1;
        w.faults.strike(&format!("/{name}"))
    });
    for fault in &faults {
        match fault {
            Kind::Latency { ms } => tokio::time::sleep(crate::knobs::ms(*ms)).await,
            Kind::ResetBefore => return Err(Reset),
            _ => {}
        }
    }
    let Some(transfer) = transfer(endpoint, &request) else {
        return Ok(error_page(StatusCode::UNAUTHORIZED));
    };
    let slow = faults.iter().find_map(|f| match f {
        Kind::SlowBytes { bytes_per_second } => Some(*bytes_per_second),
        _ => None,
    });
    Ok(match handler {
        Handler::Export => raw::export(transfer, slow),
        Handler::Import => raw::import(transfer, request),
        Handler::Statistics => rrd::updates(&transfer),
    })
}

#[derive(Debug, Clone, Copy)]
enum Handler {
    Export,
    Import,
    Statistics,
}

/// Reads the query and checks who asks; `None` is an answer of 401.
fn transfer(endpoint: Endpoint, request: &Request<Incoming>) -> Option<Transfer> {
    let query: BTreeMap<String, String> =
        request.uri().query().unwrap_or_default().split('&').filter_map(pair).collect();
    let cookie = request.headers().get(COOKIE).and_then(|c| c.to_str().ok()).unwrap_or_default();
    let from_cookie = cookie.split(';').filter_map(pair).find(|(k, _)| k == "session_id").map(|(_, v)| v);
    let role = match query.get("session_id").cloned().or(from_cookie) {
        Some(session) => endpoint.sim.read(|w| session::role(w, &session)).ok(),
        None => basic(&endpoint, request),
    }?;
    if role < Role::VmAdmin && request.method() == Method::PUT {
        return None;
    }
    let task = query.get("task_id").map_or(NULL_REF, String::as_str);
    let target = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
    Some(Transfer { task: Arc::from(task), endpoint, query, target })
}

fn pair(text: &str) -> Option<(String, String)> {
    let (key, value) = text.trim().split_once('=')?;
    Some((decode(key), decode(value)))
}

/// Undoes percent-encoding.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|h| std::str::from_utf8(h).ok()).and_then(|h| u8::from_str_radix(h, 16).ok());
        match (first, hex) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            (b'+', _) => {
                bytes.push(b' ');
                rest = tail;
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn basic(endpoint: &Endpoint, request: &Request<Incoming>) -> Option<Role> {
    let header = request.headers().get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
    let text = String::from_utf8(STANDARD.decode(header).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    endpoint.sim.read(|w| w.users.iter().find(|u| u.name == user && u.password == password).map(|u| u.role))
}

/// A disk by reference or uuid.
fn find_disk(world: &World, name: &str) -> ApiResult<Arc<str>> {
    let found = world.store.by_uuid("VDI", name).unwrap_or_else(|| Arc::from(name));
    world.store.row("VDI", &found).map(|_| found.clone())
}

/// Where to send a client whose host does not see the disk's repository; `None` when it does.
fn elsewhere(world: &World, transfer: &Transfer, vdi: &str) -> Option<Response<Body>> {
    let sr = world.store.text("VDI", vdi, "SR");
    if placement::sees(world, &transfer.endpoint.host, sr) {
        return None;
    }
    let hosts = world.store.refs("host").into_iter();
    let other = hosts.filter(|h| !world.down.contains(h)).find(|h| placement::sees(world, h, sr))?;
    let address = world.store.text("host", &other, "address");
    let location = format!("https://{address}:{}{}", transfer.endpoint.port, transfer.target);
    let mut response = error_page(StatusCode::FOUND);
    response.headers_mut().insert(LOCATION, location.parse().ok()?);
    Some(response)
}
