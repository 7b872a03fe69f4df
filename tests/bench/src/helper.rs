//! Talking to a helper process: one line there, one line back.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// What a helper answers when it has done what it was told.
pub(crate) const DONE: &str = "done";

/// A running helper, or a peer; it ends with this value.
#[derive(Debug)]
pub(crate) struct Helper {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Helper {
    /// This program again, as another one, on these CPUs.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) fn start(cpus: &[u32], args: &[&str]) -> Result<Self> {
        let mut command = pinned(cpus, std::env::current_exe()?.as_os_str());
        command.args(args);
        Self::spawn(command).with_context(|| format!("starting {args:?}"))
    }

    /// Any program that says what there is to say line by line.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) fn spawn(mut command: Command) -> Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let to = child.stdin.take().context("no input")?;
        let from = BufReader::new(child.stdout.take().context("no output")?);
        Ok(Self { child, to, from })
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line that it says.
    ///
    /// # Errors
    /// When it has ended.
    pub(crate) fn hear(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(self.from.read_line(&mut line)? > 0, "a helper has ended");
        Ok(line.trim().to_owned())
    }

    /// Tells it something, without waiting.
    ///
    /// # Errors
    /// When it has ended.
    pub(crate) fn tell(&mut self, line: &str) -> Result<()> {
        writeln!(self.to, "{line}").context("a helper has ended")
    }

    /// Waits until it has done what it was told.
    ///
    /// # Errors
    /// With what it says instead.
    pub(crate) fn done(&mut self) -> Result<()> {
        match self.hear()?.as_str() {
            DONE => Ok(()),
            other => bail!("a helper says {other:?}"),
        }
    }

    /// Waits until it has done what it was told, for what it has to say about it.
    ///
    /// # Errors
    /// With what it says instead.
    pub(crate) fn report(&mut self) -> Result<String> {
        let line = self.hear()?;
        let report = line.strip_prefix(DONE).and_then(|rest| rest.strip_prefix(' '));
        Ok(report
            .with_context(|| format!("a helper says {line:?}"))?
            .to_owned())
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // One that has ended is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program that runs on these CPUs only.
pub(crate) fn pinned(cpus: &[u32], program: &OsStr) -> Command {
    let list: Vec<String> = cpus.iter().map(ToString::to_string).collect();
    let mut command = Command::new("taskset");
    command.arg("--cpu-list").arg(list.join(",")).arg(program);
    command
}

/// The helper's side: one line to who has started it.
///
/// # Errors
/// When nobody reads.
pub(crate) fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

/// The helper's side: does each thing that it is told, until there is no more to come.
///
/// # Errors
/// With the first that goes wrong.
pub(crate) fn obey(mut what: impl FnMut(&[&str]) -> Result<()>) -> Result<()> {
    let mut line = String::new();
    let mut input = std::io::stdin().lock();
    while input.read_line(&mut line)? > 0 {
        let words: Vec<&str> = line.split_whitespace().collect();
        what(&words).with_context(|| line.trim().to_owned())?;
        line.clear();
    }
    Ok(())
}

/// The helper's side, for one that waits for sockets too: the lines that have come.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// A line that is not whole.
    rest: String,
}

impl Lines {
    /// Reads once; none at the end.
    ///
    /// # Errors
    /// When it is no text.
    pub(crate) fn read(&mut self) -> Result<Option<Vec<String>>> {
        let mut bytes = [0; 256];
        // Not by a reader with a buffer of its own, which epoll would not see.
        let read = rustix::io::read(std::io::stdin(), &mut bytes)?;
        self.rest.push_str(std::str::from_utf8(&bytes[..read])?);
        Ok((read > 0).then(|| self.whole()))
    }

    fn whole(&mut self) -> Vec<String> {
        let Some((lines, rest)) = self.rest.rsplit_once('\n') else {
            return Vec::new();
        };
        let (lines, rest) = (lines.split('\n').map(str::to_owned).collect(), rest.to_owned());
        self.rest = rest;
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_counts_when_it_is_whole() {
        let mut lines = Lines::default();
        for (came, whole) in [
            ("pu", &[][..]),
            ("t 1\nget", &["put 1"]),
            (" 2\nput 3\n", &["get 2", "put 3"]),
        ] {
            lines.rest.push_str(came);
            assert_eq!(lines.whole(), whole);
        }
    }
}
