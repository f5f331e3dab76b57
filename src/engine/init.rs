//! IKE_SA_INIT (RFC 7296 1.2), both roles.
//!
//! ```text
//!  initiator                                responder
//!  HDR, [N(COOKIE),] SAi1, KEi, Ni   -->
//!                                    <--    HDR, N(COOKIE)                  ask again with the cookie (2.6)
//!                                    <--    HDR, N(INVALID_KE_PAYLOAD)      ask again with that group (1.2)
//!                                    <--    HDR, SAr1, KEr, Nr
//! ```
//!
//! The responder's side is in [`super::answer`]. Nothing here is authenticated yet. The initiator therefore goes on
//! accepting answers until one has led to a valid protected response; see [`super::auth::AwaitAuthResponse`].

use std::net::IpAddr;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::auth::{Candidate, Takes, announcement};
use super::endpoint::Core;
use super::event::{Event, IgnoredWhy, IkeKeyExport, InitDone, NatFinding};
use super::failure::{Failure, LocalFault, PeerMisbehaved};
use super::fragment::Split;
use super::natt;
use super::propose::verify_choice;
use super::sa::{Alarms, IkeSa, InitKey, Phase};
use super::spec::{Childless, ConnectionSpec, ProposalSpec, SaId, Side, TunnelId, UnprotectedErrors};
use super::tamper::{Decision, SecretKind, Trigger};
use super::timer::Timer;
use crate::crypto::{Group, IkeKeys, IkeSuite, KeyPair, Secret};
use crate::net::{Path, SocketRole};
use crate::seed::{Purpose, Scope, Seeds};
use crate::time::Instant;
use crate::wire::registry::{ExchangeType, KeMethod, NotifyType, PayloadType, ProtocolId};
use crate::wire::{
    Header, IdPayload, IkeSpi, KePayload, Message, NoncePayload, NotifyPayload, Payload, SaPayload, VendorIdPayload,
    decode,
};

/// Octets of the nonces we send (RFC 7296 2.10: at least 16 and half the PRF's key; 32 serves every PRF).
const NONCE: usize = 32;

/// Initiator: IKE_SA_INIT is out.
pub(super) struct AwaitInitResponse {
    pub keypair: KeyPair,
    pub group: KeMethod,
    pub ni: Vec<u8>,
    /// Our request as last sent: AUTH covers the one finally answered (RFC 7296 2.15).
    pub request: Vec<u8>,
    cookie: Option<Vec<u8>>,
    /// COOKIE demands that may still come in answer to repeats of the requests before this one.
    late_cookies: u8,
    ke_retries: u8,
    cookie_retries: u8,
    /// What to say instead of "no answer" when we give up: the last thing that was not believed.
    complaint: Option<Failure>,
}

/// The payloads of an IKE_SA_INIT message that matter, wherever they stand.
#[derive(Default)]
pub(super) struct Parts<'a> {
    pub sa: Option<&'a SaPayload>,
    pub ke: Option<&'a KePayload>,
    pub nonce: Option<&'a [u8]>,
    pub cookie: Option<&'a [u8]>,
    pub invalid_ke: Option<&'a NotifyPayload>,
    pub error: Option<&'a NotifyPayload>,
    pub fragmentation: bool,
    /// The responder accepts an IKE_AUTH without a Child SA (RFC 6023).
    pub childless: bool,
    pub critical: Option<PayloadType>,
    pub vendor_ids: Vec<Vec<u8>>,
    pub takes: Takes,
}

