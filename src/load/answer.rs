//! The embedded headend for load: any number of threads answer on the same addresses and ports, each with its own endpoint.
//! Who owns an IKE SA is said by the first octet of our SPIs, so that load from one address spreads over all threads too.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use super::resource::{self, Used};
use crate::drive::{Driver, Observer};
use crate::engine::{
    ChildCount, ConnectionSpec, Counters, Endpoint, EndpointConfig, EspNote, Event, IgnoredWhy, Limits, Ports, SaId,
    Side, TunnelId,
};
use crate::esp::{Cap, Plane, PlaneConfig, PlaneEvent, RecvError, SendError};
use crate::link::udp::{BindError, UdpConfig, UdpLink, Waker};
use crate::link::{Link, LinkCounters};
use crate::net::{Path, SocketRole, Transmit};
use crate::record::Recorder;
use crate::seed::Seeds;
use crate::time::{Instant, RealClock};

/// How long the peers may take to answer DELETE before we leave all the same.
const GOODBYE: Duration = Duration::from_secs(2);
/// How often a thread without anything to do looks whether it is to end.
const NAP: Duration = Duration::from_millis(100);

/// What the headend is made of.
#[derive(Debug)]
pub struct Headend {
    /// Its connections.
    pub connections: Vec<ConnectionSpec>,
    /// Its limits, all threads together: each gets its part, but of Child SAs, which are counted together.
    pub limits: Limits,
    /// Where it listens.
    pub addresses: Vec<IpAddr>,
    /// On which ports; 0 lets the system choose.
    pub ports: Ports,
    /// How many threads.
    pub threads: u8,
    /// Ties the sockets to an interface.
    pub interface: Option<String>,
    /// Wanted size of each socket's buffers in octets.
    pub socket_buffer: usize,
    /// Seeds of the run.
    pub seeds: Seeds,
    /// Carry ESP in UDP, and answer pings and UDP echo; without this ESP is ignored and tunnels cost less memory.
    pub data: Option<DataPlane>,
    /// One for each thread, if anybody wants to write down what happens; endpoints tell of every message then.
    pub scribes: Vec<Scribe>,
}

/// The data plane of a headend.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct DataPlane {
    /// Bits of ESP packets per second that are carried in each direction at most, all threads together, as a licence limits
    /// it; what is beyond is dropped.
    pub cap: Option<f64>,
}

/// A running headend.
pub struct Answering {
    threads: Vec<JoinHandle<io::Result<Answered>>>,
    wakers: Vec<Waker>,
    stop: Arc<AtomicBool>,
    silent: Arc<AtomicBool>,
    shown: Vec<Arc<Shown>>,
    /// The ports as bound.
    pub ports: Ports,
    /// The smallest receive buffer granted, if smaller than wanted.
    pub clamp: Option<usize>,
}

/// What a thread shows while it runs.
#[derive(Debug, Default)]
pub struct Shown {
    /// IKE SAs that came up.
    pub ike_up: AtomicU64,
    /// Child SAs that came up.
    pub child_up: AtomicU64,
    /// IKE SAs in the table.
    pub sas: AtomicU64,
    /// Half open now.
    pub half_open: AtomicU64,
    /// IKE SAs that failed.
    pub failed: AtomicU64,
    /// Tunnels that the peers deleted.
    pub deleted: AtomicU64,
    /// COOKIE challenges sent.
    pub cookies: AtomicU64,
    /// IKE_SA_INIT requests dropped by a limit of half-open IKE SAs.
    pub limited: AtomicU64,
    /// Requests of ours sent again.
    pub retransmits: AtomicU64,
    /// Answers sent again.
    pub repeats: AtomicU64,
    /// Rekeys, of both kinds.
    pub rekeyed: AtomicU64,
    /// ESP packets received.
    pub esp_in: AtomicU64,
    /// ESP packets sent.
    pub esp_out: AtomicU64,
    /// ESP packets dropped by the cap, in either direction.
    pub capped: AtomicU64,
}

/// What became of one thread.
#[derive(Clone, Debug)]
pub struct Answered {
    /// The engine's counters.
    pub engine: Counters,
    /// What passed its sockets.
    pub link: LinkCounters,
    /// What it used.
    pub used: Used,
}

