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

use super::common::Common;
use super::exit::CliError;
use super::rundir::RunDir;
use super::signals::Stop;
use crate::config;
use crate::engine::{Limits, RetransmitSpec};
use crate::link::guard;
use crate::link::udp::{UdpLink, source_address_for};
use crate::report::run_text::{self, RunText};
use crate::report::{html, run_junit};
use crate::scenario::change::Setup;
use crate::scenario::control::Controller;
use crate::scenario::estimate;
use crate::scenario::file::Role;
use crate::scenario::halt::{GOODBYE, Halt};
use crate::scenario::load::{self, LoadedScenario};
use crate::scenario::peer::{EMBEDDED_COOKIES_FROM, EmbeddedPeer, LoopbackPair, PeerDriver};
use crate::scenario::result::{CaseResult, PeerInfo, RESULT_VERSION, RunResult, Security, Summary};
use crate::scenario::runner::{Bench, BenchSpec};
use crate::scenario::stand_in::counterpart;
use crate::scenario::suite::{self, Plan, Progress};
use crate::seed::KeySeed;
use crate::time::RealClock;

/// The baseline of the embedded peer, when no connection file is given.
const EMBEDDED_BASELINE: &str = include_str!("embedded_baseline.yaml");

/// The page in the run directory.
pub const REPORT: &str = "report.html";

/// Exit code for a usage or file error.
const USAGE: u8 = 2;
/// Exit code for an environment that does not let us run.
const ENVIRONMENT: u8 = 3;

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
    /// Stop in order before this much time is over, like 10m; what was not run then is INCONCLUSIVE.
    #[arg(long, value_name = "DURATION")]
    pub max_time: Option<String>,
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
            eprintln!("ikelab run: {message}");
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
    let max_time = args.max_time.as_deref().map(max_time).transpose().map_err(usage)?;
    let clock = RealClock::start();
    let target = Target::open(args, clock)?;
    let stop = Stop::watch(target.link.waker()).map_err(failure)?;
    let seeds = args.common.seeds().map_err(failure)?;
    let plan_seed = seeds.plan.text().to_owned();
    let dir = RunDir::create(args.common.out.as_deref(), clock.epoch()).map_err(failure)?;
    let out = dir.path().to_owned();

    let head = RunResult {
        version: RESULT_VERSION,
        command: "run".to_owned(),
        tool: format!("ikelab {}", env!("CARGO_PKG_VERSION")),
        plan_seed: plan_seed.clone(),
        baseline: target.baseline_name.clone(),
        peer: target.info.clone(),
        started_unix_ms: clock.epoch().0 / 1_000_000,
        seconds: 0.0,
        security: Security { keys_exported: args.common.keys, key_seed_from_os: true },
        cases: Vec::new(),
        stopped: None,
        interrupted: false,
        summary: Summary::default(),
    };
    let color = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let mut printer = Printer { text: RunText::new(color, args.common.verbose > 0), quiet: args.common.json };
    printer.print(&printer.text.head(&head, &format!("{}/", out.display())));
    let roles = match args.role {
        None => Role::ALL.to_vec(),
        Some(RoleArg::Initiator) => vec![Role::Initiator],
        Some(RoleArg::Responder) => vec![Role::Responder],
    };
    let again = |id: &str, role: Role| again(args, &plan_seed, id, role);
    let plan = Plan { scenarios: &scenarios, roles: &roles, again: &again };
    if args.peer.is_some() {
        let about = estimate::plan(&plan, &target.baseline.spec.retransmit, target.clears);
        printer.print(&format!("     {} scenarios, about {}\n", scenarios.len(), estimate::words(about)));
    }
    let deadline = max_time.map(|span| crate::time::Instant::ZERO + (span - GOODBYE));
    let mut bench = Bench::new(BenchSpec {
        link: target.link,
        baseline: target.baseline,
        seeds,
        peer: (target.driver)(&out, stop.flag()),
        out: out.clone(),
        export_keys: args.common.keys,
        halt: Halt::new(stop.flag(), deadline),
        tell: Box::new(|text| eprintln!("{text}")),
    });
    let result = suite::run(&mut bench, &plan, head, &mut printer).map_err(|error| environment(error.to_string()))?;
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

fn scenarios(args: &RunArgs) -> Result<Vec<LoadedScenario>, String> {
    let mut all = load::embedded().map_err(|error| error.to_string())?;
    for path in &args.scenarios {
        for one in load::from_path(path).map_err(|error| error.to_string())? {
            // A user's own scenario takes the place of an embedded one with its id.
            all.retain(|other| other.scenario.id != one.scenario.id);
            all.push(one);
        }
    }
    load::select(all, &args.selectors)
}

