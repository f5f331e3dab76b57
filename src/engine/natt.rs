//! NAT detection (RFC 7296 2.23): hashes of addresses and ports, and what they tell.

use std::net::{IpAddr, SocketAddr};

use sha1::{Digest, Sha1};

use super::event::NatFinding;
use super::spec::NatTraversal;
use crate::net::Path;
use crate::wire::registry::NotifyType;
use crate::wire::{IkeSpi, NotifyPayload, Payload};

/// SHA-1 of SPIs, address and port, as NAT_DETECTION_*_IP carries it.
fn hash(spis: (IkeSpi, IkeSpi), end: SocketAddr) -> [u8; 20] {
    let mut sha = Sha1::new();
    sha.update(spis.0.0.to_be_bytes());
    sha.update(spis.1.0.to_be_bytes());
    match end.ip().to_canonical() {
        IpAddr::V4(ip) => sha.update(ip.octets()),
        IpAddr::V6(ip) => sha.update(ip.octets()),
    }
    sha.update(end.port().to_be_bytes());
    sha.finalize().into()
}

/// Our two detection notifies for a message with these SPIs on `path`. [`NatTraversal::Force`] spoils the source hash,
/// so that the peer finds us behind a NAT and both ends encapsulate.
pub(super) fn notifies(policy: NatTraversal, spis: (IkeSpi, IkeSpi), path: &Path, out: &mut Vec<Payload>) {
    if policy == NatTraversal::Off {
        return;
    }
    let mut source = hash(spis, path.local);
    if policy == NatTraversal::Force {
        source = hash(spis, SocketAddr::new(std::net::Ipv4Addr::UNSPECIFIED.into(), 0));
    }
    let destination = hash(spis, path.remote);
    out.push(Payload::Notify(NotifyPayload::with_data(NotifyType::NAT_DETECTION_SOURCE_IP, source)));
    out.push(Payload::Notify(NotifyPayload::with_data(NotifyType::NAT_DETECTION_DESTINATION_IP, destination)));
}

/// What the peer's notifies say about `path`.
pub(super) fn inspect(policy: NatTraversal, spis: (IkeSpi, IkeSpi), path: &Path, payloads: &[Payload]) -> NatFinding {
    let mut sources = 0;
    let mut source_matches = false;
    let mut destination = None;
    for notify in payloads.iter().filter_map(|p| if let Payload::Notify(n) = p { Some(n) } else { None }) {
        if notify.kind == NotifyType::NAT_DETECTION_SOURCE_IP {
            sources += 1;
            source_matches |= notify.data == hash(spis, path.remote);
        } else if notify.kind == NotifyType::NAT_DETECTION_DESTINATION_IP {
            destination = Some(notify.data == hash(spis, path.local));
        }
    }
    if policy == NatTraversal::Off || sources == 0 {
        return NatFinding::default();
    }
    NatFinding {
        peer_detects: true,
        us: destination == Some(false) || policy == NatTraversal::Force,
        peer: !source_matches,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::SocketRole;

    const SPIS: (IkeSpi, IkeSpi) = (IkeSpi(0x1122_3344_5566_7788), IkeSpi(0));

    fn path(local: &str, remote: &str) -> Path {
        Path {
            local: local.parse().expect("an address"),
            remote: remote.parse().expect("an address"),
            role: SocketRole::Ike,
        }
    }

    fn seen(sender: &Path, receiver: &Path, policy: NatTraversal) -> NatFinding {
        let mut sent = Vec::new();
        notifies(policy, SPIS, sender, &mut sent);
        inspect(NatTraversal::Auto, SPIS, receiver, &sent)
    }

    #[test]
    fn no_nat_between() {
        let found =
            seen(&path("10.0.0.1:500", "10.0.0.2:500"), &path("10.0.0.2:500", "10.0.0.1:500"), NatTraversal::Auto);
        assert_eq!(found, NatFinding { peer_detects: true, us: false, peer: false });
    }

    #[test]
    fn the_sender_is_behind_a_nat() {
        let found =
            seen(&path("10.0.0.1:500", "10.0.0.2:500"), &path("10.0.0.2:500", "192.0.2.9:61000"), NatTraversal::Auto);
        assert_eq!(found, NatFinding { peer_detects: true, us: false, peer: true });
    }

    #[test]
    fn the_receiver_is_behind_a_nat() {
        let found =
            seen(&path("10.0.0.1:500", "192.0.2.9:500"), &path("10.9.9.9:500", "10.0.0.1:500"), NatTraversal::Auto);
        assert_eq!(found, NatFinding { peer_detects: true, us: true, peer: false });
    }

    #[test]
    fn force_looks_like_a_nat_to_the_peer() {
        let found =
            seen(&path("10.0.0.1:500", "10.0.0.2:500"), &path("10.0.0.2:500", "10.0.0.1:500"), NatTraversal::Force);
        assert!(found.peer);
    }

    #[test]
    fn off_is_silent_and_deaf() {
        let direct = path("10.0.0.2:500", "10.0.0.1:500");
        assert!(!seen(&path("10.0.0.1:500", "10.0.0.2:500"), &direct, NatTraversal::Off).peer_detects);
        let mut sent = Vec::new();
        notifies(NatTraversal::Auto, SPIS, &path("10.0.0.1:1", "10.0.0.2:2"), &mut sent);
        assert_eq!(inspect(NatTraversal::Off, SPIS, &direct, &sent), NatFinding::default());
    }
}
