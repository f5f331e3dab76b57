//! Distinguished names (RFC 5280 4.1.2.4) as text and as DER, in the order in which they stand in a certificate:
//! `C=CH, O=Lab, CN=gw.example`.

use x509_parser::der_parser::asn1_rs::{Any, Tag};
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Name;

/// Attribute types with a usual short name: the name, the OID in dots, and its DER content.
const TYPES: &[(&str, &str, &[u8])] = &[
    ("CN", "2.5.4.3", &[0x55, 4, 3]),
    ("C", "2.5.4.6", &[0x55, 4, 6]),
    ("ST", "2.5.4.8", &[0x55, 4, 8]),
    ("L", "2.5.4.7", &[0x55, 4, 7]),
    ("street", "2.5.4.9", &[0x55, 4, 9]),
    ("O", "2.5.4.10", &[0x55, 4, 10]),
    ("OU", "2.5.4.11", &[0x55, 4, 11]),
    ("serialNumber", "2.5.4.5", &[0x55, 4, 5]),
    ("SN", "2.5.4.4", &[0x55, 4, 4]),
    ("T", "2.5.4.12", &[0x55, 4, 12]),
    ("GN", "2.5.4.42", &[0x55, 4, 42]),
    ("dnQualifier", "2.5.4.46", &[0x55, 4, 46]),
    ("emailAddress", "1.2.840.113549.1.9.1", &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1]),
    ("unstructuredName", "1.2.840.113549.1.9.2", &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 2]),
    ("unstructuredAddress", "1.2.840.113549.1.9.8", &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 8]),
    ("DC", "0.9.2342.19200300.100.1.25", &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25]),
    ("UID", "0.9.2342.19200300.100.1.1", &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1]),
];

/// Other spellings of the names in [`TYPES`].
const SPELLINGS: &[(&str, &str)] = &[("E", "emailAddress"), ("email", "emailAddress"), ("S", "ST"), ("G", "GN")];

/// The text of a DER name; `None` if it is not one. An empty name is empty text.
pub fn dn_text(der: &[u8]) -> Option<String> {
    let name = parse(der)?;
    let mut text = String::new();
    for rdn in name.iter_rdn() {
        for (at, attribute) in rdn.iter().enumerate() {
            if !text.is_empty() {
                text.push_str(if at == 0 { ", " } else { " + " });
            }
            let oid = attribute.attr_type().to_id_string();
            let short = TYPES.iter().find(|(_, dots, _)| *dots == oid).map(|(short, _, _)| *short);
            text.push_str(short.unwrap_or(&oid));
            text.push('=');
            match value_text(attribute.attr_value()) {
                Some(value) => escape(&value, &mut text),
                None => attribute.as_slice().iter().for_each(|octet| text.push_str(&format!("{octet:02x}"))),
            }
        }
    }
    Some(text)
}

/// The DER of a name from text like `C=CH, O=Lab, CN=gw`. `\` takes a comma or an equals sign literally.
pub fn dn_from_text(text: &str) -> Result<Vec<u8>, String> {
    let mut sequence = Vec::new();
    for piece in split(text, ',') {
        let piece = piece.trim();
        let (name, value) = piece.split_once('=').ok_or_else(|| format!("`{piece}` is not NAME=VALUE"))?;
        let (name, value) = (name.trim(), unescape(value.trim()));
        if value.is_empty() {
            return Err(format!("`{piece}` has no value"));
        }
        let long = SPELLINGS.iter().find(|(s, _)| s.eq_ignore_ascii_case(name)).map_or(name, |(_, long)| *long);
        let known = TYPES.iter().find(|(short, dots, _)| short.eq_ignore_ascii_case(long) || *dots == long);
        let (short, _, oid) = known.ok_or_else(|| {
            let names: Vec<_> = TYPES.iter().map(|(short, _, _)| *short).collect();
            format!("unknown attribute `{name}` in a distinguished name; known are {}", names.join(", "))
        })?;
        let tag = match *short {
            "C" | "serialNumber" | "dnQualifier" => Tag::PrintableString,
            "emailAddress" | "DC" | "unstructuredName" => Tag::Ia5String,
            _ => Tag::Utf8String,
        };
        let mut attribute = element(0x06, oid);
        attribute.extend(element(tag.0 as u8, value.as_bytes()));
        sequence.extend(element(0x31, &element(0x30, &attribute)));
    }
    Ok(element(0x30, &sequence))
}

