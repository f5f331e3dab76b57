//! swanctl.conf for strongSwan.

use super::PeerConfig;
use super::mirror::{self, Mirror, Out, Proof};
use crate::auth::eap::Method;
use crate::config::{Vendor, duration_words, group_word, proposal_words};
use crate::engine::{AuthSpec, ChildSpec, Mode, NatTraversal, Ports};

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
    if spec.cp.request.is_some() {
        out.line("    pools = ikelab");
    }
    if let Some(pool) = &spec.cp.pool {
        let vips = pool.v4.map(|_| "0.0.0.0").into_iter().chain(pool.v6.map(|_| "::"));
        out.line(format!("    vips = {}", vips.collect::<Vec<_>>().join(", ")));
    }
    out.line("    local {");
    // EAP alone is named at both ends (RFC 5998).
    let (ours, theirs) = (&spec.local_auth, &spec.remote_auth);
    let near = if matches!(theirs, AuthSpec::EapOnly) { ours } else { theirs };
    if !eap_lines(&mut out, near) {
        proof(&mut out, mirror.near_proof, "certs = <CERTIFICATE-OF-THIS-BOX>.pem");
    }
    if let Some(id) = &near_id {
        out.line(format!("      id = {}", plain(id)));
    }
    out.line("    }");
    out.line("    remote {");
    let far = if matches!(ours, AuthSpec::EapOnly) { theirs } else { ours };
    if !eap_lines(&mut out, far) {
        proof(&mut out, mirror.far_proof, "cacerts = <CA-OF-IKELAB>.pem");
    }
    out.line(format!("      id = {}", far_id(mirror)));
    out.line("    }");
    out.line("    children {");
    for (child, index) in spec.children.iter().zip(0..) {
        child_lines(&mut out, mirror, child, spec.cp.dynamic.contains(&index));
    }
    out.line("    }");
    out.line("  }");
    out.line("}");
    if let Some(asked) = &spec.cp.request {
        out.line("pools {");
        out.line("  ikelab {");
        let nets = asked.v4.map(|_| "<POOL-IPV4>").into_iter().chain(asked.v6.map(|_| "<POOL-IPV6>"));
        out.line(format!("    addrs = {}", nets.collect::<Vec<_>>().join(", ")));
        out.line("  }");
        out.line("}");
    }
    let users: Vec<&str> = match (&spec.local_auth, &spec.remote_auth) {
        (AuthSpec::EapPeer(peer), _) => vec![&peer.identity],
        (_, AuthSpec::EapAuthenticator(server)) => server.users.first().map(|u| u.name.as_str()).into_iter().collect(),
        _ => Vec::new(),
    };
    let with_key = [&spec.local_auth, &spec.remote_auth].into_iter().any(|auth| matches!(auth, AuthSpec::Psk(_)));
    if users.is_empty() && !with_key {
        return out.finish();
    }
    out.line("secrets {");
    for user in users {
        out.line("  eap-ikelab {");
        out.line(format!("    id = {user}"));
        out.line("    secret = \"<EAP-PASSWORD>\"");
        out.line("  }");
    }
    if with_key {
        out.line("  ike-ikelab {");
        if let Some(id) = &near_id {
            out.line(format!("    id-1 = {}", plain(id)));
        }
        out.line(format!("    id-2 = {}", far_id(mirror)));
        out.line(format!("    secret = \"{}\"", mirror::KEY));
        out.line("  }");
    }
    out.line("}");
    out.finish()
}

/// For EAP, its method and who its client is; false for any other proof.
fn eap_lines(out: &mut Out, auth: &AuthSpec) -> bool {
    match auth {
        AuthSpec::EapPeer(peer) => {
            out.line(format!("      auth = eap-{}", word(peer.methods().first())));
            // The box is the server, and asks.
            out.line("      eap_id = %any");
        }
        AuthSpec::EapAuthenticator(server) => {
            out.line(format!("      auth = eap-{}", word(server.methods.first())));
            if let Some(user) = server.users.first() {
                out.line(format!("      eap_id = {}", user.name));
            }
        }
        _ => return false,
    }
    true
}

fn word(method: Option<&Method>) -> String {
    method.map(|m| m.to_string().to_ascii_lowercase()).unwrap_or_default()
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

fn child_lines(out: &mut Out, mirror: &Mirror<'_>, child: &ChildSpec, dynamic: bool) {
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
    // Who asks for an inner address has it on its side.
    let cp = &mirror.spec.cp;
    let side = |inner: bool, selectors| if dynamic && inner { "dynamic".to_owned() } else { list(selectors) };
    out.line(format!("        local_ts = {}", side(cp.pool.is_some(), &child.remote_ts)));
    out.line(format!("        remote_ts = {}", side(cp.request.is_some(), &child.local_ts)));
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
