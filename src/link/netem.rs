//! A bad path in front of any link: loss, delay, jitter, duplicates, reordering, corruption, a rate limit, lost fragments,
//! blackouts by schedule; each direction by itself.
//!
//! It knows datagrams, not SAs. All chances follow from the plan seed, one stream for each direction and a fixed number of
//! draws for each datagram. Every datagram's fate is logged, so that "nothing was lost that the network did not lose" is
//! a subtraction ([`Netem::fates`]).

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;

use super::sim::{Chance, part_of};
use super::{Between, Link, LinkCounters, LinkNote, Received, RxBatch, TxBatch, TxOutcome, Wake, demux};
use crate::net::{Class, Path, Transmit};
use crate::seed::PlanSeed;
use crate::time::{Instant, UnixTime};

/// What the path does to datagrams in one direction.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Impairment {
    /// Lost without trace.
    pub loss: Chance,
    /// Each datagram takes this much longer.
    pub delay: Duration,
    /// And up to this much more, evenly distributed. Jitter alone may reorder.
    pub jitter: Duration,
    /// Arrives twice.
    pub duplicate: Chance,
    /// Held back by `reorder_by`, so that later ones overtake it.
    pub reorder: Chance,
    /// How long a reordered datagram is held back.
    pub reorder_by: Duration,
    /// One bit of the payload is turned over.
    pub corrupt: Chance,
    /// Octets of UDP payload that pass per second; the rest waits its turn, for at most [`LONGEST_QUEUE`].
    pub rate: Option<u64>,
    /// Datagrams with more octets of UDP payload than this vanish: a path that drops IP fragments, or an MTU black hole.
    pub longest: Option<usize>,
    /// Times at which nothing gets through.
    pub blackouts: Vec<Blackout>,
}

/// How long a datagram waits at most for a rate limit; one that would wait longer is lost, as in a full queue.
pub const LONGEST_QUEUE: Duration = Duration::from_millis(500);

/// "Every 5m for 20s": nothing gets through for `lasts`, for the first time at `first`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Blackout {
    /// From the run's beginning to the first one.
    pub first: Duration,
    /// From the beginning of one to that of the next; zero for one only.
    pub every: Duration,
    /// How long each lasts.
    pub lasts: Duration,
}

impl Blackout {
    /// Whether it lasts at `now`.
    pub fn covers(&self, now: Instant) -> bool {
        let since = now.since(Instant::ZERO);
        let Some(after) = since.checked_sub(self.first) else { return false };
        let into = match self.every.as_nanos() {
            0 => after.as_nanos(),
            every => after.as_nanos() % every,
        };
        into < self.lasts.as_nanos()
    }
}

/// Both directions of a path.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PathSpec {
    /// What we send.
    pub out: Impairment,
    /// What we receive.
    pub inward: Impairment,
}

impl PathSpec {
    /// Whether it does anything at all.
    pub fn is_clean(&self) -> bool {
        *self == PathSpec::default()
    }
}

/// Which way a datagram went.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Way {
    /// From us.
    Out,
    /// To us.
    In,
}

/// What became of a datagram.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Doom {
    /// It passed.
    Passed,
    /// It passed with a turned bit.
    Corrupted,
    /// Its copy passed as well.
    Duplicated,
    /// Lost by chance.
    Lost,
    /// It fell into a blackout.
    Blackout,
    /// Longer than the path lets through.
    TooLong,
    /// The queue of the rate limit was full.
    QueueFull,
}

impl Doom {
    /// In words.
    pub fn text(self) -> &'static str {
        match self {
            Doom::Passed => "passed",
            Doom::Corrupted => "path: a bit turned over",
            Doom::Duplicated => "path: sent twice",
            Doom::Lost => "path: lost",
            Doom::Blackout => "path: blackout",
            Doom::TooLong => "path: too long",
            Doom::QueueFull => "path: rate limit",
        }
    }

    /// Whether it never arrived.
    pub fn is_loss(self) -> bool {
        matches!(self, Doom::Lost | Doom::Blackout | Doom::TooLong | Doom::QueueFull)
    }
}

