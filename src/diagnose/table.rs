//! What is known about each kind of failure, as data. Log lines carry their evidence.

use super::{Facts, PeerLine};
use crate::auth::CertFault;
use crate::engine::{
    AuthFault, AuthSpec, ConnectionSpec, Failed, Failure, LocalFault, PeerIncompatible, PeerMisbehaved,
};
use crate::vendor::Vendor::{self, CiscoAsa, CiscoFtd, CiscoIosXe, PaloAltoPanos};
pub use crate::vendor::evidence::Evidence;
use crate::wire::registry::{ExchangeType, IdType, NotifyType};

/// What is known about one kind of failure. `{our id}`, `{peer id}`, `{ike port}`, `{natt port}`, `{why}`,
/// `{groups}` and `{demanded group}` are filled in.
pub struct Entry {
    /// What happened.
    pub headline: &'static str,
    /// Likely causes: a word for programs, a sentence, and the entry in the failure catalogue.
    pub likely: &'static [(&'static str, &'static str, Option<&'static str>)],
    /// The box's log.
    pub on_peer: &'static [PeerLine],
    /// What to try.
    pub next: &'static [&'static str],
}

/// The entry for a failure.
pub fn entry(failed: &Failed, facts: &Facts, spec: &ConnectionSpec) -> &'static Entry {
    let init = failed.exchange == ExchangeType::IKE_SA_INIT;
    let special = super::access::entry(failed).or_else(|| super::ike_rekey::entry(failed, facts));
    if let Some(entry) = special.or_else(|| super::pfs::entry(failed, facts)) {
        return entry;
    }
    let cisco = crate::engine::IgnoredWhy::CiscoFragment.text();
    match &failed.why {
        Failure::NoAnswer { .. } if facts.ignored.iter().any(|(why, _)| *why == cisco) => &CISCO_FRAGMENTS,
        Failure::NoAnswer { .. } if init => &NO_ANSWER_INIT,
        // An answer to IKE_AUTH was read, and IKE_AUTH goes on: EAP.
        Failure::NoAnswer { .. } if failed.exchange == ExchangeType::IKE_AUTH && facts.auth_reply_read => {
            &super::access::NO_ANSWER_EAP
        }
        Failure::NoAnswer { .. } if failed.exchange == ExchangeType::IKE_AUTH && facts.floated => &NO_ANSWER_AUTH_NATT,
        Failure::NoAnswer { .. } if failed.exchange == ExchangeType::IKE_AUTH => &NO_ANSWER_AUTH,
        Failure::NoAnswer { .. } if failed.exchange == ExchangeType::CREATE_CHILD_SA => &REKEY_UNANSWERED,
        Failure::NoAnswer { .. } => &PEER_DEAD,
        Failure::Rejected { notify, .. } => match *notify {
            NotifyType::NO_PROPOSAL_CHOSEN if init => &NO_PROPOSAL_IKE,
            NotifyType::NO_PROPOSAL_CHOSEN => &NO_PROPOSAL_CHILD,
            NotifyType::AUTHENTICATION_FAILED => match spec.local_auth {
                AuthSpec::Psk(_) | AuthSpec::EapOnly | AuthSpec::EapAuthenticator(_) => &AUTH_REJECTED,
                AuthSpec::EapPeer(_) => &super::access::REJECTED_WITH_EAP,
                AuthSpec::Certificate(_) | AuthSpec::Trust(_) => &CERTIFICATE_REJECTED,
            },
            NotifyType::TS_UNACCEPTABLE => &TS_REJECTED,
            NotifyType::INVALID_KE_PAYLOAD => &INVALID_KE,
            NotifyType::INVALID_SYNTAX => &INVALID_SYNTAX,
            NotifyType::INVALID_MAJOR_VERSION => &INVALID_VERSION,
            NotifyType::TEMPORARY_FAILURE => &BUSY,
            NotifyType::NO_ADDITIONAL_SAS => &NO_MORE,
            _ => &REJECTED,
        },
        Failure::Incompatible(PeerIncompatible::NoProposal { .. }) if init => &NO_PROPOSAL_IKE_BY_US,
        Failure::Incompatible(PeerIncompatible::NoProposal { .. }) => &NO_PROPOSAL_CHILD_BY_US,
        Failure::Incompatible(PeerIncompatible::Selectors { .. }) => &TS_BY_US,
        Failure::Incompatible(_) => &MODE,
        Failure::AuthFailed(AuthFault::Mismatch { .. }) => &AUTH_BY_US,
        Failure::AuthFailed(AuthFault::Identity { got }) => match spec.remote_auth {
            AuthSpec::Trust(_) if got.kind == IdType::ID_DER_ASN1_DN => &SUBJECT_BY_US,
            _ => &IDENTITY_BY_US,
        },
        Failure::AuthFailed(AuthFault::Method { .. }) => match spec.remote_auth {
            AuthSpec::Psk(_) => &METHOD_BY_US,
            AuthSpec::Certificate(_) | AuthSpec::Trust(_) => &NO_SIGNATURE_BY_US,
            AuthSpec::EapPeer(_) | AuthSpec::EapAuthenticator(_) | AuthSpec::EapOnly => &METHOD_BY_US,
        },
        Failure::AuthFailed(AuthFault::Certificate(fault)) => match &**fault {
            CertFault::Missing | CertFault::HashAndUrl { .. } | CertFault::Encoding(_) => &NO_CERTIFICATE,
            CertFault::Expired { .. } | CertFault::NotYetValid { .. } => &CERTIFICATE_DATES,
            CertFault::UnknownIssuer { whole: true, .. } => &CERTIFICATE_OTHER_CA,
            CertFault::UnknownIssuer { whole: false, .. } => &CERTIFICATE_NO_PATH,
            CertFault::WrongIssuerKey { .. } => &CERTIFICATE_ISSUER_KEY,
            CertFault::Usage { .. } | CertFault::NotAuthority { .. } => &CERTIFICATE_USAGE,
            CertFault::Identity { .. } => &CERTIFICATE_IDENTITY,
            CertFault::Revoked { .. } | CertFault::RevocationUnknown { .. } => &CERTIFICATE_REVOKED,
            CertFault::Signature { .. } | CertFault::Scheme { .. } => &SIGNATURE_BY_US,
            _ => &CERTIFICATE_BY_US,
        },
        Failure::AuthFailed(_) => &METHOD_BY_US,
        Failure::Misbehaved(PeerMisbehaved::CookieLoop(_)) => &COOKIE_LOOP,
        Failure::Misbehaved(PeerMisbehaved::InvalidKeLoop(_) | PeerMisbehaved::UnofferedGroup(_)) => &INVALID_KE,
        Failure::Misbehaved(PeerMisbehaved::SelectorsNotSubset(_)) => &TS_NOT_SUBSET,
        Failure::Misbehaved(_) | Failure::Malformed(_) => &MISBEHAVED,
        Failure::DeletedByPeer => &DELETED,
        Failure::Local(LocalFault::HalfOpenExpired) => &HALF_OPEN,
        Failure::Local(_) => &LOCAL,
    }
}

