//! Cisco IOS and IOS-XE.

use super::PeerConfig;
use super::mirror::{self, Mirror, Out, Parts, Proof};
use super::words::Phase;
use crate::config::Vendor;
use crate::crypto::Group;
use crate::engine::{ChildSpec, DpdMode, Mode, NatTraversal};
use crate::wire::registry::IdType;
use crate::wire::{IdPayload, dn_values};

pub(super) fn render(mirror: &Mirror<'_>) -> PeerConfig {
    let mut out = Out::new(Vendor::CiscoIosXe, "!");
    let spec = mirror.spec;
    out.head(mirror);
    out.port_gaps(mirror);
    if spec.remote_addr.or(spec.local_addr).is_some_and(|a| a.is_ipv6()) {
        out.gap("this writes IOS for IPv4 between the two ends; adapt the addresses below for IPv6");
    }

    let mut names = Vec::new();
    for (index, proposal) in spec.ike_proposals.iter().enumerate() {
        let name = format!("IKELAB-{}", index + 1);
        if ike_proposal(&mut out, &name, &Parts::of(proposal)) {
            names.push(name);
        }
    }
    out.danger(
        "a policy without match is for every tunnel, and with the first one of its own a box no longer uses its default \
         policy. If show running-config | section crypto ikev2 policy lists one, add the proposal lines to that one \
         instead; if it lists none and the box has other tunnels, see first what they use: show crypto ikev2 policy.",
    );
    out.line("crypto ikev2 policy IKELAB");
    for name in &names {
        out.line(format!(" proposal {name}"));
    }
    let certificate_map = certificate_map(&mut out, mirror);
    let keys = [mirror.near_proof, mirror.far_proof].contains(&Proof::Key);
    if keys {
        keyring(&mut out, mirror);
    }
    out.line("crypto ikev2 profile IKELAB");
    if certificate_map {
        out.line(" match certificate IKELAB");
    } else {
        let remote = match mirror.loaded.local_id_pending {
            true => format!("address {} 255.255.255.255", mirror.far),
            false => identity(&mut out, &mirror.far_id, true),
        };
        out.line(format!(" match identity remote {remote}"));
    }
    if let Some(id) = mirror.near_id {
        let local = identity(&mut out, id, false);
        out.line(format!(" identity local {local}"));
    }
    out.line(format!(" authentication remote {}", method(mirror.far_proof)));
    out.line(format!(" authentication local {}", method(mirror.near_proof)));
    if keys {
        out.line(" keyring local IKELAB");
    }
    if mirror.near_proof.is_certificate() {
        out.line(" pki trustpoint <TRUSTPOINT-OF-THIS-BOX> sign");
    }
    if mirror.far_proof.is_certificate() {
        out.line(" pki trustpoint <TRUSTPOINT-WITH-IKELABS-CA> verify");
    }
    if let Some(lifetime) = mirror.ike_lifetime() {
        out.line(format!(" lifetime {}", lifetime.as_secs()));
    }
    if let Some(dpd) = &spec.dpd {
        let mode = if dpd.mode == DpdMode::OnDemand { "on-demand" } else { "periodic" };
        out.line(format!(" dpd {} 2 {mode}", dpd.interval.as_secs().max(10)));
    }
    if spec.nat.traversal == NatTraversal::Force {
        out.line(" nat force-encap");
    }
    if spec.fragmentation {
        out.note("for the whole box:");
        out.line("crypto ikev2 fragmentation mtu 1400");
    }
    let outside = match spec.children.as_slice() {
        [child] if mirror::is_any_to_any(child) => {
            tunnel_interface(&mut out, mirror, child);
            "through the tunnel interface"
        }
        children => {
            crypto_map(&mut out, mirror, children);
            "through <OUTSIDE-INTERFACE>"
        }
    };
    out.before_traffic(&format!(
        "a route to ikelab's networks {outside}, no NAT between the two ends' networks, and leave in the access lists \
         and zones on the way"
    ));
    out.finish()
}

