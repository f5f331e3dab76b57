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

#[cfg(test)]
mod tests {
    use super::super::registry::{CfgAttr, CfgType, KeMethod, NotifyType, PayloadType};
    use super::super::testing::{encoded, ike_auth, informational, sa_init, with_encrypted};
    use super::super::*;

    #[test]
    fn a_request_reads_top_down() {
        let text = Dump::decoded(&decode(&encoded(&sa_init())).expect("a header")).to_string();
        let expected = "\
IKE_SA_INIT request #0 of the original initiator, 365 octets
  SPIi 0102030405060708  SPIr 0000000000000000
  SA
    #1 IKE: AES_CBC_256 HMAC_SHA2_256_128 PRF_HMAC_SHA2_256 MODP_2048
    #2 IKE: AES_GCM_16_128/AES_GCM_16_256 PRF_HMAC_SHA2_384 ECP_384/CURVE25519
  KE ecp384, 96 octets: 0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20...
  Ni, 32 octets: 404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f
  Notify NAT_DETECTION_SOURCE_IP, 20 octets: 606162636465666768696a6b6c6d6e6f70717273
  Notify NAT_DETECTION_DESTINATION_IP, 20 octets: 808182838485868788898a8b8c8d8e8f90919293
  Notify IKEV2_FRAGMENTATION_SUPPORTED
  Notify SIGNATURE_HASH_ALGORITHMS: SHA2_256 SHA2_384 Identity
  Vendor ID \"ikelab test\"
";
        assert_eq!(text, expected);
    }

    #[test]
    fn the_inside_stands_below_sk() {
        let bytes = with_encrypted(PayloadType::SK, PayloadType::IDI, &[0; 64]);
        let decoded = decode(&bytes).expect("a header");
        let (inner, fault) = (ike_auth(), decode_chain(PayloadType::KE, &[0]).1);
        let text = Dump::decoded(&decoded).inner(&inner, fault.as_ref()).to_string();
        let expected = "\
IKE_AUTH request #1 of the original initiator, 96 octets
  SPIi 0102030405060708  SPIr 1122334455667788
  SK, 64 octets protected, IDi first
    IDi ipv4:203.0.113.10
    CERT X.509 Certificate - Signature, 40 octets
    Notify INITIAL_CONTACT
    CERTREQ X.509 Certificate - Signature
      000102030405060708090a0b0c0d0e0f10111213
      1415161718191a1b1c1d1e1f2021222324252627
    IDr fqdn:gw.example
    AUTH Shared Key Message Integrity Code, 32 octets
    CP CFG_REQUEST
      INTERNAL_IP4_ADDRESS
      INTERNAL_IP4_SUBNET 10.0.0.0/8
    SA
      #1 ESP spi c0ffee01: AES_CBC_256 HMAC_SHA2_256_128 NO_ESN
    TSi 10.10.10.7/32[tcp/80], 10.10.10.0/24
    TSr ::/0, TS_SECLABEL:6c6162656c
    ! inside SK: KE payload, octet 0: a payload is announced here and needs 4 octets for its header, 1 remain
";
        assert_eq!(text, expected);
        let message = Message { header: decoded.header, outer: vec![], sk: Some(inner) };
        let text = Dump::message(&message).to_string();
        assert!(text.contains("#1 of the original initiator\n") && text.contains("  SK\n    IDi ipv4:203.0.113.10\n"));
    }

