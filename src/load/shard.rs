//! One thread of a load run: its own endpoint, sockets, timers and figures; nothing is shared while it works.
//!
//! A shard waits for [`Order`]s and works off one stage after the other. Within a stage it begins what is planned when its
//! time has come, whatever became of what was begun before; between stages it keeps its tunnels alive.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc;
use std::time::Duration;

use super::arrival::{Arrivals, Lane, Schedule};
use super::book::{Book, Open};
use super::gauge::Gauges;
use super::keep::Keeper;
use super::measure::Stats;
use super::pace::Pace;
use super::peers::{Peers, Sources};
use super::resource::{self, Used};
use super::traffic::{Traffic, TrafficSpec};
use crate::drive::Driver;
use crate::engine::{Command, Counters, Endpoint, EndpointConfig, Limits};
use crate::fault::{FaultPlan, Rule};
use crate::link::{Link, LinkCounters};
use crate::record::Recorder;
use crate::seed::{PlanSeed, Seeds};
use crate::time::Instant;

/// Datagrams that a turn takes at most in an open loop: what is due meanwhile waits for no more than these, which take
/// well under a millisecond.
const BATCH: usize = 8;
/// The same in a closed loop, where nothing is due.
const CLOSED_BATCH: usize = 16;
/// Operations that are begun at most before the sockets are looked at again.
const STARTS: usize = 16;
/// After so many full batches in a row this tester is behind. Then answers go first, or they would wait in the sockets until
/// their requests are sent again, and the repeats would keep it behind for good.
const BEHIND: u32 = 32;
/// Datagrams of a turn while it is behind.
const BEHIND_BATCH: usize = 64;
/// Operations begun in such a turn: few enough that their answers are fewer than what it takes in.
const BEHIND_STARTS: usize = 8;
/// The part of its window that a closed loop likes to take at once.
const TOGETHER: u64 = 4;
/// How long a shard sleeps at most without looking for orders.
const NAP: Duration = Duration::from_millis(50);
/// How long the last echoes are waited for.
const LAST_ECHOES: Duration = Duration::from_secs(1);
/// How long a stage lasts longer at most for tunnels whose Child SA the peer has deleted at its end.
const LAST_CHILDREN: Duration = Duration::from_secs(3);
/// How often the receive queues are looked at.
const LOOK: Duration = Duration::from_millis(100);

/// What a shard is made of.
pub struct ShardConfig {
    /// Its tunnels and arrivals.
    pub lane: Lane,
    /// First octet of its SPIs.
    pub octet: u8,
    /// The peers it plays.
    pub peers: Arc<Peers>,
    /// Where they send from.
    pub sources: Sources,
    /// How many tunnels there are in all shards; set-ups beyond that many are not begun.
    pub tunnels: u64,
    /// Seeds of the run.
    pub seeds: Seeds,
    /// Rules for tunnels with a chosen fault.
    pub rules: Vec<Rule>,
    /// How long an IKE SA that is closed still answers repeats.
    pub linger: Duration,
    /// What it shows while it runs.
    pub gauges: Arc<Gauges>,
    /// Set when the run is to end early.
    pub stop: Arc<AtomicBool>,
    /// Operations open at once at most.
    pub in_flight: u64,
    /// What could not be begun this long after its time is dropped.
    pub too_late: Duration,
    /// Keeps the datagrams of some handshakes.
    pub keeper: Option<Keeper>,
    /// How packets are sent through the tunnels, if any are.
    pub traffic: Option<TrafficSpec>,
}

/// What the coordinator says to a shard.
pub enum Order {
    /// Do this, and report.
    Stage(Stage),
    /// End; what is up stays up at the peer.
    End,
}

/// One stage of a run.
#[derive(Clone, Debug)]
pub struct Stage {
    /// Tells the random arrivals of stages apart.
    pub label: String,
    /// When it begins.
    pub start: Instant,
    /// What is done.
    pub work: Work,
    /// Operations planned before this time, from the begin, are not measured.
    pub warm_up: Duration,
    /// How long open operations are waited for after the last one was begun.
    pub drain: Duration,
}

