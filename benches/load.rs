//! ikelab beside Debian's charon, in one run, alternated, one side pinned to each core: CPU per handshake, handshakes per
//! second, memory at many IKE SAs, and how the rate holds when they are up.
//!
//! Needs root, iproute2, charon (`scripts/test-setup`). CPU time is the scheduler's accounting (/proc/PID/task/*/schedstat for
//! charon, CLOCK_PROCESS_CPUTIME_ID for us: one clock); soft interrupts are told apart from it, on any kernel
//! (`support/softirq.rs`). charon initiates over its control socket (vici), with timeout -1 and without limits, as fast as a
//! window of 64 lets it. Nobody asks either end anything while it is measured: how many are up is told by the namespace's
//! count of UDP datagrams, and charon's own word is taken at the end.
//!
//! A run in which one handshake fails is refused. So is one of ours in which an AUTH was not verified, a Child SA not made, or
//! a Diffie-Hellman value, nonce or Child key of either end was used again ([`Lab::proven`]). Our handshakes make a Child SA
//! and derive its keys; those of charon with charon are childless (RFC 6023), which is less work, because what its userspace
//! ESP adds per Child SA is no IKE.
//!
//! `--only=x25519`, `--pairs=N`, `--no-memory` shorten it.

#![allow(clippy::disallowed_methods)] // real processes live in real time

mod support;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ikelab::crypto::{Encr, Group, IkeSuite, Integ, Prf};
use ikelab::load::fresh::{self, Freshness};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use support::bare::Bare;
use support::softirq::{self, Accounting, Side};
use support::{FAST, World, fill, left_spec, median};

/// The program's, because parts of this one stand beside it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const IKELAB: &str = env!("CARGO_BIN_EXE_ikelab");
const CHARON: &str = "/usr/sbin/charon-systemd";
const PSK: &str = "interop-test-psk-0123456789";
/// Which plugin provides what decides charon's speed: openssl for everything asymmetric.
const PLUGINS: &str = "random nonce openssl pem pkcs1 x509 pubkey constraints hmac kdf";
/// The cores of initiator and responder.
const CORES: [u32; 2] = [0, 1];
/// How often a run of charon with charon is looked at from outside.
const LOOK: Duration = Duration::from_millis(10);
/// How often charon itself is asked, at the end.
const ASK: Duration = Duration::from_millis(20);

/// The option that makes this program do the bare cryptography of a suite.
const BARE: &str = "--bare=";
/// For so long: the two cores' begins differ by much less.
const BARE_FOR: Duration = Duration::from_millis(700);

/// IKE SAs that are up while memory and the rate of more are measured.
const MANY: u64 = 100_000;

struct Suite {
    name: &'static str,
    proposal: &'static str,
    handshakes: u64,
    ike: IkeSuite,
    /// At least so many times our CPU is charon's, and our pair's rate is charon's pair's.
    aims: (f64, Option<f64>),
    /// The bare cryptography of one side by the CPU of one side, at least.
    efficiency: Option<f64>,
}

const SUITES: [Suite; 3] = [
    Suite {
        name: "x25519",
        proposal: "aes128gcm16-prfsha256-x25519",
        handshakes: 3000,
        ike: FAST,
        aims: (6.0, Some(7.0)),
        efficiency: Some(0.6),
    },
    Suite {
        name: "ecp256",
        proposal: "aes128gcm16-prfsha256-ecp256",
        handshakes: 3000,
        ike: IkeSuite { ke: Group::Ecp256, ..FAST },
        aims: (6.0, Some(7.0)),
        efficiency: None,
    },
    Suite {
        name: "modp2048",
        proposal: "aes256-sha256-modp2048",
        handshakes: 600,
        ike: IkeSuite {
            encr: Encr::AesCbc(256),
            prf: Prf::HmacSha256,
            integ: Some(Integ::HmacSha256_128),
            ke: Group::Modp2048,
        },
        aims: (4.0, None),
        efficiency: Some(0.87),
    },
];

