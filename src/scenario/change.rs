//! Changes to the working baseline, and the proof that they took effect on the wire.
//!
//! A setting that was changed and a message that shows it are two things. [`prove`] compares what we sent with what the
//! baseline's handshake sent in the one field that the change is about.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use sha1::{Digest, Sha1};

use super::file::{ChangeOp, Need, Role, Who};
use super::observe::{Observation, SeenMessage};
use crate::crypto::{Secret, psk_auth};
use crate::engine::{AuthSpec, ConnectionSpec, IdMatch, Limits, NatTraversal, ProposalSpec};
use crate::fault::table::did_you_mean;
use crate::wire::registry::{EncrId, ExchangeType, IdType, IntegId, KeMethod, NotifyType, PrfId, TransformType};
use crate::wire::{IdPayload, Payload, Proposal, TrafficSelector, Transform, TsRange, encode_into};

/// What we run with: a connection and the limits of a responder.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The connection.
    pub spec: ConnectionSpec,
    /// The limits.
    pub limits: Limits,
}

/// A change that was seen on the wire.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
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

/// Why a change could not be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ChangeError {
    /// The baseline has nothing to change there.
    Unsupported(String),
    /// The scenario file is wrong.
    Wrong(String),
}

/// What a setting shows in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Field {
    IkeTransform(TransformType),
    IkeProposals,
    ChildTransform(TransformType),
    ChildProposals,
    LocalTs,
    RemoteTs,
    BothTs,
    Auth,
    Identity,
    NatDetection,
    Cookie,
    VendorIds,
}

struct Row {
    path: &'static str,
    field: Field,
    ops: &'static [&'static str],
}

const LIST: &[&str] = &["differ", "add", "prepend", "drop-first", "omit"];
const TS: &[&str] = &["set", "add", "widen", "narrow", "differ"];

const ROWS: &[Row] = &[
    Row { path: "ike.encr", field: Field::IkeTransform(TransformType::ENCR), ops: LIST },
    Row { path: "ike.prf", field: Field::IkeTransform(TransformType::PRF), ops: LIST },
    Row { path: "ike.integ", field: Field::IkeTransform(TransformType::INTEG), ops: LIST },
    Row { path: "ike.ke", field: Field::IkeTransform(TransformType::KE), ops: LIST },
    Row { path: "ike.proposals", field: Field::IkeProposals, ops: &["set"] },
    Row { path: "children.0.encr", field: Field::ChildTransform(TransformType::ENCR), ops: LIST },
    Row { path: "children.0.integ", field: Field::ChildTransform(TransformType::INTEG), ops: LIST },
    Row { path: "children.0.proposals", field: Field::ChildProposals, ops: &["set"] },
    Row { path: "children.0.local_ts", field: Field::LocalTs, ops: TS },
    Row { path: "children.0.remote_ts", field: Field::RemoteTs, ops: TS },
    Row { path: "children.0.ts", field: Field::BothTs, ops: &["swap"] },
    Row { path: "auth.psk", field: Field::Auth, ops: &["differ"] },
    Row { path: "local.id", field: Field::Identity, ops: &["differ"] },
    Row { path: "nat.traversal", field: Field::NatDetection, ops: &["set"] },
    Row { path: "limits.cookie_threshold", field: Field::Cookie, ops: &["set"] },
    Row { path: "behaviour.vendor_ids", field: Field::VendorIds, ops: &["add"] },
];

fn row(path: &str) -> Result<&'static Row, String> {
    ROWS.iter().find(|row| row.path == path).ok_or_else(|| {
        let near = did_you_mean(path, ROWS.iter().map(|row| row.path));
        let near = if near.is_empty() {
            format!("; valid are {}", ROWS.iter().map(|row| row.path).collect::<Vec<_>>().join(", "))
        } else {
            near
        };
        format!("{path:?} cannot be changed{near}")
    })
}

