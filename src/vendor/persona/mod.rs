//! Personas: what makes one vendor's box recognisable, as data.
//!
//! A persona is a set of [`Habit`]s. Each says what the box does, how we know, and where from; those that our engine can
//! take on are applied to a [`ConnectionSpec`]. Nothing here is evidence about a box: an embedded persona is a model, and
//! says so.

mod data;
pub mod log;

use std::fmt;
use std::time::Duration;

use crate::config::{Given, Loaded, Vendor};
use crate::engine::{Behaviour, ChildFailure, ConnectionSpec, Narrowing, RetransmitSpec, UnprotectedErrors};

/// How something about a box is known.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
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

/// What a persona changes in a connection.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Trait {
    /// Vendor IDs in IKE_SA_INIT, in this order.
    VendorIds(&'static [&'static [u8]]),
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
    /// How many INVALID_KE_PAYLOAD answers it follows.
    InvalidKeRetries(u8),
    /// Whether it announces INITIAL_CONTACT.
    InitialContact(bool),
    /// Whether it announces RFC 7383 fragmentation unless told to.
    Fragmentation(bool),
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
        persona
    }

    /// Makes a connection behave so, except where the file has said otherwise.
    pub fn apply(&self, spec: &mut ConnectionSpec, given: Given) {
        let untouched = Behaviour::default();
        for habit in self.habits {
            let Some(change) = habit.trait_ else { continue };
            let behaviour = &mut spec.behaviour;
            // A setting that differs from the default was set by the file, which wins.
            match change {
                Trait::VendorIds(ids) if behaviour.vendor_ids.is_empty() => {
                    behaviour.vendor_ids = ids.iter().map(|id| id.to_vec()).collect();
                }
                Trait::ChildFailure(what) if behaviour.child_failure == untouched.child_failure => {
                    behaviour.child_failure = what;
                }
                Trait::AnswerNoProposal(yes) if behaviour.answer_no_proposal == untouched.answer_no_proposal => {
                    behaviour.answer_no_proposal = yes;
                }
                Trait::Narrowing(how) if behaviour.narrowing == untouched.narrowing => behaviour.narrowing = how,
                Trait::AcceptNarrowed(yes) if behaviour.accept_narrowed == untouched.accept_narrowed => {
                    behaviour.accept_narrowed = yes;
                }
                Trait::UnprotectedErrors(how) if behaviour.unprotected_errors == untouched.unprotected_errors => {
                    behaviour.unprotected_errors = how;
                }
                Trait::InvalidKeRetries(n) if behaviour.invalid_ke_retries == untouched.invalid_ke_retries => {
                    behaviour.invalid_ke_retries = n;
                }
                Trait::InitialContact(yes) if behaviour.initial_contact == untouched.initial_contact => {
                    behaviour.initial_contact = yes;
                }
                Trait::Fragmentation(yes) if !given.fragmentation => spec.fragmentation = yes,
                Trait::Retransmit { initial, factor_percent, max_wait, attempts } if !given.retransmit => {
                    spec.retransmit = RetransmitSpec {
                        initial: Duration::from_secs(initial),
                        factor_percent,
                        max_wait: Duration::from_secs(max_wait),
                        attempts,
                        jitter_percent: 0,
                    };
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
