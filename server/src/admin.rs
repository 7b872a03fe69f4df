//! The control port, for the kubelet, Prometheus and the operator.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use bytes::Bytes;
use wsc_contract::control::{Broker, ErrorBody, Refused, Shed, ShedError, Stats};
use wsc_contract::paths;

use crate::lifecycle::shed::{Notice, ShedRequest};
use crate::listener::error;
use crate::server::Server;

/// A request here is a few numbers.
const BODY_BYTES: usize = 4 << 10;

/// The router of the control port.
pub(crate) fn router(server: Arc<Server>) -> Router {
    Router::new()
        .route(paths::LIVEZ, get(livez))
        .route(paths::READYZ, get(readyz))
        .route(paths::METRICS, get(metrics))
        .route(paths::STATS, get(stats))
        .route(paths::CORDON, put(cordon).delete(uncordon))
        .route(paths::SHED, put(shed))
        .fallback(async || {
            let (code, message) = ErrorBody::NOT_FOUND;
            error(StatusCode::NOT_FOUND, code, message)
        })
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

/// Independent of Redis: its restart must not restart every pod.
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
    if server.admission.is_terminating() {
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
    wsc_runtime::admin::metrics_response(server.metrics.registry())
}

async fn stats(State(server): State<Arc<Server>>) -> Json<Stats> {
    Json(document(&server))
}

async fn cordon(State(server): State<Arc<Server>>) -> Json<Stats> {
    server.admission.set_cordoned(true);
    Json(document(&server))
}

async fn uncordon(State(server): State<Arc<Server>>) -> Json<Stats> {
    server.admission.set_cordoned(false);
    Json(document(&server))
}

async fn shed(State(server): State<Arc<Server>>, body: Result<Bytes, BytesRejection>) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(e) => return error(e.status(), "bad_request", format!("body: {}", e.body_text())),
    };
    let request: Shed = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(e) => return error(StatusCode::BAD_REQUEST, "bad_request", format!("body: {e}")),
    };
    let notice = match checked(&request) {
        Ok(notice) => notice,
        Err(e) => return error(StatusCode::BAD_REQUEST, "bad_request", e.to_string()),
    };
    if request.boot_id != server.boot_id() {
        let message = format!("this process has boot_id {}", server.boot_id());
        return error(StatusCode::CONFLICT, "boot_id", message);
    }
    server.drain.request_shed(ShedRequest {
        total: request.total,
        per_second: request.per_second,
        via: request.via,
        notice,
    });
    Json(document(&server)).into_response()
}

fn checked(request: &Shed) -> Result<Option<Notice>, ShedError> {
    request.check()?;
    let notice = request.notice.map(|notice| {
        Ok(Notice {
            close_code: notice.close_code.try_into()?,
            jitter: Duration::from_secs(notice.jitter_seconds.into()),
        })
    });
    notice.transpose()
}

fn document(server: &Server) -> Stats {
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let refused = &server.admission.refused;
    let (shed_total, shed_target) = {
        let shedding = server.drain.shedding();
        (shedding.done(), shedding.target())
    };
    Stats {
        boot_id: server.boot_id(),
        pod: server.config.pod.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_ms: u64::try_from(server.uptime().as_millis()).unwrap_or(u64::MAX),
        connections: server.admission.capacity.taken(),
        capacity: server.admission.capacity.max(),
        cordoned: server.admission.is_cordoned(),
        terminating: server.admission.is_terminating(),
        rejects: server.admission.rejects(),
        accepted_total: server.metrics.accepted.get(),
        closed_total: server.drain.closed(),
        refused: Refused {
            full: count(&refused.full),
            draining: count(&refused.draining),
            wrong_pod: count(&refused.wrong_pod),
            origin: count(&refused.origin),
            bad_request: count(&refused.bad_request),
        },
        shed_total,
        shed_target,
        via: server.drain.clients.vias(),
        broker: Broker {
            kind: server.broker.kind().to_owned(),
            up: server.broker.is_up(),
        },
    }
}
