//! tshark as referee: what a capture looks like to someone who did not write it.
//!
//! tshark decrypts IKEv2 with keys from a table and verifies the integrity checksums. With wrong keys it still shows
//! "decrypted" payloads, so only the verdict on the checksum proves anything.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

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
    /// A dissector ran off the end of the packet.
    pub malformed: bool,
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
    /// For example `isakmp.ikev2.integrity_checksum`; allow lists name this.
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
    c.arg("-r").arg(capture).args(["-n", "-T", "pdml", "-o", "udp.check_checksum:FALSE"]);
    let done = run(&mut c, Duration::from_secs(180));
    // A key table it cannot read is reported on standard error and then ignored.
    let complaint = done.stderr.lines().find(|l| l.contains("rror loading table") || l.contains(IKE_TABLE));
    assert!(complaint.is_none(), "tshark refused the key table: {}", done.stderr);
    let text = done.expect_success();
    read_pdml(&text).iter().map(|nodes| read_packet(nodes)).collect()
}

/// Writes a configuration directory with the keys of these IKE SAs. SAs whose cipher tshark cannot decrypt are left
/// out.
#[track_caller]
pub fn write_keys(dir: &Path, sas: &[(&Proposal, &IkeKeys)]) -> PathBuf {
    fs::create_dir_all(dir).expect("the run directory is writable");
    let mut table = String::new();
    for (proposal, k) in sas {
        let Some(encr) = proposal.tshark_encr() else { continue };
        let (integ, checks) = proposal.tshark_integ();
        // The algorithm it does not check has no key.
        let integ_key = |key: &[u8]| if checks { hex(key) } else { String::new() };
        let _ = writeln!(
            table,
            "{:016x},{:016x},{},{},\"{encr}\",{},{},\"{integ}\"",
            k.spi_i,
            k.spi_r,
            hex(&k.sk_ei),
            hex(&k.sk_er),
            integ_key(&k.sk_ai),
            integ_key(&k.sk_ar),
        );
    }
    put(&dir.join(IKE_TABLE), &table);
    dir.to_owned()
}

/// Wireshark's warnings that an honest capture may have: the id, and why that is all right.
pub const ALLOWED: &[(&str, &str)] = &[];

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
        if p.malformed {
            let _ = writeln!(bad, "packet {}: malformed", p.number);
        }
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
    assert!(
        packets.iter().any(|p| !p.messages.is_empty()),
        "{name}: tshark sees no IKE message in {} packets",
        packets.len()
    );
    assert!(!clean.verified || verified > 0, "{name}: no encrypted message whose checksum tshark could verify");
    assert!(bad.is_empty(), "{name}:\n{bad}");
    packets
}

/// Fails unless tshark finds these faults in the capture, by their ids, and no others: `_ws.malformed` where a dissector
/// ran off the end of a packet.
#[track_caller]
pub fn assert_complaints(capture: &Path, expected: &[&str]) {
    let mut found = std::collections::BTreeSet::new();
    for packet in dissect(capture, None) {
        found.extend(packet.malformed.then(|| "_ws.malformed".to_owned()));
        found.extend(packet.expert.into_iter().filter(|e| e.severity >= Severity::Warning).map(|e| e.id));
    }
    let expected: std::collections::BTreeSet<String> = expected.iter().map(|id| (*id).to_owned()).collect();
    assert_eq!(found, expected, "{}: what tshark finds wrong", capture.display());
}

// ---- PDML ----
// Not JSON: that leaves out the labels, and the verdict on a checksum is only in one.

/// One element of PDML.
struct Node {
    depth: usize,
    name: String,
    showname: String,
    show: String,
}

/// Splits PDML into packets of nodes, in document order. PDML is plain: tags with double-quoted attributes, no text.
fn read_pdml(text: &str) -> Vec<Vec<Node>> {
    let mut packets = Vec::new();
    let mut depth = 0;
    for tag in text.split('<').skip(1) {
        let tag = tag.trim_end();
        if tag.starts_with("packet>") {
            packets.push(Vec::new());
            depth = 0;
        } else if tag.starts_with("/field") || tag.starts_with("/proto") {
            depth -= 1;
        } else if tag.starts_with("field ") || tag.starts_with("proto ") {
            let node = Node {
                depth,
                name: attribute(tag, "name"),
                showname: attribute(tag, "showname"),
                show: attribute(tag, "show"),
            };
            packets.last_mut().expect("PDML has no field outside of a packet").push(node);
            depth += usize::from(!tag.ends_with("/>"));
        }
    }
    packets
}

fn attribute(tag: &str, name: &str) -> String {
    let value = tag.split_once(&format!(" {name}=\"")).and_then(|(_, rest)| rest.split('"').next()).unwrap_or_default();
    value.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&")
}

