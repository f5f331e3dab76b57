//! `ikelab run`: failure scenarios against a peer, or against the embedded one.

use std::fs;
use std::io::{IsTerminal, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::{Args, ValueEnum};
use rand::TryRng;
use rand::rngs::SysRng;

use super::common::{self, Common};
use super::exit::CliError;
use super::rundir::RunDir;
use super::signals::Stop;
use super::term;
use crate::config::{self, Loaded};
use crate::engine::{Limits, RetransmitSpec};
use crate::esp;
use crate::link::Link;
use crate::link::guard;
use crate::link::hurried::Hurried;
use crate::link::middlebox::Middleboxes;
use crate::link::udp::source_address_for;
use crate::report::run_text::{self, RunText};
use crate::report::{html, run_junit};
use crate::scenario::change::Setup;
use crate::scenario::control::Controller;
use crate::scenario::embedded::{self, EmbeddedPeer, LoopbackPair};
use crate::scenario::estimate;
use crate::scenario::file::{Need, Role};
use crate::scenario::halt::{GOODBYE, Halt};
use crate::scenario::lanes::{self, Lane};
use crate::scenario::load::{self, LoadedScenario};
use crate::scenario::peer::PeerDriver;
use crate::scenario::person::Person;
use crate::scenario::persona::Doubles;
use crate::scenario::pki::Authority;
use crate::scenario::result::{CaseResult, PeerInfo, RESULT_VERSION, RunResult, Security, Summary};
use crate::scenario::runner::{Bench, BenchSpec};
use crate::scenario::stand_in::{certified, counterpart};
use crate::scenario::station::Carry;
use crate::scenario::suite::{self, Plan, Planned, Progress};
use crate::seed::{KeySeed, Seeds};
use crate::time::RealClock;
use crate::vendor::persona::{Basis, Dress, Persona};

/// The baseline of the embedded peer, when no connection file is given.
const EMBEDDED_BASELINE: &str = include_str!("embedded_baseline.yaml");

/// The page in the run directory.
pub const REPORT: &str = "report.html";

/// Exit code for a usage or file error.
const USAGE: u8 = 2;
/// Exit code for an environment that does not let us run.
const ENVIRONMENT: u8 = 3;

/// What scenarios expect is timed for the path as it is; what is wrong with a path has scenarios of its own.
const NO_PATH: &str = "run does not bend the path; put `ikelab path` between, or use the path/ scenarios";

/// Arguments of `ikelab run`.
#[derive(Args, Clone, Debug, Default)]
pub struct RunArgs {
    /// Scenarios: an id, its last part, an alias, a phase, or a pattern with `*`; all by default.
    pub selectors: Vec<String>,
    /// The peer: an address, or address:port. Without it both ends are played over loopback.
    #[arg(long, value_name = "ADDR[:PORT]")]
    pub peer: Option<String>,
    /// The working baseline: a connection file.
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// More scenarios: a file, or a folder.
    #[arg(long, value_name = "PATH")]
    pub scenarios: Vec<PathBuf>,
    /// Play only this end.
    #[arg(long, value_enum)]
    pub role: Option<RoleArg>,
    /// Only list the scenarios.
    #[arg(long)]
    pub list: bool,
    /// Without --peer: play everything in a simulated network, in virtual time.
    #[arg(long, conflicts_with = "peer")]
    pub sim: bool,
    /// Without --peer: the other end plays this box (`ikelab run --persona cisco-asa`), in virtual time, and shows what it would
    /// log.
    #[arg(long, value_name = "NAME", conflicts_with = "peer")]
    pub persona: Option<String>,
    /// Stop in order before this much time is over, like 10m; what was not run then is INCONCLUSIVE.
    #[arg(long, value_name = "DURATION")]
    pub max_time: Option<String>,
    /// With --peer: let our clock run so many times as fast. Our lifetimes and waits of minutes pass in seconds then;
    /// the peer's do not.
    #[arg(long, value_name = "TIMES", requires = "peer", value_parser = clap::value_parser!(u32).range(1..=60))]
    pub hurry: Option<u32>,
    /// Write the result as JUnit XML.
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// The end that we play.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum RoleArg {
    /// We initiate.
    Initiator,
    /// The peer initiates.
    Responder,
}

/// Runs the command; the exit code.
pub fn run(args: &RunArgs) -> u8 {
    match try_run(args) {
        Ok(code) => code,
        Err((code, message)) => {
            term::error(&message);
            code
        }
    }
}

type Failure = (u8, String);

fn failure(error: CliError) -> Failure {
    (error.exit as u8, error.message)
}

fn try_run(args: &RunArgs) -> Result<u8, Failure> {
    let usage = |message: String| (USAGE, message);
    let environment = |message: String| (ENVIRONMENT, message);
    let scenarios = scenarios(args).map_err(usage)?;
    if args.list {
        print!("{}", run_text::list(&scenarios));
        return Ok(0);
    }
    if args.common.path.is_some() {
        return Err(usage(format!("--path: {NO_PATH}")));
    }
    let max_time = args.max_time.as_deref().map(max_time).transpose().map_err(usage)?;
    let clock = RealClock::start();
    let seeds = args.common.seeds().map_err(failure)?;
    let plan_seed = seeds.plan.text().to_owned();
    let roles = match args.role {
        None => Role::ALL.to_vec(),
        Some(RoleArg::Initiator) => vec![Role::Initiator],
        Some(RoleArg::Responder) => vec![Role::Responder],
    };
    let again = |id: &str, role: Role| again(args, &plan_seed, id, role);
    let plan = Plan::new(&scenarios, &roles, &again);
    let run = Run { args, clock, seeds, max_time, plan: &plan };
    let (result, out, printer) = match &args.peer {
        Some(peer) => run.real(peer)?,
        None => run.embedded()?,
    };
    printer.print(&printer.text.summary(&result));
    let json = run_junit::json(&result);
    if args.common.json {
        print!("{json}");
    }
    write(&out.join("result.json"), &json).map_err(environment)?;
    write(&out.join(REPORT), &html::page(&result)).map_err(environment)?;
    if let Some(file) = &args.junit {
        write(file, &run_junit::junit(&result)).map_err(environment)?;
    }
    Ok(result.exit_code())
}

/// The baseline of a connection file.
fn baseline(file: &Path) -> Result<Loaded, Failure> {
    let loaded = config::load(file).map_err(|error| (USAGE, error.to_string()))?;
    match loaded.path.is_clean() {
        true => Ok(loaded),
        false => Err((USAGE, format!("{}: path: {NO_PATH}", file.display()))),
    }
}

fn scenarios(args: &RunArgs) -> Result<Vec<LoadedScenario>, String> {
    let mut all = load::embedded().map_err(|error| error.to_string())?;
    for path in &args.scenarios {
        for one in load::from_path(path).map_err(|error| error.to_string())? {
            // A user's own scenario takes the place of an embedded one with its id.
            all.retain(|other| other.scenario.id != one.scenario.id);
            all.push(one);
        }
    }
    // As in the other commands, where the peer has a place without a flag.
    let address =
        args.selectors.iter().any(|text| text.parse::<IpAddr>().is_ok() || text.parse::<SocketAddr>().is_ok());
    let hint = if address { "; an address goes to --peer" } else { "" };
    load::select(all, &args.selectors).map_err(|error| error + hint)
}

/// What a run is made of, whoever the peer is.
struct Run<'a> {
    args: &'a RunArgs,
    clock: RealClock,
    seeds: Seeds,
    max_time: Option<Duration>,
    plan: &'a Plan<'a>,
}

