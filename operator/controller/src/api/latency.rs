//! The latency of writes, by which the number of reconciles at once is chosen. It is measured below
//! the client: time that a call waits in the limiter is not part of it.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, Request, StatusCode};
use kube::client::Body;
use tokio::time::Instant;

use super::CALL_DEADLINE;
use super::layer::Observe;
use crate::identity::Namespace;
use crate::slots::{Slots, Speed, WriteCall};

/// A fourth of the deadline: calls still end in time while a lower limit takes effect.
const SLOW: Duration = Duration::from_secs(CALL_DEADLINE.as_secs() / 4);

/// Reports writes in a namespace. Watches and their lists are reads, and reconciles hardly read.
#[derive(Clone)]
pub(crate) struct Latency(pub(crate) Arc<Slots>);

/// A write under way.
pub(crate) struct Timed {
    slots: Arc<Slots>,
    namespace: Namespace,
    began: Instant,
    /// `None`: there is no response yet.
    status: Option<StatusCode>,
}

impl Observe for Latency {
    type Call = Option<Timed>;

    fn begin(&self, request: &Request<Body>) -> Option<Timed> {
        if request.method() == Method::GET {
            return None;
        }
        Some(Timed {
            slots: self.0.clone(),
            namespace: namespace_of(request.uri().path())?,
            began: Instant::now(),
            status: None,
        })
    }

    fn end(&self, call: Option<Timed>, status: StatusCode, _: &HeaderMap) {
        if let Some(mut call) = call {
            call.status = Some(status);
        }
    }
}

/// Also for a call without response: one that exceeds its deadline is dropped.
impl Drop for Timed {
    fn drop(&mut self) {
        let speed = match self.status {
            Some(StatusCode::TOO_MANY_REQUESTS) => Speed::Throttled,
            _ if self.began.elapsed() >= SLOW => Speed::Slow,
            Some(_) => Speed::Fast,
            // A connection that fails at once is no measure of load.
            None => return,
        };
        self.slots.called(&WriteCall {
            namespace: self.namespace.clone(),
            began: self.began,
            speed,
        });
    }
}

