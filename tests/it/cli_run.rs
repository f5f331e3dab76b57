//! `ikelab run` against a peer that a script drives: what ends a run early, and what it says before it begins.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::cli_errors::{Lab, interrupt, rest, until, until_line};

/// Says that it was started, and by which process; never makes anybody initiate, and takes a minute for that.
const NEVER: &str = "control: {initiate: 'sleep 60 & echo $! >started; wait', clear: 'echo >>cleared'}\n";

/// A peer that answers, and a run that waits for it to initiate.
struct Waiting {
    lab: Lab,
    listen: Child,
    run: Child,
    shown: String,
    began: Instant,
}

impl Waiting {
    /// Returns once the box has been told to initiate.
    fn new(args: &[&str]) -> Waiting {
        let lab = Lab::new();
        lab.both_ends();
        let file = std::fs::read_to_string(lab.path().join("i.yaml")).unwrap();
        lab.file("i.yaml", &(file + NEVER));
        let mut listen = lab.command(&["listen", "-c", "r.yaml", "--out", "r"]);
        let mut listen = listen.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        until_line(&mut listen, "listening on ");
        let began = Instant::now();
        let mut run = lab.command(&["run", "auth/psk-mismatch", "--role", "responder", "-c", "i.yaml"]);
        run.args(["--peer", "127.0.0.1", "--out", "run"]).args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut run = run.spawn().unwrap();
        let shown = until_line(&mut run, "        PASS ");
        until(|| started(lab.path()).is_some());
        Waiting { lab, listen, run, shown, began }
    }