fn keyring(out: &mut Out, mirror: &Mirror<'_>) {
    out.line("crypto ikev2 keyring IKELAB");
    out.line(" peer IKELAB");
    out.line(format!("  address {}", mirror.far));
    if mirror.one_key {
        out.line(format!("  pre-shared-key {}", mirror::KEY));
    } else {
        out.line(format!("  pre-shared-key local {}", mirror.near_key()));
        out.line(format!("  pre-shared-key remote {}", mirror.far_key()));
    }
}

/// The word for how an end proves itself.
fn method(proof: Proof) -> &'static str {
    match proof {
        Proof::Key => "pre-share",
        _ if proof.is_curve() => "ecdsa-sig",
        _ => "rsa-sig",
    }
}

/// A certificate map, where a subject names us: a profile matches a DN by one. True if there is one now.
fn certificate_map(out: &mut Out, mirror: &Mirror<'_>) -> bool {
    if !mirror.far_proof.is_certificate() || mirror.far_id.kind != IdType::ID_DER_ASN1_DN {
        return false;
    }
    if mirror.near_proof == Proof::Certificate(None) {
        out.note("rsa-sig below is ecdsa-sig if this box has an EC key");
    }
    let names = dn_values(&mirror.far_id.data, "CN");
    let Some(name) = names.last() else {
        out.gap(format!("the identity {}: no common name to match it by", mirror.far_id));
        return false;
    };
    out.line("crypto pki certificate map IKELAB 10");
    out.line(format!(" subject-name co cn = {}", name.to_lowercase()));
    true
}

/// One `crypto ikev2 proposal`, which holds any number of algorithms of each kind; false when nothing of it is left.
fn ike_proposal(out: &mut Out, name: &str, parts: &Parts) -> bool {
    let encr = out.encrs(Phase::Ike, &parts.encr);
    let integ = out.integs(Phase::Ike, &parts.integ);
    let prf = out.prfs(&parts.prf);
    let groups = out.groups(&parts.groups);
    if encr.is_empty() || prf.is_empty() || groups.is_empty() || (integ.is_empty() && !parts.is_aead()) {
        return false;
    }
    out.line(format!("crypto ikev2 proposal {name}"));
    out.line(format!(" encryption {}", encr.join(" ")));
    // With AES-GCM, IOS wants a PRF and no integrity; otherwise the PRF follows from the integrity unless it is named.
    if !integ.is_empty() {
        out.line(format!(" integrity {}", integ.join(" ")));
    }
    if parts.is_aead() || !parts.prf_follows() {
        out.line(format!(" prf {}", prf.join(" ")));
    }
    out.line(format!(" group {}", groups.join(" ")));
    true
}

fn identity(out: &mut Out, id: &IdPayload, matching: bool) -> String {
    let value = mirror::id_value(id);
    match id.kind {
        IdType::ID_IPV4_ADDR if matching => format!("address {value} 255.255.255.255"),
        IdType::ID_IPV4_ADDR | IdType::ID_IPV6_ADDR => format!("address {value}"),
        IdType::ID_FQDN => format!("fqdn {value}"),
        IdType::ID_RFC822_ADDR => format!("email {value}"),
        IdType::ID_KEY_ID => format!("key-id {value}"),
        IdType::ID_DER_ASN1_DN if !matching => "dn".into(),
        _ => {
            out.gap(format!("the identity {id}"));
            "<IDENTITY>".into()
        }
    }
}

