//! CREATE_CHILD_SA (RFC 7296 1.3, 2.8, 2.25), both roles of the exchange and either original role.
//!
//! ```text
//!  requester                                                     answerer
//!  HDR, SK {SA, Ni, [KEi,] TSi, TSr}                       -->            another Child SA (1.3.1)
//!                                       <--    HDR, SK {SA, Nr, [KEr,] TSi, TSr}
//!  HDR, SK {N(REKEY_SA), SA, Ni, [KEi,] TSi, TSr}          -->            rekey of a Child SA (1.3.3)
//!                                       <--    HDR, SK {SA, Nr, [KEr,] TSi, TSr}
//!  HDR, SK {D(old)}                                        -->
//!                                       <--    HDR, SK {D(old)}
//!  HDR, SK {SA, Ni, KEi}                                   -->            rekey of the IKE SA (1.3.2)
//!                                       <--    HDR, SK {SA, Nr, KEr}
//!  HDR, SK {D}                                             -->            on the old IKE SA
//!                                       <--    HDR, SK {}
//! ```
//!
//! [`child`] and [`ike`] hold the two kinds, [`collision`] what happens when both ends start one, [`life`] when one is due.
//! What outlives an IKE SA is its tunnel: the number, the connection, the Child SAs and the requests that wait; they move
//! to the successor in `Core::adopt`.

mod child;
mod collision;
mod ike;
mod life;
mod reauth;

pub use life::EspNote;

use std::time::Duration;

use super::child::Payloads;
use super::endpoint::Core;
use super::event::Event;
use super::failure::{FailScope, Failed, Failure, LocalFault, PeerMisbehaved};
use super::info::Request;
use super::sa::{ChildState, IkeSa, Phase, Standing};
use super::spec::{Pfs, SaId, Side, TunnelId};
use super::tamper::Decision;
use crate::crypto::{Group, KeyPair, SharedSecret};
use crate::net::Path;
use crate::time::Instant;
use crate::wire::registry::{ExchangeType, KeMethod, NotifyType, PayloadType, ProtocolId};
use crate::wire::{Header, IkeSpi, KePayload, NotifyPayload, Payload, SaPayload, TsPayload, WireError};

/// An IKE SA as a status display sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SaView {
    /// Its handle.
    pub sa: SaId,
    /// Its tunnel.
    pub tunnel: TunnelId,
    /// We are its original initiator.
    pub initiator: bool,
    /// Both SPIs.
    pub spis: (IkeSpi, IkeSpi),
    /// Keys are agreed, and it is neither closed nor about to be, nor replaced by another.
    pub established: bool,
    /// Where it is.
    pub path: Path,
    /// Its Child SAs.
    pub children: Vec<ChildView>,
}

/// A Child SA as a status display sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChildView {
    /// Name of the configured child.
    pub name: String,
    /// Our inbound SPI.
    pub spi_in: u32,
    /// The peer's.
    pub spi_out: u32,
}

/// CREATE_CHILD_SA under way, and what was put off.
#[derive(Default)]
pub(super) struct Rekey {
    /// What our outstanding CREATE_CHILD_SA needs when its answer comes.
    pub creating: Option<Box<Creating>>,
    /// What is to be done at some time.
    pub later: Vec<Later>,
    /// Since when the peer has answered TEMPORARY_FAILURE.
    pub refused_since: Option<Instant>,
    /// The IKE SA that this one has replaced at our wish, while it is being deleted.
    pub predecessor: Option<SaId>,
    /// How far it is replaced from scratch.
    pub reauth: Option<reauth::Reauth>,
}

impl Rekey {
    /// The peer has rekeyed what we have asked to rekey.
    pub(super) fn collides(&self) -> bool {
        self.creating.as_ref().is_some_and(|creating| creating.rival.is_some())
    }

