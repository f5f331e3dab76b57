//! Why something failed. Who is to blame is in the type, so that diagnosis is a look-up and not string matching.

use std::fmt;

use super::spec::Side;
use crate::auth::CertFault;
use crate::auth::eap::{EapFault, Method};
use crate::wire::registry::{AuthMethod, ExchangeType, KeMethod, NotifyType, PayloadType};
use crate::wire::{IdPayload, Proposal, TrafficSelector, WireError};

/// A failure and how much it took down.
#[derive(Clone, PartialEq, Debug)]
pub struct Failed {
    /// What is lost.
    pub scope: FailScope,
    /// In which exchange.
    pub exchange: ExchangeType,
    /// Which end found the fault: `Us` if we refused, `Peer` if the peer told us.
    pub found_by: Side,
    /// The reason.
    pub why: Failure,
}

/// How much a failure takes down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FailScope {
    /// One exchange; the SAs stay.
    Exchange,
    /// The Child SA being negotiated; the IKE SA stays (RFC 7296 1.2).
    Child,
    /// The IKE SA and all below it.
    IkeSa,
}

/// The reason of a failure.
#[derive(Clone, PartialEq, Debug)]
pub enum Failure {
    /// The peer broke the protocol.
    Misbehaved(PeerMisbehaved),
    /// Both ends are honest and want different things; found by us.
    Incompatible(PeerIncompatible),
    /// A protected message of the peer could not be parsed.
    Malformed(WireError),
    /// The peer refused with an error notify.
    Rejected {
        /// What it said.
        notify: NotifyType,
        /// The notification data.
        data: Vec<u8>,
        /// Whether it was protected by the IKE SA's keys.
        protected: bool,
    },
    /// The peer's AUTH did not verify, or its identity or method is not what we accept.
    AuthFailed(AuthFault),
    /// No answer to a request.
    NoAnswer {
        /// How often it was sent.
        attempts: u8,
        /// What was heard instead.
        heard: Heard,
    },
    /// The peer deleted the IKE SA while we were waiting for something else.
    DeletedByPeer,
    /// Something of our own: the command was withdrawn, a limit was reached.
    Local(LocalFault),
}

/// What was heard of the peer instead of the answer that we waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Heard {
    /// Nothing that belongs to it.
    #[default]
    Nothing,
    /// Fragments of it, and not all of them (RFC 7383).
    Fragments,
    /// Its own rekey of the SA that we asked to rekey, which we have answered (RFC 7296 2.8.1, 2.8.2).
    Rekey,
}

/// What the peer did against the protocol.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PeerMisbehaved {
    /// A payload that the exchange requires is missing.
    MissingPayload(PayloadType),
    /// It chose something that was not offered.
    UnofferedProposal(Proposal),
    /// It answered more than one transform of a type, or none.
    MalformedChoice(String),
    /// The KE payload's group is not that of the chosen proposal.
    WrongKeGroup {
        /// The chosen proposal's group.
        expected: KeMethod,
        /// The KE payload's group.
        got: KeMethod,
    },
    /// Its public value fails the checks of RFC 6989, or has the wrong length.
    BadKeyExchange(String),
    /// Its nonce is shorter than 16 or longer than 256 octets, or too short for the PRF (RFC 7296 2.10).
    BadNonce(usize),
    /// INVALID_KE_PAYLOAD names a group that we did not offer.
    UnofferedGroup(KeMethod),
    /// INVALID_KE_PAYLOAD again and again.
    InvalidKeLoop(u8),
    /// COOKIE again and again.
    CookieLoop(u8),
    /// Selectors that do not lie within what we offered.
    SelectorsNotSubset(Vec<TrafficSelector>),
    /// An unknown payload with the critical bit (RFC 7296 2.5).
    CriticalPayload(PayloadType),
    /// It sent back another COOKIE2 than ours, or none: it may not be where it claims to be (RFC 4555 3.7).
    WrongCookie2,
}

/// Two honest configurations that do not fit.
#[derive(Clone, PartialEq, Debug)]
pub enum PeerIncompatible {
    /// No proposal in common; both lists, so that the differing transform can be named.
    NoProposal {
        /// What the peer offered.
        offered: Vec<Proposal>,
        /// What we accept.
        wanted: Vec<Proposal>,
    },
    /// No selectors in common, or narrower than we accept.
    Selectors {
        /// The peer's TSi.
        offered_i: Vec<TrafficSelector>,
        /// The peer's TSr.
        offered_r: Vec<TrafficSelector>,
        /// Ours for the initiator's side.
        wanted_i: Vec<TrafficSelector>,
        /// Ours for the responder's side.
        wanted_r: Vec<TrafficSelector>,
    },
    /// We asked for (or refused) transport mode and the peer did the opposite.
    Mode,
    /// We asked for an inner address and the peer gave none.
    NoInnerAddress,
    /// We hand out inner addresses, and the peer did not ask for one.
    NoConfigRequest,
    /// The peer asked for an inner address of a family that the pool does not have.
    NoAddressFamily,
}

