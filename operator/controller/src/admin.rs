//! The admin port: probes of the kubelet, and metrics.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use wsc_contract::paths;
use wsc_runtime::admin::{metrics_response, probe_response};

use crate::context::Context;

/// `/livez`, `/readyz` and `/metrics`.
pub(crate) fn router(context: Arc<Context>) -> Router {
    Router::new()
        .route(paths::LIVEZ, get(livez))
        .route(paths::READYZ, get(readyz))
        .route(paths::METRICS, get(metrics))
        .with_state(context)
}

/// Fails when a watch has been silent beyond repair by this process; never because one call fails.
async fn livez(State(context): State<Arc<Context>>) -> Response {
    let dead = context.caches.liveness().dead(Instant::now());
    probe_response(dead.map_or(Ok(()), |(watch, silence)| {
        Err(format!(
            "watch {watch} has received nothing for {} s",
            silence.as_secs()
        ))
    }))
}

/// Succeeds once every kind was listed in a namespace: from then on its resources are reconciled.
/// Another namespace without a Role does not stop that.
async fn readyz(State(context): State<Arc<Context>>) -> Response {
    let scopes = context.caches.scopes();
    let waiting = scopes.iter().map(|scope| (scope.name(), scope.missing()));
    let waiting: Vec<_> = waiting.filter(|(_, kinds)| !kinds.is_empty()).collect();
    let texts = waiting
        .iter()
        .map(|(namespace, kinds)| format!("{}: not listed in {namespace}", kinds.join(", ")));
    let is_ready = waiting.len() < scopes.len();
    probe_response(
        is_ready
            .then_some(())
            .ok_or_else(|| texts.collect::<Vec<_>>().join("; ")),
    )
}

async fn metrics(State(context): State<Arc<Context>>) -> Response {
    for (path, age) in context.caches.liveness().ages(Instant::now()) {
        context.metrics.watch_age(path, age);
    }
    for scope in context.caches.scopes() {
        let is_synced = scope.missing().is_empty();
        context.metrics.synced(scope.name(), is_synced);
    }
    metrics_response(context.metrics.registry())
}
