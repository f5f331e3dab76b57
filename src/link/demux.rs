//! What a UDP payload is, by the role of the local socket it came in on (RFC 3948 2.1 to 2.3, RFC 7296 2.23).

use crate::net::{Class, NON_ESP_MARKER, SocketRole};

/// The shortest ESP packet that names an SA: SPI and sequence number.
const ESP_MIN: usize = 8;

/// What a received UDP payload is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Classified {
    /// An IKE message behind `marker` octets of non-ESP marker.
    Ike {
        /// 4 on a [`SocketRole::NatT`] socket, 0 on a [`SocketRole::Ike`] one.
        marker: usize,
    },
    /// An ESP packet.
    Esp,
    /// A NAT keepalive: one octet 0xFF.
    Keepalive,
    /// Nothing at all, or a marker with nothing behind it.
    Empty,
    /// None of these.
    Garbage,
}

impl Classified {
    /// The class under which the datagram is handed on; [`Class::Verbatim`] if it is not.
    pub fn class(self) -> Class {
        match self {
            Classified::Ike { .. } => Class::Ike,
            Classified::Esp => Class::Esp,
            Classified::Keepalive => Class::Keepalive,
            Classified::Empty | Classified::Garbage => Class::Verbatim,
        }
    }
}

/// Says what a UDP payload is. Whatever comes in on an `ike` socket is for the IKE parser to judge.
pub fn classify(role: SocketRole, payload: &[u8]) -> Classified {
    match (role, payload) {
        (_, []) => Classified::Empty,
        (SocketRole::Esp, _) if payload.len() >= ESP_MIN => Classified::Esp,
        (SocketRole::Esp, _) => Classified::Garbage,
        (SocketRole::Ike, _) => Classified::Ike { marker: 0 },
        (SocketRole::NatT, [0xff]) => Classified::Keepalive,
        (SocketRole::NatT, [0, 0, 0, 0]) => Classified::Empty,
        (SocketRole::NatT, [0, 0, 0, 0, ..]) => Classified::Ike { marker: NON_ESP_MARKER.len() },
        (SocketRole::NatT, _) if payload.len() >= ESP_MIN => Classified::Esp,
        (SocketRole::NatT, _) => Classified::Garbage,
    }
}

/// Octets of UDP payload on the wire.
pub fn wire_len(role: SocketRole, class: Class, len: usize) -> usize {
    class.marker(role).len() + len
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn natt_socket_tells_four_kinds_apart() {
        let natt = |payload: &[u8]| classify(SocketRole::NatT, payload);
        assert_eq!(natt(&[0xff]), Classified::Keepalive);
        assert_eq!(natt(&[0, 0, 0, 0, 1]), Classified::Ike { marker: 4 });
        assert_eq!(natt(&[0, 0, 0, 1, 0, 0, 0, 1]), Classified::Esp);
        assert_eq!(natt(&[]), Classified::Empty);
        assert_eq!(natt(&[0, 0, 0, 0]), Classified::Empty);
    }

    #[test]
    fn natt_garbage_is_what_names_no_esp_sa() {
        for payload in [&[0xfe][..], &[0xff, 0xff], &[0, 0, 0], &[0, 0, 0, 1, 0, 0, 0]] {
            assert_eq!(classify(SocketRole::NatT, payload), Classified::Garbage, "{payload:02x?}");
        }
    }

    #[test]
    fn a_raw_socket_has_nothing_but_esp() {
        let raw = |payload: &[u8]| classify(SocketRole::Esp, payload);
        assert_eq!(raw(&[0, 0, 0, 0, 0, 0, 0, 1]), Classified::Esp, "SPI 0 is for the data plane to refuse");
        assert_eq!(raw(&[0xff]), Classified::Garbage);
        assert_eq!(raw(&[]), Classified::Empty);
        assert!(Class::Esp.marker(SocketRole::Esp).is_empty());
    }

    #[test]
    fn ike_socket_hands_everything_to_the_parser() {
        for payload in [&[0xff][..], &[0, 0, 0, 0, 1], &[1; 40]] {
            assert_eq!(classify(SocketRole::Ike, payload), Classified::Ike { marker: 0 });
        }
        assert_eq!(classify(SocketRole::Ike, &[]), Classified::Empty);
    }

    #[test]
    fn only_ike_on_a_natt_socket_carries_the_marker() {
        assert_eq!(Class::Ike.marker(SocketRole::NatT), &[0, 0, 0, 0]);
        for (role, class) in [
            (SocketRole::Ike, Class::Ike),
            (SocketRole::NatT, Class::Esp),
            (SocketRole::NatT, Class::Keepalive),
            (SocketRole::NatT, Class::Verbatim),
        ] {
            assert!(class.marker(role).is_empty());
        }
        assert_eq!(wire_len(SocketRole::NatT, Class::Ike, 28), 32);
    }
}
