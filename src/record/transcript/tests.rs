//! What a transcript says, and what it never says.

use std::net::SocketAddr;

use serde_json::Value;

use super::*;
use crate::crypto::{ChildKeys, Encr, Group, Integ, Prf, Secret};
use crate::engine::{IkeKeyExport, InitDone, NatFinding};
use crate::net::{Class, Path, SocketRole};
use crate::record::Fate;
use crate::wire::registry::{AuthMethod, EncrId, ExchangeType, IdType, KeMethod, NotifyType, ProtocolId};
use crate::wire::{
    AuthPayload, EapPayload, Flags, Header, IdPayload, IkeSpi, KePayload, Message, NoncePayload, NotifyPayload,
    SaPayload, Transform, VendorIdPayload,
};

const SA: SaId = SaId { slot: 4, generation: 2 };
const TUNNEL: TunnelId = TunnelId(7);

fn path() -> Path {
    let local: SocketAddr = "192.0.2.1:500".parse().expect("an address");
    Path { local, remote: "192.0.2.2:500".parse().expect("an address"), role: SocketRole::Ike }
}

fn header(response: bool, message_id: u32, exchange: ExchangeType) -> Header {
    let flags = if response { Flags::RESPONSE } else { Flags::INITIATOR };
    Header::new(IkeSpi(0xa1), IkeSpi(0xb2), exchange, flags, message_id)
}

fn message(from: Side, header: Header, outer: Vec<Payload>, sk: Option<Vec<Payload>>) -> Event {
    let message = Message { header, outer, sk };
    Event::Message(Box::new(MessageTrace { from, path: path(), message, len: 100, attempt: 0 }))
}

fn record_datagram(transcript: &mut impl Record, number: u64, direction: Direction, header: &Header) {
    record_fate(transcript, number, direction, header, Fate::Passed);
}

fn record_fate(transcript: &mut impl Record, number: u64, direction: Direction, header: &Header, fate: Fate<'_>) {
    let mut bytes = Vec::new();
    header.write(&mut bytes);
    let (path, class) = (&path(), Class::Ike);
    transcript.datagram(&Datagram { number, at: Instant::ZERO, direction, path, class, bytes: &bytes, fate });
}

