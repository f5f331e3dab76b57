//! The names that Wireshark 4.0 has for the suites, in its tables `ikev2_decryption_table` and `esp_sa`.
//!
//! A test asks the installed tshark whether it accepts every line that is made here.

use std::fmt;

use crate::crypto::{Encr, EspSuite, IkeSuite, Integ};

/// Names of an IKE suite in `ikev2_decryption_table`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IkeUat {
    /// The encryption column.
    pub encr: String,
    /// The integrity column.
    pub integ: &'static str,
    /// False if Wireshark skips the integrity check, and with it needs no integrity keys.
    pub integ_checked: bool,
}

/// Names of an ESP suite in `esp_sa`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EspUat {
    /// The encryption column.
    pub encr: String,
    /// The authentication column.
    pub integ: &'static str,
    /// False if Wireshark skips the integrity check, and with it needs no integrity key.
    pub integ_checked: bool,
}

/// Wireshark 4.0 cannot decrypt a suite.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unsupported(pub &'static str);

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// The names of an IKE suite.
///
/// # Errors
///
/// If Wireshark 4.0 does not know the cipher.
pub fn ike_uat(suite: &IkeSuite) -> Result<IkeUat, Unsupported> {
    let encr = match suite.encr {
        Encr::AesCbc(bits) => format!("AES-CBC-{bits} [RFC3602]"),
        Encr::AesCtr(bits) => format!("AES-CTR-{bits} [RFC5930]"),
        Encr::AesGcm { bits, icv } => format!("AES-GCM-{bits} with {icv} octet ICV [RFC5282]"),
        Encr::AesCcm { bits, icv } => format!("AES-CCM-{bits} with {icv} octet ICV [RFC5282]"),
        Encr::TripleDes => "3DES [RFC2451]".to_owned(),
        Encr::Null => "NULL [RFC2410]".to_owned(),
        Encr::ChaCha20Poly1305 => return Err(Unsupported("Wireshark 4.0 has no ChaCha20-Poly1305 for IKEv2")),
    };
    let (integ, integ_checked) = match suite.integ {
        None => ("NONE [RFC4306]", true),
        Some(Integ::HmacMd5_96) => ("HMAC_MD5_96 [RFC2403]", true),
        Some(Integ::HmacSha1_96) => ("HMAC_SHA1_96 [RFC2404]", true),
        Some(Integ::HmacSha256_128) => ("HMAC_SHA2_256_128 [RFC4868]", true),
        Some(Integ::HmacSha384_192) => ("HMAC_SHA2_384_192 [RFC4868]", true),
        Some(Integ::HmacSha512_256) => ("HMAC_SHA2_512_256 [RFC4868]", true),
        Some(Integ::AesXcbc96 | Integ::AesCmac96) => ("ANY 96-bits of Authentication [No Checking]", false),
    };
    Ok(IkeUat { encr, integ, integ_checked })
}

/// The names of an ESP suite.
///
/// # Errors
///
/// If Wireshark 4.0 does not know the cipher.
pub fn esp_uat(suite: &EspSuite) -> Result<EspUat, Unsupported> {
    let encr = match suite.encr {
        Encr::AesCbc(_) => "AES-CBC [RFC3602]".to_owned(),
        Encr::AesCtr(_) => "AES-CTR [RFC3686]".to_owned(),
        Encr::AesGcm { icv, .. } => format!("AES-GCM with {icv} octet ICV [RFC4106]"),
        Encr::TripleDes => "TripleDES-CBC [RFC2451]".to_owned(),
        Encr::Null => "NULL".to_owned(),
        Encr::AesCcm { .. } => return Err(Unsupported("Wireshark 4.0 has no AES-CCM for ESP")),
        Encr::ChaCha20Poly1305 => return Err(Unsupported("Wireshark 4.0 has no ChaCha20-Poly1305 for ESP")),
    };
    let (integ, integ_checked) = match suite.integ {
        None => ("NULL", true),
        Some(Integ::HmacMd5_96) => ("HMAC-MD5-96 [RFC2403]", true),
        Some(Integ::HmacSha1_96) => ("HMAC-SHA-1-96 [RFC2404]", true),
        Some(Integ::HmacSha256_128) => ("HMAC-SHA-256-128 [RFC4868]", true),
        Some(Integ::HmacSha384_192) => ("HMAC-SHA-384-192 [RFC4868]", true),
        Some(Integ::HmacSha512_256) => ("HMAC-SHA-512-256 [RFC4868]", true),
        Some(Integ::AesXcbc96 | Integ::AesCmac96) => ("ANY 96 bit authentication [no checking]", false),
    };
    Ok(EspUat { encr, integ, integ_checked })
}
