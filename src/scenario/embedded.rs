//! The embedded peer: an endpoint of its own at the other end, over real loopback sockets or in a simulated network with
//! a virtual clock. Nothing is shared with us; what can be done to it is what `control` can do to a box.

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::file::PeerOrder;
use super::peer::PeerDriver;
use super::persona::PeerLine;
use super::pki::Presented;
use super::station::{Carry, Station};
use crate::auth::Credential;
use crate::config::Given;
use crate::drive::{Driver, Turn};
use crate::engine::{AuthSpec, ConnectionSpec, DpdMode, DpdSpec, Endpoint, EndpointConfig, Limits, Ports, TunnelId};
use crate::esp::{Cap, Encapsulation, PingSpec, PlaneEvent, inner};
use crate::link::sim::{Conditions, HostConfig, HostId, NatConfig, SimConfig, SimLink, SimWorld};
use crate::link::udp::{BindError, UdpConfig, UdpLink, Waker};
use crate::link::{Between, Link, LinkCounters, LinkNote, RxBatch, TxBatch, Wake};
use crate::net::SocketRole;
use crate::record::Recorder;
use crate::seed::{KeySeed, PlanSeed, Seeds};
use crate::time::{Instant, RealClock, UnixTime};
use crate::vendor::persona::Dress;
use crate::vendor::persona::log::{LogLine, LogWriter};

/// From this many half-open IKE SAs on, the embedded peer demands cookies.
pub const EMBEDDED_COOKIES_FROM: u32 = 4;
/// How long the embedded peer hears nothing before it asks whether we live.
pub const EMBEDDED_DPD: Duration = Duration::from_secs(30);
/// The embedded peer's lifetime of a Child SA.
pub const EMBEDDED_CHILD_LIFETIME: Duration = Duration::from_secs(3600);
/// The embedded peer's lifetime of the IKE SA.
pub const EMBEDDED_IKE_LIFETIME: Duration = Duration::from_secs(8 * 3600);
/// One way between the two in the simulated network.
const VIRTUAL_DELAY: Duration = Duration::from_millis(5);

/// The addresses of both ends on loopback, ours first; each lane has its own.
pub fn loopback(lane: u8) -> (IpAddr, IpAddr) {
    let address = |last| IpAddr::V4(Ipv4Addr::new(127, 0, lane, last));
    (address(1), address(2))
}

/// Sockets of both ends on loopback, before either knows the other's ports.
pub struct LoopbackPair {
    /// Ours.
    pub ours: UdpLink,
    /// The embedded peer's.
    pub theirs: UdpLink,
    addresses: (IpAddr, IpAddr),
}

impl LoopbackPair {
    /// Binds both on ports that the system chooses.
    ///
    /// # Errors
    /// If loopback sockets cannot be opened.
    pub fn bind(lane: u8, clock: RealClock) -> Result<Self, BindError> {
        let addresses = loopback(lane);
        let bind = |address| {
            let config = UdpConfig { addresses: vec![address], ike_port: 0, natt_port: 0, ..UdpConfig::default() };
            UdpLink::bind(&config, clock)
        };
        Ok(LoopbackPair { ours: bind(addresses.0)?, theirs: bind(addresses.1)?, addresses })
    }

    /// Writes both ends' addresses and ports into our connection.
    pub fn address(&self, spec: &mut ConnectionSpec) {
        let ports = |link: &UdpLink| Ports { ike: link.port(SocketRole::Ike), natt: link.port(SocketRole::NatT) };
        spec.local_addr = Some(self.addresses.0);
        spec.remote_addr = Some(self.addresses.1);
        spec.local_ports = ports(&self.ours);
        spec.remote_ports = ports(&self.theirs);
    }
}

/// How both ends of an embedded run carry ESP over loopback: without privilege, so in UDP.
pub fn in_udp(spec: &ConnectionSpec) -> Carry {
    let natt_ports = (spec.local_ports.natt, spec.remote_ports.natt);
    Carry { encapsulation: Encapsulation::ForceUdp, native: false, natt_ports }
}

