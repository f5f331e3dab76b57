//! A small UDP stream: numbered datagrams at a fixed rate to an echo service (RFC 862), and what of them came through,
//! once at the far side and once on their return.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::inner;
use super::replay::{ReplayWindow, Verdict};
use crate::engine::TunnelId;
use crate::time::Instant;

/// First octets of every datagram.
const MAGIC: [u8; 4] = *b"ikSt";
/// Magic, stream, number, time of sending.
const HEADER: usize = 4 + 4 + 8 + 8;
/// How far apart a datagram and a copy of it may arrive and still be told apart.
const WINDOW: u32 = 4096;
/// Streams that a reflector tells apart; others are echoed and not measured.
const STREAMS: usize = 1024;
/// Local port of the first stream.
const FIRST_PORT: u16 = 40_000;

/// What to send.
#[derive(Clone, Debug)]
pub struct StreamSpec {
    /// Through which tunnel.
    pub tunnel: TunnelId,
    /// The sender's address; a host of our selectors when missing.
    pub source: Option<IpAddr>,
    /// Where the echo service is.
    pub target: IpAddr,
    /// Its UDP port.
    pub port: u16,
    /// Datagrams per second.
    pub rate: u32,
    /// Octets of data in each; at least 24 are sent.
    pub size: usize,
    /// How many datagrams; no end when missing.
    pub count: Option<u64>,
    /// How long to wait for echoes after the last one.
    pub patience: Duration,
}

impl StreamSpec {
    /// Fifty datagrams a second with 512 octets each.
    pub fn new(tunnel: TunnelId, target: IpAddr) -> Self {
        let patience = Duration::from_secs(2);
        StreamSpec { tunnel, source: None, target, port: super::ECHO_PORT, rate: 50, size: 512, count: None, patience }
    }
}

/// What came of a stream at one of its receivers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Measured {
    /// Datagrams received, copies not counted.
    pub received: u64,
    /// Octets of data in them.
    pub bytes: u64,
    /// Copies.
    pub duplicates: u64,
    /// Datagrams that arrived behind a later one.
    pub reordered: u64,
    /// The highest number received; what is missing up to it is lost or late.
    pub highest: u64,
    /// First and last arrival.
    pub span: Option<(Instant, Instant)>,
}

impl Measured {
    /// Octets of data a second between first and last arrival; `None` with fewer than two datagrams.
    pub fn rate(&self) -> Option<f64> {
        let (first, last) = self.span?;
        let seconds = last.since(first).as_secs_f64();
        (seconds > 0.0).then(|| self.bytes as f64 / seconds)
    }
}

/// Counts numbered datagrams.
#[derive(Debug)]
struct Meter {
    window: ReplayWindow,
    measured: Measured,
}

impl Default for Meter {
    fn default() -> Self {
        Meter { window: ReplayWindow::new(WINDOW), measured: Measured::default() }
    }
}

impl Meter {
    /// False for a copy.
    fn count(&mut self, now: Instant, seq: u64, len: usize) -> bool {
        let behind = seq < self.window.top();
        let it = &mut self.measured;
        match self.window.accept(seq) {
            Verdict::Fresh => {
                it.received += 1;
                it.bytes += len as u64;
                it.reordered += u64::from(behind);
                it.highest = self.window.top();
                it.span = Some((it.span.map_or(now, |(first, _)| first), now));
                true
            }
            Verdict::Replayed | Verdict::TooOld => {
                it.duplicates += 1;
                false
            }
        }
    }
}

/// What a sender has found out so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StreamReport {
    /// Datagrams sent.
    pub sent: u64,
    /// Datagrams that could not even be encrypted.
    pub unsent: u64,
    /// What came back.
    pub returned: Measured,
    /// Round trips: shortest, longest, and the sum of all, in nanoseconds.
    pub rtt: Option<(u64, u64, u128)>,
    /// Nothing more is to be sent or awaited.
    pub done: bool,
}

/// A stream under way.
#[derive(Debug)]
pub struct Stream {
    spec: StreamSpec,
    id: u32,
    port: u16,
    next: u64,
    next_at: Option<Instant>,
    /// When waiting for echoes ends.
    until: Option<Instant>,
    started: bool,
    meter: Meter,
    report: StreamReport,
    data: Vec<u8>,
}

impl Stream {
    pub(super) fn new(spec: StreamSpec, id: u32) -> Self {
        let data = (0..spec.size.max(HEADER)).map(|n| n as u8).collect();
        let port = FIRST_PORT.wrapping_add(id as u16);
        Stream {
            spec,
            id,
            port,
            next: 1,
            next_at: None,
            until: None,
            started: false,
            meter: Meter::default(),
            report: StreamReport::default(),
            data,
        }
    }

