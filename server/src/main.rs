//! `wsc-server`; everything it does is in the library.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use wsc_server::args::Args;
use wsc_server::run;

/// Gives memory back after a mass disconnect, and wastes less between blocks of a hundred bytes (research: 784 bytes a connection
/// where glibc takes 965).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What is left for threads that cannot be interrupted.
const LOOKUP_WAIT: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    // First of all: what is allocated before is not split again. The allocator requests no huge pages (its feature `no_thp`), but
    // with the setting `always` the kernel gives them unasked.
    let huge_pages = rustix::thread::disable_transparent_huge_pages(true);
    let args = match Args::read(std::env::args_os()) {
        Ok(args) => args,
        Err(exit) => return run::explain(&exit),
    };
    let config = match args.config() {
        Ok(config) => config,
        Err(exit) => return run::explain(&exit),
    };
    run::start_logging(args.log_format);
    if let Err(error) = huge_pages {
        tracing::warn!(%error, "transparent huge pages not disabled");
    }
    match start(&args, config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "fatal error");
            ExitCode::FAILURE
        }
    }
}

fn start(args: &Args, mut config: wsc_server::config::Config) -> anyhow::Result<()> {
    let provider = rustls::crypto::aws_lc_rs::default_provider().install_default();
    if provider.is_err() {
        tracing::warn!("TLS provider already installed");
    }
    run::fit_to_files(&mut config)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("runtime")?;
    let served = runtime.block_on(run::serve(args, config));
    // A name lookup that hangs must not hold the process up after its last client.
    runtime.shutdown_timeout(LOOKUP_WAIT);
    served
}