/// What a stage does.
#[derive(Clone, Debug)]
pub enum Work {
    /// Bring tunnels up.
    SetUp {
        /// When.
        schedule: Arc<Schedule>,
        /// Delete each of them this long after it came up.
        live: Option<Duration>,
        /// Begin no more when one was refused.
        until_refused: bool,
        /// Tunnels that were up before are begun before those that never were.
        again: bool,
    },
    /// One after the other, as the BMWG drafts have it: each begins when the one before is up.
    Serial {
        /// How many.
        count: u64,
    },
    /// A closed loop: so many set-ups are kept open per shard, until so many were begun by all. What it measures is how
    /// fast both ends together can be, not how the peer stands a load.
    Closed {
        /// Set-ups in all shards.
        count: u64,
        /// Open at once, per shard.
        window: u64,
    },
    /// Keep what is up.
    Hold(Duration),
    /// Keep what is up, and bring up again what goes down unasked.
    Failover(Duration),
    /// Rekey what is up, or give it one more Child SA.
    Create {
        /// When.
        schedule: Arc<Schedule>,
        /// Which CREATE_CHILD_SA exchange.
        what: Open,
    },
    /// Send packets through what is up.
    Traffic {
        /// Bits of inner packets per second through all tunnels. The coordinator gives each shard what its part of them makes.
        rate: f64,
        /// For how long.
        length: Duration,
    },
    /// Delete what is up.
    Delete(Arc<Schedule>),
    /// Forget everything without a word to the peer, as if the peer had reloaded.
    Forget,
}

impl Work {
    /// How long its plan is, where there is a plan.
    pub fn length(&self) -> Option<Duration> {
        match self {
            Work::SetUp { schedule, .. } | Work::Create { schedule, .. } => {
                Some(schedule.length()).filter(|_| !schedule.is_at_once())
            }
            Work::Hold(length) | Work::Failover(length) | Work::Traffic { length, .. } => Some(*length),
            Work::Serial { .. } | Work::Closed { .. } | Work::Delete(_) | Work::Forget => None,
        }
    }

    /// What a shard has to do that has this part of the tunnels that are up: 0 to 1.
    pub fn part(self, part: f64) -> Work {
        match self {
            Work::Traffic { rate, length } => Work::Traffic { rate: rate * part, length },
            other => other,
        }
    }
}

/// What a shard reports of a stage.
#[derive(Debug)]
pub struct Report {
    /// What was measured.
    pub stats: Stats,
    /// What the thread used while the plan lasted: without the wait for its begin and for the last answers.
    pub used: Used,
    /// What it used in the whole stage.
    pub whole: Used,
    /// What passed its sockets.
    pub link: LinkCounters,
    /// The engine's counters since the run began.
    pub engine: Counters,
    /// Tunnels up at the end of the stage.
    pub up: u64,
    /// IKE SAs in its table at the end of the stage.
    pub sas: u64,
    /// Most octets seen waiting in one receive buffer.
    pub queue: usize,
    /// The stage was ended by a signal.
    pub stopped: bool,
}

/// A shard at work, on sockets or in a simulated network.
pub struct Shard<L> {
    driver: Driver<L>,
    book: Book,
    lane: Lane,
    peers: Arc<Peers>,
    sources: Vec<IpAddr>,
    tunnels: u64,
    plan: PlanSeed,
    stop: Arc<AtomicBool>,
    in_flight: u64,
    too_late: Duration,
    /// All operations of the stage are due at once: the tester takes the time it needs, and says how much that was.
    at_once: bool,
    /// Places of tunnels that can be begun: those never begun, then those that are down again.
    never_begun: u64,
    /// Where the search for a tunnel that is up goes on.
    cursor: usize,
    queue: usize,
    looked: Instant,
    until_refused: bool,
    /// Datagrams of a turn, of the present stage.
    batch: usize,
    /// Full batches in a row.
    full: u32,
    /// Tunnels that were up before come first.
    again: bool,
    /// What the thread used from the begin of the stage to the end of its plan, once that is over.
    used: Option<Used>,
    /// Of which configured Child SA more are made.
    child_name: String,
}

