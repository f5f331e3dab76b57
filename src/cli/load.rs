//! `ikelab load`: many tunnels at a planned rate, and who was the limit.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::common::{self, Common};
use super::exit::{CliError, Exit};
use super::load_flags;
use super::load_live::Live;
use super::load_plan::Plan;
use super::metrics::Metrics;
use super::quick::Quick;
use super::run::REPORT;
use super::rundir::RunDir;
use super::signals::Stop;
use super::term;
use crate::config::Loaded;
use crate::engine::{DpdAction, NatTraversal};
use crate::link::udp::source_address_for;
use crate::load::arrival::Lane;
use crate::load::ca::{self, LoadCa};
use crate::load::capacity;
use crate::load::gauge::{self, Gauges};
use crate::load::peers::{Peers, Psks};
use crate::load::run::{Fleet, Setup, StartError};
use crate::load::summary::{Ceiling, Connection, Context, LoadResult, RESULT_VERSION, Security, Tester};
use crate::load::template::{Pool, Template};
use crate::load::threshold;
use crate::load::traffic::{self, TrafficSpec};
use crate::load::verdict;
use crate::load::workload::{self, Played, Workload};
use crate::load::{files, keep};
use crate::report::{load_html, load_text};
use crate::time::{RealClock, utc_text};
use crate::vendor::persona::Persona;

