//! The log lines that a box of this kind would print, for what its own engine goes through.
//!
//! A writer sees one endpoint's events and its connection, nothing else: not what a scenario is called, nor what the
//! other end was told to do wrong. A line's basis says how its wording is known.

mod asa;
mod ios;
mod panos;
mod strongswan;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::{Basis, Persona};
use crate::config::Vendor;
use crate::engine::{ConnectionSpec, Event, SaId, Side};
use crate::wire::registry::{ExchangeType, NotifyType};
use crate::wire::{IdPayload, IkeSpi, Payload, TrafficSelector, TsRange};

/// One line of a box's log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogLine {
    /// As the box would print it, without its timestamp.
    pub text: String,
    /// How the wording is known.
    pub basis: Basis,
}

impl LogLine {
    fn new(basis: Basis, text: impl Into<String>) -> Self {
        LogLine { text: text.into(), basis }
    }
}

/// Writes the log of one box.
#[derive(Debug)]
pub struct LogWriter {
    vendor: Option<Vendor>,
    spec: Arc<ConnectionSpec>,
    sessions: BTreeMap<SaId, Session>,
    /// Sessions so far, of the whole box.
    count: Arc<AtomicU32>,
}

/// What a box remembers of a negotiation, for its lines.
#[derive(Clone, Debug)]
struct Session {
    /// Counted from 1.
    number: u32,
    initiator: bool,
    local: SocketAddr,
    remote: SocketAddr,
    spis: (IkeSpi, IkeSpi),
    /// What the peer says it is.
    peer_id: Option<IdPayload>,
    up: bool,
    /// A Child SA has come up.
    child: bool,
}

/// What has happened, in the terms that the vendors' writers need.
enum Moment<'a> {
    /// The first message of a negotiation went out or came in.
    Begins,
    /// We sent an unprotected or protected notify.
    Said(NotifyType),
    /// Something else.
    Event(&'a Event),
}

impl LogWriter {
    /// A writer for a box that plays `persona` with `spec`. The plain persona has no log.
    pub fn new(persona: &Persona, spec: Arc<ConnectionSpec>) -> Self {
        LogWriter { vendor: persona.vendor, spec, sessions: BTreeMap::new(), count: Arc::default() }
    }

    /// Another writer for the same box, for another of its endpoints: sessions are numbered together.
    pub fn beside(&self) -> Self {
        LogWriter {
            vendor: self.vendor,
            spec: Arc::clone(&self.spec),
            sessions: BTreeMap::new(),
            count: Arc::clone(&self.count),
        }
    }

