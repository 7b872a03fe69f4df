//! Signals that end a program.

use std::io;

use thiserror::Error;
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

/// A signal that was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: the kubelet ends the container.
    Terminate,
    /// SIGINT: Ctrl-C.
    Interrupt,
    /// SIGUSR1: the stop signal of the proxy image, because HAProxy needs it.
    User1,
}

/// A handler cannot be installed.
#[derive(Debug, Error)]
#[error("cannot install the signal handlers")]
pub struct SignalError(#[from] io::Error);

/// The handlers. Signals that arrive between two calls of [`Signals::recv`] are not lost.
#[derive(Debug)]
pub struct Signals {
    terminate: Stream,
    interrupt: Stream,
    user1: Option<Stream>,
}

impl Signals {
    /// Handles SIGTERM and SIGINT. Call it within a tokio runtime.
    ///
    /// # Errors
    /// If the system refuses a handler.
    pub fn new() -> Result<Self, SignalError> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            user1: None,
        })
    }

    /// Handles SIGUSR1 too.
    ///
    /// # Errors
    /// If the system refuses a handler.
    pub fn with_user1(self) -> Result<Self, SignalError> {
        let user1 = Some(signal(SignalKind::user_defined1())?);
        Ok(Self { user1, ..self })
    }

    /// Waits for the next signal.
    pub async fn recv(&mut self) -> Signal {
        let user1 = async {
            match &mut self.user1 {
                Some(stream) => stream.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => Signal::Terminate,
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = user1 => Signal::User1,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[tokio::test]
    async fn signals_are_told_apart() {
        let mut signals = Signals::new().unwrap().with_user1().unwrap();
        for (name, expected) in [
            ("TERM", Signal::Terminate),
            ("INT", Signal::Interrupt),
            ("USR1", Signal::User1),
        ] {
            let pid = std::process::id().to_string();
            let status = Command::new("kill").args(["-s", name, &pid]).status().unwrap();
            assert!(status.success());
            assert_eq!(signals.recv().await, expected);
        }
    }
}
