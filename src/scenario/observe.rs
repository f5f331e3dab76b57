//! What was seen: messages and events of one scenario, in order. Expectations and proofs read only this.

use std::borrow::Cow;
use std::fmt::Debug;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use crate::engine::{Event, IkeKeyExport, MessageTrace};
use crate::engine::{Failed, SaId, Side, TunnelId};
use crate::esp::PlaneEvent;
use crate::net::{Class, Path};
use crate::record::{Datagram, Direction, Fate, Record};
use crate::time::Instant;
use crate::wire::registry::{ExchangeType, NotifyType};
use crate::wire::{self, Message, Payload};

use super::file::{EventName, Role, Who};

/// Everything seen in one scenario, or in one sanity handshake.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// In order.
    pub entries: Vec<Entry>,
    /// The keys of the IKE SAs that came to have some; they never leave the process.
    pub keys: Vec<IkeKeyExport>,
}

/// One thing seen.
#[derive(Clone, Debug)]
pub struct Entry {
    /// When.
    pub at: Instant,
    /// The tunnel it belongs to.
    pub tunnel: TunnelId,
    /// Number of the packet in the scenario's capture, from 1.
    pub packet: Option<u64>,
    /// What it was.
    pub what: What,
}

/// A message or an event.
#[derive(Clone, Debug)]
pub enum What {
    /// A message.
    Message(Box<SeenMessage>),
    /// Something that happened.
    Event(Happened),
}

/// A message as seen.
#[derive(Clone, Debug)]
pub struct SeenMessage {
    /// Who sent it.
    pub from: Who,
    /// Where it came from and went to, as this host sees it.
    pub path: Path,
    /// Header and payloads; the inner ones only if it was decrypted.
    pub message: Message,
    /// Octets of the IKE message.
    pub len: usize,
    /// It repeats one sent before.
    pub repeat: bool,
    /// A rule or the ordered path withheld it: from the wire if it is ours, from the engine if it is the peer's.
    pub withheld: bool,
    /// It was the ordered path.
    pub lost: bool,
}

/// An event as seen.
#[derive(Clone, PartialEq, Debug)]
pub struct Happened {
    /// Which.
    pub name: EventName,
    /// Who found or asked for it.
    pub by: Option<Who>,
    /// The class of a failure, or why.
    pub class: Option<Cow<'static, str>>,
    /// In words.
    pub words: String,
}

impl SeenMessage {
    /// All payloads, outer ones first.
    pub fn payloads(&self) -> impl Iterator<Item = &Payload> {
        self.message.outer.iter().chain(self.message.sk.iter().flatten())
    }

    /// The exchange.
    pub fn exchange(&self) -> ExchangeType {
        self.message.header.exchange
    }

    /// It is a response.
    pub fn is_response(&self) -> bool {
        self.message.header.flags.is_response()
    }

    /// The notifies it holds.
    pub fn notifies(&self) -> impl Iterator<Item = &wire::NotifyPayload> {
        self.payloads().filter_map(|payload| match payload {
            Payload::Notify(notify) => Some(notify),
            _ => None,
        })
    }

    /// The error notifies it holds, and COOKIE.
    pub fn refusals(&self) -> impl Iterator<Item = NotifyType> {
        let refusal = |kind: &NotifyType| kind.is_error() || *kind == NotifyType::COOKIE;
        self.notifies().map(|notify| notify.kind).filter(refusal)
    }
}

