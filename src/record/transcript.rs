//! A transcript: one JSON object per line and event, without any key.
//!
//! Every line has `v` (schema version), `t` (seconds since the run began), `tunnel`, `sa` (slot and generation) and
//! `event`. Within a schema version fields are added, never renamed or removed. Nonces, key-exchange values and AUTH
//! data are there as hex: they are on the wire, and whoever compares a wrong pre-shared key needs them. EAP data, which
//! may hold a password's hash, is reduced to its header.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;

use super::json::{Object, Seconds, object};
use super::{Datagram, Direction, Fate, LOST_ON_PATH, News, PacketKey, Record, Sink, how_lost};
use crate::auth::psk::{Compared, KeyOwner};
use crate::crypto::{EspSuite, IkeSuite};
use crate::engine::{
    AuthFault, ChildSa, DpdAction, Event, FailScope, Failed, Failure, Heard, MessageTrace, Mode, PeerIncompatible,
    PeerMisbehaved, SaId, Side, TunnelId,
};
use crate::time::{Instant, UnixTime};
use crate::wire::{IkeSpi, Payload, Proposal, TrafficSelector, WireError, summary};

/// Version of the lines' schema.
pub const SCHEMA_VERSION: u32 = 1;

/// How many datagrams are remembered to tell which packets carried a message.
const RECENT: usize = 256;

/// Everything in one stream.
pub struct Transcript<W: Write> {
    lines: Lines,
    sink: Sink<W>,
}

impl<W: Write> Transcript<W> {
    /// A transcript on any writer; `what` names it in error messages.
    pub fn new(what: &str, out: W) -> Self {
        Transcript { lines: Lines::default(), sink: Sink::new(what.to_owned(), out) }
    }
}

impl<W: Write + Send> Record for Transcript<W> {
    fn datagram(&mut self, datagram: &Datagram<'_>) {
        self.lines.datagram(datagram);
    }

    fn event(&mut self, at: Instant, tunnel: TunnelId, sa: SaId, event: &Event) {
        self.lines.event(at, tunnel, sa, event);
    }

    fn news(&mut self, at: Instant, news: &News<'_>) {
        self.lines.news(at, news);
    }

    fn flush(&mut self) -> io::Result<()> {
        for (_, _, line) in self.lines.finish() {
            self.sink.write(line.as_bytes());
        }
        self.sink.flush()
    }
}

/// A file per IKE SA.
pub struct TranscriptDir {
    directory: PathBuf,
    lines: Lines,
    begun: BTreeSet<(TunnelId, SaId)>,
}

impl TranscriptDir {
    /// Files go to `directory`, which is created if need be; files of an older run are overwritten.
    ///
    /// # Errors
    ///
    /// If the directory cannot be created; the message names it.
    pub fn create(directory: impl Into<PathBuf>) -> io::Result<Self> {
        let directory = directory.into();
        std::fs::create_dir_all(&directory)
            .map_err(|e| io::Error::new(e.kind(), format!("cannot create {}: {e}", directory.display())))?;
        Ok(TranscriptDir { directory, lines: Lines::default(), begun: BTreeSet::new() })
    }

    /// Says in the first line of each IKE SA which time of day the run began at.
    #[must_use]
    pub fn dated(mut self, epoch: UnixTime) -> Self {
        self.lines.epoch = Some(epoch);
        self
    }

    fn append(&mut self, tunnel: TunnelId, sa: SaId, text: &str) -> io::Result<()> {
        let file = self.directory.join(format!("tunnel-{}-sa-{}.{}.jsonl", tunnel.0, sa.slot, sa.generation));
        let first = self.begun.insert((tunnel, sa));
        let mut options = OpenOptions::new();
        let options = if first { options.write(true).truncate(true) } else { options.append(true) };
        let outcome = options.create(true).open(&file).and_then(|mut open| open.write_all(text.as_bytes()));
        outcome.map_err(|e| io::Error::new(e.kind(), format!("cannot write {}: {e}", file.display())))
    }
}

impl Record for TranscriptDir {
    fn datagram(&mut self, datagram: &Datagram<'_>) {
        self.lines.datagram(datagram);
    }

    fn event(&mut self, at: Instant, tunnel: TunnelId, sa: SaId, event: &Event) {
        self.lines.event(at, tunnel, sa, event);
    }

