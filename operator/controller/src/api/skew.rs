//! The difference between the clocks of the API server and of the operator, by the header `Date` of
//! responses. Deadlines of drains are written by one clock and read by another when the operator
//! moves to another node.

use std::sync::Arc;

use http::header::DATE;
use http::{HeaderMap, Request, StatusCode};
use k8s_openapi::jiff::fmt::rfc2822::DateTimeParser;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::client::Body;
use parking_lot::Mutex;

use super::layer::Observe;
use crate::clock::NOTABLE;
use crate::report::metrics::Metrics;

/// Resolution of the header.
const SECOND: SignedDuration = SignedDuration::from_secs(1);

/// Compares the clocks at every response.
#[derive(Clone, Debug)]
pub(crate) struct ClockSkew {
    metrics: Arc<Metrics>,
    is_logged: Arc<Mutex<bool>>,
}

impl ClockSkew {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            is_logged: Arc::default(),
        }
    }

    fn note(&self, skew: SignedDuration) {
        let seconds = skew.as_secs();
        self.metrics.clock_skew(seconds);
        let is_notable = skew.unsigned_abs() > NOTABLE;
        let was_logged = std::mem::replace(&mut *self.is_logged.lock(), is_notable);
        match (is_notable, was_logged) {
            (true, false) => tracing::warn!(
                seconds,
                "clock of the API server differs from that of the operator: synchronize the clocks of their nodes"
            ),
            (false, true) => tracing::info!("clocks of the API server and of the operator agree again"),
            _ => {}
        }
    }
}

/// How much the other clock is ahead at least, if its `date` was written between these times of
/// ours.
fn skew(date: Timestamp, sent: Timestamp, received: Timestamp) -> SignedDuration {
    let (least, most) = (date.duration_since(received), date.duration_since(sent) + SECOND);
    least.max(SignedDuration::ZERO) + most.min(SignedDuration::ZERO)
}

impl Observe for ClockSkew {
    type Call = Timestamp;

    fn begin(&self, _: &Request<Body>) -> Timestamp {
        Timestamp::now()
    }

    fn end(&self, sent: Timestamp, _: StatusCode, headers: &HeaderMap) {
        let date = headers.get(DATE);
        let date = date.and_then(|date| DateTimeParser::new().parse_timestamp(date.as_bytes()).ok());
        if let Some(date) = date {
            self.note(skew(date, sent, Timestamp::now()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::Response;
    use k8s_openapi::jiff::fmt::rfc2822::DateTimePrinter;
    use tower::{Layer, ServiceExt};
    use wsc_runtime::admin::metrics_text;

    use super::*;
    use crate::api::layer::ObserveLayer;

    fn at(millis: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_millis(1_000_000_000 + millis)
    }

    #[test]
    fn only_proven_skew_is_a_difference() {
        let seconds = |date, sent, received| skew(at(date), at(sent), at(received)).as_millis();
        // Equal clocks; the header has whole seconds, and the response may take long.
        assert_eq!(seconds(5_000, 5_000, 5_010), 0);
        assert_eq!(seconds(5_000, 5_990, 5_999), 0);
        assert_eq!(seconds(5_000, 1_000, 9_000), 0);
        // 60 s ahead, and 60 s behind.
        assert_eq!(seconds(65_000, 5_000, 5_100), 59_900);
        assert_eq!(seconds(5_000, 65_000, 65_100), -59_000);
    }

    async fn answer(skew: &ClockSkew, ahead: SignedDuration) {
        let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&(Timestamp::now() + ahead));
        let date = date.unwrap();
        let inner = tower::service_fn(move |_: Request<Body>| {
            let response = Response::builder().header(DATE, &date).body(());
            std::future::ready(Ok::<_, Infallible>(response.unwrap()))
        });
        let request = Request::new(Body::empty());
        let service = ObserveLayer(skew.clone()).layer(inner);
        service.oneshot(request).await.unwrap();
    }

    #[tokio::test]
    async fn metric_is_the_newest_difference() {
        let metrics: Arc<Metrics> = Arc::default();
        let skew = ClockSkew::new(metrics.clone());
        let found = || {
            let text = metrics_text(metrics.registry());
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix("wsc_operator_clock_skew_seconds "));
            line.unwrap().parse::<i64>().unwrap()
        };
        answer(&skew, SignedDuration::from_secs(100)).await;
        assert!((98..=100).contains(&found()), "{}", found());
        assert!(*skew.is_logged.lock());
        answer(&skew, SignedDuration::from_secs(-100)).await;
        assert!((-100..=-98).contains(&found()), "{}", found());
        answer(&skew, SignedDuration::ZERO).await;
        assert_eq!(found(), 0);
        assert!(!*skew.is_logged.lock());
    }
}
