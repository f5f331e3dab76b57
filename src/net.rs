//! The vocabulary that engine, ESP and link share: where a datagram goes and came from.

use std::fmt;
use std::net::SocketAddr;

/// What a local socket is for. The role, not the port number, decides whether a 4-byte non-ESP marker
/// stands before an IKE message (RFC 3948 2.2, RFC 7296 2.23).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum SocketRole {
    /// IKE without marker; by default port 500.
    Ike,
    /// IKE behind the non-ESP marker, and ESP in UDP; by default port 4500.
    NatT,
    /// ESP as IP protocol 50, without UDP: a raw socket. The ports of a path are 0.
    Esp,
}

/// The two ends of a datagram as this host sees them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Path {
    /// Our address and port.
    pub local: SocketAddr,
    /// The other end's address and port.
    pub remote: SocketAddr,
    /// Which kind of local socket carries it.
    pub role: SocketRole,
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", self.local, self.remote)
    }
}

/// A datagram's payload class. On a [`SocketRole::NatT`] socket the link adds or strips the non-ESP marker.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Class {
    /// An IKE message; `bytes` excludes the non-ESP marker.
    Ike,
    /// An ESP packet, `bytes` begins with the SPI.
    Esp,
    /// A one-octet 0xFF NAT keepalive (RFC 3948 2.3).
    Keepalive,
    /// Exactly these bytes on the wire, whatever the socket: nothing is added. Used by tampering.
    Verbatim,
}

/// Four octets of zero where an ESP packet would have its SPI (RFC 3948 2.2).
pub const NON_ESP_MARKER: [u8; 4] = [0; 4];

impl Class {
    /// What stands before a payload of this class on the wire: the non-ESP marker, or nothing.
    pub fn marker(self, role: SocketRole) -> &'static [u8] {
        match (role, self) {
            (SocketRole::NatT, Class::Ike) => &NON_ESP_MARKER,
            _ => &[],
        }
    }
}

/// A datagram to send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transmit {
    /// From where to where, and on which socket.
    pub path: Path,
    /// What it is; decides whether the link adds the non-ESP marker.
    pub class: Class,
    /// The UDP payload, without the non-ESP marker (except for [`Class::Verbatim`]).
    pub bytes: Vec<u8>,
}
