//! Perfect forward secrecy at one end only. IKE_AUTH's Child SA never has a key exchange of its own (RFC 7296 1.2), so two
//! ends that disagree about it come up, and fail at the first CREATE_CHILD_SA for a Child SA.

use super::table::Entry;
use super::{CreateRequest, Facts};
use crate::crypto::Group;
use crate::engine::{Failed, Failure, PeerIncompatible, PeerMisbehaved, Side};
use crate::wire::registry::{ExchangeType, KeMethod, NotifyType};

/// The entry for a refused CREATE_CHILD_SA, if what was seen points at the key exchange.
pub(super) fn entry(failed: &Failed, facts: &Facts) -> Option<&'static Entry> {
    if failed.exchange != ExchangeType::CREATE_CHILD_SA {
        return None;
    }
    let create = super::refused_create(failed, facts)?;
    let (no_proposal, invalid_ke) = match &failed.why {
        Failure::Rejected { notify: NotifyType::NO_PROPOSAL_CHOSEN, .. }
        | Failure::Incompatible(PeerIncompatible::NoProposal { .. }) => (true, false),
        Failure::Rejected { notify: NotifyType::INVALID_KE_PAYLOAD, .. }
        | Failure::Misbehaved(PeerMisbehaved::InvalidKeLoop(_) | PeerMisbehaved::UnofferedGroup(_)) => (false, true),
        _ => return None,
    };
    // Both lists are known: whatever differs, it is not the group.
    if let Failure::Incompatible(PeerIncompatible::NoProposal { offered, wanted }) = &failed.why
        && !super::exact::nearest(offered, wanted).iter().flatten().any(super::exact::Apart::is_group)
    {
        return None;
    }
    let by_us = create.by == Side::Us;
    Some(match () {
        () if create.ike => return None,
        () if invalid_ke => &OTHER_GROUP,
        // A Child SA that came up by CREATE_CHILD_SA shows that the ends agree about groups.
        () if !no_proposal || facts.children_by_auth == 0 || facts.children_by_create > 0 => return None,
        () if by_us && create.groups.is_empty() => &PEER_WANTS_PFS,
        () if by_us => &WE_WANT_PFS,
        () if create.groups.is_empty() => &PEER_WITHOUT_PFS,
        () => &PEER_WITH_PFS,
    })
}

/// What was proposed and the facts that point at the key exchange, as a line of "what we know".
pub(super) fn known(facts: &Facts) -> Option<String> {
    let CreateRequest { by, ike: false, .. } = facts.create.as_ref()? else { return None };
    let who = if *by == Side::Us { "our" } else { "the peer's" };
    let what = match offered(facts) {
        none if none.is_empty() => "no group".to_owned(),
        groups => format!("PFS with {groups}"),
    };
    let before = match (facts.children_by_auth, facts.children_by_create) {
        (1.., 0) => "; the Child SA before it came from IKE_AUTH, which never carries a group",
        _ => "",
    };
    Some(format!("{who} CREATE_CHILD_SA offered {what}{before}"))
}

/// The groups of the latest CREATE_CHILD_SA request, in words.
pub(super) fn offered(facts: &Facts) -> String {
    let groups = facts.create.iter().flat_map(|create| &create.groups);
    groups.map(|group| name(*group)).collect::<Vec<_>>().join(", ")
}

/// The group that INVALID_KE_PAYLOAD asks for, in words.
pub(super) fn demanded(failed: &Failed) -> String {
    match &failed.why {
        Failure::Rejected { notify: NotifyType::INVALID_KE_PAYLOAD, data, .. } => match data[..] {
            [a, b] => name(KeMethod(u16::from_be_bytes([a, b]))),
            _ => "an unnamed group".into(),
        },
        Failure::Misbehaved(PeerMisbehaved::UnofferedGroup(group)) => name(*group),
        _ => "another group".into(),
    }
}

/// A group in the words of a connection file.
pub(super) fn name(group: KeMethod) -> String {
    Group::from_method(group).map_or_else(|| group.to_string(), |g| g.name().to_owned())
}

static WE_WANT_PFS: Entry = Entry {
    headline: "the peer refused a Child SA with PFS ({groups})",
    likely: &[
        ("pfs", "PFS mismatch: it is on here with {groups}, and off or with another group at the peer", None),
        ("esp_proposal", "the peer's ESP proposals differ for a rekey in something else", Some("child/no-proposal")),
    ],
    on_peer: &[],
    next: &[
        "compare children[].pfs with the peer: set pfs (crypto map, IPsec profile), the DH group of the IPsec crypto profile (PAN-OS)",
        "or set children[].pfs: none; the tunnel that is up does not show it, since IKE_AUTH carries no group",
    ],
};

static PEER_WANTS_PFS: Entry = Entry {
    headline: "the peer refused a Child SA without PFS",
    likely: &[
        ("pfs", "PFS mismatch: it is on at the peer, and off here", None),
        ("esp_proposal", "the peer's ESP proposals differ for a rekey in something else", Some("child/no-proposal")),
    ],
    on_peer: &[],
    next: &[
        "set children[].pfs to the peer's group (Cisco: set pfs; PAN-OS: the DH group of the IPsec crypto profile)",
    ],
};

static PEER_WITH_PFS: Entry = Entry {
    headline: "the peer offered a Child SA with PFS ({groups}), which we do not accept",
    likely: &[
        ("pfs", "PFS mismatch: it is on at the peer with {groups}, and off or with another group here", None),
        ("esp_proposal", "the two ends' ESP proposals differ, as listed above", Some("child/no-proposal")),
    ],
    on_peer: &[],
    next: &["set children[].pfs to a group of the peer's"],
};

static PEER_WITHOUT_PFS: Entry = Entry {
    headline: "the peer offered a Child SA without PFS, which we do not accept",
    likely: &[
        ("pfs", "PFS mismatch: it is on here, and off at the peer", None),
        ("esp_proposal", "the two ends' ESP proposals differ, as listed above", Some("child/no-proposal")),
    ],
    on_peer: &[],
    next: &["set children[].pfs: none, or turn PFS on at the peer"],
};

static OTHER_GROUP: Entry = Entry {
    headline: "the peer wants another PFS group: {demanded group}",
    likely: &[("pfs", "PFS mismatch: the peer is set to {demanded group}, and ours does not offer it", None)],
    on_peer: &[],
    next: &["add {demanded group} to children[].pfs, or set the peer to a group of ours"],
};
