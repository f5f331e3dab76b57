//! Key usage and extended key usage (RFC 4945 5.1.3.2, 5.1.3.12), which the path judge leaves to its caller.

use x509_parser::extensions::ExtendedKeyUsage;

use super::cert::Certificate;
use super::judge::Policy;

/// Extended key usages with a usual name: the OID in dots, the name, and whether real boxes use it for IKE.
const PURPOSES: &[(&str, &str, bool)] = &[
    ("2.5.29.37.0", "anyExtendedKeyUsage", true),
    ("1.3.6.1.5.5.7.3.1", "serverAuth", true),
    ("1.3.6.1.5.5.7.3.2", "clientAuth", true),
    ("1.3.6.1.5.5.7.3.3", "codeSigning", false),
    ("1.3.6.1.5.5.7.3.4", "emailProtection", false),
    ("1.3.6.1.5.5.7.3.5", "ipsecEndSystem", true),
    ("1.3.6.1.5.5.7.3.6", "ipsecTunnel", true),
    ("1.3.6.1.5.5.7.3.7", "ipsecUser", true),
    ("1.3.6.1.5.5.7.3.8", "timeStamping", false),
    ("1.3.6.1.5.5.7.3.9", "OCSPSigning", false),
    ("1.3.6.1.5.5.7.3.17", "ipsecIKE", true),
    ("1.3.6.1.5.5.8.2.2", "iKEIntermediate", true),
];

/// What RFC 4945 5.1.3.12 accepts where the extension is there.
const BY_RFC: [&str; 2] = ["2.5.29.37.0", "1.3.6.1.5.5.7.3.17"];

const KEY_USAGES: [&str; 9] = [
    "digitalSignature",
    "nonRepudiation",
    "keyEncipherment",
    "dataEncipherment",
    "keyAgreement",
    "keyCertSign",
    "cRLSign",
    "encipherOnly",
    "decipherOnly",
];

const SIGNS: u16 = 0b11;
const SIGNS_CERTIFICATES: u16 = 1 << 5;

/// The OIDs of an extension, in dots.
pub(super) fn purposes(usage: &ExtendedKeyUsage<'_>) -> Vec<String> {
    let named = [
        (usage.any, "2.5.29.37.0"),
        (usage.server_auth, "1.3.6.1.5.5.7.3.1"),
        (usage.client_auth, "1.3.6.1.5.5.7.3.2"),
        (usage.code_signing, "1.3.6.1.5.5.7.3.3"),
        (usage.email_protection, "1.3.6.1.5.5.7.3.4"),
        (usage.time_stamping, "1.3.6.1.5.5.7.3.8"),
        (usage.ocsp_signing, "1.3.6.1.5.5.7.3.9"),
    ];
    let named = named.into_iter().filter(|(there, _)| *there).map(|(_, dots)| dots.to_owned());
    named.chain(usage.other.iter().map(|oid| oid.to_id_string())).collect()
}

/// What the extensions of the peer's own certificate say against IKE; else notes of what only a lenient policy accepts.
pub(super) fn leaf(cert: &Certificate, policy: Policy, notes: &mut Vec<String>) -> Result<(), (String, &'static str)> {
    if let Some(bits) = cert.key_usage
        && bits & SIGNS == 0
    {
        return Err((
            format!("key usage {}", key_usage_words(bits)),
            "digitalSignature or nonRepudiation (RFC 4945 5.1.3.2)",
        ));
    }
    let Some(purposes) = &cert.extended_usage else { return Ok(()) };
    if purposes.iter().any(|p| BY_RFC.contains(&p.as_str())) {
        return Ok(());
    }
    let wants = "ipsecIKE or anyExtendedKeyUsage, or no such extension (RFC 4945 5.1.3.12)";
    let has = format!("extended key usage {}", purpose_words(purposes));
    let usual = purposes.iter().any(|p| PURPOSES.iter().any(|(dots, _, ike)| dots == p && *ike));
    if policy == Policy::Strict || !usual {
        return Err((has, wants));
    }
    notes.push(format!("{has}, where RFC 4945 5.1.3.12 wants ipsecIKE or none"));
    Ok(())
}

/// The same for a certificate that signed another one.
pub(super) fn issuer(cert: &Certificate, notes: &mut Vec<String>) -> Result<(), (String, &'static str)> {
    match cert.key_usage {
        Some(bits) if bits & SIGNS_CERTIFICATES == 0 => {
            Err((format!("key usage {}", key_usage_words(bits)), "keyCertSign, since it signed a certificate"))
        }
        Some(_) => Ok(()),
        None => {
            notes.push(format!("the CA certificate {} has no key usage (RFC 5280 4.2.1.3)", cert.subject_text()));
            Ok(())
        }
    }
}

fn key_usage_words(bits: u16) -> String {
    let words: Vec<_> = KEY_USAGES.iter().enumerate().filter(|(n, _)| bits >> n & 1 == 1).map(|(_, w)| *w).collect();
    if words.is_empty() { "(empty)".into() } else { words.join(", ") }
}

pub(super) fn purpose_words(purposes: &[String]) -> String {
    let word = |p: &String| PURPOSES.iter().find(|(dots, _, _)| dots == p).map_or(p.clone(), |(_, w, _)| (*w).into());
    if purposes.is_empty() { "(empty)".into() } else { purposes.iter().map(word).collect::<Vec<_>>().join(", ") }
}