/// The result, the run directory, and what printed it.
type Played = (RunResult, PathBuf, Printer);

/// How many lanes play on real sockets at once: they mostly wait.
const LANES: u8 = 3;

impl Run<'_> {
    /// Makes the run directory and prints the head.
    fn begin(&self, peer: &PeerInfo, baseline: &str) -> Result<(RunResult, PathBuf, Printer), Failure> {
        let args = self.args;
        let dir = RunDir::create(args.common.out.as_deref(), self.clock.epoch()).map_err(failure)?;
        let out = dir.path().to_owned();
        let head = RunResult {
            version: RESULT_VERSION,
            command: "run".to_owned(),
            tool: format!("ikelab {}", env!("CARGO_PKG_VERSION")),
            plan_seed: self.seeds.plan.text().to_owned(),
            baseline: baseline.to_owned(),
            peer: peer.clone(),
            started_unix_ms: self.clock.epoch().0 / 1_000_000,
            seconds: 0.0,
            security: Security { keys_exported: args.common.keys, key_seed_from_os: true },
            cases: Vec::new(),
            stopped: None,
            interrupted: false,
            summary: Summary::default(),
        };
        let color = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let verbose = args.common.verbose > 0;
        let printer =
            Printer { text: RunText::new(color, verbose), quiet: args.common.json, verbose, out: out.clone() };
        printer.print(&printer.text.head(&head, &format!("{}/", out.display())));
        Ok((head, out, printer))
    }

    fn deadline(&self) -> Option<crate::time::Instant> {
        self.max_time.map(|span| crate::time::Instant::ZERO + (span - GOODBYE) * self.args.hurry.unwrap_or(1))
    }

    /// With the peer over loopback and, where timers are long, in a simulated network.
    fn embedded(&self) -> Result<Played, Failure> {
        let args = self.args;
        let environment = |error: String| (ENVIRONMENT, error);
        let (mut loaded, name) = match &args.config {
            Some(file) => (baseline(file)?, file.display().to_string()),
            None => {
                let loaded = config::parse(EMBEDDED_BASELINE, "embedded.yaml", Path::new(""), &|_| None);
                (loaded.map_err(|error| (USAGE, error.to_string()))?, "embedded".to_owned())
            }
        };
        Persona::complete(&mut loaded);
        // Whoever asks for another peer by name knows that it is not the box.
        let named_box = match &loaded.remote_host {
            _ if args.config.is_none() || args.sim || args.persona.is_some() => None,
            Some(host) => Some(host.clone()),
            None => loaded.spec.remote_addr.map(|address| address.to_string()),
        };
        let left_out = |verb: &str, address: &String| {
            format!("nothing {verb} sent to {address}, which {name} names; add --peer {address} to test it")
        };
        let mut spec = loaded.spec;
        let dress = match &args.persona {
            Some(name) => Some(Dress::all(*named(name).map_err(|why| (USAGE, why))?)),
            None => None,
        };
        // With a persona's own timers nobody could wait for the end of it.
        let sim = args.sim || dress.is_some();
        spec.retransmit = if dress.is_some() { RetransmitSpec::default() } else { quick() };
        spec.dpd = None;
        let theirs = counterpart(&mut spec).map_err(|why| (USAGE, format!("{name}: {why}")))?;
        let ping = loaded.data.ping.as_ref().map(|ping| ping.address);
        let mut lanes: Vec<Lane<'_>> = Vec::new();
        let mut wakers = Vec::new();
        let mut pairs = Vec::new();
        for lane in 0..if sim { 0 } else { LANES + 1 } {
            let pair = LoopbackPair::bind(lane, self.clock).map_err(|error| environment(error.to_string()))?;
            wakers.push(pair.ours.waker());
            pairs.push(pair);
        }
        let proving = pairs.pop();
        let address = match sim {
            true => "192.0.2.2:500 (embedded, simulated network)".to_owned(),
            false => format!("{} (embedded)", embedded::loopback(0).1),
        };
        let mut notes = match dress {
            Some(dress) => persona_notes(&dress.persona),
            None => embedded_notes(&spec.retransmit),
        };
        if let Some(address) = &named_box {
            notes.insert(0, format!("NOTE: {}", left_out("is", address)));
        }
        let persona = dress.map(|dress| dress.persona.name.to_owned());
        let info = PeerInfo { address, embedded: true, notes, persona, controlled: true };
        let stop = Stop::watch_all(wakers, Arc::new(AtomicBool::new(false))).map_err(failure)?;
        let (head, out, mut printer) = self.begin(&info, &name)?;
        let real = pairs.len();
        for (number, pair) in pairs.into_iter().enumerate() {
            let mut spec = spec.clone();
            pair.address(&mut spec);
            let peer = EmbeddedPeer::start(pair.theirs, &spec, &theirs, key_seed().map_err(environment)?);
            let bench = self.bench_spec(&out, number as u64 * 1000, ping);
            let halt = Halt::new(stop.flag(), self.deadline());
            let (link, carry) = (pair.ours, embedded::in_udp(&spec));
            lanes.push(Box::new(move |plan, head, progress| {
                let baseline = Setup::new(spec, limits());
                suite::run(
                    &mut Bench::new(bench(link, baseline, carry, Box::new(peer), halt, false)),
                    plan,
                    head,
                    progress,
                )
            }));
        }
        // A lane of its own for what needs certificates: both ends get them from an authority that is made for the run.
        let (mut proven, number) = (spec.clone(), (real as u64 + 1) * 1000);
        let now = self.clock.epoch();
        let (their_proof, authority) = certified(&mut proven, now).map_err(|why| (USAGE, format!("{name}: {why}")))?;
        let halt = Halt::new(stop.flag(), if sim { None } else { self.deadline() });
        let key = key_seed().map_err(environment)?;
        let proving: Lane<'_> = match proving {
            Some(pair) => {
                pair.address(&mut proven);
                let peer = EmbeddedPeer::start(pair.theirs, &proven, &their_proof, key);
                let (link, carry) = (pair.ours, embedded::in_udp(&proven));
                let bench = self.bench_spec(&out, number, ping);
                Box::new(move |plan, head, progress| {
                    let baseline = Setup { authority: Some(authority), ..Setup::new(proven, limits()) };
                    let bench = bench(link, baseline, carry, Box::new(peer), halt, false);
                    suite::run(&mut Bench::new(bench), plan, head, progress)
                })
            }
            None => {
                let seeds = self.seeds.clone();
                let bench = self.bench_spec(&out, number, ping);
                let scratch = out.join("without-certified");
                Box::new(move |plan, head, progress| {
                    let doubles = dress.map(|dress| Doubles {
                        ours: proven.clone(),
                        theirs: their_proof.clone(),
                        dress,
                        authority: Some(authority.clone()),
                        seeds: seeds.clone(),
                        key: key.clone(),
                        scratch,
                    });
                    let (link, peer) = embedded::in_virtual_time(&mut proven, &their_proof, &seeds.plan, key, dress);
                    let carry = embedded::simulated(&proven);
                    let baseline = Setup { authority: Some(authority), ..Setup::new(proven, limits()) };
                    let bench = bench(link, baseline, carry, Box::new(peer), halt, true);
                    suite::run(&mut Bench::new(BenchSpec { doubles, ..bench }), plan, head, progress)
                })
            }
        };
        let key = key_seed().map_err(environment)?;
        let bench = self.bench_spec(&out, real as u64 * 1000, ping);
        let (seeds, flag, retransmit) = (self.seeds.clone(), stop.flag(), spec.retransmit.clone());
        let scratch = out.join("without");
        lanes.push(Box::new(move |plan, head, progress| {
            let mut spec = spec;
            let doubles = dress.map(|dress| Doubles {
                ours: spec.clone(),
                theirs: theirs.clone(),
                dress,
                authority: None,
                seeds: seeds.clone(),
                key: key.clone(),
                scratch,
            });
            let (link, peer) = embedded::in_virtual_time(&mut spec, &theirs, &seeds.plan, key, dress);
            let carry = embedded::simulated(&spec);
            let baseline = Setup::new(spec, limits());
            // Virtual time says nothing about how long anybody waits.
            let halt = Halt::new(flag, None);
            let bench = bench(link, baseline, carry, Box::new(peer), halt, true);
            suite::run(&mut Bench::new(BenchSpec { doubles, ..bench }), plan, head, progress)
        }));
        lanes.push(proving);
        let long = |planned: &Planned<'_>| estimate::is_long(planned.case, &retransmit);
        let lane_of = |index: usize, planned: &Planned<'_>| match planned.scenario.needs.contains(&Need::Certificate) {
            true => real + 1,
            false if real == 0 || long(planned) => real,
            false => index % real,
        };
        let began = self.clock.now();
        let mut played = lanes::run(lanes, self.plan, &lane_of, head, &mut printer)
            .map_err(|error| environment(error.to_string()))?;
        // What a person waited, whatever passed in virtual time.
        played.seconds = self.clock.now().since(began).as_secs_f64();
        // Again at the end: the head has scrolled away by now.
        if let Some(address) = &named_box {
            term::warning(&left_out("was", address));
        }
        Ok((played, out, printer))
    }

    /// Makes what all embedded benches have in common.
    #[allow(clippy::type_complexity)]
    fn bench_spec<L: Link>(
        &self,
        out: &Path,
        number_from: u64,
        ping: Option<IpAddr>,
    ) -> impl FnOnce(L, Setup, Carry, Box<dyn PeerDriver>, Halt, bool) -> BenchSpec<L> + Send + use<L> {
        let (out, seeds, export_keys) = (out.to_owned(), self.seeds.clone(), self.args.common.keys);
        move |link, baseline, carry, peer, halt, virtual_time| BenchSpec {
            link,
            baseline,
            carry,
            number_from,
            virtual_time,
            ping,
            seeds,
            peer,
            out,
            export_keys,
            halt,
            person: Person::reading(|text| eprintln!("{text}")),
            doubles: None,
        }
    }

    /// Against a real peer, in real time.
    fn real(&self, peer: &str) -> Result<Played, Failure> {
        let (args, clock) = (self.args, self.clock);
        let usage = |message: String| (USAGE, message);
        let environment = |message: String| (ENVIRONMENT, message);
        let file = args.config.as_ref().ok_or_else(|| {
            usage("--peer needs the working baseline: a connection file, given with -c FILE".to_owned())
        })?;
        let mut loaded = baseline(file)?;
        Persona::complete(&mut loaded);
        super::crl::fetch(&mut loaded);
        let (address, port) = peer_address(peer).map_err(usage)?;
        guard::check_target(address, args.common.i_own_this_target).map_err(usage)?;
        loaded.spec.remote_addr = Some(address);
        if let Some(port) = port {
            loaded.spec.remote_ports.ike = port;
        }
        let common = &args.common;
        common.apply_ports(&mut loaded);
        let local = match loaded.spec.local_addr {
            Some(local) => local,
            None => source_address_for(address)
                .map_err(|error| environment(format!("there is no way to {address}: {error}")))?,
        };
        loaded.set_local_address(local);
        let ports = loaded.spec.local_ports;
        let mut link = common.bind(vec![local], ports.ike, ports.natt, clock).map_err(failure)?;
        loaded.spec.local_ports.natt = link.port(crate::net::SocketRole::NatT);
        loaded.spec.local_ports.ike = link.port(crate::net::SocketRole::Ike);
        let native = common.bind_esp(&mut link, loaded.data.encapsulation).map_err(failure)?;
        let carry = Carry {
            encapsulation: match loaded.data.encapsulation {
                config::Encapsulation::Auto => esp::Encapsulation::Auto,
                config::Encapsulation::ForceUdp => esp::Encapsulation::ForceUdp,
                config::Encapsulation::Native => esp::Encapsulation::Native,
            },
            native,
            natt_ports: (loaded.spec.local_ports.natt, loaded.spec.remote_ports.natt),
        };
        let info = PeerInfo {
            address: SocketAddr::new(address, loaded.spec.remote_ports.ike).to_string(),
            embedded: false,
            notes: args
                .hurry
                .iter()
                .map(|times| format!("our clock ran {times} times as fast as the peer's"))
                .collect(),
            persona: None,
            controlled: loaded.control.initiate.is_some(),
        };
        common::warn(&loaded);
        let clears = matches!(loaded.control.clear, Some(config::ControlAction::Shell(_)));
        let limits = loaded.limits.clone().unwrap_or_else(limits);
        let authority = loaded.issuer.as_ref().map(|issuer| Authority::of(issuer, clock.epoch())).transpose();
        let authority = authority.map_err(|why| usage(format!("{}: {why}", file.display())))?.map(Arc::new);
        let baseline = Setup {
            authority,
            checked: loaded.peer.checks_liveness != Some(false),
            ..Setup::new(loaded.spec.clone(), limits)
        };
        let stop = Stop::watch(link.waker()).map_err(failure)?;
        let (head, out, mut printer) = self.begin(&info, &file.display().to_string())?;
        let controller = Controller::new(&loaded, Some(&out.join("control")), clock).halted_by(stop.flag());
        let about = estimate::plan(self.plan, &baseline.spec.retransmit, clears) / args.hurry.unwrap_or(1);
        let hands = estimate::by_hand(self.plan, &|order| controller.by_hand(order));
        printer.print(&plan_lines(self.plan, about, hands));
        let ping = loaded.data.ping.as_ref().map(|ping| ping.address);
        let halt = Halt::new(stop.flag(), self.deadline());
        let peer = Box::new(controller);
        let link = Middleboxes::new(link, common.sockets());
        let played = match args.hurry {
            None => {
                let spec = self.bench_spec(&out, 0, ping)(link, baseline, carry, peer, halt, false);
                suite::run(&mut attended(spec), self.plan, head, &mut printer)
            }
            Some(times) => {
                let link = Hurried::new(link, times);
                let spec = self.bench_spec(&out, 0, ping)(link, baseline, carry, peer, halt, false);
                suite::run(&mut attended(spec), self.plan, head, &mut printer)
            }
        };
        Ok((played.map_err(|error| environment(error.to_string()))?, out, printer))
    }
}

