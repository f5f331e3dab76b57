//! The endpoint: demultiplexing, the table of IKE SAs, timers, and the queues to the outside.
//!
//! Handling an IKE SA takes it out of its slot, so that the handlers of an exchange can hold it and the rest of the
//! endpoint ([`Core`]) at once; [`Endpoint::with_sa`] puts it back and re-registers its timer.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::sync::Arc;

use super::config_payload::Leases;
use super::cookie::CookieJar;
use super::counters::Counters;
use super::esp_index::EspIndex;
use super::event::{Event, Ignored, IgnoredWhy};
use super::fragment::{Ledger, SMALLER_AFTER};
use super::info::Request;
use super::rekey::{EspNote, SaView, Try};
use super::sa::{IkeSa, InitKey, Phase, Standing};
use super::spec::{Command, CommandError, ConnectionSpec, EndpointConfig, SaId, Side, TunnelId};
use super::stateless::RateLimit;
use super::table::Table;
use super::tamper::{Deliver, RecvCx, Tamper, Trigger};
use super::timer::Timer;
use super::window::{Arrival, Due, wait};
use crate::net::{Class, Path, SocketRole, Transmit};
use crate::seed::{Purpose, Scope, Seeds};
use crate::time::{Instant, UnixTime};
use crate::wire::registry::{ExchangeType, PayloadType};
use crate::wire::{Header, IkeSpi, decode};

/// A sans-IO IKEv2 endpoint: any number of IKE SAs, both roles. One per thread.
///
/// A driver hands it datagrams and the time, then drains [`Endpoint::poll_event`], then [`Endpoint::poll_transmit`],
/// then sleeps until [`Endpoint::poll_timeout`].
pub struct Endpoint {
    core: Core,
}

/// Everything of an endpoint. The IKE SA being handled is out of its slot in the table.
pub(super) struct Core {
    pub table: Table,
    pub cfg: Arc<EndpointConfig>,
    pub seeds: Seeds,
    pub epoch: UnixTime,
    pub by_spi: HashMap<IkeSpi, SaId>,
    pub by_esp: EspIndex,
    pub by_init: HashMap<InitKey, SaId>,
    pub by_peer: BTreeSet<(NonZeroU64, SaId)>,
    pub half_open_by_address: HashMap<IpAddr, u32>,
    pub timers: BTreeSet<(Instant, SaId)>,
    pub held: BTreeMap<(Instant, u64), Held>,
    pub(super) held_count: u64,
    pub events: VecDeque<(TunnelId, SaId, Event)>,
    pub outbox: VecDeque<Transmit>,
    pub tamper: Option<Box<dyn Tamper>>,
    pub counters: Counters,
    pub cookies: CookieJar,
    pub stateless: RateLimit,
    pub next_tunnel: u64,
    pub jitter: u64,
    /// IKE SAs to close because a newer one announced INITIAL_CONTACT.
    pub replaced: Vec<SaId>,
    /// Tunnels of dead peers that wait for traffic.
    pub on_hold: Vec<super::liveness::OnHold>,
    /// Scopes given to IKE SAs as responder at this instant.
    pub scopes: (Instant, HashSet<Scope>),
    /// IKE SAs begun so far, by tunnel.
    pub attempts: HashMap<u64, u32>,
    pub screening: super::screen::Screening,
    /// Inner addresses given out.
    pub leases: Leases,
    /// What unfinished messages hold.
    pub unfinished: Ledger,
}

/// Something a rule held back.
pub(super) enum Held {
    Transmit(Transmit),
    Deliver(Path, Vec<u8>),
    /// The datagrams of a message that the seam for accepted messages has seen already.
    Accepted(Path, Vec<Vec<u8>>),
    Wake(SaId),
}

impl SaId {
    /// Stands where a datagram belongs to no IKE SA.
    pub const NONE: SaId = SaId { slot: u32::MAX, generation: u32::MAX };
}

impl TunnelId {
    /// Stands where a datagram belongs to no tunnel.
    pub const NONE: TunnelId = TunnelId(u64::MAX);
}