/// Arguments.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The peer's address or name, instead of the file's
    #[arg(value_name = "PEER", required_unless_present_any = ["config", "make_ca"])]
    peer: Option<String>,
    /// The connection file; an identity like peer-{n4}@lab differs per tunnel: peer-0000@lab, peer-0001@lab
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What to do
    #[arg(long, value_enum, default_value_t = Kind::Setup)]
    pub(super) workload: Kind,
    /// Tunnels per second: 100, a ramp 50..500, steps 100,200,400, or a share of what a --search has found, like 80%:DIR
    #[arg(long, value_name = "RATE", default_value = "10")]
    pub(super) rate: String,
    /// Search for the largest rate that is held, beginning with --rate; each rate is held for --for. Of set-ups, of a
    /// churn, or with rekey-ike or rekey-child of rekeys while --tunnels are up
    #[arg(long)]
    pub(super) search: bool,
    /// --search: try no rate above this
    #[arg(long, value_name = "RATE", default_value_t = 1e5, requires = "search")]
    pub(super) max_rate: f64,
    /// --search and tunnels: repeat it this often; the median counts
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(super) trials: u32,
    /// --search: how long the peer is left alone after a rate that was not held
    #[arg(long, value_name = "DURATION", default_value = "2s", requires = "search")]
    pub(super) rest: String,
    /// --search: without the goodput beyond the limit
    #[arg(long, requires = "search")]
    pub(super) no_curve: bool,
    /// For how long tunnels are begun
    #[arg(long = "for", value_name = "DURATION", default_value = "60s")]
    pub(super) duration: String,
    /// How many tunnels there are [default: as many as the rate makes]
    #[arg(long, value_name = "N")]
    pub(super) tunnels: Option<u64>,
    /// How arrivals are spread around the rate; with --over, poisson puts each at a random time (jitter)
    #[arg(long, value_enum, default_value_t = ArrivalKind::Even)]
    pub(super) arrivals: ArrivalKind,
    /// Do not measure what is begun in this time: no latencies, rates, success or retransmissions of it
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    pub(super) warm_up: String,
    /// closed: set-ups kept open per thread
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub(super) window: u64,
    /// hold, failover: for how long tunnels are kept; traffic: for how long each rate is
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    pub(super) hold: String,
    /// churn, soak: how long a tunnel lives
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    pub(super) live: String,
    /// rekey-ike, rekey-child, children: spread the exchanges over this time; 0s means all at once
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    pub(super) over: String,
    /// Groups for perfect forward secrecy when Child SAs are made later or rekeyed, like x25519 or none, instead of the file's
    #[arg(long, value_name = "GROUPS")]
    pfs: Option<String>,
    /// children: how many more Child SAs each tunnel gets
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub(super) children: u64,
    /// traffic: bits of inner packets per second in each direction, all tunnels together; steps like 20M,50M,100M,200M
    #[arg(long, value_name = "RATES", default_value = "10M,20M,50M,100M,200M")]
    pub(super) offer: String,
    /// traffic: octets of each inner packet
    #[arg(long, value_name = "OCTETS", default_value_t = 1400)]
    packet_size: usize,
    /// traffic: the host behind the peer that is pinged [default: a host of the peer's selectors]
    #[arg(long, value_name = "ADDR")]
    echo: Option<std::net::IpAddr>,
    /// traffic: UDP to its echo service (port 7) instead of pings
    #[arg(long)]
    udp_echo: bool,
    /// How long to wait for open operations after the last one was begun
    #[arg(long, value_name = "DURATION", default_value = "15s")]
    pub(super) drain: String,
    /// Leave the tunnels up at the end
    #[arg(long)]
    pub(super) keep: bool,
    /// Deletes per second at the end [default: twice the rate, 200 at least]
    #[arg(long, value_name = "RATE")]
    pub(super) delete_rate: Option<f64>,
    /// A threshold, like 'success>=99.9%' or 'p99(setup)<200ms', of traffic 'carried>=50M', 'throughput>=80M' or
    /// 'loss<=0.1%'; may be repeated [default: success>=99.9%, lost<=0 where tunnels are kept, of traffic also carried>0: some
    /// rate came back]
    #[arg(long, value_name = "EXPR")]
    pub(super) threshold: Vec<String>,
    /// Source addresses: networks, ranges or single ones, separated by commas. They must be this host's:
    /// `ip route add local NETWORK dev lo` makes a whole network so, and the peer needs a route back to it
    #[arg(long, value_name = "POOL")]
    sources: Option<String>,
    /// A file with one pre-shared key per line, for tunnel 0, 1, ...; used again from the first when there are fewer than
    /// tunnels
    #[arg(long, value_name = "FILE", conflicts_with = "psk_template")]
    psk_lines: Option<PathBuf>,
    /// A file with a template of pre-shared keys, like secret-{n4}
    #[arg(long, value_name = "FILE")]
    psk_template: Option<PathBuf>,
    /// Authenticate each tunnel with a certificate of its own, issued by the authority in this directory (see --make-ca)
    #[arg(long, value_name = "DIR", conflicts_with_all = ["psk_lines", "psk_template"], requires = "tunnels")]
    ca: Option<PathBuf>,
    /// Authenticate tunnel N with the certificate DIR/N.pem and the key DIR/N.key, N from 0; used again from the first when there
    /// are fewer than tunnels
    #[arg(long, value_name = "DIR", conflicts_with_all = ["psk_lines", "psk_template", "ca"])]
    certs: Option<PathBuf>,
    /// Make an authority in this directory and do nothing else: the peer must trust its ca.pem
    #[arg(long, value_name = "DIR")]
    make_ca: Option<PathBuf>,
    /// Template of our side's selector, like 10.{n/256%256}.{n%256}.0/24
    #[arg(long, value_name = "TEMPLATE")]
    ts_template: Option<String>,
    /// Give some tunnels a fault: bad-psk, bad-proposal, half-open, or a name of `ikelab faults`, like withhold-cookie
    #[arg(long, value_name = "FAULT")]
    pub(super) fault: Option<String>,
    /// The share of tunnels with the fault
    #[arg(long, value_name = "PERCENT", default_value = "5%", requires = "fault")]
    pub(super) fault_share: String,
    /// Threads, each with its own part of the tunnels [default: one per core]
    #[arg(long, value_name = "N")]
    pub(super) threads: Option<u8>,
    /// Operations open at once at most; more are dropped by the tester
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    max_open: u64,
    /// What could not be begun after this time is dropped by the tester
    #[arg(long, value_name = "DURATION", default_value = "1s")]
    pub(super) too_late: String,
    /// The tester calls itself the limit when 1 % of its starts are later than this
    #[arg(long, value_name = "DURATION", default_value = "1ms")]
    pub(super) max_lag: String,
    /// The tester calls itself the limit when a thread uses more than this of a core
    #[arg(long, value_name = "PERCENT", default_value = "80%")]
    pub(super) max_cpu: String,
    /// Send INITIAL_CONTACT; peers with one identity would wipe each other
    #[arg(long)]
    initial_contact: bool,
    /// Wanted socket buffers in octets
    #[arg(long, value_name = "OCTETS", default_value_t = 8 << 20)]
    socket_buffer: usize,
    /// This process's part, like 0/4 [default: the environment's JOB_COMPLETION_INDEX and IKELAB_SHARDS, both or neither]
    #[arg(long, value_name = "I/N")]
    pub(super) shard: Option<String>,
    /// Begin at this time, in seconds since 1970 UTC, so that several machines begin together
    #[arg(long, value_name = "SECONDS")]
    pub(super) start_at: Option<f64>,
    /// Serve Prometheus metrics on this address while the run lasts, like 127.0.0.1:9500
    #[arg(long, value_name = "ADDR")]
    metrics: Option<std::net::SocketAddr>,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    quick: Quick,
}

