//! The closed set of failure classes that transcripts, reports, thresholds and metrics use.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::failure::{AuthFault, FailScope, Failed, Failure, Heard, LocalFault, PeerIncompatible, PeerMisbehaved};
use crate::auth::CertFault;
use crate::wire::registry::{ExchangeType, NotifyType};

/// What kind of failure it was, as far as this end can tell. What it cannot tell apart has no class of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// Nothing came in answer: nobody is there, the path lost it, or the peer drops it in silence, by a limit for instance.
    NoResponse,
    /// The peer demands a cookie again and again, or one that was withheld from it (RFC 7296 2.6).
    CookieLoop,
    /// No IKE proposal in common, or the peer wants a group for the IKE SA that was not offered; also when it is rekeyed.
    NoProposalIke,
    /// The peer answers INVALID_KE_PAYLOAD again and again, for groups that were offered.
    InvalidKeLoop,
    /// AUTH does not verify, EAP failed, or the peer answered AUTHENTICATION_FAILED, which does not say why.
    AuthFailed,
    /// The peer has another identity than is wanted, or one that its certificate does not name.
    IdMismatch,
    /// The peer's certificate failed a check of ours: authority, validity, usage, revocation, strength.
    CertUntrusted,
    /// No traffic selectors in common, or the peer chose some that were not offered.
    TsUnacceptable,
    /// No ESP proposal in common.
    NoProposalChild,
    /// No proposal in common at the first rekey of a Child SA: of what IKE_AUTH agreed, only the groups are new there.
    PfsMismatchAtRekey,
    /// The peer answered TEMPORARY_FAILURE for as long as it was asked (RFC 7296 2.25).
    TemporaryFailure,
    /// Both ends rekeyed the same SA at once, and the peer never answered ours (RFC 7296 2.8.1, 2.8.2).
    RekeyCollision,
    /// The peer answered NO_ADDITIONAL_SAS: a limit or a licence, or it makes no such SAs.
    NoAdditionalSas,
    /// Fragments of the peer's answer came, and never all of them (RFC 7383).
    FragmentLost,
    /// The peer deleted the SA.
    PeerDeleted,
    /// An established peer answered a liveness check, or another INFORMATIONAL, no more (RFC 7296 2.4).
    DpdTimeout,
    /// The peer's message could not be read, or broke the protocol.
    Malformed,
    /// The peer refused with a notify that has no class of its own, or an inner address was not to be had.
    Rejected,
    /// This end's own doing: a setting that nothing of the peer's fits, a limit, or the command was withdrawn.
    Local,
}

impl FailureClass {
    /// All of them, in the order of reports.
    pub const ALL: [FailureClass; 19] = [
        FailureClass::NoResponse,
        FailureClass::CookieLoop,
        FailureClass::NoProposalIke,
        FailureClass::InvalidKeLoop,
        FailureClass::AuthFailed,
        FailureClass::IdMismatch,
        FailureClass::CertUntrusted,
        FailureClass::TsUnacceptable,
        FailureClass::NoProposalChild,
        FailureClass::PfsMismatchAtRekey,
        FailureClass::TemporaryFailure,
        FailureClass::RekeyCollision,
        FailureClass::NoAdditionalSas,
        FailureClass::FragmentLost,
        FailureClass::PeerDeleted,
        FailureClass::DpdTimeout,
        FailureClass::Malformed,
        FailureClass::Rejected,
        FailureClass::Local,
    ];

    /// Its name in files, metrics and thresholds.
    pub fn as_str(self) -> &'static str {
        match self {
            FailureClass::NoResponse => "no_response",
            FailureClass::CookieLoop => "cookie_loop",
            FailureClass::NoProposalIke => "no_proposal_ike",
            FailureClass::InvalidKeLoop => "invalid_ke_loop",
            FailureClass::AuthFailed => "auth_failed",
            FailureClass::IdMismatch => "id_mismatch",
            FailureClass::CertUntrusted => "cert_untrusted",
            FailureClass::TsUnacceptable => "ts_unacceptable",
            FailureClass::NoProposalChild => "no_proposal_child",
            FailureClass::PfsMismatchAtRekey => "pfs_mismatch_at_rekey",
            FailureClass::TemporaryFailure => "temporary_failure",
            FailureClass::RekeyCollision => "rekey_collision",
            FailureClass::NoAdditionalSas => "no_additional_sas",
            FailureClass::FragmentLost => "fragment_lost",
            FailureClass::PeerDeleted => "peer_deleted",
            FailureClass::DpdTimeout => "dpd_timeout",
            FailureClass::Malformed => "malformed",
            FailureClass::Rejected => "rejected",
            FailureClass::Local => "local",
        }
    }

    /// The class of this name.
    pub fn from_name(name: &str) -> Option<FailureClass> {
        FailureClass::ALL.into_iter().find(|class| class.as_str() == name)
    }
}

impl fmt::Display for FailureClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl PartialEq<&str> for FailureClass {
    fn eq(&self, name: &&str) -> bool {
        self.as_str() == *name
    }
}

impl Failed {
    /// Its class.
    pub fn class(&self) -> FailureClass {
        self.why.class(self.scope, self.exchange)
    }
}

