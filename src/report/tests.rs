//! How the terminal looks: plain and coloured, wide and narrow.

use std::path::Path as FilePath;

use super::ladder::Row;
use super::paint::{Paint, wrap};
use crate::crypto::{ChildKeys, Encr, EspSuite, Group, IkeSuite, Integ, Prf, Secret};
use crate::diagnose::{Facts, diagnose};
use crate::engine::*;
use crate::net::{Path, SocketRole};
use crate::time::Instant;
use crate::wire::registry::{AuthMethod, EncrId, ExchangeType, KeMethod, NotifyType, ProtocolId};
use crate::wire::*;

const NARROW: Paint = Paint { colour: false, width: Some(80) };
const WIDE: Paint = Paint { colour: false, width: Some(140) };
const COLOUR: Paint = Paint { colour: true, width: Some(140) };

fn path() -> Path {
    Path {
        local: "203.0.113.10:500".parse().unwrap(),
        remote: "198.51.100.20:500".parse().unwrap(),
        role: SocketRole::Ike,
    }
}

fn notify(kind: NotifyType) -> Payload {
    Payload::Notify(NotifyPayload::new(kind))
}

fn trace(from: Side, exchange: ExchangeType, id: u32, outer: Vec<Payload>, sk: Option<Vec<Payload>>) -> MessageTrace {
    let flags = if from == Side::Us { Flags::INITIATOR } else { Flags::RESPONSE };
    let header = Header::new(IkeSpi(0xa1), IkeSpi(0xb2), exchange, flags, id);
    MessageTrace { from, path: path(), message: Message { header, outer, sk }, len: 332, attempt: 0 }
}

fn suite() -> IkeSuite {
    IkeSuite { encr: Encr::AesGcm { bits: 256, icv: 16 }, prf: Prf::HmacSha384, integ: None, ke: Group::Ecp256 }
}

fn id(text: &str) -> IdPayload {
    crate::config::identity(text).unwrap()
}

/// The ladder of product.md: a wrong group, then a refused AUTH.
fn ladder(paint: Paint) -> String {
    let init = ExchangeType::IKE_SA_INIT;
    let nats = || vec![notify(NotifyType::NAT_DETECTION_SOURCE_IP), notify(NotifyType::NAT_DETECTION_DESTINATION_IP)];
    let mut offer = vec![
        Payload::Sa(SaPayload { proposals: Vec::new() }),
        Payload::Ke(KePayload { group: KeMethod(20), data: vec![0; 96] }),
        Payload::Nonce(NoncePayload { data: vec![0; 32] }),
    ];
    offer.extend(nats());
    offer.push(notify(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED));
    let wrong_group =
        vec![Payload::Notify(NotifyPayload::with_data(NotifyType::INVALID_KE_PAYLOAD, 19u16.to_be_bytes().to_vec()))];
    let auth = vec![
        Payload::IdI(id("203.0.113.10")),
        Payload::Auth(AuthPayload { method: AuthMethod::SHARED_KEY_MIC, data: vec![0; 48] }),
        Payload::Sa(SaPayload { proposals: Vec::new() }),
        Payload::TsI(TsPayload { selectors: vec![TrafficSelector::any_v4()] }),
        Payload::TsR(TsPayload { selectors: vec![TrafficSelector::any_v4()] }),
        notify(NotifyType::INITIAL_CONTACT),
    ];
    let at = Instant::from_millis;
    let mut answered = Row::message(at(9), &trace(Side::Peer, init, 0, offer.clone(), None));
    let nat = NatFinding { peer_detects: true, us: false, peer: false };
    answered.add_nat(&InitDone {
        initiator: true,
        spis: (IkeSpi(1), IkeSpi(2)),
        suite: suite(),
        nat,
        vendor_ids: Vec::new(),
        peer_fragments: true,
    });
    let asked = Row::message(at(11), &trace(Side::Us, ExchangeType::IKE_AUTH, 1, Vec::new(), Some(auth)));
    let refused = vec![notify(NotifyType::AUTHENTICATION_FAILED)];
    let ignored = Ignored {
        why: IgnoredWhy::BadIcv,
        exchange: Some(ExchangeType::IKE_AUTH),
        message_id: Some(1),
        path: path(),
        detail: String::new(),
    };
    [
        Row::message(at(0), &trace(Side::Us, init, 0, offer.clone(), None)),
        Row::message(at(3), &trace(Side::Peer, init, 0, wrong_group, None)),
        answered,
        asked.clone(),
        asked.again(at(1011), 2, 6),
        Row::ignored(at(1012), &ignored),
        Row::message(at(1015), &trace(Side::Peer, ExchangeType::IKE_AUTH, 1, Vec::new(), Some(refused))),
        Row::message(at(9000), &trace(Side::Peer, ExchangeType::INFORMATIONAL, 2, Vec::new(), Some(Vec::new()))),
    ]
    .iter()
    .map(|row| row.render(paint) + "\n")
    .collect()
}

