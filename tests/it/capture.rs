//! Captures and key tables, judged by tshark: headers, checksums, dissection, and the decryption of real handshakes
//! with every suite that it knows.

use std::net::IpAddr;
use std::path::Path as FilePath;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use ikelab::crypto::Secret;
use ikelab::drive::{Driver, Queue};
use ikelab::engine::{
    AuthSpec, Behaviour, ChildSa, ChildSpec, ConnectionSpec, Endpoint, EndpointConfig, Event, IdMatch, Mode, NatSpec,
    NatTraversal, Ports, ProposalSpec, RetransmitSpec, TunnelId,
};
use ikelab::link::sim::{Conditions, HostId, SimConfig, SimLink, SimWorld};
use ikelab::net::{Class, Path, SocketRole};
use ikelab::record::{Direction, Fate, KeyTables, PcapNg, Recorder, Transcript, UNSUPPORTED_FILE};
use ikelab::seed::{PlanSeed, Seeds};
use ikelab::time::{Instant, UnixTime};
use ikelab::wire::registry::{EncrId, EsnId, ExchangeType, IdType, IntegId, KeMethod, PrfId, TransformType};
use ikelab::wire::{Flags, Header, IdPayload, IkeSpi, TrafficSelector, Transform};

const EPOCH: UnixTime = UnixTime(1_700_000_000_123_456_789);
const A: &str = "192.0.2.1";
const B: &str = "192.0.2.2";

