//! The seams at which the honest engine can be bent. The engine never knows by whom.
//!
//! Order of an outgoing message: `secret`, `message`, `layout` (inner), `plaintext`, `fragments`, `layout` (outer, still
//! under the ICV), seal, `datagrams`. An edit at one seam is covered by every integrity step below it. An IKE SA for
//! which [`Tamper::concerns`] said no calls no seam and copies nothing.

use std::time::Duration;

use super::spec::{SaId, TunnelId};
use crate::crypto::{EspSuite, IkeSuite};
use crate::net::{Class, Path};
use crate::time::Instant;
use crate::wire::registry::{ExchangeType, KeMethod, NotifyType};
use crate::wire::{FieldEdit, FieldMap, Header, IkeSpi, Message};

/// Which IKE SA a seam is called for; stateless replies have no `sa`.
#[derive(Clone, Debug)]
pub struct SaCx {
    /// Its handle, unless there is no state.
    pub sa: Option<SaId>,
    /// Its tunnel.
    pub tunnel: TunnelId,
    /// We are the original initiator.
    pub initiator: bool,
    /// SPIs as far as known.
    pub spis: (IkeSpi, IkeSpi),
    /// IKE_AUTH has been judged: what begins now is CREATE_CHILD_SA or INFORMATIONAL. A responder that draws the SPI of its
    /// first Child SA is that far, too.
    pub established: bool,
    /// The message id of its next request.
    pub next_id: u32,
    /// Now.
    pub now: Instant,
}

/// Which message a seam is called for.
#[derive(Clone, Debug)]
pub struct MsgCx {
    /// The IKE SA.
    pub sa: SaCx,
    /// Exchange type.
    pub exchange: ExchangeType,
    /// A response.
    pub response: bool,
    /// Message id.
    pub message_id: u32,
    /// 0 for the first transmission.
    pub attempt: u8,
}

/// Which received datagram a seam is called for.
#[derive(Clone, Debug)]
pub struct RecvCx {
    /// The IKE SA it belongs to, if its SPIs are known.
    pub sa: Option<SaCx>,
    /// Its header, if it has one.
    pub header: Option<Header>,
    /// Where it came from.
    pub path: Path,
    /// Now.
    pub now: Instant,
}

