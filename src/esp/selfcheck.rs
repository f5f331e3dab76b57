//! The body of the `esp` fuzz target: a plane that is given any octets, as packets and as the inside of authentic ones.

use super::inner::{self, Inner};
use super::packet::Context;
use super::plane::Plane;
use super::replay::{ReplayWindow, Verdict};
use super::spec::PlaneConfig;
use crate::crypto::{ChildKeys, Encr, EspSuite, Integ, Secret};
use crate::engine::{ChildSa, Event, Mode, SaId, TunnelId};
use crate::net::{Path, SocketRole};
use crate::time::Instant;
use crate::wire::TrafficSelector;

const SPI: u32 = 0x0bad_cafe;

/// The first octets choose a suite, a mode and a window; the rest are packets. Panics if a promise is broken.
pub fn selfcheck(data: &[u8]) {
    let [kind, mode, window, rest @ ..] = data else { return };
    let suite = suite(*kind);
    let key = |len| Secret::new(vec![0x5a; len]);
    let (encr, integ) = (key(suite.encr.key_len()), key(suite.integ.map_or(0, Integ::key_len)));
    let (any4, any6) = (TrafficSelector::any_v4(), TrafficSelector::any_v6());
    let child = ChildSa {
        name: String::new(),
        spi_in: SPI,
        spi_out: SPI ^ 1,
        suite,
        mode: if mode % 2 == 0 { Mode::Tunnel } else { Mode::Transport },
        local_ts: vec![any4.clone(), any6.clone()],
        remote_ts: vec![any4, any6],
        initiator: true,
        encapsulated: true,
        narrowed: false,
        keys: ChildKeys { i_encr: encr.clone(), i_integ: integ.clone(), r_encr: encr.clone(), r_integ: integ.clone() },
    };
    let config = PlaneConfig { replay_window: u32::from(*window) * 2, deliver: true, ..PlaneConfig::default() };
    let mut plane = Plane::new(config);
    let (now, tunnel, sa) = (Instant::ZERO, TunnelId(1), SaId { slot: 0, generation: 0 });
    plane.event(now, tunnel, sa, &Event::ChildInbound(Box::new(child)));
    plane.event(now, tunnel, sa, &Event::ChildOutbound { spi_in: SPI });
    let end = |host: u8| std::net::SocketAddr::from(([192, 0, 2, host], 4500));
    let path = Path { local: end(1), remote: end(2), role: SocketRole::NatT };

    let mut context = Context::new(&suite, encr.as_ref(), integ.as_ref()).expect("keys of the suite's lengths");
    let mut model = ReplayWindow::new(u32::from(*window) * 2);
    let (mut fresh, mut seq) = (0, 0_u64);
    for piece in rest.chunks(97) {
        // As it is; then as what an authentic packet holds, under a number that the octets choose.
        plane.handle_packet(now, path, &mut piece.to_vec());
        let _ = (Inner::parse(piece), plane.send(now, None, piece));
        let [step, next_header, inside @ ..] = piece else { continue };
        seq = (seq + u64::from(step % 80)).saturating_sub(u64::from(step / 80) * 30).max(1);
        let mut packet = Vec::new();
        context.seal(SPI, seq, inside, usize::from(step % 5), *next_header, &mut packet).expect("any payload");
        let before = received(&plane);
        plane.handle_packet(now, path, &mut packet);
        if model.accept(seq) == Verdict::Fresh {
            fresh += 1;
            assert_eq!(received(&plane), before + 1, "an authentic packet was not taken");
        }
        if *next_header == inner::IPV4 {
            assert!(plane.counters().decaps <= fresh);
        }
        while let Some(packet) = plane.poll_inner() {
            let inner = Inner::parse(&packet).expect("only IP packets are handed on");
            assert_eq!(inner.len, packet.len(), "without padding");
        }
    }
    plane.handle_timeout(now);
    // Without IKE_AUTH's path nothing can leave.
    assert!(plane.poll_transmit().is_none());
    let highest = plane.children().next().expect("it is still there").sequence_numbers().1;
    assert!(highest <= model.top(), "something unauthentic moved the window");
}

/// Authentic packets that a plane has taken note of.
fn received(plane: &Plane) -> u64 {
    use super::counters::RecvError;
    let counters = plane.counters();
    counters.decaps
        + counters.dummies
        + counters.dropped(RecvError::MalformedInner)
        + counters.dropped(RecvError::Selectors)
        + counters.dropped(RecvError::BadPadding)
}

fn suite(kind: u8) -> EspSuite {
    let mac = Some(Integ::ALL[usize::from(kind) % Integ::ALL.len()]);
    let (encr, integ) = match kind % 7 {
        0 => (Encr::AesCbc(128), mac),
        1 => (Encr::AesCtr(256), mac),
        2 => (Encr::AesGcm { bits: 128, icv: 16 }, None),
        3 => (Encr::AesCcm { bits: 256, icv: 8 }, None),
        4 => (Encr::ChaCha20Poly1305, None),
        5 => (Encr::TripleDes, mac),
        _ => (Encr::Null, mac),
    };
    EspSuite { encr, integ, ke: None, esn: kind >= 0x80 }
}
