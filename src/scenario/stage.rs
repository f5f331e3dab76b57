//! One case while it runs: our endpoint, what it saw, and the steps that it can take.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::change::Setup;
use super::expect::{self, Match, Progress};
use super::file::{EventName, Expect, HalfOpen, PathStep, PeerOrder, PingStep, Rekey, Role, SaKind, Who};
use super::halt::{GOODBYE, Halt};
use super::observe::{HALF_OPEN_TUNNELS, Observation, Tap, What};
use super::station::Station;
use crate::drive::Driver;
use crate::engine::{Command, ConnectionSpec, Endpoint, SaId, Tamper, TunnelId};
use crate::esp::{Cap, Counters, PingSpec, RecvError, SendError, inner};
use crate::fault::FiringLog;
use crate::link::netem::{Doom, Netem, PathSpec};
use crate::link::{Between, Link, Received};
use crate::net::Class;
use crate::record::{Direction, Fate};
use crate::time::Instant;
use crate::wire::TsRange;

/// How long we wait for the answer to our DELETE.
const CLOSE_WITHIN: Duration = Duration::from_millis(500);
/// How much longer than ours the way of a message is that ours is to cross.
const LONG_WAY: Duration = Duration::from_millis(100);
/// No more than so many ESP packets of one sort are told of at once.
const TOLD_AT_ONCE: u64 = 100;

/// One case while it runs.
pub(super) struct Stage<L: Link> {
    pub driver: Driver<Netem<L>>,
    pub station: Station,
    pub seen: Observation,
    pub firings: FiringLog,
    pub firings_read: usize,
    pub tap: Tap,
    /// Expectations look at what came from here on.
    pub mark: usize,
    pub setup: Setup,
    pub halt: Halt,
    /// Makes the endpoint that a restart begins with.
    pub anew: Box<dyn FnMut() -> Endpoint>,
    pub counted: Counters,
    /// What the path was told to do, and from which line of the log on.
    pub paths: Vec<(PathStep, usize)>,
}

/// What a step leads to.
pub(super) enum Next {
    On,
    Met(Vec<Match>),
    Unmet { expected: String, actual: String },
    Environment(String),
    Stopped(&'static str),
}

impl<L: Link> Stage<L> {
    /// Why this case is to stop now, if it is.
    pub fn halted(&self) -> Option<&'static str> {
        self.halt.why(self.now())
    }

    /// The current instant.
    pub fn now(&self) -> Instant {
        self.driver.link.now()
    }

