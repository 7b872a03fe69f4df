//! Values for unit tests.

use std::convert::Infallible;
use std::sync::Arc;

use futures::future::BoxFuture;
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use wsc_api::v1alpha1::WebSocketCluster;
use wsc_core::validate::Images;

use crate::api::ApiServer;
use crate::context::Context;
use crate::control::ControlClient;
use crate::report::events::Events;
use crate::report::metrics::Metrics;
use crate::sample::Sampler;
use crate::sample::http::PodClient;
use crate::watch::Caches;

/// The six-line resource, as the API server would hand it out.
pub(crate) fn resource(name: &str) -> WebSocketCluster {
    let json = json!({
        "apiVersion": "websocket-operator.io/v1alpha1",
        "kind": "WebSocketCluster",
        "metadata": {"name": name, "namespace": "ns", "uid": "uid-1", "resourceVersion": "1", "generation": 1},
        "spec": {"scaling": {"minReplicas": 2, "maxReplicas": 20}},
    });
    serde_json::from_value(json).unwrap()
}

pub(crate) fn images() -> Images {
    let image = |name: &str| format!("registry.example.org/{name}:1");
    Images {
        server: image("server"),
        proxy: image("proxy"),
        redis: image("redis"),
        operator_namespace: "operators".to_owned(),
    }
}

/// A request to the API server.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) uri: String,
    pub(crate) body: Value,
}

/// The answer: a status code and an object.
pub(crate) type Answer = BoxFuture<'static, (u16, Value)>;

/// A client whose API server is a function.
pub(crate) fn client(answer: impl Fn(Call) -> Answer + Send + Sync + 'static) -> Client {
    let answer = Arc::new(answer);
    let service = tower::service_fn(move |request: Request<Body>| {
        let answer = answer.clone();
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let call = Call {
                method: parts.method,
                uri: parts.uri.to_string(),
                body: serde_json::from_slice(&body).unwrap_or_default(),
            };
            let (status, object) = answer(call).await;
            let response = Response::builder().status(status);
            Ok::<_, Infallible>(
                response
                    .body(Body::from(object.to_string().into_bytes()))
                    .unwrap(),
            )
        }
    });
    Client::new(service, "ns")
}

/// The response to a rejected request.
pub(crate) fn refusal(code: u16, reason: &str, message: &str) -> (u16, Value) {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message,
    });
    (code, status)
}

/// A context with this API server and empty caches.
pub(crate) fn context(client: &Client) -> Context {
    let metrics: Arc<Metrics> = Arc::default();
    let pods = PodClient::default();
    Context {
        api: ApiServer::new(client.clone(), metrics.clone(), Arc::default()),
        caches: Arc::new(Caches::new(&[], Arc::default())),
        images: images(),
        events: Events::new(client.clone(), "operator-0".to_owned()).0,
        sampler: Sampler::new(pods.clone(), metrics.clone()),
        control: ControlClient::new(pods),
        metrics,
    }
}
