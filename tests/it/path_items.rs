//! Each thing that `ikelab path` does to datagrams, alone: numbered ones between two sockets, with the relay between them.

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cli_errors::{interrupt, until_line};
use crate::path_cli::ports;

/// A relay, and a socket on either side of it.
struct Bench {
    dir: tempfile::TempDir,
    relay: Child,
    near: UdpSocket,
    far: UdpSocket,
    began: Instant,
}

/// A datagram as it came: its number, when, from which port, its octets.
type Got = (u32, Instant, u16, Vec<u8>);

impl Bench {
    fn new(path: &str, more: &[&str]) -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let socket = |address: &str| UdpSocket::bind((address, 0)).unwrap();
        let (near, far, natt) = (socket("127.0.0.94"), socket("127.0.0.91"), socket("127.0.0.91"));
        let port = |socket: &UdpSocket| socket.local_addr().unwrap().port().to_string();
        let mut command = Command::new(env!("CARGO_BIN_EXE_ikelab"));
        command.args(["path", "--listen", "127.0.0.92", "--to", "127.0.0.91", "--from", "127.0.0.93", "--out", "p"]);
        command.args(["--to-port", &port(&far), "--to-natt-port", &port(&natt), "--seed", "items"]);
        command.args(["--source-port", "0", "--natt-port", "0"]);
        if !path.is_empty() {
            command.args(["--path", path]);
        }
        command.args(more).current_dir(dir.path()).stdin(Stdio::null()).stdout(Stdio::piped());
        let began = Instant::now();
        let mut relay = command.spawn().unwrap();
        let listens = ports(&until_line(&mut relay, "listening on"), "127.0.0.92");
        near.connect(("127.0.0.92", listens[0].parse::<u16>().unwrap())).unwrap();
        for socket in [&near, &far] {
            socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        }
        Bench { dir, relay, near, far, began }
    }

    fn datagram(number: u32, octets: usize) -> Vec<u8> {
        let mut bytes = vec![0x5a; octets.max(8)];
        bytes[4..8].copy_from_slice(&number.to_be_bytes());
        bytes
    }

    fn send(&self, number: u32, octets: usize) -> Instant {
        self.near.send(&Bench::datagram(number, octets)).unwrap();
        Instant::now()
    }

    /// What has come to a socket; the far one sends each back.
    fn gather(&self, socket: &UdpSocket, into: &mut Vec<Got>) {
        let mut buffer = [0; 4096];
        while let Ok((len, from)) = socket.recv_from(&mut buffer) {
            let number = u32::from_be_bytes(buffer[4..8].try_into().unwrap());
            into.push((number, Instant::now(), from.port(), buffer[..len].to_vec()));
            if from.ip().to_string() == "127.0.0.93" {
                let _ = self.far.send_to(&buffer[..len], from);
            }
        }
    }

    /// Sends so many, so far apart, and waits; what came there and what came back.
    fn play(&self, count: u32, apart: Duration, octets: usize) -> (Vec<Instant>, Vec<Got>, Vec<Got>) {
        let (mut sent, mut there, mut back) = (Vec::new(), Vec::new(), Vec::new());
        let mut gather = |until: Instant| {
            loop {
                self.gather(&self.far, &mut there);
                self.gather(&self.near, &mut back);
                if Instant::now() >= until {
                    break;
                }
            }
        };
        for number in 0..count {
            sent.push(self.send(number, octets));
            if !apart.is_zero() {
                gather(sent[number as usize] + apart);
            }
        }
        gather(Instant::now() + Duration::from_millis(700));
        (sent, there, back)
    }

    fn end(self) -> Value {
        interrupt(&self.relay);
        let output = self.relay.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        let file = Path::new(self.dir.path()).join("p/result.json");
        serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
    }
}

fn count(result: &Value, way: &str, what: &str) -> u64 {
    result["path"][way][what].as_u64().unwrap_or_else(|| panic!("{way}.{what} in {result:#}"))
}