/// Workloads by name.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Bring tunnels up; delete them at the end
    Setup,
    /// One tunnel after the other, as the BMWG drafts measure
    Serial,
    /// A closed loop of --window set-ups per thread until --tunnels are up: how fast both ends together can be
    Closed,
    /// Bring tunnels up, keep them with liveness checks, delete them
    Hold,
    /// Tunnels come, live for a while, and go
    Churn,
    /// Churn for long; then says whether memory, file descriptors or IKE SAs were not given back
    Soak,
    /// Bring tunnels up, forget them as if the peer had reloaded, reconnect all at once
    Storm,
    /// Bring tunnels up and keep them for --hold with liveness checks while you reload or fail over the headend; what goes down is
    /// brought up again, and timed
    Failover,
    /// Bring tunnels up, then rekey the IKE SA of each
    RekeyIke,
    /// Bring tunnels up, then rekey the Child SA of each
    RekeyChild,
    /// Bring tunnels up, then give each of them --children more Child SAs
    Children,
    /// Bring tunnels up, then send packets through them to a host behind the peer that echoes, and count what comes back
    Traffic,
    /// IKE_SA_INIT only: half-open IKE SAs
    Flood,
    /// Bring tunnels up until one is refused, and say which and why; --trials times
    Tunnels,
}

/// Arrivals by name.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ArrivalKind {
    /// At equal distances
    Even,
    /// As a Poisson process, from the plan seed
    Poisson,
}

