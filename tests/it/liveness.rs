//! Is the peer alive: when it is asked, how soon its death is noticed, and what then.

use std::time::Duration;

use ikelab::engine::*;
use ikelab::net::Class;
use ikelab::wire::registry::{ExchangeType, NotifyType};
use ikelab::wire::{Flags, Header, Message, NotifyPayload, Payload};

use crate::pair::*;

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A tunnel that is up, whose initiator checks liveness like this.
fn up(dpd: DpdSpec) -> Pair {
    let mut left = left_spec();
    left.dpd = Some(dpd);
    let mut pair = Pair::to(right_spec());
    pair.connect(left);
    pair.settle();
    assert!(pair.is_up(End::Left) && pair.is_up(End::Right));
    pair
}

/// From now on nothing gets through; time passes until `for_`.
fn silence(pair: &mut Pair, for_: Duration) {
    let until = pair.now + for_;
    while let Some(due) = pair.left.poll_timeout().map(|(at, _)| at).filter(|at| *at <= until) {
        pair.now = pair.now.max(due);
        pair.left.handle_timeout(pair.now);
        pair.collect();
        pair.take();
    }
    pair.now = until;
}

fn sent_checks(pair: &Pair) -> usize {
    pair.said(End::Left)
        .filter(|e| match e {
            Event::Message(m) => {
                m.from == Side::Us
                    && m.message.header.exchange == ExchangeType::INFORMATIONAL
                    && !m.message.header.flags.is_response()
                    && m.attempt == 0
            }
            _ => false,
        })
        .count()
}

fn death(pair: &Pair) -> Option<(Option<Duration>, Duration, DpdAction)> {
    pair.said(End::Left).find_map(|e| match e {
        Event::PeerDead { expected, measured, action } => Some((*expected, *measured, *action)),
        _ => None,
    })
}

#[test]
fn a_dead_peer_is_noticed_when_it_was_said_to_be() {
    let schedule = RetransmitSpec {
        initial: seconds(4),
        factor_percent: 180,
        max_wait: seconds(600),
        attempts: 6,
        jitter_percent: 0,
    };
    let spec = DpdSpec { retransmit: Some(schedule), ..DpdSpec::new(seconds(10), DpdMode::Periodic) };
    let expected = spec.detection(&RetransmitSpec::default());
    assert_eq!(expected.as_secs(), 175, "10 s of quiet, then 165 s as strongSwan repeats");
    let mut pair = up(spec);
    silence(&mut pair, seconds(174));
    assert_eq!(death(&pair), None, "not too early");
    silence(&mut pair, seconds(3));
    let (said, measured, action) = death(&pair).expect("it is noticed");
    assert_eq!((said, action), (Some(expected), DpdAction::Clear));
    assert!(measured.abs_diff(expected) < Duration::from_millis(50), "{measured:?} is not {expected:?}");
    assert!(pair.said(End::Left).any(|e| matches!(e, Event::Failed(f) if f.class() == FailureClass::DpdTimeout)));
}

#[test]
fn only_liveness_checks_follow_their_own_schedule() {
    let quick = RetransmitSpec {
        initial: seconds(1),
        factor_percent: 100,
        max_wait: seconds(1),
        attempts: 3,
        jitter_percent: 0,
    };
    let spec = DpdSpec { retransmit: Some(quick), ..DpdSpec::new(seconds(600), DpdMode::Periodic) };
    let mut pair = up(spec.clone());
    let id = pair.left.sas()[0].sa;
    pair.left.command(pair.now, id, Command::RekeyIke).expect("up");
    silence(&mut pair, seconds(10));
    assert_eq!(death(&pair), None, "a rekey is sent again as the connection says: 61 s");
    silence(&mut pair, seconds(60));
    assert!(death(&pair).is_some());

    let mut pair = up(spec);
    let id = pair.left.sas()[0].sa;
    pair.left.command(pair.now, id, Command::Liveness).expect("up");
    silence(&mut pair, seconds(4));
    assert!(death(&pair).is_some(), "three transmissions a second apart");
}

#[test]
fn a_quiet_tunnel_is_asked_periodically_but_not_on_demand() {
    let mut pair = up(DpdSpec::new(seconds(10), DpdMode::Periodic));
    pair.run_for(seconds(65));
    assert!((5..=6).contains(&sent_checks(&pair)), "{}", sent_checks(&pair));

    let mut pair = up(DpdSpec::new(seconds(10), DpdMode::OnDemand));
    pair.run_for(seconds(600));
    assert_eq!(sent_checks(&pair), 0, "nobody sent anything");
    let spi = pair.left.sas()[0].children[0].spi_in;
    let note = EspNote::Sent { packets: 1, bytes: 100 };
    pair.left.esp_activity(pair.now, spi, note);
    pair.run_for(seconds(2));
    pair.left.esp_activity(pair.now, spi, EspNote::Received { packets: 1, bytes: 100 });
    pair.run_for(seconds(600));
    assert_eq!(sent_checks(&pair), 0, "what was sent was answered");
    pair.left.esp_activity(pair.now, spi, note);
    pair.run_for(seconds(9));
    assert_eq!(sent_checks(&pair), 0, "not before the interval is over");
    pair.run_for(seconds(600));
    assert_eq!(sent_checks(&pair), 1, "traffic that nothing answered asks once");
}

