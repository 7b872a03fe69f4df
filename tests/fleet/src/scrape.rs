//! What the operator's `/metrics` shows, and the difference of two scrapes.

use std::time::Duration;

use anyhow::{Context, Result};

/// Counters since the start of the operator.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Scrape {
    pub(crate) reconciles: f64,
    /// Duration of all reconciles, in seconds.
    seconds: f64,
    /// Upper limits in seconds, with the number of reconciles up to each.
    buckets: Vec<(f64, f64)>,
    pub(crate) writes: f64,
    /// Holds in force now, of all clusters.
    pub(crate) holds: f64,
}

impl Scrape {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let mut scrape = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (series, value) = line.rsplit_once(' ').with_context(|| line.to_owned())?;
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let value: f64 = value.parse().with_context(|| line.to_owned())?;
            match name {
                "wsc_operator_reconcile_duration_seconds_count" => scrape.reconciles = value,
                "wsc_operator_reconcile_duration_seconds_sum" => scrape.seconds = value,
                "wsc_operator_reconcile_duration_seconds_bucket" => {
                    scrape.buckets.push((limit(labels)?, value));
                }
                "wsc_operator_api_writes_total" => scrape.writes += value,
                "wsc_operator_hold" => scrape.holds += value,
                _ => {}
            }
        }
        Ok(scrape)
    }

    /// Without what an earlier scrape has counted.
    pub(crate) fn since(&self, before: &Self) -> Self {
        // Every scrape has all buckets, in the same order.
        let pairs = self.buckets.iter().zip(&before.buckets);
        let buckets = pairs.map(|((limit, count), (_, earlier))| (*limit, count - earlier));
        Self {
            reconciles: self.reconciles - before.reconciles,
            seconds: self.seconds - before.seconds,
            buckets: buckets.collect(),
            writes: self.writes - before.writes,
            holds: self.holds,
        }
    }

    /// Mean duration of a reconcile.
    pub(crate) fn mean(&self) -> Option<Duration> {
        Duration::try_from_secs_f64(self.seconds / self.reconciles).ok()
    }

    /// The upper limit of the bucket that holds this share of all reconciles: what they took at
    /// most.
    pub(crate) fn at_most(&self, share: f64) -> Option<f64> {
        let wanted = self.reconciles * share;
        let bucket = self.buckets.iter().find(|(_, count)| *count >= wanted);
        bucket.map(|(limit, _)| *limit)
    }
}

fn limit(labels: &str) -> Result<f64> {
    let limit = labels
        .split_once("le=\"")
        .and_then(|(_, rest)| rest.split_once('"'));
    let (limit, _) = limit.with_context(|| format!("a bucket without a limit: {labels}"))?;
    limit
        .replace("+Inf", "inf")
        .parse()
        .with_context(|| limit.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "\
# TYPE wsc_operator_reconcile_duration_seconds histogram
wsc_operator_reconcile_duration_seconds_sum 10.0
wsc_operator_reconcile_duration_seconds_count 5
wsc_operator_reconcile_duration_seconds_bucket{le=\"0.001\"} 0
wsc_operator_reconcile_duration_seconds_bucket{le=\"0.002\"} 1
wsc_operator_reconcile_duration_seconds_bucket{le=\"+Inf\"} 5
wsc_operator_api_writes_total{verb=\"create\",kind=\"Pod\",outcome=\"ok\"} 7
# EOF
";
    const AFTER: &str = "\
wsc_operator_reconcile_duration_seconds_sum 10.15
wsc_operator_reconcile_duration_seconds_count 105
wsc_operator_reconcile_duration_seconds_bucket{le=\"0.001\"} 90
wsc_operator_reconcile_duration_seconds_bucket{le=\"0.002\"} 100
wsc_operator_reconcile_duration_seconds_bucket{le=\"+Inf\"} 105
wsc_operator_api_writes_total{verb=\"create\",kind=\"Pod\",outcome=\"ok\"} 8
wsc_operator_api_writes_total{verb=\"apply\",kind=\"Service\",outcome=\"ok\"} 2
wsc_operator_hold{namespace=\"ns\",cluster=\"a\",reason=\"WindowIncomplete\"} 1
wsc_operator_hold{namespace=\"ns\",cluster=\"b\",reason=\"WindowIncomplete\"} 0
wsc_operator_hold{namespace=\"ns\",cluster=\"b\",reason=\"Panic\"} 1
";

    #[test]
    fn difference_has_only_what_happened_between() {
        let (before, after) = (Scrape::parse(BEFORE).unwrap(), Scrape::parse(AFTER).unwrap());
        let between = after.since(&before);
        let counts = (between.reconciles, between.writes, between.holds);
        assert_eq!(counts, (100.0, 3.0, 2.0), "holds are those in force now");
        assert_eq!(between.mean().unwrap().as_micros(), 1_500);
        assert_eq!(between.at_most(0.9), Some(0.001));
        assert_eq!(between.at_most(0.99), Some(0.002));
        assert_eq!(between.at_most(1.0), Some(f64::INFINITY));
        assert_eq!(before.since(&before).mean(), None);
    }

    #[test]
    fn series_without_a_value_is_rejected() {
        assert!(Scrape::parse("wsc_operator_api_writes_total").is_err());
        assert!(Scrape::parse("wsc_operator_reconcile_duration_seconds_bucket{} 1").is_err());
    }
}