const fn observed(vendor: Vendor, text: &'static str) -> PeerLine {
    PeerLine { vendor, text, evidence: Evidence::Observed }
}

const fn documented(vendor: Vendor, text: &'static str) -> PeerLine {
    PeerLine { vendor, text, evidence: Evidence::Documented }
}

const fn inferred(vendor: Vendor, text: &'static str) -> PeerLine {
    PeerLine { vendor, text, evidence: Evidence::Inferred }
}

/// Where to look on each box when no line of its log is known for the failure at hand.
pub(super) static PLACES: &[PeerLine] = &[
    documented(
        CiscoIosXe,
        "show crypto ikev2 sa detailed; while it happens: debug crypto condition peer ipv4 A.B.C.D; debug crypto ikev2; \
         undebug all",
    ),
    documented(CiscoAsa, "syslog ids 750xxx and 751xxx, which belong to no logging class; show crypto ikev2 sa detail"),
    observed(CiscoFtd, "system support diagnostic-cli, and there what an ASA has; log lines %FTD-n-750xxx"),
    documented(PaloAltoPanos, "show vpn ike-sa detail gateway NAME; less mp-log ikemgr.log"),
];

static NO_ANSWER_INIT: Entry = Entry {
    headline: "nobody answered",
    likely: &[
        (
            "path_ike",
            "UDP {ike port} does not reach the peer, or its answer does not reach us",
            Some("path/udp-500-silent"),
        ),
        ("no_entry", "the peer has no entry for our address, and drops what it does not know", None),
        (
            "no_proposal_silent",
            "no proposal in common, and the peer stays silent about it",
            Some("sa-init/no-proposal-encr"),
        ),
        ("wrong_address", "a wrong address, or IKEv2 is not enabled on that interface", None),
    ],
    on_peer: &[
        documented(CiscoAsa, "%ASA-3-751009: Unable to find tunnel group for peer."),
        documented(PaloAltoPanos, "ikemgr.log: unknown ikev2 peer"),
    ],
    next: &[
        "capture at the peer: does the request arrive, and from which address?",
        "ping the peer; look for a filter on UDP {ike port} between here and there",
    ],
};

