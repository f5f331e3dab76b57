//! The personas' habits. What is marked `Modelled` is a hypothesis until a box confirms it.

use super::{Basis, Habit, Persona, Trait};
use crate::config::Vendor;
use crate::engine::{ChildFailure, Narrowing, UnprotectedErrors};
use crate::vendor::evidence::Source;

/// Cisco's vendor IDs are ASCII without a terminating zero.
const DELETE_REASON: &[u8] = b"CISCO-DELETE-REASON";
const COPYRIGHT: &[u8] = b"CISCO(COPYRIGHT)&Copyright (c) 2009 Cisco Systems, Inc.";
const FLEXVPN: &[u8] = b"FLEXVPN-SUPPORTED";
/// MD5 of "FRAGMENTATION": Cisco's fragmentation from before RFC 7383.
const CISCO_FRAGMENTATION: &[u8] =
    &[0x40, 0x48, 0xb7, 0xd5, 0x6e, 0xbc, 0xe8, 0x85, 0x25, 0xe7, 0xde, 0x7f, 0x00, 0xd6, 0xc2, 0xd3];

const IOS_DEBUG: &str = Source::IosDebug.title();
const IOS_LAB: &str = Source::IosLab.title();
const IOS_SHOW: &str = Source::IosShow.title();
const VENDOR_IDS: &str = Source::VendorIdLists.title();
const RACOON2: &str = "source of racoon2's iked, from which PAN-OS's IKEv2 descends";
const PAN_EXPORTS: &str = Source::PanExports.title();
const PAN_LIVENESS: &str = "PAN-OS documentation, tunnel monitoring and IKEv2 liveness check";
const ASA_LOG: &str = Source::AsaHandshake.title();

/// A habit that our engine takes on.
const fn does(text: &'static str, basis: Basis, source: &'static str, change: Trait) -> Habit {
    Habit { text, basis, source, trait_: Some(change) }
}

/// A habit that is described only.
const fn known(text: &'static str, basis: Basis, source: &'static str) -> Habit {
    Habit { text, basis, source, trait_: None }
}

/// The ASA's engine is FTD's as well.
const ASA_HABITS: &[Habit] = &[
    does(
        "sends CISCO-DELETE-REASON, the copyright and the fragmentation vendor IDs in IKE_SA_INIT",
        Basis::Observed,
        ASA_LOG,
        Trait::VendorIds(&[DELETE_REASON, COPYRIGHT, CISCO_FRAGMENTATION]),
    ),
    does(
        "refuses selectors that are wider than its access list with TS_UNACCEPTABLE",
        Basis::Documented,
        "ASA syslog messages guide, 751022",
        Trait::Narrowing(Narrowing::RefuseWider),
    ),
    does(
        "answers IKE_SA_INIT without a common proposal with NO_PROPOSAL_CHOSEN",
        Basis::Observed,
        Source::CiscoDebug.title(),
        Trait::AnswerNoProposal(true),
    ),
    does(
        "deletes the IKE SA when its first Child SA fails",
        Basis::Modelled,
        "likeness to another box: IOS-XE",
        Trait::ChildFailure(ChildFailure::DeleteIkeSa),
    ),
    known(
        "one Child SA for each line of the access list; never several selectors in one Child SA",
        Basis::Documented,
        "IBM Cloud VPN documentation, on ASA peers",
    ),
    known("CERTREQ in IKE_SA_INIT even when it authenticates by pre-shared key", Basis::Observed, ASA_LOG),
    known("refuses ESP that is stronger than IKE", Basis::Documented, "ASA syslog messages guide, 750011 and 750012"),
    known("keepalive threshold 10 s, retry 2 s", Basis::Documented, "ASA documentation, that of FTD"),
    known("NAT-T is on, keepalive every 20 s; IKE lifetime 86400 s", Basis::Documented, "ASA documentation"),
];