/// One transform set per pair of algorithms, since a set holds one of each.
fn transform_sets(out: &mut Out, child: &ChildSpec, prefix: &str) -> Vec<String> {
    let mut names = Vec::new();
    for proposal in &child.proposals {
        let parts = Parts::of(proposal);
        let encr = out.encrs(Phase::Esp, &parts.encr);
        let integ = out.integs(Phase::Esp, &parts.integ);
        if parts.esn {
            out.gap("extended sequence numbers: set them on the box by hand");
        }
        let pairs: Vec<String> = match parts.is_aead() {
            true => encr,
            false => encr.iter().flat_map(|e| integ.iter().map(move |i| format!("{e} {i}"))).collect(),
        };
        for pair in pairs {
            let name = format!("{prefix}-{}", names.len() + 1);
            out.line(format!("crypto ipsec transform-set {name} {pair}"));
            out.line(format!(" mode {}", if child.mode == Mode::Transport { "transport" } else { "tunnel" }));
            names.push(name);
        }
    }
    names
}

fn pfs(out: &mut Out, child: &ChildSpec) -> Option<String> {
    let groups: Vec<Group> = child.pfs.iter().filter_map(|g| Group::from_method(*g)).collect();
    let words = out.groups(&groups);
    if words.len() > 1 {
        out.gap(format!("more than one PFS group in child {}; the first one is taken", child.name));
    }
    words.first().map(|word| format!(" set pfs group{word}"))
}

fn crypto_map(out: &mut Out, mirror: &Mirror<'_>, children: &[ChildSpec]) {
    for (index, child) in children.iter().enumerate() {
        let number = index + 1;
        let sets = transform_sets(out, child, &format!("IKELAB-ESP{number}"));
        let pairs = mirror::map_pairs(out, child);
        if sets.is_empty() || pairs.is_empty() {
            out.gap(format!("child {}, of which too little is left", child.name));
            continue;
        }
        out.line(format!("ip access-list extended IKELAB-ACL{number}"));
        for ((near, near_len), (far, far_len)) in pairs {
            let (from, to) = (mirror::wildcard(near_len), mirror::wildcard(far_len));
            out.line(format!(" permit ip {near} {from} {far} {to}"));
        }
        let pfs = pfs(out, child);
        out.line(format!("crypto map IKELAB {} ipsec-isakmp", number * 10));
        out.line(format!(" set peer {}", mirror.far));
        out.line(format!(" set transform-set {}", sets.join(" ")));
        if let Some(pfs) = pfs {
            out.line(pfs);
        }
        out.line(" set ikev2-profile IKELAB");
        if let Some(lifetime) = mirror.child_lifetime(child) {
            out.line(format!(" set security-association lifetime seconds {}", lifetime.as_secs()));
        }
        out.line(format!(" match address IKELAB-ACL{number}"));
    }
    out.danger(
        "an interface has one crypto map. If show running-config interface <OUTSIDE-INTERFACE> has one, the next lines \
         would take it off, with every tunnel in it: put the entries above into that map, under free numbers. If there \
         is none, enter these without the mark before them:",
    );
    out.note("interface <OUTSIDE-INTERFACE>");
    out.note(" crypto map IKELAB");
}

/// A static virtual tunnel interface, whose selectors are 0.0.0.0/0 on both sides.
fn tunnel_interface(out: &mut Out, mirror: &Mirror<'_>, child: &ChildSpec) {
    let sets = transform_sets(out, child, "IKELAB-ESP1");
    let pfs = pfs(out, child);
    out.line("crypto ipsec profile IKELAB");
    out.line(format!(" set transform-set {}", sets.join(" ")));
    if let Some(pfs) = pfs {
        out.line(pfs);
    }
    out.line(" set ikev2-profile IKELAB");
    if let Some(lifetime) = mirror.child_lifetime(child) {
        out.line(format!(" set security-association lifetime seconds {}", lifetime.as_secs()));
    }
    out.line("interface Tunnel<N>");
    out.line(" ip unnumbered <OUTSIDE-INTERFACE>");
    out.line(format!(" tunnel source {}", mirror.near));
    out.line(format!(" tunnel destination {}", mirror.far));
    out.line(" tunnel mode ipsec ipv4");
    out.line(" tunnel protection ipsec profile IKELAB");
}