static NO_ANSWER_AUTH_NATT: Entry = Entry {
    headline: "IKE_SA_INIT was answered, IKE_AUTH on the NAT-T port was not",
    likely: &[
        ("path_natt", "UDP {natt port} is filtered, in one direction or both", Some("path/udp-4500-blocked")),
        ("fragment_lost", "IKE_AUTH is larger than the path carries, and a fragment of it is dropped", None),
        ("silent_fault", "the peer found a fault and chose to stay silent", None),
    ],
    on_peer: &[observed(CiscoAsa, "%ASA-4-750003: ... ERROR: Failed to receive the AUTH msg before the timer expired")],
    next: &["capture UDP {natt port} at the peer", "with no NAT in between, try nat.traversal: off"],
};

static NO_ANSWER_AUTH: Entry = Entry {
    headline: "IKE_SA_INIT was answered, IKE_AUTH was not",
    likely: &[
        ("fragment_lost", "IKE_AUTH is larger than the path carries, and a fragment of it is dropped", None),
        ("silent_fault", "the peer found a fault (key, identity, selectors) and chose to stay silent", None),
    ],
    on_peer: &[observed(CiscoAsa, "%ASA-4-750003: ... ERROR: Failed to receive the AUTH msg before the timer expired")],
    next: &["read the peer's log for this moment", "capture at the peer: does IKE_AUTH arrive whole?"],
};

static CISCO_FRAGMENTS: Entry = Entry {
    headline: "the peer answers in Cisco's own fragments (payload 132), which nobody else puts together",
    likely: &[
        (
            "frag_not_agreed",
            "RFC 7383 was not agreed on, and the Cisco box falls back to its scheme from before it",
            None,
        ),
        ("frag_off", "ike.fragmentation is off here, or IKE fragmentation is not configured on the box", None),
    ],
    on_peer: &[],
    next: &[
        "leave ike.fragmentation on here, and on the box: crypto ikev2 fragmentation (IOS-XE; for every tunnel of the box)",
        "or make the box's answer smaller: a shorter certificate chain",
    ],
};

static PEER_DEAD: Entry = Entry {
    headline: "the peer stopped answering",
    likely: &[
        ("path_down", "the path or the peer went down", None),
        ("path_loss", "loss on the path, by which one request was lost each time", None),
        ("peer_restarted", "the peer restarted or cleared its IKE SAs, and ignores what it does not know", None),
        ("nat_mapping", "a NAT on the way forgot the mapping", None),
    ],
    on_peer: &[],
    next: &["connect again; if that works at once, look at the peer's log for what it deleted"],
};

