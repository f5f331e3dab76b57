//! `ikelab connect --preflight`: "will it survive tonight?"

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::common::Common;
use super::data::Data;
use super::exit::{CliError, Exit};
use super::live::{Ladder, explain, finding_json};
use super::rundir;
use super::signals::Stop;
use super::term;
use crate::config::Loaded;
use crate::diagnose::{Facts, Finding};
use crate::drive::{Driver, Lost, Observer};
use crate::engine::{Endpoint, EndpointConfig, EspNote, Event, FailScope, Failed, SaId, TunnelId};
use crate::esp::PingSpec;
use crate::link::netem::Netem;
use crate::link::udp::UdpLink;
use crate::link::{Link, LinkNote};
use crate::net::{Path, SocketRole, Transmit};
use crate::preflight::outlook::outlook;
use crate::preflight::{Options, Order, Pings, Preflight, Report, TUNNEL, plan};
use crate::report::paint::Paint;
use crate::report::{diagnosis, preflight as text};
use crate::scenario::control::Controller;
use crate::time::{Instant, RealClock};
use crate::vendor;

/// How long the box has to initiate.
const INITIATE_WITHIN: Duration = Duration::from_secs(60);
/// How long the peer may take to answer the last DELETE.
const GOODBYE: Duration = Duration::from_secs(3);

/// Arguments.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct PreflightArgs {
    /// "Will it survive tonight?": force each rekey, liveness check and reconnect now, with a ping before and after
    #[arg(long, conflicts_with_all = ["once", "hold", "faults"])]
    pub preflight: bool,
    /// With --preflight: also wait this long for rekeys that the peer begins, like 65m
    #[arg(long, value_name = "DURATION", requires = "preflight")]
    wait: Option<String>,
}

/// Rehearses. `loaded` has its addresses.
pub fn run(args: &PreflightArgs, common: &Common, loaded: Loaded) -> Result<Exit, CliError> {
    let wait = match &args.wait {
        Some(text) => Some(crate::config::duration(text).map_err(|e| CliError::usage(format!("--wait: {e}")))?),
        None => None,
    };
    let spec = &loaded.spec;
    let local = spec.local_addr.expect("the caller fills it in");
    let clock = RealClock::start();
    let mut link = common.bind(vec![local], spec.local_ports.ike, spec.local_ports.natt, clock)?;
    let native = common.bind_esp(&mut link, loaded.data.encapsulation)?;
    let stop = Stop::watch(link.waker())?;
    let (dir, recorder) = common.record(&link, clock)?;
    let seeds = common.seeds()?;
    let plan_seed = seeds.plan.text().to_owned();

    let mut spec = loaded.spec.clone();
    spec.local_ports = crate::engine::Ports { ike: link.port(SocketRole::Ike), natt: link.port(SocketRole::NatT) };
    let spec = Arc::new(spec);
    // The peer's half needs us as responder.
    let config =
        EndpointConfig { connections: vec![Arc::clone(&spec)], export_keys: common.keys, ..EndpointConfig::default() };
    let link = common.bad_path(link, &loaded.path, &plan_seed)?;
    let mut driver = Driver::new(Endpoint::new(Arc::new(config), seeds, clock.epoch()), link, recorder);
    let mut control = Controller::new(&loaded, Some(&dir.path().join("control")), clock);

    let target = loaded.data.ping.as_ref().map(|ping| ping.address);
    let options = Options {
        initiates: control.initiates_by_itself(),
        rekeys: control.rekeys_by_itself(),
        hint: vendor::initiate_prompt(&loaded).text().to_owned(),
        initiate_within: INITIATE_WITHIN,
        wait,
        target,
    };
    let trials = plan(&spec);
    let data = Data::new(&loaded.data, (spec.local_ports, spec.remote_ports), loaded.peer.vendor, native, false);
    let mut view = View {
        flight: Preflight::new(trials, !spec.children.is_empty(), options),
        data,
        ladder: Ladder::new(
            term::stdout_paint(),
            !common.json && common.verbose > 0,
            common.verbose > 1,
            String::new(),
        ),
        paint: term::stdout_paint(),
        shown: !common.json,
        facts: Facts::default(),
        tunnel: TUNNEL,
        pinging: false,
        printed: 0,
        failures: Vec::new(),
        findings: Vec::new(),
        not_sent: false,
    };
    let who = target.map_or_else(|| "nobody to ping".to_owned(), |t| format!("ping {t}"));
    view.say(&format!("plan seed {plan_seed}   {}\n", dir.path().display()));
    view.say(&format!("preflight of {}: will it survive tonight?   {who}\n\n", spec.name));

    let finished = rehearse(&mut driver, &mut view, &mut control, &loaded, &stop)?;
    say_goodbye(&mut driver, &mut view, &loaded)?;
    control.finish();
    let report = view.flight.report().clone();
    let look = outlook(&loaded.spec, &loaded.peer, &report);
    view.say(&text::ending(&report, &look, view.paint));

    let exit = exit_of(&report, finished, view.not_sent && view.facts.received == 0);
    let mut result = rundir::head("connect", &plan_seed, clock.epoch(), common.keys);
    result["security"]["target_said_to_be_owned"] = common.i_own_this_target.into();
    result["exit_code"] = (exit as u8).into();
    result["path"] = super::common::path_json(&driver.link);
    result["seconds"] = driver.link.now().as_secs_f64().into();
    result["preflight"] = report_json(&report);
    result["preflight"]["lifetimes"] =
        look.iter().map(|o| json!({"what": o.what, "text": o.text})).collect::<Vec<_>>().into();
    result["data"] = view.data.json();
    result["findings"] = view.findings.iter().map(finding_json).collect();
    dir.write_result(&result)?;
    Ok(exit)
}

