//! One connection of a client, and what happens to each request on it.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request, Response, StatusCode, Uri,
    body::{Frame, Incoming, SizeHint},
    header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, TRANSFER_ENCODING},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use snafu::Snafu;
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use crate::{
    action,
    audit::Outcome,
    memory,
    proxy::Shared,
    rule::{self, Fault},
    upstream::{Body, BodyError},
};

/// The connection ends here, on purpose.
#[derive(Debug, Snafu)]
#[snafu(display("the connection is cut on purpose"))]
struct Cut;

/// Makes the end of a connection a reset: what the kernel has not sent yet is thrown away.
struct Resetter(socket2::Socket);

impl Resetter {
    fn of(stream: &TcpStream) -> std::io::Result<Self> {
        SockRef::from(stream).try_clone().map(Self)
    }

    fn reset_at_end(&self) {
        // Where this fails the connection ends politely, which the client must bear too.
        let _ = self.0.set_linger(Some(Duration::ZERO));
    }
}

/// Serves the requests of one connection until its end.
pub(crate) async fn connection(shared: Arc<Shared>, stream: TcpStream) {
    let Ok(resetter) = Resetter::of(&stream) else { return };
    let resetter = Arc::new(resetter);
    match &shared.identity {
        Some(identity) => {
            if let Ok(stream) = identity.acceptor.accept(stream).await {
                requests(Arc::clone(&shared), stream, resetter).await;
            }
        }
        None => requests(shared, stream, resetter).await,
    }
}

async fn requests<S: AsyncRead + AsyncWrite + Unpin>(shared: Arc<Shared>, stream: S, resetter: Arc<Resetter>) {
    let service = service_fn(move |request| {
        let (shared, resetter) = (Arc::clone(&shared), Arc::clone(&resetter));
        // Whatever it was: the client sees its connection end.
        async move { serve(&shared, request, &resetter).await.map_err(|_| Cut) }
    });
    // An error here is a client that went away, or a connection cut on purpose.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn serve(shared: &Shared, request: Request<Incoming>, resetter: &Resetter) -> Result<Response<Body>, BodyError> {
    let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
    let read = memory::read(&request);
    let (request, action) = name(request).await?;
    let meant = rule::Request { method: &method, path: &path, action: &action };
    let rule = shared.judge(&meant, Instant::now());
    let number = shared.audit.came(&method, &path, &action, rule.as_ref().map(|rule| rule.name.as_str()));
    let fault = rule.map(|rule| rule.fault);
    if let Some(ended) = before(shared, number, fault.as_ref(), read.as_deref(), resetter).await {
        return ended;
    }
    match forward(shared, request).await {
        Ok(response) => after(shared, number, fault, read, response).await,
        Err(error) => {
            shared.audit.became(number, None, Outcome::Unreachable);
            answer(502, "text/plain", format!("the server cannot be reached: {error}"))
        }
    }
}

/// What ends a request before the server sees it.
async fn before(
    shared: &Shared,
    number: u64,
    fault: Option<&Fault>,
    read: Option<&str>,
    resetter: &Resetter,
) -> Option<Result<Response<Body>, BodyError>> {
    let became = |outcome| shared.audit.became(number, None, outcome);
    match fault? {
        Fault::Answer { status, body, content_type } => {
            became(Outcome::Answered);
            Some(answer(*status, content_type, body.clone()))
        }
        Fault::ResetBefore => {
            became(Outcome::NotSent);
            resetter.reset_at_end();
            Some(Err(Cut.into()))
        }
        Fault::Hang => {
            became(Outcome::NotSent);
            std::future::pending().await
        }
        Fault::Delay { milliseconds } => {
            tokio::time::sleep(Duration::from_millis(*milliseconds)).await;
            None
        }
        Fault::Stale => {
            let old = shared.memory.recall(read?)?;
            became(Outcome::Answered);
            Some(Ok(old))
        }
        Fault::DropAfter | Fault::HangAfter | Fault::Truncate | Fault::Drip { .. } => None,
    }
}

/// What becomes of the server's answer.
async fn after(
    shared: &Shared,
    number: u64,
    fault: Option<Fault>,
    read: Option<String>,
    response: Response<Incoming>,
) -> Result<Response<Body>, BodyError> {
    let status = Some(response.status().as_u16());
    let became = |outcome| shared.audit.became(number, status, outcome);
    match fault {
        Some(Fault::DropAfter) => {
            // Whoever has sent the whole reply has carried out the request.
            let _ = response.into_body().collect().await;
            became(Outcome::ReplyLost);
            Err(Cut.into())
        }
        Some(Fault::HangAfter) => {
            let _ = response.into_body().collect().await;
            became(Outcome::ReplyLost);
            std::future::pending().await
        }
        Some(Fault::Truncate) => {
            became(Outcome::ReplyLost);
            halve(response).await
        }
        Some(Fault::Drip { milliseconds }) => {
            became(Outcome::Passed);
            drip(response, Duration::from_millis(milliseconds)).await
        }
        _ => {
            became(Outcome::Passed);
            if let Some(read) = read.filter(|_| shared.remembers()) {
                return shared.memory.keep(read, response).await;
            }
            let (mut parts, body) = response.into_parts();
            drop_hop_headers(&mut parts.headers);
            Ok(Response::from_parts(parts, body.map_err(Into::into).boxed_unsync()))
        }
    }
}

