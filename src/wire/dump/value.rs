//! The values inside payloads as text.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::wire::config::CfgAttribute;
use crate::wire::notify::NotifyPayload;
use crate::wire::payload::Payload;
use crate::wire::registry::{CfgAttr, HashAlgorithm, IpcompId, KeMethod, NotifyType, PayloadType, ProtocolId};

/// Octets printed at most where they are only a hint; longer values are cut.
const SHOWN: usize = 32;

/// Lower-case hex of everything.
pub(in crate::wire) struct Hex<'a>(pub(in crate::wire) &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

/// Readable text as it is, anything else as `0x` and hex: what a peer sends must not steer a terminal.
pub(in crate::wire) struct Text<'a>(pub(in crate::wire) &'a [u8]);

impl<'a> Text<'a> {
    fn readable(&self) -> Option<&'a str> {
        let text = std::str::from_utf8(self.0).ok()?;
        text.chars().all(|c| c.is_ascii_graphic() || c == ' ' || c.is_alphanumeric()).then_some(text)
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.readable() {
            Some(text) => f.write_str(text),
            None => write!(f, "0x{}", Hex(self.0)),
        }
    }
}

/// `20 octets: 0123...`, cut.
struct Octets<'a>(&'a [u8]);

impl fmt::Display for Octets<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => f.write_str("empty"),
            [octet] => write!(f, "1 octet: {octet:02x}"),
            data => {
                let shown = &data[..data.len().min(SHOWN)];
                write!(f, "{} octets: {}{}", data.len(), Hex(shown), if data.len() > SHOWN { "..." } else { "" })
            }
        }
    }
}

/// One payload other than SA on one line.
pub(super) struct Line<'a> {
    pub(super) payload: &'a Payload,
    pub(super) response: bool,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.payload {
            Payload::Sa(sa) => write!(f, "SA, {} proposals", sa.proposals.len()),
            Payload::Ke(ke) => write!(f, "KE {}, {}", ke.group.short(), Octets(&ke.data)),
            Payload::IdI(id) => write!(f, "IDi {id}"),
            Payload::IdR(id) => write!(f, "IDr {id}"),
            Payload::Cert(cert) => write!(f, "CERT {}, {} octets", cert.encoding, cert.data.len()),
            Payload::CertReq(request) => {
                write!(f, "CERTREQ {}", request.encoding)?;
                if request.data.len().is_multiple_of(20) && request.data.len() <= 20 * 8 {
                    request.authorities().try_for_each(|hash| write!(f, "\n      {}", Hex(hash)))
                } else {
                    write!(f, ", {}", Octets(&request.data))
                }
            }
            // The MIC of a guessable key is not for logs.
            Payload::Auth(auth) => write!(f, "AUTH {}, {} octets", auth.method, auth.data.len()),
            Payload::Nonce(nonce) => write!(f, "{}, {}", if self.response { "Nr" } else { "Ni" }, Octets(&nonce.data)),
            Payload::Notify(notify) => {
                write!(f, "Notify {}", notify.kind)?;
                if notify.kind.is_error() {
                    f.write_str(" (error)")?;
                }
                if notify.protocol != ProtocolId::NONE {
                    write!(f, " {}", notify.protocol)?;
                }
                if !notify.spi.is_empty() {
                    write!(f, " spi {}", Hex(&notify.spi))?;
                }
                match notify_data(notify) {
                    Some(data) => write!(f, ": {data}"),
                    None if notify.data.is_empty() => Ok(()),
                    None => write!(f, ", {}", Octets(&notify.data)),
                }
            }
            Payload::Delete(delete) => {
                write!(f, "Delete {}", delete.protocol)?;
                delete.spis.iter().try_for_each(|spi| write!(f, " {}", Hex(spi)))
            }
            Payload::Vendor(vendor) => match Text(&vendor.data).readable() {
                Some(text) if !text.is_empty() => write!(f, "Vendor ID \"{text}\""),
                _ => write!(f, "Vendor ID {}", Octets(&vendor.data)),
            },
            Payload::TsI(ts) => write!(f, "TSi {ts}"),
            Payload::TsR(ts) => write!(f, "TSr {ts}"),
            Payload::Cp(cp) => {
                write!(f, "CP {}", cp.kind)?;
                cp.attributes.iter().try_for_each(|attribute| write!(f, "\n      {}", Attribute(attribute)))
            }
            Payload::Eap(eap) => write!(f, "EAP {eap}"),
            Payload::Raw(raw) => {
                match raw.kind.name() {
                    Some(name) => write!(f, "{name} payload, not decoded")?,
                    None => write!(f, "payload of type {}", raw.kind.0)?,
                }
                write!(f, "{}, {}", if raw.critical { ", critical" } else { "" }, Octets(&raw.body))
            }
        }
    }
}