impl Endpoint {
    /// An endpoint with no IKE SAs. `epoch` is the wall-clock time of [`Instant::ZERO`].
    pub fn new(cfg: Arc<EndpointConfig>, seeds: Seeds, epoch: UnixTime) -> Self {
        let cookies = CookieJar::new(cfg.salt);
        let stateless = RateLimit::new(cfg.limits.stateless_per_second);
        let by_esp = EspIndex::new(cfg.children.clone());
        let core = Core {
            table: Table::default(),
            cfg,
            seeds,
            epoch,
            by_spi: HashMap::new(),
            by_esp,
            by_init: HashMap::new(),
            by_peer: BTreeSet::new(),
            half_open_by_address: HashMap::new(),
            timers: BTreeSet::new(),
            held: BTreeMap::new(),
            held_count: 0,
            events: VecDeque::new(),
            outbox: VecDeque::new(),
            tamper: None,
            counters: Counters::default(),
            cookies,
            stateless,
            // A responder's tunnels are numbered apart from those that a driver numbers.
            next_tunnel: 1 << 32,
            jitter: 0,
            replaced: Vec::new(),
            on_hold: Vec::new(),
            scopes: (Instant::ZERO, HashSet::new()),
            attempts: HashMap::new(),
            screening: Default::default(),
            leases: Leases::default(),
            unfinished: Ledger::default(),
        };
        Endpoint { core }
    }

    /// Installs the bender of the engine. IKE SAs made from now on are asked about.
    pub fn set_tamper(&mut self, tamper: Box<dyn Tamper>) {
        self.core.tamper = Some(tamper);
    }

    /// Takes the bender of the engine out again, for another endpoint.
    pub fn take_tamper(&mut self) -> Option<Box<dyn Tamper>> {
        self.core.tamper.take()
    }

    /// The configuration for IKE SAs made from now on.
    pub fn config(&self) -> &Arc<EndpointConfig> {
        &self.core.cfg
    }

    /// Replaces the configuration for IKE SAs made from now on.
    pub fn set_config(&mut self, cfg: Arc<EndpointConfig>) {
        self.core.cfg = cfg;
    }

    /// Starts a connection as initiator from `local`, an address of this host that `spec.remote_addr` (which must be
    /// there) can reach. IKE_SA_INIT waits in [`Endpoint::poll_transmit`].
    pub fn connect(&mut self, now: Instant, spec: Arc<ConnectionSpec>, tunnel: TunnelId, local: IpAddr) -> SaId {
        let remote = spec.remote_addr.expect("an initiator's connection names the peer's address");
        let path = Path {
            local: (local, spec.local_ports.ike).into(),
            remote: (remote, spec.remote_ports.ike).into(),
            role: SocketRole::Ike,
        };
        let id = self.core.table.allocate();
        let sa = self.core.start(now, id, spec, tunnel, path);
        self.core.put_back(id, sa);
        id
    }

    /// Orders something of an established IKE SA. It waits its turn while another request is outstanding.
    pub fn command(&mut self, now: Instant, id: SaId, command: Command) -> Result<(), CommandError> {
        let sa = self.get(id).ok_or(CommandError::NoSuchSa)?;
        let Phase::Established(up) = &sa.phase else { return Err(CommandError::NotEstablished) };
        if let Standing::Superseded(successor) = up.standing {
            return self.command(now, successor, command);
        }
        if up.closing {
            return Err(CommandError::NotEstablished);
        }
        if matches!(command, Command::Reauthenticate) {
            if !up.ours {
                return Err(CommandError::NotOurs);
            }
            self.with_sa(id, |core, sa| {
                core.reauthenticate(now, sa);
                core.pump(now, sa);
            });
            return Ok(());
        }
        if let Command::Move(local) = command {
            if !up.ours || up.mobike.is_none() {
                return Err(CommandError::CannotMove);
            }
            // The peer may not know the successor of a rekeyed IKE SA yet: then the old one has to tell it.
            let replaced = |old: &SaId| match self.get(*old).map(|sa| &sa.phase) {
                Some(Phase::Established(up)) => up.standing == Standing::Superseded(id),
                _ => false,
            };
            let replaced: Vec<SaId> = self.ids().into_iter().filter(replaced).collect();
            for id in replaced.into_iter().chain([id]) {
                self.with_sa(id, |core, sa| core.begin_move(now, sa, local));
            }
            return Ok(());
        }
        let request = match command {
            Command::Delete => Request::Delete,
            Command::Liveness => Request::Liveness,
            Command::Notify(notify) => Request::Notify(notify),
            Command::DeleteChild(spi) => {
                up.child(spi).ok_or(CommandError::NoSuchChild)?;
                Request::DeleteChild(spi)
            }
            Command::RekeyChild(spi) => {
                up.child(spi).ok_or(CommandError::NoSuchChild)?;
                Request::RekeyChild(spi, Try::default())
            }
            Command::RekeyChildWith(spi, pfs) => {
                up.child(spi).ok_or(CommandError::NoSuchChild)?;
                Request::RekeyChild(spi, Try { pfs, ..Try::default() })
            }
            Command::RekeyIke => Request::RekeyIke(Try::default()),
            Command::NewChild(name) => {
                let index = sa.spec.children.iter().zip(0..).find(|(c, _)| c.name == name).map(|(_, index)| index);
                Request::NewChild(index.ok_or(CommandError::NoSuchChild)?, Try::default())
            }
            Command::Reauthenticate | Command::Move(_) => unreachable!("seen to above"),
        };
        self.with_sa(id, |core, sa| {
            match request {
                Request::DeleteChild(spi) => sa.delete_child(spi),
                request => sa.enqueue(request),
            }
            core.pump(now, sa);
        });
        Ok(())
    }

