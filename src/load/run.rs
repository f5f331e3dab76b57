//! The coordinator: opens the sockets, starts the shards, leads them through stages, joins what they report.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::arrival::Lane;
use super::gauge::Gauges;
use super::keep::Keeper;
use super::measure::Stats;
use super::peers::{Peers, Sources};
use super::resource::{self, Core, Used};
use super::shard::{Order, Report, Shard, ShardConfig, Stage, Work};
use super::traffic::TrafficSpec;
use crate::engine::{ConnectionSpec, Ports};
use crate::fault::Rule;
use crate::link::LinkCounters;
use crate::link::udp::{BindError, UdpConfig, UdpLink, Waker};
use crate::net::SocketRole;
use crate::seed::Seeds;
use crate::time::{Instant, RealClock};

/// A shard with more source addresses than this uses one socket for all of them.
const SINGLE_SOCKETS: usize = 64;
/// From an order to its begin: every shard has woken up by then.
const AHEAD: Duration = Duration::from_millis(30);

/// What a run is made of.
pub struct Setup {
    /// Who the tunnels are.
    pub peers: Peers,
    /// How many tunnels there are, in all processes together.
    pub tunnels: u64,
    /// Threads of this process.
    pub threads: u8,
    /// Which process this is, and of how many.
    pub process: (u64, u64),
    /// Ties the sockets to an interface.
    pub interface: Option<String>,
    /// Wanted size of each socket's buffers, in octets.
    pub socket_buffer: usize,
    /// Seeds of the run.
    pub seeds: Seeds,
    /// Rules for tunnels with a chosen fault.
    pub rules: Vec<Rule>,
    /// Operations open at once at most, in this process.
    pub in_flight: u64,
    /// What could not be begun this long after its time is dropped.
    pub too_late: Duration,
    /// How long an IKE SA that is closed still answers repeats.
    pub linger: Duration,
    /// Tunnels that the plan begins, where that is fewer than there may be: what the gauges call configured.
    pub configured: u64,
    /// Set DF, so that what is longer than the route's MTU does not leave.
    pub dont_fragment: bool,
    /// Keep the datagrams of the failed and the slowest handshakes.
    pub keep: bool,
    /// How packets are sent through the tunnels, if any are.
    pub traffic: Option<TrafficSpec>,
}

/// What the shards have in common outside of their work.
#[derive(Clone, Debug)]
pub struct Network {
    /// Source addresses that this process uses.
    pub sources: u64,
    /// Bound ports.
    pub ports: Ports,
    /// Several threads share an address and a port.
    pub shared: bool,
    /// The smallest receive buffer granted, if smaller than wanted, in octets.
    pub clamp: Option<usize>,
    /// Receive buffer that was asked for, in octets.
    pub buffer_wanted: usize,
    /// Sockets opened.
    pub sockets: u64,
}

/// One stage, all shards together.
#[derive(Debug)]
pub struct Outcome {
    /// What was measured.
    pub stats: Stats,
    /// Per shard, what its thread used while the plan lasted.
    pub used: Vec<Used>,
    /// CPU time of all shards in the whole stage.
    pub cpu: Duration,
    /// CPU time of the whole process.
    pub process_cpu: Duration,
    /// Per core of the machine, what it did.
    pub cores: Vec<Core>,
    /// What passed the sockets.
    pub link: LinkCounters,
    /// Tunnels up at the end.
    pub up: u64,
    /// IKE SAs at the end, those that only answer repeats included.
    pub sas: u64,
    /// Most octets seen waiting in one receive buffer.
    pub queue: usize,
    /// What was planned for this time, from the begin, is not measured.
    pub warm_up: Duration,
    /// Begin and end.
    pub from: Instant,
    /// End.
    pub to: Instant,
    /// It was ended by a signal.
    pub stopped: bool,
}

/// A run with its shards at work.
pub struct Fleet {
    clock: RealClock,
    shards: Vec<Member>,
    lanes: Vec<(Lane, Arc<Gauges>)>,
    stop: Arc<AtomicBool>,
    network: Network,
    stages: u64,
    keepers: Vec<Keeper>,
    process: (u64, u64),
}

struct Member {
    orders: mpsc::Sender<Order>,
    reports: mpsc::Receiver<io::Result<Report>>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
    /// Tunnels that were up at the end of its last stage.
    up: u64,
}

/// What is shown of a stage while it lasts: the shards' gauges, and the time.
pub type Seen<'a> = dyn FnMut(&[(Lane, Arc<Gauges>)], Instant) + 'a;

/// Why a run could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The sockets cannot be opened.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The settings do not fit together.
    #[error("{0}")]
    Usage(String),
    /// No thread.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
}

