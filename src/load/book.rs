//! A shard's book: the state of each of its tunnels, fed by the engine's events, and what is counted of them.

mod child;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::arrival::Lane;
use super::gauge::Gauges;
use super::keep::Keeper;
use super::measure::{Dropped, During, Stats, Timed};
use super::peers::{FAULTY, Peers};
use super::traffic::Traffic;
use crate::drive::Observer;
use crate::engine::{EspNote, Event, FailScope, Failed, Failure, FailureClass, SaId, Side, TunnelId};
use crate::link::LinkNote;
use crate::net::{Path, Transmit};
use crate::time::Instant;
use crate::wire::IkeSpi;
use crate::wire::registry::{ExchangeType, KeMethod};

/// A tunnel that went down unasked is not begun more often than this.
const AGAIN: Duration = Duration::from_secs(1);

/// An operation on a tunnel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Open {
    /// None is under way.
    #[default]
    Nothing,
    /// IKE_SA_INIT and IKE_AUTH.
    SetUp,
    /// CREATE_CHILD_SA that replaces the IKE SA.
    RekeyIke,
    /// CREATE_CHILD_SA that replaces the Child SA.
    RekeyChild,
    /// CREATE_CHILD_SA that makes one more Child SA.
    NewChild,
    /// DELETE.
    Delete,
}

impl Open {
    fn timed(self) -> Timed {
        match self {
            Open::Nothing | Open::SetUp => Timed::Up,
            Open::RekeyIke => Timed::RekeyIke,
            Open::RekeyChild => Timed::RekeyChild,
            Open::NewChild => Timed::Child,
            Open::Delete => Timed::Delete,
        }
    }
}

/// One tunnel.
#[derive(Clone, Copy, Debug)]
struct Tunnel {
    sa: SaId,
    open: Open,
    up: bool,
    /// The open operation was begun inside the measured window.
    measured: bool,
    /// It needed a retransmission.
    retried: bool,
    planned: Instant,
    /// When IKE_SA_INIT was answered; zero before that.
    mark: Instant,
    /// Our inbound SPI of its Child SA; 0 if it has none.
    child: u32,
    /// The same of the newest Child SA beside that one; 0 if there is none.
    spare: u32,
    /// Our SPI of its IKE SA, as it was begun.
    spi: u64,
    /// The last word of the peer: when it came up, or the last answer to a liveness check.
    heard: Instant,
    /// It went down unasked in a failover, and has not come up again.
    lost: bool,
    /// Its Child SA was rekeyed since IKE_AUTH made it.
    rekeyed: bool,
}

impl Default for Tunnel {
    fn default() -> Self {
        Tunnel {
            sa: SaId::NONE,
            open: Open::Nothing,
            up: false,
            measured: false,
            retried: false,
            planned: Instant::ZERO,
            mark: Instant::ZERO,
            child: 0,
            spare: 0,
            spi: 0,
            heard: Instant::ZERO,
            lost: false,
            rekeyed: false,
        }
    }
}

/// The book.
pub struct Book {
    lane: Lane,
    peers: Arc<Peers>,
    gauges: Arc<Gauges>,
    tunnels: Vec<Tunnel>,
    /// The present stage's figures.
    pub stats: Stats,
    /// Tunnels are to be deleted this long after they came up.
    pub live: Option<Duration>,
    start: Instant,
    measure_from: Instant,
    /// What the present stage is about; other operations are counted aside.
    purpose: Open,
    open: u64,
    up: u64,
    children: bool,
    down: VecDeque<usize>,
    /// What goes down unasked is to be begun again.
    failover: bool,
    /// When, and which.
    again: BinaryHeap<Reverse<(Instant, usize)>>,
    deletes: VecDeque<(Instant, usize)>,
    to_share: Vec<usize>,
    to_delete: Vec<usize>,
    /// Tunnels whose Child SA is gone, when it went, and why.
    bare: VecDeque<(Instant, usize, FailureClass)>,
    /// Why the Child SA of a tunnel was not rekeyed when its lifetime, not a stage, asked for that.
    unrenewed: HashMap<usize, FailureClass>,
    keeper: Option<Keeper>,
    /// What passes through the tunnels, if anything does.
    pub traffic: Option<Box<Traffic>>,
}

