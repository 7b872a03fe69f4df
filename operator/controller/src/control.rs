//! Calls to the control port of server pods: cordon, uncordon, shed.

use std::net::SocketAddr;

use futures::StreamExt;
use futures::stream;
use hyper::Method;
use hyper::body::Bytes;
use k8s_openapi::jiff::Timestamp;
use wsc_contract::control::Shed;
use wsc_contract::{paths, ports};
use wsc_core::observed::Sample;
use wsc_core::plan::{ControlCall, ControlVerb};

use crate::context::{Context, POD_CALLS};
use crate::error::{Error, PodError};
use crate::sample::{http, parse};

/// Does the calls, many at a time, and returns each with the pod's answer. All are idempotent, so nothing is tried again here.
pub(crate) async fn call_all(
    context: &Context,
    calls: Vec<ControlCall>,
) -> Vec<(ControlCall, Result<Sample, Error>)> {
    let calls: Vec<_> = calls.into_iter().map(|call| call_one(context, call)).collect();
    stream::iter(calls).buffer_unordered(POD_CALLS).collect().await
}

async fn call_one(context: &Context, call: ControlCall) -> (ControlCall, Result<Sample, Error>) {
    // The semaphore is never closed.
    let _slot = context.pod_calls.acquire().await;
    let result = send(&call, ports::CONTROL.number).await;
    (call, result)
}

async fn send(call: &ControlCall, port: u16) -> Result<Sample, Error> {
    let answer = exchange(call, port).await;
    answer.map_err(|source| Error::Pod {
        what: format!("{} of pod {}", verb(&call.verb), call.pod),
        source,
    })
}

async fn exchange(call: &ControlCall, port: u16) -> Result<Sample, PodError> {
    let (method, path, body) = request(&call.verb);
    let address = SocketAddr::new(call.address, port);
    let answer = http::send(address, method, path, body, http::STATS_BYTES).await?;
    Ok(parse::stats(&answer, &call.pod, &call.pod_uid, Timestamp::now())?)
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
    async fn each_call_is_the_request_of_the_contract() {
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

        assert!(send(&call(ControlVerb::Cordon), port).await.unwrap().cordoned);
        send(&call(ControlVerb::Uncordon), port).await.unwrap();
        assert_eq!(send(&call(shed("b")), port).await.unwrap().shed_target, 5);
        assert!(
            send(&call(shed("gone")), port).await.is_err(),
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
