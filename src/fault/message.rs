//! Primitives that change a message before it is encoded.

use super::action::{Action, ProposalEdit, TsEdit};
use super::octets::OctetEdit;
use super::rule::PayloadSel;
use crate::wire::registry::{PayloadType, ProtocolId, TransformAttribute, TransformType};
use crate::wire::{
    Attribute, AttributeValue, Message, Payload, Proposal, RawPayload, SaPayload, TrafficSelector, TsPayload, TsRange,
    encode_chain,
};

/// Octets of a generic payload header.
const GENERIC: usize = 4;

/// Applies a message primitive to the payloads where it belongs: inside SK if there is one. True if anything changed.
pub(super) fn edit(action: &Action, message: &mut Message, response: bool) -> bool {
    match action {
        Action::Unprotect => return unprotect(message),
        Action::AddOutside(payload) => {
            message.outer.push(payload.clone());
            return true;
        }
        _ => {}
    }
    let has = |list: &[Payload], which: &PayloadSel| list.iter().any(|payload| which.matches(payload));
    let wanted: &[PayloadSel] = match action {
        Action::Omit(which) | Action::Duplicate(which) | Action::Move { payload: which, .. } => {
            std::slice::from_ref(which)
        }
        Action::OmitSeveral(list) | Action::Body { payloads: list, .. } => list,
        _ => &[],
    };
    let list = match &mut message.sk {
        Some(inner) if wanted.is_empty() || wanted.iter().any(|which| has(inner, which)) => inner,
        _ => &mut message.outer,
    };
    match action {
        Action::Omit(which) => omit(list, |payload| which.matches(payload)),
        Action::OmitSeveral(several) => omit(list, |payload| several.iter().any(|which| which.matches(payload))),
        Action::Add { payload, first } => {
            list.insert(if *first { 0 } else { list.len() }, payload.clone());
            true
        }
        Action::AddMany(payload, count) => {
            list.extend(std::iter::repeat_n(payload.clone(), *count));
            *count > 0
        }
        Action::Duplicate(which) => match list.iter().position(|payload| which.matches(payload)) {
            Some(at) => {
                list.insert(at, list[at].clone());
                true
            }
            None => false,
        },
        Action::Move { payload: which, first } => match list.iter().position(|payload| which.matches(payload)) {
            Some(at) => {
                let target = if *first { 0 } else { list.len() - 1 };
                let payload = list.remove(at);
                list.insert(target, payload);
                at != target
            }
            None => false,
        },
        Action::Reverse => {
            list.reverse();
            list.len() > 1
        }
        Action::Body { payloads, edit } => body(list, payloads, edit),
        Action::NotifyData(kind, edit) => each(list, |payload| match payload {
            Payload::Notify(notify) if notify.kind == *kind => edit.apply(&mut notify.data),
            _ => false,
        }),
        Action::NotifySpi(kind, edit) => each(list, |payload| match payload {
            Payload::Notify(notify) if notify.kind == *kind => edit.apply(&mut notify.spi),
            _ => false,
        }),
        Action::NotifyProtocol(kind, protocol) => each(list, |payload| match payload {
            Payload::Notify(notify) if notify.kind == *kind => {
                std::mem::replace(&mut notify.protocol, ProtocolId(*protocol)) != ProtocolId(*protocol)
            }
            _ => false,
        }),
        Action::DeletedSpis(edit) => each(list, |payload| match payload {
            Payload::Delete(delete) => {
                let changed = delete.spis.iter_mut().fold(false, |changed, spi| edit.apply(spi) | changed);
                if let Some(first) = delete.spis.first() {
                    delete.spi_size = first.len() as u8;
                }
                changed
            }
            _ => false,
        }),
        Action::Proposals(edit) => each(list, |payload| match payload {
            Payload::Sa(sa) => proposals(sa, edit),
            _ => false,
        }),
        Action::Selectors(edit) => selectors(list, edit, response),
        _ => false,
    }
}

fn omit(list: &mut Vec<Payload>, which: impl Fn(&Payload) -> bool) -> bool {
    let before = list.len();
    list.retain(|payload| !which(payload));
    list.len() != before
}

fn each(list: &mut [Payload], mut change: impl FnMut(&mut Payload) -> bool) -> bool {
    list.iter_mut().fold(false, |changed, payload| change(payload) | changed)
}

fn unprotect(message: &mut Message) -> bool {
    let Some(inner) = message.sk.take() else { return false };
    message.outer.extend(inner);
    true
}

/// Edits the octets of the first payload that is there of those named.
fn body(list: &mut [Payload], which: &[PayloadSel], edit: &OctetEdit) -> bool {
    let at = which.iter().find_map(|which| list.iter().position(|payload| which.matches(payload)));
    let Some(payload) = at.and_then(|at| list.get_mut(at)) else { return false };
    let mut octets = Vec::new();
    encode_chain(&mut octets, std::slice::from_ref(payload), PayloadType::NONE, None, "");
    let mut body = octets.split_off(GENERIC.min(octets.len()));
    let changed = edit.apply(&mut body);
    if changed {
        *payload = Payload::Raw(RawPayload { kind: payload.kind(), critical: false, body });
    }
    changed
}