pub(super) const ALL: &[Persona] = &[
    Persona { name: "plain", vendor: None, summary: "what RFC 7296 says, and nothing of anybody's own", habits: &[] },
    Persona {
        name: "cisco-ios-xe",
        vendor: Some(Vendor::CiscoIosXe),
        summary: "a Cisco router with IOS-XE",
        habits: &[
            does(
                "sends four vendor IDs in IKE_SA_INIT; which ones is modelled",
                Basis::Modelled,
                VENDOR_IDS,
                Trait::VendorIds(&[DELETE_REASON, COPYRIGHT, FLEXVPN, CISCO_FRAGMENTATION]),
            ),
            does(
                "deletes the IKE SA when its first Child SA fails",
                Basis::Observed,
                IOS_DEBUG,
                Trait::ChildFailure(ChildFailure::DeleteIkeSa),
            ),
            does(
                "answers IKE_SA_INIT without a common proposal with NO_PROPOSAL_CHOSEN",
                Basis::Observed,
                IOS_LAB,
                Trait::AnswerNoProposal(true),
            ),
            does(
                "follows INVALID_KE_PAYLOAD with one extra round trip",
                Basis::Observed,
                IOS_LAB,
                Trait::InvalidKeRetries(1),
            ),
            does(
                "gives up at once on an unprotected error",
                Basis::Observed,
                IOS_LAB,
                Trait::UnprotectedErrors(UnprotectedErrors::Believe),
            ),
            does("always announces INITIAL_CONTACT", Basis::Observed, IOS_DEBUG, Trait::InitialContact(true)),
            does(
                "RFC 7383 fragmentation is off unless configured",
                Basis::Documented,
                "IOS-XE FlexVPN configuration guide, IKEv2 fragmentation",
                Trait::Fragmentation(false),
            ),
            known(
                "as responder it looks the profile up by IDi before it answers; as initiator it checks IDr only when the \
                 peer's SAs are already up",
                Basis::Observed,
                IOS_LAB,
            ),
            known(
                "one proposal that holds all transforms, not one proposal for each suite",
                Basis::Observed,
                IOS_DEBUG,
            ),
            known(
                "CFG_REQUEST in IKE_AUTH also between sites; a missing answer does no harm",
                Basis::Observed,
                IOS_DEBUG,
            ),
            known("IKE lifetime 86400 s, IPsec 3600 s and 4,608,000 kB, no PFS", Basis::Observed, IOS_SHOW),
            known("no liveness checks unless `dpd` is configured", Basis::Observed, IOS_SHOW),
            known("40 IKE SAs in negotiation at most", Basis::Observed, IOS_SHOW),
            known(
                "with the 85 Mb/s licence: 225 tunnels, 85,000 kb/s in each direction",
                Basis::Documented,
                "Cisco technical note 118746",
            ),
        ],
    },
    Persona { name: "cisco-asa", vendor: Some(Vendor::CiscoAsa), summary: "a Cisco ASA firewall", habits: ASA_HABITS },
    Persona {
        name: "cisco-ftd",
        vendor: Some(Vendor::CiscoFtd),
        summary: "Cisco Secure Firewall Threat Defense, whose VPN engine is the ASA's",
        habits: ASA_HABITS,
    },
    Persona {
        name: "paloalto-panos",
        vendor: Some(Vendor::PaloAltoPanos),
        summary: "a Palo Alto Networks firewall",
        habits: &[
            does(
                "stays silent when IKE_SA_INIT has no common proposal; newer releases may answer",
                Basis::Modelled,
                RACOON2,
                Trait::AnswerNoProposal(false),
            ),
            does(
                "ignores unprotected errors and keeps retransmitting",
                Basis::Modelled,
                RACOON2,
                Trait::UnprotectedErrors(UnprotectedErrors::Ignore),
            ),
            does("follows INVALID_KE_PAYLOAD once", Basis::Modelled, RACOON2, Trait::InvalidKeRetries(1)),
            does("as responder narrows to its proxy ID", Basis::Modelled, RACOON2, Trait::Narrowing(Narrowing::Narrow)),
            does(
                "as initiator gives up when the answer is narrower than its proxy ID",
                Basis::Modelled,
                RACOON2,
                Trait::AcceptNarrowed(false),
            ),
            does(
                "keeps the IKE SA when a Child SA fails",
                Basis::Modelled,
                RACOON2,
                Trait::ChildFailure(ChildFailure::KeepIkeSa),
            ),
            does(
                "fragmentation is off in exported configurations",
                Basis::Observed,
                PAN_EXPORTS,
                Trait::Fragmentation(false),
            ),
            does(
                "sends a request again after 5, 10, 20 and 40 s and then every 60 s, ten transmissions in 435 s",
                Basis::Documented,
                PAN_LIVENESS,
                Trait::Retransmit { initial: 5, factor_percent: 200, max_wait: 60, attempts: 10 },
            ),
            known(
                "one Child SA for each proxy ID, one pair of selectors in an exchange",
                Basis::Documented,
                "PAN-OS documentation",
            ),
            known("the PRF is the hash of the IKE crypto profile", Basis::Documented, "PAN-OS documentation"),
            known("the default IPsec crypto profile has PFS on, with group 2; one hour", Basis::Observed, PAN_EXPORTS),
            known("liveness check every 5 s where it is on", Basis::Documented, PAN_LIVENESS),
            known(
                "cookies from 500 half-open IKE SAs on, silence past 65535",
                Basis::Documented,
                "PAN-OS documentation",
            ),
            known("NAT traversal is off in exported configurations", Basis::Observed, PAN_EXPORTS),
        ],
    },
    Persona {
        name: "strongswan",
        vendor: Some(Vendor::StrongSwan),
        summary: "strongSwan's charon with its defaults",
        habits: &[
            does(
                "keeps the IKE SA when a Child SA fails",
                Basis::Observed,
                Source::OurRuns.title(),
                Trait::ChildFailure(ChildFailure::KeepIkeSa),
            ),
            does("narrows", Basis::Observed, Source::OurRuns.title(), Trait::Narrowing(Narrowing::Narrow)),
            does(
                "sends a request again after 4.0 s, growing by 1.8, five more times",
                Basis::Documented,
                "strongSwan documentation, retransmission",
                Trait::Retransmit { initial: 4, factor_percent: 180, max_wait: 600, attempts: 6 },
            ),
            known(
                "cookies from 3 half-open IKE SAs of one address on, silence past 5",
                Basis::Observed,
                Source::OurRuns.title(),
            ),
        ],
    },
];