/// A bench with whoever sits at the terminal.
fn attended<L: Link>(spec: BenchSpec<L>) -> Bench<L> {
    Bench::new(BenchSpec { person: spec.person.at_a_keyboard(super::keyboard::enter()), ..spec })
}

/// How long the plan will take, and what of it somebody at the box has to do: `hands` are cases that want it to initiate,
/// and cases that want something else of it.
fn plan_lines(plan: &Plan<'_>, about: Duration, hands: (usize, usize)) -> String {
    let beside = if hands == (0, 0) { "" } else { ", beside what you do at the box:" };
    let mut text = format!("     {} scenarios, about {}{beside}\n", plan.scenarios(), estimate::words(about));
    if hands.0 > 0 {
        text += &format!(
            "     {} of the {} cases need the box to initiate: you are asked each time and have 60 s; control.initiate in \
             the file does it for you, --role initiator leaves most of them out\n",
            hands.0,
            plan.cases.len()
        );
    }
    if hands.1 > 0 {
        text += &format!("     {} need something else of it, such as a rekey: you are asked, too\n", hands.1);
    }
    text
}

/// What `--max-time` says; the last of it is kept for an orderly end.
fn max_time(text: &str) -> Result<Duration, String> {
    let span = config::duration(text).map_err(|error| format!("--max-time: {error}"))?;
    if span < 2 * GOODBYE { Err(format!("--max-time: {text} is too short; from 4s on")) } else { Ok(span) }
}

