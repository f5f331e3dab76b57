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