    /// Nothing in it is needed any more.
    fn idle(&self) -> bool {
        self.later.is_empty()
            && self.creating.is_none()
            && self.refused_since.is_none()
            && self.predecessor.is_none()
            && self.reauth.is_none()
    }
}

/// Something put off.
#[derive(Debug)]
pub(super) struct Later {
    pub at: Instant,
    pub what: Put,
}

/// What was put off.
#[derive(Debug)]
pub(super) enum Put {
    /// Ask (again).
    Ask(Request),
    /// Send on this Child SA, whether or not the peer has shown that it is ready (RFC 7296 2.8).
    Send(u32),
}

/// Which attempt a CREATE_CHILD_SA is, after INVALID_KE_PAYLOAD.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Try {
    /// The group that the peer asked for.
    pub group: Option<KeMethod>,
    /// How often it has asked.
    pub retries: u8,
    /// Which key exchange a Child SA's rekey offers.
    pub pfs: Pfs,
}

impl Try {
    /// The same wish from the beginning.
    pub fn afresh(self) -> Try {
        Try { pfs: self.pfs, ..Try::default() }
    }
}

/// Our outstanding CREATE_CHILD_SA.
pub(super) struct Creating {
    pub what: What,
    pub ni: Vec<u8>,
    pub keypair: Option<KeyPair>,
    /// Which key exchange was offered for a Child SA.
    pub pfs: Pfs,
    /// The peer's rekey of the same SA, which we have answered meanwhile.
    pub rival: Option<Rival>,
    /// SPIs of the peer's that it has deleted meanwhile and that we do not know: its DELETE may have overtaken the answer
    /// that names them.
    pub unseen: Vec<u32>,
}

/// What it is to create.
#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    /// A Child SA of the connection's child number `spec`, instead of `old` if that is there.
    Child { spec: u16, spi_in: u32, old: Option<u32> },
    /// An IKE SA with this SPI of ours.
    Ike(IkeSpi),
}

/// What the peer's rekey of the same SA has made.
pub(super) struct Rival {
    /// The lower of its two nonces.
    pub lowest: Vec<u8>,
    pub made: Made,
}

/// A new SA in its making.
#[derive(Clone, Copy, Debug)]
pub(super) enum Made {
    /// A Child SA, by our inbound SPI.
    Child(u32),
    /// An IKE SA.
    Ike(SaId),
}

/// The payloads of CREATE_CHILD_SA, wherever they stand.
#[derive(Default)]
pub(super) struct Parts<'a> {
    sa: Option<&'a SaPayload>,
    nonce: Option<&'a [u8]>,
    ke: Option<&'a KePayload>,
    ts_i: Option<&'a TsPayload>,
    ts_r: Option<&'a TsPayload>,
    rekey: Option<&'a NotifyPayload>,
    error: Option<&'a NotifyPayload>,
    transport: bool,
    critical: Option<PayloadType>,
    malformed: Option<WireError>,
}

impl<'a> Parts<'a> {
    fn of(payloads: &'a [Payload]) -> Self {
        let mut parts = Parts::default();
        for payload in payloads {
            match payload {
                Payload::Sa(sa) => parts.sa = parts.sa.or(Some(sa)),
                Payload::Nonce(nonce) => parts.nonce = parts.nonce.or(Some(&nonce.data)),
                Payload::Ke(ke) => parts.ke = parts.ke.or(Some(ke)),
                Payload::TsI(ts) => parts.ts_i = parts.ts_i.or(Some(ts)),
                Payload::TsR(ts) => parts.ts_r = parts.ts_r.or(Some(ts)),
                Payload::Notify(n) if n.kind == NotifyType::REKEY_SA => parts.rekey = parts.rekey.or(Some(n)),
                Payload::Notify(n) if n.kind == NotifyType::USE_TRANSPORT_MODE => parts.transport = true,
                Payload::Notify(n) if n.kind.is_error() => parts.error = parts.error.or(Some(n)),
                Payload::Raw(raw) if raw.critical => parts.critical = parts.critical.or(Some(raw.kind)),
                _ => {}
            }
        }
        parts
    }

