//! The admin port: status for the operator, probes for the kubelet, metrics for Prometheus.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router};
use wsc_contract::agent::AgentStatus;
use wsc_contract::paths;
use wsc_runtime::admin::{metrics_response, probe_response};

use crate::metrics::Metrics;
use crate::status::SharedStatus;

#[derive(Debug, Clone)]
pub(crate) struct Admin {
    pub(crate) status: Arc<SharedStatus>,
    pub(crate) metrics: Arc<Metrics>,
}

pub(crate) fn router(admin: Admin) -> Router {
    Router::new()
        .route(paths::STATUS, get(status))
        .route(paths::READYZ, get(readyz))
        .route(paths::LIVEZ, get(livez))
        .route(paths::METRICS, get(metrics))
        .with_state(admin)
}

async fn status(State(admin): State<Admin>) -> Json<AgentStatus> {
    Json(admin.status.get())
}

async fn readyz(State(admin): State<Admin>) -> Response {
    probe_response(admin.status.readiness())
}

async fn livez(State(admin): State<Admin>) -> Response {
    probe_response(admin.status.liveness())
}

async fn metrics(State(admin): State<Admin>) -> Response {
    admin.metrics.update(&admin.status.get());
    metrics_response(admin.metrics.registry())
}
