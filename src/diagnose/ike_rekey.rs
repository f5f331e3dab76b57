//! A refused rekey of the IKE SA: what the peer accepted for the first one is known, and so is what it was asked for now.

use super::exact::{Proof, nearest};
use super::table::Entry;
use super::{Cause, CreateRequest, Facts, pfs};
use crate::engine::{Failed, Failure};
use crate::wire::registry::{ExchangeType, KeMethod, NotifyType};

/// Our own request for a rekey of the IKE SA, which the peer has refused, and its notify with what it says.
fn refused<'a>(failed: &'a Failed, facts: &'a Facts) -> Option<(&'a CreateRequest, NotifyType, &'a [u8])> {
    let create = facts.asked_to_create.as_ref().filter(|create| create.ike)?;
    match &failed.why {
        Failure::Rejected { notify, data, .. } if failed.exchange == ExchangeType::CREATE_CHILD_SA => {
            Some((create, *notify, data.as_slice()))
        }
        _ => None,
    }
}

/// What the transcript proves of it.
pub(super) fn proof(failed: &Failed, facts: &Facts) -> Option<Proof> {
    let (create, notify, data) = refused(failed, facts)?;
    match notify {
        NotifyType::NO_PROPOSAL_CHOSEN => other_offer(create, facts),
        NotifyType::INVALID_KE_PAYLOAD => other_group(create, KeMethod(u16::from_be_bytes(data.try_into().ok()?))),
        _ => None,
    }
}

/// The rekey does not offer what the peer accepted when the IKE SA was made.
fn other_offer(create: &CreateRequest, facts: &Facts) -> Option<Proof> {
    let agreed = facts.ike_agreed.as_ref()?;
    let apart = nearest(&create.offered, std::slice::from_ref(agreed));
    let words: Vec<String> = apart.first()?.iter().map(|kind| kind.between("offered", "in use")).collect();
    let text = format!("the rekey does not offer what the IKE SA uses: {}", words.join(", "));
    let because = "the peer accepted that for the IKE SA, and nothing in the rekey's offer holds it".to_owned();
    let next = "offer in a rekey what the first exchange agreed on, or give the peer what the rekey offers";
    Some(Proof::exact(Cause::because("ike_rekey", text, because), next))
}

/// The group that it wants is not that of our KE, or not even among those offered.
fn other_group(create: &CreateRequest, wanted: KeMethod) -> Option<Proof> {
    let name = pfs::name(wanted);
    let (text, because) = if !create.groups.contains(&wanted) {
        let offered: Vec<String> = create.groups.iter().map(|group| pfs::name(*group)).collect();
        let offered = if offered.is_empty() { "no group".to_owned() } else { offered.join(", ") };
        (format!("the peer wants {name} for the rekey, which ours does not offer"), format!("it offers {offered}"))
    } else {
        let ours = pfs::name(create.ke.filter(|ours| *ours != wanted)?);
        (
            format!("the peer wants {name} for the rekey, and our key exchange was of {ours}"),
            "its notify names it".into(),
        )
    };
    let next = format!("make {name} the first group of ike.proposals, or set the peer to a group of ours");
    Some(Proof::exact(Cause::because("ike_group", text, because), &next))
}

/// The entry for it.
pub(super) fn entry(failed: &Failed, facts: &Facts) -> Option<&'static Entry> {
    Some(match refused(failed, facts)?.1 {
        NotifyType::NO_PROPOSAL_CHOSEN => &NO_PROPOSAL,
        NotifyType::INVALID_KE_PAYLOAD => &GROUP,
        NotifyType::NO_ADDITIONAL_SAS => &NONE,
        NotifyType::TEMPORARY_FAILURE => &BUSY,
        _ => return None,
    })
}

/// What was asked for, as a line of "what we know".
pub(super) fn known(failed: &Failed, facts: &Facts) -> Option<String> {
    let (create, ..) = refused(failed, facts)?;
    let offered = super::known::wire_words(&create.offered);
    let used = facts.ike_agreed.as_ref().map(|agreed| super::known::wire_words(std::slice::from_ref(agreed)));
    let used = used.map_or(String::new(), |used| format!("; the IKE SA uses {used}"));
    let ke = create.ke.map_or("no key exchange".to_owned(), |group| format!("a key exchange of {}", pfs::name(group)));
    Some(format!("our rekey of the IKE SA offered {offered}, with {ke}{used}"))
}

static NO_PROPOSAL: Entry = Entry {
    headline: "the peer refused the rekey of the IKE SA",
    likely: &[
        ("ike_rekey", "what the peer accepts for a rekey differs from what it accepted for the first IKE SA", None),
        ("config_changed", "a change of the peer's configuration since the tunnel came up", None),
        ("no_rekey", "the peer does not rekey IKE SAs that it did not begin, and says so in this way", None),
    ],
    on_peer: &[],
    next: &["compare ike.proposals with the peer's; a reconnect shows whether the first exchange still agrees"],
};

static GROUP: Entry = Entry {
    headline: "the peer wants another key exchange for the rekey of the IKE SA: {demanded group}",
    likely: &[
        (
            "group_loop",
            "the peer asks again although it was given what it asked for",
            Some("sa-init/invalid-ke-no-retry"),
        ),
        ("ike_group", "the groups of the two ends differ for a rekey", Some("sa-init/no-common-group")),
        ("config_changed", "a change of the peer's configuration since the tunnel came up", None),
    ],
    on_peer: &[],
    next: &["compare the groups of ike.proposals with the peer's", "read the peer's log for this moment"],
};

static NONE: Entry = Entry {
    headline: "the peer does not rekey the IKE SA",
    likely: &[
        ("no_rekey", "the peer refuses CREATE_CHILD_SA on principle, and wants a new IKE SA from scratch", None),
        ("limit", "a limit of SAs at the peer", None),
    ],
    on_peer: &[],
    next: &[
        "let the peer begin the rekey, by a longer ike.lifetime here",
        "or authenticate anew instead: rekey.reauth, shorter than the peer's lifetime",
    ],
};

static BUSY: Entry = Entry {
    headline: "the peer puts off the rekey of the IKE SA, again and again",
    likely: &[
        (
            "busy",
            "the peer waits for the end of an exchange of its own, a rekey or a delete of a Child SA, which does not end",
            None,
        ),
        ("path_one_way", "what the peer asks does not reach us, so that it waits for our answer", None),
        ("limit", "a limit of SAs or of negotiations at the peer", None),
    ],
    on_peer: &[],
    next: &[
        "look at the peer's Child SAs: one that is being rekeyed or deleted holds up everything else (RFC 7296 2.25)",
        "capture at the peer: does it ask something that does not arrive here?",
    ],
};
