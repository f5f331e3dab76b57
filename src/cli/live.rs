//! What happens on the terminal while an endpoint lives: ladder rows, and the facts for a diagnosis.

use serde_json::{Value, json};

use super::term;
use crate::auth::Judged;
use crate::diagnose::{Facts, Finding, diagnose};
use crate::drive::Lost;
use crate::engine::{AuthSpec, ConnectionSpec, Event, Failed, MessageTrace, Side};
use crate::net::Class;
use crate::record::{Direction, Recorder, how_lost};
use crate::report::ladder::Row;
use crate::report::paint::Paint;
use crate::report::session::Proof;
use crate::time::Instant;
use crate::vendor::Vendor;
use crate::wire::Header;
use crate::wire::registry::ExchangeType;

/// The ladder of one IKE SA. A row waits for the next one, because what a message led to is part of it.
#[derive(Debug)]
pub struct Ladder {
    paint: Paint,
    /// Print rows at all.
    shown: bool,
    /// Show liveness checks, too, and what messages offer.
    verbose: bool,
    /// Stands before each row.
    prefix: String,
    pending: Option<Row>,
    last_sent: Option<Row>,
    /// The liveness check under way: who asked, and its message id.
    liveness: Option<(Side, u32)>,
}

impl Ladder {
    /// A ladder for standard output.
    pub fn new(paint: Paint, shown: bool, verbose: bool, prefix: String) -> Self {
        Ladder { paint, shown, verbose, prefix, pending: None, last_sent: None, liveness: None }
    }

    /// Takes in one event.
    pub fn event(&mut self, now: Instant, event: &Event) {
        match event {
            Event::Message(trace) => {
                let mut row = Row::message(now, trace);
                if trace.from == Side::Us && !trace.message.header.flags.is_response() {
                    self.last_sent = Some(row.clone());
                }
                if self.verbose {
                    row.add_details(&trace.message);
                }
                if !self.is_liveness(trace) || self.verbose {
                    self.push(row);
                }
            }
            Event::Retransmit { attempt, of, .. } => {
                if let Some(row) = &self.last_sent {
                    let row = row.again(now, *attempt, *of);
                    self.push(row);
                }
            }
            Event::InitDone(done) => {
                if let Some(row) = &mut self.pending {
                    row.add_nat(done);
                }
            }
            Event::Ignored(ignored) => self.push(Row::ignored(now, ignored)),
            _ => {}
        }
    }

    /// Takes in what the bad path has lost: the row of the message says so, or one of its own.
    pub fn lost(&mut self, lost: &Lost<'_>) {
        let Some((from, header)) = lost_message(lost) else { return };
        let how = how_lost(lost.why);
        if !self.pending.as_mut().is_some_and(|row| row.mark_lost(from, &header, how)) {
            self.push(Row::lost(lost.at, from, &header, how));
        }
    }

    /// Prints the row that waits.
    pub fn flush(&mut self) {
        if let Some(row) = self.pending.take()
            && self.shown
        {
            for line in row.render(self.paint).lines() {
                term::print(&format!("{}{line}\n", self.prefix));
            }
        }
    }

    /// Whether a message is an empty INFORMATIONAL request or its answer. An empty answer to DELETE is not.
    fn is_liveness(&mut self, trace: &MessageTrace) -> bool {
        let header = &trace.message.header;
        let empty = trace.message.sk.as_ref().is_some_and(Vec::is_empty);
        if header.exchange != ExchangeType::INFORMATIONAL || !empty {
            return false;
        }
        if !header.flags.is_response() {
            self.liveness = Some((trace.from, header.message_id));
            return true;
        }
        let asked = if trace.from == Side::Us { Side::Peer } else { Side::Us };
        self.liveness == Some((asked, header.message_id))
    }

    fn push(&mut self, row: Row) {
        self.flush();
        self.pending = Some(row);
    }
}

/// Who sent the IKE message that the bad path has lost, and its header.
pub fn lost_message(lost: &Lost<'_>) -> Option<(Side, Header)> {
    let header = (lost.class == Class::Ike).then(|| Header::read(lost.bytes)).flatten()?;
    Some((if lost.direction == Direction::Out { Side::Us } else { Side::Peer }, header))
}

/// The finding for a failure, with the number of the packet that decided it.
pub fn explain(
    failed: &Failed,
    facts: &Facts,
    spec: &ConnectionSpec,
    vendor: Option<Vendor>,
    recorder: &Recorder,
) -> Finding {
    let mut facts = facts.clone();
    facts.packet = facts.last.as_ref().and_then(|(side, header)| {
        let direction = if *side == Side::Us { Direction::Out } else { Direction::In };
        recorder.packet(direction, header)
    });
    diagnose(failed, &facts, spec, vendor)
}

/// A finding for `result.json`.
pub fn finding_json(finding: &Finding) -> Value {
    json!({
        "headline": finding.headline,
        "class": finding.class,
        "phase": finding.phase,
        "certainty": finding.certainty.word(),
        "known": finding.known,
        "likely": finding.likely.iter().map(|c| json!({
            "code": c.code, "text": c.text, "because": c.because, "failure": c.failure,
        })).collect::<Vec<_>>(),
        "on_peer": finding.on_peer.iter()
            .map(|l| json!({
                "vendor": l.vendor.name(), "text": l.text, "evidence": l.evidence.name(),
                "sources": l.sources().iter().map(|source| source.title()).collect::<Vec<_>>(),
            }))
            .collect::<Vec<_>>(),
        "next": finding.next,
    })
}

/// How a connection's peer proves its identity, before it has done so.
pub fn proof_by(spec: &ConnectionSpec) -> Proof {
    let by = match spec.remote_auth {
        AuthSpec::Psk(_) => "pre-shared key",
        AuthSpec::Certificate(_) | AuthSpec::Trust(_) => "certificate",
        AuthSpec::EapPeer(_) | AuthSpec::EapAuthenticator(_) => "EAP",
        AuthSpec::EapOnly => "EAP alone",
    };
    Proof { by: by.to_owned(), notes: Vec::new() }
}

/// How a peer has proved its identity with a certificate.
pub fn certificate_proof(judged: &Judged) -> Proof {
    let issuer = judged.issuers.first().map_or_else(|| "trusted directly".to_owned(), |i| format!("issued by {i}"));
    let by = format!("certificate of {} ({}, {}; {issuer})", judged.subject, judged.key, judged.scheme);
    let policy = judged.policy.name();
    Proof { by, notes: judged.notes.iter().map(|note| format!("by policy {policy}: {note}")).collect() }
}
