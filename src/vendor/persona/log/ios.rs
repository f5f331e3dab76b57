//! What `debug crypto ikev2 error` and the syslog of IOS-XE print.

use super::{LogLine, Moment, Session};
use crate::engine::{AuthFault, Event, FailScope, Failed, Failure, LocalFault, PeerIncompatible, Side};
use crate::vendor::persona::Basis;
use crate::wire::registry::{EncrId, ExchangeType, IntegId, KeMethod, NotifyType, PrfId, ProtocolId, TransformType};
use crate::wire::{Proposal, Transform};

/// Lines of one moment.
pub(super) fn lines(session: &Session, moment: &Moment<'_>) -> Vec<LogLine> {
    let error = |basis, text: &str| {
        let number = session.number;
        LogLine::new(basis, format!("IKEv2-ERROR:(SESSION ID = {number},SA ID = {number}):{text}"))
    };
    match moment {
        Moment::Said(NotifyType::INVALID_KE_PAYLOAD) => {
            vec![error(Basis::Observed, ": The peer's KE payload contained the wrong DH group")]
        }
        Moment::Event(Event::IkeUp(_)) => vec![LogLine::new(Basis::Modelled, "%IKEV2-5-SA_UP: SA UP")],
        Moment::Event(Event::Deleted { by }) => {
            let why = if *by == Side::Peer { "delete from peer" } else { "local delete" };
            vec![LogLine::new(Basis::Modelled, format!("%IKEV2-5-SA_DOWN: SA DOWN ({why})"))]
        }
        Moment::Event(Event::ChildFailed(failed)) => failure(failed, &error),
        Moment::Event(Event::Failed(failed)) if failed.scope == FailScope::IkeSa => {
            let mut lines = failure(failed, &error);
            if session.up {
                lines.push(LogLine::new(Basis::Modelled, "%IKEV2-5-SA_DOWN: SA DOWN"));
            }
            lines
        }
        _ => Vec::new(),
    }
}

/// The licence allows no more ESP.
pub(super) fn capped(outbound: bool) -> Vec<LogLine> {
    let (short, long) = if outbound { ("TX", "Tx") } else { ("RX", "Rx") };
    // Only the line for what is sent is published whole.
    let basis = if outbound { Basis::Documented } else { Basis::Modelled };
    let text = format!(
        "%CERM-4-{short}_BW_LIMIT: Maximum {long} Bandwidth limit of 85000 Kbps reached for Crypto functionality with \
         securityk9 technology package license."
    );
    vec![LogLine::new(basis, text)]
}

fn failure(failed: &Failed, error: &dyn Fn(Basis, &str) -> LogLine) -> Vec<LogLine> {
    let auth_failed = || {
        vec![
            error(Basis::Observed, ": Failed to authenticate the IKE SA"),
            error(Basis::Observed, ": Auth exchange failed"),
        ]
    };
    match &failed.why {
        Failure::Rejected { notify: NotifyType::NO_PROPOSAL_CHOSEN, .. }
            if failed.exchange == ExchangeType::IKE_SA_INIT =>
        {
            vec![
                error(Basis::Observed, ": Received no proposal chosen notify"),
                error(Basis::Observed, "Initial exchange failed: Initial exchange failed"),
            ]
        }
        Failure::Incompatible(PeerIncompatible::NoProposal { offered, wanted }) => {
            let list = |proposals: &[Proposal]| proposals.iter().map(policy).collect::<Vec<_>>().join("");
            vec![
                error(
                    Basis::Observed,
                    &format!("Received Policies: : Failed to find a matching policy{}", list(offered)),
                ),
                error(
                    Basis::Observed,
                    &format!("Expected Policies: : Failed to find a matching policy{}", list(wanted)),
                ),
            ]
        }
        Failure::Incompatible(PeerIncompatible::Selectors { .. }) => {
            vec![error(Basis::Modelled, ": There was no IPSEC policy found for received TS")]
        }
        Failure::Rejected { notify: NotifyType::AUTHENTICATION_FAILED, .. } => auth_failed(),
        Failure::AuthFailed(AuthFault::Mismatch { .. }) => {
            let mut lines = vec![error(Basis::Observed, "Verification of peer's authentication data FAILED")];
            lines.extend(auth_failed());
            lines
        }
        Failure::AuthFailed(AuthFault::Identity { .. }) => vec![
            error(Basis::Observed, ": Failed to locate an item in the database"),
            error(Basis::Observed, ": Auth exchange failed"),
        ],
        // What it says of the certificate itself is not published for each fault.
        Failure::AuthFailed(AuthFault::Certificate(_)) => vec![
            error(Basis::Modelled, ": Failed to authenticate the IKE SA"),
            error(Basis::Modelled, ": Auth exchange failed"),
        ],
        Failure::AuthFailed(_) => vec![
            error(
                Basis::Observed,
                "Peer authentication method configured is mismatching with the method proposed by peer",
            ),
            error(Basis::Observed, ": Auth exchange failed"),
        ],
        Failure::NoAnswer { .. } | Failure::Local(LocalFault::HalfOpenExpired) => {
            vec![error(Basis::Modelled, ": Maximum number of retransmissions reached")]
        }
        _ => Vec::new(),
    }
}

