//! Packets through the tunnels: pings of a host behind the peer, or UDP datagrams to its echo service (RFC 862), at a planned
//! rate over all tunnels in turn, and what became of them.
//!
//! The peer's own ESP sequence numbers tell both directions apart without its help: what it has sealed it has taken in and
//! answered, and what of that did not arrive was lost on the way back.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use super::summary::{StageResult, TrafficFinding, TrafficResult};
use crate::engine::{EspNote, Event, SaId, TunnelId};
use crate::esp::{ECHO_PORT, Plane, PlaneConfig, inner};
use crate::net::{Path, Transmit};
use crate::time::Instant;

/// First octets of every datagram.
const MAGIC: [u8; 4] = *b"ikLd";
/// Magic, step, place, nothing, time of sending.
const HEADER: usize = 4 + 4 + 4 + 4 + 8;
/// Our UDP port, and the identifier of our pings.
const PORT: u16 = 40_000;
/// Smallest and largest inner packet in octets: headers and our own, and what an Ethernet carries.
pub const SIZES: std::ops::RangeInclusive<usize> = 48 + HEADER..=1500;
/// Packets made at most before the sockets are looked at again.
const BURST: usize = 32;
/// What could not be sent this long after its time is not sent at all.
const TOO_LATE: Duration = Duration::from_millis(100);
/// From one try to get a first packet through a tunnel to the next, and how often it is tried.
const PROBE: Duration = Duration::from_millis(200);
const PROBES: u32 = 25;

/// What is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TrafficSpec {
    /// Octets of each inner packet, its IP header included.
    pub size: usize,
    /// Who echoes; a host of the peer's selectors when missing.
    pub target: Option<IpAddr>,
    /// UDP to the echo service on port 7 instead of pings.
    pub udp: bool,
    /// UDP ports for ESP: ours, the peer's.
    pub natt_ports: (u16, u16),
}

/// What passed in one stage.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Passed {
    /// Octets of each inner packet.
    pub size: u64,
    /// Packets sealed and handed to the socket.
    pub sent: u64,
    /// Packets that were due and not sent, because the tester came to it too late.
    pub late: u64,
    /// Packets that could not be sealed: no tunnel was up, or the selectors do not hold who echoes.
    pub unsent: u64,
    /// Packets that came back.
    pub returned: u64,
    /// Of these, before the time of the stage was over.
    pub in_time: u64,
    /// From the begin of the stage to the first packet that came back.
    pub first_back: Option<Duration>,
    /// Packets that the peer has sealed, by its sequence numbers.
    pub sealed: u64,
    /// Packets that we have opened.
    pub opened: u64,
    /// Packets that were no good: integrity, replay, selectors.
    pub bad: u64,
    /// Tunnels through which a packet came back, in the whole run.
    pub active: u64,
}

impl Passed {
    /// Adds another shard's figures.
    pub fn add(&mut self, other: &Passed) {
        self.size = self.size.max(other.size);
        self.sent += other.sent;
        self.late += other.late;
        self.unsent += other.unsent;
        self.returned += other.returned;
        self.in_time += other.in_time;
        self.first_back = self.first_back.into_iter().chain(other.first_back).min();
        self.sealed += other.sealed;
        self.opened += other.opened;
        self.bad += other.bad;
        self.active += other.active;
    }
}

/// A packet that came back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Echo {
    /// There and back; none for one of an earlier stage.
    pub rtt: Option<Duration>,
    /// From the tunnel's planned start, if it is the first one through it.
    pub first: Option<Duration>,
}

/// A tunnel's ends, and whether packets pass.
#[derive(Clone, Copy, Debug)]
struct Flow {
    tunnel: TunnelId,
    ends: Option<(IpAddr, IpAddr)>,
    up: bool,
    active: bool,
    /// A first packet is still tried for.
    tried: bool,
    planned: Instant,
}

/// The plan of the present stage.
#[derive(Clone, Copy, Debug)]
struct Offer {
    from: Instant,
    until: Instant,
    /// Nanoseconds from one packet to the next.
    gap: f64,
    /// Packets that were due so far.
    count: u64,
}

impl Offer {
    fn next(&self) -> Option<Instant> {
        let at = self.from + Duration::from_nanos((self.gap * self.count as f64) as u64);
        (at < self.until).then_some(at)
    }
}

