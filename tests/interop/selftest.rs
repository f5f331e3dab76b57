//! The harness checks itself: real peers against each other, with ikelab nowhere in between. When one of these fails,
//! no verdict of the other tests is worth anything.

use std::time::Duration;

use crate::cli;
use crate::libreswan::Libreswan;
use crate::netns::{Block, Net, Side};
use crate::openiked::{self, OpenIked};
use crate::peer::{Control, DataPlane, Knob, Peer, PeerConfig};
use crate::process::{run, try_wait_for, wait_for};
use crate::proposal::Proposal;
use crate::strongswan::StrongSwan;
use crate::tshark::{self, Clean, Integrity};

/// Both ends must agree on the SPIs and have been given the same keys.
#[track_caller]
fn assert_same_tunnel(x: &dyn Peer, y: &dyn Peer) {
    let (sa_x, sa_y) = (x.established(), y.established());
    if sa_x.spi_i.is_some() && sa_y.spi_i.is_some() {
        assert_eq!((sa_x.spi_i, sa_x.spi_r), (sa_y.spi_i, sa_y.spi_r));
    }
    let (child_x, child_y) = (&sa_x.children[0], &sa_y.children[0]);
    assert_eq!((child_x.spi_in, child_x.spi_out), (child_y.spi_out, child_y.spi_in));
    let (keys_x, keys_y) = (x.esp_sas(), y.esp_sas());
    for spi in [child_x.spi_in, child_x.spi_out] {
        let (kx, ky) = (keys_x.get(&spi), keys_y.get(&spi));
        assert!(kx.is_some_and(|k| !k.enc_key.is_empty()), "{} logged no key for {spi:08x}: {keys_x:?}", x.name());
        assert_eq!(kx, ky, "{} and {} differ about {spi:08x}", x.name(), y.name());
    }
}

#[test]
fn strongswan_with_strongswan() {
    let net = Net::new();
    let (a, b) = PeerConfig::pair(&net);
    let (a, b) = (a.suite("aes128-sha256-x25519", "aes256gcm16"), b.suite("aes128-sha256-x25519", "aes256gcm16"));
    let left = StrongSwan::start(&net, Side::A, &a, DataPlane::Shim);
    let right = StrongSwan::start(&net, Side::B, &b, DataPlane::Shim);
    let capture = net.capture(Side::B);
    left.initiate().expect("two strongSwans find each other");
    assert_same_tunnel(&left, &right);

    let (keys, theirs) = (left.ike_keys(), right.ike_keys());
    assert_eq!(keys, theirs);
    let sa = left.established();
    assert_eq!((Some(keys[0].spi_i), Some(keys[0].spi_r)), (sa.spi_i, sa.spi_r));
    assert_eq!((keys[0].sk_d.len(), keys[0].sk_ei.len(), keys[0].skeyseed.len()), (32, 16, 32));
    left.terminate();

    let file = capture.finish();
    let suite = Proposal::parse(&a.ike[0]);
    let config = tshark::write_keys(&net.dir().join("wireshark"), &[(&suite, &keys[0])]);
    let packets = tshark::assert_clean(&file, Some(&config), &Clean { allow: &[], verified: true });
    let messages: Vec<_> = packets.iter().flat_map(|p| &p.messages).collect();
    assert_eq!(messages[0].exchange, 34);
    assert_eq!(messages[2].exchange, 35);
    assert!(messages[2].payloads.contains(&35), "IDi is inside the encrypted payload: {:?}", messages[2]);
}

#[test]
fn wrong_keys_do_not_pass_the_referee() {
    let net = Net::new();
    let (a, b) = PeerConfig::pair(&net);
    let left = StrongSwan::start(&net, Side::A, &a, DataPlane::Shim);
    let _right = StrongSwan::start(&net, Side::B, &b, DataPlane::Shim);
    let capture = net.capture(Side::A);
    left.initiate().expect("two strongSwans find each other");
    let file = capture.finish();
    let suite = Proposal::parse(&a.ike[0]);
    let keys = left.ike_keys().remove(0);

    let mut wrong = keys.clone();
    wrong.sk_ai[0] ^= 1;
    let config = tshark::write_keys(&net.dir().join("wrong"), &[(&suite, &wrong)]);
    let packets = tshark::dissect(&file, Some(&config));
    let verdicts: Vec<_> = packets.iter().flat_map(|p| &p.messages).flat_map(|m| m.integrity.clone()).collect();
    // Only the initiator's direction has the wrong key.
    assert_eq!(verdicts, [Integrity::Incorrect, Integrity::Correct]);
    let caught =
        std::panic::catch_unwind(|| tshark::assert_clean(&file, Some(&config), &Clean { allow: &[], verified: true }));
    assert!(caught.is_err(), "an incorrect checksum has to fail");
    let unread = std::panic::catch_unwind(|| tshark::assert_clean(&file, None, &Clean { allow: &[], verified: true }));
    assert!(unread.is_err(), "a checksum that nobody verified has to fail where verification is asked for");
}

