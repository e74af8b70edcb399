//! Listening and connections: TLS, HTTP/1.1, and the resets that a test asks for.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use snafu::{ResultExt, Snafu};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::{Endpoint, handle};

/// xapi's patience with a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a host's endpoint could not be opened.
#[derive(Debug, Snafu)]
pub enum ListenError {
    /// The address could not be bound.
    #[snafu(display("cannot listen on {address}"))]
    Bind {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
}

/// Binds all addresses to one port; 0 stands for any port that is free on all of them.
pub(crate) async fn bind_all(addresses: &[IpAddr], port: u16) -> Result<(Vec<TcpListener>, u16), ListenError> {
    const TRIES: usize = 20;
    let mut tries = 0;
    loop {
        tries += 1;
        match bind_once(addresses, port).await {
            Err(error) if port != 0 || tries == TRIES => return Err(error),
            Err(_) => {}
            Ok(bound) => return Ok(bound),
        }
    }
}

async fn bind_once(addresses: &[IpAddr], port: u16) -> Result<(Vec<TcpListener>, u16), ListenError> {
    let mut listeners = Vec::with_capacity(addresses.len());
    let mut port = port;
    for address in addresses {
        let address = SocketAddr::new(*address, port);
        let listener = TcpListener::bind(address).await.context(BindSnafu { address })?;
        port = listener.local_addr().context(BindSnafu { address })?.port();
        listeners.push(listener);
    }
    Ok((listeners, port))
}

/// Serves one endpoint until the process ends.
pub(crate) async fn serve(listener: TcpListener, tls: Option<Arc<rustls::ServerConfig>>, endpoint: Endpoint) {
    let acceptor = tls.map(TlsAcceptor::from);
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors: others must end first.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        if endpoint.sim.read(|w| w.down.contains(&endpoint.host)) {
            reset_on_close(&stream);
            continue;
        }
        let (endpoint, acceptor) = (endpoint.clone(), acceptor.clone());
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            connection(stream, acceptor, endpoint).await;
        });
    }
}

/// Makes the end of the connection a reset instead of a goodbye.
fn reset_on_close(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

async fn connection(stream: TcpStream, acceptor: Option<TlsAcceptor>, endpoint: Endpoint) {
    // A second handle on the socket survives the layers above it, to reset it at their end.
    let Ok(stream) = stream.into_std() else { return };
    let Ok(handle) = stream.try_clone() else { return };
    let Ok(stream) = TcpStream::from_std(stream) else { return };
    let mut losses = endpoint.sim.losses();
    let (sim, host) = (endpoint.sim.clone(), endpoint.host.clone());
    let epoch = sim.read(|w| w.epoch);
    let cut = async move {
        // A connection ends with the host, or the toolstack, at its other end.
        while !sim.read(|w| w.down.contains(&host) || w.epoch != epoch) {
            if losses.changed().await.is_err() {
                break;
            }
        }
    };
    let served = async {
        match acceptor {
            Some(acceptor) => match acceptor.accept(stream).await {
                Ok(stream) => requests(stream, endpoint).await,
                Err(_) => true,
            },
            None => requests(stream, endpoint).await,
        }
    };
    let orderly = tokio::select! {
        orderly = served => orderly,
        () = cut => false,
    };
    if !orderly {
        let _ = SockRef::from(&handle).set_linger(Some(Duration::ZERO));
    }
}

/// Serves the requests of a connection; false when it is to be reset.
async fn requests<S>(stream: S, endpoint: Endpoint) -> bool
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| handle(endpoint.clone(), request));
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    match builder.serve_connection(TokioIo::new(stream), service).await {
        Ok(()) => true,
        // The service's only error is the wish for a reset.
        Err(error) => !error.is_user(),
    }
}
