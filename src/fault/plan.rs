//! The fault plan: rules, applied at the engine's seams.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;

use super::action::{Action, Choice, Invention, Junk, Moment};
use super::record::{Dropped, Firing, FiringLog};
use super::rule::{PayloadSel, Rule, Seam, When};
use super::{esp, message, wire};
use crate::engine::{
    Decision, Deliver, EspCx, EspEdit, Fragment, Injected, Layout, LayoutPart, MsgCx, Order, Outgoing, RecvCx, SaCx,
    SecretKind, SkBody, Tamper, Timer, Trigger,
};
use crate::engine::{SaId, TunnelId};
use crate::net::{Class, SocketRole};
use crate::seed::PlanSeed;
use crate::time::Instant;
use crate::wire::registry::{ExchangeType, NotifyType};
use crate::wire::{FieldEdit, FieldMap, Flags, Header, Message, NotifyPayload, Payload};

/// Messages whose payloads are remembered for the seams behind the first one.
const REMEMBERED: usize = 64;
/// Datagrams that one rule keeps at most.
const KEPT: usize = 256;

/// Rules and the record of what they did. Give it to [`crate::engine::Endpoint::set_tamper`], and what
/// [`FaultPlan::for_esp`] makes of it to [`crate::esp::Plane::set_tamper`].
pub struct FaultPlan {
    rules: Vec<Armed>,
    log: FiringLog,
    rng: ChaCha20Rng,
    alternate: bool,
    /// Some rule behind the message seam asks for a payload.
    remembers: bool,
    remembered: VecDeque<(MessageKey, Vec<PayloadSel>)>,
}

struct Armed {
    rule: Rule,
    matched: u32,
    fired: u32,
    /// Tunnels in which it has begun to be silent, or deaf.
    tripped: BTreeSet<TunnelId>,
    /// Datagrams kept back, and after how many others each is due.
    kept: Vec<(Option<SaId>, u32, Outgoing)>,
    /// The first octets of a secret that is used again and again.
    first: Option<Vec<u8>>,
}

/// One message, to recognise it at a later seam.
type MessageKey = (Option<SaId>, TunnelId, ExchangeType, bool, u32);

/// What a rule is matched against; `None` where the seam does not know.
#[derive(Clone, Copy, Default)]
struct Subject<'a> {
    sa: Option<SaId>,
    tunnel: TunnelId,
    initiator: Option<bool>,
    at: Instant,
    exchange: Option<ExchangeType>,
    response: Option<bool>,
    message_id: Option<u32>,
    attempt: Option<u8>,
    port: Option<SocketRole>,
    payloads: Option<&'a [PayloadSel]>,
}

impl FaultPlan {
    /// A plan of `rules`; probabilities draw from the plan seed.
    pub fn new(rules: Vec<Rule>, seed: &PlanSeed) -> Self {
        FaultPlan::with_log(rules, seed.stream("fault"), FiringLog::new())
    }

    /// The part of it that bends ESP packets, with the same record; `None` if nothing does.
    pub fn for_esp(&self, seed: &PlanSeed) -> Option<FaultPlan> {
        let rules: Vec<Rule> = self.rules.iter().map(|armed| armed.rule.clone()).collect();
        let any = rules.iter().any(|rule| rule.action.seam() == Seam::Esp);
        // All rules, so that they have the same numbers in the record; the others are never asked about there.
        any.then(|| FaultPlan::with_log(rules, seed.stream("fault esp"), self.log.clone()))
    }

    fn with_log(rules: Vec<Rule>, rng: ChaCha20Rng, log: FiringLog) -> Self {
        let remembers = rules.iter().any(|rule| rule.when.payload.is_some() && rule.action.seam() != Seam::Message);
        let arm = |rule| Armed { rule, matched: 0, fired: 0, tripped: BTreeSet::new(), kept: Vec::new(), first: None };
        let rules = rules.into_iter().map(arm).collect();
        FaultPlan { rules, log, rng, alternate: false, remembers, remembered: VecDeque::new() }
    }