    /// Leaves in good order: DELETE for each established IKE SA; those without keys are dropped.
    pub fn delete_all(&mut self, now: Instant) {
        for id in self.ids() {
            let established = self.get(id).is_some_and(|sa| match &sa.phase {
                Phase::Established(up) => up.standing == Standing::Current,
                _ => false,
            });
            if established {
                let _ = self.command(now, id, Command::Delete);
            } else {
                self.abandon(now, id);
            }
        }
    }

    /// Traffic of a Child SA, named by our inbound SPI: for lifetimes by volume, and because a packet on a new SA tells
    /// an answerer that the requester has it too (RFC 7296 2.8). Unknown SPIs are ignored.
    pub fn esp_activity(&mut self, now: Instant, spi_in: u32, note: EspNote) {
        let Some(&id) = self.core.by_esp.get(&spi_in) else { return };
        self.with_sa(id, |core, sa| core.esp_activity(now, sa, spi_in, note));
    }

    /// The IKE SAs with their Child SAs, in the order of the table.
    pub fn sas(&self) -> Vec<SaView> {
        self.ids().into_iter().filter_map(|id| self.get(id)).map(IkeSa::view).collect()
    }

    /// There is traffic for a tunnel. If its peer has died and it was to wait for traffic ([`super::DpdAction::Hold`]), it
    /// is brought up again by this IKE SA.
    pub fn wanted(&mut self, now: Instant, tunnel: TunnelId) -> Option<SaId> {
        self.core.wanted(now, tunnel)
    }

    /// Forgets an IKE SA without a word to the peer.
    pub fn abandon(&mut self, now: Instant, id: SaId) {
        self.with_sa(id, |core, sa| core.close(now, sa, false));
    }

    /// Handles one IKE message (without the non-ESP marker) that arrived on `path`; `path.local` is the address it was
    /// sent to. Decrypts in place. Never panics, whatever the octets.
    /// Says what a rule made of the datagram; without one that is [`Deliver::Yes`].
    pub fn handle_datagram(&mut self, now: Instant, path: Path, bytes: &mut Vec<u8>) -> Deliver {
        let mut fate = Deliver::Yes;
        if self.core.tamper.is_some() {
            fate = self.tampered_inbound(now, path, bytes);
            match fate {
                Deliver::Yes => {}
                Deliver::Drop => self.core.ignore(None, path, Header::read(bytes), IgnoredWhy::Tampered, ""),
                Deliver::HoldUntil(at) => self.core.hold(at, Held::Deliver(path, bytes.clone())),
                Deliver::Twice(after) => self.core.hold(now + after, Held::Deliver(path, bytes.clone())),
            }
        }
        if matches!(fate, Deliver::Yes | Deliver::Twice(_)) {
            self.deliver(now, path, bytes);
        }
        fate
    }

