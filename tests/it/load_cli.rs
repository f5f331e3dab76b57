//! `ikelab load`, `listen --threads` and `report --merge` as a person runs them.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use ikelab::load::files;
use ikelab::load::summary::LoadResult;

use crate::cli_errors::{interrupt, until, until_line};

struct Lab(tempfile::TempDir);

/// How late the tester is, is not the question on a busy machine.
const PATIENT: [&str; 4] = ["--max-lag", "20s", "--max-cpu", "100%"];

impl Lab {
    /// A headend on `127.0.0.NN` with a port of its own, and the file of its initiators.
    fn new(host: u8) -> (Lab, Child) {
        let lab = Lab(tempfile::tempdir().unwrap());
        let end = |id: &str, remote: &str, ts: (u8, u8)| {
            format!(
                "version: 1\nlocal: {{address: 127.0.0.{}, id: \"{id}\"}}\nremote: {remote}\nauth: {{local: {{psk_env: \
                 IKELAB_TEST_PSK}}}}\nike: {{proposals: [aes128gcm16-prfsha256-x25519]}}\nchildren: [{{proposals: [aes128gcm16], \
                 local_ts: [10.{}.0.0/16], remote_ts: [10.{}.0.0/16]}}]\n",
                if ts.0 == 2 { host } else { 1 },
                ts.0,
                ts.1
            )
        };
        std::fs::write(lab.path().join("r.yaml"), end("fqdn:r.test", "{id: any}", (2, 1))).unwrap();
        let mut listen = lab.command(&["listen", "-c", "r.yaml", "--threads", "2", "--out", "listen"]);
        listen.args(["--source-port", "0", "--natt-port", "0"]).stdout(Stdio::piped());
        let mut child = listen.spawn().unwrap();
        let text = until_line(&mut child, "listening on");
        let ports: Vec<&str> =
            text.split(&format!("127.0.0.{host}:")).skip(1).map(|t| t.split([',', ' ']).next().unwrap()).collect();
        let remote = format!("{{address: 127.0.0.{host}, port: {}, natt_port: {}}}", ports[0], ports[1]);
        std::fs::write(lab.path().join("i.yaml"), end("email:peer-{n}@lab", &remote, (1, 2))).unwrap();
        (lab, child)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ikelab"));
        command.args(args).current_dir(self.path()).env("IKELAB_TEST_PSK", "sesame").stdin(Stdio::null());
        command.env_remove("JOB_COMPLETION_INDEX").env_remove("IKELAB_SHARDS");
        command
    }

    fn load(&self, args: &[&str]) -> Output {
        let mut command = self.command(&["load", "-c", "i.yaml", "--source-port", "0", "--natt-port", "0"]);
        command.args(args).args(PATIENT).output().unwrap()
    }

    fn result(&self, out: &str) -> LoadResult {
        let text = std::fs::read_to_string(self.path().join(out).join("result.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    }
}

fn says(output: &Output) -> String {
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
    for name in ["slowest.pcapng", "handshakes.txt"] {
        assert!(lab.path().join("run").join(name).exists(), "{name}");
    }
    interrupt(&headend);
    assert_eq!(headend.wait().unwrap().code(), Some(0));
    let text = std::fs::read_to_string(lab.path().join("listen/result.json")).unwrap();
    let listened: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&listened["counters"]["ike_sas_up"], &listened["threads"]), (&100.into(), &2.into()), "{listened:#}");
}

#[test]
fn a_missed_threshold_is_1_and_a_tester_that_was_the_limit_is_4() {
    let (lab, mut headend) = Lab::new(72);
    let missed = lab.load(&["--rate", "20", "--for", "1s", "--out", "missed", "--threshold", "p50(setup)<1us"]);
    assert_eq!(missed.status.code(), Some(1), "{}", says(&missed));
    assert!(says(&missed).contains("MISSED p50(setup)<1us"), "{}", says(&missed));
    let limited = lab.load(&["--rate", "500", "--for", "1s", "--out", "limited", "--max-open", "1", "--threads", "1"]);
    let text = says(&limited);
    assert!(limited.status.code() == Some(4) && text.contains("This tester was the limit"), "{text}");
    assert!(lab.result("limited").stages[0].dropped.in_flight > 0);
    interrupt(&headend);
    headend.wait().unwrap();
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
    let twice = lab.command(&["report", "--merge", "shard-1", "shard-1"]).output().unwrap();
    assert!(twice.status.code() == Some(2) && says(&twice).contains("twice"), "{}", says(&twice));
    interrupt(&headend);
    headend.wait().unwrap();
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
    interrupt(&headend);
    headend.wait().unwrap();
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
    interrupt(&headend);
    headend.wait().unwrap();
}