/// Runs the workload and reports. `given` are the flags on the command line, by clap's names.
pub fn run(args: &Args, given: &[String]) -> Result<Exit, CliError> {
    load_flags::check(args, given)?;
    if args.common.keys {
        return Err(CliError::usage("--keys: a load run records no packets and exports no keys"));
    }
    if let Some(dir) = &args.make_ca {
        ca::make(dir).map_err(|e| CliError::usage(format!("--make-ca: {e}")))?;
        term::print(&format!("made {}: the peer must trust it\n", dir.join("ca.pem").display()));
        return Ok(Exit::Met);
    }
    let plan = Plan::read(args)?;
    let loaded = prepare(args)?;
    let seeds = args.common.seeds()?;
    let mut peers = peers(args, &plan, &loaded)?;
    let mut context = Context::of(&peers.base);
    if let Some(dir) = &args.ca {
        let clock = RealClock::start();
        let wrong = |e: String| CliError::usage(format!("--ca: {e}"));
        let authority = LoadCa::open(dir, clock.epoch()).map_err(wrong)?;
        peers.certify(&authority, plan.order.tunnels).map_err(wrong)?;
        let micros = clock.now().as_secs_f64() * 1e6 / plan.order.tunnels as f64;
        context.auth = context.auth.replacen("psk", "certificate", 1);
        context.issue_micros = Some(micros);
    }
    if let Some(dir) = &args.certs {
        peers.certified(dir).map_err(|e| CliError::usage(format!("--certs: {e}")))?;
        context.auth = context.auth.replacen("psk", "certificate", 1);
    }
    let remote = peers.base.remote_addr.expect("prepare fills it in");
    let connection = Connection {
        name: loaded.spec.name.clone(),
        file: loaded.source.as_ref().map(|p| p.display().to_string()),
        remote: std::net::SocketAddr::new(remote, loaded.spec.remote_ports.ike).to_string(),
    };
    let natt = loaded.spec.remote_ports.natt;
    let clock = RealClock::start();
    let setup = Setup {
        peers,
        tunnels: plan.order.tunnels,
        threads: plan.threads,
        process: plan.process,
        interface: args.common.interface.clone(),
        socket_buffer: args.socket_buffer,
        seeds: seeds.clone(),
        rules: plan.rules.clone(),
        in_flight: args.max_open,
        too_late: plan.too_late,
        linger: linger(&loaded),
        configured: plan.configured(),
        dont_fragment: args.common.dont_fragment,
        keep: true,
        traffic: (args.workload == Kind::Traffic).then(|| packets(args, natt)).transpose()?,
    };
    let mut fleet = Fleet::start(setup, clock).map_err(|error| match error {
        StartError::Usage(why) => CliError::usage(format!("--sources: {why}")),
        other => CliError::environment(other),
    })?;
    let stop = Stop::watch_flag(fleet.waker(), fleet.stop_flag())?;
    let lanes = fleet.gauges().to_vec();
    let metrics = args.metrics.map(|at| Metrics::serve(at, move || gauge::prometheus(&lanes))).transpose()?;
    let dir = RunDir::create(args.common.out.as_deref(), clock.epoch())?;
    let tester = Tester::of(fleet.network(), plan.process, plan.threads.into(), plan.honesty);
    let mut order = plan.order.clone();
    order.start = plan.start(clock)?;
    if let Workload::Soak { settle, .. } = &mut order.workload {
        // Until the last closed IKE SA has stopped answering repeats, and a little.
        *settle = linger(&loaded) + Duration::from_secs(3);
    }

    if let Some(why) = plan.fewer() {
        term::warning(&why);
    }
    let shown = !args.common.json;
    if shown {
        term::print(&headline(&plan, &connection, &tester, &seeds.plan, &dir));
    }
    if let Some(metrics) = metrics.as_ref().filter(|_| shown) {
        term::print(&format!("metrics on http://{}/metrics\n", metrics.address()));
    }
    let mut live = Live::new(shown);
    let mut watch = |name: &str, gauges: &[(Lane, Arc<Gauges>)], since| live.show(name, gauges, since);
    let played = match &plan.search {
        Some(search) => capacity::rate(&mut fleet, &tester, search, &mut watch)
            .map(|(found, played)| Played { capacity: Some(found), ..played }),
        None => workload::play(&mut fleet, &order, &mut watch),
    };
    let played = played.map_err(CliError::environment)?;
    live.end();
    let _ = stop;

    let mut result = LoadResult {
        version: RESULT_VERSION,
        tool: format!("ikelab {}", env!("CARGO_PKG_VERSION")),
        command: "load".into(),
        plan_seed: seeds.plan.text().to_owned(),
        started: utc_text(clock.epoch().0),
        seconds: clock.now().as_secs_f64(),
        security: Security {
            keys_exported: false,
            key_seed_from_os: true,
            target_said_to_be_owned: args.common.i_own_this_target,
        },
        connection,
        context,
        tester,
        workload: order.workload.name().into(),
        thresholds: threshold::judge_run(&plan.thresholds, &played.stages, &played.times),
        recovery: played.recovery.clone(),
        traffic: played.traffic.clone(),
        stages: played.stages.clone(),
        capacity: played.capacity.clone(),
        leaks: played.leaks.clone(),
        flood: None,
        failover: None,
        limit: crate::load::summary::Limit { who: String::new(), sentence: String::new(), tester_limited: false },
        interrupted: played.interrupted,
        exit_code: 0,
    };
    let exit = match plan.search {
        Some(_) => found(&mut result),
        None => {
            verdict::conclude(&mut result);
            match result.exit_code {
                0 => Exit::Met,
                1 => Exit::NotMet,
                _ => Exit::Inconclusive,
            }
        }
    };
    files::write(dir.path(), &played.stages, &played.times).map_err(CliError::environment)?;
    keep::write(dir.path(), clock.epoch(), fleet.keepers()).map_err(CliError::environment)?;
    let value = serde_json::to_value(&result).expect("a result is plain data");
    dir.write_result(&value)?;
    dir.write(REPORT, load_html::page(&result).as_bytes())?;
    if shown {
        term::print(&load_text::render(&result, term::stdout_paint()));
    } else {
        term::print(&(serde_json::to_string(&value).expect("a JSON value prints") + "\n"));
    }
    Ok(exit)
}

