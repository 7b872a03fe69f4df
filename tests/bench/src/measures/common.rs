//! What several measures use.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::pairs::median;

/// Told what is being done.
pub type Progress<'a> = &'a mut dyn FnMut(&str);

/// The unit of broadcasts.
pub(super) const DELIVERIES: &str = "deliveries/core-s";
/// After this long what is given back is given back.
pub(super) const SETTLE: Duration = Duration::from_secs(10);

pub(super) fn middle(values: &[f64]) -> Result<f64> {
    median(values).context("no samples")
}
