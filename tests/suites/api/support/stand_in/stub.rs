//! What responds in a pod: the control contract of the server, the status of the proxy's agent.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use wsc_contract::agent::AgentStatus;
use wsc_contract::control::{Broker, ErrorBody, Rejects, Shed, Stats};
use wsc_contract::labels::{self, Component};
use wsc_contract::{names, paths, ports};
use wsc_testing::stand_in::Published;

use super::super::send;
use super::Shared;

/// The version that servers report.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// An error as the server returns it.
type Refused = (StatusCode, ErrorBody);
type Answer<T> = Result<T, Refused>;

/// The statistics of a server pod.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) connections: u64,
    pub(crate) capacity: u64,
    pub(crate) cordoned: bool,
    /// Why it accepts no more connections.
    pub(crate) rejects: Option<Rejects>,
    pub(crate) shed_total: u64,
    /// Number of requests.
    pub(crate) asked: u64,
    /// Its process runs.
    runs: bool,
    pod: String,
    boot_id: String,
}

/// Ends when it is dropped.
pub(super) struct Stub(JoinHandle<()>);

impl Server {
    pub(super) fn new(pod: &str) -> Self {
        Self {
            connections: 0,
            capacity: 10_000,
            cordoned: false,
            rejects: None,
            shed_total: 0,
            asked: 0,
            runs: true,
            pod: pod.to_owned(),
            boot_id: format!("{:016x}", rand::random::<u64>()),
        }
    }

    /// Another process, or none.
    pub(super) fn restart(&mut self, runs: bool) {
        let asked = self.asked;
        *self = Self::new(&self.pod);
        (self.asked, self.runs) = (asked, runs);
    }

    fn stats(&self, redis: bool) -> Stats {
        Stats {
            boot_id: self.boot_id.clone(),
            pod: Some(self.pod.clone()),
            version: VERSION.to_owned(),
            uptime_ms: 1,
            connections: self.connections,
            capacity: self.capacity,
            cordoned: self.cordoned,
            rejects: self.rejects.or(self.cordoned.then_some(Rejects::Cordoned)),
            shed_total: self.shed_total,
            shed_target: self.shed_total,
            broker: Broker {
                kind: "redis".to_owned(),
                up: redis,
            },
            ..Stats::default()
        }
    }

    /// The control port; a client whose close is requested disconnects at once.
    fn control(&mut self, method: &Method, path: &str, body: &[u8], redis: bool) -> Answer<Stats> {
        match (method.as_str(), path) {
            _ if !self.runs => {
                return Err(error(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "internal",
                    "it does not run",
                ));
            }
            ("GET", paths::STATS) => self.asked += 1,
            ("PUT", paths::CORDON) => self.cordoned = true,
            ("DELETE", paths::CORDON) => self.cordoned = false,
            ("PUT", paths::SHED) => self.shed(body)?,
            _ => return Err(error(StatusCode::NOT_FOUND, "not_found", path)),
        }
        Ok(self.stats(redis))
    }

    fn shed(&mut self, body: &[u8]) -> Answer<()> {
        let bad_request = |message: String| error(StatusCode::BAD_REQUEST, "bad_request", &message);
        let shed: Shed = serde_json::from_slice(body).map_err(|error| bad_request(error.to_string()))?;
        shed.check().map_err(|error| bad_request(error.to_string()))?;
        if shed.boot_id != self.boot_id {
            return Err(error(StatusCode::CONFLICT, "boot_id", &self.boot_id));
        }
        let more = shed.total.saturating_sub(self.shed_total);
        self.connections = self.connections.saturating_sub(more);
        self.shed_total = self.shed_total.max(shed.total);
        Ok(())
    }
}

fn error(status: StatusCode, code: &'static str, message: &str) -> Refused {
    let body = ErrorBody {
        error: code.into(),
        message: message.to_owned().into(),
    };
    (status, body)
}

