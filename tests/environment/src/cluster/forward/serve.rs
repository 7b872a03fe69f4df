//! The forwarder itself: it enters the network namespace of the cluster, so it is for Linux only.

use std::fs::{self, File};
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open, setsid};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::cluster::handle::API_SERVER;

/// Connections at a time: a person's kubectl and a dashboard or two.
const CONNECTIONS: usize = 64;

/// How long the API server may take to accept.
const CONNECT: Duration = Duration::from_secs(5);

/// `xtask forward STATE PID`.
pub fn run(state: &Path, cluster: i32) -> Result<()> {
    // Away from the terminal of whoever typed `cluster up`.
    setsid().context("starting a session")?;
    let process = Pid::from_raw(cluster).context("not a process id")?;
    let end = pidfd_open(process, PidfdFlags::empty()).context("looking at the cluster's process 1")?;
    let namespace = Arc::new(
        File::open(format!("/proc/{cluster}/ns/net")).context("opening the cluster's network namespace")?,
    );
    let listener = TcpListener::bind("127.0.0.1:0").context("listening on loopback")?;
    fs::write(state.join("forward.pid"), std::process::id().to_string())?;
    fs::write(
        state.join("forward.port"),
        format!("{}\n", listener.local_addr()?.port()),
    )?;
    thread::spawn(move || accept(&listener, &namespace));
    // Readable when process 1 ended; then this process, and with it the last hold on the namespace,
    // goes too.
    loop {
        match poll(&mut [PollFd::new(&end, PollFlags::IN)], None) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(err) => return Err(err).context("waiting for the end of the cluster"),
        }
    }
}

#[expect(clippy::print_stderr, reason = "the log of the forwarder")]
fn accept(listener: &TcpListener, namespace: &Arc<File>) {
    let open = Arc::new(AtomicUsize::new(0));
    for near in listener.incoming().flatten() {
        if open.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS {
            open.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let (namespace, open) = (Arc::clone(namespace), Arc::clone(&open));
        thread::spawn(move || {
            if let Err(err) = carry(&near, &namespace) {
                eprintln!("forward: {err}");
            }
            open.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

/// Carries bytes both ways until both sides have ended.
fn carry(near: &TcpStream, namespace: &File) -> io::Result<()> {
    // Only this thread moves: a socket belongs for life to the namespace that it was made in.
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
    let address: SocketAddr = API_SERVER.parse().map_err(io::Error::other)?;
    let far = TcpStream::connect_timeout(&address, CONNECT)?;
    thread::scope(|scope| {
        scope.spawn(|| one_way(near, &far));
        one_way(&far, near);
    });
    Ok(())
}

fn one_way(mut from: &TcpStream, mut to: &TcpStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}