    /// The names of its rules, in their order.
    pub fn names(&self) -> Vec<String> {
        self.rules.iter().map(|armed| armed.rule.name.clone()).collect()
    }

    /// The shared record; clone it before the plan goes into an endpoint.
    pub fn log(&self) -> FiringLog {
        self.log.clone()
    }

    /// Whether the rule acts at this seam and fires now. Counts the match, not yet a firing.
    fn matches(&mut self, index: usize, seam: Seam, subject: &Subject<'_>) -> bool {
        let armed = &mut self.rules[index];
        if armed.rule.action.seam() != seam
            || armed.rule.times.is_some_and(|times| armed.fired >= times)
            || !holds(&armed.rule.when, subject)
        {
            return false;
        }
        armed.matched += 1;
        let when = &armed.rule.when;
        if when.nth.is_some_and(|nth| nth != armed.matched) {
            return false;
        }
        when.per_million.is_none_or(|share| self.rng.next_u32() % 1_000_000 < share)
    }

    fn fired(&mut self, index: usize, subject: &Subject<'_>, effective: bool, dropped: Option<Dropped>) {
        let armed = &mut self.rules[index];
        armed.fired += 1;
        self.log.push(Firing {
            rule: index,
            name: armed.rule.name.clone(),
            at: subject.at,
            sa: subject.sa,
            tunnel: subject.tunnel,
            exchange: subject.exchange,
            response: subject.response,
            message_id: subject.message_id,
            effective,
            dropped,
        });
    }

    /// The datagrams of a message have left: earlier changes of that message have now had their effect.
    fn left(&mut self, subject: &Subject<'_>) {
        self.log.with(|list| {
            for firing in list.iter_mut().rev().filter(|firing| !firing.effective) {
                let same_sa = firing.sa == subject.sa && firing.tunnel == subject.tunnel;
                let unnamed = firing.response.is_none();
                let same_message = firing.exchange == subject.exchange
                    && firing.response == subject.response
                    && firing.message_id == subject.message_id;
                firing.effective = same_sa && (unnamed || same_message);
            }
        });
    }

    fn remember(&mut self, cx: &MsgCx, payloads: Vec<PayloadSel>) {
        let key = key(cx);
        self.remembered.retain(|(other, _)| *other != key);
        if self.remembered.len() == REMEMBERED {
            self.remembered.pop_front();
        }
        self.remembered.push_back((key, payloads));
    }

    fn recall(&self, cx: &MsgCx) -> Option<Vec<PayloadSel>> {
        let key = key(cx);
        self.remembered.iter().rev().find(|(other, _)| *other == key).map(|(_, payloads)| payloads.clone())
    }

    /// What a datagram's rules make of it: itself, if it is still to be sent, and what goes with it.
    fn one_datagram(&mut self, mut datagram: Outgoing, base: &Subject<'_>, out: &mut Vec<Outgoing>) {
        let mut with = Vec::new();
        let mut keep = true;
        for index in 0..self.rules.len() {
            let subject = Subject { port: Some(datagram.path.role), ..*base };
            let silenced = self.rules[index].tripped.contains(&subject.tunnel);
            if !silenced && !self.matches(index, Seam::Datagrams, &subject) {
                continue;
            }
            let action = self.rules[index].rule.action.clone();
            match action {
                Action::FallSilent if !silenced => {
                    self.rules[index].tripped.insert(subject.tunnel);
                }
                Action::DropSent | Action::FallSilent => {
                    let dropped = Some(withheld(&datagram));
                    self.fired(index, &subject, true, dropped);
                    keep = false;
                    break;
                }
                Action::Hold { others, now } => {
                    let armed = &mut self.rules[index];
                    if armed.kept.len() < KEPT {
                        armed.kept.push((subject.sa, others, datagram.clone()));
                        keep &= now;
                        self.fired(index, &subject, true, None);
                    }
                    if !keep {
                        break;
                    }
                }
                Action::Repeat { copies, after } => {
                    for n in 1..=copies {
                        let after = datagram.after + after * u32::from(n);
                        with.push(Outgoing { after, ..datagram.clone() });
                    }
                    self.fired(index, &subject, copies > 0, None);
                }
                Action::Beside(junk) => {
                    let (class, bytes) = self.junk(junk);
                    with.push(Outgoing { class, bytes, ..datagram.clone() });
                    self.fired(index, &subject, true, None);
                }
                action => {
                    if wire::edit_datagram(&action, &mut datagram) {
                        self.fired(index, &subject, true, None);
                    }
                }
            }
        }
        if keep {
            out.push(datagram);
            out.append(&mut with);
        }
    }

