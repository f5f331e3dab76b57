//! Packets against published examples and independent implementations; two planes joined in memory.

use std::net::IpAddr;
use std::time::Duration;

use super::packet::{Context, Opened};
use super::*;
use crate::crypto::{ChildKeys, CryptoError, Encr, EspSuite, Group, IkeSuite, Integ, Prf, Secret};
use crate::engine::{ChildSa, Event, IkeUp, InitDone, Mode, SaId, Side, TunnelId};
use crate::net::{Class, Path, SocketRole, Transmit};
use crate::time::Instant;
use crate::wire::registry::IdType;
use crate::wire::{IdPayload, IkeSpi, TrafficSelector};

const SA: SaId = SaId { slot: 0, generation: 0 };
const TUNNEL: TunnelId = TunnelId(1);
const LEFT_SPI: u32 = 0x1111_aaaa;
const RIGHT_SPI: u32 = 0x2222_bbbb;

fn unhex(text: &str) -> Vec<u8> {
    let digits: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    (0..digits.len() / 2).map(|n| u8::from_str_radix(&digits[2 * n..2 * n + 2], 16).expect("hex")).collect()
}

fn suite(encr: Encr, integ: Option<Integ>, esn: bool) -> EspSuite {
    EspSuite { encr, integ, ke: None, esn }
}

/// Every cipher with the integrity algorithms in turn, with and without extended sequence numbers.
fn suites() -> Vec<EspSuite> {
    let mut all = vec![suite(Encr::ChaCha20Poly1305, None, false)];
    for bits in [128, 192, 256] {
        for icv in [8, 12, 16] {
            all.push(suite(Encr::AesGcm { bits, icv }, None, false));
            all.push(suite(Encr::AesCcm { bits, icv }, None, false));
        }
        let mac = Some(Integ::HmacSha256_128);
        all.push(suite(Encr::AesCbc(bits), mac, false));
        all.push(suite(Encr::AesCtr(bits), mac, false));
    }
    for &integ in Integ::ALL {
        all.push(suite(Encr::AesCbc(128), Some(integ), false));
        all.push(suite(Encr::Null, Some(integ), false));
        all.push(suite(Encr::TripleDes, Some(integ), false));
    }
    let extended: Vec<EspSuite> = all.iter().map(|suite| EspSuite { esn: true, ..*suite }).collect();
    all.extend(extended);
    all
}

fn octets(len: usize, salt: u8) -> Vec<u8> {
    (0..len).map(|n| (n as u8).wrapping_mul(31).wrapping_add(salt)).collect()
}

fn keys(suite: &EspSuite) -> (Vec<u8>, Vec<u8>) {
    (octets(suite.encr.key_len(), 1), octets(suite.integ.map_or(0, Integ::key_len), 2))
}

fn context(suite: &EspSuite) -> Context {
    let (encr, integ) = keys(suite);
    Context::new(suite, &encr, &integ).expect("keys of the suite's lengths")
}

// ---- packets ----

/// RFC 7634 appendix A.
#[test]
fn the_chacha20_packet_of_rfc_7634() {
    let key = unhex("80818283 84858687 88898a8b 8c8d8e8f 90919293 94959697 98999a9b 9c9d9e9f a0a1a2a3");
    let source = "45000054a6f200004001e778c6336405c000020508005b7a3a080000553bec10000736270809\
                  0a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f3031323334353637";
    let mut packet = unhex(
        "01020304 00000005 10111213 14151617 24039428 b97f417e 3c13753a 4f05087b 67c352e6 a7fab1b9 82d466ef
         407ae5c6 14ee8099 d52844eb 61aa95df ab4c02f7 2aa71e7c 4c4f64c9 befe2fac c638e8f3 cbec163f ac469b50
         2773f6fb 94e664da 9165b828 29f641e0 76aaa826 6b7fb0f7 b11b3699 07e1ad43",
    );
    assert_eq!(packet::header(&packet), Some((0x0102_0304, 5)));
    let mut context = Context::new(&suite(Encr::ChaCha20Poly1305, None, false), &key, &[]).expect("36 octets");
    let opened = context.open(5, &mut packet).expect("authentic");
    assert_eq!((opened.next_header, opened.usual_padding), (inner::IPV4, true));
    assert_eq!(packet[opened.payload], unhex(source));
}

