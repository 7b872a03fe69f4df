//! Running other programs: with a log, with a deadline, with an error that shows what they said.

use std::fs::{self, File};
use std::io::{BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(20);

/// Lines of a log that an error shows.
const TAIL_LINES: usize = 40;

/// What the program wrote to its standard output; its standard error is in the error.
pub fn output(command: &mut Command) -> Result<String> {
    let name = name_of(command);
    let out = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting {name}"))?;
    if !out.status.success() {
        bail!(
            "{name} {}: {}",
            describe(out.status),
            String::from_utf8_lossy(&out.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Runs with both outputs in the file `log`; when it fails, the error holds the end of the log.
pub fn logged(command: &mut Command, log: &Path) -> Result<()> {
    let name = name_of(command);
    let file = File::create(log).with_context(|| format!("creating {}", log.display()))?;
    let status = command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .status()
        .with_context(|| format!("starting {name}"))?;
    if !status.success() {
        bail!(
            "{name} {}, log {}:\n{}",
            describe(status),
            log.display(),
            tail(log)
        );
    }
    Ok(())
}

/// Runs and gives each line of the standard error to `is_progress`, also each state of a line that
/// is rewritten; what is no progress is kept in the file `log`. Returns what the program wrote to
/// its standard output; when it fails, the error holds the end of the log.
pub fn followed(
    command: &mut Command,
    log: &Path,
    mut is_progress: impl FnMut(&str) -> bool,
) -> Result<String> {
    let name = name_of(command);
    let mut file = File::create(log).with_context(|| format!("creating {}", log.display()))?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {name}"))?;
    let mut out = child.stdout.take().context("no standard output")?;
    let err = child.stderr.take().context("no standard error")?;
    let output = thread::spawn(move || {
        let mut text = Vec::new();
        out.read_to_end(&mut text).map(|_| text)
    });
    let mut piece = Vec::new();
    for byte in BufReader::new(err).bytes() {
        match byte? {
            b'\r' | b'\n' => {
                let line = String::from_utf8_lossy(&piece);
                if !line.is_empty() && !is_progress(&line) {
                    writeln!(file, "{line}")?;
                }
                piece.clear();
            }
            byte => piece.push(byte),
        }
    }
    file.write_all(&piece)?;
    let status = child.wait()?;
    if !status.success() {
        bail!(
            "{name} {}, log {}:\n{}",
            describe(status),
            log.display(),
            tail(log)
        );
    }
    let output = output
        .join()
        .map_err(|_| anyhow::anyhow!("{name}: its output was not read"))??;
    Ok(String::from_utf8_lossy(&output).into_owned())
}

/// Runs with the terminal's own outputs.
pub fn shown(command: &mut Command) -> Result<()> {
    let name = name_of(command);
    let status = command.status().with_context(|| format!("starting {name}"))?;
    if !status.success() {
        bail!("{name} {}", describe(status));
    }
    Ok(())
}

/// Looks until there is an answer; an error names `what` when there is none in time.
pub fn eventually<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if Instant::now() >= end {
            bail!("{what}: not within {} s", limit.as_secs());
        }
        std::thread::sleep(POLL);
    }
}

/// The last lines of a log.
pub fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

/// `exited with 1` or `was ended by signal 9`.
pub fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended in an unknown way".to_owned(),
    }
}

fn name_of(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(
        command
            .get_args()
            .take(4)
            .map(|arg| arg.to_string_lossy().into_owned()),
    );
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_the_program_said() {
        let err = output(Command::new("sh").args(["-c", "echo no such thing >&2; exit 3"]))
            .unwrap_err()
            .to_string();
        assert!(err.contains("exited with 3: no such thing"), "{err}");
    }

    #[test]
    fn rewritten_lines_are_reported() {
        let log = std::env::temp_dir().join(format!("wsc-followed-{}", std::process::id()));
        let mut lines = Vec::new();
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo out; printf '1 of 2\\r2 of 2\\nend\\n' >&2"]);
        let out = followed(&mut shell, &log, |line| {
            lines.push(line.to_owned());
            line.contains(" of ")
        })
        .unwrap();
        assert_eq!(fs::read_to_string(&log).unwrap(), "end\n");
        assert_eq!(
            (out.as_str(), lines),
            ("out\n", vec!["1 of 2".into(), "2 of 2".into(), "end".into()])
        );
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo no such thing >&2; exit 3"]);
        let err = followed(&mut shell, &log, |_| false).unwrap_err().to_string();
        assert!(
            err.contains("exited with 3") && err.contains("no such thing"),
            "{err}"
        );
        fs::remove_file(&log).unwrap();
    }

    #[test]
    fn what_never_comes_is_named() {
        let err = eventually(Duration::from_millis(50), "the end of time", || None::<()>)
            .unwrap_err()
            .to_string();
        assert_eq!(err, "the end of time: not within 0 s");
    }
}
