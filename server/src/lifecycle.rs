//! What one process does besides messages: admission of connections, drains, the threads of the
//! shards and their timers.

pub(crate) mod admission;
pub(crate) mod capacity;
pub(crate) mod clients;
pub(crate) mod drain;
pub(crate) mod memory;
pub(crate) mod pulse;
pub(crate) mod shards;
pub(crate) mod shed;
pub(crate) mod wheel;