    fn child(&self) -> Payloads<'a> {
        Payloads { sa: self.sa, ts_i: self.ts_i, ts_r: self.ts_r, transport: self.transport }
    }

    /// A response with nothing in it that we cannot read.
    fn whole(&self) -> Result<(), Failure> {
        match (&self.malformed, self.critical) {
            (Some(error), _) => Err(Failure::Malformed(error.clone())),
            (None, Some(kind)) => Err(Failure::Misbehaved(PeerMisbehaved::CriticalPayload(kind))),
            (None, None) => Ok(()),
        }
    }

    /// An SA payload that offers IKE says that the IKE SA is to be rekeyed.
    fn rekeys_ike(&self) -> bool {
        self.sa.and_then(|sa| sa.proposals.first()).is_some_and(|p| p.protocol == ProtocolId::IKE)
    }
}

/// Why a CREATE_CHILD_SA request is refused, and with which notify. What passes by itself is no failure.
pub(super) struct Refuse {
    notify: NotifyPayload,
    why: Option<Failure>,
}

impl Refuse {
    fn plain(kind: NotifyType) -> Self {
        Refuse { notify: NotifyPayload::new(kind), why: None }
    }

    fn syntax(why: PeerMisbehaved) -> Self {
        let notify = NotifyPayload::new(NotifyType::INVALID_SYNTAX);
        Refuse { notify, why: Some(Failure::Misbehaved(why)) }
    }

    fn missing(kind: PayloadType) -> Self {
        Refuse::syntax(PeerMisbehaved::MissingPayload(kind))
    }

    /// INVALID_SYNTAX ends the IKE SA at both ends, without a DELETE (RFC 7296 2.21.3).
    fn fatal(&self) -> bool {
        self.notify.kind == NotifyType::INVALID_SYNTAX
    }

    fn group(group: KeMethod) -> Self {
        let notify = NotifyPayload::with_data(NotifyType::INVALID_KE_PAYLOAD, group.0.to_be_bytes());
        Refuse { notify, why: None }
    }
}

impl From<(NotifyPayload, Failure)> for Refuse {
    fn from((notify, why): (NotifyPayload, Failure)) -> Self {
        Refuse { notify, why: Some(why) }
    }
}

/// Our half of an answerer's key exchange: KEr and the secret; nothing where the suite has none.
type Exchanged = (Option<KePayload>, Option<SharedSecret>);

/// How long an answerer waits for a sign that the requester has a new Child SA before it sends on it all the same
/// (RFC 7296 2.8: "until either it receives one or a timeout has occurred").
const PATIENCE: Duration = Duration::from_secs(2);

// The requester.

impl Core {
    /// The payloads of a CREATE_CHILD_SA request whose turn has come; `None` if it has lost its object.
    pub(super) fn create_request(&mut self, now: Instant, sa: &mut IkeSa, request: &Request) -> Option<Vec<Payload>> {
        match request {
            Request::NewChild(spec, try_) => self.request_child(now, sa, *spec, None, *try_),
            Request::RekeyChild(old, try_) => {
                let Phase::Established(up) = &sa.phase else { return None };
                let child = up.child(*old)?;
                let (spec, state) = (child.spec, child.state);
                if state == ChildState::Waiting {
                    // The peer may not know it yet: it would answer CHILD_SA_NOT_FOUND.
                    let later = Later { at: now + PATIENCE, what: Put::Ask(request.clone()) };
                    sa.rekey_mut()?.later.push(later);
                    return None;
                }
                (state == ChildState::Live).then_some(())?;
                self.request_child(now, sa, spec, Some(*old), *try_)
            }
            Request::RekeyIke(try_) => self.request_ike(now, sa, *try_),
            _ => None,
        }
    }