impl Answering {
    /// Opens the sockets and starts the threads.
    ///
    /// # Errors
    ///
    /// If a socket cannot be opened.
    pub fn start(headend: Headend, clock: RealClock) -> Result<Answering, BindError> {
        let (stop, silent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let threads = headend.threads.max(1);
        let mut ports = headend.ports;
        let mut links = Vec::new();
        for _ in 0..threads {
            let config = UdpConfig {
                addresses: headend.addresses.clone(),
                ike_port: ports.ike,
                natt_port: ports.natt,
                interface: headend.interface.clone(),
                socket_buffer: headend.socket_buffer,
                share: (threads > 1).then_some(threads),
                any_address: false,
                dont_fragment: false,
            };
            let link = UdpLink::bind(&config, clock)?;
            ports = Ports { ike: link.port(SocketRole::Ike), natt: link.port(SocketRole::NatT) };
            links.push(link);
        }
        let clamp = links.iter().filter_map(UdpLink::receive_buffer_clamp).min();
        let connections: Vec<_> = headend
            .connections
            .into_iter()
            .map(|spec| Arc::new(ConnectionSpec { local_ports: ports, ..spec }))
            .collect();
        let limits = part(&headend.limits, u32::from(threads));
        // What is counted for all is counted only if there is a limit: threads share nothing else.
        let children = headend.limits.max_child_sas.filter(|_| threads > 1).map(|_| Arc::<ChildCount>::default());
        let cap = headend.data.and_then(|data| data.cap).map(Cap::of);
        let mut scribes = headend.scribes.into_iter();
        let (mut handles, mut wakers, mut shown) = (Vec::new(), Vec::new(), Vec::new());
        for (octet, link) in (0_u8..).zip(links) {
            let scribe = scribes.next();
            let config = EndpointConfig {
                connections: connections.clone(),
                limits: limits.clone(),
                trace: scribe.is_some(),
                export_keys: false,
                shard: (threads > 1).then_some(octet),
                salt: u64::from(octet) + 1,
                respond: true,
                children: children.clone(),
            };
            let mine = Arc::new(Shown::default());
            wakers.push(link.waker());
            shown.push(Arc::clone(&mine));
            let data = headend.data.map(|_| {
                let mut plane = Plane::new(PlaneConfig { natt_ports: (ports.natt, 4500), ..PlaneConfig::default() });
                plane.set_cap(cap.clone());
                plane
            });
            let (seeds, flags) = (headend.seeds.clone(), [Arc::clone(&stop), Arc::clone(&silent)]);
            let counting = Counting { shown: mine, data, scribe };
            let work = move || serve(link, config, seeds, &flags, counting);
            let thread = std::thread::Builder::new().name(format!("answer-{octet}")).spawn(work);
            handles.push(thread.map_err(BindError::Wait)?);
        }
        Ok(Answering { threads: handles, wakers, stop, silent, shown, ports, clamp })
    }

    /// The flag that ends it, for a signal handler; wake it afterwards.
    pub fn stop_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    /// A waker of the first thread; the others look at the flag by themselves.
    pub fn waker(&self) -> Waker {
        self.wakers[0].clone()
    }

    /// A figure, all threads together.
    pub fn sum(&self, of: fn(&Shown) -> &AtomicU64) -> u64 {
        self.shown.iter().map(|shown| of(shown).load(Relaxed)).sum()
    }

    /// The same per thread.
    pub fn each(&self, of: fn(&Shown) -> &AtomicU64) -> Vec<u64> {
        self.shown.iter().map(|shown| of(shown).load(Relaxed)).collect()
    }

    /// True while every thread is at work.
    pub fn is_running(&self) -> bool {
        !self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Ends it as a crash does: without a word to the peers.
    pub fn abort(self) {
        self.silent.store(true, Relaxed);
        drop(self);
    }

    /// Ends it: DELETE for each IKE SA, at most two seconds for the answers.
    ///
    /// # Errors
    ///
    /// If the sockets of a thread had become unusable.
    pub fn finish(mut self) -> io::Result<Vec<Answered>> {
        self.stop.store(true, Relaxed);
        self.wakers.iter().for_each(Waker::wake);
        let threads = std::mem::take(&mut self.threads);
        threads.into_iter().map(|t| t.join().map_err(|_| io::Error::other("a thread has panicked"))?).collect()
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        self.wakers.iter().for_each(Waker::wake);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// One thread's part of the limits, rounded up.
fn part(limits: &Limits, threads: u32) -> Limits {
    let share = |n: u32| n.div_ceil(threads);
    Limits {
        cookie_threshold: limits.cookie_threshold.map(share),
        max_half_open: share(limits.max_half_open),
        max_half_open_per_address: limits.max_half_open_per_address.map(share),
        max_ike_sas: limits.max_ike_sas.map(share),
        stateless_per_second: share(limits.stateless_per_second),
        ..limits.clone()
    }
}

fn serve(
    link: UdpLink,
    config: EndpointConfig,
    seeds: Seeds,
    [stop, silent]: &[Arc<AtomicBool>; 2],
    mut counting: Counting,
) -> io::Result<Answered> {
    let shown = &Arc::clone(&counting.shown);
    let before = Used::of_thread();
    let closing = Arc::new(EndpointConfig { respond: false, ..config.clone() });
    let epoch = link.epoch();
    let mut driver = Driver::new(Endpoint::new(Arc::new(config), seeds, epoch), link, Recorder::new());
    while !stop.load(Relaxed) {
        let soon = driver.link.now() + NAP;
        driver.turn(Some(soon), &mut counting)?;
        show(shown, &driver);
    }
    driver.endpoint.set_config(closing);
    let now = driver.link.now();
    if !silent.load(Relaxed) {
        driver.endpoint.delete_all(now);
    }
    let end = if silent.load(Relaxed) { now } else { now + GOODBYE };
    while driver.endpoint.sa_count() > 0 && driver.link.now() < end {
        driver.turn(Some(end), &mut counting)?;
        show(shown, &driver);
    }
    show(shown, &driver);
    Ok(Answered {
        engine: driver.endpoint.counters().clone(),
        link: driver.link.counters(),
        used: Used::of_thread().since(&before),
    })
}

fn show(shown: &Shown, driver: &Driver<UdpLink>) {
    let counters = driver.endpoint.counters();
    let set = |gauge: &AtomicU64, value: u64| gauge.store(value, Relaxed);
    set(&shown.ike_up, counters.ike_up);
    set(&shown.child_up, counters.child_up);
    set(&shown.half_open, counters.half_open.into());
    set(&shown.failed, counters.failed);
    set(&shown.cookies, counters.cookies_sent);
    set(&shown.limited, counters.ignored(IgnoredWhy::Limit));
    set(&shown.retransmits, counters.retransmits);
    set(&shown.repeats, counters.repeats_answered);
    set(&shown.rekeyed, counters.ike_rekeyed + counters.child_rekeyed);
    set(&shown.sas, driver.endpoint.sa_count() as u64);
}

struct Counting {
    shown: Arc<Shown>,
    data: Option<Plane>,
    scribe: Option<Scribe>,
}

impl Observer for Counting {
    fn event(&mut self, now: Instant, tunnel: TunnelId, sa: SaId, event: Event) {
        if let Some(data) = &mut self.data {
            data.event(now, tunnel, sa, &event);
        }
        if let Some(Scribe(write)) = &mut self.scribe {
            write(now, Heard::Event(sa, &event));
        }
        if matches!(event, Event::Deleted { by: Side::Peer }) {
            self.shown.deleted.fetch_add(1, Relaxed);
        }
    }

    fn esp(&mut self, now: Instant, path: Path, packet: &mut Vec<u8>) {
        let Some(data) = &mut self.data else { return };
        self.shown.esp_in.fetch_add(1, Relaxed);
        data.handle_packet(now, path, packet);
        while let Some(event) = data.poll_event() {
            if let (PlaneEvent::Capped { outbound }, Some(Scribe(write))) = (event, &mut self.scribe) {
                write(now, Heard::Capped { outbound });
            }
        }
        let counters = data.counters();
        let beyond =
            counters.recv_errors[RecvError::Licence as usize] + counters.send_errors[SendError::Licence as usize];
        if beyond > 0 {
            self.shown.capped.store(beyond, Relaxed);
        }
    }

    fn poll_transmit(&mut self, _: Instant) -> Option<Transmit> {
        let transmit = self.data.as_mut()?.poll_transmit()?;
        self.shown.esp_out.fetch_add(1, Relaxed);
        Some(transmit)
    }

    fn poll_note(&mut self) -> Option<(u32, EspNote)> {
        self.data.as_mut()?.poll_note()
    }

    fn reclaim(&mut self, buffer: Vec<u8>) {
        if let Some(data) = &mut self.data {
            data.reclaim(buffer);
        }
    }
}

/// What comes to a thread's ears that a box would log.
#[derive(Debug)]
pub enum Heard<'a> {
    /// An event of its endpoint.
    Event(SaId, &'a Event),
    /// ESP was dropped because the cap allows no more; said once a second for each direction, by one of the threads.
    Capped {
        /// Ours, not sent; or the peer's, dropped.
        outbound: bool,
    },
}

/// Writes down what one thread hears.
pub struct Scribe(Box<dyn FnMut(Instant, Heard<'_>) + Send>);

impl Scribe {
    /// One that does this with everything.
    pub fn new(write: impl FnMut(Instant, Heard<'_>) + Send + 'static) -> Scribe {
        Scribe(Box::new(write))
    }
}

impl std::fmt::Debug for Scribe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scribe")
    }
}

/// All threads' sockets together.
pub fn links(answered: &[Answered]) -> LinkCounters {
    answered.iter().fold(LinkCounters::default(), |sum, a| resource::together(&sum, &a.link))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_dealt_out_to_the_threads() {
        let whole = Limits { cookie_threshold: Some(0), max_half_open: 10, max_ike_sas: Some(7), ..Limits::default() };
        let each = part(&whole, 4);
        assert_eq!((each.cookie_threshold, each.max_half_open, each.max_ike_sas), (Some(0), 3, Some(2)));
        assert_eq!(part(&whole, 1), whole);
    }
}
