//! The bench of the server as a program. `cargo xtask bench server` builds it with what it
//! measures, and starts it.

#[cfg(target_os = "linux")]
mod command;

#[cfg(target_os = "linux")]
fn main() -> anyhow::Result<std::process::ExitCode> {
    command::run()
}

#[cfg(not(target_os = "linux"))]
fn main() -> anyhow::Result<()> {
    anyhow::bail!("the bench needs Linux: its clients wait with epoll and CPU time is read from /proc")
}
