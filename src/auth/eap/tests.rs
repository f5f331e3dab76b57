//! Both ends against each other.

use std::sync::Arc;

use super::*;
use crate::crypto::Secret;
use crate::seed::{Purpose, Seeds};

const UNIX: u64 = 1_800_000_000;

fn rng(n: u64) -> rand_chacha::ChaCha20Rng {
    let seeds = Seeds::simulated("eap");
    seeds.stream(Seeds::tunnel_scope(0, 0), Purpose::Eap, n)
}

fn secret(text: &str) -> Arc<Secret> {
    Arc::new(Secret::from(text.as_bytes()))
}

fn user(name: &str, password: &str) -> User {
    User { name: name.into(), password: Some(secret(password)) }
}

fn server(methods: &[Method]) -> AuthenticatorSpec {
    AuthenticatorSpec {
        ask_identity: true,
        methods: methods.to_vec(),
        users: vec![user("carol", "Ar3etTnp"), user("dave", "W7R0g3do")],
        tls: None,
        name: "headend".into(),
    }
}

fn peer(identity: &str, credentials: Vec<Credential>) -> PeerSpec {
    PeerSpec { identity: identity.into(), credentials }
}

/// What a conversation came to.
struct Outcome {
    peer: Result<Option<Secret>, EapFault>,
    server: Result<Option<Secret>, EapFault>,
    /// Sizes of the authenticator's requests.
    sizes: Vec<usize>,
    version: Option<String>,
}

fn talk(peer_spec: PeerSpec, server_spec: AuthenticatorSpec) -> Outcome {
    let mut peer = Peer::new(Arc::new(peer_spec), rng(1), UNIX);
    let mut server = Authenticator::new(Arc::new(server_spec), b"carol", rng(2), UNIX);
    let mut sizes = Vec::new();
    let mut verdict = server.start();
    for _ in 0..300 {
        let (packet, end) = match verdict {
            Verdict::Ask(packet) => (packet, None),
            Verdict::Success(packet) => (packet, Some(Ok(server.msk().cloned()))),
            Verdict::Failure(packet, fault) => (packet, Some(Err(fault))),
        };
        sizes.push(packet.len());
        let step = peer.handle(&packet);
        if let Some(end) = end {
            let version = peer.tls_version();
            let peer = step.map(|step| {
                assert_eq!(step, Step::Success);
                peer.msk()
            });
            return Outcome { peer, server: end, sizes, version };
        }
        verdict = match step {
            Ok(Step::Respond(octets)) => server.handle(&octets),
            Ok(Step::Success) => panic!("success of a request"),
            Err(fault) => {
                let server = Err(EapFault::Unexpected("the peer left"));
                return Outcome { peer: Err(fault), server, sizes, version: peer.tls_version() };
            }
        };
    }
    panic!("no end");
}

#[test]
fn md5_proves_the_password_and_makes_no_key() {
    let spoken = talk(peer("carol", vec![Credential::Md5(secret("Ar3etTnp"))]), server(&[Method::Md5]));
    assert_eq!((spoken.peer, spoken.server), (Ok(None), Ok(None)));
    let wrong = talk(peer("carol", vec![Credential::Md5(secret("nope"))]), server(&[Method::Md5]));
    assert_eq!(wrong.server, Err(EapFault::WrongPassword { identity: "carol".into() }));
    assert!(matches!(wrong.peer, Err(EapFault::Refused { method: Some(Method::Md5), .. })));
}

#[test]
fn mschapv2_makes_the_same_key_at_both_ends() {
    let spoken = talk(peer("carol", vec![Credential::MsChapV2(secret("Ar3etTnp"))]), server(&[Method::MsChapV2]));
    let key = spoken.server.expect("success").expect("a key");
    assert_eq!(key.len(), 64);
    assert_eq!(spoken.peer, Ok(Some(key)));
}

