//! Changes to the working baseline, and the proof that they took effect on the wire.
//!
//! A setting that was changed and a message that shows it are two things. [`prove`](super::proof::prove) compares what we sent with what the
//! baseline's handshake sent in the one field that the change is about.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::file::{ChangeOp, Need, Who};
use super::pki::{self, Authority, Flaw};
use crate::crypto::Secret;
use crate::engine::{
    AuthSpec, ConnectionSpec, CreateChildPolicy, DpdMode, DpdSpec, IdMatch, Limits, Mode, NatTraversal, ProposalSpec,
};
use crate::fault::table::{did_you_mean, parse_duration};
use crate::time::UnixTime;
use crate::wire::registry::{EncrId, EsnId, ExchangeType, IdType, IntegId, KeMethod, NotifyType, PrfId, TransformType};
use crate::wire::{IdPayload, TrafficSelector, Transform, TsRange};

/// What we run with: a connection and the limits of a responder.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The connection.
    pub spec: ConnectionSpec,
    /// The limits.
    pub limits: Limits,
    /// Who can issue certificates for it.
    pub authority: Option<Arc<Authority>>,
    /// What the peer is to present instead of its own certificate.
    pub presented: Option<Arc<pki::Presented>>,
    /// When it is run.
    pub now: UnixTime,
    /// The peer asks by itself whether we live.
    pub checked: bool,
    /// So many thousand bits of ESP pass each second in each direction, as with some licences; all, without.
    pub bandwidth: Option<u32>,
}

impl Setup {
    /// A connection and limits, without an authority.
    pub fn new(spec: ConnectionSpec, limits: Limits) -> Self {
        Setup { spec, limits, authority: None, presented: None, now: UnixTime(0), checked: true, bandwidth: None }
    }
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
pub(super) enum Field {
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
    /// The key exchange of a CREATE_CHILD_SA of ours.
    Pfs,
    /// A notify in this exchange of ours.
    Notify(NotifyType, ExchangeType),
    /// IDr in an IKE_AUTH request: whom an initiator wants to talk to.
    Idr,
    /// What we refuse in any message.
    Refusals,
    /// Requests of ours in this exchange.
    Requests(ExchangeType),
    /// The certificates that this end sends.
    Certificate(Who),
    /// ESP that a licence keeps from passing.
    Bandwidth,
}

pub(super) struct Row {
    path: &'static str,
    pub(super) field: Field,
    ops: &'static [&'static str],
}

const LIST: &[&str] = &["differ", "add", "prepend", "drop-first", "omit"];
const TS: &[&str] = &["set", "add", "widen", "narrow", "host", "differ"];

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
    Row { path: "children.0.ts", field: Field::BothTs, ops: &["swap", "set"] },
    Row { path: "children.0.esn", field: Field::ChildTransform(TransformType::ESN), ops: &["set"] },
    Row { path: "children.0.pfs", field: Field::Pfs, ops: &["set", "differ", "omit"] },
    Row {
        path: "children.0.mode",
        field: Field::Notify(NotifyType::USE_TRANSPORT_MODE, ExchangeType::IKE_AUTH),
        ops: &["set"],
    },
    Row { path: "children.0.lifetime", field: Field::Requests(ExchangeType::CREATE_CHILD_SA), ops: &["set"] },
    Row { path: "ike.lifetime", field: Field::Requests(ExchangeType::CREATE_CHILD_SA), ops: &["set"] },
    Row { path: "ike.reauth_after", field: Field::Requests(ExchangeType::IKE_SA_INIT), ops: &["set"] },
    Row {
        path: "ike.fragmentation",
        field: Field::Notify(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED, ExchangeType::IKE_SA_INIT),
        ops: &["set"],
    },
    Row { path: "auth.psk", field: Field::Auth, ops: &["differ"] },
    Row { path: "auth.local_psk", field: Field::Auth, ops: &["differ"] },
    Row { path: "auth.remote_psk", field: Field::Refusals, ops: &["differ"] },
    Row { path: "auth.certificate", field: Field::Certificate(Who::Us), ops: &["set"] },
    Row { path: "peer.certificate", field: Field::Certificate(Who::Peer), ops: &["set"] },
    Row { path: "local.id", field: Field::Identity, ops: &["differ", "set"] },
    Row { path: "remote.id", field: Field::Refusals, ops: &["differ"] },
    Row { path: "remote.id_hint", field: Field::Idr, ops: &["differ"] },
    Row { path: "dpd.interval", field: Field::Requests(ExchangeType::INFORMATIONAL), ops: &["set"] },
    Row { path: "rekey.answer", field: Field::Refusals, ops: &["set"] },
    Row { path: "limits.max_child_sas", field: Field::Refusals, ops: &["set"] },
    Row { path: "data.bandwidth", field: Field::Bandwidth, ops: &["set"] },
    Row {
        path: "behaviour.initial_contact",
        field: Field::Notify(NotifyType::INITIAL_CONTACT, ExchangeType::IKE_AUTH),
        ops: &["set"],
    },
    Row { path: "nat.traversal", field: Field::NatDetection, ops: &["set"] },
    Row { path: "limits.cookie_threshold", field: Field::Cookie, ops: &["set"] },
    Row { path: "behaviour.vendor_ids", field: Field::VendorIds, ops: &["add"] },
];

