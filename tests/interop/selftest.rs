//! The harness checks itself: real peers against each other, with ikelab nowhere in between. When one of these fails,
//! no verdict of the other tests is worth anything.

use std::time::Duration;

use crate::libreswan::Libreswan;
use crate::netns::{Block, Net, Side};
use crate::openiked::{self, OpenIked};
use crate::peer::{DataPlane, Knob, Peer, PeerConfig};
use crate::proposal::Proposal;
use crate::strongswan::StrongSwan;
use crate::tshark::{self, Clean};

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