fn main() {
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let option = |name: &str| std::env::args().find_map(|arg| arg.strip_prefix(name).map(str::to_owned));
    // Parts of this program that run as programs of their own: on another core, in a namespace.
    if std::env::args().any(|arg| arg == softirq::OPTION) {
        return softirq::trial();
    }
    if let (Some(beside), Some(file)) = (option(fill::OPTION), option(fill::FILE)) {
        return fill::run(beside.parse().expect("a number"), &file);
    }
    if let Some(name) = option(BARE) {
        let suite = SUITES.iter().find(|suite| suite.name == name).expect("a suite's name");
        return println!("{}", bare_side(suite));
    }
    let only = option("--only=").unwrap_or_default();
    let pairs: usize = option("--pairs=").and_then(|n| n.parse().ok()).unwrap_or(5);
    assert!(nix::unistd::geteuid().is_root(), "network namespaces need root");
    // Where the scheduler groups by session, niceness counts within this one only, unless the group is nice itself.
    let grouped = std::fs::read_to_string("/proc/sys/kernel/sched_autogroup_enabled").is_ok_and(|on| on.trim() == "1");
    if grouped && let Err(error) = std::fs::write("/proc/self/autogroup", "-15") {
        println!("the session's group cannot go first ({error}): rates suffer from whatever else runs");
    }
    let (accounting, words) = softirq::find_out();
    let lab = Lab::new(accounting);
    println!("{}\n{words}", machine());
    println!(
        "                      initiator, us per handshake: CPU + soft interrupts                 handshakes per second"
    );
    println!(
        "suite             charon            ikelab      CPU ratio   aim   with softirq    charon    ikelab   ratio   aim"
    );
    for suite in SUITES.iter().filter(|s| s.name.contains(&only)) {
        lab.compare(suite, pairs);
    }
    if !std::env::args().any(|arg| arg == "--no-memory") {
        lab.memory();
        lab.beside(pairs);
    }
}

/// CPU microseconds of one side's cryptography: key pair, agreement, keys, both AUTHs, a message sealed and one opened,
/// KEYMAT; with messages of the engine's sizes.
fn bare_side(suite: &Suite) -> f64 {
    let mut world = World::new(&suite.ike, "sizes");
    world.handshake(&Arc::new(left_spec(&suite.ike, 0)), 0);
    let mut bare = Bare::new(suite.ike, &world.sizes);
    bare.both_sides();
    let (begin, start, mut count) = (Instant::now(), support::cpu(), 0);
    while begin.elapsed() < BARE_FOR {
        bare.both_sides();
        count += 2;
    }
    (support::cpu() - start).as_secs_f64() * 1e6 / f64::from(count)
}

/// One run's figures.
#[derive(Clone, Copy)]
struct Run {
    initiator: Side,
    responder: Side,
    rate: f64,
}

/// Two namespaces and a scratch folder, removed at the end.
struct Lab {
    dir: tempfile::TempDir,
    names: [String; 2],
    accounting: Accounting,
}

