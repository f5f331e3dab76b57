//! The box's lines in our ladder. Its own: reads the times that syslogs bear, and puts each line where it belongs. And those
//! that a persona's writer has made for it, which are marked.

use super::persona::PeerLine;
use super::result::RunResult;
use super::rung::{Rung, RungKind};
use super::runner::PEER_LOG;

/// A line of a box's log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogLine {
    /// When, by the box's clock: milliseconds since 1970-01-01T00:00:00Z.
    pub unix_ms: i64,
    /// The whole line.
    pub text: String,
}

/// What became of the lines of a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Placed {
    /// They stand in a case's ladder.
    pub placed: usize,
    /// No case was running at their time.
    pub outside: usize,
    /// No time was found in them.
    pub undated: usize,
}

/// The title of a line that no box has logged.
pub const MODELLED: &str = "modelled: what such a box would print";
/// The title of a box's own line.
const LOGGED: &str = "the box logs";
/// Of a persona's log the ladder has so many lines of its begin and of its end; a flood has more than anybody reads.
const ENDS: usize = 100;

/// Seconds after a case's end in which the box may still talk about it.
const AFTERTHOUGHT: f64 = 0.5;

/// Puts the lines of `log` into the ladders of the cases that ran when they were written. `shift_ms` is added to the
/// box's clock: for its time zone, and for a clock that is wrong.
pub fn place(run: &mut RunResult, log: &str, shift_ms: i64) -> Placed {
    let mut done = Placed::default();
    let started = i64::try_from(run.started_unix_ms).unwrap_or(i64::MAX);
    for text in log.lines().filter(|line| !line.trim().is_empty()) {
        let Some(line) = parse(text, started) else {
            done.undated += 1;
            continue;
        };
        let at = (line.unix_ms + shift_ms - started) as f64 / 1000.0;
        // Logs that count in seconds are early by up to one.
        let slack = if line.unix_ms % 1000 == 0 { 1.0 } else { 0.0 };
        let fits = |from: f64, to: f64| from - slack <= at && at <= to + AFTERTHOUGHT;
        let Some(case) = run.cases.iter_mut().find(|case| fits(case.at, case.at + case.seconds)) else {
            done.outside += 1;
            continue;
        };
        insert(&mut case.ladder, log_line((at - case.at).max(0.0), LOGGED, line.text));
        done.placed += 1;
    }
    done
}

/// Puts the lines that a persona's box would log into the ladder of their case, at their time.
pub fn model(ladder: &mut Vec<Rung>, lines: &[PeerLine]) {
    let left_out = lines.len().saturating_sub(2 * ENDS);
    for (n, line) in lines.iter().enumerate() {
        if left_out == 0 || n < ENDS || n >= ENDS + left_out {
            let rung = log_line(line.at, MODELLED, line.text.clone());
            insert(ladder, Rung { modelled: Some(line.basis), ..rung });
        } else if n == ENDS {
            let title = format!("{left_out} more lines of the log; {PEER_LOG} has them all");
            insert(ladder, Rung { kind: RungKind::Gap, title, ..log_line(line.at, "", String::new()) });
        }
    }
}

fn log_line(at: f64, title: &str, content: String) -> Rung {
    Rung {
        at,
        packet: None,
        from: None,
        kind: RungKind::Log,
        title: title.to_owned(),
        content,
        octets: None,
        remarks: Vec::new(),
        bad: false,
        modelled: None,
    }
}

/// Behind everything that was there at its time.
fn insert(ladder: &mut Vec<Rung>, rung: Rung) {
    let place = ladder.partition_point(|other| other.at <= rung.at);
    ladder.insert(place, rung);
}

/// Reads a line that bears a time: ISO 8601 as in RFC 5424 (`2026-11-21T02:21:36.123Z`), with slashes and a blank as
/// PAN-OS exports it, or as in RFC 3164 and on IOS and ASA (`Nov 21 02:21:36.123`, with or without a year). Without a
/// year it is the one that brings the line nearest to `near_ms`; without a zone it is UTC.
pub fn parse(line: &str, near_ms: i64) -> Option<LogLine> {
    let starts = line.char_indices().map(|(at, _)| at).take(80);
    let begins_word = |at: usize| at == 0 || !line.as_bytes()[at - 1].is_ascii_alphanumeric();
    let unix_ms = starts
        .filter(|at| begins_word(*at))
        .find_map(|at| numeric_date(&line[at..]).or_else(|| named_month(&line[at..], near_ms)))?;
    Some(LogLine { unix_ms, text: line.trim().to_owned() })
}

