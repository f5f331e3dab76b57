//! What the engine says.

use std::net::IpAddr;
use std::time::Duration;

use super::failure::Failed;
use super::spec::{Mode, SaId, Side};
use crate::auth::Judged;
use crate::auth::eap::Method;
use crate::auth::psk::PskEvidence;
use crate::crypto::{ChildKeys, EspSuite, IkeSuite, Secret};
use crate::net::Path;
use crate::wire::registry::{CfgAttr, ExchangeType};
use crate::wire::{Header, IdPayload, IkeSpi, Message, TrafficSelector};

/// Something that happened to an IKE SA. Drain events before transmits.
#[derive(Debug)]
pub enum Event {
    /// A message was sent or accepted; only with `trace`.
    Message(Box<MessageTrace>),
    /// IKE_SA_INIT is done and keys exist.
    InitDone(Box<InitDone>),
    /// The IKE SA's keys; only with `export_keys`.
    IkeKeys(Box<IkeKeyExport>),
    /// EAP has succeeded; [`Event::IkeUp`] follows.
    Eap(Box<EapDone>),
    /// The peer's certificate is accepted; [`Event::IkeUp`] follows.
    PeerCertificate(Box<Judged>),
    /// The peer's AUTH by pre-shared key was refused, or its identity was; what there is to compare keys by. [`Event::Failed`]
    /// follows. Only with `trace`.
    AuthRefused(Box<AuthRefused>),
    /// Both ends are authenticated.
    IkeUp(Box<IkeUp>),
    /// Inner addresses and what belongs to them were handed out.
    Config(Box<InnerConfig>),
    /// An inbound ESP SA must be installed now, before the packet that tells the peer its SPI leaves.
    ChildInbound(Box<ChildSa>),
    /// An outbound ESP SA may be used now.
    ChildOutbound {
        /// Our inbound SPI, which names the Child SA.
        spi_in: u32,
    },
    /// We are about to delete this Child SA: send nothing more on it. Its inbound half stays until
    /// [`Event::ChildDown`], because the peer may still be sending.
    ChildClosing {
        /// Our inbound SPI, which names the Child SA.
        spi_in: u32,
    },
    /// A Child SA took another's place (RFC 7296 2.8). The old one's inbound half stays until [`Event::ChildDown`];
    /// when to send on the new one is [`Event::ChildOutbound`]'s to say.
    ChildRekeyed {
        /// Our inbound SPI of the old one.
        old: u32,
        /// Our inbound SPI of the new one.
        new: u32,
    },
    /// The IKE SA was rekeyed: this event's IKE SA has taken over the Child SAs, and the old one is closed in its own
    /// time, with [`Event::Closed`] but without [`Event::Deleted`].
    IkeRekeyed(Box<IkeRekeyed>),
    /// This event's IKE SA is begun to take the place of another one of the same tunnel, from IKE_SA_INIT on. The other
    /// one ends with [`Event::Closed`] but without [`Event::Deleted`]: when the new one is up, or, with `break_first`, now.
    Reauthenticating {
        /// The IKE SA to be replaced.
        old: SaId,
        /// It is gone already.
        break_first: bool,
    },
    /// A Child SA could not be made; the IKE SA stays.
    ChildFailed(Box<Failed>),
    /// A Child SA is gone.
    ChildDown {
        /// Our inbound SPI, which names the Child SA.
        spi_in: u32,
        /// Who deleted it.
        by: Side,
    },
    /// A request was sent again, bit for bit.
    Retransmit {
        /// Its header.
        header: Header,
        /// The path it took.
        path: Path,
        /// How often it has now been sent.
        attempt: u8,
        /// How often it will be sent at most.
        of: u8,
    },
    /// A datagram or message was not believed or not understood, and changed nothing.
    Ignored(Box<Ignored>),
    /// IKE and ESP take another path from now on: an end has moved (RFC 4555 3.5), or a NAT has moved the peer (RFC 7296
    /// 2.23).
    Moved {
        /// Which end.
        by: Side,
        /// The path from now on.
        path: Path,
        /// Who is behind a NAT now.
        nat: NatFinding,
    },
    /// The peer is dead: it answered nothing any more. [`Event::Failed`] follows.
    PeerDead {
        /// How long after it was last heard of this was to be noticed, at the latest; `None` without liveness checks.
        expected: Option<Duration>,
        /// How long after it was last heard of it was noticed; on demand, after the first traffic that it did not answer.
        measured: Duration,
        /// What becomes of the tunnel.
        action: super::spec::DpdAction,
    },
    /// The tunnel of a dead peer is brought up again by this event's IKE SA.
    Restarting,
    /// The peer answered a liveness check.
    Alive {
        /// From the first transmission to the answer.
        rtt: Duration,
    },
    /// The peer sent a status or error notify in a protected INFORMATIONAL.
    PeerNotify(crate::wire::NotifyPayload),
    /// The IKE SA failed.
    Failed(Box<Failed>),
    /// The IKE SA was deleted in good order.
    Deleted {
        /// Who asked for it.
        by: Side,
    },
    /// The last event of an IKE SA: its slot is free.
    Closed,
}