    /// The answer to our CREATE_CHILD_SA.
    pub(super) fn create_response(
        &mut self,
        now: Instant,
        sa: &mut IkeSa,
        inner: &[Payload],
        malformed: Option<WireError>,
        request: Request,
    ) {
        let Phase::Established(up) = &mut sa.phase else { return };
        let Some(creating) = up.rekey.as_mut().and_then(|r| r.creating.take()) else { return };
        let parts = Parts { malformed, ..Parts::of(inner) };
        if let (Some(notify), None) = (parts.error, parts.sa) {
            let notify = notify.clone();
            return self.create_refused(now, sa, *creating, request, &notify);
        }
        if let Phase::Established(up) = &mut sa.phase
            && let Some(rekey) = &mut up.rekey
        {
            rekey.refused_since = None;
        }
        match creating.what {
            What::Child { .. } => self.child_response(now, sa, *creating, &parts),
            What::Ike(spi) => self.ike_response(now, sa, *creating, spi, &parts),
        }
    }

    /// The peer answered with an error notify.
    fn create_refused(
        &mut self,
        now: Instant,
        sa: &mut IkeSa,
        creating: Creating,
        request: Request,
        notify: &NotifyPayload,
    ) {
        let (what, rival) = (creating.what, creating.rival);
        if let What::Child { .. } = what {
            self.release_esp_spi(sa);
        }
        if let Some(rival) = rival {
            // The peer had finished its own rekey before it saw ours (RFC 7296 2.8.1, 2.8.2): that one stands.
            return self.rival_stands(now, sa, what, rival);
        }
        match (notify.kind, what) {
            (NotifyType::TEMPORARY_FAILURE, _) => return self.try_later(now, sa, request),
            (NotifyType::INVALID_KE_PAYLOAD, _) => {
                if let Some(again) = self.with_demanded_group(now, sa, &request, notify) {
                    sa.queue.get_or_insert_default().push_front(again);
                    return;
                }
            }
            (NotifyType::CHILD_SA_NOT_FOUND, What::Child { spec, old: Some(old), .. }) => {
                let Phase::Established(up) = &sa.phase else { return };
                // Gone already, or going: the peer has deleted it, and so has that what it wanted.
                let state = up.child(old).map(|c| c.state);
                if state == Some(ChildState::Live) {
                    self.drop_child(now, sa, old, Side::Peer);
                    sa.enqueue(Request::NewChild(spec, Try::default()));
                }
                return;
            }
            _ => {}
        }
        let why = Failure::Rejected { notify: notify.kind, data: notify.data.clone(), protected: true };
        self.create_failed(now, sa, what, Side::Peer, why);
    }

    /// A CREATE_CHILD_SA of ours came to nothing. What was to be rekeyed stays, and the rekey is tried again while there
    /// is time.
    fn create_failed(&mut self, now: Instant, sa: &mut IkeSa, what: What, found_by: Side, why: Failure) {
        let exchange = ExchangeType::CREATE_CHILD_SA;
        match what {
            What::Child { old, .. } => {
                self.child_failed(sa, exchange, found_by, why);
                self.rekey_again(now, sa, old);
            }
            What::Ike(_) => {
                let failed = Failed { scope: FailScope::Exchange, exchange, found_by, why };
                self.events.push_back((sa.tunnel, sa.id, Event::Failed(Box::new(failed))));
                self.rekey_again(now, sa, None);
            }
        }
    }

