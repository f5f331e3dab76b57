//! The data plane: Child SAs fed by the engine's events, ESP packets in and out, and the small inner stack.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use super::bend::Bend;
use super::cap::Cap;
use super::child::{Child, Standing};
use super::counters::{Counters, RecvError, SendError};
use super::inner::{self, Echo, Inner};
use super::packet;
use super::ping::{Heard, Ping, PingSpec};
use super::spec::{Closed, ECHO_PORT, EchoPolicy, PlaneConfig, PlaneEvent};
use super::stream::{Reflector, Stream, StreamSpec};
use crate::engine::{EspNote, Event, Mode, SaId, Tamper, TunnelId};
use crate::net::{Class, Path, SocketRole, Transmit};
use crate::time::Instant;
use crate::wire::TrafficSelector;

/// SPIs up to this one are reserved (RFC 4303 2.1).
const RESERVED_SPIS: u32 = 255;
/// Inner packets kept for [`Plane::poll_inner`]; more are dropped, as a full device queue drops them.
const INNER_QUEUE: usize = 1024;
/// Buffers kept for reuse.
const SPARE: usize = 128;
/// Events kept until somebody asks.
const EVENTS: usize = 4096;

/// How an IKE SA's tunnel is reached.
#[derive(Debug)]
struct Tunnel {
    sa: SaId,
    path: Option<Path>,
    /// Follow the address of authentic packets (RFC 7296 2.23): the peer is behind a NAT and we are not.
    follow: bool,
}

/// The data plane of an endpoint.
pub struct Plane {
    config: PlaneConfig,
    children: BTreeMap<u32, Box<Child>>,
    /// By tunnel and order of arrival: our SPI.
    order: BTreeMap<(TunnelId, u64), u32>,
    tunnels: BTreeMap<TunnelId, Tunnel>,
    next_order: u64,
    pings: Vec<Ping>,
    streams: Vec<Stream>,
    reflector: Reflector,
    out: VecDeque<Transmit>,
    inner_out: VecDeque<Vec<u8>>,
    events: VecDeque<PlaneEvent>,
    notes: VecDeque<(u32, EspNote)>,
    closed: VecDeque<Closed>,
    keep_closed: usize,
    counters: Counters,
    /// Child SAs with keyed ciphers, and when to look for idle ones.
    active: Vec<u32>,
    sweep_at: Option<Instant>,
    spare: Vec<Vec<u8>>,
    scratch: Vec<u8>,
    carried: Vec<u8>,
    pub(super) bend: Bend,
    /// What may pass.
    cap: Option<Arc<Cap>>,
}

impl Plane {
    /// An empty data plane.
    pub fn new(config: PlaneConfig) -> Self {
        Plane {
            config,
            children: BTreeMap::new(),
            order: BTreeMap::new(),
            tunnels: BTreeMap::new(),
            next_order: 0,
            pings: Vec::new(),
            streams: Vec::new(),
            reflector: Reflector::default(),
            out: VecDeque::new(),
            inner_out: VecDeque::new(),
            events: VecDeque::new(),
            notes: VecDeque::new(),
            closed: VecDeque::new(),
            keep_closed: 64,
            counters: Counters::default(),
            active: Vec::new(),
            sweep_at: None,
            spare: Vec::new(),
            scratch: Vec::new(),
            carried: Vec::new(),
            bend: Bend::default(),
            cap: None,
        }
    }

    /// Installs the bender of outgoing packets ([`Tamper::esp`]).
    pub fn set_tamper(&mut self, tamper: Box<dyn Tamper>) {
        self.bend.tamper = Some(tamper);
    }

    /// Lets no more pass than `cap` allows, which other planes may share.
    pub fn set_cap(&mut self, cap: Option<Arc<Cap>>) {
        self.cap = cap;
    }

    /// Whether the cap lets so many octets pass.
    fn admits(&mut self, now: Instant, outbound: bool, octets: usize) -> bool {
        let Some(cap) = &self.cap else { return true };
        if cap.admits(now, outbound, octets) {
            return true;
        }
        if cap.tells(now, outbound) {
            self.tell(PlaneEvent::Capped { outbound });
        }
        false
    }

