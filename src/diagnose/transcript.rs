//! The same diagnosis from what a run has left: the lines of a transcript, without the engine that lived it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use serde_json::Value;

use super::Facts;
use super::facts::Seen;
use crate::auth::psk::{Compared, KeyOwner};
use crate::engine::{
    AuthFault, FailScope, Failed, Failure, Heard, IgnoredWhy, LocalFault, NatFinding, PeerIncompatible, PeerMisbehaved,
    Side,
};
use crate::record::NewsKind;
use crate::time::{Instant, UnixTime};
use crate::wire::registry::{
    AuthMethod, EncrId, EsnId, ExchangeType, IdType, IntegId, KeMethod, NotifyType, PrfId, ProtocolId, TransformType,
};
use crate::wire::{
    Flags, Header, IdPayload, KePayload, NotifyPayload, Payload, Proposal, SaPayload, TrafficSelector, Transform,
    TsPayload, TsRange,
};

/// A failure in a transcript, and what was seen before it.
#[derive(Clone, Debug)]
pub struct Past {
    /// Seconds since the run began.
    pub at: f64,
    /// The IKE SA, slot and generation.
    pub sa: String,
    /// The failure.
    pub failed: Failed,
    /// What was seen until then.
    pub facts: Facts,
}

/// What a transcript tells of our own configuration, for whoever has no connection file.
#[derive(Clone, Debug, Default)]
pub struct Ours {
    /// The identity that we sent.
    pub id: Option<IdPayload>,
    /// The IKE proposals that we offered.
    pub ike: Vec<Proposal>,
    /// The Child proposals that we offered.
    pub child: Vec<Proposal>,
    /// TSi and TSr that we asked for.
    pub selectors: Option<(Vec<TrafficSelector>, Vec<TrafficSelector>)>,
    /// The peer's address.
    pub peer: Option<IpAddr>,
}

/// Reads the lines of one or more transcripts, in any mixture, and finds every failure.
///
/// # Errors
///
/// If a line is no JSON object, or of a version that is not known; the message has its number.
pub fn read(text: &str) -> Result<(Vec<Past>, Ours), String> {
    let mut facts: std::collections::BTreeMap<String, Facts> = std::collections::BTreeMap::new();
    let mut times: std::collections::BTreeMap<u64, (Vec<Instant>, Vec<Instant>)> = std::collections::BTreeMap::new();
    let (mut past, mut ours, mut epoch) = (Vec::new(), Ours::default(), None);
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let wrong = |why: &dyn std::fmt::Display| format!("line {}: {why}", number + 1);
        let value: Value = serde_json::from_str(line).map_err(|e| wrong(&e))?;
        if value["v"] != crate::record::SCHEMA_VERSION {
            return Err(wrong(&format!("version {} of transcripts is not known here", value["v"])));
        }
        let sa = value["sa"].as_str().unwrap_or("?").to_owned();
        let at = value["t"].as_f64().unwrap_or(0.0);
        let now = Instant((at * 1e9) as u64);
        let tunnel = value["tunnel"].as_u64().unwrap_or(0);
        if let Some(began) = value["epoch"].as_f64() {
            epoch = Some(UnixTime((began * 1e9) as u64));
        }
        let here = facts.entry(sa.clone()).or_default();
        match value["event"].as_str().unwrap_or_default() {
            "failed" | "child_failed" => {
                if let Some(failed) = failed(&value, here) {
                    here.now = now;
                    let (outages, ups) = times.entry(tunnel).or_default();
                    (here.outages, here.ups, here.epoch) = (outages.clone(), ups.clone(), epoch);
                    past.push(Past { at, sa, failed, facts: here.clone() });
                }
            }
            "ike_rekeyed" => {
                // The same peer under another handle.
                if let Some(before) = value["old"].as_str().and_then(|old| facts.get(old)).cloned() {
                    facts.insert(sa, before);
                }
            }
            event => {
                // Outages and what came up after each are the tunnel's, whose IKE SAs follow one another.
                let before = (here.outages.len(), here.ups.len());
                note(here, now, event, &value);
                let (outages, ups) = times.entry(tunnel).or_default();
                outages.extend(&here.outages[before.0..]);
                ups.extend(&here.ups[before.1..]);
                ours.note(event, &value);
            }
        }
    }
    Ok((past, ours))
}

