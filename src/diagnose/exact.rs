//! Causes that the transcript proves: the key by the peer's own AUTH, the transform by both ends' proposals, the selectors by
//! both ends' lists.

use super::{Cause, Certainty, Facts, known};
use crate::auth::psk::{Compared, KeyOwner};
use crate::crypto::Encr;
use crate::engine::{AuthFault, ConnectionSpec, Failed, Failure, PeerIncompatible, PeerMisbehaved, Side};
use crate::wire::registry::{ExchangeType, IntegId, KeMethod, TransformType};
use crate::wire::{Proposal, Transform};

/// Causes in place of the general ones.
pub(super) struct Proof {
    pub certainty: Certainty,
    /// In place of the general headline.
    pub headline: Option<&'static str>,
    pub causes: Vec<Cause>,
    pub next: Vec<String>,
}

impl Proof {
    pub(super) fn exact(cause: Cause, next: &str) -> Proof {
        Proof { certainty: Certainty::Exact, headline: None, causes: vec![cause], next: vec![next.to_owned()] }
    }
}

/// What is proved about a failure, if anything is.
pub(super) fn proof(failed: &Failed, facts: &Facts, spec: &ConnectionSpec) -> Option<Proof> {
    match &failed.why {
        Failure::AuthFailed(AuthFault::Mismatch { .. }) => key(facts.key.as_ref()?),
        Failure::AuthFailed(AuthFault::Identity { got }) => identity(facts.key.as_ref(), &got.to_string(), spec),
        Failure::AuthFailed(AuthFault::Certificate(fault)) => super::checks::certificate(fault),
        Failure::AuthFailed(AuthFault::Eap(fault)) => super::checks::eap(fault, failed),
        Failure::AuthFailed(AuthFault::Method { got }) => {
            let because = format!("its AUTH payload says {got}");
            let text = format!("the peer is set to another authentication method than auth.remote here: {got}");
            Some(Proof {
                certainty: Certainty::Exact,
                headline: None,
                causes: vec![Cause::because("auth_method", text, because)],
                next: Vec::new(),
            })
        }
        Failure::Incompatible(PeerIncompatible::NoProposal { offered, wanted }) => proposals(failed, offered, wanted),
        Failure::Incompatible(PeerIncompatible::Selectors { offered_i, offered_r, wanted_i, wanted_r }) => {
            super::selectors::proof([(offered_i, wanted_i), (offered_r, wanted_r)], facts)
        }
        Failure::Misbehaved(PeerMisbehaved::SelectorsNotSubset(got)) => super::selectors::stray(got, facts, spec),
        Failure::Rejected { .. } => super::ike_rekey::proof(failed, facts),
        Failure::Misbehaved(PeerMisbehaved::UnofferedGroup(group)) if failed.exchange == ExchangeType::IKE_SA_INIT => {
            let name = crate::crypto::Group::from_method(*group).map_or(group.to_string(), |g| g.name().to_owned());
            let text =
                format!("the key exchange group differs: the peer wants {name}, which ike.proposals does not offer");
            let because = format!("its INVALID_KE_PAYLOAD names {name}");
            let cause = Cause::because("ike_group", text, because).see("sa-init/no-common-group");
            Some(Proof::exact(cause, &format!("add {name} to ike.proposals, or set the peer to a group of ours")))
        }
        _ => None,
    }
}

/// The peer's AUTH told how its key compares with ours.
fn key(compared: &Compared) -> Option<Proof> {
    let because = "its AUTH verifies with exactly that".to_owned();
    let (code, text, next) = match compared {
        // Refused although it verifies: on purpose.
        Compared::Same(KeyOwner::Peer) => return None,
        Compared::Same(KeyOwner::Us) => (
            "psk_swapped",
            "the peer used the key that is ours (auth.local) where auth.remote is expected: the two are swapped".into(),
            "swap local and remote key at one end (IOS: pre-shared-key local and remote; ASA: ikev2 local-authentication and \
             remote-authentication)",
        ),
        Compared::Same(KeyOwner::Connection(name)) => (
            "psk_other",
            format!("the peer used the key of the connection \"{name}\""),
            "correct the peer's identity or its key: the two belong to different connections",
        ),
        Compared::Variant(owner, how) => {
            let whose = match owner {
                KeyOwner::Peer => "ours".to_owned(),
                KeyOwner::Us => "the one of the other direction (auth.local)".to_owned(),
                KeyOwner::Connection(name) => format!("that of the connection \"{name}\""),
            };
            (
                "psk_variant",
                format!("the peer's key is {whose} {how}"),
                "enter the key anew at one end; nothing else about it is wrong",
            )
        }
        Compared::Unlike { tried } => {
            let guesses = format!("none of {tried} usual slips of a key of ours gives its AUTH");
            return Some(Proof {
                certainty: Certainty::Ranked,
                headline: None,
                causes: vec![
                    Cause::because(
                        "psk",
                        "the peer has another pre-shared key altogether in its direction (auth.remote here, local on the box)"
                            .into(),
                        guesses,
                    )
                    .see("auth/psk-mismatch"),
                    Cause::plain("init_changed", "something between the two ends changed IKE_SA_INIT, which AUTH covers"),
                ],
                next: vec!["enter the key anew at both ends; it is no slip of one character".into()],
            });
        }
    };
    Some(Proof::exact(Cause::because(code, text, because).see("auth/psk-mismatch"), next))
}

