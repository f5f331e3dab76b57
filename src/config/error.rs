//! One error of a configuration file: where, which key, what is wrong, and the nearest thing that would be right.

use std::fmt;

/// A problem in a configuration file. `Display` reads `lab.yaml:7:12: ike.proposals[0]: unknown algorithm ...`.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub struct ConfigError {
    /// The file as the user named it.
    pub file: String,
    /// Line and column from 1, when the problem has a place in the file.
    pub place: Option<Place>,
    /// The key it stands under, like `children[0].local_ts[1]`; empty for the file as a whole.
    pub key: String,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// What would be right, without parentheses.
    pub hint: Option<String>,
}

/// A place in a text file, counted from 1 in characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Place {
    /// Line.
    pub line: u32,
    /// Column.
    pub column: u32,
}

/// A problem before the file's name and the key are known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Problem {
    pub place: Option<Place>,
    pub message: String,
    pub hint: Option<String>,
}

impl Problem {
    /// A problem of the file as a whole.
    pub fn new(message: impl Into<String>) -> Self {
        Problem { place: None, message: message.into(), hint: None }
    }

    /// Places it, unless it has a place already.
    pub fn at(mut self, place: Option<Place>) -> Self {
        self.place = self.place.or(place);
        self
    }

    /// Adds what would be right.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds what would be right, if anything is near.
    pub fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(Place { line, column }) = self.place {
            write!(f, ":{line}:{column}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// "did you mean x?" with the name nearest to `word`, if one is near enough to be a typing error.
pub(crate) fn did_you_mean<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(word, names).map(|name| format!("did you mean {name}?"))
}

/// The name nearest to `word`, if one is near enough to be a typing error.
pub(crate) fn nearest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    names
        .into_iter()
        .map(|name| (strsim::normalized_damerau_levenshtein(&word, name), name))
        .filter(|(score, _)| *score >= 0.6)
        // On a tie the first one stands, so a table's order is its preference.
        .fold(None, |best: Option<(f64, &str)>, next| match best {
            Some(best) if best.0 >= next.0 => Some(best),
            _ => Some(next),
        })
        .map(|(_, name)| name)
}