/// A search ends well if it has found a rate that is held, and if the tester was not what ended it.
fn found(result: &mut LoadResult) -> Exit {
    use crate::load::summary::Limit;
    let Some(capacity) = &result.capacity else { return Exit::Inconclusive };
    let limited = capacity.ceiling.is_tester();
    let who = if limited { "tester" } else { "peer" };
    result.limit = Limit { who: who.into(), sentence: format!("{}.", capacity.finding), tester_limited: limited };
    result.thresholds.clear();
    let exit = match () {
        () if limited || result.interrupted => Exit::Inconclusive,
        () if capacity.median > 0.0 && capacity.ceiling != Ceiling::Futile => Exit::Met,
        () => Exit::NotMet,
    };
    result.exit_code = exit as u8;
    exit
}

/// How long an IKE SA that is closed still answers repeats.
fn linger(loaded: &Loaded) -> Duration {
    loaded.limits.clone().unwrap_or_default().linger
}

/// Who the tunnels are.
fn peers(args: &Args, plan: &Plan, loaded: &Loaded) -> Result<Peers, CliError> {
    let mut spec = loaded.spec.clone();
    if args.workload == Kind::Traffic {
        // ESP in UDP, which needs no raw socket and is steered to the thread that has the tunnel.
        spec.nat.traversal = NatTraversal::Force;
    }
    spec.behaviour.initial_contact = args.initial_contact;
    match &mut spec.dpd {
        // What goes down is brought up again by the workload, or by nobody.
        Some(dpd) => dpd.action = DpdAction::Clear,
        None if args.workload == Kind::Failover => {
            let why = "--workload failover: without liveness checks nobody notices that a headend is gone";
            return Err(CliError::usage(format!("{why}; give the file dpd: {{interval: 5s}}")));
        }
        None => {}
    }
    if let Some(text) = &args.pfs {
        let groups = crate::config::pfs(text).map_err(|e| CliError::usage(format!("--pfs: {e}")))?;
        spec.children.iter_mut().for_each(|child| child.pfs.clone_from(&groups));
    }
    let local = spec.local_addr.expect("prepare fills it in");
    let mut peers = Peers::new(spec, local).map_err(|e| CliError::usage(format!("local.id: {e}")))?;
    if let Some(text) = &args.sources {
        peers.sources = Pool::parse(text).map_err(|e| CliError::usage(format!("--sources: {e}")))?;
        let of_peer = |a: std::net::IpAddr| Some(a.is_ipv4()) == peers.base.remote_addr.map(|r| r.is_ipv4());
        if !peers.sources.get(0).is_some_and(of_peer) {
            return Err(CliError::usage("--sources: not of the peer's IP version"));
        }
    }
    if let Some(file) = &args.psk_lines {
        peers.psk = Psks::from_lines(file).map_err(|e| CliError::usage(format!("--psk-lines: {e}")))?;
        if let Psks::Lines(keys) = &peers.psk
            && (keys.len() as u64) < plan.numbers()
        {
            term::warning(&format!(
                "--psk-lines: {} holds {} keys, and there are more tunnels: the keys are used again from the first",
                file.display(),
                keys.len()
            ));
        }
    }
    if let Some(file) = &args.psk_template {
        peers.psk = Psks::from_template(file).map_err(|e| CliError::usage(format!("--psk-template: {e}")))?;
    }
    if let Some(text) = &args.ts_template {
        let template = Template::parse(text).map_err(|e| CliError::usage(format!("--ts-template: {e}")))?;
        check_selectors(&template, plan.numbers()).map_err(|e| CliError::usage(format!("--ts-template: {e}")))?;
        peers.local_ts = Some(template);
    }
    peers.faulty = plan.faulty.clone();
    Ok(peers)
}