    /// Datagrams that were kept until `sent` others of their IKE SA had left.
    fn release(&mut self, sa: Option<SaId>, sent: u32, out: &mut Vec<Outgoing>) {
        for armed in &mut self.rules {
            for (of, others, _) in &mut armed.kept {
                if *of == sa {
                    *others = others.saturating_sub(sent);
                }
            }
            let due = armed.kept.extract_if(.., |(_, others, _)| *others == 0);
            out.extend(due.map(|(_, _, datagram)| datagram));
        }
    }

    fn junk(&mut self, junk: Junk) -> (Class, Vec<u8>) {
        match junk {
            Junk::Random(len) => {
                let mut octets = vec![0; len];
                self.rng.fill_bytes(&mut octets);
                (Class::Verbatim, octets)
            }
            Junk::Empty => (Class::Verbatim, Vec::new()),
            Junk::Keepalive => (Class::Keepalive, vec![0xff]),
            Junk::Esp(len) => {
                let mut octets = vec![0; len.max(8)];
                self.rng.fill_bytes(&mut octets);
                // An SPI that nobody has, sequence number 1.
                octets[..8].copy_from_slice(&[0xde, 0xad, 0xbe, 0xef, 0, 0, 0, 1]);
                (Class::Esp, octets)
            }
        }
    }
}

fn withheld(datagram: &Outgoing) -> Dropped {
    Dropped { inbound: false, path: datagram.path, class: datagram.class, bytes: datagram.bytes.clone() }
}

fn key(cx: &MsgCx) -> MessageKey {
    (cx.sa.sa, cx.sa.tunnel, cx.exchange, cx.response, cx.message_id)
}

fn holds(when: &When, subject: &Subject<'_>) -> bool {
    fn same<T: PartialEq>(wanted: &Option<T>, got: &Option<T>) -> bool {
        wanted.is_none() || wanted == got
    }
    let has = |wanted: PayloadSel| subject.payloads.is_some_and(|list| list.iter().any(|one| wanted.covers(one)));
    // Who the initiator is stays unknown for datagrams of no SA: a rule that asks is then not met.
    same(&when.initiator, &subject.initiator)
        && same(&when.exchange, &subject.exchange)
        && same(&when.response, &subject.response)
        && same(&when.message_id, &subject.message_id)
        && same(&when.attempt, &subject.attempt)
        && same(&when.port, &subject.port)
        && when.tunnels.as_ref().is_none_or(|range| range.contains(&subject.tunnel.0))
        && when.payload.is_none_or(has)
}

fn kinds(message: &Message) -> Vec<PayloadSel> {
    message.outer.iter().chain(message.sk.iter().flatten()).map(PayloadSel::describing).collect()
}

