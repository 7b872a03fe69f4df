//! The admin port: what the operator, the kubelet and Prometheus ask.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use anyhow::Context;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use tokio::net::TcpListener;

use crate::metrics::Metrics;
use crate::status::Shared;

/// What the handlers see.
#[derive(Debug, Clone)]
pub struct Admin {
    pub shared: Arc<Shared>,
    pub metrics: Arc<Metrics>,
}

/// Binds the port on IPv6 and IPv4, or on IPv4 alone where there is no IPv6.
pub async fn bind(port: u16) -> anyhow::Result<TcpListener> {
    let listener = match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        Err(error) if error.kind() != std::io::ErrorKind::AddrInUse => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await
        }
        other => other,
    };
    listener.with_context(|| format!("admin port {port}"))
}

/// `/status`, `/readyz`, `/livez` and `/metrics`.
pub fn router(admin: Admin) -> Router {
    Router::new()
        .route("/status", get(status))
        .route("/readyz", get(readyz))
        .route("/livez", get(livez))
        .route("/metrics", get(metrics))
        .with_state(admin)
}

async fn status(State(admin): State<Admin>) -> impl IntoResponse {
    Json(admin.shared.status())
}

async fn readyz(State(admin): State<Admin>) -> impl IntoResponse {
    answer(admin.shared.is_ready())
}

async fn livez(State(admin): State<Admin>) -> impl IntoResponse {
    answer(admin.shared.is_alive())
}

fn answer(good: bool) -> impl IntoResponse {
    if good {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not now; /status says more\n")
    }
}

async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    match admin.metrics.text(&admin.shared.status()) {
        Ok(text) => (
            [(
                header::CONTENT_TYPE,
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
            )],
            text,
        )
            .into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
