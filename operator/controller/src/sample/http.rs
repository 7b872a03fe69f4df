//! Bounded requests to pods: no redirect is followed, every response is bounded.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{CONNECTION, CONTENT_TYPE};
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

/// Connection, request and response together. A pod that needs longer is no source of data.
pub(crate) const DEADLINE: Duration = Duration::from_secs(2);
/// Within a cluster a connection is made in a few milliseconds; a lost node sends no response.
const CONNECT_DEADLINE: Duration = Duration::from_millis(300);
/// Longer than the interval of samples, and shorter than the servers' own limit of 10 s.
const KEPT_ALIVE: Duration = Duration::from_secs(8);
/// `/stats` is below 4 KiB with 50 proxies in `via`.
pub(crate) const STATS_BYTES: usize = 64 << 10;
/// An agent's `/status` has a line for each of up to 4000 servers.
pub(crate) const AGENT_BYTES: usize = 1 << 20;
/// Room for the head of a response, or one piece of its body: a kept connection holds as much.
const BUFFER_BYTES: usize = 4 << 10;

/// Why a request to a pod has no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    #[error("invalid request: {0}")]
    Request(#[from] hyper::http::Error),
    #[error("cannot connect to {address}: {}", cause(source))]
    Connect {
        address: SocketAddr,
        source: legacy::Error,
    },
    #[error("HTTP exchange failed: {}", cause(.0))]
    Exchange(#[source] legacy::Error),
    #[error("cannot read the response: {0}")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("response status {0}")]
    Status(StatusCode),
    #[error("no response within {} s", DEADLINE.as_secs())]
    Deadline,
}

/// A request to the port of a pod.
#[derive(Clone, Debug)]
pub(crate) struct PodRequest {
    pub(crate) address: SocketAddr,
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    /// JSON, unless it is empty.
    pub(crate) body: Bytes,
    /// Most bytes of the response.
    pub(crate) limit: usize,
    pub(crate) keep_alive: bool,
}

/// The client of all pods.
#[derive(Clone, Debug)]
pub(crate) struct PodClient {
    client: Client<HttpConnector, Full<Bytes>>,
}

impl PodRequest {
    pub(crate) fn get(address: SocketAddr, path: &'static str, limit: usize) -> Self {
        Self {
            address,
            method: Method::GET,
            path,
            body: Bytes::new(),
            limit,
            keep_alive: false,
        }
    }
}

impl Default for PodClient {
    fn default() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_DEADLINE));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(KEPT_ALIVE)
            .pool_max_idle_per_host(1)
            .http1_read_buf_exact_size(BUFFER_BYTES)
            .build(connector);
        Self { client }
    }
}

impl PodClient {
    /// The body of a successful response.
    pub(crate) async fn send(&self, request: PodRequest) -> Result<Bytes, RequestError> {
        tokio::time::timeout(DEADLINE, self.exchange(request))
            .await
            .unwrap_or(Err(RequestError::Deadline))
    }

    async fn exchange(&self, request: PodRequest) -> Result<Bytes, RequestError> {
        let PodRequest {
            address,
            method,
            path,
            body,
            limit,
            keep_alive,
        } = request;
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{address}{path}"));
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if !keep_alive {
            request = request.header(CONNECTION, "close");
        }
        let response = self.client.request(request.body(Full::new(body))?);
        let response = response.await.map_err(|source| {
            if source.is_connect() {
                RequestError::Connect { address, source }
            } else {
                RequestError::Exchange(source)
            }
        })?;
        let status = response.status();
        let body = Limited::new(response.into_body(), limit).collect().await;
        let body = body.map_err(RequestError::Body)?.to_bytes();
        if status == StatusCode::OK {
            Ok(body)
        } else {
            Err(RequestError::Status(status))
        }
    }
}

/// The innermost error: the client's own text names only the step.
fn cause(error: &legacy::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::Router;
    use axum::response::Redirect;
    use axum::routing::get as route;
    use axum::serve::ListenerExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn serve(app: Router) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        address
    }

    async fn get(address: SocketAddr, path: &'static str, limit: usize) -> Result<Bytes, RequestError> {
        PodClient::default()
            .send(PodRequest::get(address, path, limit))
            .await
    }

    /// Answers one request with these bytes, and holds or closes the connection.
    async fn serve_bytes(bytes: &'static [u8], hold: bool) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let _ = socket.read(&mut request).await;
            let _ = socket.write_all(bytes).await;
            if hold {
                std::future::pending::<()>().await;
            }
        });
        address
    }

    #[tokio::test]
    async fn an_answer_arrives_whole() {
        let address = serve(Router::new().route("/stats", route(|| async { "{}" }))).await;
        assert_eq!(get(address, "/stats", 64).await.unwrap(), "{}");
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed() {
        let app = Router::new()
            .route("/stats", route(|| async { Redirect::temporary("/other") }))
            .route("/other", route(|| async { "{}" }));
        let problem = get(serve(app).await, "/stats", 64).await.unwrap_err().to_string();
        assert!(problem.contains("307"), "{problem}");
    }

    #[tokio::test]
    async fn an_answer_beyond_the_limit_is_none() {
        let app = Router::new().route("/stats", route(|| async { "x".repeat(10 << 20) }));
        let problem = get(serve(app).await, "/stats", STATS_BYTES)
            .await
            .unwrap_err()
            .to_string();
        assert!(problem.contains("limit"), "{problem}");
    }

    #[tokio::test]
    async fn a_truncated_answer_is_none() {
        let bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"connections\":1";
        let problem = get(serve_bytes(bytes, false).await, "/stats", 1024)
            .await
            .unwrap_err()
            .to_string();
        assert!(problem.contains("cannot read the response"), "{problem}");
    }

    #[tokio::test]
    async fn what_is_not_http_is_none() {
        let answer = get(serve_bytes(b"SSH-2.0-x\r\n\r\n", false).await, "/stats", 1024).await;
        assert!(answer.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn hanging_pod_is_abandoned_at_the_deadline() {
        let address = serve_bytes(b"HTTP/1.1 200 OK\r\n", true).await;
        let problem = get(address, "/stats", 1024).await.unwrap_err().to_string();
        assert!(problem.contains("no response within 2 s"), "{problem}");
    }

    #[tokio::test]
    async fn nobody_there_is_no_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let problem = get(address, "/stats", 1024).await.unwrap_err().to_string();
        assert!(problem.contains("cannot connect to"), "{problem}");
    }

    /// The number of connections that three requests need.
    async fn connections(keep_alive: bool) -> usize {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = accepted.clone();
        let listener = listener.tap_io(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        let app = Router::new().route("/stats", route(|| async { "{}" }));
        tokio::spawn(async move { axum::serve(listener, app).await });
        let client = PodClient::default();
        for _ in 0..3 {
            let request = PodRequest {
                keep_alive,
                ..PodRequest::get(address, "/stats", 64)
            };
            assert_eq!(client.send(request).await.unwrap(), "{}");
        }
        accepted.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn kept_connection_serves_several_requests() {
        assert_eq!(connections(true).await, 1);
        assert_eq!(connections(false).await, 3);
    }
}
