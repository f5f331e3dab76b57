//! Names in arguments and conditions, and the nearest right one to a wrong one.

use std::time::Duration;

use crate::wire::registry::{ExchangeType, KeMethod, NotifyType, PayloadType, TransformType};

/// Names suggested at most to whoever gives a part of them.
const MOST_NAMED: usize = 5;

/// "; did you mean ...?", or nothing if no name is near and none has `wrong` in it.
pub fn did_you_mean<'a>(wrong: &str, names: impl Iterator<Item = &'a str>) -> String {
    let (names, wrong) = (names.collect::<Vec<_>>(), wrong.to_lowercase());
    let near = names
        .iter()
        .map(|name| (strsim::damerau_levenshtein(&wrong, &name.to_lowercase()), *name))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, name)| *distance <= 2.max(name.len() / 3));
    // A part of a name is a good question, too.
    let mut meant: Vec<&str> = Vec::new();
    let mut within: Vec<&str> =
        names.iter().copied().filter(|name| wrong.len() > 2 && name.to_lowercase().contains(&wrong)).collect();
    // Where it is the begin of a name, or of its part behind a slash, first; ids before aliases.
    let begins = |name: &str| name.rsplit('/').next().is_some_and(|last| last.to_lowercase().starts_with(&wrong));
    within.sort_by_key(|name| (!begins(name), !name.contains('/')));
    for name in within {
        if meant.len() < MOST_NAMED && !meant.iter().any(|other| other.ends_with(name)) {
            meant.push(name);
        }
    }
    if let Some((distance, name)) = near
        && (distance < 2 || meant.is_empty())
    {
        meant = vec![name];
    }
    let meant: Vec<String> = meant.iter().map(|name| format!("{name:?}")).collect();
    if meant.is_empty() { String::new() } else { format!("; did you mean {}?", meant.join(", ")) }
}

/// A notify type by its IANA name or number.
///
/// # Errors
/// Names the nearest one.
pub fn notify_by_name(text: &str) -> Result<NotifyType, String> {
    if let Ok(number) = text.parse() {
        return Ok(NotifyType(number));
    }
    NotifyType::all().find(|kind| kind.name().is_some_and(|name| name.eq_ignore_ascii_case(text))).ok_or_else(|| {
        let names: Vec<&str> = NotifyType::all().filter_map(|kind| kind.name()).collect();
        format!("there is no notify {text:?}{}", did_you_mean(text, names.into_iter()))
    })
}

/// An exchange type by its IANA name.
///
/// # Errors
/// Names the nearest one.
pub fn exchange_by_name(text: &str) -> Result<ExchangeType, String> {
    ExchangeType::all().find(|kind| kind.name().is_some_and(|name| name.eq_ignore_ascii_case(text))).ok_or_else(|| {
        let names: Vec<&str> = ExchangeType::all().filter_map(|kind| kind.name()).collect();
        format!("there is no exchange {text:?}{}", did_you_mean(text, names.into_iter()))
    })
}

/// Payloads by the names that RFC 7296 uses in its exchange diagrams.
const PAYLOADS: &[(&str, PayloadType)] = &[
    ("SA", PayloadType::SA),
    ("KE", PayloadType::KE),
    ("IDi", PayloadType::IDI),
    ("IDr", PayloadType::IDR),
    ("CERT", PayloadType::CERT),
    ("CERTREQ", PayloadType::CERTREQ),
    ("AUTH", PayloadType::AUTH),
    ("Nonce", PayloadType::NONCE),
    ("N", PayloadType::NOTIFY),
    ("D", PayloadType::DELETE),
    ("V", PayloadType::VENDOR),
    ("TSi", PayloadType::TSI),
    ("TSr", PayloadType::TSR),
    ("CP", PayloadType::CP),
    ("EAP", PayloadType::EAP),
];

/// A payload type by the name that RFC 7296 gives it in its diagrams ("SA", "KE", "TSi").
///
/// # Errors
/// Names the nearest one.
pub fn payload_by_name(text: &str) -> Result<PayloadType, String> {
    PAYLOADS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, kind)| *kind).ok_or_else(|| {
        format!("there is no payload {text:?}{}", did_you_mean(text, PAYLOADS.iter().map(|(name, _)| *name)))
    })
}

/// A key exchange method by its short name ("modp2048") or number.
///
/// # Errors
/// Names the nearest one.
pub fn group_by_name(text: &str) -> Result<KeMethod, String> {
    if let Ok(number) = text.parse() {
        return Ok(KeMethod(number));
    }
    let known: Vec<(String, KeMethod)> = KeMethod::all().map(|group| (group.short().to_string(), group)).collect();
    known.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, group)| *group).ok_or_else(|| {
        format!("there is no group {text:?}{}", did_you_mean(text, known.iter().map(|(name, _)| name.as_str())))
    })
}

/// "300ms", "5s", "2m", "1h".
pub fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().ok()?;
    let unit = match unit.trim() {
        "ms" => 0.001,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number * unit).ok()
}

pub(super) fn parse_hex(text: &str) -> Option<Vec<u8>> {
    let text = text.strip_prefix("0x").unwrap_or(text);
    if text.is_empty() || !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

/// A transform type by its short name ("ENCR", "PRF", "INTEG", "KE", "ESN") or number.
///
/// # Errors
/// Names the nearest one.
pub fn transform_type_by_name(text: &str) -> Result<TransformType, String> {
    const TYPES: [(&str, TransformType); 5] = [
        ("ENCR", TransformType::ENCR),
        ("PRF", TransformType::PRF),
        ("INTEG", TransformType::INTEG),
        ("KE", TransformType::KE),
        ("ESN", TransformType::ESN),
    ];
    if let Ok(number) = text.parse() {
        return Ok(TransformType(number));
    }
    TYPES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, kind)| *kind).ok_or_else(|| {
        let near = did_you_mean(text, TYPES.iter().map(|(name, _)| *name));
        format!("there is no transform type {text:?}{near}")
    })
}
