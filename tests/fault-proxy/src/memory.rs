//! What reads were answered with, for those that are to be answered with old news.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, Response, StatusCode, body::Incoming, http::response::Parts};

use crate::upstream::{Body, BodyError};

/// Larger replies are not kept.
const LARGEST: usize = 1 << 20;

/// The last reply to each read.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<HashMap<String, (Parts, Bytes)>>);

impl Memory {
    fn held(&self) -> MutexGuard<'_, HashMap<String, (Parts, Bytes)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the read was last answered with.
    pub(crate) fn recall(&self, read: &str) -> Option<Response<Body>> {
        let held = self.held();
        let (parts, bytes) = held.get(read)?;
        Some(whole(parts.clone(), bytes.clone()))
    }

    /// Keeps a reply, and gives it on.
    pub(crate) async fn keep(&self, read: String, response: Response<Incoming>) -> Result<Response<Body>, BodyError> {
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await?.to_bytes();
        if parts.status == StatusCode::OK && bytes.len() <= LARGEST {
            self.held().insert(read, (parts.clone(), bytes.clone()));
        }
        Ok(whole(parts, bytes))
    }

    pub(crate) fn forget(&self) {
        self.held().clear();
    }
}

fn whole(mut parts: Parts, bytes: Bytes) -> Response<Body> {
    crate::serve::drop_hop_headers(&mut parts.headers);
    let body = Full::new(bytes).map_err(|never: std::convert::Infallible| match never {});
    Response::from_parts(parts, body.boxed_unsync())
}

/// What a read is known by; `None` for what is no read, or goes on for ever.
pub(crate) fn read<B>(request: &Request<B>) -> Option<String> {
    let watches = request.uri().query().is_some_and(|query| query.split('&').any(|one| one.starts_with("watch=")));
    (request.method() == Method::GET && !watches).then(|| request.uri().to_string())
}