fn proposals(sa: &mut SaPayload, edit: &ProposalEdit) -> bool {
    let before = sa.clone();
    let long = |value: &AttributeValue| match value {
        AttributeValue::Short(bits) => AttributeValue::Long(bits.to_be_bytes().to_vec()),
        long => long.clone(),
    };
    match edit {
        ProposalEdit::Number(first) => {
            for (proposal, number) in sa.proposals.iter_mut().zip(0..) {
                proposal.number = first.wrapping_add(number);
            }
        }
        ProposalEdit::Copies(count) => {
            let copies: Vec<Proposal> = sa.proposals.first().cloned().into_iter().collect();
            for number in 0..*count {
                let number = number.wrapping_add(before.proposals.len() as u8).wrapping_add(1);
                sa.proposals.extend(copies.iter().map(|copy| Proposal { number, ..copy.clone() }));
            }
        }
        _ => {
            for proposal in &mut sa.proposals {
                let transforms = &mut proposal.transforms;
                match edit {
                    ProposalEdit::Protocol(protocol) => proposal.protocol = ProtocolId(*protocol),
                    ProposalEdit::Spi(edit) => {
                        edit.apply(&mut proposal.spi);
                    }
                    ProposalEdit::Without(kind) => transforms.retain(|transform| transform.kind != *kind),
                    ProposalEdit::With(transform) => transforms.push(transform.clone()),
                    ProposalEdit::Instead(new) => {
                        transforms.iter_mut().filter(|t| t.kind == new.kind).for_each(|t| *t = new.clone());
                    }
                    ProposalEdit::KeyBits(bits) => {
                        for transform in transforms.iter_mut().filter(|t| t.kind == TransformType::ENCR) {
                            transform.attributes = match bits {
                                Some(bits) => vec![key_length(*bits)],
                                None => Vec::new(),
                            };
                        }
                    }
                    ProposalEdit::LongKeyLength => {
                        let attributes = transforms.iter_mut().flat_map(|transform| &mut transform.attributes);
                        attributes.for_each(|attribute| attribute.value = long(&attribute.value));
                    }
                    ProposalEdit::EmptyKeyLength => {
                        let attributes = transforms.iter_mut().flat_map(|transform| &mut transform.attributes);
                        attributes.for_each(|attribute| attribute.value = AttributeValue::Long(Vec::new()));
                    }
                    ProposalEdit::RepeatedKeyLength => {
                        for transform in transforms.iter_mut() {
                            let again = transform.attributes.clone();
                            transform.attributes.extend(again);
                        }
                    }
                    ProposalEdit::NeedlessKeyLength(bits) => {
                        let fixed = transforms.iter_mut().filter(|t| t.kind == TransformType::PRF);
                        fixed.for_each(|transform| transform.attributes.push(key_length(*bits)));
                    }
                    ProposalEdit::Bare => transforms.clear(),
                    ProposalEdit::Number(_) | ProposalEdit::Copies(_) => {}
                }
            }
        }
    }
    *sa != before
}

fn key_length(bits: u16) -> Attribute {
    Attribute { kind: TransformAttribute::KEY_LENGTH.0, value: AttributeValue::Short(bits) }
}

/// `response`: whoever sends the message, TSi is the side of the one who asked.
fn selectors(list: &mut [Payload], edit: &TsEdit, response: bool) -> bool {
    let before = list.to_vec();
    if *edit == TsEdit::Swap {
        let of = |wanted: PayloadType| {
            list.iter().find_map(|payload| match payload {
                Payload::TsI(ts) | Payload::TsR(ts) if payload.kind() == wanted => Some(ts.clone()),
                _ => None,
            })
        };
        if let (Some(first), Some(second)) = (of(PayloadType::TSI), of(PayloadType::TSR)) {
            each(list, |payload| match payload {
                Payload::TsI(ts) => replaced(ts, &second),
                Payload::TsR(ts) => replaced(ts, &first),
                _ => false,
            });
        }
        return list != before;
    }
    each(list, |payload| match payload {
        Payload::TsI(ts) => change(ts, edit, !response),
        Payload::TsR(ts) => change(ts, edit, response),
        _ => false,
    });
    list != before
}

fn replaced(ts: &mut TsPayload, new: &TsPayload) -> bool {
    *ts = new.clone();
    true
}

fn change(ts: &mut TsPayload, edit: &TsEdit, ours: bool) -> bool {
    match edit {
        TsEdit::Ours(new) if ours => ts.selectors = vec![new.clone()],
        TsEdit::Theirs(new) if !ours => ts.selectors = vec![new.clone()],
        TsEdit::Widen if ours => {
            let v6 = matches!(ts.selectors.first().map(|ts| &ts.range), Some(TsRange::V6 { .. }));
            ts.selectors = vec![if v6 { TrafficSelector::any_v6() } else { TrafficSelector::any_v4() }];
        }
        TsEdit::Backwards => ts.selectors.iter_mut().for_each(|selector| match &mut selector.range {
            TsRange::V4 { start, end } => std::mem::swap(start, end),
            TsRange::V6 { start, end } => std::mem::swap(start, end),
            TsRange::Unknown { .. } => {}
        }),
        TsEdit::Protocol(protocol) => ts.selectors.iter_mut().for_each(|selector| selector.protocol = *protocol),
        TsEdit::None => ts.selectors.clear(),
        TsEdit::Many(count) => {
            if let Some(first) = ts.selectors.first().cloned() {
                ts.selectors = vec![first; usize::from(*count)];
            }
        }
        TsEdit::Ours(_) | TsEdit::Theirs(_) | TsEdit::Widen | TsEdit::Swap => {}
    }
    true
}
