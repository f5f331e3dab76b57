//! Where every field of an encoded message is, and edits of fields by name.

/// The fields of an encoded message, in the order of their octets; a structure comes before its fields.
///
/// Paths read `header.length`, `sa.proposal[0].transform[2].length`, `notify[1].type`, `ke.data`. Every payload has
/// `next`, `critical` and `length`. Payloads that often come in several (Notify, Vendor ID, Delete, CERT, CERTREQ, and
/// unknown ones as `raw`) are always numbered, the others from their second occurrence; a lookup takes `[0]` and
/// nothing as the same.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FieldMap(Vec<Field>);

/// One field or structure.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Field {
    /// Its path.
    pub path: String,
    /// Index of its first octet in the buffer that was encoded into.
    pub offset: usize,
    /// Octets; 0 for an empty field such as the SPI of an IKE_SA_INIT proposal.
    pub len: usize,
}

/// A change of one field, after encoding. Lengths elsewhere are not repaired: that is the point.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)] // path, value, delta, mask
pub enum FieldEdit {
    /// Writes these octets; exactly as many as the field has.
    Set { path: String, value: Vec<u8> },
    /// Adds to the field as a big-endian number, wrapping at its width.
    Add { path: String, delta: i64 },
    /// Flips the bits of the mask, which stands at the field's start and may be shorter than it.
    Xor { path: String, mask: Vec<u8> },
}

impl FieldMap {
    /// Empty, to hand to an encoder.
    pub fn new() -> Self {
        Self::default()
    }

    /// The field of this path. Of two with the same path (two chains encoded without prefixes) the first.
    pub fn get(&self, path: &str) -> Option<&Field> {
        self.0.iter().find(|field| field.path == path).or_else(|| {
            let wanted = unnumbered(path);
            self.0.iter().find(|field| unnumbered(&field.path) == wanted)
        })
    }

    /// The path most like this one, for "did you mean"; `None` when nothing is near.
    pub fn nearest(&self, path: &str) -> Option<&str> {
        self.0
            .iter()
            .map(|field| (strsim::jaro_winkler(&field.path, path), field.path.as_str()))
            .filter(|(score, _)| *score > 0.7)
            .max_by(|one, two| one.0.total_cmp(&two.0))
            .map(|(_, path)| path)
    }

    /// Every field and structure.
    pub fn iter(&self) -> impl Iterator<Item = &Field> {
        self.0.iter()
    }

    /// The fields that have no fields of their own. Together they cover every octet once.
    pub fn leaves(&self) -> impl Iterator<Item = &Field> {
        self.0.iter().enumerate().filter_map(|(at, field)| {
            let inner = self.0.get(at + 1).and_then(|next| next.path.strip_prefix(field.path.as_str()));
            (!inner.is_some_and(|rest| rest.starts_with('.'))).then_some(field)
        })
    }

    /// Number of fields and structures.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was encoded into it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Moves every field that begins at or after `from` by `by` octets, when octets were put in before it.
    pub fn shift(&mut self, from: usize, by: isize) {
        for field in self.0.iter_mut().filter(|field| field.offset >= from) {
            field.offset = field.offset.saturating_add_signed(by);
        }
    }

    /// Adds a field that the encoders here do not know, such as an IV.
    pub fn push(&mut self, path: String, offset: usize, len: usize) {
        self.0.push(Field { path, offset, len });
    }

    /// Fills in the length of the structure that was pushed last with this path and offset.
    pub(super) fn close(&mut self, path: &str, offset: usize, len: usize) {
        if let Some(field) = self.0.iter_mut().rfind(|field| field.offset == offset && field.path == path) {
            field.len = len;
        }
    }
}

impl FieldEdit {
    /// The path it names.
    pub fn path(&self) -> &str {
        match self {
            Self::Set { path, .. } | Self::Add { path, .. } | Self::Xor { path, .. } => path,
        }
    }

