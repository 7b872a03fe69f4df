//! Waiting for a state instead of for a time.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::time::{Instant, sleep, timeout};

/// Between two looks: short enough for a test that waits often, long enough for an API server that
/// serves many tests.
const POLL: Duration = Duration::from_millis(100);

/// Looks until there is an answer.
///
/// # Errors
/// When there is none in time; the message names `what` and the last error of a look.
pub async fn eventually<T, F>(deadline: Duration, what: &str, mut look: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<Option<T>>>,
{
    let end = Instant::now() + deadline;
    let mut last = None;
    loop {
        match timeout(end.saturating_duration_since(Instant::now()), look()).await {
            Ok(Ok(Some(found))) => return Ok(found),
            Ok(Ok(None)) => last = None,
            Ok(Err(err)) => last = Some(err),
            Err(_) => {}
        }
        if Instant::now() >= end {
            let why = last.map_or_else(String::new, |err| format!(" (last error: {err:#})"));
            bail!("{what}: not within {deadline:?}{why}");
        }
        sleep(POLL).await;
    }
}

/// One remote call with a deadline.
///
/// # Errors
/// That of the call, or that it took too long.
pub async fn within<T, E>(
    deadline: Duration,
    what: &str,
    call: impl Future<Output = Result<T, E>>,
) -> Result<T>
where
    E: std::error::Error + Send + Sync + 'static,
{
    match timeout(deadline, call).await {
        Ok(answer) => answer.with_context(|| what.to_owned()),
        Err(_) => bail!("{what}: no answer within {deadline:?}"),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn it_looks_until_there_is_an_answer() {
        let looks = Cell::new(0);
        let found = eventually(Duration::from_mins(1), "the third look", || {
            looks.set(looks.get() + 1);
            let n = looks.get();
            async move { Ok((n == 3).then_some(n)) }
        });
        assert_eq!(found.await.unwrap(), 3);
    }

    #[tokio::test]
    async fn error_names_the_condition_and_cause() {
        let never = eventually::<(), _>(Duration::from_millis(20), "a pod", || async {
            bail!("connection refused")
        });
        let err = never.await.unwrap_err().to_string();
        assert_eq!(err, "a pod: not within 20ms (last error: connection refused)");
    }

    #[tokio::test]
    async fn a_look_that_hangs_is_cut_off() {
        let never = eventually::<(), _>(Duration::from_millis(20), "a pod", std::future::pending);
        assert!(never.await.is_err());
    }
}