/// A choice of the engine that can be turned.
#[derive(Debug)]
pub enum Decision<'a> {
    /// Accept the peer's AUTH.
    AcceptAuth(&'a mut bool),
    /// Follow INVALID_KE_PAYLOAD to the named group.
    FollowInvalidKe(KeMethod, &'a mut bool),
    /// As responder, demand this group instead of going on (None: go on).
    DemandGroup(&'a mut Option<KeMethod>),
    /// Return the cookie that was demanded.
    ReturnCookie(&'a mut bool),
    /// As responder, demand a cookie although one (or none) is there.
    DemandCookie(&'a mut bool),
    /// As responder, refuse IKE_SA_INIT with this notify (None: go on).
    RefuseInit(&'a mut Option<NotifyType>),
    /// As responder, refuse the Child SA of IKE_AUTH with this notify (None: go on).
    RefuseChild(&'a mut Option<NotifyType>),
    /// Refuse CREATE_CHILD_SA with this notify (None: go on).
    RefuseCreate(&'a mut Option<NotifyType>),
    /// As responder, refuse IKE_AUTH with this notify (None: go on).
    RefuseAuth(&'a mut Option<NotifyType>),
    /// The IKE suite about to be used.
    Suite(&'a mut IkeSuite),
    /// The ESP suite about to be used.
    ChildSuite(&'a mut EspSuite),
    /// Move to the NAT-T ports.
    Float(&'a mut bool),
    /// Answer this request at all.
    Answer(ExchangeType, &'a mut bool),
}

/// Octets drawn from the key seed or computed, before use. An SPI, a nonce or an identity set here is adopted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SecretKind {
    /// Our IKE SPI.
    IkeSpi,
    /// Our nonce.
    Nonce,
    /// Our public key-exchange value as sent; the private value stays.
    KeyExchange,
    /// Our inbound ESP SPI.
    ChildSpi,
    /// The octets of our AUTH payload.
    Auth,
    /// The body of our Identification payload, which AUTH covers as it is sent. Fewer than 4 octets are not adopted.
    Identity,
    /// A cookie that we hand out.
    Cookie,
}

/// The inside of an SK payload before sealing. What does not come to whole blocks of the cipher is filled up with zero
/// octets before the pad length.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SkBody {
    /// Initialisation vector.
    pub iv: Vec<u8>,
    /// The chained inner payloads.
    pub inner: Vec<u8>,
    /// Padding octets.
    pub padding: Vec<u8>,
    /// The pad length octet as sent.
    pub pad_length: u8,
}

/// One RFC 7383 fragment before sealing: the ICV will be good.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fragment {
    /// Fragment number, from 1.
    pub number: u16,
    /// Total fragments.
    pub total: u16,
    /// Its piece of the inner payloads.
    pub inner: Vec<u8>,
}

/// A datagram about to leave.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outgoing {
    /// From where to where.
    pub path: Path,
    /// How the link frames it.
    pub class: Class,
    /// How long to hold it back.
    pub after: Duration,
    /// Its octets.
    pub bytes: Vec<u8>,
}

/// What set off an injection.
#[derive(Clone, Debug)]
pub enum Trigger {
    /// A message was sent.
    Sent(MsgCx),
    /// A message was accepted.
    Accepted(MsgCx),
    /// The IKE SA came up.
    Up(SaCx),
    /// A message was withheld by [`Tamper::parsed`].
    Withheld(MsgCx),
    /// A timer of the injector's own ([`Injected::Wake`]).
    Timer(SaCx),
}

/// Something the engine did not decide to send.
#[derive(Clone, Debug)]
pub enum Injected {
    /// A message, sealed with the SA's keys if `sealed` and encoded as it stands, header included. A sealed request whose
    /// id is the next one of ours takes that id if the peer answers it; the honest engine asks nothing until then, or for as
    /// long as it would wait before it asked again.
    Message {
        /// The message.
        message: Box<Message>,
        /// Protect it.
        sealed: bool,
        /// How long to wait.
        after: Duration,
    },
    /// Raw octets on the SA's path.
    Raw(Outgoing),
    /// Call `inject` again with [`Trigger::Timer`] after this long.
    Wake(Duration),
    /// Something that an honest engine can do, at a time when an honest one would not.
    Order(Order),
}

/// What can be ordered out of turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// Ask whether the peer lives.
    Liveness,
    /// Rekey the IKE SA.
    RekeyIke,
    /// Rekey the newest Child SA.
    RekeyChild,
    /// Forget the newest Child SA without a word to the peer.
    ForgetChild,
    /// Forget the IKE SA without a word to the peer.
    ForgetIke,
    /// Forget the IKE SA without a word to the peer, and begin its tunnel anew if it was ours to begin.
    Reboot,
}

/// What becomes of a received datagram or message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deliver {
    /// Hand it on.
    Yes,
    /// Never.
    Drop,
    /// Later.
    HoldUntil(Instant),
    /// Now, and again after this long.
    Twice(Duration),
}

/// Which ESP packet the seam of the data plane is called for.
#[derive(Clone, Debug)]
pub struct EspCx {
    /// The IKE SA, as far as the data plane knows it.
    pub sa: Option<SaId>,
    /// The tunnel.
    pub tunnel: TunnelId,
    /// Our SPI, which names the Child SA.
    pub spi_in: u32,
    /// The peer's SPI, which an honest packet has.
    pub spi_out: u32,
    /// We asked for the Child SA.
    pub initiator: bool,
    /// Its algorithms.
    pub suite: EspSuite,
    /// Now.
    pub now: Instant,
}

/// An ESP packet before it is sealed, and what becomes of it. As handed over, it is what an honest peer sends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EspEdit {
    /// The SPI.
    pub spi: u32,
    /// The whole sequence number.
    pub sequence: u64,
    /// The payload: a whole inner packet in tunnel mode.
    pub payload: Vec<u8>,
    /// Its kind: 4, 41, or a transport protocol.
    pub next_header: u8,
    /// Encryption key, salt included. Must keep its length.
    pub encr_key: Vec<u8>,
    /// Integrity key. Must keep its length.
    pub integ_key: Vec<u8>,
    /// Octets of the ICV that are sent; more than there are adds zeros. `None` for all.
    pub icv_len: Option<usize>,
    /// Bits to flip at the start of the ICV, after sealing.
    pub icv_mask: u8,
    /// Bits to flip in the first octet behind the header (IV or ciphertext), after sealing.
    pub body_mask: u8,
    /// Send the payload unprotected behind SPI and sequence number.
    pub clear: bool,
    /// Send it at all.
    pub send: bool,
    /// Send so many more of the same packet.
    pub copies: u16,
    /// Send it behind the next one.
    pub overtaken: bool,
}

/// Edits of named fields, to be applied after the seam returns.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Layout {
    /// In order.
    pub edits: Vec<FieldEdit>,
}

/// Which side of the encryption a layout describes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LayoutPart {
    /// The inner payloads, before encryption.
    Inner,
    /// Header, payloads before SK, and SK's generic header: in clear, but under the ICV. The whole of a message without
    /// SK.
    Outer,
}

/// Bends the engine. Every method's default leaves it honest.
#[allow(unused_variables)]
pub trait Tamper: Send {
    /// Whether any rule can match this IKE SA; asked once, when it is made.
    fn concerns(&mut self, sa: &SaCx) -> bool {
        true
    }
    /// Turn a decision.
    fn decide(&mut self, sa: &SaCx, decision: Decision<'_>) {}
    /// Change octets before they are used.
    fn secret(&mut self, sa: &SaCx, kind: SecretKind, octets: &mut Vec<u8>) {}
    /// Change a message before it is encoded.
    fn message(&mut self, cx: &MsgCx, message: &mut Message) {}
    /// Edit named fields before encryption or before the ICV.
    fn layout(&mut self, cx: &MsgCx, part: LayoutPart, map: &FieldMap, layout: &mut Layout) {}
    /// Change the inside of SK.
    fn plaintext(&mut self, cx: &MsgCx, body: &mut SkBody) {}
    /// Change, drop, repeat or reorder fragments before sealing.
    fn fragments(&mut self, cx: &MsgCx, fragments: &mut Vec<Fragment>) {}
    /// Change, drop, repeat, delay or redirect datagrams, at each transmission, on a copy.
    fn datagrams(&mut self, cx: &MsgCx, datagrams: &mut Vec<Outgoing>) {}
    /// Send what the engine did not decide to send.
    fn inject(&mut self, sa: &SaCx, trigger: &Trigger, out: &mut Vec<Injected>) {}
    /// Change or (with `None`) cancel a timer.
    fn timer(&mut self, sa: &SaCx, timer: super::timer::Timer, honest: Duration) -> Option<Duration> {
        Some(honest)
    }
    /// Change or withhold a received datagram.
    fn inbound(&mut self, cx: &RecvCx, bytes: &mut Vec<u8>) -> Deliver {
        Deliver::Yes
    }
    /// Change or withhold an accepted message. A message that is withheld stays unanswered, and the peer's next repeat of
    /// it is asked about again. One that is held, or seen twice, is not asked about when its time comes.
    fn parsed(&mut self, cx: &RecvCx, message: &mut Message) -> Deliver {
        Deliver::Yes
    }
    /// Change an ESP packet before it is sealed. Asked of the data plane's own tamper.
    fn esp(&mut self, cx: &EspCx, edit: &mut EspEdit) {}
}
