//! Plays scenarios against a peer and judges them.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::change::{self, ChangeError, Setup};
use super::file::{Collision, Need, PeerOrder, Role, RoleCase, Scenario, Step, VendorName};
use super::halt::Halt;
use super::observe::{HALF_OPEN_TUNNELS, Observation, Tap};
use super::peer::PeerDriver;
use super::person::{LOOK, Person};
use super::persona::{Doubles, PeerLine};
use super::proof::{self, Proof};
use super::result::{CaseResult, FaultCount, VendorFix, VendorLine};
use super::stage::{Next, Stage, last_host};
use super::station::{Carry, Station};
use super::syslog;
use super::verdict::{self, Evidence, Outcome, Verdict};
use crate::drive::Driver;
use crate::engine::{Command, Endpoint, EndpointConfig, NatTraversal, TunnelId};
use crate::esp::{Cap, Counters};
use crate::fault::{Action, Choice, FaultPlan, Rule, When};
use crate::link::netem::{Netem, PathSpec};
use crate::link::{Between, Link, RxBatch};
use crate::net::SocketRole;
use crate::record::{KeyTables, PcapNg, Recorder, TranscriptDir};
use crate::seed::Seeds;
use crate::time::Instant;
use crate::vendor::quotes;
use crate::wire::registry::{ExchangeType, KeMethod};

/// How long a peer that is driven may take to send its first packet.
const INITIATE_WITHIN: Duration = Duration::from_secs(60);
/// How long an honest tunnel may take.
const SANITY_WITHIN: Duration = Duration::from_secs(30);

/// In a case's folder, what the box that the embedded peer plays would have logged.
pub const PEER_LOG: &str = "peer.log";
/// How long the embedded peer may take over our last message before its log is read.
const LOG_SETTLES: Duration = Duration::from_millis(100);
/// The rule that keeps half-open IKE SAs half open.
const HALF_OPEN: &str = "half-open";

/// Why a NAT cannot be played over these sockets.
const NOTHING_BETWEEN: &str = "cannot be played: needs a box on the path that does as it is told; the simulated network has one, \
                               and so have the sockets that face a real peer";

/// Why nothing can be said about ESP without UDP.
const NO_PROTOCOL_50: &str = "cannot be played: it is about ESP without UDP (IP protocol 50), which we cannot send here: that \
                              needs a raw socket (root, or CAP_NET_RAW), and no `encapsulation: force-udp` in `data`";

/// How long our last answer in a handshake may travel.
const LAST_ANSWER: Duration = Duration::from_millis(50);

/// What a run is made with.
pub struct Bench<L> {
    /// Our sockets, behind a path that can be made bad; taken while a case runs.
    link: Option<Netem<L>>,
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
    person: Person,
    /// The case that is played.
    playing: String,
    carry: Carry,
    ping: Option<IpAddr>,
    virtual_time: bool,
    doubles: Option<Doubles>,
}

/// How a bench is set up.
pub struct BenchSpec<L> {
    /// Our sockets.
    pub link: L,
    /// The working baseline.
    pub baseline: Setup,
    /// How ESP leaves us.
    pub carry: Carry,
    /// The first case gets the number after this one.
    pub number_from: u64,
    /// The link's clock is virtual.
    pub virtual_time: bool,
    /// An address of the peer's side that answers echo requests; otherwise the first one of its selectors.
    pub ping: Option<IpAddr>,
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
    /// Whoever is told what to do at the box.
    pub person: Person,
    /// Finds out which habit of a persona is the reason when a failure does not show.
    pub doubles: Option<Doubles>,
}

