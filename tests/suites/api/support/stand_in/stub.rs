//! What answers in a pod: the control contract of the server, the status of the proxy's agent.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use wsc_contract::labels::{self, Component};
use wsc_contract::{names, ports};

use super::super::send;
use super::{Shared, locked};

/// What a server pod says of itself.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) connections: i64,
    pub(crate) capacity: i64,
    pub(crate) cordoned: bool,
    pub(crate) shed_total: i64,
    /// How often it was asked.
    pub(crate) asked: u64,
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
            shed_total: 0,
            asked: 0,
            pod: pod.to_owned(),
            boot_id: format!("{:016x}", rand::random::<u64>()),
        }
    }

    fn stats(&self) -> Value {
        json!({
            "boot_id": self.boot_id, "pod": self.pod, "version": "0.1.0", "uptime_ms": 1, "connections": self.connections,
            "capacity": self.capacity, "cordoned": self.cordoned, "terminating": false, "accepted_total": 0, "closed_total": 0,
            "refused": {"full": 0, "draining": 0, "wrong_pod": 0, "origin": 0, "bad_request": 0},
            "shed_total": self.shed_total, "shed_target": self.shed_total, "via": {}, "broker": {"kind": "memory", "up": true},
        })
    }

    /// docs/contracts.md, "control port"; whoever is asked to move is gone at once.
    fn control(&mut self, method: &Method, path: &str, body: &[u8]) -> (StatusCode, Value) {
        match (method.as_str(), path) {
            ("GET", "/stats") => self.asked += 1,
            ("PUT", "/cordon") => self.cordoned = true,
            ("DELETE", "/cordon") => self.cordoned = false,
            ("PUT", "/shed") => {
                let shed: Value = serde_json::from_slice(body).unwrap_or_default();
                if shed["boot_id"] != self.boot_id.as_str() {
                    return (
                        StatusCode::CONFLICT,
                        json!({"error": "conflict", "message": "another boot_id"}),
                    );
                }
                let total = shed["total"].as_i64().unwrap_or_default();
                self.connections -= (total - self.shed_total).clamp(0, self.connections);
                self.shed_total = self.shed_total.max(total);
            }
            _ => {
                return (
                    StatusCode::NOT_FOUND,
                    json!({"error": "not_found", "message": path}),
                );
            }
        }
        (StatusCode::OK, self.stats())
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Answers at the pod's address what a pod of its kind does; a Redis is never asked.
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
        let answer = move |method: Method, path: String, body: Bytes| {
            let answer = locked(&server).control(&method, &path, &body);
            async move { answer }
        };
        return serve((address, ports::CONTROL.number).into(), answer)
            .await
            .map(Some);
    }
    if is(Component::Proxy) {
        let config = names::haproxy_config(&label(labels::CLUSTER).unwrap_or_default());
        let shared = shared.clone();
        let answer = move |_: Method, _: String, _: Bytes| {
            let (shared, config) = (shared.clone(), config.clone());
            async move {
                match agent(&shared, &config).await {
                    Ok(status) => (StatusCode::OK, status),
                    Err(error) => (
                        StatusCode::INTERNAL_SERVER_ERROR,
                        json!({"message": format!("{error:#}")}),
                    ),
                }
            }
        };
        return serve((address, ports::AGENT.number).into(), answer)
            .await
            .map(Some);
    }
    Ok(None)
}

/// The status of an agent whose HAProxy runs what is published.
async fn agent(shared: &Shared, config: &str) -> Result<Value> {
    let path = format!("/api/v1/namespaces/{}/configmaps/{config}", shared.namespace);
    let published = send(&shared.cluster, Method::GET, &path, None).await?;
    let published = published.map_err(|refusal| anyhow::anyhow!(refusal.message))?;
    let set: Value = serde_json::from_str(
        published["data"]["backends.json"]
            .as_str()
            .context("no backends.json")?,
    )?;
    let connections = |name: &Value| {
        let running = shared.running();
        let of_name = running.values().find(|running| *name == running.name.as_str());
        of_name.map_or(0, |running| locked(&running.server).connections)
    };
    let servers = set["servers"].as_array().into_iter().flatten();
    let servers = servers.map(|server| {
        json!({"name": server["name"], "state": server["state"], "up": true, "sessions": connections(&server["name"])})
    });
    Ok(json!({
        "version": "0.1.0", "haproxy_version": "3.0.11", "pid": 1, "wanted_hash": set["hash"], "applied_hash": set["hash"],
        "wanted_structure": set["structure"], "applied_structure": set["structure"], "refusal": null, "synced": true, "reloads": 0,
        "pid_changes": 0, "old_workers": 0, "connections": 0, "servers": servers.collect::<Vec<_>>(),
    }))
}

async fn serve<F>(
    address: SocketAddr,
    answer: impl Fn(Method, String, Bytes) -> F + Clone + Send + Sync + 'static,
) -> Result<Stub>
where
    F: Future<Output = (StatusCode, Value)> + Send + 'static,
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
                // A client that goes away early is its own business.
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
    F: Future<Output = (StatusCode, Value)>,
{
    let (head, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    let (status, value) = answer(head.method, head.uri.path().to_owned(), body).await;
    let mut response = Response::new(Full::new(Bytes::from(value.to_string())));
    *response.status_mut() = status;
    Ok(response)
}