/// Whether two DER names are the same name (RFC 5280 7.1): the same attributes in the same order, texts without regard to
/// their string type, to letter case and to how many blanks there are.
pub fn same_dn(one: &[u8], two: &[u8]) -> bool {
    if one == two {
        return true;
    }
    let (Some(one), Some(two)) = (parse(one), parse(two)) else { return false };
    let key = |name: &X509Name<'_>| -> Vec<Vec<(String, Vec<u8>)>> {
        let attribute = |a: &x509_parser::x509::AttributeTypeAndValue<'_>| {
            let value = match value_text(a.attr_value()) {
                Some(text) => text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase().into_bytes(),
                None => a.as_slice().to_vec(),
            };
            (a.attr_type().to_id_string(), value)
        };
        name.iter_rdn().map(|rdn| rdn.iter().map(attribute).collect()).collect()
    };
    key(&one) == key(&two)
}

/// The values of one attribute type, by its short name, in a DER name.
pub fn dn_values(der: &[u8], short: &str) -> Vec<String> {
    let Some(name) = parse(der) else { return Vec::new() };
    let Some((_, dots, _)) = TYPES.iter().find(|(s, _, _)| *s == short) else { return Vec::new() };
    let of_type = |a: &&x509_parser::x509::AttributeTypeAndValue<'_>| a.attr_type().to_id_string() == *dots;
    name.iter_attributes().filter(of_type).filter_map(|a| value_text(a.attr_value())).collect()
}

fn parse(der: &[u8]) -> Option<X509Name<'_>> {
    let (rest, name) = X509Name::from_der(der).ok()?;
    rest.is_empty().then_some(name)
}

/// The text of a string value of any type.
fn value_text(value: &Any<'_>) -> Option<String> {
    match value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::NumericString => {
            String::from_utf8(value.data.to_vec()).ok()
        }
        Tag::TeletexString => Some(value.data.iter().map(|octet| char::from(*octet)).collect()),
        Tag::BmpString => {
            let (units, []) = value.data.as_chunks::<2>() else { return None };
            String::from_utf16(&units.iter().map(|u| u16::from_be_bytes(*u)).collect::<Vec<_>>()).ok()
        }
        _ => None,
    }
}

fn escape(value: &str, text: &mut String) {
    for c in value.chars() {
        if matches!(c, ',' | '\\') {
            text.push('\\');
        }
        // A name in a log must not move the cursor.
        text.push(if c.is_control() { '?' } else { c });
    }
}

fn unescape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        out.push(if c == '\\' { chars.next().unwrap_or('\\') } else { c });
    }
    out
}

/// Cuts at a separator that no `\` stands before.
fn split(text: &str, separator: char) -> Vec<&str> {
    let mut pieces = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, c) in text.char_indices() {
        if c == separator && !escaped {
            pieces.push(&text[start..at]);
            start = at + c.len_utf8();
        }
        escaped = c == '\\' && !escaped;
    }
    pieces.push(&text[start..]);
    pieces
}

/// A DER element.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut der = vec![tag];
    let len = content.len();
    match len {
        0..=0x7f => der.push(len as u8),
        0x80..=0xff => der.extend([0x81, len as u8]),
        _ => der.extend([0x82, (len >> 8) as u8, len as u8]),
    }
    der.extend_from_slice(content);
    der
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_der_are_inverse() {
        for text in
            ["C=CH, O=Lab, CN=gw.example", "DC=example, DC=lab, CN=a\\, b", "CN=x, emailAddress=a@b", "O=Zürich AG"]
        {
            let der = dn_from_text(text).expect("a name");
            assert_eq!(dn_text(&der).as_deref(), Some(text));
        }
        let spaced = dn_from_text("c = CH,o=Lab , E=me@lab").expect("a name");
        assert_eq!(dn_text(&spaced).as_deref(), Some("C=CH, O=Lab, emailAddress=me@lab"));
        assert_eq!(dn_text(&[0x30, 0]).as_deref(), Some(""));
        assert_eq!(dn_text(&[0x30, 1]), None);
        assert_eq!(dn_values(&spaced, "emailAddress"), ["me@lab"]);
        assert!(dn_from_text("gw.example").unwrap_err().contains("NAME=VALUE"));
        assert!(dn_from_text("XY=1").unwrap_err().contains("unknown attribute `XY`"));
        assert!(dn_from_text("CN=").unwrap_err().contains("no value"));
    }

    #[test]
    fn names_are_compared_by_meaning() {
        let der = |text| dn_from_text(text).expect("a name");
        assert!(same_dn(&der("O=Lab, CN=GW one"), &der("O=lab, CN=gw  One")));
        assert!(!same_dn(&der("O=Lab, CN=gw"), &der("CN=gw, O=Lab")));
        assert!(!same_dn(&der("CN=gw"), &der("CN=gx")));
        assert!(!same_dn(&der("CN=gw"), b"CN=gw"));
        // PrintableString against UTF8String.
        let printable = [0x30, 13, 0x31, 11, 0x30, 9, 0x06, 3, 0x55, 4, 3, 0x13, 2, b'g', b'w'];
        assert!(same_dn(&printable, &der("CN=gw")));
    }
}
