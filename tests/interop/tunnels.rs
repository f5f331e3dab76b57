//! Tunnels of ikelab with every peer, in both roles and over every kind of path.

use std::time::Duration;

use crate::cli::{Ikelab, interrupt};
use crate::libreswan::Libreswan;
use crate::netns::{Net, Side};
use crate::openiked::{self, OpenIked};
use crate::peer::{DataPlane, Knob, Peer, PeerConfig};
use crate::process::wait_for;
use crate::strongswan::StrongSwan;
use crate::tunnel::{HANDSHAKE, Role, bring_up, listening, up_and_down};

const BOTH: [Role; 2] = [Role::Initiator, Role::Responder];

/// IKE_AUTH, and the payload that carries a fragment of a message.
const IKE_AUTH: u8 = 35;
const SKF: u8 = 53;

#[track_caller]
fn well<T>(outcome: Result<T, String>) -> T {
    outcome.unwrap_or_else(|why| panic!("{why}"))
}

/// Control plane only: the shim stands for a kernel, and holds libreswan's keys against ours.
#[test]
fn libreswan_both_roles_control_plane_only() {
    for role in BOTH {
        let net = Net::new();
        let (a, b) = PeerConfig::pair(&net);
        let (ike, esp) = ("aes256-sha256-modp2048", "aes256gcm16");
        let peer = Libreswan::start(&net, Side::B, &b.suite(ike, esp));
        well(up_and_down(&net, Side::A, role, &a.suite(ike, esp), &peer));
    }
}

/// Control plane only: an AEAD for the IKE SA, another group, and a Child SA with a MAC.
#[test]
fn libreswan_both_roles_with_gcm_control_plane_only() {
    for role in BOTH {
        let net = Net::new();
        let (a, b) = PeerConfig::pair(&net);
        let (ike, esp) = ("aes256gcm16-prfsha512-ecp256", "aes256-sha512");
        let peer = Libreswan::start(&net, Side::B, &b.suite(ike, esp));
        well(up_and_down(&net, Side::A, role, &a.suite(ike, esp), &peer));
    }
}

/// Control plane only, as with libreswan. iked is flaky: at most two retries, each told in the output.
#[test]
fn openiked_both_roles_control_plane_only() {
    for role in BOTH {
        openiked::with_retries(|| {
            let net = Net::new();
            let (a, b) = PeerConfig::pair(&net);
            let ike = "aes256-sha256-modp2048";
            let peer = OpenIked::start(&net, Side::B, &b.suite(ike, openiked::CHILD));
            up_and_down(&net, Side::A, role, &a.suite(ike, openiked::CHILD), &peer).map(|_| ())
        });
    }
}

/// Control plane only: our lifetime ends, and the keys of the Child SA that takes over are the same at both ends.
#[test]
fn child_rekeys_with_libreswan_and_openiked_control_plane_only() {
    let rekeys = |name: &str| {
        let net = Net::new();
        let (a, b) = PeerConfig::pair(&net);
        let ike = "aes256-sha256-modp2048";
        let (a, b) = (a.suite(ike, openiked::CHILD), b.suite(ike, openiked::CHILD));
        let a = a.knob(Knob::Ikelab, "child", "lifetime: 2s");
        let peer: Box<dyn Peer> = match name {
            "libreswan" => Box::new(Libreswan::start(&net, Side::B, &b)),
            _ => Box::new(OpenIked::start(&net, Side::B, &b)),
        };
        let tunnel = bring_up(&net, Side::A, Role::Initiator, &a, &*peer)?;
        let told = || tunnel.run.named("child_rekeyed").into_iter().next();
        let rekeyed = crate::process::try_wait_for(Duration::from_secs(6), told)
            .ok_or_else(|| format!("{name}: no rekey\n{}\n{}", tunnel.process.stdout(), peer.log()))?;
        assert_eq!(rekeyed["old"], format!("{:08x}", tunnel.ours.children[0].spi_in));
        let new = u32::from_str_radix(rekeyed["new"].as_str().unwrap_or_default(), 16).expect("an SPI");
        let sas = tunnel.run.sas();
        let child = sas.iter().flat_map(|sa| &sa.children).find(|c| c.spi_in == new).expect("the new one is told");
        let (ours, theirs) = (tunnel.run.esp_keys(), peer.esp_sas());
        for spi in [child.spi_in, child.spi_out] {
            let (encr, integ) = ours.get(&spi).expect("exported keys");
            let kernel = theirs.get(&spi).ok_or_else(|| format!("{name} has no {spi:08x}: {theirs:?}"))?;
            assert_eq!((encr, integ), (&kernel.enc_key, &kernel.auth_key), "{name}: keys of {spi:08x}");
        }
        tunnel.take_down().map(|_| ())
    };
    well(rekeys("libreswan"));
    openiked::with_retries(|| rekeys("OpenIKED"));
}

