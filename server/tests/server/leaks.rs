//! What clients do wrong, again and again: the server's memory is back where it was.

use std::net::Ipv4Addr;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use wsc_testing::cluster::eventually;
use wsc_testing::server::Server;

use crate::edges::{cuts, reset};
use crate::frames::{BINARY, FIN, PING, Raw, SMALL, TEXT, broken, frame};
use crate::memory::resident;
use crate::refused::cases::{GOOD, HTTP2, cases};
use crate::refused::{files, status};
use crate::{SOON, alone};

/// Until the allocator has what it needs for all of it.
const WARM: usize = 50;
/// Of about 80 bad connections each.
const ROUNDS: usize = 150;
/// In bytes: less than 100 for each of them.
const MOST: usize = 1 << 20;
/// The timing wheel keeps the outbound queue of a closed connection, about 100 bytes, until its
/// slot is due: at the next heartbeat.
const HEARTBEAT: (&str, &str) = ("WSC_HEARTBEAT_SECONDS", "5");

/// Everything once.
async fn misbehave(server: &Server) {
    let port = server.port();
    for case in cases() {
        status(port, &case.request).await;
    }
    status(port, HTTP2).await;
    for (what, code, bytes) in broken() {
        let mut raw = Raw::connect(server).await;
        raw.send(&bytes).await;
        assert_eq!(raw.close_code().await, Some(code), "{what}");
    }
    for bytes in cuts() {
        let mut raw = Raw::connect(server).await;
        raw.send(&bytes).await;
        reset(raw);
    }
    // Gone in the middle of a handshake, of a message in pieces, of answers that it does not read,
    // and of its own room's messages.
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    stream.write_all(&GOOD.as_bytes()[..40]).await.unwrap();
    drop(stream);
    let pieces = [frame(BINARY, b"x"), frame(0, b"x").repeat(500)].concat();
    for bytes in [
        pieces,
        frame(FIN | PING, &[7; 125]).repeat(1000),
        frame(FIN | TEXT, &[b'x'; 900]).repeat(100),
    ] {
        let mut raw = Raw::connect(server).await;
        raw.send(&bytes).await;
        drop(raw);
    }
}

#[tokio::test]
async fn what_bad_clients_took_is_given_back() {
    let server = alone(&[SMALL, HEARTBEAT]).await;
    for _ in 0..WARM {
        misbehave(&server).await;
    }
    server.wait_connections(0, SOON).await.unwrap();
    let (memory, open) = (resident(&server), files(&server));
    for _ in 0..ROUNDS {
        misbehave(&server).await;
    }
    server.wait_connections(0, SOON).await.unwrap();
    let back = eventually(SOON, "memory and files are back", async || {
        let (more, files) = (resident(&server).saturating_sub(memory), files(&server));
        Ok((more <= MOST && files <= open).then_some(()))
    });
    let back = back.await;
    assert!(
        back.is_ok(),
        "{} more bytes, {} files instead of {open}",
        resident(&server).saturating_sub(memory),
        files(&server)
    );
}
