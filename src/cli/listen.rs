//! `ikelab listen`: the responder, for any number of peers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::common::{self, Common};
use super::data::{CarryArgs, Data};
use super::exit::{CliError, Exit};
use super::faults::{FaultArgs, Fired, bend};
use super::live::{self, Ladder, explain, finding_json, lost_message};
use super::signals::Stop;
use super::{rundir, term};
use crate::config::{DataSpec, Loaded};
use crate::diagnose::{Facts, Finding};
use crate::drive::{Driver, Lost, Observer};
use crate::engine::{
    ConnectionSpec, Endpoint, EndpointConfig, EspNote, Event, FailScope, Failed, Limits, SaId, Side, TunnelId,
};
use crate::link::Link;
use crate::link::netem::Netem;
use crate::link::udp::UdpLink;
use crate::load::answer::DataPlane;
use crate::load::traffic::parse_bits;
use crate::net::{Path, SocketRole, Transmit};
use crate::record::how_lost;
use crate::report::ladder::Row;
use crate::report::paint::{Paint, Tone};
use crate::report::{diagnosis, session};
use crate::time::{Instant, RealClock};
use crate::vendor::persona::Persona;
use crate::vendor::persona::log::LogWriter;

/// How long peers may take to answer DELETE before we leave all the same.
const GOODBYE: Duration = Duration::from_secs(5);
/// Findings kept for the result; the rest is counted.
const KEPT_FINDINGS: usize = 1000;

/// Arguments.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// A connection file; may be repeated, the first that fits a peer serves it
    #[arg(short, long, value_name = "FILE", required = true)]
    config: Vec<PathBuf>,
    /// End by itself after this long, like 30s
    #[arg(long = "for", value_name = "DURATION")]
    duration: Option<String>,
    /// Serve a load with this many threads: no capture, no transcripts, counters only, and a persona's log in peer.log
    #[arg(long, value_name = "N", conflicts_with = "keys")]
    threads: Option<u8>,
    /// --threads: carry ESP in UDP and answer pings and UDP echo (port 7) inside the tunnels
    #[arg(long = "echo", requires = "threads")]
    data: bool,
    /// --threads: carry no more than this many bits of ESP per second in each direction, like 85M, as a licence would
    /// [default: the persona's]
    #[arg(long, value_name = "RATE", requires = "data")]
    data_cap: Option<String>,
    #[command(flatten)]
    carry: CarryArgs,
    #[command(flatten)]
    faults: FaultArgs,
    #[command(flatten)]
    common: Common,
}

