//! The demo as a program. `cargo xtask demo` starts a Kubernetes and this in its network.

use std::process::ExitCode;

use clap::Parser;
use wsc_demo::{Ending, Options};

/// Ended by signal 2, as shells have it.
const INTERRUPTED: u8 = 130;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    Ok(match wsc_demo::run(&options).await? {
        Ending::Passed => ExitCode::SUCCESS,
        Ending::Failed => ExitCode::FAILURE,
        Ending::Interrupted => ExitCode::from(INTERRUPTED),
    })
}
