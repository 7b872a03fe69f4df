//! axum's WebSocket as a socket of our frames.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::extract::ws::{CloseFrame, Message as AxumMessage, Utf8Bytes, WebSocket};
use bytes::Bytes;
use futures::{Sink, Stream};
use tokio_tungstenite::tungstenite::Error as WsError;

use super::{Incoming, Outgoing, SocketError};
use crate::protocol::{Message, Opcode};

/// The adapter; the only place that knows axum's frames and errors.
#[derive(Debug)]
pub struct AxumSocket(WebSocket);

impl AxumSocket {
    /// Takes an upgraded connection over.
    pub fn new(socket: WebSocket) -> Self {
        Self(socket)
    }

    fn inner(self: Pin<&mut Self>) -> Pin<&mut WebSocket> {
        Pin::new(&mut self.get_mut().0)
    }
}

impl Stream for AxumSocket {
    type Item = Result<Incoming, SocketError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = ready!(self.inner().poll_next(cx));
        Poll::Ready(item.map(|result| match result {
            Ok(AxumMessage::Text(text)) => Ok(Incoming::Message(Message::text(text.into()))),
            Ok(AxumMessage::Binary(bytes)) => Ok(Incoming::Message(Message::binary(bytes))),
            Ok(AxumMessage::Ping(_)) => Ok(Incoming::Ping),
            Ok(AxumMessage::Pong(_)) => Ok(Incoming::Pong),
            Ok(AxumMessage::Close(_)) => Ok(Incoming::Close),
            Err(error) => Err(read_error(error)),
        }))
    }
}

impl Sink<Outgoing> for AxumSocket {
    type Error = SocketError;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SocketError>> {
        self.inner().poll_ready(cx).map_err(|_| SocketError::Lost)
    }

    fn start_send(self: Pin<&mut Self>, frame: Outgoing) -> Result<(), SocketError> {
        let message = match frame {
            Outgoing::Message(Message {
                opcode: Opcode::Binary,
                payload,
            }) => AxumMessage::Binary(payload),
            Outgoing::Message(Message {
                opcode: Opcode::Text,
                payload,
            }) => AxumMessage::Text(Utf8Bytes::try_from(payload).map_err(|_| SocketError::Utf8)?),
            Outgoing::Ping => AxumMessage::Ping(Bytes::new()),
            Outgoing::Close { code, reason } => AxumMessage::Close(Some(CloseFrame {
                code,
                reason: reason.into(),
            })),
        };
        self.inner().start_send(message).map_err(|_| SocketError::Lost)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SocketError>> {
        self.inner().poll_flush(cx).map_err(|_| SocketError::Lost)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SocketError>> {
        self.inner().poll_close(cx).map_err(|_| SocketError::Lost)
    }
}

fn read_error(error: axum::Error) -> SocketError {
    use tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake;
    match error.into_inner().downcast_ref::<WsError>() {
        Some(WsError::Capacity(_)) => SocketError::TooLarge,
        Some(WsError::Utf8(_)) => SocketError::Utf8,
        Some(WsError::Protocol(ResetWithoutClosingHandshake)) => SocketError::Lost,
        Some(WsError::Protocol(_)) => SocketError::Protocol,
        _ => SocketError::Lost,
    }
}
