//! Talking to a helper process: one line there, one line back.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// What a helper answers when it has done what it was told.
pub const DONE: &str = "done";

/// A running helper; it ends with this value.
#[derive(Debug)]
pub struct Helper {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Helper {
    /// This program again, as another one, on this CPU.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(cpu: u32, args: &[&str]) -> Result<Self> {
        let mut command = pinned(cpu, std::env::current_exe()?.as_os_str());
        let mut child = command
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {args:?}"))?;
        let to = child.stdin.take().context("no input")?;
        let from = BufReader::new(child.stdout.take().context("no output")?);
        Ok(Self { child, to, from })
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line that it says.
    ///
    /// # Errors
    /// When it has ended.
    pub fn hear(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(self.from.read_line(&mut line)? > 0, "a helper has ended");
        Ok(line.trim().to_owned())
    }

    /// Tells it something, without waiting.
    ///
    /// # Errors
    /// When it has ended.
    pub fn tell(&mut self, line: &str) -> Result<()> {
        writeln!(self.to, "{line}").context("a helper has ended")
    }

    /// Waits until it has done what it was told.
    ///
    /// # Errors
    /// With what it says instead.
    pub fn done(&mut self) -> Result<()> {
        match self.hear()?.as_str() {
            DONE => Ok(()),
            other => bail!("a helper says {other:?}"),
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // One that has ended is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program that runs on one CPU only.
pub fn pinned(cpu: u32, program: &std::ffi::OsStr) -> Command {
    let mut command = Command::new("taskset");
    command.arg("--cpu-list").arg(cpu.to_string()).arg(program);
    command
}