impl<L: Link> Shard<L> {
    /// A shard on its link.
    pub fn new(config: ShardConfig, link: L) -> Self {
        let ShardConfig { lane, octet, peers, sources, tunnels, seeds, rules, gauges, stop, .. } = config;
        let ShardConfig { in_flight, too_late, keeper, traffic, linger, .. } = config;
        let mut recorder = Recorder::new();
        if let Some(keeper) = &keeper {
            recorder.add(keeper.clone());
        }
        let plan = seeds.plan.clone();
        let endpoint = EndpointConfig {
            connections: Vec::new(),
            limits: Limits { linger, ..Limits::default() },
            trace: false,
            export_keys: false,
            shard: Some(octet),
            salt: lane.first + 1,
            respond: false,
            children: None,
        };
        let mut endpoint = Endpoint::new(Arc::new(endpoint), seeds, link.epoch());
        if !rules.is_empty() {
            endpoint.set_tamper(Box::new(FaultPlan::new(rules, &plan)));
        }
        let mut book = Book::new(lane, Arc::clone(&peers), gauges, keeper);
        book.traffic = traffic.map(|spec| Box::new(Traffic::new(spec)));
        let child_name = peers.base.children.first().map_or_else(String::new, |child| child.name.clone());
        let driver = Driver::new(endpoint, link, recorder);
        Shard {
            driver,
            book,
            lane,
            peers,
            sources: sources.addresses,
            tunnels,
            plan,
            stop,
            in_flight,
            too_late,
            at_once: false,
            never_begun: 0,
            cursor: 0,
            queue: 0,
            looked: Instant::ZERO,
            until_refused: false,
            batch: BATCH,
            full: 0,
            again: false,
            used: None,
            child_name,
        }
    }

    /// Works off orders until [`Order::End`] or until the coordinator is gone.
    ///
    /// # Errors
    ///
    /// If the sockets are unusable or a record cannot be written.
    pub fn serve(mut self, orders: &mpsc::Receiver<Order>, reports: &mpsc::Sender<io::Result<Report>>) {
        loop {
            match orders.try_recv() {
                Ok(Order::Stage(stage)) => {
                    let outcome = self.stage(&stage);
                    let failed = outcome.is_err();
                    if reports.send(outcome).is_err() || failed {
                        return;
                    }
                }
                Ok(Order::End) | Err(mpsc::TryRecvError::Disconnected) => return,
                Err(mpsc::TryRecvError::Empty) => {
                    let soon = self.driver.link.now() + NAP;
                    if let Err(error) = self.turn(soon) {
                        let _ = reports.send(Err(error));
                        return;
                    }
                }
            }
        }
    }

    fn stage(&mut self, stage: &Stage) -> io::Result<Report> {
        let link = self.driver.link.counters();
        (self.queue, self.used) = (0, None);
        let purpose = match &stage.work {
            Work::Create { what, .. } => *what,
            Work::Delete(_) => Open::Delete,
            _ => Open::SetUp,
        };
        self.book.begin_stage(stage.start, stage.warm_up, purpose);
        self.set_batch(BATCH);
        while self.driver.link.now() < stage.start {
            self.turn(stage.start)?;
        }
        // What it uses while it waits, for the begin now and for the last answers later, would hide how busy it was.
        let used = Used::of_thread();
        match &stage.work {
            Work::SetUp { schedule, live, until_refused, again } => {
                (self.book.live, self.until_refused, self.again) = (*live, *until_refused, *again || *until_refused);
                self.run(stage, Arc::clone(schedule), Open::SetUp)?;
                self.book.live = None;
            }
            Work::Delete(schedule) | Work::Create { schedule, .. } => self.run(stage, Arc::clone(schedule), purpose)?,
            Work::Serial { count } => self.serial(stage, *count)?,
            Work::Closed { count, window } => self.closed(stage, *count, *window)?,
            Work::Hold(length) => {
                let end = stage.start + *length;
                while self.driver.link.now() < end && !self.stopped() {
                    self.turn(end)?;
                }
            }
            Work::Failover(length) => self.failover(stage, *length)?,
            Work::Traffic { rate, length } => self.traffic(stage, *rate, *length)?,
            Work::Forget => self.forget()?,
        }
        // What has lost its Child SA only just now may still get another one.
        let patience = self.driver.link.now() + LAST_CHILDREN;
        while let Some(next) = self.book.next_bare()
            && self.driver.link.now() < patience
            && !self.stopped()
        {
            self.turn(next.min(patience))?;
        }
        let stats = self.book.end_stage();
        let now = self.driver.link.counters();
        let whole = Used::of_thread().since(&used);
        Ok(Report {
            stats,
            used: self.used.take().map_or(whole, |end| end.since(&used)),
            whole,
            link: resource::between(&link, &now),
            engine: self.driver.endpoint.counters().clone(),
            up: self.book.up(),
            sas: self.driver.endpoint.sa_count() as u64,
            queue: self.queue,
            stopped: self.stopped(),
        })
    }

