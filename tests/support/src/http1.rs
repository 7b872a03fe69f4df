//! HTTP requests, each on a connection of its own and with a deadline; and bytes that no HTTP
//! client would send.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// From the first packet to the end of the answer.
const WAIT: Duration = Duration::from_secs(15);
/// The largest body that is read.
const BODY_BYTES: usize = 4 << 20;

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Of the first line.
    pub status: StatusCode,
    /// All headers.
    pub headers: HeaderMap,
    /// The body, as text.
    pub body: String,
}

impl Answer {
    /// The text of a header, empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.and_then(|v| v.to_str().ok()).unwrap_or_default()
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// If it is none; the message holds the body.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_str(&self.body).with_context(|| format!("no json: {:?}", self.body))
    }
}

/// One request to a server on 127.0.0.1.
///
/// # Errors
/// If there is no whole answer in time.
pub async fn request(
    port: u16,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Result<Answer> {
    let mut request = Request::builder().method(method.clone()).uri(path);
    request = request.header("host", format!("127.0.0.1:{port}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(body.into()))?;
    let what = || format!("{method} {path} on port {port}");
    timeout(WAIT, ask((Ipv4Addr::LOCALHOST, port).into(), request))
        .await
        .with_context(|| format!("{}: no answer within {WAIT:?}", what()))?
        .with_context(what)
}

/// GET.
///
/// # Errors
/// If there is no whole answer in time.
pub async fn get(port: u16, path: &str) -> Result<Answer> {
    request(port, Method::GET, path, &[], "").await
}

/// The body of a successful GET at any address, within `deadline`.
///
/// # Errors
/// If there is no such answer in time.
pub async fn fetch(address: &str, port: u16, path: &str, deadline: Duration) -> Result<String> {
    let address = SocketAddr::new(address.parse().context("an IP address")?, port);
    let answer = get_at(address, path, deadline).await?;
    ensure!(
        answer.status.is_success(),
        "GET {path} at {address} answered {}: {}",
        answer.status,
        answer.body
    );
    Ok(answer.body)
}

/// GET at any address, within `deadline`.
///
/// # Errors
/// If there is no whole answer in time.
pub(crate) async fn get_at(address: SocketAddr, path: &str, deadline: Duration) -> Result<Answer> {
    let what = || format!("GET {path} at {address}");
    let request = Request::get(path).header("host", address.to_string());
    timeout(deadline, ask(address, request.body(Full::default())?))
        .await
        .with_context(|| format!("{}: no answer within {deadline:?}", what()))?
        .with_context(what)
}

async fn ask(address: SocketAddr, request: Request<Full<Bytes>>) -> Result<Answer> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the sender below.
    let driver = tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let (parts, body) = response.into_parts();
    let body = Limited::new(body, BODY_BYTES).collect().await;
    let body = body.map_err(|e| anyhow::anyhow!("body: {e}"))?.to_bytes();
    driver.abort();
    Ok(Answer {
        status: parts.status,
        headers: parts.headers,
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}

/// Writes these bytes as they are and returns what came back: a whole answer, or all until the
/// other side closed, or what there is after `deadline`.
///
/// # Errors
/// If the connection is not accepted.
pub async fn raw(port: u16, bytes: &[u8], deadline: Duration) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    // A server that refuses early may not read to the end.
    let _ = stream.write_all(bytes).await;
    let mut back = Vec::new();
    let read = async {
        while back.len() < BODY_BYTES && !is_whole(&back) && stream.read_buf(&mut back).await? > 0 {}
        std::io::Result::Ok(())
    };
    // After a reset or the deadline there is no more.
    let _ = timeout(deadline, read).await;
    Ok(back)
}

/// Whether this is an answer with all of its body.
fn is_whole(back: &[u8]) -> bool {
    let text = String::from_utf8_lossy(back).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    length.is_some_and(|length| length.trim().parse().is_ok_and(|length| body.len() >= length))
}

#[cfg(test)]
mod tests {
    use super::is_whole;

    #[test]
    fn an_answer_is_whole_with_its_body() {
        let answer = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno";
        assert!(is_whole(answer));
        for cut in 0..answer.len() {
            assert!(!is_whole(&answer[..cut]), "{cut}");
        }
        assert!(!is_whole(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"));
    }
}