    /// Whether rules may bend it.
    pub fn is_tampered(&self) -> bool {
        self.core.tamper.is_some()
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((&(at, count), _)) = self.core.held.first_key_value() {
            if at > now {
                break;
            }
            match self.core.held.remove(&(at, count)) {
                Some(Held::Transmit(transmit)) => {
                    self.core.counters.transmitted += 1;
                    self.core.outbox.push_back(transmit);
                }
                Some(Held::Deliver(path, mut bytes)) => self.deliver(now, path, &mut bytes),
                Some(Held::Accepted(path, datagrams)) => {
                    self.core.screening.over = true;
                    for mut bytes in datagrams {
                        self.deliver(now, path, &mut bytes);
                    }
                    self.core.screening.over = false;
                }
                Some(Held::Wake(id)) => self.with_sa(id, |core, sa| {
                    let cx = sa.cx(now);
                    core.inject(now, sa, &Trigger::Timer(cx));
                }),
                None => {}
            }
        }
        while let Some(&(at, id)) = self.core.timers.first() {
            if at > now {
                break;
            }
            self.core.timers.remove(&(at, id));
            self.with_sa(id, |core, sa| {
                sa.scheduled = Instant::MAX;
                core.expire(now, sa);
            });
        }
    }

    /// The next event. Drain these before [`Endpoint::poll_transmit`]: an inbound ESP SA must be installed before the
    /// packet that announces its SPI leaves.
    pub fn poll_event(&mut self) -> Option<(TunnelId, SaId, Event)> {
        self.core.events.pop_front()
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.core.outbox.pop_front()
    }

    /// When [`Endpoint::handle_timeout`] wants to be called next, and why.
    pub fn poll_timeout(&self) -> Option<(Instant, Timer)> {
        let held = self.core.held.first_key_value().map(|(&(at, _), _)| (at, Timer::Held));
        let timer = self.core.timers.first().map(|&(at, id)| {
            let why = self.get(id).and_then(IkeSa::deadline).map_or(Timer::Linger, |(_, why)| why);
            (at, why)
        });
        held.into_iter().chain(timer).min()
    }

    /// Why what is under way in an IKE SA, if anything is, has not ended yet. For who gives up before the engine does.
    pub fn complaint(&self, id: SaId) -> Option<super::Failed> {
        self.get(id).and_then(Core::complaint)
    }

    /// Our SPI of an IKE SA; `None` if the handle is stale.
    pub fn our_spi(&self, id: SaId) -> Option<IkeSpi> {
        self.get(id).map(IkeSa::our_spi)
    }

    /// Lets an authenticated IKE SA go on with another copy of its connection: identity and key are needed in IKE_AUTH
    /// only, so that many tunnels that differ in nothing else can share one afterwards. Does nothing before that.
    pub fn share_spec(&mut self, id: SaId, spec: &Arc<ConnectionSpec>) {
        self.with_sa(id, |_, sa| {
            if matches!(sa.phase, Phase::Established(_)) {
                sa.spec = Arc::clone(spec);
            }
        });
    }

    /// IKE SAs in the table, closing ones included.
    pub fn sa_count(&self) -> usize {
        self.core.table.count()
    }

    /// Whether this inbound ESP SPI of ours is that of a Child SA whose negotiation has not ended.
    pub fn negotiates(&self, spi_in: u32) -> bool {
        let sa = self.core.by_esp.get(&spi_in).and_then(|id| self.core.table.get(*id));
        sa.is_some_and(|sa| sa.reserved_spi == Some(spi_in))
    }

    /// Octets that the unfinished fragmented messages of all peers hold now; [`Limits::fragment_octets`](super::Limits)
    /// bounds them.
    pub fn fragment_octets(&self) -> usize {
        self.core.unfinished.octets()
    }

    /// What was counted so far.
    pub fn counters(&self) -> &Counters {
        &self.core.counters
    }