/// Serves until Ctrl-C.
pub fn run(args: Args) -> Result<Exit, CliError> {
    let duration = match &args.duration {
        Some(text) => Some(crate::config::duration(text).map_err(|e| CliError::usage(format!("--for: {e}")))?),
        None => None,
    };
    let mut all = Vec::new();
    for path in &args.config {
        let mut loaded = crate::config::load(path)?;
        common::warn(&loaded);
        common::resolve(&mut loaded)?;
        // Who answers, repeats itself and checks liveness sends test traffic as well.
        match loaded.spec.remote_addr {
            Some(remote) => common::guard(remote, args.common.i_own_this_target)?,
            // Whoever comes would be misbehaved to.
            None if !args.faults.is_empty() && !args.common.i_own_this_target => {
                let message = "--fault: the file lets any peer come; name its `remote.address`, \
                               or say --i-own-this-target";
                return Err(CliError::usage(message));
            }
            None => {}
        }
        Persona::dress(&mut loaded);
        args.common.apply_ports(&mut loaded);
        args.carry.apply(&mut loaded.data)?;
        check(&loaded)?;
        super::crl::fetch(&mut loaded);
        all.push(loaded);
    }
    let limits = limits(&all)?;
    let persona = persona(&all)?;
    let data_spec = data_of(&all)?;
    let ports = all[0].spec.local_ports;
    if let Some(other) = all.iter().find(|l| l.spec.local_ports != ports) {
        let message = format!("{} and {} have different local ports", name(&all[0]), name(other));
        return Err(CliError::usage(format!("{message}; one `listen` has one pair of ports")));
    }
    if let Some(other) = all.iter().find(|l| args.common.path.is_none() && l.path != all[0].path) {
        let message = format!("{} and {} have different paths", name(&all[0]), name(other));
        return Err(CliError::usage(format!("{message}; one `listen` has one, and --path gives it to all")));
    }

    if let Some(threads) = args.threads {
        if !args.faults.is_empty() {
            return Err(CliError::usage("--fault and --threads do not go together"));
        }
        let bent = match (&args.common.path, all.iter().find(|loaded| !loaded.path.is_clean())) {
            (Some(_), _) => Some("--path".to_owned()),
            (None, bent) => bent.map(|loaded| format!("{}: path", name(loaded))),
        };
        if let Some(bent) = bent {
            let instead = "leave one of them out, or put `ikelab path` between";
            return Err(CliError::usage(format!("{bent} and --threads do not go together; {instead}")));
        }
        let addresses = addresses(&all);
        let connections = all.into_iter().map(|loaded| loaded.spec).collect();
        let wrong = |text: &String| CliError::usage(format!("--data-cap: `{text}` is not a rate like 85M"));
        let cap = args.data_cap.as_ref().map(|text| parse_bits(text).ok_or_else(|| wrong(text))).transpose()?;
        // What is asked for wins over what the box would have.
        let cap = cap.or(persona.bandwidth().map(|kilobits| f64::from(kilobits) * 1000.0));
        let (common, data) = (&args.common, args.data.then_some(DataPlane { cap }));
        return super::listen_many::run(common, persona, connections, limits, addresses, (threads, data), duration);
    }
    let clock = RealClock::start();
    let mut link = args.common.bind(addresses(&all), ports.ike, ports.natt, clock)?;
    let native = args.common.bind_esp(&mut link, data_spec.encapsulation)?;
    let stop = Stop::watch(link.waker())?;
    let (dir, recorder) = args.common.record(&link, clock)?;
    let seeds = args.common.seeds()?;
    let plan_seed = seeds.plan.text().to_owned();
    let faults = args.faults.plan(&plan_seed)?;
    let bound = crate::engine::Ports { ike: link.port(SocketRole::Ike), natt: link.port(SocketRole::NatT) };
    let specs: Vec<Arc<ConnectionSpec>> =
        all.iter().map(|loaded| Arc::new(ConnectionSpec { local_ports: bound, ..loaded.spec.clone() })).collect();
    let config =
        EndpointConfig { connections: specs, limits, export_keys: args.common.keys, ..EndpointConfig::default() };
    let closing = EndpointConfig { respond: false, ..config.clone() };
    let endpoint = Endpoint::new(Arc::new(config), seeds, clock.epoch());
    let paint = term::stdout_paint();
    let log = LogWriter::new(persona, Arc::new(all[0].spec.clone()));
    let ports = (bound, all[0].spec.remote_ports);
    let mut data = Data::new(&data_spec, ports, all[0].peer.vendor, native, args.common.verbose > 0);
    data.set_cap(persona.bandwidth());
    data.open_tun(&data_spec, &link)?;
    let link = args.common.bad_path(link, &all[0].path, &plan_seed)?;
    let mut driver = Driver::new(endpoint, link, recorder);
    let fired = faults.map(|plan| bend(plan, &plan_seed, &mut driver.endpoint, &mut data));
    let mut view = View::new(all, log, data, paint, !args.common.json, args.common.verbose);
    let sockets: Vec<String> =
        driver.link.inner().sockets().filter(|s| s.role != SocketRole::Esp).map(|s| s.local.to_string()).collect();
    view.say(&format!("plan seed {plan_seed}   {}\n", dir.path().display()));
    view.say(&format!("listening on {}; Ctrl-C ends it\n", sockets.join(", ")));
    if persona.vendor.is_some() {
        view.say(&format!("plays {}: a model of {}, not evidence about it\n", persona.name, persona.summary));
    }

    let mut ending: Option<Instant> = None;
    loop {
        let until = ending.or(duration.map(|d| Instant::ZERO + d));
        driver.turn(until, &mut view).map_err(CliError::environment)?;
        view.data.pump(driver.link.now())?;
        view.settle(&driver);
        let now = driver.link.now();
        match ending {
            None if stop.asked() || until.is_some_and(|at| at <= now) => {
                // A peer that comes back at once would be left with an IKE SA that nobody holds.
                driver.endpoint.set_config(Arc::new(closing.clone()));
                driver.endpoint.delete_all(now);
                ending = Some(now + GOODBYE);
                // What has no keys yet is gone at once, without a datagram to wait for.
                driver.turn(Some(now), &mut view).map_err(CliError::environment)?;
                view.settle(&driver);
            }
            _ => {}
        }
        if ending.is_some_and(|at| at <= now || driver.endpoint.sa_count() == 0) {
            break;
        }
    }
    view.settle(&driver);
    let counters = driver.endpoint.counters();
    view.say(&format!("\n{}{}", session::counters(counters), view.data.summary()));

    fired.iter().flat_map(|log| log.lines()).for_each(|line| view.say(&line));

    let mut result = rundir::head("listen", &plan_seed, clock.epoch(), args.common.keys);
    result["faults"] = fired.as_ref().map_or_else(|| json!([]), Fired::json);
    result["exit_code"] = (Exit::Met as u8).into();
    result["path"] = common::path_json(&driver.link);
    result["seconds"] = driver.link.now().as_secs_f64().into();
    result["listening_on"] = sockets.into();
    result["data"] = view.data.json();
    result["findings"] = view.findings.iter().map(finding_json).collect();
    result["counters"] = json!({
        "ike_sas_up": counters.ike_up,
        "child_sas_up": counters.child_up,
        "failed": counters.failed,
        "received": counters.received,
        "transmitted": counters.transmitted,
        "retransmits": counters.retransmits,
        "repeats_answered": counters.repeats_answered,
        "cookies_sent": counters.cookies_sent,
        "ignored": counters.ignored.iter().sum::<u64>(),
        "datagrams_recorded": driver.recorder.datagrams(),
    });
    dir.write_result(&result)?;
    Ok(Exit::Met)
}