/// What was wrong with the peer's authentication.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AuthFault {
    /// The AUTH value does not verify: with a PSK, another key or other signed octets.
    Mismatch {
        /// The identity it claimed.
        id: IdPayload,
    },
    /// The identity is not one that we accept.
    Identity {
        /// What the peer sent.
        got: IdPayload,
    },
    /// A method other than the configured one.
    Method {
        /// What the peer used.
        got: AuthMethod,
    },
    /// EAP failed.
    Eap(EapFault),
    /// The peer sent no AUTH: it wants to prove itself by EAP, which this connection does not do.
    EapUnwanted,
    /// The peer proves itself by a method of its own; this connection wants EAP.
    EapWanted {
        /// What the peer used.
        got: AuthMethod,
    },
    /// The responder sent neither AUTH nor is EAP alone enough for us (RFC 5998).
    EapAloneUnwanted,
    /// We have no proof but EAP, and the initiator does not offer to do without another (RFC 5998).
    EapAloneNotOffered,
    /// The method must not stand alone (RFC 5998 4).
    EapUnsafeAlone(Method),
    /// Its certificate, or the signature with it, failed a check.
    Certificate(Box<CertFault>),
}

/// Reasons at our own end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LocalFault {
    /// The driver withdrew it.
    Cancelled,
    /// The peer went quiet before IKE_AUTH; the half-open SA was forgotten.
    HalfOpenExpired,
    /// The peer announced INITIAL_CONTACT on a newer IKE SA (RFC 7296 2.4).
    ReplacedByInitialContact,
    /// No inner address is left in the pool.
    PoolExhausted,
    /// Something else, in words.
    Other(String),
}

impl Failure {
    /// Its kind in one word, finer than its class: what transcripts say, so that a reader can tell what happened without
    /// reading prose.
    pub fn kind(&self) -> &'static str {
        match self {
            Failure::Misbehaved(PeerMisbehaved::CookieLoop(_)) => "cookie_loop",
            Failure::Misbehaved(PeerMisbehaved::InvalidKeLoop(_)) => "invalid_ke_loop",
            Failure::Misbehaved(PeerMisbehaved::UnofferedGroup(_)) => "unoffered_group",
            Failure::Misbehaved(PeerMisbehaved::UnofferedProposal(_)) => "unoffered_proposal",
            Failure::Misbehaved(PeerMisbehaved::SelectorsNotSubset(_)) => "selectors_not_subset",
            Failure::Misbehaved(_) => "misbehaved",
            Failure::Incompatible(PeerIncompatible::NoProposal { .. }) => "no_proposal",
            Failure::Incompatible(PeerIncompatible::Selectors { .. }) => "selectors",
            Failure::Incompatible(PeerIncompatible::Mode) => "mode",
            Failure::Incompatible(PeerIncompatible::NoInnerAddress) => "no_inner_address",
            Failure::Incompatible(PeerIncompatible::NoConfigRequest) => "no_config_request",
            Failure::Incompatible(PeerIncompatible::NoAddressFamily) => "no_address_family",
            Failure::Malformed(_) => "malformed",
            Failure::Rejected { .. } => "rejected",
            Failure::AuthFailed(fault) => match fault {
                AuthFault::Mismatch { .. } => "mismatch",
                AuthFault::Identity { .. } => "identity",
                AuthFault::Method { .. } => "method",
                AuthFault::Eap(_) => "eap",
                AuthFault::EapUnwanted => "eap_unwanted",
                AuthFault::EapWanted { .. } => "eap_wanted",
                AuthFault::EapAloneUnwanted | AuthFault::EapAloneNotOffered | AuthFault::EapUnsafeAlone(_) => {
                    "eap_alone"
                }
                AuthFault::Certificate(_) => "certificate",
            },
            Failure::NoAnswer { .. } => "no_answer",
            Failure::DeletedByPeer => "deleted",
            Failure::Local(LocalFault::HalfOpenExpired) => "half_open_expired",
            Failure::Local(LocalFault::PoolExhausted) => "pool_exhausted",
            Failure::Local(LocalFault::ReplacedByInitialContact) => "replaced",
            Failure::Local(LocalFault::Cancelled) => "cancelled",
            Failure::Local(LocalFault::Other(_)) => "local",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Misbehaved(what) => write!(f, "the peer broke the protocol: {what}"),
            Failure::Incompatible(what) => write!(f, "{what}"),
            Failure::Malformed(error) => write!(f, "the peer's message could not be parsed: {error}"),
            Failure::Rejected { notify, protected, .. } => {
                write!(f, "the peer answered {notify}")?;
                if *protected { Ok(()) } else { write!(f, " (unprotected)") }
            }
            Failure::AuthFailed(what) => write!(f, "{what}"),
            Failure::NoAnswer { attempts, heard } => {
                write!(f, "no answer to {attempts} transmissions")?;
                match heard {
                    Heard::Nothing => Ok(()),
                    Heard::Fragments => write!(f, ", only some of its fragments"),
                    Heard::Rekey => write!(f, ", while the peer rekeyed the same SA"),
                }
            }
            Failure::DeletedByPeer => write!(f, "the peer deleted the IKE SA"),
            Failure::Local(what) => write!(f, "{what}"),
        }
    }
}