    /// One turn of the loop, and everything it brought up taken in.
    pub fn turn(&mut self, until: Instant) -> io::Result<()> {
        self.driver.turn(Some(self.halt.bound(until)), &mut self.station)?;
        while let Some((at, tunnel, _, event)) = self.station.queue.events.pop_front() {
            self.seen.event(at, tunnel, &event);
        }
        self.station.queue.notes.clear();
        let now = self.now();
        while let Some(event) = self.station.plane.poll_event() {
            self.seen.plane(now, &event);
        }
        self.count_esp(now);
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

    /// Tells of ESP packets by what the data plane has counted since the last time.
    fn count_esp(&mut self, now: Instant) {
        let counters = *self.station.plane.counters();
        let before = std::mem::replace(&mut self.counted, counters);
        if counters == before {
            return;
        }
        for _ in 0..counters.decaps.saturating_sub(before.decaps).min(TOLD_AT_ONCE) {
            self.seen.happened(now, EventName::EspIn, None, "an ESP packet came in".to_owned());
        }
        for why in RecvError::ALL {
            for _ in 0..counters.dropped(*why).saturating_sub(before.dropped(*why)).min(TOLD_AT_ONCE) {
                let words = format!("an ESP packet was dropped: {}", why.text());
                self.seen.happened(now, EventName::EspDropped, Some(super::observe::slug(why)), words);
            }
        }
        for why in SendError::ALL {
            for _ in 0..counters.not_sent(*why).saturating_sub(before.not_sent(*why)).min(TOLD_AT_ONCE) {
                let words = format!("an ESP packet was not sent: {}", why.text());
                self.seen.happened(now, EventName::EspNotSent, Some(super::observe::slug(why)), words);
            }
        }
    }

    pub fn connect(&mut self, tunnel: TunnelId) -> SaId {
        let now = self.now();
        let local = self.setup.spec.local_addr.unwrap_or(IpAddr::from([0, 0, 0, 0]));
        self.driver.endpoint.connect(now, Arc::new(self.setup.spec.clone()), tunnel, local)
    }

    /// What comes from here on counts.
    pub fn set_mark(&mut self) {
        self.mark = self.seen.entries.len();
    }

    /// Gives our IKE SA a command.
    pub fn command(&mut self, command: Command, what: &str) -> Next {
        let now = self.now();
        let outcome = match self.station.sa {
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

    /// Gives it the command for an order that a peer could get as well, or a rekey with another key exchange.
    pub fn ours(&mut self, order: PeerOrder, what: &str) -> Next {
        let second = second_child(&self.setup.spec);
        match self.station.command(order, &second) {
            Ok((_, command)) => self.command(command, what),
            Err(_) if self.gone() || self.failed() => Next::On,
            Err(why) => Next::Unmet { expected: format!("an SA for {what}"), actual: why },
        }
    }

    pub fn rekey(&mut self, rekey: Rekey) -> Next {
        self.set_mark();
        match (rekey.what, rekey.pfs, self.station.children.last()) {
            (SaKind::Ike, ..) => self.ours(PeerOrder::RekeyIke, "a rekey"),
            (SaKind::Child, Some(pfs), Some(spi)) => self.command(Command::RekeyChildWith(*spi, pfs), "a rekey"),
            (SaKind::Child, ..) => self.ours(PeerOrder::RekeyChild, "a rekey"),
        }
    }

    pub fn delete(&mut self, what: SaKind) -> Next {
        match (what, self.station.children.last()) {
            (SaKind::Child, Some(spi)) => self.command(Command::DeleteChild(*spi), "a DELETE"),
            (SaKind::Child, None) => {
                Next::Unmet { expected: "a Child SA to delete".to_owned(), actual: "none is up".to_owned() }
            }
            (SaKind::Ike, _) => self.command(Command::Delete, "a DELETE"),
        }
    }

    /// Pings from `source`, if given, to `target`, or to the first address of the peer's selectors.
    pub fn ping(&mut self, step: &PingStep, source: Option<IpAddr>, target: Option<IpAddr>) -> Next {
        let Some(child) = self.setup.spec.children.first() else {
            return Next::Environment("the baseline has no Child SA to ping through".to_owned());
        };
        let v6 = child.remote_ts.first().is_some_and(|ts| matches!(ts.range, TsRange::V6 { .. }));
        let Some(target) = target.or_else(|| inner::host_in(&child.remote_ts, v6)) else {
            return Next::Environment("the peer's selectors hold no address to ping".to_owned());
        };
        let up = self.station.children.last().and_then(|spi| {
            let plane = &self.station.plane;
            plane.children().find(|child| child.spi_in() == *spi).map(|child| child.tunnel())
        });
        let plain = PingSpec::new(up.unwrap_or(TunnelId(0)), target);
        let spec = PingSpec {
            count: Some(step.count),
            source,
            interval: step.every.map_or(Duration::from_millis(200), |span| span.0),
            size: step.size.map_or(plain.size, usize::from),
            timeout: step.timeout.map_or(Duration::from_secs(1), |span| span.0),
            ..plain
        };
        let id = self.station.plane.pings().len() as u16 + 1;
        let now = self.now();
        self.station.plane.ping(now, spec, id);
        Next::On
    }

    /// A power cut: nothing is said, nothing is kept.
    pub fn restart(&mut self) -> Next {
        let tamper = self.driver.endpoint.take_tamper();
        self.driver.endpoint = (self.anew)();
        if let Some(tamper) = tamper {
            self.driver.endpoint.set_tamper(tamper);
        }
        self.station.forget();
        self.station.plane.set_cap(self.setup.bandwidth.map(Cap::of_kilobits));
        self.counted = Counters::default();
        self.set_mark();
        Next::On
    }

    /// Puts a box on the path, with the end that begins the tunnel on its inside.
    pub fn put_between(&mut self, role: Role, between: Between) -> Next {
        match self.driver.link.inner_mut().put_between(role == Role::Initiator, Some(&between)) {
            true => Next::On,
            false => Next::Environment("there is nothing that does as it is told".to_owned()),
        }
    }

    /// Changes what the path does. Its blackouts begin to count now.
    pub fn path(&mut self, step: &PathStep) {
        self.set_mark();
        let since = self.now().since(Instant::ZERO);
        let mut spec = step.spec.clone();
        for blackout in spec.out.blackouts.iter_mut().chain(&mut spec.inward.blackouts) {
            blackout.first += since;
        }
        self.paths.push((step.clone(), self.driver.link.fates().len()));
        self.driver.link.set(spec);
    }

    /// What the path was told to do, and how many datagrams that concerned.
    pub fn path_effects(&self) -> Vec<(String, usize)> {
        let fates = self.driver.link.fates();
        let ends = self.paths.iter().skip(1).map(|(_, from)| *from).chain([fates.len()]);
        let told = self.paths.iter().zip(ends).filter(|((step, _), _)| !step.spec.is_clean());
        told.map(|((step, from), end)| {
            let within = fates.get(*from..end).unwrap_or_default();
            let chance = |spec: &PathSpec| {
                let sure = |way: &crate::link::netem::Impairment| {
                    !way.delay.is_zero() || !way.jitter.is_zero() || way.rate.is_some()
                };
                sure(&spec.out) || sure(&spec.inward)
            };
            let concerned = match chance(&step.spec) {
                true => within.len(),
                false => within.iter().filter(|fate| fate.fate != Doom::Passed).count(),
            };
            (format!("path {}", step.text), concerned)
        })
        .collect()
    }

    pub fn failed(&self) -> bool {
        self.seen.events().any(|(_, happened)| happened.name == EventName::Failed)
    }

    pub fn gone(&self) -> bool {
        self.seen.events().any(|(_, happened)| happened.name == EventName::Deleted)
    }

    /// Lets `span` pass.
    pub fn wait(&mut self, span: Duration) -> io::Result<Next> {
        let until = self.now() + span;
        while self.now() < until && self.halted().is_none() {
            self.turn(until)?;
        }
        Ok(self.halted().map_or(Next::On, Next::Stopped))
    }

    /// Keeps what the peer sends, and waits until a request is among it; in words, why none is. Nothing of it is seen
    /// before [`Stage::let_in`].
    pub fn request_at_the_door(&mut self, within: Duration) -> io::Result<Result<(), String>> {
        const RESPONSE: u8 = 0x20;
        let until = self.now() + within;
        let request = |received: &Received| {
            received.class == Class::Ike && received.bytes.get(19).is_some_and(|flags| flags & RESPONSE == 0)
        };
        while !self.driver.link.held().any(request) {
            if let Some(why) = self.halted() {
                return Ok(Err(why.to_owned()));
            }
            if self.now() >= until {
                return Ok(Err("it sent no request".to_owned()));
            }
            self.turn(until)?;
        }
        Ok(Ok(()))
    }

    /// What we have to say leaves and arrives, and then what was kept comes in.
    pub fn let_in(&mut self) -> io::Result<()> {
        let arrived = self.now() + LONG_WAY;
        while self.now() < arrived && self.halted().is_none() {
            self.turn(arrived)?;
        }
        self.driver.link.let_in();
        Ok(())
    }

    /// Waits until the peer has sent a request; in words, why it has not.
    pub fn hear(&mut self, within: Duration) -> io::Result<Result<(), String>> {
        let until = self.now() + within;
        while !self.seen.entries[self.mark..].iter().any(|entry| match &entry.what {
            What::Message(seen) => seen.from == Who::Peer && !seen.is_response(),
            What::Event(_) => false,
        }) {
            if let Some(why) = self.halted() {
                return Ok(Err(why.to_owned()));
            }
            if self.now() >= until {
                return Ok(Err("the peer never initiated".to_owned()));
            }
            self.turn(until)?;
        }
        Ok(Ok(()))
    }

    pub fn expect(&mut self, expect: &Expect) -> io::Result<Next> {
        let end = self.now() + expect.within.0;
        let mut until = end;
        let mut met = false;
        loop {
            let now = self.now();
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
                    let actual = self.seen.outcome_since(self.mark);
                    return Ok(Next::Unmet { expected: expect::sentence(expect), actual });
                }
                _ if let Some(why) = self.halted() => return Ok(Next::Stopped(why)),
                _ => self.turn(until)?,
            }
        }
    }

    pub fn half_open(&mut self, half_open: &HalfOpen) -> io::Result<Next> {
        let every = half_open.every.map_or(Duration::from_millis(50), |span| span.0);
        for n in 0..half_open.at_most {
            self.connect(TunnelId(HALF_OPEN_TUNNELS.start + u64::from(n)));
            let until = self.now() + every;
            while self.now() < until {
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
    pub fn come_up(&mut self, within: Duration) -> io::Result<Result<String, String>> {
        let until = self.now() + within;
        loop {
            let find = |name: EventName| {
                self.seen.events_since(self.mark).find(|(_, what)| what.name == name).map(|(_, what)| what)
            };
            if let Some(failed) = find(EventName::Failed).or(find(EventName::ChildFailed)) {
                return Ok(Err(failed.words.clone()));
            }
            let child = find(EventName::ChildUp).or(find(EventName::ChildNarrowed));
            if let (Some(up), true) = (find(EventName::Up), child.is_some() || self.setup.spec.children.is_empty()) {
                return Ok(Ok(up.words.clone()));
            }
            if self.now() >= until || self.halted().is_some() {
                return Ok(Err(self.seen.outcome()));
            }
            self.turn(until)?;
        }
    }

    /// Deletes what is up, drops what is not, with no rule and no bad path in the way.
    pub fn close(&mut self) -> io::Result<()> {
        struct Honest;
        impl Tamper for Honest {}
        self.driver.link.set(PathSpec::default());
        self.driver.link.let_in();
        self.driver.endpoint.set_tamper(Box::new(Honest));
        let now = self.now();
        let open = self.station.sa.is_some() && !self.gone();
        self.driver.endpoint.delete_all(now);
        // Whatever ends the run, the peer is to be left without an IKE SA of ours.
        let until = now + if self.halted().is_some() { GOODBYE } else { CLOSE_WITHIN };
        self.halt = Halt::default();
        self.turn(now)?;
        while open && !self.gone() && self.now() < until {
            self.turn(until)?;
        }
        Ok(())
    }
}

/// The name of the child that a second Child SA is made of.
fn second_child(spec: &ConnectionSpec) -> String {
    spec.children.get(1).or(spec.children.first()).map(|child| child.name.clone()).unwrap_or_default()
}

/// The last host address that a selector holds.
pub(super) fn last_host(selector: &crate::wire::TrafficSelector) -> Option<IpAddr> {
    match selector.range {
        TsRange::V4 { start, end } => {
            let (start, end) = (u32::from(start), u32::from(end));
            // Not the broadcast address of a subnet.
            let last = if end - start > 2 { end - 1 } else { end };
            Some(IpAddr::V4(last.into()))
        }
        TsRange::V6 { end, .. } => Some(IpAddr::V6(end)),
        TsRange::Unknown { .. } => None,
    }
}