impl Book {
    /// An empty book for the tunnels of `lane`.
    pub fn new(lane: Lane, peers: Arc<Peers>, gauges: Arc<Gauges>, keeper: Option<Keeper>) -> Self {
        let children = !peers.base.children.is_empty();
        Book {
            lane,
            peers,
            gauges,
            tunnels: Vec::new(),
            stats: Stats::default(),
            live: None,
            start: Instant::ZERO,
            measure_from: Instant::ZERO,
            purpose: Open::SetUp,
            open: 0,
            up: 0,
            children,
            down: VecDeque::new(),
            failover: false,
            again: BinaryHeap::new(),
            deletes: VecDeque::new(),
            to_share: Vec::new(),
            to_delete: Vec::new(),
            bare: VecDeque::new(),
            unrenewed: HashMap::new(),
            keeper,
            traffic: None,
        }
    }

    /// Figures start from nothing, but for tunnels that went down since the last stage ended; tunnels stay as they are.
    pub fn begin_stage(&mut self, start: Instant, warm_up: Duration, purpose: Open) {
        let lost = std::mem::take(&mut self.stats.lost);
        self.stats = Stats::default();
        self.stats.lost = lost;
        (self.start, self.measure_from, self.purpose) = (start, start + warm_up, purpose);
        self.gauges.done.store(0, Relaxed);
    }

    /// Hands out the stage's figures.
    pub fn end_stage(&mut self) -> Stats {
        std::mem::take(&mut self.stats)
    }

    /// Operations under way.
    pub fn open(&self) -> u64 {
        self.open
    }

    /// Tunnels that are up.
    pub fn up(&self) -> u64 {
        self.up
    }

    /// Tunnels begun so far.
    pub fn places(&self) -> usize {
        self.tunnels.len()
    }

    /// The IKE SA of a tunnel.
    pub fn sa(&self, place: usize) -> Option<SaId> {
        self.tunnels.get(place).map(|t| t.sa).filter(|sa| *sa != SaId::NONE)
    }

    /// Up, and nothing is under way.
    pub fn is_idle_up(&self, place: usize) -> bool {
        self.tunnels.get(place).is_some_and(|t| t.up && t.open == Open::Nothing)
    }

    /// From now on what goes down unasked is to be begun again.
    pub fn begin_failover(&mut self) {
        self.failover = true;
    }

    /// A tunnel that went down unasked and whose time to be begun again has come, and when that was.
    pub fn take_lost(&mut self, now: Instant) -> Option<(usize, Instant)> {
        self.again.peek().filter(|Reverse((due, _))| *due <= now)?;
        self.again.pop().map(|Reverse((due, place))| (place, due))
    }

    /// When [`Book::take_lost`] has the next one.
    pub fn next_lost(&self) -> Option<Instant> {
        self.again.peek().map(|Reverse((due, _))| *due)
    }

    /// What is still down is like any other tunnel that is.
    pub fn end_failover(&mut self) {
        self.failover = false;
        self.tunnels.iter_mut().for_each(|tunnel| tunnel.lost = false);
        self.down.extend(self.again.drain().map(|Reverse((_, place))| place));
    }

    /// The tunnel that has been down longest.
    pub fn take_down(&mut self) -> Option<usize> {
        self.down.pop_front()
    }

    /// A tunnel whose connection can be shared from now on.
    pub fn take_to_share(&mut self) -> Option<usize> {
        self.to_share.pop()
    }

    /// A tunnel that is of no use and is to be deleted.
    pub fn take_to_delete(&mut self) -> Option<usize> {
        self.to_delete.pop()
    }

