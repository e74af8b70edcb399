//! The hosts' HTTP endpoints: which handler takes a request, and the answers all handlers share.

pub(crate) mod server;

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Request, Response, StatusCode};

use crate::data;
use crate::dispatch::{self, Outcome};
use crate::sim::Sim;
use crate::wire::{self, json, xml};

/// The longest body of a call (xapi `http_limit_max_rpc_size`), in bytes.
const MAX_BODY: usize = 300 * 1024;
/// The longest head of a request, in bytes.
const MAX_HEAD: usize = 1024;

pub(crate) type Body = BoxBody<Bytes, Infallible>;

/// The connection is to be reset instead of answered.
#[derive(Debug)]
pub(crate) struct Reset;

impl fmt::Display for Reset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("connection reset on purpose")
    }
}

impl std::error::Error for Reset {}

/// One host's endpoint.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    pub(crate) sim: Arc<Sim>,
    /// The reference of the host.
    pub(crate) host: Arc<str>,
    /// The port, which redirections to other hosts need.
    pub(crate) port: u16,
}

/// Takes a request to its handler: by method and the longest prefix of the path.
pub(crate) async fn handle(endpoint: Endpoint, request: Request<Incoming>) -> Result<Response<Body>, Reset> {
    if endpoint.sim.read(|w| w.down.contains(&endpoint.host)) {
        return Err(Reset);
    }
    if head_size(&request) > MAX_HEAD {
        return Ok(plain(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "text/html", ""));
    }
    let path = request.uri().path().to_owned();
    match *request.method() {
        Method::POST => call(&endpoint, path.starts_with("/jsonrpc"), request).await,
        Method::GET | Method::PUT => data::handle(endpoint, request).await,
        _ => Ok(error_page(StatusCode::NOT_FOUND)),
    }
}

/// The size of the request line and the headers, as they travelled.
fn head_size(request: &Request<Incoming>) -> usize {
    let line = request.method().as_str().len() + request.uri().to_string().len() + " HTTP/1.1\r\n".len() + 1;
    let headers: usize = request.headers().iter().map(|(k, v)| k.as_str().len() + v.len() + 4).sum();
    line + headers + 2
}

async fn call(endpoint: &Endpoint, is_json: bool, request: Request<Incoming>) -> Result<Response<Body>, Reset> {
    let header =
        |request: &Request<Incoming>| Some(request.headers().get("x-innkeeper-caller")?.to_str().ok()?.to_owned());
    let caller = header(&request);
    let Ok(body) = Limited::new(request.into_body(), MAX_BODY).collect().await else {
        return Ok(error_page(StatusCode::PAYLOAD_TOO_LARGE));
    };
    let body = body.to_bytes();
    let parsed = if is_json { json::read(&body) } else { xml::read(&body) };
    let Some(mut call) = parsed else {
        return Ok(error_page(StatusCode::INTERNAL_SERVER_ERROR));
    };
    let (host, params) = (&endpoint.host, std::mem::take(&mut call.params));
    match dispatch::dispatch(&endpoint.sim, host, caller.as_deref(), &call.method, params).await {
        Outcome::Reset => Err(Reset),
        Outcome::Answer { result, bytes_per_second } => {
            let (text, content_type) = wire::write_answer(&call, &result, endpoint.sim.ints);
            let body = match bytes_per_second {
                Some(speed) => data::trickle(Bytes::from(text), speed),
                None => full(text),
            };
            Ok(with_type(Response::new(body), content_type))
        }
    }
}

pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed()
}

fn with_type(mut response: Response<Body>, content_type: &'static str) -> Response<Body> {
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(content_type));
    response
}

pub(crate) fn plain(status: StatusCode, content_type: &'static str, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(full(text));
    *response.status_mut() = status;
    with_type(response, content_type)
}

/// xapi's pages for what is no call at all.
pub(crate) fn error_page(status: StatusCode) -> Response<Body> {
    let reason = status.canonical_reason().unwrap_or("error");
    plain(status, "text/html", format!("<html><body><h1>HTTP {} {reason}</h1></body></html>", status.as_u16()))
}