impl Subject<'_> {
    fn sa(cx: &SaCx) -> Self {
        Subject { sa: cx.sa, tunnel: cx.tunnel, initiator: Some(cx.initiator), at: cx.now, ..Subject::default() }
    }

    fn msg(cx: &MsgCx) -> Self {
        Subject {
            exchange: Some(cx.exchange),
            response: Some(cx.response),
            message_id: Some(cx.message_id),
            attempt: Some(cx.attempt),
            ..Subject::sa(&cx.sa)
        }
    }

    fn recv(cx: &RecvCx) -> Self {
        let mut subject = cx.sa.as_ref().map(Subject::sa).unwrap_or_default();
        subject.at = cx.now;
        subject.port = Some(cx.path.role);
        if let Some(header) = &cx.header {
            subject.exchange = Some(header.exchange);
            subject.response = Some(header.flags.is_response());
            subject.message_id = Some(header.message_id);
            // The initiator flag is the sender's: the other end is the other role.
            subject.initiator = Some(!header.flags.is_initiator());
        }
        subject
    }
}

impl Tamper for FaultPlan {
    fn concerns(&mut self, sa: &SaCx) -> bool {
        self.rules.iter().any(|armed| {
            let when = &armed.rule.when;
            when.initiator.is_none_or(|initiator| initiator == sa.initiator)
                && when.tunnels.as_ref().is_none_or(|range| range.contains(&sa.tunnel.0))
        })
    }

    fn decide(&mut self, sa: &SaCx, mut decision: Decision<'_>) {
        let mut subject = Subject::sa(sa);
        for index in 0..self.rules.len() {
            let Action::Decide(choice) = self.rules[index].rule.action else { continue };
            subject.exchange = Some(choice.exchange(sa.established));
            if !concerns_decision(choice, &decision) || !self.matches(index, Seam::Decide, &subject) {
                continue;
            }
            if turn(choice, &mut decision, &mut self.alternate) {
                self.fired(index, &subject, true, None);
            }
        }
    }

    fn secret(&mut self, sa: &SaCx, kind: SecretKind, octets: &mut Vec<u8>) {
        let exchange = match (kind, sa.established) {
            (SecretKind::Cookie, _) => Some(ExchangeType::IKE_SA_INIT),
            (SecretKind::Auth | SecretKind::Identity, _) | (SecretKind::ChildSpi, false) => {
                Some(ExchangeType::IKE_AUTH)
            }
            // A responder's first one is drawn in IKE_AUTH, too.
            (SecretKind::ChildSpi, true) => None,
            (_, false) => Some(ExchangeType::IKE_SA_INIT),
            (_, true) => Some(ExchangeType::CREATE_CHILD_SA),
        };
        let subject = Subject { exchange, ..Subject::sa(sa) };
        for index in 0..self.rules.len() {
            let wanted = match &self.rules[index].rule.action {
                Action::Secret { kind, .. } | Action::SameSecret(kind) => *kind,
                _ => continue,
            };
            if wanted != kind || !self.matches(index, Seam::Secret, &subject) {
                continue;
            }
            let armed = &mut self.rules[index];
            let changed = match &armed.rule.action {
                Action::Secret { edit, .. } => edit.apply(octets),
                _ => match &armed.first {
                    Some(first) => {
                        let changed = octets != first;
                        octets.clone_from(first);
                        changed
                    }
                    None => {
                        armed.first = Some(octets.clone());
                        false
                    }
                },
            };
            if changed {
                self.fired(index, &subject, false, None);
            }
        }
    }

    fn message(&mut self, cx: &MsgCx, message: &mut Message) {
        for index in 0..self.rules.len() {
            let quiet = quiet_reboot(&self.rules[index], cx);
            if !quiet && self.rules[index].rule.action.seam() != Seam::Message {
                continue;
            }
            if quiet {
                let contact = Action::Omit(PayloadSel::notify(NotifyType::INITIAL_CONTACT));
                message::edit(&contact, message, cx.response);
                continue;
            }
            let payloads = kinds(message);
            let subject = Subject { payloads: Some(&payloads), ..Subject::msg(cx) };
            if self.matches(index, Seam::Message, &subject)
                && message::edit(&self.rules[index].rule.action, message, cx.response)
            {
                self.fired(index, &subject, false, None);
            }
        }
        if self.remembers {
            self.remember(cx, kinds(message));
        }
    }

