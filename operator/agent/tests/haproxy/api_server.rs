//! As much of an API server as the agent uses: one `ConfigMap` to list and to watch.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::stream;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use wsc_haproxy::RenderedConfig;
use wsc_testing::ports::Port;

/// The object and its version; none at first.
type Map = Option<(u64, Value)>;

/// An API server with a fixed port, that runs or does not.
pub(crate) struct ApiServer {
    port: Port,
    map: Arc<watch::Sender<Map>>,
    task: Option<JoinHandle<()>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Parameters {
    field_selector: Option<String>,
    resource_version: Option<String>,
    watch: Option<bool>,
}

impl ApiServer {
    /// It does not run yet.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            port: Port::choose()?,
            map: Arc::new(watch::Sender::new(None)),
            task: None,
        })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port.number()
    }

    pub(crate) async fn start(&mut self) -> Result<()> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port()))
            .await
            .context("API server")?;
        let router = Router::new()
            .route("/api/v1/namespaces/default/configmaps", get(answer))
            .with_state(Arc::clone(&self.map));
        self.task = Some(tokio::spawn(async move {
            // Ends with this task.
            let _ = axum::serve(listener, router).await;
        }));
        Ok(())
    }

    /// Publishes this as the `ConfigMap` `chat-haproxy`, or as nothing.
    pub(crate) fn publish(&self, rendered: Option<&RenderedConfig>) {
        self.map.send_modify(|map| {
            let version = map.as_ref().map_or(1, |(version, _)| version + 1);
            let data = rendered.map(|rendered| {
                json!({
                    "haproxy.cfg": rendered.text, "backends.json": rendered.backend_set.to_json(),
                    "settings.json": rendered.settings.to_json(),
                })
            });
            let object = data.map_or(Value::Null, |data| {
                json!({
                    "apiVersion": "v1",
                    "kind": "ConfigMap",
                    "metadata": {"name": "chat-haproxy", "namespace": "default", "uid": "1", "resourceVersion": version.to_string()},
                    "data": data,
                })
            });
            *map = Some((version, object));
        });
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// A kubeconfig for the API server at this port.
pub(crate) fn kubeconfig(folder: &std::path::Path, port: u16) -> Result<PathBuf> {
    let path = folder.join(format!("kubeconfig-{port}"));
    let text = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [{"name": "test", "cluster": {"server": format!("http://127.0.0.1:{port}")}}],
        "users": [{"name": "test", "user": {}}],
    });
    std::fs::write(&path, text.to_string())?;
    Ok(path)
}

async fn answer(State(map): State<Arc<watch::Sender<Map>>>, Query(asked): Query<Parameters>) -> Response {
    // The role of an agent allows no more than this one object.
    if asked.field_selector.as_deref() != Some("metadata.name=chat-haproxy") {
        return axum::http::StatusCode::FORBIDDEN.into_response();
    }
    if asked.watch != Some(true) {
        let now = map.borrow().clone();
        let (version, object) = now.unwrap_or((0, Value::Null));
        let items: Vec<Value> = [object].into_iter().filter(|object| !object.is_null()).collect();
        let metadata = json!({"resourceVersion": version.to_string()});
        let list = json!({"apiVersion": "v1", "kind": "ConfigMapList", "metadata": metadata, "items": items});
        return axum::Json(list).into_response();
    }
    let seen = asked
        .resource_version
        .and_then(|version| version.parse().ok())
        .unwrap_or(0);
    let events = stream::unfold((map.subscribe(), seen), |(mut changes, seen)| async move {
        let is_newer = |map: &Map| map.as_ref().is_some_and(|(version, _)| *version > seen);
        let (version, object) = changes.wait_for(is_newer).await.ok()?.clone()?;
        let event = if object.is_null() {
            let metadata = json!({"name": "chat-haproxy", "namespace": "default", "resourceVersion": version.to_string()});
            let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata});
            json!({"type": "DELETED", "object": object})
        } else {
            json!({"type": "MODIFIED", "object": object})
        };
        Some((Ok::<_, std::io::Error>(format!("{event}\n")), (changes, version)))
    });
    Body::from_stream(events).into_response()
}
