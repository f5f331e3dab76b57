//! The primitives: what a rule does. Each belongs to one seam of the engine ([`Action::seam`]).

use std::net::IpAddr;
use std::time::Duration;

use super::octets::OctetEdit;
use super::rule::{PayloadSel, Seam};
use crate::engine::{Order, SecretKind, Timer};
use crate::wire::registry::{ExchangeType, KeMethod, NotifyType, TransformType};
use crate::wire::{FieldEdit, Payload, TrafficSelector, Transform};

/// The primitives. Each belongs to one seam of the engine ([`Action::seam`]).
#[derive(Clone, Debug)]
pub enum Action {
    /// Leave out every matching payload.
    Omit(PayloadSel),
    /// Leave out every payload that one of these names.
    OmitSeveral(Vec<PayloadSel>),
    /// Add a payload, first or last.
    Add {
        /// The payload.
        payload: Payload,
        /// Before all others instead of behind them.
        first: bool,
    },
    /// Add a payload in clear, before SK if there is one.
    AddOutside(Payload),
    /// Add so many copies of a payload at the end.
    AddMany(Payload, usize),
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
    /// Change the body of the first payload that is there of those named, without its generic header.
    Body {
        /// In this order.
        payloads: Vec<PayloadSel>,
        /// How.
        edit: OctetEdit,
    },
    /// Change what a notify says, leaving its type and SPI alone.
    NotifyData(NotifyType, OctetEdit),
    /// Change the SPI of a notify.
    NotifySpi(NotifyType, OctetEdit),
    /// Change the protocol that a notify names.
    NotifyProtocol(NotifyType, u8),
    /// Change the SPIs of Delete payloads.
    DeletedSpis(OctetEdit),
    /// Change the proposals of the SA payload.
    Proposals(ProposalEdit),
    /// Change traffic selectors.
    Selectors(TsEdit),
    /// Send in clear what was to be protected.
    Unprotect,
    /// Edit a named field of the encoded message, under the integrity check.
    Field(FieldEdit),
    /// Flip bits of the last octet of every field whose path ends in one of these ways.
    EveryField {
        /// Ends of paths, such as `.reserved`.
        suffixes: &'static [&'static str],
        /// Bits.
        mask: u8,
    },
    /// Change the padding inside SK: this many octets of this value, and the pad length octet as given.
    Padding {
        /// Number of padding octets, to be a multiple of the block where the peer is to decrypt it.
        len: usize,
        /// Their value.
        value: u8,
        /// The pad length octet; `None` means the truth.
        pad_length: Option<u8>,
    },
    /// At least so many octets of padding more than needed, all of one value, and the truth about them.
    MorePadding {
        /// How many, rounded up to whole blocks of any cipher.
        octets: usize,
        /// Their value.
        value: u8,
    },
    /// Change the IV before sealing.
    Iv(OctetEdit),
    /// Change the inner payloads' octets before sealing; padding is made to fit.
    Inner(OctetEdit),
    /// Leave out the n-th RFC 7383 fragment, counted from 1.
    OmitFragment(u16),
    /// Do something else to fragments.
    Fragments(FragmentEdit),
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
    /// Keep the datagram until so many others of its IKE SA have left, then send it.
    Hold {
        /// How many others.
        others: u32,
        /// Send it now as well: later it is a replay.
        now: bool,
    },
    /// Flip bits at an octet of the datagram, after the integrity check was computed. Negative offsets count from the end.
    Corrupt {
        /// Where.
        offset: i32,
        /// Which bits.
        mask: u8,
    },
    /// Flip bits of the first octet of the initialisation vector, after the integrity check was computed.
    CorruptIv(u8),
    /// Cut the datagram to this many octets.
    Truncate(usize),
    /// Send so many zero octets behind the message.
    Extend(usize),
    /// Cut the integrity check value by so many octets, and mend the lengths.
    ShortIcv(usize),
    /// Send from, or to, somewhere else.
    Redirect(Redirect),
    /// Send on the NAT traversal port without the marker before the message, or elsewhere with it.
    WrongMarker,
    /// Send the same request as IKEv1 would: Main Mode, with our SPI as its cookie.
    MainMode,
    /// Send other octets beside the datagram.
    Beside(Junk),
    /// Send this datagram, and nothing after it in the same tunnel.
    FallSilent,
    /// Turn a decision of the engine.
    Decide(Choice),
    /// Change octets drawn or computed by the engine before they are used.
    Secret {
        /// Which ones.
        kind: SecretKind,
        /// How.
        edit: OctetEdit,
    },
    /// Use the octets that were used first of all, again and again.
    SameSecret(SecretKind),
    /// Send a notify of our own as an INFORMATIONAL with this message id once the IKE SA is up.
    InjectNotify {
        /// Which notify.
        notify: NotifyType,
        /// Protected by the IKE SA.
        sealed: bool,
        /// Its message id.
        message_id: u32,
    },
    /// Send a message of our own making.
    Invent {
        /// What.
        what: Invention,
        /// When.
        at: Moment,
    },
    /// Order something that an honest engine can do, at another time.
    Order {
        /// What.
        order: Order,
        /// When.
        at: Moment,
    },
    /// Forget the IKE SA and begin again, so long after it came up.
    Reboot {
        /// How long after.
        after: Duration,
        /// Say INITIAL_CONTACT then.
        contact: bool,
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
    /// Read this datagram, and nothing after it in the same tunnel.
    FallDeaf,
    /// Overlook payloads of an authentic message.
    Overlook(PayloadSel),
    /// Act on an authentic message later.
    HoldAccepted(Duration),
    /// Hold an authentic request back for so long, and ask for something ourselves meanwhile.
    Collide {
        /// What we ask for.
        order: Order,
        /// How long the peer waits.
        hold: Duration,
    },
    /// Bend an ESP packet.
    Esp(EspFault),
}

