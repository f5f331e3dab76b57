//! The simulated network as a [`Link`]: one per host, all on one virtual clock.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Arrival, HostId, SimConfig, SimNet};
use crate::link::{Link, LinkCounters, LinkNote, Received, RxBatch, TxBatch, TxOutcome, Wake, demux};
use crate::seed::PlanSeed;
use crate::time::{Instant, UnixTime, VirtualClock};

/// A simulated network and its clock, shared by the links of its hosts.
///
/// Nobody waits in it: [`SimLink`]'s `recv_until` hands over what has arrived and returns at once. Whoever plays the
/// world turns every host's driver until none has anything to do, then calls [`SimWorld::advance`] to the earliest of
/// the next arrival and the drivers' own deadlines.
#[derive(Clone)]
pub struct SimWorld(Arc<Mutex<World>>);

struct World {
    net: SimNet,
    clock: VirtualClock,
    epoch: UnixTime,
    inboxes: Vec<VecDeque<Arrival>>,
}

impl SimWorld {
    /// A world at instant zero, which is `epoch` on the calendar.
    pub fn new(plan: &PlanSeed, config: SimConfig, epoch: UnixTime) -> Self {
        let inboxes = config.hosts.iter().map(|_| VecDeque::new()).collect();
        let net = SimNet::new(plan, config);
        SimWorld(Arc::new(Mutex::new(World { net, clock: VirtualClock::default(), epoch, inboxes })))
    }

    /// The link of one host.
    pub fn link(&self, host: HostId) -> SimLink {
        SimLink { world: self.clone(), host, counters: LinkCounters::default() }
    }

    /// The current virtual instant.
    pub fn now(&self) -> Instant {
        self.lock().clock.now()
    }

    /// When the next datagram arrives somewhere; now, if one is waiting to be fetched.
    pub fn next_arrival(&self) -> Option<Instant> {
        let world = self.lock();
        if world.inboxes.iter().any(|inbox| !inbox.is_empty()) {
            return Some(world.clock.now());
        }
        world.net.next_at()
    }

    /// Moves the clock to `at`, never backwards.
    pub fn advance(&self, at: Instant) {
        self.lock().clock.advance_to(at);
    }

    /// Looks at the network or changes it: the log, new conditions, a NAT's reboot.
    pub fn with_net<R>(&self, look: impl FnOnce(&mut SimNet) -> R) -> R {
        look(&mut self.lock().net)
    }

    /// A panic elsewhere leaves the network consistent: each method finishes its change or makes none.
    fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One host's end of a [`SimWorld`].
pub struct SimLink {
    world: SimWorld,
    host: HostId,
    counters: LinkCounters,
}

impl SimLink {
    /// Which host it is.
    pub fn host(&self) -> HostId {
        self.host
    }
}

impl Link for SimLink {
    fn now(&self) -> Instant {
        self.world.now()
    }

    fn epoch(&self) -> UnixTime {
        self.world.lock().epoch
    }

    fn send(&mut self, batch: &mut TxBatch) -> io::Result<()> {
        let mut world = self.world.lock();
        let now = world.clock.now();
        for item in batch.items.iter_mut().filter(|item| matches!(item.outcome, TxOutcome::Pending)) {
            self.counters.count_out(&item.transmit);
            world.net.send(now, self.host, item.transmit.clone());
            item.outcome = TxOutcome::Sent(now);
        }
        Ok(())
    }

    /// Never waits: see [`SimWorld`].
    fn recv_until(&mut self, _until: Option<Instant>, rx: &mut RxBatch) -> io::Result<Wake> {
        rx.clear();
        let mut guard = self.world.lock();
        let world = &mut *guard;
        for arrival in world.net.pop_due(world.clock.now()) {
            if let Some(inbox) = world.inboxes.get_mut(arrival.host.0) {
                inbox.push_back(arrival);
            }
        }
        let Some(inbox) = world.inboxes.get_mut(self.host.0) else { return Ok(Wake::Timeout) };
        while !rx.free().is_empty() {
            let Some(Arrival { at, path, class, bytes, .. }) = inbox.pop_front() else { break };
            let octets = demux::wire_len(path.role, class, bytes.len());
            // What was classified once is not classified again: an IKE message's first octets may be anything.
            let classified = match class {
                crate::net::Class::Ike => demux::Classified::Ike { marker: octets - bytes.len() },
                _ => demux::classify(path.role, &bytes),
            };
            self.counters.count_in(classified, octets);
            rx.push(Received { at, path, class, bytes });
        }
        Ok(if rx.is_empty() { Wake::Timeout } else { Wake::Data })
    }

    fn poll_note(&mut self) -> Option<LinkNote> {
        None
    }

    fn counters(&self) -> LinkCounters {
        self.counters
    }
}