/// Our own limits: no cookies unless a scenario asks for them.
fn limits() -> Limits {
    Limits { cookie_threshold: None, ..Limits::default() }
}

/// The schedule of both ends when the peer is the embedded one: 100, 200, 400, 800 ms.
fn quick() -> RetransmitSpec {
    RetransmitSpec {
        initial: Duration::from_millis(100),
        factor_percent: 200,
        max_wait: Duration::from_secs(1),
        attempts: 4,
        jitter_percent: 0,
    }
}

fn peer_address(text: &str) -> Result<(IpAddr, Option<u16>), String> {
    use std::net::ToSocketAddrs;
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok((address, None));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok((address.ip(), Some(address.port())));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port.parse().map_err(|_| format!("{port:?} is not a port"))?)),
        None => (text, None),
    };
    let found = (host, 0).to_socket_addrs().ok().and_then(|mut list| list.next());
    found.map(|address| (address.ip(), port)).ok_or_else(|| format!("the peer {host:?} cannot be resolved"))
}

/// What to know of the embedded peer with its own timers.
fn embedded_notes(retransmit: &RetransmitSpec) -> Vec<String> {
    vec![
        "embedded peer: a demonstration, not evidence about a vendor".to_owned(),
        format!(
            "both ends retransmit after {} ms, {} times in all; the embedded peer demands cookies from {} half-open IKE SAs \
             on, checks liveness after {} s, and its lifetimes are {} h and {} h",
            retransmit.initial.as_millis(),
            retransmit.attempts,
            embedded::EMBEDDED_COOKIES_FROM,
            embedded::EMBEDDED_DPD.as_secs(),
            embedded::EMBEDDED_CHILD_LIFETIME.as_secs() / 3600,
            embedded::EMBEDDED_IKE_LIFETIME.as_secs() / 3600,
        ),
        "seconds with a v passed in virtual time".to_owned(),
    ]
}

