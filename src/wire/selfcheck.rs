//! What must hold for any octets, in one place for the fuzz target and the tests.

use super::dump::{Dump, summary};
use super::field::FieldMap;
use super::header::Header;
use super::message::{Decoded, Message, decode, decode_chain, encode_chain, encode_into};
use super::registry::PayloadType;

/// Decodes any octets as a datagram and as the inside of an SK payload, and asserts what the codec promises:
///
/// - no panic, and every offset and range inside the buffer;
/// - a message without a fault encodes to the same octets, reserved fields apart (they are ignored when read and
///   written as zero);
/// - what was encoded decodes to the same payloads;
/// - encoding with a field map gives the same octets as without, and the fields cover all of them once;
/// - dump and summary print something.
///
/// # Panics
/// When one of these does not hold: it is a check, for the fuzz target and for tests.
pub fn selfcheck(data: &[u8]) {
    match decode(data) {
        Ok(decoded) => datagram(data, &decoded),
        Err(error) => {
            assert!(data.len() < Header::LEN, "an error instead of a partial result: {error}");
            assert!(error.offset <= data.len(), "{error}");
        }
    }
    if let Some((&first, chain)) = data.split_first() {
        inner(PayloadType(first), chain);
    }
}

fn datagram(data: &[u8], decoded: &Decoded) {
    assert!(!Dump::decoded(decoded).to_string().is_empty());
    if let Some(sk) = &decoded.sk {
        assert!(sk.payload < sk.body.start && sk.body.start <= sk.body.end && sk.body.end <= data.len());
        inner(sk.first_inner, &data[sk.body.clone()]);
    }
    if let Some(error) = &decoded.error {
        assert!(error.offset <= data.len(), "{error}");
        assert!(!error.to_string().is_empty());
        return;
    }
    if let Some(sk) = &decoded.sk {
        let last_next = if sk.fragment.is_some() { PayloadType::SKF } else { PayloadType::SK };
        let mut map = FieldMap::new();
        let mut out = data[..Header::LEN].to_vec();
        let first = encode_chain(&mut out, &decoded.payloads, last_next, Some(&mut map), "");
        assert_eq!(first, decoded.header.next);
        assert_same(&data[..sk.payload], &out, &map);
        covered(&map, Header::LEN, out.len());
        return;
    }
    let message = Message::clear(decoded.header, decoded.payloads.clone());
    let mut map = FieldMap::new();
    let mut out = Vec::new();
    encode_into(&mut out, &message, Some(&mut map));
    assert_same(data, &out, &map);
    covered(&map, 0, out.len());
    let mut plain = Vec::new();
    encode_into(&mut plain, &message, None);
    assert_eq!(plain, out, "the field map changes the encoding");
    let again = decode(&out).expect("a whole message was encoded");
    assert_eq!(again.payloads, decoded.payloads);
    assert_eq!(again.error, None);
}

fn inner(first: PayloadType, chain: &[u8]) {
    let (payloads, error) = decode_chain(first, chain);
    for response in [false, true] {
        assert_eq!(summary(&payloads, response).is_empty(), payloads.is_empty());
    }
    if let Some(error) = error {
        assert!(error.offset <= chain.len(), "{error}");
        return;
    }
    let mut map = FieldMap::new();
    let mut out = Vec::new();
    let encoded_first = encode_chain(&mut out, &payloads, PayloadType::NONE, Some(&mut map), "");
    assert_eq!(encoded_first, first);
    assert_same(chain, &out, &map);
    covered(&map, 0, out.len());
    assert_eq!(decode_chain(first, &out), (payloads, None));
}

/// Compares input and re-encoding, reserved fields of the input taken as zero, apart from those that AUTH covers.
fn assert_same(input: &[u8], encoded: &[u8], map: &FieldMap) {
    let mut input = input.to_vec();
    for field in map.leaves() {
        let Some(octets) = input.get_mut(field.offset..field.offset + field.len) else { continue };
        let (parent, name) = field.path.rsplit_once('.').unwrap_or(("", &field.path));
        match name {
            "reserved" if parent.starts_with("id") => {}
            "reserved" | "reserved2" => octets.fill(0),
            // Ignored on a payload that is understood, kept on one that is not.
            "critical" => octets[0] &= if parent.starts_with("raw") { 0x80 } else { 0 },
            "type" if parent.starts_with("cp") && parent.contains("attribute") => octets[0] &= 0x7f,
            _ => {}
        }
    }
    assert_eq!(input, encoded, "re-encoding differs");
}

/// The fields without fields of their own follow each other without gap or overlap.
fn covered(map: &FieldMap, start: usize, end: usize) {
    let mut at = start;
    for field in map.leaves() {
        assert_eq!(field.offset, at, "{}", field.path);
        at += field.len;
    }
    assert_eq!(at, end);
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::{env, fs};

    use super::super::testing::corpus;
    use super::*;

    /// The seed corpus in `fuzz/corpus/decode` is what the samples encode to. After a change of them run this with
    /// `IKELAB_WRITE_CORPUS=1` to write it anew.
    #[test]
    fn the_seed_corpus_is_current() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/decode");
        let write = env::var_os("IKELAB_WRITE_CORPUS").is_some();
        for (name, bytes) in corpus() {
            selfcheck(&bytes);
            let faulty = decode(&bytes).map_or(true, |decoded| decoded.error.is_some());
            assert_eq!(faulty, name.starts_with("bad-") || name.ends_with("-chain"), "{name}");
            if write {
                fs::create_dir_all(&directory).expect("the directory can be made");
                fs::write(directory.join(name), &bytes).expect("the file can be written");
            }
            assert_eq!(fs::read(directory.join(name)).ok().as_deref(), Some(&bytes[..]), "{name}");
        }
    }

    #[test]
    fn reserved_bits_are_the_only_difference_allowed() {
        let (_, mut bytes) =
            corpus().into_iter().find(|(name, _)| *name == "sa-init-request").expect("a sample of that name");
        let mut map = FieldMap::new();
        let decoded = decode(&bytes).expect("a header");
        let mut out = Vec::new();
        encode_into(&mut out, &Message::clear(decoded.header, decoded.payloads), Some(&mut map));
        let at = |path: &str| map.get(path).expect("a field").offset;
        bytes[at("ke.reserved")] ^= 1;
        assert_same(&bytes, &out, &map);
        bytes[at("ke.data")] ^= 1;
        assert!(std::panic::catch_unwind(|| assert_same(&bytes, &out, &map)).is_err(), "the check can fail");
    }
}
