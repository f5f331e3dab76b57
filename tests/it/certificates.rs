//! Certificates between two endpoints in memory: who sends what, who finds what, and what each end is told.

use std::sync::Arc;
use std::time::Duration;

use ikelab::auth::{CertFault, Certificate, Credential, SendCert, SignaturePolicy, Trust};
use ikelab::crypto::{PrivateKey, Scheme, SignHash};
use ikelab::engine::{
    AuthFault, AuthSpec, ConnectionSpec, Endpoint, Event, FailScope, Failure, FailureClass, IdMatch, Side,
};
use ikelab::seed::Seeds;
use ikelab::time::UnixTime;
use ikelab::wire::registry::{AuthMethod, CertEncoding, IdType, NotifyType};
use ikelab::wire::{IdPayload, Payload};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose, SanType};

use super::pair::{End, Pair, config, id, left_spec, psk, right_spec};

/// 2026-06-01.
const EPOCH: u64 = 1_780_272_000;

pub type Issuer = CertifiedIssuer<'static, KeyPair>;

pub fn root(cn: &str) -> Issuer {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, cn);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, key()).expect("a root")
}

fn key() -> KeyPair {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key pair")
}

pub fn credential(name: &str, issuer: &Issuer) -> Credential {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.subject_alt_names = vec![SanType::DnsName(name.try_into().expect("a name"))];
    let key = key();
    let leaf = params.signed_by(&key, issuer).expect("a leaf");
    let chain = vec![Certificate::from_der(leaf.der()).expect("ours"), certificate(issuer)];
    Credential::new(chain, PrivateKey::from_der(key.serialized_der()).expect("a key")).expect("a pair")
}

fn certificate(issuer: &Issuer) -> Certificate {
    Certificate::from_der(issuer.der()).expect("ours")
}

pub fn trust(issuer: &Issuer) -> AuthSpec {
    AuthSpec::Trust(Arc::new(Trust { anchors: vec![certificate(issuer)], ..Trust::default() }))
}

fn specs(root: &Issuer) -> (ConnectionSpec, ConnectionSpec) {
    let (mut left, mut right) = (left_spec(), right_spec());
    left.local_auth = AuthSpec::Certificate(Arc::new(credential("left.test", root)));
    right.local_auth = AuthSpec::Certificate(Arc::new(credential("right.test", root)));
    (left.remote_auth, right.remote_auth) = (trust(root), trust(root));
    (left, right)
}

/// Runs a handshake in 2026.
fn handshake(left: ConnectionSpec, right: ConnectionSpec) -> Pair {
    let mut pair = Pair::to(right.clone());
    let endpoint = |cfg, seed| Endpoint::new(Arc::new(cfg), Seeds::simulated(seed), UnixTime(EPOCH * 1_000_000_000));
    pair.left = endpoint(config(vec![], 1), "left");
    pair.right = endpoint(config(vec![right], 2), "right");
    pair.connect(left);
    pair.settle();
    pair
}

/// Payloads of what an end sent in IKE_SA_INIT (false) or IKE_AUTH (true).
fn sent(pair: &Pair, end: End, auth: bool) -> Vec<Payload> {
    let messages = pair.said(end).filter_map(|event| match event {
        Event::Message(trace) if trace.from == Side::Us => Some(&trace.message),
        _ => None,
    });
    let payloads = |m: &ikelab::wire::Message| if auth { m.sk.clone() } else { Some(m.outer.clone()) };
    messages.filter(|m| m.sk.is_some() == auth).find_map(payloads).unwrap_or_default()
}

fn failure(pair: &Pair, end: End) -> &Failure {
    let mut failed = pair.said(end).filter_map(|event| match event {
        Event::Failed(failed) => Some(&failed.why),
        _ => None,
    });
    failed.next().unwrap_or_else(|| panic!("{end:?} has not failed"))
}

fn certificates(payloads: &[Payload]) -> usize {
    payloads.iter().filter(|p| matches!(p, Payload::Cert(_))).count()
}