    /// A tunnel whose time to be deleted has come, and when that was.
    pub fn take_delete(&mut self, now: Instant) -> Option<(usize, Instant)> {
        loop {
            let &(at, place) = self.deletes.front().filter(|(at, _)| *at <= now)?;
            self.deletes.pop_front();
            if self.is_idle_up(place) {
                return Some((place, at));
            }
        }
    }

    /// When the next tunnel is to be deleted.
    pub fn next_delete(&self) -> Option<Instant> {
        self.deletes.front().map(|(at, _)| *at)
    }

    /// Tunnels that are to be deleted later.
    pub fn planned_deletes(&self) -> usize {
        self.deletes.len()
    }

    /// Places with an operation under way.
    pub fn all_open(&self) -> Vec<usize> {
        (0..self.tunnels.len()).filter(|&place| self.tunnels[place].open != Open::Nothing).collect()
    }

    /// An operation was due at `planned`.
    pub fn due(&mut self, planned: Instant) {
        self.bin(planned).due += 1;
    }

    /// One that was due could not be begun.
    pub fn drop_start(&mut self, planned: Instant, reason: impl FnOnce(&mut Dropped) -> &mut u64) {
        *reason(&mut self.stats.dropped) += 1;
        self.bin(planned).dropped += 1;
        self.gauges.dropped.fetch_add(1, Relaxed);
    }

    /// An operation was begun.
    pub fn begun(&mut self, place: usize, open: Open, sa: SaId, spi: Option<IkeSpi>, planned: Instant, now: Instant) {
        if self.tunnels.len() <= place {
            self.tunnels.resize(place + 1, Tunnel::default());
        }
        let measured = planned >= self.measure_from;
        let tunnel = &mut self.tunnels[place];
        debug_assert_eq!(tunnel.open, Open::Nothing, "one operation at a time");
        (tunnel.sa, tunnel.open, tunnel.planned, tunnel.mark) = (sa, open, planned, Instant::ZERO);
        (tunnel.measured, tunnel.retried) = (measured, false);
        tunnel.rekeyed &= open != Open::SetUp;
        self.open += 1;
        tunnel.spi = spi.map_or(tunnel.spi, |spi| spi.0);
        self.stats.requests += u64::from(measured && !self.faulty(place));
        if open == Open::SetUp {
            (self.tunnels[place].child, self.tunnels[place].spare) = (0, 0);
            if let (Some(keeper), Some(spi)) = (&self.keeper, spi) {
                keeper.begin(spi.0, self.lane.number(place as u64));
            }
            self.gauges.attempts.fetch_add(1, Relaxed);
            self.gauges.half_open.fetch_add(1, Relaxed);
        }
        if self.faulty(place) {
            self.stats.faulty.started += 1;
            return;
        }
        if open != self.purpose {
            self.stats.aside.started += 1;
            return;
        }
        self.stats.started += 1;
        self.stats.window.started += u64::from(measured);
        self.bin(now).started += 1;
    }

    /// An open operation has had its time. `complaint` is what the engine has to say of that: a peer that did not do what
    /// was asked may well have answered.
    pub fn unfinished(&mut self, place: usize, now: Instant, complaint: Option<&Failed>) {
        self.stats.unfinished += 1;
        let open = self.tunnels[place].open;
        let stage = match open {
            Open::Delete => During::Delete,
            Open::RekeyIke | Open::RekeyChild => During::Rekey,
            Open::NewChild => During::Child,
            _ if self.tunnels[place].mark > Instant::ZERO => During::Auth,
            _ => During::Init,
        };
        let class = complaint.map_or(FailureClass::NoResponse, |failed| self.class(place, failed));
        if let Some(failed) = complaint.filter(|_| open == Open::SetUp) {
            self.refused(place, failed, class);
        }
        self.fail(place, now, class, stage);
    }