impl<'a> Parts<'a> {
    pub(super) fn of(payloads: &'a [Payload]) -> Self {
        let mut parts = Parts::default();
        for payload in payloads {
            parts.takes.note(payload);
            match payload {
                Payload::Sa(sa) => parts.sa = parts.sa.or(Some(sa)),
                Payload::Ke(ke) => parts.ke = parts.ke.or(Some(ke)),
                Payload::Nonce(nonce) => parts.nonce = parts.nonce.or(Some(&nonce.data)),
                Payload::Vendor(vendor) => parts.vendor_ids.push(vendor.data.clone()),
                Payload::Notify(n) if n.kind == NotifyType::COOKIE => parts.cookie = Some(&n.data),
                Payload::Notify(n) if n.kind == NotifyType::INVALID_KE_PAYLOAD => parts.invalid_ke = Some(n),
                Payload::Notify(n) if n.kind == NotifyType::IKEV2_FRAGMENTATION_SUPPORTED => parts.fragmentation = true,
                Payload::Notify(n) if n.kind == NotifyType::CHILDLESS_IKEV2_SUPPORTED => parts.childless = true,
                Payload::Notify(n) if n.kind.is_error() => parts.error = parts.error.or(Some(n)),
                Payload::Raw(raw) if raw.critical => parts.critical = Some(raw.kind),
                _ => {}
            }
        }
        parts
    }
}

/// The look-up key of an IKE_SA_INIT request: a hash of the whole packet and of both its ends, which NAT detection in the
/// answer speaks of. The same packet sent to our other socket is another request.
pub(super) fn init_key(bytes: &[u8], path: &Path) -> InitKey {
    let mut hash = Sha256::new_with_prefix(bytes);
    for end in [path.local, path.remote] {
        match end.ip().to_canonical() {
            IpAddr::V4(ip) => hash.update(ip.octets()),
            IpAddr::V6(ip) => hash.update(ip.octets()),
        }
        hash.update(end.port().to_be_bytes());
    }
    hash.update([path.role as u8]);
    let digest = hash.finalize();
    let mut key = [0; 8];
    key.copy_from_slice(&digest[..8]);
    key
}

// The initiator's side.

impl Core {
    /// Makes an IKE SA and sends IKE_SA_INIT.
    pub(super) fn start(
        &mut self,
        now: Instant,
        id: SaId,
        spec: Arc<ConnectionSpec>,
        tunnel: TunnelId,
        path: Path,
    ) -> Box<IkeSa> {
        let scope = self.initiator_scope(tunnel);
        let mut draws = 0;
        let spi = self.fresh_spi(scope, &mut draws);
        let mut sa = Box::new(IkeSa {
            id,
            tunnel,
            initiator: true,
            tampered: false,
            spis: (spi, IkeSpi::ZERO),
            path,
            spec,
            scope,
            draws,
            sealed: 0,
            fragments: Split::Never,
            reassembly: None,
            window: Default::default(),
            queue: None,
            phase: Phase::Moving,
            alarms: Alarms::default(),
            last_heard: now,
            hinted: Instant::MAX,
            init_key: None,
            peer_key: None,
            reserved_spi: None,
            replaces: SaId::NONE,
            scheduled: Instant::MAX,
        });
        sa.tampered = self.concerned(now, &sa);
        if sa.tampered {
            let adopted = self.secret(now, &sa, SecretKind::IkeSpi, spi.0.to_be_bytes().to_vec());
            if let Ok(octets) = <[u8; 8]>::try_from(adopted) {
                sa.spis.0 = IkeSpi(u64::from_be_bytes(octets));
            }
        }
        self.by_spi.insert(sa.spis.0, id);
        let group = sa.spec.ike_proposals.iter().flat_map(ProposalSpec::ke_methods).next().unwrap_or(KeMethod::NONE);
        let ni = self.fresh_nonce(now, &mut sa);
        let keypair = self.fresh_keypair(&mut sa, group);
        let wait = AwaitInitResponse {
            keypair,
            group,
            ni,
            request: Vec::new(),
            cookie: None,
            late_cookies: 0,
            ke_retries: 0,
            cookie_retries: 0,
            complaint: None,
        };
        self.send_init(now, &mut sa, Box::new(wait));
        sa
    }

    /// The tunnel's scope. Each further IKE SA of the tunnel has one of its own, so that a retry never repeats a nonce, and
    /// who saw the IVs of one IKE SA cannot foretell those of the next (RFC 7296 3.14).
    fn initiator_scope(&mut self, tunnel: TunnelId) -> Scope {
        let scope = Seeds::tunnel_scope(self.cfg.salt, tunnel.0);
        let attempts = self.attempts.entry(tunnel.0).or_insert(0);
        *attempts += 1;
        if *attempts == 1 { scope } else { Seeds::responder_scope(&[&scope.0, &attempts.to_be_bytes()]) }
    }

