//! The section `certificate`: what it means, and what is said of one that is wrong.

use std::path::Path;

use crate::auth::method::MethodFamily;
use crate::auth::{Policy, SendCert};
use crate::config::*;
use crate::engine::AuthSpec;

/// A folder with our certificate for `gw.test`, its key, another key, and a CA.
fn folder() -> tempfile::TempDir {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    let mut root = CertificateParams::default();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = CertifiedIssuer::self_signed(root, KeyPair::generate().unwrap()).unwrap();
    let mut leaf = CertificateParams::default();
    leaf.distinguished_name = Default::default();
    leaf.distinguished_name.push(DnType::OrganizationName, "Lab");
    leaf.distinguished_name.push(DnType::CommonName, "gw.test");
    leaf.subject_alt_names = vec![SanType::DnsName("gw.test".try_into().unwrap())];
    let key = KeyPair::generate().unwrap();
    put("gw.pem", &leaf.signed_by(&key, &root).unwrap().pem());
    put("gw.key", &key.serialize_pem());
    put("other.key", &KeyPair::generate().unwrap().serialize_pem());
    put("ca.pem", &root.pem());
    dir
}

fn parse_auth(dir: &Path, id: &str, auth: &str) -> Result<Loaded, String> {
    let text = format!(
        "version: 1\nlocal: {{address: 192.0.2.1{id}}}\nremote: {{address: 192.0.2.2}}\nauth:\n{auth}\n\
         ike: {{proposals: [aes256-sha256-modp2048]}}\nchildren: [{{proposals: [aes256-sha256]}}]\n"
    );
    let said = parse(&text, "lab.yaml", dir, &|_| Some("a key".into()));
    said.map_err(|error| error.to_string().replace(&dir.display().to_string(), "DIR"))
}

const LOCAL: &str = "  local: {certificate: {chain: gw.pem, key: gw.key}}";
const REMOTE: &str = "  remote: {certificate: {ca: [ca.pem]}}";