/// RFC 3602 section 4, cases 5 to 8. They have no integrity check, which is added here by an independent HMAC.
#[test]
fn the_cbc_packets_of_rfc_3602() {
    let cases = [
        (
            "90d382b410eeba7ad938c46cec1a82bf",
            "00004321 00000001 e96e8c08ab465763fd098d45dd3ff893
             f663c25d325c18c6a9453e194e120849a4870b66cc6b9965330013b4898dc856a4699e523a55db080b59ec3a8e4b7e52
             775b07d1db34ed9c538ab50c551b874aa269add047ad2d5913ac19b7cfbad4a6",
            "08000ebda70a00008e9c083db95b070008090a0b0c0d0e0f1011121314151617
             18191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f3031323334353637",
            inner::ICMP,
        ),
        (
            "90d382b410eeba7ad938c46cec1a82bf",
            "00004321 00000008 69d08df7d203329db093fc4924e5bd80
             f51995881ec4e0c4488987ce742e8109689bb379d2d750c0d915dca346a89f75",
            "0800b5e8a80a0500a69c083d0b660e00777777777777777777777777",
            inner::ICMP,
        ),
        (
            "0123456789abcdef0123456789abcdef",
            "00008765 00000002 f4e765244f6407adf13dc1380f673f37
             773b5241a4c449225e4f3ce5ed611b0c237ca96cf74a93013c1b0ea1a0cf70f8e4ecaec78ac53aad7a0f022b859243c6
             47752e94a859352b8a4d4d2decd136e5c177f132ad3fbfb2201ac9904c74ee0a109e0ca1e4dfe9d5a100b842f1c22f0d",
            "45000054090400004001f988c0a87b03c0a87bc808009f76a90a0100b49c083d02a2040008090a0b0c0d0e0f10111213
             1415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f3031323334353637",
            inner::IPV4,
        ),
        (
            "0123456789abcdef0123456789abcdef",
            "00008765 00000005 85d47224b5f3dd5d2101d4ea8dffab22
             15b92683819596a8047232cc00f7048fe45318e11f8a0f62ede3c3fc61203bb50f980a08c9843fd3a1b06d5c07ff9639
             b7eb7dfb3512e5de435e7207ed971ef3d2726d9b5ef6affc6d17a0decbb13892",
            "45000044090c00004001f990c0a87b03c0a87bc80800d63caa0a0200c69c083da3de0300ffffffffffffffffffffffff
             ffffffffffffffffffffffffffffffffffffffff",
            inner::IPV4,
        ),
    ];
    let mac_key = octets(20, 9);
    let mac = ring::hmac::Key::new(ring::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &mac_key);
    for (key, packet, plain, next_header) in cases {
        let mut packet = unhex(packet);
        let icv = ring::hmac::sign(&mac, &packet);
        packet.extend_from_slice(&icv.as_ref()[..12]);
        let suite = suite(Encr::AesCbc(128), Some(Integ::HmacSha1_96), false);
        let mut context = Context::new(&suite, &unhex(key), &mac_key).expect("both lengths fit");
        let (_, seq) = packet::header(&packet).expect("a header");
        let opened = context.open(seq.into(), &mut packet).expect("authentic");
        assert_eq!((opened.next_header, opened.usual_padding), (next_header, true));
        assert_eq!(packet[opened.payload], unhex(plain));
    }
}

#[test]
fn every_suite_opens_what_it_sealed_and_nothing_else() {
    let mut packet = Vec::new();
    for suite in suites() {
        let (mut sealer, mut opener) = (context(&suite), context(&suite));
        for len in (0..70).chain([1399, 1400, 65_000]) {
            let seq = 0x0001_0000_0000 + len as u64;
            let payload = octets(len, 3);
            sealer.seal(RIGHT_SPI, seq, &payload, len % 7, inner::IPV4, &mut packet).expect("sealed");
            assert_eq!(packet.len(), sealer.sealed_len(len + len % 7), "{suite} {len}");
            assert_eq!(
                (packet.len() - suite.encr.iv_len()) % 4,
                suite.integ.map_or(suite.encr.icv_len(), Integ::icv_len) % 4
            );
            let mut opened = packet.clone();
            let got = opener.open(seq, &mut opened).expect("authentic");
            assert_eq!((got.next_header, got.usual_padding), (inner::IPV4, true), "{suite}");
            assert_eq!(opened[got.payload.clone()][..len], payload, "{suite} {len}");
            assert!(opened[got.payload][len..].iter().all(|octet| *octet == 0), "TFC padding");
            // The high half counts exactly if it was negotiated.
            let other = opener.open(seq ^ 1 << 32, &mut packet.clone());
            assert_eq!(other.is_err(), suite.esn, "{suite}");
        }
        sealer.seal(RIGHT_SPI, 7, b"some payload", 0, inner::IPV4, &mut packet).expect("sealed");
        for at in 0..packet.len() {
            let mut changed = packet.clone();
            changed[at] ^= 0x40;
            assert_eq!(opener.open(7, &mut changed), Err(CryptoError::BadIcv), "{suite}: octet {at}");
            let outcome = opener.open(7, &mut packet[..at].to_vec());
            assert!(outcome.is_err(), "{suite}: cut to {at}");
        }
    }
}

/// AES-GCM by another implementation, with the additional data of RFC 4106 section 5 put together by hand.
#[test]
fn gcm_packets_as_another_implementation_opens_them() {
    use aes_gcm::aead::{Aead, KeyInit, Payload};
    for esn in [false, true] {
        let suite = suite(Encr::AesGcm { bits: 256, icv: 16 }, None, esn);
        let (key, _) = keys(&suite);
        let mut packet = Vec::new();
        let (seq, text) = (0x0000_0005_ffff_fff0_u64, octets(333, 8));
        context(&suite).seal(RIGHT_SPI, seq, &text, 0, inner::IPV6, &mut packet).expect("sealed");
        let cipher = aes_gcm::Aes256Gcm::new_from_slice(&key[..32]).expect("32 octets");
        let nonce: Vec<u8> = [&key[32..], &packet[8..16]].concat();
        let aad = match esn {
            true => [&packet[..4], &5_u32.to_be_bytes(), &packet[4..8]].concat(),
            false => packet[..8].to_vec(),
        };
        let payload = Payload { msg: &packet[16..], aad: &aad };
        let nonce: [u8; 12] = nonce.try_into().expect("4 and 8 octets");
        let plain = cipher.decrypt(&nonce.into(), payload).expect("authentic");
        // 333 + 2 is one short of a multiple of four.
        assert_eq!(plain, [&text[..], &[1, 1, inner::IPV6]].concat());
    }
}