    fn send_init(&mut self, now: Instant, sa: &mut IkeSa, mut wait: Box<AwaitInitResponse>) {
        sa.window.restart();
        // Asking anew is progress: what was wrong before is not the reason if this one stays without answer.
        wait.complaint = None;
        let header = sa.request_header(ExchangeType::IKE_SA_INIT);
        let mut outer = Vec::with_capacity(8);
        if let Some(cookie) = &wait.cookie {
            outer.push(Payload::Notify(NotifyPayload::with_data(NotifyType::COOKIE, cookie.clone())));
        }
        let proposals = sa.spec.ike_proposals.iter().zip(1..);
        let proposals = proposals.map(|(spec, number)| spec.to_wire(number, ProtocolId::IKE, Vec::new())).collect();
        outer.push(Payload::Sa(SaPayload { proposals }));
        let public = wait.keypair.public().to_vec();
        let data = self.secret(now, sa, SecretKind::KeyExchange, public);
        outer.push(Payload::Ke(KePayload { group: wait.group, data }));
        outer.push(Payload::Nonce(NoncePayload { data: wait.ni.clone() }));
        natt::notifies(sa.spec.nat.traversal, sa.spis, &sa.path, &mut outer);
        if sa.spec.fragmentation {
            outer.push(Payload::Notify(NotifyPayload::new(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED)));
        }
        outer.extend(announcement(&sa.spec));
        outer.extend(vendor_ids(&sa.spec));
        let mut message = Message { header, outer, sk: None };
        sa.arrange(&mut message);
        let cx = sa.msg_cx(now, &header, 0);
        let datagrams = self.encode(&cx, sa.tampered, &mut message, None);
        wait.request = datagrams.first().cloned().unwrap_or_default();
        self.trace_sent(sa, sa.path, message, wait.request.len());
        self.transmit(&cx, sa.tampered, sa.path, datagrams.iter().map(Vec::as_slice));
        sa.window.sent(header.message_id, header.exchange, datagrams, now);
        sa.phase = Phase::InitSent(wait);
        self.arm(now, sa, 0);
        self.inject(now, sa, &Trigger::Sent(cx));
    }

    /// Some answer to IKE_SA_INIT. Nothing in it is authenticated.
    pub(super) fn init_response(&mut self, now: Instant, sa: &mut IkeSa, path: Path, header: &Header, bytes: &[u8]) {
        let ignore = |core: &mut Core, sa: &IkeSa, why, detail: &str| {
            core.ignore(Some(sa.who()), path, Some(*header), why, detail);
        };
        if header.message_id != 0 || !sa.initiator {
            return ignore(self, sa, IgnoredWhy::UnexpectedResponse, "");
        }
        let awaited = matches!(sa.phase, Phase::InitSent(_) | Phase::AuthSent(_));
        if !awaited {
            return ignore(self, sa, IgnoredWhy::UnexpectedResponse, "IKE_SA_INIT is over");
        }
        let decoded = match decode(bytes) {
            Ok(decoded) if decoded.error.is_none() => decoded,
            Ok(decoded) => {
                let error = decoded.error.map(|e| e.to_string()).unwrap_or_default();
                return self.doubt_init(
                    now,
                    sa,
                    path,
                    header,
                    Failure::Misbehaved(PeerMisbehaved::MalformedChoice(error)),
                );
            }
            Err(error) => return ignore(self, sa, IgnoredWhy::NotIke, &error.to_string()),
        };
        let parts = Parts::of(&decoded.payloads);
        let negotiated = parts.sa.is_some() && parts.ke.is_some();
        if let Phase::InitSent(_) = &sa.phase {
            if !negotiated && let Some(cookie) = parts.cookie {
                let cookie = cookie.to_vec();
                let message = Message { header: *header, outer: decoded.payloads, sk: None };
                return self.cookie_demanded(now, sa, path, message, cookie, bytes.len());
            }
            if !negotiated && let Some(notify) = parts.invalid_ke {
                let wanted = notify.data.as_slice().try_into().map(u16::from_be_bytes).map(KeMethod).ok();
                let message = Message { header: *header, outer: decoded.payloads, sk: None };
                return self.group_demanded(now, sa, path, message, wanted, bytes.len());
            }
        }
        if let Some(notify) = parts.error.or(parts.invalid_ke).filter(|_| !negotiated) {
            let why = Failure::Rejected { notify: notify.kind, data: notify.data.clone(), protected: false };
            let message = Message { header: *header, outer: decoded.payloads, sk: None };
            if matches!(sa.phase, Phase::InitSent(_)) {
                self.trace_received(sa, path, message, bytes.len());
            }
            return self.doubt_init(now, sa, path, header, why);
        }
        self.accept_init(now, sa, path, &decoded, bytes);
    }