    /// Changes the field in `bytes`, the buffer that `map` describes.
    ///
    /// # Errors
    /// A sentence for a person, when there is no such field, the value does not fit it, or it is not inside `bytes`.
    /// Nothing is changed then.
    pub fn apply(&self, map: &FieldMap, bytes: &mut [u8]) -> Result<(), String> {
        let path = self.path();
        let Some(field) = map.get(path) else {
            let hint = map.nearest(path).map(|near| format!("; did you mean {near:?}?")).unwrap_or_default();
            return Err(format!("no field {path:?} in this message{hint}"));
        };
        let (start, len) = (field.offset, field.len);
        let end = start.checked_add(len);
        let Some(target) = end.and_then(|end| bytes.get_mut(start..end)) else {
            return Err(format!("field {path:?} ends past the {} octets of this message", bytes.len()));
        };
        match self {
            Self::Set { value, .. } => {
                if value.len() != len {
                    return Err(format!("field {path:?} has {len} octets, the value {}", value.len()));
                }
                target.copy_from_slice(value);
            }
            Self::Add { delta, .. } => {
                if len == 0 {
                    return Err(format!("field {path:?} is empty: there is nothing to add to"));
                }
                add(target, *delta);
            }
            Self::Xor { mask, .. } => {
                if mask.len() > len {
                    return Err(format!("field {path:?} has {len} octets, the mask {}", mask.len()));
                }
                for (octet, bits) in target.iter_mut().zip(mask) {
                    *octet ^= bits;
                }
            }
        }
        Ok(())
    }
}

/// Adds to a big-endian number of any width, wrapping.
fn add(number: &mut [u8], delta: i64) {
    // The delta, sign-extended without end, is added octet by octet from the last one.
    let mut rest = i128::from(delta);
    for octet in number.iter_mut().rev() {
        let sum = i128::from(*octet) + (rest & 0xff);
        *octet = sum as u8;
        rest = (rest >> 8) + (sum >> 8);
    }
}

