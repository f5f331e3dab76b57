//! The exchange ladder: one row per message, as it happens.

use super::paint::{Paint, Tone, wrap};
use crate::engine::{Ignored, InitDone, MessageTrace, NatFinding, Side};
use crate::record::LOST_ON_PATH;
use crate::time::Instant;
use crate::wire::registry::NotifyType;
use crate::wire::{Header, Message, NotifyPayload, Payload, summary};

/// One row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// When, since the run began.
    pub at: Instant,
    /// Who sent it.
    pub from: Side,
    /// Exchange and message id, or another title.
    pub title: String,
    /// What is in it.
    pub content: String,
    /// Octets of the IKE message; `None` where there is none.
    pub len: Option<usize>,
    /// What it means, in a few words.
    pub remark: String,
    /// Good news, bad news, or neither.
    pub tone: Tone,
    /// More about it, a line each; for `-v`.
    pub details: Vec<String>,
}

impl Row {
    /// The row of a message.
    pub fn message(at: Instant, trace: &MessageTrace) -> Self {
        let header = &trace.message.header;
        let (remark, tone) = remark(trace.from, &trace.message);
        let title = format!("{:<15} #{}", header.exchange.to_string(), header.message_id);
        Row {
            at,
            from: trace.from,
            title,
            content: content(&trace.message),
            len: Some(trace.len),
            remark,
            tone,
            details: Vec::new(),
        }
    }

    /// The row of the same request, sent again: now for the `attempt`th time of `of` at most.
    pub fn again(&self, at: Instant, attempt: u8, of: u8) -> Self {
        Row {
            at,
            remark: format!("sent again, {attempt} of {of}"),
            tone: Tone::Warn,
            details: Vec::new(),
            ..self.clone()
        }
    }

    /// The row of something that was not believed.
    pub fn ignored(at: Instant, ignored: &Ignored) -> Self {
        let title = match (ignored.exchange, ignored.message_id) {
            (Some(exchange), Some(id)) => format!("{:<15} #{id}", exchange.to_string()),
            _ => "?".to_owned(),
        };
        let mut content = format!("ignored: {}", ignored.why.text());
        if !ignored.detail.is_empty() {
            content.push_str(&format!(" ({})", ignored.detail));
        }
        let details = Vec::new();
        Row { at, from: Side::Peer, title, content, len: None, remark: String::new(), tone: Tone::Warn, details }
    }

    /// The row of a message that the bad path which was ordered lost; `how` in a word or two.
    pub fn lost(at: Instant, from: Side, header: &Header, how: &str) -> Self {
        let title = format!("{:<15} #{}", header.exchange.to_string(), header.message_id);
        let (content, details) = (LOST_ON_PATH.to_owned(), Vec::new());
        Row { at, from, title, content, len: None, remark: how.to_owned(), tone: Tone::Warn, details }
    }

    /// If this is the row of that message, it says from now on that the path has lost it, and true is returned. Once is
    /// enough for a message of several datagrams.
    pub fn mark_lost(&mut self, from: Side, header: &Header, how: &str) -> bool {
        let lost = Row::lost(self.at, from, header, how);
        if (self.from, &self.title) != (lost.from, &lost.title) {
            return false;
        }
        if !self.content.starts_with(LOST_ON_PATH) && !self.remark.contains(LOST_ON_PATH) {
            let space = if self.remark.is_empty() { "" } else { "; " };
            self.remark = format!("{}{space}{LOST_ON_PATH} ({how})", self.remark);
            self.tone = Tone::Warn;
        }
        true
    }

    /// Adds what a message offers or chooses: its proposals and traffic selectors, a line each.
    pub fn add_details(&mut self, message: &Message) {
        for payload in message.outer.iter().chain(message.sk.iter().flatten()) {
            match payload {
                Payload::Sa(sa) => {
                    self.details.extend(sa.proposals.iter().map(|proposal| format!("proposal {proposal}")));
                }
                Payload::TsI(ts) => self.details.push(format!("TSi {ts}")),
                Payload::TsR(ts) => self.details.push(format!("TSr {ts}")),
                _ => {}
            }
        }
    }

