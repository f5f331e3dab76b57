//! What the transcript of one IKE SA shows.

use crate::crypto::IkeSuite;
use crate::engine::{Event, NatFinding, Side};
use crate::wire::registry::{ExchangeType, KeMethod, NotifyType, ProtocolId, TransformType};
use crate::wire::{Header, IdPayload, Payload};

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
    pub suite: Option<IkeSuite>,
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
    /// Child SAs that came up by IKE_AUTH, whose proposals never hold a group (RFC 7296 1.2).
    pub children_by_auth: u32,
    /// Child SAs that came up by CREATE_CHILD_SA.
    pub children_by_create: u32,
}

/// A CREATE_CHILD_SA request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CreateRequest {
    /// Who asked.
    pub by: Side,
    /// It was about the IKE SA.
    pub ike: bool,
    /// The groups of its proposals, each once.
    pub groups: Vec<KeMethod>,
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
        Some(CreateRequest { by, ike, groups })
    }
}

impl Facts {
    /// Takes in one event.
    pub fn note(&mut self, event: &Event) {
        match event {
            Event::Message(trace) => {
                self.packets += 1;
                self.floated |= trace.path.role == crate::net::SocketRole::NatT;
                let message = &trace.message;
                if message.header.exchange == ExchangeType::CREATE_CHILD_SA
                    && !message.header.flags.is_response()
                    && let Some(create) = CreateRequest::of(trace.from, message.sk.as_deref().unwrap_or_default())
                {
                    self.create = Some(create);
                }
                self.last = Some((trace.from, message.header));
                match trace.from {
                    Side::Us => self.sent += 1,
                    Side::Peer => {
                        self.received += 1;
                        self.auth_reply_read |= message.header.exchange == ExchangeType::IKE_AUTH
                            && message.header.flags.is_response()
                            && message.sk.is_some();
                        for payload in message.outer.iter().chain(message.sk.iter().flatten()) {
                            match payload {
                                Payload::IdI(id) | Payload::IdR(id)
                                    if !message.header.flags.is_response() == matches!(payload, Payload::IdI(_)) =>
                                {
                                    self.peer_id.get_or_insert_with(|| id.clone());
                                }
                                Payload::Notify(n) if n.kind == NotifyType::COOKIE => self.cookie = true,
                                _ => {}
                            }
                        }
                    }
                }
            }
            Event::Retransmit { .. } => {
                self.packets += 1;
                self.sent += 1;
            }
            Event::InitDone(done) => {
                self.suite = Some(done.suite);
                self.nat = Some(done.nat);
            }
            Event::IkeUp(_) => self.up = true,
            Event::Ignored(ignored) => {
                let why = ignored.why.text();
                match self.ignored.iter_mut().find(|(text, _)| *text == why) {
                    Some((_, count)) => *count += 1,
                    None => self.ignored.push((why, 1)),
                }
            }
            Event::ChildInbound(_) => match &self.last {
                Some((_, header)) if header.exchange == ExchangeType::CREATE_CHILD_SA => self.children_by_create += 1,
                _ => self.children_by_auth += 1,
            },
            Event::PeerNotify(notify) => self.peer_notify = Some(notify.kind),
            _ => {}
        }
    }
}
