//! Two runs of failure scenarios beside each other: what the box does otherwise since the one before.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::scenario::file::Role;
use crate::scenario::result::{CaseResult, RunResult};

/// What is different, as text, and whether any verdict is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Comparison {
    /// A line per difference, then how many cases are as they were.
    pub text: String,
    /// Some case has another verdict, or its tunnel afterwards has another fate.
    pub verdicts_differ: bool,
}

/// Compares `new` with the run before it, which is called `name`. Sanity handshakes are left out: each case says whether an
/// honest tunnel came up after it.
pub fn compare(old: &RunResult, name: &str, new: &RunResult) -> Comparison {
    let (before, now) = (cases(old), cases(new));
    let mut text = format!("Compared with {name}\n");
    for (what, was, is) in [
        ("peer", &old.peer.address, &new.peer.address),
        ("baseline", &old.baseline, &new.baseline),
        ("program", &old.tool, &new.tool),
    ] {
        if was != is {
            writeln!(text, "     another {what}: {is}, was {was}").expect("a String takes any text");
        }
    }
    let (mut same, mut verdicts, mut otherwise, mut missing) = (0, 0, 0, Vec::new());
    for (key @ (id, role), case) in &now {
        let Some(past) = before.get(key) else {
            missing.push(format!("{:>12} {id} {role}", "only now"));
            continue;
        };
        let (was, is) = (fate(past), fate(case));
        if was != is {
            verdicts += 1;
            writeln!(text, "{:>12} {id} {role}: {was} -> {is}", "CHANGED").expect("a String takes any text");
        } else if outcome(past) != outcome(case) {
            otherwise += 1;
            writeln!(text, "{:>12} {id} {role}: {is}", "otherwise").expect("a String takes any text");
        } else {
            same += 1;
            continue;
        }
        for (label, case) in [("was", past), ("is", case)] {
            writeln!(text, "{:14}{label:<14}{}", "", outcome(case)).expect("a String takes any text");
        }
    }
    let gone = before.keys().filter(|key| !now.contains_key(*key));
    missing.extend(gone.map(|(id, role)| format!("{:>12} {id} {role}", "only before")));
    missing.iter().for_each(|line| text.push_str(&format!("{line}\n")));
    let once = missing.len();
    writeln!(
        text,
        "     Summary {same} as before, {verdicts} with another verdict, {otherwise} with the same verdict by another answer, \
         {once} in one run only"
    )
    .expect("a String takes any text");
    Comparison { text, verdicts_differ: verdicts > 0 }
}

/// By id and role; a case that was repeated counts as it ended.
fn cases(run: &RunResult) -> BTreeMap<(&str, Role), &CaseResult> {
    let cases = run.cases.iter().filter(|case| case.phase.is_some() && !case.stopped);
    cases.map(|case| ((case.id.as_str(), case.role), case)).collect()
}

/// The verdict, and what became of the honest tunnel after it, if none came up.
fn fate(case: &CaseResult) -> String {
    let ill = if case.honest_after == Some(false) { ", and no honest tunnel after it" } else { "" };
    format!("{}{ill}", case.verdict.label())
}

/// What was seen, without the numbers of packets: they say when something came.
fn outcome(case: &CaseResult) -> String {
    let seen = case.actual.as_deref().unwrap_or(&case.detail);
    let mut out = String::new();
    let mut rest = seen;
    while let Some((head, tail)) = rest.split_once(" (packet") {
        out.push_str(head);
        rest = tail.split_once(')').map_or("", |(_, after)| after);
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::sample::sample;
    use crate::scenario::verdict::Verdict;

    #[test]
    fn a_run_is_as_itself() {
        let run = sample();
        let count = cases(&run).len();
        let same = compare(&run, "runs/old", &run);
        assert!(!same.verdicts_differ && count > 2);
        assert_eq!(
            same.text,
            format!(
                "Compared with runs/old\n     Summary {count} as before, 0 with another verdict, 0 with the same verdict by \
                 another answer, 0 in one run only\n"
            )
        );
    }

    #[test]
    fn what_the_box_does_otherwise_is_named() {
        let (old, mut new) = (sample(), sample());
        let at = |id: &str| old.cases.iter().position(|case| case.id == id).unwrap();
        let [first, second, third] = ["sa-init/no-proposal-encr", "child/ts-mask-wider", "path/udp-500-silent"].map(at);
        // Another number of packet alone is no difference.
        assert_eq!(new.cases[first].verdict, Verdict::Reproduced);
        new.cases[first].detail = new.cases[first].detail.replace("(packet 4)", "(packet 6, again)");
        assert!(compare(&old, "o", &new).text.contains(" 0 with another verdict, 0 with the same verdict"));
        new.cases[first].detail = "the peer answers INVALID_SYNTAX (packet 4)".into();
        let otherwise = compare(&old, "o", &new);
        assert!(!otherwise.verdicts_differ);
        assert!(
            otherwise.text.contains("   otherwise sa-init/no-proposal-encr initiator: REPRODUCED\n"),
            "{}",
            otherwise.text
        );
        assert!(otherwise.text.contains("is            the peer answers INVALID_SYNTAX\n"), "{}", otherwise.text);

        new.cases[first].honest_after = Some(false);
        new.cases[second].verdict = Verdict::Reproduced;
        // Whatever stopped it, it was not played to its end.
        new.cases[third].stopped = true;
        new.baseline = "other.yaml".into();
        let changed = compare(&old, "o", &new);
        assert!(changed.verdicts_differ);
        let text = changed.text;
        assert!(text.contains("REPRODUCED -> REPRODUCED, and no honest tunnel after it\n"), "{text}");
        assert!(text.contains("     CHANGED child/ts-mask-wider initiator: NOT SEEN -> REPRODUCED\n"), "{text}");
        assert!(text.contains("     another baseline: other.yaml, was isr-to-pan.yaml\n"), "{text}");
        assert!(text.contains(" only before path/udp-500-silent responder\n"), "{text}");
        assert!(text.contains(" 2 with another verdict") && text.ends_with("1 in one run only\n"), "{text}");
    }
}
