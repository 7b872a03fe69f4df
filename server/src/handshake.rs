//! The client port: `/wsc/lb` for the proxy, everything else is a handshake or an error.

pub mod refusal;
pub mod request;
pub mod target;

use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderValue, Method, Request, StatusCode, header};
use hyper::body::Incoming;
use hyper::upgrade::{self, OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use wsc_contract::paths;

use crate::handshake::refusal::{RETRY_AFTER_SECONDS, Refusal};
use crate::listener::{Arrival, Service, error};
use crate::server::Server;
use crate::session;
use crate::session::connection::Connection;
use crate::session::tcp::Tcp;
use crate::websocket::lane::Lane;

/// The answers of the client port. It has two paths, and a storm of handshakes: a router is not
/// worth its price here.
#[derive(Debug, Clone)]
pub(crate) struct Handshakes(pub(crate) Arc<Server>);

impl Service for Handshakes {
    async fn answer(&self, request: Request<Incoming>, arrival: Arrival) -> Response {
        let Self(server) = self;
        let (mut parts, _body) = request.into_parts();
        if parts.uri.path() == paths::LOAD_BALANCER {
            return load_balancer(server, &parts);
        }
        match admit(server, &parts, arrival).await {
            Ok(connection) => upgrade(&mut parts, connection),
            Err(refusal) => refuse(server, refusal),
        }
    }

    fn broken(&self) {
        self.0.metrics.refused("http").inc();
    }
}

/// Whether the proxy should send new connections here.
fn load_balancer(server: &Server, parts: &Parts) -> Response {
    if !matches!(parts.method, Method::GET | Method::HEAD) {
        return answer(Refusal::Method);
    }
    if !request::is_for(server.config.pod.as_deref(), &parts.headers) {
        // Not counted: it is a check and no handshake.
        return answer(Refusal::WrongPod);
    }
    if server.admission.capacity.is_out_of_rotation()
        || server.admission.memory.is_full()
        || !server.admission.admits()
    {
        return (StatusCode::NOT_FOUND, "no new connections\n").into_response();
    }
    (StatusCode::OK, "ok\n").into_response()
}

/// Checks the handshake, takes a slot and joins the room, so that the client misses nothing from
/// its upgrade on.
async fn admit(server: &Arc<Server>, parts: &Parts, arrival: Arrival) -> Result<Connection, Refusal> {
    let target = target::parse_target(&server.config.path, parts.uri.path(), parts.uri.query())?;
    request::check_upgrade(&parts.method, parts.version, &parts.headers)?;
    if !request::is_for(server.config.pod.as_deref(), &parts.headers) {
        return Err(Refusal::WrongPod);
    }
    check_origin(server, &parts.headers)?;
    if !server.admission.admits() {
        return Err(Refusal::Draining);
    }
    if !server.admission.memory.has_room() {
        return Err(Refusal::Memory);
    }
    let slot = server.admission.capacity.reserve().ok_or(Refusal::Full)?;
    let via = request::via(&parts.headers).map(str::to_owned);
    let connection = Connection::join(server, slot, target, via, arrival);
    if server.config.trust_proxy {
        let client = request::forwarded_for(&parts.headers).unwrap_or("unknown");
        tracing::debug!(client, connection = connection.number(), "handshake accepted");
    }
    server.broker.subscribed(connection.room()).await;
    Ok(connection)
}

fn check_origin(server: &Server, headers: &axum::http::HeaderMap) -> Result<(), Refusal> {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let (first, second) = (origins.next(), origins.next());
    // Bytes that are no text cannot be on any list; the empty string is on none.
    let origin = first.map(|o| o.to_str().unwrap_or_default());
    let host = headers.get(header::HOST).and_then(|h| h.to_str().ok());
    if second.is_none() && server.config.origins.allows(origin, host) {
        Ok(())
    } else {
        Err(Refusal::Origin)
    }
}

/// Answers the handshake; the connection lives on in a task of its own.
fn upgrade(parts: &mut Parts, connection: Connection) -> Response {
    let (Some(upgrade), Some(key)) = (
        parts.extensions.remove::<OnUpgrade>(),
        parts.headers.get(header::SEC_WEBSOCKET_KEY),
    ) else {
        return refuse(&connection.server, Refusal::UpgradeRequired);
    };
    let accept = request::accept(key.as_bytes());
    tokio::spawn(async move {
        match upgrade.await {
            Ok(upgraded) => open(upgraded, connection),
            Err(error) => tracing::debug!(%error, "upgrade failed"),
        }
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    response
}

/// Takes the socket back from the HTTP library, with what it has read ahead. What is no plain
/// socket stays in its box. The session is a task of its own: this one is larger.
fn open(upgraded: Upgraded, connection: Connection) {
    let limit = connection.server.config.limits.message_bytes;
    match upgraded.downcast::<TokioIo<TcpStream>>() {
        Ok(upgrade::Parts { io, read_buf, .. }) => {
            let socket = Tcp::new(io.into_inner());
            connection.outbox.connect(socket.direct());
            let lane = Lane::new(socket, &read_buf, limit);
            tokio::spawn(session::run(lane, connection));
        }
        Err(upgraded) => {
            let lane = Lane::new(TokioIo::new(upgraded), &[], limit);
            tokio::spawn(session::run(lane, connection));
        }
    }
}

fn refuse(server: &Server, refusal: Refusal) -> Response {
    server.count_refusal(refusal);
    answer(refusal)
}

fn answer(refusal: Refusal) -> Response {
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = error(status, refusal.code(), refusal.message());
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
    }
    if status == StatusCode::UPGRADE_REQUIRED {
        let headers = response.headers_mut();
        headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
    response
}