    /// The class of a failure in what is under way. The engine's own mapping knows the exchange, and not what it was for.
    fn class(&self, place: usize, failed: &Failed) -> FailureClass {
        let Tunnel { open, rekeyed, .. } = self.tunnels[place];
        let class = match failed.class() {
            FailureClass::InvalidKeLoop if self.wants_another_group(open, failed) => match failed.scope {
                FailScope::Child => FailureClass::NoProposalChild,
                _ => FailureClass::NoProposalIke,
            },
            class => class,
        };
        // Its algorithms were agreed in IKE_AUTH, where no group is spoken of (RFC 7296 1.2).
        let first = matches!(open, Open::RekeyChild | Open::Nothing) && !rekeyed;
        if first && class == FailureClass::NoProposalChild { FailureClass::PfsMismatchAtRekey } else { class }
    }

    /// INVALID_KE_PAYLOAD names a group that was not offered: no loop, but nothing in common.
    fn wants_another_group(&self, open: Open, failed: &Failed) -> bool {
        let Failure::Rejected { data, .. } = &failed.why else { return false };
        let Ok(group) = data.as_slice().try_into().map(u16::from_be_bytes) else { return false };
        let base = &self.peers.base;
        !match open {
            Open::RekeyChild | Open::Nothing => {
                base.children.first().is_some_and(|child| child.pfs.contains(&KeMethod(group)))
            }
            Open::NewChild => base.children.iter().any(|child| child.pfs.contains(&KeMethod(group))),
            _ => base.ike_proposals.iter().flat_map(|p| p.ke_methods()).any(|offered| offered.0 == group),
        }
    }

    /// Our inbound SPI of a tunnel's Child SA.
    pub fn child(&self, place: usize) -> u32 {
        self.tunnels.get(place).map_or(0, |t| t.child)
    }

    /// Everything about a tunnel's IKE SA is to be forgotten.
    pub fn forget(&mut self, place: usize, now: Instant) {
        self.finish(place);
        self.set_down(place, now);
    }

    fn faulty(&self, place: usize) -> bool {
        self.peers.is_faulty(self.lane.number(place as u64))
    }

    fn bin(&mut self, at: Instant) -> &mut super::measure::Bin {
        let second = at.since(self.start).as_secs();
        self.stats.bin(second)
    }

    /// Notes a time: on the gauges always, in the figures unless it belongs to the warm-up.
    fn time(&mut self, what: Timed, value: Duration, measured: bool) {
        if measured {
            self.stats.time(what, value);
        }
        self.gauges.time(what, value);
    }

    /// What was planned for this time was begun so much later.
    pub fn lag(&mut self, planned: Instant, lag: Duration) {
        self.time(Timed::Lag, lag, planned >= self.measure_from);
    }

    /// What happens to a tunnel now belongs to the figures: the operation that is open was not begun in the warm-up, or the
    /// warm-up is over.
    fn counts(&self, place: usize, now: Instant) -> bool {
        let tunnel = &self.tunnels[place];
        if tunnel.open == Open::Nothing { now >= self.measure_from } else { tunnel.measured }
    }

    /// How many IKE SAs the endpoint has.
    pub fn show_sas(&self, count: u64) {
        self.gauges.sas.store(count, Relaxed);
    }

    /// Closes the open operation and returns what it was.
    fn finish(&mut self, place: usize) -> Open {
        let tunnel = &mut self.tunnels[place];
        let was = std::mem::take(&mut tunnel.open);
        if was == Open::Nothing {
            return was;
        }
        self.stats.retried += u64::from(tunnel.retried);
        self.open -= 1;
        if was == Open::SetUp {
            sub(&self.gauges.half_open);
        }
        was
    }

