//! `ikelab path` between two ikelabs, as a person runs it.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::cli_errors::{interrupt, until_line};

fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ikelab"));
    command.args(args).current_dir(dir).env("IKELAB_TEST_PSK", "sesame").stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

/// The ports in "listening on 127.0.0.91:4711, 127.0.0.91:4712 ...".
pub fn ports(line: &str, host: &str) -> Vec<String> {
    let host = format!("{host}:");
    let after = line.split(&host).skip(1);
    after.map(|t| t.chars().take_while(char::is_ascii_digit).collect()).collect()
}

fn connection(local: &str, id: &str, remote: &str, ts: (u8, u8), more: &str) -> String {
    format!(
        "version: 1\nlocal: {{address: {local}, id: \"fqdn:{id}\"}}\nremote: {remote}\nauth: {{local: {{psk_env: \
         IKELAB_TEST_PSK}}}}\nike: {{proposals: [aes128gcm16-prfsha256-x25519]}}\nchildren: [{{proposals: [aes128gcm16], \
         local_ts: [10.{}.0.0/16], remote_ts: [10.{}.0.0/16]}}]\n{more}",
        ts.0, ts.1
    )
}

fn result(dir: &Path, run: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(dir.join(run).join("result.json")).unwrap()).unwrap()
}

fn end(child: Child) {
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_tunnel_lives_through_a_relay_that_loses_and_rebinds_and_the_counts_add_up() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let free = ["--source-port", "0", "--natt-port", "0"];
    let r = connection("127.0.0.91", "r.test", "{id: any}", (2, 1), "");
    std::fs::write(dir.join("r.yaml"), r).unwrap();
    let listen_args = [&["listen", "-c", "r.yaml", "--out", "r"][..], &free].concat();
    let mut listen = command(dir, &listen_args).spawn().unwrap();
    let far = ports(&until_line(&mut listen, "listening on"), "127.0.0.91");

    let mut args = vec!["path", "--listen", "127.0.0.92", "--to", "127.0.0.91", "--from", "127.0.0.93", "--out", "p"];
    args.extend(["--to-port", &far[0], "--to-natt-port", &far[1], "--seed", "x", "--rebind", "1s"]);
    args.extend(["--path", "loss=20%,delay=5ms,duplicate=10%"]);
    args.extend(free);
    let mut relay = command(dir, &args).spawn().unwrap();
    let near = ports(&until_line(&mut relay, "listening on"), "127.0.0.92");

    let remote = format!("{{address: 127.0.0.92, port: {}, natt_port: {}, id: \"fqdn:r.test\"}}", near[0], near[1]);
    let more = "retransmit: {initial: 200ms, attempts: 8}\ndpd: {interval: 200ms}\n";
    let i = connection("127.0.0.94", "i.test", &remote, (1, 2), more);
    std::fs::write(dir.join("i.yaml"), i).unwrap();
    let connect_args = [&["connect", "-c", "i.yaml", "--hold", "4s", "--out", "i"][..], &free].concat();
    let output = command(dir, &connect_args).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}");
    end(relay);
    end(listen);

    let result = result(dir, "p");
    let count = |name: &str| result["counts"][name].as_u64().unwrap_or_else(|| panic!("{name} in {result:#}"));
    assert!(count("new_NAT_mappings") >= 2, "{result:#}");
    assert!(count("lost_on_the_way_there") > 0 && count("lost_on_the_way_back") > 0, "{result:#}");
    assert_eq!(count("from_the_near_box"), count("to_the_far_box") + count("lost_on_the_way_there"), "{result:#}");
    assert_eq!((count("not_sent"), count("from_strangers")), (0, 0), "{result:#}");
    assert_eq!(result["near"], "127.0.0.94");
    let copies = result["path"]["in"]["duplicated"].as_u64().unwrap();
    let passed = count("from_the_far_box") - count("lost_on_the_way_back") - count("without_NAT_mapping");
    assert_eq!(count("to_the_near_box"), passed, "{copies} copies among them: {result:#}");
    // The captures say of each what became of it.
    let mut told = 0;
    for file in std::fs::read_dir(dir.join("p")).unwrap().map(|entry| entry.unwrap().path()) {
        if file.extension().is_some_and(|kind| kind == "pcapng") {
            let octets = std::fs::read(file).unwrap();
            let lost = ikelab::record::LOST_ON_PATH.as_bytes();
            told += octets.windows(lost.len()).filter(|window| *window == lost).count() as u64;
        }
    }
    let lost = count("lost_on_the_way_there") + count("lost_on_the_way_back") + count("without_NAT_mapping");
    assert_eq!(told, lost, "{result:#}");
    for capture in ["near.pcapng", "far.pcapng"] {
        assert!(std::fs::metadata(dir.join("p").join(capture)).unwrap().len() > 2000, "{capture}");
    }
}

#[test]
fn a_relay_keeps_inside_the_lab() {
    let dir = tempfile::tempdir().unwrap();
    let output = command(dir.path(), &["path", "--listen", "127.0.0.92", "--to", "8.8.8.8"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && text.contains("--i-own-this-target"), "{text}");
    assert!(!dir.path().join("runs").exists(), "nothing was begun");
    std::fs::write(dir.path().join("r.yaml"), connection("127.0.0.91", "r.test", "{address: 8.8.8.8}", (2, 1), ""))
        .unwrap();
    let output = command(dir.path(), &["listen", "-c", "r.yaml"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && text.contains("--i-own-this-target"), "{text}");
}
