//! Palo Alto Networks PAN-OS, in `set` format.

use super::PeerConfig;
use super::mirror::{self, Mirror, Out, Parts};
use super::words::Phase;
use crate::config::Vendor;
use crate::crypto::Group;
use crate::engine::{ChildSpec, Mode, NatTraversal};
use crate::wire::IdPayload;
use crate::wire::registry::IdType;

const IKE: &str = "set network ike crypto-profiles ike-crypto-profiles ikelab";
const GATEWAY: &str = "set network ike gateway ikelab";

pub(super) fn render(mirror: &Mirror<'_>) -> PeerConfig {
    let mut out = Out::new(Vendor::PaloAltoPanos, "#");
    let spec = mirror.spec;
    out.head(mirror);
    out.port_gaps(mirror);
    if !mirror.one_key {
        out.gap("a gateway has one pre-shared key for both directions, and the two ends use different ones");
    }
    ike_profile(&mut out, mirror);
    out.line(format!("{GATEWAY} protocol version ikev2"));
    out.line(format!("{GATEWAY} protocol ikev2 ike-crypto-profile ikelab"));
    if let Some(dpd) = &spec.dpd {
        out.line(format!("{GATEWAY} protocol ikev2 dpd enable yes"));
        out.line(format!("{GATEWAY} protocol ikev2 dpd interval {}", dpd.interval.as_secs().clamp(2, 100)));
    }
    let nat = spec.nat.traversal != NatTraversal::Off;
    out.line(format!("{GATEWAY} protocol-common nat-traversal enable {}", yes(nat)));
    out.line(format!("{GATEWAY} protocol-common fragmentation enable {}", yes(spec.fragmentation)));
    out.line(format!("{GATEWAY} local-address interface <ethernet1/1>"));
    out.line(format!("{GATEWAY} local-address ip {}/<LEN>", mirror.near));
    out.line(format!("{GATEWAY} peer-address ip {}", mirror.far));
    if let Some(id) = mirror.near_id {
        identity(&mut out, "local-id", id, None);
    }
    identity(&mut out, "peer-id", &mirror.far_id, mirror.loaded.local_id_pending.then_some(&mirror.far));
    match (mirror.near_proof.is_certificate(), mirror.far_proof.is_certificate()) {
        (false, false) => out.line(format!("{GATEWAY} authentication pre-shared-key key {}", mirror::KEY)),
        (true, true) => {
            out.note(
                "the certificate profile holds the CA of ikelab's certificate; check the words below on your release",
            );
            out.line(format!("{GATEWAY} authentication certificate local-certificate name <CERTIFICATE-OF-THIS-BOX>"));
            out.line(format!("{GATEWAY} authentication certificate certificate-profile <PROFILE-WITH-IKELABS-CA>"));
        }
        _ => out.gap("a gateway authenticates both ends in one way, and here one has a key and one a certificate"),
    }
    for (index, child) in spec.children.iter().enumerate() {
        let name = if index == 0 { "ikelab".to_owned() } else { format!("ikelab-{}", index + 1) };
        tunnel(&mut out, mirror, child, &name);
    }
    out.before_traffic(
        "the unit tunnel.N itself (set network interface tunnel units), in a zone and a virtual router, a route to \
         ikelab's networks through it, security rules for both directions, and a commit",
    );
    out.finish()
}

/// One profile for all proposals: PAN-OS offers every combination of its lists.
fn ike_profile(out: &mut Out, mirror: &Mirror<'_>) {
    let (mut encr, mut hash, mut groups) = (Vec::new(), Vec::new(), Vec::new());
    let is_aead = mirror.spec.ike_proposals.first().is_some_and(|first| Parts::of(first).is_aead());
    for proposal in &mirror.spec.ike_proposals {
        let parts = Parts::of(proposal);
        // The hash is for every cipher of the profile.
        if parts.is_aead() != is_aead {
            out.gap("AES-GCM beside CBC in IKE: a profile has one hash for both; the kind that comes first is taken");
            continue;
        }
        // The hash is the PRF, too.
        let its_hash = if is_aead { out.prfs(&parts.prf) } else { out.integs(Phase::Ike, &parts.integ) };
        let (its_encr, its_groups) = (out.encrs(Phase::Ike, &parts.encr), out.groups(&parts.groups));
        if !its_encr.is_empty() && !its_hash.is_empty() && !its_groups.is_empty() {
            add(&mut encr, its_encr);
            add(&mut hash, its_hash);
            add(&mut groups, its_groups);
        }
        if !parts.is_aead() && !parts.prf_follows() {
            out.gap("PAN-OS has no PRF setting, it takes the hash; a PRF other than the integrity algorithm's cannot be had");
        }
    }
    if mirror.spec.ike_proposals.len() > 1 {
        out.note("PAN-OS combines the lists freely, so this accepts more than the proposals it was made from.");
    }
    out.line(format!("{IKE} encryption {}", list(&encr)));
    if is_aead {
        out.notes(&format!(
            "as in others' configurations with AES-GCM; an example of Palo Alto Networks' has a hash here: if this is \
             not taken, or no proposal matches, use {}:",
            list(&hash)
        ));
        out.line(format!("{IKE} hash non-auth"));
    } else {
        out.line(format!("{IKE} hash {}", list(&hash)));
    }
    out.line(format!("{IKE} dh-group {}", list(&groups)));
    if let Some(lifetime) = mirror.ike_lifetime() {
        out.line(format!("{IKE} lifetime seconds {}", lifetime.as_secs()));
    }
}

