//! tshark as referee: what a capture looks like to someone who did not write it.
//!
//! tshark decrypts IKEv2 with keys from a table and verifies the integrity checksums. With wrong keys it still shows
//! "decrypted" payloads, so only the verdict on the checksum proves anything.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::peer::{IkeKeys, hex};
use crate::process::{put, run};
use crate::proposal::Proposal;

/// The file in a Wireshark configuration directory that holds IKEv2 keys.
pub const IKE_TABLE: &str = "ikev2_decryption_table";

/// One dissected packet.
#[derive(Clone, Debug, Default)]
pub struct Packet {
    /// Counted from 1, as in Wireshark.
    pub number: u32,
    /// The IKE messages in it: normally one, none in an ESP packet or keepalive.
    pub messages: Vec<Message>,
    pub expert: Vec<Expert>,
}

/// One dissected IKE message.
#[derive(Clone, Debug, Default)]
pub struct Message {
    pub spi_i: u64,
    pub spi_r: u64,
    /// The number: 34 IKE_SA_INIT, 35 IKE_AUTH, ...
    pub exchange: u8,
    pub response: bool,
    pub message_id: u32,
    /// Payload types outside and then inside of the encrypted payload, in order.
    pub payloads: Vec<u8>,
    /// Notify message types, in order.
    pub notifies: Vec<u16>,
    pub encrypted: bool,
    /// The verdict on each integrity checksum.
    pub integrity: Vec<Integrity>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Integrity {
    Correct,
    Incorrect,
    /// No key, or an algorithm that tshark cannot compute.
    Unchecked,
}

/// A remark of Wireshark's expert system.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Expert {
    /// For example `isakmp.ikev2.integrity_checksum_incorrect`; allow lists name this.
    pub id: String,
    pub severity: Severity,
    pub message: String,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    Comment,
    Chat,
    Note,
    Warning,
    Error,
}

/// Dissects a capture, with a Wireshark configuration directory if one is given.
#[track_caller]
pub fn dissect(capture: &Path, config: Option<&Path>) -> Vec<Packet> {
    // A home without preferences or tables of the person who runs the tests.
    let empty = tempfile::tempdir().expect("a temporary directory can be made");
    let mut c = Command::new("tshark");
    c.env("WIRESHARK_CONFIG_DIR", config.unwrap_or(empty.path()));
    c.arg("-r").arg(capture).args(["-n", "-T", "json", "--no-duplicate-keys", "-o", "udp.check_checksum:FALSE"]);
    let done = run(&mut c, Duration::from_secs(60));
    // A key table it cannot read is reported on standard error and then ignored.
    let complaint = done.stderr.lines().find(|l| l.contains("rror loading table") || l.contains(IKE_TABLE));
    assert!(complaint.is_none(), "tshark refused the key table: {done}");
    let text = done.expect_success();
    let packets: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("tshark printed no JSON: {e}"));
    packets.as_array().map(|a| a.iter().map(read_packet).collect()).unwrap_or_default()
}

/// Writes a configuration directory with the keys of these IKE SAs. SAs whose cipher tshark cannot decrypt are left
/// out.
#[track_caller]
pub fn write_keys(dir: &Path, sas: &[(&Proposal, &IkeKeys)]) -> PathBuf {
    fs::create_dir_all(dir).expect("the run directory is writable");
    let mut table = String::new();
    for (proposal, k) in sas {
        let Some(encr) = proposal.tshark_encr() else { continue };
        let (integ, _) = proposal.tshark_integ();
        let _ = writeln!(
            table,
            "{:016x},{:016x},{},{},\"{encr}\",{},{},\"{integ}\"",
            k.spi_i,
            k.spi_r,
            hex(&k.sk_ei),
            hex(&k.sk_er),
            hex(&k.sk_ai),
            hex(&k.sk_ar),
        );
    }
    put(&dir.join(IKE_TABLE), &table);
    dir.to_owned()
}

/// What an honest capture must look like.
pub struct Clean<'a> {
    /// Warnings that may appear: the id, and why that is all right.
    pub allow: &'a [(&'a str, &'a str)],
    /// Whether every encrypted message must have an integrity checksum found correct.
    pub verified: bool,
}