/// One shard's data plane and what is sent on it.
pub struct Traffic {
    spec: TrafficSpec,
    plane: Plane,
    flows: Vec<Flow>,
    /// Ends of tunnels that are coming up.
    fresh: BTreeMap<TunnelId, (IpAddr, IpAddr)>,
    cursor: usize,
    step: u32,
    offer: Option<Offer>,
    probes: VecDeque<(Instant, usize, u32)>,
    passed: Passed,
    before: Counts,
    active: u64,
    ping_seq: u16,
    tried: u64,
    packet: Vec<u8>,
    data: Vec<u8>,
}

/// The plane's counters at one time. Sequence numbers: ours sent, the peer's highest.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    sealed: u64,
    opened: u64,
    bad: u64,
}

impl Traffic {
    /// Nothing is sent before a tunnel is up.
    pub fn new(spec: TrafficSpec) -> Self {
        let config = PlaneConfig { natt_ports: spec.natt_ports, deliver: true, ..PlaneConfig::default() };
        Traffic {
            spec,
            plane: Plane::new(config),
            flows: Vec::new(),
            fresh: BTreeMap::new(),
            cursor: 0,
            step: 0,
            offer: None,
            probes: VecDeque::new(),
            passed: Passed::default(),
            before: Counts::default(),
            active: 0,
            ping_seq: 0,
            tried: 0,
            packet: Vec::new(),
            data: Vec::new(),
        }
    }

    /// What the engine says.
    pub fn event(&mut self, now: Instant, tunnel: TunnelId, sa: SaId, event: &Event) {
        self.plane.event(now, tunnel, sa, event);
        if let Event::ChildInbound(child) = event {
            let ts = &child.remote_ts;
            let host = || inner::host_in(ts, false).or_else(|| inner::host_in(ts, true));
            let target = self.spec.target.or_else(host);
            let ends = target.and_then(|target| Some((inner::host_in(&child.local_ts, target.is_ipv6())?, target)));
            self.fresh.extend(ends.map(|ends| (tunnel, ends)));
        }
    }

    /// A tunnel came up that was planned for `planned`: a first packet is sent at once, and again until one comes back.
    pub fn up(&mut self, now: Instant, place: usize, tunnel: TunnelId, planned: Instant) {
        let none = Flow { tunnel, ends: None, up: false, active: false, tried: false, planned };
        if self.flows.len() <= place {
            self.flows.resize(place + 1, none);
        }
        let ends = self.fresh.remove(&tunnel);
        self.flows[place] = Flow { ends, up: true, tried: true, ..none };
        self.tried += 1;
        self.probe(now, place, PROBES);
    }

    /// A tunnel is no longer up.
    pub fn down(&mut self, place: usize) {
        let Some(flow) = self.flows.get_mut(place).filter(|flow| flow.up) else { return };
        flow.up = false;
        self.active -= u64::from(std::mem::take(&mut flow.active));
        self.tried -= u64::from(std::mem::take(&mut flow.tried));
    }

    /// Begins a stage: so many bits of inner packets per second from `from` to `until`; none at all if `rate` is 0.
    pub fn begin(&mut self, from: Instant, until: Instant, rate: f64) {
        let gap = self.spec.size as f64 * 8e9 / rate.max(1.0);
        self.step += 1;
        self.offer = (rate > 0.0).then_some(Offer { from, until, gap, count: 0 });
        self.passed = Passed { size: self.spec.size as u64, ..Passed::default() };
        self.before = self.counts();
    }

    /// The time for sending is over; what is still to come back is waited for.
    pub fn stop(&mut self, now: Instant) {
        self.pump(now);
        // What was due and never had its turn.
        if let Some(offer) = self.offer.take() {
            let due = (now.min(offer.until).since(offer.from).as_nanos() as f64 / offer.gap) as u64;
            self.passed.late += due.saturating_sub(offer.count);
        }
        self.passed.in_time = self.passed.returned;
    }

    /// Some tunnels wait for their first packet.
    pub fn is_trying(&self) -> bool {
        self.tried > 0
    }

    /// Everything came back.
    pub fn is_back(&self) -> bool {
        self.passed.returned >= self.passed.sent
    }

    /// Ends a stage.
    pub fn end(&mut self) -> Passed {
        let now = self.counts();
        let before = std::mem::take(&mut self.before);
        self.passed.sealed = now.sealed.saturating_sub(before.sealed);
        self.passed.opened = now.opened.saturating_sub(before.opened);
        self.passed.bad = now.bad.saturating_sub(before.bad);
        self.passed.active = self.active;
        std::mem::take(&mut self.passed)
    }

