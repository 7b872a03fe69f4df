//! Limits the calls to the API server over all clusters. A `Retry-After` pauses the calls of all of
//! them.

use std::sync::Arc;
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, Request, StatusCode};
use kube::client::Body;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

use super::layer::Observe;

/// Calls per second in the long run. A thousand clusters make 30,000 calls until they are ready.
const CALLS_PER_SECOND: u32 = 200;
/// Calls that may be made at once after a pause.
const BURST: u32 = 200;
/// The pause after a 429 without `Retry-After`.
const DEFAULT_PAUSE: Duration = Duration::from_secs(1);
/// Upper bound of a pause: a wrong header must not stop the operator for hours.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// Admits calls in the order of their arrival.
#[derive(Debug, Default)]
pub(crate) struct Limiter {
    schedule: Mutex<CallSchedule>,
}

#[derive(Debug, Default)]
struct CallSchedule {
    /// When the next call would be made at the steady rate.
    next: Option<Instant>,
    paused_until: Option<Instant>,
}

impl CallSchedule {
    /// The time of one more call.
    fn reserve(&mut self, now: Instant) -> Instant {
        let interval = Duration::from_secs(1) / CALLS_PER_SECOND;
        // As if the calls of a burst had been due already.
        let earliest = now.checked_sub(interval * (BURST - 1)).unwrap_or(now);
        let at = self.next.map_or(earliest, |next| next.max(earliest));
        let at = self.paused_until.map_or(at, |until| at.max(until));
        self.next = Some(at + interval);
        at.max(now)
    }

    fn pause(&mut self, until: Instant) {
        self.paused_until = self.paused_until.max(Some(until));
    }

    fn is_paused(&self, now: Instant) -> bool {
        self.paused_until.is_some_and(|until| until > now)
    }
}

impl Limiter {
    /// Returns when the caller may make a call.
    pub(crate) async fn admit(&self) {
        loop {
            let at = self.schedule.lock().reserve(Instant::now());
            sleep_until(at).await;
            // A pause may have begun meanwhile.
            if !self.schedule.lock().is_paused(Instant::now()) {
                return;
            }
        }
    }

    /// The API server rejects calls for this time.
    pub(super) fn pause(&self, time: Duration) {
        let now = Instant::now();
        let mut schedule = self.schedule.lock();
        if !schedule.is_paused(now) {
            tracing::warn!(
                seconds = time.as_secs(),
                "the API server is overloaded; pausing calls"
            );
        }
        schedule.pause(now + time);
    }
}

/// The pause that a response requests.
fn pause_of(status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
    let header = headers.get(RETRY_AFTER);
    let seconds = header.and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let asked = seconds.map(|seconds| Duration::from_secs(seconds).min(LONGEST_PAUSE));
    match status {
        StatusCode::TOO_MANY_REQUESTS => Some(asked.unwrap_or(DEFAULT_PAUSE)),
        StatusCode::SERVICE_UNAVAILABLE => asked,
        _ => None,
    }
}

/// Reads `Retry-After` of every response: the client does not pass it on.
#[derive(Clone)]
pub(crate) struct RetryAfter(pub(crate) Arc<Limiter>);

impl Observe for RetryAfter {
    type Call = ();

    fn begin(&self, _: &Request<Body>) {}

    fn end(&self, (): (), status: StatusCode, headers: &HeaderMap) {
        if let Some(pause) = pause_of(status, headers) {
            self.0.pause(pause);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::Response;
    use tower::{Layer, ServiceExt};

    use super::*;
    use crate::api::layer::ObserveLayer;

    async fn answer(limiter: &Arc<Limiter>, status: u16, retry_after: Option<&str>) {
        let header = retry_after.map(str::to_owned);
        let inner = tower::service_fn(move |_: Request<Body>| {
            let mut response = Response::builder().status(status);
            if let Some(header) = &header {
                response = response.header(RETRY_AFTER, header);
            }
            std::future::ready(Ok::<_, Infallible>(response.body(()).unwrap()))
        });
        let service = ObserveLayer(RetryAfter(limiter.clone())).layer(inner);
        service.oneshot(Request::new(Body::empty())).await.unwrap();
    }

    async fn waits(limiter: &Limiter) -> Duration {
        let began = Instant::now();
        limiter.admit().await;
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn calls_beyond_a_burst_keep_the_rate() {
        let limiter = Limiter::default();
        let began = Instant::now();
        for _ in 0..BURST {
            limiter.admit().await;
        }
        assert!(
            began.elapsed() < Duration::from_millis(10),
            "{:?}",
            began.elapsed()
        );
        for _ in 0..CALLS_PER_SECOND * 3 {
            limiter.admit().await;
        }
        let took = began.elapsed().as_secs_f64();
        assert!((2.9..3.7).contains(&took), "600 more calls take {took} s");
    }

    #[tokio::test(start_paused = true)]
    async fn retry_after_pauses_all_calls() {
        let limiter: Arc<Limiter> = Arc::default();
        answer(&limiter, 200, Some("9")).await;
        answer(&limiter, 503, None).await;
        assert_eq!(waits(&limiter).await, Duration::ZERO, "nothing was asked for");
        answer(&limiter, 429, Some("7")).await;
        let wait = waits(&limiter).await;
        assert!(
            wait >= Duration::from_secs(7) && wait < Duration::from_secs(8),
            "{wait:?}"
        );
        answer(&limiter, 429, None).await;
        assert!(waits(&limiter).await >= DEFAULT_PAUSE);
        answer(&limiter, 503, Some("86400")).await;
        let wait = waits(&limiter).await;
        assert!(wait <= LONGEST_PAUSE + Duration::from_secs(1), "{wait:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_calls_notice_a_pause() {
        let limiter: Arc<Limiter> = Arc::default();
        for _ in 0..BURST {
            limiter.admit().await;
        }
        let waiting = tokio::spawn({
            let limiter = limiter.clone();
            async move { waits(&limiter).await }
        });
        tokio::task::yield_now().await;
        answer(&limiter, 429, Some("5")).await;
        assert!(waiting.await.unwrap() >= Duration::from_secs(5));
    }
}
