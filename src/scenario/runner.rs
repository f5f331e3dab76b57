//! Plays scenarios against a peer and judges them.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::change::{self, ChangeError, Setup};
use super::expect::{self, Progress};
use super::file::{EventName, Expect, HalfOpen, Need, Role, RoleCase, Scenario, Step, VendorName, Who};
use super::halt::{GOODBYE, Halt};
use super::observe::{HALF_OPEN_TUNNELS, Observation, Tap, What, is_honest};
use super::peer::PeerDriver;
use super::result::{CaseResult, FaultCount, VendorFix, VendorLine};
use super::verdict::{self, Evidence, Outcome, Verdict};
use crate::drive::{Driver, Queue};
use crate::engine::{AuthSpec, Command, Endpoint, EndpointConfig, SaId, Tamper, TunnelId};
use crate::fault::{Action, Choice, FaultPlan, FiringLog, Rule, When};
use crate::link::{Link, RxBatch};
use crate::net::SocketRole;
use crate::record::{Direction, Fate, KeyTables, PcapNg, Recorder, TranscriptDir};
use crate::seed::Seeds;
use crate::time::Instant;
use crate::wire::registry::{ExchangeType, KeMethod};

/// How long a peer that is driven may take to send its first packet.
const INITIATE_WITHIN: Duration = Duration::from_secs(60);
/// How long we wait for the answer to our DELETE.
const CLOSE_WITHIN: Duration = Duration::from_millis(500);
/// How long an honest tunnel may take.
const SANITY_WITHIN: Duration = Duration::from_secs(30);

/// What a run is made with.
pub struct Bench<L> {
    /// Our sockets; taken while a case runs.
    link: Option<L>,
    /// The working baseline.
    baseline: Setup,
    seeds: Seeds,
    peer: Box<dyn PeerDriver>,
    out: PathBuf,
    export_keys: bool,
    cases: u64,
    observed: [Option<Observation>; 2],
    healthy: Result<(), String>,
    halt: Halt,
    tell: Box<dyn FnMut(&str)>,
}

/// How a bench is set up.
pub struct BenchSpec<L> {
    /// Our sockets.
    pub link: L,
    /// The working baseline.
    pub baseline: Setup,
    /// The plan seed decides faults; the key seed comes from the operating system.
    pub seeds: Seeds,
    /// How the other end is driven.
    pub peer: Box<dyn PeerDriver>,
    /// The run directory; it exists.
    pub out: PathBuf,
    /// Write key tables beside the captures.
    pub export_keys: bool,
    /// When to stop before the end.
    pub halt: Halt,
    /// Tells a person what to do.
    pub tell: Box<dyn FnMut(&str)>,
}

/// One case while it runs.
struct Stage<L: Link> {
    driver: Driver<L>,
    queue: Queue,
    seen: Observation,
    firings: FiringLog,
    firings_read: usize,
    tap: Tap,
    mark: usize,
    sa: Option<SaId>,
    setup: Setup,
    halt: Halt,
}

impl<L: Link> Bench<L> {
    /// Ready to run; no honest tunnel has come up yet.
    pub fn new(spec: BenchSpec<L>) -> Self {
        Bench {
            link: Some(spec.link),
            baseline: spec.baseline,
            seeds: spec.seeds,
            peer: spec.peer,
            out: spec.out,
            export_keys: spec.export_keys,
            cases: 0,
            observed: [None, None],
            healthy: Err("no honest tunnel has come up yet".to_owned()),
            halt: spec.halt,
            tell: spec.tell,
        }
    }

    /// The current instant of the run.
    pub fn now(&self) -> Instant {
        self.link.as_ref().map_or(Instant::ZERO, Link::now)
    }

