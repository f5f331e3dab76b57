//! What the engine is told: connections, children, policies, limits.
//!
//! Everything in which one honest peer differs from another is data here (RFC 7296 leaves it open, or a vendor is
//! known for it). What no honest peer does is tampering and lives in [`super::tamper`].

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::esp_index::ChildCount;
use super::style::MessageStyle;
use crate::auth::eap::{AuthenticatorSpec, PeerSpec};
use crate::auth::{Credential, Trust};
use crate::crypto::Secret;
use crate::wire::registry::{IdType, KeMethod, ProtocolId, TransformType};
use crate::wire::{IdPayload, Proposal, TrafficSelector, Transform, same_dn};

/// One configured connection: what we are, what we accept, what we ask for.
#[derive(Clone, Debug)]
pub struct ConnectionSpec {
    /// Name for people.
    pub name: String,
    /// Our address; `None` means any local address.
    pub local_addr: Option<IpAddr>,
    /// The peer's address; `None` means any (responder only).
    pub remote_addr: Option<IpAddr>,
    /// Our UDP ports.
    pub local_ports: Ports,
    /// The peer's UDP ports.
    pub remote_ports: Ports,
    /// The identity we authenticate as (IDi as initiator, IDr as responder).
    pub local_id: IdPayload,
    /// Which identity of the peer we accept.
    pub remote_id: IdMatch,
    /// As initiator: name the peer's identity in IDr ("you Tarzan", RFC 7296 1.2) when `remote_id` is exact.
    pub send_idr: bool,
    /// How we prove who we are.
    pub local_auth: AuthSpec,
    /// How the peer must prove who it is.
    pub remote_auth: AuthSpec,
    /// IKE proposals in order of preference. The first KE method of the first one is the first guess.
    pub ike_proposals: Vec<ProposalSpec>,
    /// Child SAs. The first is negotiated in IKE_AUTH.
    pub children: Vec<ChildSpec>,
    /// Retransmission schedule of our requests.
    pub retransmit: RetransmitSpec,
    /// NAT detection and encapsulation.
    pub nat: NatSpec,
    /// Addresses may change (RFC 4555), if the peer agrees.
    pub mobike: Option<MobikeSpec>,
    /// Liveness checks (RFC 7296 2.4), if any.
    pub dpd: Option<DpdSpec>,
    /// Our lifetime of the IKE SA; IKEv2 does not negotiate it (RFC 7296 2.8).
    pub lifetime: Option<Duration>,
    /// Offer and accept RFC 7383 fragmentation.
    pub fragmentation: bool,
    /// Inner addresses (RFC 7296 2.19).
    pub cp: CpSpec,
    /// Choices the RFC leaves open.
    pub behaviour: Behaviour,
}

impl ConnectionSpec {
    /// True if either end proves itself with a certificate, so that signatures are spoken of (RFC 7427 4).
    pub fn uses_certificates(&self) -> bool {
        let with = |auth: &AuthSpec| matches!(auth, AuthSpec::Certificate(_) | AuthSpec::Trust(_));
        with(&self.local_auth) || with(&self.remote_auth)
    }
}

/// A pair of UDP ports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ports {
    /// IKE without the non-ESP marker; 500 by default.
    pub ike: u16,
    /// IKE and ESP behind NAT traversal; 4500 by default.
    pub natt: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Ports { ike: 500, natt: 4500 }
    }
}

/// Which peer identities are acceptable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum IdMatch {
    /// Whatever the peer says; only its authentication counts.
    Any,
    /// Exactly this type and value; a distinguished name by its meaning (RFC 5280 7.1).
    Exact(IdPayload),
}

impl IdMatch {
    /// True if `id` is acceptable.
    pub fn accepts(&self, id: &IdPayload) -> bool {
        match self {
            IdMatch::Any => true,
            IdMatch::Exact(wanted) if wanted.kind == IdType::ID_DER_ASN1_DN => {
                id.kind == wanted.kind && same_dn(&wanted.data, &id.data)
            }
            IdMatch::Exact(wanted) => wanted.kind == id.kind && wanted.data == id.data,
        }
    }
}

