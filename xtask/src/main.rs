//! `cargo xtask`: demo, test, cluster, images, gen, audit. Each command does all of its own set-up.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command for people at a terminal"
)]

mod audit;
mod bench;
mod commands;
mod demo;
mod publish;
mod release;
mod sim;
mod test;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match commands::run(commands::Cli::parse()) {
        Ok(code) => code,
        Err(err) => {
            println!();
            eprintln!("error: {err:#}");
            ExitCode::FAILURE
        }
    }
}
