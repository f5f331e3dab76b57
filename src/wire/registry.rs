//! The IANA registry "Internet Key Exchange Version 2 (IKEv2) Parameters" as data.
//!
//! Each registry is a newtype over the number on the wire, so that an unknown value survives; a table gives the names.
//! State of the tables: IANA as of November 2024, and what was assigned since that we know of (RFC 9611, RFC 9867,
//! G-IKEv2, the downgrade-prevention draft).

/// Makes one registry: a newtype with a constant per assigned value, its names, and `Display`.
///
/// `Display` prints the name, or the prefix given here and the number for an unassigned value ("notify 41234").
macro_rules! registry {
    (
        $(#[$meta:meta])*
        $name:ident($int:ty), $unknown:literal;
        $($konst:ident = $value:literal, $text:literal $(, $iana:literal)?;)*
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $int);

        impl $name {
            $(
                #[doc = concat!("Value ", stringify!($value), ": ", $text $(, " (", $iana, ")")?, ".")]
                pub const $konst: Self = Self($value);
            )*

            /// The short name of an assigned value; `None` when it is unassigned, reserved or private.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some($text),)*
                    _ => None,
                }
            }

            /// The name as the IANA page words it; the same as [`name`](Self::name) where no shorter one is usual.
            pub const fn iana_name(self) -> Option<&'static str> {
                match self.0 {
                    $($(
                        $value => Some($iana),
                    )?)*
                    _ => self.name(),
                }
            }

            /// The value with this short name, in any letter case.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::all().find(|value| value.name().is_some_and(|own| own.eq_ignore_ascii_case(name)))
            }

            /// Every assigned value, in ascending order.
            pub fn all() -> impl Iterator<Item = Self> + Clone {
                const ALL: &[$name] = &[$($name($value)),*];
                ALL.iter().copied()
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self.name() {
                    Some(name) => f.pad(name),
                    None => f.pad(&format!(concat!($unknown, " {}"), self.0)),
                }
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(self, f)
            }
        }
    };
}

mod notify;
mod transform;
mod value;

pub use notify::NotifyType;
pub use transform::{EncrId, EsnId, GcAuthId, IntegId, KeMethod, KeyWrapId, PrfId, TransformAttribute, TransformType};
pub use value::{
    AuthMethod, CertEncoding, CfgAttr, CfgType, GatewayIdType, HashAlgorithm, IdType, IpcompId, PpkIdType,
    RohcAttribute, SecurePasswordMethod, TsType,
};

registry! {
    /// IKEv2 Exchange Types.
    ExchangeType(u8), "exchange";
    IKE_SA_INIT = 34, "IKE_SA_INIT";
    IKE_AUTH = 35, "IKE_AUTH";
    CREATE_CHILD_SA = 36, "CREATE_CHILD_SA";
    INFORMATIONAL = 37, "INFORMATIONAL";
    IKE_SESSION_RESUME = 38, "IKE_SESSION_RESUME";
    GSA_AUTH = 39, "GSA_AUTH";
    GSA_REGISTRATION = 40, "GSA_REGISTRATION";
    GSA_REKEY = 41, "GSA_REKEY";
    GSA_INBAND_REKEY = 42, "GSA_INBAND_REKEY";
    IKE_INTERMEDIATE = 43, "IKE_INTERMEDIATE";
    IKE_FOLLOWUP_KE = 44, "IKE_FOLLOWUP_KE";
}

registry! {
    /// IKEv2 Payload Types. [`name`](Self::name) is the notation of RFC 7296 3.2, spelled out where that is one letter.
    PayloadType(u8), "payload";
    NONE = 0, "NONE", "No Next Payload";
    SA = 33, "SA", "Security Association";
    KE = 34, "KE", "Key Exchange";
    IDI = 35, "IDi", "Identification - Initiator";
    IDR = 36, "IDr", "Identification - Responder";
    CERT = 37, "CERT", "Certificate";
    CERTREQ = 38, "CERTREQ", "Certificate Request";
    AUTH = 39, "AUTH", "Authentication";
    NONCE = 40, "Nonce", "Nonce";
    NOTIFY = 41, "Notify", "Notify";
    DELETE = 42, "Delete", "Delete";
    VENDOR = 43, "Vendor ID", "Vendor ID";
    TSI = 44, "TSi", "Traffic Selector - Initiator";
    TSR = 45, "TSr", "Traffic Selector - Responder";
    SK = 46, "SK", "Encrypted and Authenticated";
    CP = 47, "CP", "Configuration";
    EAP = 48, "EAP", "Extensible Authentication";
    GSPM = 49, "GSPM", "Generic Secure Password Method";
    IDG = 50, "IDg", "Group Identification";
    GSA = 51, "GSA", "Group Security Association";
    KD = 52, "KD", "Key Download";
    SKF = 53, "SKF", "Encrypted and Authenticated Fragment";
    PS = 54, "PS", "Puzzle Solution";
    // From the private range: what Cisco boxes send where RFC 7383 was not agreed on.
    CISCO_FRAGMENT = 132, "Cisco-Fragment", "Cisco IKE Fragment (not IANA's)";
}

