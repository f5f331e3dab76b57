//! tshark looks at every fault that acts on IKE: each played case of `tests/it/faults`, with and without its fault, goes into
//! one capture, and a display filter must tell the two apart.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use ikelab::engine::Event;
use ikelab::net;
use ikelab::record::{Direction, Fate, KeyTables, PcapNg, Recorder};
use ikelab::time::{Instant, UnixTime};

use crate::fault_checks::seen::{SEEN, Seen, Why};
use crate::fault_checks::world::Run;
use crate::fault_checks::{Check, SECTIONS};
use crate::pair::{End, LEFT, RIGHT};
use crate::process::{run, run_dir};

/// Seconds between the beginnings of two runs in the capture: more than a run takes.
const APART: u64 = 100;

/// Each run has addresses of its own, so that a filter can name it and nothing is reassembled across runs.
fn address(run: usize, end: End) -> IpAddr {
    let last = if end == End::Left { 1 } else { 2 };
    let octet = |n: usize| u8::try_from(n % 250).expect("less than 250");
    [10, octet(run / 250 + 100), octet(run), last].into()
}

fn moved(path: &net::Path, run: usize) -> net::Path {
    let mut path = *path;
    for end in [&mut path.local, &mut path.remote] {
        for (known, which) in [(LEFT, End::Left), (RIGHT, End::Right)] {
            if end.ip().to_string() == known {
                end.set_ip(address(run, which));
            }
        }
    }
    path
}

fn begin(run: usize) -> u64 {
    run as u64 * APART
}

fn record(recorder: &mut Recorder, number: usize, run: &Run) {
    // Keys are exported by both ends. Where they disagree, those of the end that is bent protect what is looked at.
    let mut seen = Vec::new();
    for end in [run.bent, run.bent.other()] {
        for (of, tunnel, sa, event) in &run.pair.events {
            let Event::IkeKeys(keys) = event else { continue };
            if *of == end && !seen.contains(&keys.spis) {
                seen.push(keys.spis);
                recorder.event(Instant::ZERO, *tunnel, *sa, event);
            }
        }
    }
    for packet in &run.packets {
        let at = packet.at + Duration::from_secs(begin(number));
        recorder.datagram(at, Direction::Out, &moved(&packet.path, number), packet.class, &packet.bytes, Fate::Passed);
    }
}

/// A filter of [`SEEN`] in Wireshark's own words, for what the bent end sent in one run.
fn spelled(filter: &str, number: usize, bent: End) -> String {
    let words = [
        ("{init}", "isakmp.exchangetype == 34"),
        ("{auth}", "isakmp.exchangetype == 35"),
        ("{create}", "isakmp.exchangetype == 36"),
        ("{info}", "isakmp.exchangetype == 37"),
        ("{req}", "isakmp.flag_r == 0"),
        ("{resp}", "isakmp.flag_r == 1"),
    ];
    let mut filter = words.iter().fold(filter.to_owned(), |text, (word, stands)| text.replace(word, stands));
    for relation in [">=", "<"] {
        while let Some(at) = filter.find(&format!("{{{relation}")) {
            let end = at + filter[at..].find('}').expect("a closing brace");
            let seconds: f64 = filter[at + 1 + relation.len()..end].parse().expect("seconds");
            let bound = format!("frame.time_epoch {relation} {:.6}", begin(number) as f64 + seconds);
            filter.replace_range(at..=end, &bound);
        }
    }
    assert!(!filter.contains(['{', '}', ',']), "{filter}");
    format!("ip.dst == {} && {filter}", address(number, bent.other()))
}

