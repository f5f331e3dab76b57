//! A rule as data: when it matches, what it does, how often.

use std::ops::Range;
use std::time::Duration;

use crate::net::SocketRole;
use crate::wire::registry::{ExchangeType, KeMethod, NotifyType, PayloadType};
use crate::wire::{FieldEdit, Message, Payload};

use crate::engine::SecretKind;
use crate::engine::Timer;

/// One rule of a fault plan.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Name for people and records: the catalogue's name of the fault.
    pub name: String,
    /// Which SA, message or datagram it concerns.
    pub when: When,
    /// What it does.
    pub action: Action,
    /// How often it fires at most; `None` means every time.
    pub times: Option<u32>,
}

/// Conditions, all of which must hold. An empty one matches everything.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct When {
    /// We are the original initiator (`Some(true)`) or responder (`Some(false)`) of the IKE SA.
    pub initiator: Option<bool>,
    /// Only in this exchange.
    pub exchange: Option<ExchangeType>,
    /// Only in responses (`Some(true)`) or requests (`Some(false)`).
    pub response: Option<bool>,
    /// Only the message with this id.
    pub message_id: Option<u32>,
    /// Only the n-th match of everything else, counted from 1.
    pub nth: Option<u32>,
    /// Only this transmission: 0 is the first one.
    pub attempt: Option<u8>,
    /// Only a message that holds this payload (seams that see a decoded message).
    pub payload: Option<PayloadSel>,
    /// Only tunnels with these numbers.
    pub tunnels: Option<Range<u64>>,
    /// Only on sockets of this role (seams that see a datagram).
    pub port: Option<SocketRole>,
    /// Only with this probability, in millionths, from the plan seed.
    pub per_million: Option<u32>,
}

/// Names a payload: its type and, for notifies, the notify type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PayloadSel {
    /// The payload type.
    pub kind: PayloadType,
    /// For a Notify payload, only this notify.
    pub notify: Option<NotifyType>,
}

impl PayloadSel {
    /// Any payload of a type.
    pub fn of(kind: PayloadType) -> Self {
        PayloadSel { kind, notify: None }
    }

    /// A Notify payload of a type.
    pub fn notify(kind: NotifyType) -> Self {
        PayloadSel { kind: PayloadType::NOTIFY, notify: Some(kind) }
    }

    /// True if `payload` is one of those named.
    pub fn matches(&self, payload: &Payload) -> bool {
        payload.kind() == self.kind
            && match (self.notify, payload) {
                (None, _) => true,
                (Some(kind), Payload::Notify(notify)) => notify.kind == kind,
                (Some(_), _) => false,
            }
    }

    /// True if `message` holds one, inside SK or outside.
    pub fn is_in(&self, message: &Message) -> bool {
        message.outer.iter().chain(message.sk.iter().flatten()).any(|payload| self.matches(payload))
    }
}

/// The primitives. Each belongs to one seam of the engine ([`Action::seam`]).
#[derive(Clone, Debug)]
pub enum Action {
    /// Leave out every matching payload.
    Omit(PayloadSel),
    /// Add a payload, first or last.
    Add {
        /// The payload.
        payload: Payload,
        /// Before all others instead of behind them.
        first: bool,
    },
    /// Send the first matching payload twice.
    Duplicate(PayloadSel),
    /// Move the first matching payload to the front or the back.
    Move {
        /// Which one.
        payload: PayloadSel,
        /// To the front.
        first: bool,
    },
    /// Put the payloads into the reverse order.
    Reverse,
    /// Edit a named field of the encoded message, under the integrity check.
    Field(FieldEdit),
    /// Change the padding inside SK: this many octets of this value, and the pad length octet as given.
    Padding {
        /// Number of padding octets, to be a multiple of the block where the peer is to decrypt it.
        len: usize,
        /// Their value.
        value: u8,
        /// The pad length octet; `None` means the truth.
        pad_length: Option<u8>,
    },
    /// Leave out the n-th RFC 7383 fragment, counted from 1.
    OmitFragment(u16),
    /// Do not send the datagram.
    DropSent,
    /// Send the datagram later.
    Delay(Duration),
    /// Send the datagram this many times more.
    Repeat {
        /// How many copies.
        copies: u8,
        /// Time between them.
        after: Duration,
    },
    /// Flip bits at an octet of the datagram, after the integrity check was computed. Negative offsets count from the end.
    Corrupt {
        /// Where.
        offset: i32,
        /// Which bits.
        mask: u8,
    },
    /// Cut the datagram to this many octets.
    Truncate(usize),
    /// Turn a decision of the engine.
    Decide(Choice),
    /// Change octets drawn or computed by the engine before they are used.
    Secret {
        /// Which ones.
        kind: SecretKind,
        /// How.
        edit: OctetEdit,
    },
    /// Send a notify of our own as an INFORMATIONAL with this message id once the IKE SA is up.
    InjectNotify {
        /// Which notify.
        notify: NotifyType,
        /// Protected by the IKE SA.
        sealed: bool,
        /// Its message id.
        message_id: u32,
    },
    /// Change a timer to this share of its honest value, in hundredths; 0 cancels it.
    Timer {
        /// Which one.
        timer: Timer,
        /// Percent of the honest duration.
        percent: u32,
    },
    /// Throw a received datagram away before the engine sees it.
    DropReceived,
    /// Hand a received datagram on later.
    HoldReceived(Duration),
    /// Hand a received datagram on twice.
    ReceiveTwice(Duration),
}