    /// Takes note of what the engine says.
    pub fn event(&mut self, now: Instant, tunnel: TunnelId, sa: SaId, event: &Event) {
        match event {
            Event::InitDone(done) => self.tunnel(tunnel, sa).follow = done.nat.peer && !done.nat.us,
            Event::IkeUp(up) => {
                // After a reauthentication the new IKE SA stands for the tunnel, and the old one's end is not its end.
                let entry = self.tunnel(tunnel, sa);
                (entry.sa, entry.path) = (sa, Some(up.path));
                // With MOBIKE the peer says so when it has moved (RFC 4555 3.8).
                entry.follow &= !up.mobike;
            }
            Event::Moved { path, nat, .. } => {
                if let Some(entry) = self.tunnels.get_mut(&tunnel).filter(|t| t.sa == sa) {
                    entry.path = Some(*path);
                    let encapsulated = nat.us || nat.peer;
                    let children = self.children.values_mut().filter(|child| child.tunnel == tunnel);
                    children.for_each(|child| child.encapsulated = encapsulated);
                }
            }
            Event::ChildInbound(child) => {
                self.tunnel(tunnel, sa);
                self.next_order += 1;
                let order = self.next_order;
                let entry = Child::new(tunnel, child, order, self.config.replay_window);
                if let Some(old) = self.children.insert(child.spi_in, Box::new(entry)) {
                    self.order.remove(&(old.tunnel, old.order));
                }
                self.order.insert((tunnel, order), child.spi_in);
            }
            Event::ChildOutbound { spi_in } => {
                if let Some(child) = self.children.get_mut(spi_in) {
                    child.standing = Standing::Open;
                    // What may be sent on last is preferred, in whatever order they were installed.
                    self.order.remove(&(child.tunnel, child.order));
                    self.next_order += 1;
                    child.order = self.next_order;
                    self.order.insert((child.tunnel, child.order), *spi_in);
                    self.pings.iter_mut().filter(|p| p.spec.tunnel == tunnel).for_each(|p| p.start(now));
                    self.streams.iter_mut().filter(|s| s.spec().tunnel == tunnel).for_each(|s| s.start(now));
                }
            }
            Event::ChildClosing { spi_in } => {
                if let Some(child) = self.children.get_mut(spi_in) {
                    child.standing = Standing::Closing;
                }
            }
            Event::ChildDown { spi_in, .. } => self.remove(*spi_in),
            Event::IkeRekeyed(rekeyed) => {
                if let Some(tunnel) = self.tunnels.get_mut(&tunnel) {
                    tunnel.sa = rekeyed.new;
                }
            }
            Event::Closed if self.tunnels.get(&tunnel).is_some_and(|t| t.sa == sa) => {
                self.tunnels.remove(&tunnel);
                let left: Vec<u32> = self.of(tunnel).collect();
                left.into_iter().for_each(|spi| self.remove(spi));
            }
            _ => {}
        }
    }

    /// An ESP packet arrived; it begins with the SPI. It is decrypted where it stands.
    pub fn handle_packet(&mut self, now: Instant, path: Path, packet: &mut [u8]) {
        if let Err((why, spi)) = self.receive(now, path, packet) {
            self.counters.recv_errors[why as usize] += 1;
            if let Some(child) = spi.and_then(|spi| self.children.get_mut(&spi)) {
                child.counters.recv_errors += 1;
            }
        }
    }

    /// Sends an IP packet through a tunnel, or through whichever has a Child SA for it.
    ///
    /// # Errors
    ///
    /// If it cannot be sent; it is counted then.
    pub fn send(&mut self, now: Instant, tunnel: Option<TunnelId>, packet: &[u8]) -> Result<u32, SendError> {
        let result = self.try_send(now, tunnel, packet);
        if let Err(why) = result {
            self.counters.send_errors[why as usize] += 1;
        }
        result
    }

    /// Sends a dummy packet (RFC 4303 2.6) of so many octets on a Child SA, which the peer must throw away.
    ///
    /// # Errors
    ///
    /// If there is no such Child SA, or it may not be sent on.
    pub fn send_dummy(&mut self, now: Instant, spi_in: u32, len: usize) -> Result<(), SendError> {
        let zeros = vec![0; len];
        self.seal(now, spi_in, &zeros, inner::DUMMY, 0)
    }

