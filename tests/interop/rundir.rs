//! What a run of ikelab leaves: result, transcripts, capture, key tables, as another program would read them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::peer::{EspSa, IkeKeys, IkeSa, unhex};
use crate::process::text_of;
use crate::proposal::Proposal;
use crate::tshark::IKE_TABLE;

/// A run directory of `connect` or `listen`.
#[derive(Clone, Debug)]
pub struct RunDir(PathBuf);

/// An IKE SA in the transcripts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OurSa {
    pub spi_i: u64,
    pub spi_r: u64,
    pub suite: String,
    /// Address and port of both ends when it came up.
    pub local: String,
    pub remote: String,
    pub children: Vec<OurChild>,
    /// Who deleted it: `us`, `peer`, or nobody yet.
    pub deleted_by: Option<String>,
    /// Everything the transcript says, in order.
    pub events: Vec<Value>,
}

/// A Child SA in the transcripts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OurChild {
    pub spi_in: u32,
    pub spi_out: u32,
    pub suite: String,
    pub local_ts: Vec<String>,
    pub remote_ts: Vec<String>,
    pub encapsulated: bool,
    pub narrowed: bool,
}

/// The exported keys of an IKE SA.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct OurIkeKeys {
    pub ei: Vec<u8>,
    pub er: Vec<u8>,
    pub ai: Vec<u8>,
    pub ar: Vec<u8>,
}

/// An ESP packet in a capture.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EspPacket {
    /// Its number.
    pub number: u64,
    pub source: IpAddr,
    /// In UDP, or as IP protocol 50.
    pub in_udp: bool,
}

/// The ESP packets of one of our captures, native or in UDP. Read by hand: there is one capture for each scenario, and
/// tshark takes its time to start.
#[track_caller]
pub fn esp_packets(capture: &Path) -> Vec<EspPacket> {
    const ENHANCED_PACKET: u32 = 6;
    let bytes = std::fs::read(capture).unwrap_or_else(|e| panic!("{}: {e}", capture.display()));
    let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let (mut at, mut number, mut found) = (0, 0, Vec::new());
    while let (Some(kind), Some(length)) = (word(at), word(at + 4)) {
        if kind == ENHANCED_PACKET {
            number += 1;
            let packet = word(at + 20).and_then(|length| bytes.get(at + 28..at + 28 + length as usize));
            let esp = packet.and_then(esp_source);
            found.extend(esp.map(|(source, in_udp)| EspPacket { number, source, in_udp }));
        }
        assert!(length >= 12, "{}: a block of {length} octets at {at}", capture.display());
        at += length as usize;
    }
    assert!(number > 0, "{}: no packet", capture.display());
    found
}

/// Who sent an IPv4 packet, if there is ESP in it, and whether in UDP.
fn esp_source(packet: &[u8]) -> Option<(IpAddr, bool)> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let natt = || {
        let ports = [packet.get(header..header + 2)?, packet.get(header + 2..header + 4)?];
        let spi = packet.get(header + 8..header + 12)?;
        (ports.contains(&4500u16.to_be_bytes().as_slice()) && spi != [0; 4]).then_some(())
    };
    let in_udp = match packet.get(9)? {
        50 => false,
        17 => {
            natt()?;
            true
        }
        _ => return None,
    };
    let source: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
    Some((source.into(), in_udp))
}

impl RunDir {
    pub fn new(dir: &Path) -> RunDir {
        RunDir(dir.to_owned())
    }

    /// Key tables, laid out as a Wireshark profile.
    pub fn profile(&self) -> PathBuf {
        self.0.join("keys")
    }

    pub fn capture(&self) -> PathBuf {
        self.0.join("run.pcapng")
    }

    /// `result.json`; `None` while the run lasts.
    #[track_caller]
    pub fn result(&self) -> Option<Value> {
        let text = text_of(&self.0.join("result.json"));
        (!text.is_empty()).then(|| serde_json::from_str(&text).unwrap_or_else(|e| panic!("result.json: {e}\n{text}")))
    }

    /// Every line of every transcript, by file.
    #[track_caller]
    fn transcripts(&self) -> Vec<Vec<Value>> {
        let Ok(entries) = std::fs::read_dir(self.0.join("transcript")) else { return Vec::new() };
        let mut files: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
        files.sort();
        let read = |file: &PathBuf| {
            let text = text_of(file);
            // The last line may still be on its way.
            let whole = text.rfind('\n').map_or("", |end| &text[..end]);
            let parse =
                |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{}: {e}\n{line}", file.display()));
            whole.lines().map(parse).collect()
        };
        files.iter().map(read).collect()
    }