#[test]
fn a_row_says_that_our_own_path_lost_the_message() {
    let asked = trace(Side::Us, ExchangeType::IKE_AUTH, 1, Vec::new(), Some(Vec::new()));
    let header = asked.message.header;
    let mut row = Row::message(Instant::from_millis(11), &asked);
    assert!(!row.mark_lost(Side::Peer, &header, "blackout"), "the peer's answer has the same number");
    assert!(!row.mark_lost(Side::Us, &Header { message_id: 2, ..header }, "blackout"));
    assert!(row.remark.is_empty());
    // Of several fragments, too.
    assert!(row.mark_lost(Side::Us, &header, "blackout") && row.mark_lost(Side::Us, &header, "blackout"));
    assert_eq!(row.remark, "lost by our own path, as ordered (blackout)");
    let mut again = row.again(Instant::from_millis(1_011), 2, 6);
    assert!(again.mark_lost(Side::Us, &header, "lost"));
    assert_eq!(again.remark, "sent again, 2 of 6; lost by our own path, as ordered (lost)");
    let mut alone = Row::lost(Instant::from_millis(20), Side::Peer, &header, "lost");
    assert!(alone.mark_lost(Side::Peer, &header, "lost"));
    let text = alone.render(Paint::PLAIN);
    assert!(text.starts_with(" 0.020  <-  IKE_AUTH        #1") && text.ends_with("as ordered   lost"), "{text}");
}

/// What `-v` adds below a row.
#[test]
fn a_row_with_its_offers() {
    let proposal = |number, transforms| Proposal { number, protocol: ProtocolId::ESP, spi: vec![0xc1; 4], transforms };
    let first =
        vec![Transform::encr(EncrId::ENCR_AES_CBC, Some(256)), Transform::encr(EncrId::ENCR_AES_CBC, Some(128))];
    let offer =
        SaPayload { proposals: vec![proposal(1, first), proposal(2, vec![Transform::encr(EncrId::ENCR_NULL, None)])] };
    let inner = vec![Payload::Sa(offer), Payload::TsI(TsPayload { selectors: vec![TrafficSelector::any_v4()] })];
    let trace = trace(Side::Us, ExchangeType::IKE_AUTH, 1, Vec::new(), Some(inner));
    let mut row = Row::message(Instant::from_millis(11), &trace);
    let bare = row.render(NARROW);
    row.add_details(&trace.message);
    let indent = " ".repeat(32);
    let details = [
        "proposal #1 ESP spi c1c1c1c1:",
        "AES_CBC_256/AES_CBC_128",
        "proposal #2 ESP spi c1c1c1c1: NULL",
        "TSi 0.0.0.0/0",
    ];
    let wanted = details.iter().fold(bare, |text, line| format!("{text}\n{indent}{line}"));
    assert_eq!(row.render(NARROW), wanted);
    assert!(!row.again(Instant::from_millis(511), 2, 6).render(NARROW).contains("proposal"), "told once");
}

fn finding(vendor: Option<crate::vendor::Vendor>) -> crate::diagnose::Finding {
    let text = include_str!("../../examples/isr-to-pan.yaml");
    let spec = crate::config::parse(text, "x.yaml", FilePath::new(""), &|_| Some("sesame".into())).unwrap().spec;
    let failed = Failed {
        scope: FailScope::IkeSa,
        exchange: ExchangeType::IKE_AUTH,
        found_by: Side::Peer,
        why: Failure::Rejected { notify: NotifyType::AUTHENTICATION_FAILED, data: Vec::new(), protected: true },
    };
    let facts = Facts {
        packets: 6,
        sent: 3,
        received: 3,
        suite: Some(suite().to_string()),
        auth_reply_read: true,
        ..Facts::default()
    };
    diagnose(&failed, &facts, &spec, vendor)
}