    /// Why the run is to stop now, if it is.
    pub fn stopped(&self) -> Option<&'static str> {
        self.halt.why(self.now())
    }

    /// Whether it is to stop because a person or a supervisor wants it to.
    pub fn interrupted(&self) -> bool {
        self.halt.interrupted()
    }

    /// An honest tunnel in `role`. What it sends is what changes are compared with.
    ///
    /// # Errors
    /// If sockets or files fail.
    pub fn sanity(&mut self, role: Role) -> io::Result<CaseResult> {
        let began = self.now();
        self.clear()?;
        let mut stage = self.stage("sanity", role, self.baseline.clone(), Vec::new())?;
        let outcome = match role {
            Role::Initiator => {
                stage.connect(TunnelId(0));
                Ok(())
            }
            Role::Responder => self.wait_for_peer(&mut stage, INITIATE_WITHIN)?,
        };
        let outcome = match outcome {
            Ok(()) => stage.come_up(SANITY_WITHIN)?,
            Err(why) => Err(why),
        };
        let stopped = if outcome.is_err() { stage.halted() } else { None };
        let seen = self.finish(stage)?;
        let ladder = seen.rungs(began);
        let (verdict, detail) = match &outcome {
            Ok(words) => (Verdict::Pass, words.clone()),
            Err(_) if let Some(why) = stopped => (Verdict::Inconclusive, why.to_owned()),
            Err(why) => (Verdict::Inconclusive, format!("the honest tunnel did not come up: {why}")),
        };
        self.healthy = outcome.map(|_| ()).map_err(|why| format!("no honest tunnel came up before: {why}"));
        if self.healthy.is_ok() {
            self.observed[role as usize] = Some(seen);
        }
        let mut result = self.result("sanity", "an honest tunnel", role, began);
        result.verdict = verdict;
        result.detail = detail;
        result.ladder = ladder;
        result.stopped = stopped.is_some();
        Ok(result)
    }

    /// The result of a scenario that is not played because the run stops.
    pub fn not_run(&self, scenario: &Scenario, role: Role, case: &RoleCase, why: &str) -> CaseResult {
        let mut result = self.result(&scenario.id, &scenario.title, role, self.now());
        result.phase = Some(scenario.phase);
        result.detects = Some(case.detects);
        result.detail = format!("not run: {why}");
        result.stopped = true;
        (result.capture, result.transcript) = (None, None);
        result
    }

    /// One scenario in one role.
    ///
    /// # Errors
    /// If sockets or files fail: what a peer does is never an error.
    pub fn case(&mut self, scenario: &Scenario, role: Role, case: &RoleCase) -> io::Result<CaseResult> {
        let began = self.now();
        let mut evidence = Evidence { no_sanity: self.healthy.clone().err(), ..Evidence::default() };
        let mut setup = self.baseline.clone();
        evidence.unsupported = prepare(scenario, case, &mut setup).err();
        if evidence.no_sanity.is_none() && self.observed[role as usize].is_none() {
            evidence.environment = Some(format!("no honest tunnel has come up with us as {role}"));
        }
        let mut faults = Vec::new();
        let mut ladder = Vec::new();
        let mut stopped = None;
        let played = evidence.unsupported.is_none() && evidence.no_sanity.is_none() && evidence.environment.is_none();
        if played {
            let rules = rules(case, &setup);
            let names: Vec<String> = rules.iter().map(|rule| rule.name.clone()).collect();
            self.clear()?;
            let before = self.peer.show();
            let mut stage = self.stage(&scenario.id, role, setup, rules)?;
            for step in &case.steps {
                match self.step(&mut stage, step)? {
                    Next::On => {}
                    Next::Met(matches) => match &mut evidence.expectation {
                        Some(Outcome::Met(all)) => all.extend(matches),
                        other => *other = Some(Outcome::Met(matches)),
                    },
                    Next::Unmet { expected, actual } => {
                        evidence.expectation = Some(Outcome::Unmet { expected, actual });
                        break;
                    }
                    Next::Environment(why) => {
                        evidence.environment = Some(why);
                        break;
                    }
                    Next::Stopped(why) => {
                        evidence.environment = Some(why.to_owned());
                        stopped = Some(why);
                        break;
                    }
                }
            }
            let firings = stage.firings.clone();
            // Before our DELETE: what the box makes of the failure.
            let after = if stopped.is_none() { self.peer.show() } else { None };
            self.keep_shown(&scenario.id, role, before, after)?;
            let seen = self.finish(stage)?;
            ladder = seen.rungs(began);
            evidence.faults = names.iter().map(|name| (name.clone(), firings.effective(name))).collect();
            faults =
                evidence.faults.iter().map(|(name, fired)| FaultCount { name: name.clone(), fired: *fired }).collect();
            evidence.changes = self.prove(role, case, &seen);
        }
        let judgement = verdict::judge(&evidence);
        let mut result = self.result(&scenario.id, &scenario.title, role, began);
        result.phase = Some(scenario.phase);
        result.detects = Some(case.detects);
        result.verdict = judgement.verdict;
        result.detail = judgement.detail;
        result.expected = judgement.expected;
        result.actual = judgement.actual;
        result.proofs = evidence.changes.into_iter().flatten().collect();
        result.faults = faults;
        result.ladder = ladder;
        result.story = scenario.story.trim().to_owned();
        result.fix = fixes(scenario);
        result.stopped = stopped.is_some();
        result.you_will_see = you_will_see(scenario, role.other());
        if !played {
            (result.capture, result.transcript) = (None, None);
        }
        Ok(result)
    }

    /// Waits out what the peer still holds after a scenario, unless it can be told to forget it.
    ///
    /// # Errors
    /// If sockets fail.
    pub fn settle(&mut self, scenario: &Scenario) -> io::Result<()> {
        let Some(span) = scenario.settle else { return Ok(()) };
        if self.clear()? {
            return Ok(());
        }
        let until = self.now() + span.0;
        let Some(link) = self.link.as_mut() else { return Ok(()) };
        let mut rx = RxBatch::new(16);
        while link.now() < until && self.halt.why(link.now()).is_none() {
            link.recv_until(Some(self.halt.bound(until)), &mut rx)?;
        }
        Ok(())
    }

    fn prove(&self, role: Role, case: &RoleCase, seen: &Observation) -> Vec<Result<change::Proof, String>> {
        let psk = match &self.baseline.spec.local_auth {
            AuthSpec::Psk(psk) => Some(&**psk),
            _ => None,
        };
        case.change
            .keys()
            .map(|path| match &self.observed[role as usize] {
                Some(baseline) => change::prove(path, role, psk, baseline, seen),
                None => Err(format!("no honest tunnel with us as {role} to compare {path} with")),
            })
            .collect()
    }

    fn clear(&mut self) -> io::Result<bool> {
        match self.peer.clear() {
            Ok(cleared) => Ok(cleared),
            Err(why) => {
                (self.tell)(&format!("control.clear failed: {why}"));
                Ok(false)
            }
        }
    }

    fn stage(&mut self, id: &str, role: Role, setup: Setup, rules: Vec<Rule>) -> io::Result<Stage<L>> {
        self.cases += 1;
        let mut link = self.link.take().expect("a case gives the link back when it ends");
        // What still arrives from the case before is none of this one's business.
        let mut rx = RxBatch::new(64);
        let now = link.now();
        while link.recv_until(Some(now), &mut rx)? == crate::link::Wake::Data {}
        let epoch = link.epoch();
        let config = EndpointConfig {
            connections: vec![Arc::new(setup.spec.clone())],
            limits: setup.limits.clone(),
            trace: true,
            // Proofs of a changed key need them; they reach no file unless key tables are asked for.
            export_keys: true,
            salt: self.cases,
            ..EndpointConfig::default()
        };
        let mut endpoint = Endpoint::new(Arc::new(config), self.seeds.clone(), epoch);
        let plan = FaultPlan::new(rules, &self.seeds.plan);
        let firings = plan.log();
        endpoint.set_tamper(Box::new(plan));
        let mut recorder = Recorder::new();
        let tap = Tap::default();
        recorder.add(tap.clone());
        let name = self.file_name(id, role);
        recorder.add(PcapNg::create(&self.out.join(format!("{name}.pcapng")), epoch)?);
        recorder.add(TranscriptDir::create(self.out.join(&name))?);
        if self.export_keys {
            let ports = |ports: crate::engine::Ports| [(ports.ike, SocketRole::Ike), (ports.natt, SocketRole::NatT)];
            let ports = [ports(setup.spec.local_ports), ports(setup.spec.remote_ports)].concat();
            recorder.add(KeyTables::create(&self.out.join(format!("{name}.keys")), &ports)?);
        }
        Ok(Stage {
            driver: Driver::new(endpoint, link, recorder),
            queue: Queue::default(),
            seen: Observation::default(),
            firings,
            firings_read: 0,
            tap,
            mark: 0,
            sa: None,
            setup,
            halt: self.halt.clone(),
        })
    }

    /// The name of a case's files: number, id and role.
    fn file_name(&self, id: &str, role: Role) -> String {
        format!("{:03}-{}-{role}", self.cases, id.replace('/', "-"))
    }

    /// Keeps what the box showed before and after a case.
    fn keep_shown(&self, id: &str, role: Role, before: Option<String>, after: Option<String>) -> io::Result<()> {
        for (when, text) in [("before", before), ("after", after)] {
            if let Some(text) = text {
                std::fs::write(self.out.join(format!("{}-show-{when}.txt", self.file_name(id, role))), text)?;
            }
        }
        Ok(())
    }

    /// Ends a case: closes what is open, takes the link back, returns what was seen.
    fn finish(&mut self, mut stage: Stage<L>) -> io::Result<Observation> {
        stage.close()?;
        let Driver { link, .. } = stage.driver;
        self.link = Some(link);
        Ok(stage.seen)
    }

    fn result(&self, id: &str, title: &str, role: Role, began: Instant) -> CaseResult {
        let name = self.file_name(id, role);
        CaseResult {
            id: id.to_owned(),
            title: title.to_owned(),
            phase: None,
            role,
            detects: None,
            verdict: Verdict::Inconclusive,
            detail: String::new(),
            expected: None,
            actual: None,
            again: None,
            proofs: Vec::new(),
            faults: Vec::new(),
            you_will_see: Vec::new(),
            story: String::new(),
            fix: Vec::new(),
            ladder: Vec::new(),
            at: began.as_secs_f64(),
            seconds: self.now().since(began).as_secs_f64(),
            stopped: false,
            capture: Some(format!("{name}.pcapng")),
            transcript: Some(name),
        }
    }

    fn step(&mut self, stage: &mut Stage<L>, step: &Step) -> io::Result<Next> {
        if let Some(why) = stage.halted() {
            return Ok(Next::Stopped(why));
        }
        match step {
            Step::Establish(_) => {
                stage.mark = stage.seen.entries.len();
                stage.connect(TunnelId(0));
                Ok(Next::On)
            }
            Step::PeerInitiates(wait) => {
                let within = wait.within.map_or(INITIATE_WITHIN, |span| span.0);
                Ok(match self.wait_for_peer(stage, within)? {
                    Ok(()) => Next::On,
                    Err(why) => stage.halted().map_or(Next::Environment(why), Next::Stopped),
                })
            }
            Step::Expect(expect) => stage.expect(expect),
            Step::Liveness(_) => Ok(stage.command(Command::Liveness, "a liveness check")),
            Step::Delete(_) => Ok(stage.command(Command::Delete, "a DELETE")),
            Step::HalfOpen(half_open) => stage.half_open(half_open),
            Step::Wait(wait) => {
                let until = stage.driver.link.now() + wait.span.0;
                while stage.driver.link.now() < until && stage.halted().is_none() {
                    stage.turn(until)?;
                }
                Ok(stage.halted().map_or(Next::On, Next::Stopped))
            }
        }
    }

    fn wait_for_peer(&mut self, stage: &mut Stage<L>, within: Duration) -> io::Result<Result<(), String>> {
        stage.mark = stage.seen.entries.len();
        match self.peer.initiate() {
            Ok(None) => {}
            Ok(Some(words)) => (self.tell)(&words),
            Err(why) => return Ok(Err(format!("the peer could not be made to initiate: {why}"))),
        }
        let until = stage.driver.link.now() + within;
        while !stage.seen.entries[stage.mark..].iter().any(|entry| match &entry.what {
            What::Message(seen) => seen.from == Who::Peer && !seen.is_response(),
            What::Event(_) => false,
        }) {
            if let Some(why) = stage.halted() {
                return Ok(Err(why.to_owned()));
            }
            if stage.driver.link.now() >= until {
                return Ok(Err("the peer never initiated".to_owned()));
            }
            stage.turn(until)?;
        }
        Ok(Ok(()))
    }
}