/// How one side authenticates.
#[derive(Clone, Debug)]
pub enum AuthSpec {
    /// A pre-shared key (RFC 7296 2.15), as raw octets.
    Psk(Arc<Secret>),
    /// Us: a signature with our certificate's key.
    Certificate(Arc<Credential>),
    /// The peer: a signature with the key of a certificate that leads to somebody we trust.
    Trust(Arc<Trust>),
    /// EAP, the peer's end (RFC 7296 2.16): only for ourselves, only as initiator.
    EapPeer(Arc<PeerSpec>),
    /// EAP, the authenticator's end: only for the other side, only as responder.
    EapAuthenticator(Arc<AuthenticatorSpec>),
    /// The responder's half of EAP-only authentication (RFC 5998): what EAP proves is all the proof there is.
    EapOnly,
}

/// Configuration payloads (RFC 7296 2.19): what an initiator asks for, what a responder hands out.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CpSpec {
    /// As initiator: ask for inner addresses.
    pub request: Option<CpRequest>,
    /// As responder: hand them out. Without a pool a request is ignored.
    pub pool: Option<Arc<PoolSpec>>,
    /// Children, by index, whose selectors follow the inner address: on our side for who asks, on the peer's for who hands
    /// out. Until there is one, their selectors hold whatever may come.
    pub dynamic: Vec<u16>,
}

/// What an initiator asks for. DNS servers, split networks and the version are asked for along with an address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CpRequest {
    /// An IPv4 address: this one if possible, 0.0.0.0 for any.
    pub v4: Option<Ipv4Addr>,
    /// An IPv6 address: this one if possible, :: for any.
    pub v6: Option<Ipv6Addr>,
}

/// What a responder hands out. An address is out until its IKE SA ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PoolSpec {
    /// First and last IPv4 address.
    pub v4: Option<(Ipv4Addr, Ipv4Addr)>,
    /// First and last IPv6 address.
    pub v6: Option<(Ipv6Addr, Ipv6Addr)>,
    /// Name servers.
    pub dns: Vec<IpAddr>,
    /// Networks that are to be reached through the tunnel, with prefix lengths.
    pub split: Vec<(IpAddr, u8)>,
    /// Refuse the Child SA of an initiator that does not ask (FAILED_CP_REQUIRED).
    pub required: bool,
    /// APPLICATION_VERSION, for those who ask.
    pub version: Option<String>,
}

/// A proposal as configured: transforms in order of preference, any number of each type.
///
/// An ESP proposal holds no KE transform here; [`ChildSpec::pfs`] adds it where a KE can travel.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ProposalSpec {
    /// The transforms, in the order in which they are sent.
    pub transforms: Vec<Transform>,
}

impl ProposalSpec {
    /// The KE methods offered, in order.
    pub fn ke_methods(&self) -> impl Iterator<Item = KeMethod> + '_ {
        self.transforms.iter().filter(|t| t.kind == TransformType::KE).map(|t| KeMethod(t.id))
    }

    /// The proposal as it is sent.
    pub fn to_wire(&self, number: u8, protocol: ProtocolId, spi: Vec<u8>) -> Proposal {
        Proposal { number, protocol, spi, transforms: self.transforms.clone() }
    }
}

/// One Child SA to negotiate.
#[derive(Clone, Debug)]
pub struct ChildSpec {
    /// Name for people.
    pub name: String,
    /// Tunnel or transport mode.
    pub mode: Mode,
    /// ESP proposals without KE transforms.
    pub proposals: Vec<ProposalSpec>,
    /// KE methods for perfect forward secrecy in CREATE_CHILD_SA, in order of preference; empty means none.
    pub pfs: Vec<KeMethod>,
    /// Selectors of our side.
    pub local_ts: Vec<TrafficSelector>,
    /// Selectors of the peer's side.
    pub remote_ts: Vec<TrafficSelector>,
    /// Our lifetime of the Child SA.
    pub lifetime: Option<Duration>,
}