#[test]
fn strongswan_with_its_own_esp_lets_a_ping_through() {
    let net = Net::new();
    let (a, b) = PeerConfig::pair(&net);
    let left = StrongSwan::start(&net, Side::A, &a, DataPlane::Userspace);
    let right = StrongSwan::start(&net, Side::B, &b, DataPlane::Userspace);
    left.initiate().expect("two strongSwans find each other");
    let mut ping = net.command(Side::A, "ping");
    run(ping.args(["-n", "-c", "1", "-W", "2", "-I", "10.1.1.1", "10.2.2.2"]), Duration::from_secs(5)).expect_success();
    // Its log alone is an oracle, too.
    let (keys, theirs) = (left.esp_sas(), right.esp_sas());
    assert_eq!(keys.len(), 2);
    assert_eq!(keys, theirs);
    let sa = left.established();
    assert!(keys.contains_key(&sa.children[0].spi_in) && keys.contains_key(&sa.children[0].spi_out));
}

#[test]
fn strongswan_with_libreswan_both_roles() {
    let net = Net::new();
    let (a, b) = PeerConfig::pair(&net);
    let (ike, esp) = ("aes256-sha256-modp2048", "aes256gcm16");
    let (a, b) = (a.suite(ike, esp), b.suite(ike, esp));
    let left = StrongSwan::start(&net, Side::A, &a, DataPlane::Shim);
    let right = Libreswan::start(&net, Side::B, &b);
    left.initiate().expect("strongSwan initiates to libreswan");
    assert_same_tunnel(&left, &right);
    right.terminate();
    wait_for("both ends to be empty", Duration::from_secs(3), || {
        (left.ike_sas().is_empty() && right.ike_sas().is_empty()).then_some(())
    });
    right.initiate().expect("libreswan initiates to strongSwan");
    assert_same_tunnel(&left, &right);
}

#[test]
fn strongswan_with_openiked_both_roles() {
    openiked::with_retries(|| {
        let net = Net::new();
        let (a, b) = PeerConfig::pair(&net);
        let (a, b) =
            (a.suite("aes256-sha256-modp2048", openiked::CHILD), b.suite("aes256-sha256-modp2048", openiked::CHILD));
        let left = StrongSwan::start(&net, Side::A, &a, DataPlane::Shim);
        let right = OpenIked::start(&net, Side::B, &b);
        left.initiate()?;
        assert_same_tunnel(&left, &right);
        left.terminate();
        try_wait_for(Duration::from_secs(3), || {
            (right.ike_sas().is_empty() && left.ike_sas().is_empty()).then_some(())
        })
        .ok_or_else(|| format!("strongSwan deleted, yet there are SAs: {:?} {:?}", left.ike_sas(), right.ike_sas()))?;
        right.initiate()?;
        assert_same_tunnel(&left, &right);
        Ok(())
    });
}

#[test]
fn a_wrong_psk_fails_with_every_peer() {
    let net = Net::new();
    let (a, mut b) = PeerConfig::pair(&net);
    b.psk = "another-psk-0123456789".to_owned();
    let left = StrongSwan::start(&net, Side::A, &a, DataPlane::Shim);
    let right = Libreswan::start(&net, Side::B, &b);
    let why = left.initiate().expect_err("the keys differ");
    assert!(why.contains("AUTHENTICATION_FAILED") || why.contains("AUTH_FAILED"), "{why}");
    drop(right);
    openiked::with_retries(|| {
        let right = OpenIked::start(&net, Side::B, &b);
        let why = left.initiate().expect_err("the keys differ");
        assert!(why.contains("AUTHENTICATION_FAILED") || why.contains("AUTH_FAILED"), "{why}");
        assert!(!right.ike_sas().iter().any(|s| s.established));
        Ok(())
    });
}

#[test]
fn blocked_packets_are_counted_and_pass_again() {
    let net = Net::new();
    let (a, b) = PeerConfig::pair(&net);
    let quick =
        |c: PeerConfig| c.knob(Knob::Charon, "retransmit_timeout", "0.2").knob(Knob::Charon, "retransmit_tries", "1");
    let left = StrongSwan::start(&net, Side::A, &quick(a), DataPlane::Shim);
    let right = StrongSwan::start(&net, Side::B, &b, DataPlane::Shim);
    for what in [Block::Udp500, Block::IkeSaInit, Block::IkeAuth, Block::Udp4500] {
        let blocked = net.block(Side::B, what);
        left.initiate().expect_err("nobody answers");
        assert!(blocked.packets() >= 2, "{what:?} dropped {}", blocked.packets());
        let sa_init_passed = !right.ike_keys().is_empty() || right.log().contains("parsed IKE_SA_INIT request");
        assert_eq!(sa_init_passed, matches!(what, Block::IkeAuth | Block::Udp4500), "{what:?}");
        left.terminate();
        blocked.lift();
    }
    left.initiate().expect("nothing is in the way any more");
}

