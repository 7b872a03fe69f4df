//! Ctrl-C: the terminal tells every process of the job; this one stays to clean up after the
//! others.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

static INTERRUPTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

fn interrupted() -> &'static Arc<AtomicBool> {
    INTERRUPTED.get_or_init(Arc::default)
}

/// From now on SIGINT and SIGTERM are remembered instead of ending this process.
pub fn hold() -> Result<()> {
    for signal in [SIGINT, SIGTERM] {
        flag::register(signal, Arc::clone(interrupted())).context("listening to signals")?;
    }
    Ok(())
}

/// Another process received the signal; this one stops too.
pub fn note() {
    interrupted().store(true, Ordering::SeqCst);
}

/// Was this process asked to stop?
pub fn happened() -> bool {
    interrupted().load(Ordering::SeqCst)
}