/// What a step leads to.
enum Next {
    On,
    Met(Vec<expect::Match>),
    Unmet { expected: String, actual: String },
    Environment(String),
    Stopped(&'static str),
}

impl<L: Link> Stage<L> {
    /// Why this case is to stop now, if it is.
    fn halted(&self) -> Option<&'static str> {
        self.halt.why(self.driver.link.now())
    }

    /// One turn of the loop, and everything it brought up taken in.
    fn turn(&mut self, until: Instant) -> io::Result<()> {
        self.driver.turn(Some(self.halt.bound(until)), &mut self.queue)?;
        while let Some((at, tunnel, sa, event)) = self.queue.events.pop_front() {
            if is_honest(tunnel) && matches!(event, crate::engine::Event::IkeUp(_)) {
                self.sa = Some(sa);
            }
            self.seen.event(at, tunnel, &event);
        }
        self.queue.notes.clear();
        let firings = self.firings.since(self.firings_read);
        self.firings_read += firings.len();
        for firing in &firings {
            // What was received has been recorded before a rule looked at it.
            if let Some(dropped) = firing.dropped.as_ref().filter(|dropped| !dropped.inbound) {
                let (path, class, fate) = (&dropped.path, dropped.class, Fate::DroppedByRule(&firing.name));
                self.driver.recorder.datagram(firing.at, Direction::Out, path, class, &dropped.bytes, fate);
            }
        }
        for tapped in self.tap.take() {
            self.seen.datagram(&tapped);
        }
        self.seen.number_events();
        self.driver.recorder.flush()
    }