    /// Every event of this name, of all IKE SAs, in order.
    #[track_caller]
    pub fn named(&self, name: &str) -> Vec<Value> {
        let mut events = self.events();
        events.retain(|e| e["event"] == *name);
        events
    }

    /// Everything that happened, of all IKE SAs, in order.
    #[track_caller]
    pub fn events(&self) -> Vec<Value> {
        let mut events: Vec<Value> = self.transcripts().into_iter().flatten().collect();
        let at = |e: &Value| e["t"].as_f64().unwrap_or_default();
        events.sort_by(|a, b| at(a).total_cmp(&at(b)));
        events
    }

    /// Every IKE SA that came up, in no particular order.
    #[track_caller]
    pub fn sas(&self) -> Vec<OurSa> {
        self.transcripts().into_iter().filter_map(read_sa).collect()
    }

    /// The one IKE SA with a Child SA, if both are up by now.
    #[track_caller]
    pub fn up(&self) -> Option<OurSa> {
        let mut sas = self.sas();
        sas.retain(|sa| !sa.children.is_empty() && sa.deleted_by.is_none());
        assert!(sas.len() <= 1, "one IKE SA was expected: {sas:#?}");
        sas.pop()
    }

    /// Exported keys of IKE SAs, from the table for Wireshark and from the file for what Wireshark cannot use.
    pub fn ike_keys(&self) -> BTreeMap<(u64, u64), OurIkeKeys> {
        let mut all: BTreeMap<(u64, u64), OurIkeKeys> = BTreeMap::new();
        for line in text_of(&self.profile().join(IKE_TABLE)).lines() {
            let columns: Vec<&str> = line.split(',').collect();
            let [spi_i, spi_r, ei, er, _, ai, ar, _] = columns[..] else { continue };
            if let (Some(i), Some(r)) = (spi(spi_i), spi(spi_r)) {
                let key = |text: &str| unhex(text).unwrap_or_default();
                all.insert((i, r), OurIkeKeys { ei: key(ei), er: key(er), ai: key(ai), ar: key(ar) });
            }
        }
        for (title, keys) in self.labelled("IKE SA ") {
            let mut words = title.split(' ');
            let (Some(i), Some(r)) = (words.next().and_then(spi), words.next().and_then(spi)) else { continue };
            let key = |label: &str| keys.get(label).cloned().unwrap_or_default();
            let sa = OurIkeKeys { ei: key("SK_ei"), er: key("SK_er"), ai: key("SK_ai"), ar: key("SK_ar") };
            all.insert((i, r), sa);
        }
        all
    }

    /// Exported keys of Child SAs by SPI: encryption and integrity. A MAC that Wireshark does not check has no key in its
    /// table.
    pub fn esp_keys(&self) -> BTreeMap<u32, (Vec<u8>, Vec<u8>)> {
        let mut all = BTreeMap::new();
        for line in text_of(&self.profile().join("esp_sa")).lines() {
            let columns: Vec<&str> = line.split(',').map(|c| c.trim_matches('"')).collect();
            let [_, _, _, spi, _, encr, _, integ] = columns[..] else { continue };
            let key = |text: &str| unhex(text.trim_start_matches("0x")).unwrap_or_default();
            if let Ok(spi) = u32::from_str_radix(spi.trim_start_matches("0x"), 16) {
                all.insert(spi, (key(encr), key(integ)));
            }
        }
        for (title, keys) in self.labelled("ESP SA 0x") {
            let spi = title.split(' ').next().and_then(|w| u32::from_str_radix(w, 16).ok());
            let key = |label: &str| keys.get(label).cloned().unwrap_or_default();
            if let Some(spi) = spi {
                all.insert(spi, (key("encryption"), key("integrity")));
            }
        }
        all
    }

    /// Blocks of the file for what Wireshark cannot use: a title line, then indented `label hex` lines.
    fn labelled(&self, start: &str) -> Vec<(String, BTreeMap<String, Vec<u8>>)> {
        let text = text_of(&self.profile().join("keys_unsupported_by_wireshark.txt"));
        let mut blocks: Vec<(String, BTreeMap<String, Vec<u8>>)> = Vec::new();
        for line in text.lines() {
            match (line.strip_prefix("  "), blocks.last_mut()) {
                (Some(key), Some((_, keys))) => {
                    let (label, hex) = key.split_once(' ').unwrap_or((key, ""));
                    keys.insert(label.to_owned(), unhex(hex).unwrap_or_default());
                }
                _ => blocks.push((line.to_owned(), BTreeMap::new())),
            }
        }
        blocks.into_iter().filter_map(|(t, keys)| Some((t.strip_prefix(start)?.to_owned(), keys))).collect()
    }
}

