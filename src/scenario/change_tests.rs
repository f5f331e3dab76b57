use std::path::Path;

use super::super::proof::selectors;
use super::*;

/// A baseline made from a connection file.
fn setup(text: &str) -> Setup {
    let loaded = crate::config::parse(text, "t.yaml", Path::new(""), &|_| None).expect("a good file");
    Setup::new(loaded.spec, Limits::default())
}

fn baseline() -> Setup {
    setup(
        "version: 1\nlocal: {address: 127.0.0.1}\nremote: {address: 127.0.0.2}\nauth: {local: {psk: secret}}\n\
         ike: {proposals: [aes256-sha256-modp2048-ecp256]}\n\
         children:\n  - {proposals: [aes256-sha256], local_ts: [10.10.10.0/24], remote_ts: [10.20.20.0/24]}\n",
    )
}

fn changed(path: &str, op: ChangeOp) -> Setup {
    let mut setup = baseline();
    apply(path, &op, &mut setup).unwrap_or_else(|error| panic!("{path}: {error:?}"));
    setup
}

fn ike(setup: &Setup, kind: TransformType) -> String {
    let list = &setup.spec.ike_proposals[0].transforms;
    list.iter().filter(|t| t.kind == kind).map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn local(setup: &Setup) -> String {
    selectors(&setup.spec.children[0].local_ts)
}

#[test]
fn transforms_change_alone() {
    let base = baseline();
    let ke = TransformType::KE;
    assert_eq!(ike(&base, ke), "MODP_2048 ECP_256");
    assert_eq!(ike(&changed("ike.ke", ChangeOp::Differ), ke), "ECP_384");
    assert_eq!(ike(&changed("ike.ke", ChangeOp::Prepend), ke), "ECP_384 MODP_2048 ECP_256");
    assert_eq!(ike(&changed("ike.ke", ChangeOp::DropFirst), ke), "ECP_256");
    // The first group may be the only one of its proposal, which then goes with it.
    let mut two = baseline();
    let mut second = two.spec.ike_proposals[0].clone();
    two.spec.ike_proposals[0].transforms.retain(|t| t.kind != ke || *t == Transform::ke(KeMethod::MODP_2048));
    second.transforms.retain(|t| t.kind != ke || *t == Transform::ke(KeMethod::ECP_256));
    two.spec.ike_proposals.push(second);
    apply("ike.ke", &ChangeOp::DropFirst, &mut two).unwrap();
    assert_eq!((two.spec.ike_proposals.len(), ike(&two, ke)), (1, "ECP_256".to_owned()));
    assert!(apply("ike.ke", &ChangeOp::DropFirst, &mut two).is_err(), "nothing would be left");
    for (path, kind) in [
        ("ike.encr", TransformType::ENCR),
        ("ike.prf", TransformType::PRF),
        ("ike.integ", TransformType::INTEG),
        ("ike.ke", TransformType::KE),
    ] {
        let setup = changed(path, ChangeOp::Differ);
        assert_ne!(ike(&setup, kind), ike(&base, kind), "{path}");
        for other in [TransformType::ENCR, TransformType::PRF, TransformType::INTEG, TransformType::KE] {
            if other != kind {
                assert_eq!(ike(&setup, other), ike(&base, other), "{path} must leave {other} alone");
            }
        }
        // Still one whole suite that can be used.
        let proposal = setup.spec.ike_proposals[0].to_wire(1, crate::wire::registry::ProtocolId::IKE, Vec::new());
        let suite = crate::crypto::IkeSuite::from_proposal(&proposal);
        assert!(suite.is_ok() || kind != TransformType::KE, "{path}: {suite:?}");
    }
    let child = changed("children.0.encr", ChangeOp::Differ);
    assert_ne!(child.spec.children[0].proposals, base.spec.children[0].proposals);
}

#[test]
fn selectors_change() {
    assert_eq!(local(&changed("children.0.local_ts", ChangeOp::Widen)), "10.10.10.0/23");
    assert_eq!(local(&changed("children.0.local_ts", ChangeOp::Narrow)), "10.10.10.0/25");
    let extra = changed("children.0.local_ts", ChangeOp::Add("192.0.2.0/24".into()));
    assert_eq!(local(&extra), "10.10.10.0/24 192.0.2.0/24");
    let swapped = changed("children.0.ts", ChangeOp::Swap);
    assert_eq!(local(&swapped), "10.20.20.0/24");
    assert_eq!(selectors(&swapped.spec.children[0].remote_ts), "10.10.10.0/24");
    let mut odd = setup(
        "version: 1\nlocal: {address: 127.0.0.1}\nremote: {address: 127.0.0.2}\nauth: {local: {psk: secret}}\n\
         ike: {proposals: [aes256-sha256-modp2048]}\n\
         children:\n  - {proposals: [aes256-sha256], local_ts: [10.0.0.1-10.0.0.9], remote_ts: [0.0.0.0/0]}\n",
    );
    for (path, op) in [
        ("children.0.local_ts", ChangeOp::Widen),
        ("children.0.local_ts", ChangeOp::Narrow),
        ("children.0.remote_ts", ChangeOp::Widen),
        ("ike.ke", ChangeOp::DropFirst),
        ("children.0.remote_ts", ChangeOp::Add("192.0.2.0/24".into())),
    ] {
        assert!(matches!(apply(path, &op, &mut odd), Err(ChangeError::Unsupported(_))), "{path} {op}");
    }
    assert_eq!(lacks(&odd, Need::Subnet).as_deref(), Some("the baseline has no local selector that is a subnet"));
    assert!(lacks(&odd, Need::TwoGroups).is_some());
    assert_eq!(lacks(&baseline(), Need::TwoGroups), None);
}

#[test]
fn keys_differ_at_both_ends_alike() {
    let base = baseline();
    let other = changed("auth.psk", ChangeOp::Differ);
    let (AuthSpec::Psk(was), AuthSpec::Psk(local), AuthSpec::Psk(remote)) =
        (&base.spec.local_auth, &other.spec.local_auth, &other.spec.remote_auth)
    else {
        panic!("the baseline has pre-shared keys at both ends")
    };
    assert_ne!(was.as_ref().as_ref(), local.as_ref().as_ref() as &[u8]);
    assert_eq!(local.as_ref().as_ref(), remote.as_ref().as_ref() as &[u8]);
}

#[test]
fn wrong_paths_and_values_get_the_nearest_right_one() {
    let wrong = |path: &str, op: ChangeOp| check(path, &op).expect_err(path);
    assert_eq!(wrong("ike.encry", ChangeOp::Differ), "\"ike.encry\" cannot be changed; did you mean \"ike.encr\"?");
    assert!(wrong("ike.encr", ChangeOp::Widen).contains("it takes differ, add"));
    let error = wrong("nat.traversal", ChangeOp::Set(vec!["farce".into()]));
    assert!(error.contains("did you mean \"force\"?"), "{error}");
    assert!(wrong("limits.cookie_threshold", ChangeOp::Set(vec!["often".into()])).contains("nor never"));
    assert!(check("children.0.local_ts", &ChangeOp::Add("10.0.0.0/33".into())).is_err());
    assert!(check("children.0.local_ts", &ChangeOp::Add("10.0.0.0/30".into())).is_ok());
    assert!(check("limits.cookie_threshold", &ChangeOp::Set(vec!["0".into()])).is_ok());
    let error = wrong("limits.max_child_sas", ChangeOp::Set(vec!["few".into()]));
    assert!(error.contains("\"few\" is not a number of Child SAs"), "{error}");
    let error = wrong("data.bandwidth", ChangeOp::Set(vec!["slow".into()]));
    assert!(error.contains("`slow` is no rate"), "{error}");
}

#[test]
fn limits_of_a_licence() {
    let set = |text: &str| ChangeOp::Set(vec![text.to_owned()]);
    assert_eq!(changed("data.bandwidth", set("85mbit")).bandwidth, Some(85_000));
    assert_eq!(changed("limits.max_child_sas", set("225")).limits.max_child_sas, Some(225));
    assert_eq!((baseline().bandwidth, baseline().limits.max_child_sas), (None, None));
}

#[test]
fn blocks() {
    assert_eq!(block(0x0a0a0a00, 0x0a0a0aff, 32, true), Some((0x0a0a0a00, 0x0a0a0bff)));
    assert_eq!(block(0x0a0a0b00, 0x0a0a0bff, 32, true), Some((0x0a0a0a00, 0x0a0a0bff)));
    assert_eq!(block(0x0a0a0a00, 0x0a0a0aff, 32, false), Some((0x0a0a0a00, 0x0a0a0a7f)));
    assert_eq!(block(1, 1, 32, false), None, "a host cannot be halved");
    assert_eq!(block(0, u32::MAX.into(), 32, true), None);
    assert_eq!(block(0, u128::MAX, 128, false), None, "2^128 does not fit; everything stays everything");
    assert_eq!(block(1, 2, 32, true), None, "not aligned");
}

/// What a scenario says about selectors holds for any baseline.
#[test]
fn selectors_follow_the_baseline() {
    let remote = |setup: &Setup| selectors(&setup.spec.children[0].remote_ts);
    assert_eq!(remote(&changed("children.0.remote_ts", ChangeOp::Host)), "10.20.20.1/32");
    let set = |text: &str| ChangeOp::Set(vec![text.to_owned()]);
    let ports = local(&changed("children.0.local_ts", set("baseline[tcp/443]")));
    assert_eq!(ports, local(&changed("children.0.local_ts", set("10.10.10.0/24[tcp/443]"))));
    assert_ne!(ports, local(&baseline()));
    assert!(check("children.0.local_ts", &set("baseline[tpc/443]")).is_err());
    assert!(check("ike.ke", &ChangeOp::Host).is_err());
}