    fn news(&mut self, at: Instant, news: &News<'_>) {
        self.lines.news(at, news);
    }

    /// Files are opened for each flush, so that any number of IKE SAs needs no more than one descriptor.
    fn flush(&mut self) -> io::Result<()> {
        let mut by_sa: BTreeMap<(TunnelId, SaId), String> = BTreeMap::new();
        for (tunnel, sa, line) in self.lines.finish() {
            by_sa.entry((tunnel, sa)).or_default().push_str(&line);
        }
        by_sa.into_iter().map(|((tunnel, sa), text)| self.append(tunnel, sa, &text)).fold(Ok(()), io::Result::and)
    }
}

/// Lines on their way out. A message's packet numbers are known only after its datagrams were sent, which is after the
/// event, so lines wait for the end of the turn.
#[derive(Default)]
struct Lines {
    waiting: Vec<Line>,
    recent: VecDeque<(PacketKey, u64)>,
    /// Wall clock of the run's begin, and the IKE SAs whose first line has said it.
    epoch: Option<UnixTime>,
    dated: BTreeSet<(TunnelId, SaId)>,
    /// Which IKE SA spoke to a peer last; what the network says of a datagram belongs to it.
    speakers: BTreeMap<SocketAddr, (TunnelId, SaId)>,
    /// The IKE SAs by the initiator's SPI: what our own path lost belongs to one of them.
    spoken: BTreeMap<IkeSpi, (TunnelId, SaId)>,
}

/// How many peers are remembered as such, and how often the network says something that is written down. Whoever has more
/// to do measures load.
const SPEAKERS: usize = 256;

struct Line {
    tunnel: TunnelId,
    sa: SaId,
    /// The object without its closing brace.
    text: String,
    key: Option<PacketKey>,
}

impl Lines {
    fn datagram(&mut self, datagram: &Datagram<'_>) {
        if let Some(key) = PacketKey::of(datagram) {
            if self.recent.len() == RECENT {
                self.recent.pop_front();
            }
            self.recent.push_back((key, datagram.number));
            if let Fate::LostOnPath(why) = datagram.fate {
                self.lost(datagram, &key, why);
            }
        }
    }

    /// A line of its own, behind that of the message if there is one: the message was sent, and not by the peer ignored.
    fn lost(&mut self, datagram: &Datagram<'_>, key: &PacketKey, why: &str) {
        let by_spi = self.spoken.get(&key.spis.0).or_else(|| self.speakers.get(&datagram.path.remote));
        let (tunnel, sa) = by_spi.copied().unwrap_or((TunnelId(0), SaId::NONE));
        let text = self.line(datagram.at, tunnel, sa, |o| {
            let from = if datagram.direction == Direction::Out { Side::Us } else { Side::Peer };
            o.text("event", "path_lost").text("from", side(from)).text("exchange", key.exchange);
            o.number("message_id", key.message_id).flag("response", key.response);
            o.text("spi_i", key.spis.0).text("spi_r", key.spis.1);
            o.text("local", datagram.path.local).text("remote", datagram.path.remote);
            o.number("packet", datagram.number).text("how", how_lost(why)).text("text", LOST_ON_PATH);
        });
        self.waiting.push(Line { tunnel, sa, text, key: None });
    }

    fn event(&mut self, at: Instant, tunnel: TunnelId, sa: SaId, event: &Event) {
        if let Event::Message(trace) = event
            && trace.from == Side::Us
            && (self.speakers.len() < SPEAKERS || self.speakers.contains_key(&trace.path.remote))
        {
            self.speakers.insert(trace.path.remote, (tunnel, sa));
        }
        if let Event::Message(trace) = event
            && (self.spoken.len() < SPEAKERS || self.spoken.contains_key(&trace.message.header.spi_i))
        {
            self.spoken.insert(trace.message.header.spi_i, (tunnel, sa));
        }
        let text = self.line(at, tunnel, sa, |o| write_event(o, event));
        let key = match event {
            Event::Message(trace) => Some(PacketKey::new(direction(trace.from), &trace.message.header)),
            Event::Retransmit { header, .. } => Some(PacketKey::new(Direction::Out, header)),
            _ => None,
        };
        self.waiting.push(Line { tunnel, sa, text, key });
    }

