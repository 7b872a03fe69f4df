//! Reports of a reconcile: one log line per decision, events, metrics.

pub(crate) mod events;
pub(crate) mod metrics;
mod outcome;

use std::sync::Arc;
use std::time::Duration;

use wsc_api::v1alpha1::WebSocketCluster;
use wsc_core::plan::{Event, EventKind, Plan};

use crate::apply::Applied;
use crate::context::Context;
use crate::error::Error;
use crate::identity::ClusterKey;

pub(crate) use outcome::Outcome;

/// Reports what a reconcile did.
pub(crate) fn report(
    context: &Context,
    key: &ClusterKey,
    resource: &Arc<WebSocketCluster>,
    plan: &Plan,
    applied: &Applied,
) {
    for decision in &plan.decisions {
        tracing::info!(decision, "decision");
    }
    context.metrics.cluster(key, plan, applied.granted);
    for error in &applied.errors {
        log_error(context, error);
    }
    for event in &plan.events {
        context.events.enqueue(resource, event.clone());
    }
    // A conflict is retried with fresh data at once; an event is for what needs manual action.
    let failed = applied
        .errors
        .iter()
        .find(|error| !error.is_conflict() && matches!(error.category(), "forbidden" | "invalid"));
    if let Some(error) = failed {
        context.events.enqueue(resource, failure(error));
    }
}

/// One line for an error of a reconcile.
pub(crate) fn log_error(context: &Context, error: &Error) {
    context.metrics.error(error.category());
    if error.is_conflict() {
        tracing::debug!(error = %error, "write conflict; retrying");
    } else {
        tracing::warn!(error = %error, category = error.category(), "reconcile step failed");
    }
}

/// Counts a reconcile.
pub(crate) fn finished(context: &Context, outcome: Outcome, took: Duration) {
    context.metrics.reconciled(outcome.as_str(), took);
}

fn failure(error: &Error) -> Event {
    Event {
        kind: EventKind::Warning,
        reason: "ApplyFailed".to_owned(),
        action: "Apply".to_owned(),
        note: error.to_string(),
    }
}