    /// The responder wants a cookie first (RFC 7296 2.6).
    fn cookie_demanded(
        &mut self,
        now: Instant,
        sa: &mut IkeSa,
        path: Path,
        message: Message,
        cookie: Vec<u8>,
        len: usize,
    ) {
        let Phase::InitSent(mut wait) = std::mem::replace(&mut sa.phase, Phase::Moving) else { return };
        let header = message.header;
        let mut follow = (1..=64).contains(&cookie.len());
        self.decide(now, sa, Decision::ReturnCookie(&mut follow));
        let asked_before = wait.late_cookies > 0;
        wait.late_cookies -= u8::from(asked_before);
        if asked_before && wait.cookie.as_ref() != Some(&cookie) {
            // It answers a repeat of a request without the cookie, which was sent meanwhile. To follow it would be to ask
            // anew while the peer answers what has the cookie, and each end would sign for another request (2.15).
            sa.phase = Phase::InitSent(wait);
            let what = "a cookie for a request that was sent again before";
            return self.ignore(Some(sa.who()), path, Some(header), IgnoredWhy::Repeat, what);
        }
        if wait.cookie.as_ref() == Some(&cookie) || !follow {
            // Demanded again although we sent it: a late repeat, or a loop. Retransmission decides which.
            wait.complaint = Some(Failure::Misbehaved(PeerMisbehaved::CookieLoop(wait.cookie_retries + 1)));
            sa.phase = Phase::InitSent(wait);
            return self.ignore(Some(sa.who()), path, Some(header), IgnoredWhy::Repeat, "the same cookie again");
        }
        self.trace_received(sa, path, message, len);
        wait.cookie_retries += 1;
        if wait.cookie_retries > sa.spec.behaviour.cookie_retries {
            wait.cookie_retries -= 1;
            let why = Failure::Misbehaved(PeerMisbehaved::CookieLoop(wait.cookie_retries + 1));
            sa.phase = Phase::InitSent(wait);
            return self.doubt_init(now, sa, path, &header, why);
        }
        let repeats = sa.window.outstanding().map_or(0, |request| request.sent.saturating_sub(1));
        wait.late_cookies = wait.late_cookies.saturating_add(repeats);
        wait.cookie = Some(cookie);
        self.send_init(now, sa, wait);
    }

    /// The responder wants another group (RFC 7296 1.2, 2.7); it must be one that we offered.
    fn group_demanded(
        &mut self,
        now: Instant,
        sa: &mut IkeSa,
        path: Path,
        message: Message,
        wanted: Option<KeMethod>,
        len: usize,
    ) {
        let Phase::InitSent(mut wait) = std::mem::replace(&mut sa.phase, Phase::Moving) else { return };
        let header = message.header;
        let offered =
            wanted.filter(|w| sa.spec.ike_proposals.iter().flat_map(ProposalSpec::ke_methods).any(|o| o == *w));
        if offered == Some(wait.group) {
            wait.complaint = Some(Failure::Misbehaved(PeerMisbehaved::InvalidKeLoop(wait.ke_retries + 1)));
            sa.phase = Phase::InitSent(wait);
            return self.ignore(Some(sa.who()), path, Some(header), IgnoredWhy::Repeat, "the group we sent");
        }
        self.trace_received(sa, path, message, len);
        let Some(group) = offered.filter(|g| Group::from_method(*g).is_some()) else {
            let why = Failure::Misbehaved(PeerMisbehaved::UnofferedGroup(wanted.unwrap_or(KeMethod::NONE)));
            sa.phase = Phase::InitSent(wait);
            return self.doubt_init(now, sa, path, &header, why);
        };
        let mut follow = true;
        self.decide(now, sa, Decision::FollowInvalidKe(group, &mut follow));
        if !follow {
            wait.complaint = Some(Failure::Rejected {
                notify: NotifyType::INVALID_KE_PAYLOAD,
                data: group.0.to_be_bytes().to_vec(),
                protected: false,
            });
            sa.phase = Phase::InitSent(wait);
            return;
        }
        wait.ke_retries += 1;
        if wait.ke_retries > sa.spec.behaviour.invalid_ke_retries {
            wait.ke_retries -= 1;
            let why = Failure::Misbehaved(PeerMisbehaved::InvalidKeLoop(wait.ke_retries + 1));
            sa.phase = Phase::InitSent(wait);
            return self.doubt_init(now, sa, path, &header, why);
        }
        wait.group = group;
        wait.keypair = self.fresh_keypair(sa, group);
        self.send_init(now, sa, wait);
    }