    fn connect(&mut self, tunnel: TunnelId) -> SaId {
        let now = self.driver.link.now();
        let local = self.setup.spec.local_addr.unwrap_or(IpAddr::from([0, 0, 0, 0]));
        self.driver.endpoint.connect(now, Arc::new(self.setup.spec.clone()), tunnel, local)
    }

    fn command(&mut self, command: Command, what: &str) -> Next {
        let now = self.driver.link.now();
        let outcome = match self.sa {
            Some(sa) => self.driver.endpoint.command(now, sa, command).map_err(|error| error.to_string()),
            None => Err("no IKE SA is up".to_owned()),
        };
        match outcome {
            Ok(()) => Next::On,
            // An IKE SA that is gone cannot be asked; what was expected of it has been judged, or will be.
            Err(_) if self.gone() || self.failed() => Next::On,
            Err(why) => Next::Unmet { expected: format!("an IKE SA for {what}"), actual: why },
        }
    }

    fn failed(&self) -> bool {
        self.seen.events().any(|(_, happened)| happened.name == EventName::Failed)
    }

    fn gone(&self) -> bool {
        self.seen.events().any(|(_, happened)| happened.name == EventName::Deleted)
    }

    fn expect(&mut self, expect: &Expect) -> io::Result<Next> {
        let end = self.driver.link.now() + expect.within.0;
        let mut until = end;
        let mut met = false;
        loop {
            let now = self.driver.link.now();
            let progress = expect::progress(expect, &self.seen.entries[self.mark..]);
            if let (Progress::Met(_), false, Some(lookout)) = (&progress, met, expect::lookout(expect)) {
                met = true;
                until = end.min(now + lookout);
            }
            let done = now >= until;
            match progress {
                Progress::Met(matches) if done => return Ok(Next::Met(matches)),
                Progress::Forbidden(found) => {
                    let packet = found.packet.map(|n| format!(" (packet {n})")).unwrap_or_default();
                    let actual = format!("{}{packet}", found.words);
                    return Ok(Next::Unmet { expected: expect::sentence(expect), actual });
                }
                _ if done => {
                    let actual = self.seen.outcome();
                    return Ok(Next::Unmet { expected: expect::sentence(expect), actual });
                }
                _ if let Some(why) = self.halted() => return Ok(Next::Stopped(why)),
                _ => self.turn(until)?,
            }
        }
    }

