//! `ikelab connect`: one tunnel as initiator, shown as it happens, held until Ctrl-C.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::common::{self, Common};
use super::data::{CarryArgs, Data, TrafficArgs};
use super::exit::{CliError, Exit};
use super::faults::{FaultArgs, Fired, bend};
use super::live::{self, Ladder, explain, finding_json};
use super::preflight::PreflightArgs;
use super::quick::Quick;
use super::rundir::{self, RunDir};
use super::signals::Stop;
use super::term;
use crate::config::{Loaded, duration_words};
use crate::diagnose::{Facts, Finding};
use crate::drive::{Driver, Lost, Observer};
use crate::engine::{
    ChildSa, Command, DpdAction, Endpoint, EndpointConfig, EspNote, Event, FailScope, Failed, IkeUp, SaId, Side,
    TunnelId,
};
use crate::link::netem::Netem;
use crate::link::udp::{UdpLink, source_address_for};
use crate::link::{Link, LinkNote};
use crate::net::{Path, SocketRole, Transmit};
use crate::report::paint::{Paint, Tone};
use crate::report::{diagnosis, session};
use crate::time::{Instant, RealClock};
use crate::vendor::persona::Persona;

/// How long the peer may take to answer DELETE before we leave all the same.
const GOODBYE: Duration = Duration::from_secs(5);

/// Arguments.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The peer's address or name, instead of the file's
    #[arg(value_name = "PEER", required_unless_present = "config")]
    peer: Option<String>,
    /// The connection file
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Delete the tunnel as soon as it is up
    #[arg(long, conflicts_with = "hold")]
    once: bool,
    /// Delete the tunnel after this long, like 30s
    #[arg(long, visible_alias = "for", value_name = "DURATION")]
    hold: Option<String>,
    /// Move to another address of this host some time after the tunnel came up, by MOBIKE (RFC 4555); may stand several times
    #[arg(long, value_name = "ADDR@DURATION", conflicts_with = "preflight")]
    move_to: Vec<String>,
    #[command(flatten)]
    preflight: PreflightArgs,
    #[command(flatten)]
    traffic: TrafficArgs,
    #[command(flatten)]
    carry: CarryArgs,
    #[command(flatten)]
    faults: FaultArgs,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    quick: Quick,
}

/// Connects, shows, holds, deletes.
pub fn run(args: Args) -> Result<Exit, CliError> {
    let hold = match &args.hold {
        Some(text) => Some(crate::config::duration(text).map_err(|e| CliError::usage(format!("--hold: {e}")))?),
        None => args.once.then_some(Duration::ZERO),
    };
    let moves = args.move_to.iter().map(|text| Move::parse(text)).collect::<Result<Vec<_>, _>>()?;
    let mut loaded = prepare(&args)?;
    if !moves.is_empty() {
        loaded.spec.mobike.get_or_insert_default();
    }
    args.traffic.apply(&mut loaded.data, args.once)?;
    args.carry.apply(&mut loaded.data)?;
    if args.preflight.preflight {
        return super::preflight::run(&args.preflight, &args.common, loaded);
    }
    let spec = &loaded.spec;
    let local = spec.local_addr.expect("prepare fills it in");

    let clock = RealClock::start();
    let mut link = args.common.bind(addresses(local, &moves)?, spec.local_ports.ike, spec.local_ports.natt, clock)?;
    let native = args.common.bind_esp(&mut link, loaded.data.encapsulation)?;
    let stop = Stop::watch(link.waker())?;
    let (dir, recorder) = args.common.record(&link, clock)?;
    let seeds = args.common.seeds()?;
    let plan_seed = seeds.plan.text().to_owned();
    let faults = args.faults.plan(&plan_seed)?;

    let mut spec = loaded.spec.clone();
    spec.local_ports = crate::engine::Ports { ike: link.port(SocketRole::Ike), natt: link.port(SocketRole::NatT) };
    let spec = Arc::new(spec);
    let config = EndpointConfig { export_keys: args.common.keys, respond: false, ..EndpointConfig::default() };
    let endpoint = Endpoint::new(Arc::new(config), seeds, clock.epoch());
    let paint = term::stdout_paint();
    let shown = !args.common.json;
    let ports = (spec.local_ports, spec.remote_ports);
    let mut data = Data::new(&loaded.data, ports, loaded.peer.vendor, native, args.common.verbose > 0);
    data.open_tun(&loaded.data, &link)?;
    let link = args.common.bad_path(link, &loaded.path, &plan_seed)?;
    let mut driver = Driver::new(endpoint, link, recorder);
    let fired = faults.map(|plan| bend(plan, &plan_seed, &mut driver.endpoint, &mut data));
    data.begin(clock.now(), TunnelId(1), &loaded.data, &args.traffic, args.once);
    let mut view = View::new(loaded, data, paint, shown, args.common.verbose > 0);
    view.facts.epoch = Some(clock.epoch());
    view.say(&format!("plan seed {plan_seed}   {}\n\n", dir.path().display()));
    driver.endpoint.connect(clock.now(), Arc::clone(&spec), TunnelId(1), local);

    view.moves = moves;
    let ending = live(&mut driver, &mut view, &stop, hold)?;
    let exit = view.exit(ending);
    view.goodbye(ending, exit);
    fired.iter().flat_map(|log| log.lines()).for_each(|line| view.say(&line));
    let mut head = rundir::head("connect", &plan_seed, clock.epoch(), args.common.keys);
    head["faults"] = fired.as_ref().map_or_else(|| json!([]), Fired::json);
    write_result(&dir, head, &view, &driver, exit, ending, args.common.i_own_this_target)?;
    Ok(exit)
}

