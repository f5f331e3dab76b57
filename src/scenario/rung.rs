//! The message ladder of one case, as a result keeps it: what every report draws and nothing that needs the capture.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::file::Who;
use super::observe::{Entry, Observation, SeenMessage, What};
use crate::record::LOST_ON_PATH;
use crate::time::Instant;
use crate::vendor::persona::Basis;
use crate::wire::registry::PayloadType;
use crate::wire::summary;

/// Rungs kept of one case; a flood or a storm has more than anybody reads.
const MOST: usize = 400;

/// The remark on a message that never reached the wire, or never reached us.
pub const WITHHELD: &str = "withheld by ikelab";

/// One line of a ladder.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Rung {
    /// Seconds since the case began.
    pub at: f64,
    /// Number of the packet in the case's capture, from 1.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub packet: Option<u64>,
    /// Who sent the message, or found or asked for the event.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub from: Option<Who>,
    /// A message, an event, or a line of the box.
    pub kind: RungKind,
    /// Exchange and message id of a message; what happened; who logged.
    pub title: String,
    /// The payloads; the box's own line.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub content: String,
    /// Octets of the IKE message.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub octets: Option<usize>,
    /// What is special about it.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub remarks: Vec<String>,
    /// It is bad news: an error notify or a failure.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub bad: bool,
    /// No box has logged this line: it is what the box that the peer plays would print. How its wording is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub modelled: Option<Basis>,
}

/// What a rung shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RungKind {
    /// A message.
    Message,
    /// Something that happened at our end.
    Event,
    /// A line that the box logged; or would log, if [`Rung::modelled`] says so.
    Log,
    /// Some were left out here.
    Gap,
}

impl Observation {
    /// The ladder; times count from `began`.
    pub fn rungs(&self, began: Instant) -> Vec<Rung> {
        let mut entries: Vec<&Entry> = self.entries.iter().collect();
        // A datagram that the engine did not tell of was taken in after the events of its turn.
        entries.sort_by_key(|entry| (entry.at, entry.packet));
        let left_out = entries.len().saturating_sub(MOST);
        let (head, tail) = (MOST / 2, entries.len() - entries.len().min(MOST / 2));
        let mut rungs = Vec::with_capacity(entries.len().min(MOST + 1));
        for (n, entry) in entries.into_iter().enumerate() {
            if left_out == 0 || n < head || n >= tail {
                rungs.push(rung(entry, began));
            } else if n == head {
                rungs.push(Rung {
                    kind: RungKind::Gap,
                    title: format!("{left_out} more; the capture has them all"),
                    ..blank(entry, began)
                });
            }
        }
        rungs
    }
}

fn blank(entry: &Entry, began: Instant) -> Rung {
    Rung {
        at: entry.at.since(began).as_secs_f64(),
        packet: None,
        from: None,
        kind: RungKind::Event,
        title: String::new(),
        content: String::new(),
        octets: None,
        remarks: Vec::new(),
        bad: false,
        modelled: None,
    }
}

fn rung(entry: &Entry, began: Instant) -> Rung {
    match &entry.what {
        What::Event(happened) => Rung {
            from: happened.by,
            title: happened.words.clone(),
            bad: happened.class.is_some(),
            ..blank(entry, began)
        },
        What::Message(seen) => {
            let header = &seen.message.header;
            let way = if seen.is_response() { "response" } else { "request" };
            let mut remarks = Vec::new();
            if seen.repeat {
                remarks.push("sent again".to_owned());
            }
            if seen.lost {
                remarks.push(LOST_ON_PATH.to_owned());
            } else if seen.withheld {
                remarks.push(WITHHELD.to_owned());
            }
            Rung {
                packet: entry.packet,
                from: Some(seen.from),
                kind: RungKind::Message,
                title: format!("{} #{} {way}", header.exchange, header.message_id),
                content: payloads(seen),
                octets: Some(seen.len),
                remarks,
                bad: seen.notifies().any(|notify| notify.kind.is_error()),
                ..blank(entry, began)
            }
        }
    }
}

fn payloads(seen: &SeenMessage) -> String {
    let response = seen.is_response();
    let outer = summary(&seen.message.outer, response);
    match seen.message.sk.as_deref().map(|inner| summary(inner, response)) {
        // Protected, and not read: a fragment before the one that completes the message, or one that cannot be.
        None if outer.is_empty() && matches!(seen.message.header.next, PayloadType::SK | PayloadType::SKF) => {
            seen.message.header.next.to_string()
        }
        None => outer,
        Some(inner) => format!("{outer} SK{{ {inner} }}").trim_start().replace("{  }", "{ }"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::TunnelId;
    use crate::net::{Path, SocketRole};
    use crate::scenario::file::EventName;
    use crate::scenario::observe::{Happened, Tapped};
    use crate::wire::registry::ExchangeType;
    use crate::wire::{Flags, Header, IkeSpi, Message};

    fn event(millis: u64, class: Option<&'static str>) -> Entry {
        let words = format!("event at {millis}");
        let what =
            What::Event(Happened { name: EventName::Up, by: Some(Who::Us), class: class.map(Into::into), words });
        Entry { at: Instant::from_millis(millis), tunnel: TunnelId(0), packet: Some(1), what }
    }

    #[test]
    fn rungs_are_in_order_and_count_from_the_beginning_of_the_case() {
        let entries = vec![event(1_500, Some("no_response")), event(1_250, None)];
        let seen = Observation { entries, keys: Vec::new() };
        let rungs = seen.rungs(Instant::from_millis(1_000));
        let short: Vec<_> = rungs.iter().map(|r| (r.at, r.title.as_str(), r.bad)).collect();
        assert_eq!(short, [(0.25, "event at 1250", false), (0.5, "event at 1500", true)]);
        assert!(rungs.iter().all(|rung| rung.packet.is_none()), "an event is in no packet");
    }

    #[test]
    fn who_kept_a_message_from_arriving_is_said() {
        let header = Header::new(IkeSpi(1), IkeSpi(0), ExchangeType::IKE_SA_INIT, Flags::INITIATOR, 0);
        let mut bytes = Vec::new();
        crate::wire::encode_into(&mut bytes, &Message::clear(header, Vec::new()), None);
        let end = "192.0.2.1:500".parse().expect("an address");
        let path = Path { local: end, remote: end, role: SocketRole::Ike };
        let mut seen = Observation::default();
        for (n, (withheld, lost)) in [(false, false), (true, false), (true, true)].into_iter().enumerate() {
            let at = Instant::from_millis(n as u64);
            let tapped =
                Tapped { number: n as u64 + 1, at, inbound: n == 2, path, bytes: bytes.clone(), withheld, lost };
            seen.datagram(&tapped);
        }
        let remarks: Vec<Vec<String>> = seen.rungs(Instant::ZERO).into_iter().map(|rung| rung.remarks).collect();
        let said = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert_eq!(remarks, [said(&[]), said(&["sent again", WITHHELD]), said(&["lost by our own path, as ordered"])]);
    }

    #[test]
    fn a_long_ladder_keeps_both_ends_and_says_what_it_left_out() {
        let entries = (0..1_000).map(|n| event(n, None)).collect();
        let rungs = Observation { entries, keys: Vec::new() }.rungs(Instant::ZERO);
        assert_eq!(rungs.len(), MOST + 1);
        assert_eq!((rungs[0].title.as_str(), rungs[MOST].title.as_str()), ("event at 0", "event at 999"));
        assert_eq!(rungs[MOST / 2].kind, RungKind::Gap);
        assert_eq!(rungs[MOST / 2].title, "600 more; the capture has them all");
    }
}
