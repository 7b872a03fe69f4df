//! The simulator as a program. `cargo xtask sim` builds and starts it.

use clap::Parser;
use wsc_sim::Options;

fn main() -> anyhow::Result<()> {
    wsc_sim::run(&Options::parse())
}
