//! The datagrams of a few handshakes: of the failed ones, some per class, and of the slowest. And of a sample of all, whether
//! what must be new in each of them was.
//!
//! While a handshake is open its datagrams go to a pooled buffer; when it ends they are kept or the buffer is used again.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::io;
use std::path::Path as FilePath;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::fresh::{self, Freshness, Sample};
use super::measure::During;
use crate::crypto::ChildKeys;
use crate::engine::{Event, FailureClass, SaId, TunnelId};
use crate::net::{Class, Path};
use crate::record::{Datagram, Direction, Fate, PcapNg, Record};
use crate::time::{Instant, UnixTime};
use crate::wire::{Header, decode, summary};

/// Handshakes that are watched at once per shard; what is begun beyond them is not kept.
const OPEN_MAX: usize = 4096;
/// Failed handshakes kept per class and stage, and shard.
const FAILED_MAX: usize = 5;
/// Slowest handshakes kept per shard.
const SLOWEST_MAX: usize = 10;

/// The pool of one shard, shared by its recorder, which fills it, and its book, which says what becomes of it.
#[derive(Clone, Debug, Default)]
pub struct Keeper(Arc<Mutex<Pool>>);

#[derive(Debug, Default)]
struct Pool {
    open: HashMap<u64, Handshake>,
    free: Vec<Handshake>,
    failed: BTreeMap<(FailureClass, During), Vec<Handshake>>,
    slowest: Vec<Handshake>,
    sample: Sample,
}

/// A handshake's datagrams, one after the other in one buffer.
#[derive(Clone, Debug, Default)]
struct Handshake {
    tunnel: u64,
    why: String,
    took: Duration,
    octets: Vec<u8>,
    datagrams: Vec<(Instant, Direction, Path, Class, usize)>,
    /// It is one of the sample.
    sampled: bool,
    /// Hashes of the keys of its Child SA.
    child: Option<[u64; 2]>,
}

impl Keeper {
    /// A handshake begins; `spi` is our SPI.
    pub fn begin(&self, spi: u64, tunnel: u64) {
        let mut pool = self.lock();
        if pool.open.len() >= OPEN_MAX {
            return;
        }
        let mut handshake = pool.free.pop().unwrap_or_default();
        handshake.octets.clear();
        handshake.datagrams.clear();
        handshake.tunnel = tunnel;
        (handshake.sampled, handshake.child) = (pool.sample.takes(), None);
        pool.open.insert(spi, handshake);
    }

    /// It has made these keys for a Child SA.
    pub fn child(&self, spi: u64, keys: &ChildKeys) {
        if let Some(handshake) = self.lock().open.get_mut(&spi).filter(|handshake| handshake.sampled) {
            handshake.child = Some(fresh::hash_keys(keys));
        }
    }

    /// It succeeded.
    pub fn succeeded(&self, spi: u64, took: Duration) {
        let mut pool = self.lock();
        let Some(mut handshake) = pool.open.remove(&spi) else { return };
        if handshake.sampled {
            let datagrams = handshake.datagrams().map(|(_, direction, _, _, bytes)| (direction, bytes));
            pool.sample.add(datagrams, handshake.child);
        }
        let slowest = &mut pool.slowest;
        let place = slowest.partition_point(|other| other.took >= took);
        if place >= SLOWEST_MAX {
            return pool.free.push(handshake);
        }
        handshake.took = took;
        handshake.why = "slow".into();
        slowest.insert(place, handshake);
        if slowest.len() > SLOWEST_MAX
            && let Some(last) = slowest.pop()
        {
            pool.free.push(last);
        }
    }

    /// It failed.
    pub fn failed(&self, spi: u64, took: Duration, class: FailureClass, stage: During) {
        let mut pool = self.lock();
        let Some(mut handshake) = pool.open.remove(&spi) else { return };
        let kept = pool.failed.entry((class, stage)).or_default();
        if kept.len() >= FAILED_MAX {
            return pool.free.push(handshake);
        }
        handshake.took = took;
        handshake.why = format!("{class} in {stage}");
        kept.push(handshake);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Pool> {
        self.0.lock().expect("no panic holds it")
    }
}

impl Record for Keeper {
    fn datagram(&mut self, datagram: &Datagram<'_>) {
        if datagram.class != Class::Ike || datagram.fate != Fate::Passed {
            return;
        }
        let Some(spi) = datagram.bytes.first_chunk::<8>() else { return };
        let mut pool = self.lock();
        // We are the original initiator: SPIi is ours.
        let Some(handshake) = pool.open.get_mut(&u64::from_be_bytes(*spi)) else { return };
        handshake.octets.extend_from_slice(datagram.bytes);
        handshake.datagrams.push((
            datagram.at,
            datagram.direction,
            *datagram.path,
            datagram.class,
            datagram.bytes.len(),
        ));
    }

