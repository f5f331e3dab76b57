//! Named faults in one line of text, as on a command line.

use std::collections::BTreeMap;

use super::names::{did_you_mean, exchange_by_name};
use super::{FaultRow, find};
use crate::fault::rule::Rule;

/// Conditions that may stand among the arguments.
const CONDITIONS: [&str; 5] = ["exchange", "response", "id", "nth", "times"];

/// The rule of `NAME`, `NAME=VALUE` (for the first argument) or `NAME=ARG=VALUE,ARG=VALUE`. Beside the fault's own
/// arguments there may be `exchange`, `response` (yes or no), `id` (message id), `nth` (only the n-th match) and `times`
/// (at most so often), unless the fault has an argument of that name.
///
/// # Errors
/// In words, with the nearest right name.
pub fn parse(text: &str) -> Result<Rule, String> {
    let (name, rest) = text.split_once('=').unwrap_or((text, ""));
    let row = find(name.trim())?;
    let mut given = BTreeMap::new();
    for (n, part) in rest.split(',').map(str::trim).filter(|part| !part.is_empty()).enumerate() {
        let (key, value) = match (part.split_once('='), row.args.first()) {
            (Some((key, value)), _) => (key.trim(), value.trim()),
            (None, Some(first)) if n == 0 => (first.name, part),
            (None, _) => return Err(format!("fault {}: {part:?} is not like name=value", row.name)),
        };
        known(row, key)?;
        if given.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(format!("fault {}: {key:?} is given twice", row.name));
        }
    }
    let mut take = |key: &str| match row.args.iter().any(|arg| arg.name == key) {
        true => None,
        false => given.remove(key),
    };
    let number = |key: &str, text: Option<String>| match text {
        None => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| format!("{key}: {text:?} is not a number")),
    };
    let exchange = take("exchange").map(|text| exchange_by_name(&text)).transpose()?;
    let response = match take("response").as_deref() {
        None => None,
        Some("yes" | "true") => Some(true),
        Some("no" | "false") => Some(false),
        Some(other) => return Err(format!("response: {other:?} is neither yes nor no")),
    };
    let (id, nth) = (number("id", take("id"))?, number("nth", take("nth"))?);
    let times = number("times", take("times"))?;
    let mut rule = row.rule(&given, times)?;
    let when = &mut rule.when;
    when.exchange = exchange.or(when.exchange);
    when.response = response.or(when.response);
    (when.message_id, when.nth) = (id.or(when.message_id), nth.or(when.nth));
    rule.check()?;
    Ok(rule)
}

fn known(row: &FaultRow, key: &str) -> Result<(), String> {
    let names = || row.args.iter().map(|arg| arg.name).chain(CONDITIONS);
    match names().any(|name| name == key) {
        true => Ok(()),
        false => {
            let all: Vec<&str> = names().collect();
            let near = did_you_mean(key, names());
            Err(format!("fault {} has no argument {key:?}; it takes {}{near}", row.name, all.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Action;
    use crate::wire::registry::ExchangeType;

    #[test]
    fn a_line_of_text_becomes_a_rule() {
        let rule = parse("delay-sent=3s").expect("the first argument");
        assert!(matches!(rule.action, Action::Delay(by) if by.as_secs() == 3));
        let rule = parse("delay-sent=by=3s,exchange=IKE_AUTH,response=no,times=2,nth=4").expect("all of it");
        assert_eq!((rule.when.exchange, rule.when.response), (Some(ExchangeType::IKE_AUTH), Some(false)));
        assert_eq!((rule.times, rule.when.nth), (Some(2), Some(4)));
        // The argument of this fault, not the condition.
        assert_eq!(parse("no-answer=exchange=CREATE_CHILD_SA").expect("its own").when.exchange, None);
        assert!(parse("drop-sent").is_ok());
    }

    #[test]
    fn errors_say_what_would_be_right() {
        for (text, part) in [
            ("drop-snt", "did you mean \"drop-sent\""),
            ("delay-sent=for=3s", "it takes by"),
            ("delay-sent=by=3s,exchnge=IKE_AUTH", "did you mean \"exchange\""),
            ("delay-sent=soon", "500ms"),
            ("drop-sent=3", "is not like name=value"),
            ("no-keepalives=exchange=IKE_AUTH", "is not known"),
            ("drop-sent=times=1,times=2", "twice"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
