//! A certification authority for load: one leaf per tunnel, with the tunnel's identity in it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
    SerialNumber, string::Ia5String,
};

use crate::auth::{Certificate, Credential, private_key};
use crate::time::UnixTime;
use crate::wire::IdPayload;
use crate::wire::registry::IdType;

const CERTIFICATE: &str = "ca.pem";
const KEY: &str = "ca.key";
/// How long leaves are valid, from a day before the run.
const VALID: Duration = Duration::from_secs(30 * 86_400);

/// An authority whose certificate lies in a directory.
pub struct LoadCa {
    issuer: Issuer<'static, KeyPair>,
    valid: (std::time::SystemTime, std::time::SystemTime),
}

/// Makes an authority: `ca.pem` to be trusted by the peer, `ca.key` (mode 0600) to issue with.
///
/// # Errors
///
/// In words, if there is one already or the directory cannot be written.
pub fn make(dir: &Path) -> Result<(), String> {
    let (pem, key) = (dir.join(CERTIFICATE), dir.join(KEY));
    if pem.exists() || key.exists() {
        return Err(format!("{} holds an authority already", dir.display()));
    }
    let pair = KeyPair::generate().map_err(|e| e.to_string())?;
    let certificate = params().self_signed(&pair).map_err(|e| e.to_string())?;
    std::fs::create_dir_all(dir).map_err(|e| format!("cannot create {}: {e}", dir.display()))?;
    write_secret(&key, &pair.serialize_pem()).map_err(|e| format!("cannot write {}: {e}", key.display()))?;
    std::fs::write(&pem, certificate.pem()).map_err(|e| format!("cannot write {}: {e}", pem.display()))
}

fn write_secret(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

/// What the authority says of itself; it follows from nothing else, so that its key alone is enough to issue.
fn params() -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "ikelab");
    name.push(DnType::CommonName, "ikelab load CA");
    params.distinguished_name = name;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

impl LoadCa {
    /// Opens the authority in a directory that [`make`] has filled.
    ///
    /// # Errors
    ///
    /// In words, if its key cannot be read.
    pub fn open(dir: &Path, now: UnixTime) -> Result<LoadCa, String> {
        let key = dir.join(KEY);
        let text = std::fs::read_to_string(&key).map_err(|e| format!("cannot read {}: {e}", key.display()))?;
        let pair = KeyPair::from_pem(&text).map_err(|e| format!("{}: {e}", key.display()))?;
        let day = Duration::from_secs(86_400);
        let begin = std::time::UNIX_EPOCH + Duration::from_nanos(now.0).saturating_sub(day);
        Ok(LoadCa { issuer: Issuer::new(params(), pair), valid: (begin, begin + VALID) })
    }

    /// A leaf for tunnel `n` with `id` in it: an ECDSA P-256 key of its own, the chain being the leaf alone.
    ///
    /// # Errors
    ///
    /// In words, if the identity cannot stand in a certificate.
    pub fn issue(&self, n: u64, id: &IdPayload) -> Result<Arc<Credential>, String> {
        let pair = KeyPair::generate().map_err(|e| e.to_string())?;
        let mut params = CertificateParams::default();
        let mut name = DistinguishedName::new();
        name.push(DnType::OrganizationName, "ikelab");
        name.push(DnType::CommonName, format!("tunnel {n}"));
        params.distinguished_name = name;
        params.subject_alt_names = vec![alt_name(id)?];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(SerialNumber::from(n + 1));
        (params.not_before, params.not_after) = (self.valid.0.into(), self.valid.1.into());
        let leaf = params.signed_by(&pair, &self.issuer).map_err(|e| e.to_string())?;
        let certificate = Certificate::from_der(leaf.der())?;
        let key = private_key(pair.serialize_pem().as_bytes()).map_err(|e| e.to_string())?;
        Ok(Arc::new(Credential::new(vec![certificate], key).map_err(|e| e.to_string())?))
    }
}

fn alt_name(id: &IdPayload) -> Result<SanType, String> {
    let text = || {
        let text = String::from_utf8(id.data.clone()).map_err(|_| format!("the identity {id} is no text"))?;
        Ia5String::try_from(text).map_err(|_| format!("the identity {id} is not ASCII"))
    };
    match id.kind {
        IdType::ID_FQDN => Ok(SanType::DnsName(text()?)),
        IdType::ID_RFC822_ADDR => Ok(SanType::Rfc822Name(text()?)),
        IdType::ID_IPV4_ADDR => {
            let octets: [u8; 4] = id.data.as_slice().try_into().map_err(|_| format!("{id} is no address"))?;
            Ok(SanType::IpAddress(std::net::IpAddr::from(octets)))
        }
        IdType::ID_IPV6_ADDR => {
            let octets: [u8; 16] = id.data.as_slice().try_into().map_err(|_| format!("{id} is no address"))?;
            Ok(SanType::IpAddress(std::net::IpAddr::from(octets)))
        }
        _ => Err(format!("the identity {id} has no place in a certificate: use fqdn, email or an address")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tunnel_gets_a_leaf_of_the_authority_with_its_identity() {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let here = dir.path().join("ca");
        make(&here).expect("writable");
        assert!(make(&here).expect_err("once").contains("already"));
        let root = crate::auth::certificates(&std::fs::read(here.join(CERTIFICATE)).expect("written")).expect("PEM");
        let ca = LoadCa::open(&here, UnixTime(1_790_000_000_000_000_000)).expect("its key");
        let id = |n: u64| IdPayload::new(IdType::ID_RFC822_ADDR, format!("peer-{n}@lab").into_bytes());
        for n in [0, 7] {
            let credential = ca.issue(n, &id(n)).expect("an e-mail address");
            let leaf = &credential.chain()[0];
            assert_eq!(leaf.issuer(), root[0].subject());
            assert!(leaf.subject_text().to_string().contains(&format!("tunnel {n}")), "{}", leaf.subject_text());
        }
        let key_id = IdPayload::new(IdType::ID_KEY_ID, b"x".to_vec());
        assert!(ca.issue(1, &key_id).expect_err("no such name").contains("keyid"));
    }
}
