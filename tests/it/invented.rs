//! Requests that a fault has invented: the peer takes their message ids, and the honest engine goes on behind them.

use std::time::Duration;

use ikelab::engine::{Command, Event, IgnoredWhy};
use ikelab::fault::{FaultPlan, Rule};
use ikelab::seed::PlanSeed;
use ikelab::wire::registry::ExchangeType;

use crate::faults::world::rule;
use crate::pair::{End, Pair, config, left_spec, right_spec};

/// A tunnel between an end with these rules and one with those, some time after it came up.
fn tunnel(bent: End, rules: Vec<Rule>, other: Vec<Rule>) -> Pair {
    let mut pair = Pair::new(config(vec![], 1), config(vec![right_spec()], 2));
    let plan = |rules| Box::new(FaultPlan::new(rules, &PlanSeed::from_text("invented")));
    pair.end(bent).set_tamper(plan(rules));
    pair.end(bent.other()).set_tamper(plan(other));
    pair.connect(left_spec());
    pair.settle();
    assert!(pair.is_up(End::Left) && pair.is_up(End::Right));
    pair.run_for(Duration::from_millis(1_500));
    pair
}

/// The message ids of this end's protected requests behind IKE_AUTH, in the order in which they left.
fn asked(pair: &Pair, end: End) -> Vec<u32> {
    let asked = |event: &Event| match event {
        Event::Message(trace) if trace.from == ikelab::engine::Side::Us => {
            let header = &trace.message.header;
            let late = ![ExchangeType::IKE_SA_INIT, ExchangeType::IKE_AUTH].contains(&header.exchange);
            (late && !header.flags.is_response() && trace.message.sk.is_some()).then_some(header.message_id)
        }
        _ => None,
    };
    pair.said(end).filter_map(asked).collect()
}

/// Asks whether the peer lives; how long the answer took, if one came within `patience`.
fn liveness(pair: &mut Pair, end: End, patience: Duration) -> Option<Duration> {
    let now = pair.now;
    let sa = pair.end(end).sas().into_iter().find(|sa| sa.established).expect("the IKE SA is up").sa;
    pair.end(end).command(now, sa, Command::Liveness).expect("it takes orders");
    pair.collect();
    pair.settle();
    pair.run_for(patience);
    pair.said(end).find_map(|event| match event {
        Event::Alive { rtt } => Some(*rtt),
        _ => None,
    })
}

#[test]
fn an_honest_request_goes_behind_invented_ones_that_were_answered() {
    for (name, count) in [("delete-unknown-child", 1), ("unknown-exchange-request", 1), ("requests-at-once", 5)] {
        for (end, first) in [(End::Left, 2), (End::Right, 0)] {
            let mut pair = tunnel(end, vec![rule(name, &[], None, Some(1))], Vec::new());
            let invented: Vec<u32> = (first..first + count).collect();
            assert_eq!(asked(&pair, end), invented, "{name}");
            let answer = liveness(&mut pair, end, Duration::ZERO);
            assert_eq!(answer, Some(Duration::ZERO), "{name}: answered at once");
            assert_eq!(asked(&pair, end), (first..=first + count).collect::<Vec<_>>(), "{name}: the next id");
            let other = if end == End::Left { &pair.right } else { &pair.left };
            assert_eq!(other.counters().ignored(IgnoredWhy::Repeat), 0, "{name}: taken for no repeat");
        }
    }
}

#[test]
fn two_rules_do_not_invent_the_same_id() {
    let rules = vec![
        rule("delete-unknown-child", &[], None, Some(1)),
        rule("request-beyond-window", &[], None, Some(1)),
        rule("requests-at-once", &[("count", "2")], None, Some(1)),
    ];
    let mut pair = tunnel(End::Left, rules, Vec::new());
    assert_eq!(asked(&pair, End::Left), [2, 1000, 3, 4], "the wrong one stays as it was asked for");
    assert!(liveness(&mut pair, End::Left, Duration::ZERO).is_some());
    assert_eq!(asked(&pair, End::Left).last(), Some(&5));
}

/// The peer does not answer: it has not taken the id, and the next honest request has it, as soon as we would have asked
/// again.
#[test]
fn an_id_that_was_not_taken_is_used_again() {
    let deaf = rule("no-liveness", &[], None, Some(1));
    let mut pair = tunnel(End::Left, vec![rule("delete-unknown-child", &[], None, Some(1))], vec![deaf]);
    assert_eq!(asked(&pair, End::Left), [2]);
    assert!(liveness(&mut pair, End::Left, Duration::ZERO).is_some(), "after a second nobody waits any more");
    assert_eq!(asked(&pair, End::Left), [2, 2]);

    // Asked at once, it waits until then.
    let deaf = rule("no-liveness", &[], None, Some(1));
    let late = rule("invent-delete", &[("after", "1400ms")], None, Some(1));
    let mut pair = tunnel(End::Left, vec![late], vec![deaf]);
    assert_eq!(asked(&pair, End::Left), [2]);
    assert_eq!(liveness(&mut pair, End::Left, Duration::ZERO), None, "first it is to be known who has the id");
    assert_eq!(asked(&pair, End::Left), [2]);
    pair.run_for(Duration::from_secs(1));
    assert_eq!(asked(&pair, End::Left), [2, 2]);
    assert!(pair.said(End::Left).any(|event| matches!(event, Event::Alive { .. })));
}

/// What is not protected, what is a response, and what has another id on purpose takes none of ours.
#[test]
fn a_wrong_id_stays_wrong() {
    for name in ["forged-delete", "stray-notify", "unasked-response", "request-beyond-window", "reused-message-id"] {
        let mut pair = tunnel(End::Left, vec![rule(name, &[], None, Some(1))], Vec::new());
        let before = asked(&pair, End::Left).len();
        assert_eq!(liveness(&mut pair, End::Left, Duration::ZERO), Some(Duration::ZERO), "{name}");
        assert_eq!(asked(&pair, End::Left)[before..], [2], "{name}");
    }
}
