//! HAProxy's own check of a configuration, before it is used.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use thiserror::Error;
use tokio::process::Command;
use tokio::time::timeout;
use wsc_contract::env;

use crate::args::Places;

const CHECK_WAIT: Duration = Duration::from_secs(5);
/// The longest message in a status, in characters.
const MESSAGE_LIMIT: usize = 500;

/// A configuration that is not known to be valid.
#[derive(Debug, Error)]
pub enum CheckError {
    /// HAProxy rejected it; the text is its reason.
    #[error("{0}")]
    Refused(String),
    #[error("cannot run haproxy")]
    Run(#[from] std::io::Error),
    #[error("haproxy did not check the configuration within {CHECK_WAIT:?}")]
    Timeout,
}

/// `haproxy -c -dW`: warnings are errors. The child's environment is the variable that the
/// configuration uses, and `PATH`.
pub async fn check(places: &Places, configuration: &Path) -> Result<(), CheckError> {
    let mut command = Command::new(&places.haproxy);
    command
        .args(["-c", "-dW", "-f"])
        .arg(configuration)
        .env_clear()
        .env(env::agent::POD_NAME, &places.pod_name)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    let output = timeout(CHECK_WAIT, command.output())
        .await
        .map_err(|_| CheckError::Timeout)??;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(CheckError::Refused(reason(&stderr)))
}

/// The line with the reason, out of HAProxy's output.
pub(crate) fn reason(output: &str) -> String {
    let is_summary = |line: &str| {
        line.contains("Error(s) found in configuration")
            || line.contains("Fatal errors found")
            || line.contains("Loading failure")
            || line.contains("'zero-warning' is set")
    };
    let find = |word: &str| {
        output
            .lines()
            .find(|line| line.contains(word) && !is_summary(line))
    };
    let line = find("[ALERT]")
        .or_else(|| find("[WARNING]"))
        .or_else(|| output.lines().find(|line| !line.trim().is_empty()))
        .unwrap_or("haproxy gave no reason");
    // `[ALERT]    (30344) : config : parsing …`: the process id is noise.
    let text = line.split_once(") : ").map_or(line, |(_, text)| text);
    text.trim().chars().take(MESSAGE_LIMIT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reason_is_one_line() {
        let output = "[NOTICE]   (1) : haproxy version is 3.0.11\n[ALERT]    (1) : config : parsing [h.cfg:40] : balance only supports x.\n\
                    [ALERT]    (1) : config : Error(s) found in configuration file : h.cfg\n";
        assert_eq!(
            reason(output),
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
