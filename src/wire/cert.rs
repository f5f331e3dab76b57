//! The Certificate and Certificate Request payloads (RFC 7296 3.6, 3.7).

use super::error::Fault;
use super::reader::Reader;
use super::registry::CertEncoding;
use super::writer::Writer;

/// One certificate, or what the encoding says.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct CertPayload {
    /// Cert Encoding.
    pub encoding: CertEncoding,
    /// Certificate Data, not looked into.
    pub data: Vec<u8>,
}

/// A wish for certificates.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct CertReqPayload {
    /// Cert Encoding of the wanted certificate.
    pub encoding: CertEncoding,
    /// Certification Authority: for X.509 signatures a list of 20-octet SHA-1 hashes of trusted SubjectPublicKeyInfo;
    /// it may be empty.
    pub data: Vec<u8>,
}

impl CertPayload {
    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, Fault> {
        let &[encoding] = r.fixed::<1>("the certificate encoding")?;
        Ok(Self { encoding: CertEncoding(encoding), data: r.rest().to_vec() })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.u8("encoding", self.encoding.0);
        w.bytes("data", &self.data);
    }
}

impl CertReqPayload {
    /// The hashes of an X.509 request, 20 octets each; an incomplete one at the end is left out.
    pub fn authorities(&self) -> impl Iterator<Item = &[u8; 20]> {
        self.data.as_chunks::<20>().0.iter()
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, Fault> {
        let &[encoding] = r.fixed::<1>("the certificate encoding")?;
        Ok(Self { encoding: CertEncoding(encoding), data: r.rest().to_vec() })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.u8("encoding", self.encoding.0);
        w.bytes("data", &self.data);
    }
}