impl fmt::Display for PeerMisbehaved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerMisbehaved::MissingPayload(kind) => write!(f, "no {kind} payload"),
            PeerMisbehaved::UnofferedProposal(_) => write!(f, "it chose a proposal that we did not offer"),
            PeerMisbehaved::MalformedChoice(why) => write!(f, "its chosen proposal is malformed: {why}"),
            PeerMisbehaved::WrongKeGroup { expected, got } => {
                write!(f, "its KE payload is for {got}, the chosen proposal says {expected}")
            }
            PeerMisbehaved::BadKeyExchange(why) => write!(f, "its key exchange value is refused: {why}"),
            PeerMisbehaved::BadNonce(len) => write!(f, "its nonce has {len} octets (RFC 7296 2.10 allows 16 to 256)"),
            PeerMisbehaved::UnofferedGroup(group) => write!(f, "it asks for {group}, which we did not offer"),
            PeerMisbehaved::InvalidKeLoop(n) => write!(f, "it answered INVALID_KE_PAYLOAD {n} times"),
            PeerMisbehaved::CookieLoop(n) => write!(f, "it demanded a cookie {n} times"),
            PeerMisbehaved::SelectorsNotSubset(_) => {
                write!(f, "its traffic selectors do not lie within what we offered")
            }
            PeerMisbehaved::CriticalPayload(kind) => write!(f, "an unknown critical payload ({kind})"),
            PeerMisbehaved::WrongCookie2 => write!(f, "it did not prove that it is where it claims to be (COOKIE2)"),
        }
    }
}

impl fmt::Display for PeerIncompatible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerIncompatible::NoProposal { .. } => write!(f, "no proposal of the peer's is acceptable to us"),
            PeerIncompatible::Selectors { .. } => write!(f, "the peer's traffic selectors do not fit ours"),
            PeerIncompatible::Mode => write!(f, "the two ends disagree about transport and tunnel mode"),
            PeerIncompatible::NoInnerAddress => write!(f, "we asked for an inner address and the peer gave none"),
            PeerIncompatible::NoConfigRequest => write!(f, "the peer did not ask for an inner address, and must"),
            PeerIncompatible::NoAddressFamily => {
                write!(f, "the peer asked for no inner address of an IP version that the pool has")
            }
        }
    }
}

impl fmt::Display for AuthFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AuthFault::Mismatch { id } => write!(f, "the AUTH of {id} does not verify"),
            AuthFault::Identity { got } => write!(f, "the peer is {got}, which is not the identity we expect"),
            AuthFault::Method { got } => write!(f, "the peer authenticates by {got}, which is not what we accept"),
            AuthFault::Eap(fault) => write!(f, "{fault}"),
            AuthFault::EapUnwanted => {
                write!(f, "the peer sent no AUTH: it wants to authenticate by EAP, which no connection here does")
            }
            AuthFault::EapWanted { got } => write!(f, "the peer authenticates by {got}; this connection wants EAP"),
            AuthFault::EapAloneUnwanted => {
                write!(f, "the responder sent no AUTH before EAP, and EAP alone is not enough here (RFC 5998)")
            }
            AuthFault::EapAloneNotOffered => {
                write!(f, "the initiator did not send EAP_ONLY_AUTHENTICATION, and we have no other proof (RFC 5998)")
            }
            AuthFault::EapUnsafeAlone(method) => {
                write!(f, "EAP {method} must not be the only proof of who the responder is (RFC 5998 4)")
            }
            AuthFault::Certificate(fault) => write!(f, "{fault}"),
        }
    }
}

impl fmt::Display for LocalFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LocalFault::Cancelled => write!(f, "cancelled"),
            LocalFault::HalfOpenExpired => write!(f, "IKE_AUTH never came; the half-open IKE SA was forgotten"),
            LocalFault::ReplacedByInitialContact => write!(f, "replaced by a newer IKE SA with INITIAL_CONTACT"),
            LocalFault::PoolExhausted => write!(f, "no inner address is left in the pool"),
            LocalFault::Other(why) => f.write_str(why),
        }
    }
}
