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
