//! Failed checks of certificates and of EAP, read back from the lines of a transcript.

use serde_json::Value;

use super::transcript::{number, unhex};
use crate::auth::CertFault;
use crate::auth::eap::{EapFault, Method, MethodType};
use crate::crypto::{KeyKind, Scheme, SignHash};
use crate::wire::IdPayload;
use crate::wire::registry::{CertEncoding, IdType};

/// The failed check of a certificate; `None` for one of which the line has only the sentence.
pub(super) fn certificate(value: &Value) -> Option<CertFault> {
    let text = |key: &str| value[key].as_str().map(str::to_owned);
    let seconds = |key: &str| value[key].as_str()?.parse::<i64>().ok();
    let texts = |key: &str| {
        let list = value[key].as_array().into_iter().flatten();
        list.filter_map(|item| item.as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    let subject = text("subject").unwrap_or_default();
    Some(match value["fault"].as_str()? {
        "missing" => CertFault::Missing,
        "hash_and_url" => {
            CertFault::HashAndUrl { encoding: CertEncoding(number(&value["encoding"])?), url: text("url")? }
        }
        "expired" => CertFault::Expired { subject, not_after: seconds("not_after")?, now: seconds("judged_at")? },
        "not_yet_valid" => {
            CertFault::NotYetValid { subject, not_before: seconds("not_before")?, now: seconds("judged_at")? }
        }
        "unknown_issuer" => CertFault::UnknownIssuer {
            subject,
            issuer: text("issuer")?,
            whole: value["whole"].as_bool()?,
            trusted: texts("trusted"),
            sent: texts("sent"),
        },
        "wrong_issuer_key" => CertFault::WrongIssuerKey { subject, issuer: text("issuer")? },
        "not_authority" => CertFault::NotAuthority { subject },
        "usage" => CertFault::Usage { subject, has: text("has")?, wants: text("wants")? },
        "identity" => CertFault::Identity {
            id: IdPayload::new(IdType(number(&value["id_type"])?), unhex(&value["id_data"])?),
            subject,
            names: texts("names"),
        },
        "revoked" => CertFault::Revoked { subject, since: seconds("since"), reason: text("reason") },
        "revocation_unknown" => CertFault::RevocationUnknown { subject, why: text("detail")? },
        "signature" => CertFault::Signature { subject, key: key(&text("key")?)?, scheme: scheme(&text("scheme")?)? },
        _ => return None,
    })
}

/// What went wrong in EAP; `None` for what the line has only the sentence of.
pub(super) fn eap(value: &Value) -> Option<EapFault> {
    let text = |key: &str| value[key].as_str().map(str::to_owned);
    let method = |name: &str| Method::ALL.into_iter().find(|method| method.to_string() == name);
    let texts = |key: &str| {
        let list = value[key].as_array().into_iter().flatten();
        list.filter_map(|item| item.as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    Some(match value["fault"].as_str()? {
        "no_common_method" => EapFault::NoCommonMethod {
            ours: texts("ours").iter().filter_map(|name| method(name)).collect(),
            theirs: texts("theirs").iter().filter_map(|n| n.parse().ok().map(MethodType)).collect(),
        },
        "unknown_user" => EapFault::UnknownUser { identity: text("identity")? },
        "wrong_password" => EapFault::WrongPassword { identity: text("identity")? },
        "server_unproven" => EapFault::ServerUnproven,
        "refused" => EapFault::Refused {
            method: text("method").and_then(|name| method(&name)),
            code: number(&value["code"]),
            text: text("said").unwrap_or_default(),
        },
        "tls" => EapFault::Tls(text("detail")?),
        "certificate_names" => EapFault::CertificateNames(texts("names")),
        _ => return None,
    })
}

/// A kind of key as it prints.
fn key(text: &str) -> Option<KeyKind> {
    let bits = || text.chars().filter(char::is_ascii_digit).collect::<String>().parse().ok();
    let fixed = [KeyKind::P256, KeyKind::P384, KeyKind::P521, KeyKind::Ed25519];
    fixed.into_iter().chain(bits().map(KeyKind::Rsa)).find(|kind| kind.to_string() == text)
}

/// A signature scheme as it prints. The salt is not printed, and no diagnosis asks for it.
fn scheme(text: &str) -> Option<Scheme> {
    let hashes = SignHash::ALL.iter().copied();
    let hashed =
        hashes.flat_map(|hash| [Scheme::RsaPkcs1(hash), Scheme::RsaPss { hash, salt: 0 }, Scheme::Ecdsa(hash)]);
    hashed.chain([Scheme::EcdsaRaw, Scheme::Ed25519]).find(|scheme| scheme.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_schemes_are_read_as_they_print() {
        for kind in [KeyKind::Rsa(2048), KeyKind::P256, KeyKind::P384, KeyKind::P521, KeyKind::Ed25519] {
            assert_eq!(key(&kind.to_string()), Some(kind));
        }
        for some in [Scheme::Ed25519, Scheme::EcdsaRaw, Scheme::Ecdsa(SignHash::ALL[0])] {
            assert_eq!(scheme(&some.to_string()), Some(some));
        }
        assert_eq!((key("a key"), scheme("a scheme")), (None, None));
    }
}