fn exit_of(report: &Report, finished: bool, nothing_sent: bool) -> Exit {
    match () {
        () if nothing_sent => Exit::Environment,
        () if !report.clean() => Exit::NotMet,
        () if finished && report.complete() => Exit::Met,
        () => Exit::Inconclusive,
    }
}

/// Turns until nothing is left to try. False if it was cut short.
fn rehearse(
    driver: &mut Driver<Netem<UdpLink>>,
    view: &mut View,
    control: &mut Controller,
    loaded: &Loaded,
    stop: &Stop,
) -> Result<bool, CliError> {
    let mut finished = true;
    loop {
        let now = driver.link.now();
        if stop.asked() && finished {
            finished = false;
            view.flight.stop(now, "stopped by a signal");
        }
        while let Some(order) = view.flight.poll_order(now) {
            match order {
                Order::Connect => {
                    view.facts = Facts::default();
                    let local = loaded.spec.local_addr.expect("the caller fills it in");
                    let spec = driver.endpoint.config().connections[0].clone();
                    driver.endpoint.connect(now, spec, TUNNEL, local);
                }
                Order::Command(sa, command) => {
                    if let Err(why) = driver.endpoint.command(now, sa, command) {
                        view.flight.refused(now, &why.to_string());
                    }
                }
                Order::Ping { target, count, interval, timeout } => {
                    let (tunnel, count) = (view.tunnel, Some(count));
                    let source = loaded.data.ping.as_ref().and_then(|p| p.source);
                    let spec = PingSpec { count, interval, timeout, source, ..PingSpec::new(tunnel, target) };
                    view.data.ping(now, spec);
                    view.pinging = true;
                }
                Order::PeerRekey { ike } => {
                    if let Err(why) = control.rekey(ike) {
                        view.flight.refused(now, &why);
                    }
                }
                Order::PeerInitiate => {
                    view.facts = Facts::default();
                    if let Err(why) = control.initiate() {
                        view.flight.refused(now, &why);
                    }
                }
            }
        }
        view.print_outcomes();
        if view.flight.is_done() {
            return Ok(finished);
        }
        driver.turn(view.flight.poll_timeout(), view).map_err(CliError::environment)?;
        view.settle(driver, loaded);
        let now = driver.link.now();
        if view.flight.poll_timeout().is_some_and(|at| at <= now) {
            view.flight.handle_timeout(now);
        }
        if view.pinging && view.data.is_done() {
            view.pinging = false;
            view.flight.pinged(now, view.data.last_ping());
        }
    }
}

