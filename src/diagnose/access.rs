//! What is known of failures of remote access: EAP and inner addresses.

use super::table::Entry;
use crate::auth::eap::EapFault;
use crate::engine::{AuthFault, Failed, Failure, LocalFault, PeerIncompatible, Side};
use crate::wire::registry::NotifyType;

/// The entry for a failure of EAP or of configuration payloads; `None` for all others.
pub(super) fn entry(failed: &Failed) -> Option<&'static Entry> {
    Some(match &failed.why {
        Failure::AuthFailed(AuthFault::Eap(fault)) => match fault {
            EapFault::NoCommonMethod { .. } => &EAP_METHOD,
            EapFault::Tls(_) | EapFault::CertificateNames(_) => &EAP_TLS,
            EapFault::UnknownUser { .. } | EapFault::WrongPassword { .. } => &EAP_BY_US,
            EapFault::ServerUnproven => &EAP_SERVER,
            EapFault::Refused { .. } => &EAP_REFUSED,
            EapFault::Malformed(_) | EapFault::Unexpected(_) if failed.found_by == Side::Us => &EAP_BROKEN,
            EapFault::Malformed(_) | EapFault::Unexpected(_) => &EAP_REFUSED,
        },
        Failure::AuthFailed(AuthFault::EapUnwanted | AuthFault::EapWanted { .. }) => &EAP_OR_NOT,
        Failure::AuthFailed(
            AuthFault::EapAloneUnwanted | AuthFault::EapAloneNotOffered | AuthFault::EapUnsafeAlone(_),
        ) => &EAP_ALONE,
        Failure::Incompatible(PeerIncompatible::NoInnerAddress) => &NO_ADDRESS,
        Failure::Incompatible(PeerIncompatible::NoConfigRequest | PeerIncompatible::NoAddressFamily) => &NOT_ASKED,
        Failure::Local(LocalFault::PoolExhausted) => &EXHAUSTED,
        Failure::Rejected { notify: NotifyType::INTERNAL_ADDRESS_FAILURE, .. } => &ADDRESS_REFUSED,
        Failure::Rejected { notify: NotifyType::FAILED_CP_REQUIRED, .. } => &CP_REQUIRED,
        _ => return None,
    })
}

/// AUTHENTICATION_FAILED in answer to an initiator that wants EAP.
pub(super) static REJECTED_WITH_EAP: Entry = Entry {
    headline: "the peer refused us",
    likely: &[
        ("eap_connection", "the peer has no connection with EAP for the identity \"{our id}\"", None),
        ("eap_key", "the key that EAP made differs at its end", None),
    ],
    on_peer: &[],
    next: &["read the peer's log for this moment: how far did EAP come?"],
};

/// EAP is under way, and no answer comes.
pub(super) static NO_ANSWER_EAP: Entry = Entry {
    headline: "EAP was under way, and then no answer came",
    likely: &[
        ("eap_delay", "the EAP server takes its time: many wait for seconds after a wrong password", None),
        ("radius", "the RADIUS server behind the peer does not answer", None),
        ("path_down", "the path or the peer went down at that moment", None),
        ("fragment_lost", "a message of EAP is larger than the path carries, and a fragment of it is dropped", None),
    ],
    on_peer: &[],
    next: &[
        "wait longer (retransmit.attempts): the answer to a wrong password comes late",
        "look for the user in the log of the peer's RADIUS server or local user list",
    ],
};

static EAP_REFUSED: Entry = Entry {
    headline: "the EAP server refused us",
    likely: &[
        ("eap_user", "the user or the password is wrong", None),
        ("radius", "the RADIUS server behind the peer did not answer, or does not allow this method", None),
    ],
    on_peer: &[],
    next: &["look for the user in the log of the peer's RADIUS server or local user list"],
};

static EAP_METHOD: Entry = Entry {
    headline: "no EAP method in common",
    likely: &[("eap_method", "the two ends are set to different EAP methods, as listed above", None)],
    on_peer: &[],
    next: &["set auth.local.eap.method (as initiator) or auth.remote.eap.methods (as responder) to the other end's"],
};

static EAP_TLS: Entry = Entry {
    headline: "EAP-TLS failed",
    likely: &[
        (
            "eap_cert",
            "a certificate that the other end does not accept: its CA, its dates, its name or its purpose",
            None,
        ),
        ("tls_suites", "no TLS version or cipher suite in common", None),
    ],
    on_peer: &[],
    next: &["compare the CA that each end trusts with the one that signed the other's certificate"],
};

static EAP_BY_US: Entry = Entry {
    headline: "the peer's EAP user or password is not one that we accept",
    likely: &[
        ("eap_user", "a typing error at one end", None),
        ("eap_realm", "the peer puts a domain or realm around the user's name", None),
    ],
    on_peer: &[],
    next: &["compare the identity above with auth.remote.eap.users"],
};

static EAP_SERVER: Entry = Entry {
    headline: "the EAP server does not know the password that we gave",
    likely: &[("eap_server", "the server lets everybody in without looking, or is not the one that we want", None)],
    on_peer: &[],
    next: &["do not use this password there again before it is clear who answered"],
};

static EAP_BROKEN: Entry = Entry {
    headline: "the peer broke EAP",
    likely: &[("peer_fault", "a fault in the peer or in the RADIUS server behind it", None)],
    on_peer: &[],
    next: &["keep the run directory: the capture shows the message"],
};

static EAP_OR_NOT: Entry = Entry {
    headline: "one end wants EAP and the other does not",
    likely: &[(
        "eap_or_not",
        "the peer is a remote-access client and this connection is for a site, or the other way round",
        None,
    )],
    on_peer: &[],
    next: &["give auth.remote an eap section, or make the peer use what this connection has"],
};

static EAP_ALONE: Entry = Entry {
    headline: "the two ends disagree about EAP as the only proof",
    likely: &[(
        "eap_alone",
        "one end is set to EAP-only authentication (RFC 5998), the other wants a certificate or a key too",
        None,
    )],
    on_peer: &[],
    next: &["give the responder a certificate or a pre-shared key, or set eap_only at both ends and use TLS"],
};

static NO_ADDRESS: Entry = Entry {
    headline: "the peer gave no inner address",
    likely: &[
        ("no_pool", "the peer has no address pool for this connection, and ignores the request", None),
        ("pool_family", "the peer's pool is of the other IP version", None),
    ],
    on_peer: &[],
    next: &["give the peer a pool, or leave out virtual_ip and name local_ts"],
};

static ADDRESS_REFUSED: Entry = Entry {
    headline: "the peer has no inner address for us",
    likely: &[
        ("pool_exhausted", "its address pool is exhausted: stale sessions hold addresses", None),
        ("no_pool", "it has no pool for this user or group", None),
    ],
    on_peer: &[],
    next: &["look at the pool's leases on the peer, and at the group that the user falls into"],
};

static CP_REQUIRED: Entry = Entry {
    headline: "the peer wants us to ask for an inner address",
    likely: &[("cp_required", "the peer is a remote-access headend", None)],
    on_peer: &[],
    next: &["set virtual_ip: any"],
};

static NOT_ASKED: Entry = Entry {
    headline: "the peer did not ask for an inner address that we have",
    likely: &[("cp_not_asked", "the peer is set up for a site, not as a remote-access client", None)],
    on_peer: &[],
    next: &["make the peer ask (a virtual or mode-config address), or leave out pool.required"],
};

static EXHAUSTED: Entry = Entry {
    headline: "our pool of inner addresses is exhausted",
    likely: &[("pool_exhausted", "more peers than addresses", None)],
    on_peer: &[],
    next: &["enlarge pool.addresses"],
};
