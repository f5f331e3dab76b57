//! The Identification payloads (RFC 7296 3.5).

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{Ipv4Addr, Ipv6Addr};

use super::error::Fault;
use super::reader::Reader;
use super::registry::IdType;
use super::writer::Writer;

/// IDi or IDr. `Display` reads like a configuration line: `ipv4:10.0.0.1`, `fqdn:gw.example`, `email:a@b`,
/// `dn:C=CH, CN=gw` (or the octets in hex when they are no name), `keyid:text` (or hex when not printable).
///
/// Two are the same identity when type and data are: what stands in RESERVED is ignored (RFC 7296 3.5), and yet covered by
/// AUTH as it was sent.
#[derive(Clone, Eq, Debug)]
pub struct IdPayload {
    /// ID Type.
    pub kind: IdType,
    /// Identification Data.
    pub data: Vec<u8>,
    /// The three reserved octets, zeros unless the sender deviates.
    reserved: [u8; 3],
}

impl PartialEq for IdPayload {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind && self.data == other.data
    }
}

impl Hash for IdPayload {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.kind.hash(state);
        self.data.hash(state);
    }
}

impl IdPayload {
    /// An identity of this type, with zeros in RESERVED.
    pub fn new(kind: IdType, data: Vec<u8>) -> Self {
        IdPayload { kind, data, reserved: [0; 3] }
    }

    /// What [`IdPayload::body`] gives; `None` for fewer than 4 octets.
    pub fn from_body(body: &[u8]) -> Option<Self> {
        let (&[kind, a, b, c], data) = body.split_first_chunk::<4>()?;
        Some(IdPayload { kind: IdType(kind), data: data.to_vec(), reserved: [a, b, c] })
    }

    /// RestOfInitIDPayload or RestOfRespIDPayload (RFC 7296 2.15): the payload without its generic header, as AUTH
    /// covers it.
    pub fn body(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(4 + self.data.len());
        body.push(self.kind.0);
        body.extend_from_slice(&self.reserved);
        body.extend_from_slice(&self.data);
        body
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, Fault> {
        let &[kind, a, b, c] = r.fixed::<4>("the ID type with its reserved field")?;
        Ok(Self { kind: IdType(kind), data: r.rest().to_vec(), reserved: [a, b, c] })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.u8("type", self.kind.0);
        w.bytes("reserved", &self.reserved);
        w.bytes("data", &self.data);
    }
}

impl fmt::Display for IdPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let data = &self.data;
        match self.kind {
            IdType::ID_IPV4_ADDR => match <[u8; 4]>::try_from(data.as_slice()) {
                Ok(octets) => write!(f, "ipv4:{}", Ipv4Addr::from(octets)),
                Err(_) => write!(f, "ipv4:{}", super::dump::Text(data)),
            },
            IdType::ID_IPV6_ADDR => match <[u8; 16]>::try_from(data.as_slice()) {
                Ok(octets) => write!(f, "ipv6:{}", Ipv6Addr::from(octets)),
                Err(_) => write!(f, "ipv6:{}", super::dump::Text(data)),
            },
            IdType::ID_FQDN => write!(f, "fqdn:{}", super::dump::Text(data)),
            IdType::ID_RFC822_ADDR => write!(f, "email:{}", super::dump::Text(data)),
            IdType::ID_DER_ASN1_DN => match super::dn_text(data).filter(|text| !text.is_empty()) {
                Some(text) => write!(f, "dn:{text}"),
                None => write!(f, "dn:{}", super::dump::Hex(data)),
            },
            IdType::ID_DER_ASN1_GN => write!(f, "gn:{}", super::dump::Hex(data)),
            IdType::ID_KEY_ID => write!(f, "keyid:{}", super::dump::Text(data)),
            IdType::ID_NULL if data.is_empty() => f.write_str("null"),
            other => write!(f, "{other}:{}", super::dump::Text(data)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_read_like_a_configuration() {
        let cases: [(IdType, &[u8], &str); 14] = [
            (IdType::ID_IPV4_ADDR, &[10, 0, 0, 1], "ipv4:10.0.0.1"),
            (IdType::ID_IPV4_ADDR, &[10, 0, 0], "ipv4:0x0a0000"),
            (IdType::ID_IPV6_ADDR, &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], "ipv6:2001:db8::1"),
            (IdType::ID_IPV6_ADDR, &[1], "ipv6:0x01"),
            (IdType::ID_FQDN, b"gw.example", "fqdn:gw.example"),
            (IdType::ID_FQDN, b"a\x1b[2J", "fqdn:0x611b5b324a"),
            (IdType::ID_RFC822_ADDR, b"me@lab", "email:me@lab"),
            (IdType::ID_DER_ASN1_DN, &[0x30, 0], "dn:3000"),
            (IdType::ID_DER_ASN1_GN, &[0x82, 0], "gn:8200"),
            (IdType::ID_KEY_ID, b"branch 7", "keyid:branch 7"),
            (IdType::ID_KEY_ID, &[0xff, 0], "keyid:0xff00"),
            (IdType::ID_NULL, &[], "null"),
            (IdType::ID_FC_NAME, &[1], "ID_FC_NAME:0x01"),
            (IdType(200), b"x", "id type 200:x"),
        ];
        for (kind, data, expected) in cases {
            assert_eq!(IdPayload::new(kind, data.to_vec()).to_string(), expected);
        }
    }

    #[test]
    fn the_body_is_what_auth_covers() {
        let id = IdPayload::new(IdType::ID_FQDN, b"ab".to_vec());
        assert_eq!(id.body(), [2, 0, 0, 0, b'a', b'b']);
        let odd = IdPayload::from_body(&[2, 7, 8, 9, b'a', b'b']).expect("long enough");
        assert_eq!(odd.body(), [2, 7, 8, 9, b'a', b'b'], "as it was sent");
        assert_eq!(odd, id, "and yet the same identity");
        assert!(IdPayload::from_body(&[2, 0, 0]).is_none());
    }
}