fn read_packet(nodes: &[Node]) -> Packet {
    let mut p = Packet::default();
    for (at, node) in nodes.iter().enumerate() {
        let below = || nodes[at + 1..].iter().take_while(|n| n.depth > node.depth);
        match node.name.as_str() {
            "frame.number" => p.number = number(&node.show) as u32,
            "isakmp" => p.messages.push(read_message(below())),
            "_ws.malformed" => p.malformed = true,
            "_ws.expert" => {
                let own = |name: &str| below().find(|n| n.name == name);
                let id = below().find(|n| !n.name.starts_with("_ws.")).map(|n| n.name.clone());
                p.expert.push(Expert {
                    id: id.unwrap_or_else(|| "_ws.expert".to_owned()),
                    severity: severity(own("_ws.expert.severity").map_or(0, |n| number(&n.show))),
                    message: own("_ws.expert.message").map_or(node.showname.clone(), |n| n.show.clone()),
                });
            }
            _ => {}
        }
    }
    p
}

fn read_message<'a>(nodes: impl Iterator<Item = &'a Node>) -> Message {
    let mut m = Message::default();
    for n in nodes {
        match n.name.as_str() {
            "isakmp.ispi" => m.spi_i = bytes_number(&n.show),
            "isakmp.rspi" => m.spi_r = bytes_number(&n.show),
            "isakmp.exchangetype" => m.exchange = number(&n.show) as u8,
            "isakmp.flag_r" => m.response = n.show != "0" && n.show != "False",
            "isakmp.messageid" => m.message_id = number(&n.show) as u32,
            // Proposals (2) and transforms (3) go by the same name.
            "isakmp.typepayload" if n.show != "2" && n.show != "3" => {
                let kind = number(&n.show) as u8;
                m.encrypted |= kind == 46 || kind == 53;
                m.payloads.push(kind);
            }
            "isakmp.notify.msgtype" => m.notifies.push(number(&n.show) as u16),
            "isakmp.enc.icd" => m.integrity.push(match n.showname.rsplit_once('[').map(|(_, verdict)| verdict) {
                Some("correct]") => Integrity::Correct,
                Some(v) if v.starts_with("incorrect") => Integrity::Incorrect,
                _ => Integrity::Unchecked,
            }),
            _ => {}
        }
    }
    m
}

/// Wireshark's numbers for `_ws.expert.severity`.
fn severity(number: u64) -> Severity {
    match number >> 20 {
        0..=1 => Severity::Comment,
        2 => Severity::Chat,
        4 => Severity::Note,
        6 => Severity::Warning,
        _ => Severity::Error,
    }
}

fn number(text: &str) -> u64 {
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).unwrap_or(0),
        None => text.parse().unwrap_or(0),
    }
}

/// `f3:1a:62:..` as a number.
fn bytes_number(text: &str) -> u64 {
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    u64::from_str_radix(&digits, 16).unwrap_or(0)
}

#[test]
fn pdml_is_read() {
    let text = r#"<pdml><packet>
  <proto name="frame"><field name="frame.number" show="7"/></proto>
  <proto name="isakmp" showname="I"><field name="isakmp.ispi" show="00:00:00:00:00:00:01:02"/>
    <field name="isakmp.exchangetype" show="35"/><field name="isakmp.typepayload" show="46" value="00">
      <field name="isakmp.enc.icd" showname="Integrity Checksum Data: 00 &lt;X [RFC1]&gt;[incorrect, should be 11]" show="00">
        <field name="_ws.expert" showname="Expert Info (Warning/Checksum): bad">
          <field name="isakmp.ikev2.integrity_checksum" showname="bad" show=""/>
          <field name="_ws.expert.message" show="bad &amp; wrong"/><field name="_ws.expert.severity" show="6291456"/>
        </field></field></field>
    <field name="isakmp.typepayload" show="43"/></proto>
</packet></pdml>"#;
    let packets: Vec<Packet> = read_pdml(text).iter().map(|n| read_packet(n)).collect();
    assert_eq!(packets.len(), 1);
    assert_eq!(packets[0].number, 7);
    let m = &packets[0].messages[0];
    assert_eq!((m.spi_i, m.exchange, m.encrypted), (0x102, 35, true));
    assert_eq!((&m.payloads[..], &m.integrity[..]), (&[46, 43][..], &[Integrity::Incorrect][..]));
    let id = "isakmp.ikev2.integrity_checksum".to_owned();
    assert_eq!(packets[0].expert, [Expert { id, severity: Severity::Warning, message: "bad & wrong".to_owned() }]);
}
