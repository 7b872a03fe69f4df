//! Frames on a stream of bytes, taken back from the HTTP library after the upgrade.
//!
//! While a connection is idle it holds no buffer: bytes are read into one scratch buffer per
//! thread, and what waits to be written is there only while it waits.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use futures::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::decode::Decoder;
use super::socket::{Incoming, Outgoing, SocketError};
use super::{Event, encode};

/// Of one read.
const SCRATCH_BYTES: usize = 16 << 10;
/// With so much waiting to be written, nothing more is taken and nothing more is read.
const HIGH_WATER_BYTES: usize = 16 << 10;
/// Frames that one write takes together.
const FRAMES_PER_WRITE: usize = 64;
/// Reads of one poll of a client whose input is discarded.
const DEAF_READS: usize = 16;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice());
}

/// A WebSocket on any stream of bytes.
#[derive(Debug)]
pub(crate) struct Lane<I> {
    io: I,
    decoder: Decoder,
    /// Read, and not decoded yet.
    unread: BytesMut,
    /// What waits to be written: a frame that may be begun, those behind it, and all their bytes.
    /// Mostly one frame waits for an instant, and needs no more than its place here.
    front: Bytes,
    behind: VecDeque<Bytes>,
    waiting: usize,
    /// A close frame was queued; there must be only one.
    closed: bool,
    /// The client broke the protocol: its input is discarded.
    deaf: bool,
}

impl<I: AsyncRead + AsyncWrite + Unpin> Lane<I> {
    /// Takes the stream over, with what was read of it already, for messages of at most `limit`
    /// bytes.
    pub(crate) fn new(io: I, read_ahead: &[u8], limit: usize) -> Self {
        Self {
            io,
            decoder: Decoder::new(limit),
            unread: BytesMut::from(read_ahead),
            front: Bytes::new(),
            behind: VecDeque::new(),
            waiting: 0,
            closed: false,
            deaf: false,
        }
    }

    /// Frames are never empty.
    fn put(&mut self, frame: Bytes) {
        self.waiting += frame.len();
        if self.front.is_empty() {
            self.front = frame;
        } else {
            self.behind.push_back(frame);
        }
    }

    /// Writes until nothing waits.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.front.is_empty() {
            let io = Pin::new(&mut self.io);
            let written = if self.behind.is_empty() {
                ready!(io.poll_write(cx, &self.front))?
            } else {
                let mut slices = [IoSlice::new(&[]); FRAMES_PER_WRITE];
                let frames = std::iter::once(&self.front).chain(&self.behind);
                let mut count = 0;
                for (slice, frame) in slices.iter_mut().zip(frames) {
                    *slice = IoSlice::new(frame);
                    count += 1;
                }
                ready!(io.poll_write_vectored(cx, &slices[..count]))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written(written);
        }
        if self.behind.capacity() > 0 {
            self.behind = VecDeque::new();
        }
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn written(&mut self, mut written: usize) {
        self.waiting -= written;
        while written >= self.front.len() && !self.front.is_empty() {
            written -= self.front.len();
            self.front = self.behind.pop_front().unwrap_or_default();
        }
        self.front.advance(written);
    }

    /// Decodes what is there, then reads; `None` at the end of the stream.
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Event, SocketError>>> {
        loop {
            if !self.unread.is_empty() {
                match self.decoder.decode(&mut self.unread) {
                    Err(violation) => return Poll::Ready(Some(Err(SocketError::Violation(violation)))),
                    Ok((taken, event)) => {
                        self.unread.advance(taken);
                        if self.unread.is_empty() {
                            self.unread = BytesMut::new();
                        }
                        if let Some(event) = event {
                            return Poll::Ready(Some(Ok(event)));
                        }
                    }
                }
            }
            let Self {
                io, decoder, unread, ..
            } = self;
            let read = SCRATCH.with_borrow_mut(|scratch| {
                let mut buffer = ReadBuf::new(scratch);
                ready!(Pin::new(io).poll_read(cx, &mut buffer)).map_err(|_| SocketError::Lost)?;
                let filled = buffer.filled_mut();
                if filled.is_empty() {
                    return Poll::Ready(Ok(None));
                }
                let (taken, event) = decoder.decode(filled).map_err(SocketError::Violation)?;
                unread.extend_from_slice(&filled[taken..]);
                Poll::Ready(Ok(Some(event)))
            });
            match ready!(read) {
                Ok(None) => return Poll::Ready(None),
                Ok(Some(None)) => {}
                Ok(Some(Some(event))) => return Poll::Ready(Some(Ok(event))),
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }

    /// Discards input until the client closes.
    fn poll_deaf(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..DEAF_READS {
            let io = Pin::new(&mut self.io);
            let read = SCRATCH.with_borrow_mut(|scratch| {
                let mut buffer = ReadBuf::new(scratch);
                io.poll_read(cx, &mut buffer).map_ok(|()| buffer.filled().len())
            });
            match ready!(read) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(_) => {}
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> Stream for Lane<I> {
    type Item = Result<Incoming, SocketError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let lane = self.get_mut();
        if lane.deaf {
            return lane.poll_deaf(cx).map(|()| None);
        }
        // A client that sends pings without reading the pongs is not read.
        if lane.waiting >= HIGH_WATER_BYTES && ready!(lane.poll_out(cx)).is_err() {
            return Poll::Ready(Some(Err(SocketError::Lost)));
        }
        let Some(event) = ready!(lane.poll_event(cx)) else {
            return Poll::Ready(None);
        };
        Poll::Ready(Some(match event {
            Ok(Event::Message(message)) => Ok(Incoming::Message(message)),
            Ok(Event::Ping(payload)) => {
                if !lane.closed {
                    lane.put(encode::pong(&payload));
                }
                Ok(Incoming::Ping)
            }
            Ok(Event::Pong) => Ok(Incoming::Pong),
            Ok(Event::Close(code)) => {
                if !lane.closed {
                    lane.closed = true;
                    lane.put(code.map_or_else(encode::close_without_code, |code| encode::close(code, "")));
                }
                Ok(Incoming::Close)
            }
            Err(error) => {
                lane.deaf = true;
                lane.unread = BytesMut::new();
                Err(error)
            }
        }))
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> Sink<Outgoing> for Lane<I> {
    type Error = SocketError;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SocketError>> {
        let lane = self.get_mut();
        if lane.waiting < HIGH_WATER_BYTES {
            return Poll::Ready(Ok(()));
        }
        lane.poll_out(cx).map_err(|_| SocketError::Lost)
    }

    fn start_send(self: Pin<&mut Self>, outgoing: Outgoing) -> Result<(), SocketError> {
        let lane = self.get_mut();
        if lane.closed {
            return Ok(());
        }
        let frame = match outgoing {
            Outgoing::Frame(frame) => frame,
            Outgoing::Ping => encode::ping(),
            Outgoing::Close { code, reason } => {
                lane.closed = true;
                encode::close(code, &reason)
            }
        };
        lane.put(frame);
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SocketError>> {
        self.get_mut().poll_out(cx).map_err(|_| SocketError::Lost)
    }

    /// Closes the write half; reading continues.
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SocketError>> {
        let lane = self.get_mut();
        ready!(lane.poll_out(cx)).map_err(|_| SocketError::Lost)?;
        Pin::new(&mut lane.io)
            .poll_shutdown(cx)
            .map_err(|_| SocketError::Lost)
    }
}

#[cfg(test)]
mod tests;