    /// The table agrees with its indexes; for tests.
    #[doc(hidden)]
    pub fn check_invariants(&self) {
        let live: Vec<SaId> = self.ids();
        let all_live = |mut ids: Box<dyn Iterator<Item = &SaId> + '_>| ids.all(|id| live.contains(id));
        assert!(all_live(Box::new(self.core.by_spi.values())), "an SPI points to no IKE SA");
        assert!(all_live(Box::new(self.core.by_init.values())), "an IKE_SA_INIT points to no IKE SA");
        assert!(all_live(Box::new(self.core.by_esp.values())), "an ESP SPI points to no IKE SA");
        assert!(all_live(Box::new(self.core.by_peer.iter().map(|(_, id)| id))), "an identity points to no IKE SA");
        assert!(all_live(Box::new(self.core.timers.iter().map(|(_, id)| id))), "a timer without an IKE SA");
        for id in &live {
            let Some(sa) = self.get(*id) else { continue };
            let found = self.core.by_spi.get(&sa.our_spi());
            assert!(found == Some(id) || sa.tampered, "each IKE SA is found by its SPI");
        }
        assert!(self.core.by_spi.len() <= live.len(), "an SPI points to no IKE SA");
        assert!(self.core.by_init.len() <= live.len() && self.core.timers.len() <= live.len(), "one each at most");
        let half_open = live.iter().filter(|id| self.get(**id).is_some_and(IkeSa::is_half_open)).count();
        assert_eq!(self.core.counters.half_open as usize, half_open, "half-open accounting");
        let by_address: u32 = self.core.half_open_by_address.values().sum();
        assert_eq!(by_address as usize, half_open, "half-open accounting by address");
    }

    fn ids(&self) -> Vec<SaId> {
        self.core.table.ids()
    }

    fn get(&self, id: SaId) -> Option<&IkeSa> {
        self.core.table.get(id)
    }

    fn with_sa(&mut self, id: SaId, handle: impl FnOnce(&mut Core, &mut IkeSa)) {
        self.core.with_sa(id, handle);
    }

    fn tampered_inbound(&mut self, now: Instant, path: Path, bytes: &mut Vec<u8>) -> Deliver {
        let header = Header::read(bytes);
        let sa = header.as_ref().and_then(|h| self.core.by_spi.get(&our_spi(h))).and_then(|id| self.get(*id));
        let sa = sa.map(|sa| (sa.tampered, sa.cx(now)));
        let concerned = match &sa {
            Some((tampered, _)) => *tampered,
            None => {
                let spis = header.map(|h| (h.spi_i, h.spi_r)).unwrap_or_default();
                let cx = Core::no_sa(now, spis);
                self.core.tamper.as_mut().is_some_and(|tamper| tamper.concerns(&cx))
            }
        };
        let cx = RecvCx { sa: sa.map(|(_, cx)| cx), header, path, now };
        match self.core.tamper.as_mut().filter(|_| concerned) {
            Some(tamper) => tamper.inbound(&cx, bytes),
            None => Deliver::Yes,
        }
    }

    fn deliver(&mut self, now: Instant, path: Path, bytes: &mut [u8]) {
        let Some(header) = Header::read(bytes) else {
            return self.core.ignore(None, path, None, IgnoredWhy::NotIke, "shorter than an IKE header");
        };
        self.core.counters.received += 1;
        if header.length as usize != bytes.len() {
            let detail = format!("its header says {} octets, the datagram has {}", header.length, bytes.len());
            return self.core.ignore(None, path, Some(header), IgnoredWhy::NotIke, &detail);
        }
        if header.major() != 2 {
            return self.core.other_version(now, path, &header);
        }
        let request = !header.flags.is_response();
        if header.exchange == ExchangeType::IKE_SA_INIT && request {
            return self.init_request(now, path, &header, bytes);
        }
        let id = self.core.by_spi.get(&our_spi(&header)).copied();
        let known = id.and_then(|id| self.get(id)).filter(|sa| sa.knows_peer_spi(&header));
        let (Some(id), Some(sa)) = (id, known) else {
            return self.core.unknown_spi(now, path, &header);
        };
        // The initiator flag is the sender's original role (RFC 7296 3.1).
        if header.flags.is_initiator() == sa.initiator {
            return self.core.ignore(Some(sa.who()), path, Some(header), IgnoredWhy::WrongFlags, "");
        }
        self.with_sa(id, |core, sa| core.receive(now, sa, path, header, bytes));
        self.reap_replaced(now);
    }

