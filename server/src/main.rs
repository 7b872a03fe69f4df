//! `wsc-server`; everything it does is in the library.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use wsc_server::args::Args;
use wsc_server::config::Config;
use wsc_server::run;

/// Gives memory back after a mass disconnect, and wastes less between blocks of a hundred bytes
/// (research: 784 bytes a connection where glibc takes 965).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What is left for threads that cannot be interrupted.
const LOOKUP_WAIT: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    // First of all: what is allocated before is not split again. The allocator requests no huge
    // pages (its feature `no_thp`), but with the setting `always` the kernel gives them unasked.
    #[cfg(target_os = "linux")]
    let huge_pages = rustix::thread::disable_transparent_huge_pages(true);
    let command = Args::read(std::env::args_os()).and_then(|args| Ok((args.config()?, args)));
    wsc_runtime::run(
        "wsc-server",
        command,
        |(_, args)| args.log_format,
        |(config, args)| {
            #[cfg(target_os = "linux")]
            if let Err(error) = huge_pages {
                tracing::warn!(%error, "transparent huge pages not disabled");
            }
            start(&args, config)
        },
    )
}

fn start(args: &Args, mut config: Config) -> anyhow::Result<()> {
    run::fit_to_files(&mut config)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let served = runtime.block_on(run::serve(args, config));
    // A name lookup that hangs must not hold the process up after its last client.
    runtime.shutdown_timeout(LOOKUP_WAIT);
    Ok(served?)
}
