//! One program that responds for all pods: the address of a connection names the pod.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use wsc_contract::labels::Component;
use wsc_contract::{paths, ports};

use crate::agents::Agents;
use crate::pods::Pods;

#[derive(Debug)]
pub(crate) struct Responder {
    pub(crate) pods: Arc<Pods>,
    pub(crate) agents: Arc<Agents>,
}

impl Responder {
    /// Listens on every address of the pod network.
    pub(crate) async fn start(self) -> Result<()> {
        let responder = Arc::new(self);
        for port in [ports::CONTROL, ports::AGENT] {
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port.number)).await;
            let listener = listener.with_context(|| format!("port {}", port.number))?;
            tokio::spawn(accept(responder.clone(), listener));
        }
        Ok(())
    }

    async fn respond(&self, address: IpAddr, request: Request<Incoming>) -> (StatusCode, String) {
        let Some(pod) = self.pods.at(address) else {
            return (StatusCode::SERVICE_UNAVAILABLE, String::new());
        };
        if pod.hangs {
            return std::future::pending().await;
        }
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        match (pod.component, head.method, path) {
            (Component::Proxy, Method::GET, paths::STATUS) => {
                json(self.agents.status(&pod.cluster, &self.pods).as_ref())
            }
            (Component::Server, Method::GET, paths::STATS) => json(self.pods.stats(address).as_ref()),
            (Component::Server, Method::PUT, paths::CORDON) => json(self.pods.cordon(address, true).as_ref()),
            (Component::Server, Method::DELETE, paths::CORDON) => {
                json(self.pods.cordon(address, false).as_ref())
            }
            (Component::Server, Method::PUT, paths::SHED) => {
                let body = body.collect().await.map(http_body_util::Collected::to_bytes);
                json(self.pods.shed(address, &body.unwrap_or_default()).ok().as_ref())
            }
            _ => (StatusCode::NOT_FOUND, String::new()),
        }
    }
}

fn json(document: Option<&impl Serialize>) -> (StatusCode, String) {
    match document.map(serde_json::to_string) {
        Some(Ok(text)) => (StatusCode::OK, text),
        _ => (StatusCode::SERVICE_UNAVAILABLE, String::new()),
    }
}

async fn accept(responder: Arc<Responder>, listener: TcpListener) {
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(responder.clone(), stream));
        }
    }
}

async fn serve(responder: Arc<Responder>, stream: TcpStream) {
    let Ok(address) = stream.local_addr() else {
        return;
    };
    let service = service_fn(move |request: Request<Incoming>| {
        let responder = responder.clone();
        async move {
            let (status, text) = responder.respond(address.ip(), request).await;
            let mut response = Response::new(Full::new(Bytes::from(text)));
            *response.status_mut() = status;
            Ok::<_, Infallible>(response)
        }
    });
    let http = hyper::server::conn::http1::Builder::new();
    // The client may disconnect at any time.
    let _ = http.serve_connection(TokioIo::new(stream), service).await;
}