    fn succeed(&mut self, place: usize, now: Instant) {
        let Tunnel { planned, measured, .. } = self.tunnels[place];
        let was = self.finish(place);
        if self.faulty(place) {
            self.stats.faulty.done += 1;
        } else if was == self.purpose {
            self.stats.done += 1;
            self.stats.window.done += u64::from(measured);
            self.bin(now).done += 1;
            self.time(was.timed(), now.since(planned), measured);
            self.gauges.done.fetch_add(1, Relaxed);
        } else {
            self.stats.aside.done += 1;
            self.time(was.timed(), now.since(planned), measured);
        }
        if was == Open::SetUp {
            if let Some(keeper) = &self.keeper {
                keeper.succeeded(self.tunnels[place].spi, now.since(planned));
            }
            self.gauges.established.fetch_add(1, Relaxed);
            let tunnel = &mut self.tunnels[place];
            tunnel.up = true;
            let heard = std::mem::replace(&mut tunnel.heard, now);
            if std::mem::take(&mut tunnel.lost) {
                self.time(Timed::Outage, now.since(heard), true);
            }
            self.up += 1;
            self.gauges.up.fetch_add(1, Relaxed);
            self.gauges.set_up(place, true);
            if self.peers.rests_on_base() {
                self.to_share.push(place);
            }
            if let Some(traffic) = &mut self.traffic {
                traffic.up(now, place, self.peers.tunnel_id(self.lane.number(place as u64)), planned);
            }
            if let Some(live) = self.live {
                self.deletes.push_back((now + live, place));
            }
        }
    }

    fn fail(&mut self, place: usize, now: Instant, class: FailureClass, stage: During) {
        let Tunnel { measured, planned, spi, .. } = self.tunnels[place];
        let was = self.finish(place);
        if let Some(keeper) = self.keeper.as_ref().filter(|_| was == Open::SetUp) {
            keeper.failed(spi, now.since(planned), class, stage);
        }
        if was == Open::SetUp && self.stats.refused.is_none() && !self.faulty(place) {
            self.stats.refused = Some((self.stats.done, format!("{class} in {stage}")));
        }
        let failures = if self.faulty(place) {
            self.stats.faulty.failed += 1;
            &mut self.stats.faulty_failures
        } else {
            if was == self.purpose {
                self.stats.failed += 1;
                self.stats.window.failed += u64::from(measured);
                self.bin(now).failed += 1;
            } else {
                self.stats.aside.failed += 1;
            }
            &mut self.stats.failures
        };
        *failures.entry((class, stage)).or_default() += 1;
        self.gauges.fail(class, stage);
        if was == Open::SetUp {
            self.gauges.failed.fetch_add(1, Relaxed);
        }
    }

    /// The first failure of a stage, with the words that the classes do not have.
    fn refused(&mut self, place: usize, failed: &Failed, class: FailureClass) {
        if self.stats.refused.is_none() && !self.faulty(place) {
            let words = match &failed.why {
                // The name of the notify is what a person looks for in the box's log.
                Failure::Rejected { notify, .. } => notify.to_string(),
                why => format!("{why} ({class})"),
            };
            self.stats.refused = Some((self.stats.done, words));
        }
    }

    /// The tunnel is not up any more, by whatever cause; its IKE SA may still be there.
    fn not_up(&mut self, place: usize) {
        if let Some(traffic) = &mut self.traffic {
            traffic.down(place);
        }
        self.unrenewed.remove(&place);
        if std::mem::take(&mut self.tunnels[place].up) {
            self.up -= 1;
            sub(&self.gauges.up);
            self.gauges.set_up(place, false);
        }
    }

    /// The tunnel's IKE SA is gone, by whatever cause.
    fn set_down(&mut self, place: usize, now: Instant) {
        self.not_up(place);
        self.tunnels[place].sa = SaId::NONE;
        let Tunnel { lost, planned, .. } = self.tunnels[place];
        if lost {
            self.again.push(Reverse((now.max(planned + AGAIN), place)));
        } else {
            self.down.push_back(place);
        }
    }

