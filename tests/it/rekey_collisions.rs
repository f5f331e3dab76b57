//! Exchange collisions (RFC 7296 2.8.1, 2.8.2, 2.25), exhaustively: two ends rekey, delete and check liveness at once, in
//! every order in which messages can arrive, with every loss of one message.
//!
//! An end's state depends only on the order of what happens at that end, so two orders that differ in what happens at
//! different ends are one: the search keeps sleep sets and runs each class of orders once. Messages may overtake each
//! other. When nothing is in flight any more, time goes on and the retransmissions put right what was lost.
//!
//! After each step each end's data plane is asked whether a packet sent now would be understood by the other.

use std::time::Duration;

use ikelab::engine::*;
use ikelab::net::Class;
use ikelab::wire::registry::ExchangeType;
use ikelab::wire::{Message, Payload};

use crate::pair::*;
use crate::rekey::Tunnel;

/// What an end is told to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Op {
    RekeyChild,
    RekeyIke,
    DeleteChild,
    DeleteIke,
    Liveness,
}

/// One step: an end is told something, or one of its peer's messages arrives. The number counts what is told to that
/// end, or what its peer has sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Tell(End, usize),
    Arrive(End, usize),
}

impl Step {
    /// Where it happens.
    fn at(self) -> End {
        match self {
            Step::Tell(end, _) | Step::Arrive(end, _) => end,
        }
    }
}

/// What is explored: each end's orders, which message is lost, and whether ESP packets flow all the time.
#[derive(Clone, Debug)]
struct Plan {
    left: Vec<Op>,
    right: Vec<Op>,
    lost: Option<(End, usize)>,
    traffic: bool,
    /// The left end is bent, to see that the checks can fail.
    bent: Option<Bent>,
    /// Keep each message, to tell the story of a failure.
    told: bool,
}

/// A rule that both ends rely on, broken at the left end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bent {
    /// Its DELETE for a Child SA names nothing.
    EmptyDelete,
    /// Its answers to CREATE_CHILD_SA have another nonce than it keys with.
    Nonce,
    /// The peer's DELETE is overlooked.
    DeafToDelete,
}

impl Tamper for Bent {
    fn message(&mut self, cx: &MsgCx, message: &mut Message) {
        let Some(inner) = &mut message.sk else { return };
        match self {
            Bent::EmptyDelete if !cx.response => inner.retain(|p| !matches!(p, Payload::Delete(_))),
            Bent::Nonce if cx.response && cx.exchange == ExchangeType::CREATE_CHILD_SA => {
                inner.iter_mut().for_each(|p| {
                    if let Payload::Nonce(nonce) = p {
                        nonce.data[0] ^= 1;
                    }
                });
            }
            _ => {}
        }
    }

    fn parsed(&mut self, _: &RecvCx, message: &mut Message) -> Deliver {
        if let (Bent::DeafToDelete, Some(inner)) = (&self, &mut message.sk) {
            inner.retain(|p| !matches!(p, Payload::Delete(_)));
        }
        Deliver::Yes
    }
}

struct Run {
    tunnel: Tunnel,
    plan: Plan,
    told: [usize; 2],
    /// Messages that each end has sent so far.
    sent: [usize; 2],
    flight: Vec<(Step, InFlight)>,
    steps: Vec<Step>,
    /// How many of the steps came before time went on.
    ordered: Option<usize>,
}

impl Run {
    fn new(plan: &Plan) -> Run {
        let (mut left, mut right) = (config(vec![], 1), config(vec![quick(right_spec())], 2));
        (left.trace, right.trace) = (plan.told, plan.told);
        // Long enough to answer a repeat after the next loss.
        left.limits.linger = Duration::from_secs(10);
        right.limits.linger = Duration::from_secs(10);
        let mut pair = Pair::new(left, right);
        if let Some(bent) = plan.bent {
            pair.left.set_tamper(Box::new(bent));
        }
        let tunnel = Tunnel::over(pair, quick(left_spec()));
        Run {
            tunnel,
            plan: plan.clone(),
            told: [0; 2],
            sent: [0; 2],
            flight: Vec::new(),
            steps: Vec::new(),
            ordered: None,
        }
    }

    fn ops(&self, end: End) -> &[Op] {
        if end == End::Left { &self.plan.left } else { &self.plan.right }
    }

    fn enabled(&self) -> Vec<Step> {
        let tell = |end: End| {
            let told = self.told[end as usize];
            (told < self.ops(end).len()).then_some(Step::Tell(end, told))
        };
        let arrive = self.flight.iter().map(|(step, _)| *step);
        [End::Left, End::Right].into_iter().filter_map(tell).chain(arrive).collect()
    }