/// A move that was ordered.
#[derive(Clone, Copy, Debug)]
struct Move {
    to: IpAddr,
    /// After the tunnel came up.
    after: Duration,
}

impl Move {
    fn parse(text: &str) -> Result<Move, CliError> {
        let wrong = |why: String| CliError::usage(format!("--move-to {text}: {why}; like 192.0.2.7@10s"));
        let (to, after) = text.split_once('@').ok_or_else(|| wrong("when?".to_owned()))?;
        Ok(Move {
            to: to.parse().map_err(|_| wrong(format!("{to:?} is no address")))?,
            after: crate::config::duration(after).map_err(|e| wrong(e.to_string()))?,
        })
    }
}

/// Every address that we are to have.
fn addresses(local: IpAddr, moves: &[Move]) -> Result<Vec<IpAddr>, CliError> {
    let mut out = vec![local];
    for Move { to, .. } in moves {
        if to.is_ipv4() != local.is_ipv4() {
            return Err(CliError::usage(format!("--move-to {to}: {local} and it are not of one IP version")));
        }
        if !out.contains(to) {
            out.push(*to);
        }
    }
    Ok(out)
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
    common::warn(&loaded);
    Persona::dress(&mut loaded);
    common::resolve(&mut loaded)?;
    let Some(remote) = loaded.spec.remote_addr else {
        return Err(CliError::usage("connect to whom? Give PEER, or remote.address in the file"));
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
    super::crl::fetch(&mut loaded);
    Ok(loaded)
}

/// How long an IKE SA that the peer has ended still answers the peer's repeats.
const REPEATS: Duration = Duration::from_secs(2);

/// Why the run ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ending {
    /// By itself: the IKE SA is gone.
    Gone,
    /// As was ordered: `--once`, `--hold`.
    Ordered,
    /// By a signal.
    Asked,
}