    fn layout(&mut self, cx: &MsgCx, _part: LayoutPart, map: &FieldMap, layout: &mut Layout) {
        let payloads = self.recall(cx);
        let subject = Subject { payloads: payloads.as_deref(), ..Subject::msg(cx) };
        for index in 0..self.rules.len() {
            let edits = match &self.rules[index].rule.action {
                // A field is in one of the two parts: a rule matches only where its field is.
                Action::Field(edit) if map.get(edit.path()).is_some() => vec![edit.clone()],
                Action::EveryField { suffixes, mask } => every_field(map, suffixes, *mask),
                _ => continue,
            };
            if !edits.is_empty() && self.matches(index, Seam::Layout, &subject) {
                layout.edits.extend(edits);
                self.fired(index, &subject, false, None);
            }
        }
    }

    fn plaintext(&mut self, cx: &MsgCx, body: &mut SkBody) {
        let payloads = self.recall(cx);
        let subject = Subject { payloads: payloads.as_deref(), ..Subject::msg(cx) };
        for index in 0..self.rules.len() {
            if self.matches(index, Seam::Plaintext, &subject) && wire::edit_body(&self.rules[index].rule.action, body) {
                self.fired(index, &subject, false, None);
            }
        }
    }

    fn fragments(&mut self, cx: &MsgCx, fragments: &mut Vec<Fragment>) {
        let payloads = self.recall(cx);
        let subject = Subject { payloads: payloads.as_deref(), ..Subject::msg(cx) };
        for index in 0..self.rules.len() {
            let before = fragments.len();
            let changed = match &self.rules[index].rule.action {
                Action::OmitFragment(number) if fragments.iter().any(|fragment| fragment.number == *number) => {
                    let number = *number;
                    if !self.matches(index, Seam::Fragments, &subject) {
                        continue;
                    }
                    fragments.retain(|fragment| fragment.number != number);
                    fragments.len() != before
                }
                Action::Fragments(edit) => {
                    let edit = edit.clone();
                    let mut bent = fragments.clone();
                    // A message in one piece is not counted by rules about several.
                    if !wire::edit_fragments(&edit, &mut bent) || !self.matches(index, Seam::Fragments, &subject) {
                        continue;
                    }
                    *fragments = bent;
                    true
                }
                _ => continue,
            };
            if changed {
                self.fired(index, &subject, false, None);
            }
        }
    }

    fn datagrams(&mut self, cx: &MsgCx, datagrams: &mut Vec<Outgoing>) {
        let payloads = self.recall(cx);
        let base = Subject { payloads: payloads.as_deref(), ..Subject::msg(cx) };
        // What is kept now does not wait for itself.
        let kept: Vec<usize> = self.rules.iter().map(|armed| armed.kept.len()).collect();
        let mut out = Vec::with_capacity(datagrams.len());
        for datagram in datagrams.drain(..) {
            self.one_datagram(datagram, &base, &mut out);
        }
        if !out.is_empty() {
            let sent = u32::try_from(out.len()).unwrap_or(u32::MAX);
            let new: Vec<Vec<_>> = self
                .rules
                .iter_mut()
                .zip(&kept)
                .map(|(armed, old)| armed.kept.split_off((*old).min(armed.kept.len())))
                .collect();
            self.release(base.sa, sent, &mut out);
            for (armed, new) in self.rules.iter_mut().zip(new) {
                armed.kept.extend(new);
            }
        }
        *datagrams = out;
        if !datagrams.is_empty() {
            self.left(&base);
        }
    }

