//! Conversions between counts and fractions.

/// Counts of clients and seconds are far below 2^53.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub(crate) fn real(count: i64) -> f64 {
    count as f64
}

/// The whole part of a number of clients.
#[expect(
    clippy::cast_possible_truncation,
    reason = "counts of clients, far below 2^63"
)]
pub(crate) fn whole(number: f64) -> i64 {
    number as i64
}

pub(crate) fn count(items: usize) -> i64 {
    i64::try_from(items).unwrap_or(i64::MAX)
}
