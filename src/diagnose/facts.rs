//! What the transcript of one IKE SA shows.

use std::time::Duration;

use crate::auth::psk::Compared;
use crate::engine::{Event, IgnoredWhy, NatFinding, Side};
use crate::record::NewsKind;
use crate::time::{Instant, UnixTime};
use crate::wire::registry::{ExchangeType, KeMethod, NotifyType, ProtocolId, TransformType};
use crate::wire::{Header, IdPayload, Payload, Proposal, TrafficSelector};

/// Facts of one IKE SA, from its events.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Messages in both directions.
    pub packets: u32,
    /// Messages that we sent, repeats included.
    pub sent: u32,
    /// Messages of the peer that were accepted.
    pub received: u32,
    /// The number in the capture of the packet that decided, if known.
    pub packet: Option<u64>,
    /// The latest message and who sent it.
    pub last: Option<(Side, Header)>,
    /// What ICMP and the operating system said, in words, each once.
    pub notes: Vec<String>,
    /// What IKE_SA_INIT agreed on.
    pub suite: Option<String>,
    /// What NAT detection found.
    pub nat: Option<NatFinding>,
    /// We used the NAT-T ports.
    pub floated: bool,
    /// The peer's answer to IKE_AUTH passed the integrity check and could be read.
    pub auth_reply_read: bool,
    /// Both ends are authenticated.
    pub up: bool,
    /// The identity that the peer claimed.
    pub peer_id: Option<IdPayload>,
    /// The peer demanded a cookie.
    pub cookie: bool,
    /// Messages that were not believed, by reason, in order of appearance.
    pub ignored: Vec<(&'static str, u32)>,
    /// The peer's own error notify in an INFORMATIONAL.
    pub peer_notify: Option<NotifyType>,
    /// The latest CREATE_CHILD_SA request.
    pub create: Option<CreateRequest>,
    /// Our latest CREATE_CHILD_SA request.
    pub asked_to_create: Option<CreateRequest>,
    /// The proposal that the IKE SA was made with.
    pub ike_agreed: Option<Proposal>,
    /// Child SAs that came up by IKE_AUTH, whose proposals never hold a group (RFC 7296 1.2).
    pub children_by_auth: u32,
    /// Child SAs that came up by CREATE_CHILD_SA.
    pub children_by_create: u32,
    /// How the key of the peer's refused AUTH compares with ours.
    pub key: Option<Compared>,
    /// Our latest request.
    pub asked: Option<Asked>,
    /// Our requests that were answered at once, and those that were answered only after repeats.
    pub answered: (u32, u32),
    /// How often the peer repeated its IKE_SA_INIT, and other requests.
    pub peer_repeats: (u32, u32),
    /// Nothing listens on the peer's port: ICMP says so.
    pub port_closed: bool,
    /// What ICMP from the way or the other host says instead of an answer, in words.
    pub rejected: Option<String>,
    /// A message was longer than the path carries in one packet, as this host or ICMP knows it.
    pub too_long: bool,
    /// The selectors that an initiator or a responder of the peer's sent last: TSi and TSr.
    pub peer_ts: Option<(Vec<TrafficSelector>, Vec<TrafficSelector>)>,
    /// When the peer went quiet, each time that it did.
    pub outages: Vec<Instant>,
    /// When IKE SAs came up.
    pub ups: Vec<Instant>,
    /// When the latest event was.
    pub now: Instant,
    /// Wall clock of the run's begin.
    pub epoch: Option<UnixTime>,
}

/// A request of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Asked {
    /// Its exchange.
    pub exchange: ExchangeType,
    /// Its message id.
    pub id: u32,
    /// How often it was sent.
    pub sent: u32,
    /// Octets of the IKE message.
    pub len: usize,
    /// When it was first sent.
    pub at: Instant,
    /// It went to the NAT-T port.
    pub natt: bool,
    /// An accepted answer came.
    pub answered: bool,
}

/// The IKE proposal in an answer's SA payload.
fn chosen_for_ike<'a>(mut payloads: impl Iterator<Item = &'a Payload>) -> Option<&'a Proposal> {
    payloads.find_map(|payload| match payload {
        Payload::Sa(sa) => sa.proposals.first().filter(|chosen| chosen.protocol == ProtocolId::IKE),
        _ => None,
    })
}

