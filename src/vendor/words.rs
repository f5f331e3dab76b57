//! What each vendor calls an algorithm. `None`: we know no word for it there, and nothing is made up.

use crate::config::Vendor;
pub use crate::config::{duration_words, encr_word, group_word, integ_word, prf_word, proposal_words};
use crate::crypto::{Encr, Group, Integ, Prf};

/// Where a word stands: the two phases are spelled differently on the same box.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// The IKE SA.
    Ike,
    /// ESP.
    Esp,
}

/// A cipher.
pub fn encr(vendor: Vendor, phase: Phase, encr: Encr) -> Option<String> {
    use Phase::{Esp, Ike};
    let bits_of_ios = |bits| if bits == 128 { String::new() } else { format!(" {bits}") };
    let bits_of_asa = |bits| if bits == 128 { String::new() } else { format!("-{bits}") };
    match (vendor, phase, encr) {
        (Vendor::StrongSwan, _, any) => Some(crate::config::encr_word(any)),
        (_, Ike, Encr::Null) => None,

        (Vendor::CiscoIosXe, Ike, Encr::AesCbc(bits)) => Some(format!("aes-cbc-{bits}")),
        (Vendor::CiscoIosXe, Ike, Encr::AesGcm { bits: bits @ (128 | 256), icv: 16 }) => {
            Some(format!("aes-gcm-{bits}"))
        }
        (Vendor::CiscoIosXe, Ike, Encr::TripleDes) => Some("3des".into()),
        (Vendor::CiscoIosXe, Esp, Encr::AesCbc(bits)) => Some(format!("esp-aes{}", bits_of_ios(bits))),
        (Vendor::CiscoIosXe, Esp, Encr::AesGcm { bits, icv: 16 }) => Some(format!("esp-gcm{}", bits_of_ios(bits))),
        (Vendor::CiscoIosXe, Esp, Encr::TripleDes) => Some("esp-3des".into()),
        (Vendor::CiscoIosXe, Esp, Encr::Null) => Some("esp-null".into()),

        (Vendor::CiscoAsa | Vendor::CiscoFtd, _, Encr::AesCbc(bits)) => Some(format!("aes{}", bits_of_asa(bits))),
        (Vendor::CiscoAsa | Vendor::CiscoFtd, _, Encr::AesGcm { bits, icv: 16 }) => {
            Some(format!("aes-gcm{}", bits_of_asa(bits)))
        }
        (Vendor::CiscoAsa | Vendor::CiscoFtd, _, Encr::TripleDes) => Some("3des".into()),
        (Vendor::CiscoAsa | Vendor::CiscoFtd, Esp, Encr::Null) => Some("null".into()),

        (Vendor::PaloAltoPanos, _, Encr::AesCbc(bits)) => Some(format!("aes-{bits}-cbc")),
        (Vendor::PaloAltoPanos, _, Encr::AesGcm { bits: bits @ (128 | 256), icv: 16 }) => {
            Some(format!("aes-{bits}-gcm"))
        }
        (Vendor::PaloAltoPanos, Esp, Encr::AesCcm { bits: 128, icv: 16 }) => Some("aes-128-ccm".into()),
        (Vendor::PaloAltoPanos, _, Encr::TripleDes) => Some("3des".into()),
        (Vendor::PaloAltoPanos, Esp, Encr::Null) => Some("null".into()),
        _ => None,
    }
}

/// An integrity algorithm.
pub fn integ(vendor: Vendor, phase: Phase, integ: Integ) -> Option<String> {
    use Phase::{Esp, Ike};
    let hash = hash_of(integ);
    match (vendor, phase) {
        (Vendor::StrongSwan, _) => Some(crate::config::integ_word(integ).into()),
        (Vendor::CiscoIosXe, Ike) => hash.map(Into::into),
        (Vendor::CiscoIosXe, Esp) => {
            hash.map(|h| if h == "sha1" { "esp-sha-hmac".into() } else { format!("esp-{h}-hmac") })
        }
        (Vendor::CiscoAsa | Vendor::CiscoFtd, Ike) => hash.map(|h| if h == "sha1" { "sha" } else { h }.into()),
        (Vendor::CiscoAsa | Vendor::CiscoFtd, Esp) => hash.map(|h| h.replacen("sha", "sha-", 1)),
        (Vendor::PaloAltoPanos, _) => hash.map(Into::into),
    }
}

