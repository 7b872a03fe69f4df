//! A port on the machine's loopback that leads to the API server in the cluster's network namespace, for a person's own kubectl.
//!
//! A small process of its own: it outlives the `cargo xtask` that started it and ends with the cluster.

use std::fs::{self, File};
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open, setsid};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::handle::Cluster;
use super::processes;
use crate::process::eventually;

/// Where the cluster's process 1 keeps the API server.
const API_SERVER: &str = "10.89.0.1:6443";

/// Connections at a time: a person's kubectl and a dashboard or two.
const CONNECTIONS: usize = 64;

/// How long the API server may take to accept.
const CONNECT: Duration = Duration::from_secs(5);

/// How long the forwarder may take to listen.
const LISTEN: Duration = Duration::from_secs(10);

/// Starts the forwarder unless it runs, and writes the kubeconfig that leads to it.
pub(super) fn start(cluster: &Cluster) -> Result<()> {
    let state = &cluster.state;
    if !running(state) {
        let port = state.join("forward.port");
        if port.exists() {
            fs::remove_file(&port)?;
        }
        // By this name and not by the path: cargo may have replaced the file meanwhile.
        let child = Command::new("/proc/self/exe")
            .arg("forward")
            .arg(state)
            .arg(cluster.pid()?.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(state.join("log/forward"))?)
            .spawn();
        child.context("starting the forwarder")?;
        let number = eventually(LISTEN, "the forwarded port", || {
            fs::read_to_string(&port).ok().filter(|text| text.ends_with('\n'))
        })?;
        let kubeconfig = fs::read_to_string(cluster.kubeconfig())?;
        let kubeconfig = kubeconfig.replace(API_SERVER, &format!("127.0.0.1:{}", number.trim()));
        fs::write(cluster.forwarded_kubeconfig(), kubeconfig)?;
    }
    println!("export KUBECONFIG={}", cluster.forwarded_kubeconfig().display());
    Ok(())
}

/// Ends the forwarder.
pub(super) fn stop(state: &Path) -> Result<()> {
    let Some(pid) = pid(state) else { return Ok(()) };
    processes::kill(pid);
    eventually(LISTEN, "the end of the forwarder", || {
        (!processes::alive(pid)).then_some(())
    })
}

fn pid(state: &Path) -> Option<i32> {
    let pid = fs::read_to_string(state.join("forward.pid"))
        .ok()?
        .trim()
        .parse()
        .ok()?;
    let arguments = processes::arguments(pid);
    (arguments.iter().any(|arg| arg == "forward") && arguments.iter().any(|arg| Path::new(arg) == state))
        .then_some(pid)
}

fn running(state: &Path) -> bool {
    pid(state).is_some()
}

/// The forwarder itself: `xtask forward STATE PID`.
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
    // Readable when process 1 ended; then this process, and with it the last hold on the namespace, goes too.
    loop {
        match poll(&mut [PollFd::new(&end, PollFlags::IN)], None) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(err) => return Err(err).context("waiting for the end of the cluster"),
        }
    }
}

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
