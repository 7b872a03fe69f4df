//! Waiting for many sockets in one thread.

use std::io;
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, Event};
use rustix::fd::AsFd;
use rustix::io::retry_on_intr;

/// Replaces `events` by those that are ready, at most its capacity; none after the timeout.
///
/// The kernel never restarts epoll_wait(2) after a signal, also not after one that another thread
/// handles, such as the SIGCHLD of a process that a test has started.
///
/// # Errors
/// Those of epoll_wait(2) but EINTR, and a timeout that the kernel cannot represent.
pub fn wait(epoll: impl AsFd, events: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<()> {
    let timeout = timeout
        .map(Timespec::try_from)
        .transpose()
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    events.clear();
    retry_on_intr(|| epoll::wait(&epoll, rustix::buffer::spare_capacity(events), timeout.as_ref()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::thread;

    use rustix::event::epoll::CreateFlags;

    use super::*;

    #[test]
    fn a_stopped_and_continued_process_keeps_waiting() {
        let waiting = thread::spawn(|| {
            let epoll = epoll::create(CreateFlags::CLOEXEC).unwrap();
            wait(&epoll, &mut Vec::with_capacity(1), Some(Duration::from_secs(2)))
        });
        let script = "sleep 0.2; kill -STOP $PPID; sleep 0.1; kill -CONT $PPID";
        let status = Command::new("sh").args(["-c", script]).status().unwrap();
        assert!(status.success());
        waiting.join().unwrap().unwrap();
    }
}