/// What to know of a persona.
fn persona_notes(persona: &Persona) -> Vec<String> {
    let count = |basis: Basis| persona.habits.iter().filter(|habit| habit.basis == basis).count();
    let mut notes =
        vec![format!("plays {}, {}: a model, not evidence about such a box", persona.name, persona.summary)];
    if !persona.habits.is_empty() {
        notes.push(format!(
            "{} habits: {} observed, {} documented, {} modelled",
            persona.habits.len(),
            count(Basis::Observed),
            count(Basis::Documented),
            count(Basis::Modelled)
        ));
    }
    notes.push("its timers and limits are its own; time is virtual (seconds with a v)".to_owned());
    notes
}

/// The persona with this name; in words, which there are.
fn named(name: &str) -> Result<&'static Persona, String> {
    Persona::named(name).ok_or_else(|| {
        let names: Vec<&str> = Persona::ALL.iter().map(|persona| persona.name).collect();
        let near = names.iter().max_by(|a, b| strsim::jaro(a, name).total_cmp(&strsim::jaro(b, name)));
        let near = near.filter(|near| strsim::jaro(near, name) > 0.8).map(|near| format!(" (did you mean {near}?)"));
        format!("there is no persona {name:?}{}: one of {}", near.unwrap_or_default(), names.join(", "))
    })
}

