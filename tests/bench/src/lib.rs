//! The bench of the server: our program beside a floor that no program on sockets can beat, in the
//! same run.
//!
//! `measures` says what is measured on which `subjects`, `meter` takes a sample, `rounds`
//! takes them in turn, `pairs` judges, `report` tells. Clients (`crowd`, `storm`,
//! `open_loop`) and floors (`floor`, `door`) are processes of their own, so that each has its
//! own files and its own CPU time.

#[cfg(target_os = "linux")]
pub mod crowd;
#[cfg(target_os = "linux")]
pub mod door;
#[cfg(target_os = "linux")]
pub mod floor;
#[cfg(target_os = "linux")]
mod helper;
#[cfg(target_os = "linux")]
pub mod measures;
#[cfg(target_os = "linux")]
mod meter;
#[cfg(target_os = "linux")]
pub mod open_loop;
#[cfg(target_os = "linux")]
mod pairs;
#[cfg(target_os = "linux")]
pub mod progress;
pub mod report;
#[cfg(target_os = "linux")]
mod rounds;
#[cfg(target_os = "linux")]
pub mod storm;
#[cfg(target_os = "linux")]
mod subjects;
#[cfg(target_os = "linux")]
mod tally;

/// A count as a number to calculate with.
#[expect(
    clippy::cast_precision_loss,
    reason = "bytes and deliveries stay far below 2^53"
)]
pub fn real(count: u64) -> f64 {
    count as f64
}

/// Payload of the messages of the broadcast measures, in bytes.
#[cfg(target_os = "linux")]
pub(crate) const PAYLOAD: usize = 128;
/// Header of a frame with that payload, as servers send it.
#[cfg(target_os = "linux")]
pub(crate) const HEADER: usize = 4;
/// The CPU that the measured programs run on, and the one of everybody else.
#[cfg(target_os = "linux")]
pub(crate) const SERVER_CPU: u32 = 0;
/// See [`SERVER_CPU`].
pub const CLIENT_CPU: u32 = 1;