    fn news(&mut self, at: Instant, news: &News<'_>) {
        let Some(&(tunnel, sa)) = self.speakers.get(&news.path.remote) else { return };
        let text = self.line(at, tunnel, sa, |o| {
            o.text("event", "network").text("kind", news.kind.word()).text("remote", news.path.remote);
            o.text("text", news.text);
        });
        self.waiting.push(Line { tunnel, sa, text, key: None });
    }

    /// A line without its closing brace.
    fn line(&mut self, at: Instant, tunnel: TunnelId, sa: SaId, fill: impl FnOnce(&mut Object<'_>)) -> String {
        let epoch = self.epoch.filter(|_| self.dated.len() < SPEAKERS && self.dated.insert((tunnel, sa)));
        let mut text = String::with_capacity(256);
        object(&mut text, |o| {
            o.number("v", SCHEMA_VERSION).number("t", Seconds(at.0)).number("tunnel", tunnel.0);
            o.text("sa", format_args!("{}.{}", sa.slot, sa.generation));
            if let Some(epoch) = epoch {
                o.number("epoch", Seconds(epoch.0));
            }
            fill(o);
        });
        text.pop();
        text
    }

    /// Completes all lines. A datagram belongs to one message only: the first that fits.
    fn finish(&mut self) -> Vec<(TunnelId, SaId, String)> {
        let waiting = std::mem::take(&mut self.waiting);
        let done = waiting.into_iter().map(|Line { tunnel, sa, mut text, key }| {
            if let Some(key) = key {
                let numbers: Vec<_> = self.recent.iter().filter(|(other, _)| *other == key).map(|r| r.1).collect();
                self.recent.retain(|(other, _)| *other != key);
                let list = numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
                text.push_str(&format!(",\"packets\":[{list}]"));
            }
            text.push_str("}\n");
            (tunnel, sa, text)
        });
        let done = done.collect();
        // What was sent before now belongs to no message still to come.
        self.recent.retain(|(key, _)| key.direction == Direction::In);
        done
    }
}

fn direction(from: Side) -> Direction {
    match from {
        Side::Us => Direction::Out,
        Side::Peer => Direction::In,
    }
}

fn side(side: Side) -> &'static str {
    match side {
        Side::Us => "us",
        Side::Peer => "peer",
    }
}

