//! What the times of messages tell: a blocked port, a silent refusal, loss; and whether outages follow a clock.

use std::time::Duration;

use super::{Cause, Facts};
use crate::engine::{AuthSpec, ConnectionSpec, Failed, Failure, LocalFault};
use crate::time::{Instant, UnixTime};
use crate::wire::IdPayload;
use crate::wire::registry::{ExchangeType, IdType, NotifyType};

/// An IKE message up to this long fits any path with its headers, unfragmented (the IPv6 minimum of 1280, RFC 7383 2.5.1).
const FITS_ANY_PATH: usize = 1280 - 40 - 8 - 4;

/// Ranks the general causes by what the transcript says for and against them, and says what that is.
pub(super) fn weigh(causes: Vec<Cause>, failed: &Failed, facts: &Facts, spec: &ConnectionSpec) -> Vec<Cause> {
    let mut causes = causes;
    for cause in extra(failed, facts, spec) {
        causes.retain(|c| c.code != cause.code);
        causes.insert(0, cause);
    }
    if causes.iter().any(rules_out) {
        causes.retain(rules_out);
    }
    let mut weighed: Vec<(i32, Cause)> = causes
        .into_iter()
        .filter_map(|mut cause| {
            let (weight, because) = evidence(cause.code, failed, facts)?;
            cause.because = cause.because.or(because);
            Some((weight, cause))
        })
        .collect();
    // Stable: what the transcript does not speak about stays in the order of experience.
    weighed.sort_by_key(|(weight, _)| -weight);
    weighed.into_iter().map(|(_, cause)| cause).collect()
}

/// A cause that stands for itself, if it is the only one.
pub(super) fn is_proved(cause: &Cause) -> bool {
    matches!(cause.code, "path_rejected" | "peer_forgot" | "no_ikev2")
}

/// A cause beside which those that explain silence are none.
fn rules_out(cause: &Cause) -> bool {
    cause.code == "not_listening" || is_proved(cause)
}

/// Causes that only the transcript can suggest.
fn extra(failed: &Failed, facts: &Facts, spec: &ConnectionSpec) -> Vec<Cause> {
    let mut causes = Vec::new();
    let silent = matches!(failed.why, Failure::NoAnswer { .. });
    if silent && let Some(said) = &facts.rejected {
        let text = "a router or a filter on the way does not let it through, and says so".to_owned();
        causes.push(Cause::because("path_rejected", text, format!("ICMP: {said}")));
    } else if silent && facts.port_closed {
        let port = if facts.floated { spec.remote_ports.natt } else { spec.remote_ports.ike };
        let since = if facts.up { "any more: IKE there was stopped" } else { "there: IKE is not running" };
        // The last becomes the first: causes are put before those known already.
        let filter = format!("a filter before it rejects UDP {port} with the same ICMP message");
        causes.push(Cause::plain("path_rejected", &filter));
        let text = format!("nothing listens on UDP {port} {since}, or not enabled on that interface");
        causes.push(Cause::because("not_listening", text, "ICMP port unreachable came back".into()));
    }
    let (at_once, after_repeats) = facts.answered;
    if silent && after_repeats > 0 {
        let text = "loss on the path: messages arrive in part".to_owned();
        let because =
            format!("{after_repeats} of {} earlier requests were answered only after repeats", at_once + after_repeats);
        causes.push(Cause::because("path_loss", text, because));
    }
    causes.extend(outages(facts));
    causes.extend(own_certificate(failed, spec));
    causes
}

/// A peer that refuses us may do so for what we can see ourselves: our certificate does not hold the identity that we claim.
fn own_certificate(failed: &Failed, spec: &ConnectionSpec) -> Option<Cause> {
    let refused = matches!(&failed.why, Failure::Rejected { notify: NotifyType::AUTHENTICATION_FAILED, .. });
    let AuthSpec::Certificate(credential) = &spec.local_auth else { return None };
    let names = credential.leaf().holds(&spec.local_id).err().filter(|_| refused)?;
    let names = if names.is_empty() { "nobody".to_owned() } else { names.join(", ") };
    let text = format!("our certificate does not hold \"{}\", which we say that we are", spec.local_id);
    Some(Cause::because("identity", text, format!("it names {names}")))
}

