//! Servers: commands of the runtime socket that turn the running set into the published one.

use std::time::Duration;

use tracing::{debug, info, warn};
use wsc_haproxy::{BackendSet, Command, Line, diff, lines};

use crate::metrics::Metrics;
use crate::observe::{Observation, ObserveError, Observer};
use crate::socket::REPLY_WAIT;
use crate::status::SharedStatus;

/// A replaced server takes two rounds, one with tunnels none; more follow only manual changes
/// meanwhile.
const ROUNDS: usize = 6;

/// One synchronization of the servers.
pub(crate) struct Sync<'a> {
    pub(crate) observer: &'a Observer,
    pub(crate) status: &'a SharedStatus,
    pub(crate) metrics: &'a Metrics,
    /// True once something newer is published: the rest is obsolete then.
    pub(crate) is_outdated: &'a (dyn Fn() -> bool + Send + std::marker::Sync),
}

impl Sync<'_> {
    /// Sends commands until nothing differs, nothing changes or something newer is published; reads
    /// the servers after them.
    pub(crate) async fn run(&self, seen: &mut Observation, wanted: &BackendSet) -> Result<(), ObserveError> {
        let mut before = Vec::new();
        for _ in 0..ROUNDS {
            let steps = diff(&seen.servers, wanted);
            // Commands without effect are retried at the next sync.
            if steps.is_empty() || steps == before {
                break;
            }
            for line in lines(&steps) {
                self.send(&line).await?;
                if (self.is_outdated)() {
                    return self.observer.update_servers(seen).await;
                }
            }
            self.observer.update_servers(seen).await?;
            before = steps;
        }
        Ok(())
    }

    async fn send(&self, line: &Line) -> Result<(), ObserveError> {
        let wait = REPLY_WAIT.saturating_add(Duration::from_millis(line.wait_milliseconds()));
        let reply = self.observer.runtime.send(&line.text(), wait).await?;
        self.status.record_progress();
        self.status.record_reply();
        let failures = line.failures(&reply)?;
        for command in &line.commands {
            if !failures.iter().any(|failure| failure.command == *command) {
                log_change(command);
            }
        }
        for failure in failures {
            let (command, reply) = (failure.command.to_string(), failure.reply);
            match failure.command {
                // A last tunnel is about to end; this is retried.
                Command::WaitRemovable { .. } | Command::Delete { .. } => {
                    debug!(command, reply, "server not removable yet");
                }
                _ => {
                    self.metrics.command_failures.inc();
                    warn!(command, reply, "haproxy command failed");
                }
            }
        }
        Ok(())
    }
}

fn log_change(command: &Command) {
    match command {
        Command::Add { server, .. } => info!(server = server.name, address = server.socket(), "server added"),
        Command::Ready { name, .. } => info!(server = name, "server in rotation"),
        Command::Maint { name, .. } => info!(server = name, "server out of rotation"),
        Command::Delete { name, .. } => info!(server = name, "server removed"),
        _ => {}
    }
}