/// Several transcripts as one: their lines in order of time.
pub fn merged(texts: &[String]) -> String {
    if let [one] = texts {
        return one.clone();
    }
    let time =
        |line: &str| serde_json::from_str::<Value>(line).ok().and_then(|value| value["t"].as_f64()).unwrap_or(0.0);
    let mut lines: Vec<(f64, &str)> =
        texts.iter().flat_map(|text| text.lines()).map(|line| (time(line), line)).collect();
    lines.sort_by(|a, b| a.0.total_cmp(&b.0));
    lines.into_iter().map(|(_, line)| format!("{line}\n")).collect()
}

fn note(facts: &mut Facts, now: Instant, event: &str, value: &Value) {
    match event {
        "message" => {
            let Some(header) = header(value) else { return };
            let (outer, sk) = (payloads(&value["payloads"]), value.get("protected").map(payloads));
            let (outer, sk) = (&outer[..], sk.as_deref());
            let len = value["len"].as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
            facts.take(now, Seen::Message { from: side(&value["from"]), header, natt: natt(value), len, outer, sk });
        }
        "retransmit" => {
            let id = value["message_id"].as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
            if let Some(exchange) = exchange(&value["exchange"]) {
                facts.take(now, Seen::Retransmit { exchange, id });
            }
        }
        "init_done" => {
            let flag = |name: &str| value["nat"][name].as_bool().unwrap_or(false);
            let nat = NatFinding { peer_detects: flag("peer_detects"), us: flag("us"), peer: flag("peer") };
            facts.take(now, Seen::InitDone { suite: value["suite"].as_str().unwrap_or("?").to_owned(), nat });
        }
        "ike_up" => facts.take(now, Seen::Up),
        "ignored" => {
            let all = [
                IgnoredWhy::NotIke,
                IgnoredWhy::Version,
                IgnoredWhy::UnknownSpi,
                IgnoredWhy::BadIcv,
                IgnoredWhy::Unprotected,
                IgnoredWhy::UnexpectedResponse,
                IgnoredWhy::OutsideWindow,
                IgnoredWhy::Repeat,
                IgnoredWhy::WrongFlags,
                IgnoredWhy::UnexpectedExchange,
                IgnoredWhy::Unacceptable,
                IgnoredWhy::UnprotectedError,
                IgnoredWhy::Limit,
                IgnoredWhy::BadCookie,
                IgnoredWhy::NoConnection,
                IgnoredWhy::StrayFragment,
                IgnoredWhy::Tampered,
                IgnoredWhy::CiscoFragment,
            ];
            if let Some(why) = all.into_iter().find(|why| value["why"] == why.text()) {
                let repeat = why == IgnoredWhy::Repeat;
                facts.take(now, Seen::Ignored { why: why.text(), repeat, exchange: exchange(&value["exchange"]) });
            }
        }
        "child_inbound" => facts.take(now, Seen::Child),
        "peer_notify" => {
            if let Some(kind) = number::<u16>(&value["payload"]["notify_type"]) {
                facts.take(now, Seen::PeerNotify(NotifyType(kind)));
            }
        }
        "auth_refused" => {
            if let Some(compared) = compared(value) {
                facts.take(now, Seen::Key(compared));
            }
        }
        "network" => {
            if let Some(kind) = NewsKind::ALL.into_iter().find(|kind| value["kind"] == kind.word()) {
                facts.note_link(value["text"].as_str().unwrap_or_default(), kind);
            }
        }
        "peer_dead" => {
            let silent = Duration::from_millis(value["measured_ms"].as_u64().unwrap_or(0));
            facts.take(now, Seen::PeerDead { silent });
        }
        _ => {}
    }
}

impl Ours {
    fn note(&mut self, event: &str, value: &Value) {
        if event != "message" {
            return;
        }
        if self.peer.is_none() {
            let socket = value["remote"].as_str().and_then(|s| s.parse::<std::net::SocketAddr>().ok());
            self.peer = socket.map(|s| s.ip());
        }
        if value["from"] != "us" {
            return;
        }
        let response = value["response"].as_bool().unwrap_or(false);
        let (mut ts_i, mut ts_r) = (None, None);
        for payload in payloads(&value["payloads"]).into_iter().chain(payloads(&value["protected"])) {
            match payload {
                Payload::IdI(id) | Payload::IdR(id) if self.id.is_none() => self.id = Some(id),
                Payload::Sa(sa) if !response => {
                    let ike = sa.proposals.iter().any(|p| p.protocol == ProtocolId::IKE);
                    *(if ike { &mut self.ike } else { &mut self.child }) = sa.proposals;
                }
                Payload::TsI(ts) => ts_i = Some(ts.selectors),
                Payload::TsR(ts) => ts_r = Some(ts.selectors),
                _ => {}
            }
        }
        if let (Some(i), Some(r), false) = (ts_i, ts_r, response) {
            self.selectors = Some((i, r));
        }
    }
}