/// As it is sent.
fn sent<T: Serialize>(answer: Answer<T>) -> (StatusCode, String) {
    match answer {
        Ok(document) => (
            StatusCode::OK,
            serde_json::to_string(&document).unwrap_or_default(),
        ),
        Err((status, body)) => (status, serde_json::to_string(&body).unwrap_or_default()),
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Responds at the pod's address like a pod of its kind; a Redis receives no request.
pub(super) async fn start(
    shared: &Arc<Shared>,
    pod: &Pod,
    address: IpAddr,
    server: Arc<Mutex<Server>>,
) -> Result<Option<Stub>> {
    let label = |key: &str| {
        pod.metadata
            .labels
            .as_ref()
            .and_then(|labels| labels.get(key))
            .cloned()
    };
    let component = label(labels::COMPONENT);
    let is = |wanted: Component| component.as_deref() == Some(wanted.as_str());
    if is(Component::Server) {
        let shared = shared.clone();
        let answer = move |method: Method, path: String, body: Bytes| {
            let answer = sent(
                server
                    .lock()
                    .control(&method, &path, &body, shared.reaches_redis()),
            );
            async move { answer }
        };
        return serve((address, ports::CONTROL.number).into(), answer)
            .await
            .map(Some);
    }
    if is(Component::Proxy) {
        let config = names::haproxy_config(&label(labels::CLUSTER).unwrap_or_default());
        let shared = shared.clone();
        let answer = move |method: Method, path: String, _: Bytes| {
            let (shared, config) = (shared.clone(), config.clone());
            async move {
                if (method, path.as_str()) != (Method::GET, paths::STATUS) {
                    return sent::<AgentStatus>(Err(error(StatusCode::NOT_FOUND, "not_found", &path)));
                }
                let status = agent(&shared, &config).await;
                sent(status.map_err(|cause| {
                    let status = StatusCode::INTERNAL_SERVER_ERROR;
                    error(status, "internal", &format!("{cause:#}"))
                }))
            }
        };
        return serve((address, ports::AGENT.number).into(), answer)
            .await
            .map(Some);
    }
    Ok(None)
}

/// The status of an agent whose HAProxy runs what is published.
async fn agent(shared: &Shared, config: &str) -> Result<AgentStatus> {
    let path = format!("/api/v1/namespaces/{}/configmaps/{config}", shared.namespace);
    let published = send(&shared.cluster, Method::GET, &path, None).await?;
    let published = published.map_err(|refusal| anyhow::anyhow!(refusal.message))?;
    let published = Published::read(&serde_json::from_value(published)?)?;
    let connections = |name: &str| {
        let running = shared.running();
        let of_name = running.values().find(|running| running.name == name);
        of_name.map_or(0, |running| running.server.lock().connections)
    };
    Ok(published.status(connections))
}

async fn serve<F>(
    address: SocketAddr,
    answer: impl Fn(Method, String, Bytes) -> F + Clone + Send + Sync + 'static,
) -> Result<Stub>
where
    F: Future<Output = (StatusCode, String)> + Send + 'static,
{
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| address.to_string())?;
    let task = tokio::spawn(async move {
        // Ends all connections with this task.
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let answer = answer.clone();
            let service = service_fn(move |request: Request<Incoming>| respond(answer.clone(), request));
            let http = hyper::server::conn::http1::Builder::new();
            let connection = http.serve_connection(TokioIo::new(stream), service);
            connections.spawn(async move {
                // A client that disconnects early is no failure.
                let _ = connection.await;
            });
        }
    });
    Ok(Stub(task))
}

async fn respond<F>(
    answer: impl Fn(Method, String, Bytes) -> F,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible>
where
    F: Future<Output = (StatusCode, String)>,
{
    let (head, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    let (status, document) = answer(head.method, head.uri.path().to_owned(), body).await;
    let mut response = Response::new(Full::new(Bytes::from(document)));
    *response.status_mut() = status;
    Ok(response)
}
