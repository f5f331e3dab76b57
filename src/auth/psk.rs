//! Which key did the peer use instead of ours? Its AUTH, and what that covers, tell whether a guess is right; the guesses are
//! the mistakes that people and boxes make with a key: a newline at its end, another letter case, 0 for O, a shell that ate
//! what follows a `$`.
//!
//! Pure and bounded: at most [`MAX_TRIED`] guesses of two PRF calls each. No guess and no key is ever part of the answer.

use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD, STANDARD};
use subtle::ConstantTimeEq;

use crate::crypto::{Prf, Secret};

/// The most guesses for one AUTH.
pub const MAX_TRIED: u32 = 3000;

/// Whose key a guess began with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeyOwner {
    /// The one that the peer should have used.
    Peer,
    /// Our own, which the peer verifies: boxes with a key for each direction may have the two swapped.
    Us,
    /// Another connection's.
    Connection(String),
}

/// The peer's AUTH by shared key, and what is needed to judge a key by it.
#[derive(Clone, Debug)]
pub struct PskEvidence {
    prf: Prf,
    octets: Secret,
    auth: Vec<u8>,
    keys: Vec<(KeyOwner, Arc<Secret>)>,
    compared: OnceLock<Compared>,
}

/// What became of the guesses. Describes the peer's key by the difference from ours.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Compared {
    /// The peer used this key as it is. If it is the right one, something else was wrong.
    Same(KeyOwner),
    /// The peer used this key with a difference, like "with a newline at its end".
    Variant(KeyOwner, String),
    /// None of the guesses fits.
    Unlike {
        /// How many there were.
        tried: u32,
    },
}

impl PskEvidence {
    /// `octets` is what AUTH covers (RFC 7296 2.15): message, nonce and MACed identity. `keys` in the order of likelihood.
    pub fn new(prf: Prf, octets: Vec<u8>, auth: Vec<u8>, keys: Vec<(KeyOwner, Arc<Secret>)>) -> Self {
        PskEvidence { prf, octets: Secret::new(octets), auth, keys, compared: OnceLock::new() }
    }

    /// Compares the peer's key with ours; the first call does the work.
    pub fn compared(&self) -> &Compared {
        self.compared.get_or_init(|| self.search())
    }

    fn search(&self) -> Compared {
        let mut search = Search { evidence: self, tried: 0, found: None };
        for (owner, key) in &self.keys {
            if search.fits(key.as_ref().as_ref()) {
                return Compared::Same(owner.clone());
            }
        }
        // The simplest explanation first, for every key, before the next kind of explanation.
        for kind in [whole, ends, combined, cut, look_alikes, slips] {
            for (owner, key) in &self.keys {
                kind(key.as_ref().as_ref(), &mut search);
                if let Some(how) = search.found.take() {
                    return Compared::Variant(owner.clone(), how);
                }
            }
        }
        Compared::Unlike { tried: search.tried }
    }
}

struct Search<'a> {
    evidence: &'a PskEvidence,
    tried: u32,
    found: Option<String>,
}

impl Search<'_> {
    fn fits(&mut self, key: &[u8]) -> bool {
        self.tried += 1;
        let inner = self.evidence.prf.prf(key, &[b"Key Pad for IKEv2"]);
        let mac = self.evidence.prf.prf(inner.as_ref(), &[self.evidence.octets.as_ref()]);
        mac.as_ref().ct_eq(&self.evidence.auth).into()
    }

    /// Tries a guess, unless one has fitted or the limit is reached.
    fn guess(&mut self, guess: impl Into<Vec<u8>>, how: impl FnOnce() -> String) {
        let guess = Secret::new(guess);
        if self.found.is_none() && self.tried < MAX_TRIED && self.fits(guess.as_ref()) {
            self.found = Some(how());
        }
    }

    fn guess_as(&mut self, guess: impl Into<Vec<u8>>, how: &str) {
        self.guess(guess, || how.to_owned());
    }
}

