//! swanctl.conf for strongSwan.

use super::PeerConfig;
use super::mirror::{self, Mirror, Out, Proof};
use crate::config::{Vendor, duration_words, group_word, proposal_words};
use crate::engine::{ChildSpec, Mode, NatTraversal, Ports};

pub(super) fn render(mirror: &Mirror<'_>) -> PeerConfig {
    let mut out = Out::new(Vendor::StrongSwan, "#");
    let spec = mirror.spec;
    out.head(mirror);
    if !mirror.one_key {
        out.gap("swanctl has one pre-shared key for a pair of identities, and the two ends use different ones");
    }
    out.line("connections {");
    out.line("  ikelab {");
    out.line("    version = 2");
    out.line(format!("    local_addrs = {}", mirror.near));
    out.line(format!("    remote_addrs = {}", mirror.far));
    if spec.remote_ports != Ports::default() {
        out.note(format!(
            "strongswan.conf must say charon.port = {} and charon.port_nat_t = {}",
            spec.remote_ports.ike, spec.remote_ports.natt
        ));
        out.line(format!("    local_port = {}", spec.remote_ports.ike));
    }
    if spec.local_ports != Ports::default() {
        out.line(format!("    remote_port = {}", spec.local_ports.ike));
    }
    let ike: Vec<String> = spec.ike_proposals.iter().map(proposal_words).collect();
    out.line(format!("    proposals = {}", ike.join(", ")));
    out.line(format!("    fragmentation = {}", if spec.fragmentation { "yes" } else { "no" }));
    if spec.nat.traversal == NatTraversal::Force {
        out.line("    encap = yes");
    }
    if let Some(dpd) = &spec.dpd {
        out.line(format!("    dpd_delay = {}", duration_words(dpd.interval)));
    }
    if let Some(lifetime) = mirror.ike_lifetime() {
        out.line(format!("    rekey_time = {}", duration_words(lifetime)));
    }
    let near_id = mirror.near_id.map(|id| id.to_string());
    out.line("    local {");
    proof(&mut out, mirror.near_proof, "certs = <CERTIFICATE-OF-THIS-BOX>.pem");
    if let Some(id) = &near_id {
        out.line(format!("      id = {}", plain(id)));
    }
    out.line("    }");
    out.line("    remote {");
    proof(&mut out, mirror.far_proof, "cacerts = <CA-OF-IKELAB>.pem");
    out.line(format!("      id = {}", far_id(mirror)));
    out.line("    }");
    out.line("    children {");
    for child in &spec.children {
        child_lines(&mut out, mirror, child);
    }
    out.line("    }");
    out.line("  }");
    out.line("}");
    if mirror.near_proof.is_certificate() && mirror.far_proof.is_certificate() {
        return out.finish();
    }
    out.line("secrets {");
    out.line("  ike-ikelab {");
    if let Some(id) = &near_id {
        out.line(format!("    id-1 = {}", plain(id)));
    }
    out.line(format!("    id-2 = {}", far_id(mirror)));
    out.line(format!("    secret = \"{}\"", mirror::KEY));
    out.line("  }");
    out.line("}");
    out.finish()
}

/// How one end proves itself; the files stand below `x509`, `x509ca` and `private` of the swanctl directory.
fn proof(out: &mut Out, proof: Proof, files: &str) {
    if proof.is_certificate() {
        out.line("      auth = pubkey");
        out.line(format!("      {files}"));
    } else {
        out.line("      auth = psk");
    }
}

fn child_lines(out: &mut Out, mirror: &Mirror<'_>, child: &ChildSpec) {
    let mut esp: Vec<String> = Vec::new();
    for proposal in &child.proposals {
        let words = proposal_words(proposal);
        let groups: Vec<String> = child.pfs.iter().map(|g| group_word(*g)).collect();
        esp.push(if groups.is_empty() { words } else { format!("{words}-{}", groups.join("-")) });
    }
    let list = |selectors: &[crate::wire::TrafficSelector]| {
        selectors.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    out.line(format!("      {} {{", child.name));
    out.line(format!("        esp_proposals = {}", esp.join(", ")));
    out.line(format!("        local_ts = {}", list(&child.remote_ts)));
    out.line(format!("        remote_ts = {}", list(&child.local_ts)));
    if child.mode == Mode::Transport {
        out.line("        mode = transport");
    }
    if let Some(lifetime) = mirror.child_lifetime(child) {
        out.line(format!("        rekey_time = {}", duration_words(lifetime)));
    }
    out.line("      }");
}

fn far_id(mirror: &Mirror<'_>) -> String {
    if mirror.loaded.local_id_pending { mirror.far.clone() } else { plain(&mirror.far_id.to_string()) }
}

/// strongSwan knows our prefixes; addresses and names stand without.
fn plain(id: &str) -> String {
    match id.strip_prefix("dn:") {
        Some(name) => format!("\"{name}\""),
        None => id.strip_prefix("ipv4:").or(id.strip_prefix("ipv6:")).unwrap_or(id).to_owned(),
    }
}
