//! The fault plan: rules, applied at the engine's seams.

use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;

use super::record::{Dropped, Firing, FiringLog};
use super::rule::{Action, Choice, PayloadSel, Rule, Seam, When, resolve};
use crate::engine::Timer;
use crate::engine::{
    Decision, Deliver, Fragment, Injected, Layout, LayoutPart, MsgCx, Outgoing, RecvCx, SaCx, SecretKind, SkBody,
    Tamper, Trigger,
};
use crate::engine::{SaId, TunnelId};
use crate::net::{Class, SocketRole};
use crate::seed::PlanSeed;
use crate::time::Instant;
use crate::wire::registry::ExchangeType;
use crate::wire::{FieldEdit, FieldMap, Flags, Header, IkeSpi, Message, NotifyPayload, Payload};

/// Rules and the record of what they did. Give it to [`crate::engine::Endpoint::set_tamper`].
pub struct FaultPlan {
    rules: Vec<Armed>,
    log: FiringLog,
    rng: ChaCha20Rng,
    alternate: bool,
}

struct Armed {
    rule: Rule,
    matched: u32,
    fired: u32,
}

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
    message: Option<&'a Message>,
}

impl FaultPlan {
    /// A plan of `rules`; probabilities draw from the plan seed.
    pub fn new(rules: Vec<Rule>, seed: &PlanSeed) -> Self {
        let rules = rules.into_iter().map(|rule| Armed { rule, matched: 0, fired: 0 }).collect();
        FaultPlan { rules, log: FiringLog::new(), rng: seed.stream("fault"), alternate: false }
    }

    /// The shared record; clone it before the plan goes into an endpoint.
    pub fn log(&self) -> FiringLog {
        self.log.clone()
    }

    /// Indices of the rules of `seam` that match now. Counts the match, not yet a firing.
    fn matching(&mut self, seam: Seam, subject: &Subject<'_>) -> Vec<usize> {
        let mut out = Vec::new();
        for index in 0..self.rules.len() {
            if self.rules[index].rule.action.seam() == seam && self.matches(index, subject) {
                out.push(index);
            }
        }
        out
    }

    fn matches(&mut self, index: usize, subject: &Subject<'_>) -> bool {
        let armed = &mut self.rules[index];
        if armed.rule.times.is_some_and(|times| armed.fired >= times) || !holds(&armed.rule.when, subject) {
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
                let unnamed = firing.exchange.is_none() || firing.response.is_none();
                let same_message = firing.exchange == subject.exchange
                    && firing.response == subject.response
                    && firing.message_id == subject.message_id;
                firing.effective = same_sa && (unnamed || same_message);
            }
        });
    }
}

fn holds(when: &When, subject: &Subject<'_>) -> bool {
    fn same<T: PartialEq>(wanted: &Option<T>, got: &Option<T>) -> bool {
        wanted.is_none() || wanted == got
    }
    // Who the initiator is stays unknown for datagrams of no SA: a rule that asks is then not met.
    same(&when.initiator, &subject.initiator)
        && same(&when.exchange, &subject.exchange)
        && same(&when.response, &subject.response)
        && same(&when.message_id, &subject.message_id)
        && same(&when.attempt, &subject.attempt)
        && same(&when.port, &subject.port)
        && when.tunnels.as_ref().is_none_or(|range| range.contains(&subject.tunnel.0))
        && when.payload.is_none_or(|payload| subject.message.is_none_or(|message| payload.is_in(message)))
}