/// How both ends carry ESP in the simulated network, where everything is allowed.
pub fn simulated(spec: &ConnectionSpec) -> Carry {
    let natt_ports = (spec.local_ports.natt, spec.remote_ports.natt);
    Carry { encapsulation: Encapsulation::Auto, native: true, natt_ports }
}

/// The peer itself, on any link.
struct Actor<L> {
    driver: Driver<L>,
    station: Station,
    spec: Arc<ConnectionSpec>,
    /// What it proves itself with unless a scenario wants something else.
    own: AuthSpec,
    seeds: Seeds,
    generation: u64,
    tunnel: u64,
    epoch: UnixTime,
    limits: Limits,
    /// Who it plays, if anybody, and what that box has logged: absolute times.
    played: Option<(Dress, LogWriter)>,
    logged: Vec<PeerLine>,
}

impl<L: Link> Actor<L> {
    /// With its own half of a connection, `theirs`, but where `ours` believes it to be. It draws its own keys. In `dress` it
    /// has the timers and limits of that persona.
    fn new(
        link: L,
        ours: &ConnectionSpec,
        theirs: &ConnectionSpec,
        carry: Carry,
        key: KeySeed,
        dress: Option<Dress>,
    ) -> Self {
        let mut spec = theirs.clone();
        (spec.local_addr, spec.remote_addr) = (ours.remote_addr, ours.local_addr);
        (spec.local_ports, spec.remote_ports) = (ours.remote_ports, ours.local_ports);
        (spec.dpd, spec.lifetime) = (None, None);
        spec.children.iter_mut().for_each(|child| child.lifetime = None);
        let linger = Duration::from_millis(200);
        let mut limits = Limits { cookie_threshold: Some(EMBEDDED_COOKIES_FROM), linger, ..Limits::default() };
        if let Some(dress) = dress {
            // What a connection file could have said is the baseline's; the rest is the box's own.
            dress.apply(&mut spec, Given { retransmit: false, fragmentation: false, nat: false });
            dress.limit(&mut limits);
        }
        // Where it has no habit of its own it has the embedded peer's.
        if !dress.is_some_and(|dress| dress.unchecked()) {
            spec.dpd.get_or_insert(DpdSpec::new(EMBEDDED_DPD, DpdMode::Periodic));
        }
        spec.lifetime.get_or_insert(EMBEDDED_IKE_LIFETIME);
        for child in &mut spec.children {
            child.lifetime.get_or_insert(EMBEDDED_CHILD_LIFETIME);
        }
        let own = spec.local_auth.clone();
        let spec = Arc::new(spec);
        let seeds = Seeds::new(PlanSeed::from_text("embedded peer"), key);
        let epoch = link.epoch();
        let (local, remote) = carry.natt_ports;
        let mut station = Station::new(Carry { natt_ports: (remote, local), ..carry });
        station.plane.set_cap(dress.and_then(|dress| dress.bandwidth()).map(Cap::of_kilobits));
        let played = dress.map(|dress| (dress, LogWriter::new(&dress.persona, Arc::clone(&spec))));
        let config = Actor::<L>::config(&spec, &limits, 0, played.is_some());
        let driver = Driver::new(Endpoint::new(config, seeds.clone(), epoch), link, Recorder::new());
        let logged = Vec::new();
        Actor { driver, station, spec, own, seeds, generation: 0, tunnel: 0, epoch, limits, played, logged }
    }

    fn config(spec: &Arc<ConnectionSpec>, limits: &Limits, generation: u64, trace: bool) -> Arc<EndpointConfig> {
        Arc::new(EndpointConfig {
            connections: vec![Arc::clone(spec)],
            limits: limits.clone(),
            // A log is written from what the endpoint tells.
            trace,
            // The seeds are the same for life: each new endpoint must draw other values.
            salt: generation,
            ..EndpointConfig::default()
        })
    }