static REKEY_UNANSWERED: Entry = Entry {
    headline: "the peer did not answer CREATE_CHILD_SA",
    likely: &[
        ("rekey_ignored", "the peer does not answer this exchange: a fault or a limit in how it rekeys", None),
        ("path_down", "the path or the peer went down at that moment", None),
        ("fragment_lost", "the request is larger than the path carries, and a fragment of it is dropped", None),
        ("peer_restarted", "the peer restarted or cleared its IKE SAs, and ignores what it does not know", None),
        ("nat_mapping", "a NAT on the way forgot the mapping", None),
    ],
    on_peer: &[],
    next: &[
        "make the peer begin the rekey, by a longer lifetime here, and see whether that works",
        "read its log for this moment",
    ],
};

/// Whoever answers is the one who can compare.
const LET_THE_BOX_BEGIN: &str = "to see exactly what differs, let the box begin: stop this, run `ikelab listen -c \
                                 FILE`, and make the box initiate; its proposals and its AUTH are then ours to compare";

static NO_PROPOSAL_IKE: Entry = Entry {
    headline: "the peer found no IKE proposal in common",
    likely: &[
        ("ike_encryption", "encryption or its key length differs", Some("sa-init/no-proposal-encr")),
        ("ike_group", "the key exchange group differs", Some("sa-init/no-common-group")),
        (
            "ike_prf",
            "only the PRF differs: it follows from the hash on some boxes, and is a setting on others",
            Some("sa-init/no-proposal-prf"),
        ),
        ("ike_integrity", "the integrity algorithm differs", None),
    ],
    on_peer: &[
        observed(CiscoAsa, "debug crypto ikev2 protocol: Failed to find a matching policy ... Expected Policies: ..."),
        inferred(CiscoAsa, "%ASA-4-750003: ... ERROR: Failed to find a matching policy"),
        observed(
            CiscoIosXe,
            "IKEv2-ERROR: ... Received Policies: : Failed to find a matching policy ... Expected Policies: ...",
        ),
        observed(PaloAltoPanos, "IKEv2 IKE SA negotiation is failed as responder, non-rekey. Failed SA: ..."),
    ],
    next: &[
        LET_THE_BOX_BEGIN,
        "compare with the peer: show crypto ikev2 proposal (IOS), show run crypto ikev2 (ASA), the IKE crypto profile (PAN-OS)",
        "ikelab peer-config -c FILE --for VENDOR prints what would match",
    ],
};

static NO_PROPOSAL_IKE_BY_US: Entry = Entry {
    headline: "no IKE proposal of the peer's is one that we accept",
    likely: &[(
        "ike_proposal",
        "the two ends' IKE proposals differ, as listed above",
        Some("sa-init/no-proposal-encr"),
    )],
    on_peer: &[
        observed(CiscoAsa, "debug crypto ikev2 protocol: Received no proposal chosen notify"),
        inferred(CiscoAsa, "%ASA-4-750003: ... ERROR: Received no proposal chosen notify"),
        observed(CiscoIosXe, "... Received no proposal chosen notify"),
    ],
    next: &["make ike.proposals and the peer's proposal meet"],
};

static NO_PROPOSAL_CHILD: Entry = Entry {
    headline: "the peer found no ESP proposal in common",
    likely: &[
        ("esp_algorithms", "encryption, key length or integrity of ESP differs", Some("child/no-proposal")),
        ("esp_integrity_aead", "an integrity algorithm stands beside AES-GCM at one end", Some("child/no-proposal")),
        ("esp_esn", "extended sequence numbers are on at one end only", None),
    ],
    on_peer: &[
        documented(
            CiscoAsa,
            "%ASA-3-750011: Tunnel Rejected: Selected IKEv2 encryption algorithm (...) is not strong enough ...",
        ),
        observed(CiscoIosXe, "... Received Policies: ... ESP: Proposal 1: ... Expected Policies: ..."),
    ],
    next: &[LET_THE_BOX_BEGIN, "compare children[0].proposals with the peer's transform set or IPsec crypto profile"],
};