    fn event(&mut self, _: Instant, _: TunnelId, _: SaId, _: &Event) {}

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the sample of all handshakes says.
pub fn freshness(keepers: &[Keeper]) -> Freshness {
    let samples: Vec<Sample> = keepers.iter().map(|keeper| keeper.lock().sample.clone()).collect();
    fresh::freshness(samples.iter())
}

/// Writes what was kept: `failed.pcapng`, `slowest.pcapng` and, for reading, `handshakes.txt`; and `freshness.json` of the
/// sample; nothing if nothing was.
///
/// # Errors
///
/// If a file cannot be written; the message names it.
pub fn write(dir: &FilePath, epoch: UnixTime, keepers: &[Keeper]) -> io::Result<()> {
    let (mut failed, mut slowest) = (Vec::new(), Vec::new());
    for keeper in keepers {
        let pool = keeper.lock();
        failed.extend(pool.failed.values().flatten().cloned());
        slowest.extend(pool.slowest.iter().cloned());
    }
    slowest.sort_by_key(|h| std::cmp::Reverse(h.took));
    slowest.truncate(SLOWEST_MAX);
    let mut text = String::new();
    for (name, handshakes) in [("failed.pcapng", &failed), ("slowest.pcapng", &slowest)] {
        if handshakes.is_empty() {
            continue;
        }
        let mut capture = PcapNg::create(&dir.join(name), epoch)?;
        let mut datagrams: Vec<_> = handshakes.iter().flat_map(Handshake::datagrams).collect();
        datagrams.sort_by_key(|(at, ..)| *at);
        for (number, (at, direction, path, class, bytes)) in (1..).zip(datagrams) {
            capture.write(&Datagram { number, at, direction, path: &path, class, bytes, fate: Fate::Passed });
        }
        capture.flush()?;
        handshakes.iter().for_each(|h| h.describe(&mut text));
    }
    let put = |name: &str, text: &str| {
        let path = dir.join(name);
        std::fs::write(&path, text)
            .map_err(|e| io::Error::new(e.kind(), format!("cannot write {}: {e}", path.display())))
    };
    let sample = freshness(keepers);
    if sample.handshakes > 0 {
        put(fresh::FILE, &(serde_json::to_string_pretty(&sample).expect("plain data") + "\n"))?;
    }
    if text.is_empty() {
        return Ok(());
    }
    put("handshakes.txt", &text)
}

impl Handshake {
    fn datagrams(&self) -> impl Iterator<Item = (Instant, Direction, Path, Class, &[u8])> {
        let mut from = 0;
        self.datagrams.iter().map(move |&(at, direction, path, class, len)| {
            let bytes = &self.octets[from..from + len];
            from += len;
            (at, direction, path, class, bytes)
        })
    }

    /// What is in the clear of each message; inside SK nothing is.
    fn describe(&self, out: &mut String) {
        let _ = writeln!(out, "tunnel {}: {}, {:.3} ms", self.tunnel, self.why, self.took.as_secs_f64() * 1e3);
        for (at, direction, path, _, bytes) in self.datagrams() {
            let arrow = if direction == Direction::Out { "->" } else { "<-" };
            let _ = write!(out, "  {:>12.6}  {arrow}  {}  ", at.as_secs_f64(), path.remote);
            match Header::read(bytes) {
                Some(header) => {
                    let payloads = decode(bytes).map_or_else(
                        |e| format!("({e})"),
                        |d| {
                            let clear = summary(&d.payloads, header.flags.is_response());
                            if d.sk.is_some() { format!("{clear} SK{{...}}").trim().to_owned() } else { clear }
                        },
                    );
                    let _ = writeln!(
                        out,
                        "{} {} #{}  {payloads}  {} octets  SPIi {}",
                        header.exchange,
                        if header.flags.is_response() { "response" } else { "request" },
                        header.message_id,
                        bytes.len(),
                        header.spi_i
                    );
                }
                None => out.push_str("no IKE header\n"),
            }
        }
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::SocketRole;
    use crate::wire::registry::ExchangeType;
    use crate::wire::{Flags, IkeSpi};

    fn record(keeper: &mut Keeper, spi: u64, at: u64) {
        let mut bytes = Vec::new();
        let mut header = Header::new(IkeSpi(spi), IkeSpi(0), ExchangeType::IKE_SA_INIT, Flags::INITIATOR, 0);
        header.length = 28;
        header.write(&mut bytes);
        let path = Path {
            local: "192.0.2.1:500".parse().expect("an address"),
            remote: "192.0.2.2:500".parse().expect("an address"),
            role: SocketRole::Ike,
        };
        keeper.datagram(&Datagram {
            number: 1,
            at: Instant::from_millis(at),
            direction: Direction::Out,
            path: &path,
            class: Class::Ike,
            bytes: &bytes,
            fate: Fate::Passed,
        });
    }

    #[test]
    fn the_failed_and_the_slowest_are_kept_and_no_more_than_that() {
        let mut keeper = Keeper::default();
        for n in 1..=100_u64 {
            keeper.begin(n, n);
            record(&mut keeper, n, n);
            match n % 2 {
                0 => keeper.succeeded(n, Duration::from_millis(n)),
                _ => keeper.failed(n, Duration::from_millis(n), FailureClass::AuthFailed, During::Auth),
            }
        }
        record(&mut keeper, 1, 5);
        {
            let pool = keeper.lock();
            assert_eq!(pool.failed[&(FailureClass::AuthFailed, During::Auth)].len(), FAILED_MAX);
            let took: Vec<u128> = pool.slowest.iter().map(|h| h.took.as_millis()).collect();
            assert_eq!(took, [100, 98, 96, 94, 92, 90, 88, 86, 84, 82]);
            assert!(pool.open.is_empty() && pool.slowest.iter().all(|h| h.datagrams.len() == 1));
        }
        let dir = tempfile::tempdir().expect("a scratch folder");
        write(dir.path(), UnixTime(0), &[keeper]).expect("it is writable");
        let text = std::fs::read_to_string(dir.path().join("handshakes.txt")).expect("written");
        assert!(
            text.contains("tunnel 100: slow, 100.000 ms") && text.contains("tunnel 1: auth_failed in auth"),
            "{text}"
        );
        assert!(text.contains("IKE_SA_INIT request #0"), "{text}");
        for name in ["failed.pcapng", "slowest.pcapng"] {
            assert!(std::fs::metadata(dir.path().join(name)).expect("written").len() > 200);
        }
    }
}
