//! Configuration payloads (RFC 7296 2.19, 3.15), both roles of ours against each other.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ikelab::engine::{
    ChildSa, Command, ConnectionSpec, CpRequest, Decision, Event, FailScope, Failed, Failure, InnerConfig, LocalFault,
    MsgCx, PeerIncompatible, PoolSpec, SaCx, SaId, Side, Tamper, TunnelId,
};
use ikelab::wire::registry::{CfgAttr, CfgType, ExchangeType, NotifyType};
use ikelab::wire::{CfgAttribute, CpPayload, Message, Payload, TrafficSelector};

use super::eap::{mschapv2, pair};
use super::pair::{End, Pair, left_spec, net, right_spec};

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn pool(last: u8) -> PoolSpec {
    PoolSpec {
        v4: Some((Ipv4Addr::new(10, 77, 0, 1), Ipv4Addr::new(10, 77, 0, last))),
        v6: None,
        dns: vec![ip("10.77.255.53")],
        split: vec![(ip("10.2.0.0"), 24)],
        required: false,
        version: Some("headend 1".into()),
    }
}

/// Somebody who asks, and somebody who gives.
fn with_pool(
    (mut left, mut right): (ConnectionSpec, ConnectionSpec),
    pool: PoolSpec,
) -> (ConnectionSpec, ConnectionSpec) {
    left.cp.request = Some(CpRequest { v4: Some(Ipv4Addr::UNSPECIFIED), v6: None });
    left.cp.dynamic = vec![0];
    left.children[0].local_ts = vec![TrafficSelector::any_v4()];
    right.cp.pool = Some(Arc::new(pool));
    right.cp.dynamic = vec![0];
    right.children[0].remote_ts = vec![net("10.77.0.0/24")];
    right.behaviour.initial_contact = false;
    (left, right)
}

fn connect(pair: &mut Pair, left: &ConnectionSpec, tunnel: u64) -> SaId {
    let local = left.local_addr.expect("an address");
    let id = pair.left.connect(pair.now, Arc::new(left.clone()), TunnelId(tunnel), local);
    pair.collect();
    pair.settle();
    id
}

fn configs(pair: &Pair, end: End) -> Vec<InnerConfig> {
    let config = |e: &Event| if let Event::Config(config) = e { Some(InnerConfig::clone(config)) } else { None };
    pair.said(end).filter_map(config).collect()
}

fn children(pair: &Pair, end: End) -> Vec<&ChildSa> {
    pair.said(end).filter_map(|e| if let Event::ChildInbound(child) = e { Some(&**child) } else { None }).collect()
}

fn child_failed(pair: &Pair, end: End) -> &Failed {
    let found = pair.said(end).find_map(|e| if let Event::ChildFailed(failed) = e { Some(&**failed) } else { None });
    let failed = found.expect("a failed Child");
    assert_eq!((failed.scope, failed.exchange), (FailScope::Child, ExchangeType::IKE_AUTH));
    assert!(pair.said(end).any(|e| matches!(e, Event::IkeUp(_))), "the IKE SA is up all the same");
    failed
}

#[test]
fn the_address_feeds_the_selectors_of_both_ends_with_and_without_eap() {
    for ends in [(left_spec(), right_spec()), mschapv2()] {
        let (left, right) = with_pool(ends, pool(9));
        let mut pair = pair(right);
        connect(&mut pair, &left, 1);
        let expected = InnerConfig {
            by: Side::Peer,
            asked: true,
            addresses: vec![ip("10.77.0.1")],
            dns: vec![ip("10.77.255.53")],
            subnets: vec![(ip("10.2.0.0"), 24)],
            version: Some("headend 1".into()),
            others: Vec::new(),
        };
        assert_eq!(configs(&pair, End::Left), std::slice::from_ref(&expected));
        assert_eq!(configs(&pair, End::Right), [InnerConfig { by: Side::Us, ..expected }]);
        let host = [net("10.77.0.1/32")];
        let (ours, theirs) = (children(&pair, End::Left), children(&pair, End::Right));
        assert_eq!((&ours[0].local_ts[..], &theirs[0].remote_ts[..]), (&host[..], &host[..]));
        assert_eq!(ours[0].remote_ts, [net("10.2.0.0/24")]);
        assert!(!ours[0].narrowed, "the address is what was asked for");
    }
}

#[test]
fn both_ip_versions_at_once() {
    let v6 = |last| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last);
    let pool = PoolSpec { v6: Some((v6(1), v6(9))), dns: vec![ip("2001:db8::53")], ..pool(9) };
    let (mut left, mut right) = with_pool((left_spec(), right_spec()), pool);
    left.cp.request = Some(CpRequest { v4: Some(Ipv4Addr::new(10, 77, 0, 5)), v6: Some(Ipv6Addr::UNSPECIFIED) });
    left.children[0].local_ts = vec![TrafficSelector::any_v4(), TrafficSelector::any_v6()];
    left.children[0].remote_ts = left.children[0].local_ts.clone();
    right.children[0].local_ts = left.children[0].local_ts.clone();
    let mut pair = pair(right);
    connect(&mut pair, &left, 1);
    let config = &configs(&pair, End::Left)[0];
    assert_eq!(config.addresses, [ip("10.77.0.5"), ip("2001:db8::1")]);
    assert_eq!(config.dns, [ip("2001:db8::53")]);
    let hosts = [net("10.77.0.5/32"), net("2001:db8::1/128")];
    assert_eq!(children(&pair, End::Left)[0].local_ts, hosts);
    assert_eq!(children(&pair, End::Right)[0].remote_ts, hosts);
}