impl Observation {
    /// Takes in an event of the engine. A message gets its packet number from its datagram, an event from the message
    /// before it.
    pub fn event(&mut self, at: Instant, tunnel: TunnelId, event: &Event) {
        let packet = None;
        let mut push = |packet, what| self.entries.push(Entry { at, tunnel, packet, what });
        let mut happened = |name, by, class, words: String| {
            push(packet, What::Event(Happened { name, by, class, words }));
        };
        match event {
            Event::Message(trace) => {
                let seen = self.seen(trace);
                self.entries.push(Entry { at, tunnel, packet, what: What::Message(Box::new(seen)) });
            }
            Event::IkeKeys(keys) => self.keys.push((**keys).clone()),
            Event::IkeUp(up) => happened(EventName::Up, None, None, format!("IKE SA up, {}", up.suite)),
            Event::ChildInbound(child) => {
                let name = if child.narrowed { EventName::ChildNarrowed } else { EventName::ChildUp };
                let list =
                    |list: &[wire::TrafficSelector]| list.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
                let words = format!("Child SA {} === {}", list(&child.local_ts), list(&child.remote_ts));
                happened(name, None, None, words);
            }
            Event::ChildFailed(failed) => self.failed(at, tunnel, packet, EventName::ChildFailed, failed),
            Event::Failed(failed) => self.failed(at, tunnel, packet, EventName::Failed, failed),
            Event::Deleted { by } => {
                happened(EventName::Deleted, Some(who(*by)), None, format!("the IKE SA is deleted by {}", words(*by)));
            }
            Event::Alive { .. } => happened(EventName::Alive, None, None, "the peer is alive".to_owned()),
            Event::InitDone(done) if done.nat.us || done.nat.peer => {
                happened(EventName::NatFound, None, None, "a NAT is found".to_owned());
            }
            Event::ChildRekeyed { .. } => {
                happened(EventName::ChildRekeyed, None, None, "the Child SA is rekeyed".to_owned());
            }
            Event::IkeRekeyed(rekeyed) => {
                let by = Some(if rekeyed.initiator { Who::Us } else { Who::Peer });
                happened(EventName::IkeRekeyed, by, None, format!("the IKE SA is rekeyed, {}", rekeyed.suite));
            }
            Event::ChildDown { by, .. } => {
                let text = format!("the Child SA is deleted by {}", words(*by));
                happened(EventName::ChildDeleted, Some(who(*by)), None, text);
            }
            Event::PeerDead { measured, .. } => {
                let text =
                    format!("the peer is dead, noticed {:.1} s after it was last heard of", measured.as_secs_f64());
                happened(EventName::PeerDead, None, None, text);
            }
            Event::Reauthenticating { .. } => {
                happened(EventName::Reauthenticating, None, None, "the tunnel is authenticated anew".to_owned());
            }
            Event::Ignored(ignored) => {
                let class = Some(slug(&ignored.why));
                happened(EventName::Ignored, None, class, format!("a message is ignored: {}", ignored.why.text()));
            }
            _ => {}
        }
    }

    /// Takes in something that no event of the engine tells.
    pub fn happened(&mut self, at: Instant, name: EventName, class: Option<Cow<'static, str>>, words: String) {
        let what = What::Event(Happened { name, by: None, class, words });
        self.entries.push(Entry { at, tunnel: TunnelId(0), packet: None, what });
    }

    /// Takes in an event of the data plane.
    pub fn plane(&mut self, at: Instant, event: &PlaneEvent) {
        match event {
            PlaneEvent::Pong { seq, rtt, .. } => {
                let words = format!("ping {seq} answered after {:.1} ms", rtt.as_secs_f64() * 1000.0);
                self.happened(at, EventName::Pong, None, words);
            }
            PlaneEvent::PingLost { seq } => {
                self.happened(at, EventName::PingLost, None, format!("ping {seq} not answered"));
            }
            PlaneEvent::PingUnsent { seq, why } => {
                self.happened(at, EventName::PingLost, Some(slug(why)), format!("ping {seq} not sent: {}", why.text()));
            }
            _ => {}
        }
    }

    fn seen(&self, trace: &MessageTrace) -> SeenMessage {
        SeenMessage {
            from: who(trace.from),
            path: trace.path,
            message: trace.message.clone(),
            len: trace.len,
            repeat: trace.attempt > 0,
            withheld: false,
            lost: false,
        }
    }

    fn failed(&mut self, at: Instant, tunnel: TunnelId, packet: Option<u64>, name: EventName, failed: &Failed) {
        let class = Some(Cow::Borrowed(failed.class().as_str()));
        let what = Happened { name, by: Some(who(failed.found_by)), class, words: failed.why.to_string() };
        self.entries.push(Entry { at, tunnel, packet, what: What::Event(what) });
    }