    fn inject(&mut self, sa: &SaCx, trigger: &Trigger, out: &mut Vec<Injected>) {
        let (moment, subject) = match trigger {
            Trigger::Up(cx) | Trigger::Timer(cx) => (Occasion::of(trigger), Subject::sa(cx)),
            Trigger::Sent(cx) | Trigger::Accepted(cx) | Trigger::Withheld(cx) => {
                (Occasion::of(trigger), Subject::msg(cx))
            }
        };
        for index in 0..self.rules.len() {
            let action = self.rules[index].rule.action.clone();
            match (&action, moment) {
                // What was held at the parsed seam a moment ago; it has matched there.
                (Action::Collide { order, .. }, Occasion::Withheld)
                    if self.rules[index].tripped.remove(&subject.tunnel) =>
                {
                    out.push(Injected::Order(*order));
                    self.fired(index, &subject, true, None);
                }
                (_, Occasion::Withheld) => {}
                (action, _) if action.seam() == Seam::Inject => {
                    self.inject_one(index, action, sa, moment, &subject, out);
                }
                _ => {}
            }
        }
    }

    fn timer(&mut self, sa: &SaCx, timer: Timer, honest: Duration) -> Option<Duration> {
        let subject = Subject::sa(sa);
        let mut wait = Some(honest);
        for index in 0..self.rules.len() {
            let Action::Timer { timer: wanted, percent } = self.rules[index].rule.action else { continue };
            if wanted == timer && self.matches(index, Seam::Timer, &subject) {
                wait = (percent != 0).then(|| honest * percent / 100);
                self.fired(index, &subject, percent != 100, None);
            }
        }
        wait
    }

    fn inbound(&mut self, cx: &RecvCx, bytes: &mut Vec<u8>) -> Deliver {
        let subject = Subject::recv(cx);
        for index in 0..self.rules.len() {
            let deaf = self.rules[index].rule.action.seam() == Seam::Inbound
                && self.rules[index].tripped.contains(&subject.tunnel);
            if !deaf && !self.matches(index, Seam::Inbound, &subject) {
                continue;
            }
            match self.rules[index].rule.action {
                Action::FallDeaf if !deaf => {
                    self.rules[index].tripped.insert(subject.tunnel);
                }
                Action::DropReceived | Action::FallDeaf => {
                    let dropped = Dropped { inbound: true, path: cx.path, class: Class::Ike, bytes: bytes.clone() };
                    self.fired(index, &subject, true, Some(dropped));
                    return Deliver::Drop;
                }
                Action::HoldReceived(by) => {
                    self.fired(index, &subject, true, None);
                    return Deliver::HoldUntil(cx.now + by);
                }
                Action::ReceiveTwice(after) => {
                    self.fired(index, &subject, true, None);
                    return Deliver::Twice(after);
                }
                _ => {}
            }
        }
        Deliver::Yes
    }

    fn parsed(&mut self, cx: &RecvCx, message: &mut Message) -> Deliver {
        for index in 0..self.rules.len() {
            if self.rules[index].rule.action.seam() != Seam::Parsed {
                continue;
            }
            let payloads = kinds(message);
            let subject = Subject { payloads: Some(&payloads), ..Subject::recv(cx) };
            if let Action::Overlook(which) = self.rules[index].rule.action
                && !which.is_in(message)
            {
                continue;
            }
            if !self.matches(index, Seam::Parsed, &subject) {
                continue;
            }
            match self.rules[index].rule.action {
                Action::Overlook(which) => {
                    message.outer.retain(|payload| !which.matches(payload));
                    if let Some(inner) = &mut message.sk {
                        inner.retain(|payload| !which.matches(payload));
                    }
                    self.fired(index, &subject, true, None);
                }
                Action::HoldAccepted(by) => {
                    self.fired(index, &subject, true, None);
                    return Deliver::HoldUntil(cx.now + by);
                }
                Action::Collide { hold, .. } => {
                    self.rules[index].tripped.insert(subject.tunnel);
                    return Deliver::HoldUntil(cx.now + hold);
                }
                _ => {}
            }
        }
        Deliver::Yes
    }

    fn esp(&mut self, cx: &EspCx, edit: &mut EspEdit) {
        let subject = Subject { sa: cx.sa, tunnel: cx.tunnel, at: cx.now, ..Subject::default() };
        for index in 0..self.rules.len() {
            let Action::Esp(fault) = self.rules[index].rule.action else { continue };
            if self.matches(index, Seam::Esp, &subject) && esp::edit(fault, edit) {
                self.fired(index, &subject, true, None);
            }
        }
    }
}

