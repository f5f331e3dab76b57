//! Personas: what makes one vendor's box recognisable, as data.
//!
//! A persona is a set of [`Habit`]s. Each says what the box does, how we know, and where from; those that our engine can
//! take on are applied to a [`ConnectionSpec`]. Nothing here is evidence about a box: an embedded persona is a model, and
//! says so.

mod data;
mod dress;
mod layout;
pub mod log;

pub use dress::Dress;

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::{Given, Loaded, Vendor};
use crate::engine::{ChildFailure, ConnectionSpec, Limits, Narrowing, Place, UnprotectedErrors, Unwelcome};
#[cfg(doc)]
use crate::engine::{Extra, MessageStyle};
use crate::wire::registry::{ExchangeType, NotifyType};

/// How something about a box is known.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    /// Seen in a published capture, log or configuration export of a real box.
    Observed,
    /// The vendor's documentation says so.
    Documented,
    /// It follows from the source of the implementation's ancestor, or from the protocol; nobody has shown it to us.
    Modelled,
}

impl Basis {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Basis::Observed => "observed",
            Basis::Documented => "documented",
            Basis::Modelled => "modelled",
        }
    }
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// One thing that a box does.
#[derive(Clone, Copy, Debug)]
pub struct Habit {
    /// In a sentence.
    pub text: &'static str,
    /// How it is known.
    pub basis: Basis,
    /// Where from.
    pub source: &'static str,
    /// What of it our engine takes on; `None` where it only describes.
    pub trait_: Option<Trait>,
}

/// What a persona changes in a connection, or in what all its connections share.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Trait {
    /// Vendor IDs in IKE_SA_INIT, in this order.
    VendorIds(&'static [&'static [u8]]),
    /// The order of payloads, and payloads that change nothing.
    Layout(&'static [LayoutData]),
    /// The proposals of a connection that names none, as files write them.
    IkeProposals(&'static [&'static str]),
    /// The ESP proposals of a child that names none, as files write them.
    EspProposals(&'static [&'static str]),
    /// Proposals that can be told in one are sent as one.
    OneProposal,
    /// One pair of selectors in a Child SA: more of them are several Child SAs.
    SinglePair,
    /// What becomes of the IKE SA when its first Child SA is refused.
    ChildFailure(ChildFailure),
    /// Whether IKE_SA_INIT without a common proposal is answered.
    AnswerNoProposal(bool),
    /// What a responder does with selectors wider than its own.
    Narrowing(Narrowing),
    /// Whether an initiator takes narrower selectors than it asked for.
    AcceptNarrowed(bool),
    /// What an initiator does with an unprotected error.
    UnprotectedErrors(UnprotectedErrors),
    /// What an initiator does about a responder whose identity it does not accept.
    Unwelcome(Unwelcome),
    /// How many INVALID_KE_PAYLOAD answers it follows.
    InvalidKeRetries(u8),
    /// Whether it announces INITIAL_CONTACT.
    InitialContact(bool),
    /// Whether it announces RFC 7383 fragmentation unless told to.
    Fragmentation(bool),
    /// Whether it looks for NATs unless told to.
    NatDetection(bool),
    /// When it sends a request again: first wait, growth in hundredths, longest wait, transmissions.
    Retransmit {
        /// Wait after the first transmission, in seconds.
        initial: u64,
        /// Growth of the waits, in hundredths.
        factor_percent: u32,
        /// Longest single wait, in seconds.
        max_wait: u64,
        /// Transmissions in all.
        attempts: u8,
    },
    /// Lifetimes where none are named, in seconds.
    Lifetimes {
        /// Of the IKE SA.
        ike: u64,
        /// Of a Child SA.
        child: u64,
    },
    /// A Child SA is at its end after so many octets.
    ChildOctets(u64),
    /// Liveness checks where none are named: quiet time and wait for an answer, in seconds.
    Liveness {
        /// Quiet time before a check.
        after: u64,
        /// Wait after each transmission.
        retry: u64,
        /// Transmissions in all.
        attempts: u8,
    },
    /// No liveness checks where none are named.
    NoLiveness,
    /// Limits of IKE SAs in negotiation.
    HalfOpen(HalfOpen),
    /// So many Child SAs and no more.
    Tunnels(u32),
    /// So many kilobits of ESP a second in each direction and no more.
    Bandwidth(u32),
}

/// Limits of IKE SAs in negotiation; `None` leaves what there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HalfOpen {
    /// Cookies from so many on, and `None` for never.
    pub cookies_from: Option<u32>,
    /// Cookies for an address from so many of it on.
    pub cookies_per_address: Option<u32>,
    /// Silence from so many on.
    pub most: Option<u32>,
    /// Silence for an address from so many of it on.
    pub most_per_address: Option<u32>,
}