fn write_event(o: &mut Object<'_>, event: &Event) {
    match event {
        Event::Message(trace) => write_message(o.text("event", "message"), trace),
        Event::InitDone(init) => {
            o.text("event", "init_done").text("role", role(init.initiator));
            o.text("spi_i", init.spis.0).text("spi_r", init.spis.1);
            write_ike_suite(o, &init.suite);
            o.object("nat", |o| {
                o.flag("peer_detects", init.nat.peer_detects).flag("us", init.nat.us).flag("peer", init.nat.peer);
            });
            o.texts("vendor_ids", init.vendor_ids.iter().map(|id| super::json::Hex(id)));
            o.flag("peer_fragments", init.peer_fragments);
        }
        Event::IkeKeys(keys) => {
            // That keys were exported is worth a line; the keys themselves belong to the key tables alone.
            o.text("event", "ike_keys").text("spi_i", keys.spis.0).text("spi_r", keys.spis.1);
        }
        Event::PeerCertificate(judged) => {
            o.text("event", "peer_certificate").text("subject", &judged.subject);
            o.texts("issuers", judged.issuers.iter());
            o.text("key", judged.key).text("signature", judged.scheme).text("sha256", &judged.fingerprint);
            o.texts("notes", judged.notes.iter());
        }
        Event::AuthRefused(refused) => {
            o.text("event", "auth_refused").text("id", &refused.id);
            match refused.evidence.compared() {
                Compared::Same(owner) => o.text("key", "same").text("whose", owner_word(owner)),
                Compared::Variant(owner, how) => {
                    o.text("key", "variant").text("whose", owner_word(owner)).text("how", how)
                }
                Compared::Unlike { tried } => o.text("key", "unlike").number("tried", *tried),
            };
            if let Compared::Same(KeyOwner::Connection(name)) | Compared::Variant(KeyOwner::Connection(name), _) =
                refused.evidence.compared()
            {
                o.text("connection", name);
            }
        }
        Event::IkeUp(up) => {
            o.text("event", "ike_up").text("role", role(up.initiator)).text("connection", &up.connection);
            o.text("spi_i", up.spis.0).text("spi_r", up.spis.1);
            write_ike_suite(o, &up.suite);
            o.text("peer_id", &up.peer_id).text("local", up.path.local).text("remote", up.path.remote);
            o.flag("mobike", up.mobike);
        }
        Event::Eap(done) => {
            o.text("event", "eap").text("method", done.method).text("identity", &done.identity);
            o.flag("keyed", done.keyed).flag("alone", done.alone);
            if let Some(tls) = &done.tls {
                o.text("tls", tls);
            }
            o.texts("notices", &done.notices);
        }
        Event::Config(config) => {
            o.text("event", "config").text("by", side(config.by)).flag("asked", config.asked);
            let nets =
                |list: &[(std::net::IpAddr, u8)]| list.iter().map(|(a, p)| format!("{a}/{p}")).collect::<Vec<_>>();
            o.texts("addresses", &config.addresses).texts("dns", &config.dns).texts("subnets", nets(&config.subnets));
            if let Some(version) = &config.version {
                o.text("version", version);
            }
            o.texts("others", config.others.iter().map(|(kind, len)| format!("{kind}, {len} octets")));
        }
        Event::ChildInbound(child) => write_child(o.text("event", "child_inbound"), child),
        Event::ChildOutbound { spi_in } => {
            o.text("event", "child_outbound").text("spi_in", format_args!("{spi_in:08x}"));
        }
        Event::ChildClosing { spi_in } => {
            o.text("event", "child_closing").text("spi_in", format_args!("{spi_in:08x}"));
        }
        Event::ChildRekeyed { old, new } => {
            o.text("event", "child_rekeyed")
                .text("old", format_args!("{old:08x}"))
                .text("new", format_args!("{new:08x}"));
        }
        Event::IkeRekeyed(rekeyed) => {
            o.text("event", "ike_rekeyed").text("role", role(rekeyed.initiator));
            o.text("old", format_args!("{}.{}", rekeyed.old.slot, rekeyed.old.generation));
            o.text("spi_i", rekeyed.spis.0).text("spi_r", rekeyed.spis.1);
            write_ike_suite(o, &rekeyed.suite);
        }
        Event::PeerDead { expected, measured, action } => {
            o.text("event", "peer_dead");
            if let Some(expected) = expected {
                o.number("expected_ms", expected.as_millis() as u64);
            }
            o.number("measured_ms", measured.as_millis() as u64);
            o.text(
                "action",
                match action {
                    DpdAction::Clear => "clear",
                    DpdAction::Restart => "restart",
                    DpdAction::Hold => "hold",
                },
            );
        }
        Event::Moved { by, path, nat } => {
            o.text("event", "moved").text("by", side(*by)).text("local", path.local).text("remote", path.remote);
            o.object("nat", |o| {
                o.flag("peer_detects", nat.peer_detects).flag("us", nat.us).flag("peer", nat.peer);
            });
        }
        Event::Restarting => {
            o.text("event", "restarting");
        }
        Event::Reauthenticating { old, break_first } => {
            o.text("event", "reauthenticating").text("old", format_args!("{}.{}", old.slot, old.generation));
            o.text("order", if *break_first { "break_first" } else { "make_first" });
        }
        Event::ChildFailed(failed) => write_failed(o.text("event", "child_failed"), failed),
        Event::ChildDown { spi_in, by } => {
            o.text("event", "child_down").text("spi_in", format_args!("{spi_in:08x}")).text("by", side(*by));
        }
        Event::Retransmit { header, path, attempt, of } => {
            o.text("event", "retransmit").text("exchange", header.exchange).number("message_id", header.message_id);
            o.text("spi_i", header.spi_i)
                .text("spi_r", header.spi_r)
                .text("local", path.local)
                .text("remote", path.remote);
            o.number("attempt", *attempt).number("of", *of);
        }
        Event::Ignored(ignored) => {
            o.text("event", "ignored").text("why", ignored.why.text());
            if let Some(exchange) = ignored.exchange {
                o.text("exchange", exchange);
            }
            if let Some(message_id) = ignored.message_id {
                o.number("message_id", message_id);
            }
            o.text("local", ignored.path.local).text("remote", ignored.path.remote).text("detail", &ignored.detail);
        }
        Event::Alive { rtt } => {
            let nanos = u64::try_from(rtt.as_nanos()).unwrap_or(u64::MAX);
            o.text("event", "alive").number("rtt", Seconds(nanos));
        }
        Event::PeerNotify(notify) => {
            o.text("event", "peer_notify").object("payload", |o| write_payload(o, &Payload::Notify(notify.clone())));
        }
        Event::Failed(failed) => write_failed(o.text("event", "failed"), failed),
        Event::Deleted { by } => {
            o.text("event", "deleted").text("by", side(*by));
        }
        Event::Closed => {
            o.text("event", "closed");
        }
    }
}