/// The peer's identity is not the one expected; its AUTH may tell whether the key is right.
fn identity(compared: Option<&Compared>, got: &str, spec: &ConnectionSpec) -> Option<Proof> {
    let cause = |text: &str| Cause::plain("identity", text);
    let (mut causes, certainty) = match compared? {
        Compared::Same(_) => {
            let text = "only the identity differs: the peer names itself otherwise than remote.id says";
            let because = "its AUTH verifies with the key that we have".to_owned();
            (vec![Cause::because("identity", text.into(), because)], Certainty::Exact)
        }
        Compared::Variant(_, how) => {
            let text = format!("its key differs, too: it is ours {how}");
            let because = "its AUTH verifies with exactly that".to_owned();
            (
                vec![
                    cause("the peer names itself otherwise than remote.id says"),
                    Cause::because("psk_variant", text, because).see("auth/psk-mismatch"),
                ],
                Certainty::Exact,
            )
        }
        Compared::Unlike { .. } => {
            let because = "its AUTH does not verify with our key for this connection either".to_owned();
            let text =
                "another box, or another connection of the box, answers: identity and key both differ".to_owned();
            (
                vec![
                    Cause::because("wrong_box", text, because),
                    cause("the peer's identity and its key are both configured otherwise"),
                ],
                Certainty::Ranked,
            )
        }
    };
    let wanted = match &spec.remote_id {
        crate::engine::IdMatch::Exact(id) => id.to_string(),
        crate::engine::IdMatch::Any => "any".into(),
    };
    // The address that a box behind a NAT takes for its own.
    if certainty == Certainty::Exact && got.starts_with("ipv4:") && wanted.starts_with("ipv4:") {
        causes[0].text += "; both are addresses, so a NAT or a second interface of the peer may be behind it";
    }
    let next = format!("set remote.id to {got}, or the peer's own identity to {wanted}");
    Some(Proof { certainty, headline: None, causes, next: vec![next] })
}

/// A kind of transform that two proposals do not agree on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Apart {
    kind: TransformType,
    theirs: Vec<Transform>,
    ours: Vec<Transform>,
    esp: bool,
}

impl Apart {
    fn name(&self) -> &'static str {
        match self.kind {
            TransformType::ENCR if self.is_key_length() => "key length of encryption",
            TransformType::ENCR => "encryption",
            TransformType::INTEG => "integrity",
            TransformType::PRF => "PRF",
            TransformType::KE => "key exchange group",
            _ => "extended sequence numbers",
        }
    }

    fn is_key_length(&self) -> bool {
        let ids = |list: &[Transform]| list.iter().map(|t| t.id).collect::<Vec<_>>();
        self.kind == TransformType::ENCR && ids(&self.theirs).iter().any(|id| ids(&self.ours).contains(id))
    }

    pub(super) fn is_group(&self) -> bool {
        self.kind == TransformType::KE
    }

    /// `PRF (theirs prfsha1, ours prfsha256)`.
    pub(super) fn words(&self) -> String {
        self.between("theirs", "ours")
    }

    /// The same of any two lists.
    pub(super) fn between(&self, first: &str, second: &str) -> String {
        let list = |list: &[Transform]| if list.is_empty() { "none".to_owned() } else { known::list(list) };
        format!("{} ({first} {}, {second} {})", self.name(), list(&self.theirs), list(&self.ours))
    }

    fn pfs_words(&self) -> String {
        match (&self.theirs[..], &self.ours[..]) {
            ([], ours) => format!("it is on here, and off at the peer (ours {})", known::list(ours)),
            (theirs, []) => format!("it is on at the peer with {}, and off here", known::list(theirs)),
            (theirs, ours) => {
                format!("the peer has {}, we have {}", known::list(theirs), known::list(ours))
            }
        }
    }

    fn code(&self) -> &'static str {
        match (self.kind, self.esp) {
            (TransformType::ENCR, false) if self.is_key_length() => "ike_key_length",
            (TransformType::ENCR, false) => "ike_encryption",
            (TransformType::INTEG, false) => "ike_integrity",
            (TransformType::PRF, _) => "ike_prf",
            (TransformType::KE, false) => "ike_group",
            (TransformType::ENCR, true) if self.is_key_length() => "esp_key_length",
            (TransformType::ENCR, true) => "esp_encryption",
            (TransformType::INTEG, true) => "esp_integrity",
            (TransformType::KE, true) => "pfs",
            (_, _) => "esp_esn",
        }
    }

    fn failure(&self) -> Option<&'static str> {
        Some(match (self.kind, self.esp) {
            (TransformType::ENCR, false) => "sa-init/no-proposal-encr",
            (TransformType::PRF, false) => "sa-init/no-proposal-prf",
            (TransformType::KE, false) => "sa-init/no-common-group",
            (TransformType::KE, true) | (_, false) => return None,
            (_, true) => "child/no-proposal",
        })
    }
}

