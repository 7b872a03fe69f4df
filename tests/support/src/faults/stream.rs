//! Faults on streams of bytes, over TCP or Unix sockets; TLS passes through.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// What travels at once; small, so that a stall holds back little.
const CHUNK_BYTES: usize = 16 << 10;

/// Where a stream goes.
#[derive(Debug, Clone)]
pub enum Address {
    /// A TCP port.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

/// Which bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// What the client sends.
    ToServer,
    /// What the server answers.
    ToClient,
}

/// The faults of this moment; every one holds for open and for new connections, if it is not said
/// otherwise.
#[derive(Debug, Clone, Default)]
struct Faults {
    stalled: [bool; 2],
    delay: [Duration; 2],
    limit: [Option<u64>; 2],
    refusing: bool,
    /// Connections that are still accepted before everything is cut.
    left: Option<u64>,
    /// A connection that sees another number than at its start is reset.
    cuts: u64,
}

#[derive(Debug, Default)]
struct Control {
    faults: watch::Sender<Faults>,
    connections: AtomicU64,
}

/// A listener that passes every connection on, with faults.
#[derive(Debug)]
pub struct StreamProxy {
    address: Address,
    control: Arc<Control>,
    task: JoinHandle<()>,
}

impl StreamProxy {
    /// Listens on a free TCP port of 127.0.0.1.
    ///
    /// # Errors
    /// If there is no port.
    pub async fn tcp(upstream: Address) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("fault proxy")?;
        let address = Address::Tcp(listener.local_addr()?);
        Ok(Self::start(address, Listener::Tcp(listener), upstream))
    }

    /// Listens on a Unix socket that this makes.
    ///
    /// # Errors
    /// If the path is taken.
    pub fn unix(path: &Path, upstream: Address) -> Result<Self> {
        let listener =
            UnixListener::bind(path).with_context(|| format!("fault proxy at {}", path.display()))?;
        Ok(Self::start(
            Address::Unix(path.to_owned()),
            Listener::Unix(listener),
            upstream,
        ))
    }

    fn start(address: Address, listener: Listener, upstream: Address) -> Self {
        let control = Arc::new(Control::default());
        let task = tokio::spawn(accept(listener, upstream, Arc::clone(&control)));
        Self {
            address,
            control,
            task,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The TCP port where it listens; 0 for a Unix socket.
    pub fn port(&self) -> u16 {
        match &self.address {
            Address::Tcp(address) => address.port(),
            Address::Unix(_) => 0,
        }
    }

    /// Connections accepted so far, refused ones included.
    pub fn connections(&self) -> u64 {
        self.control.connections.load(Ordering::Relaxed)
    }

    /// Every chunk waits this long.
    pub fn delay(&self, direction: Direction, delay: Duration) {
        self.change(|faults| faults.delay[direction as usize] = delay);
    }

    /// Nothing passes in this direction, connections stay open; the peer sees a full window after a
    /// while.
    pub fn stall(&self, direction: Direction) {
        self.change(|faults| faults.stalled[direction as usize] = true);
    }

    /// Ends a stall; what was held back goes on.
    pub fn release(&self, direction: Direction) {
        self.change(|faults| faults.stalled[direction as usize] = false);
    }

    /// A connection ends, without reset, after so many bytes in this direction.
    pub fn truncate(&self, direction: Direction, bytes: u64) {
        self.change(|faults| faults.limit[direction as usize] = Some(bytes));
    }

    /// Resets all connections; new ones are served.
    pub fn cut(&self) {
        self.change(|faults| faults.cuts += 1);
    }

    /// Resets all connections, and each new one at once.
    pub fn refuse(&self) {
        self.change(|faults| {
            faults.cuts += 1;
            faults.refusing = true;
        });
    }

    /// The next `count` connections are served; the one after them resets all, and each new one at
    /// once.
    pub fn stop_after(&self, count: u64) {
        self.change(|faults| faults.left = Some(count));
    }

    /// No faults any more; what was cut stays cut.
    pub fn heal(&self) {
        self.change(|faults| {
            *faults = Faults {
                cuts: faults.cuts,
                ..Faults::default()
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut Faults)) {
        self.control.faults.send_modify(change);
    }
}

impl Drop for StreamProxy {
    fn drop(&mut self) {
        self.task.abort();
        if let Address::Unix(path) = &self.address {
            // Whoever comes next makes its own.
            let _ = std::fs::remove_file(path);
        }
    }
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    async fn accept(&self) -> io::Result<Socket> {
        match self {
            Self::Tcp(listener) => Socket::tcp(listener.accept().await?.0),
            Self::Unix(listener) => Ok(Socket::Unix(listener.accept().await?.0)),
        }
    }
}

/// A connection of either kind.
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    fn tcp(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self::Tcp(stream))
    }

    async fn connect(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => Self::tcp(TcpStream::connect(address).await?),
            Address::Unix(path) => Ok(Self::Unix(UnixStream::connect(path).await?)),
        }
    }

    /// The peer sees a reset instead of an end. (A Unix socket knows only ends.)
    fn reset(self) {
        if let Self::Tcp(stream) = self {
            // If it fails the peer is gone already.
            let _ = stream.set_zero_linger();
        }
    }
}

