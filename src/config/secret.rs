//! How one end proves itself, and where a pre-shared key comes from: a file, the environment, or (with a warning) the YAML file itself.

use std::path::Path;
use std::sync::Arc;

use zeroize::Zeroize;

use super::error::Problem;
use super::file::{At, AuthEnd, CertificateSection};
use super::value;
use crate::crypto::Secret;
use crate::engine::AuthSpec;

/// What reading a key needs to know of the world.
pub(crate) struct Sources<'a> {
    /// Relative key files are relative to this directory.
    pub base: &'a Path,
    /// Looks up an environment variable.
    pub env: &'a dyn Fn(&str) -> Option<String>,
}

/// How we prove who we are; warnings are appended.
pub(crate) fn local(end: &At<AuthEnd>, sources: &Sources<'_>, warnings: &mut Vec<String>) -> Result<AuthSpec, Problem> {
    match certificate_section(end)? {
        Some(section) => {
            let credential = super::certificate::credential(section, sources, warnings)?;
            Ok(AuthSpec::Certificate(Arc::new(credential)))
        }
        None => psk(end, sources, warnings),
    }
}

/// How the peer must prove who it is; warnings are appended.
pub(crate) fn remote(
    end: &At<AuthEnd>,
    sources: &Sources<'_>,
    warnings: &mut Vec<String>,
) -> Result<AuthSpec, Problem> {
    match certificate_section(end)? {
        Some(section) => Ok(AuthSpec::Trust(Arc::new(super::certificate::trust(section, sources)?))),
        None => psk(end, sources, warnings),
    }
}

fn certificate_section(end: &At<AuthEnd>) -> Result<Option<&At<CertificateSection>>, Problem> {
    let AuthEnd { psk_file, psk_env, psk, certificate, .. } = &end.value;
    let key = [psk_file, psk_env, psk].into_iter().flatten().next();
    match (certificate, key) {
        (Some(_), Some(key)) => Err(Problem::new("both a certificate and a pre-shared key for one end").at(key.place)),
        (section, _) => Ok(section.as_ref()),
    }
}

/// Reads the key; warnings are appended.
fn psk(end: &At<AuthEnd>, sources: &Sources<'_>, warnings: &mut Vec<String>) -> Result<AuthSpec, Problem> {
    let AuthEnd { psk_file, psk_env, psk, .. } = &end.value;
    let secret = match (psk_file, psk_env, psk) {
        (Some(file), None, None) => {
            psk_file_at(&sources.base.join(&file.value), warnings).map_err(|p| p.at(file.place))?
        }
        (None, Some(name), None) => match (sources.env)(&name.value) {
            Some(text) if !text.is_empty() => from_text(text).map_err(|p| p.at(name.place))?,
            Some(_) => {
                return Err(Problem::new(format!("the environment variable {} is empty", name.value)).at(name.place));
            }
            None => {
                return Err(Problem::new(format!("the environment variable {} is not set", name.value)).at(name.place));
            }
        },
        (None, None, Some(text)) => {
            warnings.push("the pre-shared key stands in the YAML file; a psk_file beside it is safer to share".into());
            from_text(text.value.clone()).map_err(|p| p.at(text.place))?
        }
        (None, None, None) => {
            return Err(Problem::new("no pre-shared key and no certificate")
                .hint("psk_file: ./psk, psk_env: NAME, certificate:, or eap:")
                .at(end.place));
        }
        _ => return Err(Problem::new("more than one of psk_file, psk_env and psk").at(end.place)),
    };
    Ok(AuthSpec::Psk(Arc::new(secret)))
}

/// Reads a key file: its whole content without exactly one trailing newline. Warnings are appended.
pub(crate) fn psk_file_at(path: &Path, warnings: &mut Vec<String>) -> Result<Secret, Problem> {
    let mut bytes = std::fs::read(path)
        .map_err(|e| Problem::new(format!("cannot read {}: {}", path.display(), super::io_words(&e))))?;
    let end = match bytes.as_slice() {
        [.., b'\r', b'\n'] => bytes.len() - 2,
        [.., b'\n'] => bytes.len() - 1,
        _ => bytes.len(),
    };
    let key = &bytes[..end];
    if key.is_empty() {
        return Err(Problem::new(format!("{} is empty", path.display())));
    }
    if key.last().is_some_and(u8::is_ascii_whitespace) || key.first().is_some_and(u8::is_ascii_whitespace) {
        warnings.push(format!("{}: the key begins or ends with white space, which counts", path.display()));
    }
    if let Some(mode) = readable_by_others(path) {
        warnings.push(format!("{} is readable by others (mode {mode:04o}); chmod 600 it", path.display()));
    }
    let secret = Secret::new(key);
    bytes.zeroize();
    Ok(secret)
}

fn from_text(mut text: String) -> Result<Secret, Problem> {
    let octets = value::octets(&text);
    text.zeroize();
    octets.map(Secret::new)
}

/// The permission bits of a file that its group or everybody may read.
#[cfg(unix)]
pub(crate) fn readable_by_others(path: &Path) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o7777;
    (mode & 0o077 != 0).then_some(mode)
}

#[cfg(not(unix))]
pub(crate) fn readable_by_others(_: &Path) -> Option<u32> {
    None
}
