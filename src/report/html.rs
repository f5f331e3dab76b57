//! A finished run as one HTML page: no other file, no network, readable on a phone and on paper.

use std::fmt::Write as _;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::run_text::{FIX_NOTE, FTD_NOTE, notes_for};
use crate::scenario::file::{Role, VendorName, Who};
use crate::scenario::result::{CaseResult, RunResult, VendorFix};
use crate::scenario::rung::{Rung, RungKind, WITHHELD};
use crate::scenario::runner::PEER_LOG;
use crate::scenario::verdict::Verdict;
use crate::time::utc_text;
use crate::vendor::commands;

const STYLE: &str = include_str!("html.css");

/// Opens every case before printing, and the one that a link leads to.
const SCRIPT: &str = "const all=document.querySelectorAll('details');\
     addEventListener('beforeprint',()=>all.forEach(d=>{d.dataset.was=d.open?1:'';d.open=true}));\
     addEventListener('afterprint',()=>all.forEach(d=>d.open=!!d.dataset.was));\
     const go=()=>{const d=location.hash&&document.getElementById(decodeURIComponent(location.hash.slice(1)));if(d){d.open=true;d.scrollIntoView()}};\
     addEventListener('hashchange',go);go();";

/// The page.
pub fn page(run: &RunResult) -> String {
    let title = format!("ikelab run: {}", run.peer.address);
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (head(run))
                (index(run))
                main {
                    @for (n, case) in run.cases.iter().enumerate() { (one(run, n, case)) }
                }
                footer {
                    (run.tool) " · result version " (run.version) " · log lines: observed in a published capture or log, \
                    documented by the vendor, or inferred"
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    markup.into_string()
}

fn head(run: &RunResult) -> Markup {
    let s = &run.summary;
    let counts = [
        (s.reproduced, "reproduced", "good"),
        (s.not_seen, "not seen", "bad"),
        (s.inconclusive, "inconclusive", "doubt"),
        (s.unsupported, "unsupported", "dim"),
        (s.differs, "not this persona", "dim"),
        (s.sanity_failed, "honest tunnels failed", "bad"),
    ];
    html! {
        header {
            h1 { "ikelab run" }
            p.counts {
                @for (count, words, class) in counts {
                    @if count > 0 { span class=(format!("chip {class}")) { (count) " " (words) } " " }
                }
                span.dim {
                    (s.run) "/" (s.chosen) " run"
                    @if s.explained > 0 { ", " (s.explained) " explained, nothing to play" }
                }
            }
            dl {
                dt { "Peer" } dd { (run.peer.address) }
                dt { "Baseline" } dd { (run.baseline) }
                dt { "Plan seed" } dd { code { (run.plan_seed) } }
                dt { "Began" } dd { (utc_text(run.started_unix_ms.saturating_mul(1_000_000))) ", " (format!("{:.1}", run.seconds)) " s" }
            }
            @for note in &run.peer.notes { p.note { (note) } }
            @if let Some(why) = &run.stopped { p.note.warn { "Stopped early: " (why) } }
            @if run.interrupted { p.note.warn { "Interrupted: nothing is said about what was not run." } }
            @if run.security.keys_exported {
                p.note.warn { "Keys were written to the run directory: whoever has it can decrypt the captures." }
            }
        }
    }
}

/// One line per case, with a link to it.
fn index(run: &RunResult) -> Markup {
    html! {
        nav aria-label="Cases" {
            table {
                @for (n, case) in run.cases.iter().enumerate() {
                    tr {
                        td { (chip(case.verdict)) }
                        td { a href=(format!("#{}", anchor(n, case))) { (name(case)) } }
                        td.detail { (case.detail) }
                    }
                }
            }
        }
    }
}

fn one(run: &RunResult, n: usize, case: &CaseResult) -> Markup {
    // What went well is folded away: a reader looks for the rest first.
    let open = !matches!(case.verdict, Verdict::Pass | Verdict::Reproduced | Verdict::Unsupported | Verdict::Differs);
    html! {
        details.case id=(anchor(n, case)) open[open] {
            summary {
                (chip(case.verdict)) " " strong { (name(case)) } " " span.dim { (format!("{:.3} s{}", case.seconds, if case.virtual_time { " of virtual time" } else { "" })) }
                br; span.detail { (case.title) }
            }
            p { (case.detail) }
            @if !case.story.is_empty() { p.story { (case.story) } }
            @if case.expected.is_some() || case.actual.is_some() || case.again.is_some() {
                dl {
                    @if let Some(expected) = &case.expected { dt { "Expected" } dd { (expected) } }
                    @if let Some(actual) = &case.actual { dt { "Actual" } dd { (actual) } }
                    @if let Some(again) = &case.again { dt { "Again" } dd { code { (again) } } }
                }
            }
            @if !case.proofs.is_empty() || !case.faults.is_empty() {
                h3 { "What was changed, as seen on the wire" }
                ul {
                    @for proof in &case.proofs {
                        li {
                            code { (proof.path) } " in " (proof.field) ": " code { (proof.sent) } " instead of " code { (proof.baseline) }
                            @if let Some(packet) = proof.packet { " (packet " (packet) ")" }
                        }
                    }
                    @for fault in &case.faults { li { "fault " code { (fault.name) } " had " (effects(fault.fired)) } }
                }
            }
            @if !case.ladder.is_empty() { (ladder(run, case)) }
            @if !case.you_will_see.is_empty() {
                h3 { "What the boxes show" }
                ul.lines {
                    @for line in &case.you_will_see {
                        li { strong { (line.vendor) } " " span.dim { "[" (line.evidence.name()) @for source in &line.sources { ", " (source) } "]" } br; code { (line.line) } }
                    }
                }
            }
            @if !case.fix.is_empty() {
                h3 { "Fix" }
                @let (typed, ftd) = notes_for(case.fix.iter().map(|fix| (name_of(fix), fix.commands.as_slice())));
                @if typed { p.advice.dim { (FIX_NOTE) } }
                @for fix in &case.fix { p.vendor { strong { (fix.vendor) } } (lines_of(fix)) }
                @if ftd {
                    p.vendor { strong { "FTD" } }
                    p.advice { (FTD_NOTE) }
                }
            }
            @if case.capture.is_some() || case.transcript.is_some() {
                p.dim {
                    "Files: "
                    @if let Some(capture) = &case.capture { a href=(capture) { (capture) } " " }
                    @if let Some(transcript) = &case.transcript {
                        a href=(transcript) { (transcript) "/" }
                        @let log = format!("{transcript}/{PEER_LOG}");
                        @if !case.peer_log.is_empty() { " " a href=(log) { (log) } }
                    }
                }
            }
        }
    }
}

/// Time flows down; ours leave the left edge, the peer's the right one.
fn ladder(run: &RunResult, case: &CaseResult) -> Markup {
    let (us, peer) = match case.role {
        Role::Initiator => ("initiator", "responder"),
        Role::Responder => ("responder", "initiator"),
    };
    let theirs = match &run.peer.persona {
        Some(persona) => format!("a model of {persona}"),
        None => run.peer.address.clone(),
    };
    let changed = |rung: &Rung| -> Vec<String> {
        let here = case.proofs.iter().filter(|proof| rung.packet.is_some() && proof.packet == rung.packet);
        here.map(|proof| format!("changed here: {}", proof.path)).collect()
    };
    html! {
        h3 { "On the wire" }
        div.ends { span { "ikelab, " (us) } span { (theirs) ", " (peer) } }
        ol.ladder {
            @for rung in &case.ladder {
                @let changed = changed(rung);
                li class=(class(rung, !changed.is_empty())) {
                    span.at { (format!("{:.3}", rung.at)) }
                    span.what {
                        strong { (rung.title) }
                        @if !rung.content.is_empty() { " " span.content { (content(rung)) } }
                        @let remarks: Vec<&str> = rung.remarks.iter().chain(&changed).map(String::as_str).collect();
                        @if !remarks.is_empty() { " " em { (remarks.join(", ")) } }
                        @if let Some(basis) = rung.modelled { " " em { "[wording " (basis) "]" } }
                    }
                    @if let Some(octets) = rung.octets { span.size { (octets) " B" @if let Some(packet) = rung.packet { ", packet " (packet) } } }
                    @if rung.kind == RungKind::Message { span.arrow {} }
                }
            }
        }
    }
}

/// Braces do not stand alone on a line; a log line stays as it is, to be searched for.
fn content(rung: &Rung) -> String {
    match rung.kind {
        RungKind::Log => rung.content.clone(),
        _ => rung.content.replace("{ ", "{\u{a0}").replace(" }", "\u{a0}}"),
    }
}

fn class(rung: &Rung, changed: bool) -> String {
    let mut class = match (rung.kind, rung.from) {
        (RungKind::Message, Some(Who::Us)) => "message us",
        (RungKind::Message, _) => "message peer",
        (RungKind::Event, _) => "event",
        (RungKind::Log, _) => "log",
        (RungKind::Gap, _) => "gap",
    }
    .to_owned();
    let lost = rung.remarks.iter().any(|remark| [WITHHELD, crate::record::LOST_ON_PATH].contains(&remark.as_str()));
    for (word, yes) in [
        ("bad", rung.bad),
        ("changed", changed),
        ("odd", !rung.remarks.is_empty()),
        ("lost", lost),
        ("modelled", rung.modelled.is_some()),
    ] {
        if yes {
            write!(class, " {word}").expect("a String takes any text");
        }
    }
    class
}

/// The vendor's name in files.
fn name_of(fix: &VendorFix) -> &'static str {
    VendorName::of_label(&fix.vendor).unwrap_or_default()
}

