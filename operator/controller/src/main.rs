//! `wsc-operator`; everything it does is in the library.

use std::process::ExitCode;

use anyhow::Context;
use wsc_operator::args::{Args, RunArgs};
use wsc_operator::run;

fn main() -> ExitCode {
    let args = match Args::read(std::env::args_os()) {
        Ok(args) => args,
        Err(exit) => return run::explain(&exit),
    };
    run::start_logging(args.log_format);
    match start(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "fatal error");
            ExitCode::FAILURE
        }
    }
}

fn start(args: RunArgs) -> anyhow::Result<()> {
    if rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .is_err()
    {
        tracing::warn!("a TLS provider was installed already");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("runtime")?;
    let result = runtime.block_on(run::run(args));
    // Whatever still waits for an answer is abandoned: all state is in the cluster.
    runtime.shutdown_background();
    result
}
