//! What lives beside an endpoint, at either end: a data plane, the events in order, and which SAs there are.

use crate::drive::{Observer, Queue};
use crate::engine::{Command, EspNote, Event, SaId, TunnelId};
use crate::esp::{Encapsulation, Plane, PlaneConfig};
use crate::link::LinkNote;
use crate::net::{Path, Transmit};
use crate::time::Instant;

use super::file::PeerOrder;
use super::observe::is_honest;

/// An observer with a data plane.
pub struct Station {
    /// Events and notes that nobody has taken yet.
    pub queue: Queue,
    /// The data plane.
    pub plane: Plane,
    /// The IKE SA that carries the tunnel, even after its end.
    pub sa: Option<SaId>,
    /// Its Child SAs by our SPI, newest last.
    pub children: Vec<u32>,
    carry: Carry,
}

/// How ESP leaves a station.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Carry {
    /// In UDP or not.
    pub encapsulation: Encapsulation,
    /// Native ESP is possible.
    pub native: bool,
    /// NAT traversal ports: ours, the peer's.
    pub natt_ports: (u16, u16),
}

impl Station {
    /// With nothing in it.
    pub fn new(carry: Carry) -> Self {
        let Carry { encapsulation, native, natt_ports } = carry;
        let plane = Plane::new(PlaneConfig { encapsulation, native, natt_ports, ..PlaneConfig::default() });
        Station { queue: Queue::default(), plane, sa: None, children: Vec::new(), carry }
    }

    /// Forgets everything, as in a power cut.
    pub fn forget(&mut self) {
        *self = Station::new(self.carry);
    }

    /// The command for something that this end is to do.
    ///
    /// # Errors
    /// In words, if it has no SA for it.
    pub fn command(&self, order: PeerOrder, second: &str) -> Result<(SaId, Command), String> {
        let sa = self.sa.ok_or("no IKE SA is up")?;
        let child = || self.children.last().copied().ok_or("no Child SA is up");
        Ok((
            sa,
            match order {
                PeerOrder::RekeyChild => Command::RekeyChild(child()?),
                PeerOrder::RekeyIke => Command::RekeyIke,
                PeerOrder::SecondChild => Command::NewChild(second.to_owned()),
                PeerOrder::Delete => Command::Delete,
                PeerOrder::Ping | PeerOrder::Restart => return Err("this is no command".to_owned()),
            },
        ))
    }
}

impl Observer for Station {
    fn event(&mut self, now: Instant, tunnel: TunnelId, sa: SaId, event: Event) {
        self.plane.event(now, tunnel, sa, &event);
        if is_honest(tunnel) {
            match &event {
                Event::IkeUp(_) => self.sa = Some(sa),
                Event::IkeRekeyed(rekeyed) if self.sa == Some(rekeyed.old) => self.sa = Some(rekeyed.new),
                Event::ChildInbound(child) => self.children.push(child.spi_in),
                Event::ChildDown { spi_in, .. } => self.children.retain(|spi| spi != spi_in),
                _ => {}
            }
        }
        self.queue.event(now, tunnel, sa, event);
    }

    fn esp(&mut self, now: Instant, path: Path, packet: &mut Vec<u8>) {
        self.plane.handle_packet(now, path, packet);
    }

    fn note(&mut self, now: Instant, note: LinkNote) {
        self.queue.note(now, note);
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        if self.plane.poll_timeout().is_some_and(|at| at <= now) {
            self.plane.handle_timeout(now);
        }
        self.plane.poll_transmit()
    }

    fn poll_note(&mut self) -> Option<(u32, EspNote)> {
        self.plane.poll_note()
    }

    fn reclaim(&mut self, buffer: Vec<u8>) {
        self.plane.reclaim(buffer);
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        self.plane.poll_timeout()
    }
}
