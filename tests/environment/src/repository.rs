//! Where things are in the checkout.

use std::path::PathBuf;
use std::process::Command;

/// The root of the checkout in which `cargo xtask` was typed. (What cargo says now, not when this
/// program was built: several checkouts may share a target folder.)
pub fn root() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    let root = here.ancestors().find(|folder| folder.join("Cargo.lock").exists());
    root.map_or_else(|| here.clone(), PathBuf::from)
}

/// A path in the checkout.
pub fn path(name: &str) -> PathBuf {
    root().join(name)
}

/// Where cargo puts what it builds.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| path("target"), |folder| root().join(folder))
}

/// Cargo, in the root of the checkout.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// A cargo subcommand that is not in the PATH, in the root of the checkout.
pub fn cargo_tool(program: &std::path::Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    command
}