/// How much speaks for a cause, and what; `None` rules it out.
fn evidence(code: &str, failed: &Failed, facts: &Facts) -> Option<(i32, Option<String>)> {
    let says = |weight: i32, text: String| Some((weight, Some(text)));
    let asked = facts.asked.filter(|a| a.exchange == failed.exchange && !a.answered);
    let half_open = matches!(failed.why, Failure::Local(LocalFault::HalfOpenExpired));
    let init_silence = matches!(failed.why, Failure::NoAnswer { .. }) && failed.exchange == ExchangeType::IKE_SA_INIT;
    match code {
        "path_ike" | "wrong_address" | "no_entry" if init_silence && facts.received > 0 => {
            // A cookie or a group came back: the path and the address are right.
            if code == "no_entry" {
                return says(1, "it answered before, and then no more".into());
            }
            None
        }
        "path_ike" if init_silence => says(1, format!("{} transmissions, nothing came back", facts.sent)),
        "no_proposal_silent" if facts.received > 0 => says(2, "the peer was heard before, so the path is open".into()),
        "path_natt" if half_open && facts.peer_repeats.0 > 0 => None,
        "path_natt" if half_open => says(1, "the peer did not repeat IKE_SA_INIT, so it had our answer".into()),
        "path_natt" => match asked {
            Some(asked) if asked.natt => {
                says(2, "the port for IKE_SA_INIT works, and nothing ever came from the NAT-T port".into())
            }
            _ => Some((0, None)),
        },
        "answer_lost" if facts.peer_repeats.0 > 0 => {
            says(3, format!("the peer repeated IKE_SA_INIT {} times after our answer", facts.peer_repeats.0))
        }
        "answer_lost" => None,
        "fragment_lost" if facts.too_long => says(3, "a message was longer than the path carries in one packet".into()),
        "fragment_lost" => match asked {
            Some(asked) if asked.len <= FITS_ANY_PATH => None,
            Some(asked) if asked.len > 1400 => {
                says(3, format!("our {} has {} octets, more than one packet holds", failed.exchange, asked.len))
            }
            _ => Some((0, None)),
        },
        "silent_fault" => match asked {
            Some(asked) if !asked.natt => says(2, "the path is open: IKE_SA_INIT used the same ports".into()),
            Some(_) => Some((1, None)),
            None => Some((0, None)),
        },
        "peer_restarted" => {
            let strays: u32 = facts
                .ignored
                .iter()
                .filter(|(why, _)| why.contains("unprotected") || why.contains("not protected"))
                .map(|i| i.1)
                .sum();
            match (strays, facts.peer_notify) {
                (1.., _) => {
                    says(3, "something answered without protection, as a box does that has forgotten its keys".into())
                }
                (0, Some(NotifyType::INVALID_IKE_SPI | NotifyType::INVALID_SPI)) => {
                    says(3, "it said that it does not know the SPI".into())
                }
                _ => Some((0, None)),
            }
        }
        "nat_mapping" => match facts.nat {
            Some(nat) if nat.us || nat.peer => says(1, "there is a NAT on the way".into()),
            Some(nat) if nat.peer_detects => None,
            _ => Some((0, None)),
        },
        "identity_nat" if !facts.peer_id.as_ref().is_none_or(is_address) => None,
        "identity_nat" => match facts.nat {
            Some(nat) if nat.peer => says(1, "the peer is behind a NAT".into()),
            Some(nat) if nat.peer_detects => None,
            _ => Some((0, None)),
        },
        "path_loss" if facts.answered.1 > 0 => Some((4, None)),
        "eap_delay" => says(5, "answers to IKE_AUTH came until then".into()),
        "outage_clock" | "outage_period" | "outage_lifetime" | "outage_random" => Some((5, None)),
        _ => Some((0, None)),
    }
}