    /// Takes in a datagram. It gives the message that the engine told of its packet number; what the engine did not tell
    /// of (a repeat, a request refused without state, a message that a rule withheld) is seen here.
    pub fn datagram(&mut self, tapped: &Tapped) {
        let Ok(decoded) = wire::decode(&tapped.bytes) else { return };
        let from = if tapped.inbound { Who::Peer } else { Who::Us };
        let header = decoded.header;
        let len = tapped.bytes.len();
        let same = |seen: &SeenMessage| {
            let other = &seen.message.header;
            seen.from == from
                && seen.len == len
                && (other.spi_i, other.spi_r) == (header.spi_i, header.spi_r)
                && (other.exchange, other.message_id) == (header.exchange, header.message_id)
                && other.flags.is_response() == header.flags.is_response()
        };
        let before = self.messages().any(|(entry, seen)| entry.packet.is_some() && same(seen));
        let told = self.entries.iter_mut().find_map(|entry| match &mut entry.what {
            What::Message(seen) if entry.packet.is_none() && same(seen) => Some((&mut entry.packet, seen)),
            _ => None,
        });
        if let Some((packet, seen)) = told {
            *packet = Some(tapped.number);
            (seen.withheld, seen.lost) = (tapped.withheld, tapped.lost);
            // A peer's repeat, of something that a rule has withheld before, is new to the engine.
            seen.repeat |= before;
            return;
        }
        let earlier = self.messages().find(|(_, seen)| same(seen)).map(|(entry, seen)| (entry.tunnel, seen.clone()));
        let (tunnel, mut seen) = earlier.unwrap_or_else(|| {
            let message = Message { header, outer: decoded.payloads, sk: None };
            let tunnel = self.tunnel_of(header.spi_i);
            let (repeat, withheld, lost) = (false, false, false);
            (tunnel, SeenMessage { from, path: tapped.path, message, len, repeat, withheld, lost })
        });
        seen.repeat = self.messages().any(|(_, other)| same(other));
        seen.path = tapped.path;
        (seen.withheld, seen.lost) = (tapped.withheld, tapped.lost);
        let what = What::Message(Box::new(seen));
        self.entries.push(Entry { at: tapped.at, tunnel, packet: Some(tapped.number), what });
    }

    /// Gives events the packet of the message before them, once the datagrams of a turn have been taken in.
    pub fn number_events(&mut self) {
        let mut last = None;
        for entry in &mut self.entries {
            match &entry.what {
                What::Message(_) => last = entry.packet.or(last),
                What::Event(_) if entry.packet.is_none() => entry.packet = last,
                What::Event(_) => {}
            }
        }
    }

    /// The tunnel of an IKE SA, by what was seen of it before.
    fn tunnel_of(&self, spi_i: wire::IkeSpi) -> TunnelId {
        let known = self.messages().find(|(_, seen)| seen.message.header.spi_i == spi_i);
        known.map_or(TunnelId::NONE, |(entry, _)| entry.tunnel)
    }

    /// The messages, with their entries.
    pub fn messages(&self) -> impl Iterator<Item = (&Entry, &SeenMessage)> {
        self.entries.iter().filter_map(|entry| match &entry.what {
            What::Message(seen) => Some((entry, &**seen)),
            What::Event(_) => None,
        })
    }

    /// The events, with their entries.
    pub fn events(&self) -> impl Iterator<Item = (&Entry, &Happened)> {
        self.entries.iter().filter_map(|entry| match &entry.what {
            What::Message(_) => None,
            What::Event(happened) => Some((entry, happened)),
        })
    }

    /// The events from entry `mark` on.
    pub fn events_since(&self, mark: usize) -> impl Iterator<Item = (&Entry, &Happened)> {
        self.entries.get(mark..).unwrap_or_default().iter().filter_map(|entry| match &entry.what {
            What::Message(_) => None,
            What::Event(happened) => Some((entry, happened)),
        })
    }

    /// What came of a step of a tunnel's life: the last things that happened from entry `mark` on, or what came of it all.
    pub fn outcome_since(&self, mark: usize) -> String {
        if self.events().all(|(_, what)| what.name != EventName::Up) {
            return self.outcome();
        }
        let mut told: Vec<String> = Vec::new();
        for (entry, what) in self.events_since(mark).filter(|(entry, _)| is_honest(entry.tunnel)) {
            let packet = entry.packet.map(|n| format!(" (packet {n})")).unwrap_or_default();
            told.push(format!("{}{packet}", what.words));
        }
        match told.len() {
            0 => "nothing happened".to_owned(),
            n => told.split_off(n.saturating_sub(3)).join("; "),
        }
    }

    /// Our first message of `exchange` in `tunnel`, in the direction that `role` sends: what a change is proved on.
    pub fn ours(&self, exchange: ExchangeType, role: Role) -> Option<(&Entry, &SeenMessage)> {
        self.messages().find(|(entry, seen)| {
            seen.from == Who::Us
                && is_honest(entry.tunnel)
                && seen.exchange() == exchange
                && seen.is_response() == (role == Role::Responder)
        })
    }

