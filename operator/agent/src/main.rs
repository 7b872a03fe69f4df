//! `wsc-proxy-agent`; everything it does is in the library.

use std::process::ExitCode;

use clap::Parser;
use wsc_proxy_agent::args::{Args, Command};
use wsc_proxy_agent::{init, log, run};

fn main() -> ExitCode {
    let args = Args::parse();
    log::start(args.log_format);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return log::fatal(&error.into()),
    };
    let result = match args.command {
        Command::Init(args) => runtime.block_on(init::init(&args)),
        Command::Run(args) => runtime.block_on(run::run(args)),
    };
    // A look-up of a name may still hang in a thread; nothing waits for it.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => log::fatal(&error),
    }
}
