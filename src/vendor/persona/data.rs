//! The personas' habits. What is marked `Modelled` is a hypothesis until a box confirms it.

use super::layout::{self, COPYRIGHT, DELETE_REASON, DYNAMIC_ROUTE, FLEXVPN, FRAGMENTATION};
use super::{Basis, Habit, HalfOpen, Persona, Trait};
use crate::config::Vendor;
use crate::engine::{ChildFailure, Narrowing, UnprotectedErrors, Unwelcome};
use crate::vendor::evidence::Source;

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
        Trait::VendorIds(&[DELETE_REASON, COPYRIGHT, FRAGMENTATION]),
    ),
    does(
        "orders its payloads its own way: vendor IDs in the middle of IKE_SA_INIT, CERTREQ in its answer even when it \
         authenticates by pre-shared key, a vendor ID at the head of IKE_AUTH; the answers are observed, the requests and \
         that vendor ID's octets are modelled after them",
        Basis::Modelled,
        ASA_LOG,
        Trait::Layout(layout::ASA),
    ),
    does(
        "IKE lifetime 86400 s; that of a Child SA, 28800 s, is not confirmed",
        Basis::Modelled,
        "ASA documentation",
        Trait::Lifetimes { ike: 86_400, child: 28_800 },
    ),
    does(
        "asks whether the peer lives after 10 s, and again every 2 s; how often is modelled",
        Basis::Modelled,
        "ASA documentation, that of FTD",
        Trait::Liveness { after: 10, retry: 2, attempts: 4 },
    ),
    does(
        "sends a request again every 2 s, five more times",
        Basis::Modelled,
        "likeness to another box: its own keepalives",
        Trait::Retransmit { initial: 2, factor_percent: 100, max_wait: 2, attempts: 6 },
    ),
    does(
        "demands cookies once half of the IKE SAs that it may negotiate at once are in negotiation: 50 in a box for 100",
        Basis::Modelled,
        "ASA documentation knows the limit; nobody has confirmed the share, and the number depends on the model",
        Trait::HalfOpen(HalfOpen {
            cookies_from: Some(50),
            cookies_per_address: None,
            most: Some(100),
            most_per_address: None,
        }),
    ),
    does(
        "one Child SA for each line of the access list; never several selectors in one Child SA",
        Basis::Documented,
        "IBM Cloud VPN documentation, on ASA peers",
        Trait::SinglePair,
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
    known("refuses ESP that is stronger than IKE", Basis::Documented, "ASA syslog messages guide, 750011 and 750012"),
    known("NAT-T is on, keepalive every 20 s", Basis::Documented, "ASA documentation"),
    known(
        "its identity is its address with a pre-shared key, its subject with a certificate",
        Basis::Documented,
        "ASA documentation, crypto isakmp identity auto",
    ),
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
                Trait::VendorIds(&[DELETE_REASON, COPYRIGHT, DYNAMIC_ROUTE, FLEXVPN]),
            ),
            does(
                "orders its payloads its own way: four vendor IDs before NAT detection, a vendor ID at the head of IKE_AUTH, \
                 CFG_REQUEST also between sites, and its notifies in a row at the end of the request; the answer to \
                 IKE_AUTH, the octets of that vendor ID and the numbers of the attributes are modelled. The attributes \
                 are empty where the box tells its version, and the window is announced as 1 where it says 5 or 20, since \
                 ours is 1",
                Basis::Modelled,
                IOS_DEBUG,
                Trait::Layout(layout::IOS),
            ),
            does(
                "one proposal that holds all transforms, not one proposal for each suite",
                Basis::Observed,
                IOS_DEBUG,
                Trait::OneProposal,
            ),
            does(
                "offers its smart defaults where nothing is configured: all key lengths and hashes, groups 5 and 2",
                Basis::Observed,
                "published show output of IOS-XE, 16.x",
                Trait::IkeProposals(&["aes256-aes192-aes128-sha512-sha384-sha256-sha1-md5-modp1536-modp1024"]),
            ),
            does(
                "its default transform set is esp-aes esp-sha-hmac",
                Basis::Observed,
                IOS_SHOW,
                Trait::EspProposals(&["aes128-sha1"]),
            ),
            does(
                "leaves without a word when it does not accept the responder's identity, and the responder stays up",
                Basis::Observed,
                IOS_LAB,
                Trait::Unwelcome(Unwelcome::Left),
            ),
            does(
                "IKE lifetime 86400 s, IPsec 3600 s, no PFS",
                Basis::Observed,
                IOS_SHOW,
                Trait::Lifetimes { ike: 86_400, child: 3600 },
            ),
            does(
                "a Child SA ends after 4,608,000 kB, read as kilobytes of 1024 octets",
                Basis::Observed,
                IOS_SHOW,
                Trait::ChildOctets(4_608_000 * 1024),
            ),
            does(
                "40 IKE SAs in negotiation at most, and no cookies unless told to",
                Basis::Observed,
                IOS_SHOW,
                Trait::HalfOpen(HalfOpen {
                    cookies_from: None,
                    cookies_per_address: None,
                    most: Some(40),
                    most_per_address: None,
                }),
            ),
            does(
                "with the 85 Mb/s licence, 225 tunnels",
                Basis::Documented,
                "Cisco technical note 118746",
                Trait::Tunnels(225),
            ),
            does(
                "with the 85 Mb/s licence, 85,000 kb/s of ESP in each direction",
                Basis::Documented,
                "Cisco technical note 118746",
                Trait::Bandwidth(85_000),
            ),
            does(
                "sends a request again every 2 s, five more times",
                Basis::Modelled,
                "likeness to another box: `dpd 10 2 periodic`",
                Trait::Retransmit { initial: 2, factor_percent: 100, max_wait: 2, attempts: 6 },
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
            does("no liveness checks unless `dpd` is configured", Basis::Observed, IOS_SHOW, Trait::NoLiveness),
            known(
                "its identity is its address unless another one is configured",
                Basis::Documented,
                Source::IosIkev2Guide.title(),
            ),
            known(
                "announces HTTP_CERT_LOOKUP_SUPPORTED by default; we do not, as we fetch nothing",
                Basis::Observed,
                IOS_SHOW,
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
            does(
                "one Child SA for each proxy ID, one pair of selectors in an exchange",
                Basis::Documented,
                "PAN-OS documentation",
                Trait::SinglePair,
            ),
            does(
                "the default IKE crypto profile: aes-128-cbc or 3des, sha1, group 2",
                Basis::Observed,
                PAN_EXPORTS,
                Trait::IkeProposals(&["aes128-3des-sha1-modp1024"]),
            ),
            does(
                "the default IPsec crypto profile: aes-128-cbc or 3des, sha1",
                Basis::Observed,
                PAN_EXPORTS,
                Trait::EspProposals(&["aes128-3des-sha1"]),
            ),
            does(
                "8 hours for the IKE SA, one for a Child SA",
                Basis::Observed,
                PAN_EXPORTS,
                Trait::Lifetimes { ike: 8 * 3600, child: 3600 },
            ),
            does(
                "liveness check after 5 s; whether it is on by default differs between documents",
                Basis::Documented,
                PAN_LIVENESS,
                Trait::Liveness { after: 5, retry: 0, attempts: 0 },
            ),
            does(
                "cookies from 500 half-open IKE SAs on, silence past 65535",
                Basis::Documented,
                "PAN-OS documentation",
                Trait::HalfOpen(HalfOpen {
                    cookies_from: Some(500),
                    cookies_per_address: None,
                    most: Some(65_535),
                    most_per_address: None,
                }),
            ),
            does(
                "NAT traversal is off in exported configurations",
                Basis::Observed,
                PAN_EXPORTS,
                Trait::NatDetection(false),
            ),
            known(
                "its payload order and vendor IDs are not published: the RFC's order, and none",
                Basis::Modelled,
                RACOON2,
            ),
            known("its identity is its address unless another one is configured", Basis::Observed, PAN_EXPORTS),
            known("the PRF is the hash of the IKE crypto profile", Basis::Documented, "PAN-OS documentation"),
            known("the default IPsec crypto profile has PFS on, with group 2; one hour", Basis::Observed, PAN_EXPORTS),
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
            does(
                "cookies from 3 half-open IKE SAs of one address on and from 30 in all, silence for an address past 5",
                Basis::Observed,
                "our interop runs with 5.9.8; that it is 30 in all is strongSwan documentation's",
                Trait::HalfOpen(HalfOpen {
                    cookies_from: Some(30),
                    cookies_per_address: Some(3),
                    most: None,
                    most_per_address: Some(5),
                }),
            ),
            does(
                "orders its payloads its own way, and announces hash algorithms for signatures even with a pre-shared key",
                Basis::Observed,
                Source::OurRuns.title(),
                Trait::Layout(layout::STRONGSWAN),
            ),
            does(
                "rekeys the IKE SA after 4 hours and a Child SA after one",
                Basis::Documented,
                "strongSwan documentation, swanctl.conf",
                Trait::Lifetimes { ike: 4 * 3600 * 10 / 9, child: 3600 * 10 / 9 },
            ),
            does(
                "no liveness checks unless `dpd_delay` is configured",
                Basis::Documented,
                "strongSwan documentation, swanctl.conf",
                Trait::NoLiveness,
            ),
            known(
                "announces REDIRECT_SUPPORTED and MULTIPLE_AUTH_SUPPORTED; we do not, as we follow neither",
                Basis::Observed,
                Source::OurRuns.title(),
            ),
        ],
    },
];