/// The command that runs one case again.
fn again(args: &RunArgs, seed: &str, id: &str, role: Role) -> String {
    let mut text = format!("ikelab run {id} --role {role}");
    if let Some(peer) = &args.peer {
        text.push_str(&format!(" --peer {peer}"));
    }
    if let Some(file) = &args.config {
        text.push_str(&format!(" -c {}", file.display()));
    }
    for path in &args.scenarios {
        text.push_str(&format!(" --scenarios {}", path.display()));
    }
    if args.sim {
        text.push_str(" --sim");
    }
    if let Some(persona) = &args.persona {
        text.push_str(&format!(" --persona {persona}"));
    }
    if let Some(times) = args.hurry {
        text.push_str(&format!(" --hurry {times}"));
    }
    text.push_str(&format!(" --seed {seed} -v"));
    text
}

struct Printer {
    text: RunText,
    quiet: bool,
    verbose: bool,
    /// The run directory.
    out: PathBuf,
}

impl Printer {
    fn print(&self, text: &str) {
        if !self.quiet {
            // A closed pipe is no reason to lose the run directory.
            let mut out = std::io::stdout().lock();
            let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        }
    }
}

impl Progress for Printer {
    fn case(&mut self, result: &CaseResult) {
        let text = self.text.case(result);
        self.print(&text);
        // What a scenario brought about is explained for whoever asks; that an honest tunnel fails, to everybody.
        let honest_failure = result.phase.is_none() && result.verdict != crate::scenario::verdict::Verdict::Pass;
        if let (true, false, Some(name)) = (self.verbose || honest_failure, self.quiet, &result.transcript) {
            let why = super::diagnose::first_failure(&self.out.join(name), term::stdout_paint());
            why.lines().for_each(|line| self.print(&format!("       {line}\n")));
        }
    }
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    fs::write(file, text).map_err(|error| format!("cannot write {}: {error}", file.display()))
}