    fn init_request(&mut self, now: Instant, path: Path, header: &Header, bytes: &[u8]) {
        if !self.core.cfg.respond {
            return self.core.ignore(None, path, Some(*header), IgnoredWhy::NoConnection, "not a responder");
        }
        let key = super::init::init_key(bytes, &path);
        if let Some(&id) = self.core.by_init.get(&key) {
            // Recognised by the whole packet, and answered from the cache while that still holds the answer.
            return self.with_sa(id, |core, sa| {
                if sa.is_half_open() {
                    core.answer_repeat(now, sa, path, header);
                }
                core.ignore(Some(sa.who()), path, Some(*header), IgnoredWhy::Repeat, "");
            });
        }
        let id = self.core.table.allocate();
        match self.core.answer_init(now, id, key, path, header, bytes) {
            Some(sa) => self.core.put_back(id, sa),
            None => {
                // Events named this handle: it must not come to name the next IKE SA in the slot.
                self.core.table.release(id);
            }
        }
    }

    /// Closes the IKE SAs that an INITIAL_CONTACT replaced (RFC 7296 2.4).
    fn reap_replaced(&mut self, now: Instant) {
        while let Some(id) = self.core.next_replaced() {
            self.with_sa(id, |core, sa| core.replaced(now, sa));
        }
    }
}

/// The SPI of ours in a received header: the receiver is the original responder if the sender is the initiator.
fn our_spi(header: &Header) -> IkeSpi {
    if header.flags.is_initiator() { header.spi_r } else { header.spi_i }
}

/// Not a fragment, or fragment number 1.
fn first_fragment(header: &Header, bytes: &[u8]) -> bool {
    let number = bytes.get(Header::LEN + 4..Header::LEN + 6);
    header.next != PayloadType::SKF || number == Some(&[0, 1][..])
}

impl IkeSa {
    pub(super) fn who(&self) -> (TunnelId, SaId) {
        (self.tunnel, self.id)
    }

    fn knows_peer_spi(&self, header: &Header) -> bool {
        if !self.initiator {
            return header.spi_i == self.spis.0;
        }
        match &self.phase {
            // Not known yet, or any of several answers may be the genuine one.
            Phase::InitSent(_) => header.exchange == ExchangeType::IKE_SA_INIT,
            Phase::AuthSent(wait) => {
                header.exchange == ExchangeType::IKE_SA_INIT || wait.candidates.iter().any(|c| c.spi_r == header.spi_r)
            }
            _ => header.spi_r == self.spis.1,
        }
    }
}

impl Core {
    /// One message for a known IKE SA.
    fn receive(&mut self, now: Instant, sa: &mut IkeSa, path: Path, header: Header, bytes: &mut [u8]) {
        if header.flags.is_response() {
            if header.exchange == ExchangeType::IKE_SA_INIT {
                return self.init_response(now, sa, path, &header, bytes);
            }
            if !sa.window.awaits(header.message_id, header.exchange) {
                return self.ignore(Some(sa.who()), path, Some(header), IgnoredWhy::UnexpectedResponse, "");
            }
        } else {
            match sa.window.arrival(header.message_id) {
                Arrival::New => {}
                Arrival::Repeat => {
                    // Of a fragmented request, only fragment 1 calls for the answer again (RFC 7383 2.6.1).
                    if first_fragment(&header, bytes) {
                        self.answer_in_kind(now, sa, &header, bytes.len());
                        self.answer_repeat(now, sa, path, &header);
                    }
                    return self.ignore(Some(sa.who()), path, Some(header), IgnoredWhy::Repeat, "");
                }
                Arrival::Outside => {
                    return self.ignore(Some(sa.who()), path, Some(header), IgnoredWhy::OutsideWindow, "");
                }
            }
        }
        if sa.tampered {
            self.screening.keep(sa.id, &header, bytes);
        }
        let decoded = match decode(bytes) {
            Ok(decoded) => decoded,
            Err(error) => {
                let detail = error.to_string();
                return self.ignore(Some(sa.who()), path, Some(header), IgnoredWhy::NotIke, &detail);
            }
        };
        if header.next == PayloadType::CISCO_FRAGMENT {
            let detail = "both ends must speak RFC 7383 for large messages, or none";
            return self.ignore(Some(sa.who()), path, Some(header), IgnoredWhy::CiscoFragment, detail);
        }
        if decoded.sk.is_none() {
            self.unprotected_hint(now, sa, &decoded);
            let detail = crate::wire::summary(&decoded.payloads, header.flags.is_response());
            return self.ignore(Some(sa.who()), path, Some(header), IgnoredWhy::Unprotected, &detail);
        }
        if header.flags.is_response() {
            match &sa.phase {
                Phase::AuthSent(_) => self.auth_response(now, sa, path, decoded, bytes),
                Phase::Established(_) => self.info_response(now, sa, path, decoded, bytes),
                _ => self.ignore(Some(sa.who()), path, Some(header), IgnoredWhy::UnexpectedResponse, ""),
            }
        } else {
            match &sa.phase {
                Phase::InitAnswered(_) => self.auth_request(now, sa, path, decoded, bytes),
                Phase::Established(_) => self.established_request(now, sa, path, decoded, bytes),
                _ => self.ignore(Some(sa.who()), path, Some(header), IgnoredWhy::UnexpectedExchange, ""),
            }
        }
    }

