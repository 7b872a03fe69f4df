//! Ports for programs that cannot take a listening socket over.

use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};

use anyhow::{Context, Result};

/// Below the ports that the kernel gives to outgoing connections (32768 and up), so that none of
/// those can take one away while a program restarts.
const PORTS: std::ops::Range<u16> = 10_000..32_000;
const ATTEMPTS: u32 = 100;

/// A TCP port that nobody listens on, until its owner does.
///
/// HAProxy binds with `SO_REUSEPORT`: two of them would silently share a port. So a UDP socket of
/// the same number marks it as taken while this value lives, for tests in other processes too.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _mark: UdpSocket,
}

impl Port {
    /// Chooses one.
    ///
    /// # Errors
    /// If there seems to be none.
    pub fn choose() -> Result<Self> {
        for _ in 0..ATTEMPTS {
            let number = rand::random_range(PORTS);
            let Ok(mark) = UdpSocket::bind((Ipv4Addr::LOCALHOST, number)) else {
                continue;
            };
            // On IPv6 this covers both, where there is no IPv6 the other one has to do.
            let free = TcpListener::bind((Ipv6Addr::UNSPECIFIED, number)).is_ok()
                || (TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).is_err()
                    && TcpListener::bind((Ipv4Addr::UNSPECIFIED, number)).is_ok());
            if free {
                return Ok(Self { number, _mark: mark });
            }
        }
        None.context("no free port between 10000 and 32000")
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn nobody_gets_the_same_port_twice() {
        let ports: Vec<Port> = (0..200).map(|_| Port::choose().unwrap()).collect();
        let numbers: BTreeSet<u16> = ports.iter().map(Port::number).collect();
        assert_eq!(numbers.len(), ports.len());
    }
}