    /// The same request with the group that INVALID_KE_PAYLOAD names, if we offered it and have not asked too often.
    fn with_demanded_group(
        &mut self,
        now: Instant,
        sa: &IkeSa,
        request: &Request,
        notify: &NotifyPayload,
    ) -> Option<Request> {
        let group = notify.data.as_slice().try_into().map(u16::from_be_bytes).map(KeMethod).ok()?;
        let child_groups = |spec: u16, pfs: Pfs| sa.spec.children.get(usize::from(spec)).map(|c| pfs.methods(&c.pfs));
        let (offered, try_) = match request {
            Request::NewChild(spec, try_) => (child_groups(*spec, try_.pfs)?, *try_),
            Request::RekeyChild(old, try_) => {
                let Phase::Established(up) = &sa.phase else { return None };
                (child_groups(up.child(*old)?.spec, try_.pfs)?, *try_)
            }
            Request::RekeyIke(try_) => (sa.spec.ike_proposals.iter().flat_map(|p| p.ke_methods()).collect(), *try_),
            _ => return None,
        };
        let known = offered.contains(&group) && Group::from_method(group).is_some();
        let mut follow = known && try_.retries < sa.spec.behaviour.invalid_ke_retries && try_.group != Some(group);
        self.decide(now, sa, Decision::FollowInvalidKe(group, &mut follow));
        let try_ = Try { group: Some(group), retries: try_.retries.saturating_add(1), ..try_ };
        follow.then_some(match request {
            Request::NewChild(spec, _) => Request::NewChild(*spec, try_),
            Request::RekeyChild(old, _) => Request::RekeyChild(*old, try_),
            _ => Request::RekeyIke(try_),
        })
    }
}

// The answerer.

impl Core {
    /// Answers CREATE_CHILD_SA.
    pub(super) fn create_answer(
        &mut self,
        now: Instant,
        sa: &mut IkeSa,
        path: Path,
        header: &Header,
        inner: &[Payload],
    ) {
        let parts = Parts::of(inner);
        let mut refuse = None;
        self.decide(now, sa, Decision::RefuseCreate(&mut refuse));
        if let Some(kind) = refuse {
            let why = Failure::Local(LocalFault::Other(format!("refused with {kind} on purpose")));
            self.respond(now, sa, path, header, vec![Payload::Notify(NotifyPayload::new(kind))]);
            return self.child_failed(sa, header.exchange, Side::Us, why);
        }
        if parts.rekeys_ike() {
            return match self.answer_ike(now, sa, &parts) {
                Ok((payloads, made)) => {
                    self.respond(now, sa, path, header, payloads);
                    self.ike_made(now, sa, made);
                }
                Err(refuse) => {
                    let fatal = refuse.fatal();
                    self.respond(now, sa, path, header, vec![Payload::Notify(refuse.notify)]);
                    if let Some(why) = refuse.why {
                        if fatal {
                            return self.fail(now, sa, header.exchange, Side::Us, why, true);
                        }
                        let exchange = header.exchange;
                        let failed = Failed { scope: FailScope::Exchange, exchange, found_by: Side::Us, why };
                        self.events.push_back((sa.tunnel, sa.id, Event::Failed(Box::new(failed))));
                    }
                }
            };
        }
        match self.answer_child(now, sa, &parts) {
            Ok(payloads) => self.respond(now, sa, path, header, payloads),
            Err(refuse) => {
                let fatal = refuse.fatal();
                self.respond(now, sa, path, header, vec![Payload::Notify(refuse.notify)]);
                if let Some(why) = refuse.why {
                    if fatal {
                        return self.fail(now, sa, header.exchange, Side::Us, why, true);
                    }
                    self.child_failed(sa, header.exchange, Side::Us, why);
                }
            }
        }
    }

    /// The answerer's key exchange with the group of the suite that it chose, if that has one.
    fn answer_exchange(
        &mut self,
        now: Instant,
        sa: &mut IkeSa,
        group: Option<Group>,
        ke: Option<&KePayload>,
    ) -> Result<Exchanged, Refuse> {
        let Some(group) = group else { return Ok((None, None)) };
        let method = group.method();
        let mut demanded = ke.is_none_or(|ke| ke.group != method).then_some(method);
        self.decide(now, sa, Decision::DemandGroup(&mut demanded));
        if let Some(group) = demanded {
            return Err(Refuse::group(group));
        }
        let ke = ke.ok_or_else(|| Refuse::missing(PayloadType::KE))?;
        let keypair = self.fresh_keypair(sa, method);
        // RFC 6989 5: a public value that fails the checks is a syntax error.
        let bad = |error: crate::crypto::CryptoError| Refuse::syntax(PeerMisbehaved::BadKeyExchange(error.to_string()));
        let shared = keypair.agree(&ke.data).map_err(bad)?;
        let data = self.secret(now, sa, super::tamper::SecretKind::KeyExchange, keypair.public().to_vec());
        Ok((Some(KePayload { group: method, data }), Some(shared)))
    }