    fn initiate(&mut self) {
        let now = self.driver.link.now();
        self.tunnel += 1;
        let local = self.spec.local_addr.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        self.driver.endpoint.connect(now, Arc::clone(&self.spec), TunnelId(self.tunnel), local);
    }

    fn present(&mut self, credential: Option<Arc<Credential>>) {
        let mut spec = (*self.spec).clone();
        spec.local_auth = credential.map_or_else(|| self.own.clone(), AuthSpec::Certificate);
        self.spec = Arc::new(spec);
        self.forget();
    }

    fn forget(&mut self) {
        self.generation += 1;
        let config = Actor::<L>::config(&self.spec, &self.limits, self.generation, self.played.is_some());
        self.driver.endpoint = Endpoint::new(config, self.seeds.clone(), self.epoch);
        if let Some((dress, log)) = &mut self.played {
            *log = LogWriter::new(&dress.persona, Arc::clone(&self.spec));
        }
        self.station.forget();
        let licence = self.played.as_ref().and_then(|(dress, _)| dress.bandwidth());
        self.station.plane.set_cap(licence.map(Cap::of_kilobits));
    }

    fn order(&mut self, order: PeerOrder) -> Result<(), String> {
        let now = self.driver.link.now();
        match order {
            PeerOrder::Restart => self.forget(),
            PeerOrder::Ping => {
                let spi = *self.station.children.last().ok_or("no Child SA is up")?;
                let child = self.station.plane.children().find(|child| child.spi_in() == spi);
                let tunnel = child.map(|child| child.tunnel()).ok_or("no Child SA is up")?;
                let theirs = self.spec.children.first().map(|child| child.remote_ts.as_slice()).unwrap_or_default();
                let v6 = theirs.first().is_some_and(|ts| matches!(ts.range, crate::wire::TsRange::V6 { .. }));
                let target = inner::host_in(theirs, v6).ok_or("no selector to ping into")?;
                self.station.plane.ping(now, PingSpec { count: Some(3), ..PingSpec::new(tunnel, target) }, 7);
            }
            _ => {
                let second = self.spec.children.get(1).or(self.spec.children.first());
                let name = second.map(|child| child.name.clone()).unwrap_or_default();
                let (sa, command) = self.station.command(order, &name)?;
                self.driver.endpoint.command(now, sa, command).map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    }

    fn turn(&mut self, until: Option<Instant>) -> io::Result<Turn> {
        let turn = self.driver.turn(until, &mut self.station);
        for (at, _, sa, event) in std::mem::take(&mut self.station.queue.events) {
            let Some((_, log)) = &mut self.played else { break };
            let line = |line: LogLine| PeerLine { at: at.as_secs_f64(), text: line.text, basis: line.basis };
            self.logged.extend(log.event(sa, &event).into_iter().map(line));
        }
        self.station.queue.notes.clear();
        while let Some(event) = self.station.plane.poll_event() {
            if let (PlaneEvent::Capped { outbound }, Some((_, log))) = (event, &self.played) {
                let at = self.driver.link.now().as_secs_f64();
                let line = |line: LogLine| PeerLine { at, text: line.text, basis: line.basis };
                self.logged.extend(log.capped(outbound).into_iter().map(line));
            }
        }
        turn
    }
}

/// The embedded peer on loopback sockets, with a thread of its own.
pub struct EmbeddedPeer {
    orders: Sender<Order>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
    address: SocketAddr,
}

enum Order {
    Initiate,
    Clear(Sender<()>),
    Do(PeerOrder, Sender<Result<(), String>>),
    Present(Option<Arc<Credential>>, Sender<()>),
    Stop,
}

impl EmbeddedPeer {
    /// Starts it on `link` with its own half of a connection ([`counterpart`](super::stand_in::counterpart)), at the other end
    /// of `spec`. It draws its own keys.
    pub fn start(link: UdpLink, spec: &ConnectionSpec, theirs: &ConnectionSpec, key: KeySeed) -> Self {
        let host = spec.remote_addr.unwrap_or(loopback(0).1);
        let address = SocketAddr::new(host, link.port(SocketRole::Ike));
        let (orders, inbox) = channel();
        let waker = link.waker();
        let actor = Actor::new(link, spec, theirs, in_udp(spec), key, None);
        let thread = std::thread::spawn(move || live(actor, &inbox));
        EmbeddedPeer { orders, waker, thread: Some(thread), address }
    }

    /// Its address and port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    fn tell(&self, order: Order) -> Result<(), String> {
        self.orders.send(order).map_err(|_| "the embedded peer has stopped".to_owned())?;
        self.waker.wake();
        Ok(())
    }
}

impl PeerDriver for EmbeddedPeer {
    fn initiate(&mut self) -> Result<Option<String>, String> {
        self.tell(Order::Initiate).map(|()| None)
    }