/// One line of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fated {
    /// When it was sent, or came.
    pub at: Instant,
    /// Which way it went.
    pub way: Way,
    /// From where to where.
    pub path: Path,
    /// What it was.
    pub class: Class,
    /// Octets of UDP payload on the wire.
    pub len: usize,
    /// The first octets: an ESP packet's SPI and sequence number, or an IKE message's initiator SPI.
    pub head: [u8; 8],
    /// What became of it.
    pub fate: Doom,
}

/// A link behind a bad path.
pub struct Netem<L> {
    inner: L,
    out: Direction,
    inward: Direction,
    leaving: BTreeMap<(Instant, u64), Transmit>,
    coming: BTreeMap<(Instant, u64), Received>,
    order: u64,
    scratch: RxBatch,
    late: TxBatch,
    dropped: VecDeque<(Received, &'static str)>,
    log: Vec<Fated>,
    /// What comes waits at the door.
    holding: bool,
}

struct Direction {
    spec: Impairment,
    stream: ChaCha20Rng,
    /// The rate limit's queue is empty from here on.
    free_at: Instant,
}

/// What is to happen with a datagram.
struct Judged {
    fate: Doom,
    at: Instant,
    copy_at: Option<Instant>,
    /// Which bit is turned over, as a share of all.
    turn: u64,
}

impl Direction {
    fn judge(&mut self, now: Instant, len: usize) -> Judged {
        let [loss, duplicate, reorder, jitter, copy_jitter, corrupt, turn] =
            std::array::from_fn(|_| self.stream.next_u64());
        let spec = &self.spec;
        let lost = |fate| Judged { fate, at: now, copy_at: None, turn };
        if spec.blackouts.iter().any(|b| b.covers(now)) {
            return lost(Doom::Blackout);
        }
        if spec.longest.is_some_and(|longest| len > longest) {
            return lost(Doom::TooLong);
        }
        if spec.loss.hits(loss) {
            return lost(Doom::Lost);
        }
        let mut start = now;
        if let Some(rate) = spec.rate.filter(|rate| *rate > 0) {
            start = self.free_at.max(now);
            if start.since(now) > LONGEST_QUEUE {
                return lost(Doom::QueueFull);
            }
            start += Duration::from_nanos(len as u64 * 1_000_000_000 / rate);
            self.free_at = start;
        }
        let held = if spec.reorder.hits(reorder) { spec.reorder_by } else { Duration::ZERO };
        let at = start + spec.delay + part_of(spec.jitter, jitter) + held;
        let copy_at = spec.duplicate.hits(duplicate).then(|| start + spec.delay + part_of(spec.jitter, copy_jitter));
        let fate = match () {
            () if spec.corrupt.hits(corrupt) => Doom::Corrupted,
            () if copy_at.is_some() => Doom::Duplicated,
            () => Doom::Passed,
        };
        Judged { fate, at, copy_at, turn }
    }
}

impl<L: Link> Netem<L> {
    /// Puts `spec` in front of `inner`. Chances follow from `plan`.
    pub fn new(inner: L, spec: PathSpec, plan: &PlanSeed) -> Self {
        let direction = |spec, label| Direction { spec, stream: plan.stream(label), free_at: Instant::ZERO };
        Netem {
            inner,
            out: direction(spec.out, "path out"),
            inward: direction(spec.inward, "path in"),
            leaving: BTreeMap::new(),
            coming: BTreeMap::new(),
            order: 0,
            scratch: RxBatch::new(64),
            late: TxBatch::new(),
            dropped: VecDeque::new(),
            log: Vec::new(),
            holding: false,
        }
    }

    /// The link behind it.
    pub fn inner(&self) -> &L {
        &self.inner
    }