    /// True if the peer has sent anything.
    pub fn heard_peer(&self) -> bool {
        self.messages().any(|(_, seen)| seen.from == Who::Peer)
    }

    /// In a phrase, what came of it: for the report of what was not seen.
    pub fn outcome(&self) -> String {
        let packet = |entry: &Entry| entry.packet.map(|n| format!(" (packet {n})")).unwrap_or_default();
        let honest = |entry: &Entry| is_honest(entry.tunnel);
        let last_event = self.events().filter(|(entry, _)| honest(entry)).last();
        let refusal = self
            .messages()
            .filter(|(entry, seen)| seen.from == Who::Peer && honest(entry) && seen.refusals().next().is_some())
            .last();
        let find = |name: EventName| self.events().find(|(entry, what)| what.name == name && honest(entry));
        let up = find(EventName::Up);
        let child = find(EventName::ChildUp).or(find(EventName::ChildNarrowed));
        match (up, child, last_event, refusal) {
            (Some(_), Some((entry, child)), ..) => {
                format!("the tunnel came up: {}{}", child.words, packet(entry))
            }
            (.., Some((entry, seen))) => {
                let names: Vec<String> = seen.refusals().map(|kind| kind.to_string()).collect();
                format!("the peer answered {}{}", names.join(" and "), packet(entry))
            }
            (.., Some((entry, event)), None) => format!("{}{}", event.words, packet(entry)),
            (_, _, None, None) if self.heard_peer() => "the peer sent packets, but nothing came of them".to_owned(),
            _ => "nothing came from the peer".to_owned(),
        }
    }
}

/// Tunnels with these numbers are half open on purpose. A responder's are counted from 2^32 on.
pub const HALF_OPEN_TUNNELS: std::ops::Range<u64> = 1_000_000..2_000_000;

/// Whether a tunnel is meant to come up.
pub fn is_honest(tunnel: TunnelId) -> bool {
    !HALF_OPEN_TUNNELS.contains(&tunnel.0)
}

/// A datagram as the recorder saw it.
#[derive(Clone, Debug)]
pub struct Tapped {
    /// Its number in the capture.
    pub number: u64,
    /// When.
    pub at: Instant,
    /// It was received.
    pub inbound: bool,
    /// Its path as this host sees it.
    pub path: Path,
    /// Its octets, without the non-ESP marker.
    pub bytes: Vec<u8>,
    /// A rule withheld it from the wire, or the ordered path did.
    pub withheld: bool,
    /// It was the ordered path.
    pub lost: bool,
}

/// A sink of the recorder that keeps IKE datagrams for the observation.
#[derive(Clone, Debug, Default)]
pub struct Tap(Arc<Mutex<Vec<Tapped>>>);

impl Tap {
    /// What was recorded since the last time.
    pub fn take(&self) -> Vec<Tapped> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Record for Tap {
    fn datagram(&mut self, datagram: &Datagram<'_>) {
        if datagram.class == Class::Ike && !matches!(datagram.fate, Fate::NotSent(_)) {
            let tapped = Tapped {
                number: datagram.number,
                at: datagram.at,
                inbound: datagram.direction == Direction::In,
                path: *datagram.path,
                bytes: datagram.bytes.to_vec(),
                withheld: matches!(datagram.fate, Fate::DroppedByRule(_) | Fate::LostOnPath(_)),
                lost: matches!(datagram.fate, Fate::LostOnPath(_)),
            };
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(tapped);
        }
    }

    fn event(&mut self, _: Instant, _: TunnelId, _: SaId, _: &Event) {}

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A reason's name as written in files: `BadIcv` is `bad-icv`.
pub fn slug(why: &impl Debug) -> Cow<'static, str> {
    let mut out = String::new();
    for c in format!("{why:?}").chars() {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push('-');
        }
        out.push(c.to_ascii_lowercase());
    }
    Cow::Owned(out)
}

fn who(side: Side) -> Who {
    match side {
        Side::Us => Who::Us,
        Side::Peer => Who::Peer,
    }
}

fn words(side: Side) -> &'static str {
    match side {
        Side::Us => "us",
        Side::Peer => "the peer",
    }
}
