//! The built-in ping: echo requests through a tunnel, at regular intervals, whatever becomes of its Child SAs meanwhile.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use super::inner::{self, Echo};
use crate::engine::TunnelId;
use crate::time::Instant;

/// Octets at the start of the data that name a request: its whole sequence number.
const NUMBER_LEN: usize = 8;
/// How many lost sequence numbers a report names.
const NAMED: usize = 10_000;

/// What to ping.
#[derive(Clone, Debug)]
pub struct PingSpec {
    /// Through which tunnel.
    pub tunnel: TunnelId,
    /// The sender's address; a host of our selectors when missing.
    pub source: Option<IpAddr>,
    /// The address to ask.
    pub target: IpAddr,
    /// How many requests; no end when missing.
    pub count: Option<u64>,
    /// From one request to the next.
    pub interval: Duration,
    /// Octets of data behind the ICMP header.
    pub size: usize,
    /// An answer later than this counts as lost.
    pub timeout: Duration,
}

impl PingSpec {
    /// One request a second with 56 octets of data, each lost after 2 seconds.
    pub fn new(tunnel: TunnelId, target: IpAddr) -> Self {
        let (interval, timeout) = (Duration::from_secs(1), Duration::from_secs(2));
        PingSpec { tunnel, source: None, target, count: None, interval, size: 56, timeout }
    }
}

/// A ping under way.
#[derive(Debug)]
pub struct Ping {
    pub(super) spec: PingSpec,
    id: u16,
    next: u64,
    next_at: Option<Instant>,
    open: VecDeque<Open>,
    /// Answered or lost recently: so that a late answer, and a second one, is told from a stray one.
    closed: VecDeque<(u64, bool)>,
    report: PingReport,
    data: Vec<u8>,
}

#[derive(Debug)]
struct Open {
    seq: u64,
    at: Instant,
}

/// What a ping has found out so far.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PingReport {
    /// Requests that left, or were handed to the network.
    pub sent: u64,
    /// Requests that could not even be encrypted.
    pub unsent: u64,
    /// Answered in time.
    pub received: u64,
    /// Not answered in time.
    pub lost: u64,
    /// Second answers to the same request.
    pub duplicates: u64,
    /// Answers that came after the time was over; they are among the lost.
    pub late: u64,
    /// Round trips: shortest, longest, and the sum of all, in nanoseconds.
    pub rtt: Option<(u64, u64, u128)>,
    /// Answers by the Child SA (our SPI) on which they came, in order of the first.
    pub by_child: Vec<(u32, u64)>,
    /// Sequence numbers of the first 10,000 lost ones.
    pub lost_numbers: Vec<u64>,
    /// Nothing is outstanding, and no more is to be sent.
    pub done: bool,
}

impl PingReport {
    /// Mean round trip.
    pub fn mean(&self) -> Option<Duration> {
        let (_, _, sum) = self.rtt?;
        let mean = sum.checked_div(self.received.into())?;
        u64::try_from(mean).ok().map(Duration::from_nanos)
    }

    /// Lost requests in percent of those sent and settled.
    pub fn loss_percent(&self) -> f64 {
        let settled = self.received + self.lost;
        if settled == 0 { 0.0 } else { self.lost as f64 * 100.0 / settled as f64 }
    }
}

/// What became of an echo reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heard {
    /// The answer to this request, after this long.
    Answer(u64, Duration),
    /// A second answer.
    Duplicate(u64),
    /// Too late: counted as lost already.
    Late(u64),
    /// Nothing of ours.
    Stray,
}

impl Ping {
    /// Sends nothing before [`Ping::start`].
    pub(super) fn new(spec: PingSpec, id: u16) -> Self {
        let data = (0..spec.size).map(|n| n as u8).collect();
        let (open, closed) = (VecDeque::new(), VecDeque::new());
        Ping { spec, id, next: 1, next_at: None, open, closed, report: PingReport::default(), data }
    }

    /// So far.
    pub fn report(&self) -> &PingReport {
        &self.report
    }

    /// What is pinged.
    pub fn spec(&self) -> &PingSpec {
        &self.spec
    }

    /// There is a Child SA to ping through. Only the first call matters.
    pub(super) fn start(&mut self, now: Instant) {
        if self.next == 1 && self.next_at.is_none() {
            self.next_at = Some(now);
            self.settle();
        }
    }