    fn stopped(&self) -> bool {
        self.stop.load(Relaxed)
    }

    /// Begins operations by the schedule, then waits for those that are open.
    fn run(&mut self, stage: &Stage, schedule: Arc<Schedule>, op: Open) -> io::Result<()> {
        self.at_once = schedule.is_at_once();
        let mut arrivals = Arrivals::new(schedule, self.lane, &self.plan, &stage.label);
        let mut drained: Option<Instant> = None;
        let mut void = false;
        loop {
            let mut begun = 0;
            while let Some(planned) = arrivals.peek().map(|after| stage.start + after) {
                let now = self.driver.link.now();
                if planned > now || begun == self.starts() {
                    break;
                }
                arrivals.take();
                let done = self.begin(op, planned, now);
                begun += usize::from(done);
                // Nothing is left to be deleted: the rest of the plan is void. Looking for what is left takes time, so once.
                void |= op == Open::Delete && !done;
                if void {
                    break;
                }
            }
            void |= self.until_refused && op == Open::SetUp && self.book.stats.refused.is_some();
            if void || self.stopped() && op != Open::Delete {
                while arrivals.take().is_some() {}
            }
            self.work_off();
            let next = arrivals.peek().map(|after| stage.start + after);
            let now = self.driver.link.now();
            if next.is_none() {
                // Of what is due at once, all the work is yet to be done.
                if !self.at_once && self.used.is_none() {
                    self.used = Some(Used::of_thread());
                }
                let patience = if self.stopped() { stage.drain.min(Duration::from_secs(2)) } else { stage.drain };
                let until = *drained.get_or_insert(now + patience);
                let trying = self.book.traffic.as_ref().is_some_and(|traffic| traffic.is_trying());
                if self.book.open() == 0 && self.book.planned_deletes() == 0 && !(trying && now < until) {
                    return Ok(());
                }
                if now >= until {
                    self.give_up(now);
                    return self.turn(now).map(drop);
                }
            }
            let wake = next.into_iter().chain(self.book.next_delete()).chain(drained).min();
            self.turn(wake.unwrap_or(now + NAP).min(now + NAP))?;
        }
    }

    /// One tunnel after the other.
    fn serial(&mut self, stage: &Stage, count: u64) -> io::Result<()> {
        if self.lane.first != 0 {
            return Ok(());
        }
        for _ in 0..count {
            if self.stopped() {
                break;
            }
            let now = self.driver.link.now();
            self.begin(Open::SetUp, now, now);
            let until = now + stage.drain;
            while self.book.open() > 0 {
                if self.driver.link.now() >= until {
                    self.give_up(until);
                }
                self.turn(until)?;
            }
            self.work_off();
        }
        Ok(())
    }

    /// As many at once as the window holds.
    fn closed(&mut self, stage: &Stage, count: u64, window: u64) -> io::Result<()> {
        self.set_batch(CLOSED_BATCH);
        let mut left = self.lane.share(count);
        let mut progress = (u64::MAX, self.driver.link.now());
        let mut pace = Pace::new(self.driver.link.now());
        while left > 0 || self.book.open() > 0 {
            let now = self.driver.link.now();
            if self.stopped() {
                left = 0;
            }
            let mut begun = 0;
            while left > 0 && self.book.open() < window && begun < STARTS {
                left -= 1;
                begun += 1;
                self.begin(Open::SetUp, now, now);
            }
            let settled = self.book.stats.done + self.book.stats.failed;
            if progress.0 != settled {
                progress = (settled, now);
            } else if now.since(progress.1) > stage.drain {
                self.give_up(now);
            }
            let full = left == 0 || self.book.open() >= window;
            if !full {
                self.turn(now)?;
                continue;
            }
            // With a wide window nobody waits for one answer: the slower of the two ends decides, and it is not we.
            let received = self.turn(now + NAP)?;
            let together = (window / TOGETHER).min(CLOSED_BATCH as u64);
            if together > 1 {
                self.driver.link.gather(pace.pause(received as u64, together, now));
            }
        }
        Ok(())
    }