/// A message for the transcript.
#[derive(Clone, Debug)]
pub struct MessageTrace {
    /// Who sent it.
    pub from: Side,
    /// The path of the datagram.
    pub path: Path,
    /// Header, outer payloads, and the decrypted inner ones.
    pub message: Message,
    /// Octets of the IKE message, without the non-ESP marker.
    pub len: usize,
    /// 0 for the first transmission of a request, or a repeat's number.
    pub attempt: u8,
}

/// The outcome of IKE_SA_INIT.
#[derive(Clone, Debug)]
pub struct InitDone {
    /// Whether we are the original initiator.
    pub initiator: bool,
    /// Both SPIs.
    pub spis: (IkeSpi, IkeSpi),
    /// What was agreed.
    pub suite: IkeSuite,
    /// NAT findings.
    pub nat: NatFinding,
    /// The peer's vendor IDs.
    pub vendor_ids: Vec<Vec<u8>>,
    /// The peer supports RFC 7383 fragmentation.
    pub peer_fragments: bool,
}

/// What NAT detection found (RFC 7296 2.23).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NatFinding {
    /// The peer sent detection notifies.
    pub peer_detects: bool,
    /// We are behind a NAT (or pretend to be).
    pub us: bool,
    /// The peer is behind a NAT (or pretends to be).
    pub peer: bool,
}

/// The keys of an IKE SA, for the key tables.
#[derive(Clone, Debug)]
pub struct IkeKeyExport {
    /// Both SPIs.
    pub spis: (IkeSpi, IkeSpi),
    /// What was agreed.
    pub suite: IkeSuite,
    /// SK_ei.
    pub sk_ei: Secret,
    /// SK_er.
    pub sk_er: Secret,
    /// SK_ai, empty for an AEAD.
    pub sk_ai: Secret,
    /// SK_ar, empty for an AEAD.
    pub sk_ar: Secret,
    /// SK_d.
    pub sk_d: Secret,
    /// SK_pi.
    pub sk_pi: Secret,
    /// SK_pr.
    pub sk_pr: Secret,
}

/// A refused AUTH by pre-shared key. Whoever shows it never shows a key: the comparison says only how two keys differ.
#[derive(Clone, Debug)]
pub struct AuthRefused {
    /// The identity that the peer claimed.
    pub id: IdPayload,
    /// Its AUTH and what that covers.
    pub evidence: PskEvidence,
}

/// An authenticated IKE SA.
#[derive(Clone, Debug)]
pub struct IkeUp {
    /// Whether we are the original initiator.
    pub initiator: bool,
    /// Name of the connection.
    pub connection: String,
    /// Both SPIs.
    pub spis: (IkeSpi, IkeSpi),
    /// What was agreed.
    pub suite: IkeSuite,
    /// The peer's authenticated identity.
    pub peer_id: IdPayload,
    /// The path from now on.
    pub path: Path,
    /// Both ends have MOBIKE: addresses may change (RFC 4555).
    pub mobike: bool,
}

/// What EAP came to (RFC 7296 2.16).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EapDone {
    /// The method that was agreed on.
    pub method: Method,
    /// The EAP identity, ours or the peer's, made printable; not the identity of IKE.
    pub identity: String,
    /// AUTH was made from the method's key; without one, from SK_pi and SK_pr.
    pub keyed: bool,
    /// Nothing but EAP proved who the responder is (RFC 5998).
    pub alone: bool,
    /// The version of TLS, where TLS ran.
    pub tls: Option<String>,
    /// What the authenticator told the user (RFC 3748 5.2).
    pub notices: Vec<String>,
}

/// What a CFG_REPLY said (RFC 7296 3.15).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InnerConfig {
    /// Who handed it out.
    pub by: Side,
    /// It had been asked for; if not, it was read and not used.
    pub asked: bool,
    /// Inner addresses.
    pub addresses: Vec<IpAddr>,
    /// Name servers.
    pub dns: Vec<IpAddr>,
    /// Split networks, with prefix lengths.
    pub subnets: Vec<(IpAddr, u8)>,
    /// APPLICATION_VERSION, made printable.
    pub version: Option<String>,
    /// Attributes that were not understood, with the octets of their value: vendors have their own.
    pub others: Vec<(CfgAttr, usize)>,
}

impl Default for InnerConfig {
    fn default() -> Self {
        InnerConfig {
            by: Side::Peer,
            asked: false,
            addresses: Vec::new(),
            dns: Vec::new(),
            subnets: Vec::new(),
            version: None,
            others: Vec::new(),
        }
    }
}

