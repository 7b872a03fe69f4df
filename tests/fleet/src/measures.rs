//! The measures. Each has an API server of its own.

pub(crate) mod fleet;
pub(crate) mod large;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tokio::time::sleep;
use wsc_testing::output::say;

use crate::environment::TestEnv;
use crate::scrape::Scrape;

/// The operator is idle when it has written nothing, and reconciled at most a cluster a second, for
/// this long.
const QUIET: Duration = Duration::from_secs(20);
/// An operator that is not idle then is measured as it is.
const LONGEST_WAIT: Duration = Duration::from_mins(8);
const POLL: Duration = Duration::from_millis(100);

/// Waits until no cluster is held: each new one is until it has a complete window of samples, and
/// is reconciled at its end. `scaling.stabilizationWindowSeconds` is 300 by default.
async fn until_free(env: &TestEnv) -> Result<()> {
    let end = Instant::now() + LONGEST_WAIT;
    while env.operator.scrape().await?.holds > 0.0 && Instant::now() < end {
        sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}

/// Waits until the operator is idle.
async fn until_quiet(env: &TestEnv) -> Result<()> {
    let end = Instant::now() + LONGEST_WAIT;
    let (mut before, mut since) = (env.operator.scrape().await?, Instant::now());
    while since.elapsed() < QUIET && Instant::now() < end {
        sleep(POLL).await;
        let between = env.operator.scrape().await?.since(&before);
        if between.writes > 0.0 || between.reconciles > QUIET.as_secs_f64() {
            (before, since) = (env.operator.scrape().await?, Instant::now());
        }
    }
    Ok(())
}

/// Waits until this number of reconciles has ended since then.
async fn until_reconciled(env: &TestEnv, before: &Scrape, reconciles: f64) -> Result<Scrape> {
    let end = Instant::now() + LONGEST_WAIT;
    loop {
        let since = env.operator.scrape().await?.since(before);
        if since.reconciles >= reconciles {
            return Ok(since);
        }
        if Instant::now() > end {
            bail!(
                "{} of {reconciles} reconciles within {LONGEST_WAIT:?}",
                since.reconciles
            );
        }
        sleep(Duration::from_millis(20)).await;
    }
}

fn progress(what: &str) {
    say(&format!("operator: {what}"));
}

/// Of a sorted list.
fn quantile(sorted: &[Duration], percent: usize) -> Duration {
    let place = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted.get(place).copied().unwrap_or_default()
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantile_is_a_measured_value() {
        let times: Vec<Duration> = (1..=10).map(Duration::from_secs).collect();
        assert_eq!(quantile(&times, 50), Duration::from_secs(5));
        assert_eq!(quantile(&times, 99), Duration::from_secs(10));
        assert_eq!(quantile(&times[..1], 50), Duration::from_secs(1));
        assert_eq!(quantile(&[], 50), Duration::ZERO);
    }
}