/// The layout of one kind of message; see [`MessageStyle`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LayoutData {
    /// In this exchange.
    pub exchange: ExchangeType,
    /// Its response, or its request.
    pub response: bool,
    /// Where the payloads stand.
    pub order: &'static [Place],
    /// What is sent besides.
    pub extras: &'static [ExtraData],
}

/// A payload that changes nothing; see [`Extra`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExtraData {
    /// Only in a message that has one of these.
    pub with: Place,
    /// The payload.
    pub payload: PayloadData,
}

/// A payload as data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PayloadData {
    /// A vendor ID.
    Vendor(&'static [u8]),
    /// A notify about the IKE SA.
    Notify(NotifyType, &'static [u8]),
    /// A CERTREQ for X.509 certificates, with the hashes of authorities.
    CertificateRequest(&'static [u8]),
    /// A CFG_REQUEST for these attributes.
    ConfigRequest(&'static [u16]),
}

impl Trait {
    /// What kind of difference from others it is, in a word of a closed set.
    pub fn kind(&self) -> &'static str {
        match self {
            Trait::VendorIds(_) | Trait::Layout(_) => "layout",
            Trait::IkeProposals(_) | Trait::EspProposals(_) | Trait::OneProposal => "proposals",
            Trait::SinglePair | Trait::Narrowing(_) | Trait::AcceptNarrowed(_) => "selectors",
            Trait::ChildFailure(_) => "child-failure",
            Trait::AnswerNoProposal(_) => "silence",
            Trait::UnprotectedErrors(_) => "unprotected-errors",
            Trait::Unwelcome(_) => "identity",
            Trait::InvalidKeRetries(_) => "key-exchange-retries",
            Trait::InitialContact(_) => "initial-contact",
            Trait::Fragmentation(_) => "fragmentation",
            Trait::NatDetection(_) => "nat-detection",
            Trait::Retransmit { .. } => "retransmission",
            Trait::Lifetimes { .. } | Trait::ChildOctets(_) => "lifetimes",
            Trait::Liveness { .. } | Trait::NoLiveness => "liveness",
            Trait::HalfOpen(_) => "half-open-limits",
            Trait::Tunnels(_) | Trait::Bandwidth(_) => "licence",
        }
    }
}

/// A vendor's box, as data.
#[derive(Clone, Copy, Debug)]
pub struct Persona {
    /// Name in files and on the command line.
    pub name: &'static str,
    /// The vendor whose words and log lines it uses; `None` for the plain RFC peer.
    pub vendor: Option<Vendor>,
    /// What it is, in a sentence.
    pub summary: &'static str,
    /// What it does.
    pub habits: &'static [Habit],
}

impl Persona {
    /// Every persona; the plain one comes first.
    pub const ALL: &'static [Persona] = data::ALL;

    /// The persona with this name.
    pub fn named(name: &str) -> Option<&'static Persona> {
        Persona::ALL.iter().find(|p| p.name == name)
    }

    /// Takes on the persona that a connection file names, and gives it.
    pub fn dress(loaded: &mut Loaded) -> &'static Persona {
        // A file that names another one is refused when it is read.
        let persona = Persona::named(&loaded.persona).unwrap_or(&Persona::ALL[0]);
        persona.apply(&mut loaded.spec, loaded.given);
        if loaded.limits.is_none() && persona.has_limits() {
            let mut limits = Limits::default();
            persona.limit(&mut limits);
            loaded.limits = Some(limits);
        }
        persona
    }

    /// Fills in the proposals that a file leaves to the persona's box, and nothing else.
    pub fn complete(loaded: &mut Loaded) {
        let Some(persona) = Persona::named(&loaded.persona) else { return };
        Dress::all(*persona).propose(&mut loaded.spec);
    }

    /// Makes a connection behave so, except where the file has said otherwise.
    pub fn apply(&self, spec: &mut ConnectionSpec, given: Given) {
        Dress::all(*self).apply(spec, given);
    }

    /// Sets the limits that such a box has.
    pub fn limit(&self, limits: &mut Limits) {
        Dress::all(*self).limit(limits);
    }

    /// Kilobits of ESP a second in each direction, if it has such a limit.
    pub fn bandwidth(&self) -> Option<u32> {
        Dress::all(*self).bandwidth()
    }

    fn has_limits(&self) -> bool {
        self.habits.iter().any(|h| matches!(h.trait_, Some(Trait::HalfOpen(_) | Trait::Tunnels(_))))
    }
}

#[cfg(test)]
mod tests;