    /// An unprotected complaint or a bad answer: believed, remembered or ignored, by policy (RFC 7296 2.21.1), and never
    /// believed once some answer has led to keys.
    fn doubt_init(&mut self, now: Instant, sa: &mut IkeSa, path: Path, header: &Header, why: Failure) {
        let policy = sa.spec.behaviour.unprotected_errors;
        let text = why.to_string();
        if let Phase::InitSent(wait) = &mut sa.phase {
            match policy {
                UnprotectedErrors::Believe => {
                    let by = if matches!(why, Failure::Rejected { .. }) { Side::Peer } else { Side::Us };
                    return self.fail(now, sa, ExchangeType::IKE_SA_INIT, by, why, false);
                }
                UnprotectedErrors::Wait(grace) => {
                    wait.complaint = Some(why);
                    if sa.alarms.half_open == Instant::MAX {
                        sa.alarms.half_open = self.timer(now, sa, Timer::HalfOpen, grace).unwrap_or(Instant::MAX);
                    }
                }
                UnprotectedErrors::Ignore => wait.complaint = Some(why),
            }
        }
        self.ignore(Some(sa.who()), path, Some(*header), IgnoredWhy::UnprotectedError, &text);
    }

    /// A whole answer: derive keys from it and go on to IKE_AUTH, without forgetting how to accept another one.
    fn accept_init(&mut self, now: Instant, sa: &mut IkeSa, path: Path, decoded: &crate::wire::Decoded, bytes: &[u8]) {
        let header = &decoded.header;
        let known = match &sa.phase {
            Phase::AuthSent(wait) => wait.candidates.iter().any(|c| c.response == bytes),
            _ => false,
        };
        if known {
            return self.ignore(Some(sa.who()), path, Some(*header), IgnoredWhy::Repeat, "");
        }
        let wait = match &sa.phase {
            Phase::InitSent(wait) => wait,
            Phase::AuthSent(wait) if wait.eap.is_some() => {
                return self.ignore(Some(sa.who()), path, Some(*header), IgnoredWhy::Unacceptable, "EAP has begun");
            }
            Phase::AuthSent(wait) if wait.candidates.len() < super::auth::MAX_CANDIDATES => &wait.init,
            _ => {
                return self.ignore(Some(sa.who()), path, Some(*header), IgnoredWhy::Limit, "too many answers");
            }
        };
        let candidate = match self.candidate(now, sa, wait, path, decoded, bytes) {
            Ok(candidate) => candidate,
            Err(why) => {
                let message = Message { header: *header, outer: decoded.payloads.clone(), sk: None };
                self.trace_received(sa, path, message, bytes.len());
                return self.doubt_init(now, sa, path, header, Failure::Misbehaved(why));
            }
        };
        if self.cfg.trace {
            let message = Message { header: *header, outer: decoded.payloads.clone(), sk: None };
            self.trace_received(sa, path, message, bytes.len());
        }
        if sa.spec.behaviour.childless == Childless::Force && !candidate.childless {
            let why = "the peer does not announce CHILDLESS_IKEV2_SUPPORTED (RFC 6023), and we insist on it";
            return self.doubt_init(now, sa, path, header, Failure::Local(LocalFault::Other(why.into())));
        }
        self.send_auth(now, sa, candidate);
    }