/// Makes what drives the peer, once the run directory is there; the flag says that the run is to stop.
type MakeDriver = Box<dyn FnOnce(&Path, Arc<AtomicBool>) -> Box<dyn PeerDriver>>;

/// Whom to test, and with what.
struct Target {
    link: UdpLink,
    baseline: Setup,
    baseline_name: String,
    /// Makes the driver of the other end, which keeps what the box says in the run directory.
    driver: MakeDriver,
    info: PeerInfo,
    /// It can be made to forget.
    clears: bool,
}

impl Target {
    fn open(args: &RunArgs, clock: RealClock) -> Result<Target, Failure> {
        match &args.peer {
            None => Target::embedded(args, clock),
            Some(peer) => Target::real(args, peer, clock),
        }
    }

    fn embedded(args: &RunArgs, clock: RealClock) -> Result<Target, Failure> {
        let (loaded, name) = match &args.config {
            Some(file) => (config::load(file).map_err(|error| (USAGE, error.to_string()))?, file.display().to_string()),
            None => {
                let loaded = config::parse(EMBEDDED_BASELINE, "embedded.yaml", Path::new(""), &|_| None);
                (loaded.map_err(|error| (USAGE, error.to_string()))?, "embedded".to_owned())
            }
        };
        let mut spec = loaded.spec;
        let environment = |error: String| (ENVIRONMENT, error);
        let pair = LoopbackPair::bind(clock).map_err(|error| environment(error.to_string()))?;
        pair.address(&mut spec);
        spec.retransmit = quick();
        if spec.dpd.is_some() {
            spec.dpd = None;
        }
        let key = key_seed().map_err(environment)?;
        let theirs = counterpart(&mut spec).map_err(|why| (USAGE, format!("{name}: {why}")))?;
        let peer = EmbeddedPeer::start(pair.theirs, theirs, key);
        let wait = spec.retransmit.initial.as_millis();
        let info = PeerInfo {
            address: format!("{} (embedded)", peer.address()),
            embedded: true,
            notes: vec![
                "embedded peer: a demonstration, not evidence about a vendor".to_owned(),
                format!(
                    "both ends retransmit after {wait} ms, {} times in all; the embedded peer demands cookies from {} \
                     half-open IKE SAs on",
                    spec.retransmit.attempts, EMBEDDED_COOKIES_FROM
                ),
            ],
            controlled: true,
        };
        let baseline = Setup { spec, limits: limits() };
        Ok(Target {
            link: pair.ours,
            baseline,
            baseline_name: name,
            driver: Box::new(|_, _| Box::new(peer)),
            info,
            clears: true,
        })
    }

    fn real(args: &RunArgs, peer: &str, clock: RealClock) -> Result<Target, Failure> {
        let usage = |message: String| (USAGE, message);
        let environment = |message: String| (ENVIRONMENT, message);
        let file = args.config.as_ref().ok_or_else(|| {
            usage("--peer needs the working baseline: a connection file, given with -c FILE".to_owned())
        })?;
        let mut loaded = config::load(file).map_err(|error| usage(error.to_string()))?;
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
        let link = common.bind(vec![local], ports.ike, ports.natt, clock).map_err(failure)?;
        loaded.spec.local_ports.natt = link.port(crate::net::SocketRole::NatT);
        loaded.spec.local_ports.ike = link.port(crate::net::SocketRole::Ike);
        let info = PeerInfo {
            address: SocketAddr::new(address, loaded.spec.remote_ports.ike).to_string(),
            embedded: false,
            notes: Vec::new(),
            controlled: loaded.control.initiate.is_some(),
        };
        for warning in &loaded.warnings {
            eprintln!("{}: {warning}", file.display());
        }
        let clears = matches!(loaded.control.clear, Some(config::ControlAction::Shell(_)));
        let limits = loaded.limits.clone().unwrap_or_else(limits);
        let baseline = Setup { spec: loaded.spec.clone(), limits };
        let name = file.display().to_string();
        let driver = move |out: &Path, stop: Arc<AtomicBool>| -> Box<dyn PeerDriver> {
            Box::new(Controller::new(&loaded, Some(&out.join("control")), clock).halted_by(stop))
        };
        Ok(Target { link, baseline, baseline_name: name, driver: Box::new(driver), info, clears })
    }
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
    text.push_str(&format!(" --seed {seed} -v"));
    text
}

struct Printer {
    text: RunText,
    quiet: bool,
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
}
