//! ESP packets: two of them, as they leave, and what the other end makes of them.

use ikelab::engine::TunnelId;
use ikelab::esp::{Counters, Plane, PlaneConfig, RecvError};
use ikelab::fault::{FaultPlan, FiringLog};
use ikelab::seed::PlanSeed;

use crate::faults::world::rule;
use crate::pair::{End, Pair, config, left_spec, right_spec, seen_by_receiver};

/// What left and how it was received.
struct Packets {
    /// SPI, sequence number, octets.
    sent: Vec<(u32, u32, Vec<u8>)>,
    counters: Counters,
    log: FiringLog,
    /// The SPI that the packets should have.
    spi: u32,
}

impl Packets {
    fn dropped(&self, why: RecvError) -> u64 {
        self.counters.dropped(why)
    }

    fn numbers(&self) -> Vec<u32> {
        self.sent.iter().map(|(_, number, _)| *number).collect()
    }
}

/// An inner UDP packet to the discard port, numbered by its identification.
fn inner(number: u8) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 60, 0, number, 0, 0, 64, 17, 0, 0, 10, 1, 0, 9, 10, 2, 0, 9];
    let sum: u32 = packet.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    // Ports 40000 and 9, length 40, no checksum.
    packet.extend_from_slice(&[0x9c, 0x40, 0, 9, 0, 40, 0, 0]);
    packet.extend(vec![0x77; 32]);
    packet
}

fn play(name: Option<&str>, with: &[(&str, &str)], times: Option<u32>) -> Packets {
    let mut pair = Pair::new(config(vec![], 1), config(vec![right_spec()], 2));
    pair.connect(left_spec());
    pair.settle();
    let seed = PlanSeed::from_text("esp");
    let rules = name.map(|name| rule(name, with, None, times)).into_iter().collect();
    let plan = FaultPlan::new(rules, &seed);
    let log = plan.log();
    let mut left = Plane::new(PlaneConfig { native: true, ..PlaneConfig::default() });
    let mut right = Plane::new(PlaneConfig { native: true, ..PlaneConfig::default() });
    if let Some(bend) = plan.for_esp(&seed) {
        left.set_tamper(Box::new(bend));
    }
    for (end, tunnel, sa, event) in &pair.events {
        let plane = if *end == End::Left { &mut left } else { &mut right };
        plane.event(pair.now, *tunnel, *sa, event);
    }
    let spi = left.children().next().expect("it is up").spi_out();
    let mut sent = Vec::new();
    for number in 1..=3 {
        left.send(pair.now, Some(TunnelId(1)), &inner(number)).expect("it is up");
        while let Some(transmit) = left.poll_transmit() {
            let mut bytes = transmit.bytes;
            let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
            sent.push((word(0), word(4), bytes.clone()));
            right.handle_packet(pair.now, seen_by_receiver(&transmit.path), &mut bytes);
        }
    }
    Packets { sent, counters: *right.counters(), log, spi }
}

type Like = fn(&Packets) -> bool;

struct EspCheck {
    name: &'static str,
    times: Option<u32>,
    like: Like,
}

const fn esp(name: &'static str, times: Option<u32>, like: Like) -> EspCheck {
    EspCheck { name, times, like }
}

static CHECKS: &[EspCheck] = &[
    esp("esp-wrong-encryption-key", None, |p| p.dropped(RecvError::BadIcv) == 3 && p.sent.len() == 3),
    esp("esp-wrong-integrity-key", None, |p| p.dropped(RecvError::BadIcv) == 3 && p.sent.len() == 3),
    esp("esp-wrong-spi", None, |p| {
        p.sent.iter().all(|(spi, ..)| *spi == p.spi ^ 0xff00_0000) && p.counters.decaps == 0
    }),
    esp("esp-icv-length", None, |p| p.sent.iter().all(|(.., bytes)| bytes.len() % 4 == 0) && short_by_four(p)),
    esp("esp-corrupt-icv", Some(1), |p| differs_at(p, |len| len - 16) && p.dropped(RecvError::BadIcv) == 1),
    esp("esp-corrupt-body", Some(1), |p| differs_at(p, |_| 8) && p.dropped(RecvError::BadIcv) == 1),
    esp("esp-sequence-jump", Some(1), |p| p.numbers()[0] == 5_001 && p.dropped(RecvError::TooOld) == 2),
    esp("esp-fixed-sequence", None, |p| p.numbers() == [1, 1, 1] && p.dropped(RecvError::Replayed) == 2),
    esp("esp-sequence-reset", None, |p| p.numbers() == [1, 1, 2] && p.dropped(RecvError::Replayed) == 1),
    esp("esp-inner-source", None, |p| p.dropped(RecvError::Selectors) == 3),
    esp("esp-inner-destination", None, |p| p.dropped(RecvError::Selectors) == 3),
    esp("esp-next-header", None, |p| p.counters.decaps == 0 && p.sent.len() == 3 && p.dropped(RecvError::BadIcv) == 0),
    esp("esp-cut-inner", None, |p| p.dropped(RecvError::MalformedInner) == 3),
    esp("esp-in-clear", None, |p| p.sent.len() == 3 && p.sent[0].2[8..] == inner(1)),
    esp("esp-drop", Some(1), |p| p.numbers() == [2, 3]),
    esp("esp-replay", Some(1), |p| p.numbers() == [1, 1, 2, 3] && p.dropped(RecvError::Replayed) == 1),
    esp("esp-reorder", Some(1), |p| p.numbers() == [2, 1, 3] && p.counters.decaps == 3),
];

fn short_by_four(packets: &Packets) -> bool {
    let honest = play(None, &[], None);
    honest.sent.iter().zip(&packets.sent).all(|(honest, bent)| honest.2.len() == bent.2.len() + 4)
}

/// The first packet differs from the honest one in this octet alone.
fn differs_at(packets: &Packets, place: fn(usize) -> usize) -> bool {
    let honest = &play(None, &[], None).sent[0].2;
    let bent = &packets.sent[0].2;
    let differ: Vec<usize> = (0..honest.len()).filter(|at| honest.get(*at) != bent.get(*at)).collect();
    differ == [place(honest.len())]
}

pub(super) fn names() -> impl Iterator<Item = &'static str> {
    CHECKS.iter().map(|check| check.name)
}

#[test]
fn packets() {
    let honest = play(None, &[], None);
    assert_eq!((honest.numbers(), honest.counters.decaps), (vec![1, 2, 3], 3), "the honest run: {:?}", honest.counters);
    let mut wrong = Vec::new();
    for check in CHECKS {
        let bent = play(Some(check.name), &[], check.times);
        if bent.log.effective(check.name) == 0 {
            wrong.push(format!("{}: had no effect", check.name));
        }
        if !(check.like)(&bent) {
            wrong.push(format!("{}: not seen: {:?}, {:?}", check.name, bent.numbers(), bent.counters));
        }
        if (check.like)(&honest) {
            wrong.push(format!("{}: seen without the fault", check.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