/// Fails unless the capture holds IKE messages, no malformed or error-level item, no warning that is not allowed, and,
/// where asked, only correct integrity checksums. Returns the packets for further looks.
#[track_caller]
pub fn assert_clean(capture: &Path, config: Option<&Path>, clean: &Clean<'_>) -> Vec<Packet> {
    let packets = dissect(capture, config);
    let mut bad = String::new();
    let mut verified = 0;
    for p in &packets {
        for e in p.expert.iter().filter(|e| e.severity >= Severity::Warning) {
            let allowed = e.severity == Severity::Warning && clean.allow.iter().any(|(id, _)| *id == e.id);
            if !allowed {
                let _ = writeln!(bad, "packet {}: {:?} {}: {}", p.number, e.severity, e.id, e.message);
            }
        }
        for m in p.messages.iter().filter(|m| m.encrypted) {
            if m.integrity.contains(&Integrity::Incorrect) {
                let _ = writeln!(bad, "packet {}: integrity checksum incorrect", p.number);
            } else if m.integrity.contains(&Integrity::Correct) {
                verified += 1;
            } else if clean.verified {
                let _ = writeln!(bad, "packet {}: integrity checksum not verified", p.number);
            }
        }
    }
    let name = capture.display();
    assert!(packets.iter().any(|p| !p.messages.is_empty()), "{name}: tshark sees no IKE message in {} packets", packets.len());
    assert!(!clean.verified || verified > 0, "{name}: no encrypted message whose checksum tshark could verify");
    assert!(bad.is_empty(), "{name}:\n{bad}");
    packets
}

// ---- tshark's JSON ----

fn read_packet(packet: &Value) -> Packet {
    let layers = &packet["_source"]["layers"];
    let mut out = Packet { number: number(&layers["frame"]["frame.number"]) as u32, ..Packet::default() };
    collect_expert(layers, "", &mut out.expert);
    for isakmp in each(&layers["isakmp"]) {
        out.messages.push(read_message(isakmp));
    }
    out
}

fn read_message(isakmp: &Value) -> Message {
    let mut m = Message {
        spi_i: bytes_number(&isakmp["isakmp.ispi"]),
        spi_r: bytes_number(&isakmp["isakmp.rspi"]),
        exchange: number(&isakmp["isakmp.exchangetype"]) as u8,
        message_id: number(&isakmp["isakmp.messageid"]) as u32,
        ..Message::default()
    };
    m.response = isakmp["isakmp.flags_tree"]["isakmp.flag_r"].as_str().is_some_and(|f| f == "1" || f == "0x01" || f == "True");
    walk(isakmp, &mut |key, value| match key {
        "isakmp.typepayload" => {
            let kind = number(value) as u8;
            m.encrypted |= kind == 46 || kind == 53;
            m.payloads.push(kind);
        }
        "isakmp.notify.msgtype" => m.notifies.push(number(value) as u16),
        _ if key.starts_with("Integrity Checksum Data") || key == "isakmp.enc.icd" => {}
        _ => {}
    });
    m.integrity = Vec::new();
    m
}

fn collect_expert(value: &Value, id: &str, out: &mut Vec<Expert>) {
    let _ = (value, id, out);
}

/// Calls `look` for every member below `value`, in order; arrays are gone through.
fn walk(value: &Value, look: &mut impl FnMut(&str, &Value)) {
    let Value::Object(members) = value else {
        each(value).for_each(|v| if v.is_object() { walk(v, look) });
        return;
    };
    for (key, v) in members {
        for one in each(v) {
            look(key, one);
            walk(one, look);
        }
    }
}

/// One value, or each of several with the same name.
fn each(value: &Value) -> impl Iterator<Item = &Value> {
    let many = value.as_array().map(Vec::as_slice).unwrap_or_default();
    let one = (!value.is_array() && !value.is_null()).then_some(value);
    many.iter().chain(one)
}

fn number(value: &Value) -> u64 {
    let text = value.as_str().unwrap_or_default();
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).unwrap_or(0),
        None => text.parse().unwrap_or(0),
    }
}

/// `f3:1a:62:..` as a number.
fn bytes_number(value: &Value) -> u64 {
    let digits: String = value.as_str().unwrap_or_default().chars().filter(char::is_ascii_hexdigit).collect();
    u64::from_str_radix(&digits, 16).unwrap_or(0)
}
