//! What each scenario comes to with each real peer: `expectations.yaml`, one row per scenario, role and peer, and the
//! comparison of a run with it. Whatever is not the same fails, and so does a row that is missing or not needed.

use std::collections::BTreeMap;
use std::fmt;

use ikelab::scenario::file::Role;
use ikelab::scenario::load::{self, LoadedScenario};
use serde::Deserialize;
use serde_json::Value;

const FILE: &str = include_str!("expectations.yaml");

/// One row.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    pub scenario: String,
    /// ikelab's role.
    pub role: Role,
    pub peer: Name,
    pub result: Outcome,
    /// Why it is not reproduced.
    #[serde(default)]
    pub reason: Option<Reason>,
    /// What that means for this peer, for a reader.
    #[serde(default)]
    pub note: Option<String>,
    /// What came instead, or as the last thing: a line of the case's ladder.
    #[serde(default)]
    pub observed: Option<String>,
    /// The packet in the case's capture that is that line. Repeats and fragments before it are not counted.
    #[serde(default)]
    pub packet: Option<u64>,
}

/// A real peer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize)]
pub enum Name {
    #[serde(rename = "strongSwan")]
    StrongSwan,
    #[serde(rename = "libreswan")]
    Libreswan,
    #[serde(rename = "OpenIKED")]
    OpenIked,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Name::StrongSwan => "strongSwan",
            Name::Libreswan => "libreswan",
            Name::OpenIked => "OpenIKED",
        })
    }
}

/// What a case comes to, in the words of `result.json`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Reproduced,
    NotSeen,
    Inconclusive,
    /// There was no way to provoke it.
    Unsupported,
    /// There is nothing to play.
    NotPlayed,
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Outcome::Reproduced => "reproduced",
            Outcome::NotSeen => "not-seen",
            Outcome::Inconclusive => "inconclusive",
            Outcome::Unsupported => "unsupported",
            Outcome::NotPlayed => "not-played",
        }
    }
}

/// Why a scenario is not reproduced. There are no others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The peer does not have what the scenario is about.
    PeerLacksFeature,
    /// The peer takes what others refuse.
    PeerTolerates,
    /// Data have to flow, and this peer has no ESP here: its kernel would need it. strongSwan has ESP of its own, but in UDP
    /// only: of it the reason means IP protocol 50.
    NeedsKernelEsp,
    /// The scenario has no such role.
    RoleAbsent,
}

impl Reason {
    const ALL: [Reason; 4] =
        [Reason::PeerLacksFeature, Reason::PeerTolerates, Reason::NeedsKernelEsp, Reason::RoleAbsent];

    fn word(self) -> &'static str {
        match self {
            Reason::PeerLacksFeature => "peer-lacks-feature",
            Reason::PeerTolerates => "peer-tolerates",
            Reason::NeedsKernelEsp => "needs-kernel-esp",
            Reason::RoleAbsent => "role-absent",
        }
    }

    /// Whether the peer could have played it.
    fn counts_as_played(self) -> bool {
        matches!(self, Reason::PeerLacksFeature | Reason::PeerTolerates)
    }
}

/// All rows, checked against the catalogue.
#[track_caller]
pub fn rows() -> Vec<Row> {
    let rows: Vec<Row> =
        serde_saphyr::from_str(FILE).unwrap_or_else(|e| panic!("tests/interop/expectations.yaml: {e}"));
    let wrong: Vec<String> = rows.iter().filter_map(|row| Some(format!("{}: {}", row.key(), row.problem()?))).collect();
    assert!(wrong.is_empty(), "tests/interop/expectations.yaml:\n{}", wrong.join("\n"));
    rows
}

/// The played scenarios of the catalogue.
#[track_caller]
pub fn catalogue() -> Vec<LoadedScenario> {
    let mut all = load::embedded().expect("the catalogue loads");
    all.retain(|one| one.scenario.explained.is_none());
    all
}

impl Row {
    pub fn key(&self) -> String {
        format!("{} {} {}", self.peer, self.scenario, self.role)
    }

