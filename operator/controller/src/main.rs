//! `wsc-operator`; everything it does is in the library.

use std::process::ExitCode;

use wsc_operator::{args, run};

/// Memory of a burst of reconciles is given back; the allocator of the C library kept it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args = args::parse(std::env::args_os());
    wsc_runtime::run("wsc-operator", args, |args| args.log_format, run::start)
}