    /// The lines for an event of the box's own endpoint.
    pub fn event(&mut self, sa: SaId, event: &Event) -> Vec<LogLine> {
        let Some(vendor) = self.vendor else { return Vec::new() };
        let mut lines = Vec::new();
        self.know(sa, event);
        if let Event::Message(trace) = event {
            let header = &trace.message.header;
            if sa == SaId::NONE && trace.from == Side::Peer {
                // Every stranger's request begins anew.
                self.sessions.remove(&sa);
            }
            // An answer of ours about which nothing is kept begins nothing: what it refuses is over already.
            let parting = trace.from == Side::Us && header.flags.is_response() && !self.sessions.contains_key(&sa);
            if !self.sessions.contains_key(&sa) {
                let number = if parting { self.count.load(Relaxed) } else { self.count.fetch_add(1, Relaxed) + 1 };
                self.sessions.insert(
                    sa,
                    Session {
                        number,
                        initiator: trace.from == Side::Us && !parting,
                        local: trace.path.local,
                        remote: trace.path.remote,
                        spis: (header.spi_i, header.spi_r),
                        peer_id: None,
                        up: false,
                        child: false,
                    },
                );
                if !parting {
                    lines.extend(self.write(vendor, sa, Moment::Begins));
                }
            }
            let session = self.sessions.get_mut(&sa).expect("it was put there");
            (session.local, session.remote) = (trace.path.local, trace.path.remote);
            session.spis = (header.spi_i, header.spi_r);
            let payloads = || trace.message.outer.iter().chain(trace.message.sk.iter().flatten());
            if trace.from == Side::Peer && header.exchange == ExchangeType::IKE_AUTH {
                let id = payloads().find_map(|p| match p {
                    Payload::IdI(id) if !session.initiator => Some(id.clone()),
                    Payload::IdR(id) if session.initiator => Some(id.clone()),
                    _ => None,
                });
                session.peer_id = id.or(session.peer_id.take());
            }
            if trace.from == Side::Us && trace.attempt == 0 {
                let said: Vec<NotifyType> = payloads()
                    .filter_map(|p| match p {
                        Payload::Notify(n) => Some(n.kind),
                        _ => None,
                    })
                    .collect();
                for notify in said {
                    lines.extend(self.write(vendor, sa, Moment::Said(notify)));
                }
            }
            if parting {
                self.sessions.remove(&sa);
                return lines;
            }
        }
        if self.sessions.contains_key(&sa) {
            lines.extend(self.write(vendor, sa, Moment::Event(event)));
            let session = self.sessions.get_mut(&sa).expect("it is there");
            match event {
                Event::IkeUp(_) => session.up = true,
                Event::ChildInbound(_) => session.child = true,
                Event::Closed => {
                    self.sessions.remove(&sa);
                }
                _ => {}
            }
        }
        lines
    }

    /// What is told of an IKE SA before its first message.
    fn know(&mut self, sa: SaId, event: &Event) {
        match event {
            // The same peer under another handle.
            Event::IkeRekeyed(rekeyed) => {
                if let Some(old) = self.sessions.get(&rekeyed.old) {
                    let new = Session { spis: rekeyed.spis, up: true, ..old.clone() };
                    self.sessions.insert(sa, new);
                }
            }
            Event::Ignored(ignored) if sa == SaId::NONE => {
                let session = Session {
                    number: self.count.load(Relaxed) + 1,
                    initiator: false,
                    local: ignored.path.local,
                    remote: ignored.path.remote,
                    spis: (IkeSpi::ZERO, IkeSpi::ZERO),
                    peer_id: None,
                    up: false,
                    child: false,
                };
                self.sessions.insert(sa, session);
            }
            _ => {}
        }
    }

    /// The lines for ESP that was dropped because the licence allows no more; `outbound` is ours.
    pub fn capped(&self, outbound: bool) -> Vec<LogLine> {
        match self.vendor {
            Some(Vendor::CiscoIosXe) => ios::capped(outbound),
            _ => Vec::new(),
        }
    }

    fn write(&self, vendor: Vendor, sa: SaId, moment: Moment<'_>) -> Vec<LogLine> {
        let session = &self.sessions[&sa];
        match vendor {
            Vendor::CiscoIosXe => ios::lines(session, &moment),
            Vendor::CiscoAsa => asa::lines("ASA", session, &self.spec, &moment),
            Vendor::CiscoFtd => asa::lines("FTD", session, &self.spec, &moment),
            Vendor::PaloAltoPanos => panos::lines(session, &moment),
            Vendor::StrongSwan => strongswan::lines(session, &self.spec, &moment),
        }
    }
}

/// An identity's value, as boxes print it: without the type.
fn id_value(id: &IdPayload) -> String {
    let text = id.to_string();
    text.split_once(':').map_or(text.clone(), |(_, value)| value.to_owned())
}

/// First and last address of a selector.
fn ends(ts: &TrafficSelector) -> (String, String) {
    match &ts.range {
        TsRange::V4 { start, end } => (start.to_string(), end.to_string()),
        TsRange::V6 { start, end } => (start.to_string(), end.to_string()),
        TsRange::Unknown { .. } => ("?".into(), "?".into()),
    }
}