impl Lab {
    fn new(accounting: Accounting) -> Lab {
        let names = ["i", "r"].map(|end| format!("ikb{}{end}", std::process::id()));
        let [i, r] = &names;
        for line in [
            format!("netns add {i}"),
            format!("netns add {r}"),
            format!("link add e0 netns {i} type veth peer name e0 netns {r}"),
            format!("-n {i} addr add 10.99.0.1/16 dev e0"),
            format!("-n {r} addr add 10.99.0.2/16 dev e0"),
            format!("-n {i} addr add 192.168.100.1/32 dev lo"),
            format!("-n {r} addr add 192.168.101.1/32 dev lo"),
            format!("-n {i} link set e0 up"),
            format!("-n {r} link set e0 up"),
            format!("-n {i} link set lo up"),
            format!("-n {r} link set lo up"),
        ] {
            let done = Command::new("ip").args(line.split(' ')).status().expect("ip runs");
            assert!(done.success(), "ip {line}");
        }
        let dir = tempfile::Builder::new().prefix("ikb").tempdir().expect("a scratch folder");
        let psk = dir.path().join("psk");
        std::fs::write(&psk, PSK).expect("writable");
        std::fs::set_permissions(&psk, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("ours");
        Lab { dir, names, accounting }
    }

    /// charon's pair, our initiator with charon, our pair: one after the other, so many times; the medians.
    fn compare(&self, suite: &Suite, pairs: usize) {
        let (mut rows, mut bare) = (Vec::new(), Vec::new());
        for _ in 0..pairs {
            let theirs = self.charon_with_charon(suite);
            let with_charon = self.ikelab_with_charon(suite);
            let before = self.bare(suite);
            let ours = self.ikelab_with_ikelab(suite, suite.handshakes * 10);
            let after = self.bare(suite);
            rows.push((theirs, with_charon, ours));
            bare.push([0, 1].map(|end| before[end].midpoint(after[end])));
        }
        let of = |f: &dyn Fn(&(Run, Run, Run)) -> f64| median(rows.iter().map(f).collect());
        let (cpu_aim, rate_aim) = suite.aims;
        println!(
            "{:<10} {:>8.1} + {:>5.1}  {:>8.1} + {:>5.1} {:>12.2} {:>5.1} {:>14.2}   {:>7.0}/s {:>7.0}/s {:>7.2} {:>5}",
            suite.name,
            of(&|r| r.0.initiator.cpu),
            of(&|r| r.0.initiator.softirq),
            of(&|r| r.1.initiator.cpu),
            of(&|r| r.1.initiator.softirq),
            of(&|r| r.0.initiator.cpu / r.1.initiator.cpu),
            cpu_aim,
            of(&|r| r.0.initiator.all() / r.1.initiator.all()),
            of(&|r| r.0.rate),
            of(&|r| r.2.rate),
            of(&|r| r.2.rate / r.0.rate),
            rate_aim.map_or_else(|| "-".to_owned(), |aim| format!("{aim:.1}")),
        );
        // Each side's cryptography was measured around each pair's run, on its core.
        let share = |end: usize, f: &dyn Fn(&Run) -> f64| {
            let runs = rows.iter().map(|r| f(&r.2));
            median(runs.zip(&bare).map(|(used, bare)| bare[end] / used).collect())
        };
        let alone = |end: usize| median(bare.iter().map(|bare| bare[end]).collect());
        println!(
            "           our own pair: initiator {:.1} + {:.1} us, responder {:.1} + {:.1} us; its cryptography on the same cores {:.1} and {:.1} us: \
             {:.2} and {:.2} of the CPU (with soft interrupts {:.2} and {:.2})   aim {}",
            of(&|r| r.2.initiator.cpu),
            of(&|r| r.2.initiator.softirq),
            of(&|r| r.2.responder.cpu),
            of(&|r| r.2.responder.softirq),
            alone(0),
            alone(1),
            share(0, &|run| run.initiator.cpu),
            share(1, &|run| run.responder.cpu),
            share(0, &|run| run.initiator.all()),
            share(1, &|run| run.responder.all()),
            suite.efficiency.map_or_else(|| "-".to_owned(), |aim| format!("{aim:.2}")),
        );
    }

    /// The bare cryptography of one side, in CPU microseconds, on each core. Both at once, as the pair works: what a core has
    /// of a processor may depend on what the other does.
    fn bare(&self, suite: &Suite) -> [f64; 2] {
        let program = std::env::current_exe().expect("we are a file");
        let ends = [0, 1].map(|end| {
            let mut c = self.command(end, program.to_str().expect("a path of ours"));
            c.args(["--bench".to_owned(), format!("{BARE}{}", suite.name)]).stdout(Stdio::piped());
            c.spawn().expect("it starts")
        });
        ends.map(|child| {
            let done = child.wait_with_output().expect("it runs");
            String::from_utf8_lossy(&done.stdout).trim().parse().expect("a number")
        })
    }

    fn side(&self, threads: f64, softirq: f64, handshakes: u64) -> Side {
        Side::of(self.accounting, threads, softirq, handshakes)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A command in one end's namespace, on one end's core: 0 is the initiator's.
    fn command(&self, end: usize, program: &str) -> Command {
        let mut c = Command::new("ip");
        // The rest of the machine must not decide: both sides go first on their cores.
        c.args(["netns", "exec", &self.names[end], "taskset", "-c", &end.to_string(), "nice", "-n", "-15", program]);
        c.current_dir(self.dir.path()).stdin(Stdio::null());
        c
    }

    fn charon(&self, end: usize, suite: &Suite, childless: bool) -> Daemon {
        let role = ["i", "r"][end];
        let dir = self.file(&format!("charon-{role}"));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).expect("writable");
        let socket = dir.join("vici");
        let conf = dir.join("strongswan.conf");
        let kernel = if childless { "kernel-netlink" } else { "kernel-libipsec kernel-netlink" };
        let force = if childless && end == 0 { "force" } else { "allow" };
        let text = format!(
            "charon-systemd {{\n load = {PLUGINS} {kernel} socket-default vici\n threads = 16\n dos_protection = no\n reuse_ikesa = no\n install_routes = no\n \
             ikesa_table_size = 4096\n ikesa_table_segments = 16\n journal {{\n default = -1\n }}\n plugins {{\n vici {{\n socket = \
             unix://{}\n }}\n kernel-libipsec {{\n allow_peer_ts = yes\n }}\n }}\n}}\nswanctl {{\n load = pem pkcs1 x509 \
             pubkey openssl random\n}}\n",
            socket.display()
        );
        std::fs::write(&conf, text).expect("writable");
        let (me, peer) = if end == 0 { ("10.99.0.1", "10.99.0.2") } else { ("10.99.0.2", "10.99.0.1") };
        let (lid, rid) =
            if end == 0 { ("c1.example.org", "srv.example.org") } else { ("srv.example.org", "*.example.org") };
        let (lts, rts) = if end == 0 { (100, 101) } else { (101, 100) };
        let swan = dir.join("swanctl.conf");
        let text = format!(
            "connections {{\n lt {{\n version = 2\n local_addrs = {me}\n remote_addrs = {peer}\n proposals = {}\n unique = \
             never\n mobike = no\n childless = {force}\n local {{\n auth = psk\n id = {lid}\n }}\n remote {{\n auth = psk\n id = {rid}\n }}\n children \
             {{\n lt {{\n esp_proposals = aes128gcm16\n local_ts = 192.168.{lts}.0/24\n remote_ts = 192.168.{rts}.0/24\n \
             rekey_time = 0\n }}\n }}\n }}\n}}\nsecrets {{\n ike-1 {{\n secret = \"{PSK}\"\n }}\n}}\n",
            suite.proposal
        );
        std::fs::write(&swan, text).expect("writable");
        let out = std::fs::File::create(dir.join("out")).expect("writable");
        let mut c = self.command(end, "env");
        c.arg(format!("STRONGSWAN_CONF={}", conf.display()))
            .arg(CHARON)
            .stdout(out.try_clone().expect("a file"))
            .stderr(out);
        let daemon = Daemon { child: c.spawn().expect("charon starts"), socket };
        let until = Instant::now() + Duration::from_secs(30);
        while UnixStream::connect(&daemon.socket).is_err() {
            assert!(Instant::now() < until, "charon does not come up: {}", dir.join("out").display());
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut load = Command::new("swanctl");
        load.env("STRONGSWAN_CONF", &conf).args(["--load-all", "--noprompt", "--uri"]);
        load.arg(format!("unix://{}", daemon.socket.display())).arg("--file").arg(&swan);
        let done = load.output().expect("swanctl runs");
        assert!(
            done.status.success(),
            "{}{}",
            String::from_utf8_lossy(&done.stdout),
            String::from_utf8_lossy(&done.stderr)
        );
        daemon
    }

    /// charon's own initiator, driven over vici.
    fn charon_with_charon(&self, suite: &Suite) -> Run {
        let (responder, initiator) = (self.charon(1, suite, true), self.charon(0, suite, true));
        let (n, window) = (suite.handshakes, 64);
        let mut control = Vici::connect(&initiator.socket);
        let before = [&initiator, &responder].map(Daemon::cpu);
        let softirq = CORES.map(softirq::seconds);
        // The initiator gets an answer to IKE_SA_INIT and one to IKE_AUTH. Its namespace counts them, and charon is not asked.
        let answers = initiator.datagrams_in();
        let begin = Instant::now();
        let (mut sent, mut up, mut progress) = (0, 0, Instant::now());
        while up < n {
            while sent < n && sent - up < window {
                control.initiate();
                sent += 1;
            }
            std::thread::sleep(LOOK);
            let now_up = (initiator.datagrams_in() - answers) / 2;
            if now_up > up {
                (up, progress) = (now_up, Instant::now());
            }
            assert!(progress.elapsed() < Duration::from_secs(20), "charon with charon stalls at {up} of {n}");
        }
        // It must say so itself; an answer that was sent again has been counted twice.
        let (mut seconds, until) = (begin.elapsed(), Instant::now() + Duration::from_secs(20));
        let mut asked = Vici::connect(&responder.socket);
        while asked.established() < n {
            std::thread::sleep(ASK);
            seconds = begin.elapsed();
            assert!(Instant::now() < until, "charon has {} of {n}", asked.established());
        }
        let seconds = seconds.as_secs_f64();
        let side = |end: usize, daemon: &Daemon| {
            let softirq = softirq::seconds(CORES[end]) - softirq[end];
            self.side((daemon.cpu() - before[end]) as f64 / 1e9, softirq, n)
        };
        Run { initiator: side(0, &initiator), responder: side(1, &responder), rate: n as f64 / seconds }
    }

    fn connection(&self, end: usize, suite: &Suite) -> PathBuf {
        let (me, peer) = if end == 0 { ("10.99.0.1", "10.99.0.2") } else { ("10.99.0.2", "10.99.0.1") };
        let remote =
            if end == 0 { format!("{{address: {peer}, id: \"fqdn:srv.example.org\"}}") } else { "{id: any}".into() };
        let id = if end == 0 { "c1.example.org" } else { "srv.example.org" };
        let (lts, rts) = if end == 0 { (100, 101) } else { (101, 100) };
        let path = self.file(&format!("ikelab-{end}.yaml"));
        let text = format!(
            "version: 1\nlocal: {{address: {me}, id: \"fqdn:{id}\"}}\nremote: {remote}\nauth: {{local: {{psk_file: ./psk}}, remote: \
             {{psk_file: ./psk}}}}\nike: {{proposals: [{}]}}\nchildren: [{{proposals: [aes128gcm16], pfs: none, local_ts: \
             [192.168.{lts}.0/24], remote_ts: [192.168.{rts}.0/24]}}]\nbehaviour: {{initial_contact: false}}\nlimits: \
             {{cookie_threshold: never, max_half_open: 1000000, linger: 0s}}\n",
            suite.proposal
        );
        let text = if end == 0 {
            text.lines().filter(|line| !line.starts_with("limits:")).map(|line| format!("{line}\n")).collect()
        } else {
            text
        };
        std::fs::write(&path, text).expect("writable");
        path
    }

    /// Our initiator; every handshake must succeed. Its result.
    fn load(&self, suite: &Suite, count: u64) -> Value {
        let out = self.file("out-load");
        let _ = std::fs::remove_dir_all(&out);
        let mut c = self.command(0, IKELAB);
        c.args(["load", "-c"]).arg(self.connection(0, suite)).args([
            "--workload",
            "closed",
            "--window",
            "64",
            "--threads",
            "1",
        ]);
        c.args(["--tunnels", &count.to_string(), "--keep", "--json", "--out"]).arg(&out);
        let done = c.output().expect("ikelab runs");
        let text = std::fs::read_to_string(out.join("result.json"));
        let text = text.unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&done.stderr)));
        let result: Value = serde_json::from_str(&text).expect("JSON");
        let stage = &result["stages"][0];
        assert_eq!((stage["done"].as_u64(), stage["failed"].as_u64()), (Some(count), Some(0)), "{stage:#}");
        self.proven(stage, count);
        result
    }

    /// The handshakes were whole: the engine says of an IKE SA that it is up (T_auth) once the peer's AUTH is verified, and of a
    /// tunnel (T_up) once its Child SA has its keys. Whether they were fresh is told by a sample of what was on the wire, of
    /// both ends, and of the keys: of every 64 handshakes two that were begun one after the other.
    fn proven(&self, stage: &Value, count: u64) {
        for exchange in ["T_auth", "T_up"] {
            assert_eq!(stage["latency"][exchange]["count"].as_u64(), Some(count), "{exchange}");
        }
        let text = std::fs::read_to_string(self.file("out-load").join(fresh::FILE)).expect("there was a sample");
        let sample: Freshness = serde_json::from_str(&text).expect("our own file");
        assert!(sample.is_fresh() && sample.handshakes >= (count / 32).min(8192), "{sample:?}");
    }

    /// The figures of our initiator, and those of the peer, whose threads have used `theirs` seconds.
    fn run_of(&self, result: &Value, theirs: f64) -> Run {
        let stage = &result["stages"][0];
        let number = |value: &Value| value.as_f64().expect("a number");
        let seconds = number(&stage["to"]) - number(&stage["from"]);
        let done = stage["done"].as_u64().expect("a number");
        // From the same window as our CPU time; shares of the time that passed.
        let softirq = |end: usize| {
            let cores = stage["used"]["cores"].as_array().expect("a list");
            let core = cores.iter().find(|core| core["number"].as_u64() == Some(CORES[end].into()));
            number(&core.expect("the core")["softirq"]) * seconds
        };
        let ours = number(&stage["used"]["process_cpu_seconds"]);
        Run {
            initiator: self.side(ours, softirq(0), done),
            responder: self.side(theirs, softirq(1), done),
            rate: done as f64 / seconds,
        }
    }

    fn ikelab_with_charon(&self, suite: &Suite) -> Run {
        let responder = self.charon(1, suite, false);
        let before = responder.cpu();
        let result = self.load(suite, suite.handshakes);
        let used = responder.cpu() - before;
        // It has verified our AUTHs.
        let up = Vici::connect(&responder.socket).established();
        assert_eq!(up, suite.handshakes, "charon has them all");
        self.run_of(&result, used as f64 / 1e9)
    }

    fn listen(&self, suite: &Suite) -> Daemon {
        let out = self.file("out-listen");
        let _ = std::fs::remove_dir_all(&out);
        let mut c = self.command(1, IKELAB);
        c.args(["listen", "--threads", "1", "-c"]).arg(self.connection(1, suite)).arg("--out").arg(&out);
        let log = self.file("listen.out");
        c.stdout(std::fs::File::create(&log).expect("writable"));
        let daemon = Daemon { child: c.spawn().expect("ikelab starts"), socket: PathBuf::new() };
        let until = Instant::now() + Duration::from_secs(30);
        while !std::fs::read_to_string(&log).is_ok_and(|text| text.contains("listening on")) {
            assert!(Instant::now() < until, "ikelab listen does not come up");
            std::thread::sleep(Duration::from_millis(20));
        }
        daemon
    }

    fn ikelab_with_ikelab(&self, suite: &Suite, count: u64) -> Run {
        let responder = self.listen(suite);
        let before = responder.cpu();
        let result = self.load(suite, count);
        let used = responder.cpu() - before;
        // The other end has verified as many AUTHs and made as many Child SAs.
        responder.end();
        let text = std::fs::read_to_string(self.file("out-listen").join("result.json")).expect("it ended well");
        let listened: Value = serde_json::from_str(&text).expect("JSON");
        let counters = &listened["counters"];
        let said = ["ike_sas_up", "child_sas_up", "failed"].map(|key| counters[key].as_u64());
        assert_eq!(said, [Some(count), Some(count), Some(0)], "{counters:#}");
        self.run_of(&result, used as f64 / 1e9)
    }

    /// Resident memory per idle IKE SA with one Child SA, both sides.
    fn memory(&self) {
        const FEW: u64 = 2_000;
        let suite = &SUITES[0];
        let measure = |count: u64| {
            let responder = self.listen(suite);
            let result = self.load(suite, count);
            let ours = result["stages"][0]["used"]["resident"].as_f64().expect("a number");
            (ours, responder.resident() as f64)
        };
        let (few, many) = (measure(FEW), measure(MANY));
        let each = |few: f64, many: f64| (many - few) / (MANY - FEW) as f64;
        println!(
            "\nresident octets per idle IKE SA with its Child SA at {MANY}   initiator {:.0}   responder {:.0}   aim 2048",
            each(few.0, many.0),
            each(few.1, many.1)
        );
    }

    /// The rate of set-ups with many up at both ends against that with none up: runs of their own, by turns.
    fn beside(&self, pairs: usize) {
        let suite = &SUITES[0];
        let rate = |beside: u64| {
            let _responder = self.listen(suite);
            let program = std::env::current_exe().expect("we are a file");
            let mut c = self.command(0, program.to_str().expect("a path of ours"));
            let file = self.connection(0, suite);
            c.args(["--bench".to_owned(), format!("{}{beside}", fill::OPTION)]);
            c.arg(format!("{}{}", fill::FILE, file.display()));
            let done = c.output().expect("it runs");
            let text = String::from_utf8_lossy(&done.stdout);
            let rate: Option<f64> = text.trim().parse().ok();
            rate.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&done.stderr)))
        };
        let rows: Vec<(f64, f64)> = (0..pairs).map(|_| (rate(0), rate(MANY))).collect();
        let of = |f: &dyn Fn(&(f64, f64)) -> f64| median(rows.iter().map(f).collect());
        println!(
            "set-ups per second: with none up {:.0}, with {MANY} up {:.0}, ratio {:.2}   aim 0.90",
            of(&|r| r.0),
            of(&|r| r.1),
            of(&|r| r.1 / r.0)
        );
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

