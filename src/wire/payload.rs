//! A payload of any kind, and the generic header before it (RFC 7296 3.2).

use super::auth::AuthPayload;
use super::cert::{CertPayload, CertReqPayload};
use super::config::CpPayload;
use super::delete::DeletePayload;
use super::eap::EapPayload;
use super::error::Fault;
use super::id::IdPayload;
use super::ke::KePayload;
use super::nonce::NoncePayload;
use super::notify::NotifyPayload;
use super::reader::Reader;
use super::registry::PayloadType;
use super::sa::SaPayload;
use super::ts::TsPayload;
use super::vendor::VendorIdPayload;
use super::writer::Writer;

/// One payload, its generic header left to the encoder.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Payload {
    /// Security Association.
    Sa(SaPayload),
    /// Key Exchange.
    Ke(KePayload),
    /// Identification - Initiator.
    IdI(IdPayload),
    /// Identification - Responder.
    IdR(IdPayload),
    /// Certificate.
    Cert(CertPayload),
    /// Certificate Request.
    CertReq(CertReqPayload),
    /// Authentication.
    Auth(AuthPayload),
    /// Nonce.
    Nonce(NoncePayload),
    /// Notify.
    Notify(NotifyPayload),
    /// Delete.
    Delete(DeletePayload),
    /// Vendor ID.
    Vendor(VendorIdPayload),
    /// Traffic Selector - Initiator.
    TsI(TsPayload),
    /// Traffic Selector - Responder.
    TsR(TsPayload),
    /// Configuration.
    Cp(CpPayload),
    /// Extensible Authentication.
    Eap(EapPayload),
    /// Any other type, a body that could not be decoded, or octets sent on purpose.
    Raw(RawPayload),
}

/// A payload as its octets: of an unknown type, of a known type whose body is malformed, or one to send as it is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct RawPayload {
    /// Payload type.
    pub kind: PayloadType,
    /// The critical bit (RFC 7296 2.5).
    pub critical: bool,
    /// Everything after the generic header, at most 65531 octets.
    pub body: Vec<u8>,
}

/// The critical bit in the second octet of the generic header.
pub(super) const CRITICAL: u8 = 0x80;
/// Octets of the generic header.
pub(super) const GENERIC_HEADER: usize = 4;

impl Payload {
    /// The type that stands in the Next Payload field before it.
    pub fn kind(&self) -> PayloadType {
        match self {
            Self::Sa(_) => PayloadType::SA,
            Self::Ke(_) => PayloadType::KE,
            Self::IdI(_) => PayloadType::IDI,
            Self::IdR(_) => PayloadType::IDR,
            Self::Cert(_) => PayloadType::CERT,
            Self::CertReq(_) => PayloadType::CERTREQ,
            Self::Auth(_) => PayloadType::AUTH,
            Self::Nonce(_) => PayloadType::NONCE,
            Self::Notify(_) => PayloadType::NOTIFY,
            Self::Delete(_) => PayloadType::DELETE,
            Self::Vendor(_) => PayloadType::VENDOR,
            Self::TsI(_) => PayloadType::TSI,
            Self::TsR(_) => PayloadType::TSR,
            Self::Cp(_) => PayloadType::CP,
            Self::Eap(_) => PayloadType::EAP,
            Self::Raw(raw) => raw.kind,
        }
    }

    /// The notify in it, if it is one.
    pub fn as_notify(&self) -> Option<&NotifyPayload> {
        match self {
            Self::Notify(notify) => Some(notify),
            _ => None,
        }
    }

