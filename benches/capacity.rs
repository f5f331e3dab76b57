//! What a pair of ours holds, one core each: the knee of set-ups and that of a churn, the precision of the open loop at half of
//! the first, and a soak at 80 % of the second. One line per aim; exit code 1 when one is missed.
//!
//! Needs two cores, taskset and free ports 15500, 15501, 16500 and 16501 on loopback; with root it goes before whatever else
//! runs. With both ends on one machine the tester may be the limit of a search: the knee is then that of the pair.
//!
//! `--for=10m` is the length of the soak. Shorter ones (`--half=30s`, `--trial=3s`, `--churn-trial=15s`) are for trying it out; `--out=DIR` keeps
//! what the runs have left.

#![allow(clippy::disallowed_methods)] // real processes live in real time

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio, exit};
use std::time::{Duration, Instant};

use ikelab::load::summary::{LoadResult, StageResult};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

const IKELAB: &str = env!("CARGO_BIN_EXE_ikelab");
/// One core for the headend, one for the tester.
const CORES: [&str; 2] = ["0", "1"];
/// How late, at the 99th percentile, a tester on the machine of its peer may be in a search and in a soak: what is judged
/// there is what the pair holds.
const PATIENT: [&str; 4] = ["--max-cpu", "100%", "--max-lag", "20ms"];

