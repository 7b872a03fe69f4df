//! `cargo xtask`: demo, test, cluster, images, gen. Each command does all of its own set-up.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command for people at a terminal"
)]

mod autobahn;
mod bench;
mod cache;
mod cargo;
mod cluster;
mod commands;
mod debian;
mod demo;
mod environment;
mod r#gen;
mod images;
mod interrupt;
mod kubernetes;
mod ladder;
mod machine;
mod peers;
mod process;
mod repository;
mod steps;
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
