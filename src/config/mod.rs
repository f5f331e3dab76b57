//! Connection files: YAML to [`crate::engine`], with errors that name file, line, column, key and the nearest
//! valid name.
//!
//! A file describes both ends of one connection as seen from ikelab. `listen` takes several files (`-c a.yaml -c b.yaml`)
//! rather than one file with a list, so that each of them also serves `connect` and `peer-config`.

mod access;
#[cfg(test)]
mod access_tests;
mod build;
mod certificate;
mod data;
mod error;
mod file;
mod mobike;
mod path;
mod peer;
mod place;
mod rekey;
mod schedules;
mod schema;
mod secret;
mod value;
mod words;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::engine::{AuthSpec, ConnectionSpec, Limits};
use crate::link::netem::PathSpec;

pub use build::{PERSONAS, PERSONAS_WITH_PROPOSALS};
pub use certificate::Issuer;
pub use data::{DataSpec, EchoAnswers, Encapsulation, PingTarget};
pub use error::{ConfigError, Place};
pub use peer::{ControlAction, ControlSpec, PeerFacts, Vendor};
pub use schedules::Schedule;
pub use schema::connection_schema;
pub use value::{address_id, duration_words, identity};
pub use words::{encr_word, group_word, integ_word, prf_of, prf_word, proposal_words, weaknesses};

/// A connection file, read and understood.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The file; `None` for a connection made from command-line flags or in memory.
    pub source: Option<PathBuf>,
    /// What the engine needs. `remote_addr` is `None` while a host name waits in `remote_host`.
    pub spec: ConnectionSpec,
    /// `spec.local_id` is a placeholder, because the file names neither an identity nor an address of ours.
    pub local_id_pending: bool,
    /// A host name that must be resolved to become `spec.remote_addr`.
    pub remote_host: Option<String>,
    /// Who issued our certificate, if the file says that it may issue more.
    pub issuer: Option<Issuer>,
    /// Whose habits to take on.
    pub persona: String,
    /// What the file has set by itself, so that a persona leaves it alone.
    pub given: Given,
    /// What is known of the box at the other end.
    pub peer: PeerFacts,
    /// How to drive the box.
    pub control: ControlSpec,
    /// What to do with the tunnel's data.
    pub data: DataSpec,
    /// What the path does to datagrams, on purpose.
    pub path: PathSpec,
    /// Responder limits, if the file has the section.
    pub limits: Option<Limits>,
    /// What is legal and looks unintended or weak, one sentence each.
    pub warnings: Vec<String>,
}

/// Settings that a persona would make, and that a file has made.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Given {
    /// `retransmit` is in the file.
    pub retransmit: bool,
    /// `ike.fragmentation` is in the file.
    pub fragmentation: bool,
    /// `nat.traversal` is in the file.
    pub nat: bool,
}

impl Loaded {
    /// Fills in our address where the file left it open, and the identity that follows from it.
    pub fn set_local_address(&mut self, addr: IpAddr) {
        self.spec.local_addr.get_or_insert(addr);
        if self.local_id_pending {
            self.spec.local_id = address_id(addr);
            self.local_id_pending = false;
        }
    }
}

/// Reads a connection file. Relative key files are relative to it.
pub fn load(path: &Path) -> Result<Loaded, ConfigError> {
    let name = path.display().to_string();
    let text = std::fs::read(path).map_err(|error| ConfigError {
        file: name.clone(),
        place: None,
        key: String::new(),
        message: format!("cannot read it: {}", io_words(&error)),
        hint: None,
    })?;
    let text = String::from_utf8(text).map_err(|error| ConfigError {
        file: name.clone(),
        place: None,
        key: String::new(),
        message: format!("octet {} is not UTF-8 text", error.utf8_error().valid_up_to()),
        hint: None,
    })?;
    let base = path.parent().unwrap_or(Path::new(""));
    let mut loaded = parse(&text, &name, base, &|variable| std::env::var(variable).ok())?;
    loaded.source = Some(path.to_owned());
    Ok(loaded)
}