const HEADEND: &str = "version: 1
local: {address: 127.0.0.2, port: 16500, natt_port: 16501, id: \"fqdn:headend.test\"}
remote: {id: any}
auth: {local: {psk_env: IKELAB_PSK}}
ike: {proposals: [aes128gcm16-prfsha256-x25519]}
children: [{proposals: [aes128gcm16], local_ts: [10.2.0.0/16], remote_ts: [10.1.0.0/16]}]
";
const LOAD: &str = "version: 1
local: {address: 127.0.0.1, port: 15500, natt_port: 15501, id: \"email:peer-{n}@lab\"}
remote: {address: 127.0.0.2, port: 16500, natt_port: 16501, id: \"fqdn:headend.test\"}
auth: {local: {psk_env: IKELAB_PSK}}
ike: {proposals: [aes128gcm16-prfsha256-x25519]}
children: [{proposals: [aes128gcm16], local_ts: [10.1.0.0/16], remote_ts: [10.2.0.0/16]}]
dpd: {interval: 30s}
";

fn main() {
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let option = |name: &str, default: &str| {
        let given = std::env::args().find_map(|arg| arg.strip_prefix(name).map(str::to_owned));
        given.unwrap_or_else(|| default.to_owned())
    };
    let (soak, half, trial) = (option("--for=", "10m"), option("--half=", "30s"), option("--trial=", "3s"));
    let (scratch, out) = (tempfile::tempdir().expect("a scratch folder"), option("--out=", ""));
    let dir = if out.is_empty() { scratch.path().to_owned() } else { PathBuf::from(out) };
    std::fs::create_dir_all(&dir).expect("writable");
    let lab = Lab { dir };
    let mut aims = Aims::default();

    lab.set_ups(&half, &trial, &mut aims);
    lab.churn(&soak, &option("--churn-trial=", "15s"), &mut aims);
    if aims.missed > 0 {
        println!("{} missed", aims.missed);
        exit(1);
    }
}

/// What was judged so far.
#[derive(Default)]
struct Aims {
    missed: usize,
}

impl Aims {
    fn judge(&mut self, met: bool, what: &str, figure: &str, aim: &str) {
        self.missed += usize::from(!met);
        println!("{:<6} {what:<56} {figure}   aim {aim}", if met { "met" } else { "missed" });
    }
}

struct Lab {
    dir: PathBuf,
}

impl Lab {
    /// The knee of set-ups, and half of it: how exact the open loop is there.
    fn set_ups(&self, half: &str, trial: &str, aims: &mut Aims) {
        let headend = self.listen("headend-set-ups");
        let search =
            ["--search", "--rate", "2000", "--max-rate", "40000", "--trials", "3", "--no-curve", "--for", trial];
        let found = self.load("knee-set-ups", &[&search[..], &PATIENT].concat());
        let Some(knee) = knee(&found, "set-ups per second", aims) else { return };
        let result = self.load("half", &["--rate", "50%:knee-set-ups", "--for", half, "--max-cpu", "100%"]);
        drop(headend);
        let stage = &result.stages[0];
        let at = format!("half the knee ({:.0}/s for {half})", knee / 2.0);
        let (off, second) = worst_second(stage);
        let figure = format!("{:.2} % off in second {second}, the worst", off * 100.0);
        aims.judge(off <= 0.01, &format!("every second as planned at {at}"), &figure, "1 %");
        let lag = stage.latency.get("start_lag").map_or(u64::MAX, |lag| lag.p99);
        let figure = format!("{:.2} ms", lag as f64 / 1e3);
        aims.judge(lag <= 1_000, "start lag there, 99th percentile", &figure, "1 ms");
        success(stage, "set-ups that succeed there", aims);
    }

    /// The knee of a churn, and a long run at 80 % of it: what is not given back?
    fn churn(&self, soak: &str, trial: &str, aims: &mut Aims) {
        let headend = self.listen("headend-churn");
        let search = ["--workload", "churn", "--live", "2s", "--search", "--rate", "2000", "--max-rate", "40000"];
        let more = ["--trials", "3", "--no-curve", "--for", trial];
        // Tunnels live as long as in the soak: what a pair holds depends on how many are up.
        let found = self.load("knee-churn", &[&search[..], &more, &PATIENT].concat());
        drop(headend);
        let Some(knee) = knee(&found, "tunnels that come and go per second", aims) else { return };
        let headend = self.listen("headend-soak");
        let args = ["--workload", "soak", "--rate", "80%:knee-churn", "--for", soak, "--live", "2s"];
        let result = self.load("soak", &[&args[..], &PATIENT].concat());
        // The headend's last IKE SAs stop answering repeats a moment after ours.
        std::thread::sleep(Duration::from_secs(3));
        let listened = headend.end();
        let stage = &result.stages[0];
        success(stage, &format!("set-ups that succeed at 80 % of it ({:.0}/s for {soak})", knee * 0.8), aims);
        let begun = stage.started as f64 / stage.planned.max(1) as f64;
        aims.judge(begun >= 0.99, "planned set-ups that were begun", &format!("{:.2} %", begun * 100.0), "99 %");
        let leaks = result.leaks.expect("a soak judges them");
        let (judged, sentence) = (leaks.memory_judged, leaks.sentence);
        aims.judge(
            !leaks.leak && judged && leaks.end.sas == 0,
            "the tester gives everything back",
            &sentence,
            "no leak",
        );
        let leaks = &listened["leaks"];
        let met = leaks["leak"] == false && leaks["memory_judged"] == true && leaks["end"]["sas"] == 0;
        let sentence = leaks["sentence"].as_str().unwrap_or("it says nothing");
        aims.judge(met, "the headend gives everything back", sentence, "no leak");
    }

    /// A program of ours on one core.
    fn command(&self, core: &str) -> Command {
        let mut command = Command::new("taskset");
        command.args(["-c", core]);
        if nix::unistd::geteuid().is_root() {
            command.args(["nice", "-n", "-15"]);
        }
        command.arg(IKELAB).current_dir(&self.dir).env("IKELAB_PSK", "sesame").stdin(Stdio::null());
        command
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn listen(&self, out: &str) -> Headend {
        std::fs::write(self.file("headend.yaml"), HEADEND).expect("writable");
        let log = self.file(&format!("{out}.log"));
        let mut listen = self.command(CORES[0]);
        listen.args(["listen", "-c", "headend.yaml", "--threads", "1", "--out", out]);
        let to = std::fs::File::create(&log).expect("writable");
        let child = listen.stdout(to.try_clone().expect("a file")).stderr(to).spawn().expect("ikelab starts");
        let headend = Headend { child, result: self.file(out).join("result.json") };
        let until = Instant::now() + Duration::from_secs(30);
        let said = || std::fs::read_to_string(&log).unwrap_or_default();
        while !said().contains("listening on") {
            assert!(Instant::now() < until, "ikelab listen does not come up: {}", said());
            std::thread::sleep(Duration::from_millis(20));
        }
        headend
    }

    /// A load run. Whatever it thinks of itself, it must leave a result.
    fn load(&self, out: &str, args: &[&str]) -> LoadResult {
        std::fs::write(self.file("load.yaml"), LOAD).expect("writable");
        let mut load = self.command(CORES[1]);
        load.args(["load", "-c", "load.yaml", "--threads", "1", "--json", "--out", out]).args(args);
        let done = load.output().expect("ikelab runs");
        let path = self.file(out).join("result.json");
        let result = read(&path).and_then(|value| serde_json::from_value(value).map_err(|error| error.to_string()));
        let result: LoadResult =
            result.unwrap_or_else(|error| panic!("{error}\n{}", String::from_utf8_lossy(&done.stderr)));
        assert!(!result.interrupted, "it was ended by a signal");
        result
    }
}

/// What a search has found, if it has found anything.
fn knee(result: &LoadResult, what: &str, aims: &mut Aims) -> Option<f64> {
    let found = result.capacity.as_ref().expect("a search has a result");
    let trials: Vec<String> = found.trials.iter().map(|rate| format!("{rate:.0}")).collect();
    let figure = format!("{:.0} (trials {})", found.median, trials.join(", "));
    aims.judge(found.median > 0.0, &format!("knee: {what}"), &figure, "one is found");
    (found.median > 0.0).then_some(found.median)
}

/// By how much of the plan a second was off, at worst, in what was begun or in what succeeded; and which second.
fn worst_second(stage: &StageResult) -> (f64, usize) {
    let planned = stage.planned_seconds.floor() as usize;
    assert!(planned > 0 && stage.bins.len() >= planned, "{} seconds of {planned}", stage.bins.len());
    let off = stage.bins.iter().take(planned).map(|bin| {
        let of = |count: u64| (count as f64 - bin.due as f64).abs() / (bin.due as f64).max(1.0);
        of(bin.started).max(of(bin.done))
    });
    off.zip(0..).max_by(|a, b| a.0.total_cmp(&b.0)).expect("there is one")
}

fn success(stage: &StageResult, what: &str, aims: &mut Aims) {
    aims.judge(stage.success >= 0.999, what, &format!("{:.3} %", stage.success * 100.0), "99.9 %");
}

fn read(path: &Path) -> Result<Value, String> {
    let text = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", path.display()))
}

/// `ikelab listen`.
struct Headend {
    child: Child,
    result: PathBuf,
}

impl Headend {
    /// Ends it as Ctrl-C does; what it says then.
    fn end(mut self) -> Value {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        kill(Pid::from_raw(pid), Signal::SIGINT).expect("it runs");
        let status = self.child.wait().expect("it is ours");
        assert!(status.success(), "listen ended with {status}");
        read(&self.result).unwrap_or_else(|error| panic!("{error}"))
    }
}

impl Drop for Headend {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