    /// An ESP packet arrived.
    pub fn received(&mut self, now: Instant, path: Path, packet: &mut [u8]) {
        self.plane.handle_packet(now, path, packet);
        // Nobody here asks what there is to tell a person.
        while self.plane.poll_event().is_some() {}
    }

    /// What came back, one after the other.
    pub fn take_echo(&mut self, now: Instant) -> Option<Echo> {
        loop {
            let packet = self.plane.poll_inner()?;
            let echo = self.echo(now, &packet);
            self.plane.reclaim(packet);
            if echo.is_some() {
                return echo;
            }
        }
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        if let Some(transmit) = self.plane.poll_transmit() {
            return Some(transmit);
        }
        self.pump(now);
        self.plane.poll_transmit()
    }

    /// What the engine wants to know of traffic.
    pub fn poll_note(&mut self) -> Option<(u32, EspNote)> {
        self.plane.poll_note()
    }

    /// The buffer of a packet that was sent.
    pub fn reclaim(&mut self, buffer: Vec<u8>) {
        self.plane.reclaim(buffer);
    }

    /// When the next packet is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let probe = self.probes.front().map(|(at, ..)| *at);
        self.offer.and_then(|offer| offer.next()).into_iter().chain(probe).min()
    }

    fn counts(&self) -> Counts {
        let sealed = self.plane.children().map(|child| child.sequence_numbers().1).sum();
        let counters = self.plane.counters();
        let bad = counters.recv_errors.iter().sum();
        Counts { sealed, opened: counters.decaps, bad }
    }

    /// Makes what is due.
    fn pump(&mut self, now: Instant) {
        while let Some(&(_, place, left)) = self.probes.front().filter(|(at, ..)| *at <= now) {
            self.probes.pop_front();
            if self.flows.get(place).is_some_and(|flow| flow.up && !flow.active) {
                self.probe(now, place, left);
            }
        }
        for _ in 0..BURST {
            let Some(offer) = &mut self.offer else { return };
            let Some(at) = offer.next().filter(|at| *at <= now) else { return };
            offer.count += 1;
            if now.since(at) > TOO_LATE {
                self.passed.late += 1;
                continue;
            }
            let sent = match self.next_flow() {
                Some(place) => self.send(now, place, self.step),
                None => false,
            };
            self.passed.sent += u64::from(sent);
            self.passed.unsent += u64::from(!sent);
        }
    }

    /// The next tunnel that is up, going round.
    fn next_flow(&mut self) -> Option<usize> {
        for _ in 0..self.flows.len() {
            let place = self.cursor % self.flows.len();
            self.cursor = place + 1;
            if self.flows[place].up {
                return Some(place);
            }
        }
        None
    }

    fn probe(&mut self, now: Instant, place: usize, left: u32) {
        if left > 0 {
            self.send(now, place, 0);
            self.probes.push_back((now + PROBE, place, left - 1));
        } else {
            self.tried -= u64::from(std::mem::take(&mut self.flows[place].tried));
        }
    }

    fn send(&mut self, now: Instant, place: usize, step: u32) -> bool {
        let Flow { tunnel, ends: Some((source, target)), .. } = self.flows[place] else { return false };
        let headers = if target.is_ipv4() { 20 + 8 } else { 40 + 8 };
        self.data.resize(self.spec.size.saturating_sub(headers).max(HEADER), 0xa5);
        let number = u32::try_from(place).unwrap_or(u32::MAX);
        let fields = [&MAGIC[..], &step.to_be_bytes(), &number.to_be_bytes(), &[0; 4], &now.0.to_be_bytes()].concat();
        self.data[..HEADER].copy_from_slice(&fields);
        let mut packet = std::mem::take(&mut self.packet);
        let built = if self.spec.udp {
            inner::build_udp(&mut packet, (source, PORT), (target, ECHO_PORT), &self.data)
        } else {
            self.ping_seq = self.ping_seq.wrapping_add(1);
            let request = inner::Echo { request: true, id: PORT, seq: self.ping_seq, data: &self.data };
            inner::build_echo(&mut packet, source, target, &request)
        };
        let sent = built && self.plane.send(now, Some(tunnel), &packet).is_ok();
        self.packet = packet;
        sent
    }

    fn echo(&mut self, now: Instant, packet: &[u8]) -> Option<Echo> {
        let inner = inner::Inner::parse(packet)?;
        let data = match inner.echo(packet) {
            Some(echo) => Some(echo.data).filter(|_| !echo.request && echo.id == PORT)?,
            None => inner.udp(packet).filter(|(from, to, _)| (*from, *to) == (ECHO_PORT, PORT))?.2,
        };
        let rest = data.strip_prefix(&MAGIC)?;
        let (step, rest) = rest.split_first_chunk::<4>()?;
        let (place, rest) = rest.split_first_chunk::<4>()?;
        let sent = Instant(u64::from_be_bytes(*rest.get(4..)?.first_chunk::<8>()?));
        let place = usize::try_from(u32::from_be_bytes(*place)).ok()?;
        let flow = self.flows.get_mut(place).filter(|flow| flow.up)?;
        let first = (!std::mem::replace(&mut flow.active, true)).then(|| now.since(flow.planned));
        self.active += u64::from(first.is_some());
        self.tried -= u64::from(std::mem::take(&mut flow.tried));
        let present = u32::from_be_bytes(*step) == self.step && self.step > 0;
        self.passed.returned += u64::from(present);
        if let Some(offer) = self.offer.filter(|_| present) {
            self.passed.first_back.get_or_insert(now.since(offer.from));
        }
        Some(Echo { rtt: present.then(|| now.since(sent)), first })
    }
}