/// Checks a path and an operation without a baseline.
///
/// # Errors
/// In words, with the nearest valid name.
pub fn check(path: &str, op: &ChangeOp) -> Result<(), String> {
    let row = row(path)?;
    let name = match op {
        ChangeOp::Set(_) => "set",
        ChangeOp::Differ => "differ",
        ChangeOp::Omit => "omit",
        ChangeOp::Add(_) => "add",
        ChangeOp::Prepend => "prepend",
        ChangeOp::DropFirst => "drop-first",
        ChangeOp::Widen => "widen",
        ChangeOp::Narrow => "narrow",
        ChangeOp::Swap => "swap",
    };
    if !row.ops.contains(&name) {
        let ops: Vec<&str> = row.ops.iter().map(|op| if *op == "set" { "a value" } else { op }).collect();
        return Err(format!("{path} does not take {op}; it takes {}", ops.join(", ")));
    }
    // Values are checked on a connection of no importance.
    match op {
        ChangeOp::Set(_) | ChangeOp::Add(_) => match apply(path, op, &mut placeholder()) {
            Err(ChangeError::Wrong(error)) => Err(error),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

/// Whether the baseline has what a scenario needs; in words, if not.
pub fn lacks(spec: &ConnectionSpec, need: Need) -> Option<String> {
    let child = spec.children.first();
    let groups = || {
        let mut groups: Vec<KeMethod> = spec.ike_proposals.iter().flat_map(ProposalSpec::ke_methods).collect();
        groups.sort();
        groups.dedup();
        groups.len()
    };
    let has = match need {
        Need::Child => child.is_some(),
        Need::TwoGroups => groups() > 1,
        Need::Psk => matches!(spec.local_auth, AuthSpec::Psk(_)),
        Need::Pfs => child.is_some_and(|child| !child.pfs.is_empty()),
        Need::Subnet => child.and_then(|child| child.local_ts.first()).is_some_and(|ts| {
            let mut narrowed = vec![ts.clone()];
            let mut widened = vec![ts.clone()];
            resize(&mut narrowed, false).is_ok() && resize(&mut widened, true).is_ok()
        }),
        Need::DistinctSelectors => child.is_some_and(|child| child.local_ts != child.remote_ts),
    };
    (!has).then(|| format!("the baseline has no {}", need.words()))
}

/// Makes a change.
///
/// # Errors
/// If the baseline has nothing to change there, or the value makes no sense.
pub fn apply(path: &str, op: &ChangeOp, setup: &mut Setup) -> Result<(), ChangeError> {
    let row = row(path).map_err(ChangeError::Wrong)?;
    let spec = &mut setup.spec;
    let no_child = || ChangeError::Unsupported("the baseline has no Child SA".to_owned());
    let wrong = |error: String| ChangeError::Wrong(format!("{path}: {error}"));
    match row.field {
        Field::IkeTransform(kind) => change_transforms(&mut spec.ike_proposals, kind, op),
        Field::ChildTransform(kind) => {
            change_transforms(&mut spec.children.first_mut().ok_or_else(no_child)?.proposals, kind, op)
        }
        Field::IkeProposals => {
            let values = values(op);
            let parsed: Result<Vec<_>, String> = values.iter().map(|v| crate::config::ike_proposal(v)).collect();
            spec.ike_proposals = parsed.map_err(wrong)?;
            Ok(())
        }
        Field::ChildProposals => {
            let values = values(op);
            let parsed: Result<Vec<_>, String> =
                values.iter().map(|v| crate::config::esp_proposal(v).map(|(proposal, _)| proposal)).collect();
            spec.children.first_mut().ok_or_else(no_child)?.proposals = parsed.map_err(wrong)?;
            Ok(())
        }
        Field::LocalTs | Field::RemoteTs => {
            let child = spec.children.first_mut().ok_or_else(no_child)?;
            let list = if row.field == Field::LocalTs { &mut child.local_ts } else { &mut child.remote_ts };
            match op {
                ChangeOp::Widen => resize(list, true).map_err(ChangeError::Unsupported),
                ChangeOp::Narrow => resize(list, false).map_err(ChangeError::Unsupported),
                ChangeOp::Differ => {
                    // TEST-NET-3 (RFC 5737), which nobody has inside.
                    *list = vec![TrafficSelector::from_net(Ipv4Addr::new(203, 0, 113, 0).into(), 25)];
                    Ok(())
                }
                ChangeOp::Add(value) => {
                    let extra = crate::config::selector(value).map_err(wrong)?;
                    if list.iter().any(|own| own.contains(&extra)) {
                        return Err(ChangeError::Unsupported(format!("the baseline's selectors hold {extra} already")));
                    }
                    list.push(extra);
                    Ok(())
                }
                _ => {
                    let parsed: Result<Vec<_>, String> =
                        values(op).iter().map(|value| crate::config::selector(value)).collect();
                    *list = parsed.map_err(wrong)?;
                    Ok(())
                }
            }
        }
        Field::BothTs => {
            let child = spec.children.first_mut().ok_or_else(no_child)?;
            std::mem::swap(&mut child.local_ts, &mut child.remote_ts);
            Ok(())
        }
        Field::Auth => {
            let AuthSpec::Psk(psk) = &spec.local_auth else {
                return Err(ChangeError::Unsupported("the baseline has no pre-shared key".into()));
            };
            let other = AuthSpec::Psk(Arc::new(other_psk(psk)));
            spec.local_auth = other.clone();
            spec.remote_auth = other;
            Ok(())
        }
        Field::Identity => {
            spec.local_id = IdPayload { kind: IdType::ID_FQDN, data: b"nobody.invalid".to_vec() };
            Ok(())
        }
        Field::NatDetection => {
            spec.nat.traversal = match values(op).first().map(String::as_str) {
                Some("force") => NatTraversal::Force,
                Some("off") => NatTraversal::Off,
                Some("auto") => NatTraversal::Auto,
                other => {
                    let other = other.unwrap_or_default();
                    let near = did_you_mean(other, ["auto", "force", "off"].into_iter());
                    return Err(wrong(format!("{other:?} is not auto, force or off{near}")));
                }
            };
            Ok(())
        }
        Field::Cookie => {
            let values = values(op);
            let text = values.first().map(String::as_str).unwrap_or_default();
            setup.limits.cookie_threshold = match text {
                "never" => None,
                text => Some(text.parse().map_err(|_| wrong(format!("{text:?} is neither a number nor never")))?),
            };
            Ok(())
        }
        Field::VendorIds => {
            if let ChangeOp::Add(value) = op {
                spec.behaviour.vendor_ids.push(value.clone().into_bytes());
            }
            Ok(())
        }
    }
}

fn values(op: &ChangeOp) -> Vec<String> {
    match op {
        ChangeOp::Set(values) => values.clone(),
        ChangeOp::Add(value) => vec![value.clone()],
        _ => Vec::new(),
    }
}

/// A pre-shared key that differs in its last octet, as by a typing error.
fn other_psk(psk: &Secret) -> Secret {
    let mut octets = psk.as_ref().to_vec();
    match octets.last_mut() {
        Some(last) => *last ^= 1,
        None => octets.push(b'x'),
    }
    Secret::new(octets)
}

fn change_transforms(list: &mut Vec<ProposalSpec>, kind: TransformType, op: &ChangeOp) -> Result<(), ChangeError> {
    let offered: Vec<Transform> = list.iter().flat_map(|p| &p.transforms).filter(|t| t.kind == kind).cloned().collect();
    let unsupported = |why: &str| Err(ChangeError::Unsupported(format!("the baseline {why}")));
    if offered.is_empty() {
        return unsupported(&format!("has no {kind} transform"));
    }
    if *op == ChangeOp::DropFirst {
        // It may be in several proposals, or alone in the first of them.
        let dropped = &offered[0];
        if offered.iter().all(|other| other == dropped) {
            return unsupported(&format!("has only one {kind} transform"));
        }
        list.iter_mut().for_each(|proposal| proposal.transforms.retain(|t| t != dropped));
        list.retain(|proposal| proposal.transforms.iter().any(|t| t.kind == kind));
        return Ok(());
    }
    let candidates = candidates(kind, &offered);
    let differing = candidates.into_iter().find(|candidate| !offered.contains(candidate));
    for proposal in list {
        let Some(first) = proposal.transforms.iter().position(|t| t.kind == kind) else { continue };
        let own: Vec<Transform> = proposal.transforms.iter().filter(|t| t.kind == kind).cloned().collect();
        let new = match (op, &differing) {
            (ChangeOp::Omit, _) => Vec::new(),
            (ChangeOp::Differ, Some(other)) => vec![other.clone()],
            (ChangeOp::Prepend, Some(other)) => [vec![other.clone()], own].concat(),
            (ChangeOp::Add(_), Some(other)) => [own, vec![other.clone()]].concat(),
            _ => return unsupported(&format!("offers every {kind} transform that there is to choose from")),
        };
        proposal.transforms.retain(|t| t.kind != kind);
        proposal.transforms.splice(first.min(proposal.transforms.len())..first.min(proposal.transforms.len()), new);
    }
    Ok(())
}

/// What could be offered instead, of the same sort: counter mode with integrity stays that.
fn candidates(kind: TransformType, offered: &[Transform]) -> Vec<Transform> {
    let bits = |id: EncrId| [256, 128, 192].map(|bits| Transform::encr(id, Some(bits))).to_vec();
    match kind {
        TransformType::ENCR => {
            let first = offered.first().map_or(EncrId::ENCR_AES_CBC, |t| EncrId(t.id));
            let gcm = [EncrId::ENCR_AES_GCM_8, EncrId::ENCR_AES_GCM_12, EncrId::ENCR_AES_GCM_16].contains(&first);
            match gcm || first == EncrId::ENCR_CHACHA20_POLY1305 {
                true => bits(EncrId::ENCR_AES_GCM_16),
                false => bits(EncrId::ENCR_AES_CBC),
            }
        }
        TransformType::PRF => {
            [PrfId::PRF_HMAC_SHA2_384, PrfId::PRF_HMAC_SHA2_256, PrfId::PRF_HMAC_SHA2_512, PrfId::PRF_HMAC_SHA1]
                .map(Transform::prf)
                .to_vec()
        }
        TransformType::INTEG => [
            IntegId::AUTH_HMAC_SHA2_384_192,
            IntegId::AUTH_HMAC_SHA2_256_128,
            IntegId::AUTH_HMAC_SHA2_512_256,
            IntegId::AUTH_HMAC_SHA1_96,
        ]
        .map(Transform::integ)
        .to_vec(),
        TransformType::KE => [
            KeMethod::ECP_384,
            KeMethod::ECP_521,
            KeMethod::CURVE25519,
            KeMethod::MODP_3072,
            KeMethod::ECP_256,
            KeMethod::MODP_4096,
        ]
        .map(Transform::ke)
        .to_vec(),
        _ => Vec::new(),
    }
}

/// Doubles or halves the first selector of a list.
fn resize(list: &mut [TrafficSelector], wider: bool) -> Result<(), String> {
    let ts = list.first_mut().ok_or("the baseline has no selector there")?;
    let no = |ts: &TrafficSelector| format!("{ts} cannot be made {}", if wider { "wider" } else { "narrower" });
    match ts.range {
        TsRange::V4 { start, end } => {
            let (start, end) =
                block(u32::from(start).into(), u32::from(end).into(), 32, wider).ok_or_else(|| no(ts))?;
            // Both are within 32 bits by construction.
            ts.range = TsRange::V4 { start: Ipv4Addr::from(start as u32), end: Ipv4Addr::from(end as u32) };
        }
        TsRange::V6 { start, end } => {
            let (start, end) = block(start.into(), end.into(), 128, wider).ok_or_else(|| no(ts))?;
            ts.range = TsRange::V6 { start: Ipv6Addr::from(start), end: Ipv6Addr::from(end) };
        }
        TsRange::Unknown { .. } => return Err(no(ts)),
    }
    Ok(())
}

/// The block twice or half as large as the aligned block `start..=end` of `bits`-bit addresses.
fn block(start: u128, end: u128, bits: u32, wider: bool) -> Option<(u128, u128)> {
    let size = end.checked_sub(start)?.checked_add(1)?;
    if !size.is_power_of_two() || !start.is_multiple_of(size) {
        return None;
    }
    let whole = if bits == 128 { u128::MAX } else { (1 << bits) - 1 };
    match wider {
        // Not as far as everything: that would be another failure.
        true if size <= whole / 8 => {
            let start = start & !(size * 2 - 1);
            Some((start, start + size * 2 - 1))
        }
        false if size > 1 => Some((start, start + size / 2 - 1)),
        _ => None,
    }
}

/// Proves that the change of `path` was on the wire: what we sent differs in its field from what the baseline's
/// handshake in the same role sent.
///
/// # Errors
/// In words, if it was not: the result is then inconclusive.
pub fn prove(
    path: &str,
    role: Role,
    psk: Option<&Secret>,
    baseline: &Observation,
    observed: &Observation,
) -> Result<Proof, String> {
    let row = row(path)?;
    let exchange = match row.field {
        Field::IkeTransform(_) | Field::IkeProposals | Field::NatDetection | Field::Cookie | Field::VendorIds => {
            ExchangeType::IKE_SA_INIT
        }
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
    let field = field_name(row.field, role);
    Ok(Proof { path: path.to_owned(), field, baseline: was, sent, packet: entry.packet })
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

fn selectors(list: &[TrafficSelector]) -> String {
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

/// A connection on which values can be tried out.
fn placeholder() -> Setup {
    let psk = AuthSpec::Psk(Arc::new(Secret::new(b"x".to_vec())));
    let id = IdPayload { kind: IdType::ID_FQDN, data: b"x".to_vec() };
    let child = crate::engine::ChildSpec {
        name: String::new(),
        mode: Default::default(),
        proposals: Vec::new(),
        pfs: Vec::new(),
        local_ts: Vec::new(),
        remote_ts: Vec::new(),
        lifetime: None,
    };
    let spec = ConnectionSpec {
        name: String::new(),
        local_addr: None,
        remote_addr: None,
        local_ports: Default::default(),
        remote_ports: Default::default(),
        local_id: id,
        remote_id: IdMatch::Any,
        send_idr: false,
        local_auth: psk.clone(),
        remote_auth: psk,
        ike_proposals: Vec::new(),
        children: vec![child],
        retransmit: Default::default(),
        nat: Default::default(),
        dpd: None,
        lifetime: None,
        fragmentation: false,
        cp: Default::default(),
        behaviour: Default::default(),
    };
    Setup { spec, limits: Limits::default() }
}

#[cfg(test)]
#[path = "change_tests.rs"]
mod tests;
