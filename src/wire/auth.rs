//! The Authentication payload (RFC 7296 3.8).

use super::error::Fault;
use super::reader::Reader;
use super::registry::AuthMethod;
use super::writer::Writer;

/// Proof of an identity: a MIC or signature over the signed octets of RFC 7296 2.15.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct AuthPayload {
    /// Auth Method.
    pub method: AuthMethod,
    /// Authentication Data. For a Digital Signature it begins with the AlgorithmIdentifier (RFC 7427 3).
    pub data: Vec<u8>,
}

impl AuthPayload {
    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, Fault> {
        let &[method, _, _, _] = r.fixed::<4>("the auth method with its reserved field")?;
        Ok(Self { method: AuthMethod(method), data: r.rest().to_vec() })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.u8("method", self.method.0);
        w.bytes("reserved", &[0; 3]);
        w.bytes("data", &self.data);
    }
}