/// Turns until the IKE SA is gone, or until we have said goodbye.
fn live(
    driver: &mut Driver<Netem<UdpLink>>,
    view: &mut View,
    stop: &Stop,
    hold: Option<Duration>,
) -> Result<Ending, CliError> {
    let mut ending: Option<(Ending, Instant)> = None;
    loop {
        let hold_until = view.complete_at().zip(hold).map(|(at, hold)| at + hold);
        // `--once` waits for what is to be sent through the tunnel, if there is anything to send it on.
        let busy = hold == Some(Duration::ZERO) && !view.data.is_done() && !view.children.is_empty();
        let hold_until = hold_until.filter(|_| !busy);
        let until = ending.map(|(_, at)| at).or(hold_until);
        let until = until.into_iter().chain(view.next_move()).min();
        driver.turn(until, view).map_err(CliError::environment)?;
        view.data.pump(driver.link.now())?;
        view.settle(driver);
        let now = driver.link.now();
        view.make_moves(now, driver);
        if view.data.wants_tunnel() && view.on_hold && ending.is_none() {
            driver.endpoint.wanted(now, TunnelId(1));
        }
        if view.closed {
            return Ok(ending.map_or(Ending::Gone, |(why, _)| why));
        }
        match ending {
            Some((why, at)) if at <= now => return Ok(why),
            Some(_) => {}
            None => {
                let why = match () {
                    () if stop.asked() => Ending::Asked,
                    () if hold_until.is_some_and(|at| at <= now) => Ending::Ordered,
                    // A failed IKE SA may still have something to say to the peer (RFC 7296 2.21.2).
                    () if view.lost => Ending::Gone,
                    () => continue,
                };
                // The peer may not have had our last answer: stay a little to repeat it.
                let patience = if why == Ending::Gone { REPEATS } else { GOODBYE };
                ending = Some((why, now + patience));
                view.data.stop();
                if why != Ending::Gone {
                    driver.endpoint.delete_all(now);
                    // What has no keys yet is gone at once, without a datagram to wait for.
                    driver.turn(Some(now), view).map_err(CliError::environment)?;
                    view.settle(driver);
                    if view.closed {
                        return Ok(why);
                    }
                }
            }
        }
    }
}

/// What a person sees, and what is remembered for the result.
struct View {
    loaded: Loaded,
    data: Data,
    paint: Paint,
    shown: bool,
    ladder: Ladder,
    facts: Facts,
    /// How the peer proved its identity.
    proof: session::Proof,
    up: Option<(Instant, IkeUp)>,
    /// The IKE SA that the tunnel has now: its end is the tunnel's.
    current: Option<SaId>,
    /// The peer is dead, and the tunnel waits for traffic.
    on_hold: bool,
    /// When the first Child SA came up or failed.
    child_settled: Option<Instant>,
    children: Vec<ChildSa>,
    /// Our inbound SPIs of those that are gone.
    ended: Vec<u32>,
    /// Lines that wait until the IKE SA is up.
    access: Vec<String>,
    /// Failures that wait for their packets to be recorded.
    failures: Vec<Failed>,
    findings: Vec<Finding>,
    deleted: Option<Side>,
    lost: bool,
    closed: bool,
    not_sent: bool,
    /// What is still ahead.
    moves: Vec<Move>,
}

impl View {
    fn new(loaded: Loaded, data: Data, paint: Paint, shown: bool, verbose: bool) -> Self {
        View {
            proof: live::proof_by(&loaded.spec),
            loaded,
            data,
            paint,
            shown,
            ladder: Ladder::new(paint, shown, verbose, String::new()),
            facts: Facts::default(),
            up: None,
            current: None,
            on_hold: false,
            child_settled: None,
            children: Vec::new(),
            ended: Vec::new(),
            access: Vec::new(),
            failures: Vec::new(),
            findings: Vec::new(),
            deleted: None,
            lost: false,
            closed: false,
            not_sent: false,
            moves: Vec::new(),
        }
    }

    fn say(&self, text: &str) {
        if self.shown {
            term::print(text);
        }
    }

    /// When there was nothing more to wait for: the IKE SA and its first Child SA are settled.
    fn complete_at(&self) -> Option<Instant> {
        self.up.as_ref().map(|(at, _)| *at).zip(self.child_settled).map(|(a, b)| a.max(b))
    }

    /// When we move next.
    fn next_move(&self) -> Option<Instant> {
        let up = self.complete_at()?;
        self.moves.iter().map(|one| up + one.after).min()
    }

    fn make_moves(&mut self, now: Instant, driver: &mut Driver<Netem<UdpLink>>) {
        let (Some(up), Some(sa)) = (self.complete_at(), self.current) else { return };
        let due: Vec<Move> = self.moves.extract_if(.., |one| up + one.after <= now).collect();
        for Move { to, .. } in due {
            let port = self.up.as_ref().map_or(0, |(_, up)| up.path.local.port());
            if let Err(why) = driver.endpoint.command(now, sa, Command::Move(SocketAddr::new(to, port))) {
                self.ladder.flush();
                let line = format!("!  not moved to {to}: {why}");
                self.say(&format!("{}\n", self.paint.tone(Tone::Warn, &format!("{:>6.3}  {line}", now.as_secs_f64()))));
            }
        }
    }

