//! Calls to the control port of server pods: cordon, uncordon, shed.

use std::net::SocketAddr;

use futures::StreamExt;
use futures::stream;
use hyper::Method;
use hyper::body::Bytes;
use tokio::sync::Semaphore;
use wsc_contract::control::Shed;
use wsc_contract::{paths, ports};
use wsc_core::observed::Sample;
use wsc_core::plan::{ControlCall, ControlVerb};

use crate::clock;
use crate::error::{Error, PodError};
use crate::sample::http::{self, PodClient, PodRequest};
use crate::sample::parse;

/// Control calls that are under way at the same time. Samples have slots of their own, so that
/// silent pods delay no drain.
const SLOTS: usize = 64;
/// Of one cluster.
const SLOTS_PER_CLUSTER: usize = 8;

/// Sends control calls.
#[derive(Debug)]
pub(crate) struct ControlClient {
    client: PodClient,
    slots: Semaphore,
}

impl ControlClient {
    pub(crate) fn new(client: PodClient) -> Self {
        Self {
            client,
            slots: Semaphore::new(SLOTS),
        }
    }

    /// Sends the calls, several at a time, and returns each with the pod's answer. All are
    /// idempotent, so nothing is retried here.
    pub(crate) async fn call_all(
        &self,
        calls: Vec<ControlCall>,
    ) -> Vec<(ControlCall, Result<Sample, Error>)> {
        let calls: Vec<_> = calls.into_iter().map(|call| self.call_one(call)).collect();
        stream::iter(calls)
            .buffer_unordered(SLOTS_PER_CLUSTER)
            .collect()
            .await
    }

    async fn call_one(&self, call: ControlCall) -> (ControlCall, Result<Sample, Error>) {
        // The semaphore is never closed.
        let _slot = self.slots.acquire().await;
        let result = send(&self.client, &call, ports::CONTROL.number).await;
        (call, result)
    }
}

async fn send(client: &PodClient, call: &ControlCall, port: u16) -> Result<Sample, Error> {
    let answer = exchange(client, call, port).await;
    answer.map_err(|source| Error::Pod {
        what: format!("{} of pod {}", verb(&call.verb), call.pod),
        source,
    })
}

async fn exchange(client: &PodClient, call: &ControlCall, port: u16) -> Result<Sample, PodError> {
    let (method, path, body) = request(&call.verb);
    let request = PodRequest {
        method,
        body,
        ..PodRequest::get(SocketAddr::new(call.address, port), path, http::STATS_BYTES)
    };
    let answer = client.send(request).await?;
    Ok(parse::stats(&answer, &call.pod, &call.pod_uid, clock::now())?)
}

/// One word for logs and metrics.
pub(crate) fn verb(verb: &ControlVerb) -> &'static str {
    match verb {
        ControlVerb::Cordon => "cordon",
        ControlVerb::Uncordon => "uncordon",
        ControlVerb::Shed { .. } => "shed",
    }
}

fn request(verb: &ControlVerb) -> (Method, &'static str, Bytes) {
    match verb {
        ControlVerb::Cordon => (Method::PUT, paths::CORDON, Bytes::new()),
        ControlVerb::Uncordon => (Method::DELETE, paths::CORDON, Bytes::new()),
        ControlVerb::Shed {
            boot_id,
            total,
            per_second,
            notice,
        } => {
            let shed = Shed {
                boot_id: boot_id.clone(),
                total: u64::try_from(*total).unwrap_or(0),
                per_second: *per_second,
                via: None,
                notice: Some(*notice),
            };
            // A string and numbers always serialize.
            let body = serde_json::to_vec(&shed).unwrap_or_default();
            (Method::PUT, paths::SHED, Bytes::from(body))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::Router;
    use axum::http::StatusCode;
    use parking_lot::Mutex;
    use tokio::net::TcpListener;
    use wsc_contract::control::Notice;

    use super::*;

    const STATS: &str = r#"{"boot_id":"b","pod":"chat-1","connections":2,"capacity":9,"cordoned":true,"refused":{"full":0},
        "shed_total":0,"shed_target":5,"broker":{"up":true}}"#;

    fn call(verb: ControlVerb) -> ControlCall {
        ControlCall {
            pod: "chat-1".to_owned(),
            pod_uid: "u".to_owned(),
            address: [127, 0, 0, 1].into(),
            verb,
        }
    }

    #[tokio::test]
    async fn each_call_sends_the_contract_request() {
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = seen.clone();
        let app = Router::new().fallback(move |method: Method, uri: hyper::Uri, body: String| {
            log.lock().push(format!("{method} {uri} {body}"));
            async move {
                if body.contains("\"gone\"") {
                    (StatusCode::CONFLICT, "{}")
                } else {
                    (StatusCode::OK, STATS)
                }
            }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move { axum::serve(listener, app).await });
        let shed = |boot_id: &str| ControlVerb::Shed {
            boot_id: boot_id.to_owned(),
            total: 5,
            per_second: 2.5,
            notice: Notice {
                close_code: 1012,
                jitter_seconds: 30,
            },
        };

        let client = PodClient::default();
        assert!(
            send(&client, &call(ControlVerb::Cordon), port)
                .await
                .unwrap()
                .cordoned
        );
        send(&client, &call(ControlVerb::Uncordon), port).await.unwrap();
        assert_eq!(
            send(&client, &call(shed("b")), port).await.unwrap().shed_target,
            5
        );
        assert!(
            send(&client, &call(shed("gone")), port).await.is_err(),
            "another process lives there now"
        );
        assert_eq!(
            *seen.lock(),
            [
                "PUT /cordon ",
                "DELETE /cordon ",
                r#"PUT /shed {"boot_id":"b","total":5,"per_second":2.5,"via":null,"notice":{"close_code":1012,"jitter_seconds":30}}"#,
                r#"PUT /shed {"boot_id":"gone","total":5,"per_second":2.5,"via":null,"notice":{"close_code":1012,"jitter_seconds":30}}"#,
            ]
        );
    }
}
