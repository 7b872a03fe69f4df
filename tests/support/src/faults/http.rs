//! Faults on single requests: a reverse proxy on plain HTTP/1.1 that asks a hook what to do with
//! each.
//!
//! In front of an API server it also takes TLS and credentials off the client's hands: whoever
//! connects speaks as the upstream's client. (Give that `kube::Client` a config with
//! `default_retry: false`: each call is to reach the server once.)

use std::convert::Infallible;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use futures::stream;
use http::header::{CONNECTION, HOST, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use super::Gate;

/// A larger request is refused with 413; an API server takes 3 MiB.
const REQUEST_LIMIT: usize = 4 << 20;
/// Until the upstream accepts a connection.
const CONNECT_WAIT: Duration = Duration::from_secs(10);

type Error = Box<dyn std::error::Error + Send + Sync>;
type Answer = Response<UnsyncBoxBody<Bytes, Error>>;
type Hook = dyn Fn(&Call) -> Verdict + Send + Sync;

/// Who answers.
#[derive(Clone)]
pub enum Upstream {
    /// An API server, as the user of this client.
    Kube(kube::Client),
    /// Anybody who speaks plain HTTP/1.1.
    Address(SocketAddr),
}

/// One request, as the hook sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// 1 for the first.
    pub number: u64,
    pub method: Method,
    /// Path and query.
    pub path: String,
}

/// What happens to a request.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// It is answered by the upstream.
    Pass,
    /// The same, but every piece of the answer waits at this gate, the first one included. A closed
    /// gate stalls it, also if it is closed while a watch runs already.
    Through(Gate),
    /// It is answered with this status by the proxy.
    Refuse(StatusCode),
    /// The connection ends before the upstream hears of it.
    Drop,
    /// The upstream does it, and the connection ends before the answer.
    Lose,
}

/// A reverse proxy on a free port of 127.0.0.1.
#[derive(Debug)]
pub struct HttpProxy {
    address: SocketAddr,
    calls: Arc<AtomicU64>,
    lost: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

struct Proxy {
    upstream: Upstream,
    hook: Box<Hook>,
    calls: Arc<AtomicU64>,
    lost: Arc<AtomicU64>,
}

impl HttpProxy {
    /// Starts it; `hook` is asked once for each request when all of it is here, in the order of
    /// their arrival.
    ///
    /// # Errors
    /// If there is no port.
    pub async fn start(
        upstream: Upstream,
        hook: impl Fn(&Call) -> Verdict + Send + Sync + 'static,
    ) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("HTTP fault proxy")?;
        let address = listener.local_addr()?;
        let (calls, lost) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let proxy = Proxy {
            upstream,
            hook: Box::new(hook),
            calls: Arc::clone(&calls),
            lost: Arc::clone(&lost),
        };
        let task = tokio::spawn(accept(listener, Arc::new(proxy)));
        Ok(Self {
            address,
            calls,
            lost,
            task,
        })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Requests so far.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// Requests that the upstream has done and whose answers were lost ([`Verdict::Lose`]).
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::SeqCst)
    }
}

impl Drop for HttpProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kube(_) => f.write_str("Kube"),
            Self::Address(address) => write!(f, "Address({address})"),
        }
    }
}