fn key_seed() -> Result<KeySeed, String> {
    let mut octets = [0; 32];
    SysRng.try_fill_bytes(&mut octets).map_err(|error| format!("the system has no randomness: {error}"))?;
    Ok(KeySeed::new(octets))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert_eq!(peer_address("192.0.2.1"), Ok((ip("192.0.2.1"), None)));
        assert_eq!(peer_address("192.0.2.1:5000"), Ok((ip("192.0.2.1"), Some(5000))));
        assert_eq!(peer_address("2001:db8::1"), Ok((ip("2001:db8::1"), None)));
        assert_eq!(peer_address("[2001:db8::1]:500"), Ok((ip("2001:db8::1"), Some(500))));
        assert_eq!(peer_address("gw:port"), Err("\"port\" is not a port".to_owned()));
        assert!(peer_address("no-such-host.invalid").is_err());
    }

    #[test]
    fn usage_errors_have_their_own_exit_code() {
        assert_eq!(max_time("1m"), Ok(Duration::from_secs(60)));
        assert!(max_time("3s").is_err() && max_time("soon").is_err());
        let code = |args: RunArgs| try_run(&args).map_err(|(code, _)| code);
        let args = RunArgs { list: true, ..RunArgs::default() };
        assert_eq!(code(RunArgs { selectors: vec!["no-such".into()], ..args.clone() }), Err(USAGE));
        assert_eq!(code(args.clone()), Ok(0));
        assert_eq!(code(RunArgs { peer: Some("127.0.0.9".into()), ..RunArgs::default() }), Err(USAGE), "no baseline");
        let missing = RunArgs { scenarios: vec!["/nonexistent.yaml".into()], ..args };
        assert_eq!(code(missing), Err(USAGE));
    }

    #[test]
    fn what_run_does_not_take_it_says_so() {
        let why = |args: RunArgs| try_run(&args).map_err(|(code, message)| format!("{code} {message}"));
        for peer in ["192.0.2.10", "192.0.2.10:500", "2001:db8::1"] {
            let error = why(RunArgs { selectors: vec![peer.into()], ..RunArgs::default() }).unwrap_err();
            assert_eq!(error, format!("2 no scenario is called {peer:?}; an address goes to --peer"));
        }
        let error = why(RunArgs { selectors: vec!["no-such".into()], ..RunArgs::default() }).unwrap_err();
        assert!(!error.contains("--peer"), "{error}");

        // A path that is bent would spoil what is judged, so it is refused, wherever it stands.
        let common = Common { path: Some("loss=5%".into()), ..Common::default() };
        let error = why(RunArgs { common, ..RunArgs::default() }).unwrap_err();
        assert_eq!(error, format!("2 --path: {NO_PATH}"));
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("lab.yaml");
        fs::write(&file, format!("{EMBEDDED_BASELINE}\npath: {{loss: 5%}}\n")).unwrap();
        for peer in [None, Some("127.0.0.9".to_owned())] {
            let error = why(RunArgs { config: Some(file.clone()), peer, ..RunArgs::default() }).unwrap_err();
            assert_eq!(error, format!("2 {}: path: {NO_PATH}", file.display()));
        }
    }

    /// Half of the cases wait for a person where no command makes the box initiate: that stands beside the estimate.
    #[test]
    fn the_plan_says_what_a_person_has_to_do() {
        let scenarios = load::embedded().unwrap();
        let again = |_: &str, _: Role| String::new();
        let plan = Plan::new(&scenarios, &Role::ALL, &again);
        let text = |by_hand: &dyn Fn(bool) -> bool| {
            let hands = estimate::by_hand(&plan, &|order| by_hand(order.is_none()));
            (hands, plan_lines(&plan, Duration::from_secs(600), hands))
        };
        let (_, driven) = text(&|_| false);
        assert!(driven.ends_with(" scenarios, about 10 min\n"), "{driven}");
        let (hands, alone) = text(&|_| true);
        assert!(hands.0 > 100 && hands.1 > 0, "{hands:?}");
        let asked = format!("     {} of the {} cases need the box to initiate: ", hands.0, plan.cases.len());
        assert!(alone.contains("about 10 min, beside what you do at the box:\n") && alone.contains(&asked), "{alone}");
        assert!(alone.contains("60 s") && alone.contains("--role initiator"), "{alone}");
        assert!(alone.contains(&format!("     {} need something else", hands.1)), "{alone}");
        let initiator = Plan::new(&scenarios, &[Role::Initiator], &again);
        let left = estimate::by_hand(&initiator, &|order| order.is_none()).0;
        assert!(left * 10 < hands.0, "{left}: the advice promises most of them");
        let first = load::select(scenarios.clone(), &["sa-init".into(), "auth".into()]).unwrap();
        let first = Plan::new(&first, &[Role::Initiator], &again);
        assert_eq!(estimate::by_hand(&first, &|_| true), (0, 0), "what the README has one begin with");
    }
}