    /// Pings, from the moment at which a Child SA may be sent on. `id` is the identifier in the requests.
    pub fn ping(&mut self, now: Instant, spec: PingSpec, id: u16) {
        let ready = self.of(spec.tunnel).any(|spi| self.children[&spi].standing == Standing::Open);
        let mut ping = Ping::new(spec, id);
        if ready {
            ping.start(now);
        }
        self.pings.push(ping);
    }

    /// The pings, in the order in which they were asked for.
    pub fn pings(&self) -> &[Ping] {
        &self.pings
    }

    /// Ends all pings and streams; what is outstanding may still be answered.
    pub fn stop(&mut self) {
        self.pings.iter_mut().for_each(Ping::stop);
        self.streams.iter_mut().for_each(Stream::stop);
    }

    /// Whether pings and streams have all there is to have.
    pub fn is_done(&self) -> bool {
        self.pings.iter().all(|p| p.report().done) && self.streams.iter().all(|s| s.report().done)
    }

    /// Sends a stream of UDP datagrams, from the moment at which a Child SA may be sent on.
    pub fn stream(&mut self, now: Instant, spec: StreamSpec) {
        let ready = self.of(spec.tunnel).any(|spi| self.children[&spi].standing == Standing::Open);
        let mut stream = Stream::new(spec, self.streams.len() as u32 + 1);
        if ready {
            stream.start(now);
        }
        self.streams.push(stream);
    }

    /// The streams, in the order in which they were asked for.
    pub fn streams(&self) -> &[Stream] {
        &self.streams
    }

    /// What was received of the peers' streams.
    pub fn reflector(&self) -> &Reflector {
        &self.reflector
    }