static NO_PROPOSAL_CHILD_BY_US: Entry = Entry {
    headline: "no ESP proposal of the peer's is one that we accept",
    likely: &[("esp_proposal", "the two ends' ESP proposals differ, as listed above", Some("child/no-proposal"))],
    on_peer: &[],
    next: &["make children[].proposals and the peer's transform set meet"],
};

static AUTH_REJECTED: Entry = Entry {
    headline: "the peer rejected our AUTH",
    likely: &[
        ("psk", "the pre-shared key differs for \"{our id}\"", Some("auth/psk-mismatch")),
        ("identity", "the peer has no entry for the identity \"{our id}\"", None),
        ("auth_method", "the peer wants another authentication method of us", None),
    ],
    on_peer: &[
        observed(CiscoAsa, "%ASA-4-750003: ... ERROR: Failed to authenticate the IKE SA"),
        observed(CiscoFtd, "%FTD-4-750003 ... ERROR: Failed to authenticate the IKE SA"),
        observed(CiscoIosXe, "... Verification of peer's authentication data FAILED"),
        observed(CiscoIosXe, "... Failed to locate an item in the database (no profile for this identity)"),
        documented(PaloAltoPanos, "ikemgr.log: ... authentication failure ... authentication result: failure"),
        observed(PaloAltoPanos, "ikemgr.log: received ID_I (...) does not match peers id"),
    ],
    next: &[
        LET_THE_BOX_BEGIN,
        "the responder's log knows which of these it was; the notify does not say",
        "compare the key byte by byte: trailing blanks, letter case, 0 and O, 1 and l",
    ],
};

static CERTIFICATE_REJECTED: Entry = Entry {
    headline: "the peer rejected our AUTH",
    likely: &[
        ("cert_trust", "the peer does not trust the CA of our certificate, or lacks an intermediate of it", None),
        (
            "cert_validity",
            "our certificate is not valid by the peer's clock, is revoked, or its key usage does not suit the peer",
            None,
        ),
        ("identity", "our certificate does not hold \"{our id}\", or the peer has no entry for that identity", None),
        ("auth_method", "the peer wants another authentication method or signature of us", None),
    ],
    on_peer: &[
        documented(CiscoAsa, "%ASA-3-717009: Certificate validation failed. ..."),
        documented(CiscoAsa, "%ASA-3-751006: Certificate authentication failed. Error: ..."),
        documented(CiscoAsa, "... Peer ID check failed"),
        documented(CiscoIosXe, "... %Profile could not be found by peer certificate."),
        observed(PaloAltoPanos, "ikemgr.log: received ID_I (...) does not match peers id"),
    ],
    next: &[
        "the responder's log knows which of these it was; the notify does not say",
        "verify our chain by hand: openssl verify -CAfile CA -untrusted INTERMEDIATES CERT",
        "send the whole chain: intermediates after our certificate in `chain`",
    ],
};

static NO_CERTIFICATE: Entry = Entry {
    headline: "the peer's certificate is not there to be judged",
    likely: &[
        ("cert_withheld", "the peer sends its certificate only to who asks for one of its own CAs", None),
        ("cert_hash_url", "the peer sends where its certificate is (hash and URL) and not the certificate", None),
    ],
    on_peer: &[],
    next: &[
        "make the box send its certificate always, or pin it here: auth.remote.certificate.pin",
        "on IOS-XE: no crypto ikev2 http-url cert (for every tunnel of the box)",
    ],
};

static CERTIFICATE_DATES: Entry = Entry {
    headline: "a certificate of the peer's is not valid today",
    likely: &[
        ("cert_dates", "the certificate was not renewed, or is too new", None),
        ("clock", "the clock of this machine, or of the CA when it issued, is wrong", None),
    ],
    on_peer: &[],
    next: &["compare the dates above with `date -u` here", "renew the certificate on the box"],
};