fn is_address(id: &IdPayload) -> bool {
    matches!(id.kind, IdType::ID_IPV4_ADDR | IdType::ID_IPV6_ADDR)
}

/// Lines for "what we know": loss, and when outages were.
pub(super) fn known(failed: &Failed, facts: &Facts, lines: &mut Vec<String>) {
    let (at_once, after_repeats) = facts.answered;
    if matches!(failed.why, Failure::NoAnswer { .. } | Failure::Local(LocalFault::HalfOpenExpired)) {
        if at_once + after_repeats > 0 {
            let repeats = if after_repeats == 0 {
                String::new()
            } else {
                format!(", {after_repeats} of them only after repeats")
            };
            lines.push(format!("{} earlier requests were answered{repeats}", at_once + after_repeats));
        }
        if let Some(asked) = facts.asked.filter(|a| !a.answered) {
            lines.push(format!("the unanswered request has {} octets", asked.len));
        }
    }
    if facts.outages.len() > 1 {
        lines.push(format!("the peer went quiet {} times in this run", facts.outages.len()));
    }
}

/// What a series of outages follows.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Pattern {
    /// A wall clock: every `every`, always about `at` after a whole one since midnight UTC.
    Clock {
        /// From one to the next: a part of a day.
        every: Duration,
        /// After midnight, or after each whole `every` since then.
        at: Duration,
    },
    /// A period that no clock shows.
    Period(Duration),
    /// The age of the IKE SA.
    Age(Duration),
    /// Nothing that is seen here.
    Random,
}

/// The fewest outages of which anything is said.
pub const FEWEST: usize = 3;

/// The periods of things that run by a clock: cron jobs, backups, schedules.
const CLOCKS: [u64; 15] =
    [60, 120, 300, 600, 900, 1200, 1800, 3600, 7200, 10_800, 14_400, 21_600, 28_800, 43_200, 86_400];

/// What outages that began at `begins` follow, after IKE SAs that came up at `ups`; `None` for fewer than [`FEWEST`].
///
/// A period needs every interval to be a whole number of it, to within a twentieth (at most 5 s): what is seen of an
/// outage's begin is the last sign of life before it. A period of the clock needs the begins to stand at the same place of
/// the hour or the day, too, and that place to be a whole minute: a timer that began with the tunnel has no reason to.
pub fn pattern(begins: &[Instant], ups: &[Instant], epoch: UnixTime) -> Option<Pattern> {
    let seconds = |t: &Instant| t.0 as f64 / 1e9;
    if begins.len() < FEWEST {
        return None;
    }
    let begins: Vec<f64> = begins.iter().map(seconds).collect();
    let gaps: Vec<f64> = begins.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let slack = |period: f64| (period / 20.0).min(5.0);
    let fits = |period: f64| {
        gaps.iter().all(|gap| {
            let whole = (gap / period).round();
            whole >= 1.0 && (gap - whole * period).abs() <= slack(period)
        })
    };
    let shortest = gaps.iter().copied().fold(f64::INFINITY, f64::min);
    let wall = epoch.0 as f64 / 1e9;
    for every in CLOCKS.into_iter().rev().map(|s| s as f64).filter(|s| *s <= shortest + slack(*s)) {
        let place = |begin: &f64| (wall + begin).rem_euclid(every);
        let first = place(&begins[0]);
        let apart = |other: f64| ((other - first + every / 2.0).rem_euclid(every) - every / 2.0).abs();
        let at = (first / 60.0).round() * 60.0;
        let on_the_minute = (first - at).abs() <= 5.0;
        if fits(every) && on_the_minute && begins.iter().all(|b| apart(place(b)) <= slack(every)) {
            return Some(Pattern::Clock {
                every: Duration::from_secs_f64(every),
                at: Duration::from_secs_f64(at.rem_euclid(every)),
            });
        }
    }
    // The age of the IKE SA at each outage.
    let ages: Vec<f64> =
        begins.iter().filter_map(|begin| ups.iter().map(seconds).rfind(|up| up < begin).map(|up| begin - up)).collect();
    if ages.len() == begins.len() {
        let mean = ages.iter().sum::<f64>() / ages.len() as f64;
        // Where every IKE SA comes up right after the outage before, its age is the period: the age says more.
        if mean > 10.0 && ages.iter().all(|age| (age - mean).abs() <= slack(mean)) {
            return Some(Pattern::Age(Duration::from_secs_f64(mean)));
        }
    }
    let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
    if mean > 10.0 && gaps.iter().all(|gap| (gap - mean).abs() <= slack(mean)) {
        return Some(Pattern::Period(Duration::from_secs_f64(mean)));
    }
    Some(Pattern::Random)
}

