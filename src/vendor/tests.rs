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

/// The baseline with a child that carries everything, and another one if `beside`.
fn any_to_any(beside: bool) -> Loaded {
    let mut loaded = baseline();
    let other = loaded.spec.children[0].clone();
    let child = &mut loaded.spec.children[0];
    child.local_ts = vec![crate::wire::TrafficSelector::any_v4()];
    child.remote_ts = child.local_ts.clone();
    loaded.spec.children.extend(beside.then_some(other));
    loaded
}

#[test]
fn any_to_any_becomes_a_tunnel_interface() {
    let loaded = any_to_any(false);
    for vendor in [Vendor::CiscoIosXe, Vendor::CiscoAsa, Vendor::CiscoFtd] {
        let cisco = text(peer_config(&loaded, vendor));
        assert!(cisco.contains("tunnel mode ipsec ipv4") && !cisco.contains("crypto map"), "{cisco}");
        assert!(!cisco.contains("0.0.0.0 0.0.0.0"), "{cisco}");
    }
    let panos = text(peer_config(&loaded, Vendor::PaloAltoPanos));
    assert!(!panos.contains("auto-key proxy-id"), "{panos}");
}

#[test]
fn any_to_any_never_stands_in_a_crypto_map() {
    let loaded = any_to_any(true);
    for vendor in [Vendor::CiscoIosXe, Vendor::CiscoAsa, Vendor::CiscoFtd] {
        let config = peer_config(&loaded, vendor);
        assert!(config.gaps.iter().any(|gap| gap.starts_with("everything to everything")), "{:?}", config.gaps);
        let commands: Vec<&str> = config.text.lines().filter(|line| !line.starts_with('!')).collect();
        assert!(!commands.iter().any(|line| line.contains("ip 0.0.0.0")), "{}", config.text);
        assert!(commands.iter().any(|line| line.contains("10.20.20.0")), "the other child stays: {}", config.text);
    }
}

/// Most boxes that this is pasted into carry other tunnels.
#[test]
fn no_configuration_takes_down_other_tunnels() {
    for loaded in [baseline(), rich(), any_to_any(false), any_to_any(true)] {
        for vendor in [Vendor::CiscoIosXe, Vendor::CiscoAsa, Vendor::CiscoFtd, Vendor::PaloAltoPanos] {
            let config = peer_config(&loaded, vendor);
            let comment = if vendor == Vendor::PaloAltoPanos { '#' } else { '!' };
            let commands: Vec<&str> = config.text.lines().filter(|line| !line.starts_with(comment)).collect();
            assert_eq!(hazard::of(vendor.name(), &commands), [""; 0], "{}", config.text);
            for (before, line) in config.text.lines().zip(config.text.lines().skip(1)) {
                let marked = before.starts_with(comment);
                assert!(marked || !commands::is_for_every_tunnel(line), "{line}: {}", config.text);
                assert!(marked || !line.starts_with("crypto ikev2 policy IKELAB"), "{}", config.text);
                let number = line.strip_prefix("crypto ikev2 policy ").and_then(|rest| rest.parse().ok());
                assert!(number.is_none_or(|number: u32| (65_000..=65_535).contains(&number)), "{line}");
            }
            assert!(config.text.contains("Before traffic passes"), "{}", config.text);
        }
    }
}

#[test]
fn a_hash_is_none_with_aes_gcm() {
    let mut loaded = rich();
    loaded.spec.ike_proposals.truncate(1);
    let aead = text(peer_config(&loaded, Vendor::PaloAltoPanos));
    assert!(aead.contains("ikelab hash non-auth\n") && aead.contains("use sha384"), "{aead}");
    let mixed = text(peer_config(&rich(), Vendor::PaloAltoPanos));
    assert!(mixed.contains("NOT EXPRESSED: AES-GCM beside CBC"), "{mixed}");
    assert!(!mixed.contains("ike-crypto-profiles ikelab encryption [ aes-256-gcm aes"), "{mixed}");
    let cbc = text(peer_config(&baseline(), Vendor::PaloAltoPanos));
    assert!(cbc.contains("ikelab hash sha256\n"), "{cbc}");
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
    assert_eq!(
        ask(Some(Vendor::CiscoIosXe)).1,
        "on the router, enter: clear crypto ikev2 sa remote 203.0.113.10",
        "ours, not everybody's"
    );
}

#[test]
fn no_prompt_takes_down_other_tunnels() {
    let mut loaded = baseline();
    for local_addr in [loaded.spec.local_addr, None] {
        loaded.spec.local_addr = local_addr;
        for vendor in Vendor::ALL {
            loaded.peer.vendor = Some(*vendor);
            for prompt in [initiate_prompt(&loaded), clear_prompt(&loaded)] {
                assert_eq!(hazard::of(vendor.name(), &[prompt.text()]), [""; 0]);
            }
        }
    }
}