/// Selectors that are looked at before a run at most; the last one always is.
const LOOKED_AT: u64 = 1 << 20;

/// Whether every one of so many tunnels has a selector.
fn check_selectors(template: &Template, tunnels: u64) -> Result<(), String> {
    for n in (0..tunnels.min(LOOKED_AT)).chain(tunnels.checked_sub(1)) {
        crate::config::selector(&template.fill(n)).map_err(|e| match n {
            0 => e,
            n => format!("tunnel {n}: {e}; like 10.{{n/256%256}}.{{n%256}}.0/24"),
        })?;
    }
    Ok(())
}

/// What is sent through the tunnels; `natt` is the peer's port for ESP in UDP.
fn packets(args: &Args, natt: u16) -> Result<TrafficSpec, CliError> {
    let sizes = traffic::SIZES;
    if !sizes.contains(&args.packet_size) {
        let (from, to) = (sizes.start(), sizes.end());
        return Err(CliError::usage(format!("--packet-size: {} is not from {from} to {to}", args.packet_size)));
    }
    Ok(TrafficSpec { size: args.packet_size, target: args.echo, udp: args.udp_echo, natt_ports: (0, natt) })
}

/// Everything before the first packet: file or flags, name resolution, target guard, our address.
fn prepare(args: &Args) -> Result<Loaded, CliError> {
    let mut loaded = match &args.config {
        Some(path) => crate::config::load(path)?,
        None => args.quick.build()?,
    };
    if let Some(peer) = &args.peer {
        match peer.parse() {
            Ok(addr) => (loaded.spec.remote_addr, loaded.remote_host) = (Some(addr), None),
            Err(_) => (loaded.spec.remote_addr, loaded.remote_host) = (None, Some(peer.clone())),
        }
    }
    if !loaded.path.is_clean() {
        let file = args.config.as_deref().map_or_else(String::new, |file| format!("{}: ", file.display()));
        return Err(CliError::usage(format!(
            "{file}path: a load run leaves the path as it is: take this out, and make it bad outside of ikelab, with \
             tc-netem(8) for example"
        )));
    }
    common::warn(&loaded);
    common::resolve(&mut loaded)?;
    Persona::dress(&mut loaded);
    let Some(remote) = loaded.spec.remote_addr else {
        return Err(CliError::usage("load whom? Give PEER, or remote.address in the file"));
    };
    common::guard(remote, args.common.i_own_this_target)?;
    args.common.apply_ports(&mut loaded);
    let local = match loaded.spec.local_addr {
        Some(local) if local.is_ipv4() != remote.is_ipv4() => {
            return Err(CliError::usage(format!("{remote} and local.address {local} are not of one IP version")));
        }
        Some(local) => local,
        None => source_address_for(remote)
            .map_err(|e| CliError::environment(format!("there is no route to {remote}: {e}")))?,
    };
    loaded.set_local_address(local);
    Ok(loaded)
}

fn headline(
    plan: &Plan,
    connection: &Connection,
    tester: &Tester,
    seed: &crate::seed::PlanSeed,
    dir: &RunDir,
) -> String {
    let order = &plan.order;
    let pace = match order.workload {
        Workload::Serial => format!("{} tunnels one after the other", order.tunnels),
        Workload::Closed(window) => format!("{} tunnels, {window} at a time per thread", order.tunnels),
        _ => format!(
            "{:.1}/s for {}",
            order.schedule.mean_rate(),
            crate::config::duration_words(order.schedule.length())
        ),
    };
    let mut out = format!(
        "{} {}   {pace}   {} {}   plan seed {}   {}\n",
        order.workload.name(),
        connection.remote,
        tester.threads,
        if tester.threads == 1 { "thread" } else { "threads" },
        seed.text(),
        dir.path().display()
    );
    if let Some(granted) = tester.buffer_granted {
        out += &format!(
            "the kernel grants {granted} octets of receive buffer instead of {} (net.core.rmem_max)\n",
            tester.buffer_wanted
        );
    }
    out
}