/// Outages and IKE SAs whose times are remembered.
const MAX_TIMES: usize = 256;

/// What there is to know of an event, from the engine or from a line of a transcript.
pub(super) enum Seen<'a> {
    Message { from: Side, header: Header, natt: bool, len: usize, outer: &'a [Payload], sk: Option<&'a [Payload]> },
    Retransmit { exchange: ExchangeType, id: u32 },
    InitDone { suite: String, nat: NatFinding },
    Up,
    Ignored { why: &'static str, repeat: bool, exchange: Option<ExchangeType> },
    Child,
    PeerNotify(NotifyType),
    Key(Compared),
    PeerDead { silent: Duration },
}

/// A CREATE_CHILD_SA request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CreateRequest {
    /// Who asked.
    pub by: Side,
    /// It was about the IKE SA.
    pub ike: bool,
    /// Its proposals.
    pub offered: Vec<Proposal>,
    /// The groups of its proposals, each once.
    pub groups: Vec<KeMethod>,
    /// The group of its own key exchange.
    pub ke: Option<KeMethod>,
}

impl CreateRequest {
    fn of(by: Side, inner: &[Payload]) -> Option<CreateRequest> {
        let sa = inner.iter().find_map(|p| if let Payload::Sa(sa) = p { Some(sa) } else { None })?;
        let ike = sa.proposals.iter().any(|p| p.protocol == ProtocolId::IKE);
        let mut groups = Vec::new();
        for transform in sa.proposals.iter().flat_map(|p| &p.transforms).filter(|t| t.kind == TransformType::KE) {
            let group = KeMethod(transform.id);
            if group != KeMethod::NONE && !groups.contains(&group) {
                groups.push(group);
            }
        }
        let ke = inner.iter().find_map(|p| if let Payload::Ke(ke) = p { Some(ke.group) } else { None });
        Some(CreateRequest { by, ike, offered: sa.proposals.clone(), groups, ke })
    }
}

impl Facts {
    /// Takes in one event.
    pub fn note(&mut self, now: Instant, event: &Event) {
        self.now = now;
        let seen = match event {
            Event::Message(trace) => Seen::Message {
                from: trace.from,
                header: trace.message.header,
                natt: trace.path.role == crate::net::SocketRole::NatT,
                len: trace.len,
                outer: &trace.message.outer,
                sk: trace.message.sk.as_deref(),
            },
            Event::Retransmit { header, .. } => Seen::Retransmit { exchange: header.exchange, id: header.message_id },
            Event::InitDone(done) => Seen::InitDone { suite: done.suite.to_string(), nat: done.nat },
            Event::IkeUp(_) => Seen::Up,
            Event::Ignored(ignored) => Seen::Ignored {
                why: ignored.why.text(),
                repeat: ignored.why == IgnoredWhy::Repeat,
                exchange: ignored.exchange,
            },
            Event::ChildInbound(_) => Seen::Child,
            Event::PeerNotify(notify) => Seen::PeerNotify(notify.kind),
            Event::AuthRefused(refused) => Seen::Key(refused.evidence.compared().clone()),
            Event::PeerDead { measured, .. } => Seen::PeerDead { silent: *measured },
            _ => return,
        };
        self.take(now, seen);
    }

    /// Takes in what the operating system or ICMP said, in words.
    pub fn note_link(&mut self, text: &str, kind: NewsKind) {
        match kind {
            NewsKind::PortUnreachable => self.port_closed = true,
            NewsKind::Unreachable => self.rejected = Some(text.to_owned()),
            NewsKind::TooLong => self.too_long = true,
            NewsKind::NoRoute | NewsKind::NotSent => {}
        }
        if !self.notes.iter().any(|note| note == text) {
            self.notes.push(text.to_owned());
        }
    }