fn owner_word(owner: &KeyOwner) -> &'static str {
    match owner {
        KeyOwner::Peer => "peer",
        KeyOwner::Us => "us",
        KeyOwner::Connection(_) => "connection",
    }
}

fn role(initiator: bool) -> &'static str {
    if initiator { "initiator" } else { "responder" }
}

fn write_message(o: &mut Object<'_>, trace: &MessageTrace) {
    let header = &trace.message.header;
    let response = header.flags.is_response();
    o.text("from", side(trace.from)).text("exchange", header.exchange).flag("response", response);
    o.number("message_id", header.message_id).flag("initiator_flag", header.flags.is_initiator());
    o.text("version", format_args!("{}.{}", header.major(), header.minor()));
    o.text("spi_i", header.spi_i).text("spi_r", header.spi_r);
    o.text("local", trace.path.local).text("remote", trace.path.remote);
    o.number("len", trace.len).number("attempt", trace.attempt);
    let mut line = summary(&trace.message.outer, response);
    if let Some(inner) = &trace.message.sk {
        let space = if line.is_empty() { "" } else { " " };
        line = format!("{line}{space}SK{{ {} }}", summary(inner, response));
    }
    o.text("summary", line);
    o.objects("payloads", &trace.message.outer, write_payload);
    if let Some(inner) = &trace.message.sk {
        o.objects("protected", inner, write_payload);
    }
}

fn write_payload(o: &mut Object<'_>, payload: &Payload) {
    o.text("type", payload.kind());
    match payload {
        Payload::Sa(sa) => {
            o.objects("proposals", &sa.proposals, write_proposal);
        }
        Payload::Ke(ke) => {
            o.text("group", ke.group).hex("data", &ke.data);
        }
        Payload::IdI(id) | Payload::IdR(id) => {
            o.text("id_type", id.kind).text("id", id).hex("data", &id.data);
        }
        Payload::Cert(cert) => {
            o.text("encoding", cert.encoding).hex("data", &cert.data);
        }
        Payload::CertReq(request) => {
            o.text("encoding", request.encoding).hex("data", &request.data);
        }
        Payload::Auth(auth) => {
            o.text("method", auth.method).hex("data", &auth.data);
        }
        Payload::Nonce(nonce) => {
            o.hex("data", &nonce.data);
        }
        Payload::Notify(notify) => {
            o.text("notify", notify.kind).number("notify_type", notify.kind.0).flag("error", notify.kind.is_error());
            o.text("protocol", notify.protocol).hex("spi", &notify.spi).hex("data", &notify.data);
        }
        Payload::Delete(delete) => {
            o.text("protocol", delete.protocol).texts("spis", delete.spis.iter().map(|spi| super::json::Hex(spi)));
        }
        Payload::Vendor(vendor) => {
            o.hex("data", &vendor.data);
            if vendor.data.iter().all(|octet| (b' '..=b'~').contains(octet)) {
                o.text("text", String::from_utf8_lossy(&vendor.data));
            }
        }
        Payload::TsI(ts) | Payload::TsR(ts) => {
            o.texts("selectors", &ts.selectors);
        }
        Payload::Cp(cp) => {
            o.text("cfg_type", cp.kind).objects("attributes", &cp.attributes, |o, attribute| {
                o.text("attribute", attribute.kind).hex("value", &attribute.value);
            });
        }
        Payload::Eap(eap) => {
            // Code, identifier, length and type: what follows may be a password's hash.
            o.number("len", eap.data.len()).hex("header", eap.data.get(..5).unwrap_or(&eap.data));
        }
        Payload::Raw(raw) => {
            o.number("payload_type", raw.kind.0).flag("critical", raw.critical).hex("body", &raw.body);
        }
    }
}