impl Fleet {
    /// Opens the sockets and starts the shards, which then wait for their first stage.
    ///
    /// # Errors
    ///
    /// If a socket cannot be opened, or there are too few source addresses.
    pub fn start(setup: Setup, clock: RealClock) -> Result<Fleet, StartError> {
        let (process, processes) = setup.process;
        let threads = u64::from(setup.threads.max(1));
        let mut links = Vec::new();
        let mut ports = setup.peers.base.local_ports;
        let mut network =
            Network { sources: 0, ports, shared: false, clamp: None, buffer_wanted: setup.socket_buffer, sockets: 0 };
        for thread in 0..threads {
            let sources =
                Sources::deal(&setup.peers.sources, setup.process, (thread, threads)).map_err(StartError::Usage)?;
            let many = sources.addresses.len() > SINGLE_SOCKETS;
            let shared = threads > 1 && (sources.shared || many);
            let addresses = match sources.addresses.first() {
                Some(IpAddr::V4(_)) if many => vec![Ipv4Addr::UNSPECIFIED.into()],
                Some(IpAddr::V6(_)) if many => vec![Ipv6Addr::UNSPECIFIED.into()],
                _ => sources.addresses.clone(),
            };
            let link = UdpLink::bind(
                &UdpConfig {
                    addresses,
                    ike_port: ports.ike,
                    natt_port: ports.natt,
                    interface: setup.interface.clone(),
                    socket_buffer: setup.socket_buffer,
                    share: shared.then_some(setup.threads.max(1)),
                    any_address: setup.peers.sources.len() > 1,
                    dont_fragment: setup.dont_fragment,
                },
                clock,
            )?;
            // Ports that the system chose are the same for every thread.
            ports = Ports { ike: link.port(SocketRole::Ike), natt: link.port(SocketRole::NatT) };
            network.shared |= shared;
            network.sockets += link.sockets().count() as u64;
            network.clamp = network.clamp.into_iter().chain(link.receive_buffer_clamp()).min();
            // Of a large pool only so many are used as there are tunnels.
            let lane = Lane { first: process + processes * thread, stride: processes * threads };
            let tunnels = setup.tunnels.min(setup.configured);
            let count = sources.addresses.len() as u64;
            network.sources = match sources.shared {
                true => count.min(Lane { first: process, stride: processes }.share(tunnels)).max(1),
                false => network.sources + count.min(lane.share(tunnels)),
            };
            links.push((link, sources));
        }
        network.ports = ports;
        let base = ConnectionSpec { local_ports: ports, ..ConnectionSpec::clone(&setup.peers.base) };
        let peers = Arc::new(Peers { base: Arc::new(base), ..setup.peers });
        let stop = Arc::new(AtomicBool::new(false));
        let (mut shards, mut lanes, mut keepers) = (Vec::new(), Vec::new(), Vec::new());
        for (octet, (link, sources)) in (0_u8..).zip(links) {
            let lane = Lane { first: process + processes * u64::from(octet), stride: processes * threads };
            let gauges = Arc::new(Gauges::new(lane.share(setup.tunnels.min(setup.configured))));
            let keeper = setup.keep.then(Keeper::default);
            keepers.extend(keeper.clone());
            let config = ShardConfig {
                lane,
                octet,
                peers: Arc::clone(&peers),
                sources,
                tunnels: setup.tunnels,
                seeds: setup.seeds.clone(),
                rules: setup.rules.clone(),
                linger: setup.linger,
                gauges: Arc::clone(&gauges),
                stop: Arc::clone(&stop),
                in_flight: (setup.in_flight / threads).max(1),
                too_late: setup.too_late,
                keeper,
                traffic: setup.traffic.map(|spec| TrafficSpec { natt_ports: (ports.natt, spec.natt_ports.1), ..spec }),
            };
            let (orders, orders_in) = mpsc::channel();
            let (reports_out, reports) = mpsc::channel();
            let waker = link.waker();
            let thread = std::thread::Builder::new()
                .name(format!("shard-{octet}"))
                .spawn(move || Shard::new(config, link).serve(&orders_in, &reports_out))
                .map_err(StartError::Thread)?;
            shards.push(Member { orders, reports, waker, thread: Some(thread), up: 0 });
            lanes.push((lane, gauges));
        }
        Ok(Fleet { clock, shards, lanes, stop, network, stages: 0, keepers, process: setup.process })
    }

    /// The flag that ends a run early: arrivals cease, open operations get two seconds.
    pub fn stop_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    /// A waker of one shard, for a signal handler that wants to wake something.
    pub fn waker(&self) -> Waker {
        self.shards[0].waker.clone()
    }

