//! A rule as data: when it matches, what it does, how often.

use std::ops::Range;

use super::action::Action;
use crate::net::SocketRole;
use crate::wire::registry::{ExchangeType, NotifyType, PayloadType};
use crate::wire::{Message, Payload};

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

/// Conditions, all of which must hold. An empty one matches everything. What a seam does not know cannot hold there: see
/// [`Rule::check`].
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
    /// Only a message that holds this payload.
    pub payload: Option<PayloadSel>,
    /// Only tunnels with these numbers.
    pub tunnels: Option<Range<u64>>,
    /// Only on sockets of this role.
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

    /// Names exactly this payload.
    pub(super) fn describing(payload: &Payload) -> Self {
        PayloadSel { kind: payload.kind(), notify: payload.as_notify().map(|notify| notify.kind) }
    }

    /// True if everything that `other` names is named by this, too.
    pub(super) fn covers(&self, other: &PayloadSel) -> bool {
        self.kind == other.kind && (self.notify.is_none() || self.notify == other.notify)
    }

    /// True if `payload` is one of those named.
    pub fn matches(&self, payload: &Payload) -> bool {
        self.covers(&PayloadSel::describing(payload))
    }

    /// True if `message` holds one, inside SK or outside.
    pub fn is_in(&self, message: &Message) -> bool {
        message.outer.iter().chain(message.sk.iter().flatten()).any(|payload| self.matches(payload))
    }
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
    /// Messages as they were accepted.
    Parsed,
    /// ESP packets before sealing.
    Esp,
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
            Seam::Parsed => "parsed",
            Seam::Esp => "esp",
        }
    }

    /// What is bent there, in a few words.
    pub fn about(self) -> &'static str {
        match self {
            Seam::Decide => "a decision of the engine",
            Seam::Secret => "octets drawn or computed, before they are used",
            Seam::Message => "the message before it is encoded; every check below covers the change",
            Seam::Layout => "fields of the encoded message; encryption and integrity check cover the change",
            Seam::Plaintext => "the inside of the encrypted payload; the integrity check covers the change",
            Seam::Fragments => "fragments before they are sealed: their integrity check is good",
            Seam::Datagrams => "datagrams as they leave; nothing covers the change",
            Seam::Inject => "what the engine did not decide to send",
            Seam::Timer => "the engine's timers",
            Seam::Inbound => "datagrams as they arrive",
            Seam::Parsed => "messages of the peer's that were authentic, before they are acted upon",
            Seam::Esp => "ESP packets before they are sealed",
        }
    }

    /// What a condition can be about here.
    fn knows(self, condition: Condition) -> bool {
        use Condition::*;
        match self {
            Seam::Decide => matches!(condition, Role | Exchange | Tunnels),
            Seam::Secret => matches!(condition, Role | Exchange | Tunnels),
            Seam::Message | Seam::Layout | Seam::Plaintext | Seam::Fragments => {
                matches!(condition, Role | Exchange | Response | MessageId | Payload | Tunnels)
            }
            Seam::Datagrams => true,
            Seam::Inject => matches!(condition, Role | Exchange | Response | MessageId | Tunnels),
            Seam::Timer => matches!(condition, Role | Tunnels),
            Seam::Inbound => matches!(condition, Role | Exchange | Response | MessageId | Tunnels | Port),
            Seam::Parsed => matches!(condition, Role | Exchange | Response | MessageId | Payload | Tunnels | Port),
            Seam::Esp => matches!(condition, Tunnels),
        }
    }
}

/// The conditions that not every seam can judge.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Condition {
    Role,
    Exchange,
    Response,
    MessageId,
    Attempt,
    Payload,
    Tunnels,
    Port,
}

impl When {
    fn asks(&self) -> impl Iterator<Item = (Condition, &'static str)> {
        [
            (self.initiator.is_some(), Condition::Role, "role"),
            (self.exchange.is_some(), Condition::Exchange, "exchange"),
            (self.response.is_some(), Condition::Response, "response"),
            (self.message_id.is_some(), Condition::MessageId, "message_id"),
            (self.attempt.is_some(), Condition::Attempt, "attempt"),
            (self.payload.is_some(), Condition::Payload, "payload"),
            (self.tunnels.is_some(), Condition::Tunnels, "tunnels"),
            (self.port.is_some(), Condition::Port, "port"),
        ]
        .into_iter()
        .filter_map(|(asked, condition, name)| asked.then_some((condition, name)))
    }
}

impl Rule {
    /// Whether its conditions can be judged where it acts.
    ///
    /// # Errors
    /// In words, naming the condition that is not known at its seam: the rule could never fire.
    pub fn check(&self) -> Result<(), String> {
        let seam = self.action.seam();
        let unknown = self.when.asks().find(|(condition, _)| !seam.knows(*condition));
        unknown.map_or(Ok(()), |(_, name)| {
            let (rule, seam) = (&self.name, seam.name());
            Err(format!("fault {rule} acts at the seam {seam}, where {name:?} is not known"))
        })
    }
}