/// How many packets each filter matches, all in one pass over the capture.
fn count(capture: &Path, profile: &Path, filters: &[String]) -> Vec<u64> {
    let mut tshark = Command::new("tshark");
    tshark.env("WIRESHARK_CONFIG_DIR", profile).arg("-r").arg(capture);
    tshark.args(["-n", "-q", "-o", "udp.check_checksum:FALSE"]);
    // Tables of moderate width, and in no order that could be relied upon: the first column says which it is.
    let tables: Vec<&[String]> = filters.chunks(50).collect();
    for (n, some) in tables.iter().enumerate() {
        tshark.arg("-z").arg(format!("io,stat,0,frame.number <= {},{}", n + 1, some.join(",")));
    }
    let done = run(&mut tshark, Duration::from_secs(60));
    let complaint = done.stderr.lines().find(|line| line.contains("rror loading table"));
    assert!(complaint.is_none(), "{}", done.stderr);
    let text = done.expect_success();
    // `| 0.000 <> 41.2 |      2 |   589 |      1 |   307 |`: frames and octets by turns.
    let rows = text.lines().filter(|line| line.starts_with("| ") && line.contains(" <> "));
    let numbers = |row: &str| row.split('|').skip(2).filter_map(|cell| cell.trim().parse().ok()).step_by(2).collect();
    let mut rows: Vec<Vec<u64>> = rows.map(numbers).collect();
    rows.sort_by_key(|row| row.first().copied());
    let widths: Vec<usize> = rows.iter().map(Vec::len).collect();
    assert_eq!(widths, tables.iter().map(|some| some.len() + 1).collect::<Vec<_>>(), "{text}");
    rows.into_iter().flat_map(|row| row.into_iter().skip(1)).collect()
}

#[test]
fn tshark_tells_each_fault_from_its_honest_run() {
    let dir = run_dir();
    let (capture, profile) = (dir.join("faults.pcapng"), dir.join("wireshark"));
    let mut recorder = Recorder::new();
    recorder.add(PcapNg::create(&capture, UnixTime::default()).expect("the run directory is writable"));
    recorder.add(KeyTables::create(&profile, &[]).expect("the run directory is writable"));
    let checks: Vec<&Check> = SECTIONS.iter().copied().flatten().collect();
    let (mut judged, mut filters, mut reasons) = (Vec::new(), Vec::new(), Vec::new());
    for (name, seen) in SEEN {
        let filter = match *seen {
            Seen::Shows(filter) | Seen::Hides(filter) | Seen::More(filter) => filter,
            Seen::Not(why) => {
                reasons.push((why, *name));
                continue;
            }
        };
        let check = checks.iter().find(|check| check.name == *name).expect("a test of the checks sees to it");
        for bent in [false, true] {
            let number = filters.len();
            let run = check.play(bent, number as u64 + 1);
            record(&mut recorder, number, &run);
            filters.push(spelled(filter, number, run.bent));
        }
        judged.push((*name, seen));
    }
    recorder.flush().expect("the disk is not full");
    let counts = count(&capture, &profile, &filters);
    let mut wrong = String::new();
    for (n, (name, seen)) in judged.iter().enumerate() {
        let (without, with) = (counts[2 * n], counts[2 * n + 1]);
        let fine = match seen {
            Seen::Shows(_) => with > 0 && without == 0,
            Seen::Hides(_) => with == 0 && without > 0,
            Seen::More(_) => with > without && without > 0,
            Seen::Not(_) => false,
        };
        if !fine {
            let _ =
                writeln!(wrong, "{name}: {with} with, {without} without: {seen:?}; runs {} and {}", 2 * n + 1, 2 * n);
        }
    }
    println!("tshark tells {} of {} faults from their honest runs", judged.len(), SEEN.len());
    reasons.sort_unstable();
    for why in [Why::Value, Why::Across, Why::Order, Why::State] {
        let names: Vec<&str> = reasons.iter().filter(|(of, _)| *of == why).map(|(_, name)| *name).collect();
        println!("  {}: {} ({})", why.word(), names.len(), names.join(", "));
    }
    assert!(wrong.is_empty(), "{} wrong:\n{wrong}", wrong.lines().count());
    assert!(reasons.len() * 10 <= SEEN.len(), "{} faults that tshark cannot see", reasons.len());
}
