//! Ctrl-C: the terminal tells every process of the job; this one stays to clean up after the others.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on SIGINT and SIGTERM are remembered instead of ending this process.
pub(crate) fn hold() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the signal thread")?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    thread::spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                note();
            }
        });
    });
    Ok(())
}

/// Somebody else was asked to stop, and this process goes along.
pub(crate) fn note() {
    INTERRUPTED.store(true, Ordering::SeqCst);
}

/// Was this process asked to stop?
pub(crate) fn happened() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}
