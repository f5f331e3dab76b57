//! The block that explains a failure.

use super::paint::{Paint, Tone, wrap};
use crate::diagnose::{Certainty, Finding};

/// Columns of the labels on the left.
const LABEL: usize = 15;

/// A finding as a block of lines, with a newline at the end.
pub fn render(finding: &Finding, paint: Paint) -> String {
    let mut out = String::new();
    out.push_str(&paint.tone(Tone::Bad, &format!("x {}", finding.headline)));
    out.push('\n');
    section(&mut out, paint, "Phase", std::iter::once((finding.phase.to_owned(), None)));
    section(&mut out, paint, "What we know", finding.known.iter().map(|text| (text.clone(), None)));
    let several = finding.likely.len() > 1;
    let label = if finding.certainty == Certainty::Exact { "The cause" } else { "Most likely" };
    section(
        &mut out,
        paint,
        label,
        finding.likely.iter().enumerate().map(|(n, cause)| {
            let because = cause.because.as_ref().map_or(String::new(), |b| format!(" ({b})"));
            let number = if several { format!("{}  ", n + 1) } else { String::new() };
            (format!("{number}{}{because}", cause.text), cause.failure.map(|id| format!("-> ikelab failures {id}")))
        }),
    );
    section(
        &mut out,
        paint,
        "On the peer",
        finding.on_peer.iter().map(|line| {
            let source = line.sources().first().map_or(String::new(), |source| format!(": {}", source.title()));
            (format!("{}: {}", line.vendor.title(), line.text), Some(format!("[{}{source}]", line.evidence.name())))
        }),
    );
    section(&mut out, paint, "Try next", finding.next.iter().map(|text| (text.clone(), None)));
    out
}

fn section(out: &mut String, paint: Paint, label: &str, lines: impl Iterator<Item = (String, Option<String>)>) {
    let room = paint.width.map(|w| w.saturating_sub(2 + LABEL).max(30));
    let mut label = label;
    for (text, tail) in lines {
        let mut pieces = wrap(&text, room);
        let last = pieces.last().map_or(0, |p| p.chars().count());
        if let Some(tail) = &tail {
            let fits = room.is_none_or(|room| last + 2 + tail.chars().count() <= room);
            let faint = paint.tone(Tone::Faint, tail);
            match pieces.last_mut() {
                Some(piece) if fits => piece.push_str(&format!("  {faint}")),
                _ => pieces.push(format!("   {faint}")),
            }
        }
        for piece in pieces {
            let head = paint.tone(Tone::Strong, label);
            let blanks = LABEL - label.len();
            out.push_str(&format!("  {head}{:blanks$}{piece}\n", ""));
            label = "";
        }
    }
}
