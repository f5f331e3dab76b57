//! How long a run will take with a peer that behaves as documented.

use std::time::Duration;

use super::expect;
use super::file::{Collision, EventName, Expect, PeerOrder, Role, RoleCase, Sight, Step};
use super::suite::{Plan, Planned};
use crate::engine::RetransmitSpec;

/// A handshake and its end, files included.
const HANDSHAKE: Duration = Duration::from_millis(300);
/// How long a peer takes to begin once it is told to.
const PEER_BEGINS: Duration = Duration::from_secs(1);

/// More than this is long.
const SHORT: Duration = Duration::from_secs(2);
/// What is looked out for longer than this does not come at once.
const PATIENT: Duration = Duration::from_secs(10);

/// What a case asks of the peer: to initiate (`None`), or an order.
pub fn asks(case: &RoleCase, role: Role) -> impl Iterator<Item = Option<PeerOrder>> {
    case.steps.iter().filter_map(move |step| match step {
        Step::PeerInitiates(_) => Some(None),
        Step::Tunnel(_) if role == Role::Responder => Some(None),
        Step::Collide(collide) => Some(match collide.what {
            Collision::Tunnel => None,
            Collision::Child => Some(PeerOrder::RekeyChild),
            Collision::Ike => Some(PeerOrder::RekeyIke),
        }),
        Step::Peer(order) => Some(Some(order.does)),
        _ => None,
    })
}

/// What a plan needs a person for, by `by_hand`: cases that want the peer to initiate, and cases that want only something
/// else of it.
pub fn by_hand(plan: &Plan<'_>, by_hand: &dyn Fn(Option<PeerOrder>) -> bool) -> (usize, usize) {
    let of = |one: &&Planned<'_>, initiates: bool| {
        asks(one.case, one.role).any(|order| order.is_none() == initiates && by_hand(order))
    };
    let initiate = plan.cases.iter().filter(|one| of(one, true)).count();
    (initiate, plan.cases.iter().filter(|one| of(one, false) && !of(one, true)).count())
}

/// All of a plan: cases, the honest tunnels between them, what is waited out (unless the peer can be told to forget,
/// `clears`), by the retransmission times of `retransmit`.
pub fn plan(plan: &Plan<'_>, retransmit: &RetransmitSpec, clears: bool) -> Duration {
    // An honest tunnel before and one after.
    let mut total = 2 * HANDSHAKE;
    for one in &plan.cases {
        total += case(one.case, retransmit);
        if one.scenario.after.sanity {
            total += HANDSHAKE;
            total += one.scenario.settle.filter(|_| !clears).map_or(Duration::ZERO, |span| span.0);
        }
    }
    total
}

/// Whether a case has timers so long that it plays in virtual time where that is possible.
pub fn is_long(found: &RoleCase, retransmit: &RetransmitSpec) -> bool {
    let patient = |step: &Step| match step {
        Step::Expect(expect) => expect.within.0 > PATIENT,
        Step::Wait(wait) => wait.span.0 > SHORT,
        // Only there are such a network and native ESP to be had without privilege.
        Step::Nat(_) | Step::Firewall(_) => true,
        _ => false,
    };
    case(found, retransmit) > SHORT || found.steps.iter().any(patient)
}

fn case(case: &RoleCase, retransmit: &RetransmitSpec) -> Duration {
    let step = |step: &Step| match step {
        Step::Expect(expect) => window(expect, retransmit),
        Step::Wait(wait) => wait.span.0,
        Step::HalfOpen(half) => half.every.map_or(Duration::from_millis(50), |span| span.0) * half.at_most,
        Step::PeerInitiates(_) => PEER_BEGINS,
        Step::Tunnel(_) => HANDSHAKE,
        Step::Ping(ping) => ping.every.map_or(Duration::from_millis(200), |span| span.0) * ping.count as u32,
        _ => Duration::ZERO,
    };
    HANDSHAKE + case.steps.iter().map(step).sum::<Duration>()
}

/// How much of an expectation's window will pass.
fn window(expect: &Expect, retransmit: &RetransmitSpec) -> Duration {
    let Some(lookout) = expect::lookout(expect) else { return expect.within.0 };
    let wait = |one: &Sight| sight(one, retransmit);
    let all = expect.all.iter().map(wait).max().unwrap_or_default();
    let any = expect.any.iter().map(wait).min().unwrap_or_default();
    expect.within.0.min(all.max(any) + lookout)
}

/// When a sight comes: at once, unless it is one of silence.
fn sight(sight: &Sight, retransmit: &RetransmitSpec) -> Duration {
    if sight.event == Some(EventName::Failed) && sight.class.as_deref().is_some_and(is_silence) {
        return waits(retransmit, u32::from(retransmit.attempts));
    }
    if sight.repeat == Some(true) { waits(retransmit, sight.count.unwrap_or(1)) } else { Duration::ZERO }
}

/// A class that shows only when all transmissions have had their time.
fn is_silence(class: &str) -> bool {
    ["no_response", "fragment_lost", "rekey_collision", "dpd_timeout"].contains(&class)
}

/// The first `n` waits between transmissions.
fn waits(retransmit: &RetransmitSpec, n: u32) -> Duration {
    let mut wait = retransmit.initial;
    let mut total = Duration::ZERO;
    for _ in 0..n {
        total += wait.min(retransmit.max_wait);
        wait = wait.min(retransmit.max_wait) * retransmit.factor_percent / 100;
    }
    total
}

/// A duration for people: `40 s`, `1 min 40 s`, `38 min`.
pub fn words(duration: Duration) -> String {
    let seconds = duration.as_millis().div_ceil(1000);
    match (seconds / 60, seconds % 60) {
        (0, seconds) => format!("{seconds} s"),
        (minutes, seconds) if minutes < 10 && seconds > 0 => format!("{minutes} min {seconds} s"),
        (minutes, _) => format!("{minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::file::Role;
    use crate::scenario::load;

    #[test]
    fn silence_costs_the_retransmission_times() {
        let default = RetransmitSpec::default();
        assert_eq!(waits(&default, 6), Duration::from_secs(61));
        assert_eq!(waits(&default, 2), Duration::from_secs(3));
        let of = |id: &str, role| {
            let all = load::embedded().expect("they load");
            let one = all.into_iter().find(|one| one.scenario.id == id).expect("it is there");
            case(one.scenario.roles.get(role).expect("it has the role"), &default)
        };
        // Two repeats come after 1 and 2 seconds, then nothing else is looked out for.
        assert_eq!(of("path/udp-500-silent", Role::Initiator), Duration::from_millis(3000 + 300 + 300));
        // An answer comes at once; an answer that is not there would be silence.
        assert_eq!(of("auth/psk-mismatch", Role::Initiator), Duration::from_millis(300 + 300));
    }

    #[test]
    fn in_words() {
        let words = |millis| words(Duration::from_millis(millis));
        assert_eq!([words(300), words(40_000), words(100_000)], ["1 s", "40 s", "1 min 40 s"]);
        assert_eq!([words(120_000), words(2_280_500)], ["2 min", "38 min"]);
    }
}