/// HMAC with the high half of the sequence number behind the packet (RFC 4303 2.2.1), by another implementation.
#[test]
fn extended_numbers_under_a_mac_as_another_implementation_sees_them() {
    let suite = suite(Encr::Null, Some(Integ::HmacSha256_128), true);
    let (_, key) = keys(&suite);
    let mut packet = Vec::new();
    context(&suite).seal(RIGHT_SPI, 0x0000_0007_0000_0001, b"abcd", 0, inner::IPV4, &mut packet).expect("sealed");
    assert_eq!(&packet[..16], [&RIGHT_SPI.to_be_bytes()[..], &[0, 0, 0, 1], b"abcd", &[1, 2, 2, 4]].concat());
    let mac = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &key);
    let covered = [&packet[..16], &[0, 0, 0, 7]].concat();
    assert_eq!(&packet[16..], &ring::hmac::sign(&mac, &covered).as_ref()[..16]);
}

#[test]
fn cbc_vectors_are_neither_repeated_nor_the_number() {
    let suite = suite(Encr::AesCbc(256), Some(Integ::HmacSha512_256), false);
    let mut sealer = context(&suite);
    let mut seen = std::collections::BTreeSet::new();
    let mut packet = Vec::new();
    for seq in 1..100_u64 {
        sealer.seal(RIGHT_SPI, seq, b"same", 0, inner::IPV4, &mut packet).expect("sealed");
        let iv = packet[8..24].to_vec();
        assert!(!iv.ends_with(&seq.to_be_bytes()), "predictable");
        assert!(seen.insert(iv));
    }
}

#[test]
fn authentic_padding_can_be_wrong() {
    let suite = suite(Encr::Null, Some(Integ::HmacSha1_96), false);
    let (_, key) = keys(&suite);
    let mac = ring::hmac::Key::new(ring::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &key);
    let sealed = |text: &[u8]| {
        let mut packet = [&[0, 0, 16, 0, 0, 0, 0, 1], text].concat();
        let icv = ring::hmac::sign(&mac, &packet);
        packet.extend_from_slice(&icv.as_ref()[..12]);
        packet
    };
    let open = |text: &[u8]| context(&suite).open(1, &mut sealed(text));
    assert_eq!(open(&[9, 9, 3, 4]), Err(CryptoError::BadPadding), "longer than the packet");
    assert_eq!(open(&[2, 4]), Err(CryptoError::BadPadding));
    let odd = Opened { payload: 8..8, next_header: 4, usual_padding: false };
    assert_eq!(open(&[7, 7, 2, 4]), Ok(odd), "odd, and tolerated");
    assert_eq!(open(&[4]).map_err(|e| matches!(e, CryptoError::BadLength { .. })), Err(true));
}

// ---- planes ----

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn net(text: &str) -> TrafficSelector {
    let (address, prefix) = text.split_once('/').expect("a prefix");
    TrafficSelector::from_net(self::address(address), prefix.parse().expect("a number"))
}

/// Two planes with a pair of ESP SAs between them.
struct Pair {
    left: Plane,
    right: Plane,
    now: Instant,
    mode: Mode,
}

fn path(left: bool) -> Path {
    let ends = ("192.0.2.1:4500".parse().expect("an address"), "192.0.2.2:4500".parse().expect("an address"));
    let (local, remote) = if left { ends } else { (ends.1, ends.0) };
    Path { local, remote, role: SocketRole::NatT }
}

fn ike_up(left: bool) -> IkeUp {
    let suite =
        IkeSuite { encr: Encr::AesGcm { bits: 128, icv: 16 }, prf: Prf::HmacSha256, integ: None, ke: Group::X25519 };
    IkeUp {
        mobike: false,
        initiator: left,
        connection: "test".to_owned(),
        spis: (IkeSpi(1), IkeSpi(2)),
        suite,
        peer_id: IdPayload::new(IdType::ID_FQDN, b"x".to_vec()),
        path: path(left),
    }
}

impl Pair {
    fn new(suite: EspSuite) -> Self {
        Pair::with(suite, Mode::Tunnel, PlaneConfig::default(), PlaneConfig::default())
    }

