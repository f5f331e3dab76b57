//! The proof that a change took effect on the wire.
//!
//! A setting that was changed and a message that shows it are two things. [`prove`] compares what we sent with what the
//! baseline's handshake sent in the one field that the change is about.

use std::fmt::Write as _;

use sha1::{Digest, Sha1};

use super::change::{Field, row};
use super::file::{Role, Who};
use super::observe::{Observation, SeenMessage};
use crate::auth::Certificate;
use crate::crypto::{Secret, psk_auth};
use crate::engine::{AuthSpec, ConnectionSpec};
use crate::wire::registry::{ExchangeType, NotifyType, TransformType};
use crate::wire::{Payload, Proposal, TrafficSelector, encode_into};

/// A change that was seen on the wire.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub struct Proof {
    /// The setting.
    pub path: String,
    /// What it shows in.
    pub field: String,
    /// What the baseline's handshake sent there.
    pub baseline: String,
    /// What this one sent.
    pub sent: String,
    /// In which packet.
    pub packet: Option<u64>,
}

/// Proves that the change of `path` was on the wire: what we sent differs in its field from what the baseline's
/// handshake in the same role sent.
///
/// # Errors
/// In words, if it was not: the result is then inconclusive.
pub fn prove(
    path: &str,
    role: Role,
    spec: &ConnectionSpec,
    baseline: &Observation,
    observed: &Observation,
) -> Result<Proof, String> {
    let row = row(path)?;
    let psk = match &spec.local_auth {
        AuthSpec::Psk(psk) => Some(&**psk),
        _ => None,
    };
    let field = field_name(row.field, role);
    if let Field::Refusals | Field::Requests(_) | Field::Pfs = row.field {
        let (was, _) = whole(row.field, baseline);
        let (sent, packet) = whole(row.field, observed);
        if was == sent {
            return Err(format!("changed {path}, but nothing of ours shows it ({field}: {sent})"));
        }
        return Ok(Proof { path: path.to_owned(), field, baseline: was, sent, packet });
    }
    if let Field::Certificate(who) = row.field {
        let was = certificates(baseline, who, role).map_or_else(|| "none".to_owned(), |(_, words)| words);
        let (packet, sent) = certificates(observed, who, role)
            .ok_or_else(|| format!("changed {path}, but no certificate of that end was seen"))?;
        if was == sent {
            return Err(format!("changed {path}, but the certificate is the same as without the change: {sent}"));
        }
        return Ok(Proof { path: path.to_owned(), field, baseline: was, sent, packet });
    }
    if row.field == Field::Bandwidth {
        let (was, sent) = (licensed(baseline), licensed(observed));
        if was == sent {
            return Err(format!("changed {path}, but nothing was kept from passing"));
        }
        let words = |packets: usize| format!("{packets} packets kept from passing");
        return Ok(Proof { path: path.to_owned(), field, baseline: words(was), sent: words(sent), packet: None });
    }
    let exchange = match row.field {
        Field::IkeTransform(_) | Field::IkeProposals | Field::NatDetection | Field::Cookie | Field::VendorIds => {
            ExchangeType::IKE_SA_INIT
        }
        Field::Notify(_, exchange) => exchange,
        _ => ExchangeType::IKE_AUTH,
    };
    let (_, was) = baseline
        .ours(exchange, role)
        .ok_or_else(|| format!("the baseline's handshake has no {exchange} of ours as {role} to compare with"))?;
    let (entry, is) = observed
        .ours(exchange, role)
        .ok_or_else(|| format!("changed {path}, but no {exchange} {} of ours was sent", kind_word(role)))?;
    let was = show(row.field, role, psk, baseline, was);
    let sent = show(row.field, role, psk, observed, is);
    if was == sent {
        return Err(format!("changed {path}, but what was sent is the same as without the change: {sent}"));
    }
    if is.withheld {
        return Err(format!("changed {path}, but the message that shows it was withheld"));
    }
    Ok(Proof { path: path.to_owned(), field, baseline: was, sent, packet: entry.packet })
}