    /// What is wrong with the row in itself.
    fn problem(&self) -> Option<String> {
        let evidence = self.observed.is_some() && self.packet.is_some() && self.note.is_some();
        let bare = self.observed.is_none() && self.packet.is_none() && self.note.is_none();
        match (self.result, self.reason) {
            (Outcome::Reproduced, None) | (Outcome::NotPlayed, Some(Reason::RoleAbsent)) if bare => None,
            (Outcome::Reproduced, None) => Some("what is reproduced needs no reason".to_owned()),
            // That nothing comes through a tunnel proves nothing where nothing ever does.
            (Outcome::Reproduced, Some(Reason::NeedsKernelEsp)) if evidence => None,
            (Outcome::Reproduced, Some(_)) => Some("what is reproduced needs no reason".to_owned()),
            (_, None) => Some("why is it not reproduced?".to_owned()),
            (Outcome::NotPlayed, _) | (_, Some(Reason::RoleAbsent)) => {
                Some("what has no such role, and only that, is not played".to_owned())
            }
            // Nothing was on the wire.
            (Outcome::Unsupported, Some(_)) if self.note.is_some() && self.packet.is_none() => None,
            (_, Some(_)) if evidence => None,
            (_, Some(_)) => Some("what was observed, in which packet, and what does that mean?".to_owned()),
        }
    }

    /// That the peer was of no use after a case; `None` if it was.
    fn unfit(&self, case: &Value) -> Option<String> {
        let after = &case["honest_after"];
        // What could not be provoked has not touched the peer.
        let fit = *after == true || self.result == Outcome::Unsupported;
        (!fit).then(|| format!("no honest tunnel after it (honest_after: {after})"))
    }

    /// How a case differs from the row; `None` if it does not.
    fn difference(&self, case: &Value) -> Option<String> {
        let found = case["verdict"].as_str().unwrap_or("nothing");
        let needs_esp = self.reason == Some(Reason::NeedsKernelEsp);
        // strongSwan's own data plane has ESP in UDP and no other.
        let in_udp = self.peer == Name::StrongSwan;
        // Without a data plane a verdict about data says as much about the machine as about the peer.
        if found != self.result.word() && (!needs_esp || in_udp) {
            let why = format!("{} {}", case["detail"].as_str().unwrap_or_default(), case["actual"]);
            return Some(format!("{} expected, {found} found: {why}", self.result.word()));
        }
        let (observed, packet) = (self.observed.as_deref()?, self.packet?);
        let rungs = rungs(case);
        if needs_esp && in_udp && !case["esp"].is_array() {
            return Some("nobody has looked for ESP without UDP".to_owned());
        }
        let can = |rung: &Rung| rung.text == "peer: ESP" && !(in_udp && rung.in_udp);
        if needs_esp && rungs.iter().any(can) {
            return Some("the peer has sent ESP: it can play this".to_owned());
        }
        let more = |until: u64| rungs.iter().filter(|rung| rung.uncounted && rung.packet < until).count() as u64;
        let found =
            |rung: &Rung| rung.text == observed && (rung.packet - more(rung.packet)..=rung.packet).contains(&packet);
        (!rungs.iter().any(found)).then(|| {
            let all: String = rungs.iter().map(|rung| format!("\n  {} {}", rung.packet, rung.text)).collect();
            format!("packet {packet} is not {observed:?}; there are{all}")
        })
    }
}

/// A message of a case, or an ESP packet.
struct Rung {
    packet: u64,
    /// Who sent what. SPIs are left out.
    text: String,
    /// A repeat, or a fragment before the last: how many there are is chance. An ECDSA signature is not always as long,
    /// and with one octet more a message is in two.
    uncounted: bool,
    /// ESP that travelled in UDP.
    in_udp: bool,
}

/// What of a case has a packet number, in order.
fn rungs(case: &Value) -> Vec<Rung> {
    let message = |rung: &Value| {
        let text = |key: &str| rung[key].as_str().unwrap_or_default().to_owned();
        let text = format!("{}: {}: {}", text("from"), text("title"), text("content"));
        let spi = |word: &str| word.len() == 8 && word.bytes().all(|b| b.is_ascii_hexdigit());
        let word = |word: &str| if spi(word.trim_end_matches(')')) { "*".to_owned() } else { word.to_owned() };
        let text = text.split(' ').map(word).collect::<Vec<_>>().join(" ");
        let remarks = rung["remarks"].as_array().into_iter().flatten();
        let uncounted = text.ends_with(": SKF") || remarks.into_iter().any(|remark| remark == "sent again");
        Some(Rung { packet: rung["packet"].as_u64()?, text, uncounted, in_udp: false })
    };
    let esp = |packet: &Value| {
        let (number, from) = (packet[0].as_u64()?, packet[1].as_str()?);
        let in_udp = packet[2].as_bool().unwrap_or_default();
        Some(Rung { packet: number, text: format!("{from}: ESP"), uncounted: false, in_udp })
    };
    let list = |key: &str| case[key].as_array().into_iter().flatten();
    let mut rungs: Vec<Rung> = list("ladder").filter_map(message).chain(list("esp").filter_map(esp)).collect();
    rungs.sort_by_key(|rung| rung.packet);
    rungs
}

