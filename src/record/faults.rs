//! What a transcript keeps of a failed check of a certificate or of EAP, so that whoever reads it later can tell as much as
//! who saw it.

use super::json::Object;
use crate::auth::CertFault;
use crate::auth::eap::EapFault;

/// Which check of a certificate failed, and what it saw.
pub(super) fn certificate(o: &mut Object<'_>, fault: &CertFault) {
    o.text("check", fault.check());
    match fault {
        CertFault::Missing => o.text("fault", "missing"),
        CertFault::HashAndUrl { encoding, url } => {
            o.text("fault", "hash_and_url").number("encoding", encoding.0).text("url", url)
        }
        CertFault::Expired { subject, not_after, now } => {
            o.text("fault", "expired").text("subject", subject).text("not_after", not_after).text("judged_at", now)
        }
        CertFault::NotYetValid { subject, not_before, now } => o
            .text("fault", "not_yet_valid")
            .text("subject", subject)
            .text("not_before", not_before)
            .text("judged_at", now),
        CertFault::UnknownIssuer { subject, issuer, whole, trusted, sent } => o
            .text("fault", "unknown_issuer")
            .text("subject", subject)
            .text("issuer", issuer)
            .flag("whole", *whole)
            .texts("trusted", trusted)
            .texts("sent", sent),
        CertFault::WrongIssuerKey { subject, issuer } => {
            o.text("fault", "wrong_issuer_key").text("subject", subject).text("issuer", issuer)
        }
        CertFault::NotAuthority { subject } => o.text("fault", "not_authority").text("subject", subject),
        CertFault::Usage { subject, has, wants } => {
            o.text("fault", "usage").text("subject", subject).text("has", has).text("wants", wants)
        }
        CertFault::Identity { id, subject, names } => o
            .text("fault", "identity")
            .text("subject", subject)
            .number("id_type", id.kind.0)
            .hex("id_data", &id.data)
            .texts("names", names),
        CertFault::Revoked { subject, since, reason } => {
            o.text("fault", "revoked").text("subject", subject);
            if let Some(since) = since {
                o.text("since", since);
            }
            if let Some(reason) = reason {
                o.text("reason", reason);
            }
            o
        }
        CertFault::RevocationUnknown { subject, why } => {
            o.text("fault", "revocation_unknown").text("subject", subject).text("detail", why)
        }
        CertFault::Signature { subject, key, scheme } => {
            o.text("fault", "signature").text("subject", subject).text("key", key).text("scheme", scheme)
        }
        // The sentence in `why` says the rest.
        _ => o.text("fault", "other"),
    };
}

/// What went wrong in EAP. Identities are there, passwords never.
pub(super) fn eap(o: &mut Object<'_>, fault: &EapFault) {
    match fault {
        EapFault::NoCommonMethod { ours, theirs } => o
            .text("fault", "no_common_method")
            .texts("ours", ours)
            .texts("theirs", theirs.iter().map(|method| method.0)),
        EapFault::UnknownUser { identity } => o.text("fault", "unknown_user").text("identity", identity),
        EapFault::WrongPassword { identity } => o.text("fault", "wrong_password").text("identity", identity),
        EapFault::ServerUnproven => o.text("fault", "server_unproven"),
        EapFault::Refused { method, code, text } => {
            o.text("fault", "refused").text("said", text);
            if let Some(method) = method {
                o.text("method", method);
            }
            if let Some(code) = code {
                o.number("code", *code);
            }
            o
        }
        EapFault::Tls(why) => o.text("fault", "tls").text("detail", why),
        EapFault::CertificateNames(names) => o.text("fault", "certificate_names").texts("names", names),
        EapFault::Malformed(_) | EapFault::Unexpected(_) => o.text("fault", "other"),
    };
}