/// What set off an injection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Occasion {
    Up,
    Timer,
    Sent,
    Accepted,
    Withheld,
}

impl Occasion {
    fn of(trigger: &Trigger) -> Self {
        match trigger {
            Trigger::Up(_) => Occasion::Up,
            Trigger::Timer(_) => Occasion::Timer,
            Trigger::Sent(_) => Occasion::Sent,
            Trigger::Accepted(_) => Occasion::Accepted,
            Trigger::Withheld(_) => Occasion::Withheld,
        }
    }
}

impl FaultPlan {
    /// One rule of the inject seam.
    fn inject_one(
        &mut self,
        index: usize,
        action: &Action,
        sa: &SaCx,
        occasion: Occasion,
        subject: &Subject<'_>,
        out: &mut Vec<Injected>,
    ) {
        let moment = match action {
            Action::InjectNotify { .. } => Moment::Up(Duration::ZERO),
            Action::Invent { at, .. } | Action::Order { at, .. } => *at,
            Action::Reboot { after, .. } => Moment::Up(*after),
            _ => return,
        };
        // A responder is up before its answer has left: what is sent at once would come before it.
        let moment = match moment {
            Moment::Up(after) if !sa.initiator => Moment::Up(after.max(Duration::from_millis(1))),
            other => other,
        };
        // The wait begins when the IKE SA comes up; its end is a timer that was asked for.
        if let (Moment::Up(after), Occasion::Up) = (moment, occasion)
            && !after.is_zero()
        {
            if holds(&self.rules[index].rule.when, subject) {
                self.rules[index].tripped.insert(subject.tunnel);
                out.push(Injected::Wake(after));
            }
            return;
        }
        let now = match (moment, occasion) {
            (Moment::Up(after), Occasion::Up) => after.is_zero(),
            (Moment::Up(after), Occasion::Timer) => {
                !after.is_zero() && self.rules[index].tripped.remove(&subject.tunnel)
            }
            (Moment::Sent, Occasion::Sent) | (Moment::Accepted, Occasion::Accepted) => true,
            _ => false,
        };
        if !now || !self.matches(index, Seam::Inject, subject) {
            return;
        }
        match action {
            Action::InjectNotify { notify, sealed, message_id } => {
                let what = Invention {
                    exchange: ExchangeType::INFORMATIONAL,
                    response: false,
                    payloads: vec![Payload::Notify(NotifyPayload::new(*notify))],
                    sealed: *sealed,
                    message_id: Some(*message_id),
                    count: 1,
                };
                invent(sa, &what, out);
            }
            Action::Invent { what, .. } => invent(sa, what, out),
            Action::Order { order, .. } => out.push(Injected::Order(*order)),
            Action::Reboot { contact, .. } => {
                if !contact {
                    self.rules[index].tripped.insert(REBOOTED);
                }
                out.push(Injected::Order(Order::Reboot));
            }
            _ => {}
        }
        self.fired(index, subject, true, None);
    }
}

/// Stands for "it has rebooted" among a rule's tunnels.
const REBOOTED: TunnelId = TunnelId(u64::MAX - 1);

/// Whether this IKE_AUTH follows a reboot that is not to be spoken of.
fn quiet_reboot(armed: &Armed, cx: &MsgCx) -> bool {
    matches!(armed.rule.action, Action::Reboot { contact: false, .. })
        && armed.tripped.contains(&REBOOTED)
        && cx.exchange == ExchangeType::IKE_AUTH
}

