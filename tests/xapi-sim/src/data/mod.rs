//! Handlers outside of the calls: disk data and statistics.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Frame, Incoming};
use hyper::{Request, Response, StatusCode};
use tokio::sync::mpsc;

use crate::http::{Body, Endpoint, Reset, error_page, plain};

pub(crate) async fn handle(_endpoint: Endpoint, request: Request<Incoming>) -> Result<Response<Body>, Reset> {
    let path = request.uri().path();
    if path == "/" {
        return Ok(plain(StatusCode::OK, "text/html", "<html><body>A simulated host</body></html>"));
    }
    Ok(error_page(StatusCode::NOT_FOUND))
}

/// A body made by another task.
struct Piped(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Piped {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|chunk| chunk.map(|c| Ok(Frame::data(c))))
    }
}

/// A body and where its pieces go in.
pub(crate) fn pipe() -> (mpsc::Sender<Bytes>, Body) {
    let (sender, receiver) = mpsc::channel(4);
    (sender, Piped(receiver).boxed())
}

/// A body that comes slowly.
pub(crate) fn trickle(bytes: Bytes, bytes_per_second: u64) -> Body {
    let (sender, body) = pipe();
    let step = usize::try_from((bytes_per_second / 10).max(1)).unwrap_or(usize::MAX);
    tokio::spawn(async move {
        let mut rest = bytes;
        while !rest.is_empty() {
            let piece = rest.split_to(step.min(rest.len()));
            if sender.send(piece).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    body
}
