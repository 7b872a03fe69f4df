//! `wsc-proxy-agent`; everything else is in the library.

use std::process::ExitCode;

use anyhow::Context;
use wsc_proxy_agent::args::{Args, Command};
use wsc_proxy_agent::{init, run};

fn main() -> ExitCode {
    let args = Args::read(std::env::args_os());
    wsc_runtime::run("wsc-proxy-agent", args, |args| args.log_format, start)
}

fn start(args: Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("tokio runtime")?;
    let result = match args.command {
        Command::Init(args) => runtime.block_on(init::init(&args)).map_err(Into::into),
        Command::Run(args) => runtime.block_on(run::run(args)).map_err(Into::into),
    };
    // A name lookup in a thread may never return.
    runtime.shutdown_background();
    result
}
