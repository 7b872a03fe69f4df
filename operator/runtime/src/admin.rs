//! The admin port: its listener and `GET /metrics`.

use std::fmt::Display;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use thiserror::Error;
use tokio::net::TcpListener;

/// Content type of the metrics.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The admin port cannot be bound.
#[derive(Debug, Error)]
#[error("cannot listen on the admin address {address}")]
pub struct BindError {
    address: SocketAddr,
    source: io::Error,
}

/// All addresses of both families, on this port.
pub fn any_address(port: u16) -> SocketAddr {
    (Ipv6Addr::UNSPECIFIED, port).into()
}

/// Binds the address. `[::]` falls back to `0.0.0.0` where there is no IPv6.
///
/// # Errors
/// Names the address.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    let is_any = address == any_address(address.port());
    let listener = match TcpListener::bind(address).await {
        Err(error) if is_any && error.kind() != io::ErrorKind::AddrInUse => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        other => other,
    };
    listener.map_err(|source| BindError { address, source })
}

/// A registry in the OpenMetrics text format.
pub fn metrics_text(registry: &Registry) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = encode(&mut text, registry);
    text
}

/// The response of `GET /metrics`.
pub fn metrics_response(registry: &Registry) -> Response {
    ([(header::CONTENT_TYPE, OPENMETRICS)], metrics_text(registry)).into_response()
}

/// The response of a probe: 200, or 503 with the cause.
pub fn probe_response(result: Result<(), impl Display>) -> Response {
    match result {
        Ok(()) => "ok\n".into_response(),
        Err(cause) => (StatusCode::SERVICE_UNAVAILABLE, format!("{cause}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use http_body_util::BodyExt;
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    async fn body(response: Response) -> String {
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn any_address_accepts_ipv4() {
        let listener = bind(any_address(0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn taken_address_is_named() {
        let listener = bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let error = bind(address).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("cannot listen on the admin address {address}")
        );
        assert!(error.source().is_some(), "the cause is the source");
        let any = bind(any_address(address.port())).await;
        assert!(any.is_err(), "a taken port is no missing IPv6");
    }

    #[tokio::test]
    async fn metrics_are_openmetrics() {
        let mut registry = Registry::with_prefix("wsc");
        let counter: Counter = Counter::default();
        counter.inc();
        registry.register("reloads", "Reloads", counter);
        let response = metrics_response(&registry);
        assert_eq!(response.headers()[header::CONTENT_TYPE], OPENMETRICS);
        let text = body(response).await;
        assert!(
            text.contains("wsc_reloads_total 1\n") && text.ends_with("# EOF\n"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn probes_name_the_cause() {
        let good = probe_response(Ok::<(), String>(()));
        assert_eq!(
            (good.status(), body(good).await),
            (StatusCode::OK, "ok\n".to_owned())
        );
        let bad = probe_response(Err("no answer"));
        assert_eq!(
            (bad.status(), body(bad).await),
            (StatusCode::SERVICE_UNAVAILABLE, "no answer\n".to_owned())
        );
    }
}