#[test]
fn mschapv2_says_691_to_a_wrong_password_and_to_an_unknown_user_alike() {
    let server_of = || server(&[Method::MsChapV2]);
    let wrong = talk(peer("dave", vec![Credential::MsChapV2(secret("nope"))]), server_of());
    let unknown = talk(peer("mallory", vec![Credential::MsChapV2(secret("nope"))]), server_of());
    assert_eq!(wrong.server, Err(EapFault::WrongPassword { identity: "dave".into() }));
    assert_eq!(unknown.server, Err(EapFault::UnknownUser { identity: "mallory".into() }));
    for told in [&wrong, &unknown] {
        assert!(matches!(told.peer, Err(EapFault::Refused { code: Some(691), .. })), "{:?}", told.peer);
    }
    assert_eq!(wrong.sizes, unknown.sizes, "the wire does not tell them apart");
}

#[test]
fn a_server_that_does_not_know_the_password_is_found_out() {
    let mut peer = Peer::new(Arc::new(peer("carol", vec![Credential::MsChapV2(secret("Ar3etTnp"))])), rng(1), UNIX);
    let challenge = [&[1, 1, 0, 31, 26, 1, 1, 0, 26, 16][..], &[7; 16], b"liars"].concat();
    assert!(matches!(peer.handle(&challenge), Ok(Step::Respond(_))));
    let proof = [&[1, 2, 0, 51, 26, 3, 1, 0, 46][..], b"S=0123456789ABCDEF0123456789ABCDEF01234567"].concat();
    assert_eq!(peer.handle(&proof), Err(EapFault::ServerUnproven));
    assert_eq!(peer.msk(), None);
    assert_eq!(peer.handle(&[3, 3, 0, 4]), Err(EapFault::Unexpected("Success before the method was over")));
}

#[test]
fn success_out_of_the_blue_is_not_believed() {
    let mut peer = Peer::new(Arc::new(peer("carol", vec![Credential::MsChapV2(secret("Ar3etTnp"))])), rng(1), UNIX);
    assert!(peer.handle(&[3, 3, 0, 4]).is_err());
}

#[test]
fn a_nak_leads_to_a_common_method_or_names_what_was_wanted() {
    let both = || server(&[Method::MsChapV2, Method::Md5]);
    let spoken = talk(peer("carol", vec![Credential::Md5(secret("Ar3etTnp"))]), both());
    assert_eq!(spoken.server, Ok(None));
    let none = talk(peer("carol", vec![Credential::Md5(secret("Ar3etTnp"))]), server(&[Method::MsChapV2]));
    let (ours, theirs) = (vec![Method::MsChapV2], vec![MethodType::MD5]);
    assert_eq!(none.server, Err(EapFault::NoCommonMethod { ours, theirs }));
    let (ours, theirs) = (vec![Method::Md5], vec![MethodType::MSCHAPV2]);
    assert_eq!(none.peer, Err(EapFault::NoCommonMethod { ours, theirs }));
}

#[test]
fn a_notification_is_answered_and_kept() {
    let mut peer = Peer::new(Arc::new(peer("carol", Vec::new())), rng(1), UNIX);
    let step = peer.handle(&[&[1, 5, 0, 10, 2][..], b"hello"].concat());
    assert_eq!(step, Ok(Step::Respond(vec![2, 5, 0, 5, 2])));
    assert_eq!(peer.notices(), ["hello"]);
    // And with nothing to offer, a Nak says so.
    assert_eq!(peer.handle(&[1, 6, 0, 5, 4]), Ok(Step::Respond(vec![2, 6, 0, 6, 3, 0])));
}

#[test]
fn neither_end_prints_a_password() {
    let shown = format!("{:?} {:?}", peer("carol", vec![Credential::Md5(secret("Ar3etTnp"))]), server(&[Method::Md5]));
    assert!(shown.contains("carol") && !shown.contains("Ar3etTnp"));
}