fn tunnel(out: &mut Out, mirror: &Mirror<'_>, child: &ChildSpec, name: &str) {
    let profile = format!("set network ike crypto-profiles ipsec-crypto-profiles {name}");
    let (mut encr, mut auth) = (Vec::new(), Vec::new());
    for proposal in &child.proposals {
        let parts = Parts::of(proposal);
        let its_encr = out.encrs(Phase::Esp, &parts.encr);
        let its_auth = if parts.is_aead() { vec!["none".into()] } else { out.integs(Phase::Esp, &parts.integ) };
        if !its_encr.is_empty() && !its_auth.is_empty() {
            add(&mut encr, its_encr);
            add(&mut auth, its_auth);
        }
        if parts.esn {
            out.gap("extended sequence numbers");
        }
    }
    if child.mode == Mode::Transport {
        out.gap(format!("transport mode of child {}", child.name));
    }
    out.line(format!("{profile} esp encryption {}", list(&encr)));
    out.line(format!("{profile} esp authentication {}", list(&auth)));
    let groups: Vec<Group> = child.pfs.iter().filter_map(|g| Group::from_method(*g)).collect();
    let pfs = out.groups(&groups);
    if pfs.len() > 1 {
        out.gap(format!("more than one PFS group in child {}; the first one is taken", child.name));
    }
    out.line(format!("{profile} dh-group {}", pfs.first().map_or("no-pfs", String::as_str)));
    if let Some(lifetime) = mirror.child_lifetime(child) {
        out.line(format!("{profile} lifetime seconds {}", lifetime.as_secs()));
    }
    let tunnel = format!("set network tunnel ipsec {name}");
    out.line(format!("{tunnel} auto-key ike-gateway ikelab"));
    out.line(format!("{tunnel} auto-key ipsec-crypto-profile {name}"));
    if mirror::is_any_to_any(child) {
        out.note("no proxy-id: both selectors are 0.0.0.0/0");
    } else {
        let pairs = mirror::v4_pairs(out, child);
        let many = pairs.len() > 1;
        for (index, ((near, near_len), (far, far_len))) in pairs.into_iter().enumerate() {
            let id = if many { format!("{}-{}", child.name, index + 1) } else { child.name.clone() };
            out.line(format!(
                "{tunnel} auto-key proxy-id {id} local {near}/{near_len} remote {far}/{far_len} protocol any"
            ));
        }
    }
    out.line(format!("{tunnel} tunnel-interface <tunnel.N>"));
}

fn identity(out: &mut Out, whose: &str, id: &IdPayload, pending: Option<&String>) {
    let kind = match id.kind {
        IdType::ID_IPV4_ADDR | IdType::ID_IPV6_ADDR => "ipaddr",
        IdType::ID_FQDN => "fqdn",
        IdType::ID_RFC822_ADDR => "ufqdn",
        IdType::ID_KEY_ID => "keyid",
        IdType::ID_DER_ASN1_DN => "dn",
        _ => return out.gap(format!("the identity {id}")),
    };
    let value = pending.cloned().unwrap_or_else(|| mirror::id_value(id));
    out.line(format!("{GATEWAY} {whose} type {kind} id {value}"));
}

fn add(list: &mut Vec<String>, more: Vec<String>) {
    for word in more {
        if !list.contains(&word) {
            list.push(word);
        }
    }
}

/// One value stands bare, several in brackets.
fn list(words: &[String]) -> String {
    match words {
        [one] => one.clone(),
        many => format!("[ {} ]", many.join(" ")),
    }
}

fn yes(on: bool) -> &'static str {
    if on { "yes" } else { "no" }
}
