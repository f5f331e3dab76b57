//! Cisco ASA, and FTD, whose engine reads the same but is configured from its manager.

use super::PeerConfig;
use super::mirror::{self, Mirror, Out, Parts};
use super::words::Phase;
use crate::config::Vendor;
use crate::crypto::Group;
use crate::engine::{ChildSpec, Mode};
use crate::wire::registry::IdType;

pub(super) fn render(mirror: &Mirror<'_>, vendor: Vendor) -> PeerConfig {
    let mut out = Out::new(vendor, "!");
    let spec = mirror.spec;
    out.head(mirror);
    if vendor == Vendor::CiscoFtd {
        out.note("Enter this in FMC or FDM and deploy; the lines say what `show running-config` should then hold,");
        out.note("under names that FMC makes up (CSM_...). Access control must permit the decrypted traffic.");
    }
    out.port_gaps(mirror);
    if spec.remote_addr.or(spec.local_addr).is_some_and(|a| a.is_ipv6()) {
        out.gap("this writes ASA for IPv4 between the two ends; adapt the addresses below for IPv6");
    }
    for (index, proposal) in spec.ike_proposals.iter().enumerate() {
        policy(&mut out, mirror, (index + 1) * 10, &Parts::of(proposal));
    }
    out.line("crypto ikev2 enable <OUTSIDE>");
    identity(&mut out, mirror);
    for (index, child) in spec.children.iter().enumerate() {
        child_lines(&mut out, mirror, child, index + 1);
    }
    out.line("crypto map IKELAB interface <OUTSIDE>");
    out.line("group-policy IKELAB internal");
    out.line("group-policy IKELAB attributes");
    out.line(" vpn-tunnel-protocol ikev2");
    let group = &mirror.far;
    out.line(format!("tunnel-group {group} type ipsec-l2l"));
    out.line(format!("tunnel-group {group} general-attributes"));
    out.line(" default-group-policy IKELAB");
    out.line(format!("tunnel-group {group} ipsec-attributes"));
    if mirror.far_proof.is_certificate() {
        out.note("the CA of ikelab's certificate must be a trustpoint of this box");
        out.line(" ikev2 remote-authentication certificate");
    } else {
        out.line(format!(" ikev2 remote-authentication pre-shared-key {}", mirror.far_key()));
    }
    if mirror.near_proof.is_certificate() {
        out.line(" ikev2 local-authentication certificate <TRUSTPOINT-OF-THIS-BOX>");
    } else {
        out.line(format!(" ikev2 local-authentication pre-shared-key {}", mirror.near_key()));
    }
    let by_key = !mirror.far_proof.is_certificate();
    if by_key && !mirror.loaded.local_id_pending && !mirror::is_address(&mirror.far_id) {
        out.line(" peer-id-validate nocheck");
    }
    if let Some(dpd) = &spec.dpd {
        out.line(format!(" isakmp keepalive threshold {} retry 2", dpd.interval.as_secs().max(10)));
    }
    out.finish()
}

/// One `crypto ikev2 policy`, which holds any number of algorithms of each kind.
fn policy(out: &mut Out, mirror: &Mirror<'_>, number: usize, parts: &Parts) {
    let encr = out.encrs(Phase::Ike, &parts.encr);
    let integ = out.integs(Phase::Ike, &parts.integ);
    let prf = out.prfs(&parts.prf);
    let groups = out.groups(&parts.groups);
    if encr.is_empty() || prf.is_empty() || groups.is_empty() || (integ.is_empty() && !parts.is_aead()) {
        return;
    }
    out.line(format!("crypto ikev2 policy {number}"));
    out.line(format!(" encryption {}", encr.join(" ")));
    out.line(format!(" integrity {}", if parts.is_aead() { "null".into() } else { integ.join(" ") }));
    out.line(format!(" group {}", groups.join(" ")));
    // Always said: the ASA's PRF is a setting of its own and does not follow from the integrity.
    out.line(format!(" prf {}", prf.join(" ")));
    if let Some(lifetime) = mirror.ike_lifetime() {
        out.line(format!(" lifetime seconds {}", lifetime.as_secs()));
    }
}

/// The identity is a setting of the whole box.
fn identity(out: &mut Out, mirror: &Mirror<'_>) {
    let Some(id) = mirror.near_id else { return };
    match id.kind {
        IdType::ID_IPV4_ADDR | IdType::ID_IPV6_ADDR => {
            out.note("for the whole box:");
            out.line("crypto isakmp identity address");
        }
        IdType::ID_KEY_ID => {
            out.note("for the whole box:");
            out.line(format!("crypto isakmp identity key-id {}", mirror::id_value(id)));
        }
        IdType::ID_DER_ASN1_DN if mirror.near_proof.is_certificate() => {
            out.note("for the whole box: with a certificate its subject");
            out.line("crypto isakmp identity auto");
        }
        _ => out.gap(format!("the identity {id}: with a pre-shared key, expect an address or a key id here")),
    }
}

fn child_lines(out: &mut Out, mirror: &Mirror<'_>, child: &ChildSpec, number: usize) {
    let mut names = Vec::new();
    for proposal in &child.proposals {
        let parts = Parts::of(proposal);
        let encr = out.encrs(Phase::Esp, &parts.encr);
        let integ = out.integs(Phase::Esp, &parts.integ);
        if parts.esn {
            out.gap("extended sequence numbers: set them on the box by hand");
        }
        if encr.is_empty() || (integ.is_empty() && !parts.is_aead()) {
            continue;
        }
        let name = format!("IKELAB-ESP{number}-{}", names.len() + 1);
        out.line(format!("crypto ipsec ikev2 ipsec-proposal {name}"));
        out.line(format!(" protocol esp encryption {}", encr.join(" ")));
        let integ = if parts.is_aead() { "null".into() } else { integ.join(" ") };
        out.line(format!(" protocol esp integrity {integ}"));
        names.push(name);
    }
    let acl = format!("IKELAB-ACL{number}");
    let pairs = mirror::v4_pairs(out, child);
    if names.is_empty() || pairs.is_empty() {
        return out.gap(format!("child {}, of which too little is left", child.name));
    }
    for ((near, near_len), (far, far_len)) in pairs {
        let (from, to) = (mirror::netmask(near_len), mirror::netmask(far_len));
        out.line(format!("access-list {acl} extended permit ip {near} {from} {far} {to}"));
    }
    let groups: Vec<Group> = child.pfs.iter().filter_map(|g| Group::from_method(*g)).collect();
    let pfs = out.groups(&groups);
    if pfs.len() > 1 {
        out.gap(format!("more than one PFS group in child {}; the first one is taken", child.name));
    }
    let map = format!("crypto map IKELAB {}", number * 10);
    out.line(format!("{map} match address {acl}"));
    out.line(format!("{map} set peer {}", mirror.far));
    out.line(format!("{map} set ikev2 ipsec-proposal {}", names.join(" ")));
    if let Some(group) = pfs.first() {
        out.line(format!("{map} set pfs group{group}"));
    }
    if let Some(lifetime) = mirror.child_lifetime(child) {
        out.line(format!("{map} set security-association lifetime seconds {}", lifetime.as_secs()));
    }
    if child.mode == Mode::Transport {
        out.line(format!("{map} set ikev2 mode transport"));
    }
}