async fn accept(listener: Listener, upstream: Address, control: Arc<Control>) {
    // Aborts all connections with this task.
    let mut tasks = JoinSet::new();
    loop {
        let client = tokio::select! {
            client = listener.accept() => client,
            Some(_) = tasks.join_next() => continue,
        };
        let Ok(client) = client else { continue };
        control.connections.fetch_add(1, Ordering::Relaxed);
        if is_refused(&control) {
            client.reset();
            continue;
        }
        let faults = control.faults.subscribe();
        let upstream = upstream.clone();
        tasks.spawn(async move {
            match Socket::connect(&upstream).await {
                Ok(server) => connection(client, server, faults).await,
                Err(_) => client.reset(),
            }
        });
    }
}

fn is_refused(control: &Control) -> bool {
    control.faults.send_if_modified(|faults| match &mut faults.left {
        Some(0) => {
            faults.refusing = true;
            faults.cuts += 1;
            faults.left = None;
            true
        }
        Some(left) => {
            *left -= 1;
            false
        }
        None => false,
    });
    control.faults.borrow().refusing
}

async fn connection(client: Socket, server: Socket, faults: watch::Receiver<Faults>) {
    match (client, server) {
        (Socket::Tcp(a), Socket::Tcp(b)) => join(a, b, faults, Socket::Tcp, Socket::Tcp).await,
        (Socket::Tcp(a), Socket::Unix(b)) => join(a, b, faults, Socket::Tcp, Socket::Unix).await,
        (Socket::Unix(a), Socket::Tcp(b)) => join(a, b, faults, Socket::Unix, Socket::Tcp).await,
        (Socket::Unix(a), Socket::Unix(b)) => join(a, b, faults, Socket::Unix, Socket::Unix).await,
    }
}

async fn join<A, B>(
    mut client: A,
    mut server: B,
    mut faults: watch::Receiver<Faults>,
    a: fn(A) -> Socket,
    b: fn(B) -> Socket,
) where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let before = faults.borrow().cuts;
    let was_cut = {
        let (client_read, client_write) = split(&mut client);
        let (server_read, server_write) = split(&mut server);
        let up = pump(client_read, server_write, Direction::ToServer, faults.clone());
        let down = pump(server_read, client_write, Direction::ToClient, faults.clone());
        let both = async { tokio::try_join!(up, down) };
        tokio::select! {
            _ = both => false,
            _ = faults.wait_for(|faults| faults.cuts != before) => true,
        }
    };
    if was_cut {
        a(client).reset();
        b(server).reset();
    }
}