    /// The link behind it, to be changed.
    pub fn inner_mut(&mut self) -> &mut L {
        &mut self.inner
    }

    /// What became of each datagram, in the order of sending and coming.
    pub fn fates(&self) -> &[Fated] {
        &self.log
    }

    /// Changes what the path does from now on.
    pub fn set(&mut self, spec: PathSpec) {
        (self.out.spec, self.inward.spec) = (spec.out, spec.inward);
    }

    /// From now on keeps what comes, until [`Netem::let_in`]: a message that crosses ours on a long way.
    pub fn hold(&mut self) {
        self.holding = true;
    }

    /// What has come and is kept, oldest first.
    pub fn held(&self) -> impl Iterator<Item = &Received> {
        self.coming.range((Instant::MAX, 0)..).map(|(_, received)| received)
    }

    /// Lets in what was kept, in order, and keeps no more.
    pub fn let_in(&mut self) {
        self.holding = false;
        let now = self.now();
        for ((_, order), mut received) in self.coming.split_off(&(Instant::MAX, 0)) {
            received.at = now;
            self.coming.insert((now, order), received);
        }
    }

    fn remember(&mut self, at: Instant, way: Way, path: Path, class: Class, bytes: &[u8], fate: Doom) {
        let len = demux::wire_len(path.role, class, bytes.len());
        let mut head = [0; 8];
        for (to, from) in head.iter_mut().zip(bytes) {
            *to = *from;
        }
        self.log.push(Fated { at, way, path, class, len, head, fate });
    }

    /// Sends what has waited long enough.
    fn release(&mut self, now: Instant) -> io::Result<()> {
        while let Some(entry) = self.leaving.first_entry().filter(|e| e.key().0 <= now) {
            self.late.push(entry.remove());
        }
        if self.late.is_empty() {
            return Ok(());
        }
        let done = self.inner.send(&mut self.late);
        self.late.clear();
        done
    }

    /// Takes in what the link has received.
    fn judge_received(&mut self) {
        let mut batch = std::mem::replace(&mut self.scratch, RxBatch::new(1));
        for received in batch.received_mut() {
            let len = demux::wire_len(received.path.role, received.class, received.bytes.len());
            let judged = self.inward.judge(received.at, len);
            self.remember(received.at, Way::In, received.path, received.class, &received.bytes, judged.fate);
            let mut taken = Received { bytes: std::mem::take(&mut received.bytes), ..received.clone() };
            if judged.fate.is_loss() {
                self.dropped.push_back((taken, judged.fate.text()));
                continue;
            }
            if let Some(at) = judged.copy_at {
                self.order += 1;
                self.coming.insert((at, self.order), Received { at, ..taken.clone() });
            }
            if judged.fate == Doom::Corrupted {
                turn_bit(&mut taken.bytes, judged.turn);
            }
            self.order += 1;
            taken.at = if self.holding { Instant::MAX } else { judged.at };
            self.coming.insert((taken.at, self.order), taken);
        }
        batch.clear();
        self.scratch = batch;
    }

    /// Hands on what has arrived.
    fn hand_on(&mut self, now: Instant, rx: &mut RxBatch) {
        while !rx.free().is_empty()
            && let Some(entry) = self.coming.first_entry().filter(|e| e.key().0 <= now)
        {
            rx.push(entry.remove());
        }
    }

    /// Whether it only hands things through.
    fn is_idle(&self) -> bool {
        self.out.spec == Impairment::default()
            && self.inward.spec == Impairment::default()
            && self.leaving.is_empty()
            && self.coming.is_empty()
            && !self.holding
    }

    /// When something that it holds is due: who moves a virtual clock needs to know.
    pub fn next_at(&self) -> Option<Instant> {
        let first = |at: Option<&(Instant, u64)>| at.map(|(at, _)| *at);
        let leaving = first(self.leaving.keys().next());
        leaving.into_iter().chain(first(self.coming.keys().next())).min()
    }
}

impl<L: Link> Link for Netem<L> {
    fn now(&self) -> Instant {
        self.inner.now()
    }