    /// It was up, and went down unasked.
    fn lost(&mut self, place: usize, now: Instant, class: FailureClass) {
        *self.stats.lost.entry(class).or_default() += 1;
        self.gauges.fail(class, During::Up);
        self.tunnels[place].lost = self.failover;
        self.time(Timed::Detect, now.since(self.tunnels[place].heard), now >= self.measure_from);
    }

    fn failed(&mut self, now: Instant, place: usize, failed: &Failed) {
        let class = self.class(place, failed);
        let tunnel = self.tunnels[place];
        if tunnel.open == Open::SetUp {
            self.refused(place, failed, class);
        }
        match (failed.scope, tunnel.open) {
            (FailScope::IkeSa, Open::Nothing) if tunnel.up => self.lost(place, now, class),
            (FailScope::IkeSa, Open::Nothing) => {}
            (FailScope::IkeSa, open) => self.fail(place, now, class, stage_of(open, failed.exchange)),
            // Our DELETE was not answered; the engine forgets the IKE SA and says so in its next event.
            (FailScope::Exchange, Open::Delete) => self.fail(place, now, class, During::Delete),
            (FailScope::Exchange, Open::RekeyIke) => self.fail(place, now, class, During::Rekey),
            (FailScope::Exchange, Open::NewChild) => self.fail(place, now, class, During::Child),
            (FailScope::Exchange | FailScope::Child, _) => {}
        }
    }
}

impl Observer for Book {
    fn event(&mut self, now: Instant, tunnel: TunnelId, sa: SaId, event: Event) {
        if let Some(traffic) = &mut self.traffic {
            traffic.event(now, tunnel, sa, &event);
        }
        let number = if tunnel.0 >= FAULTY { tunnel.0 - FAULTY } else { tunnel.0 };
        let place = self.lane.index(number).and_then(|place| usize::try_from(place).ok());
        let Some(place) = place.filter(|&place| place < self.tunnels.len()) else { return };
        if let Event::IkeRekeyed(rekeyed) = &event
            && self.tunnels[place].sa == rekeyed.old
        {
            self.tunnels[place].sa = rekeyed.new;
            if self.tunnels[place].open == Open::RekeyIke {
                self.succeed(place, now);
            }
            return;
        }
        if self.tunnels[place].sa != sa {
            return;
        }
        let Tunnel { open, planned, mark, up, measured, .. } = self.tunnels[place];
        match event {
            Event::InitDone(_) if open == Open::SetUp => {
                self.tunnels[place].mark = now;
                if self.faulty(place) {
                    self.stats.faulty_answered += 1;
                } else {
                    self.stats.requests += u64::from(measured);
                    self.time(Timed::Init, now.since(planned), measured);
                }
            }
            Event::IkeUp(_) if open == Open::SetUp => {
                if !self.faulty(place) {
                    self.time(Timed::Auth, now.since(mark), measured);
                }
                if !self.children {
                    self.succeed(place, now);
                }
            }
            Event::ChildInbound(child) if open == Open::SetUp => {
                self.tunnels[place].child = child.spi_in;
                if let Some(keeper) = &self.keeper {
                    keeper.child(self.tunnels[place].spi, &child.keys);
                }
            }
            Event::ChildOutbound { spi_in } => {
                self.child_up(place, spi_in);
                if matches!(open, Open::SetUp | Open::NewChild) {
                    self.succeed(place, now);
                }
            }
            Event::ChildRekeyed { old, new } => self.child_rekeyed(place, now, old, new),
            Event::ChildDown { spi_in, by } => self.child_down(place, now, spi_in, by),
            Event::ChildFailed(failed) if open == Open::RekeyChild => {
                self.fail(place, now, self.class(place, &failed), During::Rekey);
            }
            Event::ChildFailed(failed) if open == Open::NewChild => {
                self.fail(place, now, self.class(place, &failed), During::Child);
            }
            Event::ChildFailed(failed) if open == Open::Nothing && up => {
                let class = self.class(place, &failed);
                self.unrenewed.insert(place, class);
            }
            Event::ChildFailed(failed) if open == Open::SetUp => {
                // The IKE SA is of no use here without its Child.
                let class = self.class(place, &failed);
                self.refused(place, &failed, class);
                self.fail(place, now, class, During::Child);
                self.to_delete.push(place);
            }
            Event::Failed(failed) => self.failed(now, place, &failed),
            Event::Deleted { by: Side::Us } if open == Open::Delete => self.succeed(place, now),
            Event::Deleted { by: Side::Peer } => {
                match open {
                    Open::SetUp => self.fail(place, now, FailureClass::PeerDeleted, During::Auth),
                    Open::RekeyIke | Open::RekeyChild => {
                        self.fail(place, now, FailureClass::PeerDeleted, During::Rekey);
                    }
                    Open::NewChild => self.fail(place, now, FailureClass::PeerDeleted, During::Child),
                    // Both ends had the same idea.
                    Open::Delete => self.succeed(place, now),
                    Open::Nothing if up => self.lost(place, now, FailureClass::PeerDeleted),
                    Open::Nothing => {}
                }
                // The IKE SA stays for a while, but only to answer repeats.
                self.set_down(place, now);
            }
            Event::Retransmit { .. } => {
                self.tunnels[place].retried = true;
                // A tunnel that misbehaves is not answered, and asks again: nothing to hold against the peer.
                self.stats.retransmits += u64::from(self.counts(place, now) && !self.faulty(place));
                self.gauges.retransmits.fetch_add(1, Relaxed);
            }
            Event::Alive { rtt } => {
                self.tunnels[place].heard = now;
                let measured = now >= self.measure_from;
                self.stats.requests += u64::from(measured);
                self.time(Timed::Dpd, rtt, measured);
            }
            Event::Closed => {
                if open != Open::Nothing {
                    self.fail(place, now, FailureClass::PeerDeleted, stage_of(open, ExchangeType::IKE_AUTH));
                }
                self.set_down(place, now);
            }
            _ => {}
        }
    }