    /// After a turn: prints what waited for it.
    fn settle(&mut self, driver: &Driver<Netem<UdpLink>>) {
        self.ladder.flush();
        for (tone, line) in self.data.lines() {
            self.say(&format!("{}\n", self.paint.tone(tone, &line)));
        }
        for failed in std::mem::take(&mut self.failures) {
            let spec = &self.loaded.spec;
            let finding = explain(&failed, &self.facts, spec, self.loaded.peer.vendor, &driver.recorder);
            self.say(&format!("\n{}", diagnosis::render(&finding, self.paint)));
            self.findings.push(finding);
        }
    }

    fn exit(&self, ending: Ending) -> Exit {
        match ending {
            _ if self.not_sent && self.facts.received == 0 => Exit::Environment,
            Ending::Asked if self.up.is_none() && self.findings.is_empty() => Exit::Inconclusive,
            Ending::Asked | Ending::Ordered if self.data.nothing_came_back() => Exit::NotMet,
            Ending::Asked | Ending::Ordered if self.findings.is_empty() => Exit::Met,
            _ => Exit::NotMet,
        }
    }

    fn goodbye(&mut self, ending: Ending, exit: Exit) {
        self.ladder.flush();
        self.say(&self.data.summary());
        let line = match (ending, self.deleted, exit) {
            (_, Some(Side::Peer), _) => "- deleted by the peer".to_owned(),
            (_, Some(Side::Us), _) => "- deleted; the peer confirmed it".to_owned(),
            (Ending::Gone, None, _) => return,
            (_, None, Exit::Inconclusive) => "- stopped before the tunnel was up".to_owned(),
            (_, None, _) if self.up.is_none() => return,
            (_, None, _) => format!("- the peer did not answer DELETE within {}", duration_words(GOODBYE)),
        };
        self.say(&format!("{}\n", self.paint.tone(Tone::Strong, &line)));
    }

    fn on_up(&mut self, now: Instant, up: IkeUp) {
        self.ladder.flush();
        self.say(&session::connected(&up, &self.proof, self.facts.nat, self.paint));
        std::mem::take(&mut self.access).iter().for_each(|line| self.say(line));
        let live = self.children.iter().filter(|c| !self.ended.contains(&c.spi_in));
        live.for_each(|c| self.say(&session::child_up(c, self.paint)));
        if let Some(dpd) = &self.loaded.spec.dpd {
            let text = session::liveness(dpd, &self.loaded.spec.retransmit);
            self.say(&session::labelled("Liveness", &text, self.paint));
        }
        self.up = Some((now, up));
    }
}

impl Observer for View {
    fn lost(&mut self, lost: &Lost<'_>) {
        self.ladder.lost(lost);
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
        self.facts.note(now, &event);
        self.ladder.event(now, &event);
        if let Some((tone, line)) = session::life(&event) {
            self.ladder.flush();
            self.say(&format!("{}\n", self.paint.tone(tone, &format!("{:>6.3}  {line}", now.as_secs_f64()))));
        }
        match event {
            Event::IkeUp(up) => {
                self.current = Some(sa);
                self.on_up(now, *up);
            }
            Event::IkeRekeyed(rekeyed) => {
                self.current = Some(sa);
                if let Some((_, up)) = &mut self.up {
                    (up.spis, up.suite, up.initiator) = (rekeyed.spis, rekeyed.suite, rekeyed.initiator);
                }
            }
            Event::Moved { path, .. } => {
                if let Some((_, up)) = &mut self.up {
                    up.path = path;
                }
            }
            Event::Reauthenticating { break_first: true, .. } => self.current = Some(sa),
            Event::PeerDead { action, .. } => self.on_hold = action == DpdAction::Hold,
            Event::Restarting => (self.current, self.on_hold) = (Some(sa), false),
            Event::PeerCertificate(judged) => self.proof = live::certificate_proof(&judged),
            Event::Eap(done) => self.access.push(session::labelled("EAP", &session::eap(&done, true), self.paint)),
            Event::Config(config) => {
                self.ladder.flush();
                self.say(&session::labelled("Inner", &session::inner_config(&config), self.paint));
            }
            Event::ChildInbound(child) => {
                self.child_settled.get_or_insert(now);
                if self.up.is_some() {
                    self.ladder.flush();
                    self.say(&session::child_up(&child, self.paint));
                }
                self.children.push(*child);
            }
            Event::ChildDown { spi_in, .. } => self.ended.push(spi_in),
            Event::ChildFailed(failed) => {
                self.child_settled.get_or_insert(now);
                self.failures.push(*failed);
            }
            // Our own goodbye that nobody answered is no failure of the tunnel.
            Event::Failed(failed) if failed.scope == FailScope::IkeSa => {
                self.lost |= !self.on_hold && self.current.is_none_or(|current| current == sa);
                self.failures.push(*failed);
            }
            Event::Deleted { by } => {
                self.deleted = Some(by);
                self.lost |= by == Side::Peer;
            }
            // One that another has replaced, or that was to replace it and came to nothing, is not the tunnel.
            Event::Closed => self.closed |= !self.on_hold && self.current.is_none_or(|current| current == sa),
            _ => {}
        }
    }

