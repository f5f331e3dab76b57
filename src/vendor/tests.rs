//! What each vendor's configuration looks like, as a whole.

use std::path::Path;

use super::*;

fn load(text: &str) -> Loaded {
    crate::config::parse(text, "lab.yaml", Path::new(""), &|name| Some(format!("secret of {name}"))).unwrap()
}

fn baseline() -> Loaded {
    load(include_str!("../../examples/isr-to-pan.yaml"))
}

/// Several proposals and children, AEADs, names, two keys, and things that not every box has.
fn rich() -> Loaded {
    load(
        r#"
version: 1
name: rich
local: {address: 192.0.2.1, id: "fqdn:ikelab.example", port: 15500}
remote: {address: 192.0.2.2, id: "keyid:site-7"}
auth: {local: {psk_env: A}, remote: {psk_env: B}}
ike: {proposals: [aes256gcm16-prfsha384-ecp384-x25519, aes256-aes128-sha256-sha512-modp2048, aes128-aesxcbc-modp2048]}
children:
  - {name: lan, proposals: [aes256gcm16, aes256-aes128-sha256-esn], pfs: ecp384, local_ts: [10.1.0.0/16, 10.3.0.0/16], remote_ts: [10.2.0.0/16]}
  - {name: odd, proposals: [chacha20poly1305, aes128-sha1], local_ts: [10.9.0.1-10.9.0.9], remote_ts: ["10.2.0.0/16[tcp/80]"], mode: transport}
nat: {traversal: force}
"#,
    )
}

fn text(config: PeerConfig) -> String {
    for gap in &config.gaps {
        assert!(config.text.contains(&format!("NOT EXPRESSED: {gap}")), "{gap}");
    }
    config.text
}

macro_rules! snapshots {
    ($($name:ident: $loaded:ident, $vendor:ident;)*) => {
        $(#[test]
        fn $name() {
            let text = text(peer_config(&$loaded(), Vendor::$vendor));
            assert!(!text.contains("secret of"), "the key must never be printed");
            insta::assert_snapshot!(text);
        })*
    };
}

snapshots! {
    strongswan: baseline, StrongSwan;
    ios_xe: baseline, CiscoIosXe;
    asa: baseline, CiscoAsa;
    ftd: baseline, CiscoFtd;
    panos: baseline, PaloAltoPanos;
    strongswan_rich: rich, StrongSwan;
    ios_xe_rich: rich, CiscoIosXe;
    asa_rich: rich, CiscoAsa;
    panos_rich: rich, PaloAltoPanos;
}

#[test]
fn any_to_any_becomes_a_tunnel_interface() {
    let mut loaded = baseline();
    let child = &mut loaded.spec.children[0];
    child.local_ts = vec![crate::wire::TrafficSelector::any_v4()];
    child.remote_ts = child.local_ts.clone();
    let ios = text(peer_config(&loaded, Vendor::CiscoIosXe));
    assert!(ios.contains("tunnel mode ipsec ipv4") && !ios.contains("crypto map"), "{ios}");
    let panos = text(peer_config(&loaded, Vendor::PaloAltoPanos));
    assert!(!panos.contains("auto-key proxy-id"), "{panos}");
}

#[test]
fn what_a_person_is_asked_to_do() {
    let mut loaded = baseline();
    let mut ask = |vendor| {
        loaded.peer.vendor = vendor;
        (initiate_prompt(&loaded).text().to_owned(), clear_prompt(&loaded).text().to_owned())
    };
    assert_eq!(ask(Some(Vendor::PaloAltoPanos)).0, "on the firewall, enter: test vpn ike-sa gateway <GATEWAY>");
    assert_eq!(ask(Some(Vendor::CiscoIosXe)).0, "on the router, enter: ping 10.10.10.1 source 10.20.20.1");
    assert_eq!(
        ask(Some(Vendor::CiscoAsa)).0,
        "behind the firewall, ping from 10.20.20.1 to 10.10.10.1, so that traffic for the tunnel makes it initiate"
    );
    assert_eq!(ask(Some(Vendor::StrongSwan)).0, "on the peer, enter: swanctl --initiate --child lan");
    assert_eq!(ask(None).1, "at the peer, clear the IKE SAs it has with us");
}
