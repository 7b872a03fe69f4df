//! The admin port: what the kubelet and Prometheus ask.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::context::Context;

/// Binds the address; where `[::]` is asked for and there is no IPv6, all of IPv4.
pub(crate) async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = match TcpListener::bind(address).await {
        Err(error)
            if address.is_ipv6()
                && address.ip().is_unspecified()
                && error.kind() != std::io::ErrorKind::AddrInUse =>
        {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        other => other,
    };
    listener.with_context(|| format!("--admin-address {address}"))
}

/// `/livez`, `/readyz` and `/metrics`.
pub(crate) fn router(context: Arc<Context>) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(context)
}

/// Fails when a watch has been silent for so long that only a new process helps; never because one call fails.
async fn livez(State(context): State<Arc<Context>>) -> Response {
    match context.world.liveness().dead(Instant::now()) {
        None => (StatusCode::OK, "ok\n").into_response(),
        Some((watch, silence)) => {
            let problem = format!("watch {watch} has received nothing for {} s\n", silence.as_secs());
            (StatusCode::SERVICE_UNAVAILABLE, problem).into_response()
        }
    }
}

/// True once every kind was listed: from then on clusters are looked after.
async fn readyz(State(context): State<Arc<Context>>) -> Response {
    if context.world.synced() {
        (StatusCode::OK, "ok\n").into_response()
    } else {
        let problem = "initial lists are not complete; see the log\n";
        (StatusCode::SERVICE_UNAVAILABLE, problem).into_response()
    }
}

async fn metrics(State(context): State<Arc<Context>>) -> Response {
    for (path, age) in context.world.liveness().ages(Instant::now()) {
        context.metrics.watch_age(path, age);
    }
    match context.metrics.text() {
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
