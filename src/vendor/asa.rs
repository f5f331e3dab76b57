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
    out.note(
        "for the whole box, and tried after the policies of lower number; if show running-config crypto ikev2 has",
    );
    out.note("one of these numbers, take another, since a line replaces what that policy held:");
    for (index, proposal) in spec.ike_proposals.iter().enumerate() {
        policy(&mut out, mirror, FIRST_POLICY + index * 10, &Parts::of(proposal));
    }
    out.note("not if show running-config crypto ikev2 has it already:");
    out.line("crypto ikev2 enable <OUTSIDE>");
    identity(&mut out, mirror);
    let outside = match spec.children.as_slice() {
        [child] if mirror::is_any_to_any(child) => {
            tunnel_interface(&mut out, mirror, child);
            "through the tunnel interface"
        }
        children => {
            crypto_map(&mut out, mirror, children);
            "through <OUTSIDE>"
        }
    };
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
    out.before_traffic(&format!(
        "a route to ikelab's networks {outside}, an exemption from NAT for the two ends' networks, and a rule or sysopt \
         connection permit-vpn for what is decrypted"
    ));
    out.finish()
}

/// Policies have numbers up to 65535, and a box that has any has the low ones.
const FIRST_POLICY: usize = 65_000;

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

/// The identity is a setting of the whole box, so that nothing is written for it: every other peer expects what it is.
fn identity(out: &mut Out, mirror: &Mirror<'_>) {
    let Some(id) = mirror.near_id else { return };
    let by_key = !mirror.near_proof.is_certificate();
    let wanted = match id.kind {
        IdType::ID_IPV4_ADDR | IdType::ID_IPV6_ADDR if by_key => "auto or address",
        IdType::ID_IPV4_ADDR | IdType::ID_IPV6_ADDR => "address",
        IdType::ID_DER_ASN1_DN if !by_key => "auto",
        _ => {
            return out.gap(format!(
                "the identity {id}: crypto isakmp identity is for every tunnel of the box; leave it, and set remote.id \
                 to what the box sends"
            ));
        }
    };
    out.notes(&format!(
        "this expects crypto isakmp identity {wanted} (show running-config all crypto isakmp). Do not change it, it is for \
         every tunnel of the box: if it is another, set remote.id to what the box sends."
    ));
}

/// The proposals of a child, by name.
fn ipsec_proposals(out: &mut Out, child: &ChildSpec, number: usize) -> Vec<String> {
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
    names
}

fn pfs(out: &mut Out, child: &ChildSpec) -> Option<String> {
    let groups: Vec<Group> = child.pfs.iter().filter_map(|g| Group::from_method(*g)).collect();
    let words = out.groups(&groups);
    if words.len() > 1 {
        out.gap(format!("more than one PFS group in child {}; the first one is taken", child.name));
    }
    words.first().map(|word| format!("set pfs group{word}"))
}

/// A virtual tunnel interface, whose selectors are 0.0.0.0/0 on both sides.
fn tunnel_interface(out: &mut Out, mirror: &Mirror<'_>, child: &ChildSpec) {
    let names = ipsec_proposals(out, child, 1);
    if child.mode == Mode::Transport {
        out.gap(format!("transport mode of child {}", child.name));
    }
    let pfs = pfs(out, child);
    out.line("crypto ipsec profile IKELAB");
    out.line(format!(" set ikev2 ipsec-proposal {}", names.join(" ")));
    if let Some(pfs) = pfs {
        out.line(format!(" {pfs}"));
    }
    if let Some(lifetime) = mirror.child_lifetime(child) {
        out.line(format!(" set security-association lifetime seconds {}", lifetime.as_secs()));
    }
    out.line("interface Tunnel<N>");
    out.line(" nameif <NAME-OF-THE-TUNNEL>");
    out.line(" ip address <ADDRESS-IN-THE-TUNNEL> 255.255.255.252");
    out.line(" tunnel source interface <OUTSIDE>");
    out.line(format!(" tunnel destination {}", mirror.far));
    out.line(" tunnel mode ipsec ipv4");
    out.line(" tunnel protection ipsec profile IKELAB");
}

fn crypto_map(out: &mut Out, mirror: &Mirror<'_>, children: &[ChildSpec]) {
    for (index, child) in children.iter().enumerate() {
        child_lines(out, mirror, child, index + 1);
    }
    out.danger(
        "an interface has one crypto map. If show running-config crypto map has one on <OUTSIDE>, the next line would take \
         it off, with every tunnel in it: put the entries above into that map, under free numbers. If there is none, \
         enter this without the mark before it:",
    );
    out.note("crypto map IKELAB interface <OUTSIDE>");
}

fn child_lines(out: &mut Out, mirror: &Mirror<'_>, child: &ChildSpec, number: usize) {
    let names = ipsec_proposals(out, child, number);
    let acl = format!("IKELAB-ACL{number}");
    let pairs = mirror::map_pairs(out, child);
    if names.is_empty() || pairs.is_empty() {
        return out.gap(format!("child {}, of which too little is left", child.name));
    }
    for ((near, near_len), (far, far_len)) in pairs {
        let (from, to) = (mirror::netmask(near_len), mirror::netmask(far_len));
        out.line(format!("access-list {acl} extended permit ip {near} {from} {far} {to}"));
    }
    let pfs = pfs(out, child);
    let map = format!("crypto map IKELAB {}", number * 10);
    out.line(format!("{map} match address {acl}"));
    out.line(format!("{map} set peer {}", mirror.far));
    out.line(format!("{map} set ikev2 ipsec-proposal {}", names.join(" ")));
    if let Some(pfs) = pfs {
        out.line(format!("{map} {pfs}"));
    }
    if let Some(lifetime) = mirror.child_lifetime(child) {
        out.line(format!("{map} set security-association lifetime seconds {}", lifetime.as_secs()));
    }
    if child.mode == Mode::Transport {
        out.line(format!("{map} set ikev2 mode transport"));
    }
}
