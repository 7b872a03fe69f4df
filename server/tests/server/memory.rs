//! What an open connection costs while it is idle, also after it was not.

use tokio::sync::{Semaphore, SemaphorePermit};
use wsc_testing::cpu;
use wsc_testing::server::Server;
use wsc_testing::sockets::allow_files;

use crate::alone;
use crate::frames::{BINARY, FIN, Raw, frame};

const CONNECTIONS: usize = 4000;
/// The target of `docs/benchmarks.md`; 1.2 KiB are measured. One buffer that is kept, or the task
/// of the HTTP library, exceeds it.
const MOST_BYTES: usize = 1536;

/// Connections that tests with many of them may have together; the rest of the limit of 20,000 is
/// for the others.
static SOCKETS: Semaphore = Semaphore::const_new(18_500);

/// Waits until this process may open so many.
pub(crate) async fn sockets(count: usize) -> SemaphorePermit<'static> {
    allow_files().unwrap();
    SOCKETS.acquire_many(u32::try_from(count).unwrap()).await.unwrap()
}

/// Resident memory of the server, in bytes.
pub(crate) fn resident(server: &Server) -> usize {
    let bytes = cpu::resident(server.pid()).unwrap();
    usize::try_from(bytes).unwrap()
}

async fn connect(server: &Server, count: usize) -> Vec<Raw> {
    let mut all = Vec::with_capacity(count);
    for _ in 0..count {
        all.push(Raw::connect(server).await);
    }
    all
}

/// The kernel counts a huge page as resident from its first byte on. With huge pages the cost of
/// 4,000 connections is a multiple of 2 MiB, 524 bytes each, and one page more or less decides the
/// test below.
#[tokio::test]
async fn the_heap_has_no_huge_pages() {
    let server = alone(&[]).await;
    let file = |name: &str| std::fs::read_to_string(format!("/proc/{}/{name}", server.pid())).unwrap();
    let status = file("status");
    let enabled = status.lines().find(|line| line.starts_with("THP_enabled:"));
    assert_eq!(
        enabled,
        Some("THP_enabled:\t0"),
        "the kernel gives none, also when its setting is `always`"
    );
    let maps = file("smaps");
    let mut flags = maps.lines().filter_map(|line| line.strip_prefix("VmFlags:"));
    let is_advised = flags.any(|flags| flags.split_whitespace().any(|flag| flag == "hg"));
    assert!(!is_advised, "the allocator requests huge pages");
}

async fn broadcast(clients: &mut [Raw], times: usize) {
    let payload = vec![7; 1 << 10];
    for _ in 0..times {
        clients[0].send(&frame(FIN | BINARY, &payload)).await;
    }
    for client in clients {
        for _ in 0..times {
            assert_eq!(client.next().await, Some((FIN | BINARY, payload.clone())));
        }
    }
}

#[tokio::test]
async fn idle_connection_is_small_after_use() {
    let _sockets = sockets(CONNECTIONS + 200).await;
    let server = alone(&[]).await;
    drop(connect(&server, 200).await);
    let before = resident(&server);
    let mut clients = connect(&server, CONNECTIONS).await;
    let each = |what: &str| {
        let bytes = resident(&server).saturating_sub(before) / CONNECTIONS;
        assert!(bytes <= MOST_BYTES, "{bytes} bytes each {what}");
    };
    each("at first");
    broadcast(&mut clients, 1).await;
    broadcast(&mut clients, 1).await;
    each("after two broadcasts");
    broadcast(&mut clients, 10).await;
    each("after a burst");
}