/// How many ESP packets a licence kept from passing.
fn licensed(all: &Observation) -> usize {
    all.events().filter(|(_, what)| what.class.as_deref() == Some("licence")).count()
}

/// The certificates that an end proves itself with, in words, and the packet that they are in.
fn certificates(all: &Observation, who: Who, role: Role) -> Option<(Option<u64>, String)> {
    let responds = (who == Who::Us) == (role == Role::Responder);
    let (entry, seen) = all.messages().find(|(entry, seen)| {
        seen.from == who
            && seen.exchange() == ExchangeType::IKE_AUTH
            && seen.is_response() == responds
            && !seen.withheld
            && super::observe::is_honest(entry.tunnel)
            && seen.payloads().any(|payload| matches!(payload, Payload::Cert(_)))
    })?;
    let sent: Vec<String> = seen
        .payloads()
        .filter_map(|payload| match payload {
            Payload::Cert(cert) => Some(match Certificate::from_der(&cert.data) {
                Ok(read) => read.in_words(),
                Err(_) => format!("{}, {} octets", cert.encoding, cert.data.len()),
            }),
            _ => None,
        })
        .collect();
    Some((entry.packet, sent.join("; ")))
}

/// What all of our messages together show of a field, and the first packet that shows it.
fn whole(field: Field, all: &Observation) -> (String, Option<u64>) {
    let honest = |entry: &super::observe::Entry| super::observe::is_honest(entry.tunnel);
    let ours = all.messages().filter(|(entry, seen)| seen.from == Who::Us && honest(entry) && !seen.withheld);
    let shows = |seen: &SeenMessage| -> Option<String> {
        match field {
            Field::Requests(exchange) => {
                let later = exchange != ExchangeType::IKE_SA_INIT || seen.message.header.message_id == 0;
                // Of INFORMATIONAL only liveness checks count: every tunnel ends with a DELETE.
                let counts =
                    exchange != ExchangeType::INFORMATIONAL || seen.message.sk.as_ref().is_some_and(Vec::is_empty);
                (seen.exchange() == exchange && !seen.is_response() && !seen.repeat && later && counts)
                    .then(|| format!("{exchange} request"))
            }
            Field::Pfs => (seen.exchange() == ExchangeType::CREATE_CHILD_SA).then(|| {
                let ke = seen.payloads().any(|payload| matches!(payload, Payload::Ke(_)));
                let refused: Vec<String> = seen.refusals().map(|kind| format!("N({kind})")).collect();
                match (ke, refused.is_empty()) {
                    (true, _) => "with a key exchange".to_owned(),
                    (false, true) => "without a key exchange".to_owned(),
                    (false, false) => refused.join(" "),
                }
            }),
            _ => {
                // A cookie of ours in a request only returns the peer's.
                let refused = seen.refusals().filter(|kind| kind.is_error());
                let names: Vec<String> = refused.map(|kind| format!("N({kind})")).collect();
                (!names.is_empty()).then(|| names.join(" "))
            }
        }
    };
    let mut found = ours.filter_map(|(entry, seen)| Some((shows(seen)?, entry.packet)));
    match (field, found.next()) {
        (_, None) => ("none".to_owned(), None),
        // An honest tunnel has one IKE_SA_INIT.
        (Field::Requests(_), Some((name, first))) => {
            let rest: Vec<_> = found.collect();
            let count = rest.len() + 1;
            (format!("{count} {name}{}", if count == 1 { "" } else { "s" }), rest.first().map_or(first, |(_, p)| *p))
        }
        (_, Some(first)) => first,
    }
}

fn kind_word(role: Role) -> &'static str {
    match role {
        Role::Initiator => "request",
        Role::Responder => "response",
    }
}

