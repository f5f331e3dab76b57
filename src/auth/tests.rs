//! Every check of a certificate, with chains made here, and files as other tools write them.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevocationReason, RevokedCertParams, SanType,
    SerialNumber, date_time_ymd,
};

use super::method::{Chosen, SignaturePolicy};
use super::*;
use crate::crypto::{Scheme, SignHash};
use crate::wire::registry::{AuthMethod, CertEncoding, IdType};
use crate::wire::{AuthPayload, CertPayload, IdPayload, dn_from_text};

const SIGNED: &[u8] = b"what AUTH covers";

/// 2025-06-15, by which the tests judge.
const NOW: i64 = 1_749_945_600;

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn params(cn: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "Lab");
    name.push(DnType::CommonName, cn);
    params.distinguished_name = name;
    params.not_before = date_time_ymd(2025, 1, 1);
    params.not_after = date_time_ymd(2026, 1, 1);
    params
}

fn ca(cn: &str) -> CertificateParams {
    let mut params = params(cn);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn root(cn: &str) -> Issuer {
    CertifiedIssuer::self_signed(ca(cn), key()).expect("a root")
}

fn key() -> KeyPair {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key pair")
}

/// A leaf's parameters: `gw.test` in the subject and as alternative name.
fn gateway() -> CertificateParams {
    let mut params = params("gw.test");
    params.subject_alt_names = vec![SanType::DnsName("gw.test".try_into().expect("a name"))];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params
}

/// What a peer shows: its certificates and its signature.
struct Shown {
    certs: Vec<CertPayload>,
    auth: AuthPayload,
}

fn payload(der: &[u8]) -> CertPayload {
    CertPayload { encoding: CertEncoding::X509_SIGNATURE, data: der.to_vec() }
}

fn sign(key: &KeyPair) -> AuthPayload {
    let key = PrivateKey::from_der(key.serialized_der()).expect("a key");
    let scheme = Scheme::Ecdsa(SignHash::Sha256);
    let chosen = Chosen { method: AuthMethod::DIGITAL_SIGNATURE, scheme };
    let data = chosen.auth_data(key.sign(scheme, SIGNED).expect("signed"));
    AuthPayload { method: chosen.method, data }
}

/// A leaf with these parameters, signed by `issuer`, shown with `between` behind it.
fn shown(params: CertificateParams, issuer: &Issuer, between: &[&Issuer]) -> Shown {
    let key = key();
    let leaf = params.signed_by(&key, issuer).expect("a leaf");
    let mut certs = vec![payload(leaf.der())];
    certs.extend(between.iter().map(|ca| payload(ca.der())));
    Shown { certs, auth: sign(&key) }
}

fn certificate(der: &[u8]) -> Certificate {
    Certificate::from_der(der).expect("a certificate")
}

fn trust(anchors: &[&Issuer], policy: Policy) -> Trust {
    Trust { anchors: anchors.iter().map(|ca| certificate(ca.der())).collect(), policy, ..Trust::default() }
}

fn fqdn(name: &str) -> IdPayload {
    IdPayload::new(IdType::ID_FQDN, name.as_bytes().to_vec())
}

fn judge_as(trust: &Trust, shown: &Shown, id: &IdPayload) -> Result<Judged, CertFault> {
    let certs: Vec<&CertPayload> = shown.certs.iter().collect();
    trust.judge(&certs, id, true, &shown.auth, SIGNED, NOW)
}

fn judge(trust: &Trust, shown: &Shown) -> Result<Judged, CertFault> {
    judge_as(trust, shown, &fqdn("gw.test"))
}

#[track_caller]
fn refused(verdict: Result<Judged, CertFault>, words: &str) -> CertFault {
    let fault = verdict.expect_err("refused");
    let text = fault.to_string();
    assert!(text.contains(words), "{text}");
    assert!(!fault.check().is_empty());
    fault
}

#[test]
fn a_good_chain_passes_and_tells_its_path() {
    let root = root("Root");
    let between = CertifiedIssuer::signed_by(ca("Between"), key(), &root).expect("an intermediate");
    let judged = judge(&trust(&[&root], Policy::Strict), &shown(gateway(), &between, &[&between])).expect("good");
    assert_eq!(judged.subject, "O=Lab, CN=gw.test");
    assert_eq!(judged.issuers, ["O=Lab, CN=Between", "O=Lab, CN=Root"]);
    assert_eq!(judged.notes, Vec::<String>::new());
    assert_eq!(judged.scheme, Scheme::Ecdsa(SignHash::Sha256));
    // An intermediate may be trusted itself, and the peer may send the root as well.
    let judged = judge(&trust(&[&between], Policy::Strict), &shown(gateway(), &between, &[&between, &root]));
    assert_eq!(judged.expect("good").issuers, ["O=Lab, CN=Between"]);
}

#[test]
fn dates_are_judged_and_named() {
    let root = root("Root");
    let trusted = trust(&[&root], Policy::Lenient);
    let mut old = gateway();
    (old.not_before, old.not_after) = (date_time_ymd(2024, 1, 1), date_time_ymd(2025, 3, 1));
    let words =
        "the certificate of O=Lab, CN=gw.test expired on 2025-03-01 00:00:00 UTC (it is 2025-06-15 00:00:00 UTC)";
    refused(judge(&trusted, &shown(old, &root, &[])), words);
    let mut early = gateway();
    early.not_before = date_time_ymd(2025, 7, 1);
    refused(judge(&trusted, &shown(early, &root, &[])), "gw.test is not valid before 2025-07-01");

    let mut expired = ca("Old Between");
    expired.not_after = date_time_ymd(2025, 2, 1);
    let between = CertifiedIssuer::signed_by(expired.clone(), key(), &root).expect("an intermediate");
    refused(judge(&trusted, &shown(gateway(), &between, &[&between])), "CN=Old Between expired on 2025-02-01");
    let old_root = CertifiedIssuer::self_signed(expired, key()).expect("a root");
    let fault = judge(&trust(&[&old_root], Policy::Lenient), &shown(gateway(), &old_root, &[]));
    assert_eq!(refused(fault, "CN=Old Between expired on 2025-02-01").check(), "validity");
}

#[test]
fn a_path_that_leads_nowhere_says_where_it_ends() {
    let (root, other) = (root("Root"), root("Other"));
    let between = CertifiedIssuer::signed_by(ca("Between"), key(), &root).expect("an intermediate");
    let trusted = trust(&[&root], Policy::Lenient);
    let words = "the issuer of O=Lab, CN=gw.test is O=Lab, CN=Between, which is neither";
    let fault = refused(judge(&trusted, &shown(gateway(), &between, &[])), words);
    assert!(matches!(fault, CertFault::UnknownIssuer { whole: false, .. }));
    assert!(fault.to_string().contains("trusted: O=Lab, CN=Root; sent: O=Lab, CN=gw.test"), "{fault}");
    let fault = refused(judge(&trusted, &shown(gateway(), &other, &[&other])), "CN=Other is self-signed");
    assert!(matches!(fault, CertFault::UnknownIssuer { whole: true, .. }));
    // The same name, another key.
    let twin = self::root("Root");
    let fault = judge(&trusted, &shown(gateway(), &twin, &[]));
    refused(fault, "names O=Lab, CN=Root as its issuer, and the certificate of that name here has another key");
}

#[test]
fn who_signs_must_be_a_ca() {
    let root = root("Root");
    let mut no_ca = params("Just a leaf");
    no_ca.is_ca = IsCa::ExplicitNoCa;
    let leaf = CertifiedIssuer::signed_by(no_ca, key(), &root).expect("a leaf");
    let trusted = trust(&[&root], Policy::Lenient);
    refused(judge(&trusted, &shown(gateway(), &leaf, &[&leaf])), "CN=Just a leaf signed a certificate");
    let mut no_signer = ca("No signer");
    no_signer.key_usages = vec![KeyUsagePurpose::CrlSign];
    let between = CertifiedIssuer::signed_by(no_signer, key(), &root).expect("an intermediate");
    refused(judge(&trusted, &shown(gateway(), &between, &[&between])), "keyCertSign");
    let mut silent = ca("Silent");
    silent.key_usages.clear();
    let silent = CertifiedIssuer::self_signed(silent, key()).expect("a root");
    let judged = judge(&trust(&[&silent], Policy::Lenient), &shown(gateway(), &silent, &[])).expect("good");
    assert_eq!(judged.notes, ["the CA certificate O=Lab, CN=Silent has no key usage (RFC 5280 4.2.1.3)"]);
}

#[test]
fn usage_is_judged_by_rfc_4945_and_leniently() {
    let root = root("Root");
    let (strict, lenient) = (trust(&[&root], Policy::Strict), trust(&[&root], Policy::Lenient));
    let with = |purposes: Vec<ExtendedKeyUsagePurpose>| {
        let mut params = gateway();
        params.extended_key_usages = purposes;
        shown(params, &root, &[])
    };
    let ike = with(vec![ExtendedKeyUsagePurpose::Other(vec![1, 3, 6, 1, 5, 5, 7, 3, 17])]);
    assert_eq!(judge(&strict, &ike).expect("ipsecIKE").notes, Vec::<String>::new());
    assert!(judge(&strict, &with(vec![ExtendedKeyUsagePurpose::Any])).is_ok());
    let server = with(vec![ExtendedKeyUsagePurpose::ServerAuth]);
    refused(judge(&strict, &server), "has extended key usage serverAuth; wanted: ipsecIKE");
    let notes = judge(&lenient, &server).expect("boxes accept it").notes;
    assert_eq!(notes, ["extended key usage serverAuth, where RFC 4945 5.1.3.12 wants ipsecIKE or none"]);
    let code = with(vec![ExtendedKeyUsagePurpose::CodeSigning]);
    refused(judge(&lenient, &code), "extended key usage codeSigning");
    let mut encipher = gateway();
    encipher.key_usages = vec![KeyUsagePurpose::KeyEncipherment];
    let fault =
        refused(judge(&lenient, &shown(encipher, &root, &[])), "has key usage keyEncipherment; wanted: digital");
    assert_eq!(fault.check(), "usage");
    let mut none = gateway();
    none.key_usages.clear();
    assert!(judge(&strict, &shown(none, &root, &[])).is_ok(), "no extension, no limit (RFC 4945 5.1.3.2)");
}

#[test]
fn the_identity_must_be_in_the_certificate() {
    let root = root("Root");
    let (strict, lenient) = (trust(&[&root], Policy::Strict), trust(&[&root], Policy::Lenient));
    let mut params = gateway();
    params.subject_alt_names.push(SanType::IpAddress("192.0.2.1".parse().expect("an address")));
    params.subject_alt_names.push(SanType::Rfc822Name("ops@lab.test".try_into().expect("an address")));
    let all = shown(params, &root, &[]);
    let id = |kind, data: &[u8]| IdPayload::new(kind, data.to_vec());
    let dn = |text: &str| id(IdType::ID_DER_ASN1_DN, &dn_from_text(text).expect("a name"));
    for good in [
        fqdn("GW.test"),
        id(IdType::ID_IPV4_ADDR, &[192, 0, 2, 1]),
        id(IdType::ID_RFC822_ADDR, b"ops@LAB.test"),
        dn("O=Lab, CN=gw.test"),
    ] {
        assert!(judge_as(&strict, &all, &good).is_ok(), "{good}");
    }
    for bad in [
        fqdn("other.test"),
        id(IdType::ID_IPV4_ADDR, &[192, 0, 2, 2]),
        id(IdType::ID_RFC822_ADDR, b"OPS@lab.test"),
        dn("O=Lab, CN=other.test"),
        id(IdType::ID_IPV6_ADDR, &[0; 16]),
        id(IdType::ID_NULL, &[]),
    ] {
        let fault = refused(judge_as(&lenient, &all, &bad), "which its certificate does not");
        let names = "dn:O=Lab, CN=gw.test; fqdn:gw.test; ipv4:192.0.2.1; email:ops@lab.test";
        assert!(fault.to_string().contains(names), "{fault}");
    }
    // In the subject only: real boxes take it, RFC 4945 does not.
    let mut bare = gateway();
    bare.subject_alt_names.clear();
    let bare = shown(bare, &root, &[]);
    refused(judge(&strict, &bare), "which its certificate does not");
    let notes = judge(&lenient, &bare).expect("boxes accept it").notes;
    assert_eq!(notes, ["gw.test stands in the subject's CN only, not among the alternative names"]);
    // Where there is an alternative name of that kind, the subject does not count.
    let mut other = gateway();
    other.subject_alt_names = vec![SanType::DnsName("else.test".try_into().expect("a name"))];
    refused(judge(&lenient, &shown(other, &root, &[])), "fqdn:else.test");
}

fn crl(issuer: &Issuer, serial: u64, next: i32) -> Crl {
    let params = CertificateRevocationListParams {
        this_update: date_time_ymd(next - 1, 5, 1),
        next_update: date_time_ymd(next, 1, 1),
        crl_number: SerialNumber::from(1u64),
        issuing_distribution_point: None,
        revoked_certs: vec![RevokedCertParams {
            serial_number: SerialNumber::from(serial),
            revocation_time: date_time_ymd(2025, 4, 3),
            reason_code: Some(RevocationReason::KeyCompromise),
            invalidity_date: None,
        }],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let list = params.signed_by(issuer).expect("a revocation list");
    let pem = list.pem().expect("PEM");
    assert_eq!(crls(pem.as_bytes()).expect("PEM"), crls(list.der()).expect("DER"));
    crls(list.der()).expect("DER").remove(0)
}

#[test]
fn revocation_is_found_with_its_date() {
    let root = root("Root");
    let serial = |n: u64| {
        let mut params = gateway();
        params.serial_number = Some(SerialNumber::from(n));
        params.use_authority_key_identifier_extension = true;
        shown(params, &root, &[])
    };
    let (revoked, good) = (serial(77), serial(78));
    for policy in [Policy::Lenient, Policy::Strict] {
        let mut trusted = trust(&[&root], policy);
        trusted.crls = vec![crl(&root, 77, 2026)];
        refused(judge(&trusted, &revoked), "CN=gw.test was revoked on 2025-04-03 00:00:00 UTC (keyCompromise)");
        assert_eq!(judge(&trusted, &good).expect("not on the list").notes, Vec::<String>::new());
    }
    // A list of somebody else's says nothing; a stale one is better than none.
    let other = self::root("Other");
    let (mut strict, mut lenient) = (trust(&[&root], Policy::Strict), trust(&[&root], Policy::Lenient));
    (strict.crls, lenient.crls) = (vec![crl(&other, 77, 2026)], vec![crl(&other, 77, 2026)]);
    refused(judge(&strict, &good), "there is no revocation list of O=Lab, CN=Root");
    let notes = judge(&lenient, &good).expect("unknown").notes;
    assert!(notes[0].contains("was not checked"), "{notes:?}");
    (strict.crls, lenient.crls) = (vec![crl(&root, 1, 2025)], vec![crl(&root, 1, 2025)]);
    refused(judge(&strict, &good), "cannot be told");
    let notes = judge(&lenient, &good).expect("stale").notes;
    assert_eq!(notes, ["the revocation list of O=Lab, CN=Root is past its next update"]);
}

#[test]
fn a_leaf_can_be_trusted_directly_and_pinned() {
    let own = root("gw.test");
    let shown_self = |certs: Vec<CertPayload>| Shown { certs, auth: sign(own.key()) };
    let selfsigned = shown_self(vec![payload(own.der())]);
    let id = IdPayload::new(IdType::ID_DER_ASN1_DN, certificate(own.der()).subject().to_vec());
    let direct = trust(&[&own], Policy::Lenient);
    let fault = refused(judge_as(&direct, &selfsigned, &id), "key usage keyCertSign, cRLSign");
    assert_eq!(fault.check(), "usage", "trusted directly, and still not for signatures");

    let mut own = gateway();
    own.is_ca = IsCa::NoCa;
    let own = CertifiedIssuer::self_signed(own, key()).expect("self-signed");
    let selfsigned = Shown { certs: vec![payload(own.der())], auth: sign(own.key()) };
    let direct = trust(&[&own], Policy::Strict);
    let judged = judge(&direct, &selfsigned).expect("trusted directly");
    assert_eq!(judged.issuers, Vec::<String>::new());

    let pin = Trust { pin: Some(certificate(own.der())), ..Trust::default() };
    assert!(judge(&pin, &selfsigned).is_ok());
    assert!(judge(&pin, &Shown { certs: Vec::new(), auth: sign(own.key()) }).is_ok(), "we have it already");
    let other = CertifiedIssuer::self_signed(gateway(), key()).expect("self-signed");
    let stranger = Shown { certs: vec![payload(other.der())], auth: sign(other.key()) };
    let fault = refused(judge(&pin, &stranger), "is not the pinned one");
    assert!(fault.to_string().contains(&certificate(other.der()).fingerprint()), "{fault}");
}

#[test]
fn what_is_no_certificate_is_named() {
    let root = root("Root");
    let trusted = trust(&[&root], Policy::Lenient);
    let good = shown(gateway(), &root, &[]);
    let with = |certs: Vec<CertPayload>| Shown { certs, auth: good.auth.clone() };
    refused(judge(&trusted, &with(Vec::new())), "the peer sent no certificate");
    let mut data = vec![7; 20];
    data.extend(b"http://pki.example/gw.cer\x1b[2J");
    let elsewhere = CertPayload { encoding: CertEncoding::HASH_AND_URL, data };
    let fault = refused(judge(&trusted, &with(vec![elsewhere])), "nothing is fetched: http://pki.example/gw.cer?[2J");
    assert!(matches!(fault, CertFault::HashAndUrl { .. }));
    let bundle = CertPayload { encoding: CertEncoding::HASH_AND_URL_BUNDLE, data: vec![1, 2] };
    refused(judge(&trusted, &with(vec![bundle])), "nothing is fetched");
    let raw = CertPayload { encoding: CertEncoding::RAW_PUBLIC_KEY, data: Vec::new() };
    refused(judge(&trusted, &with(vec![raw])), "Raw Public Key");
    refused(judge(&trusted, &with(vec![payload(b"0\x03abc")])), "CERT payload 1 is no X.509 certificate");
    // Hundreds of them are not looked at.
    let mut many = good.certs.clone();
    many.extend(std::iter::repeat_n(payload(b"nothing"), 300));
    refused(judge(&trusted, &with(many)), "CERT payload 2");
    let mut many = good.certs.clone();
    many.extend(std::iter::repeat_n(payload(root.der()), 300));
    assert!(judge(&trusted, &with(many)).is_ok());
}

#[test]
fn the_signature_must_be_the_keys() {
    let root = root("Root");
    let trusted = trust(&[&root], Policy::Lenient);
    let mut other = shown(gateway(), &root, &[]);
    other.auth = sign(&key());
    let words = "AUTH does not verify with the ECDSA P-256 key of O=Lab, CN=gw.test as ECDSA with SHA2-256";
    refused(judge(&trusted, &other), words);
    other.auth = AuthPayload { method: AuthMethod::RSA_DIGITAL_SIGNATURE, data: vec![0; 256] };
    refused(judge(&trusted, &other), "does not go with the ECDSA P-256 key");
    other.auth = AuthPayload { method: AuthMethod::DIGITAL_SIGNATURE, data: vec![9, 9] };
    assert_eq!(refused(judge(&trusted, &other), "cut off").check(), "signature");
}

#[test]
fn our_own_key_must_be_our_certificates() {
    let root = root("Root");
    let between = CertifiedIssuer::signed_by(ca("Between"), key(), &root).expect("an intermediate");
    let (ours, stranger) = (key(), key());
    let leaf = gateway().signed_by(&ours, &between).expect("a leaf");
    let pem = format!("{}{}{}", leaf.pem(), root.pem(), between.pem());
    let chain = certificates(pem.as_bytes()).expect("three certificates");
    let private = |pair: &KeyPair| private_key(pair.serialize_pem().as_bytes()).expect("a key");
    let fault = Credential::new(chain.clone(), private(&stranger)).expect_err("another key");
    assert_eq!(
        fault.to_string(),
        "the private key is not that of the certificate of O=Lab, CN=gw.test (both are ECDSA P-256)"
    );
    let credential = Credential::new(chain, private(&ours)).expect("ours");
    let names =
        |authorities: &[[u8; 20]]| credential.to_send(authorities).map(Certificate::subject_text).collect::<Vec<_>>();
    // The file's order does not matter; a root is never sent; nor is what the peer trusts already.
    assert_eq!(names(&[]), ["O=Lab, CN=gw.test", "O=Lab, CN=Between"]);
    assert_eq!(names(&[certificate(root.der()).spki_sha1()]), ["O=Lab, CN=gw.test", "O=Lab, CN=Between"]);
    assert_eq!(names(&[certificate(between.der()).spki_sha1()]), ["O=Lab, CN=gw.test"]);
    assert_eq!(credential.signature, SignaturePolicy::default());
    assert!(!format!("{credential:?}").contains(&ours.serialize_pem()[40..60]));
}

macro_rules! data {
    ($name:literal) => {
        include_bytes!(concat!("../../tests/data/certificates/", $name))
    };
}

#[test]
fn files_are_read_in_every_form() {
    let pkcs8 = private_key(data!("k8.pem")).expect("PKCS #8");
    assert_eq!(pkcs8.kind(), crate::crypto::KeyKind::P256);
    let sec1 = private_key(data!("sec1.pem")).expect("SEC 1");
    let signature = sec1.sign(Scheme::EcdsaRaw, SIGNED).expect("signed");
    assert_eq!(signature.len(), 64);
    assert_eq!(private_key(data!("rsa1.pem")).expect("PKCS #1").kind(), crate::crypto::KeyKind::Rsa(2048));
    let why = |octets: &[u8]| private_key(octets).expect_err("refused").to_string();
    assert!(why(data!("enc.pem")).contains("the private key is encrypted; decrypt a copy"));
    assert!(why(b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n").contains("encrypted"));
    assert_eq!(why(data!("sha1-ca.pem")), "no private key in it, but CERTIFICATE");
    assert!(why(b"nothing").contains("not a key in PKCS #8, PKCS #1 or SEC 1 form"));
    assert!(why(b"-----BEGIN PRIVATE KEY-----\n!!!\n-----END PRIVATE KEY-----\n").contains("not base64"));
    let two = [data!("k8.pem").as_slice(), data!("k8.pem")].concat();
    assert_eq!(why(&two), "2 private keys in it, where one belongs");
    let pem = certificates(data!("sha1-ca.pem")).expect("PEM");
    assert_eq!(certificates(pem[0].der()).expect("DER"), pem);
    let none = certificates(data!("k8.pem")).expect_err("refused").to_string();
    assert_eq!(none, "no certificate in it, but PRIVATE KEY");
    assert!(certificates(b"").is_err() && crls(b"x").is_err());
}

/// A chain as old boxes have it: SHA-1, and 1024 bits.
#[test]
fn old_signatures_are_a_matter_of_policy() {
    let leaf = certificates(data!("sha1-leaf.pem")).expect("PEM").remove(0);
    let key = private_key(data!("sha1-leaf.key")).expect("a key");
    let scheme = Scheme::RsaPkcs1(SignHash::Sha1);
    let auth =
        AuthPayload { method: AuthMethod::RSA_DIGITAL_SIGNATURE, data: key.sign(scheme, SIGNED).expect("signed") };
    let shown = Shown { certs: vec![payload(leaf.der())], auth };
    // It was made in November 2026.
    let judge = |policy| {
        let trust = Trust { anchors: certificates(data!("sha1-ca.pem")).expect("PEM"), policy, ..Trust::default() };
        let certs: Vec<&CertPayload> = shown.certs.iter().collect();
        trust.judge(&certs, &fqdn("old.test"), true, &shown.auth, SIGNED, 1_900_000_000)
    };
    let judged = judge(Policy::Lenient).expect("boxes accept it");
    assert_eq!(judged.scheme, scheme);
    assert_eq!(
        judged.notes,
        [
            "the certificate of O=Old, CN=old.test is signed with SHA-1",
            "its RSA key has 1024 bits, and fewer than 2048 are weak (RFC 8247 4)"
        ]
    );
    refused(judge(Policy::Strict), "CN=old.test is not accepted: it is signed with SHA-1, and the policy is strict");
}

/// Whatever a peer changes in its certificates, it is judged and not believed.
#[test]
fn changed_octets_are_refused_without_panic() {
    let root = root("Root");
    let between = CertifiedIssuer::signed_by(ca("Between"), key(), &root).expect("an intermediate");
    let mut trusted = trust(&[&root], Policy::Lenient);
    trusted.crls = vec![crl(&root, 1, 2026)];
    let good = shown(gateway(), &between, &[&between]);
    assert!(judge(&trusted, &good).is_ok());
    let mut accepted = 0;
    for which in 0..2 {
        for at in 0..good.certs[which].data.len() {
            for change in [0x01, 0x80, 0xff] {
                let mut certs = good.certs.clone();
                certs[which].data[at] ^= change;
                let verdict = judge(&trusted, &Shown { certs, auth: good.auth.clone() });
                accepted += usize::from(verdict.is_ok());
            }
        }
    }
    assert_eq!(accepted, 0);
    for cut in 0..good.certs[0].data.len() {
        let certs = vec![payload(&good.certs[0].data[..cut])];
        assert!(judge(&trusted, &Shown { certs, auth: good.auth.clone() }).is_err());
    }
}