    /// Waits for the peer to lose its tunnels, and brings up again what went down, as often as it takes.
    fn failover(&mut self, stage: &Stage, length: Duration) -> io::Result<()> {
        let end = stage.start + length;
        self.book.begin_failover();
        while self.driver.link.now() < end && !self.stopped() {
            let now = self.driver.link.now();
            let mut begun = 0;
            while begun < STARTS
                && let Some((place, due)) = self.book.take_lost(now)
            {
                begun += 1;
                self.book.due(due);
                self.book.lag(due, now.since(due));
                self.set_up(place, due, now);
            }
            self.turn(self.book.next_lost().map_or(end, |next| next.min(end)))?;
        }
        let until = self.driver.link.now() + stage.drain;
        while self.book.open() > 0 && self.driver.link.now() < until {
            self.turn(until)?;
        }
        let now = self.driver.link.now();
        self.give_up(now);
        self.turn(now)?;
        self.book.end_failover();
        Ok(())
    }

    /// Packets at a fixed rate through all tunnels in turn, whatever comes back.
    fn traffic(&mut self, stage: &Stage, rate: f64, length: Duration) -> io::Result<()> {
        let end = stage.start + length;
        if let Some(traffic) = &mut self.book.traffic {
            traffic.begin(stage.start, end, rate);
        }
        while self.driver.link.now() < end && !self.stopped() {
            self.turn(end)?;
        }
        let until = self.driver.link.now() + stage.drain.min(LAST_ECHOES);
        if let Some(traffic) = &mut self.book.traffic {
            traffic.stop(self.driver.link.now());
        }
        while self.driver.link.now() < until && self.book.traffic.as_ref().is_some_and(|t| !t.is_back()) {
            self.turn(until)?;
        }
        if let Some(traffic) = &mut self.book.traffic {
            self.book.stats.traffic = Some(traffic.end());
        }
        Ok(())
    }

    /// Begins one operation; false if there was none to begin.
    fn begin(&mut self, op: Open, planned: Instant, now: Instant) -> bool {
        let lag = now.since(planned);
        if op == Open::Delete {
            let Some(place) = self.next_up() else { return false };
            self.book.due(planned);
            self.book.lag(planned, lag);
            self.command(place, op, planned, now);
            return true;
        }
        self.book.due(planned);
        if lag > self.too_late && !self.at_once {
            self.book.drop_start(planned, |d| &mut d.late);
            return false;
        }
        if self.book.open() >= self.in_flight {
            self.book.drop_start(planned, |d| &mut d.in_flight);
            return false;
        }
        let place = if op == Open::SetUp { self.free_place() } else { self.next_up() };
        let Some(place) = place else {
            self.book.drop_start(planned, |d| &mut d.no_tunnel);
            return false;
        };
        self.book.lag(planned, lag);
        match op {
            Open::SetUp => self.set_up(place, planned, now),
            op => self.command(place, op, planned, now),
        }
        true
    }

    /// A tunnel that is down: first those that were never begun, then those that have been down longest.
    fn free_place(&mut self) -> Option<usize> {
        // Every trial of a search has the same ones, and a storm those that were up.
        if self.again
            && let Some(place) = self.book.take_down()
        {
            return Some(place);
        }
        if self.lane.number(self.never_begun) < self.tunnels {
            self.never_begun += 1;
            return usize::try_from(self.never_begun - 1).ok();
        }
        self.book.take_down()
    }

    /// The next tunnel that is up and idle, going round.
    fn next_up(&mut self) -> Option<usize> {
        let count = self.book.places();
        for _ in 0..count {
            let place = self.cursor % count;
            self.cursor = place + 1;
            if self.book.is_idle_up(place) {
                return Some(place);
            }
        }
        None
    }