/// `/api/v1/namespaces/<namespace>/…` or `/apis/<group>/<version>/namespaces/<namespace>/…`.
fn namespace_of(path: &str) -> Option<Namespace> {
    let mut parts = path.split('/');
    parts.find(|part| *part == "namespaces")?;
    let name = parts.next().filter(|name| !name.is_empty())?;
    Some(name.to_owned().into())
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::join_all;
    use http::Response;
    use tokio::time::{sleep, timeout};
    use tower::{Layer, ServiceExt};

    use super::*;
    use crate::api::layer::ObserveLayer;

    /// An API server that makes a number of writes per second, whatever the number of calls in
    /// flight.
    #[derive(Debug)]
    struct Server {
        per_second: f64,
        in_flight: AtomicUsize,
        /// Calls in these namespaces take this time besides.
        webhook: Duration,
        slow_namespaces: usize,
    }

    /// Results of calls.
    #[derive(Debug, Default)]
    struct Results {
        all: AtomicUsize,
        late: AtomicUsize,
    }

    struct InFlight<'a>(&'a AtomicUsize);

    impl Drop for InFlight<'_> {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }

    impl Server {
        fn new(per_second: f64) -> Self {
            Self {
                per_second,
                in_flight: AtomicUsize::new(0),
                webhook: Duration::ZERO,
                slow_namespaces: 0,
            }
        }

        async fn answer(&self, namespace: usize) {
            let in_flight = self.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
            let _in_flight = InFlight(&self.in_flight);
            let in_flight = f64::from(u32::try_from(in_flight).unwrap());
            sleep(Duration::from_secs_f64(in_flight / self.per_second)).await;
            if namespace < self.slow_namespaces {
                sleep(self.webhook).await;
            }
        }

        /// One call through the layer, with its deadline; false if it was late.
        async fn call(self: &Arc<Self>, slots: &Arc<Slots>, namespace: usize) -> bool {
            let server = self.clone();
            let inner = tower::service_fn(move |_: Request<Body>| {
                let server = server.clone();
                async move {
                    server.answer(namespace).await;
                    Ok::<_, Infallible>(Response::new(()))
                }
            });
            let service = ObserveLayer(Latency(slots.clone())).layer(inner);
            let path = format!("/api/v1/namespaces/ns-{namespace}/services");
            let request = Request::post(path).body(Body::empty()).unwrap();
            timeout(CALL_DEADLINE, service.oneshot(request)).await.is_ok()
        }
    }

    /// Clusters that are created at once, each with a series of calls.
    async fn create(server: Server, slots: Arc<Slots>, clusters: usize) -> (usize, usize) {
        const CALLS: usize = 20;
        const NAMESPACES: usize = 10;
        let (server, results) = (Arc::new(server), Results::default());
        let work = (0..clusters).map(|cluster| {
            let (server, slots, results) = (&server, &slots, &results);
            async move {
                let namespace = cluster % NAMESPACES;
                let _slot = slots.slot(&format!("ns-{namespace}").into()).await;
                for _ in 0..CALLS {
                    let in_time = server.call(slots, namespace).await;
                    results.all.fetch_add(1, Ordering::Relaxed);
                    results.late.fetch_add(usize::from(!in_time), Ordering::Relaxed);
                }
            }
        });
        join_all(work).await;
        (results.late.into_inner(), results.all.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn slow_server_gets_fewer_reconciles() {
        for per_second in [1.0, 2.0] {
            let (late, all) = create(Server::new(per_second), Slots::fixed(64), 200).await;
            assert!(
                late * 2 > all,
                "64 reconciles, {per_second} writes a second: {late} of {all} late"
            );
            let slots = Slots::new(Arc::default());
            let (late, all) = create(Server::new(per_second), slots, 200).await;
            assert!(
                late * 10 < all,
                "{per_second} writes a second: {late} of {all} late"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn fast_server_gets_more_reconciles() {
        let slots = Slots::new(Arc::default());
        let (late, _) = create(Server::new(10_000.0), slots.clone(), 300).await;
        assert_eq!(late, 0);
        assert!(slots.limit() >= 60, "{}", slots.limit());
    }

    /// A reconcile of a few calls, and how long it waited for its slot.
    async fn reconcile(server: &Arc<Server>, slots: &Arc<Slots>, namespace: usize) -> Duration {
        let began = Instant::now();
        let _slot = slots.slot(&format!("ns-{namespace}").into()).await;
        let waited = began.elapsed();
        for _ in 0..4 {
            server.call(slots, namespace).await;
        }
        waited
    }

    #[tokio::test(start_paused = true)]
    async fn slow_webhooks_delay_no_other_namespace() {
        let server = Arc::new(Server {
            webhook: CALL_DEADLINE,
            slow_namespaces: 4,
            ..Server::new(1_000.0)
        });
        let slots = Slots::new(Arc::default());
        // 25 clusters of each slow namespace retry for ever.
        for cluster in 0..100 {
            let (server, slots) = (server.clone(), slots.clone());
            tokio::spawn(async move {
                loop {
                    reconcile(&server, &slots, cluster % 4).await;
                }
            });
        }
        let mut longest = Duration::ZERO;
        for round in 0..120 {
            sleep(Duration::from_secs(2)).await;
            for namespace in 4..10 {
                let waited = reconcile(&server, &slots, namespace).await;
                // Until its first call has ended, a namespace is not known as slow.
                if round > 30 {
                    longest = longest.max(waited);
                }
            }
        }
        assert!(longest < Duration::from_secs(1), "waits of {longest:?}");
        assert!(slots.limit() >= 16, "{}", slots.limit());
    }

    #[test]
    fn namespace_is_read_from_the_path() {
        for (path, namespace) in [
            ("/api/v1/namespaces/ns/pods", Some("ns")),
            ("/apis/apps/v1/namespaces/ns/deployments/chat-proxy", Some("ns")),
            ("/api/v1/namespaces/", None),
            ("/api/v1/nodes", None),
        ] {
            assert_eq!(namespace_of(path).as_deref(), namespace, "{path}");
        }
    }
}