    /// Lets time pass: pings and streams that are due, ciphers that are idle.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.run_pings(now);
        self.run_streams(now);
        if self.sweep_at.is_some_and(|at| at <= now) {
            let since = Instant(now.0.saturating_sub(self.config.idle.as_nanos() as u64));
            let children = &mut self.children;
            self.active.retain(|spi| children.get_mut(spi).is_some_and(|child| !child.rest(since)));
            self.sweep_at = (!self.active.is_empty()).then(|| now + self.config.idle);
        }
    }

    /// When [`Plane::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let pings = self.pings.iter().filter_map(Ping::poll_timeout);
        let streams = self.streams.iter().filter_map(Stream::poll_timeout);
        pings.chain(streams).chain(self.sweep_at).min()
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.out.pop_front()
    }

    /// Takes back the buffer of a datagram that was sent.
    pub fn reclaim(&mut self, buffer: Vec<u8>) {
        if self.spare.len() < SPARE {
            self.spare.push(buffer);
        }
    }

    /// The next decapsulated packet that nobody here wanted, with [`PlaneConfig::deliver`].
    pub fn poll_inner(&mut self) -> Option<Vec<u8>> {
        self.inner_out.pop_front()
    }

    /// The next thing to tell a person.
    pub fn poll_event(&mut self) -> Option<PlaneEvent> {
        self.events.pop_front()
    }

    /// What the engine wants to know of traffic: our SPI, and what passed since the last time.
    pub fn poll_note(&mut self) -> Option<(u32, EspNote)> {
        self.notes.pop_front()
    }

    /// Counters of everything.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The Child SAs there are, in the order of their SPIs.
    pub fn children(&self) -> impl Iterator<Item = &Child> {
        self.children.values().map(|child| &**child)
    }

    /// The last Child SAs that ended, oldest first.
    pub fn closed(&self) -> impl Iterator<Item = &Closed> {
        self.closed.iter()
    }

    /// Whether native ESP is available changes.
    pub fn set_native(&mut self, native: bool) {
        self.config.native = native;
    }

    fn tunnel(&mut self, tunnel: TunnelId, sa: SaId) -> &mut Tunnel {
        self.tunnels.entry(tunnel).or_insert(Tunnel { sa, path: None, follow: false })
    }

    /// Our SPIs of a tunnel's Child SAs, oldest first.
    fn of(&self, tunnel: TunnelId) -> impl DoubleEndedIterator<Item = u32> {
        self.order.range((tunnel, 0)..=(tunnel, u64::MAX)).map(|(_, spi)| *spi)
    }

    fn remove(&mut self, spi_in: u32) {
        let Some(child) = self.children.remove(&spi_in) else { return };
        self.order.remove(&(child.tunnel, child.order));
        if self.closed.len() == self.keep_closed {
            self.closed.pop_front();
        }
        self.closed.push_back(Closed { spi_in, spi_out: child.spi_out, counters: child.counters });
    }

    fn tell(&mut self, event: PlaneEvent) {
        if self.events.len() == EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    // ---- inbound ----

    fn receive(&mut self, now: Instant, path: Path, packet: &mut [u8]) -> Result<(), (RecvError, Option<u32>)> {
        let (spi, _) = packet::header(packet).ok_or((RecvError::Short, None))?;
        let unknown = (RecvError::UnknownSpi, None);
        if spi <= RESERVED_SPIS {
            return Err(unknown);
        }
        let at_fault = |why| (why, Some(spi));
        if self.children.contains_key(&spi) && !self.admits(now, false, packet.len()) {
            return Err(at_fault(RecvError::Licence));
        }
        let child = self.children.get_mut(&spi).ok_or(unknown)?;
        let before = child.window.top();
        let (opened, keyed) = child.open(now, packet).map_err(at_fault)?;
        let (mode, tunnel, len) = (child.mode, child.tunnel, packet.len() as u64);
        let newest = child.window.top() > before;
        let first = child.counters.decaps == 0 && before == 0;
        self.awake(now, spi, keyed);
        self.note(spi, EspNote::Received { packets: 1, bytes: len });
        if newest {
            self.follow(tunnel, spi, path);
        }
        if first {
            self.tell(PlaneEvent::FirstPacket { spi_in: spi });
        }
        if !opened.usual_padding {
            self.counters.odd_padding += 1;
        }
        if opened.next_header == inner::DUMMY {
            self.counters.dummies += 1;
            return Ok(());
        }
        let payload = &packet[opened.payload];
        match (mode, opened.next_header) {
            (Mode::Tunnel, inner::IPV4 | inner::IPV6) => self.deliver(now, spi, payload).map_err(at_fault),
            // A whole packet in transport mode, or a bare payload in tunnel mode, is not what was agreed.
            (Mode::Tunnel, _) => Err(at_fault(RecvError::MalformedInner)),
            (Mode::Transport, protocol) => {
                let (ours, theirs) = self.transport_ends(spi, path);
                let mut carried = std::mem::take(&mut self.carried);
                let built = inner::build_ip(&mut carried, theirs, ours, protocol, payload);
                let result = if built { self.deliver(now, spi, &carried) } else { Err(RecvError::MalformedInner) };
                self.carried = carried;
                result.map_err(at_fault)
            }
        }
    }

    /// An authentic inner packet.
    fn deliver(&mut self, now: Instant, spi: u32, packet: &[u8]) -> Result<(), RecvError> {
        let inner = Inner::parse(packet).ok_or(RecvError::MalformedInner)?;
        let child = self.children.get_mut(&spi).ok_or(RecvError::UnknownSpi)?;
        if packet.len() > inner.len {
            self.counters.tfc_padded += 1;
        }
        if !child.covers(&inner, false) {
            if !std::mem::replace(&mut child.reported.1, true) {
                self.tell(PlaneEvent::OutsideSelectors { spi_in: spi, outbound: false, inner });
            }
            return Err(RecvError::Selectors);
        }
        child.counters.decaps += 1;
        child.counters.decap_bytes += inner.len as u64;
        self.counters.decaps += 1;
        self.counters.decap_bytes += inner.len as u64;
        let (tunnel, packet) = (child.tunnel, &packet[..inner.len]);
        let answered = match inner.echo(packet) {
            Some(echo) if echo.request => self.answer(now, tunnel, &inner, &echo),
            Some(echo) => self.pong(now, tunnel, spi, &inner, &echo),
            None => self.datagram(now, tunnel, &inner, packet),
        };
        if !answered && self.config.deliver && self.inner_out.len() < INNER_QUEUE {
            let mut copy = self.spare.pop().unwrap_or_default();
            copy.clear();
            copy.extend_from_slice(packet);
            self.inner_out.push_back(copy);
        }
        Ok(())
    }

    fn echoes(&self, address: IpAddr) -> bool {
        match &self.config.echo {
            EchoPolicy::Off => false,
            // Whatever comes in lies within them.
            EchoPolicy::LocalSelectors => true,
            EchoPolicy::Only(list) => list.contains(&address),
        }
    }

    fn answer(&mut self, now: Instant, tunnel: TunnelId, inner: &Inner, echo: &Echo<'_>) -> bool {
        if !self.echoes(inner.destination) {
            return false;
        }
        let mut reply = std::mem::take(&mut self.scratch);
        let answer = Echo { request: false, ..*echo };
        if inner::build_echo(&mut reply, inner.destination, inner.source, &answer)
            && self.send(now, Some(tunnel), &reply).is_ok()
        {
            self.counters.echoes_answered += 1;
        }
        self.scratch = reply;
        true
    }

    fn pong(&mut self, now: Instant, tunnel: TunnelId, spi_in: u32, inner: &Inner, echo: &Echo<'_>) -> bool {
        for ping in self.pings.iter_mut().filter(|ping| ping.spec.tunnel == tunnel) {
            let event = match ping.heard(now, inner.source, echo, spi_in) {
                Heard::Answer(seq, rtt) => {
                    let (from, hop_limit) = (inner.source, inner.hop_limit);
                    PlaneEvent::Pong { seq, rtt, from, len: inner.payload.len(), hop_limit, spi_in }
                }
                Heard::Duplicate(seq) => PlaneEvent::PongAgain { seq },
                Heard::Late(seq) => PlaneEvent::PongLate { seq },
                Heard::Stray => continue,
            };
            self.tell(event);
            return true;
        }
        false
    }

    /// UDP: an echo of ours coming back, or something to echo.
    fn datagram(&mut self, now: Instant, tunnel: TunnelId, inner: &Inner, packet: &[u8]) -> bool {
        let Some((from, to, data)) = inner.udp(packet) else { return false };
        let theirs = (inner.source, from);
        if let Some(stream) = self.streams.iter_mut().find(|s| s.spec().tunnel == tunnel && s.is_from(theirs, to)) {
            stream.heard(now, data);
            return true;
        }
        if to != ECHO_PORT || from == ECHO_PORT || !self.echoes(inner.destination) {
            return false;
        }
        self.reflector.heard(now, tunnel, theirs, data);
        let mut reply = std::mem::take(&mut self.scratch);
        if inner::build_udp(&mut reply, (inner.destination, to), theirs, data)
            && self.send(now, Some(tunnel), &reply).is_ok()
        {
            self.counters.echoes_answered += 1;
        }
        self.scratch = reply;
        true
    }

    /// The peer's address may have changed (RFC 7296 2.23): an authentic packet says so, if it is the newest.
    fn follow(&mut self, tunnel: TunnelId, spi: u32, path: Path) {
        let Some(tunnel) = self.tunnels.get_mut(&tunnel).filter(|t| t.follow) else { return };
        if let Some(known) = &mut tunnel.path
            && path.role == SocketRole::NatT
            && known.role == SocketRole::NatT
            && known.remote != path.remote
        {
            *known = path;
            // IKE goes there as well.
            self.note(spi, EspNote::From(path));
        }
    }

    // ---- outbound ----

    fn try_send(&mut self, now: Instant, tunnel: Option<TunnelId>, packet: &[u8]) -> Result<u32, SendError> {
        let inner = Inner::parse(packet).ok_or(SendError::Malformed)?;
        let spi = self.select(tunnel, &inner)?;
        let child = &self.children[&spi];
        let whole = &packet[..inner.len];
        let (payload, next_header) = match (child.mode, inner.source) {
            (Mode::Tunnel, IpAddr::V4(_)) => (whole, inner::IPV4),
            (Mode::Tunnel, IpAddr::V6(_)) => (whole, inner::IPV6),
            (Mode::Transport, _) => (&packet[inner.payload.clone()], inner.protocol),
        };
        self.seal(now, spi, payload, next_header, inner.len)?;
        Ok(spi)
    }

    /// The newest Child SA that covers a packet and may be sent on.
    fn select(&mut self, tunnel: Option<TunnelId>, inner: &Inner) -> Result<u32, SendError> {
        let (first, last) = match tunnel {
            Some(tunnel) => ((tunnel, 0), (tunnel, u64::MAX)),
            None => ((TunnelId(0), 0), (TunnelId(u64::MAX), u64::MAX)),
        };
        let mut covered = false;
        let mut newest = None;
        for &spi in self.order.range(first..=last).rev().map(|(_, spi)| spi) {
            let child = &self.children[&spi];
            newest = newest.or(Some(spi));
            if child.covers(inner, true) {
                if child.standing == Standing::Open {
                    return Ok(spi);
                }
                covered = true;
            }
        }
        let Some(newest) = newest.filter(|_| !covered) else { return Err(SendError::NoSa) };
        let child = self.children.get_mut(&newest).expect("it was found just now");
        child.counters.send_errors += 1;
        if !std::mem::replace(&mut child.reported.0, true) {
            self.tell(PlaneEvent::OutsideSelectors { spi_in: newest, outbound: true, inner: inner.clone() });
        }
        Err(SendError::Selectors)
    }

    /// Seals a payload on a Child SA and puts it into the queue. `len` octets of inner packet are counted.
    fn seal(&mut self, now: Instant, spi: u32, payload: &[u8], next: u8, len: usize) -> Result<(), SendError> {
        if self.children.get(&spi).is_none_or(|child| child.standing != Standing::Open) {
            return Err(SendError::NoSa);
        }
        let admitted = self.admits(now, true, payload.len());
        let child = self.children.get_mut(&spi).ok_or(SendError::NoSa)?;
        if !admitted {
            child.counters.send_errors += 1;
            return Err(SendError::Licence);
        }
        let known = self.tunnels.get(&child.tunnel).and_then(|t| t.path);
        let path = match self.config.carry(known, child.encapsulated) {
            Ok(path) => path,
            Err(why) => {
                child.counters.send_errors += 1;
                if why == SendError::NoNativeEsp && !std::mem::replace(&mut child.reported.0, true) {
                    self.tell(PlaneEvent::NativeEspNeeded { spi_in: spi });
                }
                return Err(why);
            }
        };
        let mut bytes = self.spare.pop().unwrap_or_default();
        let sa = self.tunnels.get(&child.tunnel).map(|t| t.sa);
        let sealed = match self.bend.seal(now, sa, child, payload, next, &mut bytes) {
            Some(sealed) => sealed,
            None => child.seal(now, payload, 0, next, &mut bytes),
        };
        match sealed {
            Ok(keyed) => {
                child.counters.encaps += 1;
                child.counters.encap_bytes += len as u64;
                self.counters.encaps += 1;
                self.counters.encap_bytes += len as u64;
                self.awake(now, spi, keyed);
                self.note(spi, EspNote::Sent { packets: 1, bytes: bytes.len() as u64 });
                self.bend.release(Transmit { path, class: Class::Esp, bytes }, &mut self.out);
                Ok(())
            }
            Err(why) => {
                child.counters.send_errors += 1;
                self.spare.push(bytes);
                Err(why)
            }
        }
    }

    /// Both ends of a packet in transport mode: ours, the peer's. Behind a NAT the selectors have the addresses that the
    /// peer believes in (RFC 7296 2.23.1).
    fn transport_ends(&self, spi: u32, path: Path) -> (IpAddr, IpAddr) {
        let Some(child) = self.children.get(&spi) else { return (path.local.ip(), path.remote.ip()) };
        let only = |list: &[TrafficSelector], address: IpAddr| match list {
            [one, ..] if !inner::covers_address(one, address) => {
                inner::host_in(list, address.is_ipv6()).unwrap_or(address)
            }
            _ => address,
        };
        (only(child.local_ts(), path.local.ip()), only(child.remote_ts(), path.remote.ip()))
    }

    // ---- traffic of our own ----

    fn run_pings(&mut self, now: Instant) {
        let mut pings = std::mem::take(&mut self.pings);
        let mut packet = std::mem::take(&mut self.scratch);
        for ping in &mut pings {
            while let Some(seq) = ping.expire(now) {
                self.tell(PlaneEvent::PingLost { seq });
            }
            if !ping.has_started() {
                continue;
            }
            let (tunnel, target) = (ping.spec.tunnel, ping.spec.target);
            let source = ping.spec.source.or_else(|| self.source(tunnel, target));
            // Without an address of ours nothing can be sent; the request counts all the same.
            let Some(seq) = ping.request(now, source.unwrap_or(target), &mut packet) else { continue };
            let sent = match source {
                Some(_) => self.send(now, Some(tunnel), &packet),
                None => Err(SendError::Selectors),
            };
            ping.sent(now, seq, sent.is_ok());
            if let Err(why) = sent {
                self.tell(PlaneEvent::PingUnsent { seq, why });
            }
        }
        self.scratch = packet;
        self.pings = pings;
    }

    fn run_streams(&mut self, now: Instant) {
        let mut streams = std::mem::take(&mut self.streams);
        let mut packet = std::mem::take(&mut self.scratch);
        for stream in &mut streams {
            stream.expire(now);
            let (tunnel, target) = (stream.spec().tunnel, stream.spec().target);
            while stream.is_due(now) {
                let Some(source) = stream.spec().source.or_else(|| self.source(tunnel, target)) else {
                    stream.skip(now);
                    continue;
                };
                let built = stream.next(now, source, &mut packet);
                let sent = built && self.send(now, Some(tunnel), &packet).is_ok();
                stream.sent(sent);
            }
        }
        self.scratch = packet;
        self.streams = streams;
    }

    /// The address that packets of ours to `target` come from.
    fn source(&self, tunnel: TunnelId, target: IpAddr) -> Option<IpAddr> {
        let fits = |child: &&Child| child.remote_ts().iter().any(|ts| inner::covers_address(ts, target));
        let all = || self.of(tunnel).rev().map(|spi| &*self.children[&spi]);
        let child = all().filter(|c| c.standing == Standing::Open).find(fits).or_else(|| all().find(fits))?;
        let own = self.tunnels.get(&tunnel).and_then(|t| t.path).map(|p| p.local.ip());
        let own = own.filter(|own| own.is_ipv6() == target.is_ipv6());
        match child.mode {
            Mode::Transport => own.map(|own| {
                let covered = child.local_ts().iter().any(|ts| inner::covers_address(ts, own));
                if covered { own } else { inner::host_in(child.local_ts(), own.is_ipv6()).unwrap_or(own) }
            }),
            Mode::Tunnel => inner::host_in(child.local_ts(), target.is_ipv6()).or(own),
        }
    }

    // ---- both ----

    /// A Child SA has just worked with keyed ciphers.
    fn awake(&mut self, now: Instant, spi: u32, keyed: bool) {
        if keyed {
            self.counters.keyings += 1;
            if !self.active.contains(&spi) {
                self.active.push(spi);
            }
            self.sweep_at.get_or_insert(now + self.config.idle);
        }
    }

    /// Joins what is told of one Child SA in a row.
    fn note(&mut self, spi: u32, note: EspNote) {
        match (self.notes.back_mut(), note) {
            (Some((last, EspNote::Received { packets, bytes })), EspNote::Received { packets: p, bytes: b })
            | (Some((last, EspNote::Sent { packets, bytes })), EspNote::Sent { packets: p, bytes: b })
                if *last == spi =>
            {
                *packets += p;
                *bytes += b;
            }
            (_, note) => self.notes.push_back((spi, note)),
        }
    }
}

#[cfg(test)]
impl Plane {
    /// As if so many packets had been sent and received.
    pub(super) fn skip_to(&mut self, spi_in: u32, seq: u64) {
        let child = self.children.get_mut(&spi_in).expect("it is there");
        child.sent = seq;
        child.window.accept(seq);
    }

    /// A peer that does not check its selectors.
    pub(super) fn widen(&mut self, spi_in: u32) {
        let any = || vec![TrafficSelector::any_v4()];
        self.children.get_mut(&spi_in).expect("it is there").set_selectors(any(), any());
    }

    /// Any payload under any next header.
    pub(super) fn send_raw(&mut self, now: Instant, spi_in: u32, payload: &[u8], next_header: u8) {
        self.seal(now, spi_in, payload, next_header, 0).expect("it may be sent on");
    }
}