impl<L: Link> Bench<L> {
    /// Ready to run; no honest tunnel has come up yet.
    pub fn new(spec: BenchSpec<L>) -> Self {
        let baseline = Setup { now: spec.link.epoch(), ..spec.baseline };
        Bench {
            link: Some(Netem::new(spec.link, PathSpec::default(), &spec.seeds.plan)),
            baseline,
            seeds: spec.seeds,
            peer: spec.peer,
            out: spec.out,
            export_keys: spec.export_keys,
            cases: spec.number_from,
            observed: [None, None],
            healthy: Err("no honest tunnel has come up yet".to_owned()),
            halt: spec.halt,
            person: spec.person,
            playing: String::new(),
            carry: spec.carry,
            ping: spec.ping,
            virtual_time: spec.virtual_time,
            doubles: spec.doubles,
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

    /// Whether it takes a person to make the peer initiate, or with an order to make it do that.
    pub fn by_hand(&self, order: Option<PeerOrder>) -> bool {
        self.peer.by_hand(order)
    }

    /// Whoever is told what to do at the box.
    pub fn person(&mut self) -> &mut Person {
        &mut self.person
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
        if let (None, Some(presented)) = (&evidence.unsupported, &setup.presented) {
            evidence.unsupported = self.peer.present(Some(presented)).err();
        }
        let exchanged = setup.presented.is_some();
        let between = |step: &Step| matches!(step, Step::Nat(_) | Step::Firewall(_));
        let obeys = self.link.as_mut().is_some_and(|link| link.inner_mut().put_between(true, None));
        if evidence.unsupported.is_none() && case.steps.iter().any(between) && !obeys {
            evidence.unsupported = Some(NOTHING_BETWEEN.to_owned());
        }
        if evidence.unsupported.is_none() && !self.carry.native && needs_protocol_50(case, &setup) {
            evidence.unsupported = Some(NO_PROTOCOL_50.to_owned());
        }
        let mut faults = Vec::new();
        let mut ladder = Vec::new();
        let mut stopped = None;
        let mut peer_log = Vec::new();
        let played = evidence.unsupported.is_none() && evidence.no_sanity.is_none() && evidence.environment.is_none();
        if played {
            let rules = rules(case, &setup);
            // A fault that makes no sense never fires, and that is to be seen.
            let senseless = case.faults.iter().filter(|fault| fault.rule().is_err()).map(|fault| fault.name.clone());
            let names: Vec<String> = rules.iter().map(|rule| rule.name.clone()).chain(senseless).collect();
            self.clear()?;
            let before = self.peer.show();
            let mut stage = self.stage(&scenario.id, role, setup, rules)?;
            self.peer.log();
            for step in &case.steps {
                match self.step(&mut stage, role, step)? {
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
            let paths = stage.path_effects().into_iter().chain(between_effects(case, &stage)).collect::<Vec<_>>();
            // Before our DELETE: what the box makes of the failure.
            let after = if stopped.is_none() { self.peer.show() } else { None };
            self.keep_shown(&scenario.id, role, before, after)?;
            if self.peer.log().map(|lines| peer_log.extend(lines)).is_some() && stopped.is_none() {
                stage.wait(LOG_SETTLES)?;
                peer_log.extend(self.peer.log().unwrap_or_default());
            }
            let seen = self.finish(stage)?;
            ladder = seen.rungs(began);
            let fired = names.iter().map(|name| (name.clone(), firings.effective(name)));
            // A peer that demands cookies of the first leaves nothing to keep half open.
            evidence.faults = fired.filter(|(name, fired)| name != HALF_OPEN || *fired > 0).chain(paths).collect();
            evidence.step_is_cause = case.steps.iter().any(Step::is_cause);
            faults =
                evidence.faults.iter().map(|(name, fired)| FaultCount { name: name.clone(), fired: *fired }).collect();
            evidence.changes = self.prove(role, case, &seen);
        }
        if exchanged && let Err(why) = self.peer.present(None) {
            self.person.tell(&format!("the peer's own certificate is not back: {why}"));
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
        result.peer_log = self.keep_log(peer_log, &scenario.id, role, began)?;
        syslog::model(&mut result.ladder, &result.peer_log);
        if let (true, Some(doubles)) = (played && !result.stopped, &self.doubles)
            && matches!(result.verdict, Verdict::NotSeen | Verdict::Inconclusive)
            && let Some(difference) = doubles.difference(scenario, role, case)?
        {
            (result.verdict, result.detail) = (Verdict::Differs, difference.words());
            result.differs = Some(difference);
        }
        if !played {
            (result.capture, result.transcript) = (None, None);
        }
        Ok(result)
    }

    /// Whether the expectations of a case hold, whatever caused what was seen. `None` if it did not get that far. For tests
    /// that take causes away.
    #[cfg(test)]
    pub fn expectations_hold(&mut self, scenario: &Scenario, role: Role, case: &RoleCase) -> io::Result<Option<bool>> {
        let mut setup = self.baseline.clone();
        if prepare(scenario, case, &mut setup).is_err() {
            return Ok(None);
        }
        let rules = rules(case, &setup);
        self.clear()?;
        let mut stage = self.stage("causeless", role, setup, rules)?;
        let mut hold = None;
        for step in &case.steps {
            match self.step(&mut stage, role, step)? {
                Next::On => {}
                Next::Met(_) => hold = Some(true),
                Next::Unmet { .. } => {
                    hold = Some(false);
                    break;
                }
                Next::Environment(why) => panic!("{} {role}: {why}", scenario.id),
                Next::Stopped(_) => return Ok(None),
            }
        }
        self.finish(stage)?;
        Ok(hold)
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
        let words = self.peer.clear_by_hand();
        let looked_at = words.is_some_and(|words| self.person.offer(&scenario.id, span.0, words));
        let Some(link) = self.link.as_mut() else { return Ok(()) };
        let mut rx = RxBatch::new(16);
        while link.now() < until && self.halt.why(link.now()).is_none() {
            if looked_at && self.person.entered() == Some(true) {
                break;
            }
            let next = if looked_at { until.min(link.now() + LOOK) } else { until };
            link.recv_until(Some(self.halt.bound(next)), &mut rx)?;
        }
        Ok(())
    }

    fn prove(&self, role: Role, case: &RoleCase, seen: &Observation) -> Vec<Result<Proof, String>> {
        case.change
            .keys()
            .map(|path| match &self.observed[role as usize] {
                Some(baseline) => proof::prove(path, role, &self.baseline.spec, baseline, seen),
                None => Err(format!("no honest tunnel with us as {role} to compare {path} with")),
            })
            .collect()
    }

    fn clear(&mut self) -> io::Result<bool> {
        match self.peer.clear() {
            Ok(cleared) => Ok(cleared),
            Err(why) => {
                self.person.tell(&format!("control.clear failed: {why}"));
                Ok(false)
            }
        }
    }

    fn stage(&mut self, id: &str, role: Role, setup: Setup, rules: Vec<Rule>) -> io::Result<Stage<L>> {
        self.cases += 1;
        self.playing = id.to_owned();
        let mut link = self.link.take().expect("a case gives the link back when it ends");
        // What still arrives from the case before is none of this one's business.
        let mut rx = RxBatch::new(64);
        let now = link.now();
        while link.recv_until(Some(now), &mut rx)? == crate::link::Wake::Data {}
        let epoch = link.epoch();
        let mut spec = setup.spec.clone();
        // A second Child SA is made when a step asks for it.
        spec.behaviour.all_children = false;
        let setup = Setup { spec, ..setup };
        let (connections, limits) = (vec![Arc::new(setup.spec.clone())], setup.limits.clone());
        let (seeds, mut salt) = (self.seeds.clone(), self.cases << 8);
        let mut anew: Box<dyn FnMut() -> Endpoint> = Box::new(move || {
            salt += 1;
            let config = EndpointConfig {
                connections: connections.clone(),
                limits: limits.clone(),
                trace: true,
                // Proofs of a changed key need them; they reach no file unless key tables are asked for.
                export_keys: true,
                salt,
                ..EndpointConfig::default()
            };
            Endpoint::new(Arc::new(config), seeds.clone(), epoch)
        });
        let mut endpoint = anew();
        let plan = FaultPlan::new(rules, &self.seeds.plan);
        let firings = plan.log();
        let mut station = Station::new(self.carry);
        station.plane.set_cap(setup.bandwidth.map(Cap::of_kilobits));
        if let Some(esp) = plan.for_esp(&self.seeds.plan) {
            station.plane.set_tamper(Box::new(esp));
        }
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
            station,
            seen: Observation::default(),
            firings,
            firings_read: 0,
            tap,
            mark: 0,
            setup,
            halt: self.halt.clone(),
            anew,
            counted: Counters::default(),
            paths: Vec::new(),
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

    /// Writes what a persona has logged into the case's folder; the times count from the case's beginning.
    fn keep_log(&self, lines: Vec<PeerLine>, id: &str, role: Role, began: Instant) -> io::Result<Vec<PeerLine>> {
        if lines.is_empty() {
            return Ok(lines);
        }
        let since = |line: PeerLine| PeerLine { at: (line.at - began.as_secs_f64()).max(0.0), ..line };
        let lines: Vec<PeerLine> = lines.into_iter().map(since).collect();
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        std::fs::write(self.out.join(self.file_name(id, role)).join(PEER_LOG), text)?;
        Ok(lines)
    }

    /// Ends a case: closes what is open, takes the link back, returns what was seen.
    fn finish(&mut self, mut stage: Stage<L>) -> io::Result<Observation> {
        stage.close()?;
        let Driver { mut link, .. } = stage.driver;
        link.inner_mut().put_between(true, None);
        link.inner_mut().put_between(false, None);
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
            virtual_time: self.virtual_time,
            stopped: false,
            honest_after: None,
            capture: Some(format!("{name}.pcapng")),
            transcript: Some(name),
            peer_log: Vec::new(),
            differs: None,
        }
    }

    fn step(&mut self, stage: &mut Stage<L>, role: Role, step: &Step) -> io::Result<Next> {
        if let Some(why) = stage.halted() {
            return Ok(Next::Stopped(why));
        }
        Ok(match step {
            Step::Establish(_) => {
                stage.set_mark();
                stage.connect(TunnelId(0));
                Next::On
            }
            Step::PeerInitiates(wait) => {
                let within = wait.within.map_or(INITIATE_WITHIN, |span| span.0);
                match self.wait_for_peer(stage, within)? {
                    Ok(()) => Next::On,
                    Err(why) => stage.halted().map_or(Next::Environment(why), Next::Stopped),
                }
            }
            Step::Tunnel(tunnel) => self.tunnel(stage, role, tunnel.within.map_or(SANITY_WITHIN, |span| span.0))?,
            Step::Expect(expect) => return stage.expect(expect),
            Step::Liveness(_) => stage.command(Command::Liveness, "a liveness check"),
            Step::Delete(delete) => stage.delete(delete.what),
            Step::Rekey(rekey) => stage.rekey(*rekey),
            Step::Collide(collide) => return self.collide(stage, collide.what),
            Step::SecondChild(_) => {
                stage.set_mark();
                stage.ours(PeerOrder::SecondChild, "a second Child SA")
            }
            Step::Reauthenticate(_) => {
                stage.set_mark();
                stage.command(Command::Reauthenticate, "a new authentication")
            }
            Step::Ping(ping) => {
                let ours = self.baseline.spec.children.first().and_then(|child| child.local_ts.last());
                let source = ours.filter(|_| ping.from_far).and_then(last_host);
                let theirs = self.baseline.spec.children.first().and_then(|child| child.remote_ts.last());
                let far = theirs.filter(|_| ping.far).and_then(last_host);
                stage.ping(ping, source, far.or(self.ping))
            }
            Step::Restart(_) => stage.restart(),
            Step::Peer(order) => {
                stage.set_mark();
                match self.peer.order(order.does) {
                    Ok(None) => Next::On,
                    Ok(Some(words)) => {
                        self.person.ask(&self.playing, None, &words);
                        Next::On
                    }
                    Err(why) => Next::Environment(format!("the peer could not be made to do it: {why}")),
                }
            }
            Step::Path(path) => {
                stage.path(path);
                Next::On
            }
            Step::Nat(nat) => {
                stage.put_between(role, Between { translates: true, forgets: nat.forgets(), drops_esp: true })
            }
            Step::Firewall(wall) => stage
                .put_between(role, Between { translates: false, forgets: wall.forgets(), drops_esp: wall.drops_esp }),
            Step::HalfOpen(half_open) => return stage.half_open(half_open),
            Step::Wait(wait) => return stage.wait(wait.span.0),
        })
    }

    /// Both ends begin the same thing. Ours leaves when the peer's has come and before we have looked at it: the two cross,
    /// however long the peer takes to do what it is told.
    fn collide(&mut self, stage: &mut Stage<L>, what: Collision) -> io::Result<Next> {
        stage.set_mark();
        stage.driver.link.hold();
        let told = match what {
            Collision::Tunnel => self.peer.initiate(),
            Collision::Child => self.peer.order(PeerOrder::RekeyChild),
            Collision::Ike => self.peer.order(PeerOrder::RekeyIke),
        };
        let came = match told {
            Ok(words) => {
                words.iter().for_each(|words| self.person.ask(&self.playing, Some(INITIATE_WITHIN), words));
                stage.request_at_the_door(INITIATE_WITHIN)?
            }
            Err(why) => Err(why),
        };
        if let Err(why) = came {
            stage.let_in()?;
            let why = Next::Environment(format!("the peer could not be made to do it: {why}"));
            return Ok(stage.halted().map_or(why, Next::Stopped));
        }
        let next = match what {
            Collision::Tunnel => {
                stage.connect(TunnelId(0));
                Next::On
            }
            Collision::Child => stage.ours(PeerOrder::RekeyChild, "a rekey"),
            Collision::Ike => stage.ours(PeerOrder::RekeyIke, "a rekey"),
        };
        stage.let_in()?;
        Ok(next)
    }

    /// A tunnel, begun by whichever end has that role.
    fn tunnel(&mut self, stage: &mut Stage<L>, role: Role, within: Duration) -> io::Result<Next> {
        stage.set_mark();
        if role == Role::Initiator {
            stage.connect(TunnelId(0));
        } else if let Err(why) = self.wait_for_peer(stage, INITIATE_WITHIN)? {
            return Ok(stage.halted().map_or(Next::Environment(why), Next::Stopped));
        }
        Ok(match stage.come_up(within)? {
            // An initiator is up only when it has our last answer.
            Ok(_) if role == Role::Responder => stage.wait(LAST_ANSWER)?,
            Ok(_) => Next::On,
            Err(why) => {
                stage.halted().map_or(Next::Environment(format!("the tunnel did not come up: {why}")), Next::Stopped)
            }
        })
    }

    fn wait_for_peer(&mut self, stage: &mut Stage<L>, within: Duration) -> io::Result<Result<(), String>> {
        stage.set_mark();
        match self.peer.initiate() {
            Ok(None) => {}
            Ok(Some(words)) => self.person.ask(&self.playing, Some(within), &words),
            Err(why) => return Ok(Err(format!("the peer could not be made to initiate: {why}"))),
        }
        stage.hear(within)
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

/// Whether ESP has to travel as IP protocol 50 for there to be anything to see: a box stops it, or a NAT is there that nobody
/// may notice.
fn needs_protocol_50(case: &RoleCase, setup: &Setup) -> bool {
    let unnoticed = setup.spec.nat.traversal == NatTraversal::Off;
    case.steps.iter().any(|step| match step {
        Step::Firewall(wall) => wall.drops_esp,
        Step::Nat(_) => unnoticed,
        _ => false,
    })
}

/// What a box that a case has put on the path has stopped or translated, where somebody counts: one that did neither is no
/// cause of anything.
fn between_effects<L: Link>(case: &RoleCase, stage: &Stage<L>) -> Option<(String, usize)> {
    let name = case.steps.iter().find_map(|step| match step {
        Step::Nat(_) => Some("NAT on the path"),
        Step::Firewall(_) => Some("firewall on the path"),
        _ => None,
    })?;
    let effects = stage.driver.link.between_effects()?;
    Some((name.to_owned(), usize::try_from(effects).unwrap_or(usize::MAX)))
}

fn lacks(setup: &Setup, need: Need) -> Result<(), String> {
    change::lacks(setup, need).map_or(Ok(()), Err)
}

/// The rules of a case: its faults, and the one that keeps half-open IKE SAs half open.
fn rules(case: &RoleCase, setup: &Setup) -> Vec<Rule> {
    let mut rules = Vec::new();
    let groups: Vec<KeMethod> = setup.spec.ike_proposals.iter().flat_map(|proposal| proposal.ke_methods()).collect();
    for fault in &case.faults {
        let Ok(mut rule) = fault.rule() else { continue };
        // Without arguments the groups demanded are the baseline's own: others no initiator would follow.
        if let (Action::Decide(Choice::DemandGroups(one, other)), true) = (&mut rule.action, fault.with.is_empty()) {
            *one = groups.first().copied().unwrap_or(*one);
            *other = groups.iter().copied().find(|group| group != one).unwrap_or(*other);
        }
        rules.push(rule);
    }
    if case.steps.iter().any(|step| matches!(step, Step::HalfOpen(_))) {
        let when = When { tunnels: Some(HALF_OPEN_TUNNELS), exchange: Some(ExchangeType::IKE_AUTH), ..When::default() };
        rules.push(Rule { name: HALF_OPEN.to_owned(), when, action: Action::DropSent, times: None });
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
            let sources = quotes::sources(vendor.as_str(), &line, evidence);
            let sources = sources.into_iter().map(|source| source.title().to_owned()).collect();
            out.push(VendorLine { vendor: vendor.label().to_owned(), line, evidence, sources });
        }
    }
    out
}