    #[test]
    fn what_is_not_understood_is_hex_and_faults_are_marked() {
        let mut header = sa_init().header;
        (header.version, header.flags) = (0x35, Flags(0x2c));
        let bytes = encoded(&Message::clear(header, informational()));
        let mut decoded = decode(&bytes).expect("a header");
        decoded.error = decode(&bytes[..28]).expect("a header").error;
        let text = Dump::decoded(&decoded).to_string();
        let expected = format!(
            "\
IKE_SA_INIT response #0 of the original initiator, {0} octets, IKE 3.5, flags 0x2c
  SPIi 0102030405060708  SPIr 0000000000000000
  Delete ESP c0ffee01 c0ffee02
  Delete IKE
  Notify REKEY_SA ESP spi c0ffee01
  EAP request id 7 type 26 (MSCHAPv2), 6 octets
  payload of type 200, critical, 2 octets: dead
  GSPM payload, not decoded, empty
  SA
    #1 protocol 9 spi 0102030405060708: transform 77 65000{{attribute 99=010203}}
  ! IKE header, octet 24: Length says {0} octets, the datagram has 28
",
            bytes.len()
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn a_fragment_says_which_it_is() {
        let body = [0, 2, 0, 3, 1, 2, 3, 4];
        let text =
            Dump::decoded(&decode(&with_encrypted(PayloadType::SKF, PayloadType::NONE, &body)).expect("a header"))
                .to_string();
        assert!(text.ends_with("  SKF fragment 2 of 3, 4 octets protected, NONE first\n"), "{text}");
    }

    #[test]
    fn summaries_fit_a_ladder() {
        assert_eq!(summary(&sa_init().outer, false), "SA KE(ecp384) Ni N(NATD x2) N(FRAG) N(HASH_ALG) V");
        assert_eq!(summary(&ike_auth(), false), "IDi CERT N(INITIAL_CONTACT) CERTREQ IDr AUTH CP(REQUEST) SA TSi TSr");
        assert_eq!(
            summary(&informational(), false),
            "D(ESP, 2 SPIs) D(IKE) N(REKEY_SA) EAP P200(2 critical) GSPM(raw) SA"
        );
        let invalid_ke = NotifyPayload::with_data(NotifyType::INVALID_KE_PAYLOAD, KeMethod::ECP_256.0.to_be_bytes());
        let payloads: Vec<Payload> = vec![
            NoncePayload { data: vec![] }.into(),
            invalid_ke.into(),
            VendorIdPayload { data: vec![1] }.into(),
            VendorIdPayload { data: vec![2] }.into(),
            VendorIdPayload { data: vec![3] }.into(),
            DeletePayload::esp(&[0xab]).into(),
            NotifyPayload::new(NotifyType(41234)).into(),
        ];
        assert_eq!(summary(&payloads, true), "Nr N(INVALID_KE_PAYLOAD: ecp256) V x3 D(ESP 000000ab) N(41234)");
        assert_eq!(summary(&[], true), "");
    }

    #[test]
    fn configuration_values_are_addresses() {
        let cp = |kind, value: &[u8]| {
            let attributes = vec![CfgAttribute { kind, value: value.to_vec() }];
            let message =
                Message::clear(sa_init().header, vec![CpPayload { kind: CfgType::CFG_REPLY, attributes }.into()]);
            let text = Dump::message(&message).to_string();
            text.lines().last().expect("a line").trim().to_owned()
        };
        let v6 = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        assert_eq!(cp(CfgAttr::INTERNAL_IP4_DNS, &[9, 9, 9, 9]), "INTERNAL_IP4_DNS 9.9.9.9");
        assert_eq!(cp(CfgAttr::INTERNAL_IP4_DNS, &[9, 9]), "INTERNAL_IP4_DNS 2 octets: 0909");
        assert_eq!(
            cp(CfgAttr::INTERNAL_IP4_SUBNET, &[10, 0, 0, 0, 255, 0, 255, 0]),
            "INTERNAL_IP4_SUBNET 10.0.0.0 mask 255.0.255.0"
        );
        assert_eq!(
            cp(CfgAttr::INTERNAL_IP6_ADDRESS, &[&v6[..], &[64]].concat()),
            "INTERNAL_IP6_ADDRESS 2001:db8::1/64"
        );
        assert_eq!(cp(CfgAttr::INTERNAL_IP6_DNS, &v6), "INTERNAL_IP6_DNS 2001:db8::1");
        assert_eq!(cp(CfgAttr::APPLICATION_VERSION, b"box 1.2"), "APPLICATION_VERSION \"box 1.2\"");
        assert_eq!(
            cp(CfgAttr::SUPPORTED_ATTRIBUTES, &[0, 1, 0, 3]),
            "SUPPORTED_ATTRIBUTES INTERNAL_IP4_ADDRESS INTERNAL_IP4_DNS"
        );
        assert_eq!(cp(CfgAttr(20000), &[1]), "CFG attribute 20000 1 octet: 01");
    }

    #[test]
    fn eap_contents_stay_out_of_text() {
        let eap = EapPayload { data: b"\x02\x01\x00\x0b\x06secret".to_vec() };
        let message = Message::clear(sa_init().header, vec![eap.clone().into()]);
        for text in [format!("{eap:?}"), eap.to_string(), Dump::message(&message).to_string()] {
            assert!(text.contains("response id 1 type 6 (GTC), 11 octets"), "{text}");
            assert!(!text.contains("secret") && !text.contains("736563"), "{text}");
        }
    }
}