/// `2026-11-21T02:21:36.123Z`, `2026/11/21 02:21:36`.
fn numeric_date(text: &str) -> Option<i64> {
    let (year, rest) = number(text, 4)?;
    let rest = rest.strip_prefix(['-', '/'])?;
    let (month, rest) = number(rest, 2)?;
    let rest = rest.strip_prefix(['-', '/'])?;
    let (day, rest) = number(rest, 2)?;
    let (of_day, rest) = time_of_day(rest.strip_prefix(['T', ' '])?)?;
    Some(days(year, month, day)? * 86_400_000 + of_day - zone(rest)?)
}

/// `Nov 21 02:21:36.123`, `Nov 21 2026 02:21:36`.
fn named_month(text: &str, near_ms: i64) -> Option<i64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = MONTHS.iter().position(|name| text.starts_with(name))? as i64 + 1;
    let rest = text[3..].strip_prefix(' ')?.trim_start();
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (day, rest) = number(rest, digits.clamp(1, 2))?;
    let rest = rest.strip_prefix(' ')?;
    if let Some((year, rest)) = number(rest, 4) {
        let (of_day, _) = time_of_day(rest.strip_prefix(' ')?)?;
        return Some(days(year, month, day)? * 86_400_000 + of_day);
    }
    let (of_day, _) = time_of_day(rest)?;
    // 31 556 952 s are a year of the Gregorian calendar on average.
    let about = 1970 + near_ms.div_euclid(31_556_952_000);
    (about - 1..=about + 1)
        .filter_map(|year| Some(days(year, month, day)? * 86_400_000 + of_day))
        .min_by_key(|at| (at - near_ms).abs())
}

/// Milliseconds since midnight, and the rest of the text.
fn time_of_day(text: &str) -> Option<(i64, &str)> {
    let (hour, rest) = number(text, 2)?;
    let (minute, rest) = number(rest.strip_prefix(':')?, 2)?;
    let (second, rest) = number(rest.strip_prefix(':')?, 2)?;
    let whole = ((hour * 60 + minute) * 60 + second) * 1000;
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let Some(fraction) = rest.strip_prefix(['.', ',']) else { return Some((whole, rest)) };
    let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
    let millis = format!("{:0<3}", &fraction[..digits])[..3].parse::<i64>().ok()?;
    Some((whole + millis, &fraction[digits..]))
}

/// Milliseconds east of Greenwich: `Z`, `+01:00`, `+0100`, or nothing.
fn zone(text: &str) -> Option<i64> {
    let sign = match text.bytes().next() {
        Some(b'+') => 1,
        Some(b'-') => -1,
        _ => return Some(0),
    };
    let (hours, rest) = number(&text[1..], 2)?;
    let (minutes, _) = number(rest.strip_prefix(':').unwrap_or(rest), 2)?;
    Some(sign * (hours * 60 + minutes) * 60_000)
}

/// A number of exactly `digits` digits, and what follows.
fn number(text: &str, digits: usize) -> Option<(i64, &str)> {
    let head = text.get(..digits)?;
    let more = text[digits..].bytes().next().is_some_and(|b| b.is_ascii_digit());
    (head.bytes().all(|b| b.is_ascii_digit()) && !more).then_some(())?;
    Some((head.parse().ok()?, &text[digits..]))
}