/// What a run came to, as rows: to be read, and copied once understood.
pub fn as_rows(peer: Name, cases: &[Value]) -> String {
    let mut text = String::new();
    for case in cases {
        let (id, role) = (case["id"].as_str().unwrap_or_default(), case["role"].as_str().unwrap_or_default());
        let verdict = case["verdict"].as_str().unwrap_or_default();
        let head = format!("- {{scenario: {id}, role: {role}, peer: {peer}, result: {verdict}");
        if verdict == "reproduced" && (peer == Name::StrongSwan || !case["esp"].is_array()) {
            text += &format!("{head}}}\n");
            continue;
        }
        text += &format!("# {} | {} | {}\n", case["detail"], case["expected"], case["actual"]);
        for Rung { packet, text: line, uncounted, in_udp } in rungs(case) {
            let uncounted = if uncounted { " (not counted)" } else { "" };
            text += &format!("#   {packet} {line}{}{uncounted}\n", if in_udp { " in UDP" } else { "" });
        }
        text += &format!("{head}, reason: , packet: , observed: , note: }}\n");
    }
    text
}

/// The cases that have a row, each with it.
fn with_rows<'a>(peer: Name, rows: &'a [Row], cases: &'a [Value]) -> impl Iterator<Item = (&'a Value, &'a Row)> {
    cases.iter().filter_map(move |case| {
        let mut rows = rows.iter().filter(|row| row.peer == peer);
        let row = rows.find(|row| case["id"] == *row.scenario && case["role"] == row.role.name())?;
        Some((case, row))
    })
}

/// The cases that are not what their rows say, or that left the peer unfit, with the difference.
pub fn differing(peer: Name, rows: &[Row], cases: &[Value]) -> Vec<(String, Role, String)> {
    let of = |(case, row): (&Value, &Row)| {
        let why = row.difference(case).or_else(|| row.unfit(case))?;
        Some((row.scenario.clone(), row.role, why))
    };
    with_rows(peer, rows, cases).filter_map(of).collect()
}

/// Differences between cases and those rows that there are for them, one per line.
pub fn differences(peer: Name, rows: &[Row], cases: &[Value]) -> Vec<String> {
    let of = |(case, row): (&Value, &Row)| row.difference(case).map(|why| format!("{}: {why}", row.key()));
    with_rows(peer, rows, cases).filter_map(of).collect()
}

/// Differences between cases and rows of one peer, one per line. `strict`: every scenario in every role has a row.
pub fn compare(peer: Name, rows: &[Row], cases: &[Value], catalogue: &[LoadedScenario], strict: bool) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut left: BTreeMap<(&str, Role), &Row> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.peer == peer) {
        if left.insert((&row.scenario, row.role), row).is_some() {
            wrong.push(format!("{}: two rows", row.key()));
        }
    }
    for scenario in catalogue.iter().map(|one| &one.scenario) {
        for role in Role::ALL {
            let here = format!("{peer} {} {role}", scenario.id);
            let Some(row) = left.remove(&(scenario.id.as_str(), role)) else {
                if strict {
                    wrong.push(format!("{here}: no row in expectations.yaml"));
                }
                continue;
            };
            let absent = scenario.roles.get(role).is_none();
            let case = cases.iter().find(|case| case["id"] == *scenario.id && case["role"] == role.name());
            match case {
                _ if absent != (row.reason == Some(Reason::RoleAbsent)) => {
                    wrong.push(format!("{here}: the scenario has {} such role", if absent { "no" } else { "a" }));
                }
                None if absent => {}
                None => wrong.push(format!("{here}: it was not played")),
                Some(case) => {
                    wrong.extend(row.difference(case).map(|why| format!("{here}: {why}")));
                    wrong.extend(row.unfit(case).map(|why| format!("{here}: {why}")));
                }
            }
        }
    }
    wrong.extend(left.values().map(|row| format!("{}: there is no such scenario to play", row.key())));
    wrong
}

/// The counts of one peer.
pub struct Counts {
    peer: Name,
    reproduced: usize,
    reasons: BTreeMap<Reason, usize>,
}

impl Counts {
    pub fn of(peer: Name, rows: &[Row]) -> Counts {
        let mut counts = Counts { peer, reproduced: 0, reasons: BTreeMap::new() };
        for row in rows.iter().filter(|row| row.peer == peer) {
            match row.reason {
                None => counts.reproduced += 1,
                Some(reason) => *counts.reasons.entry(reason).or_default() += 1,
            }
        }
        counts
    }