    fn step(&mut self, step: Step) {
        self.steps.push(step);
        match step {
            Step::Tell(end, n) => {
                self.told[end as usize] += 1;
                self.tell(end, self.ops(end)[n]);
            }
            Step::Arrive(..) => {
                let at = self.flight.iter().position(|(s, _)| *s == step).expect("in flight");
                let (_, datagram) = self.flight.remove(at);
                self.tunnel.pair.deliver(datagram);
            }
        }
        self.look();
    }

    fn tell(&mut self, end: End, op: Op) {
        let pair = &mut self.tunnel.pair;
        let now = pair.now;
        let current = pair.end(end).sas().into_iter().find(|sa| sa.established);
        let Some(sa) = current else { return };
        let child = sa.children.first().map(|c| c.spi_in);
        let command = match (op, child) {
            (Op::RekeyIke, _) => Command::RekeyIke,
            (Op::DeleteIke, _) => Command::Delete,
            (Op::Liveness, _) => Command::Liveness,
            (Op::RekeyChild, Some(spi)) => Command::RekeyChild(spi),
            (Op::DeleteChild, Some(spi)) => Command::DeleteChild(spi),
            (_, None) => return,
        };
        pair.end(end).command(now, sa.sa, command).expect("it is up");
        pair.collect();
    }

    /// Takes what was sent into flight, and asks the data planes.
    fn look(&mut self) {
        self.take();
        self.check();
        if self.plan.traffic {
            self.traffic();
        }
    }

    fn take(&mut self) {
        for datagram in self.tunnel.pair.take() {
            if datagram.transmit.class != Class::Ike {
                continue;
            }
            let from = datagram.to.other();
            let number = self.sent[from as usize];
            self.sent[from as usize] += 1;
            if self.plan.lost != Some((from, number)) {
                self.flight.push((Step::Arrive(datagram.to, number), datagram));
            }
        }
    }

    fn check(&mut self) {
        self.tunnel.planes.follow(&self.tunnel.pair);
        if let Err(fault) = self.tunnel.planes.check() {
            self.fail(&fault);
        }
    }

    /// Each end sends a packet on each Child SA it sends on, and the other end receives it at once.
    fn traffic(&mut self) {
        for end in [End::Left, End::Right] {
            let sending: Vec<(u32, u32)> =
                self.tunnel.planes.at(end).outbound().map(|(spi_in, esp)| (spi_in, esp.spi_out)).collect();
            for (spi_in, spi_out) in sending {
                let now = self.tunnel.pair.now;
                self.tunnel.pair.end(end).esp_activity(now, spi_in, EspNote::Sent { packets: 1, bytes: 100 });
                let there = self.tunnel.pair.end(end.other());
                there.esp_activity(now, spi_out, EspNote::Received { packets: 1, bytes: 100 });
                self.tunnel.pair.collect();
                self.take();
                self.check();
            }
        }
    }

    /// Time goes on, and messages arrive in the order in which they were sent, until all is quiet.
    fn rest(&mut self) {
        self.ordered = Some(self.steps.len());
        let end = self.tunnel.pair.now + Duration::from_secs(400);
        loop {
            while let Some(&(step, _)) = self.flight.first() {
                self.step(step);
            }
            let pair = &mut self.tunnel.pair;
            let due = [&pair.left, &pair.right].into_iter().filter_map(|e| e.poll_timeout()).map(|(at, _)| at).min();
            let Some(due) = due.filter(|due| *due <= end) else { break };
            pair.now = pair.now.max(due);
            pair.left.handle_timeout(pair.now);
            pair.right.handle_timeout(pair.now);
            pair.collect();
            self.look();
        }
    }

