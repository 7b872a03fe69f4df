//! Calls to the API server: each is admitted by the limiter and has a deadline, each write is
//! counted.

pub(crate) mod latency;
pub(crate) mod layer;
pub(crate) mod limit;
pub(crate) mod skew;

use std::sync::Arc;
use std::time::Duration;

use kube::api::{ApiResource, DynamicObject};
use kube::{Api, Client};
use wsc_api::v1alpha1::WebSocketCluster;

use crate::error::Error;
use crate::identity::Namespace;
use crate::report::metrics::Metrics;
use limit::Limiter;

/// A healthy API server answers in milliseconds. The client itself has no deadline.
pub(crate) const CALL_DEADLINE: Duration = Duration::from_secs(10);

/// A namespaced kind that is known at compile time.
pub(crate) trait Kind:
    kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
    + Clone
    + std::fmt::Debug
    + serde::Serialize
    + serde::de::DeserializeOwned
    + Send
    + Sync
    + 'static
{
}

impl<K> Kind for K where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::Serialize
        + serde::de::DeserializeOwned
        + Send
        + Sync
        + 'static
{
}

/// The API server.
#[derive(Clone)]
pub(crate) struct ApiServer {
    client: Client,
    metrics: Arc<Metrics>,
    limiter: Arc<Limiter>,
}

impl ApiServer {
    pub(crate) fn new(client: Client, metrics: Arc<Metrics>, limiter: Arc<Limiter>) -> Self {
        Self {
            client,
            metrics,
            limiter,
        }
    }

    pub(crate) fn objects<K: Kind>(&self, namespace: &Namespace) -> Api<K> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Resources as JSON, whatever their schema.
    pub(crate) fn untyped_clusters(&self, namespace: &Namespace) -> Api<DynamicObject> {
        let resource = ApiResource::erase::<WebSocketCluster>(&());
        Api::namespaced_with(self.client.clone(), namespace, &resource)
    }

    /// Waits for a read, but not longer than [`CALL_DEADLINE`] from when the limiter admits it.
    pub(crate) async fn read<T>(
        &self,
        what: &str,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, Error> {
        self.limiter.admit().await;
        bounded(what, call).await
    }

    /// Waits for a write, but not longer than [`CALL_DEADLINE`], and counts it by verb, kind and
    /// result.
    pub(crate) async fn write<T>(
        &self,
        verb: &'static str,
        kind: &str,
        name: &str,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, Error> {
        self.limiter.admit().await;
        let result = bounded(&format!("{verb} {kind} {name}"), call).await;
        let outcome = match &result {
            Ok(_) => "ok",
            Err(error) => error.category(),
        };
        self.metrics.api_write(verb, kind, outcome);
        result
    }
}

async fn bounded<T>(what: &str, call: impl Future<Output = kube::Result<T>>) -> Result<T, Error> {
    match tokio::time::timeout(CALL_DEADLINE, call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(source)) => Err(Error::Api {
            what: what.to_owned(),
            source: Box::new(source),
        }),
        Err(_) => Err(Error::Deadline {
            what: what.to_owned(),
            limit: CALL_DEADLINE,
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::testing;

    #[tokio::test(start_paused = true)]
    async fn admission_wait_is_outside_the_deadline() {
        let limiter: Arc<Limiter> = Arc::default();
        let client = testing::client(|_| Box::pin(async { (200, Value::Null) }));
        let api = ApiServer::new(client, Arc::default(), limiter.clone());
        limiter.pause(Duration::from_secs(30));
        let began = Instant::now();
        let call = async {
            sleep(CALL_DEADLINE.mul_f64(0.9)).await;
            Ok(())
        };
        api.write("create", "Pod", "chat-0", call).await.unwrap();
        assert!(
            began.elapsed() >= Duration::from_secs(39),
            "{:?}",
            began.elapsed()
        );
        let call = async {
            sleep(CALL_DEADLINE + Duration::from_secs(1)).await;
            Ok(())
        };
        let late = api.write("create", "Pod", "chat-0", call).await;
        assert!(matches!(late, Err(Error::Deadline { .. })));
    }
}