    fn epoch(&self) -> UnixTime {
        self.inner.epoch()
    }

    fn send(&mut self, batch: &mut TxBatch) -> io::Result<()> {
        if self.is_idle() {
            return self.inner.send(batch);
        }
        let now = self.now();
        self.release(now)?;
        for index in 0..batch.items.len() {
            let item = &batch.items[index];
            if !matches!(item.outcome, TxOutcome::Pending) {
                continue;
            }
            let transmit = item.transmit.clone();
            let len = demux::wire_len(transmit.path.role, transmit.class, transmit.bytes.len());
            let judged = self.out.judge(now, len);
            self.remember(now, Way::Out, transmit.path, transmit.class, &transmit.bytes, judged.fate);
            if judged.fate.is_loss() {
                batch.items[index].outcome = TxOutcome::Dropped(judged.fate.text());
                continue;
            }
            if let Some(at) = judged.copy_at {
                self.order += 1;
                self.leaving.insert((at, self.order), transmit.clone());
            }
            if judged.at > now || judged.fate == Doom::Corrupted {
                let mut transmit = transmit;
                if judged.fate == Doom::Corrupted {
                    turn_bit(&mut transmit.bytes, judged.turn);
                }
                self.order += 1;
                self.leaving.insert((judged.at, self.order), transmit);
                batch.items[index].outcome = TxOutcome::Sent(now);
            }
        }
        self.inner.send(batch)?;
        self.release(now)
    }

    fn recv_until(&mut self, until: Option<Instant>, rx: &mut RxBatch) -> io::Result<Wake> {
        if self.is_idle() {
            return self.inner.recv_until(until, rx);
        }
        rx.clear();
        loop {
            let now = self.now();
            self.release(now)?;
            self.hand_on(now, rx);
            if !rx.is_empty() {
                return Ok(Wake::Data);
            }
            let wait = self.next_at().into_iter().chain(until).min();
            let mut scratch = std::mem::replace(&mut self.scratch, RxBatch::new(1));
            let wake = self.inner.recv_until(wait, &mut scratch);
            self.scratch = scratch;
            self.judge_received();
            let now = self.now();
            self.release(now)?;
            self.hand_on(now, rx);
            match wake? {
                _ if !rx.is_empty() => return Ok(Wake::Data),
                Wake::Control => return Ok(Wake::Control),
                // Datagrams that the driver is to record, although it is not to see them.
                _ if !self.dropped.is_empty() => return Ok(Wake::Data),
                _ if until.is_some_and(|until| until <= now) => return Ok(Wake::Timeout),
                // A link with a virtual clock does not wait: whoever moves the clock does.
                _ if wait.is_none_or(|wait| now < wait) => return Ok(Wake::Timeout),
                _ => {}
            }
        }
    }

    fn poll_note(&mut self) -> Option<LinkNote> {
        self.inner.poll_note()
    }

    fn poll_dropped(&mut self) -> Option<(Received, &'static str)> {
        self.dropped.pop_front().or_else(|| self.inner.poll_dropped())
    }

    fn counters(&self) -> LinkCounters {
        self.inner.counters()
    }

    fn put_between(&mut self, ours: bool, between: Option<&Between>) -> bool {
        self.inner.put_between(ours, between)
    }

    fn between_effects(&self) -> Option<u64> {
        self.inner.between_effects()
    }

    fn outside(&self, path: &Path) -> Path {
        self.inner.outside(path)
    }
}

/// Turns one bit over.
fn turn_bit(bytes: &mut [u8], draw: u64) {
    let bits = bytes.len() as u128 * 8;
    let bit = ((bits * u128::from(draw)) >> 64) as usize;
    if let Some(octet) = bytes.get_mut(bit / 8) {
        *octet ^= 1 << (bit % 8);
    }
}

#[cfg(test)]
mod tests;