/// The path with every `[0]` left out.
fn unnumbered(path: &str) -> String {
    path.replace("[0]", "")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::registry::PayloadType;
    use super::super::testing::{any_message, ike_auth, informational, sa_init};
    use super::super::{Header, Message, Payload, encode_chain, encode_into};
    use super::*;

    fn mapped(message: &Message) -> (FieldMap, Vec<u8>) {
        let (mut map, mut bytes) = (FieldMap::new(), Vec::new());
        encode_into(&mut bytes, message, Some(&mut map));
        (map, bytes)
    }

    fn mapped_chain(payloads: &[Payload]) -> (FieldMap, Vec<u8>) {
        let (mut map, mut bytes) = (FieldMap::new(), Vec::new());
        encode_chain(&mut bytes, payloads, PayloadType::NONE, Some(&mut map), "");
        (map, bytes)
    }

    /// The paths of the leaves below `structure`, without it.
    fn names(map: &FieldMap, structure: &str) -> String {
        let below: Vec<&str> = map
            .leaves()
            .filter_map(|field| field.path.strip_prefix(structure).and_then(|rest| rest.strip_prefix('.')))
            .collect();
        below.join(" ")
    }

    #[test]
    fn every_payload_kind_has_its_fields() {
        let (map, _) = mapped(&sa_init());
        let transform = "last reserved length type reserved2 id";
        assert_eq!(names(&map, "header"), "spi_i spi_r next version exchange flags message_id length");
        assert_eq!(names(&map, "sa.proposal[1].transform[2]"), transform);
        assert_eq!(
            names(&map, "sa.proposal[0].transform[0]"),
            format!("{transform} attribute[0].type attribute[0].value")
        );
        assert!(
            names(&map, "sa.proposal[0]").starts_with("last reserved length number protocol spi_size transforms spi ")
        );
        assert!(names(&map, "sa").starts_with("next critical length proposal[0].last "));
        assert_eq!(names(&map, "ke"), "next critical length group reserved data");
        assert_eq!(names(&map, "nonce"), "next critical length data");
        assert_eq!(names(&map, "notify[3]"), "next critical length protocol spi_size type spi data");
        assert_eq!(names(&map, "vendor[0]"), "next critical length data");

        let (map, _) = mapped_chain(&ike_auth());
        for id in ["idi", "idr"] {
            assert_eq!(names(&map, id), "next critical length type reserved data");
        }
        for cert in ["cert[0]", "certreq[0]"] {
            assert_eq!(names(&map, cert), "next critical length encoding data");
        }
        assert_eq!(names(&map, "auth"), "next critical length method reserved data");
        assert_eq!(
            names(&map, "cp"),
            "next critical length type reserved attribute[0].type attribute[0].length attribute[0].value \
             attribute[1].type attribute[1].length attribute[1].value"
        );
        let selector = "type protocol length start_port end_port start_addr end_addr";
        assert_eq!(names(&map, "tsi.selector[1]"), selector);
        assert_eq!(names(&map, "tsr.selector[0]"), selector);
        assert_eq!(names(&map, "tsr.selector[1]"), "type protocol length body");
        assert!(names(&map, "tsi").starts_with("next critical length count reserved selector[0].type "));

        let (map, _) = mapped_chain(&informational());
        assert_eq!(names(&map, "delete[0]"), "next critical length protocol spi_size count spi[0] spi[1]");
        assert_eq!(names(&map, "delete[1]"), "next critical length protocol spi_size count");
        assert_eq!(names(&map, "eap"), "next critical length data");
        assert_eq!(names(&map, "raw[0]"), "next critical length data");
        assert_eq!(names(&map, "raw[1]"), "next critical length data");
        assert_eq!(
            names(&map, "sa.proposal[0].transform[0].attribute[0]"),
            "type length value",
            "the long format has a length"
        );
    }

    #[test]
    fn fields_stand_where_the_rfc_puts_them() {
        let (map, bytes) = mapped(&sa_init());
        let at = |path: &str| {
            let field = map.get(path).expect("a field");
            (field.offset, field.len)
        };
        assert_eq!(at("header"), (0, Header::LEN));
        assert_eq!(at("header.message_id"), (20, 4));
        assert_eq!(at("sa.length"), (30, 2));
        assert_eq!(at("sa.proposal[0].spi"), (40, 0));
        assert_eq!(at("sa.proposal[0].transform[0].attribute[0].value"), (50, 2));
        let sa = map.get("sa").expect("the payload itself");
        assert_eq!((sa.offset, sa.len), (28, usize::from(u16::from_be_bytes([bytes[30], bytes[31]]))));
        let ke = map.get("ke.data").expect("a field");
        assert_eq!(&bytes[ke.offset..ke.offset + 3], &[1, 2, 3]);
    }

    #[test]
    fn repeated_payloads_are_numbered_and_zero_may_be_left_out() {
        let ke = || super::super::KePayload { group: super::super::registry::KeMethod::NONE, data: vec![] }.into();
        let (map, _) = mapped_chain(&[ke(), ke()]);
        assert!(map.get("ke.group").expect("the first").offset < map.get("ke[1].group").expect("the second").offset);
        assert_eq!(map.get("ke[0].group"), map.get("ke.group"));
        let (map, _) = mapped(&sa_init());
        assert_eq!(map.get("notify.type"), map.get("notify[0].type"));
        assert_ne!(map.get("notify[1].type"), map.get("notify[0].type"));
        assert_eq!(map.get("notify[9].type"), None);
    }

    #[test]
    fn a_prefix_stands_before_every_path() {
        let (mut map, mut bytes) = (FieldMap::new(), vec![0; 7]);
        encode_chain(&mut bytes, &ike_auth(), PayloadType::NONE, Some(&mut map), "inner");
        assert!(map.iter().all(|field| field.path.starts_with("inner.")));
        assert_eq!(map.get("inner.idi.next").map(|field| field.offset), Some(7));
    }

    #[test]
    fn an_edit_changes_exactly_its_field() {
        for (map, bytes) in [mapped(&sa_init()), mapped_chain(&ike_auth()), mapped_chain(&informational())] {
            for field in map.iter().filter(|field| field.len > 0) {
                let path = || field.path.clone();
                let inverted: Vec<u8> = bytes[field.offset..][..field.len].iter().map(|octet| !octet).collect();
                let edits = [
                    FieldEdit::Set { path: path(), value: inverted },
                    FieldEdit::Xor { path: path(), mask: vec![0xff; field.len] },
                ];
                for edit in edits {
                    let mut changed = bytes.clone();
                    edit.apply(&map, &mut changed).expect("the field is there");
                    for (at, (was, is)) in bytes.iter().zip(&changed).enumerate() {
                        let inside = (field.offset..field.offset + field.len).contains(&at);
                        assert_eq!(was != is, inside, "{} at {at}", field.path);
                    }
                }
                let mut changed = bytes.clone();
                FieldEdit::Add { path: path(), delta: 1 }.apply(&map, &mut changed).expect("the field is there");
                assert_ne!(changed, bytes);
                FieldEdit::Add { path: path(), delta: -1 }.apply(&map, &mut changed).expect("the field is there");
                assert_eq!(changed, bytes, "{}", field.path);
            }
        }
    }

    #[test]
    fn addition_wraps_at_the_width_of_the_field() {
        let mut map = FieldMap::new();
        map.push("x".to_owned(), 1, 2);
        map.push("wide".to_owned(), 0, 12);
        let added = |path: &str, bytes: &[u8], delta| {
            let mut bytes = bytes.to_vec();
            FieldEdit::Add { path: path.to_owned(), delta }.apply(&map, &mut bytes).map(|()| bytes)
        };
        assert_eq!(added("x", &[9, 0xff, 0xff, 9], 1), Ok(vec![9, 0, 0, 9]));
        assert_eq!(added("x", &[9, 0, 0, 9], -1), Ok(vec![9, 0xff, 0xff, 9]));
        assert_eq!(added("x", &[9, 1, 0, 9], -257), Ok(vec![9, 0xff, 0xff, 9]));
        assert_eq!(added("x", &[9, 0, 0, 9], 0x12345), Ok(vec![9, 0x23, 0x45, 9]));
        assert_eq!(added("wide", &[0; 12], -1), Ok(vec![0xff; 12]));
        assert_eq!(added("wide", &[0xff; 12], 1), Ok(vec![0; 12]));
        assert_eq!(added("wide", &[0; 12], i64::MIN), Ok([&[0xff; 4][..], &[0x80], &[0; 7]].concat()));
    }

    #[test]
    fn a_wrong_edit_says_why_and_changes_nothing() {
        let (map, bytes) = mapped(&sa_init());
        let refused = |edit: FieldEdit| {
            let mut changed = bytes.clone();
            let why = edit.apply(&map, &mut changed).expect_err("not possible");
            assert_eq!(changed, bytes);
            why
        };
        let set = |path: &str, value: &[u8]| FieldEdit::Set { path: path.to_owned(), value: value.to_vec() };
        assert_eq!(
            refused(set("header.lenght", &[0; 4])),
            "no field \"header.lenght\" in this message; did you mean \"header.length\"?"
        );
        assert_eq!(refused(set("zzz", &[0])), "no field \"zzz\" in this message");
        assert_eq!(refused(set("ke.group", &[1])), "field \"ke.group\" has 2 octets, the value 1");
        assert_eq!(
            refused(FieldEdit::Xor { path: "ke.group".to_owned(), mask: vec![1; 3] }),
            "field \"ke.group\" has 2 octets, the mask 3"
        );
        assert_eq!(
            refused(FieldEdit::Add { path: "notify[0].spi".to_owned(), delta: 1 }),
            "field \"notify[0].spi\" is empty: there is nothing to add to"
        );
        let mut short = bytes[..40].to_vec();
        assert_eq!(
            set("ke.group", &[0, 1]).apply(&map, &mut short),
            Err("field \"ke.group\" ends past the 40 octets of this message".to_owned())
        );
    }

    #[test]
    fn fields_move_when_octets_are_put_in() {
        let (mut map, _) = mapped(&sa_init());
        map.shift(28, 5);
        assert_eq!(map.get("header.length").map(|field| field.offset), Some(24));
        assert_eq!(map.get("sa.length").map(|field| field.offset), Some(35));
    }

    proptest! {
        #[test]
        fn a_map_never_changes_the_octets(message in any_message()) {
            let (map, bytes) = mapped(&message);
            let mut plain = Vec::new();
            encode_into(&mut plain, &message, None);
            prop_assert_eq!(&plain, &bytes);
            let mut at = 0;
            for field in map.leaves() {
                prop_assert_eq!(field.offset, at, "{}", &field.path);
                at += field.len;
            }
            prop_assert_eq!(at, bytes.len());
            for field in map.iter() {
                prop_assert_eq!(map.get(&field.path), Some(field), "paths are unique");
            }
        }
    }
}
