//! EAP inside IKE_AUTH (RFC 7296 2.16, RFC 5998), both roles of ours against each other.

use std::sync::Arc;
use std::time::Duration;

use ikelab::auth::eap::{
    AuthenticatorSpec, Credential, EapFault, Method, MethodType, PeerSpec, TlsSpec, TlsVersions, User,
};
use ikelab::crypto::Secret;
use ikelab::engine::{
    AuthFault, AuthSpec, ConnectionSpec, EapDone, Endpoint, Event, FailScope, Failed, Failure, IdMatch, LocalFault,
    Side,
};
use ikelab::net::Class;
use ikelab::seed::Seeds;
use ikelab::time::{Instant, UnixTime};
use ikelab::wire::registry::{AuthMethod, ExchangeType, NotifyType};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use super::pair::{End, Pair, config, left_spec, psk, right_spec};

/// After 2027-01-15: rcgen's certificates hold from 1975 to 4096.
const EPOCH: UnixTime = UnixTime(1_800_000_000_000_000_000);

pub fn secret(text: &str) -> Arc<Secret> {
    Arc::new(Secret::new(text.as_bytes()))
}

pub fn peer(identity: &str, credentials: Vec<Credential>) -> AuthSpec {
    AuthSpec::EapPeer(Arc::new(PeerSpec { identity: identity.into(), credentials }))
}

pub fn server(methods: &[Method]) -> AuthenticatorSpec {
    let user = |name: &str, password| User { name: name.into(), password: Some(secret(password)) };
    AuthenticatorSpec {
        ask_identity: true,
        methods: methods.to_vec(),
        users: vec![user("carol", "Ar3etTnp"), user("dave", "W7R0g3do")],
        tls: None,
        name: "right.test".into(),
    }
}

/// A client and a server for these.
fn ends(local: AuthSpec, server: AuthenticatorSpec) -> (ConnectionSpec, ConnectionSpec) {
    let (mut left, mut right) = (left_spec(), right_spec());
    left.local_auth = local;
    right.remote_auth = AuthSpec::EapAuthenticator(Arc::new(server));
    right.remote_id = IdMatch::Any;
    (left, right)
}

pub fn mschapv2() -> (ConnectionSpec, ConnectionSpec) {
    ends(peer("carol", vec![Credential::MsChapV2(secret("Ar3etTnp"))]), server(&[Method::MsChapV2]))
}

fn md5() -> (ConnectionSpec, ConnectionSpec) {
    ends(peer("carol", vec![Credential::Md5(secret("Ar3etTnp"))]), server(&[Method::Md5]))
}

fn tls(versions: TlsVersions) -> (ConnectionSpec, ConnectionSpec) {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a CA");
    let leaf = |name: &str| {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        Arc::new(TlsSpec {
            chain: vec![params.signed_by(&key, &ca).expect("a leaf").der().to_vec()],
            key: Secret::new(key.serialize_der()),
            roots: vec![ca.der().to_vec()],
            server_name: None,
            versions,
            fragment: 300,
        })
    };
    let users = vec![User { name: "carol".into(), password: None }];
    let judge = AuthenticatorSpec { users, tls: Some(leaf("right.test")), ..server(&[Method::Tls]) };
    ends(peer("carol", vec![Credential::Tls(leaf("carol"))]), judge)
}

pub fn pair(right: ConnectionSpec) -> Pair {
    let mut pair = Pair::to(right.clone());
    let endpoint = |cfg, seed| Endpoint::new(Arc::new(cfg), Seeds::simulated(seed), EPOCH);
    pair.left = endpoint(config(vec![], 1), "left");
    pair.right = endpoint(config(vec![right], 2), "right");
    pair
}

fn run((left, right): (ConnectionSpec, ConnectionSpec)) -> Pair {
    let mut pair = pair(right);
    pair.connect(left);
    pair.settle();
    pair
}

fn done(pair: &Pair, end: End) -> Vec<EapDone> {
    let eap = |e: &Event| if let Event::Eap(done) = e { Some(EapDone::clone(done)) } else { None };
    pair.said(end).filter_map(eap).collect()
}