    /// At rest: the ends mirror each other.
    fn judge(&mut self) {
        let ops = || self.plan.left.iter().chain(&self.plan.right);
        let gone = ops().any(|op| *op == Op::DeleteIke);
        let child_may_go = ops().any(|op| *op == Op::DeleteChild);
        let (left, right) = (self.tunnel.pair.left.sas(), self.tunnel.pair.right.sas());
        if gone {
            if !left.is_empty() || !right.is_empty() {
                self.fail("an IKE SA is left");
            }
        } else {
            match (left.as_slice(), right.as_slice()) {
                ([l], [r]) if l.spis == r.spis && l.initiator != r.initiator && l.established && r.established => {
                    let mirror: Vec<(u32, u32)> = r.children.iter().map(|c| (c.spi_out, c.spi_in)).collect();
                    let have: Vec<(u32, u32)> = l.children.iter().map(|c| (c.spi_in, c.spi_out)).collect();
                    if have != mirror {
                        self.fail("the Child SAs of the IKE SA differ");
                    }
                }
                _ => self.fail(&format!("not one IKE SA each: {left:#x?} {right:#x?}")),
            }
        }
        let planes = &self.tunnel.planes;
        let there = planes.mirrored(&["lan"]);
        let empty = planes.mirrored(&[]);
        let good = match (gone, child_may_go) {
            (true, _) => empty,
            (false, true) => empty.or(there),
            (false, false) => there,
        };
        if let Err(fault) = good {
            self.fail(&fault);
        }
        for end in [End::Left, End::Right] {
            if let Some(failed) = self.tunnel.failures(end).first() {
                let failed = format!("{end:?}: {failed:?}");
                self.fail(&failed);
            }
        }
    }

    fn fail(&self, fault: &str) -> ! {
        if !self.plan.told {
            // The same again, with every message kept.
            let mut again = Run::new(&Plan { told: true, ..self.plan.clone() });
            let ordered = self.ordered.unwrap_or(self.steps.len());
            self.steps[..ordered].iter().for_each(|step| again.step(*step));
            again.rest();
            again.judge();
        }
        panic!("{fault}\n{:?}\n{:?}\n{}", self.plan, self.steps, self.tunnel.story());
    }
}

/// One group of the quickest sort, and no trace of every message.
fn quick(mut spec: ConnectionSpec) -> ConnectionSpec {
    spec.ike_proposals = vec![ike_proposal(&[ikelab::wire::registry::KeMethod::CURVE25519])];
    spec
}

/// What a search has seen.
#[derive(Clone, Copy, Default, Debug)]
struct Seen {
    /// Orders run to their end.
    runs: usize,
    /// Moments at which the data planes and, at the end, the SAs were judged.
    states: usize,
    /// Most messages that one end sent.
    messages: usize,
    child_rekeys: u64,
    ike_rekeys: u64,
}

impl Seen {
    /// Nothing is left to be done in this order: time goes on, and the end is judged.
    fn judged(&mut self, mut run: Run) {
        run.rest();
        run.judge();
        self.runs += 1;
        self.states += run.steps.len() + 1;
        self.messages = self.messages.max(run.sent[0]).max(run.sent[1]);
        let counters = run.tunnel.pair.left.counters();
        self.child_rekeys = self.child_rekeys.max(counters.child_rekeyed);
        self.ike_rekeys = self.ike_rekeys.max(counters.ike_rekeyed);
    }

    fn add(&mut self, other: Seen) {
        self.runs += other.runs;
        self.states += other.states;
        self.messages = self.messages.max(other.messages);
        self.child_rekeys = self.child_rekeys.max(other.child_rekeys);
        self.ike_rekeys = self.ike_rekeys.max(other.ike_rekeys);
    }
}

/// Runs every order of `plan`.
fn explore(plan: &Plan, seen: &mut Seen) {
    let run = Run::new(plan);
    descend(plan, run, Vec::new(), seen);
}

/// Explores all that can follow. `asleep` are steps that need not be taken here, because an order that begins with them
/// has been seen.
fn descend(plan: &Plan, run: Run, asleep: Vec<Step>, seen: &mut Seen) {
    let enabled = run.enabled();
    if enabled.is_empty() {
        return seen.judged(run);
    }
    let prefix = run.steps.clone();
    let mut run = Some(run);
    let mut asleep = asleep;
    for step in enabled {
        if asleep.contains(&step) {
            continue;
        }
        let mut next = run.take().unwrap_or_else(|| {
            let mut again = Run::new(plan);
            prefix.iter().for_each(|step| again.step(*step));
            again
        });
        next.step(step);
        let below = asleep.iter().copied().filter(|other| other.at() != step.at()).collect();
        descend(plan, next, below, seen);
        asleep.push(step);
    }
}

/// Every order, and every loss of one message, with and without traffic.
fn every_loss(left: &[Op], right: &[Op]) -> Seen {
    losses(left, right, &[false, true])
}