/// A PRF. PAN-OS has no such setting: it takes the hash.
pub fn prf(vendor: Vendor, prf: Prf) -> Option<String> {
    let hash = match prf {
        Prf::HmacMd5 => Some("md5"),
        Prf::HmacSha1 => Some("sha1"),
        Prf::HmacSha256 => Some("sha256"),
        Prf::HmacSha384 => Some("sha384"),
        Prf::HmacSha512 => Some("sha512"),
        Prf::AesXcbc | Prf::AesCmac => None,
    };
    match vendor {
        Vendor::StrongSwan => Some(crate::config::prf_word(prf).into()),
        Vendor::CiscoIosXe | Vendor::PaloAltoPanos => hash.map(Into::into),
        Vendor::CiscoAsa | Vendor::CiscoFtd => hash.map(|h| if h == "sha1" { "sha" } else { h }.into()),
    }
}

/// A key exchange group, as a word that follows `group` (Cisco) or stands alone (PAN-OS, strongSwan).
pub fn group(vendor: Vendor, group: Group) -> Option<String> {
    let number = group as u16;
    match vendor {
        Vendor::StrongSwan => Some(group.name().into()),
        Vendor::CiscoIosXe | Vendor::CiscoAsa | Vendor::CiscoFtd => {
            matches!(number, 1 | 2 | 5 | 14 | 15 | 16 | 19 | 20 | 21).then(|| number.to_string())
        }
        // 15, 16 and 21 since PAN-OS 10.2.
        Vendor::PaloAltoPanos => {
            matches!(number, 1 | 2 | 5 | 14 | 15 | 16 | 19 | 20 | 21).then(|| format!("group{number}"))
        }
    }
}

/// The hash's everyday name; `None` for AES-based algorithms.
fn hash_of(integ: Integ) -> Option<&'static str> {
    Some(match integ {
        Integ::HmacMd5_96 => "md5",
        Integ::HmacSha1_96 => "sha1",
        Integ::HmacSha256_128 => "sha256",
        Integ::HmacSha384_192 => "sha384",
        Integ::HmacSha512_256 => "sha512",
        Integ::AesXcbc96 | Integ::AesCmac96 => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A vendor's own words, put together again, must read back as the same algorithm.
    #[test]
    fn the_loader_reads_every_vendor_word() {
        for vendor in Vendor::ALL.iter().copied() {
            for cipher in [Encr::AesCbc(128), Encr::AesCbc(192), Encr::AesCbc(256), Encr::TripleDes] {
                let words = format!(
                    "{} {} group {}",
                    encr(vendor, Phase::Ike, cipher).unwrap(),
                    integ(vendor, Phase::Ike, Integ::HmacSha256_128).unwrap(),
                    14
                );
                let wanted = format!("{}-sha256-modp2048", crate::config::encr_word(cipher));
                assert_eq!(
                    crate::config::proposal_words(&crate::config::ike_proposal(&words).unwrap()),
                    wanted,
                    "{words}"
                );
                let words = format!(
                    "{} {}",
                    encr(vendor, Phase::Esp, cipher).unwrap(),
                    integ(vendor, Phase::Esp, Integ::HmacSha1_96).unwrap()
                );
                let wanted = format!("{}-sha1", crate::config::encr_word(cipher));
                assert_eq!(
                    crate::config::proposal_words(&crate::config::esp_proposal(&words).unwrap().0),
                    wanted,
                    "{words}"
                );
            }
            for phase in [Phase::Ike, Phase::Esp] {
                let word = encr(vendor, phase, Encr::AesGcm { bits: 256, icv: 16 }).unwrap();
                let read = match phase {
                    Phase::Ike => crate::config::ike_proposal(&format!("{word} prfsha256 modp2048")).unwrap(),
                    Phase::Esp => crate::config::esp_proposal(&word).unwrap().0,
                };
                assert!(crate::config::proposal_words(&read).starts_with("aes256gcm16"), "{word}");
            }
            for any in [Group::Modp1024, Group::Modp2048, Group::Ecp384] {
                let word = group(vendor, any).unwrap();
                let word = if word.chars().all(|c| c.is_ascii_digit()) { format!("group {word}") } else { word };
                assert_eq!(crate::config::pfs(&word).unwrap(), [any.method()], "{word}");
            }
        }
    }
}