    fn with(suite: EspSuite, mode: Mode, left: PlaneConfig, right: PlaneConfig) -> Self {
        let mut pair = Pair { left: Plane::new(left), right: Plane::new(right), now: Instant::ZERO, mode };
        for end in [true, false] {
            let plane = if end { &mut pair.left } else { &mut pair.right };
            let IkeUp { spis, suite: ike, .. } = ike_up(end);
            let nat = crate::engine::NatFinding { peer_detects: true, us: false, peer: !end };
            let (vendor_ids, peer_fragments) = (Vec::new(), false);
            let done = InitDone { initiator: end, spis, suite: ike, nat, vendor_ids, peer_fragments };
            plane.event(Instant::ZERO, TUNNEL, SA, &Event::InitDone(Box::new(done)));
            plane.event(Instant::ZERO, TUNNEL, SA, &Event::IkeUp(Box::new(ike_up(end))));
        }
        pair.install(suite, LEFT_SPI, RIGHT_SPI);
        pair
    }

    fn install(&mut self, suite: EspSuite, left_spi: u32, right_spi: u32) {
        let ts = match self.mode {
            Mode::Tunnel => (vec![net("10.1.0.0/16"), net("fd01::/64")], vec![net("10.2.0.0/16"), net("fd02::/64")]),
            Mode::Transport => (vec![net("192.0.2.1/32")], vec![net("192.0.2.2/32")]),
        };
        for end in [true, false] {
            let ((spi_in, spi_out), (ours, theirs)) = match end {
                true => ((left_spi, right_spi), (ts.0.clone(), ts.1.clone())),
                false => ((right_spi, left_spi), (ts.1.clone(), ts.0.clone())),
            };
            let key = |len, salt: u8| Secret::new(octets(len, salt ^ left_spi as u8));
            let integ = suite.integ.map_or(0, Integ::key_len);
            let child = ChildSa {
                name: "lan".to_owned(),
                spi_in,
                spi_out,
                suite,
                mode: self.mode,
                local_ts: ours,
                remote_ts: theirs,
                initiator: end,
                encapsulated: true,
                narrowed: false,
                keys: ChildKeys {
                    i_encr: key(suite.encr.key_len(), 1),
                    i_integ: key(integ, 2),
                    r_encr: key(suite.encr.key_len(), 3),
                    r_integ: key(integ, 4),
                },
            };
            let plane = if end { &mut self.left } else { &mut self.right };
            plane.event(self.now, TUNNEL, SA, &Event::ChildInbound(Box::new(child)));
            plane.event(self.now, TUNNEL, SA, &Event::ChildOutbound { spi_in });
        }
    }

    /// Datagrams from the left end.
    fn left_sends(&mut self) -> Vec<Transmit> {
        std::iter::from_fn(|| self.left.poll_transmit()).collect()
    }

    fn right_takes(&mut self, transmits: &[Transmit]) {
        for transmit in transmits {
            let mut bytes = transmit.bytes.clone();
            self.right.handle_packet(self.now, path(false), &mut bytes);
        }
    }

    /// Everything that is on its way arrives, until nothing is.
    fn settle(&mut self) {
        loop {
            let there = self.left_sends();
            self.right_takes(&there);
            let back: Vec<Transmit> = std::iter::from_fn(|| self.right.poll_transmit()).collect();
            for mut transmit in back.iter().cloned() {
                assert_eq!((transmit.class, transmit.path), (Class::Esp, path(false)));
                self.left.handle_packet(self.now, path(true), &mut transmit.bytes);
            }
            if there.is_empty() && back.is_empty() {
                return;
            }
        }
    }

    /// Plays until `until`.
    fn play(&mut self, until: Instant) {
        loop {
            self.settle();
            let next = [self.left.poll_timeout(), self.right.poll_timeout()].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= until) else { break };
            self.now = self.now.max(next);
            self.left.handle_timeout(self.now);
            self.right.handle_timeout(self.now);
        }
        self.now = until;
    }

    fn packet(&self, data: &[u8]) -> Vec<u8> {
        let mut packet = Vec::new();
        assert!(inner::build_udp(&mut packet, (address("10.1.0.1"), 1000), (address("10.2.0.1"), 2000), data));
        packet
    }
}

const GCM: EspSuite = EspSuite { encr: Encr::AesGcm { bits: 128, icv: 16 }, integ: None, ke: None, esn: false };

#[test]
fn pings_are_answered_under_every_suite() {
    for suite in suites() {
        for target in ["10.2.0.9", "fd02::9"] {
            let mut pair = Pair::new(suite);
            let spec = PingSpec { count: Some(3), ..PingSpec::new(TUNNEL, address(target)) };
            pair.left.ping(pair.now, spec, 77);
            pair.play(Instant::from_millis(5_000));
            let report = pair.left.pings()[0].report();
            assert_eq!((report.sent, report.received, report.lost, report.done), (3, 3, 0, true), "{suite}");
            assert_eq!(pair.right.counters().echoes_answered, 3);
            assert_eq!((pair.left.counters().encaps, pair.left.counters().decaps), (3, 3));
            assert_eq!(pair.left.counters().errors().chain(pair.right.counters().errors()).count(), 0, "{suite}");
        }
    }
}

