//! What the kernel allows and says of sockets.

use std::fs;

use anyhow::{Result, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// This process may open as many files as its hard limit says: a test with thousands of clients
/// needs them.
///
/// # Errors
/// When the kernel does not let it.
pub fn allow_files() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    Ok(setrlimit(Resource::Nofile, raised)?)
}

/// Bytes that the connections of a port have sent and that were not taken, each (`tx_queue` in
/// `/proc/net/tcp` and `tcp6`).
///
/// # Errors
/// When a line cannot be read.
pub fn send_queues(port: u16) -> Result<Vec<u64>> {
    let mut queues = Vec::new();
    for table in ["tcp", "tcp6"] {
        // Without IPv6 there is no second one.
        let text = fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default();
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [_, local, _, state, queue, ..] = fields[..] else {
                bail!("{line:?} in /proc/net/{table}");
            };
            if state == ESTABLISHED && local.ends_with(&format!(":{port:04X}")) {
                let (sent, _) = queue.split_once(':').unwrap_or_default();
                queues.push(u64::from_str_radix(sent, 16)?);
            }
        }
    }
    Ok(queues)
}

const ESTABLISHED: &str = "01";

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn what_nobody_reads_is_in_the_queue() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(send_queues(port).unwrap(), [0; 0]);
        let _reader = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (mut writer, _) = listener.accept().unwrap();
        assert_eq!(send_queues(port).unwrap(), [0]);
        writer.set_nonblocking(true).unwrap();
        let much = vec![0; 1 << 16];
        let full = loop {
            if let Err(error) = writer.write(&much) {
                break error.kind();
            }
        };
        assert_eq!(full, ErrorKind::WouldBlock);
        assert!(send_queues(port).unwrap()[0] > much.len() as u64);
    }
}