async fn accept(listener: TcpListener, proxy: Arc<Proxy>) {
    // Aborts all connections with this task.
    let mut tasks = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = tasks.join_next() => continue,
        };
        let Ok((stream, _)) = accepted else { continue };
        let proxy = Arc::clone(&proxy);
        tasks.spawn(async move {
            // Only speed would be lost.
            let _ = stream.set_nodelay(true);
            let service = service_fn(|request| answer(&proxy, request));
            let http = hyper::server::conn::http1::Builder::new();
            // An error here is a connection that ended, which is often what a test asked for.
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// An error ends the connection without an answer.
async fn answer(proxy: &Proxy, request: Request<Incoming>) -> Result<Answer, Error> {
    let (head, body) = request.into_parts();
    // Before the hook, which may stop the process that sends it.
    let Ok(body) = Limited::new(body, REQUEST_LIMIT).collect().await else {
        return Ok(plain(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too large for the fault proxy",
        ));
    };
    let request = Request::from_parts(head, body.to_bytes());
    let call = Call {
        number: proxy.calls.fetch_add(1, Ordering::SeqCst) + 1,
        method: request.method().clone(),
        path: request
            .uri()
            .path_and_query()
            .map_or_else(|| "/".to_owned(), ToString::to_string),
    };
    match (proxy.hook)(&call) {
        Verdict::Pass => Ok(forward(&proxy.upstream, request).await),
        Verdict::Through(gate) => {
            let answer = forward(&proxy.upstream, request).await;
            gate.pass().await;
            Ok(answer.map(|body| gated(body, gate)))
        }
        Verdict::Refuse(status) => Ok(plain(status, "refused by the fault proxy")),
        Verdict::Drop => Err("dropped".into()),
        Verdict::Lose => {
            let answer = forward(&proxy.upstream, request).await;
            // A head alone may come before the work is done.
            let _ = answer.into_body().collect().await;
            proxy.lost.fetch_add(1, Ordering::SeqCst);
            Err("lost".into())
        }
    }
}

async fn forward(upstream: &Upstream, request: Request<Bytes>) -> Answer {
    let (mut head, body) = request.into_parts();
    strip(&mut head.headers);
    let answer = match upstream {
        Upstream::Kube(client) => {
            // It adds its own.
            head.headers.remove(HOST);
            let request = Request::from_parts(head, body.into());
            client.send(request).await.map(boxed).map_err(anyhow::Error::from)
        }
        Upstream::Address(address) => send(*address, Request::from_parts(head, Full::new(body)))
            .await
            .map(boxed),
    };
    answer.unwrap_or_else(|error| plain(StatusCode::BAD_GATEWAY, &format!("{error:#}")))
}

async fn send(address: SocketAddr, request: Request<Full<Bytes>>) -> Result<Response<Incoming>> {
    let connected = timeout(CONNECT_WAIT, TcpStream::connect(address)).await;
    let stream = connected.map_err(|_| anyhow!("{address} does not accept"))??;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the body of the answer, or with whoever waits for it.
    tokio::spawn(connection);
    Ok(sender.send_request(request).await?)
}

fn boxed<B>(answer: Response<B>) -> Answer
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Error>,
{
    let (mut head, body) = answer.into_parts();
    strip(&mut head.headers);
    head.version = Version::HTTP_11;
    Response::from_parts(head, body.map_err(Into::into).boxed_unsync())
}

/// What is said between two neighbours only.
fn strip(headers: &mut HeaderMap) {
    for name in [CONNECTION, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
}

fn gated(body: UnsyncBoxBody<Bytes, Error>, gate: Gate) -> UnsyncBoxBody<Bytes, Error> {
    let pieces = stream::unfold((body, gate), |(mut body, gate)| async move {
        let piece = body.frame().await;
        gate.pass().await;
        Some((piece?, (body, gate)))
    });
    StreamBody::new(pieces).boxed_unsync()
}

fn plain(status: StatusCode, text: &str) -> Answer {
    let body = Full::new(Bytes::from(text.to_owned())).map_err(|never: Infallible| match never {});
    let mut answer = Response::new(body.boxed_unsync());
    *answer.status_mut() = status;
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_secs(20);

    /// Answers `a`, and `b` when the gate is open; counts what reached it.
    async fn upstream(second: Gate) -> (SocketAddr, Arc<AtomicU64>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let reached = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&reached);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (second, count) = (second.clone(), Arc::clone(&count));
                let service = service_fn(move |_: Request<Incoming>| {
                    count.fetch_add(1, Ordering::SeqCst);
                    let second = second.clone();
                    async move {
                        let pieces = stream::unfold((0, second), |(n, second)| async move {
                            if n == 1 {
                                second.pass().await;
                            }
                            let piece = Bytes::from_static([b"a", b"b"].get(n)?.as_slice());
                            Some((Ok::<_, Error>(hyper::body::Frame::data(piece)), (n + 1, second)))
                        });
                        Ok::<_, Infallible>(Response::new(StreamBody::new(pieces)))
                    }
                });
                let http = hyper::server::conn::http1::Builder::new();
                tokio::spawn(http.serve_connection(TokioIo::new(stream), service));
            }
        });
        (address, reached)
    }

    async fn get(proxy: &HttpProxy, path: &str) -> Result<Response<Incoming>> {
        let mut request = Request::new(Full::new(Bytes::new()));
        *request.uri_mut() = path.parse()?;
        request.headers_mut().insert(HOST, "wsc".parse()?);
        send(proxy.address, request).await
    }

    async fn text(answer: Response<Incoming>) -> Bytes {
        let body = timeout(WAIT, answer.into_body().collect()).await.unwrap();
        body.unwrap().to_bytes()
    }

    #[tokio::test]
    async fn each_request_meets_its_own_verdict() {
        let (address, reached) = upstream(Gate::default()).await;
        let verdict = |call: &Call| match call.path.as_str() {
            "/refuse?x=1" => Verdict::Refuse(StatusCode::TOO_MANY_REQUESTS),
            "/drop" => Verdict::Drop,
            "/lose" => Verdict::Lose,
            _ => Verdict::Pass,
        };
        let proxy = HttpProxy::start(Upstream::Address(address), verdict)
            .await
            .unwrap();
        assert_eq!(text(get(&proxy, "/").await.unwrap()).await, "ab");
        assert_eq!(
            get(&proxy, "/refuse?x=1").await.unwrap().status(),
            StatusCode::TOO_MANY_REQUESTS
        );
        assert!(get(&proxy, "/drop").await.is_err());
        assert_eq!(reached.load(Ordering::SeqCst), 1);
        assert!(get(&proxy, "/lose").await.is_err());
        assert_eq!(
            (reached.load(Ordering::SeqCst), proxy.calls(), proxy.lost()),
            (2, 4, 1)
        );
    }

    #[tokio::test]
    async fn gate_stops_a_begun_response() {
        let second = Gate::default();
        second.close();
        let (address, _) = upstream(second.clone()).await;
        let gate = Gate::default();
        let watched = gate.clone();
        let verdict = move |_: &Call| Verdict::Through(watched.clone());
        let proxy = HttpProxy::start(Upstream::Address(address), verdict)
            .await
            .unwrap();
        let mut body = get(&proxy, "/").await.unwrap().into_body();
        let first = body.frame().await.unwrap().unwrap();
        assert_eq!(first.into_data().unwrap(), "a");
        gate.close();
        second.open();
        let early = timeout(Duration::from_millis(100), body.frame()).await;
        assert!(early.is_err(), "nothing comes through a closed gate");
        assert!(
            timeout(Duration::from_millis(100), get(&proxy, "/"))
                .await
                .is_err()
        );
        gate.open();
        let rest = timeout(WAIT, body.collect()).await.unwrap().unwrap();
        assert_eq!(rest.to_bytes(), "b");
    }

    #[tokio::test]
    async fn without_an_upstream_the_gateway_is_bad() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let proxy = HttpProxy::start(Upstream::Address(address), |_| Verdict::Pass)
            .await
            .unwrap();
        assert_eq!(get(&proxy, "/").await.unwrap().status(), StatusCode::BAD_GATEWAY);
    }
}