#[test]
fn through_a_nat() {
    for (peer_is, role) in [("strongSwan", Role::Initiator), ("libreswan", Role::Initiator)]
        .into_iter()
        .chain([("strongSwan", Role::Responder), ("libreswan", Role::Responder)])
    {
        let net = Net::behind_nat();
        let (a, b) = PeerConfig::pair(&net);
        let (ike, esp) = ("aes256-sha256-modp2048", "aes256gcm16");
        let (a, b) = (a.suite(ike, esp), b.suite(ike, esp));
        // Who initiates is behind the NAT.
        let (side, ours, theirs) = match role {
            Role::Initiator => (Side::A, a, b),
            Role::Responder => (Side::B, b, a),
        };
        let peer: Box<dyn Peer> = match peer_is {
            "strongSwan" => {
                // The port is not 500 behind the NAT, and strongSwan would not mind; its address is the NAT's.
                let theirs = if role == Role::Initiator {
                    theirs.knob(Knob::SwanConnection, "remote_addrs", "%any")
                } else {
                    theirs
                };
                Box::new(StrongSwan::start(&net, side.other(), &theirs, DataPlane::Shim))
            }
            _ => Box::new(Libreswan::start(&net, side.other(), &theirs)),
        };
        let done = well(up_and_down(&net, side, role, &ours, &*peer));
        let sa = &done.ours;
        assert!(sa.local.ends_with(":4500"), "{peer_is} {role:?}: IKE has not moved to port 4500: {sa:?}");
        assert!(sa.children[0].encapsulated, "{peer_is} {role:?}: ESP is not in UDP: {sa:?}");
        let init = sa.events.iter().find(|e| e["event"] == "init_done").expect("IKE_SA_INIT is done");
        let (us, them) = (role == Role::Initiator, role == Role::Responder);
        assert_eq!((&init["nat"]["us"], &init["nat"]["peer"]), (&us.into(), &them.into()), "{init}");
    }
}

#[test]
fn encapsulation_is_forced_by_either_end() {
    for (whose, role) in [("ours", Role::Initiator), ("ours", Role::Responder), ("theirs", Role::Initiator)]
        .into_iter()
        .chain([("theirs", Role::Responder)])
    {
        let net = Net::new();
        let (a, b) = PeerConfig::pair(&net);
        let (a, b) = match whose {
            "ours" => (a.knob(Knob::Ikelab, "nat", "{traversal: force}"), b),
            _ => (a, b.knob(Knob::SwanConnection, "encap", "yes")),
        };
        let peer = StrongSwan::start(&net, Side::B, &b, DataPlane::Shim);
        let done = well(up_and_down(&net, Side::A, role, &a, &peer));
        let sa = &done.ours;
        assert!(sa.local.ends_with(":4500") && sa.children[0].encapsulated, "{whose} {role:?}: {sa:?}");
    }
}

#[test]
fn over_ipv6() {
    for role in BOTH {
        let net = Net::new();
        let (a, b) = PeerConfig::pair(&net);
        let (a, b) = (a.over_ipv6(&net, Side::A), b.over_ipv6(&net, Side::B));
        let (ike, esp) = ("aes256-sha256-modp2048", "aes256gcm16");
        let (a, b) = (a.suite(ike, esp), b.suite(ike, esp));
        let peer = StrongSwan::start(&net, Side::B, &b, DataPlane::Shim);
        well(up_and_down(&net, Side::A, role, &a, &peer));
        drop(peer);
        let peer = Libreswan::start(&net, Side::B, &b);
        well(up_and_down(&net, Side::A, role, &a, &peer));
    }
}

/// So many traffic selectors that IKE_AUTH does not fit into one datagram.
#[test]
fn ike_auth_in_fragments() {
    for role in BOTH {
        let net = Net::new();
        let (mut a, mut b) = PeerConfig::pair(&net);
        // strongSwan joins neighbours.
        let nets = |second: u8| (0..60).map(|n| format!("10.{second}.{}.0/24", 2 * n)).collect::<Vec<_>>();
        (a.local_ts, a.remote_ts) = (nets(1), nets(2));
        (b.local_ts, b.remote_ts) = (nets(2), nets(1));
        let a = a.knob(Knob::Ikelab, "ike", "fragmentation: true");
        let b = b.knob(Knob::SwanConnection, "fragmentation", "force").knob(Knob::Charon, "fragment_size", "576");
        let peer = StrongSwan::start(&net, Side::B, &b, DataPlane::Shim);
        let done = well(up_and_down(&net, Side::A, role, &a, &peer));
        assert_eq!(done.ours.children[0].local_ts.len(), 60, "{:?}", done.ours.children);
        for response in [false, true] {
            let messages = done.packets.iter().flat_map(|p| &p.messages);
            let auth = messages.filter(|m| m.exchange == IKE_AUTH && m.response == response);
            let fragments = auth.filter(|m| m.payloads.contains(&SKF)).count();
            assert!(fragments >= 2, "{role:?}: {fragments} fragments, response: {response}");
        }
    }
}

