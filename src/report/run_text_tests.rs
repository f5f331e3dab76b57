use super::*;
use crate::report::run_junit;
use crate::scenario::load;
use crate::scenario::sample::sample;
use crate::vendor::persona::Basis;

fn print(run: &RunResult, color: bool, verbose: bool) -> String {
    let mut report = RunText::new(color, verbose);
    let mut text = report.head(run, "runs/0412-1530/");
    for case in &run.cases {
        text.push_str(&report.case(case));
    }
    text.push_str(&report.summary(run));
    text
}

#[test]
fn piped() {
    insta::assert_snapshot!(print(&sample(), false, false));
}

#[test]
fn verbose() {
    insta::assert_snapshot!(print(&sample(), false, true));
}

#[test]
fn coloured_says_the_same() {
    let coloured = print(&sample(), true, false);
    assert!(coloured.contains("\u{1b}[32m  REPRODUCED\u{1b}[0m"), "{coloured:?}");
    assert!(coloured.contains("\u{1b}[31m    NOT SEEN\u{1b}[0m"));
    assert!(coloured.contains("\u{1b}[33mINCONCLUSIVE\u{1b}[0m"));
    let mut plain = String::new();
    let mut rest = coloured.as_str();
    while let Some((before, behind)) = rest.split_once('\u{1b}') {
        plain.push_str(before);
        rest = behind.split_once('m').map_or("", |(_, rest)| rest);
    }
    plain.push_str(rest);
    assert_eq!(plain, print(&sample(), false, false));
    // No cursor movement, no carriage return: a log keeps every line.
    assert!(!coloured.contains('\r') && !coloured.contains("\u{1b}[A") && !coloured.contains("\u{1b}[K"));
}

#[test]
fn keys_are_announced_loudly() {
    let mut run = sample();
    run.security.keys_exported = true;
    run.peer.notes = vec!["embedded peer: a demonstration, not evidence about a vendor".into()];
    let text = print(&run, false, false);
    assert!(text.contains("KEYS ARE WRITTEN"));
    assert!(text.contains("not evidence about a vendor"));
}

#[test]
fn a_personas_log_is_short_and_says_what_is_left_out() {
    let logs = |texts: &[&str], verbose| {
        let mut case = sample().cases.remove(2);
        case.peer_log =
            texts.iter().map(|text| PeerLine { at: 0.0, text: (*text).into(), basis: Basis::Observed }).collect();
        let text = RunText::new(false, verbose).case(&case);
        text.split_once("it logs")
            .map_or(String::new(), |(_, lines)| lines.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    assert_eq!(logs(&[], false), "");
    assert_eq!(logs(&["a", "a", "a", "b", "a"], false), "a (observed, 3 times) b (observed) a (observed)");
    let five = "a (observed) b (observed) c (observed) d (observed) e (observed)";
    assert_eq!(logs(&["a", "b", "c", "d", "e"], false), five);
    let six = logs(&["a", "b", "c", "d", "e", "e", "f"], false);
    assert_eq!(six, "a (observed) b (observed) c (observed) d (observed) and 3 lines more, with -v and in peer.log");
    let all = logs(&["a", "b", "c", "d", "e", "f"], true);
    assert!(all.starts_with(&format!("{five} f (observed)")), "{all}");
}

#[test]
fn junit_tells_a_wrong_peer_from_a_broken_lab() {
    insta::assert_snapshot!(run_junit::junit(&sample()));
}

#[test]
fn json_is_versioned() {
    let value: serde_json::Value = serde_json::from_str(&run_junit::json(&sample())).expect("it is JSON");
    assert_eq!(value["version"], 1);
    assert_eq!(value["plan_seed"], "monday");
    assert_eq!(value["cases"][2]["verdict"], "reproduced");
    assert_eq!(value["cases"][4]["verdict"], "not-seen");
    assert_eq!(value["summary"]["unsupported"], 1);
}

#[test]
fn a_catalogue_entry_reads_well() {
    let all = load::embedded().expect("they load");
    let one = all.iter().find(|one| one.scenario.id == "auth/psk-mismatch").expect("it is there");
    insta::assert_snapshot!(entry(one, 100));
}

#[test]
fn a_fix_says_what_else_it_changes() {
    let all = load::embedded().expect("they load");
    let of = |id: &str| {
        let one = all.iter().find(|one| one.scenario.id == id).expect("it is there");
        let text = entry(one, 200);
        text.split_once("\nFix\n").map(|(_, fix)| fix.to_owned()).expect("it has a fix")
    };
    let fix = of("auth/fragmentation-mismatch");
    assert_eq!(fix.matches("may serve other tunnels").count(), 1, "{fix}");
    assert!(fix.contains("      crypto ikev2 fragmentation mtu 1400  [every tunnel]\n"), "{fix}");
    assert!(fix.contains("[every tunnel] marks"), "{fix}");
    let (asa, after) = fix.split_once("\n  FTD\n").expect("FTD follows the ASA");
    assert!(asa.contains("  ASA") && after.contains("system support diagnostic-cli") && after.contains("  PAN-OS"));
    let own = of("sa-init/parent-sa-failed");
    assert!(own.contains("  FTD\n      - the same captures") && !own.contains(FTD_NOTE), "{own}");
    assert!(!own.contains("[every tunnel]"), "{own}");
    let nothing = of("load/licence-85mbps");
    assert!(nothing.contains("may serve") && !nothing.contains("  FTD"), "nothing to do on an ASA: {nothing}");
    assert!(!of("sa-init/nonce-too-long").contains("may serve"), "nothing to type at all");
}

#[test]
fn the_list() {
    let all = load::embedded().expect("they load");
    let text = list(&all);
    assert_eq!(text.lines().count(), all.len());
    let line = |id: &str| text.lines().find(|line| line.starts_with(id)).unwrap_or_else(|| panic!("{id} is not there"));
    let played = line("auth/psk-mismatch ");
    assert!(played.ends_with("initiator (the peer detects), responder (we detect)"), "{played}");
    assert!(line("auth/psk-missing ").ends_with(" explained"));
}
