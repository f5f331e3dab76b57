//! From a log line that somebody pasted to the scenario that explains it.
//!
//! Addresses, numbers and times vary; the words around them do not. Both sides are normalised to words and compared.

use super::file::{Evidence, Scenario};

/// A scenario that a line points to.
#[derive(Clone, PartialEq, Debug)]
pub struct Hit {
    /// The scenario's id.
    pub id: String,
    /// Its title.
    pub title: String,
    /// The vendor in print.
    pub vendor: String,
    /// The line of the catalogue that fits.
    pub line: String,
    /// How that line is known.
    pub evidence: Evidence,
    /// From 0 (nothing in common) to 1 (the same but for addresses and numbers).
    pub score: f64,
}

/// Scenarios with a symptom like `line`, best first. Below a score of 0.6 nothing is said.
pub fn find<'a>(line: &str, scenarios: impl IntoIterator<Item = &'a Scenario>) -> Vec<Hit> {
    let pasted = words(line);
    let mut hits = Vec::new();
    for scenario in scenarios {
        let mut best: Option<Hit> = None;
        for (vendor, symptoms) in &scenario.symptoms {
            for symptom in symptoms.iter() {
                for known in symptom.log.iter().chain(&symptom.show) {
                    let score = score(&pasted, known);
                    if score >= 0.6 && best.as_ref().is_none_or(|best| best.score < score) {
                        best = Some(Hit {
                            id: scenario.id.clone(),
                            title: scenario.title.clone(),
                            vendor: vendor.label().to_owned(),
                            line: known.clone(),
                            evidence: symptom.evidence,
                            score,
                        });
                    }
                }
            }
        }
        hits.extend(best);
    }
    hits.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.id.cmp(&b.id)));
    // Lines of one family share most of their words: what fits clearly worse than the best is another failure.
    let best = hits.first().map_or(0.0, |hit| hit.score);
    hits.retain(|hit| hit.score > best - 0.08);
    hits
}

/// How much of `known` stands in `pasted`, in order: the share of its words, each weighted by its length, so that
/// "Failed to authenticate" counts for more than "to". Short lines of the catalogue need a nearly complete fit.
fn score(pasted: &[String], known: &str) -> f64 {
    let known = words(known);
    let weight = |word: &String| if word == "#" { 0.2 } else { word.len() as f64 };
    let total: f64 = known.iter().map(weight).sum();
    if total < 4.0 {
        return 0.0;
    }
    // The longest common subsequence by weight.
    let mut row = vec![0.0_f64; pasted.len() + 1];
    for word in &known {
        let mut diagonal = 0.0;
        for at in 0..pasted.len() {
            let above = row[at + 1];
            row[at + 1] = if *word == pasted[at] { diagonal + weight(word) } else { above.max(row[at]) };
            diagonal = above;
        }
    }
    let share = row[pasted.len()] / total;
    // A line that says much more than the catalogue's fits a little less well than the same line.
    let pasted_total: f64 = pasted.iter().map(weight).sum();
    share - 0.1 * (1.0 - (total / pasted_total.max(total)))
}

/// Lower-case words; addresses and numbers become `#`, and `...` vanishes.
fn words(line: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let keep = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
    for token in line.split(|c: char| !keep(c)) {
        let token = token.trim_matches(|c: char| matches!(c, '.' | ':' | '-')).to_lowercase();
        if token.is_empty() {
            continue;
        }
        // "Local:203.0.113.2:500" is a word and an address; "ASA-4-750003" names a message.
        let (head, tail) = match token.split_once(':') {
            Some((head, tail)) if head.chars().all(char::is_alphabetic) => (head, tail),
            _ => ("", token.as_str()),
        };
        for part in [head, tail].into_iter().filter(|part| !part.is_empty()) {
            let word = if is_value(part) { "#".to_owned() } else { part.to_owned() };
            if !(word == "#" && out.last().is_some_and(|last| last == "#")) {
                out.push(word);
            }
        }
    }
    out
}

/// An address, a number, a time, a hexadecimal value.
fn is_value(word: &str) -> bool {
    let digits = word.chars().filter(char::is_ascii_digit).count();
    let value = |c: char| c.is_ascii_hexdigit() || matches!(c, '.' | ':' | '-' | 'x');
    digits > 0 && word.chars().all(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::load;

    #[test]
    fn addresses_numbers_and_times_do_not_matter() {
        let a = words("%ASA-4-750003: Local:203.0.113.2:500 Remote:203.0.113.6:500 Username:x IKEv2 aborted");
        let b = words("%ASA-4-750003: Local:10.0.0.1:500 Remote:10.9.9.9:4500 Username:x IKEv2 aborted");
        assert_eq!(a, b);
        assert_eq!(words("2025-01-22 17:26:22.700 -0800 [PERR]: { 1: }: 192.168.20.2[500]"), ["#", "perr", "#"]);
    }

    #[test]
    fn a_pasted_line_finds_its_scenario() {
        let all = load::embedded().expect("the embedded scenarios load");
        let all: Vec<_> = all.into_iter().map(|one| one.scenario).collect();
        let cases = [
            (
                "Nov 20 03:12:44 fw1 %ASA-4-750003: Local:198.51.100.7:500 Remote:192.0.2.9:500 Username:192.0.2.9 \
                 IKEv2 Negotiation aborted due to ERROR: Failed to authenticate the IKE SA",
                "auth/psk-mismatch",
            ),
            (
                "%ASA-4-750003: Local:1.2.3.4:500 Remote:4.3.2.1:500 Username:Unknown IKEv2 Negotiation aborted due to \
                 ERROR: There was no IPSEC policy found for received TS",
                "child/ts-",
            ),
            (
                "%ASA-5-750004: Local:1.2.3.4:500 Remote:4.3.2.1:500 Username:Unknown Sending COOKIE challenge to throttle possible DoS",
                "sa-init/cookie-challenge",
            ),
            ("AWS tunnel detected a pre-shared key mismatch with cgw: cgw-0123456789", "auth/psk-mismatch"),
        ];
        for (line, wanted) in cases {
            let hits = find(line, &all);
            let best = hits.first().unwrap_or_else(|| panic!("nothing for {line}"));
            assert!(best.id.starts_with(wanted), "{line}: {hits:#?}");
        }
        assert!(
            find("%LINEPROTO-5-UPDOWN: Line protocol on Interface Tunnel0, changed state to down", &all).is_empty()
        );
        assert!(find("", &all).is_empty());
    }
}
