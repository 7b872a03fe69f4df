//! Runs one test program and says what came of it.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process_group};

use super::outcome::Outcome;
use wsc_environment::cache::Cache;
use wsc_environment::interrupt;
use wsc_environment::process::describe;

/// How often a silent suite is checked for interrupts and its limit.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// One test program, ready to be run.
pub(super) struct Suite<'a> {
    pub(super) name: String,
    pub(super) command: Command,
    /// It is killed, and counts as failed, when it is not through by then.
    pub(super) limit: Duration,
    /// Print a line for every test when it ends, for suites that take minutes.
    pub(super) live: bool,
    pub(super) filter: Option<&'a str>,
}

impl Suite<'_> {
    /// Runs it. What it printed is shown when something failed.
    pub(super) fn run(mut self, cache: &Cache) -> Result<Outcome> {
        if let Some(filter) = self.filter {
            self.command.arg(filter);
        }
        // A snapshot or a counter-example that is new is a failure here, never a file.
        self.command
            .env("INSTA_UPDATE", "no")
            .env("CI", "1")
            .env_remove("RUST_LOG");
        let began = Instant::now();
        let (output, ended) = self.execute()?;
        let log = cache.path(format!("test-{}.log", self.name.replace(['/', ' '], "-")));
        File::create(&log)
            .and_then(|mut file| file.write_all(output.as_bytes()))
            .with_context(|| format!("writing {}", log.display()))?;
        let outcome = match (Outcome::parse(&output), &ended) {
            (Some(outcome), Ended::Well) => outcome,
            (Some(outcome), Ended::Badly(_)) => Outcome {
                failed: outcome.failed.max(1),
                ..outcome
            },
            (None, _) => Outcome::of(false),
        };
        if outcome.failed > 0 {
            println!("{output}");
            if let Ended::Badly(how) = &ended {
                println!("{}: {how}; log {}", self.name, log.display());
            }
        }
        println!(
            "   {:<32} {outcome:<28} {:7.1} s",
            self.name,
            began.elapsed().as_secs_f64(),
            outcome = outcome.to_string()
        );
        Ok(outcome)
    }

    fn execute(&mut self) -> Result<(String, Ended)> {
        // In a process group of its own, so that what a test started ends with it.
        let mut child = self
            .command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", self.name))?;
        let (output, broken_off) = self.listen(&lines_of(&mut child)?);
        if broken_off.is_some()
            && let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw)
        {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let status = child.wait()?;
        let ended = match broken_off {
            Some(why) => Ended::Badly(why),
            None if status.success() => Ended::Well,
            None => Ended::Badly(describe(status)),
        };
        Ok((output, ended))
    }

    /// Collects what the program prints until it ends; or says why nobody waits for that.
    fn listen(&self, lines: &mpsc::Receiver<String>) -> (String, Option<String>) {
        let end = Instant::now() + self.limit;
        let mut output = String::new();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match lines.recv_timeout(left.min(POLL_INTERVAL)) {
                Ok(line) => {
                    if self.live && line.starts_with("test ") && !line.starts_with("test result") {
                        println!("     {line}");
                    }
                    output.push_str(&line);
                    output.push('\n');
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => return (output, None),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
            }
            if interrupt::happened() {
                return (output, Some("interrupted, killed".to_owned()));
            }
            if Instant::now() >= end {
                return (
                    output,
                    Some(format!("not through in {} s, killed", self.limit.as_secs())),
                );
            }
        }
    }
}

enum Ended {
    Well,
    Badly(String),
}

/// Both outputs of the child, line by line, in the order of their arrival.
fn lines_of(child: &mut Child) -> Result<mpsc::Receiver<String>> {
    let (tx, rx) = mpsc::sync_channel(1024);
    let out = child.stdout.take().context("the suite has no output")?;
    let err = child.stderr.take().context("the suite has no error output")?;
    let also = tx.clone();
    thread::spawn(move || {
        BufReader::new(out)
            .split(b'\n')
            .map_while(Result::ok)
            .try_for_each(|line| tx.send(text(&line)))
    });
    thread::spawn(move || {
        BufReader::new(err)
            .split(b'\n')
            .map_while(Result::ok)
            .try_for_each(|line| also.send(text(&line)))
    });
    Ok(rx)
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str, limit: Duration) -> Outcome {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let suite = Suite {
            name: format!("unit test {}", script.len()),
            command,
            limit,
            live: false,
            filter: None,
        };
        suite
            .run(
                &Cache::at(std::env::temp_dir().join(format!("wsc-xtask-{}-suite", std::process::id())))
                    .unwrap(),
            )
            .unwrap()
    }

    const MINUTE: Duration = Duration::from_mins(1);

    #[test]
    fn a_suite_counts_as_it_says() {
        assert_eq!(
            run("echo 'test result: ok. 3 passed; 0 failed; 0 ignored'", MINUTE),
            Outcome { passed: 3, failed: 0 }
        );
    }

    #[test]
    fn crash_after_good_results_is_failure() {
        assert_eq!(
            run(
                "echo 'test result: ok. 3 passed; 0 failed; 0 ignored'; exit 101",
                MINUTE
            ),
            Outcome { passed: 3, failed: 1 }
        );
    }

    #[test]
    fn silent_suite_is_a_failure() {
        assert_eq!(run("true", MINUTE), Outcome { passed: 0, failed: 1 });
    }

    #[test]
    fn hanging_suite_is_killed_with_its_children() {
        assert_eq!(
            run("sleep 600 & sleep 600", Duration::from_millis(200)),
            Outcome { passed: 0, failed: 1 }
        );
    }
}