fn write_proposal(o: &mut Object<'_>, proposal: &Proposal) {
    o.number("number", proposal.number).text("protocol", proposal.protocol).hex("spi", &proposal.spi);
    o.texts("transforms", &proposal.transforms);
}

fn write_ike_suite(o: &mut Object<'_>, suite: &IkeSuite) {
    o.text("suite", suite).texts("weak", suite.weak());
}

fn write_esp_suite(o: &mut Object<'_>, suite: &EspSuite) {
    o.text("suite", suite).texts("weak", suite.weak());
}

fn write_child(o: &mut Object<'_>, child: &ChildSa) {
    o.text("name", &child.name);
    o.text("spi_in", format_args!("{:08x}", child.spi_in)).text("spi_out", format_args!("{:08x}", child.spi_out));
    write_esp_suite(o, &child.suite);
    o.text("mode", if child.mode == Mode::Tunnel { "tunnel" } else { "transport" });
    o.texts("local_ts", &child.local_ts).texts("remote_ts", &child.remote_ts);
    o.text("exchange_role", role(child.initiator));
    o.flag("encapsulated", child.encapsulated).flag("narrowed", child.narrowed);
}

fn write_failed(o: &mut Object<'_>, failed: &Failed) {
    let scope = match failed.scope {
        FailScope::Exchange => "exchange",
        FailScope::Child => "child",
        FailScope::IkeSa => "ike_sa",
    };
    o.text("scope", scope).text("exchange", failed.exchange).text("found_by", side(failed.found_by));
    o.text("class", failed.class()).text("why", &failed.why).text("kind", failed.why.kind());
    let selectors = |o: &mut Object<'_>, key: &str, list: &[TrafficSelector]| {
        o.texts(key, list);
    };
    match &failed.why {
        Failure::Incompatible(PeerIncompatible::NoProposal { offered, wanted }) => {
            o.objects("offered", offered, write_proposal);
            o.objects("wanted", wanted, write_proposal);
        }
        Failure::Incompatible(PeerIncompatible::Selectors { offered_i, offered_r, wanted_i, wanted_r }) => {
            selectors(o, "offered_tsi", offered_i);
            selectors(o, "offered_tsr", offered_r);
            selectors(o, "wanted_tsi", wanted_i);
            selectors(o, "wanted_tsr", wanted_r);
        }
        Failure::Misbehaved(PeerMisbehaved::SelectorsNotSubset(list)) => selectors(o, "chosen_ts", list),
        Failure::Misbehaved(PeerMisbehaved::UnofferedProposal(proposal)) => {
            o.object("chosen", |o| write_proposal(o, proposal));
        }
        Failure::Malformed(WireError { offset, payload, .. }) => {
            o.number("offset", *offset);
            if let Some(payload) = payload {
                o.text("payload", payload);
            }
        }
        Failure::Rejected { notify, data, protected } => {
            o.text("notify", notify).number("notify_type", notify.0).hex("data", data).flag("protected", *protected);
        }
        Failure::NoAnswer { attempts, heard } => {
            o.number("attempts", *attempts);
            match heard {
                Heard::Nothing => {}
                Heard::Fragments => {
                    o.text("heard", "fragments");
                }
                Heard::Rekey => {
                    o.text("heard", "rekey");
                }
            }
        }
        Failure::AuthFailed(AuthFault::Mismatch { id } | AuthFault::Identity { got: id }) => {
            o.number("id_type", id.kind.0).hex("id_data", &id.data);
        }
        Failure::Misbehaved(PeerMisbehaved::UnofferedGroup(group)) => {
            o.number("group", group.0);
        }
        Failure::AuthFailed(AuthFault::Method { got } | AuthFault::EapWanted { got }) => {
            o.number("auth_method", got.0);
        }
        Failure::AuthFailed(AuthFault::Certificate(fault)) => {
            o.object("certificate", |o| super::faults::certificate(o, fault));
        }
        Failure::AuthFailed(AuthFault::Eap(fault)) => {
            o.object("eap", |o| super::faults::eap(o, fault));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
