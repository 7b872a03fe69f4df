//! Listeners and HTTP connections with limits: slow headers, large headers and too many sockets end
//! early.

#[cfg(target_os = "linux")]
mod linux;

use std::borrow::Cow;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::IntoResponse;
use axum::{Json, Router};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::metrics::counter::Counter;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::ServiceExt;
use wsc_contract::control::ErrorBody;

/// From the connection, or the end of the last request, to the end of the next request's headers.
const HEADER_WAIT: Duration = Duration::from_secs(10);
const HEADER_BYTES: usize = 8 << 10;
const HEADERS: usize = 64;
/// Connections that the kernel keeps while we are busy; it lowers this to its own limit.
const BACKLOG: u32 = 4096;
/// The pause after a failed accept, which mostly means no files left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How a connection came in, and its share of the sockets that the port may have; both go along
/// through the upgrade.
#[derive(Debug, Clone, Default)]
pub(crate) struct Arrival {
    /// The shard that accepted it, and keeps it.
    pub(crate) shard: usize,
    #[expect(dead_code, reason = "held for its drop")]
    permit: Option<Arc<OwnedSemaphorePermit>>,
}

/// The two ports of a server.
#[derive(Debug)]
pub(crate) struct Listeners {
    /// For clients: one a shard, all on one port.
    pub(crate) clients: Vec<StdListener>,
    /// For health, metrics and the operator.
    pub(crate) control: TcpListener,
    /// Of the clients' port and the control port.
    pub(crate) addresses: (SocketAddr, SocketAddr),
}

/// A port that cannot be bound.
#[derive(Debug, Error)]
#[error("cannot bind port {port}")]
pub struct BindError {
    port: u16,
    source: io::Error,
}

impl Listeners {
    /// Binds both ports on all addresses.
    ///
    /// # Errors
    /// Names the port that cannot be had.
    pub(crate) fn bind(port: u16, control_port: u16, shards: usize) -> Result<Self, BindError> {
        let named = |port: u16| move |source| BindError { port, source };
        let (clients, address) = bind_shards(port, shards).map_err(named(port))?;
        let control = bind_all(control_port, false).map_err(named(control_port))?;
        let control_address = control.local_addr().map_err(named(control_port))?;
        Ok(Self {
            clients,
            control,
            addresses: (address, control_address),
        })
    }
}

/// With `SO_REUSEPORT` the kernel distributes new connections over all listeners of the port.
fn bind_shards(port: u16, shards: usize) -> io::Result<(Vec<StdListener>, SocketAddr)> {
    // With the option a bind succeeds on a port that another process shares: only a bind without it
    // fails on a port in use.
    let alone = bind_all(port, false)?;
    let address = alone.local_addr()?;
    if shards <= 1 {
        return Ok((vec![alone.into_std()?], address));
    }
    drop(alone);
    let listeners = (0..shards).map(|_| bind_all(address.port(), true)?.into_std());
    Ok((listeners.collect::<io::Result<_>>()?, address))
}

/// `[::]`, which takes IPv4 as well, or `0.0.0.0` where there is no IPv6.
fn bind_all(port: u16, shared: bool) -> io::Result<TcpListener> {
    let v6 = TcpSocket::new_v6().and_then(|socket| {
        rustix::net::sockopt::set_ipv6_v6only(&socket, false)?;
        listen(socket, (Ipv6Addr::UNSPECIFIED, port).into(), shared)
    });
    match v6 {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            listen(TcpSocket::new_v4()?, (Ipv4Addr::UNSPECIFIED, port).into(), shared)
        }
        other => other,
    }
}

/// What is set here the kernel gives to every connection, which saves three calls for each.
fn listen(socket: TcpSocket, address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(shared)?;
    socket.set_nodelay(true)?;
    #[cfg(target_os = "linux")]
    linux::bound_slow_peers(&socket)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// What answers the requests of a port.
pub(crate) trait Service: Clone + Send + Sync + 'static {
    /// Every request has an answer.
    fn answer(
        &self,
        request: Request<Incoming>,
        arrival: Arrival,
    ) -> impl Future<Output = Response<Body>> + Send;

    /// What came was no request that could be answered, or not in time.
    fn broken(&self) {}
}