/// Plays events and datagrams into a transcript and parses what it wrote.
fn lines(play: impl FnOnce(&mut Transcript<&mut Vec<u8>>)) -> Vec<Value> {
    let mut out = Vec::new();
    let mut transcript = Transcript::new("test", &mut out);
    play(&mut transcript);
    transcript.flush().expect("memory takes everything");
    drop(transcript);
    let text = String::from_utf8(out).expect("UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("valid JSON")).collect()
}

fn event_line(event: &Event) -> Value {
    lines(|transcript| transcript.event(Instant(1_500_000_000), TUNNEL, SA, event)).remove(0)
}

#[test]
fn a_message_is_told_with_all_its_payloads() {
    let proposal = Proposal {
        number: 1,
        protocol: ProtocolId::IKE,
        spi: vec![],
        transforms: vec![Transform::encr(EncrId::ENCR_AES_CBC, Some(256)), Transform::ke(KeMethod(14))],
    };
    let outer = vec![
        Payload::Sa(SaPayload { proposals: vec![proposal] }),
        Payload::Ke(KePayload { group: KeMethod(14), data: vec![1, 2, 3] }),
        Payload::Nonce(NoncePayload { data: vec![0xaa; 16] }),
        Payload::Notify(NotifyPayload::with_data(NotifyType::COOKIE, [9, 9])),
        Payload::Vendor(VendorIdPayload { data: b"CISCO-X".to_vec() }),
    ];
    let header = header(false, 0, ExchangeType::IKE_SA_INIT);
    let line = event_line(&message(Side::Us, header, outer, None));
    assert_eq!((&line["v"], &line["tunnel"], &line["sa"]), (&1.into(), &7.into(), &"4.2".into()));
    assert_eq!(line["t"].to_string(), "1.5");
    assert_eq!(
        (&line["event"], &line["from"], &line["exchange"]),
        (&"message".into(), &"us".into(), &"IKE_SA_INIT".into())
    );
    assert_eq!(line["payloads"].as_array().map(Vec::len), Some(5));
    assert_eq!(line["payloads"][0]["proposals"][0]["transforms"][1], Transform::ke(KeMethod(14)).to_string());
    assert_eq!(line["payloads"][1]["data"], "010203");
    assert_eq!(line["payloads"][3]["notify"], "COOKIE");
    assert_eq!(line["payloads"][4]["text"], "CISCO-X");
    assert!(line["summary"].as_str().is_some_and(|s| s.starts_with("SA KE(")), "{}", line["summary"]);
    assert!(line.get("protected").is_none());
}

#[test]
fn what_was_protected_stands_apart() {
    let inner = vec![
        Payload::IdI(IdPayload::new(IdType::ID_FQDN, b"a.test".to_vec())),
        Payload::Auth(AuthPayload { method: AuthMethod(2), data: vec![0x0a; 32] }),
        Payload::Eap(EapPayload { data: vec![2, 5, 0, 9, 26, 1, 2, 3, 4] }),
    ];
    let line = event_line(&message(Side::Peer, header(false, 1, ExchangeType::IKE_AUTH), vec![], Some(inner)));
    assert_eq!(line["from"], "peer");
    assert_eq!(line["protected"][0]["id"], "fqdn:a.test");
    assert_eq!(line["protected"][1]["data"], "0a".repeat(32));
    assert_eq!(line["protected"][2]["header"], "020500091a", "EAP's data stays out");
    assert!(line["summary"].as_str().is_some_and(|s| s.starts_with("SK{ IDi AUTH")), "{}", line["summary"]);
}

#[test]
fn lines_name_their_packets_although_those_come_later() {
    let (request, response) = (header(false, 1, ExchangeType::IKE_AUTH), header(true, 1, ExchangeType::IKE_AUTH));
    let lines = lines(|transcript| {
        transcript.event(Instant::ZERO, TUNNEL, SA, &message(Side::Us, request, vec![], Some(vec![])));
        // Two fragments.
        record_datagram(transcript, 3, Direction::Out, &request);
        record_datagram(transcript, 4, Direction::Out, &request);
        transcript.flush().expect("memory takes everything");
        // The first fragment of the answer, and a turn later the rest.
        record_datagram(transcript, 5, Direction::In, &response);
        transcript.flush().expect("memory takes everything");
        record_datagram(transcript, 6, Direction::In, &response);
        transcript.event(Instant::ZERO, TUNNEL, SA, &message(Side::Peer, response, vec![], Some(vec![])));
    });
    assert_eq!(lines[0]["packets"], serde_json::json!([3, 4]));
    assert_eq!(lines[1]["packets"], serde_json::json!([5, 6]));
}

/// What never arrived because our own path lost it looks otherwise as if the peer were silent.
#[test]
fn what_our_own_path_lost_is_said_of_the_message() {
    let (request, response) = (header(false, 1, ExchangeType::IKE_AUTH), header(true, 1, ExchangeType::IKE_AUTH));
    let lines = lines(|transcript| {
        // A stranger's, before anything is known of it.
        let unknown = Header::new(IkeSpi(0xc3), IkeSpi(0), ExchangeType::IKE_SA_INIT, Flags::INITIATOR, 0);
        record_fate(transcript, 1, Direction::In, &unknown, Fate::LostOnPath("path: lost"));
        transcript.event(Instant::ZERO, TUNNEL, SA, &message(Side::Us, request, vec![], Some(vec![])));
        record_fate(transcript, 2, Direction::Out, &request, Fate::LostOnPath("path: blackout"));
        transcript.flush().expect("memory takes everything");
        record_fate(transcript, 3, Direction::In, &response, Fate::LostOnPath("path: too long"));
        // What a rule did has its own place: no rule's name is in a transcript.
        record_fate(transcript, 4, Direction::Out, &request, Fate::DroppedByRule("drop-sent"));
    });
    let events: Vec<&Value> = lines.iter().map(|line| &line["event"]).collect();
    assert_eq!(events, ["path_lost", "message", "path_lost", "path_lost"]);
    assert_eq!((&lines[0]["tunnel"], &lines[0]["spi_i"]), (&0.into(), &"00000000000000c3".into()));
    assert_eq!(lines[1]["packets"], serde_json::json!([2]), "it was sent");
    let told: Vec<_> =
        lines[2..].iter().map(|l| (&l["sa"], &l["from"], &l["how"], &l["packet"], &l["response"])).collect();
    let (sa, yes, no) = (&"4.2".into(), &true.into(), &false.into());
    assert_eq!(told[0], (sa, &"us".into(), &"blackout".into(), &2.into(), no));
    assert_eq!(told[1], (sa, &"peer".into(), &"too long".into(), &3.into(), yes));
    assert!(lines[2..].iter().all(|line| line["text"] == "lost by our own path, as ordered"));
}

/// What was sent again is a packet of its own.
#[test]
fn a_retransmission_names_its_packet() {
    let request = header(false, 1, ExchangeType::IKE_AUTH);
    let lines = lines(|transcript| {
        transcript.event(Instant::ZERO, TUNNEL, SA, &message(Side::Us, request, vec![], Some(vec![])));
        record_datagram(transcript, 3, Direction::Out, &request);
        transcript.flush().expect("memory takes everything");
        let again = Event::Retransmit { header: request, path: path(), attempt: 2, of: 6 };
        transcript.event(Instant(500_000_000), TUNNEL, SA, &again);
        record_datagram(transcript, 4, Direction::Out, &request);
    });
    assert_eq!((&lines[0]["packets"], &lines[1]["packets"]), (&serde_json::json!([3]), &serde_json::json!([4])));
    assert_eq!((&lines[1]["event"], &lines[1]["message_id"]), (&"retransmit".into(), &1.into()));
}

#[test]
fn no_key_is_ever_written() {
    let suite = IkeSuite {
        encr: Encr::AesCbc(256),
        prf: Prf::HmacSha256,
        integ: Some(Integ::HmacSha256_128),
        ke: Group::Modp2048,
    };
    let secret = || Secret::new(vec![0x5e; 32]);
    let keys = IkeKeyExport {
        spis: (IkeSpi(1), IkeSpi(2)),
        suite,
        sk_ei: secret(),
        sk_er: secret(),
        sk_ai: secret(),
        sk_ar: secret(),
        sk_d: secret(),
        sk_pi: secret(),
        sk_pr: secret(),
    };
    let child = ChildSa {
        name: "lan".to_owned(),
        spi_in: 0x00c0_ffee,
        spi_out: 2,
        suite: EspSuite { encr: Encr::AesCbc(256), integ: Some(Integ::HmacSha256_128), ke: None, esn: false },
        mode: Mode::Tunnel,
        local_ts: vec![TrafficSelector::any_v4()],
        remote_ts: vec![],
        initiator: true,
        encapsulated: false,
        narrowed: false,
        keys: ChildKeys { i_encr: secret(), i_integ: secret(), r_encr: secret(), r_integ: secret() },
    };
    for event in [Event::IkeKeys(Box::new(keys)), Event::ChildInbound(Box::new(child))] {
        let line = event_line(&event).to_string();
        assert!(!line.contains("5e5e"), "{line}");
    }
}

#[test]
fn failures_and_the_smaller_events_are_told() {
    let failed = Failed {
        scope: FailScope::IkeSa,
        exchange: ExchangeType::IKE_AUTH,
        found_by: Side::Peer,
        why: Failure::Rejected { notify: NotifyType::AUTHENTICATION_FAILED, data: vec![], protected: true },
    };
    let line = event_line(&Event::Failed(Box::new(failed)));
    assert_eq!(
        (&line["class"], &line["scope"], &line["found_by"]),
        (&"auth_failed".into(), &"ike_sa".into(), &"peer".into())
    );
    assert_eq!((&line["notify"], &line["protected"]), (&"AUTHENTICATION_FAILED".into(), &true.into()));

    let init = InitDone {
        initiator: false,
        spis: (IkeSpi(1), IkeSpi(2)),
        suite: IkeSuite {
            encr: Encr::AesGcm { bits: 128, icv: 16 },
            prf: Prf::HmacSha256,
            integ: None,
            ke: Group::Ecp256,
        },
        nat: NatFinding { peer_detects: true, us: true, peer: false },
        vendor_ids: vec![vec![0xca, 0xfe]],
        peer_fragments: true,
    };
    let line = event_line(&Event::InitDone(Box::new(init)));
    assert_eq!(
        (&line["nat"]["us"], &line["vendor_ids"][0], &line["role"]),
        (&true.into(), &"cafe".into(), &"responder".into())
    );

    let line = event_line(&Event::Alive { rtt: std::time::Duration::from_micros(1_500) });
    assert_eq!(line["rtt"].to_string(), "0.0015");
    assert_eq!(event_line(&Event::ChildDown { spi_in: 0xab, by: Side::Us })["spi_in"], "000000ab");
    let header = header(false, 0, ExchangeType::IKE_SA_INIT);
    let line = event_line(&Event::Retransmit { header, path: path(), attempt: 2, of: 6 });
    assert_eq!((&line["attempt"], &line["exchange"]), (&2.into(), &"IKE_SA_INIT".into()));
}

#[test]
fn each_sa_has_its_file_and_an_old_run_is_overwritten() {
    let directory = tempfile::tempdir().expect("a directory");
    let place = directory.path().join("transcripts");
    for run in 0..2 {
        let mut sink = TranscriptDir::create(&place).expect("created");
        for slot in 0..2 {
            for _ in 0..2 {
                sink.event(Instant(run), TUNNEL, SaId { slot, generation: 0 }, &Event::Closed);
                sink.flush().expect("written");
            }
        }
    }
    for slot in 0..2 {
        let text = std::fs::read_to_string(place.join(format!("tunnel-7-sa-{slot}.0.jsonl"))).expect("there");
        let line = format!("{{\"v\":1,\"t\":0.000000001,\"tunnel\":7,\"sa\":\"{slot}.0\",\"event\":\"closed\"}}\n");
        assert_eq!(text, line.repeat(2));
    }
}
