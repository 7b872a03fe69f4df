//! Whether watches make progress. `watcher` swallows bookmarks, so an idle watch and a stalled one
//! look alike above it: this layer below the client stamps every byte.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body as HttpBody, Bytes};
use kube::client::Body;
use parking_lot::Mutex;
use tower::{BoxError, Layer, Service};

/// A watch that is silent for this long is broken beyond what the process can repair: several
/// bookmarks are missing, and the API server ends every watch after 290 s anyway.
pub(crate) const SILENCE: Duration = Duration::from_mins(5);

/// When each watch last received something.
#[derive(Debug, Default)]
pub(crate) struct WatchLiveness {
    stamps: Mutex<HashMap<String, Stamp>>,
}

#[derive(Clone, Copy, Debug)]
struct Stamp {
    /// Any end of a request, also by an error of the connection: the watch is tried again, and a
    /// restart would change nothing.
    answered: Instant,
    /// Progress of a list or a watch.
    progressed: Instant,
}

impl WatchLiveness {
    /// Expects a watch at this path from now on.
    pub(crate) fn register(&self, path: &str) {
        let now = Instant::now();
        let stamp = Stamp {
            answered: now,
            progressed: now,
        };
        self.stamps.lock().insert(path.to_owned(), stamp);
    }

    /// The watch that has been silent for longer than [`SILENCE`], if there is one.
    pub(crate) fn dead(&self, now: Instant) -> Option<(String, Duration)> {
        self.stamps
            .lock()
            .iter()
            .map(|(path, stamp)| (path.clone(), now.saturating_duration_since(stamp.answered)))
            .filter(|(_, silence)| *silence > SILENCE)
            .max_by_key(|(_, silence)| *silence)
    }

    /// Time since the last progress of the slowest of these watches.
    pub(crate) fn age(&self, paths: &[String], now: Instant) -> Duration {
        let stamps = self.stamps.lock();
        paths
            .iter()
            .map(|path| {
                stamps.get(path).map_or(Duration::MAX, |stamp| {
                    now.saturating_duration_since(stamp.progressed)
                })
            })
            .max()
            .unwrap_or_default()
    }

    /// Time since the last progress of each watch.
    pub(crate) fn ages(&self, now: Instant) -> Vec<(String, Duration)> {
        self.stamps
            .lock()
            .iter()
            .map(|(path, stamp)| (path.clone(), now.saturating_duration_since(stamp.progressed)))
            .collect()
    }

    fn expects(&self, path: &str) -> bool {
        self.stamps.lock().contains_key(path)
    }

    fn stamp(&self, path: &str, progress: bool) {
        if let Some(stamp) = self.stamps.lock().get_mut(path) {
            stamp.answered = Instant::now();
            if progress {
                stamp.progressed = stamp.answered;
            }
        }
    }
}

/// Puts the stamping below a client.
#[derive(Clone)]
pub(crate) struct LivenessLayer(pub(crate) Arc<WatchLiveness>);

impl<S> Layer<S> for LivenessLayer {
    type Service = Stamping<S>;

    fn layer(&self, inner: S) -> Stamping<S> {
        Stamping {
            inner,
            liveness: self.0.clone(),
        }
    }
}

/// Passes everything on, and stamps lists and watches.
#[derive(Clone)]
pub(crate) struct Stamping<S> {
    inner: S,
    liveness: Arc<WatchLiveness>,
}