fn field_name(field: Field, role: Role) -> String {
    let side = |local: bool| if (role == Role::Initiator) == local { "TSi" } else { "TSr" };
    match field {
        Field::IkeTransform(kind) => format!("SA, {kind}"),
        Field::ChildTransform(kind) => format!("SA of the Child, {kind}"),
        Field::IkeProposals => "SA".to_owned(),
        Field::ChildProposals => "SA of the Child".to_owned(),
        Field::LocalTs => side(true).to_owned(),
        Field::RemoteTs => side(false).to_owned(),
        Field::BothTs => "TSi and TSr".to_owned(),
        Field::Auth => "AUTH".to_owned(),
        Field::Identity => if role == Role::Initiator { "IDi" } else { "IDr" }.to_owned(),
        Field::NatDetection => "NAT_DETECTION_SOURCE_IP".to_owned(),
        Field::Cookie => "COOKIE".to_owned(),
        Field::VendorIds => "V".to_owned(),
        Field::Pfs => "KE of CREATE_CHILD_SA".to_owned(),
        Field::Notify(kind, _) => kind.to_string(),
        Field::Idr => "IDr of the request".to_owned(),
        Field::Refusals => "what we refuse".to_owned(),
        Field::Certificate(Who::Us) => "our CERT".to_owned(),
        Field::Certificate(Who::Peer) => "the peer's CERT".to_owned(),
        Field::Requests(exchange) => format!("our {exchange} requests"),
        Field::Bandwidth => "ESP".to_owned(),
    }
}

/// A field of a message in words, so that two of them can be compared and printed. A message that lacks it shows its
/// refusals instead.
fn show(field: Field, role: Role, psk: Option<&Secret>, all: &Observation, seen: &SeenMessage) -> String {
    let refusals = || {
        let names: Vec<String> = seen.refusals().map(|kind| format!("N({kind})")).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(" ") }
    };
    let sa = |kind: Option<TransformType>| {
        let found = seen.payloads().find_map(|payload| match payload {
            Payload::Sa(sa) => Some(transforms(&sa.proposals, kind)),
            _ => None,
        });
        found.unwrap_or_else(refusals)
    };
    let ts = |initiators: bool| {
        let found = seen.payloads().find_map(|payload| match payload {
            Payload::TsI(ts) if initiators => Some(selectors(&ts.selectors)),
            Payload::TsR(ts) if !initiators => Some(selectors(&ts.selectors)),
            _ => None,
        });
        found.unwrap_or_else(refusals)
    };
    match field {
        Field::IkeTransform(kind) | Field::ChildTransform(kind) => sa(Some(kind)),
        Field::IkeProposals | Field::ChildProposals => sa(None),
        Field::LocalTs => ts(role == Role::Initiator),
        Field::RemoteTs => ts(role == Role::Responder),
        Field::BothTs => format!("{} -> {}", ts(true), ts(false)),
        Field::Auth => match key_of(role, psk, all, seen) {
            Some(true) => "made with the baseline's key".to_owned(),
            Some(false) => "made with another key".to_owned(),
            None => refusals(),
        },
        Field::Identity => seen
            .payloads()
            .find_map(|payload| match payload {
                Payload::IdI(id) if role == Role::Initiator => Some(id.to_string()),
                Payload::IdR(id) if role == Role::Responder => Some(id.to_string()),
                _ => None,
            })
            .unwrap_or_else(refusals),
        Field::NatDetection => match nat_detection(seen) {
            Some(true) => "the true address".to_owned(),
            Some(false) => "another address".to_owned(),
            None => "none".to_owned(),
        },
        Field::Cookie => match seen.notifies().any(|notify| notify.kind == NotifyType::COOKIE) {
            true => "demanded".to_owned(),
            false => "not demanded".to_owned(),
        },
        Field::Notify(kind, _) => match seen.notifies().any(|notify| notify.kind == kind) {
            true => "there".to_owned(),
            false => "not there".to_owned(),
        },
        Field::Idr => seen
            .payloads()
            .find_map(|payload| match payload {
                Payload::IdR(id) => Some(id.to_string()),
                _ => None,
            })
            .unwrap_or_else(|| "none".to_owned()),
        Field::Pfs | Field::Refusals | Field::Requests(_) => whole(field, all).0,
        Field::Bandwidth => licensed(all).to_string(),
        Field::Certificate(who) => certificates(all, who, role).map_or_else(refusals, |(_, words)| words),
        Field::VendorIds => seen.payloads().filter(|p| matches!(p, Payload::Vendor(_))).count().to_string(),
    }
}