/// Copies one direction; an error ends the whole connection.
async fn pump<R, W>(
    mut from: ReadHalf<R>,
    mut to: WriteHalf<W>,
    direction: Direction,
    mut faults: watch::Receiver<Faults>,
) -> io::Result<()>
where
    R: AsyncRead + AsyncWrite,
    W: AsyncRead + AsyncWrite,
{
    let index = direction as usize;
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut passed = 0_u64;
    loop {
        let read = from.read(&mut chunk).await?;
        let delay = faults.borrow().delay[index];
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let limit = {
            let now = faults.wait_for(|faults| !faults.stalled[index]).await;
            now.map_err(io::Error::other)?.limit[index]
        };
        if read == 0 {
            return to.shutdown().await;
        }
        let allowed = limit.map_or(read, |limit| {
            usize::try_from(limit.saturating_sub(passed)).map_or(read, |left| left.min(read))
        });
        to.write_all(&chunk[..allowed]).await?;
        passed += allowed as u64;
        if allowed < read {
            to.shutdown().await?;
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::eventually;

    const WAIT: Duration = Duration::from_secs(20);

    /// Sends back what it gets.
    async fn echo() -> (Address, JoinHandle<()>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = Address::Tcp(listener.local_addr().unwrap());
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        (address, task)
    }

    async fn connect(proxy: &StreamProxy) -> TcpStream {
        TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port()))
            .await
            .unwrap()
    }

    /// Whether what is said comes back.
    async fn answers(stream: &mut TcpStream, word: &[u8]) -> bool {
        let mut heard = vec![0; word.len()];
        stream.write_all(word).await.is_ok() && stream.read_exact(&mut heard).await.is_ok() && heard == word
    }

    #[tokio::test]
    async fn stall_holds_connections_until_released() {
        let (address, _echo) = echo().await;
        let proxy = StreamProxy::tcp(address).await.unwrap();
        let mut old = connect(&proxy).await;
        assert!(answers(&mut old, b"one").await);
        proxy.stall(Direction::ToClient);
        let mut new = connect(&proxy).await;
        for stream in [&mut old, &mut new] {
            stream.write_all(b"two").await.unwrap();
            let early = tokio::time::timeout(Duration::from_millis(100), stream.peek(&mut [0])).await;
            assert!(early.is_err(), "nothing comes through a stall");
        }
        proxy.release(Direction::ToClient);
        for stream in [&mut old, &mut new] {
            let mut heard = [0; 3];
            tokio::time::timeout(WAIT, stream.read_exact(&mut heard))
                .await
                .unwrap()
                .unwrap();
            assert_eq!(&heard, b"two");
        }
    }

    #[tokio::test]
    async fn a_cut_resets_and_a_truncation_ends() {
        let (address, _echo) = echo().await;
        let proxy = StreamProxy::tcp(address).await.unwrap();
        let mut stream = connect(&proxy).await;
        assert!(answers(&mut stream, b"one").await);
        proxy.cut();
        let reset = tokio::time::timeout(WAIT, stream.read(&mut [0; 8]))
            .await
            .unwrap();
        assert_eq!(reset.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        proxy.truncate(Direction::ToClient, 2);
        let mut stream = connect(&proxy).await;
        stream.write_all(b"three").await.unwrap();
        let mut heard = Vec::new();
        tokio::time::timeout(WAIT, stream.read_to_end(&mut heard))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(heard, b"th");
        proxy.heal();
        assert!(answers(&mut connect(&proxy).await, b"four").await);
    }

    #[tokio::test]
    async fn it_stops_after_so_many_connections() {
        let (address, _echo) = echo().await;
        let proxy = StreamProxy::tcp(address).await.unwrap();
        proxy.stop_after(2);
        let mut first = connect(&proxy).await;
        let mut second = connect(&proxy).await;
        assert!(answers(&mut first, b"a").await && answers(&mut second, b"b").await);
        assert!(!answers(&mut connect(&proxy).await, b"c").await);
        assert!(!answers(&mut first, b"d").await, "the old ones are cut too");
        assert_eq!(proxy.connections(), 3);
    }

    #[tokio::test]
    async fn unix_socket_is_forwarded_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let (inner, outer) = (folder.path().join("inner"), folder.path().join("outer"));
        let listener = UnixListener::bind(&inner).unwrap();
        let proxy = StreamProxy::unix(&outer, Address::Unix(inner)).unwrap();
        let mut client = UnixStream::connect(&outer).await.unwrap();
        client.write_all(b"hello").await.unwrap();
        client.shutdown().await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        let mut heard = String::new();
        server.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "hello");
        drop(proxy);
        assert!(!outer.exists());
        let server = tokio::sync::Mutex::new(server);
        eventually(WAIT, "the end of the connection", || async {
            Ok(server.lock().await.write_all(b"x").await.is_err().then_some(()))
        })
        .await
        .unwrap();
    }
}
