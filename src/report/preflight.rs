//! A preflight for people: a line per trial as it ends, what the lifetimes mean, and one sentence at the end.

use std::fmt::Write as _;

use super::paint::{Paint, Tone, wrap};
use crate::engine::Side;
use crate::preflight::outlook::Outlook;
use crate::preflight::{Outcome, Pings, Report, Verdict};

/// Width of the verdict's column.
const VERDICT: usize = 10;
/// Width of the title's column.
const TITLE: usize = 36;

/// The line of a trial, and a second one for its detail.
pub fn outcome(outcome: &Outcome, paint: Paint) -> String {
    let tone = match outcome.verdict {
        Verdict::Worked => Tone::Good,
        Verdict::Noted => Tone::Warn,
        Verdict::Failed => Tone::Bad,
        Verdict::NotTested => Tone::Faint,
    };
    let verdict = paint.tone(tone, &format!("{:>VERDICT$}", outcome.verdict.word()));
    let took = match outcome.verdict {
        Verdict::NotTested => " ".repeat(10),
        _ => format!("[{:>7.3}s]", outcome.took.as_secs_f64()),
    };
    let pings = pings(outcome);
    let mut out = format!("{verdict} {took} {:<TITLE$} {pings}", outcome.trial.title()).trim_end().to_owned();
    out.push('\n');
    if !outcome.detail.is_empty() {
        let indent = VERDICT + 12;
        for line in wrap(&outcome.detail, paint.width.map(|w| w.saturating_sub(indent).max(20))) {
            let _ = writeln!(out, "{:indent$}{}", "", paint.tone(Tone::Faint, &line));
        }
    }
    out
}

/// "ping 3/3, then 3/3".
fn pings(outcome: &Outcome) -> String {
    let count = |p: Pings| format!("{}/{}", p.answered, p.sent);
    match (outcome.before, outcome.after) {
        (Some(before), Some(after)) => format!("ping {} before, {} after", count(before), count(after)),
        (Some(before), None) => format!("ping {} before", count(before)),
        (None, Some(after)) => format!("ping {} after", count(after)),
        (None, None) => String::new(),
    }
}

/// What stands below the trials.
pub fn ending(report: &Report, outlook: &[Outlook], paint: Paint) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "\n{}", paint.tone(Tone::Strong, "Who rekeys first (IKEv2 does not negotiate lifetimes)"));
    for item in outlook {
        let width = paint.width.map(|w| w.saturating_sub(20).max(20));
        for (n, line) in wrap(&item.text, width).iter().enumerate() {
            let label = if n == 0 { item.what.as_str() } else { "" };
            let _ = writeln!(out, "  {label:<17} {line}");
        }
    }
    out.push('\n');
    for (side, name) in [(Side::Us, "our half"), (Side::Peer, "the peer's half")] {
        let of: Vec<&Outcome> = report.outcomes.iter().filter(|o| o.trial.side() == side).collect();
        let count = |verdict: Verdict| of.iter().filter(|o| o.verdict == verdict).count();
        let tried = of.len() - count(Verdict::NotTested);
        let text = if tried == 0 {
            "not tested".to_owned()
        } else {
            let mut parts = vec![format!("{} of {} worked", count(Verdict::Worked), of.len())];
            for (verdict, word) in
                [(Verdict::Failed, "failed"), (Verdict::Noted, "noted"), (Verdict::NotTested, "not tested")]
            {
                let n = count(verdict);
                if n > 0 {
                    parts.push(format!("{n} {word}"));
                }
            }
            parts.join(", ")
        };
        let _ = writeln!(out, "{name:>16}  {text}");
    }
    let data = if !report.data_tested {
        "data not tested: nobody behind the peer is known to answer; --ping ADDR names somebody".to_owned()
    } else {
        match report.data_lost().count() {
            0 => "no echo request was lost".to_owned(),
            n => format!("echo requests were lost around {n} of the trials"),
        }
    };
    let _ = writeln!(out, "{:>16}  {data}", "data");
    let (tone, sentence) = sentence(report);
    let _ = writeln!(out, "\n{}", paint.tone(tone, &sentence));
    out
}

fn sentence(report: &Report) -> (Tone, String) {
    let named = |verdict| {
        let names: Vec<String> = report.with(verdict).map(|o| o.trial.title()).collect();
        names.join(", ")
    };
    if report.with(Verdict::Failed).next().is_some() {
        return (Tone::Bad, format!("x it will not survive tonight: {}", named(Verdict::Failed)));
    }
    if report.data_lost().next().is_some() {
        let names: Vec<String> = report.data_lost().map(|o| o.trial.title()).collect();
        return (Tone::Bad, format!("x the exchanges work, the data does not get through: {}", names.join(", ")));
    }
    if report.complete() {
        return (Tone::Good, "+ everything that tonight brings has just worked, from both sides, with data".into());
    }
    let mut missing: Vec<String> = report.with(Verdict::NotTested).map(|o| o.trial.title()).collect();
    if !report.data_tested {
        missing.push("data".into());
    }
    (Tone::Warn, format!("? nothing failed, and not everything was tried: {}", missing.join(", ")))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::engine::Pfs;
    use crate::preflight::Trial;

    fn report(last: Verdict) -> Report {
        let whole = Some(Pings { sent: 3, answered: 3 });
        let made = |trial, verdict, detail: &str| Outcome {
            trial,
            verdict,
            took: Duration::from_millis(21),
            detail: detail.into(),
            before: whole,
            after: whole,
        };
        Report {
            outcomes: vec![
                Outcome { before: None, ..made(Trial::Connect, Verdict::Worked, "AES_GCM_16_256") },
                made(
                    Trial::RekeyChild { pfs: Pfs::Without, configured: true },
                    last,
                    "the peer answered NO_PROPOSAL_CHOSEN",
                ),
                Outcome {
                    before: None,
                    after: None,
                    ..made(Trial::PeerConnects, Verdict::NotTested, "no control.initiate")
                },
            ],
            data_tested: true,
        }
    }

    #[test]
    fn each_trial_has_a_line_and_the_end_names_what_failed() {
        let bad = report(Verdict::Failed);
        let text: String = bad.outcomes.iter().map(|o| outcome(o, Paint::PLAIN)).collect();
        insta::assert_snapshot!(format!("{text}{}", ending(&bad, &[], Paint::PLAIN)));
    }

    #[test]
    fn what_was_not_tried_is_never_green() {
        let good = report(Verdict::Worked);
        let text = ending(&good, &[], Paint::PLAIN);
        assert!(text.contains("? nothing failed, and not everything was tried: the peer connects"), "{text}");
        let untested = Report { data_tested: false, ..good };
        let text = ending(&untested, &[], Paint::PLAIN);
        assert!(text.contains("data not tested") && text.contains("the peer connects, data"), "{text}");
        let coloured = Paint { colour: true, width: Some(100) };
        assert!(!ending(&untested, &[], coloured).contains("\u{1b}[32m"), "no green anywhere");
    }
}
