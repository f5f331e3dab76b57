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
    ConnectionSpec, Counters, Endpoint, EndpointConfig, EspNote, Event, IgnoredWhy, Limits, Ports, SaId, Side, TunnelId,
};
use crate::esp::{Plane, PlaneConfig};
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
    /// Its limits, all threads together: each gets its part.
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
}

/// The data plane of a headend.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct DataPlane {
    /// Bits of ESP packets per second that are carried in each direction at most, as a licence limits it; what is beyond is
    /// dropped.
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
        let (mut handles, mut wakers, mut shown) = (Vec::new(), Vec::new(), Vec::new());
        for (octet, link) in (0_u8..).zip(links) {
            let config = EndpointConfig {
                connections: connections.clone(),
                limits: limits.clone(),
                trace: false,
                export_keys: false,
                shard: (threads > 1).then_some(octet),
                salt: u64::from(octet) + 1,
                respond: true,
            };
            let mine = Arc::new(Shown::default());
            wakers.push(link.waker());
            shown.push(Arc::clone(&mine));
            // The bits of a licence are dealt out like the other limits.
            let data = headend.data.map(|data| DataPlane { cap: data.cap.map(|cap| cap / f64::from(threads)) });
            let data = data.map(|data| Data::new(data, (ports.natt, 4500)));
            let (seeds, flags) = (headend.seeds.clone(), [Arc::clone(&stop), Arc::clone(&silent)]);
            let work = move || serve(link, config, seeds, &flags, &mine, data);
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
        max_child_sas: limits.max_child_sas.map(share),
        stateless_per_second: share(limits.stateless_per_second),
        ..limits.clone()
    }
}

fn serve(
    link: UdpLink,
    config: EndpointConfig,
    seeds: Seeds,
    [stop, silent]: &[Arc<AtomicBool>; 2],
    shown: &Arc<Shown>,
    data: Option<Data>,
) -> io::Result<Answered> {
    let before = Used::of_thread();
    let closing = Arc::new(EndpointConfig { respond: false, ..config.clone() });
    let epoch = link.epoch();
    let mut driver = Driver::new(Endpoint::new(Arc::new(config), seeds, epoch), link, Recorder::new());
    let mut counting = Counting { shown: Arc::clone(shown), data };
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
    data: Option<Data>,
}

impl Observer for Counting {
    fn event(&mut self, now: Instant, tunnel: TunnelId, sa: SaId, event: Event) {
        if let Some(data) = &mut self.data {
            data.plane.event(now, tunnel, sa, &event);
        }
        if matches!(event, Event::Deleted { by: Side::Peer }) {
            self.shown.deleted.fetch_add(1, Relaxed);
        }
    }

    fn esp(&mut self, now: Instant, path: Path, packet: &mut Vec<u8>) {
        let Some(data) = &mut self.data else { return };
        self.shown.esp_in.fetch_add(1, Relaxed);
        if !data.caps[0].admits(now, packet.len()) {
            self.shown.capped.fetch_add(1, Relaxed);
            return;
        }
        data.plane.handle_packet(now, path, packet);
        while data.plane.poll_event().is_some() {}
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        let data = self.data.as_mut()?;
        loop {
            let transmit = data.plane.poll_transmit()?;
            if data.caps[1].admits(now, transmit.bytes.len()) {
                self.shown.esp_out.fetch_add(1, Relaxed);
                return Some(transmit);
            }
            self.shown.capped.fetch_add(1, Relaxed);
            data.plane.reclaim(transmit.bytes);
        }
    }

    fn poll_note(&mut self) -> Option<(u32, EspNote)> {
        self.data.as_mut()?.plane.poll_note()
    }

    fn reclaim(&mut self, buffer: Vec<u8>) {
        if let Some(data) = &mut self.data {
            data.plane.reclaim(buffer);
        }
    }
}

/// A thread's data plane and its caps, inbound and outbound.
struct Data {
    plane: Plane,
    caps: [Cap; 2],
}

impl Data {
    fn new(data: DataPlane, natt_ports: (u16, u16)) -> Data {
        let config = PlaneConfig { natt_ports, ..PlaneConfig::default() };
        Data { plane: Plane::new(config), caps: [data.cap.map_or_else(Cap::default, Cap::new); 2] }
    }
}

/// A token bucket; without a rate it admits everything.
#[derive(Clone, Copy, Debug, Default)]
struct Cap {
    /// Octets per nanosecond.
    rate: Option<f64>,
    /// Octets left.
    left: f64,
    last: Instant,
}

impl Cap {
    /// What may pass in this time may come at once.
    const DEPTH: Duration = Duration::from_millis(250);

    fn new(bits: f64) -> Cap {
        let rate = bits / 8e9;
        Cap { rate: Some(rate), left: rate * Cap::DEPTH.as_nanos() as f64, last: Instant::ZERO }
    }

    fn admits(&mut self, now: Instant, octets: usize) -> bool {
        let Some(rate) = self.rate else { return true };
        // At least one packet fits, however low the rate is.
        let depth = (rate * Cap::DEPTH.as_nanos() as f64).max(1600.0);
        self.left = (self.left + rate * now.since(self.last).as_nanos() as f64).min(depth);
        self.last = self.last.max(now);
        let fits = self.left >= octets as f64;
        if fits {
            self.left -= octets as f64;
        }
        fits
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
    fn a_cap_lets_its_rate_pass_whatever_is_offered() {
        let mut cap = Cap::new(80e6);
        let mut passed = 0;
        for n in 0..200_000_u64 {
            passed += u64::from(cap.admits(Instant(n * 10_000), 1000));
        }
        // 2 s at 10 MB/s and what may come at once, offered ten times that.
        assert!((22_450..22_550).contains(&passed), "{passed}");
        assert!((0..100).all(|_| Cap::default().admits(Instant::ZERO, 1500)));
    }

    #[test]
    fn limits_are_dealt_out_to_the_threads() {
        let whole = Limits { cookie_threshold: Some(0), max_half_open: 10, max_ike_sas: Some(7), ..Limits::default() };
        let each = part(&whole, 4);
        assert_eq!((each.cookie_threshold, each.max_half_open, each.max_ike_sas), (Some(0), 3, Some(2)));
        assert_eq!(part(&whole, 1), whole);
    }
}