/// The failure of a line; `None` if it lacks what every failure has.
fn failed(value: &Value, facts: &Facts) -> Option<Failed> {
    let scope = match value["scope"].as_str()? {
        "exchange" => FailScope::Exchange,
        "child" => FailScope::Child,
        _ => FailScope::IkeSa,
    };
    let why = why(value, facts).unwrap_or_else(|| {
        Failure::Local(LocalFault::Other(value["why"].as_str().unwrap_or("an unknown failure").to_owned()))
    });
    Some(Failed { scope, exchange: exchange(&value["exchange"])?, found_by: side(&value["found_by"]), why })
}

/// The reason, as far as the line holds it.
fn why(value: &Value, facts: &Facts) -> Option<Failure> {
    let selectors = |key: &str| value[key].as_array().map(|list| list.iter().filter_map(selector).collect::<Vec<_>>());
    let identity = || -> Option<IdPayload> {
        let kind = IdType(number(&value["id_type"])?);
        Some(IdPayload::new(kind, unhex(&value["id_data"])?))
    };
    Some(match value["kind"].as_str()? {
        "rejected" => Failure::Rejected {
            notify: NotifyType(number(&value["notify_type"])?),
            data: unhex(&value["data"]).unwrap_or_default(),
            protected: value["protected"].as_bool().unwrap_or(false),
        },
        "no_answer" => {
            let heard = match value["heard"].as_str() {
                Some("fragments") => Heard::Fragments,
                Some("rekey") => Heard::Rekey,
                _ => Heard::Nothing,
            };
            Failure::NoAnswer { attempts: number(&value["attempts"])?, heard }
        }
        "mismatch" => Failure::AuthFailed(AuthFault::Mismatch { id: identity()? }),
        "identity" => Failure::AuthFailed(AuthFault::Identity { got: identity()? }),
        "method" => Failure::AuthFailed(AuthFault::Method { got: AuthMethod(number(&value["auth_method"])?) }),
        "eap_unwanted" => Failure::AuthFailed(AuthFault::EapUnwanted),
        "eap_wanted" => Failure::AuthFailed(AuthFault::EapWanted { got: AuthMethod(number(&value["auth_method"])?) }),
        "certificate" => {
            let fault = super::faults::certificate(&value["certificate"])?;
            Failure::AuthFailed(AuthFault::Certificate(Box::new(fault)))
        }
        "eap" => Failure::AuthFailed(AuthFault::Eap(super::faults::eap(&value["eap"])?)),
        "no_proposal" => Failure::Incompatible(PeerIncompatible::NoProposal {
            offered: proposals(&value["offered"]),
            wanted: proposals(&value["wanted"]),
        }),
        "selectors" => Failure::Incompatible(PeerIncompatible::Selectors {
            offered_i: selectors("offered_tsi")?,
            offered_r: selectors("offered_tsr")?,
            wanted_i: selectors("wanted_tsi")?,
            wanted_r: selectors("wanted_tsr")?,
        }),
        "mode" => Failure::Incompatible(PeerIncompatible::Mode),
        "no_inner_address" => Failure::Incompatible(PeerIncompatible::NoInnerAddress),
        "no_config_request" => Failure::Incompatible(PeerIncompatible::NoConfigRequest),
        "no_address_family" => Failure::Incompatible(PeerIncompatible::NoAddressFamily),
        "selectors_not_subset" => {
            Failure::Misbehaved(PeerMisbehaved::SelectorsNotSubset(selectors("chosen_ts").unwrap_or_default()))
        }
        "cookie_loop" => Failure::Misbehaved(PeerMisbehaved::CookieLoop(facts.sent.try_into().unwrap_or(u8::MAX))),
        "invalid_ke_loop" => {
            Failure::Misbehaved(PeerMisbehaved::InvalidKeLoop(facts.received.try_into().unwrap_or(u8::MAX)))
        }
        "unoffered_group" => Failure::Misbehaved(PeerMisbehaved::UnofferedGroup(KeMethod(number(&value["group"])?))),
        "deleted" => Failure::DeletedByPeer,
        "half_open_expired" => Failure::Local(LocalFault::HalfOpenExpired),
        "pool_exhausted" => Failure::Local(LocalFault::PoolExhausted),
        "replaced" => Failure::Local(LocalFault::ReplacedByInitialContact),
        "cancelled" => Failure::Local(LocalFault::Cancelled),
        _ => return None,
    })
}

