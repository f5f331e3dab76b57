//! Appends fields to a buffer and, when asked, notes where each one landed.

use super::field::FieldMap;

/// The encoder's pen. Without a map it only appends to `out`: no string is built and nothing else is allocated.
pub(super) struct Writer<'a> {
    out: &'a mut Vec<u8>,
    map: Option<&'a mut FieldMap>,
    /// Path of the structure being written; stays empty (and unallocated) without a map.
    path: String,
}

/// Where a structure began, so that [`Writer::leave`] can close it.
pub(super) struct Mark {
    path: usize,
    start: usize,
}

impl<'a> Writer<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>, map: Option<&'a mut FieldMap>, prefix: &str) -> Self {
        let path = if map.is_some() { prefix.trim_end_matches('.').to_owned() } else { String::new() };
        Self { out, map, path }
    }

    /// Index of the next octet in the output buffer.
    pub(super) fn position(&self) -> usize {
        self.out.len()
    }

    pub(super) fn has_map(&self) -> bool {
        self.map.is_some()
    }

    /// Opens the structure `name`, or `name[index]`.
    #[inline]
    pub(super) fn enter(&mut self, name: &str, index: Option<usize>) -> Mark {
        let mark = Mark { path: self.path.len(), start: self.out.len() };
        if self.map.is_some() {
            self.open(name, index);
        }
        mark
    }

    /// Closes the structure that `mark` opened.
    #[inline]
    pub(super) fn leave(&mut self, mark: Mark) {
        if let Some(map) = self.map.as_deref_mut() {
            map.close(&self.path, mark.start, self.out.len() - mark.start);
            self.path.truncate(mark.path);
        }
    }

    #[inline]
    pub(super) fn u8(&mut self, name: &str, value: u8) {
        self.bytes(name, &[value]);
    }

    #[inline]
    pub(super) fn u16(&mut self, name: &str, value: u16) {
        self.bytes(name, &value.to_be_bytes());
    }

    #[inline]
    pub(super) fn u32(&mut self, name: &str, value: u32) {
        self.bytes(name, &value.to_be_bytes());
    }

    #[inline]
    pub(super) fn bytes(&mut self, name: &str, value: &[u8]) {
        if self.map.is_some() {
            self.note(name, value.len());
        }
        self.out.extend_from_slice(value);
    }

    /// Octets that are the open structure itself, without a name of their own.
    pub(super) fn append(&mut self, value: &[u8]) {
        self.out.extend_from_slice(value);
    }

    /// Fills a two-octet length written before with the octets since `start`. A longer structure wraps: the output is
    /// then not decodable, but it is never truncated.
    pub(super) fn patch_len(&mut self, at: usize, start: usize) {
        let len = (self.out.len() - start) as u16;
        self.out[at..at + 2].copy_from_slice(&len.to_be_bytes());
    }

    pub(super) fn patch(&mut self, at: usize, value: &[u8]) {
        self.out[at..at + value.len()].copy_from_slice(value);
    }

    #[cold]
    fn open(&mut self, name: &str, index: Option<usize>) {
        if !self.path.is_empty() {
            self.path.push('.');
        }
        self.path.push_str(name);
        if let Some(index) = index {
            self.path.push_str(&format!("[{index}]"));
        }
        // The structure comes before its fields; its length is filled in when it closes.
        self.note_path(self.out.len(), 0);
    }

    #[cold]
    fn note(&mut self, name: &str, len: usize) {
        let mark = self.path.len();
        if mark > 0 {
            self.path.push('.');
        }
        self.path.push_str(name);
        self.note_path(self.out.len(), len);
        self.path.truncate(mark);
    }

    fn note_path(&mut self, offset: usize, len: usize) {
        if let Some(map) = self.map.as_deref_mut() {
            map.push(self.path.clone(), offset, len);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::sa_init;
    use super::*;

    #[test]
    fn without_a_map_no_path_is_built() {
        let message = sa_init();
        let mut out = Vec::with_capacity(1024);
        let before = out.as_ptr();
        let mut w = Writer::new(&mut out, None, "inner");
        for payload in &message.outer {
            let mark = w.enter("payload", Some(7));
            payload.write(&mut w, payload.kind());
            w.leave(mark);
        }
        assert_eq!(w.path.capacity(), 0);
        assert_eq!(out.as_ptr(), before, "the buffer was large enough and stays where it is");
        assert!(!out.is_empty());
    }

    #[test]
    fn lengths_wrap_and_nothing_is_cut() {
        let mut out = Vec::new();
        let mut w = Writer::new(&mut out, None, "");
        w.u16("length", 0);
        w.append(&[7; 0x10000]);
        w.patch_len(0, 0);
        assert_eq!((out.len(), &out[..2]), (0x10002, &[0, 2][..]));
    }
}