static CERTIFICATE_OTHER_CA: Entry = Entry {
    headline: "the peer's certificate comes from a CA that is not trusted here",
    likely: &[("cert_ca", "the path is whole and ends at another root than those in auth.remote.certificate.ca", None)],
    on_peer: &[],
    next: &["add that CA's certificate to auth.remote.certificate.ca, or give the box a certificate of a trusted one"],
};

static CERTIFICATE_NO_PATH: Entry = Entry {
    headline: "the peer's certificate leads to no trusted CA",
    likely: &[
        ("cert_chain", "the peer does not send an intermediate certificate", None),
        ("cert_ca", "the peer's certificate comes from another CA than those in auth.remote.certificate.ca", None),
    ],
    on_peer: &[],
    next: &[
        "install the whole chain on the box (IOS: a trustpoint for each CA; PAN-OS: import the chain with the certificate)",
        "or add the issuer that is named above to auth.remote.certificate.ca",
    ],
};

static CERTIFICATE_ISSUER_KEY: Entry = Entry {
    headline: "the peer's certificate was signed by another key than that of the CA with the same name",
    likely: &[
        ("ca_renewed", "the CA was renewed with a new key, and one end has the old certificate of it", None),
        ("ca_twin", "two CAs have the same name", None),
    ],
    on_peer: &[],
    next: &["compare the CA certificates of both ends: openssl x509 -noout -fingerprint -sha256"],
};

static CERTIFICATE_USAGE: Entry = Entry {
    headline: "a certificate of the peer's is not meant for this",
    likely: &[("cert_usage", "it was issued with a profile for something else", None)],
    on_peer: &[],
    next: &["issue it anew: key usage digitalSignature, and no extended key usage or ipsecIKE"],
};

static CERTIFICATE_IDENTITY: Entry = Entry {
    headline: "the peer's certificate does not hold the identity that it claims",
    likely: &[
        ("identity", "the identity on the box is set to something that is not in its certificate", None),
        ("cert_no_san", "the certificate lacks a subject alternative name", None),
    ],
    on_peer: &[],
    next: &["set the box's identity to one of the names above, or issue the certificate with that name"],
};

static CERTIFICATE_REVOKED: Entry = Entry {
    headline: "a certificate of the peer's does not pass the check for revocation",
    likely: &[],
    on_peer: &[],
    next: &["issue a new certificate; or renew the revocation list in auth.remote.certificate.crl"],
};

static SIGNATURE_BY_US: Entry = Entry {
    headline: "the peer's signature does not verify",
    likely: &[
        ("key_pair", "the peer signs with another key than that of the certificate that it sends", None),
        ("signature_method", "the peer signs in another way than its certificate or our announcement allows", None),
        ("init_changed", "something between the two ends changed IKE_SA_INIT, which AUTH covers", None),
    ],
    on_peer: &[],
    next: &["compare the box's key pair with its certificate", "the peer may now believe that the tunnel is up"],
};

static CERTIFICATE_BY_US: Entry = Entry {
    headline: "the peer's certificate is not accepted",
    likely: &[],
    on_peer: &[],
    next: &["the check that failed is named above"],
};

static NO_SIGNATURE_BY_US: Entry = Entry {
    headline: "the peer authenticates in another way than we accept",
    likely: &[("auth_method", "the peer is set to a pre-shared key or EAP, and this connection to certificates", None)],
    on_peer: &[observed(
        CiscoIosXe,
        "Peer authentication method configured is mismatching with the method proposed by peer",
    )],
    next: &["set certificate authentication on the box, or auth.remote here to what the box does"],
};

static AUTH_BY_US: Entry = Entry {
    headline: "the peer's AUTH does not verify",
    likely: &[
        (
            "psk",
            "the pre-shared key differs in the peer's direction (auth.remote here, local on the box)",
            Some("auth/psk-mismatch"),
        ),
        ("init_changed", "something between the two ends changed IKE_SA_INIT, which AUTH covers", None),
    ],
    on_peer: &[],
    next: &[
        "boxes with a key for each direction may have the two swapped",
        "the peer may now believe that the tunnel is up",
    ],
};

