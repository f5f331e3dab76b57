//! Each persona's order of payloads, vendor IDs and notifies, with a real peer at the other end and tshark as referee.

use crate::netns::{Net, Side};
use crate::peer::{DataPlane, Knob, PeerConfig};
use crate::strongswan::StrongSwan;
use crate::tunnel::{Done, Role, bring_up};

const PERSONAS: &[&str] = &["plain", "cisco-ios-xe", "cisco-asa", "cisco-ftd", "paloalto-panos", "strongswan"];

/// Payload types (RFC 7296 3.2) of the first protected message in IKE_AUTH that we sent, the encrypted payload left out.
fn our_auth(done: &Done, response: bool) -> Vec<u8> {
    let mut messages = done.packets.iter().flat_map(|packet| &packet.messages);
    let found = messages.find(|m| m.exchange == 35 && m.response == response && m.spi_i == done.ours.spi_i);
    let found = found.expect("there is an IKE_AUTH");
    found.payloads.iter().copied().filter(|kind| *kind != 46).collect()
}

fn our_init(done: &Done, response: bool) -> Vec<u8> {
    let mut messages = done.packets.iter().flat_map(|packet| &packet.messages);
    let found = messages.find(|m| m.exchange == 34 && m.response == response && m.spi_i == done.ours.spi_i);
    found.expect("there is an IKE_SA_INIT").payloads.clone()
}

#[test]
fn strongswan_takes_each_personas_messages_in_both_roles_and_tshark_reads_them() {
    let net = Net::new();
    let (a, b) = PeerConfig::pair(&net);
    let peer = StrongSwan::start(&net, Side::B, &b, DataPlane::Shim);
    let mut bad = Vec::new();
    for persona in PERSONAS {
        let mut ours = a.clone().knob(Knob::Ikelab, "persona", persona);
        if *persona == "paloalto-panos" {
            // Its NAT detection is off, and strongSwan's log tells whose its keys are by what it hashes for that.
            ours = ours.knob(Knob::Ikelab, "nat", "{traversal: auto}");
        }
        for role in [Role::Initiator, Role::Responder] {
            let done = bring_up(&net, Side::A, role, &ours, &peer).and_then(|tunnel| tunnel.take_down());
            let done = match done {
                Ok(done) => done,
                Err(why) => {
                    bad.push(format!("{persona} as {role:?}: {why}"));
                    continue;
                }
            };
            let response = role == Role::Responder;
            let (init, auth) = (our_init(&done, response), our_auth(&done, response));
            println!("{persona} as {role:?}: {init:?} {auth:?}");
            // 33 SA, 34 KE, 40 nonce, 43 vendor ID, 41 notify, 38 CERTREQ.
            let begins: &[u8] = match *persona {
                "cisco-ios-xe" => &[33, 34, 40, 43, 43, 43, 43, 41, 41],
                "cisco-asa" | "cisco-ftd" if response => &[33, 34, 40, 43, 43, 41, 41, 38],
                "cisco-asa" | "cisco-ftd" => &[33, 34, 40, 43, 43, 41, 41],
                _ => &[33, 34, 40],
            };
            assert!(init.starts_with(begins), "{persona} as {role:?}: {init:?}");
            // 35 IDi, 36 IDr, 39 AUTH, 47 CP.
            let begins: &[u8] = match (*persona, response) {
                ("cisco-ios-xe", false) => &[43, 35, 39, 47, 33, 44, 45, 41],
                ("cisco-asa" | "cisco-ftd", false) => &[43, 35, 39, 33, 44, 45, 41],
                ("cisco-ios-xe" | "cisco-asa" | "cisco-ftd", true) => &[43, 36, 39, 33, 44, 45, 41],
                ("strongswan", false) => &[35, 41, 39, 33, 44, 45],
                (_, false) => &[35, 39],
                (_, true) => &[36, 39, 33, 44, 45],
            };
            assert!(auth.starts_with(begins), "{persona} as {role:?}: {auth:?}");
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}