fn name(loaded: &Loaded) -> String {
    loaded.source.as_ref().map_or_else(|| loaded.spec.name.clone(), |p| p.display().to_string())
}

fn check(loaded: &Loaded) -> Result<(), CliError> {
    if loaded.local_id_pending {
        let file = name(loaded);
        return Err(CliError::usage(format!(
            "{file}: local.id is missing, and without local.address nothing stands for it"
        )));
    }
    Ok(())
}

/// The one `data` section that says something, or the defaults.
fn data_of(all: &[Loaded]) -> Result<DataSpec, CliError> {
    let mut with = all.iter().filter(|l| l.data != DataSpec::default());
    let Some(first) = with.next() else { return Ok(DataSpec::default()) };
    match with.find(|other| other.data != first.data) {
        None => Ok(first.data.clone()),
        Some(other) => {
            let message = format!("{} and {} have different sections `data`", name(first), name(other));
            Err(CliError::usage(format!("{message}; one `listen` has one data plane")))
        }
    }
}

/// The one `limits` section, or the defaults.
fn limits(all: &[Loaded]) -> Result<Limits, CliError> {
    let with: Vec<&Loaded> = all.iter().filter(|l| l.limits.is_some()).collect();
    match with[..] {
        [] => Ok(Limits::default()),
        [one] => Ok(one.limits.clone().unwrap_or_default()),
        [a, b, ..] => Err(CliError::usage(format!("{} and {} both have a section `limits`", name(a), name(b)))),
    }
}

/// The one persona that all files name: one log can be one box's only.
fn persona(all: &[Loaded]) -> Result<&'static Persona, CliError> {
    if let Some(other) = all.iter().find(|l| l.persona != all[0].persona) {
        let message = format!("{} plays {}, {} plays {}", name(&all[0]), all[0].persona, name(other), other.persona);
        return Err(CliError::usage(format!("{message}; one `listen` plays one box")));
    }
    Ok(Persona::named(&all[0].persona).expect("the file names a persona that there is"))
}

/// What to listen on: the files' addresses, or all of the IP versions that the peers have.
fn addresses(all: &[Loaded]) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = Vec::new();
    for loaded in all {
        let any = match loaded.spec.remote_addr {
            Some(IpAddr::V6(_)) => Ipv6Addr::UNSPECIFIED.into(),
            _ => Ipv4Addr::UNSPECIFIED.into(),
        };
        let address = loaded.spec.local_addr.unwrap_or(any);
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    // A wildcard socket covers the addresses of its family, and cannot stand beside them.
    for any in [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)] {
        if addresses.contains(&any) {
            addresses.retain(|a| *a == any || a.is_ipv4() != any.is_ipv4());
        }
    }
    addresses
}

/// What is remembered of one IKE SA while it lives.
struct Peer {
    number: u64,
    path: Option<Path>,
    name: String,
    facts: Facts,
    ladder: Ladder,
    /// Gone; forgotten after the turn, in which more may be said about it.
    closed: bool,
}