#[test]
fn strongswan_can_be_made_to_want_a_cookie() {
    let net = Net::new();
    let (a, b) = PeerConfig::pair(&net);
    let a = a.knob(Knob::Charon, "retransmit_timeout", "0.2").knob(Knob::Charon, "retransmit_tries", "1");
    let left = StrongSwan::start(&net, Side::A, &a, DataPlane::Shim);
    let right = StrongSwan::start(&net, Side::B, &b.wants_cookies(), DataPlane::Shim);
    let blocked = net.block(Side::B, Block::IkeAuth);
    left.initiate().expect_err("nobody answers IKE_AUTH");
    blocked.lift();
    let capture = net.capture(Side::A);
    left.initiate().expect("a cookie is no obstacle");
    right.established();
    let packets = tshark::dissect(&capture.finish(), None);
    let asks = packets.iter().flat_map(|p| &p.messages).filter(|m| m.response && m.notifies.contains(&16390)).count();
    assert_eq!(asks, 1, "one N(COOKIE) response: {packets:?}");
}

#[test]
fn a_nat_is_seen_by_both_ends() {
    let net = Net::behind_nat();
    let (a, b) = PeerConfig::pair(&net);
    let b = b.knob(Knob::SwanConnection, "remote_addrs", "%any");
    let left = StrongSwan::start(&net, Side::A, &a, DataPlane::Shim);
    let right = StrongSwan::start(&net, Side::B, &b, DataPlane::Shim);
    left.initiate().expect("the NAT lets it out");
    right.established();
    assert!(left.log().contains("local host is behind NAT"), "{}", left.log());
    assert!(right.log().contains("remote host is behind NAT"), "{}", right.log());
}

#[test]
fn control_commands_drive_every_peer_over_ipv6_too() {
    let net = Net::new();
    let (a, b) = PeerConfig::pair(&net);
    let (a, b) = (a.over_ipv6(&net, Side::A), b.over_ipv6(&net, Side::B));
    let left = StrongSwan::start(&net, Side::A, &a, DataPlane::Shim);
    let right = Libreswan::start(&net, Side::B, &b);
    for (peer, control) in [(&left as &dyn Peer, left.control()), (&right, right.control())] {
        let started = cli::shell(&control.initiate);
        assert!(started.success(), "{started}");
        assert_same_tunnel(peer, if peer.name() == "strongSwan" { &right } else { &left });
        for show in &control.show {
            assert!(!cli::shell(show).expect_success().is_empty(), "{show} shows nothing");
        }
        cli::shell(&control.clear).expect_success();
        wait_for("both ends to be empty", Duration::from_secs(3), || {
            (left.ike_sas().is_empty() && right.ike_sas().is_empty()).then_some(())
        });
    }
    // Nothing to clear is no failure.
    cli::shell(&left.control().clear).expect_success();
    cli::shell(&right.control().clear).expect_success();
}

#[test]
fn a_connection_file_mirrors_the_description() {
    let net = Net::new();
    let (a, _) = PeerConfig::pair(&net);
    let control = Control {
        initiate: "echo \"x\"".to_owned(),
        clear: "true".to_owned(),
        show: vec!["date".to_owned()],
        orders: Vec::new(),
    };
    let expected = r#"version: 1
name: interop
local: {address: "10.99.0.1", id: "fqdn:a.test"}
remote: {address: "10.99.0.2", id: "fqdn:b.test"}
auth:
  local: {psk_file: ./psk}
  remote: {psk_file: ./psk}
ike: {proposals: ["aes128-sha256-x25519"]}
children:
  - name: c
    proposals: ["aes256gcm16"]
    pfs: modp2048
    local_ts: ["10.1.1.0/24"]
    remote_ts: ["10.2.2.0/24"]
control:
  initiate: "echo \"x\""
  clear: "true"
  show:
    - "date"
"#;
    assert_eq!(
        cli::connection_yaml(&a.suite("aes128-sha256-x25519", "aes256gcm16-modp2048"), Some(&control)),
        expected
    );
}

#[test]
fn nothing_is_left_behind() {
    let net = Net::new();
    let (ns, sockets) = (net.ns(Side::A), net.sockets().to_owned());
    let (a, _) = PeerConfig::pair(&net);
    let daemon = StrongSwan::start(&net, Side::A, &a, DataPlane::Shim);
    let pid = daemon.pid();
    assert!(std::path::Path::new(&format!("/proc/{pid}")).exists());
    // In the wrong order on purpose: the namespace goes first.
    drop(net);
    drop(daemon);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    assert!(!std::path::Path::new("/run/netns").join(ns).exists());
    assert!(!sockets.exists());
}