fn session(paint: Paint) -> String {
    let secret = || Secret::new(vec![0; 4]);
    let up = IkeUp {
        mobike: false,
        initiator: true,
        connection: "isr-to-pan".into(),
        spis: (IkeSpi(0x0123_4567_89ab_cdef), IkeSpi(2)),
        suite: suite(),
        peer_id: id("198.51.100.20"),
        path: path(),
    };
    let child = ChildSa {
        name: "lan".into(),
        spi_in: 0xc123_4567,
        spi_out: 0x89,
        suite: EspSuite { encr: Encr::AesCbc(256), integ: Some(Integ::HmacSha256_128), ke: None, esn: false },
        mode: Mode::Tunnel,
        local_ts: vec![crate::config::selector("10.10.10.0/24").unwrap()],
        remote_ts: vec![crate::config::selector("10.20.20.0/24").unwrap()],
        initiator: true,
        encapsulated: true,
        narrowed: true,
        keys: ChildKeys { i_encr: secret(), i_integ: secret(), r_encr: secret(), r_integ: secret() },
    };
    let nat = NatFinding { peer_detects: true, us: true, peer: false };
    let proof = super::session::Proof { by: "pre-shared key".into(), notes: Vec::new() };
    super::session::connected(&up, &proof, Some(nat), paint) + &super::session::child_up(&child, paint)
}

#[test]
fn ladder_piped() {
    insta::assert_snapshot!(ladder(Paint::PLAIN));
}

#[test]
fn ladder_narrow() {
    let text = ladder(NARROW);
    assert!(text.lines().all(|l| l.chars().count() <= 80), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn ladder_wide() {
    insta::assert_snapshot!(ladder(WIDE));
}

#[test]
fn ladder_coloured() {
    let text = ladder(COLOUR);
    assert_eq!(strip(&text), ladder(WIDE), "colours change nothing else");
    insta::assert_snapshot!(text.replace('\x1b', "ESC"));
}

#[test]
fn diagnosis_narrow() {
    let text = super::diagnosis::render(&finding(None), NARROW);
    assert!(text.lines().all(|l| l.chars().count() <= 80), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn diagnosis_wide() {
    insta::assert_snapshot!(super::diagnosis::render(&finding(None), WIDE));
}

/// The README's is printed so, but for the addresses, the algorithms and the NAT of its session.
#[test]
fn diagnosis_in_the_readme() {
    let readme = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let shown = &readme[readme.find("x not connected").unwrap()..];
    let shown: Vec<&str> =
        shown.lines().take_while(|line| *line != "```").filter(|line| !line.contains("behind a NAT")).collect();
    let text = super::diagnosis::render(&finding(Some(crate::vendor::Vendor::CiscoAsa)), WIDE)
        .replace("203.0.113.10", "192.0.2.1")
        .replace("aes256gcm16-prfsha384-ecp256", "aes256-sha256-ecp256");
    for line in &shown {
        assert!(text.contains(line), "{line}\n{text}");
    }
    for line in text.lines().take_while(|line| !line.starts_with("  Try next")) {
        assert!(shown.contains(&line), "{line}\n{shown:#?}");
    }
}

#[test]
fn diagnosis_coloured() {
    let text = super::diagnosis::render(&finding(None), COLOUR);
    assert_eq!(strip(&text), super::diagnosis::render(&finding(None), WIDE));
    insta::assert_snapshot!(text.replace('\x1b', "ESC"));
}

#[test]
fn session_plain_and_coloured() {
    insta::assert_snapshot!(session(Paint::PLAIN));
    assert_eq!(strip(&session(COLOUR)), session(Paint::PLAIN));
}

#[test]
fn wrapping_keeps_every_word() {
    assert_eq!(wrap("a bb ccc dddddddd e", Some(6)), ["a bb", "ccc", "dddddddd", "e"]);
    assert_eq!(wrap("a bb", None), ["a bb"]);
}

/// Without escape sequences.
fn strip(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == '\x1b' {
            chars.by_ref().take_while(|c| *c != 'm').for_each(drop);
        } else {
            out.push(c);
        }
    }
    out
}
