//! `ikelab load`, `listen --threads` and `report --merge` as a person runs them.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use ikelab::load::files;
use ikelab::load::summary::{Ceiling, LoadResult};

use crate::cli_errors::{interrupt, rest, until, until_line};

pub struct Lab(tempfile::TempDir);

/// `ikelab listen`, which does not outlive a test that fails.
pub struct Headend(Child);

impl Drop for Headend {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Headend {
    /// Ctrl-C, and its exit code.
    pub fn end(&mut self) -> Option<i32> {
        interrupt(&self.0);
        self.0.wait().unwrap().code()
    }
}

/// How late the tester is, is not the question on a busy machine.
const PATIENT: [&str; 4] = ["--max-lag", "20s", "--max-cpu", "100%"];

impl Lab {
    /// A headend on `127.0.0.NN` with a port of its own, and the file of its initiators.
    pub fn new(host: u8) -> (Lab, Headend) {
        Lab::with(host, "", &["--threads", "2"])
    }

    /// The same with more lines in the headend's file and other flags.
    pub fn with(host: u8, more: &str, flags: &[&str]) -> (Lab, Headend) {
        Lab::at("127.0.0.1", &format!("127.0.0.{host}"), more, flags)
    }

    /// The same with both ends' addresses.
    fn at(ours: &str, theirs: &str, more: &str, flags: &[&str]) -> (Lab, Headend) {
        let lab = Lab(tempfile::tempdir().unwrap());
        let end = |id: &str, remote: &str, ts: (u8, u8)| {
            format!(
                "version: 1\nlocal: {{address: \"{}\", id: \"{id}\"}}\nremote: {remote}\nauth: {{local: {{psk_env: \
                 IKELAB_TEST_PSK}}}}\nike: {{proposals: [aes128gcm16-prfsha256-x25519]}}\nchildren: [{{proposals: [aes128gcm16], \
                 local_ts: [10.{}.0.0/16], remote_ts: [10.{}.0.0/16]}}]\n",
                if ts.0 == 2 { theirs } else { ours },
                ts.0,
                ts.1
            )
        };
        let file = end("fqdn:r.test", "{id: any}", (2, 1)) + more;
        std::fs::write(lab.path().join("r.yaml"), file).unwrap();
        let mut listen = lab.command(&["listen", "-c", "r.yaml", "--out", "listen"]);
        listen.args(flags).args(["--source-port", "0", "--natt-port", "0"]).stdout(Stdio::piped());
        let mut child = listen.spawn().unwrap();
        let text = until_line(&mut child, "listening on");
        let listening = if theirs.contains(':') { format!("[{theirs}]:") } else { format!("{theirs}:") };
        let ports: Vec<&str> = text.split(&listening).skip(1).map(|t| t.split([',', ' ']).next().unwrap()).collect();
        let remote = format!("{{address: \"{theirs}\", port: {}, natt_port: {}}}", ports[0], ports[1]);
        std::fs::write(lab.path().join("i.yaml"), end("email:peer-{n}@lab", &remote, (1, 2))).unwrap();
        (lab, Headend(child))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ikelab"));
        command.args(args).current_dir(self.path()).env("IKELAB_TEST_PSK", "sesame").stdin(Stdio::null());
        command.env_remove("JOB_COMPLETION_INDEX").env_remove("IKELAB_SHARDS");
        command
    }

    pub fn load(&self, args: &[&str]) -> Output {
        let mut command = self.command(&["load", "-c", "i.yaml", "--source-port", "0", "--natt-port", "0"]);
        command.args(args).args(PATIENT).output().unwrap()
    }