    pub(super) fn has_started(&self) -> bool {
        self.next > 1 || self.next_at.is_some()
    }

    /// Sends no more; what is outstanding may still be answered.
    pub(super) fn stop(&mut self) {
        self.next_at = None;
        self.spec.count = Some(self.next - 1);
        self.settle();
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let expiry = self.open.front().map(|open| open.at + self.spec.timeout);
        [self.next_at, expiry].into_iter().flatten().min()
    }

    /// Gives up on requests that were outstanding for too long; returns the first that was.
    pub(super) fn expire(&mut self, now: Instant) -> Option<u64> {
        let front = self.open.front().filter(|open| open.at + self.spec.timeout <= now)?.seq;
        self.open.pop_front();
        self.lose(front);
        Some(front)
    }

    /// The next request, if it is due: its number, written to `out` as an IP packet from `source`. The caller says with
    /// [`Ping::sent`] what became of it.
    pub(super) fn request(&mut self, now: Instant, source: IpAddr, out: &mut Vec<u8>) -> Option<u64> {
        let at = self.next_at.filter(|at| *at <= now)?;
        let seq = self.next;
        self.next += 1;
        // After a pause of the whole program the missed ones are not all sent at once.
        let next = at + self.spec.interval;
        self.next_at = Some(if next <= now { now + self.spec.interval } else { next });
        if self.spec.count.is_some_and(|count| seq >= count) {
            self.next_at = None;
        }
        if let Some(number) = self.data.first_chunk_mut::<NUMBER_LEN>() {
            *number = seq.to_be_bytes();
        }
        let echo = Echo { request: true, id: self.id, seq: seq as u16, data: &self.data };
        inner::build_echo(out, source, self.spec.target, &echo).then_some(seq)
    }

    /// What became of the request that was due.
    pub(super) fn sent(&mut self, now: Instant, seq: u64, left: bool) {
        if left {
            self.report.sent += 1;
            self.open.push_back(Open { seq, at: now });
        } else {
            self.report.unsent += 1;
        }
        self.settle();
    }

    /// An echo reply came from `from` on the Child SA `spi_in`.
    pub(super) fn heard(&mut self, now: Instant, from: IpAddr, echo: &Echo<'_>, spi_in: u32) -> Heard {
        if echo.request || echo.id != self.id || from != self.spec.target {
            return Heard::Stray;
        }
        let whole = echo.data.first_chunk::<NUMBER_LEN>().map(|number| u64::from_be_bytes(*number));
        let fits = |seq: u64| seq as u16 == echo.seq && whole.is_none_or(|whole| whole == seq);
        if let Some(at) = self.open.iter().position(|open| fits(open.seq)) {
            let Some(open) = self.open.remove(at) else { return Heard::Stray };
            let rtt = now.since(open.at);
            let nanos = u64::try_from(rtt.as_nanos()).unwrap_or(u64::MAX);
            let (shortest, longest, sum) = self.report.rtt.unwrap_or((u64::MAX, 0, 0));
            self.report.rtt = Some((shortest.min(nanos), longest.max(nanos), sum + u128::from(nanos)));
            self.report.received += 1;
            match self.report.by_child.iter_mut().find(|(spi, _)| *spi == spi_in) {
                Some((_, count)) => *count += 1,
                None => self.report.by_child.push((spi_in, 1)),
            }
            self.close(open.seq, true);
            self.settle();
            return Heard::Answer(open.seq, rtt);
        }
        match self.closed.iter_mut().find(|(seq, _)| fits(*seq)) {
            Some((seq, true)) => {
                self.report.duplicates += 1;
                Heard::Duplicate(*seq)
            }
            Some((seq, answered)) => {
                *answered = true;
                self.report.late += 1;
                Heard::Late(*seq)
            }
            None => Heard::Stray,
        }
    }

    fn lose(&mut self, seq: u64) {
        self.report.lost += 1;
        if self.report.lost_numbers.len() < NAMED {
            self.report.lost_numbers.push(seq);
        }
        self.close(seq, false);
        self.settle();
    }

    fn close(&mut self, seq: u64, answered: bool) {
        if self.closed.len() == 64 {
            self.closed.pop_front();
        }
        self.closed.push_back((seq, answered));
    }

