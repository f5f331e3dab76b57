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
        serde_saphyr::from_str(text).ok().map(Outline)
    }

    /// The path of the key or value that begins at `place`, like `ike.proposals[0]`; empty when there is none.
    ///
    /// A mapping in block style begins where its first key begins. `container` prefers the mapping.
    pub fn key_at(&self, place: Place, container: bool) -> String {
        let mut found = None;
        walk(&self.0, String::new(), place, container, &mut found);
        found.unwrap_or_default()
    }
}

fn walk(node: &Spanned<Node>, path: String, wanted: Place, container: bool, found: &mut Option<String>) {
    let here = self::place(&node.referenced) == Some(wanted);
    if here && (!container || found.is_none()) {
        *found = Some(path.clone());
        if container {
            return;
        }
    }
    match &node.value {
        Node::Leaf => {}
        Node::Seq(items) => {
            for (index, item) in items.iter().enumerate() {
                walk(item, format!("{path}[{index}]"), wanted, container, found);
            }
        }
        Node::Map(entries) => {
            for (key, value) in entries {
                let path = if path.is_empty() { key.value.clone() } else { format!("{path}.{}", key.value) };
                if !container && self::place(&key.referenced) == Some(wanted) {
                    *found = Some(path.clone());
                }
                walk(value, path, wanted, container, found);
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
        let at = |line, column| outline.key_at(Place { line, column }, false);
        assert_eq!(at(1, 4), "a");
        assert_eq!(at(3, 6), "b.c");
        assert_eq!(at(3, 7), "b.c[0]");
        assert_eq!(at(3, 14), "b.c[1].d");
        assert_eq!(at(4, 3), "b.e");
        assert_eq!(at(3, 3), "b.c", "the key, not the mapping that begins with it");
        assert_eq!(outline.key_at(Place { line: 3, column: 3 }, true), "b");
        assert_eq!(at(9, 9), "");
    }
}