fn compared(value: &Value) -> Option<Compared> {
    let owner = || match value["whose"].as_str()? {
        "peer" => Some(KeyOwner::Peer),
        "us" => Some(KeyOwner::Us),
        _ => Some(KeyOwner::Connection(value["connection"].as_str()?.to_owned())),
    };
    Some(match value["key"].as_str()? {
        "same" => Compared::Same(owner()?),
        "variant" => Compared::Variant(owner()?, value["how"].as_str()?.to_owned()),
        _ => Compared::Unlike { tried: number(&value["tried"])? },
    })
}

fn side(value: &Value) -> Side {
    if value == "us" { Side::Us } else { Side::Peer }
}

pub(super) fn number<T: TryFrom<u64>>(value: &Value) -> Option<T> {
    T::try_from(value.as_u64()?).ok()
}

fn exchange(value: &Value) -> Option<ExchangeType> {
    ExchangeType::from_name(value.as_str()?)
}

fn header(value: &Value) -> Option<Header> {
    let spi = |key: &str| u64::from_str_radix(value[key].as_str().unwrap_or("0"), 16).unwrap_or(0);
    let flag = |key: &str| value[key].as_bool().unwrap_or(false);
    let flags = Flags::of(flag("initiator_flag"), flag("response"));
    let (spi_i, spi_r) = (crate::wire::IkeSpi(spi("spi_i")), crate::wire::IkeSpi(spi("spi_r")));
    Some(Header::new(spi_i, spi_r, exchange(&value["exchange"])?, flags, number(&value["message_id"])?))
}

/// Whether a message went to or from the NAT-T port. Lines hold ports and not what they are for; 500 is IKE's own.
fn natt(value: &Value) -> bool {
    let port = |key: &str| value[key].as_str().and_then(|s| s.rsplit(':').next()?.parse::<u16>().ok());
    port("local") == Some(4500) || port("remote") == Some(4500)
}

/// The payloads that a diagnosis looks at; the others only count by being there.
fn payloads(value: &Value) -> Vec<Payload> {
    value.as_array().into_iter().flatten().filter_map(payload).collect()
}

fn payload(value: &Value) -> Option<Payload> {
    let id = || -> Option<IdPayload> {
        let kind = IdType::from_name(value["id_type"].as_str()?)?;
        Some(IdPayload::new(kind, unhex(&value["data"])?))
    };
    let ts = || -> Option<TsPayload> {
        let selectors = value["selectors"].as_array()?.iter().filter_map(selector).collect();
        Some(TsPayload { selectors })
    };
    Some(match value["type"].as_str()? {
        "SA" => Payload::Sa(SaPayload { proposals: proposals(&value["proposals"]) }),
        "KE" => {
            let group = KeMethod::from_name(value["group"].as_str()?)?;
            Payload::Ke(KePayload { group, data: Vec::new() })
        }
        "IDi" => Payload::IdI(id()?),
        "IDr" => Payload::IdR(id()?),
        "TSi" => Payload::TsI(ts()?),
        "TSr" => Payload::TsR(ts()?),
        _ => {
            let kind = NotifyType(number(&value["notify_type"])?);
            Payload::Notify(NotifyPayload::with_data(kind, unhex(&value["data"]).unwrap_or_default()))
        }
    })
}

fn proposals(value: &Value) -> Vec<Proposal> {
    let one = |value: &Value| {
        let protocol = ProtocolId::from_name(value["protocol"].as_str()?)?;
        let mut before = TransformType(0);
        let mut transforms = Vec::new();
        for text in value["transforms"].as_array()? {
            let transform = transform(text.as_str()?, before)?;
            before = transform.kind;
            transforms.push(transform);
        }
        Some(Proposal { number: number(&value["number"])?, protocol, spi: Vec::new(), transforms })
    };
    value.as_array().into_iter().flatten().filter_map(one).collect()
}