/// Encapsulation mode of a Child SA.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// Whole packets inside ESP.
    #[default]
    Tunnel,
    /// USE_TRANSPORT_MODE (RFC 7296 1.3.1).
    Transport,
}

/// When a request is sent again (RFC 7296 2.1: the requester retransmits, exponentially backed off).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RetransmitSpec {
    /// Wait after the first transmission.
    pub initial: Duration,
    /// Each further wait is the last one times this many hundredths.
    pub factor_percent: u32,
    /// No single wait is longer than this.
    pub max_wait: Duration,
    /// Transmissions in total, the first one included.
    pub attempts: u8,
    /// Each wait is varied by up to this many percent either way, from the plan seed.
    pub jitter_percent: u8,
}

impl Default for RetransmitSpec {
    /// 1, 2, 4, 8, 16 and 30 seconds: gives up after 61 s and 6 transmissions. Shorter than the RFC's "several minutes",
    /// because a person is waiting.
    fn default() -> Self {
        RetransmitSpec {
            initial: Duration::from_secs(1),
            factor_percent: 200,
            max_wait: Duration::from_secs(30),
            attempts: 6,
            jitter_percent: 0,
        }
    }
}

impl RetransmitSpec {
    /// The wait after transmission number `attempt` (0 is the first one), without jitter.
    pub fn wait(&self, attempt: u8) -> Duration {
        let mut wait = self.initial;
        for _ in 0..attempt {
            wait = (wait * self.factor_percent / 100).min(self.max_wait);
        }
        wait.min(self.max_wait)
    }

    /// From the first transmission to giving up.
    pub fn total(&self) -> Duration {
        (0..self.attempts).map(|n| self.wait(n)).sum()
    }
}

/// NAT traversal policy (RFC 7296 2.23).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NatSpec {
    /// Whether to detect, force or forgo.
    pub traversal: NatTraversal,
    /// Interval of NAT keepalives when we are behind a NAT (RFC 3948 4); zero means none.
    pub keepalive: Duration,
}

impl Default for NatSpec {
    fn default() -> Self {
        NatSpec { traversal: NatTraversal::Auto, keepalive: Duration::from_secs(20) }
    }
}

/// How we do MOBIKE (RFC 4555).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MobikeSpec {
    /// Other addresses of ours to name to the peer (3.4).
    pub addresses: Vec<IpAddr>,
    /// Whether a peer that begins a tunnel may move; if not, it is answered UNACCEPTABLE_ADDRESSES.
    pub accept: bool,
    /// ESP follows a peer only once it has proved to be there (3.7).
    pub check: bool,
}

impl Default for MobikeSpec {
    fn default() -> Self {
        MobikeSpec { addresses: Vec::new(), accept: true, check: false }
    }
}

/// What to do about NATs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NatTraversal {
    /// Detect, and move to the NAT-T ports when a NAT is found.
    Auto,
    /// Pretend to be behind a NAT, so that both ends encapsulate.
    Force,
    /// Send no detection notifies and never move.
    Off,
}

/// Liveness checks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DpdSpec {
    /// Quiet time after which an empty INFORMATIONAL is sent.
    pub interval: Duration,
    /// Periodic, or only when traffic goes out and nothing comes in.
    pub mode: DpdMode,
    /// When a check is sent again; `None`: as any other request.
    pub retransmit: Option<RetransmitSpec>,
    /// What becomes of the tunnel when the peer is dead.
    pub action: DpdAction,
}

impl DpdSpec {
    /// Checks sent again as any other request; a dead peer's tunnel is gone.
    pub fn new(interval: Duration, mode: DpdMode) -> Self {
        DpdSpec { interval, mode, retransmit: None, action: DpdAction::Clear }
    }
}

/// What becomes of a tunnel whose peer is dead.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DpdAction {
    /// Nothing: it is gone.
    #[default]
    Clear,
    /// It is brought up again at once, by an IKE_SA_INIT of ours.
    Restart,
    /// It is brought up again when there is traffic for it.
    Hold,
}

/// When a liveness check is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DpdMode {
    /// Whenever nothing was heard for the interval.
    #[default]
    Periodic,
    /// Only when we sent traffic and heard nothing.
    OnDemand,
}