    fn note(&mut self, _: Instant, note: LinkNote) {
        self.not_sent |= matches!(note, LinkNote::NotSent { .. });
        let text = note.to_string();
        if !self.facts.notes.contains(&text) {
            self.ladder.flush();
            self.say(&format!("{}\n", self.paint.tone(Tone::Warn, &format!("         !  {text}"))));
        }
        self.facts.note_link(&text, crate::drive::news_kind(&note));
    }
}

fn write_result(
    dir: &RunDir,
    head: Value,
    view: &View,
    driver: &Driver<Netem<UdpLink>>,
    exit: Exit,
    ending: Ending,
    owned: bool,
) -> Result<(), CliError> {
    let spec = &view.loaded.spec;
    let mut result = head;
    result["security"]["target_said_to_be_owned"] = owned.into();
    result["connection"] = json!({
        "name": spec.name,
        "file": view.loaded.source.as_ref().map(|p| p.display().to_string()),
        "local": spec.local_addr.map(|a| a.to_string()),
        "remote": spec.remote_addr.map(|a| a.to_string()),
        "vendor": view.loaded.peer.vendor.map(|v| v.name()),
    });
    result["exit_code"] = (exit as u8).into();
    result["ended"] = match ending {
        Ending::Gone => "by_itself",
        Ending::Ordered => "as_ordered",
        Ending::Asked => "by_signal",
    }
    .into();
    result["path"] = common::path_json(&driver.link);
    result["seconds"] = driver.link.now().as_secs_f64().into();
    result["ike_sa"] = match &view.up {
        Some((at, up)) => json!({
            "up_after_seconds": at.as_secs_f64(),
            "spi_i": up.spis.0.to_string(),
            "spi_r": up.spis.1.to_string(),
            "suite": up.suite.to_string(),
            "peer_id": up.peer_id.to_string(),
            "path": up.path.to_string(),
            "deleted_by": view.deleted.map(|s| if s == Side::Us { "us" } else { "peer" }),
        }),
        None => Value::Null,
    };
    result["data"] = view.data.json();
    result["child_sas"] = view.children.iter().map(child_json).collect();
    result["findings"] = view.findings.iter().map(finding_json).collect();
    let counters = driver.endpoint.counters();
    result["counters"] = json!({
        "received": counters.received,
        "transmitted": counters.transmitted,
        "retransmits": counters.retransmits,
        "ignored": counters.ignored.iter().sum::<u64>(),
        "datagrams_recorded": driver.recorder.datagrams(),
    });
    dir.write_result(&result)
}

fn child_json(child: &ChildSa) -> Value {
    let texts = |list: &[crate::wire::TrafficSelector]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    json!({
        "name": child.name,
        "spi_in": format!("{:08x}", child.spi_in),
        "spi_out": format!("{:08x}", child.spi_out),
        "suite": child.suite.to_string(),
        "local_ts": texts(&child.local_ts),
        "remote_ts": texts(&child.remote_ts),
        "narrowed": child.narrowed,
        "encapsulated": child.encapsulated,
    })
}
