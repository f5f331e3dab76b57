//! EAP method types and what each method gives.

use std::fmt;

/// An EAP type octet (IANA "EAP Method Types").
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MethodType(pub u8);

impl MethodType {
    /// Identity (RFC 3748 5.1).
    pub const IDENTITY: Self = MethodType(1);
    /// Notification (RFC 3748 5.2).
    pub const NOTIFICATION: Self = MethodType(2);
    /// Legacy Nak (RFC 3748 5.3.1).
    pub const NAK: Self = MethodType(3);
    /// MD5-Challenge (RFC 3748 5.4).
    pub const MD5: Self = MethodType(4);
    /// EAP-TLS (RFC 5216, RFC 9190).
    pub const TLS: Self = MethodType(13);
    /// EAP MSCHAPv2 (draft-kamath-pppext-eap-mschapv2).
    pub const MSCHAPV2: Self = MethodType(26);
}

/// The name where there is one, else the number.
impl fmt::Display for MethodType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            0 => "no other",
            1 => "Identity",
            2 => "Notification",
            3 => "Nak",
            4 => "MD5",
            5 => "OTP",
            6 => "GTC",
            13 => "TLS",
            18 => "SIM",
            21 => "TTLS",
            23 => "AKA",
            25 => "PEAP",
            26 => "MSCHAPv2",
            43 => "FAST",
            50 => "AKA'",
            52 => "PWD",
            55 => "TEAP",
            254 => "expanded",
            other => return write!(f, "type {other}"),
        };
        f.write_str(name)
    }
}

impl fmt::Debug for MethodType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A method that is spoken here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Method {
    /// MD5-Challenge: proves the password of the peer, nothing else, and makes no key.
    Md5,
    /// MSCHAPv2: proves both ends' knowledge of the password and makes a key.
    MsChapV2,
    /// TLS with certificates of both ends; makes a key.
    Tls,
}

impl Method {
    /// All of them.
    pub const ALL: [Method; 3] = [Method::Md5, Method::MsChapV2, Method::Tls];

    /// Its type octet.
    pub fn kind(self) -> MethodType {
        match self {
            Method::Md5 => MethodType::MD5,
            Method::MsChapV2 => MethodType::MSCHAPV2,
            Method::Tls => MethodType::TLS,
        }
    }

    /// The method of a type octet.
    pub fn of(kind: MethodType) -> Option<Method> {
        Method::ALL.into_iter().find(|m| m.kind() == kind)
    }

    /// It makes a Master Session Key (RFC 7296 2.16).
    pub fn makes_key(self) -> bool {
        self != Method::Md5
    }

    /// It may stand alone, without any other proof of the responder's (RFC 5998 4): mutual, key-generating, and resistant to
    /// dictionary attacks, which MSCHAPv2 is not.
    pub fn safe_alone(self) -> bool {
        self == Method::Tls
    }
}

/// The type's name.
impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind())
    }
}