/// Choices that RFC 7296 leaves open, or in which boxes are known to differ.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Behaviour {
    /// Send INITIAL_CONTACT with the first IKE_AUTH (RFC 7296 2.4), and honour it from the peer.
    pub initial_contact: bool,
    /// Vendor ID payloads sent in IKE_SA_INIT.
    pub vendor_ids: Vec<Vec<u8>>,
    /// What an initiator does with an unprotected error in answer to IKE_SA_INIT (RFC 7296 2.21.1).
    pub unprotected_errors: UnprotectedErrors,
    /// As responder: answer NO_PROPOSAL_CHOSEN in IKE_SA_INIT (true) or stay silent.
    pub answer_no_proposal: bool,
    /// What happens to the IKE SA when its first Child SA fails.
    pub child_failure: ChildFailure,
    /// As responder: what to do with selectors wider than ours.
    pub narrowing: Narrowing,
    /// As initiator: accept selectors narrower than asked for.
    pub accept_narrowed: bool,
    /// As initiator: how many INVALID_KE_PAYLOAD answers are followed before giving up.
    pub invalid_ke_retries: u8,
    /// As initiator: how many COOKIE challenges are answered before giving up (RFC 7296 2.6 warns of loops).
    pub cookie_retries: u8,
    /// When SAs are renewed, and which CREATE_CHILD_SA requests are honoured.
    pub rekey: RekeySpec,
    /// As initiator: once the IKE SA is up, make the connection's other children too, by CREATE_CHILD_SA.
    pub all_children: bool,
    /// IKE_AUTH without a Child SA (RFC 6023).
    pub childless: Childless,
    /// How large messages are split, where both ends can ([`ConnectionSpec::fragmentation`]).
    pub fragments: FragmentSpec,
    /// How our messages are laid out; what is not named keeps the order of the RFC.
    pub style: Vec<MessageStyle>,
    /// As responder: never more than one selector for each side in a Child SA; the first pair of what would be answered.
    pub single_pair: bool,
    /// As initiator: how a responder learns that its identity is not accepted.
    pub unwelcome: Unwelcome,
}

/// What an initiator does about a responder whose identity it does not accept. The responder believes by then that the IKE
/// SA is up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unwelcome {
    /// Tell it by AUTHENTICATION_FAILED in an INFORMATIONAL exchange (RFC 7296 2.21.2).
    Told,
    /// Forget it without a word, so that it goes on believing.
    Left,
}

/// How our messages are split (RFC 7383).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FragmentSpec {
    /// Messages of more octets are split, and no fragment has more: the IKE message, without IP and UDP headers and without
    /// the non-ESP marker.
    pub size: u16,
    /// When the second repeat of a request was not answered, it is split anew into fragments of at most this many octets, and
    /// so is whatever follows (2.5.2). 0 for never.
    pub fallback: u16,
}

impl FragmentSpec {
    /// The least that a fragment may be limited to: a header, an IV, an ICV and some text.
    pub const LEAST: u16 = 200;
    /// What passes wherever IPv4 does: 576 octets less 28 of headers and 4 of marker, and a little for what a path adds.
    pub const SMALL: u16 = 540;
}

impl Default for FragmentSpec {
    /// What fits the smallest IPv6 packet of 1280 octets with 48 octets of headers and 4 of the non-ESP marker.
    fn default() -> Self {
        FragmentSpec { size: 1_228, fallback: 0 }
    }
}

/// Policy for IKE_AUTH without a Child SA (RFC 6023). An initiator then makes its children by CREATE_CHILD_SA.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Childless {
    /// Not announced and not accepted.
    Never,
    /// As responder: announced and accepted. As initiator: not used.
    Allow,
    /// As initiator: used if the responder announces it.
    Prefer,
    /// As initiator: used, and nothing comes up if the responder does not announce it. As responder: a Child SA in
    /// IKE_AUTH is refused with NO_ADDITIONAL_SAS.
    Force,
}

