//! Conversions that would otherwise need a word of excuse at each use.

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of connections are far below 2^52"
)]
pub(crate) fn float(number: i64) -> f64 {
    number as f64
}

/// Rounded down; what is no number is 0.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a float that is too large becomes the largest number, which is what is meant"
)]
pub(crate) fn whole(number: f64) -> i64 {
    number.floor() as i64
}

pub(crate) fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// Rounded up. The divisor is at least 1.
pub(crate) fn div_ceil(number: i64, divisor: i64) -> i64 {
    let divisor = divisor.max(1);
    number / divisor + i64::from(number % divisor > 0)
}

pub(crate) fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::from_secs(i64::try_from(duration.as_secs()).unwrap_or(i64::MAX))
}

/// What is written on objects has whole seconds, like everything else that Kubernetes writes.
pub(crate) fn whole_second(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

/// How long ago it was; never negative, whatever clocks say.
pub(crate) fn since(then: Timestamp, now: Timestamp) -> SignedDuration {
    now.duration_since(then).max(SignedDuration::ZERO)
}
