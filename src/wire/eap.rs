//! The EAP payload (RFC 7296 3.16).

use std::fmt;

use super::error::Fault;
use super::reader::Reader;
use super::writer::Writer;

/// One EAP packet, header included (RFC 3748 4). It is not looked into here.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct EapPayload {
    /// EAP Message: code, identifier, length, and for a request or response type and type data.
    pub data: Vec<u8>,
}

impl EapPayload {
    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, Fault> {
        Ok(Self { data: r.rest().to_vec() })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.bytes("data", &self.data);
    }
}

/// Header and size only: a GTC response is a password.
impl fmt::Debug for EapPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EapPayload({self})")
    }
}

/// `request id 3 type 26, 40 octets`; never the type data.
impl fmt::Display for EapPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut octets = self.data.iter();
        match octets.next() {
            Some(1) => f.write_str("request")?,
            Some(2) => f.write_str("response")?,
            Some(3) => f.write_str("success")?,
            Some(4) => f.write_str("failure")?,
            Some(5) => f.write_str("initiate")?,
            Some(6) => f.write_str("finish")?,
            Some(other) => write!(f, "code {other}")?,
            None => return f.write_str("empty"),
        }
        if let Some(id) = octets.next() {
            write!(f, " id {id}")?;
        }
        if let Some(kind) = self.data.get(4) {
            write!(f, " type {kind}")?;
            match kind {
                1 => f.write_str(" (Identity)")?,
                3 => f.write_str(" (Nak)")?,
                4 => f.write_str(" (MD5-Challenge)")?,
                6 => f.write_str(" (GTC)")?,
                13 => f.write_str(" (TLS)")?,
                21 => f.write_str(" (TTLS)")?,
                25 => f.write_str(" (PEAP)")?,
                26 => f.write_str(" (MSCHAPv2)")?,
                _ => {}
            }
        }
        write!(f, ", {} octets", self.data.len())
    }
}
