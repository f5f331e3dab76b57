//! What was seen: messages and events of one scenario, in order. Expectations and proofs read only this.

use crate::engine::Failed;
use crate::engine::{Event, IgnoredWhy, IkeKeyExport, MessageTrace};
use crate::engine::{Side, TunnelId};
use crate::fault::{Dropped, Firing};
use crate::net::Path;
use crate::time::Instant;
use crate::wire::registry::{ExchangeType, NotifyType};
use crate::wire::{self, Header, Message, Payload};

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
    /// It repeats one sent before.
    pub repeat: bool,
    /// A rule withheld it: from the wire if it is ours, from the engine if it is the peer's.
    pub withheld: bool,
}

/// An event as seen.
#[derive(Clone, PartialEq, Debug)]
pub struct Happened {
    /// Which.
    pub name: EventName,
    /// Who found or asked for it.
    pub by: Option<Who>,
    /// The class of a failure.
    pub class: Option<&'static str>,
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
    /// Takes in an event of the engine. `packet` is the number of the last packet captured.
    pub fn event(&mut self, at: Instant, tunnel: TunnelId, packet: Option<u64>, event: &Event) {
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
                happened(EventName::Deleted, Some(who(*by)), None, format!("deleted by {}", words(*by)));
            }
            Event::Alive { .. } => happened(EventName::Alive, None, None, "the peer is alive".to_owned()),
            Event::Ignored(ignored) if ignored.why == IgnoredWhy::Repeat => {
                // The engine recognised a repeat before decrypting it: only its header is known.
                let (Some(exchange), Some(id)) = (ignored.exchange, ignored.message_id) else { return };
                let earlier = self.entries.iter().rev().find_map(|entry| match &entry.what {
                    What::Message(seen)
                        if seen.from == Who::Peer
                            && seen.exchange() == exchange
                            && seen.message.header.message_id == id =>
                    {
                        Some(seen.clone())
                    }
                    _ => None,
                });
                if let Some(mut seen) = earlier {
                    seen.repeat = true;
                    seen.path = ignored.path;
                    self.entries.push(Entry { at, tunnel, packet, what: What::Message(seen) });
                }
            }
            _ => {}
        }
    }

    fn seen(&self, trace: &MessageTrace) -> SeenMessage {
        SeenMessage {
            from: who(trace.from),
            path: trace.path,
            message: trace.message.clone(),
            repeat: trace.attempt > 0,
            withheld: false,
        }
    }

    fn failed(&mut self, at: Instant, tunnel: TunnelId, packet: Option<u64>, name: EventName, failed: &Failed) {
        let class = Some(failed.why.class(failed.exchange));
        let what = Happened { name, by: Some(who(failed.found_by)), class, words: failed.why.to_string() };
        self.entries.push(Entry { at, tunnel, packet, what: What::Event(what) });
    }

    /// Takes in the firing of a rule: a received datagram that was withheld has been seen, though not by the engine;
    /// one of ours that was withheld is marked.
    pub fn firing(&mut self, packet: Option<u64>, firing: &Firing) {
        let Some(dropped) = &firing.dropped else { return };
        if dropped.inbound {
            if let Some(seen) = self.withheld(dropped) {
                let what = What::Message(Box::new(seen));
                self.entries.push(Entry { at: firing.at, tunnel: firing.tunnel, packet, what });
            }
            return;
        }
        let ours = self.entries.iter_mut().rev().find_map(|entry| match &mut entry.what {
            What::Message(seen)
                if seen.from == Who::Us
                    && !seen.withheld
                    && Some(seen.exchange()) == firing.exchange
                    && Some(seen.message.header.message_id) == firing.message_id =>
            {
                Some(seen)
            }
            _ => None,
        });
        if let Some(seen) = ours {
            seen.withheld = true;
        }
    }

    fn withheld(&self, dropped: &Dropped) -> Option<SeenMessage> {
        let decoded = wire::decode(&dropped.bytes).ok()?;
        let header: Header = decoded.header;
        let repeat = self.messages().any(|(_, seen)| {
            let earlier = &seen.message.header;
            seen.from == Who::Peer
                && earlier.spi_i == header.spi_i
                && earlier.exchange == header.exchange
                && earlier.message_id == header.message_id
                && earlier.length == header.length
        });
        let message = Message { header, outer: decoded.payloads, sk: None };
        Some(SeenMessage { from: Who::Peer, path: dropped.path, message, repeat, withheld: true })
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

    /// Our first message of `exchange` in `tunnel`, in the direction that `role` sends: what a change is proved on.
    pub fn ours(&self, exchange: ExchangeType, role: Role) -> Option<(&Entry, &SeenMessage)> {
        self.messages().find(|(entry, seen)| {
            seen.from == Who::Us
                && entry.tunnel.0 < HALF_OPEN_TUNNELS
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
        let honest = |entry: &Entry| entry.tunnel.0 < HALF_OPEN_TUNNELS;
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

/// Tunnels from this number on are half-open on purpose.
pub const HALF_OPEN_TUNNELS: u64 = 1_000_000;

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
