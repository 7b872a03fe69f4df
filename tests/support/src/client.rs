//! A WebSocket client that records opens, frames and closes with code and time.
//!
//! One small task and a few kilobytes a client, so that one process holds thousands.

mod handshake;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

pub use handshake::{Opened, Options, Refused};
use handshake::{Socket, handshake};

/// From the first packet to the answer of the upgrade.
const CONNECT_WAIT: Duration = Duration::from_secs(15);
/// After an own close: for the server's answer.
const CLOSE_WAIT: Duration = Duration::from_secs(5);
/// Commands that wait for the client's task.
const COMMANDS: usize = 64;

/// One received message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// When it was read.
    pub at: Instant,
    /// Whether it was text.
    pub text: bool,
    /// What was in it.
    pub payload: Bytes,
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// When the close frame came, or the loss was seen.
    pub at: Instant,
    /// Which side closed.
    pub kind: EndKind,
    /// The code of the close frame.
    pub code: Option<u16>,
    /// The reason of the close frame.
    pub reason: String,
}

/// Which side ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndKind {
    /// This client closed.
    Own,
    /// The server requested a reconnect: 1012 with `drain` or `shed`.
    Asked,
    /// Anything else: another code, no close frame, a broken connection.
    Unasked,
}

impl Ended {
    /// The milliseconds of `…;retry=MS`.
    pub fn retry_ms(&self) -> Option<u64> {
        self.reason
            .split(';')
            .find_map(|part| part.strip_prefix("retry="))?
            .parse()
            .ok()
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} code {:?} reason {:?}", self.kind, self.code, self.reason)
    }
}

/// The connection is over; nothing can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection is over")]
pub struct Over;

#[derive(Debug)]
enum Command {
    Send(Message),
    Close(u16, String),
    Read(bool),
}

#[derive(Debug, Default)]
struct Shared {
    frames: Mutex<Vec<Frame>>,
    received: AtomicU64,
    ended: Mutex<Option<Ended>>,
    changed: Notify,
}

/// A client. Dropping it cuts the connection without a close.
#[derive(Debug)]
pub struct Client {
    opened: Opened,
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
    task: JoinHandle<()>,
}

impl Client {
    /// Connects and starts to record.
    ///
    /// # Errors
    /// See [`Refused`].
    pub async fn connect(options: &Options) -> Result<Self, Refused> {
        let started = Instant::now();
        let handshake = timeout(CONNECT_WAIT, handshake(options)).await;
        let late = |_| Refused::Network(format!("no answer within {CONNECT_WAIT:?}"));
        let (socket, status, headers) = handshake.map_err(late)??;
        let at = Instant::now();
        let opened = Opened {
            at,
            took: at - started,
            status,
            headers,
        };
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let shared = Arc::new(Shared::default());
        let task = Task {
            socket,
            inbox,
            shared: Arc::clone(&shared),
            reading: true,
            own: false,
        };
        Ok(Self {
            opened,
            shared,
            commands,
            task: tokio::spawn(task.run()),
        })
    }

    /// The answer to the handshake.
    pub fn opened(&self) -> &Opened {
        &self.opened
    }

    /// Sends text; returns the time just before.
    ///
    /// # Errors
    /// If the connection is over.
    pub async fn send_text(&self, text: impl Into<String>) -> Result<Instant, Over> {
        self.send(Message::text(text.into())).await
    }

    /// Sends bytes; returns the time just before.
    ///
    /// # Errors
    /// If the connection is over.
    pub async fn send_binary(&self, bytes: impl Into<Bytes>) -> Result<Instant, Over> {
        self.send(Message::binary(bytes.into())).await
    }

    async fn send(&self, message: Message) -> Result<Instant, Over> {
        let at = Instant::now();
        self.commands
            .send(Command::Send(message))
            .await
            .map_err(|_| Over)?;
        Ok(at)
    }

    /// Closes with this code and waits for the end.
    ///
    /// # Errors
    /// If the connection was over already; the record says how.
    pub async fn close(&self, code: u16, reason: &str) -> Result<(), Over> {
        self.commands
            .send(Command::Close(code, reason.to_owned()))
            .await
            .map_err(|_| Over)?;
        self.wait_end(CLOSE_WAIT + Duration::from_secs(1))
            .await
            .map(|_| ())
            .ok_or(Over)
    }

    /// Stops or starts to read; a client that does not read is slow.
    ///
    /// # Errors
    /// If the connection is over.
    pub async fn set_reading(&self, reading: bool) -> Result<(), Over> {
        self.commands.send(Command::Read(reading)).await.map_err(|_| Over)
    }

    /// Messages received so far.
    pub fn received(&self) -> u64 {
        self.shared.received.load(Ordering::Relaxed)
    }

    /// Calls `look` with the messages kept so far.
    pub fn with_frames<R>(&self, look: impl FnOnce(&[Frame]) -> R) -> R {
        look(&self.shared.frames.lock())
    }