impl<'a> Subject<'a> {
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
            subject.exchange = Some(choice.exchange());
            if !concerns_decision(choice, &decision) || !self.matches(index, &subject) {
                continue;
            }
            if turn(choice, &mut decision, &mut self.alternate) {
                self.fired(index, &subject, true, None);
            }
        }
    }

    fn secret(&mut self, sa: &SaCx, kind: SecretKind, octets: &mut Vec<u8>) {
        let subject = Subject::sa(sa);
        for index in 0..self.rules.len() {
            let Action::Secret { kind: wanted, edit } = &self.rules[index].rule.action else { continue };
            if *wanted != kind {
                continue;
            }
            let edit = edit.clone();
            if self.matches(index, &subject) && edit.apply(octets) {
                self.fired(index, &subject, false, None);
            }
        }
    }

    fn message(&mut self, cx: &MsgCx, message: &mut Message) {
        for index in 0..self.rules.len() {
            if self.rules[index].rule.action.seam() != Seam::Message {
                continue;
            }
            let before = message.clone();
            let subject = Subject { message: Some(&before), ..Subject::msg(cx) };
            if !self.matches(index, &subject) {
                continue;
            }
            if edit_message(&self.rules[index].rule.action, message) {
                self.fired(index, &subject, false, None);
            }
        }
    }

    fn layout(&mut self, cx: &MsgCx, _part: LayoutPart, map: &FieldMap, layout: &mut Layout) {
        let subject = Subject::msg(cx);
        for index in 0..self.rules.len() {
            let Action::Field(edit) = &self.rules[index].rule.action else { continue };
            // A field is in one of the two parts: a rule matches only where its field is.
            if map.get(edit_path(edit)).is_none() {
                continue;
            }
            let edit = edit.clone();
            if self.matches(index, &subject) {
                layout.edits.push(edit);
                self.fired(index, &subject, false, None);
            }
        }
    }

    fn plaintext(&mut self, cx: &MsgCx, body: &mut SkBody) {
        let subject = Subject::msg(cx);
        for index in self.matching(Seam::Plaintext, &subject) {
            if let Action::Padding { len, value, pad_length } = self.rules[index].rule.action {
                body.padding = vec![value; len];
                body.pad_length = pad_length.unwrap_or_else(|| u8::try_from(len).unwrap_or(u8::MAX));
                self.fired(index, &subject, false, None);
            }
        }
    }

    fn fragments(&mut self, cx: &MsgCx, fragments: &mut Vec<Fragment>) {
        let subject = Subject::msg(cx);
        for index in 0..self.rules.len() {
            let Action::OmitFragment(number) = self.rules[index].rule.action else { continue };
            if fragments.iter().any(|fragment| fragment.number == number) && self.matches(index, &subject) {
                fragments.retain(|fragment| fragment.number != number);
                self.fired(index, &subject, false, None);
            }
        }
    }

    fn datagrams(&mut self, cx: &MsgCx, datagrams: &mut Vec<Outgoing>) {
        let base = Subject::msg(cx);
        let mut out = Vec::with_capacity(datagrams.len());
        for mut datagram in datagrams.drain(..) {
            let subject = Subject { port: Some(datagram.path.role), ..base };
            let mut copies = Vec::new();
            let mut keep = true;
            for index in self.matching(Seam::Datagrams, &subject) {
                match self.rules[index].rule.action {
                    Action::DropSent => {
                        let dropped = Dropped {
                            inbound: false,
                            path: datagram.path,
                            class: datagram.class,
                            bytes: datagram.bytes.clone(),
                        };
                        self.fired(index, &subject, true, Some(dropped));
                        keep = false;
                        break;
                    }
                    Action::Delay(by) => {
                        datagram.after += by;
                        self.fired(index, &subject, true, None);
                    }
                    Action::Repeat { copies: count, after } => {
                        for n in 1..=count {
                            let after = datagram.after + after * u32::from(n);
                            copies.push(Outgoing { after, ..datagram.clone() });
                        }
                        self.fired(index, &subject, true, None);
                    }
                    Action::Corrupt { offset, mask } => {
                        if let Some(at) = resolve(offset, datagram.bytes.len()) {
                            datagram.bytes[at] ^= mask;
                            self.fired(index, &subject, mask != 0, None);
                        }
                    }
                    Action::Truncate(len) if len < datagram.bytes.len() => {
                        datagram.bytes.truncate(len);
                        self.fired(index, &subject, true, None);
                    }
                    _ => {}
                }
            }
            if keep {
                out.push(datagram);
                out.append(&mut copies);
            }
        }
        *datagrams = out;
        if !datagrams.is_empty() {
            self.left(&base);
        }
    }

    fn inject(&mut self, sa: &SaCx, trigger: &Trigger, out: &mut Vec<Injected>) {
        let Trigger::Up(_) = trigger else { return };
        let subject = Subject::sa(sa);
        for index in self.matching(Seam::Inject, &subject) {
            if let Action::InjectNotify { notify, sealed, message_id } = self.rules[index].rule.action {
                let message = Box::new(informational(sa, notify, sealed, message_id));
                out.push(Injected::Message { message, sealed, after: Duration::ZERO });
                self.fired(index, &subject, true, None);
            }
        }
    }

    fn timer(&mut self, sa: &SaCx, timer: Timer, honest: Duration) -> Option<Duration> {
        let subject = Subject::sa(sa);
        let mut wait = Some(honest);
        for index in 0..self.rules.len() {
            let Action::Timer { timer: wanted, percent } = self.rules[index].rule.action else { continue };
            if wanted == timer && self.matches(index, &subject) {
                wait = (percent != 0).then(|| honest * percent / 100);
                self.fired(index, &subject, percent != 100, None);
            }
        }
        wait
    }

    fn inbound(&mut self, cx: &RecvCx, bytes: &mut Vec<u8>) -> Deliver {
        let subject = Subject::recv(cx);
        for index in self.matching(Seam::Inbound, &subject) {
            match self.rules[index].rule.action {
                Action::DropReceived => {
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
}

fn edit_path(edit: &FieldEdit) -> &str {
    match edit {
        FieldEdit::Set { path, .. } | FieldEdit::Add { path, .. } | FieldEdit::Xor { path, .. } => path,
    }
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
        | (Choice::RefuseChild(notify), Decision::RefuseChild(target)) => set(&mut **target, Some(notify)),
        _ => false,
    }
}

/// Applies a message primitive to the payloads where it belongs: inside SK if there is one. True if anything changed.
fn edit_message(action: &Action, message: &mut Message) -> bool {
    let has = |list: &[Payload], which: &PayloadSel| list.iter().any(|payload| which.matches(payload));
    let list = match (&mut message.sk, action) {
        (Some(inner), Action::Omit(which) | Action::Duplicate(which) | Action::Move { payload: which, .. })
            if !has(inner, which) =>
        {
            &mut message.outer
        }
        (Some(inner), _) => inner,
        (None, _) => &mut message.outer,
    };
    match action {
        Action::Omit(which) => {
            let before = list.len();
            list.retain(|payload| !which.matches(payload));
            list.len() != before
        }
        Action::Add { payload, first } => {
            list.insert(if *first { 0 } else { list.len() }, payload.clone());
            true
        }
        Action::Duplicate(which) => match list.iter().position(|payload| which.matches(payload)) {
            Some(at) => {
                list.insert(at, list[at].clone());
                true
            }
            None => false,
        },
        Action::Move { payload: which, first } => match list.iter().position(|payload| which.matches(payload)) {
            Some(at) => {
                let target = if *first { 0 } else { list.len() - 1 };
                let payload = list.remove(at);
                list.insert(target, payload);
                at != target
            }
            None => false,
        },
        Action::Reverse => {
            list.reverse();
            list.len() > 1
        }
        _ => false,
    }
}

fn informational(sa: &SaCx, notify: crate::wire::registry::NotifyType, sealed: bool, message_id: u32) -> Message {
    let flags = Flags(if sa.initiator { Flags::INITIATOR.0 } else { 0 });
    let (spi_i, spi_r): (IkeSpi, IkeSpi) = sa.spis;
    let header = Header::new(spi_i, spi_r, ExchangeType::INFORMATIONAL, flags, message_id);
    let payloads = vec![Payload::Notify(NotifyPayload::new(notify))];
    match sealed {
        true => Message { header, outer: Vec::new(), sk: Some(payloads) },
        false => Message { header, outer: payloads, sk: None },
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