impl TrafficResult {
    /// The counts; rates are [`StageResult::offer`]'s to say, which finds the bits that came back in time here.
    pub(super) fn of(passed: &Passed) -> TrafficResult {
        let share = |part: u64, of: u64| if of == 0 { 0.0 } else { part as f64 / of as f64 };
        // Dead peers and other packets of the peer's are sealed, too: never less than nothing is lost.
        let known = passed.sealed >= passed.opened;
        TrafficResult {
            size: passed.size,
            sent: passed.sent,
            late: passed.late,
            unsent: passed.unsent,
            returned: passed.returned,
            first_back: passed.first_back.map(|first| first.as_secs_f64()),
            throughput: (passed.in_time * passed.size * 8) as f64,
            loss: share(passed.sent.saturating_sub(passed.returned), passed.sent),
            loss_there: known.then(|| share(passed.sent.saturating_sub(passed.sealed), passed.sent)),
            loss_back: known.then(|| share(passed.sealed - passed.opened, passed.sealed)),
            bad: passed.bad,
            active: passed.active,
            ..TrafficResult::default()
        }
    }
}

impl StageResult {
    /// What a stage of traffic was offered by this process, in bits per second, and what that makes of its figures.
    pub fn offer(&mut self, rate: f64) {
        let octets = self.used.octets.0 as f64;
        let seconds = self.planned_seconds.max(f64::MIN_POSITIVE);
        let Some(traffic) = &mut self.traffic else { return };
        let rate_of = |packets: u64| packets as f64 * traffic.size as f64 * 8.0 / seconds;
        // Nothing can come back before the first packet was there and back.
        let back = (seconds - traffic.first_back.unwrap_or_default()).max(f64::MIN_POSITIVE);
        let (sent, in_time) = (rate_of(traffic.sent), rate_of(traffic.returned).min(traffic.throughput / back));
        (traffic.offered, traffic.sent_rate, traffic.throughput) = (rate, sent, in_time);
        let inner = traffic.sent as f64 * traffic.size as f64;
        // UDP payload is what the sockets count: an IPv4 and a UDP header come on top.
        traffic.overhead = if inner > 0.0 { (octets + traffic.sent as f64 * 28.0) / inner } else { 1.0 };
        self.planned = traffic.sent + traffic.late + traffic.unsent;
    }
}

/// More than this of what was offered must come back for a rate to count as carried.
const CARRIED: f64 = 0.98;

/// What was offered came back, or as good as all of it.
pub fn carries(step: &TrafficResult) -> bool {
    step.throughput >= step.offered * CARRIED
}

/// Steps whose throughput differs by no more than this lie on one plateau.
const LEVEL: f64 = 0.05;
/// What routers of Cisco IOS without an HSEC licence carry in each direction, in bits per second, and how near a plateau must
/// be to be compared with it: it is not said which octets count.
const CERM: f64 = 85e6;
const NEAR: f64 = 0.05;