/// What the two proposals of a pair do not agree on. Extended sequence numbers left out mean none.
fn apart(theirs: &Proposal, ours: &Proposal) -> Vec<Apart> {
    let esp = theirs.protocol == crate::wire::registry::ProtocolId::ESP;
    let of = |p: &Proposal, kind: TransformType| -> Vec<Transform> {
        let none = |t: &Transform| {
            (kind == TransformType::INTEG && t.id == IntegId::NONE.0)
                || (kind == TransformType::KE && t.id == KeMethod::NONE.0)
        };
        p.transforms.iter().filter(|t| t.kind == kind && !none(t)).cloned().collect()
    };
    let aead = |p: &Proposal| {
        let ciphers = of(p, TransformType::ENCR);
        !ciphers.is_empty() && ciphers.iter().all(|t| Encr::from_transform(t).is_some_and(Encr::is_aead))
    };
    let kinds = [TransformType::ENCR, TransformType::INTEG, TransformType::PRF, TransformType::KE, TransformType::ESN];
    let mut all = Vec::new();
    for kind in kinds {
        let (t, o) = (of(theirs, kind), of(ours, kind));
        let agree = match (t.is_empty(), o.is_empty()) {
            (true, true) => true,
            (false, false) => t.iter().any(|t| o.contains(t)),
            // Of an AEAD at one end only, the cipher is what differs.
            _ if kind == TransformType::INTEG => aead(theirs) != aead(ours),
            _ if kind == TransformType::ESN => t.iter().chain(&o).any(|t| t.id == 0),
            _ => false,
        };
        if !agree {
            all.push(Apart { kind, theirs: t, ours: o, esp });
        }
    }
    all
}

/// The smallest differences between any two proposals of the lists, each once: of one pair, or of several that are as near.
pub(super) fn nearest(offered: &[Proposal], wanted: &[Proposal]) -> Vec<Vec<Apart>> {
    let mut best: Vec<Vec<Apart>> = Vec::new();
    for theirs in offered {
        for ours in wanted {
            let apart = apart(theirs, ours);
            match best.first().map_or(std::cmp::Ordering::Less, |known| apart.len().cmp(&known.len())) {
                std::cmp::Ordering::Less => best = vec![apart],
                std::cmp::Ordering::Equal if !best.contains(&apart) => best.push(apart),
                _ => {}
            }
        }
    }
    best.retain(|apart| !apart.is_empty());
    best
}

fn proposals(failed: &Failed, offered: &[Proposal], wanted: &[Proposal]) -> Option<Proof> {
    let nearest = nearest(offered, wanted);
    let section = if failed.exchange == ExchangeType::IKE_SA_INIT || is_ike(offered) { "ike" } else { "children[]" };
    let causes = |list: &[Apart], because: &str| -> Vec<Cause> {
        list.iter()
            .map(|apart| {
                let text = match apart.code() {
                    "pfs" => format!("PFS mismatch: {}", apart.pfs_words()),
                    _ => format!("{} differs", apart.words()),
                };
                Cause { failure: apart.failure(), ..Cause::because(apart.code(), text, because.to_owned()) }
            })
            .collect()
    };
    let next = format!("bring {section}.proposals and the peer's together in what is named above");
    match &nearest[..] {
        [] => None,
        [one] => {
            let because = match one.len() {
                1 => "both ends' proposals are known, and agree in everything else",
                _ => "both ends' proposals are known, and have nothing in common for it",
            };
            let headline = (failed.found_by == Side::Us && one.len() == 1)
                .then_some("the proposals of the two ends differ in one thing");
            Some(Proof { certainty: Certainty::Exact, headline, causes: causes(one, because), next: vec![next] })
        }
        several => {
            let mut all: Vec<Cause> = Vec::new();
            for cause in
                several.iter().flat_map(|one| causes(one, "in one of several pairs of proposals that are as near"))
            {
                if !all.iter().any(|known| known.text == cause.text) {
                    all.push(cause);
                }
            }
            Some(Proof { certainty: Certainty::Ranked, headline: None, causes: all, next: vec![next] })
        }
    }
}

fn is_ike(proposals: &[Proposal]) -> bool {
    proposals.first().is_some_and(|p| p.protocol == crate::wire::registry::ProtocolId::IKE)
}
