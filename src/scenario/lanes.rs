//! A plan played by several benches at once, each with its own addresses, peer and clock, and one result made of theirs.

use std::io;
use std::sync::mpsc::channel;

use super::result::{CaseResult, RunResult, Summary};
use super::suite::{Plan, Planned, Progress};
use super::verdict::Verdict;

/// Makes a bench, plays a part of a plan on it, fills the result, and says each case as it comes.
pub type Lane<'a> = Box<dyn FnOnce(&Plan<'_>, RunResult, &mut dyn Progress) -> io::Result<RunResult> + Send + 'a>;

/// What a lane says.
enum Said {
    Case(usize, Box<CaseResult>),
    Done(Box<io::Result<RunResult>>),
}

struct Speaker<'a> {
    lane: usize,
    to: &'a std::sync::mpsc::Sender<Said>,
}

impl Progress for Speaker<'_> {
    fn case(&mut self, result: &CaseResult) {
        // Nobody listens any more only when the run has failed.
        let _ = self.to.send(Said::Case(self.lane, Box::new(result.clone())));
    }
}

/// Plays `plan`, each case in the lane that `lane_of` names. Results are told in the plan's order, after the first lane's
/// honest tunnels; of the other lanes' honest tunnels only those that failed.
///
/// # Errors
/// If sockets or files fail in any lane.
pub fn run(
    lanes: Vec<Lane<'_>>,
    plan: &Plan<'_>,
    lane_of: &dyn Fn(usize, &Planned<'_>) -> usize,
    head: RunResult,
    progress: &mut dyn Progress,
) -> io::Result<RunResult> {
    let mut parts: Vec<(Vec<usize>, Plan<'_>)> = Vec::new();
    parts.resize_with(lanes.len(), || (Vec::new(), Plan { cases: Vec::new(), explained: 0, again: plan.again }));
    for (index, planned) in plan.cases.iter().enumerate() {
        let (order, part) = &mut parts[lane_of(index, planned)];
        order.push(index);
        part.cases.push(*planned);
    }
    let mut book = Book::new(plan.cases.len());
    let mut ends: Vec<RunResult> = Vec::new();
    let mut failed = None;
    std::thread::scope(|scope| {
        let (to, from) = channel();
        for (number, (lane, (_, part))) in lanes.into_iter().zip(&parts).enumerate() {
            if part.cases.is_empty() && number > 0 {
                continue;
            }
            let (to, head) = (to.clone(), head.clone());
            scope.spawn(move || {
                let done = lane(part, head, &mut Speaker { lane: number, to: &to });
                let _ = to.send(Said::Done(Box::new(done)));
            });
        }
        drop(to);
        let mut next = vec![0; parts.len()];
        for said in from {
            match said {
                Said::Case(lane, result) if result.phase.is_some() => {
                    let index = parts[lane].0[next[lane]];
                    next[lane] += 1;
                    book.put(index, *result);
                }
                Said::Case(lane, result) => {
                    if lane == 0 || result.verdict != Verdict::Pass {
                        // What came before a lane's first case comes before everything.
                        let before = if next[lane] == 0 { Some(0) } else { parts[lane].0.get(next[lane]).copied() };
                        book.honest.push((before, *result));
                    }
                }
                Said::Done(done) => match *done {
                    Ok(end) => ends.push(end),
                    Err(error) => failed = Some(error),
                },
            }
            book.tell(progress, false);
        }
    });
    if let Some(error) = failed {
        return Err(error);
    }
    book.tell(progress, true);
    let mut cases = book.told;
    // What was not run was not told.
    cases.extend(
        ends.iter().flat_map(|end| end.cases.iter().filter(|case| case.stopped && case.capture.is_none())).cloned(),
    );
    // A case is told before the honest tunnel after it.
    for case in &mut cases {
        let mut same = ends.iter().flat_map(|end| &end.cases).filter(|other| other.phase.is_some());
        let same = same.find(|other| other.id == case.id && other.role == case.role);
        case.honest_after = case.honest_after.or(same.and_then(|other| other.honest_after));
    }
    let mut whole = head;
    whole.stopped = ends.iter().find_map(|end| end.stopped.clone());
    whole.interrupted = ends.iter().any(|end| end.interrupted);
    whole.summary = Summary { explained: plan.explained, ..Summary::of(&cases, plan.cases.len()) };
    whole.cases = cases;
    Ok(whole)
}

/// Results that came out of order, until it is their turn.
struct Book {
    waiting: Vec<Option<CaseResult>>,
    /// Honest tunnels before the case with this number; behind the last one for `None`.
    honest: Vec<(Option<usize>, CaseResult)>,
    next: usize,
    told: Vec<CaseResult>,
}

impl Book {
    fn new(cases: usize) -> Self {
        Book { waiting: (0..cases).map(|_| None).collect(), honest: Vec::new(), next: 0, told: Vec::new() }
    }

    fn put(&mut self, index: usize, result: CaseResult) {
        self.waiting[index] = Some(result);
    }

    /// Tells what is due; at the end everything that is left.
    fn tell(&mut self, progress: &mut dyn Progress, end: bool) {
        loop {
            let due = self.honest.iter().position(|(before, _)| before.is_some_and(|index| index <= self.next));
            let result = match due {
                Some(at) => self.honest.remove(at).1,
                None => match self.waiting.get_mut(self.next) {
                    Some(slot) if slot.is_some() || end => {
                        self.next += 1;
                        let Some(result) = slot.take() else { continue };
                        result
                    }
                    None if end && !self.honest.is_empty() => self.honest.remove(0).1,
                    _ => return,
                },
            };
            progress.case(&result);
            self.told.push(result);
        }
    }
}
