//! Calls to the API server as its administrator.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use http::Method;
use kube::Client;
use serde_json::Value;

/// A busy API server on two cores takes seconds at times.
const DEADLINE: Duration = Duration::from_mins(1);

/// One request; the body of the response is dropped.
pub(crate) async fn send(client: &Client, method: Method, path: &str, body: &Value) -> Result<()> {
    let content = if method == Method::PATCH {
        "application/merge-patch+json"
    } else {
        "application/json"
    };
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header(http::header::CONTENT_TYPE, content)
        .body(body.to_string().into_bytes())?;
    match tokio::time::timeout(DEADLINE, client.request_text(request)).await {
        Ok(response) => response.map(drop).with_context(|| path.to_owned()),
        Err(_) => bail!("{path}: no response within {DEADLINE:?}"),
    }
}
