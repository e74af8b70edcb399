//! Bodies that another task makes piece by piece.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Frame;
use tokio::sync::mpsc;

use crate::http::Body;

struct Piped(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Piped {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|chunk| chunk.map(|c| Ok(Frame::data(c))))
    }
}

/// A body and where its pieces go in.
pub(super) fn pipe() -> (mpsc::Sender<Bytes>, Body) {
    let (sender, receiver) = mpsc::channel(4);
    (sender, Piped(receiver).boxed())
}

/// A body that comes slowly.
pub(crate) fn trickle(bytes: Bytes, bytes_per_second: u64) -> Body {
    let (sender, body) = pipe();
    tokio::spawn(async move {
        let step = step(bytes_per_second);
        let mut rest = bytes;
        while !rest.is_empty() {
            let piece = rest.split_to(step.min(rest.len()));
            if sender.send(piece).await.is_err() {
                return;
            }
            tokio::time::sleep(TICK).await;
        }
    });
    body
}

/// How often a slow transfer moves.
pub(super) const TICK: Duration = Duration::from_millis(100);

/// What a slow transfer moves at a time.
pub(super) fn step(bytes_per_second: u64) -> usize {
    usize::try_from((bytes_per_second / 10).max(1)).unwrap_or(usize::MAX)
}