    /// Sends the cached response again, to where the repeat came from.
    fn answer_repeat(&mut self, now: Instant, sa: &mut IkeSa, path: Path, request: &Header) {
        self.counters.repeats_answered += 1;
        let header = sa.response_header(request);
        let cx = sa.msg_cx(now, &header, 1);
        self.transmit(&cx, sa.tampered, path, sa.window.cached());
    }

    /// An IKE SA's timer went off.
    fn expire(&mut self, now: Instant, sa: &mut IkeSa) {
        if sa.alarms.linger <= now {
            sa.alarms.linger = Instant::ZERO; // over: the slot is freed
            return;
        }
        if sa.alarms.half_open <= now {
            sa.alarms.half_open = Instant::MAX;
            return self.half_open_expired(now, sa);
        }
        if self.request_is_due(now, sa) {
            let schedule = sa.schedule().clone();
            match sa.window.due(&schedule) {
                Some(Due::Again { attempt }) => self.retransmit(now, sa, attempt),
                Some(Due::GiveUp { attempts }) => self.give_up(now, sa, attempts),
                None => {}
            }
        }
        if matches!(sa.phase, Phase::Closed) {
            return;
        }
        if sa.alarms.liveness <= now {
            self.liveness_due(now, sa);
        }
        if matches!(&sa.phase, Phase::Established(up) if up.lifetime() <= now) {
            self.lifetime_due(now, sa);
        }
        if sa.alarms.keepalive <= now {
            self.outbox.push_back(Transmit { path: sa.path, class: Class::Keepalive, bytes: vec![0xff] });
            let interval = sa.spec.nat.keepalive;
            sa.alarms.keepalive = self.timer(now, sa, Timer::Keepalive, interval).unwrap_or(Instant::MAX);
        }
    }

    /// Sends the outstanding request again, bit for bit.
    pub(super) fn retransmit(&mut self, now: Instant, sa: &mut IkeSa, attempt: u8) {
        if attempt == SMALLER_AFTER {
            self.ask_in_smaller_pieces(now, sa);
        }
        let Some(outstanding) = sa.window.outstanding() else { return };
        let exchange = outstanding.exchange;
        let mut header = sa.request_header(exchange);
        header.message_id = outstanding.id;
        let cx = sa.msg_cx(now, &header, attempt);
        self.counters.retransmits += 1;
        match &sa.phase {
            Phase::AuthSent(waiting) => {
                for candidate in &waiting.candidates {
                    let datagrams = candidate.datagrams.iter().map(Vec::as_slice);
                    self.transmit(&cx, sa.tampered, candidate.path, datagrams);
                }
            }
            _ => {
                let datagrams = outstanding.datagrams.iter().map(Vec::as_slice);
                self.transmit(&cx, sa.tampered, sa.path, datagrams);
            }
        }
        self.arm(now, sa, attempt);
        let of = sa.schedule().attempts;
        // As it was sent: while several answers to IKE_SA_INIT are followed up, the first one's.
        let (path, first) = match &sa.phase {
            Phase::AuthSent(waiting) => waiting.candidates.first().map(|c| (c.path, c.datagrams.first())),
            _ => Some((sa.path, sa.window.outstanding().and_then(|o| o.datagrams.first()))),
        }
        .unwrap_or((sa.path, None));
        let header = first.and_then(|datagram| Header::read(datagram)).unwrap_or(header);
        self.events.push_back((sa.tunnel, sa.id, Event::Retransmit { header, path, attempt: attempt + 1, of }));
    }