/// What steps of traffic say together: the most that was carried, and whether more is cut off at a level.
pub fn finding(stages: &[StageResult]) -> Option<TrafficFinding> {
    // A shard without a tunnel is offered nothing.
    let offered = stages.iter().filter_map(|s| s.traffic.as_ref()).filter(|t| t.offered > 0.0);
    let steps: BTreeMap<u64, &TrafficResult> = offered.map(|t| (t.offered as u64, t)).collect();
    let steps: Vec<_> = steps.into_values().collect();
    let last = steps.last()?;
    let best = steps.iter().map(|t| t.throughput).fold(0.0, f64::max);
    let carried = steps.iter().filter(|t| carries(t)).map(|t| t.offered).fold(0.0, f64::max);
    let level: Vec<_> = steps.iter().filter(|t| t.throughput >= best * (1.0 - LEVEL)).collect();
    let cut = !carries(last);
    // More was offered, clearly, and no more came.
    let wide = level.first().zip(level.last()).is_some_and(|(a, b)| b.offered > a.throughput * 1.2);
    let plateau =
        (best > 0.0 && cut && wide && level.last().is_some_and(|t| t.offered >= last.offered)).then_some(best);
    let short = steps.iter().find(|t| !carries(t));
    let mut words = match (plateau, cut) {
        _ if best <= 0.0 => format!(
            "nothing came back of {}: does the host behind the peer answer, and do the selectors hold it (--echo)?",
            bits(last.offered)
        ),
        (Some(at), _) => format!(
            "a plateau at {} per direction: {} were offered, and no more came back",
            bits(at),
            level.iter().map(|t| bits(t.offered)).collect::<Vec<_>>().join(", ")
        ),
        (None, true) => format!(
            "of {} offered {} came back; whether that is a plateau, more steps would tell (--offer)",
            bits(last.offered),
            bits(last.throughput)
        ),
        (None, false) => match short {
            Some(short) => format!(
                "{} per direction was carried, but of {} offered only {} came back",
                bits(last.offered),
                bits(short.offered),
                bits(short.throughput)
            ),
            None => format!("everything offered was carried, up to {} per direction", bits(last.offered)),
        },
    };
    if cut && let (Some(there), Some(back)) = (last.loss_there, last.loss_back) {
        words += &format!(
            "; at the last step {:.1} % got no answer sealed by the peer, and {:.1} % of its answers were lost on the way back",
            there * 100.0,
            back * 100.0
        );
    }
    let near = |at: f64| (at / CERM - 1.0).abs() <= NEAR;
    if plateau.is_some_and(|at| near(at) || near(at * last.overhead)) {
        words += "; 85 Mb/s per direction is where Cisco IOS routers stop that have no HSEC licence (their log: \
                  CERM-4-TX_BW_LIMIT, CERM-4-RX_BW_LIMIT)";
    }
    Some(TrafficFinding { best, carried, plateau, finding: words })
}

/// A rate in words: `85.0 Mb/s`.
pub fn bits(rate: f64) -> String {
    match rate {
        r if r >= 1e9 => format!("{:.2} Gb/s", r / 1e9),
        r if r >= 1e6 => format!("{:.1} Mb/s", r / 1e6),
        r => format!("{:.0} kb/s", r / 1e3),
    }
}

/// Reads `85M`, `1.5G`, `500k` or plain bits per second.
pub fn parse_bits(text: &str) -> Option<f64> {
    let text = text.trim();
    let (number, unit) = match text.char_indices().last()? {
        (at, 'k' | 'K') => (&text[..at], 1e3),
        (at, 'M') => (&text[..at], 1e6),
        (at, 'G') => (&text[..at], 1e9),
        _ => (text, 1.0),
    };
    number.parse::<f64>().ok().map(|n| n * unit).filter(|n| n.is_finite() && (1e3..=1e12).contains(n))
}

#[cfg(test)]
mod tests {
    use super::*;
    fn stage(offered: f64, throughput: f64) -> StageResult {
        let traffic = TrafficResult {
            offered,
            throughput,
            overhead: 1.03,
            loss_there: Some(0.25),
            loss_back: Some(0.0),
            ..TrafficResult::default()
        };
        StageResult { name: "traffic".into(), traffic: Some(traffic), ..StageResult::default() }
    }