fn losses(left: &[Op], right: &[Op], traffic: &[bool]) -> Seen {
    let mut seen = Seen::default();
    for &traffic in traffic {
        let plan = Plan { left: left.to_vec(), right: right.to_vec(), lost: None, traffic, bent: None, told: false };
        explore(&plan, &mut seen);
        // One end's messages of the longest run; retransmissions and late answers are among them.
        for number in 0..seen.messages {
            for end in [End::Left, End::Right] {
                explore(&Plan { lost: Some((end, number)), ..plan.clone() }, &mut seen);
            }
        }
    }
    println!("{left:?} against {right:?}: {seen:?}");
    seen
}

/// ```text
///  A                                                       B
///  N(REKEY_SA), SA, Ni1, ..    -->                  <--    N(REKEY_SA), SA, Ni2, ..
///  SA, Nr1, ..                 -->                  <--    SA, Nr2, ..
///  D(old) or D(own new one)    -->                  <--    D(own new one) or D(old)
/// ```
#[test]
fn both_rekey_the_child() {
    let seen = every_loss(&[Op::RekeyChild], &[Op::RekeyChild]);
    assert!(seen.runs > 50 && seen.child_rekeys == 2, "one rekey, or one after the other: {seen:?}");
}

#[test]
fn both_rekey_the_ike_sa() {
    let seen = every_loss(&[Op::RekeyIke], &[Op::RekeyIke]);
    assert!(seen.runs > 50 && seen.ike_rekeys == 2, "{seen:?}");
}

#[test]
fn one_rekeys_the_child_and_the_other_the_ike_sa() {
    for (left, right) in [(Op::RekeyChild, Op::RekeyIke), (Op::RekeyIke, Op::RekeyChild)] {
        let seen = every_loss(&[left], &[right]);
        assert!(seen.runs > 50 && seen.ike_rekeys == 1 && seen.child_rekeys == 1, "{seen:?}");
    }
}

#[test]
fn a_rekey_against_a_delete() {
    for rekey in [Op::RekeyChild, Op::RekeyIke] {
        for delete in [Op::DeleteChild, Op::DeleteIke] {
            every_loss(&[rekey], &[delete]);
            every_loss(&[delete], &[rekey]);
            every_loss(&[rekey, delete], &[]);
        }
    }
    every_loss(&[Op::DeleteChild], &[Op::DeleteChild]);
    every_loss(&[Op::DeleteIke], &[Op::DeleteIke]);
    every_loss(&[Op::DeleteChild], &[Op::DeleteIke]);
}

/// Two rekeys, and a delete or a liveness check, in every order, with every loss of one message.
fn three_at_once(rekeys: (Op, Op), third: &[Op], floor: usize) -> Seen {
    let mut all = Seen::default();
    for op in third {
        all.add(losses(&[rekeys.0, *op], &[rekeys.1], &[false]));
    }
    println!("{rekeys:?} and one of {third:?}: {all:?}");
    assert!(all.runs > floor && all.states > 8 * floor, "{all:?}");
    all
}

/// Two rekeys, a delete and a liveness check, each of the two at each end, before and after the rekey, with every loss of
/// one message. There are 1,680,759 of these, a quarter of an hour's work, for which `IKELAB_ALL_COLLISIONS` has to be set;
/// otherwise it is a sample of the orders for each loss, the same ones each time, and all orders without a loss where both
/// ends rekey the Child SA.
fn four_at_once(rekeys: (Op, Op), delete: Op, floor: usize) {
    let (left, right) = rekeys;
    let check = Op::Liveness;
    let plans: [(&[Op], &[Op]); 6] = [
        (&[left, delete], &[right, check]),
        (&[check, left], &[right, delete]),
        (&[delete, left], &[right, check]),
        (&[left, delete], &[check, right]),
        (&[left, check], &[right, delete]),
        (&[left, delete, check], &[right]),
    ];
    let mut all = Seen::default();
    for (left, right) in plans {
        if every_order() {
            all.add(losses(left, right, &[false]));
            continue;
        }
        let plan = Plan::of(left, right);
        let mut seen = Seen::default();
        match rekeys {
            CHILD_AND_CHILD => explore(&plan, &mut seen),
            _ => sample(&plan, &mut seen),
        }
        sample_losses(&plan, &mut seen);
        all.add(seen);
    }
    println!("{rekeys:?}, {delete:?}, a check: {all:?}");
    assert!(all.runs > floor && all.states > 8 * floor, "{all:?}");
}

/// Orders of one plan that a sample takes for each loss.
const WALKS: u64 = 8;

fn every_order() -> bool {
    std::env::var_os("IKELAB_ALL_COLLISIONS").is_some()
}