/// A rekeyed IKE SA.
#[derive(Clone, Debug)]
pub struct IkeRekeyed {
    /// The one replaced.
    pub old: SaId,
    /// The one that took over.
    pub new: SaId,
    /// We initiated the rekey, and are the new one's original initiator.
    pub initiator: bool,
    /// The new SPIs.
    pub spis: (IkeSpi, IkeSpi),
    /// What was agreed.
    pub suite: IkeSuite,
}

/// A Child SA.
#[derive(Clone, Debug)]
pub struct ChildSa {
    /// Name of the configured child.
    pub name: String,
    /// Our SPI: what the peer puts into packets to us.
    pub spi_in: u32,
    /// The peer's SPI: what we put into packets to it.
    pub spi_out: u32,
    /// What was agreed.
    pub suite: EspSuite,
    /// Tunnel or transport.
    pub mode: Mode,
    /// Our side's selectors.
    pub local_ts: Vec<TrafficSelector>,
    /// The peer's side's selectors.
    pub remote_ts: Vec<TrafficSelector>,
    /// Whether we are the original initiator of the exchange that made it: says which keys are inbound.
    pub initiator: bool,
    /// ESP goes in UDP.
    pub encapsulated: bool,
    /// The selectors were narrowed from what the initiator asked for.
    pub narrowed: bool,
    /// Keys of both directions.
    pub keys: ChildKeys,
}

/// Something that was not believed or not understood.
#[derive(Clone, Debug)]
pub struct Ignored {
    /// Why.
    pub why: IgnoredWhy,
    /// The exchange type in its header, if it had one.
    pub exchange: Option<ExchangeType>,
    /// Its message id.
    pub message_id: Option<u32>,
    /// Where it came from.
    pub path: Path,
    /// More, in words.
    pub detail: String,
}

/// Why a message changed nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum IgnoredWhy {
    /// No IKE header, or its length field does not fit the datagram.
    NotIke,
    /// A higher major version, or IKEv1.
    Version,
    /// No IKE SA with these SPIs.
    UnknownSpi,
    /// The integrity check failed.
    BadIcv,
    /// It should have been protected and is not.
    Unprotected,
    /// A response whose message id is not outstanding.
    UnexpectedResponse,
    /// A request outside the window.
    OutsideWindow,
    /// A repeat of something already answered; the answer was sent again.
    Repeat,
    /// The initiator and response flags contradict the SPIs' roles.
    WrongFlags,
    /// An exchange type that does not belong here.
    UnexpectedExchange,
    /// The contents were not acceptable before anything was authenticated.
    Unacceptable,
    /// An unprotected error notify, by policy.
    UnprotectedError,
    /// A limit of half-open IKE SAs.
    Limit,
    /// A cookie that is not ours.
    BadCookie,
    /// No connection for this peer.
    NoConnection,
    /// A fragment that fits nothing.
    StrayFragment,
    /// All unfinished messages together hold as much as [`Limits::fragment_octets`](super::Limits) allows.
    FragmentMemory,
    /// A fragment of Cisco's scheme from before RFC 7383, payload type 132.
    CiscoFragment,
    /// Dropped by a rule.
    Tampered,
}

impl IgnoredWhy {
    /// How many reasons there are.
    pub const COUNT: usize = IgnoredWhy::Tampered as usize + 1;

    /// In plain words.
    pub fn text(self) -> &'static str {
        match self {
            IgnoredWhy::NotIke => "not an IKE message",
            IgnoredWhy::Version => "another IKE version",
            IgnoredWhy::UnknownSpi => "unknown SPIs",
            IgnoredWhy::BadIcv => "integrity check failed",
            IgnoredWhy::Unprotected => "not protected",
            IgnoredWhy::UnexpectedResponse => "a response to nothing we asked",
            IgnoredWhy::OutsideWindow => "message id outside the window",
            IgnoredWhy::Repeat => "a repeat",
            IgnoredWhy::WrongFlags => "wrong flags",
            IgnoredWhy::UnexpectedExchange => "an exchange that does not belong here",
            IgnoredWhy::Unacceptable => "unacceptable before authentication",
            IgnoredWhy::UnprotectedError => "an unprotected error, not believed",
            IgnoredWhy::Limit => "too many half-open IKE SAs",
            IgnoredWhy::BadCookie => "a cookie that is not ours",
            IgnoredWhy::NoConnection => "no connection for this peer",
            IgnoredWhy::StrayFragment => "a stray fragment",
            IgnoredWhy::FragmentMemory => "no memory left for fragments",
            IgnoredWhy::CiscoFragment => {
                "a fragment of Cisco's scheme from before RFC 7383 (payload 132), which was not agreed on"
            }
            IgnoredWhy::Tampered => "dropped by a rule",
        }
    }
}