fn failed(pair: &Pair, end: End) -> &Failed {
    pair.said(end).find_map(|e| if let Event::Failed(f) = e { Some(&**f) } else { None }).expect("a failure")
}

fn fault(pair: &Pair, end: End) -> (Side, AuthFault) {
    let failed = failed(pair, end);
    assert_eq!((failed.scope, failed.exchange), (FailScope::IkeSa, ExchangeType::IKE_AUTH));
    let Failure::AuthFailed(fault) = &failed.why else { panic!("{failed:?}") };
    (failed.found_by, fault.clone())
}

/// Message ids of IKE_AUTH requests that the left end sent.
fn rounds(pair: &Pair) -> Vec<u32> {
    let sent = |e: &Event| match e {
        Event::Message(trace) if trace.from == Side::Us && !trace.message.header.flags.is_response() => {
            let header = &trace.message.header;
            (header.exchange == ExchangeType::IKE_AUTH).then_some(header.message_id)
        }
        _ => None,
    };
    pair.said(End::Left).filter_map(sent).collect()
}

#[test]
fn each_method_brings_both_ends_up() {
    let tls13 = Some("TLSv1_3".to_owned());
    let tls12 = Some("TLSv1_2".to_owned());
    let cases = [
        (md5(), Method::Md5, false, None),
        (mschapv2(), Method::MsChapV2, true, None),
        (tls(TlsVersions::Only12), Method::Tls, true, tls12),
        (tls(TlsVersions::Any), Method::Tls, true, tls13),
    ];
    for (ends, method, keyed, tls) in cases {
        let pair = run(ends);
        let expected = EapDone { method, identity: "carol".into(), keyed, alone: false, tls, notices: Vec::new() };
        for end in [End::Left, End::Right] {
            assert!(pair.is_up(end), "{method} {end:?}");
            assert_eq!(done(&pair, end), std::slice::from_ref(&expected));
        }
        let ids = rounds(&pair);
        assert!(ids.iter().copied().eq(1..=ids.len() as u32), "one request per id: {ids:?}");
        assert!(ids.len() >= 4, "{method}: {ids:?}");
        assert_eq!(pair.right.counters().half_open, 0);
    }
}

#[test]
fn without_asking_for_the_identity_that_of_ike_counts() {
    let (mut left, right) = mschapv2();
    left.local_id = super::pair::id("carol");
    let mut judge = server(&[Method::MsChapV2]);
    judge.ask_identity = false;
    let right = ConnectionSpec { remote_auth: AuthSpec::EapAuthenticator(Arc::new(judge)), ..right };
    let pair = run((left, right));
    assert!(pair.is_up(End::Left) && pair.is_up(End::Right));
    assert_eq!(rounds(&pair).len(), 4);
}

#[test]
fn a_wrong_password_is_typed_at_both_ends() {
    for method in [Method::Md5, Method::MsChapV2] {
        let credential = match method {
            Method::Md5 => Credential::Md5(secret("wrong")),
            _ => Credential::MsChapV2(secret("wrong")),
        };
        let pair = run(ends(peer("carol", vec![credential]), server(&[method])));
        let wrong = AuthFault::Eap(EapFault::WrongPassword { identity: "carol".into() });
        assert_eq!(fault(&pair, End::Right), (Side::Us, wrong));
        let (by, told) = fault(&pair, End::Left);
        let AuthFault::Eap(EapFault::Refused { method: Some(refused), code, .. }) = told else { panic!("{told:?}") };
        assert_eq!((by, refused), (Side::Peer, method));
        assert_eq!(code, (method == Method::MsChapV2).then_some(691));
        let text = failed(&pair, End::Left).why.to_string();
        assert!(!text.contains("wrong\"") && !text.contains("Ar3etTnp"), "no password in {text}");
    }
}