    /// Screens an answer and derives its keys; consumes nothing.
    fn candidate(
        &mut self,
        now: Instant,
        sa: &IkeSa,
        wait: &AwaitInitResponse,
        path: Path,
        decoded: &crate::wire::Decoded,
        bytes: &[u8],
    ) -> Result<Box<Candidate>, PeerMisbehaved> {
        let parts = Parts::of(&decoded.payloads);
        if let Some(kind) = parts.critical {
            return Err(PeerMisbehaved::CriticalPayload(kind));
        }
        let missing = PeerMisbehaved::MissingPayload;
        let answer = parts.sa.ok_or(missing(PayloadType::SA))?;
        let ke = parts.ke.ok_or(missing(PayloadType::KE))?;
        let nr = parts.nonce.ok_or(missing(PayloadType::NONCE))?;
        if decoded.header.spi_r == IkeSpi::ZERO {
            return Err(PeerMisbehaved::MalformedChoice("the responder's SPI is zero".into()));
        }
        let chosen = verify_choice(answer, &sa.spec.ike_proposals, ProtocolId::IKE)?;
        let suite = IkeSuite::from_proposal(chosen).map_err(PeerMisbehaved::MalformedChoice)?;
        if ke.group != suite.ke.method() || ke.group != wait.group {
            return Err(PeerMisbehaved::WrongKeGroup { expected: wait.group, got: ke.group });
        }
        check_nonce(nr, &suite)?;
        let shared = wait.keypair.agree(&ke.data).map_err(|e| PeerMisbehaved::BadKeyExchange(e.to_string()))?;
        let mut suite = suite;
        self.decide(now, sa, Decision::Suite(&mut suite));
        let spis = (sa.spis.0, decoded.header.spi_r);
        let keys = IkeKeys::derive(&suite, &wait.ni, nr, spis.0, spis.1, shared.as_ref());
        let nat = natt::inspect(sa.spec.nat.traversal, spis, &path, &decoded.payloads);
        Ok(Box::new(Candidate {
            spi_r: spis.1,
            suite,
            keys,
            nr: nr.to_vec(),
            response: bytes.to_vec(),
            nat,
            vendor_ids: parts.vendor_ids,
            peer_fragments: parts.fragmentation,
            takes: parts.takes,
            path: sa.path,
            datagrams: Vec::new(),
            reassembly: None,
            fragments: Split::Never,
            childless: parts.childless,
        }))
    }

    /// What to report when a handshake is given up.
    pub(super) fn init_complaint(sa: &IkeSa) -> Option<Failure> {
        match &sa.phase {
            Phase::InitSent(wait) => wait.complaint.clone(),
            Phase::AuthSent(wait) => wait.complaint.clone(),
            _ => None,
        }
    }
}

impl Core {
    /// A half-open IKE SA has waited long enough, or an unprotected error has.
    pub(super) fn half_open_expired(&mut self, now: Instant, sa: &mut IkeSa) {
        if sa.initiator {
            let why = Self::init_complaint(sa).unwrap_or(Failure::Local(LocalFault::HalfOpenExpired));
            let by = if matches!(why, Failure::Rejected { .. }) { Side::Peer } else { Side::Us };
            return self.fail(now, sa, ExchangeType::IKE_SA_INIT, by, why, false);
        }
        let why = Failure::Local(LocalFault::HalfOpenExpired);
        self.fail(now, sa, ExchangeType::IKE_AUTH, Side::Us, why, false);
    }
}

// Both sides.

impl Core {
    /// Says that keys exist, and what they are if asked.
    pub(super) fn init_done(
        &mut self,
        sa: &IkeSa,
        suite: IkeSuite,
        keys: &IkeKeys,
        nat: NatFinding,
        vendor_ids: Vec<Vec<u8>>,
        peer_fragments: bool,
    ) {
        let done = InitDone { initiator: sa.initiator, spis: sa.spis, suite, nat, vendor_ids, peer_fragments };
        self.events.push_back((sa.tunnel, sa.id, Event::InitDone(Box::new(done))));
        self.export_keys(sa, suite, keys);
    }