/// When SAs are renewed (RFC 7296 2.8). The lifetimes themselves are [`ConnectionSpec::lifetime`] and
/// [`ChildSpec::lifetime`]: at their end an SA is deleted, and its rekey begins a margin before that.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RekeySpec {
    /// The rekey begins this many percent of the lifetime before its end.
    pub margin_percent: u8,
    /// The margin as a time, instead of the percentage.
    pub margin: Option<Duration>,
    /// The rekey begins earlier still by up to this many percent of the lifetime, from the plan seed, so that two ends
    /// with the same lifetimes seldom collide.
    pub jitter_percent: u8,
    /// As original responder: rekey too. If not, lifetimes only delete.
    pub as_responder: bool,
    /// A Child SA is also at its end after this many octets, both directions together.
    pub child_bytes: Option<u64>,
    /// A Child SA is also at its end after this many packets, both directions together.
    pub child_packets: Option<u64>,
    /// Wait at least this long after TEMPORARY_FAILURE, and up to twice as long (RFC 7296 2.25).
    pub retry: Duration,
    /// Close the IKE SA when the peer has answered TEMPORARY_FAILURE for this long (RFC 7296 2.25).
    pub temporary_limit: Duration,
    /// Which CREATE_CHILD_SA requests are honoured.
    pub answer: CreateChildPolicy,
    /// As the end that began the tunnel: authenticate again after this long, by a new IKE_SA_INIT (RFC 7296 2.8.3). A
    /// rekey does not renew the authentication. The margin and the jitter come off, as with lifetimes.
    pub reauth_after: Option<Duration>,
    /// Which comes first then, for AUTH_LIFETIME of the peer's and for [`Command::Reauthenticate`] as well.
    pub reauth: ReauthOrder,
    /// As the end that began the tunnel: obey AUTH_LIFETIME (RFC 4478).
    pub obey_auth_lifetime: bool,
    /// As the other end: announce this AUTH_LIFETIME in whole seconds, and delete an IKE SA that outlives it (RFC 4478).
    pub auth_lifetime: Option<Duration>,
}

/// How an IKE SA is made anew from scratch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReauthOrder {
    /// The new IKE SA and its Child SAs come up, then the old one is deleted: no gap.
    MakeFirst,
    /// The old IKE SA is deleted, then the new one is made: traffic stops meanwhile.
    BreakFirst,
}

impl Default for RekeySpec {
    fn default() -> Self {
        RekeySpec {
            margin_percent: 10,
            margin: None,
            jitter_percent: 10,
            as_responder: true,
            child_bytes: None,
            child_packets: None,
            retry: Duration::from_secs(3),
            temporary_limit: Duration::from_secs(180),
            answer: CreateChildPolicy::All,
            reauth_after: None,
            reauth: ReauthOrder::MakeFirst,
            obey_auth_lifetime: true,
            auth_lifetime: None,
        }
    }
}

impl RekeySpec {
    /// From when to when after the beginning of a lifetime of `whole` its rekey begins.
    pub fn window(&self, whole: Duration) -> (Duration, Duration) {
        (self.soft(whole, u32::MAX), self.soft(whole, 0))
    }

    /// What remains of `whole` when the rekey begins; `noise` in 0..=u32::MAX draws the jitter.
    pub(crate) fn soft(&self, whole: Duration, noise: u32) -> Duration {
        let percent = |n: u8| whole.mul_f64(f64::from(n.min(100)) / 100.0);
        let margin = self.margin.unwrap_or_else(|| percent(self.margin_percent));
        let jitter = percent(self.jitter_percent).mul_f64(f64::from(noise) / f64::from(u32::MAX));
        // A margin as long as the lifetime would rekey without end.
        whole.saturating_sub(margin).saturating_sub(jitter).max(whole / 10)
    }
}

/// Which CREATE_CHILD_SA requests an answerer honours (RFC 7296 1.3: it may refuse them).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CreateChildPolicy {
    /// All of them.
    All,
    /// Rekeys, but no additional Child SAs: NO_ADDITIONAL_SAS.
    RekeyOnly,
    /// None, as a minimal implementation may: NO_ADDITIONAL_SAS.
    Nothing,
}