struct View {
    all: Vec<Loaded>,
    data: Data,
    /// The lines that the box which we play would log.
    log: LogWriter,
    paint: Paint,
    shown: bool,
    verbose: u8,
    count: u64,
    peers: BTreeMap<SaId, Peer>,
    failures: Vec<(Peer, Failed)>,
    findings: Vec<Finding>,
    /// Kinds of failures that were explained in full.
    told: BTreeSet<String>,
}

impl View {
    fn new(all: Vec<Loaded>, log: LogWriter, data: Data, paint: Paint, shown: bool, verbose: u8) -> Self {
        View {
            all,
            log,
            data,
            paint,
            shown,
            verbose,
            count: 0,
            peers: BTreeMap::new(),
            failures: Vec::new(),
            findings: Vec::new(),
            told: BTreeSet::new(),
        }
    }

    fn say(&self, text: &str) {
        if self.shown {
            term::print(text);
        }
    }

    fn line(&self, now: Instant, tone: Tone, text: &str) {
        self.say(&format!("{}\n", self.paint.tone(tone, &format!("{:>6.3}  {text}", now.as_secs_f64()))));
    }

    fn peer(&mut self, sa: SaId) -> &mut Peer {
        let (count, paint, shown, verbose) = (&mut self.count, self.paint, self.shown, self.verbose);
        self.peers.entry(sa).or_insert_with(|| {
            *count += 1;
            let ladder = Ladder::new(paint, shown && verbose > 0, verbose > 1, format!("#{count} "));
            Peer { number: *count, path: None, name: String::new(), facts: Facts::default(), ladder, closed: false }
        })
    }

    /// After a turn: prints what waited for it.
    fn settle(&mut self, driver: &Driver<Netem<UdpLink>>) {
        for line in self.data.capped().into_iter().flat_map(|outbound| self.log.capped(outbound)) {
            self.line(driver.link.now(), Tone::Faint, &format!("  log  {}  [{}]", line.text, line.basis));
        }
        for (tone, line) in self.data.lines() {
            self.say(&format!("{}\n", self.paint.tone(tone, &line)));
        }
        self.peers.retain(|_, peer| {
            peer.ladder.flush();
            !peer.closed
        });
        for (mut peer, failed) in std::mem::take(&mut self.failures) {
            peer.ladder.flush();
            let loaded = self.all.iter().find(|l| l.spec.name == peer.name).unwrap_or(&self.all[0]);
            let finding = explain(&failed, &peer.facts, &loaded.spec, loaded.peer.vendor, &driver.recorder);
            let from = peer.path.map_or_else(|| "?".to_owned(), |p| p.remote.to_string());
            let now = driver.link.now();
            self.line(now, Tone::Bad, &format!("x #{} {from}  {}", peer.number, finding.headline));
            // In full once: a peer that tries again, and others like it, have one line.
            let codes: Vec<&str> = finding.likely.iter().map(|c| c.code).collect();
            let new = self.told.len() < KEPT_FINDINGS && self.told.insert(format!("{} {codes:?}", finding.class));
            if new || self.verbose > 0 {
                self.say(&diagnosis::render(&finding, self.paint));
            }
            if self.findings.len() < KEPT_FINDINGS {
                self.findings.push(finding);
            }
        }
    }
}

impl Observer for View {
    fn lost(&mut self, lost: &Lost<'_>) {
        // The peer that was last heard of there; a first message that never came is nobody's yet.
        let remote = lost.path.remote;
        let there = |peer: &&mut Peer| peer.path.is_some_and(|path| path.remote == remote);
        if let Some(peer) = self.peers.values_mut().rev().find(there) {
            return peer.ladder.lost(lost);
        }
        if let Some((from, header)) = lost_message(lost) {
            let row = Row::lost(lost.at, from, &header, how_lost(lost.why));
            self.line(lost.at, Tone::Warn, &format!("? {remote}  {}  {} ({})", row.title, row.content, row.remark));
        }
    }

    fn esp(&mut self, now: Instant, path: Path, packet: &mut Vec<u8>) {
        self.data.esp(now, path, packet);
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        self.data.poll_transmit(now)
    }

    fn poll_note(&mut self) -> Option<(u32, EspNote)> {
        self.data.poll_note()
    }

    fn reclaim(&mut self, buffer: Vec<u8>) {
        self.data.reclaim(buffer);
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        self.data.poll_timeout()
    }