    pub(super) fn take(&mut self, now: Instant, seen: Seen<'_>) {
        self.now = now;
        match seen {
            Seen::Message { from, header, natt, len, outer, sk } => {
                self.packets += 1;
                self.floated |= natt;
                self.last = Some((from, header));
                let response = header.flags.is_response();
                if header.exchange == ExchangeType::CREATE_CHILD_SA
                    && !response
                    && let Some(create) = CreateRequest::of(from, sk.unwrap_or_default())
                {
                    if from == Side::Us {
                        self.asked_to_create = Some(create.clone());
                    }
                    self.create = Some(create);
                }
                if response && let Some(agreed) = chosen_for_ike(outer.iter().chain(sk.unwrap_or_default())) {
                    self.ike_agreed = Some(agreed.clone());
                }
                match from {
                    Side::Us => {
                        self.sent += 1;
                        if !response {
                            let (exchange, id) = (header.exchange, header.message_id);
                            self.asked = Some(Asked { exchange, id, sent: 1, len, at: now, natt, answered: false });
                        }
                    }
                    Side::Peer => {
                        self.received += 1;
                        if response {
                            self.answer(header.exchange, header.message_id);
                        }
                        self.auth_reply_read |= header.exchange == ExchangeType::IKE_AUTH && response && sk.is_some();
                        self.read(response, outer.iter().chain(sk.unwrap_or_default()));
                    }
                }
            }
            Seen::Retransmit { exchange, id } => {
                self.packets += 1;
                self.sent += 1;
                if let Some(asked) = self.asked.as_mut().filter(|a| (a.exchange, a.id) == (exchange, id)) {
                    asked.sent += 1;
                }
            }
            Seen::InitDone { suite, nat } => {
                self.suite = Some(suite);
                self.nat = Some(nat);
            }
            Seen::Up => {
                self.up = true;
                if self.ups.len() < MAX_TIMES {
                    self.ups.push(now);
                }
            }
            Seen::Ignored { why, repeat, exchange } => {
                match self.ignored.iter_mut().find(|(text, _)| *text == why) {
                    Some((_, count)) => *count += 1,
                    None => self.ignored.push((why, 1)),
                }
                if repeat {
                    match exchange {
                        Some(ExchangeType::IKE_SA_INIT) => self.peer_repeats.0 += 1,
                        _ => self.peer_repeats.1 += 1,
                    }
                }
            }
            Seen::Child => match &self.last {
                Some((_, header)) if header.exchange == ExchangeType::CREATE_CHILD_SA => self.children_by_create += 1,
                _ => self.children_by_auth += 1,
            },
            Seen::PeerNotify(kind) => self.peer_notify = Some(kind),
            Seen::Key(compared) => self.key = Some(compared),
            Seen::PeerDead { silent } => {
                if self.outages.len() < MAX_TIMES {
                    let nanos = u64::try_from(silent.as_nanos()).unwrap_or(u64::MAX);
                    self.outages.push(Instant(now.0.saturating_sub(nanos)));
                }
            }
        }
    }

    fn answer(&mut self, exchange: ExchangeType, id: u32) {
        let Some(asked) = self.asked.as_mut() else { return };
        if (asked.exchange, asked.id, asked.answered) == (exchange, id, false) {
            asked.answered = true;
            *(if asked.sent > 1 { &mut self.answered.1 } else { &mut self.answered.0 }) += 1;
        }
    }

    /// Reads the payloads of a message of the peer's.
    fn read<'a>(&mut self, response: bool, payloads: impl Iterator<Item = &'a Payload>) {
        let (mut ts_i, mut ts_r) = (None, None);
        for payload in payloads {
            match payload {
                Payload::IdI(id) | Payload::IdR(id) if !response == matches!(payload, Payload::IdI(_)) => {
                    self.peer_id.get_or_insert_with(|| id.clone());
                }
                Payload::Notify(n) if n.kind == NotifyType::COOKIE => self.cookie = true,
                Payload::TsI(ts) => ts_i = Some(ts.selectors.clone()),
                Payload::TsR(ts) => ts_r = Some(ts.selectors.clone()),
                _ => {}
            }
        }
        if let (Some(i), Some(r)) = (ts_i, ts_r) {
            self.peer_ts = Some((i, r));
        }
    }
}
