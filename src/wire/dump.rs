//! Messages as text: many lines for reading, one line for a ladder.

mod value;

use std::fmt::{self, Write};

use super::error::WireError;
use super::header::Header;
use super::message::{Decoded, Message, SkRef};
use super::payload::Payload;
use super::registry::{CfgType, NotifyType, PayloadType, ProtocolId};

pub(super) use value::{Hex, Text};

/// A message as an engineer reads it, by `Display`, one payload per line or block. What could be decoded is named;
/// the rest is hex. Authentication Data and EAP contents are left out.
#[derive(Clone, Debug)]
pub struct Dump<'a> {
    header: &'a Header,
    outer: &'a [Payload],
    sk: Option<&'a SkRef>,
    inner: Option<&'a [Payload]>,
    error: Option<&'a WireError>,
    inner_error: Option<&'a WireError>,
}

impl<'a> Dump<'a> {
    /// Of a received datagram; add what was inside its SK payload with [`Dump::inner`].
    pub fn decoded(decoded: &'a Decoded) -> Self {
        Self {
            header: &decoded.header,
            outer: &decoded.payloads,
            sk: decoded.sk.as_ref(),
            inner: None,
            error: decoded.error.as_ref(),
            inner_error: None,
        }
    }

    /// Of a message before encoding. The header's length is left out, since the encoder sets it.
    pub fn message(message: &'a Message) -> Self {
        Self {
            header: &message.header,
            outer: &message.outer,
            sk: None,
            inner: message.sk.as_deref(),
            error: None,
            inner_error: None,
        }
    }

    /// With the decrypted payloads, and the fault in them if there is one.
    pub fn inner(mut self, payloads: &'a [Payload], error: Option<&'a WireError>) -> Self {
        self.inner = Some(payloads);
        self.inner_error = error;
        self
    }
}

impl fmt::Display for Dump<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = self.header;
        let direction = if header.flags.is_response() { "response" } else { "request" };
        let sender = if header.flags.is_initiator() { "initiator" } else { "responder" };
        write!(f, "{} {direction} #{} of the original {sender}", header.exchange, header.message_id)?;
        if self.sk.is_some() || self.inner.is_none() {
            write!(f, ", {} octets", header.length)?;
        }
        if header.version != 0x20 {
            write!(f, ", IKE {}.{}", header.major(), header.minor())?;
        }
        if header.flags.0 & !0x28 != 0 {
            write!(f, ", flags {:#04x}", header.flags.0)?;
        }
        write!(f, "\n  SPIi {}  SPIr {}\n", header.spi_i, header.spi_r)?;
        payload_lines(f, self.outer, 2, header.flags.is_response())?;
        if let Some(error) = self.error {
            writeln!(f, "  ! {error}")?;
        }
        if let Some(sk) = self.sk {
            let octets = sk.body.len();
            match sk.fragment {
                Some(part) => write!(f, "  SKF fragment {} of {}, {octets} octets protected", part.number, part.total)?,
                None => write!(f, "  SK, {octets} octets protected")?,
            }
            writeln!(f, ", {} first{}", sk.first_inner, if sk.critical { ", critical" } else { "" })?;
        } else if self.inner.is_some() {
            writeln!(f, "  SK")?;
        }
        if let Some(inner) = self.inner {
            payload_lines(f, inner, 4, header.flags.is_response())?;
            if let Some(error) = self.inner_error {
                writeln!(f, "    ! inside SK: {error}")?;
            }
        }
        Ok(())
    }
}

fn payload_lines(f: &mut fmt::Formatter<'_>, payloads: &[Payload], indent: usize, response: bool) -> fmt::Result {
    for payload in payloads {
        write!(f, "{:indent$}", "")?;
        if let Payload::Sa(sa) = payload {
            writeln!(f, "SA")?;
            for proposal in &sa.proposals {
                writeln!(f, "{:indent$}  {proposal}", "")?;
            }
        } else {
            writeln!(f, "{}", value::Line { payload, response })?;
        }
    }
    Ok(())
}

/// One line for an exchange ladder: `SA KE(ecp384) Ni N(NATD x2) N(FRAG)`. Equal neighbours are counted. `response`
/// decides whether a nonce is Ni or Nr: it is the answerer's.
pub fn summary(payloads: &[Payload], response: bool) -> String {
    let mut line = String::new();
    let mut rest = payloads;
    while let Some((payload, behind)) = rest.split_first() {
        let token = token(payload, response);
        let more = behind.iter().take_while(|other| self::token(other, response) == token).count();
        rest = &behind[more..];
        if !line.is_empty() {
            line.push(' ');
        }
        match (more, token.strip_suffix(')')) {
            (0, _) => line.push_str(&token),
            (more, Some(open)) => write!(line, "{open} x{})", more + 1).expect("a String takes any text"),
            (more, None) => write!(line, "{token} x{}", more + 1).expect("a String takes any text"),
        }
    }
    line
}

/// The notation of RFC 7296 1.2, with what matters most in parentheses.
fn token(payload: &Payload, response: bool) -> String {
    match payload {
        Payload::Sa(_) => "SA".to_owned(),
        Payload::Ke(ke) => format!("KE({})", ke.group.short()),
        Payload::Nonce(_) => if response { "Nr" } else { "Ni" }.to_owned(),
        Payload::Notify(notify) => {
            let name = notify.kind.short();
            match value::notify_data(notify) {
                Some(data) if notify.kind == NotifyType::INVALID_KE_PAYLOAD => format!("N({name}: {data})"),
                Some(data) if notify.kind == NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD => format!("N({name}: {data})"),
                _ => format!("N({name})"),
            }
        }
        Payload::Delete(delete) if delete.protocol == ProtocolId::IKE => "D(IKE)".to_owned(),
        Payload::Delete(delete) => match delete.spis.as_slice() {
            [spi] => format!("D({} {})", delete.protocol, Hex(spi)),
            spis => format!("D({}, {} SPIs)", delete.protocol, spis.len()),
        },
        Payload::Vendor(_) => "V".to_owned(),
        Payload::Cp(cp) => match cp.kind {
            CfgType::CFG_REQUEST => "CP(REQUEST)".to_owned(),
            CfgType::CFG_REPLY => "CP(REPLY)".to_owned(),
            CfgType::CFG_SET => "CP(SET)".to_owned(),
            CfgType::CFG_ACK => "CP(ACK)".to_owned(),
            other => format!("CP({})", other.0),
        },
        Payload::Raw(raw) => {
            let critical = if raw.critical { " critical" } else { "" };
            match raw.kind.name() {
                Some(name) => format!("{name}(raw{critical})"),
                None => format!("P{}({}{critical})", raw.kind.0, raw.body.len()),
            }
        }
        other => other.kind().name().map_or_else(|| PayloadType::NONE.to_string(), str::to_owned),
    }
}