/// Changes of proposals.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ProposalEdit {
    /// Proposal numbers become this, ascending.
    Number(u8),
    /// The protocol.
    Protocol(u8),
    /// The SPI.
    Spi(OctetEdit),
    /// No transform of this type.
    Without(TransformType),
    /// One more transform.
    With(Transform),
    /// All transforms of this one's type become it.
    Instead(Transform),
    /// Key Length attributes: this many bits, or none.
    KeyBits(Option<u16>),
    /// Key Length attributes in the long format, which they must not have.
    LongKeyLength,
    /// Key Length attributes in the long format, of no octets.
    EmptyKeyLength,
    /// Key Length attributes twice.
    RepeatedKeyLength,
    /// Key Length on what has a fixed one: PRFs.
    NeedlessKeyLength(u16),
    /// No transforms at all.
    Bare,
    /// The first proposal so many times more.
    Copies(u8),
}

/// Changes of traffic selectors.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TsEdit {
    /// Ours become this one.
    Ours(TrafficSelector),
    /// The peer's become this one.
    Theirs(TrafficSelector),
    /// Ours become everything.
    Widen,
    /// TSi and TSr change places.
    Swap,
    /// Start and end of each change places.
    Backwards,
    /// Only this protocol.
    Protocol(u8),
    /// None at all.
    None,
    /// So many of each.
    Many(u8),
}

/// Changes of fragments, before they are sealed: each has a good integrity check.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FragmentEdit {
    /// This one twice.
    Repeat(u16),
    /// This one, and another with its number and other contents behind it.
    Overlap(u16),
    /// Last first.
    Reverse,
    /// Each says that there are 65535, so that they never end.
    Endless,
    /// This one has another number.
    Renumber(u16, u16),
    /// This one says another total.
    Total(u16, u16),
    /// In pieces of so many octets, whatever the size of the message.
    Tiny(usize),
    /// This one's contents become zeros.
    Garble(u16),
    /// This one is empty.
    Empty(u16),
    /// One more, with the number after the last.
    Surplus,
}

/// Where a datagram goes or comes from instead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Redirect {
    /// From this port.
    FromPort(u16),
    /// From this address.
    FromAddress(IpAddr),
    /// To this port.
    ToPort(u16),
    /// Between the NAT traversal ports instead of the IKE ports, or the other way round.
    OtherSocket,
}

/// Octets that are no message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Junk {
    /// So many octets from the plan seed.
    Random(usize),
    /// None.
    Empty,
    /// A NAT keepalive, whether or not there is a NAT.
    Keepalive,
    /// So many octets that begin like an ESP packet with an unknown SPI.
    Esp(usize),
}

/// When something is sent or ordered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moment {
    /// So long after the IKE SA came up.
    Up(Duration),
    /// When a message was sent that fits the rule's conditions.
    Sent,
    /// When a message was accepted that fits the rule's conditions.
    Accepted,
}