static IDENTITY_BY_US: Entry = Entry {
    headline: "the peer is not who we expect",
    likely: &[
        ("identity", "the peer's identity is configured differently from remote.id", None),
        ("identity_nat", "the peer is behind a NAT and identifies itself by its private address", None),
        ("wrong_box", "another box answers at this address", None),
    ],
    on_peer: &[],
    next: &["set remote.id to what the peer sends, or to any; or set the identity on the box"],
};

static SUBJECT_BY_US: Entry = Entry {
    headline: "the peer names itself by its certificate's subject, and not as we expect",
    likely: &[
        ("identity", "the box's identity is its certificate's subject, by default or by its configuration", None),
        (
            "cert_no_san",
            "its certificate does not hold the identity that is configured there, so that it falls back to the subject",
            None,
        ),
        ("wrong_box", "another box answers at this address", None),
    ],
    on_peer: &[],
    next: &[
        "set remote.id to the subject above",
        "or issue the certificate with \"{peer id}\" as subject alternative name, and set that identity on the box",
    ],
};

static METHOD_BY_US: Entry = Entry {
    headline: "the peer authenticates in another way than we accept",
    likely: &[("auth_method", "the peer is set to certificates or EAP, and this connection to a pre-shared key", None)],
    on_peer: &[observed(
        CiscoIosXe,
        "Peer authentication method configured is mismatching with the method proposed by peer",
    )],
    next: &["set pre-shared-key authentication in both directions on the box"],
};

static TS_REJECTED: Entry = Entry {
    headline: "the peer refused our traffic selectors",
    likely: &[
        (
            "selectors",
            "the selectors are not mirror images: another network or another mask at one end",
            Some("child/ts-not-mirrored"),
        ),
        ("selectors_pairs", "the peer has one Child SA for each pair of networks and was offered several", None),
        ("selectors_any", "one end is route-based (0.0.0.0/0) and the other lists networks", None),
    ],
    on_peer: &[
        observed(CiscoAsa, "%ASA-4-750003: ... ERROR: There was no IPSEC policy found for received TS"),
        documented(
            CiscoAsa,
            "%ASA-3-751022: Tunnel rejected: Crypto Map Policy not found for remote traffic selector ...",
        ),
        observed(CiscoFtd, "%FTD-4-750003 ... ERROR: There was no IPSEC policy found for received TS"),
    ],
    next: &["compare the peer's access list (Cisco) or proxy-ids (PAN-OS) with local_ts and remote_ts, swapped"],
};

static TS_BY_US: Entry = Entry {
    headline: "the peer's traffic selectors do not fit ours",
    likely: &[("selectors", "the selectors are not mirror images, as listed above", Some("child/ts-not-mirrored"))],
    on_peer: &[],
    next: &["make local_ts and remote_ts the mirror image of the peer's"],
};

static TS_NOT_SUBSET: Entry = Entry {
    headline: "the peer answered with traffic selectors outside of what we offered",
    likely: &[("selectors", "the peer answers with its own configuration instead of narrowing (RFC 7296 2.9)", None)],
    on_peer: &[],
    next: &["make local_ts and remote_ts the mirror image of the peer's"],
};

static MODE: Entry = Entry {
    headline: "one end wants transport mode and the other tunnel mode",
    likely: &[("mode", "children[].mode differs from the peer's", None)],
    on_peer: &[],
    next: &["set children[].mode as the peer has it"],
};

static INVALID_KE: Entry = Entry {
    headline: "no agreement on a key exchange group",
    likely: &[
        ("ike_group", "the peer asks for a group that we do not offer", Some("sa-init/no-common-group")),
        (
            "group_loop",
            "the peer asks again although it was given what it asked for",
            Some("sa-init/invalid-ke-no-retry"),
        ),
    ],
    on_peer: &[],
    next: &["add the group that the peer asks for to ike.proposals"],
};