    /// Gives away the keys, if asked. Of several for the same SPIs the last ones are those in use.
    pub(super) fn export_keys(&mut self, sa: &IkeSa, suite: IkeSuite, keys: &IkeKeys) {
        if self.cfg.export_keys {
            let secret = |octets: &[u8]| Secret::from(octets.to_vec());
            let export = IkeKeyExport {
                spis: sa.spis,
                suite,
                sk_ei: secret(keys.ei()),
                sk_er: secret(keys.er()),
                sk_ai: secret(keys.ai()),
                sk_ar: secret(keys.ar()),
                sk_d: secret(keys.d()),
                sk_pi: secret(keys.pi()),
                sk_pr: secret(keys.pr()),
            };
            self.events.push_back((sa.tunnel, sa.id, Event::IkeKeys(Box::new(export))));
        }
    }

    pub(super) fn fresh_nonce(&mut self, now: Instant, sa: &mut IkeSa) -> Vec<u8> {
        let mut nonce = vec![0; NONCE];
        self.seeds.fill(sa.scope, Purpose::Nonce, sa.next_draw(), &mut nonce);
        self.secret(now, sa, SecretKind::Nonce, nonce)
    }

    /// A fresh key pair; for a group that we cannot compute, one of X25519 stands in and the peer will not take it.
    pub(super) fn fresh_keypair(&mut self, sa: &mut IkeSa, group: KeMethod) -> KeyPair {
        let group = Group::from_method(group).unwrap_or(Group::X25519);
        let mut stream = self.seeds.stream(sa.scope, Purpose::KeyExchange, sa.next_draw());
        KeyPair::generate(group, &mut stream)
    }

    /// Octets of ours before use, after their seam.
    pub(super) fn secret(&mut self, now: Instant, sa: &IkeSa, kind: SecretKind, mut octets: Vec<u8>) -> Vec<u8> {
        if let Some(tamper) = self.tamper.as_mut().filter(|_| sa.tampered) {
            tamper.secret(&sa.cx(now), kind, &mut octets);
        }
        octets
    }

    /// Our identity as it is sent and signed, after its seam.
    pub(super) fn our_id(&mut self, now: Instant, sa: &IkeSa) -> IdPayload {
        let honest = &sa.spec.local_id;
        if !sa.tampered {
            return honest.clone();
        }
        let body = self.secret(now, sa, SecretKind::Identity, honest.body());
        IdPayload::from_body(&body).unwrap_or_else(|| honest.clone())
    }

    /// A decision of an IKE SA, after its seam.
    pub(super) fn decide(&mut self, now: Instant, sa: &IkeSa, decision: Decision<'_>) {
        if let Some(tamper) = self.tamper.as_mut().filter(|_| sa.tampered) {
            tamper.decide(&sa.cx(now), decision);
        }
    }
}

/// RFC 7296 2.10: 16 to 256 octets, and at least half the key size of the PRF.
pub(super) fn check_nonce(nonce: &[u8], suite: &IkeSuite) -> Result<(), PeerMisbehaved> {
    let least = (suite.prf.key_len() / 2).max(16);
    if (least..=256).contains(&nonce.len()) { Ok(()) } else { Err(PeerMisbehaved::BadNonce(nonce.len())) }
}

pub(super) fn vendor_ids(spec: &ConnectionSpec) -> impl Iterator<Item = Payload> + '_ {
    spec.behaviour.vendor_ids.iter().map(|id| Payload::Vendor(VendorIdPayload { data: id.clone() }))
}

/// The path for everything after IKE_SA_INIT (RFC 7296 2.23): the NAT-T ports, if a NAT was found and both ends look.
pub(super) fn floated(spec: &ConnectionSpec, path: Path) -> Path {
    let mut floated = path;
    floated.role = SocketRole::NatT;
    floated.local.set_port(spec.local_ports.natt);
    floated.remote.set_port(spec.remote_ports.natt);
    floated
}