impl Plan {
    fn of(left: &[Op], right: &[Op]) -> Plan {
        Plan { left: left.to_vec(), right: right.to_vec(), lost: None, traffic: false, bent: None, told: false }
    }
}

/// A sample of the orders for each message that can be lost.
fn sample_losses(plan: &Plan, seen: &mut Seen) {
    for number in 0..seen.messages {
        for end in [End::Left, End::Right] {
            sample(&Plan { lost: Some((end, number)), ..plan.clone() }, seen);
        }
    }
}

/// Walks through some orders of `plan`, chosen by a small generator.
fn sample(plan: &Plan, seen: &mut Seen) {
    for walk in 0..WALKS {
        let mut dice = walk.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d;
        let mut run = Run::new(plan);
        loop {
            let enabled = run.enabled();
            if enabled.is_empty() {
                break;
            }
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            run.step(enabled[(dice >> 33) as usize % enabled.len()]);
        }
        seen.judged(run);
    }
}

const DELETES: [Op; 2] = [Op::DeleteChild, Op::DeleteIke];
const CHILD_AND_CHILD: (Op, Op) = (Op::RekeyChild, Op::RekeyChild);
const IKE_AND_IKE: (Op, Op) = (Op::RekeyIke, Op::RekeyIke);
const MIXED: [(Op, Op); 2] = [(Op::RekeyChild, Op::RekeyIke), (Op::RekeyIke, Op::RekeyChild)];

#[test]
fn both_rekey_the_child_and_one_deletes_or_checks() {
    let seen = three_at_once(CHILD_AND_CHILD, &[Op::DeleteChild, Op::DeleteIke, Op::Liveness], 400);
    assert_eq!(seen.child_rekeys, 2, "one after the other");
}

#[test]
fn both_rekey_the_ike_sa_and_one_deletes() {
    let seen = three_at_once(IKE_AND_IKE, &DELETES, 1_200);
    assert_eq!(seen.ike_rekeys, 2, "one after the other");
}

#[test]
fn both_rekey_the_ike_sa_and_one_checks() {
    let seen = three_at_once(IKE_AND_IKE, &[Op::Liveness], 900);
    assert_eq!(seen.ike_rekeys, 2, "one after the other");
}

#[test]
fn one_rekeys_each_and_one_deletes_or_checks() {
    for rekeys in MIXED {
        let seen = three_at_once(rekeys, &[Op::DeleteChild, Op::DeleteIke, Op::Liveness], 400);
        assert!(seen.child_rekeys == 1 && seen.ike_rekeys == 1, "{seen:?}");
    }
}

#[test]
fn both_rekey_the_child_one_deletes_and_one_checks() {
    DELETES.into_iter().for_each(|delete| four_at_once(CHILD_AND_CHILD, delete, 8_000));
}

#[test]
fn both_rekey_the_ike_sa_one_deletes_the_child_and_one_checks() {
    four_at_once(IKE_AND_IKE, Op::DeleteChild, 400);
}

#[test]
fn both_rekey_the_ike_sa_one_deletes_it_and_one_checks() {
    four_at_once(IKE_AND_IKE, Op::DeleteIke, 400);
}

#[test]
fn one_rekeys_each_one_deletes_and_one_checks() {
    for rekeys in MIXED {
        DELETES.into_iter().for_each(|delete| four_at_once(rekeys, delete, 400));
    }
}

/// The checks can fail: each broken rule is found by some order.
#[test]
fn a_broken_rule_is_found() {
    let cases = [
        (Bent::EmptyDelete, vec![Op::RekeyChild], vec![], "is not there|differ|wanted"),
        (Bent::EmptyDelete, vec![Op::DeleteIke], vec![], "an IKE SA is left|is not there"),
        (Bent::Nonce, vec![], vec![Op::RekeyChild], "keys differ"),
        (Bent::DeafToDelete, vec![], vec![Op::DeleteChild], "is not there|differ|wanted"),
        (Bent::DeafToDelete, vec![Op::RekeyIke], vec![Op::DeleteIke], "an IKE SA is left|is not there"),
    ];
    for (bent, left, right, says) in cases {
        let plan = Plan { left, right, lost: None, traffic: false, bent: Some(bent), told: false };
        let found = std::panic::catch_unwind(|| explore(&plan, &mut Seen::default()));
        let fault = *found.expect_err(&format!("{plan:?} went unnoticed")).downcast::<String>().expect("a text");
        let first = fault.lines().next().unwrap_or_default();
        assert!(says.split('|').any(|say| first.contains(say)), "{plan:?}: {first}");
    }
}