    /// Waits for the end; everything shown and the result.
    fn end(mut self, code: i32) -> (String, Value, Duration) {
        self.shown.push_str(&rest(&mut self.run));
        assert_eq!(self.run.wait().unwrap().code(), Some(code), "{}", self.shown);
        let took = self.began.elapsed();
        let pid = started(self.lab.path()).unwrap();
        until(|| !lives(&pid));
        let kept = std::fs::read_dir(self.lab.path().join("run/control")).unwrap().flatten();
        let texts: Vec<String> = kept.map(|f| std::fs::read_to_string(f.path()).unwrap()).collect();
        assert!(texts.iter().any(|t| t.contains("outcome: ended because the run stops\n")), "{texts:?}");
        let result = std::fs::read_to_string(self.lab.path().join("run/result.json")).unwrap();
        (std::mem::take(&mut self.shown), serde_json::from_str(&result).unwrap(), took)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        for child in [&mut self.listen, &mut self.run] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The process that the script has started.
fn started(lab: &Path) -> Option<String> {
    let text = std::fs::read_to_string(lab.join("started")).ok()?;
    text.ends_with('\n').then(|| text.trim().to_owned())
}

/// A process that has ended and that nobody has asked for does not live.
fn lives(pid: &str) -> bool {
    let status = std::fs::read_to_string(Path::new("/proc").join(pid).join("status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && !line.contains('Z'))
}

/// The plan stands before the first result; Ctrl-C ends the script that makes the box initiate, and everything is written.
#[test]
fn an_interrupt_ends_what_drives_the_box() {
    let waiting = Waiting::new(&[]);
    let plan = waiting.shown.find("     1 scenarios, about ");
    assert!(plan.is_some() && plan < waiting.shown.find("        PASS "), "{}", waiting.shown);
    assert!(waiting.lab.path().join("cleared").exists(), "the box forgets before each tunnel");
    let asked = Instant::now();
    interrupt(&waiting.run);
    let (shown, result, _) = waiting.end(4);
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}: {shown}", asked.elapsed());
    assert_eq!((&result["stopped"], &result["interrupted"]), (&"interrupted".into(), &true.into()), "{result}");
    assert!(shown.contains("0/1 run: ") && shown.contains("1 not run (interrupted)"), "{shown}");
}

/// The same when the time is over.
#[test]
fn the_time_that_was_given_is_kept() {
    let waiting = Waiting::new(&["--max-time", "5s"]);
    let (shown, result, took) = waiting.end(4);
    assert!(took < Duration::from_secs(6) && took > Duration::from_secs(2), "{took:?}: {shown}");
    let why = "the time given with --max-time is over";
    assert_eq!((&result["stopped"], &result["interrupted"]), (&why.into(), &false.into()), "{result}");
    let case = result["cases"].as_array().unwrap().iter().find(|c| c["id"] == "auth/psk-mismatch").unwrap();
    assert_eq!(
        (&case["verdict"], &case["detail"]),
        (&"inconclusive".into(), &format!("not run: {why}").into()),
        "{case}"
    );
}

#[test]
fn run_has_the_flags_of_the_other_commands() {
    let lab = Lab::new();
    let help = |command: &str| {
        let output = lab.command(&[command, "--help"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let (connect, run) = (help("connect"), help("run"));
    for flag in ["--out <DIR>", "--json", "--seed <TEXT>", "--verbose", "--keys", "--source-port <PORT>"]
        .into_iter()
        .chain(["--natt-port <PORT>", "--interface <NAME>", "--i-own-this-target"])
    {
        assert!(connect.contains(flag) && run.contains(flag), "{flag}\n{connect}\n{run}");
    }
}

/// A run without a peer tests nothing of the box that the file names, and says so before and after.
#[test]
fn a_run_that_leaves_the_box_out_says_so() {
    let lab = Lab::new();
    lab.both_ends();
    let run = |args: &[&str]| {
        let case = ["run", "auth/psk-mismatch", "--role", "initiator"];
        let output = lab.command(&[&case[..], args].concat()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (shown, warned) = run(&["-c", "i.yaml", "--out", "a"]);
    let note = "sent to 127.0.0.1, which i.yaml names; add --peer 127.0.0.1 to test it\n";
    assert!(shown.contains(&format!("     NOTE: nothing is {note}")), "{shown}");
    assert_eq!(warned, format!("warning: nothing was {note}"));
    // Where nobody could take it for the box there is nothing to say.
    for args in [&["--out", "b"][..], &["-c", "i.yaml", "--sim", "--out", "c"]] {
        let (shown, warned) = run(args);
        assert!(!shown.contains("NOTE") && warned.is_empty(), "{shown}{warned}");
    }
}

/// A finished run is printed again as it was, and takes in what the box logged meanwhile.
#[test]
fn a_finished_run_is_reported_again_with_the_boxs_own_lines() {
    let lab = Lab::new();
    let ran = lab.command(&["run", "auth/psk-mismatch", "--role", "initiator", "--out", "run"]).output().unwrap();
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    let report = |args: &[&str]| {
        let output = lab.command(&[&["report", "run"], args].concat()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, again, _) = report(&[]);
    let first = String::from_utf8(ran.stdout).unwrap();
    assert_eq!((code, again.as_str()), (Some(0), first.as_str()));

    let result: Value =
        serde_json::from_str(&std::fs::read_to_string(lab.path().join("run/result.json")).unwrap()).unwrap();
    let case = &result["cases"].as_array().unwrap().iter().find(|case| case["id"] == "auth/psk-mismatch").unwrap();
    let refused = case["ladder"].as_array().unwrap().iter().find(|rung| rung["bad"] == true).expect("a refusal");
    let at = case["at"].as_f64().unwrap() + refused["at"].as_f64().unwrap();
    // The box is an hour ahead.
    let nanos = result["started_unix_ms"].as_u64().unwrap() * 1_000_000 + (at * 1e9) as u64 + 3_600_000_000_000;
    let line = format!("{} asa %ASA-4-750003: ERROR: <b>", ikelab::time::utc_text(nanos));
    lab.file("asa.log", &format!("{line}\nno time\n"));
    let page = || std::fs::read_to_string(lab.path().join("run/report.html")).unwrap();
    let (_, text, warned) = report(&["--syslog", "asa.log"]);
    assert!(text.contains("asa.log: 0 lines placed, 1 while no scenario ran, 1 without a time"), "{text}");
    assert!(warned.contains("--syslog-shift") && !page().contains("750003: ERROR"), "{warned}");
    let (_, text, _) = report(&["--syslog", "asa.log", "--syslog-shift", "-3600s", "--junit", "j.xml"]);
    assert!(text.contains("asa.log: 1 lines placed, 0 while"), "{text}");
    assert!(page().contains("%ASA-4-750003: ERROR: &lt;b&gt;"));
    assert!(std::fs::read_to_string(lab.path().join("j.xml")).unwrap().starts_with("<?xml"));

    // Beside itself nothing is different; a case that the box no longer shows is.
    let text = std::fs::read_to_string(lab.path().join("run/result.json")).unwrap();
    std::fs::create_dir(lab.path().join("old")).unwrap();
    lab.file("old/result.json", &text);
    let (code, text, _) = report(&["--compare", "old"]);
    assert!(code == Some(0) && text.contains("Summary 1 as before, 0 with another verdict"), "{text}");
    let was = std::fs::read_to_string(lab.path().join("old/result.json")).unwrap();
    let was = was.replace("\"verdict\": \"reproduced\"", "\"verdict\": \"not-seen\"");
    lab.file("old/result.json", &was);
    let (code, text, _) = report(&["--compare", "old"]);
    assert!(code == Some(1) && text.contains("CHANGED auth/psk-mismatch initiator: NOT SEEN -> REPRODUCED"), "{text}");
    let (code, _, wrong) = report(&["--compare", "nowhere"]);
    assert!(code == Some(2) && wrong.contains("cannot read nowhere/result.json"), "{wrong}");

    let (code, _, wrong) = report(&["--syslog", "asa.log", "--syslog-shift", "soon"]);
    assert!(code == Some(2) && wrong.contains("--syslog-shift"), "{wrong}");
    lab.file("run/result.json", r#"{"version": 99, "command": "run"}"#);
    let (code, _, wrong) = report(&[]);
    assert!(code == Some(2) && wrong.contains("version 99 is not 1"), "{wrong}");
}