#[test]
fn transport_mode_carries_the_ends_own_packets() {
    let mut pair = Pair::with(GCM, Mode::Transport, PlaneConfig::default(), PlaneConfig::default());
    let spec = PingSpec { count: Some(2), ..PingSpec::new(TUNNEL, address("192.0.2.2")) };
    pair.left.ping(pair.now, spec, 77);
    pair.left.handle_timeout(pair.now);
    let first = pair.left_sends().remove(0);
    // ESP header 8, IV 8, ICMP 8 + 56, trailer padded to 4, ICV 16: no inner IP header.
    assert_eq!(first.bytes.len(), 8 + 8 + 68 + 16);
    pair.right_takes(&[first]);
    pair.play(Instant::from_millis(3_000));
    assert_eq!(pair.left.pings()[0].report().received, 2);
}

#[test]
fn replays_old_packets_forgeries_and_garbage_are_counted_apart() {
    let mut pair = Pair::new(GCM);
    let packet = pair.packet(b"data");
    for _ in 0..200 {
        pair.left.send(pair.now, Some(TUNNEL), &packet).expect("sent");
    }
    let all = pair.left_sends();
    pair.right_takes(&all[100..]);
    pair.right_takes(&all[150..160]);
    pair.right_takes(&all[..10]);
    let mut forged = all[99].clone();
    forged.bytes[20] ^= 1;
    // 200 - 100 = 100 is out of a window of 64 already; 190 would be a replay. A fresh number with a wrong ICV:
    forged.bytes[4..8].copy_from_slice(&500_u32.to_be_bytes());
    let unknown = Transmit { bytes: [&[0, 0, 99, 99][..], &all[0].bytes[4..]].concat(), ..all[0].clone() };
    let zero = Transmit { bytes: [&[0; 4][..], &all[0].bytes[4..]].concat(), ..all[0].clone() };
    let short = Transmit { bytes: all[0].bytes[..7].to_vec(), ..all[0].clone() };
    let cut =
        Transmit { bytes: [&RIGHT_SPI.to_be_bytes()[..], &600_u32.to_be_bytes(), &[0; 8]].concat(), ..all[0].clone() };
    pair.right_takes(&[forged, unknown, zero, short, cut]);
    let counters = pair.right.counters();
    assert_eq!(counters.decaps, 100);
    let expected = [
        (RecvError::Replayed, 10),
        (RecvError::TooOld, 10),
        (RecvError::BadIcv, 1),
        (RecvError::UnknownSpi, 2),
        (RecvError::Short, 2),
    ];
    for (why, count) in expected {
        assert_eq!(counters.dropped(why), count, "{why:?}");
    }
    // Nothing unauthentic has moved the window.
    assert_eq!(pair.right.children().next().expect("one").sequence_numbers(), (0, 200));
    assert_eq!(pair.right.children().next().expect("one").counters().recv_errors, 10 + 10 + 1 + 1);
}

#[test]
fn sequence_numbers_end_or_are_extended() {
    for esn in [false, true] {
        let mut pair = Pair::new(EspSuite { esn, ..GCM });
        let packet = pair.packet(b"data");
        pair.left.skip_to(LEFT_SPI, u64::from(u32::MAX) - 2);
        pair.right.skip_to(RIGHT_SPI, u64::from(u32::MAX) - 2);
        for n in 0..4 {
            let sent = pair.left.send(pair.now, Some(TUNNEL), &packet);
            let expected = if n < 2 || esn { Ok(LEFT_SPI) } else { Err(SendError::SequenceOverflow) };
            assert_eq!(sent, expected, "packet {n}, extended: {esn}");
        }
        let all = pair.left_sends();
        // The packet after the wrap overtakes the one before it.
        let order: Vec<Transmit> =
            if esn { vec![all[3].clone(), all[0].clone(), all[2].clone(), all[1].clone()] } else { all };
        pair.right_takes(&order);
        assert_eq!(pair.right.counters().decaps, order.len() as u64);
        assert_eq!(pair.left.counters().not_sent(SendError::SequenceOverflow), if esn { 0 } else { 2 });
        pair.right_takes(&order);
        assert_eq!(pair.right.counters().dropped(RecvError::Replayed), order.len() as u64);
    }
}

#[test]
fn packets_outside_the_selectors_are_refused_both_ways_and_reported_once() {
    let mut pair = Pair::new(GCM);
    let mut stray = Vec::new();
    assert!(inner::build_udp(&mut stray, (address("10.1.0.1"), 1), (address("10.9.0.1"), 2), b"x"));
    for _ in 0..3 {
        assert_eq!(pair.left.send(pair.now, Some(TUNNEL), &stray), Err(SendError::Selectors));
    }
    assert_eq!(pair.left.counters().not_sent(SendError::Selectors), 3);
    let told: Vec<_> = std::iter::from_fn(|| pair.left.poll_event()).collect();
    assert!(matches!(told[..], [PlaneEvent::OutsideSelectors { spi_in: LEFT_SPI, outbound: true, .. }]), "{told:?}");

    // A peer that does not check sends one all the same.
    let mut careless = Pair::new(GCM);
    std::mem::swap(&mut careless.left, &mut pair.left);
    pair.left.widen(LEFT_SPI);
    std::mem::swap(&mut careless.left, &mut pair.left);
    for _ in 0..2 {
        careless.left.send(pair.now, Some(TUNNEL), &stray).expect("sent");
    }
    let sent = careless.left_sends();
    pair.right_takes(&sent);
    assert_eq!(pair.right.counters().dropped(RecvError::Selectors), 2);
    assert_eq!(pair.right.counters().decaps, 0);
    let told: Vec<_> = std::iter::from_fn(|| pair.right.poll_event()).collect();
    let outside = told.iter().filter(|e| matches!(e, PlaneEvent::OutsideSelectors { outbound: false, .. })).count();
    assert_eq!(outside, 1, "{told:?}");
}

