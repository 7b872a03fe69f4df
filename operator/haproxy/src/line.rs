//! Lines of the runtime socket: several commands per line, and the replies to each of them.

use crate::diff::{Command, Step};
use crate::running::ReplyError;

/// HAProxy reads a line into one buffer of 16 KiB; this many commands with the longest names fit.
const COMMANDS_PER_LINE: usize = 50;
const BYTES_PER_LINE: usize = 12_000;
/// Each `wait` may occupy the socket for its whole time.
const WAITS_PER_LINE: usize = 8;

/// Commands sent in one line.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Line {
    pub commands: Vec<Command>,
}

/// A command that failed, with HAProxy's reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub command: Command,
    pub reply: String,
}

/// Packs the commands of all steps into lines: immediate ones first, so that no new server waits
/// for the removal of an old one.
pub fn lines(steps: &[Step]) -> Vec<Line> {
    let (slow, quick): (Vec<&Command>, Vec<&Command>) = steps
        .iter()
        .flat_map(|step| &step.commands)
        .partition(|command| matches!(command, Command::WaitRemovable { .. } | Command::Delete { .. }));
    let mut lines = Vec::new();
    let mut line = Line::default();
    for command in quick.into_iter().chain(slow) {
        if !line.has_room_for(command) {
            lines.push(std::mem::take(&mut line));
        }
        line.commands.push(command.clone());
    }
    if !line.commands.is_empty() {
        lines.push(line);
    }
    lines
}

impl Line {
    /// The line without its line feed.
    pub fn text(&self) -> String {
        let words: Vec<String> = self.commands.iter().map(ToString::to_string).collect();
        words.join("; ")
    }

    /// How long the `wait` commands of the line may delay the reply, in milliseconds.
    pub fn wait_milliseconds(&self) -> u64 {
        let waits = self.commands.iter().map(|command| match command {
            Command::WaitRemovable { milliseconds, .. } => u64::from(*milliseconds),
            _ => 0,
        });
        waits.sum()
    }

    /// The commands whose reply is not the exact text of a success.
    pub fn failures(&self, reply: &str) -> Result<Vec<Failure>, ReplyError> {
        let replies = split_replies(reply, self.commands.len())?;
        let pairs = self.commands.iter().zip(replies);
        let failed = pairs.filter(|(command, reply)| *reply != command.success().unwrap_or_default());
        Ok(failed
            .map(|(command, reply)| Failure {
                command: command.clone(),
                reply: reply.to_owned(),
            })
            .collect())
    }

    fn has_room_for(&self, command: &Command) -> bool {
        let is_wait = |command: &Command| matches!(command, Command::WaitRemovable { .. });
        let waits = self.commands.iter().filter(|command| is_wait(command)).count();
        let begins_slow = is_wait(command) && waits == 0 && !self.commands.is_empty();
        self.commands.is_empty()
            || (!begins_slow
                && self.commands.len() < COMMANDS_PER_LINE
                && self.text().len().saturating_add(command.to_string().len()) < BYTES_PER_LINE
                && (!is_wait(command) || waits < WAITS_PER_LINE))
    }
}

/// Splits the replies to a line of `count` commands. Each is its text, if any, and an empty line.
fn split_replies(reply: &str, count: usize) -> Result<Vec<&str>, ReplyError> {
    const CUT: ReplyError = ReplyError::Truncated {
        command: "a line of commands",
    };
    let mut rest = reply;
    let mut replies = Vec::with_capacity(count);
    for _ in 0..count {
        let text = if let Some(tail) = rest.strip_prefix('\n') {
            rest = tail;
            ""
        } else {
            let (text, tail) = rest.split_once("\n\n").ok_or(CUT)?;
            rest = tail;
            text
        };
        replies.push(text);
    }
    // HAProxy terminates the last reply like all others, and older releases add one more line feed.
    if rest.trim_matches('\n').is_empty() {
        Ok(replies)
    } else {
        Err(ReplyError::Surplus {
            command: "a line of commands",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reply of HAProxy 3.0.11 to `set server … state maint; wait 500ms srv-removable …; del server
    /// …; set server … state ready`.
    const REPLY: &str = "\nDone.\n\nServer deleted.\n\n\n";

    #[test]
    fn truncated_replies_are_rejected() {
        assert_eq!(
            split_replies(REPLY, 4).unwrap(),
            ["", "Done.", "Server deleted.", ""]
        );
        assert_eq!(
            split_replies("New server registered.\n\n\n\n", 3).unwrap(),
            ["New server registered.", "", ""]
        );
        for end in 0..REPLY.len() {
            assert!(split_replies(&REPLY[..end], 4).is_err(), "cut at {end}");
        }
        assert!(split_replies("No such server.\n\nsurplus\n\n", 1).is_err());
    }

    #[test]
    fn success_needs_the_exact_reply() {
        let (backend, name) = ("ws_pool".to_owned(), "chat-1".to_owned());
        let line = Line {
            commands: vec![
                Command::Maint {
                    backend: backend.clone(),
                    name: name.clone(),
                },
                Command::WaitRemovable {
                    backend: backend.clone(),
                    name: name.clone(),
                    milliseconds: 500,
                },
                Command::Delete { backend, name },
            ],
        };
        assert_eq!(line.failures("\nDone.\n\nServer deleted.\n\n").unwrap(), []);
        let failures = line
            .failures(
                "\nWait delay expired.\n\nServer still has connections attached to it, cannot remove it.\n\n",
            )
            .unwrap();
        assert_eq!(failures.len(), 2);
        assert_eq!(failures[0].reply, "Wait delay expired.");
        assert_eq!(line.wait_milliseconds(), 500);
    }

    #[test]
    fn additions_precede_removals() {
        let step = |n: usize| {
            let (backend, name) = ("ws_pool".to_owned(), format!("chat-{n}"));
            Step {
                server: name.clone(),
                commands: vec![
                    Command::Maint {
                        backend: backend.clone(),
                        name: name.clone(),
                    },
                    Command::WaitRemovable {
                        backend: backend.clone(),
                        name: name.clone(),
                        milliseconds: 500,
                    },
                    Command::Delete { backend, name },
                ],
            }
        };
        let steps: Vec<Step> = (0..120).map(step).collect();
        let lines = lines(&steps);
        let commands: usize = lines.iter().map(|line| line.commands.len()).sum();
        assert_eq!(commands, 360);
        assert!(lines.iter().all(|line| line.commands.len() <= COMMANDS_PER_LINE));
        assert!(lines.iter().all(|line| line.text().len() < BYTES_PER_LINE));
        assert!(lines.iter().all(|line| line.wait_milliseconds() <= 4_000));
        let first_wait = lines.iter().position(|line| line.wait_milliseconds() > 0);
        assert_eq!(first_wait, Some(3), "120 maints come first");
    }
}
