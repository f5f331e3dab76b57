//! The runner: one trial after the other, as a state machine.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use super::{Outcome, Pings, Report, Trial, Verdict};
use crate::engine::{ChildSa, Command, Event, FailScope, Failed, Pfs, SaId, Side, TunnelId};
use crate::time::Instant;
use crate::wire::registry::NotifyType;

/// Our tunnel's number.
pub const TUNNEL: TunnelId = TunnelId(1);
/// Echo requests before and after each trial.
const PINGS: u64 = 3;
/// From one to the next.
const PING_EVERY: Duration = Duration::from_millis(100);
/// An answer later than this is lost.
const PING_TIMEOUT: Duration = Duration::from_secs(1);
/// The tunnel must be up within this.
const CONNECT_WITHIN: Duration = Duration::from_secs(20);
/// A rekey of the peer's must be done within this after the command that starts it.
const COMMAND_WITHIN: Duration = Duration::from_secs(20);
/// An exchange inside the tunnel must be done within this.
const EXCHANGE_WITHIN: Duration = Duration::from_secs(8);
/// How long a peer that began is given to install what our answer has made, before data is sent.
const INSTALL_WITHIN: Duration = Duration::from_millis(250);
/// How long the end of what was replaced is waited for: it is no part of the trial's success.
const TIDY_WITHIN: Duration = Duration::from_secs(2);

/// What the driver has to do.
#[derive(Clone, Debug)]
pub enum Order {
    /// Start the connection as initiator, as [`TUNNEL`].
    Connect,
    /// Order this of the IKE SA.
    Command(SaId, Command),
    /// Send echo requests through [`TUNNEL`], and call [`Preflight::pinged`] when they are settled.
    Ping {
        /// Whom.
        target: IpAddr,
        /// How many.
        count: u64,
        /// From one to the next.
        interval: Duration,
        /// An answer later than this is lost.
        timeout: Duration,
    },
    /// Make the peer initiate.
    PeerInitiate,
    /// Make the peer rekey: the IKE SA, or else the Child SA.
    PeerRekey {
        /// The IKE SA.
        ike: bool,
    },
}

/// How the peer's half can be tried.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The box initiates by a command of ours.
    pub initiates: bool,
    /// The box rekeys by a command of ours: the Child SA, the IKE SA.
    pub rekeys: [bool; 2],
    /// What a person would enter on the box, for the lines that say "not tested".
    pub hint: String,
    /// How long to wait for the peer to initiate.
    pub initiate_within: Duration,
    /// How long to wait for a rekey of the peer's; `None` if it is not to be waited for.
    pub wait: Option<Duration>,
    /// Who answers echo requests behind the peer.
    pub target: Option<IpAddr>,
}

/// Where a trial stands.
#[derive(Clone, Debug)]
enum Stage {
    /// Echo requests are out, before (true) or after it.
    Ping(bool),
    /// It goes on until something happens or this instant.
    Try(Instant),
    /// It has worked; what it replaced has until this instant to go.
    Tidy(Instant),
    /// It is settled; the peer has until this instant to install what our answer has made.
    Pause(Instant),
    /// The tunnel is brought back after a failure.
    Restore(Instant),
}

/// A rehearsal under way.
#[derive(Debug)]
pub struct Preflight {
    options: Options,
    has_children: bool,
    rest: VecDeque<Trial>,
    current: Option<Current>,
    orders: VecDeque<Order>,
    report: Report,
    /// The IKE SA that serves the tunnel.
    sa: Option<SaId>,
    /// Our inbound SPI of the Child SA that the trials use.
    child: Option<u32>,
    up: bool,
    /// A child has come up or was refused since the last connect.
    child_settled: bool,
    child_refused: Option<String>,
    last_inbound: Option<ChildSa>,
    peer_rekeyed_child: bool,
    peer_rekeyed_ike: bool,
    /// Nothing more can be tried.
    given_up: Option<String>,
}

#[derive(Debug)]
struct Current {
    trial: Trial,
    stage: Stage,
    began: Instant,
    took: Duration,
    before: Option<Pings>,
    verdict: Option<(Verdict, String)>,
    /// The second Child SA, or the IKE SA that was replaced.
    extra: Option<u32>,
    old_sa: Option<SaId>,
}