#[test]
fn an_unknown_user_is_known_to_the_server_only() {
    let pair = run(ends(peer("mallory", vec![Credential::MsChapV2(secret("x"))]), server(&[Method::MsChapV2])));
    let unknown = AuthFault::Eap(EapFault::UnknownUser { identity: "mallory".into() });
    assert_eq!(fault(&pair, End::Right), (Side::Us, unknown));
    let (_, told) = fault(&pair, End::Left);
    assert!(matches!(told, AuthFault::Eap(EapFault::Refused { code: Some(691), .. })), "{told:?}");
}

#[test]
fn a_nak_finds_the_common_method_or_names_both_lists() {
    let local = || peer("carol", vec![Credential::Md5(secret("Ar3etTnp"))]);
    let pair = run(ends(local(), server(&[Method::MsChapV2, Method::Md5])));
    assert!(pair.is_up(End::Left) && pair.is_up(End::Right));
    assert_eq!(done(&pair, End::Right)[0].method, Method::Md5);
    let pair = run(ends(local(), server(&[Method::MsChapV2])));
    let at_server = EapFault::NoCommonMethod { ours: vec![Method::MsChapV2], theirs: vec![MethodType::MD5] };
    let at_peer = EapFault::NoCommonMethod { ours: vec![Method::Md5], theirs: vec![MethodType::MSCHAPV2] };
    assert_eq!(fault(&pair, End::Right), (Side::Us, AuthFault::Eap(at_server)));
    assert_eq!(fault(&pair, End::Left), (Side::Peer, AuthFault::Eap(at_peer)));
}

#[test]
fn eap_alone_needs_a_method_that_can_stand_alone_and_both_ends_will() {
    let alone = |(mut left, mut right): (ConnectionSpec, ConnectionSpec)| {
        left.remote_auth = AuthSpec::EapOnly;
        right.local_auth = AuthSpec::EapOnly;
        (left, right)
    };
    let pair = run(alone(tls(TlsVersions::Any)));
    assert!(pair.is_up(End::Left) && pair.is_up(End::Right));
    assert!(done(&pair, End::Left)[0].alone && done(&pair, End::Right)[0].alone);

    let pair = run(alone(mschapv2()));
    assert_eq!(fault(&pair, End::Right), (Side::Us, AuthFault::EapUnsafeAlone(Method::MsChapV2)));

    // The initiator alone: the responder proves itself anyway, and MSCHAPv2 is still not enough.
    let (mut left, right) = mschapv2();
    left.remote_auth = AuthSpec::EapOnly;
    let pair = run((left, right));
    assert_eq!(fault(&pair, End::Left), (Side::Us, AuthFault::EapUnsafeAlone(Method::MsChapV2)));
    let (mut left, right) = tls(TlsVersions::Any);
    left.remote_auth = AuthSpec::EapOnly;
    assert!(run((left, right)).is_up(End::Left));

    // The responder alone.
    let (left, mut right) = tls(TlsVersions::Any);
    right.local_auth = AuthSpec::EapOnly;
    let pair = run((left, right));
    assert_eq!(fault(&pair, End::Right), (Side::Us, AuthFault::EapAloneNotOffered));
    assert!(
        matches!(&failed(&pair, End::Left).why, Failure::Rejected { notify, .. } if *notify == NotifyType::AUTHENTICATION_FAILED)
    );
}

#[test]
fn a_responder_that_does_not_prove_itself_is_refused_before_any_password_is_used() {
    let (mut left, right) = mschapv2();
    left.remote_auth = psk("not the key");
    let pair = run((left, right));
    assert!(matches!(fault(&pair, End::Left), (Side::Us, AuthFault::Mismatch { .. })));
    assert_eq!(rounds(&pair), [1]);
    let told = failed(&pair, End::Right);
    assert_eq!(told.found_by, Side::Peer);
    assert!(
        matches!(&told.why, Failure::Rejected { notify, protected: true, .. } if *notify == NotifyType::AUTHENTICATION_FAILED)
    );
    assert_eq!(pair.right.counters().half_open, 0);
}