fn numbers(got: &[Got]) -> Vec<u32> {
    got.iter().map(|(number, ..)| *number).collect()
}

const QUICK: Duration = Duration::from_millis(2);

#[test]
fn loss_and_its_counts_both_ways() {
    let bench = Bench::new("loss=30%", &[]);
    let (_, there, back) = bench.play(200, QUICK, 100);
    let result = bench.end();
    assert!((90..190).contains(&there.len()), "{} of 200 there", there.len());
    assert!(back.len() < there.len() && back.len() > there.len() / 3, "{} of {} back", back.len(), there.len());
    assert_eq!(count(&result, "out", "lost"), 200 - there.len() as u64, "{result:#}");
    assert_eq!(count(&result, "in", "lost"), (there.len() - back.len()) as u64, "{result:#}");
}

#[test]
fn one_way_loss() {
    let bench = Bench::new("in.loss=100%", &[]);
    let (_, there, back) = bench.play(30, QUICK, 100);
    assert_eq!((there.len(), back.len()), (30, 0));
    assert_eq!(count(&bench.end(), "in", "lost"), 30);
}

#[test]
fn delay_and_jitter() {
    let bench = Bench::new("delay=60ms", &[]);
    let (sent, _, back) = bench.play(20, QUICK, 100);
    bench.end();
    assert_eq!(numbers(&back), (0..20).collect::<Vec<_>>(), "in order");
    for (number, at, ..) in &back {
        let took = *at - sent[*number as usize];
        assert!((Duration::from_millis(118)..Duration::from_millis(600)).contains(&took), "{took:?} there and back");
    }
    let bench = Bench::new("out.jitter=80ms", &[]);
    let (sent, there, _) = bench.play(60, QUICK, 100);
    bench.end();
    assert_eq!(there.len(), 60);
    let took: Vec<Duration> = there.iter().map(|(number, at, ..)| *at - sent[*number as usize]).collect();
    let spread = *took.iter().max().unwrap() - *took.iter().min().unwrap();
    assert!(spread > Duration::from_millis(40), "jitter of {spread:?}");
}

#[test]
fn duplication_and_reordering() {
    let bench = Bench::new("out.duplicate=100%", &[]);
    let (_, there, _) = bench.play(25, QUICK, 100);
    let result = bench.end();
    assert_eq!((there.len(), count(&result, "out", "duplicated")), (50, 25));
    let bench = Bench::new("out.reorder=20% by 40ms", &[]);
    let (_, there, _) = bench.play(60, QUICK, 100);
    bench.end();
    let came = numbers(&there);
    assert_eq!(came.iter().collect::<BTreeSet<_>>().len(), 60, "none is lost");
    assert!(came.windows(2).any(|pair| pair[0] > pair[1]), "some overtook: {came:?}");
}

#[test]
fn a_rate_limit_spaces_them_out_and_drops_what_would_wait_too_long() {
    // 10,000 octets in a second.
    let bench = Bench::new("out.rate=80kbit", &[]);
    let (_, there, _) = bench.play(16, Duration::ZERO, 250);
    let result = bench.end();
    assert_eq!((there.len(), count(&result, "out", "rate_limit")), (16, 0));
    let took = there[15].1 - there[0].1;
    assert!((Duration::from_millis(330)..Duration::from_millis(900)).contains(&took), "4000 octets in {took:?}");
    let bench = Bench::new("out.rate=80kbit", &[]);
    let (_, there, _) = bench.play(60, Duration::ZERO, 250);
    let full = count(&bench.end(), "out", "rate_limit");
    assert!(full > 20 && there.len() as u64 + full == 60, "{} came, {full} did not", there.len());
}

