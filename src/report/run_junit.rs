//! `ikelab run` for CI: JUnit XML and `result.json`.

use std::fmt::Write as _;

use crate::scenario::result::{CaseResult, RunResult};
use crate::scenario::verdict::Verdict;

/// The run as JUnit XML. What was not seen is a failure, what is inconclusive an error, what is unsupported is skipped:
/// CI must tell a wrong peer from a broken lab.
pub fn junit(run: &RunResult) -> String {
    let count = |wanted: fn(Verdict, bool) -> bool| {
        run.cases.iter().filter(|case| wanted(case.verdict, case.phase.is_none())).count()
    };
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    writeln!(
        xml,
        "<testsuite name=\"ikelab run {}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{:.3}\">",
        escape(&run.peer.address),
        run.cases.len(),
        count(|verdict, _| verdict == Verdict::NotSeen),
        count(|verdict, _| verdict == Verdict::Inconclusive),
        count(|verdict, _| matches!(verdict, Verdict::Unsupported | Verdict::Differs)),
        run.seconds,
    )
    .expect("a String takes any text");
    for case in &run.cases {
        one(&mut xml, case);
    }
    xml.push_str("</testsuite>\n");
    xml
}

fn one(xml: &mut String, case: &CaseResult) {
    let class = case.phase.map_or("sanity", |phase| phase.name());
    let name = format!("{} {}", case.id, case.role);
    write!(xml, "  <testcase classname=\"{class}\" name=\"{}\" time=\"{:.3}\"", escape(&name), case.seconds)
        .expect("a String takes any text");
    let mut body = String::new();
    for (label, value) in [("expected", &case.expected), ("actual", &case.actual), ("again", &case.again)] {
        if let Some(value) = value {
            writeln!(body, "{label}: {value}").expect("a String takes any text");
        }
    }
    let element = match case.verdict {
        Verdict::Pass | Verdict::Reproduced => None,
        Verdict::NotSeen => Some("failure"),
        Verdict::Inconclusive => Some("error"),
        Verdict::Unsupported | Verdict::Differs => Some("skipped"),
    };
    match element {
        None => writeln!(xml, "><system-out>{}</system-out></testcase>", escape(&case.detail)),
        Some(element) => {
            writeln!(xml, "><{element} message=\"{}\">{}</{element}></testcase>", escape(&case.detail), escape(&body))
        }
    }
    .expect("a String takes any text");
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // XML 1.0 has no way to write other control characters.
            c if c.is_control() && !matches!(c, '\n' | '\t') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// The run as JSON, with a final newline.
pub fn json(run: &RunResult) -> String {
    let mut text = serde_json::to_string_pretty(run).expect("results hold nothing that JSON lacks");
    text.push('\n');
    text
}