#[test]
fn no_packet_makes_either_end_panic() {
    let mut noise = rng(3);
    for round in 0..20_000_u32 {
        let mut octets = vec![0; (round % 90) as usize];
        rand_chacha::rand_core::Rng::fill_bytes(&mut noise, &mut octets);
        let len = octets.len() as u16;
        if let Some(head) = octets.get_mut(..5) {
            head[0] = 1 + (round % 2) as u8;
            head[2..4].copy_from_slice(&len.to_be_bytes());
            head[4] = [1, 2, 3, 4, 26, 26, 13][round as usize % 7];
        }
        let mut peer = Peer::new(
            Arc::new(peer("carol", vec![Credential::Md5(secret("x")), Credential::MsChapV2(secret("x"))])),
            rng(1),
            UNIX,
        );
        let _ = peer.handle(&octets);
        let mut server = Authenticator::new(Arc::new(server(&[Method::MsChapV2])), b"carol", rng(2), UNIX);
        let Verdict::Ask(first) = server.start() else { panic!("asks for the identity") };
        if let Some(id) = octets.get_mut(1) {
            *id = first[1];
        }
        let _ = server.handle(&octets);
        if let Some(id) = octets.get_mut(1) {
            *id = first[1].wrapping_add(1);
        }
        let _ = server.handle(&octets);
    }
}