    /// What the shards show while they work.
    pub fn gauges(&self) -> &[(Lane, Arc<Gauges>)] {
        &self.lanes
    }

    /// Which process this is, and of how many.
    pub fn process(&self) -> (u64, u64) {
        self.process
    }

    /// What was kept of handshakes.
    pub fn keepers(&self) -> &[Keeper] {
        &self.keepers
    }

    /// Addresses, ports, buffers.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The run's clock.
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Leads all shards through one stage. `watch` is called every `every` while it lasts. `at` is when it begins; as soon
    /// as possible by default.
    ///
    /// # Errors
    ///
    /// If a shard's sockets have become unusable.
    pub fn stage(
        &mut self,
        at: Option<Instant>,
        work: Work,
        warm_up: Duration,
        drain: Duration,
        every: Duration,
        watch: &mut Seen<'_>,
    ) -> io::Result<Outcome> {
        self.stages += 1;
        let start = at.unwrap_or_else(|| self.clock.now() + AHEAD);
        let length = work.length();
        let stage = Stage { label: self.stages.to_string(), start, work, warm_up, drain };
        let up: u64 = self.shards.iter().map(|shard| shard.up).sum();
        for shard in &self.shards {
            // Where no tunnel is up, everybody has as little to do.
            let part = if up > 0 { shard.up as f64 / up as f64 } else { 1.0 / self.shards.len() as f64 };
            let stage = Stage { work: stage.work.clone().part(part), ..stage.clone() };
            shard.orders.send(Order::Stage(stage)).map_err(|_| gone())?;
            shard.waker.wake();
        }
        let mut outcome = Outcome {
            stats: Stats::default(),
            used: Vec::new(),
            cpu: Duration::ZERO,
            process_cpu: Duration::ZERO,
            cores: Vec::new(),
            link: LinkCounters::default(),
            up: 0,
            sas: 0,
            queue: 0,
            warm_up,
            from: start,
            to: start,
            stopped: false,
        };
        // What the machine does before the begin and after the plan would hide how busy it was meanwhile.
        let mut machine = Machine { from: start, to: length.map(|length| start + length), begin: None, end: None };
        for shard in &mut self.shards {
            let report = loop {
                let now = self.clock.now();
                match shard.reports.recv_timeout(machine.look(now).map_or(every, |wait| wait.min(every))) {
                    Ok(report) => break report?,
                    Err(mpsc::RecvTimeoutError::Timeout) => watch(&self.lanes, self.clock.now()),
                    Err(mpsc::RecvTimeoutError::Disconnected) => return Err(gone()),
                }
            };
            outcome.stats.merge(&report.stats);
            outcome.used.push(report.used);
            outcome.cpu += report.whole.cpu;
            outcome.link = resource::together(&outcome.link, &report.link);
            shard.up = report.up;
            outcome.up += report.up;
            outcome.sas += report.sas;
            outcome.queue = outcome.queue.max(report.queue);
            outcome.stopped |= report.stopped;
        }
        outcome.to = self.clock.now();
        (outcome.process_cpu, outcome.cores) = machine.used();
        Ok(outcome)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for shard in &self.shards {
            let _ = shard.orders.send(Order::End);
            shard.waker.wake();
        }
        for shard in &mut self.shards {
            if let Some(thread) = shard.thread.take() {
                let _ = thread.join();
            }
        }
    }
}

/// What the whole machine did between two instants.
struct Machine {
    from: Instant,
    /// The end of the plan, where that is known beforehand.
    to: Option<Instant>,
    begin: Option<(Duration, Vec<Core>)>,
    end: Option<(Duration, Vec<Core>)>,
}

impl Machine {
    fn now() -> (Duration, Vec<Core>) {
        (resource::process_cpu(), Core::all())
    }

    /// Looks if it is time to; how long until it is the next time.
    fn look(&mut self, now: Instant) -> Option<Duration> {
        if now < self.from {
            return Some(self.from.since(now));
        }
        if self.begin.is_none() {
            self.begin = Some(Machine::now());
        }
        let to = self.to.filter(|_| self.end.is_none())?;
        if now < to {
            return Some(to.since(now));
        }
        self.end = Some(Machine::now());
        None
    }

    fn used(self) -> (Duration, Vec<Core>) {
        let (now, cores) = self.end.unwrap_or_else(Machine::now);
        // A stage that was over before it could be looked at has used nothing to speak of.
        let (before, earlier) = self.begin.unwrap_or_else(|| (now, cores.clone()));
        (now.saturating_sub(before), cores.iter().zip(&earlier).map(|(now, before)| now.since(before)).collect())
    }
}

fn gone() -> io::Error {
    io::Error::other("a shard has ended")
}
