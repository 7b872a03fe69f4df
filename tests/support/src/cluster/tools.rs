//! kubectl and Helm as a person uses them, with a deadline.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

/// Long enough for `helm upgrade --install --wait` and `kubectl wait`.
const WAIT: Duration = Duration::from_mins(3);

/// A program that talks to the API server.
#[derive(Clone, Debug)]
pub struct Tool {
    program: PathBuf,
    kubeconfig: PathBuf,
    wait: Duration,
    input: Option<String>,
}

/// What a program said.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Did it exit with 0?
    pub success: bool,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Tool {
    pub(super) fn new(program: &Path, kubeconfig: &Path) -> Self {
        Self {
            program: program.to_owned(),
            kubeconfig: kubeconfig.to_owned(),
            wait: WAIT,
            input: None,
        }
    }

    /// Another deadline than 3 minutes.
    #[must_use]
    pub fn deadline(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// Text for its standard input, as for `apply -f -`.
    #[must_use]
    pub fn input(mut self, text: impl Into<String>) -> Self {
        self.input = Some(text.into());
        self
    }

    /// Runs it; its standard output is the answer.
    ///
    /// # Errors
    /// When it does not exit with 0 in time; the message holds its standard error.
    pub async fn run<S: AsRef<OsStr>>(self, args: impl IntoIterator<Item = S>) -> Result<String> {
        let name = self
            .program
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let finished = self.finish(args).await?;
        if !finished.success {
            bail!("{name}: {}", finished.stderr.trim());
        }
        Ok(finished.stdout)
    }

    /// Runs it, whatever it says.
    ///
    /// # Errors
    /// When it does not end in time, or cannot be started.
    pub async fn finish<S: AsRef<OsStr>>(self, args: impl IntoIterator<Item = S>) -> Result<Finished> {
        let name = self.program.display().to_string();
        let mut child = Command::new(&self.program)
            .args(args)
            .env("KUBECONFIG", &self.kubeconfig)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        let mut stdin = child.stdin.take().context("no standard input")?;
        let input = self.input.unwrap_or_default();
        let done = async {
            // A program that does not read all of it says itself what is wrong.
            let _ = stdin.write_all(input.as_bytes()).await;
            drop(stdin);
            child.wait_with_output().await
        };
        let Ok(output) = timeout(self.wait, done).await else {
            bail!("{name}: not through in {:?}", self.wait)
        };
        let output = output?;
        Ok(Finished {
            success: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell() -> Tool {
        Tool::new(Path::new("/bin/sh"), Path::new("/nowhere/kubeconfig"))
    }

    #[tokio::test]
    async fn input_goes_in_and_output_comes_out() {
        assert_eq!(
            shell()
                .input("kind: Pod\n")
                .run(["-c", "cat; echo $KUBECONFIG"])
                .await
                .unwrap(),
            "kind: Pod\n/nowhere/kubeconfig\n"
        );
    }

    #[tokio::test]
    async fn a_failure_holds_what_it_said() {
        let err = shell()
            .run(["-c", "echo forbidden >&2; exit 1"])
            .await
            .unwrap_err()
            .to_string();
        assert_eq!(err, "sh: forbidden");
        assert!(!shell().finish(["-c", "exit 1"]).await.unwrap().success);
    }

    #[tokio::test]
    async fn a_hang_ends_at_the_deadline() {
        let err = shell()
            .deadline(Duration::from_millis(50))
            .run(["-c", "sleep 600"])
            .await
            .unwrap_err()
            .to_string();
        assert!(err.contains("not through"), "{err}");
    }
}