fn invent(sa: &SaCx, what: &Invention, out: &mut Vec<Injected>) {
    let flag = |wanted: bool, flag: Flags| if wanted { flag.0 } else { 0 };
    let flags = Flags(flag(sa.initiator, Flags::INITIATOR) | flag(what.response, Flags::RESPONSE));
    // Behind what another rule has invented at the same moment.
    let takes = |id: u32, injected: &Injected| match injected {
        Injected::Message { message, sealed: true, .. } => {
            message.header.message_id == id && !message.header.flags.is_response()
        }
        _ => false,
    };
    let next = out.iter().fold(sa.next_id, |id, injected| if takes(id, injected) { id.wrapping_add(1) } else { id });
    for n in 0..u32::from(what.count) {
        let id = what.message_id.unwrap_or(next).wrapping_add(n);
        let header = Header::new(sa.spis.0, sa.spis.1, what.exchange, flags, id);
        let payloads = what.payloads.clone();
        let message = match what.sealed {
            true => Message { header, outer: Vec::new(), sk: Some(payloads) },
            false => Message { header, outer: payloads, sk: None },
        };
        out.push(Injected::Message { message: Box::new(message), sealed: what.sealed, after: Duration::ZERO });
    }
}

fn every_field(map: &FieldMap, suffixes: &[&str], mask: u8) -> Vec<FieldEdit> {
    let fits = |path: &str| suffixes.iter().any(|end| path.ends_with(end)) && !path.starts_with("header");
    map.iter()
        .filter(|field| field.len > 0 && fits(&field.path))
        .map(|field| {
            let mut bits = vec![0; field.len];
            bits[field.len - 1] = mask;
            FieldEdit::Xor { path: field.path.clone(), mask: bits }
        })
        .collect()
}

fn concerns_decision(choice: Choice, decision: &Decision<'_>) -> bool {
    match (choice, decision) {
        (Choice::AcceptAuth(_), Decision::AcceptAuth(_))
        | (Choice::FollowInvalidKe(_), Decision::FollowInvalidKe(..))
        | (Choice::DemandGroup(_) | Choice::DemandGroups(..), Decision::DemandGroup(_))
        | (Choice::ReturnCookie(_), Decision::ReturnCookie(_))
        | (Choice::DemandCookie(_), Decision::DemandCookie(_))
        | (Choice::RefuseInit(_), Decision::RefuseInit(_))
        | (Choice::RefuseAuth(_), Decision::RefuseAuth(_))
        | (Choice::RefuseChild(_), Decision::RefuseChild(_))
        | (Choice::RefuseCreate(_), Decision::RefuseCreate(_))
        | (Choice::Float(_), Decision::Float(_)) => true,
        (Choice::Answer(wanted, _), Decision::Answer(exchange, _)) => wanted == *exchange,
        _ => false,
    }
}

/// Turns a decision; true if it came out otherwise than the engine had decided.
fn turn(choice: Choice, decision: &mut Decision<'_>, alternate: &mut bool) -> bool {
    fn set<T: PartialEq>(target: &mut T, value: T) -> bool {
        let changed = *target != value;
        *target = value;
        changed
    }
    match (choice, decision) {
        (Choice::AcceptAuth(value), Decision::AcceptAuth(target))
        | (Choice::FollowInvalidKe(value), Decision::FollowInvalidKe(_, target))
        | (Choice::ReturnCookie(value), Decision::ReturnCookie(target))
        | (Choice::DemandCookie(value), Decision::DemandCookie(target))
        | (Choice::Float(value), Decision::Float(target))
        | (Choice::Answer(_, value), Decision::Answer(_, target)) => set(&mut **target, value),
        (Choice::DemandGroup(group), Decision::DemandGroup(target)) => set(&mut **target, Some(group)),
        (Choice::DemandGroups(one, other), Decision::DemandGroup(target)) => {
            *alternate = !*alternate;
            set(&mut **target, Some(if *alternate { other } else { one }))
        }
        (Choice::RefuseInit(notify), Decision::RefuseInit(target))
        | (Choice::RefuseAuth(notify), Decision::RefuseAuth(target))
        | (Choice::RefuseChild(notify), Decision::RefuseChild(target))
        | (Choice::RefuseCreate(notify), Decision::RefuseCreate(target)) => set(&mut **target, Some(notify)),
        _ => false,
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