#[test]
fn a_dead_peers_tunnel_comes_back_at_once_or_with_traffic() {
    for action in [DpdAction::Restart, DpdAction::Hold] {
        let spec = DpdSpec { action, ..DpdSpec::new(seconds(5), DpdMode::Periodic) };
        let mut pair = up(spec);
        silence(&mut pair, seconds(5 + 61));
        assert_eq!(death(&pair).map(|(.., action)| action), Some(action));
        let restarted = pair.said(End::Left).any(|e| matches!(e, Event::Restarting));
        assert_eq!(restarted, action == DpdAction::Restart);
        if action == DpdAction::Hold {
            assert!(pair.left.wanted(pair.now, TunnelId(2)).is_none(), "another tunnel's traffic does not matter");
            assert!(pair.left.wanted(pair.now, TunnelId(1)).is_some());
            assert!(pair.left.wanted(pair.now, TunnelId(1)).is_none(), "once");
            pair.collect();
        }
        pair.events.clear();
        pair.settle();
        pair.run_for(seconds(3));
        assert!(pair.is_up(End::Left) && pair.is_up(End::Right), "{action:?}");
        let tunnel = pair.left.sas().iter().find(|sa| sa.established).map(|sa| sa.tunnel);
        assert_eq!(tunnel, Some(TunnelId(1)), "the same tunnel");
    }
}

/// RFC 7296 2.21.4: an unprotected INVALID_IKE_SPI may be anybody's, so it only makes us ask, and not often.
#[test]
fn an_unprotected_hint_makes_us_ask_and_not_believe() {
    let mut pair = up(DpdSpec::new(seconds(600), DpdMode::Periodic));
    let view = pair.left.sas()[0].clone();
    let hint = |kind| {
        let header = Header {
            spi_i: view.spis.0,
            spi_r: view.spis.1,
            exchange: ExchangeType::INFORMATIONAL,
            flags: Flags::of(false, false),
            message_id: 0,
            ..pair_header(&pair)
        };
        let notify = Payload::Notify(NotifyPayload::new(kind));
        let message = Message { header, outer: vec![notify], sk: None };
        let mut bytes = Vec::new();
        ikelab::wire::encode_into(&mut bytes, &message, None);
        bytes
    };
    let (harmless, serious) = (hint(NotifyType::INVALID_SYNTAX), hint(NotifyType::INVALID_IKE_SPI));
    let path = pair.said(End::Left).find_map(|e| match e {
        Event::Message(m) if m.from == Side::Peer => Some(m.path),
        _ => None,
    });
    let path = path.expect("something came");
    let give = |pair: &mut Pair, bytes: &[u8]| {
        pair.left.handle_datagram(pair.now, path, &mut bytes.to_vec());
        pair.collect();
        pair.settle();
    };
    give(&mut pair, &harmless);
    assert_eq!(sent_checks(&pair), 0);
    for _ in 0..50 {
        give(&mut pair, &serious);
    }
    assert_eq!(sent_checks(&pair), 1, "fifty hints are one question");
    pair.run_for(seconds(6));
    give(&mut pair, &serious);
    assert_eq!(sent_checks(&pair), 2);
    assert!(pair.left.sas().iter().any(|sa| sa.established), "and nothing is believed");
}

/// The header of some message from the right end, to be changed.
fn pair_header(pair: &Pair) -> Header {
    pair.said(End::Left)
        .find_map(|e| match e {
            Event::Message(m) if m.from == Side::Peer && m.message.header.exchange == ExchangeType::IKE_AUTH => {
                Some(m.message.header)
            }
            _ => None,
        })
        .expect("IKE_AUTH was answered")
}

#[test]
fn a_live_peer_is_never_taken_for_dead() {
    let mut pair = up(DpdSpec::new(seconds(1), DpdMode::Periodic));
    pair.run_for(seconds(3600));
    assert_eq!(death(&pair), None);
    assert!(pair.flight.iter().all(|f| f.transmit.class == Class::Ike));
    assert!(sent_checks(&pair) > 1000);
}

/// On demand the time runs from the first traffic that nothing answered, whatever went on before.
#[test]
fn on_demand_a_dead_peer_is_noticed_when_it_was_said_to_be() {
    let quick = RetransmitSpec {
        initial: seconds(1),
        factor_percent: 100,
        max_wait: seconds(1),
        attempts: 3,
        jitter_percent: 0,
    };
    let spec = DpdSpec { retransmit: Some(quick), ..DpdSpec::new(seconds(10), DpdMode::OnDemand) };
    let expected = spec.detection(&RetransmitSpec::default());
    assert_eq!(expected, seconds(13));
    for busy in [true, false] {
        let mut pair = up(spec.clone());
        let spi = pair.left.sas()[0].children[0].spi_in;
        let sent = EspNote::Sent { packets: 1, bytes: 100 };
        if busy {
            for _ in 0..127 {
                pair.left.esp_activity(pair.now, spi, sent);
                pair.run_for(Duration::from_millis(20));
                pair.left.esp_activity(pair.now, spi, EspNote::Received { packets: 1, bytes: 100 });
                pair.run_for(Duration::from_millis(80));
            }
        } else {
            pair.run_for(seconds(1000));
        }
        let first = pair.now;
        for _ in 0..140 {
            pair.left.esp_activity(pair.now, spi, sent);
            silence(&mut pair, Duration::from_millis(100));
            if death(&pair).is_some() {
                break;
            }
        }
        let (said, measured, _) = death(&pair).expect("it is noticed");
        assert_eq!(said, Some(expected));
        assert!(measured.abs_diff(expected) < Duration::from_millis(50), "busy {busy}: {measured:?}");
        assert!(pair.now.since(first).abs_diff(expected) <= Duration::from_millis(100), "by the clock");
    }
}