/// "Proposal 1:  ENCRYPTION: AES-CBC-128 PRF: SHA512 ...".
fn policy(proposal: &Proposal) -> String {
    let words = |kind: TransformType| {
        proposal.transforms.iter().filter(|t| t.kind == kind).map(word).collect::<Vec<_>>().join(" ")
    };
    let mut text = format!("Proposal {}: ", proposal.number);
    if proposal.protocol == ProtocolId::ESP {
        text.push_str(" ESP:");
    }
    for (label, kind) in [
        ("ENCRYPTION", TransformType::ENCR),
        ("PRF", TransformType::PRF),
        ("INTEGRITY", TransformType::INTEG),
        ("DH GROUP", TransformType::KE),
    ] {
        let words = words(kind);
        if !words.is_empty() {
            text.push_str(&format!(" {label}: {words}"));
        }
    }
    text
}

fn word(transform: &Transform) -> String {
    let bits = transform.key_bits().map_or(String::new(), |bits| format!("-{bits}"));
    match transform.kind {
        TransformType::ENCR => match EncrId(transform.id) {
            EncrId::ENCR_AES_CBC => format!("AES-CBC{bits}"),
            EncrId::ENCR_AES_GCM_16 => format!("AES-GCM{bits}"),
            EncrId::ENCR_3DES => "3DES".into(),
            other => format!("{other}{bits}"),
        },
        TransformType::PRF => match PrfId(transform.id) {
            PrfId::PRF_HMAC_MD5 => "MD5".into(),
            PrfId::PRF_HMAC_SHA1 => "SHA1".into(),
            PrfId::PRF_HMAC_SHA2_256 => "SHA256".into(),
            PrfId::PRF_HMAC_SHA2_384 => "SHA384".into(),
            PrfId::PRF_HMAC_SHA2_512 => "SHA512".into(),
            other => other.to_string(),
        },
        TransformType::INTEG => match IntegId(transform.id) {
            IntegId::AUTH_HMAC_MD5_96 => "MD596".into(),
            IntegId::AUTH_HMAC_SHA1_96 => "SHA96".into(),
            IntegId::AUTH_HMAC_SHA2_256_128 => "SHA256".into(),
            IntegId::AUTH_HMAC_SHA2_384_192 => "SHA384".into(),
            IntegId::AUTH_HMAC_SHA2_512_256 => "SHA512".into(),
            other => other.to_string(),
        },
        TransformType::KE => match transform.id {
            2 => "DH_GROUP_1024_MODP/Group 2".into(),
            5 => "DH_GROUP_1536_MODP/Group 5".into(),
            14 => "DH_GROUP_2048_MODP/Group 14".into(),
            15 => "DH_GROUP_3072_MODP/Group 15".into(),
            16 => "DH_GROUP_4096_MODP/Group 16".into(),
            19 => "DH_GROUP_256_ECP/Group 19".into(),
            20 => "DH_GROUP_384_ECP/Group 20".into(),
            21 => "DH_GROUP_521_ECP/Group 21".into(),
            id => KeMethod(id).to_string(),
        },
        _ => String::new(),
    }
}