impl<S, B> Service<Request<Body>> for Stamping<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<UnsyncBoxBody<Bytes, BoxError>>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let path = request.uri().path();
        let watched = request.method() == Method::GET && self.liveness.expects(path);
        let path = watched.then(|| path.to_owned());
        let liveness = self.liveness.clone();
        let response = self.inner.call(request);
        Box::pin(async move {
            let response = response.await;
            let Some(path) = path else {
                let (parts, body) = response?.into_parts();
                return Ok(Response::from_parts(
                    parts,
                    body.map_err(Into::into).boxed_unsync(),
                ));
            };
            if response.is_err() {
                liveness.stamp(&path, false);
            }
            let (parts, body) = response?.into_parts();
            let body = body.map_err(Into::into);
            let success = parts.status.is_success();
            liveness.stamp(&path, success);
            let body = body.map_frame(move |frame| {
                liveness.stamp(&path, success);
                frame
            });
            Ok(Response::from_parts(parts, body.boxed_unsync()))
        })
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;
    use tower::ServiceExt;

    use super::*;

    const PODS: &str = "/api/v1/pods";

    async fn get(liveness: &Arc<WatchLiveness>, path: &str, status: u16) {
        let inner = tower::service_fn(move |_: Request<Body>| async move {
            let response = Response::builder().status(status);
            Ok::<_, BoxError>(response.body(Full::new(Bytes::from_static(b"{}"))).unwrap())
        });
        let request = Request::get(format!("{path}?watch=true")).body(Body::empty());
        let service = LivenessLayer(liveness.clone()).layer(inner);
        let response = service.oneshot(request.unwrap()).await.unwrap();
        response.into_body().collect().await.unwrap();
    }

    fn aged() -> (Arc<WatchLiveness>, Instant) {
        let liveness = Arc::new(WatchLiveness::default());
        liveness.register(PODS);
        // As if it had been registered that long ago: time is only ever compared.
        (liveness, Instant::now() + SILENCE)
    }

    #[tokio::test]
    async fn watch_byte_keeps_it_alive_and_fresh() {
        let (liveness, _) = aged();
        let before = Instant::now();
        get(&liveness, PODS, 200).await;
        let stamp = *liveness.stamps.lock().get(PODS).unwrap();
        assert!(stamp.answered >= before && stamp.progressed >= before);
    }

    #[tokio::test]
    async fn refusal_keeps_alive_but_not_fresh() {
        let (liveness, _) = aged();
        let before = Instant::now();
        get(&liveness, PODS, 403).await;
        let stamp = *liveness.stamps.lock().get(PODS).unwrap();
        assert!(stamp.answered >= before && stamp.progressed < before);
    }

    /// In a long outage of the API server: a restart would lose the windows and counters in memory,
    /// and cure nothing.
    #[tokio::test]
    async fn refused_connection_keeps_alive_but_not_fresh() {
        let (liveness, _) = aged();
        let before = Instant::now();
        let inner = tower::service_fn(|_: Request<Body>| async {
            Err::<Response<Full<Bytes>>, BoxError>("connection refused".into())
        });
        let request = Request::get(format!("{PODS}?watch=true")).body(Body::empty());
        let service = LivenessLayer(liveness.clone()).layer(inner);
        assert!(service.oneshot(request.unwrap()).await.is_err());
        let stamp = *liveness.stamps.lock().get(PODS).unwrap();
        assert!(stamp.answered >= before && stamp.progressed < before);
    }

    #[tokio::test]
    async fn calls_to_other_paths_stamp_nothing() {
        let (liveness, _) = aged();
        let before = Instant::now();
        get(&liveness, "/api/v1/namespaces/ns/pods/chat-1", 200).await;
        let stamp = *liveness.stamps.lock().get(PODS).unwrap();
        assert!(stamp.answered < before);
    }

    #[test]
    fn process_is_dead_after_five_silent_minutes() {
        let (liveness, limit) = aged();
        let stamp = liveness.stamps.lock().get(PODS).copied().unwrap();
        let limit = limit.min(stamp.answered + SILENCE);
        assert_eq!(liveness.dead(limit), None);
        let (path, _) = liveness.dead(limit + Duration::from_millis(1)).unwrap();
        assert_eq!(path, PODS);
    }

    #[test]
    fn slowest_watch_counts_and_unknown_is_stale() {
        let (liveness, _) = aged();
        let now = Instant::now();
        assert!(liveness.age(&[PODS.to_owned()], now) < Duration::from_mins(1));
        let both = [PODS.to_owned(), "/api/v1/nodes".to_owned()];
        assert_eq!(liveness.age(&both, now), Duration::MAX);
    }
}