    fn set_up(&mut self, place: usize, planned: Instant, now: Instant) {
        let number = self.lane.number(place as u64);
        let source = self.sources[place % self.sources.len()];
        let spec = self.peers.spec(number, source);
        let sa = self.driver.endpoint.connect(now, spec, self.peers.tunnel_id(number), source);
        let spi = self.driver.endpoint.our_spi(sa);
        self.book.begun(place, Open::SetUp, sa, spi, planned, now);
    }

    fn command(&mut self, place: usize, op: Open, planned: Instant, now: Instant) {
        let Some(sa) = self.book.sa(place) else { return };
        let command = match op {
            Open::RekeyIke => Command::RekeyIke,
            Open::RekeyChild => Command::RekeyChild(self.book.child(place)),
            Open::NewChild => Command::NewChild(self.child_name.clone()),
            _ => Command::Delete,
        };
        match self.driver.endpoint.command(now, sa, command) {
            Ok(()) => self.book.begun(place, op, sa, None, planned, now),
            // It is on its way down, and the events that say so are on their way to the book.
            Err(_) => self.book.drop_start(planned, |d| &mut d.no_tunnel),
        }
    }

    /// What events asked for.
    fn work_off(&mut self) {
        let now = self.driver.link.now();
        let base = Arc::clone(&self.peers.base);
        while let Some(place) = self.book.take_to_share() {
            if let Some(sa) = self.book.sa(place) {
                self.driver.endpoint.share_spec(sa, &base);
            }
        }
        self.book.judge_bare(now);
        // An IKE SA without its Child: the peer is told, or it would keep what nobody uses.
        while let Some(place) = self.book.take_to_delete() {
            if let Some(sa) = self.book.sa(place)
                && self.driver.endpoint.command(now, sa, Command::Delete).is_err()
            {
                self.driver.endpoint.abandon(now, sa);
            }
        }
        while let Some((place, planned)) = self.book.take_delete(now) {
            self.command(place, Open::Delete, planned, now);
        }
    }

    /// The time for open operations is over.
    fn give_up(&mut self, now: Instant) {
        for place in self.book.all_open() {
            let sa = self.book.sa(place);
            let complaint = sa.and_then(|sa| self.driver.endpoint.complaint(sa));
            self.book.unfinished(place, now, complaint.as_ref());
            if let Some(sa) = sa {
                self.driver.endpoint.abandon(now, sa);
            }
        }
    }

    fn forget(&mut self) -> io::Result<()> {
        let now = self.driver.link.now();
        let all: VecDeque<usize> = (0..self.book.places()).collect();
        for place in all {
            if let Some(sa) = self.book.sa(place) {
                self.book.forget(place, now);
                self.driver.endpoint.abandon(now, sa);
            }
        }
        self.turn(now).map(drop)
    }

    fn set_batch(&mut self, batch: usize) {
        (self.batch, self.full) = (batch, 0);
        self.driver.set_batch(batch);
    }

    /// Operations that are begun before the sockets are looked at again.
    fn starts(&self) -> usize {
        if self.full >= BEHIND { BEHIND_STARTS } else { STARTS }
    }

    /// A turn has received so many: notices that this tester falls behind, and that it has caught up.
    fn keep_up(&mut self, received: usize) {
        let behind = self.full >= BEHIND;
        if received >= if behind { BEHIND_BATCH } else { self.batch } {
            self.full = self.full.saturating_add(1);
            if self.full == BEHIND {
                self.driver.set_batch(BEHIND_BATCH);
            }
        } else {
            self.full = 0;
            if behind {
                self.driver.set_batch(self.batch);
            }
        }
    }

    /// One turn, at most until then; the datagrams that came.
    fn turn(&mut self, until: Instant) -> io::Result<usize> {
        let until = self.book.next_bare().map_or(until, |next| next.min(until));
        let turn = self.driver.turn(Some(until), &mut self.book)?;
        self.keep_up(turn.received);
        self.work_off();
        let now = self.driver.link.now();
        if now.since(self.looked) >= LOOK {
            self.looked = now;
            self.queue = self.queue.max(self.driver.link.receive_queue());
            self.book.show_sas(self.driver.endpoint.sa_count() as u64);
        }
        Ok(turn.received)
    }
}