    /// The peer sent another request, and so has our answer to its last one (window size 1): it knows the SAs made by
    /// that. Anything but a DELETE on an IKE SA that we hold undecided says that the peer has moved there.
    pub(super) fn peer_went_on(&mut self, now: Instant, sa: &mut IkeSa, inner: &[Payload]) {
        let deletes = inner.iter().any(|p| matches!(p, Payload::Delete(d) if d.protocol == ProtocolId::IKE));
        let Phase::Established(up) = &mut sa.phase else { return };
        if let (Standing::Undecided(old), false) = (up.standing, deletes) {
            self.with_sa(old, |core, old| core.adopt(now, old, sa));
        }
        let Phase::Established(up) = &mut sa.phase else { return };
        let ready: Vec<u32> = up
            .children
            .iter()
            .filter(|c| c.state == ChildState::Waiting && c.replaces == 0)
            .map(|c| c.spi_in)
            .collect();
        for spi_in in ready {
            self.send_on(sa, spi_in);
        }
    }
}

impl IkeSa {
    /// What is kept for CREATE_CHILD_SA, made if it is not there.
    pub(super) fn rekey_mut(&mut self) -> Option<&mut Rekey> {
        match &mut self.phase {
            Phase::Established(up) => Some(up.rekey.get_or_insert_default()),
            _ => None,
        }
    }

    /// What our outstanding CREATE_CHILD_SA is to create.
    fn creating(&self) -> Option<What> {
        match &self.phase {
            Phase::Established(up) => up.rekey.as_ref()?.creating.as_ref().map(|c| c.what),
            _ => None,
        }
    }

    /// The peer has deleted Child SAs with these SPIs of its own, which we do not know (yet).
    pub(super) fn deleted_unseen(&mut self, spis: Vec<u32>) {
        let Phase::Established(up) = &mut self.phase else { return };
        if let Some(creating) = up.rekey.as_mut().and_then(|r| r.creating.as_mut()) {
            creating.unseen.extend(spis);
        }
    }

    /// Decides to delete a Child SA: nothing new is begun with it.
    pub(super) fn delete_child(&mut self, spi_in: u32) {
        let Phase::Established(up) = &mut self.phase else { return };
        let Some(child) = up.child_mut(spi_in) else { return };
        (child.soft, child.hard) = (Instant::MAX, Instant::MAX);
        if child.state != ChildState::Deleting {
            child.state = ChildState::Deleting;
            self.enqueue(Request::DeleteChild(spi_in));
        }
    }

    /// For a status display.
    pub(super) fn view(&self) -> SaView {
        let children = match &self.phase {
            Phase::Established(up) => up.children.as_slice(),
            _ => &[],
        };
        let name = |spec: u16| self.spec.children.get(usize::from(spec)).map(|c| c.name.clone()).unwrap_or_default();
        let view = |c: &super::sa::Child| ChildView { name: name(c.spec), spi_in: c.spi_in, spi_out: c.spi_out };
        SaView {
            sa: self.id,
            tunnel: self.tunnel,
            initiator: self.initiator,
            spis: self.spis,
            established: match &self.phase {
                Phase::Established(up) => up.standing == Standing::Current && !up.closing,
                _ => false,
            },
            path: self.path,
            children: children.iter().map(view).collect(),
        }
    }
}
