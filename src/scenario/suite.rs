//! A run: sanity first, each scenario with an honest tunnel after it, sanity last. A run that is stopped says of the rest
//! that it was not run.

use std::io;

use super::estimate;
use super::file::{Role, RoleCase, Scenario};
use super::load::LoadedScenario;
use super::result::{CaseResult, RunResult, Summary};
use super::runner::Bench;
use super::verdict::Verdict;
use crate::link::Link;

/// Whoever wants to see results as they come.
pub trait Progress {
    /// A result.
    fn case(&mut self, result: &CaseResult);
}

/// What to run.
pub struct Plan<'a> {
    /// The cases, in order.
    pub cases: Vec<Planned<'a>>,
    /// Scenarios that are explained and have nothing to play.
    pub explained: usize,
    /// How to run a case again: the command line up to the selector.
    pub again: &'a (dyn Fn(&str, Role) -> String + Sync),
}

/// A scenario in one role.
#[derive(Clone, Copy)]
pub struct Planned<'a> {
    /// The scenario.
    pub scenario: &'a Scenario,
    /// Our role.
    pub role: Role,
    /// What that role does.
    pub case: &'a RoleCase,
}

impl<'a> Plan<'a> {
    /// All that `scenarios` have in `roles`.
    pub fn new(
        scenarios: &'a [LoadedScenario],
        roles: &[Role],
        again: &'a (dyn Fn(&str, Role) -> String + Sync),
    ) -> Self {
        let of = |one: &'a LoadedScenario| {
            let scenario = &one.scenario;
            let planned = |role: &Role| Some(Planned { scenario, role: *role, case: scenario.roles.get(*role)? });
            roles.iter().filter_map(planned).collect::<Vec<_>>()
        };
        let explained = scenarios.iter().filter(|one| one.scenario.explained.is_some()).count();
        Plan { cases: scenarios.iter().flat_map(of).collect(), explained, again }
    }

    /// How many scenarios that makes.
    pub fn scenarios(&self) -> usize {
        let mut ids: Vec<&str> = self.cases.iter().map(|planned| planned.scenario.id.as_str()).collect();
        ids.dedup();
        ids.len()
    }
}

/// Runs the plan; `head` comes with everything that is known before and is filled.
///
/// # Errors
/// If sockets or files fail.
pub fn run<L: Link>(
    bench: &mut Bench<L>,
    plan: &Plan<'_>,
    mut head: RunResult,
    progress: &mut dyn Progress,
) -> io::Result<RunResult> {
    let began = bench.now();
    let mut cases: Vec<CaseResult> = Vec::new();
    let mut left: Vec<CaseResult> = Vec::new();
    let mut keep = |cases: &mut Vec<CaseResult>, result: CaseResult| {
        progress.case(&result);
        cases.push(result);
    };
    let first = bench.sanity(Role::Initiator)?;
    let mut healthy = first.verdict == Verdict::Pass;
    keep(&mut cases, first);
    let responds = plan.cases.iter().any(|planned| planned.role == Role::Responder);
    let by_hand = |planned: &Planned<'_>| {
        let asks = estimate::asks(planned.case, planned.role);
        asks.filter(|order| bench.by_hand(*order)).count() as u32
    };
    let asks: Vec<u32> = plan.cases.iter().map(by_hand).collect();
    let mut asked = u32::from(responds && bench.by_hand(None));
    bench.person().will_be_asked(asked + asks.iter().sum::<u32>());
    if responds && healthy && bench.stopped().is_none() {
        let mut result = bench.sanity(Role::Responder)?;
        if result.verdict != Verdict::Pass {
            // The peer is well, as the tunnel before has shown; it only cannot be made to initiate.
            result.detail = format!("as responder: {}", result.detail);
        } else {
            result.detail = format!("{}, begun by the peer", result.detail);
        }
        let failed = result.verdict != Verdict::Pass;
        keep(&mut cases, result);
        if failed && bench.stopped().is_none() {
            healthy = bench.sanity(Role::Initiator)?.verdict == Verdict::Pass;
        }
    }
    for (Planned { scenario, role, case }, asks) in plan.cases.iter().zip(asks) {
        bench.person().was_asked(asked);
        asked += asks;
        if let Some(why) = bench.stopped() {
            let mut result = bench.not_run(scenario, *role, case, why);
            result.again = Some((plan.again)(&scenario.id, *role));
            left.push(result);
            continue;
        }
        let mut result = bench.case(scenario, *role, case)?;
        if matches!(result.verdict, Verdict::NotSeen | Verdict::Inconclusive) {
            result.again = Some((plan.again)(&scenario.id, *role));
        }
        let hostile = result.capture.is_some();
        keep(&mut cases, result);
        if bench.stopped().is_some() {
            continue;
        }
        if hostile && scenario.after.sanity {
            bench.settle(scenario)?;
            if bench.stopped().is_some() {
                continue;
            }
            let sanity = bench.sanity(Role::Initiator)?;
            let passed = sanity.verdict == Verdict::Pass;
            if let (Some(case), false) = (cases.last_mut(), sanity.stopped) {
                case.honest_after = Some(passed);
            }
            // A peer that stays well needs no line; one that falls ill or recovers does.
            if passed != healthy && !sanity.stopped {
                keep(&mut cases, sanity);
            }
            healthy = passed;
        } else if !healthy {
            let sanity = bench.sanity(Role::Initiator)?;
            healthy = sanity.verdict == Verdict::Pass;
            if healthy {
                keep(&mut cases, sanity);
            }
        }
    }
    if bench.stopped().is_none() {
        let mut last = bench.sanity(Role::Initiator)?;
        if last.verdict == Verdict::Pass {
            last.detail = "peer alive after the suite".to_owned();
        }
        keep(&mut cases, last);
    }
    head.stopped = bench.stopped().map(str::to_owned);
    head.interrupted = bench.interrupted();
    // Nobody wants a line for each of them while they wait for the end.
    cases.extend(left);
    head.summary = Summary { explained: plan.explained, ..Summary::of(&cases, plan.cases.len()) };
    head.cases = cases;
    head.seconds = bench.now().since(began).as_secs_f64();
    Ok(head)
}
