//! What is measured. Each measure takes its samples and tells its rows.

mod broadcast;
mod common;
mod echo;
mod handshake;
mod hundred_thousand;
mod memory;
mod redis;
mod stalled;
mod start;

use anyhow::Result;

use super::report::Row;

pub use common::Progress;

/// A measure, and how long it takes on two cores of a shared machine, in seconds: for who waits.
#[derive(Clone, Copy, Debug)]
pub struct Measure {
    /// Its name on the command line.
    pub name: &'static str,
    /// Seconds.
    pub takes: u64,
}

const fn measure(name: &'static str, takes: u64) -> Measure {
    Measure { name, takes }
}

/// All of them, in the order of the table.
pub const MEASURES: [Measure; 9] = [
    measure("memory", 60),
    measure("handshake", 175),
    measure("broadcast", 370),
    measure("echo", 120),
    measure("hundred-thousand", 120),
    measure("redis", 206),
    measure("stalled", 65),
    measure("start", 5),
    measure("size", 1),
];

/// Takes one.
///
/// # Errors
/// When something does not work; noise is no error.
pub async fn take(measure: &str, progress: Progress<'_>) -> Result<Vec<Row>> {
    match measure {
        "memory" => memory::take(progress).await,
        "handshake" => handshake::take(progress).await,
        "broadcast" => broadcast::take(progress).await,
        "echo" => echo::take(progress).await,
        "hundred-thousand" => hundred_thousand::take(progress).await,
        "redis" => redis::take(progress).await,
        "stalled" => stalled::take(progress).await,
        "start" => start::take(progress).await,
        _ => start::size(),
    }
}
