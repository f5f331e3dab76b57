//! Putting a persona's habits on: all of them, or all but one, to see what that one does.

use std::time::Duration;

use super::{ExtraData, Habit, LayoutData, PayloadData, Persona, Trait};
use crate::config::{Given, esp_proposal, ike_proposal};
use crate::engine::{
    Behaviour, ChildSpec, ConnectionSpec, DpdMode, DpdSpec, Extra, Limits, MessageStyle, NatTraversal, ProposalSpec,
    RetransmitSpec,
};
use crate::wire::registry::{CertEncoding, CfgAttr, CfgType};
use crate::wire::{CertReqPayload, CfgAttribute, CpPayload, NotifyPayload, Payload, VendorIdPayload};

/// What is put on of a persona.
#[derive(Clone, Copy, Debug)]
pub struct Dress {
    /// Who is played.
    pub persona: Persona,
    /// One habit, by its place, that is left out.
    pub without: Option<usize>,
}

impl Dress {
    /// Everything.
    pub fn all(persona: Persona) -> Self {
        Dress { persona, without: None }
    }

    /// Each habit that does something, and the dress that lacks it.
    pub fn each_without(persona: Persona) -> impl Iterator<Item = (&'static Habit, Dress)> {
        let habits = persona.habits.iter().enumerate().filter(|(_, habit)| habit.trait_.is_some());
        habits.map(move |(at, habit)| (habit, Dress { persona, without: Some(at) }))
    }

    fn traits(&self) -> impl Iterator<Item = Trait> {
        let without = self.without;
        let worn = self.persona.habits.iter().enumerate().filter(move |(at, _)| Some(*at) != without);
        worn.filter_map(|(_, habit)| habit.trait_)
    }

    /// Makes a connection behave so, except where the file has said otherwise.
    pub fn apply(&self, spec: &mut ConnectionSpec, given: Given) {
        for change in self.traits() {
            settle(change, spec, given);
        }
    }

    /// Fills in the proposals that a connection lacks.
    pub fn propose(&self, spec: &mut ConnectionSpec) {
        for change in self.traits().filter(|t| matches!(t, Trait::IkeProposals(_) | Trait::EspProposals(_))) {
            settle(change, spec, Given::default());
        }
    }

    /// Sets the limits that such a box has.
    pub fn limit(&self, limits: &mut Limits) {
        for change in self.traits() {
            match change {
                Trait::HalfOpen(most) => {
                    limits.cookie_threshold = most.cookies_from;
                    limits.cookie_threshold_per_address = most.cookies_per_address;
                    limits.max_half_open = most.most.unwrap_or(limits.max_half_open);
                    limits.max_half_open_per_address = most.most_per_address;
                }
                Trait::Tunnels(most) => limits.max_child_sas = Some(most),
                _ => {}
            }
        }
    }

    /// Whether it checks liveness only where it is told to.
    pub fn unchecked(&self) -> bool {
        self.traits().any(|change| change == Trait::NoLiveness)
    }

    /// Kilobits of ESP a second in each direction, if there is such a limit.
    pub fn bandwidth(&self) -> Option<u32> {
        self.traits().find_map(|change| if let Trait::Bandwidth(most) = change { Some(most) } else { None })
    }
}