/// Decisions of the engine, and the way they are turned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Choice {
    /// Accept (or refuse) the peer's AUTH whatever it is.
    AcceptAuth(bool),
    /// Follow INVALID_KE_PAYLOAD, or do not.
    FollowInvalidKe(bool),
    /// Demand this group of every initiator, even when it is the one used.
    DemandGroup(KeMethod),
    /// Demand any group other than the one the initiator used: alternates between the two.
    DemandGroups(KeMethod, KeMethod),
    /// Return the cookie, or do not.
    ReturnCookie(bool),
    /// Demand a cookie, or do not, whatever the load and whether or not one is there.
    DemandCookie(bool),
    /// Refuse IKE_SA_INIT with this notify.
    RefuseInit(NotifyType),
    /// Refuse IKE_AUTH with this notify.
    RefuseAuth(NotifyType),
    /// Refuse the Child SA with this notify.
    RefuseChild(NotifyType),
    /// Move to the NAT-T ports, or do not.
    Float(bool),
    /// Answer requests of an exchange, or do not.
    Answer(ExchangeType, bool),
}

/// A change of octets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OctetEdit {
    /// Replace them.
    Set(Vec<u8>),
    /// Fill them with one value.
    Fill(u8),
    /// Flip bits of the octet at this offset; negative offsets count from the end.
    Xor(i32, u8),
    /// Cut or extend with zeros to this length.
    Resize(usize),
}

impl OctetEdit {
    /// Applies it; true if anything changed.
    pub fn apply(&self, octets: &mut Vec<u8>) -> bool {
        let before = octets.clone();
        match self {
            OctetEdit::Set(new) => *octets = new.clone(),
            OctetEdit::Fill(value) => octets.fill(*value),
            OctetEdit::Xor(offset, mask) => {
                if let Some(at) = resolve(*offset, octets.len()) {
                    octets[at] ^= mask;
                }
            }
            OctetEdit::Resize(len) => octets.resize(*len, 0),
        }
        *octets != before
    }
}

/// An offset that may count from the end, as an index into `len` octets.
pub(super) fn resolve(offset: i32, len: usize) -> Option<usize> {
    let at = if offset < 0 { i64::try_from(len).ok()? + i64::from(offset) } else { i64::from(offset) };
    usize::try_from(at).ok().filter(|at| *at < len)
}

/// Where the engine is bent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Seam {
    /// A decision.
    Decide,
    /// Octets drawn or computed.
    Secret,
    /// The typed message before encoding.
    Message,
    /// Named fields before encryption and under the integrity check.
    Layout,
    /// The inside of SK.
    Plaintext,
    /// RFC 7383 fragments before sealing.
    Fragments,
    /// Datagrams as they leave.
    Datagrams,
    /// What the engine did not decide to send.
    Inject,
    /// Timers.
    Timer,
    /// Datagrams as they arrive.
    Inbound,
}

impl Seam {
    /// The seam's name, as printed and documented.
    pub fn name(self) -> &'static str {
        match self {
            Seam::Decide => "decide",
            Seam::Secret => "secret",
            Seam::Message => "message",
            Seam::Layout => "layout",
            Seam::Plaintext => "plaintext",
            Seam::Fragments => "fragments",
            Seam::Datagrams => "datagrams",
            Seam::Inject => "inject",
            Seam::Timer => "timer",
            Seam::Inbound => "inbound",
        }
    }
}

impl Action {
    /// The seam at which it acts.
    pub fn seam(&self) -> Seam {
        match self {
            Action::Omit(_) | Action::Add { .. } | Action::Duplicate(_) | Action::Move { .. } | Action::Reverse => {
                Seam::Message
            }
            Action::Field(_) => Seam::Layout,
            Action::Padding { .. } => Seam::Plaintext,
            Action::OmitFragment(_) => Seam::Fragments,
            Action::DropSent
            | Action::Delay(_)
            | Action::Repeat { .. }
            | Action::Corrupt { .. }
            | Action::Truncate(_) => Seam::Datagrams,
            Action::Decide(_) => Seam::Decide,
            Action::Secret { .. } => Seam::Secret,
            Action::InjectNotify { .. } => Seam::Inject,
            Action::Timer { .. } => Seam::Timer,
            Action::DropReceived | Action::HoldReceived(_) | Action::ReceiveTwice(_) => Seam::Inbound,
        }
    }
}

impl Choice {
    /// The exchange in which the decision falls, for rules that name one.
    pub fn exchange(self) -> ExchangeType {
        match self {
            Choice::AcceptAuth(_) | Choice::RefuseAuth(_) | Choice::RefuseChild(_) => ExchangeType::IKE_AUTH,
            Choice::Answer(exchange, _) => exchange,
            _ => ExchangeType::IKE_SA_INIT,
        }
    }
}