/// tshark with Wireshark's own configuration, or with the profile in `profile`. Without tshark nothing is proven, so
/// that is a failure.
fn tshark(capture: &FilePath, profile: Option<&FilePath>, arguments: &[&str]) -> String {
    let empty = tempfile::tempdir().expect("a directory");
    let mut command = Command::new("tshark");
    command.env("WIRESHARK_CONFIG_DIR", profile.unwrap_or(empty.path())).arg("-n").arg("-r").arg(capture);
    command.args(["-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE"]).args(arguments);
    let output = command.output().expect("tshark runs: scripts/test-setup installs it");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let quiet = errors.lines().all(|line| line.is_empty() || line.contains("Running as user"));
    assert!(output.status.success() && quiet, "{errors}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// One row per frame, of the given fields.
fn fields(capture: &FilePath, profile: Option<&FilePath>, names: &[&str]) -> Vec<Vec<String>> {
    let mut arguments = vec!["-T", "fields", "-E", "separator=;"];
    arguments.extend(names.iter().flat_map(|name| ["-e", name]));
    let text = tshark(capture, profile, &arguments);
    text.lines().map(|line| line.split(';').map(str::to_owned).collect()).collect()
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[test]
fn frames_have_valid_headers_and_are_dissected() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("run.pcapng");
    let mut recorder = Recorder::new();
    recorder.add(PcapNg::create(&file, EPOCH).expect("created"));

    let mut ike = Vec::new();
    let mut header = Header::new(IkeSpi(1), IkeSpi::ZERO, ExchangeType::IKE_SA_INIT, Flags::INITIATOR, 0);
    header.length = 28;
    header.write(&mut ike);
    let path = |v6: bool, role| {
        let (local, remote) = if v6 { ("2001:db8::1", "2001:db8::2") } else { (A, B) };
        let port = if role == SocketRole::Ike { 500 } else { 4500 };
        Path { local: (address(local), port).into(), remote: (address(remote), port).into(), role }
    };
    let esp = [0xc0, 0, 0, 1, 0, 0, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
    let (natt, plain) = (SocketRole::NatT, SocketRole::Ike);
    let sent: [(Direction, Path, Class, &[u8], Fate<'_>); 7] = [
        (Direction::Out, path(false, plain), Class::Ike, &ike, Fate::Passed),
        (Direction::In, path(false, natt), Class::Ike, &ike, Fate::Passed),
        (Direction::Out, path(true, natt), Class::Ike, &ike, Fate::Passed),
        (Direction::In, path(true, plain), Class::Ike, &ike, Fate::Passed),
        (Direction::In, path(false, natt), Class::Keepalive, &[0xff], Fate::Passed),
        (Direction::Out, path(false, natt), Class::Esp, &esp, Fate::Passed),
        (Direction::Out, path(false, plain), Class::Ike, &ike, Fate::DroppedByRule("lose-init")),
    ];
    for (n, (direction, path, class, bytes, fate)) in sent.iter().enumerate() {
        let at = Instant::from_millis(n as u64);
        let number = recorder.datagram(at, *direction, path, *class, bytes, *fate);
        assert_eq!(number, n as u64 + 1);
    }
    recorder.flush().expect("written");
    // A crash from here on loses nothing: the file is read while the recorder still has it open.
    let names = [
        "frame.time_epoch",
        "frame.interface_name",
        "frame.packet_flags_direction",
        "frame.protocols",
        "ip.checksum.status",
        "udp.checksum.status",
        "udp.srcport",
        "isakmp.ispi",
        "frame.comment",
    ];
    let rows = fields(&file, None, &names);
    let spi = "0000000000000001";
    let row = |n: usize, interface: &str, direction: &str, protocols: &str, port: &str, spi: &str, comment: &str| {
        let time = format!("1700000000.{:09}", 123_456_789 + n * 1_000_000);
        let v4 = if protocols.starts_with("raw:ip:") { "1" } else { "" };
        [&time, interface, direction, protocols, v4, "1", port, spi, comment].map(str::to_owned).to_vec()
    };
    let (inbound, outbound) = ("0x00000001", "0x00000002");
    let raw4 = |rest: &str| format!("raw:ip:udp:{rest}");
    let raw6 = |rest: &str| format!("raw:ipv6:udp:{rest}");
    let expected = [
        row(0, "wire", outbound, &raw4("isakmp"), "500", spi, ""),
        row(1, "wire", inbound, &raw4("udpencap:isakmp"), "4500", spi, ""),
        row(2, "wire", outbound, &raw6("udpencap:isakmp"), "4500", spi, ""),
        row(3, "wire", inbound, &raw6("isakmp"), "500", spi, ""),
        row(4, "wire", inbound, &raw4("udpencap"), "4500", "", ""),
        row(5, "wire", outbound, &raw4("udpencap:esp"), "4500", "", ""),
        row(6, "not-sent", outbound, &raw4("isakmp"), "500", spi, "dropped by rule lose-init: not sent"),
    ];
    assert_eq!(rows, expected);
}

struct Suite {
    name: &'static str,
    transforms: Vec<Transform>,
    /// What tshark makes of it: `None` if it cannot decrypt it.
    integrity_checked: Option<bool>,
}

fn suites() -> Vec<Suite> {
    let rest = [Transform::prf(PrfId::PRF_HMAC_SHA2_256), Transform::ke(KeMethod::CURVE25519)];
    let suite = |name, encr, integ: Option<IntegId>, integrity_checked| {
        let mut transforms = vec![encr];
        transforms.extend(integ.map(Transform::integ));
        transforms.extend(rest.clone());
        Suite { name, transforms, integrity_checked }
    };
    let cbc = |bits| Transform::encr(EncrId::ENCR_AES_CBC, Some(bits));
    let sha256 = Some(IntegId::AUTH_HMAC_SHA2_256_128);
    let mut out = vec![
        suite("3des-md5", Transform::encr(EncrId::ENCR_3DES, None), Some(IntegId::AUTH_HMAC_MD5_96), Some(true)),
        suite("aes128-sha1", cbc(128), Some(IntegId::AUTH_HMAC_SHA1_96), Some(true)),
        suite("aes192-sha256", cbc(192), sha256, Some(true)),
        suite("aes256-sha384", cbc(256), Some(IntegId::AUTH_HMAC_SHA2_384_192), Some(true)),
        suite("aes256-sha512", cbc(256), Some(IntegId::AUTH_HMAC_SHA2_512_256), Some(true)),
        suite("aes128-xcbc", cbc(128), Some(IntegId::AUTH_AES_XCBC_96), Some(false)),
        suite("aes128-cmac", cbc(128), Some(IntegId::AUTH_AES_CMAC_96), Some(false)),
        suite("chacha20", Transform::encr(EncrId::ENCR_CHACHA20_POLY1305, None), None, None),
    ];
    for bits in [128, 192, 256] {
        out.push(suite("aesctr", Transform::encr(EncrId::ENCR_AES_CTR, Some(bits)), sha256, Some(true)));
        for (gcm, ccm) in [
            (EncrId::ENCR_AES_GCM_8, EncrId::ENCR_AES_CCM_8),
            (EncrId::ENCR_AES_GCM_12, EncrId::ENCR_AES_CCM_12),
            (EncrId::ENCR_AES_GCM_16, EncrId::ENCR_AES_CCM_16),
        ] {
            out.push(suite("aesgcm", Transform::encr(gcm, Some(bits)), None, Some(true)));
            out.push(suite("aesccm", Transform::encr(ccm, Some(bits)), None, Some(true)));
        }
    }
    out
}

fn spec(local: &str, remote: &str, ike: Vec<Transform>, ports: Ports) -> ConnectionSpec {
    let id = |text: &str| IdPayload::new(IdType::ID_FQDN, format!("{text}.test").into_bytes());
    let psk = AuthSpec::Psk(Arc::new(Secret::new(b"a shared key".to_vec())));
    let for_esp = |t: &&Transform| [TransformType::ENCR, TransformType::INTEG].contains(&t.kind);
    let mut esp: Vec<_> = ike.iter().filter(for_esp).cloned().collect();
    esp.push(Transform::esn(EsnId(0)));
    ConnectionSpec {
        mobike: None,
        name: "c".to_owned(),
        local_addr: Some(address(local)),
        remote_addr: Some(address(remote)),
        local_ports: ports,
        remote_ports: ports,
        local_id: id(local),
        remote_id: IdMatch::Exact(id(remote)),
        send_idr: false,
        local_auth: psk.clone(),
        remote_auth: psk,
        ike_proposals: vec![ProposalSpec { transforms: ike }],
        children: vec![ChildSpec {
            name: "lan".to_owned(),
            mode: Mode::Tunnel,
            proposals: vec![ProposalSpec { transforms: esp }],
            pfs: vec![],
            local_ts: vec![TrafficSelector::any_v4()],
            remote_ts: vec![TrafficSelector::any_v4()],
            lifetime: None,
        }],
        retransmit: RetransmitSpec::default(),
        nat: NatSpec { traversal: NatTraversal::Force, keepalive: Duration::ZERO },
        dpd: None,
        lifetime: None,
        fragmentation: true,
        cp: Default::default(),
        behaviour: Behaviour::default(),
    }
}

/// Two endpoints on a simulated wire, played until nothing is left to do. The initiator's side is recorded.
fn handshake(tunnel: u64, seed: &str, suite: &Suite, ports: Ports, recorder: Recorder) -> (Recorder, Queue) {
    let mut config = SimConfig::pair(address(A), address(B), Conditions::clean(Duration::from_millis(10)));
    for host in &mut config.hosts {
        (host.ike_port, host.natt_port) = (ports.ike, ports.natt);
    }
    let world = SimWorld::new(&PlanSeed::from_text(seed), config, EPOCH);
    // A day per tunnel, so that one capture holds them all in order.
    world.advance(Instant::from_millis(tunnel * 100_000));
    let ours = Arc::new(spec(A, B, suite.transforms.clone(), ports));
    let theirs = Arc::new(spec(B, A, suite.transforms.clone(), ports));
    let endpoint = |connection, salt| {
        let config =
            EndpointConfig { connections: vec![connection], export_keys: true, salt, ..EndpointConfig::default() };
        Endpoint::new(Arc::new(config), Seeds::simulated(seed), EPOCH)
    };
    let mut a = Driver::new(endpoint(Arc::clone(&ours), 1), world.link(HostId(0)), recorder);
    let mut b = Driver::new(endpoint(theirs, 2), world.link(HostId(1)), Recorder::new());
    let (mut seen, mut ignored) = (Queue::default(), Queue::default());
    a.endpoint.connect(world.now(), ours, TunnelId(tunnel), address(A));
    play(&world, &mut a, &mut b, &mut seen, &mut ignored);
    a.endpoint.delete_all(world.now());
    play(&world, &mut a, &mut b, &mut seen, &mut ignored);
    (std::mem::take(&mut a.recorder), seen)
}

/// An echo request in and its answer out, in ESP.
fn record_pings(recorder: &mut Recorder, tunnel: u64, child: &ChildSa, port: u16) {
    let path = Path { local: (address(A), port).into(), remote: (address(B), port).into(), role: SocketRole::NatT };
    let keys = &child.keys;
    let at = Instant::from_millis(tunnel * 100_000 + 50_000);
    let (to_us, from_us) = ((&keys.r_encr, &keys.r_integ), (&keys.i_encr, &keys.i_integ));
    let inbound = esp(child, child.spi_in, to_us, [10, 0, 0, 2], [10, 0, 0, 1], 8);
    recorder.datagram(at, Direction::In, &path, Class::Esp, &inbound, Fate::Passed);
    let outbound = esp(child, child.spi_out, from_us, [10, 0, 0, 1], [10, 0, 0, 2], 0);
    recorder.datagram(at, Direction::Out, &path, Class::Esp, &outbound, Fate::Passed);
}

/// An ICMP echo message of this type in a tunnel-mode ESP packet (RFC 4303 2).
fn esp(
    child: &ChildSa,
    spi: u32,
    (encr_key, integ_key): (&Secret, &Secret),
    source: [u8; 4],
    destination: [u8; 4],
    icmp_type: u8,
) -> Vec<u8> {
    let encr = child.suite.encr;
    let mut inner = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0];
    inner.extend([source, destination].concat());
    inner.extend([icmp_type, 0, 0, 0, 0, 1, 0, 1]);
    let block = encr.block_len().max(4);
    let padding = (inner.len() + 2).next_multiple_of(block) - inner.len() - 2;
    inner.extend((1..).take(padding));
    inner.extend([padding as u8, 4]);

    let header = [spi.to_be_bytes(), 1_u32.to_be_bytes()].concat();
    let iv = vec![0x1f; encr.iv_len()];
    let mut tag = vec![0; encr.icv_len()];
    encr.encrypt(encr_key.as_ref(), &iv, &header, &mut inner, &mut tag).expect("lengths fit");
    let mut packet = [header, iv, inner, tag].concat();
    if let Some(integ) = child.suite.integ {
        let icv = integ.sign(integ_key.as_ref(), &[&packet]);
        packet.extend_from_slice(icv.as_ref());
    }
    packet
}

fn play(world: &SimWorld, a: &mut Driver<SimLink>, b: &mut Driver<SimLink>, a_sees: &mut Queue, b_sees: &mut Queue) {
    for _ in 0..1000 {
        let first = a.turn(None, a_sees).expect("the simulation never fails");
        let second = b.turn(None, b_sees).expect("the simulation never fails");
        if !first.is_idle() || !second.is_idle() {
            continue;
        }
        let next = [world.next_arrival(), a.next_timeout(), b.next_timeout()].into_iter().flatten().min();
        match next {
            Some(next) => world.advance(next),
            None => return,
        }
    }
    panic!("the two never come to rest");
}

#[test]
fn handshakes_with_every_suite_are_decrypted() {
    let directory = tempfile::tempdir().expect("a directory");
    let (file, profile) = (directory.path().join("run.pcapng"), directory.path().join("keys"));
    let ports = Ports { ike: 1500, natt: 14_500 };
    let roles = [(ports.ike, SocketRole::Ike), (ports.natt, SocketRole::NatT)];
    let mut recorder = Recorder::new();
    recorder.add(PcapNg::create(&file, EPOCH).expect("created"));
    recorder.add(KeyTables::create(&profile, &roles).expect("created"));
    let suites = suites();
    for (tunnel, suite) in suites.iter().enumerate() {
        let seen;
        (recorder, seen) = handshake(tunnel as u64, &format!("suite {tunnel}"), suite, ports, recorder);
        let up = seen.events.iter().any(|(_, _, _, event)| matches!(event, Event::IkeUp(_)));
        assert!(up, "{} {:?}: {:?}", suite.name, suite.transforms, seen.events);
        let child = seen.events.iter().find_map(|(_, _, _, event)| match event {
            Event::ChildInbound(child) => Some(child),
            _ => None,
        });
        record_pings(&mut recorder, tunnel as u64, child.expect("a Child SA"), ports.natt);
    }
    recorder.flush().expect("written");

    let unsupported = std::fs::read_to_string(profile.join(UNSUPPORTED_FILE)).expect("there");
    // Those that tshark cannot decrypt, and those that it cannot verify.
    let without: Vec<_> = suites.iter().filter(|suite| suite.integrity_checked != Some(true)).collect();
    assert_eq!(unsupported.matches("IKE SA").count(), without.len());
    assert!(unsupported.contains("ChaCha20"));

    let text = tshark(&file, Some(&profile), &["-V"]);
    // SK of IKE_AUTH and of the deletion, in both directions.
    // SK of IKE_AUTH and of the deletion, in both directions.
    let protected_per_suite = 4;
    let of = |wanted: fn(&Suite) -> bool| suites.iter().filter(|suite| wanted(suite)).count();
    let count = |needle: &str| text.matches(needle).count();
    assert_eq!(count("Payload: Encrypted and Authenticated (46)"), suites.len() * protected_per_suite);
    let check_values: Vec<_> = text.lines().filter(|line| line.contains("Integrity Checksum Data")).collect();
    let verified = check_values.iter().filter(|line| line.ends_with("[correct]")).count();
    assert_eq!(verified, of(|suite| suite.integrity_checked == Some(true)) * protected_per_suite);
    assert!(!check_values.iter().any(|line| line.contains("incorrect")), "{check_values:#?}");
    // IDi, readable only if the decryption is right.
    assert_eq!(count("ID_FQDN: 192.0.2.1.test"), of(|suite| suite.integrity_checked.is_some()));

    // Child SAs: a ping in every direction and suite.
    let names = ["esp.spi", "esp.icv_good", "esp.icv_bad", "ip.src", "icmp.type"];
    let rows = fields(&file, Some(&profile), &names);
    let esp: Vec<_> = rows.iter().filter(|row| !row[0].is_empty()).collect();
    assert_eq!(esp.len(), suites.len() * 2);
    for (pair, suite) in esp.chunks(2).zip(&suites) {
        let ccm = [EncrId::ENCR_AES_CCM_8, EncrId::ENCR_AES_CCM_12, EncrId::ENCR_AES_CCM_16];
        let readable = suite.integrity_checked.filter(|_| !ccm.contains(&EncrId(suite.transforms[0].id)));
        for (row, (outer, inner, kind)) in pair.iter().zip([(B, "10.0.0.2", "8"), (A, "10.0.0.1", "0")]) {
            let expected = match readable {
                Some(checked) => {
                    [if checked { "1" } else { "0" }, "0", &format!("{outer},{inner}"), kind].map(str::to_owned)
                }
                None => ["", "", outer, ""].map(str::to_owned),
            };
            assert_eq!(row[1..], expected, "{} {:?}", suite.name, suite.transforms);
        }
    }
}

#[test]
fn the_same_seed_leaves_the_same_octets() {
    let run = |seed: &str| {
        let directory = tempfile::tempdir().expect("a directory");
        let (file, lines) = (directory.path().join("run.pcapng"), directory.path().join("lines"));
        let mut recorder = Recorder::new();
        recorder.add(PcapNg::create(&file, EPOCH).expect("created"));
        recorder.add(Transcript::new("lines", std::fs::File::create(&lines).expect("created")));
        let (mut recorder, _) = handshake(1, seed, &suites()[1], Ports::default(), recorder);
        recorder.flush().expect("written");
        let read = |file| std::fs::read(file).expect("there");
        (read(&file), read(&lines))
    };
    let first = run("monday");
    assert!(!first.0.is_empty() && !first.1.is_empty());
    assert_eq!(first, run("monday"));
    assert_ne!(first, run("tuesday"));
}

#[test]
fn a_transcript_names_packets_and_no_keys() {
    let directory = tempfile::tempdir().expect("a directory");
    let lines = directory.path().join("lines");
    let mut recorder = Recorder::new();
    recorder.add(Transcript::new("lines", std::fs::File::create(&lines).expect("created")));
    let (_, seen) = handshake(1, "monday", &suites()[1], Ports::default(), recorder);
    let text = std::fs::read_to_string(&lines).expect("there");
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("valid JSON")).collect();
    assert_eq!(lines.len(), seen.events.len());
    let messages: Vec<_> = lines.iter().filter(|line| line["event"] == "message").collect();
    let packets: Vec<_> = messages.iter().map(|line| line["packets"].to_string()).collect();
    assert_eq!(packets, ["[1]", "[2]", "[3]", "[4]", "[5]", "[6]"]);
    for (_, _, _, event) in &seen.events {
        if let Event::IkeKeys(keys) = event {
            for key in [&keys.sk_d, &keys.sk_ei, &keys.sk_ai, &keys.sk_pi] {
                let hex: String = key.as_ref().iter().map(|octet| format!("{octet:02x}")).collect();
                assert!(!hex.is_empty() && !text.contains(&hex));
            }
        }
    }
}