impl Default for Behaviour {
    fn default() -> Self {
        Behaviour {
            initial_contact: true,
            vendor_ids: Vec::new(),
            unprotected_errors: UnprotectedErrors::Believe,
            answer_no_proposal: true,
            child_failure: ChildFailure::KeepIkeSa,
            narrowing: Narrowing::Narrow,
            accept_narrowed: true,
            invalid_ke_retries: 3,
            cookie_retries: 3,
            rekey: RekeySpec::default(),
            all_children: true,
            childless: Childless::Allow,
            fragments: FragmentSpec::default(),
            style: Vec::new(),
            single_pair: false,
            unwelcome: Unwelcome::Told,
        }
    }
}

/// Policy for an unprotected error notify before keys exist (RFC 7296 2.21.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnprotectedErrors {
    /// The exchange has failed at once: a person in a lab wants to know now.
    Believe,
    /// Remember it, go on for this long in the hope of a valid answer, then fail with it.
    Wait(Duration),
    /// Count it and go on retransmitting.
    Ignore,
}

/// What becomes of an IKE SA whose first Child SA was refused (RFC 7296 1.2: it stays up).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChildFailure {
    /// As the RFC says.
    KeepIkeSa,
    /// Delete it, as IOS-XE is seen to do.
    DeleteIkeSa,
}

/// A responder's policy for traffic selectors (RFC 7296 2.9).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Narrowing {
    /// Answer with the intersection.
    Narrow,
    /// Refuse with TS_UNACCEPTABLE unless what is asked for lies within what is configured.
    RefuseWider,
}

/// What all connections of an endpoint share.
#[derive(Clone, Debug)]
pub struct EndpointConfig {
    /// Connections, in order of preference for a responder's look-up.
    pub connections: Vec<Arc<ConnectionSpec>>,
    /// Half-open accounting and cookies.
    pub limits: Limits,
    /// Emit [`super::Event::Message`] for every message: for transcripts; off under load.
    pub trace: bool,
    /// Emit [`super::Event::IkeKeys`] and key material in Child events' exports; off unless keys are asked for.
    pub export_keys: bool,
    /// First octet of every IKE and ESP SPI of ours: the shard that owns the SA. `None`: random.
    pub shard: Option<u8>,
    /// Separates the scopes of several endpoints that share seeds.
    pub salt: u64,
    /// Refuse whatever is not answered by a connection's name: accept new IKE SAs as responder at all.
    pub respond: bool,
    /// With others that stand for the same box: [`Limits::max_child_sas`] holds for all of them together. An endpoint keeps
    /// the count that it was made with.
    pub children: Option<Arc<ChildCount>>,
}

impl Default for EndpointConfig {
    fn default() -> Self {
        EndpointConfig {
            connections: Vec::new(),
            limits: Limits::default(),
            trace: true,
            export_keys: false,
            shard: None,
            salt: 0,
            respond: true,
            children: None,
        }
    }
}

/// Responder limits (RFC 7296 2.6).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Demand a cookie from everybody once this many IKE SAs are half open; 0 means always; `None` never.
    pub cookie_threshold: Option<u32>,
    /// Demand a cookie from an address once this many IKE SAs of it are half open; `None` never.
    pub cookie_threshold_per_address: Option<u32>,
    /// Drop IKE_SA_INIT silently once this many IKE SAs are half open.
    pub max_half_open: u32,
    /// Drop IKE_SA_INIT silently once this many IKE SAs of one source address are half open; `None` means no limit.
    pub max_half_open_per_address: Option<u32>,
    /// Answer no IKE_SA_INIT beyond this many IKE SAs in all.
    pub max_ike_sas: Option<u32>,
    /// Refuse a further Child SA with NO_ADDITIONAL_SAS (RFC 7296 1.3) once there are this many, as boxes do that are
    /// licensed for a number of tunnels; `None` means no limit.
    pub max_child_sas: Option<u32>,
    /// A half-open IKE SA is forgotten after this long.
    pub half_open_timeout: Duration,
    /// A closed IKE SA still answers repeats for this long. Where the answer that says why is lost, the peer learns the
    /// reason from a repeat only, and peers wait 4, 7 and 13 seconds between theirs.
    pub linger: Duration,
    /// Requests handled at once by stateless replies per second (INVALID_IKE_SPI and the like, RFC 7296 2.21.4).
    pub stateless_per_second: u32,
    /// Octets that the unfinished fragmented messages of all peers may hold together; those of peers that are not
    /// authenticated get half of it.
    pub fragment_octets: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            cookie_threshold: Some(1000),
            cookie_threshold_per_address: None,
            max_half_open: 65_535,
            max_half_open_per_address: None,
            max_ike_sas: None,
            max_child_sas: None,
            half_open_timeout: Duration::from_secs(30),
            linger: Duration::from_secs(30),
            stateless_per_second: 100,
            fragment_octets: 16 << 20,
        }
    }
}