    /// The payloads of the messages kept so far, as text.
    pub fn texts(&self) -> Vec<String> {
        self.with_frames(|frames| {
            frames
                .iter()
                .map(|f| String::from_utf8_lossy(&f.payload).into_owned())
                .collect()
        })
    }

    /// How the connection ended, if it did.
    pub fn ended(&self) -> Option<Ended> {
        self.shared.ended.lock().clone()
    }

    /// Waits until at least this many messages came; false if they did not.
    pub async fn wait_received(&self, count: u64, deadline: Duration) -> bool {
        self.wait(deadline, || (self.received() >= count).then_some(()))
            .await
            .is_some()
    }

    /// Waits for the end.
    pub async fn wait_end(&self, deadline: Duration) -> Option<Ended> {
        self.wait(deadline, || self.ended()).await
    }

    async fn wait<T>(&self, deadline: Duration, check: impl Fn() -> Option<T>) -> Option<T> {
        let wait = async {
            loop {
                let mut changed = std::pin::pin!(self.shared.changed.notified());
                changed.as_mut().enable();
                if let Some(value) = check() {
                    return value;
                }
                changed.await;
            }
        };
        timeout(deadline, wait).await.ok()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Task {
    socket: Socket,
    inbox: mpsc::Receiver<Command>,
    shared: Arc<Shared>,
    reading: bool,
    own: bool,
}

impl Task {
    async fn run(mut self) {
        let ended = self.serve().await;
        // Nothing can be sent from the moment that the end is known.
        self.inbox.close();
        *self.shared.ended.lock() = Some(ended);
        self.shared.changed.notify_waiters();
        // The answer to the server's close is flushed by reading on to the end of the stream.
        let _ = timeout(CLOSE_WAIT, async {
            while let Some(Ok(_)) = self.socket.next().await {}
        })
        .await;
    }

    async fn serve(&mut self) -> Ended {
        loop {
            tokio::select! {
                message = self.socket.next(), if self.reading => match message {
                    Some(Ok(Message::Close(frame))) => return self.end(frame),
                    Some(Ok(message)) => self.record(message),
                    Some(Err(error)) => return self.lost(&error),
                    None => return self.lost(&"end of stream"),
                },
                command = self.inbox.recv() => {
                    let sent = match command {
                        Some(Command::Send(message)) => self.socket.send(message).await,
                        Some(Command::Close(code, reason)) => return self.close(code, reason).await,
                        Some(Command::Read(reading)) => {
                            self.reading = reading;
                            Ok(())
                        }
                        // The client was dropped, and this task is about to be.
                        None => return self.lost(&"dropped"),
                    };
                    if let Err(error) = sent && !self.reading {
                        return self.lost(&error);
                    }
                }
            }
        }
    }

    async fn close(&mut self, code: u16, reason: String) -> Ended {
        self.own = true;
        let frame = CloseFrame {
            code: code.into(),
            reason: reason.into(),
        };
        if let Err(error) = self.socket.close(Some(frame)).await {
            return self.lost(&error);
        }
        let answer = async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Close(frame))) => return Ok(frame),
                    Some(Ok(message)) => self.record(message),
                    Some(Err(error)) => return Err(error.to_string()),
                    None => return Err("end of stream".to_owned()),
                }
            }
        };
        match timeout(CLOSE_WAIT, answer).await {
            Ok(Ok(frame)) => self.end(frame),
            Ok(Err(error)) => self.lost(&error),
            Err(_) => self.lost(&"no answer to the close"),
        }
    }

    fn record(&self, message: Message) {
        let text = message.is_text();
        if !text && !message.is_binary() {
            return;
        }
        let frame = Frame {
            at: Instant::now(),
            text,
            payload: message.into_data(),
        };
        self.shared.frames.lock().push(frame);
        self.shared.received.fetch_add(1, Ordering::Relaxed);
        self.shared.changed.notify_waiters();
    }

    fn end(&self, frame: Option<CloseFrame>) -> Ended {
        let code = frame.as_ref().map(|f| u16::from(f.code));
        let reason = frame.map(|f| f.reason.as_str().to_owned()).unwrap_or_default();
        let word = reason.split(';').next().unwrap_or_default();
        let asked = code == Some(1012) && matches!(word, "drain" | "shed");
        let kind = match (self.own, asked) {
            (true, _) => EndKind::Own,
            (false, true) => EndKind::Asked,
            (false, false) => EndKind::Unasked,
        };
        Ended {
            at: Instant::now(),
            kind,
            code,
            reason,
        }
    }

    /// The end without a close frame; the reason is the error.
    fn lost(&self, what: &dyn fmt::Display) -> Ended {
        let kind = if self.own { EndKind::Own } else { EndKind::Unasked };
        Ended {
            at: Instant::now(),
            kind,
            code: None,
            reason: what.to_string(),
        }
    }
}