    fn settle(&mut self) {
        let sent_all = self.spec.count.is_some_and(|count| self.next > count);
        self.report.done = sent_all && self.next_at.is_none() && self.open.is_empty();
    }
}

#[cfg(test)]
mod tests {
    use super::super::inner::Inner;
    use super::*;

    fn ping(count: u64) -> Ping {
        let target = "10.2.2.2".parse().expect("an address");
        Ping::new(PingSpec { count: Some(count), ..PingSpec::new(TunnelId(1), target) }, 9)
    }

    fn reply(packet: &[u8]) -> Vec<u8> {
        let inner = Inner::parse(packet).expect("an IP packet");
        let echo = inner.echo(packet).expect("an echo");
        let mut out = Vec::new();
        assert!(inner::build_echo(&mut out, inner.destination, inner.source, &Echo { request: false, ..echo }));
        out
    }

    fn hear(ping: &mut Ping, now: Instant, packet: &[u8], spi: u32) -> Heard {
        let inner = Inner::parse(packet).expect("an IP packet");
        let echo = inner.echo(packet).expect("an echo");
        ping.heard(now, inner.source, &echo, spi)
    }

    #[test]
    fn answers_losses_duplicates_and_late_ones_are_told_apart() {
        let mut ping = ping(3);
        let source = "10.1.1.1".parse().expect("an address");
        let mut packets = Vec::new();
        assert!(ping.request(Instant::ZERO, source, &mut Vec::new()).is_none(), "not started");
        ping.start(Instant::ZERO);
        for second in 0..3 {
            let now = Instant::from_millis(1000 * second);
            assert_eq!(ping.poll_timeout(), Some(now));
            let mut packet = Vec::new();
            let seq = ping.request(now, source, &mut packet).expect("due");
            ping.sent(now, seq, true);
            packets.push(reply(&packet));
            assert!(ping.request(now, source, &mut packet).is_none(), "the next is not due");
            if second == 0 {
                let at = Instant::from_millis(5);
                assert_eq!(hear(&mut ping, at, &packets[0], 7), Heard::Answer(1, Duration::from_millis(5)));
                assert_eq!(hear(&mut ping, at, &packets[0], 7), Heard::Duplicate(1));
            }
        }
        assert_eq!(ping.poll_timeout(), Some(Instant::from_millis(3000)));
        assert_eq!(ping.expire(Instant::from_millis(3000)), Some(2));
        assert_eq!(ping.expire(Instant::from_millis(3000)), None);
        assert_eq!(hear(&mut ping, Instant::from_millis(3001), &packets[1], 7), Heard::Late(2));
        assert!(!ping.report().done);
        assert_eq!(
            hear(&mut ping, Instant::from_millis(3002), &packets[2], 8),
            Heard::Answer(3, Duration::from_millis(1002))
        );
        let report = ping.report();
        assert!(report.done);
        assert_eq!((report.sent, report.received, report.lost, report.duplicates, report.late), (3, 2, 1, 1, 1));
        assert_eq!((&report.lost_numbers[..], &report.by_child[..]), (&[2][..], &[(7, 1), (8, 1)][..]));
        assert_eq!(report.rtt, Some((5_000_000, 1_002_000_000, 1_007_000_000)));
        assert_eq!(report.mean(), Some(Duration::from_nanos(503_500_000)));
        assert!((report.loss_percent() - 33.333).abs() < 0.01);
    }

    #[test]
    fn a_reply_of_someone_else_is_stray() {
        let mut ping = ping(1);
        let source = "10.1.1.1".parse().expect("an address");
        ping.start(Instant::ZERO);
        let mut packet = Vec::new();
        let seq = ping.request(Instant::ZERO, source, &mut packet).expect("due");
        ping.sent(Instant::ZERO, seq, true);
        assert_eq!(hear(&mut ping, Instant::ZERO, &packet, 1), Heard::Stray, "a request is no answer");
        let mut other = Ping::new(ping.spec.clone(), 10);
        assert_eq!(hear(&mut other, Instant::ZERO, &reply(&packet), 1), Heard::Stray);
        assert!(matches!(hear(&mut ping, Instant::ZERO, &reply(&packet), 1), Heard::Answer(1, _)));
    }
}