/// A message of our own making.
#[derive(Clone, Debug)]
pub struct Invention {
    /// Its exchange.
    pub exchange: ExchangeType,
    /// As a response.
    pub response: bool,
    /// What is in it.
    pub payloads: Vec<Payload>,
    /// Protected by the IKE SA.
    pub sealed: bool,
    /// Its message id; `None` for the next one of ours.
    pub message_id: Option<u32>,
    /// How often.
    pub count: u16,
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
    /// Refuse the Child SA of IKE_AUTH with this notify.
    RefuseChild(NotifyType),
    /// Refuse CREATE_CHILD_SA with this notify.
    RefuseCreate(NotifyType),
    /// Move to the NAT-T ports, or do not.
    Float(bool),
    /// Answer requests of an exchange, or do not.
    Answer(ExchangeType, bool),
}

/// What becomes of an ESP packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EspFault {
    /// Encrypted with another key.
    EncryptionKey,
    /// Authenticated with another key; what has one key for both gets another one.
    IntegrityKey,
    /// Another SPI: these bits are flipped.
    Spi(u32),
    /// An ICV of so many octets.
    IcvLength(usize),
    /// Bits of the ICV are flipped.
    Icv(u8),
    /// Bits of the first octet behind the header are flipped.
    Body(u8),
    /// The sequence number jumps ahead by so much.
    Ahead(u64),
    /// The sequence number is always this one.
    Sequence(u64),
    /// After so many packets the sequence numbers begin anew.
    Anew(u64),
    /// The inner packet comes from somewhere else (IPv4).
    Source(std::net::Ipv4Addr),
    /// The inner packet goes somewhere else (IPv4).
    Destination(std::net::Ipv4Addr),
    /// The next header says this.
    NextHeader(u8),
    /// The inner packet is cut to so many octets.
    Cut(usize),
    /// It is sent without any protection behind its header.
    Clear,
    /// It is not sent.
    Drop,
    /// It is sent so many times more.
    Copies(u16),
    /// The next one overtakes it.
    Overtaken,
}

impl Action {
    /// The seam at which it acts.
    pub fn seam(&self) -> Seam {
        match self {
            Action::Omit(_)
            | Action::OmitSeveral(_)
            | Action::Add { .. }
            | Action::AddOutside(_)
            | Action::AddMany(..)
            | Action::Duplicate(_)
            | Action::Move { .. }
            | Action::Reverse
            | Action::Body { .. }
            | Action::NotifyData(..)
            | Action::NotifySpi(..)
            | Action::NotifyProtocol(..)
            | Action::DeletedSpis(_)
            | Action::Proposals(_)
            | Action::Selectors(_)
            | Action::Unprotect => Seam::Message,
            Action::Field(_) | Action::EveryField { .. } => Seam::Layout,
            Action::Padding { .. } | Action::MorePadding { .. } | Action::Iv(_) | Action::Inner(_) => Seam::Plaintext,
            Action::OmitFragment(_) | Action::Fragments(_) => Seam::Fragments,
            Action::DropSent
            | Action::Delay(_)
            | Action::Repeat { .. }
            | Action::Hold { .. }
            | Action::Corrupt { .. }
            | Action::CorruptIv(_)
            | Action::Truncate(_)
            | Action::Extend(_)
            | Action::ShortIcv(_)
            | Action::Redirect(_)
            | Action::WrongMarker
            | Action::MainMode
            | Action::Beside(_)
            | Action::FallSilent => Seam::Datagrams,
            Action::Decide(_) => Seam::Decide,
            Action::Secret { .. } | Action::SameSecret(_) => Seam::Secret,
            Action::InjectNotify { .. } | Action::Invent { .. } | Action::Order { .. } | Action::Reboot { .. } => {
                Seam::Inject
            }
            Action::Timer { .. } => Seam::Timer,
            Action::DropReceived | Action::HoldReceived(_) | Action::ReceiveTwice(_) | Action::FallDeaf => {
                Seam::Inbound
            }
            Action::Overlook(_) | Action::HoldAccepted(_) | Action::Collide { .. } => Seam::Parsed,
            Action::Esp(_) => Seam::Esp,
        }
    }
}

impl Choice {
    /// The exchange in which the decision falls, for rules that name one. Some fall in IKE_SA_INIT and, once the IKE SA is
    /// established, in CREATE_CHILD_SA.
    pub fn exchange(self, established: bool) -> ExchangeType {
        match self {
            Choice::AcceptAuth(_) | Choice::RefuseAuth(_) | Choice::RefuseChild(_) => ExchangeType::IKE_AUTH,
            Choice::RefuseCreate(_) => ExchangeType::CREATE_CHILD_SA,
            Choice::Answer(exchange, _) => exchange,
            Choice::FollowInvalidKe(_) | Choice::DemandGroup(_) | Choice::DemandGroups(..) if established => {
                ExchangeType::CREATE_CHILD_SA
            }
            _ => ExchangeType::IKE_SA_INIT,
        }
    }
}