    #[test]
    fn a_plateau_is_named_and_so_is_the_licence_that_makes_it() {
        let found = finding(&[stage(50e6, 50e6), stage(100e6, 84.2e6), stage(200e6, 83.9e6)]).expect("steps");
        assert_eq!((found.carried, found.plateau), (50e6, Some(84.2e6)));
        assert!(found.finding.starts_with("a plateau at 84.2 Mb/s per direction: 100.0 Mb/s, 200.0 Mb/s"), "{found:?}");
        assert!(found.finding.contains("HSEC") && found.finding.contains("25.0 % got no answer"), "{found:?}");
        let found = finding(&[stage(10e6, 10e6), stage(40e6, 20e6), stage(80e6, 20.1e6)]).expect("steps");
        assert!(found.plateau.is_some() && !found.finding.contains("HSEC"), "{found:?}");
    }

    #[test]
    fn what_is_no_plateau_is_not_called_one() {
        let found = finding(&[stage(50e6, 50e6), stage(100e6, 99.5e6)]).expect("steps");
        assert_eq!((found.plateau, found.carried), (None, 100e6));
        assert!(found.finding.starts_with("everything offered was carried, up to 100.0 Mb/s"), "{found:?}");
        // A collapse: what comes back falls while more is offered.
        assert_eq!(finding(&[stage(50e6, 50e6), stage(100e6, 80e6), stage(200e6, 30e6)]).and_then(|f| f.plateau), None);
        let one = finding(&[stage(100e6, 85e6)]).expect("a step");
        assert!(one.plateau.is_none() && one.finding.contains("more steps would tell"), "{one:?}");
        assert_eq!(finding(&[StageResult::default()]), None);
        // Nothing at all is no level, and 3 % less is not everything.
        let nothing = finding(&[stage(10e6, 0.0), stage(50e6, 0.0)]).expect("steps");
        assert_eq!((nothing.plateau, nothing.carried, nothing.best), (None, 0.0, 0.0));
        assert!(nothing.finding.starts_with("nothing came back of 50.0 Mb/s: does the host"), "{nothing:?}");
        let less = finding(&[stage(50e6, 50e6), stage(100e6, 97e6)]).expect("steps");
        assert!(less.finding.starts_with("of 100.0 Mb/s offered 97.0 Mb/s came back"), "{less:?}");
        let once = finding(&[stage(50e6, 40e6), stage(100e6, 100e6)]).expect("steps");
        assert_eq!(
            once.finding,
            "100.0 Mb/s per direction was carried, but of 50.0 Mb/s offered only 40.0 Mb/s came back"
        );
    }

    #[test]
    fn the_way_there_and_back_takes_nothing_from_the_throughput() {
        let result = |passed: Passed| {
            let mut stats = crate::load::measure::Stats::default();
            stats.traffic.replace(passed);
            let mut stage = StageResult { planned_seconds: 1.0, ..StageResult::of_stats("traffic", &stats) };
            stage.offer(1e6);
            stage
        };
        // A packet every 10 ms for a second, and each is 200 ms under way: at the end 20 are not back yet.
        let passed = Passed {
            size: 1250,
            sent: 100,
            returned: 100,
            in_time: 80,
            first_back: Some(Duration::from_millis(200)),
            ..Passed::default()
        };
        let stage = result(passed);
        let traffic = stage.traffic.as_ref().expect("there is some");
        assert!((traffic.throughput / 1e6 - 1.0).abs() < 1e-9 && carries(traffic), "{traffic:?}");
        // What the peer holds back is missing all the same.
        let late = Passed { in_time: 80, first_back: Some(Duration::from_millis(5)), ..passed };
        let stage = result(late);
        assert!(!carries(stage.traffic.as_ref().expect("there is some")));
    }

    #[test]
    fn rates_are_read_and_said() {
        for (text, rate) in [("85M", 85e6), ("1.5G", 1.5e9), ("500k", 500e3), ("64000", 64e3)] {
            assert_eq!(parse_bits(text), Some(rate), "{text}");
        }
        for text in ["", "M", "-1M", "85Mb", "1", "NaN"] {
            assert_eq!(parse_bits(text), None, "{text}");
        }
        assert_eq!((bits(85e6), bits(2.5e9), bits(64e3)), ("85.0 Mb/s".into(), "2.50 Gb/s".into(), "64 kb/s".into()));
    }
}