#[test]
fn corruption_turns_one_bit() {
    let bench = Bench::new("out.corrupt=100%", &[]);
    let (_, there, _) = bench.play(20, QUICK, 200);
    assert_eq!(count(&bench.end(), "out", "corrupted"), 20);
    assert_eq!(there.len(), 20);
    for (at, (.., bytes)) in there.iter().enumerate() {
        let right = Bench::datagram(at as u32, 200);
        let bits: u32 = right.iter().zip(bytes).map(|(a, b)| (a ^ b).count_ones()).sum();
        assert_eq!((bits, bytes.len()), (1, 200));
    }
}

/// What is longer than the path takes vanishes without a word: a black hole for whoever does not fragment, and lost IP
/// fragments for whoever does.
#[test]
fn long_ones_vanish() {
    for (octets, arrive) in [(1000, 10), (1001, 0)] {
        let bench = Bench::new("longest=1000", &[]);
        let (_, there, back) = bench.play(10, QUICK, octets);
        assert_eq!((there.len(), back.len()), (arrive, arrive), "of {octets} octets");
        assert_eq!(count(&bench.end(), "out", "too_long"), 10 - arrive as u64);
    }
}

#[test]
fn a_blackout_begins_and_ends_on_time() {
    let bench = Bench::new("blackout=at 800ms for 600ms", &[]);
    let (sent, there, _) = bench.play(100, Duration::from_millis(20), 100);
    let began = bench.began;
    let result = bench.end();
    let came: BTreeSet<u32> = numbers(&there).into_iter().collect();
    let lost: Vec<u32> = (0..100).filter(|number| !came.contains(number)).collect();
    assert_eq!(count(&result, "out", "blackout"), lost.len() as u64);
    let (first, last) = (lost[0], lost[lost.len() - 1]);
    assert_eq!(lost, (first..=last).collect::<Vec<_>>(), "one hole");
    let lasted = sent[last as usize] - sent[first as usize];
    assert!((Duration::from_millis(480)..Duration::from_millis(700)).contains(&lasted), "{lasted:?}");
    assert!(sent[first as usize] - began >= Duration::from_millis(790), "not too early");
}

/// Behind a mapping that has expired nothing comes back, and the next datagram from inside gets another port.
#[test]
fn a_nat_forgets_and_rebinds() {
    let bench = Bench::new("", &["--mapping-timeout", "300ms"]);
    let (mut there, mut back) = (Vec::new(), Vec::new());
    bench.send(1, 100);
    std::thread::sleep(Duration::from_millis(100));
    bench.gather(&bench.far, &mut there);
    std::thread::sleep(Duration::from_millis(100));
    bench.gather(&bench.near, &mut back);
    assert_eq!((numbers(&there), numbers(&back)), (vec![1], vec![1]), "while the mapping lives");
    let old = there[0].2;
    std::thread::sleep(Duration::from_millis(400));
    bench.far.send_to(&Bench::datagram(2, 100), ("127.0.0.93", old)).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    bench.gather(&bench.near, &mut back);
    assert_eq!(numbers(&back), [1], "the mapping is gone");
    bench.send(3, 100);
    std::thread::sleep(Duration::from_millis(100));
    bench.gather(&bench.far, &mut there);
    assert_eq!(numbers(&there), [1, 3]);
    assert_ne!(there[1].2, old, "another port");
    let result = bench.end();
    assert_eq!(
        (&result["counts"]["without_NAT_mapping"], &result["counts"]["new_NAT_mappings"]),
        (&1.into(), &1.into())
    );

    let bench = Bench::new("", &["--rebind", "300ms"]);
    let (_, there, back) = bench.play(50, Duration::from_millis(20), 100);
    let result = bench.end();
    let ports: BTreeSet<u16> = there.iter().map(|(_, _, port, _)| *port).collect();
    assert!(ports.len() >= 3, "{ports:?}");
    assert_eq!(result["counts"]["new_NAT_mappings"], ports.len() - 1, "{result:#}");
    assert_eq!(there.len(), 50);
    assert!(back.len() >= 40, "only what was under way while the port changed is lost: {}", back.len());
}
