//! The control port: what the kubelet, Prometheus and the operator ask.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::app::Server;
use crate::handshake::error;
use crate::shed::ShedRequest;

/// A request here is a few numbers.
const BODY_BYTES: usize = 4 << 10;

/// `GET /stats`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Stats {
    /// New for each process.
    pub boot_id: String,
    /// The pod's name.
    pub pod: Option<String>,
    /// Of the server.
    pub version: String,
    /// Since the start.
    pub uptime_ms: u64,
    /// Slots taken: open connections and handshakes.
    pub connections: u64,
    /// Slots.
    pub capacity: u64,
    /// `PUT /cordon`.
    pub cordoned: bool,
    /// SIGTERM came.
    pub terminating: bool,
    /// Upgrades answered since `boot_id`.
    pub accepted_total: u64,
    /// Connections ended since `boot_id`.
    pub closed_total: u64,
    /// Handshakes refused since `boot_id`.
    pub refused: RefusedStats,
    /// Closes begun because of `/shed` since `boot_id`.
    pub shed_total: u64,
    /// The last accepted `total`.
    pub shed_target: u64,
    /// Open connections by proxy; `direct` had none.
    pub via: BTreeMap<String, u64>,
    /// How messages travel.
    pub broker: BrokerStats,
}

/// `refused` of the stats.
#[derive(Debug, Serialize, Deserialize)]
pub struct RefusedStats {
    /// No slot left.
    pub full: u64,
    /// Cordoned or leaving.
    pub draining: u64,
    /// Meant for another pod.
    pub wrong_pod: u64,
    /// Origin not allowed.
    pub origin: u64,
    /// Malformed.
    pub bad_request: u64,
}

/// `broker` of the stats.
#[derive(Debug, Serialize, Deserialize)]
pub struct BrokerStats {
    /// `redis` or `memory`.
    pub kind: String,
    /// Whether messages travel now.
    pub up: bool,
}

#[derive(Debug, Deserialize)]
struct ShedBody {
    boot_id: String,
    total: u64,
    per_second: f64,
    #[serde(default)]
    via: Option<String>,
}

/// The router of the control port.
pub fn router(server: Arc<Server>) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/stats", get(stats))
        .route("/cordon", put(cordon).delete(uncordon))
        .route("/shed", put(shed))
        .fallback(async || error(StatusCode::NOT_FOUND, "not_found", "path not found"))
        .method_not_allowed_fallback(async || {
            error(
                StatusCode::METHOD_NOT_ALLOWED,
                "method",
                "method not allowed on this path",
            )
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .with_state(server)
}

/// A process that answers is alive: Redis has no say, or its restart would restart every pod.
async fn livez(State(server): State<Arc<Server>>) -> Response {
    if server.pulse.goes_on() {
        return "ok\n".into_response();
    }
    error(
        StatusCode::SERVICE_UNAVAILABLE,
        "stalled",
        "a shard makes no progress",
    )
}

/// False until a message made the round trip once, and after SIGTERM; nothing else flips it.
async fn readyz(State(server): State<Arc<Server>>) -> Response {
    if server.is_terminating() {
        return error(
            StatusCode::SERVICE_UNAVAILABLE,
            "terminating",
            "the server is terminating",
        );
    }
    if !server.broker.was_up() {
        return error(
            StatusCode::SERVICE_UNAVAILABLE,
            "broker",
            "no probe has returned from Redis yet",
        );
    }
    (StatusCode::OK, "ok\n").into_response()
}

async fn metrics(State(server): State<Arc<Server>>) -> Response {
    server.refresh_gauges();
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], server.metrics.page()).into_response()
}

async fn stats(State(server): State<Arc<Server>>) -> Json<Stats> {
    Json(Stats::of(&server))
}

async fn cordon(State(server): State<Arc<Server>>) -> Json<Stats> {
    server.set_cordoned(true);
    Json(Stats::of(&server))
}

async fn uncordon(State(server): State<Arc<Server>>) -> Json<Stats> {
    server.set_cordoned(false);
    Json(Stats::of(&server))
}

async fn shed(State(server): State<Arc<Server>>, body: Result<Bytes, BytesRejection>) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(e) => return error(e.status(), "bad_request", format!("body: {}", e.body_text())),
    };
    let body: ShedBody = match serde_json::from_slice(&body) {
        Ok(body) => body,
        Err(e) => return error(StatusCode::BAD_REQUEST, "bad_request", format!("body: {e}")),
    };
    if !body.per_second.is_finite() || body.per_second <= 0.0 {
        return error(
            StatusCode::BAD_REQUEST,
            "bad_request",
            "per_second must be above 0 and finite",
        );
    }
    if body.boot_id != server.boot_id() {
        let message = format!("this process has boot_id {}", server.boot_id());
        return error(StatusCode::CONFLICT, "boot_id", message);
    }
    server.request_shed(ShedRequest {
        total: body.total,
        per_second: body.per_second,
        via: body.via,
    });
    Json(Stats::of(&server)).into_response()
}

impl Stats {
    fn of(server: &Server) -> Self {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let refused = server.refused();
        let (shed_total, shed_target) = {
            let shedding = server.shedding();
            (shedding.done(), shedding.target())
        };
        Self {
            boot_id: server.boot_id(),
            pod: server.config.pod.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_ms: u64::try_from(server.uptime().as_millis()).unwrap_or(u64::MAX),
            connections: server.capacity.taken(),
            capacity: server.capacity.max(),
            cordoned: server.is_cordoned(),
            terminating: server.is_terminating(),
            accepted_total: server.metrics.accepted.get(),
            closed_total: server.closed(),
            refused: RefusedStats {
                full: count(&refused.full),
                draining: count(&refused.draining),
                wrong_pod: count(&refused.wrong_pod),
                origin: count(&refused.origin),
                bad_request: count(&refused.bad_request),
            },
            shed_total,
            shed_target,
            via: server.clients.vias(),
            broker: BrokerStats {
                kind: server.broker.kind().to_owned(),
                up: server.broker.is_up(),
            },
        }
    }
}