/// Reads as much of the body as is needed to know the action.
async fn name(request: Request<Incoming>) -> Result<(Request<Body>, String), BodyError> {
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let content_type = header(CONTENT_TYPE).unwrap_or_default().to_owned();
    let length: Option<usize> = header(CONTENT_LENGTH).and_then(|length| length.parse().ok());
    // The JSON protocols of AWS name the action in a header, after the service.
    let target = request.headers().get("x-amz-target").and_then(|value| value.to_str().ok());
    if let Some((_, action)) = target.and_then(|target| target.rsplit_once('.')) {
        let action = action.to_owned();
        return Ok((request.map(|body| body.map_err(Into::into).boxed_unsync()), action));
    }
    let (parts, body) = request.into_parts();
    let (method, path) = (parts.method.as_str(), parts.uri.path());
    if !action::may_be_named(&content_type) || length.is_none_or(|length| length > action::LOOK_AT) {
        let action = action::of(method, path, "", &[]);
        return Ok((Request::from_parts(parts, body.map_err(Into::into).boxed_unsync()), action));
    }
    let bytes = Limited::new(body, action::LOOK_AT).collect().await?.to_bytes();
    let action = action::of(method, path, &content_type, &bytes);
    Ok((Request::from_parts(parts, full(bytes)), action))
}

async fn forward(shared: &Shared, request: Request<Body>) -> Result<Response<Incoming>, BodyError> {
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    parts.uri = format!("{}{path}", shared.upstream_url).parse::<Uri>()?;
    // Host stays: signatures cover it.
    drop_hop_headers(&mut parts.headers);
    Ok(shared.upstream.request(Request::from_parts(parts, body)).await?)
}

/// Headers that are between two neighbours only.
pub(crate) fn drop_hop_headers(headers: &mut HeaderMap) {
    headers.remove(CONNECTION);
    headers.remove(TRANSFER_ENCODING);
    headers.remove("keep-alive");
}

fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never: Infallible| match never {}).boxed_unsync()
}

fn answer(status: u16, content_type: &str, body: String) -> Result<Response<Body>, BodyError> {
    let status = StatusCode::from_u16(status)?;
    Ok(Response::builder().status(status).header(CONTENT_TYPE, content_type).body(full(Bytes::from(body)))?)
}

/// The reply with the length of the whole and only the first half of it.
async fn halve(response: Response<Incoming>) -> Result<Response<Body>, BodyError> {
    let (mut parts, body) = response.into_parts();
    let whole = body.collect().await?.to_bytes();
    drop_hop_headers(&mut parts.headers);
    parts.headers.insert(CONTENT_LENGTH, whole.len().into());
    let half = Half { data: Some(whole.slice(..whole.len() / 2)), whole: whole.len() as u64 };
    Ok(Response::from_parts(parts, half.boxed_unsync()))
}

/// The whole reply, in pieces.
async fn drip(response: Response<Incoming>, every: Duration) -> Result<Response<Body>, BodyError> {
    let (mut parts, body) = response.into_parts();
    let whole = body.collect().await?.to_bytes();
    drop_hop_headers(&mut parts.headers);
    parts.headers.insert(CONTENT_LENGTH, whole.len().into());
    let drip =
        Drip { left: whole.clone(), piece: whole.len() / 16 + 1, every, wait: Box::pin(tokio::time::sleep(every)) };
    Ok(Response::from_parts(parts, drip.boxed_unsync()))
}

/// Gives its data piece by piece.
struct Drip {
    left: Bytes,
    piece: usize,
    every: Duration,
    wait: Pin<Box<tokio::time::Sleep>>,
}

impl hyper::body::Body for Drip {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        if self.wait.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        self.wait = Box::pin(tokio::time::sleep(self.every));
        let piece = self.piece.min(self.left.len());
        Poll::Ready(Some(Ok(Frame::data(self.left.split_to(piece)))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}

/// Gives its data and then fails.
struct Half {
    data: Option<Bytes>,
    whole: u64,
}

impl hyper::body::Body for Half {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Poll::Ready(Some(match self.data.take() {
            Some(data) => Ok(Frame::data(data)),
            None => Err(Cut.into()),
        }))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.whole)
    }
}

#[cfg(test)]
mod tests {
    use hyper::body::Body as _;

    use super::*;

    #[test]
    fn half_a_body_claims_to_be_whole() {
        let half = Half { data: Some(Bytes::from_static(b"ha")), whole: 4 };
        assert_eq!(half.size_hint().exact(), Some(4));
        assert!(!half.is_end_stream());
    }
}
