//! How a client gets in, or why it does not.

use std::fmt;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

/// Frames are small in the tests; the library's own default is 128 KiB a client.
const BUFFER_BYTES: usize = 4 << 10;

/// How to connect.
#[derive(Debug, Clone)]
pub struct Options {
    url: String,
    headers: Vec<(String, String)>,
}

impl Options {
    /// `ws://host:port/path`.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            headers: Vec::new(),
        }
    }

    /// One more header of the handshake.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A cookie as `name=value`.
    #[must_use]
    pub fn cookie(self, cookie: &str) -> Self {
        self.header("cookie", cookie)
    }

    /// The `Origin` that a browser would send.
    #[must_use]
    pub fn origin(self, origin: &str) -> Self {
        self.header("origin", origin)
    }
}

/// The answer to the handshake.
#[derive(Debug, Clone)]
pub struct Opened {
    /// When the upgrade was answered.
    pub at: Instant,
    /// From the first packet to the answer.
    pub took: Duration,
    /// 101.
    pub status: StatusCode,
    /// All headers of the answer.
    pub headers: HeaderMap,
}

impl Opened {
    /// The cookies that the answer sets, as `name=value`, ready for [`Options::cookie`].
    pub fn cookies(&self) -> Vec<String> {
        let values = self.headers.get_all(http::header::SET_COOKIE).iter();
        let texts = values.filter_map(|v| v.to_str().ok()?.split(';').next());
        texts.map(|c| c.trim().to_owned()).collect()
    }
}

/// Why there is no WebSocket.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Refused {
    /// The server answered, but not with an upgrade.
    #[error("refused with {status}: {body}")]
    Status {
        /// The HTTP status.
        status: StatusCode,
        /// All headers of the answer.
        headers: Box<HeaderMap>,
        /// The body, as far as it came with the headers.
        body: String,
    },
    /// Nobody answered in time, or not in HTTP.
    #[error("no answer: {0}")]
    Network(String),
}

impl Refused {
    /// The HTTP status, if there was one.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Status { status, .. } => Some(*status),
            Self::Network(_) => None,
        }
    }
}

pub(super) type Socket = WebSocketStream<TcpStream>;

pub(super) async fn handshake(options: &Options) -> Result<(Socket, StatusCode, HeaderMap), Refused> {
    let network = |e: &dyn fmt::Display| Refused::Network(e.to_string());
    let mut request = options
        .url
        .as_str()
        .into_client_request()
        .map_err(|e| network(&e))?;
    for (name, value) in &options.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|e| network(&e))?;
        request
            .headers_mut()
            .append(name, HeaderValue::from_str(value).map_err(|e| network(&e))?);
    }
    let host = request
        .uri()
        .host()
        .unwrap_or_default()
        .trim_matches(['[', ']'])
        .to_owned();
    let port = request.uri().port_u16().unwrap_or(80);
    let stream = TcpStream::connect((host, port)).await.map_err(|e| network(&e))?;
    stream.set_nodelay(true).map_err(|e| network(&e))?;
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(0);
    match client_async_with_config(request, stream, Some(config)).await {
        Ok((socket, response)) => Ok((socket, response.status(), response.headers().clone())),
        Err(WsError::Http(response)) => Err(Refused::Status {
            status: response.status(),
            headers: Box::new(response.headers().clone()),
            body: String::from_utf8_lossy(response.body().as_deref().unwrap_or_default()).into_owned(),
        }),
        Err(error) => Err(network(&error)),
    }
}
