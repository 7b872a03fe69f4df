//! Servers: from what runs to what is wanted, by commands of the runtime socket.

use std::time::Duration;

use tracing::{debug, info, warn};
use wsc_haproxy::{BackendSet, Command, Line, RunningServer, diff, lines};

use crate::metrics::Metrics;
use crate::observe::{ObserveError, Observer};
use crate::socket::REPLY_WAIT;
use crate::status::Shared;

/// A replaced server takes two rounds, one with tunnels none; more only follow hand changes in the middle.
const ROUNDS: usize = 6;

/// What one pass over the servers works with.
pub(crate) struct Sync<'a> {
    pub observer: &'a Observer,
    pub shared: &'a Shared,
    pub metrics: &'a Metrics,
    /// True once something newer is wanted: the rest of this pass is in vain then.
    pub is_outdated: &'a (dyn Fn() -> bool + Send + std::marker::Sync),
}

impl Sync<'_> {
    /// Sends commands until nothing differs, nothing changes any more or something newer is wanted; returns what runs then.
    pub(crate) async fn run(
        &self,
        mut running: Vec<RunningServer>,
        wanted: &BackendSet,
    ) -> Result<Vec<RunningServer>, ObserveError> {
        let mut before = Vec::new();
        for _ in 0..ROUNDS {
            let steps = diff(&running, wanted);
            // What had no effect the last time has none now; the next round of the loop tries again.
            if steps.is_empty() || steps == before {
                break;
            }
            for line in lines(&steps) {
                self.send(&line).await?;
                if (self.is_outdated)() {
                    return self.observer.servers().await;
                }
            }
            running = self.observer.servers().await?;
            before = steps;
        }
        Ok(running)
    }

    async fn send(&self, line: &Line) -> Result<(), ObserveError> {
        let wait = REPLY_WAIT.saturating_add(Duration::from_millis(line.wait_milliseconds()));
        let reply = self.observer.runtime.ask(&line.text(), wait).await?;
        self.shared.progressed();
        self.shared.answered();
        let failures = line.failures(&reply)?;
        for command in &line.commands {
            if !failures.iter().any(|failure| failure.command == *command) {
                tell(command);
            }
        }
        for failure in failures {
            let (command, reply) = (failure.command.to_string(), failure.reply);
            match failure.command {
                // A last tunnel is about to end; it is tried again.
                Command::WaitRemovable { .. } | Command::Delete { .. } => debug!(command, reply, "not yet"),
                _ => {
                    self.metrics.command_failures.inc();
                    warn!(command, reply, "haproxy refused a command");
                }
            }
        }
        Ok(())
    }
}

fn tell(command: &Command) {
    match command {
        Command::Add { server, .. } => info!(server = server.name, address = server.socket(), "server added"),
        Command::Ready { name, .. } => info!(server = name, "server in rotation"),
        Command::Maint { name, .. } => info!(server = name, "server out of rotation"),
        Command::Delete { name, .. } => info!(server = name, "server removed"),
        _ => {}
    }
}