#[test]
fn who_wants_eap_and_who_does_not_are_told_apart() {
    let (left, _) = mschapv2();
    let mut right = right_spec();
    right.remote_id = IdMatch::Any;
    assert_eq!(fault(&run((left, right)), End::Right), (Side::Us, AuthFault::EapUnwanted));
    let (_, right) = mschapv2();
    let wanted = AuthFault::EapWanted { got: AuthMethod::SHARED_KEY_MIC };
    assert_eq!(fault(&run((left_spec(), right)), End::Right), (Side::Us, wanted));
    // Both kinds of connection at one address: each initiator finds its own.
    let ((left, mut eap), mut plain) = (mschapv2(), right_spec());
    eap.name = "eap".into();
    plain.remote_id = IdMatch::Any;
    for order in [[eap.clone(), plain.clone()], [plain, eap]] {
        for (spec, name) in [(left.clone(), "eap"), (left_spec(), "right")] {
            let mut pair = pair(order[0].clone());
            let cfg = Arc::new(config(order.to_vec(), 2));
            pair.right = Endpoint::new(cfg, Seeds::simulated("right"), EPOCH);
            pair.connect(spec);
            pair.settle();
            let up = pair.said(End::Right).find_map(|e| if let Event::IkeUp(up) = e { Some(up) } else { None });
            assert_eq!(up.expect("up").connection, name);
        }
    }
}

#[test]
fn a_connection_that_is_a_client_cannot_answer() {
    let (left, _) = mschapv2();
    let mut right = right_spec();
    right.local_auth = left.local_auth;
    let pair = run((left_spec(), right));
    assert!(matches!(failed(&pair, End::Right).why, Failure::Local(LocalFault::Other(_))));
    assert!(!pair.is_up(End::Left));
}

#[test]
fn every_lost_datagram_is_made_good() {
    for ends in [mschapv2(), md5(), tls(TlsVersions::Only12), tls(TlsVersions::Only13)] {
        for lost in 0.. {
            let mut pair = pair(ends.1.clone());
            pair.connect(ends.0.clone());
            let mut n = 0;
            let mut dropped = false;
            for _ in 0..10 {
                while !pair.flight.is_empty() {
                    let datagram = pair.flight.remove(0);
                    if n == lost && datagram.transmit.class == Class::Ike {
                        dropped = true;
                    } else {
                        pair.deliver(datagram);
                    }
                    n += 1;
                }
                pair.run_for(Duration::from_secs(1));
            }
            assert!(pair.is_up(End::Left) && pair.is_up(End::Right), "datagram {lost} lost");
            let ids = rounds(&pair);
            assert!(ids.iter().copied().eq(1..=ids.len() as u32), "{ids:?}");
            if !dropped {
                assert!(lost > 8, "the conversation has more datagrams than that");
                break;
            }
        }
    }
}

#[test]
fn every_datagram_twice_changes_nothing() {
    let (left, right) = mschapv2();
    let mut pair = pair(right);
    pair.connect(left);
    while !pair.flight.is_empty() {
        let datagram = pair.flight.remove(0);
        pair.deliver(datagram.clone());
        pair.deliver(datagram);
    }
    assert!(pair.is_up(End::Left) && pair.is_up(End::Right));
    assert_eq!(rounds(&pair), [1, 2, 3, 4, 5]);
    assert_eq!((done(&pair, End::Left).len(), done(&pair, End::Right).len()), (1, 1));
}

#[test]
fn a_client_that_goes_away_in_the_middle_is_forgotten() {
    let (left, right) = mschapv2();
    let mut pair = pair(right);
    pair.connect(left);
    for _ in 0..5 {
        let datagram = pair.flight.remove(0);
        pair.deliver(datagram);
    }
    pair.take();
    assert_eq!(pair.right.counters().half_open, 1);
    pair.left = Endpoint::new(Arc::new(config(vec![], 1)), Seeds::simulated("left"), EPOCH);
    pair.run_until(Instant::ZERO + Duration::from_secs(100));
    assert!(matches!(failed(&pair, End::Right).why, Failure::Local(LocalFault::HalfOpenExpired)));
    assert_eq!((pair.right.counters().half_open, pair.right.sa_count()), (0, 0));
}