/// Deletes what is up.
fn say_goodbye(driver: &mut Driver<Netem<UdpLink>>, view: &mut View, loaded: &Loaded) -> Result<(), CliError> {
    let now = driver.link.now();
    let closing = EndpointConfig { respond: false, ..driver.endpoint.config().as_ref().clone() };
    driver.endpoint.set_config(Arc::new(closing));
    driver.endpoint.delete_all(now);
    while driver.endpoint.sas().iter().any(|sa| sa.established) && driver.link.now() < now + GOODBYE {
        driver.turn(Some(now + GOODBYE), view).map_err(CliError::environment)?;
        view.settle(driver, loaded);
    }
    // The last answer may still have to leave.
    driver.turn(Some(driver.link.now()), view).map_err(CliError::environment)?;
    Ok(())
}

struct View {
    flight: Preflight,
    data: Data,
    ladder: Ladder,
    paint: Paint,
    shown: bool,
    facts: Facts,
    /// The tunnel that is up: another one when the peer has begun.
    tunnel: TunnelId,
    pinging: bool,
    printed: usize,
    failures: Vec<Failed>,
    findings: Vec<Finding>,
    not_sent: bool,
}

impl View {
    fn say(&self, text: &str) {
        if self.shown {
            term::print(text);
        }
    }

    fn print_outcomes(&mut self) {
        self.ladder.flush();
        let lines: Vec<String> =
            self.flight.report().outcomes[self.printed..].iter().map(|o| text::outcome(o, self.paint)).collect();
        self.printed += lines.len();
        lines.iter().for_each(|line| self.say(line));
    }

    /// After a turn: explains what failed, now that its packets are recorded.
    fn settle(&mut self, driver: &Driver<Netem<UdpLink>>, loaded: &Loaded) {
        self.ladder.flush();
        for failed in std::mem::take(&mut self.failures) {
            let finding = explain(&failed, &self.facts, &loaded.spec, loaded.peer.vendor, &driver.recorder);
            // Before the first tunnel is up this is what a person came for; later the trial's line says it.
            if self.flight.report().outcomes.is_empty() || failed.scope == FailScope::IkeSa {
                self.say(&format!("\n{}\n", diagnosis::render(&finding, self.paint)));
            }
            self.findings.push(finding);
        }
    }
}

impl Observer for View {
    fn event(&mut self, now: Instant, tunnel: TunnelId, sa: SaId, event: Event) {
        if sa == SaId::NONE {
            return;
        }
        self.facts.note(now, &event);
        self.ladder.event(now, &event);
        self.data.event(now, tunnel, sa, &event);
        if matches!(event, Event::IkeUp(_)) {
            self.tunnel = tunnel;
        }
        self.flight.event(now, sa, &event);
        match event {
            Event::Failed(failed) | Event::ChildFailed(failed) => self.failures.push(*failed),
            _ => {}
        }
    }

    fn esp(&mut self, now: Instant, path: Path, packet: &mut Vec<u8>) {
        self.data.esp(now, path, packet);
    }

    fn lost(&mut self, lost: &Lost<'_>) {
        self.ladder.lost(lost);
    }

    fn note(&mut self, _: Instant, note: LinkNote) {
        self.not_sent |= matches!(note, LinkNote::NotSent { .. });
        let text = note.to_string();
        self.facts.note_link(&text, crate::drive::news_kind(&note));
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        self.data.poll_transmit(now)
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        self.data.poll_timeout()
    }

    fn poll_note(&mut self) -> Option<(u32, EspNote)> {
        self.data.poll_note()
    }

    fn reclaim(&mut self, buffer: Vec<u8>) {
        self.data.reclaim(buffer);
    }
}

fn report_json(report: &Report) -> Value {
    let pings = |p: Option<Pings>| p.map(|p| json!({"sent": p.sent, "answered": p.answered}));
    json!({
        "clean": report.clean(),
        "complete": report.complete(),
        "data_tested": report.data_tested,
        "trials": report.outcomes.iter().map(|o| json!({
            "title": o.trial.title(),
            "begun_by": if o.trial.side() == crate::engine::Side::Us { "us" } else { "peer" },
            "verdict": o.verdict.word(),
            "seconds": o.took.as_secs_f64(),
            "detail": o.detail,
            "ping_before": pings(o.before),
            "ping_after": pings(o.after),
        })).collect::<Vec<_>>(),
    })
}