/// What to type, and between it what is no command: nobody is to paste that.
fn lines_of(fix: &VendorFix) -> Markup {
    let vendor = name_of(fix);
    let advice = |line: &String| commands::is_advice(vendor, line);
    let global = |line: &String| commands::is_for_every_tunnel(line);
    html! {
        @for lines in fix.commands.chunk_by(|a, b| advice(a) == advice(b) && global(a) == global(b)) {
            @if lines.first().is_some_and(advice) {
                @for line in lines { p.advice { (line.trim()) } }
            } @else {
                @if lines.first().is_some_and(global) { p.advice { "for the whole box, and so for every tunnel:" } }
                pre { (lines.join("\n")) }
            }
        }
    }
}

/// "no effect", "an effect, once".
fn effects(count: usize) -> String {
    match count {
        0 => "no effect".to_owned(),
        1 => "an effect, once".to_owned(),
        more => format!("an effect, {more} times"),
    }
}

fn chip(verdict: Verdict) -> Markup {
    let class = match verdict {
        Verdict::Pass | Verdict::Reproduced => "chip good",
        Verdict::NotSeen => "chip bad",
        Verdict::Inconclusive => "chip doubt",
        Verdict::Unsupported | Verdict::Differs => "chip dim",
    };
    html! { span class=(class) { (verdict.label()) } }
}

