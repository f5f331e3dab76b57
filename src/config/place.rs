//! Which key stands at a place in a YAML document.
//!
//! serde reports where, but not under which key; a second, untyped reading of the same text knows the keys.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use super::error::Place;

/// The keys and places of a document, without its values.
#[derive(Debug)]
pub(crate) struct Outline(Spanned<Node>);

#[derive(Debug)]
enum Node {
    Map(Vec<(Spanned<String>, Spanned<Node>)>),
    Seq(Vec<Spanned<Node>>),
    Leaf,
}

impl Outline {
    /// Reads `text`; `None` when it is not YAML.
    pub fn read(text: &str) -> Option<Outline> {
        // A key that stands twice is an error of the typed reading, whose place must be found here.
        let duplicate_keys = serde_saphyr::options::DuplicateKeyPolicy::LastWins;
        let options = serde_saphyr::options! { duplicate_keys: duplicate_keys, with_snippet: false };
        serde_saphyr::from_str_with_options(text, options).ok().map(Outline)
    }

    /// The path of the key or value that begins at `wanted`, like `ike.proposals[0]`; empty when there is none.
    ///
    /// A mapping in block style begins where its first key begins; the key wins.
    pub fn key_at(&self, wanted: Place) -> String {
        let mut found = None;
        walk(&self.0, None, String::new(), &mut |path, key, node| {
            if place(&node.referenced) == Some(wanted) || key.and_then(place) == Some(wanted) {
                found = Some(path.to_owned());
            }
        });
        found.unwrap_or_default()
    }

    /// The path and the beginning of the mapping that has a key at `wanted`, or that itself begins there.
    pub fn mapping_at(&self, wanted: Place) -> Option<(String, Place)> {
        let (mut by_key, mut itself) = (None, None);
        walk(&self.0, None, String::new(), &mut |path, _, node| {
            let Node::Map(entries) = &node.value else { return };
            let Some(start) = place(&node.referenced) else { return };
            if entries.iter().any(|(key, _)| place(&key.referenced) == Some(wanted)) {
                by_key = Some((path.to_owned(), start));
            }
            if start == wanted {
                itself = Some((path.to_owned(), start));
            }
        });
        by_key.or(itself)
    }
}

/// Shows `visit` every node with its path and the place of its key, outer nodes first.
fn walk(
    node: &Spanned<Node>,
    key: Option<&serde_saphyr::Location>,
    path: String,
    visit: &mut impl FnMut(&str, Option<&serde_saphyr::Location>, &Spanned<Node>),
) {
    visit(&path, key, node);
    match &node.value {
        Node::Leaf => {}
        Node::Seq(items) => {
            for (index, item) in items.iter().enumerate() {
                walk(item, None, format!("{path}[{index}]"), visit);
            }
        }
        Node::Map(entries) => {
            for (key, value) in entries {
                let path = if path.is_empty() { key.value.clone() } else { format!("{path}.{}", key.value) };
                walk(value, Some(&key.referenced), path, visit);
            }
        }
    }
}

/// A place as serde-saphyr tells it; `None` when it does not know.
pub(crate) fn place(location: &serde_saphyr::Location) -> Option<Place> {
    let (line, column) = (u32::try_from(location.line()).ok()?, u32::try_from(location.column()).ok()?);
    (line > 0).then_some(Place { line, column })
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NodeVisitor;
        impl<'de> Visitor<'de> for NodeVisitor {
            type Value = Node;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("YAML")
            }
            fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
                Ok(Node::Leaf)
            }
            fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
                Ok(Node::Leaf)
            }
            fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
                Ok(Node::Leaf)
            }
            fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
                Ok(Node::Leaf)
            }
            fn visit_str<E>(self, _: &str) -> Result<Node, E> {
                Ok(Node::Leaf)
            }
            fn visit_unit<E>(self) -> Result<Node, E> {
                Ok(Node::Leaf)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Node::Seq(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
                let mut entries = Vec::new();
                while let Some(key) = map.next_key()? {
                    entries.push((key, map.next_value()?));
                }
                Ok(Node::Map(entries))
            }
        }
        deserializer.deserialize_any(NodeVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_key_at_a_place() {
        let outline = Outline::read("a: 1\nb:\n  c: [x, {d: y}]\n  e: z\n").unwrap();
        let at = |line, column| outline.key_at(Place { line, column });
        assert_eq!(at(1, 4), "a");
        assert_eq!(at(3, 6), "b.c");
        assert_eq!(at(3, 7), "b.c[0]");
        assert_eq!(at(3, 14), "b.c[1].d");
        assert_eq!(at(4, 3), "b.e");
        assert_eq!(at(3, 3), "b.c", "the key, not the mapping that begins with it");
        assert_eq!(outline.mapping_at(Place { line: 4, column: 3 }), Some(("b".into(), Place { line: 3, column: 3 })));
        assert_eq!(outline.mapping_at(Place { line: 2, column: 1 }), Some(("".into(), Place { line: 1, column: 1 })));
        assert_eq!(at(9, 9), "");
    }
}