registry! {
    /// IKEv2 Security Protocol Identifiers (RFC 7296 3.3.1).
    ProtocolId(u8), "protocol";
    NONE = 0, "NONE";
    IKE = 1, "IKE";
    AH = 2, "AH";
    ESP = 3, "ESP";
    FC_ESP_HEADER = 4, "FC_ESP_HEADER";
    FC_CT_AUTHENTICATION = 5, "FC_CT_AUTHENTICATION";
    GIKE_UPDATE = 6, "GIKE_UPDATE";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Asserts what holds in every registry, and that it has so many values.
    macro_rules! check {
        ($($name:ident: $count:literal),* $(,)?) => {
            $({
                let all: Vec<$name> = $name::all().collect();
                assert_eq!(all.len(), $count, stringify!($name));
                assert!(all.is_sorted_by(|one, two| one < two), concat!(stringify!($name), " ascends"));
                let names: BTreeSet<&str> = all.iter().filter_map(|value| value.name()).collect();
                assert_eq!(names.len(), all.len(), concat!(stringify!($name), " has a name for each, none twice"));
                for value in all {
                    let name = value.name().expect("it is assigned");
                    assert_eq!($name::from_name(&name.to_lowercase()), Some(value));
                    assert_eq!(value.to_string(), name);
                    assert!(value.iana_name().is_some_and(|long| !long.is_empty()));
                }
                let unassigned = $name(251);
                assert_eq!((unassigned.name(), unassigned.iana_name()), (None, None));
                assert!(unassigned.to_string().ends_with(" 251"), "{unassigned}");
            })*
        };
    }

    #[test]
    fn every_registry_is_complete_and_consistent() {
        check! {
            ExchangeType: 11, PayloadType: 24, ProtocolId: 7, TransformType: 14, EncrId: 32, PrfId: 9, IntegId: 15,
            KeMethod: 28, EsnId: 3, KeyWrapId: 4, GcAuthId: 2, TransformAttribute: 2, NotifyType: 89, IdType: 9,
            AuthMethod: 9, CertEncoding: 14, TsType: 4, CfgType: 4, CfgAttr: 26, HashAlgorithm: 7, IpcompId: 4,
            GatewayIdType: 3, RohcAttribute: 5, SecurePasswordMethod: 3, PpkIdType: 2,
        }
    }

    #[test]
    fn numbers_are_those_of_the_rfcs() {
        assert_eq!(ExchangeType::IKE_SA_INIT.0, 34);
        assert_eq!((PayloadType::SA.0, PayloadType::SK.0, PayloadType::EAP.0, PayloadType::SKF.0), (33, 46, 48, 53));
        assert_eq!((EncrId::ENCR_3DES.0, EncrId::ENCR_AES_CBC.0, EncrId::ENCR_AES_GCM_16.0), (3, 12, 20));
        assert_eq!((PrfId::PRF_HMAC_SHA1.0, PrfId::PRF_HMAC_SHA2_512.0), (2, 7));
        assert_eq!((IntegId::AUTH_HMAC_SHA1_96.0, IntegId::AUTH_HMAC_SHA2_512_256.0), (2, 14));
        assert_eq!((KeMethod::MODP_2048.0, KeMethod::ECP_256.0, KeMethod::CURVE25519.0), (14, 19, 31));
        assert_eq!((KeMethod::BRAINPOOL_256.0, KeMethod::ML_KEM_768.0), (28, 36));
        assert_eq!((NotifyType::NO_PROPOSAL_CHOSEN.0, NotifyType::TS_UNACCEPTABLE.0), (14, 38));
        assert_eq!((NotifyType::COOKIE.0, NotifyType::IKEV2_FRAGMENTATION_SUPPORTED.0), (16390, 16430));
        assert_eq!((AuthMethod::SHARED_KEY_MIC.0, AuthMethod::DIGITAL_SIGNATURE.0), (2, 14));
        assert_eq!((IdType::ID_RFC822_ADDR.0, IdType::ID_DER_ASN1_DN.0, IdType::ID_KEY_ID.0), (3, 9, 11));
        assert_eq!((CertEncoding::X509_SIGNATURE.0, CertEncoding::HASH_AND_URL.0), (4, 12));
        assert_eq!((HashAlgorithm::SHA2_512.0, HashAlgorithm::IDENTITY.0), (4, 5));
    }

    #[test]
    fn notify_types_are_errors_or_status() {
        assert!(NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD.is_error());
        assert!(NotifyType(16383).is_error() && NotifyType(8192).is_error());
        assert!(!NotifyType::INITIAL_CONTACT.is_error() && !NotifyType(40960).is_error() && !NotifyType(0).is_error());
        assert_eq!(NotifyType(41234).to_string(), "notify 41234");
        assert_eq!(format!("{:?}", NotifyType::COOKIE), "COOKIE");
    }

    #[test]
    fn short_names_are_there_for_all() {
        assert_eq!(KeMethod::ECP_384.short(), "ecp384");
        assert_eq!(KeMethod::CURVE25519.short(), "x25519");
        assert_eq!(KeMethod(99).short(), "group 99");
        let names: BTreeSet<&str> = KeMethod::all().filter_map(KeMethod::short_name).collect();
        assert_eq!(names.len(), KeMethod::all().count());
        assert_eq!(NotifyType::NAT_DETECTION_SOURCE_IP.short(), "NATD");
        assert_eq!(NotifyType::NO_PROPOSAL_CHOSEN.short(), "NO_PROPOSAL_CHOSEN");
        assert_eq!(NotifyType(41234).short(), "41234");
    }

    #[test]
    fn display_pads_in_a_column() {
        assert_eq!(format!("{:<8}|", PayloadType::SA), "SA      |");
        assert_eq!(format!("{:<12}|", PayloadType(200)), "payload 200 |");
    }
}