    /// Name of its structure in a field path, and whether several in one message are usual: those are always numbered.
    pub(super) fn path_name(&self) -> (&'static str, bool) {
        match self.kind() {
            PayloadType::SA => ("sa", false),
            PayloadType::KE => ("ke", false),
            PayloadType::IDI => ("idi", false),
            PayloadType::IDR => ("idr", false),
            PayloadType::CERT => ("cert", true),
            PayloadType::CERTREQ => ("certreq", true),
            PayloadType::AUTH => ("auth", false),
            PayloadType::NONCE => ("nonce", false),
            PayloadType::NOTIFY => ("notify", true),
            PayloadType::DELETE => ("delete", true),
            PayloadType::VENDOR => ("vendor", true),
            PayloadType::TSI => ("tsi", false),
            PayloadType::TSR => ("tsr", false),
            PayloadType::SK => ("sk", false),
            PayloadType::CP => ("cp", false),
            PayloadType::EAP => ("eap", false),
            PayloadType::SKF => ("skf", false),
            _ => ("raw", true),
        }
    }

    /// Decodes a body. A type without a structure here becomes [`Payload::Raw`].
    pub(super) fn read(kind: PayloadType, critical: bool, r: &mut Reader<'_>) -> Result<Self, Fault> {
        let payload = match kind {
            PayloadType::SA => Self::Sa(SaPayload::read(r)?),
            PayloadType::KE => Self::Ke(KePayload::read(r)?),
            PayloadType::IDI => Self::IdI(IdPayload::read(r)?),
            PayloadType::IDR => Self::IdR(IdPayload::read(r)?),
            PayloadType::CERT => Self::Cert(CertPayload::read(r)?),
            PayloadType::CERTREQ => Self::CertReq(CertReqPayload::read(r)?),
            PayloadType::AUTH => Self::Auth(AuthPayload::read(r)?),
            PayloadType::NONCE => Self::Nonce(NoncePayload::read(r)?),
            PayloadType::NOTIFY => Self::Notify(NotifyPayload::read(r)?),
            PayloadType::DELETE => Self::Delete(DeletePayload::read(r)?),
            PayloadType::VENDOR => Self::Vendor(VendorIdPayload::read(r)?),
            PayloadType::TSI => Self::TsI(TsPayload::read(r)?),
            PayloadType::TSR => Self::TsR(TsPayload::read(r)?),
            PayloadType::CP => Self::Cp(CpPayload::read(r)?),
            PayloadType::EAP => Self::Eap(EapPayload::read(r)?),
            kind => Self::Raw(RawPayload { kind, critical, body: r.rest().to_vec() }),
        };
        Ok(payload)
    }

    /// Appends generic header and body, the length filled in.
    pub(super) fn write(&self, w: &mut Writer<'_>, next: PayloadType) {
        let start = w.position();
        let critical = matches!(self, Self::Raw(raw) if raw.critical);
        w.u8("next", next.0);
        w.u8("critical", if critical { CRITICAL } else { 0 });
        w.u16("length", 0);
        match self {
            Self::Sa(sa) => sa.write(w),
            Self::Ke(ke) => ke.write(w),
            Self::IdI(id) | Self::IdR(id) => id.write(w),
            Self::Cert(cert) => cert.write(w),
            Self::CertReq(request) => request.write(w),
            Self::Auth(auth) => auth.write(w),
            Self::Nonce(nonce) => nonce.write(w),
            Self::Notify(notify) => notify.write(w),
            Self::Delete(delete) => delete.write(w),
            Self::Vendor(vendor) => vendor.write(w),
            Self::TsI(ts) | Self::TsR(ts) => ts.write(w),
            Self::Cp(cp) => cp.write(w),
            Self::Eap(eap) => eap.write(w),
            Self::Raw(raw) => w.bytes("data", &raw.body),
        }
        w.patch_len(start + 2, start);
    }
}

macro_rules! payload_from {
    ($($variant:ident($inner:ty)),* $(,)?) => {
        $(impl From<$inner> for Payload {
            fn from(inner: $inner) -> Self {
                Self::$variant(inner)
            }
        })*
    };
}

payload_from! {
    Sa(SaPayload), Ke(KePayload), Cert(CertPayload), CertReq(CertReqPayload), Auth(AuthPayload), Nonce(NoncePayload),
    Notify(NotifyPayload), Delete(DeletePayload), Vendor(VendorIdPayload), Cp(CpPayload), Eap(EapPayload), Raw(RawPayload),
}