    fn clear(&mut self) -> Result<bool, String> {
        // Only when it has forgotten may the next packet be sent: it might otherwise begin with the old state.
        let (done, wait) = channel();
        self.tell(Order::Clear(done))?;
        wait.recv_timeout(Duration::from_secs(5)).map_err(|_| "the embedded peer does not answer".to_owned())?;
        Ok(true)
    }

    fn present(&mut self, presented: Option<&Presented>) -> Result<(), String> {
        let credential = presented.map(|presented| Arc::clone(&presented.credential));
        let (done, wait) = channel();
        self.tell(Order::Present(credential, done))?;
        wait.recv_timeout(Duration::from_secs(5)).map_err(|_| "the embedded peer does not answer".to_owned())
    }

    fn order(&mut self, order: PeerOrder) -> Result<Option<String>, String> {
        let (done, wait) = channel();
        self.tell(Order::Do(order, done))?;
        wait.recv_timeout(Duration::from_secs(5)).map_err(|_| "the embedded peer does not answer".to_owned())??;
        Ok(None)
    }
}

impl Drop for EmbeddedPeer {
    fn drop(&mut self) {
        let _ = self.tell(Order::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The embedded peer's thread.
fn live(mut actor: Actor<UdpLink>, inbox: &Receiver<Order>) {
    loop {
        loop {
            // Whoever asked may have gone: what it is told then is nobody's.
            match inbox.try_recv() {
                Ok(Order::Initiate) => actor.initiate(),
                Ok(Order::Clear(done)) => {
                    actor.forget();
                    let _ = done.send(());
                }
                Ok(Order::Present(credential, done)) => {
                    actor.present(credential);
                    let _ = done.send(());
                }
                Ok(Order::Do(order, done)) => {
                    let _ = done.send(actor.order(order));
                }
                Ok(Order::Stop) | Err(TryRecvError::Disconnected) => return,
                Err(TryRecvError::Empty) => break,
            }
        }
        if actor.turn(None).is_err() {
            return;
        }
    }
}

/// Both ends in one simulated network: our link, whose waiting moves the clock and lets the other end live.
pub struct VirtualLink {
    world: SimWorld,
    ours: SimLink,
    peer: Rc<RefCell<Actor<SimLink>>>,
}

/// The embedded peer in a simulated network.
pub struct VirtualPeer(Rc<RefCell<Actor<SimLink>>>);

/// Our link and the peer's driver, in a network of their own; `theirs` is its own half of the connection, which it holds as
/// `dress` has it. Addresses and ports are written into `spec`.
pub fn in_virtual_time(
    spec: &mut ConnectionSpec,
    theirs: &ConnectionSpec,
    plan: &PlanSeed,
    key: KeySeed,
    dress: Option<Dress>,
) -> (VirtualLink, VirtualPeer) {
    let address = |last| IpAddr::V4(Ipv4Addr::new(192, 0, 2, last));
    let (us, them) = (address(1), address(2));
    spec.local_addr = Some(us);
    spec.remote_addr = Some(them);
    (spec.local_ports, spec.remote_ports) = (Ports::default(), Ports::default());
    let hosts = vec![HostConfig::new("us", us), HostConfig::new("peer", them)];
    let conditions = Conditions::clean(VIRTUAL_DELAY);
    let config = SimConfig { hosts, conditions, log_limit: 16, ..SimConfig::default() };
    // Certificates, where a baseline has them, are judged by the calendar.
    let epoch = RealClock::start().epoch();
    let world = SimWorld::new(plan, config, epoch);
    let actor = Actor::new(world.link(HostId(1)), spec, theirs, simulated(spec), key, dress);
    let peer = Rc::new(RefCell::new(actor));
    let link = VirtualLink { ours: world.link(HostId(0)), world, peer: Rc::clone(&peer) };
    (link, VirtualPeer(peer))
}

impl Link for VirtualLink {
    fn now(&self) -> Instant {
        self.world.now()
    }

    fn epoch(&self) -> UnixTime {
        self.ours.epoch()
    }

    fn send(&mut self, batch: &mut TxBatch) -> io::Result<()> {
        self.ours.send(batch)
    }

    /// Lets the other end live until something comes for us, or until `until`.
    fn recv_until(&mut self, until: Option<Instant>, rx: &mut RxBatch) -> io::Result<Wake> {
        loop {
            if self.ours.recv_until(None, rx)? == Wake::Data {
                return Ok(Wake::Data);
            }
            let mut peer = self.peer.borrow_mut();
            let busy = !peer.turn(Some(self.world.now()))?.is_idle();
            let now = self.world.now();
            if busy || self.world.next_arrival().is_some_and(|at| at <= now) {
                continue;
            }
            if until.is_some_and(|until| until <= now) {
                return Ok(Wake::Timeout);
            }
            let own = [peer.driver.next_timeout(), crate::drive::Observer::poll_timeout(&mut peer.station)];
            let next = own.into_iter().chain([self.world.next_arrival(), until]).flatten().min();
            match next {
                Some(at) => self.world.advance(at),
                None => return Err(io::Error::other("nothing will ever happen in the simulated network")),
            }
        }
    }

    fn poll_note(&mut self) -> Option<LinkNote> {
        None
    }

    fn counters(&self) -> LinkCounters {
        self.ours.counters()
    }

    fn put_between(&mut self, ours: bool, between: Option<&Between>) -> bool {
        let host = HostId(usize::from(!ours));
        self.world.with_net(|net| {
            let outside = net.host(host).and_then(|host| host.addresses.first().copied());
            let Some(outside) = outside else { return false };
            let nat = |between: &Between| NatConfig { outside, ..NatConfig::between(between) };
            net.set_nat(host, between.map(nat));
            net.set_native_esp(!between.is_some_and(|between| between.drops_esp));
            true
        })
    }
}

impl PeerDriver for VirtualPeer {
    fn initiate(&mut self) -> Result<Option<String>, String> {
        self.0.borrow_mut().initiate();
        Ok(None)
    }

    fn clear(&mut self) -> Result<bool, String> {
        self.0.borrow_mut().forget();
        Ok(true)
    }

    fn present(&mut self, presented: Option<&Presented>) -> Result<(), String> {
        let credential = presented.map(|presented| Arc::clone(&presented.credential));
        self.0.borrow_mut().present(credential);
        Ok(())
    }

    fn order(&mut self, order: PeerOrder) -> Result<Option<String>, String> {
        self.0.borrow_mut().order(order).map(|()| None)
    }

    fn log(&mut self) -> Option<Vec<PeerLine>> {
        let mut actor = self.0.borrow_mut();
        actor.played.as_ref()?;
        Some(std::mem::take(&mut actor.logged))
    }
}
