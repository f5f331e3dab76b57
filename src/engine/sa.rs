//! One IKE SA: what it holds in each phase. The exchanges are in [`super::init`], [`super::auth`], [`super::info`].

use std::num::NonZeroU64;
use std::sync::Arc;

use super::auth::{AwaitAuthRequest, AwaitAuthResponse};
use super::event::NatFinding;
use super::fragment::{Reassembly, Split};
use super::info::{Pending, Request};
use super::init::AwaitInitResponse;
use super::mobike::Mobike;
use super::rekey::Rekey;
use super::spec::{ConnectionSpec, SaId, TunnelId};
use super::tamper::{MsgCx, SaCx};
use super::timer::Timer;
use super::window::{Queue, Window};
use crate::crypto::{EspSuite, IkeKeys, IkeSuite};
use crate::net::Path;
use crate::seed::Scope;
use crate::time::Instant;
use crate::wire::registry::ExchangeType;
use crate::wire::{Flags, Header, IkeSpi};

/// An IKE SA from its first packet to its last. Thousands may be idle: what only some need is boxed.
pub(super) struct IkeSa {
    pub id: SaId,
    pub tunnel: TunnelId,
    /// We are the original initiator.
    pub initiator: bool,
    /// Some rule may match it; with this bit clear no seam is called.
    pub tampered: bool,
    pub spis: (IkeSpi, IkeSpi),
    pub path: Path,
    /// The connection; a responder knows it for certain only after IKE_AUTH named the peer.
    pub spec: Arc<ConnectionSpec>,
    pub scope: Scope,
    /// Values drawn from the key seed so far.
    pub draws: u64,
    /// Messages sealed so far: the IV counter.
    pub sealed: u64,
    pub window: Window,
    pub queue: Option<Box<Queue>>,
    pub phase: Phase,
    pub alarms: Alarms,
    /// Whether our messages are split (RFC 7383).
    pub fragments: Split,
    /// Fragments of a message of the peer's that is not whole yet.
    pub reassembly: Option<Box<Reassembly>>,
    /// When a protected message of the peer's last arrived.
    pub last_heard: Instant,
    /// When an unprotected hint last made us ask whether the peer lives; [`Instant::MAX`] for never.
    pub hinted: Instant,
    /// The responder's look-up key of IKE_SA_INIT.
    pub init_key: Option<InitKey>,
    /// The key of the identity index, once authenticated.
    pub peer_key: Option<NonZeroU64>,
    /// Our inbound SPI of a Child under negotiation.
    pub reserved_spi: Option<u32>,
    /// The IKE SA of the same tunnel that this one is to replace once it is up; [`SaId::NONE`] if there is none.
    pub replaces: SaId,
    /// What the timer set holds for this SA; [`Instant::MAX`] for nothing.
    pub scheduled: Instant,
}

// 10,000 idle IKE SAs at a KiB each is the aim, indexes, keys and cached response included (see `benches/memory.rs`).
const _: () = assert!(size_of::<IkeSa>() <= 320);

/// Hash of a whole IKE_SA_INIT request and its path (RFC 7296 2.1: not by SPIi alone).
pub(super) type InitKey = [u8; 8];

/// Deadlines besides the retransmission's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Alarms {
    pub half_open: Instant,
    pub liveness: Instant,
    pub keepalive: Instant,
    pub linger: Instant,
}

impl Default for Alarms {
    fn default() -> Self {
        Alarms { half_open: Instant::MAX, liveness: Instant::MAX, keepalive: Instant::MAX, linger: Instant::MAX }
    }
}

/// Where an IKE SA is in its life. Wait states are separate for each original role.
pub(super) enum Phase {
    /// Being handled: no other code sees this.
    Moving,
    /// Initiator: IKE_SA_INIT is out.
    InitSent(Box<AwaitInitResponse>),
    /// Responder: IKE_SA_INIT is answered; half open.
    InitAnswered(Box<AwaitAuthRequest>),
    /// Initiator: IKE_AUTH is out.
    AuthSent(Box<AwaitAuthResponse>),
    /// Keys are agreed and IKE_AUTH is over, for good or for ill.
    Established(Box<Established>),
    /// Nothing left but to answer repeats.
    Closed,
}

/// An IKE SA after IKE_AUTH. Not consumed by a failed Child.
pub(super) struct Established {
    pub suite: IkeSuite,
    pub keys: IkeKeys,
    pub children: Vec<Child>,
    /// Our request that waits, which its answer consumes.
    pub pending: Option<Box<Pending>>,
    /// The IKE SA is on its way out: nothing new is begun.
    pub closing: bool,
    pub nat: NatFinding,
    /// When its rekey begins.
    pub soft: Instant,
    /// When it is deleted.
    pub hard: Instant,
    /// When its authentication ends: we authenticate again, or delete it if the peer should have.
    pub reauth: Instant,
    /// We began the tunnel, so that it is ours to authenticate again. A rekey leaves this as it is.
    pub ours: bool,
    pub standing: Standing,
    /// CREATE_CHILD_SA under way and what was put off; rarely there.
    pub rekey: Option<Box<Rekey>>,
    /// When the first traffic went out that nothing of the peer's has answered, for liveness checks on demand; stale once
    /// the peer was heard of.
    pub unanswered: Instant,
    /// Both ends have MOBIKE.
    pub mobike: Option<Box<Mobike>>,
}

/// Where an IKE SA stands among those of its tunnel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    /// The Child SAs are here.
    Current,
    /// The peer's rekey of that IKE SA made it while our own is under way: the nonces will decide (RFC 7296 2.8.2).
    Undecided(SaId),
    /// That IKE SA has taken over; the end that rekeyed deletes this one.
    Superseded(SaId),
    /// It lost to another in a collision; the end that made it deletes it.
    Redundant,
}

