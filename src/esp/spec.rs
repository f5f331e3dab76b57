//! What a data plane is told and what it says.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::counters::{SaCounters, SendError};
use super::inner::Inner;
use super::replay::DEFAULT_WINDOW;
use crate::net::{Path, SocketRole};

/// The UDP port that is echoed (RFC 862).
pub const ECHO_PORT: u16 = 7;

/// How a data plane behaves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlaneConfig {
    /// Packets in each replay window; 0 for none.
    pub replay_window: u32,
    /// Which echo requests are answered.
    pub echo: EchoPolicy,
    /// Keyed ciphers are dropped when no packet has passed for this long.
    pub idle: Duration,
    /// How ESP travels.
    pub encapsulation: Encapsulation,
    /// Whether native ESP can be sent and received.
    pub native: bool,
    /// UDP ports for ESP in UDP where IKE did not move there: ours, the peer's.
    pub natt_ports: (u16, u16),
    /// Keep decapsulated packets that nobody here wanted for [`Plane::poll_inner`](super::Plane::poll_inner).
    pub deliver: bool,
}

impl Default for PlaneConfig {
    fn default() -> Self {
        PlaneConfig {
            replay_window: DEFAULT_WINDOW,
            echo: EchoPolicy::LocalSelectors,
            idle: Duration::from_secs(10),
            encapsulation: Encapsulation::Auto,
            native: false,
            natt_ports: (4500, 4500),
            deliver: false,
        }
    }
}

/// Which echo requests (ICMP, and UDP port 7) are answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EchoPolicy {
    /// None.
    Off,
    /// Those to any address within the selectors of our side.
    LocalSelectors,
    /// Those to these addresses.
    Only(Vec<IpAddr>),
}

/// How ESP travels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encapsulation {
    /// In UDP where NAT detection asks for it, else as IP protocol 50.
    Auto,
    /// Always in UDP.
    ForceUdp,
    /// Always as IP protocol 50.
    Native,
}

/// Something that a person may want to know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PlaneEvent {
    /// A ping's answer.
    Pong {
        /// Number of the request, from 1.
        seq: u64,
        /// Round trip.
        rtt: Duration,
        /// Who answered.
        from: IpAddr,
        /// Octets of the answer behind the IP header.
        len: usize,
        /// Its hop limit on arrival.
        hop_limit: u8,
        /// Child SA (our SPI) on which it came.
        spi_in: u32,
    },
    /// A second answer to the same request.
    PongAgain {
        /// Number of the request.
        seq: u64,
    },
    /// An answer that was too late to count.
    PongLate {
        /// Number of the request.
        seq: u64,
    },
    /// No answer in time.
    PingLost {
        /// Number of the request.
        seq: u64,
    },
    /// A request could not be sent.
    PingUnsent {
        /// Number of the request.
        seq: u64,
        /// Why not.
        why: SendError,
    },
    /// A packet lay outside a Child SA's selectors; said once per Child SA and direction, counted each time.
    OutsideSelectors {
        /// Child SA, our SPI.
        spi_in: u32,
        /// Ours, not sent; or the peer's, dropped.
        outbound: bool,
        /// The packet.
        inner: Inner,
    },
    /// A packet cannot be sent because native ESP is needed and not available; said once per Child SA.
    NativeEspNeeded {
        /// Child SA, our SPI.
        spi_in: u32,
    },
    /// A packet was dropped because more has passed than the cap allows; said once a second for each direction.
    Capped {
        /// Ours, not sent; or the peer's, dropped.
        outbound: bool,
    },
    /// The first packet of a Child SA was authentic: data passes.
    FirstPacket {
        /// Child SA, our SPI.
        spi_in: u32,
    },
}

/// A Child SA's counters after its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Closed {
    /// Our SPI.
    pub spi_in: u32,
    /// The peer's SPI.
    pub spi_out: u32,
    /// What it counted.
    pub counters: SaCounters,
}

impl PlaneConfig {
    /// The path of an ESP packet, from the one that IKE takes.
    pub(super) fn carry(&self, known: Option<Path>, encapsulated: bool) -> Result<Path, SendError> {
        let path = known.ok_or(SendError::NoPath)?;
        let udp = match self.encapsulation {
            // Without a raw socket UDP is tried where IKE takes it: a receiver should accept both (RFC 7296 2.23).
            Encapsulation::Auto => encapsulated || (path.role == SocketRole::NatT && !self.native),
            Encapsulation::ForceUdp => true,
            Encapsulation::Native => false,
        };
        let with = |role, (local, remote): (u16, u16)| Path {
            local: SocketAddr::new(path.local.ip(), local),
            remote: SocketAddr::new(path.remote.ip(), remote),
            role,
        };
        match (udp, path.role) {
            (true, SocketRole::NatT) => Ok(path),
            (true, _) => Ok(with(SocketRole::NatT, self.natt_ports)),
            (false, _) if self.native => Ok(with(SocketRole::Esp, (0, 0))),
            (false, _) => Err(SendError::NoNativeEsp),
        }
    }
}