impl Failure {
    /// The one mapping to the closed set. Which SA was being rekeyed is not known here: see the load run's book for
    /// [`FailureClass::PfsMismatchAtRekey`].
    pub fn class(&self, scope: FailScope, exchange: ExchangeType) -> FailureClass {
        // What CREATE_CHILD_SA fails at without a Child SA is the rekey of the IKE SA.
        let of_ike = exchange == ExchangeType::IKE_SA_INIT
            || (exchange == ExchangeType::CREATE_CHILD_SA && scope == FailScope::Exchange);
        let no_proposal = if of_ike { FailureClass::NoProposalIke } else { FailureClass::NoProposalChild };
        match self {
            Failure::Misbehaved(fault) => match fault {
                PeerMisbehaved::CookieLoop(_) => FailureClass::CookieLoop,
                PeerMisbehaved::InvalidKeLoop(_) => FailureClass::InvalidKeLoop,
                // It names a group that we do not have: no loop, but nothing in common.
                PeerMisbehaved::UnofferedGroup(_) => no_proposal,
                PeerMisbehaved::SelectorsNotSubset(_) => FailureClass::TsUnacceptable,
                _ => FailureClass::Malformed,
            },
            Failure::Malformed(_) => FailureClass::Malformed,
            Failure::Incompatible(fault) => match fault {
                PeerIncompatible::NoProposal { .. } => no_proposal,
                PeerIncompatible::Selectors { .. } => FailureClass::TsUnacceptable,
                // USE_TRANSPORT_MODE in an answer, and nobody has asked for it (RFC 7296 1.3.1).
                PeerIncompatible::Mode => FailureClass::Malformed,
                PeerIncompatible::NoInnerAddress
                | PeerIncompatible::NoConfigRequest
                | PeerIncompatible::NoAddressFamily => FailureClass::Rejected,
            },
            Failure::Rejected { notify, .. } => match *notify {
                NotifyType::NO_PROPOSAL_CHOSEN => no_proposal,
                NotifyType::INVALID_KE_PAYLOAD => FailureClass::InvalidKeLoop,
                NotifyType::AUTHENTICATION_FAILED => FailureClass::AuthFailed,
                NotifyType::TS_UNACCEPTABLE => FailureClass::TsUnacceptable,
                NotifyType::TEMPORARY_FAILURE => FailureClass::TemporaryFailure,
                NotifyType::NO_ADDITIONAL_SAS => FailureClass::NoAdditionalSas,
                _ => FailureClass::Rejected,
            },
            Failure::AuthFailed(AuthFault::Identity { .. }) => FailureClass::IdMismatch,
            Failure::AuthFailed(AuthFault::Certificate(fault)) => match **fault {
                CertFault::Identity { .. } => FailureClass::IdMismatch,
                // The certificate was good, and what was signed with its key was not.
                CertFault::Signature { .. } | CertFault::Scheme { .. } => FailureClass::AuthFailed,
                CertFault::KeyMismatch { .. } => FailureClass::Local,
                _ => FailureClass::CertUntrusted,
            },
            Failure::AuthFailed(_) => FailureClass::AuthFailed,
            Failure::NoAnswer { heard: Heard::Fragments, .. } => FailureClass::FragmentLost,
            Failure::NoAnswer { heard: Heard::Rekey, .. } => FailureClass::RekeyCollision,
            // INFORMATIONAL is what liveness is asked with (RFC 7296 2.4); whatever else it carries, silence is a dead
            // peer. It is not where only that exchange is lost: our own DELETE, after which nobody asks for the peer.
            Failure::NoAnswer { .. } if exchange == ExchangeType::INFORMATIONAL && scope == FailScope::IkeSa => {
                FailureClass::DpdTimeout
            }
            Failure::NoAnswer { .. } => FailureClass::NoResponse,
            Failure::DeletedByPeer => FailureClass::PeerDeleted,
            Failure::Local(LocalFault::PoolExhausted) => FailureClass::Rejected,
            Failure::Local(_) => FailureClass::Local,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_one_name_everywhere() {
        let schema = schemars::schema_for!(FailureClass);
        let schema = serde_json::to_string(&schema).expect("it is JSON");
        for (n, class) in FailureClass::ALL.into_iter().enumerate() {
            assert_eq!(class as usize, n, "{class} stands where it is declared");
            assert_eq!(serde_json::to_value(class).expect("a name"), class.as_str());
            assert_eq!(serde_json::from_value::<FailureClass>(class.as_str().into()).expect("a name"), class);
            assert_eq!(FailureClass::from_name(class.as_str()), Some(class));
            assert!(schema.contains(&format!("\"{class}\"")), "{class} in {schema}");
        }
        assert_eq!(FailureClass::from_name("limit_dropped"), None, "which nobody can tell from no_response");
    }

    #[test]
    fn what_an_exchange_was_for_decides_where_its_type_does_not() {
        let refused = |notify| Failure::Rejected { notify, data: Vec::new(), protected: true };
        let silence = |heard| Failure::NoAnswer { attempts: 3, heard };
        let (child, create) = (FailScope::Child, ExchangeType::CREATE_CHILD_SA);
        for (why, scope, exchange, class) in [
            (refused(NotifyType::NO_PROPOSAL_CHOSEN), child, create, FailureClass::NoProposalChild),
            (refused(NotifyType::NO_PROPOSAL_CHOSEN), FailScope::Exchange, create, FailureClass::NoProposalIke),
            (refused(NotifyType::NO_PROPOSAL_CHOSEN), child, ExchangeType::IKE_AUTH, FailureClass::NoProposalChild),
            (silence(Heard::Nothing), FailScope::IkeSa, ExchangeType::INFORMATIONAL, FailureClass::DpdTimeout),
            (silence(Heard::Nothing), FailScope::Exchange, ExchangeType::INFORMATIONAL, FailureClass::NoResponse),
            (silence(Heard::Nothing), FailScope::IkeSa, create, FailureClass::NoResponse),
            (silence(Heard::Rekey), FailScope::IkeSa, create, FailureClass::RekeyCollision),
            (silence(Heard::Fragments), FailScope::IkeSa, ExchangeType::IKE_AUTH, FailureClass::FragmentLost),
        ] {
            assert_eq!(why.class(scope, exchange), class, "{why} in {exchange}");
        }
    }
}