/// Fragmentation can be switched off: then a large IKE_AUTH goes in one datagram, whatever the peer offers.
#[test]
fn no_fragments_when_they_are_not_wanted() {
    for role in BOTH {
        let net = Net::new();
        let (a, b) = PeerConfig::pair(&net);
        let a = a.knob(Knob::Ikelab, "ike", "fragmentation: false");
        let b = b.knob(Knob::SwanConnection, "fragmentation", "yes").knob(Knob::Charon, "fragment_size", "300");
        let peer = StrongSwan::start(&net, Side::B, &b, DataPlane::Shim);
        let done = well(up_and_down(&net, Side::A, role, &a, &peer));
        let fragmented = done.packets.iter().flat_map(|p| &p.messages).any(|m| m.payloads.contains(&SKF));
        assert!(!fragmented, "{role:?}");
    }
}

#[test]
fn a_peer_that_deletes_ends_the_tunnel() {
    for role in BOTH {
        let net = Net::new();
        let (a, b) = PeerConfig::pair(&net);
        let peer = StrongSwan::start(&net, Side::B, &b, DataPlane::Shim);
        let mut tunnel = well(bring_up(&net, Side::A, role, &a, &peer));
        peer.terminate();
        let (run, spi) = (tunnel.run.clone(), tunnel.ours.spi_i);
        wait_for("our DELETE to be noticed", Duration::from_secs(3), || {
            run.sas().into_iter().find(|sa| sa.spi_i == spi && sa.deleted_by.as_deref() == Some("peer"))
        });
        if role == Role::Initiator {
            let code = tunnel.process.wait(Duration::from_secs(5)).and_then(|s| s.code());
            assert_eq!(code, Some(1), "{}", tunnel.process.stdout());
            assert_eq!(run.result().expect("a report")["ike_sa"]["deleted_by"], "peer");
        } else {
            assert!(tunnel.process.is_running(), "a responder goes on: {}", tunnel.process.stdout());
            assert_eq!(interrupt(&mut tunnel.process), Some(0));
        }
    }
}

#[test]
fn a_peer_that_dies_is_noticed() {
    for role in BOTH {
        let net = Net::new();
        let (a, b) = PeerConfig::pair(&net);
        let a = a.knob(Knob::Ikelab, "dpd", "{interval: 1s}").knob(
            Knob::Ikelab,
            "retransmit",
            "{initial: 200ms, attempts: 3}",
        );
        let mut peer = StrongSwan::start(&net, Side::B, &b, DataPlane::Shim);
        let (run, mut process) = {
            let tunnel = well(bring_up(&net, Side::A, role, &a, &peer));
            (tunnel.run.clone(), tunnel.process)
        };
        let alive = || run.sas()[0].events.iter().any(|e| e["event"] == "alive").then_some(());
        wait_for("a liveness check that is answered", Duration::from_secs(4), alive);
        peer.kill();
        let dead = || {
            let failed = |e: &&serde_json::Value| e["event"] == "failed" && e["scope"] == "ike_sa";
            run.sas()[0].events.iter().find(failed).cloned()
        };
        let failed = wait_for("the dead peer to be noticed", Duration::from_secs(6), dead);
        assert_eq!(failed["class"], "dpd_timeout", "{failed}");
        match role {
            Role::Initiator => {
                let code = process.wait(Duration::from_secs(8)).and_then(|s| s.code());
                assert_eq!(code, Some(1), "{}", process.stdout());
            }
            Role::Responder => assert_eq!(interrupt(&mut process), Some(0)),
        }
        let result = run.result().expect("a report");
        assert_eq!(result["findings"][0]["class"], "dpd_timeout", "{result}");
    }
}

/// Ctrl-C when nobody has answered yet: nothing can be said, and the report says that.
#[test]
fn ctrl_c_before_the_tunnel_is_up() {
    let net = Net::new();
    let (a, _) = PeerConfig::pair(&net);
    let ikelab = Ikelab::new(&net, Side::A, &a, None);
    let mut process = ikelab.spawn("connect", &[]);
    let out = ikelab.stdout_file();
    process.wait_until("IKE_SA_INIT is sent", HANDSHAKE, || {
        crate::process::text_of(&out).contains("plan seed").then_some(())
    });
    assert_eq!(interrupt(&mut process), Some(4), "{}{}", process.stdout(), process.stderr());
    let result = ikelab.run_dir().result().expect("a report");
    assert_eq!((&result["ended"], &result["exit_code"]), (&"by_signal".into(), &4.into()), "{result}");

    let named = Ikelab::named(&net, Side::A, "listen", &a, None);
    let mut process = listening(&named, &[]);
    assert_eq!(interrupt(&mut process), Some(0), "{}{}", process.stdout(), process.stderr());
    assert_eq!(named.run_dir().result().expect("a report")["counters"]["ike_sas_up"], 0);
}