/// A transform as it prints. "NONE" is an integrity algorithm or a group, and stands where that kind stands.
fn transform(text: &str, before: TransformType) -> Option<Transform> {
    if text == "NONE" {
        let group = matches!(before, TransformType::INTEG | TransformType::KE);
        return Some(Transform::new(if group { TransformType::KE } else { TransformType::INTEG }, 0));
    }
    let named = |name: &str| {
        let encr = || EncrId::from_name(&format!("ENCR_{name}")).or_else(|| EncrId::from_name(name));
        let integ = || IntegId::from_name(&format!("AUTH_{name}")).or_else(|| IntegId::from_name(name));
        None.or_else(|| EsnId::from_name(name).map(|i| (TransformType::ESN, i.0)))
            .or_else(|| PrfId::from_name(name).map(|i| (TransformType::PRF, i.0)))
            .or_else(|| KeMethod::from_name(name).map(|i| (TransformType::KE, i.0)))
            .or_else(|| integ().map(|i| (TransformType::INTEG, i.0)))
            .or_else(|| encr().map(|i| (TransformType::ENCR, i.0)))
    };
    if let Some((kind, id)) = named(text) {
        return Some(Transform::new(kind, id));
    }
    let (name, bits) = text.rsplit_once('_')?;
    let (kind, id) = named(name)?;
    Some(Transform::with_key_bits(kind, id, bits.parse().ok()?))
}

/// A selector as it prints: `10.1.1.0/24[tcp/443]`.
fn selector(value: &Value) -> Option<TrafficSelector> {
    let text = value.as_str()?;
    let (net, more) = text.split_once('[').map_or((text, None), |(net, more)| (net, more.strip_suffix(']')));
    let mut selector = match net.split_once('-') {
        Some((start, end)) => TrafficSelector::any_port(range(start.parse().ok()?, end.parse().ok()?)?),
        None => {
            let (addr, prefix) = net.split_once('/')?;
            TrafficSelector::from_net(addr.parse().ok()?, prefix.parse().ok()?)
        }
    };
    if let Some(more) = more {
        let (protocol, ports) = more.split_once('/').map_or((more, None), |(p, ports)| (p, Some(ports)));
        selector.protocol = match protocol {
            "any" => 0,
            "icmp" => 1,
            "tcp" => 6,
            "udp" => 17,
            "esp" => 50,
            "icmpv6" => 58,
            "sctp" => 132,
            other => other.strip_prefix("proto ")?.parse().ok()?,
        };
        if let Some(ports) = ports.filter(|p| *p != "opaque" && !p.contains(':')) {
            let (start, end) = ports.split_once('-').unwrap_or((ports, ports));
            (selector.start_port, selector.end_port) = (start.parse().ok()?, end.parse().ok()?);
        }
    }
    Some(selector)
}

fn range(start: IpAddr, end: IpAddr) -> Option<TsRange> {
    fn v4(start: Ipv4Addr, end: Ipv4Addr) -> TsRange {
        TsRange::V4 { start, end }
    }
    fn v6(start: Ipv6Addr, end: Ipv6Addr) -> TsRange {
        TsRange::V6 { start, end }
    }
    match (start, end) {
        (IpAddr::V4(start), IpAddr::V4(end)) => Some(v4(start, end)),
        (IpAddr::V6(start), IpAddr::V6(end)) => Some(v6(start, end)),
        _ => None,
    }
}

pub(super) fn unhex(value: &Value) -> Option<Vec<u8>> {
    let text = value.as_str()?.as_bytes();
    let digit = |o: u8| char::from(o).to_digit(16).map(|d| d as u8);
    if !text.len().is_multiple_of(2) {
        return None;
    }
    text.chunks(2).map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transforms_and_selectors_are_read_as_they_print() {
        let words = crate::config::ike_proposal("aes256-sha256-prfsha384-modp2048-ecp256-x25519").expect("known words");
        let gcm = crate::config::ike_proposal("aes128gcm16-prfsha1-ecp521").expect("known words");
        for spec in [words, gcm] {
            let mut before = TransformType(0);
            for transform in &spec.transforms {
                let got = super::transform(&transform.to_string(), before);
                before = transform.kind;
                assert_eq!(got.as_ref(), Some(transform), "{transform}");
            }
        }
        for text in ["10.1.0.0/16", "10.0.0.1-10.0.0.7", "fd02::/64", "10.1.1.0/24[tcp/443-443]", "0.0.0.0/0[udp]"] {
            let got = selector(&text.into()).expect("a selector");
            assert_eq!(selector(&got.to_string().into()), Some(got.clone()), "{text} {got}");
        }
    }

    #[test]
    fn what_is_no_transcript_is_said_with_its_line() {
        assert!(read("{\"v\":1}\nnonsense").unwrap_err().starts_with("line 2: "));
        assert!(read("{\"v\":99}").unwrap_err().contains("version 99"));
        assert!(read("").expect("nothing").0.is_empty());
    }
}