static COOKIE_LOOP: Entry = Entry {
    headline: "the peer demanded a cookie again and again",
    likely: &[
        (
            "cookie_farm",
            "the peer does not recognise its own cookie, as when several machines share an address",
            Some("sa-init/cookie-challenge"),
        ),
        ("cookie_nat", "our source port or address changes from one packet to the next", None),
    ],
    on_peer: &[documented(CiscoAsa, "%ASA-5-750004: ... Sending COOKIE challenge to throttle possible DoS")],
    next: &["look for a load balancer or a NAT without stable mappings on the way"],
};

static INVALID_SYNTAX: Entry = Entry {
    headline: "the peer could not read our message",
    likely: &[
        ("payload_missing", "the peer misses a payload that its configuration makes it expect", None),
        ("peer_fault", "the peer has a fault, or a restriction that RFC 7296 does not know", None),
    ],
    on_peer: &[],
    next: &["read the peer's log for this moment; it usually names the payload"],
};

static INVALID_VERSION: Entry = Entry {
    headline: "the peer speaks another IKE version",
    likely: &[("ikev1", "the peer is set to IKEv1 for us", None)],
    on_peer: &[],
    next: &[
        "set the peer to IKEv2: protocol version ikev2 (PAN-OS), set ikev2-profile (IOS), vpn-tunnel-protocol ikev2 (ASA)",
    ],
};

static BUSY: Entry = Entry {
    headline: "the peer takes no more for now",
    likely: &[
        ("busy", "the peer is in the middle of a rekey or a delete of the same SA", None),
        ("limit", "a limit of SAs or of negotiations at the peer", None),
    ],
    on_peer: &[],
    next: &["try again after a moment"],
};

static NO_MORE: Entry = Entry {
    headline: "the peer takes no more SAs in this IKE SA",
    likely: &[
        ("limit", "a limit of Child SAs at the peer, perhaps one for each IKE SA", Some("rekey/no-additional-sas")),
        ("no_rekey", "the peer refuses CREATE_CHILD_SA on principle, and wants a new IKE SA from scratch", None),
    ],
    on_peer: &[],
    next: &["one selector for everything, or an IKE SA for each pair of networks"],
};

static REJECTED: Entry =
    Entry { headline: "{why}", likely: &[], on_peer: &[], next: &["read the peer's log for this moment"] };

static MISBEHAVED: Entry = Entry {
    headline: "the peer broke the protocol",
    likely: &[("peer_fault", "a fault in the peer, or something on the way that changes packets", None)],
    on_peer: &[],
    next: &["keep the run directory: the capture shows the message"],
};

static DELETED: Entry = Entry {
    headline: "the peer deleted the IKE SA",
    likely: &[
        (
            "delete_after_check",
            "the peer accepted us and then found something it does not like (identity, Child SA)",
            None,
        ),
        ("cleared", "somebody cleared it at the peer", None),
    ],
    on_peer: &[],
    next: &["read the peer's log for this moment"],
};

static HALF_OPEN: Entry = Entry {
    headline: "the peer began and did not go on: IKE_AUTH never came",
    likely: &[
        ("path_natt", "UDP {natt port} is filtered, in one direction or both", Some("path/udp-4500-blocked")),
        ("answer_lost", "our answer to IKE_SA_INIT does not reach the peer", Some("path/udp-500-silent")),
        ("fragment_lost", "IKE_AUTH is larger than the path carries, and a fragment of it is dropped", None),
        ("peer_gave_up", "the peer did not like our answer, and said nothing", None),
    ],
    on_peer: &[],
    next: &["read the peer's log for this moment", "capture here: does anything arrive on UDP {natt port}?"],
};

static LOCAL: Entry = Entry { headline: "{why}", likely: &[], on_peer: &[], next: &[] };