/// A setting that differs from the default was set by the file, which wins.
fn settle(change: Trait, spec: &mut ConnectionSpec, given: Given) {
    let untouched = Behaviour::default();
    let behaviour = &mut spec.behaviour;
    match change {
        Trait::VendorIds(ids) if behaviour.vendor_ids.is_empty() => {
            behaviour.vendor_ids = ids.iter().map(|id| id.to_vec()).collect();
        }
        Trait::Layout(layouts) if behaviour.style.is_empty() => {
            behaviour.style = layouts.iter().map(style).collect();
        }
        Trait::ChildFailure(what) if behaviour.child_failure == untouched.child_failure => {
            behaviour.child_failure = what;
        }
        Trait::AnswerNoProposal(yes) if behaviour.answer_no_proposal == untouched.answer_no_proposal => {
            behaviour.answer_no_proposal = yes;
        }
        Trait::Narrowing(how) if behaviour.narrowing == untouched.narrowing => behaviour.narrowing = how,
        Trait::AcceptNarrowed(yes) if behaviour.accept_narrowed == untouched.accept_narrowed => {
            behaviour.accept_narrowed = yes;
        }
        Trait::UnprotectedErrors(how) if behaviour.unprotected_errors == untouched.unprotected_errors => {
            behaviour.unprotected_errors = how;
        }
        Trait::Unwelcome(how) => behaviour.unwelcome = how,
        Trait::InvalidKeRetries(n) if behaviour.invalid_ke_retries == untouched.invalid_ke_retries => {
            behaviour.invalid_ke_retries = n;
        }
        Trait::InitialContact(yes) if behaviour.initial_contact == untouched.initial_contact => {
            behaviour.initial_contact = yes;
        }
        Trait::SinglePair => {
            behaviour.single_pair = true;
            single_pairs(spec);
        }
        Trait::IkeProposals(words) if spec.ike_proposals.is_empty() => {
            spec.ike_proposals =
                words.iter().map(|word| ike_proposal(word).expect("a test reads each of them")).collect();
        }
        Trait::EspProposals(words) => {
            for child in spec.children.iter_mut().filter(|child| child.proposals.is_empty()) {
                child.proposals =
                    words.iter().map(|word| esp_proposal(word).expect("a test reads each of them").0).collect();
            }
        }
        Trait::OneProposal => spec.ike_proposals = merged(&spec.ike_proposals),
        Trait::Fragmentation(yes) if !given.fragmentation => spec.fragmentation = yes,
        Trait::NatDetection(false) if !given.nat => spec.nat.traversal = NatTraversal::Off,
        Trait::Retransmit { initial, factor_percent, max_wait, attempts } if !given.retransmit => {
            let (initial, max_wait) = (Duration::from_secs(initial), Duration::from_secs(max_wait));
            spec.retransmit = RetransmitSpec { initial, factor_percent, max_wait, attempts, jitter_percent: 0 };
        }
        Trait::Lifetimes { ike, child } => {
            spec.lifetime.get_or_insert(Duration::from_secs(ike));
            for one in &mut spec.children {
                one.lifetime.get_or_insert(Duration::from_secs(child));
            }
        }
        Trait::ChildOctets(most) => {
            behaviour.rekey.child_bytes.get_or_insert(most);
        }
        Trait::Liveness { after, retry, attempts } if spec.dpd.is_none() => {
            let wait = Duration::from_secs(retry);
            let retransmit =
                RetransmitSpec { initial: wait, factor_percent: 100, max_wait: wait, attempts, jitter_percent: 0 };
            let dpd = DpdSpec::new(Duration::from_secs(after), DpdMode::Periodic);
            spec.dpd = Some(DpdSpec { retransmit: (retry > 0).then_some(retransmit), ..dpd });
        }
        _ => {}
    }
}

fn style(layout: &LayoutData) -> MessageStyle {
    let extra = |extra: &ExtraData| Extra { with: extra.with, payload: payload(extra.payload) };
    MessageStyle {
        exchange: layout.exchange,
        response: layout.response,
        order: layout.order.to_vec(),
        extras: layout.extras.iter().map(extra).collect(),
    }
}

fn payload(data: PayloadData) -> Payload {
    match data {
        PayloadData::Vendor(octets) => Payload::Vendor(VendorIdPayload { data: octets.to_vec() }),
        PayloadData::Notify(kind, octets) => Payload::Notify(NotifyPayload::with_data(kind, octets.to_vec())),
        PayloadData::CertificateRequest(octets) => {
            Payload::CertReq(CertReqPayload { encoding: CertEncoding::X509_SIGNATURE, data: octets.to_vec() })
        }
        PayloadData::ConfigRequest(kinds) => {
            let asked = |kind: &u16| CfgAttribute { kind: CfgAttr(*kind), value: Vec::new() };
            Payload::Cp(CpPayload { kind: CfgType::CFG_REQUEST, attributes: kinds.iter().map(asked).collect() })
        }
    }
}

/// A child for each pair of selectors. One whose selectors follow an inner address is left as it is.
fn single_pairs(spec: &mut ConnectionSpec) {
    if !spec.cp.dynamic.is_empty() {
        return;
    }
    let pairs = |child: &ChildSpec| {
        let all = child
            .local_ts
            .iter()
            .flat_map(|ours| child.remote_ts.iter().map(move |theirs| (ours.clone(), theirs.clone())));
        let one = |(at, (ours, theirs))| {
            let name = if at == 0 { child.name.clone() } else { format!("{}-{}", child.name, at + 1) };
            ChildSpec { name, local_ts: vec![ours], remote_ts: vec![theirs], ..child.clone() }
        };
        all.enumerate().map(one).collect::<Vec<_>>()
    };
    spec.children = spec.children.iter().flat_map(pairs).collect();
}

/// The same choices in as few proposals as can hold them: ciphers that bring their own integrity and others cannot share
/// one (RFC 7296 3.3).
fn merged(proposals: &[ProposalSpec]) -> Vec<ProposalSpec> {
    let mut out: Vec<ProposalSpec> = Vec::new();
    for proposal in proposals {
        match out.iter_mut().find(|other| with_integrity(other) == with_integrity(proposal)) {
            Some(other) => {
                for transform in &proposal.transforms {
                    if !other.transforms.contains(transform) {
                        other.transforms.push(transform.clone());
                    }
                }
                other.transforms.sort_by_key(|transform| transform.kind.0);
            }
            None => out.push(proposal.clone()),
        }
    }
    out
}

fn with_integrity(proposal: &ProposalSpec) -> bool {
    proposal.transforms.iter().any(|transform| transform.kind == crate::wire::registry::TransformType::INTEG)
}
