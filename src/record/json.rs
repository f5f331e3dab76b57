//! JSON text in the order in which it is written, without an intermediate tree.

use std::fmt::{self, Display, Write};

/// A JSON object under construction at the end of a string.
pub struct Object<'a> {
    out: &'a mut String,
    first: bool,
}

/// Appends an object.
pub fn object(out: &mut String, fill: impl FnOnce(&mut Object<'_>)) {
    out.push('{');
    fill(&mut Object { out, first: true });
    out.push('}');
}

impl Object<'_> {
    /// A string.
    pub fn text(&mut self, key: &str, value: impl Display) -> &mut Self {
        self.key(key);
        quote(self.out, value);
        self
    }

    /// A number, exactly as it prints.
    pub fn number(&mut self, key: &str, value: impl Number) -> &mut Self {
        self.key(key);
        let _ = write!(self.out, "{value}");
        self
    }

    /// A truth value.
    pub fn flag(&mut self, key: &str, value: bool) -> &mut Self {
        self.key(key);
        self.out.push_str(if value { "true" } else { "false" });
        self
    }

    /// Octets as lower-case hex.
    pub fn hex(&mut self, key: &str, value: &[u8]) -> &mut Self {
        self.text(key, Hex(value))
    }

    /// An object.
    pub fn object(&mut self, key: &str, fill: impl FnOnce(&mut Object<'_>)) -> &mut Self {
        self.key(key);
        object(self.out, fill);
        self
    }

    /// An array of objects.
    pub fn objects<T>(
        &mut self,
        key: &str,
        items: impl IntoIterator<Item = T>,
        mut fill: impl FnMut(&mut Object<'_>, T),
    ) -> &mut Self {
        self.array(key, items, |out, item| object(out, |o| fill(o, item)))
    }

    /// An array of strings.
    pub fn texts<T: Display>(&mut self, key: &str, items: impl IntoIterator<Item = T>) -> &mut Self {
        self.array(key, items, |out, item| quote(out, item))
    }

    fn array<T>(
        &mut self,
        key: &str,
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut String, T),
    ) -> &mut Self {
        self.key(key);
        self.out.push('[');
        for (n, item) in items.into_iter().enumerate() {
            if n > 0 {
                self.out.push(',');
            }
            write(self.out, item);
        }
        self.out.push(']');
        self
    }

    fn key(&mut self, key: &str) {
        if !std::mem::take(&mut self.first) {
            self.out.push(',');
        }
        quote(self.out, key);
        self.out.push(':');
    }
}

/// What prints as a JSON number.
pub trait Number: Display {}
impl Number for u8 {}
impl Number for u16 {}
impl Number for u32 {}
impl Number for u64 {}
impl Number for usize {}
impl Number for Seconds {}

/// A time in nanoseconds, printed as seconds with nine decimals.
pub struct Seconds(pub u64);

impl Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}", self.0 / 1_000_000_000, self.0 % 1_000_000_000)
    }
}

/// Octets, printed as lower-case hex.
pub struct Hex<'a>(pub &'a [u8]);

impl Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

fn quote(out: &mut String, value: impl Display) {
    out.push('"');
    let _ = write!(Escape(out), "{value}");
    out.push('"');
}

struct Escape<'a>(&'a mut String);

impl Write for Escape<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '"' => self.0.push_str("\\\""),
                '\\' => self.0.push_str("\\\\"),
                '\n' => self.0.push_str("\\n"),
                '\r' => self.0.push_str("\\r"),
                '\t' => self.0.push_str("\\t"),
                c if c < ' ' || c == '\u{7f}' => write!(self.0, "\\u{:04x}", u32::from(c))?,
                c => self.0.push(c),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_json_in_the_order_of_writing() {
        let mut out = String::new();
        object(&mut out, |o| {
            o.number("z", 1_u32).text("a", "q\"\\\n\u{1}é").flag("t", true).hex("h", &[0, 0xff]);
            o.number("s", Seconds(3_000_000_001)).texts("e", [] as [&str; 0]);
            o.object("o", |_| ()).objects("os", [1_u8, 2], |o, n| {
                o.number("n", n);
            });
        });
        assert_eq!(
            out,
            r#"{"z":1,"a":"q\"\\\n\u0001é","t":true,"h":"00ff","s":3.000000001,"e":[],"o":{},"os":[{"n":1},{"n":2}]}"#
        );
        let parsed: serde_json::Value = serde_json::from_str(&out).expect("valid JSON");
        assert_eq!(parsed["a"], "q\"\\\n\u{1}é");
    }
}
