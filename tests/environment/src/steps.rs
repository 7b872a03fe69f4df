//! One line per step: the time since the start, what is done, a counter where there is one, and the
//! time that it took.
//!
//! On a terminal the line of the running step is rewritten every second; in a log it is repeated
//! every ten.

use std::io::{IsTerminal, Write, stdout};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use parking_lot::Mutex;
use rustix::termios::tcgetwinsize;

/// How often a running step is shown on a terminal.
const TERMINAL_INTERVAL: Duration = Duration::from_secs(1);

/// How often it is in a log.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Columns of the name of a step.
const NAME_WIDTH: usize = 58;

/// Columns of a terminal that does not tell.
const DEFAULT_WIDTH: usize = 80;

/// How far the running step is: `crate 12 of 345`.
#[derive(Debug, Default)]
pub struct Progress(Mutex<String>);

impl Progress {
    /// Shown from now on.
    pub fn set(&self, text: String) {
        *self.0.lock() = text;
    }

    fn get(&self) -> String {
        self.0.lock().clone()
    }
}

/// Prints steps as they happen.
pub struct Steps {
    began: Instant,
    terminal: bool,
}

impl Default for Steps {
    fn default() -> Self {
        Self::new()
    }
}

impl Steps {
    /// The time that is printed begins now.
    pub fn new() -> Self {
        Self {
            began: Instant::now(),
            terminal: stdout().is_terminal(),
        }
    }

    /// Runs one step without a counter.
    pub fn run<T>(&self, name: &str, step: impl FnOnce() -> Result<T>) -> Result<T> {
        self.run_counted(name, |_| step())
    }

    /// Runs one step that reports its progress.
    pub fn run_counted<T>(&self, name: &str, step: impl FnOnce(&Progress) -> Result<T>) -> Result<T> {
        let (began, progress) = (Instant::now(), &Progress::default());
        self.print(&format!("{} {name:<NAME_WIDTH$}", self.clock()));
        let (end, ended) = mpsc::channel::<()>();
        let (result, shown) = thread::scope(|scope| {
            let shown = scope.spawn(move || self.show(name, began, progress, &ended));
            let result = step(progress);
            drop(end);
            (result, shown.join().unwrap_or(true))
        });
        // After a line of progress the step is named again.
        if shown {
            self.print(&format!("{}{} {name:<NAME_WIDTH$}", self.rewind(), self.clock()));
        }
        let outcome = if result.is_ok() { "" } else { "  failed" };
        self.print(&format!(" {:6.1} s{outcome}\n", began.elapsed().as_secs_f64()));
        result
    }

    /// A line without a step of its own.
    pub fn note(&self, text: &str) {
        self.print(&format!("{} {text}\n", self.clock()));
    }

    /// Shows the progress until the step ends; was there anything to show?
    fn show(&self, name: &str, began: Instant, progress: &Progress, ended: &mpsc::Receiver<()>) -> bool {
        let interval = if self.terminal {
            TERMINAL_INTERVAL
        } else {
            LOG_INTERVAL
        };
        let mut shown = false;
        while ended.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
            let line = line(&self.clock(), name, began.elapsed(), &progress.get());
            if self.terminal {
                let line: String = line.chars().take(width().saturating_sub(1)).collect();
                self.print(&format!("{}{line}", self.rewind()));
            } else {
                let before = if shown { "" } else { "\n" };
                self.print(&format!("{before}{line}\n"));
            }
            shown = true;
        }
        shown
    }

    fn clock(&self) -> String {
        format!("[{:6.1} s]", self.began.elapsed().as_secs_f64())
    }

    /// Back to the start of a line that is rewritten.
    fn rewind(&self) -> &'static str {
        if self.terminal { "\r\x1b[2K" } else { "" }
    }

    /// A terminal that was closed is no reason to stop.
    #[expect(clippy::unused_self, reason = "what is printed belongs to the steps")]
    fn print(&self, text: &str) {
        let mut out = stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

fn line(clock: &str, name: &str, spent: Duration, progress: &str) -> String {
    let separator = if progress.is_empty() { "" } else { ": " };
    format!("{clock} {name}{separator}{progress}, {} s", spent.as_secs())
}

fn width() -> usize {
    let size = tcgetwinsize(stdout()).ok();
    size.map_or(DEFAULT_WIDTH, |size| usize::from(size.ws_col))
        .max(NAME_WIDTH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_stands_between_name_and_time() {
        let spent = Duration::from_millis(61_700);
        assert_eq!(
            line("[ 63.0 s]", "go build", spent, "package 3 of 9"),
            "[ 63.0 s] go build: package 3 of 9, 61 s"
        );
        assert_eq!(line("[ 63.0 s]", "apt-get", spent, ""), "[ 63.0 s] apt-get, 61 s");
    }

    #[test]
    fn a_step_returns_what_its_work_returned() {
        let steps = Steps::new();
        let value = steps.run_counted("three", |progress| {
            progress.set("one of one".to_owned());
            Ok(3)
        });
        assert_eq!(value.unwrap(), 3);
        assert!(steps.run("none", || anyhow::bail!("no") as Result<()>).is_err());
    }
}
