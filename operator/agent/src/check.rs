//! HAProxy's own opinion of a configuration, before anything runs with it.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use thiserror::Error;
use tokio::process::Command;
use tokio::time::timeout;

use crate::args::Places;

const CHECK_WAIT: Duration = Duration::from_secs(5);
/// A message that travels in a status, in characters.
const MESSAGE_LIMIT: usize = 500;

/// Why a configuration may not be used.
#[derive(Debug, Error)]
pub enum CheckError {
    /// HAProxy said no; the text is its line.
    #[error("{0}")]
    Refused(String),
    #[error("haproxy cannot be asked: {0}")]
    Run(#[from] std::io::Error),
    #[error("haproxy did not check the configuration within {CHECK_WAIT:?}")]
    Late,
}

/// `haproxy -c -dW`: warnings are errors. Of the environment the child sees the variable that the configuration uses, and `PATH`,
/// by which it is found.
pub async fn check(places: &Places, configuration: &Path) -> Result<(), CheckError> {
    let mut command = Command::new(&places.haproxy);
    command
        .args(["-c", "-dW", "-f"])
        .arg(configuration)
        .env_clear()
        .env("POD_NAME", &places.pod_name)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    let output = timeout(CHECK_WAIT, command.output())
        .await
        .map_err(|_| CheckError::Late)??;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(CheckError::Refused(reason(&said)))
}

/// The line that says why, out of what HAProxy prints around it.
pub fn reason(said: &str) -> String {
    let is_summary = |line: &str| {
        line.contains("Error(s) found in configuration")
            || line.contains("Fatal errors found")
            || line.contains("Loading failure")
            || line.contains("'zero-warning' is set")
    };
    let find = |word: &str| said.lines().find(|line| line.contains(word) && !is_summary(line));
    let line = find("[ALERT]")
        .or_else(|| find("[WARNING]"))
        .or_else(|| said.lines().find(|line| !line.trim().is_empty()))
        .unwrap_or("haproxy gave no reason");
    // `[ALERT]    (30344) : config : parsing …`: the process id is noise.
    let text = line.split_once(") : ").map_or(line, |(_, text)| text);
    text.trim().chars().take(MESSAGE_LIMIT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_found_among_the_lines() {
        let said = "[NOTICE]   (1) : haproxy version is 3.0.11\n[ALERT]    (1) : config : parsing [h.cfg:40] : balance only supports x.\n\
                    [ALERT]    (1) : config : Error(s) found in configuration file : h.cfg\n";
        assert_eq!(
            reason(said),
            "config : parsing [h.cfg:40] : balance only supports x."
        );
        let warned = "[WARNING]  (1) : config : missing timeouts for frontend 'ws'.\n   | While not properly invalid\n\
                      [ALERT]    (1) : config : Some warnings were found and 'zero-warning' is set. Aborting.\n";
        assert_eq!(reason(warned), "config : missing timeouts for frontend 'ws'.");
        assert_eq!(reason("\nodd\n"), "odd");
        assert_eq!(reason(""), "haproxy gave no reason");
        assert_eq!(reason(&"x".repeat(9_000)).len(), MESSAGE_LIMIT);
    }
}