/// Number of the tunnel an IKE SA serves: chosen by the driver for an initiator, counted up by a responder.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct TunnelId(pub u64);

impl fmt::Display for TunnelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tunnel {}", self.0)
    }
}

/// Handle of an IKE SA in its endpoint: slot and generation, so that a stale handle is recognised.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SaId {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

/// Which end did or found something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// This endpoint.
    Us,
    /// The peer.
    Peer,
}

/// What a driver may ask of an established IKE SA.
#[derive(Clone, Debug)]
pub enum Command {
    /// Delete the IKE SA and everything below it (RFC 7296 1.4.1).
    Delete,
    /// Send an empty INFORMATIONAL now (RFC 7296 2.4).
    Liveness,
    /// Send an INFORMATIONAL that carries this notify.
    Notify(crate::wire::NotifyPayload),
    /// Delete one Child SA, named by our inbound SPI.
    DeleteChild(u32),
    /// Rekey one Child SA, named by our inbound SPI (RFC 7296 1.3.3).
    RekeyChild(u32),
    /// Rekey one Child SA with another key exchange than the connection asks for, to learn whether the peer takes it.
    RekeyChildWith(u32, Pfs),
    /// Rekey the IKE SA (RFC 7296 1.3.2).
    RekeyIke,
    /// Negotiate another Child SA, by its name in the connection (RFC 7296 1.3.1).
    NewChild(String),
    /// Make the IKE SA anew from scratch, with a new IKE_SA_INIT (RFC 7296 2.8.3), in the order that the connection says.
    /// Only the end that began the tunnel can.
    Reauthenticate,
    /// We are at this address and port from now on (RFC 4555 3.5). Only the end that began the tunnel can move, and only
    /// where both ends have MOBIKE.
    Move(SocketAddr),
}

/// Perfect forward secrecy of a Child SA's rekey that is ordered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Pfs {
    /// As the connection says.
    #[default]
    AsConfigured,
    /// No key exchange.
    Without,
    /// This key exchange method and no other.
    With(KeMethod),
}

impl Pfs {
    /// The methods to offer, where `configured` is what the connection says.
    pub(crate) fn methods(self, configured: &[KeMethod]) -> Vec<KeMethod> {
        match self {
            Pfs::AsConfigured => configured.to_vec(),
            Pfs::Without => Vec::new(),
            Pfs::With(method) => vec![method],
        }
    }
}

/// Why a command was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CommandError {
    /// The handle is stale.
    #[error("no such IKE SA")]
    NoSuchSa,
    /// The IKE SA has no keys yet, or is closing.
    #[error("the IKE SA is not established")]
    NotEstablished,
    /// No Child SA has this inbound SPI, or no configured child has this name.
    #[error("no such Child SA")]
    NoSuchChild,
    /// Only the end that began the tunnel can authenticate again.
    #[error("the peer began this tunnel, so only the peer can authenticate again")]
    NotOurs,
    /// Only the end that began the tunnel can move, and only where both ends have MOBIKE.
    #[error("this end cannot move: the peer began the tunnel, or the ends have not agreed on MOBIKE")]
    CannotMove,
}