fn outages(facts: &Facts) -> Option<Cause> {
    let pattern = pattern(&facts.outages, &facts.ups, facts.epoch?)?;
    let words = crate::vendor::words::duration_words;
    let whole = |d: Duration| words(Duration::from_secs(d.as_secs_f64().round() as u64));
    let because = |what: &str| format!("{} outages, {what}", facts.outages.len());
    Some(match pattern {
        Pattern::Clock { every, at } => Cause::because(
            "outage_clock",
            format!("something that runs by the clock: every {}, {} after the whole one", whole(every), whole(at)),
            because("all at the same place of the clock"),
        ),
        Pattern::Age(age) => Cause::because(
            "outage_lifetime",
            format!("a lifetime: the peer goes quiet when the IKE SA is about {} old", whole(age)),
            because("all at the same age of the IKE SA"),
        ),
        Pattern::Period(period) => Cause::because(
            "outage_period",
            format!(
                "something with a period of {} that follows no clock: a timer on the way or at the peer",
                whole(period)
            ),
            because("all as far from each other"),
        ),
        Pattern::Random => Cause::because(
            "outage_random",
            "no schedule: the path, or what happens by chance".into(),
            because("at no regular times"),
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: &[f64]) -> Vec<Instant> {
        seconds.iter().map(|s| Instant((s * 1e9) as u64)).collect()
    }

    /// 2026-11-21 02:21:36 UTC.
    const EPOCH: UnixTime = UnixTime(1_795_227_696_000_000_000);

    #[test]
    fn a_clock_is_told_from_a_timer_from_an_age_and_from_chance() {
        // 02:30:00, 02:45:00, 03:00:01, 03:29:58.
        let quarter = at(&[504.0, 1404.0, 2305.0, 4102.0]);
        let every = Duration::from_secs(900);
        assert_eq!(pattern(&quarter, &[], EPOCH), Some(Pattern::Clock { every, at: Duration::ZERO }));
        // The same intervals from 02:30:24 on stand nowhere on the clock.
        let timer = at(&[528.0, 1428.0, 2328.0, 3228.0]);
        assert!(matches!(pattern(&timer, &[], EPOCH), Some(Pattern::Period(p)) if p.as_secs() == 900));
        // An IKE SA that dies at 600 s, whenever it came up.
        let (ups, ends) = (at(&[0.0, 700.0, 1555.0]), at(&[601.0, 1300.0, 2157.0]));
        assert!(matches!(pattern(&ends, &ups, EPOCH), Some(Pattern::Age(a)) if a.as_secs() == 601));
        assert_eq!(pattern(&at(&[100.0, 317.0, 1290.0, 1411.0]), &[], EPOCH), Some(Pattern::Random));
        assert_eq!(pattern(&at(&[504.0, 1404.0]), &[], EPOCH), None, "two are no pattern");
    }
}
