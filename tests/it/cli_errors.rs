//! Bad input and a broken lab: one clear message, the right exit code, nothing on standard output.

use std::net::UdpSocket;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// A connection over loopback on ports that need no privilege; nobody answers.
const CONNECTION: &str = "version: 1
local: {address: 127.0.0.1, port: 0, natt_port: 4500}
remote: {address: 127.0.0.1, port: 9}
auth: {local: {psk_env: IKELAB_TEST_PSK}}
ike: {proposals: [aes256-sha256-x25519]}
children: [{proposals: [aes256-sha256]}]
retransmit: {initial: 50ms, attempts: 2}
";

pub struct Lab(tempfile::TempDir);

impl Lab {
    pub fn new() -> Self {
        Lab(tempfile::tempdir().unwrap())
    }

    pub fn file(&self, name: &str, text: &str) -> &Self {
        std::fs::write(self.0.path().join(name), text).unwrap();
        self
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ikelab"));
        command.args(args).current_dir(self.0.path()).env("IKELAB_TEST_PSK", "sesame").stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// `i.yaml` and `r.yaml`, made for each other.
    pub fn both_ends(&self) -> &Self {
        let [a, b, c, d] = free_ports();
        self.file("i.yaml", &end("i.test", "r.test", (a, b), (c, d), ("10.1.0.0/16", "10.2.0.0/16")))
            .file("r.yaml", &end("r.test", "i.test", (c, d), (a, b), ("10.2.0.0/16", "10.1.0.0/16")))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

/// The command must fail with this code and exactly this one line.
#[track_caller]
fn fails(output: &Output, code: i32, line: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(stderr.trim_end(), format!("error: {line}"));
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn a_missing_file() {
    fails(&Lab::new().run(&["connect", "-c", "none.yaml"]), 2, "none.yaml: cannot read it: no such file");
}

#[test]
fn a_broken_yaml_file() {
    let lab = Lab::new();
    lab.file("lab.yaml", &CONNECTION.replace("ike: {", "ike: [{"));
    let output = lab.run(&["connect", "-c", "lab.yaml"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.starts_with("error: lab.yaml:5:") && stderr.lines().count() == 1, "{stderr}");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn an_unknown_proposal() {
    let lab = Lab::new();
    lab.file("lab.yaml", &CONNECTION.replace("aes256-sha256-x25519", "aes256-sha257-x25519"));
    fails(
        &lab.run(&["connect", "-c", "lab.yaml"]),
        2,
        "lab.yaml:5:19: ike.proposals[0]: unknown algorithm `sha257` in `aes256-sha257-x25519` (did you mean sha256?)",
    );
    fails(
        &lab.run(&["connect", "127.0.0.1", "--psk-env", "IKELAB_TEST_PSK", "--proposal", "aes256-sha256-modp20480"]),
        2,
        "--proposal: unknown algorithm `modp20480` in `aes256-sha256-modp20480` (did you mean modp2048?)",
    );
}

#[test]
fn a_port_in_use() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let lab = Lab::new();
    lab.file("lab.yaml", &CONNECTION.replace("port: 0", &format!("port: {port}")));
    for command in ["connect", "listen"] {
        let output = lab.run(&[command, "-c", "lab.yaml"]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.starts_with(&format!("error: UDP 127.0.0.1:{port} is in use by another program")), "{stderr}");
        assert_eq!((stderr.lines().count(), output.status.code()), (1, Some(3)), "{stderr}");
    }
    assert!(!lab.path().join("runs").exists(), "no run directory for a run that did not begin");
}

#[test]
fn an_unresolvable_peer() {
    let lab = Lab::new();
    lab.file("lab.yaml", CONNECTION);
    let output = lab.run(&["connect", "-c", "lab.yaml", "no-such-host.invalid"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.starts_with("error: the name no-such-host.invalid cannot be resolved: "), "{stderr}");
    assert_eq!((stderr.lines().count(), output.status.code()), (1, Some(3)), "{stderr}");
}

#[test]
fn a_public_target() {
    let lab = Lab::new();
    lab.file("lab.yaml", &CONNECTION.replace("address: 127.0.0.1, port: 9", "address: 1.1.1.1"));
    let output = lab.run(&["connect", "-c", "lab.yaml"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.starts_with("error: 1.1.1.1 is a public address."), "{stderr}");
    assert!(stderr.contains("--i-own-this-target"), "{stderr}");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_local_address_that_is_not_ours() {
    let lab = Lab::new();
    lab.file("lab.yaml", &CONNECTION.replace("address: 127.0.0.1, port: 0", "address: 192.0.2.77, port: 0"));
    fails(
        &lab.run(&["connect", "-c", "lab.yaml"]),
        3,
        "192.0.2.77 is not an address of this host (`ip address` lists them)",
    );
}

#[test]
fn a_key_that_is_not_there() {
    let lab = Lab::new();
    lab.file("lab.yaml", &CONNECTION.replace("psk_env: IKELAB_TEST_PSK", "psk_file: secret"));
    fails(
        &lab.run(&["connect", "-c", "lab.yaml"]),
        2,
        "lab.yaml:4:26: auth.local.psk_file: cannot read secret: no such file",
    );
    fails(
        &lab.run(&["connect", "127.0.0.1"]),
        2,
        "no pre-shared key: give a connection file with -c, or --psk-file or --psk-env",
    );
}

#[test]
fn wrong_flags() {
    let lab = Lab::new();
    lab.file("lab.yaml", CONNECTION).file("bent.yaml", &format!("{CONNECTION}path: {{loss: 5%}}\n"));
    for (args, wanted) in [
        (&["connect"][..], "error: the following required arguments were not provided"),
        (&["conect"][..], "error: unrecognized subcommand 'conect'"),
        (&["connect", "-c", "lab.yaml", "--hold", "soon"][..], "error: --hold: `soon` is not a duration"),
        (&["peer-config", "-c", "lab.yaml"][..], "error: which box? lab.yaml has no remote.vendor"),
        (
            &["peer-config", "-c", "lab.yaml", "--for", "cisco-asb"][..],
            "error: --vendor: unknown vendor `cisco-asb` (did you mean cisco-asa?)",
        ),
        (
            &["diagnose", "runs", "--vendor", "cisco-asb"][..],
            "error: --vendor: unknown vendor `cisco-asb` (did you mean cisco-asa?)",
        ),
        (&["run", "192.0.2.10"][..], "error: no scenario is called \"192.0.2.10\"; an address goes to --peer"),
        (&["run", "--path", "loss=5%"][..], "error: --path: run does not bend the path; "),
        (&["failures", "no/such"][..], "error: no scenario is called \"no/such\""),
        (
            &["listen", "-c", "lab.yaml", "--threads", "1", "--path", "loss=5%"][..],
            "error: --path and --threads do not go together; ",
        ),
        (
            &["listen", "-c", "bent.yaml", "--threads", "1"][..],
            "error: bent.yaml: path and --threads do not go together; ",
        ),
        (&["listen", "-c", "lab.yaml", "-c", "bent.yaml"][..], "error: lab.yaml and bent.yaml have different paths; "),
        (
            &["connect", "-c", "lab.yaml", "--preflight", "--fault", "drop-sent"][..],
            "error: the argument '--preflight' cannot be used with '--fault",
        ),
        (
            &["connect", "-c", "lab.yaml", "--psk-env", "X"][..],
            "error: the argument '--config <FILE>' cannot be used with",
        ),
    ] {
        let output = lab.run(args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.starts_with(wanted), "{args:?}: {stderr}");
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
    }
    assert_eq!(lab.run(&["--version"]).status.code(), Some(0));
}

#[test]
fn nobody_answers() {
    let lab = Lab::new();
    lab.file("lab.yaml", CONNECTION);
    let output = lab.run(&["connect", "-c", "lab.yaml", "--natt-port", "0", "--out", "run", "--seed", "monday"]);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{stdout}{}", String::from_utf8_lossy(&output.stderr));
    assert!(stdout.contains("x not connected: nobody answered (IKE_SA_INIT, packet 2)"), "{stdout}");
    assert!(stdout.contains("nothing listens on its UDP port 9 (ICMP port unreachable)"), "{stdout}");
    assert!(!stdout.contains('\x1b'), "no colours in a pipe: {stdout}");
    let result = std::fs::read_to_string(lab.path().join("run/result.json")).unwrap();
    let result: serde_json::Value = serde_json::from_str(&result).unwrap();
    assert_eq!((&result["exit_code"], &result["plan_seed"]), (&1.into(), &"monday".into()));
    assert_eq!(result["findings"][0]["class"], "no_response");
    assert!(!result.to_string().contains("sesame"), "the key must not be in the result");
    assert!(lab.path().join("run/run.pcapng").exists());
    assert!(!lab.path().join("run/keys").exists(), "no keys unless they are asked for");
    // What is there is evidence: neither command writes over it.
    fails(
        &lab.run(&["connect", "-c", "lab.yaml", "--natt-port", "0", "--out", "run"]),
        2,
        "--out: run holds a run already",
    );
    let again = lab.run(&["run", "auth/psk-mismatch", "--out", "run"]);
    assert_eq!((again.status.code(), again.stdout.is_empty()), (Some(2), true));
    assert_eq!(
        result,
        serde_json::from_str::<serde_json::Value>(
            &std::fs::read_to_string(lab.path().join("run/result.json")).unwrap()
        )
        .unwrap()
    );
}

#[test]
fn json_is_all_that_stands_on_standard_output() {
    let lab = Lab::new();
    lab.file("lab.yaml", CONNECTION);
    let output = lab.run(&["connect", "-c", "lab.yaml", "--natt-port", "0", "--json"]);
    let stdout = String::from_utf8_lossy(&output.stdout);
    let events: Vec<serde_json::Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(events.iter().any(|e| e["event"] == "failed"), "{stdout}");
    assert!(events.iter().all(|e| e["v"] == 1), "{stdout}");
}

/// Both ends as processes: up, Ctrl-C, DELETE, both reports written.
#[test]
fn two_ends_and_an_interrupt() {
    let lab = Lab::new();
    lab.both_ends();
    let piped = |args: &[&str]| {
        let mut command = lab.command(args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let mut listen = piped(&["listen", "-c", "r.yaml", "--out", "r"]);
    let listening = until_line(&mut listen, "listening on ");
    let mut connect = piped(&["connect", "-c", "i.yaml", "--out", "i"]);
    let mut shown = until_line(&mut connect, "  Child SA ");
    interrupt(&connect);
    shown.push_str(&rest(&mut connect));
    assert_eq!(connect.wait().unwrap().code(), Some(0), "{shown}");
    assert!(shown.contains("+ connected: i  "), "{shown}");
    assert!(shown.contains("SK{ D(IKE) }") && shown.ends_with("- deleted; the peer confirmed it\n"), "{shown}");

    interrupt(&listen);
    let served = listening + &rest(&mut listen);
    assert_eq!(listen.wait().unwrap().code(), Some(0), "{served}");
    assert!(served.contains("+ #1 ") && served.contains("fqdn:i.test"), "{served}");
    assert!(served.contains("IKE SA deleted by the peer"), "{served}");
    assert!(served.contains("IKE SAs up 1, failed 0; Child SAs up 1;"), "{served}");
    for run in ["i", "r"] {
        assert!(lab.path().join(run).join("result.json").exists());
    }
}

/// What `run` leaves when it is interrupted while a scenario waits: an orderly end, and everything written.
#[test]
fn an_interrupted_run() {
    let lab = Lab::new();
    // It waits with a tunnel up, far longer than this test may take. Against the embedded peer it would wait in virtual time.
    lab.file("long.yaml", LONG_SCENARIO).both_ends();
    lab.file("next.yaml", &LONG_SCENARIO.replace("child/long", "child/next"));
    let mut listen = lab.command(&["listen", "-c", "r.yaml", "--out", "r"]);
    let mut listen = listen.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    until_line(&mut listen, "listening on ");
    let args = ["run", "child/long", "child/next", "--scenarios", "long.yaml", "--scenarios", "next.yaml"];
    let mut command = lab.command(&args);
    command.args(["-c", "i.yaml", "--peer", "127.0.0.1", "--role", "initiator"]);
    command.args(["--out", "run", "--junit", "junit.xml"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut run = command.spawn().unwrap();
    let mut shown = until_line(&mut run, "        PASS ");
    until(|| has_transcript_event(&lab.path().join("run/002-child-long-initiator"), "ike_up"));
    interrupt(&run);
    shown.push_str(&rest(&mut run));
    assert_eq!(run.wait().unwrap().code(), Some(4), "{shown}");
    assert!(shown.contains("0/2 run: 0 reproduced, 2 not run (interrupted)"), "{shown}");

    let result = std::fs::read_to_string(lab.path().join("run/result.json")).unwrap();
    let result: serde_json::Value = serde_json::from_str(&result).unwrap();
    assert_eq!((&result["stopped"], &result["interrupted"]), (&"interrupted".into(), &true.into()));
    let cases: Vec<_> = result["cases"].as_array().unwrap().iter().filter(|c| c["phase"].is_string()).collect();
    let details = ["interrupted", "not run: interrupted"];
    assert_eq!(cases.len(), 2, "{result}");
    for case in cases {
        assert_eq!((&case["verdict"], &case["stopped"]), (&"inconclusive".into(), &true.into()));
        assert!(details.contains(&case["detail"].as_str().unwrap()), "{case}");
        assert!(case["again"].as_str().unwrap().starts_with("ikelab run "), "{case}");
        assert_eq!(case["capture"].is_null(), case["id"] != "child/long", "{case}");
    }
    let junit = std::fs::read_to_string(lab.path().join("junit.xml")).unwrap();
    assert!(junit.contains("errors=\"2\"") && junit.contains("message=\"not run: interrupted\""), "{junit}");
    // Our DELETE, answered by the peer.
    let dir = lab.path().join("run/002-child-long-initiator");
    assert!(has_transcript_event(&dir, "deleted"), "the peer was left with our IKE SA");
    assert!(lab.path().join("run/002-child-long-initiator.pcapng").exists());
    interrupt(&listen);
    listen.wait().unwrap();
}

/// A peer that is gone has two seconds for the answer to DELETE; whoever presses Ctrl-C again does not wait for that.
#[test]
fn interrupted_with_a_silent_peer() {
    use nix::sys::signal::{Signal, kill};
    for twice in [false, true] {
        let lab = Lab::new();
        lab.file("long.yaml", LONG_SCENARIO).both_ends();
        let mut listen = lab.command(&["listen", "-c", "r.yaml", "--out", "r"]);
        let mut listen = listen.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        until_line(&mut listen, "listening on ");
        let mut run = lab.command(&["run", "child/long", "--scenarios", "long.yaml", "-c", "i.yaml", "--out", "run"]);
        run.args(["--peer", "127.0.0.1", "--role", "initiator"]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut run = run.spawn().unwrap();
        until_line(&mut run, "        PASS ");
        until(|| has_transcript_event(&lab.path().join("run/002-child-long-initiator"), "ike_up"));
        let pid = nix::unistd::Pid::from_raw(i32::try_from(listen.id()).unwrap());
        kill(pid, Signal::SIGSTOP).unwrap();
        let began = std::time::Instant::now();
        interrupt(&run);
        if twice {
            std::thread::sleep(std::time::Duration::from_millis(300));
            interrupt(&run);
        }
        assert_eq!(run.wait().unwrap().code(), Some(4));
        listen.kill().unwrap();
        listen.wait().unwrap();
        // The second one leaves no time for a result.
        assert_eq!(lab.path().join("run/result.json").exists(), !twice, "{:?}", began.elapsed());
        assert!(began.elapsed().as_secs_f64() >= if twice { 0.3 } else { 2.0 }, "{:?}", began.elapsed());
    }
}

/// Brings a tunnel up, in which one Child SA is narrowed, and then waits.
const LONG_SCENARIO: &str = "id: child/long
title: A tunnel that is held
phase: child
story: Nobody touches it.
mechanics: The peer narrows.
sources: [none]
needs: [child]
roles:
  initiator:
    plays: we ask for one subnet more than the peer has
    change: {children.0.local_ts: {add: 192.0.2.0/24}}
    detects: peer
    steps:
      - establish: {}
      - expect: {any: [{event: up}], within: 20s}
      - wait: {for: 300s}
  only_one_because: one is enough
symptoms:
  cisco-ios-xe: {log: [none], evidence: inferred}
fix:
  cisco-ios-xe: [none]
";

pub fn until(mut condition: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !condition() {
        assert!(began.elapsed() < std::time::Duration::from_secs(30), "it never came");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// Whether a transcript in `dir` has an event of this name.
fn has_transcript_event(dir: &Path, name: &str) -> bool {
    let Ok(files) = std::fs::read_dir(dir) else { return false };
    files.flatten().filter_map(|file| std::fs::read_to_string(file.path()).ok()).any(|text| {
        let events = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        events.into_iter().any(|event| event["event"] == name)
    })
}

fn end(local: &str, remote: &str, ports: (u16, u16), theirs: (u16, u16), ts: (&str, &str)) -> String {
    format!(
        "version: 1
local: {{address: 127.0.0.1, port: {}, natt_port: {}, id: \"fqdn:{local}\"}}
remote: {{address: 127.0.0.1, port: {}, natt_port: {}, id: \"fqdn:{remote}\"}}
auth: {{local: {{psk_env: IKELAB_TEST_PSK}}}}
ike: {{proposals: [aes256gcm16-prfsha256-x25519]}}
children: [{{name: lan, proposals: [aes256gcm16], local_ts: [{}], remote_ts: [{}]}}]
",
        ports.0, ports.1, theirs.0, theirs.1, ts.0, ts.1
    )
}

pub fn free_ports() -> [u16; 4] {
    // Held all at once, so that they differ.
    let sockets = [(); 4].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    sockets.map(|s| s.local_addr().unwrap().port())
}

pub fn interrupt(child: &std::process::Child) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
}

/// Reads standard output until a line begins so.
pub fn until_line(child: &mut std::process::Child, start: &str) -> String {
    use std::io::Read;
    let mut text = Vec::new();
    let mut octet = [0];
    let out = child.stdout.as_mut().unwrap();
    loop {
        assert_eq!(out.read(&mut octet).unwrap(), 1, "ended early: {}", String::from_utf8_lossy(&text));
        text.push(octet[0]);
        let so_far = String::from_utf8_lossy(&text);
        if octet[0] == b'\n' && so_far.lines().last().is_some_and(|line| line.starts_with(start)) {
            return so_far.into_owned();
        }
    }
}

pub fn rest(child: &mut std::process::Child) -> String {
    let mut text = String::new();
    std::io::Read::read_to_string(child.stdout.as_mut().unwrap(), &mut text).unwrap();
    text
}