impl Preflight {
    /// A rehearsal of these trials.
    pub fn new(trials: Vec<Trial>, has_children: bool, options: Options) -> Self {
        Preflight {
            options,
            has_children,
            rest: trials.into(),
            current: None,
            orders: VecDeque::new(),
            report: Report::default(),
            sa: None,
            child: None,
            up: false,
            child_settled: false,
            child_refused: None,
            last_inbound: None,
            peer_rekeyed_child: false,
            peer_rekeyed_ike: false,
            given_up: None,
        }
    }

    /// What has been found out so far.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Nothing is left to try.
    pub fn is_done(&self) -> bool {
        self.current.is_none() && self.rest.is_empty()
    }

    /// The trial under way.
    pub fn current(&self) -> Option<&Trial> {
        self.current.as_ref().map(|c| &c.trial)
    }

    /// What the driver has to do next.
    pub fn poll_order(&mut self, now: Instant) -> Option<Order> {
        self.advance(now);
        self.orders.pop_front()
    }

    /// When to call [`Preflight::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.current.as_ref()?.stage {
            Stage::Ping(_) => None,
            Stage::Try(at) | Stage::Tidy(at) | Stage::Pause(at) | Stage::Restore(at) => Some(at),
        }
    }

    /// What remains is not tried, for this reason.
    pub fn stop(&mut self, now: Instant, why: &str) {
        if self.current.is_some() {
            self.settle(now, Verdict::NotTested, why.to_owned());
            self.close(None);
        }
        self.given_up = Some(why.to_owned());
        self.advance(now);
    }

    /// A ping that was ordered is done.
    pub fn pinged(&mut self, now: Instant, pings: Pings) {
        self.report.data_tested = true;
        let Some(current) = &mut self.current else { return };
        match current.stage {
            Stage::Ping(true) => {
                current.before = Some(pings);
                self.begin(now);
            }
            Stage::Ping(false) => self.close(Some(pings)),
            _ => {}
        }
    }

    /// An order was not taken.
    pub fn refused(&mut self, now: Instant, why: &str) {
        if self.current.as_ref().is_some_and(|c| matches!(c.stage, Stage::Try(_))) {
            self.settle(now, Verdict::Failed, format!("could not be ordered: {why}"));
            self.after(now);
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        let Some(current) = &self.current else { return };
        match current.stage {
            Stage::Try(at) if at <= now => {
                let within = crate::config::duration_words(at.since(current.began));
                let (verdict, why) = match current.trial {
                    Trial::PeerConnects => (Verdict::NotTested, format!("the peer did not begin within {within}")),
                    Trial::PeerRekeysChild | Trial::PeerRekeysIke => {
                        (Verdict::NotTested, format!("the peer did not rekey within {within}"))
                    }
                    _ => (Verdict::Failed, format!("not done within {within}")),
                };
                self.settle(now, verdict, why);
                self.after(now);
            }
            Stage::Tidy(at) if at <= now => self.after(now),
            Stage::Pause(at) if at <= now => self.ping(now, false),
            Stage::Restore(at) if at <= now => self.no_way_back("the tunnel did not come back"),
            _ => {}
        }
    }

    /// Something happened to an IKE SA of ours.
    pub fn event(&mut self, now: Instant, sa: SaId, event: &Event) {
        match event {
            Event::IkeUp(_) => {
                (self.sa, self.up) = (Some(sa), true);
                self.child_settled |= !self.has_children;
            }
            Event::ChildInbound(child) => self.last_inbound = Some((**child).clone()),
            Event::ChildOutbound { spi_in } => {
                if self.child.is_none() {
                    self.child = Some(*spi_in);
                }
                self.child_settled = true;
            }
            Event::ChildFailed(failed) => {
                if !self.child_settled {
                    self.child_refused = Some(failed.why.to_string());
                }
                self.child_settled = true;
            }
            Event::ChildRekeyed { old, new } => {
                if self.child == Some(*old) {
                    self.child = Some(*new);
                }
                let theirs = self.last_inbound.as_ref().is_some_and(|c| c.spi_in == *new && !c.initiator);
                self.peer_rekeyed_child |= theirs;
            }
            Event::IkeRekeyed(done) => {
                if self.sa == Some(done.old) {
                    self.sa = Some(done.new);
                }
                self.peer_rekeyed_ike |= !done.initiator;
            }
            Event::ChildDown { spi_in, .. } if self.child == Some(*spi_in) => self.child = None,
            Event::Closed if self.sa == Some(sa) => self.lost(),
            _ => {}
        }
        self.judge(now, sa, event);
    }

    fn lost(&mut self) {
        (self.sa, self.child, self.up) = (None, None, false);
    }

    /// Starts what comes next.
    fn advance(&mut self, now: Instant) {
        while self.current.is_none() {
            let Some(trial) = self.rest.pop_front() else { return };
            let current = Current {
                trial,
                stage: Stage::Ping(true),
                began: now,
                took: Duration::ZERO,
                before: None,
                verdict: None,
                extra: None,
                old_sa: None,
            };
            let first = current.trial == Trial::Connect;
            let why_not = self.given_up.clone().or_else(|| self.untestable(&current.trial));
            self.current = Some(current);
            if let Some(why) = why_not {
                self.settle(now, Verdict::NotTested, why);
                self.close(None);
            } else if first {
                self.begin(now);
            } else if !self.up || (self.has_children && self.child.is_none()) {
                self.restore(now);
            } else {
                self.ping(now, true);
            }
        }
    }

    /// Why a trial cannot be tried at all.
    fn untestable(&self, trial: &Trial) -> Option<String> {
        let hint = &self.options.hint;
        match trial {
            Trial::PeerConnects if !self.options.initiates => {
                Some(format!("no control.initiate in the connection file; by hand, {hint}"))
            }
            Trial::PeerRekeysChild if !self.peer_rekeyed_child => self.rekey_untestable(0),
            Trial::PeerRekeysIke if !self.peer_rekeyed_ike => self.rekey_untestable(1),
            _ => None,
        }
    }

    fn rekey_untestable(&self, which: usize) -> Option<String> {
        let word = ["control.rekey_child", "control.rekey_ike"][which];
        (self.options.wait.is_none() && !self.options.rekeys[which]).then(|| {
            format!(
                "no {word} in the connection file, and not waited for: --wait DURATION waits for the peer's lifetime \
                 to run out"
            )
        })
    }

    fn ping(&mut self, now: Instant, before: bool) {
        let Some(current) = &mut self.current else { return };
        current.stage = Stage::Ping(before);
        match self.options.target {
            Some(target) if self.up && self.child.is_some() => {
                let (interval, timeout) = (PING_EVERY, PING_TIMEOUT);
                self.orders.push_back(Order::Ping { target, count: PINGS, interval, timeout });
            }
            _ if before => self.begin(now),
            _ => self.close(None),
        }
    }

    fn restore(&mut self, now: Instant) {
        let Some(current) = &mut self.current else { return };
        current.stage = Stage::Restore(now + CONNECT_WITHIN);
        if self.up
            && let Some(sa) = self.sa
        {
            // An IKE SA without the Child SA that the trials need: start over.
            self.orders.push_back(Order::Command(sa, Command::Delete));
        } else {
            self.connect();
        }
    }

    fn connect(&mut self) {
        self.lost();
        (self.child_settled, self.child_refused) = (false, None);
        self.orders.push_back(Order::Connect);
    }

    fn no_way_back(&mut self, why: &str) {
        self.given_up = Some(format!("there is no tunnel: {why}"));
        if let Some(current) = &mut self.current {
            current.verdict = Some((Verdict::NotTested, format!("there is no tunnel: {why}")));
        }
        self.close(None);
    }

    /// Orders the trial itself.
    fn begin(&mut self, now: Instant) {
        let wait = self.options.wait.unwrap_or(Duration::ZERO);
        let rekeys = self.options.rekeys;
        let Some(current) = &mut self.current else { return };
        current.began = now;
        let within = match current.trial {
            Trial::Connect | Trial::Recreate => CONNECT_WITHIN,
            Trial::PeerConnects => self.options.initiate_within,
            Trial::PeerRekeysChild if rekeys[0] => wait.max(COMMAND_WITHIN),
            Trial::PeerRekeysIke if rekeys[1] => wait.max(COMMAND_WITHIN),
            Trial::PeerRekeysChild | Trial::PeerRekeysIke => wait,
            _ => EXCHANGE_WITHIN,
        };
        current.stage = Stage::Try(now + within);
        current.old_sa = self.sa;
        let command = match &current.trial {
            Trial::Connect => return self.connect(),
            Trial::RekeyChild { pfs, .. } => self.child.map(|spi| Command::RekeyChildWith(spi, *pfs)),
            Trial::RekeyIke => Some(Command::RekeyIke),
            Trial::SecondChild { name, .. } => Some(Command::NewChild(name.clone())),
            Trial::Liveness => Some(Command::Liveness),
            Trial::Recreate | Trial::PeerConnects => Some(Command::Delete),
            Trial::PeerRekeysChild | Trial::PeerRekeysIke => {
                let ike = current.trial == Trial::PeerRekeysIke;
                let seen = if ike { self.peer_rekeyed_ike } else { self.peer_rekeyed_child };
                if seen {
                    self.settle(now, Verdict::Worked, "seen meanwhile".into());
                    self.after(now);
                } else if rekeys[usize::from(ike)] {
                    self.orders.push_back(Order::PeerRekey { ike });
                }
                return;
            }
        };
        match self.sa.zip(command) {
            Some((sa, command)) => self.orders.push_back(Order::Command(sa, command)),
            None => {
                self.settle(now, Verdict::Failed, "there is no Child SA".into());
                self.after(now);
            }
        }
    }

    /// What an event means for the trial under way.
    fn judge(&mut self, now: Instant, sa: SaId, event: &Event) {
        let Some(current) = &self.current else { return };
        let (old_sa, extra) = (current.old_sa, current.extra);
        match current.stage {
            Stage::Ping(_) | Stage::Pause(_) => {}
            Stage::Restore(_) => match event {
                Event::Closed if !self.up && old_sa.is_none() && self.orders.is_empty() => {
                    self.connect();
                }
                Event::Failed(failed) if failed.scope == FailScope::IkeSa => {
                    let why = failed.why.to_string();
                    self.no_way_back(&why);
                }
                _ if self.up && self.child_settled => match self.child_refused.clone() {
                    Some(why) => self.no_way_back(&why),
                    None if !self.has_children || self.child.is_some() => self.ping(now, true),
                    None => {}
                },
                _ => {}
            },
            Stage::Tidy(_) => {
                let gone = match event {
                    Event::ChildDown { spi_in, .. } => Some(*spi_in) == extra,
                    Event::Closed => Some(sa) == old_sa,
                    _ => false,
                };
                if gone {
                    self.after(now);
                }
            }
            Stage::Try(_) => self.judge_trial(now, sa, event),
        }
    }

    fn judge_trial(&mut self, now: Instant, sa: SaId, event: &Event) {
        let Some(current) = &mut self.current else { return };
        let trial = current.trial.clone();
        let died = match event {
            Event::Failed(failed) if failed.scope == FailScope::IkeSa => Some(failed.why.to_string()),
            Event::Deleted { by: Side::Peer } if Some(sa) == current.old_sa => {
                Some("the peer deleted the IKE SA".into())
            }
            _ => None,
        };
        if let Some(why) = died {
            self.settle(now, Verdict::Failed, why);
            return self.after(now);
        }
        match (&trial, event) {
            (Trial::Connect | Trial::Recreate | Trial::PeerConnects, Event::Closed)
                if trial != Trial::Connect && Some(sa) == current.old_sa =>
            {
                current.old_sa = None;
                if trial == Trial::Recreate {
                    self.connect();
                } else {
                    (self.child_settled, self.child_refused) = (false, None);
                    self.orders.push_back(Order::PeerInitiate);
                }
            }
            (Trial::Connect | Trial::Recreate | Trial::PeerConnects, _) => {
                // Until the old IKE SA is gone, what is up is the old one.
                if current.old_sa.is_some() || !self.up || !self.child_settled {
                    return;
                }
                match self.child_refused.clone() {
                    Some(why) => {
                        self.settle(now, Verdict::Failed, format!("the IKE SA is up, the Child SA was refused: {why}"))
                    }
                    None => {
                        let suite = self.last_inbound.as_ref().map(|c| c.suite.to_string()).unwrap_or_default();
                        self.settle(now, Verdict::Worked, suite);
                    }
                }
                self.after(now);
            }
            (Trial::RekeyChild { pfs, configured }, Event::ChildRekeyed { old, .. }) => {
                current.extra = Some(*old);
                let detail = match (configured, pfs, &self.last_inbound) {
                    (false, Pfs::Without, _) => "the peer takes it, although PFS is on here".into(),
                    (false, _, _) => "the peer takes it, although PFS is off here".into(),
                    (true, _, Some(child)) => child.suite.to_string(),
                    (true, _, None) => String::new(),
                };
                self.tidy(now, detail);
            }
            (Trial::RekeyChild { configured, pfs }, Event::ChildFailed(failed)) => {
                if *configured {
                    self.settle(now, Verdict::Failed, failed.why.to_string());
                } else {
                    let side = if *pfs == Pfs::Without { "on" } else { "off" };
                    let why = format!("{}, as is right where PFS is {side}", failed.why);
                    self.settle(now, Verdict::Noted, why);
                }
                self.after(now);
            }
            (Trial::RekeyIke, Event::IkeRekeyed(done)) => {
                current.old_sa = Some(done.old);
                self.tidy(now, done.suite.to_string());
            }
            (Trial::RekeyIke, Event::Failed(failed)) if failed.scope == FailScope::Exchange => {
                self.settle(now, Verdict::Failed, failed.why.to_string());
                self.after(now);
            }
            (Trial::SecondChild { .. }, Event::ChildOutbound { spi_in }) => {
                current.extra = Some(*spi_in);
                let detail = self.last_inbound.as_ref().map(|c| c.suite.to_string()).unwrap_or_default();
                if let Some(sa) = self.sa {
                    self.orders.push_back(Order::Command(sa, Command::DeleteChild(*spi_in)));
                }
                self.tidy(now, detail);
            }
            (Trial::SecondChild { again, .. }, Event::ChildFailed(failed)) => {
                let (verdict, why) = second_refused(*again, failed);
                self.settle(now, verdict, why);
                self.after(now);
            }
            (Trial::Liveness, Event::Alive { rtt }) => {
                let detail = format!("answered in {:.1} ms", rtt.as_secs_f64() * 1e3);
                self.settle(now, Verdict::Worked, detail);
                self.after(now);
            }
            // Nothing of ours is under way: what is refused is what the peer has asked for.
            (Trial::PeerRekeysChild, Event::ChildFailed(failed)) if failed.found_by == Side::Us => {
                self.settle(now, Verdict::Failed, format!("the peer asked, and was refused here: {}", failed.why));
                self.after(now);
            }
            (Trial::PeerRekeysIke, Event::Failed(failed))
                if failed.scope == FailScope::Exchange && failed.found_by == Side::Us =>
            {
                self.settle(now, Verdict::Failed, format!("the peer asked, and was refused here: {}", failed.why));
                self.after(now);
            }
            (Trial::PeerRekeysChild, Event::ChildRekeyed { .. }) if self.peer_rekeyed_child => {
                self.settle(now, Verdict::Worked, String::new());
                self.after(now);
            }
            (Trial::PeerRekeysIke, Event::IkeRekeyed(_)) if self.peer_rekeyed_ike => {
                self.settle(now, Verdict::Worked, String::new());
                self.after(now);
            }
            _ => {}
        }
    }

    fn tidy(&mut self, now: Instant, detail: String) {
        self.settle(now, Verdict::Worked, detail);
        if let Some(current) = &mut self.current {
            current.stage = Stage::Tidy(now + TIDY_WITHIN);
        }
    }

    /// Remembers what came of the trial.
    fn settle(&mut self, now: Instant, verdict: Verdict, detail: String) {
        if let Some(current) = &mut self.current
            && current.verdict.is_none()
        {
            current.took = now.since(current.began);
            current.verdict = Some((verdict, detail));
        }
    }

    /// The trial is over; the ping after it is not.
    fn after(&mut self, now: Instant) {
        match &mut self.current {
            // It was we who answered: a packet sent at once may overtake the peer's own work on that answer.
            Some(current) if current.trial.side() == Side::Peer && self.options.target.is_some() => {
                current.stage = Stage::Pause(now + INSTALL_WITHIN);
            }
            _ => self.ping(now, false),
        }
    }

    fn close(&mut self, after: Option<Pings>) {
        let Some(current) = self.current.take() else { return };
        let (verdict, detail) = current.verdict.unwrap_or((Verdict::NotTested, String::new()));
        let first_failed = current.trial == Trial::Connect && verdict != Verdict::Worked;
        if first_failed && self.given_up.is_none() {
            self.given_up = Some("there is no tunnel".into());
        }
        self.report.outcomes.push(Outcome {
            trial: current.trial,
            verdict,
            took: current.took,
            detail,
            before: current.before,
            after,
        });
    }
}

/// A second Child SA that the connection does not ask for may be refused without harm.
fn second_refused(again: bool, failed: &Failed) -> (Verdict, String) {
    use crate::engine::Failure;
    match &failed.why {
        _ if !again => (Verdict::Failed, failed.why.to_string()),
        Failure::Rejected { notify: NotifyType::NO_ADDITIONAL_SAS, .. } => {
            (Verdict::Noted, "the peer takes one Child SA only, and one is configured".into())
        }
        why => (Verdict::Noted, format!("{why}; only one Child SA is configured")),
    }
}