#[test]
fn an_exhausted_pool_fails_the_child_and_a_freed_address_goes_out_again() {
    let (left, right) = with_pool((left_spec(), right_spec()), pool(2));
    let mut pair = pair(right);
    let first = connect(&mut pair, &left, 1);
    connect(&mut pair, &left, 2);
    connect(&mut pair, &left, 3);
    let refused = child_failed(&pair, End::Left);
    assert_eq!(refused.found_by, Side::Peer);
    assert!(
        matches!(&refused.why, Failure::Rejected { notify, protected: true, .. } if *notify == NotifyType::INTERNAL_ADDRESS_FAILURE)
    );
    assert_eq!(child_failed(&pair, End::Right).why, Failure::Local(LocalFault::PoolExhausted));
    pair.left.command(pair.now, first, Command::Delete).expect("an IKE SA");
    pair.collect();
    pair.settle();
    connect(&mut pair, &left, 4);
    let given: Vec<IpAddr> = configs(&pair, End::Left).iter().map(|c| c.addresses[0]).collect();
    assert_eq!(given, [ip("10.77.0.1"), ip("10.77.0.2"), ip("10.77.0.1")]);
}

#[test]
fn a_rekeyed_ike_sa_keeps_its_address_and_the_next_client_gets_another() {
    let (left, right) = with_pool((left_spec(), right_spec()), pool(9));
    let mut pair = pair(right);
    let id = connect(&mut pair, &left, 1);
    pair.left.command(pair.now, id, Command::RekeyIke).expect("an IKE SA");
    pair.collect();
    pair.settle();
    assert!(pair.said(End::Right).any(|e| matches!(e, Event::IkeRekeyed(_))));
    connect(&mut pair, &left, 2);
    let given: Vec<IpAddr> = configs(&pair, End::Right).iter().map(|c| c.addresses[0]).collect();
    assert_eq!(given, [ip("10.77.0.1"), ip("10.77.0.2")]);
}

#[test]
fn who_does_not_ask_is_refused_where_asking_is_required() {
    let (mut left, right) = with_pool((left_spec(), right_spec()), PoolSpec { required: true, ..pool(9) });
    left.cp = Default::default();
    let mut pair = pair(right);
    connect(&mut pair, &left, 1);
    let told = child_failed(&pair, End::Left);
    assert!(matches!(&told.why, Failure::Rejected { notify, .. } if *notify == NotifyType::FAILED_CP_REQUIRED));
    assert_eq!(child_failed(&pair, End::Right).why, Failure::Incompatible(PeerIncompatible::NoConfigRequest));
}

#[test]
fn a_responder_without_a_pool_ignores_the_request_and_the_asker_takes_the_child_back() {
    let (left, mut right) = with_pool((left_spec(), right_spec()), pool(9));
    right.cp = Default::default();
    let mut pair = pair(right);
    connect(&mut pair, &left, 1);
    let failed = child_failed(&pair, End::Left);
    assert_eq!((failed.found_by, &failed.why), (Side::Us, &Failure::Incompatible(PeerIncompatible::NoInnerAddress)));
    let down = |e: &Event| matches!(e, Event::ChildDown { by: Side::Peer, .. });
    assert!(pair.said(End::Right).any(down), "the responder is told");
}

#[test]
fn a_wrong_family_is_named() {
    let (mut left, right) = with_pool((left_spec(), right_spec()), pool(9));
    left.cp.request = Some(CpRequest { v4: None, v6: Some(Ipv6Addr::UNSPECIFIED) });
    let mut pair = pair(right);
    connect(&mut pair, &left, 1);
    assert_eq!(child_failed(&pair, End::Right).why, Failure::Incompatible(PeerIncompatible::NoAddressFamily));
}

/// Adds what a Cisco headend might to each response of IKE_AUTH.
struct Generous;

impl Tamper for Generous {
    fn concerns(&mut self, _: &SaCx) -> bool {
        true
    }
    fn decide(&mut self, _: &SaCx, _: Decision<'_>) {}
    fn message(&mut self, cx: &MsgCx, message: &mut Message) {
        if cx.exchange == ExchangeType::IKE_AUTH && cx.response {
            let attribute = |kind, value: &[u8]| CfgAttribute { kind, value: value.to_vec() };
            let attributes = vec![
                attribute(CfgAttr::INTERNAL_IP4_ADDRESS, &[10, 9, 9, 9]),
                attribute(CfgAttr(28_672), b"welcome"),
                attribute(CfgAttr::INTERNAL_IP4_DNS, &[10]),
            ];
            let cp = Payload::Cp(CpPayload { kind: CfgType::CFG_REPLY, attributes });
            message.sk.get_or_insert_default().push(cp);
        }
    }
}

#[test]
fn a_reply_that_nobody_asked_for_is_reported_and_changes_nothing() {
    let mut pair = pair(right_spec());
    pair.right.set_tamper(Box::new(Generous));
    connect(&mut pair, &left_spec(), 1);
    let config = &configs(&pair, End::Left)[0];
    assert!(!config.asked);
    assert_eq!(config.addresses, [ip("10.9.9.9")]);
    assert_eq!(config.others, [(CfgAttr(28_672), 7), (CfgAttr::INTERNAL_IP4_DNS, 1)]);
    assert_eq!(children(&pair, End::Left)[0].local_ts, [net("10.1.0.0/24")]);
}
