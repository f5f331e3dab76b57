//! ESP beside the bare cipher, in one run on one core: sealing and opening 1400-octet packets, first the packet layout
//! alone, then the whole data plane with its look-ups, selectors, counters and queues.

mod support;

use std::hint::black_box;
use std::net::IpAddr;
use std::time::Duration;

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, Algorithm, LessSafeKey, Nonce, UnboundKey};
use ikelab::crypto::{ChildKeys, Encr, EspSuite, Integ, Secret};
use ikelab::engine::{ChildSa, Event, IkeUp, Mode, SaId, TunnelId};
use ikelab::esp::packet::Context;
use ikelab::esp::{Plane, PlaneConfig, inner};
use ikelab::net::{Path, SocketRole};
use ikelab::time::Instant;
use ikelab::wire::registry::IdType;
use ikelab::wire::{IdPayload, IkeSpi, TrafficSelector};

#[global_allocator]
static ALLOC: support::alloc::Counting = support::alloc::Counting;

/// Octets of each inner packet.
const INNER: usize = 1400;
const PACKETS: u64 = 200_000;
const ROUNDS: usize = 5;
/// The share of the cipher's own rate that is aimed at.
const AIM: f64 = 0.60;

fn main() {
    if !support::wanted() {
        return;
    }
    println!(
        "{INNER}-octet packets, one core, median of {ROUNDS} rounds of {PACKETS}; aim: {AIM:.2} of the bare cipher"
    );
    println!(
        "                      bare cipher        packet          / bare    data plane       / bare   allocations"
    );
    let gcm = |bits| EspSuite { encr: Encr::AesGcm { bits, icv: 16 }, integ: None, ke: None, esn: false };
    for (suite, algorithm) in [(gcm(128), &AES_128_GCM), (gcm(256), &AES_256_GCM)] {
        for opening in [false, true] {
            let mut rates = [Vec::new(), Vec::new(), Vec::new()];
            for _ in 0..ROUNDS {
                rates[0].push(if opening { bare_open(algorithm) } else { bare_seal(algorithm) });
                rates[1].push(packets(&suite, opening).0);
                rates[2].push(planes(&suite, opening).0);
            }
            let [bare, packet, plane] = rates.map(support::median);
            let allocations = packets(&suite, opening).1.max(planes(&suite, opening).1);
            let what = format!("{suite} {}", if opening { "open" } else { "seal" });
            println!(
                "{what:<18} {:>10} {:>17} {:>11.2} {:>17} {:>8.2} {allocations:>10.3}",
                gigabits(bare),
                gigabits(packet),
                packet / bare,
                gigabits(plane),
                plane / bare,
            );
            for (name, rate) in [("packet", packet), ("data plane", plane)] {
                if rate / bare < AIM {
                    println!("  {name}: below the aim");
                }
            }
        }
    }
    println!("\nother suites, packet layout alone:");
    let mac = |encr, integ| EspSuite { encr, integ: Some(integ), ke: None, esn: false };
    let aead = |encr| EspSuite { encr, integ: None, ke: None, esn: false };
    for suite in [
        aead(Encr::ChaCha20Poly1305),
        aead(Encr::AesCcm { bits: 128, icv: 16 }),
        mac(Encr::AesCbc(128), Integ::HmacSha1_96),
        mac(Encr::AesCbc(256), Integ::HmacSha256_128),
        mac(Encr::AesCtr(128), Integ::HmacSha256_128),
        mac(Encr::TripleDes, Integ::HmacSha1_96),
        mac(Encr::Null, Integ::HmacSha256_128),
    ] {
        let (seal, open) = (packets(&suite, false).0, packets(&suite, true).0);
        println!("{:<24} seal {:>14}   open {:>14}", suite.to_string(), gigabits(seal), gigabits(open));
    }
}

fn gigabits(packets_per_second: f64) -> String {
    format!("{:.2} Gbit/s", packets_per_second * INNER as f64 * 8.0 / 1e9)
}

/// Runs `each` for every packet; packets per second of this thread's time.
fn rate(mut each: impl FnMut(u64)) -> f64 {
    let before = support::cpu();
    (1..=PACKETS).for_each(&mut each);
    let spent: Duration = support::cpu() - before;
    PACKETS as f64 / spent.as_secs_f64()
}

/// The same, with allocations per packet counted in a run of its own. The first packets make the buffers.
fn counted(mut each: impl FnMut(u64)) -> f64 {
    (1..=100).for_each(&mut each);
    support::alloc::count(true);
    let before = support::alloc::calls();
    (101..=1100).for_each(&mut each);
    let after = support::alloc::calls();
    support::alloc::count(false);
    (after - before) as f64 / 1000.0
}

fn bare_key(algorithm: &'static Algorithm) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(algorithm, &vec![7; algorithm.key_len()]).expect("the key's length"))
}

