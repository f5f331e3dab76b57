//! Expectations: whether what was written down has been seen.

use std::time::Duration;

use super::file::{EventName, Expect, Port, Sight, Who};
use super::observe::{Entry, What, is_honest};

/// How far an expectation has come.
#[derive(Clone, PartialEq, Debug)]
pub enum Progress {
    /// It holds already, or will hold if nothing forbidden comes before the window ends.
    Met(Vec<Match>),
    /// Not yet.
    Open,
    /// Something came that must not.
    Forbidden(Match),
}

/// A sight and where it was seen.
#[derive(Clone, PartialEq, Debug)]
pub struct Match {
    /// In words.
    pub words: String,
    /// The packet that showed it.
    pub packet: Option<u64>,
    /// From the first of several required to the last one.
    pub count: u32,
}

/// Judges `expect` by what was seen since the last start.
pub fn progress(expect: &Expect, seen: &[Entry]) -> Progress {
    if let Some(found) = expect.none.iter().find_map(|sight| find(sight, seen)) {
        return Progress::Forbidden(found);
    }
    let mut matches = Vec::new();
    for sight in &expect.all {
        match find(sight, seen) {
            Some(found) => matches.push(found),
            None => return Progress::Open,
        }
    }
    if !expect.any.is_empty() {
        // Of several alternatives the one seen first is named, in the order of the file on a tie.
        match expect.any.iter().find_map(|sight| find(sight, seen)) {
            Some(found) => matches.insert(0, found),
            None => return Progress::Open,
        }
    }
    Progress::Met(matches)
}

/// How long what must not come is still looked out for once everything else is there. Without anything else it is the
/// whole window.
pub fn lookout(expect: &Expect) -> Option<Duration> {
    match (expect.none.is_empty(), expect.any.is_empty() && expect.all.is_empty()) {
        (true, _) => Some(Duration::ZERO),
        (false, true) => None,
        (false, false) => Some(Duration::from_millis(300)),
    }
}

/// The first place where `sight` is complete.
pub fn find(sight: &Sight, seen: &[Entry]) -> Option<Match> {
    let wanted = sight.count.unwrap_or(1).max(1);
    let mut count = 0;
    for entry in seen {
        if matches(sight, entry) {
            count += 1;
            if count == wanted {
                return Some(Match { words: words(sight), packet: entry.packet, count });
            }
        }
    }
    None
}

fn matches(sight: &Sight, entry: &Entry) -> bool {
    match (&entry.what, sight.event) {
        (What::Event(happened), Some(name)) => {
            let same = happened.name == name
                // A narrowed Child SA is up all the same.
                || (name == EventName::ChildUp && happened.name == EventName::ChildNarrowed);
            same && is_honest(entry.tunnel)
                && sight.class.as_deref().is_none_or(|class| happened.class.as_deref() == Some(class))
                && sight.by.is_none_or(|by| happened.by == Some(by))
                && sight.says.as_deref().is_none_or(|text| happened.words.contains(text))
        }
        (What::Message(seen), None) => {
            seen.from == sight.from.unwrap_or(Who::Peer)
                && sight.exchange.is_none_or(|exchange| exchange == seen.exchange())
                && sight.response.is_none_or(|response| response == seen.is_response())
                && sight.notify.is_none_or(|kind| seen.notifies().any(|notify| notify.kind == kind))
                && sight.lacks.is_none_or(|kind| !seen.notifies().any(|notify| notify.kind == kind))
                && sight.payload.is_none_or(|payload| seen.payloads().any(|one| payload.matches(one)))
                && sight.without.is_none_or(|payload| !seen.payloads().any(|one| payload.matches(one)))
                && sight.repeat.is_none_or(|repeat| repeat == seen.repeat)
                && sight.port.map(Port::role).is_none_or(|role| role == seen.path.role)
        }
        _ => false,
    }
}

/// A sight in words: its own, or made from what it asks for.
pub fn words(sight: &Sight) -> String {
    if let Some(words) = &sight.words {
        return words.clone();
    }
    if let Some(event) = sight.event {
        return match sight.says.as_ref().or(sight.class.as_ref()) {
            Some(more) => format!("{} ({more})", event.words()),
            None => event.words().to_owned(),
        };
    }
    let mut out = match sight.from.unwrap_or(Who::Peer) {
        Who::Us => "we send".to_owned(),
        Who::Peer => "the peer sends".to_owned(),
    };
    if sight.repeat == Some(true) {
        out.push_str(" again");
    }
    let mut add = |text: String| {
        out.push(' ');
        out.push_str(&text);
    };
    if let Some(exchange) = sight.exchange {
        add(exchange.to_string());
    }
    if let Some(notify) = sight.notify {
        add(notify.to_string());
    }
    if let Some(payload) = sight.payload {
        add(payload.kind.to_string());
    }
    if let Some(count) = sight.count.filter(|count| *count > 1) {
        add(format!("{count} times"));
    }
    out
}

/// An expectation in words, as in the report of what was not seen.
pub fn sentence(expect: &Expect) -> String {
    let list = |sights: &[Sight], last: &str| {
        let words: Vec<String> = sights.iter().map(words).collect();
        match words.split_last() {
            None => String::new(),
            Some((one, [])) => one.clone(),
            Some((end, rest)) => format!("{} {last} {end}", rest.join(", ")),
        }
    };
    let mut parts = Vec::new();
    if !expect.any.is_empty() {
        parts.push(list(&expect.any, "or"));
    }
    if !expect.all.is_empty() {
        parts.push(list(&expect.all, "and"));
    }
    if !expect.none.is_empty() {
        parts.push(format!("not: {}", list(&expect.none, "nor")));
    }
    format!("{} within {}", parts.join("; "), expect.within)
}