    /// What is sent.
    pub fn spec(&self) -> &StreamSpec {
        &self.spec
    }

    /// So far.
    pub fn report(&self) -> StreamReport {
        StreamReport { returned: self.meter.measured, ..self.report }
    }

    pub(super) fn start(&mut self, now: Instant) {
        if !std::mem::replace(&mut self.started, true) {
            self.next_at = Some(now);
        }
    }

    pub(super) fn stop(&mut self) {
        self.spec.count = Some(self.next - 1);
        if self.next_at.take().is_some() || !self.started {
            self.report.done = true;
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.next_at.or(self.until)
    }

    /// Waiting for echoes may be over.
    pub(super) fn expire(&mut self, now: Instant) {
        if self.until.is_some_and(|until| until <= now) {
            self.until = None;
            self.report.done = true;
        }
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.next_at.is_some_and(|at| at <= now)
    }

    /// Writes the datagram that is due to `out` as an IP packet. [`Stream::sent`] follows.
    pub(super) fn next(&mut self, now: Instant, source: IpAddr, out: &mut Vec<u8>) -> bool {
        let (seq, id) = (self.next, self.id);
        self.advance(now);
        let fields = [&MAGIC[..], &id.to_be_bytes(), &seq.to_be_bytes(), &now.0.to_be_bytes()];
        let mut at = 0;
        for field in fields {
            self.data[at..at + field.len()].copy_from_slice(field);
            at += field.len();
        }
        inner::build_udp(out, (source, self.port), (self.spec.target, self.spec.port), &self.data)
    }

    /// There is no address to send it from.
    pub(super) fn skip(&mut self, now: Instant) {
        self.advance(now);
        self.sent(false);
    }

    pub(super) fn sent(&mut self, left: bool) {
        if left {
            self.report.sent += 1;
        } else {
            self.report.unsent += 1;
        }
    }

    /// Whether a datagram from `from` to our port `to` is an echo of this stream.
    pub(super) fn is_from(&self, from: (IpAddr, u16), to: u16) -> bool {
        from == (self.spec.target, self.spec.port) && to == self.port
    }

    /// An echo came back.
    pub(super) fn heard(&mut self, now: Instant, data: &[u8]) {
        let Some((id, seq, at)) = read(data).filter(|(id, ..)| *id == self.id) else { return };
        let _ = id;
        if !self.meter.count(now, seq, data.len()) {
            return;
        }
        let nanos = now.0.saturating_sub(at);
        let (shortest, longest, sum) = self.report.rtt.unwrap_or((u64::MAX, 0, 0));
        self.report.rtt = Some((shortest.min(nanos), longest.max(nanos), sum + u128::from(nanos)));
        if self.until.is_some() && self.meter.measured.received == self.report.sent {
            self.until = None;
            self.report.done = true;
        }
    }

    fn advance(&mut self, now: Instant) {
        let at = self.next_at.unwrap_or(now);
        self.next += 1;
        let gap = Duration::from_nanos(1_000_000_000 / u64::from(self.spec.rate.max(1)));
        self.next_at = Some(at + gap);
        if self.spec.count.is_some_and(|count| self.next > count) {
            self.next_at = None;
            self.until = Some(now + self.spec.patience);
        }
    }
}

/// The far side of streams: what it received of each, before it sent it back.
#[derive(Debug, Default)]
pub struct Reflector {
    streams: BTreeMap<(TunnelId, IpAddr, u16, u32), Meter>,
}

impl Reflector {
    pub(super) fn heard(&mut self, now: Instant, tunnel: TunnelId, (from, port): (IpAddr, u16), data: &[u8]) {
        let Some((id, seq, _)) = read(data) else { return };
        let key = (tunnel, from, port, id);
        if self.streams.len() < STREAMS || self.streams.contains_key(&key) {
            self.streams.entry(key).or_default().count(now, seq, data.len());
        }
    }

    /// Every stream that was received: its tunnel, its sender, and what came of it.
    pub fn streams(&self) -> impl Iterator<Item = (TunnelId, IpAddr, Measured)> + '_ {
        self.streams.iter().map(|(&(tunnel, from, ..), meter)| (tunnel, from, meter.measured))
    }
}

/// Stream, number and time of sending.
fn read(data: &[u8]) -> Option<(u32, u64, u64)> {
    let rest = data.strip_prefix(&MAGIC)?;
    let (id, rest) = rest.split_first_chunk::<4>()?;
    let (seq, rest) = rest.split_first_chunk::<8>()?;
    let at = rest.first_chunk::<8>()?;
    Some((u32::from_be_bytes(*id), u64::from_be_bytes(*seq), u64::from_be_bytes(*at)))
}
