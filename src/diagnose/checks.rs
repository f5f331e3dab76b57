//! Checks that failed at our end: of a certificate, of EAP. Whoever refuses knows why.

use super::Cause;
use super::exact::Proof;
use crate::auth::CertFault;
use crate::auth::eap::EapFault;
use crate::engine::{Failed, Side};

/// The cause that a check of the peer's certificate proves; `None` where what failed has more than one.
pub(super) fn certificate(fault: &CertFault) -> Option<Proof> {
    let (code, text, because, next) = match fault {
        CertFault::Expired { subject, not_after, now } => (
            "cert_expired",
            format!("the certificate of {subject} is over by {}", apart(now - not_after)),
            "its dates, against the clock of this machine",
            "renew the certificate on the box; if `date -u` is wrong here, set this clock",
        ),
        CertFault::NotYetValid { subject, not_before, now } => (
            "cert_not_yet_valid",
            format!("the certificate of {subject} begins in {}", apart(not_before - now)),
            "its dates, against the clock of this machine",
            "compare `date -u` here with the clock of the CA: one of them is wrong, or the certificate is for later",
        ),
        CertFault::UnknownIssuer { whole: true, subject, .. } => (
            "cert_ca",
            format!("the peer's certificate comes from {subject}, which is not trusted here"),
            "the path is whole: it ends at a self-signed certificate",
            "add that CA's certificate to auth.remote.certificate.ca, or give the box a certificate of a trusted one",
        ),
        CertFault::Usage { subject, has, wants } => (
            "cert_usage",
            format!("the certificate of {subject} is for something else: {has}; wanted: {wants}"),
            "its key usage and extended key usage",
            "issue it with another profile",
        ),
        CertFault::NotAuthority { subject } => (
            "cert_usage",
            format!("{subject} signed a certificate and is no CA"),
            "its basicConstraints",
            "issue the certificate from a CA, or install the CA's own certificate",
        ),
        CertFault::Identity { id, subject, names } => (
            "cert_identity",
            format!("the peer says it is {id}, and its certificate ({subject}) does not: {}", list(names)),
            "its IDr or IDi, against the names in its certificate",
            "set the identity on the box to a name of its certificate, or issue one with that name",
        ),
        CertFault::Revoked { subject, .. } => (
            "cert_revoked",
            format!("the certificate of {subject} is on the revocation list"),
            "the list in auth.remote.certificate.crl",
            "issue a new certificate for the box",
        ),
        CertFault::RevocationUnknown { subject, why } => (
            "crl_missing",
            format!("whether the certificate of {subject} is revoked cannot be told: {why}"),
            "the policy here is to refuse then",
            "renew the list in auth.remote.certificate.crl, or relax the policy",
        ),
        CertFault::HashAndUrl { url, .. } => (
            "cert_hash_url",
            format!("the peer sends where its certificate is ({url}) and not the certificate"),
            "the encoding of its CERT payload",
            "on IOS-XE: no crypto ikev2 http-url cert (for every tunnel of the box)",
        ),
        _ => return None,
    };
    Some(Proof::exact(Cause::because(code, text, because.to_owned()), next))
}

/// The cause that a fault of EAP proves.
pub(super) fn eap(fault: &EapFault, failed: &Failed) -> Option<Proof> {
    let (code, text, because, next) = match fault {
        EapFault::UnknownUser { identity } => (
            "eap_user_unknown",
            format!("there is no EAP user {identity:?} here"),
            "the identity that the peer gave, against auth.remote.eap.users",
            "add the user, or correct the name at the peer: a domain before it or a realm after it counts",
        ),
        EapFault::WrongPassword { identity } => (
            "eap_password",
            format!("the peer has another password for {identity:?}"),
            "its answer to our challenge does not come from the password here",
            "enter the password anew at one end",
        ),
        EapFault::NoCommonMethod { .. } => (
            "eap_method",
            failed.why.to_string(),
            "what each end asked for",
            "set auth.local.eap.method (as initiator) or auth.remote.eap.methods (as responder) to the other end's",
        ),
        // RFC 2759 section 6 has the codes.
        EapFault::Refused { code: Some(code), .. } if failed.found_by == Side::Us || refuses(*code) => {
            let (word, text) = match code {
                646 => ("eap_hours", "the account may not log on at this hour"),
                647 => ("eap_disabled", "the account is disabled"),
                648 => ("eap_expired", "the password has expired"),
                649 => ("eap_no_dial_in", "the account has no permission to dial in"),
                691 => ("eap_user", "the server does not know this user with this password"),
                _ => return None,
            };
            let because = format!("MSCHAPv2 error {code} (RFC 2759)");
            let cause = Cause::because(word, text.to_owned(), because);
            return Some(Proof::exact(cause, "look for the user in the log of the peer's RADIUS server or user list"));
        }
        _ => return None,
    };
    Some(Proof::exact(Cause::because(code, text, because.to_owned()), next))
}

fn refuses(code: u32) -> bool {
    matches!(code, 646..=649 | 691)
}

/// A span in words, in the largest unit that it fills.
fn apart(seconds: i64) -> String {
    let (n, unit) = match seconds.unsigned_abs() {
        s @ 0..=119 => (s, "second"),
        s @ 120..=7_199 => (s / 60, "minute"),
        s @ 7_200..=172_799 => (s / 3600, "hour"),
        s => (s / 86_400, "day"),
    };
    format!("{n} {unit}{}", if n == 1 { "" } else { "s" })
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "there is no name in it".to_owned() } else { format!("it names {}", names.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::Certainty;

    #[test]
    fn a_path_that_is_not_whole_is_not_explained() {
        let fault = |whole| CertFault::UnknownIssuer {
            subject: "CN=b".into(),
            issuer: "CN=i".into(),
            whole,
            trusted: Vec::new(),
            sent: Vec::new(),
        };
        assert!(certificate(&fault(false)).is_none(), "an intermediate may be missing, or it is another CA");
        let proof = certificate(&fault(true)).expect("a whole path");
        assert_eq!((proof.certainty, proof.causes[0].code), (Certainty::Exact, "cert_ca"));
    }

    #[test]
    fn spans_are_in_the_unit_that_tells() {
        assert_eq!(apart(1), "1 second");
        assert_eq!(apart(-90 * 60), "90 minutes");
        assert_eq!(apart(86_400 * 30), "30 days");
    }
}