    fn event(&mut self, now: Instant, tunnel: TunnelId, sa: SaId, event: Event) {
        self.data.event(now, tunnel, sa, &event);
        for line in self.log.event(sa, &event) {
            self.line(now, Tone::Faint, &format!("  log  {}  [{}]", line.text, line.basis));
        }
        if sa == SaId::NONE {
            // Of no IKE SA: a person who asks for more sees what was not believed, and where it came from.
            if let (Event::Ignored(ignored), true) = (&event, self.verbose > 0) {
                let row = Row::ignored(now, ignored);
                let text = format!("? {}  {}  {}", ignored.path.remote, row.title, row.content);
                self.line(now, Tone::Warn, &text);
            }
            return;
        }
        match &event {
            // The keys of a rekeyed IKE SA come before the news that there is one.
            Event::IkeKeys(_) if !self.peers.contains_key(&sa) => return,
            Event::IkeRekeyed(rekeyed) => self.succeed(rekeyed.old, sa),
            _ => {}
        }
        if let Some((tone, line)) = session::life(&event) {
            let number = self.peer(sa).number;
            self.peer(sa).ladder.flush();
            let (mark, rest) = line.split_at(1);
            self.line(now, tone, &format!("{mark} #{number}{rest}"));
        }
        let peer = self.peer(sa);
        peer.facts.note(now, &event);
        peer.ladder.event(now, &event);
        if let Event::Message(trace) = &event {
            peer.path = Some(trace.path);
        }
        let number = peer.number;
        match event {
            Event::PeerCertificate(judged) => {
                peer.ladder.flush();
                let proof = live::certificate_proof(&judged);
                self.line(now, Tone::Plain, &format!("  #{number} {}", proof.by));
                for note in &proof.notes {
                    self.line(now, Tone::Warn, &format!("  #{number} accepted {note}"));
                }
            }
            Event::IkeUp(up) => {
                peer.name.clone_from(&up.connection);
                peer.ladder.flush();
                let text = format!(
                    "+ #{number} {}  {}  IKE SA {}  {}  {}",
                    up.path.remote, up.peer_id, up.connection, up.suite, up.spis.0
                );
                self.line(now, Tone::Good, &text);
            }
            Event::Eap(done) => {
                peer.ladder.flush();
                self.line(now, Tone::Good, &format!("+ #{number} EAP {}", session::eap(&done, false)));
            }
            Event::Config(config) => {
                self.line(now, Tone::Good, &format!("+ #{number} inner {}", session::inner_config(&config)));
            }
            Event::ChildInbound(child) => {
                peer.ladder.flush();
                let text = format!(
                    "+ #{number} Child SA {}  {}  in {:08x} out {:08x}  {} === {}",
                    child.name,
                    child.suite,
                    child.spi_in,
                    child.spi_out,
                    session::selectors(&child.local_ts),
                    session::selectors(&child.remote_ts)
                );
                self.line(now, Tone::Good, &text);
            }
            Event::ChildFailed(failed) => self.fail(sa, *failed),
            Event::Failed(failed) if failed.scope == FailScope::IkeSa => self.fail(sa, *failed),
            Event::Deleted { by } => {
                let from = peer.path.map_or_else(|| "?".to_owned(), |p| p.remote.to_string());
                let tone = if by == Side::Us { Tone::Plain } else { Tone::Strong };
                self.line(now, tone, &format!("- #{number} {from}  IKE SA deleted {}", session::by(by)));
            }
            Event::Closed => peer.closed = true,
            _ => {}
        }
    }
}

impl View {
    /// A rekeyed IKE SA is the same peer under another handle.
    fn succeed(&mut self, old: SaId, new: SaId) {
        let (paint, shown, verbose) = (self.paint, self.shown, self.verbose);
        let Some(before) = self.peers.get(&old) else { return };
        let number = before.number;
        let peer = Peer {
            number,
            path: before.path,
            name: before.name.clone(),
            facts: before.facts.clone(),
            ladder: Ladder::new(paint, shown && verbose > 0, verbose > 1, format!("#{number} ")),
            closed: false,
        };
        self.peers.insert(new, peer);
    }

    /// Keeps a failure with what is known at this moment; its packets are recorded only after the event.
    fn fail(&mut self, sa: SaId, failed: Failed) {
        let (paint, peer) = (self.paint, self.peer(sa));
        let copy = Peer {
            number: peer.number,
            path: peer.path,
            name: peer.name.clone(),
            facts: peer.facts.clone(),
            ladder: Ladder::new(paint, false, false, String::new()),
            closed: true,
        };
        self.failures.push((copy, failed));
    }
}