#[test]
fn both_ends_prove_themselves_and_are_told_by_what() {
    let root = root("Root");
    let (left, right) = specs(&root);
    let pair = handshake(left, right);
    assert!(pair.is_up(End::Left) && pair.is_up(End::Right));
    for (end, peer) in [(End::Left, "CN=right.test"), (End::Right, "CN=left.test")] {
        let judged = pair.said(end).find_map(|event| match event {
            Event::PeerCertificate(judged) => Some(judged),
            _ => None,
        });
        let judged = judged.expect("it says so");
        assert!(judged.subject.ends_with(peer), "{judged:?}");
        assert_eq!(judged.scheme, Scheme::Ecdsa(SignHash::Sha256), "RFC 7427, since both announced it");
    }
    // RFC 7427 4: announced in both directions; RFC 7296 1.2: the responder asks in IKE_SA_INIT, the initiator in IKE_AUTH.
    let is_announcement = |p: &Payload| matches!(p, Payload::Notify(n) if n.kind == NotifyType::SIGNATURE_HASH_ALGORITHMS && n.data == [0, 2, 0, 3, 0, 4, 0, 5]);
    let authorities = certificate(&root).spki_sha1();
    let asks = |p: &Payload| matches!(p, Payload::CertReq(r) if r.encoding == CertEncoding::X509_SIGNATURE && r.data == authorities);
    for end in [End::Left, End::Right] {
        assert!(sent(&pair, end, false).iter().any(is_announcement));
    }
    assert!(sent(&pair, End::Right, false).iter().any(asks) && sent(&pair, End::Left, true).iter().any(asks));
    assert!(!sent(&pair, End::Left, false).iter().any(asks) && !sent(&pair, End::Right, true).iter().any(asks));
    // The root is never sent.
    assert_eq!(certificates(&sent(&pair, End::Left, true)), 1);
    assert_eq!(certificates(&sent(&pair, End::Right, true)), 1);
    let lookup = |p: &Payload| matches!(p, Payload::Notify(n) if n.kind == NotifyType::HTTP_CERT_LOOKUP_SUPPORTED);
    assert!(!sent(&pair, End::Left, false).iter().chain(&sent(&pair, End::Right, false)).any(lookup));
}

#[test]
fn nobody_speaks_of_signatures_where_keys_are_shared() {
    let pair = handshake(left_spec(), right_spec());
    for end in [End::Left, End::Right] {
        let spoke = sent(&pair, end, false).iter().chain(&sent(&pair, end, true)).any(|p| {
            matches!(p, Payload::CertReq(_) | Payload::Cert(_))
                || matches!(p, Payload::Notify(n) if n.kind == NotifyType::SIGNATURE_HASH_ALGORITHMS)
        });
        assert!(!spoke, "{end:?}");
    }
}

#[test]
fn the_two_directions_differ() {
    let root = root("Root");
    let (certified, trusting) = specs(&root);
    // A key one way, a certificate the other.
    let (mut left, mut right) = (certified.clone(), trusting.clone());
    (left.remote_auth, right.local_auth) = (psk("theirs"), psk("theirs"));
    let pair = handshake(left, right);
    assert!(pair.is_up(End::Left) && pair.is_up(End::Right));
    assert_eq!(certificates(&sent(&pair, End::Right, true)), 0);
    // Another key each way.
    let (mut left, mut right) = (left_spec(), right_spec());
    (left.local_auth, left.remote_auth) = (psk("ours"), psk("theirs"));
    (right.local_auth, right.remote_auth) = (psk("theirs"), psk("ours"));
    let pair = handshake(left.clone(), right.clone());
    assert!(pair.is_up(End::Left) && pair.is_up(End::Right));
    right.local_auth = psk("ours");
    let pair = handshake(left, right);
    assert!(matches!(failure(&pair, End::Left), Failure::AuthFailed(AuthFault::Mismatch { .. })));
    // A key where a certificate is wanted, and the other way round.
    let mut left = certified.clone();
    left.local_auth = psk("a key");
    let pair = handshake(left, trusting.clone());
    let method = AuthMethod::SHARED_KEY_MIC;
    assert_eq!(*failure(&pair, End::Right), Failure::AuthFailed(AuthFault::Method { got: method }));
    let mut right = trusting;
    right.remote_auth = psk("a key");
    let pair = handshake(certified, right);
    let method = AuthMethod::DIGITAL_SIGNATURE;
    assert_eq!(*failure(&pair, End::Right), Failure::AuthFailed(AuthFault::Method { got: method }));
}