    fn half_open(&mut self, half_open: &HalfOpen) -> io::Result<Next> {
        let every = half_open.every.map_or(Duration::from_millis(50), |span| span.0);
        for n in 0..half_open.at_most {
            self.connect(TunnelId(HALF_OPEN_TUNNELS.start + u64::from(n)));
            let until = self.driver.link.now() + every;
            while self.driver.link.now() < until {
                if let Some(why) = self.halted() {
                    return Ok(Next::Stopped(why));
                }
                self.turn(until)?;
                if let Some(found) = expect::find(&half_open.until, &self.seen.entries[self.mark..]) {
                    return Ok(Next::Met(vec![found]));
                }
            }
        }
        let expected = format!("{} with {} half-open IKE SAs", expect::words(&half_open.until), half_open.at_most);
        Ok(Next::Unmet { expected, actual: self.seen.outcome() })
    }

    /// Waits for an honest tunnel; in words, what came up or why nothing did.
    fn come_up(&mut self, within: Duration) -> io::Result<Result<String, String>> {
        let until = self.driver.link.now() + within;
        loop {
            let find = |name: EventName| self.seen.events().find(|(_, what)| what.name == name).map(|(_, what)| what);
            if let Some(failed) = find(EventName::Failed).or(find(EventName::ChildFailed)) {
                return Ok(Err(failed.words.clone()));
            }
            let child = find(EventName::ChildUp).or(find(EventName::ChildNarrowed));
            if let (Some(up), true) = (find(EventName::Up), child.is_some() || self.setup.spec.children.is_empty()) {
                return Ok(Ok(up.words.clone()));
            }
            if self.driver.link.now() >= until || self.halted().is_some() {
                return Ok(Err(self.seen.outcome()));
            }
            self.turn(until)?;
        }
    }