    /// Sets the retransmission timer after transmission number `attempt`.
    pub(super) fn arm(&mut self, now: Instant, sa: &mut IkeSa, attempt: u8) {
        let spec = &sa.schedule().clone();
        let noise = if spec.jitter_percent == 0 {
            0
        } else {
            self.jitter += 1;
            let mut octets = [0; 4];
            self.seeds.fill(Scope([0; 16]), Purpose::Jitter, self.jitter ^ (self.cfg.salt << 32), &mut octets);
            u32::from_be_bytes(octets)
        };
        let honest = wait(spec, attempt, noise);
        let wanted = self.timer(now, sa, Timer::Retransmit, honest);
        sa.window.arm(wanted);
    }

    /// Counts and reports what changed nothing.
    pub(super) fn ignore(
        &mut self,
        who: Option<(TunnelId, SaId)>,
        path: Path,
        header: Option<Header>,
        why: IgnoredWhy,
        detail: &str,
    ) {
        self.counters.ignored[why as usize] += 1;
        if !self.cfg.trace {
            return;
        }
        let (tunnel, sa) = who.unwrap_or((TunnelId::NONE, SaId::NONE));
        let ignored = Ignored {
            why,
            exchange: header.as_ref().map(|h| h.exchange),
            message_id: header.as_ref().map(|h| h.message_id),
            path,
            detail: detail.to_owned(),
        };
        self.events.push_back((tunnel, sa, Event::Ignored(Box::new(ignored))));
    }

    /// Ends an IKE SA. `linger` keeps it for a while to answer repeats.
    pub(super) fn close(&mut self, now: Instant, sa: &mut IkeSa, linger: bool) {
        self.leave_half_open(sa);
        self.release_esp_spi(sa);
        if let Phase::Established(up) = std::mem::replace(&mut sa.phase, Phase::Closed) {
            if let Standing::Superseded(successor) = up.standing {
                self.predecessor_gone(now, sa.id, successor);
            }
            for child in up.children {
                self.forget_esp(sa.id, child.spi_in);
                self.events.push_back((sa.tunnel, sa.id, Event::ChildDown { spi_in: child.spi_in, by: Side::Us }));
            }
        }
        if sa.replaces != SaId::NONE {
            self.reauth_failed(now, std::mem::replace(&mut sa.replaces, SaId::NONE), sa.id);
        }
        if let Some(key) = sa.peer_key.take() {
            self.by_peer.remove(&(key, sa.id));
        }
        self.leases.release(sa.id);
        sa.window.restart();
        sa.queue = None;
        sa.reassembly = None;
        sa.alarms = Default::default();
        sa.alarms.linger = if linger { now + self.cfg.limits.linger } else { Instant::ZERO };
    }

    /// Removes an IKE SA from every index.
    pub(super) fn forget(&mut self, sa: &IkeSa) {
        // Only what is its own: a rule may have given two IKE SAs the same SPI.
        if self.by_spi.get(&sa.our_spi()) == Some(&sa.id) {
            self.by_spi.remove(&sa.our_spi());
        }
        if let Some(key) = &sa.init_key {
            self.by_init.remove(key);
        }
    }

    /// Half-open accounting: this IKE SA is half open, again.
    pub(super) fn enter_half_open(&mut self, sa: &IkeSa) {
        self.counters.half_open += 1;
        *self.half_open_by_address.entry(sa.path.remote.ip()).or_insert(0) += 1;
    }

    /// Half-open accounting: this IKE SA is no longer half open.
    pub(super) fn leave_half_open(&mut self, sa: &IkeSa) {
        if !sa.is_half_open() {
            return;
        }
        self.counters.half_open -= 1;
        let source = sa.path.remote.ip();
        if let Some(count) = self.half_open_by_address.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.half_open_by_address.remove(&source);
            }
        }
    }

    /// A fresh SPI of ours: never zero, never in use, its first octet the shard's if there is one.
    pub(super) fn fresh_spi(&mut self, scope: Scope, draws: &mut u64) -> IkeSpi {
        loop {
            *draws += 1;
            let mut octets = [0; 8];
            self.seeds.fill(scope, Purpose::IkeSpi, *draws, &mut octets);
            if let Some(shard) = self.cfg.shard {
                octets[0] = shard;
            }
            let spi = IkeSpi(u64::from_be_bytes(octets));
            if spi.0 != 0 && !self.by_spi.contains_key(&spi) {
                return spi;
            }
        }
    }
}