#[test]
fn each_end_refuses_what_it_does_not_trust() {
    let (root, other) = (root("Root"), root("Other"));
    let (left, right) = specs(&root);
    let rejected = |failure: &Failure| {
        matches!(failure, Failure::Rejected { notify: NotifyType::AUTHENTICATION_FAILED, protected: true, .. })
    };
    let mut stranger = left.clone();
    stranger.local_auth = AuthSpec::Certificate(Arc::new(credential("left.test", &other)));
    let pair = handshake(stranger, right.clone());
    let Failure::AuthFailed(AuthFault::Certificate(fault)) = failure(&pair, End::Right) else {
        panic!("a certificate")
    };
    assert!(matches!(**fault, CertFault::UnknownIssuer { .. }), "{fault}");
    assert!(rejected(failure(&pair, End::Left)));

    let mut stranger = right.clone();
    stranger.local_auth = AuthSpec::Certificate(Arc::new(credential("right.test", &other)));
    let mut pair = handshake(left.clone(), stranger);
    let Failure::AuthFailed(AuthFault::Certificate(fault)) = failure(&pair, End::Left) else { panic!("a certificate") };
    assert_eq!(fault.check(), "issuer");
    assert!(rejected(failure(&pair, End::Right)), "in an INFORMATIONAL (RFC 7296 2.21.2)");
    pair.run_for(Duration::from_secs(10));
    assert_eq!((pair.left.sa_count(), pair.right.sa_count()), (0, 0));

    // A good certificate, for another name.
    let mut liar = left;
    liar.local_auth = AuthSpec::Certificate(Arc::new(credential("somebody.test", &root)));
    let pair = handshake(liar, right);
    let why = failure(&pair, End::Right);
    let text = why.to_string();
    assert!(text.contains("the peer says it is fqdn:left.test") && text.contains("fqdn:somebody.test"), "{text}");
    assert_eq!(why.class(FailScope::IkeSa, ikelab::wire::registry::ExchangeType::IKE_AUTH), FailureClass::IdMismatch);
}

#[test]
fn certificates_are_sent_as_configured() {
    let root = root("Root");
    let (left, right) = specs(&root);
    let with = |send: SendCert, signature: SignaturePolicy| {
        let mut spec = left.clone();
        let mut credential = credential("left.test", &root);
        (credential.send, credential.signature) = (send, signature);
        spec.local_auth = AuthSpec::Certificate(Arc::new(credential));
        spec
    };
    let auto = SignaturePolicy::default();
    let pair = handshake(with(SendCert::Never, auto), right.clone());
    let Failure::AuthFailed(AuthFault::Certificate(fault)) = failure(&pair, End::Right) else {
        panic!("a certificate")
    };
    assert_eq!(**fault, CertFault::Missing);
    let pair = handshake(with(SendCert::Always, auto), right.clone());
    assert_eq!(certificates(&sent(&pair, End::Left, true)), 1);
    // Told to use what was before RFC 7427.
    let old = SignaturePolicy { method: Some(ikelab::auth::method::MethodFamily::Old), ..auto };
    let pair = handshake(with(SendCert::IfAsked, old), right);
    assert!(pair.is_up(End::Right));
    let method = sent(&pair, End::Left, true).into_iter().find_map(|p| match p {
        Payload::Auth(auth) => Some(auth.method),
        _ => None,
    });
    assert_eq!(method, Some(AuthMethod::ECDSA_SHA256_P256));
}

#[test]
fn a_responder_serves_keys_and_certificates_side_by_side() {
    let root = root("Root");
    let (left, mut certified) = specs(&root);
    let mut keyed = right_spec();
    (certified.remote_id, keyed.remote_id) = (IdMatch::Any, IdMatch::Any);
    for (initiator, certificates) in [(left, true), (left_spec(), false)] {
        let mut pair = Pair::new(config(vec![], 1), config(vec![keyed.clone(), certified.clone()], 2));
        let epoch = UnixTime(EPOCH * 1_000_000_000);
        pair.left = Endpoint::new(Arc::new(config(vec![], 1)), Seeds::simulated("left"), epoch);
        let both = config(vec![keyed.clone(), certified.clone()], 2);
        pair.right = Endpoint::new(Arc::new(both), Seeds::simulated("right"), epoch);
        pair.connect(initiator);
        pair.settle();
        assert!(pair.is_up(End::Left) && pair.is_up(End::Right), "certificates: {certificates}");
    }
}

#[test]
fn names_are_matched_by_meaning() {
    let root = root("Root");
    let (mut left, right) = specs(&root);
    let AuthSpec::Certificate(own) = &right.local_auth else { panic!("a certificate") };
    let subject = own.leaf().subject().to_vec();
    let mut right = right.clone();
    right.local_id = IdPayload::new(IdType::ID_DER_ASN1_DN, subject.clone());
    let text = ikelab::wire::dn_text(&subject).expect("a name");
    let wanted = ikelab::wire::dn_from_text(&text.to_uppercase()).expect("a name");
    assert_ne!(wanted, subject);
    left.remote_id = IdMatch::Exact(IdPayload::new(IdType::ID_DER_ASN1_DN, wanted));
    let pair = handshake(left.clone(), right);
    assert!(pair.is_up(End::Left), "{:?}", failure(&pair, End::Left));
    left.remote_id = IdMatch::Exact(id("right.test"));
}
