//! Boxes on the path that do as they are told, at our own sockets: what a NAT or a firewall before either end would do to
//! our datagrams is done here, and a real peer cannot tell the difference.
//!
//! A firewall knows who was written to from its inside, and drops what comes from others. A NAT before us sends from
//! sockets of its own, one for each mapping, and the engine goes on believing in its own ports. A NAT before the peer
//! makes up outside ports for the peer's, and takes them back from what we send; its address stays.
//!
//! What is recorded is what the network outside of the box sees: of a NAT before us the ports of its sockets, of one before
//! the peer the ports that were made up for it.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;

use super::nat::{Nat, NatConfig};
use super::udp::{UdpConfig, UdpLink};
use super::{Between, Link, LinkCounters, LinkNote, Received, RxBatch, TxBatch, TxOutcome, Wake};
use crate::net::{Path, SocketRole};
use crate::time::{Instant, UnixTime};

/// Sockets behind boxes that can be put there.
pub struct Middleboxes {
    inner: UdpLink,
    /// How the sockets of a NAT are opened.
    like: UdpConfig,
    ours: Option<Standing>,
    theirs: Option<Standing>,
    /// Came, and went no further.
    dropped: VecDeque<(Received, &'static str)>,
    /// Of the batch that is being sent: items, and the remote end that the engine knows.
    known: Vec<(usize, SocketAddr)>,
    effects: u64,
}

/// A box that stands.
struct Standing {
    between: Between,
    table: Nat,
}

impl Standing {
    fn new(between: Between) -> Self {
        Standing { between, table: Nat::new(NatConfig::between(&between)) }
    }

    /// Why it lets nothing of that kind through.
    fn stops(&self, role: SocketRole) -> Option<&'static str> {
        let stopped = role == SocketRole::Esp && self.between.drops_esp;
        stopped.then_some("path: only UDP gets through the box, not protocol 50")
    }

    /// Why it stops what its table does not know.
    fn unknown(&self) -> &'static str {
        if self.between.translates {
            "path: the NAT has no mapping for it"
        } else {
            "path: the firewall has no state for it"
        }
    }
}

impl Middleboxes {
    /// No box stands there yet. `like` says to which interface the sockets of a NAT are tied, and so on; its addresses and
    /// ports do not matter.
    pub fn new(inner: UdpLink, like: UdpConfig) -> Self {
        let like = UdpConfig { share: None, ..like };
        let (dropped, known) = (VecDeque::new(), Vec::new());
        Middleboxes { inner, like, ours: None, theirs: None, dropped, known, effects: 0 }
    }

    fn is_idle(&self) -> bool {
        self.ours.is_none() && self.theirs.is_none()
    }

    /// The path of a datagram of ours outside of the boxes, or what becomes of it instead.
    fn outward(&mut self, now: Instant, mut path: Path) -> Result<Path, TxOutcome> {
        let before = path;
        if let Some(ours) = &mut self.ours {
            if let Some(why) = ours.stops(path.role) {
                return Err(TxOutcome::Dropped(why));
            }
            path.local = match ours.table.refresh(now, path.local, path.remote) {
                Some(outside) => outside,
                None if ours.between.translates && path.role != SocketRole::Esp => {
                    let outside = self.inner.open_outside(&self.like, path.role, path.local.ip());
                    let outside = outside.map_err(|e| TxOutcome::Failed(io::Error::other(e.to_string())))?;
                    ours.table.map(now, path.local, path.remote, outside.port());
                    outside
                }
                None => ours.table.outbound(now, path.local, path.remote),
            };
        }
        if let Some(theirs) = &mut self.theirs {
            let inside = match theirs.stops(path.role) {
                Some(why) => Err(why),
                None => theirs.table.inbound(now, path.local, path.remote).ok_or_else(|| theirs.unknown()),
            };
            path.remote = inside.map_err(TxOutcome::Dropped)?;
        }
        self.effects += u64::from(path != before);
        Ok(path)
    }

    /// Translates the path of a datagram that has come, or says why it comes no further.
    fn inward(&mut self, received: &mut Received) -> Result<(), &'static str> {
        let (at, path) = (received.at, &mut received.path);
        let before = *path;
        if let Some(theirs) = &mut self.theirs {
            if let Some(why) = theirs.stops(path.role) {
                return Err(why);
            }
            path.remote = theirs.table.outbound(at, path.remote, path.local);
        }
        if let Some(ours) = &mut self.ours {
            if let Some(why) = ours.stops(path.role) {
                return Err(why);
            }
            path.local = ours.table.inbound(at, path.remote, path.local).ok_or_else(|| ours.unknown())?;
        }
        self.effects += u64::from(*path != before);
        Ok(())
    }
}

impl Link for Middleboxes {
    fn now(&self) -> Instant {
        self.inner.now()
    }

    fn epoch(&self) -> UnixTime {
        self.inner.epoch()
    }

    /// The items have the paths outside of a box before us afterwards.
    fn send(&mut self, batch: &mut TxBatch) -> io::Result<()> {
        if self.is_idle() {
            return self.inner.send(batch);
        }
        let now = self.inner.now();
        self.known.clear();
        for (n, item) in batch.items.iter_mut().enumerate() {
            if !matches!(item.outcome, TxOutcome::Pending) {
                continue;
            }
            match self.outward(now, item.transmit.path) {
                Ok(path) => {
                    self.known.push((n, item.transmit.path.remote));
                    item.transmit.path = path;
                }
                Err(outcome) => {
                    self.effects += u64::from(matches!(outcome, TxOutcome::Dropped(_)));
                    item.outcome = outcome;
                }
            }
        }
        let done = self.inner.send(batch);
        for (n, remote) in self.known.drain(..) {
            batch.items[n].transmit.path.remote = remote;
        }
        done
    }

    fn recv_until(&mut self, until: Option<Instant>, rx: &mut RxBatch) -> io::Result<Wake> {
        let wake = self.inner.recv_until(until, rx)?;
        if !self.is_idle() {
            rx.retain(|received| {
                let judged = self.inward(received);
                if let Err(why) = judged {
                    self.effects += 1;
                    let bytes = std::mem::take(&mut received.bytes);
                    self.dropped.push_back((Received { bytes, ..received.clone() }, why));
                }
                judged.is_ok()
            });
        }
        Ok(wake)
    }

    fn poll_note(&mut self) -> Option<LinkNote> {
        self.inner.poll_note()
    }

    fn poll_dropped(&mut self) -> Option<(Received, &'static str)> {
        self.dropped.pop_front()
    }

    fn counters(&self) -> LinkCounters {
        self.inner.counters()
    }

    fn put_between(&mut self, ours: bool, between: Option<&Between>) -> bool {
        let standing = between.copied().map(Standing::new);
        if ours {
            self.ours = standing;
            self.inner.close_outside();
        } else {
            self.theirs = standing;
        }
        self.effects = 0;
        self.dropped.clear();
        true
    }

    fn between_effects(&self) -> Option<u64> {
        Some(self.effects)
    }

    fn outside(&self, path: &Path) -> Path {
        let outside = self.ours.as_ref().and_then(|ours| ours.table.outside_of(path.local, path.remote));
        Path { local: outside.unwrap_or(path.local), ..*path }
    }
}

#[cfg(test)]
mod tests;