/// What is kept of a Child SA at rest.
#[derive(Clone, Debug)]
pub(super) struct Child {
    pub spi_in: u32,
    pub spi_out: u32,
    pub suite: EspSuite,
    /// Which of the connection's children.
    pub spec: u16,
    pub state: ChildState,
    /// Our inbound SPI of the one that it replaces, until we send on this one.
    pub replaces: u32,
    /// When its rekey begins.
    pub soft: Instant,
    /// When it is deleted.
    pub hard: Instant,
    /// What has gone through it, where that is limited.
    pub usage: Option<Box<Usage>>,
}

/// Where a Child SA is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ChildState {
    /// We send on it.
    Live,
    /// The peer asked for it and may not have our answer yet; we do not send on it until we know (RFC 7296 2.8).
    Waiting,
    /// The peer has rekeyed it and will delete it; we send on it until then.
    Replaced,
    /// We have decided to delete it.
    Deleting,
    /// It lost in a collision (RFC 7296 2.8.1), and the peer, which made it, deletes it.
    Redundant,
}

/// Traffic of a Child SA.
#[derive(Clone, Debug, Default)]
pub(super) struct Usage {
    pub bytes: u64,
    pub packets: u64,
    /// At how many octets and packets its rekey begins; then `u64::MAX`.
    pub soft: (u64, u64),
}

impl Established {
    /// Nothing but keys.
    pub(super) fn new(suite: IkeSuite, keys: IkeKeys, nat: NatFinding, ours: bool) -> Box<Self> {
        Box::new(Established {
            suite,
            keys,
            children: Vec::new(),
            pending: None,
            closing: false,
            nat,
            soft: Instant::MAX,
            hard: Instant::MAX,
            reauth: Instant::MAX,
            ours,
            standing: Standing::Current,
            rekey: None,
            unanswered: Instant::ZERO,
            mobike: None,
        })
    }

    pub(super) fn child(&self, spi_in: u32) -> Option<&Child> {
        self.children.iter().find(|c| c.spi_in == spi_in)
    }

    pub(super) fn child_mut(&mut self, spi_in: u32) -> Option<&mut Child> {
        self.children.iter_mut().find(|c| c.spi_in == spi_in)
    }

    /// The earliest end of a lifetime, or of what was put off.
    pub(super) fn lifetime(&self) -> Instant {
        let children = self.children.iter().map(|c| c.soft.min(c.hard));
        let later = self.rekey.iter().flat_map(|r| &r.later).map(|l| l.at);
        children.chain(later).min().unwrap_or(Instant::MAX).min(self.soft).min(self.hard).min(self.reauth)
    }
}

impl IkeSa {
    /// Its SPI on our side.
    pub(super) fn our_spi(&self) -> IkeSpi {
        if self.initiator { self.spis.0 } else { self.spis.1 }
    }

    pub(super) fn cx(&self, now: Instant) -> SaCx {
        let established = matches!(self.phase, Phase::Established(_));
        let (tunnel, initiator, next_id) = (self.tunnel, self.initiator, self.window.next_request());
        SaCx { sa: Some(self.id), tunnel, initiator, spis: self.spis, established, next_id, now }
    }

    pub(super) fn msg_cx(&self, now: Instant, header: &Header, attempt: u8) -> MsgCx {
        MsgCx {
            sa: self.cx(now),
            exchange: header.exchange,
            response: header.flags.is_response(),
            message_id: header.message_id,
            attempt,
        }
    }

    /// A header for a request of ours, with the window's next message id.
    pub(super) fn request_header(&self, exchange: ExchangeType) -> Header {
        let flags = if self.initiator { Flags::INITIATOR } else { Flags(0) };
        Header::new(self.spis.0, self.spis.1, exchange, flags, self.window.next_request())
    }

    /// A header for our response to `request`.
    pub(super) fn response_header(&self, request: &Header) -> Header {
        let initiator = if self.initiator { Flags::INITIATOR.0 } else { 0 };
        let flags = Flags(Flags::RESPONSE.0 | initiator);
        Header::new(self.spis.0, self.spis.1, request.exchange, flags, request.message_id)
    }

    pub(super) fn next_draw(&mut self) -> u64 {
        self.draws += 1;
        self.draws
    }

    /// The IV counter of the next message; its low 16 bits count the message's fragments.
    pub(super) fn next_iv(&mut self) -> u64 {
        self.sealed += 1;
        self.sealed << 16
    }

    /// The earliest deadline and its reason.
    pub(super) fn deadline(&self) -> Option<(Instant, Timer)> {
        let a = &self.alarms;
        let retransmit = self.window.deadline().unwrap_or(Instant::MAX);
        let lifetime = match &self.phase {
            Phase::Established(up) => up.lifetime(),
            _ => Instant::MAX,
        };
        [
            (retransmit, Timer::Retransmit),
            (a.half_open, Timer::HalfOpen),
            (a.liveness, Timer::Liveness),
            (a.keepalive, Timer::Keepalive),
            (lifetime, Timer::Lifetime),
            (a.linger, Timer::Linger),
        ]
        .into_iter()
        .filter(|(at, _)| *at < Instant::MAX)
        .min()
    }

    pub(super) fn enqueue(&mut self, request: Request) {
        self.queue.get_or_insert_default().push_back(request);
    }

    pub(super) fn is_half_open(&self) -> bool {
        matches!(self.phase, Phase::InitAnswered(_))
    }
}