fn nonce(n: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&n.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

fn bare_seal(algorithm: &'static Algorithm) -> f64 {
    let key = bare_key(algorithm);
    let mut text = vec![0x5a; INNER + 4];
    rate(|n| {
        let tag = key.seal_in_place_separate_tag(nonce(n), Aad::from([0; 8]), &mut text);
        let _ = black_box(tag.expect("sealed"));
    })
}

fn bare_open(algorithm: &'static Algorithm) -> f64 {
    let key = bare_key(algorithm);
    let mut text = vec![0x5a; INNER + 4];
    let tag = key.seal_in_place_separate_tag(nonce(1), Aad::from([0; 8]), &mut text).expect("sealed");
    text.extend_from_slice(tag.as_ref());
    let mut room = text.clone();
    // Opening destroys the packet; what is received comes into a buffer of its own, too.
    rate(|_| {
        room.copy_from_slice(&text);
        black_box(key.open_in_place(nonce(1), Aad::from([0; 8]), &mut room).expect("authentic"));
    })
}

fn packets(suite: &EspSuite, opening: bool) -> (f64, f64) {
    let keys = (vec![7; suite.encr.key_len()], vec![8; suite.integ.map_or(0, Integ::key_len)]);
    let context = || Context::new(suite, &keys.0, &keys.1).expect("the keys' lengths");
    let (mut sealer, mut opener) = (context(), context());
    let inner = vec![0x5a; INNER];
    let mut packet = Vec::new();
    if !opening {
        let mut seal = |n| {
            sealer.seal(1000, n, &inner, 0, inner::IPV4, &mut packet).expect("sealed");
            black_box(&packet);
        };
        return (rate(&mut seal), counted(seal));
    }
    sealer.seal(1000, 1, &inner, 0, inner::IPV4, &mut packet).expect("sealed");
    let mut room = packet.clone();
    let mut open = |_| {
        room.copy_from_slice(&packet);
        black_box(opener.open(1, &mut room).expect("authentic"));
    };
    (rate(&mut open), counted(open))
}

fn planes(suite: &EspSuite, opening: bool) -> (f64, f64) {
    let (mut left, mut right) = (plane(suite, true), plane(suite, false));
    let now = Instant::ZERO;
    let mut packet = Vec::new();
    let (from, to): (IpAddr, IpAddr) = ([10, 1, 0, 1].into(), [10, 2, 0, 1].into());
    // 20 octets of IP and 8 of UDP.
    assert!(inner::build_udp(&mut packet, (from, 1000), (to, 2000), &[0x5a; INNER - 28]));
    let path = path(false);
    if !opening {
        let mut seal = |_| {
            left.send(now, Some(TunnelId(1)), &packet).expect("sent");
            let transmit = left.poll_transmit().expect("it was sent");
            left.reclaim(black_box(transmit).bytes);
            left.poll_note();
        };
        return (rate(&mut seal), counted(seal));
    }
    // Without a replay window one packet may come again and again.
    left.send(now, Some(TunnelId(1)), &packet).expect("sent");
    let sealed = left.poll_transmit().expect("it was sent").bytes;
    let mut room = sealed.clone();
    let mut open = |_| {
        room.copy_from_slice(&sealed);
        right.handle_packet(now, path, &mut room);
        right.poll_note();
    };
    let result = (rate(&mut open), counted(open));
    assert_eq!(right.counters().errors().count(), 0);
    assert_eq!(right.counters().decaps, PACKETS + 1100);
    result
}

fn path(left: bool) -> Path {
    let end = |host: u8| std::net::SocketAddr::from(([192, 0, 2, host], 4500));
    let (local, remote) = if left { (end(1), end(2)) } else { (end(2), end(1)) };
    Path { local, remote, role: SocketRole::NatT }
}

fn plane(suite: &EspSuite, left: bool) -> Plane {
    let mut plane = Plane::new(PlaneConfig { replay_window: 0, ..PlaneConfig::default() });
    let net = |b: u8| vec![TrafficSelector::from_net([10, b, 0, 0].into(), 24)];
    let (ours, theirs) = if left { (net(1), net(2)) } else { (net(2), net(1)) };
    let (spi_in, spi_out) = if left { (1000, 2000) } else { (2000, 1000) };
    let key = |len| Secret::new(vec![7; len]);
    let (encr, integ) = (key(suite.encr.key_len()), key(suite.integ.map_or(0, Integ::key_len)));
    let child = ChildSa {
        name: "lan".into(),
        spi_in,
        spi_out,
        suite: *suite,
        mode: Mode::Tunnel,
        local_ts: ours,
        remote_ts: theirs,
        initiator: left,
        encapsulated: true,
        narrowed: false,
        keys: ChildKeys { i_encr: encr.clone(), i_integ: integ.clone(), r_encr: encr, r_integ: integ },
    };
    let up = IkeUp {
        mobike: false,
        initiator: left,
        connection: "bench".into(),
        spis: (IkeSpi(1), IkeSpi(2)),
        suite: support::FAST,
        peer_id: IdPayload::new(IdType::ID_FQDN, Vec::new()),
        path: path(left),
    };
    let (now, tunnel, sa) = (Instant::ZERO, TunnelId(1), SaId::NONE);
    plane.event(now, tunnel, sa, &Event::IkeUp(Box::new(up)));
    plane.event(now, tunnel, sa, &Event::ChildInbound(Box::new(child)));
    plane.event(now, tunnel, sa, &Event::ChildOutbound { spi_in });
    plane
}