/// 16 hex digits.
fn spi(text: &str) -> Option<u64> {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).ok()
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

fn texts(value: &Value, key: &str) -> Vec<String> {
    value[key].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn read_sa(events: Vec<Value>) -> Option<OurSa> {
    let named = |name: &str| events.iter().filter(move |e| e["event"] == *name).collect::<Vec<_>>();
    let up = *named("ike_up").first()?;
    let child = |e: &&Value| {
        let spi = |key| u32::from_str_radix(&text(e, key), 16).ok();
        Some(OurChild {
            spi_in: spi("spi_in")?,
            spi_out: spi("spi_out")?,
            suite: text(e, "suite"),
            local_ts: texts(e, "local_ts"),
            remote_ts: texts(e, "remote_ts"),
            encapsulated: e["encapsulated"] == true,
            narrowed: e["narrowed"] == true,
        })
    };
    Some(OurSa {
        spi_i: spi(&text(up, "spi_i"))?,
        spi_r: spi(&text(up, "spi_r"))?,
        suite: text(up, "suite"),
        local: text(up, "local"),
        remote: text(up, "remote"),
        children: named("child_inbound").iter().filter_map(child).collect(),
        deleted_by: named("deleted").first().map(|e| text(e, "by")),
        events,
    })
}

/// What a peer is asked to confirm; see [`assert_agreed`].
pub struct Theirs<'a> {
    /// Its name for messages.
    pub name: &'a str,
    pub sa: &'a IkeSa,
    /// The keys that it logged for this IKE SA, where it logs them.
    pub ike_keys: Option<&'a IkeKeys>,
    /// The Child keys that it handed to its kernel.
    pub esp: &'a BTreeMap<u32, EspSa>,
}

/// Both ends must have the same IKE SA and Child SA: SPIs, algorithms, and keys. `run` must have exported its keys.
#[track_caller]
pub fn assert_agreed(run: &RunDir, ours: &OurSa, theirs: &Theirs<'_>, ike: &Proposal, esp: &Proposal) {
    let name = theirs.name;
    assert_eq!(Proposal::parse(&ours.suite).with_prf(), ike.with_prf(), "our IKE suite");
    if let (Some(i), Some(r)) = (theirs.sa.spi_i, theirs.sa.spi_r) {
        assert_eq!((ours.spi_i, ours.spi_r), (i, r), "IKE SPIs of ikelab and {name}");
    }
    if let Some(suite) = &theirs.sa.suite {
        assert_eq!(*suite, ike.strongswan_ike(), "{name}'s IKE suite");
    }
    let ([child], [peer_child]) = (&ours.children[..], &theirs.sa.children[..]) else {
        panic!("one Child SA on either side: {ours:?} {:?}", theirs.sa)
    };
    assert_eq!(child.suite, esp.to_string(), "our ESP suite");
    assert_eq!((child.spi_in, child.spi_out), (peer_child.spi_out, peer_child.spi_in), "ESP SPIs, ours and {name}'s");
    if let Some(suite) = &peer_child.suite {
        assert_eq!(*suite, esp.strongswan_esp(), "{name}'s ESP suite");
    }

    let our_keys = run.ike_keys();
    let keys = our_keys.get(&(ours.spi_i, ours.spi_r)).unwrap_or_else(|| panic!("no exported keys for {ours:?}"));
    assert!(!keys.ei.is_empty() && keys.ei != keys.er && keys.ai.is_empty() == ike.encr.is_aead(), "exported keys");
    if let Some(k) = theirs.ike_keys {
        assert_eq!((k.spi_i, k.spi_r), (ours.spi_i, ours.spi_r));
        for (label, ours, theirs) in [
            ("SK_ei", &keys.ei, &k.sk_ei),
            ("SK_er", &keys.er, &k.sk_er),
            ("SK_ai", &keys.ai, &k.sk_ai),
            ("SK_ar", &keys.ar, &k.sk_ar),
        ] {
            assert_eq!(ours, theirs, "{label} of {ike}");
        }
    }
    let our_esp = run.esp_keys();
    for spi in [child.spi_in, child.spi_out] {
        let ours = our_esp.get(&spi).unwrap_or_else(|| panic!("no exported keys for ESP {spi:08x}"));
        let theirs = theirs.esp.get(&spi).unwrap_or_else(|| panic!("{name} has no ESP {spi:08x}: {:?}", theirs.esp));
        assert_eq!(ours.0, theirs.enc_key, "encryption key of {esp}, {spi:08x}");
        assert_eq!(ours.1, theirs.auth_key, "integrity key of {esp}, {spi:08x}");
    }
}