/// Reads a connection file's `text`, called `name` in errors. Key files are relative to `base`; `env` looks up
/// environment variables.
pub fn parse(text: &str, name: &str, base: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, ConfigError> {
    let stem = Path::new(name).file_stem().map_or_else(|| name.to_owned(), |s| s.to_string_lossy().into_owned());
    let file = read(text, name)?;
    build::build(&file, &stem, &secret::Sources { base, env }).map_err(|problem| {
        let key = match (problem.place, place::Outline::read(text)) {
            (Some(place), Some(outline)) => outline.key_at(place),
            _ => String::new(),
        };
        ConfigError { file: name.to_owned(), place: problem.place, key, message: problem.message, hint: problem.hint }
    })
}

/// A proposal for the IKE SA from words, as in `ike.proposals`.
pub fn ike_proposal(text: &str) -> Result<crate::engine::ProposalSpec, String> {
    words::ike_proposal(text).map_err(sentence)
}

/// A proposal for ESP and its groups from words, as in `children[].proposals`.
pub fn esp_proposal(text: &str) -> Result<(crate::engine::ProposalSpec, Vec<crate::wire::registry::KeMethod>), String> {
    words::esp_proposal(text).map_err(sentence)
}

/// Groups for perfect forward secrecy from words, as in `children[].pfs`.
pub fn pfs(text: &str) -> Result<Vec<crate::wire::registry::KeMethod>, String> {
    words::pfs(text).map_err(sentence)
}

/// A traffic selector, as in `children[].local_ts`.
pub fn selector(text: &str) -> Result<crate::wire::TrafficSelector, String> {
    value::selector(text).map(|(selector, _)| selector).map_err(sentence)
}

/// A duration, as in `ike.lifetime`.
pub fn duration(text: &str) -> Result<std::time::Duration, String> {
    value::duration(text).map_err(sentence)
}

/// What a path does to datagrams, as in `loss=5%,delay=20ms,out.blackout=every 5m for 20s`.
pub fn path(text: &str) -> Result<PathSpec, String> {
    path::parse(text).map_err(sentence)
}

/// A network device's name, as in `data.tun`.
pub fn device_name(name: &str) -> Result<String, String> {
    data::device_name(name).map_err(sentence)
}

/// A vendor by name, as in `remote.vendor`.
pub fn vendor(name: &str) -> Result<Vendor, String> {
    build::vendor(name).map_err(sentence)
}

/// A pre-shared key from a file, and warnings about the file.
pub fn psk_file(path: &Path) -> Result<(AuthSpec, Vec<String>), String> {
    let mut warnings = Vec::new();
    let secret = secret::psk_file_at(path, &mut warnings).map_err(sentence)?;
    Ok((AuthSpec::Psk(std::sync::Arc::new(secret)), warnings))
}

/// An I/O error without its number.
pub(crate) fn io_words(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such file".into(),
        std::io::ErrorKind::PermissionDenied => "permission denied".into(),
        std::io::ErrorKind::IsADirectory => "it is a directory".into(),
        _ => {
            let text = error.to_string();
            text.split(" (os error").next().unwrap_or(&text).to_ascii_lowercase()
        }
    }
}

fn sentence(problem: error::Problem) -> String {
    match problem.hint {
        Some(hint) => format!("{} ({hint})", problem.message),
        None => problem.message,
    }
}

/// The typed reading, its errors in our words.
fn read(text: &str, name: &str) -> Result<file::ConnectionFile, ConfigError> {
    use serde_saphyr::Error as Yaml;
    let options = serde_saphyr::options! { with_snippet: false };
    let error = match serde_saphyr::from_str_with_options(text, options) {
        Ok(file) => return Ok(file),
        Err(error) => error,
    };
    let error = error.without_snippet();
    let mut at = error.location().and_then(|l| place::place(&l));
    let mut key = String::new();
    if let (Some(wanted), Some(outline)) = (at, place::Outline::read(text)) {
        key = outline.key_at(wanted);
        // A missing key is reported at the last key that is there.
        if let (Yaml::SerdeMissingField { .. }, Some(mapping)) = (error, outline.mapping_at(wanted)) {
            (key, at) = (mapping.0, Some(mapping.1));
        }
    }
    let (message, hint) = match error {
        Yaml::SerdeUnknownField { field, expected, .. } => (
            format!("unknown key `{field}`"),
            Some(
                error::did_you_mean(field, expected.iter().copied())
                    .unwrap_or_else(|| format!("one of {}", expected.join(", "))),
            ),
        ),
        Yaml::SerdeMissingField { field, .. } => (format!("the key `{field}` is missing"), None),
        Yaml::DuplicateMappingKey { key: Some(key), .. } => (format!("the key `{key}` stands here twice"), None),
        Yaml::InvalidScalar { ty: "boolean", .. } | Yaml::InvalidBooleanStrict { .. } => {
            ("neither true nor false".into(), None)
        }
        Yaml::InvalidScalar { ty, .. } => (format!("not a {}", type_words(ty)), None),
        Yaml::SerdeInvalidType { unexpected, expected, .. } => (format!("{unexpected} where {expected} belongs"), None),
        Yaml::Unexpected { expected, .. } => (format!("not a {}", type_words(expected)), None),
        Yaml::Eof { .. } => ("the file is empty".into(), Some("it begins with version: 1".into())),
        other => {
            // What remains is not YAML; the parser's own words end with the place, which stands in front already.
            let words = other.to_string();
            (words.split(" at line ").next().unwrap_or(&words).to_owned(), None)
        }
    };
    Err(ConfigError { file: name.to_owned(), place: at, key, message, hint })
}

fn type_words(ty: &'static str) -> &'static str {
    match ty {
        "u8" => "number from 0 to 255",
        "u16" => "number from 0 to 65535",
        "u32" => "whole number",
        "f64" => "number",
        "sequence start" => "list",
        "mapping start" => "section of keys and values",
        "string scalar" => "text",
        other => other,
    }
}

#[cfg(test)]
mod tests;