    pub fn result(&self, out: &str) -> LoadResult {
        let text = std::fs::read_to_string(self.path().join(out).join("result.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    }
}

pub fn says(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_run_leaves_a_result_and_says_who_was_the_limit() {
    let (lab, mut headend) = Lab::new(71);
    let args = ["--rate", "50", "--for", "2s", "--threads", "2", "--out", "run", "--threshold", "success>=99.9%"];
    let output = lab.load(&[&args[..], &["--threshold", "p99(setup)<10s", "--threshold", "failed<=0"]].concat());
    let text = says(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let first = text.lines().position(|l| l == "thresholds").unwrap();
    assert!(text.lines().skip(first + 1).take(3).all(|l| l.trim_start().starts_with("met ")), "{text}");
    assert!(text.contains("peer or us?") && text.contains("Nobody was the limit"), "{text}");
    assert!(!text.contains('\r') && !text.contains('\u{1b}'), "no cursor tricks in a pipe: {text:?}");
    let result = lab.result("run");
    assert_eq!((result.stages[0].done, result.stages[0].planned, result.exit_code), (100, 100, 0));
    assert_eq!(result.context.ike, ["aes128gcm16-prfsha256-x25519"]);
    let times = files::read_hlog(&std::fs::read(lab.path().join("run").join(files::HLOG)).unwrap()).unwrap();
    assert_eq!(times[0]["T_up"].len(), 100);
    assert!(std::fs::read_to_string(lab.path().join("run").join(files::CSV)).unwrap().lines().count() > 2);
    let page = lab.path().join("run/report.html");
    let html = std::fs::read_to_string(&page).unwrap();
    assert!(html.starts_with("<!DOCTYPE html>") && html.contains("Operations per second") && html.contains("T_up"));
    let again = lab.command(&["report", "run", "--html", "again.html"]).output().unwrap();
    let written = std::fs::read_to_string(lab.path().join("again.html")).unwrap_or_default();
    assert!(again.status.code() == Some(0) && written == html, "{}", says(&again));
    for name in ["slowest.pcapng", "handshakes.txt"] {
        assert!(lab.path().join("run").join(name).exists(), "{name}");
    }
    assert_eq!(headend.end(), Some(0));
    let text = std::fs::read_to_string(lab.path().join("listen/result.json")).unwrap();
    let listened: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&listened["counters"]["ike_sas_up"], &listened["threads"]), (&100.into(), &2.into()), "{listened:#}");
}

/// Both ends' threads share one address; whose a datagram is, is steered by the SPIs in it. An IPv6 header in front of them is
/// nothing that this must see.
#[test]
fn threads_at_both_ends_over_ipv6() {
    let (lab, mut headend) = Lab::at("::1", "::1", "", &["--threads", "2"]);
    let output = lab.load(&["--rate", "50", "--for", "2s", "--threads", "2", "--out", "run"]);
    assert_eq!(output.status.code(), Some(0), "{}", says(&output));
    let result = lab.result("run");
    assert!(result.connection.remote.starts_with("[::1]:"), "{}", result.connection.remote);
    assert!(result.tester.shared_port && result.tester.threads == 2, "{:?}", result.tester);
    let [setup, delete] = &result.stages[..] else { panic!("{:?}", result.stages) };
    assert_eq!((setup.done, setup.failed, setup.retransmits, setup.up), (100, 0, 0, 100), "{setup:?}");
    assert_eq!((delete.done, delete.failed, delete.up), (100, 0, 0), "{delete:?}");
    assert_eq!(headend.end(), Some(0));
    let text = std::fs::read_to_string(lab.path().join("listen/result.json")).unwrap();
    let listened: serde_json::Value = serde_json::from_str(&text).unwrap();
    let by_thread = listened["ike_sas_up_by_thread"].as_array().unwrap();
    assert!(by_thread.len() == 2 && by_thread.iter().all(|up| up.as_u64() > Some(10)), "{listened:#}");
    assert_eq!((&listened["counters"]["child_sas_up"], &listened["counters"]["failed"]), (&100.into(), &0.into()));
    assert!(listened["listening_on"].as_array().unwrap().iter().all(|at| at.as_str().unwrap().starts_with("[::1]:")));
}

#[test]
fn a_missed_threshold_is_1_and_a_tester_that_was_the_limit_is_4() {
    let (lab, mut headend) = Lab::new(72);
    let missed = lab.load(&["--rate", "20", "--for", "1s", "--out", "missed", "--threshold", "p50(setup)<1us"]);
    assert_eq!(missed.status.code(), Some(1), "{}", says(&missed));
    assert!(says(&missed).contains("MISSED p50(setup)<1us"), "{}", says(&missed));
    // No machine does a handshake in 50 microseconds, one after the other.
    let limited =
        lab.load(&["--rate", "20000", "--for", "1s", "--out", "limited", "--max-open", "1", "--threads", "1"]);
    let text = says(&limited);
    assert!(limited.status.code() == Some(4) && text.contains("This tester was the limit"), "{text}");
    assert!(lab.result("limited").stages[0].dropped.in_flight > 0);
    headend.end();
}

#[test]
fn shards_divide_the_work_and_are_joined_again() {
    let (lab, mut headend) = Lab::new(73);
    for shard in ["0/2", "1/2"] {
        let out = format!("shard-{}", &shard[..1]);
        let output =
            lab.load(&["--rate", "40", "--for", "1s", "--shard", shard, "--sources", "127.9.0.0/28", "--out", &out]);
        assert_eq!(output.status.code(), Some(0), "{}", says(&output));
        let result = lab.result(&out);
        assert_eq!((result.stages[0].planned, result.stages[0].done, result.tester.sources), (20, 20, 7));
    }
    let merged = lab.command(&["report", "--merge", "shard-1", "shard-0", "--out", "all"]).output().unwrap();
    assert_eq!(merged.status.code(), Some(0), "{}", says(&merged));
    let result = lab.result("all");
    assert_eq!((result.stages[0].done, result.stages[0].latency["T_up"].count, result.tester.sources), (40, 40, 14));
    // What is done to tunnels that are up is done to all of a shard's, and their recovery is one.
    for shard in ["0/3", "1/3", "2/3"] {
        let args = ["--workload", "storm", "--rate", "40", "--tunnels", "40", "--for", "1s", "--delete-rate", "30"];
        let out = format!("storm-{}", &shard[..1]);
        let output = lab.load(&[&args[..], &["--shard", shard, "--out", &out]].concat());
        assert_eq!(output.status.code(), Some(0), "{}", says(&output));
        let result = lab.result(&out);
        let done: Vec<u64> = result.stages.iter().filter(|s| s.name != "forget").map(|s| s.done).collect();
        let share = if shard == "0/3" { 14 } else { 13 };
        assert_eq!(done, [share; 3], "set-up, storm, delete: {:?}", result.stages);
    }
    let merged =
        lab.command(&["report", "--merge", "storm-0", "storm-1", "storm-2", "--out", "storm"]).output().unwrap();
    assert_eq!(merged.status.code(), Some(0), "{}", says(&merged));
    let recovery = lab.result("storm").recovery.unwrap();
    assert!(recovery.seconds.iter().all(Option::is_some) && recovery.factor.is_some(), "{recovery:?}");
    let twice = lab.command(&["report", "--merge", "shard-1", "shard-1"]).output().unwrap();
    assert!(twice.status.code() == Some(2) && says(&twice).contains("twice"), "{}", says(&twice));
    headend.end();
}

#[test]
fn a_failover_that_never_comes_is_inconclusive_and_needs_liveness_checks() {
    let (lab, mut headend) = Lab::new(85);
    let args = ["--workload", "failover", "--rate", "20", "--tunnels", "5", "--hold", "500ms", "--out", "f"];
    let output = lab.load(&args);
    assert!(output.status.code() == Some(2) && says(&output).contains("liveness checks"), "{}", says(&output));
    let file = lab.path().join("i.yaml");
    let text = std::fs::read_to_string(&file).unwrap() + "dpd: {interval: 5s}\n";
    std::fs::write(&file, text).unwrap();
    let output = lab.load(&args);
    assert_eq!(output.status.code(), Some(4), "{}", says(&output));
    let result = lab.result("f");
    let sentence = result.failover.unwrap();
    assert!(sentence.starts_with("No tunnel went down in") && result.limit.sentence == sentence, "{sentence}");
    assert!(says(&output).contains("went down unasked 0   came up again 0"), "{}", says(&output));
    headend.end();
}

#[test]
fn metrics_are_served_while_it_runs_and_ctrl_c_ends_in_good_order() {
    let (lab, mut headend) = Lab::new(74);
    let mut load = lab.command(&[
        "load",
        "-c",
        "i.yaml",
        "--source-port",
        "0",
        "--natt-port",
        "0",
        "--rate",
        "20",
        "--for",
        "60s",
    ]);
    let mut child =
        load.args(["--metrics", "127.0.0.1:0", "--tunnels", "5", "--out", "m"]).stdout(Stdio::piped()).spawn().unwrap();
    let text = until_line(&mut child, "metrics on");
    let address = text.split("http://").nth(1).unwrap().split('/').next().unwrap().to_owned();
    let page = || {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    until(|| page().contains("ike_tunnel_up{tunnel=\"4\"} 1"));
    assert!(page().contains("ike_established_total 5"), "{}", page());
    let _ = child.kill();
    child.wait().unwrap();

    let mut load = lab.command(&[
        "load",
        "-c",
        "i.yaml",
        "--source-port",
        "0",
        "--natt-port",
        "0",
        "--rate",
        "20",
        "--for",
        "60s",
    ]);
    let mut child = load.args(["--out", "stopped"]).args(PATIENT).stdout(Stdio::piped()).spawn().unwrap();
    until_line(&mut child, "setup");
    std::thread::sleep(std::time::Duration::from_millis(500));
    interrupt(&child);
    let code = child.wait().unwrap().code();
    let result = lab.result("stopped");
    assert!(result.interrupted && result.stages[0].done > 0 && code == Some(0), "{code:?} {:?}", result.stages[0]);
    assert_eq!(result.stages.last().unwrap().up, 0, "what was up was deleted");
    headend.end();
}

#[test]
fn wrong_flags_are_explained() {
    let (lab, mut headend) = Lab::new(75);
    for (args, line) in [
        (&["--rate", "fast"][..], "--rate: `fast` is not a rate like 100"),
        (&["--threshold", "sucess>=1%"], "--threshold: `sucess>=1%`: `sucess` is not measured"),
        (&["--shard", "4/4"], "--shard: `4/4` is not like 0/4"),
        (&["--sources", "::1"], "--sources: not of the peer's IP version"),
        (&["--fault", "bad-pks"], "--fault: "),
        (&["--start-at", "5"], "--start-at: 5 has passed already"),
        (&["--keys"], "--keys: a load run records no packets"),
        (&["--workload", "closed"], "--workload closed: how many --tunnels?"),
    ] {
        let output = lab.load(args);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && text.starts_with(&format!("error: {line}")), "{args:?}: {text}");
    }
    headend.end();
}

#[test]
fn a_search_finds_the_rate_that_is_held_and_what_lies_beyond() {
    // 40 tunnels fit. So in runs of one second, after which all are deleted, 40 per second are held and more are not.
    let (lab, mut headend) = Lab::with(76, "limits: {max_child_sas: 40}\n", &["--threads", "1"]);
    let args = ["--search", "--rate", "20", "--for", "1s", "--trials", "1", "--threads", "1", "--out", "search"];
    let output = lab.load(&args);
    let text = says(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let result = lab.result("search");
    let found = result.capacity.as_ref().unwrap();
    assert!((38.0..=42.0).contains(&found.median), "{found:?}");
    assert_eq!((found.trials.len(), found.range), (1, (found.median, found.median)));
    let offered: Vec<f64> = found.steps.iter().map(|s| s.offered).collect();
    assert_eq!(offered[..4], [20.0, 40.0, 80.0, 60.0], "doubled until missed, then bisected");
    let worst = found.steps.iter().find(|s| s.offered > 79.0).unwrap();
    assert!(!worst.held && !worst.tester_limited && (worst.success - 0.5).abs() < 0.01, "{worst:?}");
    let (low, high) = (
        found.steps.iter().filter(|s| s.held).map(|s| s.offered).fold(0.0, f64::max),
        found.steps.iter().filter(|s| !s.held).map(|s| s.offered).fold(f64::INFINITY, f64::min),
    );
    assert!(low == found.median && high / low <= 1.0501, "{low} {high}");
    // The licence holds whatever is offered: a plateau.
    assert_eq!(found.curve.len(), 7);
    let last = found.curve.last().unwrap();
    assert!((last.offered / found.median - 3.0).abs() < 1e-9 && (last.goodput - 40.0).abs() < 2.0, "{last:?}");
    assert!(found.finding.contains("a plateau: at 3.0 times"), "{}", found.finding);
    assert!(text.contains("capacity\n") && text.contains(&found.finding), "{text}");
    assert_eq!(result.limit.who, "peer");

    // Where no more is tried than is held, that is said instead.
    let capped = ["--search", "--rate", "10", "--max-rate", "20", "--for", "1s", "--trials", "2", "--no-curve"];
    let output = lab.load(&[&capped[..], &["--threads", "1", "--out", "capped"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", says(&output));
    let found = lab.result("capped").capacity.unwrap();
    assert_eq!((found.median, found.range, found.trials.len(), found.curve.len()), (20.0, (20.0, 20.0), 2, 0));
    assert!(found.finding.contains("no more was tried (--max-rate)"), "{}", found.finding);
    headend.end();
}

#[test]
fn a_search_finds_the_rate_of_rekeys_and_of_a_churn() {
    let (lab, mut headend) = Lab::with(87, "", &["--threads", "1"]);
    let common = ["--search", "--trials", "1", "--threads", "1", "--no-curve"];
    let search = |args: &[&str]| lab.load(&[&common[..], args].concat());
    for (kind, times) in [("rekey-ike", "T_rekey_ike"), ("rekey-child", "T_rekey_child")] {
        let args =
            ["--workload", kind, "--tunnels", "20", "--rate", "10", "--max-rate", "20", "--for", "1s", "--out", kind];
        let output = search(&args);
        assert_eq!(output.status.code(), Some(0), "{}", says(&output));
        let result = lab.result(kind);
        let found = result.capacity.as_ref().unwrap();
        assert!(found.of.starts_with("rekeys of ") && found.median == 20.0, "{found:?}");
        assert!(found.finding.contains("no more was tried (--max-rate)"), "{}", found.finding);
        let [set_up, first, second] = &result.stages[..] else { panic!("{:?}", result.stages) };
        assert_eq!((set_up.name.as_str(), set_up.done, first.done, second.done), ("setup", 20, 10, 20));
        assert_eq!((second.up, second.latency[times].count), (20, 20), "the same tunnels go on: {second:?}");
        assert!(found.steps.iter().all(|step| step.held && step.p99 > 0), "{found:?}");
    }
    let args =
        ["--workload", "churn", "--live", "100ms", "--rate", "20", "--max-rate", "40", "--for", "1s", "--out", "churn"];
    let output = search(&args);
    assert_eq!(output.status.code(), Some(0), "{}", says(&output));
    let result = lab.result("churn");
    let found = result.capacity.as_ref().unwrap();
    assert_eq!((found.of.as_str(), found.median), ("tunnels that come and go per second", 40.0));
    let deleted: Vec<u64> = result.stages.iter().map(|stage| stage.aside.done).collect();
    assert!(deleted == [20, 40] && result.stages.iter().all(|stage| stage.up == 0), "{deleted:?}");
    // One tunnel does one rekey at a time, which says nothing about the peer.
    let output =
        search(&["--workload", "rekey-ike", "--tunnels", "1", "--rate", "100000", "--for", "200ms", "--out", "one"]);
    assert_eq!(output.status.code(), Some(4), "{}", says(&output));
    let one = lab.result("one").capacity.unwrap();
    assert!(one.finding.contains("no tunnel was free (--tunnels allows more)"), "{}", one.finding);
    // Nor does it when there are fewer tunnels than are to be set up.
    let output = search(&["--tunnels", "20", "--rate", "50", "--for", "1s", "--out", "few"]);
    assert_eq!(output.status.code(), Some(4), "{}", says(&output));
    let few = lab.result("few").capacity.unwrap();
    assert!(!few.steps[0].held && few.ceiling == Ceiling::Tunnels, "{few:?}");
    // Where nothing succeeds a lower rate is not tried.
    std::fs::write(lab.path().join("psks"), "wrong\n").unwrap();
    let output = search(&["--psk-lines", "psks", "--rate", "20", "--for", "1s", "--out", "none"]);
    assert_eq!(output.status.code(), Some(1), "{}", says(&output));
    let none = lab.result("none").capacity.unwrap();
    assert!(
        none.steps.len() == 1
            && none.ceiling == Ceiling::Futile
            && none.finding.contains("not one succeeded at 20.0 per second"),
        "{none:?}"
    );
    headend.end();
}

#[test]
fn the_tunnel_beyond_the_licence_is_named() {
    let (lab, mut headend) = Lab::with(77, "limits: {max_child_sas: 25}\n", &["--threads", "1"]);
    let output = lab.load(&["--workload", "tunnels", "--rate", "100", "--for", "1s", "--out", "tunnels"]);
    let text = says(&output);
    assert_eq!(output.status.code(), Some(0), "that one is refused is what was asked for: {text}");
    let result = lab.result("tunnels");
    let found = result.capacity.as_ref().unwrap();
    assert_eq!((found.of.as_str(), found.median), ("tunnels", 25.0));
    assert_eq!((found.trials.as_slice(), found.range), (&[25.0; 3][..], (25.0, 25.0)));
    assert!(found.finding.starts_with("tunnel 26 was refused: NO_ADDITIONAL_SAS"), "{}", found.finding);
    assert!(text.contains("tunnel 26 was refused: NO_ADDITIONAL_SAS"), "{text}");
    let failures = &result.stages[0].failures;
    assert!(failures.iter().all(|f| f.class == "no_additional_sas" && f.stage == "child"), "{failures:?}");
    // Below the limit there is nothing to name.
    let output =
        lab.load(&["--workload", "tunnels", "--rate", "100", "--for", "1s", "--tunnels", "25", "--out", "fewer"]);
    assert_eq!(output.status.code(), Some(0), "{}", says(&output));
    let found = lab.result("fewer").capacity.unwrap();
    assert_eq!(found.finding, "all of 25 tunnels came up: no limit was met");
    headend.end();
}

#[test]
fn shards_begin_together_at_the_time_they_were_given() {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    let (lab, mut headend) = Lab::new(78);
    let unix = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let at = unix() + 3.0;
    let begin = |shard: &str, out: &str| {
        let mut load = lab.command(&["load", "-c", "i.yaml", "--source-port", "0", "--natt-port", "0", "--rate", "40"]);
        load.args(["--for", "1s", "--threads", "1", "--shard", shard, "--start-at", &format!("{at:.3}"), "--out", out]);
        load.args(PATIENT).stdout(Stdio::null()).spawn().unwrap()
    };
    let mut first = begin("0/2", "s0");
    std::thread::sleep(Duration::from_millis(700));
    let mut second = begin("1/2", "s1");
    while unix() < at - 0.2 {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(first.try_wait().unwrap().is_none() && second.try_wait().unwrap().is_none(), "both are waiting");
    assert_eq!((first.wait().unwrap().code(), second.wait().unwrap().code()), (Some(0), Some(0)));
    let (s0, s1) = (lab.result("s0"), lab.result("s1"));
    // Each counts from its own begin: the second one waited 0.7 s less.
    let (a, b) = (s0.stages[0].from, s1.stages[0].from);
    assert!(a > b && (0.6..2.5).contains(&(a - b)), "{a} {b}");
    for (result, from) in [(&s0, a), (&s1, b)] {
        let epoch = utc_seconds(&result.started);
        assert!((epoch + from - at).abs() < 1.1, "{} {from} {at}", result.started);
        assert_eq!((result.stages[0].planned, result.stages[0].done), (20, 20));
    }
    headend.end();
}

/// Seconds since 1970 of `2026-01-31T12:00:00...`.
fn utc_seconds(text: &str) -> f64 {
    let n = |range: std::ops::Range<usize>| text[range].parse::<i64>().unwrap();
    let (y, m, d) = (n(0..4), n(5..7), n(8..10));
    let (y, m) = if m < 3 { (y - 1, m + 9) } else { (y, m - 3) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + d - 1 - 719_468;
    (days * 86_400 + n(11..13) * 3600 + n(14..16) * 60 + n(17..19)) as f64
}

#[test]
fn traffic_passes_the_tunnels_and_a_capped_headend_shows_as_a_plateau() {
    let (lab, mut headend) = Lab::with(79, "", &["--threads", "2", "--echo", "--data-cap", "2M"]);
    let args = ["--workload", "traffic", "--rate", "20", "--for", "1s", "--threads", "1", "--hold", "2s"];
    let steps =
        ["--offer", "250k,4M,8M", "--packet-size", "1000", "--out", "t", "--threshold", "p99(first_packet)<10s"];
    let output = lab.load(&[&args[..], &steps].concat());
    let text = says(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let result = lab.result("t");
    assert_eq!(
        (result.context.nat_traversal.as_str(), result.stages[0].latency["T_first_packet"].count),
        ("force", 20)
    );
    let steps: Vec<_> = result.stages.iter().filter_map(|s| s.traffic.as_ref()).collect();
    assert_eq!(steps.iter().map(|t| (t.offered, t.active)).collect::<Vec<_>>(), [(250e3, 20), (4e6, 20), (8e6, 20)]);
    let first = steps[0];
    assert_eq!((first.sent, first.returned, first.unsent, first.bad), (63, 63, 0, 0), "{first:?}");
    assert_eq!((first.loss, first.loss_there, first.loss_back), (0.0, Some(0.0), Some(0.0)));
    assert!((1.03..1.15).contains(&first.overhead), "{first:?}");
    for step in &steps[1..] {
        // The cap counts octets of ESP, the throughput those inside.
        assert!((1.6e6..2.3e6).contains(&step.throughput), "{step:?}");
        assert!(step.loss > 0.4 && step.loss_there.is_some_and(|l| l > 0.4), "{step:?}");
        // What the cap drops outbound was sealed already.
        assert!(step.loss_back.is_some_and(|l| l < 0.2), "{step:?}");
    }
    let found = result.traffic.as_ref().unwrap();
    assert!(found.plateau.is_some_and(|at| (1.6e6..2.3e6).contains(&at)) && found.carried == 250e3, "{found:?}");
    assert!(text.contains("throughput\n  a plateau at ") && text.contains("there or in the peer"), "{text}");
    assert!(result.limit.who == "peer" && result.limit.sentence.contains(&found.finding), "{:?}", result.limit);
    headend.end();
    let listened = std::fs::read_to_string(lab.path().join("listen/result.json")).unwrap();
    let listened: serde_json::Value = serde_json::from_str(&listened).unwrap();
    assert!(listened["counters"]["esp_capped"].as_u64().unwrap() > 1000, "{listened:#}");
}

#[test]
fn a_persona_has_its_licence_and_its_log_over_threads() {
    let (lab, mut headend) = Lab::with(86, "persona: cisco-ios-xe\n", &["--threads", "3", "--echo"]);
    let args = ["--rate", "100", "--tunnels", "230", "--for", "10s", "--threads", "2", "--out", "load"];
    let text = says(&lab.load(&args));
    let result = lab.result("load");
    let stage = &result.stages[0];
    // Three threads with whatever part of the tunnels each: together as many as the licence allows.
    assert_eq!((stage.done, stage.failed), (225, 5), "{stage:?} {text}");
    assert!(stage.failures.iter().all(|f| f.class == "no_additional_sas"), "{:?}", stage.failures);
    interrupt(&headend.0);
    let shown = rest(&mut headend.0);
    assert_eq!(headend.0.wait().unwrap().code(), Some(0), "{shown}");
    assert!(shown.contains("plays cisco-ios-xe: a model of "), "{shown}");
    let carries = "carries 225 Child SAs and 85.0 Mb/s of ESP in each direction at most, all threads together\n";
    assert!(shown.contains(carries), "{shown}");
    assert!(shown.contains("    log  %IKEV2-5-SA_UP: SA UP  [modelled]\n"), "{shown}");
    assert!(shown.contains(" more lines in that second, in peer.log\n"), "{shown}");
    let log = std::fs::read_to_string(lab.path().join("listen/peer.log")).unwrap();
    assert_eq!(log.lines().filter(|line| line.ends_with("  modelled    %IKEV2-5-SA_UP: SA UP")).count(), 230, "{log}");
    let listened = std::fs::read_to_string(lab.path().join("listen/result.json")).unwrap();
    let listened: serde_json::Value = serde_json::from_str(&listened).unwrap();
    let each = listened["ike_sas_up_by_thread"].as_array().unwrap();
    assert!(each.len() == 3 && each.iter().all(|up| up.as_u64() > Some(0)), "{listened:#}");
    assert_eq!(listened["counters"]["child_sas_up"], 225, "{listened:#}");
    assert_eq!((&listened["persona"], &listened["peer_log"]["lost"]), (&"cisco-ios-xe".into(), &0.into()));
    assert_eq!(listened["peer_log"]["lines"], log.lines().count(), "{listened:#}");
}

#[test]
fn a_headend_without_a_cap_carries_what_is_offered_over_threads() {
    let (lab, mut headend) = Lab::with(80, "", &["--threads", "2", "--echo"]);
    let args = ["--workload", "traffic", "--rate", "20", "--for", "1s", "--threads", "2", "--hold", "1s"];
    let output = lab.load(&[&args[..], &["--offer", "1M,2M", "--udp-echo", "--out", "t"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", says(&output));
    let result = lab.result("t");
    let found = result.traffic.as_ref().unwrap();
    assert_eq!((found.plateau, found.carried), (None, 2e6), "{found:?}");
    assert!(result.stages[1].latency["T_rtt"].count > 80, "{:?}", result.stages[1].latency);
    for (args, says) in [
        (["--offer", "5M,1M"], "--offer: `5M,1M` does not rise"),
        (["--offer", "fast"], "--offer: `fast` is not a list of rates"),
        (["--packet-size", "9000"], "--packet-size: 9000 is not from 72 to 1500"),
    ] {
        let output = lab.load(&[&["--workload", "traffic"], &args[..]].concat());
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && text.contains(says), "{text}");
    }
    headend.end();
}

#[test]
fn an_echo_host_that_does_not_answer_is_a_missed_threshold() {
    // Without --echo nobody takes the packets.
    let (lab, mut headend) = Lab::with(89, "", &["--threads", "1"]);
    let args =
        ["--workload", "traffic", "--rate", "10", "--for", "1s", "--threads", "1", "--tunnels", "2", "--hold", "1s"];
    let output = lab.load(&[&args[..], &["--offer", "500k,1M", "--out", "mute"]].concat());
    let text = says(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let result = lab.result("mute");
    assert!(result.limit.who == "peer" && result.limit.sentence.contains("nothing came back of 1.0 Mb/s"), "{text}");
    assert!(text.contains("MISSED carried>0") && text.contains("0 kb/s"), "{text}");
    let asked = ["--threshold", "loss<=1%", "--threshold", "throughput<1M", "--threshold", "carried>=500k"];
    let output = lab.load(&[&args[..], &["--offer", "500k", "--out", "asked"], &asked].concat());
    assert_eq!(output.status.code(), Some(1), "{}", says(&output));
    let met: Vec<bool> = lab.result("asked").thresholds.iter().map(|t| t.met).collect();
    assert_eq!(met, [false, true, false], "{}", says(&output));
    headend.end();
}

#[test]
fn traffic_goes_where_the_tunnels_are() {
    // One tunnel, which one of four threads has; and two processes, of which one has two of three.
    let (lab, mut headend) = Lab::with(88, "", &["--threads", "1", "--echo"]);
    let args = ["--workload", "traffic", "--rate", "10", "--for", "1s", "--hold", "1s", "--offer", "1M,3M"];
    let output = lab.load(&[&args[..], &["--tunnels", "1", "--threads", "4", "--out", "one"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", says(&output));
    let steps = |out: &str| -> Vec<(f64, u64, u64)> {
        let stages = lab.result(out).stages;
        stages.iter().filter_map(|s| s.traffic.as_ref()).map(|t| (t.offered, t.sent + t.late, t.unsent)).collect()
    };
    assert_eq!(steps("one"), [(1e6, 90, 0), (3e6, 268, 0)]);
    for (shard, offered) in [("0/2", [2e6 / 3.0, 2e6]), ("1/2", [1e6 / 3.0, 1e6])] {
        let output =
            lab.load(&[&args[..], &["--tunnels", "3", "--threads", "2", "--shard", shard, "--out", "s"]].concat());
        assert_eq!(output.status.code(), Some(0), "{}", says(&output));
        for ((rate, sent, unsent), offered) in steps("s").into_iter().zip(offered) {
            let packets = offered / 8.0 / 1400.0;
            assert!((rate - offered).abs() < 1.0 && unsent == 0, "{rate} {unsent}");
            assert!((sent as f64 - packets).abs() <= 2.0, "{shard}: {sent} of {packets}");
        }
        std::fs::remove_dir_all(lab.path().join("s")).unwrap();
    }
    // A host that no tunnel leads to: nothing can be sent, and that is no fault of the peer's.
    let output = lab.load(&[&args[..], &["--tunnels", "2", "--echo", "10.77.0.1", "--out", "astray"]].concat());
    let text = says(&output);
    assert!(output.status.code() == Some(4) && text.contains("packets had no tunnel to go through"), "{text}");
    headend.end();
}

#[test]
fn more_child_sas_are_made_at_a_rate_or_round_by_round() {
    let (lab, mut headend) = Lab::new(81);
    let args = ["--workload", "children", "--children", "3", "--rate", "20", "--for", "1s"];
    let output = lab.load(&[&args[..], &["--over", "1s", "--out", "spread"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", says(&output));
    let result = lab.result("spread");
    let stage = &result.stages[1];
    assert_eq!((stage.name.as_str(), stage.planned, stage.done, stage.failed), ("children", 60, 60, 0), "{stage:?}");
    assert!((stage.achieved_rate - 60.0).abs() < 1e-9 && stage.latency["T_child"].count == 60, "{stage:?}");
    let output = lab.load(&[&args[..], &["--out", "rounds"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", says(&output));
    let rounds: Vec<u64> =
        lab.result("rounds").stages.iter().filter(|s| s.name == "children").map(|s| s.done).collect();
    assert_eq!(rounds, [20, 20, 20]);
    headend.end();
    let listened = std::fs::read_to_string(lab.path().join("listen/result.json")).unwrap();
    let listened: serde_json::Value = serde_json::from_str(&listened).unwrap();
    assert_eq!(listened["counters"]["child_sas_up"], 2 * (20 + 60), "{listened:#}");
}

#[test]
fn a_soak_says_whether_anything_was_kept() {
    let (lab, mut headend) = Lab::with(82, "limits: {linger: 200ms}\n", &["--threads", "1"]);
    let file = lab.path().join("i.yaml");
    std::fs::write(&file, std::fs::read_to_string(&file).unwrap() + "limits: {linger: 200ms}\n").unwrap();
    let args = ["--workload", "soak", "--rate", "20", "--for", "21s", "--live", "500ms", "--threads", "1"];
    let output = lab.load(&[&args[..], &["--out", "soak"]].concat());
    let text = says(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let result = lab.result("soak");
    let leaks = result.leaks.as_ref().unwrap();
    assert!(!leaks.leak && leaks.memory_judged && leaks.sentence.starts_with("No leak: memory"), "{leaks:?}");
    assert_eq!((leaks.end.sas, leaks.begin.descriptors), (0, leaks.end.descriptors), "{leaks:?}");
    assert!(leaks.early.unwrap().sas > 0 && leaks.late.unwrap().at > leaks.early.unwrap().at, "{leaks:?}");
    assert_eq!((result.stages[0].done, result.stages[0].aside.done), (420, 420));
    let last = result.thresholds.last().unwrap();
    assert!(last.threshold == "no leak" && last.met && text.contains("\nleaks\n"), "{text}");
    headend.end();
    let listened = std::fs::read_to_string(lab.path().join("listen/result.json")).unwrap();
    let listened: serde_json::Value = serde_json::from_str(&listened).unwrap();
    assert_eq!(
        (&listened["leaks"]["leak"], &listened["leaks"]["end"]["sas"]),
        (&false.into(), &0.into()),
        "{listened:#}"
    );
}

#[test]
fn rates_figures_and_help_are_what_they_say() {
    // Our own template syntax has braces, which the help printer would take for its own.
    let (lab, mut headend) = Lab::new(83);
    let help = lab.command(&["load", "--help"]).output().unwrap();
    assert!(says(&help).contains("peer-{n4}@lab") && says(&help).contains("secret-{n4}"), "{}", says(&help));

    // A plan that is used up after a second is a second long, whatever --for says.
    let output = lab.load(&["--rate", "40", "--tunnels", "40", "--for", "60s", "--out", "short"]);
    let text = says(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("planned 40.0/s   attempted 40.0/s   achieved 40.0/s over 1.0 s"), "{text}");
    assert!(text.contains("tunnels configured 40   established 40   active not asked"), "{text}");
    assert!(text.contains("security context\n  IKE aes128gcm16-prfsha256-x25519; ESP aes128gcm16; PFS none"), "{text}");

    // A share of what a search has found.
    let search = ["--search", "--rate", "10", "--max-rate", "20", "--for", "1s", "--trials", "1", "--no-curve"];
    assert_eq!(lab.load(&[&search[..], &["--out", "knee"]].concat()).status.code(), Some(0));
    let output = lab.load(&["--rate", "50%:knee", "--for", "1s", "--out", "half"]);
    assert_eq!(lab.result("half").stages[0].planned_rate, 10.0, "{}", says(&output));
    for (args, line) in [
        (&["--rate", "50%:half"][..], "--rate: half/result.json holds no rate of set-ups that a --search has found"),
        (&["--for", "5s", "--warm-up", "5s"], "--warm-up: 5s is not shorter than --for 5s"),
        (&["--search", "--workload", "hold"], "--search: with --workload setup, churn, rekey-ike or rekey-child"),
        (&["--search", "--workload", "rekey-ike"], "--search: how many --tunnels are to be rekeyed?"),
        (&["--search", "--shard", "0/2"], "--search: each shard would look for a limit of its own"),
        (&["--certs", "."], "--certs: . holds no 0.pem"),
        (&["--pfs", "modp9"], "--pfs: "),
    ] {
        let output = lab.load(args);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && text.contains(line), "{args:?}: {text}");
    }

    // Of a large pool as many addresses are used as there are tunnels.
    let output = lab.load(&["--rate", "10", "--for", "1s", "--sources", "127.9.0.0/16", "--out", "many"]);
    assert_eq!(lab.result("many").tester.sources, 10, "{}", says(&output));

    // A flood says what it met, and is no failure of the peer.
    let output = lab.load(&["--workload", "flood", "--rate", "40", "--for", "1s", "--drain", "1s", "--out", "flood"]);
    let text = says(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("40 IKE_SA_INIT requests without an IKE_AUTH to follow: the peer answered 40"), "{text}");
    headend.end();
}

#[test]
fn rekeys_with_pfs_fail_where_the_peer_has_none() {
    let (lab, mut headend) = Lab::new(84);
    let args =
        ["--workload", "rekey-child", "--rate", "40", "--tunnels", "20", "--over", "1s", "--arrivals", "poisson"];
    let plain = lab.load(&[&args[..], &["--pfs", "none", "--out", "plain"]].concat());
    assert_eq!(plain.status.code(), Some(0), "{}", says(&plain));
    let rekeys = &lab.result("plain").stages[1];
    assert_eq!((rekeys.planned, rekeys.done, rekeys.at_once), (20, 20, false), "{rekeys:?}");
    let with = lab.load(&[&args[..], &["--pfs", "x25519", "--out", "pfs"]].concat());
    assert_eq!(with.status.code(), Some(1), "{}", says(&with));
    let result = lab.result("pfs");
    assert_eq!((result.stages[1].failed, result.context.pfs.len()), (20, 1));
    assert_eq!(result.stages[1].failures[0].class, "pfs_mismatch_at_rekey");
    headend.end();
}