pub(super) fn row(path: &str) -> Result<&'static Row, String> {
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
        ChangeOp::Host => "host",
    };
    if !row.ops.contains(&name) {
        let ops: Vec<&str> = row.ops.iter().map(|op| if *op == "set" { "a value" } else { op }).collect();
        return Err(format!("{path} does not take {op}; it takes {}", ops.join(", ")));
    }
    if let (Field::Certificate(_), ChangeOp::Set(_)) = (row.field, op) {
        return Flaw::named(&values(op).concat()).map(|_| ()).map_err(|error| format!("{path}: {error}"));
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
pub fn lacks(setup: &Setup, need: Need) -> Option<String> {
    let spec = &setup.spec;
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
        Need::PeerChecksLiveness => setup.checked,
        Need::Certificate => matches!(spec.local_auth, AuthSpec::Certificate(_)),
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
    if let Field::Certificate(who) = row.field {
        let flaw = Flaw::named(&values(op).concat()).map_err(|error| ChangeError::Wrong(format!("{path}: {error}")))?;
        return if who == Who::Us { pki::present(setup, flaw) } else { pki::be_presented(setup, flaw) };
    }
    let spec = &mut setup.spec;
    let no_child = || ChangeError::Unsupported("the baseline has no Child SA".to_owned());
    let wrong = |error: String| ChangeError::Wrong(format!("{path}: {error}"));
    match row.field {
        Field::IkeTransform(kind) => change_transforms(&mut spec.ike_proposals, kind, op),
        Field::ChildTransform(TransformType::ESN) => {
            let id = if flag(op).map_err(wrong)? { EsnId::ESN } else { EsnId::NO_ESN };
            for proposal in &mut spec.children.first_mut().ok_or_else(no_child)?.proposals {
                proposal.transforms.retain(|t| t.kind != TransformType::ESN);
                proposal.transforms.push(Transform::esn(id));
            }
            Ok(())
        }
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
                ChangeOp::Host => {
                    let v6 = list.first().is_some_and(|ts| matches!(ts.range, TsRange::V6 { .. }));
                    let host = crate::esp::inner::host_in(list, v6);
                    let host = host.ok_or_else(|| ChangeError::Unsupported("the selectors hold no host".to_owned()))?;
                    *list = vec![TrafficSelector::from_net(host, if v6 { 128 } else { 32 })];
                    Ok(())
                }
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
                    // The baseline's own network, with a protocol or a port: "baseline[tcp/443]".
                    let own = list.first().map_or_else(|| "0.0.0.0/0".to_owned(), ToString::to_string);
                    let own = own.split('[').next().unwrap_or_default();
                    let parsed: Result<Vec<_>, String> = values(op)
                        .iter()
                        .map(|value| match value.strip_prefix("baseline") {
                            Some(more) => crate::config::selector(&format!("{own}{more}")),
                            None => crate::config::selector(value),
                        })
                        .collect();
                    *list = parsed.map_err(wrong)?;
                    Ok(())
                }
            }
        }
        Field::BothTs if matches!(op, ChangeOp::Set(_)) => {
            let child = spec.children.first_mut().ok_or_else(no_child)?;
            let parsed: Result<Vec<_>, String> =
                values(op).iter().map(|value| crate::config::selector(value)).collect();
            child.local_ts = parsed.map_err(wrong)?;
            child.remote_ts = child.local_ts.clone();
            Ok(())
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
            if path == "auth.psk" {
                spec.remote_auth = other;
            }
            Ok(())
        }
        Field::Identity => {
            spec.local_id = match values(op).first() {
                Some(text) => crate::config::identity(text).map_err(|error| wrong(error.to_string()))?,
                None => IdPayload::new(IdType::ID_FQDN, b"nobody.invalid".to_vec()),
            };
            Ok(())
        }
        Field::Idr => {
            // Whoever answers is taken: the hint alone is wrong.
            spec.send_idr = true;
            spec.remote_id = IdMatch::Exact(IdPayload::new(IdType::ID_FQDN, b"nobody.invalid".to_vec()));
            Ok(())
        }
        Field::Pfs => {
            let child = spec.children.first_mut().ok_or_else(no_child)?;
            child.pfs = match (op, child.pfs.is_empty()) {
                (ChangeOp::Set(_), _) => {
                    let text = values(op).concat();
                    crate::config::pfs(&text).map_err(wrong)?
                }
                (ChangeOp::Omit, true) => return Err(ChangeError::Unsupported("the baseline has no PFS".to_owned())),
                (ChangeOp::Differ, true) => {
                    // The IKE SA's own first group: the peer can compute it, and does not want it here.
                    spec.ike_proposals.iter().flat_map(ProposalSpec::ke_methods).take(1).collect()
                }
                _ => Vec::new(),
            };
            Ok(())
        }
        Field::Notify(NotifyType::USE_TRANSPORT_MODE, _) => {
            let child = spec.children.first_mut().ok_or_else(no_child)?;
            child.mode = match values(op).concat().as_str() {
                "transport" => Mode::Transport,
                "tunnel" => Mode::Tunnel,
                other => return Err(wrong(format!("{other:?} is neither transport nor tunnel"))),
            };
            Ok(())
        }
        Field::Notify(NotifyType::INITIAL_CONTACT, _) => {
            spec.behaviour.initial_contact = flag(op).map_err(wrong)?;
            Ok(())
        }
        Field::Notify(..) => {
            spec.fragmentation = flag(op).map_err(wrong)?;
            Ok(())
        }
        Field::Requests(_) => {
            let span = parse_duration(&values(op).concat()).ok_or_else(|| wrong("write 10s, 5m or 1h".to_owned()))?;
            match path {
                "dpd.interval" => spec.dpd = Some(DpdSpec::new(span, DpdMode::Periodic)),
                "ike.lifetime" => spec.lifetime = Some(span),
                "ike.reauth_after" => spec.behaviour.rekey.reauth_after = Some(span),
                _ => spec.children.first_mut().ok_or_else(no_child)?.lifetime = Some(span),
            }
            Ok(())
        }
        Field::Refusals => {
            match path {
                "auth.remote_psk" => {
                    let AuthSpec::Psk(psk) = &spec.remote_auth else {
                        return Err(ChangeError::Unsupported("the baseline has no pre-shared key".into()));
                    };
                    spec.remote_auth = AuthSpec::Psk(Arc::new(other_psk(psk)));
                }
                "remote.id" => {
                    let data = b"somebody.invalid".to_vec();
                    spec.send_idr = false;
                    spec.remote_id = IdMatch::Exact(IdPayload::new(IdType::ID_FQDN, data));
                }
                "limits.max_child_sas" => {
                    let text = values(op).concat();
                    let most = text.parse().map_err(|_| wrong(format!("{text:?} is not a number of Child SAs")))?;
                    setup.limits.max_child_sas = Some(most);
                }
                _ => {
                    spec.behaviour.rekey.answer = match values(op).concat().as_str() {
                        "all" => CreateChildPolicy::All,
                        "rekey-only" => CreateChildPolicy::RekeyOnly,
                        "nothing" => CreateChildPolicy::Nothing,
                        other => return Err(wrong(format!("{other:?} is not all, rekey-only or nothing"))),
                    }
                }
            }
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
        Field::Certificate(_) => Ok(()),
        Field::Bandwidth => {
            let limited = crate::config::path(&format!("rate={}", values(op).concat())).map_err(wrong)?;
            let kilobits = limited.out.rate.map(|octets| octets * 8 / 1000);
            setup.bandwidth = kilobits.map(|kilobits| u32::try_from(kilobits).unwrap_or(u32::MAX));
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

/// Yes or no.
fn flag(op: &ChangeOp) -> Result<bool, String> {
    match values(op).concat().as_str() {
        "true" | "yes" | "on" => Ok(true),
        "false" | "no" | "off" => Ok(false),
        other => Err(format!("{other:?} is neither true nor false")),
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

/// A connection on which values can be tried out.
fn placeholder() -> Setup {
    let psk = AuthSpec::Psk(Arc::new(Secret::new(b"x".to_vec())));
    let id = IdPayload::new(IdType::ID_FQDN, b"x".to_vec());
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
        mobike: None,
        dpd: None,
        lifetime: None,
        fragmentation: false,
        cp: Default::default(),
        behaviour: Default::default(),
    };
    Setup::new(spec, Limits::default())
}

#[cfg(test)]
#[path = "change_tests.rs"]
mod tests;