    fn esp(&mut self, now: Instant, path: Path, packet: &mut Vec<u8>) {
        let Some(traffic) = &mut self.traffic else { return };
        traffic.received(now, path, packet);
        while let Some(echo) = traffic.take_echo(now) {
            for (what, value) in [(Timed::First, echo.first), (Timed::Rtt, echo.rtt)] {
                if let Some(value) = value {
                    self.stats.time(what, value);
                    self.gauges.time(what, value);
                }
            }
        }
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        self.traffic.as_mut()?.poll_transmit(now)
    }

    fn poll_note(&mut self) -> Option<(u32, EspNote)> {
        self.traffic.as_mut()?.poll_note()
    }

    fn reclaim(&mut self, buffer: Vec<u8>) {
        if let Some(traffic) = &mut self.traffic {
            traffic.reclaim(buffer);
        }
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        self.traffic.as_ref()?.poll_timeout()
    }

    fn note(&mut self, _: Instant, note: LinkNote) {
        if let LinkNote::NotSent { path, why } = note {
            self.stats.dropped.not_sent += 1;
            let words = || format!("from {} to {}: {why}", path.local.ip(), path.remote.ip());
            self.stats.not_sent.get_or_insert_with(words);
        }
    }
}

fn stage_of(open: Open, exchange: ExchangeType) -> During {
    match (open, exchange) {
        (Open::Delete, _) => During::Delete,
        (Open::NewChild, _) => During::Child,
        (_, ExchangeType::IKE_SA_INIT) => During::Init,
        (_, ExchangeType::IKE_AUTH) => During::Auth,
        (_, ExchangeType::CREATE_CHILD_SA) => During::Rekey,
        _ => During::Informational,
    }
}

fn sub(gauge: &AtomicU64) {
    gauge.fetch_sub(1, Relaxed);
}

#[cfg(test)]
mod tests;