/// Days since 1970-01-01 in the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years that begin in March have their leap day last.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::utc_text;
    use crate::vendor::persona::Basis;

    /// 2026-11-21T02:21:36.000Z.
    const NEAR: i64 = 1_795_227_696_000;

    #[test]
    fn the_times_of_the_boxes_are_read() {
        let at = |line: &str| parse(line, NEAR).map(|line| utc_text(line.unix_ms as u64 * 1_000_000));
        let is = |text: &str| Some(text.to_owned());
        assert_eq!(at("<134>1 2026-11-21T02:21:36.123Z asa - - %ASA-5-750002: ..."), is("2026-11-21T02:21:36.123Z"));
        assert_eq!(at("2026-11-21T03:21:36+01:00 gw iked"), is("2026-11-21T02:21:36.000Z"));
        assert_eq!(at("2026/11/21 02:21:36 info vpn ikev2-nego"), is("2026-11-21T02:21:36.000Z"));
        assert_eq!(at("2026-11-21 02:21:36.120 +0000  [PNTF]: {    1:     }:"), is("2026-11-21T02:21:36.120Z"));
        assert_eq!(at("*Nov 21 02:21:36.123: %IKEV2-5-SA_UP: SA UP"), is("2026-11-21T02:21:36.123Z"));
        assert_eq!(at("<166>Nov 21 2025 02:21:36 asa : %ASA-6-602303"), is("2025-11-21T02:21:36.000Z"));
        assert_eq!(at("Nov  1 02:21:36 gw charon: 05[IKE]"), is("2026-11-01T02:21:36.000Z"));
        assert_eq!(at("Jan  1 00:00:00 gw"), is("2027-01-01T00:00:00.000Z"), "the nearest year");
        assert_eq!(at("Feb 29 2028 12:00:00 x"), is("2028-02-29T12:00:00.000Z"));
        for none in ["%ASA-5-750002: no time", "", "Nov 21", "2026-13-21T02:21:36Z", "Nov 21 25:00:00 x", "é Novö"] {
            assert_eq!(at(none), None, "{none}");
        }
    }

    #[test]
    fn lines_go_into_the_case_that_ran_then() {
        let mut run = crate::scenario::sample::sample();
        run.started_unix_ms = NEAR as u64;
        (run.cases[0].at, run.cases[0].seconds) = (0.0, 1.0);
        (run.cases[1].at, run.cases[1].seconds) = (10.0, 2.0);
        run.cases.truncate(2);
        let log = "Nov 21 02:21:47.500 gw iked: second\nno time here\n\nNov 21 02:22:47 gw: nobody ran\n\
                   Nov 21 02:21:46.900 gw iked: first\n";
        let done = place(&mut run, log, 0);
        assert_eq!(done, Placed { placed: 2, outside: 1, undated: 1 });
        let lines: Vec<_> = run.cases[1].ladder.iter().map(|rung| ((rung.at * 1e3).round(), rung.kind)).collect();
        assert_eq!(lines, [(900.0, RungKind::Log), (1500.0, RungKind::Log)]);
        assert!(run.cases[0].ladder.is_empty());
        let done = place(&mut run, "Nov 21 03:21:36.100 gw: an hour ahead\n", -3_600_000);
        assert_eq!((done.placed, run.cases[0].ladder.len()), (1, 1));
    }

    #[test]
    fn modelled_lines_stand_at_their_time_and_say_that_they_are() {
        let line = |at, text: String| PeerLine { at, text, basis: Basis::Documented };
        let mut ladder: Vec<Rung> = [0.0, 0.010, 0.020].map(|at| log_line(at, LOGGED, "own".into())).into();
        model(&mut ladder, &[line(0.005, "first".into()), line(0.010, "second".into()), line(7.0, "last".into())]);
        let shown: Vec<_> = ladder.iter().map(|rung| (rung.at, rung.content.as_str(), rung.modelled)).collect();
        let modelled = Some(Basis::Documented);
        assert_eq!(
            shown,
            [
                (0.0, "own", None),
                (0.005, "first", modelled),
                (0.010, "own", None),
                (0.010, "second", modelled),
                (0.020, "own", None),
                (7.0, "last", modelled),
            ]
        );
        for rung in ladder.iter().filter(|rung| rung.modelled.is_some()) {
            assert_eq!((rung.kind, rung.title.as_str()), (RungKind::Log, MODELLED));
        }

        // A flood: both ends of it, and how many lines are missing.
        let flood: Vec<PeerLine> = (0..1000).map(|n| line(f64::from(n), n.to_string())).collect();
        let mut ladder = Vec::new();
        model(&mut ladder, &flood);
        assert_eq!(ladder.len(), 2 * ENDS + 1);
        assert_eq!(ladder[ENDS].title, "800 more lines of the log; peer.log has them all");
        assert_eq!((ladder[ENDS].kind, ladder[ENDS].modelled), (RungKind::Gap, None));
        assert_eq!((ladder[ENDS - 1].content.as_str(), ladder[ENDS + 1].content.as_str()), ("99", "900"));
    }
}
