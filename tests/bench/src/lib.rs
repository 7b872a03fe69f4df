//! The bench of the server: our program beside a floor that no program on sockets can beat, in the same run.
//!
//! [`measures`] says what is measured on which [`subjects`], [`meter`] takes a sample, [`rounds`] takes them in turn, [`pairs`] judges,
//! [`report`] tells.
//! Clients ([`crowd`], [`storm`], [`open_loop`]) and floors ([`floor`], [`door`]) are processes of their own, so that each has its own
//! files and its own CPU time.

pub mod crowd;
pub mod door;
pub mod floor;
pub mod helper;
pub mod measures;
pub mod meter;
pub mod open_loop;
pub mod pairs;
pub mod progress;
pub mod report;
pub mod rounds;
pub mod storm;
pub mod subjects;
pub mod tally;

/// A count as a number to calculate with.
#[expect(
    clippy::cast_precision_loss,
    reason = "bytes and deliveries stay far below 2^53"
)]
pub fn real(count: u64) -> f64 {
    count as f64
}

/// Payload of the messages of the broadcast measures, in bytes.
pub const PAYLOAD: usize = 128;
/// Header of a frame with that payload, as servers send it.
pub const HEADER: usize = 4;
/// The CPU that the measured programs run on, and the one of everybody else.
pub const SERVER_CPU: u32 = 0;
/// See [`SERVER_CPU`].
pub const CLIENT_CPU: u32 = 1;
