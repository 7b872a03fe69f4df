//! TCP options that Linux alone has, or that libc names for Linux alone.

use std::io;

use nix::sys::socket::setsockopt;
use nix::{getsockopt_impl, libc, setsockopt_impl, sockopt_impl};
use tokio::net::TcpSocket;

/// A peer that acknowledges nothing for this long, or has no room for anything, is gone; in
/// milliseconds.
const USER_TIMEOUT_MS: u32 = 30_000;
/// How much the kernel buffers beyond the window of a slow client, in bytes; by default it would be
/// megabytes. The rest stays in the outbound queue, where it is counted.
const NOTSENT_LOWAT: u32 = 16 << 10;

sockopt_impl!(
    /// See tcp(7); nix has no name for it.
    TcpNotsentLowat,
    Both,
    libc::IPPROTO_TCP,
    libc::TCP_NOTSENT_LOWAT,
    u32
);

/// Bounds the time and the memory that a peer which does not read takes.
pub(super) fn bound_slow_peers(socket: &TcpSocket) -> io::Result<()> {
    rustix::net::sockopt::set_tcp_user_timeout(socket, USER_TIMEOUT_MS)?;
    Ok(setsockopt(socket, TcpNotsentLowat, &NOTSENT_LOWAT)?)
}

#[cfg(test)]
pub(super) fn assert_slow_peers_are_bounded(accepted: &std::net::TcpStream) {
    let user_timeout = rustix::net::sockopt::tcp_user_timeout(accepted).unwrap();
    let lowat = nix::sys::socket::getsockopt(accepted, TcpNotsentLowat).unwrap();
    assert_eq!((user_timeout, lowat), (USER_TIMEOUT_MS, NOTSENT_LOWAT));
}
