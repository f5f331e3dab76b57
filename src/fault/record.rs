//! What a fault plan did: shared between the plan inside the engine and whoever judges the run.

use std::sync::{Arc, Mutex, PoisonError};

use crate::engine::{SaId, TunnelId};
use crate::net::{Class, Path};
use crate::time::Instant;
use crate::wire::registry::ExchangeType;

/// One firing of a rule.
#[derive(Clone, PartialEq, Debug)]
pub struct Firing {
    /// Index of the rule in its plan.
    pub rule: usize,
    /// Name of the rule.
    pub name: String,
    /// When.
    pub at: Instant,
    /// The IKE SA, unless a stateless reply or an unknown datagram was concerned.
    pub sa: Option<SaId>,
    /// The tunnel.
    pub tunnel: TunnelId,
    /// The exchange, if a message or a decision was concerned.
    pub exchange: Option<ExchangeType>,
    /// The message was a response.
    pub response: Option<bool>,
    /// The message id.
    pub message_id: Option<u32>,
    /// Whether it has had its effect on the wire. A change of a message has none until the datagram has left.
    pub effective: bool,
    /// The datagram that did not leave, or was not handed on.
    pub dropped: Option<Dropped>,
}

/// A datagram that a rule withheld.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dropped {
    /// It had been received; otherwise it was to be sent.
    pub inbound: bool,
    /// Its path as this host sees it.
    pub path: Path,
    /// How the link would have framed it.
    pub class: Class,
    /// Its octets, without the non-ESP marker.
    pub bytes: Vec<u8>,
}

/// The shared record of firings.
#[derive(Clone, Debug, Default)]
pub struct FiringLog(Arc<Mutex<Vec<Firing>>>);

impl FiringLog {
    /// An empty record.
    pub fn new() -> Self {
        FiringLog::default()
    }

    /// All firings so far.
    pub fn all(&self) -> Vec<Firing> {
        self.with(|list| list.clone())
    }

    /// Firings number `from` and later, for a reader that polls.
    pub fn since(&self, from: usize) -> Vec<Firing> {
        self.with(|list| list.get(from..).unwrap_or_default().to_vec())
    }

    /// How often the rule named `name` had an effect on the wire.
    pub fn effective(&self, name: &str) -> usize {
        self.with(|list| list.iter().filter(|firing| firing.effective && firing.name == name).count())
    }

    pub(super) fn push(&self, firing: Firing) {
        self.with(|list| list.push(firing));
    }

    pub(super) fn with<T>(&self, f: impl FnOnce(&mut Vec<Firing>) -> T) -> T {
        // A panic elsewhere leaves a list of complete firings: it can still be read.
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