    /// Deletes what is up, drops what is not, with no rule in the way.
    fn close(&mut self) -> io::Result<()> {
        struct Honest;
        impl Tamper for Honest {}
        self.driver.endpoint.set_tamper(Box::new(Honest));
        let now = self.driver.link.now();
        let open = self.sa.is_some() && !self.gone();
        self.driver.endpoint.delete_all(now);
        // Whatever ends the run, the peer is to be left without an IKE SA of ours.
        let until = now + if self.halted().is_some() { GOODBYE } else { CLOSE_WITHIN };
        self.halt = Halt::default();
        self.turn(now)?;
        while open && !self.gone() && self.driver.link.now() < until {
            self.turn(until)?;
        }
        Ok(())
    }
}

/// Makes the changes; in words, why the baseline does not support them.
fn prepare(scenario: &Scenario, case: &RoleCase, setup: &mut Setup) -> Result<(), String> {
    for need in scenario.needs.iter().chain(&case.needs) {
        lacks(setup, *need)?;
    }
    for (path, op) in &case.change {
        change::apply(path, op, setup).map_err(|error| match error {
            ChangeError::Unsupported(why) | ChangeError::Wrong(why) => why,
        })?;
    }
    Ok(())
}

fn lacks(setup: &Setup, need: Need) -> Result<(), String> {
    change::lacks(&setup.spec, need).map_or(Ok(()), Err)
}

/// The rules of a case: its faults, and the one that keeps half-open IKE SAs half open.
fn rules(case: &RoleCase, setup: &Setup) -> Vec<Rule> {
    let mut rules: Vec<Rule> = case.faults.iter().filter_map(|fault| fault.rule().ok()).collect();
    let groups: Vec<KeMethod> = setup.spec.ike_proposals.iter().flat_map(|proposal| proposal.ke_methods()).collect();
    for (fault, rule) in case.faults.iter().zip(&mut rules) {
        // Without arguments the groups demanded are the baseline's own: others no initiator would follow.
        if let (Action::Decide(Choice::DemandGroups(one, other)), true) = (&mut rule.action, fault.with.is_empty()) {
            *one = groups.first().copied().unwrap_or(*one);
            *other = groups.iter().copied().find(|group| group != one).unwrap_or(*other);
        }
    }
    if case.steps.iter().any(|step| matches!(step, Step::HalfOpen(_))) {
        let when = When { tunnels: Some(HALF_OPEN_TUNNELS), exchange: Some(ExchangeType::IKE_AUTH), ..When::default() };
        rules.push(Rule { name: "half-open".to_owned(), when, action: Action::DropSent, times: None });
    }
    rules
}

/// What to type on the boxes, in the order of the vendors.
fn fixes(scenario: &Scenario) -> Vec<VendorFix> {
    let mut fixes: Vec<_> = scenario.fix.iter().collect();
    fixes.sort_by_key(|(vendor, _)| vendor.order());
    let fix = |(vendor, commands): (&VendorName, &Vec<String>)| VendorFix {
        vendor: vendor.label().to_owned(),
        commands: commands.clone(),
    };
    fixes.into_iter().map(fix).collect()
}

/// One line per vendor that the box, in its role, shows; observed ones first.
pub fn you_will_see(scenario: &Scenario, box_role: Role) -> Vec<VendorLine> {
    let mut vendors: Vec<_> = scenario.symptoms.iter().collect();
    vendors.sort_by_key(|(vendor, _)| vendor.order());
    let mut out = Vec::new();
    for (vendor, symptoms) in vendors {
        let mut fitting: Vec<_> =
            symptoms.iter().filter(|symptom| symptom.role.is_none_or(|role| role == box_role)).collect();
        fitting.sort_by_key(|symptom| symptom.evidence);
        let line = fitting.iter().find_map(|symptom| {
            let line = symptom.log.first().or(symptom.show.first()).or(symptom.note.as_ref())?;
            Some((line.clone(), symptom.evidence))
        });
        if let Some((line, evidence)) = line {
            out.push(VendorLine { vendor: vendor.label().to_owned(), line, evidence });
        }
    }
    out
}