mod with_tls {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};

    use super::*;

    struct Pki {
        ca: CertifiedIssuer<'static, KeyPair>,
    }

    impl Pki {
        fn new(name: &str) -> Self {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let key = KeyPair::generate().expect("a key");
            Pki { ca: CertifiedIssuer::self_signed(params, key).expect("a CA") }
        }

        fn leaf(&self, name: &str, padding: usize, server: bool) -> TlsSpec {
            let mut names = vec![name.to_owned()];
            names.extend((0..padding).map(|n| format!("padding-{n}.a-long-name-to-fill-packets.test")));
            let mut params = CertificateParams::new(names).expect("names");
            params.distinguished_name.push(DnType::CommonName, name);
            params.extended_key_usages =
                vec![if server { ExtendedKeyUsagePurpose::ServerAuth } else { ExtendedKeyUsagePurpose::ClientAuth }];
            let key = KeyPair::generate().expect("a key");
            let leaf = params.signed_by(&key, &self.ca).expect("a leaf");
            TlsSpec {
                chain: vec![leaf.der().to_vec()],
                key: Secret::new(key.serialize_der()),
                roots: vec![self.ca.der().to_vec()],
                server_name: None,
                versions: TlsVersions::Any,
                fragment: 500,
            }
        }
    }

    fn tls_peer(spec: TlsSpec) -> PeerSpec {
        peer("carol", vec![Credential::Tls(Arc::new(spec))])
    }

    fn tls_server(spec: TlsSpec, users: &[&str]) -> AuthenticatorSpec {
        let users = users.iter().map(|name| User { name: (*name).into(), password: None }).collect();
        AuthenticatorSpec { users, tls: Some(Arc::new(spec)), ..server(&[Method::Tls]) }
    }

    #[test]
    fn both_versions_make_a_key_through_fragments() {
        let pki = Pki::new("CA");
        let mut keys = Vec::new();
        for (versions, name) in [(TlsVersions::Only12, "TLSv1_2"), (TlsVersions::Only13, "TLSv1_3")] {
            let client = TlsSpec { versions, ..pki.leaf("carol", 40, false) };
            let spoken = talk(tls_peer(client), tls_server(pki.leaf("headend.test", 40, true), &[]));
            let key = spoken.server.expect("success").expect("a key");
            assert_eq!(key.len(), 64);
            assert_eq!(spoken.peer, Ok(Some(key.clone())), "{name}");
            assert_eq!(spoken.version.as_deref(), Some(name));
            assert!(spoken.sizes.iter().all(|len| *len <= 510), "{:?}", spoken.sizes);
            assert!(spoken.sizes.iter().filter(|len| **len > 490).count() >= 4, "fragments: {:?}", spoken.sizes);
            keys.push(key);
        }
        assert_ne!(keys[0], keys[1]);
    }

    #[test]
    fn names_are_judged_where_they_are_configured() {
        let pki = Pki::new("CA");
        for versions in [TlsVersions::Only12, TlsVersions::Only13] {
            let client = |server_name: Option<&str>| {
                let server_name = server_name.map(str::to_owned);
                TlsSpec { versions, server_name, ..pki.leaf("carol", 0, false) }
            };
            let headend = || pki.leaf("headend.test", 0, true);
            assert!(talk(tls_peer(client(Some("headend.test"))), tls_server(headend(), &["carol"])).server.is_ok());
            let other = talk(tls_peer(client(Some("other.test"))), tls_server(headend(), &[]));
            assert_eq!(other.peer, Err(EapFault::Tls("the other end's certificate has another name".into())));
            assert!(matches!(other.server, Err(EapFault::Tls(why)) if why.contains("alert")));
            let stranger = talk(tls_peer(client(None)), tls_server(headend(), &["dave"]));
            assert!(
                matches!(stranger.server, Err(EapFault::CertificateNames(names)) if names.contains(&"carol".into()))
            );
            assert!(stranger.peer.is_err());
        }
    }

    #[test]
    fn a_certificate_of_another_ca_is_refused_either_way() {
        let (ours, theirs) = (Pki::new("ours"), Pki::new("theirs"));
        for versions in [TlsVersions::Only12, TlsVersions::Only13] {
            let strange = TlsSpec { roots: vec![ours.ca.der().to_vec()], versions, ..theirs.leaf("carol", 0, false) };
            let refused = talk(tls_peer(strange), tls_server(ours.leaf("headend.test", 0, true), &[]));
            assert!(
                matches!(&refused.server, Err(EapFault::Tls(why)) if why.contains("no trusted CA")),
                "{:?}",
                refused.server
            );
            assert!(matches!(&refused.peer, Err(EapFault::Tls(why)) if why.contains("alert")), "{:?}", refused.peer);
            let naive = TlsSpec { versions, ..ours.leaf("carol", 0, false) };
            let strange = TlsSpec { roots: vec![ours.ca.der().to_vec()], ..theirs.leaf("headend.test", 0, true) };
            let refused = talk(tls_peer(naive), tls_server(strange, &[]));
            assert!(
                matches!(&refused.peer, Err(EapFault::Tls(why)) if why.contains("no trusted CA")),
                "{:?}",
                refused.peer
            );
        }
    }

    #[test]
    fn reassembly_is_bounded_and_lengths_must_hold() {
        let pki = Pki::new("CA");
        let fresh = || tls::Channel::server(&pki.leaf("headend.test", 0, true), UNIX).expect("a channel");
        assert_eq!(fresh().step(&[0x80 | 0x40, 0, 2, 0, 0, 1]), Err(EapFault::Malformed("a sensible EAP-TLS length")));
        let mut channel = fresh();
        let full = [&[0x40][..], &[7; 16_000]].concat();
        let mut steps = (0..10).map(|_| channel.step(&full));
        assert!(steps.any(|step| step == Err(EapFault::Malformed("an EAP-TLS length that holds"))));
        assert!(fresh().step(&[0x80, 0, 0, 0, 9, 1, 2, 3]).is_err());
        assert!(fresh().step(&[]).is_err());
        // Not TLS at all: an alert goes out first, and then the fault shows.
        let mut channel = fresh();
        let alert = channel.step(&[0, 99, 3, 3, 0, 1, 0]).expect("an alert").expect("octets");
        assert_eq!(alert.get(1), Some(&21), "{alert:?}");
        assert!(channel.fault().is_some() && !channel.done());
    }
}