#[test]
fn dummies_and_padded_packets_are_tolerated() {
    let deliver = PlaneConfig { deliver: true, ..PlaneConfig::default() };
    let mut pair = Pair::with(GCM, Mode::Tunnel, PlaneConfig::default(), deliver);
    pair.left.send_dummy(pair.now, LEFT_SPI, 100).expect("sent");
    let packet = pair.packet(b"inside");
    let padded = [&packet[..], &[0; 300]].concat();
    pair.left.send_raw(pair.now, LEFT_SPI, &padded, inner::IPV4);
    let sent = pair.left_sends();
    pair.right_takes(&sent);
    let counters = pair.right.counters();
    assert_eq!((counters.dummies, counters.tfc_padded, counters.decaps), (1, 1, 1));
    assert_eq!(counters.errors().count(), 0);
    assert_eq!(pair.right.poll_inner(), Some(packet));
    assert_eq!(pair.right.poll_inner(), None);
    // A next header that tunnel mode does not carry, and an inner packet that is none.
    pair.left.send_raw(pair.now, LEFT_SPI, b"abcdefgh", inner::UDP);
    pair.left.send_raw(pair.now, LEFT_SPI, b"abcdefgh", inner::IPV4);
    let sent = pair.left_sends();
    pair.right_takes(&sent);
    assert_eq!(pair.right.counters().dropped(RecvError::MalformedInner), 2);
}

#[test]
fn a_rekey_loses_nothing_and_the_newest_is_sent_on() {
    let mut pair = Pair::new(GCM);
    let spec = PingSpec { count: Some(10), ..PingSpec::new(TUNNEL, address("10.2.0.9")) };
    pair.left.ping(pair.now, spec, 77);
    pair.play(Instant::from_millis(4_500));
    let old = pair.packet(b"in flight");
    pair.left.send(pair.now, Some(TUNNEL), &old).expect("sent");
    let flight = pair.left_sends();
    let (left, right) = (0x3333_0003, 0x4444_0004);
    pair.install(GCM, left, right);
    let outcome = Event::ChildRekeyed { old: LEFT_SPI, new: left };
    pair.left.event(pair.now, TUNNEL, SA, &outcome);
    pair.left.event(pair.now, TUNNEL, SA, &Event::ChildClosing { spi_in: LEFT_SPI });
    pair.right_takes(&flight);
    pair.play(Instant::from_millis(5_500));
    for (plane, spi_in) in [(&mut pair.left, LEFT_SPI), (&mut pair.right, RIGHT_SPI)] {
        plane.event(pair.now, TUNNEL, SA, &Event::ChildDown { spi_in, by: Side::Us });
    }
    pair.play(Instant::from_millis(20_000));
    let report = pair.left.pings()[0].report();
    assert_eq!((report.received, report.lost), (10, 0));
    assert_eq!(report.by_child, [(LEFT_SPI, 5), (left, 5)]);
    let closed: Vec<_> = pair.left.closed().map(|c| (c.spi_in, c.counters.decaps)).collect();
    assert_eq!(closed, [(LEFT_SPI, 5)]);
    // The old one is unknown now.
    pair.right_takes(&flight);
    assert_eq!(pair.right.counters().dropped(RecvError::UnknownSpi), 1);
}

#[test]
fn nothing_is_sent_before_it_may_be_or_after() {
    let mut pair = Pair::new(GCM);
    let packet = pair.packet(b"data");
    pair.left.event(pair.now, TUNNEL, SA, &Event::ChildClosing { spi_in: LEFT_SPI });
    assert_eq!(pair.left.send(pair.now, Some(TUNNEL), &packet), Err(SendError::NoSa));
    assert_eq!(pair.left.send(pair.now, Some(TunnelId(9)), &packet), Err(SendError::NoSa));
    pair.left.event(pair.now, TUNNEL, SA, &Event::Closed);
    assert_eq!(pair.left.children().count(), 0, "the end of the IKE SA is the end of its Child SAs");
    assert_eq!(pair.left.send(pair.now, None, b"no packet"), Err(SendError::Malformed));
}

/// Reauthentication: the tunnel has a new IKE SA before the old one is closed.
#[test]
fn an_old_ike_sas_end_is_not_the_tunnels_end() {
    let mut pair = Pair::new(GCM);
    let again = SaId { slot: 1, generation: 0 };
    let up = |sa: SaId, plane: &mut Plane| {
        let up = ike_up(true);
        plane.event(Instant::ZERO, TUNNEL, sa, &Event::IkeUp(Box::new(up)));
    };
    up(again, &mut pair.left);
    pair.left.event(pair.now, TUNNEL, SA, &Event::Closed);
    let packet = pair.packet(b"data");
    assert_eq!(pair.left.send(pair.now, Some(TUNNEL), &packet), Ok(LEFT_SPI));
    pair.left.event(pair.now, TUNNEL, again, &Event::Closed);
    assert_eq!(pair.left.children().count(), 0);
}