    /// How many in a hundred of what the peer can play it does not show, rounded up.
    pub fn not_reproduced_percent(&self) -> usize {
        let failed: usize = self.reasons.iter().filter(|(reason, _)| reason.counts_as_played()).map(|(_, n)| n).sum();
        (failed * 100).div_ceil((self.reproduced + failed).max(1))
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<11} {:>4} reproduced", self.peer.to_string(), self.reproduced)?;
        for reason in Reason::ALL {
            write!(f, ", {:>3} {}", self.reasons.get(&reason).unwrap_or(&0), reason.word())?;
        }
        write!(f, "; {} % of what it can play is not reproduced", self.not_reproduced_percent())
    }
}

#[test]
fn every_row_is_sound() {
    let rows = rows();
    for peer in [Name::StrongSwan, Name::Libreswan, Name::OpenIked] {
        println!("{}", Counts::of(peer, &rows));
    }
    for peer in [Name::StrongSwan, Name::Libreswan] {
        let percent = Counts::of(peer, &rows).not_reproduced_percent();
        assert!(percent <= 15, "{peer}: {percent} % of what it can play is not reproduced");
    }
}

#[test]
fn a_row_says_all_or_nothing() {
    let of = |text: &str| {
        serde_saphyr::from_str::<Row>(&format!("{{scenario: a/b, role: initiator, peer: libreswan, {text}}}"))
    };
    let sound = |text: &str| of(text).is_ok_and(|row| row.problem().is_none());
    assert!(sound("result: reproduced"));
    assert!(sound("result: not-seen, reason: peer-tolerates, observed: x, packet: 3, note: y"));
    assert!(sound("result: reproduced, reason: needs-kernel-esp, observed: x, packet: 3, note: y"));
    assert!(sound("result: not-played, reason: role-absent"));
    assert!(!sound("result: not-seen, reason: peer-is-odd, observed: x, packet: 3, note: y"));
    assert!(!sound("result: not-seen, observed: x, packet: 3, note: y"));
    assert!(!sound("result: not-seen, reason: peer-tolerates, observed: x, note: y"));
    assert!(!sound("result: not-played, reason: peer-tolerates"));
    assert!(!sound("result: reproduced, reason: peer-tolerates, observed: x, packet: 3, note: y"));
    let row = "result: not-seen, reason: peer-tolerates, observed: \"peer: X: D(ESP *\", packet: 3, note: y";
    let row = of(row).expect("a row");
    let rung = |packet: u64, title: &str, remarks: &[&str]| serde_json::json!({"packet": packet, "from": "peer", "title": title, "content": "D(ESP 1a2b3c4d)", "remarks": remarks});
    let case = |verdict: &str, ladder: &[Value]| serde_json::json!({"verdict": verdict, "ladder": ladder});
    assert_eq!(row.difference(&case("not-seen", &[rung(3, "X", &[])])), None);
    assert_eq!(row.difference(&case("not-seen", &[rung(2, "X", &["sent again"]), rung(4, "X", &[])])), None);
    let fragment = serde_json::json!({"packet": 1, "from": "peer", "title": "X", "content": "SKF"});
    assert_eq!(row.difference(&case("not-seen", &[fragment.clone(), rung(4, "X", &[])])), None);
    assert!(row.difference(&case("not-seen", &[fragment, rung(5, "X", &[])])).is_some());
    assert!(row.difference(&case("reproduced", &[rung(3, "X", &[])])).is_some());
    assert!(row.difference(&case("not-seen", &[rung(4, "X", &[])])).is_some());
    assert!(row.difference(&case("not-seen", &[rung(3, "Z", &[])])).is_some());
    let row =
        of("result: reproduced, reason: needs-kernel-esp, observed: \"us: ESP\", packet: 3, note: y").expect("a row");
    let mut case = case("reproduced", &[]);
    case["esp"] = serde_json::json!([[3, "us"]]);
    assert_eq!(row.difference(&case), None);
    case["esp"] = serde_json::json!([[3, "us"], [4, "peer"]]);
    assert!(row.difference(&case).is_some());

    // strongSwan's ESP is in UDP: that its verdict is another, or that it has sent protocol 50, is to be looked at.
    let row = Row { peer: Name::StrongSwan, ..row };
    case["esp"] = serde_json::json!([[3, "us", true], [4, "peer", true]]);
    assert_eq!(row.difference(&case), None);
    case["esp"] = serde_json::json!([[3, "us", true], [4, "peer", false]]);
    assert!(row.difference(&case).is_some());
    case["esp"] = serde_json::Value::Null;
    assert!(row.difference(&case).is_some());
    case["esp"] = serde_json::json!([[3, "us", true]]);
    case["verdict"] = "not-seen".into();
    assert!(row.difference(&case).is_some());
}
