//! The demo: clients on a real pool while it grows and shrinks, and a verdict on what they saw.

pub mod checker;
pub mod record;