#[test]
fn how_esp_travels_follows_ike_or_the_setting() {
    let ike_path = Path { role: SocketRole::Ike, ..path(true) };
    let config = |encapsulation, native| PlaneConfig {
        encapsulation,
        native,
        natt_ports: (4501, 4502),
        ..PlaneConfig::default()
    };
    let carry =
        |encapsulation, native, path, encapsulated| config(encapsulation, native).carry(Some(path), encapsulated);
    assert_eq!(carry(Encapsulation::Auto, true, path(true), true), Ok(path(true)));
    let native = carry(Encapsulation::Auto, true, ike_path, false).expect("a path");
    assert_eq!((native.role, native.local.port(), native.remote.port()), (SocketRole::Esp, 0, 0));
    assert_eq!(carry(Encapsulation::Auto, false, ike_path, false), Err(SendError::NoNativeEsp));
    // A peer that has moved IKE to port 4500 without a NAT expects native ESP.
    assert_eq!(carry(Encapsulation::Auto, true, path(true), false).map(|p| p.role), Ok(SocketRole::Esp));
    assert_eq!(carry(Encapsulation::Auto, false, path(true), false), Ok(path(true)));
    let forced = carry(Encapsulation::ForceUdp, true, ike_path, false).expect("a path");
    assert_eq!((forced.role, forced.local.port(), forced.remote.port()), (SocketRole::NatT, 4501, 4502));
    assert_eq!(carry(Encapsulation::Native, true, path(true), true).map(|p| p.role), Ok(SocketRole::Esp));
    assert_eq!(config(Encapsulation::Auto, true).carry(None, true), Err(SendError::NoPath));
}

#[test]
fn the_peers_address_is_followed_only_by_what_is_authentic_and_newest() {
    let mut pair = Pair::new(GCM);
    let packet = pair.packet(b"data");
    for _ in 0..2 {
        pair.left.send(pair.now, Some(TUNNEL), &packet).expect("sent");
    }
    let sent = pair.left_sends();
    let moved = Path { remote: "198.51.100.7:40000".parse().expect("an address"), ..path(false) };
    let mut back = Vec::new();
    assert!(inner::build_udp(&mut back, (address("10.2.0.1"), 1), (address("10.1.0.1"), 2), b"x"));
    let goes_to = |plane: &mut Plane| {
        plane.send(Instant::ZERO, Some(TUNNEL), &back).expect("sent");
        plane.poll_transmit().expect("it is there").path.remote
    };
    let mut forged = sent[1].bytes.clone();
    forged[30] ^= 1;
    pair.right.handle_packet(pair.now, moved, &mut forged);
    assert_eq!(goes_to(&mut pair.right), path(false).remote);
    pair.right.handle_packet(pair.now, moved, &mut sent[1].bytes.clone());
    assert_eq!(goes_to(&mut pair.right), moved.remote);
    // An older packet that arrives late from the old place changes nothing.
    pair.right.handle_packet(pair.now, path(false), &mut sent[0].bytes.clone());
    assert_eq!(goes_to(&mut pair.right), moved.remote);
}

#[test]
fn ciphers_are_keyed_for_the_first_packet_and_dropped_after_a_pause() {
    let mut pair = Pair::new(GCM);
    let active = |plane: &Plane| plane.children().filter(|child| child.is_active()).count();
    assert_eq!((active(&pair.left), pair.left.poll_timeout()), (0, None), "at rest");
    let packet = pair.packet(b"data");
    for _ in 0..3 {
        pair.left.send(pair.now, Some(TUNNEL), &packet).expect("sent");
    }
    assert_eq!((active(&pair.left), pair.left.counters().keyings), (1, 1));
    pair.play(Instant::from_millis(60_000));
    assert_eq!((active(&pair.left), active(&pair.right), pair.left.poll_timeout()), (0, 0, None));
    pair.left.send(pair.now, Some(TUNNEL), &packet).expect("sent");
    pair.settle();
    assert_eq!((pair.left.counters().keyings, pair.right.counters().decaps), (2, 4), "numbers go on");
}

#[test]
fn what_the_engine_is_told_adds_up() {
    let mut pair = Pair::new(GCM);
    let packet = pair.packet(b"data");
    for _ in 0..5 {
        pair.left.send(pair.now, Some(TUNNEL), &packet).expect("sent");
    }
    let sent = pair.left_sends();
    pair.right_takes(&sent);
    let octets: usize = sent.iter().map(|transmit| transmit.bytes.len()).sum();
    use crate::engine::EspNote;
    let note = pair.left.poll_note();
    assert_eq!(note, Some((LEFT_SPI, EspNote::Sent { packets: 5, bytes: octets as u64 })));
    let note = pair.right.poll_note();
    assert_eq!(note, Some((RIGHT_SPI, EspNote::Received { packets: 5, bytes: octets as u64 })));
    assert_eq!((pair.left.poll_note(), pair.right.poll_note()), (None, None));
}