    /// Adds what IKE_SA_INIT found out about NATs to the row of its last message.
    pub fn add_nat(&mut self, done: &InitDone) {
        if self.remark.is_empty() {
            self.remark = format!("NAT: {}", nat_words(done.nat));
        }
    }

    /// The row as text, without a newline at the end. The columns fit 80 characters; on a wider terminal the content
    /// gets more room, and on a narrower one it is wrapped.
    pub fn render(&self, paint: Paint) -> String {
        let arrow = match self.from {
            Side::Us => "->",
            Side::Peer => "<-",
        };
        let head = format!("{:>6.3}  {arrow}  {:<19} ", self.at.as_secs_f64(), self.title);
        let size = self.len.map_or_else(String::new, |len| format!("{len} B"));
        let indent = head.chars().count();
        let room = paint.width.map(|w| w.saturating_sub(indent + 8).max(20));
        let column = room.map_or(CONTENT, |room| room.min(CONTENT));
        let pieces = wrap(&self.content, room.map(|_| column.max(20)));
        let mut lines = Vec::new();
        for (n, piece) in pieces.iter().enumerate() {
            if n == 0 {
                let first = format!("{head}{piece:<column$} {size:>7}");
                lines.push(paint.tone(self.tone, first.trim_end()));
            } else {
                lines.push(paint.tone(self.tone, &format!("{:indent$}{piece}", "")));
            }
        }
        if !self.remark.is_empty() {
            let first_len = indent + column.max(pieces[0].chars().count()) + 8;
            let remark = paint.tone(remark_tone(self.tone), &self.remark);
            if paint.width.is_none_or(|w| first_len + 3 + self.remark.chars().count() <= w) {
                lines[0].push_str(&format!("   {remark}"));
            } else {
                lines.push(format!("{:indent$}{remark}", ""));
            }
        }
        let tone = remark_tone(self.tone);
        let room = paint.width.map(|w| w.saturating_sub(indent).max(20));
        for piece in self.details.iter().flat_map(|detail| wrap(detail, room)) {
            lines.push(paint.tone(tone, &format!("{:indent$}{piece}", "")));
        }
        lines.join("\n")
    }
}

/// Columns of the content where there is room.
const CONTENT: usize = 48;

fn remark_tone(tone: Tone) -> Tone {
    if tone == Tone::Plain { Tone::Faint } else { tone }
}

/// What a NAT detection found, in a few words.
pub fn nat_words(nat: NatFinding) -> &'static str {
    match nat {
        NatFinding { us: true, peer: true, .. } => "at both ends",
        NatFinding { us: true, .. } => "at our end",
        NatFinding { peer: true, .. } => "at the peer's end",
        NatFinding { peer_detects: false, .. } => "the peer does not look for one",
        _ => "none",
    }
}

fn content(message: &Message) -> String {
    let response = message.header.flags.is_response();
    let outer = summary(&message.outer, response);
    let Some(inner) = &message.sk else { return outer };
    let inner = summary(inner, response);
    let sealed = if inner.is_empty() { "SK{ }".to_owned() } else { format!("SK{{ {inner} }}") };
    if outer.is_empty() { sealed } else { format!("{outer} {sealed}") }
}

/// What a message means to a person, if it is not obvious.
fn remark(from: Side, message: &Message) -> (String, Tone) {
    let payloads = message.outer.iter().chain(message.sk.iter().flatten());
    let notifies: Vec<&NotifyPayload> =
        payloads.filter_map(|p| if let Payload::Notify(n) = p { Some(n) } else { None }).collect();
    let find = |kind| notifies.iter().find(|n| n.kind == kind);
    let who = if from == Side::Us { "we want" } else { "peer wants" };
    if let Some(notify) = find(NotifyType::INVALID_KE_PAYLOAD) {
        let group = match notify.data[..] {
            [a, b] => format!("{who} group {}", u16::from_be_bytes([a, b])),
            _ => format!("{who} another group"),
        };
        return (group, Tone::Warn);
    }
    if message.header.flags.is_response() && find(NotifyType::COOKIE).is_some() {
        return (format!("{who} the cookie back first"), Tone::Warn);
    }
    match notifies.iter().find(|n| n.kind.is_error()) {
        Some(_) => (String::new(), Tone::Bad),
        None => (String::new(), Tone::Plain),
    }
}