/// The letter cases in which a whole key may stand.
fn cases(key: &[u8]) -> [(Vec<u8>, &'static str); 3] {
    let swapped =
        key.iter().map(|o| if o.is_ascii_lowercase() { o.to_ascii_uppercase() } else { o.to_ascii_lowercase() });
    [
        (key.to_ascii_lowercase(), "in lower case"),
        (key.to_ascii_uppercase(), "in upper case"),
        (swapped.collect(), "with upper and lower case swapped (Caps Lock)"),
    ]
}

/// What stands around a key that was copied or read from a file.
const ENDS: &[(&str, &str, &str)] = &[
    ("", "\n", "with a newline at its end"),
    ("", " ", "with a blank at its end"),
    ("", "\r\n", "with a carriage return and a newline at its end (a file from Windows)"),
    ("", "\r", "with a carriage return at its end (a file from Windows)"),
    ("", "\t", "with a tab at its end"),
    ("", "\0", "with a zero octet at its end"),
    (" ", "", "with a blank before it"),
    ("\t", "", "with a tab before it"),
    ("\n", "", "with a newline before it"),
    (" ", " ", "with a blank at either end"),
    ("\"", "\"", "with double quotes around it"),
    ("'", "'", "with single quotes around it"),
    ("`", "`", "with backquotes around it"),
    ("\u{201c}", "\u{201d}", "with typographic quotes around it"),
    ("\u{201e}", "\u{201c}", "with typographic quotes around it"),
    ("<", ">", "with angle brackets around it"),
    ("\"", "", "with a double quote before it"),
    ("", "\"", "with a double quote at its end"),
    ("'", "", "with a single quote before it"),
    ("", "'", "with a single quote at its end"),
    ("", "  ", "with two blanks at its end"),
    ("", "\n\n", "with two newlines at its end"),
    ("", " \n", "with a blank and a newline at its end"),
    ("", ";", "with a semicolon at its end"),
    ("", ",", "with a comma at its end"),
    ("", ".", "with a full stop at its end"),
    ("0 ", "", "with the type digit \"0 \" before it, as in a Cisco configuration"),
    ("6 ", "", "with the type digit \"6 \" before it, as in a Cisco configuration"),
    ("\u{feff}", "", "with a byte order mark before it"),
    ("", "\u{a0}", "with a no-break space at its end"),
    ("", "\u{200b}", "with a zero-width space at its end"),
];

fn joined(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

fn whole(key: &[u8], search: &mut Search<'_>) {
    for (guess, how) in cases(key) {
        search.guess_as(guess, how);
    }
    let trimmed = key.trim_ascii();
    search.guess_as(trimmed, "without the blanks or newlines at its ends");
    search.guess_as(key.trim_ascii_end(), "without the blanks or newlines at its end");
    for (quote, how) in [(b'"', "without the double quotes around it"), (b'\'', "without the single quotes around it")]
    {
        if let [first, inner @ .., last] = trimmed
            && *first == quote
            && *last == quote
        {
            search.guess_as(inner, how);
        }
    }
    encodings(key, search);
    search.guess_as("", "empty");
    search.guess_as(joined(&[key, key]), "twice in a row");
    search.guess(key.iter().rev().copied().collect::<Vec<_>>(), || "backwards".into());
    let without = |unwanted: fn(&u8) -> bool| key.iter().copied().filter(|o| !unwanted(o)).collect::<Vec<u8>>();
    search.guess_as(without(u8::is_ascii_whitespace), "without its blanks");
    search.guess_as(without(u8::is_ascii_punctuation), "without its punctuation");
    search.guess_as(without(|o| *o == b'\\'), "without its backslashes");
    search.guess_as(without(|o| matches!(o, b'"' | b'\'')), "without its quotes");
    search.guess_as(without(|o| *o == b'$'), "without its dollar signs");
    search.guess_as(shell_expanded(key), "after a shell has replaced $names in it by nothing");
    search.guess_as(escaped(key, b"\\"), "with its backslashes doubled");
    search.guess_as(escaped(key, b"\"\\$`!'"), "with backslashes before its special characters");
    search.guess_as(replaced(key, b"+", b" "), "with blanks for its plus signs (a web form)");
    search.guess_as(replaced(key, b" ", b"+"), "with plus signs for its blanks (a web form)");
    let percent = |o: &u8| match o {
        b'-' | b'.' | b'_' | b'~' => vec![*o],
        o if o.is_ascii_alphanumeric() => vec![*o],
        o => format!("%{o:02X}").into_bytes(),
    };
    search.guess(key.iter().flat_map(percent).collect::<Vec<_>>(), || "percent-encoded (a web form)".into());
    for (entity, octet) in [("&amp;", b'&'), ("&lt;", b'<'), ("&gt;", b'>'), ("&quot;", b'"')] {
        search.guess(replaced(key, &[octet], entity.as_bytes()), || format!("with {entity} written out (a web form)"));
    }
}

/// Text for octets and octets for text.
fn encodings(key: &[u8], search: &mut Search<'_>) {
    let bare = key.strip_prefix(b"0x").or_else(|| key.strip_prefix(b"0X"));
    if let Some(octets) = unhex(bare.unwrap_or(key)) {
        search.guess_as(octets, "read as hex digits: the octets themselves, not their text");
    }
    if let Some(bare) = bare {
        search.guess_as(bare, "without its 0x");
    }
    let hex: String = key.iter().map(|o| format!("{o:02x}")).collect();
    search.guess_as(hex.clone(), "as hex digits taken for text");
    search.guess_as(hex.to_uppercase(), "as upper-case hex digits taken for text");
    search.guess(format!("0x{hex}"), || "as 0x and hex digits taken for text".into());
    search.guess(joined(&[b"0x", key]), || "with 0x before it, taken for text".into());
    let bare = key.strip_prefix(b"0s").unwrap_or(key);
    if let Some(octets) = unbase64(bare) {
        search.guess_as(octets, "read as base64: the octets themselves, not their text");
    }
    search.guess_as(joined(&[b"0s", key]), "with 0s before it, taken for text");
    search.guess_as(base64(key), "as base64 taken for text");
    search.guess(key.iter().flat_map(|o| [*o, 0]).collect::<Vec<_>>(), || "in UTF-16".into());
    if !key.is_ascii() {
        // One octet for each character of UTF-8, and the other way round.
        if let Ok(text) = std::str::from_utf8(key) {
            let latin: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
            latin.into_iter().for_each(|latin| search.guess_as(latin, "in Latin-1 where ours is UTF-8"));
        }
        let utf8: String = key.iter().map(|o| char::from(*o)).collect();
        search.guess_as(utf8, "in UTF-8 where ours is Latin-1");
    }
}

fn ends(key: &[u8], search: &mut Search<'_>) {
    for (before, after, how) in ENDS {
        search.guess_as(joined(&[before.as_bytes(), key, after.as_bytes()]), how);
    }
}

/// Another letter case and something around it.
fn combined(key: &[u8], search: &mut Search<'_>) {
    for (guess, case) in cases(key) {
        for (before, after, how) in &ENDS[..12] {
            search.guess(joined(&[before.as_bytes(), &guess, after.as_bytes()]), || format!("{case} and {how}"));
        }
    }
    let mut first = key.to_vec();
    if let Some(octet) = first.first_mut().filter(|o| o.is_ascii_alphabetic()) {
        *octet ^= 0x20;
        search.guess_as(first, "with its first letter in the other case");
    }
}

/// Cut off at a special character or at a length; the beginning lost.
fn cut(key: &[u8], search: &mut Search<'_>) {
    for (at, octet) in key.iter().enumerate().filter(|(_, o)| !o.is_ascii_alphanumeric()) {
        let name = special(*octet);
        search.guess(&key[..at], || format!("cut off before {name}, character {}", at + 1));
        search.guess(&key[..=at], || format!("cut off after {name}, character {}", at + 1));
        search.guess(&key[at + 1..], || format!("without everything up to {name}, character {}", at + 1));
    }
    for len in (1..key.len()).rev() {
        search.guess(&key[..len], || format!("cut off after {len} characters"));
    }
    for from in 1..key.len() {
        search.guess(&key[from..], || match from {
            1 => "without its first character".into(),
            n => format!("without its first {n} characters"),
        });
    }
}

/// Characters that look like each other, by the words for them.
const LOOK_ALIKES: &[(&[u8], &str)] = &[
    (b"0Oo", "zero and the letter O"),
    (b"1lI|", "one, small L and capital I"),
    (b"5Ss", "five and S"),
    (b"8B", "eight and B"),
    (b"2Zz", "two and Z"),
    (b"6b", "six and b"),
    (b"9gq", "nine, g and q"),
    (b"uv", "u and v"),
    (b"-_", "hyphen and underscore"),
    (b"'`", "apostrophe and backquote"),
    (b".,", "full stop and comma"),
    (b"yz", "y and z (another keyboard layout)"),
    (b"YZ", "Y and Z (another keyboard layout)"),
];

/// Places whose look-alikes are tried in every combination.
const COMBINED_PLACES: usize = 6;

fn look_alikes(key: &[u8], search: &mut Search<'_>) {
    // Every one of a kind.
    for (set, name) in LOOK_ALIKES {
        for from in *set {
            for to in set.iter().filter(|to| *to != from) {
                if key.contains(from) {
                    search.guess(replaced(key, &[*from], &[*to]), || format!("with look-alikes confused: {name}"));
                }
            }
        }
        if let [a, b] = set
            && key.contains(a)
            && key.contains(b)
        {
            let swapped = key.iter().map(|o| {
                if o == a {
                    *b
                } else if o == b {
                    *a
                } else {
                    *o
                }
            });
            search.guess(swapped.collect::<Vec<_>>(), || format!("with look-alikes exchanged: {name}"));
        }
    }
    for (from, to) in [("rn", "m"), ("m", "rn"), ("vv", "w"), ("w", "vv"), ("cl", "d"), ("d", "cl")] {
        let (from, to) = (from.as_bytes(), to.as_bytes());
        search.guess(replaced(key, from, to), || "with look-alikes confused: rn and m, vv and w, cl and d".into());
    }
    // A single one.
    let places: Vec<(usize, u8, &str)> = (0..key.len())
        .flat_map(|at| {
            let sets = LOOK_ALIKES.iter().filter(move |(set, _)| set.contains(&key[at]));
            sets.flat_map(move |(set, name)| set.iter().filter(move |o| **o != key[at]).map(move |o| (at, *o, *name)))
        })
        .collect();
    for (at, octet, name) in &places {
        let mut guess = key.to_vec();
        guess[*at] = *octet;
        search.guess(guess, || format!("with a look-alike at character {}: {name}", at + 1));
    }
    // Several: the digits that are taken for letters, in every combination.
    let mut several: Vec<usize> = places.iter().filter(|(at, ..)| b"0Oo1lI".contains(&key[*at])).map(|p| p.0).collect();
    several.dedup();
    several.truncate(COMBINED_PLACES);
    for choice in 1u32..1 << several.len() {
        for (zero, one) in [(b'0', b'1'), (b'O', b'l'), (b'o', b'I'), (b'O', b'I')] {
            let mut guess = key.to_vec();
            for (_, at) in several.iter().enumerate().filter(|(n, _)| choice >> n & 1 == 1) {
                guess[*at] = if b"0Oo".contains(&key[*at]) { zero } else { one };
            }
            let how = || "with look-alikes confused in several places: zero and O, one and small L or capital I".into();
            search.guess(guess, how);
        }
    }
}

/// One slip of the finger.
fn slips(key: &[u8], search: &mut Search<'_>) {
    for at in 0..key.len() {
        let (head, tail) = (&key[..at], &key[at + 1..]);
        search.guess(joined(&[head, tail]), || format!("without its character {}", at + 1));
        search.guess(joined(&[head, &[key[at], key[at]], tail]), || format!("with its character {} twice", at + 1));
        if key[at].is_ascii_alphabetic() {
            let how = || format!("with its character {} in the other letter case", at + 1);
            search.guess(joined(&[head, &[key[at] ^ 0x20], tail]), how);
        }
        if let [next, rest @ ..] = tail {
            let how = || format!("with its characters {} and {} exchanged", at + 1, at + 2);
            search.guess(joined(&[head, &[*next, key[at]], rest]), how);
        }
    }
    let printable = || (b'a'..=b'z').chain(b'0'..=b'9').chain(b'A'..=b'Z').chain(b'!'..=b'/').chain(b':'..=b'@');
    for octet in printable() {
        search.guess(joined(&[key, &[octet]]), || "with one more character at its end".into());
        search.guess(joined(&[&[octet], key]), || "with one more character before it".into());
    }
    for at in 0..key.len() {
        for octet in printable().filter(|o| *o != key[at]) {
            let how = || format!("with another character {}", at + 1);
            search.guess(joined(&[&key[..at], &[octet], &key[at + 1..]]), how);
        }
    }
}

/// A special character in words.
fn special(octet: u8) -> String {
    match octet {
        b' ' => "a blank".into(),
        b'"' => "a double quote".into(),
        b'\'' => "a single quote".into(),
        o if o.is_ascii_punctuation() => format!("a {}", char::from(o)),
        _ => "a special character".into(),
    }
}

/// What a shell makes of double-quoted text whose variables are not set.
fn shell_expanded(key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len());
    let mut rest = key;
    while let [octet, tail @ ..] = rest {
        let name = tail.iter().take_while(|o| o.is_ascii_alphanumeric() || **o == b'_').count();
        match (octet, tail.first()) {
            // A digit is a name of its own.
            (b'$', Some(digit)) if digit.is_ascii_digit() => rest = &tail[1..],
            (b'$', Some(_)) if name > 0 => rest = &tail[name..],
            _ => {
                out.push(*octet);
                rest = tail;
            }
        }
    }
    out
}

fn escaped(key: &[u8], special: &[u8]) -> Vec<u8> {
    key.iter().flat_map(|o| special.contains(o).then_some(b'\\').into_iter().chain([*o])).collect()
}

fn replaced(key: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len());
    let mut rest = key;
    while let [octet, tail @ ..] = rest {
        match rest.strip_prefix(from) {
            Some(after) => {
                out.extend_from_slice(to);
                rest = after;
            }
            None => {
                out.push(*octet);
                rest = tail;
            }
        }
    }
    out
}

fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |o: &u8| char::from(*o).to_digit(16).map(|d| d as u8);
    if text.is_empty() || !text.len().is_multiple_of(2) {
        return None;
    }
    text.chunks(2).map(|pair| Some(digit(pair.first()?)? << 4 | digit(pair.get(1)?)?)).collect()
}

/// As people paste it: padded or not, and whatever the last bits are.
const PASTED: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, NO_PAD.with_decode_allow_trailing_bits(true));

fn base64(octets: &[u8]) -> Vec<u8> {
    STANDARD.encode(octets).into_bytes()
}

fn unbase64(text: &[u8]) -> Option<Vec<u8>> {
    let bare = text.strip_suffix(b"==").or_else(|| text.strip_suffix(b"=")).unwrap_or(text);
    PASTED.decode(bare).ok().filter(|octets| !octets.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OCTETS: &[u8] = b"a message, a nonce and a MACed identity";

    /// What is said of a peer that used `theirs` where `ours` (and `other` in the other direction) is expected.
    fn told(theirs: &[u8], ours: &str, other: &str) -> Compared {
        let prf = Prf::HmacSha256;
        let inner = prf.prf(theirs, &[b"Key Pad for IKEv2"]);
        let auth = prf.prf(inner.as_ref(), &[OCTETS]).as_ref().to_vec();
        let key = |text: &str| Arc::new(Secret::new(text.as_bytes()));
        let keys = vec![(KeyOwner::Peer, key(ours)), (KeyOwner::Us, key(other))];
        let evidence = PskEvidence::new(prf, OCTETS.to_vec(), auth, keys);
        let compared = evidence.compared().clone();
        let shown = format!("{evidence:?}");
        assert!(
            ours.is_empty() || !shown.contains(ours) && !shown.contains(&format!("{:?}", ours.as_bytes())),
            "{shown}"
        );
        compared
    }

    #[test]
    fn the_usual_mistakes_are_named() {
        let ours = "Sec0nd$Wall! 1l";
        for (theirs, how) in [
            ("Sec0nd$Wall! 1l\n", "with a newline at its end"),
            ("Sec0nd$Wall! 1l ", "with a blank at its end"),
            (" Sec0nd$Wall! 1l", "with a blank before it"),
            ("Sec0nd$Wall! 1l\r\n", "with a carriage return and a newline at its end (a file from Windows)"),
            ("sec0nd$wall! 1l", "in lower case"),
            ("SEC0ND$WALL! 1L", "in upper case"),
            ("sEC0ND$wALL! 1L", "with upper and lower case swapped (Caps Lock)"),
            ("\"Sec0nd$Wall! 1l\"", "with double quotes around it"),
            ("Sec0nd", "cut off before a $, character 7"),
            ("Sec0nd$Wall", "cut off before a !, character 12"),
            ("Sec0nd! 1l", "after a shell has replaced $names in it by nothing"),
            ("Sec0n", "cut off after 5 characters"),
            ("SecOnd$Wall! 1l", "with look-alikes confused: zero and the letter O"),
            ("Sec0nd$WaIl! 1l", "with a look-alike at character 10: one, small L and capital I"),
            (
                "SecOnd$Wall! ll",
                "with look-alikes confused in several places: zero and O, one and small L or capital I",
            ),
            ("l1 !llaW$dn0ceS", "backwards"),
            ("Sec0nd$Wall! 1lSec0nd$Wall! 1l", "twice in a row"),
            ("sec0nd$wall! 1l\n", "in lower case and with a newline at its end"),
            ("Sec0d$Wall! 1l", "without its character 5"),
            ("Sec0nd$Wxll! 1l", "with another character 9"),
            ("Sec0nd$Wall!+1l", "with plus signs for its blanks (a web form)"),
            ("0x536563306e642457616c6c2120316c", "as 0x and hex digits taken for text"),
        ] {
            assert_eq!(
                told(theirs.as_bytes(), ours, "other"),
                Compared::Variant(KeyOwner::Peer, how.into()),
                "{theirs:?}"
            );
        }
    }

    #[test]
    fn octets_and_text_are_told_apart() {
        let octets = "read as hex digits: the octets themselves, not their text";
        assert_eq!(told(b"\x01\xab", "0x01AB", ""), Compared::Variant(KeyOwner::Peer, octets.into()));
        let base = "read as base64: the octets themselves, not their text";
        assert_eq!(
            told(b"any carnal pleas", "0sYW55IGNhcm5hbCBwbGVhcw==", ""),
            Compared::Variant(KeyOwner::Peer, base.into())
        );
        let text = "as base64 taken for text";
        assert_eq!(
            told(b"YW55IGNhcm5hbCBwbGVhc3U=", "any carnal pleasu", ""),
            Compared::Variant(KeyOwner::Peer, text.into())
        );
        let latin = "in Latin-1 where ours is UTF-8";
        assert_eq!(told(b"caf\xe9", "caf\u{e9}", ""), Compared::Variant(KeyOwner::Peer, latin.into()));
    }

    #[test]
    fn the_other_direction_and_the_right_key_are_known() {
        assert_eq!(told(b"other", "ours", "other"), Compared::Same(KeyOwner::Us));
        assert_eq!(told(b"ours", "ours", "other"), Compared::Same(KeyOwner::Peer));
        let newline = "with a newline at its end".to_owned();
        assert_eq!(told(b"other\n", "ours", "other"), Compared::Variant(KeyOwner::Us, newline));
    }

    #[test]
    fn a_key_of_its_own_is_like_none_and_the_work_is_bounded() {
        for (theirs, ours) in [("correct horse battery", "Tr0ub4dor&3"), ("x", &*"0l".repeat(300)), ("secret", "")] {
            match told(theirs.as_bytes(), ours, "another") {
                Compared::Unlike { tried } => assert!((100..=MAX_TRIED).contains(&tried), "{tried}"),
                other => panic!("{theirs}: {other:?}"),
            }
        }
    }
}