fn transforms(proposals: &[Proposal], kind: Option<TransformType>) -> String {
    let mut out = String::new();
    for proposal in proposals {
        for transform in proposal.transforms.iter().filter(|t| kind.is_none_or(|kind| t.kind == kind)) {
            if !out.is_empty() {
                out.push(' ');
            }
            write!(out, "{transform}").expect("a String takes any text");
        }
    }
    out
}

pub(super) fn selectors(list: &[TrafficSelector]) -> String {
    list.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// Whether the AUTH in `seen`, a message of ours, was made with `psk`: computed again as RFC 7296 2.15 says. `None` if
/// it has none, or if the rest of the handshake was not seen.
fn key_of(role: Role, psk: Option<&Secret>, all: &Observation, seen: &SeenMessage) -> Option<bool> {
    let auth = seen.payloads().find_map(|payload| match payload {
        Payload::Auth(auth) => Some(&auth.data),
        _ => None,
    })?;
    let id = seen.payloads().find_map(|payload| match payload {
        Payload::IdI(id) if role == Role::Initiator => Some(id.body()),
        Payload::IdR(id) if role == Role::Responder => Some(id.body()),
        _ => None,
    })?;
    let header = &seen.message.header;
    let keys = all.keys.iter().find(|keys| keys.spis == (header.spi_i, header.spi_r))?;
    // The signed message is the one that was answered: the last of ours that began this IKE SA.
    let init = |from: Who| {
        all.messages().map(|(_, seen)| seen).filter(move |seen| {
            seen.from == from
                && seen.exchange() == ExchangeType::IKE_SA_INIT
                && seen.message.header.spi_i == header.spi_i
                // In a request COOKIE is the answer to a challenge, and part of what is signed.
                && (!seen.message.header.flags.is_response() || seen.refusals().next().is_none())
        })
    };
    let mut bytes = Vec::new();
    let own = init(Who::Us).filter(|seen| !seen.repeat).last()?;
    encode_into(&mut bytes, &own.message, None);
    let nonce = init(Who::Peer).last()?.payloads().find_map(|payload| match payload {
        Payload::Nonce(nonce) => Some(&nonce.data),
        _ => None,
    })?;
    let sk_p = if role == Role::Initiator { &keys.sk_pi } else { &keys.sk_pr };
    let expected = psk_auth(keys.suite.prf, psk?.as_ref(), &bytes, nonce, sk_p.as_ref(), &id);
    Some(expected.as_ref() == auth.as_slice())
}

/// Whether NAT_DETECTION_SOURCE_IP is that of the address the message was sent from (RFC 7296 2.23).
fn nat_detection(seen: &SeenMessage) -> Option<bool> {
    let notify = seen.notifies().find(|notify| notify.kind == NotifyType::NAT_DETECTION_SOURCE_IP)?;
    let header = &seen.message.header;
    // The path is ours: its local end is the source of what we send and the destination of what we receive.
    let source = if seen.from == Who::Us { seen.path.local } else { seen.path.remote };
    let hash = |spi_r: [u8; 8]| {
        let mut hash = Sha1::new();
        hash.update(header.spi_i.to_be_bytes());
        hash.update(spi_r);
        match source.ip() {
            std::net::IpAddr::V4(addr) => hash.update(addr.octets()),
            std::net::IpAddr::V6(addr) => hash.update(addr.octets()),
        }
        hash.update(source.port().to_be_bytes());
        hash.finalize()
    };
    Some(notify.data == hash(header.spi_r.to_be_bytes())[..])
}