fn name(case: &CaseResult) -> String {
    match case.phase {
        Some(_) => format!("{} {}", case.id, case.role),
        None => case.id.clone(),
    }
}

fn anchor(n: usize, case: &CaseResult) -> String {
    format!("{n}-{}-{}", case.id.replace('/', "-"), case.role)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::sample::sample;
    use crate::scenario::syslog::MODELLED;
    use crate::vendor::persona::Basis;

    #[test]
    fn one_of_each_verdict() {
        let mut run = sample();
        run.cases[2].ladder = rungs();
        run.cases[2].story = "An < in a story.".into();
        insta::assert_snapshot!(page(&run).replace(STYLE, "STYLE").replace(SCRIPT, "SCRIPT").replace("><", ">\n<"));
    }

    #[test]
    fn text_from_the_wire_stays_text() {
        let mut run = sample();
        run.cases[0].detail = "<script>alert(1)</script>".into();
        run.cases[0].ladder = vec![Rung { content: "IDr(\"</li><img src=x>\")".into(), ..rungs().remove(0) }];
        let page = page(&run);
        assert!(!page.contains("<script>alert") && !page.contains("<img"), "{page}");
        assert_eq!(page.matches("<script>").count(), 1);
    }

    #[test]
    fn a_fix_says_what_else_it_changes() {
        let mut run = sample();
        assert!(!page(&run).contains(FIX_NOTE), "no case has a fix");
        let commands = ["crypto ikev2 policy 10", " group 14 19", "crypto isakmp nat-traversal 20"].map(String::from);
        run.cases[0].fix = vec![VendorFix { vendor: "ASA".into(), commands: commands.into() }];
        let text = page(&run);
        assert_eq!((text.matches(FIX_NOTE).count(), text.matches(FTD_NOTE).count()), (1, 1));
        let marked = "so for every tunnel:</p><pre>crypto isakmp nat-traversal 20</pre>";
        assert!(text.contains("<pre>crypto ikev2 policy 10\n group 14 19</pre>") && text.contains(marked), "{text}");
        run.cases[0].fix.push(VendorFix { vendor: "FTD".into(), commands: vec!["deploy".into()] });
        assert!(!page(&run).contains(FTD_NOTE));
        run.cases[0].fix = vec![VendorFix { vendor: "ASA".into(), commands: vec!["nothing to do here".into()] }];
        assert!(!page(&run).contains(FIX_NOTE) && !page(&run).contains(FTD_NOTE));
    }

    #[test]
    fn nothing_is_loaded_from_elsewhere() {
        let page = page(&sample());
        for outside in ["http://", "https://", "src=", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
    }

    fn rungs() -> Vec<Rung> {
        let message = |at, packet, from, title: &str, content: &str, octets, bad| Rung {
            at,
            packet: Some(packet),
            from: Some(from),
            kind: RungKind::Message,
            title: title.into(),
            content: content.into(),
            octets: Some(octets),
            remarks: Vec::new(),
            bad,
            modelled: None,
        };
        let line = |kind, at, title: &str, content: &str| Rung {
            kind,
            packet: None,
            octets: None,
            from: None,
            ..message(at, 0, Who::Us, title, content, 0, false)
        };
        let mut again = message(0.5, 4, Who::Us, "IKE_SA_INIT #0 request", "SA KE(ecp384) Ni", 288, false);
        again.remarks = vec!["sent again".into()];
        vec![
            message(0.001, 3, Who::Us, "IKE_SA_INIT #0 request", "SA KE(ecp384) Ni", 288, false),
            again,
            message(0.503, 5, Who::Peer, "IKE_SA_INIT #0 response", "N(NO_PROPOSAL_CHOSEN)", 36, true),
            Rung {
                remarks: vec![WITHHELD.into()],
                ..message(0.503, 6, Who::Us, "IKE_AUTH #1 request", "SK{ }", 80, false)
            },
            line(RungKind::Event, 0.503, "the peer has none of our proposals", ""),
            line(RungKind::Log, 0.504, "the box logs", "%ASA-4-750003: ..."),
            Rung {
                modelled: Some(Basis::Observed),
                ..line(RungKind::Log, 0.505, MODELLED, "%ASA-4-750003: <modelled>")
            },
            line(RungKind::Gap, 0.6, "12 more; the capture has them all", ""),
        ]
    }
}