#[test]
fn both_ends_are_read() {
    let dir = folder();
    let loaded = parse_auth(dir.path(), "", &format!("{LOCAL}\n{REMOTE}")).unwrap();
    assert_eq!(loaded.warnings, Vec::<String>::new());
    assert_eq!(loaded.spec.local_id.to_string(), "dn:O=Lab, CN=gw.test", "from the certificate");
    assert!(!loaded.local_id_pending);
    let (AuthSpec::Certificate(ours), AuthSpec::Trust(theirs)) = (&loaded.spec.local_auth, &loaded.spec.remote_auth)
    else {
        panic!("certificates")
    };
    assert_eq!((ours.send, ours.signature.method), (SendCert::Always, None));
    assert_eq!((theirs.policy, theirs.anchors.len()), (Policy::Lenient, 1));
    let auth = "  local: {certificate: {chain: gw.pem, key: gw.key, send: never, signature: pss-sha384}}\n  \
                remote: {certificate: {ca: [ca.pem], policy: strict, pin: gw.pem}}";
    let loaded = parse_auth(dir.path(), ", id: gw.test", auth).unwrap();
    assert_eq!(loaded.spec.local_id.to_string(), "fqdn:gw.test");
    let (AuthSpec::Certificate(ours), AuthSpec::Trust(theirs)) = (&loaded.spec.local_auth, &loaded.spec.remote_auth)
    else {
        panic!("certificates")
    };
    assert_eq!((ours.send, ours.signature.pss), (SendCert::Never, true));
    assert_eq!(ours.signature.method, Some(MethodFamily::DigitalSignature));
    assert_eq!((theirs.policy, theirs.pin.is_some()), (Policy::Strict, true));
    // One way a certificate, the other way a key.
    let loaded = parse_auth(dir.path(), "", &format!("{LOCAL}\n  remote: {{psk_env: PSK}}")).unwrap();
    assert!(matches!(loaded.spec.remote_auth, AuthSpec::Psk(_)));
    // A name as people write it becomes the certificate's own octets.
    let loaded = parse_auth(dir.path(), ", id: \"dn:o=lab, cn=GW.test\"", &format!("{LOCAL}\n{REMOTE}")).unwrap();
    assert_eq!(loaded.spec.local_id.to_string(), "dn:O=Lab, CN=gw.test");
    let loaded = parse_auth(dir.path(), ", id: other.test", &format!("{LOCAL}\n{REMOTE}")).unwrap();
    assert!(loaded.warnings[0].contains("does not hold our identity fqdn:other.test"), "{:?}", loaded.warnings);
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let dir = folder();
    for (auth, wanted) in [
        (
            format!("  local: {{certificate: {{chain: gw.pem, key: other.key}}}}\n{REMOTE}"),
            "lab.yaml:5:45: auth.local.certificate.key: the private key is not that of the certificate of O=Lab, \
             CN=gw.test (both are ECDSA P-256)",
        ),
        (
            format!("  local: {{certificate: {{chain: gw.pem, key: gone.key}}}}\n{REMOTE}"),
            "lab.yaml:5:45: auth.local.certificate.key: cannot read DIR/gone.key: no such file",
        ),
        (
            format!("  local: {{certificate: {{chain: gw.key, key: gw.key}}}}\n{REMOTE}"),
            "lab.yaml:5:32: auth.local.certificate.chain: DIR/gw.key: no certificate in it, but PRIVATE KEY",
        ),
        (
            format!("  local: {{certificate: {{chain: gw.pem, key: gw.key, sent: never}}}}\n{REMOTE}"),
            "lab.yaml:5:53: auth.local.certificate.sent: unknown key `sent` (did you mean send?)",
        ),
        (
            format!("  local: {{certificate: {{chain: gw.pem, key: gw.key, signature: psss}}}}\n{REMOTE}"),
            "lab.yaml:5:64: auth.local.certificate.signature: unknown signature `psss` (did you mean pss?)",
        ),
        (
            LOCAL.to_owned(),
            "lab.yaml:5:10: auth.local: auth.remote is missing: with a certificate of ours, the peer's end must be said \
             (certificate: {ca: [./ca.pem]}, or a pre-shared key)",
        ),
        (
            format!("{LOCAL}\n  remote: {{certificate: {{policy: strict}}}}"),
            "lab.yaml:6:25: auth.remote.certificate: nobody to trust (ca: [./ca.pem], or pin: ./peer.pem)",
        ),
        (
            format!("{LOCAL}\n  remote: {{certificate: {{ca: [ca.pem], key: gw.key}}}}"),
            "lab.yaml:6:45: auth.remote.certificate.key: `key` is about our own certificate, and stands in the peer's end \
             (auth.local.certificate.key)",
        ),
        (
            format!("{LOCAL}\n  remote: {{psk_env: A, certificate: {{ca: [ca.pem]}}}}"),
            "lab.yaml:6:21: auth.remote.psk_env: both a certificate and a pre-shared key for one end",
        ),
    ] {
        assert_eq!(parse_auth(dir.path(), "", &auth).expect_err("refused"), wanted);
    }
}

/// Each vendor's configuration speaks of certificates, and asks for no pre-shared key.
#[test]
fn peer_configurations_speak_of_certificates() {
    use crate::vendor::{Vendor, peer_config};
    let dir = folder();
    let loaded = parse_auth(dir.path(), "", &format!("{LOCAL}\n{REMOTE}")).unwrap();
    for (vendor, lines) in [
        (
            Vendor::StrongSwan,
            &["auth = pubkey", "certs = <CERTIFICATE-OF-THIS-BOX>.pem", "id = \"O=Lab, CN=gw.test\""][..],
        ),
        (
            Vendor::CiscoIosXe,
            &[
                "subject-name co cn = gw.test",
                "match certificate IKELAB",
                "authentication remote ecdsa-sig",
                "pki trustpoint",
            ],
        ),
        (Vendor::CiscoAsa, &["ikev2 remote-authentication certificate", "ikev2 local-authentication certificate <"]),
        (Vendor::CiscoFtd, &["ikev2 remote-authentication certificate"]),
        (Vendor::PaloAltoPanos, &["authentication certificate local-certificate name", "certificate-profile"]),
    ] {
        let text = peer_config(&loaded, vendor).text;
        for line in lines {
            assert!(text.contains(line), "{vendor:?} lacks `{line}`:\n{text}");
        }
        assert!(!text.contains("<PSK") && !text.contains("pre-share "), "{vendor:?}:\n{text}");
    }
}