impl Service for Router {
    async fn answer(&self, request: Request<Incoming>, _: Arrival) -> Response<Body> {
        match self.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// Accepts until it is dropped. When there is no socket left, a connection is closed at once and
/// counted.
pub(crate) async fn accept(
    listener: TcpListener,
    shard: usize,
    service: impl Service,
    sockets: Arc<Semaphore>,
    refused: Counter,
) -> Infallible {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if let Ok(permit) = Arc::clone(&sockets).try_acquire_owned() {
            let permit = Some(Arc::new(permit));
            tokio::spawn(serve(stream, service.clone(), Arrival { shard, permit }));
        } else {
            refused.inc();
        }
    }
}

/// One connection until its end or its upgrade.
async fn serve<I>(stream: I, service: impl Service, arrival: Arrival)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let answer = service_fn(|request| async {
        let answer = service.answer(request, arrival.clone()).await;
        Ok::<_, Infallible>(answer)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_WAIT)
        .max_headers(HEADERS)
        .max_header_size(HEADER_BYTES)
        .max_buf_size(2 * HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), answer)
        .with_upgrades();
    if let Err(error) = connection.await {
        if error.is_parse() || error.is_timeout() {
            service.broken();
        }
        tracing::debug!(%error, "HTTP connection failed");
    }
}

/// An error response of either port.
pub(crate) fn error(
    status: StatusCode,
    error: &'static str,
    message: impl Into<Cow<'static, str>>,
) -> Response<Body> {
    (
        status,
        Json(ErrorBody {
            error: error.into(),
            message: message.into(),
        }),
    )
        .into_response()
}

#[cfg(test)]
mod tests {
    use futures::{SinkExt, StreamExt};
    use tokio::io::duplex;
    use tokio_tungstenite::client_async;
    use tokio_tungstenite::tungstenite::Message;

    use super::*;
    use crate::args::Args;
    use crate::handshake;
    use crate::server::Server;

    #[tokio::test]
    async fn connection_inherits_the_listener_options() {
        for shards in [1, 2] {
            let listeners = Listeners::bind(0, 0, shards).unwrap();
            let port = listeners.clients[0].local_addr().unwrap().port();
            // The kernel decides which of them gets it.
            let _client = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
            let accepted = std::iter::repeat(&listeners.clients)
                .flatten()
                .find_map(|listener| listener.accept().ok());
            let (accepted, _) = accepted.unwrap();
            assert!(accepted.nodelay().unwrap());
            #[cfg(target_os = "linux")]
            linux::assert_slow_peers_are_bounded(&accepted);
        }
    }

    /// TLS or a pipe in place of the plain socket: the lane has to do without taking it back.
    #[tokio::test]
    async fn stream_without_socket_is_served() {
        let args = ["wsc-server", "--broker", "memory"].map(Into::into);
        let server = Server::new(Args::read(args).unwrap().config().unwrap());
        let (ours, theirs) = duplex(1 << 10);
        let service = handshake::Handshakes(Arc::clone(&server));
        tokio::spawn(serve(ours, service, Arrival::default()));
        let walking = Arc::clone(&server);
        tokio::spawn(async move { walking.walk(0).await });
        let (mut client, response) = client_async("ws://localhost/ws", theirs).await.unwrap();
        assert_eq!(response.status(), 101);
        let large = Message::text("x".repeat(10_000));
        client.send(large.clone()).await.unwrap();
        assert_eq!(client.next().await.unwrap().unwrap(), large);
        client.close(None).await.unwrap();
        while let Some(Ok(_)) = client.next().await {}
        server.drain.departed.notified().await;
        assert_eq!((server.admission.capacity.taken(), server.drain.closed()), (0, 1));
    }
}
