//! A layer below the client that observes calls: it passes every request and response on as it is.

use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::{HeaderMap, Request, Response, StatusCode};
use kube::client::Body;
use tower::{Layer, Service};

/// Observes the calls of a client.
pub(crate) trait Observe: Clone + Send + 'static {
    /// A call under way. It is dropped without a response if the call fails, or is given up.
    type Call: Send;

    fn begin(&self, request: &Request<Body>) -> Self::Call;

    fn end(&self, call: Self::Call, status: StatusCode, headers: &HeaderMap);
}

/// Puts an observer below a client.
#[derive(Clone)]
pub(crate) struct ObserveLayer<O>(pub(crate) O);

impl<O: Clone, S> Layer<S> for ObserveLayer<O> {
    type Service = Observed<O, S>;

    fn layer(&self, inner: S) -> Observed<O, S> {
        Observed {
            inner,
            observer: self.0.clone(),
        }
    }
}

#[derive(Clone)]
pub(crate) struct Observed<O, S> {
    inner: S,
    observer: O,
}

impl<O, S, B> Service<Request<Body>> for Observed<O, S>
where
    O: Observe,
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let observer = self.observer.clone();
        let call = observer.begin(&request);
        let response = self.inner.call(request);
        Box::pin(async move {
            let response = response.await?;
            observer.end(call, response.status(), response.headers());
            Ok(response)
        })
    }
}
