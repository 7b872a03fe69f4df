//! The bodies of the fuzz targets in `server/fuzz`: functions that survive any input and panic when
//! a rule is broken.

pub(crate) mod frames;
pub(crate) mod handshake;
pub(crate) mod random;