#[test]
fn a_stream_measures_loss_and_order_at_both_ends() {
    let mut pair = Pair::new(GCM);
    let count = Some(100);
    let spec = StreamSpec { rate: 1000, size: 100, count, ..StreamSpec::new(TUNNEL, address("10.2.0.9")) };
    pair.left.stream(pair.now, spec);
    let mut number = 0;
    let mut held = None;
    while pair.left.poll_timeout().is_some_and(|at| at <= Instant::from_millis(99)) {
        pair.now = pair.left.poll_timeout().expect("just looked");
        pair.left.handle_timeout(pair.now);
        for transmit in pair.left_sends() {
            number += 1;
            match number {
                // Lost on the way there.
                10 | 20 => {}
                // Overtaken by the next one.
                30 => held = Some(transmit),
                // There twice.
                40 => pair.right_takes(&[transmit.clone(), transmit]),
                _ => {
                    pair.right_takes(&[transmit]);
                    pair.right_takes(held.take().as_slice());
                }
            }
        }
        pair.settle();
    }
    pair.play(Instant::from_millis(10_000));
    let report = pair.left.streams()[0].report();
    assert_eq!((report.sent, report.returned.received, report.done), (100, 98, true));
    assert_eq!((report.returned.reordered, report.returned.duplicates, report.returned.highest), (1, 0, 100));
    let (tunnel, from, seen) = pair.right.reflector().streams().next().expect("one stream");
    assert_eq!((tunnel, from), (TUNNEL, address("10.1.0.1")));
    assert_eq!((seen.received, seen.reordered, seen.highest), (98, 1, 100));
    assert_eq!(pair.right.counters().dropped(RecvError::Replayed), 1, "the copy did not get past the window");
    let rate = report.returned.rate().expect("a hundred datagrams");
    assert!((90_000.0..110_000.0).contains(&rate), "{rate}");
}

#[test]
fn who_answers_echoes_is_a_setting() {
    let only = EchoPolicy::Only(vec![address("10.2.0.9")]);
    for (echo, target, answered) in [
        (EchoPolicy::Off, "10.2.0.9", 0),
        (only.clone(), "10.2.0.9", 1),
        (only, "10.2.0.8", 0),
        (EchoPolicy::LocalSelectors, "10.2.255.8", 1),
    ] {
        let right = PlaneConfig { echo, ..PlaneConfig::default() };
        let mut pair = Pair::with(GCM, Mode::Tunnel, PlaneConfig::default(), right);
        let timeout = Duration::from_millis(100);
        let spec = PingSpec { count: Some(1), timeout, ..PingSpec::new(TUNNEL, address(target)) };
        pair.left.ping(pair.now, spec, 77);
        pair.play(Instant::from_millis(1_000));
        assert_eq!(pair.left.pings()[0].report().received, answered, "{target}");
    }
}

#[test]
fn any_octets_at_all() {
    for seed in 0..300_u64 {
        selfcheck(&seed.to_be_bytes().repeat(8));
    }
}

/// A box's planes in several threads have one licence: its rate is theirs together, in each direction.
#[test]
fn planes_that_share_a_licence_share_its_rate() {
    let cap = Cap::of(8e6);
    let mut pairs = [0, 1].map(|_| Pair::new(suite(Encr::AesGcm { bits: 128, icv: 16 }, None, false)));
    let address = |text: &str| -> IpAddr { text.parse().expect("an address") };
    let (near, far) = ((address("10.1.0.1"), 5000), (address("10.2.0.1"), 5000));
    let mut packets = [Vec::new(), Vec::new()];
    let data = [0; 972];
    assert!(inner::build_udp(&mut packets[0], near, far, &data) && inner::build_udp(&mut packets[1], far, near, &data));
    assert_eq!(packets[0].len(), 1000);
    for pair in &mut pairs {
        pair.left.set_cap(Some(cap.clone()));
    }
    // A thousand octets in each millisecond and each pair: twice what is allowed, for two seconds.
    let mut told = [0, 0];
    for millis in 0..2_000u64 {
        for pair in &mut pairs {
            pair.now = Instant(millis * 1_000_000);
            let _ = pair.left.send(pair.now, Some(TUNNEL), &packets[0]);
            pair.right.send(pair.now, Some(TUNNEL), &packets[1]).expect("this end has no licence");
            pair.settle();
            while let Some(event) = pair.left.poll_event() {
                if let PlaneEvent::Capped { outbound } = event {
                    told[usize::from(outbound)] += 1;
                }
            }
        }
    }
    let sum = |of: fn(&Counters) -> u64| pairs.iter().map(|pair| of(pair.left.counters())).sum::<u64>();
    // And what may come at once. Inbound the octets of ESP are counted.
    let (sent, taken) = (sum(|c| c.encaps), sum(|c| c.decaps));
    assert!((2_240..=2_260).contains(&sent) && (2_150..=2_200).contains(&taken), "{sent} {taken}");
    assert_eq!(sum(|c| c.send_errors[SendError::Licence as usize]), 4_000 - sent);
    assert_eq!(sum(|c| c.recv_errors[RecvError::Licence as usize]), 4_000 - taken);
    assert_eq!(told, [2, 2], "once a second, whichever plane it is");
}