struct Daemon {
    child: Child,
    socket: PathBuf,
}

impl Daemon {
    /// CPU time of all its threads in nanoseconds. `ip netns exec` and `taskset` have become the program by exec.
    fn cpu(&self) -> u64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("it runs");
        let of = |task: std::fs::DirEntry| {
            let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        };
        tasks.flatten().filter_map(of).sum()
    }

    /// UDP datagrams that its namespace has handed to programs.
    fn datagrams_in(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/net/snmp", self.child.id())).expect("it runs");
        let mut lines = text.lines().filter_map(|line| line.strip_prefix("Udp: "));
        let (names, values) = (lines.next().expect("names"), lines.next().expect("values"));
        let mut pairs = names.split(' ').zip(values.split(' '));
        let found = pairs.find(|(name, _)| *name == "InDatagrams").expect("the kernel counts them");
        found.1.parse().expect("a number")
    }

    /// Ends it as Ctrl-C does, and waits until its result is written.
    fn end(mut self) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        kill(Pid::from_raw(pid), Signal::SIGINT).expect("it runs");
        let status = self.child.wait().expect("it is ours");
        assert!(status.success(), "listen ended with {status}");
    }

    fn resident(&self) -> u64 {
        let resident = ikelab::load::resource::resident_of(&self.child.id().to_string());
        assert!(resident > 0, "it runs");
        resident
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The little of strongSwan's control protocol that is needed: packets with a length in front, messages of key-value pairs.
struct Vici(UnixStream);

impl Vici {
    fn connect(socket: &Path) -> Vici {
        Vici(UnixStream::connect(socket).expect("charon's control socket"))
    }

    fn call(&mut self, command: &str, pairs: &[(&str, &str)]) -> Vec<u8> {
        let mut message = vec![0, command.len() as u8];
        message.extend_from_slice(command.as_bytes());
        for (key, value) in pairs {
            message.extend_from_slice(&[3, key.len() as u8]);
            message.extend_from_slice(key.as_bytes());
            message.extend_from_slice(&(value.len() as u16).to_be_bytes());
            message.extend_from_slice(value.as_bytes());
        }
        self.0.write_all(&(message.len() as u32).to_be_bytes()).expect("charon lives");
        self.0.write_all(&message).expect("charon lives");
        let mut len = [0; 4];
        self.0.read_exact(&mut len).expect("charon answers");
        let mut answer = vec![0; u32::from_be_bytes(len) as usize];
        self.0.read_exact(&mut answer).expect("charon answers");
        answer
    }

    fn initiate(&mut self) {
        let how = [("ike", "lt"), ("timeout", "-1"), ("init-limits", "no"), ("loglevel", "-1")];
        let answer = self.call("initiate", &how);
        let text = String::from_utf8_lossy(&answer);
        assert!(text.contains("success") && text.contains("yes"), "{text}");
    }

    /// IKE SAs that are up: all less the half-open ones.
    fn established(&mut self) -> u64 {
        let answer = self.call("stats", &[]);
        let (mut at, mut sections, mut total, mut half_open) = (1, Vec::new(), None, None);
        let name = |at: &mut usize| {
            let len = usize::from(answer[*at]);
            let name = String::from_utf8_lossy(&answer[*at + 1..*at + 1 + len]).into_owned();
            *at += 1 + len;
            name
        };
        let value = |at: &mut usize| {
            let len = usize::from(u16::from_be_bytes([answer[*at], answer[*at + 1]]));
            let value = String::from_utf8_lossy(&answer[*at + 2..*at + 2 + len]).into_owned();
            *at += 2 + len;
            value
        };
        while at < answer.len() {
            at += 1;
            match answer[at - 1] {
                1 => sections.push(name(&mut at)),
                2 => drop(sections.pop()),
                3 => {
                    let (key, value) = (name(&mut at), value(&mut at));
                    if sections == ["ikesas"] {
                        match key.as_str() {
                            "total" => total = value.parse::<u64>().ok(),
                            "half-open" => half_open = value.parse::<u64>().ok(),
                            _ => {}
                        }
                    }
                }
                4 => drop(name(&mut at)),
                5 => drop(value(&mut at)),
                _ => {}
            }
        }
        total.expect("stats tell the IKE SAs").saturating_sub(half_open.expect("and the half-open ones"))
    }
}

fn machine() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text
        .lines()
        .find_map(|l| l.strip_prefix("model name"))
        .map_or("unknown", |m| m.trim_start_matches([' ', '\t', ':']));
    let cores = text.lines().filter(|l| l.starts_with("processor")).count();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{cores} cores, {model}, Linux {}", kernel.trim())
}
