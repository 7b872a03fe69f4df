//! One bounded request to a pod: no redirect is followed, no answer is trusted to end.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Connecting, asking and reading together. A pod that needs longer is no source of data.
pub(crate) const DEADLINE: Duration = Duration::from_secs(2);
/// `/stats` is below 4 KiB with 50 proxies in `via`.
pub(crate) const STATS_BYTES: usize = 64 << 10;
/// An agent's `/status` has a line for each of up to 4000 servers.
pub(crate) const AGENT_BYTES: usize = 1 << 20;
/// Room for the head of an answer and one piece of its body.
const BUFFER_BYTES: usize = 64 << 10;

/// Why a request to a pod has no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    #[error("cannot connect to {address}: {source}")]
    Connect { address: SocketAddr, source: io::Error },
    #[error("invalid request: {0}")]
    Request(#[from] hyper::http::Error),
    #[error("HTTP exchange failed: {0}")]
    Exchange(#[from] hyper::Error),
    #[error("cannot read the response: {0}")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("response status {0}")]
    Status(StatusCode),
    #[error("no response within {} s", DEADLINE.as_secs())]
    Deadline,
}

/// The body of a successful answer, at most `limit` bytes.
pub(crate) async fn get(address: SocketAddr, path: &str, limit: usize) -> Result<Bytes, RequestError> {
    send(address, Method::GET, path, Bytes::new(), limit).await
}

/// The same for any method, with a JSON body unless it is empty.
pub(crate) async fn send(
    address: SocketAddr,
    method: Method,
    path: &str,
    body: Bytes,
    limit: usize,
) -> Result<Bytes, RequestError> {
    let request = exchange(address, method, path, body, limit);
    tokio::time::timeout(DEADLINE, request)
        .await
        .unwrap_or(Err(RequestError::Deadline))
}

async fn exchange(
    address: SocketAddr,
    method: Method,
    path: &str,
    body: Bytes,
    limit: usize,
) -> Result<Bytes, RequestError> {
    let socket = TcpStream::connect(address)
        .await
        .map_err(|source| RequestError::Connect { address, source })?;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(BUFFER_BYTES)
        .handshake(TokioIo::new(socket))
        .await?;
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, address.to_string())
        .header(CONNECTION, "close");
    if !body.is_empty() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    let request = request.body(Full::new(body))?;
    let answer = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), limit).collect().await;
        let body = body.map_err(RequestError::Body)?.to_bytes();
        if status == StatusCode::OK {
            Ok(body)
        } else {
            Err(RequestError::Status(status))
        }
    };
    // The connection is driven here and not by a task of its own, so that it ends with the request.
    tokio::select! {
        answer = answer => answer,
        never = drive(connection) => match never {},
    }
}

/// Drives the connection. Once that has ended, what was received may still wait to be read: the reader ends by itself.
async fn drive<C, E>(connection: C) -> Infallible
where
    C: Future<Output = Result<(), E>>,
    E: std::fmt::Display,
{
    if let Err(error) = connection.await {
        tracing::trace!(error = %error, "connection to a pod ended");
    }
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::response::Redirect;
    use axum::routing::get as route;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn serve(app: Router) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        address
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
    async fn a_pod_that_hangs_is_given_up_at_the_deadline() {
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
}