/// The meaning of notification data, for the types where it has one that reads better than hex.
pub(super) fn notify_data(notify: &NotifyPayload) -> Option<String> {
    let data = notify.data.as_slice();
    match (notify.kind, data) {
        (NotifyType::INVALID_KE_PAYLOAD, &[high, low]) => {
            Some(KeMethod(u16::from_be_bytes([high, low])).short().into_owned())
        }
        (NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, &[kind]) => Some(PayloadType(kind).to_string()),
        (NotifyType::INVALID_MAJOR_VERSION, &[version]) => Some(format!("{}.{}", version >> 4, version & 15)),
        (NotifyType::INVALID_MESSAGE_ID, &[a, b, c, d]) => Some(u32::from_be_bytes([a, b, c, d]).to_string()),
        (NotifyType::SET_WINDOW_SIZE, &[a, b, c, d]) => Some(u32::from_be_bytes([a, b, c, d]).to_string()),
        (NotifyType::AUTH_LIFETIME, &[a, b, c, d]) => Some(format!("{} s", u32::from_be_bytes([a, b, c, d]))),
        (NotifyType::IPCOMP_SUPPORTED, &[high, low, id]) => Some(format!("CPI {high:02x}{low:02x} {}", IpcompId(id))),
        (NotifyType::ADDITIONAL_IP4_ADDRESS, _) => Some(Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?).to_string()),
        (NotifyType::ADDITIONAL_IP6_ADDRESS, _) => Some(Ipv6Addr::from(<[u8; 16]>::try_from(data).ok()?).to_string()),
        (NotifyType::SIGNATURE_HASH_ALGORITHMS, _) if !data.is_empty() && data.len().is_multiple_of(2) => {
            let names: Vec<String> = data
                .as_chunks::<2>()
                .0
                .iter()
                .map(|pair| HashAlgorithm(u16::from_be_bytes(*pair)).to_string())
                .collect();
            Some(names.join(" "))
        }
        _ => None,
    }
}

/// A configuration attribute.
struct Attribute<'a>(&'a CfgAttribute);

impl fmt::Display for Attribute<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CfgAttribute { kind, value } = self.0;
        write!(f, "{kind}")?;
        match (*kind, value.as_slice()) {
            (_, []) => Ok(()),
            (
                CfgAttr::INTERNAL_IP4_ADDRESS
                | CfgAttr::INTERNAL_IP4_NETMASK
                | CfgAttr::INTERNAL_IP4_DNS
                | CfgAttr::INTERNAL_IP4_NBNS
                | CfgAttr::INTERNAL_IP4_DHCP
                | CfgAttr::P_CSCF_IP4_ADDRESS,
                &[a, b, c, d],
            ) => write!(f, " {}", Ipv4Addr::new(a, b, c, d)),
            (CfgAttr::INTERNAL_IP4_SUBNET, &[a, b, c, d, e, g, h, i]) => {
                let mask = u32::from_be_bytes([e, g, h, i]);
                let addr = Ipv4Addr::new(a, b, c, d);
                if mask.leading_ones() == mask.count_ones() {
                    write!(f, " {addr}/{}", mask.count_ones())
                } else {
                    write!(f, " {addr} mask {}", Ipv4Addr::from(mask))
                }
            }
            (CfgAttr::INTERNAL_IP6_ADDRESS | CfgAttr::INTERNAL_IP6_SUBNET, value) => {
                match value.split_first_chunk::<16>() {
                    Some((addr, &[prefix])) => write!(f, " {}/{prefix}", Ipv6Addr::from(*addr)),
                    _ => write!(f, " {}", Octets(value)),
                }
            }
            (CfgAttr::INTERNAL_IP6_DNS | CfgAttr::INTERNAL_IP6_DHCP | CfgAttr::P_CSCF_IP6_ADDRESS, value) => {
                match <[u8; 16]>::try_from(value) {
                    Ok(addr) => write!(f, " {}", Ipv6Addr::from(addr)),
                    Err(_) => write!(f, " {}", Octets(value)),
                }
            }
            (CfgAttr::SUPPORTED_ATTRIBUTES, value) if value.len().is_multiple_of(2) => value
                .as_chunks::<2>()
                .0
                .iter()
                .try_for_each(|pair| write!(f, " {}", CfgAttr(u16::from_be_bytes(*pair)))),
            (CfgAttr::APPLICATION_VERSION | CfgAttr::INTERNAL_DNS_DOMAIN, value) => write!(f, " \"{}\"", Text(value)),
            (_, value) => write!(f, " {}", Octets(value)),
        }
    }
}
